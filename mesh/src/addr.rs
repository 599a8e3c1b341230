//! Mesh addresses: locators that follow from an identity.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::fib::Prefix;
use crate::id::AgentId;
use crate::key::{IdentityKey, NodePublic};

/// `fd00:6d6f:6c74::/48`, the prefix of every mesh address (`6d6f:6c74` spells "molt").
pub const MESH_PREFIX: Prefix = Prefix::new(Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0, 0, 0, 0, 0), 48);

/// An IPv6 address inside [`MESH_PREFIX`] whose trust class is one that exists.
///
/// It is the prefix followed by the first 80 bits of the agent's UUID. Only 80 of the 128 bits fit, which is why the
/// identity is the key and the address a locator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshAddr(Ipv6Addr);

/// What the version nibble of an address (the first of its seventh group) says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustClass {
    /// `0`: infrastructure and anycast, such as `fd00:6d6f:6c74::53`.
    Infrastructure,
    /// `1` to `7`: claimed from a UUID issued elsewhere; valid only with an attestation.
    Claimed,
    /// `8`: the hash of the key, which every verifier checks.
    SelfCertifying,
    /// `c`: a container, derived from its owner's key.
    Container,
}

impl MeshAddr {
    /// The address of an agent. Both derivations, from a key and from an issued UUID, share this rule. `None` for a
    /// UUID whose version no agent has: only 1 to 7 are issued, and 8 follows from a key.
    #[must_use]
    pub const fn from_agent_id(id: &AgentId) -> Option<Self> {
        if !matches!(id.version(), 1..=8) {
            return None;
        }
        let [a, b, c, d, e, f, g, h, i, j, ..] = *id.as_bytes();
        let [p, q, r, s, t, u, ..] = MESH_PREFIX.addr().octets();
        Some(Self(Ipv6Addr::from_octets([p, q, r, s, t, u, a, b, c, d, e, f, g, h, i, j])))
    }

    /// The address of a container: `SHA-256("moltnet-ct-v1\0" || key of its owner || index)` in the layout of a UUID with
    /// the nibble `c`. The nibble keeps containers apart from nodes, whose addresses would else be a target for a search
    /// that costs only hashes; 16 bits of index make each candidate beyond 65,536 cost a key.
    #[must_use]
    pub fn of_container(owner: &IdentityKey, index: u16) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"moltnet-ct-v1\0")
            .chain_update(owner.as_bytes())
            .chain_update(index.to_be_bytes())
            .finalize()
            .into();
        let [a, b, c, d, e, f, version, h, variant, j, ..] = hash;
        let [p, q, r, s, t, u, ..] = MESH_PREFIX.addr().octets();
        let (version, variant) = (version & 0x0f | 0xc0, variant & 0x3f | 0x80);
        Self(Ipv6Addr::from_octets([p, q, r, s, t, u, a, b, c, d, e, f, version, h, variant, j]))
    }

    /// `None` outside the mesh prefix, and for a version nibble that names no trust class.
    #[must_use]
    pub fn new(addr: Ipv6Addr) -> Option<Self> {
        (MESH_PREFIX.contains(addr) && class_of(addr).is_some()).then_some(Self(addr))
    }

    /// The trust class anyone can read off the address.
    #[must_use]
    pub fn class(self) -> TrustClass {
        class_of(self.0).expect("every constructor checks the class")
    }

    /// The address for a socket.
    #[must_use]
    pub const fn ip(self) -> Ipv6Addr {
        self.0
    }
}

const fn class_of(addr: Ipv6Addr) -> Option<TrustClass> {
    // The 80 bits of the UUID start at octet 6, so its version nibble (octet 6 of the UUID) is in octet 12.
    let [_, _, _, _, _, _, _, _, _, _, _, _, version, ..] = addr.octets();
    match version >> 4 {
        0 => Some(TrustClass::Infrastructure),
        1..=7 => Some(TrustClass::Claimed),
        8 => Some(TrustClass::SelfCertifying),
        0xc => Some(TrustClass::Container),
        _ => None,
    }
}

