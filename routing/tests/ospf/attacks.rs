//! What a member can do to others: announce what is not its own, forge, replay, flush, flood, and take router ids. After
//! each: nothing of it is used, the attacker or the link it sits behind is named, and the others notice nothing.
//!
//! ```text
//! 0 (victim) ---- 1 (observer) ---- 2 (attacker)
//!                 |
//!                 3 (bystander)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::record::{Delegation, Grant, Topology, digest};
use molt_mesh::{LinkId, MeshAddr, MeshPrefix, Prefix, RouterId};
use molt_routing::ospf::consts::{INITIAL_SEQUENCE_NUMBER, MAX_AGE, MAX_SEQUENCE_NUMBER, link_type, options};
use molt_routing::ospf::events::{Cause, Event, Subject};
use molt_routing::ospf::lsa::{IntraAreaPrefixLsa, LsType, Lsa, LsaKey, LsaPrefix, RouterLink, RouterLsa};
use molt_routing::ospf::origin::{Announcer, Right, Verdict};
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::view::RouteReject;
use molt_routing::ospf::{BfdEvent, LinkConfig, Output};

use crate::rig::{Net, UNIX_MS, agent, config, identity, link, link_config, member};

const MS: Duration = Duration::from_millis(1);
const VICTIM: usize = 0;
const OBSERVER: usize = 1;
const ATTACKER: usize = 2;
const BYSTANDER: usize = 3;
/// The link of the observer behind which the attacker is.
const BEHIND: usize = 3;
/// An id that nobody has a key for.
const NOBODY: RouterId = RouterId(0x0909_0909);

type Fib = BTreeMap<Prefix, BTreeSet<LinkId>>;

struct Scene {
    net: Net,
    /// What the others had before.
    before: Vec<(usize, Fib, Vec<u32>)>,
}

impl Scene {
    fn new() -> Self {
        let mut net = Net::members(4, 0);
        for (a, b) in [(VICTIM, OBSERVER), (OBSERVER, ATTACKER), (OBSERVER, BYSTANDER)] {
            net.connect(a, b, 10);
        }
        // Beyond the time in which an own LSA that comes back may be from an earlier life.
        net.run_for(Duration::from_secs(70));
        assert!(net.is_settled(), "{}", net.unsettled());
        let mut scene = Self { net, before: Vec::new() };
        scene.remember();
        scene
    }

    fn remember(&mut self) {
        let others = [VICTIM, OBSERVER, BYSTANDER];
        self.before = others.map(|node| (node, self.net.fib(node), self.changes(node))).to_vec();
    }

    fn changes(&self, node: usize) -> Vec<u32> {
        self.net.nodes[node].neighbors(self.net.now).iter().map(|neighbor| neighbor.state_changes).collect()
    }

    /// Lets time pass and looks after the others all the while.
    fn watch(&mut self, duration: Duration) {
        let end = self.net.now + duration;
        while self.net.now < end {
            self.net.run_for(50 * MS);
            for (node, fib, changes) in &self.before {
                assert_eq!(self.net.fib(*node), *fib, "node {node} at {}", self.net.now);
                assert_eq!(self.changes(*node), *changes, "node {node} at {}", self.net.now);
            }
        }
    }

    /// The attacker sends LSAs; the others go on as before.
    fn attack(&mut self, lsas: Vec<Lsa>) {
        self.net.inject(1, 0, PacketBody::Update(lsas)).unwrap();
        self.watch(Duration::from_secs(10));
    }

    fn id(&self, node: usize) -> RouterId {
        self.net.nodes[node].router_id()
    }

    fn key(&self, ls_type: LsType, node: usize, id: u32) -> LsaKey {
        LsaKey { ls_type, router: self.id(node), id }
    }

    /// The next instance of an LSA, with another body.
    fn forged(&self, key: LsaKey, body: Vec<u8>) -> Lsa {
        let seq = self.net.header(OBSERVER, key).map_or(INITIAL_SEQUENCE_NUMBER, |header| header.seq + 1);
        Lsa::new(key, seq, 1, body.into())
    }

    fn body(&self, node: usize, key: LsaKey) -> Arc<[u8]> {
        self.net.body(node, key).unwrap()
    }

    fn event(&self, node: usize, cause: Cause) -> Option<Event> {
        let events = self.net.nodes[node].events();
        events.into_iter().rev().find(|event| event.cause == cause).cloned()
    }

    /// The observer says what happened to whom, and from where it came.
    fn assert_named(&self, cause: Cause, router: RouterId, subject: Subject) {
        let event = self.event(OBSERVER, cause);
        let event =
            event.unwrap_or_else(|| panic!("no {cause:?} in {:#?}", self.net.nodes[OBSERVER].events()));
        assert_eq!(
            (event.router, event.subject, event.link),
            (router, subject, Some(link(BEHIND))),
            "{event:?}"
        );
    }

