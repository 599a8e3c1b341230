//! The routing table: what the prefix LSAs offer, kept in step with the database, and the best of it for each prefix
//! (RFC 2328 sections 16.1 second stage, 16.2, 16.4 and 11.1).
//!
//! A changed LSA costs the prefixes it names. Only another tree makes all routes be looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use molt_mesh::{LinkId, Prefix, RouterId};

use super::super::lsa::{LsType, LsaKey};
use super::super::view::{PathType, RejectedRoute, Route};
use super::graph::{Graph, Traits, VertexId};
use super::tree::{LOCAL, NextHopSets, SetId, Tree};

/// The types of LSAs that offer prefixes, or ways to who does.
pub(super) const LEAVES: [LsType; 4] =
    [LsType::INTRA_AREA_PREFIX, LsType::INTER_AREA_PREFIX, LsType::INTER_AREA_ROUTER, LsType::AS_EXTERNAL];

/// One way to a prefix, as an LSA offers it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// Cost beyond the router or network the prefix hangs on.
    pub(super) metric: u32,
    pub(super) by: By,
}

/// What leads to the prefix.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// An AS boundary router (RFC 2328 section 16.4), or what it says to send to instead.
    External { type_2: bool, forwarding: Option<Ipv6Addr> },
    /// An area border router (section 16.2).
    InterArea,
    /// A vertex of the tree (section 16.1).
    IntraArea(VertexId),
}

/// What an LSA says to the table.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) offers: Vec<(Prefix, Offer)>,
    pub(super) rejected: Vec<RejectedRoute>,
    /// An AS boundary router of another area and the cost to it.
    pub(super) boundary: Option<(RouterId, u32)>,
}

/// How good a way is: the smallest is used, and all that are equal. Type 2 externals are compared by their own metric first
/// and by the way to it second (RFC 2328 section 16.4 step 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    path: PathType,
    cost: u32,
    inner: u32,
}

/// A route in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chosen {
    rank: Rank,
    set: SetId,
}

#[derive(Debug, Default)]
struct Destination {
    offers: Vec<(LsaKey, Offer)>,
    chosen: Option<Chosen>,
    /// Whose offers were chosen, ascending.
    origins: Vec<RouterId>,
}

/// What the ways are calculated from.
#[derive(Clone, Copy)]
pub(super) struct Paths<'a> {
    pub(super) graph: &'a Graph,
    pub(super) tree: &'a Tree,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    destinations: BTreeMap<Prefix, Destination>,
    /// The prefixes each LSA offers.
    announced: BTreeMap<LsaKey, Vec<Prefix>>,
    rejected: BTreeMap<LsaKey, Vec<RejectedRoute>>,
    boundary_routers: BoundaryRouters,
    /// Destinations with an offer that names a forwarding address: they depend on other routes.
    forwarded: BTreeSet<Prefix>,
    dirty: BTreeSet<Prefix>,
    all_dirty: bool,
}

/// AS boundary routers of other areas, with the area border routers that know them.
#[derive(Debug, Default)]
struct BoundaryRouters {
    by_router: BTreeMap<(RouterId, LsaKey), u32>,
    by_lsa: BTreeMap<LsaKey, RouterId>,
}

