//! The ledger: the latest voucher of each provider of each job, in a journal.
//!
//! Both sides keep one. The requester writes a voucher down before it hands it out, so that after a crash it does not sign
//! less, or something else with the same number. The provider writes it down before it goes on working.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use molt_mesh::codec::{Reader, Short, Writer};

use super::{JobId, SignedVoucher, VOUCHER_LEN, Voucher, VoucherReject};
use crate::journal::{Journal, Recovery};
use crate::wallet::{Domain, Recover, Sign, Wallet};

/// Entries that are kept: one for each provider of each job. About 300 bytes each: 4.9 MB.
pub const MAX_ENTRIES: usize = 16_384;
/// Records for each entry beyond which the journal is rewritten when it is opened.
const REWRITE_FACTOR: u64 = 4;
const KIND: [u8; 8] = *b"moltledg";

const CLOSED: u8 = 1;
const SETTLED: u8 = 2;
const TERMS: u8 = 3;
const VOUCHER: u8 = 4;

/// What requester and provider agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The job.
    pub job: JobId,
    /// Who pays, and signs the vouchers.
    pub requester: Wallet,
    /// Who works.
    pub provider: Wallet,
    /// What a second costs, in the smallest unit of BUNKER.
    pub per_second: u128,
    /// How long the job lasts at most, in seconds.
    pub duration: u32,
}

impl Terms {
    /// The same for at least so many seconds.
    fn longer(self, duration: u32) -> Self {
        Self { duration: self.duration.max(duration), ..self }
    }
}

/// One provider of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What was agreed on.
    pub terms: Terms,
    /// The latest voucher.
    pub voucher: Option<SignedVoucher>,
    /// Seconds that are paid.
    pub settled: u32,
}

impl Entry {
    /// Seconds that are vouched for and not paid.
    #[must_use]
    pub fn open_seconds(&self) -> u32 {
        self.voucher.map_or(0, |it| it.voucher().seconds).saturating_sub(self.settled)
    }

    /// What they are worth, before any fee.
    #[must_use]
    pub fn open_amount(&self) -> u128 {
        self.terms.per_second.saturating_mul(self.open_seconds().into())
    }
}

/// What a voucher added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gain {
    /// Seconds.
    pub seconds: u32,
    /// Their worth in the smallest unit of BUNKER.
    pub amount: u128,
}

