//! A chain, the contracts on it, and everybody's keys.

use std::fs;
use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use abi::{BunkerToken, BunkerVerification};
use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use alloy::signers::local::PrivateKeySigner;
use molt_contracts::Wallet;
use molt_contracts::binding::{NetworkId, SignedBinding};
use molt_contracts::chain::{
    Clock, Deployment, HotKey, Payer, PayerConfig, Rpc, Settlement, SystemClock, Watcher, WatcherConfig,
};
use molt_contracts::settlement::Mode;
use molt_mesh::Time;
use molt_mesh::sign::Strict;
use serde_json::{Value, json};

mod abi {
    #![allow(clippy::too_many_arguments, reason = "generated from the ABI files")]

    alloy::sol!(
        #[sol(rpc)]
        BunkerToken,
        "../abi/BunkerToken.json"
    );
    alloy::sol!(
        #[sol(rpc)]
        BunkerVerification,
        "../abi/BunkerVerification.json"
    );
}

pub(crate) const NETWORK: NetworkId = NetworkId([9; 32]);
const CHAIN_ID: u64 = 84_532;
/// The first of the keys that every anvil knows. It deploys, and is arbiter and treasury.
const DEPLOYER: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Violation "Fraud" of the court: half of the stake.
const FRAUD: u8 = 4;
const BOND: u64 = 50_000;

/// The wallet with this number.
pub(crate) fn key(number: u8) -> HotKey {
    HotKey::from_bytes(&[number; 32]).unwrap()
}

/// What `molt chain bind` printed.
pub(crate) fn certificate(digits: &str) -> SignedBinding {
    let bytes: Vec<u8> =
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
    SignedBinding::decode(&bytes).unwrap()
}

/// The clocks of the system, and what the test adds.
#[derive(Debug)]
pub(crate) struct TestClock {
    system: SystemClock,
    ahead: Mutex<Duration>,
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        self.system.now() + *self.ahead.lock().unwrap()
    }

    fn unix(&self) -> u64 {
        self.system.unix() + self.ahead.lock().unwrap().as_secs()
    }
}

pub(crate) struct Rig {
    anvil: Option<Anvil>,
    port: u16,
    runtime: tokio::runtime::Runtime,
    /// Of the chain, when it was killed.
    state: Option<Value>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) deployment: Deployment,
    verification: Address,
    folder: tempfile::TempDir,
}

struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        // npm's `anvil` is a script that starts the program: both are in a group of their own.
        let group = format!("kill -KILL -{}", self.0.id());
        Command::new("sh").args(["-c", &group]).status().ok();
        self.0.wait().ok();
    }
}

