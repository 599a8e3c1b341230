//! The routing table calculation (RFC 2328 section 16, RFC 5340 section 4.8), which routes are used, and how a router
//! leaves.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::fib::Target;
use molt_mesh::{LinkId, Prefix, RouterId, Time};
use molt_routing::ospf::consts::{LS_INFINITY, MAX_AGE, link_type, options, prefix_options, router_bits};
use molt_routing::ospf::lsa::{
    AsExternalLsa, InterAreaPrefixLsa, InterAreaRouterLsa, IntraAreaPrefixLsa, LsType, Lsa, LsaKey,
    LsaPrefix, RouterLink, RouterLsa,
};
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::view::{RouteReject, SpfTrigger};
use molt_routing::ospf::{BfdEvent, LinkConfig, Output, State};

use crate::rig::{Net, link, link_config, prefix, router_id};

const MS: Duration = Duration::from_millis(1);
/// Virtual routers behind node 1, by their ids.
const X: RouterId = RouterId(0x0b00_0001);
const Y: RouterId = RouterId(0x0b00_0002);
const Z: RouterId = RouterId(0x0b00_0003);

const EXTERNAL: AsExternalLsa = AsExternalLsa {
    type_2: false,
    metric: 0,
    prefix: LsaPrefix { len: 0, options: 0, metric: 0, addr: Ipv6Addr::UNSPECIFIED },
    forwarding: None,
    tag: None,
    referenced: None,
};

fn mesh(text: &str) -> Prefix {
    format!("fd00:6d6f:6c74:{text}").parse().unwrap()
}

/// Node 0 is adjacent to nodes 1 and 2 (cost 10 each), which are cut off and speak only through the test.
///
/// ```text
///        1 -- what the test says
///  0 <
///        2 -- what the test says
/// ```
struct Map {
    net: Net,
    seq: i32,
}

impl Map {
    fn new() -> Self {
        let mut net = Net::new(3, 0);
        net.connect(0, 1, 10);
        net.connect(0, 2, 10);
        net.run_for(Duration::from_secs(9));
        assert!(net.is_settled());
        net.cut(0);
        net.cut(1);
        Self { net, seq: 100 }
    }

    /// Floods an LSA into node 0 and lets it calculate.
    fn say(&mut self, ls_type: LsType, router: RouterId, id: u32, body: Vec<u8>) {
        self.seq += 1;
        let lsa = Lsa::new(LsaKey { ls_type, router, id }, self.seq, 1, Arc::from(body));
        self.net.inject(0, 0, PacketBody::Update(vec![lsa])).unwrap();
        // Beyond MinLSArrival and the longest SPF delay, well within the dead interval.
        self.net.run_for(1100 * MS);
    }

    fn router_with(&mut self, router: RouterId, id: u32, options: u32, links: &[(RouterId, u16)]) {
        let links = links.iter().map(|(neighbor, metric)| RouterLink {
            kind: link_type::POINT_TO_POINT,
            metric: *metric,
            interface: neighbor.0,
            neighbor_interface: router.0,
            neighbor: *neighbor,
        });
        let body = RouterLsa { bits: 0, options, links: links.collect() }.encode();
        self.say(LsType::ROUTER, router, id, body);
    }

    fn router(&mut self, router: RouterId, links: &[(RouterId, u16)]) {
        self.router_with(router, 0, options::ROUTER, links);
    }

    fn prefix_with(&mut self, router: RouterId, referenced: LsaKey, prefixes: Vec<LsaPrefix>) {
        let body = IntraAreaPrefixLsa { referenced, prefixes }.encode();
        self.say(LsType::INTRA_AREA_PREFIX, router, referenced.id, body);
    }

    fn prefix(&mut self, router: RouterId, prefix: Prefix, metric: u16) {
        let referenced = LsaKey { ls_type: LsType::ROUTER, router, id: 0 };
        self.prefix_with(router, referenced, vec![LsaPrefix { metric, ..LsaPrefix::own(prefix) }]);
    }

    fn border_router(&mut self, router: RouterId, bits: u8, links: &[(RouterId, u16)]) {
        let links = links.iter().map(|(neighbor, metric)| RouterLink {
            kind: link_type::POINT_TO_POINT,
            metric: *metric,
            interface: neighbor.0,
            neighbor_interface: router.0,
            neighbor: *neighbor,
        });
        let body = RouterLsa { bits, options: options::ROUTER, links: links.collect() }.encode();
        self.say(LsType::ROUTER, router, 0, body);
    }

