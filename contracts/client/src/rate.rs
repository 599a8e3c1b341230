//! Rate classes: how many messages an account may send a second, and for how long it is banned when it does not care.
//!
//! Messages are those of applications and of the control plane. WireGuard handshakes, packets, OSPFv3 and BFD are never
//! counted here: BFD alone would use up the lowest class.
//!
//! An account is a wallet with a stake, shared by all nodes bound to it; everybody else is its own node. A wallet without
//! a stake is no account: it costs nothing, and a new one for each message would never be limited.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use molt_mesh::limit::TokenBucket;
use molt_mesh::{IdentityKey, Time};
use serde::{Deserialize, Serialize};

use crate::tier::Tier;
use crate::wallet::Wallet;

/// How fast an account may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateClass {
    /// Nothing is known in its favour.
    Unstaked,
    /// It is bound to a wallet, and what that has at stake cannot be found out.
    Unknown,
    /// Class of [`Tier::Starter`].
    Starter,
    /// Class of [`Tier::Bronze`].
    Bronze,
    /// Class of [`Tier::Silver`].
    Silver,
    /// Class of [`Tier::Gold`].
    Gold,
    /// Class of [`Tier::Platinum`].
    Platinum,
}

impl RateClass {
    /// All of them, the slowest first.
    pub const ALL: [Self; 7] = [
        Self::Unstaked,
        Self::Unknown,
        Self::Starter,
        Self::Bronze,
        Self::Silver,
        Self::Gold,
        Self::Platinum,
    ];

    /// Messages per second.
    #[must_use]
    pub const fn per_second(self) -> u32 {
        match self {
            Self::Unstaked => 10,
            Self::Unknown => 20,
            Self::Starter => 50,
            Self::Bronze => 100,
            Self::Silver => 200,
            Self::Gold => 500,
            Self::Platinum => 1_000,
        }
    }

    /// Messages at once: what comes in two seconds, so that a pause is made up for.
    #[must_use]
    pub const fn burst(self) -> u32 {
        2 * self.per_second()
    }

    /// How long a ban lasts. Whoever has something at stake is more likely to have made a mistake.
    ///
    /// `None`: an account whose stake we cannot read is limited but never banned, for the reason may be our own outage.
    #[must_use]
    pub const fn ban(self) -> Option<Duration> {
        let minutes = match self {
            Self::Unknown => return None,
            Self::Unstaked => 60,
            Self::Starter | Self::Bronze => 30,
            Self::Silver => 15,
            Self::Gold | Self::Platinum => 5,
        };
        Some(Duration::from_secs(minutes * 60))
    }
}

impl From<Tier> for RateClass {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::None => Self::Unstaked,
            Tier::Starter => Self::Starter,
            Tier::Bronze => Self::Bronze,
            Tier::Silver => Self::Silver,
            Tier::Gold => Self::Gold,
            Tier::Platinum => Self::Platinum,
        }
    }
}

impl fmt::Display for RateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unstaked => "unstaked",
            Self::Unknown => "unknown",
            Self::Starter => "starter",
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Platinum => "platinum",
        })
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A node that stands for itself.
    Node(IdentityKey),
    /// All nodes bound to a wallet.
    Wallet(Wallet),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is too much, and so was what came before: nothing is taken until then.
    Banned {
        /// End of the ban.
        until: Time,
    },
    /// It is too much.
    Limited,
    /// It is taken.
    Pass,
}

/// Violations until a ban.
pub const STRIKES: usize = 3;
/// A violation counts for this long.
pub const STRIKE_MEMORY: Duration = Duration::from_secs(5 * 60);
/// What is refused within this time of the first counts as one violation: its sender cannot have heard of it.
pub const STRIKE_SPAN: Duration = Duration::from_secs(1);
/// Accounts that are told apart. About 170 bytes each: 1.4 MB.
pub const MAX_ACCOUNTS: usize = 8_192;
/// How many accounts are looked at to find one that can be forgotten. A flood of strangers costs no more than this each.
const HAND_STEPS: usize = 16;

