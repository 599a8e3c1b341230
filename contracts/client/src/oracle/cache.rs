//! The cache as bytes.
//!
//! ```text
//! | "moltstake" | version 1 | chain id (8) | staking contract (20) |
//! | count (4) | wallet (20) tier (1) frozen (1) block (8) hash (32) read at, seconds since 1970 (8) | ...
//! | count (4) | certificate (255) | ...
//! | SHA-256 of all before (32) |
//! ```
//!
//! Only what says when it was read is kept, so that time in a drawer counts as age. Certificates are verified again when
//! they are loaded: the file is no authority.

use std::time::Duration;

use molt_mesh::Time;
use molt_mesh::codec::{Reader, Short, Writer};
use sha2::{Digest as _, Sha256};

use super::{BlockRef, Core, HARD_TTL, MAX_WALLETS, Seen};
use crate::binding::{BINDING_LEN, Bindings, MAX_BINDINGS, MAX_SKEW, SignedBinding};
use crate::tier::Tier;
use crate::wallet::{Domain, Wallet};

const MAGIC: &[u8; 9] = b"moltstake";
const VERSION: u8 = 1;
/// Longest file we write in bytes.
pub const MAX_CACHE: usize = 9 + 1 + 28 + 4 + MAX_WALLETS * 70 + 4 + MAX_BINDINGS * BINDING_LEN + 32;

/// Why a cache file is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CacheReject {
    /// It is not what we wrote.
    #[error("the file is damaged")]
    Damaged,
    /// It is of another chain or contract.
    #[error("the file is of another chain or contract")]
    Foreign,
    /// It was written by another version.
    #[error("the file has an unknown version")]
    Version,
}

impl From<Short> for CacheReject {
    fn from(_: Short) -> Self {
        Self::Damaged
    }
}

/// What a cache file gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// How many wallets still count.
    pub wallets: usize,
    /// Certificates, to be verified.
    pub bindings: Vec<SignedBinding>,
}

impl Core {
    /// The cache as bytes.
    #[must_use]
    pub fn save(&self, domain: &Domain, bindings: &Bindings, now: Time, unix_now: u64) -> Vec<u8> {
        let seen: Vec<_> = self.seen().filter(|(_, seen)| seen.age(now) < HARD_TTL).collect();
        let proofs: Vec<_> = bindings.iter().filter_map(|bound| bound.proof()).collect();
        let mut w = Writer::with_capacity(MAX_CACHE.min(512 + seen.len() * 70 + proofs.len() * BINDING_LEN));
        w.bytes(MAGIC).u8(VERSION).u64(domain.chain_id).bytes(domain.contract.as_bytes());
        w.u32(u32::try_from(seen.len()).unwrap_or(u32::MAX));
        for (wallet, seen) in seen {
            let Seen { tier, frozen, as_of, .. } = seen;
            w.bytes(wallet.as_bytes()).u8(tier as u8).u8(frozen.into()).u64(as_of.number).bytes(&as_of.hash);
            w.u64(unix_now.saturating_sub(seen.age(now).as_secs()));
        }
        w.u32(u32::try_from(proofs.len()).unwrap_or(u32::MAX));
        for proof in proofs {
            w.bytes(&proof.encode());
        }
        let hash = Sha256::digest(w.as_slice());
        w.bytes(&hash);
        w.finish()
    }

    /// Puts back what still counts. What has been read at a time in the future was read by another clock, and does not.
    ///
    /// # Errors
    /// [`CacheReject`] if the file is to be set aside; nothing was changed then.
    pub fn load(
        &mut self,
        bytes: &[u8],
        domain: &Domain,
        now: Time,
        unix_now: u64,
    ) -> Result<Loaded, CacheReject> {
        let (content, hash) = bytes.split_last_chunk::<32>().ok_or(CacheReject::Damaged)?;
        let mut r = Reader::new(content);
        if r.array()? != *MAGIC {
            return Err(CacheReject::Damaged);
        }
        if r.u8()? != VERSION {
            return Err(CacheReject::Version);
        }
        if Sha256::digest(content).as_slice() != hash {
            return Err(CacheReject::Damaged);
        }
        if (r.u64()?, Wallet::from_bytes(r.array()?)) != (domain.chain_id, domain.contract) {
            return Err(CacheReject::Foreign);
        }
        let mut wallets = Vec::new();
        for _ in 0..r.u32()? {
            let wallet = Wallet::from_bytes(r.array()?);
            let tier = Tier::from_number(r.u8()?).ok_or(CacheReject::Damaged)?;
            let frozen = r.u8()? != 0;
            let as_of = BlockRef { number: r.u64()?, hash: r.array()? };
            wallets.push((wallet, tier, frozen, as_of, r.u64()?));
        }
        let mut bindings = Vec::new();
        for _ in 0..r.u32()? {
            let bytes = r.bytes(BINDING_LEN)?;
            bindings.push(SignedBinding::decode(bytes).map_err(|_| CacheReject::Damaged)?);
        }
        if !r.is_empty() {
            return Err(CacheReject::Damaged);
        }
        let mut loaded = Loaded { wallets: 0, bindings };
        for (wallet, tier, frozen, as_of, read_at) in wallets {
            let aged = Duration::from_secs(unix_now.saturating_sub(read_at));
            if read_at > unix_now.saturating_add(MAX_SKEW) || aged >= HARD_TTL {
                continue;
            }
            self.restore(wallet, Seen { tier, frozen, as_of, at: now, aged }, now);
            loaded.wallets += 1;
        }
        Ok(loaded)
    }
}