    fn inter_area_prefix(&mut self, router: RouterId, prefix: Prefix, metric: u32) {
        let body = InterAreaPrefixLsa { metric, prefix: LsaPrefix::own(prefix) }.encode();
        self.say(LsType::INTER_AREA_PREFIX, router, 0, body);
    }

    fn external(&mut self, router: RouterId, id: u32, prefix: Prefix, lsa: AsExternalLsa) {
        let body = AsExternalLsa { prefix: LsaPrefix::own(prefix), ..lsa }.encode();
        self.say(LsType::AS_EXTERNAL, router, id, body);
    }

    /// Cost and links.
    fn route(&self, prefix: Prefix) -> Option<(u32, Vec<u32>)> {
        let route = self.net.nodes[0].routes().find(|route| route.prefix == prefix)?;
        let links: Vec<LinkId> = match self.net.nodes[0].fib().exact(&prefix)? {
            Target::Local => Vec::new(),
            Target::Via(links) => links.to_vec(),
        };
        assert_eq!(links, route.links);
        Some((route.cost, links.iter().map(|link| link.get()).collect()))
    }
}

/// ```text
///  0 --10-- 1 --5-- X
/// ```
#[test]
fn section_16_1_step_2b_a_link_counts_only_if_the_other_end_has_it_too() {
    let mut map = Map::new();
    map.prefix(X, mesh(":1/128"), 3);
    map.router(X, &[(router_id(1), 5)]);
    assert_eq!(map.route(mesh(":1/128")), None);
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    assert_eq!(map.route(mesh(":1/128")), Some((18, vec![1])));
    map.router(X, &[]);
    assert_eq!(map.route(mesh(":1/128")), None);
}

/// ```text
///  0 --10-- 1 --5-- X
///   \-10--- 2 --5--/
/// ```
#[test]
fn section_16_1_equal_cost_paths_are_all_used() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    map.router(router_id(2), &[(router_id(0), 10), (X, 5)]);
    map.router(X, &[(router_id(1), 1), (router_id(2), 1)]);
    map.prefix(X, mesh(":1/128"), 0);
    assert_eq!(map.route(mesh(":1/128")), Some((15, vec![1, 3])));
    map.router(router_id(2), &[(router_id(0), 10), (X, 6)]);
    assert_eq!(map.route(mesh(":1/128")), Some((15, vec![1])));
}

#[test]
fn no_more_than_16_next_hops_the_lowest_links() {
    let mut net = Net::new(2, 0);
    for _ in 0..20 {
        net.connect(0, 1, 10);
    }
    net.run_for(Duration::from_secs(20));
    let links = net.fib(0)[&prefix(1)].clone();
    assert_eq!(
        links.into_iter().collect::<Vec<_>>(),
        (0..16).map(|wire| link(2 * wire + 1)).collect::<Vec<_>>()
    );
}

/// Anycast: the nearest, and all that are equally near.
#[test]
fn a_prefix_of_several_routers_leads_to_the_nearest() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    map.router(router_id(2), &[(router_id(0), 10), (Y, 5)]);
    map.router(X, &[(router_id(1), 1)]);
    map.router(Y, &[(router_id(2), 1)]);
    map.prefix(X, mesh(":53/128"), 0);
    map.prefix(Y, mesh(":53/128"), 1);
    assert_eq!(map.route(mesh(":53/128")), Some((15, vec![1])));
    map.prefix(Y, mesh(":53/128"), 0);
    assert_eq!(map.route(mesh(":53/128")), Some((15, vec![1, 3])));
    let origins = map.net.nodes[0].routes().find(|route| route.prefix == mesh(":53/128")).unwrap();
    assert_eq!(origins.origins, [X, Y]);
    map.prefix(router_id(2), mesh(":53/128"), 0);
    assert_eq!(map.route(mesh(":53/128")), Some((10, vec![3])));
}

