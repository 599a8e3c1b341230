//! Hellos, the database exchange and BFD: RFC 2328 sections 8 to 10, RFC 5340 section 4.2, RFC 5882.

use std::time::Duration;

use molt_mesh::ip6::{self, ALL_D_ROUTERS, ALL_SPF_ROUTERS};
use molt_mesh::{RouterId, Time};
use molt_routing::ospf::consts::{description, options};
use molt_routing::ospf::lsa::{LsType, LsaHeader, LsaKey};
use molt_routing::ospf::packet::{Description, Hello, PacketBody};
use molt_routing::ospf::{BfdEvent, Config, LinkConfig, Output, Packet, Reject, State};

use crate::rig::{Net, config, hello, link, link_config, local, router_id};

const MS: Duration = Duration::from_millis(1);

fn description(flags: u8, seq: u32) -> Description {
    Description { options: options::ROUTER, mtu: 1280, flags, seq, headers: Vec::new() }
}

const FIRST: u8 = description::I | description::M | description::MS;

/// Node 0 with a neighbour that exists only in what the test says. Node 0 has the smaller Router ID, so it becomes the
/// slave.
fn scripted() -> Net {
    let mut net = Net::pair();
    net.cut(0);
    net
}

/// Node 1 is under test, and its neighbour has the smaller Router ID, so it becomes the master.
const MASTER: usize = 1;
const SLAVE: usize = 0;

fn descriptions(net: &Net, since: usize, end: usize) -> Vec<Description> {
    let (node, id) = net.wires[0].ends[end];
    let sent = net.sent_since(since, node, id).into_iter();
    sent.filter_map(|(_, body)| match body {
        PacketBody::Description(description) => Some(description),
        _ => None,
    })
    .collect()
}

/// Brings end `end` to ExStart and returns its first description.
fn to_ex_start(net: &mut Net, end: usize) -> Description {
    let (node, id) = net.wires[0].ends[end];
    let since = net.sent.len();
    net.inject(0, end, PacketBody::Hello(hello(vec![router_id(node)]))).unwrap();
    assert_eq!(net.state(node, id), State::ExStart);
    descriptions(net, since, end).remove(0)
}

fn reason(net: &Net) -> &'static str {
    let last = net.events.iter().rev().find_map(|(.., event)| match event {
        Output::NeighborChanged { reason, .. } => Some(*reason),
        _ => None,
    });
    last.unwrap()
}

#[test]
fn rfc_5340_section_4_2_2_input_checks() {
    let mut net = scripted();
    let good =
        Packet { router: router_id(1), area: 0, instance: 0, body: PacketBody::Hello(hello(Vec::new())) };
    let src = local(1);
    let encode = |packet: &Packet| packet.encode(src, ALL_SPF_ROUTERS);
    let mut try_bytes = |src, dst, bytes: &[u8]| {
        net.with(0, |ospf, now| ospf.handle_packet(link(1), src, dst, 1, bytes, now))
    };
    let all = ALL_SPF_ROUTERS;
    let other = Packet { area: 1, ..good.clone() };
    assert_eq!(try_bytes(src, all, &encode(&other)), Err(Reject::Area));
    let other = Packet { instance: 1, ..good.clone() };
    assert_eq!(try_bytes(src, all, &encode(&other)), Err(Reject::Instance));
    let other = Packet { router: router_id(0), ..good.clone() };
    assert_eq!(try_bytes(src, all, &encode(&other)), Err(Reject::OwnRouterId));
    let global = "fd00:6d6f:6c74::1".parse().unwrap();
    assert_eq!(try_bytes(global, all, &good.encode(global, all)), Err(Reject::Source));
    assert_eq!(try_bytes(src, ALL_D_ROUTERS, &good.encode(src, ALL_D_ROUTERS)), Err(Reject::Destination));
    assert_eq!(try_bytes(src, local(7), &good.encode(src, local(7))), Err(Reject::Destination));
    let mut wrong = encode(&good);
    wrong[20] ^= 1;
    assert_eq!(try_bytes(src, all, &wrong), Err(Reject::Checksum));
    let mut wrong = encode(&good);
    wrong[0] = 2;
    assert_eq!(try_bytes(src, all, &wrong), Err(Reject::Version));
    let mut wrong = encode(&good);
    wrong[1] = 6;
    assert_eq!(try_bytes(src, all, &wrong), Err(Reject::PacketType));
    let ack = Packet { body: PacketBody::Ack(Vec::new()), ..good.clone() };
    assert_eq!(try_bytes(src, all, &encode(&ack)), Err(Reject::NoNeighbor));
    // To our own address it is as good as to the group.
    assert_eq!(try_bytes(src, local(0), &good.encode(src, local(0))), Ok(()));
    assert_eq!(net.nodes[0].counters().rejected.values().sum::<u64>(), 10);
    let last = net.nodes[0].interfaces(net.now)[0].last_reject;
    assert_eq!(last, Some((Duration::ZERO, Reject::NoNeighbor)));
}

