//! Mesh addresses: locators that follow from an identity.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::fib::Prefix;
use crate::id::AgentId;
use crate::key::{IdentityKey, NodePublic};

/// The /48 of a mesh: `fd00::/8` and a Global ID of 40 bits (RFC 4193 section 3.1). Every address of the mesh is in it.
///
/// Two meshes that are to meet need different ones. It is a value that whoever derives or judges addresses is given;
/// nothing in a process holds it for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshPrefix {
    /// The first 48 bits of an address.
    bits: u64,
}

/// An IPv6 address of a mesh ([`MeshPrefix`]) whose trust class is one that exists.
///
/// It is the prefix followed by the first 80 bits of the agent's UUID. Only 80 of the 128 bits fit, which is why the
/// identity is the key and the address a locator. Which mesh it is of, is for the reader to compare: see [`Self::mesh`].
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

impl MeshPrefix {
    /// `fd00:6d6f:6c74::/48`, of a mesh that was not given one of its own (`6d6f:6c74` spells "molt").
    pub const DEFAULT: Self = Self { bits: 0xfd00_6d6f_6c74 };

    /// `None` for anything but a /48 inside `fd00::/8`.
    #[must_use]
    pub const fn new(prefix: Prefix) -> Option<Self> {
        let mesh = Self::around(prefix.addr());
        if prefix.len() == 48 && mesh.is_local() { Some(mesh) } else { None }
    }

    /// The prefix of a Global ID, which is random where two meshes may ever meet (RFC 4193 section 3.2.1).
    #[must_use]
    pub const fn from_global_id([a, b, c, d, e]: [u8; 5]) -> Self {
        Self { bits: u64::from_be_bytes([0, 0, 0xfd, a, b, c, d, e]) }
    }

    /// As any other prefix.
    #[must_use]
    pub const fn prefix(self) -> Prefix {
        Prefix::new(Ipv6Addr::from_bits((self.bits as u128) << 80), 48)
    }

    /// Whether an address, of whatever trust class, lies inside.
    #[must_use]
    pub const fn contains(self, addr: Ipv6Addr) -> bool {
        Self::around(addr).bits == self.bits
    }

    /// An address of this mesh. `None` outside of it, and for a version nibble that names no trust class.
    #[must_use]
    pub fn address(self, addr: Ipv6Addr) -> Option<MeshAddr> {
        MeshAddr::new(addr).filter(|addr| addr.mesh() == self)
    }

    /// The address of an agent. Both derivations, from a key and from an issued UUID, share this rule. `None` for a
    /// UUID whose version no agent has: only 1 to 7 are issued, and 8 follows from a key.
    #[must_use]
    pub const fn address_of(self, id: &AgentId) -> Option<MeshAddr> {
        if !matches!(id.version(), 1..=8) {
            return None;
        }
        let [a, b, c, d, e, f, g, h, i, j, ..] = *id.as_bytes();
        Some(self.join([a, b, c, d, e, f, g, h, i, j]))
    }

    /// The self-certifying address of a key.
    #[must_use]
    pub fn address_of_key(self, key: &IdentityKey) -> MeshAddr {
        self.address_of(&AgentId::from_key(key)).expect("an id derived from a key has version 8")
    }

    /// The address of a container: `SHA-256("moltnet-ct-v1\0" || key of its owner || index)` in the layout of a UUID with
    /// the nibble `c`. The nibble keeps containers apart from nodes, whose addresses would else be a target for a search
    /// that costs only hashes; 16 bits of index make each candidate beyond 65,536 cost a key.
    #[must_use]
    pub fn container(self, owner: &IdentityKey, index: u16) -> MeshAddr {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"moltnet-ct-v1\0")
            .chain_update(owner.as_bytes())
            .chain_update(index.to_be_bytes())
            .finalize()
            .into();
        let [a, b, c, d, e, f, version, h, variant, j, ..] = hash;
        self.join([a, b, c, d, e, f, version & 0x0f | 0xc0, h, variant & 0x3f | 0x80, j])
    }

    /// The /48 around an address, which may be none of a mesh.
    const fn around(addr: Ipv6Addr) -> Self {
        Self { bits: (addr.to_bits() >> 80) as u64 }
    }

    const fn is_local(self) -> bool {
        self.bits >> 40 == 0xfd
    }

    const fn join(self, [a, b, c, d, e, f, g, h, i, j]: [u8; 10]) -> MeshAddr {
        let [_, _, p, q, r, s, t, u] = self.bits.to_be_bytes();
        MeshAddr(Ipv6Addr::from_octets([p, q, r, s, t, u, a, b, c, d, e, f, g, h, i, j]))
    }
}

impl Default for MeshPrefix {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for MeshPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.prefix().fmt(f)
    }
}

impl fmt::Debug for MeshPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the prefix of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the prefix of a mesh: expected a /48 inside fd00::/8, like fd12:3456:789a::/48; `molt id prefix` draws one"
)]
pub struct InvalidMeshPrefix;

impl FromStr for MeshPrefix {
    type Err = InvalidMeshPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidMeshPrefix> {
        text.parse().ok().and_then(Self::new).ok_or(InvalidMeshPrefix)
    }
}

