// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerReputation} from "../src/BunkerReputation.sol";
import {Governed} from "../src/Governed.sol";
import {Kind} from "../src/Interfaces.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

contract BunkerReputationTest is Fixture {
    uint256 private key;

    function report(Kind kind) private {
        vm.prank(address(escrow));
        reputation.report(alice, kind, bytes32(++key));
    }

    function setDelta(Kind kind, int16 delta) private {
        vm.prank(address(timelock));
        reputation.setDelta(kind, delta);
    }

    function test_AnUnknownWalletIsOnProbation() public {
        same(reputation.scoreOf(alice), 400, "initial");
        same(reputation.standingOf(alice), 1, "Probation");
        skip(1000 weeks);
        same(reputation.scoreOf(alice), 400, "and does not decay");
    }

    function test_EachKindCountsAsInTheParameters() public {
        int16[7] memory deltas = [int16(5), -10, 20, -25, -50, -100, -200];
        for (uint8 i = 0; i < 7; ++i) {
            check(reputation.deltaOf(Kind(i)) == deltas[i], "delta");
        }
        vm.prank(address(escrow));
        emits(address(reputation));
        emit BunkerReputation.Reported(alice, address(escrow), Kind.JobCompleted, "job", 5, 405);
        reputation.report(alice, Kind.JobCompleted, "job");
        same(reputation.scoreOf(alice), 405, "score");
        same(reputation.recordOf(alice).decayedTo, block.timestamp, "decay begins");
    }

    function test_AFactCountsOnce() public {
        vm.startPrank(address(escrow));
        reputation.report(alice, Kind.JobCompleted, "job");
        fails(BunkerReputation.CountedAlready.selector, uint256(bytes32("job")));
        reputation.report(alice, Kind.JobCompleted, "job");
        reputation.report(alice, Kind.UptimeProven, "job");
        reputation.report(bob, Kind.JobCompleted, "job");
        vm.stopPrank();
        vm.prank(address(verification));
        reputation.report(alice, Kind.JobCompleted, "job");
    }

    function test_OnlyReportersReport() public {
        fails(BunkerReputation.NotReporter.selector, address(this));
        reputation.report(alice, Kind.JobCompleted, "job");
        vm.prank(address(timelock));
        emits(address(reputation));
        emit BunkerReputation.ReporterSet(address(this), true);
        reputation.setReporter(address(this), true);
        reputation.report(alice, Kind.JobCompleted, "job");
        vm.prank(address(timelock));
        reputation.setReporter(address(this), false);
        fails(BunkerReputation.NotReporter.selector, address(this));
        reputation.report(alice, Kind.JobCompleted, "other");
    }

    function test_ScoresStayWithinTheirRange() public {
        for (uint256 i = 0; i < 3; ++i) {
            report(Kind.SecurityBreach);
        }
        same(reputation.scoreOf(alice), 0, "not below 0");
        setDelta(Kind.JobCompleted, 200);
        for (uint256 i = 0; i < 6; ++i) {
            report(Kind.JobCompleted);
        }
        same(reputation.scoreOf(alice), 1000, "not above 1000");
    }

    function test_DeltasAreBounded() public {
        vm.startPrank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(BunkerReputation.DeltaOutOfRange.selector, int16(201)));
        reputation.setDelta(Kind.JobCompleted, 201);
        vm.expectRevert(abi.encodeWithSelector(BunkerReputation.DeltaOutOfRange.selector, int16(-201)));
        reputation.setDelta(Kind.JobCompleted, -201);
        emits(address(reputation));
        emit BunkerReputation.DeltaSet(Kind.JobCompleted, -200);
        reputation.setDelta(Kind.JobCompleted, -200);
        reputation.setDelta(Kind.JobCompleted, 200);
    }

    function test_StandingFollowsTheScore() public {
        setDelta(Kind.UptimeProven, 1);
        setDelta(Kind.JobUnserved, -151);
        report(Kind.JobUnserved);
        same(reputation.standingOf(alice), 0, "249: Restricted");
        report(Kind.UptimeProven);
        same(reputation.standingOf(alice), 1, "250: Probation");
        uint16[3] memory borders = [uint16(500), 750, 900];
        for (uint8 i = 0; i < 3; ++i) {
            while (reputation.scoreOf(alice) < borders[i] - 1) {
                report(Kind.UptimeProven);
            }
            same(reputation.standingOf(alice), i + 1, "below the border");
            report(Kind.UptimeProven);
            same(reputation.standingOf(alice), i + 2, "at the border");
        }
    }

    function test_DecayIsOnePointAWeek() public {
        report(Kind.JobCompleted);
        skip(1 weeks - 1);
        same(reputation.scoreOf(alice), 405, "not yet");
        skip(1);
        same(reputation.scoreOf(alice), 404, "a week");
        skip(10 weeks);
        same(reputation.scoreOf(alice), 394, "eleven");
        report(Kind.JobCompleted);
        same(reputation.scoreOf(alice), 399, "written down with it");
    }

    /// The written path must stop at the floor as the view does.
    function test_P9_DecayStopsAtTheFloorOnEveryPath() public {
        report(Kind.JobCompleted);
        skip(5000 weeks);
        same(reputation.scoreOf(alice), 100, "floor");
        report(Kind.JobCompleted);
        same(reputation.scoreOf(alice), 105, "still reportable");
    }

    function test_ScoresBelowTheFloorDoNotDecayNorRise() public {
        report(Kind.SecurityBreach);
        report(Kind.SecurityBreach);
        report(Kind.UptimeProven);
        skip(100 weeks);
        same(reputation.scoreOf(alice), 20, "as it was");
    }

    /// Reports do not push the next week of decay away.
    function test_P10_ReportingOftenDoesNotStopTheDecay() public {
        setDelta(Kind.JobCompleted, 0);
        report(Kind.JobCompleted);
        for (uint256 i = 0; i < 70; ++i) {
            skip(6 days);
            report(Kind.JobCompleted);
        }
        same(reputation.scoreOf(alice), 400 - 60, "60 weeks");
    }

    function test_GasOfAReport() public {
        report(Kind.JobCompleted);
        skip(1 weeks);
        report(Kind.JobCompleted);
        // 38,000, and 22,100 for a fact that is new each time.
        atMost(vm.snapshotGasLastCall("reputation: report, next"), 60_100, "gas");
    }

    /// (19): a period in one piece or in k.
    function testFuzz_SplittingAPeriodDoesNotChangeTheDecay(uint32[8] memory pieces) public {
        setDelta(Kind.JobCompleted, 0);
        uint256 whole = 0;
        vm.prank(address(escrow));
        reputation.report(bob, Kind.JobCompleted, "once");
        report(Kind.JobCompleted);
        for (uint256 i = 0; i < 8; ++i) {
            uint256 piece = bound(pieces[i], 1, 40 weeks);
            whole += piece;
            skip(piece);
            uint16 seen = reputation.scoreOf(alice);
            report(Kind.JobCompleted);
            same(reputation.scoreOf(alice), seen, "view and write agree");
        }
        same(reputation.scoreOf(alice), reputation.scoreOf(bob), "alike");
        uint256 decay = whole / 1 weeks;
        same(reputation.scoreOf(alice), decay < 300 ? 400 - decay : 100, "by whole weeks");
    }
}

