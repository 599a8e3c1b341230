//! Stock routers as members: WireGuard, OSPFv3 and BFD of others, with a `meshd` in the middle.
//!
//! ```text
//! 0 (FRR) ===== 1 (meshd) ===== 2 (BIRD)
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::time::Duration;

use anyhow::{Context, ensure};
use molt_lab::mesh::{Mesh, Node, Role};
use molt_lab::stock::wait_route;
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use molt_mesh::RouterId;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
/// From the first packet in the tunnel to an adjacency in Full.
const SOON: Duration = Duration::from_secs(3);
/// RFC 2328 appendix C.3, and what the stock routers of the lab have.
const RXMT_INTERVAL: Duration = Duration::from_secs(5);

const LINE: [Role; 3] = [Role::Frr, Role::Meshd, Role::Bird];

/// FRR takes milliseconds: its Hello waits inside WireGuard for the tunnel to come up and is the first packet through it, and
/// it answers ours at once. So does BIRD, unless it has itself just started, as here: by its log it then enters Exchange
/// before it has an LSA to describe and sends nothing, restarts the exchange when our Database Description comes again
/// after a second ("No DBDES packet for retransmit"), and is Full with the one after that, two seconds after the tunnel.
#[test]
fn frr_and_bird_are_full_watched_and_reachable_through_a_meshd_within_three_seconds_of_the_tunnel() {
    let mesh = Mesh::start_with(Topology::line(3), &LINE, 1).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    for (neighbour, took) in times_to_full(&mesh) {
        println!("hello 1 s: {neighbour} Full {took:.3?} after the tunnel was up");
        assert!(took <= SOON, "{neighbour} took {took:?}");
    }
    each_side_watches_the_other_at_100_ms_times_3(&mesh);
    each_has_a_route_to_each_and_they_ping(&mesh);
    what_a_stock_router_may_not_announce_is_rejected_and_not_used(&mesh);
}

/// All timers at their defaults; see above. A BIRD whose Router ID is above ours leads the database exchange, and begins with
/// it when its RxmtInterval is over (its log: ExStart, and 5 s later "DBDES packet sent").
#[test]
fn with_default_timers_too_unless_bird_leads_and_waits_for_its_retransmission() {
    let mesh = Mesh::start_mixed(Topology::line(3), &LINE).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    for (neighbour, took) in times_to_full(&mesh) {
        println!("hello 10 s: {neighbour} Full {took:.3?} after the tunnel was up");
        let bird_leads = neighbour == "BIRD" && router_id(&mesh) < RouterId(0x0aff_0003);
        let allowed = if bird_leads { RXMT_INTERVAL + SOON } else { SOON };
        assert!(took <= allowed, "{neighbour} took {took:?}");
    }
    each_has_a_route_to_each_and_they_ping(&mesh);
}

/// By the log of the `meshd`: for each of its links from "tunnel is up" to Full.
fn times_to_full(mesh: &Mesh) -> Vec<(&'static str, Duration)> {
    let log = mesh.nodes[1].processes().unwrap()[0].log();
    let at = |link: &str, words: &str| {
        let line = log.lines().find(|line| line.contains(words) && line.contains(link));
        time_of_day(line.unwrap_or_else(|| panic!("no {words:?} in\n{log}")))
    };
    [("FRR", "link=1 "), ("BIRD", "link=2 ")]
        .map(|(name, link)| (name, at(link, "to=Full").saturating_sub(at(link, "tunnel is up"))))
        .to_vec()
}

/// Of a line that starts with `2026-11-21T11:32:40.423615Z`. A test over midnight fails once.
fn time_of_day(line: &str) -> Duration {
    let (_, clock) = line.split_once('T').unwrap();
    let clock = clock.split_once('Z').unwrap().0;
    let seconds = clock.split(':').fold(0.0, |sum, part| 60.0 * sum + part.parse::<f64>().unwrap());
    Duration::from_secs_f64(seconds)
}

