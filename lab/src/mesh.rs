//! A topology of real routers: `meshd` at each node, or FRR or BIRD over `wireguard-go` where a test says so.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use molt_mesh::port::UNDERLAY;
use molt_mesh::{Identity, IdentityKey, MeshPrefix, NodePublic};

use crate::netns::{Namespace, Net};
use crate::probe::Probe;
use crate::process::Process;
use crate::relay::{self, Relay, Weather};
use crate::stock::{self, Bird, Engine, Frr, Interface, Peer, Router, RouterConfig, WireGuard, border};
use crate::topology::Topology;
use crate::wait::{now, wait_until};

mod meshd;

pub use meshd::{Meshd, binary, profile_dir};
use meshd::{new_identity, state_dir};

/// Name of the interface of every `meshd`; each has a namespace to itself.
pub const TUN: &str = "molt0";

/// First port of the relays, far from those of the routers.
const RELAY: u16 = 20_000;

/// What runs at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Ours.
    Meshd,
    /// FRR over `wireguard-go`.
    Frr,
    /// BIRD over `wireguard-go`.
    Bird,
}

/// How the routers of a mesh are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// HelloInterval in seconds.
    pub hello_s: u16,
    /// The tunnels of stock routers.
    pub interface: Interface,
    /// Changes what stock routers are told.
    pub router: fn(&mut RouterConfig),
    /// The /48 of our mesh.
    pub prefix: MeshPrefix,
    /// What a `[[bgp.peer]]` says beside address and AS number, with `OURS` and `THEIRS` for the two prefixes: stock routers
    /// are then borders of another mesh, and their neighbours the borders of ours.
    pub bgp: Option<&'static str>,
    /// The first node of the other mesh, if that is made of `meshd`, too. Where a link joins the two are their borders.
    pub other: Option<usize>,
    /// How the underlay treats datagrams, unless it delivers them all.
    pub weather: Option<Weather>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hello_s: 10,
            interface: Interface::default(),
            router: |_| {},
            prefix: MeshPrefix::DEFAULT,
            bgp: None,
            other: None,
            weather: None,
        }
    }
}

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    /// One of these for each node of the topology. Dropped before the namespaces they run in.
    pub nodes: Vec<Node>,
    /// One for each link, if the underlay has a [`Weather`].
    pub relays: Vec<Relay>,
    /// The underlay.
    pub net: Net,
}

/// One router of a mesh.
#[derive(Debug)]
pub enum Node {
    /// Ours.
    Meshd(Meshd),
    /// FRR or BIRD.
    Stock(Stock),
}

/// A stock router and its tunnels, one interface for each neighbour.
#[derive(Debug)]
pub struct Stock {
    /// Its address.
    pub address: Ipv6Addr,
    /// The routing daemon.
    pub router: Daemon,
    /// Its tunnels, in the order of its neighbours.
    pub tunnels: Vec<WireGuard>,
}

/// A stock routing daemon.
#[derive(Debug)]
pub enum Daemon {
    /// FRR.
    Frr(Frr),
    /// BIRD.
    Bird(Bird),
}

impl Daemon {
    /// Ends the daemon as a crash does and starts it again with the same configuration.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self) -> Result<()> {
        match self {
            Self::Frr(frr) => frr.restart_ospf(),
            Self::Bird(bird) => bird.restart(),
        }
    }
}

impl Node {
    /// The address the mesh reaches it at.
    #[must_use]
    pub fn address(&self) -> Ipv6Addr {
        match self {
            Self::Meshd(meshd) => meshd.address,
            Self::Stock(stock) => stock.address,
        }
    }

    /// Every process that makes up the router, tunnels included.
    ///
    /// # Errors
    /// If it was ended.
    pub fn processes(&self) -> Result<Vec<&Process>> {
        match self {
            Self::Meshd(meshd) => Ok(vec![meshd.process.as_ref().context("this meshd was ended")?]),
            Self::Stock(stock) => {
                let daemons = match &stock.router {
                    Daemon::Frr(frr) => frr.daemons(),
                    Daemon::Bird(bird) => std::slice::from_ref(bird.process()),
                };
                Ok(daemons.iter().chain(stock.tunnels.iter().map(|tunnel| &tunnel.process)).collect())
            }
        }
    }
}

