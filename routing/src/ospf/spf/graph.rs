//! The graph of the area: routers and transit networks with their links, kept in step with the database.

use std::collections::{BTreeMap, HashMap};

use molt_mesh::RouterId;

use super::super::consts::{link_type, options, router_bits};
use super::super::lsa::{Body, LsType, LsaKey, RouterLink};
use super::super::origin::Usable;
use super::tree::Tree;

/// Below this many vertices without LSAs they are not worth a new graph.
pub(super) const MIN_COMPACT: usize = 1_000;

/// The root is always the first vertex. It has no row: its links are the adjacencies.
pub(super) const ROOT: u32 = 0;

/// A vertex of the graph (RFC 5340 section 4.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Position and cost of the targets, ascending. Only targets that were vertices when the row was made; see
    /// [`Graph::update`].
    pub(super) edges: Vec<(u32, u32)>,
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
    index: HashMap<VertexId, u32>,
}

/// What the LSAs of one vertex say.
struct Row {
    options: u32,
    bits: u8,
    links: Vec<(VertexId, u32)>,
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

    pub(super) const fn is_router(self) -> bool {
        matches!(self, Self::Router(_))
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
                    return Some(Self { options: options::ROUTER, bits: 0, links: links.collect() });
                }
                Body::Router(lsa) => {
                    // RFC 5340 section 4.8.1: all fragments are one; the options are those of the lowest Link State ID.
                    let (options, bits) = (lsa.options, lsa.bits);
                    let row = row.get_or_insert_with(|| Self { options, bits, links: Vec::new() });
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
    pub(in super::super) fn new(root: RouterId) -> Self {
        let mut graph = Self { vertices: Vec::new(), index: HashMap::new() };
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
        edges.iter().filter_map(move |(to, _)| match self.vertices.get(*to as usize)?.id {
            VertexId::Router(neighbor) if self.has_edge(*to, at?) => Some(neighbor),
            _ => None,
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
                    open.extend(self.edges(at).iter().map(|(to, _)| *to).filter(|to| self.has_edge(*to, at)));
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
        for id in ids {
            self.update(usable, id, None);
        }
        true
    }

    /// Makes the row of one vertex anew after its LSAs changed. `tree` is that of the graph before, unless it is known to be
    /// out of date; returns whether it is.
    pub(in super::super) fn update(
        &mut self,
        usable: &Usable<'_>,
        id: VertexId,
        tree: Option<&Tree>,
    ) -> bool {
        let row = Row::read(usable, id);
        if row.is_none() && !self.index.contains_key(&id) {
            return false;
        }
        let at = self.position_or_new(id);
        if at == ROOT {
            return false;
        }
        let mut matters = self.set_row(at, row, tree);
        // A target whose row was made before this vertex existed does not name it. That matters from the moment on at
        // which this vertex has a link to the target: a link counts only if both ends have it.
        let targets: Vec<u32> = self.edges(at).iter().map(|(to, _)| *to).filter(|to| *to != ROOT).collect();
        for to in targets {
            if !self.has_edge(to, at)
                && let Some(id) = self.vertices.get(to as usize).map(|vertex| vertex.id)
            {
                let tree = tree.filter(|_| !matters);
                matters |= self.set_row(to, Row::read(usable, id), tree);
            }
        }
        matters
    }

    fn set_row(&mut self, at: u32, row: Option<Row>, tree: Option<&Tree>) -> bool {
        let live = row.is_some();
        let Row { options, bits, links } = row.unwrap_or(Row { options: 0, bits: 0, links: Vec::new() });
        let resolve = |(to, cost): &(VertexId, u32)| Some((*self.index.get(to)?, *cost));
        let mut edges: Vec<(u32, u32)> = links.iter().filter_map(resolve).collect();
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
        !same_traits || tree.is_none_or(|tree| self.edges_matter(at, &before, tree))
    }

    /// Whether `tree` may be another now that `at` has other edges than `before`. It is not if each link that came, went
    /// or has another cost is, with the old cost and the new one, longer than the way that is known to its end: such a link
    /// is on no shortest path. Equally long ones are, because all equal-cost paths are used.
    fn edges_matter(&self, at: u32, before: &[(u32, u32)], tree: &Tree) -> bool {
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
        before.iter().chain(after).any(|(to, _)| matters(*to))
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

    fn edges(&self, vertex: u32) -> &[(u32, u32)] {
        self.vertices.get(vertex as usize).map_or(&[], |vertex| &vertex.edges)
    }

    /// RFC 2328 section 16.1 step 2 (b): a link counts only if the other end has one back.
    pub(super) fn has_edge(&self, from: u32, to: u32) -> bool {
        cheapest(self.edges(from), to).is_some()
    }
}

/// The cost of the cheapest of the edges to a vertex.
fn cheapest(edges: &[(u32, u32)], to: u32) -> Option<u32> {
    let (target, cost) = edges.get(edges.partition_point(|(target, _)| *target < to))?;
    (*target == to).then_some(*cost)
}
