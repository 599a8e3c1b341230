//! Messages: framing, OPEN, NOTIFICATION, ROUTE-REFRESH (RFC 4271 sections 4 and 6). UPDATE is in `update`.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use molt_mesh::codec::{Reader, Short, Writer};

use super::consts::{
    AFI_IPV6, AS_TRANS, HEADER_LEN, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, SAFI_UNICAST, VERSION, capability,
    kind,
};

/// Why a message ends the session: one variant per rule of RFC 4271 section 6 that RFC 7606 leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Section 6.1.
    #[error("the marker is not all ones")]
    NotSynchronized,
    /// Section 6.1: shorter than its type allows, or longer than the session allows.
    #[error("a message of type {kind} has {length} bytes")]
    Length {
        /// Type of the message.
        kind: u8,
        /// As received.
        length: u16,
    },
    /// Section 6.1.
    #[error("{kind} is not a type of message")]
    Kind {
        /// As received.
        kind: u8,
    },
    /// Section 6.2.
    #[error("version {version} is not 4")]
    Version {
        /// As received.
        version: u8,
    },
    /// Section 6.2: not the AS that is configured; RFC 7607 section 2: AS 0.
    #[error("AS {asn} is not the one configured")]
    PeerAs {
        /// As received.
        asn: u32,
    },
    /// Section 6.2, RFC 6286 section 2.2.
    #[error("the BGP Identifier is 0")]
    Identifier,
    /// Section 6.2: parameters that end in the middle.
    #[error("an optional parameter of the OPEN cannot be read")]
    Parameter,
    /// Section 6.2: a parameter other than capabilities.
    #[error("{parameter} is no optional parameter that is known")]
    UnknownParameter {
        /// Its type.
        parameter: u8,
    },
    /// Section 6.2.
    #[error("a Hold Time of {seconds} s is neither 0 nor at least 3")]
    HoldTime {
        /// As received.
        seconds: u16,
    },
    /// RFC 5492 section 3: the peer lacks a capability without which there is nothing to exchange.
    #[error("the peer lacks {0}")]
    MissingCapability(Missing),
    /// Section 6.3 and RFC 7606 sections 3 (b), (g) and 5.2.
    #[error("the attributes of an UPDATE cannot be located: {0}")]
    AttributeList(&'static str),
    /// Section 6.3.
    #[error("attribute {code} is well-known, but not to us")]
    UnknownWellKnown {
        /// Its type code.
        code: u8,
        /// All of it, as received.
        attribute: Vec<u8>,
    },
    /// RFC 7606 sections 5.3 and 7.11: the NLRI in an attribute cannot be located or read.
    #[error("{part} cannot be read")]
    Nlri {
        /// The attribute, or which part of it.
        part: &'static str,
        /// All of it, as received.
        attribute: Vec<u8>,
    },
    /// Section 6.3 and RFC 7606 section 5.3: the same in a field of the message.
    #[error("{0} cannot be read")]
    Network(&'static str),
    /// RFC 7313 section 5: a ROUTE-REFRESH of another length.
    #[error("a ROUTE-REFRESH has {length} bytes of payload")]
    RefreshLength {
        /// As received.
        length: usize,
    },
}

/// A capability without which there is nothing to talk about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// RFC 6793. The private AS numbers of meshes have four octets.
    FourOctetAs,
    /// RFC 4760.
    Ipv6Unicast,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FourOctetAs => "four-octet AS numbers",
            Self::Ipv6Unicast => "IPv6 unicast",
        })
    }
}

impl Reject {
    /// What the peer is told.
    #[must_use]
    pub fn notification(&self) -> Notification {
        let (code, subcode, mut data) = match self {
            Self::NotSynchronized => (1, 1, Vec::new()),
            Self::Length { length, .. } => (1, 2, length.to_be_bytes().to_vec()),
            Self::Kind { kind } => (1, 3, vec![*kind]),
            Self::Version { .. } => (2, 1, u16::from(VERSION).to_be_bytes().to_vec()),
            Self::PeerAs { .. } => (2, 2, Vec::new()),
            Self::Identifier => (2, 3, Vec::new()),
            Self::Parameter => (2, 0, Vec::new()),
            Self::UnknownParameter { .. } => (2, 4, Vec::new()),
            Self::HoldTime { .. } => (2, 6, Vec::new()),
            Self::MissingCapability(Missing::FourOctetAs) => {
                (2, 7, vec![capability::FOUR_OCTET_AS, 4, 0, 0, 0, 0])
            }
            Self::MissingCapability(Missing::Ipv6Unicast) => {
                (2, 7, vec![capability::MULTIPROTOCOL, 4, 0, 2, 0, SAFI_UNICAST])
            }
            Self::AttributeList(_) => (3, 1, Vec::new()),
            Self::UnknownWellKnown { attribute, .. } => (3, 2, attribute.clone()),
            Self::Nlri { attribute, .. } => (3, 9, attribute.clone()),
            Self::Network(_) => (3, 10, Vec::new()),
            Self::RefreshLength { .. } => (7, 1, Vec::new()),
        };
        // An attribute may have come in a longer message than the peer takes.
        data.truncate(MAX_MESSAGE - HEADER_LEN - 2);
        Notification { code, subcode, data }
    }
}