impl Table {
    /// What the LSA says takes the place of what it said before.
    pub(super) fn replace(&mut self, key: LsaKey, reading: Reading) {
        for prefix in self.announced.remove(&key).unwrap_or_default() {
            if let Some(destination) = self.destinations.get_mut(&prefix) {
                destination.offers.retain(|(source, _)| *source != key);
                self.dirty.insert(prefix);
            }
        }
        for (prefix, offer) in &reading.offers {
            let offers = &mut self.destinations.entry(*prefix).or_default().offers;
            if offers.is_empty() {
                // Nearly all prefixes have one, and a vector that grows by itself begins with room for four.
                offers.reserve_exact(1);
            }
            offers.push((key, *offer));
            self.dirty.insert(*prefix);
            if matches!(offer.by, By::External { forwarding: Some(_), .. }) {
                self.forwarded.insert(*prefix);
            }
        }
        if !reading.offers.is_empty() {
            self.announced.insert(key, reading.offers.into_iter().map(|(prefix, _)| prefix).collect());
        }
        if reading.rejected.is_empty() {
            self.rejected.remove(&key);
        } else {
            self.rejected.insert(key, reading.rejected);
        }
        // RFC 2328 section 16.5: another way to an AS boundary router touches all externals. Such LSAs are rare.
        self.all_dirty |= self.boundary_routers.replace(key, reading.boundary);
    }

    /// The way to a router, or what it is allowed to offer, is another one.
    pub(super) fn touch(&mut self, router: RouterId) {
        let Self { announced, boundary_routers, dirty, all_dirty, .. } = self;
        for ls_type in LEAVES {
            let key = |id| LsaKey { ls_type, router, id };
            let range = key(0)..=key(u32::MAX);
            dirty.extend(announced.range(range.clone()).flat_map(|(_, prefixes)| prefixes));
            // Whoever leads to AS boundary routers leads to what those announce. There are few of both.
            *all_dirty |= boundary_routers.by_lsa.range(range).next().is_some();
        }
    }

    /// The ways to most routers are others.
    pub(super) const fn touch_all(&mut self) {
        self.all_dirty = true;
    }

    /// Next-hop sets have other names, so no route is known any longer.
    pub(super) fn forget_choices(&mut self) {
        self.destinations.values_mut().for_each(|destination| destination.chosen = None);
        self.all_dirty = true;
    }

    /// All LSAs that were read.
    pub(super) fn sources(&self) -> BTreeSet<LsaKey> {
        let keys =
            self.announced.keys().chain(self.rejected.keys()).chain(self.boundary_routers.by_lsa.keys());
        keys.copied().collect()
    }

    /// Chooses anew what may have changed, and tells `changed` each route whose next hops did; `None` for one that is gone.
    pub(super) fn refresh(
        &mut self,
        paths: Paths<'_>,
        sets: &mut NextHopSets,
        mut changed: impl FnMut(Prefix, Option<&[LinkId]>),
    ) {
        let dirty = std::mem::take(&mut self.dirty);
        let everything = std::mem::take(&mut self.all_dirty);
        let Self { destinations, boundary_routers, forwarded, .. } = self;
        let mut chooser = Chooser { paths, boundary_routers, sets, ways: None };
        let mut update = |prefix: &Prefix, destination: &mut Destination, chooser: &mut Chooser<'_>| {
            let before = destination.chosen;
            chooser.choose(destination);
            let set = |chosen: Option<Chosen>| chosen.map(|chosen| chosen.set);
            if set(before) != set(destination.chosen) {
                changed(*prefix, set(destination.chosen).map(|set| chooser.sets.get(set)));
            }
            before != destination.chosen
        };
        // Routes through a forwarding address come last: they hang on the others, and none on them.
        let mut forwarded_too = everything;
        if everything {
            for (prefix, destination) in destinations.iter_mut().filter(|(it, _)| !forwarded.contains(it)) {
                update(prefix, destination, &mut chooser);
            }
        } else {
            for prefix in &dirty {
                match destinations.get_mut(prefix) {
                    _ if forwarded.contains(prefix) => forwarded_too = true,
                    Some(destination) => forwarded_too |= update(prefix, destination, &mut chooser),
                    None => {}
                }
            }
        }
        if forwarded_too && !forwarded.is_empty() {
            chooser.look_up_ways(destinations, forwarded);
            for prefix in forwarded.iter() {
                if let Some(destination) = destinations.get_mut(prefix) {
                    update(prefix, destination, &mut chooser);
                }
            }
        }
        for prefix in dirty {
            if destinations.get(&prefix).is_some_and(|destination| destination.offers.is_empty()) {
                destinations.remove(&prefix);
                forwarded.remove(&prefix);
            }
        }
    }

    pub(super) fn routes(&self, sets: &NextHopSets) -> impl Iterator<Item = Route> {
        self.destinations.iter().filter_map(|(prefix, destination)| {
            let Chosen { rank, set } = destination.chosen?;
            Some(Route {
                prefix: *prefix,
                path: rank.path,
                cost: rank.cost,
                origins: destination.origins.clone(),
                links: sets.get(set).to_vec(),
            })
        })
    }

    /// Those of one router.
    pub(super) fn sources_of(&self, router: RouterId) -> BTreeSet<LsaKey> {
        let mut sources = BTreeSet::new();
        for ls_type in LEAVES {
            let key = |id| LsaKey { ls_type, router, id };
            let range = key(0)..=key(u32::MAX);
            sources.extend(self.announced.range(range.clone()).map(|(key, _)| *key));
            sources.extend(self.rejected.range(range.clone()).map(|(key, _)| *key));
            sources.extend(self.boundary_routers.by_lsa.range(range).map(|(key, _)| *key));
        }
        sources
    }

    /// What reachable routers announce and is not used.
    pub(super) fn rejected<'a>(&'a self, paths: Paths<'a>) -> impl Iterator<Item = RejectedRoute> + 'a {
        let reached = move |route: &&RejectedRoute| paths.to(VertexId::Router(route.router)).is_some();
        self.rejected.values().flatten().filter(reached).cloned()
    }
}

