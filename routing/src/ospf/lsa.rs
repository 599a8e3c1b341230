//! Link-state advertisements: header, comparison, and the bodies this router understands (RFC 5340 appendix A.4).
//!
//! An [`Lsa`] keeps its body byte for byte, so that whatever another router originated is flooded and checksummed as
//! it was received. [`Body::decode`] reads every type of RFC 5340 and those listed at [`LsType`]; any other is
//! [`Body::Opaque`], as are the extended LSAs of RFC 8362, which are carried.

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use molt_mesh::codec::{Reader, Short, Writer};
use molt_mesh::{Prefix, RouterId, checksum};

use super::consts::{DO_NOT_AGE, LSA_HEADER_LEN, MAX_AGE, MAX_AGE_DIFF, prefix_options};

mod external;
mod tlv;

pub use external::{AsExternalLsa, InterAreaPrefixLsa, InterAreaRouterLsa};
pub use tlv::{AutoconfigLsa, GraceLsa, GraceReason, RouterInformationLsa};

/// The LS type: U-bit, flooding scope and function code (A.4.2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LsType(pub u16);

/// How far an LSA is flooded (A.4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The link it was originated on.
    Link,
    /// The area.
    Area,
    /// The autonomous system.
    As,
    /// The value 3, which no LSA may have.
    Reserved,
}

impl LsType {
    /// Link-LSA.
    pub const LINK: Self = Self(0x0008);
    /// Grace-LSA (RFC 5187).
    pub const GRACE: Self = Self(0x000b);
    /// Router-LSA.
    pub const ROUTER: Self = Self(0x2001);
    /// Network-LSA.
    pub const NETWORK: Self = Self(0x2002);
    /// Inter-Area-Prefix-LSA.
    pub const INTER_AREA_PREFIX: Self = Self(0x2003);
    /// Inter-Area-Router-LSA.
    pub const INTER_AREA_ROUTER: Self = Self(0x2004);
    /// NSSA-LSA.
    pub const NSSA: Self = Self(0x2007);
    /// Intra-Area-Prefix-LSA.
    pub const INTRA_AREA_PREFIX: Self = Self(0x2009);
    /// AS-External-LSA.
    pub const AS_EXTERNAL: Self = Self(0x4005);
    /// Agent record (Link State ID 0) and delegations: U-bit, area scope, function 8176, which is left to experiments.
    pub const AGENT_RECORD: Self = Self(0xbff0);
    /// Signed topology: U-bit, area scope, function 8177.
    pub const TOPOLOGY_SIGNATURE: Self = Self(0xbff1);
    /// Router Information LSA with area scope and the U-bit (RFC 7770 section 2.2).
    pub const ROUTER_INFORMATION: Self = Self(0xa00c);
    /// The same with link scope.
    pub const ROUTER_INFORMATION_LINK: Self = Self(0x800c);
    /// The same with AS scope.
    pub const ROUTER_INFORMATION_AS: Self = Self(0xc00c);
    /// Autoconfiguration LSA (RFC 7503 section 7.2.1).
    pub const AUTOCONFIG: Self = Self(0xa00f);

    /// Where the LSA is flooded. An unrecognized type with a clear U-bit stays on its link (section 4.5.2, case 2).
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self.0 >> 13 & 3 {
            0 => Scope::Link,
            1 | 2 if !self.is_recognized() && self.0 & 0x8000 == 0 => Scope::Link,
            1 => Scope::Area,
            2 => Scope::As,
            _ => Scope::Reserved,
        }
    }

    /// The types of RFC 5340, which every router knows.
    const fn is_recognized(self) -> bool {
        matches!(
            self,
            Self::LINK
                | Self::ROUTER
                | Self::NETWORK
                | Self::INTER_AREA_PREFIX
                | Self::INTER_AREA_ROUTER
                | Self::NSSA
                | Self::INTRA_AREA_PREFIX
                | Self::AS_EXTERNAL
        )
    }
}

