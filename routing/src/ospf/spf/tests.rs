//! The graph that is kept in step against one that is read from the database and calculated in the most simple way.

use std::collections::BTreeMap;
use std::time::Duration;

use molt_mesh::{LinkId, MeshPrefix, Target};

use super::super::consts::{MAX_AGE, link_type, options, router_bits};
use super::super::interface::Interface;
use super::super::lsa::{
    AsExternalLsa, InterAreaPrefixLsa, InterAreaRouterLsa, IntraAreaPrefixLsa, Lsa, RouterLink, RouterLsa,
};
use super::super::lsdb::{LsaRef, Lsdb};
use super::super::neighbor::Neighbor;
use super::super::origin::Origins;
use super::super::view::PathType;
use super::super::{Config, LinkConfig, State};
use super::graph::MIN_COMPACT;
use super::*;

const ROUTERS: u32 = 12;

fn router(number: u32) -> RouterId {
    RouterId(number + 1)
}

/// Distances by relaxing all links of the database until nothing changes.
fn naive(lsdb: &Lsdb, root_links: &[RootLink], now: Time) -> BTreeMap<RouterId, u32> {
    let mut lsas: BTreeMap<RouterId, (u32, Vec<RouterLink>)> = BTreeMap::new();
    for (key, entry) in lsdb.of_type(LsType::ROUTER).filter(|(_, entry)| !entry.is_max_age(now)) {
        let Body::Router(lsa) = entry.read() else { continue };
        lsas.entry(key.router).or_insert((lsa.options, Vec::new())).1.extend(&lsa.links);
    }
    let has_link = |from: RouterId, to: RouterId| {
        lsas.get(&from).is_some_and(|(_, links)| links.iter().any(|link| link.neighbor == to))
    };
    let usable = |id: RouterId| lsas.get(&id).is_some_and(|(options, _)| options & options::V6 != 0);
    let mut distance = BTreeMap::new();
    for link in root_links.iter().filter(|link| usable(link.neighbor) && has_link(link.neighbor, router(0))) {
        let known = distance.entry(link.neighbor).or_insert(u32::MAX);
        *known = link.cost.min(*known);
    }
    for _ in 0..ROUTERS {
        for (from, (options, links)) in lsas.iter().filter(|(id, _)| **id != router(0)) {
            let Some(near) = distance.get(from).copied().filter(|_| options & options::R != 0) else {
                continue;
            };
            for link in links.iter().filter(|link| usable(link.neighbor) && has_link(link.neighbor, *from)) {
                let far = near + u32::from(link.metric.max(1));
                let known = distance.entry(link.neighbor).or_insert(u32::MAX);
                *known = far.min(*known);
            }
        }
    }
    distance.remove(&router(0));
    distance
}

#[test]
fn the_graph_kept_in_step_gives_the_distances_of_one_read_anew() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Time::ZERO;
        let (mut lsdb, origins) = (Lsdb::default(), Origins::default());
        let mut graph = Graph::new(router(0));
        let mut tree = Tree::default();
        let root_links: Vec<RootLink> = (1..4)
            .map(|number| RootLink {
                link: LinkId::new(number).unwrap(),
                cost: number,
                neighbor: router(number),
            })
            .collect();
        for step in 0..150 {
            // A router appears, changes one of two fragments, or goes; most links have two ends sooner or later.
            let (number, id) = (rng.u32(..ROUTERS), rng.u32(..2));
            let key = LsaKey { ls_type: LsType::ROUTER, router: router(number), id };
            if rng.u8(..4) == 0 {
                lsdb.remove(&LsaRef::area(key));
            } else {
                let links = (0..ROUTERS).filter(|_| rng.u8(..3) == 0).collect::<Vec<_>>();
                let links = links.into_iter().map(|to| RouterLink {
                    kind: link_type::POINT_TO_POINT,
                    metric: rng.u16(..5),
                    interface: 1,
                    neighbor_interface: 1,
                    neighbor: router(to),
                });
                let links = links.collect();
                let options = *rng.choice(&[0x13, 0x13, 0x13, 0x03, 0x12]).unwrap();
                let body = RouterLsa { bits: 0, options, links }.encode();
                lsdb.install(LsaRef::area(key), Lsa::new(key, 1, 0, body.into()), true, now);
            }
            let usable = Usable { lsdb: &lsdb, origins: &origins, now };
            if graph.update(&usable, [VertexId::Router(router(number))], Some(&tree)) {
                tree = Tree::calculate(&graph, &root_links, &mut NextHopSets::new());
            }
            let found: BTreeMap<RouterId, u32> = (1..ROUTERS)
                .filter_map(|number| {
                    let at = graph.position(VertexId::Router(router(number)))?;
                    Some((router(number), tree.path(at)?.0))
                })
                .collect();
            assert_eq!(found, naive(&lsdb, &root_links, now), "seed {seed} step {step}");
        }
    }
}

