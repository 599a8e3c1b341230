//! Bidirectional Forwarding Detection: asynchronous sessions, single-hop for tunnels (RFC 5880, RFC 5881)
//! and multihop between addresses (RFC 5883).
//!
//! There is no socket and no clock in here. The owner of [`Sessions`] feeds it received packets and the time, sends
//! what [`Sessions::poll_output`] returns, and calls [`Sessions::handle_timeout`] when [`Sessions::poll_timeout`] says.
//!
//! | module | what |
//! |---|---|
//! | [`packet`] | the 24 bytes: decode once, with the discard rules that need no session |
//! | [`fsm`] | states, diagnostics, the transition table |
//! | [`config`] | what an operator sets |
//! | `session` | one session: timers, Poll Sequence, what it sends |
//! | [`sessions`] | all of them: demultiplexing, the queue of outputs, the next deadline |
//!
//! # What differs from the RFCs
//!
//! - No authentication (section 6.7) and no Echo function (6.8.5): a packet reaches a session only through the tunnel of
//!   its peer, or through tunnels all along the path, which WireGuard authenticates; the hop limit keeps others off a path. A packet with the A bit is discarded, the advertised echo interval is 0.
//! - We never ask for Demand mode, because it needs another proof of liveness. A peer that asks for it is obeyed (6.6).
//! - Leaving Up raises the transmit interval to one second without a Poll Sequence (6.8.3 asks for one after every
//!   change). It would tell a peer that is gone, or one that by section 6.8.4 no longer runs a detection timer on us in
//!   Up. Changes while Up, and the change on reaching Up, are polled.
//! - A packet with both P and F is discarded. Section 6.5 forbids to send one and 6.8.6 does not say what to do with it.
//! - Your Discriminator must name the session of the tunnel the packet came through (RFC 5881 section 3 binds a session to
//!   its interface), so that one neighbour cannot take down the session of another.
//! - Removing a session forgets it at once; section 6.8.1 wants it kept for a Detection Time. The owner removes a session
//!   when its tunnel ends, and no packet of it can arrive after that.
//! - A multihop session is found by its pair of addresses, never by Your Discriminator alone: there is one for each pair.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod config;
pub mod fsm;
pub mod packet;
mod session;
pub mod sessions;

pub use config::Config;
pub use fsm::{Diag, State};
pub use packet::{Packet, Reject};
pub use session::{Counters, View};
pub use sessions::{Binding, Output, Sessions};
