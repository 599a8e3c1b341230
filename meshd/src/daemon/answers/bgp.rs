//! Answers about BGP.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use molt_routing::bgp::path::Origin;
use molt_routing::bgp::policy::Community;
use molt_routing::bgp::view::{PeerView, RouteView};
use molt_routing::ospf::Withheld;

use super::super::Daemon;
use super::{Names, millis};
use crate::api::{self, schema};

impl Daemon {
    pub(super) fn bgp_summary(&self) -> api::BgpSummary {
        let now = self.clock.now();
        let peer = |peer: PeerView| api::BgpPeer {
            remote_address: peer.address,
            peer_as: peer.asn,
            remote_identifier: peer.identifier,
            session_state: peer.state.to_string(),
            up_s: peer.up_for.map(|up| up.as_secs()),
            hold_time: peer.hold_time.map(|time| time.as_secs()),
            messages_received: peer.counters.received,
            messages_sent: peer.counters.sent,
            malformed_updates: peer.counters.malformed_updates,
            established_transitions: peer.counters.established,
            received_prefixes: peer.received_prefixes,
            accepted_prefixes: peer.accepted_prefixes,
            sent_prefixes: peer.sent_prefixes,
            lacks_policy: peer.lacks_policy,
            last_error_ago_ms: peer.last_error.as_ref().map(|(ago, _)| millis(*ago)),
            last_error: peer.last_error.map(|(_, error)| error),
        };
        let withheld = self.control.ospf().externals_withheld();
        let mut reasons: BTreeMap<Withheld, usize> = BTreeMap::new();
        for reason in withheld.values() {
            *reasons.entry(*reason).or_default() += 1;
        }
        let not_told = |(reason, prefixes): (Withheld, usize)| {
            let reason = reason.meaning().to_owned();
            api::BgpNotTold { reason, prefixes }
        };
        let bgp = self.control.bgp();
        let views = bgp.map(|bgp| bgp.peer_views(now)).unwrap_or_default();
        api::BgpSummary {
            schema: schema::BGP_SUMMARY.into(),
            router_id: bgp.map(|bgp| Ipv4Addr::from_bits(bgp.identifier())),
            local_as: self.config.bgp.as_ref().map(|bgp| bgp.asn),
            not_told_prefixes: withheld.len(),
            not_told: reasons.into_iter().map(not_told).collect(),
            peers: views.into_iter().map(peer).collect(),
        }
    }

    pub(super) fn bgp_routes(&self) -> api::BgpRoutes {
        let views = self.control.bgp().map(|bgp| bgp.route_views(self.clock.now())).unwrap_or_default();
        let withheld = self.control.ospf().externals_withheld();
        let route = |route: RouteView| {
            let not_told = withheld.get(&route.prefix).filter(|_| route.best);
            let plain = route.path.communities.iter().map(|it| Community::Plain(*it));
            let large = route.path.large_communities.iter().map(|it| Community::Large(*it));
            let unreachable = (!route.reachable).then(|| "no way to its next hop".to_owned());
            api::BgpRoute {
                prefix: route.prefix.to_string(),
                peer: route.peer,
                next_hop: route.path.next_hop,
                med: route.path.med,
                local_pref: route.path.local_pref,
                as_path: route.path.as_path.to_string(),
                origin: match route.path.origin {
                    Origin::Igp => "igp",
                    Origin::Egp => "egp",
                    Origin::Incomplete => "incomplete",
                }
                .into(),
                communities: plain.chain(large).map(|it| it.to_string()).collect(),
                valid: route.filtered.is_none() && route.reachable,
                best: route.best,
                multipath: route.multipath,
                stale: route.stale,
                age_s: route.age.as_secs(),
                not_told_reason: not_told.map(|reason| reason.meaning().to_owned()),
                ineligible_reason: route.filtered.map(|filtered| filtered.to_string()).or(unreachable),
            }
        };
        api::BgpRoutes { schema: schema::BGP_ROUTES.into(), routes: views.into_iter().map(route).collect() }
    }

    /// The routes of OSPF, and those that lead out of the mesh, in place of OSPF's for the same prefix.
    pub(super) fn all_routes(&self, names: &Names, mut routes: Vec<api::Route>) -> Vec<api::Route> {
        for outside in self.control.outside_routes() {
            let prefix = outside.prefix.to_string();
            routes.retain(|route| route.prefix != prefix);
            routes.push(api::Route {
                prefix,
                name: Some(if outside.bgp { "(bgp)" } else { "(border)" }.to_owned()),
                router_id: self.control.ospf().router_id().to_string(),
                metric: 0,
                next_hops: names.hops(&outside.links),
            });
        }
        routes
    }
}
