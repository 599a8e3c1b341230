//! Settlement: who pays for work, and what is owed.
//!
//! | mode | what happens to a voucher |
//! |---|---|
//! | [`Mode::None`] | nothing: work is free |
//! | [`Mode::Ledger`] | it is checked and kept, to be settled later or never |
//! | [`Mode::Escrow`] | as in a ledger, and the latest is handed to the escrow contract |
//!
//! In all of them it is the same [`Voucher`]: the requester says for how many seconds, in total, a provider has done its
//! work. A later one contains the earlier, so that losing some loses nothing, and showing one twice gains nothing.
//!
//! ```text
//! | version 1 | 0 | job (32) | provider (20) | seconds (4) | seq (8) | signature of the requester (65) |
//! ```

mod ledger;

use std::fmt;
use std::str::FromStr;

use molt_mesh::codec::{Reader, Short, Writer};
use serde::{Deserialize, Serialize};

use crate::wallet::{
    Digest, Domain, Recover, SIGNATURE_LEN, Sign, SignatureReject, Wallet, WalletSignature, Words, hex, unhex,
};

pub use ledger::{Entry, Gain, Ledger, LedgerError, MAX_ENTRIES, Terms};

/// Length of a signed voucher in bytes.
pub const VOUCHER_LEN: usize = 2 + 32 + 20 + 4 + 8 + SIGNATURE_LEN;

const VERSION: u8 = 1;
const TYPE: &str = "UsageVoucher(bytes32 jobId,address provider,uint32 uptimeSeconds,uint64 seq)";

/// How work is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the escrow contract.
    Escrow,
    /// Not yet: vouchers are kept.
    Ledger,
    /// Not at all.
    #[default]
    None,
}

/// A job: `keccak256(abi.encode(requester, deployment))`. Whoever opens one twice opens the same, and is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub [u8; 32]);

impl JobId {
    /// The job of a deployment.
    #[must_use]
    pub fn new(requester: &Wallet, deployment: &[u8; 16]) -> Self {
        Self(Words::untyped().address(requester).bytes16(deployment).hash())
    }
}

/// A text that is no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a job: 0x and 64 hexadecimal digits")]
pub struct InvalidJob;

impl FromStr for JobId {
    type Err = InvalidJob;

    fn from_str(text: &str) -> Result<Self, InvalidJob> {
        text.strip_prefix("0x").and_then(unhex).map(Self).ok_or(InvalidJob)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex(&self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How long a provider has worked, in total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voucher {
    /// For what.
    pub job: JobId,
    /// Who.
    pub provider: Wallet,
    /// Seconds since the job began.
    pub seconds: u32,
    /// A later voucher has a higher number.
    pub seq: u64,
}

impl Voucher {
    /// What the requester signs.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> Digest {
        let hash = Words::new(TYPE)
            .bytes32(&self.job.0)
            .address(&self.provider)
            .uint(self.seconds.into())
            .uint(self.seq.into())
            .hash();
        domain.digest(&hash)
    }

    /// Signs as the requester.
    #[must_use]
    pub fn sign(self, domain: &Domain, requester: &dyn Sign) -> SignedVoucher {
        SignedVoucher { voucher: self, signature: requester.sign(&self.digest(domain)) }
    }
}

/// A voucher that is well-formed. Whether the requester signed it, [`SignedVoucher::signer`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedVoucher {
    voucher: Voucher,
    signature: WalletSignature,
}

/// Why bytes are not a voucher, or a voucher does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum VoucherReject {
    /// It says less than the one before.
    #[error("the voucher takes back what an earlier one gave")]
    Falls,
    /// Its length is not that of a voucher, or digits are not hexadecimal.
    #[error("length of the voucher")]
    Length,
    /// More than the job lasts.
    #[error("the voucher is for longer than the job")]
    Longer,
    /// A later one is known.
    #[error("a later voucher is known")]
    Old,
    /// The requester of the job did not sign it.
    #[error("signature of the voucher")]
    Signature,
    /// There is no such job, or the provider has no part in it.
    #[error("a voucher for a job that is not known")]
    UnknownJob,
    /// An unknown version.
    #[error("version of the voucher")]
    Version,
}

impl From<Short> for VoucherReject {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

impl From<SignatureReject> for VoucherReject {
    fn from(_: SignatureReject) -> Self {
        Self::Signature
    }
}

impl SignedVoucher {
    /// Reads a voucher.
    ///
    /// # Errors
    /// [`VoucherReject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, VoucherReject> {
        let mut r = Reader::new(bytes);
        if (r.u8()?, r.u8()?) != (VERSION, 0) {
            return Err(VoucherReject::Version);
        }
        let voucher = Voucher {
            job: JobId(r.array()?),
            provider: Wallet::from_bytes(r.array()?),
            seconds: r.u32()?,
            seq: r.u64()?,
        };
        let signature = r.array()?;
        if !r.is_empty() {
            return Err(VoucherReject::Length);
        }
        Ok(Self { voucher, signature: WalletSignature::new(signature)? })
    }

    /// The voucher as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.voucher;
        let mut w = Writer::with_capacity(VOUCHER_LEN);
        w.u8(VERSION).u8(0).bytes(&it.job.0).bytes(it.provider.as_bytes()).u32(it.seconds).u64(it.seq);
        w.bytes(self.signature.as_bytes());
        w.finish()
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn voucher(&self) -> &Voucher {
        &self.voucher
    }

    /// The signature.
    #[must_use]
    pub const fn signature(&self) -> &WalletSignature {
        &self.signature
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self, domain: &Domain, recover: &dyn Recover) -> Option<Wallet> {
        recover.recover(&self.voucher.digest(domain), &self.signature)
    }
}

/// Hexadecimal digits, as people hand them on.
impl FromStr for SignedVoucher {
    type Err = VoucherReject;

    fn from_str(text: &str) -> Result<Self, VoucherReject> {
        let bytes: [u8; VOUCHER_LEN] = unhex(text.trim()).ok_or(VoucherReject::Length)?;
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests;