#[test]
fn a_link_that_is_down_takes_and_sends_nothing() {
    let mut net = Net::new(2, 0);
    net.nodes[0].add_link(link_config(0, link(1), 10), Time::ZERO);
    let packet =
        Packet { router: router_id(1), area: 0, instance: 0, body: PacketBody::Hello(hello(Vec::new())) };
    let bytes = packet.encode(local(1), ALL_SPF_ROUTERS);
    assert_eq!(net.inject_bytes(0, link(1), local(1), &bytes), Err(Reject::LinkDown));
    assert_eq!(net.inject_bytes(0, link(9), local(1), &bytes), Err(Reject::LinkDown));
    net.run_for(Duration::from_secs(60));
    assert!(net.sent.is_empty());
}

/// FRR sends its direct acknowledgments as unicast with hop limit 64; BIRD's `ttl security` sends 255.
#[test]
fn the_hop_limit_of_received_packets_is_not_checked_and_ours_is_one() {
    let mut net = scripted();
    let packet =
        Packet { router: router_id(1), area: 0, instance: 0, body: PacketBody::Hello(hello(Vec::new())) };
    for hops in [1, 64, 255] {
        let bytes = packet.encode(local(1), local(0));
        let result =
            net.with(0, |ospf, now| ospf.handle_packet(link(1), local(1), local(0), hops, &bytes, now));
        assert_eq!(result, Ok(()));
    }
    for (_, node, _, bytes) in &net.sent {
        let view = ip6::Packet::new(bytes).unwrap();
        assert_eq!((view.src(), view.dst(), view.hop_limit()), (local(*node), ALL_SPF_ROUTERS, 1));
        assert_eq!(view.traffic_class(), 0xc0);
        assert!(view.upper_layer_checksum_is_valid());
    }
}

#[test]
fn a_hello_goes_out_when_the_tunnel_comes_up_and_then_every_hello_interval() {
    let mut net = scripted();
    net.run_for(Duration::from_secs(35));
    let times: Vec<Time> = net.sent_since(0, 0, link(1)).iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 10_000, 20_000, 30_000].map(Time::from_millis));
}

#[test]
fn a_hello_that_does_not_list_us_is_answered_at_once_but_not_more_than_five_times_a_second() {
    let mut net = scripted();
    net.run_for(Duration::from_secs(3));
    let since = net.sent.len();
    let now = net.now;
    for _ in 0..200 {
        net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
        net.run_for(5 * MS);
    }
    let mut sent = net.sent_since(since, 0, link(1));
    assert_eq!(sent[0].0, now);
    assert!(matches!(&sent[0].1, PacketBody::Hello(hello) if hello.neighbors == [router_id(1)]));
    sent.retain(|(_, body)| matches!(body, PacketBody::Hello(_)));
    assert!((4..=6).contains(&sent.len()), "{}", sent.len());
}

/// BIRD sends nothing between its first Hello, which lists nobody, and the end of its RxmtInterval.
#[test]
fn a_new_neighbour_over_a_tunnel_is_presumed_to_hear_us_until_it_has_had_time_to_say_so() {
    let mut net = scripted();
    net.run_for(Duration::from_secs(3));
    let since = net.sent.len();
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    let kinds: Vec<PacketBody> =
        net.sent_since(since, 0, link(1)).into_iter().map(|(_, body)| body).collect();
    assert!(
        matches!(kinds.as_slice(), [PacketBody::Hello(hello), PacketBody::Description(_)] if hello.neighbors == [router_id(1)]),
        "the Hello is first, so that the neighbour is in Init at least when the description comes: {kinds:?}"
    );
    net.run_for(Duration::from_millis(900));
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    assert_eq!(net.state(0, link(1)), State::ExStart, "sent before our Hello came");
    net.run_for(Duration::from_millis(200));
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    assert_eq!(net.state(0, link(1)), State::Init, "RFC 2328 section 10.5: it does not hear us");
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    assert_eq!(net.state(0, link(1)), State::Init, "presumed once");
}

