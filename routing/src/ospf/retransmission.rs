//! The Link state retransmission list of a neighbour (RFC 2328 section 10), and when each LSA on it is sent.
//!
//! In a mesh that starts or merges, thousands of LSAs pass through the lists of all neighbours within a second, and nearly
//! all of them are acknowledged before they would be repeated. So the list is looked up by hash, and nothing is looked for in
//! the queues when an LSA leaves it: what a queue still says about it is void, and dropped when its turn comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use molt_mesh::Time;

use super::lsa::LsaHeader;
use super::lsdb::LsaRef;
use super::originate::LS_SPACING;

/// After a Link State Update the next one to the same neighbour waits this long for more LSAs to fill it. The first one
/// leaves at once, so it delays nothing at a single change and each hop by at most this in a burst.
const PACKING: Duration = Duration::from_millis(5);
/// LSAs a neighbour may be sent before it acknowledges one (RFC 4222 recommendation 3). About 35 kB of mesh LSAs: less
/// than a tunnel's queue, more than a change ever causes.
const WINDOW: usize = 160;
/// The wait for an acknowledgment doubles with each retransmission (RFC 4222 recommendation 2) up to 2^3 times the
/// RxmtInterval.
const MAX_BACKOFF: u32 = 3;
/// A queue may hold as many void places beside one for each LSA of the list before it is cleaned.
const VOID: usize = 256;

/// When an LSA of the list is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// At this time, for the first time or again: its place in `Retransmission::due`.
    At(Time),
    /// For the first time when the window opens: it is in `Retransmission::waiting`.
    Window,
}

/// One LSA that a neighbour has to acknowledge.
#[derive(Debug)]
struct Unacknowledged {
    /// The instance, with its age when it was added.
    header: LsaHeader,
    turn: Turn,
    /// How often it was sent.
    sent: u32,
}

/// What was taken off the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// The neighbour was sent it at least once.
    Sent,
    /// It still waited for its turn.
    Unsent,
}

/// The list. It also holds what is to be sent for the first time, so that nothing can be forgotten between the two.
#[derive(Debug, Default)]
pub(super) struct Retransmission {
    /// Only looked up, never iterated where order matters.
    list: HashMap<LsaRef, Unacknowledged>,
    /// Void unless the LSA is on the list with the same turn.
    due: BinaryHeap<Reverse<(Time, LsaRef)>>,
    /// The same.
    waiting: VecDeque<LsaRef>,
    /// LSAs of the list that were sent at least once.
    in_flight: usize,
    /// When the last Link State Update left.
    last_update: Option<Time>,
    /// When an own LSA was last sent to this neighbour, by whatever cause. They are few.
    own_sent: BTreeMap<LsaRef, Time>,
}

impl Retransmission {
    /// Adds an instance in place of any older one, to be sent at `due`.
    pub(super) fn add(&mut self, at: LsaRef, header: LsaHeader, due: Time) {
        let item = Unacknowledged { header, turn: Turn::At(due), sent: 0 };
        if let Some(replaced) = self.list.insert(at, item) {
            self.in_flight -= usize::from(replaced.sent > 0);
        }
        self.due.push(Reverse((due, at)));
        self.clean();
    }

    /// Takes an LSA off the list, if it is there.
    pub(super) fn remove(&mut self, at: &LsaRef) -> Option<Removed> {
        if self.list.is_empty() {
            return None;
        }
        let removed = self.list.remove(at)?;
        self.in_flight -= usize::from(removed.sent > 0);
        self.clean();
        Some(if removed.sent > 0 { Removed::Sent } else { Removed::Unsent })
    }

    /// Keeps void places from piling up.
    fn clean(&mut self) {
        if self.list.is_empty() {
            self.due.clear();
            self.waiting.clear();
            return;
        }
        let list = &self.list;
        if self.due.len() > list.len() + VOID {
            self.due.retain(|Reverse((due, at))| has_turn(list, at, Turn::At(*due)));
        }
        if self.waiting.len() > list.len() + VOID {
            self.waiting.retain(|at| has_turn(list, at, Turn::Window));
        }
    }