    fn assert_silent(&self) {
        for node in [VICTIM, OBSERVER, BYSTANDER] {
            assert_eq!(self.net.nodes[node].events(), Vec::<&Event>::new(), "node {node}");
        }
    }

    /// The attacker announces a prefix as its own, properly signed; who is refused, and why.
    fn announce(&mut self, prefix: Prefix) -> Option<RouteReject> {
        let own = self.net.prefix(ATTACKER);
        self.net.with(ATTACKER, |ospf, now| ospf.set_prefixes(vec![own, prefix], now));
        self.watch(Duration::from_secs(15));
        let rejected = self.net.nodes[OBSERVER].rejected_routes();
        let router = self.id(ATTACKER);
        rejected.iter().find(|it| it.prefix == prefix && it.router == router).map(|it| it.reason)
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn container(owner: usize, holder: usize, index: u16, seq: u64) -> Delegation {
    let owner = identity(owner);
    let address = MeshPrefix::DEFAULT.container(owner.key(), index);
    let holder = *identity(holder).key();
    let expiry = UNIX_MS / 1000 + 86_400;
    Grant { owner: *owner.key(), index, address, holder, seq, expiry }.sign(&owner).unwrap()
}

fn address(delegation: &Delegation) -> Prefix {
    Prefix::host(delegation.grant().address.ip())
}

#[test]
fn without_an_attack_there_are_no_events_also_over_changes_restarts_and_leaving() {
    let mut scene = Scene::new();
    scene.net.set_cost(0, 0, 20);
    scene.net.run_for(Duration::from_secs(10));
    scene.net.restart(VICTIM);
    scene.net.run_for(Duration::from_secs(60));
    assert!(scene.net.is_settled(), "{}", scene.net.unsettled());
    scene.net.run_for(Duration::from_secs(7200));
    scene.net.with(ATTACKER, |ospf, now| ospf.shutdown(now));
    scene.net.run_for(Duration::from_secs(10));
    scene.assert_silent();
}

#[test]
fn hijack_of_the_address_of_a_node_is_refused_and_the_hijacker_named() {
    let mut scene = Scene::new();
    let victims = scene.net.prefix(VICTIM);
    assert_eq!(scene.announce(victims), Some(RouteReject::NotOwner));
    let event = scene.event(BYSTANDER, Cause::PrefixHijack).unwrap();
    assert_eq!((event.router, event.subject), (scene.id(ATTACKER), Subject::Prefix(victims)));
    assert_eq!(event.key, Some(*identity(ATTACKER).key()));
}

#[test]
fn hijack_of_a_default_route_an_aggregate_or_another_network_is_refused() {
    for (text, reason) in [
        ("::/0", RouteReject::OutsideMesh),
        ("fd00:6d6f:6c74::/48", RouteReject::OutsideMesh),
        ("2001:db8::/32", RouteReject::OutsideMesh),
        ("fd00:6d6f:6c74::/49", RouteReject::Aggregate),
        ("fd00:6d6f:6c74:1:2:3:8000:0/127", RouteReject::Aggregate),
        ("fd00:6d6f:6c74:1:2:3:9000:1/128", RouteReject::NoClass),
        ("fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268/128", RouteReject::NotAttested),
        ("fd00:6d6f:6c74::53/128", RouteReject::NotDelegated),
    ] {
        let mut scene = Scene::new();
        assert_eq!(scene.announce(prefix(text)), Some(reason), "{text}");
        let event = scene.event(OBSERVER, Cause::PrefixHijack).unwrap();
        assert_eq!((event.router, event.subject), (scene.id(ATTACKER), Subject::Prefix(prefix(text))));
    }
}

#[test]
fn hijack_of_a_container_is_refused_also_with_a_delegation_that_is_old_or_somebody_elses() {
    let mut scene = Scene::new();
    let delegation = container(VICTIM, VICTIM, 7, 2);
    let target = address(&delegation);
    let own = scene.net.prefix(VICTIM);
    scene.net.with(VICTIM, |ospf, now| {
        ospf.set_delegations(vec![delegation.clone()], now);
        ospf.set_prefixes(vec![own, target], now);
    });
    scene.net.run_for(Duration::from_secs(10));
    assert_eq!(scene.net.fib(OBSERVER)[&target], BTreeSet::from([link(2)]));
    scene.remember();
    // It was here once, and moved.
    let old = container(VICTIM, ATTACKER, 7, 1);
    for held in [vec![], vec![delegation], vec![container(ATTACKER, ATTACKER, 7, 9)], vec![old]] {
        scene.net.with(ATTACKER, |ospf, now| ospf.set_delegations(held, now));
        assert_eq!(scene.announce(target), Some(RouteReject::NotDelegated));
    }
    let event = scene.event(OBSERVER, Cause::PrefixHijack).unwrap();
    assert_eq!((event.router, event.subject), (scene.id(ATTACKER), Subject::Prefix(target)));
}

#[test]
fn a_container_follows_its_newest_delegation() {
    let mut scene = Scene::new();
    for (seq, holder) in [(1, BYSTANDER), (2, VICTIM), (3, BYSTANDER)] {
        let delegation = container(VICTIM, holder, 7, seq);
        let (own, target) = (scene.net.prefix(holder), address(&delegation));
        scene.net.with(holder, |ospf, now| {
            ospf.set_delegations(vec![delegation], now);
            ospf.set_prefixes(vec![own, target], now);
        });
        scene.net.run_for(Duration::from_secs(10));
        let way = if holder == VICTIM { link(2) } else { link(5) };
        assert_eq!(scene.net.fib(OBSERVER)[&target], BTreeSet::from([way]), "{seq}");
    }
}

/// One address at several nodes: its owner, whom the configuration names, and whom the owner lets.
#[test]
fn an_anycast_address_is_its_owners_and_whose_it_lets() {
    let mut scene = Scene::new();
    let target = prefix("fd00:6d6f:6c74::53/128");
    let (owner, holder) = (identity(ATTACKER), identity(BYSTANDER));
    let grant = Grant {
        owner: *owner.key(),
        index: 0,
        address: MeshAddr::new(target.addr()).unwrap(),
        holder: *holder.key(),
        seq: 1,
        expiry: UNIX_MS / 1000 + 86_400,
    };
    let delegation = grant.sign(&owner).unwrap();
    scene.net.with(BYSTANDER, |ospf, now| ospf.set_delegations(vec![delegation], now));
    for node in [ATTACKER, BYSTANDER] {
        let own = scene.net.prefix(node);
        scene.net.with(node, |ospf, now| ospf.set_prefixes(vec![own, target], now));
    }
    scene.net.run_for(Duration::from_secs(10));
    assert!(!scene.net.fib(OBSERVER).contains_key(&target));
    let right = Right { prefix: target, by: Announcer::Key(*owner.key()) };
    scene.net.with(OBSERVER, |ospf, now| ospf.set_rights(vec![right], now));
    scene.net.run_for(Duration::from_secs(2));
    assert_eq!(scene.net.fib(OBSERVER)[&target], BTreeSet::from([link(3), link(5)]));
    assert!(!scene.net.fib(VICTIM).contains_key(&target), "nobody vouched there");
}

#[test]
fn a_claimed_address_needs_an_entry_for_its_key() {
    let mut scene = Scene::new();
    let target = prefix("fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268/128");
    let own = scene.net.prefix(VICTIM);
    scene.net.with(VICTIM, |ospf, now| ospf.set_prefixes(vec![own, target], now));
    for (key, used) in [(ATTACKER, false), (VICTIM, true)] {
        let right = Right { prefix: target, by: Announcer::Key(*identity(key).key()) };
        scene.net.with(OBSERVER, |ospf, now| ospf.set_rights(vec![right], now));
        scene.net.run_for(Duration::from_secs(8));
        assert_eq!(scene.net.fib(OBSERVER).contains_key(&target), used);
    }
}

#[test]
fn a_forged_record_is_not_believed() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::AGENT_RECORD, VICTIM, 0);
    let genuine = scene.body(OBSERVER, key).to_vec();
    let mut tampered = genuine.clone();
    tampered[20] ^= 1;
    let attacker = identity(ATTACKER);
    let foreign = agent(&attacker, 0, u64::MAX).sign(&attacker).unwrap().bytes().to_vec();
    for body in [tampered, foreign, genuine[..100].to_vec(), Vec::new()] {
        let forged = scene.forged(key, body);
        scene.attack(vec![forged]);
        scene.assert_named(Cause::ForgedRecord, key.router, Subject::Lsa(key));
        scene.net.run_for(Duration::from_secs(20));
        assert_eq!(*scene.body(OBSERVER, key), *genuine, "its agent says it anew");
    }
    let event = scene.event(VICTIM, Cause::ForgedTopology).unwrap();
    assert_eq!(event.subject, Subject::Lsa(key), "the victim sees it, too");
}

