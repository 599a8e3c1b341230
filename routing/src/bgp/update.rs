//! UPDATE (RFC 4271 section 4.3) for IPv6 unicast (RFC 4760, RFC 2545), with the error handling of RFC 7606.
//!
//! The attributes are framed by their lengths first, so that one that cannot be read does not hide the next. Which of the
//! three ways of RFC 7606 section 2 an error leads to stands with each attribute.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use molt_mesh::Prefix;
use molt_mesh::codec::{Reader, Short, Writer};

use super::consts::{AFI_IPV6, SAFI_UNICAST, attribute, flag, kind};
use super::message::{Reject, framed};
use super::path::{AsPath, LargeCommunity, Origin, Path, Segment, put};

/// How an error is dealt with, the weakest first (RFC 7606 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approach {
    /// The attribute is ignored.
    AttributeDiscard,
    /// The routes are taken as withdrawn.
    TreatAsWithdraw,
}

/// An error in an attribute that does not end the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeError {
    /// Type code; 0 if the attribute could not be framed, or the list as a whole is wrong.
    pub code: u8,
    /// What is done about it.
    pub approach: Approach,
    /// The rule.
    pub rule: &'static str,
}

impl fmt::Display for AttributeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, approach, rule } = self;
        write!(f, "attribute {code}: {rule} ({approach:?})")
    }
}

/// An UPDATE that can be acted on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Routes that are gone, those that are treated as withdrawn included.
    pub withdrawn: Vec<Prefix>,
    /// Routes with their attributes, `None` if there are none.
    pub announced: Option<(Path, Vec<Prefix>)>,
    /// End-of-RIB for IPv6 unicast (RFC 4724 section 2).
    pub end_of_rib: bool,
    /// What was wrong with it.
    pub errors: Vec<AttributeError>,
}

/// What the attributes have said so far.
#[derive(Default)]
struct Attributes {
    seen: Vec<u8>,
    origin: Option<Origin>,
    as_path: Option<AsPath>,
    med: Option<u32>,
    atomic_aggregate: bool,
    aggregator: Option<(u32, Ipv4Addr)>,
    communities: Vec<u32>,
    large_communities: Vec<LargeCommunity>,
    others: Vec<(u8, u8, Vec<u8>)>,
    /// `None` inside if the address family is none of ours.
    reach: Option<Option<(Ipv6Addr, Vec<Prefix>)>>,
    unreach: Option<Option<Vec<Prefix>>>,
    errors: Vec<AttributeError>,
}

impl Update {
    /// Reads the body of an UPDATE from a peer in another AS with four-octet AS numbers.
    ///
    /// # Errors
    /// If RFC 7606 asks for a session reset.
    pub fn decode(body: &[u8]) -> Result<Self, Reject> {
        let mut r = Reader::new(body);
        // RFC 7606 section 3 (b).
        let too_long = |_: Short| Reject::AttributeList("the lengths exceed the message");
        let length = r.u16().map_err(too_long)?;
        let withdrawn_v4 = r.sub(length.into()).map_err(too_long)?;
        let length = r.u16().map_err(too_long)?;
        let mut list = r.sub(length.into()).map_err(too_long)?;
        // IPv4 was not agreed on; what there is of it must be well-formed and is ignored (RFC 7606 section 3 (i)).
        prefixes(withdrawn_v4, 32).ok_or(Reject::Network("the field of withdrawn routes"))?;
        let reaches_v4 = !r.is_empty();
        prefixes(r, 32).ok_or(Reject::Network("the field of reachable routes"))?;

        let mut attributes = Attributes::default();
        while !list.is_empty() {
            let Some(attribute) = frame(&mut list) else {
                // RFC 7606 section 4: nothing behind it can be found either.
                attributes.note(0, Approach::TreatAsWithdraw, "the attribute exceeds the list");
                break;
            };
            attributes.read(&attribute)?;
        }
        let Attributes { reach, unreach, seen, .. } = &attributes;
        // RFC 7606 section 5.2.
        let reaches = reaches_v4 || reach.is_some();
        let severe = attributes.errors.iter().any(|error| error.approach == Approach::TreatAsWithdraw);
        if severe && !reaches {
            return Err(Reject::AttributeList("an error without routes it could be about"));
        }
        let end_of_rib = !reaches_v4
            && withdrawn_v4.is_empty()
            && *seen == [attribute::MP_UNREACH]
            && matches!(unreach, Some(Some(prefixes)) if prefixes.is_empty());
        Ok(attributes.finish(end_of_rib))
    }
}

