//! One `meshd` of a mesh: its files, its process, and `molt` that talks to it.
//!
//! The binaries are those of the profile the test itself was built with, brought up to date by one `cargo build` for each
//! test program: cargo tells a test where the binaries of its own package are, but these belong to the package `meshd`, and
//! nothing may depend on a stale one.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use molt_mesh::port::UNDERLAY;
use molt_mesh::{IdentityKey, MeshPrefix, NodePublic};
use serde_json::Value;

use super::{Neighbour, Plan, Setup, TUN};
use crate::netns::Namespace;
use crate::process::Process;
use crate::stock::{self, BfdSession, Router, border};
use crate::wait::wait_until;

/// A `meshd` and what it was told.
#[derive(Debug)]
pub struct Meshd {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its mesh address.
    pub address: Ipv6Addr,
    /// Its WireGuard key.
    pub key: NodePublic,
    /// The /48 of its mesh.
    pub mesh: MeshPrefix,
    /// Its configuration file; rewrite it and [`molt`](Self::molt) `reload`.
    pub config: PathBuf,
    /// Where its key is.
    pub state_dir: PathBuf,
    /// Where it answers `molt`.
    pub socket: PathBuf,
    pub(super) process: Option<Process>,
}

impl Meshd {
    pub(super) fn start(
        namespace: Namespace,
        plan: &Plan,
        node: usize,
        peers: &[Neighbour],
        strangers: &[(String, Ipv6Addr)],
        borders: &[IdentityKey],
        setup: &Setup,
    ) -> Result<Self> {
        let dir = namespace.dir().to_owned();
        let (config, socket) = (dir.join("meshd.toml"), dir.join("molt.sock"));
        fs::write(&config, toml(node, plan, peers, borders, setup)? + &origins(peers, strangers)?)?;
        let state_dir = state_dir(&namespace);
        let Plan { address, key, mesh, .. } = *plan;
        let mut meshd = Self { namespace, address, key, mesh, config, state_dir, socket, process: None };
        meshd.run()?;
        Ok(meshd)
    }

    /// Rewrites the configuration, for the next [`run`](Self::run) or `molt reload`.
    ///
    /// # Errors
    /// If the file is gone.
    pub fn configure(&self, change: impl FnOnce(String) -> String) -> Result<()> {
        let text = fs::read_to_string(&self.config)?;
        Ok(fs::write(&self.config, change(text))?)
    }

    /// Starts the daemon, again if it has ended, and waits until it answers.
    ///
    /// # Errors
    /// If it ends instead, with its log.
    pub fn run(&mut self) -> Result<()> {
        self.run_program(&binary("meshd")?)
    }

    /// The same with another program file.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_program(&mut self, program: &Path) -> Result<()> {
        let mut command = self.namespace.command(program);
        command.arg("--config").arg(&self.config);
        command.arg("--state-dir").arg(&self.state_dir);
        command.arg("--socket").arg(&self.socket);
        // The old one must be reaped. What a killed one left behind is for the new one to deal with.
        self.process = None;
        let mut process = self.namespace.spawn_command("meshd", command)?;
        wait_until("meshd to answer", Duration::from_secs(10), || {
            process.check_alive()?;
            self.molt(&["status"])
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The process, for its memory, its signals and its log.
    ///
    /// # Errors
    /// If it was ended.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("this meshd was ended")
    }

    /// Ends it as a service manager does.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.take().context("this meshd was ended")?.terminate()
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// If it was ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("this meshd was ended")?.kill()
    }

