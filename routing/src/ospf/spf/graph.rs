//! The graph of the area: routers and transit networks with their links, kept in step with the database.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use molt_mesh::RouterId;

use super::super::consts::{link_type, options, router_bits};
use super::super::lsa::{Body, LsType, LsaKey, RouterLink};
use super::super::mix::Mix;
use super::super::origin::Usable;
use super::tree::Tree;

/// Below this many vertices without LSAs they are not worth a new graph.
pub(super) const MIN_COMPACT: usize = 1_000;

/// The root is always the first vertex. It has no row: its links are the adjacencies.
pub(super) const ROOT: u32 = 0;

/// A vertex of the graph (RFC 5340 section 4.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum VertexId {
    /// A transit network, by Router ID and Interface ID of its Designated Router.
    Network(RouterId, u32),
    Router(RouterId),
}

/// A router or network and its links. It stays when its LSAs go, with no links, because others hold its position.
#[derive(Debug)]
pub(super) struct Vertex {
    pub(super) id: VertexId,
    pub(super) traits: Traits,
    /// The links, ascending. Only those to targets that were vertices when the row was made; see [`Graph::update`].
    pub(super) edges: Vec<Edge>,
}

/// A link as one end says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    /// Position of the target.
    pub(super) to: u32,
    pub(super) cost: u16,
    /// Whether the other end says it, too. A link counts only then (RFC 2328 section 16.1 step 2 (b)); links change far
    /// less often than they are walked over.
    pub(super) mutual: bool,
}

/// What the LSAs of a vertex say beside its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traits {
    /// Whether it has LSAs.
    live: bool,
    /// Whether paths may lead to it (the V6-bit).
    pub(super) usable: bool,
    /// Whether paths may lead through it (the R-bit).
    pub(super) transit: bool,
    /// It is an area border router (bit B), so its inter-area LSAs count.
    pub(super) area_border: bool,
    /// It is an AS boundary router (bit E), so its AS-external-LSAs count.
    pub(super) as_boundary: bool,
}

/// The graph, kept in step with the database: a changed LSA costs its own row and not the whole.
#[derive(Debug)]
pub(in super::super) struct Graph {
    pub(super) vertices: Vec<Vertex>,
    /// Position in `vertices`. Only looked up, never iterated.
    index: HashMap<VertexId, u32, Mix>,
}

/// What the LSAs of one vertex say.
struct Row {
    options: u32,
    bits: u8,
    links: Vec<(VertexId, u16)>,
}

impl VertexId {
    /// The vertex an LSA describes.
    pub(super) const fn of(key: &LsaKey) -> Option<Self> {
        match key.ls_type {
            LsType::ROUTER => Some(Self::Router(key.router)),
            LsType::NETWORK => Some(Self::Network(key.router, key.id)),
            _ => None,
        }
    }

    /// The router, or the Designated Router of the network, which speaks for it.
    pub(super) const fn router(self) -> RouterId {
        match self {
            Self::Network(router, _) | Self::Router(router) => router,
        }
    }

    pub(super) const fn is_router(self) -> bool {
        matches!(self, Self::Router(_))
    }
}

impl Hash for VertexId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (router, network) = match *self {
            Self::Network(router, id) => (router, 1 << 32 | u64::from(id)),
            Self::Router(router) => (router, 0),
        };
        state.write_u128(u128::from(network) << 32 | u128::from(router.0));
    }
}

impl Row {
    fn read(usable: &Usable<'_>, id: VertexId) -> Option<Self> {
        let router = match id {
            VertexId::Network(router, id) => {
                let body = usable.get(&LsaKey { ls_type: LsType::NETWORK, router, id });
                let Some(Body::Network(lsa)) = body else { return None };
                let links = lsa.routers.iter().map(|router| (VertexId::Router(*router), 0));
                return Some(Self { options: options::ROUTER, bits: 0, links: links.collect() });
            }
            VertexId::Router(router) => router,
        };
        let mut row: Option<Self> = None;
        for (_, body) in usable.of_router(LsType::ROUTER, router) {
            let Body::Router(lsa) = body else { continue };
            // RFC 5340 section 4.8.1: all fragments are one; the options are those of the lowest Link State ID.
            let (options, bits) = (lsa.options, lsa.bits);
            let row = row.get_or_insert_with(|| Self { options, bits, links: Vec::new() });
            row.links.extend(lsa.links.iter().filter_map(named));
        }
        row
    }
}

/// Target and cost of a link that takes part in the calculation.
fn named(link: &RouterLink) -> Option<(VertexId, u16)> {
    let target = match link.kind {
        link_type::POINT_TO_POINT => VertexId::Router(link.neighbor),
        link_type::TRANSIT => VertexId::Network(link.neighbor, link.neighbor_interface),
        _ => return None,
    };
    // RFC 2328 appendix C.3: a cost is greater than zero. With zero two routers could each find the other as near to
    // everything as itself, and equal-cost paths would lead in a circle.
    Some((target, link.metric.max(1)))
}

