//! The Link state retransmission list of a neighbour (RFC 2328 section 10), and when each LSA on it is sent.
//!
//! In a mesh that starts or merges, thousands of LSAs pass through the lists of all neighbours within a second, and nearly
//! all of them are acknowledged before they would be repeated. So the list is looked up by hash, and nothing is looked for in
//! the queues when an LSA leaves it: what a queue still says about it is void, and dropped when its turn comes.

use std::cmp::{Ordering, Reverse};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use molt_mesh::Time;

use super::lsa::LsaHeader;
use super::lsdb::LsaRef;
use super::mix::Mix;
use super::originate::LS_SPACING;

/// After a Link State Update the next one to the same neighbour waits this long for more LSAs to fill it. The first one
/// leaves at once, so it delays nothing at a single change and each hop by at most this in a burst.
const PACKING: Duration = Duration::from_millis(5);
/// LSAs a neighbour may be sent before it acknowledges one (RFC 4222 recommendation 3). About 35 kB of mesh LSAs: less
/// than a tunnel's queue, more than a change ever causes.
const WINDOW: usize = 160;
/// The wait for an acknowledgment doubles with each retransmission (RFC 4222 recommendation 2) up to 2^3 times the
/// RxmtInterval.
const MAX_BACKOFF: u8 = 3;
/// Void places a queue may hold beside twice the LSAs that have one before it is cleaned.
const VOID: usize = 256;

/// One LSA that a neighbour has to acknowledge.
#[derive(Debug)]
struct Unacknowledged {
    /// When it is sent, for the first time or again: its place in the queue.
    due: Time,
    /// By which the instance is told from others; the age is that when it was added.
    seq: i32,
    checksum: u16,
    raw_age: u16,
    /// How often it was sent, as far as that matters.
    sent: u8,
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
    list: HashMap<LsaRef, Unacknowledged, Mix>,
    /// LSAs of the list that were not sent yet. They also wait here for the window.
    first: Queue,
    /// Those that were.
    again: Queue,
    /// How many of the list were sent.
    in_flight: usize,
    /// When the last Link State Update left.
    last_update: Option<Time>,
    /// When an own LSA was last sent to this neighbour, by whatever cause. They are few.
    own_sent: BTreeMap<LsaRef, Time>,
}

impl Retransmission {
    /// Adds an instance in place of any older one, to be sent at `due`.
    pub(super) fn add(&mut self, at: LsaRef, header: LsaHeader, due: Time) {
        let LsaHeader { seq, checksum, raw_age, .. } = header;
        if let Some(replaced) = self.list.insert(at, Unacknowledged { due, seq, checksum, raw_age, sent: 0 })
        {
            self.in_flight -= usize::from(replaced.sent > 0);
        }
        self.first.push(due, at);
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
        let Self { list, first, again, in_flight, .. } = self;
        if list.is_empty() {
            // What a start or a merge needed is megabytes, for each neighbour; and it is empty for a moment many times before
            // that is over.
            list.shrink_to(WINDOW.max(list.capacity() / 2));
            first.clear();
            again.clear();
            return;
        }
        let has_place = |at: &LsaRef, due: Time, sent: bool| {
            list.get(at).is_some_and(|item| item.due == due && (item.sent > 0) == sent)
        };
        if first.len() > 2 * (list.len() - *in_flight) + VOID {
            first.retain(|due, at| has_place(at, due, false));
        }
        if again.len() > 2 * *in_flight + VOID {
            again.retain(|due, at| has_place(at, due, true));
        }
    }

    pub(super) fn contains(&self, at: &LsaRef) -> bool {
        self.list.contains_key(at)
    }

    /// Takes an LSA off the list if this instance of it is there. How the instance compares to the one on the list, if there
    /// is any.
    pub(super) fn acknowledge(&mut self, at: LsaRef, ack: &LsaHeader) -> Option<Ordering> {
        let Entry::Occupied(place) = self.list.entry(at) else { return None };
        let Unacknowledged { seq, checksum, raw_age, sent, .. } = *place.get();
        let order = ack.compare(&LsaHeader { raw_age, key: at.key, seq, checksum, length: ack.length });
        if order.is_eq() {
            place.remove();
            self.in_flight -= usize::from(sent > 0);
            self.clean();
        }
        Some(order)
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
        let first = self.first.next().filter(|_| self.in_flight < WINDOW);
        let next = [first, self.again.next()].into_iter().flatten().min()?;
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
            && let Some((due, at)) = self.first.pop(now)
        {
            let Some(item) = self.list.get_mut(&at).filter(|item| item.due == due && item.sent == 0) else {
                continue;
            };
            let repeat_at = now + rxmt;
            // The neighbour may have been sent the instance before in the database exchange, milliseconds ago, and
            // then drops this one for MinLSArrival (FRR and BIRD do). It gets it again as soon as it listens.
            let listens_at = self.own_sent.get(&at).map(|sent| *sent + LS_SPACING).filter(|at| *at > now);
            item.due = listens_at.map_or(repeat_at, |at| at.min(repeat_at));
            item.sent = 1;
            self.in_flight += 1;
            self.again.push(item.due, at);
            taken.push(at);
        }
        let mut used = 0;
        let mut postponed = Vec::new();
        while let Some((due, at)) = self.again.pop(now) {
            let Some(item) = self.list.get_mut(&at).filter(|item| item.due == due && item.sent > 0) else {
                continue;
            };
            let length = length(&at);
            used += length;
            if used > room && used > length {
                postponed.push((due, at));
                continue;
            }
            item.due = now + rxmt * (1 << item.sent.min(MAX_BACKOFF));
            item.sent = item.sent.saturating_add(1);
            self.again.push(item.due, at);
            taken.push(at);
        }
        for (due, at) in postponed {
            self.again.push(due, at);
        }
        if !taken.is_empty() {
            self.last_update = Some(now);
        }
        taken
    }
}

/// LSAs by the time at which something is due. Nearly all come in the order in which they leave.
#[derive(Debug, Default)]
struct Queue {
    line: VecDeque<(Time, LsaRef)>,
    /// Those that came out of turn.
    rest: BinaryHeap<Reverse<(Time, LsaRef)>>,
}

impl Queue {
    fn push(&mut self, due: Time, at: LsaRef) {
        if self.line.back().is_none_or(|(last, _)| *last <= due) {
            self.line.push_back((due, at));
        } else {
            self.rest.push(Reverse((due, at)));
        }
    }

    fn next(&self) -> Option<Time> {
        let rest = self.rest.peek().map(|Reverse((due, _))| *due);
        let line = self.line.front().map(|(due, _)| *due);
        [line, rest].into_iter().flatten().min()
    }

    /// The next that is due.
    fn pop(&mut self, now: Time) -> Option<(Time, LsaRef)> {
        let due = self.next().filter(|due| *due <= now)?;
        if self.line.front().is_some_and(|(first, _)| *first == due) {
            return self.line.pop_front();
        }
        self.rest.pop().map(|Reverse(item)| item)
    }

    fn len(&self) -> usize {
        self.line.len() + self.rest.len()
    }

    fn retain(&mut self, keep: impl Fn(Time, &LsaRef) -> bool) {
        self.line.retain(|(due, at)| keep(*due, at));
        self.rest.retain(|Reverse((due, at))| keep(*due, at));
    }

    fn clear(&mut self) {
        self.line.clear();
        self.line.shrink_to(WINDOW.max(self.line.capacity() / 2));
        self.rest.clear();
        self.rest.shrink_to(WINDOW.max(self.rest.capacity() / 2));
    }
}
