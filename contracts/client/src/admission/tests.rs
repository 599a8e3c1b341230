use std::net::IpAddr;

use super::local::{LocalConfig, WORST_SCORE};
use super::*;
use crate::oracle::BlockRef;
use crate::testing::{node, wallet};
use crate::wallet::Wallet;

const PRIVILEGED: [Action; 7] = [
    Action::Bid,
    Action::ControlForeign,
    Action::Deploy,
    Action::Exec,
    Action::Replicate,
    Action::Report,
    Action::Unrecognized,
];

fn key(number: u8) -> IdentityKey {
    *node(number).key()
}

#[derive(Debug)]
struct Says(StakeView);

impl StakeOracle for Says {
    fn view(&self, _: &IdentityKey, _: Time) -> StakeView {
        self.0
    }
}

fn known(tier: Tier, frozen: bool) -> StakeView {
    let as_of = BlockRef { number: 1, hash: [0; 32] };
    StakeView::Known { wallet: wallet(1), tier, frozen, as_of, age: Duration::ZERO }
}

fn chain(view: StakeView, behind: RateClass) -> Chain {
    let behind = Static { default: behind, nodes: BTreeMap::new() };
    Chain { oracle: Arc::new(Says(view)), behind: Arc::new(behind) }
}

const UNKNOWN: StakeView = StakeView::Unknown { retry_after: Duration::from_secs(7) };

#[test]
fn static_classes_come_from_the_configuration() {
    let mut policy = Static::default();
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Starter);
    policy.nodes.insert(key(1), RateClass::Gold);
    policy.nodes.insert(key(2), RateClass::Unstaked);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Gold);
    for action in PRIVILEGED {
        assert_eq!(policy.may(&key(1), action, Time::ZERO), Decision::Allow);
        let refused = Decision::Refuse(Refusal::NoStanding);
        assert_eq!(policy.may(&key(2), action, Time::ZERO), refused, "{action:?}");
    }
    assert_eq!(policy.may(&key(2), Action::Message, Time::ZERO), Decision::Allow);
}

#[test]
fn a_stake_gives_the_class_of_its_tier_and_one_bucket_for_the_wallet() {
    for tier in &Tier::ALL[1..] {
        let standing = chain(known(*tier, false), RateClass::Unstaked).standing(&key(1), Time::ZERO);
        let expected = Standing { class: (*tier).into(), account: Account::Wallet(wallet(1)) };
        assert_eq!(standing, expected);
    }
}

/// A wallet is free: a new one for each message must not be a new bucket for each.
#[test]
fn a_wallet_without_a_stake_is_no_account() {
    for view in [known(Tier::None, false), UNKNOWN, StakeView::Unbound, StakeView::Disabled] {
        let standing = chain(view, RateClass::Unstaked).standing(&key(1), Time::ZERO);
        assert_eq!(standing.account, Account::Node(key(1)), "{view:?}");
    }
}

#[test]
fn the_chain_raises_above_the_policy_behind_and_never_lowers() {
    let class = |view, behind| chain(view, behind).class(&key(1), Time::ZERO);
    assert_eq!(class(known(Tier::Starter, false), RateClass::Bronze), RateClass::Bronze);
    assert_eq!(class(known(Tier::Gold, false), RateClass::Bronze), RateClass::Gold);
    assert_eq!(class(known(Tier::None, false), RateClass::Bronze), RateClass::Bronze);
    assert_eq!(class(UNKNOWN, RateClass::Unstaked), RateClass::Unknown);
    assert_eq!(class(UNKNOWN, RateClass::Starter), RateClass::Starter);
    assert_eq!(class(StakeView::Unbound, RateClass::Unstaked), RateClass::Unstaked);
    assert_eq!(class(StakeView::Disabled, RateClass::Starter), RateClass::Starter);
}

#[test]
fn privileged_actions_need_a_stake_that_is_known_and_free() {
    let retry_after = Duration::from_secs(7);
    for action in PRIVILEGED {
        let may = |view, behind| chain(view, behind).may(&key(1), action, Time::ZERO);
        assert_eq!(may(known(Tier::Starter, false), RateClass::Unstaked), Decision::Allow);
        assert_eq!(may(known(Tier::Gold, true), RateClass::Gold), Decision::Refuse(Refusal::Frozen));
        assert_eq!(may(UNKNOWN, RateClass::Gold), Decision::Refuse(Refusal::StakeUnknown { retry_after }));
        let refused = Decision::Refuse(Refusal::NoStanding);
        assert_eq!(may(known(Tier::None, false), RateClass::Unstaked), refused);
        assert_eq!(may(StakeView::Unbound, RateClass::Unstaked), refused);
        assert_eq!(may(StakeView::Unbound, RateClass::Starter), Decision::Allow);
        assert_eq!(may(StakeView::Disabled, RateClass::Starter), Decision::Allow);
    }
    for view in [known(Tier::Gold, true), UNKNOWN, StakeView::Unbound, StakeView::Disabled] {
        let policy = chain(view, RateClass::Unstaked);
        assert_eq!(policy.may(&key(1), Action::Message, Time::ZERO), Decision::Allow);
    }
}

