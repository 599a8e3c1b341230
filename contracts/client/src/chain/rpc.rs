//! Endpoints, fail-over between them, and every question that is asked.
//!
//! An endpoint is used after it has shown that it serves the right chain and the right contracts; one that serves others is
//! never asked again. A question goes to the endpoint that answered last; where it does not answer within [`CALL_LIMIT`],
//! the next is asked. What a contract refuses is an answer, and no reason to ask elsewhere.
//!
//! Stakes are read with Multicall3, two calls for a hundred wallets. A chain without it is asked call by call, which is
//! right for a chain of tests and too slow for many wallets far away.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use alloy::consensus::BlockHeader as _;
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::Ethereum;
use alloy::primitives::{Address, B256, Bytes, TxHash, address as constant, keccak256};
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{Filter, TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolEvent as _};
use alloy::transports::http::Http;
use alloy::transports::{RpcError as Transport, TransportErrorKind};
use reqwest::{Client, Url};
use tokio::time::timeout;
use tracing::{error, warn};

use super::abi::{BunkerReputation, BunkerStaking, Multicall3};
use super::config::{ConfigError, Deployment, Host};
use super::curve::{address, wallet};
use crate::oracle::{Answer, BlockRef, Request, Response, SAFE_DISTANCE, Stake};
use crate::tier::Tier;
use crate::wallet::{Wallet, hex};

/// Time limit of a question at one endpoint. A healthy one answers in a tenth of it.
pub const CALL_LIMIT: Duration = Duration::from_secs(2);
/// Where Multicall3 is, on every chain that has it.
const MULTICALL: Address = constant!("cA11bde05977b3631167028862bE2a173976CA11");

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The answer is not one to this question.
    #[error("the chain answered something else: {0}")]
    Garbled(String),
    /// The contract, or the endpoint on its behalf, refused.
    #[error("the chain refused: {message}")]
    Refused {
        /// What it said.
        message: String,
        /// Error of the contract, as it encodes it.
        data: Vec<u8>,
    },
    /// No endpoint answered.
    #[error("no RPC endpoint answers: {0}")]
    Unreachable(String),
    /// Every endpoint that answers serves another chain, or other contracts.
    #[error("the RPC endpoints serve another chain, or other contracts: {0}")]
    Wrong(String),
}

/// What is known of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointState {
    /// It did not answer the last time.
    Down(String),
    /// It serves our contracts.
    Good,
    /// It was not asked yet.
    Untried,
    /// It serves another chain, or other contracts.
    Wrong(String),
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(reason) => write!(f, "down: {reason}"),
            Self::Good => f.write_str("good"),
            Self::Untried => f.write_str("untried"),
            Self::Wrong(reason) => write!(f, "wrong: {reason}"),
        }
    }
}

#[derive(Debug)]
struct Endpoint {
    host: String,
    provider: RootProvider,
    state: EndpointState,
    has_multicall: bool,
}

/// The endpoints of a chain.
#[derive(Debug)]
pub struct Rpc {
    deployment: Deployment,
    endpoints: Vec<Endpoint>,
    /// The one that answered last.
    current: usize,
}

