//! The whole client against the contracts on a chain of its own.
//!
//! ```text
//!   deployer --- forge script ---> anvil, chain id 84532 <--- Rpc <--- Watcher ---> StakeView ---> Chain ---> Limiter
//!   (arbiter, treasury)                ^   ^
//!                                      |   +--- Payer of the requester    three bids, vouchers, close
//!                                      +------- Payers of the providers   settle, withdraw
//! ```
//!
//! Each test has a chain. The clock of the daemon is the system's plus what the test adds, so that a quarter of an hour of
//! outage takes no longer than the outage needs to be noticed.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "anvil/rig.rs"]
mod rig;

use std::time::Duration;

use molt_contracts::Wallet;
use molt_contracts::admission::{Action, AdmissionPolicy, Chain, Decision, Refusal, Static};
use molt_contracts::binding::NetworkId;
use molt_contracts::chain::cli::{self, Credit};
use molt_contracts::chain::{EndpointState, JobState, PayerError};
use molt_contracts::escrow::{Bid, Candidate, Needs, SignedBid, choose};
use molt_contracts::oracle::{HARD_TTL, Health, StakeOracle, StakeView};
use molt_contracts::rate::{Account, Limiter, RateClass, Verdict};
use molt_contracts::settlement::{JobId, LedgerError, Terms};
use molt_contracts::tier::{TOKEN, Tier};
use molt_contracts::wallet::Sign as _;
use molt_mesh::{MeshPrefix, Seed};
use rig::{Rig, key};

const MILLION: u128 = 1_000_000 * TOKEN;

/// Two days, in which an accused may answer, and a little.
const ANSWER: u64 = 2 * 86_400 + 60;

fn policy(oracle: &std::sync::Arc<dyn StakeOracle>) -> Chain {
    let behind = Static { default: RateClass::Unstaked, ..Static::default() };
    Chain { oracle: std::sync::Arc::clone(oracle), behind: std::sync::Arc::new(behind) }
}

#[test]
fn a_stake_is_what_messages_are_admitted_by_and_a_slash_takes_it_away() {
    let rig = Rig::start();
    // As on real chains: two calls for all wallets. The other tests read them one by one.
    rig.install_multicall();
    let (node, wallet) = (Seed::from_bytes([1; 32]).identity(), key(1).wallet());
    let watcher = rig.watcher(None);
    let oracle = watcher.oracle();
    let policy = policy(&oracle);
    let may_deploy = || policy.may(node.key(), Action::Deploy, rig.now());

    // A stranger: the slowest class, and nothing that costs us.
    rig.wait("the chain to answer", || watcher.status().health == Health::Up);
    assert_eq!(oracle.view(node.key(), rig.now()), StakeView::Unbound);
    assert_eq!(policy.class(node.key(), rig.now()), RateClass::Unstaked);
    assert_eq!(may_deploy(), Decision::Refuse(Refusal::NoStanding));
    assert_eq!(policy.may(node.key(), Action::Message, rig.now()), Decision::Allow);

    // It stakes ten million, and binds its wallet.
    rig.fund(wallet, 20 * MILLION);
    let mut payer = rig.payer(1);
    let staked = rig.run(cli::stake(&mut payer, 10_000_000)).unwrap();
    assert_eq!((staked.staked, staked.bunker, staked.tier.as_str()), (10_000_000, 10_000_000, "silver"));
    rig.run(payer.claim_node(node.key())).unwrap();
    let bound = cli::bind(payer.rpc(), rig::NETWORK, MeshPrefix::DEFAULT, &node, &key(1), false, &*rig.clock)
        .unwrap();
    watcher.handle_binding(&rig::certificate(&bound.certificate)).unwrap();
    let elsewhere =
        cli::bind(payer.rpc(), NetworkId([8; 32]), MeshPrefix::DEFAULT, &node, &key(1), false, &*rig.clock)
            .unwrap();
    assert!(watcher.handle_binding(&rig::certificate(&elsewhere.certificate)).is_err());
    let tier = || match oracle.view(node.key(), rig.now()) {
        StakeView::Known { tier, frozen, .. } => Some((tier, frozen)),
        _ => None,
    };
    rig.wait("the stake to be safe", || tier() == Some((Tier::Silver, false)));
    assert_eq!(may_deploy(), Decision::Allow);

    // A message is admitted at the rate of the tier, and the next too many is not.
    let standing = policy.standing(node.key(), rig.now());
    assert_eq!((standing.class, standing.account), (RateClass::Silver, Account::Wallet(wallet)));
    let mut limiter = Limiter::default();
    let now = rig.now();
    let passed = (0..1_000).filter(|_| {
        let standing = policy.standing(node.key(), now);
        limiter.handle_message(standing.account, standing.class, now) == Verdict::Pass
    });
    assert_eq!(passed.count(), 400);

    // It is accused of fraud, frozen, and slashed by half.
    rig.accuse(wallet);
    rig.wait("the freeze", || tier().is_some_and(|(_, frozen)| frozen));
    assert_eq!(may_deploy(), Decision::Refuse(Refusal::Frozen));
    rig.skip(ANSWER);
    rig.decide();
    rig.skip(ANSWER);
    rig.execute();
    rig.wait("the fall", || tier().is_some_and(|(tier, _)| tier == Tier::Bronze));
    assert_eq!(policy.class(node.key(), rig.now()), RateClass::Bronze);
    // What is frozen thaws by itself after a week, and nothing in the logs says so.
    rig.skip(7 * 86_400);
    rig.wait("the thaw", || tier() == Some((Tier::Bronze, false)));
    assert_eq!(may_deploy(), Decision::Allow);

    let status = rig.run(cli::status(payer.rpc(), Some(wallet), &*rig.clock)).unwrap();
    let it = status.wallet.as_ref().unwrap();
    assert_eq!((it.staked, it.tier.as_str(), it.frozen), (5_000_000, "bronze", false));
    assert!(it.reputation < 400, "{}", it.reputation);
    let text = status.text();
    assert!(
        text.contains("tier       bronze\n") && text.contains("good") && text.contains("down: "),
        "{text}"
    );
}

