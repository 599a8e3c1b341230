//! BGP-4 between meshes: RFC 4271 for IPv6 unicast, over TCP connections that somebody else opens.
//!
//! [`Bgp`] is one speaker. Bytes, connections, BFD and time go in through `handle_*`; what is to be sent, opened and closed
//! comes out of [`Bgp::poll_output`]. It reads no clock and opens no socket.
//!
//! | file | chapter | owns |
//! |---|---|---|
//! | [`consts`] | the numbers | |
//! | [`message`] | framing, OPEN, NOTIFICATION (RFC 4271 sections 4 and 6) | |
//! | [`path`] | path attributes (section 5) | |
//! | [`update`] | UPDATE, RFC 7606 | |
//! | [`fsm`] | the state machine as a table (section 8) | |
//! | `session` | connections, timers, collisions (6.8) | the connections of each peer |
//! | [`policy`] | what comes in and goes out (RFC 8212) | |
//! | [`decision`] | the best of several routes (9.1.2) | |
//! | `rib` | Adj-RIBs-In, Loc-RIB, Adj-RIBs-Out | every route |
//! | [`view`] | what operators see | |
//!
//! Messages enter at [`Bgp::handle_bytes`], are split off and decoded, and become events of the connection they came on. An
//! UPDATE ends in `rib`, which applies import policy, decides, and lets export policy say what the others are told.
//!
//! # Supported
//!
//! RFC 4271, RFC 4760 and 2545 (IPv6 unicast), RFC 6793 (four-octet AS numbers), RFC 2918 (route refresh, answered), RFC 4724
//! (graceful restart of a peer), RFC 5492, RFC 9072, RFC 8654 (extended messages), RFC 7606 and 7607, RFC 8212, RFC 1997 and
//! 8092 (communities), RFC 4486, 6608 and 9384 (codes), RFC 5882 (BFD as client), RFC 6286 (identifiers).
//!
//! # Deviations, each on purpose
//!
//! - ConnectRetryTime is ten seconds and MinRouteAdvertisementInterval is zero: a mesh announces one aggregate to a few peers.
//! - A TCP failure in Connect leads to Active, not to Idle, as with every implementation that dampens starts.
//! - Section 6.8 compares connections that have an OPEN. By then the other end may have chosen differently, and both would be
//!   closed. So an OPEN is not answered while the connection that section 6.8 prefers to its own waits for one, for
//!   [`COLLISION_WAIT`](consts::COLLISION_WAIT) at most; and whoever answers the peer's no longer dials.
//! - A route whose AS_PATH does not begin with the peer's AS is kept out (RFC 4271 section 6.3 leaves it open).
//! - When BFD calls a path down, the session ends at once with Cease/BFD Down, and routes go. Only if the peer can restart
//!   gracefully and its BFD shares the fate of its control plane, silence is taken for a restart (RFC 5882 section 4.3).
//!
//! # Left out
//!
//! Peers in the same AS (iBGP): borders of one mesh learn of each other's routes as AS-external LSAs, which reach every node
//! at once, and a full mesh of sessions or route reflectors would tell them nothing more. IPv4 and all other address families,
//! peers without four-octet AS numbers, aggregation, confederations, ADD-PATH, authentication by TCP-MD5 or TCP-AO (the
//! tunnel between the borders authenticates both ends).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{Prefix, Time};

pub mod consts;
pub mod decision;
pub mod fsm;
pub mod message;
pub mod path;
pub mod policy;
mod rib;
mod session;
#[cfg(test)]
mod tests;
pub mod update;
pub mod view;

pub use fsm::State;
pub use policy::Policy;

use rib::LocRib;
use session::Peer;

/// What is the same for all peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Our AS number, not 0.
    pub asn: u32,
    /// BGP Identifier, not 0: the OSPF Router ID at the start. It stays, should that have to change.
    pub identifier: u32,
    /// Our mesh address: where sessions end, and next hop of what we announce.
    pub address: Ipv6Addr,
    /// What we originate: aggregates of the mesh.
    pub announce: Vec<Prefix>,
    /// Never accepted from another mesh, nor anything that overlaps with it: our own mesh.
    pub own: Prefix,
    /// Seed of all randomness: the jitter of timers.
    pub seed: u64,
}

/// A speaker of another mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub address: Ipv6Addr,
    /// Its AS number: another than ours.
    pub asn: u32,
    /// Whether BFD watches the path to it; it makes our Hold Time 9 s in place of 90.
    pub bfd: bool,
    /// What it may tell us. Empty: nothing.
    pub import: Policy,
    /// What it is told. Empty: nothing.
    pub export: Policy,
    /// Prefixes it may announce, accepted or not, before the session is ended for five minutes. Bounds its memory here.
    pub max_prefixes: u32,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The peer.
    Accepted,
    /// We.
    Dialled,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Accepted => Self::Dialled,
            Self::Dialled => Self::Accepted,
        }
    }
}

/// What happened to the BFD session with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdEvent {
    /// The peer's operator switched it off: no statement about the path (RFC 5882 section 4.2).
    AdminDown,
    /// The path is broken.
    Down {
        /// The peer's BFD does not depend on its control plane (the C bit of RFC 5880).
        independent: bool,
    },
    /// The session is up.
    Up,
}

