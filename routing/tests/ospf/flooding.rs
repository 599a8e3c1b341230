//! RFC 2328 sections 13 and 14, with the changes of RFC 5340 section 4.5. In most tests node 0 is adjacent to node 1, whose
//! wire is then cut without anybody noticing, so that packets can be put into its mouth.

use std::sync::Arc;
use std::time::Duration;

use molt_mesh::{RouterId, Time};
use molt_routing::ospf::consts::{INITIAL_SEQUENCE_NUMBER, MAX_AGE, MAX_SEQUENCE_NUMBER};
use molt_routing::ospf::lsa::{LsType, Lsa, LsaHeader, LsaKey};
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::{BfdEvent, Output, Packet, State};

use crate::rig::{Net, link, prefix, router_id};

const STRANGER: RouterId = RouterId(0x0909_0909);
const MS: Duration = Duration::from_millis(1);

/// An LSA type nobody knows, with the U-bit and area scope.
fn opaque(id: u32) -> LsaKey {
    LsaKey { ls_type: LsType(0xbff0), router: STRANGER, id }
}

fn lsa(key: LsaKey, seq: i32, age: u16) -> Lsa {
    Lsa::new(key, seq, age, Arc::from(vec![1, 2, 3, 4]))
}

/// Node 0 is full and quiet, and node 1 hears nothing any longer and says nothing.
fn silent_pair() -> Net {
    let mut net = Net::pair();
    net.run_for(Duration::from_secs(9));
    assert!(net.is_settled(), "{}", net.unsettled());
    net.cut(0);
    net
}

/// Node 0 receives `lsas` from node 1; what it sends within `wait`.
fn update(net: &mut Net, lsas: Vec<Lsa>, wait: Duration) -> Vec<(Time, PacketBody)> {
    let since = net.sent.len();
    net.inject(0, 0, PacketBody::Update(lsas)).unwrap();
    net.run_for(wait);
    net.sent_since(since, 0, link(1))
}

fn acks(sent: &[(Time, PacketBody)]) -> Vec<(Time, LsaHeader)> {
    let acks = sent.iter().filter_map(|(at, body)| match body {
        PacketBody::Ack(headers) => Some(headers.iter().map(|header| (*at, *header))),
        _ => None,
    });
    acks.flatten().collect()
}

fn updates(sent: &[(Time, PacketBody)]) -> Vec<(Time, LsaHeader)> {
    let updates = sent.iter().filter_map(|(at, body)| match body {
        PacketBody::Update(lsas) => Some(lsas.iter().map(|lsa| (*at, lsa.header))),
        _ => None,
    });
    updates.flatten().collect()
}

#[test]
fn section_13_step_1_bad_checksum_drops_the_lsa_and_not_the_packet() {
    let mut net = silent_pair();
    let mut bad = lsa(opaque(1), 1, 0);
    bad.header.checksum ^= 1;
    update(&mut net, vec![bad, lsa(opaque(2), 1, 0)], Duration::ZERO);
    assert_eq!(net.header(0, opaque(1)), None);
    assert!(net.header(0, opaque(2)).is_some());
    assert_eq!(net.nodes[0].counters().lsas_with_bad_checksum, 1);
}

#[test]
fn section_13_step_3_reserved_scope_is_dropped() {
    let mut net = silent_pair();
    let key = LsaKey { ls_type: LsType(0xeff0), router: STRANGER, id: 1 };
    let sent = update(&mut net, vec![lsa(key, 1, 0)], Duration::from_secs(1));
    assert_eq!(net.header(0, key), None);
    assert!(acks(&sent).is_empty());
}

#[test]
fn section_13_step_4_max_age_of_an_unknown_lsa_is_acknowledged_at_once_and_forgotten() {
    let mut net = silent_pair();
    let sent = update(&mut net, vec![lsa(opaque(1), 1, MAX_AGE)], Duration::ZERO);
    assert_eq!(net.header(0, opaque(1)), None);
    assert_eq!(acks(&sent).len(), 1);
}

