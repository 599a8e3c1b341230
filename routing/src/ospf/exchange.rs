//! Database exchange: Database Description and Link State Request packets (RFC 2328 sections 10.6 to 10.9).

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use molt_mesh::{LinkId, Time};

use super::Ospf;
use super::consts::{DESCRIPTION_LEN, LSA_HEADER_LEN, REQUEST_LEN, description, options};
use super::lsa::{LsaHeader, LsaKey, Scope};
use super::lsdb::{LsaRef, MAX_LSAS};
use super::mismatch::Mismatch;
use super::neighbor::{Event, Neighbor, State};
use super::origin::has_room_once_proven;
use super::packet::{Description, PacketBody, Reject};

/// A neighbour that has only what others are being asked for waits this long for their answers. What they have not sent by
/// then is theirs to repeat, unless they are gone.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// One exchange of descriptions with a neighbour.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Whether we are the master. Both ends claim it until the negotiation is done.
    master: bool,
    /// DD sequence number.
    seq: u32,
    /// Database summary list: what is still to be described.
    summary: BTreeSet<LsaRef>,
    /// The last description we sent, to be repeated when it or its answer is lost.
    last_sent: Option<Description>,
    /// Flags, options and sequence number of the last one accepted, by which a duplicate is recognised (section 10.6).
    last_received: Option<(u8, u32, u32)>,
    /// When to repeat `last_sent`: ours to do in ExStart, and as master in Exchange.
    resend_at: Option<Time>,
    /// When the slave may forget `last_sent` (section 10.8).
    free_at: Option<Time>,
}

impl Exchange {
    pub(super) const fn new(seq: u32) -> Self {
        Self {
            master: true,
            seq,
            summary: BTreeSet::new(),
            last_sent: None,
            last_received: None,
            resend_at: None,
            free_at: None,
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.seq);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        [self.resend_at, self.free_at].into_iter().flatten().min()
    }

    /// Takes what is to be described next. Proofs come first, so that they are the first to be known at the other end: what
    /// nobody answers for has little room there.
    fn next_described(&mut self) -> Option<LsaRef> {
        let (first, last) = (LsaRef::area(*LsaKey::PROOFS.start()), LsaRef::area(*LsaKey::PROOFS.end()));
        let proof = self.summary.range(first..=last).next().copied();
        match proof {
            Some(at) => self.summary.take(&at),
            None => self.summary.pop_first(),
        }
    }

    pub(super) fn left(&self) -> usize {
        self.summary.len()
    }

    pub(super) const fn is_master(&self) -> bool {
        self.master
    }
}

/// What to do with a received description, decided before anything is changed.
enum Verdict {
    /// Next in sequence.
    Accept,
    /// The negotiation ended with it; whether we are the master.
    Negotiated(bool),
    Drop,
    Repeat,
    Mismatch(&'static str),
}

impl Ospf {
    /// Section 10.3, entering ExStart.
    pub(super) fn start_exchange(&mut self, link: LinkId, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let mtu = interface.mtu;
        let Some(neighbor) = &mut interface.neighbor else { return };
        neighbor.exchange.seq = neighbor.exchange.seq.wrapping_add(1);
        let first = Description {
            options: options::ROUTER,
            mtu,
            flags: description::I | description::M | description::MS,
            seq: neighbor.exchange.seq,
            headers: Vec::new(),
        };
        neighbor.exchange.last_sent = Some(first);
        self.send_description(link, now);
    }

    /// Section 10.3, entering Exchange: what the database holds for this link. LSAs at MaxAge are flooded, not listed.
    /// What is about to be said anew is not listed either: the instance that says this link would follow within
    /// milliseconds, and everybody behind the neighbour would drop it for MinLSArrival. Should it stay as it is after all, it
    /// is flooded.
    pub(super) fn summarise_database(&mut self, link: LinkId, now: Time) {
        let says_more = self.is_alone() || self.is_gathering(now);
        let router = self.config.router_id;
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let Some(neighbor) = &mut interface.neighbor else { return };
        for (at, entry) in self.lsdb.iter().filter(|(at, _)| at.is_on(link)) {
            if says_more && at.is_about_links_of(router) {
                self.undescribed = true;
                continue;
            }
            if entry.is_max_age(now) {
                neighbor.retransmission.add(*at, entry.header(now), now);
            } else {
                neighbor.exchange.summary.insert(*at);
            }
        }
    }

