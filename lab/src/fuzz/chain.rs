//! What others sign with their wallets: certificates and announcements of bindings, vouchers, bids.

use std::hint::black_box;

use molt_contracts::binding::announce::{Challenges, SignedAnnouncement};
use molt_contracts::binding::{Authority, BindingReject, Bindings, MAX_LIFE, NetworkId, SignedBinding};
use molt_contracts::escrow::SignedBid;
use molt_contracts::settlement::SignedVoucher;
use molt_contracts::wallet::{Digest, Domain, Recover, WalletSignature};
use molt_contracts::{Tier, Wallet};
use molt_mesh::Time;
use molt_mesh::sign::Strict;

/// Believes that whoever is named has signed, so that what lies behind the signature is reached.
#[derive(Debug)]
struct Believes(Wallet);

impl Recover for Believes {
    fn recover(&self, _: &Digest, _: &WalletSignature) -> Option<Wallet> {
        Some(self.0)
    }
}

const STAKING: Domain = Domain::staking(84_532, Wallet::from_bytes([0x5a; 20]));
const ESCROW: Domain = Domain::escrow(84_532, Wallet::from_bytes([0xe5; 20]));

/// Certificate of a binding. What counts is within its dates, and is kept and passed on byte for byte.
pub fn chain_binding(data: &[u8]) {
    let Ok(signed) = SignedBinding::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    let it = *signed.binding();
    assert!(it.expires_at - it.issued_at <= MAX_LIFE);
    let believes = Believes(it.wallet);
    let by = Authority { domain: &STAKING, network: &it.network, verifier: &Strict, recover: &believes };
    let elsewhere = NetworkId(it.network.0.map(|byte| !byte));
    let other = Authority { network: &elsewhere, ..by };
    assert_eq!(signed.verify(other, it.issued_at), Err(BindingReject::Network));
    let Ok(bound) = signed.verify(by, it.issued_at) else { return };
    assert_eq!((bound.node(), bound.proof()), (&it.node, Some(&signed)));
    assert_eq!(bound.wallet().is_none(), it.is_revocation());
    assert!(signed.verify(by, bound.ends()).is_err());
    let mut bindings = Bindings::default();
    assert!(bindings.insert(bound, |_| Tier::None, it.issued_at).is_ok());
    let wallet = (!it.is_revocation()).then_some(it.wallet);
    assert_eq!(bindings.wallet(&it.node, it.issued_at), wallet);
    bindings.expire(u64::MAX);
    assert!(bindings.is_empty());
}

/// Announcement of a binding. It counts once, and only for a nonce that we chose.
pub fn chain_announcement(data: &[u8]) {
    let Ok(signed) = SignedAnnouncement::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    let it = *signed.announcement();
    assert!(it.text(&STAKING).starts_with("moltnet-announce:v1:84532:0x"));
    let (believes, network) = (Believes(it.wallet), NetworkId([0; 32]));
    let by = Authority { domain: &STAKING, network: &network, verifier: &Strict, recover: &believes };
    let mut challenges = Challenges::default();
    assert!(challenges.verify(&signed, by, Time::ZERO, it.at).is_err());
    challenges.open(it.node, it.nonce, Time::ZERO);
    if let Ok(bound) = challenges.verify(&signed, by, Time::ZERO, it.at) {
        assert_eq!((bound.wallet(), bound.proof()), (Some(it.wallet), None));
        assert!(challenges.verify(&signed, by, Time::ZERO, it.at).is_err(), "a nonce counts once");
    }
}

/// Voucher.
pub fn chain_voucher(data: &[u8]) {
    let Ok(signed) = SignedVoucher::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    black_box(signed.voucher().digest(&ESCROW));
}

/// Bid. Only its provider can have signed it.
pub fn chain_bid(data: &[u8]) {
    let Ok(signed) = SignedBid::decode(data) else { return };
    assert_eq!(signed.encode(), data);
    let bid = signed.bid();
    assert!(bid.per_second > 0 && bid.per_second < 1 << 96);
    assert!(signed.verify(&ESCROW, &Believes(bid.provider)).is_ok());
    let other = Wallet::from_bytes(bid.provider.as_bytes().map(|byte| !byte));
    assert!(signed.verify(&ESCROW, &Believes(other)).is_err());
}
