//! Two meshes meet: ours, and one whose border is FRR or BIRD, or one that is made of `meshd` as ours is.
//!
//! ```text
//! 0 (meshd) === 1 (meshd) === 2 (meshd, border) --- 3 (FRR or BIRD: fd12:3456:789a::/48)
//!
//! 0 === 1 === 2 (border) --- 3 (border) === 4 === 5      all meshd; 3 to 5 are fd12:3456:789a::/48
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_lab::mesh::{Daemon, Mesh, Meshd, Node, Role, Setup, Stock};
use molt_lab::stock::RouterConfig;
use molt_lab::stock::border::{OTHER_AS, OTHER_MESH, OUR_AS, other_address};
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};
use molt_mesh::{MeshPrefix, Prefix};
use molt_routing::bgp::consts::{HEADER_LEN, PORT, kind};
use molt_routing::bgp::message::{Capabilities, Open, keepalive};
use molt_routing::ospf::Withheld;
use molt_routing::ospf::lsa::LsType;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_mins(1);

/// Ours where the other mesh is made of `meshd`, too: neither has the prefix of a mesh that was not given one.
const OUR_MESH: MeshPrefix = MeshPrefix::from_global_id([0xab, 0xcd, 0xef, 0x01, 0x23]);

/// Only the other mesh comes in, only ours goes out.
const POLICY: &str = r#"
import = [{ prefix = "THEIRS", action = "accept" }]
export = [{ prefix = "OURS", action = "accept" }]
"#;

/// An operator who believes everything.
const ALL: &str = r#"
import = [{ action = "accept" }]
export = [{ action = "accept" }]
"#;

fn start(role: Role, policy: &'static str) -> Mesh {
    start_with(role, policy, announce_more)
}

fn start_with(role: Role, policy: &'static str, router: fn(&mut RouterConfig)) -> Mesh {
    let setup = Setup { hello_s: 1, bgp: Some(policy), router, ..Setup::default() };
    let mesh = match role {
        Role::Meshd => {
            let setup = Setup { prefix: OUR_MESH, other: Some(3), ..setup };
            Mesh::start_set_up(Topology::line(6), &[role; 6], &setup)
        }
        Role::Frr | Role::Bird => {
            let roles = [Role::Meshd, Role::Meshd, Role::Meshd, role];
            Mesh::start_set_up(Topology::line(4), &roles, &setup)
        }
    };
    mesh.unwrap()
}

/// Beside its aggregate, the other mesh announces a part of it and something that is not its own.
fn announce_more(config: &mut RouterConfig) {
    if let Some(border) = &mut config.border {
        border.announce.push("fd12:3456:789a:f::/64".parse().unwrap());
    }
}

fn border(mesh: &Mesh) -> &Meshd {
    mesh.meshd(2).unwrap()
}

/// The borders that can be asked: ours, and the other one if it is a `meshd`.
fn borders(mesh: &Mesh) -> Vec<&Meshd> {
    let other = match &mesh.nodes[3] {
        Node::Meshd(other) => Some(other),
        Node::Stock(_) => None,
    };
    [border(mesh)].into_iter().chain(other).collect()
}

/// Nodes behind a border, with the mesh that it leads to.
fn inner(mesh: &Mesh) -> Vec<(&Meshd, MeshPrefix)> {
    let nodes = [(0, OTHER_MESH), (1, OTHER_MESH), (4, OUR_MESH), (5, OUR_MESH)];
    let nodes = nodes.into_iter().filter(|(node, _)| *node < mesh.nodes.len());
    nodes.map(|(node, other)| (mesh.meshd(node).unwrap(), other)).collect()
}

fn peer_of(border: &Meshd) -> Result<Value> {
    let summary = border.molt(&["bgp", "summary"])?;
    Ok(summary["peers"][0].clone())
}

fn peer_is_up(border: &Meshd) -> Result<Value> {
    let peer = peer_of(border)?;
    ensure!(peer["session-state"] == "Established", "{peer}");
    Ok(peer)
}

