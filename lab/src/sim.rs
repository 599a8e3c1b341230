//! Whole meshes in one process and in virtual time.
//!
//! The nodes are the production nodes ([`meshd::node::Node`]: packet core, BFD, OSPFv3); only encryption is replaced
//! ([`engine`]), because boringtun reads the clock by itself. Links delay, lose, reorder and duplicate datagrams, and
//! can be cut without a word to either end. One seed drives everything, so a failure replays.
//!
//! Every node has a database of the whole area, so the memory of a mesh grows with the square of its size. Of a larger area
//! than fits, [`Sim::in_area`] runs a part as production nodes; the other routers are *recorded*: there is nothing of them but
//! what they say, through two of them, the *gateways* ([`gateway`]).

pub mod engine;
pub mod gateway;
mod ledger;
mod memo;
mod oracle;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use meshd::config;
use meshd::control::{Control, ControlConfig, PeerConfig};
use meshd::node::Node;
use molt_mesh::ip6::Header;
use molt_mesh::{Identity, LinkId, MeshPrefix, Prefix, RouterId, Seed, Target, Time};
use molt_routing::ospf::origin::{Announcer, Right};
use molt_tun::output::Output;
use molt_tun::{Dataplane, NodeConfig};

use crate::area::Area;
use crate::script::Order;
use crate::topology::Topology;
use engine::PlainEngine;
use gateway::{GATEWAYS, Gateway};
use ledger::{DATA_PORT, Ledger};
use memo::Memo;
use window::{Actor, Air, Member, Worker, underlay};

/// How links treat datagrams.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// Microseconds from end to end, drawn for each datagram.
    pub delay_us: Range<u64>,
    /// Share of datagrams lost.
    pub loss: f64,
    /// Share of datagrams that arrive twice.
    pub duplicates: f64,
    /// Share of datagrams that take [`LATE`] longer, and so arrive after later ones.
    pub late: f64,
}

/// How much later than others a reordered datagram arrives.
pub const LATE: Duration = Duration::from_millis(20);

impl Weather {
    /// A millisecond or two, and nothing goes wrong.
    pub const FAIR: Self = Self { delay_us: 1_000..2_000, loss: 0.0, duplicates: 0.0, late: 0.0 };
    /// 5 % loss, 1 % duplicates, 5 % reordering.
    pub const FOUL: Self = Self { delay_us: 500..5_000, loss: 0.05, duplicates: 0.01, late: 0.05 };
}

/// How nodes are configured.
#[derive(Debug, Clone)]
pub struct Options {
    /// BFD, or nothing but Hellos.
    pub bfd: bool,
    /// Cost of each link by its position in the topology; 10 beyond the end.
    pub costs: Vec<u16>,
    /// Addresses that nodes have beside their own; one may be that of several.
    pub shared: Vec<(usize, Ipv6Addr)>,
    /// Nodes that announce the address of every node as theirs.
    pub thieves: Vec<usize>,
    /// Whether nodes flood less in dense parts of the mesh.
    pub flood_reduction: bool,
    /// In which order the gateways describe what is recorded.
    pub described: Order,
}

/// What all nodes did, in all their lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// OSPF packets sent.
    pub packets: u64,
    /// Instances of own LSAs.
    pub lsas_originated: u64,
    /// LSAs received.
    pub lsas_received: u64,
    /// Those that were there already.
    pub lsas_redundant: u64,
    /// Calculations of the routing table.
    pub spf_runs: u64,
}

impl Totals {
    /// What was added to `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets - before.packets,
            lsas_originated: self.lsas_originated - before.lsas_originated,
            lsas_received: self.lsas_received - before.lsas_received,
            lsas_redundant: self.lsas_redundant - before.lsas_redundant,
            spf_runs: self.spf_runs - before.spf_runs,
        }
    }

    fn add(&mut self, node: &Node<PlainEngine>) {
        let counters = node.control.ospf().counters();
        self.packets += counters.sent;
        self.lsas_originated += counters.lsas_originated;
        self.lsas_received += counters.lsas_received;
        self.lsas_redundant += counters.lsas_redundant;
        self.spf_runs += counters.spf_runs;
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bfd: true,
            costs: Vec::new(),
            shared: Vec::new(),
            thieves: Vec::new(),
            flood_reduction: true,
            described: Order::default(),
        }
    }
}

