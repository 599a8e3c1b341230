//! The part of an area that is recorded, and the routers of it that are joined to the live mesh.
//!
//! ```text
//!                  === gateway ===
//! production nodes                 routers of which there is nothing but what they say
//!                  === gateway ===
//! ```
//!
//! A gateway has the packet core of a production node, with its tunnels and BFD sessions; in place of a control plane a
//! script speaks for it ([`Neighbor`]), and for all routers behind it. It passes nothing on: neither what live nodes say, nor
//! packets. Each gateway has a copy of the area, and all copies say the same, but for the links of the gateways themselves:
//! those each says of its own, and hears of the others through the live mesh.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use molt_bfd as bfd;
use molt_mesh::ip6::{ALL_SPF_ROUTERS, CLASS_NETWORK_CONTROL, Header};
use molt_mesh::port::NEXT_HEADER_OSPF;
use molt_mesh::{LinkId, MeshPrefix, NodePublic, RouterId, Time};
use molt_routing::ospf::Packet;
use molt_routing::ospf::consts::{MIN_LS_ARRIVAL, link_type};
use molt_routing::ospf::lsa::RouterLink;
use molt_routing::ospf::packet::PacketBody;
use molt_tun::output::Output;
use molt_tun::{BfdChange, Command, Core as _, Dataplane, Event, LinkConfig, NodeConfig};

use super::engine::PlainEngine;
use crate::area::{Area, COST};
use crate::script::{Neighbor, Offers, Order};

/// How many there are, with the first numbers of the recorded area. With two, a change behind them changes which is nearer.
pub const GATEWAYS: usize = 2;
/// How long a recorded router takes to find out that a link failed or works again: BFD at 100 ms, three times.
const DETECTION: Duration = Duration::from_millis(300);
/// Between two instances of what the gateway says about its links, as a production node has it.
const PACE: Duration = MIN_LS_ARRIVAL.saturating_add(Duration::from_millis(50));

/// A router of the recorded area with links to live nodes.
pub(super) struct Gateway {
    pub(super) data: Dataplane<PlainEngine>,
    /// Its number in the area.
    me: usize,
    link_local: Ipv6Addr,
    area: Area,
    /// Those of the other gateways.
    others: Vec<RouterId>,
    /// What all recorded routers say.
    offers: Offers,
    borders: BTreeMap<LinkId, Border>,
    commands: VecDeque<Command>,
    /// Routers that have something new to say about their links.
    changed: BTreeSet<usize>,
    /// Routers that say everything anew.
    reborn: BTreeSet<usize>,
    say_at: Option<Time>,
    /// When the gateway last said what links it has.
    said_at: Time,
}

/// A link to a live node.
struct Border {
    script: Neighbor,
    far: Option<RouterId>,
    bfd: bool,
}

impl Gateway {
    /// The router `me` of a signed area, with these neighbours in the live mesh. It describes the area in this order.
    pub(super) fn new(
        me: usize,
        mut area: Area,
        order: Order,
        live: Vec<(NodePublic, SocketAddr)>,
        seed: u64,
        now: Time,
    ) -> Self {
        let identity = area.identity(me).expect("a recorded area is signed");
        let (key, link_local) = (*identity.node_public(), identity.link_local());
        let config = NodeConfig {
            mesh: MeshPrefix::DEFAULT,
            addresses: vec![identity.address(MeshPrefix::DEFAULT).ip()],
            link_local,
            seed,
        };
        let mut offers = Offers::new(order);
        for lsa in (0..area.size()).flat_map(|router| area.lsas(router)) {
            offers.say(lsa, now);
        }
        let mut gateway = Self {
            data: Dataplane::new(PlainEngine { me: key }, config),
            me,
            link_local,
            others: (0..GATEWAYS).filter(|it| *it != me).map(|it| area.router_id(it)).collect(),
            offers,
            borders: BTreeMap::new(),
            commands: VecDeque::new(),
            changed: BTreeSet::new(),
            reborn: BTreeSet::new(),
            say_at: None,
            said_at: now,
            area,
        };
        // The numbers after those of its recorded links.
        let first = gateway.area.links(me).len() as u32 + 1;
        for ((remote, endpoint), number) in live.into_iter().zip(first..) {
            let link = LinkId::new(number).expect("it is not zero");
            let script = Neighbor::new(gateway.area.router_id(me), number);
            gateway.borders.insert(link, Border { script, far: None, bfd: false });
            let endpoint = Some(endpoint);
            let config = LinkConfig { link, remote, preshared: None, endpoint, foreign: false };
            gateway.commands.push_back(Command::AddLink(config));
        }
        gateway
    }

    /// From now on these recorded links do not work, both ends in ascending order, and these routers do not run; `reborn` were
    /// started again.
    pub(super) fn happened(
        &mut self,
        failed: &BTreeSet<(usize, usize)>,
        dead: &BTreeSet<usize>,
        reborn: &BTreeSet<usize>,
        now: Time,
    ) {
        let me = self.me;
        let is_ours = |router: &usize| *router == me || *router >= GATEWAYS && !dead.contains(router);
        for router in (0..self.area.size()).filter(is_ours) {
            for link in self.area.links_mut(router) {
                let up = !failed.contains(&(router.min(link.to), router.max(link.to)));
                if std::mem::replace(&mut link.up, up) != up {
                    self.changed.insert(router);
                }
            }
        }
        self.reborn.extend(reborn);
        if !self.changed.is_empty() || !self.reborn.is_empty() {
            self.say_at = Some(now + DETECTION);
        }
    }

