//! The data plane of a node.
//!
//! | module | what |
//! |---|---|
//! | [`driver`] | the packet loop: the thread where bytes enter and leave |
//! | [`clock`] | the only clock |
//! | [`device`] | the TUN device |
//! | [`socket`] | the underlay's UDP sockets, many datagrams per system call |
//! | [`output`] | what one round of the loop sends: datagrams joined for UDP GSO, packets joined for the device |
//! | `split` | cutting the super-packets that the host sends |
//! | `virtio` | the header in front of every packet of the device |
//! | `sys` | system calls that no safe crate offers |

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod clock;
pub mod device;
pub mod driver;
pub mod output;
pub mod socket;
mod split;
mod sys;
#[cfg(test)]
mod testing;
mod virtio;

pub use clock::Clock;
pub use device::{Device, DeviceConfig, DeviceError};
pub use driver::{Core, Handle, IoCounters, spawn};
pub use output::{MAX_DATAGRAM, Output, Transmit, TunBatch, UdpBatch};
pub use socket::{BindError, Sockets, UdpCounters};
