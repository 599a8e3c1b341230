//! Shortest paths with all equal-cost next hops (RFC 2328 section 16.1), on flat arrays.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use molt_mesh::{LinkId, RouterId};

use super::graph::{Edge, Graph, ROOT, VertexId};

/// Equal-cost next hops of one route. BIRD installs as many; more do not spread better over a degree of eight.
const MAX_NEXT_HOPS: usize = 16;
/// So many next-hop sets are remembered from one calculation to the next: a node of degree eight has 255 at most, one of
/// 64 some thousands.
const MAX_SETS: usize = 10_000;

/// Unions that are remembered, in 8 kB: a calculation unites the same few sets over and over, for a thousand routers.
const UNIONS: usize = 512;

const UNREACHABLE: u32 = u32::MAX;

/// An adjacency of the calculating router.
#[derive(Debug, Clone, Copy)]
pub(super) struct RootLink {
    pub(super) link: LinkId,
    pub(super) cost: u32,
    pub(super) neighbor: RouterId,
}

/// Distance and next hops of each vertex.
#[derive(Debug)]
pub(in super::super) struct Tree {
    distance: Vec<u32>,
    next_hops: Vec<SetId>,
}

/// Names a set of [`NextHopSets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetId(u32);

/// The empty set: no next hop, because the destination is here.
pub(super) const LOCAL: SetId = SetId(0);

/// Next-hop sets, each stored once: a thousand destinations share a handful, and two routes are compared by one number.
#[derive(Debug)]
pub(super) struct NextHopSets {
    sets: Vec<Box<[LinkId]>>,
    /// Only looked up, never iterated.
    index: HashMap<Box<[LinkId]>, SetId>,
    /// Two sets, lower first, and their union; each pair has one place, and the last one there stays.
    unions: Box<[Option<(SetId, SetId, SetId)>]>,
}

impl NextHopSets {
    pub(super) fn new() -> Self {
        let mut sets = Self { sets: Vec::new(), index: HashMap::new(), unions: vec![None; UNIONS].into() };
        let local = sets.intern(&[]);
        debug_assert_eq!(local, LOCAL);
        sets
    }

    /// Whether it is time to forget them all.
    pub(super) const fn are_too_many(&self) -> bool {
        self.sets.len() > MAX_SETS
    }

    pub(super) fn get(&self, set: SetId) -> &[LinkId] {
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

    pub(super) fn union(&mut self, a: SetId, b: SetId) -> SetId {
        if a == b {
            return a;
        }
        let (low, high) = (a.min(b), a.max(b));
        let mixed = (low.0 ^ high.0.rotate_left(16)).wrapping_mul(0x9e37_79b1);
        let place = mixed as usize >> 16 & (UNIONS - 1);
        match self.unions.get(place) {
            Some(Some((one, other, union))) if (*one, *other) == (low, high) => return *union,
            _ => {}
        }
        let union = self.intern(&merged(self.get(a), self.get(b)));
        if let Some(remembered) = self.unions.get_mut(place) {
            *remembered = Some((low, high, union));
        }
        union
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

/// Vertices to be looked at, nearest first. At equal distance networks come before routers (RFC 2328 section 16.1 step 3),
/// because a network leads on at no cost.
#[derive(Default)]
struct Candidates(BinaryHeap<Reverse<(u64, u32)>>);

impl Candidates {
    fn push(&mut self, distance: u32, id: VertexId, at: u32) {
        self.0.push(Reverse((u64::from(distance) << 1 | u64::from(id.is_router()), at)));
    }

    fn pop(&mut self) -> Option<u32> {
        self.0.pop().map(|Reverse((_, at))| at)
    }
}

impl Default for Tree {
    /// Only the root is reached.
    fn default() -> Self {
        Self { distance: vec![0], next_hops: vec![LOCAL] }
    }
}

impl Tree {
    /// Dijkstra's algorithm with all equal-cost next hops. The links of the root are its adjacencies of this moment: its
    /// own Router-LSA may still have to wait for MinLSInterval, and traffic must not.
    pub(super) fn calculate(graph: &Graph, root_links: &[RootLink], sets: &mut NextHopSets) -> Self {
        let count = graph.vertices.len();
        let mut tree = Self { distance: vec![UNREACHABLE; count], next_hops: vec![LOCAL; count] };
        let mut done = vec![false; count];
        let mut candidates = Candidates::default();
        if let (Some(distance), Some(done)) = (tree.distance.first_mut(), done.first_mut()) {
            *distance = 0;
            *done = true;
        }
        for link in root_links {
            let Some(to) = graph.position(VertexId::Router(link.neighbor)) else { continue };
            if graph.has_edge(to, ROOT) {
                let set = sets.intern(&[link.link]);
                tree.relax(graph, to, link.cost, set, sets, &mut candidates);
            }
        }
        while let Some(at) = candidates.pop() {
            match done.get_mut(at as usize) {
                Some(done) if !*done => *done = true,
                _ => continue,
            }
            let Some(vertex) = graph.vertices.get(at as usize).filter(|vertex| vertex.traits.transit) else {
                continue;
            };
            let (distance, set) = (tree.distance_of(at), tree.set_of(at));
            for &Edge { to, cost, .. } in vertex.edges.iter().filter(|edge| edge.mutual) {
                let reached = distance.saturating_add(cost.into());
                if reached <= tree.distance_of(to) && done.get(to as usize).is_some_and(|done| !*done) {
                    tree.relax(graph, to, reached, set, sets, &mut candidates);
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
        let Some(vertex) = graph.vertices.get(at).filter(|vertex| vertex.traits.usable) else { return };
        if distance < *known {
            *known = distance;
            *next_hops = set;
            candidates.push(distance, vertex.id, to);
        } else if distance == *known && distance != UNREACHABLE {
            *next_hops = sets.union(*next_hops, set);
        }
    }

    /// [`u32::MAX`] if there is no way.
    pub(super) fn distance_of(&self, at: u32) -> u32 {
        self.distance.get(at as usize).copied().unwrap_or(UNREACHABLE)
    }

    pub(super) fn is_reached(&self, at: u32) -> bool {
        self.distance_of(at) != UNREACHABLE
    }

    fn set_of(&self, at: u32) -> SetId {
        self.next_hops.get(at as usize).copied().unwrap_or(LOCAL)
    }

    /// Vertices that are reached otherwise than they were `before`, in a graph that has only grown since.
    pub(super) fn differences(&self, before: &Self) -> impl Iterator<Item = u32> {
        let way = |tree: &Self, at| (tree.distance_of(at), tree.set_of(at));
        (0..).zip(&self.distance).map(|(at, _)| at).filter(move |at| way(self, *at) != way(before, *at))
    }

    /// Distance and next hops of a vertex that is reached.
    pub(super) fn path(&self, at: u32) -> Option<(u32, SetId)> {
        self.is_reached(at).then(|| (self.distance_of(at), self.set_of(at)))
    }
}
