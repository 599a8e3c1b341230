//! `tshark`, which knows nothing of us, finds nothing to object to in any packet we send: while a mesh comes up, loses a link
//! and gets it back, while a node leaves and comes again, and while traffic flows.
//!
//! ```text
//! 0 (FRR) ===== 1 (meshd)
//!   ||            ||
//! 3 (meshd) === 2 (meshd)
//! ```
//!
//! OSPFv3 and BFD are read where FRR reads them, in its tunnels to 1 and 3; WireGuard on the cables of FRR and of 1 to 2.
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_lab::capture::{Capture, Recording};
use molt_lab::mesh::{Mesh, Node, Role};
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;

const MINUTE: Duration = Duration::from_mins(1);
/// Severities of `tshark`: warning and error. A malformed packet is an error, and so is a wrong checksum of UDP.
const OBJECTIONS: &str =
    "(_ws.expert.severity == \"Warning\" || _ws.expert.severity == \"Error\" || _ws.malformed)";

#[test]
fn tshark_finds_no_fault_in_any_packet_of_ours() {
    let roles = [Role::Frr, Role::Meshd, Role::Meshd, Role::Meshd];
    let mut mesh = Mesh::start_with(Topology::square(), &roles, 2).unwrap();
    let interfaces = {
        let Node::Stock(frr) = &mesh.nodes[0] else { panic!("node 0 is FRR") };
        [frr.tunnels[0].interface().to_owned(), frr.tunnels[1].interface().to_owned()]
    };
    // A neighbour of FRR that starts while everything is recorded.
    mesh.wait_full(MINUTE).unwrap();
    assert!(mesh.meshd_mut(1).unwrap().terminate().unwrap().success());
    let frr = mesh.net.nodes[0].clone();
    // A cable leaves the checksum of UDP to the other end, which never looks, unless told otherwise.
    for (node, interface) in [(1, "to0"), (3, "to0"), (1, "to2"), (2, "to1")] {
        mesh.net.nodes[node].run(&["ethtool", "-K", interface, "tx", "off"]).unwrap();
    }
    let inner = interfaces.each_ref().map(|interface| Capture::start(&frr, interface).unwrap());
    let outer = ["to1", "to3"].map(|interface| Capture::start(&frr, interface).unwrap());
    let between = Capture::start(&mesh.net.nodes[2], "to1").unwrap();
    mesh.meshd_mut(1).unwrap().run().unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    reconverge(&mesh);
    ping(&mesh.net.nodes[1], mesh.nodes[0].address(), &["-c", "20", "-i", "0.02", "-s", "1232"]).unwrap();
    let [(source, router_id), (other, _)] = [1, 3].map(|node| {
        let status = mesh.meshd(node).unwrap().molt(&["status"]).unwrap();
        let link_local: Ipv6Addr = status["link-local"].as_str().unwrap().parse().unwrap();
        (link_local, status["router-id"].as_str().unwrap().to_owned())
    });
    assert!(mesh.meshd_mut(1).unwrap().terminate().unwrap().success());
    mesh.meshd_mut(1).unwrap().run().unwrap();
    mesh.wait_full(MINUTE).unwrap();

    let [to_1, to_3] = inner.map(|capture| capture.stop().unwrap());
    nothing_to_object(&to_1, &format!("ipv6.src == {source}"));
    all_kinds_of_packets_were_seen(&to_1, source, &router_id);
    nothing_to_object(&to_3, &format!("ipv6.src == {other}"));
    for (what, recording) in
        ["FRR - 1", "FRR - 3"].into_iter().zip(outer.map(|capture| capture.stop().unwrap()))
    {
        every_datagram_is_wireguard(what, &recording, "udp.srcport == 51820");
    }
    every_datagram_is_wireguard("1 - 2", &between.stop().unwrap(), "udp");
}

/// The link between two of ours is cut and healed: FRR hears of it by flooding.
fn reconverge(mesh: &Mesh) {
    let link = &mesh.net.links[mesh.net.link(1, 2).unwrap()];
    let full = |node: usize, count: usize| mesh.router(node).unwrap().wait_full(count, MINUTE).unwrap();
    link.cut().unwrap();
    full(1, 1);
    full(2, 1);
    link.heal().unwrap();
    mesh.wait_full(MINUTE).unwrap();
    wait_until("traffic over the healed link", MINUTE, || {
        anyhow::ensure!(ping(&mesh.net.nodes[1], mesh.nodes[2].address(), &["-c1", "-W1"])?.received == 1);
        Ok(())
    })
    .unwrap();
}