impl Rig {
    /// A chain with the contracts on it.
    #[expect(clippy::disallowed_methods, reason = "the tests drive real processes in real time")]
    pub(crate) fn start() -> Self {
        // The rig has an HTTP client of its own, beside the one that is tested.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (anvil, port) = spawn(0);
        let path = deploy(port);
        let deployment = Deployment::load(&path, CHAIN_ID).unwrap();
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let verification = file["contracts"]["BunkerVerification"]["address"].as_str().unwrap();
        let clock = TestClock { system: SystemClock::since(Instant::now()), ahead: Mutex::default() };
        Self {
            anvil: Some(anvil),
            port,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            state: None,
            clock: Arc::new(clock),
            deployment,
            verification: verification.parse().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What it gives, if it ends by then; else it is dropped where it stands, as by a crash.
    pub(crate) fn run_for<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(limit, future).await.ok() })
    }

    /// Waits until it is so. With each look the daemon's clock moves on by its poll of the chain.
    pub(crate) fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..60 {
            if is_so() {
                return;
            }
            self.clock.advance(Duration::from_secs(12));
            // Longer than the watcher sleeps, and than a block takes.
            thread::sleep(Duration::from_millis(1_200));
        }
        panic!("waited for {what}");
    }

    /// The dead endpoint comes first: everything here is asked through the fail-over.
    fn rpc(&self, deployment: Deployment) -> Rpc {
        Rpc::new(&["http://127.0.0.1:9".into(), self.url()], deployment).unwrap()
    }

    pub(crate) fn watcher(&self, cache: Option<&Path>) -> Watcher {
        self.watcher_of(self.deployment, cache)
    }

    pub(crate) fn watcher_of(&self, deployment: Deployment, cache: Option<&Path>) -> Watcher {
        self.start_watcher(self.rpc(deployment), cache)
    }

    pub(crate) fn watcher_at(
        &self,
        urls: &[String],
        deployment: Deployment,
        cache: Option<&Path>,
    ) -> Watcher {
        self.start_watcher(Rpc::new(urls, deployment).unwrap(), cache)
    }

    fn start_watcher(&self, rpc: Rpc, cache: Option<&Path>) -> Watcher {
        Watcher::start(WatcherConfig {
            rpc,
            network: NETWORK,
            verifier: Arc::new(Strict),
            clock: self.clock.clone(),
            cache: cache.map(Path::to_owned),
            seed: 1,
        })
        .unwrap()
    }

    /// The daemon of this wallet, with what it wrote down before.
    pub(crate) fn payer(&self, number: u8) -> Payer {
        Payer::open(self.purse(number)).unwrap()
    }

    /// The same, paid by the escrow.
    pub(crate) fn settlement(&self, number: u8) -> Settlement {
        Settlement::open(Mode::Escrow, self.purse(number)).unwrap()
    }

    fn purse(&self, number: u8) -> PayerConfig {
        PayerConfig {
            rpc: self.rpc(self.deployment),
            key: key(number),
            outbox: self.folder().join(format!("outbox-{number}")),
            ledger: self.folder().join(format!("ledger-{number}")),
            max_fee_gwei: 5,
            clock: self.clock.clone(),
        }
    }

    fn deployer(&self) -> (DynProvider, Address) {
        let signer: PrivateKeySigner = DEPLOYER.parse().unwrap();
        let address = signer.address();
        let provider = ProviderBuilder::new()
            .wallet(EthereumWallet::from(signer))
            .connect_http(self.url().parse().unwrap());
        (provider.erased(), address)
    }

    fn raw(&self, method: &'static str, params: Value) -> Value {
        let (provider, _) = self.deployer();
        self.run(provider.raw_request(method.into(), params)).unwrap()
    }

    /// Puts Multicall3 where it is on real chains.
    pub(crate) fn install_multicall(&self) {
        let lines = include_str!("multicall3.hex").lines().filter(|line| !line.starts_with('#'));
        let code = format!("0x{}", lines.collect::<String>());
        self.raw("anvil_setCode", json!(["0xcA11bde05977b3631167028862bE2a173976CA11", code]));
    }

    /// Coins for gas, and BUNKER from the treasury.
    pub(crate) fn fund(&self, wallet: Wallet, bunker: u128) {
        self.raw("anvil_setBalance", json!([wallet.to_string(), "0xde0b6b3a7640000"]));
        let (provider, _) = self.deployer();
        let token = BunkerToken::new(self.address(self.deployment.token.address), provider);
        let transfer = token.transfer(self.address(wallet), U256::from(bunker));
        let receipt = self.run(async { transfer.send().await.unwrap().get_receipt().await.unwrap() });
        assert!(receipt.status());
    }

    pub(crate) fn balance(&self, wallet: Wallet) -> u128 {
        let (provider, _) = self.deployer();
        let token = BunkerToken::new(self.address(self.deployment.token.address), provider);
        let of = self.address(wallet);
        self.run(async { token.balanceOf(of).call().await.unwrap() }).to()
    }

    pub(crate) fn reputation(&self, wallet: Wallet) -> u16 {
        self.run(self.rpc(self.deployment).reputation(&wallet)).unwrap()
    }

    fn address(&self, wallet: Wallet) -> Address {
        Address::from(*wallet.as_bytes())
    }

    /// Brings a case of fraud against a wallet, and freezes its stake.
    pub(crate) fn accuse(&self, wallet: Wallet) {
        let (provider, _) = self.deployer();
        let token = BunkerToken::new(self.address(self.deployment.token.address), provider.clone());
        let court = BunkerVerification::new(self.verification, provider);
        let bond = U256::from(BOND) * U256::from(10).pow(U256::from(18));
        let accused = self.address(wallet);
        self.run(async {
            token.approve(self.verification, bond).send().await.unwrap().get_receipt().await.unwrap();
            let bring = court.bring(accused, FRAUD, false, B256::repeat_byte(1));
            assert!(bring.send().await.unwrap().get_receipt().await.unwrap().status());
            let freeze = court.freeze(U256::from(1));
            assert!(freeze.send().await.unwrap().get_receipt().await.unwrap().status());
        });
    }

    /// The arbiter upholds the case.
    pub(crate) fn decide(&self) {
        let (provider, _) = self.deployer();
        let court = BunkerVerification::new(self.verification, provider);
        let decide = court.decide(U256::from(1), true);
        self.run(async { assert!(decide.send().await.unwrap().get_receipt().await.unwrap().status()) });
    }

    /// Nobody appealed.
    pub(crate) fn execute(&self) {
        let (provider, _) = self.deployer();
        let court = BunkerVerification::new(self.verification, provider);
        let execute = court.execute(U256::from(1));
        self.run(async { assert!(execute.send().await.unwrap().get_receipt().await.unwrap().status()) });
    }

    /// Time passes on the chain.
    pub(crate) fn skip(&self, seconds: u64) {
        self.raw("evm_increaseTime", json!([seconds]));
        self.raw("evm_mine", json!([]));
    }

    /// Timestamp of the latest block.
    pub(crate) fn chain_time(&self) -> u64 {
        let block = self.raw("eth_getBlockByNumber", json!(["latest", false]));
        u64::from_str_radix(&block["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    }

    /// From here on transactions wait.
    pub(crate) fn hold_blocks(&self) {
        self.raw("evm_setAutomine", json!([false]));
        self.raw("evm_setIntervalMining", json!([0]));
    }

    pub(crate) fn make_blocks(&self) {
        self.raw("evm_mine", json!([]));
        self.raw("evm_setIntervalMining", json!([1]));
    }

    /// The chain is gone, with the transactions that waited.
    pub(crate) fn kill(&mut self) {
        self.state = Some(self.raw("anvil_dumpState", json!([])));
        self.anvil = None;
    }

    /// It is back, with the blocks it had.
    pub(crate) fn restore(&mut self) {
        let (anvil, _) = spawn(self.port);
        self.anvil = Some(anvil);
        let state = self.state.take().unwrap();
        assert_eq!(self.raw("anvil_loadState", json!([state])), json!(true));
    }
}

/// One of the programs of `contracts/package.json`.
fn tool(name: &str) -> PathBuf {
    let bin = contracts().join("node_modules/.bin").join(name);
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    };
    if bin.is_file() {
        return bin;
    }
    in_path()
        .unwrap_or_else(|| panic!("{name} is not there: run `npm install` in contracts/, which installs it"))
}

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn spawn(port: u16) -> (Anvil, u16) {
    // Blocks come with transactions, and each second besides, so that the head moves.
    let mut child = Command::new(tool("anvil"))
        .args(["--chain-id", &CHAIN_ID.to_string(), "--port", &port.to_string(), "--slots-in-an-epoch", "1"])
        .args(["--block-time", "1", "--mixed-mining"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let port = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "anvil ended: {:?}", child.wait());
        if let Some(address) = line.trim().strip_prefix("Listening on 127.0.0.1:") {
            break address.parse().unwrap();
        }
    };
    // It must be able to write on.
    thread::spawn(move || lines.read_to_end(&mut Vec::new()));
    (Anvil(child), port)
}

/// Runs the deployment script in a copy of the project, so that `deployments/84532.json` of the repository stays what it
/// is: the deployment on the real chain.
fn deploy(port: u16) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (from, to) = (contracts(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("contracts"));
    for name in ["sol", "tools", "foundry.toml", "params.json"] {
        copy(&from.join(name), &to.join(name));
    }
    fs::create_dir_all(to.join("deployments")).unwrap();
    fs::remove_file(to.join("node_modules")).ok();
    std::os::unix::fs::symlink(from.join("node_modules"), to.join("node_modules")).unwrap();
    let signer: PrivateKeySigner = DEPLOYER.parse().unwrap();
    let deployer = signer.address().to_string();
    let mut forge = Command::new(tool("forge"));
    forge.current_dir(&to).args(["script", "sol/script/Deploy.s.sol:Deploy", "--broadcast", "--rpc-url"]);
    forge.arg(format!("http://127.0.0.1:{port}")).args(["--private-key", DEPLOYER]);
    for part in ["PROPOSER", "GUARDIAN", "ARBITER", "TREASURY", "REWARDER"] {
        forge.env(part, &deployer);
    }
    let output = forge.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let written = to.join("deployments").join(format!("{CHAIN_ID}.json"));
    // The next test writes the same file.
    let own = to.join("deployments").join(format!("{CHAIN_ID}-{port}.json"));
    fs::rename(written, &own).unwrap();
    own
}

/// Copies what differs: what is the same need not be compiled again.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else if fs::read(from).ok() != fs::read(to).ok() {
        fs::copy(from, to).unwrap();
    }
}
