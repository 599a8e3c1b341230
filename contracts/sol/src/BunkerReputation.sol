// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Governed} from "./Governed.sol";
import {IReputation, Kind} from "./Interfaces.sol";
import {Params} from "./Params.sol";

/// @title Scores of providers
/// @notice A score is 0 to 1000 and comes from facts that other contracts report, each fact once. It decays by the week
/// down to a floor; weeks are counted from the first report on, so that reporting often does not stop the decay.
contract BunkerReputation is Governed, IReputation {
    struct Record {
        uint16 score;
        /// Whole weeks of decay are accounted up to this time; 0 before the first report.
        uint40 decayedTo;
    }

    /// @notice Contracts that may report.
    mapping(address source => bool) public reporter;
    /// @notice What each kind of fact changes.
    mapping(Kind kind => int16) public deltaOf;
    /// @notice Facts that are counted already.
    mapping(bytes32 fact => bool) public counted;
    mapping(address provider => Record) private _records;

    event Reported(
        address indexed provider, address indexed source, Kind indexed kind, bytes32 key, int16 delta, uint16 score
    );
    event ReporterSet(address indexed source, bool allowed);
    event DeltaSet(Kind indexed kind, int16 delta);

    error NotReporter(address caller);
    error CountedAlready(bytes32 key);
    error DeltaOutOfRange(int16 delta);

    constructor(address governor_, address[] memory sources) Governed(governor_) {
        for (uint256 i = 0; i < sources.length; ++i) {
            _setReporter(sources[i], true);
        }
        _setDelta(Kind.JobCompleted, Params.DELTA_JOB_COMPLETED);
        _setDelta(Kind.JobUnserved, Params.DELTA_JOB_UNSERVED);
        _setDelta(Kind.UptimeProven, Params.DELTA_UPTIME_PROVEN);
        _setDelta(Kind.HealthFailed, Params.DELTA_HEALTH_FAILED);
        _setDelta(Kind.ReplicaMismatch, Params.DELTA_REPLICA_MISMATCH);
        _setDelta(Kind.Slashed, Params.DELTA_SLASHED);
        _setDelta(Kind.SecurityBreach, Params.DELTA_SECURITY_BREACH);
    }

    /// @notice Counts a fact about `provider`. `key` names it within the reporting contract: a job, a case.
    function report(address provider, Kind kind, bytes32 key) external {
        if (!reporter[msg.sender]) revert NotReporter(msg.sender);
        bytes32 fact = keccak256(abi.encode(msg.sender, key, provider, kind));
        if (counted[fact]) revert CountedAlready(key);
        counted[fact] = true;
        Record memory r = _decayed(_records[provider]);
        if (r.decayedTo == 0) r.decayedTo = uint40(block.timestamp);
        int16 delta = deltaOf[kind];
        r.score = _clamp(int16(r.score) + delta);
        _records[provider] = r;
        emit Reported(provider, msg.sender, kind, key, delta, r.score);
    }

    /// @notice Lets a contract report, or stops it.
    function setReporter(address source, bool allowed) external onlyGovernor {
        _setReporter(source, allowed);
    }

    /// @notice Changes what a kind of fact counts, within `Params.MAX_DELTA` either way.
    function setDelta(Kind kind, int16 delta) external onlyGovernor {
        _setDelta(kind, delta);
    }

    /// @notice The score now, decay included.
    function scoreOf(address provider) public view returns (uint16) {
        return _decayed(_records[provider]).score;
    }

    /// @notice 0 Restricted, 1 Probation, 2 Standard, 3 Trusted, 4 Elite.
    function standingOf(address provider) external view returns (uint8) {
        uint16 score = scoreOf(provider);
        if (score < Params.PROBATION) return 0;
        if (score < Params.STANDARD) return 1;
        if (score < Params.TRUSTED) return 2;
        if (score < Params.ELITE) return 3;
        return 4;
    }

    /// @notice The score as it was written last, and up to when it has decayed.
    function recordOf(address provider) external view returns (Record memory) {
        return _records[provider];
    }

    function _decayed(Record memory r) private view returns (Record memory) {
        if (r.decayedTo == 0) return Record({score: Params.SCORE_INITIAL, decayedTo: 0});
        uint40 past = (uint40(block.timestamp) - r.decayedTo) / 1 weeks;
        // slither-disable-next-line divide-before-multiply: whole weeks only, the rest stays for the next time.
        r.decayedTo += past * 1 weeks;
        if (r.score > Params.SCORE_FLOOR) {
            uint256 room = r.score - Params.SCORE_FLOOR;
            uint256 decay = uint256(past) * Params.DECAY_PER_WEEK;
            r.score -= uint16(decay < room ? decay : room);
        }
        return r;
    }

    function _clamp(int16 score) private pure returns (uint16) {
        if (score < 0) return 0;
        if (score > int16(Params.SCORE_MAX)) return Params.SCORE_MAX;
        return uint16(score);
    }

    function _setReporter(address source, bool allowed) private {
        reporter[source] = allowed;
        emit ReporterSet(source, allowed);
    }

    function _setDelta(Kind kind, int16 delta) private {
        if (delta < -Params.MAX_DELTA || delta > Params.MAX_DELTA) revert DeltaOutOfRange(delta);
        deltaOf[kind] = delta;
        emit DeltaSet(kind, delta);
    }
}
