use std::sync::mpsc;

use molt_mesh::MeshPrefix;
use molt_mesh::sign::Strict;

use super::*;
use crate::binding::{Authority, NetworkId, NodeBinding};
use crate::testing::{Curve, Key, node, wallet};
use crate::wallet::{Domain, Sign as _};

const UNIX: u64 = 1_795_000_000;

fn secs(secs: u64) -> Time {
    Time::from_start(Duration::from_secs(secs))
}

fn block(number: u64) -> BlockRef {
    branch(number, 0)
}

/// A block of another branch.
fn branch(number: u64, branch: u8) -> BlockRef {
    let mut hash = [branch; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    BlockRef { number, hash }
}

/// A chain with one block every two seconds of the core's time, and stakes that change at blocks.
struct Chain {
    up: bool,
    /// Blocks beyond this do not come.
    stops_at: u64,
    /// Wallet, block, tier and whether it is frozen from then on; in the order of the blocks.
    changes: Vec<(Wallet, BlockRef, Tier, bool)>,
    requests: Vec<(Time, Request)>,
    /// Wallets whose contract does not answer a number.
    garbled: Vec<Wallet>,
}

impl Chain {
    fn new() -> Self {
        Self { up: true, stops_at: u64::MAX, changes: Vec::new(), requests: Vec::new(), garbled: Vec::new() }
    }

    fn head(&self, now: Time) -> u64 {
        (10_000 + now.since_start().as_secs() / 2).min(self.stops_at)
    }

    fn at(&self, wallet: Wallet, block: u64) -> Stake {
        let before = self.changes.iter().rev().find(|(of, at, ..)| *of == wallet && at.number <= block);
        before.map_or(Stake { tier: Tier::None, frozen: false }, |(_, _, tier, frozen)| Stake {
            tier: *tier,
            frozen: *frozen,
        })
    }

    fn answer(&self, request: &Request, now: Time) -> Response {
        match request {
            Request::Head => {
                let number = self.head(now);
                let mined = Duration::from_secs((number - 10_000) * 2);
                Response::Head {
                    latest: block(number),
                    age: now.since_start().saturating_sub(mined),
                    safe: number - SAFE_DISTANCE,
                }
            }
            Request::Logs { from, to } => Response::Logs(
                self.changes
                    .iter()
                    .zip(0..)
                    .filter(|((_, at, ..), _)| (*from..=*to).contains(&at.number))
                    .map(|((wallet, at, ..), index)| (*at, index, *wallet))
                    .collect(),
            ),
            Request::Stakes { wallets, latest, safe } => Response::Stakes(
                wallets
                    .iter()
                    .map(|wallet| {
                        let answer =
                            Answer { latest: self.at(*wallet, latest.number), safe: self.at(*wallet, *safe) };
                        (!self.garbled.contains(wallet)).then_some(answer)
                    })
                    .collect(),
            ),
        }
    }
}

/// Core and chain, and a time that hops from deadline to deadline.
struct Rig {
    core: Core,
    chain: Chain,
    now: Time,
}

impl Rig {
    fn new() -> Self {
        Self { core: Core::new(1), chain: Chain::new(), now: Time::ZERO }
    }

    fn wants(&mut self, wallet: Wallet) {
        self.core.handle_interest(wallet, self.now);
        self.settle();
    }

    fn settle(&mut self) {
        self.core.handle_timeout(self.now);
        while let Some(request) = self.core.poll_request(self.now) {
            self.chain.requests.push((self.now, request.clone()));
            if self.chain.up {
                let response = self.chain.answer(&request, self.now);
                self.core.handle_response(response, self.now);
            } else {
                self.core.handle_failure(self.now);
            }
        }
    }

    /// Lives until then; whoever is named is asked for every ten seconds.
    fn run(&mut self, until: Time, asked: &[Wallet]) {
        let mut ask = self.now;
        while self.now < until {
            let (deadline, why) = self.core.poll_timeout().unwrap();
            assert!(deadline > self.now, "{why} is due and nothing was asked");
            ask = if ask <= self.now { self.now + Duration::from_secs(10) } else { ask };
            self.now = deadline.min(ask).min(until);
            if self.now == ask {
                for wallet in asked {
                    self.core.handle_interest(*wallet, self.now);
                }
            }
            self.settle();
        }
    }

    fn tier(&self, wallet: Wallet) -> Option<Tier> {
        self.core.get(&wallet, self.now).map(|seen| seen.tier)
    }

    fn changes(&mut self, wallet: Wallet, tier: Tier) {
        let number = self.chain.head(self.now);
        self.chain.changes.push((wallet, block(number), tier, false));
    }

    fn reads_of(&self, wallet: Wallet) -> Vec<Time> {
        let of = |request: &Request| matches!(request, Request::Stakes { wallets, .. } if wallets.contains(&wallet));
        self.chain.requests.iter().filter(|(_, request)| of(request)).map(|(at, _)| *at).collect()
    }
}

#[test]
fn nothing_is_known_before_it_was_read() {
    let mut rig = Rig::new();
    assert_eq!(rig.core.health(), Health::Starting);
    assert_eq!(rig.tier(wallet(1)), None);
    rig.wants(wallet(1));
    assert_eq!(rig.core.health(), Health::Up);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::None));
    let asked: Vec<_> = rig.chain.requests.iter().map(|(_, request)| request.clone()).collect();
    let [Request::Head, Request::Logs { from: 9_936, to: 10_000 }, Request::Stakes { .. }] = asked[..] else {
        panic!("{asked:?}");
    };
}