#[test]
fn vertices_without_lsas_do_not_pile_up() {
    let now = Time::ZERO;
    let (mut lsdb, origins) = (Lsdb::default(), Origins::default());
    let mut graph = Graph::new(router(0));
    for number in 1..5_000 {
        let key = LsaKey { ls_type: LsType::ROUTER, router: router(number), id: 0 };
        let body = RouterLsa { bits: 0, options: options::ROUTER, links: Vec::new() }.encode();
        lsdb.install(LsaRef::area(key), Lsa::new(key, 1, 0, body.into()), true, now);
        graph.update(
            &Usable { lsdb: &lsdb, origins: &origins, now },
            [VertexId::Router(router(number))],
            None,
        );
        lsdb.remove(&LsaRef::area(key));
        let usable = Usable { lsdb: &lsdb, origins: &origins, now };
        graph.update(&usable, [VertexId::Router(router(number))], None);
        graph.compact(&usable, router(0));
        assert!(graph.vertices.len() <= 2 * MIN_COMPACT);
    }
}

/// What the calculation is to find for a prefix: kind, cost, links, origins.
type Found = (PathType, u32, BTreeSet<LinkId>, BTreeSet<RouterId>);
/// Cost and links to a router.
type Way = (u32, BTreeSet<LinkId>);

/// The whole calculation in the most simple way: RFC 2328 sections 16.1, 16.2 and 16.4, everything from the database.
struct Naive<'a> {
    lsdb: &'a Lsdb,
    root_links: &'a [RootLink],
    now: Time,
}

