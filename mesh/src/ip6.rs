//! IPv6, UDP and ICMPv6 headers: checked views over bytes, and builders.

use std::net::Ipv6Addr;

use crate::checksum;
use crate::codec::Writer;
use crate::port::{NEXT_HEADER_FRAGMENT, NEXT_HEADER_ICMPV6, NEXT_HEADER_TCP, NEXT_HEADER_UDP};

/// Length of the fixed IPv6 header in bytes (RFC 8200 section 3).
pub const HEADER_LEN: usize = 40;
/// Length of a UDP header in bytes (RFC 768).
pub const UDP_HEADER_LEN: usize = 8;
/// Where the hop limit stands in the IPv6 header.
pub const HOP_LIMIT_OFFSET: usize = 7;

/// `ff02::5`, AllSPFRouters (RFC 5340 appendix A.1).
pub const ALL_SPF_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5);
/// `ff02::6`, AllDRouters (RFC 5340 appendix A.1).
pub const ALL_D_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 6);

/// Why bytes are not an IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than the fixed header, or than its own payload length says.
    #[error("truncated IPv6 packet")]
    Truncated,
    /// The version field is not 6.
    #[error("not IPv6")]
    Version,
}

/// A packet whose version is 6 and whose payload is all there. No accessor panics.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: &'a [u8; HEADER_LEN],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and length. Bytes after the payload (WireGuard's padding) are ignored.
    ///
    /// # Errors
    /// [`Malformed`] names the rule that failed.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
        let [version, _, _, _, high, low, ..] = *header;
        if version >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let payload = rest.get(..usize::from(u16::from_be_bytes([high, low]))).ok_or(Malformed::Truncated)?;
        Ok(Self { header, payload })
    }

    /// Length of header and payload in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a packet has at least its header")]
    pub const fn len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// Traffic class: DSCP and ECN.
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        let [a, b, ..] = *self.header;
        a << 4 | b >> 4
    }

    /// Flow label, 20 bits.
    #[must_use]
    pub const fn flow_label(&self) -> u32 {
        let [_, b, c, d, ..] = *self.header;
        u32::from_be_bytes([0, b & 0x0f, c, d])
    }

    /// Protocol of the payload, or its first extension header.
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        let [_, _, _, _, _, _, next_header, ..] = *self.header;
        next_header
    }

    /// Hop limit as received.
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        let [_, _, _, _, _, _, _, hop_limit, ..] = *self.header;
        hop_limit
    }

    /// Source address.
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        let [_, _, _, _, _, _, _, _, src @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.header;
        Ipv6Addr::from_octets(*src)
    }

    /// Destination address.
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        let dst = self.header.last_chunk::<16>().expect("the header has 40 bytes");
        Ipv6Addr::from_octets(*dst)
    }

    /// What follows the fixed header.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The UDP datagram directly behind the header, if it is one and whole; its checksum is not looked at.
    #[must_use]
    pub fn udp(&self) -> Option<Udp<'a>> {
        if self.next_header() != NEXT_HEADER_UDP {
            return None;
        }
        let (header, rest) = self.payload.split_first_chunk::<UDP_HEADER_LEN>()?;
        let [s0, s1, d0, d1, l0, l1, _, _] = *header;
        let len = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(UDP_HEADER_LEN)?;
        Some(Udp {
            src_port: u16::from_be_bytes([s0, s1]),
            dst_port: u16::from_be_bytes([d0, d1]),
            payload: rest.get(..len)?,
        })
    }

    /// Whether the checksum of an upper-layer packet (UDP, TCP, ICMPv6, OSPF) directly behind the header is right.
    #[must_use]
    pub fn upper_layer_checksum_is_valid(&self) -> bool {
        checksum::upper_layer_is_valid(self.src(), self.dst(), self.next_header(), self.payload)
    }

    /// A hash of what makes a flow, for choosing among equal-cost paths: addresses, flow label, protocol, and the ports
    /// where they stand right behind the header (a fragment's ports are not looked at, so all of it takes one path).
    /// `salt` differs from node to node, or every hop would make the same choice (RFC 2992 section 4).
    #[must_use]
    pub fn flow_hash(&self, salt: u64) -> u64 {
        let [_, _, _, _, _, _, _, _, addresses @ ..] = self.header;
        let ports = match (self.next_header(), self.payload) {
            (NEXT_HEADER_TCP | NEXT_HEADER_UDP, [a, b, c, d, ..]) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => 0,
        };
        let mut hash = salt ^ (u64::from(self.flow_label()) << 32 | u64::from(ports));
        hash = mix(hash ^ u64::from(self.next_header()));
        for word in addresses.as_chunks::<8>().0 {
            hash = mix(hash ^ u64::from_ne_bytes(*word));
        }
        hash
    }
}

