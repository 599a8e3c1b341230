//! The control plane: neighbours, OSPFv3 and what follows for the packet core.
//!
//! Pure, like the packet core it steers: events and configuration in, commands out. It is the only place where BFD
//! learns of OSPF and OSPF of BFD.
//!
//! ```text
//! Event::Established ─► handle_link_up            Output::Transmit        ─► Command::Transmit
//! Event::Ospf        ─► handle_packet   ┌──────┐  Output::Bfd             ─► Command::Bfd
//! Event::Bfd         ─► handle_bfd    ─►│ Ospf │─►Output::AdjacencyChanged ─► Command::Forwarding
//! configuration      ─► add, update     └──────┘  Output::FibChanged      ─► Command::Fib
//! ```
//!
//! `control/peers.rs` makes the neighbours those of the configuration. `control/inter_mesh.rs` does the same as this file for
//! BGP, and puts what both know into one forwarding table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use molt_bfd as bfd;
use molt_mesh::record::{Agent, Delegation};
use molt_mesh::sign::Verifier;
use molt_mesh::{
    Fib, Identity, LinkId, MeshAddr, MeshPrefix, NodePublic, Prefix, RouterId, Time, TrustClass,
};
use molt_routing::bgp::{self, Bgp};
use molt_routing::ospf::origin::{Member, Right};
use molt_routing::ospf::{self, BfdEvent, External, Ospf, RestartHelper, State as NeighborState, Withheld};
use molt_tun::{BfdChange, Command, Event, ProbeReply, Snapshot};
use tracing::{debug, error, info, warn};

use crate::config;
use crate::handover::Handover;

mod inter_mesh;
mod peers;
mod restart;

pub use peers::{Peer, PeerChanges, PeerConfig};
pub use restart::Restart;

/// Everything the control plane must know about this node.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// The /48 of the mesh.
    pub mesh: MeshPrefix,
    /// Its keys, from which the OSPF router id follows.
    pub identity: Identity,
    /// How often a router id was drawn.
    pub draw: u32,
    /// Milliseconds since 1970 at [`Time::ZERO`].
    pub unix_ms: u64,
    /// Checks signatures.
    pub verifier: Arc<dyn Verifier>,
    /// What the operator vouches for.
    pub rights: Vec<Right>,
    /// Addresses of this node, those that others lend to it included.
    pub addresses: Vec<Ipv6Addr>,
    /// What proves that they do.
    pub delegations: Vec<Delegation>,
    /// Link-local address of this end of every tunnel.
    pub link_local: Ipv6Addr,
    /// Name to announce.
    pub name: Option<String>,
    /// Timers and default cost.
    pub ospf: config::Ospf,
    /// BFD parameters, or `None` if BFD is off.
    pub bfd: Option<bfd::Config>,
    /// Prefixes of other meshes that borders may announce.
    pub external: Vec<External>,
    /// BGP, or `None` if this node is no border.
    pub bgp: Option<bgp::Config>,
    /// Random.
    pub seed: u64,
    /// What the process before this one left, if this is a graceful restart.
    pub handover: Option<Handover>,
}

/// What the owner of the control plane is told.
#[derive(Debug)]
pub enum Notice {
    /// BGP wants something of its TCP connections: one of [`bgp::Output::Connect`], `Close` and `Send`.
    Bgp(bgp::Output),
    /// An answer to a probe.
    Probe(ProbeReply),
    /// The router id clashed with another router's and was drawn anew, for the so-manieth time: to be remembered.
    RouterIdChanged(u32),
    /// Neighbours keep their ways through this node: its process can be replaced by one that gets this.
    RestartReady(Handover),
    /// Neighbours have been told, LSAs are flushed: the node can stop.
    ShutdownComplete,
    /// The state of the packet core.
    Snapshot(Box<Snapshot>),
}

/// Most commands waiting for the packet core before OSPF packets are held back; it takes them within a millisecond.
const COMMAND_BACKLOG: usize = 8192;

/// SPF runs whose duration is remembered: as many as the SPF log has.
const DURATIONS: usize = 64;

