//! What the mesh must have come to, computed in the most stupid way that is obviously right.

use std::collections::{BTreeMap, BTreeSet};

use molt_mesh::Target;
use molt_routing::ospf::lsa::Scope;

use super::Sim;

/// Checks everything that holds at rest.
pub(super) fn check(sim: &Sim) -> Result<(), String> {
    let graph = TrueGraph::of(sim);
    for node in graph.alive.iter().copied() {
        check_neighbors(sim, &graph, node)?;
        check_fib(sim, &graph, node)?;
    }
    check_databases(sim, &graph)
}

/// Who can hear whom.
struct TrueGraph {
    alive: BTreeSet<usize>,
    /// For each node its neighbours and the cost to them.
    neighbors: BTreeMap<usize, BTreeMap<usize, u32>>,
}

impl TrueGraph {
    fn of(sim: &Sim) -> Self {
        let alive: BTreeSet<usize> =
            sim.members.iter().enumerate().filter(|(_, member)| member.alive).map(|(node, _)| node).collect();
        let mut neighbors: BTreeMap<usize, BTreeMap<usize, u32>> = BTreeMap::new();
        for (edge, (a, b)) in sim.topology.links.iter().enumerate() {
            if sim.cut.contains(&edge) || !alive.contains(a) || !alive.contains(b) {
                continue;
            }
            neighbors.entry(*a).or_default().insert(*b, u32::from(sim.cost(edge)));
            neighbors.entry(*b).or_default().insert(*a, u32::from(sim.cost(edge)));
        }
        Self { alive, neighbors }
    }

    fn neighbors(&self, node: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.neighbors.get(&node).into_iter().flatten().map(|(far, cost)| (*far, *cost))
    }

    /// Distances from a node, by relaxing every link until nothing changes (Bellman-Ford).
    fn distances(&self, from: usize) -> BTreeMap<usize, u32> {
        let mut distances = BTreeMap::from([(from, 0)]);
        loop {
            let mut changed = false;
            for node in &self.alive {
                let Some(distance) = distances.get(node).copied() else { continue };
                for (far, cost) in self.neighbors(*node) {
                    let through = distance + cost;
                    if distances.get(&far).is_none_or(|known| through < *known) {
                        distances.insert(far, through);
                        changed = true;
                    }
                }
            }
            if !changed {
                return distances;
            }
        }
    }
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
    let expected = graph.neighbors(node).count();
    if full != expected {
        return Err(format!("node {node}: {full} of {expected} adjacencies are Full: {neighbors:?}"));
    }
    Ok(())
}

/// Every route leads to exactly the neighbours on a shortest path.
fn check_fib(sim: &Sim, graph: &TrueGraph, node: usize) -> Result<(), String> {
    let control = &sim.node(node).control;
    let fib = sim.node(node).data.fib();
    let distances = graph.distances(node);
    let from_neighbors: BTreeMap<usize, BTreeMap<usize, u32>> =
        graph.neighbors(node).map(|(far, _)| (far, graph.distances(far))).collect();
    for dst in 0..sim.topology.nodes {
        let found = fib.lookup(sim.address(dst));
        let Some(distance) = distances.get(&dst) else {
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
        let best = graph.neighbors(node).filter(|(far, cost)| {
            from_neighbors
                .get(far)
                .and_then(|from| from.get(&dst))
                .is_some_and(|rest| rest + cost == *distance)
        });
        let mut expected: Vec<_> =
            best.filter_map(|(far, _)| control.link_of(sim.members[far].identity.node_public())).collect();
        expected.sort();
        expected.truncate(MAX_PATHS);
        if found != Some(Target::Via(&expected)) {
            return Err(format!("node {node}: to node {dst} expected {expected:?}, found {found:?}"));
        }
    }
    let expected = distances.len();
    if fib.len() != expected {
        return Err(format!("node {node}: {} routes to {expected} nodes", fib.len()));
    }
    Ok(())
}

/// Equal-cost next hops that routing keeps.
const MAX_PATHS: usize = 16;

/// Nodes that can reach each other hold the same LSAs of area and AS scope.
fn check_databases(sim: &Sim, graph: &TrueGraph) -> Result<(), String> {
    let database = |node: usize| {
        let lsas = sim.node(node).control.ospf().database(sim.now()).lsas;
        let shared = lsas.into_iter().filter(|lsa| lsa.header.key.ls_type.scope() != Scope::Link);
        shared
            .map(|lsa| (format!("{:?}", lsa.header.key), (lsa.header.seq, lsa.header.checksum)))
            .collect::<BTreeMap<_, _>>()
    };
    let mut left = graph.alive.clone();
    while let Some(first) = left.pop_first() {
        let expected = database(first);
        for node in graph.distances(first).into_keys().filter(|node| *node != first) {
            left.remove(&node);
            let found = database(node);
            if found != expected {
                let missing: Vec<_> =
                    expected.iter().filter(|(key, value)| found.get(*key) != Some(value)).collect();
                let extra: Vec<_> =
                    found.iter().filter(|(key, value)| expected.get(*key) != Some(value)).collect();
                return Err(format!(
                    "databases differ: node {first} has {missing:?}, node {node} has {extra:?}"
                ));
            }
        }
    }
    Ok(())
}
