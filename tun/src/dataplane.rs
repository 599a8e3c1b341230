//! The packet core: everything that happens to a packet between the underlay, this host and the next hop.
//!
//! Pure: it owns tunnels, BFD sessions, the forwarding table and the counters, and is driven by the four verbs of
//! [`Core`]. It never waits, takes no lock, and allocates nothing for a data packet.
//!
//! ```text
//! handle_datagram ─ classify ─ open (decrypt into the TUN batch) ─┬─ link-local: BFD | OSPF, echo ─ Event
//!                                                                 ├─ ours: stays in the TUN batch
//!                                                                 └─ others': hop limit, FIB ─ seal into the UDP batch
//! handle_packet (from this host) ─ source check ─ FIB ─ seal into the UDP batch
//! ```
//!
//! | file | what |
//! |---|---|
//! | `dataplane.rs` | state, commands and events, timers |
//! | `dataplane/receive.rs` | from a datagram to an inner packet, and what is addressed to this node itself |
//! | `dataplane/forward.rs` | where a packet goes; ICMPv6 errors |
//! | `dataplane/door.rs` | limits per source in front of the handshake |
//! | `dataplane/probe.rs` | echo requests of this node's own, for `molt ping` and `molt trace` |

mod door;
mod forward;
mod probe;
mod receive;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use molt_bfd as bfd;
use molt_mesh::ip6::{CLASS_NETWORK_CONTROL, Header, Packet};
use molt_mesh::limit::TokenBucket;
use molt_mesh::port::{BFD_MULTIHOP, BFD_SINGLE_HOP, NEXT_HEADER_OSPF, TUNNEL_MTU};
use molt_mesh::{Fib, LinkId, MeshPrefix, Time};

use crate::counters::{Counters, Discard};
use crate::driver::{Core, IoCounters};
use crate::engine::{Engine, Sealed, Tunnel};
use crate::fragment::fragments;
use crate::link::{LinkConfig, Links, Traffic};
use crate::output::{MAX_DATAGRAM, Output, UdpBatch};

pub use probe::{Probe, ProbeOutcome, ProbeReply};

use door::Door;
use probe::Probes;

/// ICMPv6 errors per second, and at once (RFC 4443 section 2.4 (f)). Two `mtr` runs through this node need 100 a
/// second; `traceroute` sends 16 probes at once.
const ICMP_ERRORS: (u32, u32) = (100, 100);

/// Most events waiting for the control plane. An OSPF packet is at most 1,280 bytes, so this bounds the queue to
/// 5.2 MB (33 MB if all of them were reassembled); beyond, OSPF packets are discarded (and retransmitted by the neighbour), other events never.
const EVENT_LIMIT: usize = 4096;

/// Who this node is, for the packet path.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The /48 of the mesh.
    pub mesh: MeshPrefix,
    /// Mesh addresses of this node. The first is the source of its ICMPv6 errors and probes.
    pub addresses: Vec<Ipv6Addr>,
    /// Link-local address of this end of every tunnel.
    pub link_local: Ipv6Addr,
    /// Random: tunnel indices, BFD discriminators, the choice among equal-cost paths.
    pub seed: u64,
}

/// What the control plane tells the packet core.
#[derive(Debug)]
pub enum Command {
    /// A new neighbour, in place of any earlier one of that number.
    AddLink(LinkConfig),
    /// The BFD session of a link: on, towards that link-local address, or off.
    Bfd {
        /// The link.
        link: LinkId,
        /// The neighbour's link-local address.
        remote: Ipv6Addr,
        /// The session, or `None` to end it.
        session: Option<bfd::Config>,
    },
    /// The BFD session between an address of ours and one of a peer some hops away: on, or off.
    BfdPath {
        /// Our address.
        local: Ipv6Addr,
        /// The peer's.
        remote: Ipv6Addr,
        /// The session, or `None` to end it.
        session: Option<bfd::Config>,
    },
    /// Announce on every session that it ends on purpose (RFC 5880 section 6.8.16).
    BfdAdminDown,
    /// A new place to reach a neighbour.
    Endpoint(LinkId, SocketAddr),
    /// A new forwarding table.
    Fib(Arc<Fib>),
    /// Whether packets may be forwarded from and to a link: its adjacency is Full.
    Forwarding(LinkId, bool),
    /// Send an echo request of our own.
    Probe(Probe),
    /// Forget a neighbour.
    RemoveLink(LinkId),
    /// Answer with [`Event::Snapshot`].
    Snapshot,
    /// Send a control packet, a whole IPv6 packet, into a tunnel; in fragments if it is larger than the MTU.
    Transmit {
        /// The link.
        link: LinkId,
        /// The packet.
        packet: Vec<u8>,
    },
}

