//! What a neighbour has and nobody answers for, while there is no room for more of such.
//!
//! A router that learns of a large mesh may pass it on in the order of LS types, as FRR does: thousands of Router-LSAs, and the
//! records that prove them at the end. What is refused of it was acknowledged, so nobody would send it again before it is
//! refreshed, half an hour later. So its headers are remembered, and it is requested when its router is proven. RFC 2328 section
//! 10.7 has requests answered in state Full as well.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use molt_mesh::{LinkId, RouterId, Time};

use super::Ospf;
use super::consts::MAX_AGE;
use super::lsa::{LsType, LsaHeader, LsaKey, Scope};
use super::lsdb::{LsaRef, MAX_LSAS};
use super::origin::record_key;

/// How long proofs may take to come: an area of 10,000 is flooded within some ten seconds.
const HOPE: Duration = Duration::from_secs(60);

const LOWEST: LsaKey = LsaKey { ls_type: LsType(0), router: RouterId(0), id: 0 };

/// The headers, of one neighbour. There are as many as the database would have room for, which take 5 MB.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    lsas: BTreeMap<(RouterId, LsaKey), LsaHeader>,
    /// When to give up hope.
    until: Option<Time>,
}

impl Unproven {
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.until
    }

    pub(super) fn remove(&mut self, key: &LsaKey) {
        if !self.lsas.is_empty() {
            self.lsas.remove(&(key.router, *key));
        }
    }

    /// Whether it is remembered.
    fn add(&mut self, header: LsaHeader, now: Time) -> bool {
        let key = (header.key.router, header.key);
        if self.lsas.len() >= MAX_LSAS && !self.lsas.contains_key(&key) {
            return false;
        }
        self.lsas.insert(key, header);
        self.until.get_or_insert(now + HOPE);
        true
    }

    fn take(&mut self, router: RouterId) -> Vec<LsaHeader> {
        let of_router = self.lsas.range((router, LOWEST)..).take_while(|((of, _), _)| *of == router);
        let keys: Vec<_> = of_router.map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.lsas.remove(key)).collect()
    }
}

impl Ospf {
    /// Does without an LSA that the neighbour on `link` has: until somebody answers for its router, or for good.
    pub(super) fn refuse(&mut self, link: LinkId, header: &LsaHeader, now: Time) {
        let LsaKey { ls_type, router, .. } = header.key;
        let is_lost = header.age() == MAX_AGE
            || ls_type.scope() == Scope::Link
            || self.lsdb.is_vouched(router)
            || header.key == record_key(router);
        let neighbor = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut());
        let is_remembered = neighbor.is_some_and(|neighbor| {
            neighbor.remove_request(&header.key);
            !is_lost && neighbor.unproven.add(*header, now)
        });
        if !is_remembered {
            self.counters.lsas_without_room += 1;
            self.origins.flooded(&header.key, link, now);
        }
    }

    /// Takes note of whether somebody answers for a router. If that is new, what was refused of it is requested.
    pub(super) fn note_vouched(&mut self, router: RouterId, now: Time) {
        let Some(here) = self.lsdb.set_vouched(router, self.origins.is_vouched(router)) else { return };
        self.shares.put_back(here);
        for interface in self.interfaces.values_mut() {
            let Some(neighbor) = &mut interface.neighbor else { continue };
            for header in neighbor.unproven.take(router) {
                let stored = self.lsdb.get(&LsaRef::area(header.key)).map(|entry| entry.header(now));
                if stored.map_or(Ordering::Greater, |stored| header.compare(&stored)).is_gt() {
                    neighbor.requests.insert(header.key, header);
                }
            }
        }
    }

    /// Gives up hope when it is time.
    pub(super) fn unproven_timeout(&mut self, link: LinkId, now: Time) {
        let neighbor = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut());
        let Some(neighbor) = neighbor.filter(|it| it.unproven.until.is_some_and(|until| until <= now)) else {
            return;
        };
        let Unproven { lsas, .. } = std::mem::take(&mut neighbor.unproven);
        self.counters.lsas_without_room += lsas.len() as u64;
        if let Some(((_, key), _)) = lsas.first_key_value() {
            self.origins.flooded(key, link, now);
        }
    }
}
