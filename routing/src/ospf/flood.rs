//! The flooding procedure (RFC 2328 section 13): receiving, sending, acknowledging and retransmitting LSAs.

use std::cmp::Ordering;
use std::time::Duration;

use molt_mesh::{LinkId, Time};

use super::Ospf;
use super::consts::{
    INF_TRANS_DELAY, LSA_HEADER_LEN, MAX_AGE, MAX_SEQUENCE_NUMBER, MIN_LS_ARRIVAL, UPDATE_LEN,
};
use super::lsa::{LsType, Lsa, LsaHeader};
use super::lsdb::{Aged, Change, Entry, LsaRef};
use super::neighbor::{Event, State};
use super::packet::{PacketBody, Reject};
use super::relay::RELAY_DELAY;
use super::retransmission::Removed;
use super::view::SpfTrigger;

/// How long an acknowledgment waits for others (RFC 2328 section 13.5). Round trip and wait together stay below the
/// RxmtInterval of 1 s over any path that is fit for use.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(100);
impl Ospf {
    /// Section 13 with the changes of RFC 5340 section 4.5.1.
    pub(super) fn handle_update(&mut self, link: LinkId, lsas: Vec<Lsa>, now: Time) -> Result<(), Reject> {
        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        if interface.flooding_neighbor().is_none() {
            return Err(Reject::NeighborState);
        }
        let mut direct_acks = Vec::new();
        for lsa in lsas {
            match self.receive_lsa(link, lsa, now) {
                Ack::Delayed(header) => self.delay_ack(link, header, now),
                Ack::Direct(header) => direct_acks.push(header),
                Ack::None => {}
                Ack::Stop => break,
            }
        }
        self.send_acks(link, direct_acks);
        Ok(())
    }

