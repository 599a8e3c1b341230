//! One test per rule of RFC 5880 and RFC 5881 that an engine without sockets can break.
//!
//! Most tests play the peer by hand, packet by packet; those at the end join two engines by a path with latency:
//!
//! ```text
//! Sessions a ---- latency, cut ---- Sessions b
//! ```

use std::time::Duration;

use molt_bfd::{Config, Diag, Output, Packet, Reject, Sessions, State, View};
use molt_mesh::{LinkId, Time};

const MS: Duration = Duration::from_millis(1);

fn link(id: u32) -> LinkId {
    LinkId::new(id).expect("links are numbered from 1")
}

fn ms(n: u64) -> Time {
    Time::from_millis(n)
}

/// One engine with one session, and a peer played by the test.
struct Rig {
    sessions: Sessions,
    now: Time,
    /// What the peer puts into its packets; `your_discriminator` follows the engine's.
    peer: Packet,
    /// Every packet the engine sent, with its time.
    sent: Vec<(Time, Packet)>,
    /// Every change of state: from, to, our diagnostic.
    changes: Vec<(State, State, Diag)>,
}

impl Rig {
    fn new(config: Config) -> Self {
        Self::with_seed(config, 1)
    }

    fn with_seed(config: Config, seed: u64) -> Self {
        let peer = Packet {
            diag: Diag::NONE,
            state: State::Down,
            poll: false,
            final_: false,
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_mult: 3,
            my_discriminator: 77,
            your_discriminator: 0,
            desired_min_tx_us: 100_000,
            required_min_rx_us: 100_000,
            required_min_echo_rx_us: 0,
        };
        let mut rig = Self {
            sessions: Sessions::new(seed),
            now: ms(10_000),
            peer,
            sent: Vec::new(),
            changes: Vec::new(),
        };
        rig.sessions.add(link(1), config, rig.now);
        rig.collect();
        rig.peer.your_discriminator = rig.last().my_discriminator;
        rig
    }

    /// A session that both sides see Up, past its Poll Sequence.
    fn up(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.receive(Packet { state: State::Init, ..rig.peer });
        rig.peer.state = State::Up;
        rig.receive(Packet { final_: true, ..rig.peer });
        rig.receive(rig.peer);
        assert_eq!(rig.view().state, State::Up);
        rig.sent.clear();
        rig.changes.clear();
        rig
    }

    fn collect(&mut self) {
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Transmit { packet, source_port, .. } => {
                    assert_eq!(source_port, self.view().source_port);
                    self.sent
                        .push((self.now, Packet::decode(&packet).expect("we send what we would accept")));
                }
                Output::StateChanged { from, to, diag, .. } => self.changes.push((from, to, diag)),
            }
        }
    }

    fn raw(&mut self, hop_limit: u8, payload: &[u8]) -> Result<(), Reject> {
        let result = self.sessions.handle_packet(link(1), hop_limit, payload, self.now);
        self.collect();
        result
    }

    fn try_receive(&mut self, packet: Packet) -> Result<(), Reject> {
        self.raw(255, &packet.encode())
    }

    fn receive(&mut self, packet: Packet) {
        assert_eq!(self.try_receive(packet), Ok(()));
    }

    /// Lets time pass, stopping at every deadline.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.sessions.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.sessions.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    /// The same, with a packet of the peer every 50 ms.
    fn run_heard(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.run(50 * MS);
            self.receive(self.peer);
        }
    }

    fn configure(&mut self, config: Config) {
        self.sessions.add(link(1), config, self.now);
        self.collect();
    }

    fn last(&self) -> Packet {
        self.sent.last().expect("a packet was sent").1
    }

    fn view(&self) -> View {
        self.sessions.views(self.now).next().expect("there is a session")
    }

    fn intervals(&self) -> Vec<Duration> {
        self.sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }
}

fn config(tx_ms: u64, rx_ms: u64, detect_mult: u8) -> Config {
    let (desired_min_tx, required_min_rx) = (Duration::from_millis(tx_ms), Duration::from_millis(rx_ms));
    Config { desired_min_tx, required_min_rx, detect_mult, ..Config::default() }
}

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

// 6.8.6: reception

fn rejects(rig: &mut Rig, expected: Reject, change: impl FnOnce(&mut [u8; 24])) {
    let mut bytes = rig.peer.encode();
    change(&mut bytes);
    let before = rig.view();
    assert_eq!(rig.raw(255, &bytes), Err(expected));
    let mut after = rig.view();
    assert_eq!(after.counters.rejected, before.counters.rejected + 1);
    after.counters.rejected -= 1;
    assert_eq!(after, before, "a discarded packet has no effect");
}