/// Why a name leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Several routers announce it.
    #[error("several nodes call themselves {name:?}: {candidates}; use an address")]
    Ambiguous {
        /// The name.
        name: String,
        /// Their addresses.
        candidates: String,
    },
    /// Its bearer has no address.
    #[error("{0:?} announces no address")]
    NoAddress(String),
    /// Nobody announces it.
    #[error("no node calls itself {0:?}; `molt routes` lists those that are known")]
    Unknown(String),
}

/// The control plane of one node.
pub struct Control {
    config: ControlConfig,
    ospf: Ospf,
    bgp: Option<Bgp>,
    /// Timers of the BFD sessions with BGP peers.
    paths: BTreeMap<Ipv6Addr, bfd::Config>,
    /// Routes of BGP that the mesh is not told of, all of which are in the log.
    withheld: BTreeMap<Prefix, Withheld>,
    /// What OSPF and BGP know together.
    fib: Arc<Fib>,
    fib_changed: bool,
    peers: BTreeMap<LinkId, Peer>,
    commands: VecDeque<Command>,
    notices: VecDeque<Notice>,
    /// Links whose adjacency is Full, or kept while the neighbour restarts.
    full: BTreeSet<LinkId>,
    /// How long the last SPF runs took.
    durations: VecDeque<(Time, Duration)>,
    /// OSPF packets that were not sent because the packet core did not take commands.
    overruns: u64,
    /// Number of our record.
    record_seq: u64,
    /// When to sign it anew.
    sign_at: Time,
    /// Security events that are in the log.
    logged: u64,
    restart: Restart,
}

impl Control {
    /// A node without neighbours.
    #[must_use]
    pub fn new(mut config: ControlConfig, now: Time) -> Self {
        let routing = ospf::Config {
            router_id: config.identity.router_id(config.draw),
            mesh: config.mesh,
            prefixes: config.addresses.iter().map(|addr| Prefix::host(*addr)).collect(),
            hostname: config.name.clone(),
            hello: Duration::from_secs(config.ospf.hello_s.into()),
            dead: Duration::from_secs(config.ospf.dead_s.into()),
            rxmt: RXMT_INTERVAL,
            flood_reduction: config.ospf.flood_reduction,
            restart_helper: RestartHelper::Strict,
            member: Some(Member {
                identity: config.identity.clone(),
                draw: config.draw,
                unix_ms: config.unix_ms,
                verifier: Arc::clone(&config.verifier),
                rights: config.rights.clone(),
            }),
            seed: config.seed,
        };
        let (mut ospf, fib, restart) = restart::start(routing, config.handover.take(), config.unix_ms, now);
        ospf.accept_externals(config.external.clone());
        ospf.limit_neighbors(config.ospf.max_neighbors.into());
        let mut control = Self {
            bgp: config.bgp.clone().map(Bgp::new),
            config,
            ospf,
            paths: BTreeMap::new(),
            withheld: BTreeMap::new(),
            fib: Arc::default(),
            fib_changed: true,
            peers: BTreeMap::new(),
            commands: VecDeque::new(),
            notices: VecDeque::new(),
            full: BTreeSet::new(),
            durations: VecDeque::new(),
            overruns: 0,
            record_seq: 0,
            sign_at: now,
            logged: 0,
            restart,
        };
        control.ospf.set_delegations(control.config.delegations.clone(), now);
        control.sign_record(now);
        if matches!(control.restart, Restart::Going { .. }) {
            control.commands.push_back(Command::Fib(Arc::clone(&fib)));
            control.fib = fib;
        }
        control.drain(now);
        control
    }

    /// Signs our record anew: with a higher number, a new end, and the router id of this moment.
    fn sign_record(&mut self, now: Time) {
        let unix_ms = self.config.unix_ms.saturating_add(now.since_start().as_millis() as u64);
        // Rises over a restart because time does, and within one life whatever the clock does.
        self.record_seq = self.record_seq.saturating_add(1).max(unix_ms);
        self.sign_at = now + RECORD_LIFETIME / 3;
        let (mesh, identity) = (self.config.mesh, &self.config.identity);
        // Whatever else is announced here needs another proof than the record.
        let is_ours =
            |address: &MeshAddr| *address == identity.address(mesh) || address.class() == TrustClass::Claimed;
        let agent = Agent {
            key: *identity.key(),
            wireguard: *identity.node_public(),
            draw: self.config.draw,
            addresses: self
                .config
                .addresses
                .iter()
                .filter_map(|it| mesh.address(*it))
                .filter(is_ours)
                .collect(),
            name: self.config.name.clone(),
            endpoints: Vec::new(),
            services: Vec::new(),
            capabilities: Vec::new(),
            region: None,
            seq: self.record_seq,
            expiry: (unix_ms / 1000).saturating_add(RECORD_LIFETIME.as_secs()),
        };
        match agent.sign(identity) {
            Ok(record) => self.ospf.set_record(record, now),
            // Without one the others do not believe us, but the tunnels to them stay.
            Err(reject) => error!(%reject, "our own record is not valid; nobody will accept our addresses"),
        }
    }