impl Rpc {
    /// Takes the endpoints; nothing is asked yet.
    ///
    /// # Errors
    /// [`ConfigError`] if there is none, or one is no URL.
    pub fn new(urls: &[String], deployment: Deployment) -> Result<Self, ConfigError> {
        // The one for the whole process; where another part of it has chosen before, that one does.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder()
            .timeout(CALL_LIMIT)
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        let endpoint = |url: &String| {
            let parsed: Url = url.parse().map_err(|_| ConfigError::Endpoint)?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(ConfigError::Endpoint);
            }
            let client = RpcClient::new(Http::with_client(client.clone(), parsed), false);
            Ok(Endpoint {
                host: Host(url).to_string(),
                provider: RootProvider::new(client),
                state: EndpointState::Untried,
                has_multicall: false,
            })
        };
        let endpoints = urls.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        Ok(Self { deployment, endpoints, current: 0 })
    }

    /// Where the contracts are.
    #[must_use]
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Host and state of each endpoint, in the order of the configuration.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, &EndpointState)> {
        self.endpoints.iter().map(|endpoint| (endpoint.host.as_str(), &endpoint.state))
    }

    /// Asks what the oracle wants to know.
    ///
    /// # Errors
    /// [`RpcError`] if no endpoint answers.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, RpcError> {
        let deployment = self.deployment;
        match request {
            Request::Head => self.each(async |at| head(&at.provider).await).await,
            Request::Logs { from, to } => {
                self.each(async |at| logs(&at.provider, &deployment, *from, *to).await).await
            }
            Request::Stakes { wallets, latest, safe } => {
                self.each(async |at| stakes(at, &deployment, wallets, latest.number, *safe).await).await
            }
        }
    }

    /// Score of a wallet at the latest block.
    ///
    /// # Errors
    /// [`RpcError`] if no endpoint answers.
    pub async fn reputation(&mut self, of: &Wallet) -> Result<u16, RpcError> {
        let call = BunkerReputation::scoreOfCall { provider: address(of) };
        self.view(self.deployment.reputation.address, &call).await
    }

    /// Calls a view of a contract at the latest block.
    pub(crate) async fn view<C: SolCall>(
        &mut self,
        contract: Wallet,
        call: &C,
    ) -> Result<C::Return, RpcError> {
        let input = Bytes::from(call.abi_encode());
        let request = TransactionRequest::default().to(address(&contract)).input(input.into());
        let answer =
            self.each(async |at| at.provider.call(request.clone()).await.map_err(Failure::from)).await?;
        C::abi_decode_returns(&answer).map_err(|error| RpcError::Garbled(error.to_string()))
    }

    /// Number and timestamp of the latest block.
    pub(crate) async fn latest(&mut self) -> Result<(u64, u64), RpcError> {
        self.each(async |at| {
            let block = at.provider.get_block_by_number(BlockNumberOrTag::Latest).await?;
            let block = block.ok_or_else(|| Failure::Garbled("there is no latest block".into()))?;
            Ok((block.header.number(), block.header.timestamp()))
        })
        .await
    }

    /// The nonce after the last transaction of a wallet that is in a block.
    pub(crate) async fn nonce(&mut self, of: &Wallet) -> Result<u64, RpcError> {
        let of = address(of);
        self.each(async |at| Ok(at.provider.get_transaction_count(of).await?)).await
    }

    /// What a wallet has of the chain's own coin, in wei.
    pub(crate) async fn balance(&mut self, of: &Wallet) -> Result<u128, RpcError> {
        let of = address(of);
        let balance = self.each(async |at| Ok(at.provider.get_balance(of).await?)).await?;
        Ok(balance.saturating_to())
    }

    /// Gas of a transaction, and the highest fee and tip per unit that will get it into a block soon.
    pub(crate) async fn price(
        &mut self,
        request: &TransactionRequest,
    ) -> Result<(u64, u128, u128), RpcError> {
        self.each(async |at| {
            let gas = at.provider.estimate_gas(request.clone()).await?;
            let fees = at.provider.estimate_eip1559_fees().await?;
            Ok((gas, fees.max_fee_per_gas, fees.max_priority_fee_per_gas))
        })
        .await
    }

    /// Hands a signed transaction in.
    pub(crate) async fn send(&mut self, raw: &[u8]) -> Result<(), RpcError> {
        self.each(async |at| {
            drop(at.provider.send_raw_transaction(raw).await?);
            Ok(())
        })
        .await
    }

    /// The receipt of a transaction, if it is in a block.
    pub(crate) async fn receipt(&mut self, hash: &[u8; 32]) -> Result<Option<TransactionReceipt>, RpcError> {
        let hash = TxHash::from(*hash);
        self.each(async |at| Ok(at.provider.get_transaction_receipt(hash).await?)).await
    }

    /// Asks one endpoint after the other until one answers.
    async fn each<T>(&mut self, ask: impl AsyncFn(&Endpoint) -> Result<T, Failure>) -> Result<T, RpcError> {
        let mut reasons = Vec::new();
        let count = self.endpoints.len();
        for step in 0..count {
            let at = (self.current + step) % count;
            let deployment = self.deployment;
            let Some(endpoint) = self.endpoints.get_mut(at) else { continue };
            if let EndpointState::Wrong(_) = endpoint.state {
                continue;
            }
            let failure = match endpoint.answer(&deployment, &ask).await {
                Ok(answer) => {
                    self.current = at;
                    return Ok(answer);
                }
                Err(Failure::Refused { message, data }) => {
                    self.current = at;
                    return Err(RpcError::Refused { message, data });
                }
                Err(failure) => failure,
            };
            let reason = failure.to_string();
            if matches!(endpoint.state, EndpointState::Wrong(_)) {
                error!(endpoint = endpoint.host, reason, "this endpoint is not used");
            } else if endpoint.state == EndpointState::Good {
                warn!(endpoint = endpoint.host, reason, "the endpoint does not answer");
            }
            if !matches!(endpoint.state, EndpointState::Wrong(_)) {
                endpoint.state = EndpointState::Down(reason.clone());
            }
            reasons.push(format!("{}: {reason}", endpoint.host));
        }
        let wrong: Vec<String> = self
            .endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.state {
                EndpointState::Wrong(reason) => Some(format!("{}: {reason}", endpoint.host)),
                _ => None,
            })
            .collect();
        if wrong.len() == count {
            return Err(RpcError::Wrong(wrong.join(", ")));
        }
        Err(RpcError::Unreachable(reasons.join(", ")))
    }
}

