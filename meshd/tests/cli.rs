//! `molt` and `meshd` as a person and a script meet them: words, JSON, exit codes.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// UUIDs and their addresses: issued ones (version 4), and those of the seeds 00..00 and 00 01 .. 1f.
const DERIVED: [(&str, &str, &str); 5] = [
    ("daa46e88-46c5-4af7-9268-1482c54c1922", "fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268", "claimed"),
    ("88833763-60b7-47db-8703-349c6b2c70ff", "fd00:6d6f:6c74:8883:3763:60b7:47db:8703", "claimed"),
    ("f8a9ce03-f512-4311-8792-519109168903", "fd00:6d6f:6c74:f8a9:ce03:f512:4311:8792", "claimed"),
    ("a8cd4fb9-5636-89f0-bc46-e968cec89840", "fd00:6d6f:6c74:a8cd:4fb9:5636:89f0:bc46", "self-certifying"),
    ("a6981f61-4d77-8c11-b9bc-d9bdb5805467", "fd00:6d6f:6c74:a698:1f61:4d77:8c11:b9bc", "self-certifying"),
];

/// Seeds with the UUID of their key.
const SEEDS: [(&str, &str); 2] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "a8cd4fb9-5636-89f0-bc46-e968cec89840",
    ),
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "a6981f61-4d77-8c11-b9bc-d9bdb5805467",
    ),
];

fn molt(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_molt")).args(args).output().unwrap()
}

/// What a command prints that must succeed and have nothing to complain about.
fn prints(args: &[&str]) -> String {
    let output = molt(args);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), complaint.as_str()), (Some(0), ""), "molt {args:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn prints_json(args: &[&str]) -> Value {
    serde_json::from_str(&prints(args)).unwrap()
}

/// The complaint of a command that must fail so and print nothing else.
fn fails(args: &[&str], code: i32) -> String {
    let output = molt(args);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "molt {args:?}: {complaint}");
    complaint
}

/// The value behind a word that starts a line.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in\n{text}")).trim()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A socket that nobody listens at.
fn nowhere(dir: &TempDir) -> String {
    path(&dir.path().join("meshd.sock")).to_owned()
}

