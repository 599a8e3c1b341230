//! OSPFv3 packets (RFC 5340 appendix A.3).

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::codec::{Reader, Short, Writer};
use molt_mesh::port::NEXT_HEADER_OSPF;
use molt_mesh::{RouterId, checksum};

use super::consts::{
    CHECKSUM_OFFSET, DESCRIPTION_LEN, HELLO_LEN, LSA_HEADER_LEN, PACKET_HEADER_LEN, REQUEST_LEN, UPDATE_LEN,
    VERSION, options, packet_type,
};
use super::lsa::{Lsa, LsaHeader, LsaKey, Malformed};

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it.
    pub router: RouterId,
    /// Area ID.
    pub area: u32,
    /// Instance ID.
    pub instance: u8,
    /// What it says.
    pub body: PacketBody,
}

/// The five kinds of packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketBody {
    /// Hello (A.3.2).
    Hello(Hello),
    /// Database Description (A.3.3).
    Description(Description),
    /// Link State Request (A.3.4).
    Request(Vec<LsaKey>),
    /// Link State Update (A.3.5).
    Update(Vec<Lsa>),
    /// Link State Acknowledgment (A.3.6).
    Ack(Vec<LsaHeader>),
}

/// Hello (A.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Interface ID of the sender.
    pub interface: u32,
    /// Router priority.
    pub priority: u8,
    /// Options, 24 bits.
    pub options: u32,
    /// HelloInterval in seconds.
    pub hello_interval: u16,
    /// RouterDeadInterval in seconds.
    pub dead_interval: u16,
    /// Designated Router.
    pub designated: RouterId,
    /// Backup Designated Router.
    pub backup: RouterId,
    /// Whom the sender has heard lately.
    pub neighbors: Vec<RouterId>,
}

/// Database Description (A.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Options, 24 bits.
    pub options: u32,
    /// Interface MTU in bytes.
    pub mtu: u16,
    /// [`description`](super::consts::description).
    pub flags: u8,
    /// DD sequence number.
    pub seq: u32,
    /// What the sender's database holds.
    pub headers: Vec<LsaHeader>,
}

/// Why a received packet is dropped. One variant for each rule; counted, not propagated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reject {
    /// Section 4.2.2: the area is not ours.
    #[error("area is not 0.0.0.0")]
    Area,
    /// RFC 2328 section 8.2: the checksum is wrong.
    #[error("bad checksum")]
    Checksum,
    /// Section 4.2.2: the destination is neither the interface nor AllSPFRouters.
    #[error("not for this router")]
    Destination,
    /// Section 4.2.2.1: the E-bit or the N-bit does not match the area.
    #[error("the options do not match the area")]
    HelloOptions,
    /// Section 4.2.2: another instance shares the link.
    #[error("other instance id")]
    Instance,
    /// No sane interval: a zero HelloInterval, or a RouterDeadInterval below it.
    #[error("hello and dead interval make no sense")]
    Intervals,
    /// A.3.1: the length field does not fit the bytes.
    #[error("wrong length")]
    Length,
    /// The tunnel of the link is down, or there is no such link.
    #[error("the link is down")]
    LinkDown,
    /// An LSA in the packet does not fit into it.
    #[error("malformed LSA")]
    Lsa,
    /// RFC 2328 section 10.6: the neighbour sends packets that are larger than we accept.
    #[error("the neighbour's MTU is larger than ours")]
    Mtu,
    /// A Hello on a tunnel that is a spare, see [`Ospf::limit_neighbors`](super::Ospf::limit_neighbors).
    #[error("there are as many neighbours as wanted")]
    NeighborLimit,
    /// RFC 2328 sections 10.6, 10.7, 13, 13.7: no such packet is expected in this state of the neighbour.
    #[error("unexpected in this neighbour state")]
    NeighborState,
    /// RFC 2328 section 8.2: not a Hello, and from no neighbour.
    #[error("no such neighbour")]
    NoNeighbor,
    /// Section 4.2.2: our own router id.
    #[error("our own router id")]
    OwnRouterId,
    /// A.3.1: no such packet type.
    #[error("unknown packet type")]
    PacketType,
    /// RFC 2328 section 10.6: a description that is none of those the state allows.
    #[error("database description does not continue the exchange")]
    Sequence,
    /// A field ends after the packet.
    #[error("a field ends after the packet")]
    Short,
    /// Section 4.2.2: the source is not link-local.
    #[error("source is not link-local")]
    Source,
    /// A.3.1: not version 3.
    #[error("not OSPF version 3")]
    Version,
}