    /// The time of day was set: milliseconds since 1970 at [`Time::ZERO`].
    pub fn set_clock(&mut self, unix_ms: u64, now: Time) {
        if self.config.unix_ms.abs_diff(unix_ms) < CLOCK_STEP.as_millis() as u64 {
            return;
        }
        info!(before_ms = self.config.unix_ms, after_ms = unix_ms, "the time of day was set");
        self.config.unix_ms = unix_ms;
        self.ospf.set_clock(unix_ms, now);
        self.sign_record(now);
        self.drain(now);
    }

    /// Replaces what the operator vouches for. Whether it is something else than before.
    pub fn set_rights(&mut self, rights: Vec<Right>, now: Time) -> bool {
        if self.config.rights == rights {
            return false;
        }
        self.config.rights.clone_from(&rights);
        self.ospf.set_rights(rights, now);
        self.drain(now);
        true
    }

    /// Routing, for operators.
    #[must_use]
    pub const fn ospf(&self) -> &Ospf {
        &self.ospf
    }

    /// All neighbours by link.
    #[must_use]
    pub const fn peers(&self) -> &BTreeMap<LinkId, Peer> {
        &self.peers
    }

    /// The neighbour with this key.
    #[must_use]
    pub fn link_of(&self, key: &NodePublic) -> Option<LinkId> {
        self.peers.iter().find(|(_, peer)| peer.config.key == *key).map(|(link, _)| *link)
    }

    /// OSPF packets lost because the packet core did not keep up.
    #[must_use]
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Whether the adjacency over a link is Full.
    #[must_use]
    pub fn is_full(&self, link: LinkId) -> bool {
        self.full.contains(&link)
    }

    /// The name of the router that announces an address as its own. Nothing proves it.
    #[must_use]
    pub fn name_of(&self, address: Ipv6Addr, now: Time) -> Option<String> {
        let address = self.config.mesh.address(address)?;
        let owner = self.ospf.router_addresses(now).into_iter().find(|(_, own)| own.contains(&address))?.0;
        self.ospf.hostnames(now).remove(&owner)
    }

    /// The address of a name, or an address as it is.
    ///
    /// # Errors
    /// If no router, or more than one, has the name.
    pub fn resolve(&self, target: &str, now: Time) -> Result<Ipv6Addr, ResolveError> {
        if let Ok(address) = target.parse::<Ipv6Addr>() {
            return Ok(address);
        }
        let name = target.strip_suffix(".molt").unwrap_or(target).to_ascii_lowercase();
        if self.config.name.as_ref() == Some(&name) {
            return self.config.addresses.first().copied().ok_or(ResolveError::Unknown(name));
        }
        let hostnames = self.ospf.hostnames(now);
        let bearers: Vec<RouterId> =
            hostnames.iter().filter(|(_, bearer)| **bearer == name).map(|(router, _)| *router).collect();
        let mut addresses = self.ospf.router_addresses(now);
        match bearers.as_slice() {
            [] => Err(ResolveError::Unknown(name)),
            [router] => {
                let own = addresses.remove(router).unwrap_or_default();
                own.first().map(|address| address.ip()).ok_or(ResolveError::NoAddress(name))
            }
            several => {
                let candidates = several.iter().filter_map(|router| addresses.get(router)?.first());
                let candidates: Vec<String> = candidates.map(ToString::to_string).collect();
                Err(ResolveError::Ambiguous { name, candidates: candidates.join(", ") })
            }
        }
    }

    /// Remembers how long the run of timers at `at` took, for the SPF log. The control plane has no clock.
    pub fn note_duration(&mut self, at: Time, took: Duration) {
        if self.ospf.spf_log().last().is_some_and(|run| run.at == at) {
            if self.durations.len() >= DURATIONS {
                self.durations.pop_front();
            }
            self.durations.push_back((at, took));
        }
    }