#[test]
fn section_13_step_5a_drops_within_min_ls_arrival_without_acknowledgment() {
    let mut net = silent_pair();
    update(&mut net, vec![lsa(opaque(1), 1, 0)], 999 * MS);
    let sent = update(&mut net, vec![lsa(opaque(1), 2, 0)], Duration::ZERO);
    assert_eq!(net.header(0, opaque(1)).unwrap().seq, 1);
    assert!(acks(&sent).is_empty());
    net.run_for(MS);
    update(&mut net, vec![lsa(opaque(1), 2, 0)], Duration::ZERO);
    assert_eq!(net.header(0, opaque(1)).unwrap().seq, 2);
}

/// Node 0, Full with 1 and 2, which exist only in what the test says from now on.
fn between_two() -> Net {
    let mut net = Net::new(3, 0);
    net.connect(0, 1, 10);
    net.connect(0, 2, 10);
    net.run_for(Duration::from_secs(9));
    net.cut(0);
    net.cut(1);
    net
}

/// A newer LSA goes to every neighbour but its sender, at once, and older by InfTransDelay.
#[test]
fn section_13_step_5b_floods_at_once_to_all_but_the_sender() {
    let mut net = between_two();
    let since = net.sent.len();
    net.inject(0, 0, PacketBody::Update(vec![lsa(opaque(1), 1, 7)])).unwrap();
    let flooded = updates(&net.sent_since(since, 0, link(3)));
    assert_eq!(flooded.len(), 1);
    assert_eq!((flooded[0].0, flooded[0].1.raw_age), (net.now, 8));
    assert!(updates(&net.sent_since(since, 0, link(1))).is_empty());
}

#[test]
fn section_13_step_5e_new_lsas_are_acknowledged_together_within_200_ms() {
    let mut net = silent_pair();
    let start = net.now;
    let lsas = (0..20).map(|id| lsa(opaque(id), 1, 0)).collect();
    let sent = update(&mut net, lsas, Duration::from_millis(500));
    assert_eq!(acks(&sent).len(), 20);
    assert_eq!(sent.iter().filter(|(_, body)| matches!(body, PacketBody::Ack(_))).count(), 1);
    assert!(acks(&sent)[0].0 <= start + 200 * MS);
}

#[test]
fn section_13_step_6_less_than_was_listed_starts_the_exchange_again() {
    let mut net = Net::pair();
    // Node 1 knows an LSA that node 0 lacks, and is silenced before it can send it.
    net.run_for(Duration::from_secs(3));
    net.inject(0, 1, PacketBody::Update(vec![lsa(opaque(1), 5, 0)])).unwrap();
    net.restart(0);
    net.run_while(Duration::from_secs(5), |net| {
        let neighbors = net.nodes[0].neighbors(net.now);
        neighbors.first().is_some_and(|neighbor| neighbor.requests > 0)
    });
    net.cut(0);
    // Through another neighbour node 0 gets an older instance; node 1 then sends that one.
    let wire = net.wires.len();
    net.nodes.push(molt_routing::ospf::Ospf::new(crate::rig::config(2), net.now));
    net.connect(0, 2, 10);
    net.run_while(Duration::from_secs(5), |net| net.wire_is_full(wire));
    net.cut(wire);
    net.inject(wire, 0, PacketBody::Update(vec![lsa(opaque(1), 4, 0)])).unwrap();
    net.inject(0, 0, PacketBody::Update(vec![lsa(opaque(1), 4, 0)])).unwrap();
    assert_eq!(net.state(0, link(1)), State::ExStart);
}

#[test]
fn section_13_step_7a_the_same_instance_is_an_implied_acknowledgment() {
    let mut net = silent_pair();
    // Node 0 has something to be acknowledged: its new Router-LSA.
    net.with(0, |ospf, now| ospf.set_prefixes(Vec::new(), now));
    net.run_for(10 * MS);
    let pending = |net: &Net| net.nodes[0].neighbors(net.now)[0].retransmissions;
    assert_eq!(pending(&net), 1);
    let flooded = net.sent.last().unwrap().3.clone();
    let PacketBody::Update(lsas) = Packet::decode(&flooded[40..]).unwrap().body else {
        panic!("not an update");
    };
    let sent = update(&mut net, lsas, Duration::from_millis(500));
    assert_eq!(pending(&net), 0);
    assert!(acks(&sent).is_empty());
}

