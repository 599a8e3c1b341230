//! Who is bound to what.

use std::collections::BTreeMap;

use molt_mesh::IdentityKey;

use super::Bound;
use crate::tier::Tier;
use crate::wallet::Wallet;

/// Bindings that are remembered, revoked ones included. About 450 bytes each: 1.8 MB.
pub const MAX_BINDINGS: usize = 4_096;

/// What became of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It counts.
    New,
    /// It is the one we have.
    Same,
}

/// Why a verified binding does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum StoreReject {
    /// There is no room, and nobody of a lower tier to make it.
    #[error("no room for another binding")]
    Full,
    /// We have a later one of the node.
    #[error("a later binding is known")]
    Superseded,
    /// The wallet has as many nodes as its tier allows.
    #[error("the wallet has too many nodes for its tier")]
    TooManyNodes,
}

/// Verified bindings, at most [`MAX_BINDINGS`], one for each node.
#[derive(Debug, Default)]
pub struct Bindings {
    by_node: BTreeMap<IdentityKey, Bound>,
    /// How many nodes a wallet has.
    counts: BTreeMap<Wallet, usize>,
}

impl Bindings {
    /// Takes a binding. `tier` says what is known of a wallet; one that was not read yet has [`Tier::None`], and may have
    /// one node.
    ///
    /// # Errors
    /// [`StoreReject`] says why it does not count.
    pub fn insert(
        &mut self,
        bound: Bound,
        tier: impl Fn(&Wallet) -> Tier,
        unix_now: u64,
    ) -> Result<Inserted, StoreReject> {
        let known = self.by_node.get(bound.node()).filter(|known| known.ends > unix_now);
        match known {
            Some(known) if *known == bound => return Ok(Inserted::Same),
            Some(known) if known.rank >= bound.rank => return Err(StoreReject::Superseded),
            _ => {}
        }
        let before = known.and_then(Bound::wallet);
        if let Some(wallet) = bound.wallet().filter(|wallet| before != Some(*wallet)) {
            let is_full = |store: &Self| store.nodes_of(&wallet) >= tier(&wallet).nodes();
            if is_full(self) {
                // Some of them may have ended.
                self.expire(unix_now);
            }
            if is_full(self) {
                return Err(StoreReject::TooManyNodes);
            }
        }
        if !self.by_node.contains_key(bound.node()) && self.by_node.len() >= MAX_BINDINGS {
            self.make_room(tier(&bound.wallet), tier, unix_now)?;
        }
        self.remove(&bound.node);
        if let Some(wallet) = bound.wallet() {
            *self.counts.entry(wallet).or_default() += 1;
        }
        self.by_node.insert(bound.node, bound);
        Ok(Inserted::New)
    }

    /// The wallet of a node.
    #[must_use]
    pub fn wallet(&self, node: &IdentityKey, unix_now: u64) -> Option<Wallet> {
        self.by_node.get(node).filter(|bound| bound.ends > unix_now)?.wallet()
    }

    /// How many nodes a wallet has.
    #[must_use]
    pub fn nodes_of(&self, wallet: &Wallet) -> usize {
        self.counts.get(wallet).copied().unwrap_or(0)
    }

    /// All bindings, revocations included, in the order of the node keys.
    pub fn iter(&self) -> impl Iterator<Item = &Bound> {
        self.by_node.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Forgets what has ended.
    pub fn expire(&mut self, unix_now: u64) {
        let ended: Vec<IdentityKey> =
            self.by_node.values().filter(|bound| bound.ends <= unix_now).map(|bound| bound.node).collect();
        for node in ended {
            self.remove(&node);
        }
    }

    /// A newcomer with a stake takes the place of somebody with a lower one. Of those a revocation goes last: forgetting one
    /// may bring back what it revokes. But wallets are free, and so are revocations of theirs.
    fn make_room(
        &mut self,
        newcomer: Tier,
        tier: impl Fn(&Wallet) -> Tier,
        unix_now: u64,
    ) -> Result<(), StoreReject> {
        self.expire(unix_now);
        if self.by_node.len() < MAX_BINDINGS {
            return Ok(());
        }
        let lowest = self
            .by_node
            .values()
            .map(|bound| (tier(&bound.wallet), bound.revoked, bound.ends, bound.node))
            .min_by_key(|(tier, revoked, ends, _)| (*tier, *revoked, *ends));
        match lowest {
            Some((lowest, _, _, node)) if lowest < newcomer => {
                self.remove(&node);
                Ok(())
            }
            _ => Err(StoreReject::Full),
        }
    }

    fn remove(&mut self, node: &IdentityKey) {
        let Some(wallet) = self.by_node.remove(node).and_then(|bound| bound.wallet()) else { return };
        if let Some(nodes) = self.counts.get_mut(&wallet) {
            *nodes -= 1;
            if *nodes == 0 {
                self.counts.remove(&wallet);
            }
        }
    }
}
