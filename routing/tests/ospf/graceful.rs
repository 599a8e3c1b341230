//! Graceful restart (RFC 5187, RFC 3623), and starting as a stub router (RFC 6987).
//!
//! ```text
//!  0 --- 1 --- 2 --- 3        node 1 restarts, 0 and 2 help
//! ```

use std::time::Duration;

use molt_mesh::{RouterId, Time};
use molt_routing::ospf::consts::{INITIAL_SEQUENCE_NUMBER, LS_REFRESH_TIME, MAX_AGE, description, options};
use molt_routing::ospf::lsa::{Body, GraceLsa, GraceReason, LsType, Lsa, LsaKey, RouterLsa};
use molt_routing::ospf::packet::{Description, PacketBody};
use molt_routing::ospf::{BfdEvent, Config, Output, RestartHelper, State};

use crate::rig::{Net, config, hello, link, router_id};

const SECOND: Duration = Duration::from_secs(1);

fn grace(period_s: u32) -> GraceLsa {
    GraceLsa { period_s, reason: GraceReason::SOFTWARE_RESTART }
}

/// The chain of the picture, quiet, with the restart helper of node 2 as given.
fn chain_with(helper: RestartHelper) -> Net {
    let mut configs: Vec<Config> = (0..4).map(config).collect();
    configs[2].restart_helper = helper;
    let mut net = Net::with_configs(configs, 0);
    for node in 1..4 {
        net.connect(node - 1, node, 10);
    }
    net.run_for(9 * SECOND);
    assert!(net.is_settled(), "{}", net.unsettled());
    net.events.clear();
    net
}

fn chain() -> Net {
    chain_with(RestartHelper::Strict)
}

fn router_lsa(node: usize) -> LsaKey {
    LsaKey { ls_type: LsType::ROUTER, router: router_id(node), id: 0 }
}

/// Node 1 announces its restart and ends. `down` later its successor starts.
fn planned(net: &mut Net, period_s: u32, down: Duration) {
    assert!(net.with(1, |ospf, now| ospf.prepare_restart(grace(period_s), now)));
    assert!(!net.with(1, |ospf, now| ospf.prepare_restart(grace(period_s), now)), "once");
    net.run_while(3 * SECOND, |net| net.events.iter().any(|(.., event)| *event == Output::RestartReady));
    let sent = net.sent.len();
    net.run_for(down);
    assert!(net.sent[sent..].iter().all(|(_, node, ..)| *node != 1), "the old process is silent");
}

fn ended(net: &Net) -> Option<(bool, &'static str)> {
    net.events.iter().find_map(|(.., event)| match event {
        Output::RestartEnded { complete, reason } => Some((*complete, *reason)),
        _ => None,
    })
}

/// What node `node` told about helping.
fn help(net: &Net, node: usize) -> Vec<(bool, &'static str)> {
    let told = net.events.iter().filter(|(_, at, _)| *at == node);
    told.filter_map(|(.., event)| match event {
        Output::RestartHelper { helping, reason, .. } => Some((*helping, *reason)),
        _ => None,
    })
    .collect()
}

/// Nobody but node 1 noticed anything that matters to traffic.
fn assert_unnoticed(net: &Net) {
    for (at, node, event) in &net.events {
        let matters = matches!(event, Output::FibChanged | Output::AdjacencyChanged { .. });
        assert!(*node == 1 || !matters, "node {node} at {at}: {event:?}");
    }
}

fn assert_as_before(net: &Net) {
    assert!(net.is_settled(), "{}", net.unsettled());
    for node in 0..4 {
        let lsas = net.nodes[node].database(net.now).lsas;
        let graces: Vec<_> = lsas.iter().filter(|lsa| lsa.header.key.ls_type == LsType::GRACE).collect();
        assert!(graces.is_empty(), "node {node}: {graces:?}");
    }
}

#[test]
fn rfc_3623_section_2_1_a_planned_restart_goes_unnoticed() {
    let mut net = chain();
    planned(&mut net, 120, 50 * SECOND);
    assert_eq!(net.state(0, link(1)), State::Full, "longer than its dead interval");
    net.restart_gracefully(1, config(1), grace(120));
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    net.run_for(5 * SECOND);
    assert_eq!(ended(&net), Some((true, "all adjacencies are back")));
    assert_unnoticed(&net);
    assert_as_before(&net);
    for node in [0, 2] {
        assert_eq!(help(&net, node), [(true, "the neighbour restarts"), (false, "the restart is over")]);
    }
}