/// The copy of node 1 for node 0 waits for more to fill its packet when node 0 sends the same LSA. Without an answer
/// node 0 would repeat it.
#[test]
fn section_13_step_7a_what_was_not_sent_yet_acknowledges_nothing_and_is_acknowledged() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(9));
    assert!(net.is_settled(), "{}", net.unsettled());
    (0..2).for_each(|wire| net.cut(wire));
    let since = net.sent.len();
    let both = lsa(opaque(2), 1, 0);
    net.inject(1, 0, PacketBody::Update(vec![lsa(opaque(1), 1, 0)])).unwrap();
    net.inject(1, 0, PacketBody::Update(vec![both.clone()])).unwrap();
    net.inject(0, 1, PacketBody::Update(vec![both.clone()])).unwrap();
    net.run_for(200 * MS);
    let sent = net.sent_since(since, 1, link(2));
    assert_eq!(updates(&sent).iter().map(|(_, it)| it.key).collect::<Vec<_>>(), [opaque(1)]);
    assert_eq!(acks(&sent).iter().map(|(_, it)| it.key).collect::<Vec<_>>(), [both.header.key]);
}

#[test]
fn section_13_step_7b_a_duplicate_is_acknowledged_directly() {
    let mut net = silent_pair();
    update(&mut net, vec![lsa(opaque(1), 1, 0)], Duration::from_secs(1));
    let sent = update(&mut net, vec![lsa(opaque(1), 1, 0)], Duration::ZERO);
    assert_eq!(acks(&sent).len(), 1);
}

#[test]
fn section_13_step_8_an_older_instance_is_answered_with_ours_once_in_min_ls_arrival() {
    let mut net = silent_pair();
    update(&mut net, vec![lsa(opaque(1), 5, 0)], Duration::from_secs(2));
    let sent = update(&mut net, vec![lsa(opaque(1), 4, 0)], Duration::ZERO);
    assert_eq!(updates(&sent).iter().map(|(_, header)| header.seq).collect::<Vec<_>>(), [5]);
    assert!(acks(&sent).is_empty());
    assert_eq!(net.nodes[0].neighbors(net.now)[0].retransmissions, 0);
    let sent = update(&mut net, vec![lsa(opaque(1), 4, 0)], Duration::from_secs(1));
    assert!(updates(&sent).is_empty());
    let sent = update(&mut net, vec![lsa(opaque(1), 4, 0)], Duration::ZERO);
    assert_eq!(updates(&sent).len(), 1);
}

#[test]
fn section_13_step_8_while_the_sequence_number_wraps_older_instances_get_no_answer() {
    // A second neighbour that does not acknowledge keeps the MaxAge instance in the database.
    let mut net = Net::new(3, 0);
    net.connect(0, 1, 10);
    net.connect(0, 2, 10);
    net.run_for(Duration::from_secs(9));
    net.cut(0);
    net.cut(1);
    update(&mut net, vec![lsa(opaque(1), MAX_SEQUENCE_NUMBER, 0)], Duration::from_secs(1));
    update(&mut net, vec![lsa(opaque(1), MAX_SEQUENCE_NUMBER, MAX_AGE)], Duration::from_secs(1));
    assert_eq!(net.header(0, opaque(1)).unwrap().age(), MAX_AGE);
    let sent = update(&mut net, vec![lsa(opaque(1), 4, 0)], Duration::from_millis(100));
    assert!(updates(&sent).is_empty() && acks(&sent).is_empty());
}

#[test]
fn section_13_1_sequence_then_checksum_then_max_age_then_age() {
    let header = |seq, checksum, raw_age| LsaHeader { raw_age, key: opaque(1), seq, checksum, length: 20 };
    let in_order = [
        header(INITIAL_SEQUENCE_NUMBER, 9, 0),
        header(-1, 9, 0),
        header(0, 9, 0),
        header(1, 2, 950),
        header(1, 2, 0),
        header(1, 2, MAX_AGE),
        header(1, 3, 950),
        header(MAX_SEQUENCE_NUMBER, 0, 0),
    ];
    for (a, older) in in_order.iter().enumerate() {
        for (b, newer) in in_order.iter().enumerate() {
            assert_eq!(older.compare(newer), a.cmp(&b), "{older:?} {newer:?}");
        }
    }
    // Ages that differ by MaxAgeDiff or less make no difference.
    assert!(header(1, 2, 0).compare(&header(1, 2, 900)).is_eq());
}

