//! Where a packet goes, and what its sender is told when it cannot go there.

use std::net::Ipv6Addr;

use molt_bfd as bfd;
use molt_mesh::ip6::{CLASS_NETWORK_CONTROL, HOP_LIMIT_OFFSET, IcmpError, Packet};
use molt_mesh::port::{BFD_MULTIHOP, TUNNEL_MTU};
use molt_mesh::{LinkId, Target, Time};

use super::Dataplane;
use crate::counters::Discard;
use crate::engine::Engine;
use crate::output::{Output, UdpBatch};

/// What the forwarding table says about a packet.
enum Decision {
    Local,
    Via(LinkId),
}

impl<E: Engine> Dataplane<E> {
    /// Takes a packet that an application of this host sends, or that its kernel routes into the mesh.
    pub(super) fn forward_from_host(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Output,
    ) -> Result<(), Discard> {
        let packet = Packet::new(bytes).map_err(|_| Discard::Malformed)?;
        let (src, dst) = (packet.src(), packet.dst());
        if dst.is_multicast() || dst.is_unicast_link_local() || src.is_unicast_link_local() {
            // The kernel's own noise: router solicitations, multicast listener reports.
            return Err(Discard::LinkLocalOther);
        }
        if !self.is_ours(src) {
            return Err(Discard::SourceNotOurs);
        }
        self.host.tx_packets += 1;
        self.host.tx_bytes += packet.len() as u64;
        let sent = match self.decide(&packet, None) {
            Ok(Decision::Via(link)) if packet.len() <= TUNNEL_MTU => {
                self.send(link, bytes, 0, now, &mut out.udp)
            }
            Ok(Decision::Via(_)) => Err(Discard::TooBig),
            // The kernel delivers to its own addresses by itself; a packet to ourselves here is a stale route.
            Ok(Decision::Local) => Err(Discard::BackToSender),
            Err(discard) => Err(discard),
        };
        if let Err(discard) = sent
            && let Some(error) = self.icmp_error(discard, bytes, now)
        {
            out.tun.push(&error);
        }
        sent
    }

    /// Takes a packet from a tunnel: the first `len` bytes of the TUN batch's room.
    pub(super) fn forward_from_link(
        &mut self,
        from: LinkId,
        len: usize,
        now: Time,
        out: &mut Output,
    ) -> Result<(), Discard> {
        let Output { udp, tun } = out;
        let bytes = tun.room().get_mut(..len).ok_or(Discard::Malformed)?;
        let packet = Packet::new(bytes).map_err(|_| Discard::Malformed)?;
        self.check_source(from, packet.src())?;
        let decision = self.decide(&packet, Some(from));
        let sent = match decision {
            Ok(Decision::Local) => {
                if let Some(reply) = self.probes.answer(&packet, now) {
                    self.events.push_back(super::Event::Probe(reply));
                    return Ok(());
                }
                if let Some(datagram) = packet.udp().filter(|udp| udp.dst_port == BFD_MULTIHOP) {
                    // RFC 5883 section 3.
                    if !packet.upper_layer_checksum_is_valid() {
                        return Err(Discard::Malformed);
                    }
                    let session = bfd::Binding::Path { local: packet.dst(), remote: packet.src() };
                    let handled = self.bfd.handle_packet(session, packet.hop_limit(), datagram.payload, now);
                    self.drain_bfd(now, udp);
                    return handled.map_err(|_| Discard::BfdRejected);
                }
                self.host.rx_packets += 1;
                self.host.rx_bytes += len as u64;
                // Without WireGuard's padding, which an engine may have left behind the packet.
                let len = packet.len();
                return if tun.commit(len) { Ok(()) } else { Err(Discard::DeviceFull) };
            }
            // RFC 8200 section 3: a hop limit that reaches zero on the way is discarded, and the sender told.
            Ok(Decision::Via(_)) if packet.hop_limit() <= 1 => Err(Discard::HopLimit),
            Ok(Decision::Via(_)) if packet.len() > TUNNEL_MTU => Err(Discard::TooBig),
            Ok(Decision::Via(link)) => {
                let hop_limit = packet.hop_limit();
                if let Some(field) = bytes.get_mut(HOP_LIMIT_OFFSET) {
                    *field = hop_limit - 1;
                }
                let sent = self.send(link, bytes, 0, now, udp);
                if sent.is_ok() {
                    self.transit_packets += 1;
                    return sent;
                }
                // An error quotes the packet as it came.
                if let Some(field) = bytes.get_mut(HOP_LIMIT_OFFSET) {
                    *field = hop_limit;
                }
                sent
            }
            Err(discard) => Err(discard),
        };
        if let Err(discard) = sent
            && let Some(error) = self.icmp_error(discard, bytes, now)
        {
            self.send_icmp_error(&error, now, out);
        }
        sent
    }