/// The finaliser of MurmurHash3: two multiplications spread every input bit over the output.
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// A UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

/// DSCP CS6 (network control, RFC 4594 section 3.1) as a traffic class: routing protocols and BFD.
pub const CLASS_NETWORK_CONTROL: u8 = 0xc0;

/// The fields of an IPv6 header that a builder needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
}

impl Header {
    /// A packet of `payload`, whose checksum (if its protocol has one) is already right.
    #[must_use]
    pub fn packet(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut w = Writer::with_capacity(HEADER_LEN + payload.len());
        w.u32(0x6000_0000 | u32::from(self.traffic_class) << 20)
            .u16(u16::try_from(payload.len()).unwrap_or(u16::MAX))
            .u8(next_header)
            .u8(self.hop_limit)
            .bytes(&self.src.octets())
            .bytes(&self.dst.octets())
            .bytes(payload);
        w.finish()
    }

    /// A UDP datagram with its checksum.
    #[must_use]
    pub fn udp(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let len = UDP_HEADER_LEN + payload.len();
        let mut w = Writer::with_capacity(len);
        w.u16(src_port).u16(dst_port).u16(u16::try_from(len).unwrap_or(u16::MAX)).u16(0).bytes(payload);
        let sum = checksum::upper_layer(self.src, self.dst, NEXT_HEADER_UDP, w.as_slice());
        // RFC 8200 section 8.1: a sum of zero is sent as 0xffff.
        w.patch_u16(6, if sum == 0 { 0xffff } else { sum });
        self.packet(NEXT_HEADER_UDP, w.as_slice())
    }

    /// The same without an allocation, for a payload of fixed length: `P` is the length of the whole packet, 48 bytes
    /// more than the payload.
    #[must_use]
    pub fn udp_array<const N: usize, const P: usize>(
        &self,
        src_port: u16,
        dst_port: u16,
        payload: &[u8; N],
    ) -> [u8; P] {
        const { assert!(P == HEADER_LEN + UDP_HEADER_LEN + N && N < 0x8000) };
        let len = ((UDP_HEADER_LEN + N) as u16).to_be_bytes();
        let [s, d] = [src_port.to_be_bytes(), dst_port.to_be_bytes()];
        let sum =
            checksum::Sum::pseudo_header(self.src, self.dst, (UDP_HEADER_LEN + N) as u32, NEXT_HEADER_UDP)
                .plus(&[s[0], s[1], d[0], d[1], len[0], len[1]])
                .plus(payload)
                .finish();
        let sum = if sum == 0 { 0xffff } else { sum }.to_be_bytes();
        let start = (0x6000_0000 | u32::from(self.traffic_class) << 20).to_be_bytes();
        let mut packet = [0; P];
        let fields = start
            .into_iter()
            .chain(len)
            .chain([NEXT_HEADER_UDP, self.hop_limit])
            .chain(self.src.octets())
            .chain(self.dst.octets())
            .chain(s)
            .chain(d)
            .chain(len)
            .chain(sum)
            .chain(*payload);
        for (to, from) in packet.iter_mut().zip(fields) {
            *to = from;
        }
        packet
    }

    /// An ICMPv6 message with its checksum. `rest` is the four bytes after the checksum.
    #[must_use]
    pub fn icmp(&self, kind: u8, code: u8, rest: u32, body: &[u8]) -> Vec<u8> {
        let mut w = Writer::with_capacity(8 + body.len());
        w.u8(kind).u8(code).u16(0).u32(rest).bytes(body);
        let sum = checksum::upper_layer(self.src, self.dst, NEXT_HEADER_ICMPV6, w.as_slice());
        w.patch_u16(2, sum);
        self.packet(NEXT_HEADER_ICMPV6, w.as_slice())
    }
}