#[test]
fn a_rise_waits_for_safe_and_a_fall_counts_at_latest() {
    let mut rig = Rig::new();
    rig.wants(wallet(1));
    rig.run(secs(100), &[wallet(1)]);
    rig.changes(wallet(1), Tier::Gold);
    // 60 blocks are 120 s; what is seen then was read with a head up to 12 s old, after a read 12 s before.
    rig.run(secs(219), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::None));
    rig.run(secs(250), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
    rig.changes(wallet(1), Tier::Bronze);
    let fell = rig.now;
    rig.run(fell + POLL_INTERVAL, &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Bronze));
}

#[test]
fn a_freeze_counts_at_latest_and_its_end_at_safe() {
    let mut rig = Rig::new();
    let number = rig.chain.head(rig.now) - 100;
    rig.chain.changes.push((wallet(1), block(number), Tier::Silver, false));
    rig.wants(wallet(1));
    let frozen = |rig: &Rig| rig.core.get(&wallet(1), rig.now).unwrap().frozen;
    assert!(!frozen(&rig));
    rig.run(secs(20), &[wallet(1)]);
    rig.chain.changes.push((wallet(1), block(rig.chain.head(rig.now)), Tier::Silver, true));
    rig.run(secs(40), &[wallet(1)]);
    assert!(frozen(&rig));
    rig.run(secs(200), &[wallet(1)]);
    rig.chain.changes.push((wallet(1), block(rig.chain.head(rig.now)), Tier::Silver, false));
    rig.run(secs(319), &[wallet(1)]);
    assert!(frozen(&rig));
    rig.run(secs(350), &[wallet(1)]);
    assert!(!frozen(&rig));
}

#[test]
fn a_value_is_read_again_after_its_time() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Starter, false));
    rig.wants(wallet(1));
    rig.wants(wallet(2));
    rig.run(secs(1_000), &[wallet(1), wallet(2)]);
    assert_eq!(rig.reads_of(wallet(1)), [0, 300, 600, 900].map(secs));
    assert_eq!(rig.reads_of(wallet(2)), [0, 120, 240, 360, 480, 600, 720, 840, 960].map(secs));
}

#[test]
fn who_is_not_asked_for_is_forgotten() {
    let mut rig = Rig::new();
    rig.wants(wallet(1));
    rig.chain.changes.push((wallet(2), block(9_000), Tier::Starter, false));
    rig.wants(wallet(2));
    rig.run(secs(3_000), &[wallet(1)]);
    assert_eq!(rig.core.len(), 1);
    assert!(rig.reads_of(wallet(2)).len() <= 2, "{:?}", rig.reads_of(wallet(2)));
    // It is read at once when somebody asks again.
    rig.wants(wallet(2));
    assert_eq!(rig.tier(wallet(2)), Some(Tier::Starter));
}

