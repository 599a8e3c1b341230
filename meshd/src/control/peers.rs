//! The neighbours, as the configuration has them.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};

use molt_mesh::{LinkId, NodePublic, Prefix, Time};
use molt_routing::ospf::LinkConfig as OspfLink;
use molt_tun::{BfdChange, Command, LinkConfig, MAX_LINKS};
use tracing::warn;

use super::Control;

/// A neighbour as configured, with its endpoint resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its WireGuard key.
    pub key: NodePublic,
    /// Preshared key.
    pub preshared: Option<[u8; 32]>,
    /// Where to reach it.
    pub endpoint: Option<SocketAddr>,
    /// Cost of the link; `None` for the default.
    pub cost: Option<u16>,
    /// A stock router, and what it may announce.
    pub stock: Option<Vec<Prefix>>,
    /// A border of another mesh, and its address.
    pub border: Option<Ipv6Addr>,
}

/// A neighbour as it is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// As configured.
    pub config: PeerConfig,
    /// Where it was last heard.
    pub endpoint: Option<SocketAddr>,
    /// Whether a handshake was ever completed.
    pub established: bool,
    /// What BFD said last.
    pub bfd: Option<BfdChange>,
}

/// What a reload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerChanges {
    /// New neighbours.
    pub added: usize,
    /// Neighbours whose cost, endpoint or rights changed.
    pub changed: usize,
    /// Neighbours that are gone.
    pub removed: usize,
}

const TUNNEL_MTU: u16 = molt_mesh::port::TUNNEL_MTU as u16;

impl Control {
    /// Makes the neighbours those of `wanted`: new ones are added, missing ones removed, changed ones changed without
    /// dropping their tunnel unless the preshared key is another, or what is behind it. Returns how many were added, changed
    /// and removed.
    pub fn set_peers(&mut self, wanted: Vec<PeerConfig>, now: Time) -> PeerChanges {
        let mut changes = PeerChanges::default();
        let gone: Vec<LinkId> = self
            .peers
            .iter()
            .filter(|(_, peer)| !wanted.iter().any(|config| config.key == peer.config.key))
            .map(|(link, _)| *link)
            .collect();
        for link in gone {
            self.remove_peer(link, now);
            changes.removed += 1;
        }
        for config in wanted {
            match self.link_of(&config.key) {
                None => {
                    if self.add_peer(config, now).is_some() {
                        changes.added += 1;
                    }
                }
                Some(link) => {
                    if self.update_peer(link, config, now) {
                        changes.changed += 1;
                    }
                }
            }
        }
        changes
    }

    fn add_peer(&mut self, config: PeerConfig, now: Time) -> Option<LinkId> {
        // RFC 5187 section 3.2: a router that restarts has the Interface IDs it had.
        let handed = self.handed_links().get(&config.key).copied();
        let kept: BTreeSet<LinkId> = self.handed_links().values().map(|handed| handed.link).collect();
        let free = |link: &LinkId| !self.peers.contains_key(link);
        let mut new =
            (1..=MAX_LINKS).filter_map(LinkId::new).filter(|link| free(link) && !kept.contains(link));
        let Some(link) = handed.map(|handed| handed.link).filter(free).or_else(|| new.next()) else {
            warn!(key = %config.key, "no room for another neighbour");
            return None;
        };
        // Where it was last heard, if it has moved.
        let endpoint = handed.and_then(|handed| handed.endpoint).or(config.endpoint);
        self.commands.push_back(Command::AddLink(LinkConfig {
            link,
            remote: config.key,
            preshared: config.preshared,
            endpoint,
            foreign: config.border.is_some(),
        }));
        if handed.is_some_and(|handed| handed.forwarding && handed.link == link) {
            self.commands.push_back(Command::Forwarding(link, true));
        }
        if config.border.is_none() {
            self.ospf.add_link(self.ospf_link(link, &config), now);
        }
        let peer = Peer { endpoint, config, established: false, bfd: None };
        self.peers.insert(link, peer);
        self.drain(now);
        Some(link)
    }

    fn remove_peer(&mut self, link: LinkId, now: Time) {
        self.ospf.remove_link(link, now);
        self.drain(now);
        self.commands.push_back(Command::RemoveLink(link));
        self.fib_changed |= self.peers.remove(&link).is_some_and(|peer| peer.config.border.is_some());
        self.full.remove(&link);
        self.drain(now);
    }

    fn update_peer(&mut self, link: LinkId, config: PeerConfig, now: Time) -> bool {
        let Some(peer) = self.peers.get(&link) else { return false };
        if peer.config == config {
            return false;
        }
        if (peer.config.preshared, peer.config.border) != (config.preshared, config.border) {
            self.remove_peer(link, now);
            return self.add_peer(config, now).is_some();
        }
        if let Some(endpoint) = config.endpoint.filter(|endpoint| peer.config.endpoint != Some(*endpoint)) {
            self.set_endpoint(link, endpoint);
        }
        self.ospf.update_link(self.ospf_link(link, &config), now);
        self.fib_changed |= config.border.is_some();
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.config = config;
        }
        self.drain(now);
        true
    }

    /// Tries another place to reach a neighbour.
    pub fn set_endpoint(&mut self, link: LinkId, endpoint: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.endpoint = Some(endpoint);
            self.commands.push_back(Command::Endpoint(link, endpoint));
        }
    }

    fn ospf_link(&self, link: LinkId, config: &PeerConfig) -> OspfLink {
        OspfLink {
            link,
            cost: config.cost.unwrap_or(self.config.ospf.cost),
            local: self.config.link_local,
            mtu: TUNNEL_MTU,
            stock: config.stock.is_some(),
            allow: config.stock.clone().unwrap_or_default(),
        }
    }
}
