//! One OSPFv3 router in a large area: `cargo run --release -p molt-lab --bin routing`.
//!
//! ```text
//! routing [--json] [--rounds N] [--beside] [SIZE ...]
//! ```
//!
//! The area is a random graph of degree 8; each router says a Router-LSA and one /128. The measured router is node 0, and
//! its neighbours are played by a script that speaks to it in packets, so every figure includes decoding, checksums, the
//! database and flooding as they are in production. With `--beside`, as root, FRR and BIRD get the same area: see [`beside`].
#![expect(unsafe_code, reason = "a global allocator is unsafe by its interface")]

mod beside;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use molt_lab::mesh::Role;
use molt_lab::topology::Topology;
use molt_mesh::ip6::{self, ALL_SPF_ROUTERS};
use molt_mesh::{LinkId, MeshPrefix, Prefix, RouterId, Target, Time};
use molt_routing::ospf::consts::{description, link_type, options};
use molt_routing::ospf::lsa::{
    IntraAreaPrefixLsa, LsType, Lsa, LsaHeader, LsaKey, LsaPrefix, RouterLink, RouterLsa,
};
use molt_routing::ospf::packet::{Description, Hello, PacketBody};
use molt_routing::ospf::view::SpfTrigger;
use molt_routing::ospf::{Config, LinkConfig, Ospf, Output, Packet, RestartHelper, State};
use serde_json::{Value, json};

const DEGREE: usize = 8;
const COST: u16 = 10;
/// What a packet of 1280 bytes holds: LSA headers in a description, keys in a request, bytes of LSAs in an update.
const HEADERS: usize = 60;
const KEYS: usize = 102;
const ROOM: usize = 1280 - 40 - 16 - 4;
/// After so much quiet the next event is calculated at once (RFC 8405).
const QUIET: Duration = Duration::from_secs(3);

/// Bytes that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to `System` as it came, so its guarantees are `System`'s. An atomic counter neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `System`, because all blocks do, and the layout is the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `System`, because all blocks do; layout and size are the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Measures one OSPFv3 router in areas of growing size
#[derive(Parser)]
#[command(name = "routing", max_term_width = 110)]
struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Changes of each kind
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// Measure FRR and BIRD in the same areas too; needs root and what lab/install-packages installs
    #[arg(long)]
    beside: bool,
    /// Routers in the area; 100, 1000 and 10000 unless given
    #[arg(value_name = "SIZE")]
    sizes: Vec<usize>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("routing: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let sizes = if options.sizes.is_empty() { vec![100, 1_000, 10_000] } else { options.sizes.clone() };
    let mut tables: Vec<(&str, Vec<Column>)> = Vec::new();
    let progress = |who: &str, routers| eprintln!("routing: {who}, {routers} routers");
    let mut ours = Vec::new();
    for &routers in &sizes {
        progress("molt", routers);
        ours.push((routers, column(routers, options.rounds)?));
    }
    tables.push(("molt", ours));
    let daemons: &[(&str, Role)] =
        if options.beside { &[("FRR", Role::Frr), ("BIRD", Role::Bird)] } else { &[] };
    for &(name, role) in daemons {
        let mut theirs = Vec::new();
        for &routers in &sizes {
            progress(name, routers);
            let (mut area, mut bench) = settled(routers)?.1;
            theirs.push((routers, beside::column(role, &mut bench, &mut area, options.rounds.min(20))?));
        }
        tables.push((name, theirs));
    }
    if options.json {
        let measurements: Vec<Value> = tables
            .iter()
            .flat_map(|(name, columns)| columns.iter().map(move |column| (name, column)))
            .map(|(name, (routers, figures))| {
                let figures: BTreeMap<&str, f64> = figures.iter().map(|(n, _, v)| (*n, *v)).collect();
                json!({ "router": name, "routers": routers, "figures": figures })
            })
            .collect();
        println!("{}", json!({ "version": 2, "measurements": measurements }));
        return Ok(());
    }
    for (name, columns) in &tables {
        print_table(name, columns);
    }
    Ok(())
}

fn print_table(name: &str, columns: &[Column]) {
    print!("{:56}", format!("{name}: routers"));
    columns.iter().for_each(|(routers, _)| print!("{routers:>12}"));
    println!();
    let rows = columns.first().map_or(0, |(_, figures)| figures.len());
    for row in 0..rows {
        for (at, (_, figures)) in columns.iter().enumerate() {
            let Some((name, unit, value)) = figures.get(row) else { continue };
            if at == 0 {
                print!("{:56}", format!("{name}, {unit}"));
            }
            print!("{value:>12.2}");
        }
        println!();
    }
}