    fn receive_lsa(&mut self, link: LinkId, lsa: Lsa, now: Time) -> Ack {
        let received = lsa.header;
        self.counters.lsas_received += 1;
        // (1)
        if !lsa.checksum_is_valid() {
            self.counters.lsas_with_bad_checksum += 1;
            return Ack::None;
        }
        // (2) The backbone is no stub area. (3) Reserved scope.
        let Some(at) = LsaRef::new(link, received.key) else { return Ack::None };
        let stored = self.lsdb.get(&at).map(|entry| entry.header(now));
        // (4)
        if received.age() == MAX_AGE && stored.is_none() && !self.is_exchanging() {
            if let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) {
                neighbor.remove_request(&received.key);
            }
            return Ack::Direct(received);
        }
        // (5)
        let order = stored.map_or(Ordering::Greater, |stored| received.compare(&stored));
        if order.is_gt() {
            return self.receive_newer(link, at, lsa, now);
        }
        let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) else {
            return Ack::None;
        };
        // (6)
        if neighbor.requests.contains_key(&received.key) {
            self.neighbor_event(link, Event::BadLsReq, "the neighbour sent an older LSA than it listed", now);
            return Ack::Stop;
        }
        // (7)
        if order.is_eq() {
            self.counters.lsas_redundant += 1;
            // (a) An implied acknowledgment, or (b). RFC 2328 sends what it puts on the list; here it may still wait there,
            // for room in a packet, in the window, or for others to send it. Then no copy of ours tells the neighbour that
            // we have the LSA, and without an acknowledgment it would repeat it.
            return match neighbor.retransmission.remove(&at) {
                Some(Removed::Sent) => Ack::None,
                Some(Removed::Unsent) => Ack::Delayed(received),
                None => Ack::Direct(received),
            };
        }
        // (8)
        let Some(entry) = self.lsdb.get_mut(&at) else { return Ack::None };
        let wraps = entry.is_max_age(now) && entry.lsa().header.seq == MAX_SEQUENCE_NUMBER;
        if !wraps && entry.sent_back.is_none_or(|sent| now >= sent + MIN_LS_ARRIVAL) {
            entry.sent_back = Some(now);
            self.send_update(link, &[at], now);
        }
        Ack::None
    }

    /// Section 13 step 5.
    fn receive_newer(&mut self, link: LinkId, at: LsaRef, lsa: Lsa, now: Time) -> Ack {
        let received = lsa.header;
        // (a)
        let stored = self.lsdb.get(&at);
        let stored_age = stored.map(|entry| entry.age(now));
        // The answer to a request is no flooding, so it neither has to respect MinLSArrival nor starts it. A router that becomes
        // Full changes its Router-LSA right after the exchange; FRR repeats it only 5 s later if it is dropped.
        let neighbor = self.interfaces.get(&link).and_then(|it| it.neighbor.as_ref());
        let requested = neighbor.is_some_and(|it| it.requests.contains_key(&received.key));
        let early = |entry: &Entry| entry.flooded && now < entry.installed + MIN_LS_ARRIVAL;
        if !requested && stored.is_some_and(early) {
            self.counters.lsas_too_early += 1;
            return Ack::None;
        }
        if !self.has_share(&at, received.length, requested, now) {
            // Acknowledged and forgotten. Silence would make the neighbour repeat it for ever and keep the adjacency
            // in Loading, so one flooder would take down what the bound is to protect.
            self.refuse(link, &received, now);
            return Ack::Direct(received);
        }
        self.origins.receive(link, &received, stored_age, now);
        // (d), then (b) and (c): flooding reads the stored instance.
        self.install(at, lsa, !requested, now);
        self.flood(at, Some(link), now);
        if at.key.ls_type == LsType::GRACE {
            self.handle_grace(link, at, now);
        }
        // (f)
        if received.key.router == self.config.router_id {
            self.handle_self_originated(at, link, now);
        }
        // (e) On a point-to-point link an LSA is never flooded back where it came from.
        Ack::Delayed(received)
    }

    /// Sections 13 (5) (d) and 13.2. [`Self::flood`] follows, and does (c).
    pub(super) fn install(&mut self, at: LsaRef, lsa: Lsa, flooded: bool, now: Time) {
        let change = self.lsdb.install(at, lsa, flooded, now);
        self.lsdb_changed(at, change, now);
    }

    pub(super) fn lsdb_changed(&mut self, at: LsaRef, change: Change, now: Time) {
        if change != Change::None {
            self.topology_changed(at, now);
        }
        self.origins.touch(&at);
        match change {
            Change::None => {}
            // The calculation takes what is ours from where it is decided, not from what was announced of it.
            _ if at.key.router == self.config.router_id => {}
            // What a signed router says counts when it is compared with what it signed, at the end of the packet.
            _ if self.origins.is_signed(at.key.router) => {}
            Change::Leaves => self.leaves_changed(SpfTrigger::Lsa(at.key), now),
            Change::Graph => self.schedule_spf(SpfTrigger::Lsa(at.key), now),
        }
    }

    /// Section 13.3, which RFC 5340 section 4.5.2 extends: the stored instance goes to every neighbour in its scope that
    /// may lack it, and takes the place of any other on the retransmission lists (section 13 (5) (c)). Returns whether there
    /// is such a neighbour.
    pub(super) fn flood(&mut self, at: LsaRef, from: Option<LinkId>, now: Time) -> bool {
        let mut flooded = false;
        let Some(header) = self.lsdb.get(&at).map(|entry| entry.header(now)) else { return flooded };
        let sender = from.and_then(|link| Some(self.interfaces.get(&link)?.neighbor.as_ref()?.router));
        let covered = sender.filter(|_| self.config.flood_reduction).map(|sender| {
            let neighbors = self.interfaces.values().filter_map(|it| Some(it.full_neighbor()?.router));
            self.relay.covered(sender, &self.spf.graph, neighbors)
        });
        let mut told = Vec::new();
        for (link, interface) in &mut self.interfaces {
            // (1) (a)
            let Some(neighbor) = interface.flooding_neighbor().filter(|_| at.is_on(*link)) else { continue };
            // (b). There are also requests in state Full: for what was refused before it was proven.
            if let Some(requested) = neighbor.requests.get(&at.key) {
                let order = header.compare(requested);
                if order.is_ge() {
                    neighbor.remove_request(&at.key);
                }
                if order.is_le() {
                    neighbor.retransmission.remove(&at);
                    continue;
                }
            }
            // (c)
            if from == Some(*link) {
                neighbor.retransmission.remove(&at);
                continue;
            }
            // (d). Steps (2) to (5) happen when the list is sent, at the end of the call or after the packing delay.
            let is_covered = covered.is_some_and(|covered| covered.contains(&neighbor.router));
            let defer = is_covered && neighbor.state == State::Full && at.link.is_none();
            neighbor.retransmission.add(at, header, if defer { now + RELAY_DELAY } else { now });
            if defer {
                told.push(*link);
            }
            flooded = true;
        }
        for link in told {
            self.delay_ack(link, header, now);
        }
        flooded
    }

    /// Sends what is due on the retransmission list.
    pub(super) fn send_flooded(&mut self, link: LinkId, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let room = interface.room().saturating_sub(UPDATE_LEN);
        let (rxmt, lsdb) = (self.config.rxmt, &self.lsdb);
        let Some(neighbor) = interface.flooding_neighbor() else { return };
        let due = neighbor.retransmission.take_due(now, rxmt, room, |at| lsdb.length(at));
        self.send_update(link, &due, now);
    }

    /// Sends stored LSAs in as few Link State Updates as hold them. An LSA that is larger than a packet travels alone;
    /// the packet core fragments it (RFC 8200 section 4.5), as BIRD does with its own.
    pub(super) fn send_update(&mut self, link: LinkId, lsas: &[LsaRef], now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let room = interface.room().saturating_sub(UPDATE_LEN);
        let own_id = self.config.router_id;
        let mut packets = Vec::new();
        let mut packet = Vec::new();
        let mut used = 0;
        for at in lsas {
            let Some(entry) = self.lsdb.get(at) else { continue };
            if at.key.router == own_id
                && let Some(neighbor) = &mut interface.neighbor
            {
                neighbor.retransmission.note_own(*at, now);
            }
            let mut lsa = entry.lsa().clone();
            lsa.header.raw_age = entry.age_after(INF_TRANS_DELAY, now);
            let length = usize::from(lsa.header.length);
            if used + length > room && !packet.is_empty() {
                packets.push(std::mem::take(&mut packet));
                used = 0;
            }
            used += length;
            packet.push(lsa);
        }
        if !packet.is_empty() {
            packets.push(packet);
        }
        for packet in packets {
            self.transmit(link, PacketBody::Update(packet));
        }
    }

    fn delay_ack(&mut self, link: LinkId, header: LsaHeader, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        if interface.acks.is_empty() {
            interface.acks.reserve(interface.room() / LSA_HEADER_LEN);
        }
        interface.acks.push(header);
        interface.ack_at.get_or_insert(now + ACK_DELAY);
        if interface.acks.len() >= interface.room() / LSA_HEADER_LEN {
            self.send_delayed_acks(link);
        }
    }

    /// Section 13.5.
    pub(super) fn send_delayed_acks(&mut self, link: LinkId) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        interface.ack_at = None;
        let acks = std::mem::take(&mut interface.acks);
        self.send_acks(link, acks);
    }

    fn send_acks(&mut self, link: LinkId, acks: Vec<LsaHeader>) {
        let Some(interface) = self.interfaces.get(&link) else { return };
        let room = (interface.room() / LSA_HEADER_LEN).max(1);
        for packet in acks.chunks(room) {
            self.transmit(link, PacketBody::Ack(packet.to_vec()));
        }
    }

    /// Section 13.7.
    pub(super) fn handle_ack(&mut self, link: LinkId, acks: &[LsaHeader]) -> Result<(), Reject> {
        let interface = self.interfaces.get_mut(&link).ok_or(Reject::LinkDown)?;
        let neighbor = interface.flooding_neighbor().ok_or(Reject::NeighborState)?;
        for ack in acks {
            let Some(at) = LsaRef::new(link, ack.key) else { continue };
            let order = neighbor.retransmission.acknowledge(at, ack);
            self.counters.questionable_acks += u64::from(order.is_some_and(Ordering::is_ne));
        }
        Ok(())
    }

    /// Section 14.
    pub(super) fn age_database(&mut self, now: Time) {
        while let Some(aged) = self.lsdb.poll_aged(now) {
            match aged {
                Aged::MaxAge(at, change) => {
                    self.lsdb_changed(at, change, now);
                    self.flood(at, None, now);
                }
                // The RFC asks for a restart of the router. To forget the copy does the same for one LSA: a neighbour
                // sends it again with its next refresh, and an own one is originated anew.
                Aged::Corrupt(at) => {
                    self.counters.lsas_corrupt += 1;
                    self.lsdb.remove(&at);
                    self.lsdb_changed(at, Change::Graph, now);
                    self.originate_again(at, now);
                }
                Aged::Unaged(at) => self.flush_if_stale(at, now),
            }
        }
    }

    /// Section 14: an LSA at MaxAge leaves as soon as nobody has to acknowledge it and no exchange is going on.
    pub(super) fn remove_max_aged(&mut self, now: Time) {
        if !self.lsdb.has_max_aged() || self.is_exchanging() {
            return;
        }
        let on_a_list = |at: &LsaRef| {
            let mut neighbors = self.interfaces.values().filter_map(|interface| interface.neighbor.as_ref());
            neighbors.any(|neighbor| neighbor.retransmission.contains(at))
        };
        let gone: Vec<LsaRef> = self.lsdb.max_aged().filter(|at| !on_a_list(at)).copied().collect();
        for at in gone {
            self.lsdb.remove(&at);
            self.originate_again(at, now);
        }
    }

    /// LSAs of link scope go with the neighbour's tunnel.
    pub(super) fn purge_link_scope(&mut self, link: LinkId) {
        let gone: Vec<LsaRef> =
            self.lsdb.iter().map(|(at, _)| *at).filter(|at| at.link == Some(link)).collect();
        for at in gone {
            self.lsdb.remove(&at);
        }
    }

    fn is_exchanging(&self) -> bool {
        let mut neighbors = self.interfaces.values().filter_map(|interface| interface.neighbor.as_ref());
        neighbors.any(|neighbor| matches!(neighbor.state, State::Exchange | State::Loading))
    }
}

/// What to answer to one LSA (RFC 2328 table 19).
enum Ack {
    Delayed(LsaHeader),
    Direct(LsaHeader),
    None,
    /// The rest of the update is not to be processed.
    Stop,
}
