//! BGP in the control plane: sessions with other meshes, and one forwarding table of what OSPF and BGP know.
//!
//! ```text
//!                 ways to next hops ┌─────┐ Output::Connect, Close, Send ─► Notice::Bgp ─► TCP connections
//! ┌──────┐ ───────────────────────► │ Bgp │ Output::Bfd ─► Command::BfdPath
//! │ Ospf │                          └─────┘ ◄─ Event::BfdPath
//! └──────┘ ◄────────────────────────── routes: announced as AS-external-LSAs, entered in the table over those of OSPF
//! ```

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::sync::Arc;

use molt_bfd as bfd;
use molt_mesh::fib::FibBuilder;
use molt_mesh::{Fib, LinkId, Prefix, Target, Time};
use molt_routing::bgp::{self, BfdEvent, Bgp, Side};
use molt_tun::{BfdChange, Command};
use tracing::{info, warn};

use super::{Control, Notice};

/// Prefixes that are named in the log one by one, when as many become known at once; a peer may announce thousands.
const NAMED: usize = 8;

/// A route of the table that is not OSPF's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideRoute {
    /// Destination.
    pub prefix: Prefix,
    /// Whether BGP brought it; else it is the address of a border.
    pub bgp: bool,
    /// Tunnels it leads through.
    pub links: Vec<LinkId>,
}

impl Control {
    /// BGP, for operators; `None` if this node is no border.
    #[must_use]
    pub const fn bgp(&self) -> Option<&Bgp> {
        self.bgp.as_ref()
    }

    /// Whether a border of another mesh is behind a link and has been heard.
    #[must_use]
    pub fn is_border_up(&self, link: LinkId) -> bool {
        self.peers.get(&link).is_some_and(|peer| peer.established && peer.config.border.is_some())
    }

    /// The forwarding table: what OSPF and BGP know together.
    #[must_use]
    pub const fn fib(&self) -> &Arc<Fib> {
        &self.fib
    }

    /// Makes the BGP peers those of `wanted`, each with its BFD session if it has one.
    pub fn set_bgp_peers(&mut self, wanted: Vec<(bgp::PeerConfig, Option<bfd::Config>)>, now: Time) {
        let Some(bgp) = &mut self.bgp else { return };
        self.paths = wanted.iter().filter_map(|(peer, bfd)| Some((peer.address, (*bfd)?))).collect();
        bgp.set_peers(wanted.into_iter().map(|(peer, _)| peer).collect(), now);
        self.drain(now);
    }

    /// A TCP connection with a BGP peer is open. `false` if it is to be closed.
    pub fn bgp_connected(&mut self, peer: Ipv6Addr, side: Side, now: Time) -> bool {
        let wanted = self.bgp.as_mut().is_some_and(|bgp| bgp.handle_connected(peer, side, now));
        self.drain(now);
        wanted
    }

    /// Takes what a BGP peer has sent.
    pub fn bgp_bytes(&mut self, peer: Ipv6Addr, side: Side, bytes: &[u8], now: Time) {
        if let Some(bgp) = &mut self.bgp {
            bgp.handle_bytes(peer, side, bytes, now);
        }
        self.drain(now);
    }

    /// A TCP connection with a BGP peer is closed, or could not be opened.
    pub fn bgp_closed(&mut self, peer: Ipv6Addr, side: Side, now: Time) {
        if let Some(bgp) = &mut self.bgp {
            bgp.handle_closed(peer, side, now);
        }
        self.drain(now);
    }

    /// Routes of the table that are not OSPF's, in ascending order of prefix; those of BGP come after the addresses of
    /// borders, which they need.
    #[must_use]
    pub fn outside_routes(&self) -> Vec<OutsideRoute> {
        let inside = self.inside_fib();
        let borders = self.borders().map(|(address, link, _)| OutsideRoute {
            prefix: Prefix::host(address),
            bgp: false,
            links: vec![link],
        });
        let routes = self.bgp.iter().flat_map(Bgp::routes);
        let learnt = routes.map(|route| OutsideRoute {
            prefix: route.prefix,
            bgp: true,
            links: links_to(&inside, &route.next_hops),
        });
        borders.chain(learnt).filter(|route| !route.links.is_empty()).collect()
    }

    pub(super) fn handle_path(&mut self, remote: Ipv6Addr, change: BfdChange, now: Time) {
        let event = match change {
            BfdChange::AdminDown => BfdEvent::AdminDown,
            BfdChange::Down { independent, .. } => BfdEvent::Down { independent },
            BfdChange::Up => BfdEvent::Up,
        };
        match change {
            BfdChange::Down { diag, .. } => warn!(%remote, ?diag, "path to the BGP peer failed (BFD)"),
            BfdChange::AdminDown => info!(%remote, "the BGP peer ended its BFD session"),
            BfdChange::Up => info!(%remote, "path to the BGP peer is good (BFD)"),
        }
        if let Some(bgp) = &mut self.bgp {
            bgp.handle_bfd(remote, event, now);
        }
    }

