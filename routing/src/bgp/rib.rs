//! The Routing Information Bases (RFC 4271 section 3.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use molt_mesh::{Prefix, Time};

use super::consts::community;
use super::decision::{Candidate, best};
use super::path::Path;
use super::session::Peer;
use super::update::{Update, announce, end_of_rib, withdraw};
use super::view::Filtered;
use super::{Bgp, Output, Route};

/// What a peer has announced: kept before and after import policy, so that a new policy needs nobody's help.
#[derive(Debug, Default)]
pub(super) struct RibIn(BTreeMap<Prefix, RouteIn>);

#[derive(Debug)]
pub(super) struct RouteIn {
    pub(super) received: Path,
    pub(super) imported: Result<Path, Filtered>,
    /// From before a restart of the peer.
    pub(super) stale: bool,
    pub(super) since: Time,
}

/// What a peer was told.
#[derive(Debug, Default)]
pub(super) struct RibOut(BTreeMap<Prefix, Path>);

/// The routes that were chosen.
#[derive(Debug, Default)]
pub(super) struct LocRib(BTreeMap<Prefix, Chosen>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) peer: Ipv6Addr,
    pub(super) path: Path,
    /// Peers and next hops of all routes that are used, ascending.
    pub(super) used: BTreeSet<(Ipv6Addr, Ipv6Addr)>,
}

impl RibIn {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Prefix, &RouteIn)> {
        self.0.iter()
    }

    /// RFC 4724 section 4.2; returns what was stale already, and is gone.
    pub(super) fn mark_stale(&mut self) -> Vec<Prefix> {
        let gone = self.remove_stale();
        self.0.values_mut().for_each(|route| route.stale = true);
        gone
    }

    pub(super) fn remove_stale(&mut self) -> Vec<Prefix> {
        self.0.extract_if(.., |_, route| route.stale).map(|(prefix, _)| prefix).collect()
    }

    fn usable(&self, prefix: &Prefix) -> Option<&Path> {
        self.0.get(prefix)?.imported.as_ref().ok()
    }
}

impl RibOut {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl LocRib {
    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.0.iter().map(|(prefix, chosen)| {
            let next_hops: BTreeSet<Ipv6Addr> = chosen.used.iter().map(|(_, next_hop)| *next_hop).collect();
            Route { prefix: *prefix, next_hops: next_hops.into_iter().collect(), med: chosen.path.med }
        })
    }

    pub(super) fn get(&self, prefix: &Prefix) -> Option<&Chosen> {
        self.0.get(prefix)
    }
}