impl LsType {
    /// The name, and the short one that FRR lists it by where FRR has one.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::LINK => ("Link", "Lnk"),
            Self::GRACE => ("Grace", "GR"),
            Self::ROUTER => ("Router", "Rtr"),
            Self::NETWORK => ("Network", "Net"),
            Self::INTER_AREA_PREFIX => ("Inter-Area-Prefix", "IAP"),
            Self::INTER_AREA_ROUTER => ("Inter-Area-Router", "IAR"),
            Self::NSSA => ("NSSA", "Type7"),
            Self::INTRA_AREA_PREFIX => ("Intra-Area-Prefix", "INP"),
            Self::AS_EXTERNAL => ("AS-External", "ASE"),
            Self::ROUTER_INFORMATION | Self::ROUTER_INFORMATION_LINK | Self::ROUTER_INFORMATION_AS => {
                ("Router-Information", "RI")
            }
            Self::AUTOCONFIG => ("Autoconfiguration", "AC"),
            Self::AGENT_RECORD => ("Agent-Record", "Rec"),
            Self::TOPOLOGY_SIGNATURE => ("Topology-Signature", "Sig"),
            // RFC 8362 section 4.
            Self(0xa021) => ("E-Router", "ERtr"),
            Self(0xa022) => ("E-Network", "ENet"),
            Self(0xa023) => ("E-Inter-Area-Prefix", "EIAP"),
            Self(0xa024) => ("E-Inter-Area-Router", "EIAR"),
            Self(0xc025) => ("E-AS-External", "EASE"),
            Self(0xa027) => ("E-NSSA", "EType7"),
            Self(0x8028) => ("E-Link", "ELnk"),
            Self(0xa029) => ("E-Intra-Area-Prefix", "EINP"),
            _ => ("Unknown", "Unk"),
        }
    }
}

impl fmt::Debug for LsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// What identifies an LSA within its flooding scope (A.4.2). All fragments of a router are neighbours in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LsaKey {
    /// LS type.
    pub ls_type: LsType,
    /// Advertising Router.
    pub router: RouterId,
    /// Link State ID.
    pub id: u32,
}

impl LsaKey {
    /// Records, delegations and signatures: what proves the rest.
    pub(super) const PROOFS: RangeInclusive<Self> = RangeInclusive::new(
        Self { ls_type: LsType::AGENT_RECORD, router: RouterId(0), id: 0 },
        Self { ls_type: LsType::TOPOLOGY_SIGNATURE, router: RouterId(u32::MAX), id: u32::MAX },
    );

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Short> {
        let ls_type = LsType(r.u16()?);
        let id = r.u32()?;
        Ok(Self { ls_type, router: RouterId(r.u32()?), id })
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u16(self.ls_type.0).u32(self.id).u32(self.router.0);
    }
}

/// The LSA header (A.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsaHeader {
    /// The age field as it was sent, with the DoNotAge bit. [`Self::age`] is the one to calculate with.
    pub raw_age: u16,
    /// Type, router and id.
    pub key: LsaKey,
    /// LS sequence number.
    pub seq: i32,
    /// Fletcher checksum over the LSA without its age.
    pub checksum: u16,
    /// Length of the LSA with this header in bytes.
    pub length: u16,
}

impl LsaHeader {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Short> {
        Ok(Self {
            raw_age: r.u16()?,
            key: LsaKey::decode(r)?,
            seq: r.u32()?.cast_signed(),
            checksum: r.u16()?,
            length: r.u16()?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer) {
        w.u16(self.raw_age).bytes(&self.bytes_without_age());
    }

    fn bytes_without_age(&self) -> [u8; LSA_HEADER_LEN - 2] {
        let LsaKey { ls_type, router, id } = self.key;
        let [t0, t1] = ls_type.0.to_be_bytes();
        let ([i0, i1, i2, i3], [r0, r1, r2, r3]) = (id.to_be_bytes(), router.0.to_be_bytes());
        let ([s0, s1, s2, s3], [c0, c1]) = (self.seq.to_be_bytes(), self.checksum.to_be_bytes());
        let [l0, l1] = self.length.to_be_bytes();
        [t0, t1, i0, i1, i2, i3, r0, r1, r2, r3, s0, s1, s2, s3, c0, c1, l0, l1]
    }

    /// The age in seconds, at most MaxAge.
    #[must_use]
    pub fn age(&self) -> u16 {
        (self.raw_age & !DO_NOT_AGE).min(MAX_AGE)
    }

    /// RFC 2328 section 13.1: `Greater` if `self` is the more recent of two instances of one LSA, `Equal` if they are
    /// the same instance.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let by_content = self.seq.cmp(&other.seq).then(self.checksum.cmp(&other.checksum));
        let by_max_age = (self.age() == MAX_AGE).cmp(&(other.age() == MAX_AGE));
        let by_age = if self.age().abs_diff(other.age()) > MAX_AGE_DIFF {
            other.age().cmp(&self.age())
        } else {
            Ordering::Equal
        };
        by_content.then(by_max_age).then(by_age)
    }
}

/// An LSA whose length field is right. Its checksum is not looked at before [`Lsa::checksum_is_valid`], because one bad
/// LSA must not cost the others of its packet (RFC 2328 section 13, step 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lsa {
    /// The header.
    pub header: LsaHeader,
    body: Arc<[u8]>,
}

