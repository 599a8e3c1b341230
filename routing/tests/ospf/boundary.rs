//! Routes to other meshes: RFC 5340 section 4.4.3.6, RFC 2328 section 16.4, and who may announce them here.

use std::time::Duration;

use molt_mesh::Prefix;
use molt_routing::ospf::lsa::{LsType, LsaKey};

use crate::rig::{Net, identity, router_id};

fn other(mesh: u16) -> Prefix {
    format!("fd12:{mesh:x}::/48").parse().unwrap()
}

/// 0 === 1 === 2, all of which accept what lies in fd12::/16.
fn chain() -> Net {
    let mut net = Net::chain(3);
    for node in 0..3 {
        net.with(node, |ospf, _| ospf.accept_externals(vec!["fd12::/16".parse().unwrap()]));
    }
    net.run_for(Duration::from_secs(10));
    net
}

fn announce(net: &mut Net, prefixes: &[Prefix]) {
    net.with(2, |ospf, now| ospf.set_externals(prefixes, now));
    net.run_for(Duration::from_secs(10));
}

fn has(net: &Net, node: usize, prefix: Prefix) -> bool {
    net.fib(node).contains_key(&prefix)
}

fn external(id: u32) -> LsaKey {
    LsaKey { ls_type: LsType::AS_EXTERNAL, router: router_id(2), id }
}

#[test]
fn a_border_announces_its_routes_and_withdraws_them() {
    let mut net = chain();
    announce(&mut net, &[other(1), other(2)]);
    for node in [0, 1] {
        assert!(has(&net, node, other(1)) && has(&net, node, other(2)), "{node}");
        let via = net.fib(node).get(&other(1)).cloned();
        assert_eq!(via, net.fib(node).get(&crate::rig::prefix(2)).cloned(), "not through the border");
    }
    assert!(!has(&net, 2, other(1)), "the border's own LSA is no route of its own");
    announce(&mut net, &[other(2)]);
    assert!(!has(&net, 0, other(1)) && has(&net, 0, other(2)));
    announce(&mut net, &[]);
    assert!(!has(&net, 0, other(2)));
    assert_eq!(net.header(0, external(0)), None, "flushed");
}

#[test]
fn an_lsa_keeps_its_link_state_id_when_others_come_and_go() {
    let mut net = chain();
    announce(&mut net, &[other(5)]);
    let before = net.header(0, external(0)).unwrap();
    announce(&mut net, &[other(1), other(5), other(9)]);
    assert_eq!(net.header(0, external(0)).unwrap().seq, before.seq, "it was originated again for nothing");
    announce(&mut net, &[other(1), other(9)]);
    assert!(has(&net, 0, other(1)) && has(&net, 0, other(9)) && !has(&net, 0, other(5)));
}

#[test]
fn without_leave_no_prefix_outside_of_the_mesh_becomes_a_route() {
    let mut net = Net::chain(3);
    net.with(0, |ospf, _| ospf.accept_externals(vec![other(1)]));
    net.run_for(Duration::from_secs(10));
    let elsewhere: Prefix = "2001:db8::/32".parse().unwrap();
    let default: Prefix = "::/0".parse().unwrap();
    announce(&mut net, &[other(1), other(2), elsewhere, default]);
    assert!(has(&net, 0, other(1)), "what the node accepts");
    for refused in [other(2), elsewhere, default] {
        assert!(!has(&net, 0, refused), "{refused}");
    }
    assert!(!has(&net, 1, other(1)), "a node that accepts nothing");
    let rejected = net.nodes[1].rejected_routes();
    assert_eq!(rejected.len(), 4, "the operator sees it: {rejected:?}");
}

/// The mesh's own addresses come from their owners, whatever a border says.
#[test]
fn a_border_cannot_announce_what_covers_the_mesh() {
    let mut net = chain();
    announce(&mut net, &["fd00:6d6f:6c74::/48".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert!(net.fib(0).keys().all(|prefix| prefix.len() == 128), "{:?}", net.fib(0));
}

/// 0 === 1, members. 48 LSAs beside its own prefix and its name are what a border's signed list has room for.
#[test]
fn a_member_announces_as_many_as_it_can_sign_and_says_how_many_it_cannot() {
    let mut net = Net::members(2, 0);
    net.connect(0, 1, 10);
    for node in 0..2 {
        net.with(node, |ospf, _| ospf.accept_externals(vec!["fd12::/16".parse().unwrap()]));
    }
    net.run_for(Duration::from_secs(10));
    let known = |net: &Net| (1..=60).filter(|mesh| has(net, 0, other(*mesh))).collect::<Vec<u16>>();
    let mut announce = |meshes: std::ops::RangeInclusive<u16>| {
        let prefixes: Vec<Prefix> = meshes.map(other).collect();
        net.with(1, |ospf, now| ospf.set_externals(&prefixes, now));
        net.run_for(Duration::from_secs(10));
        let border = identity(1).router_id(0);
        let stored = net
            .area_lsas(0)
            .keys()
            .filter(|key| (key.ls_type, key.router) == (LsType::AS_EXTERNAL, border))
            .count();
        (known(&net), stored, net.nodes[1].externals_left_out())
    };
    assert_eq!(announce(13..=60), ((13..=60).collect(), 48, 0));
    // Those that come later are left out, whatever their order.
    assert_eq!(announce(1..=60), ((13..=60).collect(), 48, 12));
    // And have their turn when others go.
    let (known, stored, left_out) = announce(1..=30);
    assert_eq!((known, stored, left_out), ((1..=30).collect(), 30, 0));
}
