//! Packets for the host, joined into super-packets that the kernel takes as one (TSO and USO, backwards).
//!
//! A packet joins the latest item of its flow, and only that one, so the packets of a flow keep their order. It must
//! continue the item exactly: the kernel cuts the super-packet by the rules of its own GSO, and what it would cut has to
//! be what was received, byte for byte. Packets stay where they were written; joining only links them.

use std::net::Ipv6Addr;
use std::ops::Range;

use molt_mesh::checksum::Sum;
use molt_mesh::ip6::{HEADER_LEN, Packet, UDP_HEADER_LEN};
use molt_mesh::port::{NEXT_HEADER_ICMPV6, NEXT_HEADER_TCP, NEXT_HEADER_UDP};

use super::MAX_DATAGRAM;
use crate::virtio;

/// Bytes of packets in one batch, the size of a UDP batch.
const CAPACITY: usize = 512 * 1024;

/// The batch asks to be written from this many bytes on.
const FLUSH_BYTES: usize = 256 * 1024;

/// Packets in one batch: `CAPACITY` bytes of small ones.
const MAX_PACKETS: usize = 4096;

/// The batch asks to be written from this many packets on: what the receive buffer of a program takes of small datagrams
/// (212,992 bytes by default, a few hundred for each), so that it can read while more are on their way.
const FLUSH_PACKETS: usize = 256;

/// Packets in one super-packet: the kernel's `UDP_MAX_SEGMENTS` before 6.9. TCP has no such limit, but at the tunnel
/// MTU 64 KiB are reached first.
const MAX_JOINED: u16 = 64;

/// Pieces of memory in one write: the headers and each packet.
pub(crate) const MAX_SLICES: usize = 1 + MAX_JOINED as usize;

/// Bytes in one super-packet, headers included: what the kernel makes itself without IPv6 jumbograms.
const MAX_SUPER_PACKET: usize = 65_535;

/// Longest headers: IPv6 and a TCP header with all its options.
const MAX_HEADERS: usize = HEADER_LEN + 60;

/// Places in the table of latest items. Two flows that share a place only join less.
const FLOWS: usize = 256;

/// In the table of latest items: none. Larger than any index.
const NO_ITEM: u16 = u16::MAX;

const TCP_HEADER_LEN: usize = 20;
const TCP_ACK: u8 = 0x10;
const TCP_PSH: u8 = 0x08;

/// What super-packets are made of. Linux takes those of TCP since 2.6, those of UDP since 6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// Packets to write, in order.
#[derive(Debug)]
pub struct TunBatch {
    coalesce_tcp: bool,
    coalesce_udp: bool,
    /// The packets as they were received, without gaps. One more fits always, so that there is room to decrypt into.
    buffer: Box<[u8]>,
    /// How much of `buffer` is taken.
    used: usize,
    packets: Vec<Placed>,
    items: Vec<Item>,
    /// The latest item of each flow, an index into `items`, at the flow's [`place`].
    latest: Box<[u16; FLOWS]>,
}

/// A packet in the buffer.
#[derive(Debug, Clone, Copy)]
struct Placed {
    start: u32,
    end: u32,
    /// The next packet of the same item, an index into `packets`; its own index at the end of the item.
    next: u16,
}

/// One write.
#[derive(Debug, Clone, Copy)]
struct Item {
    first: u16,
    last: u16,
    count: u16,
    /// Bytes of the super-packet.
    len: usize,
    /// `None` for a packet that cannot be joined.
    flow: Option<Flow>,
}

/// What the next packet of an item has to continue.
#[derive(Debug, Clone, Copy)]
struct Flow {
    /// For TCP: the sequence number behind the item, and the flags of its last packet.
    transport: Transport,
    /// Length of IPv6 and transport headers.
    header_len: usize,
    /// Payload bytes of each packet but the last.
    segment: u16,
    /// A short packet or PSH ended the item.
    closed: bool,
    /// The checksum of the first packet is looked at only when a second one arrives.
    checked: bool,
}

/// The headers of a packet that may be joined.
#[derive(Debug, Clone, Copy)]
struct Shape {
    transport: Transport,
    header_len: usize,
    payload_len: u16,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Tcp { seq: u32, flags: u8 },
    Udp,
}

impl TunBatch {
    /// An empty batch. `coalesce` says whether the device takes segmentation offload: true for a TUN device with
    /// `IFF_VNET_HDR`, to be written with [`writes`](Self::writes); false elsewhere, to be read with
    /// [`packets`](Self::packets).
    #[must_use]
    pub fn new(coalesce: bool) -> Self {
        Self {
            coalesce_tcp: coalesce,
            coalesce_udp: coalesce,
            buffer: vec![0; CAPACITY + MAX_DATAGRAM].into_boxed_slice(),
            used: 0,
            packets: Vec::with_capacity(MAX_PACKETS),
            items: Vec::with_capacity(MAX_PACKETS),
            latest: Box::new([NO_ITEM; FLOWS]),
        }
    }

