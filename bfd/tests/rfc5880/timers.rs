//! State variables and timers: sections 6.8.1, 6.8.3 and 6.8.4.

use super::*;

// 6.8.1: state variables

#[test]
fn s6_8_1_a_new_session_is_down_with_no_diagnostic_and_sends_at_once() {
    let rig = Rig::new(Config::default());
    let (at, packet) = rig.sent[0];
    assert_eq!(at, ms(10_000));
    assert_eq!((packet.state, packet.diag, packet.your_discriminator), (State::Down, Diag::NONE, 0));
    assert!(!packet.poll && !packet.final_ && !packet.demand && !packet.authentication);
    assert_eq!((packet.detect_mult, packet.required_min_rx_us), (3, 100_000));
}

#[test]
fn s6_8_1_what_is_not_known_of_the_peer() {
    let rig = Rig::new(config(200, 300, 4));
    let view = rig.view();
    let expected = View {
        session: link(1).into(),
        state: State::Down,
        remote_state: State::Down,
        diag: Diag::NONE,
        remote_diag: Diag::NONE,
        discriminator: rig.peer.your_discriminator,
        remote_discriminator: 0,
        source_port: view.source_port,
        config: config(200, 300, 4),
        transmit_interval: Some(1000 * MS),
        remote_desired_min_tx: Duration::ZERO,
        remote_required_min_rx: Duration::from_micros(1),
        remote_detect_mult: 0,
        detection_time: Duration::ZERO,
        up_for: None,
        times_up: 0,
        times_down: 0,
        counters: Counters { transmitted: 1, received: 0, rejected: 0 },
    };
    assert_eq!(view, expected);
}

#[test]
fn s6_8_1_discriminators_are_unique_nonzero_and_random() {
    let discriminators = |seed| {
        let mut sessions = Sessions::new(seed);
        for id in 1..=1000 {
            sessions.add(link(id), Config::default(), Time::ZERO);
        }
        let mut all: Vec<u32> = sessions.views(Time::ZERO).map(|view| view.discriminator).collect();
        all.sort_unstable();
        all
    };
    let first = discriminators(1);
    assert!(!first.contains(&0));
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]));
    assert_ne!(first, discriminators(2));
    assert!(first[0] < 1 << 28 && first[999] > 15 << 28, "from the whole range");
}

#[test]
fn s6_8_1_the_remote_discriminator_is_forgotten_after_a_detection_time_in_any_state() {
    for state in [State::Down, State::AdminDown, State::Up] {
        let mut rig = Rig::up(Config::default());
        rig.receive(Packet { state, ..rig.peer });
        assert_eq!(rig.view().remote_discriminator, 77);
        rig.run(301 * MS);
        assert_eq!(rig.view().remote_discriminator, 0, "{state}");
        rig.run(Duration::from_secs(2));
        assert_eq!(rig.last().your_discriminator, 0, "{state}");
    }
}

// 6.8.3: timer manipulation

#[test]
fn s6_8_3_a_session_that_is_not_up_sends_no_faster_than_once_a_second() {
    let mut rig = Rig::new(config(50, 50, 3));
    rig.run(Duration::from_secs(60));
    assert!(rig.sent.len() > 55);
    assert!(rig.sent.iter().all(|(_, packet)| packet.desired_min_tx_us == 1_000_000));
    assert!(rig.intervals().iter().all(|interval| *interval >= 750 * MS && *interval <= 1000 * MS));
}

#[test]
fn s6_8_3_reaching_up_changes_the_interval_and_starts_a_poll_sequence() {
    let mut rig = Rig::new(Config::default());
    rig.receive(Packet { state: State::Init, ..rig.peer });
    assert_eq!(rig.view().state, State::Up);
    assert!(rig.last().poll, "the packet that announces Up carries P");
    assert_eq!(rig.last().desired_min_tx_us, 100_000);
    rig.peer.state = State::Up;
    rig.run_heard(300 * MS);
    assert!(rig.last().poll, "until F comes");
    rig.receive(Packet { final_: true, ..rig.peer });
    rig.run_heard(300 * MS);
    assert!(!rig.last().poll);
}

