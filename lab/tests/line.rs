//! What the user of a mesh sees whose ends are four tunnels apart.
//!
//! ```text
//! 0 ===== 1 ===== 2 ===== 3 ===== 4
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::net::Ipv6Addr;
use std::time::Duration;

use meshd::api::schema;
use molt_lab::mesh::{Mesh, TUN};
use molt_lab::tools::{iperf3, ping};
use molt_lab::topology::Topology;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
/// What an echo request carries in a packet of the tunnel's MTU, 1,280 bytes: without 40 of IPv6 and 8 of ICMPv6.
const LARGEST_ECHO: &str = "1232";

/// One mesh for all of it: what takes time is to build it.
#[test]
fn five_nodes_in_a_line() {
    let mesh = Mesh::start(Topology::line(5)).unwrap();
    molt_wait_returns_when_there_is_a_route(&mesh);
    let took = mesh.wait_full(MINUTE).unwrap();
    println!("all adjacencies Full and watched {took:?} later");
    mesh.wait_reachable(MINUTE).unwrap();

    nothing_is_lost_at_rest(&mesh);
    traceroute_lists_every_hop_in_order(&mesh);
    packets_up_to_the_mtu_pass_whole_and_longer_ones_in_fragments(&mesh);
    tcp_and_udp_flow_from_end_to_end(&mesh);
    molt_ping_and_trace_take_names(&mesh);
    every_view_is_json_with_its_schema_and_text_without(&mesh);
    // Last, because it changes the interface of an end.
    a_packet_above_the_mtu_is_answered_with_packet_too_big(&mesh);
}

fn addresses(mesh: &Mesh) -> Vec<Ipv6Addr> {
    mesh.nodes.iter().map(|node| node.address()).collect()
}

fn molt_wait_returns_when_there_is_a_route(mesh: &Mesh) {
    let (first, far) = (mesh.meshd(0).unwrap(), mesh.nodes[4].address().to_string());
    let answer = first.molt(&["wait", "--timeout", "30", "--for", &far]).unwrap();
    assert_eq!(answer["ready"], true, "{answer}");
    let routes = first.molt(&["routes"]).unwrap();
    let prefix = format!("{far}/128");
    assert!(
        routes["routes"].as_array().unwrap().iter().any(|route| route["prefix"] == prefix.as_str()),
        "{routes}"
    );

    let output = first.molt_output(&["wait", "--timeout", "0.2", "--for", "fd00:6d6f:6c74::dead"]).unwrap();
    assert_eq!(output.status.code(), Some(124));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no route to fd00:6d6f:6c74::dead"), "{said}");
}

fn nothing_is_lost_at_rest(mesh: &Mesh) {
    for (from, to) in [(0, 4), (4, 0)] {
        let pinged = ping(&mesh.net.nodes[from], addresses(mesh)[to], &["-c", "200", "-i", "0.01"]).unwrap();
        assert_eq!((pinged.sent, pinged.lost()), (200, 0), "{}", pinged.text);
        println!("{from} to {to}: {}", pinged.text.lines().last().unwrap_or_default());
    }
}

fn traceroute_lists_every_hop_in_order(mesh: &Mesh) {
    let hops = |from: &molt_lab::netns::Namespace, to: Ipv6Addr| -> Vec<Ipv6Addr> {
        let text = from.run(&["traceroute", "-6", "-n", "-w", "2", &to.to_string()]).unwrap();
        let first_answer = |line: &str| line.split_whitespace().skip(1).find_map(|word| word.parse().ok());
        text.lines()
            .skip(1)
            .map(|line| first_answer(line).unwrap_or_else(|| panic!("no answer:\n{text}")))
            .collect()
    };
    let addresses = addresses(mesh);
    assert_eq!(hops(&mesh.net.nodes[0], addresses[4]), addresses[1..]);
    assert_eq!(hops(&mesh.net.nodes[3], addresses[0]), [addresses[2], addresses[1], addresses[0]]);
}

fn packets_up_to_the_mtu_pass_whole_and_longer_ones_in_fragments(mesh: &Mesh) {
    let far = addresses(mesh)[4];
    for options in [["-M", "do", "-s", LARGEST_ECHO], ["-M", "want", "-s", "3000"]] {
        let pinged =
            ping(&mesh.net.nodes[0], far, &[&options[..], &["-c", "20", "-i", "0.02"]].concat()).unwrap();
        assert_eq!((pinged.sent, pinged.lost()), (20, 0), "{}", pinged.text);
    }
    // One byte more, and the kernel itself knows that it does not fit.
    let output = mesh.net.nodes[0]
        .try_run(&["ping", "-n", "-c1", "-M", "do", "-s", "1233", &far.to_string()])
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("mtu: 1280"), "{said}");
}

