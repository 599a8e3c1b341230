//! What went wrong, for the operator: who did it, over which link it came, and what was done about it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use molt_mesh::{IdentityKey, LinkId, Prefix, RouterId, Time};

use super::lsa::LsaKey;

/// Events that are kept of each [`Cause`], so that one kind of attack does not push the traces of another out.
const KEPT: usize = 64;
/// The same cause at the same router is told again after this long; what comes in between is counted.
const QUIET: Duration = Duration::from_secs(10);
/// Pairs of cause and router whose last event is remembered. Router ids can be invented.
const REMEMBERED: usize = 1_024;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A record or delegation of another mesh: good as it may be, its addresses are not in our /48.
    AnotherMesh,
    /// An LSA of a router was flushed, and not by that router.
    ForeignFlush,
    /// An agent record that its key did not sign, or that is not well-formed.
    ForgedRecord,
    /// An LSA or a list of LSAs that its router did not sign.
    ForgedTopology,
    /// More LSAs than a router may send or hold.
    LsaFlood,
    /// An LSA whose body cannot be read.
    MalformedLsa,
    /// A prefix was announced by somebody who has no right to it.
    PrefixHijack,
    /// A record or delegation that has expired: its agent is gone, or one of the clocks is wrong.
    RecordExpired,
    /// A record older than the one that is known.
    ReplayedRecord,
    /// A list of LSAs older than the one that is known.
    ReplayedTopology,
    /// Two routers have one router id.
    RouterIdClash,
    /// An LSA with the last sequence number there is, which no honest router reaches.
    SequenceAtMaximum,
}

impl Cause {
    /// The word operators see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnotherMesh => "AnotherMesh",
            Self::ForeignFlush => "ForeignFlush",
            Self::ForgedRecord => "ForgedRecord",
            Self::ForgedTopology => "ForgedTopology",
            Self::LsaFlood => "LsaFlood",
            Self::MalformedLsa => "MalformedLsa",
            Self::PrefixHijack => "PrefixHijack",
            Self::RecordExpired => "RecordExpired",
            Self::ReplayedRecord => "ReplayedRecord",
            Self::ReplayedTopology => "ReplayedTopology",
            Self::RouterIdClash => "RouterIdClash",
            Self::SequenceAtMaximum => "SequenceAtMaximum",
        }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An LSA.
    Lsa(LsaKey),
    /// A prefix.
    Prefix(Prefix),
    /// The router itself.
    Router,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// The router that did it, or in whose name it was done.
    pub router: RouterId,
    /// Its key, if a verified record tells.
    pub key: Option<IdentityKey>,
    /// The link it came by, if it came.
    pub link: Option<LinkId>,
    /// What kind of thing.
    pub cause: Cause,
    /// What it is about.
    pub subject: Subject,
    /// The rule that was broken, and what follows.
    pub why: String,
    /// How many more of the same were not told before this one.
    pub suppressed: u32,
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Events {
    kept: BTreeMap<Cause, VecDeque<Event>>,
    /// When each was told last, and how many were not told since.
    told: BTreeMap<(Cause, RouterId), (Time, u32)>,
    total: BTreeMap<Cause, u64>,
    pushed: u64,
}

impl Events {
    /// Tells an event, unless the same was told a moment ago.
    pub(super) fn push(&mut self, event: Event) {
        *self.total.entry(event.cause).or_default() += 1;
        let key = (event.cause, event.router);
        let suppressed = match self.told.get_mut(&key) {
            Some((at, suppressed)) if event.at < *at + QUIET => {
                *suppressed += 1;
                return;
            }
            Some((_, suppressed)) => *suppressed,
            None => 0,
        };
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, (at, _)| event.at < *at + QUIET);
        }
        if self.told.len() < REMEMBERED {
            self.told.insert(key, (event.at, 0));
        }
        let kept = self.kept.entry(event.cause).or_default();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Event { suppressed, ..event });
        self.pushed += 1;
    }

    /// How many were told, kept or not.
    pub(super) const fn told(&self) -> u64 {
        self.pushed
    }

    /// Oldest first.
    pub(super) fn list(&self) -> Vec<&Event> {
        let mut all: Vec<&Event> = self.kept.values().flatten().collect();
        all.sort_by_key(|event| (event.at, event.cause));
        all
    }

    pub(super) const fn total(&self) -> &BTreeMap<Cause, u64> {
        &self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seconds: u64, router: u32, cause: Cause) -> Event {
        let (at, router) = (Time::from_millis(seconds * 1000), RouterId(router));
        Event {
            at,
            router,
            key: None,
            link: None,
            cause,
            subject: Subject::Router,
            why: String::new(),
            suppressed: 0,
        }
    }

    #[test]
    fn the_same_is_told_once_in_ten_seconds_with_the_number_left_out() {
        let mut events = Events::default();
        for second in 0..21 {
            events.push(event(second, 1, Cause::LsaFlood));
        }
        let told: Vec<_> = events.list().iter().map(|event| event.suppressed).collect();
        assert_eq!(told, [0, 9, 9]);
        assert_eq!(events.total()[&Cause::LsaFlood], 21);
    }

    #[test]
    fn a_flood_of_one_cause_leaves_the_others_and_memory_alone() {
        let mut events = Events::default();
        events.push(event(0, 1, Cause::PrefixHijack));
        for router in 0..10_000 {
            events.push(event(1, router, Cause::ForgedTopology));
        }
        assert_eq!(events.list().len(), 1 + KEPT);
        assert_eq!(events.list()[0].cause, Cause::PrefixHijack);
        assert!(events.told.len() <= REMEMBERED);
    }
}
