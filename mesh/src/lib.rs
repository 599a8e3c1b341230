//! The vocabulary of MoltNet: what every other crate of the workspace talks about.
//!
//! Nothing in here does I/O, reads a clock or starts a task, and nothing depends on a crate that does.
//!
//! | module | what |
//! |---|---|
//! | [`time`] | [`Time`]: time since the node started; cannot be read from the operating system |
//! | [`id`] | [`AgentId`], [`LinkId`], [`RouterId`]: who, which tunnel, which router |
//! | [`key`] | seeds, Ed25519 identity keys, X25519 WireGuard keys |
//! | [`addr`] | [`MeshPrefix`]: the /48 of a mesh; [`MeshAddr`]: an address of one; trust classes; link-local addresses |
//! | [`ip6`] | IPv6, UDP and ICMPv6 headers: checked views and builders |
//! | [`fib`] | [`Fib`]: the forwarding table as plain data, built by `routing`, read by `tun` |
//! | [`codec`] | [`Reader`](codec::Reader) and [`Writer`](codec::Writer): bounds-checked big-endian fields |
//! | [`checksum`] | RFC 1071 Internet checksum, RFC 905 Fletcher checksum |
//! | [`limit`] | [`TokenBucket`](limit::TokenBucket), driven by [`Time`] |
//! | [`record`] | [`AgentRecord`]: what an agent says about itself, signed; delegations, signed topology |
//! | [`sign`] | Ed25519 signatures with a context, and who checks them |
//! | [`port`] | ports and protocol numbers |
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod addr;
pub mod checksum;
pub mod codec;
pub mod fib;
pub mod id;
pub mod ip6;
pub mod key;
pub mod limit;
pub mod port;
pub mod record;
pub mod sign;
pub mod time;

pub use addr::{MeshAddr, MeshPrefix, TrustClass};
pub use fib::{Fib, Prefix, Target};
pub use id::{AgentId, LinkId, RouterId};
pub use key::{Identity, IdentityKey, NodePublic, Seed};
pub use record::AgentRecord;
pub use time::Time;