#[test]
fn section_13_4_a_newer_instance_of_our_own_lsa_is_surpassed() {
    let mut net = silent_pair();
    let key = LsaKey { ls_type: LsType::ROUTER, router: router_id(0), id: 0 };
    let before = net.header(0, key).unwrap();
    let sent = update(&mut net, vec![lsa(key, before.seq + 10, 0)], Duration::from_secs(1));
    let after = net.header(0, key).unwrap();
    assert_eq!(after.seq, before.seq + 11);
    assert_eq!(after.length, before.length);
    assert_eq!(updates(&sent).last().unwrap().1.seq, after.seq);
}

#[test]
fn section_13_4_an_lsa_of_ours_that_we_do_not_want_is_flushed() {
    let mut net = silent_pair();
    let key = LsaKey { ls_type: LsType::NETWORK, router: router_id(0), id: 77 };
    let sent = update(&mut net, vec![lsa(key, 3, 0)], Duration::from_millis(50));
    let (_, flushed) = updates(&sent)[0];
    assert_eq!((flushed.key, flushed.seq, flushed.age()), (key, 3, MAX_AGE));
    net.inject(0, 0, PacketBody::Ack(vec![flushed])).unwrap();
    assert_eq!(net.header(0, key), None);
}

/// A killed router finds its LSAs of before in the exchange and goes on where it was.
#[test]
fn section_13_4_a_restarted_router_recovers_its_sequence_numbers() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(30));
    let key = LsaKey { ls_type: LsType::ROUTER, router: router_id(0), id: 0 };
    let before = net.header(2, key).unwrap().seq;
    assert!(before > INITIAL_SEQUENCE_NUMBER);
    net.restart(0);
    let start = net.now;
    net.run_while(Duration::from_secs(10), Net::is_settled);
    assert!(net.header(2, key).unwrap().seq > before);
    assert!(net.now.since(start) < Duration::from_secs(4), "{:?}", net.now.since(start));
}

#[test]
fn section_13_6_unacknowledged_lsas_are_repeated_with_growing_intervals() {
    let mut net = silent_pair();
    let since = net.sent.len();
    let start = net.now;
    net.with(0, |ospf, now| ospf.set_prefixes(Vec::new(), now));
    net.run_for(Duration::from_secs(20));
    let times: Vec<u128> = updates(&net.sent_since(since, 0, link(1)))
        .iter()
        .map(|(at, _)| at.since(start).as_millis())
        .collect();
    assert_eq!(times, [0, 1000, 3000, 7000, 15000]);
}

#[test]
fn section_13_7_only_the_same_instance_is_acknowledged() {
    let mut net = silent_pair();
    net.with(0, |ospf, now| ospf.set_prefixes(Vec::new(), now));
    let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: router_id(0), id: 0 };
    let header = net.header(0, key).unwrap();
    assert_eq!(header.age(), MAX_AGE, "a router without prefixes flushes their LSA");
    let pending = |net: &Net| net.nodes[0].neighbors(net.now)[0].retransmissions;
    let before = net.nodes[0].counters().questionable_acks;
    net.inject(0, 0, PacketBody::Ack(vec![LsaHeader { seq: header.seq - 1, ..header }])).unwrap();
    assert_eq!((pending(&net), net.nodes[0].counters().questionable_acks), (1, before + 1));
    net.inject(0, 0, PacketBody::Ack(vec![header])).unwrap();
    assert_eq!(pending(&net), 0);
    assert_eq!(net.header(0, key), None, "section 14: gone as soon as it is acknowledged");
}