impl Lsa {
    /// A new instance with the right length and checksum. The body is shorter than 64 kB, which its originators see to
    /// by splitting at the MTU.
    #[must_use]
    pub fn new(key: LsaKey, seq: i32, age: u16, body: Arc<[u8]>) -> Self {
        let length = u16::try_from(LSA_HEADER_LEN + body.len()).unwrap_or(u16::MAX);
        let mut lsa = Self { header: LsaHeader { raw_age: age, key, seq, checksum: 0, length }, body };
        // RFC 2328 section 12.1.7: without the age; the checksum then stands at offset 14.
        lsa.header.checksum = checksum::fletcher([&lsa.header.bytes_without_age(), &lsa.body], 14);
        lsa
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let header = LsaHeader::decode(r)?;
        let len = usize::from(header.length).checked_sub(LSA_HEADER_LEN).ok_or(Malformed::Length)?;
        Ok(Self { header, body: r.bytes(len)?.into() })
    }

    /// Appends the LSA with `age` in place of the age it was received with.
    pub(super) fn encode(&self, w: &mut Writer, age: u16) {
        LsaHeader { raw_age: age, ..self.header }.encode(w);
        w.bytes(&self.body);
    }

    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &Arc<[u8]> {
        &self.body
    }

    /// Takes an equal body in place of its own, which then need not be kept.
    pub(super) fn share_body(&mut self, body: &Arc<[u8]>) {
        debug_assert_eq!(self.body, *body);
        self.body = Arc::clone(body);
    }

    /// RFC 2328 section 12.1.7.
    #[must_use]
    pub fn checksum_is_valid(&self) -> bool {
        checksum::fletcher_is_valid([&self.header.bytes_without_age(), &self.body])
    }
}

/// Why an LSA or its body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The length field is smaller than the header.
    #[error("LSA length below its header")]
    Length,
    /// A field ends after the input.
    #[error("{0}")]
    Short(#[from] Short),
    /// A prefix is longer than an IPv6 address.
    #[error("prefix longer than 128 bits")]
    PrefixLength,
    /// A TLV that must appear is missing, or not as long as it must be.
    #[error("a mandatory TLV is missing")]
    Tlv,
    /// Bytes are left after the last field.
    #[error("bytes after the last field")]
    Trailing,
}

/// What an LSA says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A prefix outside the autonomous system.
    AsExternal(AsExternalLsa),
    /// By what routers of one Router ID are told apart.
    Autoconfig(AutoconfigLsa),
    /// The wish to be kept while the router restarts.
    Grace(GraceLsa),
    /// A prefix of another area.
    InterAreaPrefix(InterAreaPrefixLsa),
    /// An AS boundary router of another area.
    InterAreaRouter(InterAreaRouterLsa),
    /// Prefixes of a router or a transit network.
    IntraAreaPrefix(IntraAreaPrefixLsa),
    /// Link-local address and prefixes of a link.
    Link(LinkLsa),
    /// Routers on a transit network.
    Network(NetworkLsa),
    /// A prefix outside the autonomous system, told to an NSSA.
    Nssa(AsExternalLsa),
    /// Not read: stored and flooded as it is.
    Opaque,
    /// Links of a router.
    Router(RouterLsa),
    /// Name and capabilities of a router.
    RouterInformation(RouterInformationLsa),
}