    /// Section 10.6.
    pub(super) fn handle_description(
        &mut self,
        link: LinkId,
        received: &Description,
        now: Time,
    ) -> Result<(), Reject> {
        let own_id = self.config.router_id;
        let interface = self.interfaces.get(&link).ok_or(Reject::LinkDown)?;
        let (ours, theirs) = (interface.config.mtu, received.mtu);
        let Neighbor { router, state, .. } = *interface.neighbor.as_ref().ok_or(Reject::NoNeighbor)?;
        if theirs != 0 && theirs != ours {
            self.note_mismatch(link, router, Mismatch::Mtu { ours, theirs }, now);
        }
        if theirs > ours {
            return Err(Reject::Mtu);
        }
        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        if theirs == ours {
            interface.mismatches.settle(|mismatch| matches!(mismatch, Mismatch::Mtu { .. }));
        }
        if state == State::Down {
            return Err(Reject::NeighborState);
        }
        // FRR and BIRD insist on equal MTUs where the RFC only forbids a larger one, so theirs is adopted. Zero means
        // that the sender does not know.
        let differs = received.mtu != 0 && received.mtu != interface.mtu;
        if differs {
            interface.mtu = received.mtu;
        }
        if state == State::Init {
            self.neighbor_event(link, Event::TwoWayReceived, "database description received", now);
        } else if state == State::ExStart && differs {
            self.restate_mtu(link, now);
        }

        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        let neighbor = interface.neighbor.as_mut().ok_or(Reject::NoNeighbor)?;
        let exchange = &mut neighbor.exchange;
        let identity = (received.flags, received.options, received.seq);
        let verdict = match neighbor.state {
            State::Down | State::Init => Verdict::Drop,
            State::ExStart => {
                let all = description::I | description::M | description::MS;
                let is_first = received.flags & all == all && received.headers.is_empty();
                let is_answer = received.flags & (description::I | description::MS) == 0;
                if is_first && neighbor.router > own_id {
                    Verdict::Negotiated(false)
                } else if is_answer && received.seq == exchange.seq && neighbor.router < own_id {
                    Verdict::Negotiated(true)
                } else {
                    Verdict::Drop
                }
            }
            State::Exchange | State::Loading | State::Full => {
                exchange.verdict(received, identity, neighbor.state)
            }
        };
        match verdict {
            Verdict::Drop => return Err(Reject::Sequence),
            Verdict::Repeat => {
                self.send_description(link, now);
                return Ok(());
            }
            Verdict::Mismatch(reason) => {
                self.neighbor_event(link, Event::SeqNumberMismatch, reason, now);
                return Err(Reject::Sequence);
            }
            Verdict::Negotiated(master) => {
                exchange.master = master;
                if !master {
                    exchange.seq = received.seq;
                }
                exchange.last_received = Some(identity);
                self.neighbor_event(link, Event::NegotiationDone, "master and slave are agreed", now);
            }
            Verdict::Accept => exchange.last_received = Some(identity),
        }
        self.accept_description(link, received, now)
    }

    fn accept_description(&mut self, link: LinkId, received: &Description, now: Time) -> Result<(), Reject> {
        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        let neighbor = interface.neighbor.as_mut().ok_or(Reject::NoNeighbor)?;
        for header in &received.headers {
            let Some(at) = LsaRef::new(link, header.key) else {
                self.neighbor_event(
                    link,
                    Event::SeqNumberMismatch,
                    "an LSA of reserved scope is listed",
                    now,
                );
                return Err(Reject::Lsa);
            };
            let newer = match self.lsdb.get(&at) {
                Some(entry) => header.compare(&entry.header(now)),
                // What there is no room for need not be asked for either. What proves it may be described later.
                None if !has_room_once_proven(&self.lsdb, &self.origins, &at, header.length)
                    || neighbor.requests.len() >= MAX_LSAS =>
                {
                    self.counters.lsas_without_room += 1;
                    continue;
                }
                None => Ordering::Greater,
            };
            if newer.is_gt() {
                neighbor.requests.insert(header.key, *header);
            }
            if newer.is_ge() {
                // RFC 5243: no need to describe what the neighbour has just described itself.
                neighbor.exchange.summary.remove(&at);
            }
        }
        let exchange = &mut neighbor.exchange;
        let more = received.flags & description::M != 0;
        let done = if exchange.master {
            let was_last = exchange.last_sent.as_ref().is_some_and(|sent| sent.flags & description::M == 0);
            exchange.seq = exchange.seq.wrapping_add(1);
            exchange.resend_at = None;
            if !was_last || more {
                self.describe_next(link, now);
            }
            was_last && !more
        } else {
            exchange.seq = received.seq;
            !self.describe_next(link, now) && !more
        };
        if done {
            let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
            let free_at = now + interface.dead;
            if let Some(neighbor) = &mut interface.neighbor {
                neighbor.exchange.free_at = (!neighbor.exchange.master).then_some(free_at);
            }
            self.neighbor_event(link, Event::ExchangeDone, "the databases are described", now);
        }
        Ok(())
    }

