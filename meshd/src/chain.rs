//! `molt chain`: stakes and payments, by hand. It talks to the chain of the configuration itself; no daemon is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use molt_contracts::chain::{ChainConfig, Deployment, HotKey, Payer, PayerConfig, Rpc, SystemClock, cli};
use molt_contracts::wallet::Sign as _;
use molt_mesh::MeshPrefix;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::config::Config;
use crate::state::{DEFAULT_STATE_DIR, StateDir};

/// Transactions under way, in the state directory.
const OUTBOX_FILE: &str = "chain-outbox";
/// Vouchers, in the state directory.
const LEDGER_FILE: &str = "chain-ledger";

/// The commands below `molt chain`.
#[derive(Subcommand)]
pub enum Command {
    /// The endpoints, the head of the chain, and our wallet
    Status(Place),
    /// A certificate that binds our wallet to this node for 30 days
    Bind {
        /// Where
        #[command(flatten)]
        place: Place,
        /// End the binding instead
        #[arg(long)]
        revoke: bool,
        /// Also say on the chain that this node is ours, so that others find it; costs gas
        #[arg(long)]
        claim: bool,
    },
    /// Put BUNKER at stake, from our wallet
    Stake {
        /// Where
        #[command(flatten)]
        place: Place,
        /// How much, in whole BUNKER
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        amount: u64,
    },
    /// The jobs we pay or work for, and what is vouched for and paid
    Jobs(Place),
}

/// Which node, and which chain.
#[derive(Args)]
pub struct Place {
    /// Configuration file with the table `[chain]`
    #[arg(long, default_value = "/etc/meshd/meshd.toml", value_name = "FILE")]
    config: PathBuf,
    /// Where the identity and the journals are kept
    #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    state_dir: PathBuf,
}

impl Command {
    /// Does it. Gives the answer as JSON and as text.
    ///
    /// # Errors
    /// With what is missing or refused.
    pub fn run(&self) -> anyhow::Result<(Value, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        match self {
            Self::Status(place) => {
                let chain = place.chain()?;
                let wallet = chain.wallet_key.as_deref().map(HotKey::load).transpose()?;
                let wallet = wallet.map(|key| key.wallet());
                let (mut rpc, clock) = (rpc(&chain)?, SystemClock::starting_now());
                let status = runtime.block_on(cli::status(&mut rpc, wallet, &clock))?;
                answer(&status, status.text())
            }
            Self::Bind { place, revoke, claim } => place.bind(&runtime, *revoke, *claim),
            Self::Stake { place, amount } => {
                let mut payer = place.payer(&runtime)?;
                let wallet = runtime.block_on(cli::stake(&mut payer, *amount))?;
                answer(&wallet, wallet.text())
            }
            Self::Jobs(place) => {
                let mut payer = place.payer(&runtime)?;
                let jobs = runtime.block_on(cli::jobs(&mut payer));
                answer(&jobs, jobs.text())
            }
        }
    }
}

impl Place {
    fn chain(&self) -> anyhow::Result<ChainConfig> {
        self.mesh_and_chain().map(|(_, chain)| chain)
    }

    fn mesh_and_chain(&self) -> anyhow::Result<(MeshPrefix, ChainConfig)> {
        let config = Config::read(&self.config)?;
        let chain =
            config.chain.with_context(|| format!("{} has no table [chain]", self.config.display()))?;
        Ok((config.network.prefix, chain))
    }

    fn bind(&self, runtime: &Runtime, revoke: bool, claim: bool) -> anyhow::Result<(Value, String)> {
        let (mesh, chain) = self.mesh_and_chain()?;
        let node = StateDir::open(&self.state_dir)?.load()?.identity;
        let (rpc, key) = (rpc(&chain)?, key(&chain)?);
        let clock = SystemClock::starting_now();
        let bound = cli::bind(&rpc, chain.network, mesh, &node, &key, revoke, &clock)?;
        if claim {
            let mut payer = self.payer(runtime)?;
            runtime.block_on(payer.claim_node(node.key()))?;
        }
        answer(&bound, bound.text())
    }

    /// The wallet at work, after it has gone on with what was under way.
    fn payer(&self, runtime: &Runtime) -> anyhow::Result<Payer> {
        let chain = self.chain()?;
        let state = StateDir::open(&self.state_dir)?;
        let file = |name: &str| Path::join(state.path(), name);
        let mut payer = Payer::open(PayerConfig {
            rpc: rpc(&chain)?,
            key: key(&chain)?,
            outbox: file(OUTBOX_FILE),
            ledger: file(LEDGER_FILE),
            max_fee_gwei: chain.max_fee_gwei,
            clock: Arc::new(SystemClock::starting_now()),
        })?;
        // An outage now is one for the command, too; jobs are shown without the chain.
        runtime.block_on(payer.resume()).ok();
        Ok(payer)
    }
}

fn rpc(chain: &ChainConfig) -> anyhow::Result<Rpc> {
    Ok(Rpc::new(&chain.rpc, Deployment::load(&chain.deployment, chain.chain_id)?)?)
}

fn key(chain: &ChainConfig) -> anyhow::Result<HotKey> {
    let path = chain.wallet_key.as_deref().context("[chain] names no wallet_key")?;
    Ok(HotKey::load(path)?)
}

fn answer(value: &impl Serialize, text: String) -> anyhow::Result<(Value, String)> {
    Ok((serde_json::to_value(value)?, text))
}
