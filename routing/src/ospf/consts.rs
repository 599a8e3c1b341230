//! Numbers of the protocol. Sections are those of RFC 5340 unless another RFC is named.

use std::time::Duration;

/// OSPF version (A.3.1).
pub const VERSION: u8 = 3;
/// The backbone area.
pub const AREA: u32 = 0;
/// Instance ID of IPv6 unicast (RFC 5838 section 2.1).
pub const INSTANCE: u8 = 0;

/// Length of the OSPF packet header in bytes (A.3.1).
pub const PACKET_HEADER_LEN: usize = 16;
/// Where the checksum stands in the packet header.
pub const CHECKSUM_OFFSET: usize = 12;
/// Length of an LSA header in bytes (A.4.2).
pub const LSA_HEADER_LEN: usize = 20;
/// Bytes of a Hello without neighbours (A.3.2).
pub const HELLO_LEN: usize = 20;
/// Length of one entry of a Link State Request in bytes (A.3.4).
pub const REQUEST_LEN: usize = 12;
/// Bytes of a Database Description before the LSA headers (A.3.3).
pub const DESCRIPTION_LEN: usize = 12;
/// Bytes of a Link State Update before the first LSA: the count (A.3.5).
pub const UPDATE_LEN: usize = 4;
/// Length of one point-to-point, transit or virtual link in a Router-LSA in bytes (A.4.3).
pub const ROUTER_LINK_LEN: usize = 16;

/// Packet types (A.3).
pub mod packet_type {
    /// Hello (A.3.2).
    pub const HELLO: u8 = 1;
    /// Database Description (A.3.3).
    pub const DATABASE_DESCRIPTION: u8 = 2;
    /// Link State Request (A.3.4).
    pub const LINK_STATE_REQUEST: u8 = 3;
    /// Link State Update (A.3.5).
    pub const LINK_STATE_UPDATE: u8 = 4;
    /// Link State Acknowledgment (A.3.6).
    pub const LINK_STATE_ACK: u8 = 5;
}

/// Bits of the Options field (A.2).
pub mod options {
    /// The router takes part in IPv6 unicast routing.
    pub const V6: u32 = 0x01;
    /// AS-external-LSAs are flooded here.
    pub const E: u32 = 0x02;
    /// The area is an NSSA.
    pub const N: u32 = 0x08;
    /// The originator forwards packets of others.
    pub const R: u32 = 0x10;
    /// What a router in the backbone that forwards packets says.
    pub const ROUTER: u32 = V6 | E | R;
}

/// Bits of a Database Description (A.3.3).
pub mod description {
    /// Master/slave: the sender is the master.
    pub const MS: u8 = 0x01;
    /// More: further descriptions follow.
    pub const M: u8 = 0x02;
    /// Init: the first description.
    pub const I: u8 = 0x04;
}

/// Bits of a prefix's options (A.4.1.1).
pub mod prefix_options {
    /// No unicast: leave the prefix out of the calculation.
    pub const NU: u8 = 0x01;
    /// Local address: the prefix is an address of the router.
    pub const LA: u8 = 0x02;
}

/// Bits of a Router-LSA (A.4.3).
pub mod router_bits {
    /// The router is an area border router.
    pub const B: u8 = 0x01;
    /// The router is an AS boundary router.
    pub const E: u8 = 0x02;
}

/// Types of links in a Router-LSA (A.4.3).
pub mod link_type {
    /// Point-to-point connection to another router.
    pub const POINT_TO_POINT: u8 = 1;
    /// Connection to a transit network.
    pub const TRANSIT: u8 = 2;
    /// Virtual link.
    pub const VIRTUAL: u8 = 4;
}

/// Bits of an AS-External-LSA (A.4.7).
pub mod external {
    /// There is an external route tag.
    pub const T: u8 = 0x01;
    /// There is a forwarding address.
    pub const F: u8 = 0x02;
    /// The metric is of type 2.
    pub const E: u8 = 0x04;
}

/// Informational capabilities of a router (RFC 7770 section 2.4): bit 0 is the most significant.
pub mod capability {
    /// The router can restart gracefully (RFC 3623).
    pub const GRACEFUL_RESTART: u32 = 1 << 31;
    /// It helps others to (RFC 3623).
    pub const GRACEFUL_RESTART_HELPER: u32 = 1 << 30;
    /// It can be a stub router (RFC 6987).
    pub const STUB_ROUTER: u32 = 1 << 29;
}

/// TLV of the Router Information LSA: informational capabilities (RFC 7770 section 2.4).
pub const TLV_CAPABILITIES: u16 = 1;
/// TLV of the Router Information LSA: dynamic hostname (RFC 5642 section 3.1).
pub const TLV_HOSTNAME: u16 = 7;
/// Longest hostname in bytes (RFC 5642 section 3.1).
pub const MAX_HOSTNAME: usize = 255;
/// TLV of the Grace-LSA: grace period in seconds (RFC 5187 section 2.2).
pub const TLV_GRACE_PERIOD: u16 = 1;
/// TLV of the Grace-LSA: reason (RFC 5187 section 2.2).
pub const TLV_GRACE_REASON: u16 = 2;
/// TLV of the Autoconfiguration LSA: router hardware fingerprint (RFC 7503 section 7.2.2).
pub const TLV_FINGERPRINT: u16 = 1;
/// Least length of a fingerprint in bytes (RFC 7503 section 7.2.2).
pub const FINGERPRINT_LEN: usize = 32;

/// Sequence number of the first instance of an LSA (RFC 2328 section 12.1.6).
pub const INITIAL_SEQUENCE_NUMBER: i32 = -0x7fff_ffff;
/// After this one the LSA must be flushed before it can start again (RFC 2328 section 12.1.6).
pub const MAX_SEQUENCE_NUMBER: i32 = 0x7fff_ffff;

/// Age in seconds at which an LSA is flushed (RFC 2328 appendix B).
pub const MAX_AGE: u16 = 3600;
/// Two instances whose ages differ by more seconds than this are different (RFC 2328 appendix B).
pub const MAX_AGE_DIFF: u16 = 900;
/// Set in the age of an LSA that does not age (RFC 1793 section 2.2). Read, never set by this router: it may be set only
/// while every router of the area says the DC-bit, and stock routers do not.
pub const DO_NOT_AGE: u16 = 0x8000;
/// The checksum of a stored LSA is verified this often (RFC 2328 appendix B).
pub const CHECK_AGE: Duration = Duration::from_secs(300);
/// An own LSA is originated again at this age (RFC 2328 appendix B).
pub const LS_REFRESH_TIME: Duration = Duration::from_secs(1800);
/// A newer instance that arrives by flooding sooner than this after the one before is dropped (RFC 2328 appendix B).
pub const MIN_LS_ARRIVAL: Duration = Duration::from_secs(1);
/// The least time between instances of an own LSA under sustained change (RFC 2328 appendix B).
pub const MIN_LS_INTERVAL: Duration = Duration::from_secs(5);
/// Added to the age of every LSA sent, in seconds (RFC 2328 appendix C.3).
pub const INF_TRANS_DELAY: u16 = 1;
/// Metric of an inter-area or external destination that is not reachable (RFC 2328 appendix B).
pub const LS_INFINITY: u32 = 0x00ff_ffff;
/// Largest cost of a link; a link of this cost carries transit traffic only as a last resort (RFC 6987 section 3).
pub const MAX_LINK_METRIC: u16 = 0xffff;