/// What the others must know of a node before it runs.
struct Plan {
    role: Role,
    key: NodePublic,
    /// Of a `meshd`.
    identity_key: Option<IdentityKey>,
    address: Ipv6Addr,
    mesh: MeshPrefix,
    /// Of a stock node, which has a file of its own for it.
    identity: Identity,
}

impl Mesh {
    /// Builds the underlay and starts a `meshd` at every node.
    ///
    /// # Errors
    /// If anything of it does not start.
    pub fn start(topology: Topology) -> Result<Self> {
        let roles = vec![Role::Meshd; topology.nodes];
        Self::start_mixed(topology, &roles)
    }

    /// The same with other routers at some nodes.
    ///
    /// # Errors
    /// If anything of it does not start, or there are not as many roles as nodes.
    pub fn start_mixed(topology: Topology, roles: &[Role]) -> Result<Self> {
        Self::start_with(topology, roles, 10)
    }

    /// The same with stock routers that are set up otherwise.
    ///
    /// # Errors
    /// As [`start_mixed`](Self::start_mixed).
    pub fn start_set_up(topology: Topology, roles: &[Role], setup: &Setup) -> Result<Self> {
        let net = Net::new(topology)?;
        Self::start_in(net, roles, setup)
    }

    /// The same with a HelloInterval of `hello_s` at every node. A stock router greets a neighbour that is back only when
    /// its next Hello is due.
    ///
    /// # Errors
    /// As [`start_mixed`](Self::start_mixed).
    pub fn start_with(topology: Topology, roles: &[Role], hello_s: u16) -> Result<Self> {
        Self::start_set_up(topology, roles, &Setup { hello_s, ..Setup::default() })
    }

    fn start_in(net: Net, roles: &[Role], setup: &Setup) -> Result<Self> {
        let nodes = net.topology.nodes;
        ensure!(roles.len() == nodes, "{} roles for {nodes} nodes", roles.len());
        let plans: Vec<Plan> = roles
            .iter()
            .zip(1..)
            .zip(&net.nodes)
            .map(|((role, number), namespace)| plan(*role, number, namespace, setup))
            .collect::<Result<_>>()?;
        let stock: Vec<(String, Ipv6Addr)> = plans
            .iter()
            .zip(1..)
            .filter(|(plan, _)| plan.role != Role::Meshd && setup.bgp.is_none())
            .map(|(plan, number)| (RouterConfig::numbered(number, Vec::new()).router_id, plan.address))
            .collect();
        let mut mesh = Self { nodes: Vec::new(), relays: Vec::new(), net };
        if let Some(weather) = setup.weather {
            mesh.start_relays(&plans, weather)?;
        }
        for (node, plan) in plans.iter().enumerate() {
            let namespace = mesh.net.nodes.get(node).context("a namespace for each node")?.clone();
            let peers = mesh.peers(node, &plans)?;
            let borders = borders_of(plan.mesh, &plans, &mesh.net.topology);
            let started = match plan.role {
                Role::Meshd => {
                    Node::Meshd(Meshd::start(namespace, plan, node, &peers, &stock, &borders, setup)?)
                }
                Role::Frr | Role::Bird => Node::Stock(Stock::start(&namespace, plan, node, &peers, setup)?),
            };
            mesh.nodes.push(started);
        }
        Ok(mesh)
    }

    /// The `meshd` at a node.
    ///
    /// # Errors
    /// If something else runs there.
    pub fn meshd(&self, node: usize) -> Result<&Meshd> {
        match self.nodes.get(node) {
            Some(Node::Meshd(meshd)) => Ok(meshd),
            _ => bail!("there is no meshd at node {node}"),
        }
    }

    /// The same, to end it or to start it again.
    ///
    /// # Errors
    /// If something else runs there.
    pub fn meshd_mut(&mut self, node: usize) -> Result<&mut Meshd> {
        match self.nodes.get_mut(node) {
            Some(Node::Meshd(meshd)) => Ok(meshd),
            _ => bail!("there is no meshd at node {node}"),
        }
    }