    /// What a `molt` command answers with `--json`.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn molt(&self, args: &[&str]) -> Result<Value> {
        json(&self.molt_output(&[args, &["--json"]].concat())?)
    }

    /// What a `molt` command that answers line by line (`ping`, `trace`) says with `--json`.
    ///
    /// # Errors
    /// If it fails, with what it said.
    pub fn molt_lines(&self, args: &[&str]) -> Result<Vec<Value>> {
        let output = self.molt_output(&[args, &["--json"]].concat())?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{}: {out}{err}", output.status);
        out.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    /// What a `molt` command prints for people, and its status.
    ///
    /// # Errors
    /// If it is stuck.
    pub fn molt_output(&self, args: &[&str]) -> Result<Output> {
        let (molt, socket) = (binary("molt")?, self.socket.to_string_lossy());
        let molt = molt.to_string_lossy();
        self.namespace.try_run(&[&[&*molt, "--socket", &*socket], args].concat())
    }
}

impl Router for Meshd {
    fn neighbours(&self) -> Result<Vec<stock::Neighbour>> {
        let answer = self.molt(&["ospf", "neighbors"])?;
        let neighbours = answer["neighbors"].as_array().context("no list of neighbours")?;
        let neighbour = |neighbour: &Value| {
            let text = |name: &str| neighbour[name].as_str().map(str::to_owned);
            let interface = neighbour["interface-id"].as_u64().map(|id| id.to_string());
            let fields = text("neighbor-router-id").zip(text("state")).zip(interface);
            let ((router_id, state), interface) = fields.with_context(|| format!("{neighbour}"))?;
            Ok(stock::Neighbour { router_id, state, interface })
        };
        neighbours.iter().map(neighbour).collect()
    }

    fn bfd_sessions(&self) -> Result<Vec<BfdSession>> {
        let answer = self.molt(&["bfd"])?;
        let sessions = answer["sessions"].as_array().context("no list of sessions")?;
        let session = |session: &Value| {
            let millis = |name: &str| session[name].as_f64().map(|ms| Duration::from_secs_f64(ms / 1e3));
            let times = millis("negotiated-tx-interval-ms").zip(millis("detection-time-ms"));
            let (interval, detection_time) = times.with_context(|| format!("{session}"))?;
            let peer = session["dest-addr"].as_str().and_then(|text| text.parse().ok());
            let peer = peer.with_context(|| format!("no address in {session}"))?;
            Ok(BfdSession { peer, up: session["local-state"] == "Up", interval, detection_time })
        };
        sessions.iter().map(session).collect()
    }
}

impl Drop for Meshd {
    /// Without a goodbye: that takes a second each, and at the end of a test nobody is left to hear it.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
        }
    }
}

fn toml(
    node: usize,
    plan: &Plan,
    peers: &[Neighbour],
    borders: &[IdentityKey],
    setup: &Setup,
) -> Result<String> {
    let mut text = String::new();
    let hello_s = setup.hello_s;
    writeln!(text, "[node]\nname = \"n{node}\"\n[underlay]\nlisten = \"[::]:{UNDERLAY}\"")?;
    writeln!(text, "[tun]\nname = \"{TUN}\"")?;
    writeln!(text, "[ospf]\nhello_s = {hello_s}\ndead_s = {}", 4 * hello_s)?;
    for peer in peers {
        let key = STANDARD.encode(peer.key.as_bytes());
        writeln!(text, "[[peer]]\nwireguard_key = \"{key}\"\nendpoint = \"{}\"", peer.endpoint)?;
        if peer.mesh != plan.mesh {
            writeln!(text, "border = \"{}\"", peer.address)?;
        } else if peer.stock {
            writeln!(text, "stock = true\nallow = [\"{}/128\"]", peer.address)?;
        }
    }
    if plan.mesh != MeshPrefix::DEFAULT || setup.bgp.is_some() {
        writeln!(text, "[network]\nprefix = \"{}\"", plan.mesh)?;
    }
    if let Some(policy) = setup.bgp {
        text += &bgp(plan, peers, borders, setup, policy)?;
    }
    Ok(text)
}

