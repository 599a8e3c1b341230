//! `molt`: the command line of MoltNet.

use std::io::{self, Write as _};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use meshd::api::{self, Request, schema};
use meshd::client::{Client, ClientError, exit};
use meshd::handover::GRACE;
use meshd::render;
use meshd::state::{DEFAULT_STATE_DIR, NodeState, StateDir};
use molt_mesh::record::Grant;
use molt_mesh::{AgentId, Identity, IdentityKey, MeshAddr, MeshPrefix, TrustClass};
use molt_tun::Clock;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Talks to the MoltNet daemon on this machine, and makes identities.
///
/// Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no daemon answers, 5 no such peer or name, 6 no reply,
/// 124 time ran out.
#[derive(Parser)]
#[command(name = "molt", version, max_term_width = 110)]
struct Cli {
    /// Control socket of the daemon
    #[arg(long, global = true, default_value = api::DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Print JSON (one object, or one a line for ping and trace)
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, show or derive an identity (needs no daemon)
    #[command(subcommand)]
    Id(IdCommand),
    /// This node: addresses, neighbours, state
    Status,
    /// Neighbours and their tunnels
    Peers,
    /// The forwarding table, and what was announced and is not used
    Routes {
        /// Say why packets to this address go where they go, and who else announces it
        #[arg(long, value_name = "ADDR")]
        explain: Option<Ipv6Addr>,
    },
    /// Routing protocol
    #[command(subcommand)]
    Ospf(OspfCommand),
    /// Failure detection sessions: of tunnels, and of paths to BGP peers
    Bfd {
        /// One short line each
        #[arg(long)]
        brief: bool,
    },
    /// Routes to other meshes
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// Stakes and payments on the chain of the configuration
    #[cfg(feature = "chain")]
    #[command(subcommand)]
    Chain(meshd::chain::Command),
    /// Packets by fate: every discard has its reason
    Counters {
        /// Also those that are zero
        #[arg(long)]
        all: bool,
    },
    /// Echo requests through the mesh
    Ping(Ping),
    /// The routers on the way to a node
    Trace(Trace),
    /// Wait until this node is part of a mesh, or can reach an address
    Wait(Wait),
    /// Read the peers of the configuration file again; tunnels stay up
    Reload,
    /// Replace the daemon, by a newer version if there is one; neighbours and hosts keep their ways through this node
    Restart,
    /// Leave the mesh and stop the daemon
    Down,
}

/// Of which mesh an address is.
#[derive(Args)]
struct Mesh {
    /// The /48 of the mesh, if its configuration names one
    #[arg(long, default_value_t, value_name = "PREFIX")]
    prefix: MeshPrefix,
}

#[derive(Subcommand)]
enum IdCommand {
    /// Make a new identity
    New {
        /// Where to keep it
        #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
        state_dir: PathBuf,
        /// A UUID that was issued elsewhere
        #[arg(long)]
        uuid: Option<AgentId>,
        /// Leading zero bits of the proof-of-work hash; each doubles the time
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=32), value_name = "BITS")]
        pow_bits: u32,
        #[command(flatten)]
        mesh: Mesh,
    },
    /// Show the identity of a state directory
    Show {
        /// Where it is kept
        #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
        state_dir: PathBuf,
        #[command(flatten)]
        mesh: Mesh,
    },
    /// Lend an address of ours to another node: a container's, or an anycast address. Prints what that node's configuration needs
    #[command(group(clap::ArgGroup::new("what").required(true)))]
    Delegate {
        /// An anycast address, such as fd00:6d6f:6c74::1:53. Nodes use it that name our identity key as its origin
        #[arg(group = "what", value_name = "ADDR")]
        address: Option<Ipv6Addr>,
        /// The address of our container of this number
        #[arg(long, group = "what", value_name = "INDEX")]
        container: Option<u16>,
        /// Identity key of the node that may announce it
        #[arg(long, value_name = "KEY")]
        to: IdentityKey,
        /// For how long. The node that holds it needs another before it ends
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
        days: u16,
        /// Where the identity that signs is kept
        #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
        state_dir: PathBuf,
        #[command(flatten)]
        mesh: Mesh,
    },
    /// The address of a UUID or an Ed25519 public key (base64 or hexadecimal)
    Derive {
        /// UUID or key
        identity: String,
        #[command(flatten)]
        mesh: Mesh,
    },
    /// Draw a random /48 for a mesh that is to meet others (RFC 4193). Prints what the configuration of all its nodes needs
    Prefix,
}

