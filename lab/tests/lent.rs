//! Addresses that others lend to a node: anycast, and those of containers.
//!
//! ```text
//! 0 === 1 === 2 === 3
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use molt_lab::mesh::{Mesh, Meshd, TUN};
use molt_lab::tools::{Pinged, ping};
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
const ANYCAST: &str = "fd00:6d6f:6c74::a:1";

/// What `molt id` prints for the identity of a node.
fn id(meshd: &Meshd, args: &[&str]) -> Value {
    let state = meshd.state_dir.to_str().unwrap();
    meshd.molt(&[&["id"], args, &["--state-dir", state]].concat()).unwrap()
}

fn key(meshd: &Meshd) -> String {
    id(meshd, &["show"])["identity-key"].as_str().unwrap().to_owned()
}

/// The entry for the configuration of `to`, as the owner's `molt` prints it for people.
fn lend(owner: &Meshd, what: &[&str], to: &Meshd) -> String {
    let (state, key) = (owner.state_dir.to_str().unwrap(), key(to));
    let args = [&["id", "delegate"], what, &["--to", &key, "--state-dir", state]].concat();
    let output = owner.molt_output(&args).unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn configure_and_start_again(mesh: &mut Mesh, node: usize, more: &str) {
    let meshd = mesh.meshd_mut(node).unwrap();
    meshd.terminate().unwrap();
    meshd.configure(|config| config + "\n" + more).unwrap();
    meshd.run().unwrap();
}

fn pinged(mesh: &Mesh, from: usize, address: Ipv6Addr) -> Pinged {
    ping(&mesh.net.nodes[from], address, &["-c", "3", "-i", "0.05", "-W", "1"]).unwrap()
}

/// Waits until all pings are answered by somebody that many routers away.
fn wait_answered(mesh: &Mesh, from: usize, address: Ipv6Addr, routers: u8) {
    let ttl = format!("ttl={} ", 64 - routers);
    let what = format!("{address} to answer {from} over {routers} routers");
    let ((), took) = wait_until(&what, MINUTE, || {
        let pinged = pinged(mesh, from, address);
        ensure!(pinged.received == 3 && pinged.text.matches(&ttl).count() == 3, "{}", pinged.text);
        Ok(())
    })
    .unwrap();
    println!("waited {took:.1?} for {what}");
}

#[test]
fn an_anycast_address_is_answered_by_the_nearest_and_a_container_by_its_host() {
    let mut mesh = Mesh::start(Topology::line(4)).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    let anycast: Ipv6Addr = ANYCAST.parse().unwrap();
    let owner = mesh.meshd(0).unwrap();
    let origin = format!("[[origin]]\nprefix = \"{ANYCAST}/128\"\nkey = \"{}\"\n", key(owner));
    let grant = id(owner, &["delegate", "--container", "7", "--to", &key(mesh.meshd(3).unwrap())]);
    let container: Ipv6Addr = grant["address"].as_str().unwrap().parse().unwrap();

    // Nobody was asked: not one of the others believes what it is told.
    let at_3 = lend(owner, &[ANYCAST], mesh.meshd(3).unwrap());
    let of_container = lend(owner, &["--container", "7"], mesh.meshd(3).unwrap());
    let at_0 = lend(owner, &[ANYCAST], owner);
    configure_and_start_again(&mut mesh, 3, &(origin.clone() + &at_3 + &of_container));
    mesh.meshd(1).unwrap().molt(&["wait", "--for", &container.to_string()]).unwrap();
    wait_answered(&mesh, 1, container, 1);
    assert_eq!(pinged(&mesh, 1, anycast).received, 0, "without an entry for the key of its owner");

    for node in [1, 2] {
        configure_and_start_again(&mut mesh, node, &origin);
    }
    wait_answered(&mesh, 1, anycast, 1);
    configure_and_start_again(&mut mesh, 0, &(origin.clone() + &at_0));
    wait_answered(&mesh, 1, anycast, 0);
    wait_answered(&mesh, 2, anycast, 0);

    // What the host begins has its own address.
    let own = mesh.nodes[3].address();
    let route = mesh.net.nodes[3].ip(&format!("-6 route get {}", mesh.nodes[0].address())).unwrap();
    assert!(route.contains(&format!("src {own} ")), "{route}");

    mesh.meshd_mut(0).unwrap().kill().unwrap();
    wait_answered(&mesh, 1, anycast, 1);

    // The address goes with its entry. Whether the neighbours have time to wait so soon after a failure does not matter.
    let meshd = mesh.meshd(3).unwrap();
    meshd.configure(|config| config.replace(&of_container, "")).unwrap();
    let reloaded = meshd.molt(&["reload"]).unwrap();
    assert_eq!(reloaded["needs-restart"], serde_json::json!(["[[delegation]]"]));
    meshd.molt_output(&["restart"]).unwrap();
    let addresses = mesh.net.nodes[3].ip(&format!("-6 addr show dev {TUN}")).unwrap();
    assert!(!addresses.contains(&container.to_string()) && addresses.contains(ANYCAST), "{addresses}");
    wait_until("the container to be gone", MINUTE, || {
        let routes = mesh.meshd(1)?.molt(&["routes"])?;
        let routes = routes["routes"].as_array().context("a list of routes")?;
        let prefix = format!("{container}/128");
        ensure!(routes.iter().all(|route| route["prefix"] != prefix.as_str()), "{routes:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_grant_for_another_node_or_one_that_was_changed_is_refused() {
    let mesh = Mesh::start(Topology::line(2)).unwrap();
    let (owner, other) = (mesh.meshd(0).unwrap(), mesh.meshd(1).unwrap());
    let entry = lend(owner, &["--container", "1"], owner);
    let restart = |entry: &str| {
        let before = std::fs::read_to_string(&other.config).unwrap();
        other.configure(|config| config + "\n" + entry).unwrap();
        let output = other.molt_output(&["restart"]).unwrap();
        std::fs::write(&other.config, before).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, complaint) = restart(&entry);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains(&key(owner)) && complaint.contains(&key(other)), "{complaint}");

    let at = entry.find("grant = \"").unwrap() + 40;
    let changed = if entry.as_bytes()[at] == b'A' { "B" } else { "A" };
    let entry = format!("{}{changed}{}", &entry[..at], &entry[at + 1..]);
    let (code, complaint) = restart(&entry);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("delegation"), "{complaint}");
}