/// A message that passed the checks of its own kind; an UPDATE still as bytes, because it needs the session to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// KEEPALIVE.
    Keepalive,
    /// NOTIFICATION.
    Notification(Notification),
    /// OPEN.
    Open(Open),
    /// ROUTE-REFRESH for an address family.
    RouteRefresh {
        /// Address Family Identifier.
        afi: u16,
        /// Subsequent Address Family Identifier.
        safi: u8,
    },
    /// The body of an UPDATE.
    Update(Vec<u8>),
}

/// NOTIFICATION (RFC 4271 section 4.5): the session is over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error Code.
    pub code: u8,
    /// Error Subcode.
    pub subcode: u8,
    /// Data.
    pub data: Vec<u8>,
}

impl Notification {
    /// RFC 4271 section 6.5.
    pub const HOLD_TIMER_EXPIRED: Self = Self::new(4, 0);
    /// RFC 4486: the peer announced more prefixes than it may.
    pub const TOO_MANY_PREFIXES: Self = Self::new(6, 1);
    /// RFC 4486: this speaker stops.
    pub const SHUTDOWN: Self = Self::new(6, 2);
    /// RFC 4486: the peer is no longer configured, or otherwise.
    pub const DECONFIGURED: Self = Self::new(6, 3);
    /// RFC 4486: there is a better connection to the same peer.
    pub const COLLISION: Self = Self::new(6, 7);
    /// RFC 9384: BFD says that the path is down.
    pub const BFD_DOWN: Self = Self::new(6, 10);

    const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// RFC 6608: a message that its state does not expect.
    #[must_use]
    pub const fn unexpected(subcode: u8) -> Self {
        Self::new(5, subcode)
    }

    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        framed(kind::NOTIFICATION, |w| {
            w.u8(self.code).u8(self.subcode).bytes(&self.data);
        })
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.code, self.subcode) {
            (1, _) => "Message Header Error",
            (2, 2) => "OPEN Message Error/Bad Peer AS",
            (2, 7) => "OPEN Message Error/Unsupported Capability",
            (2, _) => "OPEN Message Error",
            (3, 1) => "UPDATE Message Error/Malformed Attribute List",
            (3, 9) => "UPDATE Message Error/Optional Attribute Error",
            (3, 10) => "UPDATE Message Error/Invalid Network Field",
            (3, _) => "UPDATE Message Error",
            (4, _) => "Hold Timer Expired",
            (5, _) => "Finite State Machine Error",
            (6, 1) => "Cease/Maximum Number of Prefixes Reached",
            (6, 2) => "Cease/Administrative Shutdown",
            (6, 3) => "Cease/Peer De-configured",
            (6, 7) => "Cease/Connection Collision Resolution",
            (6, 10) => "Cease/BFD Down",
            (6, _) => "Cease",
            (7, _) => "ROUTE-REFRESH Message Error",
            _ => "Unknown Error",
        };
        write!(f, "{name} ({}/{})", self.code, self.subcode)
    }
}

/// OPEN (RFC 4271 section 4.2), with the capabilities that count here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// AS number: of the capability where there is one, else of the field.
    pub asn: u32,
    /// Hold Time the sender proposes; zero means no KEEPALIVEs.
    pub hold_time: Duration,
    /// BGP Identifier, not 0.
    pub identifier: u32,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// Capabilities (RFC 5492) that this speaker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// IPv6 unicast routes (RFC 4760).
    pub ipv6_unicast: bool,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// ROUTE-REFRESH (RFC 2918).
    pub route_refresh: bool,
    /// Messages of up to 65,535 bytes (RFC 8654).
    pub extended_message: bool,
    /// Graceful restart (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
}

