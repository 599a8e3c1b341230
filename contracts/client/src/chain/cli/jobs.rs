//! Jobs by hand: bids, vouchers, and what they are worth.

use serde::Serialize;

use super::super::curve::HotKey;
use super::super::job::JobState;
use super::super::payer::PayerError;
use super::super::rpc::Rpc;
use super::super::settlement::Settlement;
use crate::escrow::{Bid, BidReject};
use crate::settlement::{JobId, SignedVoucher};
use crate::wallet::{Sign as _, Wallet, hex};

/// Answer of `molt chain jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Jobs {
    /// Name and version of this form.
    pub schema: &'static str,
    /// One for each provider of each job in our ledger.
    pub jobs: Vec<JobLine>,
}

/// A provider of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobLine {
    /// The job.
    pub job: String,
    /// Who pays.
    pub requester: String,
    /// Who works.
    pub provider: String,
    /// "kept" in a ledger. With an escrow "open", "closed", "none", or "unknown" while the chain does not answer.
    pub state: &'static str,
    /// Seconds that are vouched for.
    pub vouched_s: u32,
    /// Seconds that are paid.
    pub settled_s: u32,
    /// What the difference is worth, in the smallest unit of BUNKER.
    pub open_amount: String,
}

/// The jobs we pay or work for, and with an escrow what the chain says of them.
pub async fn jobs(settlement: &mut Settlement) -> Jobs {
    let mut jobs = Vec::new();
    for entry in settlement.entries() {
        let state = match settlement {
            Settlement::Escrow(payer) => match payer.job(entry.terms.job).await {
                Err(_) => "unknown",
                Ok(None) => "none",
                Ok(Some(job)) if job.state == JobState::Open => "open",
                Ok(Some(_)) => "closed",
            },
            Settlement::Ledger { .. } | Settlement::None => "kept",
        };
        jobs.push(JobLine {
            job: entry.terms.job.to_string(),
            requester: entry.terms.requester.to_string(),
            provider: entry.terms.provider.to_string(),
            state,
            vouched_s: entry.voucher.map_or(0, |voucher| voucher.voucher().seconds),
            settled_s: entry.settled,
            open_amount: entry.open_amount().to_string(),
        });
    }
    Jobs { schema: "molt.chain.jobs/1", jobs }
}

impl Jobs {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:<66}  {:<42}  {:<7}  {:>9}  {:>9}\n",
            "JOB", "PROVIDER", "STATE", "VOUCHED", "SETTLED"
        );
        for it in &self.jobs {
            let line = (&it.job, &it.provider, it.state, it.vouched_s, it.settled_s);
            let (job, provider, state, vouched, settled) = line;
            text += &format!("{job:<66}  {provider:<42}  {state:<7}  {vouched:>7} s  {settled:>7} s\n");
        }
        text
    }
}

/// Something signed that goes to the other side by whatever way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Paper {
    /// Name and version of this form.
    pub schema: &'static str,
    /// "bid" or "voucher".
    pub kind: &'static str,
    /// The job.
    pub job: String,
    /// Who works.
    pub provider: String,
    /// It, in hexadecimal digits.
    pub signed: String,
}

impl Paper {
    /// For people, and for a pipe: nothing but the digits.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n", self.signed)
    }
}

/// Offers, as the provider, to run a job.
///
/// # Errors
/// [`BidReject`] if its rate is one that readers refuse.
pub fn bid(
    rpc: &Rpc,
    key: &HotKey,
    job: JobId,
    per_second: u128,
    max_duration: u32,
    expires_at: u64,
) -> Result<Paper, BidReject> {
    let bid = Bid { job, provider: key.wallet(), per_second, max_duration, expires_at };
    let signed = bid.sign(&rpc.deployment().escrow_domain(), key)?;
    Ok(Paper {
        schema: "molt.chain.paper/1",
        kind: "bid",
        job: job.to_string(),
        provider: key.wallet().to_string(),
        signed: hex(&signed.encode()),
    })
}

/// Says, as the requester, for how many seconds in total a provider has worked. `None` if work is free.
///
/// # Errors
/// [`PayerError`] if the job is not ours, or the voucher cannot be written down.
pub fn vouch(
    settlement: &mut Settlement,
    job: JobId,
    provider: Wallet,
    seconds: u32,
) -> Result<Option<Paper>, PayerError> {
    let signed = settlement.vouch(job, provider, seconds)?;
    Ok(signed.map(|signed| Paper {
        schema: "molt.chain.paper/1",
        kind: "voucher",
        job: job.to_string(),
        provider: provider.to_string(),
        signed: hex(&signed.encode()),
    }))
}

/// What a voucher brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credit {
    /// Name and version of this form.
    pub schema: &'static str,
    /// Seconds that it says more than the one before.
    pub gained_s: u32,
    /// What they are worth, in the smallest unit of BUNKER, before any fee.
    pub gained: String,
    /// Seconds that the escrow has paid now, of all our jobs.
    pub settled_s: u32,
}

/// Takes a voucher, as the provider, and has paid what can be paid.
///
/// # Errors
/// [`PayerError`] if the voucher does not count, or the chain refuses. A voucher that counts is kept even so.
pub async fn redeem(settlement: &mut Settlement, voucher: &SignedVoucher) -> Result<Credit, PayerError> {
    let gain = settlement.handle_voucher(voucher)?;
    let settled_s = settlement.settle().await?;
    Ok(Credit {
        schema: "molt.chain.credit/1",
        gained_s: gain.seconds,
        gained: gain.amount.to_string(),
        settled_s,
    })
}

impl Credit {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("gained  {} s, {}\nsettled {} s\n", self.gained_s, self.gained, self.settled_s)
    }
}
