//! WireGuard in user space, as others build it.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use molt_mesh::{Identity, NodePublic};

use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// What a stock router lets through a tunnel to a mesh: link-local and multicast for OSPFv3 and BFD, the mesh prefix.
pub const ALLOWED_IPS: &str = "fe80::/10, ff02::/16, fd00:6d6f:6c74::/48";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A program that makes a WireGuard interface.
#[derive(Debug, Clone)]
pub enum Engine {
    /// `wireguard-go` at this path.
    WireguardGo(PathBuf),
    /// `boringtun-cli` at this path.
    Boringtun(PathBuf),
}

impl Engine {
    /// The distribution's `wireguard-go`.
    #[must_use]
    pub fn installed() -> Self {
        Self::WireguardGo("wireguard-go".into())
    }
}

/// The other end of a tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its public key.
    pub key: NodePublic,
    /// Where it is, unless it is to find us.
    pub endpoint: Option<SocketAddr>,
}

/// How an operator sets up the interface.
#[derive(Debug, Clone)]
pub struct Interface {
    /// MTU in bytes.
    pub mtu: u32,
    /// AllowedIPs of every peer.
    pub allowed_ips: String,
    /// Whether it gets the link-local address that the mesh derives from its key.
    pub link_local: bool,
    /// Whether it has the MULTICAST flag, as wireguard-go's have and the kernel's have not.
    pub multicast: bool,
}

impl Default for Interface {
    fn default() -> Self {
        Self { mtu: 1280, allowed_ips: ALLOWED_IPS.to_owned(), link_local: true, multicast: true }
    }
}

/// A WireGuard interface and the process that serves it.
#[derive(Debug)]
pub struct WireGuard {
    /// The process.
    pub process: Process,
    interface: String,
    link_local: Ipv6Addr,
}

impl WireGuard {
    /// Starts the program and configures the interface: key, port, peers, MTU, the link-local address derived from the
    /// key. The kernel gives such an interface no link-local address, and without one no routing protocol speaks.
    ///
    /// # Errors
    /// If the program or `wg` is missing or refuses.
    pub fn start(
        namespace: &Namespace,
        engine: &Engine,
        identity: &Identity,
        listen_port: u16,
        setup: &Interface,
        peers: &[Peer],
    ) -> Result<Self> {
        // The control sockets of all namespaces share one directory, /run/wireguard, so the name must be unique.
        let interface = format!("wg{:x}x{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (program, args): (_, &[&str]) = match engine {
            Engine::WireguardGo(program) => (program, &["--foreground"]),
            Engine::Boringtun(program) => (program, &["--foreground", "--disable-drop-privileges"]),
        };
        let mut command = namespace.command(program);
        command.args(args).arg(&interface).env("WG_PROCESS_FOREGROUND", "1");
        let mut process = namespace.spawn_command(&interface, command)?;
        let socket = PathBuf::from(format!("/run/wireguard/{interface}.sock"));
        wait_until("the interface and its control socket", Duration::from_secs(10), || {
            process.check_alive()?;
            ensure!(socket.exists(), "{} does not exist", socket.display());
            namespace.ip(&format!("link show {interface}"))
        })?;

        let file = namespace.dir().join(format!("{interface}.conf"));
        let mut text = String::new();
        let secret = STANDARD.encode(identity.wireguard_secret().as_bytes());
        writeln!(text, "[Interface]\nPrivateKey = {secret}\nListenPort = {listen_port}")?;
        for peer in peers {
            let key = STANDARD.encode(peer.key.as_bytes());
            writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = {}", setup.allowed_ips)?;
            if let Some(endpoint) = peer.endpoint {
                writeln!(text, "Endpoint = {endpoint}")?;
            }
        }
        fs::write(&file, text)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        namespace.run(&["wg", "setconf", &interface, &file.to_string_lossy()])?;
        // Some kernels add a random link-local address of their own, and then the two compete as source address.
        namespace.ip(&format!("link set {interface} addrgenmode none"))?;
        let multicast = if setup.multicast { "on" } else { "off" };
        namespace.ip(&format!("link set {interface} mtu {} multicast {multicast} up", setup.mtu))?;
        let link_local = identity.link_local();
        if setup.link_local {
            namespace.ip(&format!("addr replace {link_local}/64 dev {interface} nodad"))?;
        }
        Ok(Self { process, interface, link_local })
    }

    /// The name of the interface.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The link-local address on it.
    #[must_use]
    pub fn link_local(&self) -> Ipv6Addr {
        self.link_local
    }
}