#[test]
fn rfc_3623_section_5_an_unplanned_restart_is_announced_before_the_first_hello() {
    let mut net = chain();
    let since = net.sent.len();
    net.restart_gracefully(1, config(1), grace(120));
    let sent = net.sent_since(since, 1, net.wires[0].ends[1].1);
    let PacketBody::Update(lsas) = &sent[0].1 else { panic!("{sent:?}") };
    assert_eq!(Body::decode(LsType::GRACE, lsas[0].body()), Ok(Body::Grace(grace(120))));
    assert!(matches!(sent[1].1, PacketBody::Hello(_)));
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    net.run_for(5 * SECOND);
    assert_eq!(ended(&net), Some((true, "all adjacencies are back")));
    assert_unnoticed(&net);
    assert_as_before(&net);
}

/// FRR keeps a flushed LSA for a minute: what is not newer is old news to it.
#[test]
fn the_grace_lsa_of_a_second_restart_is_newer_than_the_one_flushed_after_the_first() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    net.restart_gracefully(1, config(1), grace(120));
    let since = net.sent.len();
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    net.run_for(5 * SECOND);
    assert_as_before(&net);
    let seqs = |net: &Net, since: usize| -> Vec<i32> {
        let sent = net.sent_since(since, 1, net.wires[0].ends[1].1);
        let lsas = sent.iter().filter_map(|(_, body)| match body {
            PacketBody::Update(lsas) => Some(lsas),
            _ => None,
        });
        let graces = lsas.flatten().filter(|lsa| lsa.header.key.ls_type == LsType::GRACE);
        graces.map(|lsa| lsa.header.seq).collect()
    };
    let flushed = seqs(&net, since).into_iter().max().unwrap();
    let since = net.sent.len();
    assert!(net.with(1, |ospf, now| ospf.prepare_restart(grace(120), now)));
    net.run_for(SECOND);
    let announced = seqs(&net, since);
    assert!(announced.first().is_some_and(|first| *first > flushed), "{announced:?} after {flushed}");
}

#[test]
fn leaving_comes_before_a_restart_that_is_being_prepared() {
    let mut net = chain();
    net.with(1, |ospf, now| {
        assert!(ospf.prepare_restart(grace(120), now));
        ospf.shutdown(now);
    });
    net.run_for(5 * SECOND);
    let told: Vec<_> = net.events.iter().filter(|(_, node, _)| *node == 1).map(|(.., event)| event).collect();
    assert!(told.contains(&&Output::ShutdownComplete) && !told.contains(&&Output::RestartReady), "{told:?}");
    for node in [0, 2] {
        assert_eq!(help(&net, node).last().map(|(helping, _)| *helping), Some(false));
        let routers = net.area_lsas(node).into_iter().filter(|(key, _)| key.router == router_id(1));
        assert_eq!(routers.count(), 0, "what it said is flushed");
    }
}

#[test]
fn without_grace_a_restart_is_noticed() {
    let mut net = chain();
    net.restart(1);
    net.run_for(20 * SECOND);
    let lost = |(_, node, event): &(Time, usize, Output)| {
        *node == 0 && matches!(event, Output::AdjacencyChanged { up: false, .. })
    };
    assert!(net.events.iter().any(lost));
}

#[test]
fn rfc_3623_section_2_2_a_restarting_router_neither_originates_nor_flushes_what_it_said_before() {
    let mut net = chain();
    let said = |net: &Net| net.area_lsas(0).into_iter().filter(|(key, _)| key.router == router_id(1));
    let before: Vec<_> = said(&net).collect();
    planned(&mut net, 120, SECOND);
    net.restart_gracefully(1, config(1), grace(120));
    let start = net.events.len();
    while ended(&net).is_none() {
        assert_eq!(said(&net).collect::<Vec<_>>(), before);
        net.run_for(Duration::from_micros(500));
    }
    // (3): its own table stayed in force until the end.
    let own = net.events[start..].iter().filter(|(_, node, _)| *node == 1).map(|(.., event)| event);
    let order: Vec<_> =
        own.filter(|it| matches!(it, Output::FibChanged | Output::RestartEnded { .. })).collect();
    assert!(matches!(order[..], [Output::RestartEnded { .. }, Output::FibChanged]), "{order:?}");
    net.run_for(2 * SECOND);
    // Section 2.3 (1): then all of it is said anew.
    for (key, (seq, _)) in before {
        assert!(net.header(0, key).unwrap().seq > seq, "{key:?}");
    }
}

