//! The agent record: what an agent says about itself, signed by its identity key, at most [`MAX_LEN`] bytes.
//!
//! ```text
//! | version 1 | 0 | payload length (2) | draw (4) | router id (4) | seq (8) | expiry (8) |
//! | identity key (32) | WireGuard key (32) |
//! | payload (protobuf, zeros up to a multiple of four) | signature (64) |
//! ```
//!
//! What routing needs is in the fixed header; the payload may grow fields that an older node does not know. A record is
//! passed on as the bytes it came in, so nothing of it is lost on the way. The signature covers everything before it.
//!
//! [`AgentRecord`] is a record whose signature was checked: [`Unverified::verify`] and [`Agent::sign`] are the only ways to
//! get one. Whether it has expired is asked when it is used, because only its user knows what time it is.

mod delegation;
mod topology;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use prost::Message as _;
use sha2::{Digest, Sha256};

use crate::addr::{MeshAddr, MeshPrefix, TrustClass};
use crate::codec::{Reader, Short, Writer};
use crate::id::RouterId;
use crate::key::{Identity, IdentityKey, NodePublic};
use crate::sign::{Context, SIGNATURE_LEN, Signed, Verifier};

pub use delegation::{DELEGATION_LEN, Delegation, DelegationReject, Grant};
pub use topology::{Covered, DIGEST_LEN, MAX_COVERED, SignedTopology, Topology, TopologyReject, digest};

/// Longest record in bytes: with the headers of LSA, OSPF and IPv6 it fits the MTU of every link, 1280.
pub const MAX_LEN: usize = 1152;
/// Bytes before the payload.
const HEADER_LEN: usize = 92;
/// Longest payload in bytes.
pub const MAX_PAYLOAD: usize = MAX_LEN - HEADER_LEN - SIGNATURE_LEN;
/// The only version.
const VERSION: u8 = 1;
/// Longest name in bytes: a DNS label (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 63;
/// Longest other text in bytes. They are words, not prose.
const MAX_WORD: usize = 32;
/// Most entries of each list. A node has one or two addresses, a few endpoints and services.
const MAX_LIST: usize = 16;

const CONTEXT: Context = Context(b"moltnet-agent-record-v1\0");

/// What an agent says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Who it is.
    pub key: IdentityKey,
    /// The key of its tunnels. It may change; the identity does not.
    pub wireguard: NodePublic,
    /// How often it has drawn a router id (see [`RouterId::from_key`]).
    pub draw: u32,
    /// Its addresses. Those that follow from a key follow from this one; claimed ones are claims.
    pub addresses: Vec<MeshAddr>,
    /// A DNS label.
    pub name: Option<String>,
    /// Where its tunnels can be reached.
    pub endpoints: Vec<SocketAddr>,
    /// What it offers.
    pub services: Vec<Service>,
    /// What it can do, in words.
    pub capabilities: Vec<String>,
    /// Where it is, in a word.
    pub region: Option<String>,
    /// A record with a higher number replaces this one.
    pub seq: u64,
    /// When it ends, in seconds since 1970.
    pub expiry: u64,
}

/// Something an agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is, in a word.
    pub name: String,
    /// Port on the mesh addresses of the agent.
    pub port: u16,
    /// IP protocol: 6 (TCP) or 17 (UDP).
    pub protocol: u8,
}

/// A record that its agent signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    agent: Agent,
    bytes: Arc<[u8]>,
}

/// A record that is well-formed. Nobody has checked who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified<'a> {
    agent: Agent,
    bytes: &'a [u8],
}

/// Why a record is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum RecordReject {
    /// A self-certifying address is not that of the key, or an address is of a class no agent has.
    #[error("an address that is not the key's")]
    Address,
    /// An address is of another mesh than that of whoever reads it.
    #[error("an address of another mesh (see `[network] prefix`)")]
    AnotherMesh,
    /// A list has too many entries, or a text is too long or has characters it may not have.
    #[error("a field of the record is out of bounds")]
    Field,
    /// It is longer than a record may be, or its length is not what it says.
    #[error("length of the record")]
    Length,
    /// The payload is no protobuf message, or an address in it is malformed.
    #[error("payload of the record")]
    Payload,
    /// The router id is not the one the key draws.
    #[error("router id not drawn from the key")]
    RouterId,
    /// It ends before its last field.
    #[error("record too short")]
    Short,
    /// The signature is not the key's.
    #[error("signature of the record")]
    Signature,
    /// An unknown version.
    #[error("version of the record")]
    Version,
}

impl From<Short> for RecordReject {
    fn from(_: Short) -> Self {
        Self::Short
    }
}

