//! The routing table calculation (RFC 2328 section 16.1, RFC 5340 section 4.8) on flat arrays, and the forwarding table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use molt_mesh::fib::FibBuilder;
use molt_mesh::{Fib, LinkId, MESH_PREFIX, Prefix, RouterId, Time};

use super::consts::{link_type, options, prefix_options};
use super::lsa::{Body, LsType, LsaKey};
use super::lsdb::Lsdb;
use super::view::{RejectedRoute, Route, RouteReject, SpfRun, SpfTrigger};
use super::{Ospf, Output};

/// Equal-cost next hops of one route. BIRD installs as many; more do not spread better over a degree of eight.
const MAX_NEXT_HOPS: usize = 16;
/// Runs that are remembered for the operator.
const LOG: usize = 32;

/// A vertex of the graph (RFC 5340 section 4.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum VertexId {
    /// A transit network, by Router ID and Interface ID of its Designated Router. At equal distance networks come
    /// before routers (RFC 2328 section 16.1 step 3).
    Network(RouterId, u32),
    Router(RouterId),
}

#[derive(Debug)]
struct Vertex {
    id: VertexId,
    /// Whether paths may lead through it (the R-bit).
    transit: bool,
    /// Its part of `Graph::edges`, ascending by target.
    edges: Range<usize>,
}

/// The graph in compressed rows.
#[derive(Debug, Default)]
struct Graph {
    vertices: Vec<Vertex>,
    /// Target and cost.
    edges: Vec<(u32, u32)>,
    /// Only looked up, never iterated.
    index: HashMap<VertexId, u32>,
}

/// An adjacency of the calculating router.
#[derive(Debug, Clone, Copy)]
struct RootLink {
    link: LinkId,
    cost: u32,
    neighbor: RouterId,
}

/// Distance and next hops of each vertex.
#[derive(Debug, Default)]
struct Tree {
    graph: Graph,
    distance: Vec<u32>,
    /// Index into `sets`.
    next_hops: Vec<u32>,
    sets: NextHopSets,
}

const UNREACHABLE: u32 = u32::MAX;

/// Next-hop sets, each stored once: a thousand destinations share a handful.
#[derive(Debug, Default)]
struct NextHopSets {
    sets: Vec<Box<[LinkId]>>,
    /// Only looked up, never iterated.
    index: HashMap<Box<[LinkId]>, u32>,
}

impl NextHopSets {
    fn get(&self, set: u32) -> &[LinkId] {
        self.sets.get(set as usize).map_or(&[], |set| set)
    }

    fn intern(&mut self, set: &[LinkId]) -> u32 {
        if let Some(known) = self.index.get(set) {
            return *known;
        }
        let next = u32::try_from(self.sets.len()).expect("fewer than 2^32 next-hop sets fit in memory");
        self.sets.push(set.into());
        self.index.insert(set.into(), next);
        next
    }

    fn union(&mut self, a: u32, b: u32) -> u32 {
        if a == b { a } else { self.intern(&merged(self.get(a), self.get(b))) }
    }
}

/// The union in ascending order. Of too many, those with the lowest ids are taken, so every run takes the same.
fn merged(a: &[LinkId], b: &[LinkId]) -> Vec<LinkId> {
    let mut both = [a, b].concat();
    both.sort_unstable();
    both.dedup();
    both.truncate(MAX_NEXT_HOPS);
    both
}