/// The host believes in 1,400 bytes, sends them, and learns the truth from `meshd`.
fn a_packet_above_the_mtu_is_answered_with_packet_too_big(mesh: &Mesh) {
    let (first, far) = (&mesh.net.nodes[0], addresses(mesh)[4]);
    first.ip(&format!("link set {TUN} mtu 1400")).unwrap();
    let pinged = ping(first, far, &["-c", "1", "-W", "2", "-M", "do", "-s", "1300"]).unwrap();
    assert_eq!(pinged.received, 0, "{}", pinged.text);
    let from = addresses(mesh)[0];
    let told = pinged
        .text
        .lines()
        .any(|line| line.contains("Packet too big: mtu=1280") && line.contains(&from.to_string()));
    assert!(told, "{}", pinged.text);
    let counters = mesh.meshd(0).unwrap().molt(&["counters"]).unwrap();
    let counters = counters["counters"].as_array().unwrap();
    let counted = counters.iter().find(|counter| counter["name"] == "too-big").unwrap();
    assert_eq!(counted["value"], 1, "{counted}");
    // And having learnt it the kernel sends fragments.
    let pinged = ping(first, far, &["-c", "5", "-i", "0.05", "-M", "want", "-s", "1300"]).unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
    first.ip(&format!("link set {TUN} mtu 1280")).unwrap();
}

fn tcp_and_udp_flow_from_end_to_end(mesh: &Mesh) {
    let (from, to, far) = (&mesh.net.nodes[0], &mesh.net.nodes[4], addresses(mesh)[4]);
    let report = iperf3(from, to, far, &["--time", "2"]).unwrap();
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
    println!("TCP over four tunnels: {:.0} Mbit/s", rate / 1e6);
    // A broken segmentation offload or a retransmission storm is far below that even on a small machine.
    assert!(rate > 20e6, "{report}");

    let report = iperf3(from, to, far, &["--udp", "--bitrate", "20M", "--time", "2"]).unwrap();
    let sum = &report["end"]["sum"];
    let (lost, packets) = (sum["lost_packets"].as_u64().unwrap(), sum["packets"].as_u64().unwrap());
    println!("UDP at 20 Mbit/s: {lost} of {packets} lost");
    assert!(lost == 0 && packets > 1_000, "{sum}");
}

fn molt_ping_and_trace_take_names(mesh: &Mesh) {
    let (first, addresses) = (mesh.meshd(0).unwrap(), addresses(mesh));
    for name in ["n4", "n4.molt", "N4"] {
        let lines = first.molt_lines(&["ping", name, "-c", "3", "-i", "0.05"]).unwrap();
        let (done, replies) = lines.split_last().unwrap();
        assert_eq!(
            (&done["schema"], &done["sent"], &done["received"]),
            (&schema::DONE.into(), &3.into(), &3.into())
        );
        for reply in replies {
            assert_eq!(
                (&reply["schema"], &reply["outcome"]),
                (&schema::PROBE.into(), &"reply".into()),
                "{reply}"
            );
            let (from, name) = (reply["from"].as_str().unwrap(), reply["name"].as_str());
            assert_eq!((from.parse(), name), (Ok(addresses[4]), Some("n4")), "{reply}");
        }
    }
    let lines = first.molt_lines(&["trace", "n4"]).unwrap();
    let hops: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(hops, ["n1", "n2", "n3", "n4"], "{lines:?}");

    let output = first.molt_output(&["ping", "nobody"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5));
    assert!(said.contains("no node calls itself \"nobody\""), "{said}");
}

fn every_view_is_json_with_its_schema_and_text_without(mesh: &Mesh) {
    let middle = mesh.meshd(2).unwrap();
    let count = |answer: &Value, list: &str| answer[list].as_array().map_or(0, Vec::len);
    // The views, the list in each, and how long it is at least.
    for (command, expected, list, least) in [
        (&["status"][..], schema::STATUS, "addresses", 1),
        (&["peers"], schema::PEERS, "peers", 2),
        (&["routes"], schema::ROUTES, "routes", 5),
        (&["ospf", "neighbors"], schema::OSPF_NEIGHBORS, "neighbors", 2),
        // Of each node a Router-LSA, prefixes, a name, an agent record and two signatures; and the Link-LSAs of two tunnels.
        (&["ospf", "database"], schema::OSPF_DATABASE, "lsas", 5 * 6 + 2 * 2),
        (&["ospf", "interface"], schema::OSPF_INTERFACES, "interfaces", 2),
        (&["ospf", "spf-log"], schema::OSPF_SPF_LOG, "runs", 1),
        (&["bfd"], schema::BFD, "sessions", 2),
        (&["counters"], schema::COUNTERS, "counters", 20),
    ] {
        let answer = middle.molt(command).unwrap();
        assert_eq!(answer["schema"], expected, "{command:?}");
        assert!(count(&answer, list) >= least, "{command:?}: {answer:#}");
        let text = middle.molt_output(command).unwrap();
        assert!(
            text.status.success() && text.stdout.len() > 40 && text.stderr.is_empty(),
            "{command:?}: {text:?}"
        );
    }
    let status = middle.molt(&["status"]).unwrap();
    assert_eq!(
        (&status["name"], &status["ready"], &status["routers"]),
        (&"n2".into(), &true.into(), &5.into())
    );
    let lsas = middle.molt(&["ospf", "database"]).unwrap();
    assert_eq!(count(&lsas, "lsas"), 5 * 6 + 2 * 2, "{lsas:#}");
}
