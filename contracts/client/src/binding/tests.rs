use std::time::Duration;

use molt_mesh::sign::Strict;
use molt_mesh::{AgentId, MeshPrefix, Time};

use super::announce::{AnnounceReject, Announcement, Challenges, MAX_CHALLENGES, Nonce, SignedAnnouncement};
use super::*;
use crate::testing::{Curve, Key, node, wallet};
use crate::tier::Tier;
use crate::wallet::hex;

const NOW: u64 = 1_795_000_000;
const NETWORK: NetworkId = NetworkId([9; 32]);
const DAY: u64 = 86_400;

fn domain() -> Domain {
    Domain::staking(84_532, wallet(0x5a))
}

fn binding(number: u8, seq: u64) -> NodeBinding {
    NodeBinding {
        node: *node(number).key(),
        wallet: Key::of(number).wallet(),
        address: node(number).address(MeshPrefix::DEFAULT),
        network: NETWORK,
        issued_at: NOW,
        expires_at: NOW + 30 * DAY,
        seq,
    }
}

fn signed(number: u8, seq: u64) -> SignedBinding {
    sign(number, binding(number, seq))
}

fn sign(number: u8, binding: NodeBinding) -> SignedBinding {
    binding.sign(&domain(), &node(number), &Key::of(number)).unwrap()
}

fn authority(domain: &Domain) -> Authority<'_> {
    Authority { domain, network: &NETWORK, verifier: &Strict, recover: &Curve }
}

fn verify(signed: &SignedBinding, unix_now: u64) -> Result<Bound, BindingReject> {
    signed.verify(authority(&domain()), unix_now)
}

#[test]
fn the_certificate_is_what_both_signed_byte_for_byte() {
    let signed = signed(1, 7);
    let bytes = signed.encode();
    assert_eq!(bytes.len(), BINDING_LEN);
    assert_eq!(hex(&bytes[..2]), "0100");
    assert_eq!(&bytes[2..34], node(1).key().as_bytes());
    assert_eq!(&bytes[34..54], Key::of(1).wallet().as_bytes());
    assert_eq!(bytes[54..70], node(1).address(MeshPrefix::DEFAULT).ip().octets());
    assert_eq!(bytes[70..102], NETWORK.0);
    assert_eq!(bytes[102..110], NOW.to_be_bytes());
    assert_eq!(bytes[118..126], 7_u64.to_be_bytes());
    assert_eq!(SignedBinding::decode(&bytes), Ok(signed));
    assert_eq!(signed.binding(), &binding(1, 7));
}

#[test]
fn both_signatures_count_for_every_byte() {
    let bytes = signed(1, 7).encode();
    assert!(verify(&signed(1, 7), NOW).is_ok());
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let verified = SignedBinding::decode(&other).and_then(|other| verify(&other, NOW));
        assert!(verified.is_err(), "byte {at} is not signed");
    }
    for len in 0..bytes.len() {
        assert!(SignedBinding::decode(&bytes[..len]).is_err());
    }
    assert_eq!(SignedBinding::decode(&[&bytes[..], &[0]].concat()), Err(BindingReject::Length));
}

#[test]
fn it_counts_on_one_chain_for_one_contract_and_in_one_network() {
    let it = signed(1, 1);
    for other in [Domain::staking(8_453, wallet(0x5a)), Domain::staking(84_532, wallet(0x5b))] {
        assert_eq!(it.verify(authority(&other), NOW), Err(BindingReject::NodeSignature));
    }
    let elsewhere = sign(1, NodeBinding { network: NetworkId([8; 32]), ..binding(1, 1) });
    assert_eq!(verify(&elsewhere, NOW), Err(BindingReject::Network));
}

