// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Deploy} from "../script/Deploy.s.sol";
import {Actors, Deployment, System} from "../script/Deployment.sol";
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

    function test_ADeployerWithAPartIsNotMistaken() public {
        Actors memory a = actors();
        a.proposer = address(this);
        vm.expectPartialRevert(Deployment.PostCondition.selector);
        this.verify(deployed(), a);
    }

    function deploy(Actors calldata a) external returns (System memory) {
        return Deployment.run(a, address(this));
    }

    function verify(System calldata s, Actors calldata a) external view {
        Deployment.check(s, a, address(this));
    }
}