#[test]
fn our_own_prefix_stays_local_whoever_else_announces_it() {
    let mut map = Map::new();
    map.prefix(router_id(1), prefix(0), 0);
    assert_eq!(map.net.nodes[0].fib().exact(&prefix(0)), Some(Target::Local));
}

/// ```text
///  0 --10-- 1 --5-- X --5-- Y
/// ```
#[test]
fn rfc_5340_a_2_a_router_with_a_clear_r_bit_is_reachable_and_leads_nowhere() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    map.router(Y, &[(X, 5)]);
    map.prefix(X, mesh(":1/128"), 0);
    map.prefix(Y, mesh(":2/128"), 0);
    let links = [(router_id(1), 5), (Y, 5)];
    map.router(X, &links);
    assert_eq!(map.route(mesh(":2/128")), Some((20, vec![1])));
    map.router_with(X, 0, options::V6 | options::E, &links);
    assert_eq!((map.route(mesh(":1/128")), map.route(mesh(":2/128"))), (Some((15, vec![1])), None));
    map.router_with(X, 0, options::R | options::E, &links);
    assert_eq!((map.route(mesh(":1/128")), map.route(mesh(":2/128"))), (None, None), "V6-bit");
}

/// ```text
///  0 --10-- 1 --65535-- X      0 --10-- 2 --100-- X
/// ```
#[test]
fn rfc_6987_links_of_max_metric_are_the_last_resort() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 0xffff)]);
    map.router(router_id(2), &[(router_id(0), 10), (X, 100)]);
    map.router(X, &[(router_id(1), 1), (router_id(2), 1)]);
    map.prefix(X, mesh(":1/128"), 0);
    assert_eq!(map.route(mesh(":1/128")), Some((110, vec![3])));
    map.router(router_id(2), &[(router_id(0), 10)]);
    assert_eq!(map.route(mesh(":1/128")), Some((10 + 0xffff, vec![1])));
}

#[test]
fn rfc_5340_section_4_8_1_several_router_lsas_of_one_router_are_one() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    map.router_with(X, 5, options::ROUTER, &[(router_id(1), 5)]);
    map.router_with(X, 9, options::ROUTER, &[(Y, 5)]);
    map.router(Y, &[(X, 5)]);
    map.prefix(Y, mesh(":2/128"), 0);
    assert_eq!(map.route(mesh(":2/128")), Some((20, vec![1])));
    // The options of the lowest Link State ID count.
    map.router_with(X, 9, 0, &[(Y, 5)]);
    assert_eq!(map.route(mesh(":2/128")), Some((20, vec![1])));
    map.router_with(X, 5, 0, &[(router_id(1), 5)]);
    assert_eq!(map.route(mesh(":2/128")), None);
}

/// ```text
///  0 --10-- 1 --5-- X --7--[ network of X, interface 4 ]--- Y, Z
/// ```
#[test]
fn rfc_5340_section_4_8_1_transit_networks_of_stock_routers_are_vertices() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    let to_network = |metric| RouterLink {
        kind: link_type::TRANSIT,
        metric,
        interface: 4,
        neighbor_interface: 4,
        neighbor: X,
    };
    let to_1 = RouterLink {
        kind: link_type::POINT_TO_POINT,
        metric: 5,
        interface: 1,
        neighbor_interface: 1,
        neighbor: router_id(1),
    };
    for (router, links) in [(X, vec![to_1, to_network(7)]), (Y, vec![to_network(1)]), (Z, vec![])] {
        let body = RouterLsa { bits: 0, options: options::ROUTER, links }.encode();
        map.say(LsType::ROUTER, router, 0, body);
    }
    let mut network = vec![0, 0, 0, 0x13];
    network.extend([X, Y, Z].iter().flat_map(|router| router.0.to_be_bytes()));
    map.say(LsType::NETWORK, X, 4, network);
    map.prefix(Y, mesh(":2/128"), 0);
    map.prefix(Z, mesh(":3/128"), 0);
    let referenced = LsaKey { ls_type: LsType::NETWORK, router: X, id: 4 };
    map.prefix_with(X, referenced, vec![LsaPrefix::own(mesh("4::/64"))]);
    assert_eq!(map.route(mesh(":2/128")), Some((22, vec![1])), "from a network to a router costs nothing");
    assert_eq!(map.route(mesh("4::/64")), Some((22, vec![1])));
    assert_eq!(map.route(mesh(":3/128")), None, "Z has no link to the network");
}

