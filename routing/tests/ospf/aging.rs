//! LSAs that do not age (RFC 1793), and the interface states of a tunnel (RFC 2328 section 9.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::Time;
use molt_routing::ospf::consts::{DO_NOT_AGE, MAX_AGE};
use molt_routing::ospf::lsa::{LsType, Lsa, LsaKey, Scope};
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::{Output, Packet, State};

use crate::rig::{Net, link, router_id};

const MINUTE: Duration = Duration::from_secs(60);

/// An LSA nobody knows, with the U-bit and area scope.
fn key(router: u32) -> LsaKey {
    LsaKey { ls_type: LsType(0xbff0), router: molt_mesh::RouterId(router), id: 1 }
}

fn lsa(key: LsaKey, age: u16) -> Lsa {
    Lsa::new(key, 1, age, Arc::from(vec![1, 2, 3, 4]))
}

/// ```text
///  0 -- 1 -- 2
/// ```
/// Node 1 has heard `lsa` from node 0, and passed it on to node 2.
fn told(lsa: Lsa) -> Net {
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(9));
    net.inject(0, 1, PacketBody::Update(vec![lsa])).unwrap();
    net.run_for(Duration::from_secs(5));
    net
}

#[test]
fn rfc_1793_section_2_2_an_lsa_that_does_not_age_grows_older_only_by_its_hops() {
    let key = key(router_id(0).0);
    let mut net = told(lsa(key, DO_NOT_AGE | 7));
    for _ in 0..3 {
        assert_eq!(net.header(1, key).unwrap().raw_age, DO_NOT_AGE | 7);
        assert_eq!(net.header(2, key).unwrap().raw_age, DO_NOT_AGE | 8);
        net.run_for(60 * MINUTE);
    }
}

