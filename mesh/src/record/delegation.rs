//! Delegation: the owner of an address lets somebody announce it.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::addr::{MeshAddr, MeshPrefix, TrustClass};
use crate::codec::{Reader, Short, Writer};
use crate::key::{Identity, IdentityKey};
use crate::sign::{Context, SIGNATURE_LEN, Signed, Strict, Verifier};

/// Length of a delegation in bytes; several may stand one behind the other.
pub const DELEGATION_LEN: usize = 4 + 32 + 16 + 32 + 8 + 8 + SIGNATURE_LEN;
const VERSION: u8 = 1;
const CONTEXT: Context = Context(b"moltnet-delegation-v1\0");

/// What an owner grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Whose address it is.
    pub owner: IdentityKey,
    /// Which of the owner's containers it is; 0 for an anycast address.
    pub index: u16,
    /// The address: a container of the owner, or an anycast address.
    pub address: MeshAddr,
    /// Who may announce it. The owner itself needs a delegation, too: it says which index the address has.
    pub holder: IdentityKey,
    /// Of two delegations of one container address the one with the higher number counts: a container is in one place.
    pub seq: u64,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
}

/// A grant that its owner signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    grant: Grant,
    bytes: Arc<[u8]>,
}

/// Why a delegation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DelegationReject {
    /// The address is not one of the owner's containers, and no anycast address.
    #[error("delegation of an address that is not the owner's")]
    Address,
    /// The address is of another mesh than that of whoever reads it.
    #[error("delegation of an address of another mesh (see `[network] prefix`)")]
    AnotherMesh,
    /// Its length is not that of a delegation.
    #[error("length of the delegation")]
    Length,
    /// Text that is not base64.
    #[error("the delegation is not base64")]
    NotBase64,
    /// The signature is not the owner's.
    #[error("signature of the delegation")]
    Signature,
    /// An unknown version.
    #[error("version of the delegation")]
    Version,
}

impl From<Short> for DelegationReject {
    fn from(_: Short) -> Self {
        Self::Length
    }
}

impl Grant {
    /// Signs the grant.
    ///
    /// # Errors
    /// [`DelegationReject`] if `identity` does not own the address.
    pub fn sign(&self, identity: &Identity) -> Result<Delegation, DelegationReject> {
        if self.owner != *identity.key() {
            return Err(DelegationReject::Signature);
        }
        self.check()?;
        let mut w = Writer::with_capacity(DELEGATION_LEN);
        w.u8(VERSION).u8(0).u16(self.index).bytes(self.owner.as_bytes());
        w.u128(self.address.ip().to_bits()).bytes(self.holder.as_bytes()).u64(self.seq).u64(self.expiry);
        Ok(Delegation { grant: *self, bytes: identity.sign(CONTEXT, w.finish()).into() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, DelegationReject> {
        let signed = Signed::split(bytes).ok_or(DelegationReject::Length)?;
        let mut r = Reader::new(signed.content);
        let (version, flags) = (r.u8()?, r.u8()?);
        if (version, flags) != (VERSION, 0) {
            return Err(DelegationReject::Version);
        }
        let index = r.u16()?;
        let owner = IdentityKey::from_bytes(r.array()?);
        let address = MeshAddr::new(Ipv6Addr::from_bits(r.u128()?)).ok_or(DelegationReject::Address)?;
        let holder = IdentityKey::from_bytes(r.array()?);
        let (seq, expiry) = (r.u64()?, r.u64()?);
        if !r.is_empty() {
            return Err(DelegationReject::Length);
        }
        let grant = Self { owner, index, address, holder, seq, expiry };
        grant.check()?;
        Ok(grant)
    }

    /// Checks the signature of the bytes this was read from.
    fn signed(self, bytes: &[u8], verifier: &dyn Verifier) -> Result<Delegation, DelegationReject> {
        let signed = Signed::split(bytes).ok_or(DelegationReject::Length)?;
        if !signed.is_by(&self.owner, CONTEXT, verifier) {
            return Err(DelegationReject::Signature);
        }
        Ok(Delegation { grant: self, bytes: bytes.into() })
    }

    /// An anycast address has no owner by itself; whether this one may hand it out is for its readers to know.
    fn check(&self) -> Result<(), DelegationReject> {
        let fits = match self.address.class() {
            TrustClass::Container => self.address.mesh().container(&self.owner, self.index) == self.address,
            TrustClass::Infrastructure => self.index == 0,
            TrustClass::Claimed | TrustClass::SelfCertifying => false,
        };
        if fits { Ok(()) } else { Err(DelegationReject::Address) }
    }
}

impl Delegation {
    /// Reads and verifies one delegation of an address of our mesh.
    ///
    /// # Errors
    /// [`DelegationReject`] names the rule that failed.
    pub fn verify(bytes: &[u8], mesh: MeshPrefix, verifier: &dyn Verifier) -> Result<Self, DelegationReject> {
        let grant = Grant::decode(bytes)?;
        if grant.address.mesh() != mesh {
            return Err(DelegationReject::AnotherMesh);
        }
        grant.signed(bytes, verifier)
    }

    /// What it grants.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The delegation as it travels.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

/// Base64, to be pasted.
impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.bytes))
    }
}

/// What [`Display`](fmt::Display) wrote; the signature is checked. The mesh may be any: its reader compares.
impl FromStr for Delegation {
    type Err = DelegationReject;

    fn from_str(text: &str) -> Result<Self, DelegationReject> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| DelegationReject::NotBase64)?;
        Grant::decode(&bytes)?.signed(&bytes, &Strict)
    }
}