impl From<Short> for Reject {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

impl From<Malformed> for Reject {
    fn from(_: Malformed) -> Self {
        Self::Lsa
    }
}

impl Packet {
    /// Reads a packet. Bytes after the length in its header (an authentication trailer) are not looked at, and neither
    /// is the checksum.
    ///
    /// # Errors
    /// [`Reject`] names the rule that failed.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(Reject::Version);
        }
        let kind = r.u8()?;
        let rest = usize::from(r.u16()?).checked_sub(4).ok_or(Reject::Length)?;
        let mut r = r.sub(rest).map_err(|_| Reject::Length)?;
        let (router, area) = (RouterId(r.u32()?), r.u32()?);
        let _checksum = r.u16()?;
        let instance = r.u8()?;
        let _reserved = r.u8()?;
        let body = match kind {
            packet_type::HELLO => PacketBody::Hello(Hello::decode(&mut r)?),
            packet_type::DATABASE_DESCRIPTION => PacketBody::Description(Description::decode(&mut r)?),
            packet_type::LINK_STATE_REQUEST => PacketBody::Request(decode_requests(&mut r)?),
            packet_type::LINK_STATE_UPDATE => PacketBody::Update(decode_update(&mut r)?),
            packet_type::LINK_STATE_ACK => PacketBody::Ack(decode_headers(&mut r)?),
            _ => return Err(Reject::PacketType),
        };
        Ok(Self { router, area, instance, body })
    }

    /// Whether the checksum is right (A.3.1). The length in the pseudo-header is that of the OSPF header, so a trailer
    /// is not covered.
    #[must_use]
    pub fn checksum_is_valid(bytes: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let mut r = Reader::new(bytes);
        let Ok([_, _, high, low]) = r.array::<4>() else { return false };
        let len = usize::from(u16::from_be_bytes([high, low]));
        bytes
            .get(..len)
            .is_some_and(|bytes| checksum::upper_layer_is_valid(src, dst, NEXT_HEADER_OSPF, bytes))
    }

    /// What the checksum of a packet should be, and what it is, for whoever has to find out why it is wrong.
    pub(super) fn checksums(bytes: &[u8], src: Ipv6Addr, dst: Ipv6Addr) -> (u16, u16) {
        let field = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>());
            field.map_or(0, |field| u16::from_be_bytes(*field))
        };
        let received = field(CHECKSUM_OFFSET);
        let mut w = Writer::default();
        w.bytes(bytes.get(..usize::from(field(2))).unwrap_or(bytes)).patch_u16(CHECKSUM_OFFSET, 0);
        (checksum::upper_layer(src, dst, NEXT_HEADER_OSPF, w.as_slice()), received)
    }

    /// The bytes with length and checksum.
    #[must_use]
    pub fn encode(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let mut w = Writer::with_capacity(PACKET_HEADER_LEN + self.body.length());
        w.u8(VERSION).u8(self.body.kind()).u16(0).u32(self.router.0).u32(self.area);
        w.u16(0).u8(self.instance).u8(0);
        match &self.body {
            PacketBody::Hello(hello) => hello.encode(&mut w),
            PacketBody::Description(description) => description.encode(&mut w),
            PacketBody::Request(keys) => {
                for key in keys {
                    w.u16(0);
                    key.encode(&mut w);
                }
            }
            PacketBody::Update(lsas) => {
                w.u32(u32::try_from(lsas.len()).unwrap_or(u32::MAX));
                for lsa in lsas {
                    lsa.encode(&mut w, lsa.header.raw_age);
                }
            }
            PacketBody::Ack(headers) => {
                for header in headers {
                    header.encode(&mut w);
                }
            }
        }
        let len = u16::try_from(w.len()).unwrap_or(u16::MAX);
        w.patch_u16(2, len);
        let sum = checksum::upper_layer(src, dst, NEXT_HEADER_OSPF, w.as_slice());
        w.patch_u16(CHECKSUM_OFFSET, sum);
        w.finish()
    }
}

