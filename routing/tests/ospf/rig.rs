//! Routers in a box: virtual time, wires with delay, loss, duplication and reordering, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use molt_mesh::fib::Target;
use molt_mesh::ip6::{self, ALL_SPF_ROUTERS};
use molt_mesh::record::Agent;
use molt_mesh::sign::Strict;
use molt_mesh::{AgentRecord, Identity, LinkId, MeshPrefix, Prefix, RouterId, Seed, Time};
use molt_routing::ospf::lsa::{GraceLsa, Lsa, LsaHeader, LsaKey};
use molt_routing::ospf::origin::Member;
use molt_routing::ospf::packet::{Hello, PacketBody};
use molt_routing::ospf::{BfdEvent, Config, LinkConfig, Ospf, Output, Packet, Reject, RestartHelper, State};

pub(crate) fn link(id: usize) -> LinkId {
    LinkId::new(u32::try_from(id).unwrap()).unwrap()
}

pub(crate) fn router_id(node: usize) -> RouterId {
    RouterId(0x0a00_0001 + u32::try_from(node).unwrap())
}

pub(crate) fn local(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::try_from(node + 1).unwrap())
}

pub(crate) fn prefix(node: usize) -> Prefix {
    let low = u16::try_from(node + 1).unwrap();
    Prefix::host(Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0, 0, 0, 0x8000, low))
}

const HELLO: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(40);

pub(crate) fn config(node: usize) -> Config {
    Config {
        router_id: router_id(node),
        mesh: MeshPrefix::DEFAULT,
        prefixes: vec![prefix(node)],
        hostname: Some(format!("node{node}")),
        hello: HELLO,
        dead: DEAD,
        rxmt: Duration::from_secs(1),
        flood_reduction: true,
        restart_helper: RestartHelper::Strict,
        member: None,
        seed: node as u64,
    }
}

/// What a neighbour with our timers says.
pub(crate) fn hello(neighbors: Vec<RouterId>) -> Hello {
    Hello::point_to_point(2, (HELLO, DEAD), neighbors)
}

/// Milliseconds since 1970 when the rigs start.
pub(crate) const UNIX_MS: u64 = 1_800_000_000_000;

/// The keys of a member. They are numbered in ascending order of their router ids, as those of plain routers are.
pub(crate) fn identity(node: usize) -> Identity {
    static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
        let mut all: Vec<Identity> = (1..=40).map(|seed| Seed::from_bytes([seed; 32]).identity()).collect();
        all.sort_by_key(|identity| identity.router_id(0));
        all
    });
    IDENTITIES[node].clone()
}

/// A node that signs what it says.
pub(crate) fn member(node: usize) -> Config {
    member_of(MeshPrefix::DEFAULT, node)
}

/// The same in a mesh with a /48 of its own.
pub(crate) fn member_of(mesh: MeshPrefix, node: usize) -> Config {
    let identity = identity(node);
    Config {
        router_id: identity.router_id(0),
        mesh,
        prefixes: vec![Prefix::host(identity.address(mesh).ip())],
        member: Some(Member {
            identity,
            draw: 0,
            unix_ms: UNIX_MS,
            verifier: Arc::new(Strict),
            rights: Vec::new(),
        }),
        ..config(node)
    }
}

pub(crate) fn agent(identity: &Identity, draw: u32, seq: u64) -> Agent {
    Agent {
        key: *identity.key(),
        wireguard: *identity.node_public(),
        draw,
        addresses: vec![identity.address(MeshPrefix::DEFAULT)],
        name: None,
        endpoints: Vec::new(),
        services: Vec::new(),
        capabilities: Vec::new(),
        region: None,
        seq,
        expiry: UNIX_MS / 1000 + 30 * 86_400,
    }
}

pub(crate) fn link_config(node: usize, id: LinkId, cost: u16) -> LinkConfig {
    LinkConfig { link: id, cost, local: local(node), mtu: 1280, stock: false, allow: Vec::new() }
}

/// A wire between two nodes. Ends are (node, link).
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) ends: [(usize, LinkId); 2],
    pub(crate) costs: [u16; 2],
    pub(crate) delay: Duration,
    pub(crate) up: bool,
}

