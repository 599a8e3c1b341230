use std::fs;

use super::*;
use crate::journal::Recovery;
use crate::testing::{Curve, Key, wallet};
use crate::tier::Tier;

const NOW: u64 = 1_795_000_000;
const JOB: JobId = JobId([7; 32]);

fn domain() -> Domain {
    Domain::escrow(84_532, wallet(0xe5))
}

fn bid(number: u8, per_second: u128) -> SignedBid {
    let key = Key::of(number);
    let bid = Bid { job: JOB, provider: key.wallet(), per_second, max_duration: 3_600, expires_at: NOW + 60 };
    bid.sign(&domain(), &key).unwrap()
}

fn candidate(number: u8, per_second: u128) -> Candidate {
    Candidate {
        bid: bid(number, per_second),
        tier: Tier::Starter,
        frozen: false,
        reputation: 400,
        jobs: 0,
        underlay: Some([10, number, 0, 1].into()),
        region: Some(format!("region-{number}")),
    }
}

fn needs() -> Needs {
    Needs { job: JOB, requester: wallet(0xaa), duration: 3_600, max_per_second: 1_000, unix_now: NOW }
}

fn rates(candidates: &[Candidate]) -> Result<[u128; 3], Unfit> {
    choose(candidates, &needs()).map(|chosen| chosen.map(|it| it.bid.bid().per_second))
}

#[test]
fn a_bid_is_read_as_it_was_written_and_every_byte_counts() {
    let signed = bid(1, 5);
    let bytes = signed.encode();
    assert_eq!(bytes.len(), BID_LEN);
    assert_eq!(SignedBid::decode(&bytes), Ok(signed));
    signed.verify(&domain(), &Curve).unwrap();
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let verified = SignedBid::decode(&other).and_then(|other| other.verify(&domain(), &Curve));
        assert!(verified.is_err(), "byte {at} is not signed");
    }
    for len in 0..bytes.len() {
        assert!(SignedBid::decode(&bytes[..len]).is_err());
    }
    let key = Key::of(1);
    assert_eq!(Bid { per_second: 1 << 96, ..*signed.bid() }.sign(&domain(), &key), Err(BidReject::Rate));
    assert_eq!(Bid { per_second: 0, ..*signed.bid() }.sign(&domain(), &key), Err(BidReject::Rate));
    assert_eq!(signed.bid().sign(&domain(), &Key::of(2)), Err(BidReject::Signature));
}

#[test]
fn the_cheapest_three_that_do_not_fail_together() {
    let mut all: Vec<Candidate> = (1..=5).map(|number| candidate(number, u128::from(number) * 10)).collect();
    assert_eq!(rates(&all), Ok([10, 20, 30]));
    all.reverse();
    assert_eq!(rates(&all), Ok([10, 20, 30]));
    // Neighbours of the cheapest in network or region.
    all.iter_mut().find(|it| it.bid.bid().per_second == 20).unwrap().underlay = Some([10, 1, 99, 1].into());
    all.iter_mut().find(|it| it.bid.bid().per_second == 30).unwrap().region = Some("region-1".into());
    assert_eq!(rates(&all), Ok([20, 30, 40]));
    all.iter_mut().find(|it| it.bid.bid().per_second == 40).unwrap().region = Some("region-1".into());
    assert_eq!(rates(&all), Ok([20, 30, 50]));
    all.retain(|it| it.bid.bid().per_second != 30);
    assert_eq!(rates(&all), Ok([20, 40, 50]));
    all.retain(|it| it.bid.bid().per_second != 50);
    assert_eq!(rates(&all), Err(Unfit::NotEnough));
}

#[test]
fn a_wallet_is_chosen_once_however_many_bids_it_makes() {
    let mut all = vec![candidate(1, 10), candidate(1, 10), candidate(1, 10), candidate(2, 20)];
    for (number, it) in (50..).zip(&mut all) {
        it.underlay = Some([10, number, 0, 1].into());
        it.region = None;
    }
    assert_eq!(rates(&all), Err(Unfit::NotEnough));
    all.push(candidate(3, 30));
    assert_eq!(rates(&all), Ok([10, 20, 30]));
}

#[test]
fn what_is_not_known_of_a_place_counts_as_different() {
    let mut all = vec![candidate(1, 10), candidate(2, 20), candidate(3, 30)];
    for it in &mut all {
        (it.underlay, it.region) = (None, None);
    }
    assert_eq!(rates(&all), Ok([10, 20, 30]));
    let [a, b] = ["2001:db8::1", "2001:db8:ffff::1"].map(|text| text.parse().unwrap());
    (all[0].underlay, all[1].underlay) = (Some(a), Some(b));
    assert_eq!(rates(&all), Err(Unfit::NotEnough));
    (all[0].underlay, all[1].underlay) =
        (Some("10.9.0.1".parse().unwrap()), Some("::ffff:10.9.1.1".parse().unwrap()));
    assert_eq!(rates(&all), Err(Unfit::NotEnough));
}

