//! Route origin validation: who may announce what, and which LSAs a router stands for.
//!
//! The database and flooding follow the RFC: everything is stored and passed on. Only the calculation asks here what it
//! may use.
//!
//! | LS type | Link State ID | body |
//! |---|---|---|
//! | 0xBFF0 | 0 | the agent record of the originator |
//! | 0xBFF0 | 1.. | delegations of addresses to the originator, one behind the other |
//! | 0xBFF1 | 0, 1 | the signed topology: digests of its Router-LSAs (0); of its prefixes, name and delegations (1) |
//!
//! Both types have the U-bit and area scope, so that stock routers store them and pass them on (RFC 5340 section 4.5.2).
//! The functions are those IANA leaves to experiments.
//!
//! # Rules
//!
//! - A router with a verified record is *signed*. Of its LSAs only those count that its signed topology lists, with the
//!   digest it lists. While what is in the database is something else - forged, flushed by somebody else, with the last
//!   sequence number, or merely ahead of its signature - the last verified body stays in use, at most `RETENTION`
//!   longer than the database held it. A router that leaves signs empty lists.
//! - A router without a record is *unsigned*: a stock router, or an invention. Its topology is used, for a link counts
//!   only if its other end has it, too. Its prefixes are used only if the configuration says so.
//! - A /128 counts if its announcer has a right to it, see `Origins::permits`.
//! - A record or delegation with an address of another mesh, whose /48 is not ours, is as good as none.
//! - An older record or list is ignored, and reported: nothing that was signed once can be said again.
//! - A router id is drawn from the key. Of two keys that drew the same one the key with the lower hash keeps it.
//!
//! # Clocks
//!
//! Counters and sequence numbers start at the wall clock, so that they rise over a restart; one that is lower than what
//! the network remembers is stepped over when it comes back (RFC 2328 section 13.4). Expiry is the only thing that
//! compares two clocks: [`CLOCK_TOLERANCE`] is granted. Whoever is farther behind or ahead sees or causes
//! [`Cause::RecordExpired`], and loses routes to prefixes, not adjacencies and not the topology.
//!
//! | file | what |
//! |---|---|
//! | `origin/bodies` | the verified bodies of one router |
//! | `origin/update` | what is verified when the database changes |
//! | `origin/rights` | what the configuration and delegations grant |
//! | `origin/usable` | the database as the calculation sees it |
//! | `origin/own` | our own record, delegations and signatures |
//! | `origin/clash` | two routers with one router id |
//! | `origin/shares` | how much of the database one originator may fill, and how fast |
//! | `origin/suspicion` | what looks like an attack, and when to say so |
//! | `origin/explain` | why a route is as it is |

mod bodies;
mod clash;
mod explain;
mod own;
mod rights;
mod shares;
mod suspicion;
mod update;
mod usable;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::record::{MAX_COVERED, SignedTopology, digest};
use molt_mesh::sign::Verifier;
use molt_mesh::{AgentRecord, Identity, LinkId, MeshAddr, MeshPrefix, Prefix, RouterId, Time};

use super::Ospf;
use super::consts::{MAX_AGE, MAX_SEQUENCE_NUMBER};
use super::events::{Cause, Event, Events, Subject};
use super::lsa::{Body, LsType, LsaHeader, LsaKey};
use super::lsdb::{LsaRef, Lsdb};
use super::view::{RouteReject, SpfTrigger};

use bodies::Bodies;
pub(super) use clash::Clash;
pub use explain::{Claim, Explanation, Verdict};
pub(super) use own::OwnOrigin;
use rights::Grants;
pub use rights::{Announcer, Right};
pub(super) use shares::{Shares, has_room_once_proven};
use suspicion::Suspicion;
pub(super) use usable::Usable;

