//! Network namespaces joined by virtual cables.
//!
//! A silent cut is a drop rule at the ingress of both ends of a cable: the link stays up, the sender sees its packets
//! leave, and nobody gets an error. That is what a failed path looks like to an overlay.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Process;
use crate::topology::Topology;
use crate::wait;

/// Where iproute2 keeps named namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where it looks for files of a namespace that stand in for those in `/etc`.
const CONFIGURATIONS: &str = "/etc/netns";
/// Every namespace of ours is called `molt-<process id>-<number>-<label>`.
const PREFIX: &str = "molt-";
/// When a command in a namespace counts as stuck.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);

static SWEEP: Once = Once::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a directory for the files of what runs in it. When the last clone is dropped, whatever still
/// runs inside is ended and both are removed.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    dir: TempDir,
}

impl Namespace {
    /// A namespace with a loopback interface that is up, without IPv6 duplicate address detection (its second of waiting
    /// would be part of every measurement).
    ///
    /// # Errors
    /// Without root, or without iproute2.
    pub fn new(label: &str) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "network namespaces need root: run the tests as root (sudo -E cargo test)"
        );
        SWEEP.call_once(sweep);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", process::id());
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir()?;
        finish("ip netns add", ip(&["netns", "add", &name]).output())?;
        let namespace = Self(Arc::new(Inner { name, dir }));
        namespace.ip("link set lo up")?;
        namespace.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        namespace.sysctl("net/ipv6/conf/default/accept_ra", "0")?;
        Ok(namespace)
    }

    /// The name `ip netns` knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A directory that lives as long as the namespace.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.dir.path()
    }

    /// A command that will run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = ip(&["netns", "exec", self.name()]);
        command.arg(program.as_ref());
        command
    }

    /// Runs a command inside and returns what it printed, whatever its status.
    ///
    /// # Errors
    /// If it is not done after a minute.
    pub fn try_run(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.command("timeout");
        // Its own status for "stuck", 124, is also that of `molt wait`; the clock tells as well.
        let limit = COMMAND_TIMEOUT.as_secs().to_string();
        command.args(["--preserve-status", "--kill-after=5", &limit]).args(args).stdin(Stdio::null());
        let start = wait::now();
        let output = command.output().with_context(|| format!("run {args:?}"))?;
        ensure!(start.elapsed() < COMMAND_TIMEOUT, "{args:?} in {} was stuck", self.name());
        Ok(output)
    }

    /// Runs a command inside and returns its standard output.
    ///
    /// # Errors
    /// If it is stuck or fails, with what it said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        finish(&format!("{args:?} in {}", self.name()), self.try_run(args).map_err(std::io::Error::other))
    }

    /// Starts a daemon inside, its log in [`dir`](Self::dir).
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, what: &str, args: &[&str]) -> Result<Process> {
        let (program, args) = args.split_first().context("a program")?;
        let mut command = self.command(program);
        command.args(args);
        self.spawn_command(what, command)
    }

    /// The same for a [`command`](Self::command) that needs more than arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_command(&self, what: &str, command: Command) -> Result<Process> {
        let log = self.dir().join(format!("{what}.log"));
        Process::spawn(&format!("{what} in {}", self.name()), command, &log)
    }

    /// Runs `ip` inside; the words of `line` are its arguments.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, line: &str) -> Result<String> {
        let args: Vec<&str> = ["-n", self.name()].into_iter().chain(line.split_whitespace()).collect();
        finish(&format!("ip {}", args.join(" ")), ip(&args).output())
    }

    /// Sets a kernel parameter of the namespace, named by its path below `/proc/sys`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(path);
        self.enter(|| fs::write(&file, value))?
            .with_context(|| format!("write {value} to {}", file.display()))
    }

    /// Gives what is started inside from here on its own `/etc/hosts`. Written again, it changes for what runs already.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn hosts(&self, text: &str) -> Result<()> {
        // iproute2 mounts the file over `/etc/hosts` for each command. It must stay the same file.
        let dir = Path::new(CONFIGURATIONS).join(self.name());
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("hosts"), text).with_context(|| format!("write {}/hosts", dir.display()))
    }

    /// Lets the kernel of the namespace route IPv6, as a stock router does.
    ///
    /// # Errors
    /// As [`sysctl`](Self::sysctl).
    pub fn forward_ipv6(&self) -> Result<()> {
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Runs `work` on a thread inside the namespace. Sockets it opens stay there for good.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = File::open(Path::new(NAMESPACES).join(self.name()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(handle, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A cable between two interfaces.
#[derive(Debug, Clone)]
pub struct Link {
    ends: [End; 2],
}

#[derive(Debug, Clone)]
struct End {
    namespace: String,
    interface: String,
}

impl Link {
    /// Joins two namespaces by a pair of virtual Ethernet interfaces of the given names, both up, without addresses.
    ///
    /// # Errors
    /// If a name is taken or longer than 15 bytes.
    pub fn new(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<Self> {
        let ends = [a, b].map(|(namespace, interface)| End {
            namespace: namespace.name().to_owned(),
            interface: interface.to_owned(),
        });
        let [left, right] = &ends;
        let args = ["link", "add", "name", &left.interface, "netns", &left.namespace, "type", "veth"];
        let peer = ["peer", "name", &right.interface, "netns", &right.namespace];
        finish("ip link add", ip(&[args.as_slice(), &peer].concat()).output())?;
        a.0.ip(&format!("link set {} up", left.interface))?;
        b.0.ip(&format!("link set {} up", right.interface))?;
        Ok(Self { ends })
    }

    /// From here on nothing arrives at either end. The interfaces stay up and no sender gets an error.
    ///
    /// # Errors
    /// What nftables said.
    pub fn cut(&self) -> Result<()> {
        self.both(|end| {
            let interface = &end.interface;
            let hook = format!("type filter hook ingress device \"{interface}\" priority 0; policy drop;");
            format!("table netdev cut-{interface} {{ chain ingress {{ {hook} }} ; }}")
        })
    }

    /// Undoes [`cut`](Self::cut).
    ///
    /// # Errors
    /// If the link was not cut.
    pub fn heal(&self) -> Result<()> {
        self.both(|end| format!("delete table netdev cut-{}", end.interface))
    }

    /// How many packets arrived at either end so far.
    ///
    /// # Errors
    /// If an interface is gone.
    pub fn received(&self) -> Result<u64> {
        let at_end = |End { namespace, interface }: &End| {
            let args = ["-n", namespace, "-s", "-j", "link", "show", "dev", interface];
            let text = finish("ip link show", ip(&args).output())?;
            let links: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
            links[0]["stats64"]["rx"]["packets"].as_u64().with_context(|| format!("no counter in {text}"))
        };
        self.ends.iter().map(at_end).sum()
    }

    /// Both rule sets are loaded at the same time, so that the moment of the cut is as sharp as it can be.
    fn both(&self, rules: impl Fn(&End) -> String) -> Result<()> {
        let start = |end: &End| {
            let mut command = ip(&["netns", "exec", &end.namespace, "nft", &rules(end)]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let children = self.ends.each_ref().map(start);
        for child in children {
            finish("nft", child.and_then(process::Child::wait_with_output))?;
        }
        Ok(())
    }
}

/// An Ethernet switch in a namespace of its own, for several nodes on one segment.
#[derive(Debug)]
pub struct Switch {
    namespace: Namespace,
    ports: AtomicU32,
}

impl Switch {
    /// A switch without ports.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new(label: &str) -> Result<Self> {
        let namespace = Namespace::new(label)?;
        namespace.ip("link add br0 type bridge mcast_snooping 0")?;
        namespace.ip("link set br0 up")?;
        Ok(Self { namespace, ports: AtomicU32::new(0) })
    }

    /// Plugs `interface` of a namespace into the next port.
    ///
    /// # Errors
    /// As [`Link::new`].
    pub fn attach(&self, namespace: &Namespace, interface: &str) -> Result<Link> {
        let port = format!("port{}", self.ports.fetch_add(1, Ordering::Relaxed));
        let link = Link::new((namespace, interface), (&self.namespace, &port))?;
        self.namespace.ip(&format!("link set {port} master br0"))?;
        Ok(link)
    }
}

/// A namespace for each node of a topology and a cable with addresses for each link.
///
/// Link number `n` between nodes `a < b` is the interface `to<b>` at `a` and `to<a>` at `b`, with the addresses
/// `10.64.0.0/30 + 4n` and `fd99::n:0/112`, the lower one at `a`.
#[derive(Debug)]
pub struct Net {
    /// One for each node.
    pub nodes: Vec<Namespace>,
    /// One for each link of the topology, in its order.
    pub links: Vec<Link>,
    /// What it was built from.
    pub topology: Topology,
}

impl Net {
    /// Builds it.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn new(topology: Topology) -> Result<Self> {
        let nodes: Vec<Namespace> =
            (0..topology.nodes).map(|node| Namespace::new(&format!("n{node}"))).collect::<Result<_>>()?;
        let mut links = Vec::with_capacity(topology.links.len());
        for (number, &(a, b)) in topology.links.iter().enumerate() {
            let (Some(left), Some(right)) = (nodes.get(a), nodes.get(b)) else {
                bail!("link {a}-{b} names a node beyond {}", topology.nodes);
            };
            let (at_a, at_b) = (format!("to{b}"), format!("to{a}"));
            links.push(Link::new((left, &at_a), (right, &at_b))?);
            for (end, namespace, interface) in [(0, left, &at_a), (1, right, &at_b)] {
                let (v4, v6) = (Self::ipv4(number, end), Self::ipv6(number, end));
                namespace.ip(&format!("addr add {v4}/30 dev {interface}"))?;
                namespace.ip(&format!("addr add {v6}/112 dev {interface} nodad"))?;
            }
        }
        Ok(Self { nodes, links, topology })
    }

    /// The number of the link between two nodes.
    ///
    /// # Errors
    /// If they are not neighbours.
    pub fn link(&self, a: usize, b: usize) -> Result<usize> {
        let wanted = (a.min(b), a.max(b));
        let found = self.topology.links.iter().position(|link| *link == wanted);
        found.with_context(|| format!("{a} and {b} are not joined"))
    }

    /// The IPv4 address of one end of a link: 0 is the smaller node's.
    #[must_use]
    pub fn ipv4(link: usize, end: usize) -> std::net::Ipv4Addr {
        let base = u32::from_be_bytes([10, 64, 0, 0]);
        std::net::Ipv4Addr::from(base + u32::try_from(4 * link + end + 1).unwrap_or_default())
    }

    /// The IPv6 address of one end of a link.
    #[must_use]
    pub fn ipv6(link: usize, end: usize) -> std::net::Ipv6Addr {
        let link = u16::try_from(link).unwrap_or_default();
        std::net::Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, link, if end == 0 { 1 } else { 2 })
    }
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args).stdin(Stdio::null());
    command
}

fn finish(what: &str, output: std::io::Result<Output>) -> Result<String> {
    let output =
        output.with_context(|| format!("{what} (lab/install-packages installs what the lab needs)"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let stdout = text(&output.stdout);
    if !output.status.success() {
        bail!("{what}: {}\n{stdout}\n{}", output.status, text(&output.stderr));
    }
    Ok(stdout)
}

/// Removes the namespaces of processes that no longer exist: a test killed with `SIGKILL` cannot do it itself.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMESPACES) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

/// Ends what runs in a namespace and removes it. Nothing useful can be done about an error here.
fn remove(name: &str) {
    let pids = ip(&["netns", "pids", name]).output().map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = ip(&["netns", "delete", name]).output();
    let _ = fs::remove_dir_all(Path::new(CONFIGURATIONS).join(name));
}
