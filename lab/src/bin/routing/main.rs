//! One OSPFv3 router in a large area: `cargo run --release -p molt-lab --bin routing`.
//!
//! ```text
//! routing [--json] [--rounds N] [--beside] [SIZE ...]
//! ```
//!
//! The area is a random graph of degree 8, once of routers that say a Router-LSA and one /128 as stock routers do, and once
//! of production nodes, which sign what they say: six LSAs each. The measured router is node 0; among nodes that sign it is one
//! of them and checks every signature. Its neighbours are played by a script that speaks to it in packets, so every figure
//! includes decoding, checksums, the database and flooding as they are in production. With `--beside`, as root, FRR and BIRD
//! get the area that signs nothing, too: see [`beside`].
#![expect(unsafe_code, reason = "a global allocator is unsafe by its interface")]

mod beside;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::net::Ipv6Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use molt_lab::area::{Area, COST};
use molt_lab::mesh::Role;
use molt_lab::script::{Neighbor, Offers};
use molt_lab::topology::Topology;
use molt_mesh::ip6::{self, ALL_SPF_ROUTERS};
use molt_mesh::sign::{SIGNATURE_LEN, Strict, Verifier};
use molt_mesh::{Identity, IdentityKey, LinkId, MeshPrefix, Prefix, RouterId, Seed, Target, Time};
use molt_routing::ospf::lsa::Lsa;
use molt_routing::ospf::origin::Member;
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::view::SpfTrigger;
use molt_routing::ospf::{Config, LinkConfig, Ospf, Output, Packet, RestartHelper, State};
use serde_json::{Value, json};

const DEGREE: usize = 8;
/// The time of day at which the area is measured: some day in 2027.
const UNIX_MS: u64 = 1_800_000_000_000;
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

/// Nanoseconds spent on signatures.
static CHECKING: AtomicU64 = AtomicU64::new(0);

/// [`Strict`], with a look at the clock.
#[derive(Debug)]
struct Timed;

impl Verifier for Timed {
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    fn verify(&self, key: &IdentityKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        let start = Instant::now();
        let valid = Strict.verify(key, message, signature);
        CHECKING.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        valid
    }
}

/// Measures one OSPFv3 router in areas of growing size, of routers that sign nothing and of nodes that do
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
    for (name, signed) in [("molt", false), ("molt, signed", true)] {
        let mut ours = Vec::new();
        for &routers in &sizes {
            progress(name, routers);
            ours.push((routers, column(routers, signed, options.rounds)?));
        }
        tables.push((name, ours));
    }
    let daemons: &[(&str, Role)] =
        if options.beside { &[("FRR", Role::Frr), ("BIRD", Role::Bird)] } else { &[] };
    for &(name, role) in daemons {
        let mut theirs = Vec::new();
        for &routers in &sizes {
            progress(name, routers);
            let (mut area, mut bench) = settled(routers, false)?.1;
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
        println!("{}", json!({ "version": 3, "measurements": measurements }));
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

/// A random area, in which node 0 has the highest id, and so is the master of every exchange.
fn area(routers: usize, signed: bool) -> Result<Area> {
    let topology = Topology::random(routers, DEGREE, 1);
    if !signed {
        return Ok(Area::unsigned(&topology));
    }
    let identity = |router: usize| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&router.to_le_bytes());
        Seed::from_bytes(seed).identity()
    };
    let mut identities: Vec<Identity> = (0..routers).map(identity).collect();
    identities.sort_by_cached_key(|identity| std::cmp::Reverse(identity.router_id(0)));
    let differ = |pair: &[Identity]| pair[0].router_id(0) != pair[1].router_id(0);
    ensure!(identities.windows(2).all(differ), "two routers drew the same id");
    Ok(Area::signed(&topology, identities, UNIX_MS))
}

/// A router that has taken in the whole of an area, and how long it was busy with that.
fn settled(routers: usize, signed: bool) -> Result<(Duration, (Area, Bench))> {
    let mut area = area(routers, signed)?;
    let mut bench = Bench::new(&area);
    // All LSAs come from the first neighbour; the others find nothing to ask for.
    for lsa in (1..routers).flat_map(|router| area.lsas(router)) {
        bench.offers.say(lsa, bench.now);
    }
    let taken_in = bench.connect(0)?;
    bench.offers.clear();
    for neighbor in 1..bench.neighbors.len() {
        bench.connect(neighbor)?;
    }
    bench.run_for(QUIET);
    ensure!(bench.ospf.fib().len() == routers, "{} routes to {routers} routers", bench.ospf.fib().len());
    Ok((taken_in, (area, bench)))
}

