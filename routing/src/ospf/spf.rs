//! The routing table calculation (RFC 2328 section 16.1, RFC 5340 section 4.8) on flat arrays, and the forwarding table.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use molt_mesh::fib::FibBuilder;
use molt_mesh::{Fib, LinkId, Prefix, RouterId, Time};

use super::consts::{link_type, options, prefix_options};
use super::lsa::{Body, LsType, LsaKey, RouterLink};
use super::lsdb::Lsdb;
use super::origin::Usable;
use super::view::{RejectedRoute, Route, SpfRun, SpfTrigger};
use super::{Ospf, Output};

/// Equal-cost next hops of one route. BIRD installs as many; more do not spread better over a degree of eight.
const MAX_NEXT_HOPS: usize = 16;
/// So many next-hop sets are remembered from one calculation to the next: a node of degree eight has 255 at most, one of
/// 64 some thousands.
const MAX_SETS: usize = 10_000;
/// Below this many vertices without LSAs they are not worth a new graph.
const MIN_COMPACT: usize = 1_000;
/// Refused prefixes that are remembered for the operator.
const MAX_REJECTED: usize = 256;
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

/// A router or network and its links. It stays when its LSAs go, with no links, because others hold its position.
#[derive(Debug)]
struct Vertex {
    id: VertexId,
    /// Whether it has LSAs.
    live: bool,
    /// Whether paths may lead to it (the V6-bit), and through it (the R-bit).
    usable: bool,
    transit: bool,
    /// Position and cost of the targets, ascending. Only targets that were vertices when the row was made; see
    /// [`Graph::update`].
    edges: Vec<(u32, u32)>,
}

/// The graph, kept in step with the database: a changed LSA costs its own row and not the whole.
#[derive(Debug)]
struct Graph {
    vertices: Vec<Vertex>,
    /// Position in `vertices`. Only looked up, never iterated.
    index: HashMap<VertexId, u32>,
}

/// What the LSAs of one vertex say.
struct Row {
    options: u32,
    links: Vec<(VertexId, u32)>,
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
    distance: Vec<u32>,
    next_hops: Vec<SetId>,
}

const UNREACHABLE: u32 = u32::MAX;

/// Names a set of [`NextHopSets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SetId(u32);

/// The empty set: no next hop, because the destination is here.
const LOCAL: SetId = SetId(0);

/// Next-hop sets, each stored once: a thousand destinations share a handful, and two routes are compared by one number.
#[derive(Debug)]
struct NextHopSets {
    sets: Vec<Box<[LinkId]>>,
    /// Only looked up, never iterated.
    index: HashMap<Box<[LinkId]>, SetId>,
}

impl NextHopSets {
    fn new() -> Self {
        let mut sets = Self { sets: Vec::new(), index: HashMap::new() };
        let local = sets.intern(&[]);
        debug_assert_eq!(local, LOCAL);
        sets
    }

    fn get(&self, set: SetId) -> &[LinkId] {
        self.sets.get(set.0 as usize).map_or(&[], |set| set)
    }

    fn intern(&mut self, set: &[LinkId]) -> SetId {
        if let Some(known) = self.index.get(set) {
            return *known;
        }
        let next = u32::try_from(self.sets.len()).expect("the sets are forgotten long before there are 2^32");
        self.sets.push(set.into());
        self.index.insert(set.into(), SetId(next));
        SetId(next)
    }