impl Graph {
    fn new(lsdb: &Lsdb, root: RouterId, now: Time) -> Self {
        let mut graph = Self::default();
        // Targets by name first: a vertex may be named before its own LSA is met.
        let mut named: Vec<(VertexId, u32)> = Vec::new();
        let mut rows: Vec<(VertexId, u32, Range<usize>)> =
            vec![(VertexId::Router(root), options::ROUTER, 0..0)];
        for (key, entry) in lsdb.of_type(LsType::ROUTER).filter(|(key, _)| key.router != root) {
            let Body::Router(lsa) = &entry.body else { continue };
            if entry.is_max_age(now) {
                continue;
            }
            let id = VertexId::Router(key.router);
            let start = named.len();
            named.extend(lsa.links.iter().filter_map(|link| {
                let target = match link.kind {
                    link_type::POINT_TO_POINT => VertexId::Router(link.neighbor),
                    link_type::TRANSIT => VertexId::Network(link.neighbor, link.neighbor_interface),
                    _ => return None,
                };
                // RFC 2328 appendix C.3: a cost is greater than zero. With zero two routers could each find the other
                // as near to everything as itself, and equal-cost paths would lead in a circle.
                Some((target, u32::from(link.metric.max(1))))
            }));
            match rows.last_mut() {
                // RFC 5340 section 4.8.1: all fragments are one; the options are those of the lowest Link State ID.
                Some((last, _, row)) if *last == id => row.end = named.len(),
                _ => rows.push((id, lsa.options, start..named.len())),
            }
        }
        for (key, entry) in lsdb.of_type(LsType::NETWORK) {
            let Body::Network(lsa) = &entry.body else { continue };
            if entry.is_max_age(now) {
                continue;
            }
            let start = named.len();
            named.extend(lsa.routers.iter().map(|router| (VertexId::Router(*router), 0)));
            rows.push((VertexId::Network(key.router, key.id), options::ROUTER, start..named.len()));
        }
        // Step 2 (b) of that section: no path leads to a router that does not route IPv6.
        rows.retain(|(_, options, _)| options & options::V6 != 0);

        graph.index = rows.iter().map(|(id, ..)| *id).zip(0..).collect();
        for (id, options, row) in rows {
            let start = graph.edges.len();
            let targets = named.get(row).unwrap_or_default();
            graph.edges.extend(targets.iter().filter_map(|(to, cost)| Some((*graph.index.get(to)?, *cost))));
            if let Some(row) = graph.edges.get_mut(start..) {
                row.sort_unstable();
            }
            let transit = options & options::R != 0;
            graph.vertices.push(Vertex { id, transit, edges: start..graph.edges.len() });
        }
        graph
    }

    fn edges(&self, vertex: u32) -> &[(u32, u32)] {
        let range = self.vertices.get(vertex as usize).map(|vertex| vertex.edges.clone());
        range.and_then(|range| self.edges.get(range)).unwrap_or_default()
    }

    /// RFC 2328 section 16.1 step 2 (b): a link counts only if the other end has one back.
    fn has_edge(&self, from: u32, to: u32) -> bool {
        let edges = self.edges(from);
        edges.get(edges.partition_point(|(target, _)| *target < to)).is_some_and(|(target, _)| *target == to)
    }
}

/// The root is always the first vertex.
const ROOT: u32 = 0;

impl Tree {
    /// Dijkstra's algorithm with all equal-cost next hops. The links of the root are its adjacencies of this moment: its
    /// own Router-LSA may still have to wait for MinLSInterval, and traffic must not.
    fn calculate(graph: Graph, root_links: &[RootLink]) -> Self {
        let count = graph.vertices.len();
        let mut tree = Self {
            graph,
            distance: vec![UNREACHABLE; count],
            next_hops: vec![0; count],
            sets: NextHopSets::default(),
        };
        let mut done = vec![false; count];
        let mut candidates = BinaryHeap::new();
        if let Some(distance) = tree.distance.first_mut() {
            *distance = 0;
        }
        if let Some(done) = done.first_mut() {
            *done = true;
        }
        for link in root_links {
            let Some(&to) = tree.graph.index.get(&VertexId::Router(link.neighbor)) else { continue };
            if tree.graph.has_edge(to, ROOT) {
                let set = tree.sets.intern(&[link.link]);
                tree.relax(to, link.cost, set, &mut candidates);
            }
        }
        while let Some(Reverse((distance, id, at))) = candidates.pop() {
            match done.get_mut(at as usize) {
                Some(done) if !*done => *done = true,
                _ => continue,
            }
            let Some(vertex) = tree.graph.vertices.get(at as usize) else { continue };
            debug_assert_eq!(vertex.id, id);
            if !vertex.transit {
                continue;
            }
            let set = tree.next_hops.get(at as usize).copied().unwrap_or(0);
            for edge in vertex.edges.clone() {
                let Some(&(to, cost)) = tree.graph.edges.get(edge) else { continue };
                if done.get(to as usize).is_some_and(|done| !*done) && tree.graph.has_edge(to, at) {
                    tree.relax(to, distance.saturating_add(cost), set, &mut candidates);
                }
            }
        }
        tree
    }

