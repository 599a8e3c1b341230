//! From a datagram to an inner packet, and what is addressed to this node itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use molt_mesh::ip6::{ALL_D_ROUTERS, ALL_SPF_ROUTERS, CLASS_NETWORK_CONTROL, Header, Packet, icmp};
use molt_mesh::port::{BFD_SINGLE_HOP, NEXT_HEADER_FRAGMENT, NEXT_HEADER_ICMPV6, NEXT_HEADER_OSPF};
use molt_mesh::{LinkId, Time};

use super::{Dataplane, Event};
use crate::counters::Discard;
use crate::engine::{Engine, Gate, Message, Opened, Tunnel};
use crate::output::{Output, UdpBatch};

impl<E: Engine> Dataplane<E> {
    /// Takes a datagram from the underlay.
    pub(super) fn receive(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Time,
        out: &mut Output,
    ) -> Result<(), Discard> {
        if matches!(from.ip(), IpAddr::V6(ip) if self.config.mesh.contains(ip)) {
            return Err(Discard::UnderlayInsideMesh);
        }
        let message = Message::classify(datagram).ok_or(Discard::NotWireGuard)?;
        if Message::is_handshake(datagram) {
            self.admit(from, datagram, now, &mut out.udp)?;
        }
        let link = match message {
            Message::Initiation => {
                let key = self.engine.initiator(datagram).ok_or(Discard::NotAuthentic)?;
                self.links.by_key(&key).ok_or(Discard::UnknownPeer)?
            }
            Message::ForIndex(index) => self.links.by_receiver(index).ok_or(Discard::UnknownSession)?,
        };
        self.open(link, from, datagram, now, out)
    }

    /// Decides whether a handshake message may cost us a Diffie-Hellman.
    fn admit(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Time,
        udp: &mut UdpBatch,
    ) -> Result<(), Discard> {
        if !self.engine.knows_us(datagram) {
            return Err(Discard::BadMac);
        }
        if !self.door.take(from.ip(), now) {
            return Err(Discard::HandshakeRate);
        }
        if self.links.iter().any(|entry| entry.endpoint == Some(from) && entry.tunnel.is_up()) {
            return Ok(());
        }
        let mut cookie = [0; 64];
        match self.engine.gate(from.ip(), datagram, now, &mut cookie) {
            Gate::Pass => Ok(()),
            Gate::Refuse => Err(Discard::BadMac),
            Gate::Reply(len) => {
                udp.push(from, 0, |room| copy(cookie.get(..len).unwrap_or(&[]), room));
                Err(Discard::CookieDemanded)
            }
        }
    }

    fn open(
        &mut self,
        link: LinkId,
        from: SocketAddr,
        datagram: &[u8],
        now: Time,
        out: &mut Output,
    ) -> Result<(), Discard> {
        let Output { udp, tun } = out;
        let entry = self.links.get_mut(link).ok_or(Discard::UnknownSession)?;
        let was_up = entry.tunnel.is_up();
        let room = tun.room();
        let opened = entry.tunnel.open(from.ip(), datagram, room, now);
        if opened.is_authentic() && entry.endpoint != Some(from) {
            // Whoever holds the key decides where it is reached (WireGuard whitepaper section 2.1).
            entry.endpoint = Some(from);
            self.events.push_back(Event::Roamed(link, from));
        }
        let came_up = matches!(opened, Opened::Packet(_) | Opened::Keepalive | Opened::Established(_))
            && (!was_up || entry.answered);
        if came_up || matches!(opened, Opened::Established(_)) {
            entry.answered = false;
            self.events.push_back(Event::Established(link));
        }
        match opened {
            Opened::Packet(len) => {
                entry.traffic.rx_packets += 1;
                entry.traffic.rx_bytes += len as u64;
                self.receive_inner(link, len, now, out)
            }
            Opened::Answer(len) | Opened::Established(len) => {
                entry.answered = matches!(opened, Opened::Answer(_));
                let message = room.get(..len).unwrap_or(&[]);
                if udp.push(from, 0, |to| copy(message, to)) { Ok(()) } else { Err(Discard::TransmitFull) }
            }
            Opened::Keepalive | Opened::Cookie => Ok(()),
            Opened::Rejected => Err(Discard::NotAuthentic),
        }
    }

