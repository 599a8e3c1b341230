//! OSPF for IPv6: RFC 5340 with the procedures of RFC 2328, over tunnels.
//!
//! [`Ospf`] is one router in area 0. It owns everything below and is driven from outside: packets, tunnel and BFD events
//! go in through `handle_*`, packets and changes come out of [`Ospf::poll_output`], and [`Ospf::poll_timeout`] says when
//! [`Ospf::handle_timeout`] has something to do. It reads no clock and opens no socket.
//!
//! | file | chapter | owns |
//! |---|---|---|
//! | [`consts`] | the numbers | |
//! | [`packet`], [`lsa`] | appendix A: packets and LSAs, decoded once at the edge | |
//! | `lsdb` | the link-state database: ages, bounds | every LSA |
//! | `interface` | a tunnel: Hellos, intervals, the wish for a BFD session | the neighbour, delayed acknowledgments |
//! | `neighbor` | the neighbour state machine as a table | exchange, request list, retransmission list |
//! | `degree` | the bound on the number of neighbours | |
//! | `mix` | a hash for tables that are only looked up | |
//! | `mismatch` | what the two ends of a link disagree on | the last mismatch of each kind |
//! | `exchange` | database descriptions and requests | the state of one exchange |
//! | `flood` | the flooding procedure, section 13 step by step | |
//! | `retransmission` | what a neighbour has to acknowledge, and when it is sent | a retransmission list |
//! | `relay` | whom others flood to already | what the topology says about it |
//! | `originate` | our own LSAs and their pace | what we want to say |
//! | `boundary` | routes to other meshes, as AS-external-LSAs | what we announce, what we accept |
//! | `restart` | graceful restart: the helper, and the restarting router | |
//! | `stale` | LSAs that do not age (RFC 1793) | since when their originators are gone |
//! | `unproven` | what was refused because nobody answers for it | until when to hope for a proof |
//! | `spf` | graph, shortest paths, routes, the FIB | the last result |
//! | `delay` | when to calculate (RFC 8405) | its timers |
//! | [`origin`] | who may announce what: records, signed topology, clashes of router ids | everything that was verified |
//! | [`events`] | what went wrong, for operators | the last events |
//! | [`view`] | what operators see | |
//!
//! A received packet enters at [`Ospf::handle_packet`], is checked and decoded, and is handed to the chapter of its kind.
//! Whatever happened, `settle` then brings the consequences to an end: LSAs that are due are originated, flooded and
//! requested. So a packet with many LSAs leads to full packets and not to many.
//!
//! # Supported
//!
//! RFC 5340, RFC 2328 (procedures), RFC 5838 (instance ids of the IPv6 unicast range: only 0), RFC 5882 (BFD as client),
//! RFC 6987 (max metric), RFC 7503 section 7 (duplicate router ids, decided by keys), RFC 7770 and 5642 (hostname), RFC 8405
//! (SPF back-off), RFC 4222 (windows and back-off in flooding), RFC 5243 (shorter database exchange), RFC 5340 section 4.5.2
//! (unknown LSAs), RFC 1793 (DoNotAge in LSAs of others), RFC 5187 and 3623 (graceful restart, both sides).
//!
//! # Deviations, each on purpose
//!
//! - MinLSInterval (5 s) is the long-run rate of an own LSA; up to eight instances may follow each other at a little more
//!   than MinLSArrival (1 s), and the first goes at once. A failure must not wait 5 s to be announced. Neighbours accept
//!   it: they check MinLSArrival. A link that is won waits up to a quarter of a second for others that are about to come up,
//!   and for the first calculation of a router that starts.
//! - An LSA that answers a request does not count as "received via flooding", so a newer instance may follow it at once
//!   (section 13 step 5 (a) of RFC 2328 can be read so). To a neighbour that reads it otherwise our new instance is
//!   repeated as soon as MinLSArrival has passed.
//! - The calculation takes the root's links from the adjacencies, not from our own Router-LSA, which may be due later.
//! - A Hello with other intervals is not dropped; they are adopted (RFC 7503 section 5.1 is as lenient). A Hello that does
//!   not list us is answered at once.
//! - The first Hello of a neighbour makes it 2-Way although it does not list us yet: a tunnel exists only if both ends hear
//!   each other. If it has not listed us after RxmtInterval, event 1-WayReceived follows as section 10.5 has it.
//! - An MTU below ours is adopted, because stock routers insist on equality.
//! - A router with as many neighbours as it wants stays below 2-Way with others (`degree`).
//! - An interface has one neighbour: a tunnel has one peer. Another Router ID on it replaces the neighbour.
//! - The hop limit is not checked. Stock routers send unicast with 64, BIRD's `ttl security` sends 255, and the tunnel
//!   proves the neighbour better than a hop limit does.
//! - The number of LSAs is bounded, in all, for each originator, and for all originators that nobody answers for. One too
//!   many, or too fast, is acknowledged and forgotten; if its originator is proven within a minute, it is requested again,
//!   also in state Full (`unproven`).
//! - Of a member's LSAs the calculation uses what the member has signed ([`origin`]), which for a moment may be an earlier
//!   instance than the one in the database. Flooding is not concerned.
//! - Records and signatures are described and requested before everything else.
//! - LSAs with a body that cannot be read are flooded and not used.
//! - In dense parts of the mesh an LSA waits a quarter of a second for a neighbour that has it from others (`relay`).
//! - A router whose R-bit is clear is a leaf: its prefixes are reachable, as appendix A.2 has it, where section 4.8.1 would
//!   leave it out. FRR and BIRD do the same. Links of max metric carry transit traffic as a last resort (RFC 6987).
//!
//! # Left out
//!
//! Broadcast, NBMA and point-to-multipoint interfaces (the calculation knows the transit networks of others), and with
//! them the interface states Waiting, DROther, Backup and DR, the neighbour state Attempt, and 2-Way as a place to stay:
//! a tunnel has two ends and elects nobody. The interface state Loopback: a tunnel cannot be looped. Virtual links, several
//! areas, stub areas and NSSAs (the routes that area border routers announce are used; we announce none), the authentication
//! trailer (RFC 7166: inside WireGuard it adds nothing), the Autoconfiguration LSA of RFC 7503 (a fingerprint proves nothing;
//! the signed record takes its place).

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::ip6::ALL_SPF_ROUTERS;
use molt_mesh::{Fib, LinkId, Prefix, RouterId, Time};