#[test]
fn an_old_record_that_is_said_again_is_ignored() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::AGENT_RECORD, VICTIM, 0);
    let old = scene.body(OBSERVER, key).to_vec();
    let victim = identity(VICTIM);
    let newer = Agent7::next(&victim);
    scene.net.with(VICTIM, |ospf, now| ospf.set_record(newer.clone(), now));
    scene.net.run_for(Duration::from_secs(100));
    let forged = scene.forged(key, old);
    scene.attack(vec![forged]);
    scene.assert_named(Cause::ReplayedRecord, key.router, Subject::Lsa(key));
    let known = scene.net.nodes[OBSERVER].records().find(|(router, _)| *router == key.router).unwrap().1;
    assert_eq!(known, &newer);
}

/// A record with a number above that of the rig.
struct Agent7;

impl Agent7 {
    fn next(identity: &molt_mesh::Identity) -> molt_mesh::AgentRecord {
        agent(identity, 0, UNIX_MS + 3_600_000).sign(identity).unwrap()
    }
}

/// It says that it has another link, and is gone before the list arrives that signs this.
#[test]
fn what_a_router_may_have_said_before_it_died_accuses_nobody() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::ROUTER, VICTIM, 0);
    scene.net.down(0);
    scene.net.run_for(Duration::from_secs(1));
    let neighbor = scene.id(BYSTANDER);
    let kind = link_type::POINT_TO_POINT;
    let link = RouterLink { kind, metric: 1, interface: 9, neighbor_interface: 9, neighbor };
    let body = RouterLsa { bits: 0, options: options::ROUTER, links: vec![link] }.encode();
    let last = scene.forged(key, body);
    scene.net.inject(1, 0, PacketBody::Update(vec![last])).unwrap();
    scene.net.run_for(Duration::from_secs(20));
    scene.assert_silent();
    scene.net.up(0);
    scene.net.run_for(Duration::from_secs(10));
    assert!(scene.net.is_settled(), "{}", scene.net.unsettled());
}

