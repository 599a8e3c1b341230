//! Transactions of this daemon's wallet: jobs are opened, vouchers settled, money fetched.
//!
//! Every transaction is decided by what the chain says, signed once, written into the [`Outbox`], and sent until the chain
//! has used up its nonce. A crash at any point leaves either nothing or the same bytes to send again. What a transaction
//! asks for is refused by the contract the second time (`JobExists`, `VoucherNotNewer`), so that even a wallet that is
//! used elsewhere at the same time pays nothing twice.
//!
//! A transaction is done with the first block that has it. Where that block is reorganised away and the transaction with it,
//! what it was for is still open on the chain, and is done again by the next call.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{B256, Bytes, FixedBytes, TxKind, U256};
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync as _;
use alloy::sol_types::{SolCall, SolError};
use tracing::{info, warn};

use super::abi::{BunkerEscrow, BunkerStaking, BunkerToken};
use super::curve::{HotKey, Secp256k1, address};
use super::job::{Job, JobState, Seat};
use super::rpc::{Rpc, RpcError};
use super::watcher::Clock;
use crate::escrow::{BidReject, Outbox, OutboxError, Pending, Purpose, REPLICAS, SignedBid};
use crate::journal::Recovery;
use crate::settlement::{Gain, JobId, Ledger, LedgerError, SignedVoucher, Terms};
use crate::wallet::{Domain, Sign, Wallet, Words};

/// How often a transaction is looked for: half a block.
const POLL: Duration = Duration::from_secs(1);
/// How often it is looked for before the caller is told to come back: a minute, thirty blocks.
const POLLS: u32 = 60;
/// After so many looks it is sent again.
const RESEND: u32 = 10;
/// How long a permit counts, in seconds: longer than the transaction waits.
const PERMIT_LIFE: u64 = 3_600;
/// Name of the token's signing domain (ERC-2612).
const TOKEN_DOMAIN: &str = "Bunker";
const PERMIT_TYPE: &str =
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)";

