//! FRR and BIRD as neighbours, set up in all the ways operators do, and under conditions networks have.
//!
//! Unless a test says otherwise:
//!
//! ```text
//! 0 (FRR) ===== 1 (meshd) ===== 2 (BIRD)
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::time::Duration;

use anyhow::{Context as _, ensure};
use molt_lab::mesh::{Daemon, Mesh, Node, Role, Setup};
use molt_lab::netns::{Link, Namespace};
use molt_lab::probe::Probe;
use molt_lab::relay::Weather;
use molt_lab::stock::{Bird, Interface, Router as _, RouterConfig, kernel_routes, wait_route};
use molt_lab::tools::{PingStream, ping};
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};
use molt_mesh::Prefix;

const MINUTE: Duration = Duration::from_mins(1);
const LINE: [Role; 3] = [Role::Frr, Role::Meshd, Role::Bird];

fn line(setup: &Setup) -> Mesh {
    Mesh::start_set_up(Topology::line(3), &LINE, setup).unwrap()
}

/// Hellos each second: a stock router greets a neighbour that is back only when its next one is due.
fn quick() -> Setup {
    Setup { hello_s: 1, ..Setup::default() }
}

/// Both neighbours of the `meshd` are Full, at both ends.
fn wait_full(mesh: &Mesh) {
    for (node, neighbours) in [(0, 1), (1, 2), (2, 1)] {
        mesh.router(node).unwrap().wait_full(neighbours, MINUTE).unwrap();
    }
}

/// From one stock router through the `meshd` to the other, and back.
fn they_reach_each_other(mesh: &Mesh) {
    for (from, to) in [(0, 2), (2, 0)] {
        wait_route(&mesh.net.nodes[from], mesh.nodes[to].address(), MINUTE).unwrap();
    }
    mesh.wait_reachable(MINUTE).unwrap();
}

#[test]
fn allowed_ips_of_everything_and_an_interface_without_the_multicast_flag_make_no_difference() {
    for interface in [
        Interface { allowed_ips: "::/0".to_owned(), ..Interface::default() },
        Interface { multicast: false, ..Interface::default() },
    ] {
        let mesh = line(&Setup { interface, ..quick() });
        mesh.wait_full(MINUTE).unwrap();
        they_reach_each_other(&mesh);
    }
}

/// The `meshd` says Hello each second, the stock routers each five seconds: it adopts theirs.
#[test]
fn other_intervals_are_adopted() {
    let mesh = line(&Setup { router: |router| router.hello_s = 5, ..quick() });
    mesh.wait_full(MINUTE).unwrap();
    they_reach_each_other(&mesh);
}

#[test]
fn a_router_without_bfd_is_a_neighbour_all_the_same() {
    let mesh = line(&Setup { router: |router| router.bfd = false, ..quick() });
    wait_full(&mesh);
    they_reach_each_other(&mesh);
}

