//! `molt chain`: stakes and payments, by hand. It talks to the chain of the configuration itself; the daemon is asked for what
//! it knows, and told of certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use molt_contracts::Wallet;
use molt_contracts::chain::{
    ChainConfig, Clock as _, Deployment, HotKey, Payer, PayerConfig, Rpc, Settlement, SystemClock, cli,
};
use molt_contracts::escrow::SignedBid;
use molt_contracts::settlement::{JobId, Mode, SignedVoucher, Terms};
use molt_contracts::wallet::Sign as _;
use molt_mesh::{AgentId, MeshPrefix};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::api::{self, Request};
use crate::client::{Client, ClientError};
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
    /// What the daemon knows of the chain, and what a node may do by it
    Standing {
        /// Identity key, address or name of the node
        node: Option<String>,
    },
    /// Hand the daemon a certificate that somebody else made with `bind`
    Admit {
        /// The certificate
        certificate: String,
    },
    /// A certificate that binds our wallet to this node for 30 days. A running daemon is told
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
    /// Jobs: who works for whom, what is vouched for and what is paid
    Jobs {
        /// Where
        #[command(flatten)]
        place: Place,
        /// What to do; lists our jobs unless given
        #[command(subcommand)]
        command: Option<JobCommand>,
    },
}

/// The commands below `molt chain jobs`. What is signed is printed in hexadecimal digits, to be handed to the other side.
#[derive(Subcommand)]
pub enum JobCommand {
    /// The jobs we pay or work for (default)
    List,
    /// Offer to run a job
    Bid {
        /// Wallet of who asks for it
        #[arg(long, value_name = "WALLET")]
        requester: Wallet,
        /// The deployment; with the requester it makes the job
        #[arg(long, value_name = "UUID")]
        deployment: AgentId,
        /// What a second costs, in the smallest unit of BUNKER
        #[arg(long, value_name = "AMOUNT")]
        per_second: u128,
        /// For how many seconds we would work at most
        #[arg(long, value_name = "SECONDS")]
        max_duration: u32,
        /// For how many seconds the offer stands
        #[arg(long, default_value_t = 3_600, value_name = "SECONDS")]
        valid: u64,
    },
    /// Hire three providers: opens and funds the job in one transaction. Doing it again changes nothing
    Open {
        /// The deployment
        #[arg(long, value_name = "UUID")]
        deployment: AgentId,
        /// SHA-256 of what is to be run
        #[arg(long, value_name = "HASH")]
        spec: JobId,
        /// For how many seconds
        #[arg(long, value_name = "SECONDS")]
        duration: u32,
        /// Their bids
        #[arg(num_args = 3, required = true, value_name = "BID")]
        bids: Vec<SignedBid>,
    },
    /// Write down what requester and provider agreed on; with an escrow it must be what the chain says
    Agree {
        /// The job
        #[arg(long)]
        job: JobId,
        /// Who pays
        #[arg(long, value_name = "WALLET")]
        requester: Wallet,
        /// Who works
        #[arg(long, value_name = "WALLET")]
        provider: Wallet,
        /// What a second costs, in the smallest unit of BUNKER
        #[arg(long, value_name = "AMOUNT")]
        per_second: u128,
        /// For how many seconds at most
        #[arg(long, value_name = "SECONDS")]
        duration: u32,
    },
    /// As the requester: sign for the seconds that a provider has worked in total
    Vouch {
        /// The job
        job: JobId,
        /// Who worked
        provider: Wallet,
        /// For how long, since the job began
        seconds: u32,
    },
    /// As the provider: take a voucher, and have paid what can be
    Redeem {
        /// The voucher
        voucher: SignedVoucher,
    },
    /// Give back to the requester what nobody earned, once the time for claims is over
    Close {
        /// The job
        job: JobId,
    },
    /// Fetch what the escrow owes our wallet
    Withdraw,
}

/// Which node, and which chain.
#[derive(Args)]
pub struct Place {
    /// Configuration file with the table `[chain]`
    #[arg(long, global = true, default_value = "/etc/meshd/meshd.toml", value_name = "FILE")]
    config: PathBuf,
    /// Where the identity and the journals are kept
    #[arg(long, global = true, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    state_dir: PathBuf,
}