#[test]
fn a_router_lsa_in_the_name_of_another_changes_nothing() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::ROUTER, VICTIM, 0);
    let to_attacker = RouterLink {
        kind: link_type::POINT_TO_POINT,
        metric: 1,
        interface: 9,
        neighbor_interface: 9,
        neighbor: scene.id(ATTACKER),
    };
    for links in [vec![], vec![to_attacker]] {
        let body = RouterLsa { bits: 0, options: options::ROUTER, links }.encode();
        let forged = scene.forged(key, body);
        scene.attack(vec![forged]);
        scene.assert_named(Cause::ForgedTopology, key.router, Subject::Lsa(key));
        let event = scene.event(VICTIM, Cause::ForgedTopology).unwrap();
        assert_eq!((event.subject, event.link), (Subject::Lsa(key), Some(link(1))));
        scene.watch(Duration::from_secs(20));
    }
    // Another fragment, which the victim never had.
    let fragment = LsaKey { id: 5, ..key };
    let forged = scene.forged(fragment, RouterLsa { bits: 0, options: 0, links: vec![to_attacker] }.encode());
    scene.attack(vec![forged]);
    scene.assert_named(Cause::ForgedTopology, key.router, Subject::Lsa(fragment));
}

#[test]
fn prefixes_in_the_name_of_another_are_not_used() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::INTRA_AREA_PREFIX, VICTIM, 0);
    let referenced = scene.key(LsType::ROUTER, VICTIM, 0);
    let body = IntraAreaPrefixLsa { referenced, prefixes: Vec::new() }.encode();
    let forged = scene.forged(key, body);
    scene.attack(vec![forged]);
    scene.assert_named(Cause::ForgedTopology, key.router, Subject::Lsa(key));
}

#[test]
fn flushing_the_lsas_of_another_changes_nothing() {
    let mut scene = Scene::new();
    let types = [LsType::ROUTER, LsType::INTRA_AREA_PREFIX, LsType::AGENT_RECORD, LsType::TOPOLOGY_SIGNATURE];
    let flushed = types.map(|ls_type| {
        let key = scene.key(ls_type, VICTIM, 0);
        let header = scene.net.header(OBSERVER, key).unwrap();
        Lsa::new(key, header.seq, MAX_AGE, scene.body(OBSERVER, key))
    });
    scene.attack(flushed.to_vec());
    let router = scene.id(VICTIM);
    let event = scene.event(OBSERVER, Cause::ForeignFlush).unwrap();
    assert_eq!((event.router, event.link), (router, Some(link(BEHIND))));
    assert_eq!(scene.event(VICTIM, Cause::ForeignFlush).unwrap().link, Some(link(1)));
    scene.watch(Duration::from_secs(20));
    assert!(types.iter().all(|ls_type| scene.net.header(OBSERVER, scene.key(*ls_type, VICTIM, 0)).is_some()));
}

#[test]
fn the_last_sequence_number_in_the_name_of_another_changes_nothing() {
    let mut scene = Scene::new();
    for ls_type in [LsType::ROUTER, LsType::TOPOLOGY_SIGNATURE, LsType::AGENT_RECORD] {
        let key = scene.key(ls_type, VICTIM, 0);
        let last = Lsa::new(key, MAX_SEQUENCE_NUMBER, 1, Arc::from(vec![0; 8]));
        scene.attack(vec![last]);
        scene.assert_named(Cause::SequenceAtMaximum, key.router, Subject::Lsa(key));
        scene.watch(Duration::from_secs(30));
        let seq = scene.net.header(OBSERVER, key).unwrap().seq;
        assert!(seq < INITIAL_SEQUENCE_NUMBER + 10, "{ls_type:?} began anew: {seq:#x}");
    }
}