#[test]
fn rfc_2328_appendix_c_3_a_cost_of_zero_counts_as_one() {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 0)]);
    map.router(X, &[(router_id(1), 0)]);
    map.prefix(X, mesh(":1/128"), 0);
    assert_eq!(map.route(mesh(":1/128")), Some((11, vec![1])));
}

#[test]
fn a_path_too_long_to_count_is_no_path() {
    let mut map = Map::new();
    map.prefix(router_id(1), mesh(":1/128"), 0xffff);
    assert_eq!(map.route(mesh(":1/128")), Some((10 + 0xffff, vec![1])));
}

#[test]
fn only_prefixes_inside_the_mesh_are_used_and_the_others_are_named() {
    let mut map = Map::new();
    let plain = |addr: &str, len, options| LsaPrefix { len, options, metric: 0, addr: addr.parse().unwrap() };
    let referenced = LsaKey { ls_type: LsType::ROUTER, router: router_id(1), id: 0 };
    let advertised = vec![
        plain("fd00:6d6f:6c74:1::", 64, 0),
        plain("fd00:6d6f:6c74::", 48, 0),
        plain("::", 0, 0),
        plain("2001:db8::1", 128, 0),
        plain("fd00:6d6f:6c74::7", 120, 0),
        plain("fe80::1", 128, 0),
        plain("fd00:6d6f:6c74::8", 128, prefix_options::NU),
    ];
    map.prefix_with(router_id(1), referenced, advertised);
    assert_eq!(map.route(mesh("1::/64")), Some((10, vec![1])));
    let rejected: Vec<_> = map.net.nodes[0]
        .rejected_routes()
        .iter()
        .map(|rejected| (rejected.prefix.to_string(), rejected.router, rejected.reason))
        .collect();
    let by = router_id(1);
    assert_eq!(
        rejected,
        [
            ("fd00:6d6f:6c74::/48".into(), by, RouteReject::OutsideMesh),
            ("::/0".into(), by, RouteReject::OutsideMesh),
            ("2001:db8::1/128".into(), by, RouteReject::OutsideMesh),
            ("fd00:6d6f:6c74::/120".into(), by, RouteReject::InvalidPrefix),
            ("fe80::1/128".into(), by, RouteReject::InvalidPrefix),
        ]
    );
    assert_eq!(map.route(mesh(":8/128")), None, "NU-bit");
}

#[test]
fn rfc_5340_a_4_10_a_reference_to_somebody_elses_lsa_is_ignored() {
    let mut map = Map::new();
    let referenced = LsaKey { ls_type: LsType::ROUTER, router: router_id(2), id: 0 };
    map.prefix_with(router_id(1), referenced, vec![LsaPrefix::own(mesh(":1/128"))]);
    assert_eq!(map.route(mesh(":1/128")), None);
}

#[test]
fn a_stock_router_announces_only_what_is_allowed() {
    let mut map = Map::new();
    map.prefix(router_id(1), mesh(":1/128"), 0);
    map.prefix(router_id(2), mesh(":2/128"), 0);
    let stock = |allow| LinkConfig { stock: true, allow, ..link_config(0, link(1), 10) };
    map.net.with(0, |ospf, now| ospf.update_link(stock(Vec::new()), now));
    map.net.run_for(1100 * MS);
    assert_eq!((map.route(mesh(":1/128")), map.route(mesh(":2/128"))), (None, Some((10, vec![3]))));
    let rejected = map.net.nodes[0].rejected_routes();
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].router, rejected[0].reason), (router_id(1), RouteReject::NotAllowed));
    map.net.with(0, |ospf, now| ospf.update_link(stock(vec![mesh(":/112")]), now));
    map.net.run_for(1100 * MS);
    assert_eq!(map.route(mesh(":1/128")), Some((10, vec![1])));
    assert!(map.net.wire_is_full(0), "the adjacency stays through all of it");
}

