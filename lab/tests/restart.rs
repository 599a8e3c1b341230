//! Graceful restart (RFC 5187) of real daemons: of a `meshd` with helpers of all implementations, and of FRR with a `meshd`
//! as helper.
//!
//! ```text
//! line      0 === 1 === 2        1 restarts, packets go from 0 to 2
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use molt_lab::mesh::{Daemon, Mesh, Node, Role, Setup, TUN, binary};
use molt_lab::netns::Namespace;
use molt_lab::stock::{Router, kernel_routes};
use molt_lab::tools::PingStream;
use molt_lab::topology::Topology;
use molt_lab::wait::{now, wait_until};
use molt_mesh::Prefix;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
/// A lost packet at this rate is an interruption of 10 ms.
const CLOSE: Duration = Duration::from_millis(10);
/// Packets that a restart may cost: `execve`, the start of the new process and a handshake. Measured are 0 to 2; a busy
/// machine may take far longer.
const FEW: u32 = 40;

fn up(roles: &[Role]) -> Mesh {
    let setup = Setup { hello_s: 1, ..Setup::default() };
    let mesh = Mesh::start_set_up(Topology::line(roles.len()), roles, &setup).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    mesh
}

/// What was seen of a node while something happened: the states of its neighbours, and prefixes its table was without.
#[derive(Debug, Default)]
struct Seen {
    states: BTreeSet<String>,
    /// With the times, since the watch began, at which they were first and last missed.
    missing: BTreeMap<Prefix, (Duration, Duration)>,
    looks: u32,
}

/// Looks at node `node` again and again while `act` acts.
fn watch<T>(mesh: &Mesh, nodes: &[usize], wanted: &[Ipv6Addr], act: impl FnOnce() -> T) -> (Vec<Seen>, T) {
    let (over, start) = (AtomicBool::new(false), now());
    thread::scope(|scope| {
        let look = |node: usize| {
            let mut seen = Seen::default();
            while !over.load(Ordering::Relaxed) {
                for neighbour in mesh.router(node).unwrap().neighbours().unwrap() {
                    seen.states.insert(neighbour.state);
                }
                let routes = routes(mesh, node);
                let others = wanted.iter().filter(|address| **address != mesh.nodes[node].address());
                for prefix in others.map(|address| Prefix::host(*address)).filter(|it| !routes.contains(it)) {
                    let at = start.elapsed();
                    seen.missing.entry(prefix).or_insert((at, at)).1 = at;
                }
                seen.looks += 1;
            }
            seen
        };
        let watchers: Vec<_> = nodes.iter().map(|node| scope.spawn(move || look(*node))).collect();
        let result = {
            let _over = SetOnDrop(&over);
            act()
        };
        (watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect(), result)
    })
}

/// Ends the watchers, be it because the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn routes(mesh: &Mesh, node: usize) -> BTreeSet<Prefix> {
    match &mesh.nodes[node] {
        Node::Stock(_) => kernel_routes(&mesh.net.nodes[node]).unwrap().into_keys().collect(),
        Node::Meshd(meshd) => {
            let routes = meshd.molt(&["routes"]).unwrap();
            let prefix = |route: &Value| route["prefix"].as_str().unwrap().parse().unwrap();
            routes["routes"].as_array().unwrap().iter().map(prefix).collect()
        }
    }
}

/// A TCP connection that echoes, open for as long as this lives.
struct Conversation(TcpStream);

impl Conversation {
    fn start(from: &Namespace, to: &Namespace, address: Ipv6Addr) -> Self {
        let listener = to.enter(|| TcpListener::bind((address, 0))).unwrap().unwrap();
        let target = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 64];
            while let Ok(len) = stream.read(&mut buffer)
                && len > 0
            {
                stream.write_all(&buffer[..len]).unwrap();
            }
        });
        let stream = from.enter(|| TcpStream::connect(target)).unwrap().unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        let mut conversation = Self(stream);
        conversation.goes_on();
        conversation
    }

    fn goes_on(&mut self) {
        self.0.write_all(b"still there?").unwrap();
        let mut answer = [0; 12];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still there?");
    }
}