    fn union(&mut self, a: SetId, b: SetId) -> SetId {
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

/// The root is always the first vertex. It has no row: its links are the adjacencies.
const ROOT: u32 = 0;

impl VertexId {
    /// The vertex an LSA describes.
    const fn of(key: &LsaKey) -> Option<Self> {
        match key.ls_type {
            LsType::ROUTER => Some(Self::Router(key.router)),
            LsType::NETWORK => Some(Self::Network(key.router, key.id)),
            _ => None,
        }
    }
}

impl Row {
    fn read(usable: &Usable<'_>, id: VertexId) -> Option<Self> {
        let (ls_type, router) = match id {
            VertexId::Network(router, _) => (LsType::NETWORK, router),
            VertexId::Router(router) => (LsType::ROUTER, router),
        };
        let mut row: Option<Self> = None;
        for (_, body) in usable.of_router(ls_type, router).filter(|(key, _)| VertexId::of(key) == Some(id)) {
            match body {
                Body::Network(lsa) => {
                    let links = lsa.routers.iter().map(|router| (VertexId::Router(*router), 0));
                    return Some(Self { options: options::ROUTER, links: links.collect() });
                }
                Body::Router(lsa) => {
                    // RFC 5340 section 4.8.1: all fragments are one; the options are those of the lowest Link State ID.
                    let row = row.get_or_insert_with(|| Self { options: lsa.options, links: Vec::new() });
                    row.links.extend(lsa.links.iter().filter_map(named));
                }
                _ => {}
            }
        }
        row
    }
}

/// Target and cost of a link that takes part in the calculation.
fn named(link: &RouterLink) -> Option<(VertexId, u32)> {
    let target = match link.kind {
        link_type::POINT_TO_POINT => VertexId::Router(link.neighbor),
        link_type::TRANSIT => VertexId::Network(link.neighbor, link.neighbor_interface),
        _ => return None,
    };
    // RFC 2328 appendix C.3: a cost is greater than zero. With zero two routers could each find the other as near to
    // everything as itself, and equal-cost paths would lead in a circle.
    Some((target, u32::from(link.metric.max(1))))
}

impl Graph {
    fn new(root: RouterId) -> Self {
        let mut graph = Self { vertices: Vec::new(), index: HashMap::new() };
        graph.position_or_new(VertexId::Router(root));
        graph
    }

    /// Forgets vertices whose LSAs are gone when they are the larger part.
    fn compact(&mut self, usable: &Usable<'_>, root: RouterId) {
        let live = self.vertices.iter().filter(|vertex| vertex.live).count();
        if self.vertices.len() < 2 * live + MIN_COMPACT {
            return;
        }
        let ids: Vec<VertexId> =
            self.vertices.iter().filter(|vertex| vertex.live).map(|vertex| vertex.id).collect();
        *self = Self::new(root);
        for id in ids {
            self.update(usable, id);
        }
    }

    /// Makes the row of one vertex anew after its LSAs changed.
    fn update(&mut self, usable: &Usable<'_>, id: VertexId) {
        let row = Row::read(usable, id);
        if row.is_none() && !self.index.contains_key(&id) {
            return;
        }
        let at = self.position_or_new(id);
        if at == ROOT {
            return;
        }
        self.set_row(at, row);
        // A target whose row was made before this vertex existed does not name it. That matters from the moment on at
        // which this vertex has a link to the target: a link counts only if both ends have it.
        let targets: Vec<u32> = self.edges(at).iter().map(|(to, _)| *to).filter(|to| *to != ROOT).collect();
        for to in targets {
            if !self.has_edge(to, at)
                && let Some(id) = self.vertices.get(to as usize).map(|vertex| vertex.id)
            {
                self.set_row(to, Row::read(usable, id));
            }
        }
    }

    fn set_row(&mut self, at: u32, row: Option<Row>) {
        let live = row.is_some();
        let Row { options, links } = row.unwrap_or(Row { options: 0, links: Vec::new() });
        let resolve = |(to, cost): &(VertexId, u32)| Some((*self.index.get(to)?, *cost));
        let mut edges: Vec<(u32, u32)> = links.iter().filter_map(resolve).collect();
        edges.sort_unstable();
        if let Some(vertex) = self.vertices.get_mut(at as usize) {
            vertex.live = live;
            vertex.usable = options & options::V6 != 0;
            vertex.transit = options & options::R != 0;
            vertex.edges = edges;
        }
    }

    fn position_or_new(&mut self, id: VertexId) -> u32 {
        if let Some(known) = self.index.get(&id) {
            return *known;
        }
        let at = u32::try_from(self.vertices.len()).expect("the database is bounded far below 2^32 LSAs");
        self.vertices.push(Vertex { id, live: at == ROOT, usable: true, transit: true, edges: Vec::new() });
        self.index.insert(id, at);
        at
    }

    fn edges(&self, vertex: u32) -> &[(u32, u32)] {
        self.vertices.get(vertex as usize).map_or(&[], |vertex| &vertex.edges)
    }

    /// RFC 2328 section 16.1 step 2 (b): a link counts only if the other end has one back.
    fn has_edge(&self, from: u32, to: u32) -> bool {
        let edges = self.edges(from);
        edges.get(edges.partition_point(|(target, _)| *target < to)).is_some_and(|(target, _)| *target == to)
    }
}

type Candidates = BinaryHeap<Reverse<(u32, VertexId, u32)>>;

impl Tree {
    /// Dijkstra's algorithm with all equal-cost next hops. The links of the root are its adjacencies of this moment: its
    /// own Router-LSA may still have to wait for MinLSInterval, and traffic must not.
    fn calculate(graph: &Graph, root_links: &[RootLink], sets: &mut NextHopSets) -> Self {
        let count = graph.vertices.len();
        let mut tree = Self { distance: vec![UNREACHABLE; count], next_hops: vec![LOCAL; count] };
        let mut done = vec![false; count];
        let mut candidates = Candidates::new();
        if let (Some(distance), Some(done)) = (tree.distance.first_mut(), done.first_mut()) {
            *distance = 0;
            *done = true;
        }
        for link in root_links {
            let Some(&to) = graph.index.get(&VertexId::Router(link.neighbor)) else { continue };
            if graph.has_edge(to, ROOT) {
                let set = sets.intern(&[link.link]);
                tree.relax(graph, to, link.cost, set, sets, &mut candidates);
            }
        }
        while let Some(Reverse((distance, _, at))) = candidates.pop() {
            match done.get_mut(at as usize) {
                Some(done) if !*done => *done = true,
                _ => continue,
            }
            let Some(vertex) = graph.vertices.get(at as usize).filter(|vertex| vertex.transit) else {
                continue;
            };
            let set = tree.next_hops.get(at as usize).copied().unwrap_or(LOCAL);
            for &(to, cost) in &vertex.edges {
                if done.get(to as usize).is_some_and(|done| !*done) && graph.has_edge(to, at) {
                    tree.relax(graph, to, distance.saturating_add(cost), set, sets, &mut candidates);
                }
            }
        }
        tree
    }

    fn relax(
        &mut self,
        graph: &Graph,
        to: u32,
        distance: u32,
        set: SetId,
        sets: &mut NextHopSets,
        candidates: &mut Candidates,
    ) {
        let at = to as usize;
        let (Some(known), Some(next_hops)) = (self.distance.get_mut(at), self.next_hops.get_mut(at)) else {
            return;
        };
        let Some(vertex) = graph.vertices.get(at).filter(|vertex| vertex.usable) else { return };
        if distance < *known {
            *known = distance;
            *next_hops = set;
            candidates.push(Reverse((distance, vertex.id, to)));
        } else if distance == *known && distance != UNREACHABLE {
            *next_hops = sets.union(*next_hops, set);
        }
    }

    fn distance(&self, graph: &Graph, id: VertexId) -> Option<(u32, SetId)> {
        let at = *graph.index.get(&id)? as usize;
        let distance = *self.distance.get(at)?;
        (distance != UNREACHABLE).then_some((distance, *self.next_hops.get(at)?))
    }
}

/// One way to a prefix. The order puts the best one of each prefix first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    prefix: Prefix,
    cost: u32,
    origin: RouterId,
    set: SetId,
}

/// A route in use.
#[derive(Debug)]
struct Chosen {
    prefix: Prefix,
    cost: u32,
    set: SetId,
    /// Part of `Spf::origins`.
    origins: Range<usize>,
}

/// The result of the last calculation.
#[derive(Debug)]
pub(super) struct Spf {
    graph: Graph,
    /// Vertices whose LSAs changed since `tree` was calculated.
    changed: BTreeSet<VertexId>,
    /// Whether `tree` has to be calculated anew.
    stale: bool,
    tree: Tree,
    sets: NextHopSets,
    /// Ascending by prefix.
    routes: Vec<Chosen>,
    origins: Vec<RouterId>,
    pub(super) rejected: Vec<RejectedRoute>,
    pub(super) fib: Arc<Fib>,
    pub(super) log: VecDeque<SpfRun>,
    /// The first event since the last run, and how many there were.
    trigger: Option<(Time, SpfTrigger)>,
    triggers: u32,
}

impl Spf {
    pub(super) fn new(root: RouterId) -> Self {
        Self {
            graph: Graph::new(root),
            changed: BTreeSet::new(),
            stale: false,
            tree: Tree::default(),
            sets: NextHopSets::new(),
            routes: Vec::new(),
            origins: Vec::new(),
            rejected: Vec::new(),
            fib: Arc::default(),
            log: VecDeque::new(),
            trigger: None,
            triggers: 0,
        }
    }

