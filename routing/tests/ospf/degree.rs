//! The bound on the number of neighbours.

use std::time::Duration;

use molt_routing::ospf::State;

use crate::rig::{Net, link, link_config};

const HELLO: Duration = Duration::from_secs(10);

/// `nodes` routers without wires, each of which wants `max` neighbours.
fn bounded(nodes: usize, max: usize) -> Net {
    let mut net = Net::new(nodes, 0);
    for node in 0..nodes {
        net.with(node, |ospf, _| ospf.limit_neighbors(max));
    }
    net
}

fn full_neighbors(net: &Net, node: usize) -> usize {
    net.nodes[node].neighbors(net.now).iter().filter(|neighbor| neighbor.state == State::Full).count()
}

fn all_reach_all(net: &Net) -> bool {
    let nodes = net.nodes.len();
    (0..nodes).all(|node| net.nodes[node].fib().len() == nodes)
}

/// All wires come up at once, so that nobody knows the others when it chooses.
#[test]
fn in_a_full_mesh_nobody_has_more_neighbours_than_wanted_and_all_reach_all() {
    for (nodes, max) in [(6, 2), (9, 3), (12, 4), (20, 8)] {
        let mut net = bounded(nodes, max);
        for a in 0..nodes {
            for b in a + 1..nodes {
                net.connect(a, b, 10);
            }
        }
        net.run_for(20 * HELLO);
        assert!(all_reach_all(&net), "{nodes} nodes of {max}");
        for node in 0..nodes {
            let neighbors = full_neighbors(&net, node);
            assert!((1..=max).contains(&neighbors), "{nodes} nodes of {max}: {node} has {neighbors}");
        }
        let events = net.events.len();
        net.run_for(60 * HELLO);
        assert_eq!(
            net.events.len(),
            events,
            "the choice changes without need: {:?}",
            &net.events[events..events + 12]
        );
    }
}

/// ```text
/// 0 - 1     4 - 5
/// | x | --- | x |
/// 3 - 2     7 - 6
/// ```
#[test]
fn two_groups_that_only_a_spare_connects_become_one_and_give_up_what_they_can_spare() {
    let mut net = bounded(8, 3);
    for group in [0, 4] {
        for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
            // The diagonals are the dearest.
            net.connect(group + a, group + b, if b == a + 2 { 20 } else { 10 });
        }
    }
    net.run_for(HELLO);
    assert!(net.all_full());
    let bridge = net.connect(1, 4, 50);
    net.run_for(HELLO / 2);
    assert!(!net.wire_is_full(bridge), "it is admitted before others could lead there");
    net.run_for(3 * HELLO);
    assert!(net.wire_is_full(bridge) && all_reach_all(&net));
    assert_eq!((full_neighbors(&net, 1), full_neighbors(&net, 4)), (3, 3));
    // 1 - 3 and 4 - 6 are the fifth of each group.
    assert!(!net.wire_is_full(4) && !net.wire_is_full(6 + 1), "{}", net.unsettled());
}

/// It cannot spare anybody.
#[test]
fn the_hub_of_a_star_has_as_many_neighbours_as_there_are() {
    let mut net = bounded(6, 2);
    for leaf in 1..6 {
        net.connect(0, leaf, 10);
    }
    net.run_for(10 * HELLO);
    assert!(all_reach_all(&net));
    assert_eq!(full_neighbors(&net, 0), 5);
}

#[test]
fn a_spare_takes_the_place_of_a_neighbour_that_is_gone() {
    let mut net = bounded(4, 2);
    for (a, b) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
        net.connect(a, b, 10);
    }
    net.run_for(HELLO);
    let spare = net.connect(0, 2, 10);
    net.run_for(10 * HELLO);
    assert!(net.all_full() == net.wire_is_full(spare) && !net.wire_is_full(spare));
    net.down(0);
    net.down(1);
    net.run_for(2 * HELLO);
    assert!(net.wire_is_full(spare));
}

#[test]
fn stock_routers_do_not_count_and_are_never_one_too_many() {
    let mut net = bounded(5, 1);
    for far in 1..5 {
        net.connect(0, far, 10);
    }
    for wire in 0..4 {
        let id = link(2 * wire + 1);
        net.with(0, |ospf, now| {
            ospf.add_link(molt_routing::ospf::LinkConfig { stock: true, ..link_config(0, id, 10) }, now);
            ospf.handle_link_up(id, now);
        });
    }
    net.run_for(HELLO);
    assert_eq!(full_neighbors(&net, 0), 4);
}