#[test]
fn who_is_asked_for_again_while_his_value_ages_is_read_again() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(2), block(9_000), Tier::Starter, false));
    rig.wants(wallet(2));
    rig.run(secs(700), &[]);
    assert_eq!(rig.reads_of(wallet(2)).len(), 1);
    rig.wants(wallet(2));
    assert_eq!(rig.reads_of(wallet(2)), [secs(0), secs(700)]);
}

#[test]
fn an_outage_keeps_values_for_a_quarter_of_an_hour_and_no_longer() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Gold, false));
    rig.wants(wallet(1));
    rig.run(secs(10), &[wallet(1)]);
    rig.chain.up = false;
    rig.run(secs(899), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
    assert_eq!(rig.core.health(), Health::Down { since: secs(12) });
    rig.run(secs(900), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), None);
    // Tries are 24 to 36 s apart, not in step.
    let tries: Vec<Time> =
        rig.chain.requests.iter().map(|(at, _)| *at).filter(|at| *at >= secs(12)).collect();
    let gaps: Vec<Duration> = tries.array_windows().map(|[a, b]| *b - *a).collect();
    let bounds = Duration::from_secs(24)..=Duration::from_secs(36);
    assert!(gaps.len() > 24 && gaps.iter().all(|gap| bounds.contains(gap)), "{gaps:?}");
    assert!(gaps.iter().min() != gaps.iter().max());
    // It comes back, and what changed meanwhile is known with the first answers.
    rig.changes(wallet(1), Tier::Starter);
    rig.chain.up = true;
    let back = rig.now;
    rig.run(back + Duration::from_secs(36), &[wallet(1)]);
    assert_eq!((rig.tier(wallet(1)), rig.core.health()), (Some(Tier::Starter), Health::Up));
}

#[test]
fn a_fall_during_a_short_outage_is_seen_with_the_first_logs() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Gold, false));
    rig.wants(wallet(1));
    rig.run(secs(10), &[wallet(1)]);
    rig.chain.up = false;
    rig.run(secs(100), &[wallet(1)]);
    rig.changes(wallet(1), Tier::None);
    rig.run(secs(200), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
    rig.chain.up = true;
    rig.run(secs(236), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::None));
}

#[test]
fn a_long_gap_of_logs_is_not_read_but_every_wallet_is() {
    let mut rig = Rig::new();
    for number in 1..=250 {
        rig.core.handle_interest(wallet(number), rig.now);
    }
    rig.settle();
    rig.chain.up = false;
    let asked: Vec<Wallet> = (1..=250).map(wallet).collect();
    rig.run(secs(5_000), &asked);
    rig.chain.up = true;
    rig.chain.requests.clear();
    rig.run(secs(5_036), &asked);
    let batches: Vec<usize> = rig
        .chain
        .requests
        .iter()
        .filter_map(|(_, request)| match request {
            Request::Stakes { wallets, .. } => Some(wallets.len()),
            Request::Head => None,
            Request::Logs { from, to } => {
                assert!(to - from <= LOG_OVERLAP + POLL_INTERVAL.as_secs(), "{from} to {to}");
                None
            }
        })
        .collect();
    assert_eq!(batches[..3], [100, 100, 50]);
}

#[test]
fn a_head_that_does_not_move_is_an_outage() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Gold, false));
    rig.wants(wallet(1));
    rig.chain.stops_at = 10_050;
    rig.run(secs(160), &[wallet(1)]);
    assert_eq!(rig.core.health(), Health::Up);
    rig.run(secs(175), &[wallet(1)]);
    assert!(matches!(rig.core.health(), Health::Down { .. }));
    rig.run(secs(1_000), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), None, "nothing is read at a dead head");
    rig.chain.stops_at = u64::MAX;
    rig.run(secs(1_040), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
}

