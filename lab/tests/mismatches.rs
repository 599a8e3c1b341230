//! Stock routers set up in ways that cannot work, and what the operator of the `meshd` is told about each.
//!
//! ```text
//!        1 (FRR)
//!        ||
//! 3 ==== 0 ==== 2 (BIRD)      0 and 3 are meshd; 3 is set up well and must not notice anything
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use molt_lab::mesh::{Mesh, Meshd, Node, Role, Setup};
use molt_lab::stock::{Interface, Router, RouterConfig, wait_route};
use molt_lab::tools::{PingStream, ping};
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
const ROLES: [Role; 4] = [Role::Meshd, Role::Frr, Role::Bird, Role::Meshd];
/// The links of node 0 to the stock routers, and their names.
const STOCK: [(u64, &str); 2] = [(1, "FRR"), (2, "BIRD")];

/// Starts the star with stock routers as in `setup` and waits until `told` is content with what `molt ospf neighbors`
/// says about each of the two. None of them may be Full then, and node 3 must not have lost a packet.
fn star(what: &str, setup: Setup, told: impl Fn(&Value, u64) -> anyhow::Result<String>) {
    let mesh = Mesh::start_set_up(Topology::star(4), &ROLES, &Setup { hello_s: 1, ..setup }).unwrap();
    let hub = mesh.meshd(0).unwrap();
    mesh.router(3).unwrap().wait_full(1, MINUTE).unwrap();
    // There and back: while others are about to come up at the hub, it says the link to node 3 a quarter of a second later.
    for (node, other) in [(0, 3), (3, 0)] {
        let address = mesh.nodes[other].address().to_string();
        mesh.meshd(node).unwrap().molt(&["wait", "--for", &address]).unwrap();
    }
    let pings =
        PingStream::start(&mesh.net.nodes[0], mesh.nodes[3].address(), Duration::from_millis(10)).unwrap();
    for (link, name) in STOCK {
        let (said, took) = wait_until(&format!("{what}: to be told about {name}"), MINUTE, || {
            let answer = hub.molt(&["ospf", "neighbors"])?;
            told(&answer, link).with_context(|| format!("{answer:#}"))
        })
        .unwrap();
        println!("{what}, {name}, after {took:.1?}: {said}");
    }
    // As long as it takes a neighbour that is set up well.
    pings.wait_replies(200, MINUTE).unwrap();
    let neighbours = hub.neighbours().unwrap();
    let full: Vec<&str> =
        neighbours.iter().filter(|it| it.state == "Full").map(|it| it.interface.as_str()).collect();
    assert_eq!(full, ["3"], "{what}: {neighbours:?}");
    let pinged = pings.stop().unwrap();
    // The last one may be under way when it ends.
    assert!(pinged.lost() <= 1, "{what}: {}", pinged.text);
    let bfd = hub.molt(&["bfd"]).unwrap();
    let downs = |session: &&Value| session["interface-id"] == 3 && session["down-count"] != 0;
    assert!(!bfd["sessions"].as_array().unwrap().iter().any(|session| downs(&session)), "{bfd}");
}

/// The mismatch of `parameter` on `link`: both values, as people read them.
fn mismatch(answer: &Value, link: u64, parameter: &str, ours: &str) -> anyhow::Result<String> {
    let entries = answer["mismatches"].as_array().context("no list of mismatches")?;
    let is_it = |entry: &&Value| entry["interface-id"] == link && entry["parameter"] == parameter;
    let entry =
        entries.iter().find(is_it).with_context(|| format!("no mismatch of {parameter} on link {link}"))?;
    ensure!(entry["ours"] == ours && entry["adopted"] == false, "{entry}");
    let router = entry["neighbor-router-id"].as_str();
    ensure!(router == Some(format!("10.255.0.{}", link + 1).as_str()), "{entry}");
    Ok(entry["theirs"].as_str().context("no value of theirs")?.to_owned())
}

fn names(
    parameter: &'static str,
    ours: &'static str,
    theirs: &'static str,
) -> impl Fn(&Value, u64) -> anyhow::Result<String> {
    move |answer, link| {
        let value = mismatch(answer, link, parameter, ours)?;
        ensure!(value.starts_with(theirs), "{value}");
        Ok(format!("{parameter} ours {ours}, theirs {value}"))
    }
}