impl Command {
    /// Does it. Gives the answer as JSON and as text.
    ///
    /// # Errors
    /// With what is missing or refused.
    pub fn run(&self, socket: &Path) -> anyhow::Result<(Value, String)> {
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
            Self::Standing { node } => {
                let request = Request::ChainStanding(api::Standing { node: node.clone() });
                let value = Client::ask(socket, &request)?.answer()?;
                let standing = serde_json::from_value(value.clone()).map_err(ClientError::Garbled)?;
                Ok((value, standing_text(&standing)))
            }
            Self::Admit { certificate } => {
                let admitted = admit(socket, certificate.clone())?;
                let what = if admitted.new { "admitted" } else { "known already" };
                let text = format!("{what}: {}\n", admitted.node);
                answer(&admitted, text)
            }
            Self::Bind { place, revoke, claim } => place.bind(socket, &runtime, *revoke, *claim),
            Self::Stake { place, amount } => {
                let mut payer = place.payer(&runtime)?;
                let wallet = runtime.block_on(cli::stake(&mut payer, *amount))?;
                answer(&wallet, wallet.text())
            }
            Self::Jobs { place, command } => {
                command.as_ref().unwrap_or(&JobCommand::List).run(place, &runtime)
            }
        }
    }
}

impl JobCommand {
    fn run(&self, place: &Place, runtime: &Runtime) -> anyhow::Result<(Value, String)> {
        let chain = place.chain()?;
        let opened = || place.settlement(&chain, runtime);
        match self {
            Self::List => {
                let jobs = runtime.block_on(cli::jobs(&mut opened()?));
                answer(&jobs, jobs.text())
            }
            Self::Bid { requester, deployment, per_second, max_duration, valid } => {
                let job = JobId::new(requester, deployment.as_bytes());
                let until = SystemClock::starting_now().unix().saturating_add(*valid);
                let (rpc, key) = (rpc(&chain)?, key(&chain)?);
                let paper = cli::bid(&rpc, &key, job, *per_second, *max_duration, until)?;
                answer(&paper, paper.text())
            }
            Self::Open { deployment, spec, duration, bids } => {
                anyhow::ensure!(
                    chain.settlement == Mode::Escrow,
                    "this takes [chain] settlement = \"escrow\""
                );
                let bids = bids.as_slice().try_into().context("a job takes three bids")?;
                let mut payer = place.payer(runtime)?;
                let open = payer.open_job(*deployment.as_bytes(), spec.0, *duration, bids);
                let job = runtime.block_on(open)?.to_string();
                answer(&json!({ "schema": "molt.chain.job/1", "job": job }), format!("{job}\n"))
            }
            Self::Agree { job, requester, provider, per_second, duration } => {
                let (job, requester, provider) = (*job, *requester, *provider);
                let terms = Terms { job, requester, provider, per_second: *per_second, duration: *duration };
                let mut settlement = paid(opened()?)?;
                runtime.block_on(settlement.handle_terms(terms))?;
                let jobs = runtime.block_on(cli::jobs(&mut settlement));
                answer(&jobs, jobs.text())
            }
            Self::Vouch { job, provider, seconds } => {
                let paper = cli::vouch(&mut paid(opened()?)?, *job, *provider, *seconds)?;
                let paper = paper.context(FREE)?;
                answer(&paper, paper.text())
            }
            Self::Redeem { voucher } => {
                let mut settlement = paid(opened()?)?;
                let credit = runtime.block_on(cli::redeem(&mut settlement, voucher))?;
                answer(&credit, credit.text())
            }
            Self::Close { job } => {
                runtime.block_on(place.payer(runtime)?.close(*job))?;
                answer(&json!({ "schema": "molt.chain.job/1", "job": job.to_string() }), "closed\n".into())
            }
            Self::Withdraw => {
                let amount = runtime.block_on(place.payer(runtime)?.withdraw())?.to_string();
                answer(&json!({ "schema": "molt.chain.paid/1", "amount": amount }), format!("{amount}\n"))
            }
        }
    }
}

const FREE: &str = "work is free here: [chain] settlement is \"none\"; set it to \"ledger\" or \"escrow\"";

