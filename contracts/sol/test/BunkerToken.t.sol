// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {BunkerToken} from "../src/BunkerToken.sol";
import {Governed} from "../src/Governed.sol";
import {Params} from "../src/Params.sol";
import {System} from "../script/Deployment.sol";
import {Base, Fixture} from "./Base.sol";

contract BunkerTokenTest is Fixture {
    function test_GenesisGoesToTheTreasury() public view {
        same(token.balanceOf(treasury), Params.GENESIS, "treasury");
        same(token.totalSupply(), Params.GENESIS, "supply");
        same(token.mintable(), Params.CAP - Params.GENESIS, "mintable");
    }

    function test_AContractNeedsAGovernor() public {
        fails(Governed.GovernorIsZero.selector);
        new BunkerToken(address(0), treasury);
    }

    function test_OnlyTheTimelockMints() public {
        fails(Governed.NotGovernor.selector, address(this));
        token.mint(alice, 1);
        vm.prank(address(timelock));
        token.mint(alice, 5);
        same(token.balanceOf(alice), 5, "minted");
        same(token.totalMinted(), Params.GENESIS + 5, "counted");
    }

    function test_MintingNothingIsRefused() public {
        vm.prank(address(timelock));
        fails(BunkerToken.MintIsZero.selector);
        token.mint(alice, 0);
    }

    function test_TheCapIsReachedToTheWeiAndNotPassed() public {
        vm.startPrank(address(timelock));
        uint256 rest = Params.CAP - Params.GENESIS;
        fails(BunkerToken.AboveCap.selector, rest + 1, rest);
        token.mint(alice, rest + 1);
        token.mint(alice, rest);
        fails(BunkerToken.AboveCap.selector, 1, 0);
        token.mint(alice, 1);
    }

    /// Burning must not make room for minting.
    function test_P15_BurntTokensNeverComeBack() public {
        uint256 rest = Params.CAP - Params.GENESIS;
        vm.prank(address(timelock));
        token.mint(alice, rest);
        vm.prank(alice);
        token.burn(rest);
        same(token.mintable(), 0, "nothing to mint");
        vm.prank(address(timelock));
        fails(BunkerToken.AboveCap.selector, 1, 0);
        token.mint(alice, 1);
    }

    function test_PermitGivesAnAllowance() public {
        bytes32 typehash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typehash, alice, bob, 7, token.nonces(alice), block.timestamp));
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), digest);
        token.permit(alice, bob, 7, block.timestamp, v, r, s);
        same(token.allowance(alice, bob), 7, "allowed");
        same(token.nonces(alice), 1, "nonce used");
    }

    function test_ASignedTransferWorksOnce() public {
        fund(alice, 10, bob);
        bytes32 typehash = keccak256(
            "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
        );
        uint256 until = block.timestamp + 1;
        bytes32 structHash = keccak256(abi.encode(typehash, alice, bob, 4, 0, until, bytes32("n")));
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), digest);
        token.transferWithAuthorization(alice, bob, 4, 0, until, bytes32("n"), v, r, s);
        same(token.balanceOf(bob), 4, "moved");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, bytes32("n")));
        token.transferWithAuthorization(alice, bob, 4, 0, until, bytes32("n"), v, r, s);
    }

    function test_VotesAreCountedByTime() public {
        fund(alice, 100, bob);
        same(token.getVotes(alice), 0, "undelegated");
        vm.prank(alice);
        token.delegate(carol);
        same(token.getVotes(carol), 100, "delegated");
        same(token.clock(), block.timestamp, "clock");
        check(keccak256(bytes(token.CLOCK_MODE())) == keccak256("mode=timestamp"), "mode");
        uint256 then = block.timestamp;
        skip(1);
        vm.prank(alice);
        check(token.transfer(bob, 40), "transfer");
        same(token.getVotes(carol), 60, "moved");
        skip(1);
        same(token.getPastVotes(carol, then), 100, "history");
    }

    function test_GasOfATransfer() public {
        fund(alice, 2, bob);
        fund(bob, 1, alice);
        vm.prank(alice);
        check(token.transfer(bob, 1), "transfer");
        // 34,200 without votes; two cold reads of delegates come on top.
        atMost(vm.snapshotGasLastCall("token: transfer"), 39_500, "gas");
    }
}

/// Transfers, burns, mints and delegations in any order.
contract TokenHandler is Base {
    address[] internal people;
    uint256 public minted;

    constructor(System memory s) {
        adopt(s);
        people = [treasury, alice, bob, carol, address(timelock)];
        minted = token.totalMinted();
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        address sender = person(from);
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        check(token.transfer(person(to), amount), "transfer");
    }

    function burn(uint256 from, uint256 amount) external {
        address sender = person(from);
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        token.burn(amount);
    }

    function mint(uint256 to, uint256 amount) external {
        if (token.mintable() == 0) return;
        amount = bound(amount, 1, token.mintable());
        vm.prank(token.governor());
        token.mint(person(to), amount);
        minted += amount;
    }

    function delegate(uint256 from, uint256 to) external {
        vm.prank(person(from));
        token.delegate(person(to));
        skip(1);
    }

    function votes() external view returns (uint256 sum) {
        for (uint256 i = 0; i < people.length; ++i) {
            sum += token.getVotes(people[i]);
        }
    }

    function person(uint256 i) private view returns (address) {
        return people[i % people.length];
    }
}

contract BunkerTokenInvariants is Fixture {
    TokenHandler private handler;

    function setUp() public override {
        super.setUp();
        handler = new TokenHandler(deployed());
        target(address(handler));
    }

    /// (21)
    function invariant_MintedOnlyGrowsUpToTheCapAndVotesAreBacked() public view {
        same(token.totalMinted(), handler.minted(), "minted");
        atMost(token.totalMinted(), Params.CAP, "cap");
        atMost(token.totalSupply(), token.totalMinted(), "supply");
        atMost(handler.votes(), token.totalSupply(), "votes");
    }
}
