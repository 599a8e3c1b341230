//! Ports and protocol numbers, each with its source.

/// IPv6 next header of TCP (RFC 9293).
pub const NEXT_HEADER_TCP: u8 = 6;
/// IPv6 next header of UDP (RFC 768).
pub const NEXT_HEADER_UDP: u8 = 17;
/// IPv6 fragment header (RFC 8200 section 4.5).
pub const NEXT_HEADER_FRAGMENT: u8 = 44;
/// IPv6 next header of ICMPv6 (RFC 4443).
pub const NEXT_HEADER_ICMPV6: u8 = 58;
/// IPv6 next header of OSPF (RFC 5340 appendix A.1).
pub const NEXT_HEADER_OSPF: u8 = 89;

/// UDP destination port of BFD control packets on a single hop (RFC 5881 section 4).
pub const BFD_SINGLE_HOP: u16 = 3784;
/// UDP destination port of BFD control packets over several hops (RFC 5883 section 5).
pub const BFD_MULTIHOP: u16 = 4784;
/// Lowest source port of a BFD control packet (RFC 5881 section 4); the highest is 65535.
pub const BFD_SOURCE_MIN: u16 = 49152;

/// The underlay port `meshd` listens on unless told otherwise: WireGuard's customary one.
pub const UNDERLAY: u16 = 51820;

/// The MTU inside every tunnel, in bytes: the IPv6 minimum (RFC 8200 section 5), so that a WireGuard session nested
/// in the hop tunnels (outer 1,420 bytes over IPv4, 1,440 over IPv6) still fits an Ethernet or PPPoE underlay.
pub const TUNNEL_MTU: usize = 1280;