#[derive(Subcommand)]
enum OspfCommand {
    /// Adjacencies, and what keeps others from becoming adjacent
    Neighbors,
    /// Link-state database
    Database,
    /// Tunnels as OSPF interfaces: timers, MTU, cost, and why a packet was dropped
    Interface,
    /// What went wrong: who announced, forged or flushed what, and over which link it came
    Events,
    /// The last shortest-path computations
    SpfLog,
}

#[derive(Subcommand)]
enum BgpCommand {
    /// Peers, their sessions and how many prefixes they announce
    Summary,
    /// All routes: in use, and why the others are not
    Routes,
}

#[derive(Args)]
struct Ping {
    /// Address or name
    target: String,
    /// How many
    #[arg(short, long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Seconds between two
    #[arg(short, long, default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// Bytes of payload
    #[arg(short, long, default_value_t = 56, value_parser = clap::value_parser!(u16).range(8..=1232))]
    size: u16,
    /// Seconds to wait for an answer
    #[arg(short = 'W', long, default_value_t = 2.0, value_parser = seconds)]
    timeout: f64,
}

#[derive(Args)]
struct Trace {
    /// Address or name
    target: String,
    /// Highest hop limit
    #[arg(short, long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=64))]
    max_hops: u8,
    /// Seconds to wait for each answer
    #[arg(short = 'W', long, default_value_t = 2.0, value_parser = seconds)]
    timeout: f64,
}

#[derive(Args)]
struct Wait {
    /// Seconds to wait
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    timeout: f64,
    /// Wait for a route to this address instead of the first neighbour
    #[arg(long = "for", value_name = "ADDR")]
    address: Option<Ipv6Addr>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=86_400.0).contains(&value) => Ok(value),
        _ => Err("expected seconds from 0.01 to 86400".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // A reader like `head` that has seen enough is no failure.
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            {
                return ExitCode::SUCCESS;
            }
            drop(writeln!(io::stderr(), "molt: {error:#}"));
            ExitCode::from(error.downcast_ref::<ClientError>().map_or(exit::FAILED, ClientError::exit_code))
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Id(command) => id(cli, command)?,
        Command::Status => show(cli, &Request::Status, render::status)?,
        Command::Peers => show(cli, &Request::Peers, render::peers)?,
        Command::Routes { explain: None } => show(cli, &Request::Routes, render::routes)?,
        Command::Routes { explain: Some(address) } => {
            let about = api::Explain { address: *address };
            show(cli, &Request::RoutesExplain(about), render::route_explanation)?;
        }
        Command::Ospf(OspfCommand::Events) => show(cli, &Request::OspfEvents, render::ospf_events)?,
        Command::Ospf(OspfCommand::Neighbors) => show(cli, &Request::OspfNeighbors, render::ospf_neighbors)?,
        Command::Ospf(OspfCommand::Database) => show(cli, &Request::OspfDatabase, render::ospf_database)?,
        Command::Ospf(OspfCommand::Interface) => {
            show(cli, &Request::OspfInterfaces, render::ospf_interfaces)?;
        }
        Command::Ospf(OspfCommand::SpfLog) => show(cli, &Request::OspfSpfLog, render::ospf_spf_log)?,
        Command::Bfd { brief: false } => show(cli, &Request::Bfd, render::bfd)?,
        Command::Bfd { brief: true } => show(cli, &Request::Bfd, render::bfd_brief)?,
        Command::Bgp(BgpCommand::Summary) => show(cli, &Request::BgpSummary, render::bgp_summary)?,
        Command::Bgp(BgpCommand::Routes) => show(cli, &Request::BgpRoutes, render::bgp_routes)?,
        #[cfg(feature = "chain")]
        Command::Chain(command) => {
            let (value, text) = command.run(&cli.socket)?;
            print(cli, value, |_: &Value| text.clone())?;
        }
        Command::Counters { all } => show(cli, &Request::Counters, |answer| render::counters(answer, *all))?,
        Command::Ping(ping) => return probes(cli, &ping.request(), render::ping_line, ping_summary),
        Command::Trace(trace) => return probes(cli, &trace.request(), render::trace_line, |_| String::new()),
        Command::Wait(wait) => return wait_until_ready(cli, wait),
        Command::Reload => show(cli, &Request::Reload, render::reloaded)?,
        Command::Restart => return restart(cli),
        Command::Down => show(cli, &Request::Down, |_: &api::Done| "left the mesh\n".into())?,
    }
    Ok(0)
}

