//! The link-state database (RFC 2328 section 12.2): storing, aging and bounding.
//!
//! One database holds all three flooding scopes of RFC 5340 section 4.5.3; an LSA of link scope carries its link in its
//! [`LsaRef`]. An age is never counted up: it is the age on arrival plus the time since then.
//!
//! A body is kept as the bytes it came in, and read when somebody wants to know what it says: that is once for nearly all of
//! them, and what is read takes more room than the bytes.

use std::cmp::Ordering;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use molt_mesh::{LinkId, RouterId, Time};

use super::consts::{CHECK_AGE, DO_NOT_AGE, LSA_HEADER_LEN, MAX_AGE};
use super::lsa::{Body, LsType, Lsa, LsaHeader, LsaKey, Scope};
use super::mix::Mix;
use super::origin;

/// 10,000 mesh nodes with six each - links, prefixes, a name, an agent record, two signed lists - and a third to spare. Such
/// an area takes 37 MB, with the graph, the routes and all else; one of 10,000 stock routers with two LSAs each takes 14 MB.
pub(super) const MAX_LSAS: usize = 80_000;
/// A mesh node has about six. A stock router with many networks behind it stays below this; one neighbour that invents
/// LSAs cannot push out the others.
pub(super) const MAX_LSAS_PER_ROUTER: usize = 1_000;
/// An average of 800 bytes for each of [`MAX_LSAS`]. A mesh node of eight links has 720 in all its six; but records may be five
/// times as long, and stock routers' LSAs longer than that.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// Bytes of one router: what [`MAX_LSAS_PER_ROUTER`] of full size take.
const MAX_BYTES_PER_ROUTER: usize = 1_220_000;
/// All routers together that nobody answers for, neither a key nor the operator. Such ids cost nothing, so they must not
/// push out others; and a database that is just being learned needs room for what is proven a moment later.
const MAX_UNVOUCHED: Share = Share { lsas: 16_000, bytes: 8 << 20 };
/// What of it is not for proofs, or somebody who floods could keep those out that would make room.
const MAX_UNPROVEN: Share = MAX_UNVOUCHED.part(2);
/// What of it is asked for before the proofs are here: four neighbours with different parts of the database may flood what they
/// asked for to one.
const UNPROVEN: Share = MAX_UNVOUCHED.part(8);

/// Where an LSA is: its key and, for link scope, the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LsaRef {
    /// The link of an LSA of link scope; `None` for the area and the autonomous system.
    pub(super) link: Option<LinkId>,
    /// Its key.
    pub(super) key: LsaKey,
}

impl LsaRef {
    /// The place of an LSA that is received on or originated for `link`. `None` for the reserved scope.
    pub(super) const fn new(link: LinkId, key: LsaKey) -> Option<Self> {
        match key.ls_type.scope() {
            Scope::Link => Some(Self { link: Some(link), key }),
            Scope::Area | Scope::As => Some(Self { link: None, key }),
            Scope::Reserved => None,
        }
    }

    pub(super) const fn area(key: LsaKey) -> Self {
        Self { link: None, key }
    }

    /// Whether the LSA is flooded over `link`.
    pub(super) fn is_on(&self, link: LinkId) -> bool {
        self.link.is_none_or(|own| own == link)
    }

    /// Whether it is a Router-LSA of `router`, or the list that signs those.
    pub(super) fn is_about_links_of(&self, router: RouterId) -> bool {
        self.key.router == router && origin::is_about_links(&self.key)
    }

    /// The whole of it in one number.
    pub(super) fn rank(&self) -> u128 {
        let link = self.link.map_or(0, LinkId::get);
        let LsaKey { ls_type, router, id } = self.key;
        u128::from(link) << 80 | u128::from(ls_type.0) << 64 | u128::from(router.0) << 32 | u128::from(id)
    }
}