impl Agent {
    /// The router id that it has drawn.
    #[must_use]
    pub fn router_id(&self) -> RouterId {
        RouterId::from_key(&self.key, self.draw)
    }

    /// Signs the record. Optional content that does not fit is left out, the last of the longest list first, so that a
    /// record always fits an LSA.
    ///
    /// # Errors
    /// [`RecordReject`] if a field is one that readers would refuse, or `identity` is somebody else.
    pub fn sign(mut self, identity: &Identity) -> Result<AgentRecord, RecordReject> {
        if self.key != *identity.key() {
            return Err(RecordReject::Signature);
        }
        let mut payload = Payload::from(&self);
        while payload.encoded_len() > MAX_PAYLOAD {
            let lists = [self.endpoints.len(), self.services.len(), self.capabilities.len()];
            match lists {
                [0, 0, 0] => return Err(RecordReject::Length),
                [e, s, c] if e >= s && e >= c => drop(self.endpoints.pop()),
                [_, s, c] if s >= c => drop(self.services.pop()),
                _ => drop(self.capabilities.pop()),
            }
            payload = Payload::from(&self);
        }
        let payload = payload.encode_to_vec();
        let length = u16::try_from(payload.len()).map_err(|_| RecordReject::Length)?;
        let mut w = Writer::with_capacity(MAX_LEN);
        w.u8(VERSION).u8(0).u16(length).u32(self.draw).u32(self.router_id().0).u64(self.seq);
        w.u64(self.expiry).bytes(self.key.as_bytes()).bytes(self.wireguard.as_bytes()).bytes(&payload);
        while !w.len().is_multiple_of(4) {
            w.u8(0);
        }
        let bytes = identity.sign(CONTEXT, w.finish());
        // Whoever reads it applies these rules, so they hold here, too.
        let agent = Unverified::decode(&bytes)?.agent;
        Ok(AgentRecord { agent, bytes: bytes.into() })
    }
}

impl<'a> Unverified<'a> {
    /// Reads a record, and checks everything that costs less than the signature.
    ///
    /// # Errors
    /// [`RecordReject`] names the rule that failed.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordReject> {
        if bytes.len() > MAX_LEN {
            return Err(RecordReject::Length);
        }
        let signed = Signed::split(bytes).ok_or(RecordReject::Short)?;
        let mut r = Reader::new(signed.content);
        let version = r.u8()?;
        let flags = r.u8()?;
        if (version, flags) != (VERSION, 0) {
            return Err(RecordReject::Version);
        }
        let length = usize::from(r.u16()?);
        let (draw, router_id) = (r.u32()?, RouterId(r.u32()?));
        let (seq, expiry) = (r.u64()?, r.u64()?);
        let key = IdentityKey::from_bytes(r.array()?);
        let wireguard = NodePublic::from_bytes(r.array()?);
        let payload = r.bytes(length)?;
        if r.left() != length.next_multiple_of(4) - length || r.rest().iter().any(|byte| *byte != 0) {
            return Err(RecordReject::Length);
        }
        let payload = Payload::decode(payload).map_err(|_| RecordReject::Payload)?;
        let agent = payload.agent(Agent {
            key,
            wireguard,
            draw,
            addresses: Vec::new(),
            name: None,
            endpoints: Vec::new(),
            services: Vec::new(),
            capabilities: Vec::new(),
            region: None,
            seq,
            expiry,
        })?;
        if agent.router_id() != router_id {
            return Err(RecordReject::RouterId);
        }
        let may_have = |address: &MeshAddr| match address.class() {
            TrustClass::SelfCertifying => *address == address.mesh().address_of_key(&key),
            TrustClass::Claimed => true,
            TrustClass::Container | TrustClass::Infrastructure => false,
        };
        if !agent.addresses.iter().all(may_have) {
            return Err(RecordReject::Address);
        }
        Ok(Self { agent, bytes })
    }

    /// What it says, whoever says it.
    #[must_use]
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Checks that its addresses are of our mesh, and the signature.
    ///
    /// # Errors
    /// [`RecordReject::AnotherMesh`], or [`RecordReject::Signature`] if its agent did not sign it.
    pub fn verify(self, mesh: MeshPrefix, verifier: &dyn Verifier) -> Result<AgentRecord, RecordReject> {
        if self.agent.addresses.iter().any(|address| address.mesh() != mesh) {
            return Err(RecordReject::AnotherMesh);
        }
        let signed = Signed::split(self.bytes).ok_or(RecordReject::Short)?;
        if !signed.is_by(&self.agent.key, CONTEXT, verifier) {
            return Err(RecordReject::Signature);
        }
        Ok(AgentRecord { agent: self.agent, bytes: self.bytes.into() })
    }
}

