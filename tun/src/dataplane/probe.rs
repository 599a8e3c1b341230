//! Echo requests of this node's own, for `molt ping` and `molt trace`.
//!
//! They are made and matched in the packet core, so that they need no privilege, no kernel socket and no TUN device,
//! and work in the simulator as on the wire.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::Time;
use molt_mesh::ip6::{HEADER_LEN, Header, Packet, icmp};
use molt_mesh::port::NEXT_HEADER_ICMPV6;

use crate::counters::Discard;

/// ICMPv6 identifier of our probes ("mo"). A `ping` of the kernel may use the same by chance: the payload decides.
const IDENTIFIER: u16 = 0x6d6f;

/// Most probes waiting for an answer.
const WAITING: usize = 256;

/// A probe that got no answer for this long is forgotten.
const PATIENCE: Duration = Duration::from_secs(30);

/// Largest payload of a probe in bytes: the tunnel MTU less IPv6 and ICMPv6 headers and our own 8 bytes.
pub(crate) const MAX_SIZE: u16 = 1224;

/// An echo request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Random: goes into the payload, so that nobody off the path can forge the answer.
    pub id: u64,
    /// Number within the id.
    pub seq: u16,
    /// Where to.
    pub dst: Ipv6Addr,
    /// Hop limit to send with.
    pub hop_limit: u8,
    /// Bytes of payload beyond the id, at most 1,224.
    pub size: u16,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReply {
    /// Of which probe.
    pub id: u64,
    /// Number within the id.
    pub seq: u16,
    /// Who answered.
    pub from: Ipv6Addr,
    /// Time between the request and the answer.
    pub rtt: Duration,
    /// What the answer says.
    pub outcome: ProbeOutcome,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It was not even sent, and why.
    NotSent(Discard),
    /// Echo Reply, and the hop limit it arrived with.
    Reply {
        /// Hop limit of the reply.
        hop_limit: u8,
    },
    /// Time Exceeded: a router on the way.
    TimeExceeded,
    /// Packet Too Big, with the MTU in bytes.
    TooBig(u32),
    /// Destination Unreachable, with its code.
    Unreachable(u8),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: u64,
    seq: u16,
    sent_at: Time,
}

/// The probes under way.
#[derive(Debug, Default)]
pub(super) struct Probes(Vec<Waiting>);

impl Probes {
    /// Builds the request and waits for its answer.
    pub(super) fn request(&mut self, probe: &Probe, src: Ipv6Addr, now: Time) -> Vec<u8> {
        self.0.retain(|waiting| now.since(waiting.sent_at) < PATIENCE);
        if self.0.len() >= WAITING {
            self.0.remove(0);
        }
        self.0.push(Waiting { id: probe.id, seq: probe.seq, sent_at: now });
        let mut body = probe.id.to_be_bytes().to_vec();
        body.resize(8 + usize::from(probe.size.min(MAX_SIZE)), 0);
        let header = Header { src, dst: probe.dst, hop_limit: probe.hop_limit, traffic_class: 0 };
        header.icmp(icmp::ECHO_REQUEST, 0, u32::from(IDENTIFIER) << 16 | u32::from(probe.seq), &body)
    }

    /// Recognises the answer to one of our probes.
    pub(super) fn answer(&mut self, packet: &Packet<'_>, now: Time) -> Option<ProbeReply> {
        if self.0.is_empty() || packet.next_header() != NEXT_HEADER_ICMPV6 {
            return None;
        }
        let ([kind, code, _, _, word @ ..], body) = packet.payload().split_first_chunk::<8>()?;
        let word = u32::from_be_bytes(*word);
        let (request, outcome) = match *kind {
            icmp::ECHO_REPLY => {
                let seq = (word >> 16 == u32::from(IDENTIFIER)).then_some((word & 0xffff) as u16)?;
                ((seq, body), ProbeOutcome::Reply { hop_limit: packet.hop_limit() })
            }
            icmp::DESTINATION_UNREACHABLE => (quoted(body)?, ProbeOutcome::Unreachable(*code)),
            icmp::PACKET_TOO_BIG => (quoted(body)?, ProbeOutcome::TooBig(word)),
            icmp::TIME_EXCEEDED => (quoted(body)?, ProbeOutcome::TimeExceeded),
            _ => return None,
        };
        let (seq, body) = request;
        let id = u64::from_be_bytes(*body.first_chunk()?);
        if !packet.upper_layer_checksum_is_valid() {
            return None;
        }
        self.finish(id, seq, packet.src(), outcome, now)
    }

    /// Ends a probe.
    pub(super) fn finish(
        &mut self,
        id: u64,
        seq: u16,
        from: Ipv6Addr,
        outcome: ProbeOutcome,
        now: Time,
    ) -> Option<ProbeReply> {
        let position = self.0.iter().position(|waiting| waiting.id == id && waiting.seq == seq)?;
        let waiting = self.0.remove(position);
        Some(ProbeReply { id, seq, from, rtt: now.since(waiting.sent_at), outcome })
    }
}

/// Number and payload of our echo request inside an error. The quotation may be cut off, so it is no [`Packet`].
fn quoted(error: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = error.split_at_checked(HEADER_LEN)?;
    let ([kind, _, _, _, i0, i1, s0, s1], body) = rest.split_first_chunk::<8>()?;
    let ours = header.get(6) == Some(&NEXT_HEADER_ICMPV6)
        && *kind == icmp::ECHO_REQUEST
        && u16::from_be_bytes([*i0, *i1]) == IDENTIFIER;
    ours.then_some((u16::from_be_bytes([*s0, *s1]), body))
}