    /// Stops joining packets of one protocol, whose super-packets the device does not take.
    pub(crate) fn refuse(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tcp => self.coalesce_tcp = false,
            Protocol::Udp => self.coalesce_udp = false,
        }
    }

    /// Where the next packet may be written: [`MAX_DATAGRAM`] bytes.
    pub fn room(&mut self) -> &mut [u8] {
        let start = self.used;
        self.buffer.get_mut(start..start + MAX_DATAGRAM).unwrap_or_default()
    }

    /// Queues the first `len` bytes of [`room`](Self::room), one packet without padding behind it. False if the batch is full and the packet was discarded.
    pub fn commit(&mut self, len: usize) -> bool {
        let len = len.min(MAX_DATAGRAM);
        if len == 0 {
            return true;
        }
        if self.used + len > CAPACITY || self.packets.len() == MAX_PACKETS {
            return false;
        }
        let start = self.used;
        self.used += len;
        self.join(start, start + len);
        true
    }

    /// Queues a copy of `packet`. False if the batch is full and the packet was discarded.
    pub fn push(&mut self, packet: &[u8]) -> bool {
        let Some(room) = self.room().get_mut(..packet.len()) else { return false };
        room.copy_from_slice(packet);
        self.commit(packet.len())
    }

    /// Whether the batch should be written before the core gets more input.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        self.used >= FLUSH_BYTES || self.packets.len() >= FLUSH_PACKETS
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets the packets.
    pub fn clear(&mut self) {
        self.used = 0;
        self.packets.clear();
        self.items.clear();
        self.latest.fill(NO_ITEM);
    }

    /// The packets as they were queued, in order.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.packets.iter().map(|packet| self.bytes(packet))
    }

    /// What to write to a device with `IFF_VNET_HDR`, in order.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.items.iter().map(|item| Write::new(self, item))
    }

    fn bytes(&self, packet: &Placed) -> &[u8] {
        self.buffer.get(packet.start as usize..packet.end as usize).unwrap_or_default()
    }

    /// The packet of an index that this batch gave out.
    fn packet(&self, index: u16) -> &[u8] {
        self.packets.get(usize::from(index)).map_or(&[], |packet| self.bytes(packet))
    }

    /// Appends the packet at `start..end` to the latest item of its flow, or makes an item of it.
    #[expect(clippy::cast_possible_truncation, reason = "MAX_PACKETS fits 16 bits, CAPACITY 32")]
    fn join(&mut self, start: usize, end: usize) {
        let index = self.packets.len() as u16;
        self.packets.push(Placed { start: start as u32, end: end as u32, next: index });
        let bytes = self.buffer.get(start..end).unwrap_or_default();
        let item = Item { first: index, last: index, count: 1, len: end - start, flow: None };
        match Class::of(bytes, self.coalesce_tcp, self.coalesce_udp) {
            Class::Flow(place, shape) => {
                let latest = self.latest.get(place).copied().unwrap_or(NO_ITEM);
                if shape.is_some_and(|shape| self.extend(latest, index, &shape)) {
                    return;
                }
                if let Some(latest) = self.latest.get_mut(place) {
                    *latest = self.items.len() as u16;
                }
                self.items.push(Item { flow: shape.map(Flow::start), ..item });
            }
            Class::Alone => self.items.push(item),
            Class::Unknown => {
                self.items.push(item);
                // It may belong to any flow, for example as a fragment: nothing may overtake it.
                self.latest.fill(NO_ITEM);
            }
        }
    }

    /// Lets the packet `index` continue the item `latest`, if it does.
    fn extend(&mut self, latest: u16, index: u16, shape: &Shape) -> bool {
        let Some(item) = self.items.get(usize::from(latest)) else { return false };
        let Some(mut flow) = item.flow else { return false };
        let (first, packet) = (self.packet(item.first), self.packet(index));
        let fits = item.count < MAX_JOINED && item.len + usize::from(shape.payload_len) <= MAX_SUPER_PACKET;
        if !fits || !flow.is_continued_by(shape) || !same_headers(first, packet, shape.transport) {
            return false;
        }
        // Joining replaces the checksums, which would hide that one of them was wrong.
        let valid = |bytes| Packet::new(bytes).is_ok_and(|packet| packet.upper_layer_checksum_is_valid());
        if !(flow.checked || valid(first)) || !valid(packet) {
            return false;
        }
        flow.append(shape);
        let last = item.last;
        if let Some(last) = self.packets.get_mut(usize::from(last)) {
            last.next = index;
        }
        if let Some(item) = self.items.get_mut(usize::from(latest)) {
            item.last = index;
            item.count += 1;
            item.len += usize::from(shape.payload_len);
            item.flow = Some(flow);
        }
        true
    }
}