    /// The router at a node, whatever it is.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn router(&self, node: usize) -> Result<&dyn Router> {
        match self.nodes.get(node).with_context(|| format!("there is no node {node}"))? {
            Node::Meshd(meshd) => Ok(meshd),
            Node::Stock(Stock { router: Daemon::Frr(frr), .. }) => Ok(frr),
            Node::Stock(Stock { router: Daemon::Bird(bird), .. }) => Ok(bird),
        }
    }

    /// Waits until every link is an adjacency in Full, watched by BFD, at both ends.
    ///
    /// # Errors
    /// After `timeout`, with what one of the nodes shows.
    pub fn wait_full(&self, timeout: Duration) -> Result<Duration> {
        let start = now();
        for (node, neighbours) in self.net.topology.neighbours().iter().enumerate() {
            let router = self.router(node)?;
            let left = || timeout.saturating_sub(start.elapsed());
            router.wait_full(neighbours.len(), left()).with_context(|| format!("node {node}"))?;
            router.wait_bfd_up(neighbours.len(), left()).with_context(|| format!("node {node}"))?;
        }
        Ok(start.elapsed())
    }

    /// Starts a probe from one node to another.
    ///
    /// # Errors
    /// As [`Probe::start`].
    pub fn probe(&self, from: usize, to: usize) -> Result<Probe> {
        let end = |node: usize| {
            let namespace = self.net.nodes.get(node).with_context(|| format!("there is no node {node}"))?;
            Ok::<_, anyhow::Error>((namespace, self.nodes.get(node).context("nothing runs there")?.address()))
        };
        let ((near, source), (far, target)) = (end(from)?, end(to)?);
        Probe::start(near, far, source, target)
    }

    /// Waits until each node's kernel gets an answer to `ping` from each other node.
    ///
    /// # Errors
    /// After `timeout`, with the first pair that fails.
    pub fn wait_reachable(&self, timeout: Duration) -> Result<Duration> {
        let all = wait_until("every node to reach every other", timeout, || {
            for (from, namespace) in self.net.nodes.iter().enumerate() {
                for (to, node) in self.nodes.iter().enumerate().filter(|(to, _)| *to != from) {
                    let address = node.address().to_string();
                    let output = namespace.try_run(&["ping", "-c1", "-W1", &address])?;
                    ensure!(output.status.success(), "{from} does not reach {to} ({address})");
                }
            }
            Ok(())
        });
        all.map(|((), took)| took)
    }

    /// The relay of a link runs at its smaller node.
    fn start_relays(&mut self, plans: &[Plan], weather: Weather) -> Result<()> {
        for (link, &(a, b)) in self.net.topology.links.iter().enumerate() {
            let end = |far_end: usize, node: usize| {
                let role = plans.get(node).context("a plan for each node")?.role;
                let router = SocketAddr::new(underlay(link, far_end), port(role, link)?);
                Ok::<_, anyhow::Error>(relay::End { relay: relay_of(link, far_end)?, router })
            };
            let namespace = self.net.nodes.get(a).context("a namespace for each node")?;
            let weather = Weather { seed: weather.seed + link as u64, ..weather };
            self.relays.push(Relay::start(namespace, [end(0, a)?, end(1, b)?], weather)?);
        }
        Ok(())
    }

    fn peers(&self, node: usize, plans: &[Plan]) -> Result<Vec<Neighbour>> {
        let links = self.net.topology.links.iter().enumerate();
        let ours = links.filter_map(|(link, &(a, b))| match node {
            _ if node == a => Some((link, 1, b)),
            _ if node == b => Some((link, 0, a)),
            _ => None,
        });
        ours.map(|(link, far_end, far)| {
            let plan = plans.get(far).context("a plan for each node")?;
            let endpoint = if self.relays.is_empty() {
                SocketAddr::new(underlay(link, far_end), port(plan.role, link)?)
            } else {
                relay_of(link, 1 - far_end)?
            };
            Ok(Neighbour {
                key: plan.key,
                endpoint,
                local_port: port(plans.get(node).context("a plan for each node")?.role, link)?,
                address: plan.address,
                stock: plan.role != Role::Meshd,
                mesh: plan.mesh,
            })
        })
        .collect()
    }
}