/// Chooses among offers.
struct Chooser<'a> {
    paths: Paths<'a>,
    boundary_routers: &'a BoundaryRouters,
    sets: &'a mut NextHopSets,
    /// To the forwarding addresses; `None` while those routes are not looked at.
    ways: Option<BTreeMap<Ipv6Addr, Option<(u32, SetId)>>>,
}

impl Chooser<'_> {
    /// Equally good ways share the traffic, and so do equally near routers that announce the same (anycast). Our own
    /// prefixes have cost 0, and those of others at least 1.
    fn choose(&mut self, destination: &mut Destination) {
        destination.origins.clear();
        let mut best: Option<Chosen> = None;
        for (source, offer) in &destination.offers {
            let Some(way) = self.way(source, offer) else { continue };
            match &mut best {
                Some(best) if way.rank > best.rank => continue,
                Some(best) if way.rank == best.rank => best.set = self.sets.union(best.set, way.set),
                _ => {
                    best = Some(way);
                    destination.origins.clear();
                }
            }
            destination.origins.push(source.router);
        }
        destination.origins.sort_unstable();
        destination.origins.dedup();
        destination.chosen = best;
    }

    fn way(&mut self, source: &LsaKey, offer: &Offer) -> Option<Chosen> {
        let Offer { metric, by } = *offer;
        let (path, (inner, set)) = match by {
            By::IntraArea(vertex) => (PathType::IntraArea, self.paths.to(vertex)?),
            By::InterArea => (PathType::InterArea, self.paths.to_area_border(source.router)?),
            By::External { type_2, forwarding } => {
                let path = if type_2 { PathType::External2 } else { PathType::External1 };
                let to_router = self.way_to_as_boundary(source.router)?;
                let way = match forwarding {
                    None => to_router,
                    Some(address) => *self.ways.as_ref()?.get(&address)?.as_ref()?,
                };
                (path, way)
            }
        };
        let rank = match path {
            PathType::External2 => Rank { path, cost: metric, inner },
            _ => Rank { path, cost: inner.saturating_add(metric), inner: 0 },
        };
        Some(Chosen { rank, set })
    }

    /// RFC 2328 section 16.2: a way inside the area comes before any through an area border router.
    fn way_to_as_boundary(&mut self, router: RouterId) -> Option<(u32, SetId)> {
        if let Some(path) = self.paths.to_as_boundary(router) {
            return Some(path);
        }
        let mut best: Option<(u32, SetId)> = None;
        for (source, metric) in self.boundary_routers.of(router) {
            let Some((distance, set)) = self.paths.to_area_border(source.router) else { continue };
            let cost = distance.saturating_add(metric);
            match &mut best {
                Some((known, _)) if cost > *known => {}
                Some((known, known_set)) if cost == *known => *known_set = self.sets.union(*known_set, set),
                _ => best = Some((cost, set)),
            }
        }
        best
    }

    fn look_up_ways(&mut self, destinations: &BTreeMap<Prefix, Destination>, forwarded: &BTreeSet<Prefix>) {
        let offers = forwarded.iter().filter_map(|prefix| destinations.get(prefix)).flat_map(|it| &it.offers);
        let addresses: BTreeSet<Ipv6Addr> = offers
            .filter_map(|(_, offer)| match offer.by {
                By::External { forwarding, .. } => forwarding,
                By::InterArea | By::IntraArea(_) => None,
            })
            .collect();
        let ways =
            addresses.into_iter().map(|address| (address, self.way_to(destinations, address))).collect();
        self.ways = Some(ways);
    }

    /// RFC 2328 section 16.4 step 3: by the longest match among routes inside the autonomous system. One of our own
    /// prefixes is no way: there is nobody else on it.
    fn way_to(
        &mut self,
        destinations: &BTreeMap<Prefix, Destination>,
        address: Ipv6Addr,
    ) -> Option<(u32, SetId)> {
        let mut covering = (0..=128).rev().filter_map(|len| destinations.get(&Prefix::new(address, len)));
        let best = covering.find_map(|destination| {
            let internal = |(_, offer): &&(LsaKey, Offer)| !matches!(offer.by, By::External { .. });
            let offers = destination.offers.iter().filter(internal).copied().collect();
            let mut inside = Destination { offers, ..Destination::default() };
            self.choose(&mut inside);
            inside.chosen
        })?;
        (best.set != LOCAL).then_some((best.rank.cost, best.set))
    }
}

