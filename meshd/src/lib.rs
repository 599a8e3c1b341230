//! The MoltNet daemon: composition of the data plane, routing and failure detection into a node.
//!
//! Start reading at [`node`], then [`control`]; [`daemon`] is the shell around them that owns clocks, sockets and signals.
//!
//! | module | what | pure |
//! |---|---|---|
//! | [`node`] | packet core and control plane in one value, as the simulator runs them | yes |
//! | [`control`] | neighbours and routing: events in, commands out | yes |
//! | [`config`] | the configuration file | yes |
//! | [`handover`] | what a process that restarts gracefully leaves to the next | yes |
//! | [`state`] | the state directory: key, UUID, lock | |
//! | [`api`] | what `molt` and `meshd` say to each other | yes |
//! | [`client`], [`render`] | the other end: `molt` | |
//! | `chain` | `molt chain`, with the feature of that name | |
//! | [`daemon`] | threads, the control socket, signals, name resolution | |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
#[cfg(feature = "chain")]
pub mod chain;
pub mod client;
pub mod config;
pub mod control;
pub mod daemon;
pub mod handover;
pub mod node;
pub mod render;
pub mod state;

use molt_mesh::{MeshAddr, TrustClass};

/// The trust class of an address in words.
#[must_use]
pub fn class_name(address: MeshAddr) -> &'static str {
    match address.class() {
        TrustClass::Infrastructure => "infrastructure",
        TrustClass::Claimed => "claimed",
        TrustClass::SelfCertifying => "self-certifying",
        TrustClass::Container => "container",
    }
}
