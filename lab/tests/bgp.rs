//! Two meshes meet: ours, and one whose border is FRR or BIRD.
//!
//! ```text
//! 0 (meshd) === 1 (meshd) === 2 (meshd, border) --- 3 (FRR or BIRD: fd12:3456:789a::/48)
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_lab::mesh::{Daemon, Mesh, Meshd, Node, Role, Setup};
use molt_lab::stock::border::{OTHER_AS, OTHER_MESH, OUR_AS, other_address};
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};
use molt_routing::bgp::consts::{HEADER_LEN, PORT, kind};
use molt_routing::bgp::message::{Capabilities, Open, keepalive};
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
    assert_eq!(peer_is_up(&mesh).unwrap()["accepted-prefixes"], 1);

    silent_cuts(&mesh, role);
}

/// From before the cut to the moment the border has ended the session and withdrawn its routes, which is one step.
fn silent_cuts(mesh: &Mesh, role: Role) {
    let link = &mesh.net.links[mesh.net.link(2, 3).unwrap()];
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = now();
        link.cut().unwrap();
        let (ago, _) = wait_until("the session to end", Duration::from_secs(5), || {
            let summary = border(mesh).molt(&["bgp", "summary"])?;
            let peer = &summary["peers"][0];
            ensure!(peer["session-state"] != "Established", "{peer}");
            ensure!(peer["last-error"] == "BFD: the path is down", "{peer}");
            peer["last-error-ago-ms"].as_u64().context("no time")
        })
        .unwrap();
        times.push(start.elapsed().saturating_sub(Duration::from_millis(ago)));
        let routes = outside_routes(border(mesh)).unwrap();
        assert!(!routes.contains(&OTHER_MESH.to_string()), "{routes:?}");
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
    assert!(times.iter().all(|time| *time <= Duration::from_millis(330)), "{times:?}");
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
}

/// A peer that says what no router would say, over a real connection.
struct Script(TcpStream);

impl Script {
    fn update(&mut self, attributes: &[&[u8]]) {
        let list = attributes.concat();
        let mut message = vec![0xff; 16];
        message.extend(u16::try_from(HEADER_LEN + 4 + list.len()).unwrap().to_be_bytes());
        message.extend([kind::UPDATE, 0, 0]);
        message.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
        message.extend(list);
        self.0.write_all(&message).unwrap();
    }

    /// Type and body of the next message.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; HEADER_LEN];
        self.0.read_exact(&mut header).unwrap();
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length - HEADER_LEN];
        self.0.read_exact(&mut body).unwrap();
        (header[18], body)
    }
}

#[test]
fn rfc7606_a_malformed_update_costs_its_routes_and_one_that_hides_them_the_session() {
    const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
    const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0xfa, 0x56, 0xea, 0x02];
    let policy = r#"
        bfd = false
        import = [{ prefix = "fd12:3456:789a::/48", action = "accept" }]
    "#;
    let router = |config: &mut molt_lab::stock::RouterConfig| config.border = None;
    let setup = Setup { hello_s: 1, bgp: Some(policy), router, ..Setup::default() };
    let roles = [Role::Meshd, Role::Meshd, Role::Meshd, Role::Frr];
    let mesh = Mesh::start_set_up(Topology::line(4), &roles, &setup).unwrap();
    let Node::Stock(stock) = &mesh.nodes[3] else { panic!("node 3 is a stock router") };
    let (ours, theirs, interface) = (border(&mesh).address, stock.address, stock.tunnels[0].interface());
    mesh.net.nodes[3].ip(&format!("-6 route add {ours}/128 dev {interface} src {theirs}")).unwrap();
    let (stream, _) = wait_until("a connection", MINUTE, || {
        let connected = mesh.net.nodes[3].enter(|| TcpStream::connect((ours, PORT)))??;
        connected.set_read_timeout(Some(Duration::from_secs(10)))?;
        // Without its OPEN it was refused: the border is in Idle.
        ensure!(connected.peek(&mut [0])? == 1, "it was closed");
        Ok(connected)
    })
    .unwrap();
    let mut script = Script(stream);
    let capabilities = Capabilities { ipv6_unicast: true, four_octet_as: true, ..Capabilities::default() };
    let open = Open { asn: OTHER_AS, hold_time: Duration::from_secs(90), identifier: 1, capabilities };
    script.0.write_all(&[open.encode(), keepalive()].concat()).unwrap();
    assert_eq!([script.hear().0, script.hear().0], [kind::OPEN, kind::KEEPALIVE]);
    wait_until("the session", MINUTE, || peer_is_up(&mesh)).unwrap();

    let mut reach = vec![0x80, 14, 28, 0, 2, 1, 16];
    reach.extend(theirs.octets());
    reach.extend([0, 48, 0xfd, 0x12, 0x34, 0x56, 0x78, 0x9a]);
    let wait_for = |routes: &[String]| {
        wait_until("the routes two hops behind the border", MINUTE, || {
            let found = outside_routes(mesh.meshd(0)?)?;
            ensure!(found == routes, "{found:?}");
            Ok(())
        })
        .unwrap();
    };
    script.update(&[&reach, ORIGIN, AS_PATH]);
    wait_for(&[OTHER_MESH.to_string()]);
    // Treat-as-withdraw: ORIGIN 9.
    script.update(&[&reach, &[0x40, 1, 1, 9], AS_PATH]);
    wait_for(&[]);
    let peer = peer_is_up(&mesh).unwrap();
    assert_eq!(peer["malformed-updates"], 1, "{peer}");
    // Attribute discard: LOCAL_PREF from outside.
    script.update(&[&reach, ORIGIN, AS_PATH, &[0x40, 5, 4, 0, 0, 0, 9]]);
    wait_for(&[OTHER_MESH.to_string()]);
    assert_eq!(peer_is_up(&mesh).unwrap()["malformed-updates"], 2);
    // Session reset: MP_REACH_NLRI twice.
    script.update(&[&reach, &reach, ORIGIN, AS_PATH]);
    let notification = loop {
        match script.hear() {
            (kind::NOTIFICATION, body) => break body,
            (other, _) => {
                assert!(matches!(other, kind::KEEPALIVE | kind::UPDATE), "a message of type {other}")
            }
        }
    };
    assert_eq!(notification, [3, 1]);
    wait_for(&[]);
}
