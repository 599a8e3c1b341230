//! One session: the variables of RFC 5880 section 6.8.1, its two timers, its Poll Sequence.

use std::collections::VecDeque;
use std::time::Duration;

use molt_mesh::Time;

use crate::config::Config;
use crate::fsm::{Diag, State, next_state};
use crate::packet::{Packet, Reject};
use crate::sessions::{Binding, Output};

/// RFC 5880 section 6.8.3: while a session is not Up it sends at most once in this time.
const SLOW: Duration = Duration::from_secs(1);
/// The jitter is a whole number of these parts of the interval: fine enough that two systems do not step together.
const JITTER_PARTS: u32 = 10_000;

/// What an operator may want to know about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The tunnel, or the path.
    pub session: Binding,
    /// Our state.
    pub state: State,
    /// What the peer last said its state is.
    pub remote_state: State,
    /// Why we last changed our state.
    pub diag: Diag,
    /// Why the peer last changed its state.
    pub remote_diag: Diag,
    /// Our discriminator.
    pub discriminator: u32,
    /// The peer's discriminator, zero while unknown.
    pub remote_discriminator: u32,
    /// UDP source port of our packets.
    pub source_port: u16,
    /// What the operator set.
    pub config: Config,
    /// The interval between our packets before jitter; `None` while the peer wants none.
    pub transmit_interval: Option<Duration>,
    /// What the peer last said it would like to send at; zero before its first packet.
    pub remote_desired_min_tx: Duration,
    /// What the peer last said it is prepared to receive.
    pub remote_required_min_rx: Duration,
    /// Detect Mult of the peer, zero before its first packet.
    pub remote_detect_mult: u8,
    /// How long after a packet of the peer silence means failure; zero before its first packet.
    pub detection_time: Duration,
    /// How long the session has been Up.
    pub up_for: Option<Duration>,
    /// How often the session came Up.
    pub times_up: u64,
    /// How often the session left Up.
    pub times_down: u64,
    /// Packets.
    pub counters: Counters,
}

/// Packets of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Sent.
    pub transmitted: u64,
    /// Received and used.
    pub received: u64,
    /// Received for the session and discarded.
    pub rejected: u64,
}

/// What the peer said in its last packet, or section 6.8.1's initial values.
#[derive(Debug)]
struct Remote {
    discriminator: u32,
    state: State,
    diag: Diag,
    /// C: its BFD does not depend on its control plane.
    independent: bool,
    demand: bool,
    min_rx: Duration,
    desired_min_tx: Duration,
    detect_mult: u8,
}

impl Remote {
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diag: Diag::NONE,
        independent: false,
        demand: false,
        min_rx: Duration::from_micros(1),
        desired_min_tx: Duration::ZERO,
        detect_mult: 0,
    };
}

/// RFC 5880 section 6.5, with the rule at the end of 6.8.3 that keeps two sequences apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    Idle,
    /// Our packets carry P until one with F comes.
    Active,
    /// F came. A packet without F must follow before the next sequence, or the F of this one could end that one.
    Settling,
}

#[derive(Debug)]
pub(crate) struct Session {
    binding: Binding,
    local_discr: u32,
    source_port: u16,
    state: State,
    diag: Diag,
    config: Config,
    /// A change that waits for the end of the running Poll Sequence, so that one sequence announces one change.
    next_config: Option<Config>,
    poll: Poll,
    /// The interval still in use for sending, while the Poll Sequence announces a longer one.
    held_tx: Option<Duration>,
    /// The interval still in use for the Detection Time, while the Poll Sequence announces a shorter one.
    held_rx: Option<Duration>,
    remote: Remote,
    last_tx: Time,
    /// Which part of the interval after `last_tx` the next packet is due at, in [`JITTER_PARTS`].
    jitter: u32,
    transmit_at: Option<Time>,
    /// When the last packet that was not discarded came; `None` after a Detection Time without one.
    heard_at: Option<Time>,
    up_since: Option<Time>,
    times_up: u64,
    times_down: u64,
    counters: Counters,
}

/// What a session needs of its owner while it works.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) rng: &'a mut fastrand::Rng,
    pub(crate) outputs: &'a mut VecDeque<Output>,
}

impl Session {
    /// A session in state Down that has sent its first packet.
    pub(crate) fn start(
        binding: Binding,
        local_discr: u32,
        source_port: u16,
        config: Config,
        cx: &mut Context<'_>,
    ) -> Self {
        let mut session = Self {
            binding,
            local_discr,
            source_port,
            state: State::Down,
            diag: Diag::NONE,
            config: config.clamped(),
            next_config: None,
            poll: Poll::Idle,
            held_tx: None,
            held_rx: None,
            remote: Remote::UNKNOWN,
            last_tx: cx.now,
            jitter: JITTER_PARTS,
            transmit_at: None,
            heard_at: None,
            up_since: None,
            times_up: 0,
            times_down: 0,
            counters: Counters::default(),
        };
        session.transmit_scheduled(cx);
        session
    }