impl Ping {
    fn request(&self) -> Request {
        Request::Ping(api::Ping {
            target: self.target.clone(),
            count: self.count,
            interval_ms: milliseconds(self.interval),
            size: self.size,
            timeout_ms: milliseconds(self.timeout),
        })
    }
}

impl Trace {
    fn request(&self) -> Request {
        Request::Trace(api::Trace {
            target: self.target.clone(),
            max_hops: self.max_hops,
            timeout_ms: milliseconds(self.timeout),
        })
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// Asks for one thing and prints it.
fn show<T: DeserializeOwned>(
    cli: &Cli,
    request: &Request,
    text: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let value = Client::ask(&cli.socket, request)?.answer()?;
    print(cli, value, text)
}

fn print<T: DeserializeOwned>(cli: &Cli, value: Value, text: impl Fn(&T) -> String) -> anyhow::Result<()> {
    let text = if cli.json {
        serde_json::to_string_pretty(&value)? + "\n"
    } else {
        text(&serde_json::from_value(value).map_err(ClientError::Garbled)?)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Asks for probes and prints each as it comes. 0 if any was answered by the destination, else "no reply".
fn probes(
    cli: &Cli,
    request: &Request,
    line: fn(&api::ProbeLine) -> String,
    summary: fn(&api::Done) -> String,
) -> anyhow::Result<u8> {
    let mut client = Client::ask(&cli.socket, request)?;
    loop {
        let value = client.answer()?;
        let last = value.get("schema").and_then(Value::as_str) == Some(schema::DONE);
        let text = match (cli.json, last) {
            (true, _) => format!("{value}\n"),
            (false, true) => summary(&serde_json::from_value(value.clone()).map_err(ClientError::Garbled)?),
            (false, false) => line(&serde_json::from_value(value.clone()).map_err(ClientError::Garbled)?),
        };
        io::stdout().write_all(text.as_bytes())?;
        if last {
            let done: api::Done = serde_json::from_value(value).map_err(ClientError::Garbled)?;
            return Ok(if done.received == 0 { exit::NO_REPLY } else { 0 });
        }
    }
}

fn ping_summary(done: &api::Done) -> String {
    let lost = done.sent.saturating_sub(done.received);
    let percent = (lost * 100).checked_div(done.sent).unwrap_or(0);
    format!("{} sent, {} received, {percent} % lost\n", done.sent, done.received)
}

/// How often a waiting client looks again: below what a person or a script notices.
const WAIT_PERIOD: Duration = Duration::from_millis(50);

fn wait_until_ready(cli: &Cli, wait: &Wait) -> anyhow::Result<u8> {
    let mut left = Duration::from_secs_f64(wait.timeout);
    loop {
        let missing = match waits_for(cli, wait.address) {
            Ok(None) => {
                if cli.json {
                    io::stdout().write_all(
                        format!("{{\"schema\":\"{}\",\"ready\":true}}\n", schema::WAIT).as_bytes(),
                    )?;
                }
                return Ok(0);
            }
            Ok(Some(missing)) => missing,
            Err(error @ ClientError::NotRunning { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        if left.is_zero() {
            if cli.json {
                io::stdout()
                    .write_all(format!("{{\"schema\":\"{}\",\"ready\":false}}\n", schema::WAIT).as_bytes())?;
            }
            drop(writeln!(io::stderr(), "molt: still waiting after {} s: {missing}", wait.timeout));
            return Ok(exit::TIMEOUT);
        }
        let pause = WAIT_PERIOD.min(left);
        left -= pause;
        std::thread::sleep(pause);
    }
}

/// Longest wait for the end of a restart: its grace period, and a little.
const RESTART_PATIENCE: Duration = Duration::from_secs(GRACE.period_s as u64 + 10);

fn restart(cli: &Cli) -> anyhow::Result<u8> {
    Client::ask(&cli.socket, &Request::Restart)?.answer()?;
    let mut left = RESTART_PATIENCE;
    loop {
        let value = Client::ask(&cli.socket, &Request::Status)?.answer()?;
        let status: api::Status = serde_json::from_value(value).map_err(ClientError::Garbled)?;
        let going = status.restart.as_ref().is_some_and(|restart| restart.going);
        if !going || left.is_zero() {
            let complete = status.restart.as_ref().is_none_or(|restart| restart.complete);
            let restarted = api::Restarted {
                schema: schema::RESTARTED.into(),
                version: status.version,
                restart: status.restart,
            };
            print(cli, serde_json::to_value(&restarted)?, render::restarted)?;
            return Ok(if complete { 0 } else { exit::FAILED });
        }
        let pause = WAIT_PERIOD.min(left);
        left -= pause;
        std::thread::sleep(pause);
    }
}

/// What is missing, if anything.
fn waits_for(cli: &Cli, address: Option<Ipv6Addr>) -> Result<Option<String>, ClientError> {
    let Some(address) = address else {
        let value = Client::ask(&cli.socket, &Request::Status)?.answer()?;
        let status: api::Status = serde_json::from_value(value).map_err(ClientError::Garbled)?;
        let peers = status.peers;
        return Ok((!status.ready).then(|| {
            format!(
                "no adjacency is Full ({} peers configured, {} connected)",
                peers.configured, peers.connected
            )
        }));
    };
    let value = Client::ask(&cli.socket, &Request::Routes)?.answer()?;
    let routes: api::Routes = serde_json::from_value(value).map_err(ClientError::Garbled)?;
    let covers = |route: &api::Route| {
        route.prefix.parse().is_ok_and(|prefix: molt_mesh::Prefix| prefix.contains(address))
    };
    Ok((!routes.routes.iter().any(covers)).then(|| format!("there is no route to {address}")))
}

fn id(cli: &Cli, command: &IdCommand) -> anyhow::Result<()> {
    let id = match command {
        IdCommand::New { state_dir, uuid, pow_bits, mesh } => {
            describe(&StateDir::open(state_dir)?.create(*uuid, *pow_bits)?, mesh.prefix)
        }
        IdCommand::Show { state_dir, mesh } => describe(&StateDir::open(state_dir)?.load()?, mesh.prefix),
        IdCommand::Derive { identity, mesh } => derive(identity, mesh.prefix)?,
        IdCommand::Delegate { address, container, to, days, state_dir, mesh } => {
            let node = StateDir::open(state_dir)?.load()?;
            let address = lent(&node.identity, mesh.prefix, *address, container.unwrap_or(0))?;
            let signed = delegate(&node.identity, address, container.unwrap_or(0), *to, *days)?;
            return print(cli, serde_json::to_value(&signed)?, render::delegation);
        }
        IdCommand::Prefix => {
            let prefix = api::Prefix { schema: schema::PREFIX.into(), prefix: draw_prefix()?.to_string() };
            return print(cli, serde_json::to_value(&prefix)?, render::prefix);
        }
    };
    print(cli, serde_json::to_value(&id)?, render::id)
}

/// RFC 4193 section 3.2.1 asks for 40 random bits. The algorithm of section 3.2.2 is for systems that have none.
fn draw_prefix() -> anyhow::Result<MeshPrefix> {
    let mut global_id = [0; 5];
    getrandom::fill(&mut global_id).map_err(io::Error::other).context("no random bits to be had")?;
    Ok(MeshPrefix::from_global_id(global_id))
}

fn describe(node: &NodeState, mesh: MeshPrefix) -> api::Id {
    let addresses = node.addresses(mesh);
    let own = node.identity.address(mesh);
    let first = addresses.first().copied().unwrap_or(own);
    api::Id {
        schema: schema::ID.into(),
        agent_id: node.agent_id().to_string(),
        address: first.ip(),
        trust_class: meshd::class_name(first).into(),
        other_addresses: addresses.iter().skip(1).map(|address| address.ip()).collect(),
        identity_key: Some(node.identity.key().to_string()),
        wireguard_key: Some(node.identity.node_public().to_string()),
        router_id: Some(node.identity.router_id(node.draw).to_string()),
    }
}

/// An anycast address, or without one a container's.
fn lent(
    identity: &Identity,
    mesh: MeshPrefix,
    anycast: Option<Ipv6Addr>,
    container: u16,
) -> anyhow::Result<MeshAddr> {
    let Some(address) = anycast else { return Ok(mesh.container(identity.key(), container)) };
    let known = mesh.address(address).filter(|address| address.class() == TrustClass::Infrastructure);
    known.with_context(|| {
        format!(
            "{address} is no anycast address: they are in {mesh} (see --prefix) with a seventh group below 1000"
        )
    })
}

fn delegate(
    identity: &Identity,
    address: MeshAddr,
    container: u16,
    holder: IdentityKey,
    days: u16,
) -> anyhow::Result<api::Delegation> {
    let unix_ms = Clock::start().unix_ms_at_start();
    let expiry = unix_ms / 1000 + u64::from(days) * 86_400;
    // Rises because time does: of two delegations of a container the later one counts.
    let grant = Grant { owner: *identity.key(), index: container, address, holder, seq: unix_ms, expiry };
    Ok(api::Delegation {
        schema: schema::DELEGATION.into(),
        address: address.ip(),
        owner: grant.owner.to_string(),
        holder: holder.to_string(),
        expiry,
        days,
        grant: grant.sign(identity)?.to_string(),
    })
}

fn derive(identity: &str, mesh: MeshPrefix) -> anyhow::Result<api::Id> {
    let (agent_id, key) = match (identity.parse::<AgentId>(), identity.parse::<IdentityKey>()) {
        (Ok(uuid), _) => (uuid, None),
        (_, Ok(key)) => (AgentId::from_key(&key), Some(key)),
        (Err(uuid), Err(key)) => anyhow::bail!("{identity:?} is {uuid}; and {key}"),
    };
    let Some(address) = mesh.address_of(&agent_id) else {
        anyhow::bail!(
            "{agent_id} has version {}: only versions 1 to 8 have an address on the mesh",
            agent_id.version()
        );
    };
    Ok(api::Id {
        schema: schema::ID.into(),
        agent_id: agent_id.to_string(),
        address: address.ip(),
        trust_class: meshd::class_name(address).into(),
        other_addresses: Vec::new(),
        identity_key: key.map(|key| key.to_string()),
        wireguard_key: None,
        router_id: key.map(|key| molt_mesh::RouterId::from_key(&key, 0).to_string()),
    })
}