#[test]
fn neither_signs_for_the_other() {
    let domain = domain();
    assert_eq!(binding(1, 1).sign(&domain, &node(2), &Key::of(1)), Err(BindingReject::NodeSignature));
    assert_eq!(binding(1, 1).sign(&domain, &node(1), &Key::of(2)), Err(BindingReject::WalletSignature));
    // A wallet that binds a node which knows nothing of it, and a node that borrows a stake.
    let mut bytes = signed(1, 1).encode();
    let other = signed(2, 1).encode();
    bytes[BINDING_LEN - 64..].copy_from_slice(&other[BINDING_LEN - 64..]);
    assert_eq!(verify(&SignedBinding::decode(&bytes).unwrap(), NOW), Err(BindingReject::NodeSignature));
    let mut bytes = signed(1, 1).encode();
    bytes[126..191].copy_from_slice(&other[126..191]);
    assert_eq!(verify(&SignedBinding::decode(&bytes).unwrap(), NOW), Err(BindingReject::WalletSignature));
}

#[test]
fn it_lives_for_thirty_days_at_most_and_from_when_it_was_issued() {
    let of = |issued_at, expires_at| NodeBinding { issued_at, expires_at, ..binding(1, 1) };
    let rejects = |it: NodeBinding| it.sign(&domain(), &node(1), &Key::of(1)).unwrap_err();
    assert_eq!(rejects(of(NOW, NOW + 30 * DAY + 1)), BindingReject::Life);
    assert_eq!(rejects(of(NOW, NOW - 1)), BindingReject::Life);
    assert_eq!(rejects(of(0, u64::MAX)), BindingReject::Life);
    let ahead = sign(1, of(NOW + MAX_SKEW, NOW + DAY));
    assert!(verify(&ahead, NOW).is_ok());
    assert_eq!(verify(&ahead, NOW - 1), Err(BindingReject::NotYet));
    assert!(verify(&ahead, NOW + DAY - 1).is_ok());
    assert_eq!(verify(&ahead, NOW + DAY), Err(BindingReject::Expired));
    let last = sign(1, of(u64::MAX, u64::MAX));
    assert_eq!(verify(&last, NOW), Err(BindingReject::NotYet));
}

#[test]
fn the_address_is_the_nodes() {
    let rejects = |address| {
        NodeBinding { address, ..binding(1, 1) }.sign(&domain(), &node(1), &Key::of(1)).unwrap_err()
    };
    assert_eq!(rejects(node(2).address(MeshPrefix::DEFAULT)), BindingReject::Address);
    assert_eq!(rejects(MeshPrefix::DEFAULT.container(node(1).key(), 0)), BindingReject::Address);
    assert_eq!(rejects("fd00:6d6f:6c74::53".parse().unwrap()), BindingReject::Address);
    let uuid: AgentId = "daa46e88-46c5-4af7-9268-1482c54c1922".parse().unwrap();
    let claimed = MeshPrefix::DEFAULT.address_of(&uuid).unwrap();
    assert!(verify(&sign(1, NodeBinding { address: claimed, ..binding(1, 1) }), NOW).is_ok());
}

#[test]
fn the_highest_seq_counts_and_a_revocation_is_remembered() {
    let mut bindings = Bindings::default();
    let tier = |_: &Wallet| Tier::None;
    let mut insert = |signed: SignedBinding, at| bindings.insert(verify(&signed, at).unwrap(), tier, at);
    assert_eq!(insert(signed(1, 5), NOW), Ok(Inserted::New));
    assert_eq!(insert(signed(1, 5), NOW), Ok(Inserted::Same));
    assert_eq!(insert(signed(1, 4), NOW), Err(StoreReject::Superseded));
    let revocation = sign(1, NodeBinding { expires_at: NOW, ..binding(1, 6) });
    assert!(revocation.binding().is_revocation());
    assert_eq!(insert(revocation, NOW + 5 * DAY), Ok(Inserted::New));
    assert_eq!(insert(signed(1, 5), NOW + 5 * DAY), Err(StoreReject::Superseded));
    assert_eq!(bindings.wallet(node(1).key(), NOW + 5 * DAY), None);
    // What it revoked has ended by the time the revocation is forgotten.
    bindings.expire(NOW + MAX_LIFE);
    assert!(bindings.is_empty());
    assert_eq!(verify(&signed(1, 5), NOW + MAX_LIFE), Err(BindingReject::Expired));
}