impl Naive<'_> {
    fn to(&self, router: RouterId) -> Option<Way> {
        let distance = *naive(self.lsdb, self.root_links, self.now).get(&router)?;
        let mut links = BTreeSet::new();
        for link in self.root_links {
            let alone = naive(self.lsdb, &[*link], self.now);
            if alone.get(&router) == Some(&distance) {
                links.insert(link.link);
            }
        }
        Some((distance, links))
    }

    fn to_with(&self, router: RouterId, bit: u8) -> Option<Way> {
        let mut lsas = self.lsdb.of_router(LsType::ROUTER, router).filter(|(_, it)| !it.is_max_age(self.now));
        let Body::Router(lsa) = lsas.next()?.1.read() else { return None };
        if lsa.bits & bit != 0 { self.to(router) } else { None }
    }

    fn bodies(&self, ls_type: LsType) -> impl Iterator<Item = (LsaKey, Body)> {
        let fresh = self.lsdb.of_type(ls_type).filter(|(_, entry)| !entry.is_max_age(self.now));
        fresh.map(|(key, entry)| (*key, entry.read()))
    }

    fn best<K: Ord>(ways: impl Iterator<Item = (K, Way, RouterId)>) -> Option<(K, Way, BTreeSet<RouterId>)> {
        let mut ways: Vec<_> = ways.collect();
        ways.sort_by(|a, b| a.0.cmp(&b.0));
        let mut ways = ways.into_iter();
        let (key, mut way, origin) = ways.next()?;
        let mut origins = BTreeSet::from([origin]);
        for (other, (_, links), origin) in ways {
            if other == key {
                way.1.extend(links);
                origins.insert(origin);
            }
        }
        Some((key, way, origins))
    }

    fn internal(&self, prefix: Prefix) -> Option<Found> {
        let mut ways = Vec::new();
        for (key, body) in self.bodies(LsType::INTRA_AREA_PREFIX) {
            let Body::IntraAreaPrefix(lsa) = body else { continue };
            for advertised in lsa.prefixes.iter().filter(|it| it.prefix() == Some(prefix)) {
                if let Some((distance, links)) = self.to(key.router) {
                    let cost = distance + u32::from(advertised.metric);
                    ways.push(((PathType::IntraArea, cost), (cost, links), key.router));
                }
            }
        }
        for (key, body) in self.bodies(LsType::INTER_AREA_PREFIX) {
            let Body::InterAreaPrefix(lsa) = body else { continue };
            if lsa.prefix.prefix() == Some(prefix)
                && lsa.metric < LS_INFINITY
                && let Some((distance, links)) = self.to_with(key.router, router_bits::B)
            {
                let cost = distance + lsa.metric;
                ways.push(((PathType::InterArea, cost), (cost, links), key.router));
            }
        }
        Self::best(ways.into_iter()).map(|((path, cost), (_, links), origins)| (path, cost, links, origins))
    }

    fn boundary(&self, router: RouterId) -> Option<Way> {
        self.to_with(router, router_bits::E).or_else(|| {
            let inter = self.bodies(LsType::INTER_AREA_ROUTER).filter_map(|(key, body)| {
                let Body::InterAreaRouter(lsa) = body else { return None };
                let (distance, links) = self.to_with(key.router, router_bits::B)?;
                let cost = distance + lsa.metric;
                (lsa.destination == router && lsa.metric < LS_INFINITY).then_some((
                    cost,
                    (cost, links),
                    key.router,
                ))
            });
            Self::best(inter).map(|(_, way, _)| way)
        })
    }

    fn route(&self, prefix: Prefix) -> Option<Found> {
        if let Some(found) = self.internal(prefix) {
            return Some(found);
        }
        let external = self.bodies(LsType::AS_EXTERNAL).filter_map(|(key, body)| {
            let Body::AsExternal(lsa) = body else { return None };
            if lsa.prefix.prefix() != Some(prefix) || lsa.metric >= LS_INFINITY {
                return None;
            }
            let mut way = self.boundary(key.router)?;
            if let Some(address) = lsa.forwarding {
                let covering = (0..=128).rev().map(|len| Prefix::new(address, len));
                let (_, cost, links, _) = covering.into_iter().find_map(|prefix| self.internal(prefix))?;
                way = (cost, links);
            }
            let rank = if lsa.type_2 {
                (PathType::External2, lsa.metric, way.0)
            } else {
                (PathType::External1, way.0 + lsa.metric, 0)
            };
            Some((rank, way, key.router))
        });
        Self::best(external).map(|((path, cost, _), (_, links), origins)| (path, cost, links, origins))
    }
}

/// A router with three adjacencies, to neighbours 1, 2 and 3.
fn rig() -> (Ospf, Vec<RootLink>) {
    let config = Config {
        router_id: router(0),
        mesh: MeshPrefix::DEFAULT,
        prefixes: Vec::new(),
        hostname: None,
        hello: Duration::from_secs(10),
        dead: Duration::from_secs(40),
        rxmt: Duration::from_secs(1),
        flood_reduction: true,
        restart_helper: crate::ospf::RestartHelper::Strict,
        member: None,
        seed: 0,
    };
    let (hello, dead) = (config.hello, config.dead);
    let mut ospf = Ospf::new(config, Time::ZERO);
    let mut root_links = Vec::new();
    for number in 1..4_u16 {
        let link = LinkId::new(number.into()).unwrap();
        let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number);
        let (stock, allow) = (false, Vec::new());
        let config = LinkConfig { link, cost: number, local, mtu: 1280, stock, allow };
        let mut interface = Interface::new(config, hello, dead);
        let mut neighbor = Neighbor::new(router(number.into()), local, 1, 1, Time::ZERO);
        neighbor.state = State::Full;
        interface.neighbor = Some(neighbor);
        ospf.interfaces.insert(link, interface);
        root_links.push(RootLink { link, cost: number.into(), neighbor: router(number.into()) });
    }
    ospf.schedule_spf(SpfTrigger::Configuration, Time::ZERO);
    (ospf, root_links)
}

fn random_prefix(rng: &mut fastrand::Rng) -> Prefix {
    // Few, and some inside others.
    let addr = Ipv6Addr::from_bits(MeshPrefix::DEFAULT.prefix().addr().to_bits() | u128::from(rng.u8(..6)));
    Prefix::new(addr, *rng.choice(&[64, 126, 127, 128, 128]).unwrap())
}