#[test]
fn section_14_an_lsa_that_nobody_refreshes_is_flushed_at_max_age() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(5));
    net.inject(0, 1, PacketBody::Update(vec![lsa(opaque(1), 1, 3000)])).unwrap();
    net.run_for(Duration::from_secs(590));
    assert!((1..3).all(|node| net.header(node, opaque(1)).is_some()));
    net.run_for(Duration::from_secs(20));
    assert!((1..3).all(|node| net.header(node, opaque(1)).is_none()));
}

#[test]
fn section_14_max_age_lsas_stay_while_an_exchange_goes_on() {
    let mut net = silent_pair();
    // A third node begins an exchange and falls silent.
    net.nodes.push(molt_routing::ospf::Ospf::new(crate::rig::config(2), net.now));
    let wire = net.connect(0, 2, 10);
    net.run_while(Duration::from_secs(1), |net| net.state(0, link(3)) >= State::Exchange);
    net.cut(wire);
    assert_ne!(net.state(0, link(3)), State::Full);
    update(&mut net, vec![lsa(opaque(1), 1, MAX_AGE)], Duration::from_secs(1));
    assert_eq!(net.header(0, opaque(1)).unwrap().age(), MAX_AGE);
}

#[test]
fn section_12_1_6_before_the_sequence_number_wraps_the_lsa_is_flushed_everywhere() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(5));
    let key = LsaKey { ls_type: LsType::ROUTER, router: router_id(0), id: 0 };
    net.inject(0, 0, PacketBody::Update(vec![lsa(key, MAX_SEQUENCE_NUMBER, 0)])).unwrap();
    net.run_for(Duration::from_secs(20));
    let seq = net.header(2, key).unwrap().seq;
    assert!(seq < INITIAL_SEQUENCE_NUMBER + 5, "{seq:#x}");
    assert!(net.is_settled(), "{}", net.unsettled());
}

#[test]
fn section_12_4_own_lsas_are_refreshed_before_they_are_30_minutes_old() {
    let mut net = Net::chain(2);
    net.run_for(Duration::from_secs(24 * 3600));
    assert!(net.is_settled());
    for lsa in net.nodes[0].database(net.now).lsas {
        assert!(lsa.header.age() <= 1801, "{lsa:?}");
    }
    // 48 refreshes and a handful of changes at the start; no adjacency was lost.
    let key = LsaKey { ls_type: LsType::ROUTER, router: router_id(0), id: 0 };
    let instances = net.header(1, key).unwrap().seq - INITIAL_SEQUENCE_NUMBER;
    assert!((48..56).contains(&instances), "{instances}");
    assert_eq!(net.nodes[0].neighbors(net.now)[0].state_changes, 5);
}

#[test]
fn rfc_5340_section_4_5_2_unknown_types_are_flooded_by_u_bit_and_scope() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(5));
    let key = |ls_type| LsaKey { ls_type: LsType(ls_type), router: STRANGER, id: 1 };
    // U-bit and area scope, U-bit and AS scope; no U-bit, so link scope; link scope.
    let keys = [key(0xbff0), key(0xdff0), key(0x3ff0), key(0x9ff0)];
    net.inject(0, 1, PacketBody::Update(keys.iter().map(|key| lsa(*key, 1, 0)).collect())).unwrap();
    net.run_for(Duration::from_secs(5));
    assert_eq!(keys.map(|key| net.header(1, key).is_some()), [true; 4]);
    assert_eq!(keys.map(|key| net.header(2, key).is_some()), [true, true, false, false]);
}

#[test]
fn isolated_changes_of_an_own_lsa_go_at_once_and_a_storm_of_them_at_min_ls_interval() {
    let mut net = Net::chain(2);
    net.run_for(Duration::from_secs(60));
    let since = net.sent.len();
    let start = net.now;
    for change in 0..600 {
        net.set_cost(0, 0, 20 + change % 2);
        net.run_for(100 * MS);
    }
    let times: Vec<u64> = updates(&net.sent_since(since, 0, link(1)))
        .iter()
        .map(|(at, _)| at.since(start).as_millis() as u64)
        .collect();
    assert_eq!(times[0], 0);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1050), "{times:?}");
    assert!((16..=21).contains(&times.len()), "a minute: 8 at once and one each 5 s: {times:?}");
    assert_eq!(net.nodes[1].counters().lsas_too_early, 0);
}