fn interface_index(namespace: &Namespace) -> String {
    let text = namespace.ip(&format!("-o link show {TUN}")).unwrap();
    text.split(':').next().unwrap().to_owned()
}

/// Restarts node 1 with packets from 0 to 2, and checks what holds for every line.
fn restart_in_the_middle(roles: &[Role]) {
    let mut mesh = up(roles);
    let addresses: Vec<Ipv6Addr> = mesh.nodes.iter().map(Node::address).collect();
    let (before, pid) = (
        mesh.meshd(1).unwrap().molt(&["peers"]).unwrap(),
        mesh.meshd_mut(1).unwrap().process().unwrap().id(),
    );
    let index = interface_index(&mesh.net.nodes[1]);
    let mut through = Conversation::start(&mesh.net.nodes[0], &mesh.net.nodes[2], addresses[2]);
    let mut of_the_host = Conversation::start(&mesh.net.nodes[1], &mesh.net.nodes[2], addresses[2]);
    for life in 1..=2 {
        let stream = PingStream::start(&mesh.net.nodes[0], addresses[2], CLOSE).unwrap();
        stream.wait_replies(50, MINUTE).unwrap();
        let start = now();
        let (seen, answer) = watch(&mesh, &[0, 2], &addresses, || {
            let answer = mesh.meshd(1).unwrap().molt(&["restart"]).unwrap();
            stream.wait_replies(100, MINUTE).unwrap();
            answer
        });
        println!("{roles:?}, restart {life}: {answer} after {:.1?}", start.elapsed());
        println!("{roles:?}, seen: {seen:?}");
        assert_eq!(answer["restart"]["complete"], true, "{answer}");
        assert_eq!(answer["restart"]["reason"], "all adjacencies are back");
        for seen in &seen {
            assert!(seen.missing.is_empty(), "withdrawn: {seen:?}");
            assert!(seen.looks > 3, "{seen:?}");
        }
        let pinged = stream.stop().unwrap();
        println!("{roles:?}, restart {life}: {} of {} packets lost", pinged.lost(), pinged.sent);
        assert!(pinged.lost() <= FEW, "{}", pinged.text);
        through.goes_on();
        of_the_host.goes_on();
    }
    let meshd = mesh.meshd(1).unwrap();
    let after = meshd.molt(&["peers"]).unwrap();
    for (before, after) in before["peers"].as_array().unwrap().iter().zip(after["peers"].as_array().unwrap())
    {
        for same in ["link", "wireguard-key", "router-id", "endpoint"] {
            assert_eq!(before[same], after[same]);
        }
    }
    assert_eq!(interface_index(&mesh.net.nodes[1]), index, "the interface was made anew");
    assert!(!meshd.state_dir.join("restart.json").exists(), "it counts once");
    let process = mesh.meshd_mut(1).unwrap().process().unwrap();
    process.check_alive().unwrap();
    assert_eq!(process.id(), pid, "a service manager would lose it");
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
}

#[test]
fn a_meshd_between_meshds_restarts_and_no_route_is_withdrawn() {
    restart_in_the_middle(&[Role::Meshd; 3]);
}

#[test]
fn a_meshd_between_frr_and_bird_restarts_and_no_route_is_withdrawn() {
    restart_in_the_middle(&[Role::Frr, Role::Meshd, Role::Bird]);
}

