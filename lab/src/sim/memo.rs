//! A thousand nodes see each signature once each; it is checked once for all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use molt_mesh::IdentityKey;
use molt_mesh::record::digest;
use molt_mesh::sign::{SIGNATURE_LEN, Strict, Verifier};

/// Verdicts that are remembered. A storm of a minute in a mesh of 200 has some ten thousand signatures.
const REMEMBERED: usize = 100_000;

/// Remembers what [`Strict`] said.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// By digest of key, signature and message. Only looked up, never iterated.
    verdicts: Mutex<HashMap<[u8; 16], bool>>,
}

impl Verifier for Memo {
    fn verify(&self, key: &IdentityKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        let question = digest(&[key.as_bytes(), &signature[..], message].concat());
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= REMEMBERED {
            verdicts.clear();
        }
        *verdicts.entry(question).or_insert_with(|| Strict.verify(key, message, signature))
    }
}