    pub(crate) fn local_discr(&self) -> u32 {
        self.local_discr
    }

    /// RFC 5881 section 5 leaves no choice; RFC 5883 section 5 makes it the operator's.
    pub(crate) fn min_hop_limit(&self) -> u8 {
        match self.binding {
            Binding::Link(_) => 255,
            Binding::Path { .. } => self.next_config.unwrap_or(self.config).min_hop_limit,
        }
    }

    pub(crate) fn source_port(&self) -> u16 {
        self.source_port
    }

    pub(crate) fn next_deadline(&self) -> Option<(Time, &'static str)> {
        let detect = self.detect_at().map(|at| (at, "bfd detection"));
        let transmit = self.transmit_at.map(|at| (at, "bfd transmit"));
        detect.into_iter().chain(transmit).min_by_key(|(at, _)| *at)
    }

    pub(crate) fn configure(&mut self, config: Config) {
        let config = config.clamped();
        if config == self.next_config.unwrap_or(self.config) {
            return;
        }
        self.next_config = Some(config);
        if self.poll == Poll::Idle {
            self.apply_next_config();
        }
        self.reschedule();
    }

    pub(crate) fn admin_down(&mut self, cx: &mut Context<'_>) {
        if self.state != State::AdminDown {
            self.enter(State::AdminDown, Diag::ADMIN_DOWN, cx);
            self.transmit_scheduled(cx);
        }
    }

    pub(crate) fn count_reject(&mut self) {
        self.counters.rejected += 1;
    }

    /// RFC 5880 section 6.8.6, from the selection of the session on.
    pub(crate) fn handle_packet(&mut self, packet: &Packet, cx: &mut Context<'_>) -> Result<(), Reject> {
        match packet.your_discriminator {
            0 if matches!(packet.state, State::Init | State::Up) => {
                return Err(Reject::ZeroYourDiscriminator { state: packet.state });
            }
            0 => {}
            discriminator if discriminator != self.local_discr => {
                return Err(Reject::UnknownYourDiscriminator { discriminator });
            }
            _ => {}
        }
        if packet.authentication {
            return Err(Reject::Authenticated);
        }
        self.counters.received += 1;
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diag: packet.diag,
            independent: packet.control_plane_independent,
            demand: packet.demand,
            min_rx: Duration::from_micros(packet.required_min_rx_us.into()),
            desired_min_tx: Duration::from_micros(packet.desired_min_tx_us.into()),
            detect_mult: packet.detect_mult,
        };
        self.handle_final(packet.final_);

        let before = self.state;
        if let Some((state, diag)) = next_state(self.state, packet.state) {
            self.enter(state, diag, cx);
        }
        self.heard_at = Some(cx.now);

