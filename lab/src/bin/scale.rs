//! A whole mesh through what happens to it: `cargo run --release -p molt-lab --bin scale`.
//!
//! ```text
//! scale [--json] [--degree N] [--seed N] [--restarts N] [NODES]
//! scale [--json] [--degree N] [--seed N] [--restarts N] --area ROUTERS [NODES]
//! ```
//!
//! Each node is the production node in virtual time. After each scene the mesh must be what a naive calculation on the true
//! graph says. The figures of a scene begin when it does.
//!
//! Every node has a database of all nodes, so 10,000 of them fit no machine. With `--area` there are NODES production nodes in
//! an area of so many routers, and the others are *recorded*:
//!
//! - Of a node everything is real but the encryption of its tunnels. The nodes are a random graph of the degree, and each has a
//!   database, calculations and a forwarding table for the whole area.
//! - Of a recorded router there is what it says: the six LSAs of a production node, signed with its key, for another random
//!   graph of the same degree. All nodes check all signatures.
//! - Two recorded routers, the *gateways*, have four links to as many nodes, with real tunnels and BFD. A script speaks there in
//!   packets, for all that is recorded. 300 ms after something happened to recorded links or routers it floods what their
//!   neighbours say to that, in one burst, as fast as it is acknowledged.
//! - What is not real: what nodes say goes no farther than the gateways, no packets are sent through recorded routers, and
//!   nothing is refreshed, for which a run is too short.
//!
//! The figures are those of the nodes. They are compared with the same naive calculation, on the graph of all routers.
//!
//! | column | what |
//! |---|---|
//! | settled ms | from what happened to the last change of a forwarding table; 0 if none changed |
//! | packets | OSPF packets a node sent |
//! | LSAs | LSAs a node received, of which *redundant* ones were there already |
//! | bytes | what a node sent beyond what it sends at rest, with WireGuard's part |
//! | runs | calculations of the routing table in a node |
//! | took s, CPU s | on the clock on the wall, and on all processors |
//! | GB | memory of the process |
//!
//! The last rows show what an LSA costs when one link after the other is cut, with flooding by the book and reduced: copies
//! each node receives of each LSA.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use molt_lab::sim::gateway::GATEWAYS;
use molt_lab::sim::{BORDERS, Options, Sim};
use molt_lab::topology::Topology;
use serde_json::{Value, json};

/// Plays a mesh through a cold start, failures, a partition, a clash of router ids and a node that keeps restarting
#[derive(Parser)]
#[command(name = "scale", max_term_width = 110)]
struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Neighbours of each node
    #[arg(long, default_value_t = 8)]
    degree: usize,
    /// Seed of all randomness
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Restarts of the node that keeps restarting
    #[arg(long, default_value_t = 100)]
    restarts: usize,
    /// Routers of the area, of which all but NODES are recorded: nothing is there of them but the LSAs they sign
    #[arg(long, value_name = "ROUTERS")]
    area: Option<usize>,
    /// How many nodes; 1000 unless given, with --area 200 or as many as fit
    nodes: Option<usize>,
}