/// What a payer needs.
#[derive(Debug)]
pub struct PayerConfig {
    /// The endpoints.
    pub rpc: Rpc,
    /// The wallet that pays and is paid.
    pub key: HotKey,
    /// File of the transactions under way.
    pub outbox: PathBuf,
    /// File of the vouchers.
    pub ledger: PathBuf,
    /// Highest fee per unit of gas in gwei.
    pub max_fee_gwei: u64,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Why something was not paid.
#[derive(Debug, thiserror::Error)]
pub enum PayerError {
    /// A bid does not hold.
    #[error(transparent)]
    Bid(#[from] BidReject),
    /// A transaction would cost more than the configuration allows.
    #[error("gas costs {wei} wei, the configuration allows {limit}")]
    FeeTooHigh {
        /// Price of a unit of gas.
        wei: u128,
        /// The limit.
        limit: u128,
    },
    /// There is too little BUNKER.
    #[error("it takes {needs} of the smallest unit of BUNKER, the wallet has {has}")]
    Insufficient {
        /// What it takes.
        needs: u128,
        /// What there is.
        has: u128,
    },
    /// A journal cannot be opened.
    #[error("cannot open a journal: {0}")]
    Journal(#[from] io::Error),
    /// The ledger does not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The nonce was used by a transaction that is not ours: the wallet is used elsewhere.
    #[error("another transaction of the wallet took the place of this one")]
    Lost,
    /// There is no such job.
    #[error("there is no such job")]
    NoJob,
    /// It must not be sent.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The chain has not taken it yet. It is in the outbox, and goes on with [`Payer::resume`].
    #[error("the transaction is sent and not in a block yet")]
    Pending,
    /// The transaction is in a block, and did nothing.
    #[error("the transaction failed in its block")]
    Reverted,
    /// The chain refused, or does not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// The wallet of this daemon at work.
#[derive(Debug)]
pub struct Payer {
    rpc: Rpc,
    key: HotKey,
    outbox: Outbox,
    ledger: Ledger,
    /// Wei per unit of gas.
    max_fee: u128,
    clock: Arc<dyn Clock>,
}

impl Payer {
    /// Opens the journals. Nothing is sent before [`Payer::resume`].
    ///
    /// # Errors
    /// If a journal can be neither read nor repaired.
    pub fn open(config: PayerConfig) -> Result<Self, PayerError> {
        let PayerConfig { rpc, key, outbox, ledger, max_fee_gwei, clock } = config;
        let (outbox, found) = Outbox::open(&outbox)?;
        report("outbox", &found);
        let (ledger, found) = Ledger::open(&ledger, rpc.deployment().escrow_domain())?;
        report("ledger", &found);
        Ok(Self { rpc, key, outbox, ledger, max_fee: u128::from(max_fee_gwei) * 1_000_000_000, clock })
    }

    /// Goes on with what was under way before a crash or an outage. Gives how many transactions still wait.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn resume(&mut self) -> Result<usize, PayerError> {
        let pending: Vec<Pending> = self.outbox.pending().cloned().collect();
        for pending in pending {
            match self.look(&pending).await? {
                Look::Done | Look::Failed | Look::Lost => self.outbox.handle_nonce_used(pending.nonce)?,
                Look::Waiting => self.send(&pending).await?,
            }
        }
        Ok(self.outbox.pending().count())
    }

    /// Who pays.
    #[must_use]
    pub fn wallet(&self) -> Wallet {
        self.key.wallet()
    }

    /// The vouchers.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The endpoints.
    pub const fn rpc(&mut self) -> &mut Rpc {
        &mut self.rpc
    }

    /// Opens and funds a job with three bids, in one transaction. A job that is open already is left as it is, so that
    /// asking again after a crash or a lost answer is right.
    ///
    /// # Errors
    /// [`PayerError`] says why not. After [`PayerError::Pending`] it may still happen.
    pub async fn open_job(
        &mut self,
        deployment: [u8; 16],
        spec: [u8; 32],
        duration: u32,
        bids: [SignedBid; REPLICAS],
    ) -> Result<JobId, PayerError> {
        let job = JobId::new(&self.wallet(), &deployment);
        if self.job(job).await?.is_none() {
            let call = self.opening(deployment, spec, duration, &bids).await?;
            let escrow = self.rpc.deployment().escrow.address;
            match self.transact(Purpose::Open(job), escrow, &call).await {
                Err(PayerError::Rpc(refused)) if is::<BunkerEscrow::JobExists>(&refused) => {}
                other => other?,
            }
        }
        self.adopt(job).await?;
        Ok(job)
    }

    /// Takes the terms of a job from the chain, as its requester or as one of its providers.
    ///
    /// # Errors
    /// [`PayerError::NoJob`] if there is none that is open.
    pub async fn adopt(&mut self, job: JobId) -> Result<Job, PayerError> {
        let found =
            self.job(job).await?.filter(|job| job.state == JobState::Open).ok_or(PayerError::NoJob)?;
        for seat in &found.seats {
            let Seat { provider, per_second, settled } = *seat;
            let terms =
                Terms { job, requester: found.requester, provider, per_second, duration: found.duration };
            if [found.requester, provider].contains(&self.wallet()) {
                self.ledger.handle_terms(terms)?;
                self.ledger.handle_settled(job, provider, settled)?;
            }
        }
        Ok(found)
    }

    /// Signs, as the requester, for so many seconds of a provider in total.
    ///
    /// # Errors
    /// If the job is not ours, or the voucher cannot be written down.
    pub fn vouch(&mut self, job: JobId, provider: Wallet, seconds: u32) -> Result<SignedVoucher, PayerError> {
        Ok(self.ledger.issue(job, provider, seconds, &self.key)?)
    }

    /// Takes a voucher as the provider.
    ///
    /// # Errors
    /// If it does not count.
    pub fn handle_voucher(&mut self, voucher: &SignedVoucher) -> Result<Gain, PayerError> {
        Ok(self.ledger.handle_voucher(voucher, &Secp256k1)?)
    }

    /// Hands in the latest voucher of each job that we work for, where it says more than the chain has paid. Gives how many
    /// seconds were paid.
    ///
    /// # Errors
    /// [`PayerError`] says why not; what was settled before stays settled.
    pub async fn settle(&mut self) -> Result<u32, PayerError> {
        let me = self.wallet();
        let open: Vec<SignedVoucher> = self
            .ledger
            .entries()
            .filter(|entry| entry.terms.provider == me && entry.open_seconds() > 0)
            .filter_map(|entry| entry.voucher)
            .collect();
        let mut paid = 0;
        for signed in open {
            paid += self.settle_one(&signed).await?;
        }
        Ok(paid)
    }

    /// Gives back to the requester what nobody earned. Anybody may ask for it once the time for claims is over.
    ///
    /// # Errors
    /// [`PayerError`] says why not.
    pub async fn close(&mut self, job: JobId) -> Result<(), PayerError> {
        match self.job(job).await? {
            None => return Err(PayerError::NoJob),
            Some(Job { state: JobState::Closed, .. }) => {}
            Some(_) => {
                let escrow = self.rpc.deployment().escrow.address;
                let call = BunkerEscrow::closeCall { jobId: B256::from(job.0) };
                match self.transact(Purpose::Close(job), escrow, &call).await {
                    Err(PayerError::Rpc(refused)) if is::<BunkerEscrow::JobNotOpen>(&refused) => {}
                    other => other?,
                }
            }
        }
        Ok(self.ledger.handle_closed(job)?)
    }

    /// Fetches what the escrow owes this wallet. Gives how much that was.
    ///
    /// # Errors
    /// [`PayerError`] says why not.
    pub async fn withdraw(&mut self) -> Result<u128, PayerError> {
        let escrow = self.rpc.deployment().escrow.address;
        let owed = self.owed().await?;
        if owed > 0 || self.outbox.find(Purpose::Withdraw).is_some() {
            self.transact(Purpose::Withdraw, escrow, &BunkerEscrow::withdrawCall {}).await?;
        }
        Ok(owed)
    }

    /// What the escrow owes this wallet.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn owed(&mut self) -> Result<u128, PayerError> {
        let call = BunkerEscrow::owedCall { who: address(&self.wallet()) };
        Ok(self.rpc.view(self.rpc.deployment().escrow.address, &call).await?.saturating_to())
    }

    /// What this wallet has of BUNKER, in its smallest unit.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn balance(&mut self) -> Result<u128, PayerError> {
        let call = BunkerToken::balanceOfCall { account: address(&self.wallet()) };
        Ok(self.rpc.view(self.rpc.deployment().token.address, &call).await?.saturating_to())
    }

