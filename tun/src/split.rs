//! Cutting what the host writes: one read from a TUN device with `IFF_VNET_HDR` is a packet or a super-packet of up to
//! 64 KiB, whose checksum may be unfinished. The core gets packets that fit the MTU, with checksums.
//!
//! Nothing is copied but the headers. Each packet's headers are written in front of its payload, over the end of the
//! payload before, which its receiver has finished with.

use molt_mesh::checksum::Sum;
use molt_mesh::ip6;

use crate::virtio;

/// Longest headers that are repeated in front of each payload: IPv6 and TCP need 100 bytes, the rest is for extension
/// headers.
const MAX_HEADERS: usize = 256;

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Why a read from the device cannot be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The checksum to finish lies outside the packet, or in the IPv6 header, which has none.
    #[error("checksum outside the payload")]
    Checksum,
    /// A super-packet whose headers are longer than itself or than any we know, or whose segments have no bytes.
    #[error("headers and segments do not make a super-packet")]
    Headers,
    /// Not IPv6: a host may send anything into the device.
    #[error("not IPv6")]
    NotIpv6,
    /// Shorter than its headers.
    #[error("truncated")]
    Truncated,
    /// A kind of super-packet that the device was not asked for.
    #[error("unknown kind of super-packet")]
    UnknownKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// Calls `each` with every packet of one read, in order. It may change the packet.
///
/// # Errors
/// [`Reject`] names the rule that failed; then `each` was not called.
pub fn split(read: &mut [u8], mut each: impl FnMut(&mut [u8])) -> Result<(), Reject> {
    let (header, packet) = read.split_first_chunk_mut().ok_or(Reject::Truncated)?;
    let header = virtio::Header::decode(*header);
    let version = packet.first().ok_or(Reject::Truncated)? >> 4;
    if version != 6 {
        return Err(Reject::NotIpv6);
    }
    if packet.len() < ip6::HEADER_LEN {
        return Err(Reject::Truncated);
    }
    match header.gso_type & !virtio::GSO_ECN {
        virtio::GSO_NONE => {
            if header.flags & virtio::NEEDS_CHECKSUM != 0 {
                finish_checksum(&header, packet)?;
            }
            each(packet);
            Ok(())
        }
        virtio::GSO_TCPV6 => SuperPacket::new(&header, packet, Transport::Tcp)?.each(packet, each),
        virtio::GSO_UDP_L4 => SuperPacket::new(&header, packet, Transport::Udp)?.each(packet, each),
        _ => Err(Reject::UnknownKind),
    }
}

