//! What `molt` and `meshd` say to each other over the control socket: the only definition of it.
//!
//! One JSON object a line. A request is answered by one [`Response`]; `ping` and `trace` by one [`Answer::Probe`] per
//! probe and a last [`Answer::Done`]. Every answer an operator can print with `--json` has a `schema` with a version:
//! fields may be added within a version, never changed or removed.
//!
//! Leaf names follow the YANG models of OSPF (RFC 9129) and BFD (RFC 9314) where they have one.

use std::net::{Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

mod bgp;
mod chain;
mod ospf;
mod routes;

pub use bgp::{BgpNotTold, BgpPeer, BgpRoute, BgpRoutes, BgpSummary};
pub use chain::{Certificate, ChainAdmitted, ChainEndpoint, ChainStanding, NodeStanding, Standing};
pub use ospf::{
    OspfDatabase, OspfEvent, OspfEvents, OspfInterface, OspfInterfaces, OspfLsa, OspfMismatch, OspfNeighbor,
    OspfNeighbors, OspfSilence, OspfSpfLog, OspfSpfRun,
};
pub use routes::{NextHop, RejectedRoute, Route, RouteClaim, RouteExplanation, Routes};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/meshd/meshd.sock";

/// Longest request in bytes; a longer line is refused.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All BFD sessions.
    Bfd,
    /// All BGP routes.
    BgpRoutes,
    /// All BGP peers.
    BgpSummary,
    /// Take a binding of a wallet to a node.
    ChainAdmit(Certificate),
    /// What stands behind a node.
    ChainStanding(Standing),
    /// All counters.
    Counters,
    /// Leave the mesh and stop.
    Down,
    /// The link-state database.
    OspfDatabase,
    /// OSPF interfaces.
    OspfInterfaces,
    /// The last security events of routing.
    OspfEvents,
    /// OSPF neighbours.
    OspfNeighbors,
    /// The last SPF runs.
    OspfSpfLog,
    /// Neighbours and their tunnels.
    Peers,
    /// Echo requests to an address or a name.
    Ping(Ping),
    /// Read the peers of the configuration again.
    Reload,
    /// Replace the daemon by a new process without losing its ways.
    Restart,
    /// The forwarding table.
    Routes,
    /// Why packets to an address go where they go.
    RoutesExplain(Explain),
    /// This node.
    Status,
    /// Echo requests with rising hop limits.
    Trace(Trace),
}

/// Parameters of `routes --explain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The address.
    pub address: Ipv6Addr,
}

/// Parameters of `ping`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Address or name.
    pub target: String,
    /// How many requests, 1 to 65535.
    pub count: u16,
    /// Milliseconds between two, at least 10.
    pub interval_ms: u64,
    /// Bytes of payload, 8 to 1232.
    pub size: u16,
    /// Milliseconds to wait for an answer.
    pub timeout_ms: u64,
}

/// Parameters of `trace`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Address or name.
    pub target: String,
    /// Highest hop limit, 1 to 64.
    pub max_hops: u8,
    /// Milliseconds to wait for each answer.
    pub timeout_ms: u64,
}

/// What the daemon answers. The client reads the answer as what it asked for, or passes it on as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response<A = Answer> {
    /// As asked.
    Ok(A),
    /// Refused, or failed.
    Error(Failure),
}

/// Why a request failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people: what happened, and what to do.
    pub message: String,
}

/// Kinds of failure; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request is wrong.
    BadRequest,
    /// The daemon could not do it.
    Failed,
    /// No such peer or name.
    Unknown,
}

