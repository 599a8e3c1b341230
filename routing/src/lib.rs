//! Routing for MoltNet: OSPFv3 inside of a mesh and the forwarding table it leads to, BGP between meshes.
//!
//! Nothing in here opens a socket, reads a clock or starts a task. [`ospf`] and [`bgp`] open with a page on what is where.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod bgp;
pub mod ospf;
