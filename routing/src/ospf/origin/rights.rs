//! Who may announce which prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use molt_mesh::record::Grant;
use molt_mesh::{IdentityKey, MeshAddr, Prefix, RouterId, Time, TrustClass};

use super::super::Ospf;
use super::super::events::Subject;
use super::super::lsa::LsaPrefix;
use super::super::view::{RejectedRoute, RouteReject, SpfTrigger};
use super::suspicion::EXPLAINED_AFTER;
use super::{Cause, Origins, SignedRouter};

/// What an operator vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The prefix, and whatever is inside it.
    pub prefix: Prefix,
    /// Who may announce it.
    pub by: Announcer,
}

/// Who has a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcer {
    /// A member, by its key.
    Key(IdentityKey),
    /// A stock router. Nobody proves that it is the one it says it is.
    Router(RouterId),
}

/// The delegations that signed routers hold, by address.
#[derive(Debug, Default)]
pub(super) struct Grants {
    by_address: BTreeMap<Ipv6Addr, BTreeMap<(RouterId, u32), Grant>>,
    /// The addresses of each LSA.
    by_lsa: BTreeMap<(RouterId, u32), Vec<Ipv6Addr>>,
}

impl Grants {
    /// What an LSA of a router delegates.
    pub(super) fn set(&mut self, router: RouterId, id: u32, grants: Vec<Grant>) {
        self.remove(router, id);
        for grant in &grants {
            self.by_address.entry(grant.address.ip()).or_default().insert((router, id), *grant);
        }
        self.by_lsa.insert((router, id), grants.iter().map(|grant| grant.address.ip()).collect());
    }

