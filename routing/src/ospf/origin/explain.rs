//! Why a route is as it is.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{IdentityKey, LinkId, Prefix, RouterId, Time};

use super::super::Ospf;
use super::super::consts::prefix_options;
use super::super::lsa::{Body, LsType};
use super::super::view::{Route, RouteReject};
use super::{PREFIXES, Usable};

/// Everything that is known about the way to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The route in use.
    pub route: Option<Route>,
    /// Whoever announces the address, or a prefix around it.
    pub claims: Vec<Claim>,
}

/// Somebody announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is announced.
    pub prefix: Prefix,
    /// By whom.
    pub router: RouterId,
    /// Its key; `None` for a router without a verified record.
    pub key: Option<IdentityKey>,
    /// Sequence number and expiry (seconds since 1970) of its record.
    pub record: Option<(u64, u64)>,
    /// Counter of the signed list the announcement is in, and how long ago it came.
    pub signature: Option<(u64, Duration)>,
    /// Whether the database holds something else than what is signed, or nothing.
    pub held: bool,
    /// Cost and next hops, if the router can be reached.
    pub path: Option<(u32, Vec<LinkId>)>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Another one is nearer.
    Farther,
    /// A longer prefix leads to the address.
    LessSpecific,
    /// It has no right to it.
    Rejected(RouteReject),
    /// No path leads to the router.
    Unreachable,
    /// It is in use.
    Used,
}

impl Ospf {
    /// Why packets to `address` go where they go, and who else would have them.
    #[must_use]
    pub fn explain(&self, address: Ipv6Addr, now: Time) -> Explanation {
        let longest = self.routes().filter(|route| route.prefix.contains(address));
        let route = longest.max_by_key(|route| route.prefix.len());
        let usable = Usable { lsdb: &self.lsdb, origins: &self.origins, now };
        let allowed = self.allowed_prefixes();
        let mut claims = Vec::new();
        for (key, body) in usable.of_type(LsType::INTRA_AREA_PREFIX) {
            let Body::IntraAreaPrefix(lsa) = body else { continue };
            if key.router == self.config.router_id {
                continue;
            }
            let signed = self.origins.routers.get(&key.router);
            let part = signed.and_then(|signed| signed.parts.get(PREFIXES as usize)?.as_ref());
            let advertised = lsa.prefixes.iter().filter(|it| it.options & prefix_options::NU == 0);
            for advertised in advertised.filter(|it| Prefix::new(it.addr, it.len).contains(address)) {
                let prefix = Prefix::new(advertised.addr, advertised.len);
                let path = self.spf.path(&key, &lsa.referenced).map(|(distance, links)| {
                    (distance.saturating_add(advertised.metric.into()), links.to_vec())
                });
                let stock = allowed.get(&key.router).map(Vec::as_slice);
                let permitted = self.origins.permits(key.router, advertised, stock, now);
                let verdict = match (permitted, &path, &route) {
                    (Err(reject), ..) => Verdict::Rejected(reject),
                    (Ok(_), None, _) => Verdict::Unreachable,
                    (Ok(prefix), Some(_), Some(route)) if prefix.len() < route.prefix.len() => {
                        Verdict::LessSpecific
                    }
                    (Ok(_), Some(_), Some(route)) if route.origins.contains(&key.router) => Verdict::Used,
                    _ => Verdict::Farther,
                };
                let held = signed.and_then(|signed| signed.bodies.get(&(key.ls_type, key.id)));
                claims.push(Claim {
                    prefix,
                    router: key.router,
                    key: signed.map(|signed| signed.record.agent().key),
                    record: signed.map(|it| (it.record.agent().seq, it.record.agent().expiry)),
                    signature: part.map(|part| (part.signed.topology().counter, now.since(part.since))),
                    held: held.is_some_and(|verified| verified.missing.is_some()),
                    path,
                    verdict,
                });
            }
        }
        Explanation { route, claims }
    }
}