/// How long a verified body, and the record it hangs on, outlives its LSA: as long as an LSA may live without a refresh.
const RETENTION: Duration = Duration::from_secs(MAX_AGE as u64);
/// How far the clocks of two members may differ before a record counts as expired.
pub const CLOCK_TOLERANCE: Duration = Duration::from_hours(24);
/// For so long after a new record, which a restarted node has, what is older may still come from where the node's former
/// life was not forgotten. It is ignored, and not reported.
const REBORN: Duration = Duration::from_secs(60);
/// An LSA that is younger by so much than MaxAge does not reach it by itself anywhere (RFC 2328 MaxAgeDiff).
const YOUNG: u16 = MAX_AGE - super::consts::MAX_AGE_DIFF;

/// The parts of a signed topology, which are Link State IDs. Links and prefixes change at a pace of their own, and a change
/// of prefixes must not hold up the signature of a failure for MinLSArrival.
pub(super) const PARTS: [u32; 2] = [LINKS, PREFIXES];
const LINKS: u32 = 0;
const PREFIXES: u32 = 1;

/// What makes a router a member of the mesh.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its keys. The Router ID is the `draw`-th one drawn from them.
    pub identity: Identity,
    /// How often a router id was drawn.
    pub draw: u32,
    /// Milliseconds since 1970 at [`Time::ZERO`].
    pub unix_ms: u64,
    /// Checks signatures.
    pub verifier: Arc<dyn Verifier>,
    /// What the operator vouches for.
    pub rights: Vec<Right>,
}

impl Member {
    fn unix_ms(&self, now: Time) -> u64 {
        let since = u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX);
        self.unix_ms.saturating_add(since)
    }

    /// Whether something with this expiry has ended.
    fn has_expired(&self, expiry: u64, now: Time) -> bool {
        self.expires_at(expiry) <= now
    }

    /// When something with this expiry ends.
    fn expires_at(&self, expiry: u64) -> Time {
        let end = expiry.saturating_add(CLOCK_TOLERANCE.as_secs()).saturating_mul(1000);
        Time::from_millis(end.saturating_sub(self.unix_ms))
    }
}

/// The part of the signed topology that lists an LSA of this type.
const fn part_of(key: &LsaKey) -> Option<u32> {
    match key.ls_type {
        LsType::ROUTER => Some(LINKS),
        LsType::AS_EXTERNAL | LsType::INTRA_AREA_PREFIX | LsType::ROUTER_INFORMATION => Some(PREFIXES),
        LsType::AGENT_RECORD if key.id > 0 => Some(PREFIXES),
        _ => None,
    }
}

/// How many more prefixes outside of the mesh a router can say that says all these: what its list of prefixes has room for.
pub(super) fn room_in_list<'a>(said: impl Iterator<Item = &'a LsaKey>) -> usize {
    MAX_COVERED.saturating_sub(said.filter(|key| part_of(key) == Some(PREFIXES)).count())
}

/// Whether it says what links its router has, or proves that.
pub(super) const fn is_about_links(key: &LsaKey) -> bool {
    matches!((key.ls_type, key.id), (LsType::ROUTER, _) | (LsType::TOPOLOGY_SIGNATURE, LINKS))
}

/// What is known of the change of an LSA, if it changed.
fn find(touched: &[(LsaKey, Touched)], key: LsaKey) -> Option<Touched> {
    touched.iter().find(|(changed, _)| *changed == key).map(|(_, touched)| *touched)
}

pub(super) const fn record_key(router: RouterId) -> LsaKey {
    LsaKey { ls_type: LsType::AGENT_RECORD, router, id: 0 }
}

const fn signature_key(router: RouterId, part: u32) -> LsaKey {
    LsaKey { ls_type: LsType::TOPOLOGY_SIGNATURE, router, id: part }
}

/// A router with a verified record.
#[derive(Debug)]
struct SignedRouter {
    record: AgentRecord,
    /// Since when it is known.
    since: Time,
    /// The self-certifying address of its key.
    address: MeshAddr,
    /// Since when the database does not hold the record.
    missing: Option<Time>,
    parts: [Option<Part>; PARTS.len()],
    bodies: Bodies,
    /// Its key in `Origins::deadlines`.
    deadline: Option<Time>,
    /// Whether it was said that the record has expired.
    expired: bool,
}

