//! What `molt chain` does. The command line itself is `meshd`'s; here is what it shows.

use molt_mesh::{Identity, MeshPrefix};
use serde::Serialize;

use super::abi::{BunkerEscrow, BunkerStaking, BunkerToken};
use super::curve::{HotKey, address};
use super::payer::{Payer, PayerError};
use super::rpc::{Rpc, RpcError};
use super::watcher::Clock;
use crate::binding::{BindingReject, MAX_LIFE, NetworkId, NodeBinding};
use crate::tier::{TOKEN, Tier};
use crate::wallet::{Sign as _, Wallet, hex};

mod jobs;

pub use jobs::{Credit, JobLine, Jobs, Paper, bid, jobs, redeem, vouch};

/// Answer of `molt chain status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// Its latest block, if an endpoint answers.
    pub block: Option<u64>,
    /// How old that is in seconds.
    pub age_s: Option<u64>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The staking contract.
    pub staking: String,
    /// Our wallet, if there is one and an endpoint answers.
    pub wallet: Option<WalletStatus>,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Endpoint {
    /// Its host.
    pub host: String,
    /// "good", "untried", or what is wrong.
    pub state: String,
}

/// A wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WalletStatus {
    /// Its address.
    pub address: String,
    /// The chain's own coin, in wei.
    pub wei: String,
    /// BUNKER that it has, whole and rounded down.
    pub bunker: u64,
    /// BUNKER at stake.
    pub staked: u64,
    /// BUNKER on its way out.
    pub thawing: u64,
    /// BUNKER that the escrow owes it.
    pub owed: u64,
    /// Its tier.
    pub tier: String,
    /// Whether a case has frozen the stake.
    pub frozen: bool,
    /// Score, 0 to 1000.
    pub reputation: u16,
}

/// Looks at the chain and at our wallet. An outage is part of the answer.
///
/// # Errors
/// [`RpcError`] if an endpoint answers something else.
pub async fn status(rpc: &mut Rpc, wallet: Option<Wallet>, clock: &dyn Clock) -> Result<Status, RpcError> {
    let latest = rpc.latest().await.ok();
    let wallet = match wallet {
        Some(wallet) if latest.is_some() => Some(wallet_status(rpc, wallet).await?),
        _ => None,
    };
    let endpoints =
        rpc.endpoints().map(|(host, state)| Endpoint { host: host.to_owned(), state: state.to_string() });
    let endpoints = endpoints.collect();
    Ok(Status {
        schema: "molt.chain.status/1",
        chain_id: rpc.deployment().chain_id,
        block: latest.map(|(number, _)| number),
        age_s: latest.map(|(_, timestamp)| clock.unix().saturating_sub(timestamp)),
        endpoints,
        staking: rpc.deployment().staking.address.to_string(),
        wallet,
    })
}

async fn wallet_status(rpc: &mut Rpc, wallet: Wallet) -> Result<WalletStatus, RpcError> {
    let it = *rpc.deployment();
    let provider = address(&wallet);
    let whole = |amount: u128| u64::try_from(amount / TOKEN).unwrap_or(u64::MAX);
    let staked = rpc.view(it.staking.address, &BunkerStaking::providerOfCall { provider }).await?;
    let tier =
        Tier::from_number(rpc.view(it.staking.address, &BunkerStaking::tierOfCall { provider }).await?);
    let tier = tier.ok_or_else(|| RpcError::Garbled("a tier that does not exist".into()))?;
    Ok(WalletStatus {
        address: wallet.to_string(),
        wei: rpc.balance(&wallet).await?.to_string(),
        bunker: whole(
            rpc.view(it.token.address, &BunkerToken::balanceOfCall { account: provider })
                .await?
                .saturating_to(),
        ),
        staked: whole(staked.active.to()),
        thawing: whole(staked.thawing.to()),
        owed: whole(
            rpc.view(it.escrow.address, &BunkerEscrow::owedCall { who: provider }).await?.saturating_to(),
        ),
        tier: tier.to_string(),
        frozen: rpc.view(it.staking.address, &BunkerStaking::frozenCall { provider }).await?,
        reputation: rpc.reputation(&wallet).await?,
    })
}

impl Status {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("chain      {}\n", self.chain_id);
        match (self.block, self.age_s) {
            (Some(block), Some(age)) => text += &format!("block      {block}, {age} s old\n"),
            _ => text.push_str("block      unknown: no endpoint answers\n"),
        }
        for endpoint in &self.endpoints {
            text += &format!("endpoint   {}: {}\n", endpoint.host, endpoint.state);
        }
        text += &format!("staking    {}\n", self.staking);
        if let Some(wallet) = &self.wallet {
            text += &wallet.text();
        }
        text
    }
}

impl WalletStatus {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { address, wei, bunker, staked, thawing, owed, tier, reputation, .. } = self;
        let frozen = if self.frozen { ", frozen" } else { "" };
        format!(
            "wallet     {address}\ngas        {wei} wei\n\
             bunker     {bunker} ({staked} staked, {thawing} thawing, {owed} owed)\n\
             tier       {tier}{frozen}\nreputation {reputation}\n"
        )
    }
}

/// Answer of `molt chain bind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bound {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The node.
    pub node: String,
    /// The wallet.
    pub wallet: String,
    /// When the certificate ends, in seconds since 1970.
    pub expires_at: u64,
    /// The certificate in hexadecimal digits.
    pub certificate: String,
}

/// Binds our wallet to our node for 30 days, or ends that. The time is the sequence number: a later certificate replaces
/// an earlier one, wherever it was made.
///
/// # Errors
/// [`BindingReject`] if it cannot be signed.
pub fn bind(
    rpc: &Rpc,
    network: NetworkId,
    mesh: MeshPrefix,
    node: &Identity,
    key: &HotKey,
    revoke: bool,
    clock: &dyn Clock,
) -> Result<Bound, BindingReject> {
    let now = clock.unix();
    let binding = NodeBinding {
        node: *node.key(),
        wallet: key.wallet(),
        address: node.address(mesh),
        network,
        issued_at: now,
        expires_at: if revoke { now } else { now.saturating_add(MAX_LIFE) },
        seq: now,
    };
    let signed = binding.sign(&rpc.deployment().staking_domain(), node, key)?;
    Ok(Bound {
        schema: "molt.chain.bind/1",
        node: node.key().to_string(),
        wallet: key.wallet().to_string(),
        expires_at: binding.expires_at,
        certificate: hex(&signed.encode()),
    })
}

impl Bound {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "node        {}\nwallet      {}\nexpires     {}\ncertificate {}\n",
            self.node, self.wallet, self.expires_at, self.certificate
        )
    }
}

/// Stakes so many whole BUNKER, and gives the wallet as it is then.
///
/// # Errors
/// [`PayerError`] says why not.
pub async fn stake(payer: &mut Payer, bunker: u64) -> Result<WalletStatus, PayerError> {
    payer.stake(u128::from(bunker) * TOKEN).await?;
    let wallet = payer.wallet();
    Ok(wallet_status(payer.rpc(), wallet).await?)
}