/// Handshakes that are lost are retried after 5 s, Hellos come each 10 s, LSAs of a node that starts are paced to 5 s.
const REST: Duration = Duration::from_secs(30);
/// For one change in a mesh at rest: detection, flooding, a calculation, and what is repeated once.
const SHORT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match play(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn play(arguments: &Arguments) -> Result<()> {
    match arguments.area {
        Some(routers) => play_in_area(arguments, routers),
        None => play_mesh(arguments),
    }
}

fn play_mesh(arguments: &Arguments) -> Result<()> {
    let Arguments { degree, seed, restarts, json, .. } = *arguments;
    let nodes = arguments.nodes.unwrap_or(ALWAYS);
    if nodes > ALWAYS {
        let room = Room::measure(degree, seed)?;
        room.check(nodes, nodes)?;
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let topology = Topology::random(nodes, degree, seed);
    if !json {
        println!("{nodes} nodes of degree {degree}, {} links; figures for each node", topology.links.len());
    }
    let mut play = Play::start(json, REST, || Sim::new(topology.clone(), Options::default(), seed))?;
    let edge = rng.usize(..topology.links.len());
    play.scene("one link cut", SHORT, |sim| sim.cut(edge))?;
    play.scene("the link healed", REST, |sim| sim.heal(edge))?;
    let dead: BTreeSet<usize> = std::iter::repeat_with(|| rng.usize(..nodes)).take(nodes / 10).collect();
    play.scene("a tenth killed at once", REST, |sim| dead.iter().for_each(|node| sim.kill(*node)))?;
    play.scene("started again", 2 * REST, |sim| dead.iter().for_each(|node| sim.restart(*node)))?;
    let is_across = |(_, (a, b)): &(usize, &(usize, usize))| (*a < nodes / 2) != (*b < nodes / 2);
    let across: Vec<usize> =
        topology.links.iter().enumerate().filter(is_across).map(|(edge, _)| edge).collect();
    play.scene("parted in two", REST, |sim| across.iter().for_each(|edge| sim.cut(*edge)))?;
    play.scene("merged", 2 * REST, Sim::heal_all)?;
    let (one, other) = (rng.usize(..nodes / 2), rng.usize(nodes / 2..nodes));
    play.clash(one, other)?;
    let unruly = rng.usize(..nodes);
    play.restarts(unruly, restarts)?;
    let Play { scenes, idle, .. } = play.end();
    let mut floods = Vec::new();
    for degree in [8, 32] {
        for reduced in [false, true] {
            floods.push(flood(nodes.min(FLOODED), degree, reduced, seed, json)?);
        }
    }
    if json {
        let idle = json!({ "bytes_per_s": idle });
        println!(
            "{}",
            json!({ "version": 2, "nodes": nodes, "degree": degree, "idle": idle, "scenes": scenes, "flooding": floods })
        );
    }
    Ok(())
}

/// The same with a recorded area around the nodes.
fn play_in_area(arguments: &Arguments, routers: usize) -> Result<()> {
    let Arguments { degree, seed, restarts, json, .. } = *arguments;
    if restarts > RECORDED_RESTARTS {
        bail!(
            "what is recorded is not refreshed and lives for an hour, enough for {RECORDED_RESTARTS} restarts"
        );
    }
    let room = Room::measure(degree, seed)?;
    let live = arguments.nodes.unwrap_or_else(|| room.nodes(routers).min(LIVE));
    room.check(live, routers)?;
    if live < 2 * BORDERS || routers < 2 * live {
        bail!("an area has {} nodes at least, and as many recorded routers", 2 * BORDERS);
    }
    if !json {
        let recorded = routers - live;
        println!("{live} nodes and {recorded} recorded routers of degree {degree}; figures for each node");
    }
    let options = Options::default();
    let mut play = Play::start(json, 2 * REST, || Sim::in_area(routers, live, degree, options, seed))?;
    let mut rng = fastrand::Rng::with_seed(seed);
    let links = play.sim.topology().links.clone();
    let some = |rng: &mut fastrand::Rng, is_it: &dyn Fn(usize, usize) -> bool| {
        let edges: Vec<usize> =
            (0..links.len()).filter(|edge| is_it(links[*edge].0, links[*edge].1)).collect();
        edges[rng.usize(..edges.len())]
    };
    // The gateways are the first behind the nodes.
    let (gateways, recorded) = (live..live + GATEWAYS, live + GATEWAYS);
    let of_nodes = some(&mut rng, &|_, b| b < live);
    play.scene("a node's link cut", SHORT, |sim| sim.cut(of_nodes))?;
    play.scene("the link healed", REST, |sim| sim.heal(of_nodes))?;
    let behind = some(&mut rng, &|a, _| a >= recorded);
    play.scene("a recorded link cut", SHORT, |sim| sim.cut(behind))?;
    play.scene("the link healed", SHORT, |sim| sim.heal(behind))?;
    // What happens to a gateway becomes known through a neighbour.
    let first = |router: &usize| {
        gateways.clone().any(|it| links.iter().find(|(_, b)| *b == it).is_some_and(|(a, _)| a == router))
    };
    let spared = |router: &usize| gateways.contains(router) || first(router);
    let victims = std::iter::repeat_with(|| rng.usize(..routers)).filter(|router| !spared(router));
    let dead: BTreeSet<usize> = victims.take(routers / 10).collect();
    play.scene("a tenth killed at once", REST, |sim| dead.iter().for_each(|router| sim.kill(*router)))?;
    play.scene("started again", 2 * REST, |sim| dead.iter().for_each(|router| sim.restart(*router)))?;
    let is_across = |edge: &usize| links[*edge].0 < live && links[*edge].1 >= live;
    let across: Vec<usize> = (0..links.len()).filter(is_across).collect();
    play.scene("parted in two", REST, |sim| across.iter().for_each(|edge| sim.cut(*edge)))?;
    play.scene("merged", 2 * REST, Sim::heal_all)?;
    let (one, other) = (rng.usize(..live / 2), rng.usize(live / 2..live));
    play.clash(one, other)?;
    let unruly = rng.usize(..live);
    play.restarts(unruly, restarts)?;
    let Play { scenes, idle, .. } = play.end();
    if json {
        let idle = json!({ "bytes_per_s": idle });
        println!(
            "{}",
            json!({ "version": 2, "area": routers, "nodes": live, "degree": degree, "idle": idle, "scenes": scenes })
        );
    }
    Ok(())
}

struct Play {
    sim: Sim,
    scenes: Vec<Value>,
    json: bool,
    /// Bytes each node sends in a second when nothing happens.
    idle: f64,
}

impl Play {
    /// All nodes start at the same moment, which is the worst. Then a while in which nothing happens.
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    fn start(json: bool, rest: Duration, sim: impl FnOnce() -> Sim) -> Result<Self> {
        let clock = Instant::now();
        let mut play = Self { sim: sim(), scenes: Vec::new(), json, idle: 0.0 };
        let started = clock.elapsed();
        if !json {
            println!(
                "{:24} {:>10} {:>8} {:>9} {:>9} {:>10} {:>6} {:>7} {:>7} {:>6}",
                "scene",
                "settled ms",
                "packets",
                "LSAs",
                "redundant",
                "bytes",
                "runs",
                "took s",
                "CPU s",
                "GB"
            );
        }
        play.scene("cold start", rest, |_| {})?;
        let (bytes, clock) = (play.sim.carried().1, Instant::now());
        play.sim.run_for(REST);
        let (bytes, nodes) = (play.sim.carried().1 - bytes, play.nodes());
        play.idle = bytes as f64 / REST.as_secs_f64() / nodes as f64;
        if !json {
            let (built, rested) = (started.as_secs_f64(), clock.elapsed().as_secs_f64());
            println!("  to make the nodes took {built:.1} s, {} s of rest {rested:.1} s", REST.as_secs());
        }
        Ok(play)
    }

    /// Lets something happen, waits, and demands that the mesh is at rest again.
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    fn scene(&mut self, name: &str, rest: Duration, happening: impl FnOnce(&mut Sim)) -> Result<()> {
        let (clock, cpu, start) = (Instant::now(), processor_time(), self.sim.now());
        let (before, (_, bytes)) = (self.sim.totals(), self.sim.carried());
        happening(&mut self.sim);
        let happened = self.sim.now();
        self.sim.run_for(rest);
        self.sim.check_at_rest().map_err(|fault| anyhow!("{name}: {fault}"))?;
        let did = self.sim.totals().since(before);
        let nodes = self.nodes() as f64;
        let of_each = |count: u64| count as f64 / nodes;
        let settled =
            if self.sim.rerouted() > happened { self.sim.rerouted() - happened } else { Duration::ZERO };
        let resting = self.idle * (self.sim.now() - start).as_secs_f64();
        let bytes = (of_each(self.sim.carried().1 - bytes) - resting).max(0.0);
        let redundant = did.lsas_redundant as f64 / did.lsas_received.max(1) as f64;
        let (packets, lsas, runs) = (of_each(did.packets), of_each(did.lsas_received), of_each(did.spf_runs));
        let (took, cpu, memory) = (clock.elapsed().as_secs_f64(), processor_time() - cpu, status("VmRSS:"));
        self.scenes.push(json!({
            "scene": name, "settled_ms": settled.as_millis() as u64, "packets_per_node": packets,
            "lsas_per_node": lsas, "redundant": redundant, "bytes_per_node": bytes, "spf_runs_per_node": runs,
            "took_s": took, "cpu_s": cpu, "memory_bytes": memory,
        }));
        if !self.json {
            let (settled, memory) = (settled.as_millis(), memory as f64 / 1e9);
            println!(
                "{name:24} {settled:>10} {packets:>8.0} {lsas:>9.0} {:>8.0}% {bytes:>10.0} {runs:>6.1} {took:>7.1} \
                 {cpu:>7.1} {memory:>6.2}",
                100.0 * redundant
            );
        }
        Ok(())
    }

    /// Two nodes start again with the same router id.
    fn clash(&mut self, one: usize, other: usize) -> Result<()> {
        self.scene("two router ids clash", 2 * REST, |sim| {
            sim.kill(one);
            sim.kill(other);
            sim.restart_as_twins(one, other);
        })
    }

    fn restarts(&mut self, unruly: usize, restarts: usize) -> Result<()> {
        self.scene("one node restarts", REST, |sim| {
            for _ in 0..restarts {
                sim.kill(unruly);
                sim.run_for(Duration::from_secs(1));
                sim.restart(unruly);
                sim.run_for(Duration::from_secs(4));
            }
        })
    }

    fn end(self) -> Self {
        if !self.json {
            let (idle, peak) = (self.idle, gigabytes(status("VmHWM:")));
            println!("at rest each node sends {idle:.0} bytes/s with BFD; {peak} at the peak");
        }
        self
    }

    /// How many are alive.
    fn nodes(&self) -> usize {
        (0..self.sim.size()).filter(|node| self.sim.is_alive(*node)).count()
    }
}

/// Nodes of the meshes in which flooding is measured, and links that are cut there.
const FLOODED: usize = 300;
const CUTS: usize = 20;

/// What an LSA costs.
fn flood(nodes: usize, degree: usize, reduced: bool, seed: u64, json: bool) -> Result<Value> {
    let topology = Topology::random(nodes, degree, seed);
    let links = topology.links.len();
    let mut sim = Sim::new(topology, Options { flood_reduction: reduced, ..Options::default() }, seed);
    sim.run_for(REST);
    let (before, bytes) = (sim.totals(), sim.carried().1);
    let mut slowest = Duration::ZERO;
    for cut in 0..CUTS {
        sim.cut(cut * (links / CUTS));
        let at = sim.now();
        sim.run_for(SHORT);
        slowest = slowest.max(sim.rerouted().since(at));
    }
    sim.check_at_rest().map_err(|fault| anyhow!("flooding, degree {degree}: {fault}"))?;
    let did = sim.totals().since(before);
    let (instances, others) = (did.lsas_originated as f64, nodes as f64 - 1.0);
    let copies = did.lsas_received as f64 / instances / others;
    let packets = did.packets as f64 / nodes as f64 / CUTS as f64;
    let bytes = (sim.carried().1 - bytes) as f64 / nodes as f64 / (SHORT * CUTS as u32).as_secs_f64();
    if !json {
        let how = if reduced { "reduced" } else { "by the book" };
        println!(
            "{nodes} nodes of degree {degree:2}, {how:11}: {copies:5.2} copies, {packets:6.1} packets for each cut, \
             slowest {} ms",
            slowest.as_millis()
        );
    }
    Ok(json!({
        "nodes": nodes, "degree": degree, "reduced": reduced, "copies": copies, "packets_per_cut": packets,
        "slowest_ms": slowest.as_millis() as u64, "bytes_per_s": bytes,
    }))
}

/// So many nodes fit where anybody would try: 8 GB.
const ALWAYS: usize = 1_000;
/// Nodes in a recorded area, if they fit.
const LIVE: usize = 200;
/// Restarts of 5 s that fit into an hour with all other scenes.
const RECORDED_RESTARTS: usize = 600;
/// Nodes of the two meshes from which the memory of larger ones is estimated.
const MEASURED: (usize, usize) = (100, 300);
/// All of the cold start of such a mesh, in which it needs most.
const START: Duration = Duration::from_secs(8);

/// What nodes need.
struct Room {
    /// Bytes of a node without an area.
    of_node: f64,
    /// Bytes of each router of the area in each node.
    of_router: f64,
    free: f64,
}

impl Room {
    fn measure(degree: usize, seed: u64) -> Result<Self> {
        let mut meshes = Vec::new();
        let mut measure = |nodes: usize| {
            let before = status("VmHWM:");
            let mut sim = Sim::new(Topology::random(nodes, degree, seed), Options::default(), seed);
            sim.run_for(START);
            // It stays until both are measured, or the second would take the memory of the first.
            meshes.push(sim);
            (status("VmHWM:") - before) as f64 / nodes as f64
        };
        let (small, large) = (measure(MEASURED.0), measure(MEASURED.1));
        let of_router = (large - small) / (MEASURED.1 - MEASURED.0) as f64;
        let of_node = small - of_router * MEASURED.0 as f64;
        let free = entry("/proc/meminfo", "MemAvailable:").context("/proc/meminfo has no MemAvailable")?;
        Ok(Self { of_node, of_router, free: free as f64 })
    }

    /// How many nodes fit in an area of so many routers.
    fn nodes(&self, routers: usize) -> usize {
        (self.free / (self.of_node + self.of_router * routers as f64)) as usize
    }

    /// Refuses what would not fit: each node has a database of all routers, so memory grows with the square.
    fn check(&self, nodes: usize, routers: usize) -> Result<()> {
        if nodes > self.nodes(routers) {
            let Self { of_node, of_router, free } = self;
            let needed = nodes as f64 * (of_node + of_router * routers as f64);
            bail!(
                "{nodes} nodes need about {:.0} GB in one process, {of_router:.0} bytes for each router in the database of \
                 each node; {:.0} GB are free, which is enough for {:.0} nodes, or for {} with --area {routers}",
                needed / 1e9,
                free / 1e9,
                (free / of_router).sqrt(),
                self.nodes(routers)
            );
        }
        Ok(())
    }
}

/// Seconds this process has had on all processors.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have blanks: the state, ten numbers, then the hundredths of a second in user and kernel mode.
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes this process takes.
fn status(name: &str) -> u64 {
    entry("/proc/self/status", name).unwrap_or(0)
}

/// A number of kB from /proc, in bytes.
fn entry(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
