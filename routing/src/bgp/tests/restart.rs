//! Graceful restart of a peer (RFC 4724).

use super::*;
use crate::bgp::message::{GracefulRestart, Notification};

/// The OPEN of a peer that can restart within two minutes, as bytes.
fn open(restarted: bool, ipv6_unicast: Option<bool>) -> Vec<u8> {
    let mut open = Script::open();
    let restart = GracefulRestart { restarted, time: 120 * SECOND, ipv6_unicast };
    open.capabilities.graceful_restart = Some(restart);
    open.encode()
}

/// A peer that can restart: its routes stay while its TCP connection is gone, and go when they are not announced again.
fn restarting() -> Script {
    let mut script = Script::connected(|_| {});
    script.say(&open(false, Some(true)));
    script.say(&message::keepalive());
    script.announce(&[mesh(1), mesh(2)]);
    script.net.resolve(0);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script
}

fn reconnect(script: &mut Script, forwarding: bool) {
    script.net.run(15 * SECOND);
    assert!(script.connect(Side::Dialled));
    script.say(&open(true, Some(forwarding)));
    script.say(&message::keepalive());
}

#[test]
fn rfc4724_4_2_routes_of_a_restarting_peer_stay_until_end_of_rib() {
    let mut script = restarting();
    script.close();
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    reconnect(&mut script, true);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script.announce(&[mesh(1)]);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script.say(&update::end_of_rib());
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

#[test]
fn rfc4724_4_2_they_go_at_once_if_the_forwarding_state_was_lost_and_after_the_restart_time() {
    let mut script = restarting();
    script.close();
    reconnect(&mut script, false);
    assert_eq!(script.net.routes(0), []);

    let mut script = restarting();
    script.close();
    script.net.run(119 * SECOND);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script.net.run(2 * SECOND);
    assert_eq!(script.net.routes(0), []);
}

#[test]
fn rfc4724_4_a_notification_is_no_restart_and_neither_is_a_failed_path() {
    let mut script = restarting();
    script.say(&Notification::SHUTDOWN.encode());
    assert_eq!(script.net.routes(0), []);
    let mut script = restarting();
    script.net.nodes[0].handle_bfd(address(1), BfdEvent::Down { independent: true }, script.net.now);
    assert_eq!(script.net.routes(0), []);
    // RFC 5882 section 4.3: a BFD that dies with its control plane proves nothing.
    let mut script = restarting();
    script.net.nodes[0].handle_bfd(address(1), BfdEvent::Down { independent: false }, script.net.now);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    assert_eq!((script.is_up(), script.net.notifications(0)), (false, vec![]));
    script.net.run(121 * SECOND);
    assert_eq!(script.net.routes(0), [], "but not for longer than a restart may take");
}

/// Fresh routes are those of the session that ends by the NOTIFICATION; nothing of it was a restart.
#[test]
fn rfc4724_4_2_a_notification_before_end_of_rib_takes_fresh_and_stale_routes_with_it() {
    for end in [Notification::SHUTDOWN.encode(), [0; 19].to_vec()] {
        let mut script = restarting();
        script.close();
        reconnect(&mut script, true);
        script.announce(&[mesh(1)]);
        script.say(&end);
        assert_eq!(script.net.routes(0), []);
        script.net.run(SECOND);
        assert_eq!(script.net.view(0, 1).received_prefixes, 0);
        assert_eq!(script.net.nodes[0].peers[&address(1)].stale_until, None);
    }
}

#[test]
fn rfc4724_4_2_what_is_stale_already_goes_when_the_peer_restarts_again() {
    let mut script = restarting();
    script.close();
    reconnect(&mut script, true);
    script.announce(&[mesh(1)]);
    script.close();
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

/// Until the session is up again, only the Restart Time counts.
#[test]
fn rfc4724_4_2_a_failed_attempt_to_come_back_changes_nothing() {
    let mut script = restarting();
    script.close();
    script.net.run(60 * SECOND);
    assert!(script.connect(Side::Dialled));
    script.say(&open(true, Some(true)));
    script.close();
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script.net.run(59 * SECOND);
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    script.net.run(2 * SECOND);
    assert_eq!(script.net.routes(0), []);
}

/// A new connection of the peer while the old one looks healthy: it has restarted, and is told nothing on the old one.
#[test]
fn rfc4724_4_2_a_new_connection_replaces_the_session_and_the_routes_stay() {
    let mut script = restarting();
    assert!(script.connect(Side::Accepted));
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    assert!(script.net.log.contains(&(0, Output::Close { peer: address(1), side: Side::Dialled })));
    assert_eq!(script.net.notifications(0), []);
    assert_eq!(script.timer(), "bgp stale routes", "nothing is dialled beside it");
    script.say(&open(true, Some(true)));
    script.say(&message::keepalive());
    script.say(&update::end_of_rib());
    assert_eq!(script.net.routes(0), []);

    // The second restart in a row, noticed the same way.
    let mut script = restarting();
    script.close();
    reconnect(&mut script, true);
    assert!(script.connect(Side::Accepted));
    assert_eq!(script.net.routes(0), []);
}

#[test]
fn rfc4271_6_8_a_new_connection_does_not_replace_the_session_of_a_peer_that_cannot_restart() {
    let mut script = Script::established();
    assert!(!script.net.nodes[0].handle_connected(address(1), Side::Accepted, script.net.now));
    assert!(script.is_up());
}

#[test]
fn rfc4724_3_a_peer_that_keeps_no_family_has_its_routes_forgotten() {
    let mut script = Script::connected(|_| {});
    script.say(&open(false, None));
    script.say(&message::keepalive());
    script.announce(&[mesh(1)]);
    script.close();
    assert_eq!(script.net.routes(0), []);
}

#[test]
fn rfc4724_4_2_stale_routes_go_with_the_peer_that_is_stopped() {
    let mut script = restarting();
    script.close();
    script.net.nodes[0].shutdown(script.net.now);
    assert_eq!(script.net.routes(0), []);
    assert_eq!(script.net.nodes[0].poll_timeout(), None);
}