    fn relax(
        &mut self,
        to: u32,
        distance: u32,
        set: u32,
        candidates: &mut BinaryHeap<Reverse<(u32, VertexId, u32)>>,
    ) {
        let at = to as usize;
        let (Some(known), Some(next_hops)) = (self.distance.get_mut(at), self.next_hops.get_mut(at)) else {
            return;
        };
        if distance < *known {
            *known = distance;
            *next_hops = set;
            if let Some(vertex) = self.graph.vertices.get(at) {
                candidates.push(Reverse((distance, vertex.id, to)));
            }
        } else if distance == *known && distance != UNREACHABLE {
            *next_hops = self.sets.union(*next_hops, set);
        }
    }

    fn distance(&self, id: VertexId) -> Option<(u32, &[LinkId])> {
        let at = *self.graph.index.get(&id)? as usize;
        let distance = *self.distance.get(at)?;
        (distance != UNREACHABLE).then(|| (distance, self.sets.get(*self.next_hops.get(at).unwrap_or(&0))))
    }
}

/// The result of the last calculation.
#[derive(Debug, Default)]
pub(super) struct Spf {
    tree: Tree,
    pub(super) routes: BTreeMap<Prefix, Route>,
    pub(super) rejected: Vec<RejectedRoute>,
    pub(super) fib: Arc<Fib>,
    pub(super) log: VecDeque<SpfRun>,
    /// Whether the graph changed since `tree` was calculated.
    stale: bool,
    /// The first event since the last run, and how many there were.
    trigger: Option<(Time, SpfTrigger)>,
    triggers: u32,
}

impl Ospf {
    /// The graph changed.
    pub(super) fn schedule_spf(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.stale = true;
        self.leaves_changed(trigger, now);
    }

    /// Only prefixes changed: routes are calculated anew from the tree as it is.
    pub(super) fn leaves_changed(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.trigger.get_or_insert((now, trigger));
        self.spf.triggers += 1;
        self.delay.handle_event(now);
    }

    /// Calculates routes, and the tree before them if the graph changed.
    pub(super) fn calculate_routes(&mut self, now: Time) {
        let full = std::mem::take(&mut self.spf.stale);
        if full {
            let root_links: Vec<RootLink> = self
                .interfaces
                .iter()
                .filter_map(|(link, interface)| {
                    let neighbor = interface.full_neighbor()?.router;
                    Some(RootLink { link: *link, cost: interface.config.cost.max(1).into(), neighbor })
                })
                .collect();
            let graph = Graph::new(&self.lsdb, self.config.router_id, now);
            self.spf.tree = Tree::calculate(graph, &root_links);
        }
        let (routes, rejected) = self.collect_routes(now);
        let same = |(a, b): (&Route, &Route)| a.prefix == b.prefix && a.links == b.links;
        let unchanged =
            routes.len() == self.spf.routes.len() && routes.values().zip(self.spf.routes.values()).all(same);
        if !unchanged {
            let mut builder = FibBuilder::with_capacity(routes.len());
            for route in routes.values() {
                if route.links.is_empty() {
                    builder.local(route.prefix);
                } else {
                    builder.via(route.prefix, &route.links);
                }
            }
            self.spf.fib = Arc::new(builder.build());
            self.outputs.push_back(Output::FibChanged);
        }
        let (first_event, trigger) = self.spf.trigger.take().unwrap_or((now, SpfTrigger::Configuration));
        if self.spf.log.len() == LOG {
            self.spf.log.pop_front();
        }
        self.spf.log.push_back(SpfRun {
            at: now,
            first_event,
            trigger,
            events: std::mem::take(&mut self.spf.triggers),
            full,
            vertices: self.spf.tree.graph.vertices.len(),
            routes: routes.len(),
            fib_changed: !unchanged,
        });
        self.spf.routes = routes;
        self.spf.rejected = rejected;
        self.counters.spf_runs += 1;
    }