#[test]
fn a_change_of_prefixes_needs_no_new_tree() {
    let mut map = Map::new();
    map.prefix(router_id(1), mesh(":1/128"), 0);
    let run = map.net.nodes[0].spf_log().last().unwrap();
    let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: router_id(1), id: 0 };
    assert_eq!((run.full, run.trigger, run.fib_changed), (false, SpfTrigger::Lsa(key), true));
    // Neither does the cost of the way back to us, but that there is none does.
    map.router(router_id(1), &[(router_id(0), 11)]);
    let run = map.net.nodes[0].spf_log().last().unwrap();
    assert_eq!((run.full, run.fib_changed), (false, false));
    map.router(router_id(1), &[]);
    let run = map.net.nodes[0].spf_log().last().unwrap();
    assert_eq!((run.full, run.fib_changed), (true, true));
}

/// ```text
///        1 --5-- X (area border router)
///  0 <
///        2 --5-- Y (AS boundary router)
/// ```
fn map_with_borders() -> Map {
    let mut map = Map::new();
    map.router(router_id(1), &[(router_id(0), 10), (X, 5)]);
    map.router(router_id(2), &[(router_id(0), 10), (Y, 5)]);
    map.border_router(X, router_bits::B, &[(router_id(1), 5)]);
    map.border_router(Y, router_bits::E, &[(router_id(2), 5)]);
    map
}

#[test]
fn section_16_2_an_inter_area_prefix_hangs_on_a_border_router() {
    let mut map = map_with_borders();
    let prefix = mesh(":9/128");
    map.inter_area_prefix(X, prefix, 7);
    assert_eq!(map.route(prefix), Some((22, vec![1])));
    // Step 1: LSInfinity.
    map.inter_area_prefix(X, prefix, LS_INFINITY);
    assert_eq!(map.route(prefix), None);
    map.inter_area_prefix(X, prefix, 7);
    // Step 6: a path within the area is preferred whatever it costs.
    map.prefix(Y, prefix, 1_000);
    assert_eq!(map.route(prefix), Some((1_015, vec![3])));
    map.prefix(Y, mesh(":a/128"), 0);
    // Step 4: without bit B it is no border router.
    map.border_router(X, 0, &[(router_id(1), 5)]);
    assert_eq!(map.route(prefix), None);
}

#[test]
fn section_16_4_external_paths_by_type_metric_and_distance() {
    let mut map = map_with_borders();
    let prefix = mesh(":9/128");
    map.external(Y, 0, prefix, AsExternalLsa { type_2: true, metric: 3, ..EXTERNAL });
    assert_eq!(map.route(prefix), Some((3, vec![3])));
    // Step 6 (b): type 1 comes first, and its cost is the sum.
    map.external(Y, 1, prefix, AsExternalLsa { metric: 90, ..EXTERNAL });
    assert_eq!(map.route(prefix), Some((105, vec![3])));
    // Step 6 (a): and a path to another area before both.
    map.inter_area_prefix(X, prefix, 900);
    assert_eq!(map.route(prefix), Some((915, vec![1])));
    map.inter_area_prefix(X, prefix, LS_INFINITY);
    // Step 3: without bit E, or the router gone, there is no path.
    map.border_router(Y, 0, &[(router_id(2), 5)]);
    assert_eq!(map.route(prefix), None);
}

#[test]
fn section_16_4_step_3_an_as_boundary_router_of_another_area_is_reached_through_the_border_router() {
    let mut map = map_with_borders();
    let prefix = mesh(":9/128");
    map.external(Z, 0, prefix, AsExternalLsa { metric: 2, ..EXTERNAL });
    assert_eq!(map.route(prefix), None);
    let body = InterAreaRouterLsa { options: options::ROUTER, metric: 4, destination: Z }.encode();
    map.say(LsType::INTER_AREA_ROUTER, X, 0, body);
    assert_eq!(map.route(prefix), Some((21, vec![1])));
}

#[test]
fn section_16_4_step_3_a_forwarding_address_takes_the_place_of_the_originator() {
    let mut map = map_with_borders();
    let prefix = mesh(":9/128");
    let forwarding = Some("fd00:6d6f:6c74:77::1".parse().unwrap());
    map.external(Y, 0, prefix, AsExternalLsa { metric: 2, forwarding, ..EXTERNAL });
    assert_eq!(map.route(prefix), None, "nothing leads to it");
    map.prefix(X, mesh("77::/64"), 1);
    assert_eq!(map.route(prefix), Some((18, vec![1])));
    // It moves with the route to it, although its own LSA is the same.
    map.prefix(Y, mesh("77::1/128"), 0);
    assert_eq!(map.route(prefix), Some((17, vec![3])));
    // Appendix A.4.7.
    let forwarding = Some("fe80::1".parse().unwrap());
    map.external(Y, 0, prefix, AsExternalLsa { metric: 2, forwarding, ..EXTERNAL });
    assert_eq!(map.route(prefix), None);
}