/// The Router-LSA of yesterday with the signature of yesterday.
#[test]
fn an_old_topology_that_is_said_again_is_ignored() {
    let mut scene = Scene::new();
    let keys = [LsType::ROUTER, LsType::TOPOLOGY_SIGNATURE].map(|ls_type| scene.key(ls_type, VICTIM, 0));
    let old = keys.map(|key| scene.body(OBSERVER, key).to_vec());
    scene.net.set_cost(0, 0, 99);
    scene.net.run_for(Duration::from_secs(10));
    scene.remember();
    let forged = keys.iter().zip(old).map(|(key, body)| scene.forged(*key, body)).collect();
    scene.attack(forged);
    scene.assert_named(Cause::ReplayedTopology, keys[0].router, Subject::Lsa(keys[1]));
}

#[test]
fn a_list_signed_by_somebody_else_is_ignored() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::TOPOLOGY_SIGNATURE, VICTIM, 0);
    let empty = Topology { router: key.router, part: 0, counter: u64::MAX, covered: Vec::new() };
    let forged = scene.forged(key, empty.sign(&identity(ATTACKER)));
    scene.attack(vec![forged]);
    scene.assert_named(Cause::ForgedTopology, key.router, Subject::Lsa(key));
}

/// The flood is in the names of invented routers, and in that of the victim. A failure is still announced at once.
#[test]
fn a_flood_of_lsas_takes_its_share_and_no_more() {
    let mut scene = Scene::new();
    let mut flood = Vec::new();
    for number in 0..12_000 {
        let router = match number % 3 {
            0 => scene.id(VICTIM),
            1 => NOBODY,
            _ => RouterId(0x0b00_0000 + number),
        };
        let key = LsaKey { ls_type: LsType(0xbff5), router, id: 1_000 + number };
        flood.push(Lsa::new(key, 1, 1, Arc::from(vec![7; 100])));
    }
    for lsas in flood.chunks(400) {
        scene.net.inject(1, 0, PacketBody::Update(lsas.to_vec())).unwrap();
        scene.watch(50 * MS);
    }
    let stored = |scene: &Scene, node: usize| {
        scene.net.nodes[node]
            .database(scene.net.now)
            .lsas
            .iter()
            .filter(|it| it.header.key.id >= 1_000)
            .count()
    };
    assert!((1_000..9_000).contains(&stored(&scene, OBSERVER)), "{}", stored(&scene, OBSERVER));
    let event = scene.event(OBSERVER, Cause::LsaFlood).unwrap();
    assert_eq!(event.link, Some(link(BEHIND)));
    scene.watch(Duration::from_secs(10));
    // The victim loses its link.
    scene.net.bfd(0, BfdEvent::Up);
    scene.net.cut(0);
    scene.net.bfd(0, BfdEvent::Down);
    let gone = scene.net.prefix(VICTIM);
    let took = scene.net.run_while(Duration::from_secs(1), |net| !net.fib(BYSTANDER).contains_key(&gone));
    assert!(took <= 50 * MS, "{took:?}");
}

#[test]
fn truncated_prefixes_and_references_in_a_circle_are_not_used() {
    let mut scene = Scene::new();
    let key = |ls_type| LsaKey { ls_type, router: NOBODY, id: 0 };
    let referenced = scene.key(LsType::ROUTER, VICTIM, 0);
    let own = LsaPrefix::own(scene.net.prefix(VICTIM));
    let whole = IntraAreaPrefixLsa { referenced: key(LsType::ROUTER), prefixes: vec![own] }.encode();
    for cut in 0..whole.len() {
        let body = whole[..cut].to_vec();
        let lsa = scene.forged(key(LsType::INTRA_AREA_PREFIX), body);
        scene.net.inject(1, 0, PacketBody::Update(vec![lsa])).unwrap();
        scene.watch(1100 * MS);
    }
    scene.assert_named(Cause::MalformedLsa, NOBODY, Subject::Lsa(key(LsType::INTRA_AREA_PREFIX)));
    // Prefixes that hang on prefixes, on themselves, and on somebody else's router.
    for referenced in
        [key(LsType::INTRA_AREA_PREFIX), scene.key(LsType::INTRA_AREA_PREFIX, VICTIM, 0), referenced]
    {
        let body = IntraAreaPrefixLsa { referenced, prefixes: vec![own] }.encode();
        let lsa = scene.forged(key(LsType::INTRA_AREA_PREFIX), body);
        scene.attack(vec![lsa]);
    }
}