    /// RFC 5340 section 4.8.1, second stage: the prefixes hang on the tree as leaves.
    fn collect_routes(&self, now: Time) -> (BTreeMap<Prefix, Route>, Vec<RejectedRoute>) {
        let own = self.config.prefixes.iter();
        let mut routes: BTreeMap<Prefix, Route> = own
            .map(|prefix| {
                let origins = vec![self.config.router_id];
                (*prefix, Route { prefix: *prefix, cost: 0, origins, links: Vec::new() })
            })
            .collect();
        let mut rejected = Vec::new();
        let allowed = self.allowed_prefixes();
        for (key, entry) in self.lsdb.of_type(LsType::INTRA_AREA_PREFIX) {
            let Body::IntraAreaPrefix(lsa) = &entry.body else { continue };
            if key.router == self.config.router_id || entry.is_max_age(now) {
                continue;
            }
            let Some(vertex) = referenced_vertex(key, &lsa.referenced) else { continue };
            let Some((distance, links)) = self.spf.tree.distance(vertex) else { continue };
            for advertised in lsa.prefixes.iter().filter(|prefix| prefix.options & prefix_options::NU == 0) {
                let mut reject = |reason| {
                    let prefix = Prefix::new(advertised.addr, advertised.len);
                    rejected.push(RejectedRoute { prefix, router: key.router, reason });
                };
                let Some(prefix) = advertised.prefix() else {
                    reject(RouteReject::InvalidPrefix);
                    continue;
                };
                if !MESH_PREFIX.covers(&prefix) || prefix.len() <= MESH_PREFIX.len() {
                    reject(RouteReject::OutsideMesh);
                    continue;
                }
                let allow = allowed.get(&key.router);
                if allow.is_some_and(|allow| !allow.iter().any(|allow| allow.covers(&prefix))) {
                    reject(RouteReject::NotAllowed);
                    continue;
                }
                let cost = distance.saturating_add(advertised.metric.into());
                add_route(&mut routes, prefix, cost, key.router, links);
            }
        }
        (routes, rejected)
    }

    /// What the routers behind our stock links may announce. They have no record that proves an address theirs, so the
    /// operator's word stands for it.
    fn allowed_prefixes(&self) -> BTreeMap<RouterId, Vec<Prefix>> {
        let mut allowed: BTreeMap<RouterId, Vec<Prefix>> = BTreeMap::new();
        for interface in self.interfaces.values().filter(|interface| interface.config.stock) {
            if let Some(neighbor) = &interface.neighbor {
                allowed.entry(neighbor.router).or_default().extend(&interface.config.allow);
            }
        }
        allowed
    }
}

fn referenced_vertex(key: &LsaKey, referenced: &LsaKey) -> Option<VertexId> {
    // RFC 5340 appendix A.4.10: both kinds of reference name the LSA's own originator.
    if referenced.router != key.router {
        return None;
    }
    match (referenced.ls_type, referenced.id) {
        (LsType::ROUTER, 0) => Some(VertexId::Router(referenced.router)),
        (LsType::NETWORK, id) => Some(VertexId::Network(referenced.router, id)),
        _ => None,
    }
}

/// The nearest originator wins; equally near ones share the traffic (anycast). A local route has cost 0 and no links, and
/// a route from elsewhere a cost of at least 1, so nothing takes its place.
fn add_route(
    routes: &mut BTreeMap<Prefix, Route>,
    prefix: Prefix,
    cost: u32,
    origin: RouterId,
    links: &[LinkId],
) {
    match routes.get_mut(&prefix) {
        Some(route) if route.cost < cost => {}
        Some(route) if route.cost == cost => {
            route.links = merged(&route.links, links);
            if !route.origins.contains(&origin) {
                route.origins.push(origin);
            }
        }
        _ => {
            routes.insert(prefix, Route { prefix, cost, origins: vec![origin], links: links.to_vec() });
        }
    }
}
