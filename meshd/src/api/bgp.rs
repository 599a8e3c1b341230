//! Answers about BGP.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// BGP peers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BgpSummary {
    /// [`schema::BGP_SUMMARY`](super::schema::BGP_SUMMARY).
    pub schema: String,
    /// Our BGP Identifier; none if this node is no border.
    pub router_id: Option<Ipv4Addr>,
    /// Our AS number.
    pub local_as: Option<u32>,
    /// Routes that are used here and that our own mesh is not told of.
    #[serde(default)]
    pub not_told_prefixes: usize,
    /// Why it is not.
    #[serde(default)]
    pub not_told: Vec<BgpNotTold>,
    /// In ascending order of address.
    pub peers: Vec<BgpPeer>,
}

/// Routes that our own mesh is not told of for one reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BgpNotTold {
    /// What it is, in words.
    pub reason: String,
    /// How many.
    pub prefixes: usize,
}

/// One peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BgpPeer {
    /// Its address.
    pub remote_address: Ipv6Addr,
    /// Its AS number.
    pub peer_as: u32,
    /// Its BGP Identifier, while the session is up.
    pub remote_identifier: Option<Ipv4Addr>,
    /// As RFC 4271 names it.
    pub session_state: String,
    /// Seconds since the session came up.
    pub up_s: Option<u64>,
    /// Seconds, as agreed on.
    pub hold_time: Option<u64>,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// UPDATEs with an error that did not end the session (RFC 7606).
    pub malformed_updates: u64,
    /// Sessions that came up.
    pub established_transitions: u64,
    /// Prefixes it announces.
    pub received_prefixes: usize,
    /// Those that the import policy accepts.
    pub accepted_prefixes: usize,
    /// Prefixes it was told.
    pub sent_prefixes: usize,
    /// Whether a direction has no policy, so that nothing passes (RFC 8212).
    pub lacks_policy: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Milliseconds since then.
    pub last_error_ago_ms: Option<u64>,
}

/// BGP routes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BgpRoutes {
    /// [`schema::BGP_ROUTES`](super::schema::BGP_ROUTES).
    pub schema: String,
    /// In ascending order of prefix and peer.
    pub routes: Vec<BgpRoute>,
}

/// One route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BgpRoute {
    /// Destination.
    pub prefix: String,
    /// Who announces it; none if we do.
    pub peer: Option<Ipv6Addr>,
    /// Where to.
    pub next_hop: Ipv6Addr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF that policy gave.
    pub local_pref: Option<u32>,
    /// The path; a set in braces.
    pub as_path: String,
    /// `igp`, `egp` or `incomplete`.
    pub origin: String,
    /// Communities of both kinds.
    pub communities: Vec<String>,
    /// Whether it is considered.
    pub valid: bool,
    /// Whether it is used.
    pub best: bool,
    /// Whether it shares the traffic with the best.
    pub multipath: bool,
    /// Whether it is from before a restart of the peer.
    pub stale: bool,
    /// Seconds since it came.
    pub age_s: u64,
    /// Why it is not considered.
    pub ineligible_reason: Option<String>,
    /// Why our own mesh is not told of it, although it is used here.
    #[serde(default)]
    pub not_told_reason: Option<String>,
}