contract ReputationHandler is Base {
    uint256 private key;

    constructor(System memory s) {
        adopt(s);
    }

    function report(uint8 kind, bool ofVerification) external {
        uint16 seen = reputation.scoreOf(alice);
        Kind k = Kind(kind % 7);
        vm.prank(ofVerification ? address(verification) : address(escrow));
        reputation.report(alice, k, bytes32(++key));
        int256 want = int256(uint256(seen)) + reputation.deltaOf(k);
        if (want < 0) want = 0;
        if (want > 1000) want = 1000;
        same(reputation.scoreOf(alice), uint256(want), "(19) the view is what is written to");
    }

    function setDelta(uint8 kind, int16 delta) external {
        uint16 seen = reputation.scoreOf(alice);
        vm.prank(address(timelock));
        reputation.setDelta(Kind(kind % 7), delta % 201);
        same(reputation.scoreOf(alice), seen, "a setting changes no score");
    }

    function wait(uint256 time) external {
        skip(bound(time, 1, 30 weeks));
    }
}

contract BunkerReputationInvariants is Fixture {
    function setUp() public override {
        super.setUp();
        target(address(new ReputationHandler(deployed())));
    }

    /// (19)
    function invariant_ScoresStayWithinTheirRange() public view {
        atMost(reputation.scoreOf(alice), 1000, "score");
        atMost(reputation.recordOf(alice).decayedTo, block.timestamp, "not decayed ahead");
    }
}
