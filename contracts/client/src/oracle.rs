//! The stake oracle: what wallets have at stake, from memory, and how that memory is kept right.
//!
//! | file | what |
//! |---|---|
//! | `oracle/core.rs` | [`Core`]: decides what to read when, and what an answer means; no clock, no socket |
//! | `oracle/cache.rs` | the cache as bytes, so that a restart during an outage forgets nothing that still counts |
//! | here | what is asked of the chain, what it answers, and [`Reader`], which everybody else asks |
//!
//! The driver (`chain::watcher`) takes [`Request`]s, asks the chain, brings [`Response`]s back and publishes the result.
//! Readers see an immutable snapshot: they hold no lock, and a chain that hangs hangs nobody.
//!
//! - The tier that counts is the lower of the one at `latest` and the one at `safe`: a fall counts at once, a rise when the
//!   sequencer's batch is on the layer below. A freeze counts at `latest`, its end at `safe`.
//! - A value is read again after [`SOFT_TTL`] ([`NEGATIVE_TTL`] if it is no stake), or when a log names the wallet, and is
//!   worth nothing after [`HARD_TTL`]. A read that fails is tried again after [`ERROR_TTL`] and changes nothing before.
//! - "There is no such contract at that block" and "the call failed" are not "no stake": only a number is.
//! - A head that is older than [`MAX_HEAD_AGE`] or does not move is no head: the chain is down.

mod cache;
mod core;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use arc_swap::ArcSwap;
use molt_mesh::{IdentityKey, Time};

use crate::binding::Bindings;
use crate::tier::Tier;
use crate::wallet::{Wallet, hex};

pub use self::cache::{CacheReject, Loaded, MAX_CACHE};
pub use self::core::{Answer, Core, Health, Request, Response, Stake, Stats};

/// A stake is read again after five minutes; logs tell of changes before.
pub const SOFT_TTL: Duration = Duration::from_secs(300);
/// That there is none is read again after two minutes: somebody may be waiting for his first stake.
pub const NEGATIVE_TTL: Duration = Duration::from_secs(120);
/// A failed read is tried again after half a minute, give or take a fifth, so that nodes do not come back in step.
pub const ERROR_TTL: Duration = Duration::from_secs(30);
/// A value older than a quarter of an hour is worth nothing: a thaw could have ended, a slash could have been decided.
pub const HARD_TTL: Duration = Duration::from_secs(15 * 60);
/// A head older than this is a sequencer that has stopped: blocks come every two seconds.
pub const MAX_HEAD_AGE: Duration = Duration::from_secs(60);
/// How often head and logs are read: six blocks, and 7,200 reads a day.
pub const POLL_INTERVAL: Duration = Duration::from_secs(12);
/// Logs are read again over this many blocks, so that those of a reorganised branch are replaced.
pub const LOG_OVERLAP: u64 = 64;
/// A gap longer than this is not read; all wallets are read again instead. Public endpoints refuse more.
pub const MAX_LOG_RANGE: u64 = 2_000;
/// Wallets in one read.
pub const BATCH: usize = 100;
/// Wallets in memory: more than there can be bindings. About 200 bytes each: 1.6 MB.
pub const MAX_WALLETS: usize = 8_192;
/// Where an endpoint knows no `safe`, the block two minutes behind stands for it: a batch takes as long.
pub const SAFE_DISTANCE: u64 = 60;

/// A block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl fmt::Debug for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} {}", self.number, hex(self.hash.first_chunk::<4>().unwrap_or(&[0; 4])))
    }
}

/// What is known of the stake behind a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StakeView {
    /// There is no chain, or it is not the one that was configured.
    Disabled,
    /// What the chain said.
    Known {
        /// Whose stake it is.
        wallet: Wallet,
        /// The tier that counts.
        tier: Tier,
        /// Whether a case has frozen it.
        frozen: bool,
        /// The block it was read at.
        as_of: BlockRef,
        /// How long ago that was.
        age: Duration,
    },
    /// No wallet stands behind the node.
    Unbound,
    /// A wallet does, and what it has at stake is not known.
    Unknown {
        /// When it may be.
        retry_after: Duration,
    },
}

