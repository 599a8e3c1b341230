//! Answers as text for people: aligned columns, units, one line a thing.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::api::{
    Bfd, Counters, Delegation, Id, NextHop, OspfDatabase, OspfEvents, OspfInterfaces, OspfNeighbors,
    OspfSpfLog, Peers, Prefix, ProbeLine, Reloaded, Restarted, RouteExplanation, Routes, Status,
};

mod bgp;

pub use bgp::{bgp_routes, bgp_summary};

/// Columns of a terminal that nobody made wider.
const COLUMNS: usize = 100;

/// Indentation of what has no room in its row.
const INDENT: usize = 6;

/// A borderless table; every column is as wide as its widest cell. Last columns for which a terminal has no room stand below
/// their row.
struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// Column headings; one that starts with `>` is aligned to the right.
    fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let row = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned()).collect();
        Self { rows: vec![row], right }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, or `nothing` if it has no rows.
    fn finish(self, nothing: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{nothing}\n");
        }
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let width_of = |columns: usize| widths.iter().take(columns).map(|width| width + 2).sum::<usize>() - 2;
        let fitting = (1..=widths.len()).rev().find(|columns| width_of(*columns) <= COLUMNS).unwrap_or(1);
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right).take(fitting) {
                if *right {
                    _ = write!(line, "{cell:>width$}  ");
                } else {
                    _ = write!(line, "{cell:<width$}  ");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
            let rest = row.iter().skip(fitting).filter(|cell| !["", "-"].contains(&cell.as_str()));
            fold(&mut text, rest.flat_map(|cell| cell.split(' ')));
        }
        text
    }
}

/// Words in as many indented lines as they need.
fn fold<'a>(text: &mut String, words: impl Iterator<Item = &'a str>) {
    let mut column = 0;
    for word in words {
        let width = word.chars().count();
        if column == 0 || column + 1 + width > COLUMNS {
            let end = if column == 0 { "" } else { "\n" };
            _ = write!(text, "{end}{:INDENT$}{word}", "");
            column = INDENT + width;
        } else {
            _ = write!(text, " {word}");
            column += 1 + width;
        }
    }
    if column > 0 {
        text.push('\n');
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Seconds as the two largest units.
fn duration(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
    }
}

/// Bytes with a binary prefix, three significant digits.
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or("B");
    if unit == "B" { format!("{count}B") } else { format!("{value:.1}{unit}") }
}

/// `molt status`
#[must_use]
pub fn status(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| _ = writeln!(text, "{key:<10}{value}");
    line("name", or_dash(status.name.as_deref()));
    for (position, address) in status.addresses.iter().enumerate() {
        let class = if position == 0 { format!("  ({})", status.trust_class) } else { String::new() };
        line(if position == 0 { "address" } else { "" }, format!("{address}{class}"));
    }
    line("prefix", status.prefix.clone());
    line("agent id", status.agent_id.clone());
    line("key", format!("{}  (WireGuard)", status.wireguard_key));
    line("router", format!("{}  link-local {}", status.router_id, status.link_local));
    line("interface", format!("{}  mtu {}", status.interface, status.mtu));
    let listen: Vec<String> = status.listen.iter().map(ToString::to_string).collect();
    line("underlay", listen.join(" "));
    let peers = status.peers;
    line(
        "peers",
        format!("{} configured, {} connected, {} Full", peers.configured, peers.connected, peers.full),
    );
    line(
        "mesh",
        format!(
            "{} routers, {} routes, {} LSAs, {} SPF runs",
            status.routers, status.routes, status.lsas, status.spf_runs
        ),
    );
    line(
        "state",
        format!(
            "{}, up {}, {} packets discarded",
            if status.ready { "ready" } else { "waiting for a neighbour" },
            duration(status.uptime_s),
            status.discarded
        ),
    );
    text
}

