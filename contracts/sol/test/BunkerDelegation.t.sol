// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerDelegation} from "../src/BunkerDelegation.sol";
import {Pausable} from "../src/Governed.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

contract BunkerDelegationTest is Fixture {
    uint256 private constant MIN = Params.MIN_DELEGATION;

    function setUp() public override {
        super.setUp();
        stakeAs(alice, STARTER);
        vm.prank(alice);
        delegation.openPool(1_000);
    }

    function delegateAs(address who, uint256 amount) private {
        fund(who, amount, address(delegation));
        vm.prank(who);
        delegation.delegate(alice, amount);
    }

    function thawAs(address who, uint256 shares) private {
        vm.prank(who);
        delegation.thaw(alice, shares);
    }

    function withdrawAs(address who) private {
        vm.prank(who);
        delegation.withdraw(alice);
    }

    function distribute(uint256 amount) private {
        fund(stranger, amount, address(delegation));
        vm.prank(stranger);
        delegation.distribute(alice, amount);
    }

    function slash(uint256 amount) private returns (uint256) {
        vm.prank(address(staking));
        return delegation.slash(alice, amount);
    }

    // ---- pools

    function test_AProviderOpensAndClosesItsPool() public {
        vm.startPrank(bob);
        fails(BunkerDelegation.PoolIsClosed.selector, bob);
        delegation.closePool();
        fails(BunkerDelegation.PoolIsClosed.selector, bob);
        delegation.setCut(1);
        fails(BunkerDelegation.CutTooHigh.selector, Params.MAX_CUT + 1);
        delegation.openPool(Params.MAX_CUT + 1);
        emits(address(delegation));
        emit BunkerDelegation.PoolOpened(bob, Params.MAX_CUT);
        delegation.openPool(Params.MAX_CUT);
        fails(BunkerDelegation.PoolIsOpen.selector, bob);
        delegation.openPool(0);
        emits(address(delegation));
        emit BunkerDelegation.PoolClosed(bob);
        delegation.closePool();
        delegation.openPool(Params.MAX_CUT - 1);
        same(delegation.poolOf(bob).cutBps, Params.MAX_CUT - 1, "an empty pool begins anew");
    }

    function test_ReopeningDoesNotRaiseTheCutOfThoseInside() public {
        delegateAs(bob, MIN);
        vm.startPrank(alice);
        delegation.closePool();
        fails(BunkerDelegation.CutTooHigh.selector, 1_001);
        delegation.openPool(1_001);
        delegation.openPool(1_000);
    }

    function test_AHigherCutTakesAWeek() public {
        vm.startPrank(alice);
        fails(BunkerDelegation.CutTooHigh.selector, Params.MAX_CUT + 1);
        delegation.setCut(Params.MAX_CUT + 1);
        fails(BunkerDelegation.CutUnchanged.selector, 1_000);
        delegation.setCut(1_000);
        fails(BunkerDelegation.NoNotice.selector);
        delegation.applyCut();
        uint40 from = uint40(block.timestamp) + Params.CUT_NOTICE;
        emits(address(delegation));
        emit BunkerDelegation.CutNoticed(alice, Params.MAX_CUT, from);
        delegation.setCut(Params.MAX_CUT);
        same(delegation.poolOf(alice).cutBps, 1_000, "not yet");
        vm.warp(from - 1);
        fails(BunkerDelegation.NoticeRunning.selector, from);
        delegation.applyCut();
        vm.warp(from);
        emits(address(delegation));
        emit BunkerDelegation.CutSet(alice, Params.MAX_CUT);
        delegation.applyCut();
        same(delegation.poolOf(alice).cutBps, Params.MAX_CUT, "now");
        fails(BunkerDelegation.NoNotice.selector);
        delegation.applyCut();
    }

    function test_ALowerCutActsAtOnce() public {
        vm.prank(alice);
        emits(address(delegation));
        emit BunkerDelegation.CutSet(alice, 0);
        delegation.setCut(0);
        same(delegation.poolOf(alice).cutBps, 0, "at once");
    }

    /// A notice must not wait in the drawer until delegators were attracted by a lower cut.
    function test_P12_ALowerCutWithdrawsTheNotice() public {
        vm.startPrank(alice);
        delegation.setCut(5_000);
        skip(Params.CUT_NOTICE);
        delegation.setCut(0);
        fails(BunkerDelegation.NoNotice.selector);
        delegation.applyCut();
        delegation.setCut(5_000);
        delegation.closePool();
        delegation.openPool(0);
        skip(Params.CUT_NOTICE);
        fails(BunkerDelegation.NoNotice.selector);
        delegation.applyCut();
    }

    // ---- delegators

    function test_DelegatingBuysShares() public {
        fund(bob, MIN, address(delegation));
        vm.prank(bob);
        emits(address(delegation));
        emit BunkerDelegation.Delegated(bob, alice, MIN, MIN);
        delegation.delegate(alice, MIN);
        same(delegation.atRisk(alice), MIN, "at risk");
        same(delegation.positionOf(bob, alice).shares, MIN, "shares");
        distribute(MIN);
        delegateAs(carol, 19 * MIN);
        same(delegation.positionOf(carol, alice).shares, 10 * MIN, "at the price of now: 1.9");
        (uint256 active,) = delegation.valueOf(carol, alice);
        same(active, 19 * MIN, "worth what was paid");
    }

    function test_DelegatingNeedsAnOpenPoolTheMinimumAnEligibleProviderAndRoom() public {
        fund(bob, 100 * STARTER, address(delegation));
        vm.startPrank(bob);
        fails(BunkerDelegation.PoolIsClosed.selector, carol);
        delegation.delegate(carol, MIN);
        fails(BunkerDelegation.BelowMinimum.selector, MIN - 1);
        delegation.delegate(alice, MIN - 1);
        delegation.openPool(0);
        fails(BunkerDelegation.ProviderNotEligible.selector, bob);
        delegation.delegate(bob, MIN);
        fails(BunkerDelegation.AboveRatio.selector, 10 * STARTER);
        delegation.delegate(alice, 10 * STARTER + 1);
        delegation.delegate(alice, 10 * STARTER - MIN);
        fails(BunkerDelegation.AboveRatio.selector, MIN);
        delegation.delegate(alice, MIN + 1);
        delegation.delegate(alice, MIN);
    }

    function test_NoRoomIsLeftWhenTheProviderShrank() public {
        stakeAs(alice, STARTER);
        delegateAs(bob, 20 * STARTER);
        vm.prank(alice);
        staking.thaw(STARTER);
        fund(bob, MIN, address(delegation));
        vm.prank(bob);
        fails(BunkerDelegation.AboveRatio.selector, 0);
        delegation.delegate(alice, MIN);
    }

    function test_ThawAndWithdraw() public {
        delegateAs(bob, 2 * MIN);
        uint40 until = uint40(block.timestamp) + Params.DELEGATION_THAW;
        vm.prank(bob);
        fails(BunkerDelegation.NothingThawing.selector);
        delegation.withdraw(alice);
        vm.prank(bob);
        emits(address(delegation));
        emit BunkerDelegation.ThawStarted(bob, alice, MIN, MIN, until);
        delegation.thaw(alice, MIN);
        same(delegation.atRisk(alice), 2 * MIN, "still at risk");
        (uint256 active, uint256 thawing) = delegation.valueOf(bob, alice);
        same(active, MIN, "active");
        same(thawing, MIN, "thawing");
        vm.warp(until - 1);
        vm.prank(bob);
        fails(BunkerDelegation.StillThawing.selector, until);
        delegation.withdraw(alice);
        vm.warp(until);
        vm.prank(bob);
        emits(address(delegation));
        emit BunkerDelegation.Withdrawn(bob, alice, MIN);
        delegation.withdraw(alice);
        same(token.balanceOf(bob), MIN, "paid");
        same(delegation.atRisk(alice), MIN, "the rest");
    }

    function test_AThawIsOfSharesHeldAndLeavesNothingOrTheMinimum() public {
        delegateAs(bob, 2 * MIN);
        vm.startPrank(bob);
        fails(BunkerDelegation.AmountIsZero.selector);
        delegation.thaw(alice, 0);
        fails(BunkerDelegation.AboveShares.selector, 2 * MIN);
        delegation.thaw(alice, 2 * MIN + 1);
        fails(BunkerDelegation.BelowMinimum.selector, MIN - 1);
        delegation.thaw(alice, MIN + 1);
        delegation.thaw(alice, MIN);
        delegation.thaw(alice, MIN);
        same(delegation.positionOf(bob, alice).shares, 0, "all");
    }

    function test_ThawingSharesEarnNothing() public {
        delegateAs(bob, MIN);
        delegateAs(carol, MIN);
        thawAs(bob, MIN);
        distribute(MIN);
        (, uint256 thawing) = delegation.valueOf(bob, alice);
        (uint256 active,) = delegation.valueOf(carol, alice);
        same(thawing, MIN, "bob");
        same(active, MIN + MIN * 9 / 10, "carol");
    }

    // ---- rewards

    function test_TheProviderGetsItsCut() public {
        delegateAs(bob, MIN);
        fund(stranger, 100, address(delegation));
        vm.prank(stranger);
        emits(address(delegation));
        emit BunkerDelegation.Distributed(stranger, alice, 10, 90);
        delegation.distribute(alice, 100);
        same(delegation.atRisk(alice), MIN + 90, "pool");
        same(delegation.earned(alice), 10, "cut");
        vm.prank(alice);
        emits(address(delegation));
        emit BunkerDelegation.EarnedWithdrawn(alice, 10);
        delegation.withdrawEarned();
        same(token.balanceOf(alice), 10, "paid");
        vm.prank(alice);
        fails(BunkerDelegation.NothingEarned.selector);
        delegation.withdrawEarned();
    }

    function test_NothingIsDistributedAndNotToNobody() public {
        fails(BunkerDelegation.PoolIsEmpty.selector, alice);
        delegation.distribute(alice, 1);
        delegateAs(bob, MIN);
        fails(BunkerDelegation.AmountIsZero.selector);
        delegation.distribute(alice, 0);
    }

    // ---- slashes

    function test_ASlashTakesActiveAndThawingAlike() public {
        delegateAs(bob, 2 * MIN);
        delegateAs(carol, 2 * MIN);
        thawAs(bob, MIN);
        vm.prank(address(staking));
        emits(address(delegation));
        emit BunkerDelegation.PoolSlashed(alice, 2 * MIN);
        same(delegation.slash(alice, 2 * MIN), 2 * MIN, "taken");
        (uint256 active, uint256 thawing) = delegation.valueOf(bob, alice);
        same(active, MIN / 2, "half of active");
        same(thawing, MIN / 2, "half of thawing");
        (active,) = delegation.valueOf(carol, alice);
        same(active, MIN, "half");
        same(token.balanceOf(address(staking)), STARTER + 2 * MIN, "handed over");
    }

    function test_OnlyTheStakingContractSlashes() public {
        fails(BunkerDelegation.NotStaking.selector, address(this));
        delegation.slash(alice, 1);
    }

    function test_APoolSlashedToNothingBeginsAnew() public {
        delegateAs(bob, 2 * MIN);
        thawAs(bob, MIN);
        slash(2 * MIN);
        BunkerDelegation.Position memory p = delegation.positionOf(bob, alice);
        same(uint256(p.shares) + p.thawing, 0, "void");
        vm.prank(bob);
        fails(BunkerDelegation.NothingThawing.selector);
        delegation.withdraw(alice);
        vm.prank(bob);
        fails(BunkerDelegation.AboveShares.selector, 0);
        delegation.thaw(alice, 1);
        delegateAs(carol, MIN);
        (uint256 active,) = delegation.valueOf(carol, alice);
        same(active, MIN, "not diluted by void shares");
        delegateAs(bob, MIN);
        (active,) = delegation.valueOf(bob, alice);
        same(active, MIN, "nor by his own");
        thawAs(bob, MIN);
        skip(Params.DELEGATION_THAW);
        withdrawAs(bob);
        same(token.balanceOf(bob), MIN, "whole");
    }

    /// What cannot be divided any more is taken too, so that later shares always fit their type.
    function test_CrumbsGoWithTheSlash() public {
        delegateAs(bob, 3 * MIN);
        thawAs(bob, MIN);
        uint256 all = 3 * MIN;
        uint256 keep = all / 10_000 - 10;
        same(slash(all - keep), all, "the crumbs too");
        same(delegation.atRisk(alice), 0, "nothing left");
        same(delegation.poolOf(alice).active.epoch, 1, "void");
        same(delegation.poolOf(alice).thawing.epoch, 1, "void");
    }

    function test_JustAboveCrumbsStays() public {
        delegateAs(bob, 2 * MIN);
        same(slash(2 * MIN - 2 * MIN / 10_000), 2 * MIN - 2 * MIN / 10_000, "exactly");
        same(delegation.poolOf(alice).active.epoch, 0, "alive");
        stakeAs(alice, STARTER);
        delegateAs(carol, 10 * STARTER);
        (uint256 active,) = delegation.valueOf(carol, alice);
        same(active, 10 * STARTER, "whole, at 10,000 shares a token");
    }

    function test_AnInflatedShareDoesNotRobLaterDelegators() public {
        delegateAs(bob, MIN);
        distribute(1_000_000_000 * BUNKER);
        stakeAs(alice, Params.PLATINUM);
        // Leaves as few shares as the minimum allows.
        uint256 price = delegation.atRisk(alice) / MIN;
        thawAs(bob, MIN - MIN / price - 1);
        distribute(1_000_000_000 * BUNKER);
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        uint256 enough = (1e12 * uint256(p.active.tokens) + p.active.shares - 1) / p.active.shares;
        fund(carol, enough, address(delegation));
        vm.startPrank(carol);
        fails(BunkerDelegation.TooFewShares.selector, 1e12 - 1);
        delegation.delegate(alice, enough - 1);
        delegation.delegate(alice, enough);
        same(
            delegation.positionOf(carol, alice).shares,
            1e12,
            "a millionth of a millionth is the most that rounding takes"
        );
    }

    function test_APauseStopsOnlyNewDelegations() public {
        delegateAs(bob, 2 * MIN);
        thawAs(bob, MIN);
        vm.prank(alice);
        delegation.setCut(2_000);
        skip(Params.DELEGATION_THAW);
        fund(bob, MIN, address(delegation));
        vm.prank(address(timelock));
        delegation.pause();
        uint40 until = delegation.pausedUntil();
        vm.prank(bob);
        fails(Pausable.IsPaused.selector, until);
        delegation.delegate(alice, MIN);
        withdrawAs(bob);
        same(token.balanceOf(bob), 2 * MIN, "what thawed is paid");
        distribute(MIN);
        slash(1);
        thawAs(bob, MIN);
        vm.startPrank(alice);
        delegation.withdrawEarned();
        delegation.applyCut();
        delegation.closePool();
        same(block.timestamp + Params.PAUSE, until, "all of it during the pause");
    }

    function test_AClosedPoolPaysOut() public {
        delegateAs(bob, MIN);
        vm.prank(alice);
        delegation.closePool();
        thawAs(bob, MIN);
        skip(Params.DELEGATION_THAW);
        withdrawAs(bob);
        same(token.balanceOf(bob), MIN, "paid");
    }

    /// Delegators come and go without a lifetime limit.
    function test_P8_DelegatingIsNotALifetimeBudget() public {
        for (uint256 i = 0; i < 50; ++i) {
            delegateAs(bob, MIN);
            thawAs(bob, MIN);
            skip(Params.DELEGATION_THAW);
            withdrawAs(bob);
        }
        same(token.balanceOf(bob), 50 * MIN, "paid each time");
    }

    function testFuzz_ASlashScalesAllAlike(uint256 a, uint256 b, uint256 t, uint256 amount) public {
        a = bound(a, 2 * MIN, 4 * STARTER);
        b = bound(b, MIN, 4 * STARTER);
        t = bound(t, 1, a - MIN);
        delegateAs(bob, a);
        delegateAs(carol, b);
        thawAs(bob, t);
        uint256 all = a + b;
        amount = bound(amount, 1, all - all / 1_000);
        slash(amount);
        (uint256 bobs, uint256 thawing) = delegation.valueOf(bob, alice);
        (uint256 carols,) = delegation.valueOf(carol, alice);
        near(bobs, (a - t) * (all - amount) / all);
        near(thawing, t * (all - amount) / all);
        near(carols, b * (all - amount) / all);
    }

    function near(uint256 got, uint256 want) private pure {
        atMost(got, want + 2, "above");
        atMost(want, got + 2, "below");
    }
}