impl Body {
    /// Reads the body of an LSA of type `ls_type`.
    ///
    /// # Errors
    /// [`Malformed`] names the rule that failed.
    pub fn decode(ls_type: LsType, body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let decoded = match ls_type {
            LsType::AS_EXTERNAL => Self::AsExternal(AsExternalLsa::decode(&mut r)?),
            LsType::AUTOCONFIG => Self::Autoconfig(AutoconfigLsa::decode(&mut r)?),
            LsType::GRACE => Self::Grace(GraceLsa::decode(&mut r)?),
            LsType::INTER_AREA_PREFIX => Self::InterAreaPrefix(InterAreaPrefixLsa::decode(&mut r)?),
            LsType::INTER_AREA_ROUTER => Self::InterAreaRouter(InterAreaRouterLsa::decode(&mut r)?),
            LsType::NSSA => Self::Nssa(AsExternalLsa::decode(&mut r)?),
            LsType::INTRA_AREA_PREFIX => Self::IntraAreaPrefix(IntraAreaPrefixLsa::decode(&mut r)?),
            LsType::LINK => Self::Link(LinkLsa::decode(&mut r)?),
            LsType::NETWORK => Self::Network(NetworkLsa::decode(&mut r)?),
            LsType::ROUTER => Self::Router(RouterLsa::decode(&mut r)?),
            LsType::ROUTER_INFORMATION | LsType::ROUTER_INFORMATION_LINK | LsType::ROUTER_INFORMATION_AS => {
                Self::RouterInformation(RouterInformationLsa::decode(&mut r)?)
            }
            _ => return Ok(Self::Opaque),
        };
        if r.is_empty() { Ok(decoded) } else { Err(Malformed::Trailing) }
    }

    /// The bytes of the body; `None` if it was not read.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::AsExternal(lsa) | Self::Nssa(lsa) => lsa.encode(),
            Self::Autoconfig(lsa) => lsa.encode(),
            Self::Grace(lsa) => lsa.encode(),
            Self::InterAreaPrefix(lsa) => lsa.encode(),
            Self::InterAreaRouter(lsa) => lsa.encode(),
            Self::IntraAreaPrefix(lsa) => lsa.encode(),
            Self::Link(lsa) => lsa.encode(),
            Self::Network(lsa) => lsa.encode(),
            Self::Router(lsa) => lsa.encode(),
            Self::RouterInformation(lsa) => lsa.encode(),
            Self::Opaque => return None,
        })
    }
}

/// Router-LSA (A.4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterLsa {
    /// Bits Nt, x, V, E and B.
    pub bits: u8,
    /// Options, 24 bits.
    pub options: u32,
    /// Links in the order they were listed.
    pub links: Vec<RouterLink>,
}

/// One link of a Router-LSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterLink {
    /// [`link_type`](super::consts::link_type).
    pub kind: u8,
    /// Cost of the link.
    pub metric: u16,
    /// Interface ID of the originator.
    pub interface: u32,
    /// Interface ID of the neighbour, or of the Designated Router of a transit network.
    pub neighbor_interface: u32,
    /// Router ID of the neighbour, or of the Designated Router of a transit network.
    pub neighbor: RouterId,
}

impl RouterLsa {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (bits, options) = (r.u8()?, r.u24()?);
        let mut links = Vec::with_capacity(r.left() / super::consts::ROUTER_LINK_LEN);
        while !r.is_empty() {
            let kind = r.u8()?;
            let _reserved = r.u8()?;
            links.push(RouterLink {
                kind,
                metric: r.u16()?,
                interface: r.u32()?,
                neighbor_interface: r.u32()?,
                neighbor: RouterId(r.u32()?),
            });
        }
        Ok(Self { bits, options, links })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(self.bits).u24(self.options);
        for link in &self.links {
            w.u8(link.kind).u8(0).u16(link.metric).u32(link.interface).u32(link.neighbor_interface);
            w.u32(link.neighbor.0);
        }
        w.finish()
    }
}

/// Network-LSA (A.4.4). Not originated: a tunnel is never a transit network, but stock routers may have some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLsa {
    /// Options, 24 bits.
    pub options: u32,
    /// The routers attached to the network.
    pub routers: Vec<RouterId>,
}

