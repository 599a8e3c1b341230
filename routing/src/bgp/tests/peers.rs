//! Connections and timers of one peer that is played byte by byte, and what the operator does to it.

use super::*;
use crate::bgp::message::{Open, framed, keepalive};

const MILLISECOND: Duration = Duration::from_millis(1);

fn connect() -> Output {
    Output::Connect { peer: address(1) }
}

fn close(side: Side) -> Output {
    Output::Close { peer: address(1), side }
}

fn came_up() -> Output {
    let reason = "OPENs and KEEPALIVEs were exchanged".to_owned();
    Output::PeerChanged { peer: address(1), established: true, reason }
}

fn went_down(reason: &str) -> Output {
    Output::PeerChanged { peer: address(1), established: false, reason: reason.to_owned() }
}

impl Script {
    fn state(&self) -> State {
        self.net.view(0, 1).state
    }

    /// The peer's OPEN and KEEPALIVE on the connection that was opened last.
    fn come_up(&mut self) {
        self.say(&Self::open().encode());
        self.say(&keepalive());
        assert!(self.is_up());
    }

    fn closed(&mut self, side: Side) {
        self.side = side;
        self.close();
    }
}

#[test]
fn rfc4271_8_2_2_a_refused_attempt_is_made_again_and_a_long_one_given_up() {
    let mut script = Script::dialling(|_| {});
    assert_eq!((script.did(), script.state()), (vec![connect()], State::Connect));
    script.closed(Side::Accepted);
    assert_eq!(script.state(), State::Connect, "there was no such connection");
    script.net.run(5 * SECOND);
    script.closed(Side::Dialled);
    assert_eq!((script.state(), script.timer()), (State::Active, "bgp connect retry"));
    script.closed(Side::Dialled);
    assert_eq!((script.state(), script.did()), (State::Active, vec![]), "there was no attempt");
    assert!(!script.connect(Side::Dialled), "nor is there one that could succeed");
    assert!(script.wait() >= Duration::from_millis(7_500), "from the failure on");
    assert_eq!((script.did(), script.state()), (vec![connect()], State::Connect));
    script.wait();
    assert_eq!(script.did(), [close(Side::Dialled), connect()]);
}

#[test]
fn rfc4271_10_the_connect_retry_time_is_jittered_from_75_to_100_percent_of_10_s() {
    let mut script = Script::dialling(|_| {});
    let pauses: Vec<Duration> = (0..300)
        .map(|attempt| {
            if attempt % 2 == 0 {
                script.closed(Side::Dialled);
            }
            script.wait()
        })
        .collect();
    assert_eq!(pauses.iter().min(), Some(&Duration::from_millis(7_500)));
    assert_eq!(pauses.iter().max(), Some(&(10 * SECOND)));
}

#[test]
fn rfc4271_10_keepalives_are_jittered_from_75_to_100_percent_of_a_third_of_the_hold_time() {
    let mut script = Script::established();
    let mut gaps = BTreeSet::new();
    let mut last = script.net.now;
    for _ in 0..300 {
        script.say(&keepalive());
        script.net.sent.clear();
        script.wait();
        assert_eq!(script.net.sent, [(0, keepalive())]);
        gaps.insert(script.net.now.since(last));
        last = script.net.now;
    }
    assert_eq!(gaps.first(), Some(&Duration::from_millis(22_500)));
    assert_eq!(gaps.last(), Some(&(30 * SECOND)));
}

#[test]
fn rfc4271_8_2_2_an_open_is_awaited_for_four_minutes() {
    let mut script = Script::connected(|_| {});
    script.net.run(240 * SECOND - MILLISECOND);
    assert_eq!((script.state(), script.timer()), (State::OpenSent, "bgp hold"));
    script.net.run(MILLISECOND);
    assert_eq!((script.state(), script.net.notifications(0)), (State::Idle, vec![(4, 0)]));
}