impl Paths<'_> {
    fn to(self, vertex: VertexId) -> Option<(u32, SetId)> {
        self.tree.path(self.graph.position(vertex)?)
    }

    /// RFC 2328 section 16.1 step 4: only border routers are destinations of their own.
    fn to_area_border(self, router: RouterId) -> Option<(u32, SetId)> {
        self.to_router_with(router, |traits| traits.area_border)
    }

    fn to_as_boundary(self, router: RouterId) -> Option<(u32, SetId)> {
        self.to_router_with(router, |traits| traits.as_boundary)
    }

    fn to_router_with(self, router: RouterId, has: impl Fn(&Traits) -> bool) -> Option<(u32, SetId)> {
        let at = self.graph.position(VertexId::Router(router))?;
        let vertex = self.graph.vertices.get(at as usize)?;
        if has(&vertex.traits) { self.tree.path(at) } else { None }
    }
}

impl BoundaryRouters {
    /// Returns whether anything is different.
    fn replace(&mut self, key: LsaKey, said: Option<(RouterId, u32)>) -> bool {
        let before = self.by_lsa.remove(&key);
        let cost_before = before.and_then(|router| Some((router, self.by_router.remove(&(router, key))?)));
        if let Some((router, metric)) = said {
            self.by_lsa.insert(key, router);
            self.by_router.insert((router, key), metric);
        }
        cost_before != said
    }

    fn of(&self, router: RouterId) -> impl Iterator<Item = (&LsaKey, u32)> {
        let first = LsaKey { ls_type: LsType(0), router: RouterId(0), id: 0 };
        let of_router = self.by_router.range((router, first)..);
        of_router.take_while(move |((of, _), _)| *of == router).map(|((_, key), metric)| (key, *metric))
    }
}
