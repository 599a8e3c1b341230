//! Coverage in graphs that were drawn, and that no choice of everybody leaves a router without the LSA.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use molt_mesh::Time;

use super::super::consts::{link_type, options};
use super::super::lsa::{LsType, Lsa, LsaKey, RouterLink, RouterLsa};
use super::super::lsdb::{LsaRef, Lsdb};
use super::super::origin::{Origins, Usable};
use super::super::spf::graph::VertexId;
use super::*;

/// The graph as `root` has it.
fn graph(root: u32, nodes: u32, links: &[(u32, u32)]) -> Graph {
    let (mut lsdb, origins) = (Lsdb::default(), Origins::default());
    let mut graph = Graph::new(RouterId(root));
    for node in 1..=nodes {
        let far = links.iter().filter_map(|(a, b)| match node {
            node if node == *a => Some(*b),
            node if node == *b => Some(*a),
            _ => None,
        });
        let links = far.map(|to| RouterLink {
            kind: link_type::POINT_TO_POINT,
            metric: 10,
            interface: 1,
            neighbor_interface: 1,
            neighbor: RouterId(to),
        });
        let key = LsaKey { ls_type: LsType::ROUTER, router: RouterId(node), id: 0 };
        let body = RouterLsa { bits: 0, options: options::ROUTER, links: links.collect() }.encode();
        lsdb.install(LsaRef::area(key), Lsa::new(key, 1, 0, Arc::from(body)), true, Time::ZERO);
        let usable = Usable { lsdb: &lsdb, origins: &origins, now: Time::ZERO };
        graph.update(&usable, [VertexId::Router(RouterId(node))], None);
    }
    graph
}

fn neighbors(of: u32, links: &[(u32, u32)]) -> BTreeSet<RouterId> {
    let far = links.iter().filter_map(|(a, b)| match of {
        of if of == *a => Some(*b),
        of if of == *b => Some(*a),
        _ => None,
    });
    far.map(RouterId).collect()
}

/// ```text
/// 1 --- 2 --- 3
/// ```
#[test]
fn nobody_else_reaches_the_end_of_a_line() {
    let links = [(1, 2), (2, 3)];
    let graph = graph(2, 3, &links);
    let mut relay = Relay::default();
    assert!(relay.covered(RouterId(1), &graph, neighbors(2, &links).into_iter()).is_empty());
}

/// Beside the sender, and for that one itself the next.
#[test]
fn in_a_full_mesh_one_other_sends_to_everybody() {
    let links: Vec<(u32, u32)> = (1..=6).flat_map(|a| (a + 1..=6).map(move |b| (a, b))).collect();
    let sends = |relay: u32| {
        let graph = graph(relay, 6, &links);
        let all = neighbors(relay, &links);
        4 - Relay::default().covered(RouterId(1), &graph, all.into_iter()).len()
    };
    let mut copies: Vec<usize> = (2..=6).map(sends).collect();
    copies.sort_unstable();
    assert_eq!(copies, [0, 0, 0, 1, 4]);
}

/// Router 1 says something to 2, 3, 4 and 5; 9 hears it from exactly two of them.
#[test]
fn of_several_relays_to_one_router_the_same_two_send_at_once_whoever_calculates() {
    let links = [(1, 2), (1, 3), (1, 4), (1, 5), (2, 9), (3, 9), (4, 9), (5, 9)];
    let sends = |relay: u32| {
        let graph = graph(relay, 9, &links);
        !Relay::default()
            .covered(RouterId(1), &graph, neighbors(relay, &links).into_iter())
            .contains(&RouterId(9))
    };
    assert_eq!((2..=5).filter(|relay| sends(*relay)).count(), RELAYS);
}

/// Without the copies that wait. A router that heard it from elsewhere than its rival supposed may leave somebody waiting
/// for [`RELAY_DELAY`]; that is rare.
#[test]
fn copies_sent_at_once_reach_nearly_everybody_in_random_meshes() {
    let mut waiting = 0;
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (nodes, degree) = (40, *rng.choice(&[3, 8, 16]).unwrap());
        let mut links = BTreeSet::new();
        for node in 2..=nodes {
            links.insert((rng.u32(1..node), node));
        }
        while links.len() < nodes as usize * degree / 2 {
            let (a, b) = (rng.u32(1..=nodes), rng.u32(1..=nodes));
            if a < b {
                links.insert((a, b));
            }
        }
        let links: Vec<_> = links.into_iter().collect();
        let graphs: Vec<Graph> = (1..=nodes).map(|root| graph(root, nodes, &links)).collect();
        let (mut reached, mut copies) = (BTreeSet::from([RouterId(1)]), 0);
        let mut queue: VecDeque<(RouterId, RouterId)> =
            neighbors(1, &links).into_iter().map(|to| (RouterId(1), to)).collect();
        while let Some((from, at)) = queue.pop_front() {
            copies += 1;
            if !reached.insert(at) {
                continue;
            }
            let mut relay = Relay::default();
            let graph = &graphs[at.0 as usize - 1];
            let all = neighbors(at.0, &links);
            let covered = relay.covered(from, graph, all.iter().copied());
            queue.extend(all.iter().filter(|to| **to != from && !covered.contains(to)).map(|to| (at, *to)));
        }
        waiting += nodes as usize - reached.len();
        // By the book: every router but the first sends to all but one.
        let by_the_book = 2 * links.len() - (nodes as usize - 1);
        assert!(copies * 10 <= by_the_book * if degree == 16 { 6 } else { 10 }, "seed {seed}: {copies}");
    }
    assert!(waiting <= 40 * 40 / 200, "{waiting} of 1,600 wait");
}