/// Each message that restarts the HoldTimer, and a state in which it does.
#[test]
fn rfc4271_8_2_2_the_hold_timer_starts_again_with_each_message() {
    let refresh = framed(consts::kind::ROUTE_REFRESH, |w| {
        w.u16(2).u8(0).u8(1);
    });
    let established = [keepalive(), keepalive(), update::end_of_rib(), refresh];
    for count in 0..=established.len() {
        let mut script = Script::connected(|_| {});
        script.net.run(200 * SECOND);
        script.say(&Script::open().encode());
        for message in &established[..count] {
            script.net.run(80 * SECOND);
            script.say(message);
        }
        let state = if count == 0 { State::OpenConfirm } else { State::Established };
        script.net.run(90 * SECOND - MILLISECOND);
        assert_eq!(script.state(), state, "after {count} messages");
        script.net.run(MILLISECOND);
        assert_eq!((script.state(), script.net.notifications(0)), (State::Idle, vec![(4, 0)]), "{count}");
    }
}

#[test]
fn rfc4271_8_2_2_who_wakes_up_late_does_not_send_a_keepalive_into_a_session_that_is_over() {
    let mut script = Script::established();
    script.net.sent.clear();
    script.net.now += 1000 * SECOND;
    script.net.nodes[0].handle_timeout(script.net.now);
    script.net.settle();
    let kinds: Vec<u8> = script.net.sent.iter().map(|(_, bytes)| bytes[18]).collect();
    assert_eq!(kinds, [consts::kind::NOTIFICATION]);
}

#[test]
fn rfc4271_4_2_with_a_hold_time_of_zero_nothing_is_sent_and_nothing_expected() {
    let mut script = Script::connected(|_| {});
    script.say(&Open { hold_time: Duration::ZERO, ..Script::open() }.encode());
    script.say(&keepalive());
    script.net.sent.clear();
    script.net.run(10_000 * SECOND);
    script.net.nodes[0].handle_timeout(script.net.now);
    script.net.settle();
    assert!(script.is_up() && script.net.sent.is_empty());
    assert_eq!(script.timer(), "nothing");
}

/// The peer's connection wins, and ours, still being opened, is given up.
#[test]
fn rfc4271_6_8_an_attempt_to_connect_ends_when_the_peers_open_is_answered() {
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Accepted));
    assert_eq!(script.did(), [connect()], "it goes on for as long as it may be needed");
    script.say(&Script::open().encode());
    assert_eq!(script.did(), [close(Side::Dialled)]);
    assert!(!script.connect(Side::Dialled), "too late");
    script.side = Side::Accepted;
    script.say(&keepalive());
    assert_eq!(script.did(), [came_up()]);
    for _ in 0..10 {
        script.net.run(60 * SECOND);
        script.say(&keepalive());
    }
    assert_eq!((script.did(), script.is_up()), (vec![], true));
}

/// Both connections are open. The OPEN comes on the peer's first.
#[test]
fn rfc4271_6_8_a_connection_without_an_open_ends_when_the_other_is_established() {
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Dialled) && script.connect(Side::Accepted));
    script.say(&Script::open().encode());
    assert_eq!(script.net.nodes[0].peers[&address(1)].connections.len(), 2, "only OpenConfirm can collide");
    script.net.log.clear();
    script.say(&keepalive());
    assert_eq!(script.net.notifications(0), [(6, 7)]);
    assert_eq!(script.did(), [close(Side::Dialled), came_up()]);
}

#[test]
fn rfc6286_2_3_of_two_connections_that_of_the_larger_identifier_stays_then_of_the_larger_as() {
    for (identifier, asn, kept) in
        [(2, 5, Side::Accepted), (1, 4_200_000_009, Side::Accepted), (1, 5, Side::Dialled)]
    {
        for second in [Side::Accepted, Side::Dialled] {
            let mut script = Script::dialling(|peer| peer.asn = asn);
            assert!(script.connect(Side::Accepted) && script.connect(Side::Dialled));
            let open = Open { identifier, asn, ..Script::open() }.encode();
            script.side = second.other();
            script.say(&open);
            script.side = second;
            script.say(&open);
            let left = &script.net.nodes[0].peers[&address(1)].connections;
            assert_eq!(left.keys().collect::<Vec<_>>(), [&kept], "{identifier} {asn} {second:?}");
            assert_eq!(script.net.notifications(0), [(6, 7)]);
        }
    }
}