impl MeshAddr {
    /// `None` outside of `fd00::/8`, where no mesh is, and for a version nibble that names no trust class.
    #[must_use]
    pub fn new(addr: Ipv6Addr) -> Option<Self> {
        (MeshPrefix::around(addr).is_local() && class_of(addr).is_some()).then_some(Self(addr))
    }

    /// The mesh it is an address of.
    #[must_use]
    pub const fn mesh(self) -> MeshPrefix {
        MeshPrefix::around(self.0)
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
    "not a mesh address: expected an IPv6 address in fd00::/8 whose 7th group starts with 0-8 or c, like \
     fd00:6d6f:6c74::1"
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

    fn ours(text: &str) -> MeshPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn the_vectors_of_the_design() {
        for (uuid, address) in [
            ("daa46e88-46c5-4af7-9268-1482c54c1922", "fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268"),
            ("88833763-60b7-47db-8703-349c6b2c70ff", "fd00:6d6f:6c74:8883:3763:60b7:47db:8703"),
            ("f8a9ce03-f512-4311-8792-519109168903", "fd00:6d6f:6c74:f8a9:ce03:f512:4311:8792"),
        ] {
            let derived = MeshPrefix::DEFAULT.address_of(&uuid.parse().unwrap()).unwrap();
            assert_eq!(derived.to_string(), address);
            assert_eq!(derived.class(), TrustClass::Claimed);
        }
        for version in ["0", "9", "c", "f"] {
            let uuid = format!("daa46e88-46c5-{version}af7-9268-1482c54c1922");
            assert_eq!(MeshPrefix::DEFAULT.address_of(&uuid.parse().unwrap()), None, "{uuid}");
        }
        let own = Seed::from_bytes([0; 32]).identity().address(MeshPrefix::DEFAULT);
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
            let derived = MeshPrefix::DEFAULT.container(&owner, index);
            assert_eq!((derived.to_string(), derived.class()), (address.into(), TrustClass::Container));
        }
    }

    #[test]
    fn the_mesh_changes_the_first_48_bits_of_an_address_and_nothing_else() {
        let (home, away) = (MeshPrefix::DEFAULT, ours("fd12:3456:789a::/48"));
        let identity = Seed::from_bytes([0; 32]).identity();
        let uuid = "daa46e88-46c5-4af7-9268-1482c54c1922".parse().unwrap();
        let derivations: [&dyn Fn(MeshPrefix) -> MeshAddr; 3] =
            [&|mesh| identity.address(mesh), &|mesh| mesh.container(identity.key(), 7), &|mesh| {
                mesh.address_of(&uuid).unwrap()
            }];
        for derive in derivations {
            let (here, there) = (derive(home), derive(away));
            assert_eq!((here.mesh(), there.mesh(), here.class()), (home, away, there.class()));
            assert_eq!(here.ip().to_bits() << 48, there.ip().to_bits() << 48);
            assert_eq!((home.address(here.ip()), home.address(there.ip())), (Some(here), None));
            assert!(away.contains(there.ip()) && !away.contains(here.ip()));
        }
        let classless = "fd12:3456:789a::f000:1".parse().unwrap();
        assert!(away.contains(classless) && away.address(classless).is_none());
    }

    #[test]
    fn rfc4193_section_3_1_a_mesh_has_a_48_of_the_locally_assigned_half() {
        for text in ["fd00:6d6f:6c74::/48", "fd12:3456:789a::/48", "fd00::/48", "fdff:ffff:ffff::/48"] {
            assert_eq!(ours(text).to_string(), text);
            assert_eq!(ours(text).prefix(), text.parse().unwrap());
        }
        for wrong in [
            "fc12:3456:789a::/48",
            "fe80::/48",
            "2001:db8::/48",
            "fd12:3456:789a::/47",
            "fd12:3456:789a::/49",
            "fd12:3456:789a::1/48",
            "fd12:3456:789a::",
            "",
        ] {
            assert_eq!(wrong.parse::<MeshPrefix>(), Err(InvalidMeshPrefix), "{wrong:?}");
        }
        assert_eq!(MeshPrefix::from_global_id([0x12, 0x34, 0x56, 0x78, 0x9a]), ours("fd12:3456:789a::/48"));
        assert_eq!(MeshPrefix::default(), ours("fd00:6d6f:6c74::/48"));
    }

    #[test]
    fn only_existing_classes_inside_fd00_8_are_addresses() {
        let class = |text: &str| text.parse::<MeshAddr>().map(MeshAddr::class);
        assert_eq!(class("fd00:6d6f:6c74::53"), Ok(TrustClass::Infrastructure));
        assert_eq!(class("fd00:6d6f:6c74:1:2:3:7fff:1"), Ok(TrustClass::Claimed));
        assert_eq!(class("fd12:3456:789a:1:2:3:c000:1"), Ok(TrustClass::Container));
        for nibble in ["9", "a", "b", "d", "e", "f"] {
            assert_eq!(class(&format!("fd00:6d6f:6c74:1:2:3:{nibble}000:1")), Err(InvalidMeshAddr));
        }
        assert_eq!(class("fc00:6d6f:6c74::53"), Err(InvalidMeshAddr));
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