/// As the fields in turn, LSAs of no link first. Flooding looks up little else than this, in a list for each neighbour, and
/// one comparison of two numbers takes half as long as four of the fields.
impl Ord for LsaRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for LsaRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for LsaRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.rank());
    }
}

/// A stored LSA.
#[derive(Debug)]
pub(super) struct Entry {
    lsa: Lsa,
    /// Age in seconds at `installed`, with the DoNotAge bit.
    age: u16,
    pub(super) installed: Time,
    /// It came from a neighbour, and not because it was requested: MinLSArrival protects it.
    pub(super) flooded: bool,
    /// When it was last sent in answer to an older instance (RFC 2328 section 13, step 8).
    pub(super) sent_back: Option<Time>,
    /// Key of this entry in `Lsdb::deadlines`.
    deadline: Time,
}

impl Entry {
    pub(super) fn age(&self, now: Time) -> u16 {
        if self.does_not_age() {
            return self.age & !DO_NOT_AGE;
        }
        let age = u64::from(self.age) + now.since(self.installed).as_secs();
        u16::try_from(age).unwrap_or(MAX_AGE).min(MAX_AGE)
    }

    /// RFC 1793 section 2.2. Never so at MaxAge, which means the same with and without the bit.
    const fn does_not_age(&self) -> bool {
        self.age & DO_NOT_AGE != 0
    }

    /// The age field of a copy that takes `delay` seconds to its receiver. RFC 1793 section 2.2: an LSA that does not age
    /// still grows older with each hop, so that one that circles comes to an end.
    pub(super) fn age_after(&self, delay: u16, now: Time) -> u16 {
        let age = self.age(now).saturating_add(delay).min(MAX_AGE);
        if self.does_not_age() && age < MAX_AGE { age | DO_NOT_AGE } else { age }
    }

    pub(super) fn is_max_age(&self, now: Time) -> bool {
        self.age(now) == MAX_AGE
    }

    /// The header with the age of `now`.
    pub(super) fn header(&self, now: Time) -> LsaHeader {
        LsaHeader { raw_age: self.age_after(0, now), ..self.lsa.header }
    }

    pub(super) const fn lsa(&self) -> &Lsa {
        &self.lsa
    }

    /// What it says. A body we cannot read is still kept and flooded: to drop it would wedge the adjacency with a neighbour
    /// that stored it, and leave the decision to who happens to sit where.
    pub(super) fn read(&self) -> Body {
        Body::decode(self.lsa.header.key.ls_type, self.lsa.body()).unwrap_or(Body::Opaque)
    }

    /// The next moment to look at it: MaxAge, or the next multiple of CheckAge.
    fn next_deadline(&self, now: Time) -> Time {
        let born = Duration::from_secs((self.age & !DO_NOT_AGE).into());
        let max_age = self.installed + Duration::from_secs(MAX_AGE.into()).saturating_sub(born);
        let lived = now.since(self.installed) + born;
        let checks = u32::try_from(lived.as_secs() / CHECK_AGE.as_secs()).unwrap_or(u32::MAX);
        let check = self.installed + (CHECK_AGE * checks.saturating_add(1)).saturating_sub(born);
        if self.does_not_age() { check } else { check.min(max_age) }
    }
}

/// What installing an LSA changed (RFC 2328 section 13.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing the calculation depends on.
    None,
    /// Prefixes; the graph is the same.
    Leaves,
    /// The graph.
    Graph,
}

/// What the age of an LSA asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Aged {
    /// It reached MaxAge: flood it, so that it goes away everywhere (RFC 2328 section 14).
    MaxAge(LsaRef, Change),
    /// Its checksum does not fit any longer (RFC 2328 section 14, CheckAge).
    Corrupt(LsaRef),
    /// It does not age: see whether its originator is still there (RFC 1793 section 2.3).
    Unaged(LsaRef),
}

/// How much of the database something fills.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    lsas: usize,
    bytes: usize,
}

impl Share {
    const fn part(self, parts: usize) -> Self {
        Self { lsas: self.lsas / parts, bytes: self.bytes / parts }
    }

