//! The state machine behind the oracle.
//!
//! One request is under way at a time: head, then logs since the last head, then wallets that are due, in batches. All of
//! them are read at the block of the head, so that a value and the logs after it fit together.
//!
//! A wallet is kept as long as somebody asks for it. It is dropped when its value is worth nothing and nobody has asked
//! since [`SOFT_TTL`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use molt_mesh::Time;

use super::{
    BATCH, BlockRef, ERROR_TTL, HARD_TTL, LOG_OVERLAP, MAX_HEAD_AGE, MAX_LOG_RANGE, MAX_WALLETS,
    NEGATIVE_TTL, POLL_INTERVAL, SOFT_TTL, Seen,
};
use crate::tier::Tier;
use crate::wallet::Wallet;

/// Logs that are remembered to tell new ones from old ones. More in so few blocks means that everything has changed.
const MAX_LOGS: usize = 10_000;
/// A log that names a wallet, by block and position.
type LogId = (BlockRef, u64);

/// What to ask the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The blocks `latest` and `safe`.
    Head,
    /// Events of the staking contract.
    Logs {
        /// First block.
        from: u64,
        /// Last block.
        to: u64,
    },
    /// Tiers of wallets, each at both blocks.
    Stakes {
        /// Whose.
        wallets: Vec<Wallet>,
        /// The head.
        latest: BlockRef,
        /// The block that stands for `safe`.
        safe: u64,
    },
}

/// What the chain answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::Head`].
    Head {
        /// The latest block.
        latest: BlockRef,
        /// How old it is by its timestamp and our clock.
        age: Duration,
        /// The block that stands for `safe`.
        safe: u64,
    },
    /// To [`Request::Logs`]: which wallets they name.
    Logs(Vec<(BlockRef, u64, Wallet)>),
    /// To [`Request::Stakes`], in the order of the wallets. `None`: the answer was no tier.
    Stakes(Vec<Option<Answer>>),
}

/// What the chain says of a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// At the latest block.
    pub latest: Stake,
    /// At the safe block.
    pub safe: Stake,
}

/// What a wallet has at stake at some block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stake {
    /// Its tier.
    pub tier: Tier,
    /// Whether a case has frozen it.
    pub frozen: bool,
}

impl Stake {
    /// The worse of both.
    fn min(self, other: Self) -> Self {
        Self { tier: self.tier.min(other.tier), frozen: self.frozen || other.frozen }
    }
}

/// State of the chain as we see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It does not answer, or its head does not move.
    Down {
        /// Since when.
        since: Time,
    },
    /// Nothing was read yet.
    Starting,
    /// It answers.
    Up,
}

/// Figures for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed, stalled heads included.
    pub failed: u64,
    /// Wallets whose answer was no tier.
    pub unreadable: u64,
    /// Logs that were replaced by others, because the chain was reorganised.
    pub reorganised: u64,
    /// Wallets that found no room.
    pub turned_away: u64,
}

#[derive(Debug)]
struct Entry {
    seen: Option<Seen>,
    due: Time,
    /// When somebody asked last.
    asked: Time,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    latest: BlockRef,
    safe: u64,
    /// When it was last higher than the one before. A chain that stands still is down, whatever its timestamps say.
    grew: Time,
}

/// Decides what to read, and what the answers mean.
#[derive(Debug)]
pub struct Core {
    rng: Rng,
    wallets: BTreeMap<Wallet, Entry>,
    /// The wallets by when they are due.
    due: BTreeSet<(Time, Wallet)>,
    head: Option<Head>,
    head_due: Time,
    /// Up to where logs were read.
    logs_to: Option<u64>,
    logs: BTreeMap<LogId, Wallet>,
    /// Logs to read before the wallets.
    logs_due: Option<(u64, u64)>,
    under_way: Option<Request>,
    health: Health,
    stats: Stats,
}

