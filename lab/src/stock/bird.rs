//! BIRD.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BfdSession, Neighbour, Router, RouterConfig, border};
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// BIRD in a namespace.
#[derive(Debug)]
pub struct Bird {
    namespace: Namespace,
    conf: PathBuf,
    socket: PathBuf,
    process: Process,
}

impl Bird {
    /// Starts `bird` and puts the router's address on the loopback.
    ///
    /// # Errors
    /// If BIRD is missing or refuses its configuration.
    pub fn start(namespace: &Namespace, config: &RouterConfig) -> Result<Self> {
        namespace.forward_ipv6()?;
        namespace.ip(&format!("addr add {}/128 dev lo", config.address))?;
        border::route_to_peer(namespace, config)?;
        let (conf, socket) = (namespace.dir().join("bird.conf"), namespace.dir().join("bird.ctl"));
        fs::write(&conf, bird_conf(config)?)?;
        let process = run(namespace, &conf, &socket)?;
        Ok(Self { namespace: namespace.clone(), conf, socket, process })
    }

    /// Ends it as a crash does and starts it again.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        fs::remove_file(&self.socket)?;
        self.process = run(&self.namespace, &self.conf, &self.socket)?;
        Ok(())
    }

    /// What `birdc` prints.
    ///
    /// # Errors
    /// If it does not run.
    pub fn birdc(&self, command: &str) -> Result<String> {
        let socket = self.socket.to_string_lossy();
        let args: Vec<&str> =
            ["birdc", "-s", &socket].into_iter().chain(command.split_whitespace()).collect();
        self.namespace.run(&args)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The rows below the header line that starts with `header`, split at white space.
    fn table(&self, command: &str, header: &str) -> Result<Vec<Vec<String>>> {
        let text = self.birdc(command)?;
        let rows = text.lines().skip_while(|line| !line.starts_with(header)).skip(1);
        Ok(rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect())
    }
}

fn run(namespace: &Namespace, conf: &Path, socket: &Path) -> Result<Process> {
    let (conf, control) = (conf.to_string_lossy(), socket.to_string_lossy());
    let mut process = namespace.spawn("bird", &["bird", "-f", "-c", &conf, "-s", &control])?;
    wait_until("bird to open its control socket", Duration::from_secs(10), || {
        process.check_alive()?;
        ensure!(socket.exists(), "{control} does not exist");
        Ok(())
    })?;
    Ok(process)
}

fn bird_conf(config: &RouterConfig) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "log stderr all;\nrouter id {};", config.router_id)?;
    writeln!(text, "protocol device {{ }}")?;
    writeln!(text, "protocol kernel {{ merge paths yes; ipv6 {{ import none; export all; }}; }}")?;
    if config.bfd {
        let timers = "min rx interval 100 ms; min tx interval 100 ms; multiplier 3;";
        writeln!(text, "protocol bfd {{ interface \"*\" {{ {timers} }}; multihop {{ {timers} }}; }}")?;
    }
    if let Some(border) = &config.border {
        return Ok(text + &border::bird_conf(config, border)?);
    }
    let export = if config.external.is_empty() { "none" } else { "where source = RTS_STATIC" };
    if !config.external.is_empty() {
        writeln!(text, "protocol static {{\n  ipv6;")?;
        for prefix in &config.external {
            writeln!(text, "  route {prefix} blackhole;")?;
        }
        writeln!(text, "}}")?;
    }
    writeln!(text, "protocol ospf v3 mesh {{\n  ecmp yes;")?;
    writeln!(text, "  ipv6 {{ import all; export {export}; }};\n  area {} {{", config.area)?;
    for interface in &config.interfaces {
        let (hello, dead, retransmit) = (config.hello_s, 4 * config.hello_s, config.retransmit_s);
        let bfd = if config.bfd { "yes" } else { "no" };
        let timers = format!("hello {hello}; dead {dead}; retransmit {retransmit};");
        let instance = format!("instance {}", config.instance);
        let kind = if config.point_to_point { "ptp" } else { "broadcast" };
        writeln!(text, "    interface \"{interface}\" {instance} {{ type {kind}; {timers} bfd {bfd}; }};")?;
    }
    writeln!(text, "    stubnet {}/128 {{ cost 0; }};\n  }};\n}}", config.address)?;
    Ok(text)
}

impl Router for Bird {
    fn neighbours(&self) -> Result<Vec<Neighbour>> {
        // Router ID  Pri  State  DTime  Interface  Router IP
        let rows = self.table("show ospf neighbors mesh", "Router ID")?;
        let neighbour = |row: &Vec<String>| match row.as_slice() {
            [router_id, _priority, state, _dead_time, interface, ..] => Ok(Neighbour {
                router_id: router_id.clone(),
                state: state.split('/').next().unwrap_or_default().to_owned(),
                interface: interface.clone(),
            }),
            _ => anyhow::bail!("not a neighbour: {row:?}"),
        };
        rows.iter().map(neighbour).collect()
    }

    fn bfd_sessions(&self) -> Result<Vec<BfdSession>> {
        // IP address  Interface  State  Since  Interval  Timeout
        let rows = self.table("show bfd sessions", "IP address")?;
        let seconds = |text: &str| {
            text.parse().map(Duration::from_secs_f64).with_context(|| format!("{text} is not a time"))
        };
        let session = |row: &Vec<String>| match row.as_slice() {
            [peer, _interface, state, _since, interval, timeout] => Ok(BfdSession {
                peer: peer.parse()?,
                up: state == "Up",
                interval: seconds(interval)?,
                detection_time: seconds(timeout)?,
            }),
            _ => anyhow::bail!("not a session: {row:?}"),
        };
        rows.iter().map(session).collect()
    }
}