#[derive(Debug, Clone)]
struct Flying {
    node: usize,
    link: LinkId,
    packet: Vec<u8>,
}

pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Ospf>,
    pub(crate) wires: Vec<Wire>,
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    /// Added to the delay of a wire at random, so packets overtake each other.
    pub(crate) jitter: Duration,
    pub(crate) events: Vec<(Time, usize, Output)>,
    /// Packets on their way by time of arrival.
    flying: BTreeMap<(Time, u64), Flying>,
    /// Every packet sent: time, node, link, bytes.
    pub(crate) sent: Vec<(Time, usize, LinkId, Vec<u8>)>,
    next: u64,
    rng: fastrand::Rng,
    configs: Vec<Config>,
}

impl Net {
    pub(crate) fn new(nodes: usize, seed: u64) -> Self {
        let configs: Vec<Config> = (0..nodes).map(config).collect();
        Self::with_configs(configs, seed)
    }

    /// Members of the mesh.
    pub(crate) fn members(nodes: usize, seed: u64) -> Self {
        Self::with_configs((0..nodes).map(member).collect(), seed)
    }

    pub(crate) fn with_configs(configs: Vec<Config>, seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            nodes: configs.iter().map(|config| start(config, Time::ZERO)).collect(),
            wires: Vec::new(),
            loss: 0.0,
            duplication: 0.0,
            jitter: Duration::ZERO,
            events: Vec::new(),
            flying: BTreeMap::new(),
            sent: Vec::new(),
            next: 0,
            rng: fastrand::Rng::with_seed(seed),
            configs,
        }
    }

    /// Two nodes and a wire of 1 ms.
    pub(crate) fn pair() -> Self {
        let mut net = Self::new(2, 0);
        net.connect(0, 1, 10);
        net
    }

    /// A chain of `nodes`.
    pub(crate) fn chain(nodes: usize) -> Self {
        let mut net = Self::new(nodes, 0);
        for node in 1..nodes {
            net.connect(node - 1, node, 10);
        }
        net
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize, cost: u16) -> usize {
        let id = self.wires.len();
        // Both ends get different ids, so that nothing can mix them up.
        let ends = [(a, link(2 * id + 1)), (b, link(2 * id + 2))];
        for (node, id) in ends {
            self.nodes[node].add_link(link_config(node, id, cost), self.now);
        }
        self.wires.push(Wire { ends, costs: [cost; 2], delay: Duration::from_millis(1), up: false });
        self.up(id);
        id
    }

    pub(crate) fn up(&mut self, wire: usize) {
        self.wires[wire].up = true;
        for (node, id) in self.wires[wire].ends {
            self.nodes[node].handle_link_up(id, self.now);
            self.drain(node);
        }
    }

    /// Both tunnels notice.
    pub(crate) fn down(&mut self, wire: usize) {
        self.wires[wire].up = false;
        for (node, id) in self.wires[wire].ends {
            self.nodes[node].handle_link_down(id, self.now);
            self.drain(node);
        }
    }

    /// Nobody notices. What is on the wire is lost.
    pub(crate) fn cut(&mut self, wire: usize) {
        self.wires[wire].up = false;
        let ends = self.wires[wire].ends;
        self.flying.retain(|_, flying| !ends.contains(&(flying.node, flying.link)));
    }

    pub(crate) fn bfd(&mut self, wire: usize, event: BfdEvent) {
        for (node, id) in self.wires[wire].ends {
            self.nodes[node].handle_bfd(id, event, self.now);
            self.drain(node);
        }
    }

    pub(crate) fn set_cost(&mut self, wire: usize, end: usize, cost: u16) {
        self.wires[wire].costs[end] = cost;
        let (node, id) = self.wires[wire].ends[end];
        self.nodes[node].update_link(link_config(node, id, cost), self.now);
        self.drain(node);
    }

    /// The process is killed and started again; the tunnels stay.
    pub(crate) fn restart(&mut self, node: usize) {
        let ospf = start(&self.configs[node], self.now);
        self.replace(node, ospf);
    }

    /// The same, and the new process asks for time.
    pub(crate) fn restart_gracefully(&mut self, node: usize, config: Config, grace: GraceLsa) {
        let ospf = Ospf::new_restarting(config, grace, self.now);
        self.replace(node, ospf);
    }

    fn replace(&mut self, node: usize, ospf: Ospf) {
        self.nodes[node] = ospf;
        for wire in self.wires.clone() {
            for (end, (at, id)) in wire.ends.into_iter().enumerate().filter(|(_, (at, _))| *at == node) {
                self.nodes[at].add_link(link_config(at, id, wire.costs[end]), self.now);
                if wire.up {
                    self.nodes[at].handle_link_up(id, self.now);
                }
            }
        }
        self.drain(node);
    }

    /// What a node will be restarted with.
    pub(crate) fn reconfigure(&mut self, node: usize, change: impl FnOnce(&mut Config)) {
        change(&mut self.configs[node]);
    }

    /// What an LSA says, byte for byte: as the last Link State Update had it that its node sent.
    pub(crate) fn body(&self, node: usize, key: LsaKey) -> Option<Arc<[u8]>> {
        let header = self.header(node, key)?;
        self.sent.iter().rev().find_map(|(_, _, _, bytes)| {
            let Ok(Packet { body: PacketBody::Update(lsas), .. }) = Packet::decode(&bytes[40..]) else {
                return None;
            };
            let same = |lsa: &&Lsa| (lsa.header.key, lsa.header.seq) == (key, header.seq);
            lsas.iter().find(same).map(|lsa| Arc::clone(lsa.body()))
        })
    }

    /// The address of a node.
    pub(crate) fn prefix(&self, node: usize) -> Prefix {
        self.configs[node].prefixes[0]
    }

    /// Calls into one node at the present time and takes what comes out.
    pub(crate) fn with<T>(&mut self, node: usize, act: impl FnOnce(&mut Ospf, Time) -> T) -> T {
        let result = act(&mut self.nodes[node], self.now);
        self.drain(node);
        result
    }

    /// The node at end `end` of a wire receives `body` as if its neighbour had sent it.
    pub(crate) fn inject(&mut self, wire: usize, end: usize, body: PacketBody) -> Result<(), Reject> {
        let (node, link) = self.wires[wire].ends[end];
        let (neighbor, _) = self.wires[wire].ends[1 - end];
        let router = self.configs.get(neighbor).map_or(router_id(neighbor), |config| config.router_id);
        let packet = Packet { router, area: 0, instance: 0, body };
        let bytes = packet.encode(local(neighbor), ALL_SPF_ROUTERS);
        self.inject_bytes(node, link, local(neighbor), &bytes)
    }

    pub(crate) fn inject_bytes(
        &mut self,
        node: usize,
        link: LinkId,
        src: Ipv6Addr,
        bytes: &[u8],
    ) -> Result<(), Reject> {
        self.with(node, |ospf, now| ospf.handle_packet(link, src, ALL_SPF_ROUTERS, 1, bytes, now))
    }

    /// What a node sent on a link since `since`, at which times.
    pub(crate) fn sent_since(&self, since: usize, node: usize, link: LinkId) -> Vec<(Time, PacketBody)> {
        let sent = self.sent[since..].iter().filter(|(_, from, on, _)| (*from, *on) == (node, link));
        sent.map(|(at, _, _, bytes)| (*at, Packet::decode(&bytes[40..]).unwrap().body)).collect()
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            if let Output::Transmit { link, packet, .. } = output {
                self.sent.push((self.now, node, link, packet.clone()));
                self.carry(node, link, packet);
            } else if let Output::RouterIdChanged { router_id, draw } = output {
                // As the control plane does.
                self.events.push((self.now, node, output));
                self.configs[node].router_id = router_id;
                let mesh = self.configs[node].mesh;
                let member = self.configs[node].member.as_mut().unwrap();
                member.draw = draw;
                let record = record(mesh, member, self.now, 0);
                self.nodes[node].set_record(record, self.now);
            } else if let Output::RecordOutdated { seq } = output {
                let Config { mesh, member, .. } = &self.configs[node];
                let record = record(*mesh, member.as_ref().unwrap(), self.now, seq);
                self.nodes[node].set_record(record, self.now);
            } else {
                self.events.push((self.now, node, output));
            }
        }
    }

    fn carry(&mut self, node: usize, link: LinkId, packet: Vec<u8>) {
        let Some(wire) = self.wires.iter().find(|wire| wire.up && wire.ends.contains(&(node, link))) else {
            return;
        };
        let [a, b] = wire.ends;
        let (to, to_link) = if a == (node, link) { b } else { a };
        let delay = wire.delay;
        let copies = 1 + usize::from(self.rng.f64() < self.duplication);
        for _ in 0..copies {
            if self.rng.f64() < self.loss {
                continue;
            }
            let at = self.now + delay + self.jitter.mul_f64(self.rng.f64());
            self.next += 1;
            let flying = Flying { node: to, link: to_link, packet: packet.clone() };
            self.flying.insert((at, self.next), flying);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let nodes = self.nodes.iter().filter_map(|node| node.poll_timeout().map(|(at, _)| at));
        nodes.chain(self.flying.first_key_value().map(|((at, _), _)| *at)).min()
    }

    pub(crate) fn run_until(&mut self, end: Time) {
        let mut idle = 0;
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            idle = if next > self.now { 0 } else { idle + 1 };
            let why: Vec<_> = self.nodes.iter().filter_map(Ospf::poll_timeout).collect();
            assert!(idle < 100_000, "time stands still at {}: {why:?}", self.now);
            self.now = self.now.max(next);
            let due: Vec<_> = self.flying.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
            for key in due {
                let flying = self.flying.remove(&key).unwrap();
                self.deliver(flying.node, flying.link, &flying.packet);
            }
            for node in 0..self.nodes.len() {
                if self.nodes[node].poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.nodes[node].handle_timeout(self.now);
                    self.drain(node);
                    let (at, what) = self.nodes[node].poll_timeout().unwrap_or((Time::MAX, ""));
                    assert!(
                        at > self.now,
                        "node {node} at {}: still due after its timeout: {what}",
                        self.now
                    );
                }
            }
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs until `done` holds; panics after `limit`. Returns how long it took.
    pub(crate) fn run_while(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(self.now < start + limit, "not done after {limit:?}");
            let next = self.next_deadline().unwrap_or(Time::MAX).min(start + limit);
            self.run_until(next.max(self.now));
        }
        self.now.since(start)
    }

    fn deliver(&mut self, node: usize, link: LinkId, packet: &[u8]) {
        let view = ip6::Packet::new(packet).unwrap();
        assert_eq!(view.next_header(), 89);
        let result = self.nodes[node].handle_packet(
            link,
            view.src(),
            view.dst(),
            view.hop_limit(),
            view.payload(),
            self.now,
        );
        let _ = result;
        self.drain(node);
    }

    pub(crate) fn state(&self, node: usize, id: LinkId) -> State {
        let neighbors = self.nodes[node].neighbors(self.now);
        neighbors.iter().find(|neighbor| neighbor.link == id).map_or(State::Down, |neighbor| neighbor.state)
    }

    pub(crate) fn wire_is_full(&self, wire: usize) -> bool {
        self.wires[wire].ends.iter().all(|(node, id)| self.state(*node, *id) == State::Full)
    }

    pub(crate) fn all_full(&self) -> bool {
        (0..self.wires.len()).all(|wire| !self.wires[wire].up || self.wire_is_full(wire))
    }

    /// Adjacencies are full, nothing waits to be sent or acknowledged, databases are equal and routes are the oracle's.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// The same but for routes, for meshes in which the oracle knows no limits.
    pub(crate) fn is_settled_but_for_routes(&self) -> bool {
        self.unsettled().lines().all(|line| line.starts_with("routes"))
    }

    /// What is missing to that, in words.
    pub(crate) fn unsettled(&self) -> String {
        let neighbors = self.nodes.iter().flat_map(|node| node.neighbors(self.now));
        let busy: Vec<_> = neighbors
            .filter(|neighbor| {
                neighbor.retransmissions + neighbor.requests + neighbor.summary > 0
                    || neighbor.state != State::Full
            })
            .collect();
        let mut missing = String::new();
        if !self.all_full() || !busy.is_empty() {
            missing += &format!("neighbours: {busy:#?}\n");
        }
        for node in 1..self.nodes.len() {
            let (first, other) = (self.area_lsas(0), self.area_lsas(node));
            for key in first.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
                if first.get(key) != other.get(key) {
                    let (a, b) = (first.get(key), other.get(key));
                    missing += &format!("{key:?}: {a:?} at node 0, {b:?} at node {node}\n");
                }
            }
        }
        let prefixes: Vec<Prefix> = (0..self.nodes.len()).map(|node| self.prefix(node)).collect();
        for (node, expected) in oracle(&prefixes, &self.wires).iter().enumerate() {
            if self.fib(node) != *expected {
                missing += &format!("routes of {node}: {:?}, expected {expected:?}\n", self.fib(node));
            }
        }
        missing
    }

    pub(crate) fn area_lsas(&self, node: usize) -> BTreeMap<LsaKey, (i32, u16)> {
        let lsas = self.nodes[node].database(self.now).lsas;
        lsas.iter()
            .filter(|lsa| lsa.link.is_none())
            .map(|lsa| (lsa.header.key, (lsa.header.seq, lsa.header.checksum)))
            .collect()
    }

    pub(crate) fn header(&self, node: usize, key: LsaKey) -> Option<LsaHeader> {
        let lsas = self.nodes[node].database(self.now).lsas;
        lsas.iter().find(|lsa| lsa.header.key == key).map(|lsa| lsa.header)
    }

    pub(crate) fn fib(&self, node: usize) -> BTreeMap<Prefix, BTreeSet<LinkId>> {
        let routes = self.nodes[node].fib().routes();
        let links = |target: Target<'_>| match target {
            Target::Local => BTreeSet::new(),
            Target::Via(links) => links.iter().copied().collect(),
        };
        routes.into_iter().map(|(prefix, target)| (prefix, links(target))).collect()
    }
}