/// ```text
/// 0 (meshd) === 1 (FRR)
///   ||   \\   //  ||
///   ||   //   \\  ||
/// 3 (BIRD) === 2 (meshd)
/// ```
#[test]
fn a_full_mesh_of_all_implementations_has_one_database_and_direct_ways() {
    let roles = [Role::Meshd, Role::Frr, Role::Meshd, Role::Bird];
    let mesh = Mesh::start_set_up(Topology::full(4), &roles, &quick()).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    for node in [0, 2] {
        wait_until("each other node to be a neighbour away", MINUTE, || {
            let routes = mesh.meshd(node).unwrap().molt(&["routes"])?;
            for other in (0..4).filter(|other| *other != node) {
                let prefix = format!("{}/128", mesh.nodes[other].address());
                let route =
                    routes["routes"].as_array().unwrap().iter().find(|it| it["prefix"] == prefix.as_str());
                let hops = route.and_then(|route| route["next-hops"].as_array()).map_or(0, Vec::len);
                ensure!(hops == 1, "{prefix}: {route:?}");
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn an_operator_who_switches_bfd_off_at_frr_costs_no_packet() {
    let mesh = line(&quick());
    mesh.wait_full(MINUTE).unwrap();
    they_reach_each_other(&mesh);
    let Node::Stock(frr) = &mesh.nodes[0] else { panic!("node 0 is FRR") };
    let Daemon::Frr(daemon) = &frr.router else { panic!("node 0 is FRR") };
    let pings =
        PingStream::start(&mesh.net.nodes[0], mesh.nodes[2].address(), Duration::from_millis(10)).unwrap();
    daemon.configure(&["bfd", "profile mesh", "shutdown"]).unwrap();
    wait_until("the meshd to hear AdminDown", MINUTE, || {
        let bfd = mesh.meshd(1).unwrap().molt(&["bfd"])?;
        let state = &bfd["sessions"][0]["remote-state"];
        ensure!(state == "AdminDown", "{bfd}");
        Ok(())
    })
    .unwrap();
    pings.wait_replies(100, MINUTE).unwrap();
    let pinged = pings.stop().unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
    wait_full(&mesh);
}

#[test]
fn a_router_that_is_killed_and_started_again_is_back() {
    let mut mesh = line(&quick());
    mesh.wait_full(MINUTE).unwrap();
    for node in [0, 2] {
        let Node::Stock(stock) = &mut mesh.nodes[node] else { panic!("node {node} is a stock router") };
        stock.router.restart().unwrap();
        let start = now();
        mesh.wait_full(MINUTE).unwrap();
        println!("{:?} is back {:.1?} after it was started again", LINE[node], start.elapsed());
        they_reach_each_other(&mesh);
    }
    mesh.meshd_mut(1).unwrap().kill().unwrap();
    mesh.meshd_mut(1).unwrap().run().unwrap();
    let start = now();
    mesh.wait_full(MINUTE).unwrap();
    println!("meshd is back {:.1?} after it was started again", start.elapsed());
    they_reach_each_other(&mesh);
}

/// BFD at 100 ms x 3 calls such a path down now and then, and rightly so; here is asked whether OSPF gets stuck.
#[test]
fn adjacencies_come_up_and_databases_agree_over_a_path_that_loses_and_reorders() {
    for (percent, seed) in [(5, 1), (10, 2), (20, 3)] {
        let loss = f64::from(percent) / 100.0;
        let weather = Weather { loss, reordered: 0.1, late: Duration::from_millis(20), seed };
        let mut mesh =
            line(&Setup { weather: Some(weather), router: |router| router.bfd = false, ..quick() });
        for life in 0..3 {
            let start = now();
            wait_full(&mesh);
            wait_until("answers over the whole line", MINUTE, || {
                // Four losses on the way there and back: of 50 packets some arrive.
                let pinged = ping(&mesh.net.nodes[0], mesh.nodes[2].address(), &["-c", "50", "-i", "0.02"])?;
                ensure!(pinged.received > 0, "{}", pinged.text);
                Ok(())
            })
            .unwrap();
            println!("{percent} % lost: life {life} of the meshd in use after {:.1?}", start.elapsed());
            mesh.meshd_mut(1).unwrap().kill().unwrap();
            mesh.meshd_mut(1).unwrap().run().unwrap();
        }
        wait_full(&mesh);
        for relay in &mesh.relays {
            let [passed, lost, late] = relay.counts();
            println!("a relay passed {passed} datagrams, lost {lost}, held {late} back");
            assert!(lost > 0 && late > 0, "the path was fair: {passed}, {lost}, {late}");
        }
    }
}

/// ```text
/// 0 ===x=== 1
/// ||       ||
/// 3 ======= 2
/// ```
///
/// FRR in three corners and one `meshd`: at either end of the cut, and as either router of the other way.
#[test]
fn twenty_silent_cuts_with_one_meshd_in_each_corner_of_a_square_of_frr() {
    let mut outages = Vec::new();
    for corner in 0..4 {
        let mut roles = [Role::Frr; 4];
        roles[corner] = Role::Meshd;
        // FRR is at rest when it has repeated what its neighbours dropped; by default that takes five seconds.
        let setup = Setup { router: |router| router.retransmit_s = 1, ..quick() };
        let mesh = Mesh::start_set_up(Topology::square(), &roles, &setup).unwrap();
        mesh.wait_full(MINUTE).unwrap();
        mesh.wait_reachable(MINUTE).unwrap();
        two_ways_to_the_opposite_corner(&mesh);
        let probe = mesh.probe(0, 1).unwrap();
        let link = &mesh.net.links[mesh.net.link(0, 1).unwrap()];
        for cut in 0..5 {
            let outage = probe.outage(link, MINUTE).unwrap();
            println!("meshd in corner {corner}, cut {cut}: {outage:.1?}");
            outages.push(outage);
            link.heal().unwrap();
            mesh.wait_full(MINUTE).unwrap();
            wait_until("the probe to be back", MINUTE, || {
                ensure!(Probe::taken(std::slice::from_ref(link))?.len() == 1, "it takes the other way");
                Ok(())
            })
            .unwrap();
        }
    }
    outages.sort();
    let (median, worst) = (outages[outages.len() / 2], outages[outages.len() - 1]);
    println!("median {median:.1?}, worst {worst:.1?}");
    assert!(median <= Duration::from_millis(300), "median {median:?} of {outages:?}");
    assert!(worst <= Duration::from_millis(330), "worst {worst:?} of {outages:?}");
}

/// FRR drops an LSA that follows another within MinLSArrival and repeats one that was dropped after five seconds, so two FRRs
/// may be Full for that long before they use the link between them.
fn two_ways_to_the_opposite_corner(mesh: &Mesh) {
    wait_until("two ways to the opposite corner in each FRR", MINUTE, || {
        for (node, namespace) in mesh.net.nodes.iter().enumerate() {
            if matches!(mesh.nodes[node], Node::Stock(_)) {
                let opposite = Prefix::host(mesh.nodes[(node + 2) % 4].address());
                let routes = kernel_routes(namespace)?;
                ensure!(routes.get(&opposite).is_some_and(|via| via.len() == 2), "{node} has {routes:?}");
            }
        }
        Ok(())
    })
    .unwrap();
}

/// A Router-LSA of 120 links: 1,944 bytes with its headers in one piece, which no tunnel of 1,280 bytes carries.
#[test]
fn a_hub_of_120_links_is_a_neighbour_of_frr_and_bird() {
    let mut roles = vec![Role::Meshd; 121];
    (roles[1], roles[2]) = (Role::Frr, Role::Bird);
    let setup = Setup::default();
    let mesh = Mesh::start_set_up(Topology::star(121), &roles, &setup).unwrap();
    let start = now();
    mesh.router(0).unwrap().wait_full(120, 2 * MINUTE).unwrap();
    println!("120 adjacencies {:.1?} after the last router was started", start.elapsed());
    for node in [1, 2] {
        for other in [3, 60, 120] {
            let (there, back) = (mesh.nodes[other].address(), mesh.nodes[node].address());
            wait_route(&mesh.net.nodes[node], there, MINUTE).unwrap();
            let back = format!("{back}/128");
            wait_until("the way back", MINUTE, || {
                let routes = mesh.meshd(other)?.molt(&["routes"])?;
                let routes = routes["routes"].as_array().context("a list of routes")?;
                ensure!(routes.iter().any(|route| route["prefix"] == back.as_str()), "{routes:?}");
                Ok(())
            })
            .unwrap();
            println!("{node} and {other} have routes to each other after {:.1?}", start.elapsed());
            let pinged = ping(&mesh.net.nodes[node], there, &["-c", "3", "-i", "0.1"]).unwrap();
            assert_eq!(pinged.lost(), 0, "{}", pinged.text);
        }
    }
}

/// ```text
/// 0 (meshd) ===== 1 (BIRD) =====x 119===== another BIRD
/// ```
///
/// BIRD, unlike FRR, does not split its Router-LSA: with 120 links it is 1,944 bytes, and crosses the tunnel in fragments.
#[test]
fn a_bird_with_120_links_is_a_neighbour_whose_fragments_are_reassembled() {
    const CABLES: u16 = 119;
    const HUB: &str = "10.255.0.2";
    fn router(router: &mut RouterConfig) {
        router.interfaces.push("many*".to_owned());
        router.bfd = false;
    }
    let setup = Setup { router, ..quick() };
    let mesh = Mesh::start_set_up(Topology::line(2), &[Role::Meshd, Role::Bird], &setup).unwrap();
    let far = Namespace::new("far").unwrap();
    let mut config = RouterConfig::numbered(3, Vec::new());
    config.hello_s = setup.hello_s;
    router(&mut config);
    let far_bird = Bird::start(&far, &config).unwrap();
    let cables: Vec<Link> = (0..CABLES)
        .map(|cable| {
            let name = format!("many{cable}");
            Link::new((&mesh.net.nodes[1], &name), (&far, &name)).unwrap()
        })
        .collect();
    far_bird.wait_full(cables.len(), MINUTE).unwrap();
    mesh.router(1).unwrap().wait_full(cables.len() + 1, MINUTE).unwrap();

    let links_of_the_hub = |wanted: usize| {
        let length = 24 + 16 * wanted;
        wait_until("the whole Router-LSA of the hub", MINUTE, || {
            let database = mesh.meshd(0)?.molt(&["ospf", "database"])?;
            let lsas = database["lsas"].as_array().context("a list of LSAs")?;
            let hub: Vec<_> =
                lsas.iter().filter(|lsa| lsa["adv-router"] == HUB && lsa["lsa-type"] == "2001").collect();
            ensure!(hub.len() == 1 && hub[0]["length"] == length, "{hub:?}");
            Ok(())
        })
        .unwrap();
    };
    links_of_the_hub(120);
    mesh.wait_reachable(MINUTE).unwrap();
    cables[0].cut().unwrap();
    links_of_the_hub(119);
    let neighbours = mesh.router(0).unwrap().neighbours().unwrap();
    assert_eq!((neighbours.len(), neighbours[0].state.as_str()), (1, "Full"), "{neighbours:?}");
}