    /// Stakes so much more BUNKER, in its smallest unit.
    ///
    /// # Errors
    /// [`PayerError`] says why not.
    pub async fn stake(&mut self, amount: u128) -> Result<(), PayerError> {
        let (staking, token) = (self.rpc.deployment().staking.address, self.rpc.deployment().token.address);
        if self.outbox.find(Purpose::Stake).is_none() {
            self.must_have(amount).await?;
            let allowance =
                BunkerToken::allowanceCall { owner: address(&self.wallet()), spender: address(&staking) };
            if self.rpc.view(token, &allowance).await? < U256::from(amount) {
                let approve =
                    BunkerToken::approveCall { spender: address(&staking), value: U256::from(amount) };
                self.transact(Purpose::Approve(staking), token, &approve).await?;
            }
        }
        let call = BunkerStaking::stakeCall { amount: U256::from(amount) };
        self.transact(Purpose::Stake, staking, &call).await
    }

    /// Says on the chain which node is ours, so that others find it. What counts is the certificate.
    ///
    /// # Errors
    /// [`PayerError`] says why not.
    pub async fn claim_node(&mut self, node: &molt_mesh::IdentityKey) -> Result<(), PayerError> {
        let call = BunkerStaking::claimNodeCall { nodeKey: B256::from(*node.as_bytes()) };
        let staking = self.rpc.deployment().staking.address;
        self.transact(Purpose::Claim(*node.as_bytes()), staking, &call).await
    }

    /// A job as the chain has it.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn job(&mut self, job: JobId) -> Result<Option<Job>, PayerError> {
        let call = BunkerEscrow::jobOfCall { jobId: B256::from(job.0) };
        let found = self.rpc.view(self.rpc.deployment().escrow.address, &call).await?;
        Ok(Job::read(&found)?)
    }