impl Attributes {
    fn note(&mut self, code: u8, approach: Approach, rule: &'static str) {
        self.errors.push(AttributeError { code, approach, rule });
    }

    fn read(&mut self, attribute: &Attribute<'_>) -> Result<(), Reject> {
        let Attribute { flags, code, value, whole } = *attribute;
        let unreadable = |part| Reject::Nlri { part, attribute: whole.to_vec() };
        if self.seen.contains(&code) {
            // RFC 7606 section 3 (g).
            if matches!(code, attribute::MP_REACH | attribute::MP_UNREACH) {
                return Err(Reject::AttributeList("MP_REACH_NLRI or MP_UNREACH_NLRI appears twice"));
            }
            self.note(code, Approach::AttributeDiscard, "it appears twice");
            return Ok(());
        }
        self.seen.push(code);
        let kind = flags & (flag::OPTIONAL | flag::TRANSITIVE);
        match expected_flags(code) {
            Some(expected) if kind == expected => {}
            // RFC 7606 section 5.3.
            Some(_) if code == attribute::MP_REACH => return Err(unreadable("MP_REACH_NLRI (flags)")),
            Some(_) if code == attribute::MP_UNREACH => return Err(unreadable("MP_UNREACH_NLRI (flags)")),
            // RFC 7606 section 3 (c).
            Some(_) => {
                self.note(code, Approach::TreatAsWithdraw, "its flags contradict its type");
                return Ok(());
            }
            None if flags & flag::OPTIONAL == 0 => {
                return Err(Reject::UnknownWellKnown { code, attribute: whole.to_vec() });
            }
            None => {
                if flags & flag::TRANSITIVE != 0 {
                    let flags = flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL;
                    self.others.push((code, flags, value.rest().to_vec()));
                }
                return Ok(());
            }
        }
        match code {
            attribute::MP_REACH => self.reach = Some(reach(value).map_err(unreadable)?),
            attribute::MP_UNREACH => self.unreach = Some(unreach(value).map_err(unreadable)?),
            _ => {
                if let Err((approach, rule)) = self.read_value(code, value) {
                    self.note(code, approach, rule);
                }
            }
        }
        Ok(())
    }