    pub(super) fn remove(&mut self, router: RouterId, id: u32) {
        for address in self.by_lsa.remove(&(router, id)).unwrap_or_default() {
            if let Some(grants) = self.by_address.get_mut(&address) {
                grants.remove(&(router, id));
                if grants.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }

    pub(super) fn remove_all(&mut self, router: RouterId) {
        let ids: Vec<u32> = self.of_router(router).map(|(id, _)| id).collect();
        for id in ids {
            self.remove(router, id);
        }
    }

    /// When the delegations of a router end.
    pub(super) fn expiries(&self, router: RouterId) -> impl Iterator<Item = u64> {
        let addresses = self.of_router(router).flat_map(|(id, list)| list.iter().map(move |it| (id, it)));
        addresses
            .filter_map(move |(id, address)| Some(self.by_address.get(address)?.get(&(router, id))?.expiry))
    }

    fn of_router(&self, router: RouterId) -> impl Iterator<Item = (u32, &Vec<Ipv6Addr>)> {
        self.by_lsa.range((router, 0)..=(router, u32::MAX)).map(|((_, id), list)| (*id, list))
    }

    fn of_address(&self, address: Ipv6Addr) -> impl Iterator<Item = &Grant> {
        self.by_address.get(&address).into_iter().flat_map(BTreeMap::values)
    }
}

impl Origins {
    /// Whether `router` may announce what it advertises.
    ///
    /// `stock` is what the operator allows the router behind a stock link. Without membership everything inside the mesh
    /// prefix is believed, as any OSPFv3 router does.
    pub(in super::super) fn permits(
        &self,
        router: RouterId,
        advertised: &LsaPrefix,
        stock: Option<&[Prefix]>,
        now: Time,
    ) -> Result<Prefix, RouteReject> {
        let prefix = advertised.prefix().ok_or(RouteReject::InvalidPrefix)?;
        let mesh = self.mesh.prefix();
        if !mesh.covers(&prefix) || prefix.len() <= mesh.len() {
            return Err(RouteReject::OutsideMesh);
        }
        if let Some(allow) = stock {
            let allowed = allow.iter().any(|allow| allow.covers(&prefix)) || self.vouches(router, prefix);
            return if allowed { Ok(prefix) } else { Err(RouteReject::NotAllowed) };
        }
        let Some(member) = &self.member else { return Ok(prefix) };
        let Some(signed) = self.routers.get(&router) else {
            return if self.vouches(router, prefix) { Ok(prefix) } else { Err(RouteReject::Unsigned) };
        };
        if member.has_expired(signed.record.agent().expiry, now) {
            return Err(RouteReject::RecordExpired);
        }
        if prefix.len() != 128 {
            return Err(RouteReject::Aggregate);
        }
        let address = self.mesh.address(prefix.addr()).ok_or(RouteReject::NoClass)?;
        self.may_announce(signed, address, now).map(|()| prefix)
    }

    /// Whether `router` may announce a prefix of another mesh that the operator accepts: a member may, because its record
    /// tells who it is, and only those in `by` if the operator names some.
    pub(in super::super) fn permits_outside(
        &self,
        router: RouterId,
        prefix: Prefix,
        by: Option<&[IdentityKey]>,
        stock: Option<&[Prefix]>,
        now: Time,
    ) -> Result<Prefix, RouteReject> {
        let allowed = stock.is_some_and(|allow| allow.iter().any(|allow| allow.covers(&prefix)));
        if allowed || self.vouches(router, prefix) {
            return Ok(prefix);
        }
        if stock.is_some() {
            return Err(RouteReject::NotAllowed);
        }
        let Some(member) = &self.member else { return Ok(prefix) };
        match self.routers.get(&router) {
            None => Err(RouteReject::Unsigned),
            Some(signed) if member.has_expired(signed.record.agent().expiry, now) => {
                Err(RouteReject::RecordExpired)
            }
            Some(signed) if by.is_some_and(|by| !by.contains(&signed.record.agent().key)) => {
                Err(RouteReject::NotBorder)
            }
            Some(_) => Ok(prefix),
        }
    }

    /// A self-certifying address is its key's; a claimed one needs an entry in the configuration; containers and
    /// anycast addresses need a delegation, of the owner its key gives them or the configuration names.
    fn may_announce(&self, signed: &SignedRouter, address: MeshAddr, now: Time) -> Result<(), RouteReject> {
        let key = &signed.record.agent().key;
        let permit = |permitted, reject| if permitted { Ok(()) } else { Err(reject) };
        let expired = |expiry| self.member.as_ref().is_none_or(|member| member.has_expired(expiry, now));
        let mut grants = self.grants.of_address(address.ip()).filter(|grant| !expired(grant.expiry));
        match address.class() {
            TrustClass::SelfCertifying => permit(signed.address == address, RouteReject::NotOwner),
            TrustClass::Claimed => permit(self.owns(key, address), RouteReject::NotAttested),
            TrustClass::Infrastructure => {
                let delegated = grants.any(|grant| grant.holder == *key && self.owns(&grant.owner, address));
                permit(delegated || self.owns(key, address), RouteReject::NotDelegated)
            }
            // The newest delegation counts, whoever holds it: a container is in one place.
            TrustClass::Container => {
                let newest = grants.max_by_key(|grant| (grant.seq, grant.holder == *key));
                permit(newest.is_some_and(|grant| grant.holder == *key), RouteReject::NotDelegated)
            }
        }
    }

    fn owns(&self, key: &IdentityKey, address: MeshAddr) -> bool {
        let mut rights = self.member.iter().flat_map(|member| &member.rights);
        rights.any(|right| right.by == Announcer::Key(*key) && right.prefix.contains(address.ip()))
    }

    fn vouches(&self, router: RouterId, prefix: Prefix) -> bool {
        let mut rights = self.member.iter().flat_map(|member| &member.rights);
        rights.any(|right| right.by == Announcer::Router(router) && right.prefix.covers(&prefix))
    }

    /// The routers behind stock links, beside those the configuration names.
    pub(in super::super) fn set_stock(&mut self, neighbors: BTreeSet<RouterId>) {
        let rights = self.member.iter().flat_map(|member| &member.rights);
        let named = rights.filter_map(|right| match right.by {
            Announcer::Router(router) => Some(router),
            Announcer::Key(_) => None,
        });
        self.stock = neighbors.into_iter().chain(named).collect();
        let taken: Vec<RouterId> =
            self.stock.iter().filter(|router| self.routers.contains_key(router)).copied().collect();
        for router in taken {
            self.forget(router);
            self.due.insert(router);
        }
    }

    /// Whether somebody answers for the LSAs of a router: itself with its key, or the operator.
    pub(in super::super) fn is_vouched(&self, router: RouterId) -> bool {
        self.is_signed(router) || self.stock.contains(&router)
    }

    /// What the last calculation refused. Whoever announces it is named once, if no proof comes in time.
    pub(in super::super) fn note_rejected(&mut self, rejected: &[RejectedRoute], now: Time) {
        if self.member.is_some() && !(rejected.is_empty() && self.refused.is_empty()) {
            let before = std::mem::take(&mut self.refused);
            let place = |it: &RejectedRoute| (it.router, it.prefix, it.reason);
            let due = |place| (place, before.get(&place).copied().unwrap_or(Some(now + EXPLAINED_AFTER)));
            self.refused = rejected.iter().map(place).map(due).collect();
            self.refused_due = self.refused.values().flatten().min().copied();
        }
    }

    pub(super) fn tell_refused(&mut self, now: Time) {
        if self.refused_due.is_none_or(|due| due > now) {
            return;
        }
        let due = self.refused.iter().filter(|(_, at)| at.is_some_and(|at| at <= now));
        for place in due.map(|(place, _)| *place).collect::<Vec<_>>() {
            self.refused.insert(place, None);
            let (router, prefix, reason) = place;
            let cause = match reason {
                RouteReject::RecordExpired => Cause::RecordExpired,
                _ => Cause::PrefixHijack,
            };
            self.report(cause, router, Subject::Prefix(prefix), None, reason.meaning(), now);
        }
        self.refused_due = self.refused.values().flatten().min().copied();
    }
}

impl Ospf {
    /// Replaces what the operator vouches for.
    pub fn set_rights(&mut self, rights: Vec<Right>, now: Time) {
        let Some(member) = &mut self.origins.member else { return };
        if member.rights != rights {
            member.rights = rights;
            self.note_stock(now);
            self.spf.rights_changed(None);
            self.leaves_changed(SpfTrigger::Configuration, now);
            self.settle(now);
        }
    }

    /// Brings the list of stock routers up to date with the links.
    pub(in super::super) fn note_stock(&mut self, now: Time) {
        if self.origins.member.is_none() {
            return;
        }
        let stock = self.interfaces.values().filter(|interface| interface.config.stock);
        let routers = stock.filter_map(|interface| interface.behind).collect();
        let before = self.origins.stock.clone();
        self.origins.set_stock(routers);
        if self.origins.stock.contains(&self.config.router_id) {
            self.clash_with_stock(now);
        }
        for router in before.union(&self.origins.stock).copied().collect::<Vec<_>>() {
            self.note_vouched(router, now);
        }
        if before != self.origins.stock {
            self.spf.rights_changed(None);
            self.leaves_changed(SpfTrigger::Configuration, now);
        }
    }
}