/// `molt peers`
#[must_use]
pub fn peers(peers: &Peers) -> String {
    let mut table = Table::new(&[
        ">LINK",
        "NAME",
        "ROUTER",
        "ENDPOINT",
        ">COST",
        "OSPF",
        "BFD",
        ">HANDSHAKE",
        ">RX",
        ">TX",
        "KEY",
    ]);
    for peer in &peers.peers {
        let name = match (&peer.name, peer.stock) {
            (Some(name), true) => format!("{name} (stock)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(stock)".into(),
            (None, false) => "-".into(),
        };
        table.row([
            peer.link.to_string(),
            name,
            or_dash(peer.router_id.as_deref()),
            or_dash(peer.endpoint),
            peer.cost.to_string(),
            peer.ospf.clone(),
            or_dash(peer.bfd.as_deref()),
            or_dash(peer.last_handshake_s.map(duration)),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
            peer.wireguard_key.clone(),
        ]);
    }
    table.finish("no peers; add a [[peer]] to the configuration and run: molt reload")
}

/// `molt routes`
#[must_use]
pub fn routes(routes: &Routes) -> String {
    let mut table = Table::new(&["PREFIX", ">METRIC", "VIA", "ORIGIN", "NAME"]);
    for route in &routes.routes {
        table.row([
            route.prefix.clone(),
            route.metric.to_string(),
            next_hops(&route.next_hops),
            route.router_id.clone(),
            or_dash(route.name.as_deref()),
        ]);
    }
    let mut text = table.finish("no routes");
    if routes.restarting {
        text.push_str("a restart goes on: packets go the ways they went before it\n");
    }
    if !routes.rejected.is_empty() {
        let mut table = Table::new(&["REJECTED", "ORIGIN", "REASON"]);
        for route in &routes.rejected {
            table.row([route.prefix.clone(), route.router_id.clone(), route.reason.clone()]);
        }
        text.push('\n');
        text.push_str(&table.finish(""));
    }
    text
}

fn next_hops(hops: &[NextHop]) -> String {
    let hop = |hop: &NextHop| {
        let neighbor = hop.name.as_ref().or(hop.router_id.as_ref());
        neighbor.map_or_else(|| format!("link {}", hop.link), |name| format!("{name} (link {})", hop.link))
    };
    let via: Vec<String> = hops.iter().map(hop).collect();
    if via.is_empty() { "this node".into() } else { via.join(", ") }
}

/// `molt routes --explain`
#[must_use]
pub fn route_explanation(answer: &RouteExplanation) -> String {
    let mut text = String::new();
    match &answer.route {
        Some(route) => {
            let (prefix, via) = (&route.prefix, next_hops(&route.next_hops));
            _ = writeln!(text, "{} follows", answer.address);
            _ = writeln!(text, "{prefix}, metric {}, via {via}", route.metric);
        }
        None => _ = writeln!(text, "there is no route to {}", answer.address),
    }
    for claim in &answer.claims {
        let mut line = |key: &str, value: String| _ = writeln!(text, "  {key:<10}{value}");
        let name = claim.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        line("announced", format!("{} by {}{name}", claim.prefix, claim.router_id));
        match (&claim.identity_key, claim.record_seq, claim.record_expiry) {
            (Some(key), Some(seq), Some(expiry)) => {
                line("record", key.clone());
                line("", format!("number {seq}, valid until {expiry} (seconds since 1970)"));
            }
            _ => line("record", "none: a stock router, or nobody".into()),
        }
        if let (Some(counter), Some(age)) = (claim.signature, claim.signature_age_s) {
            let held = if claim.held { "; the database holds something else" } else { "" };
            line("signed", format!("list {counter}, {} ago{held}", duration(age)));
        }
        match claim.metric {
            Some(metric) => line("path", format!("metric {metric} via {}", next_hops(&claim.next_hops))),
            None => line("path", "none".into()),
        }
        let reason = claim.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        line("verdict", format!("{}{reason}", claim.verdict));
    }
    text
}

/// `molt ospf events`
#[must_use]
pub fn ospf_events(answer: &OspfEvents) -> String {
    let mut table = Table::new(&[">AGO", "EVENT", "ROUTER", "NAME", "VIA", "SUBJECT", ">MORE", "WHY"]);
    for event in &answer.events {
        let link = event.link.map(|link| format!("link {link}"));
        let via = match (&event.via, link) {
            (Some(name), Some(link)) => format!("{name} ({link})"),
            (_, link) => or_dash(link),
        };
        table.row([
            duration(event.ago_ms / 1000),
            event.cause.clone(),
            event.router_id.clone(),
            or_dash(event.name.as_deref()),
            via,
            event.subject.clone(),
            if event.suppressed == 0 { "-".into() } else { event.suppressed.to_string() },
            event.why.clone(),
        ]);
    }
    table.finish("no events")
}

/// `molt ospf neighbors`
#[must_use]
pub fn ospf_neighbors(answer: &OspfNeighbors) -> String {
    let mut table = Table::new(&[
        "NEIGHBOR ID",
        ">PRI",
        ">DEADTIME",
        "STATE/IFSTATE",
        ">DURATION",
        "I/F[STATE]",
        "NAME",
        ">COST",
        ">RXMT",
        ">REQ",
        "ADDRESS",
    ]);
    for neighbor in &answer.neighbors {
        let restarts = if neighbor.restart_remaining_ms.is_some() { " (restarts)" } else { "" };
        table.row([
            neighbor.neighbor_router_id.clone(),
            neighbor.priority.to_string(),
            duration(neighbor.dead_timer_ms.div_ceil(1000)),
            format!("{}/PointToPoint{restarts}", neighbor.state),
            duration(neighbor.state_ms / 1000),
            format!("{}[PointToPoint]", neighbor.interface_id),
            or_dash(neighbor.name.as_deref()),
            neighbor.cost.to_string(),
            neighbor.retransmissions.to_string(),
            neighbor.requests.to_string(),
            neighbor.address.to_string(),
        ]);
    }
    let mut text = table.finish("no neighbours");
    if !answer.mismatches.is_empty() {
        let mut table = Table::new(&["I/F", "ROUTER ID", "MISMATCH", ">AGO"]);
        for mismatch in &answer.mismatches {
            let used = if mismatch.adopted { " (used)" } else { "" };
            table.row([
                mismatch.interface_id.to_string(),
                mismatch.neighbor_router_id.clone(),
                format!("{} ours {}, theirs {}{used}", mismatch.parameter, mismatch.ours, mismatch.theirs),
                duration(mismatch.ago_ms / 1000),
            ]);
        }
        text.push('\n');
        text.push_str(&table.finish(""));
    }
    if !answer.silent.is_empty() {
        let mut table = Table::new(&["I/F", "PROBLEM", "LOOK FOR"]);
        for silence in &answer.silent {
            table.row([silence.interface_id.to_string(), silence.problem.clone(), silence.hint.clone()]);
        }
        text.push('\n');
        text.push_str(&table.finish(""));
    }
    text
}

/// `molt ospf interface`
#[must_use]
pub fn ospf_interfaces(answer: &OspfInterfaces) -> String {
    let mut table = Table::new(&[
        "I/F",
        "STATE",
        "AREA",
        ">INSTANCE",
        ">COST",
        ">MTU",
        ">HELLO",
        ">DEAD",
        ">RXMT",
        "NEIGHBOR ID",
        "ADDRESS",
        "LAST REJECT",
    ]);
    for interface in &answer.interfaces {
        let ago = interface.last_reject_ago_ms.unwrap_or_default() / 1000;
        let reject = interface.last_reject.as_ref().map(|reject| format!("{reject}, {} ago", duration(ago)));
        table.row([
            interface.interface_id.to_string(),
            interface.state.clone(),
            interface.area_id.clone(),
            interface.instance_id.to_string(),
            interface.cost.to_string(),
            interface.mtu.to_string(),
            format!("{}s", interface.hello_interval),
            format!("{}s", interface.dead_interval),
            format!("{}s", interface.retransmit_interval),
            or_dash(interface.neighbor_router_id.as_deref()),
            interface.address.to_string(),
            or_dash(reject),
        ]);
    }
    table.finish("no interfaces")
}

/// `molt ospf database`
#[must_use]
pub fn ospf_database(answer: &OspfDatabase) -> String {
    let mut table = Table::new(&[
        "SCOPE",
        "TYPE",
        "LSID",
        "ADVROUTER",
        ">AGE",
        "SEQNUM",
        "CKSUM",
        ">LEN",
        "NAME",
        "PAYLOAD",
    ]);
    for lsa in &answer.lsas {
        // Where FRR only says that it does not know the type, the number says more.
        let kind = if lsa.type_short == "Unk" { &lsa.lsa_type } else { &lsa.type_short };
        table.row([
            lsa.interface_id.map_or_else(|| lsa.scope.clone(), |link| format!("{} {link}", lsa.scope)),
            kind.clone(),
            Ipv4Addr::from_bits(lsa.lsa_id).to_string(),
            lsa.adv_router.clone(),
            lsa.age.to_string(),
            lsa.seq_num.clone(),
            lsa.checksum.clone(),
            lsa.length.to_string(),
            or_dash(lsa.name.as_deref()),
            lsa.payload.clone(),
        ]);
    }
    table.finish("the database is empty")
}

/// `molt ospf spf-log`
#[must_use]
pub fn ospf_spf_log(answer: &OspfSpfLog) -> String {
    let mut table = Table::new(&[">RUN", ">AGO", "KIND", ">DELAY", ">TOOK", ">ROUTERS", ">ROUTES", "REASON"]);
    for run in &answer.runs {
        table.row([
            run.id.to_string(),
            duration(run.ago_ms / 1000),
            run.kind.clone(),
            format!("{}ms", run.delay_ms),
            run.duration_us.map_or_else(|| "-".into(), |us| format!("{us}us")),
            run.routers.to_string(),
            run.routes.to_string(),
            run.reason.clone(),
        ]);
    }
    table.finish("no SPF run yet")
}

/// `molt bfd`
#[must_use]
pub fn bfd(answer: &Bfd) -> String {
    let mut table = Table::new(&[
        ">LINK",
        "NAME",
        "STATE",
        "REMOTE",
        ">TX",
        ">RX",
        ">DETECT",
        ">UP FOR",
        ">DOWNS",
        ">LOCAL DISC",
        ">REMOTE DISC",
        "DIAG",
        "ADDRESS",
    ]);
    for session in &answer.sessions {
        let diag = match (session.local_diagnostic.as_str(), session.remote_diagnostic.as_str()) {
            ("No Diagnostic", "No Diagnostic") => "-".into(),
            (ours, theirs) => format!("{ours} / {theirs}"),
        };
        table.row([
            or_dash(session.interface_id),
            or_dash(session.name.as_deref()),
            session.local_state.clone(),
            session.remote_state.clone(),
            format!("{}ms", session.negotiated_tx_interval_ms),
            format!("{}ms", session.negotiated_rx_interval_ms),
            format!("{}ms", session.detection_time_ms),
            or_dash(session.up_s.map(duration)),
            session.down_count.to_string(),
            format!("{:08x}", session.local_discriminator),
            format!("{:08x}", session.remote_discriminator),
            diag,
            or_dash(session.dest_addr),
        ]);
    }
    table.finish("no BFD sessions")
}

/// `molt bfd --brief`: FRR's columns.
#[must_use]
pub fn bfd_brief(answer: &Bfd) -> String {
    let mut table = Table::new(&[">SESSIONID", "LOCALADDRESS", "PEERADDRESS", "STATUS"]);
    for session in &answer.sessions {
        table.row([
            session.local_discriminator.to_string(),
            // Of a tunnel we have one link-local address, the same on all.
            or_dash(session.source_addr),
            or_dash(session.dest_addr),
            session.local_state.to_lowercase(),
        ]);
    }
    table.finish("no BFD sessions")
}

/// `molt counters`; counters at zero only if `all`.
#[must_use]
pub fn counters(answer: &Counters, all: bool) -> String {
    let mut table = Table::new(&["GROUP", "COUNTER", ">VALUE", "MEANING"]);
    for counter in answer.counters.iter().filter(|counter| all || counter.value != 0) {
        table.row([
            counter.group.clone(),
            counter.name.clone(),
            counter.value.to_string(),
            counter.meaning.clone(),
        ]);
    }
    table.finish("all counters are zero")
}

/// `molt restart`
#[must_use]
pub fn restarted(answer: &Restarted) -> String {
    let how = match &answer.restart {
        None => "no neighbour had to wait".to_owned(),
        Some(restart) => {
            let reason = restart.reason.as_deref().unwrap_or("the neighbours are not back yet");
            format!("{reason} after {:.1} s", restart.took_ms as f64 / 1e3)
        }
    };
    format!("restarted, version {}: {how}\n", answer.version)
}

/// `molt reload`
#[must_use]
pub fn reloaded(answer: &Reloaded) -> String {
    let mut text =
        format!("peers: {} added, {} changed, {} removed\n", answer.added, answer.changed, answer.removed);
    if !answer.needs_restart.is_empty() {
        _ = writeln!(text, "changed, but only a restart applies it: {}", answer.needs_restart.join(", "));
    }
    text
}

/// `molt id`
#[must_use]
pub fn id(id: &Id) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| _ = writeln!(text, "{key:<15}{value}");
    line("agent id", &id.agent_id);
    line("address", &format!("{}  ({})", id.address, id.trust_class));
    for other in &id.other_addresses {
        line("", &other.to_string());
    }
    for (key, value) in [
        ("identity key", &id.identity_key),
        ("wireguard key", &id.wireguard_key),
        ("router id", &id.router_id),
    ] {
        if let Some(value) = value {
            line(key, value);
        }
    }
    text
}