/// What the packet core tells the control plane.
#[derive(Debug)]
pub enum Event {
    /// A BFD session changed its state.
    Bfd {
        /// The link.
        link: LinkId,
        /// The change.
        change: BfdChange,
    },
    /// A BFD session over several hops changed its state.
    BfdPath {
        /// The peer's address.
        remote: Ipv6Addr,
        /// The change.
        change: BfdChange,
    },
    /// A handshake was completed; packets can be sent.
    Established(LinkId),
    /// An OSPF packet arrived.
    Ospf {
        /// The link it came in on.
        link: LinkId,
        /// Source address.
        src: Ipv6Addr,
        /// Destination address.
        dst: Ipv6Addr,
        /// Hop limit.
        hop_limit: u8,
        /// What follows the IPv6 header.
        payload: Box<[u8]>,
    },
    /// An answer to a probe.
    Probe(ProbeReply),
    /// A neighbour is reached at another place than before.
    Roamed(LinkId, SocketAddr),
    /// Answer to [`Command::Snapshot`].
    Snapshot(Box<Snapshot>),
}

/// What a BFD session has become, as far as its clients care (RFC 5882 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdChange {
    /// The neighbour ended the session on purpose: no statement about the path.
    AdminDown,
    /// The path failed.
    Down {
        /// Why.
        diag: bfd::Diag,
        /// The neighbour's BFD does not depend on its control plane.
        independent: bool,
    },
    /// Both ends see each other.
    Up,
}

/// The state of the packet core at one moment, for operators.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// All links in ascending order.
    pub links: Vec<LinkView>,
    /// What was thrown away.
    pub discards: Counters,
    /// All BFD sessions.
    pub bfd: Vec<bfd::View>,
    /// Packets of this host that went into the mesh, and came out of it.
    pub host: Traffic,
    /// Packets passed on for others.
    pub transit_packets: u64,
    /// What the packet loop met at the sockets and the device.
    pub io: IoCounters,
}

/// One link, for operators.
#[derive(Debug, Clone)]
pub struct LinkView {
    /// The link.
    pub link: LinkId,
    /// Where the neighbour was last heard, or is expected.
    pub endpoint: Option<SocketAddr>,
    /// Whether there is a session to send in.
    pub up: bool,
    /// Age of the session.
    pub session_age: Option<Duration>,
    /// Whether packets are forwarded.
    pub forwarding: bool,
    /// What passed through.
    pub traffic: Traffic,
}

/// The packet core. Who owns it (the packet loop, or a simulator) calls the verbs of [`Core`].
pub struct Dataplane<E: Engine> {
    engine: E,
    config: NodeConfig,
    rng: fastrand::Rng,
    /// Salt of the flow hash, so that two nodes in a row choose independently.
    salt: u64,
    links: Links<E::Tunnel>,
    bfd: bfd::Sessions,
    fib: Arc<Fib>,
    door: Door,
    icmp_errors: TokenBucket,
    probes: Probes,
    counters: Counters,
    events: VecDeque<Event>,
    host: Traffic,
    transit_packets: u64,
    io: IoCounters,
    /// Earliest timer of all tunnels.
    tunnels_due: Option<Time>,
}