#[test]
fn rfc_3623_section_2_3_step_5_what_is_no_longer_true_is_flushed_at_the_end() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    net.restart_gracefully(1, Config { prefixes: Vec::new(), hostname: None, ..config(1) }, grace(120));
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    net.run_for(5 * SECOND);
    let left: Vec<_> = net.area_lsas(3).into_keys().filter(|key| key.router == router_id(1)).collect();
    assert_eq!(left, [router_lsa(1)]);
}

#[test]
fn rfc_3623_section_2_2_a_neighbour_that_does_not_help_ends_the_restart() {
    let mut net = chain_with(RestartHelper::Off);
    planned(&mut net, 120, SECOND);
    assert_eq!(help(&net, 2), [(false, "restarts are not helped here")]);
    net.restart_gracefully(1, config(1), grace(120));
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    assert_eq!(ended(&net), Some((false, "a neighbour gave the adjacency up")));
    net.run_for(10 * SECOND);
    assert_as_before(&net);
}

#[test]
fn rfc_3623_section_2_2_the_end_of_the_grace_period_ends_the_restart() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    let start = net.now;
    net.cut(1);
    net.restart_gracefully(1, config(1), grace(90));
    net.run_while(100 * SECOND, |net| ended(net).is_some());
    assert_eq!(ended(&net), Some((false, "the grace period is over")));
    assert_eq!(net.now.since(start), 90 * SECOND);
    // (3): until then the table from before the restart is in force.
    let of_restart = net.events.iter().filter(|(at, node, _)| *node == 1 && *at < net.now);
    assert!(!of_restart.into_iter().any(|(.., event)| *event == Output::FibChanged));
    // Nobody was helped beyond it, and node 1 says what is.
    net.run_for(60 * SECOND);
    let lsas = net.nodes[0].database(net.now).lsas;
    let own = lsas.iter().find(|lsa| lsa.header.key == router_lsa(1)).unwrap();
    let Body::Router(own) = &own.body else { panic!("no Router-LSA") };
    assert_eq!(own.links.iter().map(|link| link.neighbor).collect::<Vec<_>>(), [router_id(0)]);
}

#[test]
fn rfc_3623_section_2_2_a_router_nobody_knows_restarts_in_vain() {
    let mut net = Net::new(2, 0);
    net.connect(0, 1, 10);
    net.restart_gracefully(1, config(1), grace(120));
    net.run_while(30 * SECOND, |net| ended(net).is_some());
    // Node 0 may have had it for a moment, before it restarted.
    net.run_for(10 * SECOND);
    assert!(net.is_settled(), "{}", net.unsettled());

    let mut net = Net::new(2, 0);
    net.nodes[1] = molt_routing::ospf::Ospf::new_restarting(config(1), grace(120), net.now);
    net.connect(0, 1, 10);
    net.run_while(30 * SECOND, |net| ended(net).is_some());
    assert_eq!(ended(&net), Some((false, "nobody has our old Router-LSA")));
    net.run_for(10 * SECOND);
    assert!(net.is_settled(), "{}", net.unsettled());
}

#[test]
fn rfc_3623_section_3_2_the_end_of_the_grace_period_ends_the_help() {
    let mut net = chain();
    planned(&mut net, 60, Duration::ZERO);
    let start = net.now;
    net.run_until(start + 58 * SECOND);
    assert_unnoticed(&net);
    net.run_until(start + 70 * SECOND);
    for node in [0, 2] {
        assert_eq!(help(&net, node).last(), Some(&(false, "the grace period is over")));
        assert!(!net.fib(node).contains_key(&crate::rig::prefix(1)));
    }
    assert_eq!(net.state(0, link(1)), State::Down, "silent for longer than the dead interval");
}