/// The requester's wallet is 10; 1, 2, 3 and 4 offer to work.
fn bids(rig: &Rig, deployment: [u8; 16], rates: [u128; 4]) -> [SignedBid; 3] {
    let job = JobId::new(&key(10).wallet(), &deployment);
    let domain = rig.deployment.escrow_domain();
    let expires_at = rig.chain_time() + 3_600;
    let candidate = |(number, per_second): (u8, u128)| {
        let key = key(number);
        let bid = Bid { job, provider: key.wallet(), per_second, max_duration: 86_400, expires_at };
        Candidate {
            bid: bid.sign(&domain, &key).unwrap(),
            tier: Tier::Starter,
            frozen: false,
            reputation: rig.reputation(key.wallet()),
            jobs: 0,
            underlay: Some([10, number, 0, 1].into()),
            region: None,
        }
    };
    let candidates: Vec<Candidate> = (1..).zip(rates).map(candidate).collect();
    let needs = Needs {
        job,
        requester: key(10).wallet(),
        duration: 7_200,
        max_per_second: u128::MAX,
        unix_now: rig.chain_time(),
    };
    choose(&candidates, &needs).unwrap().map(|candidate| candidate.bid)
}

#[test]
fn three_are_hired_two_work_and_every_wei_is_where_it_belongs() {
    const DURATION: u32 = 7_200;
    // Odd numbers, so that the fee of 5 % is rounded.
    const RATES: [u128; 4] = [1_000_000_007, 3_000_000_019, 2_000_000_011, 4_000_000_007];
    let rig = Rig::start();
    for number in 1..=4 {
        rig.fund(key(number).wallet(), MILLION);
        rig.run(rig.payer(number).stake(MILLION)).unwrap();
    }
    let requester = key(10).wallet();
    rig.fund(requester, MILLION);
    let chosen = bids(&rig, [7; 16], RATES);
    let providers = [1, 3, 2].map(|number| key(number).wallet());
    assert_eq!(chosen.map(|bid| bid.bid().provider), providers, "the cheapest three");
    let mut payer = rig.payer(10);
    let job = rig.run(payer.open_job([7; 16], [0; 32], DURATION, chosen)).unwrap();
    let rates: u128 = chosen.iter().map(|bid| bid.bid().per_second).sum();
    let deposit = rates * u128::from(DURATION);
    assert_eq!(rig.balance(requester), MILLION - deposit);
    // A retry is the same job, and costs nothing.
    assert_eq!(rig.run(payer.open_job([7; 16], [0; 32], DURATION, chosen)).unwrap(), job);
    assert_eq!(rig.balance(requester), MILLION - deposit);

    // The first works all the time, the second for half of it, the third is dead. The requester says so as time passes.
    assert_eq!(rig.run(payer.adopt(job)).unwrap().state, JobState::Open);
    let mut first = rig.settlement(1);
    let mut second = rig.settlement(3);
    for (settlement, bid) in [(&mut first, chosen[0].bid()), (&mut second, chosen[1].bid())] {
        let Bid { provider, per_second, .. } = *bid;
        let terms = Terms { job, requester, provider, per_second, duration: DURATION };
        let dearer = rig.run(settlement.handle_terms(Terms { per_second: per_second + 1, ..terms }));
        assert!(matches!(dearer, Err(PayerError::Ledger(LedgerError::Conflict))), "{dearer:?}");
        rig.run(settlement.handle_terms(terms)).unwrap();
    }
    rig.skip(3_600);
    let half = payer.vouch(job, providers[1], 3_600).unwrap();
    let credit = |credit: Credit| (credit.gained_s, credit.settled_s);
    assert_eq!(credit(rig.run(cli::redeem(&mut second, &half)).unwrap()), (3_600, 3_600));
    assert_eq!(credit(rig.run(cli::redeem(&mut second, &half)).unwrap()), (0, 0), "once");
    let early = payer.vouch(job, providers[0], 3_600).unwrap();
    first.handle_voucher(&early).unwrap();
    let late = payer.vouch(job, providers[0], DURATION).unwrap();
    first.handle_voucher(&late).unwrap();
    assert_eq!(rig.run(first.settle()).unwrap(), 0, "the chain has not come so far");
    rig.skip(3_600);
    assert_eq!(rig.run(first.settle()).unwrap(), DURATION);
    assert!(first.handle_voucher(&early).is_err());
    let lines = rig.run(cli::jobs(&mut first));
    assert_eq!((lines.jobs.len(), lines.jobs[0].state, lines.jobs[0].settled_s), (1, "open", DURATION));
    // Nobody may close before the dead one has had its day to claim.
    assert!(matches!(rig.run(payer.close(job)), Err(PayerError::Rpc(_))));
    rig.skip(86_400 + 60);
    rig.run(payer.close(job)).unwrap();
    rig.run(payer.close(job)).unwrap();

    let earned = [chosen[0].bid().per_second * u128::from(DURATION), chosen[1].bid().per_second * 3_600, 0];
    let fees = earned.map(|amount| amount * 500 / 10_000);
    drop((first, second));
    assert_eq!(rig.run(rig.payer(1).withdraw()).unwrap(), earned[0] - fees[0]);
    assert_eq!(rig.run(rig.payer(3).withdraw()).unwrap(), earned[1] - fees[1]);
    assert_eq!(rig.run(rig.payer(2).withdraw()).unwrap(), 0);
    assert_eq!(rig.run(payer.withdraw()).unwrap(), deposit - earned.iter().sum::<u128>());
    assert_eq!(rig.run(payer.withdraw()).unwrap(), 0, "once");
    assert_eq!(rig.balance(providers[0]), earned[0] - fees[0]);
    assert_eq!(rig.balance(providers[1]), earned[1] - fees[1]);
    assert_eq!(rig.balance(providers[2]), 0);
    assert_eq!(rig.balance(requester), MILLION - earned.iter().sum::<u128>());
    assert_eq!(rig.balance(rig.deployment.escrow.address), fees.iter().sum::<u128>());
    // Who did not work has a lower score now, and who did a higher one.
    assert!(rig.reputation(providers[2]) < rig.reputation(providers[0]));
}