    pub(super) fn contains(&self, at: &LsaRef) -> bool {
        self.list.contains_key(at)
    }

    /// The instance that is on the list.
    pub(super) fn instance(&self, at: &LsaRef) -> Option<&LsaHeader> {
        self.list.get(at).map(|item| &item.header)
    }

    /// In no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &LsaRef> {
        self.list.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn clear(&mut self) {
        let own_sent = std::mem::take(&mut self.own_sent);
        *self = Self { own_sent, ..Self::default() };
    }

    /// An LSA of ours is sent to the neighbour, by whatever cause.
    pub(super) fn note_own(&mut self, at: LsaRef, now: Time) {
        self.own_sent.insert(at, now);
    }

    /// When the next packet is due, or to be found void.
    pub(super) fn deadline(&self) -> Option<Time> {
        let next = match self.due.peek() {
            _ if self.in_flight < WINDOW && !self.waiting.is_empty() => Time::ZERO,
            Some(Reverse((due, _))) => *due,
            None => return None,
        };
        Some(self.last_update.map_or(next, |last| next.max(last + PACKING)))
    }

    /// What to send at `now`: everything new that the window admits, and of retransmissions what `room` bytes hold
    /// (RFC 2328 section 13.6).
    pub(super) fn take_due(
        &mut self,
        now: Time,
        rxmt: Duration,
        room: usize,
        length: impl Fn(&LsaRef) -> usize,
    ) -> Vec<LsaRef> {
        let mut taken = Vec::new();
        if self.deadline().is_none_or(|at| at > now) {
            return taken;
        }
        while self.in_flight < WINDOW
            && let Some(at) = self.waiting.pop_front()
        {
            if has_turn(&self.list, &at, Turn::Window) {
                self.send(at, now, rxmt);
                taken.push(at);
            }
        }
        let mut again = 0;
        let mut postponed = Vec::new();
        while let Some(Reverse((due, at))) = self.due.peek().copied().filter(|Reverse((due, _))| *due <= now)
        {
            self.due.pop();
            let Some(item) = self.list.get_mut(&at).filter(|item| item.turn == Turn::At(due)) else {
                continue;
            };
            if item.sent == 0 && self.in_flight >= WINDOW {
                item.turn = Turn::Window;
                self.waiting.push_back(at);
                continue;
            }
            if item.sent > 0 {
                let length = length(&at);
                again += length;
                if again > room && again > length {
                    postponed.push(Reverse((due, at)));
                    continue;
                }
            }
            self.send(at, now, rxmt);
            taken.push(at);
        }
        self.due.extend(postponed);
        if !taken.is_empty() {
            self.last_update = Some(now);
        }
        taken
    }

    /// Notes that an LSA of the list is sent, and when it will be again.
    fn send(&mut self, at: LsaRef, now: Time, rxmt: Duration) {
        let Some(item) = self.list.get_mut(&at) else { return };
        self.in_flight += usize::from(item.sent == 0);
        let repeat_at = now + rxmt * (1 << item.sent.min(MAX_BACKOFF));
        // The neighbour may have been sent the instance before in the database exchange, milliseconds ago, and
        // then drops this one for MinLSArrival (FRR and BIRD do). It gets it again as soon as it listens.
        let listens_at = match self.own_sent.get(&at) {
            Some(sent) if item.sent == 0 => (*sent + LS_SPACING).max(now),
            _ => now,
        };
        let due = if listens_at > now { listens_at.min(repeat_at) } else { repeat_at };
        item.sent += 1;
        item.turn = Turn::At(due);
        self.due.push(Reverse((due, at)));
    }
}

fn has_turn(list: &HashMap<LsaRef, Unacknowledged>, at: &LsaRef, turn: Turn) -> bool {
    list.get(at).is_some_and(|item| item.turn == turn)
}