    /// Takes the inner packet that lies in the first `len` bytes of the TUN batch's room.
    fn receive_inner(
        &mut self,
        link: LinkId,
        len: usize,
        now: Time,
        out: &mut Output,
    ) -> Result<(), Discard> {
        let bytes = out.tun.room().get(..len).ok_or(Discard::Malformed)?;
        let packet = Packet::new(bytes).map_err(|_| Discard::Malformed)?;
        let (src, dst) = (packet.src(), packet.dst());
        if dst.is_multicast() || dst.is_unicast_link_local() || src.is_unicast_link_local() {
            return self.receive_link_local(link, &packet, now, &mut out.udp);
        }
        self.forward_from_link(link, len, now, out)
    }

    /// The tunnel is the OSPF point-to-point interface and the BFD path: what is link-local ends here.
    fn receive_link_local(
        &mut self,
        link: LinkId,
        packet: &Packet<'_>,
        now: Time,
        udp: &mut UdpBatch,
    ) -> Result<(), Discard> {
        let (src, dst) = (packet.src(), packet.dst());
        let to_us = dst == self.config.link_local;
        if !src.is_unicast_link_local() || src == self.config.link_local {
            return Err(Discard::LinkLocalOther);
        }
        if let Some(datagram) = packet.udp().filter(|udp| to_us && udp.dst_port == BFD_SINGLE_HOP) {
            if !packet.upper_layer_checksum_is_valid() {
                return Err(Discard::Malformed);
            }
            let handled = self.bfd.handle_packet(link, packet.hop_limit(), datagram.payload, now);
            self.drain_bfd(now, udp);
            return handled.map_err(|_| Discard::BfdRejected);
        }
        let entry = self.links.get_mut(link).ok_or(Discard::UnknownSession)?;
        if !entry.control.take(now) {
            return Err(Discard::ControlRate);
        }
        match (packet.next_header(), packet.payload()) {
            (NEXT_HEADER_OSPF, payload) if to_us || dst == ALL_SPF_ROUTERS || dst == ALL_D_ROUTERS => {
                let payload = payload.into();
                self.push_ospf(Event::Ospf { link, src, dst, hop_limit: packet.hop_limit(), payload });
                Ok(())
            }
            (NEXT_HEADER_FRAGMENT, _) if to_us || dst == ALL_SPF_ROUTERS || dst == ALL_D_ROUTERS => {
                let whole = entry.fragments.handle_fragment(packet, now, &mut self.counters)?;
                if let Some(payload) = whole {
                    let (hop_limit, payload) = (packet.hop_limit(), payload.into());
                    self.push_ospf(Event::Ospf { link, src, dst, hop_limit, payload });
                }
                Ok(())
            }
            (NEXT_HEADER_ICMPV6, [icmp::ECHO_REQUEST, 0, _, _, a, b, c, d, data @ ..])
                if to_us && packet.upper_layer_checksum_is_valid() =>
            {
                // Operators of stock routers ping the other end of a tunnel first.
                let header =
                    Header { src: dst, dst: src, hop_limit: 64, traffic_class: packet.traffic_class() };
                let reply = header.icmp(icmp::ECHO_REPLY, 0, u32::from_be_bytes([*a, *b, *c, *d]), data);
                self.send(link, &reply, CLASS_NETWORK_CONTROL, now, udp)
            }
            _ => Err(Discard::LinkLocalOther),
        }
    }

    /// Whether `addr` is an address of this node.
    pub(super) fn is_ours(&self, addr: Ipv6Addr) -> bool {
        self.config.addresses.contains(&addr)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    match to.get_mut(..from.len()) {
        Some(to) => {
            to.copy_from_slice(from);
            from.len()
        }
        None => 0,
    }
}
