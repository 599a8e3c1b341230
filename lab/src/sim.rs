//! Whole meshes in one process and in virtual time.
//!
//! The nodes are the production nodes ([`meshd::node::Node`]: packet core, BFD, OSPFv3); only encryption is replaced
//! ([`engine`]), because boringtun reads the clock by itself. Links delay, lose, reorder and duplicate datagrams, and
//! can be cut without a word to either end. One seed drives everything, so a failure replays.

pub mod engine;
mod ledger;
mod memo;
mod oracle;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use meshd::config;
use meshd::control::{Control, ControlConfig, Notice, PeerConfig};
use meshd::node::Node;
use molt_mesh::ip6::Header;
use molt_mesh::{Identity, LinkId, Prefix, Seed, Target, Time};
use molt_routing::ospf::origin::{Announcer, Right};
use molt_tun::output::Output;
use molt_tun::{Dataplane, NodeConfig};

use crate::topology::Topology;
use engine::PlainEngine;
use ledger::{DATA_PORT, Ledger, data_number};
use memo::Memo;

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
    pub const FAIR: Self = Self { delay_us: 500..2_000, loss: 0.0, duplicates: 0.0, late: 0.0 };
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
}

impl Default for Options {
    fn default() -> Self {
        Self { bfd: true, costs: Vec::new(), shared: Vec::new(), thieves: Vec::new() }
    }
}

/// The time of day at which every simulation starts: some day in 2027.
const UNIX_MS: u64 = 1_800_000_000_000;

/// A link of the topology, by its position there.
pub type Edge = usize;

/// What is to happen, and when. The number keeps things that happen at the same time in order.
type Appointment = Reverse<(Time, u64, Happening)>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// A datagram arrives.
    Arrival { from: usize, to: usize, datagram: Vec<u8> },
    /// A node wanted to be woken.
    Alarm { node: usize },
}

struct Member {
    identity: Identity,
    node: Node<PlainEngine>,
    alive: bool,
    /// The alarm that counts; earlier appointments of the node are stale.
    alarm: Option<Time>,
    /// How often it was started.
    lives: u64,
}

/// A mesh.
pub struct Sim {
    topology: Topology,
    options: Options,
    seed: u64,
    rng: fastrand::Rng,
    /// Checks each signature once for all nodes.
    verifier: Arc<Memo>,
    now: Time,
    members: Vec<Member>,
    by_pair: BTreeMap<(usize, usize), Edge>,
    cut: BTreeSet<Edge>,
    weather: Weather,
    agenda: BinaryHeap<Appointment>,
    appointments: u64,
    /// Lent to the node that acts; there is only one, because it is large.
    out: Option<Output>,
    /// What became of the data packets.
    ledger: Ledger,
    /// Datagrams that links carried, and their bytes.
    carried: (u64, u64),
    /// When a forwarding table changed last.
    rerouted: Time,
}

impl Sim {
    /// Starts all nodes of `topology` at the same moment.
    #[must_use]
    pub fn new(topology: Topology, options: Options, seed: u64) -> Self {
        let mut sim = Self {
            by_pair: topology.links.iter().enumerate().map(|(edge, pair)| (*pair, edge)).collect(),
            rng: fastrand::Rng::with_seed(seed),
            verifier: Arc::default(),
            now: Time::ZERO,
            members: Vec::new(),
            cut: BTreeSet::new(),
            weather: Weather::FAIR,
            agenda: BinaryHeap::new(),
            appointments: 0,
            out: Some(Output::new(false)),
            ledger: Ledger::default(),
            carried: (0, 0),
            rerouted: Time::ZERO,
            topology,
            options,
            seed,
        };
        for node in 0..sim.topology.nodes {
            let member = sim.member(node, 0);
            sim.members.push(member);
        }
        for node in 0..sim.topology.nodes {
            sim.join(node);
        }
        sim
    }

    /// The moment.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A node.
    #[must_use]
    pub fn node(&self, node: usize) -> &Node<PlainEngine> {
        &self.members[node].node
    }