type Figure = (&'static str, &'static str, f64);
/// What was measured in an area of so many routers.
type Column = (usize, Vec<Figure>);

/// A router that has taken in the whole of an area, and how long it was busy with that.
fn settled(routers: usize) -> Result<(Duration, (Area, Bench))> {
    let mut area = Area::random(routers);
    let mut bench = Bench::new(&area);
    // All LSAs come from the first neighbour; the others find nothing to ask for.
    bench.neighbors[0].offers = area.lsas();
    let taken_in = bench.connect(0)?;
    bench.neighbors[0].offers = Vec::new();
    for neighbor in 1..bench.neighbors.len() {
        bench.connect(neighbor)?;
    }
    bench.run_for(QUIET);
    ensure!(bench.ospf.fib().len() == routers, "{} routes to {routers} routers", bench.ospf.fib().len());
    Ok((taken_in, (area, bench)))
}

/// All figures of one size.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn column(routers: usize, rounds: usize) -> Result<Vec<Figure>> {
    let mut rng = fastrand::Rng::with_seed(routers as u64);
    let mut figures = Vec::new();
    let (taken_in, (mut area, mut bench)) = settled(routers)?;
    figures.push(("take in the database, CPU", "ms", ms(taken_in)));

    let mut full = Vec::new();
    let mut link = bench.link_config(0);
    for round in 0..rounds {
        link.cost = if round % 2 == 0 { 1 } else { COST };
        bench.ospf.update_link(link.clone(), bench.now);
        full.push(bench.calculation()?.0);
    }
    percentiles("full run, an own link's cost", &mut full, &mut figures);

    // Costs and prefixes alternate between two values, so the area is in the end what it was.
    let mut far = Vec::new();
    let (mut router, mut at) = (0, 0);
    for round in 0..rounds {
        if round % 2 == 0 {
            (router, at) = pick_far_link(&mut rng, &area);
        }
        area.links[router][at].1 = if round % 2 == 0 { 2 * COST } else { COST };
        let lsa = area.router_lsa(router);
        bench.say(lsa)?;
        far.push(bench.calculation()?.0);
    }
    percentiles("full run, a far link's cost", &mut far, &mut figures);

    let (mut prefix, mut receipt) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            router = rng.usize(1..routers);
            area.prefixes[router].push(random_host(&mut rng));
        } else {
            area.prefixes[router].pop();
        }
        let lsa = area.prefix_lsa(router);
        receipt.push(bench.say(lsa)?);
        let (took, trigger) = bench.calculation()?;
        ensure!(matches!(trigger, SpfTrigger::Lsa(_)), "{trigger:?}");
        prefix.push(took);
    }
    percentiles("run for one prefix that comes or goes", &mut prefix, &mut figures);
    percentiles("receive and flood its LSA", &mut receipt, &mut figures);

    let hand_over = {
        let last = bench.neighbors.len();
        bench.add_neighbor(RouterId(0x7f00_0000), 1);
        bench.neighbors[last].hungry = true;
        let took = bench.connect(last)?;
        let received = bench.neighbors[last].received;
        ensure!(received >= 2 * routers, "{received} LSAs were handed over");
        took
    };
    figures.push(("hand the database to a new neighbour, CPU", "ms", ms(hand_over)));

    let mut lookups = Vec::new();
    let fib = Arc::clone(bench.ospf.fib());
    let hosts: Vec<Ipv6Addr> = area.prefixes.iter().flatten().map(Prefix::addr).collect();
    let picks: Vec<Ipv6Addr> =
        std::iter::repeat_with(|| hosts[rng.usize(..hosts.len())]).take(100_000).collect();
    for _ in 0..21 {
        let start = Instant::now();
        let found = picks.iter().filter(|addr| matches!(fib.lookup(**addr), Some(Target::Via(_)))).count();
        lookups.push(start.elapsed() / 100_000);
        black_box(found);
    }
    lookups.sort_unstable();
    figures.push(("look up an address", "ns", lookups[lookups.len() / 2].as_nanos() as f64));
    drop(fib);

    let before = LIVE.load(Ordering::Relaxed);
    drop(bench.ospf);
    let bytes = before - LIVE.load(Ordering::Relaxed);
    figures.push(("memory of the router", "MB", bytes as f64 / 1e6));
    figures.push(("memory for each router of the area", "bytes", bytes as f64 / routers as f64));
    Ok(figures)
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn percentiles(name: &'static str, times: &mut [Duration], figures: &mut Vec<Figure>) {
    times.sort_unstable();
    let at =
        |share: usize| times.get((times.len() - 1) * share / 100).map_or(0.0, |it| it.as_secs_f64() * 1e6);
    figures.push((name, "us median", at(50)));
    figures.push((name, "us p99", at(99)));
}