#[test]
fn rfc_3623_section_3_a_hello_during_the_grace_period_does_not_shorten_it_to_the_dead_interval() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    one_way(&mut net);
    net.run_for(60 * SECOND);
    assert_unnoticed(&net);
    assert_eq!(net.state(2, link(4)), State::Init);
}

#[test]
fn rfc_3623_section_3_2_a_grace_period_is_no_longer_than_ls_refresh_time() {
    let mut net = chain();
    planned(&mut net, u32::MAX, SECOND);
    let neighbors = net.nodes[0].neighbors(net.now);
    let (left, reason) = neighbors[0].helped.unwrap();
    assert!(left <= LS_REFRESH_TIME && left > LS_REFRESH_TIME - 5 * SECOND, "{left:?}");
    assert_eq!(reason, GraceReason::SOFTWARE_RESTART);
}

/// Node 2 learns that its link to node 3 has another cost while node 1, which is in Init, could not be told.
fn change_during_restart(helper: RestartHelper) -> Net {
    let mut net = chain_with(helper);
    planned(&mut net, 120, SECOND);
    one_way(&mut net);
    net.events.clear();
    net.set_cost(2, 0, 20);
    net.run_for(2 * SECOND);
    net
}

/// Node 2 hears a Hello of node 1 that does not list it.
fn one_way(net: &mut Net) {
    let hello = net.sent.iter().rev().find_map(|(_, node, on, bytes)| {
        ((*node, *on) == net.wires[1].ends[0])
            .then(|| molt_routing::ospf::Packet::decode(&bytes[40..]).unwrap().body)
            .filter(|body| matches!(body, PacketBody::Hello(_)))
    });
    let Some(PacketBody::Hello(mut hello)) = hello else { panic!("no hello") };
    hello.neighbors.clear();
    net.inject(1, 1, PacketBody::Hello(hello)).unwrap();
    assert_eq!(net.state(2, link(4)), State::Init);
}

#[test]
fn rfc_3623_section_3_2_step_3_a_change_of_the_topology_ends_strict_help() {
    let net = change_during_restart(RestartHelper::Strict);
    assert_eq!(help(&net, 2), [(false, "the topology changed")]);
    let down = Output::AdjacencyChanged { link: link(4), up: false };
    assert!(net.events.iter().any(|(_, node, event)| *node == 2 && *event == down));
    assert!(!net.fib(2).contains_key(&crate::rig::prefix(1)));

    let net = change_during_restart(RestartHelper::Lenient);
    assert_eq!(help(&net, 2), []);
    assert!(net.fib(2).contains_key(&crate::rig::prefix(1)));
}

#[test]
fn rfc_3623_section_3_2_step_3_a_refresh_and_a_prefix_are_no_change_of_the_topology() {
    let mut net = chain();
    planned(&mut net, 1800, SECOND);
    net.events.clear();
    net.with(3, |ospf, now| ospf.set_prefixes(Vec::new(), now));
    net.run_for(1750 * SECOND);
    assert_eq!(help(&net, 2), []);
}

/// It is told by the neighbour, not to it.
#[test]
fn rfc_3623_section_3_2_step_3_what_the_neighbour_says_about_itself_ends_no_help() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    let body = RouterLsa { bits: 0, options: options::ROUTER, links: Vec::new() }.encode();
    net.inject(0, 0, PacketBody::Update(vec![Lsa::new(router_lsa(1), 7, 0, body.into())])).unwrap();
    assert_eq!(help(&net, 0), [(true, "the neighbour restarts")]);
}

/// Node 0 hears a Grace-LSA of node 1, which is silent otherwise.
fn hears_grace(net: &mut Net, age: u16) -> Vec<(bool, &'static str)> {
    let key = LsaKey { ls_type: LsType::GRACE, router: router_id(1), id: 2 };
    let lsa = Lsa::new(key, 1, age, grace(100).encode().into());
    net.events.clear();
    net.inject(0, 0, PacketBody::Update(vec![lsa])).unwrap();
    help(net, 0)
}

