//! Answers about routes.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};

/// The forwarding table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Routes {
    /// [`schema::ROUTES`](super::schema::ROUTES).
    pub schema: String,
    /// Whether the daemon has just replaced another one, and packets go the ways that one knew.
    #[serde(default)]
    pub restarting: bool,
    /// In order of prefix.
    pub routes: Vec<Route>,
    /// Prefixes that were announced and are not used.
    pub rejected: Vec<RejectedRoute>,
}

/// One route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// Destination.
    pub prefix: String,
    /// Name of the router that announces it.
    pub name: Option<String>,
    /// Router id of who announces it.
    pub router_id: String,
    /// Cost of the whole path.
    pub metric: u32,
    /// Links to send on; empty for this node itself.
    pub next_hops: Vec<NextHop>,
}

/// One of the equal-cost ways.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NextHop {
    /// Number of the link.
    pub link: u32,
    /// Router id of the neighbour.
    pub router_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// A prefix that is not used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RejectedRoute {
    /// The prefix.
    pub prefix: String,
    /// Who announces it.
    pub router_id: String,
    /// Why it is not used.
    pub reason: String,
}

/// Why packets to an address go where they go.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteExplanation {
    /// [`schema::ROUTE_EXPLANATION`](super::schema::ROUTE_EXPLANATION).
    pub schema: String,
    /// The address that was asked for.
    pub address: Ipv6Addr,
    /// The route in use.
    pub route: Option<Route>,
    /// Everybody who announces the address or a prefix around it.
    pub claims: Vec<RouteClaim>,
}

/// Somebody announces an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RouteClaim {
    /// What is announced.
    pub prefix: String,
    /// By which router.
    pub router_id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its identity key, if a verified record tells.
    pub identity_key: Option<String>,
    /// Number of its record.
    pub record_seq: Option<u64>,
    /// End of its record, in seconds since 1970.
    pub record_expiry: Option<u64>,
    /// Counter of the signed list with the announcement.
    pub signature: Option<u64>,
    /// Seconds since that list came.
    pub signature_age_s: Option<u64>,
    /// Whether the database holds something else than what is signed, which is what is used.
    pub held: bool,
    /// Cost of the path and the prefix, if there is a path.
    pub metric: Option<u32>,
    /// The equal-cost ways.
    pub next_hops: Vec<NextHop>,
    /// `used`, `farther`, `less-specific`, `unreachable` or `rejected`.
    pub verdict: String,
    /// Why it was rejected.
    pub reason: Option<String>,
}
