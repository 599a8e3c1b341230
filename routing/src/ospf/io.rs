//! What goes in and what comes out: configuration, the word of BFD, and what is to be done.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{LinkId, MeshPrefix, Prefix, RouterId};

use super::origin::Member;
use super::{Mismatch, RestartHelper, State};

/// What is the same for all links.
#[derive(Debug, Clone)]
pub struct Config {
    /// Router ID, not 0.
    pub router_id: RouterId,
    /// The /48 of the mesh: what routers announce of their own lies in it, or is refused.
    pub mesh: MeshPrefix,
    /// Our own prefixes, announced with metric 0; a /128 is marked as our address (LA-bit).
    pub prefixes: Vec<Prefix>,
    /// Name to be shown beside our Router ID (RFC 5642).
    pub hostname: Option<String>,
    /// HelloInterval: how often a Hello is sent, in whole seconds; 10 s. A neighbour with other intervals is met on its
    /// own.
    pub hello: Duration,
    /// RouterDeadInterval: silence after which a neighbour is given up; 40 s. BFD is the faster way to find out.
    pub dead: Duration,
    /// RxmtInterval: wait before the first repetition of whatever was not answered. 1 s on the mesh, above any round trip
    /// and the delay of acknowledgments, and below the patience of a user.
    pub rxmt: Duration,
    /// Whether a copy of an LSA waits while others send it to the same neighbour (see `relay`); else flooding is by the
    /// book. It is our own choice: neighbours need not know.
    pub flood_reduction: bool,
    /// Whether neighbours are helped to restart gracefully.
    pub restart_helper: RestartHelper,
    /// What makes us a member of the mesh, with a Router ID drawn from our key; `None` for a plain OSPFv3 router, which
    /// proves nothing and believes what it is told about addresses of the mesh.
    pub member: Option<Member>,
    /// Seed of all randomness: the first DD sequence numbers, and the jitter of refreshes.
    pub seed: u64,
}

/// One tunnel as a point-to-point interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkConfig {
    /// Its id, which is also the OSPF Interface ID.
    pub link: LinkId,
    /// Cost, at least 1.
    pub cost: u16,
    /// Our link-local address on it.
    pub local: Ipv6Addr,
    /// Largest IPv6 packet it carries in bytes: 1280.
    pub mtu: u16,
    /// Whether a stock router is behind it.
    pub stock: bool,
    /// What a stock router may announce.
    pub allow: Vec<Prefix>,
}

/// What happened to the BFD session of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdEvent {
    /// The neighbour's operator switched it off: no statement about the path (RFC 5882 section 4.2).
    AdminDown,
    /// The path is broken, if the session was up before.
    Down,
    /// The same, and the neighbour's BFD does not depend on its control plane (the C bit of RFC 5880), so that it is true
    /// even while that restarts.
    PathDown,
    /// The session is up.
    Up,
}

/// What [`Ospf::poll_output`](super::Ospf::poll_output) gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Traffic may pass a link, or not any longer: its neighbour is Full, or helped to restart.
    AdjacencyChanged {
        /// The tunnel.
        link: LinkId,
        /// Whether it may.
        up: bool,
    },
    /// A BFD session to `remote` is wanted, or not any longer.
    Bfd {
        /// The tunnel.
        link: LinkId,
        /// Link-local address of the neighbour.
        remote: Ipv6Addr,
        /// Whether it is wanted.
        enabled: bool,
    },
    /// [`Ospf::fib`](super::Ospf::fib) is a new table.
    FibChanged,
    /// The two ends of a link disagree. Told once for each cause and neighbour, for the log.
    Mismatch {
        /// The tunnel.
        link: LinkId,
        /// Router ID at the other end.
        router_id: RouterId,
        /// What differs.
        mismatch: Mismatch,
    },
    /// A neighbour changed its state.
    NeighborChanged {
        /// The tunnel.
        link: LinkId,
        /// Its Router ID.
        router_id: RouterId,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why, for the log.
        reason: &'static str,
    },
    /// After [`Ospf::new_restarting`](super::Ospf::new_restarting): the restart is over.
    RestartEnded {
        /// Whether all adjacencies are back.
        complete: bool,
        /// Why it is over, for the log.
        reason: &'static str,
    },
    /// A neighbour restarts and is helped, or not, or not any longer.
    RestartHelper {
        /// The tunnel.
        link: LinkId,
        /// Its Router ID.
        router_id: RouterId,
        /// Whether it is.
        helping: bool,
        /// Why, for the log.
        reason: &'static str,
    },
    /// After [`Ospf::prepare_restart`](super::Ospf::prepare_restart): the process can end.
    RestartReady,
    /// A record of ours came back that is not older than the one we have: [`Ospf::set_record`](super::Ospf::set_record) wants one with a higher
    /// number.
    RecordOutdated {
        /// The number of the one that came back.
        seq: u64,
    },
    /// After a clash we have another Router ID: [`Ospf::set_record`](super::Ospf::set_record) wants a record for it, and a restart must not undo it.
    RouterIdChanged {
        /// The new one.
        router_id: RouterId,
        /// How often it was drawn.
        draw: u32,
    },
    /// After [`Ospf::shutdown`](super::Ospf::shutdown): nothing more will come.
    ShutdownComplete,
    /// A packet for the neighbour at the other end of a tunnel.
    Transmit {
        /// The tunnel.
        link: LinkId,
        /// Its destination.
        dst: Ipv6Addr,
        /// The whole IPv6 packet.
        packet: Vec<u8>,
    },
}