/// A link that flaps: its loss reaches the others as soon as MinLSArrival lets it, however often it was lost before; that
/// it is back waits.
#[test]
fn what_is_lost_does_not_wait_for_min_ls_interval() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(60));
    net.bfd(0, BfdEvent::Up);
    let others: Vec<u128> = (0..20)
        .map(|_| {
            net.run_while(Duration::from_secs(20), |net| net.fib(2).contains_key(&prefix(0)));
            net.run_for(1100 * MS);
            net.cut(0);
            net.bfd(0, BfdEvent::Down);
            let told = net.run_while(Duration::from_secs(10), |net| !net.fib(2).contains_key(&prefix(0)));
            net.up(0);
            net.bfd(0, BfdEvent::Up);
            told.as_millis()
        })
        .collect();
    assert!(others.iter().all(|told| *told < 50), "{others:?}");
}

/// On reaching Full both change their Router-LSAs, milliseconds after the exchange brought the last ones.
#[test]
fn routes_are_in_use_a_moment_after_full() {
    let mut net = Net::pair();
    net.run_while(Duration::from_secs(1), Net::all_full);
    let took = net.run_while(Duration::from_secs(1), |net| net.fib(0).len() == 2 && net.fib(1).len() == 2);
    assert!(took < 150 * MS, "{took:?}");
}

/// A stock neighbour drops what comes within MinLSArrival of the instance in the exchange.
#[test]
fn a_new_own_instance_is_repeated_when_a_neighbour_that_dropped_it_listens_again() {
    let mut net = silent_pair();
    let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: router_id(0), id: 0 };
    let start = net.now;
    let since = net.sent.len();
    net.inject(0, 0, PacketBody::Request(vec![key])).unwrap();
    net.run_for(300 * MS);
    net.with(0, |ospf, now| ospf.set_prefixes(vec![prefix(7)], now));
    net.run_for(Duration::from_secs(2));
    let times: Vec<u128> = updates(&net.sent_since(since, 0, link(1)))
        .iter()
        .map(|(at, _)| at.since(start).as_millis())
        .collect();
    assert_eq!(times, [0, 300, 1050]);
}

/// One flooder cannot fill the database, and the adjacency it floods through stays.
#[test]
fn lsas_of_one_originator_are_bounded() {
    let mut net = silent_pair();
    for first in (0..1200u32).step_by(20) {
        let lsas = (first..first + 20).map(|id| lsa(opaque(id), 1, 0)).collect();
        update(&mut net, lsas, Duration::ZERO);
    }
    let stored = net.nodes[0].database(net.now).lsas;
    assert_eq!(stored.iter().filter(|lsa| lsa.header.key.router == STRANGER).count(), 1000);
    assert_eq!(net.nodes[0].counters().lsas_without_room, 200);
    // What is refused is acknowledged, so it is not repeated.
    let sent = update(&mut net, vec![lsa(opaque(5000), 1, 0)], Duration::ZERO);
    assert_eq!(acks(&sent).iter().filter(|(_, ack)| ack.key == opaque(5000)).count(), 1);
    assert_eq!(net.state(0, link(1)), State::Full);
}

#[test]
fn a_body_that_cannot_be_read_is_flooded_and_not_used() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(5));
    let key = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: STRANGER, id: 1 };
    let broken = Lsa::new(key, 1, 0, Arc::from(vec![0xff; 7]));
    net.inject(0, 1, PacketBody::Update(vec![broken])).unwrap();
    net.run_for(Duration::from_secs(5));
    assert!(net.header(2, key).is_some());
    assert!(net.nodes[2].neighbors(net.now).iter().all(|neighbor| neighbor.state == State::Full));
}