/// Counts the messages of all accounts.
///
/// It never holds more than [`MAX_ACCOUNTS`]. When it is full, an account is forgotten if nothing is lost by that, or if it
/// is in a lower class than the newcomer; where none is found, newcomers share one bucket of the lowest class. So a flood of
/// strangers gets neither a ban forgotten nor a staked account out. Nothing is allocated for an account that is known.
#[derive(Debug)]
pub struct Limiter {
    index: BTreeMap<Account, usize>,
    slots: Vec<Slot>,
    limit: usize,
    /// Where the search for an account to forget goes on.
    hand: usize,
    /// The bucket of those who have no place.
    crowd: TokenBucket,
}

#[derive(Debug)]
struct Slot {
    account: Account,
    class: RateClass,
    bucket: TokenBucket,
    /// The last violations, the latest first.
    strikes: [Option<Time>; STRIKES],
    banned_until: Option<Time>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(MAX_ACCOUNTS)
    }
}

impl Limiter {
    /// Tells up to `limit` accounts apart.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { index: BTreeMap::new(), slots: Vec::new(), limit, hand: 0, crowd: bucket(RateClass::Unstaked) }
    }

    /// Counts a message of `account`, which is in `class` at this moment.
    pub fn handle_message(&mut self, account: Account, class: RateClass, now: Time) -> Verdict {
        let slot = self.index.get(&account).copied().or_else(|| self.admit(account, class, now));
        match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(slot) => slot.handle_message(class, now),
            None if self.crowd.take(now) => Verdict::Pass,
            None => Verdict::Limited,
        }
    }

    /// Accounts that are told apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nobody has sent anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Accounts that are banned.
    pub fn banned(&self, now: Time) -> impl Iterator<Item = (Account, Time)> + '_ {
        let until = move |slot: &Slot| slot.banned_until.filter(|until| *until > now);
        self.slots.iter().filter_map(move |slot| Some((slot.account, until(slot)?)))
    }

    fn admit(&mut self, account: Account, class: RateClass, now: Time) -> Option<usize> {
        let slot = Slot::new(account, class);
        if self.slots.len() < self.limit {
            self.slots.push(slot);
            self.index.insert(account, self.slots.len() - 1);
            return Some(self.slots.len() - 1);
        }
        for _ in 0..HAND_STEPS {
            let at = self.hand;
            self.hand = (at + 1) % self.limit.max(1);
            let old = self.slots.get_mut(at)?;
            if old.is_idle(now) || !old.is_banned(now) && old.class < class {
                self.index.remove(&old.account);
                *old = slot;
                self.index.insert(account, at);
                return Some(at);
            }
        }
        None
    }
}

impl Slot {
    fn new(account: Account, class: RateClass) -> Self {
        Self { account, class, bucket: bucket(class), strikes: [None; STRIKES], banned_until: None }
    }

    fn handle_message(&mut self, class: RateClass, now: Time) -> Verdict {
        if let Some(until) = self.banned_until {
            if until > now {
                return Verdict::Banned { until };
            }
            self.banned_until = None;
        }
        if self.class != class {
            self.class = class;
            self.bucket = bucket(class);
        }
        if self.bucket.take(now) {
            return Verdict::Pass;
        }
        let Some(ban) = class.ban() else { return Verdict::Limited };
        let [last, older @ ..] = self.strikes;
        if last.is_none_or(|last| now.since(last) >= STRIKE_SPAN) {
            let [a, b] = [last, older.first().copied().flatten()];
            self.strikes = [Some(now), a, b];
        }
        if self.strikes.iter().flatten().filter(|strike| now.since(**strike) < STRIKE_MEMORY).count()
            < STRIKES
        {
            return Verdict::Limited;
        }
        let until = now + ban;
        self.strikes = [None; STRIKES];
        self.banned_until = Some(until);
        Verdict::Banned { until }
    }

    fn is_banned(&self, now: Time) -> bool {
        self.banned_until.is_some_and(|until| until > now)
    }

    /// Whether a new slot would do the same.
    fn is_idle(&self, now: Time) -> bool {
        let [last, ..] = self.strikes;
        self.bucket.is_full(now)
            && !self.is_banned(now)
            && last.is_none_or(|last| now.since(last) >= STRIKE_MEMORY)
    }
}

fn bucket(class: RateClass) -> TokenBucket {
    TokenBucket::new(class.per_second(), class.burst())
}

#[cfg(test)]
mod tests;