/// Delegators of one pool, its provider, and slashes that reach it.
contract DelegationHandler is Base {
    address[3] internal people = [bob, carol, _named("dave")];
    uint256 internal noticed;
    address internal owner = msg.sender;

    constructor(System memory s) {
        adopt(s);
    }

    function delegate(uint256 who, uint256 amount) external {
        uint256 limit = Params.MAX_RATIO * staking.providerOf(alice).active;
        uint256 held = delegation.poolOf(alice).active.tokens;
        if (!delegation.poolOf(alice).open || limit < held + Params.MIN_DELEGATION) return;
        amount = bound(amount, Params.MIN_DELEGATION, limit - held);
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        if (p.active.shares != 0 && amount * p.active.shares / held < 1e12) return;
        (uint256 before,) = delegation.valueOf(person(who), alice);
        fund(person(who), amount, address(delegation));
        vm.prank(person(who));
        delegation.delegate(alice, amount);
        (uint256 worth,) = delegation.valueOf(person(who), alice);
        atMost(worth, before + amount, "(17) a deposit gains nothing");
        // One share of rounding, at 1e12 shares or more.
        atMost(before + amount, worth + amount / 1e11 + 2, "(17) and loses nothing");
    }

    function thaw(uint256 who, uint256 shares) external {
        BunkerDelegation.Position memory d = delegation.positionOf(person(who), alice);
        if (d.shares == 0) return;
        shares = bound(shares, 1, d.shares);
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        uint256 left = uint256(d.shares - shares) * p.active.tokens / p.active.shares;
        if (left < Params.MIN_DELEGATION) shares = d.shares;
        vm.prank(person(who));
        delegation.thaw(alice, shares);
    }

    function withdraw(uint256 who) external {
        BunkerDelegation.Position memory d = delegation.positionOf(person(who), alice);
        if (d.thawing == 0 || block.timestamp < d.thawUntil) return;
        (, uint256 worth) = delegation.valueOf(person(who), alice);
        uint256 before = token.balanceOf(person(who));
        vm.prank(person(who));
        delegation.withdraw(alice);
        same(token.balanceOf(person(who)) - before, worth, "paid what it is worth");
    }

    function distribute(uint256 amount) external {
        if (delegation.poolOf(alice).active.tokens == 0) return;
        amount = bound(amount, 1, 100_000 * BUNKER);
        fund(stranger, amount, address(delegation));
        vm.prank(stranger);
        delegation.distribute(alice, amount);
    }

    function slash(uint256 share) external {
        uint256 all = delegation.atRisk(alice);
        if (all == 0) return;
        uint256 amount = bound(share, 1, all);
        vm.prank(address(staking));
        delegation.slash(alice, amount);
    }

    /// (18)
    function setCut(uint16 cut) external {
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        cut = uint16(bound(cut, 0, Params.MAX_CUT));
        if (!p.open || cut == p.cutBps) return;
        vm.prank(alice);
        delegation.setCut(cut);
        atMost(delegation.poolOf(alice).cutBps, p.cutBps, "(18) raised at once");
        noticed = cut > p.cutBps ? block.timestamp : 0;
    }

    /// (18)
    function applyCut() external {
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        if (p.nextCutAt == 0 || block.timestamp < p.nextCutAt) return;
        vm.prank(alice);
        delegation.applyCut();
        check(noticed != 0 && block.timestamp >= noticed + 7 days, "(18) without a week's notice");
        noticed = 0;
    }

    function reopen(uint16 cut) external {
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        vm.startPrank(alice);
        delegation.closePool();
        delegation.openPool(uint16(bound(cut, 0, p.active.shares == 0 ? Params.MAX_CUT : p.cutBps)));
        vm.stopPrank();
        noticed = 0;
    }

    function wait(uint256 time) external {
        skip(bound(time, 1, 8 days));
    }

    function sums() external view returns (uint256 active, uint256 thawing) {
        for (uint256 i = 0; i < 3; ++i) {
            (uint256 a, uint256 t) = delegation.valueOf(people[i], alice);
            active += a;
            thawing += t;
        }
    }

    /// Everybody can always leave. Not a step of the fuzzer.
    function exitAll() external {
        if (msg.sender != owner) return;
        for (uint256 i = 0; i < 3; ++i) {
            uint112 shares = delegation.positionOf(people[i], alice).shares;
            if (shares == 0) continue;
            vm.prank(people[i]);
            delegation.thaw(alice, shares);
        }
        skip(Params.DELEGATION_THAW);
        for (uint256 i = 0; i < 3; ++i) {
            if (delegation.positionOf(people[i], alice).thawing == 0) continue;
            vm.prank(people[i]);
            delegation.withdraw(alice);
        }
    }

    function person(uint256 who) private view returns (address) {
        return people[who % 3];
    }
}

contract BunkerDelegationInvariants is Fixture {
    DelegationHandler private handler;

    function setUp() public override {
        super.setUp();
        stakeAs(alice, STARTER);
        vm.prank(alice);
        delegation.openPool(1_000);
        handler = new DelegationHandler(deployed());
        target(address(handler));
    }

    /// (17); (18) is in the handler.
    function invariant_SharesAreBacked() public view {
        BunkerDelegation.Pool memory p = delegation.poolOf(alice);
        (uint256 active, uint256 thawing) = handler.sums();
        atMost(active, p.active.tokens, "active");
        atMost(thawing, p.thawing.tokens, "thawing");
        uint256 held = uint256(p.active.tokens) + p.thawing.tokens + delegation.earned(alice);
        same(token.balanceOf(address(delegation)), held, "balance");
        atMost(p.active.shares, 10_000 * uint256(p.active.tokens), "shares per token");
        atMost(p.thawing.shares, 10_000 * uint256(p.thawing.tokens), "thawing shares per token");
    }

    function afterInvariant() public {
        handler.exitAll();
        same(delegation.atRisk(alice), 0, "nobody is left, nothing is left");
    }
}