/// The session is up at both ends, and the BFD session over it.
fn wait_session(mesh: &Mesh) {
    wait_until("the BGP session", MINUTE, || {
        for border in borders(mesh) {
            peer_is_up(border)?;
            ensure!(paths_up(border)? == 1, "no BFD session over several hops is Up");
        }
        if let Node::Stock(stock) = &mesh.nodes[3] {
            let up = match &stock.router {
                Daemon::Frr(frr) => frr.bgp_is_up(border(mesh).address)?,
                Daemon::Bird(bird) => bird.bgp_is_up()?,
            };
            ensure!(up, "the other end is not Established");
        }
        Ok(())
    })
    .unwrap();
}

fn paths_up(border: &Meshd) -> Result<usize> {
    let bfd = border.molt(&["bfd"])?;
    let sessions = bfd["sessions"].as_array().context("no sessions")?;
    let up = |session: &&Value| session["path-type"] == "ip-mh" && session["local-state"] == "Up";
    Ok(sessions.iter().filter(up).count())
}

/// The AS path to our mesh, as the other border has it.
fn path_to_us(mesh: &Mesh) -> Result<Option<String>> {
    match &mesh.nodes[3] {
        Node::Meshd(other) => {
            let route = bgp_route(other, OUR_MESH.prefix())?.filter(|route| route["best"] == true);
            Ok(route.and_then(|route| route["as-path"].as_str().map(str::to_owned)))
        }
        Node::Stock(Stock { router: Daemon::Frr(frr), .. }) => frr.bgp_path_to_us(),
        Node::Stock(Stock { router: Daemon::Bird(bird), .. }) => bird.bgp_path_to_us(),
    }
}

/// What the peer of a border says about a prefix.
fn bgp_route(border: &Meshd, prefix: Prefix) -> Result<Option<Value>> {
    let routes = border.molt(&["bgp", "routes"])?;
    let routes = routes["routes"].as_array().context("no list of routes")?;
    let prefix = prefix.to_string();
    let mut told = routes.iter().filter(|route| route["peer"].is_string());
    Ok(told.find(|route| route["prefix"] == prefix.as_str()).cloned())
}

fn prefixes(meshd: &Meshd) -> Result<Vec<Prefix>> {
    let routes = meshd.molt(&["routes"])?;
    let prefixes = routes["routes"].as_array().context("no routes")?.iter().map(|route| &route["prefix"]);
    prefixes.filter_map(Value::as_str).map(|prefix| Ok(prefix.parse()?)).collect()
}

/// Prefixes in the table of a node, of those outside of its mesh.
fn outside_routes(meshd: &Meshd) -> Result<Vec<Prefix>> {
    let ours = meshd.mesh.prefix();
    Ok(prefixes(meshd)?.into_iter().filter(|prefix| !ours.covers(prefix)).collect())
}