/// ICMPv6 message types (RFC 4443).
pub mod icmp {
    /// Destination Unreachable (section 3.1).
    pub const DESTINATION_UNREACHABLE: u8 = 1;
    /// Packet Too Big (section 3.2).
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time Exceeded (section 3.3).
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter Problem (section 3.4).
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo Request (section 4.1).
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo Reply (section 4.2).
    pub const ECHO_REPLY: u8 = 129;

    /// Destination Unreachable, code 0: no route to destination.
    pub const NO_ROUTE: u8 = 0;
    /// Destination Unreachable, code 3: address unreachable.
    pub const ADDRESS_UNREACHABLE: u8 = 3;
}

/// An ICMPv6 error that a router answers a packet with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// The link to the next hop is down and there is no other.
    AddressUnreachable,
    /// There is no route.
    NoRoute,
    /// The packet does not fit the next link, whose MTU in bytes this is.
    PacketTooBig(u32),
    /// The hop limit ran out.
    TimeExceeded,
}

impl IcmpError {
    /// The error packet about `offending` (a whole IPv6 packet), from `src`.
    ///
    /// `None` where RFC 4443 section 2.4 (e) forbids an answer: about an ICMPv6 error, about a packet to a multicast
    /// address (but Packet Too Big is allowed), and about a source that does not name one node. A packet whose
    /// protocol is hidden behind an extension header that we do not walk is treated like an ICMPv6 error if it might
    /// be one (a fragment that is not the first).
    #[must_use]
    pub fn about(self, offending: &[u8], src: Ipv6Addr) -> Option<Vec<u8>> {
        let packet = Packet::new(offending).ok()?;
        let source_names_one_node = !packet.src().is_unspecified() && !packet.src().is_multicast();
        let too_big = matches!(self, Self::PacketTooBig(_));
        if !source_names_one_node || packet.dst().is_multicast() && !too_big || may_be_icmp_error(&packet) {
            return None;
        }
        let (kind, code, rest) = match self {
            Self::AddressUnreachable => (icmp::DESTINATION_UNREACHABLE, icmp::ADDRESS_UNREACHABLE, 0),
            Self::NoRoute => (icmp::DESTINATION_UNREACHABLE, icmp::NO_ROUTE, 0),
            Self::PacketTooBig(mtu) => (icmp::PACKET_TOO_BIG, 0, mtu),
            Self::TimeExceeded => (icmp::TIME_EXCEEDED, 0, 0),
        };
        // Section 2.4 (c): as much of the packet as fits the minimum IPv6 MTU.
        let room = 1280 - HEADER_LEN - 8;
        let quoted = offending.get(..packet.len().min(room)).unwrap_or(offending);
        let header = Header { src, dst: packet.src(), hop_limit: 64, traffic_class: 0 };
        Some(header.icmp(kind, code, rest, quoted))
    }
}