/// Says what a node has at stake, from memory; never waits.
pub trait StakeOracle: fmt::Debug + Send + Sync {
    /// What is known at this moment.
    fn view(&self, node: &IdentityKey, now: Time) -> StakeView;
}

/// A value of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The tier that counts.
    pub tier: Tier,
    /// Whether a case has frozen it.
    pub frozen: bool,
    /// The block it was read at.
    pub as_of: BlockRef,
    /// When.
    pub at: Time,
    /// How old it was then: it may have been in a file since before the start of this node.
    pub aged: Duration,
}

impl Seen {
    /// How old it is.
    #[must_use]
    pub const fn age(&self, now: Time) -> Duration {
        self.aged.saturating_add(now.since(self.at))
    }
}

/// What readers see: plain data, never changed once published.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Whether there is a chain at all.
    pub enabled: bool,
    /// Wallet of each node, and until when.
    nodes: BTreeMap<IdentityKey, (Wallet, Time)>,
    /// What is known of each wallet.
    wallets: BTreeMap<Wallet, Seen>,
    /// When the next read is due that could end ignorance.
    next_read: Time,
}

impl Snapshot {
    /// What readers see until the next one is published.
    #[must_use]
    pub fn new(bindings: &Bindings, core: &Core, now: Time, unix_now: u64) -> Self {
        let until = |ends: u64| now + Duration::from_secs(ends.saturating_sub(unix_now));
        let nodes =
            bindings.iter().filter_map(|bound| Some((*bound.node(), (bound.wallet()?, until(bound.ends())))));
        Self {
            enabled: true,
            nodes: nodes.collect(),
            wallets: core.seen().collect(),
            next_read: core.next_read(),
        }
    }

    fn view(&self, node: &IdentityKey, now: Time) -> StakeView {
        if !self.enabled {
            return StakeView::Disabled;
        }
        let Some((wallet, _)) = self.nodes.get(node).filter(|(_, until)| *until > now) else {
            return StakeView::Unbound;
        };
        match self.wallets.get(wallet).map(|seen| (seen, seen.age(now))) {
            Some((seen, age)) if age < HARD_TTL => {
                let Seen { tier, frozen, as_of, .. } = *seen;
                StakeView::Known { wallet: *wallet, tier, frozen, as_of, age }
            }
            // One second: the driver may be at it.
            _ => StakeView::Unknown { retry_after: self.next_read.since(now).max(Duration::from_secs(1)) },
        }
    }
}

/// Whose stake somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// That of the wallet behind a node.
    Node(IdentityKey),
    /// That of a wallet which may get a place by it.
    Wallet(Wallet),
}

/// Everybody's access to the stakes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// To the driver. When it is full, the question is lost; the next one will do.
    wanted: SyncSender<Wanted>,
}

impl Reader {
    /// Reads what [`Reader::publish`] brings, and tells `wanted` which nodes are asked for.
    #[must_use]
    pub fn new(wanted: SyncSender<Wanted>) -> Self {
        Self { snapshot: Arc::default(), wanted }
    }

    /// The tier that counts for a wallet; none while it is not known.
    #[must_use]
    pub fn tier(&self, wallet: &Wallet, now: Time) -> Tier {
        let snapshot = self.snapshot.load();
        let seen = snapshot.wallets.get(wallet).filter(|seen| seen.age(now) < HARD_TTL);
        seen.map_or(Tier::None, |seen| seen.tier)
    }

    /// Replaces what readers see.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }
}

impl StakeOracle for Reader {
    fn view(&self, node: &IdentityKey, now: Time) -> StakeView {
        let view = self.snapshot.load().view(node, now);
        let stale = match view {
            StakeView::Disabled | StakeView::Unbound => false,
            StakeView::Known { tier, age, .. } => age >= core::ttl(tier),
            StakeView::Unknown { .. } => true,
        };
        if stale {
            self.wanted.try_send(Wanted::Node(*node)).ok();
        }
        view
    }
}

#[cfg(test)]
mod tests;
