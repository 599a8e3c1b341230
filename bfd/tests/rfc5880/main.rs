//! One test per rule of RFC 5880 and RFC 5881 that an engine without sockets can break.
//!
//! Most tests play the peer by hand, packet by packet; those in `pair` join two engines.

mod pair;
mod reception;
mod timers;
mod transmission;

use std::time::Duration;

use molt_bfd::{Config, Counters, Diag, Output, Packet, Reject, Sessions, State, View};
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