/// A router other than the measured one, and one of its links.
fn pick_far_link(rng: &mut fastrand::Rng, area: &Area) -> (usize, usize) {
    let router = rng.usize(1..area.links.len());
    (router, rng.usize(..area.links[router].len()))
}

fn random_host(rng: &mut fastrand::Rng) -> Prefix {
    Prefix::host(Ipv6Addr::from_bits(MeshPrefix::DEFAULT.prefix().addr().to_bits() | rng.u128(..) >> 48))
}

/// What the routers of the area say.
struct Area {
    /// Neighbour and cost for each link of each router.
    links: Vec<Vec<(usize, u16)>>,
    prefixes: Vec<Vec<Prefix>>,
    seq: i32,
}

impl Area {
    fn random(routers: usize) -> Self {
        let topology = Topology::random(routers, DEGREE, 1);
        let mut rng = fastrand::Rng::with_seed(2);
        let mut links = vec![Vec::new(); routers];
        for (a, b) in topology.links {
            links[a].push((b, COST));
            links[b].push((a, COST));
        }
        Self { links, prefixes: (0..routers).map(|_| vec![random_host(&mut rng)]).collect(), seq: 1 }
    }

    /// Node 0 has the highest id, and so is the master of every exchange.
    fn router_id(router: usize) -> RouterId {
        RouterId(if router == 0 { u32::MAX } else { router as u32 })
    }

    fn lsas(&mut self) -> Vec<Lsa> {
        let routers = 1..self.links.len();
        routers.flat_map(|router| [self.router_lsa(router), self.prefix_lsa(router)]).collect()
    }

    fn router_lsa(&mut self, router: usize) -> Lsa {
        let links = (1..).zip(&self.links[router]).map(|(interface, (to, metric))| RouterLink {
            kind: link_type::POINT_TO_POINT,
            metric: *metric,
            interface,
            neighbor_interface: self.interface(*to, router),
            neighbor: Self::router_id(*to),
        });
        let body = RouterLsa { bits: 0, options: options::ROUTER, links: links.collect() }.encode();
        self.lsa(LsType::ROUTER, router, body)
    }

    /// Interface ID of the link from one router to another. FRR and BIRD look whether both ends say the same.
    fn interface(&self, from: usize, to: usize) -> u32 {
        let links = self.links.get(from).map_or(&[][..], Vec::as_slice);
        links.iter().zip(1..).find(|((far, _), _)| *far == to).map_or(1, |(_, interface)| interface)
    }

    fn prefix_lsa(&mut self, router: usize) -> Lsa {
        let referenced = LsaKey { ls_type: LsType::ROUTER, router: Self::router_id(router), id: 0 };
        let prefixes = self.prefixes[router].iter().map(|prefix| LsaPrefix::own(*prefix)).collect();
        let body = IntraAreaPrefixLsa { referenced, prefixes }.encode();
        self.lsa(LsType::INTRA_AREA_PREFIX, router, body)
    }

    fn lsa(&mut self, ls_type: LsType, router: usize, body: Vec<u8>) -> Lsa {
        self.seq += 1;
        Lsa::new(LsaKey { ls_type, router: Self::router_id(router), id: 0 }, self.seq, 1, body.into())
    }
}

/// A neighbour that follows a script.
struct Neighbor {
    router: RouterId,
    link: LinkId,
    /// Its Interface ID.
    interface: u32,
    local: Ipv6Addr,
    /// What it describes in the exchange.
    offers: Vec<Lsa>,
    described: usize,
    /// Whether it asks for everything the router has.
    hungry: bool,
    wanted: VecDeque<LsaKey>,
    /// The part of the last request that has not arrived.
    asked: BTreeSet<LsaKey>,
    received: usize,
}

