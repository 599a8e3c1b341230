//! The RIBs: what is chosen, who is told what, and how often.

use super::*;
use crate::bgp::path::Path;
use crate::bgp::policy::Community;
use crate::bgp::update::{Update, announce};

fn at(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// The path `node` was last told for a prefix by peer `of`.
fn told(net: &Net, node: usize, of: usize, prefix: Prefix) -> Option<Path> {
    let views = net.nodes[node].route_views(net.now);
    views
        .into_iter()
        .find(|view| view.prefix == prefix && view.peer == Some(address(of)))
        .map(|view| view.path)
}

/// ```text
/// 1 --- 0 --- 2
/// ```
/// Both peers are played: what peer 1 announces, and what peer 2 is told of it.
struct Between {
    net: Net,
}

impl Between {
    fn new(change: impl Fn(usize, &mut PeerConfig)) -> Self {
        let mut net = Net::new(1, &[]);
        net.nodes[0].set_peers(Self::peers(&change), net.now);
        net.nodes[0].handle_timeout(net.now);
        net.settle();
        let mut between = Self { net };
        for node in [1, 2] {
            assert!(between.net.nodes[0].handle_connected(address(node), Side::Dialled, between.net.now));
            let open = message::Open { asn: asn(node), identifier: node as u32 + 1, ..Script::open() };
            between.say(node, &open.encode());
            between.say(node, &message::keepalive());
        }
        between.net.sent.clear();
        between.net.log.clear();
        between
    }

    fn peers(change: impl Fn(usize, &mut PeerConfig)) -> Vec<PeerConfig> {
        let mut peers = [peer(1), peer(2)];
        peers.iter_mut().zip([1, 2]).for_each(|(config, node)| change(node, config));
        peers.to_vec()
    }

    fn say(&mut self, node: usize, bytes: &[u8]) {
        self.net.nodes[0].handle_bytes(address(node), Side::Dialled, bytes, self.net.now);
        self.net.settle();
    }

    /// A node announces prefixes with a path that begins with its AS, and a way to it costs 10.
    fn announce(&mut self, node: usize, path: Path, prefixes: &[Prefix]) {
        let path = Path { next_hop: address(node), ..path };
        for message in announce(&path, prefixes) {
            self.say(node, &message);
        }
    }

    /// The UPDATEs that were sent since the last call.
    fn updates(&mut self) -> Vec<Update> {
        let sent = std::mem::take(&mut self.net.sent);
        sent.iter().map(|(_, bytes)| Update::decode(&bytes[19..]).unwrap()).collect()
    }

    /// Prefixes that were announced and withdrawn since the last call.
    fn changes(&mut self) -> (Vec<Prefix>, Vec<Prefix>) {
        let updates = self.updates();
        let announced = updates.iter().flat_map(|it| it.announced.iter().flat_map(|(_, prefixes)| prefixes));
        (announced.copied().collect(), updates.iter().flat_map(|it| it.withdrawn.clone()).collect())
    }
}

fn through(numbers: &[u32]) -> Path {
    let mut path = Path::local(address(1));
    numbers.iter().rev().for_each(|asn| path.as_path.prepend(*asn, 1));
    path
}

#[test]
fn rfc4271_9_2_a_peer_is_told_of_changes_only() {
    let mut net = Between::new(|_, _| {});
    let (a, b) = (at("fd12:1::/48"), at("fd12:2::/48"));
    net.announce(1, through(&[asn(1)]), &[a, b]);
    assert_eq!(net.changes(), (vec![a, b], vec![]));
    assert_eq!(net.net.log, [(0, Output::RoutesChanged)]);
    net.net.log.clear();
    net.announce(1, through(&[asn(1)]), &[a, b]);
    assert_eq!((net.changes(), net.net.log.len()), ((vec![], vec![]), 0), "it says the same again");
    net.announce(1, through(&[asn(1), 9]), &[a]);
    assert_eq!((net.changes(), net.net.log.len()), ((vec![a], vec![]), 0), "a longer path, the same way");
    net.announce(1, Path { med: Some(7), ..through(&[asn(1), 9]) }, &[a, b]);
    assert_eq!(net.changes(), (vec![b], vec![]), "section 5.1.4: the MED does not go through");
    assert_eq!(net.net.log, [(0, Output::RoutesChanged)], "it is of interest here");
    for message in update::withdraw(&[a]) {
        net.say(1, &message);
    }
    assert_eq!(net.changes(), (vec![], vec![a]));
    // The first of two prefixes changes, the second does not.
    net.net.log.clear();
    net.announce(1, Path { med: Some(7), ..through(&[asn(1), 9]) }, &[a, b]);
    assert_eq!((net.changes(), net.net.log.len()), ((vec![a], vec![]), 1));
}

#[test]
fn rfc4271_5_1_5_a_local_pref_of_import_is_no_news_to_others() {
    let preferring = |local_pref| {
        move |node: usize, peer: &mut PeerConfig| {
            if node == 1 {
                peer.import = Policy(vec![Rule { local_pref: Some(local_pref), ..Rule::ACCEPT }]);
            }
        }
    };
    let mut net = Between::new(preferring(200));
    net.announce(1, through(&[asn(1)]), &[at("fd12:1::/48")]);
    assert_eq!(net.updates().len(), 1);
    net.net.nodes[0].set_peers(Between::peers(preferring(300)), net.net.now);
    net.net.settle();
    assert_eq!(net.updates(), []);
}

/// It would discard them, and must not take the detour for a way.
#[test]
fn rfc4271_9_1_2_an_as_is_not_told_of_routes_it_has_passed() {
    let mut net = Between::new(|_, _| {});
    net.announce(1, through(&[asn(1), asn(2), 9]), &[at("fd12:1::/48")]);
    assert_eq!(net.net.routes(0), [at("fd12:1::/48")]);
    assert_eq!(net.updates(), [], "neither back to peer 1 nor to peer 2");
}

#[test]
fn rfc1997_the_well_known_communities() {
    for (community, told) in [(0xffff_ff01_u32, 0), (0xffff_ff02, 0), (0xffff_ff04, 1)] {
        let mut net = Between::new(|_, _| {});
        net.announce(1, Path { communities: vec![community], ..through(&[asn(1)]) }, &[at("fd12:1::/48")]);
        assert_eq!(net.net.routes(0).len(), 1);
        assert_eq!(net.updates().len(), told, "{community:x}");
    }
}

#[test]
fn rfc4271_9_2_a_route_with_attributes_too_large_to_tell_is_withdrawn() {
    let mut net = Between::new(|_, _| {});
    let prefix = at("fd12:1::/48");
    net.announce(1, through(&[asn(1)]), &[prefix]);
    assert_eq!((net.changes(), net.net.view(0, 2).sent_prefixes), ((vec![prefix], vec![]), 2));
    // Ours takes four octets more: the second AS in the path.
    let path = Path { others: vec![(99, 0xe0, vec![0; 3965])], ..through(&[asn(1)]) };
    net.announce(1, path, &[prefix]);
    assert_eq!(net.net.routes(0), [prefix]);
    assert_eq!((net.changes(), net.net.view(0, 2).sent_prefixes), ((vec![], vec![prefix]), 1));
}

#[test]
fn a_prefix_that_we_originate_is_told_as_ours_whoever_else_announces_it() {
    let mut net = Between::new(|_, _| {});
    let shared = at("fd99::/48");
    net.net.nodes[0].config.announce.push(shared);
    net.announce(1, through(&[asn(1)]), &[shared]);
    let paths = net.updates().into_iter().filter_map(|update| Some(update.announced?.0.as_path.to_string()));
    assert_eq!(paths.collect::<Vec<_>>(), [asn(0).to_string(), asn(0).to_string()], "to both");
}

#[test]
fn policy_puts_our_as_in_front_in_either_direction() {
    let mut net = Net::with(3, &[(0, 1), (1, 2)], |node, peer| {
        let prepending = Policy(vec![Rule { prepend: 1, ..Rule::ACCEPT }]);
        match node {
            0 => peer.export = prepending,
            2 => peer.import = prepending,
            _ => {}
        }
    });
    net.run(10 * SECOND);
    let path = told(&net, 1, 0, mesh(0)).unwrap();
    assert_eq!(path.as_path.to_string(), format!("{0} {0}", asn(0)));
    let path = told(&net, 2, 1, mesh(1)).unwrap();
    assert_eq!(path.as_path.to_string(), format!("{} {}", asn(2), asn(1)));
}

/// Peers 1 and 2 are in one AS and announce the same prefix.
fn two_ways(costs: [u32; 2], identifiers: [u32; 2]) -> Bgp {
    let mut net = Net::new(1, &[]);
    let config = |node| PeerConfig { asn: 9, ..peer(node) };
    net.nodes[0].set_peers(vec![config(1), config(2)], net.now);
    net.nodes[0].handle_timeout(net.now);
    net.settle();
    let bgp = &mut net.nodes[0];
    for (node, identifier) in [1, 2].into_iter().zip(identifiers) {
        assert!(bgp.handle_connected(address(node), Side::Dialled, net.now));
        let mut open = message::Open { asn: 9, identifier, ..Script::open() };
        open.capabilities.graceful_restart =
            Some(message::GracefulRestart { restarted: false, time: 120 * SECOND, ipv6_unicast: Some(true) });
        let path = Path { next_hop: address(node), ..through(&[9]) };
        let said = [vec![open.encode(), message::keepalive()], announce(&path, &[mesh(3)])].concat();
        bgp.handle_bytes(address(node), Side::Dialled, &said.concat(), net.now);
    }
    bgp.update_next_hops(|hop| Some(costs[usize::from(hop == address(2))]));
    net.nodes.remove(0)
}

#[test]
fn rfc4271_9_1_2_2_e_and_f_interior_cost_counts_before_the_identifier() {
    // Which is the best, and which are used.
    for (costs, identifiers, best, used) in [
        ([1, 2], [8, 7], 1, vec![1]),
        ([2, 1], [7, 8], 2, vec![2]),
        ([1, 1], [7, 8], 1, vec![1, 2]),
        ([1, 1], [8, 7], 2, vec![1, 2]),
    ] {
        let bgp = two_ways(costs, identifiers);
        let views = bgp.route_views(Time::ZERO);
        let found: Vec<_> =
            views.iter().filter_map(|view| Some((view.peer?, view.best, view.multipath))).collect();
        let expected = [1, 2].map(|node| (address(node), node == best, node != best && used.contains(&node)));
        assert_eq!(found, expected, "{costs:?} {identifiers:?}");
        let next_hops: Vec<Ipv6Addr> = used.into_iter().map(address).collect();
        assert_eq!(bgp.routes().next().unwrap().next_hops, next_hops);
    }
}

/// Nobody else shall notice a restart: the tie is broken as before, also when the prefix is decided on anew.
#[test]
fn rfc4724_4_2_the_route_of_a_restarting_peer_stays_the_best() {
    let mut bgp = two_ways([1, 1], [7, 8]);
    bgp.handle_closed(address(1), Side::Dialled, Time::ZERO);
    let path = Path { med: Some(0), next_hop: address(2), ..through(&[9]) };
    for message in announce(&path, &[mesh(3)]) {
        bgp.handle_bytes(address(2), Side::Dialled, &message, Time::ZERO);
    }
    let views = bgp.route_views(Time::ZERO);
    let best = views.iter().filter(|view| view.best).map(|view| (view.peer, view.stale));
    assert_eq!(best.collect::<Vec<_>>(), [(None, false), (Some(address(1)), true)]);
    assert_eq!(bgp.routes().next().unwrap().next_hops, [address(1), address(2)]);
}

#[test]
fn next_hops_are_asked_for_once_and_as_long_as_routes_name_them() {
    let mut bgp = two_ways([1, 1], [7, 8]);
    let changed =
        std::iter::from_fn(|| bgp.poll_output()).filter(|it| *it == Output::NextHopsChanged).count();
    assert_eq!(changed, 2, "one for each");
    let path = Path { next_hop: address(1), ..through(&[9]) };
    for message in announce(&path, &[mesh(4)]) {
        bgp.handle_bytes(address(1), Side::Dialled, &message, Time::ZERO);
    }
    assert!(std::iter::from_fn(|| bgp.poll_output()).all(|it| it != Output::NextHopsChanged));
    assert_eq!(bgp.routes().count(), 2, "its cost is known");
    // Traffic is shared no longer: that is a change of the routes, though the best is the same.
    bgp.update_next_hops(|hop| (hop == address(1)).then_some(1));
    assert!(std::iter::from_fn(|| bgp.poll_output()).any(|it| it == Output::RoutesChanged));
    for message in update::withdraw(&[mesh(3)]) {
        bgp.handle_bytes(address(2), Side::Dialled, &message, Time::ZERO);
    }
    let asked = |bgp: &mut Bgp| {
        let hops = std::cell::RefCell::new(Vec::new());
        bgp.update_next_hops(|hop| {
            hops.borrow_mut().push(hop);
            Some(1)
        });
        hops.into_inner()
    };
    assert_eq!(asked(&mut bgp), [address(1), address(2)]);
    assert_eq!(asked(&mut bgp), [address(1)]);
}

/// A new policy can bring a next hop that nobody has asked for yet.
#[test]
fn rfc8212_a_policy_that_comes_later_brings_the_routes_and_their_next_hops() {
    let mut script = Script::connected(|peer| peer.import = Policy::default());
    script.say(&Script::open().encode());
    script.say(&message::keepalive());
    script.announce(&[mesh(1)]);
    script.net.nodes[0].set_peers(vec![peer(1)], script.net.now);
    script.net.settle();
    assert_eq!(script.net.routes(0), [mesh(1)]);
    // Back again: what was used is not.
    let community = Some(Community::Plain(5));
    let import = Policy(vec![Rule { community, ..Rule::ACCEPT }]);
    script.net.nodes[0].set_peers(vec![PeerConfig { import, ..peer(1) }], script.net.now);
    assert_eq!(script.net.routes(0), []);
}