#[test]
fn a_node_moves_to_another_wallet_with_a_higher_seq() {
    let mut bindings = Bindings::default();
    let tier = |_: &Wallet| Tier::Starter;
    bindings.insert(verify(&signed(1, 1), NOW).unwrap(), tier, NOW).unwrap();
    let moved = NodeBinding { wallet: Key::of(2).wallet(), ..binding(1, 2) };
    let moved = moved.sign(&domain(), &node(1), &Key::of(2)).unwrap();
    bindings.insert(verify(&moved, NOW).unwrap(), tier, NOW).unwrap();
    assert_eq!(bindings.wallet(node(1).key(), NOW), Some(Key::of(2).wallet()));
    assert_eq!(bindings.nodes_of(&Key::of(1).wallet()), 0);
}

#[test]
fn a_wallet_has_as_many_nodes_as_its_tier_allows() {
    let bound = |number: u8, life| {
        let it = NodeBinding { wallet: Key::of(99).wallet(), expires_at: NOW + life, ..binding(number, 1) };
        verify(&it.sign(&domain(), &node(number), &Key::of(99)).unwrap(), NOW).unwrap()
    };
    let mut bindings = Bindings::default();
    let bronze = |_: &Wallet| Tier::Bronze;
    for number in 1..=3 {
        assert_eq!(bindings.insert(bound(number, DAY), bronze, NOW), Ok(Inserted::New));
    }
    assert_eq!(bindings.insert(bound(4, 2 * DAY), bronze, NOW), Err(StoreReject::TooManyNodes));
    assert_eq!(bindings.insert(bound(4, 2 * DAY), bronze, NOW + DAY), Ok(Inserted::New));
    assert_eq!(bindings.len(), 1);
}

/// Wallets and keys are free, so a flood of bindings, or of their ends, must neither push out those with something at stake
/// nor keep them out.
#[test]
fn a_full_store_makes_room_for_a_stake_and_for_nothing_else() {
    /// Nodes from this number on have revoked their bindings.
    const REVOKED: u32 = 1_000_000;
    let bound = |number: u32, wallet: Wallet| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let node = IdentityKey::from_bytes(key);
        let rank = Rank::Certificate(1);
        Bound { node, wallet, revoked: number >= REVOKED, rank, ends: NOW + DAY, proof: None }
    };
    let own = |number: u32| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Wallet::from_bytes(bytes)
    };
    let rich = own(u32::MAX);
    let tier = move |wallet: &Wallet| if *wallet == rich { Tier::Gold } else { Tier::None };
    let mut bindings = Bindings::default();
    bindings.insert(bound(0, rich), tier, NOW).unwrap();
    bindings.insert(bound(REVOKED, rich), tier, NOW).unwrap();
    bindings.insert(bound(1, own(1)), tier, NOW).unwrap();
    for number in 3..u32::try_from(MAX_BINDINGS).unwrap() {
        bindings.insert(bound(REVOKED + number, own(number)), tier, NOW).unwrap();
    }
    assert_eq!(bindings.insert(bound(70_000, own(70_000)), tier, NOW), Err(StoreReject::Full));
    assert_eq!(bindings.insert(bound(70_001, rich), tier, NOW), Ok(Inserted::New));
    assert_eq!(bindings.len(), MAX_BINDINGS);
    assert_eq!(bindings.nodes_of(&rich), 2);
    assert_eq!(bindings.nodes_of(&own(1)), 0, "who is bound goes before who has revoked");
    assert_eq!(bindings.insert(bound(70_002, rich), tier, NOW), Ok(Inserted::New));
    // What is left are revocations; the one of a wallet with a stake is not forgotten.
    assert!(bindings.iter().any(|it| it.node == bound(REVOKED, rich).node));
    assert_eq!(bindings.insert(bound(70_000, own(70_000)), tier, NOW + DAY), Ok(Inserted::New));
    assert_eq!(bindings.len(), 1);
}

