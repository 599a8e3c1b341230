// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerEscrow} from "../src/BunkerEscrow.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

/// Jobs are opened, served, disputed, topped up, stopped and closed in any order, with an arbiter who sometimes speaks.
contract EscrowHandler is Base {
    struct Book {
        uint256 deposited;
        uint256 paid;
        uint256 refunded;
        bool closed;
    }

    address internal requester = _named("requester");
    address[3] internal providers = [alice, bob, carol];
    string[3] internal names = ["alice", "bob", "carol"];
    bytes32[] public jobs;
    mapping(bytes32 job => Book) public books;
    uint256 internal owedBefore;
    uint256 internal feesBefore;
    address internal owner = msg.sender;

    constructor(System memory s) {
        adopt(s);
    }

    function open(uint32 duration, uint112[3] memory rates) external {
        if (jobs.length == 24) return;
        bytes16 deployment = bytes16(uint128(jobs.length + 1));
        bytes32 job = escrow.jobIdOf(requester, deployment);
        duration = uint32(bound(duration, 1, 40 days));
        BunkerEscrow.Bid[3] memory b;
        bytes[3] memory s;
        uint256 deposit = 0;
        for (uint256 i = 0; i < 3; ++i) {
            uint112 rate = uint112(bound(rates[i], 1, 1e18));
            b[i] = BunkerEscrow.Bid(job, providers[i], rate, 60 days, uint64(block.timestamp));
            s[i] = signed(keyOf(names[i]), escrow.bidDigest(b[i]));
            deposit += uint256(rate) * duration;
        }
        if (deposit > token.balanceOf(treasury) / 4) return;
        fund(requester, deposit, address(escrow));
        vm.prank(requester);
        escrow.open(deployment, "", duration, b, s);
        jobs.push(job);
        books[job].deposited = deposit;
    }

    /// (15): the same voucher again pays nothing.
    function settle(uint256 which, uint256 seat, uint32 uptime) external {
        (bytes32 job, BunkerEscrow.Job memory j) = pick(which);
        if (job == 0) return;
        seat %= 3;
        uint256 most = elapsed(j);
        if (most <= j.settled[seat]) return;
        uptime = uint32(bound(uptime, j.settled[seat] + 1, most));
        BunkerEscrow.UsageVoucher memory v = BunkerEscrow.UsageVoucher(job, providers[seat], uptime, 0);
        bytes memory s = signed(keyOf("requester"), voucherDigest(v));
        before();
        escrow.settle(v, s);
        after_(job, uint256(uptime - j.settled[seat]) * j.seats[seat].rate);
        fails(BunkerEscrow.VoucherNotNewer.selector, uptime);
        escrow.settle(v, s);
    }

    function propose(uint256 which, uint256 seat, uint32 uptime) external {
        (bytes32 job, BunkerEscrow.Job memory j) = pick(which);
        if (job == 0) return;
        seat %= 3;
        if (escrow.proposalOf(job, providers[seat]).claim != BunkerEscrow.Claim.None) return;
        uint256 most = elapsed(j);
        if (most <= j.settled[seat] || block.timestamp >= uint256(j.start) + j.duration + Params.CLAIM) return;
        vm.prank(providers[seat]);
        escrow.proposeUptime(job, uint32(bound(uptime, j.settled[seat] + 1, most)));
    }

    function dispute(uint256 which, uint256 seat) external {
        (bytes32 job, BunkerEscrow.Proposal memory q) = proposal(which, seat, BunkerEscrow.Claim.Proposed);
        if (job == 0 || block.timestamp >= q.since + Params.CHALLENGE) return;
        vm.prank(requester);
        escrow.dispute(job, providers[seat % 3]);
    }

    function resolve(uint256 which, uint256 seat, uint32 uptime) external {
        (bytes32 job, BunkerEscrow.Proposal memory q) = proposal(which, seat, BunkerEscrow.Claim.Disputed);
        if (job == 0 || block.timestamp >= q.since + Params.RESOLVE) return;
        before();
        vm.prank(arbiter);
        escrow.resolve(job, providers[seat % 3], uint32(bound(uptime, 0, q.uptimeSeconds)));
        count(job);
    }

    function finish(uint256 which, uint256 seat) external {
        (bytes32 job,) = pick(which);
        if (job != 0) conclude(job, seat % 3);
    }

    /// (16): nothing earned changes.
    function topUp(uint256 which, uint32 extra) external {
        (bytes32 job, BunkerEscrow.Job memory j) = pick(which);
        if (job == 0 || block.timestamp >= uint256(j.start) + j.duration || j.duration == j.maxDuration) return;
        extra = uint32(bound(extra, 1, j.maxDuration - j.duration));
        uint256 deposit = (uint256(j.seats[0].rate) + j.seats[1].rate + j.seats[2].rate) * extra;
        if (deposit > token.balanceOf(treasury) / 4) return;
        fund(requester, deposit, address(escrow));
        before();
        vm.prank(requester);
        escrow.topUp(job, extra);
        after_(job, 0);
        for (uint256 i = 0; i < 3; ++i) {
            same(escrow.jobOf(job).settled[i], j.settled[i], "settled by a top-up");
        }
        books[job].deposited += deposit;
    }

    function stop(uint256 which) external {
        (bytes32 job, BunkerEscrow.Job memory j) = pick(which);
        if (job == 0 || block.timestamp >= uint256(j.start) + j.duration) return;
        uint256 owed = escrow.owed(requester);
        vm.prank(requester);
        escrow.stop(job);
        books[job].refunded += escrow.owed(requester) - owed;
    }

    function close(uint256 which) external {
        (bytes32 job, BunkerEscrow.Job memory j) = pick(which);
        if (job == 0 || j.pending != 0) return;
        if (escrow.remainingOf(job) != 0 && block.timestamp < uint256(j.start) + j.duration + Params.CLAIM) return;
        closeNow(job);
    }

    function withdraw(uint256 who) external {
        payOut(who % 4);
    }

    function skim() external {
        if (escrow.fees() != 0) escrow.skim();
    }

    function setFee(uint16 fee) external {
        vm.prank(address(timelock));
        escrow.setFee(uint16(bound(fee, 0, Params.MAX_FEE)));
    }

    function wait(uint256 time) external {
        skip(bound(time, 1, 3 days));
    }

    // ---- sums

    function claims() external view returns (uint256 sum) {
        for (uint256 i = 0; i < jobs.length; ++i) {
            sum += escrow.remainingOf(jobs[i]);
        }
        for (uint256 i = 0; i < 3; ++i) {
            sum += escrow.owed(providers[i]);
        }
        sum += escrow.owed(requester) + escrow.fees();
    }

    /// (12) and (13)
    function checkJobs() external view {
        for (uint256 i = 0; i < jobs.length; ++i) {
            BunkerEscrow.Job memory j = escrow.jobOf(jobs[i]);
            Book memory b = books[jobs[i]];
            for (uint256 seat = 0; seat < 3; ++seat) {
                atMost(j.settled[seat], elapsed(j), "(12) settled");
            }
            same(b.paid + b.refunded + escrow.remainingOf(jobs[i]), b.deposited, "(13) books");
            check(b.closed == (j.status == BunkerEscrow.Status.Closed), "status");
        }
    }

    /// (14): the arbiter and the requester stay silent, everything ends. Not a step of the fuzzer.
    function endAll() external {
        if (msg.sender != owner) return;
        skip(61 days);
        for (uint256 i = 0; i < jobs.length; ++i) {
            if (escrow.jobOf(jobs[i]).status != BunkerEscrow.Status.Open) continue;
            for (uint256 seat = 0; seat < 3; ++seat) {
                conclude(jobs[i], seat);
            }
            closeNow(jobs[i]);
        }
        for (uint256 i = 0; i < 4; ++i) {
            payOut(i);
        }
        if (escrow.fees() != 0) escrow.skim();
    }

    // ---- inside

    function payOut(uint256 who) private {
        address p = who == 3 ? requester : providers[who];
        uint256 owed = escrow.owed(p);
        if (owed == 0) return;
        uint256 had = token.balanceOf(p);
        vm.prank(p);
        escrow.withdraw();
        same(token.balanceOf(p) - had, owed, "paid in full");
    }

    function closeNow(bytes32 job) private {
        uint256 rest = escrow.remainingOf(job);
        before();
        escrow.close(job);
        same(
            escrow.owed(requester) + escrow.owed(alice) + escrow.owed(bob) + escrow.owed(carol),
            owedBefore + rest,
            "rest"
        );
        books[job].refunded += rest;
        books[job].closed = true;
    }

    function conclude(bytes32 job, uint256 seat) private {
        BunkerEscrow.Proposal memory q = escrow.proposalOf(job, providers[seat]);
        if (q.claim == BunkerEscrow.Claim.None) return;
        bool disputed = q.claim == BunkerEscrow.Claim.Disputed;
        if (block.timestamp < q.since + (disputed ? Params.RESOLVE : Params.CHALLENGE)) return;
        before();
        if (disputed) escrow.timeoutDispute(job, providers[seat]);
        else escrow.finalizeUptime(job, providers[seat]);
        count(job);
    }

    function proposal(uint256 which, uint256 seat, BunkerEscrow.Claim claim)
        private
        view
        returns (bytes32 job, BunkerEscrow.Proposal memory q)
    {
        (job,) = pick(which);
        if (job == 0) return (0, q);
        q = escrow.proposalOf(job, providers[seat % 3]);
        if (q.claim != claim) job = 0;
    }

    function pick(uint256 which) private view returns (bytes32 job, BunkerEscrow.Job memory j) {
        if (jobs.length == 0) return (0, j);
        job = jobs[which % jobs.length];
        j = escrow.jobOf(job);
        if (j.status != BunkerEscrow.Status.Open) job = 0;
    }

    function elapsed(BunkerEscrow.Job memory j) private view returns (uint256) {
        uint256 past = block.timestamp - j.start;
        return past < j.duration ? past : j.duration;
    }

    function before() private {
        owedBefore = escrow.owed(requester) + escrow.owed(alice) + escrow.owed(bob) + escrow.owed(carol);
        feesBefore = escrow.fees();
    }

    function count(bytes32 job) private returns (uint256 amount) {
        uint256 owed = escrow.owed(requester) + escrow.owed(alice) + escrow.owed(bob) + escrow.owed(carol);
        amount = owed - owedBefore + escrow.fees() - feesBefore;
        books[job].paid += amount;
    }

    function after_(bytes32 job, uint256 want) private {
        same(count(job), want, "paid");
    }
}

contract BunkerEscrowInvariants is Fixture {
    EscrowHandler private handler;

    function setUp() public override {
        super.setUp();
        stakeAs(alice, STARTER);
        stakeAs(bob, STARTER);
        stakeAs(carol, STARTER);
        handler = new EscrowHandler(deployed());
        target(address(handler));
    }

    /// (11) to (13); (15) and (16) are in the handler.
    function invariant_EveryWeiHasAnOwner() public view {
        same(token.balanceOf(address(escrow)), handler.claims(), "(11) balance");
        handler.checkJobs();
    }

    /// (14)
    function afterInvariant() public {
        handler.endAll();
        handler.checkJobs();
        same(token.balanceOf(address(escrow)), 0, "(14) everything ended, everybody is paid");
    }
}
