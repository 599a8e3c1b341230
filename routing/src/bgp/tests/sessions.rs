//! Sessions, and the routes that go through them.

use super::*;
use crate::bgp::policy::Community;

#[test]
fn two_speakers_exchange_their_aggregates_and_end_of_rib() {
    let mut net = Net::new(2, &[(0, 1)]);
    net.run(10 * SECOND);
    assert!(net.is_up(0, 1));
    for (node, other) in [(0, 1), (1, 0)] {
        let routes: Vec<Route> = net.nodes[node].routes().collect();
        let expected = Route { prefix: mesh(other), next_hops: vec![address(other)], med: None };
        assert_eq!(routes, [expected]);
        assert!(net.sent.iter().any(|(from, bytes)| *from == node && *bytes == update::end_of_rib()));
    }
}

/// Both dial at the same time and both connections open; the one of the higher identifier stays.
#[test]
fn rfc4271_6_8_of_two_connections_one_survives_at_both_ends() {
    let mut net = Net::new(2, &[(0, 1)]);
    net.run(SECOND);
    assert!(net.is_up(0, 1));
    net.run(200 * SECOND);
    for node in [0, 1] {
        let connections: Vec<Side> =
            net.nodes[node].peers[&address(1 - node)].connections.keys().copied().collect();
        // Node 1 has the higher identifier.
        assert_eq!(connections, [if node == 1 { Side::Dialled } else { Side::Accepted }]);
        assert_eq!(net.view(node, 1 - node).counters.established, 1);
    }
    let collisions = |node| net.notifications(node).into_iter().filter(|it| *it == (6, 7)).count();
    assert!(collisions(0) + collisions(1) >= 1, "the connections did not collide");
}

#[test]
fn rfc4271_8_silence_for_the_hold_time_ends_the_session_and_the_routes() {
    let mut net = Net::new(2, &[(0, 1)]);
    net.run(10 * SECOND);
    net.cut.insert((0, 1));
    net.run(59 * SECOND);
    assert!(net.is_up(0, 1), "KEEPALIVEs are sent each 30 s");
    net.run(32 * SECOND);
    assert!(!net.is_up(0, 1));
    assert_eq!((net.routes(0), net.routes(1)), (vec![], vec![]));
    assert!(net.notifications(0).contains(&(4, 0)));
    net.cut.clear();
    net.run(30 * SECOND);
    assert!(net.is_up(0, 1));
    assert_eq!(net.routes(0), [mesh(1)]);
}

#[test]
fn the_hold_time_is_the_smaller_of_both_and_keepalives_come_in_a_third_of_it() {
    let mut net = Net::with(2, &[(0, 1)], |node, peer| peer.bfd = node == 0);
    net.run(10 * SECOND);
    assert_eq!(net.view(1, 0).hold_time, Some(9 * SECOND));
    net.sent.clear();
    net.run(30 * SECOND);
    let keepalives = net.sent.iter().filter(|(node, bytes)| *node == 0 && bytes.len() == 19).count();
    assert!((10..=13).contains(&keepalives), "{keepalives}");
}

#[test]
fn rfc8212_without_policy_nothing_comes_in_and_nothing_goes_out() {
    let mut net = Net::with(2, &[(0, 1)], |node, peer| {
        if node == 0 {
            peer.import = Policy::default();
            peer.export = Policy::default();
        }
    });
    net.run(10 * SECOND);
    assert!(net.is_up(0, 1) && net.view(0, 1).lacks_policy);
    assert_eq!((net.routes(0), net.routes(1)), (vec![], vec![]));
    assert_eq!((net.view(0, 1).received_prefixes, net.view(0, 1).accepted_prefixes), (1, 0));
    // The operator says so: what was received before is used, without a new session.
    net.nodes[0].set_peers(vec![peer(1)], net.now);
    net.settle();
    assert_eq!((net.routes(0), net.routes(1)), (vec![mesh(1)], vec![mesh(0)]));
    assert_eq!(net.view(0, 1).counters.established, 1);
    net.nodes[0].set_peers(vec![PeerConfig { export: Policy::default(), ..peer(1) }], net.now);
    net.settle();
    assert_eq!(net.routes(1), []);
}

/// ```text
/// 0 --- 1 --- 2
/// ```
#[test]
fn a_mesh_in_the_middle_passes_routes_on_with_its_as_in_front_and_without_med() {
    let mut net = Net::with(3, &[(0, 1), (1, 2)], |node, peer| {
        if node == 0 {
            let rule = Rule { med: Some(7), add_communities: vec![Community::Plain(99)], ..Rule::ACCEPT };
            peer.export = Policy(vec![rule]);
        }
    });
    net.run(10 * SECOND);
    assert_eq!(net.routes(2), [mesh(0), mesh(1)]);
    let views = net.nodes[2].route_views(net.now);
    let view = views.iter().find(|view| view.prefix == mesh(0)).unwrap();
    assert_eq!(view.path.as_path.to_string(), format!("{} {}", asn(1), asn(0)));
    assert_eq!((view.path.next_hop, view.path.med), (address(1), None));
    assert_eq!(view.path.communities, [99]);
    assert_eq!(net.nodes[1].routes().find(|it| it.prefix == mesh(0)).unwrap().med, Some(7));
}

