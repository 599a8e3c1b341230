//! Whatever keeps two routers from becoming adjacent is told with both values, also where there is no neighbour.

use std::time::Duration;

use molt_mesh::ip6::ALL_SPF_ROUTERS;
use molt_routing::ospf::consts::{description, options};
use molt_routing::ospf::packet::{Description, Hello, PacketBody};
use molt_routing::ospf::{Config, LinkConfig, Mismatch, Output, Packet, State};

use crate::rig::{Net, config, hello, link, link_config, local, router_id};

/// Node 0, whose neighbour exists only in what the test says.
fn alone() -> Net {
    let mut net = Net::pair();
    net.cut(0);
    net
}

fn shown(net: &Net) -> Vec<String> {
    let interfaces = net.nodes[0].interfaces(net.now);
    interfaces[0].mismatches.iter().map(|view| view.mismatch.to_string()).collect()
}

fn told(net: &Net) -> Vec<String> {
    let told = net.events.iter().filter_map(|(_, node, event)| match event {
        Output::Mismatch { mismatch, .. } if *node == 0 => Some(mismatch.to_string()),
        _ => None,
    });
    told.collect()
}

#[test]
fn each_mismatch_is_shown_with_both_values_before_there_is_a_neighbour() {
    let packet =
        |hello| Packet { router: router_id(1), area: 0, instance: 0, body: PacketBody::Hello(hello) };
    let good = packet(hello(Vec::new()));
    let cases = [
        (Packet { area: 1, ..good.clone() }, "area ours 0.0.0.0, theirs 0.0.0.1"),
        (Packet { instance: 9, ..good.clone() }, "instance id ours 0, theirs 9"),
        (Packet { router: router_id(0), ..good.clone() }, "router id ours 10.0.0.1, theirs 10.0.0.1"),
        (
            packet(Hello { options: options::V6 | options::R, ..hello(Vec::new()) }),
            "options ours 000013, theirs 000011",
        ),
        (
            packet(Hello { options: options::ROUTER | options::N, ..hello(Vec::new()) }),
            "options ours 000013, theirs 00001b",
        ),
        (
            packet(Hello { hello_interval: 0, ..hello(Vec::new()) }),
            "hello/dead interval ours 10/40, theirs 0/40",
        ),
    ];
    for (packet, text) in cases {
        let mut net = alone();
        let bytes = packet.encode(local(1), ALL_SPF_ROUTERS);
        net.inject_bytes(0, link(1), local(1), &bytes).unwrap_err();
        assert!(net.nodes[0].neighbors(net.now).is_empty());
        assert_eq!((shown(&net), told(&net)), (vec![text.to_owned()], vec![text.to_owned()]));
    }
    let mut net = alone();
    let mut bytes = good.encode(local(1), ALL_SPF_ROUTERS);
    let right = format!("{:02x}{:02x}", bytes[12], bytes[13]);
    (bytes[12], bytes[13]) = (0xab, 0xcd);
    net.inject_bytes(0, link(1), local(1), &bytes).unwrap_err();
    assert_eq!(shown(&net), [format!("checksum ours {right}, theirs abcd")]);
}

#[test]
fn a_mismatch_that_is_adopted_says_so() {
    let mut net = alone();
    net.inject(0, 0, PacketBody::Hello(Hello { hello_interval: 5, dead_interval: 20, ..hello(Vec::new()) }))
        .unwrap();
    assert_eq!(shown(&net), ["hello/dead interval ours 10/40, theirs 5/20 (used)"]);
}

#[test]
fn section_10_6_both_mtus_are_shown_and_a_smaller_one_is_used() {
    let with = |mtus: &[u16], text: &str| {
        let mut net = alone();
        let neighbors = vec![router_id(0)];
        net.inject(0, 0, PacketBody::Hello(Hello { neighbors, ..hello(Vec::new()) })).unwrap();
        let flags = description::I | description::M | description::MS;
        for mtu in mtus {
            let (options, mtu) = (options::ROUTER, *mtu);
            let first = Description { options, mtu, flags, seq: 7, headers: Vec::new() };
            let _ = net.inject(0, 0, PacketBody::Description(first));
        }
        assert_eq!(shown(&net).concat(), text);
    };
    with(&[1420], "MTU ours 1280, theirs 1420");
    with(&[1200], "MTU ours 1280, theirs 1200 (used)");
    with(&[1280], "");
    with(&[0], "");
    // It gave in.
    with(&[1420, 1280], "");
}

