use super::*;
use crate::testing::{node, wallet};

fn secs(secs: u64) -> Time {
    Time::from_start(Duration::from_secs(secs))
}

/// How many of `count` messages at once pass.
fn passed(limiter: &mut Limiter, account: Account, class: RateClass, count: usize, now: Time) -> usize {
    (0..count).filter(|_| limiter.handle_message(account, class, now) == Verdict::Pass).count()
}

#[test]
fn each_class_passes_twice_its_rate_at_once_and_its_rate_for_ever() {
    for class in RateClass::ALL {
        let mut limiter = Limiter::default();
        let account = Account::Wallet(wallet(1));
        let mut total = 0;
        // One message at a time at exactly the rate, after the burst.
        for _ in 0..class.burst() {
            total += usize::from(limiter.handle_message(account, class, secs(1)) == Verdict::Pass);
        }
        assert_eq!(total, class.burst() as usize, "{class:?}");
        let interval = Duration::from_secs(1) / class.per_second();
        for message in 1..=10 * class.per_second() {
            let now = secs(1) + interval * message;
            assert_eq!(limiter.handle_message(account, class, now), Verdict::Pass, "{class:?} {message}");
        }
        let now = secs(1) + interval * (10 * class.per_second());
        assert_ne!(limiter.handle_message(account, class, now), Verdict::Pass, "{class:?}");
    }
}

#[test]
fn the_numbers_of_the_issue() {
    let rates = RateClass::ALL.map(RateClass::per_second);
    assert_eq!(rates, [10, 20, 50, 100, 200, 500, 1_000]);
    let bans = RateClass::ALL.map(|class| class.ban().map(|ban| ban.as_secs() / 60));
    assert_eq!(bans, [Some(60), None, Some(30), Some(30), Some(15), Some(5), Some(5)]);
}

#[test]
fn nodes_of_one_wallet_share_its_bucket() {
    let mut limiter = Limiter::default();
    let account = Account::Wallet(wallet(7));
    assert_eq!(passed(&mut limiter, account, RateClass::Starter, 60, secs(1)), 60);
    assert_eq!(passed(&mut limiter, account, RateClass::Starter, 60, secs(1)), 40);
    assert_eq!(limiter.len(), 1);
}

#[test]
fn three_violations_in_five_minutes_are_a_ban_and_it_ends() {
    let mut limiter = Limiter::default();
    let account = Account::Node(*node(1).key());
    let class = RateClass::Unstaked;
    for second in [0, 100, 200] {
        let verdicts: Vec<_> =
            (0..50).map(|_| limiter.handle_message(account, class, secs(second))).collect();
        assert_eq!(verdicts[..20], [Verdict::Pass; 20]);
        let until = secs(200 + 3_600);
        let rest = if second == 200 { Verdict::Banned { until } } else { Verdict::Limited };
        assert_eq!(verdicts[20..], [rest; 30], "at {second} s");
    }
    assert_eq!(limiter.banned(secs(201)).collect::<Vec<_>>(), [(account, secs(3_800))]);
    assert!(matches!(limiter.handle_message(account, class, secs(3_799)), Verdict::Banned { .. }));
    assert_eq!(limiter.handle_message(account, class, secs(3_800)), Verdict::Pass);
    assert_eq!(limiter.banned(secs(3_800)).count(), 0);
}

#[test]
fn violations_further_apart_are_none() {
    let mut limiter = Limiter::default();
    let account = Account::Node(*node(1).key());
    for episode in 0..20 {
        let now = secs(151 * episode);
        assert_eq!(passed(&mut limiter, account, RateClass::Unstaked, 100, now), 20);
        assert_eq!(limiter.banned(now).count(), 0, "{episode}");
    }
}

/// A peer that sends a little too fast all the time is as bad as one that floods.
#[test]
fn a_second_of_excess_is_one_violation_and_three_are_a_ban() {
    let mut limiter = Limiter::default();
    let account = Account::Node(*node(1).key());
    let mut first = None;
    for ms in (0..60_000).step_by(50) {
        if let Verdict::Banned { until } =
            limiter.handle_message(account, RateClass::Unstaked, Time::from_millis(ms))
        {
            first = Some((ms, until));
            break;
        }
    }
    // 20 a second empties a burst of 20 in two seconds; two more seconds make the second and third violation.
    let (ms, until) = first.unwrap();
    assert!((3_900..4_200).contains(&ms), "{ms}");
    assert_eq!(until, Time::from_millis(ms) + Duration::from_secs(3_600));
}

#[test]
fn our_own_outage_bans_nobody() {
    let mut limiter = Limiter::default();
    let account = Account::Node(*node(1).key());
    for ms in 0..600_000 {
        let verdict = limiter.handle_message(account, RateClass::Unknown, Time::from_millis(ms));
        assert!(!matches!(verdict, Verdict::Banned { .. }));
    }
}

#[test]
fn a_fallen_tier_counts_from_the_next_message() {
    let mut limiter = Limiter::default();
    let account = Account::Wallet(wallet(7));
    assert_eq!(passed(&mut limiter, account, RateClass::Gold, 500, secs(1)), 500);
    assert_eq!(passed(&mut limiter, account, RateClass::Starter, 500, secs(1)), 100);
}

#[test]
fn a_flood_of_strangers_forgets_no_ban_and_pushes_nobody_with_a_stake_out() {
    const LIMIT: usize = 64;
    let mut limiter = Limiter::new(LIMIT);
    let key = |number: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        Account::Node(IdentityKey::from_bytes(key))
    };
    let banned = key(0);
    for second in 0..3 {
        passed(&mut limiter, banned, RateClass::Unstaked, 100, secs(second));
    }
    let staked = Account::Wallet(wallet(1));
    passed(&mut limiter, staked, RateClass::Silver, 400, secs(3));
    let mut through = 0;
    for number in 1..=10_000 {
        through += passed(&mut limiter, key(number), RateClass::Unstaked, 1, secs(3));
    }
    assert_eq!(limiter.len(), LIMIT);
    // One message of each that found a place, and the common burst of all others.
    assert_eq!(through, LIMIT - 2 + 20);
    assert!(matches!(limiter.handle_message(banned, RateClass::Unstaked, secs(3)), Verdict::Banned { .. }));
    assert_eq!(limiter.handle_message(staked, RateClass::Silver, secs(3)), Verdict::Limited);
    // Somebody else with a stake finds a place.
    let other = Account::Wallet(wallet(2));
    assert_eq!(passed(&mut limiter, other, RateClass::Silver, 1_000, secs(3)), 400);
    // What has been idle is forgotten.
    assert_eq!(passed(&mut limiter, key(20_000), RateClass::Unstaked, 100, secs(900)), 20);
    assert_eq!(limiter.len(), LIMIT);
}

/// Random messages against the obvious implementation, which never forgets.
#[test]
fn agrees_with_one_that_never_forgets() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut limiter = Limiter::new(1_000);
    let mut naive: BTreeMap<Account, Slot> = BTreeMap::new();
    let mut now = Time::ZERO;
    for _ in 0..200_000 {
        now += Duration::from_micros(rng.u64(..4_000));
        let account = Account::Wallet(wallet(rng.u8(..20)));
        let class = RateClass::ALL[usize::from(rng.u8(..200) == 0) + 2];
        let expected =
            naive.entry(account).or_insert_with(|| Slot::new(account, class)).handle_message(class, now);
        assert_eq!(limiter.handle_message(account, class, now), expected);
    }
}