impl PacketBody {
    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => packet_type::HELLO,
            Self::Description(_) => packet_type::DATABASE_DESCRIPTION,
            Self::Request(_) => packet_type::LINK_STATE_REQUEST,
            Self::Update(_) => packet_type::LINK_STATE_UPDATE,
            Self::Ack(_) => packet_type::LINK_STATE_ACK,
        }
    }

    /// Bytes behind the header.
    fn length(&self) -> usize {
        match self {
            Self::Hello(hello) => HELLO_LEN + 4 * hello.neighbors.len(),
            Self::Description(description) => DESCRIPTION_LEN + LSA_HEADER_LEN * description.headers.len(),
            Self::Request(keys) => REQUEST_LEN * keys.len(),
            Self::Update(lsas) => {
                UPDATE_LEN + lsas.iter().map(|lsa| usize::from(lsa.header.length)).sum::<usize>()
            }
            Self::Ack(headers) => LSA_HEADER_LEN * headers.len(),
        }
    }
}

impl Hello {
    /// What a router with these intervals says over a point-to-point link, on which there is no Designated Router.
    #[must_use]
    pub fn point_to_point(
        interface: u32,
        (hello, dead): (Duration, Duration),
        neighbors: Vec<RouterId>,
    ) -> Self {
        Self {
            interface,
            // Nobody looks at it; stock routers send their default of 1.
            priority: 1,
            options: options::ROUTER,
            hello_interval: seconds(hello),
            dead_interval: seconds(dead),
            designated: RouterId(0),
            backup: RouterId(0),
            neighbors,
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Reject> {
        let interface = r.u32()?;
        let (priority, options) = (r.u8()?, r.u24()?);
        let (hello_interval, dead_interval) = (r.u16()?, r.u16()?);
        let (designated, backup) = (RouterId(r.u32()?), RouterId(r.u32()?));
        let mut neighbors = Vec::with_capacity(r.left() / 4);
        while !r.is_empty() {
            neighbors.push(RouterId(r.u32()?));
        }
        Ok(Self {
            interface,
            priority,
            options,
            hello_interval,
            dead_interval,
            designated,
            backup,
            neighbors,
        })
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.interface).u8(self.priority).u24(self.options);
        w.u16(self.hello_interval).u16(self.dead_interval).u32(self.designated.0).u32(self.backup.0);
        for neighbor in &self.neighbors {
            w.u32(neighbor.0);
        }
    }

    /// HelloInterval and RouterDeadInterval.
    #[must_use]
    pub fn intervals(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.hello_interval.into()), Duration::from_secs(self.dead_interval.into()))
    }
}

/// As a Hello says it.
pub(super) fn seconds(interval: Duration) -> u16 {
    u16::try_from(interval.as_secs()).unwrap_or(u16::MAX)
}

impl Description {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Reject> {
        let _reserved = r.u8()?;
        let (options, mtu) = (r.u24()?, r.u16()?);
        let _reserved = r.u8()?;
        let (flags, seq) = (r.u8()?, r.u32()?);
        Ok(Self { options, mtu, flags, seq, headers: decode_headers(r)? })
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(0).u24(self.options).u16(self.mtu).u8(0).u8(self.flags).u32(self.seq);
        for header in &self.headers {
            header.encode(w);
        }
    }
}

fn decode_requests(r: &mut Reader<'_>) -> Result<Vec<LsaKey>, Reject> {
    let mut keys = Vec::with_capacity(r.left() / REQUEST_LEN);
    while !r.is_empty() {
        let _reserved = r.u16()?;
        keys.push(LsaKey::decode(r)?);
    }
    Ok(keys)
}

fn decode_headers(r: &mut Reader<'_>) -> Result<Vec<LsaHeader>, Reject> {
    let mut headers = Vec::with_capacity(r.left() / LSA_HEADER_LEN);
    while !r.is_empty() {
        headers.push(LsaHeader::decode(r)?);
    }
    Ok(headers)
}

fn decode_update(r: &mut Reader<'_>) -> Result<Vec<Lsa>, Reject> {
    let count = r.u32()?;
    let mut lsas = Vec::new();
    for _ in 0..count {
        lsas.push(Lsa::decode(r)?);
    }
    if r.is_empty() { Ok(lsas) } else { Err(Reject::Length) }
}
