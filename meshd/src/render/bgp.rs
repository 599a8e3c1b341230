//! BGP, in FRR's columns.

use super::{Table, duration, or_dash};
use crate::api::{BgpNotTold, BgpRoute, BgpRoutes, BgpSummary};

/// `molt bgp summary`
#[must_use]
pub fn bgp_summary(answer: &BgpSummary) -> String {
    let (Some(router), Some(asn)) = (answer.router_id, answer.local_as) else {
        return "this node has no [bgp] in its configuration\n".into();
    };
    let mut table = Table::new(&[
        "NEIGHBOR",
        "V",
        ">AS",
        ">MSGRCVD",
        ">MSGSENT",
        ">UP/DOWN",
        ">STATE/PFXRCD",
        ">PFXACC",
        ">PFXSNT",
        "LAST ERROR",
    ]);
    for peer in &answer.peers {
        // Like FRR: a session that is up shows what it brought, or that it may not bring anything.
        let state = match peer.session_state.as_str() {
            "Established" if peer.lacks_policy => format!("{} (Policy)", peer.received_prefixes),
            "Established" => peer.received_prefixes.to_string(),
            state => state.to_owned(),
        };
        table.row([
            peer.remote_address.to_string(),
            "4".to_owned(),
            peer.peer_as.to_string(),
            peer.messages_received.to_string(),
            peer.messages_sent.to_string(),
            peer.up_s.map_or_else(|| "never".into(), duration),
            state,
            peer.accepted_prefixes.to_string(),
            peer.sent_prefixes.to_string(),
            or_dash(peer.last_error.as_deref()),
        ]);
    }
    let not_told = |it: &BgpNotTold| {
        let are = if it.prefixes == 1 { "prefix is" } else { "prefixes are" };
        format!("{} {are} not announced to the mesh: {}\n", it.prefixes, it.reason)
    };
    let not_told: String = answer.not_told.iter().map(not_told).collect();
    let table = table.finish("no peers");
    format!("BGP router identifier {router}, local AS number {asn}\n{not_told}\n{table}")
}

/// `molt bgp routes`
#[must_use]
pub fn bgp_routes(answer: &BgpRoutes) -> String {
    let mut table = Table::new(&[
        "",
        "NETWORK",
        "NEXT HOP",
        ">METRIC",
        ">LOCPRF",
        "PATH",
        "COMMUNITIES",
        "NOT USED BECAUSE",
    ]);
    for route in &answer.routes {
        let origin = match route.origin.as_str() {
            "igp" => "i",
            "egp" => "e",
            _ => "?",
        };
        let path =
            if route.as_path.is_empty() { origin.into() } else { format!("{} {origin}", route.as_path) };
        table.row([
            marks(route),
            route.prefix.clone(),
            route.next_hop.to_string(),
            or_dash(route.med),
            or_dash(route.local_pref),
            path,
            if route.communities.is_empty() { "-".into() } else { route.communities.join(" ") },
            or_dash(route.ineligible_reason.as_deref()),
        ]);
    }
    let legend = "* valid, > best, = multipath, S stale; i igp, e egp, ? incomplete\n\n";
    let not_told = |route: &BgpRoute| {
        let reason = route.not_told_reason.as_ref()?;
        Some(format!("{} is not announced to the mesh: {reason}\n", route.prefix))
    };
    let not_told: String = answer.routes.iter().filter_map(not_told).collect();
    legend.to_owned() + &table.finish("no routes") + &not_told
}

fn marks(route: &BgpRoute) -> String {
    let marks = [(route.stale, 'S'), (route.valid, '*'), (route.best, '>'), (route.multipath, '=')];
    marks.iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BgpPeer, schema};

    fn peer() -> BgpPeer {
        BgpPeer {
            remote_address: "fd12::1".parse().unwrap(),
            peer_as: 4_200_000_002,
            remote_identifier: None,
            session_state: "Established".into(),
            up_s: Some(61),
            hold_time: Some(9),
            messages_received: 5,
            messages_sent: 6,
            malformed_updates: 0,
            established_transitions: 1,
            received_prefixes: 3,
            accepted_prefixes: 2,
            sent_prefixes: 1,
            lacks_policy: false,
            last_error: None,
            last_error_ago_ms: None,
        }
    }

    #[test]
    fn a_session_shows_its_prefixes_or_its_state() {
        let row = |peer: BgpPeer| {
            let answer = BgpSummary {
                schema: schema::BGP_SUMMARY.into(),
                router_id: Some([10, 0, 0, 1].into()),
                local_as: Some(4_200_000_001),
                not_told_prefixes: 0,
                not_told: Vec::new(),
                peers: vec![peer],
            };
            let text = bgp_summary(&answer);
            assert!(
                text.starts_with("BGP router identifier 10.0.0.1, local AS number 4200000001\n\nNEIGHBOR")
            );
            text.lines().last().unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row(peer()), "fd12::1 4 4200000002 5 6 1m01s 3 2 1 -");
        let silent = BgpPeer { lacks_policy: true, ..peer() };
        assert_eq!(row(silent), "fd12::1 4 4200000002 5 6 1m01s 3 (Policy) 2 1 -");
        let idle = BgpPeer { session_state: "Active".into(), up_s: None, ..peer() };
        assert_eq!(row(idle), "fd12::1 4 4200000002 5 6 never Active 2 1 -");
    }

    #[test]
    fn prefixes_that_the_mesh_is_not_told_of_are_counted_by_reason() {
        let not_told = |reason: &str, prefixes| BgpNotTold { reason: reason.into(), prefixes };
        let answer = BgpSummary {
            schema: schema::BGP_SUMMARY.into(),
            router_id: Some([10, 0, 0, 1].into()),
            local_as: Some(1),
            not_told_prefixes: 4,
            not_told: vec![not_told("it is full", 3), not_told("it is wrong", 1)],
            peers: Vec::new(),
        };
        let text = bgp_summary(&answer);
        let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
        let wanted = [
            "3 prefixes are not announced to the mesh: it is full",
            "1 prefix is not announced to the mesh: it is wrong",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_route_shows_its_marks_and_why_it_is_not_used() {
        let route = BgpRoute {
            prefix: "fd12::/48".into(),
            peer: None,
            next_hop: "fd12::1".parse().unwrap(),
            med: None,
            local_pref: Some(200),
            as_path: "1 2".into(),
            origin: "igp".into(),
            communities: vec!["64512:1".into()],
            valid: true,
            best: true,
            multipath: false,
            stale: false,
            age_s: 1,
            ineligible_reason: None,
            not_told_reason: None,
        };
        let show = |route| bgp_routes(&BgpRoutes { schema: schema::BGP_ROUTES.into(), routes: vec![route] });
        let text = show(route.clone());
        let row: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(row, ["*>", "fd12::/48", "fd12::1", "-", "200", "1", "2", "i", "64512:1", "-"]);
        let untold = show(BgpRoute { not_told_reason: Some("it is full".into()), ..route });
        assert_eq!(untold, text + "fd12::/48 is not announced to the mesh: it is full\n");
    }
}