impl<E: Engine> Dataplane<E> {
    /// A node without links and routes.
    #[must_use]
    pub fn new(engine: E, config: NodeConfig) -> Self {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let (rate, burst) = ICMP_ERRORS;
        Self {
            engine,
            salt: rng.u64(..),
            bfd: bfd::Sessions::new(rng.u64(..)),
            rng,
            links: Links::new(),
            fib: Arc::new(Fib::default()),
            door: Door::default(),
            icmp_errors: TokenBucket::new(rate, burst),
            probes: Probes::default(),
            counters: Counters::default(),
            events: VecDeque::with_capacity(64),
            host: Traffic::default(),
            transit_packets: 0,
            io: IoCounters::default(),
            tunnels_due: None,
            config,
        }
    }

    /// What was thrown away so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The table in force.
    #[must_use]
    pub const fn fib(&self) -> &Arc<Fib> {
        &self.fib
    }

    /// The state of everything.
    #[must_use]
    pub fn snapshot(&self, now: Time) -> Snapshot {
        let view = |link: &crate::link::Link<E::Tunnel>| LinkView {
            link: link.config.link,
            endpoint: link.endpoint,
            up: link.tunnel.is_up(),
            session_age: link.tunnel.session_age(now),
            forwarding: link.forwarding,
            traffic: link.traffic,
        };
        Snapshot {
            links: self.links.iter().map(view).collect(),
            discards: self.counters.clone(),
            bfd: self.bfd.views(now).collect(),
            host: self.host,
            transit_packets: self.transit_packets,
            io: self.io,
        }
    }

    fn add_link(&mut self, config: LinkConfig, now: Time, udp: &mut UdpBatch) {
        let index = loop {
            let index = self.rng.u32(..1 << 24);
            if self.links.index_is_free(index) {
                break index;
            }
        };
        let link = config.link;
        let tunnel = self.engine.tunnel(&config.remote, config.preshared, index);
        self.bfd.remove(link);
        if self.links.insert(config, tunnel, index) {
            self.tunnels_due = Some(now);
            self.initiate(link, now, udp);
        }
    }

    fn remove_link(&mut self, link: LinkId) {
        self.bfd.remove(link);
        self.links.remove(link);
    }

    /// Starts a handshake, if we know where to and have not just done so.
    fn initiate(&mut self, link: LinkId, now: Time, udp: &mut UdpBatch) {
        let Some(entry) = self.links.get_mut(link) else { return };
        let Some(endpoint) = entry.endpoint else { return };
        if !entry.may_initiate(now) {
            return;
        }
        push(udp, endpoint, &mut self.counters, |room| entry.tunnel.initiate(room, now).unwrap_or(0));
    }

    fn set_bfd(
        &mut self,
        link: LinkId,
        remote: Ipv6Addr,
        session: Option<bfd::Config>,
        now: Time,
        udp: &mut UdpBatch,
    ) {
        let Some(entry) = self.links.get_mut(link) else { return };
        entry.remote_link_local = Some(remote);
        match session {
            Some(config) => self.bfd.add(link, config, now),
            None => {
                entry.failed = false;
                // A neighbour that is told nothing takes the silence for a failure of the path (RFC 5880 section 6.8.16).
                self.end_bfd(link.into(), now, udp);
            }
        }
    }

    fn end_bfd(&mut self, session: bfd::Binding, now: Time, udp: &mut UdpBatch) {
        if self.bfd.views(now).any(|view| view.session == session && view.state == bfd::State::Up) {
            self.bfd.admin_down(session, now);
            self.drain_bfd(now, udp);
        }
        self.bfd.remove(session);
    }