mod boundary;
pub mod consts;
mod degree;
mod delay;
pub mod events;
mod exchange;
mod flood;
mod interface;
mod io;
pub mod lsa;
mod lsdb;
mod mismatch;
mod mix;
mod neighbor;
pub mod origin;
mod originate;
pub mod packet;
mod relay;
mod restart;
mod retransmission;
mod spf;
mod stale;
mod unproven;
pub mod view;

pub use boundary::{External, Withheld};
pub use io::{BfdEvent, Config, LinkConfig, Output};
pub use mismatch::Mismatch;
pub use neighbor::State;
pub use packet::{Packet, Reject};
pub use restart::RestartHelper;

use boundary::Boundary;
use consts::{AREA, INSTANCE};
use delay::Delay;
use interface::Interface;
use lsa::GraceLsa;
use lsdb::{LsaRef, Lsdb};
use origin::{Clash, Origins, OwnOrigin, Shares};
use originate::{LS_SPACING, Own};
use packet::PacketBody;
use relay::Relay;
use spf::Spf;
use view::{Counters, SpfTrigger};

/// How long a router that leaves stays as a router of max metric (RFC 6987), so that the others find their ways around
/// it before its LSAs go: flooding through the mesh and one calculation at the far end.
const LEAVE: Duration = LS_SPACING;
/// How long it waits for acknowledgments of its flushed LSAs. Whatever is lost then ages out in an hour.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a router that starts is a stub router (RFC 6987) at most. Usually its first calculation after its first
/// adjacency ends that.
const STUB: Duration = Duration::from_secs(60);

/// Where the router is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Neighbours are asked for the grace period of a restart.
    Preparing {
        grace: GraceLsa,
        stop_at: Time,
    },
    /// A restart goes on.
    Restarting {
        grace: GraceLsa,
        until: Time,
    },
    /// Max metric is announced.
    Leaving {
        flush_at: Time,
    },
    /// Own LSAs are flushed.
    Flushing {
        stop_at: Time,
    },
    /// Own LSAs are flushed because another router has our id; at this time at the latest we take another.
    Redrawing {
        at: Time,
    },
    Stopped,
}