    /// Nothing but a Full neighbour may hand us packets, and none with a source that cannot be right.
    ///
    /// A transit neighbour, stock or not, carries packets of the whole mesh, so the source need not be its own; that
    /// the sender is who it claims to be is proven end to end. What can be told here: the source is not us, and has a route
    /// (RFC 3704 section 2.4, loose reverse path). Routes lead into the mesh, and to other meshes as far as the policy of
    /// their borders lets them. Another mesh has no say about addresses in ours.
    fn check_source(&self, from: LinkId, src: Ipv6Addr) -> Result<(), Discard> {
        let Some(link) = self.links.get(from).filter(|entry| entry.forwarding) else {
            return Err(Discard::NotAdjacent);
        };
        if self.is_ours(src) {
            return Err(Discard::SourceIsOurs);
        }
        let in_mesh = self.config.mesh.contains(src);
        if link.config.foreign && in_mesh {
            return Err(Discard::SourceNotForeign);
        }
        match self.fib.lookup(src) {
            Some(_) => Ok(()),
            None if in_mesh => Err(Discard::SourceUnroutable),
            None => Err(Discard::SourceNotMesh),
        }
    }

    /// Looks up the destination and picks one of its equal-cost links by flow, passing over failed ones.
    fn decide(&self, packet: &Packet<'_>, from: Option<LinkId>) -> Result<Decision, Discard> {
        let links = match self.fib.lookup(packet.dst()) {
            None => return Err(Discard::NoRoute),
            Some(Target::Local) => return Ok(Decision::Local),
            Some(Target::Via(links)) => links,
        };
        let usable = |link: &&LinkId| {
            Some(**link) != from && self.links.get(**link).is_some_and(super::super::link::Link::is_usable)
        };
        let chosen = match links {
            [only] => Some(only).filter(usable),
            several => match several.iter().filter(usable).count() {
                0 => None,
                count => {
                    let position = packet.flow_hash(self.salt) % count as u64;
                    several.iter().filter(usable).nth(position as usize)
                }
            },
        };
        match chosen {
            Some(link) => Ok(Decision::Via(*link)),
            // Two nodes that point at each other while routing converges must not bounce the packet 255 times
            // (RFC 4443 section 3.1 forbids it on point-to-point links).
            None if links.iter().any(|link| Some(*link) == from) => Err(Discard::BackToSender),
            None => Err(Discard::NextHopDown),
        }
    }

    /// The ICMPv6 error that a discard calls for.
    fn icmp_error(&mut self, discard: Discard, offending: &[u8], now: Time) -> Option<Vec<u8>> {
        let error = match discard {
            Discard::HopLimit => IcmpError::TimeExceeded,
            Discard::TooBig => IcmpError::PacketTooBig(TUNNEL_MTU as u32),
            Discard::NoRoute => IcmpError::NoRoute,
            Discard::NextHopDown | Discard::NoSession | Discard::NoEndpoint => IcmpError::AddressUnreachable,
            _ => return None,
        };
        let src = *self.config.addresses.first()?;
        if !self.icmp_errors.take(now) {
            self.counters.count(Discard::IcmpRate);
            return None;
        }
        error.about(offending, src)
    }

    fn send_icmp_error(&mut self, error: &[u8], now: Time, out: &mut Output) {
        let Ok(packet) = Packet::new(error) else { return };
        let sent = match self.decide(&packet, None) {
            Ok(Decision::Via(link)) => self.send(link, error, 0, now, &mut out.udp),
            Ok(Decision::Local) => Ok(()),
            Err(discard) => Err(discard),
        };
        self.count(sent);
    }

    /// Sends a packet of this node's control plane by the forwarding table.
    pub(super) fn send_control(
        &mut self,
        bytes: &[u8],
        now: Time,
        udp: &mut UdpBatch,
    ) -> Result<(), Discard> {
        let packet = Packet::new(bytes).map_err(|_| Discard::Malformed)?;
        match self.decide(&packet, None)? {
            Decision::Local => Err(Discard::BackToSender),
            Decision::Via(link) => self.send(link, bytes, CLASS_NETWORK_CONTROL, now, udp),
        }
    }

    /// Sends an echo request of this node itself.
    pub(super) fn send_probe(&mut self, probe: &super::Probe, now: Time, out: &mut Output) {
        let Some(src) = self.config.addresses.first().copied() else { return };
        let bytes = self.probes.request(probe, src, now);
        let Ok(packet) = Packet::new(&bytes) else { return };
        let outcome = match self.decide(&packet, None) {
            Ok(Decision::Local) => Ok(Some(super::ProbeOutcome::Reply { hop_limit: probe.hop_limit })),
            Ok(Decision::Via(link)) => self.send(link, &bytes, 0, now, &mut out.udp).map(|()| None),
            Err(discard) => Err(discard),
        };
        let outcome = match outcome {
            Ok(None) => return,
            Ok(Some(outcome)) => outcome,
            Err(discard) => {
                self.counters.count(discard);
                super::ProbeOutcome::NotSent(discard)
            }
        };
        if let Some(reply) = self.probes.finish(probe.id, probe.seq, src, outcome, now) {
            self.events.push_back(super::Event::Probe(reply));
        }
    }
}
