//! Nodes that come, crash, leave, move and are told something else, and the others, who must not notice more than they have
//! to.
//!
//! ```text
//! ring      0 === 1 === 2 === 3 === 4 === 0
//! star      0 in the middle, 1 to 4 around it
//! random    8 nodes of 3 neighbours each
//! square    0 === 1      line    0 === 1 === 2      pair    0 === 1
//!           ||   ||
//!           3 === 2
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::ensure;
use molt_lab::mesh::{Mesh, Meshd, TUN, binary};
use molt_lab::netns::{Namespace, Net};
use molt_lab::tools::{PingStream, ping};
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use nix::sys::signal::Signal;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
/// A lost packet at this rate is an interruption of 10 ms.
const CLOSE: Duration = Duration::from_millis(10);

fn up(topology: Topology) -> Mesh {
    let mesh = Mesh::start(topology).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    mesh
}

fn has_interface(namespace: &Namespace) -> bool {
    namespace.ip("-o link show").unwrap().contains(&format!(": {TUN}:"))
}

#[test]
fn every_node_of_a_ring_a_star_and_a_random_graph_reaches_every_other() {
    for topology in [Topology::ring(5), Topology::star(5), Topology::random(8, 3, 1)] {
        let (nodes, links) = (topology.nodes, topology.links.len());
        let mesh = Mesh::start(topology).unwrap();
        let full = mesh.wait_full(MINUTE).unwrap();
        let reached = mesh.wait_reachable(MINUTE).unwrap();
        println!(
            "{nodes} nodes, {links} links: Full after {full:.1?}, all pairs answered {reached:.1?} later"
        );
        for node in 0..nodes {
            let status = mesh.meshd(node).unwrap().molt(&["status"]).unwrap();
            assert_eq!((&status["routers"], &status["ready"]), (&nodes.into(), &true.into()), "{status}");
        }
    }
}

#[test]
fn after_kill_9_and_a_restart_a_transit_node_is_the_same_and_leaves_nothing_behind() {
    let mut mesh = up(Topology::square());
    let before = mesh.meshd(1).unwrap().molt(&["status"]).unwrap();
    mesh.meshd_mut(1).unwrap().kill().unwrap();
    assert!(!has_interface(&mesh.net.nodes[1]), "the interface outlived its process");
    assert!(mesh.meshd(1).unwrap().socket.exists(), "it was killed, who removed its socket?");
    // Worse than what a killed process can leave: an interface that stays by itself.
    mesh.net.nodes[1].ip(&format!("tuntap add {TUN} mode tun")).unwrap();

    mesh.meshd_mut(1).unwrap().run().unwrap();
    let back = mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    println!("kill -9 and restart: all Full {back:.2?} after the start");
    let after = mesh.meshd(1).unwrap().molt(&["status"]).unwrap();
    for same in ["addresses", "wireguard-key", "router-id", "agent-id"] {
        assert_eq!(before[same], after[same]);
    }
    assert!(has_interface(&mesh.net.nodes[1]));
    mesh.meshd_mut(1).unwrap().kill().unwrap();
    assert!(!has_interface(&mesh.net.nodes[1]));
}

#[test]
fn a_transit_node_that_is_told_to_leave_takes_no_packet_with_it() {
    let mut mesh = up(Topology::square());
    let stream = PingStream::start(&mesh.net.nodes[0], mesh.nodes[2].address(), CLOSE).unwrap();
    // The flow takes one of the two ways out and one back: after both have left it has met whoever carried it.
    for transit in [1, 3] {
        stream.wait_replies(50, MINUTE).unwrap();
        let status = mesh.meshd_mut(transit).unwrap().terminate().unwrap();
        assert!(status.success(), "{status}");
        assert!(!has_interface(&mesh.net.nodes[transit]));
        stream.wait_replies(50, MINUTE).unwrap();
        mesh.meshd_mut(transit).unwrap().run().unwrap();
        mesh.wait_full(MINUTE).unwrap();
    }
    stream.wait_replies(50, MINUTE).unwrap();
    let pinged = stream.stop().unwrap();
    println!("two transit nodes left and came back: {} of {} packets lost", pinged.lost(), pinged.sent);
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
}

