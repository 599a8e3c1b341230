//! Two meshes meet: ours, and one whose border is FRR or BIRD.
//!
//! ```text
//! 0 (meshd) === 1 (meshd) === 2 (meshd, border) --- 3 (FRR or BIRD: fd12:3456:789a::/48)
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_lab::mesh::{Daemon, Mesh, Meshd, Node, Role, Setup};
use molt_lab::stock::border::{OTHER_MESH, OUR_AS, other_address};
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};
use molt_mesh::MESH_PREFIX;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);

/// Only the other mesh comes in, only ours goes out. BIRD sends BFD packets with a hop limit of 64.
const POLICY: &str = r#"
multihop = 192
import = [{ prefix = "fd12:3456:789a::/48", action = "accept" }]
export = [{ prefix = "fd00:6d6f:6c74::/48", action = "accept" }]
"#;

fn start(role: Role, policy: &'static str) -> Mesh {
    let setup = Setup { hello_s: 1, bgp: Some(policy), router: announce_more, ..Setup::default() };
    let roles = [Role::Meshd, Role::Meshd, Role::Meshd, role];
    Mesh::start_set_up(Topology::line(4), &roles, &setup).unwrap()
}

/// Beside its aggregate, the other mesh announces a part of it and something that is not its own.
fn announce_more(config: &mut molt_lab::stock::RouterConfig) {
    if let Some(border) = &mut config.border {
        border.announce.push("fd12:3456:789a:f::/64".parse().unwrap());
    }
}

fn border(mesh: &Mesh) -> &Meshd {
    mesh.meshd(2).unwrap()
}

fn peer_is_up(mesh: &Mesh) -> Result<Value> {
    let summary = border(mesh).molt(&["bgp", "summary"])?;
    let peer = &summary["peers"][0];
    ensure!(peer["session-state"] == "Established", "{peer}");
    Ok(peer.clone())
}

/// The session is up at both ends, and the BFD session over it.
fn wait_session(mesh: &Mesh) {
    wait_until("the BGP session", MINUTE, || {
        peer_is_up(mesh)?;
        let Node::Stock(stock) = &mesh.nodes[3] else { unreachable!("node 3 is a stock router") };
        let up = match &stock.router {
            Daemon::Frr(frr) => frr.bgp_is_up(border(mesh).address)?,
            Daemon::Bird(bird) => bird.bgp_is_up()?,
        };
        ensure!(up, "the other end is not Established");
        ensure!(paths_up(mesh)? == 1, "no BFD session over several hops is Up");
        Ok(())
    })
    .unwrap();
}

fn paths_up(mesh: &Mesh) -> Result<usize> {
    let bfd = border(mesh).molt(&["bfd"])?;
    let sessions = bfd["sessions"].as_array().context("no sessions")?;
    let up = |session: &&Value| session["path-type"] == "ip-mh" && session["local-state"] == "Up";
    Ok(sessions.iter().filter(up).count())
}

fn path_to_us(mesh: &Mesh) -> Result<Option<String>> {
    let Node::Stock(stock) = &mesh.nodes[3] else { unreachable!("node 3 is a stock router") };
    match &stock.router {
        Daemon::Frr(frr) => frr.bgp_path_to_us(),
        Daemon::Bird(bird) => bird.bgp_path_to_us(),
    }
}

/// Prefixes in the table of a node, of those outside of our mesh.
fn outside_routes(meshd: &Meshd) -> Result<Vec<String>> {
    let routes = meshd.molt(&["routes"])?;
    let prefixes = routes["routes"].as_array().context("no routes")?.iter().map(|route| &route["prefix"]);
    let prefixes = prefixes.filter_map(Value::as_str).filter(|prefix| !prefix.starts_with("fd00:"));
    Ok(prefixes.map(str::to_owned).collect())
}

fn wait_routes(mesh: &Mesh) {
    wait_until("routes in both directions", MINUTE, || {
        for node in [0, 1] {
            let routes = outside_routes(mesh.meshd(node)?)?;
            ensure!(routes == [OTHER_MESH.to_string()], "node {node} has {routes:?}");
        }
        ensure!(path_to_us(mesh)?.as_deref() == Some(&*OUR_AS.to_string()), "{:?}", path_to_us(mesh)?);
        Ok(())
    })
    .unwrap();
}