#[test]
fn rfc_3623_section_3_1_when_a_neighbour_is_not_helped() {
    let quiet = || {
        let mut net = chain();
        net.cut(0);
        net
    };
    assert_eq!(hears_grace(&mut quiet(), 0), [(true, "the neighbour restarts")]);
    // (3)
    assert_eq!(hears_grace(&mut quiet(), 99), [(true, "the neighbour restarts")]);
    assert_eq!(hears_grace(&mut quiet(), 100), [(false, "the grace period is over")]);
    // (2): our Router-LSA changed, and node 1 has not acknowledged it.
    let mut net = quiet();
    net.set_cost(0, 0, 30);
    net.run_for(Duration::from_millis(10));
    assert_eq!(hears_grace(&mut net, 0), [(false, "the topology has just changed")]);
    // (5): we leave, or restart ourselves.
    let mut net = quiet();
    net.with(0, |ospf, now| ospf.shutdown(now));
    assert_eq!(hears_grace(&mut net, 0), [(false, "this router restarts or leaves itself")]);
    let mut net = quiet();
    assert!(net.with(0, |ospf, now| ospf.prepare_restart(grace(10), now)));
    assert_eq!(hears_grace(&mut net, 0), [(false, "this router restarts or leaves itself")]);
}

/// RFC 3623 section 3.1 (1): in Exchange the neighbour is not adjacent.
#[test]
fn rfc_3623_section_3_1_step_1_a_neighbour_that_is_not_adjacent_is_not_helped() {
    let mut net = Net::pair();
    net.run_while(SECOND, |net| matches!(net.state(0, link(1)), State::Exchange | State::Loading));
    net.cut(0);
    assert_eq!(hears_grace(&mut net, 0), [(false, "the neighbour is not adjacent")]);
}

#[test]
fn rfc_5882_section_4_3_a_bfd_session_that_goes_down_during_the_grace_period_says_nothing() {
    let mut net = chain();
    net.bfd(0, BfdEvent::Up);
    planned(&mut net, 120, SECOND);
    for event in [BfdEvent::Down, BfdEvent::AdminDown] {
        net.with(0, |ospf, now| ospf.handle_bfd(link(1), event, now));
        assert_unnoticed(&net);
    }
    net.restart_gracefully(1, config(1), grace(120));
    net.run_while(60 * SECOND, |net| ended(net).is_some());
    net.run_for(5 * SECOND);
    assert_unnoticed(&net);
    assert_as_before(&net);
    // With the grace period ends the patience.
    net.bfd(0, BfdEvent::Up);
    net.with(0, |ospf, now| ospf.handle_bfd(link(1), BfdEvent::Down, now));
    assert_eq!(net.state(0, link(1)), State::Down);
}

/// Section 4.3.2: the C bit says that the neighbour's BFD goes on while its control plane restarts.
#[test]
fn rfc_5882_section_4_3_a_session_that_outlives_the_control_plane_ends_the_help() {
    let mut net = chain();
    net.bfd(0, BfdEvent::Up);
    planned(&mut net, 120, SECOND);
    net.with(0, |ospf, now| ospf.handle_bfd(link(1), BfdEvent::PathDown, now));
    assert_eq!(net.state(0, link(1)), State::Down);
    assert_eq!(help(&net, 0).last(), Some(&(false, "BFD down")));
}

#[test]
fn a_tunnel_that_goes_down_ends_the_help_at_once() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    net.down(0);
    assert_eq!(help(&net, 0).last(), Some(&(false, "the tunnel is down")));
    net.run_for(SECOND);
    assert!(!net.fib(0).contains_key(&crate::rig::prefix(1)));
}

#[test]
fn a_router_that_restarts_can_be_told_to_leave() {
    let mut net = chain();
    planned(&mut net, 120, SECOND);
    // Node 2 does not come back, so that the restart goes on.
    net.cut(1);
    net.restart_gracefully(1, config(1), grace(120));
    net.run_for(SECOND);
    assert_eq!(ended(&net), None);
    net.with(1, |ospf, now| ospf.shutdown(now));
    net.run_for(10 * SECOND);
    assert_eq!(ended(&net), Some((false, "this router leaves")));
    assert!(net.events.iter().any(|(.., event)| *event == Output::ShutdownComplete));
    assert!(!net.area_lsas(0).keys().any(|key| key.router == router_id(1)));
}