/// The attacker lists a router that nobody has a key for, which announces the address of the victim.
#[test]
fn an_invented_router_is_reached_and_announces_nothing() {
    let mut scene = Scene::new();
    let link_to = |neighbor| RouterLink {
        kind: link_type::POINT_TO_POINT,
        metric: 1,
        interface: 9,
        neighbor_interface: 9,
        neighbor,
    };
    let attacker = identity(ATTACKER);
    let router = RouterLsa { bits: 0, options: options::ROUTER, links: vec![link_to(scene.id(ATTACKER))] };
    let invented = LsaKey { ls_type: LsType::ROUTER, router: NOBODY, id: 0 };
    let prefixes =
        vec![LsaPrefix::own(scene.net.prefix(VICTIM)), LsaPrefix::own(prefix("fd00:6d6f:6c74::9/128"))];
    let announced = LsaKey { ls_type: LsType::INTRA_AREA_PREFIX, ..invented };
    // The attacker signs the link to its creature.
    let key = scene.key(LsType::ROUTER, ATTACKER, 0);
    let links = vec![
        RouterLink { neighbor_interface: 3, interface: 4, metric: 10, ..link_to(scene.id(OBSERVER)) },
        link_to(NOBODY),
    ];
    let body = RouterLsa { bits: 0, options: options::ROUTER, links }.encode();
    let list = Topology {
        router: key.router,
        part: 0,
        counter: UNIX_MS + 1_000_000,
        covered: vec![molt_mesh::record::Covered { ls_type: key.ls_type.0, id: 0, digest: digest(&body) }],
    };
    let signature = scene.key(LsType::TOPOLOGY_SIGNATURE, ATTACKER, 0);
    let lsas = vec![
        scene.forged(invented, router.encode()),
        scene.forged(announced, IntraAreaPrefixLsa { referenced: invented, prefixes }.encode()),
        scene.forged(key, body),
        scene.forged(signature, list.sign(&attacker)),
    ];
    scene.attack(lsas);
    let rejected = scene.net.nodes[OBSERVER].rejected_routes();
    let unsigned = rejected.iter().filter(|it| it.router == NOBODY && it.reason == RouteReject::Unsigned);
    assert_eq!(unsigned.count(), 2, "{rejected:?}");
    assert_eq!(scene.event(OBSERVER, Cause::PrefixHijack).unwrap().router, NOBODY);
    let claims = scene.net.nodes[OBSERVER].explain(scene.net.prefix(VICTIM).addr(), scene.net.now).claims;
    let verdicts: Vec<_> = claims.iter().map(|claim| (claim.router, claim.verdict)).collect();
    let victim = (scene.id(VICTIM), Verdict::Used);
    assert_eq!(verdicts, [victim, (NOBODY, Verdict::Rejected(RouteReject::Unsigned))]);
}

#[test]
fn a_stock_router_far_away_is_vouched_for_by_its_router_id() {
    let mut scene = Scene::new();
    let target = prefix("fd00:6d6f:6c74::9/128");
    let right = Right { prefix: target, by: Announcer::Router(scene.id(ATTACKER)) };
    // Whoever has a key needs no voucher, and gets none: the operator's word makes it a stock router.
    scene.net.with(OBSERVER, |ospf, now| ospf.set_rights(vec![right], now));
    let own = scene.net.prefix(ATTACKER);
    scene.net.with(ATTACKER, |ospf, now| ospf.set_prefixes(vec![own, target], now));
    scene.net.run_for(Duration::from_secs(8));
    let fib = scene.net.fib(OBSERVER);
    assert!(fib.contains_key(&target) && !fib.contains_key(&own));
}

/// ```text
/// 0 ===x=== 1 (stock)
///   \\     //
///      2
/// ```
#[test]
fn what_a_stock_neighbour_may_announce_it_may_when_only_others_hear_it_too() {
    let mut net = Net::with_configs(vec![member(0), config(1), member(2)], 0);
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        net.connect(a, b, 10);
    }
    let target = crate::rig::prefix(1);
    let stock = LinkConfig { stock: true, allow: vec![target], ..link_config(0, link(1), 10) };
    net.with(0, |ospf, now| ospf.update_link(stock, now));
    net.run_for(Duration::from_secs(20));
    assert_eq!(net.fib(0)[&target], [link(1)].into());
    net.bfd(0, BfdEvent::Up);
    net.cut(0);
    net.bfd(0, BfdEvent::Down);
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.fib(0)[&target], [link(3)].into());
    assert!(net.nodes[0].events().is_empty(), "{:?}", net.nodes[0].events());
    assert!(!net.fib(2).contains_key(&target), "nobody told 2 that it may");
}