    /// The address of a node.
    #[must_use]
    pub fn address(&self, node: usize) -> Ipv6Addr {
        self.members[node].identity.address().ip()
    }

    /// Datagrams that links carried, and their bytes.
    #[must_use]
    pub const fn carried(&self) -> (u64, u64) {
        self.carried
    }

    /// When the forwarding table of some node changed last.
    #[must_use]
    pub const fn rerouted(&self) -> Time {
        self.rerouted
    }

    /// How many nodes there are, dead or alive.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.members.len()
    }

    /// Whether a node is running.
    #[must_use]
    pub fn is_alive(&self, node: usize) -> bool {
        self.members[node].alive
    }

    /// Changes how all links treat datagrams from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Lets a link lose everything, silently.
    pub fn cut(&mut self, edge: Edge) {
        self.cut.insert(edge);
    }

    /// Ends a cut.
    pub fn heal(&mut self, edge: Edge) {
        self.cut.remove(&edge);
    }

    /// Ends all cuts.
    pub fn heal_all(&mut self) {
        self.cut.clear();
    }

    /// The link between two nodes.
    #[must_use]
    pub fn edge(&self, a: usize, b: usize) -> Option<Edge> {
        self.by_pair.get(&(a.min(b), a.max(b))).copied()
    }

    /// Stops a node without a word, as `kill -9` does.
    pub fn kill(&mut self, node: usize) {
        self.members[node].alive = false;
        self.members[node].alarm = None;
    }

    /// Starts a killed node again: the same key, and nothing else kept.
    pub fn restart(&mut self, node: usize) {
        let lives = self.members[node].lives + 1;
        self.members[node] = self.member(node, lives);
        self.join(node);
    }

    /// Tells a node to leave.
    pub fn shutdown(&mut self, node: usize) {
        let now = self.now;
        self.members[node].node.control.shutdown(now);
        self.with(node, None, |node, now, out| node.exchange(now, out));
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
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `reached`, which is looked at after each thing that happens, and says how long it took.
    pub fn run_until(&mut self, limit: Duration, mut reached: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        let end = start + limit;
        loop {
            if reached(self) {
                return Some(self.now - start);
            }
            if !self.step(end) {
                self.now = end;
                return None;
            }
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

    fn member(&self, node: usize, lives: u64) -> Member {
        let identity = self.identity(node);
        let seed = self.seed ^ (node as u64) << 32 ^ lives << 56;
        let shared = self.options.shared.iter().filter(|(of, _)| *of == node).map(|(_, address)| *address);
        let addresses: Vec<Ipv6Addr> = std::iter::once(identity.address().ip()).chain(shared).collect();
        let link_local = identity.link_local();
        let data = Dataplane::new(
            PlainEngine { me: *identity.node_public() },
            NodeConfig { addresses: addresses.clone(), link_local, seed },
        );
        let others = (0..self.topology.nodes).filter(|_| self.options.thieves.contains(&node));
        let stolen =
            others.map(|other| self.identity(other).address().ip()).filter(|it| !addresses.contains(it));
        let addresses = addresses.iter().copied().chain(stolen).collect();
        let control = Control::new(
            ControlConfig {
                identity: identity.clone(),
                draw: 0,
                unix_ms: UNIX_MS,
                verifier: Arc::clone(&self.verifier) as _,
                rights: self.shared_rights(),
                addresses,
                link_local,
                name: Some(format!("n{node}")),
                ospf: config::Ospf::default(),
                bfd: config::Bfd { enabled: self.options.bfd, ..config::Bfd::default() }.session(),
                external: Vec::new(),
                bgp: None,
                seed: seed.wrapping_mul(31),
            },
            self.now,
        );
        Member { identity, node: Node::new(data, control), alive: true, alarm: None, lives }
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
        let now = self.now;
        self.members[node].node.control.set_peers(peers, now);
        self.with(node, None, |node, now, out| node.exchange(now, out));
    }

    fn cost(&self, edge: Edge) -> u16 {
        self.options.costs.get(edge).copied().unwrap_or(10)
    }

    /// The next thing that happens before `end`, if any.
    fn step(&mut self, end: Time) -> bool {
        while let Some(Reverse((at, _, _))) = self.agenda.peek() {
            if *at > end {
                return false;
            }
            let Some(Reverse((at, _, happening))) = self.agenda.pop() else { return false };
            match happening {
                Happening::Alarm { node } => {
                    if self.members[node].alarm != Some(at) {
                        continue;
                    }
                    self.now = at;
                    self.members[node].alarm = None;
                    self.with(node, None, |node, now, out| node.handle_timeout(now, out));
                }
                Happening::Arrival { from, to, mut datagram } => {
                    self.now = at;
                    let data = engine::plaintext(&datagram).and_then(data_number);
                    if self.members[to].alive {
                        self.ledger.arrive(data);
                        self.with(to, data, |node, now, out| {
                            node.handle_datagram(underlay(from), &mut datagram, now, out);
                        });
                    } else {
                        self.ledger.arrive(data);
                        self.ledger.lose(data);
                    }
                }
            }
            self.ledger.balance(self.now);
            return true;
        }
        false
    }

    /// Lets a node do something, and takes what comes of it. `data` is the data packet it is given.
    fn with(
        &mut self,
        node: usize,
        data: Option<usize>,
        act: impl FnOnce(&mut Node<PlainEngine>, Time, &mut Output),
    ) {
        let Some(mut out) = self.out.take() else { return };
        let discarded = self.members[node].node.data.counters().total();
        let before = Arc::as_ptr(self.members[node].node.data.fib());
        act(&mut self.members[node].node, self.now, &mut out);
        if Arc::as_ptr(self.members[node].node.data.fib()) != before {
            self.rerouted = self.now;
        }
        let discards = self.members[node].node.data.counters().total() - discarded;
        self.ledger.account(self.now, node, data, discards, &out);
        for transmit in out.udp.transmits() {
            let Some(to) = number(transmit.to) else { continue };
            for datagram in transmit.datagrams() {
                self.carry(node, to, datagram);
            }
        }
        out.clear();
        self.out = Some(out);
        while let Some(notice) = self.members[node].node.poll_notice() {
            if matches!(notice, Notice::ShutdownComplete) {
                self.kill(node);
                return;
            }
        }
        self.set_alarm(node);
    }

    fn set_alarm(&mut self, node: usize) {
        let member = &mut self.members[node];
        let Some((at, _)) = member.node.poll_timeout().filter(|_| member.alive) else { return };
        let at = at.max(self.now);
        if member.alarm.is_none_or(|alarm| alarm != at) {
            member.alarm = Some(at);
            self.appoint(at, Happening::Alarm { node });
        }
    }

    fn appoint(&mut self, at: Time, happening: Happening) {
        self.appointments += 1;
        self.agenda.push(Reverse((at, self.appointments, happening)));
    }

    fn carry(&mut self, from: usize, to: usize, datagram: &[u8]) {
        self.carried.0 += 1;
        self.carried.1 += datagram.len() as u64;
        let data = engine::plaintext(datagram).and_then(data_number);
        let edge = self.edge(from, to);
        if edge.is_none_or(|edge| self.cut.contains(&edge)) || self.rng.f64() < self.weather.loss {
            self.ledger.lose(data);
            return;
        }
        let copies = if self.rng.f64() < self.weather.duplicates { 2 } else { 1 };
        self.ledger.carry(data, copies);
        for _ in 0..copies {
            let mut delay = Duration::from_micros(self.rng.u64(self.weather.delay_us.clone()));
            if self.rng.f64() < self.weather.late {
                delay += LATE;
            }
            let arrival = Happening::Arrival { from, to, datagram: datagram.to_vec() };
            self.appoint(self.now + delay, arrival);
        }
    }
}

/// The underlay address of a node. The simulator has no other.
fn underlay(node: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + node as u32), 51820))
}

fn number(addr: SocketAddr) -> Option<usize> {
    match addr {
        SocketAddr::V4(v4) => Some((v4.ip().to_bits() - 0x0a00_0000) as usize),
        SocketAddr::V6(_) => None,
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
