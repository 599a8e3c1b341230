//! Production nodes in an area that is larger than what fits as production nodes: the rest is recorded.
//!
//! A failure names its seed; `LAB_SEED=<seed> cargo test -p molt-lab --test area <name>` replays just that one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use molt_lab::script::Order;
use molt_lab::sim::gateway::GATEWAYS;
use molt_lab::sim::{Options, Sim, seeds};
use molt_mesh::RouterId;

const ROUTERS: usize = 300;
const NODES: usize = 30;
/// Behind the nodes come the gateways, which stay alive, and behind them the other recorded routers.
const RECORDED: usize = NODES + GATEWAYS;
/// Cold start and merge: handshakes are tried again each 5 s, Hellos come each 10 s, LSAs of a node that starts are paced to
/// 5 s.
const REST: Duration = Duration::from_secs(30);

fn assert_at_rest(sim: &Sim, what: &str, seed: u64) {
    if let Err(fault) = sim.check_at_rest() {
        panic!("LAB_SEED={seed}: {what}: at {}: {fault}", sim.now());
    }
}

fn started(seed: u64) -> Sim {
    let mut sim = Sim::in_area(ROUTERS, NODES, 8, Options::default(), seed);
    sim.run_for(REST);
    assert_at_rest(&sim, "cold start", seed);
    sim
}

#[test]
fn a_recorded_router_says_what_a_production_node_says() {
    let sim = started(1);
    let mut said: BTreeMap<RouterId, BTreeSet<_>> = BTreeMap::new();
    for header in sim.node(0).control.ospf().headers(sim.now()) {
        said.entry(header.key.router).or_default().insert((header.key.ls_type, header.key.id));
    }
    assert_eq!(said.len(), ROUTERS);
    let own = &said[&sim.node(0).control.ospf().router_id()];
    assert_eq!(own.len(), 6);
    assert!(said.values().all(|others| others == own), "{said:?}");
    // With a record of an address, and without what would look like an attack.
    for node in 0..NODES {
        let ospf = sim.node(node).control.ospf();
        assert_eq!(ospf.records().count(), ROUTERS - 1, "node {node}");
        assert!(ospf.events().is_empty(), "node {node}: {:?}", ospf.events());
    }
}

/// Nobody answers for a router before its record is here, and for what nobody answers for there is little room. Of 6,000
/// routers there is none left when a stock router comes to the records.
#[test]
fn eight_nodes_learn_an_area_of_six_thousand_from_routers_that_describe_proofs_last() {
    for seed in seeds(0..1) {
        let options = Options { described: Order::ByType, ..Options::default() };
        let mut sim = Sim::in_area(10_000, 8, 4, options, seed);
        sim.run_for(REST);
        assert_at_rest(&sim, "cold start", seed);
        for node in 0..8 {
            let ospf = sim.node(node).control.ospf();
            assert_eq!(ospf.records().count(), 10_000 - 1, "LAB_SEED={seed}: node {node}");
            assert_eq!(ospf.counters().lsas_without_room, 0, "LAB_SEED={seed}: node {node}");
            assert!(ospf.events().is_empty(), "LAB_SEED={seed}: node {node}: {:?}", ospf.events());
        }
    }
}

#[test]
fn thirty_nodes_follow_what_happens_in_an_area_of_three_hundred() {
    for seed in seeds(0..2) {
        let mut sim = started(seed);
        let links = sim.topology().links.clone();
        let edges = |is_it: &dyn Fn(usize, usize) -> bool| -> Vec<usize> {
            (0..links.len()).filter(|edge| is_it(links[*edge].0, links[*edge].1)).collect()
        };
        let far = edges(&|a, _| a >= RECORDED);
        let (cut, at) = (far[seed as usize], sim.now());
        sim.cut(cut);
        sim.run_for(Duration::from_secs(5));
        assert_at_rest(&sim, "a recorded link is cut", seed);
        // The two ends find out after 300 ms; flooding and a calculation follow.
        let took = sim.rerouted().since(at);
        assert!(took <= Duration::from_millis(700), "LAB_SEED={seed}: {took:?}");
        sim.heal(cut);
        sim.run_for(Duration::from_secs(5));
        assert_at_rest(&sim, "it works again", seed);

        let dead: Vec<usize> =
            (5..ROUTERS).step_by(10).filter(|router| !(NODES..RECORDED).contains(router)).collect();
        dead.iter().for_each(|router| sim.kill(*router));
        sim.run_for(REST);
        assert_at_rest(&sim, "a tenth is killed", seed);
        dead.iter().for_each(|router| sim.restart(*router));
        sim.run_for(2 * REST);
        assert_at_rest(&sim, "they start again", seed);

        edges(&|a, b| a < NODES && b >= NODES).into_iter().for_each(|edge| sim.cut(edge));
        sim.run_for(REST);
        assert_at_rest(&sim, "the area is parted", seed);
        assert_eq!(sim.node(0).data.fib().len(), NODES, "LAB_SEED={seed}");
        sim.heal_all();
        sim.run_for(2 * REST);
        assert_at_rest(&sim, "it is merged", seed);
        assert_eq!(sim.node(0).data.fib().len(), ROUTERS, "LAB_SEED={seed}");

        let shared = sim.restart_as_twins(3, 20);
        sim.run_for(2 * REST);
        assert_at_rest(&sim, "two ids clash", seed);
        let ids = [3, 20].map(|node| sim.node(node).control.ospf().router_id());
        assert!(ids.contains(&shared) && ids[0] != ids[1], "LAB_SEED={seed}: {ids:?}");
    }
}