impl Endpoint {
    async fn answer<T>(
        &mut self,
        deployment: &Deployment,
        ask: &impl AsyncFn(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.state != EndpointState::Good {
            // It may be a new server behind the old name, so it shows again whom it serves.
            self.check(deployment).await?;
            self.state = EndpointState::Good;
        }
        within(ask(self)).await
    }

    /// Chain id, and the code of each contract.
    async fn check(&mut self, deployment: &Deployment) -> Result<(), Failure> {
        let chain_id = within(async { Ok(self.provider.get_chain_id().await?) }).await?;
        if chain_id != deployment.chain_id {
            return Err(self.is_wrong(format!("it serves chain {chain_id}, not {}", deployment.chain_id)));
        }
        for (name, contract) in deployment.contracts() {
            let at = address(&contract.address);
            let code = within(async { Ok(self.provider.get_code_at(at).await?) }).await?;
            // An endpoint that is still catching up knows the chain and not yet the contract.
            if code.is_empty() {
                return Err(Failure::Garbled(format!("there is no contract at {}", contract.address)));
            }
            if keccak256(&code).0 != contract.code_hash.0 {
                return Err(self.is_wrong(format!("the code of {name} at {} is another", contract.address)));
            }
        }
        let multicall = within(async { Ok(self.provider.get_code_at(MULTICALL).await?) }).await?;
        self.has_multicall = !multicall.is_empty();
        Ok(())
    }

    fn is_wrong(&mut self, reason: String) -> Failure {
        self.state = EndpointState::Wrong(reason.clone());
        Failure::Garbled(reason)
    }
}

/// Why one endpoint gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Garbled(String),
    #[error("it does not answer within {} s", CALL_LIMIT.as_secs())]
    Late,
    #[error("{message}")]
    Refused { message: String, data: Vec<u8> },
    #[error("{0}")]
    Transport(String),
}

/// JSON-RPC codes of an answer that another endpoint would give, too: the call reverted (3), or the transaction is refused
/// by the rules of the chain (-32000, which also is "no such block", and then another may know it).
impl From<Transport<TransportErrorKind>> for Failure {
    fn from(error: Transport<TransportErrorKind>) -> Self {
        let Transport::ErrorResp(payload) = &error else {
            // What the client says of it names the URL, which may hold a key.
            return Self::Transport(match error {
                Transport::Transport(TransportErrorKind::HttpError(http)) => {
                    format!("HTTP status {}", http.status)
                }
                Transport::Transport(_) => "it cannot be reached".into(),
                _ => "its answer is not JSON-RPC".into(),
            });
        };
        let data = payload.as_revert_data();
        let message = payload.message.to_string();
        let is_execution = data.is_some()
            || payload.code == 3
            || ["nonce", "insufficient", "underpriced", "already known", "already imported", "revert"]
                .iter()
                .any(|word| message.contains(word));
        if is_execution {
            Self::Refused { message, data: data.map(|data| data.to_vec()).unwrap_or_default() }
        } else {
            Self::Transport(message)
        }
    }
}

async fn within<T>(ask: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(CALL_LIMIT, ask).await.unwrap_or(Err(Failure::Late))
}

async fn head(provider: &RootProvider<Ethereum>) -> Result<Response, Failure> {
    let block = provider.get_block_by_number(BlockNumberOrTag::Latest).await?;
    let block = block.ok_or_else(|| Failure::Garbled("there is no latest block".into()))?;
    let latest = BlockRef { number: block.header.number(), hash: block.header.hash.0 };
    // Some endpoints know no `safe`; that is no failure of theirs.
    let safe = provider.get_block_by_number(BlockNumberOrTag::Safe).await.ok().flatten();
    let safe = safe.map_or(latest.number.saturating_sub(SAFE_DISTANCE), |block| block.header.number());
    Ok(Response::Head { latest, age: age(block.header.timestamp()), safe })
}

/// A block from the future is young.
#[expect(clippy::disallowed_methods, reason = "this is the driver; the age of a head is what it brings")]
fn age(timestamp: u64) -> Duration {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(timestamp);
    std::time::SystemTime::now().duration_since(at).unwrap_or_default()
}