#[test]
fn section_10_5_intervals_that_differ_are_adopted_from_a_new_neighbour() {
    let mut net = scripted();
    let other = Hello { hello_interval: 3, dead_interval: 12, ..hello(Vec::new()) };
    net.inject(0, 0, PacketBody::Hello(other)).unwrap();
    let since = net.sent.len();
    net.run_for(Duration::from_secs(10));
    let sent = net.sent_since(since, 0, link(1));
    let hello = sent.iter().find_map(|(_, body)| match body {
        PacketBody::Hello(hello) => Some(hello),
        _ => None,
    });
    let hello = hello.expect("a Hello");
    assert_eq!((hello.hello_interval, hello.dead_interval), (3, 12));
    net.run_for(Duration::from_secs(3));
    assert_eq!(net.state(0, link(1)), State::Down, "given up after their dead interval");
}

#[test]
fn section_10_5_two_routers_that_both_adopt_agree_on_the_smaller_intervals() {
    let quick = Config { hello: Duration::from_secs(2), dead: Duration::from_secs(8), ..config(1) };
    let mut net = Net::with_configs(vec![config(0), quick], 0);
    net.connect(0, 1, 10);
    net.run_for(Duration::from_secs(300));
    for node in &net.nodes {
        let interface = &node.interfaces(net.now)[0];
        assert_eq!((interface.hello.as_secs(), interface.dead.as_secs()), (2, 8));
        assert_eq!(node.neighbors(net.now)[0].state_changes, 5, "no adjacency was lost on the way");
    }
}

#[test]
fn section_10_5_senseless_intervals_and_other_areas_are_rejected() {
    let mut net = scripted();
    let mut inject = |hello| net.inject(0, 0, PacketBody::Hello(hello));
    let zero = Hello { hello_interval: 0, ..hello(Vec::new()) };
    assert_eq!(inject(zero), Err(Reject::Intervals));
    let short = Hello { dead_interval: 9, ..hello(Vec::new()) };
    assert_eq!(inject(short), Err(Reject::Intervals));
    let stub = Hello { options: options::V6 | options::R, ..hello(Vec::new()) };
    assert_eq!(inject(stub), Err(Reject::HelloOptions));
    let nssa = Hello { options: options::ROUTER | options::N, ..hello(Vec::new()) };
    assert_eq!(inject(nssa), Err(Reject::HelloOptions));
    // RFC 5340 section 4.2.2.1: options nobody knows are no error.
    let unknown = Hello { options: 0x00ff_0000 | options::ROUTER, ..hello(Vec::new()) };
    assert_eq!(inject(unknown), Ok(()));
}

#[test]
fn section_10_3_the_inactivity_timer_gives_a_silent_neighbour_up() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(15));
    net.cut(0);
    net.run_for(Duration::from_secs(34));
    assert_eq!(net.state(0, link(1)), State::Full);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.state(0, link(1)), State::Down);
    assert_eq!(reason(&net), "no hello for the dead interval");
    assert_eq!(net.fib(0).len(), 1);
}

#[test]
fn section_10_3_one_way_received_drops_the_adjacency() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    net.cut(0);
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    assert_eq!(net.state(0, link(1)), State::Init);
    // One late Hello must not end the BFD session, or it would take the adjacency down at the other end.
    let off = Output::Bfd { link: link(1), remote: local(1), enabled: false };
    let ended = |net: &Net| net.events.iter().any(|(_, node, event)| *node == 0 && *event == off);
    net.run_for(Duration::from_secs(39));
    assert!(!ended(&net));
    net.run_for(Duration::from_secs(2));
    assert!(ended(&net));
}

#[test]
fn bfd_up_says_hello_at_once() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    net.bfd(0, BfdEvent::Up);
    net.bfd(0, BfdEvent::Down);
    assert_eq!(net.state(0, link(1)), State::Down);
    let before = net.now;
    net.bfd(0, BfdEvent::Up);
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.state(0, link(1)), State::Full, "from {before}, long before the next regular Hello");
}