/// The metrics in the Router-LSAs of a node, one after the other.
fn metrics(net: &Net, node: usize) -> Vec<Vec<u16>> {
    let mut metrics: Vec<Vec<u16>> = Vec::new();
    for (_, from, _, bytes) in net.sent.iter().filter(|(_, from, ..)| *from == node) {
        let body = molt_routing::ospf::Packet::decode(&bytes[40..]).unwrap().body;
        let PacketBody::Update(lsas) = body else { continue };
        for lsa in lsas.iter().filter(|lsa| lsa.header.key == router_lsa(*from)) {
            if let Ok(Body::Router(lsa)) = Body::decode(LsType::ROUTER, lsa.body()) {
                let of_lsa: Vec<u16> = lsa.links.iter().map(|link| link.metric).collect();
                if metrics.last() != Some(&of_lsa) {
                    metrics.push(of_lsa);
                }
            }
        }
    }
    metrics
}

/// Its links are not known to anybody before that, and so it needs no second instance, which would have to wait for
/// MinLSArrival.
#[test]
fn rfc_6987_section_2_a_router_that_starts_asks_for_transit_traffic_after_its_first_calculation() {
    let mut net = Net::pair();
    net.run_for(5 * SECOND);
    assert_eq!(metrics(&net, 0), [[10]]);
    let first_said = net.sent.iter().find(|(_, from, _, bytes)| *from == 0 && says_router_lsa(bytes));
    let first_run = net.nodes[0].spf_log().nth(1).unwrap().at;
    assert_eq!(first_said.unwrap().0, first_run, "the run of the start is before all neighbours");
    assert_eq!(net.area_lsas(1)[&router_lsa(0)].0, INITIAL_SEQUENCE_NUMBER + 1);
}

fn says_router_lsa(bytes: &[u8]) -> bool {
    let body = molt_routing::ospf::Packet::decode(&bytes[40..]).unwrap().body;
    matches!(body, PacketBody::Update(lsas) if lsas.iter().any(|lsa| lsa.header.key == router_lsa(0)))
}

/// ```text
/// 1 --- 0 --- 2      all start at once
///       |
///       3
/// ```
#[test]
fn section_12_4_links_that_come_up_together_are_said_together() {
    let mut net = Net::new(4, 0);
    for far in 1..4 {
        net.connect(0, far, 10);
    }
    net.run_for(5 * SECOND);
    assert!(net.all_full());
    assert_eq!(metrics(&net, 0), [[10, 10, 10]]);
    for node in 1..4 {
        assert_eq!(net.area_lsas(node)[&router_lsa(0)].0, INITIAL_SEQUENCE_NUMBER + 1, "at node {node}");
    }
}

/// Node 2 falls silent in the middle of it.
#[test]
fn section_12_4_an_adjacency_that_does_not_come_up_delays_the_others_by_a_quarter_of_a_second() {
    let mut net = Net::new(3, 0);
    let silent = net.connect(0, 2, 10);
    let (_, link) = net.wires[silent].ends[0];
    net.run_while(SECOND, |net| net.state(0, link) >= State::ExStart);
    net.cut(silent);
    net.connect(0, 1, 10);
    net.run_for(2 * SECOND);
    assert_eq!(metrics(&net, 0), [[10]]);
    let is_full = |event: &Output| matches!(event, Output::NeighborChanged { to: State::Full, .. });
    let full = net.events.iter().find(|(_, node, event)| *node == 0 && is_full(event)).unwrap().0;
    let said = net.sent.iter().find(|(_, from, _, bytes)| *from == 0 && says_router_lsa(bytes)).unwrap().0;
    assert_eq!(said - full, Duration::from_millis(250));
}

