//! Originating LSAs (RFC 2328 section 12.4, RFC 5340 section 4.4): what this router says about itself, and how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::ip6::HEADER_LEN;
use molt_mesh::port::TUNNEL_MTU;
use molt_mesh::record::{DIGEST_LEN, MAX_COVERED, digest};
use molt_mesh::{LinkId, Time};

use super::consts::{
    INITIAL_SEQUENCE_NUMBER, LS_REFRESH_TIME, LSA_HEADER_LEN, MAX_LINK_METRIC, MAX_SEQUENCE_NUMBER,
    MIN_LS_ARRIVAL, MIN_LS_INTERVAL, PACKET_HEADER_LEN, ROUTER_LINK_LEN, UPDATE_LEN, capability, link_type,
    options, router_bits,
};
use super::lsa::{
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaKey, LsaPrefix, RouterInformationLsa, RouterLink, RouterLsa,
};
use super::lsdb::LsaRef;
use super::neighbor::{Neighbor, State};
use super::{Ospf, RestartHelper, Stage, origin};

/// Least time between two instances: neighbours drop what comes within MinLSArrival, and the path between may hurry the
/// second of two packets by some milliseconds.
pub(super) const LS_SPACING: Duration = MIN_LS_ARRIVAL.saturating_add(Duration::from_millis(50));
/// So many instances may follow each other at [`LS_SPACING`] before MinLSInterval applies: one for each neighbour of a
/// node that starts, or whose underlay comes back.
const BURST: u32 = 8;
/// While another adjacency is about to come up, or the first calculation that makes a router that starts more than a stub, a
/// link that is up waits so long for that. All this takes some round trips and 10 ms, but what is not said with the first
/// instance would have to wait [`LS_SPACING`] for the second; and everybody would flood, and calculate with, twice as many
/// Router-LSAs when a mesh starts.
const GATHER: Duration = Duration::from_millis(250);
/// Refreshes are spread over this much time before LSRefreshTime, so that nodes that started together do not flood
/// together for ever.
const REFRESH_JITTER_S: u64 = 120;
/// A refresh takes along what would follow within this time: all own LSAs that were originated together. From then on they
/// share one packet.
const REFRESH_GROUP: Duration = Duration::from_secs(REFRESH_JITTER_S + 10);

/// Bytes an LSA's body may have to fit a packet of the smallest IPv6 MTU, which every link carries. Stock routers do not
/// pass on larger ones.
const MAX_BODY: usize = TUNNEL_MTU - HEADER_LEN - PACKET_HEADER_LEN - UPDATE_LEN - LSA_HEADER_LEN;
/// Links in one Router-LSA, behind its bits and options.
pub(super) const LINKS_PER_LSA: usize = (MAX_BODY - 4) / ROUTER_LINK_LEN;
/// /128s in one Intra-Area-Prefix-LSA, behind count and reference.
pub(super) const PREFIXES_PER_LSA: usize = (MAX_BODY - 12) / 20;
/// Intra-Area-Prefix-LSAs: what one signed list has room for beside a name and as many LSAs with the delegations of
/// containers. More than 1,400 prefixes are not announced.
const MAX_PREFIX_LSAS: usize = (MAX_COVERED - 1) / 2;

/// RFC 2328 section 12.4 (e): when the next instance may follow. A bucket of [`BURST`] instances that gains one every
/// MinLSInterval.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Time>,
    /// When the bucket will be full.
    full_at: Time,
}

impl Pace {
    /// When neighbours listen again.
    fn soonest(&self) -> Time {
        self.last.map_or(Time::ZERO, |last| last + LS_SPACING)
    }

    fn earliest(&self) -> Time {
        self.soonest().max(self.full_at + MIN_LS_INTERVAL - MIN_LS_INTERVAL * BURST)
    }

    fn note(&mut self, now: Time) {
        self.last = Some(now);
        self.full_at = self.full_at.max(now) + MIN_LS_INTERVAL;
    }
}

/// An LSA of ours.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// What it is to say; `None` if it is to be flushed.
    wanted: Option<Arc<[u8]>>,
    /// Digest of what was said last, until it is flushed.
    said: Option<[u8; DIGEST_LEN]>,
    /// When to compare `wanted` with what is in the database.
    due: Option<Time>,
    /// A new instance is needed even if it says the same.
    again: bool,
    refresh_at: Option<Time>,
    pace: Pace,
}

impl Own {
    /// Whether it says something, rather than being flushed.
    pub(super) const fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    pub(super) const fn said(&self) -> Option<[u8; DIGEST_LEN]> {
        self.said
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        [self.due, self.refresh_at].into_iter().flatten().min()
    }
}

