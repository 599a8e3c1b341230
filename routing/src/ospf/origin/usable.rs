//! The database as the calculation sees it: of signed routers the verified bodies, of others what is stored.

use molt_mesh::{RouterId, Time};

use super::super::lsa::{Body, LsType, LsaKey};
use super::super::lsdb::{Entry, LsaRef, Lsdb};
use super::{Origins, SignedRouter};

/// What may be used at a moment.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Usable<'a> {
    pub(in super::super) lsdb: &'a Lsdb,
    pub(in super::super) origins: &'a Origins,
    pub(in super::super) now: Time,
}

impl<'a> Usable<'a> {
    /// An LSA its router stands for.
    pub(in super::super) fn get(&self, key: &LsaKey) -> Option<Body> {
        match self.origins.routers.get(&key.router) {
            Some(signed) => {
                signed.bodies.get(&(key.ls_type, key.id)).map(|verified| verified.read(key.ls_type))
            }
            None => {
                let entry = self.lsdb.get(&LsaRef::area(*key)).filter(|entry| !entry.is_max_age(self.now));
                entry.map(Entry::read)
            }
        }
    }

    /// The LSAs of one type that one router stands for, in ascending order.
    pub(in super::super) fn of_router(
        &self,
        ls_type: LsType,
        router: RouterId,
    ) -> impl Iterator<Item = (LsaKey, Body)> + use<'a> {
        let now = self.now;
        let signed = self.origins.routers.get(&router);
        let stored = signed.is_none().then(|| self.lsdb.of_router(ls_type, router));
        let stored = stored.into_iter().flatten().filter(move |(_, entry)| !entry.is_max_age(now));
        let verified = signed.into_iter().flat_map(move |signed| signed.of_type(ls_type, router));
        verified.chain(stored.map(|(key, entry)| (*key, entry.read())))
    }

    /// The LSAs of one type that anybody stands for: those of signed routers, then the others.
    pub(in super::super) fn of_type(
        &self,
        ls_type: LsType,
    ) -> impl Iterator<Item = (LsaKey, Body)> + use<'a> {
        let now = self.now;
        let routers = &self.origins.routers;
        let verified = routers.iter().flat_map(move |(router, signed)| signed.of_type(ls_type, *router));
        // Both are in the order of routers, so one walk over both tells who is signed.
        let mut signed = routers.keys().peekable();
        let stored = self.lsdb.of_type(ls_type).filter(move |(key, entry)| {
            while signed.next_if(|router| **router < key.router).is_some() {}
            signed.peek() != Some(&&key.router) && !entry.is_max_age(now)
        });
        verified.chain(stored.map(|(key, entry)| (*key, entry.read())))
    }
}

impl SignedRouter {
    fn of_type(&self, ls_type: LsType, router: RouterId) -> impl Iterator<Item = (LsaKey, Body)> {
        let bodies = self.bodies.of_type(ls_type);
        bodies.map(move |(id, verified)| (LsaKey { ls_type, router, id }, verified.read(ls_type)))
    }
}
