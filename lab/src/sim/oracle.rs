//! What the mesh must have come to, computed in the most stupid way that is obviously right.

use std::collections::{BTreeSet, VecDeque};

use molt_mesh::Target;
use molt_routing::ospf::lsa::LsaKey;

use super::Sim;

/// Checks everything that holds at rest.
pub(super) fn check(sim: &Sim) -> Result<(), String> {
    let graph = TrueGraph::of(sim);
    for node in graph.live(sim) {
        check_neighbors(sim, &graph, node)?;
        check_fib(sim, &graph, node)?;
    }
    check_databases(sim, &graph)
}

/// Who can hear whom, and how far everybody is from everybody.
struct TrueGraph {
    alive: BTreeSet<usize>,
    /// For each node its neighbours and the cost to them.
    neighbors: Vec<Vec<(usize, u32)>>,
    /// From each live node, and from the gateways, to each; `None` where no path leads.
    distances: Vec<Vec<Option<u32>>>,
}

impl TrueGraph {
    fn of(sim: &Sim) -> Self {
        let nodes = sim.topology.nodes;
        let alive: BTreeSet<usize> = (0..nodes).filter(|node| sim.is_alive(*node)).collect();
        let mut neighbors = vec![Vec::new(); nodes];
        for (edge, (a, b)) in sim.topology.links.iter().enumerate() {
            if sim.air.cut.contains(&edge) || !alive.contains(a) || !alive.contains(b) {
                continue;
            }
            neighbors[*a].push((*b, u32::from(sim.cost(edge))));
            neighbors[*b].push((*a, u32::from(sim.cost(edge))));
        }
        let distances = (0..sim.members.len()).map(|from| distances(&neighbors, from)).collect();
        Self { alive, neighbors, distances }
    }

    /// Production nodes that run.
    fn live(&self, sim: &Sim) -> BTreeSet<usize> {
        self.alive.range(..sim.live).copied().collect()
    }

    fn reaches(&self, from: usize) -> impl Iterator<Item = usize> {
        self.alive.iter().copied().filter(move |to| self.distances[from][*to].is_some())
    }
}

/// By relaxing links until nothing changes (Bellman and Ford, with a queue of what changed).
fn distances(neighbors: &[Vec<(usize, u32)>], from: usize) -> Vec<Option<u32>> {
    let mut distances = vec![None; neighbors.len()];
    distances[from] = Some(0);
    let mut changed = VecDeque::from([from]);
    while let Some(node) = changed.pop_front() {
        let Some(distance) = distances[node] else { continue };
        for (far, cost) in &neighbors[node] {
            let through = distance + cost;
            if distances[*far].is_none_or(|known| through < known) {
                distances[*far] = Some(through);
                changed.push_back(*far);
            }
        }
    }
    distances
}

/// The adjacencies are those of the true graph, and nothing is outstanding on any.
fn check_neighbors(sim: &Sim, graph: &TrueGraph, node: usize) -> Result<(), String> {
    let neighbors = sim.node(node).control.ospf().neighbors(sim.now());
    for neighbor in &neighbors {
        if neighbor.retransmissions != 0 || neighbor.requests != 0 {
            return Err(format!("node {node}: lists are not empty: {neighbor:?}"));
        }
    }
    let full = neighbors.iter().filter(|neighbor| sim.node(node).control.is_full(neighbor.link)).count();
    let expected = graph.neighbors[node].len();
    if full != expected {
        return Err(format!("node {node}: {full} of {expected} adjacencies are Full: {neighbors:?}"));
    }
    Ok(())
}

/// Every route leads to exactly the neighbours on a shortest path.
fn check_fib(sim: &Sim, graph: &TrueGraph, node: usize) -> Result<(), String> {
    let control = &sim.node(node).control;
    let fib = sim.node(node).data.fib();
    let neighbors: Vec<_> = graph.neighbors[node]
        .iter()
        .filter_map(|(far, cost)| {
            Some((*far, *cost, control.link_of(sim.members[*far].identity.node_public())?))
        })
        .collect();
    for dst in 0..sim.topology.nodes {
        let found = fib.lookup(sim.address(dst));
        let Some(distance) = graph.distances[node][dst].filter(|_| graph.alive.contains(&dst)) else {
            if found.is_some() {
                return Err(format!("node {node}: a route to unreachable node {dst}: {found:?}"));
            }
            continue;
        };
        if dst == node {
            if found != Some(Target::Local) {
                return Err(format!("node {node}: its own address is not local: {found:?}"));
            }
            continue;
        }
        let on_the_way = |(far, cost, _): &&(usize, u32, _)| {
            graph.distances[*far][dst].is_some_and(|rest| rest + cost == distance)
        };
        let mut expected: Vec<_> = neighbors.iter().filter(on_the_way).map(|(_, _, link)| *link).collect();
        expected.sort();
        expected.truncate(MAX_PATHS);
        if found != Some(Target::Via(&expected)) {
            return Err(format!("node {node}: to node {dst} expected {expected:?}, found {found:?}"));
        }
    }
    let expected = graph.reaches(node).count();
    if fib.len() != expected {
        return Err(format!("node {node}: {} routes to {expected} nodes", fib.len()));
    }
    Ok(())
}

/// Equal-cost next hops that routing keeps.
const MAX_PATHS: usize = 16;

/// Nodes that can reach each other hold the same LSAs of area and AS scope.
fn check_databases(sim: &Sim, graph: &TrueGraph) -> Result<(), String> {
    let database = |node: usize| -> Vec<(LsaKey, i32, u16)> {
        let headers = sim.node(node).control.ospf().headers(sim.now());
        headers.map(|header| (header.key, header.seq, header.checksum)).collect()
    };
    let mut left = graph.live(sim);
    while let Some(first) = left.pop_first() {
        let expected = database(first);
        for node in graph.reaches(first).filter(|node| *node < sim.live && *node != first) {
            left.remove(&node);
            let found = database(node);
            if found != expected {
                let (expected, found) = (BTreeSet::from_iter(expected), BTreeSet::from_iter(found));
                let (missing, extra) = (&expected - &found, &found - &expected);
                return Err(format!(
                    "databases differ: node {first} has {missing:?}, node {node} has {extra:?}"
                ));
            }
        }
    }
    Ok(())
}
