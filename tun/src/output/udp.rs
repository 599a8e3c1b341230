//! Datagrams for the underlay, laid end to end so that the kernel can cut a whole run of them itself (UDP GSO).

use std::net::SocketAddr;

use super::MAX_DATAGRAM;

/// Bytes of datagrams in one batch: eight transmits of the largest size, 10 Gbit/s for 0.4 ms.
const CAPACITY: usize = 512 * 1024;

/// The batch asks to be sent from this many bytes on. What lies above is room for what one input can cause at most: a
/// timer that fires for every neighbour at once.
const FLUSH_BYTES: usize = 256 * 1024;

/// Transmits in one batch. Small packets to alternating neighbours cannot share one, so this bounds `sendmmsg`, too.
const MAX_TRANSMITS: usize = 512;

/// The batch asks to be sent from this many transmits on.
const FLUSH_TRANSMITS: usize = 128;

/// Datagrams in one transmit. Linux before 6.9 takes 64, and counted the UDP header into the 64 segments' bytes, so
/// that 64 full ones were refused.
const MAX_SEGMENTS: usize = 63;

/// Bytes in one transmit: what a 16-bit IPv4 length leaves behind the IPv4 and UDP headers.
const MAX_TRANSMIT: usize = 65_535 - 20 - 8;

/// Datagrams to send, in order.
#[derive(Debug)]
pub struct UdpBatch {
    /// The datagrams, without gaps.
    buffer: Box<[u8]>,
    /// How much of `buffer` is taken.
    used: usize,
    runs: Vec<Run>,
}

/// Datagrams that go out with one system call's message: all of `segment` bytes, the last possibly shorter.
#[derive(Debug, Clone, Copy)]
struct Run {
    to: SocketAddr,
    traffic_class: u8,
    start: usize,
    end: usize,
    segment: usize,
    count: usize,
}

/// One message for the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Destination.
    pub to: SocketAddr,
    /// Traffic class (IPv6) or type of service (IPv4).
    pub traffic_class: u8,
    /// One or more datagrams.
    pub contents: &'a [u8],
    /// Length of every datagram in `contents` but the last, which may be shorter; the length of `contents` if it is a
    /// single datagram.
    pub segment: usize,
}

impl<'a> Transmit<'a> {
    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.contents.chunks(self.segment.max(1))
    }
}

impl UdpBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: vec![0; CAPACITY].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(MAX_TRANSMITS),
        }
    }

    /// Appends one datagram: `write` fills the room ([`MAX_DATAGRAM`] bytes) and returns its length; 0 sends nothing.
    /// Consecutive datagrams to the same destination, of the same traffic class and of equal length (the last may be
    /// shorter) share one transmit.
    ///
    /// Returns false, and does not call `write`, when the batch is full.
    pub fn push(
        &mut self,
        to: SocketAddr,
        traffic_class: u8,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let start = self.used;
        let Some(room) = self.buffer.get_mut(start..start + MAX_DATAGRAM) else { return false };
        if self.runs.len() == MAX_TRANSMITS {
            return false;
        }
        let len = write(room).min(MAX_DATAGRAM);
        if len == 0 {
            return true;
        }
        self.used += len;
        match self.runs.last_mut() {
            Some(run) if run.accepts(to, traffic_class, len) => {
                run.end += len;
                run.count += 1;
            }
            _ => self.runs.push(Run { to, traffic_class, start, end: start + len, segment: len, count: 1 }),
        }
        true
    }

    /// Whether the batch should be sent before the core gets more input.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        self.used >= FLUSH_BYTES || self.runs.len() >= FLUSH_TRANSMITS
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What to send, in order.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.runs.iter().map(|run| Transmit {
            to: run.to,
            traffic_class: run.traffic_class,
            contents: self.buffer.get(run.start..run.end).unwrap_or_default(),
            segment: run.segment,
        })
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

impl Default for UdpBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    fn accepts(&self, to: SocketAddr, traffic_class: u8, len: usize) -> bool {
        let bytes = self.end - self.start;
        // A short datagram was the last of its run.
        let all_are_full = bytes == self.segment * self.count;
        self.to == to
            && self.traffic_class == traffic_class
            && all_are_full
            && len <= self.segment
            && self.count < MAX_SEGMENTS
            && bytes + len <= MAX_TRANSMIT
    }
}
