//! What operators see.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use molt_mesh::{Prefix, Time};

use super::Bgp;
use super::fsm::State;
use super::path::Path;
pub use super::session::Counters;

/// Why a route that was received is not considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Filtered {
    /// RFC 4271 section 9.1.2.
    #[error("our own AS is in its path")]
    AsLoop,
    /// RFC 4271 section 6.3.
    #[error("its path does not begin with the peer's AS")]
    FirstAs,
    /// RFC 4271 section 6.3.
    #[error("its next hop is this node")]
    NextHop,
    /// Another mesh has no say in where ours is.
    #[error("it overlaps with our own mesh")]
    OwnMesh,
    /// RFC 8212 if there is no policy.
    #[error("the import policy does not accept it")]
    Policy,
}

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its address.
    pub address: Ipv6Addr,
    /// Its AS number.
    pub asn: u32,
    /// Its BGP Identifier, while the session is up.
    pub identifier: Option<Ipv4Addr>,
    /// The state of the session: of the connection that has come farthest.
    pub state: State,
    /// How long it has been up.
    pub up_for: Option<Duration>,
    /// Hold Time that was agreed on.
    pub hold_time: Option<Duration>,
    /// Messages.
    pub counters: Counters,
    /// Prefixes it announces.
    pub received_prefixes: usize,
    /// Those that import policy accepts.
    pub accepted_prefixes: usize,
    /// Prefixes it was told.
    pub sent_prefixes: usize,
    /// Whether neither direction, or only one, has a policy (RFC 8212).
    pub lacks_policy: bool,
    /// What went wrong last, and how long ago.
    pub last_error: Option<(Duration, String)>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The destination.
    pub prefix: Prefix,
    /// Who announces it; `None` if we do.
    pub peer: Option<Ipv6Addr>,
    /// Its attributes, after import policy if that accepts it.
    pub path: Path,
    /// Why it is not considered.
    pub filtered: Option<Filtered>,
    /// Whether its next hop can be reached.
    pub reachable: bool,
    /// Whether it is the best.
    pub best: bool,
    /// Whether it shares the traffic with the best.
    pub multipath: bool,
    /// Whether it is from before a restart of the peer.
    pub stale: bool,
    /// How long ago it came.
    pub age: Duration,
}

impl Bgp {
    /// All peers in ascending order of address.
    #[must_use]
    pub fn peer_views(&self, now: Time) -> Vec<PeerView> {
        let views = self.peers.values().map(|peer| {
            let up = peer.established().map(|(_, connection)| connection);
            let states = peer.connections.values().map(|connection| connection.state);
            PeerView {
                address: peer.config.address,
                asn: peer.config.asn,
                identifier: up
                    .and_then(|it| it.open.as_ref())
                    .map(|open| Ipv4Addr::from_bits(open.identifier)),
                state: states.chain([peer.dialler]).max().unwrap_or(State::Idle),
                up_for: up.map(|connection| now.since(connection.since)),
                hold_time: up.map(|connection| connection.hold_time),
                counters: peer.counters,
                received_prefixes: peer.rib_in.len(),
                accepted_prefixes: peer.rib_in.iter().filter(|(_, route)| route.imported.is_ok()).count(),
                sent_prefixes: peer.rib_out.len(),
                lacks_policy: peer.config.import.0.is_empty() || peer.config.export.0.is_empty(),
                last_error: peer.last_error.as_ref().map(|(at, error)| (now.since(*at), error.clone())),
            }
        });
        views.collect()
    }

    /// All routes: what we originate, and what each peer announces, in ascending order of prefix.
    #[must_use]
    pub fn route_views(&self, now: Time) -> Vec<RouteView> {
        let own = self.config.announce.iter().map(|prefix| RouteView {
            prefix: *prefix,
            peer: None,
            path: Path::local(self.config.address),
            filtered: None,
            reachable: true,
            best: true,
            multipath: false,
            stale: false,
            age: now.since_start(),
        });
        let learnt = self.peers.values().flat_map(|peer| {
            peer.rib_in.iter().map(|(prefix, route)| {
                let chosen = self.loc_rib.get(prefix);
                let path = route.imported.as_ref().unwrap_or(&route.received);
                let id = peer.config.address;
                let best = chosen.is_some_and(|chosen| chosen.peer == id);
                let used = chosen.is_some_and(|chosen| chosen.used.contains(&(id, path.next_hop)));
                RouteView {
                    prefix: *prefix,
                    peer: Some(id),
                    filtered: route.imported.as_ref().err().copied(),
                    reachable: self.next_hops.get(&path.next_hop).is_some_and(Option::is_some),
                    best,
                    multipath: used && !best,
                    stale: route.stale,
                    age: now.since(route.since),
                    path: path.clone(),
                }
            })
        });
        let mut views: Vec<RouteView> = own.chain(learnt).collect();
        views.sort_by_key(|view| (view.prefix, view.peer));
        views
    }
}