#[test]
fn another_router_id_on_the_tunnel_is_a_new_neighbour() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    let packet = Packet {
        router: RouterId(0x0aff_ff01),
        area: 0,
        instance: 0,
        body: PacketBody::Hello(hello(Vec::new())),
    };
    net.inject_bytes(0, link(1), local(1), &packet.encode(local(1), ALL_SPF_ROUTERS)).unwrap();
    let neighbors = net.nodes[0].neighbors(net.now);
    assert_eq!((neighbors.len(), neighbors[0].router_id), (1, RouterId(0x0aff_ff01)));
    assert_eq!(neighbors[0].state, State::ExStart);
}

#[test]
fn section_10_6_a_description_in_state_init_counts_as_two_way() {
    let mut net = scripted();
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    net.run_for(Duration::from_secs(2));
    net.inject(0, 0, PacketBody::Hello(hello(Vec::new()))).unwrap();
    assert_eq!(net.state(0, link(1)), State::Init);
    net.inject(0, 0, PacketBody::Description(description(FIRST, 77))).unwrap();
    assert_eq!(net.state(0, link(1)), State::Exchange);
}

#[test]
fn section_10_6_the_smaller_router_id_becomes_the_slave_and_takes_the_sequence_number() {
    let mut net = scripted();
    let first = to_ex_start(&mut net, SLAVE);
    assert_eq!((first.flags, first.mtu, first.headers.len()), (FIRST, 1280, 0));
    let since = net.sent.len();
    net.inject(0, SLAVE, PacketBody::Description(description(FIRST, 77))).unwrap();
    let answer = &descriptions(&net, since, SLAVE)[0];
    assert_eq!((answer.seq, answer.flags), (77, 0), "slave, and all fits one packet");
    assert!(!answer.headers.is_empty());
}

#[test]
fn section_10_6_the_larger_router_id_becomes_the_master_when_its_number_comes_back() {
    let mut net = scripted();
    let first = to_ex_start(&mut net, MASTER);
    let wrong = description(0, first.seq.wrapping_add(1));
    assert_eq!(net.inject(0, MASTER, PacketBody::Description(wrong)), Err(Reject::Sequence));
    let claims = description(FIRST, 5);
    assert_eq!(net.inject(0, MASTER, PacketBody::Description(claims)), Err(Reject::Sequence));
    let since = net.sent.len();
    net.inject(0, MASTER, PacketBody::Description(description(0, first.seq))).unwrap();
    let next = &descriptions(&net, since, MASTER)[0];
    assert_eq!((next.seq, next.flags), (first.seq.wrapping_add(1), description::MS));
    assert!(!next.headers.is_empty());
}

#[test]
fn section_10_6_a_duplicate_is_answered_by_the_slave_and_ignored_by_the_master() {
    let mut net = scripted();
    to_ex_start(&mut net, SLAVE);
    let first = description(FIRST, 77);
    net.inject(0, SLAVE, PacketBody::Description(first.clone())).unwrap();
    let since = net.sent.len();
    net.inject(0, SLAVE, PacketBody::Description(first)).unwrap();
    assert_eq!(descriptions(&net, since, SLAVE).len(), 1);
    assert_eq!(net.state(0, link(1)), State::Exchange);

    let mut net = scripted();
    let first = to_ex_start(&mut net, MASTER);
    let answer = description(description::M, first.seq);
    net.inject(0, MASTER, PacketBody::Description(answer.clone())).unwrap();
    let since = net.sent.len();
    assert_eq!(net.inject(0, MASTER, PacketBody::Description(answer)), Err(Reject::Sequence));
    assert!(descriptions(&net, since, MASTER).is_empty());
    assert_eq!(net.state(1, link(2)), State::Exchange);
}