/// Nobody else knows what is in an agent record or a topology signature: their functions are two of those IANA leaves to
/// experiments.
fn is_expected(objection: &str) -> bool {
    matches!(objection, "Unknown LSA Type 8176" | "Unknown LSA Type 8177")
}

fn nothing_to_object(recording: &Recording, ours: &str) {
    let packets = recording.count(ours).unwrap();
    let bad = format!("{ours} && {OBJECTIONS}");
    let objections = recording.fields(&bad, &["_ws.expert.message", "frame.number"]).unwrap();
    let serious: Vec<_> = objections.iter().filter(|row| !row[0].split(',').all(is_expected)).collect();
    println!("{ours}: {packets} packets, serious objections to {}", serious.len());
    assert!(packets > 50, "{packets} packets");
    assert!(serious.is_empty(), "{serious:?}\n{}", recording.describe(&bad).unwrap());
    // Nothing was left undissected either, and the checksums were looked at: 1 is "good".
    let of = |protocol: &str| format!("{ours} && {protocol}");
    let opaque = recording.count(&of("!ospf && !bfd && !icmpv6")).unwrap();
    assert_eq!(opaque, 0, "{}", recording.describe(&of("!ospf && !bfd && !icmpv6")).unwrap());
    let unchecked = recording.count(&of("bfd && !(udp.checksum.status == 1)")).unwrap();
    assert_eq!(unchecked, 0);
    // What it finds out about the checksum of OSPF it says only in words.
    let (ospf, text) = (recording.count(&of("ospf")).unwrap(), recording.describe(&of("ospf")).unwrap());
    assert_eq!(
        (text.matches(" [correct]").count(), text.matches(" [incorrect").count()),
        (ospf, 0),
        "{text}"
    );
}

fn all_kinds_of_packets_were_seen(recording: &Recording, source: Ipv6Addr, router_id: &str) {
    let ours = format!("ipv6.src == {source}");
    let values = |filter: &str, field: &str| -> BTreeSet<String> {
        let rows = recording.fields(&format!("{ours} && {filter}"), &[field]).unwrap();
        rows.iter().flat_map(|row| row[0].split(',')).map(str::to_owned).collect()
    };
    // Hello, Database Description, Link State Request, Update, Acknowledgment.
    let kinds = values("ospf", "ospf.msg");
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    // AdminDown when it leaves, and all states of the way up: Down, Init or at once Up.
    let states = values("bfd", "bfd.sta");
    assert!(states.contains("0x00") && states.contains("0x01") && states.contains("0x03"), "{states:?}");
    // Its own LSAs were flushed: Router-LSA, Link-LSA, Intra-Area-Prefix-LSA, by their LS type.
    let flushed = format!("ospf.msg == 4 && ospf.lsa.age == 3600 && ospf.advrouter == {router_id}");
    let types = values(&flushed, "ospf.v3.lsa");
    println!("kinds {kinds:?}, BFD states {states:?}, flushed LSAs {types:?}");
    for expected in ["0x2001", "0x2009"] {
        assert!(types.contains(expected), "{types:?}");
    }
}

fn every_datagram_is_wireguard(what: &str, recording: &Recording, ours: &str) {
    let all = recording.count(ours).unwrap();
    let wireguard = recording.count(&format!("{ours} && wg")).unwrap();
    let bad = format!("{ours} && wg && (_ws.malformed || !(udp.checksum.status == 1))");
    let kinds: BTreeSet<String> =
        recording.fields(&format!("{ours} && wg"), &["wg.type"]).unwrap().into_iter().flatten().collect();
    println!("{what}: {all} datagrams, {wireguard} of WireGuard, message types {kinds:?}");
    assert!(all > 50 && wireguard == all, "{}", recording.describe(&format!("{ours} && !wg")).unwrap());
    assert_eq!(recording.count(&bad).unwrap(), 0, "{}", recording.describe(&bad).unwrap());
    assert!(kinds.contains("4"), "there is data");
}
