//! Transmission, Demand mode and administrative control: sections 6.6, 6.8.7 and 6.8.16.

use super::*;

#[test]
fn s6_8_7_the_slower_side_determines_the_rate() {
    for (ours, theirs_us, expected) in [(100, 50_000, 100), (100, 250_000, 250), (500, 100_000, 500)] {
        let mut rig = Rig::up(config(ours, 100, 3));
        rig.peer.required_min_rx_us = theirs_us;
        rig.receive(rig.peer);
        assert_eq!(rig.view().transmit_interval, Some(expected * MS));
    }
}

#[test]
fn s6_8_7_intervals_are_jittered_between_75_and_100_percent() {
    let mut rig = Rig::up(Config::default());
    rig.run_heard(Duration::from_secs(200));
    let intervals = rig.intervals();
    assert!(intervals.len() > 2000);
    assert!(intervals.iter().all(|interval| *interval >= 75 * MS && *interval <= 100 * MS));
    let mean = intervals.iter().sum::<Duration>() / u32::try_from(intervals.len()).unwrap();
    assert!(mean > 86 * MS && mean < 89 * MS, "roughly 12.5 % less: {mean:?}");
    assert!(intervals.iter().any(|interval| *interval < 77 * MS));
    assert!(intervals.iter().any(|interval| *interval > 98 * MS));
}

#[test]
fn s6_8_7_with_a_detect_mult_of_1_intervals_are_between_75_and_90_percent() {
    let mut rig = Rig::up(config(100, 100, 1));
    rig.run_heard(Duration::from_secs(200));
    assert!(rig.intervals().iter().all(|interval| *interval >= 75 * MS && *interval <= 90 * MS));
    assert!(rig.intervals().iter().any(|interval| *interval > 89 * MS));
}

#[test]
fn s6_8_7_a_required_min_rx_of_zero_stops_periodic_packets_until_the_detection_time_is_over() {
    let mut rig = Rig::up(Config::default());
    rig.peer.required_min_rx_us = 0;
    rig.run_heard(100 * MS);
    rig.sent.clear();
    rig.run_heard(Duration::from_secs(10));
    assert_eq!(rig.sent, []);
    // Section 6.8.18: the wish ends a Detection Time after the peer's last packet.
    rig.run(Duration::from_secs(10));
    assert!(rig.sent.len() >= 9);
}

#[test]
fn s6_8_7_a_poll_is_answered_at_once_with_f_and_without_p_in_every_state() {
    for local in [State::AdminDown, State::Down, State::Init, State::Up] {
        let mut rig = Rig::new(Config::default());
        let remote = match local {
            State::AdminDown => {
                rig.sessions.admin_down(link(1), rig.now);
                State::Down
            }
            State::Down => State::AdminDown,
            State::Init => State::Down,
            State::Up => State::Init,
        };
        rig.receive(Packet { state: remote, ..rig.peer });
        assert_eq!(rig.view().state, local);
        rig.sent.clear();
        rig.receive(Packet { state: remote, poll: true, ..rig.peer });
        assert_eq!(rig.sent.len(), 1, "{local}");
        assert!(rig.last().final_ && !rig.last().poll, "{local}");
        assert_eq!(rig.last().state, local);
    }
}

#[test]
fn s6_5_an_answer_to_a_poll_does_not_disturb_the_schedule_and_needs_no_permission() {
    let mut rig = Rig::up(Config::default());
    rig.peer.required_min_rx_us = 0;
    rig.receive(rig.peer);
    rig.sent.clear();
    for _ in 0..10 {
        rig.receive(Packet { poll: true, ..rig.peer });
    }
    assert_eq!(rig.sent.len(), 10);
    assert_eq!(rig.view().transmit_interval, None);
}