#[test]
fn what_is_verified_outlives_its_lsa_by_max_age_and_no_longer() {
    let mut scene = Scene::new();
    let key = scene.key(LsType::ROUTER, VICTIM, 0);
    let header = scene.net.header(OBSERVER, key).unwrap();
    let flushed = Lsa::new(key, header.seq, MAX_AGE, scene.body(OBSERVER, key));
    // The victim does not hear of it, so it does not say it anew.
    scene.net.cut(0);
    let gone = scene.net.prefix(VICTIM);
    scene.net.inject(1, 0, PacketBody::Update(vec![flushed])).unwrap();
    // Until the dead interval the victim could still acknowledge.
    scene.net.run_for(Duration::from_secs(60));
    assert!(scene.net.header(OBSERVER, key).is_none());
    let claims = |scene: &Scene| scene.net.nodes[OBSERVER].explain(gone.addr(), scene.net.now).claims.len();
    assert_eq!(claims(&scene), 1);
    assert!(scene.net.nodes[OBSERVER].records().any(|(router, _)| router == key.router));
    // Its other LSAs die of age within an hour, and what was verified an hour later.
    scene.net.run_for(Duration::from_secs(3_700));
    assert!(scene.net.nodes[OBSERVER].records().any(|(router, _)| router == key.router));
    scene.net.run_for(Duration::from_secs(3_700));
    assert!(!scene.net.nodes[OBSERVER].records().any(|(router, _)| router == key.router));
    assert_eq!(claims(&scene), 0);
}

#[test]
fn whoever_leaves_is_forgotten_at_once() {
    let mut scene = Scene::new();
    let gone = scene.net.prefix(VICTIM);
    scene.net.with(VICTIM, |ospf, now| ospf.shutdown(now));
    scene.net.run_for(Duration::from_secs(3));
    for node in [OBSERVER, BYSTANDER] {
        assert!(!scene.net.fib(node).contains_key(&gone));
        assert!(scene.net.nodes[node].explain(gone.addr(), scene.net.now).claims.is_empty(), "node {node}");
        assert!(scene.net.area_lsas(node).keys().all(|key| key.router != scene.id(VICTIM)));
    }
    scene.assert_silent();
}

/// One packet carries the change and its proof; everybody follows as fast as without.
#[test]
fn a_list_travels_with_the_lsa_it_proves_and_is_not_signed_anew_by_a_refresh() {
    let mut scene = Scene::new();
    let keys = [LsType::ROUTER, LsType::TOPOLOGY_SIGNATURE].map(|ls_type| scene.key(ls_type, VICTIM, 0));
    let before = keys.map(|key| (scene.net.header(BYSTANDER, key).unwrap().seq, scene.body(BYSTANDER, key)));
    let since = scene.net.sent.len();
    scene.net.set_cost(0, 0, 33);
    let sent = scene.net.sent_since(since, VICTIM, link(1));
    let PacketBody::Update(lsas) = &sent[0].1 else { panic!("{sent:?}") };
    assert_eq!(lsas.iter().map(|lsa| lsa.header.key).collect::<Vec<_>>(), keys);
    scene.net.run_for(Duration::from_secs(1));
    let changed = keys.map(|key| scene.body(BYSTANDER, key));
    assert!(changed.iter().zip(&before).all(|(new, (_, old))| new != old));
    // Two refreshes.
    scene.net.run_for(Duration::from_secs(3_700));
    for ((key, body), (seq, _)) in keys.iter().zip(changed).zip(before) {
        assert!(scene.net.header(BYSTANDER, *key).unwrap().seq >= seq + 3);
        assert_eq!(scene.body(BYSTANDER, *key), body);
    }
}

#[test]
fn a_record_that_has_expired_by_more_than_a_day_gives_no_right() {
    let mut scene = Scene::new();
    let target = scene.net.prefix(VICTIM);
    let expiry = |scene: &Scene, ahead: i64| {
        let now = UNIX_MS / 1000 + scene.net.now.since_start().as_secs();
        now.saturating_add_signed(ahead)
    };
    let victim = identity(VICTIM);
    for (ahead, used, seq) in [(-86_000, true, 1), (-86_390, true, 2)] {
        let agent = molt_mesh::record::Agent {
            expiry: expiry(&scene, ahead),
            ..agent(&victim, 0, UNIX_MS + 10_000_000 + seq)
        };
        let record = agent.sign(&victim).unwrap();
        scene.net.with(VICTIM, |ospf, now| ospf.set_record(record, now));
        scene.net.run_for(Duration::from_secs(7));
        assert_eq!(scene.net.fib(OBSERVER).contains_key(&target), used, "{ahead}");
    }
    scene.net.run_for(Duration::from_secs(20));
    assert!(!scene.net.fib(OBSERVER).contains_key(&target));
    let event = scene.event(OBSERVER, Cause::RecordExpired).unwrap();
    assert_eq!(event.router, scene.id(VICTIM));
    // The clock of the observer was a day and more ahead.
    let now = scene.net.now;
    scene.net.with(OBSERVER, |ospf, _| ospf.set_clock(UNIX_MS - 86_400_000, now));
    scene.net.run_for(Duration::from_secs(2));
    assert!(scene.net.fib(OBSERVER).contains_key(&target));
}