fn write_key(dir: &TempDir, seed: &str) {
    let file = dir.path().join("identity.key");
    fs::write(&file, format!("{seed}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn derive_gives_the_address_of_a_uuid() {
    for (uuid, address, class) in DERIVED {
        assert_eq!(
            prints(&["id", "derive", uuid]),
            format!("agent id       {uuid}\naddress        {address}  ({class})\n")
        );
        assert_eq!(
            prints_json(&["id", "derive", uuid, "--json"]),
            json!({
                "schema": "molt.id/1",
                "agent-id": uuid,
                "address": address,
                "trust-class": class,
                "other-addresses": [],
                "identity-key": null,
                "wireguard-key": null,
                "router-id": null,
            })
        );
    }
}

#[test]
fn show_tells_who_a_seed_is_and_derive_agrees() {
    for (seed, uuid) in SEEDS {
        let dir = TempDir::new().unwrap();
        write_key(&dir, seed);
        let (_, address, class) = DERIVED.into_iter().find(|(of, ..)| *of == uuid).unwrap();
        let text = prints(&["id", "show", "--state-dir", path(dir.path())]);
        assert_eq!(field(&text, "agent id"), uuid);
        assert_eq!(field(&text, "address"), format!("{address}  ({class})"));
        let json = prints_json(&["--json", "id", "show", "--state-dir", path(dir.path())]);
        assert_eq!((&json["agent-id"], &json["address"]), (&json!(uuid), &json!(address)));
        for (name, key) in
            [("identity key", "identity-key"), ("wireguard key", "wireguard-key"), ("router id", "router-id")]
        {
            assert_eq!(field(&text, name), json[key], "{key}");
        }
        let key = json["identity-key"].as_str().unwrap();
        assert_ne!(json["wireguard-key"], *key);
        let derived = prints_json(&["id", "derive", key, "--json"]);
        for field in ["agent-id", "address", "trust-class", "identity-key", "router-id"] {
            assert_eq!(derived[field], json[field], "{field}");
        }
        assert!(!text.contains(seed) && !json.to_string().contains(seed), "the seed is never printed");
    }
}

#[test]
fn new_makes_an_identity_once_that_nobody_else_can_read() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let made = prints(&["id", "new", "--state-dir", path(&state)]);
    assert_eq!(prints(&["id", "show", "--state-dir", path(&state)]), made);
    assert!(field(&made, "address").ends_with("(self-certifying)"));
    let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("identity.key"))), (0o700, 0o600));
    let complaint = fails(&["id", "new", "--state-dir", path(&state)], 1);
    assert!(complaint.contains("already holds an identity"), "{complaint}");
    assert_eq!(prints(&["id", "show", "--state-dir", path(&state)]), made);
    fs::set_permissions(state.join("identity.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let complaint = fails(&["id", "show", "--state-dir", path(&state)], 1);
    assert!(complaint.contains("chmod 600"), "{complaint}");
}

#[test]
fn new_keeps_an_issued_uuid_and_shows_its_address_first() {
    let dir = TempDir::new().unwrap();
    let (uuid, address, class) = DERIVED[0];
    let made = prints_json(&["id", "new", "--state-dir", path(dir.path()), "--uuid", uuid, "--json"]);
    assert_eq!((&made["agent-id"], &made["address"]), (&json!(uuid), &json!(address)));
    assert_eq!(made["trust-class"], class);
    let key = made["identity-key"].as_str().unwrap();
    let own = prints_json(&["id", "derive", key, "--json"]);
    assert_eq!(made["other-addresses"], json!([own["address"]]));
    assert_eq!(prints_json(&["id", "show", "--state-dir", path(dir.path()), "--json"]), made);
}

#[test]
fn new_refuses_a_uuid_that_nobody_issues() {
    let dir = TempDir::new().unwrap();
    let complaint = fails(&["id", "new", "--state-dir", path(dir.path()), "--uuid", DERIVED[3].0], 1);
    assert!(complaint.contains("version 8"), "{complaint}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn new_does_the_work_that_a_network_demands() {
    let dir = TempDir::new().unwrap();
    let made = prints_json(&["--json", "id", "new", "--state-dir", path(dir.path()), "--pow-bits", "6"]);
    let key: molt_mesh::IdentityKey = made["identity-key"].as_str().unwrap().parse().unwrap();
    assert!(molt_mesh::id::proof_of_work_bits(&key) >= 6);
}

#[test]
fn show_without_an_identity_says_how_to_make_one() {
    let dir = TempDir::new().unwrap();
    assert!(fails(&["id", "show", "--state-dir", path(dir.path())], 1).contains("molt id new"));
    write_key(&dir, "no key at all");
    assert!(fails(&["id", "show", "--state-dir", path(dir.path())], 1).contains("damaged"));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let wrong: [&[&str]; 12] = [
        &[],
        &["dance"],
        &["id"],
        &["id", "derive"],
        &["id", "new", "--uuid", "not-a-uuid"],
        &["id", "new", "--pow-bits", "33"],
        &["status", "--nonsense"],
        &["ping"],
        &["ping", "bob", "--count", "0"],
        &["ping", "bob", "--interval", "0"],
        &["trace", "bob", "--max-hops", "65"],
        &["wait", "--for", "bob"],
    ];
    for args in wrong {
        assert!(!fails(args, 2).is_empty(), "molt {args:?} says nothing");
    }
}

#[test]
fn what_is_no_identity_has_no_address() {
    for wrong in ["", "bob", "daa46e88-46c5-4af7-9268-1482c54c192", "daa46e88-46c5-0af7-9268-1482c54c1922"] {
        fails(&["id", "derive", wrong], 1);
    }
}

#[test]
fn what_is_lent_is_an_anycast_address_or_a_containers() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().to_str().unwrap();
    let made = prints_json(&["id", "new", "--json", "--state-dir", state]);
    let key = made["identity-key"].as_str().unwrap();
    let delegate =
        |what: &[&'static str]| [&["id", "delegate"], what, &["--to", key, "--state-dir", state]].concat();
    let container = prints_json(&[delegate(&["--container", "1"]), vec!["--json", "--days", "2"]].concat());
    assert_eq!(
        (&container["owner"], &container["holder"], &container["days"]),
        (&json!(key), &json!(key), &json!(2))
    );
    let text = prints(&delegate(&["fd00:6d6f:6c74::1:53"]));
    assert!(text.contains("[[delegation]]\ngrant = \""), "{text}");
    assert!(fails(&delegate(&[DERIVED[3].1]), 1).contains("no anycast address"));
    for wrong in [&[][..], &["fd00:6d6f:6c74::1:53", "--container", "1"], &["--container", "65536"]] {
        fails(&delegate(wrong), 2);
    }
}

/// The same identity in another mesh: the first 48 bits differ, and what is no prefix of a mesh is refused.
#[test]
fn every_address_follows_the_prefix_of_the_mesh() {
    const MESH: [&str; 2] = ["--prefix", "fd12:3456:789a::/48"];
    for (uuid, address, class) in DERIVED {
        let there = address.replace("fd00:6d6f:6c74:", "fd12:3456:789a:");
        let text = prints(&[&["id", "derive", uuid][..], &MESH].concat());
        assert_eq!(field(&text, "address"), format!("{there}  ({class})"));
    }
    let dir = TempDir::new().unwrap();
    let state = path(dir.path());
    let (uuid, ..) = DERIVED[0];
    let new = ["id", "new", "--json", "--state-dir", state, "--uuid", uuid];
    let made = prints_json(&[&new[..], &MESH].concat());
    let show = ["id", "show", "--json", "--state-dir", state];
    assert_eq!(prints_json(&[&show[..], &MESH].concat()), made);
    let elsewhere = prints_json(&show);
    for (here, there) in [
        (&made["address"], &elsewhere["address"]),
        (&made["other-addresses"][0], &elsewhere["other-addresses"][0]),
    ] {
        let (here, there) = (here.as_str().unwrap(), there.as_str().unwrap());
        assert_eq!(here.replace("fd12:3456:789a:", "fd00:6d6f:6c74:"), there);
        assert_ne!(here, there);
    }
    assert_eq!(made["identity-key"], elsewhere["identity-key"]);
    let key = made["identity-key"].as_str().unwrap();
    let delegate = |what: &[&'static str]| {
        [&["id", "delegate", "--json"], what, &["--to", key, "--state-dir", state], &MESH].concat()
    };
    let container = prints_json(&delegate(&["--container", "1"]));
    assert!(container["address"].as_str().unwrap().starts_with("fd12:3456:789a:"), "{container}");
    prints_json(&delegate(&["fd12:3456:789a::53"]));
    assert!(fails(&delegate(&["fd00:6d6f:6c74::53"]), 1).contains("they are in fd12:3456:789a::/48"));
    for wrong in ["fd12:3456:789a::/64", "2001:db8::/48", "fd12:3456:789a::"] {
        assert!(fails(&["id", "derive", uuid, "--prefix", wrong], 2).contains("a /48 inside fd00::/8"));
    }
}

#[test]
fn rfc4193_section_3_2_1_a_prefix_is_drawn_at_random_and_ready_to_paste() {
    let text = prints(&["id", "prefix"]);
    let config = meshd::config::Config::parse(&text).unwrap();
    assert_eq!(text, format!("[network]\nprefix = \"{}\"\n", config.network.prefix));
    let draw = || prints_json(&["id", "prefix", "--json"]);
    let (one, other) = (draw(), draw());
    assert_eq!(one["schema"], "molt.prefix/1");
    let prefix: molt_mesh::MeshPrefix = one["prefix"].as_str().unwrap().parse().unwrap();
    assert_ne!(prefix, molt_mesh::MeshPrefix::DEFAULT);
    assert_ne!(one["prefix"], other["prefix"]);
}

#[test]
fn without_a_daemon_every_question_exits_with_3() {
    let dir = TempDir::new().unwrap();
    let socket = nowhere(&dir);
    let questions: [&[&str]; 14] = [
        &["status"],
        &["peers"],
        &["routes"],
        &["ospf", "neighbors"],
        &["ospf", "database"],
        &["ospf", "interface"],
        &["ospf", "spf-log"],
        &["bfd"],
        &["counters", "--all"],
        &["ping", "bob"],
        &["trace", "bob"],
        &["reload"],
        &["restart"],
        &["down"],
    ];
    for question in questions {
        for json in [&["--json"][..], &[]] {
            let args = [question, &["--socket", &socket], json].concat();
            let complaint = fails(&args, 3);
            assert!(complaint.contains("meshd.sock") && complaint.contains("--socket"), "{complaint}");
        }
    }
}

#[test]
fn waiting_in_vain_exits_with_124() {
    let dir = TempDir::new().unwrap();
    let socket = nowhere(&dir);
    let complaint = fails(&["wait", "--timeout", "0.1", "--socket", &socket], 124);
    assert!(complaint.contains("still waiting after 0.1 s"), "{complaint}");
    let output = molt(&["wait", "--timeout", "0.1", "--for", DERIVED[0].1, "--json", "--socket", &socket]);
    assert_eq!(output.status.code(), Some(124));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer, json!({ "schema": "molt.wait/1", "ready": false }));
}

/// The commands that `--help` lists, with the ones below them.
fn commands(of: &[&str]) -> Vec<Vec<String>> {
    let help = prints(&[of, &["--help"]].concat());
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let names = list.lines().take_while(|line| line.starts_with("  "));
    let names =
        names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let command = [of, &[name]].concat();
        found.push(command.iter().map(|word| (*word).to_owned()).collect());
        found.extend(commands(&command));
    }
    found
}

