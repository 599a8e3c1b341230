//! Routing for MoltNet: OSPFv3, and the forwarding table it leads to.
//!
//! Nothing in here opens a socket, reads a clock or starts a task. [`ospf`] opens with a page on what is where.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod ospf;