#[test]
fn section_10_6_what_breaks_the_sequence_starts_the_exchange_again() {
    let more = description::M | description::MS;
    let reserved = LsaHeader {
        raw_age: 1,
        key: LsaKey { ls_type: LsType(0xeff0), router: RouterId(1), id: 1 },
        seq: 1,
        checksum: 0,
        length: 20,
    };
    for (wrong, why) in [
        (description(more, 79), "a database description is missing"),
        (description(description::M, 78), "master and slave changed"),
        (description(FIRST, 78), "the neighbour started again"),
        (
            Description { options: options::V6 | options::E, ..description(more, 78) },
            "the neighbour's options changed",
        ),
        (
            Description { headers: vec![reserved], ..description(more, 78) },
            "an LSA of reserved scope is listed",
        ),
    ] {
        let mut net = scripted();
        to_ex_start(&mut net, SLAVE);
        net.inject(0, SLAVE, PacketBody::Description(description(FIRST, 77))).unwrap();
        assert!(net.inject(0, SLAVE, PacketBody::Description(wrong)).is_err());
        assert_eq!((net.state(0, link(1)), reason(&net)), (State::ExStart, why));
    }
}

#[test]
fn section_10_6_after_the_exchange_only_duplicates_are_answered_and_only_for_the_dead_interval() {
    let mut net = scripted();
    to_ex_start(&mut net, SLAVE);
    net.inject(0, SLAVE, PacketBody::Description(description(FIRST, 77))).unwrap();
    let last = description(description::MS, 78);
    net.inject(0, SLAVE, PacketBody::Description(last.clone())).unwrap();
    assert_eq!(net.state(0, link(1)), State::Full);
    for _ in 0..3 {
        net.run_for(Duration::from_secs(13));
        net.inject(0, SLAVE, PacketBody::Hello(hello(vec![router_id(0)]))).unwrap();
    }
    let since = net.sent.len();
    net.inject(0, SLAVE, PacketBody::Description(last.clone())).unwrap();
    assert_eq!(descriptions(&net, since, SLAVE).len(), 1);
    net.run_for(Duration::from_secs(2));
    assert!(net.inject(0, SLAVE, PacketBody::Description(last)).is_err());
    assert_eq!(net.state(0, link(1)), State::ExStart);
}

#[test]
fn section_10_6_a_larger_mtu_is_refused_and_a_smaller_one_adopted_at_once() {
    let mut net = scripted();
    to_ex_start(&mut net, SLAVE);
    let large = Description { mtu: 1420, ..description(FIRST, 77) };
    assert_eq!(net.inject(0, SLAVE, PacketBody::Description(large)), Err(Reject::Mtu));
    let since = net.sent.len();
    let small = Description { mtu: 1200, ..description(FIRST, 77) };
    net.inject(0, SLAVE, PacketBody::Description(small)).unwrap();
    assert!(descriptions(&net, since, SLAVE).iter().all(|sent| sent.mtu == 1200));
    assert_eq!(net.state(0, link(1)), State::Exchange);
    assert_eq!(net.nodes[0].interfaces(net.now)[0].mtu, 1200);
}

#[test]
fn two_routers_with_different_mtus_become_adjacent() {
    for (a, b) in [(1280, 1200), (1200, 1280)] {
        let mut net = Net::new(2, 0);
        net.connect(0, 1, 10);
        for (node, id, mtu) in [(0, link(1), a), (1, link(2), b)] {
            let config = LinkConfig { mtu, ..link_config(node, id, 10) };
            net.with(node, |ospf, now| ospf.update_link(config, now));
        }
        net.run_for(Duration::from_secs(5));
        assert!(net.is_settled(), "{}", net.unsettled());
    }
}

#[test]
fn section_10_7_a_request_for_what_we_lack_is_a_bad_ls_req() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    net.cut(0);
    let key = LsaKey { ls_type: LsType::ROUTER, router: RouterId(9), id: 0 };
    assert_eq!(net.inject(0, 0, PacketBody::Request(vec![key])), Err(Reject::Lsa));
    assert_eq!(net.state(0, link(1)), State::ExStart);
}

#[test]
fn section_10_8_the_first_description_is_repeated_every_rxmt_interval() {
    let mut net = scripted();
    let first = to_ex_start(&mut net, SLAVE);
    let since = net.sent.len();
    net.run_for(Duration::from_millis(3500));
    assert_eq!(descriptions(&net, since, SLAVE), vec![first; 3]);
}