    /// The address of a recorded router.
    pub(super) fn address(&self, router: usize) -> Ipv6Addr {
        self.area.prefixes(router).first().expect("it announces its address").addr()
    }

    pub(super) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Time,
        out: &mut Output,
    ) {
        self.data.handle_datagram(from, datagram, now, out);
        self.exchange(now, out);
    }

    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Output) {
        self.data.handle_timeout(now, out);
        if self.say_at.is_some_and(|at| at <= now) {
            self.say(now);
        }
        let links: Vec<LinkId> = self.borders.keys().copied().collect();
        for link in links {
            let border = self.borders.get_mut(&link);
            let packets = border.map(|border| border.script.handle_timeout(&self.offers, now));
            self.transmit(link, packets.unwrap_or_default());
        }
        self.exchange(now, out);
    }

    pub(super) fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        let repeat = self.borders.values().filter_map(|border| border.script.poll_timeout()).min();
        let own = [(repeat, "repeat LSAs"), (self.say_at, "say what changed")];
        let own = own.into_iter().filter_map(|(at, why)| Some((at?, why)));
        own.chain(self.data.poll_timeout()).min()
    }

    pub(super) fn exchange(&mut self, now: Time, out: &mut Output) {
        loop {
            if let Some(event) = self.data.poll_event() {
                self.handle_event(event, now);
            } else if let Some(command) = self.commands.pop_front() {
                self.data.handle_command(command, now, out);
            } else {
                return;
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Bfd { link, change: BfdChange::Down { .. } | BfdChange::AdminDown } => {
                if let Some(border) = self.borders.get_mut(&link) {
                    border.script.reset();
                    border.far = None;
                }
                self.note_borders(now);
            }
            Event::Ospf { link, src, payload, .. } => {
                let (Ok(packet), Some(border)) = (Packet::decode(&payload), self.borders.get_mut(&link))
                else {
                    return;
                };
                match &packet.body {
                    PacketBody::Hello(_) => {
                        border.far = Some(packet.router);
                        if !std::mem::replace(&mut border.bfd, true) {
                            let session = Some(bfd::Config::default());
                            self.commands.push_back(Command::Bfd { link, remote: src, session });
                        }
                    }
                    PacketBody::Update(lsas) => {
                        let of_others =
                            lsas.iter().filter(|lsa| self.others.contains(&lsa.header.key.router));
                        of_others.for_each(|lsa| self.offers.learn(lsa, now));
                    }
                    _ => {}
                }
                let answers = border.script.answer(packet.router, packet.body, &self.offers, now);
                self.transmit(link, answers);
                self.note_borders(now);
            }
            _ => {}
        }
    }

    /// The gateway's links are those whose neighbours are Full.
    fn note_borders(&mut self, now: Time) {
        let outward = self.borders.iter().filter_map(|(link, border)| {
            Some(RouterLink {
                kind: link_type::POINT_TO_POINT,
                metric: COST,
                interface: link.get(),
                neighbor_interface: border.script.full()?,
                neighbor: border.far?,
            })
        });
        let outward: Vec<RouterLink> = outward.collect();
        if *self.area.outward_mut(self.me) != outward {
            *self.area.outward_mut(self.me) = outward;
            self.changed.insert(self.me);
            let at = now.max(self.said_at + PACE);
            self.say_at = Some(self.say_at.map_or(at, |earlier| earlier.max(at)));
        }
    }

    fn say(&mut self, now: Time) {
        self.say_at = None;
        let reborn = std::mem::take(&mut self.reborn);
        let changed = std::mem::take(&mut self.changed);
        if changed.contains(&self.me) {
            self.said_at = now;
        }
        let mut lsas = Vec::new();
        for router in changed.difference(&reborn) {
            lsas.extend(self.area.links_lsas(*router));
        }
        for router in reborn {
            lsas.extend(self.area.lsas(router));
        }
        let keys: Vec<_> = lsas.iter().map(|lsa| lsa.header.key).collect();
        lsas.into_iter().for_each(|lsa| self.offers.say(lsa, now));
        let links: Vec<LinkId> = self.borders.keys().copied().collect();
        for link in links {
            let Some(border) = self.borders.get_mut(&link) else { continue };
            border.script.flood(keys.iter().copied());
            let packets = border.script.flooded(&self.offers, now);
            self.transmit(link, packets);
        }
    }

    fn transmit(&mut self, link: LinkId, bodies: Vec<PacketBody>) {
        let (src, dst) = (self.link_local, ALL_SPF_ROUTERS);
        for body in bodies {
            let packet = Packet { router: self.area.router_id(self.me), area: 0, instance: 0, body };
            let header = Header { src, dst, hop_limit: 1, traffic_class: CLASS_NETWORK_CONTROL };
            let packet = header.packet(NEXT_HEADER_OSPF, &packet.encode(src, dst));
            self.commands.push_back(Command::Transmit { link, packet });
        }
    }
}
