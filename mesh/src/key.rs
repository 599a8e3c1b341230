//! Keys: one 32-byte seed, from which the Ed25519 identity key and the X25519 WireGuard key are derived separately.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::addr::{self, MeshAddr, MeshPrefix};
use crate::id::{AgentId, RouterId};

/// HKDF `info` of the WireGuard key. The last byte counts rotations: the key may change, the identity does not.
const WIREGUARD_LABEL: &[u8] = b"moltnet-wireguard-v1\0";

/// The one secret of a node. Everything else is derived from it. Wiped from memory when dropped, never printed.
///
/// The seed itself is the Ed25519 seed (so that the addresses of the design's vectors come out); the WireGuard key is
/// expanded from it with HKDF-SHA256 under its own label. An Ed25519 key is never converted to X25519.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes 32 bytes of a good random source.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for the key file.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Derives all keys.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let signing = SigningKey::from_bytes(&self.0);
        let mut secret = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &self.0)
            .expand_multi_info(&[WIREGUARD_LABEL, &[0]], secret.as_mut())
            .expect("32 bytes are within the 8,160 that HKDF-SHA256 can expand");
        let wireguard = StaticSecret::from(*secret);
        let key = IdentityKey(signing.verifying_key().to_bytes());
        let node = NodePublic(PublicKey::from(&wireguard).to_bytes());
        Identity { signing, wireguard, key, node }
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// All keys of this node and what follows from them.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    wireguard: StaticSecret,
    key: IdentityKey,
    node: NodePublic,
}

impl Identity {
    /// The key that is this node.
    #[must_use]
    pub const fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// The private half of the identity key.
    #[must_use]
    pub const fn signing_key(&self) -> &SigningKey {
        &self.signing
    }

    /// The public key other nodes put in their configuration.
    #[must_use]
    pub const fn node_public(&self) -> &NodePublic {
        &self.node
    }

    /// The private WireGuard key.
    #[must_use]
    pub const fn wireguard_secret(&self) -> &StaticSecret {
        &self.wireguard
    }

    /// The self-certifying id.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        AgentId::from_key(&self.key)
    }

    /// The self-certifying address in a mesh.
    #[must_use]
    pub fn address(&self, mesh: MeshPrefix) -> MeshAddr {
        mesh.address_of_key(&self.key)
    }

    /// The OSPF router id at the given draw (see [`RouterId::from_key`]).
    #[must_use]
    pub fn router_id(&self, draw: u32) -> RouterId {
        RouterId::from_key(&self.key, draw)
    }

    /// The link-local address of this end of every tunnel.
    #[must_use]
    pub fn link_local(&self) -> std::net::Ipv6Addr {
        addr::link_local(&self.node)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("agent_id", &self.agent_id()).finish_non_exhaustive()
    }
}

/// An Ed25519 public key: who an agent is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityKey([u8; 32]);

impl IdentityKey {
    /// Takes the 32 bytes as they are; whether they are a point on the curve shows when a signature is verified.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// An X25519 public key: which node a WireGuard tunnel leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePublic([u8; 32]);

impl NodePublic {
    /// Takes the 32 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is not a 32-byte key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a key: expected 32 bytes in base64 (44 characters, as `wg pubkey` prints them) or 64 hexadecimal digits"
)]
pub struct InvalidKey;

fn parse_key(text: &str) -> Result<[u8; 32], InvalidKey> {
    if text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let mut key = [0; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| InvalidKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidKey)?;
        }
        return Ok(key);
    }
    let bytes = STANDARD.decode(text).map_err(|_| InvalidKey)?;
    bytes.try_into().map_err(|_| InvalidKey)
}

macro_rules! key_text {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = InvalidKey;

            fn from_str(text: &str) -> Result<Self, InvalidKey> {
                parse_key(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&STANDARD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

key_text!(IdentityKey, NodePublic);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let seed = Seed::from_bytes([7; 32]);
        assert_eq!(format!("{seed:?}"), "Seed(..)");
        let printed = format!("{:?}", seed.identity());
        assert!(printed.starts_with("Identity { agent_id:") && printed.ends_with(".. }"), "{printed}");
    }

    #[test]
    fn the_wireguard_key_is_not_the_identity_key() {
        let identity = Seed::from_bytes([7; 32]).identity();
        assert_ne!(identity.wireguard_secret().to_bytes(), [7; 32]);
        assert_ne!(identity.node_public().as_bytes(), identity.key().as_bytes());
        assert_eq!(
            PublicKey::from(identity.wireguard_secret()).as_bytes(),
            identity.node_public().as_bytes()
        );
    }

    #[test]
    fn a_key_is_read_as_base64_or_hex() {
        let key = NodePublic::from_bytes([0xab; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("ab".repeat(32).parse(), Ok(key));
        for wrong in ["", "q6s=", "abcd", &"zz".repeat(32), &key.to_string()[..43]] {
            assert_eq!(wrong.parse::<NodePublic>(), Err(InvalidKey), "{wrong:?}");
        }
    }
}