#[test]
fn the_peers_connection_ends_the_wait_for_the_next_attempt() {
    let mut script = Script::dialling(|_| {});
    script.closed(Side::Dialled);
    assert!(script.connect(Side::Accepted));
    assert_eq!(script.timer(), "bgp hold", "nothing is dialled beside it");
    // The peer has lost it and opens another.
    script.did();
    assert!(script.connect(Side::Accepted));
    assert_eq!((script.did(), script.state()), (vec![close(Side::Accepted)], State::OpenSent));
    assert_eq!(script.timer(), "bgp hold");
    script.come_up();
}

#[test]
fn of_two_connections_one_may_fail_without_harm_to_the_other() {
    // Ours, before it is open.
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Accepted));
    script.closed(Side::Dialled);
    assert_eq!((script.state(), script.timer()), (State::OpenSent, "bgp hold"));
    script.closed(Side::Accepted);
    assert_eq!((script.state(), script.timer()), (State::Active, "bgp connect retry"));
    assert!(script.wait() >= Duration::from_millis(7_500));

    // The peer's, while ours is not open yet.
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Accepted));
    script.closed(Side::Accepted);
    assert_eq!((script.state(), script.timer()), (State::Connect, "bgp connect retry"));
    assert!(script.connect(Side::Dialled));

    // Either of two that are.
    for side in [Side::Accepted, Side::Dialled] {
        let mut script = Script::dialling(|_| {});
        assert!(script.connect(Side::Dialled) && script.connect(Side::Accepted));
        script.closed(side);
        assert_eq!((script.state(), script.timer()), (State::OpenSent, "bgp hold"));
    }
}

#[test]
fn rfc4271_8_1_pauses_are_short_again_after_a_minute_of_success() {
    // Seconds from the first OPEN to the KEEPALIVE that brings the session up, and from there to its end.
    for (confirm, up, pause) in [(0, 61, 1), (0, 60, 8), (50, 20, 8), (70, 0, 8)] {
        let mut script = Script::connected(|_| {});
        for _ in 0..3 {
            script.say(&[0]);
            script.wait();
            assert!(script.connect(Side::Dialled));
        }
        script.say(&Script::open().encode());
        script.net.run(confirm * SECOND);
        if up > 0 {
            script.say(&keepalive());
            script.net.run(up * SECOND);
        }
        script.say(&[0]);
        assert_eq!(script.timer(), "bgp start");
        assert_eq!(script.wait(), pause * SECOND, "{confirm} s, then {up} s up");
    }
}

#[test]
fn the_owner_hears_of_each_change() {
    let mut script = Script::connected(|peer| peer.bfd = true);
    script.did();
    script.come_up();
    let bfd = |enabled| Output::Bfd { peer: address(1), enabled };
    assert_eq!(script.did(), [bfd(true), came_up()]);
    script.announce(&[mesh(1)]);
    assert_eq!(script.did(), [Output::RoutesChanged]);
    for event in [BfdEvent::Up, BfdEvent::AdminDown] {
        script.net.nodes[0].handle_bfd(address(1), event, script.net.now);
    }
    script.net.settle();
    assert_eq!((script.did(), script.is_up()), (vec![], true));
    script.close();
    let down = went_down("the connection was closed");
    assert_eq!(script.did(), [close(Side::Dialled), bfd(false), down.clone(), Output::RoutesChanged]);
    assert_eq!(script.net.routes(0), []);

    // Nobody asked for BFD.
    let mut script = Script::established();
    script.close();
    assert_eq!(script.did(), [connect(), came_up(), close(Side::Dialled), down]);
}

