// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Params} from "../src/Params.sol";
import {Base} from "./Base.sol";

/// params.json is what readers outside the chain take their numbers from. Every number in it stands here, and the count of
/// compared ones is compared too, so that none can be added to only one of them.
contract ParamsTest is Base {
    string private json;
    uint256 private compared;

    function setUp() public {
        json = vm.readFile("params.json");
    }

    function test_ParamsJsonIsWhatTheContractsUse() public {
        tokens("token.cap", Params.CAP);
        tokens("token.genesis", Params.GENESIS);

        tier(0, "Starter", Params.STARTER, Params.STARTER_MULTIPLIER, Params.STARTER_JOBS);
        tier(1, "Bronze", Params.BRONZE, Params.BRONZE_MULTIPLIER, Params.BRONZE_JOBS);
        tier(2, "Silver", Params.SILVER, Params.SILVER_MULTIPLIER, Params.SILVER_JOBS);
        tier(3, "Gold", Params.GOLD, Params.GOLD_MULTIPLIER, Params.GOLD_JOBS);
        tier(4, "Platinum", Params.PLATINUM, Params.PLATINUM_MULTIPLIER, Params.PLATINUM_JOBS);
        check(!vm.keyExistsJson(json, ".tiers[5]"), "five tiers");

        number("staking.thawSeconds", Params.THAW);
        number("staking.caseSeconds", Params.CASE_LIFE);
        number("staking.freezeSeconds", Params.FREEZE);
        number("staking.rewardEpochSeconds", Params.REWARD_EPOCH);
        number("staking.slashWindowSeconds", Params.SLASH_WINDOW);
        number("staking.burnBps", Params.BURN_BPS);

        number("violations.None", 0);
        number("violations.Downtime", Params.SLASH_DOWNTIME);
        number("violations.JobAbandonment", Params.SLASH_JOB_ABANDONMENT);
        number("violations.SecurityViolation", Params.SLASH_SECURITY_VIOLATION);
        number("violations.Fraud", Params.SLASH_FRAUD);
        number("violations.SLAViolation", Params.SLASH_SLA_VIOLATION);
        number("violations.DataLoss", Params.SLASH_DATA_LOSS);

        number("delegation.thawSeconds", Params.DELEGATION_THAW);
        number("delegation.cutNoticeSeconds", Params.CUT_NOTICE);
        number("delegation.maxCutBps", Params.MAX_CUT);
        tokens("delegation.minDelegation", Params.MIN_DELEGATION);
        number("delegation.maxRatio", Params.MAX_RATIO);

        number("escrow.feeBps", Params.FEE);
        number("escrow.maxFeeBps", Params.MAX_FEE);
        number("escrow.challengeSeconds", Params.CHALLENGE);
        number("escrow.claimSeconds", Params.CLAIM);
        number("escrow.resolveSeconds", Params.RESOLVE);
        number("escrow.timeoutShareBps", Params.TIMEOUT_SHARE);
        number("escrow.reportedSeconds", Params.REPORTED_SECONDS);
        number("escrow.reportedBps", Params.REPORTED_BPS);
        number("escrow.longJobSeconds", Params.LONG_JOB);

        tokens("pricing.bunkerPerUsd", Params.BUNKER_PER_USD);
        tokens("pricing.cpuCoreHour", Params.CPU_CORE_HOUR);
        tokens("pricing.memoryGbHour", Params.MEMORY_GB_HOUR);
        tokens("pricing.storageGbMonth", Params.STORAGE_GB_MONTH);
        tokens("pricing.networkGb", Params.NETWORK_GB);
        tokens("pricing.gpuBasicHour", Params.GPU_BASIC_HOUR);
        tokens("pricing.gpuPremiumHour", Params.GPU_PREMIUM_HOUR);
        number("pricing.sequencerGraceSeconds", Params.SEQUENCER_GRACE);
        number("pricing.minAgeSeconds", Params.MIN_AGE);
        number("pricing.maxAgeSeconds", Params.MAX_AGE);

        number("reputation.max", Params.SCORE_MAX);
        number("reputation.initial", Params.SCORE_INITIAL);
        number("reputation.floor", Params.SCORE_FLOOR);
        signedNumber("reputation.maxDelta", Params.MAX_DELTA);
        number("reputation.decayPerWeek", Params.DECAY_PER_WEEK);
        number("reputation.standing.Probation", Params.PROBATION);
        number("reputation.standing.Standard", Params.STANDARD);
        number("reputation.standing.Trusted", Params.TRUSTED);
        number("reputation.standing.Elite", Params.ELITE);
        signedNumber("reputation.deltas.JobCompleted", Params.DELTA_JOB_COMPLETED);
        signedNumber("reputation.deltas.JobUnserved", Params.DELTA_JOB_UNSERVED);
        signedNumber("reputation.deltas.UptimeProven", Params.DELTA_UPTIME_PROVEN);
        signedNumber("reputation.deltas.HealthFailed", Params.DELTA_HEALTH_FAILED);
        signedNumber("reputation.deltas.ReplicaMismatch", Params.DELTA_REPLICA_MISMATCH);
        signedNumber("reputation.deltas.Slashed", Params.DELTA_SLASHED);
        signedNumber("reputation.deltas.SecurityBreach", Params.DELTA_SECURITY_BREACH);

        number("verification.intervalSeconds", Params.ATTESTATION_INTERVAL);
        number("verification.suspendAfterMissed", Params.SUSPEND_AFTER);
        number("verification.suspensionSeconds", Params.SUSPENSION);
        tokens("verification.caseBond", Params.CASE_BOND);
        number("verification.respondSeconds", Params.RESPOND);
        number("verification.decideSeconds", Params.DECIDE);
        number("verification.appealSeconds", Params.APPEAL);
        number("verification.appealDecisionSeconds", Params.APPEAL_DECISION);
        number("verification.memoryFactor", Params.MEMORY_FACTOR);

        number("timelock.minDelaySeconds", Params.MIN_DELAY);
        number("timelock.maxDelaySeconds", Params.MAX_DELAY);
        number("timelock.pauseSeconds", Params.PAUSE);
        number("timelock.pauseCooldownSeconds", Params.PAUSE_COOLDOWN);

        uint256 leaves = 0;
        string[11] memory sections = [
            "token",
            "staking",
            "violations",
            "delegation",
            "escrow",
            "pricing",
            "reputation",
            "reputation.standing",
            "reputation.deltas",
            "verification",
            "timelock"
        ];
        for (uint256 i = 0; i < sections.length; ++i) {
            leaves += vm.parseJsonKeys(json, string.concat(".", sections[i])).length;
        }
        // "standing" and "deltas" are keys of "reputation", but no numbers; tiers are counted above.
        same(compared, leaves - 2 + 15, "every number in the file is compared");
    }

    function test_TheWaitsFitIntoEachOther() public pure {
        check(Params.THAW >= Params.CASE_LIFE, "a case opened before the thaw ends before it");
        check(Params.DELEGATION_THAW >= Params.THAW, "delegators cannot leave earlier");
        check(Params.DECIDE + Params.APPEAL + Params.APPEAL_DECISION < Params.CASE_LIFE, "a case fits its life");
        check(Params.RESPOND < Params.DECIDE, "the arbiter has time after the answer");
        check(Params.MIN_DELAY < Params.APPEAL_DECISION, "the timelock can decide an appeal in time");
        check(Params.SCORE_INITIAL < Params.STANDARD, "a new wallet is below Standard");
    }

    function tier(uint256 i, string memory name, uint256 stake, uint256 multiplier, uint256 jobs) private {
        string memory path = string.concat("tiers[", vm.toString(i), "].");
        string memory got = vm.parseJsonString(json, string.concat(".", path, "name"));
        check(keccak256(bytes(got)) == keccak256(bytes(name)), name);
        tokens(string.concat(path, "minStake"), stake);
        number(string.concat(path, "multiplierBps"), multiplier);
        number(string.concat(path, "maxJobs"), jobs);
    }

    function tokens(string memory path, uint256 want) private {
        ++compared;
        same(vm.parseJsonUint(json, string.concat(".", path)) * BUNKER, want, path);
    }

    function number(string memory path, uint256 want) private {
        ++compared;
        same(vm.parseJsonUint(json, string.concat(".", path)), want, path);
    }

    function signedNumber(string memory path, int256 want) private {
        ++compared;
        check(vm.parseJsonInt(json, string.concat(".", path)) == want, path);
    }
}
