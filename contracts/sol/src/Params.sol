// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

/// @title The numbers of the economy
/// @notice `contracts/params.json` holds the same numbers for readers outside the chain; a test compares every one.
library Params {
    uint256 internal constant BUNKER = 1e18;
    uint256 internal constant BPS = 10_000;

    uint256 internal constant CAP = 100_000_000_000 * BUNKER;
    uint256 internal constant GENESIS = 10_000_000_000 * BUNKER;

    uint256 internal constant STARTER = 1_000_000 * BUNKER;
    uint256 internal constant BRONZE = 5_000_000 * BUNKER;
    uint256 internal constant SILVER = 10_000_000 * BUNKER;
    uint256 internal constant GOLD = 100_000_000 * BUNKER;
    uint256 internal constant PLATINUM = 1_000_000_000 * BUNKER;
    uint256 internal constant STARTER_MULTIPLIER = 10_000;
    uint256 internal constant BRONZE_MULTIPLIER = 10_500;
    uint256 internal constant SILVER_MULTIPLIER = 11_000;
    uint256 internal constant GOLD_MULTIPLIER = 11_500;
    uint256 internal constant PLATINUM_MULTIPLIER = 12_000;
    uint16 internal constant STARTER_JOBS = 3;
    uint16 internal constant BRONZE_JOBS = 10;
    uint16 internal constant SILVER_JOBS = 50;
    uint16 internal constant GOLD_JOBS = 200;
    uint16 internal constant PLATINUM_JOBS = type(uint16).max;

    /// Not shorter than a case may take, so that leaving never outruns one.
    uint40 internal constant THAW = 14 days;
    uint40 internal constant CASE_LIFE = 14 days;
    uint40 internal constant FREEZE = 7 days;
    uint40 internal constant REWARD_EPOCH = 7 days;
    uint40 internal constant SLASH_WINDOW = 14 days;
    /// Of what is slashed or taken as fees; the rest goes to the treasury.
    uint256 internal constant BURN_BPS = 8_000;

    uint16 internal constant SLASH_DOWNTIME = 500;
    uint16 internal constant SLASH_JOB_ABANDONMENT = 1_000;
    uint16 internal constant SLASH_SECURITY_VIOLATION = 4_000;
    uint16 internal constant SLASH_FRAUD = 5_000;
    uint16 internal constant SLASH_SLA_VIOLATION = 1_500;
    uint16 internal constant SLASH_DATA_LOSS = 2_500;

    /// Not shorter than THAW: delegators would leave before the provider they trusted is judged.
    uint40 internal constant DELEGATION_THAW = 14 days;
    uint40 internal constant CUT_NOTICE = 7 days;
    uint16 internal constant MAX_CUT = 5_000;
    /// Makes inflating the price of a share until others round to nothing cost more than there are tokens.
    uint256 internal constant MIN_DELEGATION = 1_000 * BUNKER;
    /// A provider stands in first for its pool's losses, so the pool stays in proportion to its own stake.
    uint256 internal constant MAX_RATIO = 10;

    uint16 internal constant FEE = 500;
    uint16 internal constant MAX_FEE = 2_000;
    uint40 internal constant CHALLENGE = 24 hours;
    uint40 internal constant CLAIM = 24 hours;
    uint40 internal constant RESOLVE = 7 days;
    uint256 internal constant TIMEOUT_SHARE = 5_000;
    /// Shorter jobs leave no trace in the reputation: they cost too little to be evidence.
    uint32 internal constant REPORTED_SECONDS = 1 hours;
    uint256 internal constant REPORTED_BPS = 9_500;
    uint32 internal constant LONG_JOB = 30 days;

    uint256 internal constant BUNKER_PER_USD = 20_000 * BUNKER;
    uint256 internal constant CPU_CORE_HOUR = 600 * BUNKER;
    uint256 internal constant MEMORY_GB_HOUR = 80 * BUNKER;
    uint256 internal constant STORAGE_GB_MONTH = 2_000 * BUNKER;
    uint256 internal constant NETWORK_GB = 1_000 * BUNKER;
    uint256 internal constant GPU_BASIC_HOUR = 10_000 * BUNKER;
    uint256 internal constant GPU_PREMIUM_HOUR = 40_000 * BUNKER;
    /// After the sequencer is back, prices are old until the feeds caught up.
    uint40 internal constant SEQUENCER_GRACE = 1 hours;
    uint40 internal constant MIN_AGE = 5 minutes;
    uint40 internal constant MAX_AGE = 1 days;

    uint16 internal constant SCORE_MAX = 1_000;
    /// Below Standard, so that a fresh wallet is never better than a tarnished one.
    uint16 internal constant SCORE_INITIAL = 400;
    uint16 internal constant SCORE_FLOOR = 100;
    int16 internal constant MAX_DELTA = 200;
    uint16 internal constant DECAY_PER_WEEK = 1;
    uint16 internal constant PROBATION = 250;
    uint16 internal constant STANDARD = 500;
    uint16 internal constant TRUSTED = 750;
    uint16 internal constant ELITE = 900;
    int16 internal constant DELTA_JOB_COMPLETED = 5;
    int16 internal constant DELTA_JOB_UNSERVED = -10;
    int16 internal constant DELTA_UPTIME_PROVEN = 20;
    int16 internal constant DELTA_HEALTH_FAILED = -25;
    int16 internal constant DELTA_REPLICA_MISMATCH = -50;
    int16 internal constant DELTA_SLASHED = -100;
    int16 internal constant DELTA_SECURITY_BREACH = -200;

    uint40 internal constant ATTESTATION_INTERVAL = 1 days;
    uint40 internal constant SUSPEND_AFTER = 3;
    uint40 internal constant SUSPENSION = 7 days;
    uint256 internal constant CASE_BOND = 50_000 * BUNKER;
    /// A case: answer, decision, appeal, decision on the appeal, and a day to carry it out fit into CASE_LIFE.
    uint40 internal constant RESPOND = 2 days;
    uint40 internal constant DECIDE = 7 days;
    uint40 internal constant APPEAL = 2 days;
    uint40 internal constant APPEAL_DECISION = 4 days;
    uint16 internal constant MEMORY_FACTOR = 2;

    uint256 internal constant MIN_DELAY = 48 hours;
    uint256 internal constant MAX_DELAY = 30 days;
    uint40 internal constant PAUSE = 7 days;
    uint40 internal constant PAUSE_COOLDOWN = 7 days;
}