fn may_be_icmp_error(packet: &Packet<'_>) -> bool {
    match (packet.next_header(), packet.payload()) {
        (NEXT_HEADER_ICMPV6, [kind, ..]) => *kind < 128,
        (NEXT_HEADER_ICMPV6, []) => true,
        (NEXT_HEADER_FRAGMENT, [NEXT_HEADER_ICMPV6, _, high, low, ..]) => {
            let first = u16::from_be_bytes([*high, *low]) & 0xfff8 == 0;
            // Behind the 8-byte fragment header of the first fragment stands the ICMPv6 type.
            !first || packet.payload().get(8).is_none_or(|kind| *kind < 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 1, 2, 3, 0x8004, 5);
    const B: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 6, 7, 8, 0x8009, 10);
    const HEADER: Header = Header { src: A, dst: B, hop_limit: 7, traffic_class: CLASS_NETWORK_CONTROL };

    #[test]
    fn a_view_reads_what_the_builder_wrote() {
        let bytes = HEADER.udp(4000, 5000, b"hello");
        let packet = Packet::new(&bytes).unwrap();
        assert_eq!((packet.src(), packet.dst(), packet.hop_limit()), (A, B, 7));
        assert_eq!((packet.traffic_class(), packet.flow_label()), (0xc0, 0));
        assert_eq!(packet.len(), 40 + 8 + 5);
        assert_eq!(packet.udp(), Some(Udp { src_port: 4000, dst_port: 5000, payload: b"hello" }));
        assert!(packet.upper_layer_checksum_is_valid());
        assert_eq!(HEADER.udp_array::<5, 53>(4000, 5000, b"hello")[..], bytes);
    }

    #[test]
    fn padding_is_ignored_and_truncation_is_not() {
        let mut bytes = HEADER.udp(1, 2, b"hello");
        for len in 0..bytes.len() {
            assert_eq!(Packet::new(&bytes[..len]).err(), Some(Malformed::Truncated), "{len}");
        }
        bytes.extend([0; 11]);
        assert_eq!(Packet::new(&bytes).unwrap().payload().len(), 13);
        bytes[0] = 0x45;
        assert_eq!(Packet::new(&bytes).err(), Some(Malformed::Version));
    }

    #[test]
    fn a_udp_length_outside_its_packet_is_not_udp() {
        for len in [0u16, 7, 14, 0xffff] {
            let mut bytes = HEADER.udp(1, 2, b"hello");
            bytes[44..46].copy_from_slice(&len.to_be_bytes());
            assert_eq!(Packet::new(&bytes).unwrap().udp(), None, "{len}");
        }
    }

    #[test]
    fn an_error_quotes_the_packet_and_fits_the_minimum_mtu() {
        let bytes = HEADER.udp(1, 2, &[9; 3000]);
        let error = IcmpError::PacketTooBig(1280).about(&bytes, B).unwrap();
        let packet = Packet::new(&error).unwrap();
        assert_eq!((packet.src(), packet.dst(), packet.len()), (B, A, 1280));
        assert!(packet.upper_layer_checksum_is_valid());
        assert_eq!(
            packet.payload()[..8]
                .iter()
                .enumerate()
                .filter(|(i, _)| !matches!(i, 2 | 3))
                .map(|(_, b)| *b)
                .collect::<Vec<_>>(),
            [2, 0, 0, 0, 5, 0]
        );
        assert_eq!(packet.payload()[8..], bytes[..1232]);
    }

    #[test]
    fn rfc_4443_section_2_4_e_no_error_about_errors_multicast_or_nobody() {
        let about = |bytes: &[u8]| IcmpError::TimeExceeded.about(bytes, B).is_some();
        assert!(about(&HEADER.udp(1, 2, b"")));
        assert!(about(&HEADER.icmp(icmp::ECHO_REQUEST, 0, 0, b"")));
        assert!(!about(&HEADER.icmp(icmp::TIME_EXCEEDED, 0, 0, b"")));
        assert!(!about(&HEADER.packet(NEXT_HEADER_ICMPV6, b"")));
        assert!(!about(&Header { dst: ALL_SPF_ROUTERS, ..HEADER }.udp(1, 2, b"")));
        let multicast = Header { dst: ALL_SPF_ROUTERS, ..HEADER }.udp(1, 2, b"");
        assert!(IcmpError::PacketTooBig(1280).about(&multicast, B).is_some());
        assert!(!about(&Header { src: Ipv6Addr::UNSPECIFIED, ..HEADER }.udp(1, 2, b"")));
        assert!(!about(&Header { src: ALL_SPF_ROUTERS, ..HEADER }.udp(1, 2, b"")));
        // Fragment header: next header, reserved, offset and flags, identification; then the payload.
        let fragment =
            |offset: u8, kind: u8| HEADER.packet(NEXT_HEADER_FRAGMENT, &[58, 0, 0, offset, 0, 0, 0, 1, kind]);
        assert!(about(&fragment(1, icmp::ECHO_REQUEST)));
        assert!(!about(&fragment(1, icmp::PACKET_TOO_BIG)));
        assert!(!about(&fragment(8, icmp::ECHO_REQUEST)));
    }

    #[test]
    fn flows_spread_and_stay() {
        let paths = 4u64;
        let mut counts = [0; 4];
        for port in 0..1000 {
            let bytes = HEADER.udp(port, 80, b"");
            let packet = Packet::new(&bytes).unwrap();
            assert_eq!(packet.flow_hash(1), packet.flow_hash(1));
            counts[(packet.flow_hash(1) % paths) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (180..320).contains(count)), "{counts:?}");
    }
}