fn wait_routes(mesh: &Mesh) {
    wait_until("routes in both directions", MINUTE, || {
        for (meshd, other) in inner(mesh) {
            let routes = outside_routes(meshd)?;
            ensure!(routes == [other.prefix()], "{} has {routes:?}", meshd.address);
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

    // Two hops behind our border a node, behind the other one a node or a host.
    let near = mesh.meshd(0).unwrap().address;
    let (node, far) = match role {
        Role::Meshd => (5, mesh.meshd(5).unwrap().address),
        Role::Frr | Role::Bird => (3, other_address(1, 1)),
    };
    if role != Role::Meshd {
        mesh.net.nodes[node].ip(&format!("addr add {far}/128 dev lo")).unwrap();
    }
    for (from, source, to) in [(0, near, far), (node, far, near)] {
        let options = ["-c", "5", "-i", "0.1", "-I", &source.to_string()];
        wait_until("an answer", MINUTE, || {
            let pinged = ping(&mesh.net.nodes[from], to, &options)?;
            ensure!(pinged.lost() == 0, "{}", pinged.text);
            Ok(())
        })
        .unwrap();
    }

    if role != Role::Meshd {
        // Policy: the part of the aggregate was announced, and is in no table but that of BGP.
        let part = "fd12:3456:789a:f::/64".parse().unwrap();
        let filtered = bgp_route(border(&mesh), part).unwrap().unwrap();
        assert_eq!(filtered["valid"], false);
        assert_eq!(filtered["ineligible-reason"], "the import policy does not accept it");
    }
    for border in borders(&mesh) {
        assert_eq!(peer_is_up(border).unwrap()["accepted-prefixes"], 1);
    }

    silent_cuts(&mesh, role);
}

/// From before the cut to the moment a border has ended the session and withdrawn its routes, which is one step.
fn silent_cuts(mesh: &Mesh, role: Role) {
    let link = &mesh.net.links[mesh.net.link(2, 3).unwrap()];
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = now();
        link.cut().unwrap();
        for border in borders(mesh) {
            let (ago, _) = wait_until("the session to end", Duration::from_secs(5), || {
                let peer = peer_of(border)?;
                ensure!(peer["session-state"] != "Established", "{peer}");
                ensure!(peer["last-error"] == "BFD: the path is down", "{peer}");
                peer["last-error-ago-ms"].as_u64().context("no time")
            })
            .unwrap();
            times.push(start.elapsed().saturating_sub(Duration::from_millis(ago)));
            let routes = outside_routes(border).unwrap();
            assert!(routes.iter().all(|prefix| prefix.len() == 128), "the other border at most: {routes:?}");
        }
        wait_until("the external LSAs to be flushed", MINUTE, || {
            for (meshd, _) in inner(mesh) {
                ensure!(outside_routes(meshd)?.is_empty(), "still there");
            }
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
fn two_meshes_of_meshd_with_prefixes_of_their_own() {
    meshes_meet(Role::Meshd);
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
    let mesh = start(Role::Frr, "");
    wait_session(&mesh);
    wait_until("the routes to be received", MINUTE, || {
        let peer = peer_is_up(border(&mesh))?;
        ensure!(peer["received-prefixes"] == 2, "{peer}");
        Ok(())
    })
    .unwrap();
    let peer = peer_is_up(border(&mesh)).unwrap();
    assert_eq!((&peer["accepted-prefixes"], &peer["sent-prefixes"]), (&0.into(), &0.into()));
    assert_eq!(peer["lacks-policy"], true);
    assert_eq!(path_to_us(&mesh).unwrap(), None);
    for (meshd, _) in inner(&mesh) {
        assert_eq!(outside_routes(meshd).unwrap(), []);
    }
    // The operator says what may, and no session is lost over it.
    give_policy(border(&mesh), OTHER_MESH);
    wait_routes(&mesh);
    assert_eq!(peer_is_up(border(&mesh)).unwrap()["established-transitions"], 1);
}

/// Each operator decides alone what goes out and what comes in.
fn give_policy(border: &Meshd, other: MeshPrefix) {
    let policy = POLICY.replace("OURS", &border.mesh.to_string()).replace("THEIRS", &other.to_string());
    border.configure(|text| text + &policy).unwrap();
    border.molt(&["reload"]).unwrap();
}

/// RFC 8212 between two `meshd`: what one exports, the other does not take until its operator says so.
#[test]
fn two_meshes_exchange_what_both_operators_allow() {
    let mesh = start(Role::Meshd, "");
    wait_session(&mesh);
    let [ours, theirs] = borders(&mesh).try_into().unwrap();
    let counts = |border: &Meshd| {
        let peer = peer_is_up(border).unwrap();
        ["received-prefixes", "accepted-prefixes", "sent-prefixes"].map(|name| peer[name].as_u64().unwrap())
    };
    assert_eq!([counts(ours), counts(theirs)], [[0; 3]; 2]);
    give_policy(ours, OTHER_MESH);
    wait_until("our prefix to be told", MINUTE, || {
        ensure!(counts(theirs) == [1, 0, 0], "{:?}", counts(theirs));
        Ok(())
    })
    .unwrap();
    assert_eq!(counts(ours), [0, 0, 1]);
    let refused = bgp_route(theirs, OUR_MESH.prefix()).unwrap().unwrap();
    assert_eq!(refused["ineligible-reason"], "the import policy does not accept it");
    for (meshd, _) in inner(&mesh) {
        assert_eq!(outside_routes(meshd).unwrap(), []);
    }
    give_policy(theirs, OUR_MESH);
    wait_routes(&mesh);
    assert_eq!([counts(ours), counts(theirs)], [[1; 3]; 2]);
    assert_eq!(peer_is_up(ours).unwrap()["established-transitions"], 1);
}

/// What `molt id` says is the identity key of a node.
fn identity_key(meshd: &Meshd) -> String {
    let id = meshd.molt(&["id", "show", "--state-dir", meshd.state_dir.to_str().unwrap()]).unwrap();
    id["identity-key"].as_str().unwrap().to_owned()
}

/// The operator has named another node in the configuration of the border. The others, who know better, are not asked.
#[test]
fn a_border_that_its_own_configuration_does_not_name_keeps_the_way_to_itself_and_says_so() {
    let mut mesh = start(Role::Frr, POLICY);
    let [key, another] = [2, 0].map(|node| identity_key(mesh.meshd(node).unwrap()));
    let ours = mesh.meshd_mut(2).unwrap();
    ours.terminate().unwrap();
    let named = std::fs::read_to_string(&ours.config).unwrap();
    assert!(named.contains(&key), "{named}");
    ours.configure(|text| text.replace(&key, &another)).unwrap();
    ours.run().unwrap();
    let prefix = OTHER_MESH.prefix();
    let (route, _) = wait_until("the route of BGP", MINUTE, || {
        let route = bgp_route(border(&mesh), prefix)?.context("no route")?;
        ensure!(route["best"] == true, "{route}");
        Ok(route)
    })
    .unwrap();
    let reason = Withheld::NotBorder.meaning();
    assert_eq!(route["not-told-reason"], reason, "{route}");
    let told = border(&mesh).molt(&["bgp", "summary"]).unwrap();
    let count = (&told["not-told-prefixes"], &told["not-told"]);
    assert_eq!(count, (&1.into(), &json!([{ "reason": reason, "prefixes": 1 }])), "{told}");
    for command in ["routes", "summary"] {
        let output = border(&mesh).molt_output(&["bgp", command]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("not announced to the mesh: {reason}")), "{text}");
    }
    assert!(outside_routes(border(&mesh)).unwrap().contains(&prefix), "it is used here");
    let database = border(&mesh).molt(&["ospf", "database"]).unwrap();
    let external = |lsa: &Value| lsa["lsa-type"] == format!("{:04x}", LsType::AS_EXTERNAL.0).as_str();
    assert!(!database["lsas"].as_array().unwrap().iter().any(external), "{database}");
    for (meshd, _) in inner(&mesh) {
        let routes = meshd.molt(&["routes"]).unwrap();
        assert_eq!(routes["rejected"], json!([]), "nobody takes it for a hijack");
    }
    let log = mesh.meshd_mut(2).unwrap().process().unwrap().log();
    assert_eq!(log.matches("not announced to the mesh").count(), 1, "{log}");

    border(&mesh).configure(|_| named).unwrap();
    // Whether all neighbours are back in time does not matter.
    border(&mesh).molt_output(&["restart"]).unwrap();
    wait_routes(&mesh);
    let summary = border(&mesh).molt(&["bgp", "summary"]).unwrap();
    assert_eq!((&summary["not-told-prefixes"], &summary["not-told"]), (&0.into(), &json!([])));
}

/// The other mesh announces these, and ours would take anything: they are refused by name, and nobody's way changes.
fn hijack_is_refused(mesh: &Mesh, stolen: &[Prefix]) {
    wait_until("what is ours to be announced by others", MINUTE, || {
        for prefix in stolen {
            let route = bgp_route(border(mesh), *prefix)?.with_context(|| format!("no {prefix}"))?;
            ensure!(route["valid"] == false && route["best"] == false, "{route}");
            ensure!(route["ineligible-reason"] == "it overlaps with our own mesh", "{route}");
        }
        Ok(())
    })
    .unwrap();
    for node in 0..3 {
        let meshd = mesh.meshd(node).unwrap();
        // What comes with the stolen ones and is theirs is taken, and told to everybody.
        let told = wait_until("what is theirs to be told", MINUTE, || {
            let routes = prefixes(meshd)?;
            ensure!(routes.contains(&OTHER_MESH.prefix()), "{routes:?}");
            Ok(routes)
        });
        let (routes, _) = told.unwrap();
        assert!(stolen.iter().all(|prefix| !routes.contains(prefix)), "{routes:?}");
    }
    let (near, far) = (&mesh.net.nodes[0], mesh.meshd(2).unwrap().address);
    let pinged = ping(near, far, &["-c", "5", "-i", "0.1"]).unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
}

#[test]
fn hijack_of_our_prefix_by_another_mesh_is_refused() {
    let mut mesh = start(Role::Meshd, ALL);
    wait_session(&mesh);
    wait_routes(&mesh);
    let part = Prefix::new(OUR_MESH.prefix().addr(), 64);
    let theirs = mesh.meshd_mut(3).unwrap();
    theirs.terminate().unwrap();
    theirs
        .configure(|text| {
            let (honest, stolen) = ("announce = [", format!("announce = [\"{OUR_MESH}\", \"{part}\", "));
            assert!(text.contains(honest), "{text}");
            text.replace(honest, &stolen)
        })
        .unwrap();
    theirs.run().unwrap();
    wait_session(&mesh);
    hijack_is_refused(&mesh, &[OUR_MESH.prefix(), part]);
}

/// A `meshd` announces aggregates only. Others announce what they like.
#[test]
fn hijack_of_one_of_our_addresses_by_another_mesh_is_refused() {
    const STOLEN: [&str; 2] = ["fd00:6d6f:6c74::/48", "fd00:6d6f:6c74::53/128"];
    let mesh = start_with(Role::Frr, ALL, |config| {
        if let Some(border) = &mut config.border {
            border.announce.extend(STOLEN.map(|prefix| prefix.parse::<Prefix>().unwrap()));
        }
    });
    wait_session(&mesh);
    hijack_is_refused(&mesh, &STOLEN.map(|prefix| prefix.parse().unwrap()));
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
        import = [{ prefix = "THEIRS", action = "accept" }]
    "#;
    let mesh = start_with(Role::Frr, policy, |config| config.border = None);
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
    wait_until("the session", MINUTE, || peer_is_up(border(&mesh))).unwrap();

    let mut reach = vec![0x80, 14, 28, 0, 2, 1, 16];
    reach.extend(theirs.octets());
    reach.extend([0, 48, 0xfd, 0x12, 0x34, 0x56, 0x78, 0x9a]);
    let wait_for = |routes: &[Prefix]| {
        wait_until("the routes two hops behind the border", MINUTE, || {
            let found = outside_routes(mesh.meshd(0)?)?;
            ensure!(found == routes, "{found:?}");
            Ok(())
        })
        .unwrap();
    };
    script.update(&[&reach, ORIGIN, AS_PATH]);
    wait_for(&[OTHER_MESH.prefix()]);
    // Treat-as-withdraw: ORIGIN 9.
    script.update(&[&reach, &[0x40, 1, 1, 9], AS_PATH]);
    wait_for(&[]);
    let peer = peer_is_up(border(&mesh)).unwrap();
    assert_eq!(peer["malformed-updates"], 1, "{peer}");
    // Attribute discard: LOCAL_PREF from outside.
    script.update(&[&reach, ORIGIN, AS_PATH, &[0x40, 5, 4, 0, 0, 0, 9]]);
    wait_for(&[OTHER_MESH.prefix()]);
    assert_eq!(peer_is_up(border(&mesh)).unwrap()["malformed-updates"], 2);
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