/// After a restart the wall clock is an hour behind what it was: the others remember higher numbers.
#[test]
fn counters_step_over_what_comes_back_when_the_clock_was_set_back() {
    let mut configs: Vec<_> = (0..3).map(member).collect();
    configs[0].member.as_mut().unwrap().unix_ms += 3_600_000;
    let mut net = Net::with_configs(configs, 0);
    net.connect(0, 1, 10);
    net.connect(1, 2, 10);
    net.run_for(Duration::from_secs(30));
    assert!(net.is_settled(), "{}", net.unsettled());
    net.reconfigure(0, |config| config.member.as_mut().unwrap().unix_ms = UNIX_MS);
    net.restart(0);
    net.set_cost(0, 0, 77);
    net.run_for(Duration::from_secs(30));
    assert!(net.is_settled(), "{}", net.unsettled());
}

/// Draws of two identities that give the same router id.
fn clash(a: usize, b: usize) -> (u32, u32) {
    let (a, b) = (identity(a), identity(b));
    let drawn: BTreeMap<RouterId, u32> = (0..100_000).map(|draw| (a.router_id(draw), draw)).collect();
    (0..).find_map(|draw| Some((*drawn.get(&b.router_id(draw))?, draw))).unwrap()
}

/// Nodes 0 and `other` of a chain have one router id.
fn chain_with_clash(nodes: usize, other: usize) -> Net {
    let mut configs: Vec<_> = (0..nodes).map(member).collect();
    let (a, b) = clash(0, other);
    for (node, draw) in [(0, a), (other, b)] {
        configs[node].router_id = identity(node).router_id(draw);
        configs[node].member.as_mut().unwrap().draw = draw;
    }
    let mut net = Net::with_configs(configs, 0);
    for node in 1..nodes {
        net.connect(node - 1, node, 10);
    }
    net
}

fn moves(net: &Net) -> Vec<usize> {
    let moved = |event: &Output| matches!(event, Output::RouterIdChanged { .. });
    net.events.iter().filter(|(.., event)| moved(event)).map(|(_, node, _)| *node).collect()
}

#[test]
fn rfc_7503_section_7_a_clash_in_the_area_moves_the_key_with_the_higher_hash() {
    for nodes in [3, 5] {
        let mut net = chain_with_clash(nodes, nodes - 1);
        net.run_for(Duration::from_secs(90));
        assert!(net.is_settled(), "{nodes} nodes: {}", net.unsettled());
        let rank = |node: usize| molt_mesh::AgentRecord::rank(identity(node).key());
        let loser = if rank(0) > rank(nodes - 1) { 0 } else { nodes - 1 };
        assert_eq!(moves(&net), [loser], "once");
        let events = net.nodes[loser].events();
        assert!(events.iter().any(|event| event.cause == Cause::RouterIdClash), "{events:?}");
    }
}

#[test]
fn rfc_7503_section_7_a_clash_of_neighbours_moves_one_of_them() {
    let mut net = chain_with_clash(2, 1);
    net.run_for(Duration::from_secs(30));
    assert!(net.is_settled(), "{}", net.unsettled());
    assert_eq!(moves(&net), [1], "the one with the higher link-local address");
    net.restart(1);
    net.run_for(Duration::from_secs(30));
    assert_eq!(moves(&net), [1], "it stays over a restart");
}

/// The stock router cannot move.
#[test]
fn rfc_7503_section_7_a_stock_neighbour_keeps_its_router_id_and_moves_us_once() {
    let mut net = Net::members(2, 0);
    net.connect(0, 1, 10);
    net.run_for(Duration::from_secs(20));
    net.with(0, |ospf, now| {
        ospf.update_link(LinkConfig { stock: true, ..link_config(0, link(1), 10) }, now);
    });
    for _ in 0..5 {
        let router = net.nodes[0].router_id();
        let hello = net.sent.iter().rev().find_map(|(_, node, _, bytes)| {
            let packet = molt_routing::ospf::Packet::decode(&bytes[40..]).unwrap();
            (*node == 1 && matches!(packet.body, PacketBody::Hello(_))).then_some(packet.body)
        });
        let packet = molt_routing::ospf::Packet { router, area: 0, instance: 0, body: hello.unwrap() };
        let bytes = packet.encode(crate::rig::local(1), molt_mesh::ip6::ALL_SPF_ROUTERS);
        let _ = net.inject_bytes(0, link(1), crate::rig::local(1), &bytes);
        net.run_for(Duration::from_secs(10));
    }
    assert_eq!(moves(&net), [0]);
    let again = net.nodes[0].events();
    assert!(again.iter().any(|event| event.why.contains("ignored")), "{again:?}");
}
