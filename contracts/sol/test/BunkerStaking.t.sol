// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerToken} from "../src/BunkerToken.sol";
import {IDelegatedStake} from "../src/Interfaces.sol";
import {Governed, Pausable} from "../src/Governed.sol";
import {Params} from "../src/Params.sol";
import {Fixture} from "./Base.sol";

contract BunkerStakingTest is Fixture {
    uint256 private constant EPOCH = Params.REWARD_EPOCH;

    function openCase(address provider) private returns (uint256 id) {
        vm.prank(address(verification));
        return staking.openCase(provider);
    }

    function slash(uint256 id, uint256 bps) private {
        vm.prank(address(verification));
        staking.slash(id, bps);
    }

    function fundRewards(uint256 amount) private {
        fund(rewarder, amount, address(staking));
        vm.prank(rewarder);
        staking.fundRewards(amount);
    }

    function thawAs(address provider, uint256 amount) private {
        vm.prank(provider);
        staking.thaw(amount);
    }

    function withdrawAs(address provider) private {
        vm.prank(provider);
        staking.withdraw();
    }

    function claimAs(address provider) private returns (uint256) {
        vm.prank(provider);
        return staking.claim();
    }

    // ---- stake

    function test_StakeIsActiveAtOnce() public {
        fund(alice, STARTER, address(staking));
        vm.prank(alice);
        emits(address(staking));
        emit BunkerStaking.Staked(alice, alice, STARTER, 1);
        staking.stake(STARTER);
        BunkerStaking.Provider memory p = staking.providerOf(alice);
        same(p.active, STARTER, "active");
        same(p.since, block.timestamp, "since");
        same(p.tier, 1, "tier");
        same(token.balanceOf(address(staking)), STARTER, "balance");
        (uint112 active, uint112 weight) = staking.totals();
        same(active, STARTER, "total");
        same(weight, STARTER * Params.STARTER_MULTIPLIER, "weight");
    }

    function test_TiersBeginAtTheirMinimum() public {
        uint256[5] memory minimum = [Params.STARTER, Params.BRONZE, Params.SILVER, Params.GOLD, Params.PLATINUM];
        uint256 staked = 0;
        same(staking.tierOf(alice), 0, "none");
        for (uint8 i = 0; i < 5; ++i) {
            if (i != 0) {
                stakeAs(alice, minimum[i] - 1 - staked);
                staked = minimum[i] - 1;
                same(staking.tierOf(alice), i, "one wei below");
            }
            stakeAs(alice, minimum[i] - staked);
            staked = minimum[i];
            same(staking.tierOf(alice), i + 1, "at the minimum");
        }
    }

    function test_JobsByTier() public view {
        uint16[6] memory jobs = [uint16(0), 3, 10, 50, 200, type(uint16).max];
        for (uint8 i = 0; i < 6; ++i) {
            same(staking.maxJobs(i), jobs[i], "jobs");
        }
    }

    function test_WeightIsStakeTimesMultiplierOfTheTier() public {
        uint256[5] memory stakes = [Params.STARTER, Params.BRONZE, Params.SILVER, Params.GOLD, Params.PLATINUM];
        uint256[5] memory multipliers = [uint256(10_000), 10_500, 11_000, 11_500, 12_000];
        uint256 want = 0;
        for (uint256 i = 0; i < 5; ++i) {
            stakeAs(vm.addr(i + 1), stakes[i]);
            want += stakes[i] * multipliers[i];
            (, uint112 weight) = staking.totals();
            same(weight, want, "weight");
        }
    }

    function test_StakingNothingIsRefused() public {
        fails(BunkerStaking.AmountIsZero.selector);
        staking.stake(0);
    }

    function test_LessThanStarterIsRefused() public {
        fund(alice, STARTER, address(staking));
        vm.prank(alice);
        fails(BunkerStaking.BelowStarter.selector, STARTER - 1);
        staking.stake(STARTER - 1);
    }

    function test_AnybodyMayStakeForAProviderWhoAloneTakesItOut() public {
        fund(bob, STARTER, address(staking));
        vm.prank(bob);
        emits(address(staking));
        emit BunkerStaking.Staked(alice, bob, STARTER, 1);
        staking.stakeFor(alice, STARTER);
        same(staking.tierOf(alice), 1, "tier");
        vm.prank(bob);
        fails(BunkerStaking.AboveActive.selector, 0);
        staking.thaw(STARTER);
        fails(BunkerStaking.AddressIsZero.selector);
        staking.stakeFor(address(0), STARTER);
    }

    function test_SinceIsTheFirstStake() public {
        stakeAs(alice, STARTER);
        uint256 first = block.timestamp;
        skip(5 days);
        stakeAs(alice, 1);
        same(staking.providerOf(alice).since, first, "kept");
        thawAs(alice, STARTER + 1);
        stakeAs(alice, STARTER);
        same(staking.providerOf(alice).since, block.timestamp, "begins anew");
    }

    // ---- leaving

    function test_ThawLowersTheTierAtOnce() public {
        stakeAs(alice, Params.BRONZE);
        uint40 until = uint40(block.timestamp) + Params.THAW;
        vm.prank(alice);
        emits(address(staking));
        emit BunkerStaking.ThawStarted(alice, 1, until, 1);
        staking.thaw(1);
        same(staking.providerOf(alice).thawing, 1, "thawing");
        same(staking.providerOf(alice).thawUntil, until, "until");
    }

    function test_ThawRefusesNothingTooMuchAndSmallRemainders() public {
        stakeAs(alice, STARTER);
        vm.startPrank(alice);
        fails(BunkerStaking.AmountIsZero.selector);
        staking.thaw(0);
        fails(BunkerStaking.AboveActive.selector, STARTER);
        staking.thaw(STARTER + 1);
        fails(BunkerStaking.RemainderBelowStarter.selector, STARTER - 1);
        staking.thaw(1);
    }

    function test_ThawMayLeaveExactlyStarter() public {
        stakeAs(alice, STARTER + 1);
        thawAs(alice, 1);
        same(staking.tierOf(alice), 1, "tier");
    }

    function test_WithdrawPaysAfterTheThaw() public {
        stakeAs(alice, STARTER);
        thawAs(alice, STARTER);
        uint40 until = staking.providerOf(alice).thawUntil;
        vm.warp(until - 1);
        vm.prank(alice);
        fails(BunkerStaking.StillThawing.selector, until);
        staking.withdraw();
        vm.warp(until);
        vm.prank(alice);
        emits(address(staking));
        emit BunkerStaking.Withdrawn(alice, STARTER);
        staking.withdraw();
        same(token.balanceOf(alice), STARTER, "paid");
        vm.prank(alice);
        fails(BunkerStaking.NothingThawing.selector);
        staking.withdraw();
    }

    function test_AnotherThawRestartsTheClock() public {
        stakeAs(alice, 3 * STARTER);
        thawAs(alice, STARTER);
        skip(Params.THAW - 1);
        thawAs(alice, STARTER);
        skip(1);
        vm.prank(alice);
        fails(BunkerStaking.StillThawing.selector, block.timestamp + Params.THAW - 1);
        staking.withdraw();
    }

    function test_AnOpenCaseHoldsTheStake() public {
        stakeAs(alice, STARTER);
        thawAs(alice, STARTER);
        uint256 id = openCase(alice);
        vm.warp(staking.providerOf(alice).thawUntil);
        vm.prank(alice);
        fails(BunkerStaking.HasOpenCase.selector, 1);
        staking.withdraw();
        vm.prank(address(verification));
        staking.closeCase(id);
        withdrawAs(alice);
    }

    /// While the court sleeps, one accusation after another must not hold what has thawed.
    function test_AccusationsInARowDoNotHoldTheStakeForEver() public {
        stakeAs(alice, STARTER);
        openCase(alice);
        same(staking.providerOf(alice).heldUntil, block.timestamp + Params.CASE_LIFE, "a case holds active stake");
        skip(1);
        thawAs(alice, STARTER);
        uint40 until = staking.providerOf(alice).thawUntil;
        vm.warp(until - 1);
        openCase(alice);
        uint40 held = staking.providerOf(alice).heldUntil;
        same(held, until - 1 + Params.CASE_LIFE, "the last one that holds");
        vm.warp(until);
        openCase(alice);
        vm.warp(held);
        uint256 id = openCase(alice);
        same(staking.providerOf(alice).heldUntil, held, "later ones do not");
        vm.prank(alice);
        fails(BunkerStaking.HasOpenCase.selector, 4);
        staking.withdraw();
        vm.warp(held + 1);
        withdrawAs(alice);
        same(token.balanceOf(alice), STARTER, "out");
        slash(id, 10_000);
        same(staking.seized(), 0, "there is nothing left to take");
    }

    function test_AFreezeHoldsTheStakeAndTheWork() public {
        stakeAs(alice, STARTER);
        check(staking.eligible(alice), "eligible");
        thawAs(alice, STARTER);
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        skip(Params.THAW - 1 days);
        uint40 until = uint40(block.timestamp) + Params.FREEZE;
        vm.prank(address(verification));
        emits(address(staking));
        emit BunkerStaking.Frozen(alice, id, until);
        staking.freeze(id);
        check(staking.frozen(alice) && !staking.eligible(alice), "frozen");
        same(staking.tierOf(alice), 1, "the tier stays");
        vm.prank(address(verification));
        staking.closeCase(id);
        vm.warp(until - 1);
        vm.prank(alice);
        fails(BunkerStaking.IsFrozen.selector, until);
        staking.withdraw();
        vm.warp(until);
        check(!staking.frozen(alice) && staking.eligible(alice), "free");
        withdrawAs(alice);
    }

    function test_AFreezeLeavesAWeekFree() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        vm.startPrank(address(verification));
        staking.freeze(id);
        uint40 next = uint40(block.timestamp) + 2 * Params.FREEZE;
        vm.warp(next - 1);
        fails(BunkerStaking.FrozenRecently.selector, next);
        staking.freeze(id);
        vm.warp(next);
        staking.freeze(id);
        fails(BunkerStaking.CaseUnknown.selector, 7);
        staking.freeze(7);
    }

    // ---- rewards

    function test_RewardsAreSharedByWeight() public {
        stakeAs(alice, Params.STARTER);
        stakeAs(bob, Params.PLATINUM);
        fund(rewarder, EPOCH * 1e18, address(staking));
        vm.prank(rewarder);
        emits(address(staking));
        emit BunkerStaking.RewardFunded(rewarder, EPOCH * 1e18, 1e18, uint40(block.timestamp) + Params.REWARD_EPOCH);
        staking.fundRewards(EPOCH * 1e18);
        skip(EPOCH);
        uint256 all = EPOCH * 1e18;
        uint256 sum = Params.STARTER * 10_000 + Params.PLATINUM * 12_000;
        uint256 forAlice = all * (Params.STARTER * 10_000) / sum;
        uint256 forBob = all * (Params.PLATINUM * 12_000) / sum;
        atMost(staking.claimable(alice), forAlice, "alice");
        atMost(staking.claimable(bob), forBob, "bob");
        atMost(forAlice + forBob, staking.claimable(alice) + staking.claimable(bob) + 1_300, "nothing lost");
        uint256 want = staking.claimable(bob);
        vm.prank(bob);
        emits(address(staking));
        emit BunkerStaking.RewardClaimed(bob, want);
        same(staking.claim(), want, "claimed");
        same(token.balanceOf(bob), want, "paid");
        (, uint128 reserve) = staking.pot();
        same(reserve, all - want, "reserve");
        vm.prank(bob);
        fails(BunkerStaking.NothingToClaim.selector);
        staking.claim();
    }

    function test_AStreamWaitsForTheFirstStaker() public {
        fundRewards(EPOCH * 1e18);
        skip(3 * EPOCH);
        stakeAs(alice, STARTER);
        same(staking.claimable(alice), 0, "nothing yet");
        skip(EPOCH / 2);
        same(staking.claimable(alice), EPOCH / 2 * 1e18, "half");
        skip(2 * EPOCH);
        same(staking.claimable(alice), EPOCH * 1e18, "all, and no more");
    }

    function test_AStreamWaitsWhileNobodyStakes() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH / 2);
        thawAs(alice, STARTER);
        skip(EPOCH);
        stakeAs(alice, STARTER);
        skip(2 * EPOCH);
        same(claimAs(alice), EPOCH * 1e18, "all of it");
    }

    function test_FundingAgainSpreadsWhatIsLeft() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH / 2);
        fundRewards(EPOCH * 1e18);
        (uint112 rate,) = staking.pot();
        same(rate, 1.5e18, "rate");
        skip(EPOCH);
        same(claimAs(alice), 2 * EPOCH * 1e18, "all of both");
        fundRewards(EPOCH);
        (rate,) = staking.pot();
        same(rate, 1, "nothing is left after the end");
    }

    function test_OnlyTheRewarderFundsAndEnoughForARate() public {
        fails(BunkerStaking.NotRewarder.selector, address(this));
        staking.fundRewards(EPOCH);
        fund(rewarder, EPOCH, address(staking));
        vm.startPrank(rewarder);
        fails(BunkerStaking.RewardTooSmall.selector, EPOCH - 1);
        staking.fundRewards(EPOCH - 1);
        staking.fundRewards(EPOCH);
        (uint112 rate,) = staking.pot();
        same(rate, 1, "one wei a second");
    }

    function test_ANewStakerEarnsNothingOfThePast() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH / 2);
        stakeAs(bob, STARTER);
        same(staking.claimable(bob), 0, "nothing yet");
        skip(EPOCH);
        same(staking.claimable(alice), EPOCH * 3 / 4 * 1e18, "alice");
        same(staking.claimable(bob), EPOCH / 4 * 1e18, "bob");
    }

    function test_StakeBelowStarterEarnsNothing() public {
        stakeAs(alice, STARTER);
        slash(openCase(alice), 1);
        (uint112 active, uint112 weight) = staking.totals();
        same(active, STARTER - STARTER / 10_000, "counted");
        same(weight, 0, "without weight");
    }

    // ---- the court

    function test_CasesAreNumberedAndEnd() public {
        stakeAs(alice, STARTER);
        uint40 until = uint40(block.timestamp) + Params.CASE_LIFE;
        vm.prank(address(verification));
        emits(address(staking));
        emit BunkerStaking.CaseOpened(1, alice, until);
        same(staking.openCase(alice), 1, "first");
        same(openCase(alice), 2, "second");
        same(staking.providerOf(alice).openCases, 2, "both open");
        same(staking.caseOf(2).provider, alice, "of alice");
        same(staking.resolveBy(2), until, "until");
        vm.prank(address(verification));
        emits(address(staking));
        emit BunkerStaking.CaseClosed(1, alice);
        staking.closeCase(1);
        same(staking.providerOf(alice).openCases, 1, "one closed");
        same(staking.resolveBy(1), 0, "closed");
        vm.prank(address(verification));
        fails(BunkerStaking.CaseUnknown.selector, 1);
        staking.closeCase(1);
    }

    function test_ACaseLapsesWithoutTheCourt() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        uint40 until = staking.resolveBy(id);
        vm.warp(until);
        fails(BunkerStaking.CaseNotLapsed.selector, until);
        staking.lapseCase(id);
        vm.warp(until + 1);
        staking.lapseCase(id);
        same(staking.providerOf(alice).openCases, 0, "free");
    }

    function test_ALapsedCaseCannotSlash() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        uint40 until = staking.resolveBy(id);
        vm.warp(until + 1);
        vm.prank(address(verification));
        fails(BunkerStaking.CaseLapsed.selector, until);
        staking.slash(id, 1);
        vm.warp(until);
        slash(id, 1);
    }

    function test_OnlyTheCourtJudges() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        fails(BunkerStaking.NotCourt.selector, address(this));
        staking.openCase(alice);
        fails(BunkerStaking.NotCourt.selector, address(this));
        staking.closeCase(id);
        fails(BunkerStaking.NotCourt.selector, address(this));
        staking.slash(id, 1);
        fails(BunkerStaking.NotCourt.selector, address(this));
        staking.freeze(id);
    }

    function test_WhoHasNothingAtStakeIsNotAccused() public {
        vm.prank(address(verification));
        fails(BunkerStaking.NothingAtStake.selector, alice);
        staking.openCase(alice);
    }

    function test_ASlashTakesActiveAndThawingAlike() public {
        stakeAs(alice, 4 * STARTER);
        thawAs(alice, STARTER);
        uint256 id = openCase(alice);
        uint256 before = token.balanceOf(treasury);
        uint256 supply = token.totalSupply();
        vm.prank(address(verification));
        emits(address(staking));
        emit BunkerStaking.CaseClosed(id, alice);
        emits(address(staking));
        emit BunkerStaking.Slashed(alice, id, 1.5e6 * BUNKER, 0.5e6 * BUNKER, 0, 1);
        staking.slash(id, 5_000);
        BunkerStaking.Provider memory p = staking.providerOf(alice);
        same(p.active, 1.5e6 * BUNKER, "active");
        same(p.thawing, 0.5e6 * BUNKER, "thawing");
        same(staking.seized(), 2e6 * BUNKER, "kept apart");
        emits(address(staking));
        emit BunkerStaking.Skimmed(1.6e6 * BUNKER, 0.4e6 * BUNKER);
        staking.skim();
        same(staking.seized(), 0, "once");
        fails(BunkerStaking.NothingSeized.selector);
        staking.skim();
        same(supply - token.totalSupply(), 1.6e6 * BUNKER, "80 % burnt");
        same(token.balanceOf(treasury) - before, 0.4e6 * BUNKER, "20 % to the treasury");
    }

    function test_ASlashRoundsAgainstTheProvider() public {
        stakeAs(alice, STARTER + 1);
        slash(openCase(alice), 5_000);
        same(staking.providerOf(alice).active, STARTER / 2, "half, rounded down");
    }

    function test_SharesOutOfRangeAreRefused() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        vm.startPrank(address(verification));
        fails(BunkerStaking.ShareOutOfRange.selector, 0);
        staking.slash(id, 0);
        fails(BunkerStaking.ShareOutOfRange.selector, 10_001);
        staking.slash(id, 10_001);
        staking.slash(id, 10_000);
        same(staking.providerOf(alice).active, 0, "all");
    }

    function test_SlashesOfAWindowAddUpToAllAtMost() public {
        stakeAs(alice, 100 * STARTER);
        uint256 a = openCase(alice);
        uint256 b = openCase(alice);
        slash(a, 6_000);
        slash(b, 6_000);
        same(staking.providerOf(alice).active, 24 * STARTER, "60 %, then 40 %");
        uint256 c = openCase(alice);
        skip(Params.SLASH_WINDOW - 1);
        slash(c, 6_000);
        same(staking.providerOf(alice).active, 24 * STARTER, "nothing more in this window");
        uint256 d = openCase(alice);
        skip(1);
        slash(d, 5_000);
        same(staking.providerOf(alice).active, 12 * STARTER, "a new window");
    }

    function test_ThePoolStandsInAfterTheProvidersOwn() public {
        stakeAs(alice, STARTER);
        vm.prank(alice);
        delegation.openPool(0);
        fund(bob, 3 * STARTER, address(delegation));
        vm.prank(bob);
        delegation.delegate(alice, 3 * STARTER);
        uint256 id = openCase(alice);
        uint256 supply = token.totalSupply();
        vm.prank(address(verification));
        emits(address(staking));
        emit BunkerStaking.Slashed(alice, id, STARTER, 0, STARTER, 0);
        staking.slash(id, 5_000);
        same(delegation.atRisk(alice), 2 * STARTER, "the pool pays the rest");
        same(staking.seized(), 2 * STARTER, "of both");
        staking.skim();
        same(supply - token.totalSupply(), 1.6e6 * BUNKER, "burnt");

        id = openCase(alice);
        skip(1);
        slash(id, 5_000);
        same(delegation.atRisk(alice), STARTER, "the pool alone");
    }

    // ---- governance

    function test_GovernanceNamesCourtTreasuryRewarderSuccessor() public {
        vm.startPrank(address(timelock));
        emits(address(staking));
        emit BunkerStaking.CourtSet(bob);
        staking.setCourt(bob);
        emits(address(staking));
        emit BunkerStaking.TreasurySet(bob);
        staking.setTreasury(bob);
        emits(address(staking));
        emit BunkerStaking.RewarderSet(bob);
        staking.setRewarder(bob);
        emits(address(staking));
        emit BunkerStaking.SuccessorSet(bob);
        staking.setSuccessor(bob);
        same(staking.court(), bob, "court");
        same(staking.treasury(), bob, "treasury");
        same(staking.rewarder(), bob, "rewarder");
        same(staking.successor(), bob, "successor");
        fails(BunkerStaking.AddressIsZero.selector);
        staking.setCourt(address(0));
        fails(BunkerStaking.AddressIsZero.selector);
        staking.setTreasury(address(0));
        fails(BunkerStaking.AddressIsZero.selector);
        staking.setRewarder(address(0));
    }

    function test_ProvidersMoveToTheSuccessorThemselves() public {
        stakeAs(alice, STARTER);
        vm.prank(alice);
        fails(BunkerStaking.NoSuccessor.selector);
        staking.migrate();
        BunkerStaking next =
            new BunkerStaking(address(timelock), token, address(verification), delegation, treasury, rewarder);
        vm.prank(address(timelock));
        staking.setSuccessor(address(next));
        vm.prank(bob);
        fails(BunkerStaking.NothingAtStake.selector, bob);
        staking.migrate();

        uint256 id = openCase(alice);
        vm.prank(alice);
        fails(BunkerStaking.HasOpenCase.selector, 1);
        staking.migrate();
        vm.prank(address(verification));
        staking.closeCase(id);
        vm.startPrank(address(verification));
        id = staking.openCase(alice);
        staking.freeze(id);
        staking.closeCase(id);
        vm.stopPrank();
        uint40 until = staking.providerOf(alice).frozenUntil;
        vm.prank(alice);
        fails(BunkerStaking.IsFrozen.selector, until);
        staking.migrate();
        vm.warp(until);
        vm.prank(alice);
        emits(address(staking));
        emit BunkerStaking.Migrated(alice, address(next), STARTER);
        staking.migrate();
        same(staking.tierOf(alice), 0, "gone here");
        same(next.tierOf(alice), 1, "there");
        same(token.balanceOf(address(next)), STARTER, "with the tokens");
        same(token.balanceOf(address(staking)), 0, "all of them");
    }

    function test_APauseStopsOnlyNewStake() public {
        stakeAs(alice, 2 * STARTER);
        fundRewards(EPOCH * 1e18);
        thawAs(alice, STARTER);
        skip(Params.THAW);
        fund(alice, STARTER, address(staking));
        vm.prank(address(timelock));
        staking.pause();
        uint40 until = staking.pausedUntil();
        vm.startPrank(alice);
        fails(Pausable.IsPaused.selector, until);
        staking.stake(STARTER);
        fails(Pausable.IsPaused.selector, until);
        staking.stakeFor(bob, STARTER);
        staking.withdraw();
        staking.claim();
        staking.thaw(STARTER);
        vm.stopPrank();
        fundRewards(EPOCH);
        slash(openCase(alice), 1_000);
        staking.skim();
        uint256 id = openCase(alice);
        vm.prank(address(verification));
        staking.closeCase(id);
        same(block.timestamp + Params.PAUSE, until, "all of it during the pause");
    }

    // ---- nodes

    function test_ANodeIsClaimedByAnybodyAsOftenAsTheyLike() public {
        bytes32 key = keccak256("key");
        vm.prank(alice);
        emits(address(staking));
        emit BunkerStaking.NodeClaimed(alice, key);
        staking.claimNode(key);
        vm.prank(bob);
        emits(address(staking));
        emit BunkerStaking.NodeClaimed(bob, key);
        staking.claimNode(key);
        fails(BunkerStaking.NodeKeyIsZero.selector);
        staking.claimNode(0);
    }

    // ---- what must not come back

    /// A provider slashed below the minimum must get the rest out.
    function test_P1_TheRestAfterASlashIsNotLocked() public {
        stakeAs(alice, STARTER);
        slash(openCase(alice), 5_000);
        vm.prank(alice);
        fails(BunkerStaking.RemainderBelowStarter.selector, STARTER / 2 - 1);
        staking.thaw(1);
        thawAs(alice, STARTER / 2);
        skip(Params.THAW);
        withdrawAs(alice);
        same(token.balanceOf(alice), STARTER / 2, "the rest");
    }

    /// Leaving during a case must not escape it.
    function test_P2_UnstakingDoesNotEscapeTheSlash() public {
        stakeAs(alice, STARTER);
        uint256 id = openCase(alice);
        thawAs(alice, STARTER);
        skip(Params.CASE_LIFE);
        vm.prank(alice);
        fails(BunkerStaking.HasOpenCase.selector, 1);
        staking.withdraw();
        slash(id, 10_000);
        vm.prank(alice);
        fails(BunkerStaking.NothingThawing.selector);
        staking.withdraw();
    }

    /// A share is taken of everything that is there, not of active stake alone.
    function test_P3_AnInactiveProviderIsAccusedAndSlashed() public {
        stakeAs(alice, STARTER);
        thawAs(alice, STARTER);
        slash(openCase(alice), 5_000);
        same(staking.providerOf(alice).thawing, STARTER / 2, "half");
    }

    /// Rewards that are not funded must not be promised.
    function test_P4_RewardsNeverComeOutOfTheStake() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH);
        vm.prank(rewarder);
        vm.expectPartialRevert(bytes4(keccak256("ERC20InsufficientAllowance(address,uint256,uint256)")));
        staking.fundRewards(EPOCH * 1e18);
        same(claimAs(alice), EPOCH * 1e18, "rewards");
        same(token.balanceOf(address(staking)), STARTER, "the stake is whole");
        thawAs(alice, STARTER);
        skip(Params.THAW);
        withdrawAs(alice);
        same(token.balanceOf(address(staking)), 0, "everybody is paid");
    }

    /// No setting may change what was earned, or make a claim fail.
    function test_P6_SettingsDoNotTouchWhatIsEarned() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH / 2);
        claimAs(alice);
        skip(EPOCH / 4);
        uint256 earned = staking.claimable(alice);
        vm.startPrank(address(timelock));
        staking.setCourt(bob);
        staking.setTreasury(bob);
        staking.setRewarder(bob);
        staking.setSuccessor(bob);
        staking.pause();
        vm.stopPrank();
        same(staking.claimable(alice), earned, "unchanged");
        same(claimAs(alice), earned, "paid");
    }

    /// A claim of somebody else's node must not keep its owner out.
    function test_P7_ANodeKeyCannotBeSquatted() public {
        vm.prank(stranger);
        staking.claimNode("node");
        vm.prank(alice);
        staking.claimNode("node");
    }

    /// Coming and going has no lifetime limit.
    function test_P8_ThawingIsNotALifetimeBudget() public {
        stakeAs(alice, 2 * STARTER);
        for (uint256 i = 0; i < 100; ++i) {
            thawAs(alice, STARTER);
            skip(Params.THAW);
            withdrawAs(alice);
            stakeAs(alice, STARTER);
        }
        same(staking.providerOf(alice).active, 2 * STARTER, "as before");
    }

    /// Who left may come back with the same node.
    function test_P16_AProviderReturnsWithItsNode() public {
        stakeAs(alice, STARTER);
        vm.prank(alice);
        staking.claimNode("node");
        thawAs(alice, STARTER);
        skip(Params.THAW);
        withdrawAs(alice);
        stakeAs(alice, STARTER);
        vm.prank(alice);
        staking.claimNode("node");
        same(staking.tierOf(alice), 1, "back");
    }

    /// A slash takes stake; rewards of any age are the provider's.
    function test_P17_ASlashTakesNoRewards() public {
        stakeAs(alice, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(EPOCH / 2);
        uint256 earned = staking.claimable(alice);
        slash(openCase(alice), 10_000);
        same(staking.claimable(alice), earned, "kept");
        same(claimAs(alice), earned, "paid");
    }

    // ---- gas

    function test_GasOfStaking() public {
        stakeAs(bob, STARTER);
        fundRewards(EPOCH * 1e18);
        skip(10);
        fund(alice, 5 * STARTER, address(staking));
        vm.startPrank(alice);
        staking.stake(3 * STARTER);
        atMost(vm.snapshotGasLastCall("staking: stake, first"), 150_000, "first stake");
        skip(10);
        staking.stake(STARTER);
        atMost(vm.snapshotGasLastCall("staking: stake, again"), 80_000, "stake again");
        skip(10);
        staking.thaw(STARTER);
        atMost(vm.snapshotGasLastCall("staking: thaw"), 90_000, "thaw");
        skip(10);
        staking.claim();
        atMost(vm.snapshotGasLastCall("staking: claim"), 72_000, "claim");
        vm.stopPrank();
        uint256 id = openCase(alice);
        skip(10);
        vm.prank(address(verification));
        staking.slash(id, 1_000);
        atMost(vm.snapshotGasLastCall("staking: slash"), 100_000, "slash");
        skip(Params.THAW);
        withdrawAs(alice);
        atMost(vm.snapshotGasLastCall("staking: withdraw"), 55_000, "withdraw");
    }

    // ---- fuzz

    function testFuzz_TierFollowsTheActiveStake(uint256 amount, uint256 bps) public {
        amount = bound(amount, STARTER, 9 * Params.PLATINUM);
        bps = bound(bps, 1, 10_000);
        stakeAs(alice, amount);
        slash(openCase(alice), bps);
        uint256 active = staking.providerOf(alice).active;
        uint256 tier = 0;
        if (active >= 1e24) tier = 1;
        if (active >= 5e24) tier = 2;
        if (active >= 1e25) tier = 3;
        if (active >= 1e26) tier = 4;
        if (active >= 1e27) tier = 5;
        same(staking.tierOf(alice), tier, "tier");
    }

    function testFuzz_ASlashIsSplitExactly(uint256 active, uint256 thawing, uint256 bps) public {
        active = bound(active, STARTER, 2 * Params.PLATINUM);
        thawing = bound(thawing, 1, 2 * Params.PLATINUM);
        bps = bound(bps, 1, 10_000);
        stakeAs(alice, active + thawing);
        thawAs(alice, thawing);
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(treasury);
        slash(openCase(alice), bps);
        uint256 taken = active + thawing - staking.providerOf(alice).active - staking.providerOf(alice).thawing;
        same(taken, ((active + thawing) * bps + 9_999) / 10_000, "rounded up");
        staking.skim();
        same(supply - token.totalSupply() + token.balanceOf(treasury) - before, taken, "burnt and paid");
        same(token.balanceOf(address(staking)), active + thawing - taken, "the rest is here");
    }

    function testFuzz_RewardsNeverExceedTheFunding(uint256 a, uint256 b, uint256 amount, uint256 time) public {
        a = bound(a, STARTER, Params.PLATINUM);
        b = bound(b, STARTER, Params.PLATINUM);
        amount = bound(amount, EPOCH, Params.PLATINUM);
        time = bound(time, 0, 3 * EPOCH);
        stakeAs(alice, a);
        fundRewards(amount);
        skip(time);
        stakeAs(bob, b);
        skip(time);
        atMost(staking.claimable(alice) + staking.claimable(bob), amount, "funded");
        if (time >= EPOCH) {
            atMost(amount, staking.claimable(alice) + EPOCH + 1_200, "all but the rest of the division");
        }
    }
}