/// Links between the gateways and the live mesh, each from another node.
pub const BORDERS: usize = 4;

/// The time of day at which every simulation starts: some day in 2027.
const UNIX_MS: u64 = 1_800_000_000_000;

/// A link of the topology, by its position there.
pub type Edge = usize;

/// A mesh.
pub struct Sim {
    /// Live nodes first, then the gateways, then the other recorded routers.
    topology: Topology,
    /// How many are live.
    live: usize,
    options: Options,
    seed: u64,
    /// Checks each signature once for all nodes.
    verifier: Arc<Memo>,
    now: Time,
    /// The live nodes, and the gateways if there are any.
    members: Vec<Member>,
    /// Recorded routers that do not run.
    dead: BTreeSet<usize>,
    /// Recorded routers that were started again since time last passed.
    reborn: BTreeSet<usize>,
    /// Whether something happened to recorded routers or links since then.
    recorded_changed: bool,
    air: Air,
    /// One for each processor.
    workers: Vec<Worker>,
    /// What became of the data packets.
    ledger: Ledger,
    /// What was done in lives that are over.
    buried: Totals,
}

impl Sim {
    /// Starts all nodes of `topology` at the same moment.
    #[must_use]
    pub fn new(topology: Topology, options: Options, seed: u64) -> Self {
        let live = topology.nodes;
        let mut sim = Self::empty(topology, live, options, seed);
        sim.start(None);
        sim
    }

    /// Starts `live` nodes in an area of `routers`. Both the live part and the recorded one are random graphs of `degree`,
    /// joined by [`BORDERS`] links of the gateways.
    #[must_use]
    pub fn in_area(routers: usize, live: usize, degree: usize, options: Options, seed: u64) -> Self {
        let recorded = Topology::random(routers - live, degree, seed ^ 1);
        let links = Topology::random(live, degree, seed).links.into_iter();
        let links = links.chain(recorded.links.iter().map(|(a, b)| (live + a, live + b)));
        let borders = (0..BORDERS).map(|border| (border * live / BORDERS, live + border % GATEWAYS));
        let topology = Topology::new(routers, links.chain(borders));
        let mut sim = Self::empty(topology, live, options, seed);
        let mut identities: Vec<Identity> = (live..routers).map(|router| sim.identity(router)).collect();
        // Of two that meet the one with the higher id leads, which is not for a script.
        identities.sort_by_cached_key(|identity| identity.router_id(0));
        sim.start(Some(Area::signed(&recorded, identities, UNIX_MS)));
        sim
    }

    fn empty(topology: Topology, live: usize, options: Options, seed: u64) -> Self {
        Self {
            air: Air::new(&topology),
            verifier: Arc::default(),
            now: Time::ZERO,
            members: Vec::new(),
            dead: BTreeSet::new(),
            reborn: BTreeSet::new(),
            recorded_changed: false,
            workers: window::workers(live),
            ledger: Ledger::default(),
            buried: Totals::default(),
            topology,
            live,
            options,
            seed,
        }
    }

    fn start(&mut self, recorded: Option<Area>) {
        for node in 0..self.live {
            let actor = Actor::Node(Box::new(self.build(node, 0, 0)));
            self.members.push(Member::new(self.identity(node), actor, self.fate(node)));
        }
        for me in 0..recorded.as_ref().map_or(0, |_| GATEWAYS) {
            self.members.extend(recorded.as_ref().map(|area| self.gateway(me, area.clone())));
            self.with_actor(self.live + me, None, |actor, now, out| actor.gateway_mut().exchange(now, out));
        }
        for node in 0..self.live {
            self.join(node);
        }
    }

    fn gateway(&self, me: usize, area: Area) -> Member {
        let number = self.live + me;
        let identity = area.identity(me).expect("it signs").clone();
        let is_border = |(a, b): &&(usize, usize)| *b == number && *a < self.live;
        let far = self.topology.links.iter().filter(is_border).map(|(node, _)| *node);
        let far = far.map(|node| (*self.members[node].identity.node_public(), underlay(node))).collect();
        let gateway =
            Gateway::new(me, area, self.options.described, far, self.seed ^ (number as u64) << 32, self.now);
        Member::new(identity, Actor::Gateway(Box::new(gateway)), self.fate(number))
    }