    /// Section 10.8, state Exchange. Returns the M-bit: whether more descriptions follow.
    fn describe_next(&mut self, link: LinkId, now: Time) -> bool {
        let Some(interface) = self.interfaces.get_mut(&link) else { return false };
        let room = interface.room().saturating_sub(DESCRIPTION_LEN) / LSA_HEADER_LEN;
        let mtu = interface.mtu;
        let Some(neighbor) = &mut interface.neighbor else { return false };
        let exchange = &mut neighbor.exchange;
        let mut headers = Vec::new();
        while headers.len() < room.max(1)
            && let Some(at) = exchange.next_described()
        {
            match self.lsdb.get(&at) {
                // It was listed when it was younger; flooding takes care of it (section 14).
                Some(entry) if entry.is_max_age(now) => {}
                Some(entry) => headers.push(entry.header(now)),
                None => {}
            }
        }
        let more = !exchange.summary.is_empty();
        let mut flags = 0;
        if more {
            flags |= description::M;
        }
        if exchange.master {
            flags |= description::MS;
        }
        let next = Description { options: options::ROUTER, mtu, flags, seq: exchange.seq, headers };
        exchange.last_sent = Some(next);
        self.send_description(link, now);
        more
    }

    fn restate_mtu(&mut self, link: LinkId, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let mtu = interface.mtu;
        let sent = interface.neighbor.as_mut().and_then(|neighbor| neighbor.exchange.last_sent.as_mut());
        if let Some(sent) = sent {
            sent.mtu = mtu;
            self.send_description(link, now);
        }
    }

    fn send_description(&mut self, link: LinkId, now: Time) {
        let rxmt = self.config.rxmt;
        let neighbor = self.interfaces.get_mut(&link).and_then(|interface| interface.neighbor.as_mut());
        let Some(neighbor) = neighbor else { return };
        let ours_to_repeat = neighbor.state == State::ExStart || neighbor.exchange.master;
        neighbor.exchange.resend_at = ours_to_repeat.then_some(now + rxmt);
        if let Some(sent) = neighbor.exchange.last_sent.clone() {
            self.transmit(link, PacketBody::Description(sent));
        }
    }