    async fn settle_one(&mut self, signed: &SignedVoucher) -> Result<u32, PayerError> {
        let it = *signed.voucher();
        let Some(found) = self.job(it.job).await?.filter(|job| job.state == JobState::Open) else {
            self.ledger.handle_closed(it.job)?;
            return Ok(0);
        };
        let Some(seat) = found.seats.iter().find(|seat| seat.provider == it.provider) else {
            return Err(PayerError::NoJob);
        };
        if seat.settled < it.seconds {
            let (_, now) = self.rpc.latest().await?;
            if u64::from(it.seconds) > now.saturating_sub(found.start) {
                // The clock of the requester is ahead of the chain's; it will be right a little later.
                return Ok(0);
            }
            let call = BunkerEscrow::settleCall {
                voucher: BunkerEscrow::UsageVoucher {
                    jobId: B256::from(it.job.0),
                    provider: address(&it.provider),
                    uptimeSeconds: it.seconds,
                    seq: it.seq,
                },
                signature: Bytes::from(signed.signature().as_bytes().to_vec()),
            };
            let escrow = self.rpc.deployment().escrow.address;
            match self.transact(Purpose::Settle(it.job), escrow, &call).await {
                Err(PayerError::Rpc(refused)) if is::<BunkerEscrow::VoucherNotNewer>(&refused) => {}
                other => other?,
            }
        }
        // What was under way may have been an earlier voucher, so the chain says how much it was.
        let after = self.job(it.job).await?;
        let settled =
            after.and_then(|job| job.seats.iter().find(|seat| seat.provider == it.provider).copied());
        let settled = settled.map_or(seat.settled, |seat| seat.settled);
        self.ledger.handle_settled(it.job, it.provider, settled)?;
        Ok(settled.saturating_sub(seat.settled))
    }

    /// The call that opens a job, with the permit for its deposit.
    async fn opening(
        &mut self,
        deployment: [u8; 16],
        spec: [u8; 32],
        duration: u32,
        bids: &[SignedBid; REPLICAS],
    ) -> Result<BunkerEscrow::openWithPermitCall, PayerError> {
        let domain = self.rpc.deployment().escrow_domain();
        let mut deposit = 0_u128;
        for bid in bids {
            bid.verify(&domain, &Secp256k1)?;
            let cost = bid.bid().per_second.saturating_mul(duration.into());
            deposit = deposit.saturating_add(cost);
        }
        self.must_have(deposit).await?;
        let (token, escrow) = (self.rpc.deployment().token.address, self.rpc.deployment().escrow.address);
        let nonces = BunkerToken::noncesCall { owner: address(&self.wallet()) };
        let nonce: u64 = self.rpc.view(token, &nonces).await?.saturating_to();
        let deadline = self.rpc.latest().await?.1.max(self.clock.unix()).saturating_add(PERMIT_LIFE);
        let permit = Words::new(PERMIT_TYPE)
            .address(&self.wallet())
            .address(&escrow)
            .uint(deposit)
            .uint(nonce.into())
            .uint(deadline.into())
            .hash();
        let domain = Domain { name: TOKEN_DOMAIN, chain_id: self.rpc.deployment().chain_id, contract: token };
        let signature = self.key.sign(&domain.digest(&permit));
        let (rs, v) = signature.as_bytes().split_at(64);
        let (r, s) = rs.split_at(32);
        let bid = |signed: &SignedBid| {
            let bid = signed.bid();
            BunkerEscrow::Bid {
                jobId: B256::from(bid.job.0),
                provider: address(&bid.provider),
                ratePerSec: alloy::primitives::aliases::U112::from(bid.per_second),
                maxDuration: bid.max_duration,
                expiresAt: bid.expires_at,
            }
        };
        Ok(BunkerEscrow::openWithPermitCall {
            deployment: FixedBytes(deployment),
            specHash: B256::from(spec),
            duration,
            bids: bids.each_ref().map(bid),
            signatures: bids.each_ref().map(|bid| Bytes::from(bid.signature().as_bytes().to_vec())),
            permit: BunkerEscrow::Permit {
                value: U256::from(deposit),
                deadline: U256::from(deadline),
                v: v.first().copied().unwrap_or_default(),
                r: B256::from_slice(r),
                s: B256::from_slice(s),
            },
        })
    }

    async fn must_have(&mut self, needs: u128) -> Result<(), PayerError> {
        let has = self.balance().await?;
        if has < needs { Err(PayerError::Insufficient { needs, has }) } else { Ok(()) }
    }

