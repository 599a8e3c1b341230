//! The numbers of `contracts/params.json`, which the contracts are tested against, are ours.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

use molt_contracts::escrow::MIN_REPUTATION;
use molt_contracts::tier::{TOKEN, Tier};
use serde_json::Value;

fn params() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../params.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn tiers_are_those_of_the_contracts() {
    let params = params();
    let tiers = params["tiers"].as_array().unwrap();
    assert_eq!(tiers.len(), Tier::ALL.len() - 1);
    for (tier, expected) in Tier::ALL[1..].iter().zip(tiers) {
        assert_eq!(tier.to_string(), expected["name"].as_str().unwrap().to_lowercase());
        let least = u128::from(expected["minStake"].as_u64().unwrap()) * TOKEN;
        assert_eq!(tier.least_stake(), least, "{tier}");
        assert_eq!(u64::from(tier.multiplier_bps()), expected["multiplierBps"].as_u64().unwrap(), "{tier}");
        // The contract has no word for "any number".
        let jobs = tier.jobs().unwrap_or(u16::MAX.into());
        assert_eq!(u64::from(jobs), expected["maxJobs"].as_u64().unwrap(), "{tier}");
    }
    let cap = u128::from(params["token"]["cap"].as_u64().unwrap()) * TOKEN;
    assert!(Tier::Platinum.least_stake() < cap);
}

#[test]
fn a_job_needs_the_reputation_at_which_restriction_ends() {
    assert_eq!(params()["reputation"]["standing"]["Probation"].as_u64(), Some(MIN_REPUTATION.into()));
}