#[test]
fn rfc4486_4_a_peer_that_is_removed_or_becomes_another_is_told_and_forgotten() {
    let changes: [fn(&mut PeerConfig); 2] = [|peer| peer.asn += 1, |peer| peer.bfd = true];
    for change in [None, Some(changes[0]), Some(changes[1])] {
        let mut script = Script::established();
        script.announce(&[mesh(1)]);
        script.did();
        let wanted = change.map(|change| {
            let mut config = peer(1);
            change(&mut config);
            config
        });
        let again = wanted.is_some();
        script.net.nodes[0].set_peers(wanted.into_iter().collect(), script.net.now);
        assert_eq!(script.net.routes(0), []);
        script.net.settle();
        assert_eq!(script.net.notifications(0), [(6, 3)]);
        let down = went_down("stopped by the operator");
        assert_eq!(script.did(), [close(Side::Dialled), down, Output::RoutesChanged]);
        assert_eq!(script.net.nodes[0].has_peer(address(1)), again);
        assert_eq!(script.timer(), if again { "bgp start" } else { "nothing" });
        script.net.run(SECOND);
        assert_eq!(script.did(), if again { vec![connect()] } else { vec![] });
    }
}

#[test]
fn what_else_is_configured_anew_leaves_the_session_alone() {
    let mut script = Script::established();
    script.net.nodes[0].set_peers(vec![PeerConfig { max_prefixes: 1, ..peer(1) }], script.net.now);
    script.announce(&[mesh(1)]);
    assert!(script.is_up());
    script.announce(&[mesh(2)]);
    assert_eq!(script.net.notifications(0), [(6, 1)], "the new limit counts");
}

#[test]
fn rfc4486_4_the_limit_of_prefixes_may_be_reached_and_not_exceeded() {
    let mut script = Script::connected(|peer| peer.max_prefixes = 2);
    script.come_up();
    script.announce(&[mesh(1), mesh(2)]);
    script.announce(&[mesh(1), mesh(2)]);
    assert!(script.is_up());
    script.announce(&[mesh(3)]);
    assert_eq!(script.net.notifications(0), [(6, 1)]);
    assert_eq!(script.net.routes(0), []);
    assert_eq!((script.timer(), script.wait()), ("bgp start", 300 * SECOND));
    let (_, error) = script.net.view(0, 1).last_error.unwrap();
    assert_eq!(error, "it announces more than 2 prefixes");
}

#[test]
fn rfc4486_4_shutdown_ends_everything_and_starts_nothing() {
    let mut script = Script::established();
    script.announce(&[mesh(1)]);
    script.net.nodes[0].shutdown(script.net.now);
    assert_eq!(script.net.routes(0), []);
    script.net.settle();
    assert_eq!(script.net.notifications(0), [(6, 2)]);

    // Two connections, an attempt to connect, and a pause.
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Dialled) && script.connect(Side::Accepted));
    script.net.nodes[0].shutdown(script.net.now);
    script.net.settle();
    assert_eq!(script.net.notifications(0), [(6, 2), (6, 2)]);

    let mut script = Script::dialling(|_| {});
    script.did();
    script.net.nodes[0].shutdown(script.net.now);
    script.net.settle();
    assert_eq!(script.did(), [close(Side::Dialled)]);
    assert_eq!((script.state(), script.timer()), (State::Idle, "nothing"));

    let mut script = Script::established();
    script.say(&[0]);
    script.did();
    script.net.nodes[0].shutdown(script.net.now);
    script.net.settle();
    assert_eq!(script.timer(), "nothing");

    // Not even for a peer that comes later, or that comes by itself.
    script.net.nodes[0].set_peers(vec![peer(1), peer(2)], script.net.now);
    script.net.run(SECOND);
    assert_eq!((script.did(), script.timer()), (vec![], "nothing"));
    assert!(!script.connect(Side::Accepted));
}

#[test]
fn the_earliest_deadline_of_all_peers_counts() {
    let mut script = Script::established();
    script.net.nodes[0].set_peers(vec![peer(1), peer(2)], script.net.now);
    assert_eq!(script.timer(), "bgp start");
    script.wait();
    assert_eq!(script.timer(), "bgp connect retry");
    assert!(!script.net.nodes[0].handle_connected(address(3), Side::Accepted, script.net.now), "a stranger");
    assert!(!script.net.nodes[0].has_peer(address(3)));
}
