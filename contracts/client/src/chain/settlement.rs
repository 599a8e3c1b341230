//! Settlement as the configuration wants it. Whoever asks for work or does it says the same things in every mode.

use super::curve::{HotKey, Secp256k1};
use super::payer::{Payer, PayerConfig, PayerError, report};
use crate::settlement::{Entry, Gain, JobId, Ledger, LedgerError, Mode, SignedVoucher, Terms};
use crate::wallet::Wallet;

/// Who pays for work.
#[derive(Debug)]
pub enum Settlement {
    /// The escrow contract.
    Escrow(Box<Payer>),
    /// Nobody yet: what is owed is written down.
    Ledger {
        /// The vouchers.
        ledger: Box<Ledger>,
        /// Signs those that we give.
        key: HotKey,
    },
    /// Nobody: no voucher is given, and one that comes is worth nothing.
    None,
}

impl Settlement {
    /// Opens what the mode needs. Nothing is sent.
    ///
    /// # Errors
    /// If a journal can be neither read nor repaired.
    pub fn open(mode: Mode, config: PayerConfig) -> Result<Self, PayerError> {
        Ok(match mode {
            Mode::Escrow => Self::Escrow(Box::new(Payer::open(config)?)),
            Mode::Ledger => {
                let domain = config.rpc.deployment().escrow_domain();
                let (ledger, found) = Ledger::open(&config.ledger, domain)?;
                report("ledger", &found);
                Self::Ledger { ledger: Box::new(ledger), key: config.key }
            }
            Mode::None => Self::None,
        })
    }

    /// Goes on with what was under way before a crash or an outage.
    ///
    /// # Errors
    /// If the chain does not answer.
    pub async fn resume(&mut self) -> Result<(), PayerError> {
        match self {
            Self::Escrow(payer) => payer.resume().await.map(drop),
            Self::Ledger { .. } | Self::None => Ok(()),
        }
    }

    /// Requester and provider agreed. With an escrow what counts is what the chain says they agreed on.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] if other terms are known, on the chain or here; [`PayerError::NoJob`] if the escrow has no
    /// such job, or we have no part in it.
    pub async fn handle_terms(&mut self, terms: Terms) -> Result<(), PayerError> {
        match self {
            Self::Escrow(payer) => {
                payer.adopt(terms.job).await?;
                match payer.ledger().get(terms.job, terms.provider) {
                    Some(known) if known.terms == terms => Ok(()),
                    Some(_) => Err(LedgerError::Conflict.into()),
                    None => Err(PayerError::NoJob),
                }
            }
            Self::Ledger { ledger, .. } => Ok(ledger.handle_terms(terms)?),
            Self::None => Ok(()),
        }
    }

    /// Signs, as the requester, for so many seconds of a provider in total. `None` if work is free.
    ///
    /// # Errors
    /// If the job is not ours, or the voucher cannot be written down.
    pub fn vouch(
        &mut self,
        job: JobId,
        provider: Wallet,
        seconds: u32,
    ) -> Result<Option<SignedVoucher>, PayerError> {
        Ok(match self {
            Self::Escrow(payer) => Some(payer.vouch(job, provider, seconds)?),
            Self::Ledger { ledger, key } => Some(ledger.issue(job, provider, seconds, key)?),
            Self::None => None,
        })
    }

    /// Takes a voucher as the provider.
    ///
    /// # Errors
    /// If it does not count.
    pub fn handle_voucher(&mut self, voucher: &SignedVoucher) -> Result<Gain, PayerError> {
        match self {
            Self::Escrow(payer) => payer.handle_voucher(voucher),
            Self::Ledger { ledger, .. } => Ok(ledger.handle_voucher(voucher, &Secp256k1)?),
            Self::None => Ok(Gain::default()),
        }
    }

    /// Has what is vouched for paid, where somebody pays. Gives how many seconds were paid.
    ///
    /// # Errors
    /// [`PayerError`] says why not; what was settled before stays settled.
    pub async fn settle(&mut self) -> Result<u32, PayerError> {
        match self {
            Self::Escrow(payer) => payer.settle().await,
            Self::Ledger { .. } | Self::None => Ok(0),
        }
    }

    /// What is owed, in the order of job and provider.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        match self {
            Self::Escrow(payer) => payer.ledger().entries().copied().collect(),
            Self::Ledger { ledger, .. } => ledger.entries().copied().collect(),
            Self::None => Vec::new(),
        }
    }
}
