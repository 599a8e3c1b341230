//! Bindings: which wallet stands behind a node.
//!
//! A [`SignedBinding`] is a certificate that both sign: the wallet, so that nobody borrows a stake, and the node, so that
//! nobody is given one he does not want. It is verified offline by everybody and may be passed on. The chain has no part in
//! it: there is no Ed25519 in its virtual machine, so that a node key on chain would be a claim that anybody can make first.
//!
//! ```text
//! | version 1 | 0 | node key (32) | wallet (20) | mesh address (16) | network (32) | issued (8) | expires (8) | seq (8) |
//! | signature of the wallet (65) | signature of the node (64) |
//! ```
//!
//! The wallet signs the EIP-712 digest in the domain of the staking contract, the node a context and that digest. Chain,
//! contract and network are therefore part of what is signed: nothing counts in another network.
//!
//! Of two certificates of one node the one with the higher `seq` counts. One that expires when it was issued revokes. A
//! wallet that cannot sign typed data signs a text instead, see [`announce`].

pub mod announce;
mod store;

use std::net::Ipv6Addr;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use molt_mesh::codec::{Reader, Short, Writer};
use molt_mesh::sign::{SIGNATURE_LEN as NODE_SIGNATURE_LEN, Verifier};
use molt_mesh::{Identity, IdentityKey, MeshAddr, TrustClass};

use crate::wallet::{
    Digest, Domain, Recover, SIGNATURE_LEN, Sign, SignatureReject, Wallet, WalletSignature, Words, unhex,
};

pub use store::{Bindings, Inserted, MAX_BINDINGS, StoreReject};

/// Length of a certificate in bytes.
pub const BINDING_LEN: usize = 2 + 32 + 20 + 16 + 32 + 3 * 8 + SIGNATURE_LEN + NODE_SIGNATURE_LEN;
/// Longest life of a certificate in seconds: 30 days, the time after which a lost wallet is lost.
pub const MAX_LIFE: u64 = 30 * 86_400;
/// How far the clock of the signer may be ahead of ours, in seconds.
pub const MAX_SKEW: u64 = 30;

const VERSION: u8 = 1;
const TYPE: &str = "NodeBinding(bytes32 nodeKey,address wallet,bytes16 meshAddr,bytes32 networkId,\
                    uint64 issuedAt,uint64 expiresAt,uint64 seq)";
const CONTEXT: &[u8] = b"moltnet-binding-v1\0";

/// The key of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub [u8; 32]);

/// What both sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeBinding {
    /// The node.
    pub node: IdentityKey,
    /// Whose stake counts for it.
    pub wallet: Wallet,
    /// Its address: the one of its key, or one it was given.
    pub address: MeshAddr,
    /// The network in which it counts.
    pub network: NetworkId,
    /// Seconds since 1970.
    pub issued_at: u64,
    /// Seconds since 1970. Equal to `issued_at` in a revocation.
    pub expires_at: u64,
    /// The highest counts.
    pub seq: u64,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BindingReject {
    /// The mesh address does not belong to the key, or is none of a node.
    #[error("an address that is not the node's")]
    Address,
    /// It has ended.
    #[error("the binding has expired")]
    Expired,
    /// It ends before it begins, or more than 30 days after.
    #[error("life of the binding")]
    Life,
    /// Its length is not that of a certificate.
    #[error("length of the binding")]
    Length,
    /// It counts in another network.
    #[error("a binding of another network")]
    Network,
    /// The node did not sign it.
    #[error("signature of the node")]
    NodeSignature,
    /// It begins in the future.
    #[error("the binding is not valid yet")]
    NotYet,
    /// An unknown version.
    #[error("version of the binding")]
    Version,
    /// The wallet did not sign it, for this chain and contract.
    #[error("signature of the wallet")]
    WalletSignature,
}

impl From<Short> for BindingReject {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

impl From<SignatureReject> for BindingReject {
    fn from(_: SignatureReject) -> Self {
        Self::WalletSignature
    }
}

impl NodeBinding {
    /// What the wallet signs.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> Digest {
        let hash = Words::new(TYPE)
            .bytes32(self.node.as_bytes())
            .address(&self.wallet)
            .bytes16(&self.address.ip().octets())
            .bytes32(&self.network.0)
            .uint(self.issued_at.into())
            .uint(self.expires_at.into())
            .uint(self.seq.into())
            .hash();
        domain.digest(&hash)
    }

    /// Whether it ends what an earlier one began.
    #[must_use]
    pub const fn is_revocation(&self) -> bool {
        self.issued_at == self.expires_at
    }

    /// Signs with both keys.
    ///
    /// # Errors
    /// [`BindingReject`] if readers would refuse it, or a key is somebody else's.
    pub fn sign(
        self,
        domain: &Domain,
        node: &Identity,
        wallet: &dyn Sign,
    ) -> Result<SignedBinding, BindingReject> {
        self.check()?;
        if self.node != *node.key() {
            return Err(BindingReject::NodeSignature);
        }
        if self.wallet != wallet.wallet() {
            return Err(BindingReject::WalletSignature);
        }
        let digest = self.digest(domain);
        Ok(SignedBinding {
            binding: self,
            by_wallet: wallet.sign(&digest),
            by_node: node.signing_key().sign(&node_message(CONTEXT, &digest)).to_bytes(),
        })
    }

