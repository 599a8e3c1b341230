//! The curve of wallets.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use zeroize::Zeroizing;

use crate::wallet::{Digest, Recover, Sign, Wallet, WalletSignature, unhex};

/// Recovers wallets from their signatures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Secp256k1;

impl Recover for Secp256k1 {
    fn recover(&self, digest: &Digest, signature: &WalletSignature) -> Option<Wallet> {
        let signature = Signature::from_raw_array(signature.as_bytes()).ok()?;
        signature.recover_address_from_prehash(&B256::from(digest.0)).ok().map(wallet)
    }
}

pub(crate) fn wallet(address: Address) -> Wallet {
    Wallet::from_bytes(address.into_array())
}

pub(crate) fn address(wallet: &Wallet) -> Address {
    Address::from(*wallet.as_bytes())
}

/// The wallet of this daemon. It pays for transactions and work, and is not the node's identity: a machine that is broken
/// into loses what is in it, and nothing else.
pub struct HotKey(PrivateKeySigner);

/// Why there is no wallet.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is not a key.
    #[error("{0} is not a wallet key: expected 64 hexadecimal digits, not all of them zero")]
    Damaged(String),
    /// Somebody else may read the key.
    #[error("{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")]
    Exposed {
        /// The key file.
        path: String,
        /// Its mode bits.
        mode: u32,
    },
    /// The file cannot be read.
    #[error("cannot read the wallet key {path}")]
    Io {
        /// The key file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl HotKey {
    /// Takes the secret.
    ///
    /// # Errors
    /// If it is no key: zero, or not below the order of the curve.
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = PrivateKeySigner::from_slice(secret).map_err(|_| KeyError::Damaged("the secret".into()))?;
        Ok(Self(key))
    }

    /// Reads the secret from a file that nobody else may read: 64 hexadecimal digits, with or without `0x`.
    ///
    /// # Errors
    /// [`KeyError`] says why there is no wallet.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let shown = || path.display().to_string();
        let fail = |source| KeyError::Io { path: shown(), source };
        let file = File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: shown(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(256).read_to_string(&mut text).map_err(fail)?;
        let digits = text.trim_end();
        let secret = unhex::<32>(digits.strip_prefix("0x").unwrap_or(digits)).map(Zeroizing::new);
        let secret = secret.ok_or_else(|| KeyError::Damaged(shown()))?;
        Self::from_bytes(&secret).map_err(|_| KeyError::Damaged(shown()))
    }

    pub(crate) const fn signer(&self) -> &PrivateKeySigner {
        &self.0
    }
}

impl fmt::Debug for HotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HotKey({})", self.wallet())
    }
}

impl Sign for HotKey {
    fn wallet(&self) -> Wallet {
        wallet(self.0.address())
    }