        // Section 6.8.6 discards every packet in AdminDown before it comes to P; section 6.8.7 wants P answered "without
        // respect to the session state". The peer needs the answer to leave its own Poll Sequence.
        if packet.poll {
            self.transmit(false, true, cx);
        } else if self.state != before {
            self.transmit_scheduled(cx);
        }
        self.reschedule();
        Ok(())
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.detect_at().is_some_and(|at| at <= cx.now) {
            self.heard_at = None;
            let was_connected = matches!(self.state, State::Init | State::Up);
            if was_connected {
                self.enter(State::Down, Diag::DETECTION_TIME_EXPIRED, cx);
            }
            // Section 6.8.1 for the discriminator, 6.8.18 for the rest: the peer's wishes end with its Detection Time.
            // Its last diagnostic stays for the operator.
            self.remote = Remote { diag: self.remote.diag, ..Remote::UNKNOWN };
            if was_connected {
                self.transmit_scheduled(cx);
            }
            self.reschedule();
        }
        if self.transmit_at.is_some_and(|at| at <= cx.now) {
            self.transmit_scheduled(cx);
        }
    }

    pub(crate) fn view(&self, now: Time) -> View {
        View {
            session: self.binding,
            state: self.state,
            remote_state: self.remote.state,
            diag: self.diag,
            remote_diag: self.remote.diag,
            discriminator: self.local_discr,
            remote_discriminator: self.remote.discriminator,
            source_port: self.source_port,
            config: self.next_config.unwrap_or(self.config),
            transmit_interval: self.transmit_interval(),
            remote_desired_min_tx: self.remote.desired_min_tx,
            remote_required_min_rx: self.remote.min_rx,
            remote_detect_mult: self.remote.detect_mult,
            detection_time: self.detection_time(),
            up_for: self.up_since.map(|since| now - since),
            times_up: self.times_up,
            times_down: self.times_down,
            counters: self.counters,
        }
    }

    fn enter(&mut self, to: State, diag: Diag, cx: &mut Context<'_>) {
        let from = self.state;
        self.state = to;
        self.diag = diag;
        if to == State::Up {
            self.up_since = Some(cx.now);
            self.times_up += 1;
            if self.config.desired_min_tx < SLOW {
                // Section 6.8.3: bfd.DesiredMinTxInterval changes from one second to what is configured.
                self.poll = Poll::Active;
            }
        } else if from == State::Up {
            self.up_since = None;
            self.times_down += 1;
            self.poll = Poll::Idle;
            self.apply_next_config();
        }
        let (remote_state, remote_diag) = (self.remote.state, self.remote.diag);
        let independent = self.remote.independent;
        cx.outputs.push_back(Output::StateChanged {
            session: self.binding,
            from,
            to,
            diag,
            remote_state,
            remote_diag,
            independent,
        });
    }

    fn handle_final(&mut self, final_: bool) {
        match (self.poll, final_) {
            (Poll::Active, true) => {
                self.poll = Poll::Settling;
                self.held_tx = None;
                self.held_rx = None;
            }
            (Poll::Settling, false) => {
                self.poll = Poll::Idle;
                self.apply_next_config();
            }
            (Poll::Idle, _) | (Poll::Active, false) | (Poll::Settling, true) => {}
        }
    }

    /// Section 6.8.3: what may change at once and what waits for the peer to know. Not Up, nothing waits.
    fn apply_next_config(&mut self) {
        self.held_tx = None;
        self.held_rx = None;
        let Some(next) = self.next_config.take() else {
            return;
        };
        let old = std::mem::replace(&mut self.config, next);
        if self.state == State::Up {
            self.held_tx = (next.desired_min_tx > old.desired_min_tx).then_some(old.desired_min_tx);
            self.held_rx = (next.required_min_rx < old.required_min_rx).then_some(old.required_min_rx);
            self.poll = Poll::Active;
        }
    }

    /// `bfd.DesiredMinTxInterval`: what our packets say.
    fn desired_min_tx(&self) -> Duration {
        match self.state {
            State::Up => self.config.desired_min_tx,
            State::AdminDown | State::Down | State::Init => self.config.desired_min_tx.max(SLOW),
        }
    }

    /// Section 6.8.7: the slower of both sides, or nothing at all.
    fn transmit_interval(&self) -> Option<Duration> {
        // Section 6.8.7: Demand mode is active on the remote system.
        let silent_on_demand = self.remote.demand
            && self.state == State::Up
            && self.remote.state == State::Up
            && self.poll != Poll::Active;
        if self.remote.min_rx.is_zero() || silent_on_demand {
            return None;
        }
        Some(self.held_tx.unwrap_or_else(|| self.desired_min_tx()).max(self.remote.min_rx))
    }

    /// Section 6.8.4, asynchronous mode.
    fn detection_time(&self) -> Duration {
        let required_min_rx = self.held_rx.unwrap_or(self.config.required_min_rx);
        required_min_rx.max(self.remote.desired_min_tx) * u32::from(self.remote.detect_mult)
    }

    fn detect_at(&self) -> Option<Time> {
        self.heard_at.map(|at| at + self.detection_time())
    }

    /// Derives the time of the next periodic packet, so that every change of an interval takes effect at once (6.8.3).
    fn reschedule(&mut self) {
        // Section 6.8.7: with a Detect Mult of 1 a packet must come before the full interval is over.
        let most = if self.config.detect_mult == 1 { JITTER_PARTS / 10 * 9 } else { JITTER_PARTS };
        let jitter = self.jitter.min(most);
        self.transmit_at =
            self.transmit_interval().map(|interval| self.last_tx + interval * jitter / JITTER_PARTS);
    }

    /// Sends a packet in its turn, or because the state changed, and sets the time of the next one.
    fn transmit_scheduled(&mut self, cx: &mut Context<'_>) {
        self.transmit(self.poll == Poll::Active, false, cx);
        self.last_tx = cx.now;
        self.jitter = cx.rng.u32(JITTER_PARTS / 4 * 3..=JITTER_PARTS);
        self.reschedule();
    }

    fn transmit(&mut self, poll: bool, final_: bool, cx: &mut Context<'_>) {
        let packet = Packet {
            diag: self.diag,
            state: self.state,
            poll,
            final_,
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.local_discr,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: micros(self.desired_min_tx()),
            required_min_rx_us: micros(self.config.required_min_rx),
            required_min_echo_rx_us: 0,
        };
        self.counters.transmitted += 1;
        cx.outputs.push_back(Output::Transmit {
            session: self.binding,
            source_port: self.source_port,
            packet: packet.encode(),
        });
    }
}

fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}
