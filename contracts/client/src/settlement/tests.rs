use std::fs;
use std::path::Path;

use super::*;
use crate::journal::Recovery;
use crate::testing::{Curve, Key, wallet};

fn domain() -> Domain {
    Domain::escrow(84_532, wallet(0xe5))
}

fn job() -> JobId {
    JobId::new(&Key::of(1).wallet(), &[7; 16])
}

fn terms(provider: u8) -> Terms {
    Terms {
        job: job(),
        requester: Key::of(1).wallet(),
        provider: wallet(provider),
        per_second: 1_000,
        duration: 3_600,
    }
}

fn voucher(seconds: u32, seq: u64) -> SignedVoucher {
    Voucher { job: job(), provider: wallet(10), seconds, seq }.sign(&domain(), &Key::of(1))
}

fn open(path: &Path) -> Ledger {
    Ledger::open(path, domain()).unwrap().0
}

fn fresh() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = open(&folder.path().join("ledger"));
    ledger.handle_terms(terms(10)).unwrap();
    (folder, ledger)
}

fn reject(result: Result<Gain, LedgerError>) -> VoucherReject {
    match result {
        Err(LedgerError::Voucher(reject)) => reject,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_voucher_is_read_as_it_was_written_and_every_byte_counts() {
    let signed = voucher(600, 1);
    let bytes = signed.encode();
    assert_eq!(bytes.len(), VOUCHER_LEN);
    assert_eq!(SignedVoucher::decode(&bytes), Ok(signed));
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let signer = SignedVoucher::decode(&other).ok().and_then(|it| it.signer(&domain(), &Curve));
        assert_ne!(signer, Some(Key::of(1).wallet()), "byte {at} is not signed");
    }
    for len in 0..bytes.len() {
        assert!(SignedVoucher::decode(&bytes[..len]).is_err());
    }
    assert_eq!(SignedVoucher::decode(&[&bytes[..], &[0]].concat()), Err(VoucherReject::Length));
}

#[test]
fn vouchers_are_cumulative_and_gain_once() {
    let (_folder, mut ledger) = fresh();
    let mut gain = |signed| ledger.handle_voucher(&signed, &Curve).map(|gain| (gain.seconds, gain.amount));
    assert_eq!(gain(voucher(600, 1)).unwrap(), (600, 600_000));
    assert_eq!(gain(voucher(600, 1)).unwrap(), (0, 0));
    // The second was lost; the third contains it.
    assert_eq!(gain(voucher(1_800, 3)).unwrap(), (1_200, 1_200_000));
    assert_eq!(reject(ledger.handle_voucher(&voucher(1_200, 2), &Curve)), VoucherReject::Old);
    assert_eq!(reject(ledger.handle_voucher(&voucher(1_799, 4), &Curve)), VoucherReject::Falls);
    assert_eq!(reject(ledger.handle_voucher(&voucher(3_601, 4), &Curve)), VoucherReject::Longer);
    assert_eq!(ledger.get(job(), wallet(10)).unwrap().open_amount(), 1_800_000);
}

#[test]
fn only_the_requester_vouches_and_only_in_the_domain_of_the_escrow() {
    let (_folder, mut ledger) = fresh();
    let it = *voucher(600, 1).voucher();
    let forged = [
        it.sign(&domain(), &Key::of(2)),
        it.sign(&Domain::escrow(8_453, wallet(0xe5)), &Key::of(1)),
        it.sign(&Domain::escrow(84_532, wallet(0xe6)), &Key::of(1)),
        it.sign(&Domain::staking(84_532, wallet(0xe5)), &Key::of(1)),
    ];
    for signed in forged {
        assert_eq!(reject(ledger.handle_voucher(&signed, &Curve)), VoucherReject::Signature);
    }
    let other = Voucher { provider: wallet(11), ..it }.sign(&domain(), &Key::of(1));
    assert_eq!(reject(ledger.handle_voucher(&other, &Curve)), VoucherReject::UnknownJob);
}

#[test]
fn terms_do_not_change_but_for_a_longer_time() {
    let (_folder, mut ledger) = fresh();
    ledger.handle_terms(terms(10)).unwrap();
    let dearer = Terms { per_second: 1_001, ..terms(10) };
    assert!(matches!(ledger.handle_terms(dearer), Err(LedgerError::Conflict)));
    let shorter = Terms { duration: 3_599, ..terms(10) };
    assert!(matches!(ledger.handle_terms(shorter), Err(LedgerError::Conflict)));
    ledger.handle_terms(Terms { duration: 7_200, ..terms(10) }).unwrap();
    ledger.handle_voucher(&voucher(7_200, 1), &Curve).unwrap();
}

#[test]
fn a_requester_never_signs_less_nor_a_number_twice_even_after_a_crash() {
    let (folder, mut ledger) = fresh();
    let me = Key::of(1);
    let first = ledger.issue(job(), wallet(10), 600, &me).unwrap();
    drop(ledger);
    let mut ledger = open(&folder.path().join("ledger"));
    assert_eq!(ledger.issue(job(), wallet(10), 300, &me).unwrap(), first);
    let second = ledger.issue(job(), wallet(10), u32::MAX, &me).unwrap();
    assert_eq!((second.voucher().seconds, second.voucher().seq), (3_600, 2));
    let stranger = ledger.issue(job(), wallet(10), 700, &Key::of(2));
    assert!(matches!(stranger, Err(LedgerError::Voucher(VoucherReject::Signature))));
    assert!(ledger.issue(job(), wallet(11), 700, &me).is_err());
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_at_any_byte() {
    let (folder, mut ledger) = fresh();
    let path = folder.path().join("ledger");
    let mut after = Vec::new();
    for seq in 1..=5 {
        let seconds = u32::try_from(seq).unwrap() * 100;
        ledger.handle_voucher(&voucher(seconds, seq), &Curve).unwrap();
        after.push((fs::read(&path).unwrap().len(), seconds));
    }
    ledger.handle_settled(job(), wallet(10), 250).unwrap();
    drop(ledger);
    let contents = fs::read(&path).unwrap();
    for len in after[0].0..contents.len() {
        fs::write(&path, &contents[..len]).unwrap();
        let (ledger, recovery) = Ledger::open(&path, domain()).unwrap();
        let acknowledged = after.iter().rev().find(|(end, _)| *end <= len).unwrap().1;
        let entry = ledger.get(job(), wallet(10)).unwrap();
        assert_eq!(entry.voucher.unwrap().voucher().seconds, acknowledged);
        assert_eq!(entry.settled, 0);
        assert!(!matches!(recovery, Recovery::Damaged(_)), "{len}");
    }
    fs::write(&path, &contents).unwrap();
    let entry = *open(&path).get(job(), wallet(10)).unwrap();
    assert_eq!((entry.settled, entry.open_seconds(), entry.open_amount()), (250, 250, 250_000));
}

#[test]
fn a_journal_that_has_grown_is_rewritten_to_what_counts() {
    let (folder, mut ledger) = fresh();
    let path = folder.path().join("ledger");
    for provider in 11..16 {
        ledger.handle_terms(terms(provider)).unwrap();
    }
    for seq in 1..200 {
        let seconds = u32::try_from(seq).unwrap();
        ledger.handle_voucher(&voucher(seconds, seq), &Curve).unwrap();
    }
    ledger.handle_settled(job(), wallet(10), 100).unwrap();
    let entries: Vec<Entry> = ledger.entries().copied().collect();
    drop(ledger);
    let before = fs::metadata(&path).unwrap().len();
    let mut ledger = open(&path);
    assert!(fs::metadata(&path).unwrap().len() < before / 10);
    assert_eq!(ledger.entries().copied().collect::<Vec<_>>(), entries);
    ledger.handle_closed(job()).unwrap();
    drop(ledger);
    assert_eq!(open(&path).entries().count(), 0);
}

#[test]
fn the_job_of_a_deployment_is_that_of_its_requester() {
    let (a, b) = (Key::of(1).wallet(), Key::of(2).wallet());
    assert_eq!(JobId::new(&a, &[7; 16]), JobId::new(&a, &[7; 16]));
    assert_ne!(JobId::new(&a, &[7; 16]), JobId::new(&b, &[7; 16]));
    assert_ne!(JobId::new(&a, &[7; 16]), JobId::new(&a, &[8; 16]));
}