/// The answers, one variant per kind of request.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Peers`].
    Peers(Peers),
    /// To [`Request::Routes`].
    Routes(Routes),
    /// To [`Request::OspfEvents`].
    OspfEvents(OspfEvents),
    /// To [`Request::OspfNeighbors`].
    OspfNeighbors(OspfNeighbors),
    /// To [`Request::OspfInterfaces`].
    OspfInterfaces(OspfInterfaces),
    /// To [`Request::RoutesExplain`].
    RouteExplanation(RouteExplanation),
    /// To [`Request::OspfDatabase`].
    OspfDatabase(OspfDatabase),
    /// To [`Request::OspfSpfLog`].
    OspfSpfLog(OspfSpfLog),
    /// To [`Request::Bfd`].
    Bfd(Bfd),
    /// To [`Request::BgpRoutes`].
    BgpRoutes(BgpRoutes),
    /// To [`Request::BgpSummary`].
    BgpSummary(BgpSummary),
    /// To [`Request::ChainAdmit`].
    ChainAdmitted(ChainAdmitted),
    /// To [`Request::ChainStanding`].
    ChainStanding(Box<ChainStanding>),
    /// To [`Request::Counters`].
    Counters(Counters),
    /// To [`Request::Reload`].
    Reloaded(Reloaded),
    /// To [`Request::Restart`], by the old process.
    Restarting(Restarting),
    /// To [`Request::Ping`] and [`Request::Trace`], once per probe.
    Probe(ProbeLine),
    /// Nothing more follows.
    Done(Done),
}

/// The names of the schemas.
pub mod schema {
    /// Of [`Status`](super::Status).
    pub const STATUS: &str = "molt.status/1";
    /// Of [`Peers`](super::Peers).
    pub const PEERS: &str = "molt.peers/1";
    /// Of [`Routes`](super::Routes).
    pub const ROUTES: &str = "molt.routes/1";
    /// Of [`OspfEvents`](super::OspfEvents).
    pub const OSPF_EVENTS: &str = "molt.ospf.events/1";
    /// Of [`RouteExplanation`](super::RouteExplanation).
    pub const ROUTE_EXPLANATION: &str = "molt.routes.explain/1";
    /// Of [`OspfNeighbors`](super::OspfNeighbors).
    pub const OSPF_NEIGHBORS: &str = "molt.ospf.neighbors/1";
    /// Of [`OspfInterfaces`](super::OspfInterfaces).
    pub const OSPF_INTERFACES: &str = "molt.ospf.interfaces/1";
    /// Of [`OspfDatabase`](super::OspfDatabase).
    pub const OSPF_DATABASE: &str = "molt.ospf.database/1";
    /// Of [`OspfSpfLog`](super::OspfSpfLog).
    pub const OSPF_SPF_LOG: &str = "molt.ospf.spf-log/1";
    /// Of [`Bfd`](super::Bfd).
    pub const BFD: &str = "molt.bfd/1";
    /// Of [`ChainAdmitted`](super::ChainAdmitted).
    pub const CHAIN_ADMITTED: &str = "molt.chain.admitted/1";
    /// Of [`ChainStanding`](super::ChainStanding).
    pub const CHAIN_STANDING: &str = "molt.chain.standing/1";
    /// Of [`BgpRoutes`](super::BgpRoutes).
    pub const BGP_ROUTES: &str = "molt.bgp.routes/1";
    /// Of [`BgpSummary`](super::BgpSummary).
    pub const BGP_SUMMARY: &str = "molt.bgp.summary/1";
    /// Of [`Counters`](super::Counters).
    pub const COUNTERS: &str = "molt.counters/1";
    /// Of [`Reloaded`](super::Reloaded).
    pub const RELOADED: &str = "molt.reload/1";
    /// Of [`Restarting`](super::Restarting).
    pub const RESTARTING: &str = "molt.restarting/1";
    /// Of [`Restarted`](super::Restarted).
    pub const RESTARTED: &str = "molt.restart/1";
    /// Of [`ProbeLine`](super::ProbeLine).
    pub const PROBE: &str = "molt.probe/1";
    /// Of [`Done`](super::Done).
    pub const DONE: &str = "molt.done/1";
    /// Of `molt id`.
    pub const ID: &str = "molt.id/1";
    /// Of `molt id delegate`.
    pub const DELEGATION: &str = "molt.delegation/1";
    /// Of `molt id prefix`.
    pub const PREFIX: &str = "molt.prefix/1";
    /// Of `molt wait`.
    pub const WAIT: &str = "molt.wait/1";
}

