//! FRR: `zebra`, `bfdd` and `ospf6d`, or `bgpd` at the border of another mesh.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{BfdSession, Neighbour, Router, RouterConfig, border};
use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// Where Debian and its relatives put the daemons.
const DAEMONS: &str = "/usr/lib/frr";
/// Fields of a BFD peer in `show bfd peers json` are in milliseconds.
const MS: Duration = Duration::from_millis(1);

/// FRR in a namespace.
#[derive(Debug)]
pub struct Frr {
    namespace: Namespace,
    dir: PathBuf,
    /// `zebra` last, because the others want to say goodbye to it.
    daemons: Vec<Process>,
}

impl Frr {
    /// Starts its daemons and puts the router's address on the loopback.
    ///
    /// # Errors
    /// If FRR is missing or refuses its configuration.
    pub fn start(namespace: &Namespace, config: &RouterConfig) -> Result<Self> {
        namespace.forward_ipv6()?;
        namespace.ip(&format!("addr add {}/128 dev lo", config.address))?;
        border::route_to_peer(namespace, config)?;
        let dir = namespace.dir().join("frr");
        fs::create_dir(&dir)?;
        let mut frr = Self { namespace: namespace.clone(), dir, daemons: Vec::new() };
        let statics = config.external.iter().map(|prefix| format!("ipv6 route {prefix} blackhole\n"));
        frr.daemon("zebra", "")?;
        if !config.external.is_empty() {
            frr.daemon("staticd", &statics.collect::<String>())?;
        }
        let bfd =
            "bfd\n profile mesh\n  detect-multiplier 3\n  receive-interval 100\n  transmit-interval 100\n";
        frr.daemon("bfdd", if config.bfd { bfd } else { "" })?;
        match &config.border {
            Some(border) => frr.daemon("bgpd", &border::bgpd(config, border)?)?,
            None => frr.daemon("ospf6d", &ospf6d(config)?)?,
        }
        Ok(frr)
    }

    /// What `vtysh -c` prints.
    ///
    /// # Errors
    /// If it does not run.
    pub fn vtysh(&self, command: &str) -> Result<String> {
        self.namespace.run(&["vtysh", "--vty_socket", &text(&self.dir), "-c", command])
    }

    /// The same, parsed.
    ///
    /// # Errors
    /// If it does not run, or prints no JSON.
    pub fn vtysh_json(&self, command: &str) -> Result<Value> {
        let text = self.vtysh(command)?;
        serde_json::from_str(&text).with_context(|| format!("{command} printed {text}"))
    }

    /// Enters configuration commands, one after the other from the top level on.
    ///
    /// # Errors
    /// What `vtysh` said.
    pub fn configure(&self, commands: &[&str]) -> Result<()> {
        let dir = text(&self.dir);
        let mut args = vec!["vtysh", "--vty_socket", &dir, "-c", "configure terminal"];
        args.extend(commands.iter().flat_map(|command| ["-c", *command]));
        self.namespace.run(&args).map(drop)
    }

    /// Restarts `ospf6d` as an operator does who upgrades it (RFC 5187): the neighbours are asked to wait, then the process ends
    /// and another begins.
    ///
    /// # Errors
    /// If it refuses, or does not start.
    pub fn restart_ospf_gracefully(&mut self) -> Result<()> {
        self.vtysh("graceful-restart prepare ipv6 ospf")?;
        self.restart_ospf()
    }