impl AgentRecord {
    /// What it says.
    #[must_use]
    pub const fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The record as it travels.
    #[must_use]
    pub const fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The same in `bytes`, if they are those of the record: who keeps it twice need not keep its bytes twice.
    #[must_use]
    pub fn sharing(self, bytes: &Arc<[u8]>) -> Self {
        if self.bytes == *bytes { Self { bytes: Arc::clone(bytes), ..self } } else { self }
    }

    /// Decides which of two keys keeps a router id: the one with the lower `SHA-256(key)`.
    #[must_use]
    pub fn rank(key: &IdentityKey) -> [u8; 32] {
        Sha256::digest(key.as_bytes()).into()
    }
}

/// The payload on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", repeated, tag = "1")]
    addresses: Vec<Vec<u8>>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    endpoints: Vec<EndpointField>,
    #[prost(message, repeated, tag = "4")]
    services: Vec<ServiceField>,
    #[prost(string, repeated, tag = "5")]
    capabilities: Vec<String>,
    #[prost(string, tag = "6")]
    region: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EndpointField {
    /// 4 or 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    ip: Vec<u8>,
    #[prost(uint32, tag = "2")]
    port: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServiceField {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    port: u32,
    #[prost(uint32, tag = "3")]
    protocol: u32,
}

impl From<&Agent> for Payload {
    fn from(agent: &Agent) -> Self {
        let endpoint = |endpoint: &SocketAddr| EndpointField {
            ip: match endpoint.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            port: endpoint.port().into(),
        };
        let service = |service: &Service| ServiceField {
            name: service.name.clone(),
            port: service.port.into(),
            protocol: service.protocol.into(),
        };
        Self {
            addresses: agent.addresses.iter().map(|address| address.ip().octets().to_vec()).collect(),
            name: agent.name.clone().unwrap_or_default(),
            endpoints: agent.endpoints.iter().map(endpoint).collect(),
            services: agent.services.iter().map(service).collect(),
            capabilities: agent.capabilities.clone(),
            region: agent.region.clone().unwrap_or_default(),
        }
    }
}

impl Payload {
    /// Puts the fields into `agent`, checked.
    fn agent(self, agent: Agent) -> Result<Agent, RecordReject> {
        let lists =
            [self.addresses.len(), self.endpoints.len(), self.services.len(), self.capabilities.len()];
        let words = self.capabilities.iter().chain(self.services.iter().map(|service| &service.name));
        if lists.iter().any(|len| *len > MAX_LIST)
            || !words.chain([&self.region].into_iter().filter(|it| !it.is_empty())).all(|word| is_word(word))
            || !self.name.is_empty() && !is_name(&self.name)
        {
            return Err(RecordReject::Field);
        }
        let address = |octets: &Vec<u8>| {
            let octets: [u8; 16] = octets.as_slice().try_into().ok()?;
            MeshAddr::new(Ipv6Addr::from_octets(octets))
        };
        let addresses: Option<Vec<MeshAddr>> = self.addresses.iter().map(address).collect();
        let endpoints: Option<Vec<SocketAddr>> = self.endpoints.iter().map(EndpointField::read).collect();
        let services: Option<Vec<Service>> = self.services.into_iter().map(ServiceField::read).collect();
        let some = |text: String| (!text.is_empty()).then_some(text);
        Ok(Agent {
            addresses: addresses.ok_or(RecordReject::Payload)?,
            name: some(self.name),
            endpoints: endpoints.ok_or(RecordReject::Payload)?,
            services: services.ok_or(RecordReject::Payload)?,
            capabilities: self.capabilities,
            region: some(self.region),
            ..agent
        })
    }
}

impl EndpointField {
    fn read(&self) -> Option<SocketAddr> {
        let ip = match *self.ip.as_slice() {
            [a, b, c, d] => IpAddr::from([a, b, c, d]),
            _ => IpAddr::from(<[u8; 16]>::try_from(self.ip.as_slice()).ok()?),
        };
        let port = u16::try_from(self.port).ok().filter(|port| *port != 0)?;
        Some(SocketAddr::new(ip, port))
    }
}

impl ServiceField {
    fn read(self) -> Option<Service> {
        let (port, protocol) = (u16::try_from(self.port).ok()?, u8::try_from(self.protocol).ok()?);
        Some(Service { name: self.name, port, protocol })
    }
}

/// What ends up on an operator's terminal.
fn is_word(text: &str) -> bool {
    (1..=MAX_WORD).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A DNS label in lower case.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