impl Ospf {
    /// Brings what we want to say up to date with configuration and adjacencies.
    pub(super) fn update_own_lsas(&mut self, now: Time) {
        let mut wanted = self.own_bodies();
        // A neighbour that makes no progress holds nobody up.
        let comes = |neighbor: &Neighbor| match neighbor.state {
            State::Full => self.stub_until.is_some(),
            State::ExStart | State::Exchange | State::Loading => now < neighbor.since + GATHER,
            State::Down | State::Init => false,
        };
        let more_to_come = self.interfaces.values().filter_map(|it| it.neighbor.as_ref()).any(comes);
        let gathered = if more_to_come { now + GATHER } else { now };
        let gain_at = |at: &LsaRef| if at.key.ls_type == LsType::ROUTER { gathered } else { now };
        for (at, own) in &mut self.own {
            own.want(wanted.remove(at), gain_at(at), now);
        }
        for (at, body) in wanted {
            self.own.entry(at).or_default().want(Some(body), gain_at(&at), now);
        }
    }

    fn own_bodies(&self) -> BTreeMap<LsaRef, Arc<[u8]>> {
        let mut bodies = BTreeMap::new();
        let router = self.config.router_id;
        let forwards = match self.stage {
            Stage::Running | Stage::Preparing { .. } | Stage::Restarting { .. } => self.stub_until.is_none(),
            Stage::Leaving { .. } => false,
            Stage::Flushing { .. } | Stage::Redrawing { .. } | Stage::Stopped => return bodies,
        };
        let mut add = |link, ls_type, id, body: Vec<u8>| {
            bodies.insert(LsaRef { link, key: LsaKey { ls_type, router, id } }, Arc::from(body));
        };

        // RFC 5340 section 4.4.3.8. FRR takes its next hop from the Link-LSA even on a point-to-point link.
        let options = options::ROUTER;
        for (link, interface) in self.interfaces.iter().filter(|(_, interface)| interface.up) {
            let link_local = interface.config.local;
            let body = LinkLsa { priority: 1, options, link_local, prefixes: Vec::new() };
            add(Some(*link), LsType::LINK, link.get(), body.encode());
            // RFC 5187 section 2.2.
            if let Some(grace) = self.own_grace() {
                add(Some(*link), LsType::GRACE, link.get(), grace.encode());
            }
        }
        // RFC 3623 section 2.2 (1): while it restarts, a router lets stand what it said before.
        if self.is_restarting() {
            return bodies;
        }

        // RFC 5340 section 4.4.3.2, and RFC 6987 section 3: a router that starts or leaves asks for no transit traffic by its
        // cost. The R-bit stays: it carries what has no other way, or not yet.
        let links: Vec<RouterLink> = self
            .interfaces
            .iter()
            .filter_map(|(link, interface)| {
                let neighbor = interface.full_neighbor()?;
                Some(RouterLink {
                    kind: link_type::POINT_TO_POINT,
                    metric: if forwards { interface.config.cost.max(1) } else { MAX_LINK_METRIC },
                    interface: link.get(),
                    neighbor_interface: neighbor.interface,
                    neighbor: neighbor.router,
                })
            })
            .collect();
        let fragments = links.len().div_ceil(LINKS_PER_LSA).max(1);
        let mut chunks = links.chunks(LINKS_PER_LSA);
        // Appendix A.4.3: bit E in each of them.
        let bits = if self.boundary.is_border() { router_bits::E } else { 0 };
        for id in 0..fragments {
            let links = chunks.next().unwrap_or_default().to_vec();
            add(None, LsType::ROUTER, id as u32, RouterLsa { bits, options, links }.encode());
        }

        // RFC 5340 section 4.4.3.9.
        let referenced = LsaKey { ls_type: LsType::ROUTER, router, id: 0 };
        for (id, chunk) in (0..).zip(self.config.prefixes.chunks(PREFIXES_PER_LSA)).take(MAX_PREFIX_LSAS) {
            let prefixes = chunk.iter().map(|prefix| LsaPrefix::own(*prefix)).collect();
            add(None, LsType::INTRA_AREA_PREFIX, id, IntraAreaPrefixLsa { referenced, prefixes }.encode());
        }

        // RFC 5642, and RFC 7770 section 2.4.
        if let Some(name) = &self.config.hostname {
            let capabilities = match self.config.restart_helper {
                RestartHelper::Off => capability::STUB_ROUTER,
                _ => capability::STUB_ROUTER | capability::GRACEFUL_RESTART_HELPER,
            };
            let lsa = RouterInformationLsa::with_hostname(name).with_capabilities(capabilities);
            add(None, LsType::ROUTER_INFORMATION, 0, lsa.encode());
        }
        let is_member = self.origins.member.is_some();
        if is_member {
            bodies.extend(self.own_origin.bodies(router));
        }
        // RFC 5340 section 4.4.3.6. What others would find in no list of ours is not said: they would store it for nothing.
        let room = if is_member { origin::room_in_list(bodies.keys().map(|at| &at.key)) } else { usize::MAX };
        for (id, body) in self.boundary.bodies().take(room) {
            bodies.insert(LsaRef::area(LsaKey { ls_type: LsType::AS_EXTERNAL, router, id }), Arc::from(body));
        }
        bodies
    }