fn start(config: &Config, now: Time) -> Ospf {
    let mut ospf = Ospf::new(config.clone(), now);
    if let Some(member) = &config.member {
        ospf.set_record(record(config.mesh, member, now, 0), now);
    }
    ospf
}

/// A record with a number above `seq`.
fn record(mesh: MeshPrefix, member: &Member, now: Time, seq: u64) -> AgentRecord {
    let Member { identity, draw, unix_ms, .. } = member;
    let clock = unix_ms + u64::try_from(now.since_start().as_millis()).unwrap();
    let agent = agent(identity, *draw, clock.max(seq + 1));
    Agent { addresses: vec![identity.address(mesh)], ..agent }.sign(identity).unwrap()
}

/// Obviously right: all distances by relaxing until nothing changes, then every first link that is on a shortest path.
pub(crate) fn oracle(prefixes: &[Prefix], wires: &[Wire]) -> Vec<BTreeMap<Prefix, BTreeSet<LinkId>>> {
    let nodes = prefixes.len();
    let mut arcs = Vec::new();
    for wire in wires.iter().filter(|wire| wire.up) {
        let [(a, link_a), (b, link_b)] = wire.ends;
        arcs.push((a, b, u64::from(wire.costs[0]), link_a));
        arcs.push((b, a, u64::from(wire.costs[1]), link_b));
    }
    let far = u64::MAX / 4;
    let mut distance = vec![vec![far; nodes]; nodes];
    for (node, row) in distance.iter_mut().enumerate() {
        row[node] = 0;
    }
    for _ in 0..nodes {
        for from in &mut distance {
            for (a, b, cost, _) in &arcs {
                from[*b] = from[*b].min(from[*a] + cost);
            }
        }
    }
    (0..nodes)
        .map(|from| {
            let mut routes = BTreeMap::from([(prefixes[from], BTreeSet::new())]);
            for to in (0..nodes).filter(|to| *to != from && distance[from][*to] < far) {
                let first = arcs
                    .iter()
                    .filter(|(a, b, cost, _)| *a == from && cost + distance[*b][to] == distance[from][to])
                    .map(|(.., link)| *link);
                routes.insert(prefixes[to], first.collect());
            }
            routes
        })
        .collect()
}