    /// The rules that need neither time nor keys.
    fn check(&self) -> Result<(), BindingReject> {
        let own = match self.address.class() {
            TrustClass::SelfCertifying => self.address.mesh().address_of_key(&self.node) == self.address,
            // Whether it was given that address is for the records of the mesh to say.
            TrustClass::Claimed => true,
            TrustClass::Container | TrustClass::Infrastructure => false,
        };
        if !own {
            return Err(BindingReject::Address);
        }
        match self.expires_at.checked_sub(self.issued_at) {
            Some(life) if life <= MAX_LIFE => Ok(()),
            _ => Err(BindingReject::Life),
        }
    }
}

/// A certificate that is well-formed. Nobody has checked who signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedBinding {
    binding: NodeBinding,
    by_wallet: WalletSignature,
    by_node: [u8; NODE_SIGNATURE_LEN],
}

/// Who says that a binding holds, and where it may come from.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// Chain and staking contract.
    pub domain: &'a Domain,
    /// Our network.
    pub network: &'a NetworkId,
    /// Checks nodes.
    pub verifier: &'a dyn Verifier,
    /// Checks wallets.
    pub recover: &'a dyn Recover,
}

impl SignedBinding {
    /// Reads a certificate, and checks everything that costs less than the signatures.
    ///
    /// # Errors
    /// [`BindingReject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, BindingReject> {
        let mut r = Reader::new(bytes);
        if (r.u8()?, r.u8()?) != (VERSION, 0) {
            return Err(BindingReject::Version);
        }
        let node = IdentityKey::from_bytes(r.array()?);
        let wallet = Wallet::from_bytes(r.array()?);
        let address = Ipv6Addr::from_bits(r.u128()?);
        let network = NetworkId(r.array()?);
        let (issued_at, expires_at, seq) = (r.u64()?, r.u64()?, r.u64()?);
        let (by_wallet, by_node) = (r.array()?, r.array()?);
        if !r.is_empty() {
            return Err(BindingReject::Length);
        }
        let address = MeshAddr::new(address).ok_or(BindingReject::Address)?;
        let binding = NodeBinding { node, wallet, address, network, issued_at, expires_at, seq };
        binding.check()?;
        Ok(Self { binding, by_wallet: WalletSignature::new(by_wallet)?, by_node })
    }

    /// The certificate as it travels.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let it = &self.binding;
        let mut w = Writer::with_capacity(BINDING_LEN);
        w.u8(VERSION).u8(0).bytes(it.node.as_bytes()).bytes(it.wallet.as_bytes());
        w.u128(it.address.ip().to_bits()).bytes(&it.network.0);
        w.u64(it.issued_at).u64(it.expires_at).u64(it.seq);
        w.bytes(self.by_wallet.as_bytes()).bytes(&self.by_node);
        w.finish()
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn binding(&self) -> &NodeBinding {
        &self.binding
    }

    /// Checks network, dates and both signatures, the cheap rules first.
    ///
    /// A revocation counts although it has ended when it began.
    ///
    /// # Errors
    /// [`BindingReject`] names the rule that failed.
    pub fn verify(&self, by: Authority<'_>, unix_now: u64) -> Result<Bound, BindingReject> {
        let it = &self.binding;
        if it.network != *by.network {
            return Err(BindingReject::Network);
        }
        if it.issued_at > unix_now.saturating_add(MAX_SKEW) {
            return Err(BindingReject::NotYet);
        }
        // A revocation is remembered as long as anything it revokes could have lived.
        let ends = if it.is_revocation() { it.issued_at.saturating_add(MAX_LIFE) } else { it.expires_at };
        if ends <= unix_now {
            return Err(BindingReject::Expired);
        }
        let digest = it.digest(by.domain);
        if !by.verifier.verify(&it.node, &node_message(CONTEXT, &digest), &self.by_node) {
            return Err(BindingReject::NodeSignature);
        }
        if by.recover.recover(&digest, &self.by_wallet) != Some(it.wallet) {
            return Err(BindingReject::WalletSignature);
        }
        Ok(Bound {
            node: it.node,
            wallet: it.wallet,
            revoked: it.is_revocation(),
            rank: Rank::Certificate(it.seq),
            ends,
            proof: Some(*self),
        })
    }
}

/// A binding, or its end, that both have signed. Only verification makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    node: IdentityKey,
    wallet: Wallet,
    revoked: bool,
    rank: Rank,
    /// Seconds since 1970 until when it counts, or is remembered as a revocation.
    ends: u64,
    /// What others accept as a proof. An announcement convinces only whom it was made for.
    proof: Option<SignedBinding>,
}

/// Which of two counts: any certificate before any announcement, then the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Announcement(u64),
    Certificate(u64),
}

impl Bound {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> &IdentityKey {
        &self.node
    }

    /// Its wallet; `None` if the binding was revoked.
    #[must_use]
    pub const fn wallet(&self) -> Option<Wallet> {
        if self.revoked { None } else { Some(self.wallet) }
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub const fn ends(&self) -> u64 {
        self.ends
    }

    /// The certificate, to pass it on.
    #[must_use]
    pub const fn proof(&self) -> Option<&SignedBinding> {
        self.proof.as_ref()
    }
}

fn node_message(context: &[u8], digest: &Digest) -> Vec<u8> {
    [context, &digest.0].concat()
}

/// Hexadecimal digits, as people hand them on.
impl FromStr for SignedBinding {
    type Err = BindingReject;

    fn from_str(text: &str) -> Result<Self, BindingReject> {
        let bytes: [u8; BINDING_LEN] = unhex(text.trim()).ok_or(BindingReject::Length)?;
        Self::decode(&bytes)
    }
}

#[cfg(test)]
mod tests;