/// A verified list.
#[derive(Debug)]
struct Part {
    signed: SignedTopology,
    /// The same as in the database, while it holds them.
    bytes: Arc<[u8]>,
    since: Time,
}

/// A body that was in the database with the digest its router signed.
#[derive(Debug)]
struct Verified {
    digest: [u8; molt_mesh::record::DIGEST_LEN],
    /// The same bytes as in the database, while it holds them.
    body: Arc<[u8]>,
    /// Since when the database holds something else, or nothing.
    missing: Option<Time>,
}

impl Verified {
    fn read(&self, ls_type: LsType) -> Body {
        Body::decode(ls_type, &self.body).unwrap_or(Body::Opaque)
    }
}

/// What is known of a change of the database.
#[derive(Debug, Clone, Copy, Default)]
struct Touched {
    /// The link it came by; `None` if nothing came.
    link: Option<LinkId>,
    /// What came is at MaxAge, and what was there was far from it.
    flushed: bool,
}

/// Everything that was verified.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) mesh: MeshPrefix,
    pub(super) member: Option<Member>,
    /// Pointers, because the places of a tree are never all taken.
    routers: BTreeMap<RouterId, Box<SignedRouter>>,
    grants: Grants,
    /// LSAs that changed since the last [`Self::reconcile`], in the order in which they did.
    touched: Vec<(LsaKey, Touched)>,
    /// Routers to be looked at whatever changed.
    due: BTreeSet<RouterId>,
    deadlines: BTreeSet<(Time, RouterId)>,
    suspicions: Vec<Suspicion>,
    /// The first of their times.
    suspicions_due: Option<Time>,
    /// Announcements that are refused, and when to say so; a proof may be on its way.
    refused: BTreeMap<(RouterId, Prefix, RouteReject), Option<Time>>,
    /// The first of those times.
    refused_due: Option<Time>,
    /// Routers the operator vouches for: those named in the configuration, and those behind stock links.
    stock: BTreeSet<RouterId>,
    pub(super) events: Events,
}

impl Origins {
    pub(super) fn new(mesh: MeshPrefix, member: Option<Member>) -> Self {
        let mut origins = Self { mesh, member, ..Self::default() };
        origins.set_stock(BTreeSet::new());
        origins
    }

    /// Whether the LSAs of a router count only if it signed them.
    pub(super) fn is_signed(&self, router: RouterId) -> bool {
        self.routers.contains_key(&router)
    }

