//! Throughput, CPU time and memory of one tunnel, ours and others', by the same commands.
//!
//! ```text
//! iperf3 client | tunnel | veth ======== veth | tunnel | iperf3 server
//! ```
//!
//! Client, server and both ends of the tunnel share the machine, so a program that needs less CPU time is also faster.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_mesh::port::{TUNNEL_MTU, UNDERLAY};
use molt_mesh::{Identity, MeshPrefix};
use serde_json::{Value, json};

use crate::mesh::{self, Mesh, Node, Role};
use crate::netns::{Namespace, Net};
use crate::process::{Process, Usage};
use crate::stock::{Engine, Interface, Peer, WireGuard, identity};
use crate::topology::Topology;
use crate::wait::{now, wait_until};

/// What `wireguard-go` and boringtun are run with: WireGuard's default on an Ethernet underlay.
const WIREGUARD_MTU: u32 = 1420;
/// Until a fresh process has done what it does once.
const SETTLE: Duration = Duration::from_secs(2);

/// Something that carries packets between two namespaces.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The cable alone: what the machine can do.
    RawVeth,
    /// A WireGuard program of others.
    WireGuard(&'static str, Engine),
    /// The packet loop without a protocol, an example of the crate `tun`.
    Bare {
        /// The program.
        program: PathBuf,
        /// Whether it encrypts.
        seal: bool,
    },
    /// Ours.
    Meshd,
}

impl Subject {
    /// Its name in the table.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RawVeth => "raw veth",
            Self::WireGuard(name, _) => name,
            Self::Bare { seal: false, .. } => "bare loop",
            Self::Bare { seal: true, .. } => "bare loop, sealed",
            Self::Meshd => "meshd",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// Of the subject.
    pub name: &'static str,
    /// Inner MTU.
    pub mtu: u32,
    /// One TCP stream, each run.
    pub gbit_s: Vec<f64>,
    /// CPU time of both ends together for each gigabyte carried, each run.
    pub cpu_s_per_gb: Vec<f64>,
    /// Resident memory of the larger end before any load.
    pub rss_idle: u64,
    /// The most resident memory either end had.
    pub rss_peak: u64,
}

impl Throughput {
    /// For a program to read; figures are medians, and all runs are there.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "mtu": self.mtu,
            "gbit_per_s": median(&self.gbit_s),
            "gbit_per_s_runs": self.gbit_s,
            "cpu_s_per_gb": median(&self.cpu_s_per_gb),
            "rss_idle_bytes": self.rss_idle,
            "rss_peak_bytes": self.rss_peak,
        })
    }

    /// The line above the lines.
    pub const HEADER: &str =
        "program               MTU   Gbit/s (lowest-highest)   CPU s/GB   RSS idle MB   RSS peak MB";
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let low = self.gbit_s.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.gbit_s.iter().copied().fold(0.0, f64::max);
        let range = format!("({low:.2}-{high:.2})");
        let (gbit, cpu) = (median(&self.gbit_s), median(&self.cpu_s_per_gb));
        let (idle, peak) = (megabytes(self.rss_idle), megabytes(self.rss_peak));
        let (name, mtu) = (self.name, self.mtu);
        write!(f, "{name:<19} {mtu:>5} {gbit:>8.2} {range:<17} {cpu:>9.2} {idle:>13.1} {peak:>13.1}")
    }
}

/// Two namespaces joined by a subject.
struct Pair {
    /// Where the server listens.
    server: Ipv6Addr,
    mtu: u32,
    running: Running,
    net: Net,
}

/// What runs at the two ends, dropped before their namespaces.
enum Running {
    Nothing,
    Programs(Vec<Process>),
    WireGuard(Vec<WireGuard>),
    Mesh(Vec<Node>),
}

impl Running {
    fn processes(&self) -> Result<Vec<&Process>> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Programs(programs) => Ok(programs.iter().collect()),
            Self::WireGuard(ends) => Ok(ends.iter().map(|end| &end.process).collect()),
            Self::Mesh(nodes) => {
                let processes = nodes.iter().map(Node::processes).collect::<Result<Vec<_>>>()?;
                Ok(processes.concat())
            }
        }
    }
}