#[test]
fn rfc1997_no_export_stays_with_whom_it_was_told() {
    let mut net = Net::with(3, &[(0, 1), (1, 2)], |node, peer| {
        if node == 0 {
            let no_export = Community::Plain(consts::community::NO_EXPORT);
            peer.export = Policy(vec![Rule { add_communities: vec![no_export], ..Rule::ACCEPT }]);
        }
    });
    net.run(10 * SECOND);
    assert_eq!(net.routes(1), [mesh(0), mesh(2)]);
    assert_eq!(net.routes(2), [mesh(1)]);
}

#[test]
fn a_filtered_prefix_is_absent_and_shown_as_filtered() {
    let mut net = Net::with(3, &[(0, 1), (1, 2)], |node, peer| {
        if node == 2 {
            peer.import = Policy(vec![within(mesh(1))]);
        }
    });
    net.run(10 * SECOND);
    assert_eq!(net.routes(2), [mesh(1)]);
    let views = net.nodes[2].route_views(net.now);
    let view = views.iter().find(|view| view.prefix == mesh(0)).unwrap();
    assert_eq!((view.filtered, view.best), (Some(view::Filtered::Policy), false));
}

/// ```text
///   1
///  / \
/// 0   3
///  \ /
///   2
/// ```
#[test]
fn of_two_ways_the_shorter_is_used_and_the_other_when_it_goes() {
    let mut net = Net::with(4, &[(0, 1), (0, 2), (1, 3), (2, 3)], |node, peer| {
        if node == 1 {
            peer.export = Policy(vec![Rule { prepend: 2, ..Rule::ACCEPT }]);
        }
    });
    net.run(10 * SECOND);
    let hop = |net: &Net| net.nodes[0].routes().find(|it| it.prefix == mesh(3)).unwrap().next_hops;
    assert_eq!(hop(&net), [address(2)]);
    net.nodes[2].shutdown(net.now);
    net.settle();
    assert_eq!(hop(&net), [address(1)]);
}

#[test]
fn rfc4271_9_1_2_a_route_without_a_way_to_its_next_hop_is_not_used_until_there_is_one() {
    let mut net = Net::new(2, &[(0, 1)]);
    net.unreachable.insert(address(1));
    net.run(10 * SECOND);
    assert_eq!(net.routes(0), []);
    net.unreachable.clear();
    net.resolve(0);
    assert_eq!(net.routes(0), [mesh(1)]);
    net.unreachable.insert(address(1));
    net.resolve(0);
    assert_eq!(net.routes(0), []);
}

#[test]
fn rfc9384_bfd_down_ends_the_session_and_its_routes_at_once() {
    let mut net = Net::with(2, &[(0, 1)], |_, peer| peer.bfd = true);
    net.run(10 * SECOND);
    assert!(net.log.contains(&(0, Output::Bfd { peer: address(1), enabled: true })));
    net.nodes[0].handle_bfd(address(1), BfdEvent::AdminDown, net.now);
    net.settle();
    assert!(net.is_up(0, 1), "RFC 5882 section 4.2: no statement about the path");
    net.cut.insert((0, 1));
    net.nodes[0].handle_bfd(address(1), BfdEvent::Down { independent: false }, net.now);
    net.settle();
    assert_eq!(net.routes(0), []);
    assert!(net.notifications(0).contains(&(6, 10)));
    assert!(net.log.contains(&(0, Output::Bfd { peer: address(1), enabled: false })));
}

#[test]
fn rfc4486_too_many_prefixes_end_the_session_for_five_minutes() {
    let mut net = Net::with(3, &[(0, 1), (1, 2)], |node, peer| {
        if node == 2 {
            peer.max_prefixes = 1;
        }
    });
    net.run(10 * SECOND);
    assert!(net.notifications(2).contains(&(6, 1)));
    assert_eq!(net.routes(2), []);
    net.nodes[1].set_peers(vec![PeerConfig { import: Policy::default(), ..peer(0) }, peer(2)], net.now);
    net.run(280 * SECOND);
    assert!(!net.is_up(1, 2));
    net.run(60 * SECOND);
    assert!(net.is_up(1, 2));
    assert_eq!(net.routes(2), [mesh(1)]);
}

#[test]
fn rfc2918_a_route_refresh_is_answered_with_all_routes() {
    let mut script = Script::established();
    script.net.sent.clear();
    script.say(&message::framed(consts::kind::ROUTE_REFRESH, |w| {
        w.u16(2).u8(0).u8(1);
    }));
    let updates = script.net.sent.iter().filter(|(_, bytes)| bytes[18] == consts::kind::UPDATE).count();
    assert_eq!(updates, 1);
    script.say(&message::framed(consts::kind::ROUTE_REFRESH, |w| {
        w.u16(2).u8(0);
    }));
    assert_eq!(script.net.notifications(0), [(7, 1)]);
}

#[test]
fn failures_in_a_row_are_followed_by_longer_pauses() {
    let mut script = Script::connected(|_| {});
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let start = script.net.now;
        script.say(&[0; 19]);
        let due = script.net.nodes[0].poll_timeout().unwrap().0;
        pauses.push(due.since(start).as_secs());
        script.net.run(due.since(start));
        assert!(script.net.nodes[0].handle_connected(address(1), Side::Dialled, script.net.now));
        script.net.settle();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}