#[test]
fn s6_8_3_a_longer_transmit_interval_is_used_only_after_the_final() {
    let mut rig = Rig::up(Config::default());
    rig.configure(config(400, 100, 3));
    rig.run_heard(Duration::from_secs(1));
    assert!(rig.sent.iter().all(|(_, packet)| packet.poll && packet.desired_min_tx_us == 400_000));
    assert!(rig.intervals().iter().all(|interval| *interval <= 100 * MS));
    rig.receive(Packet { final_: true, ..rig.peer });
    rig.run_heard(Duration::from_millis(500));
    rig.sent.clear();
    rig.run_heard(Duration::from_secs(4));
    assert!(rig.sent.iter().all(|(_, packet)| !packet.poll));
    assert!(rig.intervals().iter().all(|interval| *interval >= 300 * MS && *interval <= 400 * MS));
}

#[test]
fn s6_8_3_a_shorter_receive_interval_shortens_the_detection_time_only_after_the_final() {
    let mut rig = Rig::up(config(100, 200, 3));
    assert_eq!(rig.view().detection_time, 600 * MS);
    rig.configure(config(100, 100, 3));
    rig.receive(rig.peer);
    assert_eq!(rig.view().detection_time, 600 * MS);
    rig.run(100 * MS);
    assert_eq!((rig.last().required_min_rx_us, rig.last().poll), (100_000, true));
    rig.receive(Packet { final_: true, ..rig.peer });
    assert_eq!(rig.view().detection_time, 300 * MS);
}

#[test]
fn s6_8_3_other_changes_take_effect_at_once() {
    let mut rig = Rig::up(config(400, 100, 3));
    rig.run_heard(Duration::from_secs(1));
    rig.configure(config(100, 300, 3));
    assert_eq!(rig.view().transmit_interval, Some(100 * MS));
    assert_eq!(rig.view().detection_time, 900 * MS);
    rig.run(899 * MS);
    assert_eq!(
        rig.view().state,
        State::Up,
        "the longer detection time applies to the packet already received"
    );
    rig.run(MS);
    assert_eq!(rig.view().state, State::Down);
}

#[test]
fn s6_8_3_a_peer_that_wants_packets_faster_gets_the_next_one_as_soon_as_practicable() {
    let mut rig = Rig::up(Config::default());
    rig.receive(Packet { required_min_rx_us: 2_000_000, ..rig.peer });
    rig.sent.clear();
    rig.run_heard(900 * MS);
    let heard_slow = rig.now;
    assert_eq!(rig.view().transmit_interval, Some(100 * MS));
    assert!(rig.sent.first().is_some_and(|(at, _)| *at < heard_slow), "{:?}", rig.sent);
}

#[test]
fn s6_8_3_two_changes_are_two_poll_sequences_apart() {
    let mut rig = Rig::up(Config::default());
    rig.configure(config(200, 100, 3));
    rig.run_heard(100 * MS);
    rig.configure(config(300, 100, 3));
    rig.run_heard(100 * MS);
    assert_eq!(rig.last().desired_min_tx_us, 200_000, "the first sequence announces the first change only");
    rig.receive(Packet { final_: true, ..rig.peer });
    rig.sent.clear();
    // The F of a repeated P must not be taken for the answer to the second sequence.
    rig.run(200 * MS);
    rig.receive(Packet { final_: true, ..rig.peer });
    assert!(rig.sent.iter().all(|(_, packet)| !packet.poll && packet.desired_min_tx_us == 200_000));
    rig.receive(rig.peer);
    rig.run_heard(300 * MS);
    assert!(rig.last().poll);
    assert_eq!(rig.last().desired_min_tx_us, 300_000);
    assert_eq!(rig.view().transmit_interval, Some(200 * MS));
    rig.receive(Packet { final_: true, ..rig.peer });
    assert_eq!(rig.view().transmit_interval, Some(300 * MS));
}

#[test]
fn s6_8_3_the_same_configuration_again_changes_nothing() {
    let mut rig = Rig::up(Config::default());
    rig.configure(Config::default());
    rig.run_heard(Duration::from_secs(1));
    assert!(rig.sent.iter().all(|(_, packet)| !packet.poll));
}