/// Why the ledger does not take something.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Other terms of the same job and provider are known.
    #[error("other terms were agreed on")]
    Conflict,
    /// There is no room.
    #[error("the ledger is full")]
    Full,
    /// It cannot be written down, so it does not count.
    #[error("cannot write the ledger")]
    Io(#[from] io::Error),
    /// The voucher does not count.
    #[error(transparent)]
    Voucher(#[from] VoucherReject),
}

/// The vouchers of all jobs.
#[derive(Debug)]
pub struct Ledger {
    domain: Domain,
    journal: Journal,
    entries: BTreeMap<(JobId, Wallet), Entry>,
}

impl Ledger {
    /// Opens the ledger in this file. `domain` is the escrow's: a mesh that settles later needs vouchers that it will take.
    ///
    /// # Errors
    /// If the file can be neither read nor repaired.
    pub fn open(path: &Path, domain: Domain) -> io::Result<(Self, Recovery)> {
        let (journal, records, recovery) = Journal::open(path, KIND)?;
        let mut ledger = Self { domain, journal, entries: BTreeMap::new() };
        for record in records {
            // Every record passed its check, so one that cannot be read is of a later version. It says nothing to this one.
            ledger.replay(&record).ok();
        }
        if ledger.journal.count() > REWRITE_FACTOR * (ledger.entries.len() as u64 + 16) {
            ledger.rewrite()?;
        }
        Ok((ledger, recovery))
    }

    /// Terms were agreed on. Doing so twice is nothing new, and a job may be made longer.
    ///
    /// # Errors
    /// If others are known, or they cannot be written down.
    pub fn handle_terms(&mut self, terms: Terms) -> Result<(), LedgerError> {
        match self.entries.get(&(terms.job, terms.provider)) {
            Some(known) if known.terms == terms => return Ok(()),
            Some(known) if known.terms.longer(terms.duration) == terms => {}
            Some(_) => return Err(LedgerError::Conflict),
            None if self.entries.len() >= MAX_ENTRIES => return Err(LedgerError::Full),
            None => {}
        }
        self.write(&terms_record(&terms))
    }

    /// The provider was handed a voucher. The same one again gains nothing.
    ///
    /// # Errors
    /// [`LedgerError`] says why it does not count.
    pub fn handle_voucher(
        &mut self,
        signed: &SignedVoucher,
        recover: &dyn Recover,
    ) -> Result<Gain, LedgerError> {
        let it = signed.voucher();
        let entry = self.entries.get(&(it.job, it.provider)).ok_or(VoucherReject::UnknownJob)?;
        let terms = entry.terms;
        let before = entry.voucher.map(|known| *known.voucher());
        match before {
            Some(before) if before == *it => return Ok(Gain::default()),
            Some(before) if before.seq >= it.seq => return Err(VoucherReject::Old.into()),
            Some(before) if before.seconds > it.seconds => return Err(VoucherReject::Falls.into()),
            _ if it.seconds > terms.duration => return Err(VoucherReject::Longer.into()),
            _ => {}
        }
        if signed.signer(&self.domain, recover) != Some(terms.requester) {
            return Err(VoucherReject::Signature.into());
        }
        self.write(&voucher_record(signed))?;
        let seconds = it.seconds - before.map_or(0, |before| before.seconds);
        Ok(Gain { seconds, amount: terms.per_second.saturating_mul(seconds.into()) })
    }

    /// The requester vouches for so many seconds in total. Never less than before, never more than the job lasts.
    ///
    /// # Errors
    /// [`LedgerError`] if there is no such job of ours, or it cannot be written down; nothing was promised then.
    pub fn issue(
        &mut self,
        job: JobId,
        provider: Wallet,
        seconds: u32,
        requester: &dyn Sign,
    ) -> Result<SignedVoucher, LedgerError> {
        let entry = self.entries.get(&(job, provider)).ok_or(VoucherReject::UnknownJob)?;
        if entry.terms.requester != requester.wallet() {
            return Err(VoucherReject::Signature.into());
        }
        let before = entry.voucher.map(|known| *known.voucher());
        let seconds = seconds.max(before.map_or(0, |before| before.seconds)).min(entry.terms.duration);
        if let (Some(known), Some(before)) = (entry.voucher, before)
            && before.seconds == seconds
        {
            return Ok(known);
        }
        let seq = before.map_or(0, |before| before.seq).saturating_add(1);
        let signed = Voucher { job, provider, seconds, seq }.sign(&self.domain, requester);
        self.write(&voucher_record(&signed))?;
        Ok(signed)
    }

    /// So many seconds are paid, in total.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn handle_settled(&mut self, job: JobId, provider: Wallet, seconds: u32) -> Result<(), LedgerError> {
        let entry = self.entries.get(&(job, provider)).ok_or(VoucherReject::UnknownJob)?;
        if entry.settled >= seconds {
            return Ok(());
        }
        let mut w = Writer::default();
        w.u8(SETTLED).bytes(&job.0).bytes(provider.as_bytes()).u32(seconds);
        self.write(w.as_slice())
    }

    /// The job is over for good; nothing of it is kept.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn handle_closed(&mut self, job: JobId) -> Result<(), LedgerError> {
        let mut w = Writer::default();
        w.u8(CLOSED).bytes(&job.0);
        self.write(w.as_slice())
    }

    /// One provider of one job.
    #[must_use]
    pub fn get(&self, job: JobId, provider: Wallet) -> Option<&Entry> {
        self.entries.get(&(job, provider))
    }

    /// All of them, in the order of job and provider.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    fn write(&mut self, record: &[u8]) -> Result<(), LedgerError> {
        self.journal.append(record)?;
        // Whoever wrote it can read it.
        self.replay(record).ok();
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut records = Vec::new();
        for Entry { terms, voucher, settled } in self.entries.values() {
            records.push(terms_record(terms));
            records.extend(voucher.map(|voucher| voucher_record(&voucher)));
            if *settled > 0 {
                let mut w = Writer::default();
                w.u8(SETTLED).bytes(&terms.job.0).bytes(terms.provider.as_bytes()).u32(*settled);
                records.push(w.finish());
            }
        }
        self.journal.rewrite(records.iter().map(Vec::as_slice))
    }

    fn replay(&mut self, record: &[u8]) -> Result<(), Short> {
        let mut r = Reader::new(record);
        match r.u8()? {
            CLOSED => {
                let job = JobId(r.array()?);
                self.entries.retain(|(of, _), _| *of != job);
            }
            SETTLED => {
                let key = (JobId(r.array()?), Wallet::from_bytes(r.array()?));
                let seconds = r.u32()?;
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.settled = entry.settled.max(seconds);
                }
            }
            TERMS => {
                let terms = Terms {
                    job: JobId(r.array()?),
                    requester: Wallet::from_bytes(r.array()?),
                    provider: Wallet::from_bytes(r.array()?),
                    per_second: r.u128()?,
                    duration: r.u32()?,
                };
                let key = (terms.job, terms.provider);
                let entry = self.entries.entry(key).or_insert(Entry { terms, voucher: None, settled: 0 });
                entry.terms = entry.terms.longer(terms.duration);
            }
            VOUCHER => {
                if let Ok(signed) = SignedVoucher::decode(r.bytes(VOUCHER_LEN)?) {
                    let key = (signed.voucher().job, signed.voucher().provider);
                    if let Some(entry) = self.entries.get_mut(&key) {
                        entry.voucher = Some(signed);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn terms_record(terms: &Terms) -> Vec<u8> {
    let mut w = Writer::default();
    w.u8(TERMS).bytes(&terms.job.0).bytes(terms.requester.as_bytes()).bytes(terms.provider.as_bytes());
    w.u128(terms.per_second).u32(terms.duration);
    w.finish()
}

fn voucher_record(signed: &SignedVoucher) -> Vec<u8> {
    [&[VOUCHER][..], &signed.encode()].concat()
}