impl Core {
    /// Knows nothing. The seed makes nodes come back at different times.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            wallets: BTreeMap::new(),
            due: BTreeSet::new(),
            head: None,
            head_due: Time::ZERO,
            logs_to: None,
            logs: BTreeMap::new(),
            logs_due: None,
            under_way: None,
            health: Health::Starting,
            stats: Stats::default(),
        }
    }

    /// Somebody wants to know about a wallet.
    pub fn handle_interest(&mut self, wallet: Wallet, now: Time) {
        if let Some(entry) = self.wallets.get_mut(&wallet) {
            let slept = now.since(entry.asked) >= SOFT_TTL;
            entry.asked = now;
            if slept && entry.seen.is_none_or(|seen| seen.age(now) >= ttl(seen.tier)) {
                self.set_due(wallet, now);
            }
            return;
        }
        if self.wallets.len() >= MAX_WALLETS && !self.make_room() {
            self.stats.turned_away += 1;
            return;
        }
        self.wallets.insert(wallet, Entry { seen: None, due: now, asked: now });
        self.due.insert((now, wallet));
    }

    /// The answer to the request under way. One that does not fit it is a failure.
    pub fn handle_response(&mut self, response: Response, now: Time) {
        let Some(request) = self.under_way.take() else { return };
        self.stats.answered += 1;
        match (request, response) {
            (Request::Head, Response::Head { latest, age, safe }) => self.handle_head(latest, age, safe, now),
            (Request::Logs { from, to }, Response::Logs(logs)) => self.handle_logs(from, to, logs, now),
            (Request::Stakes { wallets, latest, .. }, Response::Stakes(answers))
                if wallets.len() == answers.len() =>
            {
                for (wallet, answer) in wallets.into_iter().zip(answers) {
                    self.handle_stake(wallet, answer, latest, now);
                }
            }
            (request, _) => self.fail(&request, now),
        }
    }

    /// The request under way got no answer from any endpoint.
    pub fn handle_failure(&mut self, now: Time) {
        if let Some(request) = self.under_way.take() {
            self.fail(&request, now);
        }
    }

    /// Forgets what is worth nothing and what nobody wants.
    pub fn handle_timeout(&mut self, now: Time) {
        let due: Vec<Wallet> =
            self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, wallet)| *wallet).collect();
        for wallet in due {
            let Some(entry) = self.wallets.get_mut(&wallet) else { continue };
            entry.seen = entry.seen.filter(|seen| seen.age(now) < HARD_TTL);
            if now.since(entry.asked) < SOFT_TTL {
                continue;
            }
            match entry.seen {
                None => {
                    self.due.remove(&(entry.due, wallet));
                    self.wallets.remove(&wallet);
                }
                // Nobody asks: it may age, and is dropped then.
                Some(seen) => self.set_due(wallet, now + HARD_TTL.saturating_sub(seen.age(now))),
            }
        }
    }

    /// What to ask next; `None` while something is under way or nothing is due.
    pub fn poll_request(&mut self, now: Time) -> Option<Request> {
        if self.under_way.is_some() {
            return None;
        }
        self.under_way = self.next_request(now);
        self.under_way.clone()
    }

    /// When [`Core::poll_request`] may have something, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        if self.under_way.is_some() {
            return None;
        }
        if self.logs_due.is_some() {
            return Some((Time::ZERO, "logs"));
        }
        let head = (self.head_due, "head");
        match self.due.first() {
            Some((due, _)) if self.is_up() && *due < self.head_due => Some((*due, "stakes")),
            _ => Some(head),
        }
    }

    /// State of the chain.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// The last head.
    #[must_use]
    pub fn head(&self) -> Option<BlockRef> {
        self.head.map(|head| head.latest)
    }

    /// Figures for the operator.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// What is known of a wallet.
    #[must_use]
    pub fn get(&self, wallet: &Wallet, now: Time) -> Option<Seen> {
        self.wallets.get(wallet)?.seen.filter(|seen| seen.age(now) < HARD_TTL)
    }

    /// Everything that is known.
    pub fn seen(&self) -> impl Iterator<Item = (Wallet, Seen)> + '_ {
        self.wallets.iter().filter_map(|(wallet, entry)| Some((*wallet, entry.seen?)))
    }

    /// How many wallets are in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wallets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wallets.is_empty()
    }

    /// When the next read is due.
    pub(super) fn next_read(&self) -> Time {
        self.poll_timeout().map_or(Time::ZERO, |(at, _)| at)
    }

    /// Puts back what a cache file says. What the chain said since is newer.
    pub(super) fn restore(&mut self, wallet: Wallet, seen: Seen, now: Time) {
        if self.wallets.len() < MAX_WALLETS && !self.wallets.contains_key(&wallet) {
            self.wallets.insert(wallet, Entry { seen: Some(seen), due: now, asked: now });
            self.due.insert((now, wallet));
        }
    }

    fn is_up(&self) -> bool {
        self.health == Health::Up
    }

    fn next_request(&mut self, now: Time) -> Option<Request> {
        if now >= self.head_due {
            return Some(Request::Head);
        }
        if let Some((from, to)) = self.logs_due.take() {
            return Some(Request::Logs { from, to });
        }
        let head = self.head.filter(|_| self.is_up())?;
        let wallets: Vec<Wallet> = self
            .due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .take(BATCH)
            .map(|(_, wallet)| *wallet)
            .collect();
        (!wallets.is_empty()).then_some(Request::Stakes { wallets, latest: head.latest, safe: head.safe })
    }

    fn handle_head(&mut self, latest: BlockRef, age: Duration, safe: u64, now: Time) {
        let grew = match self.head {
            Some(head) if latest.number <= head.latest.number => head.grew,
            _ => now,
        };
        self.head = Some(Head { latest, safe: safe.min(latest.number), grew });
        if age > MAX_HEAD_AGE || now.since(grew) > MAX_HEAD_AGE {
            return self.fail(&Request::Head, now);
        }
        self.health = Health::Up;
        self.head_due = now + POLL_INTERVAL;
        // Where the chain went back, so must the logs.
        let read_to = self.logs_to.unwrap_or(latest.number).min(latest.number);
        let from = if latest.number - read_to > MAX_LOG_RANGE {
            self.everything_may_have_changed(now);
            latest.number
        } else {
            read_to
        };
        self.logs_due = Some((from.saturating_sub(LOG_OVERLAP), latest.number));
    }

    fn handle_logs(&mut self, from: u64, to: u64, logs: Vec<(BlockRef, u64, Wallet)>, now: Time) {
        if logs.len() > MAX_LOGS {
            self.everything_may_have_changed(now);
            self.logs_to = Some(to);
            return;
        }
        let in_range = logs.into_iter().filter(|(block, _, _)| (from..=to).contains(&block.number));
        let read: BTreeMap<LogId, Wallet> =
            in_range.map(|(block, index, wallet)| ((block, index), wallet)).collect();
        let first = (BlockRef { number: from, hash: [0; 32] }, 0);
        let known = self.logs.split_off(&first);
        // Blocks behind `to` are of a branch that is gone, too.
        let gone: Vec<Wallet> =
            known.iter().filter(|(id, _)| !read.contains_key(id)).map(|(_, wallet)| *wallet).collect();
        self.stats.reorganised += u64::try_from(gone.len()).unwrap_or(u64::MAX);
        let new = read.iter().filter(|(id, _)| !known.contains_key(id)).map(|(_, wallet)| *wallet);
        for wallet in new.chain(gone).collect::<BTreeSet<_>>() {
            self.set_due(wallet, now);
        }
        let keep_from = (BlockRef { number: to.saturating_sub(LOG_OVERLAP), hash: [0; 32] }, 0);
        self.logs.extend(read);
        self.logs = self.logs.split_off(&keep_from);
        self.logs_to = Some(to);
    }

    fn handle_stake(&mut self, wallet: Wallet, answer: Option<Answer>, as_of: BlockRef, now: Time) {
        let Some(answer) = answer else {
            self.stats.unreadable += 1;
            return self.retry(wallet, now);
        };
        let Some(entry) = self.wallets.get_mut(&wallet) else { return };
        let mut counts = answer.latest.min(answer.safe);
        // What got better waits for `safe`, and is looked at with each poll of the head.
        let ttl = if counts == answer.latest { ttl(counts.tier) } else { POLL_INTERVAL };
        // An endpoint that lags behind another does not undo a fall.
        if let Some(before) = entry.seen.filter(|before| before.as_of.number > as_of.number) {
            counts = counts.min(Stake { tier: before.tier, frozen: before.frozen });
        }
        let Stake { tier, frozen } = counts;
        entry.seen = Some(Seen { tier, frozen, as_of, at: now, aged: Duration::ZERO });
        self.set_due(wallet, now + ttl);
    }

    fn fail(&mut self, request: &Request, now: Time) {
        self.stats.failed += 1;
        match request {
            Request::Head => {
                if !matches!(self.health, Health::Down { .. }) {
                    self.health = Health::Down { since: now };
                }
                self.head_due = now + self.jittered();
                self.logs_due = None;
            }
            // They are read with the next head; nothing was lost, for `logs_to` stays.
            Request::Logs { .. } => {}
            Request::Stakes { wallets, .. } => {
                for wallet in wallets {
                    self.retry(*wallet, now);
                }
            }
        }
    }

    fn retry(&mut self, wallet: Wallet, now: Time) {
        let after = self.jittered();
        self.set_due(wallet, now + after);
    }

    /// [`ERROR_TTL`], give or take a fifth.
    fn jittered(&mut self) -> Duration {
        let spread = ERROR_TTL.as_millis() as u64 / 5;
        ERROR_TTL - Duration::from_millis(spread) + Duration::from_millis(self.rng.u64(..=2 * spread))
    }

    fn set_due(&mut self, wallet: Wallet, due: Time) {
        if let Some(entry) = self.wallets.get_mut(&wallet) {
            self.due.remove(&(entry.due, wallet));
            entry.due = due;
            self.due.insert((due, wallet));
        }
    }

    fn everything_may_have_changed(&mut self, now: Time) {
        self.logs.clear();
        self.due.clear();
        for (wallet, entry) in &mut self.wallets {
            entry.due = now;
            self.due.insert((now, *wallet));
        }
    }

    /// Drops the wallet without a stake that was asked for longest ago.
    fn make_room(&mut self) -> bool {
        let worthless = |entry: &Entry| entry.seen.is_none_or(|seen| seen.tier == Tier::None);
        let oldest = self
            .wallets
            .iter()
            .filter(|(_, entry)| worthless(entry))
            .min_by_key(|(_, entry)| entry.asked)
            .map(|(wallet, entry)| (entry.due, *wallet));
        let Some((due, wallet)) = oldest else { return false };
        self.due.remove(&(due, wallet));
        self.wallets.remove(&wallet);
        true
    }
}

/// After which a value is read again.
pub(super) const fn ttl(tier: Tier) -> Duration {
    match tier {
        Tier::None => NEGATIVE_TTL,
        _ => SOFT_TTL,
    }
}
