//! The chain: everything that needs the curve of wallets, or talks to an RPC endpoint.
//!
//! | file | what |
//! |---|---|
//! | `chain/config.rs` | the table `[chain]` of the configuration, and the deployment file of the contracts |
//! | `chain/curve.rs` | signatures of wallets, and the daemon's own key |
//! | `chain/job.rs` | a job as the chain has it |
//! | `chain/rpc.rs` | endpoints, fail-over between them, and every question that is asked |
//! | `chain/watcher.rs` | the thread that drives the [`oracle`](crate::oracle) |
//! | `chain/payer.rs` | transactions: each signed once, written down, sent until the chain has it |
//! | `chain/settlement.rs` | who pays: nobody, a ledger or the escrow |
//! | `chain/cli.rs` | what `molt chain` does; `chain/cli/jobs.rs` for jobs |
//!
//! An outage of the chain is an error value or an old answer, never a wait: each question has a time limit, and nobody
//! but the asker waits for it.

mod abi;
pub mod cli;
mod config;
mod curve;
mod job;
mod payer;
mod rpc;
mod settlement;
mod watcher;

pub use config::{ChainConfig, ConfigError, Contract, Deployment};
pub use curve::{HotKey, KeyError, Secp256k1};
pub use job::{Job, JobState, Seat};
pub use payer::{Payer, PayerConfig, PayerError};
pub use rpc::{CALL_LIMIT, EndpointState, Rpc, RpcError};
pub use settlement::Settlement;
pub use watcher::{Clock, Refused, Status, SystemClock, Watcher, WatcherConfig};
