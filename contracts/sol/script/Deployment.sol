// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerDelegation} from "../src/BunkerDelegation.sol";
import {BunkerEscrow} from "../src/BunkerEscrow.sol";
import {BunkerPricing} from "../src/BunkerPricing.sol";
import {BunkerReputation} from "../src/BunkerReputation.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerTimelock} from "../src/BunkerTimelock.sol";
import {BunkerToken} from "../src/BunkerToken.sol";
import {BunkerVerification} from "../src/BunkerVerification.sol";
import {Governed} from "../src/Governed.sol";
import {Params} from "../src/Params.sol";
import {VM} from "../test/Vm.sol";

/// Who the deployment gives a part to. None of them governs: that is the timelock.
struct Actors {
    address proposer;
    address guardian;
    address arbiter;
    address treasury;
    address rewarder;
}

struct System {
    BunkerTimelock timelock;
    BunkerToken token;
    BunkerStaking staking;
    BunkerDelegation delegation;
    BunkerReputation reputation;
    BunkerVerification verification;
    BunkerEscrow escrow;
    BunkerPricing pricing;
}

/// The deployment, used by the script and by every test. The contracts know each other from birth, by the addresses they
/// are going to have: nobody needs a right to wire them, not even for a block.
library Deployment {
    error ActorIsZero();
    error AddressMispredicted(address wanted, address got);
    error PostCondition(string what);

    function run(Actors memory a, address deployer) internal returns (System memory s) {
        if (
            a.proposer == address(0) || a.guardian == address(0) || a.arbiter == address(0) || a.treasury == address(0)
                || a.rewarder == address(0)
        ) revert ActorIsZero();
        System memory p = predict(deployer, VM.getNonce(deployer));
        s.timelock = _timelock(a, p);
        s.token = new BunkerToken(address(p.timelock), a.treasury);
        s.staking = new BunkerStaking(
            address(p.timelock), p.token, address(p.verification), p.delegation, a.treasury, a.rewarder
        );
        s.delegation = new BunkerDelegation(address(p.timelock), p.token, p.staking);
        address[] memory sources = new address[](2);
        (sources[0], sources[1]) = (address(p.verification), address(p.escrow));
        s.reputation = new BunkerReputation(address(p.timelock), sources);
        s.verification = new BunkerVerification(address(p.timelock), p.token, p.staking, p.reputation, a.arbiter);
        s.escrow = new BunkerEscrow(address(p.timelock), p.token, p.staking, p.reputation, a.arbiter, a.treasury);
        s.pricing = new BunkerPricing(address(p.timelock));
        _same(abi.encode(p), abi.encode(s));
    }

    /// The addresses the eight contracts get when `deployer` creates them from `nonce` on.
    function predict(address deployer, uint256 nonce) internal pure returns (System memory p) {
        p.timelock = BunkerTimelock(payable(VM.computeCreateAddress(deployer, nonce)));
        p.token = BunkerToken(VM.computeCreateAddress(deployer, nonce + 1));
        p.staking = BunkerStaking(VM.computeCreateAddress(deployer, nonce + 2));
        p.delegation = BunkerDelegation(VM.computeCreateAddress(deployer, nonce + 3));
        p.reputation = BunkerReputation(VM.computeCreateAddress(deployer, nonce + 4));
        p.verification = BunkerVerification(VM.computeCreateAddress(deployer, nonce + 5));
        p.escrow = BunkerEscrow(VM.computeCreateAddress(deployer, nonce + 6));
        p.pricing = BunkerPricing(VM.computeCreateAddress(deployer, nonce + 7));
    }

    /// What must hold after a deployment: the timelock governs everything, and nobody governs the timelock.
    function check(System memory s, Actors memory a, address deployer) internal view {
        Governed[7] memory all =
            [Governed(s.token), s.staking, s.delegation, s.reputation, s.verification, s.escrow, s.pricing];
        for (uint256 i = 0; i < all.length; ++i) {
            _require(all[i].governor() == address(s.timelock), "the timelock governs");
        }
        BunkerTimelock t = s.timelock;
        bytes32 admin = t.DEFAULT_ADMIN_ROLE();
        _require(t.getMinDelay() >= Params.MIN_DELAY, "48 hours");
        _require(t.hasRole(admin, address(t)), "the timelock administers itself");
        address[6] memory people = [a.proposer, a.guardian, a.arbiter, a.treasury, a.rewarder, deployer];
        for (uint256 i = 0; i < people.length; ++i) {
            _require(!t.hasRole(admin, people[i]), "nobody administers the timelock");
            _require(people[i] == a.proposer || !t.hasRole(t.PROPOSER_ROLE(), people[i]), "only the proposer proposes");
            _require(people[i] == a.guardian || !t.hasRole(t.GUARDIAN_ROLE(), people[i]), "only the guardian pauses");
        }
        _require(t.hasRole(t.PROPOSER_ROLE(), a.proposer), "the proposer proposes");
        _require(t.hasRole(t.GUARDIAN_ROLE(), a.guardian), "the guardian pauses");
        _require(t.hasRole(t.CANCELLER_ROLE(), a.guardian), "the guardian cancels");
        _require(t.pausable(address(s.staking)) && t.pausable(address(s.delegation)), "pausable");
        _require(t.pausable(address(s.verification)) && t.pausable(address(s.escrow)), "pausable");
        _require(s.token.balanceOf(a.treasury) == Params.GENESIS, "genesis is the treasury's");
        _require(s.token.totalSupply() == Params.GENESIS, "nothing else is minted");
        _require(s.staking.court() == address(s.verification), "the court is Verification");
        _require(s.staking.treasury() == a.treasury && s.escrow.treasury() == a.treasury, "treasury");
        _require(s.staking.rewarder() == a.rewarder, "rewarder");
        _require(address(s.staking.delegation()) == address(s.delegation), "pools stand behind stake");
        _require(address(s.delegation.staking()) == address(s.staking), "stake stands before pools");
        _require(s.verification.arbiter() == a.arbiter && s.escrow.arbiter() == a.arbiter, "arbiter");
        _require(s.reputation.reporter(address(s.verification)), "Verification reports");
        _require(s.reputation.reporter(address(s.escrow)), "Escrow reports");
        _require(!s.reputation.reporter(deployer), "the deployer does not report");
    }

    function _timelock(Actors memory a, System memory p) private returns (BunkerTimelock) {
        address[] memory proposers = new address[](1);
        proposers[0] = a.proposer;
        // Anybody may carry out what has waited.
        address[] memory executors = new address[](1);
        address[] memory targets = new address[](4);
        (targets[0], targets[1]) = (address(p.staking), address(p.delegation));
        (targets[2], targets[3]) = (address(p.verification), address(p.escrow));
        return new BunkerTimelock(proposers, executors, a.guardian, targets);
    }

    function _same(bytes memory wanted, bytes memory got) private pure {
        address[8] memory w = abi.decode(wanted, (address[8]));
        address[8] memory g = abi.decode(got, (address[8]));
        for (uint256 i = 0; i < 8; ++i) {
            if (w[i] != g[i]) revert AddressMispredicted(w[i], g[i]);
        }
    }

    function _require(bool holds, string memory what) private pure {
        if (!holds) revert PostCondition(what);
    }
}