    /// Begins as another router; the routes stay until the next calculation.
    pub(super) fn restart(&mut self, root: RouterId, lsdb: &Lsdb) {
        self.graph = Graph::new(root);
        self.tree = Tree::default();
        let vertices = lsdb.of_type(LsType::ROUTER).chain(lsdb.of_type(LsType::NETWORK));
        self.changed = vertices.filter_map(|(key, _)| VertexId::of(key)).collect();
    }

    /// Distance and next hops of what a prefix LSA hangs on.
    pub(super) fn path(&self, key: &LsaKey, referenced: &LsaKey) -> Option<(u32, &[LinkId])> {
        let (distance, set) = self.tree.distance(&self.graph, referenced_vertex(key, referenced)?)?;
        Some((distance, self.sets.get(set)))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter().map(|route| Route {
            prefix: route.prefix,
            cost: route.cost,
            origins: self.origins.get(route.origins.clone()).unwrap_or_default().to_vec(),
            links: self.sets.get(route.set).to_vec(),
        })
    }

    /// Of several ways to a prefix the nearest; equally near ones share the traffic (anycast). A local one has cost 0, and
    /// one from elsewhere at least 1.
    fn choose(&mut self, mut offers: Vec<Offer>) -> Vec<Chosen> {
        offers.sort_unstable();
        self.origins.clear();
        let mut chosen: Vec<Chosen> = Vec::with_capacity(offers.len());
        for offer in offers {
            match chosen.last_mut() {
                Some(best) if best.prefix == offer.prefix => {
                    if best.cost == offer.cost {
                        best.set = self.sets.union(best.set, offer.set);
                        if self.origins.last() != Some(&offer.origin) {
                            self.origins.push(offer.origin);
                            best.origins.end += 1;
                        }
                    }
                }
                _ => {
                    let at = self.origins.len();
                    self.origins.push(offer.origin);
                    let Offer { prefix, cost, set, .. } = offer;
                    chosen.push(Chosen { prefix, cost, set, origins: at..at + 1 });
                }
            }
        }
        chosen
    }
}

impl Ospf {
    /// The graph changed.
    pub(super) fn schedule_spf(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.stale = true;
        if let SpfTrigger::Lsa(key) = &trigger {
            self.spf.changed.extend(VertexId::of(key));
        }
        self.leaves_changed(trigger, now);
    }

