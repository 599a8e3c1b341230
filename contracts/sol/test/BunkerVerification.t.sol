// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerVerification} from "../src/BunkerVerification.sol";
import {Governed, Pausable} from "../src/Governed.sol";
import {Violation} from "../src/Interfaces.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

contract BunkerVerificationTest is Fixture {
    uint256 private constant BOND = Params.CASE_BOND;
    uint40 private constant DAY = Params.ATTESTATION_INTERVAL;
    address private accuser = bob;
    address private attester = _named("attester");

    function setUp() public override {
        super.setUp();
        stakeAs(alice, STARTER);
        fund(accuser, 10 * BOND, address(verification));
        fund(alice, 10 * BOND, address(verification));
        vm.prank(address(timelock));
        verification.setAttester(attester, true);
    }

    function attest() private {
        vm.prank(alice);
        verification.attest("evidence");
    }

    function certificate(uint40 expiresAt) private view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Certificate(address provider,bytes32 evidence,uint40 expiresAt)"),
                alice,
                bytes32("report"),
                expiresAt
            )
        );
        return signed(keyOf("attester"), typedDigest(domainOf("BunkerVerification", address(verification)), structHash));
    }

    function certify(uint40 expiresAt) private {
        verification.certify(alice, "report", expiresAt, certificate(expiresAt));
    }

    function bring(Violation violation) private returns (uint256) {
        vm.prank(accuser);
        return verification.bring(alice, violation, false, "evidence");
    }

    function answer(uint256 id) private {
        vm.prank(alice);
        verification.answer(id, "answer");
    }

    function decide(uint256 id, bool upheld) private {
        vm.prank(arbiter);
        verification.decide(id, upheld);
    }

    function decided(Violation violation, bool upheld) private returns (uint256 id) {
        id = bring(violation);
        answer(id);
        decide(id, upheld);
    }

    function stageOf(uint256 id) private view returns (uint256) {
        return uint256(verification.caseOf(id).stage);
    }

    function wrongStage(BunkerVerification.Stage stage) private {
        fails(BunkerVerification.WrongStage.selector, uint256(stage));
    }

    // ---- attestations

    function test_AnAttestationIsGoodForADay() public {
        check(!verification.isCurrent(alice), "never attested");
        vm.prank(alice);
        emits(address(verification));
        emit BunkerVerification.Attested(alice, "evidence");
        verification.attest("evidence");
        check(verification.isCurrent(alice), "attested");
        skip(DAY);
        check(verification.isCurrent(alice), "the whole day");
        skip(1);
        check(!verification.isCurrent(alice), "no longer");
        same(verification.missed(alice), 1, "missed one");
        same(verification.missed(bob), 0, "nothing to miss");
        attest();
        same(verification.missed(alice), 0, "back");
        same(verification.attestationOf(alice).last, block.timestamp, "last");
    }

    function test_AttestingTooOftenIsRefused() public {
        attest();
        uint40 next = uint40(block.timestamp) + DAY / 2;
        vm.warp(next - 1);
        vm.prank(alice);
        fails(BunkerVerification.AttestedAlready.selector, next);
        verification.attest("evidence");
        vm.warp(next);
        attest();
    }

    function test_ThreeMissedIntervalsSuspendForAWeek() public {
        attest();
        skip(3 * DAY);
        attest();
        check(verification.isCurrent(alice), "two missed");
        skip(3 * DAY + 1);
        same(verification.missed(alice), 3, "three missed");
        uint40 until = uint40(block.timestamp) + Params.SUSPENSION;
        vm.prank(alice);
        emits(address(verification));
        emit BunkerVerification.Suspended(alice, until);
        verification.attest("evidence");
        check(!verification.isCurrent(alice), "suspended");
        for (uint256 i = 0; i < 6; ++i) {
            skip(DAY);
            attest();
            check(!verification.isCurrent(alice), "still suspended");
        }
        vm.warp(until);
        check(verification.isCurrent(alice), "it ends");
    }

    /// Counting a miss must not make the provider look current.
    function test_P11_AMissedIntervalNeverLooksCurrent() public {
        attest();
        for (uint256 i = 1; i < 10; ++i) {
            skip(DAY);
            if (i == 1) skip(1);
            same(verification.missed(alice), i, "counted by the clock");
            check(!verification.isCurrent(alice), "not current");
        }
    }

    /// Nothing others do makes a suspension longer.
    function test_P20_ASuspensionIsNotProlongedByOthers() public {
        attest();
        skip(4 * DAY);
        attest();
        uint40 until = verification.attestationOf(alice).suspendedUntil;
        for (uint256 i = 0; i < 7; ++i) {
            bring(Violation.Downtime);
            same(verification.attestationOf(alice).suspendedUntil, until, "the same end");
            skip(DAY);
            attest();
        }
        check(verification.isCurrent(alice), "over");
    }

    function test_ACertificateMakesClass1UntilItExpires() public {
        same(verification.classOf(alice), 2, "nobody's word");
        uint40 until = uint40(block.timestamp) + 30 days;
        bytes memory s = certificate(until);
        emits(address(verification));
        emit BunkerVerification.Certified(alice, attester, "report", until);
        verification.certify(alice, "report", until, s);
        same(verification.classOf(alice), 1, "certified");
        same(verification.certificateOf(alice).attester, attester, "by whom");
        vm.warp(until);
        same(verification.classOf(alice), 2, "expired");
    }

    function test_ACertificateIsUnexpiredNewerAndOfAnAttester() public {
        uint40 time = uint40(block.timestamp);
        bytes memory s = certificate(time);
        fails(BunkerVerification.CertificateExpired.selector, time);
        verification.certify(alice, "report", time, s);
        s = certificate(time + 10);
        vm.expectPartialRevert(BunkerVerification.NotAttester.selector);
        verification.certify(bob, "report", time + 10, s);
        vm.expectPartialRevert(ECDSA.ECDSAInvalidSignatureLength.selector);
        verification.certify(alice, "report", time + 10, "");
        certify(time + 10);
        s = certificate(time + 9);
        fails(BunkerVerification.CertificateNotNewer.selector, time + 10);
        verification.certify(alice, "report", time + 9, s);
        s = certificate(time + 10);
        fails(BunkerVerification.CertificateNotNewer.selector, time + 10);
        verification.certify(alice, "report", time + 10, s);
        certify(time + 11);
    }

    function test_DismissingAnAttesterVoidsItsCertificates() public {
        uint40 until = uint40(block.timestamp) + 30 days;
        certify(until);
        bytes memory s = certificate(until + 1);
        vm.prank(address(timelock));
        emits(address(verification));
        emit BunkerVerification.AttesterSet(attester, false);
        verification.setAttester(attester, false);
        same(verification.classOf(alice), 2, "void");
        fails(BunkerVerification.NotAttester.selector, attester);
        verification.certify(alice, "report", until + 1, s);
    }

    // ---- cases

    function test_ACaseNeedsABondAndHoldsTheStake() public {
        uint256 before = token.balanceOf(accuser);
        vm.prank(accuser);
        emits(address(verification));
        emit BunkerVerification.CaseBrought(1, alice, accuser, Violation.Downtime, "evidence");
        same(verification.bring(alice, Violation.Downtime, false, "evidence"), 1, "id of the staking contract");
        same(before - token.balanceOf(accuser), BOND, "bond");
        same(staking.providerOf(alice).openCases, 1, "held");
        BunkerVerification.Case memory c = verification.caseOf(1);
        same(c.provider, alice, "provider");
        same(c.challenger, accuser, "challenger");
        same(c.openedAt, block.timestamp, "when");
        check(c.violation == Violation.Downtime, "what");
    }

    function test_AnAccusationIsOfAViolationBySomebodyElseWithStake() public {
        vm.startPrank(accuser);
        fails(BunkerVerification.NotAccusation.selector);
        verification.bring(alice, Violation.None, false, "");
        fails(BunkerVerification.MemoryIsSecurity.selector);
        verification.bring(alice, Violation.Fraud, true, "");
        fails(BunkerStaking.NothingAtStake.selector, carol);
        verification.bring(carol, Violation.Fraud, false, "");
        vm.stopPrank();
        vm.prank(alice);
        fails(BunkerVerification.AccusesItself.selector);
        verification.bring(alice, Violation.Fraud, false, "");
        vm.prank(address(timelock));
        verification.pause();
        uint40 until = verification.pausedUntil();
        vm.prank(accuser);
        fails(Pausable.IsPaused.selector, until);
        verification.bring(alice, Violation.Fraud, false, "");
    }

    function test_OnlyTheAccusedAnswersOnceAndInTime() public {
        uint256 id = bring(Violation.Downtime);
        uint40 until = uint40(block.timestamp) + Params.RESPOND;
        vm.prank(bob);
        fails(BunkerVerification.NotProvider.selector, bob);
        verification.answer(id, "");
        vm.warp(until + 1);
        vm.prank(alice);
        fails(BunkerVerification.AnswerTooLate.selector, until);
        verification.answer(id, "");
        vm.warp(until);
        vm.prank(alice);
        emits(address(verification));
        emit BunkerVerification.CaseAnswered(id, "answer");
        verification.answer(id, "answer");
        vm.prank(alice);
        fails(BunkerVerification.AnsweredAlready.selector);
        verification.answer(id, "answer");
    }

    function test_TheArbiterWaitsForTheAnswerOrItsTime() public {
        uint256 id = bring(Violation.Downtime);
        uint40 until = uint40(block.timestamp) + Params.RESPOND;
        vm.prank(bob);
        fails(BunkerVerification.NotArbiter.selector, bob);
        verification.decide(id, true);
        vm.warp(until);
        vm.prank(arbiter);
        fails(BunkerVerification.AnswerPending.selector, until);
        verification.decide(id, true);
        vm.warp(until + 1);
        vm.prank(arbiter);
        emits(address(verification));
        emit BunkerVerification.CaseDecided(id, true);
        verification.decide(id, true);
    }

    function test_AfterAnAnswerTheArbiterDecidesAtOnce() public {
        uint256 id = decided(Violation.Downtime, true);
        same(stageOf(id), uint256(BunkerVerification.Stage.Decided), "decided");
        vm.prank(arbiter);
        wrongStage(BunkerVerification.Stage.Decided);
        verification.decide(id, false);
    }

    function test_ALateDecisionIsRefusedAndTheCaseLapses() public {
        uint256 id = bring(Violation.Downtime);
        uint40 until = uint40(block.timestamp) + Params.DECIDE;
        vm.warp(until);
        fails(BunkerVerification.DecisionPending.selector, until);
        verification.lapse(id);
        vm.warp(until + 1);
        vm.prank(arbiter);
        fails(BunkerVerification.DecisionTooLate.selector, until);
        verification.decide(id, true);
        emits(address(verification));
        emit BunkerVerification.CaseLapsed(id);
        verification.lapse(id);
        same(verification.owed(accuser), BOND, "bond back");
        same(staking.providerOf(alice).openCases, 0, "free");
        same(staking.providerOf(alice).active, STARTER, "unharmed");
        wrongStage(BunkerVerification.Stage.Closed);
        verification.lapse(id);
    }

    function test_AnUpheldCaseSlashesAfterTheTimeForAppeals() public {
        uint256 id = decided(Violation.Fraud, true);
        uint40 until = uint40(block.timestamp) + Params.APPEAL;
        vm.warp(until);
        fails(BunkerVerification.AppealPending.selector, until);
        verification.execute(id);
        vm.warp(until + 1);
        emits(address(verification));
        emit BunkerVerification.CaseExecuted(id, true, 5_000);
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER / 2, "half");
        same(verification.owed(accuser), BOND, "bond back");
        same(reputation.scoreOf(alice), 200, "a breach of trust");
        wrongStage(BunkerVerification.Stage.Closed);
        verification.execute(id);
    }

    function test_ADismissedCaseCostsTheBond() public {
        uint256 id = decided(Violation.Fraud, false);
        skip(Params.APPEAL + 1);
        emits(address(verification));
        emit BunkerVerification.CaseExecuted(id, false, 0);
        verification.execute(id);
        same(verification.owed(alice), BOND, "to the accused");
        same(staking.providerOf(alice).openCases, 0, "free");
        uint256 before = token.balanceOf(alice);
        vm.prank(alice);
        emits(address(verification));
        emit BunkerVerification.Withdrawn(alice, BOND);
        verification.withdraw();
        same(token.balanceOf(alice) - before, BOND, "paid");
        vm.prank(alice);
        fails(BunkerVerification.NothingOwed.selector);
        verification.withdraw();
    }

    function test_TheLosingSideAppeals() public {
        uint256 id = decided(Violation.Fraud, true);
        uint40 until = uint40(block.timestamp) + Params.APPEAL;
        vm.prank(accuser);
        fails(BunkerVerification.NotParty.selector, accuser);
        verification.appeal(id);
        vm.warp(until + 1);
        vm.prank(alice);
        fails(BunkerVerification.AppealTooLate.selector, until);
        verification.appeal(id);
        vm.warp(until);
        uint256 before = token.balanceOf(alice);
        vm.prank(alice);
        emits(address(verification));
        emit BunkerVerification.CaseAppealed(id, alice);
        verification.appeal(id);
        same(before - token.balanceOf(alice), BOND, "a bond of its own");

        id = decided(Violation.Fraud, false);
        vm.prank(alice);
        fails(BunkerVerification.NotParty.selector, alice);
        verification.appeal(id);
        vm.prank(accuser);
        verification.appeal(id);
        same(verification.caseOf(id).appellant, accuser, "the challenger");
    }

    function test_GovernanceDecidesAppealsInTime() public {
        uint256 id = decided(Violation.Fraud, true);
        vm.prank(alice);
        verification.appeal(id);
        uint40 until = uint40(block.timestamp) + Params.APPEAL_DECISION;
        fails(Governed.NotGovernor.selector, address(this));
        verification.decideAppeal(id, false);
        vm.warp(until);
        fails(BunkerVerification.DecisionPending.selector, until);
        verification.execute(id);
        vm.warp(until + 1);
        vm.prank(address(timelock));
        fails(BunkerVerification.DecisionTooLate.selector, until);
        verification.decideAppeal(id, false);
        vm.warp(until);
        vm.prank(address(timelock));
        emits(address(verification));
        emit BunkerVerification.AppealDecided(id, false);
        verification.decideAppeal(id, false);
        verification.execute(id);
        same(verification.owed(alice), 2 * BOND, "both bonds");
        same(staking.providerOf(alice).active, STARTER, "unharmed");
    }

    function test_ALostAppealCostsBothBonds() public {
        uint256 id = decided(Violation.Fraud, true);
        vm.prank(alice);
        verification.appeal(id);
        vm.prank(address(timelock));
        verification.decideAppeal(id, true);
        verification.execute(id);
        same(verification.owed(accuser), 2 * BOND, "both bonds");
        same(staking.providerOf(alice).active, STARTER / 2, "slashed");
    }

    function test_WithoutAWordOnTheAppealTheDecisionStands() public {
        uint256 id = decided(Violation.Fraud, true);
        vm.prank(alice);
        verification.appeal(id);
        skip(Params.APPEAL_DECISION + 1);
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER / 2, "slashed");
    }

    function test_TheLongestCaseIsCarriedOutInTime() public {
        uint256 id = bring(Violation.Fraud);
        skip(Params.DECIDE);
        decide(id, true);
        skip(Params.APPEAL);
        vm.prank(alice);
        verification.appeal(id);
        skip(Params.APPEAL_DECISION + 1);
        check(block.timestamp < staking.resolveBy(id), "a day is left");
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER / 2, "slashed");
    }

    function test_StagesCannotBeSkipped() public {
        wrongStage(BunkerVerification.Stage.None);
        verification.answer(9, "");
        vm.prank(arbiter);
        wrongStage(BunkerVerification.Stage.None);
        verification.decide(9, true);
        vm.prank(arbiter);
        wrongStage(BunkerVerification.Stage.None);
        verification.freeze(9);
        wrongStage(BunkerVerification.Stage.None);
        verification.lapse(9);
        wrongStage(BunkerVerification.Stage.None);
        verification.execute(9);
        uint256 id = bring(Violation.Fraud);
        wrongStage(BunkerVerification.Stage.Open);
        verification.execute(id);
        vm.prank(alice);
        wrongStage(BunkerVerification.Stage.Open);
        verification.appeal(id);
        vm.prank(address(timelock));
        wrongStage(BunkerVerification.Stage.Open);
        verification.decideAppeal(id, true);
    }

    function test_EachViolationCostsItsShare() public {
        uint16[7] memory shares = [uint16(0), 500, 1_000, 4_000, 5_000, 1_500, 2_500];
        uint16[7] memory scores = [uint16(0), 375, 300, 200, 200, 300, 350];
        for (uint8 v = 1; v < 7; ++v) {
            address p = vm.addr(v);
            stakeAs(p, STARTER);
            vm.prank(accuser);
            uint256 id = verification.bring(p, Violation(v), false, "");
            vm.prank(p);
            verification.answer(id, "");
            decide(id, true);
            skip(Params.APPEAL + 1);
            verification.execute(id);
            same(STARTER - staking.providerOf(p).active, STARTER * shares[v] / 10_000, "share");
            same(reputation.scoreOf(p), scores[v], "score");
        }
    }

    function test_ReadingMemoryCostsDoubleWithoutEncryption() public {
        vm.prank(accuser);
        uint256 id = verification.bring(alice, Violation.SecurityViolation, true, "");
        // A certificate obtained afterwards does not help.
        certify(uint40(block.timestamp) + 30 days);
        answer(id);
        decide(id, true);
        skip(Params.APPEAL + 1);
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER / 5, "80 %");
    }

    function test_ReadingMemoryCostsSingleWithEncryption() public {
        certify(uint40(block.timestamp) + 30 days);
        vm.prank(accuser);
        uint256 id = verification.bring(alice, Violation.SecurityViolation, true, "");
        answer(id);
        decide(id, true);
        skip(Params.APPEAL + 1);
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER * 6 / 10, "40 %");
    }

    function test_OnlyGraveCasesFreeze() public {
        uint256 id = bring(Violation.Downtime);
        vm.prank(arbiter);
        fails(BunkerVerification.NotGrave.selector, uint256(Violation.Downtime));
        verification.freeze(id);
        id = bring(Violation.Fraud);
        fails(BunkerVerification.NotArbiter.selector, address(this));
        verification.freeze(id);
        vm.prank(arbiter);
        verification.freeze(id);
        check(staking.frozen(alice), "frozen");
        skip(2 * Params.FREEZE);
        id = bring(Violation.SecurityViolation);
        vm.prank(arbiter);
        verification.freeze(id);
        check(staking.frozen(alice), "frozen");
    }

    function test_BondsSurviveALapseInTheStakingContract() public {
        uint256 a = decided(Violation.Fraud, true);
        uint256 b = decided(Violation.Fraud, false);
        uint256 c = bring(Violation.Fraud);
        uint256 d = decided(Violation.Fraud, true);
        vm.warp(staking.resolveBy(a) + 1);
        staking.lapseCase(a);
        staking.lapseCase(b);
        staking.lapseCase(c);
        emits(address(verification));
        emit BunkerVerification.CaseExecuted(a, true, 0);
        verification.execute(a);
        verification.execute(b);
        verification.lapse(c);
        // Not lapsed by anybody yet: closed here, without a slash.
        verification.execute(d);
        same(staking.providerOf(alice).openCases, 0, "free");
        same(staking.providerOf(alice).active, STARTER, "too late to slash");
        same(verification.owed(accuser), 3 * BOND, "bonds");
        same(verification.owed(alice), BOND, "bond");
    }

    function test_BondsSurviveTheEndOfTheCourt() public {
        uint256 a = decided(Violation.Fraud, true);
        uint256 b = bring(Violation.Fraud);
        vm.prank(address(timelock));
        staking.setCourt(bob);
        skip(Params.DECIDE + 1);
        verification.execute(a);
        verification.lapse(b);
        same(verification.owed(accuser), 2 * BOND, "bonds");
        same(staking.providerOf(alice).active, STARTER, "no court, no slash");
    }

    function test_ABrokenReputationDoesNotStopTheSlash() public {
        uint256 id = decided(Violation.Fraud, true);
        vm.prank(address(timelock));
        reputation.setReporter(address(verification), false);
        skip(Params.APPEAL + 1);
        emits(address(verification));
        emit BunkerVerification.ReputationUnreachable(id);
        verification.execute(id);
        same(staking.providerOf(alice).active, STARTER / 2, "slashed");
    }

    function test_APauseStopsOnlyNewAccusations() public {
        uint256 appealed = decided(Violation.Fraud, false);
        uint256 open = bring(Violation.Downtime);
        uint256 forgotten = bring(Violation.Downtime);
        skip(1 days);
        vm.prank(address(timelock));
        verification.pause();
        uint40 until = verification.pausedUntil();
        vm.prank(accuser);
        fails(Pausable.IsPaused.selector, until);
        verification.bring(alice, Violation.Downtime, false, "");
        attest();
        certify(until);
        vm.prank(accuser);
        verification.appeal(appealed);
        vm.prank(address(timelock));
        verification.decideAppeal(appealed, true);
        verification.execute(appealed);
        answer(open);
        decide(open, false);
        skip(Params.APPEAL + 1);
        verification.execute(open);
        vm.prank(alice);
        verification.withdraw();
        vm.warp(until - 1);
        verification.lapse(forgotten);
        vm.prank(accuser);
        verification.withdraw();
        same(token.balanceOf(address(verification)), 0, "all of it during the pause");
    }

    // ---- governance

    function test_SharesAreLoweredAndNeverAboveTheParameters() public {
        vm.startPrank(address(timelock));
        fails(BunkerVerification.ShareOutOfRange.selector, 5_001);
        verification.setSlashShare(Violation.Fraud, 5_001);
        fails(BunkerVerification.ShareOutOfRange.selector, 0);
        verification.setSlashShare(Violation.Fraud, 0);
        fails(BunkerVerification.ShareOutOfRange.selector, 1);
        verification.setSlashShare(Violation.None, 1);
        emits(address(verification));
        emit BunkerVerification.SlashShareSet(Violation.Fraud, 1);
        verification.setSlashShare(Violation.Fraud, 1);
        same(verification.slashBps(Violation.Fraud), 1, "lowered");
        verification.setSlashShare(Violation.Fraud, 5_000);
    }

    function test_GovernanceNamesTheArbiter() public {
        vm.startPrank(address(timelock));
        emits(address(verification));
        emit BunkerVerification.ArbiterSet(carol);
        verification.setArbiter(carol);
        same(verification.arbiter(), carol, "arbiter");
        fails(BunkerVerification.AddressIsZero.selector);
        verification.setArbiter(address(0));
    }

    function test_GasOfAnAttestation() public {
        attest();
        skip(DAY);
        attest();
        atMost(vm.snapshotGasLastCall("verification: attest, next"), 38_000, "gas");
    }
}