    /// Signs, writes down, sends, and waits until it is in a block. Where the same is under way already, that is what is
    /// waited for.
    async fn transact<C: SolCall>(
        &mut self,
        purpose: Purpose,
        to: Wallet,
        call: &C,
    ) -> Result<(), PayerError> {
        let pending = match self.outbox.find(purpose) {
            Some(pending) => pending.clone(),
            None => {
                let pending = self.sign(purpose, to, call.abi_encode()).await?;
                self.outbox.handle_signed(&pending)?;
                pending
            }
        };
        self.send(&pending).await?;
        for step in 1..=POLLS {
            match self.look(&pending).await? {
                Look::Waiting => {}
                end => {
                    self.outbox.handle_nonce_used(pending.nonce)?;
                    return match end {
                        Look::Failed => Err(PayerError::Reverted),
                        Look::Lost => Err(PayerError::Lost),
                        Look::Done | Look::Waiting => Ok(()),
                    };
                }
            }
            tokio::time::sleep(POLL).await;
            if step.is_multiple_of(RESEND) {
                self.send(&pending).await?;
            }
        }
        Err(PayerError::Pending)
    }

    async fn sign(&mut self, purpose: Purpose, to: Wallet, input: Vec<u8>) -> Result<Pending, PayerError> {
        let input = Bytes::from(input);
        let request = TransactionRequest::default()
            .from(address(&self.wallet()))
            .to(address(&to))
            .input(input.clone().into());
        let (gas, fee, tip) = self.rpc.price(&request).await?;
        // The estimate is twice what the next block asks for, so that it holds for some blocks.
        if fee / 2 > self.max_fee {
            return Err(PayerError::FeeTooHigh { wei: fee / 2, limit: self.max_fee });
        }
        let max_fee_per_gas = fee.min(self.max_fee);
        let nonce = self.outbox.next_nonce(self.rpc.nonce(&self.wallet()).await?);
        let transaction = TxEip1559 {
            chain_id: self.rpc.deployment().chain_id,
            nonce,
            // What it takes may grow until it is in a block: others write to the same slots.
            gas_limit: gas.saturating_add(gas / 4),
            max_fee_per_gas,
            max_priority_fee_per_gas: tip.min(max_fee_per_gas),
            to: TxKind::Call(address(&to)),
            value: U256::ZERO,
            access_list: Default::default(),
            input,
        };
        let signature = self
            .key
            .signer()
            .sign_hash_sync(&transaction.signature_hash())
            .map_err(|error| RpcError::Garbled(error.to_string()))?;
        let signed = transaction.into_signed(signature);
        let hash = signed.hash().0;
        Ok(Pending { purpose, nonce, hash, raw: signed.encoded_2718() })
    }

    /// Sends it, once more if it was sent before. A refusal is no news: whether it is in a block is asked by its hash.
    async fn send(&mut self, pending: &Pending) -> Result<(), PayerError> {
        match self.rpc.send(&pending.raw).await {
            Ok(()) => info!(purpose = ?pending.purpose, nonce = pending.nonce, "transaction sent"),
            Err(RpcError::Refused { message, .. }) => {
                info!(purpose = ?pending.purpose, nonce = pending.nonce, message, "transaction not taken");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn look(&mut self, pending: &Pending) -> Result<Look, PayerError> {
        // First the nonce: if it is used up and there is no receipt after that, it was somebody else.
        let used = self.rpc.nonce(&self.wallet()).await? > pending.nonce;
        Ok(match self.rpc.receipt(&pending.hash).await? {
            Some(receipt) if receipt.status() => Look::Done,
            Some(_) => Look::Failed,
            None if used => Look::Lost,
            None => Look::Waiting,
        })
    }
}

enum Look {
    Done,
    Failed,
    Lost,
    Waiting,
}

/// Whether the contract refused with this error.
fn is<E: SolError>(error: &RpcError) -> bool {
    matches!(error, RpcError::Refused { data, .. } if data.starts_with(&E::SELECTOR))
}

/// Tells the operator what became of a journal.
pub(super) fn report(journal: &str, found: &Recovery) {
    match found {
        Recovery::Clean => {}
        Recovery::Damaged(kept) => {
            warn!(journal, kept = %kept.display(), "the journal was damaged; what is whole goes on");
        }
        Recovery::Torn { bytes } => info!(journal, bytes, "the last record was torn by a crash"),
    }
}
