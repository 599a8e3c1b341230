//! Escrow: bids, the choice among them, and the transactions that are under way.
//!
//! 1. Providers offer [`Bid`]s, signed, off the chain.
//! 2. The requester [`choose()`]s three that do not fail together, and opens the job: one transaction that creates and funds
//!    it. Its id follows from requester and deployment, so that opening twice is refused by the contract.
//! 3. While it runs, the requester signs vouchers ([`crate::settlement`]); each provider settles its own.
//! 4. Closing gives back what nobody has earned.
//!
//! Each transaction is signed once, written into the [`Outbox`] and then sent; after a crash the same bytes are sent again.
//! Two copies of one transaction have one nonce, and the chain takes a nonce once: nothing is paid twice.
//!
//! ```text
//! | version 1 | 0 | job (32) | provider (20) | rate per second (16) | longest duration (4) | expires (8) | signature (65) |
//! ```

mod choose;
mod outbox;

use std::str::FromStr;

use molt_mesh::codec::{Reader, Short, Writer};

use crate::settlement::JobId;
use crate::wallet::{
    Digest, Domain, Recover, SIGNATURE_LEN, Sign, SignatureReject, Wallet, WalletSignature, Words, unhex,
};

pub use choose::{Candidate, MAX_CANDIDATES, MIN_REPUTATION, Needs, TIME_TO_OPEN, Unfit, choose};
pub use outbox::{MAX_PENDING, Outbox, OutboxError, Pending, Purpose};

/// Providers of a job: one may fail and one may cheat, and there is still one to tell.
pub const REPLICAS: usize = 3;
/// Length of a signed bid in bytes.
pub const BID_LEN: usize = 2 + 32 + 20 + 16 + 4 + 8 + SIGNATURE_LEN;

const VERSION: u8 = 1;
const TYPE: &str =
    "Bid(bytes32 jobId,address provider,uint112 ratePerSec,uint32 maxDuration,uint64 expiresAt)";
/// The bid has room for 112 bits, the contract keeps 96 of them.
const MAX_RATE: u128 = (1 << 96) - 1;

/// An offer to run a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bid {
    /// Which.
    pub job: JobId,
    /// Who offers.
    pub provider: Wallet,
    /// What a second costs, in the smallest unit of BUNKER; not zero, less than 2^96.
    pub per_second: u128,
    /// How long the provider will work at most, in seconds.
    pub max_duration: u32,
    /// Until when the offer stands, in seconds since 1970.
    pub expires_at: u64,
}

impl Bid {
    /// What the provider signs.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> Digest {
        let hash = Words::new(TYPE)
            .bytes32(&self.job.0)
            .address(&self.provider)
            .uint(self.per_second)
            .uint(self.max_duration.into())
            .uint(self.expires_at.into())
            .hash();
        domain.digest(&hash)
    }

    /// Signs as the provider.
    ///
    /// # Errors
    /// [`BidReject`] if readers would refuse it, or the provider is somebody else.
    pub fn sign(self, domain: &Domain, provider: &dyn Sign) -> Result<SignedBid, BidReject> {
        if !(1..=MAX_RATE).contains(&self.per_second) {
            return Err(BidReject::Rate);
        }
        if self.provider != provider.wallet() {
            return Err(BidReject::Signature);
        }
        Ok(SignedBid { bid: self, signature: provider.sign(&self.digest(domain)) })
    }
}

/// A bid that is well-formed. Nobody has checked who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedBid {
    bid: Bid,
    signature: WalletSignature,
}

/// Why a bid is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BidReject {
    /// Its length is not that of a bid, or digits are not hexadecimal.
    #[error("length of the bid")]
    Length,
    /// Nothing, or more than the contract can count.
    #[error("rate of the bid")]
    Rate,
    /// The provider did not sign it.
    #[error("signature of the bid")]
    Signature,
    /// An unknown version.
    #[error("version of the bid")]
    Version,
}

impl From<Short> for BidReject {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

impl From<SignatureReject> for BidReject {
    fn from(_: SignatureReject) -> Self {
        Self::Signature
    }
}

impl SignedBid {
    /// Reads a bid.
    ///
    /// # Errors
    /// [`BidReject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, BidReject> {
        let mut r = Reader::new(bytes);
        if (r.u8()?, r.u8()?) != (VERSION, 0) {
            return Err(BidReject::Version);
        }
        let bid = Bid {
            job: JobId(r.array()?),
            provider: Wallet::from_bytes(r.array()?),
            per_second: r.u128()?,
            max_duration: r.u32()?,
            expires_at: r.u64()?,
        };
        let signature = r.array()?;
        if !r.is_empty() {
            return Err(BidReject::Length);
        }
        if !(1..=MAX_RATE).contains(&bid.per_second) {
            return Err(BidReject::Rate);
        }
        Ok(Self { bid, signature: WalletSignature::new(signature)? })
    }

    /// The bid as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.bid;
        let mut w = Writer::with_capacity(BID_LEN);
        w.u8(VERSION).u8(0).bytes(&it.job.0).bytes(it.provider.as_bytes()).u128(it.per_second);
        w.u32(it.max_duration).u64(it.expires_at).bytes(self.signature.as_bytes());
        w.finish()
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn bid(&self) -> &Bid {
        &self.bid
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &WalletSignature {
        &self.signature
    }

    /// Whether the provider signed it.
    ///
    /// # Errors
    /// [`BidReject::Signature`] if not.
    pub fn verify(&self, domain: &Domain, recover: &dyn Recover) -> Result<(), BidReject> {
        match recover.recover(&self.bid.digest(domain), &self.signature) {
            Some(signer) if signer == self.bid.provider => Ok(()),
            _ => Err(BidReject::Signature),
        }
    }
}

/// Hexadecimal digits, as people hand them on.
impl FromStr for SignedBid {
    type Err = BidReject;

    fn from_str(text: &str) -> Result<Self, BidReject> {
        let bytes: [u8; BID_LEN] = unhex(text.trim()).ok_or(BidReject::Length)?;
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests;