/// Attestations and cases at any time; who is right varies.
contract VerificationHandler is Base {
    uint256[] internal cases;
    uint256 internal lastShown;
    uint256 internal suspendedUntil;
    address internal owner = msg.sender;

    constructor(System memory s) {
        adopt(s);
        vm.startPrank(bob);
        token.approve(address(verification), type(uint256).max);
        vm.stopPrank();
        vm.startPrank(alice);
        token.approve(address(verification), type(uint256).max);
        vm.stopPrank();
    }

    function attest() external {
        if (lastShown != 0 && block.timestamp < lastShown + 12 hours) return;
        if (lastShown != 0 && block.timestamp > lastShown + 3 days) suspendedUntil = block.timestamp + 7 days;
        vm.prank(alice);
        verification.attest("");
        lastShown = block.timestamp;
    }

    function bring(uint8 violation, bool memory_) external {
        BunkerStaking.Provider memory p = staking.providerOf(alice);
        if (uint256(p.active) + p.thawing == 0 || cases.length == 40) return;
        pay(bob);
        Violation v = Violation(bound(violation, 1, 6));
        vm.prank(bob);
        cases.push(verification.bring(alice, v, memory_ && v == Violation.SecurityViolation, ""));
    }

    function answer(uint256 which) external {
        (uint256 id, BunkerVerification.Case memory c) = pick(which);
        if (c.stage != BunkerVerification.Stage.Open || c.answered) return;
        if (block.timestamp > c.openedAt + Params.RESPOND) return;
        vm.prank(alice);
        verification.answer(id, "");
    }

    function decide(uint256 which, bool upheld) external {
        (uint256 id, BunkerVerification.Case memory c) = pick(which);
        if (c.stage != BunkerVerification.Stage.Open || block.timestamp > c.openedAt + Params.DECIDE) return;
        if (!c.answered && block.timestamp <= c.openedAt + Params.RESPOND) return;
        vm.prank(arbiter);
        verification.decide(id, upheld);
    }

    function appeal(uint256 which) external {
        (uint256 id, BunkerVerification.Case memory c) = pick(which);
        if (c.stage != BunkerVerification.Stage.Decided || block.timestamp > c.since + Params.APPEAL) return;
        address loser = c.upheld ? alice : bob;
        pay(loser);
        vm.prank(loser);
        verification.appeal(id);
    }

    function decideAppeal(uint256 which, bool upheld) external {
        (uint256 id, BunkerVerification.Case memory c) = pick(which);
        if (c.stage != BunkerVerification.Stage.Appealed) return;
        if (block.timestamp > c.since + Params.APPEAL_DECISION) return;
        vm.prank(address(timelock));
        verification.decideAppeal(id, upheld);
    }

    function end(uint256 which) external {
        (uint256 id, BunkerVerification.Case memory c) = pick(which);
        if (id != 0) endOne(id, c);
    }

    function lapseInStaking(uint256 which) external {
        (uint256 id,) = pick(which);
        if (id == 0 || staking.resolveBy(id) == 0 || block.timestamp <= staking.resolveBy(id)) return;
        staking.lapseCase(id);
    }

    function withdraw(bool ofAlice) external {
        address who = ofAlice ? alice : bob;
        if (verification.owed(who) == 0) return;
        vm.prank(who);
        verification.withdraw();
    }

    function stake() external {
        stakeAs(alice, STARTER);
    }

    function wait(uint256 time) external {
        skip(bound(time, 1, 2 days));
    }

    /// (20)
    function current() external view returns (bool) {
        return lastShown != 0 && block.timestamp <= lastShown + 1 days && block.timestamp >= suspendedUntil;
    }

    function bonds() external view returns (uint256 sum) {
        for (uint256 i = 0; i < cases.length; ++i) {
            BunkerVerification.Case memory c = verification.caseOf(cases[i]);
            if (c.stage == BunkerVerification.Stage.Closed) continue;
            sum += Params.CASE_BOND;
            if (c.appellant != address(0)) sum += Params.CASE_BOND;
        }
        sum += verification.owed(alice) + verification.owed(bob);
    }

    /// The arbiter and governance stay silent. Not a step of the fuzzer.
    function endAll() external {
        if (msg.sender != owner) return;
        skip(Params.CASE_LIFE + 1);
        for (uint256 i = 0; i < cases.length; ++i) {
            endOne(cases[i], verification.caseOf(cases[i]));
        }
    }

    function endOne(uint256 id, BunkerVerification.Case memory c) private {
        if (c.stage == BunkerVerification.Stage.Closed) return;
        if (c.stage == BunkerVerification.Stage.Open) {
            if (block.timestamp > c.openedAt + Params.DECIDE) verification.lapse(id);
            return;
        }
        if (c.stage == BunkerVerification.Stage.Decided && block.timestamp <= c.since + Params.APPEAL) return;
        if (c.stage == BunkerVerification.Stage.Appealed && block.timestamp <= c.since + Params.APPEAL_DECISION) {
            return;
        }
        verification.execute(id);
    }

    function pay(address who) private {
        vm.prank(treasury);
        check(token.transfer(who, Params.CASE_BOND), "bond");
    }

    function pick(uint256 which) private view returns (uint256 id, BunkerVerification.Case memory c) {
        if (cases.length == 0) return (0, c);
        id = cases[which % cases.length];
        c = verification.caseOf(id);
    }
}

contract BunkerVerificationInvariants is Fixture {
    VerificationHandler private handler;

    function setUp() public override {
        super.setUp();
        stakeAs(alice, STARTER);
        handler = new VerificationHandler(deployed());
        target(address(handler));
    }

    /// (20), and every bond has an owner.
    function invariant_CurrentMeansShownInTimeAndBondsAreHere() public view {
        check(verification.isCurrent(alice) == handler.current(), "(20) current");
        same(token.balanceOf(address(verification)), handler.bonds(), "bonds");
    }

    function afterInvariant() public {
        handler.endAll();
        same(staking.providerOf(alice).openCases, 0, "every case ends");
        uint256 owed = verification.owed(alice) + verification.owed(bob);
        same(token.balanceOf(address(verification)), owed, "every bond is somebody's");
        skip(8 days);
        handler.attest();
        skip(1 days);
        for (uint256 i = 0; i < 7; ++i) {
            handler.attest();
            skip(1 days);
        }
        check(verification.isCurrent(alice), "(20) a suspension ends");
    }
}