/// Even if its timestamps are young by a clock of ours that is wrong.
#[test]
fn a_head_of_the_same_height_is_an_outage_whatever_its_age() {
    let mut core = Core::new(1);
    let head = |age| Response::Head { latest: block(10_000), age: Duration::from_secs(age), safe: 9_940 };
    let mut now = Time::ZERO;
    while core.health() != (Health::Down { since: now }) {
        now = core.poll_timeout().unwrap().0.max(now);
        match core.poll_request(now).unwrap() {
            Request::Head => core.handle_response(head(0), now),
            Request::Logs { .. } => core.handle_response(Response::Logs(Vec::new()), now),
            Request::Stakes { .. } => unreachable!("nobody asks"),
        }
        assert!(now <= secs(72));
    }
    assert_eq!(now, secs(72));
    let mut core = Core::new(1);
    assert_eq!(core.poll_request(Time::ZERO), Some(Request::Head));
    core.handle_response(head(61), Time::ZERO);
    assert!(matches!(core.health(), Health::Down { .. }));
}

#[test]
fn an_answer_that_is_no_tier_changes_nothing_and_is_asked_again() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Gold, false));
    rig.wants(wallet(1));
    rig.chain.garbled = vec![wallet(1), wallet(2)];
    rig.wants(wallet(2));
    rig.run(secs(899), &[wallet(1), wallet(2)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
    assert_eq!(rig.tier(wallet(2)), None, "no answer is not no stake");
    assert!((25..40).contains(&rig.reads_of(wallet(2)).len()));
    rig.run(secs(900), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), None);
    rig.chain.garbled.clear();
    rig.run(secs(936), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
}

#[test]
fn a_reorganisation_is_read_again_whichever_side_has_the_log() {
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Gold, false));
    rig.wants(wallet(1));
    rig.run(secs(24), &[wallet(1)]);
    rig.changes(wallet(1), Tier::None);
    rig.run(secs(36), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::None));
    // The block with the slash is replaced by one without.
    let slash = rig.chain.changes.pop().unwrap();
    rig.run(secs(48), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Gold));
    assert_eq!(rig.core.stats().reorganised, 1);
    // And that by one with it, in another place.
    rig.chain.changes.push((slash.0, branch(slash.1.number, 1), slash.2, slash.3));
    rig.run(secs(60), &[wallet(1)]);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::None));
    // A log is read again with each poll for two minutes, and is no news then.
    let reads = rig.reads_of(wallet(1)).len();
    rig.run(secs(170), &[wallet(1)]);
    assert_eq!(rig.reads_of(wallet(1)).len(), reads);
}

#[test]
fn an_endpoint_that_lags_does_not_undo_a_fall() {
    let mut core = Core::new(1);
    core.handle_interest(wallet(1), Time::ZERO);
    let mut round = |number, tier, now| {
        let stake = |tier| Stake { tier, frozen: false };
        let answer = Answer { latest: stake(tier), safe: stake(Tier::Gold) };
        core.handle_interest(wallet(1), now);
        while let Some(request) = core.poll_request(now) {
            let response = match request {
                Request::Head => {
                    Response::Head { latest: block(number), age: Duration::ZERO, safe: number - 60 }
                }
                // Something of every block, so that the wallet is read each time.
                Request::Logs { .. } => Response::Logs(vec![(block(number), 0, wallet(1))]),
                Request::Stakes { .. } => Response::Stakes(vec![Some(answer)]),
            };
            core.handle_response(response, now);
        }
        core.get(&wallet(1), now).unwrap().tier
    };
    assert_eq!(round(1_000, Tier::Gold, secs(0)), Tier::Gold);
    assert_eq!(round(1_020, Tier::None, secs(12)), Tier::None);
    assert_eq!(round(1_010, Tier::Gold, secs(24)), Tier::None);
    assert_eq!(round(1_030, Tier::Gold, secs(36)), Tier::Gold);
}