    const fn add(&mut self, bytes: usize) {
        self.lsas += 1;
        self.bytes += bytes;
    }

    const fn remove(&mut self, bytes: usize) {
        self.lsas -= 1;
        self.bytes -= bytes;
    }

    /// Whether it has room for an LSA in the place of one, or of none.
    fn has_room(self, replaced: Option<usize>, length: u16, max: Self) -> bool {
        let bytes = self.bytes - replaced.unwrap_or(0) + usize::from(length);
        bytes <= max.bytes && (replaced.is_some() || self.lsas < max.lsas)
    }
}

/// All entries. Flooding looks an LSA up for each copy that comes or goes, and in a large database each level of a tree is
/// a wait for memory; so a tree only keeps the order. The table has up to twice as many places as there are entries, so it
/// holds pointers.
#[derive(Debug, Default)]
struct Entries {
    /// Only looked up, never iterated.
    map: HashMap<LsaRef, Box<Entry>, Mix>,
    order: BTreeSet<LsaRef>,
}

impl Entries {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn get(&self, at: &LsaRef) -> Option<&Entry> {
        self.map.get(at).map(|entry| &**entry)
    }

    fn get_mut(&mut self, at: &LsaRef) -> Option<&mut Entry> {
        self.map.get_mut(at).map(|entry| &mut **entry)
    }

    fn insert(&mut self, at: LsaRef, entry: Entry) -> Option<Entry> {
        match self.map.entry(at) {
            Occupied(mut place) => Some(std::mem::replace(&mut **place.get_mut(), entry)),
            Vacant(place) => {
                place.insert(Box::new(entry));
                self.order.insert(at);
                None
            }
        }
    }

    fn remove(&mut self, at: &LsaRef) -> Option<Entry> {
        let entry = self.map.remove(at)?;
        self.order.remove(at);
        Some(*entry)
    }

    fn iter(&self) -> impl Iterator<Item = (&LsaRef, &Entry)> {
        self.order.iter().filter_map(|at| Some((at, self.get(at)?)))
    }

    fn range(&self, first: LsaRef, last: LsaRef) -> impl Iterator<Item = (&LsaRef, &Entry)> {
        self.order.range(first..=last).filter_map(|at| Some((at, self.get(at)?)))
    }
}

/// The database.
#[derive(Debug, Default)]
pub(super) struct Lsdb {
    entries: Entries,
    deadlines: BTreeSet<(Time, LsaRef)>,
    /// LSAs that wait to be removed: all neighbours must have acknowledged them first.
    max_aged: BTreeSet<LsaRef>,
    /// LSAs that do not age. Stock routers only set the bit if all of the area can read it.
    unaged: BTreeSet<LsaRef>,
    per_router: BTreeMap<RouterId, Share>,
    /// Routers that somebody answers for; `None` if that does not matter here.
    vouched: Option<BTreeSet<RouterId>>,
    /// What the others fill.
    unvouched: Share,
    bytes: usize,
}

impl Lsdb {
    pub(super) fn get(&self, lsa: &LsaRef) -> Option<&Entry> {
        self.entries.get(lsa)
    }

    pub(super) fn get_mut(&mut self, lsa: &LsaRef) -> Option<&mut Entry> {
        self.entries.get_mut(lsa)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LsaRef, &Entry)> {
        self.entries.iter()
    }