    /// Only prefixes changed: routes are calculated anew from the tree as it is.
    pub(super) fn leaves_changed(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.trigger.get_or_insert((now, trigger));
        self.spf.triggers += 1;
        self.delay.handle_event(self.spf.graph.vertices.len(), now);
    }

    /// Calculates routes, and the tree before them if the graph changed.
    pub(super) fn calculate_routes(&mut self, now: Time) {
        let full = std::mem::take(&mut self.spf.stale);
        let forget_sets = full && self.spf.sets.sets.len() > MAX_SETS;
        if full {
            self.calculate_tree(forget_sets, now);
        }
        let offers = self.collect_offers(now);
        let routes = self.spf.choose(offers);
        let pairs = routes.iter().zip(&self.spf.routes);
        let unchanged = !forget_sets
            && routes.len() == self.spf.routes.len()
            && pairs.into_iter().all(|(new, old)| (new.prefix, new.set) == (old.prefix, old.set));
        if !unchanged {
            let mut builder = FibBuilder::with_capacity(routes.len());
            for route in &routes {
                match self.spf.sets.get(route.set) {
                    [] => builder.local(route.prefix),
                    links => builder.via(route.prefix, links),
                };
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
            vertices: self.spf.graph.vertices.len(),
            routes: routes.len(),
            fib_changed: !unchanged,
        });
        self.spf.routes = routes;
        self.counters.spf_runs += 1;
    }