#[test]
fn s6_6_a_peer_in_demand_mode_gets_no_periodic_packets_but_polls() {
    let mut rig = Rig::up(Config::default());
    rig.peer.demand = true;
    rig.receive(rig.peer);
    rig.sent.clear();
    rig.run_heard(Duration::from_secs(1));
    assert_eq!(rig.sent, []);

    rig.configure(config(200, 100, 3));
    rig.run_heard(Duration::from_secs(1));
    assert!(rig.sent.len() > 5, "the Poll Sequence is repeated until F comes");
    assert!(rig.sent.iter().all(|(_, packet)| packet.poll));
    rig.receive(Packet { final_: true, ..rig.peer });
    rig.sent.clear();
    rig.run_heard(Duration::from_secs(1));
    assert_eq!(rig.sent, []);

    // Section 6.8.14: no longer active on the remote system.
    rig.peer.demand = false;
    rig.run_heard(Duration::from_secs(1));
    assert!(rig.sent.len() >= 4);
}

#[test]
fn s6_8_6_demand_counts_only_while_both_are_up() {
    let mut rig = Rig::up(Config::default());
    rig.receive(Packet { demand: true, state: State::Down, ..rig.peer });
    rig.sent.clear();
    rig.peer = Packet { demand: true, state: State::AdminDown, ..rig.peer };
    rig.run_heard(Duration::from_secs(5));
    assert!(rig.sent.len() >= 4);
}

#[test]
fn s6_8_7_contents_name_both_discriminators_and_never_ask_for_demand_or_echo() {
    let mut rig = Rig::up(Config::default());
    rig.run_heard(Duration::from_secs(1));
    let packet = rig.last();
    assert_eq!((packet.my_discriminator, packet.your_discriminator), (rig.view().discriminator, 77));
    assert!(!packet.demand && !packet.authentication && !packet.control_plane_independent);
    assert_eq!(packet.required_min_echo_rx_us, 0);
}

// 6.8.16: administrative control

#[test]
fn s6_8_16_admin_down_is_sent_at_once_with_diagnostic_7_and_stays() {
    let mut rig = Rig::up(Config::default());
    rig.sessions.admin_down(link(1), rig.now);
    rig.collect();
    assert_eq!(rig.sent.len(), 1);
    assert_eq!((rig.last().state, rig.last().diag), (State::AdminDown, Diag::ADMIN_DOWN));
    assert_eq!(rig.changes, [(State::Up, State::AdminDown, Diag::ADMIN_DOWN)]);
    rig.run_heard(Duration::from_secs(5));
    assert!(rig.sent.len() >= 5, "and repeated, for at least a Detection Time");
    assert!(rig.sent.iter().all(|(_, packet)| packet.state == State::AdminDown));
    rig.run(Duration::from_secs(5));
    assert_eq!(rig.changes.len(), 1, "no detection in AdminDown");
}

/// The answer says the new state; a second packet would say nothing more.
#[test]
fn s6_8_7_a_poll_that_changes_the_state_is_answered_by_one_packet() {
    let mut rig = Rig::new(Config::default());
    rig.sent.clear();
    rig.receive(Packet { state: State::Init, poll: true, ..rig.peer });
    assert_eq!(rig.sent.len(), 1);
    let packet = rig.last();
    assert_eq!((packet.state, packet.final_, packet.poll), (State::Up, true, false));
}

#[test]
fn s6_8_16_who_is_admin_down_already_says_it_when_it_is_due() {
    let mut rig = Rig::up(Config::default());
    for _ in 0..2 {
        rig.sessions.admin_down(link(1), rig.now);
        rig.collect();
    }
    assert_eq!((rig.sent.len(), rig.changes.len()), (1, 1));
    assert_eq!((rig.view().up_for, rig.view().times_down), (None, 1));
}

#[test]
fn s6_8_7_a_session_that_shall_be_silent_is_not_woken_by_another() {
    let mut rig = Rig::up(Config::default());
    rig.receive(Packet { required_min_rx_us: 0, desired_min_tx_us: 10_000_000, ..rig.peer });
    rig.sessions.add(link(2), Config::default(), rig.now);
    while rig.sessions.poll_output().is_some() {}
    let (due, _) = rig.sessions.poll_timeout().unwrap();
    rig.sessions.handle_timeout(due);
    let sent: Vec<_> = std::iter::from_fn(|| rig.sessions.poll_output()).collect();
    assert!(matches!(sent[..], [Output::Transmit { session, .. }] if session == link(2).into()), "{sent:?}");
}
