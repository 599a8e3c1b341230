//! Routes to other meshes: RFC 5340 section 4.4.3.6, RFC 2328 section 16.4, and who may announce them here.

use std::time::Duration;

use molt_mesh::{MeshPrefix, Prefix, RouterId};
use molt_routing::ospf::events::{Cause, Event};
use molt_routing::ospf::lsa::{LsType, LsaKey};

use crate::rig::{Net, identity, member_of, router_id};

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

/// A chain of members, each in the mesh with that prefix.
fn members(meshes: &[MeshPrefix]) -> Net {
    let configs = meshes.iter().enumerate().map(|(node, mesh)| member_of(*mesh, node)).collect();
    let mut net = Net::with_configs(configs, 0);
    for node in 1..meshes.len() {
        net.connect(node - 1, node, 10);
    }
    net.run_for(Duration::from_secs(30));
    net
}

fn id(node: usize) -> RouterId {
    identity(node).router_id(0)
}

#[test]
fn a_mesh_with_a_prefix_of_its_own_routes_as_any_other() {
    let net = members(&["fd12:1::/48".parse().unwrap(); 3]);
    for (node, far) in [(0, 2), (2, 0)] {
        assert!(has(&net, node, net.prefix(far)), "{:?}", net.fib(node));
        assert_eq!(net.fib(node).len(), 3);
        assert_eq!(net.nodes[node].events(), [] as [&Event; 0]);
        assert_eq!(net.nodes[node].router_addresses(net.now).len(), 3);
    }
}

/// Two meshes whose operators have joined them as if they were one: nobody reaches anybody, and each says why.
#[test]
fn a_neighbour_of_another_mesh_is_named_and_its_address_no_route() {
    let meshes = [MeshPrefix::DEFAULT, MeshPrefix::DEFAULT, "fd12:1::/48".parse().unwrap()];
    let net = members(&meshes);
    assert!(has(&net, 0, net.prefix(1)) && has(&net, 1, net.prefix(0)), "what is of one mesh");
    for (node, far) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        assert!(!has(&net, node, net.prefix(far)), "{:?}", net.fib(node));
        let events: Vec<Event> = net.nodes[node].events().into_iter().cloned().collect();
        let told = events.iter().find(|it| it.cause == Cause::AnotherMesh && it.router == id(far));
        assert!(told.is_some_and(|it| it.why.contains("[network] prefix")), "{events:?}");
        assert!(events.iter().all(|it| it.cause != Cause::ForgedRecord), "{events:?}");
        let theirs = net.nodes[node].router_addresses(net.now).remove(&id(far)).unwrap_or_default();
        assert_eq!(theirs, [], "whose name leads to them");
    }
}