impl NetworkLsa {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _reserved = r.u8()?;
        let options = r.u24()?;
        let mut routers = Vec::with_capacity(r.left() / 4);
        while !r.is_empty() {
            routers.push(RouterId(r.u32()?));
        }
        Ok(Self { options, routers })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(0).u24(self.options);
        for router in &self.routers {
            w.u32(router.0);
        }
        w.finish()
    }
}

/// A prefix as it is encoded in LSAs (A.4.1). Kept as received, even where [`Self::prefix`] refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LsaPrefix {
    /// Length in bits, at most 128.
    pub len: u8,
    /// [`prefix_options`].
    pub options: u8,
    /// Metric; in a Link-LSA the field is reserved.
    pub metric: u16,
    /// The address, zero beyond the words that were sent.
    pub addr: Ipv6Addr,
}

impl LsaPrefix {
    /// An address of the originator itself.
    #[must_use]
    pub fn own(prefix: Prefix) -> Self {
        let options = if prefix.len() == 128 { prefix_options::LA } else { 0 };
        Self { len: prefix.len(), options, metric: 0, addr: prefix.addr() }
    }

    /// The prefix, unless bits are set beyond its length or it is link-local (A.4.10: such a prefix is ignored).
    #[must_use]
    pub fn prefix(&self) -> Option<Prefix> {
        let prefix = Prefix::new(self.addr, self.len);
        (prefix.addr() == self.addr && !self.addr.is_unicast_link_local()).then_some(prefix)
    }

    /// Length of the entry in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        4 + address_len(self.len)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (len, options, metric) = (r.u8()?, r.u8()?, r.u16()?);
        if len > 128 {
            return Err(Malformed::PrefixLength);
        }
        let mut octets = [0; 16];
        for (to, from) in octets.iter_mut().zip(r.bytes(address_len(len))?) {
            *to = *from;
        }
        Ok(Self { len, options, metric, addr: Ipv6Addr::from_octets(octets) })
    }

    fn encode(&self, w: &mut Writer) {
        let octets = self.addr.octets();
        w.u8(self.len).u8(self.options).u16(self.metric);
        w.bytes(octets.get(..address_len(self.len)).unwrap_or(&octets));
    }
}

/// A prefix is sent in as few 32-bit words as hold it (A.4.1).
fn address_len(bits: u8) -> usize {
    usize::from(bits).div_ceil(32) * 4
}

/// Link-LSA (A.4.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLsa {
    /// Router priority.
    pub priority: u8,
    /// Options, 24 bits.
    pub options: u32,
    /// Link-local address of the originator on the link.
    pub link_local: Ipv6Addr,
    /// Prefixes of the link.
    pub prefixes: Vec<LsaPrefix>,
}

impl LinkLsa {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (priority, options) = (r.u8()?, r.u24()?);
        let link_local = Ipv6Addr::from_bits(r.u128()?);
        let count = r.u32()?;
        Ok(Self { priority, options, link_local, prefixes: decode_prefixes(r, count)? })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(self.priority).u24(self.options).u128(self.link_local.to_bits());
        w.u32(u32::try_from(self.prefixes.len()).unwrap_or(u32::MAX));
        for prefix in &self.prefixes {
            prefix.encode(&mut w);
        }
        w.finish()
    }
}

/// Intra-Area-Prefix-LSA (A.4.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntraAreaPrefixLsa {
    /// The Router-LSA or Network-LSA whose vertex the prefixes hang on. The Link State ID is 0 for a router.
    pub referenced: LsaKey,
    /// The prefixes.
    pub prefixes: Vec<LsaPrefix>,
}

impl IntraAreaPrefixLsa {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = r.u16()?;
        let referenced = LsaKey::decode(r)?;
        Ok(Self { referenced, prefixes: decode_prefixes(r, u32::from(count))? })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(u16::try_from(self.prefixes.len()).unwrap_or(u16::MAX));
        self.referenced.encode(&mut w);
        for prefix in &self.prefixes {
            prefix.encode(&mut w);
        }
        w.finish()
    }
}

fn decode_prefixes(r: &mut Reader<'_>, count: u32) -> Result<Vec<LsaPrefix>, Malformed> {
    // Not `with_capacity(count)`: the count is the sender's, the bytes are what is really there.
    let mut prefixes = Vec::new();
    for _ in 0..count {
        prefixes.push(LsaPrefix::decode(r)?);
    }
    Ok(prefixes)
}