#[test]
fn who_is_unfit_is_named() {
    let check = |change: fn(&mut Candidate)| {
        let mut it = candidate(1, 10);
        change(&mut it);
        it.check(&needs())
    };
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|it| it.tier = Tier::None), Err(Unfit::Unstaked));
    assert_eq!(check(|it| it.frozen = true), Err(Unfit::Frozen));
    assert_eq!(check(|it| it.reputation = 249), Err(Unfit::Reputation));
    assert_eq!(check(|it| it.jobs = 3), Err(Unfit::Busy));
    assert_eq!(check(|it| (it.jobs, it.tier) = (u32::MAX, Tier::Platinum)), Ok(()));
    assert_eq!(check(|it| it.bid = bid(1, 1_001)), Err(Unfit::TooHigh));
    let it = candidate(1, 10);
    assert_eq!(it.check(&Needs { unix_now: NOW + 1, ..needs() }), Err(Unfit::Expired));
    assert_eq!(it.check(&Needs { requester: Key::of(1).wallet(), ..needs() }), Err(Unfit::Own));
    assert_eq!(it.check(&Needs { duration: 3_601, ..needs() }), Err(Unfit::TooShort));
    assert_eq!(it.check(&Needs { job: JobId([8; 32]), ..needs() }), Err(Unfit::Job));
}

/// Random candidates against all triples.
#[test]
fn agrees_with_trying_everything() {
    let mut rng = fastrand::Rng::with_seed(11);
    let signed: Vec<SignedBid> =
        (1..=12).map(|number| bid(number, u128::from(number % 5) * 10 + 1)).collect();
    for _ in 0..300 {
        let all: Vec<Candidate> = (0..rng.usize(..14))
            .map(|_| Candidate {
                bid: signed[rng.usize(..signed.len())],
                underlay: Some([10, rng.u8(..6), 0, 1].into()),
                region: Some(rng.u8(..5).to_string()),
                ..candidate(1, 10)
            })
            .collect();
        let mut least = None;
        for a in &all {
            for b in &all {
                for c in &all {
                    let apart = [(a, b), (a, c), (b, c)].iter().all(|(x, y)| {
                        x.bid.bid().provider != y.bid.bid().provider
                            && x.underlay != y.underlay
                            && x.region != y.region
                    });
                    let cost: u128 = [a, b, c].iter().map(|it| it.bid.bid().per_second).sum();
                    if apart {
                        least = Some(least.unwrap_or(cost).min(cost));
                    }
                }
            }
        }
        assert_eq!(rates(&all).ok().map(|rates| rates.iter().sum()), least);
    }
}

fn pending(purpose: Purpose, nonce: u64, raw: u8) -> Pending {
    Pending { purpose, nonce, hash: [raw; 32], raw: vec![raw; 200] }
}

#[test]
fn a_transaction_that_may_have_been_sent_is_known_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut outbox, _) = Outbox::open(&path).unwrap();
    let purposes = [
        Purpose::Approve(wallet(3)),
        Purpose::Claim([4; 32]),
        Purpose::Open(JOB),
        Purpose::Settle(JOB),
        Purpose::Close(JOB),
        Purpose::Stake,
        Purpose::Withdraw,
    ];
    let all: Vec<Pending> =
        (5..).zip(purposes).map(|(nonce, purpose)| pending(purpose, nonce, nonce as u8)).collect();
    for it in &all {
        outbox.handle_signed(it).unwrap();
    }
    drop(outbox);
    let (mut outbox, recovery) = Outbox::open(&path).unwrap();
    assert_eq!(recovery, Recovery::Clean);
    assert_eq!(outbox.pending().cloned().collect::<Vec<_>>(), all);
    assert_eq!((outbox.next_nonce(5), outbox.next_nonce(40)), (12, 40));
    outbox.handle_nonce_used(5).unwrap();
    drop(outbox);
    // The last record was torn: it is asked again whether that nonce was used.
    let contents = fs::read(&path).unwrap();
    fs::write(&path, &contents[..contents.len() - 3]).unwrap();
    let (outbox, recovery) = Outbox::open(&path).unwrap();
    assert!(matches!(recovery, Recovery::Torn { .. }));
    assert_eq!(outbox.pending().count(), 7);
}

#[test]
fn one_purpose_has_one_transaction_unless_it_replaces_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outbox, _) = Outbox::open(&folder.path().join("outbox")).unwrap();
    outbox.handle_signed(&pending(Purpose::Open(JOB), 1, 1)).unwrap();
    let again = outbox.handle_signed(&pending(Purpose::Open(JOB), 2, 2));
    assert!(matches!(again, Err(OutboxError::UnderWay)));
    let stolen = outbox.handle_signed(&pending(Purpose::Withdraw, 1, 3));
    assert!(matches!(stolen, Err(OutboxError::UnderWay)));
    outbox.handle_signed(&pending(Purpose::Open(JOB), 1, 4)).unwrap();
    assert_eq!(outbox.find(Purpose::Open(JOB)).unwrap().hash, [4; 32]);
    outbox.handle_nonce_used(1).unwrap();
    assert_eq!(outbox.pending().count(), 0);
    outbox.handle_signed(&pending(Purpose::Open(JOB), 2, 5)).unwrap();
}

#[test]
fn the_outbox_is_bounded_and_its_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut outbox, _) = Outbox::open(&path).unwrap();
    for nonce in 0..MAX_PENDING as u64 {
        outbox.handle_signed(&pending(Purpose::Claim([nonce as u8; 32]), nonce, 0)).unwrap();
    }
    assert!(matches!(outbox.handle_signed(&pending(Purpose::Stake, 999, 0)), Err(OutboxError::Full)));
    for nonce in 1..200 {
        outbox.handle_nonce_used(nonce).unwrap();
    }
    let before = fs::metadata(&path).unwrap().len();
    drop(outbox);
    let (outbox, _) = Outbox::open(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < before / 10);
    assert_eq!(outbox.pending().count(), 1);
}
