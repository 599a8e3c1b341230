//! Wallets: Ethereum addresses, what they sign over, and their signatures.
//!
//! Supported: EIP-55 (text of an address), EIP-191 version `E` (signed text), EIP-712 (signed data), EIP-2 (low `s`). A
//! contract as wallet (ERC-1271) is not supported: whether its signature holds is known only to the chain, and may change.

use std::fmt;
use std::str::FromStr;

use sha3::{Digest as _, Keccak256};

/// Length of a wallet's signature in bytes.
pub const SIGNATURE_LEN: usize = 65;

/// Half the order of secp256k1, rounded down. Of the two `s` that fit a message, EIP-2 allows the one up to here.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// The address of a wallet or a contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wallet([u8; 20]);

impl Wallet {
    /// Nobody.
    pub const ZERO: Self = Self([0; 20]);

    /// Takes the 20 bytes as they are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The address of an uncompressed public key without its leading byte: the last 20 bytes of its hash.
    #[must_use]
    pub fn of_public_key(key: &[u8; 64]) -> Self {
        let [_, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = keccak(&[key]);
        Self(address)
    }
}

/// EIP-55: the case of the letters is a checksum.
impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex(&self.0);
        let hash = keccak(&[lower.as_bytes()]);
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        f.write_str("0x")?;
        for (digit, nibble) in lower.chars().zip(nibbles) {
            let digit = if nibble >= 8 { digit.to_ascii_uppercase() } else { digit };
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text is not a wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a wallet: expected 0x and 40 hexadecimal digits, in one case or with the checksum of EIP-55")]
pub struct InvalidWallet;

impl FromStr for Wallet {
    type Err = InvalidWallet;

    fn from_str(text: &str) -> Result<Self, InvalidWallet> {
        let digits = text.strip_prefix("0x").ok_or(InvalidWallet)?;
        let wallet = Self(unhex(digits).ok_or(InvalidWallet)?);
        let mixed = digits.bytes().any(|digit| digit.is_ascii_uppercase())
            && digits.bytes().any(|digit| digit.is_ascii_lowercase());
        if mixed && wallet.to_string() != text { Err(InvalidWallet) } else { Ok(wallet) }
    }
}

/// An ECDSA signature over secp256k1 with which the wallet can be recovered: `r`, `s`, and a parity of 27 or 28.
///
/// Of the signatures that fit one message exactly one form exists here, so that nobody can make a second from the first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WalletSignature([u8; SIGNATURE_LEN]);

/// Why a signature of a wallet is refused before it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum SignatureReject {
    /// The second form of a signature (EIP-2).
    #[error("signature with a high s")]
    HighS,
    /// The last byte is neither 27 nor 28.
    #[error("parity of the signature")]
    Parity,
}

impl WalletSignature {
    /// Takes a signature.
    ///
    /// # Errors
    /// [`SignatureReject`] if it is not in the one form.
    pub fn new(bytes: [u8; SIGNATURE_LEN]) -> Result<Self, SignatureReject> {
        let [rs @ .., parity] = &bytes;
        if !matches!(parity, 27 | 28) {
            return Err(SignatureReject::Parity);
        }
        match rs.last_chunk::<32>() {
            Some(s) if *s <= HALF_ORDER => Ok(Self(bytes)),
            _ => Err(SignatureReject::HighS),
        }
    }

    /// The 65 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_LEN] {
        &self.0
    }
}

impl fmt::Debug for WalletSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex(&self.0))
    }
}

/// Finds out who signed. The feature `chain` brings an implementation.
pub trait Recover: fmt::Debug + Send + Sync {
    /// The wallet that signed `digest`, if the signature is one.
    fn recover(&self, digest: &Digest, signature: &WalletSignature) -> Option<Wallet>;
}

/// Signs as a wallet. The feature `chain` brings an implementation.
pub trait Sign: fmt::Debug + Send + Sync {
    /// Whose signatures these are.
    fn wallet(&self) -> Wallet;

    /// Signs a digest.
    fn sign(&self, digest: &Digest) -> WalletSignature;
}

/// What is signed: a Keccak-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where a signature counts (EIP-712 "domain separator"): one contract on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// Name of the signing domain.
    pub name: &'static str,
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// The contract that verifies.
    pub contract: Wallet,
}

/// The only version of our domains.
pub const DOMAIN_VERSION: &str = "1";
const DOMAIN_TYPE: &str =
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

impl Domain {
    /// The domain of bindings: the staking contract.
    #[must_use]
    pub const fn staking(chain_id: u64, contract: Wallet) -> Self {
        Self { name: "MoltNet", chain_id, contract }
    }

    /// The domain of bids and vouchers: the escrow contract.
    #[must_use]
    pub const fn escrow(chain_id: u64, contract: Wallet) -> Self {
        Self { name: "BunkerEscrow", chain_id, contract }
    }

    /// `hashStruct(eip712Domain)`.
    #[must_use]
    pub fn separator(&self) -> [u8; 32] {
        Words::new(DOMAIN_TYPE)
            .bytes32(&keccak(&[self.name.as_bytes()]))
            .bytes32(&keccak(&[DOMAIN_VERSION.as_bytes()]))
            .uint(self.chain_id.into())
            .address(&self.contract)
            .hash()
    }

