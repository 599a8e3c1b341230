//! Fragments of OSPF packets (RFC 8200 section 4.5). BIRD sends an LSA that is larger than the MTU in fragments, and so do
//! we; no data packet inside the mesh is ever fragmented or reassembled here.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::Time;
use molt_mesh::codec::{Reader, Writer};
use molt_mesh::ip6::{HEADER_LEN, Packet};
use molt_mesh::port::{NEXT_HEADER_FRAGMENT, NEXT_HEADER_OSPF};

use crate::counters::{Counters, Discard};

/// Length of the fragment header in bytes.
const FRAGMENT_HEADER_LEN: usize = 8;
/// More fragments follow.
const MORE: u16 = 1;
/// The rest of the field is the offset in bytes.
const OFFSET: u16 = 0xfff8;

/// Largest payload that is reassembled, in bytes: a Router-LSA of 500 links.
pub const MAX_REASSEMBLED: usize = 8 * 1024;
/// Packets of one neighbour that are reassembled at a time. With [`MAX_REASSEMBLED`] it bounds a link to 32 kB.
pub const MAX_PENDING: usize = 4;
/// RFC 8200 section 4.5: what is not whole after 60 s is discarded.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A packet of which something is missing.
#[derive(Debug)]
struct Pending {
    src: Ipv6Addr,
    dst: Ipv6Addr,
    id: u32,
    since: Time,
    /// What came so far, with gaps.
    bytes: Vec<u8>,
    /// Start and end of what came.
    parts: Vec<(usize, usize)>,
    /// Length of the whole, once its end came.
    len: Option<usize>,
    /// Its fragments contradict each other. What still comes of it is discarded, too (RFC 5722 section 4).
    refused: bool,
}

/// The packets of one neighbour that are not whole yet.
#[derive(Debug, Default)]
pub struct Reassembler(Vec<Pending>);

/// A fragment as it came.
struct Fragment<'a> {
    offset: usize,
    more: bool,
    id: u32,
    data: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn decode(payload: &'a [u8]) -> Result<Self, Discard> {
        let mut r = Reader::new(payload);
        let mut header = || Ok::<_, molt_mesh::codec::Short>((r.u8()?, r.u8()?, r.u16()?, r.u32()?));
        let (next_header, _reserved, field, id) = header().map_err(|_| Discard::FragmentMalformed)?;
        let data = r.rest();
        // The field of the first fragment is the one that counts; nobody sends another in those that follow.
        if next_header != NEXT_HEADER_OSPF {
            return Err(Discard::LinkLocalOther);
        }
        let (offset, more) = (usize::from(field & OFFSET), field & MORE != 0);
        // RFC 8200 section 4.5: all but the last are multiples of eight bytes long.
        if data.is_empty() || more && !data.len().is_multiple_of(8) {
            return Err(Discard::FragmentMalformed);
        }
        if offset + data.len() > MAX_REASSEMBLED {
            return Err(Discard::FragmentTooLarge);
        }
        Ok(Self { offset, more, id, data })
    }

    const fn end(&self) -> usize {
        self.offset + self.data.len()
    }
}