    /// The verified record of a router.
    pub(super) fn record(&self, router: RouterId) -> Option<&AgentRecord> {
        self.routers.get(&router).map(|signed| &signed.record)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = (RouterId, &AgentRecord)> {
        self.routers.iter().map(|(router, signed)| (*router, &signed.record))
    }

    /// Whether a signed router lists the LSA, or it is one that proves something. Such an LSA has room whatever
    /// was invented in the router's name.
    pub(super) fn lists(&self, key: &LsaKey) -> bool {
        let Some(signed) = self.routers.get(&key.router) else { return false };
        let is_proof = *key == record_key(key.router)
            || key.ls_type == LsType::TOPOLOGY_SIGNATURE && PARTS.contains(&key.id);
        is_proof || signed.listed(key).is_some()
    }

    /// The database changed.
    pub(super) fn touch(&mut self, at: &LsaRef) {
        if self.member.is_some() && at.link.is_none() {
            self.touched.push((at.key, Touched::default()));
        }
    }

    /// It is about to change because of what a neighbour sent.
    pub(super) fn receive(&mut self, link: LinkId, received: &LsaHeader, stored_age: Option<u16>, now: Time) {
        if self.member.is_none() {
            return;
        }
        let key = received.key;
        let flushed = received.age() == MAX_AGE && stored_age.is_some_and(|age| age < YOUNG);
        self.touched.push((key, Touched { link: Some(link), flushed }));
        if received.seq == MAX_SEQUENCE_NUMBER {
            self.tell(
                Cause::SequenceAtMaximum,
                key,
                Some(link),
                "an instance after which there is none",
                now,
            );
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let routers = self.deadlines.first().map(|(at, _)| *at);
        [routers, self.suspicions_due, self.refused_due].into_iter().flatten().min()
    }

    /// Brings what was verified up to date with the database. Gives the LSAs for which the calculation has something else
    /// to use than before.
    ///
    /// `reaches` says whether the last calculation found a way to a router.
    pub(super) fn reconcile(
        &mut self,
        lsdb: &Lsdb,
        own: RouterId,
        reaches: impl Fn(RouterId) -> bool,
        now: Time,
    ) -> Vec<LsaKey> {
        let mut changed = Vec::new();
        while let Some((_, router)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_first();
            if let Some(signed) = self.routers.get_mut(&router) {
                signed.deadline = None;
            }
            self.due.insert(router);
        }
        let mut touched = std::mem::take(&mut self.touched);
        // What came is noted before what it did to the database, and says more.
        touched.sort_by_key(|(key, _)| (key.router, *key));
        touched.dedup_by_key(|(key, _)| *key);
        for of_router in touched.chunk_by(|(a, _), (b, _)| a.router == b.router) {
            let Some((LsaKey { router, .. }, _)) = of_router.first() else { continue };
            let is_due = self.due.remove(router);
            // What is ours is decided by us, not by what is stored of it.
            if *router != own {
                self.reconcile_router(*router, of_router, is_due, lsdb, now, &mut changed);
            }
        }
        for router in std::mem::take(&mut self.due) {
            self.reconcile_router(router, &[], true, lsdb, now, &mut changed);
        }
        self.tell_suspicions(reaches, now);
        self.tell_refused(now);
        changed
    }

    fn reconcile_router(
        &mut self,
        router: RouterId,
        touched: &[(LsaKey, Touched)],
        is_due: bool,
        lsdb: &Lsdb,
        now: Time,
        changed: &mut Vec<LsaKey>,
    ) {
        let before = self.is_signed(router);
        let fresh =
            find(touched, record_key(router)).is_some() && self.update_record(router, touched, lsdb, now);
        let mut whole = fresh || is_due;
        for part in PARTS {
            if fresh || find(touched, signature_key(router, part)).is_some() {
                whole |= self.update_part(router, part, touched, lsdb, now);
            }
        }
        if !self.is_signed(router) {
            self.tell_malformed(touched, lsdb, now);
            return;
        }
        self.suspect(router, touched, lsdb, now);
        // A refresh touches what is as it was.
        if whole || self.is_off(router, touched, lsdb, now) {
            self.update_bodies(router, lsdb, now, changed);
            self.end_in_time(router, now, changed);
        }
        self.tell_malformed(touched, lsdb, now);
        if before != self.is_signed(router) {
            // Other LSAs count than before: all of them instead of the signed ones, or the other way round.
            changed.push(LsaKey { ls_type: LsType::ROUTER, router, id: 0 });
            changed.push(LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router, id: 0 });
            changed.extend(lsdb.of_router(LsType::NETWORK, router).map(|(key, _)| *key));
        }
    }

    /// Whether something of a signed router is not as it was verified.
    fn is_off(&self, router: RouterId, touched: &[(LsaKey, Touched)], lsdb: &Lsdb, now: Time) -> bool {
        let Some(signed) = self.routers.get(&router) else { return false };
        let is_off = |key: &LsaKey| {
            let stored = lsdb.get(&LsaRef::area(*key)).filter(|entry| !entry.is_max_age(now));
            match (part_of(key), signed.bodies.get(&(key.ls_type, key.id)), stored) {
                (None, ..) => *key == record_key(router),
                (Some(_), Some(known), Some(entry)) => {
                    known.missing.is_some() || digest(entry.lsa().body()) != known.digest
                }
                (Some(_), Some(_), None) => true,
                (Some(_), None, _) => signed.listed(key).is_some(),
            }
        };
        touched.iter().any(|(key, _)| is_off(key))
    }

    /// Lets go of what the database has not held for [`RETENTION`], and notes when to look again.
    fn end_in_time(&mut self, router: RouterId, now: Time, changed: &mut Vec<LsaKey>) {
        let (Some(member), Some(signed)) = (&self.member, self.routers.get_mut(&router)) else { return };
        if signed.missing.is_some_and(|since| since + RETENTION <= now) {
            self.forget(router);
            return;
        }
        let mut gone = Vec::new();
        signed.bodies.retain(|(ls_type, id), verified| {
            let ends = verified.missing.is_some_and(|since| since + RETENTION <= now);
            if ends {
                gone.push(LsaKey { ls_type: *ls_type, router, id: *id });
            }
            !ends
        });
        let expires_at = member.expires_at(signed.record.agent().expiry);
        let expired = expires_at <= now;
        let ends = signed.bodies.values().filter_map(|verified| verified.missing).chain(signed.missing);
        let ends = ends.map(|since| since + RETENTION);
        let grants = self.grants.expiries(router).map(|expiry| member.expires_at(expiry));
        let deadline = ends.chain([expires_at]).chain(grants).filter(|at| *at > now).min();
        let tell = expired && !signed.expired;
        if expired != signed.expired {
            changed.push(LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router, id: 0 });
        }
        signed.expired = expired;
        if let Some(old) = std::mem::replace(&mut signed.deadline, deadline) {
            self.deadlines.remove(&(old, router));
        }
        self.deadlines.extend(deadline.map(|at| (at, router)));
        for key in gone {
            if key.ls_type == LsType::AGENT_RECORD {
                self.grants.remove(router, key.id);
            }
            changed.push(key);
        }
        if tell {
            let why = "it ended more than a day ago; if that is so of all, our own clock is wrong";
            self.tell(Cause::RecordExpired, record_key(router), None, why, now);
        }
    }