#[test]
fn updates_fill_packets_and_none_is_larger_than_the_mtu() {
    let mut net = Net::chain(2);
    net.run_for(Duration::from_secs(5));
    for first in (0..400u32).step_by(40) {
        let lsas = (first..first + 40).map(|id| lsa(opaque(id), 1, 0)).collect();
        net.inject(0, 1, PacketBody::Update(lsas)).unwrap();
    }
    net.run_for(Duration::from_secs(5));
    net.restart(0);
    let since = net.sent.len();
    net.run_for(Duration::from_secs(5));
    assert!(net.is_settled(), "{}", net.unsettled());
    assert!(net.sent.iter().all(|(.., packet)| packet.len() <= 1280));
    let sent = net.sent_since(since, 1, link(2));
    let lsas = updates(&sent).len();
    let packets = sent.iter().filter(|(_, body)| matches!(body, PacketBody::Update(_))).count();
    assert!(lsas >= 400 && packets <= 20, "{lsas} LSAs in {packets} packets");
}

/// RFC 4222: a neighbour that acknowledges nothing is not buried.
#[test]
fn rfc_4222_no_more_than_a_window_of_lsas_is_unacknowledged() {
    let mut net = between_two();
    let since = net.sent.len();
    for first in (0..400u32).step_by(40) {
        let lsas = (first..first + 40).map(|id| lsa(opaque(id), 1, 0)).collect();
        update(&mut net, lsas, MS);
    }
    net.run_for(Duration::from_secs(5));
    let flooded = |net: &Net| -> std::collections::BTreeMap<LsaKey, LsaHeader> {
        let sent = net.sent_since(since, 0, link(3));
        updates(&sent).iter().map(|(_, header)| (header.key, *header)).collect()
    };
    assert_eq!(flooded(&net).len(), 160);
    assert_eq!(net.nodes[0].neighbors(net.now)[1].retransmissions, 400);
    let some: Vec<LsaHeader> = flooded(&net).values().take(40).copied().collect();
    net.inject(1, 0, PacketBody::Ack(some)).unwrap();
    net.run_for(10 * MS);
    assert_eq!(flooded(&net).len(), 200);
}

#[test]
fn fib_changes_are_announced_only_when_something_changed() {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(60));
    let changes = |net: &Net| net.events.iter().filter(|(.., event)| *event == Output::FibChanged).count();
    let before = changes(&net);
    net.run_for(Duration::from_secs(7200));
    assert_eq!(changes(&net), before, "refreshes change nothing");
}

/// Five routers, each adjacent to each.
fn full_mesh() -> Net {
    let mut net = Net::new(5, 0);
    for a in 0..5 {
        for b in a + 1..5 {
            net.connect(a, b, 10);
        }
    }
    net.run_for(Duration::from_secs(30));
    assert!(net.is_settled(), "{}", net.unsettled());
    net
}

const PREFIXES_OF_0: LsaKey =
    LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, router: RouterId(0x0a00_0001), id: 0 };

/// Copies of node 0's prefixes that were sent since `since`.
fn copies(net: &Net, since: usize) -> usize {
    let updates =
        net.sent[since..].iter().filter_map(|(.., bytes)| match Packet::decode(&bytes[40..]).unwrap().body {
            PacketBody::Update(lsas) => Some(lsas),
            _ => None,
        });
    updates.flatten().filter(|lsa| lsa.header.key == PREFIXES_OF_0).count()
}

/// By the book it would be 4 copies from the originator and 3 from each of the others.
#[test]
fn in_a_full_mesh_each_router_gets_two_copies() {
    let mut net = full_mesh();
    let since = net.sent.len();
    net.with(0, |ospf, now| ospf.set_prefixes(vec![prefix(0), prefix(77)], now));
    net.run_for(Duration::from_secs(5));
    assert!((1..5).all(|node| net.header(node, PREFIXES_OF_0) == net.header(0, PREFIXES_OF_0)));
    assert_eq!(copies(&net, since), 2 * 4);
}

/// How long it takes until node 1 knows what 0 says, while nobody notices that 1 hears only `heard`.
fn until_told_by(heard: &[usize]) -> Duration {
    let mut net = full_mesh();
    for wire in 0..net.wires.len() {
        let [(a, _), (b, _)] = net.wires[wire].ends;
        let far = if a == 1 { b } else { a };
        if (a == 1 || b == 1) && !heard.contains(&far) {
            net.cut(wire);
        }
    }
    net.with(0, |ospf, now| ospf.set_prefixes(vec![prefix(0), prefix(77)], now));
    let told = |net: &Net| {
        net.header(1, PREFIXES_OF_0).map(|it| it.seq) == net.header(0, PREFIXES_OF_0).map(|it| it.seq)
    };
    net.run_while(Duration::from_secs(1), told)
}

