// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerTimelock} from "../src/BunkerTimelock.sol";
import {Governed, Pausable} from "../src/Governed.sol";
import {Params} from "../src/Params.sol";
import {Fixture} from "./Base.sol";

contract BunkerTimelockTest is Fixture {
    function schedule(address to, bytes memory data) private returns (bytes32 id) {
        vm.prank(proposer);
        timelock.schedule(to, 0, data, 0, 0, Params.MIN_DELAY);
        return timelock.hashOperation(to, 0, data, 0, 0);
    }

    function test_WhatGovernanceDoesWaits48Hours() public {
        bytes memory data = abi.encodeCall(BunkerStaking.setTreasury, (bob));
        schedule(address(staking), data);
        skip(Params.MIN_DELAY - 1);
        vm.expectPartialRevert(TimelockController.TimelockUnexpectedOperationState.selector);
        timelock.execute(address(staking), 0, data, 0, 0);
        skip(1);
        timelock.execute(address(staking), 0, data, 0, 0);
        same(staking.treasury(), bob, "done, by anybody");
    }

    function test_AShorterDelayIsRefused() public {
        vm.prank(proposer);
        fails(TimelockController.TimelockInsufficientDelay.selector, Params.MIN_DELAY - 1, Params.MIN_DELAY);
        timelock.schedule(address(staking), 0, "", 0, 0, Params.MIN_DELAY - 1);
    }

    function test_OnlyTheProposerSchedules() public {
        bytes32 role = timelock.PROPOSER_ROLE();
        address[3] memory others = [guardian, address(this), stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, others[i], role)
            );
            timelock.schedule(address(staking), 0, "", 0, 0, Params.MIN_DELAY);
        }
    }

    function test_TheGuardianCancels() public {
        bytes memory data = abi.encodeCall(BunkerStaking.setTreasury, (bob));
        bytes32 id = schedule(address(staking), data);
        vm.prank(guardian);
        timelock.cancel(id);
        check(!timelock.isOperation(id), "cancelled");
    }

    function test_TheDelayIsOnlyRaised() public {
        fails(TimelockController.TimelockUnauthorizedCaller.selector, address(this));
        timelock.updateDelay(Params.MAX_DELAY);
        vm.startPrank(address(timelock));
        fails(BunkerTimelock.DelayNotRaised.selector, Params.MIN_DELAY, Params.MIN_DELAY);
        timelock.updateDelay(Params.MIN_DELAY);
        fails(BunkerTimelock.DelayTooLong.selector, Params.MAX_DELAY + 1);
        timelock.updateDelay(Params.MAX_DELAY + 1);
        timelock.updateDelay(Params.MAX_DELAY);
        same(timelock.getMinDelay(), Params.MAX_DELAY, "raised");
    }

    function test_OnlyTheGuardianPauses() public {
        bytes32 role = timelock.GUARDIAN_ROLE();
        address[3] memory others = [proposer, address(this), stranger];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(
                abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, others[i], role)
            );
            timelock.guardianPause(address(staking));
        }
    }

    function test_APauseEndsByItselfAndLeavesAWeekFree() public {
        vm.startPrank(guardian);
        uint40 until = uint40(block.timestamp) + Params.PAUSE;
        emits(address(timelock));
        emit BunkerTimelock.GuardianPaused(guardian, address(staking));
        emits(address(staking));
        emit Pausable.Paused(until);
        timelock.guardianPause(address(staking));
        same(staking.pausedUntil(), until, "paused");
        vm.stopPrank();

        fund(alice, STARTER, address(staking));
        skip(Params.PAUSE - 1);
        vm.prank(alice);
        fails(Pausable.IsPaused.selector, until);
        staking.stake(STARTER);
        skip(1);
        vm.prank(alice);
        staking.stake(STARTER);

        vm.startPrank(guardian);
        skip(Params.PAUSE_COOLDOWN - 1);
        fails(BunkerTimelock.PausedRecently.selector, uint160(address(staking)), block.timestamp + 1);
        timelock.guardianPause(address(staking));
        skip(1);
        timelock.guardianPause(address(staking));
    }

    function test_OnlyListedContractsArePaused() public {
        vm.prank(guardian);
        fails(BunkerTimelock.NotPausable.selector, address(pricing));
        timelock.guardianPause(address(pricing));
    }

    function test_OnlyTheTimelockChangesTheList() public {
        fails(TimelockController.TimelockUnauthorizedCaller.selector, address(this));
        timelock.setPausable(address(staking), false);
        vm.prank(address(timelock));
        emits(address(timelock));
        emit BunkerTimelock.PausableSet(address(staking), false);
        timelock.setPausable(address(staking), false);
        vm.prank(guardian);
        fails(BunkerTimelock.NotPausable.selector, address(staking));
        timelock.guardianPause(address(staking));
    }

    function test_OnlyTheTimelockPausesAndUnpausesATarget() public {
        vm.prank(guardian);
        fails(Governed.NotGovernor.selector, guardian);
        staking.pause();
        vm.prank(guardian);
        timelock.guardianPause(address(staking));
        vm.prank(guardian);
        fails(Governed.NotGovernor.selector, guardian);
        staking.unpause();

        bytes memory data = abi.encodeCall(Pausable.unpause, ());
        schedule(address(staking), data);
        skip(Params.MIN_DELAY);
        emits(address(staking));
        emit Pausable.Unpaused();
        timelock.execute(address(staking), 0, data, 0, 0);
        stakeAs(alice, STARTER);
    }
}