    /// Originates whatever is due, and what proves it.
    pub(super) fn originate_due(&mut self, now: Time) {
        self.originate_all_due(now);
        self.sign_topology(now);
        self.originate_all_due(now);
        if self.undescribed && !self.is_alone() && !self.is_gathering(now) {
            self.undescribed = false;
            let router = self.config.router_id;
            let links: Vec<LsaRef> =
                self.own.keys().filter(|at| at.is_about_links_of(router)).copied().collect();
            for at in links {
                self.flood(at, None, now);
            }
        }
    }

    fn originate_all_due(&mut self, now: Time) {
        // What is refreshed soon anyway travels in the same packet.
        let refresh = self.own.values().any(|own| own.refresh_at.is_some_and(|at| at <= now));
        let soon = if refresh { now + REFRESH_GROUP } else { now };
        let due: Vec<LsaRef> = self
            .own
            .iter_mut()
            .filter_map(|(at, own)| {
                if own.refresh_at.is_some_and(|refresh_at| refresh_at <= soon) {
                    own.refresh_at = None;
                    own.again = true;
                    own.due = Some(now);
                }
                own.due.take_if(|due| *due <= now).map(|_| *at)
            })
            .collect();
        for at in due {
            self.originate(at, now);
        }
    }

    fn originate(&mut self, at: LsaRef, now: Time) {
        let Some(own) = self.own.get_mut(&at) else { return };
        let again = std::mem::take(&mut own.again);
        let stored = self.lsdb.get(&at);
        let Some(body) = own.wanted.clone() else {
            own.refresh_at = None;
            if stored.is_none() {
                self.own.remove(&at);
            }
            self.flush(at, now);
            return;
        };
        // FRR holds on to a flushed LSA for a minute, and a Grace-LSA older than that says nothing to it.
        let interface = at.link.and_then(|link| self.interfaces.get_mut(&link));
        let grace_seq = interface.filter(|_| at.key.ls_type == LsType::GRACE).map(|it| &mut it.grace_seq);
        let last = grace_seq.as_deref().copied().flatten();
        let seq = match stored {
            None => last.map_or(INITIAL_SEQUENCE_NUMBER, |seq| seq.saturating_add(1)),
            Some(entry) if !again && !entry.is_max_age(now) && *entry.lsa().body() == body => return,
            // RFC 2328 section 12.1.6: it must be gone everywhere before it can start anew, which happens when the
            // database lets go of it.
            Some(entry) if entry.lsa().header.seq == MAX_SEQUENCE_NUMBER => {
                self.flush(at, now);
                return;
            }
            Some(entry) => entry.lsa().header.seq + 1,
        };
        if let Some(grace_seq) = grace_seq {
            *grace_seq = Some(seq);
        }
        let jitter = Duration::from_secs(self.rng.u64(..REFRESH_JITTER_S));
        own.refresh_at = Some(now + LS_REFRESH_TIME.saturating_sub(jitter));
        self.counters.lsas_originated += 1;
        let said = Some(digest(&body));
        self.own_origin.stale |= own.said != said;
        own.said = said;
        self.install(at, Lsa::new(at.key, seq, 0, body), false, now);
        let flooded = self.flood(at, None, now);
        // What nobody was sent asks for no patience: a node that starts says its first adjacency at once.
        if flooded && let Some(own) = self.own.get_mut(&at) {
            own.pace.note(now);
        }
    }

    /// RFC 2328 section 14.1.
    pub(super) fn flush(&mut self, at: LsaRef, now: Time) {
        // What is flushed to begin anew (section 12.1.6) is still what we say.
        let is_over = self.own.get(&at).is_none_or(|own| own.wanted.is_none());
        if is_over && let Some(own) = self.own.get_mut(&at) {
            self.own_origin.stale |= own.said.take().is_some();
        }
        if self.lsdb.get(&at).is_some_and(|entry| !entry.is_max_age(now)) {
            if is_over && let Some(last) = self.farewell(&at, now) {
                self.install(at, last, false, now);
                self.flood(at, None, now);
                return;
            }
            let change = self.lsdb.set_max_age(&at, now);
            self.lsdb_changed(at, change, now);
            self.flood(at, None, now);
        }
    }