#[test]
fn an_answer_to_something_else_is_a_failure() {
    let mut core = Core::new(1);
    assert_eq!(core.poll_request(Time::ZERO), Some(Request::Head));
    assert_eq!(core.poll_request(Time::ZERO), None, "one at a time");
    core.handle_response(Response::Logs(Vec::new()), Time::ZERO);
    assert!(matches!(core.health(), Health::Down { .. }));
    core.handle_response(Response::Logs(Vec::new()), Time::ZERO);
    assert_eq!(core.stats().answered, 1, "nobody asked");
}

#[test]
fn memory_is_bounded_and_a_stake_keeps_its_place() {
    let many = |number: u32| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Wallet::from_bytes(bytes)
    };
    let mut rig = Rig::new();
    rig.chain.changes.push((wallet(1), block(9_000), Tier::Starter, false));
    rig.wants(wallet(1));
    for number in 0..20_000 {
        rig.core.handle_interest(many(number), rig.now);
    }
    rig.settle();
    assert_eq!(rig.core.len(), MAX_WALLETS);
    assert_eq!(rig.tier(wallet(1)), Some(Tier::Starter));
}

/// A random chain that stakes, slashes, reorganises, stops and fails: a value that is shown is never above what the chain
/// said at the head within the time the polls need, and is never older than the hard limit.
#[test]
fn never_shows_more_than_the_chain_said_lately() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        rig.core = Core::new(seed);
        rig.settle();
        let wallets: Vec<Wallet> = (1..6).map(wallet).collect();
        let (mut up_since, mut changed) = (Time::ZERO, Time::ZERO);
        for _ in 0..300 {
            match rng.u8(..10) {
                0..5 => rig.changes(wallets[rng.usize(..5)], Tier::ALL[rng.usize(..6)]),
                5 => rig.chain.up = false,
                6 | 7 => rig.chain.up = true,
                8 if rig
                    .chain
                    .changes
                    .last()
                    .is_some_and(|(_, at, ..)| at.number + 20 > rig.chain.head(rig.now)) =>
                {
                    rig.chain.changes.pop();
                    changed = rig.now;
                }
                _ => {}
            }
            if !rig.chain.up {
                up_since = Time::MAX;
            } else if up_since == Time::MAX {
                up_since = rig.now;
            }
            let until = rig.now + Duration::from_secs(rng.u64(1..60));
            rig.run(until, &wallets);
            for wallet in &wallets {
                let Some(seen) = rig.core.get(wallet, rig.now) else { continue };
                assert!(seen.age(rig.now) < HARD_TTL, "seed {seed}");
                // Changes since the last poll cannot be known; a value says what was true at its block.
                let settled = rig.now.since(up_since.max(changed)) > Duration::from_secs(48);
                let head = rig.chain.head(rig.now);
                let highest = (head - 7..=head).map(|at| rig.chain.at(*wallet, at).tier).max().unwrap();
                if settled {
                    assert!(seen.tier <= highest, "seed {seed}: {wallet} {seen:?} at {}", rig.now);
                }
            }
        }
    }
}

fn domain() -> Domain {
    Domain::staking(84_532, wallet(0x5a))
}

fn bindings() -> Bindings {
    let it = NodeBinding {
        node: *node(1).key(),
        wallet: Key::of(1).wallet(),
        address: node(1).address(MeshPrefix::DEFAULT),
        network: NetworkId([9; 32]),
        issued_at: UNIX,
        expires_at: UNIX + 3_600,
        seq: 1,
    };
    let domain = domain();
    let signed = it.sign(&domain, &node(1), &Key::of(1)).unwrap();
    let authority =
        Authority { domain: &domain, network: &NetworkId([9; 32]), verifier: &Strict, recover: &Curve };
    let mut bindings = Bindings::default();
    bindings.insert(signed.verify(authority, UNIX).unwrap(), |_| Tier::None, UNIX).unwrap();
    bindings
}

fn gold() -> Rig {
    let mut rig = Rig::new();
    rig.chain.changes.push((Key::of(1).wallet(), block(9_000), Tier::Gold, false));
    rig.wants(Key::of(1).wallet());
    rig
}

