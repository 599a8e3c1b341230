//! The chain client: which wallet stands behind a node, what it has at stake, how many messages that is worth, and how work
//! is paid.
//!
//! The mesh works without any of this. Nothing in here touches WireGuard, OSPFv3, BFD or a data packet; what it limits are
//! the messages of applications and of the control plane.
//!
//! ```text
//!            certificate (both keys)          chain (feature `chain`)
//!                     |                              |
//!   node ---> binding::Bindings ---> wallet ---> oracle::Core ---> oracle::Reader ---> StakeView
//!                                                                                        |
//!   message ---> admission::AdmissionPolicy ---> rate class, account ---> rate::Limiter ---> pass or refuse
//!   voucher ---> chain::Settlement ---> nobody, settlement::Ledger (journal) or chain::Payer (escrow)
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`wallet`] | [`Wallet`]: an Ethereum address; its signatures; EIP-712 and EIP-191 digests |
//! | [`tier`] | [`Tier`]: what a stake is worth |
//! | [`rate`] | [`RateClass`](rate::RateClass) and [`Limiter`](rate::Limiter): messages per second, and bans |
//! | [`binding`] | [`NodeBinding`](binding::NodeBinding): a wallet and a node, signed by both; who is bound to what |
//! | [`admission`] | who may do what: static, local or by stake |
//! | [`oracle`] | the cache of stakes, as a state machine without clock or socket |
//! | [`settlement`] | cumulative vouchers: nobody, a ledger or an escrow pays them |
//! | [`escrow`] | bids, the choice of three providers, and the journal of transactions |
//! | [`journal`] | an append-only file that survives a crash |
//!
//! Deciding is pure: time is an argument ([`molt_mesh::Time`] for intervals, seconds since 1970 where others signed a date),
//! and nothing of it waits. Every check of a signature of a wallet goes through [`wallet::Recover`], which the feature
//! `chain` implements: without it the curve is not in the tree, only Keccak is, so that a node can compute what it signs.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod admission;
pub mod binding;
#[cfg(feature = "chain")]
pub mod chain;
pub mod escrow;
pub mod file;
pub mod journal;
pub mod oracle;
pub mod rate;
pub mod settlement;
pub mod tier;
pub mod wallet;

#[cfg(test)]
mod testing;

pub use tier::Tier;
pub use wallet::Wallet;
