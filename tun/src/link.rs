//! One tunnel to one neighbour, and the table of all of them.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use molt_mesh::limit::TokenBucket;
use molt_mesh::{LinkId, NodePublic, Time};

use crate::engine::Tunnel;
use crate::fragment::Reassembler;

/// Control packets (OSPF, link-local echo) one neighbour may send per second, and at once. Handing over a database of
/// 10,000 mesh nodes takes about 7,200 packets, one of 10,000 stock routers 1,700.
const CONTROL_RATE: (u32, u32) = (2_000, 4_000);

/// Shortest pause between two initiations that we send unasked: Rekey-Timeout of the WireGuard whitepaper, section 6.1.
const INITIATION_PAUSE: Duration = Duration::from_secs(5);

/// What the control plane says about a link.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Number of the link: small and dense, because it indexes a table.
    pub link: LinkId,
    /// WireGuard key of the neighbour.
    pub remote: NodePublic,
    /// Symmetric key mixed into the handshake, if both ends have one.
    pub preshared: Option<[u8; 32]>,
    /// Where to reach it; without, it must come to us.
    pub endpoint: Option<SocketAddr>,
    /// Whether another mesh is behind it: what comes from there has no source in ours.
    pub foreign: bool,
}

/// One tunnel.
pub(crate) struct Link<T> {
    pub(crate) config: LinkConfig,
    pub(crate) tunnel: T,
    pub(crate) endpoint: Option<SocketAddr>,
    /// 24 random bits in the receiver indices of its sessions.
    pub(crate) index: u32,
    /// The adjacency is Full: packets may be forwarded from and to it.
    pub(crate) forwarding: bool,
    /// BFD has declared the path down; other paths are preferred at once, before routing has converged.
    pub(crate) failed: bool,
    /// We answered an initiation; the first message in the new session confirms it.
    pub(crate) answered: bool,
    /// The neighbour's link-local address, once known.
    pub(crate) remote_link_local: Option<Ipv6Addr>,
    pub(crate) control: TokenBucket,
    pub(crate) fragments: Reassembler,
    pub(crate) initiated_at: Option<Time>,
    pub(crate) traffic: Traffic,
}

/// What passed through a link, in packets and bytes of inner IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

impl<T: Tunnel> Link<T> {
    /// Whether packets can go out on it now.
    pub(crate) fn is_usable(&self) -> bool {
        self.forwarding && !self.failed
    }

    /// Whether an unasked initiation may be sent now; remembers that it was.
    pub(crate) fn may_initiate(&mut self, now: Time) -> bool {
        if self.initiated_at.is_some_and(|at| now.since(at) < INITIATION_PAUSE) {
            return false;
        }
        self.initiated_at = Some(now);
        true
    }
}

/// All links, by number, by index and by key.
pub(crate) struct Links<T> {
    slots: Vec<Option<Link<T>>>,
    by_index: HashMap<u32, LinkId>,
    by_key: HashMap<NodePublic, LinkId>,
}

/// Most links of a node. Degree is bounded to a few tens by design; the table of slots must not be grown at will.
pub const MAX_LINKS: u32 = 4096;

impl<T: Tunnel> Links<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), by_index: HashMap::new(), by_key: HashMap::new() }
    }

    pub(crate) fn index_is_free(&self, index: u32) -> bool {
        !self.by_index.contains_key(&index)
    }

    /// Adds a link in place of an earlier one of the same number. `false` if the number is above [`MAX_LINKS`].
    pub(crate) fn insert(&mut self, config: LinkConfig, tunnel: T, index: u32) -> bool {
        let link = config.link;
        if link.get() > MAX_LINKS {
            return false;
        }
        self.remove(link);
        let slot = link.get() as usize - 1;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.by_index.insert(index, link);
        self.by_key.insert(config.remote, link);
        let (rate, burst) = CONTROL_RATE;
        let entry = Link {
            endpoint: config.endpoint,
            config,
            tunnel,
            index,
            forwarding: false,
            failed: false,
            answered: false,
            remote_link_local: None,
            control: TokenBucket::new(rate, burst),
            fragments: Reassembler::default(),
            initiated_at: None,
            traffic: Traffic::default(),
        };
        if let Some(free) = self.slots.get_mut(slot) {
            *free = Some(entry);
        }
        true
    }

    pub(crate) fn remove(&mut self, link: LinkId) {
        if let Some(removed) = self.slots.get_mut(link.get() as usize - 1).and_then(Option::take) {
            self.by_index.remove(&removed.index);
            self.by_key.remove(&removed.config.remote);
        }
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link<T>> {
        self.slots.get(link.get() as usize - 1)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link<T>> {
        self.slots.get_mut(link.get() as usize - 1)?.as_mut()
    }

    /// The link whose sessions have this receiver index.
    pub(crate) fn by_receiver(&self, receiver: u32) -> Option<LinkId> {
        self.by_index.get(&(receiver >> 8)).copied()
    }

    pub(crate) fn by_key(&self, key: &NodePublic) -> Option<LinkId> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link<T>> {
        self.slots.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Link<T>> {
        self.slots.iter_mut().flatten()
    }
}