#[test]
fn s6_8_6_drops_a_wrong_version() {
    let mut rig = Rig::up(Config::default());
    for version in [0, 2, 7] {
        rejects(&mut rig, Reject::Version { version }, |bytes| bytes[0] = version << 5);
    }
}

#[test]
fn s6_8_6_drops_a_length_below_24_or_26_when_authenticated() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooSmall { length: 23 }, |bytes| bytes[3] = 23);
    rejects(&mut rig, Reject::LengthTooSmall { length: 25 }, |bytes| {
        bytes[1] |= 4;
        bytes[3] = 25;
    });
}

#[test]
fn s6_8_6_drops_a_length_beyond_the_payload_and_a_truncated_header() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooLarge { length: 25, len: 24 }, |bytes| bytes[3] = 25);
    for len in 0..24 {
        let bytes = rig.peer.encode();
        assert_eq!(rig.raw(255, &bytes[..len]), Err(Reject::TooShort { len }));
    }
}

#[test]
fn s6_8_6_accepts_bytes_after_the_length() {
    let mut rig = Rig::up(Config::default());
    let mut bytes = rig.peer.encode().to_vec();
    bytes.extend([0xff; 9]);
    assert_eq!(rig.raw(255, &bytes), Ok(()));
}

#[test]
fn s6_8_6_drops_a_zero_detect_mult() {
    rejects(&mut Rig::up(Config::default()), Reject::ZeroDetectMult, |bytes| bytes[2] = 0);
}

#[test]
fn s6_8_6_drops_the_multipoint_bit() {
    rejects(&mut Rig::up(Config::default()), Reject::Multipoint, |bytes| bytes[1] |= 1);
}

#[test]
fn s6_8_6_drops_a_zero_my_discriminator() {
    rejects(&mut Rig::up(Config::default()), Reject::ZeroMyDiscriminator, |bytes| bytes[4..8].fill(0));
}

#[test]
fn s6_8_6_drops_a_your_discriminator_without_a_session() {
    let unknown = Reject::UnknownYourDiscriminator { discriminator: 0x0101_0101 };
    rejects(&mut Rig::up(Config::default()), unknown, |bytes| bytes[8..12].fill(1));
}

#[test]
fn s6_8_6_drops_a_zero_your_discriminator_unless_down_or_admin_down() {
    for state in [State::Init, State::Up] {
        let mut rig = Rig::new(Config::default());
        let packet = Packet { your_discriminator: 0, state, ..rig.peer };
        assert_eq!(rig.try_receive(packet), Err(Reject::ZeroYourDiscriminator { state }));
    }
    for state in [State::Down, State::AdminDown] {
        let mut rig = Rig::new(Config::default());
        rig.receive(Packet { your_discriminator: 0, state, ..rig.peer });
        assert_eq!(rig.view().remote_discriminator, 77);
    }
}

#[test]
fn s6_8_6_drops_authentication_that_is_not_in_use() {
    let mut rig = Rig::up(Config::default());
    let mut bytes = rig.peer.encode().to_vec();
    bytes[1] |= 4;
    bytes[3] = 26;
    bytes.extend([1, 2]);
    assert_eq!(rig.raw(255, &bytes), Err(Reject::Authenticated));
}

#[test]
fn s6_8_6_a_packet_with_several_faults_is_dropped_for_the_first_rule() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooSmall { length: 9 }, |bytes| {
        bytes[1] |= 1;
        bytes[2] = 0;
        bytes[3] = 9;
    });
    rejects(&mut rig, Reject::ZeroDetectMult, |bytes| {
        bytes[1] |= 1;
        bytes[2] = 0;
    });
}

#[test]
fn s6_5_drops_poll_and_final_together() {
    rejects(&mut Rig::up(Config::default()), Reject::PollAndFinal, |bytes| bytes[1] |= 0x30);
}