impl Neighbor {
    /// What it says to a packet.
    fn answer(&mut self, me: RouterId, body: PacketBody) -> Vec<PacketBody> {
        match body {
            PacketBody::Hello(_) => vec![self.hello(me)],
            PacketBody::Description(received) => {
                if self.hungry {
                    self.wanted.extend(received.headers.iter().map(|header| header.key));
                }
                let next = self.offers.get(self.described..).unwrap_or_default();
                let headers: Vec<LsaHeader> = next.iter().take(HEADERS).map(|lsa| lsa.header).collect();
                self.described += headers.len();
                let flags = if self.described < self.offers.len() { description::M } else { 0 };
                let answer =
                    Description { options: options::ROUTER, mtu: 1280, flags, seq: received.seq, headers };
                let mut answers = vec![PacketBody::Description(answer)];
                if received.flags & description::M == 0 && flags == 0 {
                    answers.extend(self.ask());
                }
                answers
            }
            PacketBody::Request(keys) => self.updates(&keys),
            PacketBody::Update(lsas) => {
                self.received += lsas.len();
                let was_asking = !self.asked.is_empty();
                lsas.iter().for_each(|lsa| {
                    self.asked.remove(&lsa.header.key);
                });
                let mut answers = vec![PacketBody::Ack(lsas.iter().map(|lsa| lsa.header).collect())];
                // The next request follows the last LSA of the one before.
                if was_asking && self.asked.is_empty() {
                    answers.extend(self.ask());
                }
                answers
            }
            PacketBody::Ack(_) => Vec::new(),
        }
    }

    fn hello(&self, me: RouterId) -> PacketBody {
        PacketBody::Hello(Hello {
            interface: self.interface,
            priority: 1,
            options: options::ROUTER,
            hello_interval: 10,
            dead_interval: 40,
            designated: RouterId(0),
            backup: RouterId(0),
            neighbors: vec![me],
        })
    }

    fn ask(&mut self) -> Option<PacketBody> {
        let keys: Vec<LsaKey> = (0..KEYS).map_while(|_| self.wanted.pop_front()).collect();
        self.asked.extend(&keys);
        (!keys.is_empty()).then_some(PacketBody::Request(keys))
    }

    fn updates(&self, keys: &[LsaKey]) -> Vec<PacketBody> {
        // Asked for in the order of their keys, which is not that of `offers`.
        let mut packets = vec![Vec::new()];
        let mut used = 0;
        for key in keys {
            let at = 2 * (key.router.0 as usize - 1) + usize::from(key.ls_type != LsType::ROUTER);
            let Some(lsa) = self.offers.get(at) else { continue };
            used += usize::from(lsa.header.length);
            if used > ROOM {
                packets.push(Vec::new());
                used = lsa.header.length.into();
            }
            if let Some(packet) = packets.last_mut() {
                packet.push(lsa.clone());
            }
        }
        packets.into_iter().map(PacketBody::Update).collect()
    }
}

/// The router and those around it.
struct Bench {
    ospf: Ospf,
    neighbors: Vec<Neighbor>,
    now: Time,
    /// Time spent inside the router.
    cpu: Duration,
    inbox: VecDeque<(usize, PacketBody)>,
    /// A link to somebody who follows no script, and the packets that wait to be sent there.
    wire: Option<(LinkId, Vec<Vec<u8>>)>,
}

impl Bench {
    fn new(area: &Area) -> Self {
        let config = Config {
            router_id: Area::router_id(0),
            mesh: MeshPrefix::DEFAULT,
            prefixes: area.prefixes[0].clone(),
            hostname: None,
            hello: Duration::from_secs(10),
            dead: Duration::from_secs(40),
            rxmt: Duration::from_secs(1),
            flood_reduction: true,
            restart_helper: RestartHelper::Strict,
            member: None,
            seed: 0,
        };
        let mut bench = Self {
            ospf: Ospf::new(config, Time::ZERO),
            neighbors: Vec::new(),
            now: Time::ZERO,
            cpu: Duration::ZERO,
            inbox: VecDeque::new(),
            wire: None,
        };
        area.links[0]
            .iter()
            .for_each(|(to, _)| bench.add_neighbor(Area::router_id(*to), area.interface(*to, 0)));
        bench
    }