/// `molt id delegate`
#[must_use]
pub fn delegation(delegation: &Delegation) -> String {
    let Delegation { address, owner, holder, days, grant, .. } = delegation;
    format!(
        "# {address} of {owner},\n# lent for {days} days to {holder}\n[[delegation]]\ngrant = \"{grant}\"\n"
    )
}

/// `molt id prefix`
#[must_use]
pub fn prefix(drawn: &Prefix) -> String {
    format!("[network]\nprefix = \"{}\"\n", drawn.prefix)
}

/// One line of `molt ping`.
#[must_use]
pub fn ping_line(probe: &ProbeLine) -> String {
    let from = who(probe);
    match (probe.outcome.as_str(), probe.rtt_ms) {
        ("reply", Some(rtt)) => {
            let hops = probe.hops.map_or_else(String::new, |hops| format!(" hops={hops}"));
            format!("reply from {from}: seq={}{hops} time={rtt:.3} ms\n", probe.seq)
        }
        ("no-reply", _) => format!("no reply: seq={}\n", probe.seq),
        (outcome, _) => format!("{outcome} from {from}: seq={}{}\n", probe.seq, detail(probe)),
    }
}

/// One line of `molt trace`.
#[must_use]
pub fn trace_line(probe: &ProbeLine) -> String {
    match (probe.outcome.as_str(), probe.rtt_ms) {
        ("reply" | "time-exceeded", Some(rtt)) => format!("{:>2}  {}  {rtt:.3} ms\n", probe.seq, who(probe)),
        ("no-reply", _) => format!("{:>2}  *\n", probe.seq),
        (outcome, _) => format!("{:>2}  {}  {outcome}{}\n", probe.seq, who(probe), detail(probe)),
    }
}

