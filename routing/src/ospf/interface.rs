//! The point-to-point interface: one tunnel (RFC 2328 section 9), its Hellos (sections 9.5 and 10.5) and the BFD session
//! of its neighbour (RFC 5882).

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::ip6::{ALL_SPF_ROUTERS, CLASS_NETWORK_CONTROL, HEADER_LEN, Header};
use molt_mesh::port::NEXT_HEADER_OSPF;
use molt_mesh::{LinkId, RouterId, Time};

use super::consts::{AREA, INSTANCE, PACKET_HEADER_LEN, options};
use super::lsa::LsaHeader;
use super::mismatch::{Mismatch, Mismatches};
use super::neighbor::{Event, Neighbor, State};
use super::packet::{Hello, Packet, PacketBody, Reject, seconds};
use super::view::SpfTrigger;
use super::{BfdEvent, LinkConfig, Ospf, Output};

/// Hellos that answer a neighbour's are at least this far apart. It bounds what a neighbour can make us send, and is far
/// below the seconds an answer saves.
const ANSWER_GAP: Duration = Duration::from_millis(200);

/// BFD as seen from here.
#[derive(Debug)]
pub(super) struct BfdSession {
    pub(super) remote: Ipv6Addr,
    pub(super) up: bool,
    /// A session that killed its neighbour goes on for the dead interval, so that it sees the path come back.
    pub(super) linger_until: Option<Time>,
}

impl BfdSession {
    const fn new(remote: Ipv6Addr) -> Self {
        Self { remote, up: false, linger_until: None }
    }
}

/// One tunnel.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) config: LinkConfig,
    /// RFC 2328 section 9.1: Point-to-Point, else Down.
    pub(super) up: bool,
    /// HelloInterval and RouterDeadInterval in use: ours, or the neighbour's.
    pub(super) hello: Duration,
    pub(super) dead: Duration,
    pub(super) hello_at: Option<Time>,
    /// No Hello is answered before this.
    next_answer: Time,
    /// The smaller MTU of both ends.
    pub(super) mtu: u16,
    pub(super) neighbor: Option<Neighbor>,
    /// The router that was adjacent last. What the operator allows the stock router behind the tunnel it may announce when
    /// only others still hear it, too.
    pub(super) behind: Option<RouterId>,
    /// Since when a router is heard on a spare that no route leads to; see [`degree`](super::degree).
    pub(super) cut_off_since: Option<Time>,
    /// Acknowledgments that wait for company.
    pub(super) acks: Vec<LsaHeader>,
    pub(super) ack_at: Option<Time>,
    pub(super) bfd: Option<BfdSession>,
    /// The last packet that was dropped, for the operator.
    pub(super) last_reject: Option<(Time, Reject)>,
    pub(super) mismatches: Mismatches,
    /// Sequence number of our last Grace-LSA.
    pub(super) grace_seq: Option<i32>,
}

impl Interface {
    pub(super) fn new(config: LinkConfig, hello: Duration, dead: Duration) -> Self {
        Self {
            up: false,
            hello,
            dead,
            hello_at: None,
            next_answer: Time::ZERO,
            mtu: config.mtu,
            neighbor: None,
            behind: None,
            cut_off_since: None,
            acks: Vec::new(),
            ack_at: None,
            bfd: None,
            last_reject: None,
            mismatches: Mismatches::default(),
            grace_seq: None,
            config,
        }
    }

    /// Room for the body of an OSPF packet in bytes.
    pub(super) fn room(&self) -> usize {
        usize::from(self.mtu).saturating_sub(HEADER_LEN + PACKET_HEADER_LEN)
    }

    /// The neighbour, if it takes part in flooding (RFC 2328 section 13.3 step 1 (a)).
    pub(super) fn flooding_neighbor(&mut self) -> Option<&mut Neighbor> {
        self.neighbor.as_mut().filter(|neighbor| neighbor.state >= State::Exchange)
    }

    /// The neighbour, if it is Full, or counts as that because it is helped to restart.
    pub(super) fn full_neighbor(&self) -> Option<&Neighbor> {
        self.neighbor.as_ref().filter(|neighbor| neighbor.is_adjacent())
    }