/// What [`Bgp::poll_output`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A BFD session with the peer is wanted, or not any longer.
    Bfd {
        /// The peer.
        peer: Ipv6Addr,
        /// Whether it is wanted.
        enabled: bool,
    },
    /// Close a connection, after what was to be sent on it. One that is being opened is given up.
    Close {
        /// The peer.
        peer: Ipv6Addr,
        /// Which of its two connections.
        side: Side,
    },
    /// Open a connection to port 179 of the peer: [`Bgp::handle_connected`] or [`Bgp::handle_closed`] answers.
    Connect {
        /// The peer.
        peer: Ipv6Addr,
    },
    /// A route came with a next hop that [`Bgp::update_next_hops`] was not asked about yet.
    NextHopsChanged,
    /// The session with a peer changed its state.
    PeerChanged {
        /// The peer.
        peer: Ipv6Addr,
        /// Whether it is Established.
        established: bool,
        /// Why, for the log.
        reason: String,
    },
    /// [`Bgp::routes`] says something else.
    RoutesChanged,
    /// Send on a connection.
    Send {
        /// The peer.
        peer: Ipv6Addr,
        /// Which of its two connections.
        side: Side,
        /// One or more messages.
        bytes: Vec<u8>,
    },
}

/// A route to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub prefix: Prefix,
    /// Next hops as their peers gave them, ascending; several share the traffic. Each has a way inside the mesh.
    pub next_hops: Vec<Ipv6Addr>,
    /// MED of the best route.
    pub med: Option<u32>,
}

/// One BGP speaker.
#[derive(Debug)]
pub struct Bgp {
    config: Config,
    rng: fastrand::Rng,
    peers: BTreeMap<Ipv6Addr, Peer>,
    /// Interior cost to each next hop that routes name, `None` if there is no way.
    next_hops: BTreeMap<Ipv6Addr, Option<u32>>,
    loc_rib: LocRib,
    /// Prefixes to decide on anew.
    dirty: BTreeSet<Prefix>,
    outputs: VecDeque<Output>,
    stopped: bool,
}

impl Bgp {
    /// A speaker without peers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(config.seed),
            config,
            peers: BTreeMap::new(),
            next_hops: BTreeMap::new(),
            loc_rib: LocRib::default(),
            dirty: BTreeSet::new(),
            outputs: VecDeque::new(),
            stopped: false,
        }
    }

    /// Makes the peers those of `wanted`. New policies apply to all routes at once; only another AS number or another
    /// setting of BFD starts the session anew.
    pub fn set_peers(&mut self, wanted: Vec<PeerConfig>, now: Time) {
        let same = |peer: &PeerConfig, config: &PeerConfig| {
            (peer.address, peer.asn, peer.bfd) == (config.address, config.asn, config.bfd)
        };
        let gone: Vec<Ipv6Addr> = self
            .peers
            .values()
            .filter(|peer| !wanted.iter().any(|config| same(&peer.config, config)))
            .map(|peer| peer.config.address)
            .collect();
        for peer in gone {
            self.remove_peer(peer, now);
        }
        for config in wanted {
            let address = config.address;
            match self.peers.get_mut(&address) {
                None => {
                    self.peers.insert(address, Peer::new(config, now));
                }
                Some(peer) if peer.config != config => {
                    peer.config = config;
                    self.import_again(address);
                }
                Some(_) => {}
            }
        }
        self.decide();
    }

    /// Ends all sessions and starts none.
    pub fn shutdown(&mut self, now: Time) {
        self.stopped = true;
        let peers: Vec<Ipv6Addr> = self.peers.keys().copied().collect();
        for peer in peers {
            self.stop_peer(peer, message::Notification::SHUTDOWN, now);
        }
        self.decide();
    }

    /// A connection is open. `false` if there is no use for it: close it.
    #[must_use]
    pub fn handle_connected(&mut self, peer: Ipv6Addr, side: Side, now: Time) -> bool {
        let wanted = self.connected(peer, side, now);
        self.decide();
        wanted
    }

    /// Takes what was received on a connection.
    pub fn handle_bytes(&mut self, peer: Ipv6Addr, side: Side, bytes: &[u8], now: Time) {
        self.received(peer, side, bytes, now);
        self.decide();
    }

    /// A connection was closed by the peer, failed, or could not be opened.
    pub fn handle_closed(&mut self, peer: Ipv6Addr, side: Side, now: Time) {
        self.closed(peer, side, now);
        self.decide();
    }

    /// Takes news of a BFD session that [`Output::Bfd`] asked for.
    pub fn handle_bfd(&mut self, peer: Ipv6Addr, event: BfdEvent, now: Time) {
        self.bfd_event(peer, event, now);
        self.decide();
    }

    /// Tells what the interior cost of each next hop is, `None` if there is no way to it. To be called when the routes of
    /// the mesh have changed, and after [`Output::NextHopsChanged`].
    pub fn update_next_hops(&mut self, resolve: impl Fn(Ipv6Addr) -> Option<u32>) {
        let mut changed = BTreeSet::new();
        for (next_hop, metric) in &mut self.next_hops {
            let resolved = resolve(*next_hop);
            if *metric != resolved {
                *metric = resolved;
                changed.insert(*next_hop);
            }
        }
        self.next_hops_changed(&changed);
        self.decide();
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.run_timers(now);
        self.decide();
    }

    /// What the owner must do next; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.peers.values().filter_map(Peer::next_deadline).min()
    }

    /// The routes in use, in ascending order of prefix.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.loc_rib.routes()
    }

    /// Our BGP Identifier.
    #[must_use]
    pub const fn identifier(&self) -> u32 {
        self.config.identifier
    }

    /// Whether there is such a peer: the address of others is not worth a connection.
    #[must_use]
    pub fn has_peer(&self, peer: Ipv6Addr) -> bool {
        self.peers.contains_key(&peer)
    }

    fn remove_peer(&mut self, peer: Ipv6Addr, now: Time) {
        self.stop_peer(peer, message::Notification::DECONFIGURED, now);
        self.peers.remove(&peer);
    }

    /// RFC 4271 section 10: 75 to 100 % of the interval.
    fn jitter(&mut self, interval: Duration) -> Duration {
        interval * self.rng.u32(75..=100) / 100
    }
}