/// Replaces the sum of the pseudo-header, which the kernel left in the field, by the checksum.
fn finish_checksum(header: &virtio::Header, packet: &mut [u8]) -> Result<(), Reject> {
    let start = usize::from(header.checksum_start);
    if start < ip6::HEADER_LEN {
        return Err(Reject::Checksum);
    }
    let at = start + usize::from(header.checksum_offset);
    let checked = packet.get(start..).ok_or(Reject::Checksum)?;
    let sum = not_zero(Sum::default().plus(checked).finish());
    packet.get_mut(at..at + 2).ok_or(Reject::Checksum)?.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Zero means "no checksum" in UDP, and its one's complement twin is right everywhere (RFC 8200 section 8.1).
const fn not_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// What the packets of a super-packet have in common.
struct SuperPacket {
    transport: Transport,
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
    /// Where the transport header starts.
    transport_at: usize,
    /// Payload bytes of each packet but the last.
    segment: usize,
    seq: u32,
    tcp_flags: u8,
    /// The sum of the pseudo-header without its length, as far as the kernel left it.
    pseudo: Sum,
}

impl SuperPacket {
    fn new(header: &virtio::Header, packet: &[u8], transport: Transport) -> Result<Self, Reject> {
        if header.flags & virtio::NEEDS_CHECKSUM == 0 {
            return Err(Reject::Checksum);
        }
        let transport_at = usize::from(header.checksum_start);
        let bytes = packet.get(transport_at..).ok_or(Reject::Headers)?;
        // `headers_len` of the virtio header is a hint that is wrong for packets the host forwards.
        let (transport_len, checksum, seq, tcp_flags) = match (transport, bytes) {
            (
                Transport::Tcp,
                [_, _, _, _, s0, s1, s2, s3, _, _, _, _, offset, flags, _, _, c0, c1, _, _, ..],
            ) => (usize::from(offset >> 4) * 4, [*c0, *c1], u32::from_be_bytes([*s0, *s1, *s2, *s3]), *flags),
            (Transport::Udp, [_, _, _, _, _, _, c0, c1, ..]) => (ip6::UDP_HEADER_LEN, [*c0, *c1], 0, 0),
            (Transport::Tcp | Transport::Udp, _) => return Err(Reject::Truncated),
        };
        let headers_len = transport_at + transport_len;
        let least = transport_at + if transport == Transport::Tcp { 20 } else { ip6::UDP_HEADER_LEN };
        let whole = transport_at >= ip6::HEADER_LEN && headers_len >= least && headers_len < packet.len();
        let mut headers = [0; MAX_HEADERS];
        let (Some(to), Some(from)) = (headers.get_mut(..headers_len), packet.get(..headers_len)) else {
            return Err(Reject::Headers);
        };
        if !whole || header.segment == 0 {
            return Err(Reject::Headers);
        }
        to.copy_from_slice(from);
        // The field holds the sum of addresses, protocol and the length of all: take the length out again. In one's
        // complement, subtracting is adding the complement (RFC 1071 section 2).
        let len = Sum::default().plus(&length(bytes.len()).to_be_bytes());
        let pseudo = Sum::default().plus(&checksum).plus(&(!len.folded()).to_be_bytes());
        Ok(Self {
            transport,
            headers,
            headers_len,
            transport_at,
            segment: usize::from(header.segment),
            seq,
            tcp_flags,
            pseudo,
        })
    }

    fn each(mut self, packet: &mut [u8], mut each: impl FnMut(&mut [u8])) -> Result<(), Reject> {
        let total = packet.len() - self.headers_len;
        let mut done = 0;
        while done < total {
            let payload_len = self.segment.min(total - done);
            // The packet's payload ends up behind its headers when these start `done` bytes into the super-packet.
            let bytes =
                packet.get_mut(done..done + self.headers_len + payload_len).ok_or(Reject::Truncated)?;
            self.write_headers(bytes, done, done + payload_len == total);
            each(bytes);
            done += payload_len;
        }
        Ok(())
    }

    /// Writes the headers of the packet whose payload starts at `done` of all the payload.
    fn write_headers(&mut self, packet: &mut [u8], done: usize, last: bool) {
        let (ip_payload, transport_len) =
            (length(packet.len() - ip6::HEADER_LEN), length(packet.len() - self.transport_at));
        let at = self.transport_at;
        self.put(4, &(ip_payload as u16).to_be_bytes());
        let checksum_at = match self.transport {
            Transport::Tcp => {
                // As the kernel does: FIN and PSH belong to the last segment, CWR to the first (RFC 3168 section 6.1.2).
                let not_here = if last { 0 } else { TCP_FIN | TCP_PSH } | if done == 0 { 0 } else { TCP_CWR };
                self.put(at + 4, &self.seq.wrapping_add(length(done)).to_be_bytes());
                self.put(at + 13, &[self.tcp_flags & !not_here]);
                at + 16
            }
            Transport::Udp => {
                self.put(at + 4, &(transport_len as u16).to_be_bytes());
                at + 6
            }
        };
        self.put(checksum_at, &[0, 0]);
        let headers = self.headers.get(..self.headers_len).unwrap_or_default();
        if let Some(to) = packet.get_mut(..self.headers_len) {
            to.copy_from_slice(headers);
        }
        let sum = self.pseudo.plus(&transport_len.to_be_bytes()).plus(packet.get(at..).unwrap_or_default());
        if let Some(to) = packet.get_mut(checksum_at..checksum_at + 2) {
            to.copy_from_slice(&not_zero(sum.finish()).to_be_bytes());
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.headers.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
}

/// The length of something that one read returned.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