/// Graceful Restart Capability (RFC 4724 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GracefulRestart {
    /// R: the sender has just restarted.
    pub restarted: bool,
    /// Restart Time.
    pub time: Duration,
    /// Whether it wants its IPv6 unicast routes kept while it restarts, and F: whether it went on forwarding.
    pub ipv6_unicast: Option<bool>,
}

/// Restart State, and the 12 bits of Restart Time.
const RESTARTED: u16 = 0x8000;
const RESTART_TIME: u16 = 0x0fff;
/// F: the forwarding state was preserved.
const FORWARDING: u8 = 0x80;

impl Open {
    fn decode(body: &[u8]) -> Result<Self, Reject> {
        let length = (HEADER_LEN + body.len()) as u16;
        let short = |_: Short| Reject::Length { kind: kind::OPEN, length };
        let mut r = Reader::new(body);
        let version = r.u8().map_err(short)?;
        if version != VERSION {
            return Err(Reject::Version { version });
        }
        let two_octet_as = r.u16().map_err(short)?;
        let seconds = r.u16().map_err(short)?;
        let identifier = r.u32().map_err(short)?;
        let capabilities_length = r.u8().map_err(short)?;
        let (capabilities, four_octet_as) = decode_parameters(capabilities_length, &mut r)?;
        let asn = four_octet_as.unwrap_or_else(|| two_octet_as.into());
        // RFC 7607 section 2, for either field.
        if asn == 0 || two_octet_as == 0 {
            return Err(Reject::PeerAs { asn: 0 });
        }
        if identifier == 0 {
            return Err(Reject::Identifier);
        }
        if matches!(seconds, 1 | 2) {
            return Err(Reject::HoldTime { seconds });
        }
        Ok(Self { asn, hold_time: Duration::from_secs(seconds.into()), identifier, capabilities })
    }

    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut caps = Writer::default();
        let able = &self.capabilities;
        if able.ipv6_unicast {
            caps.u8(capability::MULTIPROTOCOL).u8(4).u16(AFI_IPV6).u8(0).u8(SAFI_UNICAST);
        }
        if able.route_refresh {
            caps.u8(capability::ROUTE_REFRESH).u8(0);
        }
        if able.extended_message {
            caps.u8(capability::EXTENDED_MESSAGE).u8(0);
        }
        if let Some(restart) = able.graceful_restart {
            let restarted = if restart.restarted { RESTARTED } else { 0 };
            let seconds = u16::try_from(restart.time.as_secs()).unwrap_or(RESTART_TIME).min(RESTART_TIME);
            caps.u8(capability::GRACEFUL_RESTART).u8(if restart.ipv6_unicast.is_some() { 6 } else { 2 });
            caps.u16(restarted | seconds);
            if let Some(forwarding) = restart.ipv6_unicast {
                caps.u16(AFI_IPV6).u8(SAFI_UNICAST).u8(if forwarding { FORWARDING } else { 0 });
            }
        }
        if able.four_octet_as {
            caps.u8(capability::FOUR_OCTET_AS).u8(4).u32(self.asn);
        }
        framed(kind::OPEN, |w| {
            w.u8(VERSION).u16(u16::try_from(self.asn).unwrap_or(AS_TRANS));
            w.u16(u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX)).u32(self.identifier);
            // The capabilities above are at most 26 bytes.
            let len = caps.len() as u8;
            w.u8(len + 2).u8(capability::PARAMETER).u8(len).bytes(caps.as_slice());
        })
    }

    /// The identifier as everybody writes it.
    #[must_use]
    pub fn identifier_text(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.identifier)
    }
}

/// Optional parameters: capabilities, and the AS number among them.
fn decode_parameters(length: u8, r: &mut Reader<'_>) -> Result<(Capabilities, Option<u32>), Reject> {
    let unreadable = |_: Short| Reject::Parameter;
    // RFC 9072 section 2: the type decides, the length before it means nothing then, but is not 0.
    let extended = length != 0 && r.rest().first() == Some(&capability::EXTENDED_PARAMETERS);
    let length = if extended {
        r.u8().map_err(unreadable)?;
        r.u16().map_err(unreadable)?.into()
    } else {
        usize::from(length)
    };
    if length != r.left() {
        return Err(Reject::Parameter);
    }
    let (mut capabilities, mut asn) = (Capabilities::default(), None);
    while !r.is_empty() {
        let parameter = r.u8().map_err(unreadable)?;
        let length = if extended { r.u16().map(usize::from) } else { r.u8().map(usize::from) };
        let mut value = r.sub(length.map_err(unreadable)?).map_err(unreadable)?;
        if parameter != capability::PARAMETER {
            return Err(Reject::UnknownParameter { parameter });
        }
        while !value.is_empty() {
            let code = value.u8().map_err(unreadable)?;
            let length = value.u8().map_err(unreadable)?;
            let capability = value.sub(length.into()).map_err(unreadable)?;
            // RFC 5492 section 3: what we do not know, or cannot read, is as if it were not there.
            let _unreadable = capabilities.add(code, capability, &mut asn);
        }
    }
    Ok((capabilities, asn))
}