/// By SIGHUP and by `molt reload`.
#[test]
fn a_reload_adds_changes_and_removes_a_peer_and_the_tunnel_of_the_other_stays() {
    let mut mesh = up(Topology::line(3));
    let full = fs::read_to_string(&mesh.meshd(1).unwrap().config).unwrap();
    let without = full.rsplit_once("[[peer]]").unwrap().0.to_owned();
    let stream = PingStream::start(&mesh.net.nodes[0], mesh.nodes[1].address(), CLOSE).unwrap();
    let peers = |meshd: &Meshd| meshd.molt(&["peers"]).unwrap()["peers"].as_array().unwrap().clone();

    let middle = mesh.meshd_mut(1).unwrap();
    middle.configure(|_| without.clone()).unwrap();
    middle.process().unwrap().signal(Signal::SIGHUP).unwrap();
    let gone = |meshd: &Meshd| {
        ensure!(peers(meshd).len() == 1, "{:?}", peers(meshd));
        Ok(())
    };
    wait_until("the peer to be gone", MINUTE, || gone(middle)).unwrap();
    let far = mesh.nodes[2].address();
    wait_until("nobody to reach it", MINUTE, || {
        ensure!(ping(&mesh.net.nodes[0], far, &["-c1", "-W1"])?.received == 0);
        Ok(())
    })
    .unwrap();

    let middle = mesh.meshd(1).unwrap();
    middle.configure(|_| full.clone()).unwrap();
    let answer = middle.molt(&["reload"]).unwrap();
    assert_eq!([&answer["added"], &answer["changed"], &answer["removed"]], [1, 0, 0], "{answer}");
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();

    stream.wait_replies(30, MINUTE).unwrap();
    middle.configure(|_| format!("{full}cost = 77\n")).unwrap();
    let answer = middle.molt(&["reload"]).unwrap();
    assert_eq!([&answer["added"], &answer["changed"], &answer["removed"]], [0, 1, 0], "{answer}");
    assert_eq!(peers(middle)[1]["cost"], 77);

    // A mistake changes nothing and is told; so does SIGHUP, in the log.
    middle.configure(|text| text.replace("cost = 77", "costs = 77")).unwrap();
    let output = middle.molt_output(&["reload"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("unknown field `costs`"), "{said}");
    assert_eq!(peers(middle)[1]["cost"], 77);

    middle.configure(|_| full.replace("name = \"n1\"", "name = \"other\"")).unwrap();
    assert_eq!(middle.molt(&["reload"]).unwrap()["needs-restart"], serde_json::json!(["[node]"]));

    stream.wait_replies(30, MINUTE).unwrap();
    let pinged = stream.stop().unwrap();
    println!("four reloads: {} of {} packets lost on the other tunnel", pinged.lost(), pinged.sent);
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
    let sessions = mesh.router(1).unwrap();
    assert_eq!(sessions.bfd_sessions().unwrap().len(), 2);
    let bfd = mesh.meshd(1).unwrap().molt(&["bfd"]).unwrap();
    assert_eq!(bfd["sessions"][0]["down-count"], 0, "{bfd}");
}

/// Node 1 does not know where node 0 is; node 0 knows a name, which leads nowhere at first.
#[test]
fn an_endpoint_that_is_a_name_is_resolved_again_when_nobody_answers_there() {
    let mut mesh = up(Topology::line(2));
    for node in [0, 1] {
        assert!(mesh.meshd_mut(node).unwrap().terminate().unwrap().success());
    }
    let endpoint = |line: &str| line.starts_with("endpoint").then(|| line.to_owned());
    let replaced = |text: String, with: &str| -> String {
        text.lines().map(|line| endpoint(line).map_or(line, |_| with).to_owned() + "\n").collect()
    };
    mesh.meshd(0).unwrap().configure(|text| replaced(text, "endpoint = \"far.test:51820\"")).unwrap();
    mesh.meshd(1).unwrap().configure(|text| replaced(text, "")).unwrap();
    // An address of the same segment that nobody has.
    mesh.net.nodes[0].hosts("fd99::dead far.test\n").unwrap();
    for node in [0, 1] {
        mesh.meshd_mut(node).unwrap().run().unwrap();
    }
    let near = mesh.meshd(0).unwrap();
    let place = || near.molt(&["peers"]).unwrap()["peers"][0]["endpoint"].clone();
    wait_until("the name to be resolved", MINUTE, || {
        ensure!(place() == "[fd99::dead]:51820", "{}", place());
        Ok(())
    })
    .unwrap();
    assert_eq!(near.molt(&["status"]).unwrap()["peers"]["connected"], 0);

    mesh.net.nodes[0].hosts(&format!("{} far.test\n", Net::ipv6(0, 1))).unwrap();
    let took = mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    println!("Full {took:.1?} after the name's address was corrected");
    assert_eq!(place(), format!("[{}]:51820", Net::ipv6(0, 1)));
    // Every third patrol of five seconds, and an initiation.
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[test]
fn a_tunnel_follows_a_peer_whose_underlay_address_changes_and_nothing_is_declared_down() {
    let mesh = up(Topology::line(2));
    // The link is IPv4 with room for two; make room for more.
    let (near, far) = (&mesh.net.nodes[0], &mesh.net.nodes[1]);
    near.ip("addr add 10.64.0.1/24 dev to1").unwrap();
    let stream = PingStream::start(near, mesh.nodes[1].address(), CLOSE).unwrap();
    stream.wait_replies(20, MINUTE).unwrap();
    far.ip("addr add 10.64.0.9/24 dev to0").unwrap();
    far.ip("addr del 10.64.0.2/30 dev to0").unwrap();

    let peers = || mesh.meshd(0).unwrap().molt(&["peers"]).unwrap();
    wait_until("the tunnel to follow", MINUTE, || {
        ensure!(peers()["peers"][0]["endpoint"] == "10.64.0.9:51820", "{}", peers());
        Ok(())
    })
    .unwrap();
    stream.wait_replies(100, MINUTE).unwrap();
    let pinged = stream.stop().unwrap();
    println!("roaming: {} of {} packets lost", pinged.lost(), pinged.sent);
    // What was under way to the old address until the first packet came from the new one: BFD sends each 100 ms.
    assert!(pinged.lost() <= 12, "{}", pinged.text);
    for node in [0, 1] {
        let bfd = mesh.meshd(node).unwrap().molt(&["bfd"]).unwrap();
        assert_eq!(bfd["sessions"][0]["down-count"], 0, "{bfd}");
    }
}

/// What a second `meshd` next to node 0 says before it ends.
struct Refusal<'a> {
    beside: &'a Meshd,
    config: String,
    state_dir: String,
    socket: String,
    /// Words in front of the program.
    prefix: &'a [&'a str],
}