    /// The neighbour reached 2-Way. A session that outlived its last adjacency goes on.
    pub(super) fn begin_bfd(&mut self, remote: Ipv6Addr, outputs: &mut VecDeque<Output>) {
        let link = self.config.link;
        if let Some(bfd) = self.bfd.as_mut().filter(|bfd| bfd.remote == remote) {
            bfd.linger_until = None;
            return;
        }
        if let Some(old) = self.bfd.replace(BfdSession::new(remote)) {
            outputs.push_back(Output::Bfd { link, remote: old.remote, enabled: false });
        }
        outputs.push_back(Output::Bfd { link, remote, enabled: true });
    }

    /// The neighbour fell below 2-Way. The session goes on for a dead interval: it tells when the path is good again,
    /// and a session that vanished because of a single late Hello would take the adjacency down at the other end.
    pub(super) fn leave_bfd(&mut self, now: Time) {
        if let Some(bfd) = &mut self.bfd {
            bfd.linger_until.get_or_insert(now + self.dead);
        }
    }

    fn end_bfd(&mut self, outputs: &mut VecDeque<Output>) {
        if let Some(bfd) = self.bfd.take() {
            outputs.push_back(Output::Bfd { link: self.config.link, remote: bfd.remote, enabled: false });
        }
    }
}

impl Ospf {
    /// RFC 2328 section 9.3, event InterfaceUp.
    pub(super) fn interface_up(&mut self, link: LinkId, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        interface.up = true;
        interface.hello = self.config.hello;
        interface.dead = self.config.dead;
        interface.mtu = interface.config.mtu;
        interface.mismatches.settle(|_| true);
        // At once: the neighbour learns of us one HelloInterval earlier.
        self.send_hello(link, now);
        self.update_own_lsas(now);
    }

    /// RFC 2328 section 9.3, event InterfaceDown.
    pub(super) fn interface_down(&mut self, link: LinkId, reason: &'static str, now: Time) {
        self.neighbor_event(link, Event::LlDown, reason, now);
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        interface.up = false;
        interface.hello_at = None;
        interface.end_bfd(&mut self.outputs);
        self.forget_own(link);
        self.purge_link_scope(link);
    }

    /// RFC 2328 section 9.5.
    pub(super) fn send_hello(&mut self, link: LinkId, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        interface.hello_at = Some(now + interface.hello);
        let heard = self.interfaces.get(&link).filter(|interface| !self.is_spare(interface));
        let neighbors = heard.and_then(|it| Some(it.neighbor.as_ref()?.router)).into_iter().collect();
        self.send_early_grace(link);
        let hello = self.hello(link, neighbors);
        self.transmit(link, hello);
    }

    /// A Hello that names nobody makes the neighbour drop the adjacency at once (event 1-WayReceived), not after its
    /// dead interval.
    pub(super) fn send_parting_hello(&mut self, link: LinkId) {
        let hello = self.hello(link, Vec::new());
        self.transmit(link, hello);
    }

    fn hello(&self, link: LinkId, neighbors: Vec<RouterId>) -> PacketBody {
        let interface = self.interfaces.get(&link);
        let intervals = interface.map_or((self.config.hello, self.config.dead), |it| (it.hello, it.dead));
        PacketBody::Hello(Hello::point_to_point(link.get(), intervals, neighbors))
    }