impl Graph {
    pub(in super::super) fn new(root: RouterId) -> Self {
        let mut graph = Self { vertices: Vec::new(), index: HashMap::default() };
        graph.position_or_new(VertexId::Router(root));
        if let Some(root) = graph.vertices.first_mut() {
            root.traits = Traits { live: true, usable: true, transit: true, ..Traits::default() };
        }
        graph
    }

    /// The calculating router.
    pub(in super::super) fn root(&self) -> RouterId {
        match self.vertices.first().map(|vertex| vertex.id) {
            Some(VertexId::Router(root)) => root,
            _ => RouterId(0),
        }
    }

    /// Whether two routers other than the root have a link to each other, as both say.
    pub(in super::super) fn are_adjacent(&self, a: RouterId, b: RouterId) -> bool {
        match (self.position(VertexId::Router(a)), self.position(VertexId::Router(b))) {
            (Some(a), Some(b)) => self.has_edge(a, b) && self.has_edge(b, a),
            _ => false,
        }
    }

    /// The routers another one than the root is adjacent to.
    pub(in super::super) fn neighbors_of(&self, router: RouterId) -> impl Iterator<Item = RouterId> {
        let at = self.position(VertexId::Router(router));
        let edges = at.map_or(&[][..], |at| self.edges(at));
        let mutual = edges.iter().filter(|edge| edge.mutual);
        mutual.filter_map(|edge| match self.vertices.get(edge.to as usize)?.id {
            VertexId::Router(neighbor) => Some(neighbor),
            VertexId::Network(..) => None,
        })
    }

    /// Which of `routers` paths connect that do not lead through the root: those with the same number. Costs one walk over
    /// the graph.
    pub(in super::super) fn parts_around_root(&self, routers: &[RouterId]) -> BTreeMap<RouterId, u32> {
        const UNKNOWN: u32 = u32::MAX;
        let mut part = vec![UNKNOWN; self.vertices.len()];
        if let Some(root) = part.first_mut() {
            *root = 0;
        }
        let position = |router: &RouterId| self.position(VertexId::Router(*router));
        let passable = |at: u32| self.vertices.get(at as usize).is_some_and(|vertex| vertex.traits.transit);
        // Those that nothing passes through last: they belong to whatever else leads to them.
        let mut starts: Vec<u32> = routers.iter().filter_map(position).collect();
        starts.sort_by_key(|at| !passable(*at));
        for start in starts {
            let mut open = vec![start];
            while let Some(at) = open.pop() {
                let Some(mark) = part.get_mut(at as usize).filter(|mark| **mark == UNKNOWN) else { continue };
                *mark = start;
                if passable(at) {
                    open.extend(self.edges(at).iter().filter(|edge| edge.mutual).map(|edge| edge.to));
                }
            }
        }
        routers.iter().filter_map(|router| Some((*router, *part.get(position(router)? as usize)?))).collect()
    }