#[test]
fn rfc_1793_section_2_2_the_last_second_of_its_age_makes_it_max_age_without_the_bit() {
    let key = key(router_id(0).0);
    let mut net = Net::chain(3);
    net.run_for(Duration::from_secs(9));
    let since = net.sent.len();
    net.inject(0, 1, PacketBody::Update(vec![lsa(key, DO_NOT_AGE | (MAX_AGE - 1))])).unwrap();
    net.run_for(Duration::from_secs(5));
    let sent = net.sent_since(since, 1, net.wires[1].ends[0].1);
    let ages = sent.iter().find_map(|(_, body)| match body {
        PacketBody::Update(lsas) => Some(lsas.iter().map(|lsa| lsa.header.raw_age).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(ages, Some(vec![MAX_AGE]));
    assert_eq!(net.header(2, key), None, "nobody keeps what comes at MaxAge");
}

#[test]
fn rfc_1793_section_2_2_do_not_age_plus_max_age_is_max_age() {
    let key = key(0x0909_0909);
    let net = told(lsa(key, DO_NOT_AGE | MAX_AGE));
    assert_eq!(net.header(1, key), None);
}

#[test]
fn rfc_1793_section_2_2_two_instances_that_differ_in_the_bit_are_the_same() {
    let key = key(router_id(0).0);
    let mut net = told(lsa(key, 1));
    let since = net.sent.len();
    net.run_for(Duration::from_secs(2));
    net.inject(0, 1, PacketBody::Update(vec![lsa(key, DO_NOT_AGE | 1)])).unwrap();
    net.run_for(Duration::from_secs(1));
    let onwards = net.sent_since(since, 1, net.wires[1].ends[0].1);
    assert!(!onwards.iter().any(|(_, body)| matches!(body, PacketBody::Update(_))), "{onwards:?}");
    assert!(net.header(1, key).unwrap().raw_age < DO_NOT_AGE, "the stored instance stays");
}

#[test]
fn rfc_1793_section_2_3_it_is_flushed_when_its_originator_was_unreachable_for_max_age() {
    let (stranger, neighbor) = (key(0x0909_0909), key(router_id(0).0));
    let mut net = told(lsa(stranger, DO_NOT_AGE));
    net.inject(0, 1, PacketBody::Update(vec![lsa(neighbor, DO_NOT_AGE)])).unwrap();
    net.run_for(59 * MINUTE);
    assert!((1..3).all(|node| net.header(node, stranger).is_some()));
    // Checked with CheckAge, every five minutes.
    net.run_for(7 * MINUTE);
    assert!((1..3).all(|node| net.header(node, stranger).is_none()));
    assert!((1..3).all(|node| net.header(node, neighbor).is_some()));
    // The originator of the other one goes, too.
    net.cut(0);
    net.run_for(59 * MINUTE);
    assert!((1..3).all(|node| net.header(node, neighbor).is_some()));
    net.run_for(7 * MINUTE);
    assert!((1..3).all(|node| net.header(node, neighbor).is_none()));
}

#[test]
fn rfc_1793_section_2_5_the_bit_is_never_originated() {
    let mut net = Net::chain(3);
    net.run_for(120 * MINUTE);
    for node in 0..3 {
        for lsa in net.nodes[node].database(net.now).lsas {
            assert!(lsa.header.raw_age < DO_NOT_AGE, "{:?}", lsa.header);
        }
    }
}

#[test]
fn section_13_3_step_5_inf_trans_delay_is_added_to_the_age_of_what_is_sent() {
    let key = key(0x0909_0909);
    let mut net = told(lsa(key, 7));
    // Five seconds have passed, also since it reached node 2.
    net.run_for(Duration::from_millis(10));
    assert_eq!([1, 2].map(|node| net.header(node, key).unwrap().age()), [12, 13]);
    // One second more makes it MaxAge, and who gets it so lets go of it.
    net.inject(0, 1, PacketBody::Update(vec![Lsa::new(key, 2, MAX_AGE - 1, Arc::from(vec![1]))])).unwrap();
    net.run_for(Duration::from_millis(500));
    assert_eq!(
        [1, 2].map(|node| net.header(node, key).map(|header| header.age())),
        [Some(MAX_AGE - 1), None]
    );
}

/// RFC 5243 section 2: what the neighbour has just described need not be described to it.
#[test]
fn rfc_5243_no_lsa_is_described_in_both_directions() {
    let mut net = Net::chain(6);
    net.run_for(Duration::from_secs(20));
    assert!(net.is_settled(), "{}", net.unsettled());
    net.down(2);
    let since = net.sent.len();
    net.up(2);
    net.run_for(Duration::from_secs(5));
    let listed = |(node, link): (usize, molt_mesh::LinkId)| {
        let sent = net.sent_since(since, node, link).into_iter();
        let headers = sent.filter_map(|(_, body)| match body {
            PacketBody::Description(description) => Some(description.headers),
            _ => None,
        });
        let keys = headers.flatten().map(|header| (header.key, header.seq));
        keys.filter(|(key, _)| key.ls_type.scope() == Scope::Area).collect::<BTreeSet<_>>()
    };
    let [a, b] = net.wires[2].ends.map(listed);
    assert!(a.len() + b.len() >= 18, "{} and {}", a.len(), b.len());
    assert_eq!(a.intersection(&b).count(), 0);
}

/// Two members with a name: each says seven LSAs, of which one stays on the link.
#[test]
fn section_12_4_what_was_originated_together_is_refreshed_in_one_packet_before_ls_refresh_time() {
    let mut net = Net::members(2, 0);
    net.connect(0, 1, 10);
    net.run_for(MINUTE);
    assert!(net.is_settled(), "{}", net.unsettled());
    let mut refreshed: BTreeMap<LsaKey, Time> = BTreeMap::new();
    let (before, start) = (net.sent.len(), net.now);
    net.run_for(30 * MINUTE);
    let me = net.nodes[0].router_id();
    let mut packets = BTreeSet::new();
    for (at, node, _, bytes) in &net.sent[before..] {
        let PacketBody::Update(lsas) = Packet::decode(&bytes[40..]).unwrap().body else { continue };
        let own: Vec<LsaKey> = lsas.iter().map(|lsa| lsa.header.key).filter(|key| key.router == me).collect();
        if *node == 0 && !own.is_empty() {
            packets.insert(*at);
            for key in own {
                assert_eq!(refreshed.insert(key, *at), None, "{key:?} is refreshed twice in half an hour");
            }
        }
    }
    let said: BTreeSet<LsaKey> = net.area_lsas(0).into_keys().filter(|key| key.router == me).collect();
    assert!(said.len() >= 5 && said.iter().all(|key| refreshed.contains_key(key)), "{said:?} {refreshed:?}");
    assert_eq!(packets.len(), 1, "{refreshed:?}");
    let age = packets.into_iter().next().unwrap().since(start) + MINUTE;
    assert!(age <= Duration::from_secs(1_800), "{age:?}");
}

/// RFC 2328 section 9.3 for a point-to-point interface: InterfaceUp and InterfaceDown in its two states. The other events
/// (WaitTimer, BackupSeen, NeighborChange, LoopInd, UnloopInd) belong to networks with a Designated Router, and to lines
/// that can be looped.
#[test]
fn section_9_3_both_states_of_a_tunnel_with_both_events() {
    let mut net = Net::pair();
    let up = |net: &Net| net.nodes[0].interfaces(net.now)[0].up;
    net.run_for(Duration::from_secs(5));
    assert_eq!((up(&net), net.state(0, link(1))), (true, State::Full));
    // Point-to-Point, InterfaceUp: nothing.
    let events = net.events.len();
    net.with(0, |ospf, now| ospf.handle_link_up(link(1), now));
    assert_eq!((up(&net), net.state(0, link(1)), net.events.len()), (true, State::Full, events));
    // Point-to-Point, InterfaceDown: Down, and LLDown for the neighbour.
    net.down(0);
    assert_eq!((up(&net), net.state(0, link(1))), (false, State::Down));
    let down =
        |(.., event): &(_, _, Output)| matches!(event, Output::NeighborChanged { to: State::Down, .. });
    assert!(net.events.iter().any(down));
    // Down, InterfaceDown: nothing.
    let (events, sent) = (net.events.len(), net.sent.len());
    net.with(0, |ospf, now| ospf.handle_link_down(link(1), now));
    assert_eq!((up(&net), net.events.len(), net.sent.len()), (false, events, sent));
    // Down, InterfaceUp: Point-to-Point, and a Hello.
    net.up(0);
    assert!(up(&net) && net.sent.len() > sent);
    net.run_for(Duration::from_secs(5));
    assert!(net.is_settled(), "{}", net.unsettled());
}