    /// RFC 2328 section 10.5 and RFC 5340 section 4.2.2.1.
    pub(super) fn handle_hello(
        &mut self,
        link: LinkId,
        src: Ipv6Addr,
        router: RouterId,
        hello: &Hello,
        now: Time,
    ) -> Result<(), Reject> {
        let (theirs_hello, theirs_dead) = hello.intervals();
        let ours = (seconds(self.config.hello), seconds(self.config.dead));
        let theirs = (hello.hello_interval, hello.dead_interval);
        let senseless = theirs_hello.is_zero() || theirs_dead < theirs_hello;
        if ours != theirs {
            let mismatch = Mismatch::Intervals { ours, theirs, adopted: !senseless };
            self.note_mismatch(link, router, mismatch, now);
        } else if let Some(interface) = self.interfaces.get_mut(&link) {
            interface.mismatches.settle(|mismatch| matches!(mismatch, Mismatch::Intervals { .. }));
        }
        if senseless {
            return Err(Reject::Intervals);
        }
        if hello.options & (options::E | options::N) != options::E {
            let mismatch = Mismatch::Options { ours: options::ROUTER, theirs: hello.options };
            self.note_mismatch(link, router, mismatch, now);
            return Err(Reject::HelloOptions);
        }
        // Nothing is dropped for it: a neighbour may take a tunnel for a LAN and become adjacent all the same. FRR, when it has
        // helped a neighbour to restart, elects a Designated Router on point-to-point links, too, and names it for ever.
        if hello.designated != RouterId(0) && !self.is_point_to_point(router, now) {
            let mismatch = Mismatch::NetworkType { designated: hello.designated };
            self.note_mismatch(link, router, mismatch, now);
        }
        if !self.may_be_neighbor(link, router, now) {
            // One that is forgotten would be met as a new one, and asked for its database, each time there is room.
            if let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) {
                neighbor.inactivity_at = now + theirs_dead;
            }
            return Err(Reject::NeighborLimit);
        }
        // A tunnel has one peer, so another router id is the same peer, restarted or after a clash of ids.
        let known = self.interfaces.get(&link).and_then(|interface| interface.neighbor.as_ref());
        if known.is_some_and(|neighbor| neighbor.router != router) {
            self.neighbor_event(link, Event::KillNbr, "the neighbour changed its router id", now);
        }
        let dd_seq = self.rng.u32(..);
        let presume_until = now + self.config.rxmt;
        let Some(interface) = self.interfaces.get_mut(&link) else { return Err(Reject::LinkDown) };
        let may_answer = interface.next_answer <= now;
        interface.behind = Some(router);
        let neighbor = interface
            .neighbor
            .get_or_insert_with(|| Neighbor::new(router, src, hello.interface, dd_seq, now));
        // RFC 2328 drops a Hello whose intervals differ (RFC 7503 section 5.1 waives the check). Over a link with one
        // neighbour they can be adopted, so a stock box with other timers comes up. The smaller pair wins once both are
        // 2-Way, or two routers that both adopt would swap theirs for ever.
        let differ = (theirs_hello, theirs_dead) != (interface.hello, interface.dead);
        if differ && (neighbor.state <= State::Init || theirs_hello < interface.hello) {
            interface.hello = theirs_hello;
            interface.dead = theirs_dead;
            interface.hello_at = interface.hello_at.map(|at| at.min(now + theirs_hello));
        }
        let help = neighbor.help.map(|help| help.until);
        neighbor.inactivity_at = help.unwrap_or(now).max(now + interface.dead);
        neighbor.address = src;
        let is_new = neighbor.state == State::Down;
        let other_interface = neighbor.interface != hello.interface;
        neighbor.interface = hello.interface;
        let presume = neighbor.state == State::Down && may_answer;
        if presume {
            neighbor.presumed_until = presume_until;
        }
        let presumed = now < neighbor.presumed_until;
        neighbor.priority = hello.priority;
        self.neighbor_event(link, Event::HelloReceived, "hello received", now);
        if is_new {
            self.note_stock(now);
        }
        if hello.neighbors.contains(&self.config.router_id) {
            self.neighbor_event(link, Event::TwoWayReceived, "the neighbour has heard us", now);
        } else if presume {
            // A tunnel exists only if both ends hear each other, so the Hello that answers will arrive and the neighbour be
            // in Init or better when our Database Description does. BIRD, which has just sent its Hello, would otherwise wait
            // for its RxmtInterval before it sends us anything that shows it has heard us.
            if let Some(interface) = self.interfaces.get_mut(&link) {
                interface.next_answer = now + ANSWER_GAP;
            }
            self.send_hello(link, now);
            self.neighbor_event(link, Event::TwoWayReceived, "the tunnel carries both ways", now);
        } else {
            if !presumed {
                self.neighbor_event(link, Event::OneWayReceived, "the neighbour no longer hears us", now);
            }
            // The next regular Hello may be a HelloInterval away; the answer lets the neighbour start now.
            if let Some(interface) = self.interfaces.get_mut(&link) {
                let answer_at = interface.next_answer.max(now);
                if interface.hello_at.is_some_and(|at| answer_at < at) {
                    interface.hello_at = Some(answer_at);
                    interface.next_answer = answer_at + ANSWER_GAP;
                }
            }
        }
        if other_interface {
            self.schedule_spf(SpfTrigger::Adjacency(link), now);
            self.update_own_lsas(now);
        }
        Ok(())
    }

    /// Whether `router` announces a point-to-point link to us.
    fn is_point_to_point(&self, router: RouterId, now: Time) -> bool {
        let links = self.router_links(router, now).unwrap_or_default();
        links.iter().any(|link| link.neighbor == self.config.router_id)
    }

    /// RFC 5882 section 4.2. Only a session that was Up says something by going Down: a neighbour may run no BFD.
    pub(super) fn bfd_event(&mut self, link: LinkId, event: BfdEvent, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let Some(bfd) = &mut interface.bfd else { return };
        match event {
            BfdEvent::Up => {
                bfd.up = true;
                // The path is good again: say so now, not with the next regular Hello.
                if interface.neighbor.as_ref().is_none_or(|neighbor| neighbor.state < State::ExStart) {
                    self.send_hello(link, now);
                }
            }
            BfdEvent::AdminDown => bfd.up = false,
            // RFC 5882 section 4.3.2: a session that shares the fate of the neighbour's control plane says nothing while
            // that restarts.
            BfdEvent::Down if bfd.up && interface.neighbor.as_ref().is_some_and(|it| it.help.is_some()) => {
                bfd.up = false;
            }
            BfdEvent::Down | BfdEvent::PathDown if bfd.up => {
                bfd.up = false;
                self.neighbor_event(link, Event::KillNbr, "BFD down", now);
            }
            BfdEvent::Down | BfdEvent::PathDown => {}
        }
    }

    /// Sends an OSPF packet. RFC 2328 section 8.1: on a point-to-point network everything goes to AllSPFRouters.
    pub(super) fn transmit(&mut self, link: LinkId, body: PacketBody) {
        let Some(interface) = self.interfaces.get(&link).filter(|interface| interface.up) else { return };
        let src = interface.config.local;
        let dst = ALL_SPF_ROUTERS;
        let packet = Packet { router: self.config.router_id, area: AREA, instance: INSTANCE, body };
        self.counters.sent += 1;
        // RFC 5340 appendix A.1 and stock routers that enforce it: hop limit 1 on multicast.
        let header = Header { src, dst, hop_limit: 1, traffic_class: CLASS_NETWORK_CONTROL };
        let packet = header.packet(NEXT_HEADER_OSPF, &packet.encode(src, dst));
        self.outputs.push_back(Output::Transmit { link, dst, packet });
    }

    pub(super) fn interface_timeouts(&mut self, link: LinkId, now: Time) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        if let Some(bfd) = &mut interface.bfd
            && due(bfd.linger_until)
        {
            bfd.linger_until = None;
            if interface.neighbor.as_ref().is_none_or(|neighbor| neighbor.state < State::ExStart) {
                interface.end_bfd(&mut self.outputs);
            }
        }
        let hello = due(interface.hello_at);
        let acks = due(interface.ack_at);
        let inactive = interface.neighbor.as_ref().is_some_and(|neighbor| neighbor.inactivity_at <= now);
        self.help_timeout(link, now);
        if inactive {
            self.neighbor_event(link, Event::InactivityTimer, "no hello for the dead interval", now);
        }
        if hello {
            self.send_hello(link, now);
        }
        if acks {
            self.send_delayed_acks(link);
        }
        self.exchange_timeouts(link, now);
        self.unproven_timeout(link, now);
    }
}