#[test]
fn a_configuration_out_of_range_is_brought_into_it() {
    let mut rig = Rig::new(Config {
        desired_min_tx: Duration::ZERO,
        required_min_rx: Duration::MAX,
        detect_mult: 0,
        ..Config::default()
    });
    rig.run(Duration::from_secs(1));
    let packet = rig.last();
    assert_eq!((packet.detect_mult, packet.required_min_rx_us), (1, 60_000_000));
    assert_eq!(rig.view().config.desired_min_tx, 10 * MS);
}

// 6.8.4: detection time

#[test]
fn s6_8_4_the_detection_time_is_the_peers_multiplier_times_the_slower_interval() {
    let mut rig = Rig::up(config(100, 100, 9));
    for (mult, desired_us, expected) in [(3, 100_000, 300), (3, 50_000, 300), (5, 200_000, 1000), (1, 0, 100)]
    {
        rig.receive(Packet { detect_mult: mult, desired_min_tx_us: desired_us, ..rig.peer });
        assert_eq!(rig.view().detection_time, expected * MS);
    }
}

#[test]
fn s6_8_4_silence_for_exactly_the_detection_time_means_down_with_diagnostic_1() {
    let mut rig = Rig::up(Config::default());
    rig.receive(rig.peer);
    rig.run(300 * MS - Duration::from_micros(1));
    assert_eq!(rig.view().state, State::Up);
    rig.sent.clear();
    rig.run(Duration::from_micros(1));
    assert_eq!(rig.changes, [(State::Up, State::Down, Diag::DETECTION_TIME_EXPIRED)]);
    assert_eq!((rig.last().state, rig.last().diag), (State::Down, Diag::DETECTION_TIME_EXPIRED));
    assert_eq!(rig.sent.last().unwrap().0, rig.now, "the peer is told at once");
}

#[test]
fn s6_8_4_silence_ends_init_too() {
    let mut rig = Rig::new(Config::default());
    rig.receive(Packet { your_discriminator: 0, ..rig.peer });
    assert_eq!(rig.view().state, State::Init);
    rig.run(300 * MS);
    assert_eq!(rig.changes.last(), Some(&(State::Init, State::Down, Diag::DETECTION_TIME_EXPIRED)));
}

#[test]
fn s6_8_4_a_discarded_packet_does_not_count_as_received() {
    let mut rig = Rig::up(Config::default());
    rig.receive(rig.peer);
    for _ in 0..5 {
        rig.run(50 * MS);
        assert!(rig.raw(254, &rig.peer.encode()).is_err());
        assert!(rig.try_receive(Packet { your_discriminator: 1, ..rig.peer }).is_err());
    }
    rig.run(50 * MS);
    assert_eq!(rig.view().state, State::Down);
    assert_eq!(rig.view().counters.rejected, 10);
}

/// Its wish for silence ends with its Detection Time, and nothing but the periodic packets tells it so.
#[test]
fn s6_8_18_silence_of_a_peer_that_was_never_connected_is_no_event() {
    for admin_down in [false, true] {
        let mut rig = Rig::new(Config::default());
        if admin_down {
            rig.sessions.admin_down(link(1), rig.now);
            rig.collect();
        }
        rig.receive(Packet {
            state: State::AdminDown,
            diag: Diag::ADMIN_DOWN,
            required_min_rx_us: 0,
            ..rig.peer
        });
        assert_eq!(rig.view().transmit_interval, None);
        let (state, changes) = (rig.view().state, rig.changes.len());
        rig.sent.clear();
        rig.run(300 * MS);
        assert_eq!((rig.view().state, rig.changes.len(), rig.sent.len()), (state, changes, 0));
        assert_eq!((rig.view().remote_discriminator, rig.view().remote_diag), (0, Diag::ADMIN_DOWN));
        rig.run(701 * MS);
        assert_eq!(rig.sent.len(), 1);
    }
}

#[test]
fn s6_8_3_an_interval_of_more_than_a_second_is_used_in_any_state() {
    let mut rig = Rig::new(config(2_000, 100, 3));
    rig.run(Duration::from_secs(60));
    assert!(rig.sent.len() > 25);
    assert!(rig.sent.iter().all(|(_, packet)| packet.desired_min_tx_us == 2_000_000));
    assert!(rig.intervals().iter().all(|interval| *interval >= 1500 * MS && *interval <= 2000 * MS));
}