/// The other end of one tunnel.
struct Neighbour {
    key: NodePublic,
    endpoint: SocketAddr,
    local_port: u16,
    address: Ipv6Addr,
    stock: bool,
    mesh: MeshPrefix,
}

/// The underlay address of one end of a link. Every second underlay is IPv6.
fn underlay(link: usize, end: usize) -> IpAddr {
    match link % 2 {
        0 => Net::ipv4(link, end).into(),
        _ => Net::ipv6(link, end).into(),
    }
}

/// Where the relay of a link, at its end 0, listens for the router at `end`.
fn relay_of(link: usize, end: usize) -> Result<SocketAddr> {
    Ok(SocketAddr::new(underlay(link, 0), RELAY + u16::try_from(2 * link + end)?))
}

/// `meshd` has one port for all its neighbours, a stock router one interface and port for each.
fn port(role: Role, link: usize) -> Result<u16> {
    match role {
        Role::Meshd => Ok(UNDERLAY),
        Role::Frr | Role::Bird => Ok(UNDERLAY + 1 + u16::try_from(link)?),
    }
}

fn plan(role: Role, number: u16, namespace: &Namespace, setup: &Setup) -> Result<Plan> {
    let identity = stock::identity(u8::try_from(number).context("at most 255 nodes in namespaces")?);
    let is_other = match role {
        Role::Meshd => setup.other.is_some_and(|first| usize::from(number) > first),
        Role::Frr | Role::Bird => setup.bgp.is_some(),
    };
    let mesh = if is_other { border::OTHER_MESH } else { setup.prefix };
    let (key, identity_key, address) = match role {
        Role::Meshd => {
            let (key, identity_key, address) = new_identity(&state_dir(namespace), mesh)?;
            (key, Some(identity_key), address)
        }
        Role::Frr | Role::Bird if is_other => {
            (*identity.node_public(), None, border::other_address(0, number))
        }
        Role::Frr | Role::Bird => {
            (*identity.node_public(), None, RouterConfig::numbered(number, Vec::new()).address)
        }
    };
    Ok(Plan { role, key, identity_key, address, mesh, identity })
}

/// The keys of the `meshd` of a mesh that have a link to another one.
fn borders_of(mesh: MeshPrefix, plans: &[Plan], topology: &Topology) -> Vec<IdentityKey> {
    let leads_out = |neighbours: &Vec<usize>| {
        neighbours.iter().filter_map(|far| plans.get(*far)).any(|far| far.mesh != mesh)
    };
    let neighbours = topology.neighbours();
    let borders = plans.iter().zip(&neighbours).filter(|(plan, far)| plan.mesh == mesh && leads_out(far));
    borders.filter_map(|(plan, _)| plan.identity_key).collect()
}

impl Stock {
    fn start(
        namespace: &Namespace,
        plan: &Plan,
        node: usize,
        peers: &[Neighbour],
        setup: &Setup,
    ) -> Result<Self> {
        let tunnel = |peer: &Neighbour| {
            let far = Peer { key: peer.key, endpoint: Some(peer.endpoint) };
            let (engine, identity) = (Engine::installed(), &plan.identity);
            WireGuard::start(namespace, &engine, identity, peer.local_port, &setup.interface, &[far])
        };
        let tunnels: Vec<WireGuard> = peers.iter().map(tunnel).collect::<Result<_>>()?;
        let interfaces = tunnels.iter().map(|tunnel| tunnel.interface().to_owned()).collect();
        let mut config = RouterConfig::numbered(u16::try_from(node + 1)?, interfaces);
        config.hello_s = setup.hello_s;
        if setup.bgp.is_some() {
            config.address = plan.address;
            config.border =
                peers.first().zip(config.interfaces.first()).map(|(peer, interface)| border::Border {
                    peer: peer.address,
                    interface: interface.clone(),
                    announce: vec![border::OTHER_MESH.prefix()],
                });
        }
        (setup.router)(&mut config);
        let router = match plan.role {
            Role::Frr => Daemon::Frr(Frr::start(namespace, &config)?),
            Role::Bird => Daemon::Bird(Bird::start(namespace, &config)?),
            Role::Meshd => bail!("meshd is not a stock router"),
        };
        Ok(Self { address: plan.address, router, tunnels })
    }
}