/// Each refusal is told, and the old process goes on without the loss of a packet.
#[test]
fn a_restart_that_cannot_work_changes_nothing() {
    let mut mesh = Mesh::start(Topology::line(3)).unwrap();
    let program = mesh.net.nodes[1].dir().join("meshd");
    fs::copy(binary("meshd").unwrap(), &program).unwrap();
    let middle = mesh.meshd_mut(1).unwrap();
    middle.terminate().unwrap();
    middle.run_program(&program).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    let stream = PingStream::start(&mesh.net.nodes[0], mesh.nodes[2].address(), CLOSE).unwrap();

    let middle = mesh.meshd(1).unwrap();
    let good = fs::read_to_string(&middle.config).unwrap();
    let refused = |why: &[&str]| {
        let output = middle.molt_output(&["restart"]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{}", said.trim());
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing was changed"), "{said}");
        for words in why {
            assert!(said.contains(words), "{words:?} is not in {said}");
        }
    };
    middle.configure(|text| text.replace("[node]", "[nodes]")).unwrap();
    refused(&["unknown field `nodes`"]);
    middle.configure(|_| good.replace("molt0", "molt7")).unwrap();
    refused(&["[tun] changed"]);
    middle.configure(|_| good.replace(":51820\"\n[tun]", ":51821\"\n[tun]")).unwrap();
    refused(&["[underlay] changed"]);
    middle.configure(|_| good.clone()).unwrap();

    // Another program than the one that runs: one that refuses, and none.
    let aside = program.with_extension("aside");
    fs::rename(&program, &aside).unwrap();
    refused(&["cannot start", "No such file"]);
    fs::write(&program, "#!/bin/sh\necho meshd: a newer version wants more >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    refused(&["a newer version wants more"]);

    let status = middle.molt(&["status"]).unwrap();
    assert_eq!((&status["ready"], &status["restart"]), (&true.into(), &Value::Null), "{status}");
    let pinged = stream.stop().unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);

    // It passes the check and is gone when it is to run: the old program goes on by itself, as a restart would.
    fs::write(&program, "#!/bin/sh\nrm \"$0\"\n").unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let stream = PingStream::start(&mesh.net.nodes[0], mesh.nodes[2].address(), CLOSE).unwrap();
    let answer = mesh.meshd(1).unwrap().molt(&["restart"]).unwrap();
    assert_eq!(answer["restart"]["complete"], true, "{answer}");
    let process = mesh.meshd_mut(1).unwrap().process().unwrap();
    process.check_alive().unwrap();
    assert!(process.log().contains("cannot become the new program"), "{}", process.log());
    stream.wait_replies(50, MINUTE).unwrap();
    let pinged = stream.stop().unwrap();
    assert!(pinged.lost() <= FEW, "{}", pinged.text);

    // And it can be asked again.
    fs::rename(&aside, &program).unwrap();
    let answer = mesh.meshd(1).unwrap().molt(&["restart"]).unwrap();
    assert_eq!(answer["restart"]["complete"], true, "{answer}");
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
}

/// The configuration counts from the restart on: a peer that is gone is not waited for, and the name is another.
#[test]
fn a_restart_applies_the_configuration() {
    let mesh = up(&[Role::Meshd; 3]);
    let middle = mesh.meshd(1).unwrap();
    middle
        .configure(|text| text.rsplit_once("[[peer]]").unwrap().0.replace("name = \"n1\"", "name = \"new\""))
        .unwrap();
    let answer = middle.molt(&["restart"]).unwrap();
    assert_eq!(answer["restart"]["complete"], true, "{answer}");
    let status = middle.molt(&["status"]).unwrap();
    assert_eq!((&status["name"], &status["peers"]["full"]), (&"new".into(), &1.into()), "{status}");
    wait_until("the removed peer to be gone from node 0's table", MINUTE, || {
        let gone = Prefix::host(mesh.nodes[2].address());
        ensure!(!routes(&mesh, 0).contains(&gone), "{gone} is still there");
        Ok(())
    })
    .unwrap();
}

/// Those of other meshes too, in both directions; and not those that somebody else has added. The interface stays.
#[test]
fn a_restart_makes_the_routes_of_the_kernel_those_of_the_configuration() {
    let mesh = up(&[Role::Meshd; 2]);
    let (meshd, host) = (mesh.meshd(1).unwrap(), &mesh.net.nodes[1]);
    let start = fs::read_to_string(&meshd.config).unwrap();
    let index = interface_index(host);
    let in_kernel = || {
        let shown = host.ip(&format!("-6 route show dev {TUN}")).unwrap();
        let prefix = |line: &str| line.split_whitespace().next().unwrap().parse::<Prefix>().unwrap();
        shown.lines().map(prefix).collect::<BTreeSet<_>>()
    };
    let ours = meshd.mesh.to_string();
    let expected = |more: &[&str]| {
        let all = more.iter().copied().chain([ours.as_str()]);
        all.map(|prefix| prefix.parse().unwrap()).collect::<BTreeSet<Prefix>>()
    };
    let configure = |external: &str| {
        let more = format!("\n[network]\nexternal = [{external}]\n");
        meshd.configure(|_| start.clone() + &more).unwrap();
    };
    let restart = || {
        let answer = meshd.molt(&["restart"]).unwrap();
        assert_eq!(answer["restart"]["complete"], true, "{answer}");
    };
    assert_eq!(in_kernel(), expected(&[]));

    configure(r#""fd12:1::/48", "fd12:2::/48""#);
    restart();
    assert_eq!(in_kernel(), expected(&["fd12:1::/48", "fd12:2::/48"]));
    host.ip(&format!("-6 route add fd77::/48 dev {TUN}")).unwrap();

    // A route that cannot be added is found before anything is changed.
    host.ip("-6 route add fd12:3::/48 dev lo").unwrap();
    configure(r#""fd12:2::/48", "fd12:3::/48""#);
    let output = meshd.molt_output(&["restart"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["already leads to fd12:3::/48", "nothing was changed"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert_eq!(in_kernel(), expected(&["fd12:1::/48", "fd12:2::/48", "fd77::/48"]));

    host.ip("-6 route del fd12:3::/48 dev lo").unwrap();
    restart();
    assert_eq!(in_kernel(), expected(&["fd12:2::/48", "fd12:3::/48", "fd77::/48"]));
    meshd.configure(|_| start.clone()).unwrap();
    restart();
    assert_eq!(in_kernel(), expected(&["fd77::/48"]));
    assert_eq!(interface_index(host), index, "the interface was made anew");
    mesh.wait_reachable(MINUTE).unwrap();
}

/// RxmtInterval of FRR, as it comes.
const FRR_RXMT_INTERVAL: Duration = Duration::from_secs(5);

/// FRR restarts, and its neighbours help: their ways through it stay until it says that its restart is over. FRR 8.4.4 then
/// announces itself without links, and with them within MinLSArrival of that, so that they count when they are repeated, which
/// is after its RxmtInterval of five seconds.
#[test]
fn frr_restarts_and_the_meshds_keep_their_ways_through_it() {
    let mut mesh = up(&[Role::Meshd, Role::Frr, Role::Meshd]);
    let addresses: Vec<Ipv6Addr> = mesh.nodes.iter().map(Node::address).collect();
    let stream = PingStream::start(&mesh.net.nodes[0], addresses[2], CLOSE).unwrap();
    stream.wait_replies(50, MINUTE).unwrap();
    let Node::Stock(mut stock) = mesh.nodes.remove(1) else { panic!("node 1 is FRR") };
    let Daemon::Frr(frr) = &mut stock.router else { panic!("node 1 is FRR") };
    // The second `meshd` is node 1 while FRR is aside.
    let helps = |meshd: usize| {
        let answer = mesh.meshd(meshd).unwrap().molt(&["ospf", "neighbors"]).unwrap();
        answer["neighbors"][0]["restart-remaining-ms"].as_u64().is_some()
    };
    let (seen, helped) = watch(&mesh, &[0, 1], &addresses, || {
        let start = now();
        frr.restart_ospf_gracefully().unwrap();
        assert!(helps(0) && helps(1), "nobody helps");
        let mut helped = Duration::ZERO;
        wait_until("the help to end", MINUTE, || {
            let at = start.elapsed();
            let help = [helps(0), helps(1)];
            if help == [true, true] {
                helped = at;
            }
            ensure!(help == [false, false], "it goes on");
            Ok(())
        })
        .unwrap();
        frr.wait_full(2, MINUTE).unwrap();
        stream.wait_replies(300, MINUTE).unwrap();
        helped
    });
    println!("FRR restarted and was helped for {helped:.1?}, seen: {seen:?}");
    for seen in &seen {
        assert!(seen.missing.values().all(|(first, _)| *first >= helped), "withdrawn: {seen:?}");
        assert!(
            seen.missing
                .values()
                .all(|(first, last)| *last - *first < FRR_RXMT_INTERVAL + Duration::from_secs(3)),
            "{seen:?}"
        );
    }
    let pinged = stream.stop().unwrap();
    println!("FRR restarted: {} of {} packets lost", pinged.lost(), pinged.sent);
}