/// Refuses what would say something of a payment that there is not.
fn paid(settlement: Settlement) -> anyhow::Result<Settlement> {
    anyhow::ensure!(!matches!(settlement, Settlement::None), FREE);
    Ok(settlement)
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

    fn bind(
        &self,
        socket: &Path,
        runtime: &Runtime,
        revoke: bool,
        claim: bool,
    ) -> anyhow::Result<(Value, String)> {
        let (mesh, chain) = self.mesh_and_chain()?;
        let node = StateDir::open(&self.state_dir)?.load()?.identity;
        let (rpc, key) = (rpc(&chain)?, key(&chain)?);
        let clock = SystemClock::starting_now();
        let bound = cli::bind(&rpc, chain.network, mesh, &node, &key, revoke, &clock)?;
        if claim {
            let mut payer = self.payer(runtime)?;
            runtime.block_on(payer.claim_node(node.key()))?;
        }
        let daemon = match admit(socket, bound.certificate.clone()) {
            Ok(_) => "told".into(),
            Err(error) => format!("not told: {error:#}"),
        };
        let (mut value, mut text) = answer(&bound, bound.text())?;
        text += &format!("daemon      {daemon}\n");
        if let Some(value) = value.as_object_mut() {
            value.insert("daemon".into(), daemon.into());
        }
        Ok((value, text))
    }

    /// The wallet at work, after it has gone on with what was under way.
    fn payer(&self, runtime: &Runtime) -> anyhow::Result<Payer> {
        let mut payer = Payer::open(self.purse(&self.chain()?)?)?;
        // An outage now is one for the command, too.
        runtime.block_on(payer.resume()).ok();
        Ok(payer)
    }

    /// Who pays, after it has gone on with what was under way.
    fn settlement(&self, chain: &ChainConfig, runtime: &Runtime) -> anyhow::Result<Settlement> {
        if chain.settlement == Mode::None {
            return Ok(Settlement::None);
        }
        let mut settlement = Settlement::open(chain.settlement, self.purse(chain)?)?;
        // During an outage vouchers are signed and taken as ever.
        runtime.block_on(settlement.resume()).ok();
        Ok(settlement)
    }

    fn purse(&self, chain: &ChainConfig) -> anyhow::Result<PayerConfig> {
        let state = StateDir::open(&self.state_dir)?;
        let file = |name: &str| Path::join(state.path(), name);
        Ok(PayerConfig {
            rpc: rpc(chain)?,
            key: key(chain)?,
            outbox: file(OUTBOX_FILE),
            ledger: file(LEDGER_FILE),
            max_fee_gwei: chain.max_fee_gwei,
            clock: Arc::new(SystemClock::starting_now()),
        })
    }
}

fn admit(socket: &Path, certificate: String) -> anyhow::Result<api::ChainAdmitted> {
    let request = Request::ChainAdmit(api::Certificate { certificate });
    let value = Client::ask(socket, &request)?.answer()?;
    Ok(serde_json::from_value(value).map_err(ClientError::Garbled)?)
}

/// `molt chain standing` for people.
fn standing_text(it: &api::ChainStanding) -> String {
    let since = it.down_s.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
    let block = it.block.map_or_else(|| "none".into(), |block| block.to_string());
    let mut text = format!("chain      {}{since}\nblock      {block}\n", it.health);
    for endpoint in &it.endpoints {
        text += &format!("endpoint   {}: {}\n", endpoint.host, endpoint.state);
    }
    text += &format!("memory     {} wallets, {} nodes bound\n", it.wallets, it.bindings);
    let Some(node) = &it.node else { return text };
    text += &format!("node       {}\n", node.key);
    if let Some(wallet) = &node.wallet {
        text += &format!("wallet     {wallet}\n");
    }
    let age = node.age_s.map_or_else(String::new, |seconds| format!(", read {seconds} s ago"));
    let frozen = if node.frozen { ", frozen" } else { "" };
    let stake = node.tier.as_ref().unwrap_or(&node.stake);
    text += &format!("stake      {stake}{frozen}{age}\n");
    text += &format!("messages   {} a second (class {})\n", node.messages_per_s, node.class);
    text += &format!("work here  {}\n", node.refused.as_deref().unwrap_or("allowed"));
    text
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