    /// The rules of RFC 7606 section 7, one by one.
    fn read_value(&mut self, code: u8, mut r: Reader<'_>) -> Result<(), (Approach, &'static str)> {
        use Approach::{AttributeDiscard, TreatAsWithdraw};
        let bytes = r.rest();
        match code {
            // Section 7.1.
            attribute::ORIGIN => {
                self.origin = Some(match bytes {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    [2] => Origin::Incomplete,
                    _ => return Err((TreatAsWithdraw, "ORIGIN is not one octet of 0 to 2")),
                });
            }
            // Section 7.2.
            attribute::AS_PATH => {
                let path = as_path(r).map_err(|rule| (TreatAsWithdraw, rule))?;
                self.as_path = Some(path);
            }
            // Section 7.3. The next hop of an IPv6 route is elsewhere (RFC 4760 section 3).
            attribute::NEXT_HOP if bytes.len() != 4 => {
                return Err((TreatAsWithdraw, "NEXT_HOP is not four octets"));
            }
            attribute::NEXT_HOP => {}
            // Section 7.4.
            attribute::MED => match bytes.as_array() {
                Some(med) => self.med = Some(u32::from_be_bytes(*med)),
                None => return Err((TreatAsWithdraw, "MULTI_EXIT_DISC is not four octets")),
            },
            // Sections 7.5, 7.9, 7.10: not for another AS to say.
            attribute::LOCAL_PREF | attribute::ORIGINATOR_ID | attribute::CLUSTER_LIST => {
                return Err((AttributeDiscard, "it comes from another AS"));
            }
            // Section 7.6.
            attribute::ATOMIC_AGGREGATE if !bytes.is_empty() => {
                return Err((AttributeDiscard, "ATOMIC_AGGREGATE is not empty"));
            }
            attribute::ATOMIC_AGGREGATE => self.atomic_aggregate = true,
            // Section 7.7, and RFC 7607 section 2.
            attribute::AGGREGATOR => match (bytes.len(), r.u32(), r.u32()) {
                (8, Ok(asn), Ok(id)) if asn != 0 => self.aggregator = Some((asn, Ipv4Addr::from_bits(id))),
                _ => return Err((AttributeDiscard, "AGGREGATOR is not an AS and an identifier")),
            },
            // Section 7.8.
            attribute::COMMUNITIES => match bytes.as_chunks() {
                (chunks @ [_, ..], []) => {
                    self.communities = sorted(chunks.iter().map(|chunk| u32::from_be_bytes(*chunk)));
                }
                _ => return Err((TreatAsWithdraw, "COMMUNITIES is not a non-zero multiple of four octets")),
            },
            // RFC 8092 section 6.
            attribute::LARGE_COMMUNITIES => match bytes.as_chunks::<12>() {
                (chunks @ [_, ..], []) => {
                    let words = |chunk: &[u8; 12]| {
                        let (words, _) = chunk.as_chunks();
                        <[u32; 3]>::try_from(
                            words.iter().map(|it| u32::from_be_bytes(*it)).collect::<Vec<_>>(),
                        )
                    };
                    self.large_communities = sorted(chunks.iter().filter_map(|chunk| words(chunk).ok()));
                }
                _ => {
                    return Err((TreatAsWithdraw, "LARGE_COMMUNITY is not a non-zero multiple of 12 octets"));
                }
            },
            // Section 7.14; carried as it is.
            attribute::EXTENDED_COMMUNITIES => match bytes.as_chunks::<8>() {
                ([_, ..], []) => {
                    self.others.push((code, flag::OPTIONAL | flag::TRANSITIVE, bytes.to_vec()));
                }
                _ => {
                    return Err((
                        TreatAsWithdraw,
                        "EXTENDED COMMUNITIES is not a non-zero multiple of eight octets",
                    ));
                }
            },
            // RFC 6793 section 4.1: AS4_PATH and AS4_AGGREGATOR, between speakers that both have four-octet AS numbers.
            _ => return Err((AttributeDiscard, "both ends have four-octet AS numbers")),
        }
        Ok(())
    }

    fn finish(mut self, end_of_rib: bool) -> Update {
        let mut update = Update { end_of_rib, ..Update::default() };
        update.withdrawn = self.unreach.take().flatten().unwrap_or_default();
        if let Some((next_hop, prefixes)) = self.reach.take().flatten() {
            // RFC 7606 section 3 (d).
            for (code, present) in [
                (attribute::ORIGIN, self.seen.contains(&attribute::ORIGIN)),
                (attribute::AS_PATH, self.seen.contains(&attribute::AS_PATH)),
            ] {
                if !present {
                    self.note(code, Approach::TreatAsWithdraw, "it is mandatory and missing");
                }
            }
            if !is_next_hop(next_hop) {
                self.note(
                    attribute::MP_REACH,
                    Approach::TreatAsWithdraw,
                    "the next hop is no unicast address",
                );
            }
            let severe = self.errors.iter().any(|error| error.approach == Approach::TreatAsWithdraw);
            match (self.origin, self.as_path) {
                (Some(origin), Some(as_path)) if !severe => {
                    self.others.sort_unstable();
                    let path = Path {
                        origin,
                        as_path,
                        next_hop,
                        med: self.med,
                        local_pref: None,
                        atomic_aggregate: self.atomic_aggregate,
                        aggregator: self.aggregator,
                        communities: self.communities,
                        large_communities: self.large_communities,
                        others: self.others,
                    };
                    update.announced = Some((path, prefixes));
                }
                _ => update.withdrawn.extend(prefixes),
            }
        }
        update.errors = self.errors;
        update
    }
}