    /// Ends `ospf6d` as a crash does and starts it again.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart_ospf(&mut self) -> Result<()> {
        // The last one that was started is the first.
        let mut ospf6d = self.daemons.remove(0);
        ospf6d.kill()?;
        drop(ospf6d);
        let config = fs::read_to_string(self.dir.join("ospf6d.conf"))?;
        fs::remove_file(self.dir.join("ospf6d.vty"))?;
        self.daemon("ospf6d", &config)
    }

    /// Its processes.
    #[must_use]
    pub fn daemons(&self) -> &[Process] {
        &self.daemons
    }

    fn daemon(&mut self, name: &str, config: &str) -> Result<()> {
        let path = |suffix: &str| text(&self.dir.join(format!("{name}.{suffix}")));
        fs::write(path("conf"), config)?;
        let zserv = text(&self.dir.join("zserv.api"));
        let (program, vty) = (format!("{DAEMONS}/{name}"), text(&self.dir));
        let mut args = vec![program.as_str(), "--socket", &zserv, "--vty_socket", &vty];
        let (pid, conf, bfdctl) = (path("pid"), path("conf"), path("sock"));
        args.extend(["--pid_file", &pid, "--config_file", &conf, "--log", "stdout"]);
        // No TCP port for the terminal. FRR insists that its user is in the group of the terminal sockets.
        args.extend(["--vty_port", "0", "--user", "root", "--group", "frrvty"]);
        if name == "bfdd" {
            args.extend(["--bfdctl", &bfdctl]);
        }
        let mut process = self.namespace.spawn(name, &args)?;
        wait_until(&format!("{name} to open its terminal"), Duration::from_secs(10), || {
            process.check_alive()?;
            let socket = self.dir.join(format!("{name}.vty"));
            ensure!(socket.exists(), "{} does not exist", socket.display());
            Ok(())
        })?;
        self.daemons.insert(0, process);
        Ok(())
    }
}

fn ospf6d(config: &RouterConfig) -> Result<String> {
    let mut text = String::new();
    for interface in &config.interfaces {
        writeln!(text, "interface {interface}")?;
        writeln!(text, " ipv6 ospf6 area {}\n ipv6 ospf6 instance-id {}", config.area, config.instance)?;
        if config.point_to_point {
            writeln!(text, " ipv6 ospf6 network point-to-point")?;
        }
        writeln!(text, " ipv6 ospf6 hello-interval {}", config.hello_s)?;
        writeln!(text, " ipv6 ospf6 dead-interval {}", 4 * config.hello_s)?;
        writeln!(text, " ipv6 ospf6 retransmit-interval {}", config.retransmit_s)?;
        if config.bfd {
            writeln!(text, " ipv6 ospf6 bfd profile mesh")?;
        }
    }
    writeln!(text, "interface lo\n ipv6 ospf6 area {}\n ipv6 ospf6 passive", config.area)?;
    writeln!(text, "router ospf6\n ospf6 router-id {}", config.router_id)?;
    // BIRD helps its neighbours to restart unless told otherwise, FRR only if it is told.
    writeln!(text, " graceful-restart helper enable")?;
    writeln!(text, " graceful-restart grace-period 120")?;
    if !config.external.is_empty() {
        writeln!(text, " redistribute static")?;
    }
    Ok(text)
}

impl Router for Frr {
    fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let answer = self.vtysh_json("show ipv6 ospf6 neighbor json")?;
        let neighbours = answer["neighbors"].as_array().context("no list of neighbours")?;
        let field = |neighbour: &Value, name: &str| {
            neighbour[name].as_str().map(str::to_owned).with_context(|| format!("no {name} in {neighbour}"))
        };
        neighbours
            .iter()
            .map(|neighbour| {
                Ok(Neighbour {
                    router_id: field(neighbour, "neighborId")?,
                    state: field(neighbour, "state")?,
                    interface: field(neighbour, "interfaceName")?,
                })
            })
            .collect()
    }

    fn bfd_sessions(&self) -> Result<Vec<BfdSession>> {
        let answer = self.vtysh_json("show bfd peers json")?;
        let peers = answer.as_array().context("no list of peers")?;
        peers.iter().map(bfd_session).collect()
    }
}

fn bfd_session(peer: &Value) -> Result<BfdSession> {
    let number = |name: &str| {
        let number = peer[name].as_u64().with_context(|| format!("no {name} in {peer}"))?;
        Ok::<_, anyhow::Error>(u32::try_from(number)?)
    };
    let address: Ipv6Addr = peer["peer"].as_str().context("a peer without an address")?.parse()?;
    let interval = number("transmit-interval")?.max(number("remote-receive-interval")?);
    let agreed = number("receive-interval")?.max(number("remote-transmit-interval")?);
    Ok(BfdSession {
        peer: address,
        up: peer["status"] == "up",
        interval: interval * MS,
        detection_time: agreed * MS * number("remote-detect-multiplier")?,
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