impl fmt::Display for MeshAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MeshAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a mesh address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a mesh address: expected an IPv6 address in fd00:6d6f:6c74::/48 whose 7th group starts with 0-8 or c"
)]
pub struct InvalidMeshAddr;

impl FromStr for MeshAddr {
    type Err = InvalidMeshAddr;

    fn from_str(text: &str) -> Result<Self, InvalidMeshAddr> {
        text.parse().ok().and_then(Self::new).ok_or(InvalidMeshAddr)
    }
}

/// The link-local address of one end of a tunnel: `fe80::/64` and 64 bits of
/// `SHA-256("moltnet-link-local-v1\0" || WireGuard key)`. The same on every tunnel of a node.
#[must_use]
pub fn link_local(node: &NodePublic) -> Ipv6Addr {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(b"moltnet-link-local-v1\0")
        .chain_update(node.as_bytes())
        .finalize()
        .into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn the_vectors_of_the_design() {
        for (uuid, address) in [
            ("daa46e88-46c5-4af7-9268-1482c54c1922", "fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268"),
            ("88833763-60b7-47db-8703-349c6b2c70ff", "fd00:6d6f:6c74:8883:3763:60b7:47db:8703"),
            ("f8a9ce03-f512-4311-8792-519109168903", "fd00:6d6f:6c74:f8a9:ce03:f512:4311:8792"),
        ] {
            let derived = MeshAddr::from_agent_id(&uuid.parse().unwrap()).unwrap();
            assert_eq!(derived.to_string(), address);
            assert_eq!(derived.class(), TrustClass::Claimed);
        }
        for version in ["0", "9", "c", "f"] {
            let uuid = format!("daa46e88-46c5-{version}af7-9268-1482c54c1922");
            assert_eq!(MeshAddr::from_agent_id(&uuid.parse().unwrap()), None, "{uuid}");
        }
        let own = Seed::from_bytes([0; 32]).identity().address();
        assert_eq!(own.to_string(), "fd00:6d6f:6c74:a8cd:4fb9:5636:89f0:bc46");
        assert_eq!(own.class(), TrustClass::SelfCertifying);
    }

    /// Computed with another implementation of SHA-256.
    #[test]
    fn the_address_of_a_container_follows_from_its_owner_and_index() {
        let owner = *Seed::from_bytes([0; 32]).identity().key();
        for (index, address) in [
            (0, "fd00:6d6f:6c74:49ab:6a6f:5cf0:cec9:a824"),
            (1, "fd00:6d6f:6c74:f884:e6d7:8dcc:c92a:912d"),
            (65535, "fd00:6d6f:6c74:75ad:6ec5:10b2:c565:96b7"),
        ] {
            let derived = MeshAddr::of_container(&owner, index);
            assert_eq!((derived.to_string(), derived.class()), (address.into(), TrustClass::Container));
        }
    }

    #[test]
    fn only_existing_classes_inside_the_prefix_are_addresses() {
        let class = |text: &str| text.parse::<MeshAddr>().map(MeshAddr::class);
        assert_eq!(class("fd00:6d6f:6c74::53"), Ok(TrustClass::Infrastructure));
        assert_eq!(class("fd00:6d6f:6c74:1:2:3:7fff:1"), Ok(TrustClass::Claimed));
        assert_eq!(class("fd00:6d6f:6c74:1:2:3:c000:1"), Ok(TrustClass::Container));
        for nibble in ["9", "a", "b", "d", "e", "f"] {
            assert_eq!(class(&format!("fd00:6d6f:6c74:1:2:3:{nibble}000:1")), Err(InvalidMeshAddr));
        }
        assert_eq!(class("fd00:6d6f:6c75::53"), Err(InvalidMeshAddr));
        assert_eq!(class("::1"), Err(InvalidMeshAddr));
        assert_eq!(class("10.0.0.1"), Err(InvalidMeshAddr));
    }

    #[test]
    fn link_local_addresses_are_link_local_and_differ() {
        let a = link_local(Seed::from_bytes([1; 32]).identity().node_public());
        let b = link_local(Seed::from_bytes([2; 32]).identity().node_public());
        assert!(a.is_unicast_link_local() && b.is_unicast_link_local());
        assert_ne!(a, b);
    }
}
