//! A whole mesh through what happens to it: `cargo run --release -p molt-lab --bin scale`.
//!
//! ```text
//! scale [--json] [--degree N] [--seed N] [NODES]
//! ```
//!
//! Each node is the production node in virtual time. After each scene the mesh must be what a naive calculation on the true
//! graph says. The figures of a scene begin when it does.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Parser;
use molt_lab::sim::{Options, Sim};
use molt_lab::topology::Topology;
use molt_mesh::Time;
use serde_json::{Value, json};

/// Plays a mesh through a cold start, failures, a partition and a node that keeps restarting
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
    let Arguments { nodes, degree, seed, .. } = *arguments;
    let mut rng = fastrand::Rng::with_seed(seed);
    let topology = Topology::random(nodes, degree, seed);
    let mut play = Play {
        sim: Sim::new(topology.clone(), Options::default(), seed),
        scenes: Vec::new(),
        json: arguments.json,
        idle: 0.0,
    };
    if !play.json {
        println!("{nodes} nodes of degree {degree}, {} links", topology.links.len());
        println!(
            "{:26} {:>12} {:>12} {:>12} {:>14} {:>10}",
            "scene", "settled ms", "LSAs/node", "redundant", "bytes/node", "took s"
        );
    }
    play.scene("cold start", REST, |_| {})?;

    let (before, start) = (play.sim.carried(), play.sim.now());
    play.sim.run_for(REST);
    let per_node = |bytes: u64, since: Time, sim: &Sim| {
        bytes as f64 / (sim.now() - since).as_secs_f64() / sim_nodes(sim, nodes) as f64
    };
    play.idle = per_node(play.sim.carried().1 - before.1, start, &play.sim);

    let edge = rng.usize(..topology.links.len());
    play.scene("one link cut", REST, |sim| sim.cut(edge))?;
    play.scene("the link healed", REST, |sim| sim.heal(edge))?;
    let dead: BTreeSet<usize> = std::iter::repeat_with(|| rng.usize(..nodes)).take(nodes / 10).collect();
    play.scene("a tenth killed at once", REST, |sim| dead.iter().for_each(|node| sim.kill(*node)))?;
    play.scene("started again", 2 * REST, |sim| dead.iter().for_each(|node| sim.restart(*node)))?;
    let across: Vec<usize> = topology
        .links
        .iter()
        .enumerate()
        .filter(|(_, (a, b))| (*a < nodes / 2) != (*b < nodes / 2))
        .map(|(edge, _)| edge)
        .collect();
    play.scene("parted in two", REST, |sim| across.iter().for_each(|edge| sim.cut(*edge)))?;
    play.scene("merged", 2 * REST, Sim::heal_all)?;
    let unruly = rng.usize(..nodes);
    let restarts = arguments.restarts;
    play.scene("one node restarts", REST, |sim| {
        for _ in 0..restarts {
            sim.kill(unruly);
            sim.run_for(Duration::from_secs(1));
            sim.restart(unruly);
            sim.run_for(Duration::from_secs(4));
        }
    })?;

    let options = Options { bfd: false, ..Options::default() };
    let mut quiet = Sim::new(topology, options, seed);
    quiet.run_for(2 * REST);
    let (before, start) = (quiet.carried(), quiet.now());
    quiet.run_for(2 * REST);
    let without = per_node(quiet.carried().1 - before.1, start, &quiet);
    if play.json {
        let idle = json!({ "bytes_per_s": play.idle, "without_bfd": without });
        println!(
            "{}",
            json!({ "version": 1, "nodes": nodes, "degree": degree, "idle": idle, "scenes": play.scenes })
        );
    } else {
        println!("at rest each node sends {:.0} bytes/s, {without:.0} without BFD", play.idle);
        println!("memory at its peak: {}", peak_memory());
    }
    Ok(())
}

fn sim_nodes(sim: &Sim, nodes: usize) -> usize {
    (0..nodes).filter(|node| sim.is_alive(*node)).count()
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".into(), |line| line.trim().into())
}

struct Play {
    sim: Sim,
    scenes: Vec<Value>,
    json: bool,
    /// Bytes each node sends in a second when nothing happens.
    idle: f64,
}

impl Play {
    /// Lets something happen, waits, and demands that the mesh is at rest again.
    #[expect(clippy::disallowed_methods, reason = "a bench measures")]
    fn scene(&mut self, name: &str, rest: Duration, happening: impl FnOnce(&mut Sim)) -> Result<()> {
        let (clock, start) = (Instant::now(), self.sim.now());
        let (lsas, redundant) = self.lsas();
        let (_, bytes) = self.sim.carried();
        happening(&mut self.sim);
        let happened = self.sim.now();
        self.sim.run_for(rest);
        self.sim.check_at_rest().map_err(|fault| anyhow!("{name}: {fault}"))?;
        let nodes = self.nodes().len() as u64;
        let settled =
            if self.sim.rerouted() > happened { self.sim.rerouted() - happened } else { Duration::ZERO };
        let (lsas, redundant) = (self.lsas().0.saturating_sub(lsas), self.lsas().1.saturating_sub(redundant));
        let rest = self.idle * nodes as f64 * (self.sim.now() - start).as_secs_f64();
        let bytes = ((self.sim.carried().1 - bytes) as f64 - rest).max(0.0) / nodes as f64;
        let share = redundant as f64 / (lsas.max(1)) as f64;
        let took = clock.elapsed().as_secs_f64();
        self.scenes.push(json!({
            "scene": name, "settled_ms": settled.as_millis() as u64, "lsas_per_node": lsas / nodes,
            "redundant": share, "bytes_per_node": bytes, "took_s": took,
        }));
        if !self.json {
            let (settled, lsas) = (settled.as_millis(), lsas / nodes);
            println!(
                "{name:26} {settled:>12} {lsas:>12} {:>11.0}% {bytes:>14.0} {took:>10.1}",
                100.0 * share
            );
        }
        Ok(())
    }

    fn nodes(&self) -> Vec<usize> {
        (0..self.sim.size()).filter(|node| self.sim.is_alive(*node)).collect()
    }

    /// LSAs received by all nodes, and those they had already.
    fn lsas(&self) -> (u64, u64) {
        let counters = (0..self.sim.size()).map(|node| self.sim.node(node).control.ospf().counters());
        counters.fold((0, 0), |(all, twice), it| (all + it.lsas_received, twice + it.lsas_redundant))
    }
}
