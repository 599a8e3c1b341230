// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerStaking} from "../src/BunkerStaking.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

/// Providers come, earn, leave, are accused and slashed, with delegators behind them, in any order and at any time.
contract StakingHandler is Base {
    address[4] internal providers = [alice, bob, carol, _named("dave")];
    address internal lender = _named("lender");
    uint256[] internal cases;

    uint256 public funded;
    uint256 public claimed;
    uint256 public taken;
    uint256 public distributed;
    uint256 public lastPerWeight;
    address internal owner = msg.sender;

    constructor(System memory s) {
        adopt(s);
    }

    // ---- providers

    function stake(uint256 who, uint256 amount) external {
        address p = provider(who);
        uint256 low = active(p) >= STARTER ? 1 : STARTER - active(p);
        amount = bound(amount, low, low + Params.GOLD);
        if (amount > token.balanceOf(treasury) / 4) return;
        stakeAs(p, amount);
        step();
    }

    function thaw(uint256 who, uint256 amount) external {
        address p = provider(who);
        uint256 all = active(p);
        if (all == 0) return;
        amount = all < 2 * STARTER ? all : bound(amount, 1, all - STARTER);
        vm.prank(p);
        staking.thaw(amount);
        step();
    }

    /// (8): every reason not to pay is tried; without a reason it pays to the wei.
    function withdraw(uint256 who) external {
        address p = provider(who);
        BunkerStaking.Provider memory s = staking.providerOf(p);
        uint256 before = token.balanceOf(p);
        if (s.thawing == 0) {
            fails(BunkerStaking.NothingThawing.selector);
        } else if (block.timestamp < s.thawUntil) {
            fails(BunkerStaking.StillThawing.selector, s.thawUntil);
        } else if (s.openCases != 0 && block.timestamp <= s.heldUntil) {
            fails(BunkerStaking.HasOpenCase.selector, s.openCases);
        } else if (block.timestamp < s.frozenUntil) {
            fails(BunkerStaking.IsFrozen.selector, s.frozenUntil);
        }
        vm.prank(p);
        staking.withdraw();
        uint256 paid = token.balanceOf(p) - before;
        check(paid == 0 || paid == s.thawing, "all that thawed");
        step();
    }

    function claim(uint256 who) external {
        address p = provider(who);
        uint256 want = staking.claimable(p);
        if (want == 0) return;
        vm.prank(p);
        uint256 got = staking.claim();
        same(got, want, "the view says what is paid");
        claimed += got;
        step();
    }

    function openPool(uint256 who) external {
        address p = provider(who);
        if (delegation.poolOf(p).open) return;
        vm.prank(p);
        delegation.openPool(0);
    }

    function lend(uint256 who, uint256 amount) external {
        address p = provider(who);
        uint256 limit = Params.MAX_RATIO * active(p);
        uint256 held = delegation.poolOf(p).active.tokens;
        if (!delegation.poolOf(p).open || !staking.eligible(p) || limit < held + Params.MIN_DELEGATION) return;
        amount = bound(amount, Params.MIN_DELEGATION, limit - held);
        if (amount > token.balanceOf(treasury) / 4) return;
        fund(lender, amount, address(delegation));
        vm.prank(lender);
        delegation.delegate(p, amount);
    }

    function fundRewards(uint256 amount) external {
        amount = bound(amount, Params.REWARD_EPOCH, Params.GOLD);
        if (amount > token.balanceOf(treasury) / 4) return;
        fund(rewarder, amount, address(staking));
        vm.prank(rewarder);
        staking.fundRewards(amount);
        funded += amount;
        step();
    }

    // ---- the court

    function openCase(uint256 who) external {
        address p = provider(who);
        BunkerStaking.Provider memory s = staking.providerOf(p);
        if (uint256(s.active) + s.thawing == 0) return;
        vm.prank(address(verification));
        cases.push(staking.openCase(p));
    }

    function closeCase(uint256 which) external {
        uint256 id = openOne(which);
        if (id == 0) return;
        vm.prank(address(verification));
        staking.closeCase(id);
    }

    function lapseCase(uint256 which) external {
        uint256 id = openOne(which);
        if (id == 0 || block.timestamp <= staking.resolveBy(id)) return;
        staking.lapseCase(id);
    }

    /// (7)
    function slash(uint256 which, uint256 bps) external {
        uint256 id = openOne(which);
        if (id == 0 || block.timestamp > staking.resolveBy(id)) return;
        address p = staking.caseOf(id).provider;
        BunkerStaking.Provider memory s = staking.providerOf(p);
        uint256 pool = delegation.atRisk(p);
        uint256 seized = staking.seized();
        vm.prank(address(verification));
        staking.slash(id, bound(bps, 1, 10_000));
        BunkerStaking.Provider memory t = staking.providerOf(p);
        uint256 own = uint256(s.active) + s.thawing - t.active - t.thawing;
        uint256 lent = pool - delegation.atRisk(p);
        same(staking.seized() - seized, own + lent, "seized is what is missing");
        check(lent == 0 || t.active + t.thawing == 0, "the pool pays after the provider");
        taken += own + lent;
        step();
    }

    function skim() external {
        uint256 amount = staking.seized();
        if (amount == 0) return;
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(treasury);
        staking.skim();
        same(supply - token.totalSupply() + token.balanceOf(treasury) - before, amount, "burnt and paid");
        distributed += amount;
    }

    function freeze(uint256 which) external {
        uint256 id = openOne(which);
        if (id == 0) return;
        uint40 until = staking.providerOf(staking.caseOf(id).provider).frozenUntil;
        if (until != 0 && block.timestamp < until + Params.FREEZE) return;
        vm.prank(address(verification));
        staking.freeze(id);
    }

    /// (10): what everybody has earned is the same before and after. What other steps need is set back.
    function govern(uint256 what) external {
        uint256[4] memory earned;
        for (uint256 i = 0; i < 4; ++i) {
            earned[i] = staking.claimable(providers[i]);
        }
        what = what % 5;
        vm.startPrank(address(timelock));
        if (what == 0) staking.setSuccessor(stranger);
        if (what == 1) staking.setRewarder(stranger);
        if (what == 2) staking.setCourt(stranger);
        if (what == 3) staking.setTreasury(stranger);
        if (what == 4) staking.pause();
        for (uint256 i = 0; i < 4; ++i) {
            same(staking.claimable(providers[i]), earned[i], "(10) a setting changed what was earned");
        }
        staking.setRewarder(rewarder);
        staking.setCourt(address(verification));
        staking.setTreasury(treasury);
        staking.unpause();
        vm.stopPrank();
    }

    function wait(uint256 time) external {
        skip(bound(time, 1, 5 days));
    }

    // ---- sums

    function sums() external view returns (uint256 act, uint256 thawing, uint256 weight, uint256 earned) {
        for (uint256 i = 0; i < 4; ++i) {
            BunkerStaking.Provider memory s = staking.providerOf(providers[i]);
            act += s.active;
            thawing += s.thawing;
            uint256[6] memory m = [uint256(0), 10_000, 10_500, 11_000, 11_500, 12_000];
            weight += s.active * m[s.tier];
            earned += staking.claimable(providers[i]);
        }
    }

    function tiersFollow() external view returns (bool) {
        for (uint256 i = 0; i < 4; ++i) {
            uint256 a = active(providers[i]);
            uint8 tier = a < 1e24 ? 0 : a < 5e24 ? 1 : a < 1e25 ? 2 : a < 1e26 ? 3 : a < 1e27 ? 4 : 5;
            if (staking.tierOf(providers[i]) != tier) return false;
        }
        return true;
    }

    /// (6): the court stays silent, everybody leaves. Not a step of the fuzzer.
    function exitAll() external {
        if (msg.sender != owner) return;
        skip(Params.CASE_LIFE + 1);
        for (uint256 i = 0; i < cases.length; ++i) {
            if (staking.resolveBy(cases[i]) != 0) staking.lapseCase(cases[i]);
        }
        for (uint256 i = 0; i < 4; ++i) {
            uint256 all = active(providers[i]);
            if (all == 0) continue;
            vm.prank(providers[i]);
            staking.thaw(all);
        }
        skip(Params.THAW);
        for (uint256 i = 0; i < 4; ++i) {
            uint256 due = staking.providerOf(providers[i]).thawing;
            if (due == 0) continue;
            uint256 before = token.balanceOf(providers[i]);
            vm.prank(providers[i]);
            staking.withdraw();
            same(token.balanceOf(providers[i]) - before, due, "paid in full");
            same(active(providers[i]) + staking.providerOf(providers[i]).thawing, 0, "out");
        }
        for (uint256 i = 0; i < 4; ++i) {
            if (staking.claimable(providers[i]) == 0) continue;
            vm.prank(providers[i]);
            staking.claim();
        }
    }

    function active(address p) private view returns (uint256) {
        return staking.providerOf(p).active;
    }

    function provider(uint256 who) private view returns (address) {
        return providers[who % 4];
    }

    function openOne(uint256 which) private view returns (uint256) {
        if (cases.length == 0) return 0;
        uint256 id = cases[which % cases.length];
        return staking.resolveBy(id) == 0 ? 0 : id;
    }

    /// (9)
    function step() private {
        (uint128 perWeight,,) = staking.stream();
        atMost(lastPerWeight, perWeight, "reward per weight fell");
        lastPerWeight = perWeight;
    }
}