/// Sets up two namespaces, measures, and takes everything down.
///
/// # Errors
/// If the subject or `iperf3` is missing or fails.
pub fn throughput(subject: &Subject, runs: usize, seconds: u32) -> Result<Throughput> {
    let pair = set_up(subject).with_context(|| subject.name())?;
    let [client, server] = pair.net.nodes.as_slice() else { anyhow::bail!("a pair has two ends") };
    let address = pair.server.to_string();
    wait_until("the tunnel to carry packets", Duration::from_secs(30), || {
        client.run(&["ping", "-c1", "-W1", &address])
    })?;
    thread::sleep(SETTLE);
    let processes = pair.running.processes()?;
    let rss_idle = most(&processes, |usage| usage.rss)?;

    let iperf = server.spawn("iperf3", &["iperf3", "--server", "--forceflush"])?;
    wait_until("iperf3 to listen", Duration::from_secs(10), || {
        ensure!(iperf.log().contains("listening"), "it says: {}", iperf.log());
        Ok(())
    })?;
    let (mut gbit_s, mut cpu_s_per_gb) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let before = cpu(&processes)?;
        let text = client.run(&["iperf3", "-c", &address, "-t", &seconds.to_string(), "--json"])?;
        let used = cpu(&processes)? - before;
        let report: Value = serde_json::from_str(&text)?;
        let received = &report["end"]["sum_received"];
        let figure = |name: &str| received[name].as_f64().with_context(|| format!("no {name} from iperf3"));
        gbit_s.push(figure("bits_per_second")? / 1e9);
        cpu_s_per_gb.push(used.as_secs_f64() / (figure("bytes")? / 1e9));
    }
    let rss_peak = most(&processes, |usage| usage.peak_rss)?;
    Ok(Throughput { name: subject.name(), mtu: pair.mtu, gbit_s, cpu_s_per_gb, rss_idle, rss_peak })
}

fn set_up(subject: &Subject) -> Result<Pair> {
    let tunnel_mtu = u32::try_from(TUNNEL_MTU)?;
    let line = Topology::line(2);
    match subject {
        Subject::RawVeth => {
            let net = Net::new(line)?;
            Ok(Pair { server: Net::ipv6(0, 1), mtu: 1500, running: Running::Nothing, net })
        }
        Subject::WireGuard(_, engine) => {
            let net = Net::new(line)?;
            let [client, server] = Side::both(&net)?;
            let ends = vec![client.wireguard(engine, &server)?, server.wireguard(engine, &client)?];
            Ok(Pair { server: server.inner, mtu: WIREGUARD_MTU, running: Running::WireGuard(ends), net })
        }
        Subject::Bare { program, seal } => {
            let net = Net::new(line)?;
            let [client, server] = Side::both(&net)?;
            let ends = vec![client.bare(program, *seal, &server)?, server.bare(program, *seal, &client)?];
            Ok(Pair { server: server.inner, mtu: tunnel_mtu, running: Running::Programs(ends), net })
        }
        Subject::Meshd => {
            let Mesh { nodes, net, .. } = Mesh::start(line)?;
            let server = nodes.get(1).context("a line of two has two nodes")?.address();
            Ok(Pair { server, mtu: tunnel_mtu, running: Running::Mesh(nodes), net })
        }
    }
}

/// One end of a pair, before anything runs there.
struct Side {
    namespace: Namespace,
    identity: Identity,
    inner: Ipv6Addr,
    outer: SocketAddr,
}

impl Side {
    fn both(net: &Net) -> Result<[Self; 2]> {
        let [client, server] = net.nodes.as_slice() else { anyhow::bail!("a line of two has two nodes") };
        Ok([Self::new(client, 0), Self::new(server, 1)])
    }