fn announcement(nonce: Nonce) -> SignedAnnouncement {
    let it = Announcement { node: *node(1).key(), wallet: Key::of(1).wallet(), at: NOW, nonce };
    it.sign(&domain(), &node(1), &Key::of(1)).unwrap()
}

#[test]
fn eip191_the_text_names_chain_contract_node_wallet_time_and_nonce() {
    let text = announcement(Nonce([0xab; 16])).announcement().text(&domain());
    let expected = format!(
        "moltnet-announce:v1:84532:{}:8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c:{}:{NOW}:{}",
        wallet(0x5a),
        Key::of(1).wallet(),
        "ab".repeat(16)
    );
    assert_eq!(text, expected);
    let bytes = announcement(Nonce([1; 16])).encode();
    assert_eq!(SignedAnnouncement::decode(&bytes), Ok(announcement(Nonce([1; 16]))));
}

#[test]
fn eip191_the_verifier_chooses_the_nonce_and_takes_it_once() {
    let domain = domain();
    let mut challenges = Challenges::default();
    let (now, nonce) = (Time::from_millis(1_000), Nonce([3; 16]));
    let it = announcement(nonce);
    let verify = |challenges: &mut Challenges, it: &SignedAnnouncement, now, unix_now| {
        challenges.verify(it, authority(&domain), now, unix_now)
    };
    assert_eq!(verify(&mut challenges, &it, now, NOW), Err(AnnounceReject::Nonce));
    challenges.open(*node(1).key(), nonce, now);
    assert_eq!(verify(&mut challenges, &announcement(Nonce([4; 16])), now, NOW), Err(AnnounceReject::Nonce));
    assert_eq!(
        verify(&mut challenges, &it, now, NOW + announce::MAX_AGE),
        Err(BindingReject::Expired.into())
    );
    assert_eq!(verify(&mut challenges, &it, now, NOW - MAX_SKEW - 1), Err(BindingReject::NotYet.into()));
    let late = now + Duration::from_secs(announce::MAX_AGE);
    assert_eq!(verify(&mut challenges, &it, late, NOW), Err(AnnounceReject::Nonce));
    let bytes = it.encode();
    for at in 2..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let Ok(other) = SignedAnnouncement::decode(&other) else { continue };
        assert!(verify(&mut challenges, &other, now, NOW).is_err(), "byte {at} is not signed");
    }
    let bound = verify(&mut challenges, &it, now, NOW).unwrap();
    assert_eq!((bound.wallet(), bound.proof()), (Some(Key::of(1).wallet()), None));
    assert_eq!(verify(&mut challenges, &it, now, NOW), Err(AnnounceReject::Nonce));
    // A certificate is more than an announcement, however late.
    let mut bindings = Bindings::default();
    let tier = |_: &Wallet| Tier::Starter;
    bindings.insert(bound.clone(), tier, NOW).unwrap();
    bindings.insert(signed(1, 0).verify(authority(&domain), NOW).unwrap(), tier, NOW).unwrap();
    assert_eq!(bindings.insert(bound, tier, NOW), Err(StoreReject::Superseded));
}

#[test]
fn open_challenges_are_bounded() {
    let mut challenges = Challenges::default();
    for number in 0..2 * u64::try_from(MAX_CHALLENGES).unwrap() {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        challenges.open(IdentityKey::from_bytes(key), Nonce([0; 16]), Time::from_millis(number));
    }
    challenges.open(*node(1).key(), Nonce([3; 16]), Time::from_millis(9_000));
    let it = announcement(Nonce([3; 16]));
    assert!(challenges.verify(&it, authority(&domain()), Time::from_millis(9_000), NOW).is_ok());
}