contract BunkerStakingInvariants is Fixture {
    StakingHandler private handler;

    function setUp() public override {
        super.setUp();
        handler = new StakingHandler(deployed());
        target(address(handler));
    }

    /// (1) to (5), and (7) over all time; (7) to (10) are in the handler.
    function invariant_EverythingOwedIsHere() public view {
        (uint256 active, uint256 thawing, uint256 weight, uint256 earned) = handler.sums();
        (, uint128 reserve) = staking.pot();
        (uint112 totalActive, uint112 totalWeight) = staking.totals();
        same(
            token.balanceOf(address(staking)), active + thawing + reserve + staking.seized(), "(1) solvent, to the wei"
        );
        same(totalActive, active, "(2) active");
        same(totalWeight, weight, "(3) weight");
        atMost(earned, reserve, "(4) earned");
        check(handler.tiersFollow(), "(5) tiers");
        same(handler.taken(), handler.distributed() + staking.seized(), "(7) slashed is burnt or paid");
        same(reserve, handler.funded() - handler.claimed(), "funded and not claimed");
    }

    /// (6)
    function afterInvariant() public {
        handler.exitAll();
        (, uint128 reserve) = staking.pot();
        same(token.balanceOf(address(staking)), reserve + staking.seized(), "only rewards and slashes remain");
    }
}