/// [`Mesh::wait_full`] has seen 100 ms and 300 ms at both ends; here who the ends are.
fn each_side_watches_the_other_at_100_ms_times_3(mesh: &Mesh) {
    let link_local =
        mesh.meshd(1).unwrap().molt(&["status"]).unwrap()["link-local"].as_str().unwrap().to_owned();
    let ours = mesh.router(1).unwrap().bfd_sessions().unwrap();
    for (node, session) in [(0, &ours[0]), (2, &ours[1])] {
        let Node::Stock(stock) = &mesh.nodes[node] else { panic!("node {node} is a stock router") };
        assert_eq!(session.peer, stock.tunnels[0].link_local());
        let theirs = mesh.router(node).unwrap().bfd_sessions().unwrap();
        assert_eq!((theirs.len(), theirs[0].peer.to_string()), (1, link_local.clone()));
        let neighbours = mesh.router(node).unwrap().neighbours().unwrap();
        assert_eq!(neighbours[0].router_id, router_id(mesh).to_string());
    }
}

/// Of the `meshd`.
fn router_id(mesh: &Mesh) -> RouterId {
    mesh.meshd(1).unwrap().molt(&["status"]).unwrap()["router-id"].as_str().unwrap().parse().unwrap()
}

fn each_has_a_route_to_each_and_they_ping(mesh: &Mesh) {
    for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
        let (namespace, address) = (&mesh.net.nodes[from], mesh.nodes[to].address());
        if from == 1 {
            let answer = mesh.meshd(1).unwrap().molt(&["wait", "--for", &address.to_string()]).unwrap();
            assert_eq!(answer["ready"], true);
        } else {
            wait_route(namespace, address, MINUTE).unwrap();
        }
    }
    mesh.wait_reachable(MINUTE).unwrap();
    for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
        let pinged =
            ping(&mesh.net.nodes[from], mesh.nodes[to].address(), &["-c", "20", "-i", "0.02"]).unwrap();
        assert_eq!((pinged.sent, pinged.lost()), (20, 0), "{from} to {to}: {}", pinged.text);
    }
}

/// FRR announces an address nobody allowed it, and the one of BIRD, as if it were its own.
fn what_a_stock_router_may_not_announce_is_rejected_and_not_used(mesh: &Mesh) {
    let (frr, meshd, bird) = (&mesh.net.nodes[0], mesh.meshd(1).unwrap(), mesh.nodes[2].address());
    let extra = "fd00:6d6f:6c74:cccc::1";
    frr.ip(&format!("addr add {extra}/128 dev lo")).unwrap();
    frr.ip(&format!("addr add {bird}/128 dev lo")).unwrap();
    let wanted = [format!("{extra}/128"), format!("{bird}/128")];
    let (routes, _) = wait_until("both announcements to be rejected", MINUTE, || {
        let routes = meshd.molt(&["routes"])?;
        let rejected = routes["rejected"].as_array().context("no list of rejected routes")?;
        for prefix in &wanted {
            let entry = rejected.iter().find(|entry| entry["prefix"] == prefix.as_str());
            let entry = entry.with_context(|| format!("{prefix} is not in {rejected:?}"))?;
            ensure!(entry["router-id"] == "10.255.0.1", "{entry}");
            ensure!(entry["reason"].as_str().is_some_and(|reason| reason.contains("allow")), "{entry}");
        }
        Ok(routes)
    })
    .unwrap();
    let used: Vec<&Value> = routes["routes"].as_array().unwrap().iter().collect();
    assert!(used.iter().all(|route| route["prefix"] != wanted[0].as_str()), "{used:?}");
    let to_bird: Vec<_> = used.iter().filter(|route| route["prefix"] == wanted[1].as_str()).collect();
    assert_eq!((to_bird.len(), &to_bird[0]["router-id"]), (1, &"10.255.0.3".into()));

    let pinged =
        ping(&mesh.net.nodes[1], extra.parse().unwrap(), &["-c", "2", "-i", "0.2", "-W", "1"]).unwrap();
    assert_eq!(pinged.received, 0, "{}", pinged.text);
    let pinged = ping(&mesh.net.nodes[1], bird, &["-c", "20", "-i", "0.02"]).unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
}
