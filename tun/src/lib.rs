//! The data plane of a node.
//!
//! | module | what |
//! |---|---|
//! | [`output`] | what one round of the packet loop sends: datagrams joined for UDP GSO, packets joined for the TUN device |

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod output;
mod virtio;

pub use output::{MAX_DATAGRAM, Output, Transmit, TunBatch, UdpBatch};
