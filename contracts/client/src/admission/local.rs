//! Admission without a token: what a node has cost its owner.
//!
//! A key is free, so a key alone is worth nothing. Proof of work makes each cost time, a cap on each subnet makes many of
//! them cost addresses, and vouching makes them cost somebody's good name. All of it together is worth no more than
//! [`RateClass::Bronze`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use molt_mesh::id::proof_of_work_bits;
use molt_mesh::{IdentityKey, Time};

use super::{Action, AdmissionPolicy, Decision, Standing, by_class};
use crate::rate::{Account, RateClass};

/// What earns which class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// Leading zero bits of a key's proof of work for [`RateClass::Starter`]. Each doubles the cost of a key; 20 bits are
    /// some seconds of one core.
    pub work_bits: u32,
    /// Nodes with standing behind one IPv4 /24 or IPv6 /48. Three: a household, not a farm.
    pub per_subnet: usize,
    /// Nodes with standing that must vouch for [`RateClass::Bronze`].
    pub vouchers: usize,
    /// Nodes that vouch from the beginning: those of the operator.
    pub roots: BTreeSet<IdentityKey>,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self { work_bits: 20, per_subnet: 3, vouchers: 2, roots: BTreeSet::new() }
    }
}

/// Lowest score; below half of it a node has no standing.
pub const WORST_SCORE: i16 = -200;
/// Highest score. It makes up for some mistakes and earns nothing.
pub const BEST_SCORE: i16 = 100;
/// Nodes that are remembered, about 300 bytes each without vouchers: 1.2 MB.
pub const MAX_NODES: usize = 4_096;
/// Vouchers that are remembered of each node.
const MAX_VOUCHERS: usize = 8;

/// What we know of nodes from our own experience.
#[derive(Debug)]
pub struct Local {
    config: LocalConfig,
    nodes: BTreeMap<IdentityKey, Known>,
    /// How many nodes hold a place in a subnet.
    subnets: BTreeMap<Subnet, usize>,
}

#[derive(Debug)]
struct Known {
    worked: bool,
    /// The subnet in which it holds a place.
    subnet: Option<Subnet>,
    vouchers: BTreeSet<IdentityKey>,
    score: i16,
}

/// IPv4 /24 or IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subnet {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Subnet {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, ..] = address.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// The node is new, and there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another node")]
pub struct Full;

impl Local {
    /// Knows nobody.
    #[must_use]
    pub const fn new(config: LocalConfig) -> Self {
        Self { config, nodes: BTreeMap::new(), subnets: BTreeMap::new() }
    }

    /// A node is connected from this address of the underlay. It takes a place in the subnet if there is one.
    ///
    /// # Errors
    /// [`Full`] if it cannot be remembered; it has no standing then.
    pub fn handle_connected(&mut self, node: IdentityKey, from: IpAddr) -> Result<(), Full> {
        self.handle_gone(&node);
        let subnet = Subnet::of(from);
        let places = self.config.per_subnet;
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&node) {
            // Who is away and has neither a bad name nor vouchers can begin anew.
            let blank =
                |known: &Known| known.subnet.is_none() && known.score >= 0 && known.vouchers.is_empty();
            let blank = self.nodes.iter().find(|(_, known)| blank(known)).map(|(node, _)| *node);
            self.nodes.remove(&blank.ok_or(Full)?);
        }
        let work_bits = self.config.work_bits;
        let known = self.nodes.entry(node).or_insert_with(|| Known {
            worked: proof_of_work_bits(&node) >= work_bits,
            subnet: None,
            vouchers: BTreeSet::new(),
            score: 0,
        });
        let taken = self.subnets.entry(subnet).or_default();
        if *taken < places {
            *taken += 1;
            known.subnet = Some(subnet);
        }
        Ok(())
    }

    /// A node is gone; its place in the subnet is free.
    pub fn handle_gone(&mut self, node: &IdentityKey) {
        let Some(subnet) = self.nodes.get_mut(node).and_then(|known| known.subnet.take()) else { return };
        if let Some(taken) = self.subnets.get_mut(&subnet) {
            *taken -= 1;
            if *taken == 0 {
                self.subnets.remove(&subnet);
            }
        }
    }

    /// `by` vouches for a node, or takes it back. It counts while `by` has standing itself.
    pub fn handle_vouch(&mut self, node: &IdentityKey, by: IdentityKey, vouches: bool) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        if !vouches {
            known.vouchers.remove(&by);
        } else if by != *node && known.vouchers.len() < MAX_VOUCHERS {
            known.vouchers.insert(by);
        }
    }

    /// Something good or bad that we saw ourselves.
    pub fn handle_experience(&mut self, node: &IdentityKey, delta: i16) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.score = known.score.saturating_add(delta).clamp(WORST_SCORE, BEST_SCORE);
        }
    }

    /// Whether its word counts: a root, or a node with work and a place. That this does not look at vouchers keeps circles
    /// of nodes from lifting each other.
    fn has_standing(&self, node: &IdentityKey) -> bool {
        self.config.roots.contains(node)
            || self
                .nodes
                .get(node)
                .is_some_and(|known| known.worked && known.subnet.is_some() && known.score > WORST_SCORE / 2)
    }
}

impl AdmissionPolicy for Local {
    fn standing(&self, node: &IdentityKey, _: Time) -> Standing {
        let vouched = |known: &Known| {
            known.vouchers.iter().filter(|by| self.has_standing(by)).count() >= self.config.vouchers
        };
        let class = if !self.has_standing(node) {
            RateClass::Unstaked
        } else if self.config.roots.contains(node) || self.nodes.get(node).is_some_and(vouched) {
            RateClass::Bronze
        } else {
            RateClass::Starter
        };
        Standing { class, account: Account::Node(*node) }
    }

    fn may(&self, node: &IdentityKey, action: Action, now: Time) -> Decision {
        by_class(self.class(node, now), action)
    }
}