impl<'a> Refusal<'a> {
    /// One that has nothing in common with the first.
    fn new(beside: &'a Meshd) -> Self {
        let path = |name: &str| beside.namespace.dir().join(name).to_string_lossy().into_owned();
        let config = "[underlay]\nlisten = \"[::]:51999\"\n[tun]\nname = \"molt1\"\n".into();
        Self { beside, config, state_dir: path("other"), socket: path("other.sock"), prefix: &[] }
    }

    fn said(&self) -> String {
        let config = self.beside.namespace.dir().join("other.toml");
        fs::write(&config, &self.config).unwrap();
        let (meshd, config) = (binary("meshd").unwrap(), config.to_string_lossy());
        let meshd = meshd.to_string_lossy();
        let args = [&*meshd, "--config", &*config, "--state-dir", &self.state_dir, "--socket", &self.socket];
        let output = self.beside.namespace.try_run(&[self.prefix, &args[..]].concat()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        // The last line is for people: one sentence, no backtrace, no panic.
        let last = said.lines().rev().find(|line| line.starts_with("meshd: "));
        println!("{}", last.unwrap_or_default());
        assert!(!said.contains("panicked"), "{said}");
        last.map(|_| said.clone()).unwrap_or_else(|| panic!("no message in {said:?}"))
    }
}

#[test]
fn a_second_meshd_and_other_mistakes_are_refused_with_a_clear_message_and_disturb_nobody() {
    let mut mesh = up(Topology::line(2));
    let stream = PingStream::start(&mesh.net.nodes[0], mesh.nodes[1].address(), CLOSE).unwrap();
    let pid = mesh.meshd_mut(0).unwrap().process().unwrap().id();
    let first = mesh.meshd(0).unwrap();
    let contains = |refusal: &Refusal<'_>, words: &[&str]| {
        let said = refusal.said();
        for word in words {
            assert!(said.contains(word), "{word:?} is not in {said}");
        }
    };
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();

    let same_state = Refusal { state_dir: text(&first.state_dir), ..Refusal::new(first) };
    let lock = fs::read_to_string(first.state_dir.join("lock")).unwrap();
    contains(&same_state, &["another meshd (process ", lock.trim(), "one state directory serves one daemon"]);

    let same_socket = Refusal { socket: text(&first.socket), ..Refusal::new(first) };
    contains(&same_socket, &["another meshd answers at", "--socket"]);

    let port = "[underlay]\nlisten = \"[::]:51820\"\n[tun]\nname = \"molt1\"\n".into();
    contains(&Refusal { config: port, ..Refusal::new(first) }, &["51820", "in use"]);

    let interface = "[underlay]\nlisten = \"[::]:51999\"\n[tun]\nname = \"molt0\"\n".into();
    contains(
        &Refusal { config: interface, ..Refusal::new(first) },
        &["interface molt0 belongs to another program"],
    );

    // Everything of its own: but two nodes cannot share the addresses of one network namespace.
    contains(&Refusal::new(first), &["another interface already leads to fd00:6d6f:6c74::/48"]);

    let typo = "[node]\nnmae = \"x\"\n".into();
    contains(
        &Refusal { config: typo, ..Refusal::new(first) },
        &["unknown field `nmae`", "line 2", "other.toml"],
    );