fn who(probe: &ProbeLine) -> String {
    match (&probe.name, probe.from) {
        (Some(name), Some(from)) => format!("{name} ({from})"),
        (None, Some(from)) => from.to_string(),
        (_, None) => "this node".into(),
    }
}

fn detail(probe: &ProbeLine) -> String {
    probe.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OspfMismatch, OspfNeighbor};

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", ">COUNT", "WHAT"]);
        table.row(["a".into(), "1".into(), "x".into()]);
        table.row(["longer".into(), "12345678".into(), String::new()]);
        assert_eq!(table.finish(""), "NAME       COUNT  WHAT\na              1  x\nlonger  12345678\n");
        assert_eq!(Table::new(&["A"]).finish("none"), "none\n");
    }

    #[test]
    fn what_a_terminal_has_no_room_for_stands_below_its_row() {
        let mut table = Table::new(&["NAME", ">COUNT", "WHAT", "WHY"]);
        table.row(["a".into(), "1".into(), "x".repeat(60), "word ".repeat(30).trim_end().into()]);
        table.row(["b".into(), "2".into(), "y".into(), "-".into()]);
        let text = table.finish("");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert_eq!((lines[0], lines[1]), ("NAME  COUNT  WHAT", "      WHY"));
        assert_eq!(lines[2], format!("a         1  {}", "x".repeat(60)));
        assert_eq!(lines[3], format!("      {}", ["word"; 19].join(" ")));
        assert_eq!(lines[4], format!("      {}", ["word"; 11].join(" ")));
        assert_eq!(lines[5], "b         2  y");
    }

    #[test]
    fn neighbours_come_in_frrs_columns_and_mismatches_below_them() {
        let answer = OspfNeighbors {
            schema: crate::api::schema::OSPF_NEIGHBORS.into(),
            neighbors: vec![OspfNeighbor {
                interface_id: 1,
                neighbor_router_id: "10.0.0.2".into(),
                name: Some("bob".into()),
                address: "fe80::2".parse().unwrap(),
                priority: 1,
                state: "Full".into(),
                state_ms: 61_000,
                dead_timer_ms: 38_200,
                cost: 10,
                retransmissions: 0,
                requests: 0,
                state_changes: 5,
                restart_remaining_ms: None,
                restart_reason: None,
            }],
            mismatches: vec![OspfMismatch {
                interface_id: 2,
                neighbor_router_id: "10.0.0.3".into(),
                parameter: "MTU".into(),
                ours: "1280".into(),
                theirs: "1420".into(),
                adopted: false,
                ago_ms: 3_000,
            }],
            silent: Vec::new(),
        };
        let text = ospf_neighbors(&answer);
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert_eq!(
            words(0)[..8],
            ["NEIGHBOR", "ID", "PRI", "DEADTIME", "STATE/IFSTATE", "DURATION", "I/F[STATE]", "NAME"]
        );
        assert_eq!(
            words(2)[..7],
            ["10.0.0.2", "1", "39s", "Full/PointToPoint", "1m01s", "1[PointToPoint]", "bob"]
        );
        assert_eq!((words(1), words(3)), (vec!["ADDRESS"], vec!["fe80::2"]));
        assert_eq!(lines[6], "2    10.0.0.3   MTU ours 1280, theirs 1420   3s");
        let nobody = OspfNeighbors { neighbors: Vec::new(), ..answer };
        assert!(ospf_neighbors(&nobody).starts_with("no neighbours\n\nI/F"));
    }

    #[test]
    fn units_are_readable() {
        assert_eq!([0, 59, 61, 3_661, 90_061].map(duration), ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
        assert_eq!([0, 1023, 1536, 3 << 30].map(bytes), ["0B", "1023B", "1.5KiB", "3.0GiB"]);
    }
}
