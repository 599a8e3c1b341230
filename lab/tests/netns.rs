//! The harness itself: what it builds, what it cuts, what it leaves behind.

use std::process::Command;
use std::time::Duration;

use molt_lab::netns::{Link, Namespace, Net, Switch};
use molt_lab::probe::Probe;
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;

fn namespaces() -> String {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("iproute2 is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn pings(from: &Namespace, address: &str) -> bool {
    let output = from.try_run(&["ping", "-c1", "-W1", address]).expect("ping ends after a second");
    output.status.success()
}

#[test]
fn a_namespace_is_gone_after_a_panic_and_so_is_what_ran_in_it() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let died = std::thread::spawn(move || {
        let namespace = Namespace::new("panic").unwrap();
        let process = namespace.spawn("sleep", &["sleep", "1000"]).unwrap();
        tell.send((namespace.name().to_owned(), process.id())).unwrap();
        panic!("this panic is part of the test");
    });
    assert!(died.join().is_err());
    let (name, pid) = told.recv().unwrap();
    assert!(!namespaces().contains(&name));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_namespace_of_a_dead_process_is_swept() {
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let left = format!("molt-{}-0-left", dead.id());
    assert!(Command::new("ip").args(["netns", "add", &left]).status().unwrap().success());
    // A process of its own, because this one may have swept already.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_sides_of_a_square_answer_and_nobody_else"])
        .output()
        .unwrap();
    assert!(child.status.success());
    assert!(!namespaces().contains(&left));
}

#[test]
fn the_sides_of_a_square_answer_and_nobody_else() {
    let net = Net::new(Topology::square()).unwrap();
    for (number, &(a, b)) in net.topology.links.iter().enumerate() {
        assert!(pings(&net.nodes[a], &Net::ipv4(number, 1).to_string()));
        assert!(pings(&net.nodes[b], &Net::ipv6(number, 0).to_string()));
    }
    assert!(!pings(&net.nodes[0], &Net::ipv4(3, 0).to_string()));
}

#[test]
fn a_cut_is_silent_and_heals() {
    let net = Net::new(Topology::line(2)).unwrap();
    let (here, there) = (&net.nodes[0], Net::ipv4(0, 1).to_string());
    assert!(pings(here, &there));
    net.links[0].cut().unwrap();
    let output = here.try_run(&["ping", "-c2", "-i0.2", "-W1", &there]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2 packets transmitted, 0 received, 100% packet loss"), "{text}");
    for node in &net.nodes {
        assert!(!node.ip("-o link show").unwrap().contains("NO-CARRIER"));
    }
    net.links[0].heal().unwrap();
    assert!(pings(here, &there));
}

#[test]
fn a_switch_joins_its_ports_and_one_can_be_cut() {
    let switch = Switch::new("switch").unwrap();
    let nodes = ["a", "b", "c"].map(|label| Namespace::new(label).unwrap());
    let links: Vec<Link> = nodes.iter().map(|node| switch.attach(node, "eth0").unwrap()).collect();
    for (node, host) in nodes.iter().zip(1..) {
        node.ip(&format!("addr add 10.65.0.{host}/24 dev eth0")).unwrap();
    }
    assert!(pings(&nodes[0], "10.65.0.3") && pings(&nodes[1], "10.65.0.3"));
    links[2].cut().unwrap();
    assert!(!pings(&nodes[0], "10.65.0.3") && pings(&nodes[0], "10.65.0.2"));
}

#[test]
fn a_probe_sees_how_long_a_cut_lasts() {
    let net = Net::new(Topology::line(2)).unwrap();
    let to = Net::ipv6(0, 1);
    let probe = Probe::start(&net.nodes[0], &net.nodes[1], Net::ipv6(0, 0), to).unwrap();
    wait_until("the probe is answered", Duration::from_secs(10), || {
        anyhow::ensure!(probe.silence().received > 100);
        Ok(())
    })
    .unwrap();
    probe.reset();
    net.links[0].cut().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    net.links[0].heal().unwrap();
    wait_until("the probe is answered again", Duration::from_secs(10), || {
        let silence = probe.silence();
        anyhow::ensure!(silence.current < Duration::from_millis(50) && silence.longest > silence.current);
        Ok(())
    })
    .unwrap();
    let longest = probe.silence().longest;
    assert!(longest >= Duration::from_millis(280) && longest < Duration::from_millis(500), "{longest:?}");
}