    /// The clock was set.
    fn reconsider_expiry(&mut self) {
        self.due.extend(self.routers.keys());
    }

    fn forget(&mut self, router: RouterId) {
        if let Some(signed) = self.routers.remove(&router) {
            if let Some(at) = signed.deadline {
                self.deadlines.remove(&(at, router));
            }
            self.grants.remove_all(router);
        }
    }
}

impl SignedRouter {
    /// The digest that is signed for an LSA.
    fn listed(&self, key: &LsaKey) -> Option<&[u8; molt_mesh::record::DIGEST_LEN]> {
        let part = self.parts.get(part_of(key)? as usize)?.as_ref()?;
        part.signed.digest_of(key.ls_type.0, key.id)
    }
}

impl Ospf {
    /// What became of the database since the last call, for the calculation.
    pub(super) fn reconcile_origins(&mut self, now: Time) {
        let reaches = |router| self.spf.reaches(router);
        for key in self.origins.reconcile(&self.lsdb, self.config.router_id, reaches, now) {
            self.note_vouched(key.router, now);
            match key.ls_type {
                LsType::ROUTER | LsType::NETWORK => self.schedule_spf(SpfTrigger::Lsa(key), now),
                LsType::ROUTER_INFORMATION => {}
                ls_type => {
                    // A delegation of this router may end that of another.
                    let router = (ls_type != LsType::AGENT_RECORD).then_some(key.router);
                    self.spf.rights_changed(router);
                    self.leaves_changed(SpfTrigger::Lsa(key), now);
                }
            }
        }
    }

    /// The last security events, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<&Event> {
        self.origins.events.list()
    }

    /// How many events were told so far, those included that [`Self::events`] has pushed out.
    #[must_use]
    pub const fn events_told(&self) -> u64 {
        self.origins.events.told()
    }

    /// How many events there were of each cause, also those that were not kept.
    #[must_use]
    pub const fn event_counts(&self) -> &BTreeMap<Cause, u64> {
        self.origins.events.total()
    }

    /// The verified records by router.
    pub fn records(&self) -> impl Iterator<Item = (RouterId, &AgentRecord)> {
        self.origins.records()
    }
}
