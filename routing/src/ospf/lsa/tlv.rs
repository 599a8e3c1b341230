//! LSAs whose bodies are lists of TLVs: Router Information (RFC 7770), Grace (RFC 5187) and Autoconfiguration (RFC 7503).

use std::fmt;
use std::time::Duration;

use molt_mesh::codec::{Reader, Writer};

use super::Malformed;
use crate::ospf::consts::{
    FINGERPRINT_LEN, MAX_HOSTNAME, TLV_CAPABILITIES, TLV_FINGERPRINT, TLV_GRACE_PERIOD, TLV_GRACE_REASON,
    TLV_HOSTNAME,
};

/// Type and value of each TLV, also of those nobody here knows.
type Tlvs = Vec<(u16, Vec<u8>)>;

fn decode_tlvs(r: &mut Reader<'_>) -> Result<Tlvs, Malformed> {
    let mut tlvs = Vec::new();
    while !r.is_empty() {
        let (kind, len) = (r.u16()?, usize::from(r.u16()?));
        tlvs.push((kind, r.bytes(len)?.to_vec()));
        // RFC 7770 section 2.3, RFC 3630 section 2.3.2: padded to four bytes, the padding is not counted.
        r.bytes(len.next_multiple_of(4) - len)?;
    }
    Ok(tlvs)
}

fn encode_tlvs(tlvs: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut w = Writer::default();
    for (kind, value) in tlvs {
        w.u16(*kind).u16(u16::try_from(value.len()).unwrap_or(u16::MAX)).bytes(value);
        while w.len() % 4 != 0 {
            w.u8(0);
        }
    }
    w.finish()
}

/// The value of the first TLV of a type, which is the one that counts.
fn first(tlvs: &[(u16, Vec<u8>)], kind: u16) -> Option<&[u8]> {
    tlvs.iter().find(|(other, _)| *other == kind).map(|(_, value)| value.as_slice())
}

/// Router Information LSA (RFC 7770 section 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterInformationLsa {
    /// Type and value of each TLV.
    pub tlvs: Tlvs,
}

impl RouterInformationLsa {
    /// Says the name of a router (RFC 5642). More than 255 bytes are cut at a character.
    #[must_use]
    pub fn with_hostname(name: &str) -> Self {
        let name = name.get(..name.floor_char_boundary(MAX_HOSTNAME)).unwrap_or_default();
        Self { tlvs: vec![(TLV_HOSTNAME, name.into())] }
    }

    /// The same with the router's informational capabilities in front, where RFC 7770 section 2.4 wants them.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: u32) -> Self {
        self.tlvs.insert(0, (TLV_CAPABILITIES, capabilities.to_be_bytes().to_vec()));
        self
    }

    /// RFC 5642 section 3.1: the first TLV counts. What is not printable ASCII is refused, because the name ends up on
    /// an operator's terminal.
    #[must_use]
    pub fn hostname(&self) -> Option<&str> {
        let name = std::str::from_utf8(first(&self.tlvs, TLV_HOSTNAME)?).ok()?;
        (!name.is_empty() && name.len() <= MAX_HOSTNAME && name.bytes().all(|byte| byte.is_ascii_graphic()))
            .then_some(name)
    }

    /// The first 32 informational capabilities ([`capability`](crate::ospf::consts::capability)); more are not assigned.
    #[must_use]
    pub fn capabilities(&self) -> Option<u32> {
        Some(u32::from_be_bytes(*first(&self.tlvs, TLV_CAPABILITIES)?.first_chunk()?))
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { tlvs: decode_tlvs(r)? })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_tlvs(&self.tlvs)
    }
}

/// Why a router restarts (RFC 3623 appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceReason(pub u8);

impl GraceReason {
    /// It does not say.
    pub const UNKNOWN: Self = Self(0);
    /// The routing process restarts.
    pub const SOFTWARE_RESTART: Self = Self(1);
    /// It is upgraded.
    pub const SOFTWARE_UPGRADE: Self = Self(2);
    /// Another control processor takes over.
    pub const SWITCH_TO_REDUNDANT: Self = Self(3);
}

impl fmt::Display for GraceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNKNOWN => f.write_str("unknown"),
            Self::SOFTWARE_RESTART => f.write_str("software restart"),
            Self::SOFTWARE_UPGRADE => f.write_str("software reload or upgrade"),
            Self::SWITCH_TO_REDUNDANT => f.write_str("switch to redundant control processor"),
            Self(other) => write!(f, "reason {other}"),
        }
    }
}

/// Grace-LSA (RFC 5187 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraceLsa {
    /// How many seconds from the origination of the LSA neighbours are to keep the adjacency.
    pub period_s: u32,
    /// Why.
    pub reason: GraceReason,
}

impl GraceLsa {
    /// The grace period.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_secs(self.period_s as u64)
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let tlvs = decode_tlvs(r)?;
        // RFC 5187 section 2.2: both MUST appear, with lengths of four bytes and one.
        let (Some(&[a, b, c, d]), Some(&[reason])) =
            (first(&tlvs, TLV_GRACE_PERIOD), first(&tlvs, TLV_GRACE_REASON))
        else {
            return Err(Malformed::Tlv);
        };
        Ok(Self { period_s: u32::from_be_bytes([a, b, c, d]), reason: GraceReason(reason) })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let period = self.period_s.to_be_bytes().to_vec();
        encode_tlvs(&[(TLV_GRACE_PERIOD, period), (TLV_GRACE_REASON, vec![self.reason.0])])
    }
}

/// Autoconfiguration LSA (RFC 7503 section 7.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoconfigLsa {
    /// Type and value of each TLV.
    pub tlvs: Tlvs,
}

impl AutoconfigLsa {
    /// Says the fingerprint by which routers with the same Router ID are told apart.
    #[must_use]
    pub fn with_fingerprint(fingerprint: &[u8; FINGERPRINT_LEN]) -> Self {
        Self { tlvs: vec![(TLV_FINGERPRINT, fingerprint.to_vec())] }
    }

    /// RFC 7503 section 7.2.2: at least 32 bytes.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&[u8]> {
        first(&self.tlvs, TLV_FINGERPRINT).filter(|value| value.len() >= FINGERPRINT_LEN)
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { tlvs: decode_tlvs(r)? })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_tlvs(&self.tlvs)
    }
}
