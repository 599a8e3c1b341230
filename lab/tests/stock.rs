//! The harness proves itself: FRR and BIRD over `wireguard-go`, without a line of ours on the wire.

use std::time::Duration;

use molt_lab::netns::Net;
use molt_lab::probe::Probe;
use molt_lab::stock::{Bird, Frr, Router, RouterConfig, kernel_routes, wait_route, wireguard_link};
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;

const MINUTE: Duration = Duration::from_mins(1);

/// ```text
/// 0 (FRR) === wireguard-go === 1 (BIRD)
/// ```
#[test]
fn frr_and_bird_over_wireguard_go_are_full_watched_by_bfd_and_fail_over_silently() {
    let net = Net::new(Topology::line(2)).unwrap();
    let [left, right] = wireguard_link(&net, 0, 1280).unwrap();
    let config = |number, interface: &str| RouterConfig::numbered(number, vec![interface.to_owned()]);
    let (at_frr, at_bird) = (config(1, left.interface()), config(2, right.interface()));
    let frr = Frr::start(&net.nodes[0], &at_frr).unwrap();
    let bird = Bird::start(&net.nodes[1], &at_bird).unwrap();

    frr.wait_full(1, MINUTE).unwrap();
    bird.wait_full(1, MINUTE).unwrap();
    frr.wait_bfd_up(1, MINUTE).unwrap();
    bird.wait_bfd_up(1, MINUTE).unwrap();
    assert_eq!(frr.bfd_sessions().unwrap()[0].peer, right.link_local());
    assert_eq!(bird.neighbours().unwrap()[0].router_id, at_frr.router_id);
    wait_route(&net.nodes[0], at_bird.address, MINUTE).unwrap();
    wait_route(&net.nodes[1], at_frr.address, MINUTE).unwrap();
    for (node, to) in [(0, at_bird.address), (1, at_frr.address)] {
        net.nodes[node].run(&["ping", "-c3", "-i0.2", "-W2", &to.to_string()]).unwrap();
    }

    let probe = Probe::start(&net.nodes[0], &net.nodes[1], at_frr.address, at_bird.address).unwrap();
    wait_until("the probe is answered", MINUTE, || {
        anyhow::ensure!(probe.silence().received > 10);
        Ok(())
    })
    .unwrap();
    net.links[0].cut().unwrap();
    let ((), took) = wait_until("BFD takes the route away", MINUTE, || {
        let routes = kernel_routes(&net.nodes[0])?;
        anyhow::ensure!(!routes.contains_key(&molt_mesh::Prefix::host(at_bird.address)), "{routes:?}");
        Ok(())
    })
    .unwrap();
    assert!(took < Duration::from_secs(1), "{took:?}");
    net.links[0].heal().unwrap();
    probe.reset();
    wait_until("the probe is answered again", MINUTE, || {
        anyhow::ensure!(probe.silence().received > 10);
        Ok(())
    })
    .unwrap();
}