    pub(super) fn drain_bgp(&mut self) {
        let Some(bgp) = &mut self.bgp else { return };
        while let Some(output) = bgp.poll_output() {
            match output {
                bgp::Output::Bfd { peer, enabled } => {
                    let session = self.paths.get(&peer).copied().filter(|_| enabled);
                    if let Some(local) = self.config.bgp.as_ref().map(|config| config.address) {
                        self.commands.push_back(Command::BfdPath { local, remote: peer, session });
                    }
                }
                bgp::Output::NextHopsChanged | bgp::Output::RoutesChanged => self.fib_changed = true,
                bgp::Output::PeerChanged { peer, established: true, reason } => {
                    info!(%peer, reason, "BGP session is up");
                }
                bgp::Output::PeerChanged { peer, established: false, reason } => {
                    warn!(%peer, reason, "BGP session is down");
                }
                output @ (bgp::Output::Close { .. }
                | bgp::Output::Connect { .. }
                | bgp::Output::Send { .. }) => self.notices.push_back(Notice::Bgp(output)),
            }
        }
    }

    /// Puts the table together, and tells OSPF and BGP what they need of each other.
    pub(super) fn update_fib(&mut self, now: Time) {
        let inside = self.inside_fib();
        let mut bgp = self.bgp.take();
        let mut builder = FibBuilder::onto(&inside);
        if let Some(bgp) = &mut bgp {
            bgp.update_next_hops(|next_hop| self.cost_of(&inside, next_hop));
            let mut externals = Vec::new();
            for route in bgp.routes() {
                builder.via(route.prefix, &links_to(&inside, &route.next_hops));
                externals.push(route.prefix);
            }
            self.ospf.set_externals(&externals, now);
            self.warn_withheld();
        }
        self.bgp = bgp;
        self.fib = Arc::new(builder.build());
        self.commands.push_back(Command::Fib(Arc::clone(&self.fib)));
    }

    /// Says which routes of BGP are used here and by nobody else in the mesh.
    fn warn_withheld(&mut self) {
        let withheld = self.ospf.externals_withheld();
        let known = &self.withheld;
        let fresh = || withheld.iter().filter(|(prefix, reason)| known.get(prefix) != Some(*reason));
        for (prefix, reason) in fresh().take(NAMED) {
            warn!(%prefix, "not announced to the mesh: {}", reason.meaning());
        }
        if let more @ 1.. = fresh().skip(NAMED).count() {
            warn!(more, "not announced to the mesh either; `molt bgp routes` says which and why");
        }
        self.withheld = withheld;
    }

    /// What next hops are looked up in: routes of OSPF, and the addresses of the borders we have tunnels to. Routes of BGP
    /// are left out, or one could lead to itself (RFC 4271 section 5.1.3).
    fn inside_fib(&self) -> Arc<Fib> {
        let mut borders = self.borders().peekable();
        if borders.peek().is_none() {
            return Arc::clone(self.ospf.fib());
        }
        let mut builder = FibBuilder::onto(self.ospf.fib());
        for (address, link, _) in borders {
            builder.via(Prefix::host(address), &[link]);
        }
        Arc::new(builder.build())
    }

    /// Borders of other meshes behind tunnels that are up, with what the tunnel costs.
    fn borders(&self) -> impl Iterator<Item = (Ipv6Addr, LinkId, u32)> {
        self.peers.iter().filter(|(_, peer)| peer.established).filter_map(|(link, peer)| {
            let cost = peer.config.cost.unwrap_or(self.config.ospf.cost);
            Some((peer.config.border?, *link, cost.into()))
        })
    }

    /// RFC 4271 section 9.1.2.2 (e): the interior cost to a next hop, `None` if there is no way to it.
    fn cost_of(&self, inside: &Fib, next_hop: Ipv6Addr) -> Option<u32> {
        if let Some((_, _, cost)) = self.borders().find(|(address, ..)| *address == next_hop) {
            return Some(cost);
        }
        match inside.lookup(next_hop)? {
            Target::Local => None,
            Target::Via(_) => {
                let covering = self.ospf.routes().filter(|route| route.prefix.contains(next_hop));
                covering.max_by_key(|route| route.prefix.len()).map(|route| route.cost)
            }
        }
    }
}

/// The tunnels towards any of the next hops.
fn links_to(inside: &Fib, next_hops: &[Ipv6Addr]) -> Vec<LinkId> {
    let links: BTreeSet<LinkId> = next_hops
        .iter()
        .filter_map(|next_hop| match inside.lookup(*next_hop)? {
            Target::Local => None,
            Target::Via(links) => Some(links.iter().copied()),
        })
        .flatten()
        .collect();
    links.into_iter().collect()
}