    /// How long the SPF run at `at` took.
    #[must_use]
    pub fn duration_of(&self, at: Time) -> Option<Duration> {
        self.durations.iter().find(|(run, _)| *run == at).map(|(_, took)| *took)
    }

    /// Takes what the packet core reports.
    pub fn handle_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Bfd { link, change } => {
                self.handle_bfd(link, change, now);
                self.drain(now);
                // RFC 5882 section 4.3.2: the neighbour restarts, and its BFD with it. The path is as good as it was.
                if matches!(change, BfdChange::Down { .. }) && self.full.contains(&link) {
                    self.commands.push_back(Command::Forwarding(link, true));
                }
            }
            Event::BfdPath { remote, change } => self.handle_path(remote, change, now),
            Event::Established(link) => {
                if let Some(peer) = self.peers.get_mut(&link) {
                    if !peer.established {
                        info!(%link, key = %peer.config.key, "tunnel is up");
                    }
                    peer.established = true;
                    if peer.config.border.is_some() {
                        self.commands.push_back(Command::Forwarding(link, true));
                        self.fib_changed = true;
                    } else {
                        self.ospf.handle_link_up(link, now);
                    }
                }
            }
            Event::Ospf { link, src, dst, hop_limit, payload } => {
                if let Err(reject) = self.ospf.handle_packet(link, src, dst, hop_limit, &payload, now) {
                    debug!(%link, %src, %reject, "discarded an OSPF packet");
                }
            }
            Event::Probe(reply) => self.notices.push_back(Notice::Probe(reply)),
            Event::Roamed(link, endpoint) => {
                if let Some(peer) = self.peers.get_mut(&link)
                    && let Some(before) = peer.endpoint.replace(endpoint)
                {
                    info!(%link, %before, %endpoint, "neighbour moved");
                }
            }
            Event::Snapshot(snapshot) => self.notices.push_back(Notice::Snapshot(snapshot)),
        }
        self.drain(now);
    }

    fn handle_bfd(&mut self, link: LinkId, change: BfdChange, now: Time) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.bfd = Some(change);
        let event = match change {
            BfdChange::AdminDown => BfdEvent::AdminDown,
            BfdChange::Down { independent: false, .. } => BfdEvent::Down,
            BfdChange::Down { independent: true, .. } => BfdEvent::PathDown,
            BfdChange::Up => BfdEvent::Up,
        };
        match change {
            BfdChange::Down { diag, .. } => warn!(%link, key = %peer.config.key, ?diag, "path failed (BFD)"),
            BfdChange::AdminDown => info!(%link, "neighbour ended its BFD session"),
            BfdChange::Up => info!(%link, "path is good (BFD)"),
        }
        self.ospf.handle_bfd(link, event, now);
    }

    /// Asks the packet core for its state; [`Notice::Snapshot`] answers.
    pub fn request_snapshot(&mut self) {
        self.commands.push_back(Command::Snapshot);
    }

    /// Sends an echo request; [`Notice::Probe`] answers, or nothing does.
    pub fn probe(&mut self, probe: molt_tun::Probe) {
        self.commands.push_back(Command::Probe(probe));
    }

    /// Begins to leave: neighbours move their traffic away, then forget us. [`Notice::ShutdownComplete`] follows.
    pub fn shutdown(&mut self, now: Time) {
        if let Some(bgp) = &mut self.bgp {
            bgp.shutdown(now);
        }
        self.ospf.shutdown(now);
        self.drain(now);
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if let Some(bgp) = &mut self.bgp {
            bgp.handle_timeout(now);
        }
        if self.sign_at <= now {
            self.sign_record(now);
        }
        self.ospf.handle_timeout(now);
        self.drain(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let bgp = self.bgp.as_ref().and_then(Bgp::poll_timeout);
        let sign = Some((self.sign_at, "sign the agent record"));
        [self.ospf.poll_timeout(), bgp, sign].into_iter().flatten().min()
    }

    /// The next thing the packet core must do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Gives a command back that could not be passed on yet.
    pub fn retry_command(&mut self, command: Command) {
        self.commands.push_front(command);
    }

    /// The next thing the owner must know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Passes on what OSPF and BGP want until neither wants anything: each hears of the routes of the other.
    fn drain(&mut self, now: Time) {
        loop {
            self.drain_ospf(now);
            self.drain_bgp();
            // While routing restarts, the ways of before it are in force.
            let restarting = matches!(self.restart, Restart::Going { .. });
            if restarting || !std::mem::take(&mut self.fib_changed) {
                return;
            }
            self.update_fib(now);
        }
    }

    /// Somebody may have to get up.
    fn log_events(&mut self) {
        let told = self.ospf.events_told();
        let new = usize::try_from(told - self.logged).unwrap_or(usize::MAX);
        self.logged = told;
        if new == 0 {
            return;
        }
        let events = self.ospf.events();
        for event in events.iter().skip(events.len().saturating_sub(new)) {
            let (router, cause) = (event.router, event.cause.name());
            warn!(%router, cause, link = ?event.link, subject = ?event.subject, why = event.why, "security event");
        }
    }

    fn drain_ospf(&mut self, now: Time) {
        self.log_events();
        while let Some(output) = self.ospf.poll_output() {
            match output {
                ospf::Output::AdjacencyChanged { link, up } => {
                    if up {
                        self.full.insert(link);
                    } else {
                        self.full.remove(&link);
                    }
                    self.commands.push_back(Command::Forwarding(link, up));
                }
                ospf::Output::Mismatch { link, router_id, mismatch } if mismatch.is_adopted() => {
                    info!(%link, %router_id, %mismatch, "the neighbour is configured otherwise");
                }
                ospf::Output::Mismatch { link, router_id, mismatch } => {
                    warn!(%link, %router_id, %mismatch, "the neighbour cannot become adjacent");
                }
                ospf::Output::RestartHelper { link, router_id, helping, reason } => {
                    info!(%link, %router_id, helping, reason, "graceful restart of a neighbour");
                }
                ospf::Output::RestartReady => {
                    self.commands.push_back(Command::BfdAdminDown);
                    self.notices.push_back(Notice::RestartReady(self.handover(now)));
                }
                ospf::Output::RestartEnded { complete, reason } => self.end_restart(complete, reason, now),
                ospf::Output::Transmit { link, packet, .. } => {
                    if self.commands.len() < COMMAND_BACKLOG {
                        self.commands.push_back(Command::Transmit { link, packet });
                    } else {
                        self.overruns += 1;
                    }
                }
                ospf::Output::Bfd { link, remote, enabled } => {
                    let session = self.config.bfd.filter(|_| enabled);
                    self.commands.push_back(Command::Bfd { link, remote, session });
                }
                ospf::Output::NeighborChanged { link, router_id, from, to, reason } => {
                    if to == NeighborState::Full || from == NeighborState::Full {
                        info!(%link, %router_id, ?from, ?to, reason, "adjacency");
                    } else {
                        debug!(%link, %router_id, ?from, ?to, reason, "neighbour");
                    }
                }
                ospf::Output::FibChanged => self.fib_changed = true,
                ospf::Output::RecordOutdated { seq } => {
                    self.record_seq = self.record_seq.max(seq);
                    self.sign_record(now);
                }
                ospf::Output::RouterIdChanged { router_id, draw } => {
                    warn!(%router_id, draw, "another router had our router id; this is the new one");
                    self.config.draw = draw;
                    self.notices.push_back(Notice::RouterIdChanged(draw));
                    self.sign_record(now);
                }
                ospf::Output::ShutdownComplete => {
                    self.commands.push_back(Command::BfdAdminDown);
                    self.notices.push_back(Notice::ShutdownComplete);
                }
            }
        }
    }
}

/// How long a record counts. Long, because it only says who is who: a node that was off for weeks, or whose clock is, is
/// still known; and whoever leaves a network is refused by its tunnels, not by the age of its record.
const RECORD_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// The time of day is slewed all the time; a record is signed anew when it is set.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// RxmtInterval on the mesh. RFC 2328 appendix C.3 leaves it to the operator and names 5 s for a LAN; a tunnel's round
/// trip is far below 1 s, and a lost packet then costs 1 s of convergence, not 5.
const RXMT_INTERVAL: Duration = Duration::from_secs(1);