    /// Does what the BFD sessions ask for.
    fn drain_bfd(&mut self, now: Time, udp: &mut UdpBatch) {
        while let Some(output) = self.bfd.poll_output() {
            match output {
                bfd::Output::Transmit {
                    session: bfd::Binding::Path { local, remote },
                    source_port,
                    packet,
                } => {
                    // RFC 5883 section 5 leaves the hop limit open; with 255 the peer can tell how far we are.
                    let traffic_class = CLASS_NETWORK_CONTROL;
                    let header = Header { src: local, dst: remote, hop_limit: 255, traffic_class };
                    let bytes = header.udp_array::<24, 72>(source_port, BFD_MULTIHOP, &packet);
                    let sent = self.send_control(&bytes, now, udp);
                    self.count(sent);
                }
                bfd::Output::Transmit { session: bfd::Binding::Link(link), source_port, packet } => {
                    let Some(dst) = self.links.get(link).and_then(|entry| entry.remote_link_local) else {
                        continue;
                    };
                    let header = Header {
                        src: self.config.link_local,
                        dst,
                        // RFC 5881 section 5: sent with 255, so that nobody farther away can forge it.
                        hop_limit: 255,
                        traffic_class: CLASS_NETWORK_CONTROL,
                    };
                    let bytes = header.udp_array::<24, 72>(source_port, BFD_SINGLE_HOP, &packet);
                    let sent = self.send(link, &bytes, CLASS_NETWORK_CONTROL, now, udp);
                    self.count(sent);
                }
                bfd::Output::StateChanged { session, from, to, diag, remote_state, independent, .. } => {
                    let down = BfdChange::Down { diag, independent };
                    let Some(change) = bfd_change((from, to), down, remote_state) else { continue };
                    match session {
                        bfd::Binding::Link(link) => self.bfd_changed(link, change, now, udp),
                        bfd::Binding::Path { remote, .. } => {
                            self.events.push_back(Event::BfdPath { remote, change });
                        }
                    }
                }
            }
        }
    }

    fn bfd_changed(&mut self, link: LinkId, change: BfdChange, now: Time, udp: &mut UdpBatch) {
        let failed = matches!(change, BfdChange::Down { .. });
        if let Some(entry) = self.links.get_mut(link) {
            entry.failed = failed;
        }
        self.events.push_back(Event::Bfd { link, change });
        if failed {
            // The neighbour may have restarted and lost the session; only a new handshake would tell.
            self.initiate(link, now, udp);
        }
    }

    /// Seals `packet` towards a neighbour.
    fn send(
        &mut self,
        link: LinkId,
        packet: &[u8],
        class: u8,
        now: Time,
        udp: &mut UdpBatch,
    ) -> Result<(), Discard> {
        let entry = self.links.get_mut(link).ok_or(Discard::NextHopDown)?;
        let endpoint = entry.endpoint.ok_or(Discard::NoEndpoint)?;
        let mut sealed = Sealed::NoSession;
        let fits = udp.push(endpoint, class, |room| {
            sealed = entry.tunnel.seal(packet, room, now);
            match sealed {
                Sealed::Data(len) | Sealed::Handshake(len) => len,
                Sealed::NoSession => 0,
            }
        });
        if !fits {
            return Err(Discard::TransmitFull);
        }
        if !matches!(sealed, Sealed::Data(_)) {
            return Err(Discard::NoSession);
        }
        entry.traffic.tx_packets += 1;
        entry.traffic.tx_bytes += packet.len() as u64;
        Ok(())
    }

    fn count(&mut self, result: Result<(), Discard>) {
        if let Err(discard) = result {
            self.counters.count(discard);
        }
    }

    fn push_ospf(&mut self, event: Event) {
        if self.events.len() < EVENT_LIMIT {
            self.events.push_back(event);
        } else {
            self.counters.count(Discard::ControlQueueFull);
        }
    }
}

/// What a transition of a session means to its clients, if anything.
fn bfd_change(
    (from, to): (bfd::State, bfd::State),
    down: BfdChange,
    remote: bfd::State,
) -> Option<BfdChange> {
    match (from, to) {
        (_, bfd::State::Up) => Some(BfdChange::Up),
        // RFC 5882 section 4.2: a session that ends administratively says nothing about the path.
        (bfd::State::Up, _) if remote == bfd::State::AdminDown => Some(BfdChange::AdminDown),
        // Ours: whoever asked for it knows.
        (_, bfd::State::AdminDown) => None,
        (bfd::State::Up, _) => Some(down),
        _ => None,
    }
}

/// Whether a packet has to be fragmented: an LSA cannot be split, and must arrive whole.
fn is_large_ospf(packet: &[u8]) -> bool {
    packet.len() > TUNNEL_MTU && Packet::new(packet).is_ok_and(|it| it.next_header() == NEXT_HEADER_OSPF)
}

/// Puts a handshake message into the batch.
fn push(udp: &mut UdpBatch, to: SocketAddr, counters: &mut Counters, write: impl FnOnce(&mut [u8]) -> usize) {
    if !udp.push(to, 0, write) {
        counters.count(Discard::TransmitFull);
    }
}

