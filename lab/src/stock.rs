//! What others run: the routers a mesh must get along with, started as their distribution ships them.
//!
//! Each daemon runs in the foreground with its own files in the directory of its namespace, so any number of them runs
//! side by side and the machine's own `frr` or `bird` service is not touched.

pub mod bird;
pub mod border;
pub mod frr;
pub mod wireguard;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use molt_mesh::{Identity, MeshPrefix, Prefix, Seed};
use serde_json::Value;

use crate::netns::Namespace;
use crate::wait::wait_until;

pub use bird::Bird;
pub use frr::Frr;
pub use wireguard::{Engine, Interface, Peer, WireGuard};

/// An OSPF neighbour as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Dotted quad.
    pub router_id: String,
    /// The word of RFC 2328, such as `Full`.
    pub state: String,
    /// The interface it is on; of `meshd` the number of the tunnel.
    pub interface: String,
}

/// A BFD session as a router shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BfdSession {
    /// Address of the peer.
    pub peer: Ipv6Addr,
    /// Whether it is Up.
    pub up: bool,
    /// The interval at which this router sends.
    pub interval: Duration,
    /// After how much silence it calls the peer down.
    pub detection_time: Duration,
}

/// What a stock router of the lab is told.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// Its router id, dotted quad.
    pub router_id: String,
    /// What it announces as a /128.
    pub address: Ipv6Addr,
    /// One point-to-point interface for each neighbour.
    pub interfaces: Vec<String>,
    /// HelloInterval in seconds. RouterDeadInterval is four times that.
    pub hello_s: u16,
    /// RxmtInterval in seconds.
    pub retransmit_s: u16,
    /// Whether BFD, at 100 ms x 3, watches the adjacencies.
    pub bfd: bool,
    /// Area of the interfaces.
    pub area: u32,
    /// Instance id on them.
    pub instance: u8,
    /// Whether they are point-to-point, else broadcast.
    pub point_to_point: bool,
    /// What the router announces as external to OSPF.
    pub external: Vec<Prefix>,
    /// BGP in place of OSPF.
    pub border: Option<border::Border>,
}

impl RouterConfig {
    /// Router number `number` (1 to 65535): router id `10.255.x.y`, address `fd00:6d6f:6c74:bbbb::number`, the timers every
    /// implementation has by default, BFD.
    #[must_use]
    pub fn numbered(number: u16, interfaces: Vec<String>) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            router_id: format!("10.255.{high}.{low}"),
            address: Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0xbbbb, 0, 0, 0, number),
            interfaces,
            hello_s: 10,
            retransmit_s: 5,
            bfd: true,
            area: 0,
            instance: 0,
            point_to_point: true,
            external: Vec::new(),
            border: None,
        }
    }
}

/// A routing daemon in a namespace.
pub trait Router {
    /// Its OSPF neighbours.
    ///
    /// # Errors
    /// If it does not answer, or not as expected.
    fn neighbours(&self) -> Result<Vec<Neighbour>>;

    /// Its BFD sessions.
    ///
    /// # Errors
    /// If it does not answer, or not as expected.
    fn bfd_sessions(&self) -> Result<Vec<BfdSession>>;

    /// Waits until it has `count` neighbours, all Full, and returns how long that took.
    ///
    /// # Errors
    /// After `timeout`, with the neighbours there were.
    fn wait_full(&self, count: usize, timeout: Duration) -> Result<Duration> {
        let full = wait_until(&format!("{count} neighbours in Full"), timeout, || {
            let neighbours = self.neighbours()?;
            let full = neighbours.iter().filter(|neighbour| neighbour.state == "Full").count();
            ensure!(full == count, "they are {neighbours:?}");
            Ok(())
        });
        full.map(|((), took)| took)
    }

    /// Waits until `count` BFD sessions are Up at 100 ms x 3, and returns how long that took.
    ///
    /// # Errors
    /// After `timeout`, with the sessions there were.
    fn wait_bfd_up(&self, count: usize, timeout: Duration) -> Result<Duration> {
        let up = wait_until(&format!("{count} BFD sessions Up"), timeout, || {
            let sessions = self.bfd_sessions()?;
            let fast = |session: &&BfdSession| {
                session.up
                    && session.interval == Duration::from_millis(100)
                    && session.detection_time == Duration::from_millis(300)
            };
            ensure!(sessions.iter().filter(fast).count() == count, "they are {sessions:?}");
            Ok(())
        });
        up.map(|((), took)| took)
    }
}

/// Keys for the lab, the same for the same number.
#[must_use]
pub fn identity(number: u8) -> Identity {
    Seed::from_bytes([number; 32]).identity()
}

/// The kernel's routes into the mesh prefix: for each the interfaces it goes through.
///
/// # Errors
/// If `ip` does not answer as expected.
pub fn kernel_routes(namespace: &Namespace) -> Result<BTreeMap<Prefix, Vec<String>>> {
    let text = namespace.ip(&format!("-6 -j route show root {}", MeshPrefix::DEFAULT))?;
    let routes: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let mut found: BTreeMap<Prefix, Vec<String>> = BTreeMap::new();
    for route in routes.as_array().into_iter().flatten() {
        let dst = route["dst"].as_str().context("a route without a destination")?;
        let dst = if dst.contains('/') { dst.to_owned() } else { format!("{dst}/128") };
        let hops = route["nexthops"].as_array().map_or(std::slice::from_ref(route), Vec::as_slice);
        let interfaces = hops.iter().filter_map(|hop| hop["dev"].as_str()).map(str::to_owned);
        found.entry(dst.parse()?).or_default().extend(interfaces);
    }
    Ok(found)
}

/// Waits until the kernel routes `address` through an interface other than the loopback.
///
/// # Errors
/// After `timeout`, with the routes there were.
pub fn wait_route(namespace: &Namespace, address: Ipv6Addr, timeout: Duration) -> Result<Duration> {
    let found = wait_until(&format!("a route to {address} in {}", namespace.name()), timeout, || {
        let routes = kernel_routes(namespace)?;
        let interfaces = routes.get(&Prefix::host(address)).map(Vec::as_slice).unwrap_or_default();
        ensure!(interfaces.iter().any(|interface| interface != "lo"), "the routes are {routes:?}");
        Ok(())
    });
    found.map(|((), took)| took)
}