/// The options and arguments of each command, as scripts use them.
const OPTIONS: [(&str, &[&str]); 26] = [
    ("id", &[]),
    ("id new", &["--state-dir <DIR>", "--uuid <UUID>", "--pow-bits <BITS>", "--prefix <PREFIX>"]),
    ("id show", &["--state-dir <DIR>", "--prefix <PREFIX>"]),
    (
        "id delegate",
        &[
            "[ADDR]",
            "--container <INDEX>",
            "--to <KEY>",
            "--days <DAYS>",
            "--state-dir <DIR>",
            "--prefix <PREFIX>",
        ],
    ),
    ("id derive", &["<IDENTITY>", "--prefix <PREFIX>"]),
    ("id prefix", &[]),
    ("status", &[]),
    ("peers", &[]),
    ("routes", &["--explain <ADDR>"]),
    ("ospf", &[]),
    ("ospf neighbors", &[]),
    ("ospf database", &[]),
    ("ospf interface", &[]),
    ("ospf events", &[]),
    ("ospf spf-log", &[]),
    ("bfd", &[]),
    ("bgp", &[]),
    ("bgp summary", &[]),
    ("bgp routes", &[]),
    ("counters", &["--all"]),
    ("ping", &["<TARGET>", "-c, --count", "-i, --interval", "-s, --size", "-W, --timeout"]),
    ("trace", &["<TARGET>", "-m, --max-hops", "-W, --timeout"]),
    ("wait", &["--timeout", "--for <ADDR>"]),
    ("reload", &[]),
    ("restart", &[]),
    ("down", &[]),
];