/// What joining means for a packet.
enum Class {
    /// It has no order with other packets.
    Alone,
    /// It belongs to the flow at this place of the table; the shape is there if it may be joined.
    Flow(usize, Option<Shape>),
    /// Its flow is hidden behind an extension header.
    Unknown,
}

impl Class {
    fn of(bytes: &[u8], tcp: bool, udp: bool) -> Self {
        let Ok(packet) = Packet::new(bytes) else { return Self::Unknown };
        let shape = match packet.next_header() {
            NEXT_HEADER_TCP if tcp => Shape::of_tcp(&packet),
            NEXT_HEADER_UDP if udp => Shape::of_udp(&packet),
            NEXT_HEADER_TCP | NEXT_HEADER_UDP | NEXT_HEADER_ICMPV6 => return Self::Alone,
            _ => return Self::Unknown,
        };
        // What stands behind the payload would end up in the middle of a super-packet.
        let shape = shape.filter(|_| packet.len() == bytes.len());
        Self::Flow(place(&packet), shape)
    }
}

/// The place of a flow in the table of latest items: addresses and ports, but not the flow label, which Linux changes
/// within a connection.
fn place(packet: &Packet<'_>) -> usize {
    let low = |addr: Ipv6Addr| addr.to_bits() as u64;
    let ports = packet.payload().first_chunk().map_or(0, |ports| u32::from_ne_bytes(*ports));
    // Fibonacci hashing: the odd number next to 2^64 divided by the golden ratio; the high bits are the mixed ones.
    let mix = |x: u64| x.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = mix(mix(low(packet.src()) ^ u64::from(ports)) ^ low(packet.dst()));
    (hash >> (u64::BITS - FLOWS.ilog2())) as usize
}

impl Shape {
    fn of_tcp(packet: &Packet<'_>) -> Option<Self> {
        let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] = *packet.payload() else {
            return None;
        };
        let tcp_len = usize::from(offset >> 4) * 4;
        let reserved = offset & 0x0f;
        // Anything but ACK and PSH changes the connection or carries congestion signals: not ours to spread.
        let plain = reserved == 0 && flags & !TCP_PSH == TCP_ACK;
        let payload_len = packet.payload().len().checked_sub(tcp_len)?;
        (plain && tcp_len >= TCP_HEADER_LEN && payload_len > 0).then_some(())?;
        Some(Self {
            transport: Transport::Tcp { seq: u32::from_be_bytes([s0, s1, s2, s3]), flags },
            header_len: HEADER_LEN + tcp_len,
            payload_len: u16::try_from(payload_len).ok()?,
        })
    }

    fn of_udp(packet: &Packet<'_>) -> Option<Self> {
        let payload_len = packet.udp()?.payload.len();
        let whole = packet.payload().len() == UDP_HEADER_LEN + payload_len;
        (whole && payload_len > 0).then_some(())?;
        Some(Self {
            transport: Transport::Udp,
            header_len: HEADER_LEN + UDP_HEADER_LEN,
            payload_len: u16::try_from(payload_len).ok()?,
        })
    }
}

impl Flow {
    fn start(shape: Shape) -> Self {
        let mut flow = Self {
            transport: shape.transport,
            header_len: shape.header_len,
            segment: shape.payload_len,
            closed: false,
            checked: false,
        };
        flow.follow(&shape);
        flow
    }

    fn is_continued_by(&self, shape: &Shape) -> bool {
        let in_sequence = match (self.transport, shape.transport) {
            (Transport::Tcp { seq, .. }, Transport::Tcp { seq: next, .. }) => seq == next,
            (Transport::Udp, Transport::Udp) => true,
            (Transport::Tcp { .. }, Transport::Udp) | (Transport::Udp, Transport::Tcp { .. }) => false,
        };
        in_sequence
            && !self.closed
            && self.header_len == shape.header_len
            && shape.payload_len <= self.segment
    }

    fn append(&mut self, shape: &Shape) {
        self.checked = true;
        self.closed = shape.payload_len < self.segment;
        self.follow(shape);
    }