    /// All LSAs of one type that are not bound to a link, in ascending order.
    pub(super) fn of_type(&self, ls_type: LsType) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.range(ls_type, RouterId(0), RouterId(u32::MAX))
    }

    /// Those of one router.
    pub(super) fn of_router(
        &self,
        ls_type: LsType,
        router: RouterId,
    ) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        self.range(ls_type, router, router)
    }

    fn range(
        &self,
        ls_type: LsType,
        from: RouterId,
        to: RouterId,
    ) -> impl Iterator<Item = (&LsaKey, &Entry)> {
        let first = LsaRef::area(LsaKey { ls_type, router: from, id: 0 });
        let last = LsaRef::area(LsaKey { ls_type, router: to, id: u32::MAX });
        self.entries.range(first, last).map(|(at, entry)| (&at.key, entry))
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for a received LSA.
    pub(super) fn has_room(&self, lsa: &LsaRef, length: u16) -> bool {
        let max = if LsaKey::PROOFS.contains(&lsa.key) { MAX_UNVOUCHED } else { MAX_UNPROVEN };
        self.has_room_once_proven(lsa, length)
            && (self.is_vouched(lsa.key.router) || self.unvouched.has_room(self.replaced(lsa), length, max))
    }

    /// Whether there will be when somebody answers for its router.
    pub(super) fn has_room_once_proven(&self, lsa: &LsaRef, length: u16) -> bool {
        let replaced = self.replaced(lsa);
        let of_router = self.per_router.get(&lsa.key.router).copied().unwrap_or_default();
        let max = Share { lsas: MAX_LSAS_PER_ROUTER, bytes: MAX_BYTES_PER_ROUTER };
        self.has_room_for(replaced, length) && of_router.has_room(replaced, length, max)
    }

    /// Whether an LSA should not be asked for before somebody answers for its router: so much is here already that nobody
    /// answers for.
    pub(super) fn waits_for_proof(&self, router: RouterId) -> bool {
        let is_full = self.unvouched.lsas >= UNPROVEN.lsas || self.unvouched.bytes >= UNPROVEN.bytes;
        is_full && !self.is_vouched(router)
    }

    /// The same for an LSA that its router stands for, whatever else comes in that router's name.
    pub(super) fn has_room_in_all(&self, lsa: &LsaRef, length: u16) -> bool {
        self.has_room_for(self.replaced(lsa), length)
    }

    /// The length of the instance that is there.
    fn replaced(&self, lsa: &LsaRef) -> Option<usize> {
        self.entries.get(lsa).map(|entry| usize::from(entry.lsa.header.length))
    }

    fn has_room_for(&self, replaced: Option<usize>, length: u16) -> bool {
        let bytes = self.bytes - replaced.unwrap_or(0) + usize::from(length);
        bytes <= MAX_BYTES && (replaced.is_some() || self.entries.len() < MAX_LSAS)
    }

    /// From now on routers without [`Self::set_vouched`] share a small part of the database.
    pub(super) fn limit_unvouched(&mut self) {
        self.vouched.get_or_insert_default();
    }

    /// Says whether somebody answers for the LSAs of a router. If nobody did before, returns how many are here.
    pub(super) fn set_vouched(&mut self, router: RouterId, yes: bool) -> Option<usize> {
        let vouched = self.vouched.as_mut()?;
        let share = self.per_router.get(&router).copied().unwrap_or_default();
        if yes && vouched.insert(router) {
            self.unvouched.lsas -= share.lsas;
            self.unvouched.bytes -= share.bytes;
            return Some(share.lsas);
        }
        if !yes && vouched.remove(&router) {
            self.unvouched.lsas += share.lsas;
            self.unvouched.bytes += share.bytes;
        }
        None
    }

    pub(super) fn is_vouched(&self, router: RouterId) -> bool {
        self.vouched.as_ref().is_none_or(|vouched| vouched.contains(&router))
    }

    /// RFC 2328 section 13.2. The instance replaces any other.
    pub(super) fn install(&mut self, at: LsaRef, mut lsa: Lsa, flooded: bool, now: Time) -> Change {
        let age = match lsa.header.age() {
            MAX_AGE => MAX_AGE,
            age => age | lsa.header.raw_age & DO_NOT_AGE,
        };
        let old = self.entries.get(&at);
        let was_max_age = old.is_none_or(|old| old.is_max_age(now));
        // Whoever keeps a body beside the database keeps the one that is in it, also after a refresh.
        let kept = old.map(|old| old.lsa.body()).filter(|body| *body == lsa.body());
        let same = kept.is_some();
        if let Some(body) = kept {
            lsa.share_body(body);
        }
        let unusable = was_max_age && age == MAX_AGE;
        let change = if unusable || same && was_max_age == (age == MAX_AGE) {
            Change::None
        } else {
            change_of(at.key.ls_type)
        };
        let mut entry = Entry { lsa, age, installed: now, flooded, sent_back: None, deadline: now };
        if age < MAX_AGE {
            entry.deadline = entry.next_deadline(now);
        }
        let (deadline, length) = (entry.deadline, usize::from(entry.lsa.header.length));
        let unaged = entry.does_not_age();
        if let Some(old) = self.entries.insert(at, entry) {
            self.discount(&at, &old);
        }
        if age == MAX_AGE {
            self.max_aged.insert(at);
        } else {
            self.deadlines.insert((deadline, at));
        }
        if unaged {
            self.unaged.insert(at);
        }
        self.bytes += length;
        self.per_router.entry(at.key.router).or_default().add(length);
        if !self.is_vouched(at.key.router) {
            self.unvouched.add(length);
        }
        change
    }

    /// Premature aging (RFC 2328 section 14.1).
    pub(super) fn set_max_age(&mut self, at: &LsaRef, now: Time) -> Change {
        let Some(entry) = self.entries.get_mut(at) else { return Change::None };
        self.deadlines.remove(&(entry.deadline, *at));
        entry.age = MAX_AGE;
        entry.installed = now;
        self.max_aged.insert(*at);
        self.unaged.remove(at);
        change_of(at.key.ls_type)
    }

    pub(super) fn remove(&mut self, at: &LsaRef) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.discount(at, &entry);
        Some(entry)
    }

    /// An entry is not in the database any longer.
    fn discount(&mut self, at: &LsaRef, entry: &Entry) {
        self.deadlines.remove(&(entry.deadline, *at));
        self.max_aged.remove(at);
        self.unaged.remove(at);
        let length = usize::from(entry.lsa.header.length);
        self.bytes -= length;
        if !self.is_vouched(at.key.router) {
            self.unvouched.remove(length);
        }
        if let Some(share) = self.per_router.get_mut(&at.key.router) {
            share.remove(length);
            if share.lsas == 0 {
                self.per_router.remove(&at.key.router);
            }
        }
    }

    /// LSAs at MaxAge.
    pub(super) fn max_aged(&self) -> impl Iterator<Item = &LsaRef> {
        self.max_aged.iter()
    }

    pub(super) fn has_max_aged(&self) -> bool {
        !self.max_aged.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next LSA whose age asks for something at `now`.
    pub(super) fn poll_aged(&mut self, now: Time) -> Option<Aged> {
        loop {
            let due = self.deadlines.first().copied().filter(|(at, _)| *at <= now)?;
            self.deadlines.remove(&due);
            let Some(entry) = self.entries.get_mut(&due.1) else { continue };
            if entry.is_max_age(now) {
                self.max_aged.insert(due.1);
                return Some(Aged::MaxAge(due.1, change_of(due.1.key.ls_type)));
            }
            entry.deadline = entry.next_deadline(now);
            self.deadlines.insert((entry.deadline, due.1));
            if !entry.lsa.checksum_is_valid() {
                return Some(Aged::Corrupt(due.1));
            }
            if entry.does_not_age() {
                return Some(Aged::Unaged(due.1));
            }
        }
    }

    /// Whose LSAs there are that do not age.
    pub(super) fn routers_that_do_not_age(&self) -> BTreeSet<RouterId> {
        self.unaged.iter().map(|at| at.key.router).collect()
    }

    /// The sum of the checksums of all LSAs flooded beyond their link, by which operators compare two databases.
    pub(super) fn checksum_sum(&self) -> u32 {
        let area = self.entries.iter().filter(|(at, _)| at.link.is_none());
        area.fold(0, |sum, (_, entry)| sum.wrapping_add(entry.lsa.header.checksum.into()))
    }

    /// The bytes an LSA takes in a packet.
    pub(super) fn length(&self, at: &LsaRef) -> usize {
        self.entries.get(at).map_or(LSA_HEADER_LEN, |entry| entry.lsa.header.length.into())
    }
}

