//! Routes to other meshes: RFC 5340 section 4.4.3.6, RFC 2328 section 16.4, and who may announce them here.

use std::time::Duration;

use molt_mesh::{IdentityKey, MeshPrefix, Prefix, RouterId};
use molt_routing::ospf::events::{Cause, Event, Subject};
use molt_routing::ospf::lsa::{LsType, LsaKey};
use molt_routing::ospf::view::RouteReject;
use molt_routing::ospf::{External, Withheld};

use crate::rig::{Net, identity, member_of, router_id};

fn other(mesh: u16) -> Prefix {
    format!("fd12:{mesh:x}::/48").parse().unwrap()
}

fn any(prefix: Prefix) -> External {
    External { prefix, by: None }
}

/// 0 === 1 === 2, all of which accept what lies in fd12::/16.
fn chain() -> Net {
    let mut net = Net::chain(3);
    for node in 0..3 {
        net.with(node, |ospf, _| ospf.accept_externals(vec![any("fd12::/16".parse().unwrap())]));
    }
    net.run_for(Duration::from_secs(10));
    net
}

/// 2 believes what the others do not, and so says it.
fn trusting(net: &mut Net) {
    net.with(2, |ospf, _| ospf.accept_externals(vec![any("::/0".parse().unwrap())]));
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
    net.with(0, |ospf, _| ospf.accept_externals(vec![any(other(1))]));
    trusting(&mut net);
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
    trusting(&mut net);
    announce(&mut net, &["fd00:6d6f:6c74::/48".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert!(net.header(0, external(1)).is_some(), "it says so");
    assert!(net.fib(0).keys().all(|prefix| prefix.len() == 128), "{:?}", net.fib(0));
}

/// 0 === 1, members. 48 LSAs beside its own prefix and its name are what a border's signed list has room for.
#[test]
fn a_member_announces_as_many_as_it_can_sign_and_says_how_many_it_cannot() {
    let mut net = Net::members(2, 0);
    net.connect(0, 1, 10);
    for node in 0..2 {
        net.with(node, |ospf, _| ospf.accept_externals(vec![any("fd12::/16".parse().unwrap())]));
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
        let withheld = net.nodes[1].externals_withheld();
        assert!(withheld.values().all(|reason| *reason == Withheld::NoRoom), "{withheld:?}");
        (known(&net), stored, withheld.len())
    };
    assert_eq!(announce(13..=60), ((13..=60).collect(), 48, 0));
    // Those that come later are left out, whatever their order.
    assert_eq!(announce(1..=60), ((13..=60).collect(), 48, 12));
    // And have their turn when others go.
    let (known, stored, left_out) = announce(1..=30);
    assert_eq!((known, stored, left_out), ((1..=30).collect(), 30, 0));
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

fn event(net: &Net, node: usize, cause: Cause) -> Option<Event> {
    net.nodes[node].events().into_iter().find(|event| event.cause == cause).cloned()
}

/// A chain of members in which 2, whose configuration lets it, announces `other(1)`, and what becomes of it at 0.
fn accepted_by(accepted: Vec<External>) -> (bool, Option<RouteReject>, Option<Event>) {
    let configs = (0..3).map(|node| member_of(MeshPrefix::DEFAULT, node)).collect();
    let mut net = Net::with_configs(configs, 0);
    net.with(0, |ospf, _| ospf.accept_externals(accepted));
    trusting(&mut net);
    net.connect(0, 1, 10);
    net.connect(1, 2, 10);
    net.run_for(Duration::from_secs(30));
    announce(&mut net, &[other(1)]);
    net.run_for(Duration::from_secs(10));
    let rejected = net.nodes[0].rejected_routes();
    let reason = rejected.iter().find(|it| it.prefix == other(1) && it.router == id(2));
    (has(&net, 0, other(1)), reason.map(|it| it.reason), event(&net, 0, Cause::PrefixHijack))
}

#[test]
fn only_members_that_the_operator_names_announce_a_prefix_of_another_mesh() {
    let by = |keys: &[usize]| {
        let keys: Vec<IdentityKey> = keys.iter().map(|node| *identity(*node).key()).collect();
        vec![External { prefix: other(1), by: Some(keys) }]
    };
    assert_eq!(accepted_by(vec![any(other(1))]), (true, None, None), "nobody is named: all members may");
    assert_eq!(accepted_by(by(&[1, 2])), (true, None, None));
    let (used, reason, event) = accepted_by(by(&[0, 1]));
    assert_eq!((used, reason), (false, Some(RouteReject::NotBorder)));
    let event = event.unwrap();
    assert_eq!((event.router, event.subject), (id(2), Subject::Prefix(other(1))));
    assert_eq!(event.key, Some(*identity(2).key()));
    assert!(event.why.contains("[network] external"), "{event:?}");
}

#[test]
fn of_two_entries_for_a_prefix_of_another_mesh_the_narrower_says_by_whom() {
    let wide = |by: Option<usize>| External {
        prefix: "fd12::/16".parse().unwrap(),
        by: by.map(|node| vec![*identity(node).key()]),
    };
    let narrow = |by| External { prefix: other(1), ..wide(by) };
    assert!(accepted_by(vec![wide(Some(1)), narrow(Some(2))]).0);
    assert!(accepted_by(vec![narrow(None), wide(Some(1))]).0);
    for accepted in [vec![wide(None), narrow(Some(1))], vec![narrow(Some(1)), wide(Some(2))]] {
        assert_eq!(accepted_by(accepted).1, Some(RouteReject::NotBorder));
    }
}

/// 0 === 1, members. 1 is the border; 0 would believe anything.
#[test]
fn a_border_does_not_say_what_its_own_configuration_lets_only_others_say() {
    let configs = (0..2).map(|node| member_of(MeshPrefix::DEFAULT, node)).collect();
    let mut net = Net::with_configs(configs, 0);
    let named = |mesh, node| External { prefix: other(mesh), by: Some(vec![*identity(node).key()]) };
    let part: Prefix = "fd12:4:0:1::/64".parse().unwrap();
    let open_part = any(part);
    net.with(0, |ospf, _| ospf.accept_externals(vec![any("fd12::/16".parse().unwrap())]));
    net.with(1, |ospf, _| {
        ospf.accept_externals(vec![any(other(1)), named(2, 1), named(3, 0), named(4, 0), open_part]);
    });
    net.connect(0, 1, 10);
    net.run_for(Duration::from_secs(30));
    let mut announce = |prefixes: &[Prefix]| {
        net.with(1, |ospf, now| ospf.set_externals(prefixes, now));
        net.run_for(Duration::from_secs(10));
        let known: Vec<Prefix> = net.fib(0).keys().filter(|prefix| prefix.len() < 128).copied().collect();
        let stored = net.area_lsas(0).keys().filter(|key| key.ls_type == LsType::AS_EXTERNAL).count();
        assert_eq!(known.len(), stored, "what is withheld is not flooded");
        assert_eq!(net.nodes[0].rejected_routes(), [], "nobody is told what he has to refuse");
        (known, net.nodes[1].externals_withheld().into_iter().collect::<Vec<_>>())
    };
    let all = [other(1), other(2), other(3), other(4), part, other(5)];
    let withheld =
        [(other(3), Withheld::NotBorder), (other(4), Withheld::NotBorder), (other(5), Withheld::NotAccepted)];
    assert_eq!(announce(&all), (vec![other(1), other(2), part], withheld.to_vec()));
    assert_eq!(announce(&[other(2), other(3)]), (vec![other(2)], vec![withheld[0]]));
    // It is no border any longer.
    assert_eq!(announce(&[other(3)]), (vec![], vec![withheld[0]]));
    assert_eq!(announce(&[]), (vec![], vec![]));
}
