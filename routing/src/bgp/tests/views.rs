//! What operators see.

use super::*;
use crate::bgp::path::Path;
use crate::bgp::view::{Counters, Filtered, RouteView};

#[test]
fn a_peer_from_its_first_attempt_to_the_end_of_its_session() {
    let import = Policy(vec![within(mesh(1)), within(mesh(3))]);
    let mut script = Script::dialling(|peer| peer.import = import.clone());
    let mut expected = PeerView {
        address: address(1),
        asn: asn(1),
        identifier: None,
        state: State::Connect,
        up_for: None,
        hold_time: None,
        counters: Counters::default(),
        received_prefixes: 0,
        accepted_prefixes: 0,
        sent_prefixes: 0,
        lacks_policy: false,
        last_error: None,
    };
    assert_eq!(script.net.view(0, 1), expected);

    assert!(script.connect(Side::Dialled));
    script.say(&message::Open { hold_time: 60 * SECOND, ..Script::open() }.encode());
    script.net.run(5 * SECOND);
    script.say(&message::keepalive());
    script.announce(&[mesh(1), mesh(2), mesh(3)]);
    script.net.run(2 * SECOND);
    expected = PeerView {
        identifier: Some([0, 0, 0, 2].into()),
        state: State::Established,
        up_for: Some(2 * SECOND),
        hold_time: Some(60 * SECOND),
        // OPEN, KEEPALIVE, UPDATE; and a second UPDATE of ours, End-of-RIB.
        counters: Counters { received: 3, sent: 4, malformed_updates: 0, established: 1 },
        received_prefixes: 3,
        accepted_prefixes: 2,
        sent_prefixes: 1,
        ..expected
    };
    assert_eq!(script.net.view(0, 1), expected);

    script.close();
    script.net.run(500 * Duration::from_millis(1));
    expected = PeerView {
        identifier: None,
        state: State::Idle,
        up_for: None,
        hold_time: None,
        received_prefixes: 0,
        accepted_prefixes: 0,
        sent_prefixes: 0,
        last_error: Some((Duration::from_millis(500), "the connection was closed".to_owned())),
        ..expected
    };
    assert_eq!(script.net.view(0, 1), expected);
    assert_eq!(script.net.nodes[0].identifier(), 1);
    assert!(script.net.nodes[0].has_peer(address(1)) && !script.net.nodes[0].has_peer(address(2)));
}

#[test]
fn the_state_of_a_peer_is_that_of_the_connection_that_has_come_farthest() {
    for (identifier, answered) in [(2, Side::Accepted), (1, Side::Dialled)] {
        let mut script = Script::dialling(|peer| peer.asn = 5);
        assert!(script.connect(Side::Accepted));
        assert_eq!(script.net.view(0, 1).state, State::OpenSent, "ours is still being opened");
        assert!(script.connect(Side::Dialled));
        script.side = answered;
        script.say(&message::Open { identifier, asn: 5, ..Script::open() }.encode());
        assert_eq!(script.net.view(0, 1).state, State::OpenConfirm);
    }
}

#[test]
fn rfc8212_a_direction_without_policy_is_shown() {
    let some = || Policy(vec![Rule::ACCEPT]);
    for (import, export, lacks_policy) in [
        (some(), some(), false),
        (some(), Policy::default(), true),
        (Policy::default(), some(), true),
        (Policy::default(), Policy::default(), true),
    ] {
        let mut net = Net::new(1, &[]);
        net.nodes[0].set_peers(vec![PeerConfig { import, export, ..peer(1) }], net.now);
        assert_eq!(net.view(0, 1).lacks_policy, lacks_policy);
    }
}

#[test]
fn every_route_with_what_became_of_it() {
    let import = Policy(vec![Rule { med: Some(5), ..within(mesh(3)) }, within(mesh(2))]);
    let mut script = Script::connected(|peer| peer.import = import.clone());
    let mut open = Script::open();
    open.capabilities.graceful_restart =
        Some(message::GracefulRestart { restarted: false, time: 120 * SECOND, ipv6_unicast: Some(true) });
    script.say(&open.encode());
    script.say(&message::keepalive());
    script.net.run(10 * SECOND);
    let mut path = Path::local(address(1));
    path.as_path.prepend(asn(1), 1);
    // Nobody knows a way to this one.
    let far = Path { next_hop: address(9), ..path.clone() };
    script.net.unreachable.insert(address(9));
    script.announce(&[mesh(3), mesh(1)]);
    for message in update::announce(&far, &[mesh(2)]) {
        script.say(&message);
    }
    script.net.run(3 * SECOND);
    let own = RouteView {
        prefix: mesh(0),
        peer: None,
        path: Path::local(address(0)),
        filtered: None,
        reachable: true,
        best: true,
        multipath: false,
        stale: false,
        age: 13 * SECOND,
    };
    let learnt = RouteView { peer: Some(address(1)), best: false, age: 3 * SECOND, ..own.clone() };
    let filtered = Some(Filtered::Policy);
    let mut expected = [
        own.clone(),
        RouteView { prefix: mesh(1), path: path.clone(), filtered, ..learnt.clone() },
        RouteView { prefix: mesh(2), path: far, reachable: false, ..learnt.clone() },
        RouteView { prefix: mesh(3), path: Path { med: Some(5), ..path }, best: true, ..learnt },
    ];
    assert_eq!(script.net.nodes[0].route_views(script.net.now), expected);

    // While the peer restarts.
    script.close();
    expected.iter_mut().skip(1).for_each(|view| view.stale = true);
    assert_eq!(script.net.nodes[0].route_views(script.net.now), expected);
}