#[test]
fn s6_8_3_reaching_up_without_a_change_of_the_interval_needs_no_poll_sequence() {
    for (interval, poll) in [(999, true), (1_000, false), (2_000, false)] {
        let mut rig = Rig::new(config(interval, 100, 3));
        rig.receive(Packet { state: State::Init, ..rig.peer });
        assert_eq!((rig.last().state, rig.last().poll), (State::Up, poll), "{interval} ms");
    }
}

#[test]
fn s6_8_3_a_shorter_transmit_interval_brings_the_next_packet_forward() {
    let mut rig = Rig::up(config(10_000, 100, 3));
    rig.configure(config(100, 100, 3));
    let (at, why) = rig.sessions.poll_timeout().unwrap();
    assert_eq!(why, "bfd transmit");
    assert!(at <= rig.now + 100 * MS);
}

#[test]
fn s6_8_3_not_up_a_change_takes_effect_at_once_and_without_a_poll_sequence() {
    let mut rig = Rig::new(config(100, 400, 3));
    rig.receive(Packet { state: State::AdminDown, ..rig.peer });
    assert_eq!(rig.view().detection_time, 1200 * MS);
    rig.configure(config(3_000, 100, 3));
    assert_eq!((rig.view().detection_time, rig.view().transmit_interval), (300 * MS, Some(3000 * MS)));
    rig.sent.clear();
    rig.run(Duration::from_secs(3));
    assert!(!rig.last().poll);
    assert_eq!((rig.last().desired_min_tx_us, rig.last().required_min_rx_us), (3_000_000, 100_000));
}

#[test]
fn s6_8_3_leaving_up_ends_the_poll_sequence_and_lets_the_waiting_change_in() {
    let mut rig = Rig::up(Config::default());
    rig.configure(config(400, 100, 3));
    rig.configure(config(500, 100, 3));
    assert_eq!(rig.view().config, config(500, 100, 3), "the operator sees what was set last");
    rig.receive(Packet { state: State::Down, ..rig.peer });
    rig.sent.clear();
    assert_eq!(rig.view().transmit_interval, Some(1000 * MS));
    rig.peer.state = State::AdminDown;
    rig.run_heard(Duration::from_secs(3));
    assert!((3..=4).contains(&rig.sent.len()), "{:?}", rig.sent);
    assert!(rig.sent.iter().all(|(_, packet)| !packet.poll));
    rig.receive(Packet { state: State::Init, ..rig.peer });
    assert_eq!((rig.last().state, rig.last().desired_min_tx_us), (State::Up, 500_000));
}

#[test]
fn s6_8_3_leaving_up_ends_the_use_of_the_longer_receive_interval() {
    let mut rig = Rig::up(config(100, 200, 3));
    rig.configure(config(100, 100, 3));
    rig.receive(Packet { state: State::Down, ..rig.peer });
    assert_eq!(rig.view().detection_time, 300 * MS);
}

#[test]
fn s6_8_3_a_waiting_change_may_be_taken_back() {
    let mut rig = Rig::up(Config::default());
    for tx in [200, 300, 200] {
        rig.configure(config(tx, 100, 3));
    }
    assert_eq!(rig.view().config, config(200, 100, 3));
    for _ in 0..3 {
        rig.receive(Packet { final_: true, ..rig.peer });
        rig.run_heard(Duration::from_secs(1));
    }
    assert!(rig.sent.iter().all(|(_, packet)| packet.desired_min_tx_us == 200_000));
    assert_eq!(rig.view().transmit_interval, Some(200 * MS));
}

#[test]
fn a_change_out_of_range_is_brought_into_it() {
    let mut rig = Rig::up(Config::default());
    rig.configure(Config { desired_min_tx: Duration::ZERO, detect_mult: 0, ..Config::default() });
    let set = rig.view().config;
    assert_eq!((set.desired_min_tx, set.detect_mult), (10 * MS, 1));
}

#[test]
fn the_earliest_deadline_of_all_sessions_counts() {
    let mut sessions = Sessions::new(5);
    for id in [1, 2] {
        sessions.add(link(id), Config::default(), ms(500 * u64::from(id)));
    }
    let (at, why) = sessions.poll_timeout().unwrap();
    assert_eq!(why, "bfd transmit");
    assert!(at >= ms(1250) && at <= ms(1500), "{at:?}");
}