    pub(super) fn position(&self, id: VertexId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    /// Forgets vertices whose LSAs are gone when they are the larger part. Returns whether positions changed.
    pub(super) fn compact(&mut self, usable: &Usable<'_>, root: RouterId) -> bool {
        let live = self.vertices.iter().filter(|vertex| vertex.traits.live).count();
        if self.vertices.len() < 2 * live + MIN_COMPACT {
            return false;
        }
        let ids: Vec<VertexId> =
            self.vertices.iter().filter(|vertex| vertex.traits.live).map(|vertex| vertex.id).collect();
        *self = Self::new(root);
        self.update(usable, ids, None);
        true
    }

    /// Makes the rows of vertices anew after their LSAs changed. `tree` is that of the graph before, unless it is known to be
    /// out of date; returns whether it is.
    pub(in super::super) fn update(
        &mut self,
        usable: &Usable<'_>,
        ids: impl IntoIterator<Item = VertexId>,
        tree: Option<&Tree>,
    ) -> bool {
        // All get their positions before the first row names them: a whole database is read once, then.
        let mut rows = Vec::new();
        for id in ids {
            let row = Row::read(usable, id);
            if row.is_some() || self.index.contains_key(&id) {
                rows.push((self.position_or_new(id), row));
            }
        }
        rows.retain(|(at, _)| *at != ROOT);
        let changed: Vec<u32> = rows.iter().map(|(at, _)| *at).collect();
        let mut matters = false;
        for (at, row) in rows {
            matters |= self.set_row(at, row, tree.filter(|_| !matters));
        }
        // A target whose row was made before one of these vertices existed does not name it. That matters from the moment on
        // at which this vertex has a link to the target: a link counts only if both ends have it.
        for at in changed {
            let one_way = self.edges(at).iter().filter(|edge| !edge.mutual && edge.to != ROOT);
            let targets: Vec<u32> = one_way.map(|edge| edge.to).collect();
            for to in targets {
                if !self.has_edge(to, at)
                    && let Some(id) = self.vertices.get(to as usize).map(|vertex| vertex.id)
                {
                    matters |= self.set_row(to, Row::read(usable, id), tree.filter(|_| !matters));
                }
            }
        }
        matters
    }

    fn set_row(&mut self, at: u32, row: Option<Row>, tree: Option<&Tree>) -> bool {
        let live = row.is_some();
        let Row { options, bits, links } = row.unwrap_or(Row { options: 0, bits: 0, links: Vec::new() });
        let resolve = |(to, cost): &(VertexId, u16)| {
            Some(Edge { to: *self.index.get(to)?, cost: *cost, mutual: false })
        };
        let mut edges: Vec<Edge> = links.iter().filter_map(resolve).collect();
        edges.sort_unstable();
        let traits = Traits {
            live,
            usable: options & options::V6 != 0,
            transit: options & options::R != 0,
            area_border: bits & router_bits::B != 0,
            as_boundary: bits & router_bits::E != 0,
        };
        let Some(vertex) = self.vertices.get_mut(at as usize) else { return false };
        let same_traits = vertex.traits == traits;
        vertex.traits = traits;
        let before = std::mem::replace(&mut vertex.edges, edges);
        self.note_mutual(at, &before);
        !same_traits || tree.is_none_or(|tree| self.edges_matter(at, &before, tree))
    }

    /// Notes at both ends of each link of `at`, and of each it had `before`, whether both say it.
    fn note_mutual(&mut self, at: u32, before: &[Edge]) {
        let after = self.edges(at).iter();
        let mut targets: Vec<u32> = before.iter().chain(after).map(|edge| edge.to).collect();
        targets.dedup();
        for to in targets {
            let mutual = self.has_edge(at, to) && self.has_edge(to, at);
            for (from, to) in [(at, to), (to, at)] {
                let edges =
                    self.vertices.get_mut(from as usize).map_or(&mut [][..], |vertex| &mut vertex.edges);
                let first = edges.partition_point(|edge| edge.to < to);
                let parallel = edges.get_mut(first..).into_iter().flatten();
                parallel.take_while(|edge| edge.to == to).for_each(|edge| edge.mutual = mutual);
            }
        }
    }

    /// Whether `tree` may be another now that `at` has other edges than `before`. It is not if each link that came, went
    /// or has another cost is, with the old cost and the new one, longer than the way that is known to its end: such a link
    /// is on no shortest path. Equally long ones are, because all equal-cost paths are used.
    fn edges_matter(&self, at: u32, before: &[Edge], tree: &Tree) -> bool {
        let after = self.edges(at);
        let is_short = |from: u32, to: u32, cost: u32| {
            let passable = self.vertices.get(from as usize).is_some_and(|vertex| vertex.traits.transit);
            passable
                && tree.is_reached(from)
                && tree.distance_of(from).saturating_add(cost) <= tree.distance_of(to)
        };
        let matters = |to: u32| {
            let (old, new) = (cheapest(before, to), cheapest(after, to));
            if old == new {
                return false;
            }
            let came_or_went = old.is_none() || new.is_none();
            if to == ROOT {
                // The root's own cost counts in its direction, and whether this end has the link at all.
                return came_or_went;
            }
            // A link counts only if the other end has one back.
            let Some(back) = cheapest(self.edges(to), at) else { return false };
            let there = [old, new].into_iter().flatten().any(|cost| is_short(at, to, cost));
            there || came_or_went && is_short(to, at, back)
        };
        before.iter().chain(after).any(|edge| matters(edge.to))
    }

    fn position_or_new(&mut self, id: VertexId) -> u32 {
        if let Some(known) = self.index.get(&id) {
            return *known;
        }
        let at = u32::try_from(self.vertices.len()).expect("the database is bounded far below 2^32 LSAs");
        self.vertices.push(Vertex { id, traits: Traits::default(), edges: Vec::new() });
        self.index.insert(id, at);
        at
    }

    fn edges(&self, vertex: u32) -> &[Edge] {
        self.vertices.get(vertex as usize).map_or(&[], |vertex| &vertex.edges)
    }

    pub(super) fn has_edge(&self, from: u32, to: u32) -> bool {
        cheapest(self.edges(from), to).is_some()
    }
}

/// The cost of the cheapest of the edges to a vertex.
fn cheapest(edges: &[Edge], to: u32) -> Option<u32> {
    let edge = edges.get(edges.partition_point(|edge| edge.to < to))?;
    (edge.to == to).then_some(edge.cost.into())
}