#[test]
fn a_thousand_externals_of_one_router_cost_no_tree_and_the_way_back_neither() {
    let mut map = map_with_borders();
    let prefix = |number: u32| {
        Prefix::host(Ipv6Addr::from_bits(mesh("77::/64").addr().to_bits() | u128::from(number)))
    };
    let before = map.net.nodes[0].counters().spf_runs;
    for number in 0..990 {
        let body = AsExternalLsa { prefix: LsaPrefix::own(prefix(number)), metric: 1, ..EXTERNAL }.encode();
        let key = LsaKey { ls_type: LsType::AS_EXTERNAL, router: Y, id: number };
        map.net.inject(0, 0, PacketBody::Update(vec![Lsa::new(key, 1, 1, Arc::from(body))])).unwrap();
    }
    map.net.run_for(1100 * MS);
    assert_eq!(map.route(prefix(989)), Some((16, vec![3])));
    assert_eq!(map.net.nodes[0].fib().len(), 1 + 2 + 990);
    let log: Vec<_> = map.net.nodes[0].spf_log().filter(|run| matches!(run.trigger, SpfTrigger::Lsa(key) if key.router == Y && key.ls_type == LsType::AS_EXTERNAL)).collect();
    assert!(log.iter().all(|run| !run.full), "{log:?}");
    assert!(map.net.nodes[0].counters().spf_runs <= before + 3);
}

#[test]
fn lsas_at_max_age_are_not_used() {
    let mut map = Map::new();
    map.prefix(router_id(1), mesh(":1/128"), 0);
    let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: router_id(1), id: 0 };
    let flushed = Lsa::new(key, map.seq + 1, MAX_AGE, Arc::from(Vec::new()));
    map.net.inject(0, 0, PacketBody::Update(vec![flushed])).unwrap();
    map.net.run_for(600 * MS);
    assert_eq!(map.route(mesh(":1/128")), None);
}

#[test]
fn a_router_lsa_that_is_too_large_is_split_and_read_as_one() {
    let mut net = Net::new(2, 0);
    for _ in 0..150 {
        net.connect(0, 1, 10);
    }
    net.run_for(Duration::from_secs(60));
    assert!(net.is_settled_but_for_routes(), "{}", net.unsettled());
    let fragments = net
        .area_lsas(1)
        .keys()
        .filter(|key| key.ls_type == LsType::ROUTER && key.router == router_id(0))
        .count();
    assert_eq!(fragments, 3, "74 links fit into 1280 bytes");
    assert!(net.sent.iter().all(|(.., packet)| packet.len() <= 1280));
    assert_eq!(net.fib(0)[&prefix(1)].len(), 16);
}

#[test]
fn many_prefixes_are_split_over_several_lsas() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    let prefixes: Vec<Prefix> = (1..=200).map(|host| mesh(&format!("8000::{host:x}/128"))).collect();
    net.with(0, |ospf, now| ospf.set_prefixes(prefixes.clone(), now));
    net.run_for(Duration::from_secs(5));
    assert!(prefixes.iter().all(|prefix| net.fib(1).contains_key(prefix)));
    assert!(net.sent.iter().all(|(.., packet)| packet.len() <= 1280));
    net.with(0, |ospf, now| ospf.set_prefixes(vec![prefix(0)], now));
    net.run_for(Duration::from_secs(5));
    assert!(net.is_settled(), "{}", net.unsettled());
}

#[test]
fn names_and_addresses_of_routers_are_known_everywhere() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(5));
    let names = net.nodes[0].hostnames(net.now);
    assert_eq!(names[&router_id(2)], "node2");
    let addresses = net.nodes[0].router_addresses(net.now);
    assert_eq!(addresses[&router_id(2)][0].ip(), prefix(2).addr());
}