/// A delegation that was signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delegation {
    /// [`schema::DELEGATION`].
    pub schema: String,
    /// What may be announced.
    pub address: Ipv6Addr,
    /// Identity key of the owner, base64.
    pub owner: String,
    /// Identity key of who may announce it, base64.
    pub holder: String,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
    /// Days until then.
    pub days: u16,
    /// The delegation for `[[delegation]]`, base64.
    pub grant: String,
}

/// A prefix for a mesh of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prefix {
    /// [`schema::PREFIX`].
    pub schema: String,
    /// A random /48.
    pub prefix: String,
}

/// This node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// [`schema::STATUS`].
    pub schema: String,
    /// Version of the daemon.
    pub version: String,
    /// Name, if it has one.
    pub name: Option<String>,
    /// UUID.
    pub agent_id: String,
    /// Mesh addresses; the first is the one to show.
    pub addresses: Vec<Ipv6Addr>,
    /// The /48 of the mesh.
    #[serde(default)]
    pub prefix: String,
    /// What the first address says about itself.
    pub trust_class: String,
    /// WireGuard public key.
    pub wireguard_key: String,
    /// OSPF router id.
    pub router_id: String,
    /// Link-local address inside the tunnels.
    pub link_local: Ipv6Addr,
    /// Interface of this host.
    pub interface: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Underlay addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Neighbours: configured, with a tunnel, with a Full adjacency.
    pub peers: PeerCounts,
    /// Routers in the mesh, this one included.
    pub routers: usize,
    /// Entries of the forwarding table.
    pub routes: usize,
    /// LSAs held.
    pub lsas: usize,
    /// SPF runs so far.
    pub spf_runs: u64,
    /// Whether it is part of a mesh: an adjacency is Full, and its routes are in force.
    pub ready: bool,
    /// Packets discarded so far.
    pub discarded: u64,
    /// The graceful restart by which this process came to be, if it did.
    pub restart: Option<Restart>,
}

/// A graceful restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restart {
    /// Whether it goes on: packets take the ways they took before.
    pub going: bool,
    /// Whether all adjacencies are back.
    pub complete: bool,
    /// Why it is over.
    pub reason: Option<String>,
    /// Milliseconds from the start of the process to the end of the restart, or until now.
    pub took_ms: u64,
}

/// How many neighbours are how far.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerCounts {
    /// In the configuration.
    pub configured: usize,
    /// With a WireGuard session.
    pub connected: usize,
    /// With a Full adjacency.
    pub full: usize,
}

/// Neighbours and their tunnels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Peers {
    /// [`schema::PEERS`].
    pub schema: String,
    /// In order of link.
    pub peers: Vec<Peer>,
}

/// One neighbour.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Peer {
    /// Number of the link: the OSPF interface id.
    pub link: u32,
    /// WireGuard public key.
    pub wireguard_key: String,
    /// Name it announces, if any.
    pub name: Option<String>,
    /// Router id, once known.
    pub router_id: Option<String>,
    /// Where it is reached.
    pub endpoint: Option<SocketAddr>,
    /// Whether it is a stock router.
    pub stock: bool,
    /// Cost of the link.
    pub cost: u16,
    /// Whether there is a session.
    pub connected: bool,
    /// Seconds since the handshake.
    pub last_handshake_s: Option<u64>,
    /// State of the OSPF adjacency.
    pub ospf: String,
    /// State of the BFD session.
    pub bfd: Option<String>,
    /// Inner packets received.
    pub rx_packets: u64,
    /// Inner bytes received.
    pub rx_bytes: u64,
    /// Inner packets sent.
    pub tx_packets: u64,
    /// Inner bytes sent.
    pub tx_bytes: u64,
}

/// All BFD sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bfd {
    /// [`schema::BFD`].
    pub schema: String,
    /// In order of link.
    pub sessions: Vec<BfdSession>,
}