#[test]
fn section_10_9_requests_are_repeated_every_rxmt_interval_one_packet_at_a_time() {
    let mut net = scripted();
    to_ex_start(&mut net, SLAVE);
    let header = |id| LsaHeader {
        raw_age: 1,
        key: LsaKey { ls_type: LsType(0xbff0), router: RouterId(9), id },
        seq: 1,
        checksum: 0,
        length: 24,
    };
    net.inject(0, SLAVE, PacketBody::Description(description(FIRST, 77))).unwrap();
    let since = net.sent.len();
    for (seq, ids) in [(78, 0..60), (79, 60..120)] {
        let headers = ids.map(header).collect();
        let more = if seq == 78 { description::M } else { 0 };
        let next = Description { headers, ..description(more | description::MS, seq) };
        net.inject(0, SLAVE, PacketBody::Description(next)).unwrap();
    }
    assert_eq!(net.state(0, link(1)), State::Loading);
    net.run_for(Duration::from_millis(2500));
    let requests: Vec<usize> = net
        .sent_since(since, 0, link(1))
        .iter()
        .filter_map(|(_, body)| match body {
            PacketBody::Request(keys) => Some(keys.len()),
            _ => None,
        })
        .collect();
    // The first with what was known then; a packet of 1280 bytes holds 102.
    assert_eq!(requests, [60, 102, 102]);
}

#[test]
fn section_8_2_packets_out_of_turn_are_dropped() {
    let mut net = scripted();
    to_ex_start(&mut net, SLAVE);
    assert_eq!(net.inject(0, SLAVE, PacketBody::Update(Vec::new())), Err(Reject::NeighborState));
    assert_eq!(net.inject(0, SLAVE, PacketBody::Ack(Vec::new())), Err(Reject::NeighborState));
    assert_eq!(net.inject(0, SLAVE, PacketBody::Request(Vec::new())), Err(Reject::NeighborState));
}

#[test]
fn rfc_5882_a_session_is_wanted_from_two_way_on_and_its_end_kills_the_neighbour() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    let bfd = |net: &Net| -> Vec<bool> {
        let own = net.events.iter().filter(|(_, node, _)| *node == 0);
        own.filter_map(|(.., event)| match event {
            Output::Bfd { enabled, remote, .. } => {
                assert_eq!(*remote, local(1));
                Some(*enabled)
            }
            _ => None,
        })
        .collect()
    };
    assert_eq!(bfd(&net), [true]);
    // Section 4.3: a session that never was up says nothing; AdminDown is no statement about the path.
    net.bfd(0, BfdEvent::Down);
    net.bfd(0, BfdEvent::Up);
    net.bfd(0, BfdEvent::AdminDown);
    net.bfd(0, BfdEvent::Down);
    assert_eq!(net.state(0, link(1)), State::Full);
    net.bfd(0, BfdEvent::Up);
    net.cut(0);
    net.bfd(0, BfdEvent::Down);
    assert_eq!((net.state(0, link(1)), reason(&net)), (State::Down, "BFD down"));
    net.run_for(20 * MS);
    assert_eq!(net.fib(0).len(), 1);
    // The session goes on for the dead interval, to see the path come back.
    net.run_for(Duration::from_secs(39));
    assert_eq!(bfd(&net), [true]);
    net.run_for(Duration::from_secs(2));
    assert_eq!(bfd(&net), [true, false]);
}

#[test]
fn rfc_5882_a_path_that_comes_back_is_used_again_and_watched_by_the_same_session() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    net.bfd(0, BfdEvent::Up);
    net.cut(0);
    net.bfd(0, BfdEvent::Down);
    net.run_for(Duration::from_secs(1));
    net.wires[0].up = true;
    net.bfd(0, BfdEvent::Up);
    net.run_for(Duration::from_secs(12));
    assert!(net.is_settled(), "{}", net.unsettled());
    net.cut(0);
    net.bfd(0, BfdEvent::Down);
    assert_eq!(net.state(0, link(1)), State::Down);
}

#[test]
fn a_tunnel_that_goes_down_takes_the_neighbour_with_it_and_one_that_comes_up_brings_it_back() {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(5));
    net.down(0);
    assert_eq!((net.state(0, link(1)), reason(&net)), (State::Down, "the tunnel is down"));
    net.run_for(Duration::from_secs(1));
    net.up(0);
    let took = net.run_while(Duration::from_secs(1), |net| net.all_full());
    assert!(took < 50 * MS, "{took:?}");
}