impl Bgp {
    /// Takes an UPDATE of a peer into its Adj-RIB-In.
    pub(super) fn import(&mut self, id: Ipv6Addr, update: Update, now: Time) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for prefix in update.withdrawn {
            if peer.rib_in.0.remove(&prefix).is_some() {
                self.dirty.insert(prefix);
            }
        }
        if let Some((path, prefixes)) = update.announced {
            for prefix in prefixes {
                let imported = import(&self.config, peer, &prefix, &path);
                let route = RouteIn { received: path.clone(), imported, stale: false, since: now };
                peer.rib_in.0.insert(prefix, route);
                self.dirty.insert(prefix);
            }
        }
        if update.end_of_rib {
            self.remove_stale(id);
        }
        self.look_up_next_hops(id);
    }

    /// The peer's policies are others.
    pub(super) fn import_again(&mut self, id: Ipv6Addr) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut routes = std::mem::take(&mut peer.rib_in.0);
        for (prefix, route) in &mut routes {
            route.imported = import(&self.config, peer, prefix, &route.received);
            self.dirty.insert(*prefix);
        }
        peer.rib_in.0 = routes;
        self.look_up_next_hops(id);
        self.advertise(id);
    }

    pub(super) fn forget_routes(&mut self, id: Ipv6Addr) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.stale_until = None;
            self.dirty.extend(std::mem::take(&mut peer.rib_in.0).into_keys());
        }
    }

    /// Asks for the cost of next hops that were not seen before.
    fn look_up_next_hops(&mut self, id: Ipv6Addr) {
        let Some(peer) = self.peers.get(&id) else { return };
        let mut new = false;
        for route in peer.rib_in.0.values() {
            if let Ok(path) = &route.imported {
                self.next_hops.entry(path.next_hop).or_insert_with(|| {
                    new = true;
                    None
                });
            }
        }
        if new {
            self.outputs.push_back(Output::NextHopsChanged);
        }
    }

    pub(super) fn next_hops_changed(&mut self, changed: &BTreeSet<Ipv6Addr>) {
        for peer in self.peers.values() {
            for (prefix, route) in peer.rib_in.iter() {
                if route.imported.as_ref().is_ok_and(|path| changed.contains(&path.next_hop)) {
                    self.dirty.insert(*prefix);
                }
            }
        }
        let in_use = |next_hop: &Ipv6Addr| {
            let names =
                |route: &RouteIn| route.imported.as_ref().is_ok_and(|path| path.next_hop == *next_hop);
            self.peers.values().any(|peer| peer.rib_in.0.values().any(names))
        };
        let unused: Vec<Ipv6Addr> = self.next_hops.keys().filter(|it| !in_use(it)).copied().collect();
        for next_hop in unused {
            self.next_hops.remove(&next_hop);
        }
    }

    /// Section 9.1: chooses anew where something changed, and tells everybody.
    pub(super) fn decide(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let (mut routes_changed, mut changed) = (false, false);
        for prefix in dirty {
            let chosen = self.choose(&prefix);
            let before = match chosen.clone() {
                Some(chosen) => self.loc_rib.0.insert(prefix, chosen),
                None => self.loc_rib.0.remove(&prefix),
            };
            changed |= before != chosen;
            let used = |chosen: &Option<Chosen>| chosen.as_ref().map(|it| (it.used.clone(), it.path.med));
            routes_changed |= used(&before) != used(&chosen);
        }
        if routes_changed {
            self.outputs.push_back(Output::RoutesChanged);
        }
        if changed {
            let peers: Vec<Ipv6Addr> = self.peers.keys().copied().collect();
            for peer in peers {
                self.advertise(peer);
            }
        }
    }

    fn choose(&self, prefix: &Prefix) -> Option<Chosen> {
        let candidates: Vec<Candidate<'_>> = self
            .peers
            .iter()
            .filter_map(|(id, peer)| {
                let path = peer.rib_in.usable(prefix)?;
                // Section 9.1.2: a route whose next hop cannot be reached is out.
                let metric = self.next_hops.get(&path.next_hop).copied().flatten()?;
                Some(Candidate { peer: *id, identifier: peer.identifier, path, metric })
            })
            .collect();
        let (best, equal) = best(&candidates)?;
        let used = equal.iter().map(|it| (it.peer, it.path.next_hop)).collect();
        Some(Chosen { peer: best.peer, path: best.path.clone(), used })
    }

    /// Section 9.2 for a session that has come up: everything, and End-of-RIB.
    pub(super) fn advertise_all(&mut self, id: Ipv6Addr) {
        self.advertise(id);
        self.send_updates(id, vec![end_of_rib()]);
    }

    /// RFC 2918 section 4.
    pub(super) fn advertise_again(&mut self, id: Ipv6Addr) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.rib_out = RibOut::default();
            self.advertise(id);
        }
    }

    /// Tells a peer what it has not been told yet.
    fn advertise(&mut self, id: Ipv6Addr) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.established().is_some()) else { return };
        let wanted = self.exports(peer);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let told = std::mem::replace(&mut peer.rib_out.0, wanted);
        let wanted = &peer.rib_out.0;
        let gone: Vec<Prefix> = told.keys().filter(|prefix| !wanted.contains_key(prefix)).copied().collect();
        let mut updates = withdraw(&gone);
        let mut by_path: BTreeMap<&Path, Vec<Prefix>> = BTreeMap::new();
        for (prefix, path) in wanted.iter().filter(|(prefix, path)| told.get(prefix) != Some(path)) {
            by_path.entry(path).or_default().push(*prefix);
        }
        updates.extend(by_path.into_iter().flat_map(|(path, prefixes)| announce(path, &prefixes)));
        self.send_updates(id, updates);
    }

    /// All a peer is to be told: what we originate, and what others told us.
    fn exports(&self, peer: &Peer) -> BTreeMap<Prefix, Path> {
        let own = self.config.announce.iter().map(|prefix| (*prefix, Path::local(self.config.address)));
        let learnt = self.loc_rib.0.iter().filter(|(_, chosen)| {
            // Not to an AS it has passed, and be it the one it came from, and as far as its communities allow.
            let kept = |known: u32| chosen.path.communities.contains(&known);
            !chosen.path.as_path.contains(peer.config.asn)
                && !kept(community::NO_EXPORT)
                && !kept(community::NO_ADVERTISE)
        });
        let learnt = learnt.map(|(prefix, chosen)| {
            // Section 5.1.4: no MED goes through an AS.
            let path = Path { med: None, next_hop: self.config.address, ..chosen.path.clone() };
            (*prefix, path)
        });
        // What we originate is ours to say.
        learnt
            .chain(own)
            .filter_map(|(prefix, path)| {
                let mut path = peer.config.export.apply(&prefix, &path, self.config.asn)?;
                // Section 5.1.5: what differs by it alone is no news to another AS.
                path.local_pref = None;
                path.as_path.prepend(self.config.asn, 1);
                (!announce(&path, &[prefix]).is_empty()).then_some((prefix, path))
            })
            .collect()
    }
}

/// What stands between a peer's word and us: sections 9.1.2 (loops) and 6.3 (next hop), our own mesh, then policy.
fn import(config: &super::Config, peer: &Peer, prefix: &Prefix, path: &Path) -> Result<Path, Filtered> {
    if path.as_path.contains(config.asn) {
        return Err(Filtered::AsLoop);
    }
    if path.as_path.first() != Some(peer.config.asn) {
        return Err(Filtered::FirstAs);
    }
    if path.next_hop == config.address {
        return Err(Filtered::NextHop);
    }
    if config.own.covers(prefix) || prefix.covers(&config.own) {
        return Err(Filtered::OwnMesh);
    }
    peer.config.import.apply(prefix, path, config.asn).ok_or(Filtered::Policy)
}