/// A square; the path of the packets from 0 to 2 fails without a word, and BFD tells both ends after 300 ms.
///
/// ```text
///  0 -- 1
///  |    |
///  3 -- 2
/// ```
#[test]
fn failover_follows_bfd_within_20_ms_next_to_the_failure_and_far_from_it() {
    let mut net = Net::new(4, 0);
    for (a, b, cost) in [(0, 1, 10), (1, 2, 10), (2, 3, 20), (3, 0, 20)] {
        net.connect(a, b, cost);
    }
    net.run_for(Duration::from_secs(60));
    assert!(net.is_settled());
    for wire in 0..4 {
        net.bfd(wire, BfdEvent::Up);
    }
    for failing in [0, 1] {
        net.cut(failing);
        net.bfd(failing, BfdEvent::Down);
        let detected = net.now;
        let took = net.run_while(Duration::from_secs(1), |net| net.fib(0)[&prefix(2)].contains(&link(8)));
        assert!(took <= 20 * MS, "wire {failing}: {took:?} after {detected}");
        net.wires[failing].up = true;
        net.run_for(Duration::from_secs(60));
        assert!(net.is_settled(), "{}", net.unsettled());
        net.bfd(failing, BfdEvent::Up);
    }
}

/// The middle of the direct way leaves; nobody may lose a packet meanwhile.
///
/// ```text
///  0 -- 1 -- 2
///   \-- 3 --/
/// ```
#[test]
fn shutdown_asks_for_no_traffic_then_flushes_and_says_so() {
    let mut net = Net::new(4, 0);
    net.connect(0, 1, 10);
    net.connect(1, 2, 10);
    net.connect(0, 3, 50);
    net.connect(3, 2, 50);
    net.run_for(Duration::from_secs(30));
    assert!(net.fib(0)[&prefix(2)].contains(&link(1)));
    let start = net.now;
    net.with(1, |ospf, now| ospf.shutdown(now));
    net.run_for(900 * MS);
    assert!(net.fib(0)[&prefix(2)].contains(&link(5)), "traffic goes around it");
    assert!(net.fib(0).contains_key(&prefix(1)), "and it can still be reached");
    assert!(net.fib(1).contains_key(&prefix(2)), "and passes on what still comes");
    net.run_for(2500 * MS);
    let complete = net.events.iter().find(|(.., event)| *event == Output::ShutdownComplete).unwrap();
    assert!(complete.0.since(start) < Duration::from_millis(1500), "{:?}", complete.0.since(start));
    for node in [0, 2, 3] {
        assert!(net.area_lsas(node).keys().all(|key| key.router != router_id(1)), "nothing is left of it");
    }
    assert_eq!(net.state(0, link(1)), State::Init, "its parting hello ends the adjacency");
    assert_eq!(net.nodes[1].poll_timeout(), None);
}

/// The way around is not there yet, or not at all.
#[test]
fn who_leaves_still_carries_what_has_no_other_way() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(30));
    net.with(1, |ospf, now| ospf.shutdown(now));
    net.run_for(900 * MS);
    assert!(net.fib(0).contains_key(&prefix(2)));
    net.run_for(2500 * MS);
    assert!(!net.fib(0).contains_key(&prefix(2)));
}

#[test]
fn a_neighbour_whose_link_was_removed_is_told() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(30));
    net.with(1, |ospf, now| ospf.remove_link(link(2), now));
    net.run_for(100 * MS);
    assert_eq!(net.state(0, link(1)), State::Init);
}

#[test]
fn shutdown_with_a_silent_neighbour_ends_after_two_more_seconds() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(9));
    net.cut(0);
    let start = net.now;
    net.with(0, |ospf, now| ospf.shutdown(now));
    net.run_for(Duration::from_secs(10));
    let complete = net.events.iter().find(|(.., event)| *event == Output::ShutdownComplete).unwrap();
    let took = complete.0.since(start);
    assert!((3000..3200).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn shutdown_without_neighbours_is_immediate() {
    let mut net = Net::new(1, 0);
    net.run_for(Duration::from_secs(1));
    net.with(0, |ospf, now| ospf.shutdown(now));
    net.run_for(MS);
    assert!(
        net.events
            .iter()
            .any(|(at, _, event)| *event == Output::ShutdownComplete && *at == Time::from_millis(1000))
    );
}
