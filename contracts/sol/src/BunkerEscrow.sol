// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {BunkerToken} from "./BunkerToken.sol";
import {Pausable, Governed} from "./Governed.sol";
import {IEligibility, IReputation, Kind} from "./Interfaces.sol";
import {Params} from "./Params.sol";

/// @title Payment of jobs by proven seconds
/// @notice A requester funds three signed bids at once. A provider is paid for the seconds it was up, never for more than
/// have passed: by vouchers the requester signs, or, when the requester is silent, by its own proposal that nobody
/// disputed. Every wait ends by itself, so that no money depends on anybody's help. Payments are credited and withdrawn.
contract BunkerEscrow is Pausable, EIP712 {
    using SafeCast for uint256;
    using SafeERC20 for BunkerToken;

    uint256 private constant REPLICAS = 3;

    /// A provider's offer, signed by it.
    struct Bid {
        bytes32 jobId;
        address provider;
        uint112 ratePerSec;
        uint32 maxDuration;
        uint64 expiresAt;
    }

    /// All seconds of `provider` so far, signed by the requester. Seconds only grow, so the newest voucher is the one
    /// with most of them; `seq` is for the parties' records.
    struct UsageVoucher {
        bytes32 jobId;
        address provider;
        uint32 uptimeSeconds;
        uint64 seq;
    }

    struct Permit {
        uint256 value;
        uint256 deadline;
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    enum Status {
        None,
        Open,
        Closed
    }

    struct Seat {
        address provider;
        uint96 rate;
    }

    struct Job {
        address requester;
        uint40 start;
        uint32 duration;
        uint16 feeBps;
        Status status;
        uint32[3] settled;
        /// The shortest of what the three bids allow.
        uint32 maxDuration;
        /// Proposals that are not decided.
        uint8 pending;
        Seat[3] seats;
    }

    enum Claim {
        None,
        Proposed,
        Disputed
    }

    struct Proposal {
        uint32 uptimeSeconds;
        /// Of the proposal, then of the dispute.
        uint40 since;
        Claim claim;
    }

    bytes32 private constant BID_TYPEHASH =
        keccak256("Bid(bytes32 jobId,address provider,uint112 ratePerSec,uint32 maxDuration,uint64 expiresAt)");
    bytes32 private constant VOUCHER_TYPEHASH =
        keccak256("UsageVoucher(bytes32 jobId,address provider,uint32 uptimeSeconds,uint64 seq)");

    /// @notice Decides disputes.
    address public arbiter;
    /// @notice Fee of new jobs.
    uint16 public feeBps = Params.FEE;
    BunkerToken public immutable token;
    IEligibility public immutable staking;
    IReputation public immutable reputation;
    /// @notice Receives the part of the fees that is not burnt.
    address public treasury;
    /// @notice Fees taken and not yet distributed.
    uint256 public fees;

    /// @notice What an address may withdraw.
    mapping(address who => uint256) public owed;
    mapping(bytes32 jobId => Job) private _jobs;
    mapping(bytes32 jobId => mapping(uint256 seat => Proposal)) private _proposals;

    event Opened(
        bytes32 indexed jobId,
        address indexed requester,
        bytes32 specHash,
        uint32 duration,
        uint256 deposit,
        uint16 feeBps,
        address[3] providers
    );
    event Settled(bytes32 indexed jobId, address indexed provider, uint32 uptimeSeconds, uint256 paid, uint256 fee);
    event VoucherUsed(bytes32 indexed jobId, address indexed provider, uint64 seq);
    event UptimeProposed(bytes32 indexed jobId, address indexed provider, uint32 uptimeSeconds, uint40 challengeUntil);
    event Disputed(bytes32 indexed jobId, address indexed provider, uint40 resolveUntil);
    event Resolved(bytes32 indexed jobId, address indexed provider, uint32 uptimeSeconds);
    event DisputeTimedOut(bytes32 indexed jobId, address indexed provider, uint32 uptimeSeconds);
    event ToppedUp(bytes32 indexed jobId, uint32 duration, uint256 deposit);
    event Stopped(bytes32 indexed jobId, uint32 duration, uint256 refund);
    event Closed(bytes32 indexed jobId, uint256 refund);
    event ReputationUnreachable(bytes32 indexed jobId, address indexed provider);
    event Withdrawn(address indexed who, uint256 amount);
    event Skimmed(uint256 burnt, uint256 toTreasury);
    event ArbiterSet(address arbiter);
    event TreasurySet(address treasury);
    event FeeSet(uint16 feeBps);

    error AddressIsZero();
    error FeeTooHigh(uint16 feeBps);
    error JobExists(bytes32 jobId);
    error JobNotOpen(bytes32 jobId);
    error DurationIsZero();
    error DurationAboveBid(uint32 maxDuration);
    error BidForOtherJob(uint256 seat);
    error BidExpired(uint256 seat);
    error BidSignatureInvalid(uint256 seat);
    error RateIsZero(uint256 seat);
    error ProvidersNotDistinct();
    error ProviderIsRequester();
    error ProviderNotEligible(address provider);
    error NotRequester(address caller);
    error NotProviderOfJob(address who);
    error NotArbiter(address caller);
    error VoucherSignatureInvalid();
    error VoucherNotNewer(uint32 settled);
    error MoreThanElapsed(uint32 elapsed);
    error ProposalPending();
    error ClaimsClosed(uint256 until);
    error NothingProposed();
    error ChallengeRunning(uint40 until);
    error ChallengeOver(uint40 until);
    error NotDisputed();
    error DisputeRunning(uint40 until);
    error DisputeOver(uint40 until);
    error MoreThanProposed(uint32 proposed);
    error JobHasEnded(uint256 end);
    error ClaimsPending(uint8 pending);
    error ClaimsOpen(uint256 until);
    error NothingOwed();

    constructor(
        address governor_,
        BunkerToken token_,
        IEligibility staking_,
        IReputation reputation_,
        address arbiter_,
        address treasury_
    ) Governed(governor_) EIP712("BunkerEscrow", "1") {
        token = token_;
        staking = staking_;
        reputation = reputation_;
        _setArbiter(arbiter_);
        _setTreasury(treasury_);
    }

    // ---- requesters

    /// @notice The id of a requester's deployment. Opening it twice fails, so a lost receipt is no danger.
    function jobIdOf(address requester, bytes16 deployment) public pure returns (bytes32) {
        return keccak256(abi.encode(requester, deployment));
    }

    /// @notice Starts a job: three bids, funded for `duration` seconds.
    function open(
        bytes16 deployment,
        bytes32 specHash,
        uint32 duration,
        Bid[3] calldata bids,
        bytes[3] calldata signatures
    ) external returns (bytes32) {
        return _open(deployment, specHash, duration, bids, signatures);
    }

    /// @notice The same with the allowance given by signature. A permit somebody else used up already is no failure.
    function openWithPermit(
        bytes16 deployment,
        bytes32 specHash,
        uint32 duration,
        Bid[3] calldata bids,
        bytes[3] calldata signatures,
        Permit calldata permit
    ) external returns (bytes32) {
        try token.permit(msg.sender, address(this), permit.value, permit.deadline, permit.v, permit.r, permit.s) {}
            catch {}
        return _open(deployment, specHash, duration, bids, signatures);
    }

    /// @notice Buys `extra` seconds more at the same rates, while the job runs. What is earned already does not change.
    function topUp(bytes32 jobId, uint32 extra) external whenRunning {
        Job storage j = _openJob(jobId);
        if (msg.sender != j.requester) revert NotRequester(msg.sender);
        if (extra == 0) revert DurationIsZero();
        if (block.timestamp >= _end(j)) revert JobHasEnded(_end(j));
        if (extra > j.maxDuration - j.duration) revert DurationAboveBid(j.maxDuration);
        j.duration += extra;
        uint256 deposit = _rates(j) * extra;
        emit ToppedUp(jobId, j.duration, deposit);
        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    /// @notice Ends the service now and credits what was reserved for the time to come. Providers may still claim what
    /// has passed.
    function stop(bytes32 jobId) external {
        Job storage j = _openJob(jobId);
        if (msg.sender != j.requester) revert NotRequester(msg.sender);
        if (block.timestamp >= _end(j)) revert JobHasEnded(_end(j));
        uint32 elapsed = uint32(block.timestamp - j.start);
        uint256 refund = _rates(j) * (j.duration - elapsed);
        j.duration = elapsed;
        owed[msg.sender] += refund;
        emit Stopped(jobId, elapsed, refund);
    }

    /// @notice Disputes a provider's proposal within its challenge time.
    function dispute(bytes32 jobId, address provider) external {
        Job storage j = _openJob(jobId);
        if (msg.sender != j.requester) revert NotRequester(msg.sender);
        Proposal storage q = _proposals[jobId][_seat(j, provider)];
        if (q.claim != Claim.Proposed) revert NothingProposed();
        uint40 until = q.since + Params.CHALLENGE;
        if (block.timestamp >= until) revert ChallengeOver(until);
        q.claim = Claim.Disputed;
        q.since = uint40(block.timestamp);
        emit Disputed(jobId, provider, q.since + Params.RESOLVE);
    }

    // ---- providers

    /// @notice Credits a provider what a voucher says beyond what it got before. Anybody may hand the voucher in.
    function settle(UsageVoucher calldata voucher, bytes calldata signature) external {
        Job storage j = _openJob(voucher.jobId);
        uint256 seat = _seat(j, voucher.provider);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(VOUCHER_TYPEHASH, voucher.jobId, voucher.provider, voucher.uptimeSeconds, voucher.seq))
        );
        if (!_signed(j.requester, digest, signature)) revert VoucherSignatureInvalid();
        uint32 settled = j.settled[seat];
        if (voucher.uptimeSeconds <= settled) revert VoucherNotNewer(settled);
        uint32 elapsed = _elapsed(j);
        if (voucher.uptimeSeconds > elapsed) revert MoreThanElapsed(elapsed);
        emit VoucherUsed(voucher.jobId, voucher.provider, voucher.seq);
        _pay(voucher.jobId, j, seat, voucher.uptimeSeconds);
    }

    /// @notice The calling provider says how long it was up; final unless the requester disputes within a day.
    function proposeUptime(bytes32 jobId, uint32 uptimeSeconds) external {
        Job storage j = _openJob(jobId);
        uint256 seat = _seat(j, msg.sender);
        Proposal storage q = _proposals[jobId][seat];
        if (q.claim != Claim.None) revert ProposalPending();
        uint256 until = _end(j) + Params.CLAIM;
        if (block.timestamp >= until) revert ClaimsClosed(until);
        if (uptimeSeconds <= j.settled[seat]) revert VoucherNotNewer(j.settled[seat]);
        uint32 elapsed = _elapsed(j);
        if (uptimeSeconds > elapsed) revert MoreThanElapsed(elapsed);
        j.pending += 1;
        uint40 time = uint40(block.timestamp);
        _proposals[jobId][seat] = Proposal({uptimeSeconds: uptimeSeconds, since: time, claim: Claim.Proposed});
        emit UptimeProposed(jobId, msg.sender, uptimeSeconds, time + Params.CHALLENGE);
    }

    /// @notice Credits a proposal that nobody disputed; anybody may.
    function finalizeUptime(bytes32 jobId, address provider) external {
        Job storage j = _openJob(jobId);
        uint256 seat = _seat(j, provider);
        Proposal memory q = _proposals[jobId][seat];
        if (q.claim != Claim.Proposed) revert NothingProposed();
        uint40 until = q.since + Params.CHALLENGE;
        if (block.timestamp < until) revert ChallengeRunning(until);
        _conclude(jobId, j, seat, q.uptimeSeconds);
    }

    /// @notice Takes out what the caller is owed.
    function withdraw() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert NothingOwed();
        owed[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ---- disputes

    /// @notice The arbiter says how long the provider was up: no more than it proposed itself.
    function resolve(bytes32 jobId, address provider, uint32 uptimeSeconds) external {
        if (msg.sender != arbiter) revert NotArbiter(msg.sender);
        Job storage j = _openJob(jobId);
        uint256 seat = _seat(j, provider);
        Proposal memory q = _proposals[jobId][seat];
        if (q.claim != Claim.Disputed) revert NotDisputed();
        uint40 until = q.since + Params.RESOLVE;
        if (block.timestamp >= until) revert DisputeOver(until);
        if (uptimeSeconds > q.uptimeSeconds) revert MoreThanProposed(q.uptimeSeconds);
        emit Resolved(jobId, provider, uptimeSeconds);
        _conclude(jobId, j, seat, uptimeSeconds);
    }

    /// @notice Splits the disputed seconds when the arbiter stayed silent; anybody may.
    function timeoutDispute(bytes32 jobId, address provider) external {
        Job storage j = _openJob(jobId);
        uint256 seat = _seat(j, provider);
        Proposal memory q = _proposals[jobId][seat];
        if (q.claim != Claim.Disputed) revert NotDisputed();
        uint40 until = q.since + Params.RESOLVE;
        if (block.timestamp < until) revert DisputeRunning(until);
        uint32 settled = j.settled[seat];
        uint256 open_ = q.uptimeSeconds > settled ? q.uptimeSeconds - settled : 0;
        uint32 uptimeSeconds = settled + uint32(open_ * Params.TIMEOUT_SHARE / Params.BPS);
        emit DisputeTimedOut(jobId, provider, uptimeSeconds);
        _conclude(jobId, j, seat, uptimeSeconds);
    }

    // ---- the end

    /// @notice Closes a job after the time for claims, or as soon as all is settled, and credits the rest to the
    /// requester. Anybody may.
    function close(bytes32 jobId) external {
        Job storage j = _openJob(jobId);
        if (j.pending != 0) revert ClaimsPending(j.pending);
        uint256 until = _end(j) + Params.CLAIM;
        uint256 rest = _remaining(j);
        if (rest != 0 && block.timestamp < until) revert ClaimsOpen(until);
        j.status = Status.Closed;
        owed[j.requester] += rest;
        emit Closed(jobId, rest);
        if (j.duration < Params.REPORTED_SECONDS) return;
        for (uint256 i = 0; i < REPLICAS; ++i) {
            _report(jobId, j, i);
        }
    }

    /// @notice Burns and distributes the fees taken so far; anybody may.
    function skim() external {
        uint256 amount = fees;
        if (amount == 0) revert NothingOwed();
        fees = 0;
        uint256 burnt = amount * Params.BURN_BPS / Params.BPS;
        emit Skimmed(burnt, amount - burnt);
        token.burn(burnt);
        token.safeTransfer(treasury, amount - burnt);
    }

    // ---- governance

    /// @notice Names who decides disputes.
    function setArbiter(address arbiter_) external onlyGovernor {
        _setArbiter(arbiter_);
    }

    /// @notice Names who gets the part of the fees that is not burnt.
    function setTreasury(address treasury_) external onlyGovernor {
        _setTreasury(treasury_);
    }

    /// @notice Changes the fee of jobs opened from now on.
    function setFee(uint16 feeBps_) external onlyGovernor {
        if (feeBps_ > Params.MAX_FEE) revert FeeTooHigh(feeBps_);
        feeBps = feeBps_;
        emit FeeSet(feeBps_);
    }

    // ---- views

    /// @notice Everything known of a job.
    function jobOf(bytes32 jobId) external view returns (Job memory) {
        return _jobs[jobId];
    }

    /// @notice What a provider of the job proposed and nobody decided yet.
    function proposalOf(bytes32 jobId, address provider) external view returns (Proposal memory) {
        return _proposals[jobId][_seat(_jobs[jobId], provider)];
    }

    /// @notice What is deposited for a job and not paid yet.
    function remainingOf(bytes32 jobId) external view returns (uint256) {
        Job storage j = _jobs[jobId];
        return j.status == Status.Open ? _remaining(j) : 0;
    }

    /// @notice The digest a provider signs.
    function bidDigest(Bid calldata bid) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(BID_TYPEHASH, bid.jobId, bid.provider, bid.ratePerSec, bid.maxDuration, bid.expiresAt))
        );
    }

    // ---- inside

    function _open(
        bytes16 deployment,
        bytes32 specHash,
        uint32 duration,
        Bid[3] calldata bids,
        bytes[3] calldata signatures
    ) private whenRunning returns (bytes32 jobId) {
        jobId = jobIdOf(msg.sender, deployment);
        Job storage j = _jobs[jobId];
        if (j.status != Status.None) revert JobExists(jobId);
        if (duration == 0) revert DurationIsZero();
        address[3] memory providers = [bids[0].provider, bids[1].provider, bids[2].provider];
        if (providers[0] == providers[1] || providers[1] == providers[2] || providers[0] == providers[2]) {
            revert ProvidersNotDistinct();
        }
        uint32 maxDuration = type(uint32).max;
        uint256 rates = 0;
        for (uint256 i = 0; i < REPLICAS; ++i) {
            Bid calldata bid = bids[i];
            _checkBid(jobId, i, bid, signatures[i]);
            if (bid.maxDuration < maxDuration) maxDuration = bid.maxDuration;
            rates += bid.ratePerSec;
            j.seats[i] = Seat({provider: bid.provider, rate: uint256(bid.ratePerSec).toUint96()});
        }
        if (duration > maxDuration) revert DurationAboveBid(maxDuration);
        uint16 fee = feeBps;
        (j.requester, j.start, j.duration) = (msg.sender, uint40(block.timestamp), duration);
        (j.feeBps, j.status, j.maxDuration) = (fee, Status.Open, maxDuration);
        emit Opened(jobId, msg.sender, specHash, duration, rates * duration, fee, providers);
        token.safeTransferFrom(msg.sender, address(this), rates * duration);
    }

    function _checkBid(bytes32 jobId, uint256 seat, Bid calldata bid, bytes calldata signature) private view {
        if (bid.jobId != jobId) revert BidForOtherJob(seat);
        if (block.timestamp > bid.expiresAt) revert BidExpired(seat);
        if (bid.ratePerSec == 0) revert RateIsZero(seat);
        if (bid.provider == msg.sender) revert ProviderIsRequester();
        if (!_signed(bid.provider, bidDigest(bid), signature)) revert BidSignatureInvalid(seat);
        if (!staking.eligible(bid.provider)) revert ProviderNotEligible(bid.provider);
    }

    /// A wallet's own key first: asking for its code costs more than recovering the key.
    function _signed(address signer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        // slither-disable-next-line unused-return: the third value details the failure, which is not passed on.
        (address recovered, ECDSA.RecoverError failed,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (failed == ECDSA.RecoverError.NoError && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNowCalldata(signer, digest, signature);
    }

    function _conclude(bytes32 jobId, Job storage j, uint256 seat, uint32 uptimeSeconds) private {
        delete _proposals[jobId][seat];
        j.pending -= 1;
        if (uptimeSeconds > j.settled[seat]) _pay(jobId, j, seat, uptimeSeconds);
    }

    function _pay(bytes32 jobId, Job storage j, uint256 seat, uint32 uptimeSeconds) private {
        Seat memory s = j.seats[seat];
        uint256 amount = uint256(s.rate) * (uptimeSeconds - j.settled[seat]);
        j.settled[seat] = uptimeSeconds;
        uint256 fee = amount * j.feeBps / Params.BPS;
        fees += fee;
        owed[s.provider] += amount - fee;
        emit Settled(jobId, s.provider, uptimeSeconds, amount - fee, fee);
    }

    /// The event in the catch costs more than what is left when the report ran out of gas: nobody can starve a report
    /// and still close the job.
    function _report(bytes32 jobId, Job storage j, uint256 seat) private {
        uint256 settled = j.settled[seat];
        Kind kind;
        if (settled == 0) kind = Kind.JobUnserved;
        else if (settled * Params.BPS < j.duration * Params.REPORTED_BPS) return;
        else kind = j.duration >= Params.LONG_JOB ? Kind.UptimeProven : Kind.JobCompleted;
        address provider = j.seats[seat].provider;
        try reputation.report(provider, kind, jobId) {}
        catch {
            emit ReputationUnreachable(jobId, provider);
        }
    }

    function _openJob(bytes32 jobId) private view returns (Job storage j) {
        j = _jobs[jobId];
        if (j.status != Status.Open) revert JobNotOpen(jobId);
    }

    function _seat(Job storage j, address provider) private view returns (uint256) {
        for (uint256 i = 0; i < REPLICAS; ++i) {
            if (j.seats[i].provider == provider) return i;
        }
        revert NotProviderOfJob(provider);
    }

    function _end(Job storage j) private view returns (uint256) {
        return uint256(j.start) + j.duration;
    }

    function _elapsed(Job storage j) private view returns (uint32) {
        return uint32(Math.min(block.timestamp - j.start, j.duration));
    }

    function _rates(Job storage j) private view returns (uint256) {
        return uint256(j.seats[0].rate) + j.seats[1].rate + j.seats[2].rate;
    }

    function _remaining(Job storage j) private view returns (uint256 rest) {
        for (uint256 i = 0; i < REPLICAS; ++i) {
            rest += uint256(j.seats[i].rate) * (j.duration - j.settled[i]);
        }
    }

    function _setArbiter(address arbiter_) private {
        if (arbiter_ == address(0)) revert AddressIsZero();
        arbiter = arbiter_;
        emit ArbiterSet(arbiter_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert AddressIsZero();
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }
}