#[test]
fn a_copy_that_is_lost_on_the_direct_way_comes_at_once_by_another() {
    let took = until_told_by(&[2, 3, 4]);
    assert!(took < Duration::from_millis(10), "{took:?}");
}

#[test]
fn a_copy_that_everybody_left_to_others_follows_after_a_quarter_of_a_second() {
    let times = [2, 3, 4].map(|neighbor| until_told_by(&[neighbor]));
    let (at_once, later): (Vec<_>, Vec<_>) =
        times.into_iter().partition(|took| *took < Duration::from_millis(10));
    assert_eq!(at_once.len(), 1, "one of the three sends beside the originator: {times:?}");
    let quarter = Duration::from_millis(200)..=Duration::from_millis(300);
    assert!(later.iter().all(|took| quarter.contains(took)), "{times:?}");
}

/// RFC 2328 section 10.9 asks each neighbour for all it has more.
#[test]
fn a_router_with_three_links_takes_in_one_copy_of_a_large_database() {
    let mut net = Net::new(4, 0);
    for (a, b) in [(0, 1), (1, 2)] {
        net.connect(a, b, 10);
    }
    net.run_for(Duration::from_secs(5));
    for first in (0..600).step_by(20) {
        let key = |id| LsaKey { ls_type: LsType(0xbff0), router: RouterId(0x0909_0909), id };
        let lsas = (first..first + 20).map(|id| Lsa::new(key(id), 1, 0, Arc::from(vec![7; 40])));
        net.inject(0, 0, PacketBody::Update(lsas.collect())).unwrap();
        net.run_for(Duration::from_millis(50));
    }
    net.run_for(Duration::from_secs(5));
    for neighbor in 0..3 {
        net.connect(3, neighbor, 10);
    }
    net.run_for(Duration::from_secs(30));
    assert!(net.is_settled_but_for_routes(), "{}", net.unsettled());
    let received = net.nodes[3].counters().lsas_received;
    assert!((600..750).contains(&received), "{received} LSAs came");
}

/// What a router says of itself before its first adjacency is not passed on: the instance that has the adjacency follows
/// within milliseconds, and would be dropped two hops away for MinLSArrival.
///
/// ```text
/// 0 ... 1 --- 2 --- 3
/// ```
#[test]
fn who_joins_or_restarts_is_reached_from_afar_within_a_tenth_of_a_second() {
    for mut net in [Net::new(4, 0), Net::members(4, 0)] {
        net.connect(1, 2, 10);
        net.connect(2, 3, 10);
        net.run_for(Duration::from_secs(30));
        let dst = net.prefix(0);
        let reached = |net: &Net| net.fib(3).contains_key(&dst);
        let joined = |net: &mut Net| net.run_while(Duration::from_secs(5), reached);
        let wire = net.connect(0, 1, 10);
        let took = joined(&mut net);
        assert!(took < Duration::from_millis(100), "{took:?}");
        net.run_for(Duration::from_secs(60));

        net.down(wire);
        net.run_for(Duration::from_secs(30));
        assert!(!reached(&net));
        net.up(wire);
        let took = joined(&mut net);
        assert!(took < Duration::from_millis(100), "after a failure: {took:?}");
        net.run_for(Duration::from_secs(60));

        net.down(wire);
        net.run_for(Duration::from_secs(30));
        net.restart(0);
        net.up(wire);
        let took = joined(&mut net);
        assert!(took < Duration::from_millis(100), "after a restart: {took:?}");
        net.run_for(Duration::from_secs(30));
        assert!(net.is_settled(), "{}", net.unsettled());
        for node in 1..4 {
            assert_eq!(net.nodes[node].counters().lsas_too_early, 0, "node {node}");
        }
    }
}