    fn fate(&self, node: usize) -> u64 {
        self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ node as u64
    }

    /// The moment.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: usize) -> &Node<PlainEngine> {
        self.members[node].node()
    }

    /// The address of a node or a recorded router.
    #[must_use]
    pub fn address(&self, node: usize) -> Ipv6Addr {
        match self.members.last().and_then(Member::gateway) {
            Some(gateway) if node >= self.live => gateway.address(node - self.live),
            _ => self.members[node].identity.address(MeshPrefix::DEFAULT).ip(),
        }
    }

    /// Datagrams that links carried, and their bytes.
    #[must_use]
    pub fn carried(&self) -> (u64, u64) {
        let carried = self.workers.iter().map(|worker| worker.carried);
        carried.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// When the forwarding table of some node changed last.
    #[must_use]
    pub fn rerouted(&self) -> Time {
        self.workers.iter().map(|worker| worker.rerouted).max().unwrap_or(Time::ZERO)
    }

    /// How many nodes there are, dead or alive. Recorded routers are none.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.live
    }

    /// Who is joined to whom: the nodes, then the gateways and the other recorded routers.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Whether a node, or a recorded router, is running.
    #[must_use]
    pub fn is_alive(&self, node: usize) -> bool {
        self.members.get(node).map_or_else(|| !self.dead.contains(&node), |member| member.alive)
    }

    /// Changes how all links treat datagrams from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.air.weather = weather;
    }

    /// Lets a link lose everything, silently.
    pub fn cut(&mut self, edge: Edge) {
        self.air.cut.insert(edge);
        self.recorded_changed = true;
    }

    /// Ends a cut.
    pub fn heal(&mut self, edge: Edge) {
        self.air.cut.remove(&edge);
        self.recorded_changed = true;
    }

    /// Ends all cuts.
    pub fn heal_all(&mut self) {
        self.air.cut.clear();
        self.recorded_changed = true;
    }

    /// The link between two nodes.
    #[must_use]
    pub fn edge(&self, a: usize, b: usize) -> Option<Edge> {
        self.air.edge(a, b)
    }

    /// Stops a node without a word, as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        match self.members.get_mut(node) {
            Some(member) => member.kill(),
            None => {
                self.dead.insert(node);
                self.recorded_changed = true;
            }
        }
    }

    /// Starts a killed node again: the same key, the Router ID it drew last, and nothing else kept.
    pub fn restart(&mut self, node: usize) {
        if node >= self.members.len() {
            self.dead.remove(&node);
            self.reborn.insert(node - self.live);
            self.recorded_changed = true;
            return;
        }
        self.buried.add(self.members[node].node());
        let Member { lives, draw, .. } = self.members[node];
        let reborn = self.build(node, lives + 1, draw);
        self.members[node].begin_again(reborn);
        self.join(node);
    }

    /// Starts two killed nodes again, and both have drawn the same Router ID.
    pub fn restart_as_twins(&mut self, one: usize, other: usize) -> RouterId {
        let (a, b) = (self.identity(one), self.identity(other));
        // Each draw of the other one is among these with a chance of 2^-15.
        let drawn: HashMap<RouterId, u32> = (0..1 << 17).map(|draw| (a.router_id(draw), draw)).collect();
        let twin = (0..u32::MAX).find_map(|draw| Some((*drawn.get(&b.router_id(draw))?, draw)));
        let (draw_one, draw_other) = twin.expect("it draws 2^32 times");
        self.members[one].draw = draw_one;
        self.members[other].draw = draw_other;
        self.restart(one);
        self.restart(other);
        a.router_id(draw_one)
    }

    /// What all nodes did, in all their lives.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.buried;
        self.members[..self.live].iter().for_each(|member| totals.add(member.node()));
        totals
    }

    /// Tells a node to leave.
    pub fn shutdown(&mut self, node: usize) {
        self.with(node, None, |node, now, out| {
            node.control.shutdown(now);
            node.exchange(now, out);
        });
    }

    /// The neighbours through which a node reaches an address, ascending; none if it is its own or unknown.
    #[must_use]
    pub fn next_hops(&self, node: usize, address: Ipv6Addr) -> Vec<usize> {
        let node = self.node(node);
        let Some(Target::Via(links)) = node.data.fib().lookup(address) else { return Vec::new() };
        let key = |link: &LinkId| node.control.peers().get(link).map(|peer| peer.config.key);
        let far = |key| self.members.iter().position(|member| *member.identity.node_public() == key);
        let mut hops: Vec<usize> = links.iter().filter_map(key).filter_map(far).collect();
        hops.sort_unstable();
        hops
    }

    /// Sends a data packet from the host of one node to that of another; returns its number.
    pub fn send(&mut self, from: usize, to: usize) -> usize {
        let (src, dst) = (self.address(from), self.address(to));
        let number = self.ledger.send(to);
        let header = Header { src, dst, hop_limit: 64, traffic_class: 0 };
        let mut packet = header.udp(DATA_PORT, DATA_PORT, &(number as u64).to_be_bytes());
        self.with(from, Some(number), |node, now, out| node.handle_packet(&mut packet, now, out));
        self.ledger.balance(self.now);
        number
    }

    /// Whether a data packet arrived.
    #[must_use]
    pub fn arrived(&self, number: usize) -> bool {
        self.ledger.arrived(number)
    }

    /// How often a data packet came to a node a second time. Routers that learn of a change one after the other may disagree
    /// for a moment about the way.
    #[must_use]
    pub const fn loops(&self) -> u64 {
        self.ledger.loops()
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.tell_gateways();
        window::pass(&mut self.members, &mut self.workers, &self.air, &mut self.ledger, end);
        self.now = end;
    }

    /// Lets time pass until `reached`, which is looked at after each moment in which something happens, and says how long
    /// it took.
    pub fn run_until(&mut self, limit: Duration, mut reached: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        let end = start + limit;
        loop {
            if reached(self) {
                return Some(self.now - start);
            }
            let Some(next) = window::next_of(&self.members).filter(|next| *next <= end) else {
                self.now = end;
                return None;
            };
            self.run_for(next - self.now);
        }
    }

    /// What must hold at every moment, and is looked at after each thing that happens: a data packet reaches only its
    /// destination, and once at most; a node that is given one passes it on once with a hop less, delivers it, or counts
    /// why not; and so all that were sent are delivered, discarded and counted, lost by a link, or on their way.
    ///
    /// # Errors
    /// The first thing that did not hold.
    pub fn check_always(&self) -> Result<(), String> {
        self.ledger.check()
    }

    /// What must hold once nothing changes any more: every database of a part of the mesh is equal, every forwarding
    /// table is that of a naive Dijkstra on the true graph, nothing waits for an acknowledgement.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn check_at_rest(&self) -> Result<(), String> {
        self.check_always()?;
        oracle::check(self)
    }

    /// What every operator vouches for: who may announce the shared addresses.
    fn shared_rights(&self) -> Vec<Right> {
        let right = |(node, address): &(usize, Ipv6Addr)| Right {
            prefix: Prefix::host(*address),
            by: Announcer::Key(*self.identity(*node).key()),
        };
        self.options.shared.iter().map(right).collect()
    }

    fn identity(&self, node: usize) -> Identity {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(node as u64 + 1).to_le_bytes());
        key[8..16].copy_from_slice(&self.seed.to_le_bytes());
        Seed::from_bytes(key).identity()
    }

    fn build(&self, node: usize, lives: u64, draw: u32) -> Node<PlainEngine> {
        let identity = self.identity(node);
        let seed = self.seed ^ (node as u64) << 32 ^ lives << 56;
        let shared = self.options.shared.iter().filter(|(of, _)| *of == node).map(|(_, address)| *address);
        let addresses: Vec<Ipv6Addr> =
            std::iter::once(identity.address(MeshPrefix::DEFAULT).ip()).chain(shared).collect();
        let link_local = identity.link_local();
        let data = Dataplane::new(
            PlainEngine { me: *identity.node_public() },
            NodeConfig { mesh: MeshPrefix::DEFAULT, addresses: addresses.clone(), link_local, seed },
        );
        let others = (0..self.topology.nodes).filter(|_| self.options.thieves.contains(&node));
        let stolen = others
            .map(|other| self.identity(other).address(MeshPrefix::DEFAULT).ip())
            .filter(|it| !addresses.contains(it));
        let addresses = addresses.iter().copied().chain(stolen).collect();
        let control = Control::new(
            ControlConfig {
                mesh: MeshPrefix::DEFAULT,
                identity: identity.clone(),
                draw,
                unix_ms: UNIX_MS,
                verifier: Arc::clone(&self.verifier) as _,
                rights: self.shared_rights(),
                addresses,
                link_local,
                name: Some(format!("n{node}")),
                ospf: config::Ospf {
                    flood_reduction: self.options.flood_reduction,
                    ..config::Ospf::default()
                },
                bfd: config::Bfd { enabled: self.options.bfd, ..config::Bfd::default() }.session(),
                external: Vec::new(),
                delegations: Vec::new(),
                bgp: None,
                seed: seed.wrapping_mul(31),
                handover: None,
            },
            self.now,
        );
        Node::new(data, control)
    }

    /// Gives a node its neighbours.
    fn join(&mut self, node: usize) {
        let peer = |(edge, (a, b)): (usize, &(usize, usize))| {
            let far = if *a == node { *b } else { *a };
            (*a == node || *b == node).then(|| PeerConfig {
                key: *self.members[far].identity.node_public(),
                preshared: None,
                endpoint: Some(underlay(far)),
                cost: Some(self.cost(edge)),
                stock: None,
                border: None,
            })
        };
        let peers = self.topology.links.iter().enumerate().filter_map(peer).collect();
        self.with(node, None, |node, now, out| {
            node.control.set_peers(peers, now);
            node.exchange(now, out);
        });
    }

    fn cost(&self, edge: Edge) -> u16 {
        self.options.costs.get(edge).copied().unwrap_or(10)
    }

    /// Tells the gateways what became of the recorded routers.
    fn tell_gateways(&mut self) {
        if !std::mem::take(&mut self.recorded_changed) || self.members.len() == self.live {
            return;
        }
        let live = self.live;
        let recorded = |node: usize| node.checked_sub(live);
        let links = self.topology.links.iter().enumerate().filter_map(|(edge, (a, b))| {
            let works = self.is_alive(*a) && self.is_alive(*b) && !self.air.cut.contains(&edge);
            Some(((recorded(*a)?, recorded(*b)?), works))
        });
        let failed = links.filter(|(_, works)| !works).map(|(link, _)| link).collect();
        let dead = self.dead.iter().copied().filter_map(recorded).collect();
        let reborn = std::mem::take(&mut self.reborn);
        for gateway in live..self.members.len() {
            self.with_actor(gateway, None, |actor, now, _| {
                actor.gateway_mut().happened(&failed, &dead, &reborn, now);
            });
        }
    }

    /// Lets a node do something now. `data` is the data packet it is given.
    fn with(
        &mut self,
        node: usize,
        data: Option<usize>,
        act: impl FnOnce(&mut Node<PlainEngine>, Time, &mut Output),
    ) {
        self.with_actor(node, data, |actor, now, out| act(actor.node_mut(), now, out));
    }

    fn with_actor(
        &mut self,
        node: usize,
        data: Option<usize>,
        act: impl FnOnce(&mut Actor, Time, &mut Output),
    ) {
        let now = self.now;
        let Some(worker) = self.workers.first_mut() else { return };
        let act = |actor: &mut Actor, out: &mut Output| act(actor, now, out);
        worker.act(&mut self.members[node], node, data, &self.air, Some(&mut self.ledger), now, act);
        worker.hand_out(&mut self.members, &mut self.ledger);
    }
}

/// The seeds a test runs: the one in `LAB_SEED`, else all of `range`.
#[must_use]
pub fn seeds(range: Range<u64>) -> Vec<u64> {
    match std::env::var("LAB_SEED") {
        Ok(seed) => vec![seed.parse().expect("LAB_SEED is a number")],
        Err(_) => range.collect(),
    }
}
