//! A whole mesh through what happens to it: `cargo run --release -p molt-lab --bin scale`.
//!
//! ```text
//! scale [--json] [--degree N] [--seed N] [--restarts N] [NODES]
//! ```
//!
//! Each node is the production node in virtual time. After each scene the mesh must be what a naive calculation on the true
//! graph says. The figures of a scene begin when it does.
//!
//! | column | what |
//! |---|---|
//! | settled ms | from what happened to the last change of a forwarding table |
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
use molt_lab::sim::{Options, Sim};
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
    /// How many nodes
    #[arg(default_value_t = 1_000)]
    nodes: usize,
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
    let Arguments { nodes, degree, seed, restarts, json } = *arguments;
    if nodes > ALWAYS {
        check_room(nodes, degree, seed)?;
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let topology = Topology::random(nodes, degree, seed);
    if !json {
        println!("{nodes} nodes of degree {degree}, {} links; figures for each node", topology.links.len());
        println!(
            "{:24} {:>10} {:>8} {:>9} {:>9} {:>10} {:>6} {:>7} {:>7} {:>6}",
            "scene", "settled ms", "packets", "LSAs", "redundant", "bytes", "runs", "took s", "CPU s", "GB"
        );
    }
    let mut play = Play::start(topology.clone(), json, seed)?;
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
    play.scene("two router ids clash", 2 * REST, |sim| {
        sim.kill(one);
        sim.kill(other);
        sim.restart_as_twins(one, other);
    })?;
    let unruly = rng.usize(..nodes);
    play.scene("one node restarts", REST, |sim| {
        for _ in 0..restarts {
            sim.kill(unruly);
            sim.run_for(Duration::from_secs(1));
            sim.restart(unruly);
            sim.run_for(Duration::from_secs(4));
        }
    })?;
    let Play { scenes, idle, .. } = play;
    if !json {
        println!(
            "at rest each node sends {idle:.0} bytes/s with BFD; {} at the peak",
            gigabytes(status("VmHWM:"))
        );
    }
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
    fn start(topology: Topology, json: bool, seed: u64) -> Result<Self> {
        let clock = Instant::now();
        let sim = Sim::new(topology, Options::default(), seed);
        let mut play = Self { sim, scenes: Vec::new(), json, idle: 0.0 };
        let started = clock.elapsed();
        play.scene("cold start", REST, |_| {})?;
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
/// Nodes of the two meshes from which the memory of larger ones is estimated.
const MEASURED: (usize, usize) = (100, 300);
/// All of the cold start of such a mesh, in which it needs most.
const START: Duration = Duration::from_secs(8);

/// Refuses what would not fit: each node has a database of all nodes, so memory grows with the square.
fn check_room(nodes: usize, degree: usize, seed: u64) -> Result<()> {
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
    let needed = nodes as f64 * (of_node + of_router * nodes as f64);
    let free = entry("/proc/meminfo", "MemAvailable:").context("/proc/meminfo has no MemAvailable")? as f64;
    if needed > free {
        bail!(
            "{nodes} nodes need about {:.0} GB in one process, {of_router:.0} bytes for each router in the database of \
             each node; {:.0} GB are free, which is enough for {:.0} nodes",
            needed / 1e9,
            free / 1e9,
            (free / of_router).sqrt()
        );
    }
    Ok(())
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