/// RFC 5340 section 4.5.3 recalculates everything on a prefix or Link-LSA. The graph depends on neither: next hops come
/// from Hellos.
const fn change_of(ls_type: LsType) -> Change {
    match ls_type {
        LsType::ROUTER | LsType::NETWORK => Change::Graph,
        LsType::AS_EXTERNAL
        | LsType::INTER_AREA_PREFIX
        | LsType::INTER_AREA_ROUTER
        | LsType::INTRA_AREA_PREFIX => Change::Leaves,
        _ => Change::None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn opaque(router: u32, id: u32) -> LsaRef {
        LsaRef::area(LsaKey { ls_type: LsType(0xbff0), router: RouterId(router), id })
    }

    fn lsa(at: LsaRef, age: u16) -> Lsa {
        Lsa::new(at.key, 1, age, Arc::from(vec![0; 4]))
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn section_14_the_checksum_is_verified_at_every_multiple_of_check_age() {
        let mut lsdb = Lsdb::default();
        let place = opaque(1, 1);
        lsdb.install(place, lsa(place, 250), true, at(1000));
        for check in [1050, 1350, 1650] {
            assert_eq!(lsdb.deadline(), Some(at(check)));
            assert_eq!(lsdb.poll_aged(at(check)), None);
        }
        lsdb.get_mut(&place).unwrap().lsa.header.checksum ^= 1;
        assert_eq!(lsdb.poll_aged(at(1949)), None);
        assert_eq!(lsdb.poll_aged(at(1950)), Some(Aged::Corrupt(place)));
    }

    #[test]
    fn section_14_an_own_lsa_that_is_damaged_in_memory_is_originated_anew() {
        let config = crate::ospf::Config {
            router_id: RouterId(1),
            mesh: molt_mesh::MeshPrefix::DEFAULT,
            prefixes: Vec::new(),
            hostname: None,
            hello: Duration::from_secs(10),
            dead: Duration::from_secs(40),
            rxmt: Duration::from_secs(1),
            flood_reduction: true,
            restart_helper: crate::ospf::RestartHelper::Strict,
            member: None,
            seed: 1,
        };
        let mut ospf = crate::ospf::Ospf::new(config, at(0));
        let place = LsaRef::area(LsaKey { ls_type: LsType::ROUTER, router: RouterId(1), id: 0 });
        ospf.lsdb.get_mut(&place).unwrap().lsa.header.checksum ^= 1;
        while let Some((due, _)) = ospf.poll_timeout().filter(|(due, _)| *due <= at(301)) {
            ospf.handle_timeout(due);
        }
        assert_eq!(ospf.counters().lsas_corrupt, 1);
        assert!(ospf.lsdb.get(&place).unwrap().lsa.checksum_is_valid());
        assert_eq!(ospf.counters().lsas_originated, 2);
    }

    #[test]
    fn section_14_max_age_is_reported_once_and_age_stops_there() {
        let mut lsdb = Lsdb::default();
        let place = opaque(1, 1);
        lsdb.install(place, lsa(place, 3590), true, at(0));
        assert_eq!(lsdb.get(&place).unwrap().age(at(9)), 3599);
        assert_eq!(lsdb.poll_aged(at(9)), None);
        assert_eq!(lsdb.poll_aged(at(10)), Some(Aged::MaxAge(place, Change::None)));
        assert_eq!((lsdb.poll_aged(at(9999)), lsdb.deadline()), (None, None));
        assert_eq!(lsdb.get(&place).unwrap().age(at(9999)), MAX_AGE);
        assert_eq!(lsdb.max_aged().count(), 1);
    }

    #[test]
    fn section_13_2_only_a_change_of_contents_is_a_change() {
        let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: RouterId(1), id: 0 };
        let place = LsaRef::area(key);
        let instance = |seq, age, byte| Lsa::new(key, seq, age, Arc::from(vec![byte; 4]));
        let mut lsdb = Lsdb::default();
        for (lsa, change) in [
            (instance(1, 0, 0), Change::Leaves),
            (instance(2, 9, 0), Change::None),
            (instance(3, 0, 1), Change::Leaves),
            (instance(4, MAX_AGE, 1), Change::Leaves),
            (instance(5, MAX_AGE, 2), Change::None),
            (instance(6, 0, 2), Change::Leaves),
        ] {
            assert_eq!(lsdb.install(place, lsa, true, at(0)), change);
        }
    }

    #[test]
    fn half_of_what_nobody_answers_for_is_room_for_proofs() {
        let place = |ls_type, router| LsaRef::area(LsaKey { ls_type, router: RouterId(router), id: 0 });
        let (rest, proof) = (LsType::ROUTER, LsType::AGENT_RECORD);
        let mut lsdb = Lsdb::default();
        lsdb.limit_unvouched();
        let fill = |lsdb: &mut Lsdb, ls_type, routers: std::ops::Range<u32>| {
            for router in routers {
                let at = place(ls_type, router);
                if !lsdb.has_room(&at, 24) {
                    return router;
                }
                lsdb.install(at, lsa(at, 0), true, Time::ZERO);
            }
            u32::MAX
        };
        assert!(!lsdb.waits_for_proof(RouterId(1)));
        assert_eq!(fill(&mut lsdb, rest, 0..20_000), 8_000);
        assert!(lsdb.waits_for_proof(RouterId(1)));
        assert_eq!(fill(&mut lsdb, proof, 8_000..20_000), 16_000);
        assert_eq!(
            (lsdb.set_vouched(RouterId(1), true), lsdb.set_vouched(RouterId(1), true)),
            (Some(1), None)
        );
        assert!(!lsdb.waits_for_proof(RouterId(1)));
        assert!(lsdb.has_room(&place(proof, 16_000), 24) && !lsdb.has_room(&place(rest, 16_000), 24));
        assert!(lsdb.has_room(&place(LsType::INTRA_AREA_PREFIX, 1), 24), "somebody answers for it");
    }

    #[test]
    fn bytes_and_counts_follow_what_is_stored() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut lsdb = Lsdb::default();
        lsdb.limit_unvouched();
        let mut vouched = BTreeSet::new();
        for _ in 0..2_000 {
            let place = opaque(rng.u32(..5), rng.u32(..20));
            if rng.u8(..10) == 0 {
                let yes = rng.bool();
                lsdb.set_vouched(place.key.router, yes);
                if yes {
                    vouched.insert(place.key.router)
                } else {
                    vouched.remove(&place.key.router)
                };
            } else if rng.bool() {
                let body = vec![0; rng.usize(..50)];
                lsdb.install(place, Lsa::new(place.key, 1, rng.u16(3500..=3600), body.into()), true, at(0));
            } else {
                lsdb.remove(&place);
            }
            let lengths = lsdb.iter().map(|(_, entry)| usize::from(entry.lsa.header.length));
            assert_eq!(lsdb.bytes(), lengths.sum::<usize>());
            assert_eq!(lsdb.per_router.values().map(|share| share.lsas).sum::<usize>(), lsdb.entries.len());
            assert_eq!(lsdb.per_router.values().map(|share| share.bytes).sum::<usize>(), lsdb.bytes());
            let others = lsdb.iter().filter(|(at, _)| !vouched.contains(&at.key.router));
            assert_eq!(lsdb.unvouched.lsas, others.count());
            assert_eq!(lsdb.deadlines.len() + lsdb.max_aged.len(), lsdb.entries.len());
        }
    }
}