#[test]
fn s6_8_6_the_state_table_as_the_peer_sees_it() {
    use State::{AdminDown, Down, Init, Up};
    for (local, remote, expected) in [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
    ] {
        let mut rig = Rig::new(Config::default());
        match local {
            Down => {}
            Init => rig.receive(Packet { state: Down, ..rig.peer }),
            Up => rig.receive(Packet { state: Init, ..rig.peer }),
            AdminDown => {
                rig.sessions.admin_down(link(1), rig.now);
                rig.collect();
            }
        }
        rig.sent.clear();
        rig.changes.clear();
        rig.receive(Packet { state: remote, ..rig.peer });
        assert_eq!(rig.view().state, expected, "{local} receives {remote}");
        // 6.8.7: a packet with a new state is sent at once.
        assert_eq!(rig.sent.len(), usize::from(local != expected), "{local} receives {remote}");
        if expected == Down && local != Down {
            assert_eq!(rig.changes, [(local, Down, Diag::NEIGHBOR_SIGNALED_DOWN)]);
        }
    }
}

#[test]
fn s6_8_6_a_restarted_peer_is_recognised_by_its_zero_your_discriminator() {
    let mut rig = Rig::up(Config::default());
    rig.receive(Packet { state: State::Down, my_discriminator: 99, your_discriminator: 0, ..rig.peer });
    assert_eq!(rig.view().state, State::Down);
    assert_eq!(rig.last().your_discriminator, 99);
}

// 6.8.7: transmission

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

// RFC 5881

#[test]
fn rfc5881_s3_the_session_is_bound_to_its_link() {
    let mut sessions = Sessions::new(5);
    for id in [1, 2] {
        sessions.add(link(id), Config::default(), Time::ZERO);
    }
    let other = sessions.views(Time::ZERO).nth(1).unwrap().discriminator;
    let rig = Rig::new(Config::default());
    let packet = Packet { your_discriminator: other, state: State::Init, ..rig.peer };
    assert_eq!(
        sessions.handle_packet(link(1), 255, &packet.encode(), Time::ZERO),
        Err(Reject::UnknownYourDiscriminator { discriminator: other })
    );
    assert_eq!(sessions.handle_packet(link(3), 255, &packet.encode(), Time::ZERO), Err(Reject::NoSession));
    assert_eq!(sessions.handle_packet(link(2), 255, &packet.encode(), Time::ZERO), Ok(()));
}

#[test]
fn rfc5881_s4_source_ports_are_in_range_fixed_and_unique() {
    let mut sessions = Sessions::new(5);
    for id in 1..=200 {
        sessions.add(link(id), Config::default(), Time::ZERO);
    }
    let mut ports: Vec<u16> = sessions.views(Time::ZERO).map(|view| view.source_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200);
    assert!(ports.iter().all(|port| *port >= 49152));
    // That it stays the same is asserted for every packet in `Rig::collect`.
}

#[test]
fn rfc5881_s5_drops_every_hop_limit_but_255() {
    let mut rig = Rig::up(Config::default());
    for hop_limit in 0..255 {
        assert_eq!(rig.raw(hop_limit, &rig.peer.encode()), Err(Reject::HopLimit { hop_limit }));
    }
    assert_eq!(rig.raw(255, &rig.peer.encode()), Ok(()));
}

// Two engines

struct Pair {
    ends: [Sessions; 2],
    now: Time,
    latency: Duration,
    cut: bool,
    /// Packets on their way: arrival, to which end, payload. In order, for the latency is the same for all.
    flying: Vec<(Time, usize, [u8; 24])>,
    changes: Vec<(Time, usize, State, State)>,
    /// When the last packet reached each end.
    heard: [Time; 2],
}

impl Pair {
    fn new(latency: Duration, seed: u64) -> Self {
        let ends = [Sessions::new(seed), Sessions::new(seed + 1)];
        let (flying, changes) = (Vec::new(), Vec::new());
        Self { ends, now: Time::ZERO, latency, cut: false, flying, changes, heard: [Time::ZERO; 2] }
    }

    fn add(&mut self, end: usize) {
        self.ends[end].add(link(1), Config::default(), self.now);
        self.collect();
    }

    fn collect(&mut self) {
        for end in 0..2 {
            while let Some(output) = self.ends[end].poll_output() {
                match output {
                    Output::Transmit { packet, .. } if !self.cut => {
                        self.flying.push((self.now + self.latency, 1 - end, packet));
                    }
                    Output::Transmit { .. } => {}
                    Output::StateChanged { from, to, .. } => self.changes.push((self.now, end, from, to)),
                }
            }
        }
    }

    fn drive(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.first().map(|(at, ..)| *at);
            let deadline = self.ends.iter().filter_map(Sessions::poll_timeout).map(|(at, _)| at);
            let Some(next) = deadline.chain(arrival).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while self.flying.first().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, to, packet) = self.flying.remove(0);
                if self.ends[to].handle_packet(link(1), 255, &packet, self.now).is_ok() {
                    self.heard[to] = self.now;
                }
            }
            for sessions in &mut self.ends {
                sessions.handle_timeout(self.now);
            }
            self.collect();
        }
        self.now = end;
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.ends[end].views(self.now).next().map_or(State::Down, |view| view.state))
    }
}

