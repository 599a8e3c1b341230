//! One tunnel, ours and others', side by side: `cargo run --release -p molt-lab --bin throughput`, as root.
//!
//! ```text
//! throughput [--json] [--runs N] [--seconds N] [--idle] [NAME ...]
//! ```
//!
//! Without names everything is measured. `--idle` measures routers at rest with eight neighbours instead. What is compared
//! with is installed by `lab/install-packages --bench`.
#![forbid(unsafe_code)]

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use molt_lab::bench::{Idle, Subject, Throughput, idle, throughput};
use molt_lab::mesh::{Role, profile_dir};
use molt_lab::stock::Engine;
use serde_json::{Value, json};

/// Neighbours of a router at rest: the degree the mesh aims at.
const NEIGHBOURS: usize = 8;

struct Options {
    json: bool,
    idle: bool,
    runs: usize,
    seconds: u32,
    names: Vec<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| measure(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("throughput: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options { json: false, idle: false, runs: 3, seconds: 5, names: Vec::new() };
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|text| text.parse().ok()).context("a number must follow");
        match arg.as_str() {
            "--json" => options.json = true,
            "--idle" => options.idle = true,
            "--runs" => options.runs = number().context("--runs")?,
            "--seconds" => options.seconds = u32::try_from(number().context("--seconds")?)?,
            flag if flag.starts_with('-') => bail!("unknown option {flag}"),
            name => options.names.push(name.to_owned()),
        }
    }
    Ok(options)
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