/// One attribute as it stands in the list.
struct Attribute<'a> {
    flags: u8,
    code: u8,
    value: Reader<'a>,
    whole: &'a [u8],
}

/// Takes one attribute off the list. `None` if it is longer than what is left.
fn frame<'a>(list: &mut Reader<'a>) -> Option<Attribute<'a>> {
    let from = list.rest();
    let (flags, code) = (list.u8().ok()?, list.u8().ok()?);
    let length = match flags & flag::EXTENDED_LENGTH {
        0 => list.u8().ok()?.into(),
        _ => list.u16().ok()?,
    };
    let value = list.sub(length.into()).ok()?;
    let whole = from.get(..from.len() - list.left())?;
    Some(Attribute { flags, code, value, whole })
}

/// Optional and Transitive bits of the attributes that are known.
const fn expected_flags(code: u8) -> Option<u8> {
    match code {
        attribute::ORIGIN
        | attribute::AS_PATH
        | attribute::NEXT_HOP
        | attribute::LOCAL_PREF
        | attribute::ATOMIC_AGGREGATE => Some(flag::TRANSITIVE),
        attribute::MED
        | attribute::ORIGINATOR_ID
        | attribute::CLUSTER_LIST
        | attribute::MP_REACH
        | attribute::MP_UNREACH => Some(flag::OPTIONAL),
        attribute::AGGREGATOR
        | attribute::COMMUNITIES
        | attribute::EXTENDED_COMMUNITIES
        | attribute::AS4_PATH
        | attribute::AS4_AGGREGATOR
        | attribute::LARGE_COMMUNITIES => Some(flag::OPTIONAL | flag::TRANSITIVE),
        _ => None,
    }
}

