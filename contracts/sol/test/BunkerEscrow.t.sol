// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {BunkerEscrow} from "../src/BunkerEscrow.sol";
import {Governed, Pausable} from "../src/Governed.sol";
import {IReputation, Kind} from "../src/Interfaces.sol";
import {Params} from "../src/Params.sol";
import {Fixture} from "./Base.sol";

/// A wallet that is a contract: its owner's signature is its own.
contract ContractWallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata s) external view returns (bytes4) {
        address signer = ecrecover(digest, uint8(s[64]), bytes32(s[0:32]), bytes32(s[32:64]));
        return signer == OWNER ? this.isValidSignature.selector : bytes4(0);
    }
}

contract BunkerEscrowTest is Fixture {
    uint32 internal constant HOUR = 1 hours;
    uint32 internal constant DAY = 1 days;
    uint32 internal constant LONGEST = 60 days;
    bytes16 internal constant DEPLOYMENT = bytes16("deployment");
    uint112[3] internal RATES = [uint112(1e15), 2e15, 3e15];
    uint256 internal constant ALL_RATES = 6e15;

    address internal requester = _named("requester");
    address[3] internal providers = [alice, bob, carol];
    string[3] internal names = ["alice", "bob", "carol"];
    bytes32 internal job;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 3; ++i) {
            stakeAs(providers[i], STARTER);
        }
        fund(requester, 1_000_000 * BUNKER, address(escrow));
        job = escrow.jobIdOf(requester, DEPLOYMENT);
    }

    function bids() internal view returns (BunkerEscrow.Bid[3] memory b) {
        for (uint256 i = 0; i < 3; ++i) {
            b[i] = BunkerEscrow.Bid(job, providers[i], RATES[i], LONGEST, uint64(block.timestamp));
        }
    }

    function sign(BunkerEscrow.Bid[3] memory b) internal view returns (bytes[3] memory s) {
        for (uint256 i = 0; i < 3; ++i) {
            s[i] = signed(keyOf(names[i]), escrow.bidDigest(b[i]));
        }
    }

    function open(uint32 duration) internal {
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        escrow.open(DEPLOYMENT, "spec", duration, b, s);
    }

    function refused(BunkerEscrow.Bid[3] memory b, bytes memory why) internal {
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        vm.expectRevert(why);
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
    }

    function voucher(uint256 seat, uint32 uptime)
        internal
        view
        returns (BunkerEscrow.UsageVoucher memory v, bytes memory s)
    {
        v = BunkerEscrow.UsageVoucher(job, providers[seat], uptime, 1);
        s = signed(keyOf("requester"), voucherDigest(v));
    }

    function settle(uint256 seat, uint32 uptime) internal {
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(seat, uptime);
        escrow.settle(v, s);
    }

    function propose(uint256 seat, uint32 uptime) internal {
        vm.prank(providers[seat]);
        escrow.proposeUptime(job, uptime);
    }

    function disputeAs(address who, uint256 seat) internal {
        vm.prank(who);
        escrow.dispute(job, providers[seat]);
    }

    function net(uint256 amount) internal pure returns (uint256) {
        return amount - amount * Params.FEE / Params.BPS;
    }

    // ---- open

    function test_OpenTakesTheDepositAndStarts() public {
        uint256 before = token.balanceOf(requester);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        emits(address(escrow));
        emit BunkerEscrow.Opened(job, requester, "spec", HOUR, ALL_RATES * HOUR, Params.FEE, providers);
        check(escrow.open(DEPLOYMENT, "spec", HOUR, b, s) == job, "id");
        BunkerEscrow.Job memory j = escrow.jobOf(job);
        same(j.requester, requester, "requester");
        same(j.start, block.timestamp, "start");
        same(j.duration, HOUR, "duration");
        same(j.feeBps, Params.FEE, "fee");
        same(j.maxDuration, LONGEST, "longest");
        same(j.seats[2].provider, carol, "seat");
        same(j.seats[2].rate, RATES[2], "rate");
        same(before - token.balanceOf(requester), ALL_RATES * HOUR, "deposit");
        same(escrow.remainingOf(job), ALL_RATES * HOUR, "remaining");
    }

    function test_TheIdIsOfRequesterAndDeployment() public view {
        check(escrow.jobIdOf(alice, "a") == keccak256(abi.encode(alice, bytes16("a"))), "as published");
    }

    function test_ABidDigestIsAsPublished() public view {
        BunkerEscrow.Bid memory b = bids()[0];
        bytes32 typehash =
            keccak256("Bid(bytes32 jobId,address provider,uint112 ratePerSec,uint32 maxDuration,uint64 expiresAt)");
        bytes32 structHash =
            keccak256(abi.encode(typehash, b.jobId, b.provider, b.ratePerSec, b.maxDuration, b.expiresAt));
        check(escrow.bidDigest(b) == typedDigest(domainOf("BunkerEscrow", address(escrow)), structHash), "EIP-712");
    }

    function test_ASecondOpenIsRefused() public {
        open(HOUR);
        BunkerEscrow.Bid[3] memory b = bids();
        refused(b, abi.encodeWithSelector(BunkerEscrow.JobExists.selector, job));
        skip(10 days);
        escrow.close(job);
        b = bids();
        refused(b, abi.encodeWithSelector(BunkerEscrow.JobExists.selector, job));
    }

    function test_ADurationIsNotZeroNorAboveTheShortestBid() public {
        BunkerEscrow.Bid[3] memory b = bids();
        b[1].maxDuration = HOUR;
        bytes[3] memory s = sign(b);
        vm.startPrank(requester);
        fails(BunkerEscrow.DurationIsZero.selector);
        escrow.open(DEPLOYMENT, "spec", 0, b, s);
        fails(BunkerEscrow.DurationAboveBid.selector, HOUR);
        escrow.open(DEPLOYMENT, "spec", HOUR + 1, b, s);
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
    }

    function test_ThreeDifferentProviders() public {
        bytes memory why = abi.encodeWithSelector(BunkerEscrow.ProvidersNotDistinct.selector);
        BunkerEscrow.Bid[3] memory b = bids();
        b[1].provider = alice;
        refused(b, why);
        b = bids();
        b[2].provider = alice;
        refused(b, why);
        b = bids();
        b[2].provider = bob;
        refused(b, why);
    }

    function test_EachBidIsForThisJobUnexpiredAtARateAndSigned() public {
        for (uint256 i = 0; i < 3; ++i) {
            BunkerEscrow.Bid[3] memory b = bids();
            b[i].jobId = "other";
            refused(b, abi.encodeWithSelector(BunkerEscrow.BidForOtherJob.selector, i));
            b = bids();
            b[i].expiresAt -= 1;
            refused(b, abi.encodeWithSelector(BunkerEscrow.BidExpired.selector, i));
            b = bids();
            b[i].ratePerSec = 0;
            refused(b, abi.encodeWithSelector(BunkerEscrow.RateIsZero.selector, i));
            b = bids();
            bytes[3] memory s = sign(b);
            b[i].ratePerSec -= 1;
            vm.prank(requester);
            fails(BunkerEscrow.BidSignatureInvalid.selector, i);
            escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
        }
    }

    function test_ARateOfMoreThan96BitsIsRefused() public {
        BunkerEscrow.Bid[3] memory b = bids();
        b[0].ratePerSec = uint112(type(uint96).max) + 1;
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        vm.expectPartialRevert(bytes4(keccak256("SafeCastOverflowedUintDowncast(uint8,uint256)")));
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
    }

    function test_GarbageIsNoSignature() public {
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        s[0] = "";
        vm.prank(requester);
        fails(BunkerEscrow.BidSignatureInvalid.selector, 0);
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
    }

    function test_ARequesterDoesNotServeItself() public {
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        b[0].jobId = b[1].jobId = b[2].jobId = escrow.jobIdOf(alice, DEPLOYMENT);
        s = sign(b);
        vm.prank(alice);
        fails(BunkerEscrow.ProviderIsRequester.selector);
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
    }

    function test_AProviderWithoutStakeIsRefused() public {
        vm.prank(bob);
        staking.thaw(STARTER);
        BunkerEscrow.Bid[3] memory b = bids();
        refused(b, abi.encodeWithSelector(BunkerEscrow.ProviderNotEligible.selector, bob));
    }

    function test_AContractWalletBidsAndRequests() public {
        ContractWallet wallet = new ContractWallet(alice);
        ContractWallet buyer = new ContractWallet(requester);
        fund(address(buyer), 1000 * BUNKER, address(escrow));
        fund(address(wallet), STARTER, address(staking));
        vm.prank(address(wallet));
        staking.stake(STARTER);
        providers[0] = address(wallet);
        job = escrow.jobIdOf(address(buyer), DEPLOYMENT);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(address(buyer));
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
        skip(10);
        settle(0, 10);
        same(escrow.owed(address(wallet)), net(10 * RATES[0]), "paid");
        BunkerEscrow.UsageVoucher memory v = BunkerEscrow.UsageVoucher(job, bob, 5, 1);
        bytes memory other = signed(keyOf("bob"), voucherDigest(v));
        fails(BunkerEscrow.VoucherSignatureInvalid.selector);
        escrow.settle(v, other);
    }

    function permit(uint256 value) internal returns (BunkerEscrow.Permit memory) {
        vm.prank(requester);
        token.approve(address(escrow), 0);
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typehash, requester, address(escrow), value, 0, block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("requester"), typedDigest(token.DOMAIN_SEPARATOR(), structHash));
        return BunkerEscrow.Permit(value, block.timestamp, v, r, s);
    }

    function test_APermitIsTheAllowance() public {
        BunkerEscrow.Permit memory p = permit(ALL_RATES * HOUR);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        escrow.openWithPermit(DEPLOYMENT, "spec", HOUR, b, s, p);
        same(escrow.remainingOf(job), ALL_RATES * HOUR, "open");
        same(token.allowance(requester, address(escrow)), 0, "used");
    }

    function test_APermitThatSomebodyUsedUpFirstIsNoFailure() public {
        BunkerEscrow.Permit memory p = permit(ALL_RATES * HOUR);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        token.permit(requester, address(escrow), p.value, p.deadline, p.v, p.r, p.s);
        vm.prank(requester);
        escrow.openWithPermit(DEPLOYMENT, "spec", HOUR, b, s, p);
        same(escrow.remainingOf(job), ALL_RATES * HOUR, "open");
    }

    function test_APermitThatIsWrongGivesNothing() public {
        BunkerEscrow.Permit memory p = permit(ALL_RATES * HOUR);
        p.value += 1;
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientAllowance.selector, address(escrow), 0, ALL_RATES * HOUR
            )
        );
        escrow.openWithPermit(DEPLOYMENT, "spec", HOUR, b, s, p);
    }

    // ---- vouchers

    function test_AVoucherPaysTheDifference() public {
        open(HOUR);
        skip(600);
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, 500);
        uint256 amount = 500 * uint256(RATES[0]);
        emits(address(escrow));
        emit BunkerEscrow.VoucherUsed(job, alice, 1);
        emits(address(escrow));
        emit BunkerEscrow.Settled(job, alice, 500, net(amount), amount - net(amount));
        escrow.settle(v, s);
        same(escrow.owed(alice), net(amount), "owed");
        same(escrow.fees(), amount - net(amount), "fee");
        settle(0, 600);
        same(escrow.owed(alice), net(amount) + net(100 * uint256(RATES[0])), "the difference");
        same(escrow.jobOf(job).settled[0], 600, "settled");
        same(escrow.jobOf(job).settled[1], 0, "others are not touched");
    }

    function test_AReplayOrAnOlderVoucherPaysNothing() public {
        open(HOUR);
        skip(600);
        settle(0, 500);
        for (uint32 uptime = 499; uptime <= 500; ++uptime) {
            (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, uptime);
            fails(BunkerEscrow.VoucherNotNewer.selector, 500);
            escrow.settle(v, s);
        }
    }

    function test_NobodyIsPaidForTheFuture() public {
        open(HOUR);
        skip(600);
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, 601);
        fails(BunkerEscrow.MoreThanElapsed.selector, 600);
        escrow.settle(v, s);
        skip(DAY);
        (v, s) = voucher(0, HOUR + 1);
        fails(BunkerEscrow.MoreThanElapsed.selector, HOUR);
        escrow.settle(v, s);
    }

    function test_OnlyTheRequesterSignsVouchers() public {
        open(HOUR);
        skip(600);
        (BunkerEscrow.UsageVoucher memory v,) = voucher(0, 1);
        bytes memory s = signed(keyOf("alice"), voucherDigest(v));
        fails(BunkerEscrow.VoucherSignatureInvalid.selector);
        escrow.settle(v, s);
    }

    function test_AVoucherForAStrangerIsRefused() public {
        open(HOUR);
        providers[0] = stranger;
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, 1);
        fails(BunkerEscrow.NotProviderOfJob.selector, stranger);
        escrow.settle(v, s);
    }

    function test_UnknownJobsAreRefusedEverywhere() public {
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, 1);
        bytes memory why = abi.encodeWithSelector(BunkerEscrow.JobNotOpen.selector, job);
        vm.expectRevert(why);
        escrow.settle(v, s);
        vm.expectRevert(why);
        escrow.proposeUptime(job, 1);
        vm.expectRevert(why);
        escrow.finalizeUptime(job, alice);
        vm.expectRevert(why);
        escrow.dispute(job, alice);
        vm.expectRevert(why);
        vm.prank(arbiter);
        escrow.resolve(job, alice, 1);
        vm.expectRevert(why);
        escrow.timeoutDispute(job, alice);
        vm.expectRevert(why);
        escrow.topUp(job, 1);
        vm.expectRevert(why);
        escrow.stop(job);
        vm.expectRevert(why);
        escrow.close(job);
        same(escrow.remainingOf(job), 0, "nothing");
    }

    // ---- proposals

    function test_AnUndisputedProposalIsPaidAfterADay() public {
        open(HOUR);
        skip(600);
        uint40 until = uint40(block.timestamp) + Params.CHALLENGE;
        vm.prank(alice);
        emits(address(escrow));
        emit BunkerEscrow.UptimeProposed(job, alice, 600, until);
        escrow.proposeUptime(job, 600);
        same(escrow.jobOf(job).pending, 1, "pending");
        same(escrow.proposalOf(job, alice).uptimeSeconds, 600, "proposed");
        vm.warp(until - 1);
        fails(BunkerEscrow.ChallengeRunning.selector, until);
        escrow.finalizeUptime(job, alice);
        vm.warp(until);
        escrow.finalizeUptime(job, alice);
        same(escrow.owed(alice), net(600 * uint256(RATES[0])), "paid");
        same(escrow.jobOf(job).pending, 0, "done");
        fails(BunkerEscrow.NothingProposed.selector);
        escrow.finalizeUptime(job, alice);
    }

    function test_AProposalIsOfAProviderNewerElapsedOneAtATimeAndInTime() public {
        open(HOUR);
        skip(600);
        settle(0, 100);
        vm.prank(stranger);
        fails(BunkerEscrow.NotProviderOfJob.selector, stranger);
        escrow.proposeUptime(job, 1);
        vm.startPrank(alice);
        fails(BunkerEscrow.VoucherNotNewer.selector, 100);
        escrow.proposeUptime(job, 100);
        fails(BunkerEscrow.MoreThanElapsed.selector, 600);
        escrow.proposeUptime(job, 601);
        escrow.proposeUptime(job, 600);
        fails(BunkerEscrow.ProposalPending.selector);
        escrow.proposeUptime(job, 600);
        vm.stopPrank();
        uint256 end = uint256(escrow.jobOf(job).start) + HOUR + Params.CLAIM;
        vm.warp(end - 1);
        propose(1, HOUR);
        vm.warp(end);
        vm.prank(carol);
        fails(BunkerEscrow.ClaimsClosed.selector, end);
        escrow.proposeUptime(job, HOUR);
    }

    function test_AVoucherBesideAProposalIsNotPaidTwice() public {
        open(HOUR);
        skip(600);
        propose(0, 500);
        settle(0, 600);
        skip(DAY);
        escrow.finalizeUptime(job, alice);
        same(escrow.owed(alice), net(600 * uint256(RATES[0])), "once");
        same(escrow.jobOf(job).pending, 0, "done");
    }

    // ---- disputes

    function test_OnlyTheRequesterDisputesAndInTime() public {
        open(HOUR);
        skip(600);
        vm.prank(requester);
        fails(BunkerEscrow.NothingProposed.selector);
        escrow.dispute(job, alice);
        propose(0, 600);
        uint40 until = uint40(block.timestamp) + Params.CHALLENGE;
        vm.prank(bob);
        fails(BunkerEscrow.NotRequester.selector, bob);
        escrow.dispute(job, alice);
        vm.warp(until);
        vm.prank(requester);
        fails(BunkerEscrow.ChallengeOver.selector, until);
        escrow.dispute(job, alice);
        vm.warp(until - 1);
        vm.prank(requester);
        emits(address(escrow));
        emit BunkerEscrow.Disputed(job, alice, until - 1 + Params.RESOLVE);
        escrow.dispute(job, alice);
        vm.prank(requester);
        fails(BunkerEscrow.NothingProposed.selector);
        escrow.dispute(job, alice);
        fails(BunkerEscrow.NothingProposed.selector);
        escrow.finalizeUptime(job, alice);
    }

    function test_TheArbiterGrantsAtMostWhatWasProposed() public {
        open(HOUR);
        skip(600);
        propose(0, 600);
        vm.prank(arbiter);
        fails(BunkerEscrow.NotDisputed.selector);
        escrow.resolve(job, alice, 1);
        disputeAs(requester, 0);
        vm.prank(requester);
        fails(BunkerEscrow.NotArbiter.selector, requester);
        escrow.resolve(job, alice, 1);
        vm.startPrank(arbiter);
        fails(BunkerEscrow.MoreThanProposed.selector, 600);
        escrow.resolve(job, alice, 601);
        emits(address(escrow));
        emit BunkerEscrow.Resolved(job, alice, 400);
        escrow.resolve(job, alice, 400);
        same(escrow.owed(alice), net(400 * uint256(RATES[0])), "granted");
        vm.stopPrank();
        propose(1, 600);
        disputeAs(requester, 1);
        vm.prank(arbiter);
        escrow.resolve(job, bob, 600);
        same(escrow.owed(bob), net(600 * uint256(RATES[1])), "all of it");
    }

    function test_TheArbiterCannotTakeBackWhatWasSettled() public {
        open(HOUR);
        skip(600);
        propose(0, 600);
        disputeAs(requester, 0);
        settle(0, 300);
        vm.prank(arbiter);
        escrow.resolve(job, alice, 0);
        same(escrow.owed(alice), net(300 * uint256(RATES[0])), "the voucher stays");
    }

    function test_ASilentArbiterSplitsTheDisputedPart() public {
        open(HOUR);
        skip(600);
        fails(BunkerEscrow.NotDisputed.selector);
        escrow.timeoutDispute(job, alice);
        settle(0, 100);
        propose(0, 600);
        disputeAs(requester, 0);
        uint40 until = uint40(block.timestamp) + Params.RESOLVE;
        vm.warp(until - 1);
        fails(BunkerEscrow.DisputeRunning.selector, until);
        escrow.timeoutDispute(job, alice);
        vm.warp(until);
        vm.prank(arbiter);
        fails(BunkerEscrow.DisputeOver.selector, until);
        escrow.resolve(job, alice, 600);
        emits(address(escrow));
        emit BunkerEscrow.DisputeTimedOut(job, alice, 350);
        escrow.timeoutDispute(job, alice);
        same(escrow.jobOf(job).settled[0], 350, "half of what was open");
    }

    function test_ATimeoutAfterABetterVoucherPaysNothingMore() public {
        open(HOUR);
        skip(600);
        propose(0, 400);
        disputeAs(requester, 0);
        settle(0, 500);
        skip(Params.RESOLVE);
        escrow.timeoutDispute(job, alice);
        same(escrow.jobOf(job).settled[0], 500, "as the voucher said");
        same(escrow.jobOf(job).pending, 0, "done");
    }

    // ---- top up, stop, close

    function test_ATopUpBuysTimeAtTheSameRates() public {
        open(HOUR);
        skip(10);
        uint256 before = token.balanceOf(requester);
        vm.prank(requester);
        emits(address(escrow));
        emit BunkerEscrow.ToppedUp(job, 2 * HOUR, ALL_RATES * HOUR);
        escrow.topUp(job, HOUR);
        same(before - token.balanceOf(requester), ALL_RATES * HOUR, "paid");
        same(escrow.remainingOf(job), 2 * ALL_RATES * HOUR, "remaining");
    }

    function test_ATopUpIsOfTheRequesterWithinTheBidsAndBeforeTheEnd() public {
        open(HOUR);
        vm.prank(bob);
        fails(BunkerEscrow.NotRequester.selector, bob);
        escrow.topUp(job, 1);
        vm.startPrank(requester);
        fails(BunkerEscrow.DurationIsZero.selector);
        escrow.topUp(job, 0);
        fails(BunkerEscrow.DurationAboveBid.selector, LONGEST);
        escrow.topUp(job, LONGEST - HOUR + 1);
        uint256 end = block.timestamp + HOUR;
        vm.warp(end);
        fails(BunkerEscrow.JobHasEnded.selector, end);
        escrow.topUp(job, 1);
        vm.warp(end - 1);
        escrow.topUp(job, LONGEST - HOUR);
    }

    function test_StopCreditsTheTimeToCome() public {
        open(HOUR);
        skip(600);
        vm.prank(bob);
        fails(BunkerEscrow.NotRequester.selector, bob);
        escrow.stop(job);
        vm.startPrank(requester);
        emits(address(escrow));
        emit BunkerEscrow.Stopped(job, 600, ALL_RATES * (HOUR - 600));
        escrow.stop(job);
        same(escrow.owed(requester), ALL_RATES * (HOUR - 600), "credited");
        fails(BunkerEscrow.JobHasEnded.selector, block.timestamp);
        escrow.stop(job);
        vm.stopPrank();
        skip(100);
        settle(0, 600);
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(1, 601);
        fails(BunkerEscrow.MoreThanElapsed.selector, 600);
        escrow.settle(v, s);
    }

    function test_CloseWaitsForClaimsAndCreditsTheRest() public {
        open(HOUR);
        uint256 until = block.timestamp + HOUR + Params.CLAIM;
        skip(HOUR);
        settle(0, HOUR);
        propose(1, HOUR / 2);
        fails(BunkerEscrow.ClaimsPending.selector, 1);
        escrow.close(job);
        vm.warp(until - 1);
        fails(BunkerEscrow.ClaimsPending.selector, 1);
        escrow.close(job);
        vm.warp(until);
        escrow.finalizeUptime(job, bob);
        uint256 rest = HOUR / 2 * uint256(RATES[1]) + HOUR * uint256(RATES[2]);
        emits(address(escrow));
        emit BunkerEscrow.Closed(job, rest);
        escrow.close(job);
        same(escrow.owed(requester), rest, "the dead one and the half");
        same(escrow.remainingOf(job), 0, "nothing left");
        fails(BunkerEscrow.JobNotOpen.selector, uint256(job));
        escrow.close(job);
    }

    function test_CloseWaitsUntilTheClaimsAreOver() public {
        open(HOUR);
        uint256 until = block.timestamp + HOUR + Params.CLAIM;
        vm.warp(until - 1);
        fails(BunkerEscrow.ClaimsOpen.selector, until);
        escrow.close(job);
        vm.warp(until);
        escrow.close(job);
    }

    function test_AFullySettledJobClosesAtOnce() public {
        open(HOUR);
        skip(HOUR);
        for (uint256 i = 0; i < 3; ++i) {
            settle(i, HOUR);
        }
        escrow.close(job);
        same(escrow.owed(requester), 0, "nothing back");
    }

    function test_BalancesAddUpToTheWei() public {
        uint256 before = token.balanceOf(requester);
        open(HOUR);
        skip(HOUR);
        settle(0, HOUR);
        settle(1, 1234);
        skip(Params.CLAIM);
        escrow.close(job);
        uint256 paid = HOUR * uint256(RATES[0]) + 1234 * uint256(RATES[1]);
        vm.prank(requester);
        escrow.withdraw();
        vm.prank(alice);
        emits(address(escrow));
        emit BunkerEscrow.Withdrawn(alice, net(HOUR * uint256(RATES[0])));
        escrow.withdraw();
        vm.prank(bob);
        escrow.withdraw();
        same(token.balanceOf(alice), net(HOUR * uint256(RATES[0])), "alice");
        same(token.balanceOf(bob), net(1234 * uint256(RATES[1])), "bob");
        same(token.balanceOf(requester), before - paid, "requester");
        uint256 fee = paid - token.balanceOf(alice) - token.balanceOf(bob);
        same(token.balanceOf(address(escrow)), fee, "only fees are left");
        uint256 supply = token.totalSupply();
        uint256 atTreasury = token.balanceOf(treasury);
        uint256 burnt = fee * 8_000 / 10_000;
        emits(address(escrow));
        emit BunkerEscrow.Skimmed(burnt, fee - burnt);
        escrow.skim();
        same(supply - token.totalSupply(), burnt, "80 % burnt");
        same(token.balanceOf(treasury) - atTreasury, fee - burnt, "20 % to the treasury");
        same(token.balanceOf(address(escrow)), 0, "empty");
        fails(BunkerEscrow.NothingOwed.selector);
        escrow.skim();
        vm.prank(carol);
        fails(BunkerEscrow.NothingOwed.selector);
        escrow.withdraw();
        vm.prank(alice);
        fails(BunkerEscrow.NothingOwed.selector);
        escrow.withdraw();
    }

    // ---- reputation

    function test_ClosingReportsServedAndUnserved() public {
        open(HOUR);
        skip(HOUR);
        settle(0, HOUR * 95 / 100);
        settle(1, HOUR * 95 / 100 - 1);
        skip(Params.CLAIM);
        escrow.close(job);
        same(reputation.scoreOf(alice), 405, "served");
        same(reputation.scoreOf(bob), 400, "not enough to tell");
        same(reputation.scoreOf(carol), 390, "never there");
    }

    function test_ALongJobProvesUptime() public {
        open(30 days);
        skip(30 days);
        settle(0, 30 days);
        skip(Params.CLAIM);
        escrow.close(job);
        same(reputation.scoreOf(alice), 420, "proven");
    }

    function test_AShortJobLeavesNoTrace() public {
        open(HOUR - 1);
        skip(HOUR);
        settle(0, HOUR - 1);
        skip(Params.CLAIM);
        escrow.close(job);
        same(reputation.scoreOf(alice), 400, "served");
        same(reputation.scoreOf(carol), 400, "unserved");
    }

    function test_ABrokenReputationDoesNotHoldTheMoney() public {
        open(HOUR);
        vm.prank(address(timelock));
        reputation.setReporter(address(escrow), false);
        skip(HOUR);
        settle(0, HOUR);
        skip(Params.CLAIM);
        emits(address(escrow));
        emit BunkerEscrow.ReputationUnreachable(job, alice);
        escrow.close(job);
        check(escrow.owed(requester) != 0, "closed");
    }

    /// With too little gas for the report the close fails as a whole.
    function testFuzz_AReportCannotBeStarved(uint256 gas_) public {
        open(HOUR);
        skip(HOUR + Params.CLAIM);
        gas_ = bound(gas_, 30_000, 400_000);
        (bool ok,) = address(escrow).call{gas: gas_}(abi.encodeCall(BunkerEscrow.close, (job)));
        check(ok || gas_ < 350_000, "enough to close");
        if (!ok) return;
        for (uint256 i = 0; i < 3; ++i) {
            same(reputation.scoreOf(providers[i]), 390, "reported");
        }
    }

    // ---- governance

    function test_GovernanceSetsFeeArbiterTreasury() public {
        vm.startPrank(address(timelock));
        fails(BunkerEscrow.FeeTooHigh.selector, Params.MAX_FEE + 1);
        escrow.setFee(Params.MAX_FEE + 1);
        emits(address(escrow));
        emit BunkerEscrow.FeeSet(Params.MAX_FEE);
        escrow.setFee(Params.MAX_FEE);
        same(escrow.feeBps(), Params.MAX_FEE, "fee");
        emits(address(escrow));
        emit BunkerEscrow.ArbiterSet(bob);
        escrow.setArbiter(bob);
        same(escrow.arbiter(), bob, "arbiter");
        emits(address(escrow));
        emit BunkerEscrow.TreasurySet(bob);
        escrow.setTreasury(bob);
        same(escrow.treasury(), bob, "treasury");
        fails(BunkerEscrow.AddressIsZero.selector);
        escrow.setArbiter(address(0));
        fails(BunkerEscrow.AddressIsZero.selector);
        escrow.setTreasury(address(0));
    }

    function test_ANewFeeIsForNewJobs() public {
        open(HOUR);
        vm.prank(address(timelock));
        escrow.setFee(0);
        skip(100);
        settle(0, 100);
        same(escrow.owed(alice), net(100 * uint256(RATES[0])), "the fee of the beginning");
    }

    function test_APauseStopsOnlyNewMoney() public {
        open(HOUR);
        vm.prank(address(timelock));
        escrow.pause();
        uint40 until = escrow.pausedUntil();
        vm.prank(requester);
        fails(Pausable.IsPaused.selector, until);
        escrow.topUp(job, 1);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        fails(Pausable.IsPaused.selector, until);
        escrow.open("other", "spec", HOUR, b, s);
        skip(100);
        settle(0, 100);
        propose(1, 100);
        propose(2, 100);
        disputeAs(requester, 1);
        vm.prank(arbiter);
        escrow.resolve(job, bob, 50);
        vm.prank(requester);
        escrow.stop(job);
        skip(Params.CLAIM);
        escrow.finalizeUptime(job, carol);
        escrow.close(job);
        vm.prank(alice);
        escrow.withdraw();
        escrow.skim();
        check(block.timestamp < until, "all of it during the pause");
    }

    function test_APauseDoesNotKeepASilentArbitersDisputeOpen() public {
        open(HOUR);
        skip(100);
        propose(1, 100);
        disputeAs(requester, 1);
        skip(Params.RESOLVE);
        vm.prank(address(timelock));
        escrow.pause();
        escrow.timeoutDispute(job, bob);
        same(escrow.owed(bob), net(50 * uint256(RATES[1])), "half");
    }

    // ---- what must not come back

    /// Time alone pays nobody, and the requester's word bounds what is paid.
    function test_P13_PaymentFollowsUptimeNotTheClock() public {
        open(HOUR);
        skip(HOUR);
        settle(0, HOUR / 10);
        propose(0, HOUR);
        disputeAs(requester, 0);
        vm.prank(arbiter);
        escrow.resolve(job, alice, HOUR / 10);
        skip(Params.CLAIM);
        escrow.close(job);
        same(escrow.owed(alice), net(HOUR / 10 * uint256(RATES[0])), "10 %");
        same(escrow.owed(bob) + escrow.owed(carol), 0, "who claims nothing gets nothing");
    }

    /// A top-up is for the time to come.
    function test_P18_ATopUpIsNotPaidForThePast() public {
        open(HOUR);
        skip(HOUR - 1);
        vm.prank(requester);
        escrow.topUp(job, LONGEST - HOUR);
        (BunkerEscrow.UsageVoucher memory v, bytes memory s) = voucher(0, HOUR);
        fails(BunkerEscrow.MoreThanElapsed.selector, HOUR - 1);
        escrow.settle(v, s);
        settle(0, HOUR - 1);
        same(escrow.owed(alice), net((HOUR - 1) * uint256(RATES[0])), "the elapsed time at the rate of the bid");
    }

    // ---- gas

    function test_GasOfAJob() public {
        fund(address(escrow), 1, stranger);
        fund(alice, 1, stranger);
        BunkerEscrow.Bid[3] memory b = bids();
        bytes[3] memory s = sign(b);
        vm.prank(requester);
        escrow.open(DEPLOYMENT, "spec", HOUR, b, s);
        atMost(vm.snapshotGasLastCall("escrow: open, three signatures"), 215_000, "open");
        skip(600);
        (BunkerEscrow.UsageVoucher memory v, bytes memory sig) = voucher(0, 300);
        escrow.settle(v, sig);
        atMost(vm.snapshotGasLastCall("escrow: settle, first"), 155_000, "first");
        (v, sig) = voucher(0, 600);
        escrow.settle(v, sig);
        atMost(vm.snapshotGasLastCall("escrow: settle, next"), 75_000, "next");
        vm.prank(alice);
        escrow.withdraw();
        atMost(vm.snapshotGasLastCall("escrow: withdraw"), 40_000, "withdraw");
    }

    // ---- fuzz

    function testFuzz_AJobAlwaysAddsUp(uint32[3] memory uptime, uint32 duration, uint32 stopAt) public {
        duration = uint32(bound(duration, 1, LONGEST));
        stopAt = uint32(bound(stopAt, 0, duration - 1));
        open(duration);
        uint256 deposit = ALL_RATES * duration;
        skip(stopAt);
        vm.prank(requester);
        escrow.stop(job);
        uint256 paid = 0;
        for (uint256 i = 0; i < 3; ++i) {
            uptime[i] = uint32(bound(uptime[i], 0, stopAt));
            if (uptime[i] != 0) settle(i, uptime[i]);
            paid += uint256(uptime[i]) * RATES[i];
        }
        skip(Params.CLAIM);
        escrow.close(job);
        uint256 owed = escrow.owed(alice) + escrow.owed(bob) + escrow.owed(carol);
        same(owed + escrow.fees(), paid, "paid");
        same(escrow.owed(requester), deposit - paid, "refunded");
    }
}
