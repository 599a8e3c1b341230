//! One tunnel, ours and others', side by side: `cargo run --release -p molt-lab --bin throughput`, as root.
//!
//! ```text
//! throughput [--json] [--runs N] [--seconds N] [--idle] [NAME ...]
//! ```
//!
//! Without names everything is measured. `--idle` measures routers at rest with eight neighbours instead. What is compared
//! with is installed by `lab/install-packages --bench`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use molt_lab::bench::{Idle, Subject, Throughput, idle, throughput};
use molt_lab::mesh::{Role, profile_dir};
use molt_lab::stock::Engine;
use serde_json::{Value, json};

/// Neighbours of a router at rest: the degree the mesh aims at.
const NEIGHBOURS: usize = 8;

/// Measures one tunnel between two namespaces joined by veth, ours and others' side by side, with one TCP stream.
///
/// Needs root. What is compared with is installed by `lab/install-packages --bench`.
#[derive(Parser)]
#[command(name = "throughput", max_term_width = 110)]
struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Measure routers at rest with eight neighbours instead: CPU time and memory
    #[arg(long)]
    idle: bool,
    /// Runs of each program; the median is printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of a run
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// What to measure; everything unless named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("throughput: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything that was to be measured could be.
fn measure(options: &Options) -> Result<bool> {
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|wanted| wanted == name);
    let mut report = Report { json: options.json, lines: Vec::new(), complete: true };
    if options.idle {
        report.header(Idle::HEADER);
        for (name, role) in [("FRR", Role::Frr), ("BIRD", Role::Bird), ("meshd", Role::Meshd)] {
            if wanted(name) {
                let line = idle(role, NEIGHBOURS, 6 * options.seconds);
                report.line(name, line.map(|line| (line.to_string(), line.json())));
            }
        }
    } else {
        report.header(Throughput::HEADER);
        for subject in subjects()?.iter().filter(|subject| wanted(subject.name())) {
            let line = throughput(subject, options.runs, options.seconds);
            report.line(subject.name(), line.map(|line| (line.to_string(), line.json())));
        }
    }
    if options.json {
        println!("{}", json!({ "version": 1, "measurements": report.lines }));
    }
    Ok(report.complete)
}

fn subjects() -> Result<Vec<Subject>> {
    let profile = profile_dir()?;
    let bench = profile.parent().context("a profile is in the target folder")?.join("bench");
    let boringtun = Engine::Boringtun(bench.join("bin/boringtun-cli"));
    let newest = Engine::WireguardGo(bench.join("wireguard-go/usr/bin/wireguard-go"));
    let mut subjects = vec![
        Subject::RawVeth,
        Subject::WireGuard("boringtun-cli", boringtun),
        Subject::WireGuard("wireguard-go", newest),
        Subject::Meshd,
    ];
    // Built by `cargo build --release --package molt-tun --example bare`; an aid, not something to be compared with.
    let bare: PathBuf = profile.join("examples/bare");
    if bare.exists() {
        subjects.extend([false, true].map(|seal| Subject::Bare { program: bare.clone(), seal }));
    }
    Ok(subjects)
}

struct Report {
    json: bool,
    lines: Vec<Value>,
    complete: bool,
}

impl Report {
    fn header(&self, header: &str) {
        if !self.json {
            println!("{header}");
        }
    }

    fn line(&mut self, name: &str, measured: Result<(String, Value)>) {
        match measured {
            Ok((text, value)) => {
                self.lines.push(value);
                if !self.json {
                    println!("{text}");
                }
            }
            Err(error) => {
                self.complete = false;
                eprintln!("{name}: {error:#}");
            }
        }
    }
}