/// Something a router may say, of all kinds the calculation reads.
fn random_lsa(rng: &mut fastrand::Rng) -> (LsaKey, Vec<u8>) {
    let number = rng.u32(1..ROUTERS);
    let advertising = router(number);
    let key = |ls_type, id| LsaKey { ls_type, router: advertising, id };
    let own = LsaPrefix { metric: rng.u16(..3), ..LsaPrefix::own(random_prefix(rng)) };
    let prefix = LsaPrefix { metric: 0, ..own };
    let metric = *rng.choice(&[0, 1, 2, 3, LS_INFINITY]).unwrap();
    match rng.u8(..8) {
        0..3 => {
            let targets: Vec<u32> = (0..ROUTERS).filter(|_| rng.u8(..3) == 0).collect();
            let links = targets.into_iter().map(|to| RouterLink {
                kind: link_type::POINT_TO_POINT,
                metric: rng.u16(1..4),
                interface: 1,
                neighbor_interface: 1,
                neighbor: router(to),
            });
            let links = links.collect();
            let body = RouterLsa { bits: rng.u8(..4), options: options::ROUTER, links };
            (key(LsType::ROUTER, 0), body.encode())
        }
        3..5 => {
            let referenced = LsaKey { ls_type: LsType::ROUTER, router: advertising, id: 0 };
            let body = IntraAreaPrefixLsa { referenced, prefixes: vec![own] };
            (key(LsType::INTRA_AREA_PREFIX, rng.u32(..2)), body.encode())
        }
        5 => (key(LsType::INTER_AREA_PREFIX, rng.u32(..2)), InterAreaPrefixLsa { metric, prefix }.encode()),
        6 => {
            let destination = router(rng.u32(1..ROUTERS + 2));
            let body = InterAreaRouterLsa { options: options::ROUTER, metric, destination };
            (key(LsType::INTER_AREA_ROUTER, 0), body.encode())
        }
        _ => {
            let forwarding = rng.bool().then(|| random_prefix(rng).addr());
            let body =
                AsExternalLsa { type_2: rng.bool(), metric, prefix, forwarding, tag: None, referenced: None };
            // Some boundary routers are in other areas.
            let router = router(rng.u32(1..ROUTERS + 2));
            (LsaKey { ls_type: LsType::AS_EXTERNAL, router, id: rng.u32(..2) }, body.encode())
        }
    }
}

#[test]
fn routes_kept_in_step_are_those_of_a_calculation_from_nothing() {
    let mut kinds = BTreeSet::new();
    let mut skipped = 0;
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Time::ZERO;
        let (mut ospf, root_links) = rig();
        let mut seq = 0;
        for step in 0..120 {
            for _ in 0..rng.u8(1..4) {
                let (key, body) = random_lsa(&mut rng);
                seq += 1;
                let age = if rng.u8(..4) == 0 { MAX_AGE } else { 1 };
                ospf.install(LsaRef::area(key), Lsa::new(key, seq, age, body.into()), false, now);
            }
            ospf.calculate_routes(now);
            skipped += u32::from(!ospf.spf_log().last().unwrap().full);
            let naive = Naive { lsdb: &ospf.lsdb, root_links: &root_links, now };
            let prefixes: BTreeSet<Prefix> =
                (0..200).map(|_| random_prefix(&mut rng)).chain(ospf.routes().map(|it| it.prefix)).collect();
            let expected: BTreeMap<Prefix, Found> =
                prefixes.iter().filter_map(|prefix| Some((*prefix, naive.route(*prefix)?))).collect();
            let found: BTreeMap<Prefix, Found> = ospf
                .routes()
                .map(|it| {
                    let (links, origins) = (it.links.into_iter().collect(), it.origins.into_iter().collect());
                    (it.prefix, (it.path, it.cost, links, origins))
                })
                .collect();
            assert_eq!(found, expected, "seed {seed} step {step}");
            assert_eq!(ospf.fib().len(), found.len(), "seed {seed} step {step}");
            for (prefix, (path, _, links, _)) in found {
                let Some(Target::Via(via)) = ospf.fib().exact(&prefix) else {
                    panic!("{prefix} is not in the FIB")
                };
                assert!(links.iter().eq(via), "seed {seed} step {step}");
                kinds.insert(path);
            }
        }
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    assert!(skipped > 1_000, "{skipped} runs needed no tree");
}
