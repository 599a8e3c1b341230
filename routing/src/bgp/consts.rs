//! The numbers of BGP-4, each with its source.

use std::time::Duration;

/// TCP port (RFC 4271 section 4).
pub const PORT: u16 = 179;
/// Version in an OPEN (RFC 4271 section 4.2).
pub const VERSION: u8 = 4;
/// Marker, length and type (RFC 4271 section 4.1).
pub const HEADER_LEN: usize = 19;
/// Largest message (RFC 4271 section 4.1).
pub const MAX_MESSAGE: usize = 4096;
/// Largest message to a speaker with the capability, as we are (RFC 8654 section 4). OPEN stays below [`MAX_MESSAGE`].
pub const MAX_EXTENDED_MESSAGE: usize = 65535;
/// What stands for a four-octet AS number in a field of two (RFC 6793 section 9).
pub const AS_TRANS: u16 = 23456;
/// IPv6 (RFC 4760 section 8).
pub const AFI_IPV6: u16 = 2;
/// Unicast (RFC 4760 section 6).
pub const SAFI_UNICAST: u8 = 1;
/// LOCAL_PREF of a route that policy gives none.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// Hold Time we propose to a peer that BFD watches: the session must not outlive a hung process for long.
pub const HOLD_TIME_BFD: Duration = Duration::from_secs(9);
/// Hold Time we propose otherwise (RFC 4271 section 10).
pub const HOLD_TIME: Duration = Duration::from_secs(90);
/// Hold Time until the peer has sent its OPEN (RFC 4271 section 8.2.2 suggests four minutes).
pub const OPEN_HOLD_TIME: Duration = Duration::from_secs(240);
/// Pause between two attempts to connect. RFC 4271 section 10 suggests two minutes, for thousands of peers; ours are few,
/// and a border that is back should be used.
pub const CONNECT_RETRY: Duration = Duration::from_secs(10);
/// First pause after a session failed; each failure in a row doubles it (`DampPeerOscillations`, RFC 4271 section 8.1).
pub const IDLE_HOLD: Duration = Duration::from_secs(1);
/// Longest such pause.
pub const MAX_IDLE_HOLD: Duration = Duration::from_secs(60);
/// How long the OPEN of a connection that section 6.8 is about to close waits for the other connection's. It comes a round trip
/// after its connection; TCP repeats a lost one after 1 s, and after 3 s.
pub const COLLISION_WAIT: Duration = Duration::from_secs(4);
/// Pause after a peer announced more prefixes than it may: it will do so again until somebody has changed something.
pub const PREFIX_LIMIT_HOLD: Duration = Duration::from_secs(300);

/// Message types (RFC 4271 section 4.1, RFC 2918).
pub mod kind {
    /// OPEN.
    pub const OPEN: u8 = 1;
    /// UPDATE.
    pub const UPDATE: u8 = 2;
    /// NOTIFICATION.
    pub const NOTIFICATION: u8 = 3;
    /// KEEPALIVE.
    pub const KEEPALIVE: u8 = 4;
    /// ROUTE-REFRESH.
    pub const ROUTE_REFRESH: u8 = 5;
}

/// Capability codes (RFC 5492).
pub mod capability {
    /// Multiprotocol extensions (RFC 4760 section 8).
    pub const MULTIPROTOCOL: u8 = 1;
    /// Route refresh (RFC 2918 section 2).
    pub const ROUTE_REFRESH: u8 = 2;
    /// Extended message (RFC 8654 section 2).
    pub const EXTENDED_MESSAGE: u8 = 6;
    /// Graceful restart (RFC 4724 section 3).
    pub const GRACEFUL_RESTART: u8 = 64;
    /// Four-octet AS numbers (RFC 6793 section 3).
    pub const FOUR_OCTET_AS: u8 = 65;
    /// The optional parameter that carries capabilities (RFC 5492 section 4).
    pub const PARAMETER: u8 = 2;
    /// In place of the first type: lengths have two octets (RFC 9072 section 2).
    pub const EXTENDED_PARAMETERS: u8 = 255;
}

/// Path attribute type codes.
pub mod attribute {
    /// ORIGIN (RFC 4271 section 5.1.1).
    pub const ORIGIN: u8 = 1;
    /// AS_PATH (5.1.2).
    pub const AS_PATH: u8 = 2;
    /// NEXT_HOP (5.1.3); of IPv4 routes only.
    pub const NEXT_HOP: u8 = 3;
    /// MULTI_EXIT_DISC (5.1.4).
    pub const MED: u8 = 4;
    /// LOCAL_PREF (5.1.5).
    pub const LOCAL_PREF: u8 = 5;
    /// ATOMIC_AGGREGATE (5.1.6).
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// AGGREGATOR (5.1.7).
    pub const AGGREGATOR: u8 = 7;
    /// COMMUNITIES (RFC 1997).
    pub const COMMUNITIES: u8 = 8;
    /// ORIGINATOR_ID (RFC 4456).
    pub const ORIGINATOR_ID: u8 = 9;
    /// CLUSTER_LIST (RFC 4456).
    pub const CLUSTER_LIST: u8 = 10;
    /// MP_REACH_NLRI (RFC 4760 section 3).
    pub const MP_REACH: u8 = 14;
    /// MP_UNREACH_NLRI (RFC 4760 section 4).
    pub const MP_UNREACH: u8 = 15;
    /// EXTENDED COMMUNITIES (RFC 4360).
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// AS4_PATH (RFC 6793).
    pub const AS4_PATH: u8 = 17;
    /// AS4_AGGREGATOR (RFC 6793).
    pub const AS4_AGGREGATOR: u8 = 18;
    /// LARGE_COMMUNITY (RFC 8092).
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// Attribute Flags (RFC 4271 section 4.3).
pub mod flag {
    /// Not well-known.
    pub const OPTIONAL: u8 = 0x80;
    /// To be passed on.
    pub const TRANSITIVE: u8 = 0x40;
    /// Somebody on the way did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// The length has two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// Communities that every speaker obeys (RFC 1997).
pub mod community {
    /// Not to be announced to another AS.
    pub const NO_EXPORT: u32 = 0xffff_ff01;
    /// Not to be announced to anybody.
    pub const NO_ADVERTISE: u32 = 0xffff_ff02;
}
