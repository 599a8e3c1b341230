//! All sessions of a node.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;

use molt_mesh::port::BFD_SOURCE_MIN;
use molt_mesh::{LinkId, Time};

use crate::config::Config;
use crate::fsm::{Diag, State};
use crate::packet::{LEN, Packet, Reject};
use crate::session::{Context, Session, View};

/// What a session is bound to, which tells the sessions apart (RFC 5881 section 3, RFC 5883 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// A tunnel: a single hop, port 3784.
    Link(LinkId),
    /// A pair of addresses, however many hops apart: port 4784.
    Path {
        /// Ours.
        local: Ipv6Addr,
        /// The peer's.
        remote: Ipv6Addr,
    },
}

impl From<LinkId> for Binding {
    fn from(link: LinkId) -> Self {
        Self::Link(link)
    }
}

/// What the owner must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send a UDP packet with hop limit 255: through a tunnel to port 3784 of the peer's link-local address (RFC 5881
    /// sections 4 and 5), or to port 4784 of the peer's address (RFC 5883 sections 4 and 5).
    Transmit {
        /// The session.
        session: Binding,
        /// The same for every packet of the session.
        source_port: u16,
        /// UDP payload.
        packet: [u8; LEN],
    },
    /// Tell whoever uses the session.
    StateChanged {
        /// The session.
        session: Binding,
        /// The state it left.
        from: State,
        /// The state it is in.
        to: State,
        /// Why.
        diag: Diag,
        /// What the peer said its state is. `AdminDown` means that its operator ended the session, and says nothing about
        /// the path (RFC 5882 section 4.2): routing stays as it is.
        remote_state: State,
        /// Why the peer changed its state.
        remote_diag: Diag,
        /// C bit: the peer's BFD does not depend on its control plane, so a failure is one of the path even while that
        /// restarts (RFC 5882 section 4.3.2).
        independent: bool,
    },
}

/// One session for each tunnel or path that somebody wants watched.
///
/// Packets received before a deadline must be handed in before [`handle_timeout`](Self::handle_timeout) runs for a time
/// after it: otherwise a busy node takes its own delay for a failure of the path.
#[derive(Debug)]
pub struct Sessions {
    sessions: BTreeMap<Binding, Session>,
    outputs: VecDeque<Output>,
    rng: fastrand::Rng,
    /// The minimum over `sessions`, kept because the packet loop asks far more often than it changes. Finding it anew
    /// costs a walk over at most 64 sessions, the bound on a node's neighbours.
    next: Option<(Time, &'static str)>,
}

impl Sessions {
    /// No session. `seed` drives discriminators, source ports and jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            outputs: VecDeque::new(),
            rng: fastrand::Rng::with_seed(seed),
            next: None,
        }
    }

    /// Starts a session, whose first packet is sent at once. An existing session takes over the configuration, by Poll
    /// Sequence where it is Up, and does not change its state.
    pub fn add(&mut self, session: impl Into<Binding>, config: Config, now: Time) {
        let binding = session.into();
        if let Some(session) = self.sessions.get_mut(&binding) {
            session.configure(config);
        } else {
            let (discriminator, source_port) = (self.free_discriminator(), self.free_source_port());
            let mut cx = Context { now, rng: &mut self.rng, outputs: &mut self.outputs };
            let session = Session::start(binding, discriminator, source_port, config, &mut cx);
            self.sessions.insert(binding, session);
        }
        self.find_next();
    }

    /// Forgets a session without a word to the peer.
    pub fn remove(&mut self, session: impl Into<Binding>) {
        self.sessions.remove(&session.into());
        self.find_next();
    }

    /// Tells the peer at once, and from then on, that its operator holds the session down. It stays so until it is
    /// removed.
    pub fn admin_down(&mut self, session: impl Into<Binding>, now: Time) {
        self.with_session(session.into(), now, |session, cx| session.admin_down(cx));
    }

    /// Feeds the UDP payload of a packet to port 3784 that came through a tunnel, or to port 4784 that came from and to the
    /// addresses of a path.
    ///
    /// # Errors
    /// Why the packet was discarded. It then had no effect.
    pub fn handle_packet(
        &mut self,
        session: impl Into<Binding>,
        hop_limit: u8,
        payload: &[u8],
        now: Time,
    ) -> Result<(), Reject> {
        let handled = self.with_session(session.into(), now, |session, cx| {
            let handled = check(hop_limit, session.min_hop_limit(), payload)
                .and_then(|packet| session.handle_packet(&packet, cx));
            if handled.is_err() {
                session.count_reject();
            }
            handled
        });
        handled.unwrap_or(Err(Reject::NoSession))
    }

    /// Runs every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next.is_none_or(|(at, _)| at > now) {
            return;
        }
        let mut cx = Context { now, rng: &mut self.rng, outputs: &mut self.outputs };
        for session in self.sessions.values_mut() {
            session.handle_timeout(&mut cx);
        }
        self.find_next();
    }

    /// What the owner must do next; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why; the reason goes to the log.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.next
    }

    /// All sessions in ascending order of what they are bound to, for the operator.
    pub fn views(&self, now: Time) -> impl Iterator<Item = View> {
        self.sessions.values().map(move |session| session.view(now))
    }

    fn with_session<T>(
        &mut self,
        binding: Binding,
        now: Time,
        work: impl FnOnce(&mut Session, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let session = self.sessions.get_mut(&binding)?;
        let result = work(session, &mut Context { now, rng: &mut self.rng, outputs: &mut self.outputs });
        self.find_next();
        Some(result)
    }

    fn find_next(&mut self) {
        self.next = self.sessions.values().filter_map(Session::next_deadline).min_by_key(|(at, _)| *at);
    }

    /// RFC 5880 section 6.8.1: random, unique and not zero.
    fn free_discriminator(&mut self) -> u32 {
        loop {
            let drawn = self.rng.u32(1..);
            if self.sessions.values().all(|session| session.local_discr() != drawn) {
                return drawn;
            }
        }
    }

    /// RFC 5881 section 4: unique as long as the range lasts.
    fn free_source_port(&mut self) -> u16 {
        let range = usize::from(u16::MAX - BFD_SOURCE_MIN) + 1;
        loop {
            let drawn = self.rng.u16(BFD_SOURCE_MIN..);
            let unused = self.sessions.values().all(|session| session.source_port() != drawn);
            if unused || self.sessions.len() >= range {
                return drawn;
            }
        }
    }
}

fn check(hop_limit: u8, least: u8, payload: &[u8]) -> Result<Packet, Reject> {
    if hop_limit < least {
        return Err(Reject::HopLimit { hop_limit });
    }
    Packet::decode(payload)
}