    fn calculate_tree(&mut self, forget_sets: bool, now: Time) {
        if forget_sets {
            self.spf.sets = NextHopSets::new();
        }
        let usable = Usable { lsdb: &self.lsdb, origins: &self.origins, now };
        for id in std::mem::take(&mut self.spf.changed) {
            self.spf.graph.update(&usable, id);
        }
        self.spf.graph.compact(&usable, self.config.router_id);
        let root_links: Vec<RootLink> = self
            .interfaces
            .iter()
            .filter_map(|(link, interface)| {
                let neighbor = interface.full_neighbor()?.router;
                Some(RootLink { link: *link, cost: interface.config.cost.max(1).into(), neighbor })
            })
            .collect();
        self.spf.tree = Tree::calculate(&self.spf.graph, &root_links, &mut self.spf.sets);
    }

    /// RFC 5340 section 4.8.1, second stage: the prefixes hang on the tree as leaves.
    fn collect_offers(&mut self, now: Time) -> Vec<Offer> {
        let origin = self.config.router_id;
        let own = self.config.prefixes.iter();
        let mut offers: Vec<Offer> =
            own.map(|prefix| Offer { prefix: *prefix, cost: 0, origin, set: LOCAL }).collect();
        let mut rejected = Vec::new();
        let allowed = self.allowed_prefixes();
        let usable = Usable { lsdb: &self.lsdb, origins: &self.origins, now };
        for (key, body) in usable.of_type(LsType::INTRA_AREA_PREFIX) {
            let Body::IntraAreaPrefix(lsa) = body else { continue };
            if key.router == self.config.router_id {
                continue;
            }
            let Some(vertex) = referenced_vertex(&key, &lsa.referenced) else { continue };
            let Some((distance, set)) = self.spf.tree.distance(&self.spf.graph, vertex) else { continue };
            let allow = allowed.get(&key.router).map(Vec::as_slice);
            for advertised in lsa.prefixes.iter().filter(|prefix| prefix.options & prefix_options::NU == 0) {
                match self.origins.permits(key.router, advertised, allow, now) {
                    Ok(prefix) => {
                        let cost = distance.saturating_add(advertised.metric.into());
                        offers.push(Offer { prefix, cost, origin: key.router, set });
                    }
                    Err(reason) if rejected.len() < MAX_REJECTED => {
                        let prefix = Prefix::new(advertised.addr, advertised.len);
                        rejected.push(RejectedRoute { prefix, router: key.router, reason });
                    }
                    Err(_) => {}
                }
            }
        }
        self.origins.note_rejected(&rejected, now);
        self.spf.rejected = rejected;
        offers
    }

    /// What the routers behind our stock links may announce. They have no record that proves an address theirs, so the
    /// operator's word stands for it.
    pub(super) fn allowed_prefixes(&self) -> BTreeMap<RouterId, Vec<Prefix>> {
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

#[cfg(test)]
mod tests;