    fn add_neighbor(&mut self, router: RouterId, interface: u32) {
        let number = self.neighbors.len() as u32 + 1;
        let link = LinkId::new(number).expect("it is not zero");
        let local = Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(number));
        self.neighbors.push(Neighbor {
            router,
            link,
            interface,
            local,
            offers: Vec::new(),
            described: 0,
            hungry: false,
            wanted: VecDeque::new(),
            asked: BTreeSet::new(),
            received: 0,
        });
    }

    fn link_config(&self, neighbor: usize) -> LinkConfig {
        let link = self.neighbors[neighbor].link;
        LinkConfig {
            link,
            cost: COST,
            local: "fe80::ffff".parse().expect("it is an address"),
            mtu: 1280,
            stock: false,
            allow: Vec::new(),
        }
    }

    /// Brings an adjacency up until nothing more is to be said, and tells what that cost the router.
    fn connect(&mut self, neighbor: usize) -> Result<Duration> {
        let config = self.link_config(neighbor);
        let link = config.link;
        let before = self.cpu;
        self.timed(|ospf, now| {
            ospf.add_link(config, now);
            ospf.handle_link_up(link, now);
        });
        self.run_for(QUIET);
        let state = self.state(link);
        ensure!(state == Some(State::Full), "the adjacency on {link} is {state:?}");
        Ok(self.cpu - before)
    }

    fn state(&self, link: LinkId) -> Option<State> {
        self.ospf.neighbors(self.now).into_iter().find(|view| view.link == link).map(|view| view.state)
    }

    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    fn timed<T>(&mut self, act: impl FnOnce(&mut Ospf, Time) -> T) -> (T, Duration) {
        let start = Instant::now();
        let result = act(&mut self.ospf, self.now);
        let took = start.elapsed();
        self.cpu += took;
        (result, took)
    }

    /// The first neighbour floods an LSA.
    fn say(&mut self, lsa: Lsa) -> Result<Duration> {
        self.deliver(0, PacketBody::Update(vec![lsa]))
    }

    fn deliver(&mut self, from: usize, body: PacketBody) -> Result<Duration> {
        let Neighbor { router, link, local, .. } = self.neighbors[from];
        let bytes = Packet { router, area: 0, instance: 0, body }.encode(local, ALL_SPF_ROUTERS);
        let (result, took) =
            self.timed(|ospf, now| ospf.handle_packet(link, local, ALL_SPF_ROUTERS, 1, &bytes, now));
        result.with_context(|| format!("a packet of {router:?}"))?;
        Ok(took)
    }

    /// Lets the router calculate what is due, and tells how long that took and what made it necessary.
    fn calculation(&mut self) -> Result<(Duration, SpfTrigger)> {
        let runs = self.ospf.counters().spf_runs;
        let end = self.now + QUIET;
        while self.ospf.counters().spf_runs == runs {
            self.settle()?;
            let (at, _) = self.ospf.poll_timeout().context("nothing is due")?;
            ensure!(at <= end, "no calculation");
            self.now = self.now.max(at);
            let ((), took) = self.timed(Ospf::handle_timeout);
            if self.ospf.counters().spf_runs > runs {
                let run = self.ospf.spf_log().last().context("a run is in the log")?.trigger;
                self.run_for(QUIET);
                return Ok((took, run));
            }
        }
        anyhow::bail!("the calculation came without its delay")
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle().expect("the script is what the router expects");
            match self.ospf.poll_timeout() {
                Some((at, _)) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.timed(Ospf::handle_timeout);
        }
        self.now = end;
    }

    /// Lets both sides talk until they are silent.
    fn settle(&mut self) -> Result<()> {
        let me = Area::router_id(0);
        loop {
            while let Some(output) = self.ospf.poll_output() {
                let Output::Transmit { link, packet, .. } = output else { continue };
                if let Some((wire, packets)) = &mut self.wire
                    && *wire == link
                {
                    packets.push(packet);
                    continue;
                }
                let packet = ip6::Packet::new(&packet)?;
                let body = Packet::decode(packet.payload())?.body;
                let from = link.get() as usize - 1;
                let answers = self.neighbors[from].answer(me, body);
                self.inbox.extend(answers.into_iter().map(|answer| (from, answer)));
            }
            let Some((from, body)) = self.inbox.pop_front() else { return Ok(()) };
            self.deliver(from, body)?;
        }
    }
}