    fn sign(&self, digest: &Digest) -> WalletSignature {
        let signature = self
            .0
            .sign_hash_sync(&B256::from(digest.0))
            .expect("a local key signs every hash but with a probability of 2^-256");
        WalletSignature::new(signature.normalized_s().as_bytes()).expect("it is in the one form")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use alloy::primitives::{FixedBytes, b256};
    use alloy::sol;
    use alloy::sol_types::{Eip712Domain, SolStruct, SolValue as _, eip712_domain};
    use molt_mesh::MeshPrefix;

    use super::*;
    use crate::binding::{NetworkId, NodeBinding};
    use crate::escrow::Bid;
    use crate::settlement::{JobId, Voucher};
    use crate::testing::{Curve, Key, node, wallet as some_wallet};
    use crate::wallet::{Domain, text_digest};

    mod typed {
        alloy::sol! {
            struct NodeBinding {
                bytes32 nodeKey;
                address wallet;
                bytes16 meshAddr;
                bytes32 networkId;
                uint64 issuedAt;
                uint64 expiresAt;
                uint64 seq;
            }
            struct Bid {
                bytes32 jobId;
                address provider;
                uint112 ratePerSec;
                uint32 maxDuration;
                uint64 expiresAt;
            }
            struct UsageVoucher {
                bytes32 jobId;
                address provider;
                uint32 uptimeSeconds;
                uint64 seq;
            }
        }
    }

    sol! {
        struct Job {
            address requester;
            bytes16 deployment;
        }
    }

    fn domain(name: &'static str) -> (Domain, Eip712Domain) {
        let contract = some_wallet(0x5a);
        let ours = Domain { name, chain_id: 84_532, contract };
        let theirs = eip712_domain! {
            name: name,
            version: "1",
            chain_id: 84_532,
            verifying_contract: address(&contract),
        };
        (ours, theirs)
    }

    /// Our digests against those of another implementation of EIP-712.
    #[test]
    fn digests_are_those_of_the_chain_library() {
        let (ours, theirs) = domain("MoltNet");
        let binding = NodeBinding {
            node: *node(1).key(),
            wallet: some_wallet(2),
            address: node(1).address(MeshPrefix::DEFAULT),
            network: NetworkId([3; 32]),
            issued_at: 4,
            expires_at: 5,
            seq: u64::MAX,
        };
        let typed = typed::NodeBinding {
            nodeKey: B256::from(*node(1).key().as_bytes()),
            wallet: address(&some_wallet(2)),
            meshAddr: FixedBytes(node(1).address(MeshPrefix::DEFAULT).ip().octets()),
            networkId: b256!("0303030303030303030303030303030303030303030303030303030303030303"),
            issuedAt: 4,
            expiresAt: 5,
            seq: u64::MAX,
        };
        assert_eq!(binding.digest(&ours).0, typed.eip712_signing_hash(&theirs).0);

        let (ours, theirs) = domain("BunkerEscrow");
        let job = JobId::new(&some_wallet(2), &[7; 16]);
        let encoded =
            Job { requester: address(&some_wallet(2)), deployment: FixedBytes([7; 16]) }.abi_encode();
        assert_eq!(job.0, alloy::primitives::keccak256(encoded).0);
        let provider = some_wallet(9);
        let voucher = Voucher { job, provider, seconds: 600, seq: 3 };
        let typed = typed::UsageVoucher {
            jobId: B256::from(job.0),
            provider: address(&provider),
            uptimeSeconds: 600,
            seq: 3,
        };
        assert_eq!(voucher.digest(&ours).0, typed.eip712_signing_hash(&theirs).0);
        let bid = Bid { job, provider, per_second: (1 << 96) - 1, max_duration: 60, expires_at: 61 };
        let typed = typed::Bid {
            jobId: B256::from(job.0),
            provider: address(&provider),
            ratePerSec: alloy::primitives::aliases::U112::from((1_u128 << 96) - 1),
            maxDuration: 60,
            expiresAt: 61,
        };
        assert_eq!(bid.digest(&ours).0, typed.eip712_signing_hash(&theirs).0);
        let text = "moltnet-announce";
        assert_eq!(text_digest(text).0, alloy::primitives::eip191_hash_message(text).0);
    }

    #[test]
    fn both_implementations_of_the_curve_agree() {
        for number in 1..20 {
            let digest = text_digest(&number.to_string());
            let (a, b) = (HotKey::from_bytes(&[number; 32]).unwrap(), Key::of(number));
            assert_eq!(a.wallet(), b.wallet());
            let signature = a.sign(&digest);
            assert_eq!(signature, b.sign(&digest));
            assert_eq!(Secp256k1.recover(&digest, &signature), Some(a.wallet()));
            let mut other = *signature.as_bytes();
            other[64] ^= 27 ^ 28;
            let other = WalletSignature::new(other).unwrap();
            assert_eq!(Secp256k1.recover(&digest, &other), Curve.recover(&digest, &other));
            assert_ne!(Secp256k1.recover(&digest, &other), Some(a.wallet()));
        }
        // r = 0 is no signature.
        let mut zero = [0; 65];
        (zero[63], zero[64]) = (1, 27);
        assert_eq!(Secp256k1.recover(&Digest([1; 32]), &WalletSignature::new(zero).unwrap()), None);
    }

    #[test]
    fn the_key_is_private_or_refused_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet");
        fs::write(&path, format!("0x{}\n", "07".repeat(32))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(HotKey::load(&path), Err(KeyError::Exposed { mode: 0o640, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let key = HotKey::load(&path).unwrap();
        assert_eq!(format!("{key:?}"), format!("HotKey({})", Key::of(7).wallet()));
        for damage in ["", "07", &"00".repeat(32), &"ff".repeat(32), &"zz".repeat(32)] {
            fs::write(&path, damage).unwrap();
            assert!(matches!(HotKey::load(&path), Err(KeyError::Damaged(_))), "{damage:?}");
        }
        assert!(matches!(HotKey::load(&folder.path().join("none")), Err(KeyError::Io { .. })));
    }
}