impl<E: Engine> Core for Dataplane<E> {
    type Command = Command;
    type Event = Event;

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &mut [u8], now: Time, out: &mut Output) {
        let result = self.receive(from, datagram, now, out);
        self.count(result);
    }

    fn handle_packet(&mut self, packet: &mut [u8], now: Time, out: &mut Output) {
        let result = self.forward_from_host(packet, now, out);
        self.count(result);
    }

    fn handle_command(&mut self, command: Command, now: Time, out: &mut Output) {
        match command {
            Command::AddLink(config) => self.add_link(config, now, &mut out.udp),
            Command::Bfd { link, remote, session } => {
                self.set_bfd(link, remote, session, now, &mut out.udp);
                self.drain_bfd(now, &mut out.udp);
            }
            Command::BfdPath { local, remote, session } => {
                let path = bfd::Binding::Path { local, remote };
                match session {
                    Some(config) => self.bfd.add(path, config, now),
                    None => self.end_bfd(path, now, &mut out.udp),
                }
                self.drain_bfd(now, &mut out.udp);
            }
            Command::BfdAdminDown => {
                let sessions: Vec<bfd::Binding> = self.bfd.views(now).map(|view| view.session).collect();
                for session in sessions {
                    self.bfd.admin_down(session, now);
                }
                self.drain_bfd(now, &mut out.udp);
            }
            Command::Endpoint(link, endpoint) => {
                let changed = self.links.get_mut(link).is_some_and(|entry| {
                    entry.initiated_at = entry.initiated_at.filter(|_| entry.endpoint == Some(endpoint));
                    entry.endpoint.replace(endpoint) != Some(endpoint)
                });
                if changed {
                    self.initiate(link, now, &mut out.udp);
                }
            }
            Command::Fib(fib) => self.fib = fib,
            Command::Forwarding(link, forwarding) => {
                if let Some(entry) = self.links.get_mut(link) {
                    entry.forwarding = forwarding;
                    // Routing knows better: the path works again, or BFD went down with a neighbour that restarts.
                    entry.failed &= !forwarding;
                }
            }
            Command::Probe(probe) => self.send_probe(&probe, now, out),
            Command::RemoveLink(link) => self.remove_link(link),
            Command::Snapshot => {
                let snapshot = Box::new(self.snapshot(now));
                self.events.push_back(Event::Snapshot(snapshot));
            }
            Command::Transmit { link, packet } if is_large_ospf(&packet) => {
                for fragment in fragments(&packet, TUNNEL_MTU, self.rng.u32(..)) {
                    let sent = self.send(link, &fragment, CLASS_NETWORK_CONTROL, now, &mut out.udp);
                    self.count(sent);
                }
            }
            Command::Transmit { link, packet } => {
                let sent = self.send(link, &packet, CLASS_NETWORK_CONTROL, now, &mut out.udp);
                self.count(sent);
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Output) {
        // BFD first: its peer waits for 300 ms, everybody else for seconds.
        self.bfd.handle_timeout(now);
        self.drain_bfd(now, &mut out.udp);
        if self.tunnels_due.is_none_or(|due| now < due) {
            return;
        }
        self.tunnels_due = None;
        for entry in self.links.iter_mut() {
            match entry.endpoint {
                Some(to) => {
                    push(&mut out.udp, to, &mut self.counters, |room| {
                        entry.tunnel.handle_timeout(room, now).unwrap_or(0)
                    });
                }
                None => {
                    // Nowhere to send to; the timers must run all the same.
                    entry.tunnel.handle_timeout(&mut [0; MAX_DATAGRAM], now);
                }
            }
            self.tunnels_due = [self.tunnels_due, entry.tunnel.poll_timeout()].into_iter().flatten().min();
        }
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let tunnels = self.tunnels_due.map(|due| (due, "tunnel timers"));
        [self.bfd.poll_timeout(), tunnels].into_iter().flatten().min()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn note_io(&mut self, counters: IoCounters) {
        self.io = counters;
    }
}