#[test]
fn an_outage_in_the_middle_loses_no_call_and_pays_nothing_twice() {
    const DURATION: u32 = 3_600;
    let mut rig = Rig::start();
    let (node, wallet) = (Seed::from_bytes([1; 32]).identity(), key(1).wallet());
    for number in 1..=4 {
        rig.fund(key(number).wallet(), MILLION);
        rig.run(rig.payer(number).stake(MILLION)).unwrap();
    }
    let cache = rig.folder().join("stakes");
    let watcher = rig.watcher(Some(&cache));
    let oracle = watcher.oracle();
    let policy = policy(&oracle);
    let bound =
        cli::bind(rig.payer(1).rpc(), rig::NETWORK, MeshPrefix::DEFAULT, &node, &key(1), false, &*rig.clock)
            .unwrap();
    watcher.handle_binding(&rig::certificate(&bound.certificate)).unwrap();
    rig.wait("the stake", || {
        matches!(oracle.view(node.key(), rig.now()), StakeView::Known { tier: Tier::Starter, .. })
    });

    // The requester's daemon dies after it has sent the transaction, and with it the chain and what waited there.
    let requester = key(10).wallet();
    rig.fund(requester, MILLION);
    let chosen = bids(&rig, [9; 16], [10, 20, 30, 40]);
    let deposit = 60 * u128::from(DURATION);
    rig.hold_blocks();
    let mut payer = rig.payer(10);
    let sent = rig.run_for(Duration::from_secs(3), payer.open_job([9; 16], [0; 32], DURATION, chosen));
    assert!(sent.is_none(), "no block was made: {sent:?}");
    assert!(std::fs::metadata(rig.folder().join("outbox-10")).unwrap().len() > 100, "it was written down");
    drop(payer);
    rig.kill();

    // Cached, in the daemon and over its restart.
    let tier = |view| if let StakeView::Known { tier, .. } = view { Some(tier) } else { None };
    assert_eq!(tier(oracle.view(node.key(), rig.now())), Some(Tier::Starter));
    drop(watcher);
    let watcher = rig.watcher(Some(&cache));
    let oracle = watcher.oracle();
    let policy = Chain { oracle: std::sync::Arc::clone(&oracle), ..policy };
    assert_eq!(tier(oracle.view(node.key(), rig.now())), Some(Tier::Starter), "from the file");
    rig.wait("the outage to be noticed", || matches!(watcher.status().health, Health::Down { .. }));
    assert_eq!(policy.may(node.key(), Action::Deploy, rig.now()), Decision::Allow);
    assert!(matches!(rig.run(rig.payer(10).resume()), Err(PayerError::Rpc(_))));
    // Then unknown: what is privileged is refused with a time to come back, and everything else goes on.
    rig.clock.advance(HARD_TTL);
    let refused = policy.may(node.key(), Action::Deploy, rig.now());
    let Decision::Refuse(Refusal::StakeUnknown { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(retry_after <= Duration::from_secs(36), "{retry_after:?}");
    assert_eq!(policy.class(node.key(), rig.now()), RateClass::Unknown);
    assert_eq!(policy.may(node.key(), Action::Message, rig.now()), Decision::Allow);
    let status = rig.run(cli::status(rig.payer(10).rpc(), Some(wallet), &*rig.clock)).unwrap();
    assert_eq!((status.block, status.wallet.is_none()), (None, true));

    // The chain is back, as it was before it took the transaction.
    rig.restore();
    rig.wait("the chain to answer", || watcher.status().health == Health::Up);
    rig.wait("the stake", || tier(oracle.view(node.key(), rig.now())) == Some(Tier::Starter));
    assert_eq!(policy.may(node.key(), Action::Deploy, rig.now()), Decision::Allow);
    assert!(watcher.status().endpoints.iter().any(|(_, state)| *state == EndpointState::Good));
    let mut payer = rig.payer(10);
    assert_eq!(rig.balance(requester), MILLION);
    let waiting = rig.run(payer.resume()).unwrap();
    assert_eq!(waiting, 1, "it is sent again, the same bytes");
    let job = rig.run(payer.open_job([9; 16], [0; 32], DURATION, chosen)).unwrap();
    assert_eq!(rig.run(payer.resume()).unwrap(), 0);
    assert_eq!(rig.run(payer.open_job([9; 16], [0; 32], DURATION, chosen)).unwrap(), job);
    assert_eq!(rig.balance(requester), MILLION - deposit, "one deposit");

    // The provider's daemon dies after its voucher is on its way, too.
    let provider = key(1).wallet();
    let mut first = rig.payer(1);
    rig.run(first.adopt(job)).unwrap();
    rig.skip(1_000);
    first.handle_voucher(&payer.vouch(job, provider, 600).unwrap()).unwrap();
    rig.hold_blocks();
    assert!(rig.run_for(Duration::from_secs(3), first.settle()).is_none());
    drop(first);
    rig.make_blocks();
    let mut first = rig.payer(1);
    rig.run(first.resume()).unwrap();
    assert_eq!(rig.run(first.settle()).unwrap(), 0, "it was paid while nobody looked");
    first.handle_voucher(&payer.vouch(job, provider, 900).unwrap()).unwrap();
    assert_eq!(rig.run(first.settle()).unwrap(), 300);
    assert_eq!(rig.run(first.owed()).unwrap(), 900 * 10 * 95 / 100);
}

#[test]
fn a_chain_that_is_not_ours_is_not_used_and_stops_nobody() {
    let rig = Rig::start();
    let mut deployment = rig.deployment;
    deployment.chain_id = 8_453;
    let watcher = rig.watcher_of(deployment, None);
    rig.wait("the chain to be refused", || {
        watcher.status().endpoints.iter().any(|(_, state)| matches!(state, EndpointState::Wrong(_)))
    });
    let mut deployment = rig.deployment;
    deployment.token.code_hash.0[0] ^= 1;
    let watcher = rig.watcher_of(deployment, None);
    rig.wait("the contract to be refused", || {
        let wrong =
            |state: &EndpointState| matches!(state, EndpointState::Wrong(why) if why.contains("BunkerToken"));
        watcher.status().endpoints.iter().any(|(_, state)| wrong(state))
    });
    let only = rig.watcher_at(&[rig.url()], deployment, None);
    let node = Seed::from_bytes([1; 32]).identity();
    rig.wait("the chain to be off", || only.view(node.key(), rig.now()) == StakeView::Disabled);
    assert_ne!(key(1).wallet(), Wallet::ZERO);
}
