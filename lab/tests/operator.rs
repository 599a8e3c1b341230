//! What a running daemon tells its operator, in JSON and as text for a terminal.
//!
//! ```text
//! 0 (FRR) ===== 1 (meshd) ===== 2 (meshd)      0 announces the address of 2
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic is the report, and makes the harness print the logs"
)]

use std::time::Duration;

use anyhow::Context;
use molt_lab::mesh::{Mesh, Meshd, Role};
use molt_lab::tools::ping;
use molt_lab::topology::Topology;
use molt_lab::wait::wait_until;
use serde_json::Value;

const MINUTE: Duration = Duration::from_mins(1);
/// Columns of a terminal that nobody made wider.
const COLUMNS: usize = 100;

/// What a command prints for people. No line may be broken by the terminal.
fn text(meshd: &Meshd, args: &[&str]) -> String {
    let output = meshd.molt_output(args).unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    println!("$ molt {}\n{text}", args.join(" "));
    for line in text.lines() {
        assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
    }
    text
}

/// The cell below the heading `column` in the first row that contains `row`.
fn cell(text: &str, column: &str, row: &str) -> String {
    let mut lines = text.lines();
    let heading =
        lines.find(|line| line.contains(column)).unwrap_or_else(|| panic!("no {column} in\n{text}"));
    let start = heading.find(column).unwrap();
    let line = lines.find(|line| line.contains(row)).unwrap_or_else(|| panic!("no {row} in\n{text}"));
    // A heading that is aligned to the right stands above the end of its cells.
    let from = line[..start.min(line.len())].rfind("  ").map_or(0, |gap| gap + 2);
    let cell = line[from..].trim_start();
    cell.split("  ").next().unwrap_or_default().to_owned()
}

#[test]
fn who_announces_somebodys_address_is_named_and_the_way_to_it_explained() {
    let roles = [Role::Frr, Role::Meshd, Role::Meshd];
    let mesh = Mesh::start_with(Topology::line(3), &roles, 1).unwrap();
    mesh.wait_full(MINUTE).unwrap();
    mesh.wait_reachable(MINUTE).unwrap();
    let (meshd, victim) = (mesh.meshd(1).unwrap(), mesh.nodes[2].address());
    let prefix = format!("{victim}/128");
    assert_eq!(text(meshd, &["ospf", "events"]), "no events\n");
    mesh.net.nodes[0].ip(&format!("addr add {prefix} dev lo")).unwrap();

    let (event, _) = wait_until("the hijack to be an event", MINUTE, || {
        let answer = meshd.molt(&["ospf", "events"])?;
        let events = answer["events"].as_array().context("no list of events")?;
        let event = events.iter().find(|event| event["subject"] == prefix.as_str());
        event.cloned().with_context(|| format!("{answer}"))
    })
    .unwrap();
    assert_eq!(event["router-id"], "10.255.0.1", "{event}");
    let cause = event["cause"].as_str().unwrap();
    let events = text(meshd, &["ospf", "events"]);
    assert_eq!(cell(&events, "EVENT", &prefix), cause);
    assert_eq!(cell(&events, "ROUTER", &prefix), "10.255.0.1");

    let address = victim.to_string();
    let answer = meshd.molt(&["routes", "--explain", &address]).unwrap();
    let claims = answer["claims"].as_array().unwrap();
    let by = |verdict: &str| -> &Value {
        let claim = claims.iter().find(|claim| claim["verdict"] == verdict);
        claim.unwrap_or_else(|| panic!("none is {verdict}: {answer}"))
    };
    let theirs = mesh.meshd(2).unwrap().molt(&["status"]).unwrap();
    assert_eq!((&by("used")["router-id"], &by("used")["name"]), (&theirs["router-id"], &"n2".into()));
    assert_eq!(by("rejected")["router-id"], "10.255.0.1");
    assert!(by("rejected")["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{answer}");
    assert_eq!(answer["route"]["next-hops"][0]["name"], "n2");
    let explained = text(meshd, &["routes", "--explain", &address]);
    for words in [
        &format!("{address} follows\n{prefix}, metric "),
        "by 10.255.0.1",
        "verdict   used",
        "verdict   rejected: ",
    ] {
        assert!(explained.contains(words), "{words}");
    }

    let neighbors = text(meshd, &["ospf", "neighbors"]);
    assert_eq!(cell(&neighbors, "STATE/IFSTATE", "10.255.0.1"), "Full/PointToPoint");
    assert_eq!(cell(&neighbors, "NAME", "n2"), "n2");
    let interfaces = text(meshd, &["ospf", "interface"]);
    assert_eq!(cell(&interfaces, "MTU", "10.255.0.1"), "1280");
    let answer = meshd.molt(&["ospf", "interface"]).unwrap();
    assert_eq!(answer["interfaces"][0]["neighbor-router-id"], "10.255.0.1", "{answer}");
    let database = text(meshd, &["ospf", "database"]);
    assert_eq!(cell(&database, "TYPE", "10.255.0.1"), "Rtr");
    for rest in [&["status"][..], &["peers"], &["routes"], &["ospf", "spf-log"], &["bfd"], &["counters"]] {
        text(meshd, rest);
    }
    let pinged = ping(&mesh.net.nodes[1], victim, &["-c", "20", "-i", "0.02"]).unwrap();
    assert_eq!(pinged.lost(), 0, "{}", pinged.text);
}
