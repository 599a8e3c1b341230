// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Deploy} from "../script/Deploy.s.sol";
import {Actors, Deployment, System} from "../script/Deployment.sol";
import {BunkerDelegation} from "../src/BunkerDelegation.sol";
import {BunkerPricing} from "../src/BunkerPricing.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {Fixture} from "./Base.sol";

contract DeployTest is Fixture {
    function test_PostConditionsHold() public view {
        Deployment.check(deployed(), actors(), address(this));
    }

    function test_OtherChainsAreRefusedBeforeAnythingHappens() public {
        Deploy script = new Deploy();
        uint64 nonce = vm.getNonce(address(script));
        uint256[4] memory chains = [uint256(1), 8_453, 84_531, 10];
        for (uint256 i = 0; i < chains.length; ++i) {
            vm.chainId(chains[i]);
            fails(Deploy.ChainRefused.selector, chains[i]);
            script.run();
        }
        same(vm.getNonce(address(script)), nonce, "nothing deployed");
    }

    function test_EveryActorMustBeNamed() public {
        for (uint256 i = 0; i < 5; ++i) {
            Actors memory a = actors();
            if (i == 0) a.proposer = address(0);
            if (i == 1) a.guardian = address(0);
            if (i == 2) a.arbiter = address(0);
            if (i == 3) a.treasury = address(0);
            if (i == 4) a.rewarder = address(0);
            fails(Deployment.ActorIsZero.selector);
            this.deploy(a);
        }
    }

    function test_TheDeployerMayHaveEveryPart() public {
        Actors memory a = Actors(address(this), address(this), address(this), address(this), address(this));
        this.verify(this.deploy(a), a);
    }

    function test_AWrongRoleIsNoticed() public {
        bytes32 admin = timelock.DEFAULT_ADMIN_ROLE();
        address[6] memory people = [proposer, guardian, arbiter, treasury, rewarder, address(this)];
        for (uint256 i = 0; i < people.length; ++i) {
            granted(admin, people[i], "nobody administers the timelock");
            if (people[i] != proposer) granted(timelock.PROPOSER_ROLE(), people[i], "only the proposer proposes");
            if (people[i] != guardian) granted(timelock.GUARDIAN_ROLE(), people[i], "only the guardian pauses");
        }
        revoked(admin, address(timelock), "the timelock administers itself");
        revoked(timelock.PROPOSER_ROLE(), proposer, "the proposer proposes");
        revoked(timelock.GUARDIAN_ROLE(), guardian, "the guardian pauses");
        revoked(timelock.CANCELLER_ROLE(), guardian, "the guardian cancels");
    }

    function test_AWrongSettingIsNoticed() public {
        address[4] memory pausable = [address(staking), address(delegation), address(verification), address(escrow)];
        for (uint256 i = 0; i < pausable.length; ++i) {
            noticed(address(timelock), abi.encodeCall(timelock.setPausable, (pausable[i], false)), "pausable");
        }
        noticed(address(token), abi.encodeCall(token.mint, (bob, 1)), "nothing else is minted");
        noticed(address(staking), abi.encodeCall(staking.setCourt, (bob)), "the court is Verification");
        noticed(address(staking), abi.encodeCall(staking.setTreasury, (bob)), "treasury");
        noticed(address(escrow), abi.encodeCall(escrow.setTreasury, (bob)), "treasury");
        noticed(address(staking), abi.encodeCall(staking.setRewarder, (bob)), "rewarder");
        noticed(address(verification), abi.encodeCall(verification.setArbiter, (bob)), "arbiter");
        noticed(address(escrow), abi.encodeCall(escrow.setArbiter, (bob)), "arbiter");
        reporter(address(verification), false, "Verification reports");
        reporter(address(escrow), false, "Escrow reports");
        reporter(address(this), true, "the deployer does not report");
        vm.prank(treasury);
        token.burn(1);
        refused(deployed(), "genesis is the treasury's");
    }

    function test_AForeignContractIsNoticed() public {
        System memory s = deployed();
        s.pricing = new BunkerPricing(bob);
        refused(s, "the timelock governs");
        s = deployed();
        s.delegation = new BunkerDelegation(address(timelock), token, staking);
        allowPause(address(s.delegation));
        refused(s, "pools stand behind stake");
        s = deployed();
        s.staking = new BunkerStaking(address(timelock), token, address(verification), delegation, treasury, rewarder);
        allowPause(address(s.staking));
        refused(s, "stake stands before pools");
    }

    function granted(bytes32 role, address to, string memory what) private {
        noticed(address(timelock), abi.encodeCall(timelock.grantRole, (role, to)), what);
    }

    function revoked(bytes32 role, address from, string memory what) private {
        noticed(address(timelock), abi.encodeCall(timelock.revokeRole, (role, from)), what);
    }

    function reporter(address source, bool allowed, string memory what) private {
        noticed(address(reputation), abi.encodeCall(reputation.setReporter, (source, allowed)), what);
    }

    function allowPause(address one) private {
        vm.prank(address(timelock));
        timelock.setPausable(one, true);
    }

    /// After this call by governance, and only then, the check says `what`.
    function noticed(address to, bytes memory data, string memory what) private {
        uint256 before = vm.snapshotState();
        vm.prank(address(timelock));
        (bool done,) = to.call(data);
        check(done, "changed");
        refused(deployed(), what);
        check(vm.revertToState(before), "as before");
    }

    function refused(System memory s, string memory what) private {
        vm.expectRevert(abi.encodeWithSelector(Deployment.PostCondition.selector, what));
        this.verify(s, actors());
    }

    function deploy(Actors calldata a) external returns (System memory) {
        return Deployment.run(a, address(this));
    }

    function verify(System calldata s, Actors calldata a) external view {
        Deployment.check(s, a, address(this));
    }
}
