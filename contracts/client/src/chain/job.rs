//! A job as the chain has it.

use super::abi::BunkerEscrow;
use super::curve::wallet;
use super::rpc::RpcError;
use crate::escrow::REPLICAS;
use crate::wallet::Wallet;

/// State of a job on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Over, and paid.
    Closed,
    /// Funded, and running or to be claimed.
    Open,
}

/// A job on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Who pays.
    pub requester: Wallet,
    /// When it began, in seconds since 1970.
    pub start: u64,
    /// How long it is paid for, in seconds.
    pub duration: u32,
    /// Its state.
    pub state: JobState,
    /// Its providers.
    pub seats: [Seat; REPLICAS],
}

/// A provider of a job on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Who.
    pub provider: Wallet,
    /// What a second costs.
    pub per_second: u128,
    /// Seconds that are paid.
    pub settled: u32,
}

impl Job {
    /// `None` if there is none.
    pub(super) fn read(found: &BunkerEscrow::Job) -> Result<Option<Self>, RpcError> {
        let state = match found.status {
            0 => return Ok(None),
            1 => JobState::Open,
            2 => JobState::Closed,
            other => return Err(RpcError::Garbled(format!("a job of status {other}"))),
        };
        let [a, b, c] = &found.seats;
        let [x, y, z] = &found.settled;
        let seat = |seat: &BunkerEscrow::Seat, settled: &u32| Seat {
            provider: wallet(seat.provider),
            per_second: seat.rate.to(),
            settled: *settled,
        };
        Ok(Some(Self {
            requester: wallet(found.requester),
            start: found.start.to(),
            duration: found.duration,
            state,
            seats: [seat(a, x), seat(b, y), seat(c, z)],
        }))
    }
}