fn local(work_bits: u32) -> Local {
    Local::new(LocalConfig { work_bits, roots: [key(200)].into(), ..LocalConfig::default() })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn local_standing_costs_work() {
    let mut policy = local(256);
    policy.handle_connected(key(1), address("192.0.2.1")).unwrap();
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Unstaked);
    let mut policy = local(0);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Unstaked, "it was never seen");
    policy.handle_connected(key(1), address("192.0.2.1")).unwrap();
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Starter);
}

#[test]
fn local_three_nodes_of_a_subnet_have_standing() {
    let addresses = ["192.0.2.1", "192.0.2.77", "::ffff:192.0.2.3", "192.0.2.4"];
    let mut policy = local(0);
    for (number, from) in (1..).zip(addresses) {
        policy.handle_connected(key(number), address(from)).unwrap();
    }
    let classes = |policy: &Local| [1, 2, 3, 4].map(|number| policy.class(&key(number), Time::ZERO));
    let (yes, no) = (RateClass::Starter, RateClass::Unstaked);
    assert_eq!(classes(&policy), [yes, yes, yes, no]);
    policy.handle_gone(&key(2));
    policy.handle_connected(key(4), address("192.0.2.4")).unwrap();
    assert_eq!(classes(&policy), [yes, no, yes, yes]);
    for (number, from) in
        (11..).zip(["2001:db8:1::1", "2001:db8:1:ffff::2", "2001:db8:1:2::", "2001:db8:1:3::"])
    {
        policy.handle_connected(key(number), address(from)).unwrap();
    }
    assert_eq!(policy.class(&key(13), Time::ZERO), yes);
    assert_eq!(policy.class(&key(14), Time::ZERO), no);
    // Coming twice takes one place.
    policy.handle_connected(key(13), address("2001:db8:1:2::")).unwrap();
    assert_eq!(policy.class(&key(13), Time::ZERO), yes);
}

#[test]
fn local_vouchers_count_while_they_have_standing_and_bronze_is_the_top() {
    let mut policy = local(0);
    for number in 1..=4 {
        policy.handle_connected(key(number), IpAddr::from([10, 0, number, 1])).unwrap();
    }
    policy.handle_vouch(&key(1), key(1), true);
    policy.handle_vouch(&key(1), key(200), true);
    policy.handle_vouch(&key(1), key(99), true);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Starter, "itself, a root and a stranger");
    policy.handle_vouch(&key(1), key(2), true);
    policy.handle_experience(&key(1), i16::MAX);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Bronze);
    policy.handle_gone(&key(2));
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Starter);
    policy.handle_vouch(&key(1), key(3), true);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Bronze);
    policy.handle_vouch(&key(1), key(3), false);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Starter);
    policy.handle_experience(&key(1), 2 * WORST_SCORE);
    assert_eq!(policy.class(&key(1), Time::ZERO), RateClass::Unstaked);
    assert_eq!(policy.may(&key(1), Action::Deploy, Time::ZERO), Decision::Refuse(Refusal::NoStanding));
}

#[test]
fn local_memory_is_bounded_and_a_bad_name_stays() {
    let mut policy = local(0);
    let many = |number: u32| {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        IdentityKey::from_bytes(key)
    };
    let bad = many(0);
    policy.handle_connected(bad, address("192.0.2.1")).unwrap();
    policy.handle_experience(&bad, WORST_SCORE);
    policy.handle_gone(&bad);
    for number in 1..20_000 {
        policy.handle_connected(many(number), address("198.51.100.1")).unwrap();
        policy.handle_gone(&many(number));
    }
    policy.handle_connected(bad, address("192.0.2.1")).unwrap();
    assert_eq!(policy.class(&bad, Time::ZERO), RateClass::Unstaked);
}

#[test]
fn refusals_say_what_to_do() {
    let refusal = Refusal::StakeUnknown { retry_after: Duration::from_secs(30) };
    assert_eq!(refusal.to_string(), "the stake is unknown, ask again in 30 s");
    assert_ne!(Wallet::ZERO, wallet(1));
}