/// Time in a drawer is age: a restart does not make a value younger.
#[test]
fn a_restart_during_an_outage_keeps_what_still_counts() {
    let rig = gold();
    let saved = rig.core.save(&domain(), &bindings(), secs(100), UNIX + 100);
    let load = |later: u64| {
        let mut core = Core::new(2);
        let loaded = core.load(&saved, &domain(), secs(5), UNIX + 100 + later).unwrap();
        assert_eq!(loaded.bindings.len(), 1);
        (loaded.wallets, core)
    };
    let (wallets, core) = load(700);
    assert_eq!(wallets, 1);
    let seen = core.get(&Key::of(1).wallet(), secs(5)).unwrap();
    assert_eq!((seen.tier, seen.age(secs(5))), (Tier::Gold, Duration::from_secs(800)));
    assert!(core.get(&Key::of(1).wallet(), secs(104)).is_some());
    assert!(core.get(&Key::of(1).wallet(), secs(105)).is_none());
    assert_eq!(load(800).0, 0);
    // A clock that went back cannot say how old it is.
    let mut core = Core::new(2);
    assert_eq!(core.load(&saved, &domain(), secs(5), UNIX - 31).unwrap().wallets, 0);
    assert_eq!(core.load(&saved, &domain(), secs(5), UNIX - 30).unwrap().wallets, 1);
}

#[test]
fn a_damaged_or_foreign_file_changes_nothing() {
    let saved = gold().core.save(&domain(), &bindings(), secs(0), UNIX);
    for at in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[at] ^= 1;
        let mut core = Core::new(2);
        assert!(core.load(&damaged, &domain(), secs(0), UNIX).is_err(), "byte {at}");
        assert!(core.is_empty());
    }
    for len in 0..saved.len() {
        assert!(Core::new(2).load(&saved[..len], &domain(), secs(0), UNIX).is_err());
    }
    for other in [Domain::staking(8_453, wallet(0x5a)), Domain::staking(84_532, wallet(0x5b))] {
        assert_eq!(Core::new(2).load(&saved, &other, secs(0), UNIX), Err(CacheReject::Foreign));
    }
    let mut newer = saved.clone();
    newer[9] += 1;
    assert_eq!(Core::new(2).load(&newer, &domain(), secs(0), UNIX), Err(CacheReject::Version));
}

#[test]
fn readers_see_what_was_published_and_say_what_they_miss() {
    let (wanted, asked) = mpsc::sync_channel(4);
    let reader = Reader::new(wanted);
    let (key, stranger) = (*node(1).key(), *node(2).key());
    assert_eq!(reader.view(&key, secs(0)), StakeView::Disabled);
    let mut core = Core::new(1);
    reader.publish(Snapshot::new(&bindings(), &core, secs(0), UNIX));
    assert_eq!(reader.view(&stranger, secs(0)), StakeView::Unbound);
    let retry_after = Duration::from_secs(1);
    assert_eq!(reader.view(&key, secs(0)), StakeView::Unknown { retry_after });
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [Wanted::Node(key)]);
    core = gold().core;
    reader.publish(Snapshot::new(&bindings(), &core, secs(0), UNIX));
    let StakeView::Known { wallet, tier: Tier::Gold, frozen: false, as_of, age } =
        reader.view(&key, secs(299))
    else {
        panic!("it was read");
    };
    assert_eq!((wallet, as_of, age), (Key::of(1).wallet(), block(10_000), Duration::from_secs(299)));
    assert_eq!(asked.try_iter().count(), 0);
    assert!(matches!(reader.view(&key, secs(300)), StakeView::Known { .. }));
    assert_eq!(asked.try_iter().count(), 1, "it is to be read again");
    // Nobody publishes any more: what is known grows old by itself.
    assert!(matches!(reader.view(&key, secs(900)), StakeView::Unknown { .. }));
    assert_eq!(reader.view(&key, secs(3_600)), StakeView::Unbound, "the certificate has ended");
    // A full queue loses questions and blocks nobody.
    for _ in 0..100 {
        reader.view(&key, secs(900));
    }
    assert_eq!(asked.try_iter().count(), 4);
}
