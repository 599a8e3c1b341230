//! The data plane of a node.
//!
//! | module | what |
//! |---|---|
//! | [`dataplane`] | the packet core, pure: tunnels, forwarding, BFD, ICMPv6 errors |
//! | [`engine`] | what encrypts: the boundary to WireGuard implementations |
//! | [`link`] | one tunnel, and the table of all |
//! | [`counters`] | every discard has a reason and a counter |
//! | [`driver`] | the packet loop: the thread where bytes enter and leave |
//! | [`clock`] | the only clock |
//! | [`device`] | the TUN device |
//! | [`socket`] | the underlay's UDP sockets, many datagrams per system call |
//! | [`output`] | what one round of the loop sends: datagrams joined for UDP GSO, packets joined for the device |
//! | [`fragment`] | fragments of OSPF packets |
//! | [`inherit`] | descriptors that outlive this program: handed to the one that replaces it |
//! | [`split`] | cutting the super-packets that the host sends |
//! | `virtio` | the header in front of every packet of the device |
//! | `sys` | system calls that no safe crate offers |

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod clock;
pub mod counters;
pub mod dataplane;
pub mod device;
pub mod driver;
pub mod engine;
pub mod fragment;
pub mod inherit;
pub mod link;
pub mod output;
pub mod socket;
pub mod split;
mod sys;
#[cfg(test)]
mod testing;
mod virtio;

pub use clock::Clock;
pub use counters::{Counters, Discard};
pub use dataplane::{
    BfdChange, Command, Dataplane, Event, LinkView, NodeConfig, Probe, ProbeOutcome, ProbeReply, Snapshot,
};
pub use device::{Device, DeviceConfig, DeviceError};
pub use driver::{Core, Handle, IoCounters, spawn};
pub use link::{LinkConfig, MAX_LINKS, Traffic};
pub use output::{MAX_DATAGRAM, Output, Transmit, TunBatch, UdpBatch};
pub use socket::{BindError, Sockets, UdpCounters};