fn silence(answer: &Value, link: u64) -> anyhow::Result<&Value> {
    let entries = answer["silent"].as_array().context("no list of silent links")?;
    entries
        .iter()
        .find(|entry| entry["interface-id"] == link)
        .with_context(|| format!("link {link} is not silent"))
}

fn is_silent(problem: &'static str, hint: &'static str) -> impl Fn(&Value, u64) -> anyhow::Result<String> {
    move |answer, link| {
        let entry = silence(answer, link)?;
        ensure!(entry["problem"] == problem, "{entry}");
        let said = entry["hint"].as_str().context("no hint")?;
        ensure!(said.contains(hint), "{said}");
        Ok(format!("{problem}: {said}"))
    }
}

fn interface(change: impl FnOnce(&mut Interface)) -> Setup {
    let mut interface = Interface::default();
    change(&mut interface);
    Setup { interface, ..Setup::default() }
}

fn router(router: fn(&mut RouterConfig)) -> Setup {
    Setup { router, ..Setup::default() }
}

#[test]
fn another_mtu_instance_or_area_is_named_with_both_values() {
    star("MTU", interface(|it| it.mtu = 1420), names("MTU", "1280", "1420"));
    star("instance id", router(|it| it.instance = 1), names("instance id", "0", "1"));
    star("area", router(|it| it.area = 1), names("area", "0.0.0.0", "0.0.0.1"));
}

/// With both the adjacency comes up all the same, because a point-to-point router answers whoever a LAN elects. BIRD says in its
/// Hellos whom it has elected, which is told; FRR elects nobody as long as we name nobody.
#[test]
fn a_stock_router_that_takes_the_tunnel_for_a_lan_is_named() {
    let setup = Setup { hello_s: 1, ..router(|it| it.point_to_point = false) };
    let mesh = Mesh::start_set_up(Topology::star(4), &ROLES, &setup).unwrap();
    let told = names("network type", "point-to-point", "broadcast with DR ");
    let (said, took) = wait_until("to be told about BIRD", MINUTE, || {
        let answer = mesh.meshd(0).unwrap().molt(&["ospf", "neighbors"])?;
        told(&answer, 2).with_context(|| format!("{answer:#}"))
    })
    .unwrap();
    println!("broadcast, BIRD, after {took:.1?}: {said}");
    mesh.router(3).unwrap().wait_full(1, MINUTE).unwrap();
}

/// Cryptokey routing of the other end drops what does not match; our end hears nothing, or is not heard.
#[test]
fn a_tunnel_that_carries_no_hello_or_only_theirs_is_named_with_what_to_look_for() {
    let without = |what: &'static str| {
        interface(|it| {
            it.allowed_ips =
                it.allowed_ips.split(", ").filter(|it| *it != what).collect::<Vec<_>>().join(", ")
        })
    };
    star("without ff02::/16", without("ff02::/16"), is_silent("no-hello", "ff02::/16"));
    star("without fe80::/10", without("fe80::/10"), is_silent("one-way", "fe80::/10"));
    star(
        "without link-local address",
        interface(|it| it.link_local = false),
        is_silent("no-hello", "link-local address"),
    );
}

