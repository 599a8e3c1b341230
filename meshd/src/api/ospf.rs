//! Answers about OSPF.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// Security events of routing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfEvents {
    /// [`super::schema::OSPF_EVENTS`].
    pub schema: String,
    /// Oldest first.
    pub events: Vec<OspfEvent>,
}

/// One security event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfEvent {
    /// Milliseconds since then.
    pub ago_ms: u64,
    /// What kind of thing, as one word.
    pub cause: String,
    /// The router that did it, or in whose name it was done.
    pub router_id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its identity key, if a verified record tells.
    pub identity_key: Option<String>,
    /// The link it came by.
    pub link: Option<u32>,
    /// Name of the neighbour on that link.
    pub via: Option<String>,
    /// The LSA or prefix it is about.
    pub subject: String,
    /// The rule that was broken.
    pub why: String,
    /// How many of the same were left out before this one.
    pub suppressed: u32,
}

/// OSPF neighbours.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfNeighbors {
    /// [`schema::OSPF_NEIGHBORS`](super::schema::OSPF_NEIGHBORS).
    pub schema: String,
    /// In order of link.
    pub neighbors: Vec<OspfNeighbor>,
    /// What keeps others from becoming neighbours, and what was adopted from them.
    #[serde(default)]
    pub mismatches: Vec<OspfMismatch>,
    /// Tunnels that are up and over which no conversation comes about.
    #[serde(default)]
    pub silent: Vec<OspfSilence>,
}

/// A tunnel without a conversation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfSilence {
    /// Number of the link.
    pub interface_id: u32,
    /// `no-hello`: nothing is heard; `one-way`: their Hellos are heard and do not name us.
    pub problem: String,
    /// What to look for at the other end.
    pub hint: String,
}

/// Something the two ends of a link disagree on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfMismatch {
    /// Number of the link.
    pub interface_id: u32,
    /// Router id at the other end.
    pub neighbor_router_id: String,
    /// What differs.
    pub parameter: String,
    /// Our value.
    pub ours: String,
    /// Theirs.
    pub theirs: String,
    /// Whether theirs is used, so that it does no harm.
    pub adopted: bool,
    /// Milliseconds since it was last met.
    pub ago_ms: u64,
}

/// OSPF interfaces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfInterfaces {
    /// [`schema::OSPF_INTERFACES`](super::schema::OSPF_INTERFACES).
    pub schema: String,
    /// This router.
    pub router_id: String,
    /// In order of link.
    pub interfaces: Vec<OspfInterface>,
}

/// One OSPF interface: a tunnel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfInterface {
    /// Number of the link.
    pub interface_id: u32,
    /// `point-to-point`, `down`, or `spare` if there are enough neighbours without the one at its other end.
    pub state: String,
    /// Area.
    pub area_id: String,
    /// Instance.
    pub instance_id: u8,
    /// Our link-local address.
    pub address: Ipv6Addr,
    /// Cost of the link.
    pub cost: u16,
    /// MTU agreed with the neighbour in bytes.
    pub mtu: u16,
    /// Seconds between two Hellos.
    pub hello_interval: u64,
    /// Seconds of silence after which the neighbour is given up.
    pub dead_interval: u64,
    /// Seconds until what is not answered is repeated.
    pub retransmit_interval: u64,
    /// Router id of the neighbour.
    pub neighbor_router_id: Option<String>,
    /// Why the last packet was dropped.
    pub last_reject: Option<String>,
    /// Milliseconds since then.
    pub last_reject_ago_ms: Option<u64>,
}

/// One OSPF neighbour.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfNeighbor {
    /// Number of the link.
    pub interface_id: u32,
    /// Its router id.
    pub neighbor_router_id: String,
    /// Name it announces.
    pub name: Option<String>,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its router priority.
    #[serde(default)]
    pub priority: u8,
    /// State of the adjacency.
    pub state: String,
    /// Milliseconds in that state.
    pub state_ms: u64,
    /// Milliseconds until it is declared dead for want of Hellos.
    pub dead_timer_ms: u64,
    /// Cost of the link.
    pub cost: u16,
    /// LSAs sent and not acknowledged.
    pub retransmissions: usize,
    /// LSAs still asked for.
    pub requests: usize,
    /// How often the state changed.
    #[serde(default)]
    pub state_changes: u32,
    /// Milliseconds for which it is kept while it restarts.
    #[serde(default)]
    pub restart_remaining_ms: Option<u64>,
    /// Why it restarts.
    #[serde(default)]
    pub restart_reason: Option<String>,
}

/// The link-state database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfDatabase {
    /// [`schema::OSPF_DATABASE`](super::schema::OSPF_DATABASE).
    pub schema: String,
    /// This router.
    pub router_id: String,
    /// In order of scope, type, originator, id.
    pub lsas: Vec<OspfLsa>,
}

/// One LSA.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfLsa {
    /// `link`, `area` or `as`.
    pub scope: String,
    /// Link it belongs to, for link scope.
    pub interface_id: Option<u32>,
    /// LS type as four hexadecimal digits.
    pub lsa_type: String,
    /// Its name.
    pub type_name: String,
    /// Its short name, as FRR lists it.
    #[serde(default)]
    pub type_short: String,
    /// Link State ID.
    pub lsa_id: u32,
    /// Advertising router.
    pub adv_router: String,
    /// Its name.
    pub name: Option<String>,
    /// Age in seconds.
    pub age: u16,
    /// Sequence number as eight hexadecimal digits.
    pub seq_num: String,
    /// Checksum as four hexadecimal digits.
    pub checksum: String,
    /// Length in bytes.
    pub length: u16,
    /// What it says, in a line.
    pub payload: String,
}

/// The last SPF runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfSpfLog {
    /// [`schema::OSPF_SPF_LOG`](super::schema::OSPF_SPF_LOG).
    pub schema: String,
    /// Latest first.
    pub runs: Vec<OspfSpfRun>,
}

/// One SPF run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OspfSpfRun {
    /// Number since the start.
    pub id: u64,
    /// Milliseconds since the run.
    pub ago_ms: u64,
    /// `full`, or `prefix` when only prefixes had changed.
    pub kind: String,
    /// What asked for it.
    pub reason: String,
    /// Milliseconds between the first reason and the run.
    pub delay_ms: u64,
    /// Microseconds it took.
    pub duration_us: Option<u64>,
    /// Routers reached.
    pub routers: usize,
    /// Routes in the table after it.
    pub routes: usize,
}
