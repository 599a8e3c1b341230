//! `molt chain` without a chain that answers: what is said between people goes on, and so does the daemon.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use molt_contracts::chain::HotKey;
use molt_contracts::wallet::Sign as _;
use serde_json::Value;

const DEPLOYMENT: &str = "daa46e88-46c5-4af7-9268-1482c54c1922";

/// A wallet, and the folder of its node.
struct Party {
    folder: tempfile::TempDir,
    wallet: String,
}

impl Party {
    fn new(number: u8, settlement: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let party = Self { folder, wallet: HotKey::from_bytes(&[number; 32]).unwrap().wallet().to_string() };
        let contract = |name: &str| {
            format!(
                "\"{name}\": {{\"address\": \"0x{}\", \"codeHash\": \"0x{}\"}}",
                "5a".repeat(20),
                "07".repeat(32)
            )
        };
        let contracts = ["BunkerStaking", "BunkerEscrow", "BunkerToken", "BunkerReputation"].map(contract);
        let deployment = format!("{{\"chainId\": 84532, \"contracts\": {{{}}}}}", contracts.join(", "));
        fs::write(party.file("84532.json"), deployment).unwrap();
        fs::write(party.file("wallet"), format!("{number:02x}").repeat(32)).unwrap();
        fs::set_permissions(party.file("wallet"), fs::Permissions::from_mode(0o600)).unwrap();
        let (deployment, key) = (party.file("84532.json"), party.file("wallet"));
        // Nobody listens on the discard port.
        let config = format!(
            "[underlay]\nlisten = \"127.0.0.1:0\"\n[chain]\nrpc = [\"http://127.0.0.1:9\"]\nchain_id = 84532\n\
             network = \"{}\"\ndeployment = {deployment:?}\nwallet_key = {key:?}\nsettlement = \"{settlement}\"\n",
            "09".repeat(32)
        );
        fs::write(party.file("meshd.toml"), config).unwrap();
        party
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn molt(&self, args: &[&str]) -> Output {
        let mut molt = Command::new(env!("CARGO_BIN_EXE_molt"));
        molt.arg("--socket").arg(self.file("socket")).args(args).output().unwrap()
    }

    /// `molt chain jobs` with the files of this party.
    fn jobs(&self, args: &[&str]) -> Output {
        let (config, state) = (self.file("meshd.toml"), self.file("state"));
        let place = ["--config", text(&config), "--state-dir", text(&state)];
        self.molt(&[&["--json", "chain", "jobs"], &place[..], args].concat())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(output: &Output) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn complaint(output: &Output) -> String {
    assert!(matches!(output.status.code(), Some(1 | 2)), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_voucher_in_a_ledger_counts_once_and_for_the_provider_it_is_for() {
    let (requester, provider) = (Party::new(7, "ledger"), Party::new(8, "ledger"));
    let offer = ["--deployment", DEPLOYMENT, "--per-second", "1000", "--max-duration", "3600"];
    let bid = json(&provider.jobs(&[&["bid", "--requester", &requester.wallet], &offer[..]].concat()));
    assert_eq!((bid["kind"].as_str(), bid["provider"].as_str()), (Some("bid"), Some(&*provider.wallet)));
    let job = bid["job"].as_str().unwrap();
    let parties = ["--requester", &requester.wallet, "--provider", &provider.wallet];
    let price = ["--per-second", "1000", "--duration", "3600"];
    let terms = [&["agree", "--job", job], &parties[..], &price[..]].concat();
    for party in [&requester, &provider] {
        json(&party.jobs(&terms));
        // Once more is nothing new, and other terms are none.
        json(&party.jobs(&terms));
        let dearer =
            [&["agree", "--job", job], &parties[..], &["--per-second", "1001", "--duration", "3600"]];
        assert!(complaint(&party.jobs(&dearer.concat())).contains("other terms were agreed on"));
    }

    let voucher = json(&requester.jobs(&["vouch", job, &provider.wallet, "600"]));
    let digits = voucher["signed"].as_str().unwrap().to_owned();
    let gained = |output: &Output| {
        let credit = json(output);
        (credit["gained-s"].as_u64().unwrap(), credit["gained"].as_str().unwrap().to_owned())
    };
    assert_eq!(gained(&provider.jobs(&["redeem", &digits])), (600, "600000".into()));
    assert_eq!(gained(&provider.jobs(&["redeem", &digits])), (0, "0".into()), "once");
    // A requester that forgets does not take back: what it signs next is no less.
    let less = json(&requester.jobs(&["vouch", job, &provider.wallet, "60"]));
    assert_eq!(less["signed"].as_str(), Some(&*digits));
    let list = json(&provider.jobs(&[]));
    let line = &list["jobs"][0];
    assert_eq!((line["vouched-s"].as_u64(), line["state"].as_str()), (Some(600), Some("kept")));
    assert_eq!(line["open-amount"].as_str(), Some("600000"));

    // Signed by somebody else.
    let other = Party::new(9, "ledger");
    json(&other.jobs(
        &[&["agree", "--job", job], &["--requester", &other.wallet][..], &parties[2..], &price[..]].concat(),
    ));
    json(&other.jobs(&["vouch", job, &provider.wallet, "800"]));
    let forged = json(&other.jobs(&["vouch", job, &provider.wallet, "900"]));
    let forged = forged["signed"].as_str().unwrap();
    assert!(complaint(&provider.jobs(&["redeem", forged])).contains("signature of the voucher"));
    // An escrow is not opened by a ledger.
    let bids = [digits.as_str(); 3];
    let open = [&["open", "--deployment", DEPLOYMENT, "--duration", "60", "--spec", job], &bids[..]].concat();
    assert_eq!(provider.jobs(&open).status.code(), Some(2), "vouchers are no bids");
    let bid = bid["signed"].as_str().unwrap();
    let open =
        [&["open", "--deployment", DEPLOYMENT, "--duration", "60", "--spec", job], &[bid; 3][..]].concat();
    assert!(complaint(&provider.jobs(&open)).contains("settlement = \"escrow\""));
}

#[test]
fn where_work_is_free_nothing_is_signed_for_it() {
    let party = Party::new(7, "none");
    assert_eq!(json(&party.jobs(&[]))["jobs"], Value::Array(Vec::new()));
    let job = format!("0x{}", "11".repeat(32));
    assert!(complaint(&party.jobs(&["vouch", &job, &party.wallet, "60"])).contains("work is free here"));
}

/// A daemon in a network of its own.
struct Daemon(Child);

impl Daemon {
    fn start(party: &Party) -> Self {
        let (config, state, socket) = (party.file("meshd.toml"), party.file("state"), party.file("socket"));
        let mut meshd = Command::new("unshare");
        meshd.args([
            "--net",
            env!("CARGO_BIN_EXE_meshd"),
            "--config",
            text(&config),
            "--state-dir",
            text(&state),
        ]);
        meshd.args(["--socket", text(&socket)]).stdin(Stdio::null()).stderr(Stdio::null());
        Self(meshd.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the test drives a real process in real time")]
fn wait<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_daemon_runs_without_its_chain_and_says_what_a_node_may_do_meanwhile() {
    let party = Party::new(7, "none");
    let _daemon = Daemon::start(&party);
    let standing = |node: &[&str]| {
        let output = party.molt(&[&["--json", "chain", "standing"], node].concat());
        output.status.success().then(|| json(&output))
    };
    let is_down = |it: &Value| it["health"] == "down";
    let down = wait("the outage to be noticed", || standing(&[]).filter(is_down));
    assert_eq!((down["block"].as_u64(), down["bindings"].as_u64()), (None, Some(0)));

    let id = json(&party.molt(&["--json", "status"]));
    let address = id["addresses"][0].as_str().unwrap().to_owned();
    let stranger = standing(&[&address]).unwrap();
    assert_eq!(stranger["node"]["stake"], "unbound");
    assert_eq!(
        (stranger["node"]["class"].as_str(), stranger["node"]["messages-per-s"].as_u64()),
        (Some("unstaked"), Some(10))
    );

    // With a wallet whose stake nobody can tell it may talk, and not spend what is ours.
    let (config, state) = (party.file("meshd.toml"), party.file("state"));
    let bind = ["--json", "chain", "bind", "--config", text(&config), "--state-dir", text(&state)];
    let bound = json(&party.molt(&bind));
    assert_eq!((bound["daemon"].as_str(), bound["wallet"].as_str()), (Some("told"), Some(&*party.wallet)));
    let check = || {
        let it = standing(&[&address]).unwrap();
        assert_eq!((it["bindings"].as_u64(), it["node"]["stake"].as_str()), (Some(1), Some("unknown")));
        assert_eq!(it["node"]["messages-per-s"].as_u64(), Some(20));
        let refused = it["node"]["refused"].as_str().unwrap().to_owned();
        assert!(refused.starts_with("the stake is unknown, ask again in"), "{refused}");
    };
    check();
    let certificate = bound["certificate"].as_str().unwrap();
    let again = json(&party.molt(&["--json", "chain", "admit", certificate]));
    assert_eq!(again["new"].as_bool(), Some(false));
    assert!(complaint(&party.molt(&["chain", "admit", &certificate[2..]])).contains("length"));
    assert_eq!(party.molt(&["chain", "standing", "nobody"]).status.code(), Some(5));

    // The certificate is known over a restart, and the chain does not hold that up.
    wait("the cache", || fs::metadata(party.file("state").join("chain-stakes")).ok());
    let before = json(&party.molt(&["--json", "status"]))["uptime-s"].as_u64().unwrap();
    wait("the uptime to tell the processes apart", || {
        let status = json(&party.molt(&["--json", "status"]));
        status["uptime-s"].as_u64().filter(|uptime| *uptime > before)
    });
    json(&party.molt(&["--json", "restart"]));
    wait("the new process", || {
        let output = party.molt(&["--json", "status"]);
        output.status.success().then(|| json(&output))?["uptime-s"]
            .as_u64()
            .filter(|uptime| *uptime <= before)
    });
    check();
}