    /// What is signed for a struct with this hash.
    #[must_use]
    pub fn digest(&self, struct_hash: &[u8; 32]) -> Digest {
        Digest(keccak(&[&[0x19, 0x01], &self.separator(), struct_hash]))
    }
}

/// What a wallet signs for a text (EIP-191 version `E`, `personal_sign`).
#[must_use]
pub fn text_digest(text: &str) -> Digest {
    let len = text.len().to_string();
    Digest(keccak(&[b"\x19Ethereum Signed Message:\n", len.as_bytes(), text.as_bytes()]))
}

/// Keccak-256 of the parts, one behind the other.
#[must_use]
pub fn keccak(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `encodeData` of a struct with members of fixed size, of 32 bytes each.
#[derive(Debug, Clone)]
pub(crate) struct Words(Keccak256);

impl Words {
    /// Starts with the hash of the type.
    pub(crate) fn new(type_text: &str) -> Self {
        Self::untyped().bytes32(&keccak(&[type_text.as_bytes()]))
    }

    /// `abi.encode` of what follows.
    pub(crate) fn untyped() -> Self {
        Self(Keccak256::new())
    }

    pub(crate) fn bytes32(mut self, word: &[u8; 32]) -> Self {
        self.0.update(word);
        self
    }

    /// Short byte strings stand at the left.
    pub(crate) fn bytes16(mut self, bytes: &[u8; 16]) -> Self {
        self.0.update(bytes);
        self.0.update([0; 16]);
        self
    }

    /// Numbers and addresses stand at the right.
    pub(crate) fn address(mut self, wallet: &Wallet) -> Self {
        self.0.update([0; 12]);
        self.0.update(wallet.as_bytes());
        self
    }

    pub(crate) fn uint(mut self, value: u128) -> Self {
        self.0.update([0; 16]);
        self.0.update(value.to_be_bytes());
        self
    }

    pub(crate) fn hash(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}

/// Exactly `N` bytes in hexadecimal digits of any case.
pub(crate) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let value = u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Curve, Key};

    /// EIP-55, "Test Cases".
    #[test]
    fn eip55_case_is_a_checksum() {
        for text in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let wallet: Wallet = text.parse().unwrap();
            assert_eq!(wallet.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(wallet));
        }
        for wrong in [
            "",
            "0x",
            "52908400098527886E0F7030069857D2E4169EE7",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
        ] {
            assert_eq!(wrong.parse::<Wallet>(), Err(InvalidWallet), "{wrong:?}");
        }
    }

    /// The hash of nothing, as every client of Ethereum knows it (the code hash of an account without code).
    #[test]
    fn keccak_is_the_one_before_sha3() {
        let empty = hex(&keccak(&[]));
        assert_eq!(empty, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
    }

    /// EIP-712, "Test Cases": the example with two persons and a mail, by its published digest.
    #[test]
    fn eip712_digest_of_the_example_in_the_standard() {
        const PERSON: &str = "Person(string name,address wallet)";
        const MAIL: &str = "Mail(Person from,Person to,string contents)Person(string name,address wallet)";
        let person = |name: &str, wallet: &str| {
            Words::new(PERSON).bytes32(&keccak(&[name.as_bytes()])).address(&wallet.parse().unwrap()).hash()
        };
        let cow = person("Cow", "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826");
        let bob = person("Bob", "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");
        let mail = Words::new(MAIL).bytes32(&cow).bytes32(&bob).bytes32(&keccak(&[b"Hello, Bob!"])).hash();
        let contract = "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC".parse().unwrap();
        let domain = Domain { name: "Ether Mail", chain_id: 1, contract };
        assert_eq!(
            hex(&domain.separator()),
            "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f"
        );
        let digest = domain.digest(&mail);
        assert_eq!(hex(&digest.0), "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
        // The signature of the standard, made with keccak256("cow") as key.
        let signature = "4355c47d63924e8a72e509b65029052eb6c299d53a04e167c5775fd466751c9d\
                         07299936d304c153f6443dfa05f40ff007d72911b6f72307f996231605b915621c";
        let signature = WalletSignature::new(unhex(signature).unwrap()).unwrap();
        let cow: Wallet = "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826".parse().unwrap();
        assert_eq!(Curve.recover(&digest, &signature), Some(cow));
        assert_eq!(Key::from_bytes(keccak(&[b"cow"])).sign(&digest), signature);
    }

    #[test]
    fn eip2_the_other_form_of_a_signature_is_refused() {
        let mut high = [0; 65];
        high[32..64].copy_from_slice(&HALF_ORDER);
        high[64] = 27;
        assert!(WalletSignature::new(high).is_ok());
        high[63] += 1;
        assert_eq!(WalletSignature::new(high), Err(SignatureReject::HighS));
        for parity in [0, 1, 26, 29] {
            high[64] = parity;
            assert_eq!(WalletSignature::new(high), Err(SignatureReject::Parity));
        }
    }
}
