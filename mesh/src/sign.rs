//! Ed25519 signatures. Every kind of signed object has a context string of its own, so that no signature of one kind can
//! be taken for one of another.

use std::fmt::Debug;

use ed25519_dalek::{Signature, Signer as _, VerifyingKey};

use crate::key::{Identity, IdentityKey};

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// What is signed, in front of the bytes. It ends with a zero byte, so that none is the beginning of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(pub(crate) &'static [u8]);

/// Checks signatures. [`Strict`] does; another one may remember what it has checked.
pub trait Verifier: Debug + Send + Sync {
    /// Whether `key` signed `message`.
    fn verify(&self, key: &IdentityKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool;
}

/// RFC 8032 without its leeway: keys and commitments of small order are refused, so that nobody can make a signature that
/// fits several messages or keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl Verifier for Strict {
    fn verify(&self, key: &IdentityKey, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
        VerifyingKey::from_bytes(key.as_bytes())
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl Context {
    /// What the signature is made over.
    pub(crate) fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.0, bytes].concat()
    }
}

impl Identity {
    /// Appends the signature over `bytes`.
    pub(crate) fn sign(&self, context: Context, mut bytes: Vec<u8>) -> Vec<u8> {
        let signature = self.signing_key().sign(&context.message(&bytes));
        bytes.extend_from_slice(&signature.to_bytes());
        bytes
    }
}

/// Bytes with a signature at their end that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed<'a> {
    pub(crate) content: &'a [u8],
    signature: &'a [u8; SIGNATURE_LEN],
}

impl<'a> Signed<'a> {
    /// `None` if there is no room for a signature.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<Self> {
        let (content, signature) = bytes.split_last_chunk()?;
        Some(Self { content, signature })
    }

    pub(crate) fn is_by(&self, key: &IdentityKey, context: Context, verifier: &dyn Verifier) -> bool {
        verifier.verify(key, &context.message(self.content), self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    #[test]
    fn a_signature_counts_for_its_key_its_bytes_and_its_context_only() {
        let (us, them) = (Seed::from_bytes([1; 32]).identity(), Seed::from_bytes([2; 32]).identity());
        let (a, b) = (Context(b"a\0"), Context(b"b\0"));
        let signed = us.sign(a, b"hello".to_vec());
        let split = Signed::split(&signed).unwrap();
        assert!(split.is_by(us.key(), a, &Strict));
        assert!(!split.is_by(them.key(), a, &Strict));
        assert!(!split.is_by(us.key(), b, &Strict));
        let mut other = signed.clone();
        other[0] ^= 1;
        assert!(!Signed::split(&other).unwrap().is_by(us.key(), a, &Strict));
        assert_eq!(Signed::split(&signed[..63]), None);
    }

    /// The identity point as key "verifies" anything by the letter of RFC 8032.
    #[test]
    fn a_key_of_small_order_signs_nothing() {
        let mut key = [0; 32];
        key[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(!Strict.verify(&IdentityKey::from_bytes(key), b"anything", &signature));
    }
}