    /// Moves to what has to come behind `shape`.
    fn follow(&mut self, shape: &Shape) {
        self.transport = shape.transport;
        if let Transport::Tcp { seq, flags } = &mut self.transport {
            *seq = seq.wrapping_add(u32::from(shape.payload_len));
            // The kernel keeps PSH for the last segment of a super-packet.
            self.closed |= *flags & TCP_PSH != 0;
        }
    }
}

/// Whether two packets of one shape differ only in what GSO writes itself: lengths, checksum, sequence number, PSH.
fn same_headers(a: &[u8], b: &[u8], transport: Transport) -> bool {
    let same = |range: Range<usize>| a.get(range.clone()).is_some_and(|bytes| b.get(range) == Some(bytes));
    let ip = same(0..4) && same(6..HEADER_LEN);
    let tcp = HEADER_LEN;
    match transport {
        Transport::Tcp { .. } => {
            let options = a.get(tcp + 12).map_or(0, |offset| usize::from(offset >> 4) * 4);
            let ports_ack_offset = same(tcp..tcp + 4) && same(tcp + 8..tcp + 13);
            ip && ports_ack_offset && same(tcp + 14..tcp + 16) && same(tcp + 18..tcp + options.max(18))
        }
        Transport::Udp => ip && same(tcp..tcp + 4),
    }
}

/// One write to the device: headers, then payloads.
#[derive(Debug)]
pub struct Write<'a> {
    batch: &'a TunBatch,
    item: Item,
    /// `struct virtio_net_hdr` and, for a super-packet, the headers of all its packets in one.
    headers: [u8; virtio::HEADER_LEN + MAX_HEADERS],
    /// How much of `headers` counts.
    headers_len: usize,
}

impl<'a> Write<'a> {
    fn new(batch: &'a TunBatch, item: &Item) -> Self {
        let mut write = Self { batch, item: *item, headers: [0; _], headers_len: virtio::HEADER_LEN };
        if let Some(flow) = item.flow.filter(|_| item.count > 1) {
            write.merge_headers(&flow);
        }
        write
    }

    /// Whether the write is a super-packet. Some kernels refuse those (EINVAL); [`packets`](Self::packets) is what to
    /// write then.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.item.count > 1
    }

    /// What a super-packet consists of.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        let flow = self.item.flow.filter(|_| self.item.count > 1)?;
        Some(match flow.transport {
            Transport::Tcp { .. } => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        })
    }

    /// What to hand to `writev`, the headers and at most 64 payloads.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let headers = self.headers.get(..self.headers_len).unwrap_or_default();
        let skip = self.headers_len - virtio::HEADER_LEN;
        std::iter::once(headers)
            .chain(self.packets().map(move |packet| packet.get(skip..).unwrap_or_default()))
    }

    /// The packets as they were queued.
    pub fn packets(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let batch = self.batch;
        let next = move |index: &u16| {
            batch.packets.get(usize::from(*index)).map(|packet| packet.next).filter(|next| next != index)
        };
        std::iter::successors(Some(self.item.first), next).map(|index| batch.packet(index))
    }

    fn merge_headers(&mut self, flow: &Flow) {
        let first = self.batch.packet(self.item.first);
        let payload_len = u16::try_from(self.item.len - HEADER_LEN).unwrap_or(u16::MAX);
        let Ok(packet) = Packet::new(first) else { return };
        let pseudo =
            Sum::pseudo_header(packet.src(), packet.dst(), u32::from(payload_len), packet.next_header());
        let (gso_type, checksum_offset) = match flow.transport {
            Transport::Tcp { .. } => (virtio::GSO_TCPV6, 16),
            Transport::Udp => (virtio::GSO_UDP_L4, 6),
        };
        let sum = pseudo.folded().to_be_bytes();
        let header = virtio::Header {
            flags: virtio::NEEDS_CHECKSUM,
            gso_type,
            headers_len: flow.header_len as u16,
            segment: flow.segment,
            checksum_start: HEADER_LEN as u16,
            checksum_offset: checksum_offset as u16,
        };
        self.put(0, &header.encode());
        let ip = virtio::HEADER_LEN;
        self.put(ip, first.get(..flow.header_len).unwrap_or_default());
        self.put(ip + 4, &payload_len.to_be_bytes());
        let transport = ip + HEADER_LEN;
        match flow.transport {
            Transport::Tcp { flags, .. } => self.put(transport + 13, &[flags]),
            Transport::Udp => self.put(transport + 4, &payload_len.to_be_bytes()),
        }
        // The kernel adds the rest to the sum of the pseudo-header (NEEDS_CSUM).
        self.put(transport + checksum_offset, &sum);
        self.headers_len = virtio::HEADER_LEN + flow.header_len;
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(to) = self.headers.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
}
