//! The harness proves itself: FRR and BIRD over `wireguard-go`, without a line of ours on the wire.

use std::time::Duration;

use molt_lab::mesh::{Mesh, Node, Role};
use molt_lab::stock::{kernel_routes, wait_route};
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use molt_mesh::Prefix;

const MINUTE: Duration = Duration::from_mins(1);

/// ```text
/// 0 (FRR) === wireguard-go === 1 (BIRD)
/// ```
#[test]
fn frr_and_bird_over_wireguard_go_are_full_watched_by_bfd_and_reach_each_other() {
    let mesh = Mesh::start_mixed(Topology::line(2), &[Role::Frr, Role::Bird]).unwrap();
    for (node, other) in [(0, 1), (1, 0)] {
        let router = mesh.router(node).unwrap();
        router.wait_full(1, MINUTE).unwrap();
        router.wait_bfd_up(1, MINUTE).unwrap();
        let Node::Stock(peer) = &mesh.nodes[other] else { panic!("both are stock routers") };
        assert_eq!(router.bfd_sessions().unwrap()[0].peer, peer.tunnels[0].link_local());
        assert_eq!(router.neighbours().unwrap()[0].router_id, format!("10.255.0.{}", other + 1));
        wait_route(&mesh.net.nodes[node], peer.address, MINUTE).unwrap();
    }
    for (node, other) in [(0, 1), (1, 0)] {
        let address = mesh.nodes[other].address().to_string();
        mesh.net.nodes[node].run(&["ping", "-c3", "-i0.2", "-W2", &address]).unwrap();
    }
}

/// ```text
/// 0 (FRR) ===x=== 1 (FRR)
///  ||              ||
/// 3 (FRR) ======= 2 (FRR)
/// ```
///
/// What others achieve, measured by the same instruments as ours: 230 to 275 ms on an idle machine. (BIRD in a corner may
/// take up to a second: it calculates routes once a second, and may send our flow back where it came from until then.)
#[test]
fn a_square_of_stock_routers_moves_its_traffic_after_a_silent_cut() {
    let mesh = Mesh::start_mixed(Topology::square(), &[Role::Frr; 4]).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    // Two ways to the opposite corner at each of the four: all have the whole link-state database.
    wait_until("equal-cost paths to the opposite corners", MINUTE, || {
        for (node, namespace) in mesh.net.nodes.iter().enumerate() {
            let routes = kernel_routes(namespace)?;
            let opposite = Prefix::host(mesh.nodes[(node + 2) % 4].address());
            anyhow::ensure!(routes.get(&opposite).is_some_and(|via| via.len() == 2), "{node} has {routes:?}");
        }
        Ok(())
    })
    .unwrap();

    let cut = &mesh.net.links[mesh.net.link(0, 1).unwrap()];
    let outage = mesh.probe(0, 1).unwrap().outage(cut, MINUTE).unwrap();
    assert!(outage < Duration::from_secs(1), "{outage:?}");
    println!("outage {outage:?}");
}
