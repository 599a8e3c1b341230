//! Bindings for wallets that sign texts only (EIP-191).
//!
//! The text is `moltnet-announce:v1:<chain id>:<staking contract>:<node key>:<wallet>:<seconds since 1970>:<nonce>`. The
//! verifier chooses the nonce and takes it once; a nonce chosen by the prover would prove nothing. It convinces this
//! verifier only, so it is not passed on, and it is weaker than any certificate.

use std::collections::BTreeMap;
use std::time::Duration;

use ed25519_dalek::Signer as _;
use molt_mesh::codec::{Reader, Writer};
use molt_mesh::sign::SIGNATURE_LEN as NODE_SIGNATURE_LEN;
use molt_mesh::{Identity, IdentityKey, Time};

use super::{Authority, BindingReject, Bound, MAX_SKEW, Rank, node_message};
use crate::wallet::{Digest, Domain, SIGNATURE_LEN, Sign, Wallet, WalletSignature, hex, text_digest};

/// Oldest announcement in seconds: the time to walk to a wallet that is kept elsewhere.
pub const MAX_AGE: u64 = 300;
/// How long an announcement counts, in seconds. After a day the wallet is asked again.
pub const LIFE: u64 = 86_400;
/// Length of an announcement in bytes.
pub const ANNOUNCEMENT_LEN: usize = 2 + 32 + 20 + 8 + 16 + SIGNATURE_LEN + NODE_SIGNATURE_LEN;
/// Challenges that are open at once, 64 bytes each. Beyond that the oldest is forgotten.
pub const MAX_CHALLENGES: usize = 1_024;

const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"moltnet-announce-v1\0";

/// What a verifier asks a wallet to sign, so that it is known to be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub [u8; 16]);

/// What the wallet and the node sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The node.
    pub node: IdentityKey,
    /// Whose stake counts for it.
    pub wallet: Wallet,
    /// Seconds since 1970.
    pub at: u64,
    /// Chosen by the verifier.
    pub nonce: Nonce,
}

impl Announcement {
    /// The text for the wallet.
    #[must_use]
    pub fn text(&self, domain: &Domain) -> String {
        format!(
            "moltnet-announce:v1:{}:{}:{}:{}:{}:{}",
            domain.chain_id,
            domain.contract,
            hex(self.node.as_bytes()),
            self.wallet,
            self.at,
            hex(&self.nonce.0)
        )
    }

    fn digest(&self, domain: &Domain) -> Digest {
        text_digest(&self.text(domain))
    }

    /// Signs with both keys.
    ///
    /// # Errors
    /// [`BindingReject`] if a key is somebody else's.
    pub fn sign(
        self,
        domain: &Domain,
        node: &Identity,
        wallet: &dyn Sign,
    ) -> Result<SignedAnnouncement, BindingReject> {
        if self.node != *node.key() {
            return Err(BindingReject::NodeSignature);
        }
        if self.wallet != wallet.wallet() {
            return Err(BindingReject::WalletSignature);
        }
        let digest = self.digest(domain);
        Ok(SignedAnnouncement {
            announcement: self,
            by_wallet: wallet.sign(&digest),
            by_node: node.signing_key().sign(&node_message(CONTEXT, &digest)).to_bytes(),
        })
    }
}

/// An announcement that is well-formed. Nobody has checked who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedAnnouncement {
    announcement: Announcement,
    by_wallet: WalletSignature,
    by_node: [u8; NODE_SIGNATURE_LEN],
}

impl SignedAnnouncement {
    /// Reads an announcement.
    ///
    /// # Errors
    /// [`BindingReject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, BindingReject> {
        let mut r = Reader::new(bytes);
        if (r.u8()?, r.u8()?) != (VERSION, 0) {
            return Err(BindingReject::Version);
        }
        let announcement = Announcement {
            node: IdentityKey::from_bytes(r.array()?),
            wallet: Wallet::from_bytes(r.array()?),
            at: r.u64()?,
            nonce: Nonce(r.array()?),
        };
        let (by_wallet, by_node) = (r.array()?, r.array()?);
        if !r.is_empty() {
            return Err(BindingReject::Length);
        }
        Ok(Self { announcement, by_wallet: WalletSignature::new(by_wallet)?, by_node })
    }

    /// The announcement as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.announcement;
        let mut w = Writer::with_capacity(ANNOUNCEMENT_LEN);
        w.u8(VERSION).u8(0).bytes(it.node.as_bytes()).bytes(it.wallet.as_bytes()).u64(it.at);
        w.bytes(&it.nonce.0).bytes(self.by_wallet.as_bytes()).bytes(&self.by_node);
        w.finish()
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn announcement(&self) -> &Announcement {
        &self.announcement
    }
}

/// Why an announcement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum AnnounceReject {
    /// A rule of every binding.
    #[error(transparent)]
    Binding(#[from] BindingReject),
    /// We did not choose the nonce, or not for this node, or it was used, or it is too old.
    #[error("a nonce that is not open for this node")]
    Nonce,
}

/// The nonces that wait for an answer.
#[derive(Debug, Default)]
pub struct Challenges {
    open: BTreeMap<IdentityKey, (Nonce, Time)>,
}

impl Challenges {
    /// Asks a node to have its wallet sign. `nonce` must come from a good random source. A node has one open challenge.
    pub fn open(&mut self, node: IdentityKey, nonce: Nonce, now: Time) {
        if self.open.len() >= MAX_CHALLENGES && !self.open.contains_key(&node) {
            self.open.retain(|_, (_, at)| now.since(*at) < Duration::from_secs(MAX_AGE));
            if self.open.len() >= MAX_CHALLENGES {
                let oldest = self.open.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| *node);
                oldest.and_then(|node| self.open.remove(&node));
            }
        }
        self.open.insert(node, (nonce, now));
    }

    /// Checks nonce, date and both signatures. The nonce is used up by an announcement that holds.
    ///
    /// # Errors
    /// [`AnnounceReject`] names the rule that failed.
    pub fn verify(
        &mut self,
        signed: &SignedAnnouncement,
        by: Authority<'_>,
        now: Time,
        unix_now: u64,
    ) -> Result<Bound, AnnounceReject> {
        let it = &signed.announcement;
        let opened = self.open.get(&it.node).filter(|(nonce, _)| *nonce == it.nonce);
        if opened.is_none_or(|(_, at)| now.since(*at) >= Duration::from_secs(MAX_AGE)) {
            return Err(AnnounceReject::Nonce);
        }
        if it.at > unix_now.saturating_add(MAX_SKEW) {
            return Err(BindingReject::NotYet.into());
        }
        if it.at.saturating_add(MAX_AGE) <= unix_now {
            return Err(BindingReject::Expired.into());
        }
        let digest = it.digest(by.domain);
        if !by.verifier.verify(&it.node, &node_message(CONTEXT, &digest), &signed.by_node) {
            return Err(BindingReject::NodeSignature.into());
        }
        if by.recover.recover(&digest, &signed.by_wallet) != Some(it.wallet) {
            return Err(BindingReject::WalletSignature.into());
        }
        self.open.remove(&it.node);
        Ok(Bound {
            node: it.node,
            wallet: it.wallet,
            revoked: false,
            rank: Rank::Announcement(it.at),
            ends: it.at.saturating_add(LIFE),
            proof: None,
        })
    }
}