#[test]
fn a_neighbour_that_takes_the_tunnel_for_a_lan_is_named() {
    let mut net = alone();
    net.inject(0, 0, PacketBody::Hello(Hello { designated: router_id(1), ..hello(Vec::new()) })).unwrap();
    assert_eq!(shown(&net), ["network type ours point-to-point, theirs broadcast with DR 10.0.0.2"]);
}

/// RFC 5838 section 2.4 asks nothing of it for IPv6 unicast; BIRD sets it, FRR does not, we do not.
#[test]
fn rfc_5838_the_af_bit_is_no_mismatch() {
    let mut net = alone();
    net.inject(0, 0, PacketBody::Hello(Hello { options: options::ROUTER | 0x100, ..hello(Vec::new()) }))
        .unwrap();
    assert_eq!((shown(&net), net.state(0, link(1))), (vec![], State::ExStart));
}

#[test]
fn a_mismatch_is_told_once_for_each_cause_and_not_more_often_than_every_ten_minutes() {
    let mut net = alone();
    let say = |net: &mut Net, area| {
        let body = PacketBody::Hello(hello(Vec::new()));
        let packet = Packet { router: router_id(1), area, instance: 0, body };
        let bytes = packet.encode(local(1), ALL_SPF_ROUTERS);
        net.inject_bytes(0, link(1), local(1), &bytes).unwrap_err();
        net.run_for(Duration::from_secs(10));
    };
    for _ in 0..100 {
        say(&mut net, 1);
    }
    assert_eq!(told(&net).len(), 1);
    // Other values are news, but a neighbour that makes them up does not fill the log.
    for area in 2..62 {
        say(&mut net, area);
    }
    assert_eq!(told(&net).len(), 2);
    assert_eq!(shown(&net), ["area ours 0.0.0.0, theirs 0.0.0.61"], "the last one is shown");
}

#[test]
fn what_is_overcome_is_no_longer_shown() {
    let mut net = Net::new(2, 0);
    net.connect(0, 1, 10);
    let larger = LinkConfig { mtu: 1420, ..link_config(1, link(2), 10) };
    net.with(1, |ospf, now| ospf.update_link(larger, now));
    // Ours is announced, theirs is larger: they give in.
    net.run_for(Duration::from_secs(5));
    assert!(net.is_settled(), "{}", net.unsettled());
    assert!(shown(&net).is_empty(), "{:?}", shown(&net));
    // The end that gave in goes on to say so.
    let other = &net.nodes[1].interfaces(net.now)[0].mismatches;
    assert_eq!(other[0].mismatch, Mismatch::Mtu { ours: 1420, theirs: 1280 });
    assert!(other[0].mismatch.is_adopted());

    // What was wrong before the neighbour became Full.
    let mut net = Net::pair();
    let packet =
        Packet { router: router_id(1), area: 1, instance: 0, body: PacketBody::Hello(hello(Vec::new())) };
    let bytes = packet.encode(local(1), ALL_SPF_ROUTERS);
    net.inject_bytes(0, link(1), local(1), &bytes).unwrap_err();
    assert_eq!(shown(&net).len(), 1);
    net.run_for(Duration::from_secs(5));
    assert_eq!((net.state(0, link(1)), shown(&net).len()), (State::Full, 0));

    let quick = Config { hello: Duration::from_secs(2), dead: Duration::from_secs(8), ..config(0) };
    let mut net = Net::with_configs(vec![quick, config(1)], 0);
    net.connect(0, 1, 10);
    net.run_for(Duration::from_secs(60));
    assert!(shown(&net).is_empty(), "the other end uses our intervals: {:?}", shown(&net));
}