impl Reassembler {
    /// Takes a packet whose next header is a fragment header. Gives the payload of the whole when it is complete.
    ///
    /// # Errors
    /// [`Discard`] names the rule by which the fragment is discarded. What is given up for other reasons is counted in
    /// `counters`.
    pub fn handle_fragment(
        &mut self,
        packet: &Packet<'_>,
        now: Time,
        counters: &mut Counters,
    ) -> Result<Option<Vec<u8>>, Discard> {
        self.0.retain(|pending| {
            let in_time = now < pending.since + TIMEOUT;
            if !in_time && !pending.refused {
                counters.count(Discard::FragmentTimeout);
            }
            in_time
        });
        let fragment = Fragment::decode(packet.payload())?;
        // RFC 6946: a fragment that is the whole has nothing to do with others.
        if fragment.offset == 0 && !fragment.more {
            return Ok(Some(fragment.data.to_vec()));
        }
        let (src, dst, id) = (packet.src(), packet.dst(), fragment.id);
        let known = self.0.iter().position(|it| (it.src, it.dst, it.id) == (src, dst, id));
        let at = known.unwrap_or_else(|| {
            // The oldest makes room: a lost fragment must not keep out whatever comes after it for a minute.
            if self.0.len() >= MAX_PENDING {
                self.0.remove(0);
                counters.count(Discard::FragmentLimit);
            }
            self.0.push(Pending::new(src, dst, id, now));
            self.0.len() - 1
        });
        let Some(pending) = self.0.get_mut(at) else { return Ok(None) };
        if !pending.add(&fragment)? {
            return Ok(None);
        }
        Ok(Some(self.0.remove(at).bytes))
    }

    /// How many packets are not whole yet.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.0.len()
    }
}

impl Pending {
    const fn new(src: Ipv6Addr, dst: Ipv6Addr, id: u32, since: Time) -> Self {
        Self { src, dst, id, since, bytes: Vec::new(), parts: Vec::new(), len: None, refused: false }
    }

    /// Whether the packet is whole with it.
    fn add(&mut self, fragment: &Fragment<'_>) -> Result<bool, Discard> {
        if self.refused {
            return Err(Discard::FragmentOverlap);
        }
        let (start, end) = (fragment.offset, fragment.end());
        // RFC 8200 section 4.5: a fragment that comes twice is no overlap.
        if self.parts.contains(&(start, end)) && self.bytes.get(start..end) == Some(fragment.data) {
            return Ok(false);
        }
        // RFC 5722 section 4: an overlap is an attack, and so are two ends.
        let overlaps = self.parts.iter().any(|(from, to)| start < *to && *from < end);
        let beyond = match self.len {
            Some(len) => end > len || !fragment.more,
            None => !fragment.more && self.parts.iter().any(|(_, to)| *to > end),
        };
        if overlaps || beyond {
            *self = Self { refused: true, ..Self::new(self.src, self.dst, self.id, self.since) };
            return Err(Discard::FragmentOverlap);
        }
        if !fragment.more {
            self.len = Some(end);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(to) = self.bytes.get_mut(start..end) {
            to.copy_from_slice(fragment.data);
        }
        self.parts.push((start, end));
        let received: usize = self.parts.iter().map(|(from, to)| to - from).sum();
        Ok(self.len == Some(received))
    }
}

/// The fragments of a whole IPv6 packet without extension headers, none larger than `mtu`, which is at least the minimum
/// of IPv6.
#[must_use]
pub fn fragments(packet: &[u8], mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let Some((header, payload)) = packet.split_at_checked(HEADER_LEN) else { return Vec::new() };
    let room = (mtu.saturating_sub(HEADER_LEN + FRAGMENT_HEADER_LEN) & usize::from(OFFSET)).max(8);
    let next_header = header.get(6).copied().unwrap_or_default();
    let mut offset = 0;
    let fragment = |data: &[u8]| {
        let more = if offset + data.len() < payload.len() { MORE } else { 0 };
        let field = u16::try_from(offset).unwrap_or(u16::MAX) & OFFSET | more;
        offset += data.len();
        let mut w = Writer::with_capacity(HEADER_LEN + FRAGMENT_HEADER_LEN + data.len());
        let len = u16::try_from(FRAGMENT_HEADER_LEN + data.len()).unwrap_or(u16::MAX);
        let (before, after) = (header.get(..4).unwrap_or(&[]), header.get(7..).unwrap_or(&[]));
        w.bytes(before).u16(len).u8(NEXT_HEADER_FRAGMENT).bytes(after);
        w.u8(next_header).u8(0).u16(field).u32(id).bytes(data);
        w.finish()
    };
    payload.chunks(room).map(fragment).collect()
}

#[cfg(test)]
mod tests;
