//! Wallets and nodes of the tests.

use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use molt_mesh::{Identity, Seed};

use crate::wallet::{Digest, Recover, Sign, Wallet, WalletSignature};

/// An implementation of the curve that is not the one of the feature `chain`.
#[derive(Debug)]
pub(crate) struct Curve;

impl Recover for Curve {
    fn recover(&self, digest: &Digest, signature: &WalletSignature) -> Option<Wallet> {
        let (rs, parity) = signature.as_bytes().split_at(64);
        let signature = Signature::from_slice(rs).ok()?;
        let id = RecoveryId::from_byte(parity[0] - 27)?;
        VerifyingKey::recover_from_prehash(&digest.0, &signature, id).ok().map(|key| wallet_of(&key))
    }
}

#[derive(Debug)]
pub(crate) struct Key(SigningKey);

impl Key {
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes.into()).unwrap())
    }

    /// Somebody's.
    pub(crate) fn of(number: u8) -> Self {
        Self::from_bytes([number; 32])
    }
}

impl Sign for Key {
    fn wallet(&self) -> Wallet {
        wallet_of(self.0.verifying_key())
    }

    fn sign(&self, digest: &Digest) -> WalletSignature {
        let (signature, id) = self.0.sign_prehash_recoverable(&digest.0).unwrap();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + id.to_byte();
        WalletSignature::new(bytes).unwrap()
    }
}

fn wallet_of(key: &VerifyingKey) -> Wallet {
    let point = key.to_encoded_point(false);
    Wallet::of_public_key(point.as_bytes()[1..].try_into().unwrap())
}

/// Some node.
pub(crate) fn node(number: u8) -> Identity {
    Seed::from_bytes([number; 32]).identity()
}

/// Some wallet.
pub(crate) fn wallet(number: u8) -> Wallet {
    Wallet::from_bytes([number; 20])
}