/// Events after which a tier or a freeze may be another.
async fn logs(
    provider: &RootProvider<Ethereum>,
    deployment: &Deployment,
    from: u64,
    to: u64,
) -> Result<Response, Failure> {
    // The wallet is the first indexed field, or, where a case is about one, the second.
    let first: [B256; 6] = [
        BunkerStaking::Staked::SIGNATURE_HASH,
        BunkerStaking::ThawStarted::SIGNATURE_HASH,
        BunkerStaking::Withdrawn::SIGNATURE_HASH,
        BunkerStaking::Slashed::SIGNATURE_HASH,
        BunkerStaking::Frozen::SIGNATURE_HASH,
        BunkerStaking::Migrated::SIGNATURE_HASH,
    ];
    let second = [BunkerStaking::CaseOpened::SIGNATURE_HASH, BunkerStaking::CaseClosed::SIGNATURE_HASH];
    let filter = Filter::new()
        .address(address(&deployment.staking.address))
        .event_signature(first.iter().chain(&second).copied().collect::<Vec<_>>())
        .from_block(from)
        .to_block(to);
    let mut named = Vec::new();
    for log in provider.get_logs(&filter).await? {
        let topics = log.topics();
        let topic = match topics.first() {
            Some(event) if first.contains(event) => topics.get(1),
            _ => topics.get(2),
        };
        let (Some(number), Some(hash), Some(index), Some(topic)) =
            (log.block_number, log.block_hash, log.log_index, topic)
        else {
            return Err(Failure::Garbled("a log without its place".into()));
        };
        named.push((BlockRef { number, hash: hash.0 }, index, wallet(Address::from_word(*topic))));
    }
    Ok(Response::Logs(named))
}

async fn stakes(
    at: &Endpoint,
    deployment: &Deployment,
    wallets: &[Wallet],
    latest: u64,
    safe: u64,
) -> Result<Response, Failure> {
    let calls: Vec<Bytes> = wallets
        .iter()
        .flat_map(|wallet| {
            let provider = address(wallet);
            let tier = BunkerStaking::tierOfCall { provider }.abi_encode();
            let frozen = BunkerStaking::frozenCall { provider }.abi_encode();
            [tier.into(), frozen.into()]
        })
        .collect();
    let latest = calls_at(at, deployment, &calls, latest).await?;
    let safe = calls_at(at, deployment, &calls, safe).await?;
    let pair = |answers: &[Option<Bytes>]| match answers {
        [tier, frozen] => stake(tier.as_ref()?, frozen.as_ref()?),
        _ => None,
    };
    let answers = latest.chunks(2).zip(safe.chunks(2));
    Ok(Response::Stakes(
        answers.map(|(latest, safe)| Some(Answer { latest: pair(latest)?, safe: pair(safe)? })).collect(),
    ))
}

/// No bytes, as where there was no contract yet, are no tier.
fn stake(tier: &Bytes, frozen: &Bytes) -> Option<Stake> {
    let tier = Tier::from_number(BunkerStaking::tierOfCall::abi_decode_returns(tier).ok()?)?;
    let frozen = BunkerStaking::frozenCall::abi_decode_returns(frozen).ok()?;
    Some(Stake { tier, frozen })
}

/// Calls the staking contract at a block. `None` for a call that is refused.
async fn calls_at(
    at: &Endpoint,
    deployment: &Deployment,
    calls: &[Bytes],
    block: u64,
) -> Result<Vec<Option<Bytes>>, Failure> {
    let target = address(&deployment.staking.address);
    let block = BlockId::number(block);
    if !at.has_multicall {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            let request = TransactionRequest::default().to(target).input(call.clone().into());
            answers.push(match at.provider.call(request).block(block).await.map_err(Failure::from) {
                Ok(answer) => Some(answer),
                Err(Failure::Refused { .. }) => None,
                Err(failure) => return Err(failure),
            });
        }
        return Ok(answers);
    }
    let call = |call: &Bytes| Multicall3::Call3 { target, allowFailure: true, callData: call.clone() };
    let call = Multicall3::aggregate3Call { calls: calls.iter().map(call).collect() };
    let request = TransactionRequest::default().to(MULTICALL).input(Bytes::from(call.abi_encode()).into());
    let answer = at.provider.call(request).block(block).await?;
    let results = Multicall3::aggregate3Call::abi_decode_returns(&answer)
        .map_err(|error| Failure::Garbled(error.to_string()))?;
    if results.len() != calls.len() {
        return Err(Failure::Garbled(format!("{} answers to {} calls", results.len(), calls.len())));
    }
    Ok(results.into_iter().map(|result| result.success.then_some(result.returnData)).collect())
}

impl RpcError {
    /// Selector of the error of the contract, in digits.
    #[must_use]
    pub fn selector(&self) -> Option<String> {
        match self {
            Self::Refused { data, .. } => data.first_chunk::<4>().map(|selector| hex(selector)),
            _ => None,
        }
    }
}