/// One BFD session.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BfdSession {
    /// `ip-sh` for a single hop, a tunnel; `ip-mh` for several, to a BGP peer.
    #[serde(default)]
    pub path_type: String,
    /// Number of the link, of a single hop.
    pub interface_id: Option<u32>,
    /// Name of the neighbour.
    pub name: Option<String>,
    /// Our address, over several hops.
    #[serde(default)]
    pub source_addr: Option<Ipv6Addr>,
    /// Its address: link-local on a single hop.
    pub dest_addr: Option<Ipv6Addr>,
    /// Our state.
    pub local_state: String,
    /// Its state.
    pub remote_state: String,
    /// Why we left Up last.
    pub local_diagnostic: String,
    /// Why it left Up last.
    pub remote_diagnostic: String,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// Its discriminator.
    pub remote_discriminator: u32,
    /// Milliseconds between two of our packets, before jitter.
    pub negotiated_tx_interval_ms: f64,
    /// Milliseconds between two of its packets, at most.
    pub negotiated_rx_interval_ms: f64,
    /// Milliseconds of silence until it is declared down.
    pub detection_time_ms: f64,
    /// Seconds since it came up, if it is up.
    pub up_s: Option<u64>,
    /// Times it went down.
    pub down_count: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// All counters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// [`schema::COUNTERS`].
    pub schema: String,
    /// Every counter, in a fixed order.
    pub counters: Vec<Counter>,
}

/// One counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counter {
    /// `host`, `transit`, `discard`, `io`, `ospf`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// How often.
    pub value: u64,
    /// What it counts.
    pub meaning: String,
}

/// What a reload did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// [`schema::RELOADED`].
    pub schema: String,
    /// New peers.
    pub added: usize,
    /// Peers with another cost, endpoint or right.
    pub changed: usize,
    /// Peers that are gone.
    pub removed: usize,
    /// Settings that changed in the file and wait for a restart.
    pub needs_restart: Vec<String>,
}

/// The neighbours wait, and the process is about to be replaced. The new one answers at the same socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restarting {
    /// [`schema::RESTARTING`].
    pub schema: String,
    /// Seconds for which the neighbours wait.
    pub grace_s: u32,
}

/// What `molt restart` prints when the restart is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restarted {
    /// [`schema::RESTARTED`].
    pub schema: String,
    /// Version that runs.
    pub version: String,
    /// What the daemon says; nothing if no neighbour had to wait.
    pub restart: Option<Restart>,
}

/// One probe of `ping` or `trace`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProbeLine {
    /// [`schema::PROBE`].
    pub schema: String,
    /// Number of the probe; in a trace, its hop limit.
    pub seq: u16,
    /// Destination.
    pub target: Ipv6Addr,
    /// Who answered.
    pub from: Option<Ipv6Addr>,
    /// Its name.
    pub name: Option<String>,
    /// `reply`, `time-exceeded`, `unreachable`, `too-big`, `not-sent` or `no-reply`.
    pub outcome: String,
    /// More about it.
    pub detail: Option<String>,
    /// Milliseconds between request and answer.
    pub rtt_ms: Option<f64>,
    /// Hops to whoever answered, from the hop limit of a reply.
    pub hops: Option<u8>,
}

/// Nothing more follows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Done {
    /// [`schema::DONE`].
    pub schema: String,
    /// Probes sent.
    pub sent: u64,
    /// Probes answered by the destination.
    pub received: u64,
}

/// An identity, as `molt id` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Id {
    /// [`schema::ID`].
    pub schema: String,
    /// UUID.
    pub agent_id: String,
    /// Mesh address.
    pub address: Ipv6Addr,
    /// What the address says about itself.
    pub trust_class: String,
    /// Further addresses.
    pub other_addresses: Vec<Ipv6Addr>,
    /// Ed25519 public key, base64.
    pub identity_key: Option<String>,
    /// WireGuard public key, base64.
    pub wireguard_key: Option<String>,
    /// OSPF router id.
    pub router_id: Option<String>,
}
