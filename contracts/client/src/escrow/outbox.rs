//! The transactions under way, in a journal.
//!
//! A nonce is used up by exactly one of our transactions, or by one that this journal does not know (the same wallet used
//! elsewhere). Which one it was is asked of the chain by hash; a purpose whose transactions all lost is decided again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use molt_mesh::codec::{Reader, Short, Writer};

use crate::journal::{Journal, Recovery};
use crate::settlement::JobId;
use crate::wallet::Wallet;

/// Transactions that wait at once. More means that the chain does not take them, and asking for more will not help.
pub const MAX_PENDING: usize = 64;
/// Records beyond which the journal is rewritten when it is opened.
const REWRITE_AT: u64 = 256;
const KIND: [u8; 8] = *b"moltoutb";

const DONE: u8 = 1;
const SIGNED: u8 = 2;

/// What a transaction is for. One purpose has one transaction under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Let a contract take our tokens.
    Approve(Wallet),
    /// Say which node is ours.
    Claim([u8; 32]),
    /// Close a job.
    Close(JobId),
    /// Open a job.
    Open(JobId),
    /// Settle a voucher.
    Settle(JobId),
    /// Stake.
    Stake,
    /// Fetch what the escrow owes us.
    Withdraw,
}

/// A signed transaction that may be on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What for.
    pub purpose: Purpose,
    /// The nonce that it uses up.
    pub nonce: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// What is sent.
    pub raw: Vec<u8>,
}

/// Why a transaction is not sent.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// It cannot be written down, so it is not sent.
    #[error("cannot write the journal of transactions")]
    Io(#[from] io::Error),
    /// Too many wait.
    #[error("too many transactions wait for the chain")]
    Full,
    /// The same is under way already.
    #[error("the same is under way already")]
    UnderWay,
}

/// The transactions of one wallet.
#[derive(Debug)]
pub struct Outbox {
    journal: Journal,
    /// By nonce; several only if one was replaced by another with a higher fee.
    pending: BTreeMap<u64, Vec<Pending>>,
}

impl Outbox {
    /// Opens the outbox in this file.
    ///
    /// # Errors
    /// If the file can be neither read nor repaired.
    pub fn open(path: &Path) -> io::Result<(Self, Recovery)> {
        let (journal, records, recovery) = Journal::open(path, KIND)?;
        let mut outbox = Self { journal, pending: BTreeMap::new() };
        for record in records {
            // Every record passed its check, so one that cannot be read is of a later version.
            outbox.replay(&record).ok();
        }
        if outbox.journal.count() > REWRITE_AT {
            let records: Vec<_> = outbox.pending.values().flatten().map(signed_record).collect();
            outbox.journal.rewrite(records.iter().map(Vec::as_slice))?;
        }
        Ok((outbox, recovery))
    }

    /// Writes a transaction down. It may be sent when this returns.
    ///
    /// # Errors
    /// [`OutboxError`] if it must not be sent.
    pub fn handle_signed(&mut self, pending: &Pending) -> Result<(), OutboxError> {
        let replaces = |known: &Pending| known.nonce == pending.nonce && known.purpose == pending.purpose;
        if self.pending().any(|known| known.purpose == pending.purpose && !replaces(known))
            || self.pending.get(&pending.nonce).is_some_and(|known| !known.iter().any(replaces))
        {
            return Err(OutboxError::UnderWay);
        }
        if self.pending().count() >= MAX_PENDING {
            return Err(OutboxError::Full);
        }
        self.write(&signed_record(pending))
    }

    /// The nonce is used up, by whatever transaction. What waited for it is over.
    ///
    /// # Errors
    /// If it cannot be written down. It will be asked again then, which does no harm.
    pub fn handle_nonce_used(&mut self, nonce: u64) -> Result<(), OutboxError> {
        let mut w = Writer::default();
        w.u8(DONE).u64(nonce);
        self.write(w.as_slice())
    }

    /// What may be on its way, in the order of the nonces.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values().flatten()
    }

    /// The transaction for a purpose, the latest if it was replaced.
    #[must_use]
    pub fn find(&self, purpose: Purpose) -> Option<&Pending> {
        self.pending().filter(|pending| pending.purpose == purpose).last()
    }

    /// The nonce of the next transaction, where `chain` is the next one by the chain.
    #[must_use]
    pub fn next_nonce(&self, chain: u64) -> u64 {
        self.pending.last_key_value().map_or(chain, |(last, _)| chain.max(last.saturating_add(1)))
    }

    fn write(&mut self, record: &[u8]) -> Result<(), OutboxError> {
        self.journal.append(record)?;
        // Whoever wrote it can read it.
        self.replay(record).ok();
        Ok(())
    }

    fn replay(&mut self, record: &[u8]) -> Result<(), Short> {
        let mut r = Reader::new(record);
        match r.u8()? {
            DONE => drop(self.pending.remove(&r.u64()?)),
            SIGNED => {
                let (kind, subject) = (r.u8()?, r.array()?);
                let (nonce, hash) = (r.u64()?, r.array()?);
                if let Some(purpose) = Purpose::read(kind, subject) {
                    let pending = Pending { purpose, nonce, hash, raw: r.rest().to_vec() };
                    self.pending.entry(nonce).or_default().push(pending);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Purpose {
    fn write(self) -> (u8, [u8; 32]) {
        match self {
            Self::Approve(contract) => {
                let mut subject = [0; 32];
                for (to, from) in subject.iter_mut().zip(contract.as_bytes()) {
                    *to = *from;
                }
                (1, subject)
            }
            Self::Claim(node) => (2, node),
            Self::Close(job) => (3, job.0),
            Self::Open(job) => (4, job.0),
            Self::Settle(job) => (5, job.0),
            Self::Stake => (6, [0; 32]),
            Self::Withdraw => (7, [0; 32]),
        }
    }

    fn read(kind: u8, subject: [u8; 32]) -> Option<Self> {
        let job = JobId(subject);
        Some(match kind {
            1 => Self::Approve(Wallet::from_bytes(*subject.first_chunk()?)),
            2 => Self::Claim(subject),
            3 => Self::Close(job),
            4 => Self::Open(job),
            5 => Self::Settle(job),
            6 => Self::Stake,
            7 => Self::Withdraw,
            _ => return None,
        })
    }
}

fn signed_record(pending: &Pending) -> Vec<u8> {
    let (kind, subject) = pending.purpose.write();
    let mut w = Writer::default();
    w.u8(SIGNED).u8(kind).bytes(&subject).u64(pending.nonce).bytes(&pending.hash).bytes(&pending.raw);
    w.finish()
}
