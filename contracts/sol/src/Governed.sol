// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Params} from "./Params.sol";

/// @title A contract with one governor
/// @notice The governor is the timelock, set at construction and never changed: there is no role to hand over, to forget
/// or to keep. Who governs is decided inside the timelock.
abstract contract Governed {
    /// @notice The timelock.
    address public immutable governor;

    error NotGovernor(address caller);
    error GovernorIsZero();

    constructor(address governor_) {
        if (governor_ == address(0)) revert GovernorIsZero();
        governor = governor_;
    }

    modifier onlyGovernor() {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _;
    }
}

/// @title A governed contract that can be stopped for a week
/// @notice A pause stops what takes new money or opens new business. It ends by itself, and it never stops anybody from
/// taking out what is theirs.
abstract contract Pausable is Governed {
    /// @notice New business is refused before this time.
    uint40 public pausedUntil;

    event Paused(uint40 until);
    event Unpaused();

    error IsPaused(uint40 until);

    modifier whenRunning() {
        if (block.timestamp < pausedUntil) revert IsPaused(pausedUntil);
        _;
    }

    /// @notice Stops new business for `Params.PAUSE`.
    function pause() external onlyGovernor {
        pausedUntil = uint40(block.timestamp) + Params.PAUSE;
        emit Paused(pausedUntil);
    }

    /// @notice Ends a pause early.
    function unpause() external onlyGovernor {
        pausedUntil = 0;
        emit Unpaused();
    }
}
