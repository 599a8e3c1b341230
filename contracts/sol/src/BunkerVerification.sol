// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {BunkerToken} from "./BunkerToken.sol";
import {Pausable, Governed} from "./Governed.sol";
import {IReputation, ISlashable, Kind, Violation} from "./Interfaces.sol";
import {Params} from "./Params.sol";

/// @title Attestations of providers, and the court
/// @notice Attestations: a provider shows itself every day; what it missed follows from the clock, so nobody has to
/// report it and nobody can reset it. A certificate of an attester says that its memory is encrypted (class 1); everybody
/// else is class 2.
///
/// Cases: anybody with a bond accuses; the provider answers; the arbiter decides; either side may appeal to governance;
/// anybody carries the outcome out. Every wait ends: without a decision the case lapses, without a decision on the appeal
/// the first one stands.
contract BunkerVerification is Pausable, EIP712 {
    using SafeERC20 for BunkerToken;

    struct Attestation {
        uint40 last;
        uint40 suspendedUntil;
    }

    struct Certificate {
        address attester;
        uint40 expiresAt;
    }

    enum Stage {
        None,
        Open,
        Decided,
        Appealed,
        Final,
        Closed
    }

    struct Case {
        address provider;
        uint40 openedAt;
        Violation violation;
        Stage stage;
        bool upheld;
        bool memoryOfClass2;
        bool answered;
        address challenger;
        /// Of the decision, then of the appeal.
        uint40 since;
        address appellant;
    }

    bytes32 private constant CERTIFICATE_TYPEHASH =
        keccak256("Certificate(address provider,bytes32 evidence,uint40 expiresAt)");

    /// @notice Decides cases.
    address public arbiter;
    BunkerToken public immutable token;
    ISlashable public immutable staking;
    IReputation public immutable reputation;

    /// @notice Share of the stake that a violation costs.
    mapping(Violation violation => uint16) public slashBps;
    /// @notice Who may certify encrypted memory.
    mapping(address attester => bool) public attesters;
    mapping(address provider => Attestation) private _attestations;
    mapping(address provider => Certificate) private _certificates;
    mapping(uint256 id => Case) private _cases;
    /// @notice Bonds to be withdrawn.
    mapping(address who => uint256) public owed;

    event Attested(address indexed provider, bytes32 evidence);
    event Suspended(address indexed provider, uint40 until);
    event Certified(address indexed provider, address indexed attester, bytes32 evidence, uint40 expiresAt);
    event CaseBrought(
        uint256 indexed id, address indexed provider, address indexed challenger, Violation violation, bytes32 evidence
    );
    event CaseAnswered(uint256 indexed id, bytes32 evidence);
    event CaseDecided(uint256 indexed id, bool upheld);
    event CaseAppealed(uint256 indexed id, address indexed appellant);
    event AppealDecided(uint256 indexed id, bool upheld);
    event CaseExecuted(uint256 indexed id, bool upheld, uint256 bps);
    event CaseLapsed(uint256 indexed id);
    event ReputationUnreachable(uint256 indexed id);
    event Withdrawn(address indexed who, uint256 amount);
    event ArbiterSet(address arbiter);
    event AttesterSet(address indexed attester, bool allowed);
    event SlashShareSet(Violation indexed violation, uint16 bps);

    error AddressIsZero();
    error AttestedAlready(uint40 next);
    error CertificateExpired(uint40 expiresAt);
    error CertificateNotNewer(uint40 expiresAt);
    error NotAttester(address signer);
    error NotAccusation();
    error MemoryIsSecurity();
    error AccusesItself();
    error WrongStage(Stage stage);
    error NotProvider(address caller);
    error AnsweredAlready();
    error AnswerTooLate(uint40 until);
    error NotArbiter(address caller);
    error AnswerPending(uint40 until);
    error DecisionTooLate(uint40 until);
    error NotParty(address caller);
    error AppealTooLate(uint40 until);
    error AppealPending(uint40 until);
    error DecisionPending(uint40 until);
    error NotGrave(Violation violation);
    error ShareOutOfRange(uint16 bps);
    error NothingOwed();

    constructor(address governor_, BunkerToken token_, ISlashable staking_, IReputation reputation_, address arbiter_)
        Governed(governor_)
        EIP712("BunkerVerification", "1")
    {
        token = token_;
        staking = staking_;
        reputation = reputation_;
        _setArbiter(arbiter_);
        for (uint8 v = uint8(Violation.Downtime); v <= uint8(Violation.DataLoss); ++v) {
            slashBps[Violation(v)] = _maxShare(Violation(v));
        }
    }

    // ---- attestations

    /// @notice The caller shows itself, once per half interval at most. Having missed `Params.SUSPEND_AFTER` intervals in
    /// a row suspends it for a week from now.
    function attest(bytes32 evidence) external {
        Attestation storage a = _attestations[msg.sender];
        uint40 time = uint40(block.timestamp);
        uint40 last = a.last;
        if (last != 0) {
            uint40 next = last + Params.ATTESTATION_INTERVAL / 2;
            if (time < next) revert AttestedAlready(next);
            if (missed(msg.sender) >= Params.SUSPEND_AFTER) {
                a.suspendedUntil = time + Params.SUSPENSION;
                emit Suspended(msg.sender, a.suspendedUntil);
            }
        }
        a.last = time;
        emit Attested(msg.sender, evidence);
    }

    /// @notice Records an attester's signed word that the memory of `provider` is encrypted until `expiresAt`.
    function certify(address provider, bytes32 evidence, uint40 expiresAt, bytes calldata signature) external {
        if (expiresAt <= block.timestamp) revert CertificateExpired(expiresAt);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(CERTIFICATE_TYPEHASH, provider, evidence, expiresAt)));
        address attester = ECDSA.recover(digest, signature);
        if (!attesters[attester]) revert NotAttester(attester);
        Certificate storage c = _certificates[provider];
        if (attesters[c.attester] && expiresAt <= c.expiresAt) revert CertificateNotNewer(c.expiresAt);
        (c.attester, c.expiresAt) = (attester, expiresAt);
        emit Certified(provider, attester, evidence, expiresAt);
    }

    // ---- cases

    /// @notice Accuses `provider` and puts the caller's bond down. `memory_` says that the memory of a job was read.
    function bring(address provider, Violation violation, bool memory_, bytes32 evidence)
        external
        whenRunning
        returns (uint256 id)
    {
        if (violation == Violation.None) revert NotAccusation();
        if (memory_ && violation != Violation.SecurityViolation) revert MemoryIsSecurity();
        if (provider == msg.sender) revert AccusesItself();
        token.safeTransferFrom(msg.sender, address(this), Params.CASE_BOND);
        id = staking.openCase(provider);
        Case storage c = _cases[id];
        c.provider = provider;
        c.openedAt = uint40(block.timestamp);
        c.violation = violation;
        c.stage = Stage.Open;
        c.memoryOfClass2 = memory_ && classOf(provider) == 2;
        c.challenger = msg.sender;
        emit CaseBrought(id, provider, msg.sender, violation, evidence);
    }

    /// @notice The accused answers; the arbiter may then decide at once.
    function answer(uint256 id, bytes32 evidence) external {
        Case storage c = _at(id, Stage.Open);
        if (msg.sender != c.provider) revert NotProvider(msg.sender);
        if (c.answered) revert AnsweredAlready();
        uint40 until = c.openedAt + Params.RESPOND;
        if (block.timestamp > until) revert AnswerTooLate(until);
        c.answered = true;
        emit CaseAnswered(id, evidence);
    }

    /// @notice Freezes the provider of a grave case until it is decided, for `Params.FREEZE` at most.
    function freeze(uint256 id) external {
        if (msg.sender != arbiter) revert NotArbiter(msg.sender);
        Case storage c = _at(id, Stage.Open);
        if (c.violation != Violation.SecurityViolation && c.violation != Violation.Fraud) {
            revert NotGrave(c.violation);
        }
        staking.freeze(id);
    }

    /// @notice The arbiter decides, after the answer or the time for it, and before `Params.DECIDE` is over.
    function decide(uint256 id, bool upheld) external {
        if (msg.sender != arbiter) revert NotArbiter(msg.sender);
        Case storage c = _at(id, Stage.Open);
        uint40 answerUntil = c.openedAt + Params.RESPOND;
        if (!c.answered && block.timestamp <= answerUntil) revert AnswerPending(answerUntil);
        uint40 until = c.openedAt + Params.DECIDE;
        if (block.timestamp > until) revert DecisionTooLate(until);
        c.stage = Stage.Decided;
        c.upheld = upheld;
        c.since = uint40(block.timestamp);
        emit CaseDecided(id, upheld);
    }

    /// @notice The side that lost appeals to governance, with a bond of its own.
    function appeal(uint256 id) external {
        Case storage c = _at(id, Stage.Decided);
        if (msg.sender != (c.upheld ? c.provider : c.challenger)) revert NotParty(msg.sender);
        uint40 until = c.since + Params.APPEAL;
        if (block.timestamp > until) revert AppealTooLate(until);
        c.stage = Stage.Appealed;
        c.since = uint40(block.timestamp);
        c.appellant = msg.sender;
        emit CaseAppealed(id, msg.sender);
        token.safeTransferFrom(msg.sender, address(this), Params.CASE_BOND);
    }

    /// @notice Governance decides the appeal.
    function decideAppeal(uint256 id, bool upheld) external onlyGovernor {
        Case storage c = _at(id, Stage.Appealed);
        uint40 until = c.since + Params.APPEAL_DECISION;
        if (block.timestamp > until) revert DecisionTooLate(until);
        c.stage = Stage.Final;
        c.upheld = upheld;
        emit AppealDecided(id, upheld);
    }

    /// @notice Carries a decision out once it can no longer change; anybody may. The bonds are settled even if the case
    /// lapsed in the staking contract meanwhile.
    function execute(uint256 id) external {
        Case storage c = _cases[id];
        if (c.stage == Stage.Decided) {
            uint40 until = c.since + Params.APPEAL;
            if (block.timestamp <= until) revert AppealPending(until);
        } else if (c.stage == Stage.Appealed) {
            uint40 until = c.since + Params.APPEAL_DECISION;
            if (block.timestamp <= until) revert DecisionPending(until);
        } else if (c.stage != Stage.Final) {
            revert WrongStage(c.stage);
        }
        c.stage = Stage.Closed;
        // A bond of each side is here when there was an appeal: the side that is right gets both.
        uint256 bonds = c.appellant == address(0) ? Params.CASE_BOND : 2 * Params.CASE_BOND;
        owed[c.upheld ? c.challenger : c.provider] += bonds;
        uint40 resolveBy = _resolveBy(id);
        if (!c.upheld || block.timestamp > resolveBy) {
            emit CaseExecuted(id, c.upheld, 0);
            if (resolveBy != 0) staking.closeCase(id);
            return;
        }
        uint256 bps = slashBps[c.violation];
        if (c.memoryOfClass2) bps = Math.min(bps * Params.MEMORY_FACTOR, Params.BPS);
        emit CaseExecuted(id, true, bps);
        staking.slash(id, bps);
        try reputation.report(c.provider, _kind(c.violation), bytes32(id)) {}
        catch {
            emit ReputationUnreachable(id);
        }
    }

    /// @notice Closes a case the arbiter did not decide; the bond goes back. Anybody may.
    function lapse(uint256 id) external {
        Case storage c = _at(id, Stage.Open);
        uint40 until = c.openedAt + Params.DECIDE;
        if (block.timestamp <= until) revert DecisionPending(until);
        c.stage = Stage.Closed;
        owed[c.challenger] += Params.CASE_BOND;
        emit CaseLapsed(id);
        if (_resolveBy(id) != 0) staking.closeCase(id);
    }

    /// @notice Takes out the caller's bonds.
    function withdraw() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert NothingOwed();
        owed[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ---- governance

    /// @notice Names who decides cases.
    function setArbiter(address arbiter_) external onlyGovernor {
        _setArbiter(arbiter_);
    }

    /// @notice Lets somebody certify memory, or dismisses them and all their certificates.
    function setAttester(address attester, bool allowed) external onlyGovernor {
        attesters[attester] = allowed;
        emit AttesterSet(attester, allowed);
    }

    /// @notice Changes what a violation costs, never above the share it has in `Params`.
    function setSlashShare(Violation violation, uint16 bps) external onlyGovernor {
        if (bps == 0 || bps > _maxShare(violation)) revert ShareOutOfRange(bps);
        slashBps[violation] = bps;
        emit SlashShareSet(violation, bps);
    }

    // ---- views

    /// @notice Whether the provider showed itself within the last interval and is not suspended.
    function isCurrent(address provider) external view returns (bool) {
        Attestation storage a = _attestations[provider];
        return
            a.last != 0 && block.timestamp <= a.last + Params.ATTESTATION_INTERVAL
                && block.timestamp >= a.suspendedUntil;
    }

    /// @notice Whole intervals missed since the provider last showed itself.
    function missed(address provider) public view returns (uint256) {
        uint40 last = _attestations[provider].last;
        if (last == 0 || block.timestamp <= last) return 0;
        return (block.timestamp - last - 1) / Params.ATTESTATION_INTERVAL;
    }

    /// @notice 1: memory encrypted, certified. 2: everybody else.
    function classOf(address provider) public view returns (uint8) {
        Certificate storage c = _certificates[provider];
        return attesters[c.attester] && block.timestamp < c.expiresAt ? 1 : 2;
    }

    /// @notice The latest certificate, which may have expired or lost its attester.
    function certificateOf(address provider) external view returns (Certificate memory) {
        return _certificates[provider];
    }

    /// @notice When the provider showed itself last, and until when it is suspended.
    function attestationOf(address provider) external view returns (Attestation memory) {
        return _attestations[provider];
    }

    /// @notice Everything known of a case.
    function caseOf(uint256 id) external view returns (Case memory) {
        return _cases[id];
    }

    // ---- inside

    function _at(uint256 id, Stage stage) private view returns (Case storage c) {
        c = _cases[id];
        if (c.stage != stage) revert WrongStage(c.stage);
    }

    /// 0 when the case is over in the staking contract, or this is no longer its court.
    function _resolveBy(uint256 id) private view returns (uint40) {
        return staking.court() == address(this) ? staking.resolveBy(id) : 0;
    }

    function _kind(Violation violation) private pure returns (Kind) {
        if (violation == Violation.Downtime) return Kind.HealthFailed;
        if (violation == Violation.DataLoss) return Kind.ReplicaMismatch;
        if (violation == Violation.SecurityViolation || violation == Violation.Fraud) return Kind.SecurityBreach;
        return Kind.Slashed;
    }

    function _maxShare(Violation violation) private pure returns (uint16) {
        if (violation == Violation.Downtime) return Params.SLASH_DOWNTIME;
        if (violation == Violation.JobAbandonment) return Params.SLASH_JOB_ABANDONMENT;
        if (violation == Violation.SecurityViolation) return Params.SLASH_SECURITY_VIOLATION;
        if (violation == Violation.Fraud) return Params.SLASH_FRAUD;
        if (violation == Violation.SLAViolation) return Params.SLASH_SLA_VIOLATION;
        if (violation == Violation.DataLoss) return Params.SLASH_DATA_LOSS;
        return 0;
    }

    function _setArbiter(address arbiter_) private {
        if (arbiter_ == address(0)) revert AddressIsZero();
        arbiter = arbiter_;
        emit ArbiterSet(arbiter_);
    }
}