/// A stock router keeps its id, ours moves (RFC 7503 section 7), and the adjacency comes up.
#[test]
fn a_stock_router_with_our_router_id_makes_us_take_another() {
    let mut mesh = Mesh::start_with(Topology::star(4), &ROLES, 1).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    for (node, file) in [(1, "frr/ospf6d.conf"), (2, "bird.conf")] {
        let before = router_id(mesh.meshd(0).unwrap());
        let file = mesh.net.nodes[node].dir().join(file);
        let config = fs::read_to_string(&file).unwrap();
        let theirs = format!("10.255.0.{}", node + 1);
        fs::write(
            &file,
            config
                .replace(&format!("router-id {theirs}"), &format!("router-id {before}"))
                .replace(&format!("router id {theirs}"), &format!("router id {before}")),
        )
        .unwrap();
        let Node::Stock(stock) = &mut mesh.nodes[node] else { panic!("node {node} is a stock router") };
        stock.router.restart().unwrap();
        let (after, took) = wait_until("our router id to be another", MINUTE, || {
            let after = router_id(mesh.meshd(0).unwrap());
            ensure!(after != before, "it is still {before}");
            Ok(after)
        })
        .unwrap();
        println!("{:?} came with {before}; we are {after} {took:.1?} later", ROLES[node]);
        // Without a look at BFD: FRR forgets the session of a neighbour whose id changes when it gives the old one up.
        mesh.router(0).unwrap().wait_full(3, MINUTE).unwrap();
        // The far `meshd` takes its address from the router of the old id only, as its [[origin]] says.
        let address = mesh.nodes[node].address().to_string();
        mesh.meshd(0).unwrap().molt(&["wait", "--for", &address]).unwrap();
        wait_route(&mesh.net.nodes[node], mesh.nodes[0].address(), MINUTE).unwrap();
        // What the two said under one id goes round for some seconds more, until its owner has outbid it.
        wait_until("five answers in a row", MINUTE, || {
            let pinged = ping(&mesh.net.nodes[0], mesh.nodes[node].address(), &["-c", "5", "-i", "0.1"])?;
            ensure!(pinged.lost() == 0, "{}", pinged.text);
            Ok(())
        })
        .unwrap();
        let neighbours = mesh.router(0).unwrap().neighbours().unwrap();
        assert!(neighbours.iter().any(|it| it.router_id == before && it.state == "Full"), "{neighbours:?}");
    }
}

fn router_id(meshd: &Meshd) -> String {
    meshd.molt(&["status"]).unwrap()["router-id"].as_str().unwrap().to_owned()
}

/// 500 each, of which node 0 takes what its configuration allows, until the router stops.
#[test]
fn a_thousand_external_prefixes_are_in_the_table_until_their_router_stops() {
    let external = |config: &mut RouterConfig| {
        let [.., node] = config.address.segments();
        let prefix = |number: u16| format!("fd00:6d6f:6c74:e{node:03x}:{number:x}::/80").parse().unwrap();
        config.external = (1..=500).map(prefix).collect();
    };
    let mut mesh = Mesh::start_set_up(
        Topology::star(4),
        &ROLES,
        &Setup { hello_s: 1, router: external, ..Setup::default() },
    )
    .unwrap();
    mesh.wait_full(MINUTE).unwrap();
    let hub = mesh.meshd(0).unwrap();
    assert_eq!(externals(hub, 2) + externals(hub, 3), 0, "nobody allowed them yet");
    hub.configure(|text| {
        text.lines()
            .map(|line| match line.split_once("bbbb::") {
                Some((head, tail)) if line.starts_with("allow") => {
                    let node = tail.split('/').next().unwrap_or_default();
                    format!(
                        "{head}bbbb::{}, \"fd00:6d6f:6c74:e00{node}::/64\"]\n",
                        tail.trim_end_matches(']')
                    )
                }
                _ => format!("{line}\n"),
            })
            .collect()
    })
    .unwrap();
    hub.molt(&["reload"]).unwrap();
    wait_until("1,000 prefixes in the table", MINUTE, || {
        let found = [externals(hub, 2), externals(hub, 3)];
        ensure!(found == [500, 500], "{found:?}");
        Ok(())
    })
    .unwrap();
    for (node, left) in [(2, [500, 0]), (1, [0, 0])] {
        drop(mesh.nodes.remove(node));
        let hub = mesh.meshd(0).unwrap();
        let ((), took) = wait_until("the prefixes of a router that has stopped to be gone", MINUTE, || {
            let found = [externals(hub, 2), externals(hub, 3)];
            ensure!(found == left, "{found:?}");
            Ok(())
        })
        .unwrap();
        println!("{:?} stopped; its 500 prefixes were gone {took:.1?} later", ROLES[node]);
    }
}

/// How many external prefixes of a node (counted from 1) are used.
fn externals(meshd: &Meshd, number: u16) -> usize {
    let routes = meshd.molt(&["routes"]).unwrap();
    let head = format!("fd00:6d6f:6c74:e00{number}:");
    let is_one = |route: &&Value| route["prefix"].as_str().is_some_and(|prefix| prefix.starts_with(&head));
    routes["routes"].as_array().unwrap().iter().filter(is_one).count()
}
