//! Who, which tunnel, which router.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::key::IdentityKey;

/// The name of an agent: a UUID, either derived from its key or issued to it (Moltbook issues version 4).
///
/// The identity itself is the 32-byte [`IdentityKey`]; a UUID from outside is only a claim until it is attested.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId([u8; 16]);

/// Prefix of the hash that derives an agent id, so that no other hash of a key can be taken for one.
const ID_CONTEXT: &[u8] = b"moltnet-id-v1\0";
/// Prefix of the hash whose leading zero bits are the proof of work.
const POW_CONTEXT: &[u8] = b"moltnet-pow-v1\0";

impl AgentId {
    /// The self-certifying id of a key: the first 16 bytes of `SHA-256("moltnet-id-v1\0" || key)` with version 8 and
    /// the variant of RFC 9562.
    #[must_use]
    pub fn from_key(key: &IdentityKey) -> Self {
        let hash: [u8; 32] =
            Sha256::new().chain_update(ID_CONTEXT).chain_update(key.as_bytes()).finalize().into();
        let [a, b, c, d, e, f, version, h, variant, rest @ ..] = hash;
        let [j, k, l, m, n, o, p, ..] = rest;
        Self([a, b, c, d, e, f, version & 0x0f | 0x80, h, variant & 0x3f | 0x80, j, k, l, m, n, o, p])
    }

    /// A UUID as issued.
    #[must_use]
    pub const fn from_bytes(uuid: [u8; 16]) -> Self {
        Self(uuid)
    }

    /// The 16 bytes in the order they are printed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The version nibble of the UUID.
    #[must_use]
    pub const fn version(&self) -> u8 {
        let [_, _, _, _, _, _, version, ..] = self.0;
        version >> 4
    }
}

/// How many leading zero bits the proof-of-work hash of a key has: `SHA-256("moltnet-pow-v1\0" || key)`. A network may
/// demand a number of them; 0 is the default.
#[must_use]
pub fn proof_of_work_bits(key: &IdentityKey) -> u32 {
    let hash = Sha256::new().chain_update(POW_CONTEXT).chain_update(key.as_bytes()).finalize();
    let zero_bytes = hash.iter().take_while(|byte| **byte == 0).count();
    let next = hash.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zero_bytes).unwrap_or(u32::MAX) * 8 + next
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self})")
    }
}

/// The text is not a UUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a UUID: expected 32 hexadecimal digits as 8-4-4-4-12, like daa46e88-46c5-4af7-9268-1482c54c1922"
)]
pub struct InvalidUuid;

impl FromStr for AgentId {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let groups: Vec<&str> = text.split('-').collect();
        let well_formed = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(|digit| digit.is_ascii_hexdigit()));
        if !well_formed {
            return Err(InvalidUuid);
        }
        let value = u128::from_str_radix(&groups.concat(), 16).map_err(|_| InvalidUuid)?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// One tunnel to one neighbour. It is the OSPFv3 Interface ID of that point-to-point link (never zero, stable for its
/// life) and the key of its BFD session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(NonZeroU32);

impl LinkId {
    /// `None` for zero, which RFC 5340 does not allow as an Interface ID.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// An OSPF router id, printed as a dotted quad.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(pub u32);

/// Prefix of the hash that derives a router id.
const ROUTER_ID_CONTEXT: &[u8] = b"moltnet-router-id-v1\0";

impl RouterId {
    /// The router id of a key: 32 bits of `SHA-256("moltnet-router-id-v1\0" || key || draw)`. `draw` starts at 0 and
    /// is raised to draw again after a clash. Never 0, and never in 10.255.0.0/16, which is left to operators of stock
    /// routers.
    #[must_use]
    pub fn from_key(key: &IdentityKey, draw: u32) -> Self {
        let mut hash: [u8; 32] = Sha256::new()
            .chain_update(ROUTER_ID_CONTEXT)
            .chain_update(key.as_bytes())
            .chain_update(draw.to_be_bytes())
            .finalize()
            .into();
        loop {
            for quad in hash.as_chunks::<4>().0 {
                let id = u32::from_be_bytes(*quad);
                if id != 0 && id >> 16 != 0x0aff {
                    return Self(id);
                }
            }
            hash = Sha256::digest(hash).into();
        }
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0.to_be_bytes();
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

impl fmt::Debug for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "router {self}")
    }
}

impl FromStr for RouterId {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<std::net::Ipv4Addr>().map(|quad| Self(quad.to_bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn the_vectors_of_the_design() {
        let zero = Seed::from_bytes([0; 32]).identity();
        assert_eq!(zero.agent_id().to_string(), "a8cd4fb9-5636-89f0-bc46-e968cec89840");
        let counting = Seed::from_bytes(std::array::from_fn(|i| i as u8)).identity();
        assert_eq!(counting.agent_id().to_string(), "a6981f61-4d77-8c11-b9bc-d9bdb5805467");
        assert_eq!(zero.agent_id().version(), 8);
    }

    #[test]
    fn a_uuid_is_read_as_it_is_printed_and_nothing_else_is() {
        let text = "daa46e88-46c5-4af7-9268-1482c54c1922";
        let id: AgentId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.version(), 4);
        for wrong in [
            "",
            "daa46e8846c54af792681482c54c1922",
            "daa46e88-46c5-4af7-9268-1482c54c192",
            "daa46e88-46c5-4af7-9268-1482c54c19222",
            "daa46e88-46c5-4af7-9268-1482c54c192g",
            "+aa46e88-46c5-4af7-9268-1482c54c1922",
            "daa46e88-46c5-4af7-9268-1482c54c1922-",
        ] {
            assert_eq!(wrong.parse::<AgentId>(), Err(InvalidUuid), "{wrong:?}");
        }
    }

    #[test]
    fn a_router_id_is_drawn_again_after_a_clash() {
        let key = *Seed::from_bytes([0; 32]).identity().key();
        assert_ne!(RouterId::from_key(&key, 0), RouterId::from_key(&key, 1));
        assert_eq!("10.3.7.201".parse::<RouterId>().unwrap().to_string(), "10.3.7.201");
    }

    #[test]
    fn proof_of_work_counts_leading_zero_bits() {
        let found = (0..=255u8)
            .map(|byte| proof_of_work_bits(Seed::from_bytes([byte; 32]).identity().key()))
            .filter(|bits| *bits >= 4)
            .count();
        // 256 / 2^4 = 16 are expected; the seeds are fixed, so the count is too.
        assert!((6..30).contains(&found), "{found}");
    }
}
