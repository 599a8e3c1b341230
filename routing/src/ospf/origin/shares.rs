//! How fast one originator may fill the database.

use std::collections::BTreeMap;
use std::time::Duration;

use molt_mesh::limit::TokenBucket;
use molt_mesh::{LinkId, RouterId, Time};

use super::super::Ospf;
use super::super::lsa::LsaKey;
use super::super::lsdb::{LsaRef, Lsdb};
use super::{Cause, Origins};

/// LSAs per second and at once that come in the name of one router and that no signature lists: fragments and prefixes
/// that are new, or the externals of a stock router, all at once when it is configured anew.
const PER_ROUTER: (u32, u32) = (20, 2_000);
/// The same for all routers together that nobody answers for. To invent a router id costs nothing. But an area of 10,000
/// that is merged with this one comes with as many records at once, and nobody answers for a router before its record is
/// here; so it is as many as there is room for (`MAX_UNVOUCHED`).
const UNVOUCHED: (u32, u32) = (200, 16_000);
/// Buckets that are not full are remembered for as many routers; beyond it the common one must do.
const REMEMBERED: usize = 4_096;

/// To look at all of them for each LSA would be dear: in a mesh of more routers than this that merges, none is full.
const CLEAN: Duration = Duration::from_secs(1);

/// The buckets.
#[derive(Debug)]
pub(in super::super) struct Shares {
    routers: BTreeMap<RouterId, TokenBucket>,
    unvouched: TokenBucket,
    /// When to look again which buckets are full.
    clean_at: Time,
}

impl Default for Shares {
    fn default() -> Self {
        Self { routers: BTreeMap::new(), unvouched: bucket(UNVOUCHED), clean_at: Time::ZERO }
    }
}

impl Shares {
    /// Somebody answers for so many LSAs that are here. They are none that somebody invented.
    pub(in super::super) fn put_back(&mut self, lsas: usize) {
        self.unvouched.put_back(u32::try_from(lsas).unwrap_or(UNVOUCHED.1).min(UNVOUCHED.1));
    }

    /// Whether one more LSA of a router may come in.
    pub(in super::super) fn take(&mut self, router: RouterId, vouched: bool, now: Time) -> bool {
        if !vouched && !self.unvouched.take(now) {
            return false;
        }
        if self.routers.len() >= REMEMBERED && self.clean_at <= now {
            self.routers.retain(|_, bucket| !bucket.is_full(now));
            self.clean_at = now + CLEAN;
        }
        if self.routers.len() >= REMEMBERED && !self.routers.contains_key(&router) {
            return true;
        }
        self.routers.entry(router).or_insert_with(|| bucket(PER_ROUTER)).take(now)
    }
}

impl Origins {
    /// An LSA was refused because there are too many.
    pub(in super::super) fn flooded(&mut self, key: &LsaKey, link: LinkId, now: Time) {
        if self.member.is_some() {
            let why = "too many LSAs of it, or too fast; acknowledged and forgotten";
            self.tell(Cause::LsaFlood, *key, Some(link), why, now);
        }
    }
}

/// Whether the database has room for a received LSA. What a signed router lists finds room whatever else comes in its name.
fn has_room(lsdb: &Lsdb, origins: &Origins, at: &LsaRef, length: u16) -> bool {
    lsdb.has_room(at, length) || origins.lists(&at.key) && lsdb.has_room_in_all(at, length)
}

/// Whether it will have room for an LSA that is described, when what proves it is here.
pub(in super::super) fn has_room_once_proven(
    lsdb: &Lsdb,
    origins: &Origins,
    at: &LsaRef,
    length: u16,
) -> bool {
    lsdb.has_room_once_proven(at, length) || origins.lists(&at.key) && lsdb.has_room_in_all(at, length)
}

impl Ospf {
    /// Whether the database has room for a received LSA, and it does not come too fast. What a signed router lists has no limit of its own: MinLSArrival paces it,
    /// and a flood in the router's name must not drown it.
    pub(in super::super) fn has_share(
        &mut self,
        at: &LsaRef,
        length: u16,
        requested: bool,
        now: Time,
    ) -> bool {
        let router = at.key.router;
        let paced = requested
            || at.link.is_some()
            || self.origins.member.is_none()
            || router == self.config.router_id
            || self.origins.lists(&at.key);
        has_room(&self.lsdb, &self.origins, at, length)
            && (paced || self.shares.take(router, self.origins.is_vouched(router), now))
    }
}

fn bucket((rate, burst): (u32, u32)) -> TokenBucket {
    TokenBucket::new(rate, burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_routers_share_one_bucket_and_leave_others_theirs() {
        let mut shares = Shares::default();
        let now = Time::from_millis(1_000_000);
        let taken = (0..20_000).filter(|id| shares.take(RouterId(*id), false, now)).count();
        assert_eq!(taken, 16_000, "the common bucket, also for more than are remembered");
        let later = now + Duration::from_secs(100);
        let taken = (0..20_000).filter(|id| shares.take(RouterId(id % 4), false, later)).count();
        assert_eq!(taken, 8_000, "the common bucket and those of four routers");
        assert!(shares.take(RouterId(70_000), true, later), "one that is answered for has its own");
    }
}
