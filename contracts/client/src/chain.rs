//! The chain: everything that needs the curve of wallets, or talks to an RPC endpoint.

mod curve;

pub use curve::{HotKey, KeyError, Secp256k1};
