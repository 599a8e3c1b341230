//! What one round of the packet loop sends, collected so that a system call is paid once per batch.
//!
//! Everything here is plain data: the core fills an [`Output`], the driver (or the simulator) empties it. The buffers
//! are allocated once and never grow; a batch that is full refuses, and the caller counts a discard.

mod tun;
mod udp;

#[cfg(test)]
mod tests;

pub(crate) use tun::{MAX_SLICES, Protocol};
pub use tun::{TunBatch, Write};
pub use udp::{Transmit, UdpBatch};

/// Room for one datagram or packet, in bytes. A packet of the tunnel MTU, sealed twice, is 1,440 bytes; the rest lets
/// an administrator raise the MTU to what Ethernet carries.
pub const MAX_DATAGRAM: usize = 2048;

/// Where the core writes what it wants sent.
#[derive(Debug)]
pub struct Output {
    /// Datagrams for the underlay.
    pub udp: UdpBatch,
    /// Packets for the host.
    pub tun: TunBatch,
}

impl Output {
    /// Empty batches. `coalesce` says whether the TUN device takes segmentation offload.
    #[must_use]
    pub fn new(coalesce: bool) -> Self {
        Self { udp: UdpBatch::new(), tun: TunBatch::new(coalesce) }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.tun.is_empty()
    }

    /// Whether a batch is so full that it should be sent before the core gets more input.
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        self.udp.needs_flush() || self.tun.needs_flush()
    }

    /// Forgets what was sent.
    pub fn clear(&mut self) {
        self.udp.clear();
        self.tun.clear();
    }
}
