//! Which crate may know which, and what the pure ones must never reach.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// A crate and the crates of this workspace it may depend on, in any way (tests and build scripts included).
///
/// The composer `meshd` may know all above it, and the lab may know everything; nothing may know the lab.
const LAYERS: &[(&str, &[&str])] = &[
    ("molt-mesh", &[]),
    ("molt-bfd", &["molt-mesh"]),
    ("molt-routing", &["molt-mesh"]),
    ("molt-tun", &["molt-mesh", "molt-bfd"]),
    ("molt-dns", &["molt-mesh"]),
    ("molt-container-net", &["molt-mesh"]),
    ("molt-contracts", &["molt-mesh"]),
    ("molt-agent", &["molt-mesh", "molt-container-net", "molt-contracts"]),
];
const COMPOSER: &str = "meshd";
const LAB: &str = "molt-lab";

/// Crates that are driven by their owner: no task, no socket, no device.
const PURE: &[&str] = &["molt-mesh", "molt-bfd", "molt-routing"];
const IMPURE: &[&str] = &["tokio", "async-std", "smol", "mio", "socket2", "tun-rs", "libp2p"];

/// What belongs to the chain client's feature `chain` and to nothing else: an RPC client, its TLS, and the curve of wallets.
const CHAIN: &[&str] = &["alloy", "k256", "secp256k1", "reqwest", "hyper", "rustls"];

struct Graph {
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Names of the packages of this workspace.
    members: BTreeSet<String>,
    metadata: Value,
}

impl Graph {
    fn read() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .output()
            .expect("cargo runs, for it runs this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let name = |package: &Value| (text(&package["id"]), text(&package["name"]));
        let names: BTreeMap<_, _> = list(&metadata["packages"]).iter().map(name).collect();
        let members =
            list(&metadata["workspace_members"]).iter().map(|id| names[&text(id)].clone()).collect();
        Self { names, members, metadata }
    }

    /// The packages of this workspace that the manifest of a package names, in any section.
    fn declared(&self, package: &str) -> BTreeSet<String> {
        let packages = list(&self.metadata["packages"]).iter();
        packages
            .filter(|candidate| candidate["name"] == package && candidate["source"].is_null())
            .flat_map(|package| list(&package["dependencies"]))
            .map(|dependency| text(&dependency["name"]))
            .filter(|name| self.members.contains(name))
            .collect()
    }

    /// Everything a package is linked with, each with the package that brings it in.
    fn reached(&self, package: &str) -> BTreeMap<String, String> {
        let nodes: BTreeMap<String, &Value> =
            list(&self.metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
        let is_member = |id: &String| {
            self.names[id] == package
                && list(&self.metadata["workspace_members"]).iter().any(|m| text(m) == *id)
        };
        let mut edge: Vec<String> = self.names.keys().filter(|id| is_member(id)).cloned().collect();
        let mut reached = BTreeMap::new();
        while let Some(id) = edge.pop() {
            for dependency in list(&nodes[&id]["deps"]) {
                let linked = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
                let to = text(&dependency["pkg"]);
                if linked && !reached.contains_key(&self.names[&to]) {
                    reached.insert(self.names[&to].clone(), self.names[&id].clone());
                    edge.push(to);
                }
            }
        }
        reached
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("cargo metadata has text here").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

#[test]
fn every_arrow_between_our_crates_points_down() {
    let graph = Graph::read();
    for package in &graph.members {
        let known = graph.declared(package);
        assert!(
            !known.contains(LAB),
            "{package} depends on {LAB}; the lab looks at the others, not they at it"
        );
        if package == COMPOSER || package == LAB {
            continue;
        }
        let layer = LAYERS.iter().find(|(name, _)| name == package);
        let (_, allowed) =
            layer.unwrap_or_else(|| panic!("{package} has no layer: give it a line in LAYERS"));
        for other in known {
            assert!(
                allowed.contains(&other.as_str()),
                "{package} depends on {other}; it may know {allowed:?} and nothing else of this workspace"
            );
        }
    }
}

#[test]
fn pure_crates_reach_no_socket_no_task_and_no_device() {
    let graph = Graph::read();
    for package in PURE {
        let reached = graph.reached(package);
        for impure in IMPURE {
            if let Some(by) = reached.get(*impure) {
                panic!("{package} reaches {impure} through {by}; it is to be driven from outside");
            }
        }
    }
}

/// `cargo tree` as it is built without features: `cargo metadata` would name optional crates, too.
fn tree(package: &str, options: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--prefix=none",
            "--format={p}",
            "--edges=normal,build",
            "--package",
            package,
        ])
        .args(options)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs, for it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn without_its_feature_the_chain_is_in_no_tree() {
    let is_chain = |name: &String| CHAIN.contains(&name.as_str()) || name.starts_with("alloy-");
    for package in ["molt-contracts", COMPOSER, LAB] {
        let found: Vec<String> = tree(package, &[]).into_iter().filter(is_chain).collect();
        assert!(
            found.is_empty(),
            "{package} is built with {found:?}; they belong behind the feature `chain`"
        );
    }
    // The names are those that the feature brings.
    let with = tree("molt-contracts", &["--features", "chain"]);
    for name in ["alloy", "k256", "reqwest", "hyper", "rustls"] {
        assert!(with.contains(name), "{name}");
    }
}

#[test]
fn the_graph_is_read_right() {
    let graph = Graph::read();
    assert!(graph.declared("molt-bfd").contains("molt-mesh"));
    let reached = graph.reached("molt-bfd");
    assert_eq!(
        reached.get("curve25519-dalek").map(String::as_str).map(|by| by.ends_with("-dalek")),
        Some(true)
    );
    assert!(!reached.contains_key("serde_json"));
}
