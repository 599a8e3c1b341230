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
import {Params} from "../src/Params.sol";
import {Actors, Deployment, System} from "../script/Deployment.sol";
import {VM, Vm} from "./Vm.sol";

/// What tests and handlers need of forge.
abstract contract Base {
    Vm internal constant vm = VM;
    bool public constant IS_TEST = true;

    uint256 internal constant STARTER = Params.STARTER;
    uint256 internal constant BUNKER = Params.BUNKER;

    address internal treasury = _named("treasury");
    address internal arbiter = _named("arbiter");
    address internal guardian = _named("guardian");
    address internal proposer = _named("proposer");
    address internal rewarder = _named("rewarder");
    address internal alice = _named("alice");
    address internal bob = _named("bob");
    address internal carol = _named("carol");
    address internal stranger = _named("stranger");

    BunkerTimelock internal timelock;
    BunkerToken internal token;
    BunkerStaking internal staking;
    BunkerDelegation internal delegation;
    BunkerReputation internal reputation;
    BunkerVerification internal verification;
    BunkerEscrow internal escrow;
    BunkerPricing internal pricing;

    error AssertionFailed(string what, uint256 got, uint256 want);

    function actors() internal view returns (Actors memory) {
        return
            Actors({proposer: proposer, guardian: guardian, arbiter: arbiter, treasury: treasury, rewarder: rewarder});
    }

    function adopt(System memory s) internal {
        timelock = s.timelock;
        token = s.token;
        staking = s.staking;
        delegation = s.delegation;
        reputation = s.reputation;
        verification = s.verification;
        escrow = s.escrow;
        pricing = s.pricing;
    }

    function deployed() internal view returns (System memory) {
        return System(timelock, token, staking, delegation, reputation, verification, escrow, pricing);
    }

    /// Gives `to` tokens of the treasury and lets `spender` take them.
    function fund(address to, uint256 amount, address spender) internal {
        vm.prank(treasury);
        check(token.transfer(to, amount), "the treasury pays");
        vm.prank(to);
        token.approve(spender, amount);
    }

    function stakeAs(address provider, uint256 amount) internal {
        fund(provider, amount, address(staking));
        vm.prank(provider);
        staking.stake(amount);
    }

    function skip(uint256 time) internal {
        vm.warp(block.timestamp + time);
    }

    function fails(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }

    function fails(bytes4 selector, uint256 a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function fails(bytes4 selector, address a) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a));
    }

    function fails(bytes4 selector, uint256 a, uint256 b) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, a, b));
    }

    /// The next call must emit the event the test emits now.
    function emits(address emitter) internal {
        vm.expectEmit(true, true, true, true, emitter);
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        if (x >= low && x <= high) return x;
        return high - low == type(uint256).max ? x : low + x % (high - low + 1);
    }

    function check(bool holds, string memory what) internal pure {
        if (!holds) revert AssertionFailed(what, 0, 1);
    }

    function same(uint256 got, uint256 want, string memory what) internal pure {
        if (got != want) revert AssertionFailed(what, got, want);
    }

    function same(address got, address want, string memory what) internal pure {
        same(uint160(got), uint160(want), what);
    }

    function atMost(uint256 got, uint256 limit, string memory what) internal pure {
        if (got > limit) revert AssertionFailed(what, got, limit);
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// The EIP-712 domain separator of one of our contracts.
    function domainOf(string memory name, address subject) internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                subject
            )
        );
    }

    function voucherDigest(BunkerEscrow.UsageVoucher memory v) internal view returns (bytes32) {
        bytes32 typehash = keccak256("UsageVoucher(bytes32 jobId,address provider,uint32 uptimeSeconds,uint64 seq)");
        bytes32 structHash = keccak256(abi.encode(typehash, v.jobId, v.provider, v.uptimeSeconds, v.seq));
        return typedDigest(domainOf("BunkerEscrow", address(escrow)), structHash);
    }

    function typedDigest(bytes32 domain, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", domain, structHash));
    }

    function _named(string memory name) internal pure returns (address) {
        return vm.addr(keyOf(name));
    }

    function keyOf(string memory name) internal pure returns (uint256) {
        return uint256(keccak256(bytes(name)));
    }
}

/// The whole system, as the script deploys it.
abstract contract Fixture is Base {
    address[] private _targets;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        adopt(Deployment.run(actors(), address(this)));
    }

    function targetContracts() external view returns (address[] memory) {
        return _targets;
    }

    /// Names a handler for the invariant tests.
    function target(address one) internal {
        _targets.push(one);
    }
}