/// One OSPFv3 router.
#[derive(Debug)]
pub struct Ospf {
    config: Config,
    rng: fastrand::Rng,
    stage: Stage,
    /// While it starts, a router asks for no transit traffic: it knows no ways yet (RFC 6987 section 2).
    stub_until: Option<Time>,
    interfaces: BTreeMap<LinkId, Interface>,
    lsdb: Lsdb,
    /// What we want to say; what we said is in `lsdb`.
    own: BTreeMap<LsaRef, Own>,
    /// A neighbour was not told of what we say about our links, because it was to be said anew.
    undescribed: bool,
    origins: Origins,
    own_origin: OwnOrigin,
    shares: Shares,
    clash: Clash,
    spf: Spf,
    delay: Delay,
    relay: Relay,
    boundary: Boundary,
    /// How many neighbours we want at most; see [`degree`].
    max_neighbors: usize,
    /// Since when originators of LSAs that do not age have been unreachable.
    unreachable: BTreeMap<RouterId, Time>,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Ospf {
    /// A router without links. Its own prefixes are in the forwarding table from the start.
    #[must_use]
    pub fn new(config: Config, now: Time) -> Self {
        let mut ospf = Self::with_stage(config, Stage::Running, now);
        ospf.stub_until = Some(now + STUB);
        ospf.update_own_lsas(now);
        ospf.calculate_routes(now);
        ospf.settle(now);
        ospf
    }

    fn with_stage(config: Config, stage: Stage, now: Time) -> Self {
        let mut ospf = Self {
            rng: fastrand::Rng::with_seed(config.seed),
            spf: Spf::new(config.router_id),
            origins: Origins::new(config.mesh, config.member.clone()),
            own_origin: OwnOrigin::new(now),
            shares: Shares::default(),
            clash: Clash::default(),
            config,
            stage,
            stub_until: None,
            interfaces: BTreeMap::new(),
            lsdb: Lsdb::default(),
            own: BTreeMap::new(),
            undescribed: false,
            delay: Delay::new(),
            relay: Relay::default(),
            boundary: Boundary::default(),
            max_neighbors: usize::MAX,
            unreachable: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        };
        if ospf.origins.member.is_some() {
            ospf.lsdb.limit_unvouched();
            ospf.lsdb.set_vouched(ospf.config.router_id, true);
            ospf.note_stock(now);
        }
        ospf
    }

    /// Adds a tunnel that is not up yet. A link of the same id is replaced.
    pub fn add_link(&mut self, config: LinkConfig, now: Time) {
        self.remove_link(config.link, now);
        self.interfaces.insert(config.link, Interface::new(config, self.config.hello, self.config.dead));
    }

    /// Changes cost, stock and allow of a link; the adjacency stays. Another address or MTU starts it anew.
    pub fn update_link(&mut self, config: LinkConfig, now: Time) {
        let link = config.link;
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let restart =
            interface.up && (interface.config.local != config.local || interface.config.mtu != config.mtu);
        interface.config = config;
        if restart {
            self.interface_down(link, "the link was configured anew", now);
            self.interface_up(link, now);
        }
        self.note_stock(now);
        self.schedule_spf(SpfTrigger::Configuration, now);
        self.update_own_lsas(now);
        self.settle(now);
    }

    /// The tunnel is gone for good.
    pub fn remove_link(&mut self, link: LinkId, now: Time) {
        self.send_parting_hello(link);
        self.interface_down(link, "the link was removed", now);
        self.interfaces.remove(&link);
        self.settle(now);
    }

    /// The tunnel carries packets.
    pub fn handle_link_up(&mut self, link: LinkId, now: Time) {
        if self.interfaces.get(&link).is_some_and(|interface| !interface.up)
            && matches!(self.stage, Stage::Running | Stage::Restarting { .. })
        {
            self.interface_up(link, now);
            self.settle(now);
        }
    }

    /// The tunnel carries no packets any longer.
    pub fn handle_link_down(&mut self, link: LinkId, now: Time) {
        if self.interfaces.get(&link).is_some_and(|interface| interface.up) {
            self.interface_down(link, "the tunnel is down", now);
            self.update_own_lsas(now);
            self.settle(now);
        }
    }

    /// Replaces our own prefixes, for containers that come and go.
    pub fn set_prefixes(&mut self, prefixes: Vec<Prefix>, now: Time) {
        if self.config.prefixes != prefixes {
            self.config.prefixes = prefixes;
            self.leaves_changed(SpfTrigger::Configuration, now);
            self.update_own_lsas(now);
            self.settle(now);
        }
    }

    /// A packet with next header 89 came out of the tunnel. `payload` is what follows the IPv6 header.
    ///
    /// # Errors
    /// [`Reject`] names the rule by which the packet was dropped. It is counted here already.
    pub fn handle_packet(
        &mut self,
        link: LinkId,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        _hop_limit: u8,
        payload: &[u8],
        now: Time,
    ) -> Result<(), Reject> {
        self.counters.received += 1;
        let result = self.receive(link, src, dst, payload, now);
        if let Err(reject) = result {
            *self.counters.rejected.entry(reject).or_default() += 1;
            if let Some(interface) = self.interfaces.get_mut(&link) {
                interface.last_reject = Some((now, reject));
            }
        }
        self.settle(now);
        result
    }

    /// RFC 2328 section 8.2, RFC 5340 section 4.2.2.
    fn receive(
        &mut self,
        link: LinkId,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        payload: &[u8],
        now: Time,
    ) -> Result<(), Reject> {
        let interface =
            self.interfaces.get(&link).filter(|interface| interface.up).ok_or(Reject::LinkDown)?;
        if !src.is_unicast_link_local() {
            return Err(Reject::Source);
        }
        if dst != ALL_SPF_ROUTERS && dst != interface.config.local {
            return Err(Reject::Destination);
        }
        let packet = Packet::decode(payload)?;
        let known = interface.neighbor.as_ref().is_some_and(|neighbor| neighbor.router == packet.router);
        let mismatch = if !Packet::checksum_is_valid(payload, src, dst) {
            let (ours, theirs) = Packet::checksums(payload, src, dst);
            Some((Mismatch::Checksum { ours, theirs }, Reject::Checksum))
        } else if packet.area != AREA {
            Some((Mismatch::Area { ours: AREA, theirs: packet.area }, Reject::Area))
        } else if packet.instance != INSTANCE {
            Some((Mismatch::Instance { ours: INSTANCE, theirs: packet.instance }, Reject::Instance))
        } else if packet.router == self.config.router_id {
            Some((Mismatch::RouterId(packet.router), Reject::OwnRouterId))
        } else {
            None
        };
        if let Some((mismatch, reject)) = mismatch {
            self.note_mismatch(link, packet.router, mismatch, now);
            if reject == Reject::OwnRouterId {
                self.clash_with_neighbor(link, src, now);
            }
            return Err(reject);
        }
        match packet.body {
            PacketBody::Hello(hello) => self.handle_hello(link, src, packet.router, &hello, now),
            _ if !known => Err(Reject::NoNeighbor),
            PacketBody::Description(description) => self.handle_description(link, &description, now),
            PacketBody::Request(keys) => self.handle_request(link, &keys, now),
            PacketBody::Update(lsas) => self.handle_update(link, lsas, now),
            PacketBody::Ack(headers) => self.handle_ack(link, &headers),
        }
    }

    /// The BFD session of a link changed its state.
    pub fn handle_bfd(&mut self, link: LinkId, event: BfdEvent, now: Time) {
        self.bfd_event(link, event, now);
        self.settle(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.stage == Stage::Stopped {
            return;
        }
        let links: Vec<LinkId> = self.interfaces.keys().copied().collect();
        for link in links {
            self.interface_timeouts(link, now);
        }
        self.age_database(now);
        self.settle(now);
        match self.stage {
            Stage::Leaving { flush_at } if flush_at <= now => self.flush_own_lsas(now),
            Stage::Flushing { stop_at } if stop_at <= now => self.stop(now),
            Stage::Redrawing { at } if at <= now => self.settle(now),
            _ => {}
        }
        if self.stub_until.is_some_and(|until| until <= now) {
            self.end_stub(now);
        }
        // RFC 3623 section 2.2 (3): while it restarts, a router forwards by the table it had.
        if self.delay.take_due(now) && !self.is_restarting() {
            self.calculate_routes(now);
            self.keep_bound(now);
            if self.interfaces.values().any(|interface| interface.full_neighbor().is_some()) {
                self.end_stub(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do next, and what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        if self.stage == Stage::Stopped {
            return None;
        }
        let mut next: Option<(Time, &'static str)> = None;
        let mut consider = |at: Option<Time>, what: &'static str| {
            if let Some(at) = at
                && next.is_none_or(|(earliest, _)| at < earliest)
            {
                next = Some((at, what));
            }
        };
        for interface in self.interfaces.values() {
            consider(interface.hello_at, "send a hello");
            consider(interface.ack_at, "send delayed acknowledgments");
            consider(interface.bfd.as_ref().and_then(|bfd| bfd.linger_until), "end a BFD session");
            if let Some(neighbor) = &interface.neighbor {
                consider(Some(neighbor.inactivity_at), "give up a neighbour");
                consider(neighbor.help.map(|help| help.until), "end the help for a neighbour that restarts");
                consider(neighbor.exchange.deadline(), "repeat a database description");
                consider(neighbor.request_at, "repeat a link state request");
                consider(neighbor.unproven.deadline(), "do without LSAs that nobody answers for");
                consider(neighbor.retransmission.deadline(), "flood or retransmit LSAs");
            }
        }
        for own in self.own.values() {
            consider(own.deadline(), "originate an LSA");
        }
        consider(self.stub_until, "ask for transit traffic");
        consider(self.lsdb.deadline(), "age an LSA");
        consider(self.delay.deadline(), "calculate routes");
        consider(self.origins.deadline(), "end what was verified");
        match self.stage {
            Stage::Leaving { flush_at } => consider(Some(flush_at), "flush own LSAs"),
            Stage::Flushing { stop_at } | Stage::Preparing { stop_at, .. } => consider(Some(stop_at), "stop"),
            Stage::Restarting { until, .. } => consider(Some(until), "end a restart"),
            Stage::Redrawing { at } => consider(Some(at), "take another router id"),
            Stage::Running | Stage::Stopped => {}
        }
        next
    }

    /// What there is to be done outside. Call it until it gives `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Leaves the network in good order: first as a router nobody should pass through, then by flushing our LSAs.
    /// [`Output::ShutdownComplete`] says when that is done.
    pub fn shutdown(&mut self, now: Time) {
        if self.is_restarting() {
            self.end_restart(false, "this router leaves", now);
        }
        if matches!(self.stage, Stage::Preparing { .. }) {
            // The Grace-LSAs are flushed with the rest.
            self.stage = Stage::Running;
        }
        if self.stage != Stage::Running {
            return;
        }
        if self.interfaces.values_mut().all(|interface| interface.flooding_neighbor().is_none()) {
            self.stop(now);
            return;
        }
        self.stage = Stage::Leaving { flush_at: now + LEAVE };
        self.update_own_lsas(now);
        self.hurry_own_lsas(now);
        self.settle(now);
    }

    /// RFC 6987 section 2: the router has routes, and says so.
    fn end_stub(&mut self, now: Time) {
        if self.stub_until.take().is_some() {
            self.update_own_lsas(now);
            self.settle(now);
        }
    }

    fn flush_own_lsas(&mut self, now: Time) {
        self.stage = Stage::Flushing { stop_at: now + FLUSH };
        self.update_own_lsas(now);
        self.hurry_own_lsas(now);
        self.settle(now);
    }

    fn stop(&mut self, now: Time) {
        self.stage = Stage::Stopped;
        let links: Vec<LinkId> = self.interfaces.keys().copied().collect();
        for link in links {
            self.send_parting_hello(link);
            self.interface_down(link, "this router stops", now);
        }
        self.own.clear();
        self.outputs.push_back(Output::ShutdownComplete);
    }

    /// Our Router ID. It changes when another router has it, too.
    #[must_use]
    pub const fn router_id(&self) -> RouterId {
        self.config.router_id
    }

    /// The forwarding table.
    #[must_use]
    pub fn fib(&self) -> &Arc<Fib> {
        &self.spf.fib
    }

    /// Brings the consequences of an input to an end.
    fn settle(&mut self, now: Time) {
        self.reconcile_origins(now);
        let links: Vec<LinkId> = self.interfaces.keys().copied().collect();
        for link in &links {
            self.continue_requests(*link, now);
        }
        // After it, because an adjacency that just became Full changes the Router-LSA: what a neighbour that ends its restart
        // takes and gives within one packet is not said, or what it gives would have to wait for MinLSArrival.
        self.originate_due(now);
        self.remove_max_aged(now);
        for link in links {
            self.send_flooded(link, now);
        }
        if matches!(self.stage, Stage::Flushing { .. }) && self.is_flushed() {
            self.stop(now);
        }
        self.continue_restart(now);
        if self.has_left_router_id(now) {
            self.take_router_id(now);
            self.settle(now);
        }
    }
}
