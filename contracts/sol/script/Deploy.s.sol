// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {VM} from "../test/Vm.sol";
import {Actors, Deployment, System} from "./Deployment.sol";

/// Deploys to anvil or Base Sepolia and writes deployments/<chain id>.json. On anvil every part falls to the deployer
/// unless the environment says otherwise; elsewhere each must be named: PROPOSER, GUARDIAN, ARBITER, TREASURY, REWARDER.
contract Deploy {
    bool public constant IS_SCRIPT = true;

    uint256 private constant ANVIL = 31_337;
    uint256 private constant BASE_SEPOLIA = 84_532;

    error ChainRefused(uint256 chainId);

    function run() external {
        if (block.chainid != ANVIL && block.chainid != BASE_SEPOLIA) revert ChainRefused(block.chainid);
        address deployer = msg.sender;
        Actors memory a = actors(deployer);
        VM.startBroadcast();
        System memory s = Deployment.run(a, deployer);
        VM.stopBroadcast();
        Deployment.check(s, a, deployer);
        _write(s, a);
    }

    function actors(address deployer) public view returns (Actors memory) {
        return Actors({
            proposer: _actor("PROPOSER", deployer),
            guardian: _actor("GUARDIAN", deployer),
            arbiter: _actor("ARBITER", deployer),
            treasury: _actor("TREASURY", deployer),
            rewarder: _actor("REWARDER", deployer)
        });
    }

    function _actor(string memory name, address deployer) private view returns (address) {
        return block.chainid == ANVIL ? VM.envOr(name, deployer) : VM.envAddress(name);
    }

    function _write(System memory s, Actors memory a) private {
        _contract("BunkerTimelock", address(s.timelock));
        _contract("BunkerToken", address(s.token));
        _contract("BunkerStaking", address(s.staking));
        _contract("BunkerDelegation", address(s.delegation));
        _contract("BunkerReputation", address(s.reputation));
        _contract("BunkerVerification", address(s.verification));
        _contract("BunkerEscrow", address(s.escrow));
        string memory contracts = _contract("BunkerPricing", address(s.pricing));
        VM.serializeAddress("actors", "proposer", a.proposer);
        VM.serializeAddress("actors", "guardian", a.guardian);
        VM.serializeAddress("actors", "arbiter", a.arbiter);
        VM.serializeAddress("actors", "treasury", a.treasury);
        string memory people = VM.serializeAddress("actors", "rewarder", a.rewarder);
        VM.serializeUint("deployment", "chainId", block.chainid);
        VM.serializeUint("deployment", "block", block.number);
        VM.serializeString("deployment", "actors", people);
        string memory all = VM.serializeString("deployment", "contracts", contracts);
        VM.writeJson(all, string.concat("deployments/", VM.toString(block.chainid), ".json"));
    }

    function _contract(string memory name, address at_) private returns (string memory) {
        VM.serializeAddress(name, "address", at_);
        string memory one = VM.serializeBytes32(name, "codeHash", at_.codehash);
        return VM.serializeString("contracts", name, one);
    }
}