    fn new(namespace: &Namespace, end: u8) -> Self {
        Self {
            namespace: namespace.clone(),
            identity: identity(end + 1),
            inner: Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0xbbbb, 0, 0, 0, u16::from(end) + 1),
            outer: (Net::ipv4(0, end.into()), UNDERLAY).into(),
        }
    }

    fn wireguard(&self, engine: &Engine, far: &Self) -> Result<WireGuard> {
        let peer = Peer { key: *far.identity.node_public(), endpoint: Some(far.outer) };
        let interface = Interface { mtu: WIREGUARD_MTU, ..Interface::default() };
        let end = WireGuard::start(&self.namespace, engine, &self.identity, UNDERLAY, &interface, &[peer])?;
        self.namespace.ip(&format!("addr add {}/64 dev {} nodad", self.inner, end.interface()))?;
        Ok(end)
    }

    fn bare(&self, program: &Path, seal: bool, far: &Self) -> Result<Process> {
        let mut command = self.namespace.command(program);
        command.args([mesh::TUN, &self.inner.to_string(), &MeshPrefix::DEFAULT.to_string()]);
        command.args([format!("0.0.0.0:{UNDERLAY}"), far.outer.to_string()]);
        command.args(seal.then_some("--seal"));
        self.namespace.spawn_command("bare", command)
    }
}

/// CPU time and memory of one router at rest.
#[derive(Debug, Clone)]
pub struct Idle {
    /// What runs at the measured node.
    pub name: &'static str,
    /// How many neighbours it has, each with a BFD session at 100 ms.
    pub neighbours: usize,
    /// Part of one core, in percent.
    pub cpu_percent: f64,
    /// Resident memory in bytes, all its processes together.
    pub rss: u64,
}

impl Idle {
    /// For a program to read.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "neighbours": self.neighbours,
            "cpu_percent": self.cpu_percent,
            "rss_bytes": self.rss,
        })
    }

    /// The line above the lines.
    pub const HEADER: &str = "router at rest        neighbours   CPU %   RSS MB";
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, neighbours, cpu, rss) =
            (self.name, self.neighbours, self.cpu_percent, megabytes(self.rss));
        write!(f, "{name:<21} {neighbours:>10} {cpu:>7.2} {rss:>8.1}")
    }
}

/// Measures the middle of a star at rest: all processes that make up the router, tunnels included.
///
/// # Errors
/// If the star does not start, or its middle does not reach every leaf within a minute.
pub fn idle(role: Role, neighbours: usize, seconds: u32) -> Result<Idle> {
    let star = Topology::star(neighbours + 1);
    let mesh = Mesh::start_mixed(star, &vec![role; neighbours + 1])?;
    mesh.wait_reachable(Duration::from_mins(1))?;
    thread::sleep(SETTLE);
    let middle = mesh.nodes.first().context("a star has a middle")?;
    let processes = middle.processes()?;
    let (before, start) = (cpu(&processes)?, now());
    thread::sleep(Duration::from_secs(seconds.into()));
    let used = cpu(&processes)? - before;
    let cpu_percent = 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64();
    let rss = processes.iter().map(|process| Ok(process.usage()?.rss)).sum::<Result<u64>>()?;
    let name = match role {
        Role::Meshd => "meshd",
        Role::Frr => "FRR and wireguard-go",
        Role::Bird => "BIRD and wireguard-go",
    };
    Ok(Idle { name, neighbours, cpu_percent, rss })
}

fn cpu(processes: &[&Process]) -> Result<Duration> {
    processes.iter().map(|process| Ok(process.usage()?.cpu)).sum()
}

fn most(processes: &[&Process], figure: impl Fn(&Usage) -> u64) -> Result<u64> {
    let figures: Vec<u64> =
        processes.iter().map(|process| Ok(figure(&process.usage()?))).collect::<Result<_>>()?;
    Ok(figures.into_iter().max().unwrap_or(0))
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_run_does_not_move_the_median() {
        assert_eq!(median(&[3.0, 1.0, 0.1]), 1.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_lines_stand_under_their_header() {
        let line = Throughput {
            name: "bare loop, sealed",
            mtu: 1420,
            gbit_s: vec![19.67, 19.0, 20.01],
            cpu_s_per_gb: vec![0.5],
            rss_idle: 2_100_000,
            rss_peak: 729_000_000,
        };
        assert_eq!(line.to_string().len(), Throughput::HEADER.len(), "\n{}\n{line}", Throughput::HEADER);
        let line = Idle { name: "FRR and wireguard-go", neighbours: 8, cpu_percent: 0.5, rss: 1 };
        assert_eq!(line.to_string().len(), Idle::HEADER.len(), "\n{}\n{line}", Idle::HEADER);
    }
}