    // Keys. `Refusal` has made one in "other" by now.
    let other = Refusal::new(first);
    let key = std::path::Path::new(&other.state_dir).join("identity.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    contains(&other, &["can be read by others (mode 0644)", "chmod 600"]);
    fs::set_permissions(&key, Permissions::from_mode(0o000)).unwrap();
    let mortal: &[&str] = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    contains(
        &Refusal { prefix: mortal, ..Refusal::new(first) },
        &["cannot read the key", "identity.key", "Permission denied"],
    );
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, "not a key\n").unwrap();
    contains(&other, &["is damaged", "identity.key"]);
    fs::remove_file(&key).unwrap();

    let powerless: &[&str] = &["setpriv", "--bounding-set=-net_admin"];
    contains(&Refusal { prefix: powerless, ..Refusal::new(first) }, &["CAP_NET_ADMIN"]);

    let pinged = stream.stop().unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
    let after: Value = first.molt(&["status"]).unwrap();
    assert_eq!((&after["ready"], &after["interface"]), (&true.into(), &TUN.into()));
    assert!(
        !mesh.net.nodes[0].ip("-o link show").unwrap().contains("molt1"),
        "a refused one left an interface"
    );
    assert_eq!(mesh.meshd_mut(0).unwrap().process().unwrap().id(), pid);
    mesh.meshd_mut(0).unwrap().process().unwrap().check_alive().unwrap();
}

/// What systemd (`Type=notify`) waits for: a datagram when the daemon answers, and one when it begins to leave.
/// Every address changes with the prefix: a daemon that runs stays in its mesh, one that starts is in the new one, and one
/// node in another mesh is no neighbour whose address is a route.
#[test]
fn a_daemon_changes_its_mesh_when_it_starts_and_not_when_it_reloads_or_restarts() {
    const OTHER: &str = "fd12:3456:789a:";
    let mut mesh = up(Topology::line(2));
    let first = mesh.meshd(0).unwrap();
    let status = || first.molt(&["status"]).unwrap();
    let before = status();
    assert_eq!(before["prefix"], "fd00:6d6f:6c74::/48");
    first.configure(|text| format!("{text}\n[network]\nprefix = \"{OTHER}:/48\"\n")).unwrap();
    for command in ["reload", "restart"] {
        let refused = first.molt_output(&[command]).unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        for words in
            [&format!("{OTHER}:/48"), "is another mesh; stop the daemon and start it", "nothing was changed"]
        {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
        let after = status();
        assert_eq!((&after["prefix"], &after["addresses"]), (&before["prefix"], &before["addresses"]));
    }
    mesh.wait_reachable(MINUTE).unwrap();

    mesh.meshd_mut(0).unwrap().terminate().unwrap();
    mesh.meshd_mut(0).unwrap().run().unwrap();
    let after = mesh.meshd(0).unwrap().molt(&["status"]).unwrap();
    let address = |status: &Value| status["addresses"][0].as_str().unwrap().to_owned();
    assert_eq!(address(&after), address(&before).replace("fd00:6d6f:6c74:", OTHER), "{after}");
    let route = mesh.net.nodes[0].ip(&format!("-6 route show dev {TUN}")).unwrap();
    assert!(route.contains(&format!("{OTHER}:/48")) && !route.contains("6d6f:6c74::/48"), "{route}");
    wait_until("the neighbour to name it", MINUTE, || {
        let answer = mesh.meshd(1)?.molt(&["ospf", "events"])?;
        let events = answer["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named =
            |event: &&Value| event["cause"] == "AnotherMesh" && event["router-id"] == after["router-id"];
        ensure!(events.iter().any(|event| named(&event)), "{answer}");
        Ok(())
    })
    .unwrap();
    let routes = mesh.meshd(1).unwrap().molt(&["routes"]).unwrap();
    assert!(!routes["routes"].to_string().contains(OTHER), "{routes}");
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_leaves() {
    let namespace = Namespace::new("notify").unwrap();
    let path = namespace.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(MINUTE)).unwrap();
    let heard = || {
        let mut message = [0; 64];
        let len = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..len]).trim().to_owned()
    };
    let config = namespace.dir().join("meshd.toml");
    fs::write(&config, "").unwrap();
    let mut command = namespace.command(binary("meshd").unwrap());
    command.env("NOTIFY_SOCKET", &path).arg("--config").arg(&config);
    command.arg("--state-dir").arg(namespace.dir().join("state"));
    command.arg("--socket").arg(namespace.dir().join("molt.sock"));
    let mut process = namespace.spawn_command("meshd", command).unwrap();
    assert_eq!(heard(), "READY=1");
    assert!(process.terminate().unwrap().success());
    assert_eq!(heard(), "STOPPING=1");
}