/// Node 2 fell silent in the middle of it, a second before node 1 comes.
#[test]
fn section_12_4_an_adjacency_that_makes_no_progress_delays_nobody() {
    let mut net = Net::new(3, 0);
    let silent = net.connect(0, 2, 10);
    let (_, link) = net.wires[silent].ends[0];
    net.run_while(SECOND, |net| net.state(0, link) >= State::ExStart);
    net.cut(silent);
    net.run_for(SECOND);
    net.connect(0, 1, 10);
    net.run_for(2 * SECOND);
    assert_eq!((metrics(&net, 0), net.state(0, link)), (vec![vec![10]], State::ExStart));
    let is_full = |event: &Output| matches!(event, Output::NeighborChanged { to: State::Full, .. });
    let full = net.events.iter().find(|(_, node, event)| *node == 0 && is_full(event)).unwrap().0;
    let said = net.sent.iter().find(|(_, from, _, bytes)| *from == 0 && says_router_lsa(bytes)).unwrap().0;
    // The first calculation, after which node 0 is no stub any longer, comes 10 ms later.
    assert_eq!(said - full, Duration::from_millis(10));
}

/// Node 1 restarts while node 0 may not yet say that the link is lost, and the link is back before it may.
#[test]
fn section_10_3_what_was_not_described_because_it_was_to_be_said_anew_is_flooded_if_it_is_not() {
    for delay in (0..20).map(|step| Duration::from_millis(700 + 20 * step)) {
        let mut net = Net::chain(3);
        let (first, second) = (0, 1);
        net.run_for(30 * SECOND);
        assert!(net.is_settled(), "{}", net.unsettled());
        net.set_cost(second, 0, 20);
        net.run_for(delay);
        net.restart(2);
        net.run_for(4 * SECOND);
        assert!(net.wire_is_full(first) && net.wire_is_full(second));
        assert!(net.is_settled(), "{delay:?}: {}", net.unsettled());
    }
}

#[test]
fn rfc_6987_section_2_a_router_that_finds_no_neighbour_stops_waiting_after_a_minute() {
    let mut net = Net::new(2, 0);
    net.run_for(61 * SECOND);
    net.connect(0, 1, 10);
    net.run_for(5 * SECOND);
    assert_eq!(metrics(&net, 0), [[10]]);
}

/// The helper still asks for the Grace-LSA it was told of, and for another, when that is flushed: at once, within MinLSArrival
/// of the one before, or later.
#[test]
fn rfc_3623_section_3_2_step_1_help_that_ends_with_the_last_request_goes_unnoticed() {
    for wait in [Duration::ZERO, Duration::from_millis(1_500)] {
        let mut net = chain();
        net.cut(0);
        assert_eq!(hears_grace(&mut net, 0), [(true, "the neighbour restarts")]);
        let key = LsaKey { ls_type: LsType::GRACE, router: router_id(1), id: 2 };
        let instance = |seq, age| Lsa::new(key, seq, age, grace(100).encode().into());
        for neighbors in [Vec::new(), vec![router_id(0)]] {
            net.inject(0, 0, PacketBody::Hello(hello(neighbors))).unwrap();
        }
        let all = description::I | description::M | description::MS;
        let other = LsaKey { ls_type: LsType(0xbff5), router: RouterId(9), id: 0 };
        let other = Lsa::new(other, 1, 0, vec![0; 4].into());
        let described = vec![instance(2, 0).header, other.header];
        for (flags, seq, headers) in [(all, 77, Vec::new()), (description::MS, 78, described)] {
            let next = Description { options: options::ROUTER, mtu: 1280, flags, seq, headers };
            net.inject(0, 0, PacketBody::Description(next)).unwrap();
        }
        assert_eq!(net.state(0, link(1)), State::Loading);
        net.run_for(wait);
        let (said, since) = (net.header(0, router_lsa(0)), net.sent.len());
        net.events.clear();
        net.inject(0, 0, PacketBody::Update(vec![instance(3, MAX_AGE), other])).unwrap();
        assert_eq!(net.state(0, link(1)), State::Full, "after {wait:?}");
        assert_eq!(help(&net, 0), [(false, "the restart is over")]);
        net.run_for(3 * SECOND);
        assert_eq!(net.header(0, router_lsa(0)).map(|it| it.seq), said.map(|it| it.seq), "after {wait:?}");
        let sent = net.sent_since(since, 0, link(1));
        assert!(sent.iter().all(|(_, body)| !matches!(body, PacketBody::Update(_))), "{sent:?}");
    }
}