/// RFC 4271 section 4.3, RFC 7606 section 7.2, RFC 7607 section 2 (no AS 0), RFC 5065 section 5 (no confederation segment
/// from outside).
fn as_path(mut r: Reader<'_>) -> Result<AsPath, &'static str> {
    let mut segments = Vec::new();
    while !r.is_empty() {
        let short = |_: Short| "AS_PATH ends within a segment";
        let (kind, count) = (r.u8().map_err(short)?, r.u8().map_err(short)?);
        let mut numbers = Vec::with_capacity(count.into());
        for _ in 0..count {
            numbers.push(r.u32().map_err(short)?);
        }
        if numbers.is_empty() {
            return Err("AS_PATH has an empty segment");
        }
        if numbers.contains(&0) {
            return Err("AS_PATH names AS 0");
        }
        segments.push(match kind {
            1 => Segment::Set(numbers),
            2 => Segment::Sequence(numbers),
            _ => return Err("AS_PATH has a segment of unknown type"),
        });
    }
    Ok(AsPath(segments))
}

/// MP_REACH_NLRI (RFC 4760 section 3, RFC 2545 section 3); `None` for an address family that was not agreed on.
fn reach(mut r: Reader<'_>) -> Result<Option<(Ipv6Addr, Vec<Prefix>)>, &'static str> {
    let short = |_: Short| "MP_REACH_NLRI";
    let family = (r.u16().map_err(short)?, r.u8().map_err(short)?);
    let length = r.u8().map_err(short)?;
    let mut next_hop = r.sub(length.into()).map_err(short)?;
    let _reserved = r.u8().map_err(short)?;
    if family != (AFI_IPV6, SAFI_UNICAST) {
        return Ok(None);
    }
    // A second address is link-local, of a link we do not share.
    if !matches!(length, 16 | 32) {
        return Err("the next hop in MP_REACH_NLRI");
    }
    let next_hop = Ipv6Addr::from_bits(next_hop.u128().map_err(short)?);
    let prefixes = prefixes(r, 128).ok_or("MP_REACH_NLRI")?;
    Ok(Some((next_hop, prefixes)))
}

/// MP_UNREACH_NLRI (RFC 4760 section 4).
fn unreach(mut r: Reader<'_>) -> Result<Option<Vec<Prefix>>, &'static str> {
    let short = |_: Short| "MP_UNREACH_NLRI";
    let family = (r.u16().map_err(short)?, r.u8().map_err(short)?);
    if family != (AFI_IPV6, SAFI_UNICAST) {
        return Ok(None);
    }
    prefixes(r, 128).ok_or("MP_UNREACH_NLRI").map(Some)
}

/// NLRI (RFC 4271 section 4.3): `None` if it is syntactically incorrect (RFC 7606 section 5.3). Prefixes that no host can
/// be in are left out (RFC 4271 section 6.3), and bits beyond the length are of no significance.
fn prefixes(mut r: Reader<'_>, longest: u8) -> Option<Vec<Prefix>> {
    let mut found = Vec::new();
    while !r.is_empty() {
        let len = r.u8().ok().filter(|len| *len <= longest)?;
        let mut octets = [0; 16];
        let bytes = r.bytes(usize::from(len).div_ceil(8)).ok()?;
        octets.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let prefix = Prefix::new(Ipv6Addr::from_octets(octets), len);
        let first = prefix.addr();
        if !(first.is_multicast() || first.is_unicast_link_local()) {
            found.push(prefix);
        }
    }
    Some(found)
}

fn is_next_hop(addr: Ipv6Addr) -> bool {
    !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() || addr.is_unicast_link_local())
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// Most bytes of NLRI and passed-on attributes in one message: with the 48 around them they fit the smallest limit of a
/// message.
const MAX_CONTENT: usize = 4000;

/// The UPDATEs that announce `prefixes` with the attributes of `path`, none if the attributes leave no room for the longest
/// prefix (RFC 4271 section 9.2).
#[must_use]
pub fn announce(path: &Path, prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let mut attributes = Writer::default();
    path.encode(&mut attributes);
    let room = MAX_CONTENT.saturating_sub(attributes.len());
    if room < 17 {
        return Vec::new();
    }
    let message = |nlri: Vec<u8>| {
        let mut value = Writer::default();
        value.u16(AFI_IPV6).u8(SAFI_UNICAST).u8(16).u128(path.next_hop.to_bits()).u8(0).bytes(&nlri);
        // RFC 7606 section 5.1: the routes come first.
        let mut list = Writer::default();
        put(&mut list, flag::OPTIONAL, attribute::MP_REACH, value.as_slice());
        list.bytes(attributes.as_slice());
        update(list.as_slice())
    };
    chunks(prefixes, room).into_iter().map(message).collect()
}

/// The UPDATEs that withdraw `prefixes`.
#[must_use]
pub fn withdraw(prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    chunks(prefixes, MAX_CONTENT).into_iter().map(|nlri| unreachable(&nlri)).collect()
}

/// End-of-RIB (RFC 4724 section 2).
#[must_use]
pub fn end_of_rib() -> Vec<u8> {
    unreachable(&[])
}

fn unreachable(nlri: &[u8]) -> Vec<u8> {
    let mut value = Writer::default();
    value.u16(AFI_IPV6).u8(SAFI_UNICAST).bytes(nlri);
    let mut list = Writer::default();
    put(&mut list, flag::OPTIONAL, attribute::MP_UNREACH, value.as_slice());
    update(list.as_slice())
}

fn update(attributes: &[u8]) -> Vec<u8> {
    framed(kind::UPDATE, |w| {
        w.u16(0).u16(attributes.len() as u16).bytes(attributes);
    })
}

/// NLRI in pieces of at most `room` bytes.
fn chunks(prefixes: &[Prefix], room: usize) -> Vec<Vec<u8>> {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for prefix in prefixes {
        let octets = prefix.addr().octets();
        let bytes = octets.iter().take(usize::from(prefix.len()).div_ceil(8));
        let nlri: Vec<u8> = std::iter::once(prefix.len()).chain(bytes.copied()).collect();
        match chunks.last_mut() {
            Some(last) if last.len() + nlri.len() <= room => last.extend(nlri),
            _ => chunks.push(nlri),
        }
    }
    chunks
}