    /// RFC 2328 section 13.4: an instance of ours came back that is newer than the one we know, usually from before a
    /// restart.
    pub(super) fn handle_self_originated(&mut self, at: LsaRef, link: LinkId, now: Time) {
        self.counters.lsas_reclaimed += 1;
        self.own_lsa_came_back(&at, link, now);
        // After a clash it is not ours any longer.
        if matches!(self.stage, Stage::Redrawing { .. }) {
            self.own.remove(&at);
            return;
        }
        let restarting = self.is_restarting();
        let is_alone = self.is_alone() && at.is_about_links_of(self.config.router_id);
        match self.own.get_mut(&at) {
            // The first adjacency, which is forming, surpasses it. An instance before that one would only delay it.
            Some(own) if own.wanted.is_some() && is_alone => own.again = true,
            Some(own) if own.wanted.is_some() => own.require(now),
            // RFC 3623 section 2.2 (2): what a restarting router said before is valid until the restart is over.
            _ if restarting => {}
            _ => self.flush(at, now),
        }
    }

    /// Whether the first adjacency will change what we say about our links.
    pub(super) fn is_alone(&self) -> bool {
        self.stage == Stage::Running
            && self.interfaces.values().all(|interface| interface.full_neighbor().is_none())
    }

    /// Whether what we say about our links waits for more to say.
    pub(super) fn is_gathering(&self, now: Time) -> bool {
        let mut links = self.own.iter().filter(|(at, _)| at.key.ls_type == LsType::ROUTER);
        links.any(|(_, own)| own.due.is_some_and(|due| due <= now + GATHER))
    }

    /// The database no longer holds the LSA.
    pub(super) fn originate_again(&mut self, at: LsaRef, now: Time) {
        match self.own.get_mut(&at) {
            Some(own) if own.wanted.is_some() => own.require(now),
            Some(_) => {
                self.own.remove(&at);
            }
            None => {}
        }
    }

    /// All own LSAs are to have a new instance, whatever they say.
    pub(super) fn require_own_lsas(&mut self, now: Time) {
        for own in self.own.values_mut().filter(|own| own.wanted.is_some()) {
            own.require(now);
        }
    }

    /// Own LSAs of link scope go with the link.
    pub(super) fn forget_own(&mut self, link: LinkId) {
        self.own.retain(|at, _| at.link != Some(link));
    }

    /// Whether an LSA of ours is still to be acknowledged by somebody.
    pub(super) fn is_flushed(&self) -> bool {
        self.own.is_empty()
    }

    /// Lets all own LSAs say what is wanted without waiting for MinLSInterval, which would keep traffic coming to a
    /// router that stops. MinLSArrival still holds, or neighbours would not listen.
    pub(super) fn hurry_own_lsas(&mut self, now: Time) {
        for own in self.own.values_mut().filter(|own| own.due.is_some()) {
            own.due = Some(now.max(own.pace.soonest()));
        }
    }
}

impl Own {
    /// What is lost is said as soon as neighbours listen, and only what is won waits for MinLSInterval: a link that is down
    /// swallows the traffic of everybody who has not heard. It has to come up before it can be lost again, so that its
    /// bad news is as rare as its good news, which is paced.
    ///
    /// What is won waits until `gain_at` at least.
    fn want(&mut self, body: Option<Arc<[u8]>>, gain_at: Time, now: Time) {
        if self.wanted != body {
            let length = |body: &Option<Arc<[u8]>>| body.as_ref().map_or(0, |body| body.len());
            let loss = length(&body) < length(&self.wanted);
            self.wanted = body;
            self.schedule(if loss { self.pace.soonest() } else { self.pace.earliest().max(gain_at) }, now);
        }
    }

    /// Says `body` as soon as neighbours listen.
    pub(super) fn want_soon(&mut self, body: Arc<[u8]>, now: Time) {
        self.wanted = Some(body);
        self.schedule(self.pace.soonest(), now);
    }

    fn require(&mut self, now: Time) {
        self.again = true;
        self.schedule(self.pace.earliest(), now);
    }

    /// Nothing postpones an instance that is due earlier; it says all there is to say.
    fn schedule(&mut self, at: Time, now: Time) {
        let at = now.max(at);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}