/// All figures of one size.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
fn column(routers: usize, signed: bool, rounds: usize) -> Result<Vec<Figure>> {
    let mut rng = fastrand::Rng::with_seed(routers as u64);
    let mut figures = Vec::new();
    CHECKING.store(0, Ordering::Relaxed);
    let (taken_in, (mut area, mut bench)) = settled(routers, signed)?;
    figures.push(("take in the database, CPU", "ms", ms(taken_in)));
    if signed {
        let checking = Duration::from_nanos(CHECKING.load(Ordering::Relaxed));
        figures.push(("of that, signatures", "ms", ms(checking)));
    }

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
    let (mut router, mut to) = (0, 0);
    for round in 0..rounds {
        if round % 2 == 0 {
            (router, to) = pick_far_link(&mut rng, &area);
        }
        set_cost(&mut area, router, to, if round % 2 == 0 { 2 * COST } else { COST })?;
        bench.say(area.links_lsas(router))?;
        far.push(bench.calculation()?.0);
    }
    percentiles("full run, a far link's cost", &mut far, &mut figures);

    let (mut prefix, mut receipt) = (Vec::new(), Vec::new());
    let mut gone = Vec::new();
    for round in 0..rounds {
        if round % 2 == 0 {
            router = rng.usize(1..routers);
        }
        std::mem::swap(area.prefixes_mut(router), &mut gone);
        receipt.push(bench.say(area.prefix_lsas(router))?);
        let (took, trigger) = bench.calculation()?;
        ensure!(matches!(trigger, SpfTrigger::Lsa(_)), "{trigger:?}");
        prefix.push(took);
    }
    percentiles("run for one prefix that comes or goes", &mut prefix, &mut figures);
    percentiles("receive and flood what says so", &mut receipt, &mut figures);

    let hand_over = {
        let last = bench.neighbors.len();
        bench.add_neighbor(Neighbor::new(RouterId(0x0100_0000), 1).hungry());
        let took = bench.connect(last)?;
        let received = bench.neighbors[last].script.received();
        let each = if signed { 6 } else { 2 };
        ensure!(received >= each * routers, "{received} LSAs were handed over");
        took
    };
    figures.push(("hand the database to a new neighbour, CPU", "ms", ms(hand_over)));

    let mut lookups = Vec::new();
    let fib = Arc::clone(bench.ospf.fib());
    let hosts: Vec<Ipv6Addr> =
        (0..routers).flat_map(|router| area.prefixes(router)).map(Prefix::addr).collect();
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

/// A router other than the measured one, and one of its neighbours.
fn pick_far_link(rng: &mut fastrand::Rng, area: &Area) -> (usize, usize) {
    let router = rng.usize(1..area.size());
    let links = area.links(router);
    (router, links[rng.usize(..links.len())].to)
}

fn set_cost(area: &mut Area, from: usize, to: usize, cost: u16) -> Result<()> {
    let link = area.links_mut(from).iter_mut().find(|link| link.to == to);
    link.context("a link of the area")?.cost = cost;
    Ok(())
}

/// One of those around the router.
struct Around {
    script: Neighbor,
    link: LinkId,
    local: Ipv6Addr,
}

/// The router and those around it.
struct Bench {
    ospf: Ospf,
    neighbors: Vec<Around>,
    /// What whoever connects describes.
    offers: Offers,
    now: Time,
    /// Time spent inside the router.
    cpu: Duration,
    inbox: VecDeque<(usize, PacketBody)>,
    /// A link to somebody who follows no script, and the packets that wait to be sent there.
    wire: Option<(LinkId, Vec<Vec<u8>>)>,
}

impl Bench {
    fn new(area: &Area) -> Self {
        let member = area.identity(0).map(|identity| Member {
            identity: identity.clone(),
            draw: 0,
            unix_ms: UNIX_MS,
            verifier: Arc::new(Timed),
            rights: Vec::new(),
        });
        let config = Config {
            router_id: area.router_id(0),
            mesh: MeshPrefix::DEFAULT,
            prefixes: area.prefixes(0).to_vec(),
            hostname: member.as_ref().map(|_| Area::name(0)),
            hello: Duration::from_secs(10),
            dead: Duration::from_secs(40),
            rxmt: Duration::from_secs(1),
            flood_reduction: true,
            restart_helper: RestartHelper::Strict,
            member,
            seed: 0,
        };
        let mut bench = Self {
            ospf: Ospf::new(config, Time::ZERO),
            neighbors: Vec::new(),
            offers: Offers::default(),
            now: Time::ZERO,
            cpu: Duration::ZERO,
            inbox: VecDeque::new(),
            wire: None,
        };
        if let Some(record) = area.record(0) {
            bench.ospf.set_record(record, bench.now);
        }
        for link in area.links(0) {
            bench.add_neighbor(Neighbor::new(area.router_id(link.to), area.interface(link.to, 0)));
        }
        bench
    }

    fn add_neighbor(&mut self, script: Neighbor) {
        let number = self.neighbors.len() as u32 + 1;
        let link = LinkId::new(number).expect("it is not zero");
        let local = Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(number));
        self.neighbors.push(Around { script, link, local });
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

    /// The first neighbour floods LSAs in one packet.
    fn say(&mut self, lsas: Vec<Lsa>) -> Result<Duration> {
        self.deliver(0, PacketBody::Update(lsas))
    }

    fn deliver(&mut self, from: usize, body: PacketBody) -> Result<Duration> {
        let Around { ref script, link, local } = self.neighbors[from];
        let router = script.router();
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
        let me = self.ospf.router_id();
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
                let answers = self.neighbors[from].script.answer(me, body, &self.offers, self.now);
                self.inbox.extend(answers.into_iter().map(|answer| (from, answer)));
            }
            let Some((from, body)) = self.inbox.pop_front() else { return Ok(()) };
            self.deliver(from, body)?;
        }
    }
}
