//! The signed topology: which LSAs a router stands for, by the digest of their bodies.

use sha2::{Digest, Sha256};

use crate::codec::{Reader, Short, Writer};
use crate::id::RouterId;
use crate::key::{Identity, IdentityKey};
use crate::sign::{Context, Signed, Verifier};

/// Length of a digest in bytes. A second body with one costs 2^128 hashes, and only the signer gains by a collision: it
/// could say two things at once, which it can say one after the other anyway.
pub const DIGEST_LEN: usize = 16;
/// Most LSAs in one list: 16 bytes of header, 22 for each and 64 of signature leave no room for more in an LSA of 1,200
/// bytes, which every link carries.
pub const MAX_COVERED: usize = 50;
const VERSION: u8 = 1;
const CONTEXT: Context = Context(b"moltnet-topology-v1\0");

/// One LSA of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// LS type.
    pub ls_type: u16,
    /// Link State ID.
    pub id: u32,
    /// [`digest`] of its body.
    pub digest: [u8; DIGEST_LEN],
}

/// What a router says at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The router.
    pub router: RouterId,
    /// Which part of its LSAs the list is about. Parts change at their own pace.
    pub part: u8,
    /// Rises with every list of the part.
    pub counter: u64,
    /// The LSAs, ascending; all others of the part are not the router's, or not any longer.
    pub covered: Vec<Covered>,
}

/// A topology that its router signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTopology(Topology);

/// Why a topology is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum TopologyReject {
    /// It is not as long as it says.
    #[error("length of the topology")]
    Length,
    /// It lists an LSA twice, or not in ascending order.
    #[error("order of the topology")]
    Order,
    /// It is about another router or part than the LSA that carries it.
    #[error("topology of somebody else")]
    Router,
    /// The signature is not the router's.
    #[error("signature of the topology")]
    Signature,
    /// An unknown version.
    #[error("version of the topology")]
    Version,
}

impl From<Short> for TopologyReject {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

/// The digest of an LSA's body: what follows its header.
#[must_use]
pub fn digest(body: &[u8]) -> [u8; DIGEST_LEN] {
    let hash: [u8; 32] = Sha256::digest(body).into();
    *hash.first_chunk().expect("a hash of 32 bytes has 16")
}

impl Topology {
    /// The list with its signature. Of more than [`MAX_COVERED`] LSAs only the first are listed.
    #[must_use]
    pub fn sign(&self, identity: &Identity) -> Vec<u8> {
        let covered = self.covered.get(..MAX_COVERED).unwrap_or(&self.covered);
        let mut w = Writer::default();
        w.u8(VERSION).u8(self.part).u16(u16::try_from(covered.len()).unwrap_or(u16::MAX));
        w.u32(self.router.0).u64(self.counter);
        for lsa in covered {
            w.u16(lsa.ls_type).u32(lsa.id).bytes(&lsa.digest);
        }
        while !w.len().is_multiple_of(4) {
            w.u8(0);
        }
        identity.sign(CONTEXT, w.finish())
    }

    /// Reads a list. Who signed it is not looked at.
    ///
    /// # Errors
    /// [`TopologyReject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, TopologyReject> {
        let signed = Signed::split(bytes).ok_or(TopologyReject::Length)?;
        let mut r = Reader::new(signed.content);
        let (version, part) = (r.u8()?, r.u8()?);
        if version != VERSION {
            return Err(TopologyReject::Version);
        }
        let count = r.u16()?;
        let (router, counter) = (RouterId(r.u32()?), r.u64()?);
        let mut covered = Vec::with_capacity(usize::from(count).min(MAX_COVERED));
        for _ in 0..count {
            covered.push(Covered { ls_type: r.u16()?, id: r.u32()?, digest: r.array()? });
        }
        if r.left() >= 4 || r.rest().iter().any(|byte| *byte != 0) || !signed.content.len().is_multiple_of(4)
        {
            return Err(TopologyReject::Length);
        }
        let keys = covered.iter().map(|lsa| (lsa.ls_type, lsa.id));
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(TopologyReject::Order);
        }
        Ok(Self { router, part, counter, covered })
    }
}

impl SignedTopology {
    /// Reads and verifies the list of `router` for `part`, whose key is `key`.
    ///
    /// # Errors
    /// [`TopologyReject`] names the rule that failed.
    pub fn verify(
        bytes: &[u8],
        router: RouterId,
        part: u32,
        key: &IdentityKey,
        verifier: &dyn Verifier,
    ) -> Result<Self, TopologyReject> {
        let topology = Topology::decode(bytes)?;
        if topology.router != router || u32::from(topology.part) != part {
            return Err(TopologyReject::Router);
        }
        let signed = Signed::split(bytes).ok_or(TopologyReject::Length)?;
        if !signed.is_by(key, CONTEXT, verifier) {
            return Err(TopologyReject::Signature);
        }
        Ok(Self(topology))
    }

    /// What it says.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.0
    }

    /// The digest it has for an LSA.
    #[must_use]
    pub fn digest_of(&self, ls_type: u16, id: u32) -> Option<&[u8; DIGEST_LEN]> {
        let covered = &self.0.covered;
        let at = covered.binary_search_by_key(&(ls_type, id), |lsa| (lsa.ls_type, lsa.id)).ok()?;
        covered.get(at).map(|lsa| &lsa.digest)
    }
}