fn meshes_meet(role: Role) {
    let mesh = start(role, POLICY);
    wait_session(&mesh);
    wait_routes(&mesh);

    // A host behind the other border, and a node two hops behind ours.
    let host = other_address(1, 1);
    mesh.net.nodes[3].ip(&format!("addr add {host}/128 dev lo")).unwrap();
    let far = mesh.meshd(0).unwrap().address;
    for (from, to) in [(0, host), (3, far)] {
        let source: Ipv6Addr = if from == 0 { far } else { host };
        let options = ["-c", "5", "-i", "0.1", "-I", &source.to_string()];
        wait_until("an answer", MINUTE, || {
            let pinged = ping(&mesh.net.nodes[from], to, &options)?;
            ensure!(pinged.lost() == 0, "{}", pinged.text);
            Ok(())
        })
        .unwrap();
    }

    // Policy: the part of the aggregate was announced, and is in no table but that of BGP.
    let routes = border(&mesh).molt(&["bgp", "routes"]).unwrap();
    let routes = routes["routes"].as_array().unwrap();
    let filtered = routes.iter().find(|route| route["prefix"] == "fd12:3456:789a:f::/64").unwrap();
    assert_eq!(filtered["valid"], false);
    assert_eq!(filtered["ineligible-reason"], "the import policy does not accept it");
    assert_eq!(peer_is_up(&mesh).unwrap()["received-prefixes"], 2);
    assert_eq!(peer_is_up(&mesh).unwrap()["accepted-prefixes"], 1);

    silent_cuts(&mesh, role);
}

/// From the last packet before the cut to the moment the route is gone at a node two hops behind the border.
fn silent_cuts(mesh: &Mesh, role: Role) {
    let link = &mesh.net.links[mesh.net.link(2, 3).unwrap()];
    let mut times = Vec::new();
    for _ in 0..5 {
        link.cut().unwrap();
        let start = now();
        let gone = wait_until("the route to be withdrawn", Duration::from_secs(5), || {
            ensure!(
                outside_routes(border(mesh))?.iter().all(|it| *it != OTHER_MESH.to_string()),
                "still there"
            );
            Ok(())
        });
        gone.unwrap();
        times.push(start.elapsed());
        wait_until("the external LSA to be flushed", MINUTE, || {
            ensure!(outside_routes(mesh.meshd(0)?)?.is_empty(), "still there");
            Ok(())
        })
        .unwrap();
        link.heal().unwrap();
        wait_session(mesh);
        wait_routes(mesh);
    }
    times.sort();
    println!("{role:?}: withdrawn {times:.0?} after the cut");
    // The poll itself takes a few milliseconds.
    assert!(times[4] <= Duration::from_millis(330), "{times:?}");
}

#[test]
fn a_mesh_whose_border_is_frr() {
    meshes_meet(Role::Frr);
}

#[test]
fn a_mesh_whose_border_is_bird() {
    meshes_meet(Role::Bird);
}

/// RFC 8212: the session is up, and nothing passes in either direction until the operator says what may.
#[test]
fn without_policy_nothing_passes() {
    let mesh = start(Role::Frr, "multihop = 192");
    wait_session(&mesh);
    wait_until("the routes to be received", MINUTE, || {
        let peer = peer_is_up(&mesh)?;
        ensure!(peer["received-prefixes"] == 2, "{peer}");
        Ok(())
    })
    .unwrap();
    let peer = peer_is_up(&mesh).unwrap();
    assert_eq!((&peer["accepted-prefixes"], &peer["sent-prefixes"]), (&0.into(), &0.into()));
    assert_eq!(peer["lacks-policy"], true);
    assert_eq!(path_to_us(&mesh).unwrap(), None);
    for node in [0, 1] {
        assert_eq!(outside_routes(mesh.meshd(node).unwrap()).unwrap(), Vec::<String>::new());
    }
    // The operator says what may, and no session is lost over it.
    border(&mesh).configure(|text| text.replace("multihop = 192", POLICY)).unwrap();
    border(&mesh).molt(&["reload"]).unwrap();
    wait_routes(&mesh);
    assert_eq!(peer_is_up(&mesh).unwrap()["established-transitions"], 1);
    assert_eq!(MESH_PREFIX.len(), 48);
    mesh.router(0).unwrap().wait_full(1, MINUTE).unwrap();
}