#[test]
fn two_ends_are_up_two_round_trips_after_the_second_one_starts() {
    for seed in 0..50 {
        let mut pair = Pair::new(20 * MS, seed);
        pair.add(0);
        pair.drive(Duration::from_millis(3_333));
        pair.add(1);
        pair.drive(80 * MS);
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
    }
}

#[test]
fn a_silent_cut_is_detected_300_ms_after_the_last_packet() {
    for seed in 0..50 {
        let mut pair = Pair::new(5 * MS, seed);
        pair.add(0);
        pair.add(1);
        pair.drive(Duration::from_secs(5) + u32::try_from(seed).unwrap() * 7 * MS);
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
        pair.changes.clear();
        pair.cut = true;
        pair.flying.clear();
        pair.drive(Duration::from_secs(1));
        assert_eq!(pair.changes.len(), 2, "seed {seed}");
        for (at, end, from, to) in &pair.changes {
            assert_eq!((*from, *to), (State::Up, State::Down));
            assert_eq!(*at - pair.heard[*end], 300 * MS, "seed {seed}, end {end}");
        }
    }
}

#[test]
fn a_healed_path_is_up_within_the_slow_interval_and_two_round_trips() {
    for seed in 0..50 {
        let mut pair = Pair::new(5 * MS, seed);
        pair.add(0);
        pair.add(1);
        pair.drive(Duration::from_secs(2));
        pair.cut = true;
        pair.drive(Duration::from_secs(7));
        assert_eq!(pair.states(), [State::Down, State::Down]);
        pair.cut = false;
        pair.drive(Duration::from_millis(1020));
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
    }
}

#[test]
fn an_hour_without_faults_has_no_state_change_and_costs_11_packets_a_second() {
    let mut pair = Pair::new(30 * MS, 9);
    pair.add(0);
    pair.add(1);
    pair.drive(Duration::from_secs(1));
    pair.changes.clear();
    pair.drive(Duration::from_hours(1));
    assert_eq!(pair.changes, []);
    for end in &pair.ends {
        let view = end.views(pair.now).next().unwrap();
        let a_second = view.counters.transmitted / 3601;
        assert!((11..=12).contains(&a_second), "{a_second}");
        assert_eq!((view.times_up, view.times_down, view.counters.rejected), (1, 0, 0));
        assert!(view.up_for > Some(Duration::from_hours(1)));
    }
}

#[test]
fn admin_down_reaches_the_peer_as_such() {
    let mut pair = Pair::new(5 * MS, 3);
    pair.add(0);
    pair.add(1);
    pair.drive(Duration::from_secs(2));
    pair.ends[0].admin_down(link(1), pair.now);
    let Some(Output::StateChanged { .. }) = pair.ends[0].poll_output() else { panic!("no change") };
    let Some(Output::Transmit { packet, .. }) = pair.ends[0].poll_output() else { panic!("no packet") };
    pair.ends[0].remove(link(1));
    pair.ends[1].handle_packet(link(1), 255, &packet, pair.now).unwrap();
    let change = pair.ends[1].poll_output();
    let Some(Output::StateChanged { to, diag, remote_state, remote_diag, .. }) = change else {
        panic!("{change:?}")
    };
    assert_eq!((to, diag), (State::Down, Diag::NEIGHBOR_SIGNALED_DOWN));
    assert_eq!((remote_state, remote_diag), (State::AdminDown, Diag::ADMIN_DOWN));
    assert_eq!(pair.ends[0].poll_timeout(), None);
}

#[test]
fn mutated_packets_of_the_peer_never_panic_and_never_stop_the_engine() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut rig = Rig::up(Config::default());
    for _ in 0..50_000 {
        let mut bytes = rig.peer.encode();
        for _ in 0..rng.usize(..3) {
            let at = rng.usize(..24);
            bytes[at] = rng.u8(..);
        }
        let _ = rig.raw(255, &bytes);
        rig.run(rng.u32(..20) * MS);
        rig.sent.clear();
        rig.changes.clear();
    }
    rig.peer = Packet { state: State::Down, your_discriminator: 0, ..rig.peer };
    rig.run_heard(Duration::from_secs(1));
    assert!(matches!(rig.view().state, State::Init | State::Up));
}