/// The rest of `[network]`, and at a border `[bgp]`.
fn bgp(
    plan: &Plan,
    peers: &[Neighbour],
    borders: &[IdentityKey],
    setup: &Setup,
    policy: &str,
) -> Result<String> {
    let ours = (setup.prefix, border::OUR_AS);
    let theirs = (border::OTHER_MESH, border::OTHER_AS);
    let ((mesh, asn), (other, other_asn)) =
        if plan.mesh == setup.prefix { (ours, theirs) } else { (theirs, ours) };
    let mut text = String::new();
    let by: Vec<String> = borders.iter().map(|key| format!("\"{key}\"")).collect();
    writeln!(text, "external = [{{ prefix = \"{other}\", by = [{}] }}]", by.join(", "))?;
    let mut borders = peers.iter().filter(|peer| peer.mesh != mesh).peekable();
    if borders.peek().is_some() {
        writeln!(text, "[bgp]\nas = {asn}\nannounce = [\"{mesh}\"]")?;
    }
    for peer in borders {
        writeln!(text, "[[bgp.peer]]\naddress = \"{}\"\nas = {other_asn}", peer.address)?;
        if peer.stock {
            // BIRD sends BFD packets with a hop limit of 64.
            writeln!(text, "multihop = 192")?;
        }
        text += &policy.replace("OURS", &mesh.to_string()).replace("THEIRS", &other.to_string());
    }
    Ok(text)
}

/// The stock routers that are no neighbours: `allow` of a peer does not reach them.
fn origins(peers: &[Neighbour], strangers: &[(String, Ipv6Addr)]) -> Result<String> {
    let mut text = String::new();
    let is_peer = |address: &Ipv6Addr| peers.iter().any(|peer| peer.stock && peer.address == *address);
    for (router, address) in strangers.iter().filter(|(_, address)| !is_peer(address)) {
        writeln!(text, "[[origin]]\nprefix = \"{address}/128\"\nrouter = \"{router}\"")?;
    }
    Ok(text)
}

fn json(output: &Output) -> Result<Value> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{}: {out}{err}", output.status);
    serde_json::from_str(&out).with_context(|| format!("not JSON: {out}"))
}

pub(super) fn state_dir(namespace: &Namespace) -> PathBuf {
    namespace.dir().join("state")
}

/// `molt id new`: a key of its own for each node of each run.
pub(super) fn new_identity(
    state_dir: &Path,
    mesh: MeshPrefix,
) -> Result<(NodePublic, IdentityKey, Ipv6Addr)> {
    let mut command = Command::new(binary("molt")?);
    command.args(["id", "new", "--json", "--prefix", &mesh.to_string(), "--state-dir"]).arg(state_dir);
    let answer = json(&command.output()?)?;
    let text = |name: &str| answer[name].as_str().with_context(|| format!("no {name} in {answer}"));
    let address = mesh.address(text("address")?.parse()?).context("an address of another mesh")?;
    Ok((text("wireguard-key")?.parse()?, text("identity-key")?.parse()?, address.ip()))
}

/// Where a binary of the package `meshd` is: beside the folder of the running test, brought up to date once.
///
/// # Errors
/// If it does not compile.
pub fn binary(name: &str) -> Result<PathBuf> {
    static PROFILE: LazyLock<Result<PathBuf, String>> =
        LazyLock::new(|| build().map_err(|error| format!("{error:#}")));
    let profile = PROFILE.as_ref().map_err(|error| anyhow!("{error}"))?;
    let path = profile.join(name);
    ensure!(path.exists(), "{} does not exist", path.display());
    Ok(path)
}

/// The folder of the running program's profile, `target/debug` or `target/release`: tests are in `deps` below it.
///
/// # Errors
/// If the program was deleted.
pub fn profile_dir() -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let dir = exe.parent().context("a program is in a folder")?;
    Ok(if dir.ends_with("deps") { dir.parent().context("deps is in a folder")? } else { dir }.to_owned())
}

fn build() -> Result<PathBuf> {
    let profile = profile_dir()?;
    let target = profile.parent().context("a profile is in the target folder")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "meshd", "--bins", "--target-dir"]).arg(target);
    command.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let output = command.output().context("run cargo build")?;
    ensure!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(profile)
}