    /// Section 10.9: one Link State Request is outstanding at a time; the next one follows when it is answered. What another
    /// neighbour was asked for is not asked for again: a router that comes with eight links takes in one copy of the
    /// database and not eight.
    pub(super) fn continue_requests(&mut self, link: LinkId, now: Time) {
        let rxmt = self.config.rxmt;
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let room = interface.room() / REQUEST_LEN;
        let Some(neighbor) = interface.flooding_neighbor() else { return };
        if neighbor.requests.is_empty() && neighbor.asked.is_empty() && neighbor.state == State::Full {
            return;
        }
        let due = neighbor.request_at.is_some_and(|at| at <= now);
        let answered = std::mem::take(&mut neighbor.answered);
        if neighbor.requests.is_empty() {
            neighbor.request_at = None;
            if neighbor.state == State::Loading {
                self.neighbor_event(link, Event::LoadingDone, "all requested LSAs arrived", now);
            }
            return;
        }
        if neighbor.request_at.is_some() && !due && !answered {
            return;
        }
        let others = self.interfaces.iter().filter(|(other, _)| **other != link);
        let others: Vec<_> = others.filter_map(|(_, it)| Some(&it.neighbor.as_ref()?.asked)).collect();
        let Some(neighbor) = self.interfaces.get(&link).and_then(|it| it.neighbor.as_ref()) else { return };
        let is_free = |key: &&LsaKey| {
            key.ls_type.scope() == Scope::Link || !others.iter().any(|asked| asked.contains(*key))
        };
        let requests = &neighbor.requests;
        let mut proofs = requests.range(LsaKey::PROOFS).map(|(key, _)| key).peekable();
        let is_proving = proofs.peek().is_some() || neighbor.state == State::Exchange;
        let waits =
            |key: &LsaKey| key.ls_type.scope() != Scope::Link && self.lsdb.waits_for_proof(key.router);
        let rest = requests.keys().filter(|key| !LsaKey::PROOFS.contains(key)).filter(|key| !waits(key));
        let keys: Vec<LsaKey> = proofs.chain(rest).filter(is_free).take(room.max(1)).copied().collect();
        // No proof is still to come, and there is no room for what has none.
        if keys.is_empty() && !is_proving {
            let unproven: Vec<LsaHeader> =
                requests.values().filter(|header| waits(&header.key)).copied().collect();
            if !unproven.is_empty() {
                unproven.iter().for_each(|header| self.refuse(link, header, now));
                if let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) {
                    neighbor.request_at = None;
                }
                self.continue_requests(link, now);
                return;
            }
        }
        let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) else {
            return;
        };
        neighbor.asked = keys.iter().copied().collect();
        if keys.is_empty() {
            neighbor.request_at = Some(now + LOOK_AGAIN);
        } else {
            neighbor.request_at = Some(now + rxmt);
            self.transmit(link, PacketBody::Request(keys));
        }
    }

    /// Section 10.7.
    pub(super) fn handle_request(&mut self, link: LinkId, keys: &[LsaKey], now: Time) -> Result<(), Reject> {
        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        if interface.flooding_neighbor().is_none() {
            return Err(Reject::NeighborState);
        }
        let wanted: Vec<LsaRef> = keys.iter().filter_map(|key| LsaRef::new(link, *key)).collect();
        if wanted.len() < keys.len() || wanted.iter().any(|at| self.lsdb.get(at).is_none()) {
            self.neighbor_event(
                link,
                Event::BadLsReq,
                "an LSA was requested that is not in the database",
                now,
            );
            return Err(Reject::Lsa);
        }
        self.send_update(link, &wanted, now);
        Ok(())
    }

    pub(super) fn exchange_timeouts(&mut self, link: LinkId, now: Time) {
        let neighbor = self.interfaces.get_mut(&link).and_then(|interface| interface.neighbor.as_mut());
        let Some(neighbor) = neighbor else { return };
        if neighbor.exchange.free_at.is_some_and(|at| at <= now) {
            neighbor.exchange.free_at = None;
            neighbor.exchange.last_sent = None;
        }
        if neighbor.exchange.resend_at.is_some_and(|at| at <= now) {
            self.send_description(link, now);
        }
    }
}

impl Exchange {
    /// Section 10.6, states Exchange, Loading and Full.
    fn verdict(&self, received: &Description, identity: (u8, u32, u32), state: State) -> Verdict {
        if self.last_received == Some(identity) {
            return match (self.master, &self.last_sent) {
                (true, _) => Verdict::Drop,
                (false, Some(_)) => Verdict::Repeat,
                (false, None) => {
                    Verdict::Mismatch("a database description came too late to be answered again")
                }
            };
        }
        if state != State::Exchange {
            return Verdict::Mismatch("a database description after the exchange");
        }
        if (received.flags & description::MS != 0) == self.master {
            return Verdict::Mismatch("master and slave changed");
        }
        if received.flags & description::I != 0 {
            return Verdict::Mismatch("the neighbour started again");
        }
        if self.last_received.is_some_and(|(_, options, _)| options != received.options) {
            return Verdict::Mismatch("the neighbour's options changed");
        }
        let expected = if self.master { self.seq } else { self.seq.wrapping_add(1) };
        if received.seq != expected {
            return Verdict::Mismatch("a database description is missing");
        }
        Verdict::Accept
    }
}