/// Where a chain is built in.
const PLACE: [&str; 2] = ["--config <FILE>", "--state-dir <DIR>"];
const CHAIN_OPTIONS: [(&str, &[&str]); 15] = [
    ("chain", &[]),
    ("chain status", &PLACE),
    ("chain standing", &["[NODE]"]),
    ("chain admit", &["<CERTIFICATE>"]),
    ("chain bind", &["--revoke", "--claim"]),
    ("chain stake", &["<AMOUNT>"]),
    ("chain jobs", &PLACE),
    ("chain jobs list", &PLACE),
    ("chain jobs bid", &["--requester <WALLET>", "--per-second <AMOUNT>", "--max-duration", "--valid"]),
    ("chain jobs open", &["--deployment <UUID>", "--spec <HASH>", "--duration", "<BID> <BID> <BID>"]),
    ("chain jobs agree", &["--job <JOB>", "--provider <WALLET>", "--per-second <AMOUNT>"]),
    ("chain jobs vouch", &["<JOB>", "<PROVIDER>", "<SECONDS>"]),
    ("chain jobs redeem", &["<VOUCHER>"]),
    ("chain jobs close", &["<JOB>"]),
    ("chain jobs withdraw", &PLACE),
];

#[test]
fn help_names_every_command_and_its_options() {
    let listed = commands(&[]).iter().map(|words| words.join(" ")).collect::<Vec<String>>();
    let (chain, others): (Vec<&str>, Vec<&str>) =
        listed.iter().map(String::as_str).partition(|command| command.starts_with("chain"));
    let names = |table: &[(&'static str, &[&str])]| table.iter().map(|it| it.0).collect::<Vec<&str>>();
    let expected_chain: &[_] = if cfg!(feature = "chain") { &CHAIN_OPTIONS } else { &[] };
    assert_eq!((others, chain), (names(&OPTIONS), names(expected_chain)));
    for (command, options) in OPTIONS.iter().chain(expected_chain) {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = prints(&words);
        for option in options.iter().chain(&["--socket <PATH>", "--json", "-h, --help"]) {
            assert!(help.contains(option), "molt {command} --help does not mention {option}:\n{help}");
        }
        // Each has a sentence behind it or below it.
        let bare = help.lines().filter(|line| line.trim_start().starts_with("--") && !line.contains("  "));
        assert_eq!(bare.count(), 0, "{help}");
    }
}

#[test]
fn help_of_the_daemon_names_its_options() {
    let output = Command::new(env!("CARGO_BIN_EXE_meshd")).arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for option in
        ["--config <FILE>", "--state-dir <DIR>", "--socket <PATH>", "--log <FILTER>", "--log-format <FORMAT>"]
    {
        assert!(help.contains(option), "{option} is missing:\n{help}");
    }
    assert_eq!(Command::new(env!("CARGO_BIN_EXE_meshd")).output().unwrap().status.code(), Some(2));
}

#[test]
fn both_programs_say_their_version() {
    let expected = |name: &str| format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(prints(&["--version"]), expected("molt"));
    let output = Command::new(env!("CARGO_BIN_EXE_meshd")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected("meshd"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for args in [&["id", "derive", DERIVED[0].0][..], &["--json", "id", "derive", DERIVED[0].0], &["--help"]]
    {
        // As behind `head -1`, but closed before the first word, so that the outcome does not depend on who is faster.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_molt"));
        let output = child.args(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), complaint.as_str()), (Some(0), ""), "molt {args:?}");
    }
}
