// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Pausable} from "./Governed.sol";
import {Params} from "./Params.sol";

/// @title The governor of every other contract
/// @notice Whatever governance does waits at least 48 hours in public; the delay can be raised, up to 30 days, and never
/// lowered. The guardian may stop the listed contracts for a week, with a week in between, and cancel what is scheduled.
/// Nobody outside this contract administers it.
contract BunkerTimelock is TimelockController {
    /// @notice May pause; holds CANCELLER_ROLE as well.
    bytes32 public constant GUARDIAN_ROLE = keccak256("GUARDIAN_ROLE");

    /// @notice Contracts the guardian may pause.
    mapping(address target => bool) public pausable;
    /// @notice When the guardian may pause a contract again.
    mapping(address target => uint40) public nextPause;

    event PausableSet(address indexed target, bool allowed);
    event GuardianPaused(address indexed guardian, address indexed target);

    error NotPausable(address target);
    error PausedRecently(address target, uint40 next);
    error DelayNotRaised(uint256 delay, uint256 current);
    error DelayTooLong(uint256 delay);

    constructor(address[] memory proposers, address[] memory executors, address guardian, address[] memory targets)
        TimelockController(Params.MIN_DELAY, proposers, executors, address(0))
    {
        _grantRole(GUARDIAN_ROLE, guardian);
        _grantRole(CANCELLER_ROLE, guardian);
        for (uint256 i = 0; i < targets.length; ++i) {
            _setPausable(targets[i], true);
        }
    }

    /// @notice Stops new business of `target` for `Params.PAUSE`.
    function guardianPause(address target) external onlyRole(GUARDIAN_ROLE) {
        if (!pausable[target]) revert NotPausable(target);
        uint40 next = nextPause[target];
        if (block.timestamp < next) revert PausedRecently(target, next);
        nextPause[target] = uint40(block.timestamp) + Params.PAUSE + Params.PAUSE_COOLDOWN;
        emit GuardianPaused(msg.sender, target);
        Pausable(target).pause();
    }

    /// @notice Changes what the guardian may pause; only through the delay.
    function setPausable(address target, bool allowed) external {
        if (msg.sender != address(this)) revert TimelockUnauthorizedCaller(msg.sender);
        _setPausable(target, allowed);
    }

    /// @inheritdoc TimelockController
    function updateDelay(uint256 newDelay) public override {
        uint256 current = getMinDelay();
        super.updateDelay(newDelay);
        if (newDelay <= current) revert DelayNotRaised(newDelay, current);
        if (newDelay > Params.MAX_DELAY) revert DelayTooLong(newDelay);
    }

    function _setPausable(address target, bool allowed) private {
        pausable[target] = allowed;
        emit PausableSet(target, allowed);
    }
}