impl Capabilities {
    fn add(&mut self, code: u8, mut r: Reader<'_>, asn: &mut Option<u32>) -> Result<(), Short> {
        match code {
            capability::MULTIPROTOCOL => {
                let (afi, _reserved, safi) = (r.u16()?, r.u8()?, r.u8()?);
                self.ipv6_unicast |= (afi, safi) == (AFI_IPV6, SAFI_UNICAST);
            }
            capability::ROUTE_REFRESH => self.route_refresh = true,
            capability::EXTENDED_MESSAGE => self.extended_message = true,
            capability::GRACEFUL_RESTART => {
                let word = r.u16()?;
                let mut restart = GracefulRestart {
                    restarted: word & RESTARTED != 0,
                    time: Duration::from_secs((word & RESTART_TIME).into()),
                    ipv6_unicast: None,
                };
                while !r.is_empty() {
                    let (afi, safi, flags) = (r.u16()?, r.u8()?, r.u8()?);
                    if (afi, safi) == (AFI_IPV6, SAFI_UNICAST) {
                        restart.ipv6_unicast = Some(flags & FORWARDING != 0);
                    }
                }
                self.graceful_restart = Some(restart);
            }
            capability::FOUR_OCTET_AS => {
                *asn = Some(r.u32()?);
                self.four_octet_as = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Takes one message off the front of what was received: the message and its length, or `None` while it is not complete.
/// RFC 8654 section 4: because we always offer to take extended messages, a peer may send them whether it offers that or not.
///
/// # Errors
/// The rule it breaks.
pub fn split(received: &[u8]) -> Result<Option<(Message, usize)>, Reject> {
    // What cannot become a message need not be waited for.
    if received.iter().take(16).any(|byte| *byte != 0xff) {
        return Err(Reject::NotSynchronized);
    }
    let mut r = Reader::new(received);
    let header = r.bytes(16).and_then(|_| Ok((r.u16()?, r.u8()?)));
    let Ok((length, kind)) = header else { return Ok(None) };
    let least = HEADER_LEN
        + match kind {
            kind::OPEN => 10,
            kind::UPDATE => 4,
            kind::KEEPALIVE | kind::NOTIFICATION | kind::ROUTE_REFRESH => 0,
            _ => return Err(Reject::Kind { kind }),
        };
    let most = match kind {
        kind::KEEPALIVE => HEADER_LEN,
        kind::OPEN => MAX_MESSAGE,
        _ => MAX_EXTENDED_MESSAGE,
    };
    let total = usize::from(length);
    if !(least..=most).contains(&total) {
        return Err(Reject::Length { kind, length });
    }
    let Ok(body) = r.bytes(total - HEADER_LEN) else { return Ok(None) };
    let message = match kind {
        kind::OPEN => Message::Open(Open::decode(body)?),
        kind::UPDATE => Message::Update(body.to_vec()),
        kind::NOTIFICATION => match body {
            [code, subcode, data @ ..] => {
                Message::Notification(Notification { code: *code, subcode: *subcode, data: data.to_vec() })
            }
            _ => return Err(Reject::Length { kind, length }),
        },
        kind::ROUTE_REFRESH => match body {
            [a, b, _subtype, safi] => {
                Message::RouteRefresh { afi: u16::from_be_bytes([*a, *b]), safi: *safi }
            }
            _ => return Err(Reject::RefreshLength { length: body.len() }),
        },
        _ => Message::Keepalive,
    };
    Ok(Some((message, total)))
}

/// A KEEPALIVE.
#[must_use]
pub fn keepalive() -> Vec<u8> {
    framed(kind::KEEPALIVE, |_| {})
}

/// Puts the header in front of a body.
pub(super) fn framed(kind: u8, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::with_capacity(64);
    w.bytes(&[0xff; 16]).u16(0).u8(kind);
    body(&mut w);
    let len = w.len() as u16;
    w.patch_u16(16, len);
    w.finish()
}
