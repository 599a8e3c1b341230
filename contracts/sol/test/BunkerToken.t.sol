// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";
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
        bytes32 digest = typedDigest(token.DOMAIN_SEPARATOR(), structHash);
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
        bytes32 digest = typedDigest(token.DOMAIN_SEPARATOR(), structHash);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), digest);
        token.transferWithAuthorization(alice, bob, 4, 0, until, bytes32("n"), v, r, s);
        same(token.balanceOf(bob), 4, "moved");
        vm.expectRevert(abi.encodeWithSelector(ERC3009.ERC3009UsedAuthorization.selector, alice, bytes32("n")));
        token.transferWithAuthorization(alice, bob, 4, 0, until, bytes32("n"), v, r, s);
    }

    // ---- votes

    function delegateAs(address who, address to) private {
        vm.prank(who);
        token.delegate(to);
    }

    function transferAs(address from, address to, uint256 amount) private {
        vm.prank(from);
        check(token.transfer(to, amount), "transfer");
    }

    function lacks(address who, uint256 has, uint256 wanted) private {
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, who, has, wanted));
    }

    function test_VotesAreCountedByTime() public {
        fund(alice, 100, bob);
        same(token.getVotes(alice), 0, "undelegated");
        delegateAs(alice, carol);
        same(token.getVotes(carol), 100, "delegated");
        same(token.clock(), block.timestamp, "clock");
        check(keccak256(bytes(token.CLOCK_MODE())) == keccak256("mode=timestamp"), "mode");
        uint256 then = block.timestamp;
        skip(1);
        transferAs(alice, bob, 40);
        same(token.getVotes(carol), 60, "moved");
        skip(1);
        same(token.getPastVotes(carol, then), 100, "history");
        same(token.getPastTotalSupply(then), Params.GENESIS, "of the supply");
    }

    function test_ADelegateIsNamedChangedAndDismissed() public {
        fund(alice, 100, bob);
        address[4] memory chosen = [carol, alice, bob, address(0)];
        address old = address(0);
        for (uint256 i = 0; i < 4; ++i) {
            vm.prank(alice);
            emits(address(token));
            emit IVotes.DelegateChanged(alice, old, chosen[i]);
            token.delegate(chosen[i]);
            same(token.delegates(alice), chosen[i], "delegate");
            if (old != address(0)) same(token.getVotes(old), 0, "taken from the old one");
            if (chosen[i] != address(0)) same(token.getVotes(chosen[i]), 100, "given to the new one");
            same(token.balanceOf(alice), 100, "tokens stay");
            old = chosen[i];
        }
        same(token.totalSupply(), Params.GENESIS, "supply");
    }

    function test_ASignedDelegationWorksOnce() public {
        fund(alice, 100, bob);
        bytes32 typehash = keccak256("Delegation(address delegatee,uint256 nonce,uint256 expiry)");
        bytes32 structHash = keccak256(abi.encode(typehash, carol, 0, block.timestamp));
        bytes32 digest = typedDigest(token.DOMAIN_SEPARATOR(), structHash);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf("alice"), digest);
        token.delegateBySig(carol, 0, block.timestamp, v, r, s);
        same(token.delegates(alice), carol, "delegate");
        transferAs(alice, bob, 1);
        same(token.getVotes(carol), 99, "votes follow the tokens");
        vm.expectRevert(abi.encodeWithSelector(Nonces.InvalidAccountNonce.selector, alice, 1));
        token.delegateBySig(carol, 0, block.timestamp, v, r, s);
    }

    /// The bit that says so stands in the slot of the balance, the first of the mapping in slot 0.
    function test_ADelegateIsABitOfTheBalancesSlot() public {
        delegateAs(alice, carol);
        same(stored(alice), 1 << 255, "without tokens");
        fund(alice, 100, bob);
        same(stored(alice), 1 << 255 | 100, "beside the balance");
        delegateAs(alice, bob);
        same(stored(alice), 1 << 255 | 100, "another delegate");
        delegateAs(alice, address(0));
        same(stored(alice), 100, "none");
        delegateAs(alice, address(0));
        same(stored(alice), 100, "none again");
    }

    function test_NobodySpendsMoreThanItHasWithADelegateOrWithout() public {
        fund(alice, 100, bob);
        vm.prank(alice);
        token.approve(bob, type(uint256).max);
        for (uint256 i = 0; i < 2; ++i) {
            lacks(alice, 100, 101);
            vm.prank(alice);
            check(!token.transfer(bob, 101), "refused");
            lacks(alice, 100, type(uint256).max);
            vm.prank(bob);
            check(!token.transferFrom(alice, bob, type(uint256).max), "refused");
            lacks(alice, 100, 101);
            vm.prank(alice);
            token.burn(101);
            delegateAs(alice, carol);
        }
        transferAs(alice, bob, 100);
        same(token.balanceOf(alice), 0, "all of it");
        same(token.delegates(alice), carol, "the delegate stays");
        lacks(alice, 0, 1);
        vm.prank(alice);
        token.burn(1);
    }

    function test_MintingAndBurningMoveTheVotesOfADelegate() public {
        delegateAs(alice, carol);
        vm.prank(address(timelock));
        token.mint(alice, 7);
        same(token.getVotes(carol), 7, "minted");
        vm.prank(alice);
        token.burn(3);
        same(token.getVotes(carol), 4, "burnt");
        same(token.totalSupply(), Params.GENESIS + 4, "supply");
    }

    function test_AllTokensThatCanExistFitBesideTheDelegate() public {
        delegateAs(treasury, carol);
        vm.prank(address(timelock));
        token.mint(treasury, Params.CAP - Params.GENESIS);
        same(token.balanceOf(treasury), Params.CAP, "balance");
        same(token.getVotes(carol), Params.CAP, "votes");
        transferAs(treasury, alice, Params.CAP);
        same(token.balanceOf(treasury), 0, "sent");
        same(token.getVotes(carol), 0, "votes");
        same(token.delegates(treasury), carol, "delegate");
    }

    /// Each side has a delegate of its own, shares it with the other, or has none; sender and receiver may be the same.
    function testFuzz_VotesAreTheBalancesOfThoseWhoDelegated(
        uint256 has,
        uint256 amount,
        uint8 first,
        uint8 second,
        bool toItself
    ) public {
        has = bound(has, 0, Params.GENESIS);
        amount = bound(amount, 0, has);
        address[3] memory chosen = [address(0), carol, stranger];
        address to = toItself ? alice : bob;
        fund(alice, has, bob);
        fund(bob, 5, alice);
        delegateAs(alice, chosen[first % 3]);
        delegateAs(bob, chosen[second % 3]);
        transferAs(alice, to, amount);
        uint256 left = toItself ? has : has - amount;
        uint256 got = 5 + has - left;
        same(token.balanceOf(alice), left, "sender");
        same(token.balanceOf(bob), got, "receiver");
        for (uint256 i = 1; i < 3; ++i) {
            uint256 want = (first % 3 == i ? left : 0) + (second % 3 == i ? got : 0);
            same(token.getVotes(chosen[i]), want, "votes");
        }
    }

    function stored(address who) private view returns (uint256) {
        return uint256(vm.load(address(token), keccak256(abi.encode(who, 0))));
    }

    // ---- gas

    function test_GasOfATransfer() public {
        fund(alice, 2, bob);
        fund(bob, 1, alice);
        vm.prank(alice);
        check(token.transfer(bob, 1), "transfer");
        atMost(vm.snapshotGasLastCall("token: transfer"), 36_500, "gas");
    }
}

/// Transfers, burns, mints and delegations in any order, beside books kept in the plainest way.
contract TokenHandler is Base {
    address[] internal people;
    /// Who may be named as a delegate: everybody, somebody without tokens, nobody.
    address[] internal chosen;
    uint256 public minted;
    uint256 internal burnt;
    mapping(address who => uint256) internal balance;
    mapping(address who => address) internal delegateOf;
    uint256 internal then;
    uint256 internal supplyThen;
    mapping(address who => uint256) internal votesThen;

    constructor(System memory s) {
        adopt(s);
        people = [treasury, alice, bob, carol, address(timelock)];
        chosen = [treasury, alice, bob, carol, address(timelock), stranger, address(0)];
        minted = token.totalMinted();
        balance[treasury] = minted;
    }

    function transfer(uint256 from, uint256 to, uint256 amount, bool byAllowance) external {
        address sender = person(from);
        amount = bound(amount, 0, token.balanceOf(sender));
        if (byAllowance) {
            vm.prank(sender);
            token.approve(stranger, amount);
            vm.prank(stranger);
            check(token.transferFrom(sender, person(to), amount), "transfer");
        } else {
            vm.prank(sender);
            check(token.transfer(person(to), amount), "transfer");
        }
        balance[sender] -= amount;
        balance[person(to)] += amount;
    }

    function transferTooMuch(uint256 from, uint256 to, uint256 amount) external {
        address sender = person(from);
        uint256 has = balance[sender];
        amount = bound(amount, has + 1, type(uint256).max);
        vm.prank(sender);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, sender, has, amount));
        check(!token.transfer(person(to), amount), "refused");
    }

    function burn(uint256 from, uint256 amount) external {
        address sender = person(from);
        amount = bound(amount, 0, token.balanceOf(sender));
        vm.prank(sender);
        token.burn(amount);
        balance[sender] -= amount;
        burnt += amount;
    }

    function mint(uint256 to, uint256 amount) external {
        if (token.mintable() == 0) return;
        amount = bound(amount, 1, token.mintable());
        vm.prank(token.governor());
        token.mint(person(to), amount);
        balance[person(to)] += amount;
        minted += amount;
    }

    function delegate(uint256 from, uint256 to) external {
        address delegatee = chosen[to % chosen.length];
        vm.prank(person(from));
        token.delegate(delegatee);
        delegateOf[person(from)] = delegatee;
    }

    function wait() external {
        then = block.timestamp;
        supplyThen = minted - burnt;
        for (uint256 i = 0; i + 1 < chosen.length; ++i) {
            votesThen[chosen[i]] = votes(chosen[i]);
        }
        skip(1);
    }

    function compare() external view {
        same(token.totalSupply(), minted - burnt, "supply");
        for (uint256 i = 0; i < people.length; ++i) {
            address who = people[i];
            same(token.balanceOf(who), balance[who], "balance");
            same(token.delegates(who), delegateOf[who], "delegate");
            uint256 stored = uint256(vm.load(address(token), keccak256(abi.encode(who, 0))));
            same(stored, delegateOf[who] == address(0) ? balance[who] : balance[who] | 1 << 255, "slot");
        }
        for (uint256 i = 0; i + 1 < chosen.length; ++i) {
            same(token.getVotes(chosen[i]), votes(chosen[i]), "votes");
            if (then != 0) same(token.getPastVotes(chosen[i], then), votesThen[chosen[i]], "past votes");
        }
        if (then != 0) same(token.getPastTotalSupply(then), supplyThen, "past supply");
    }

    function votes(address who) private view returns (uint256 sum) {
        for (uint256 i = 0; i < people.length; ++i) {
            if (delegateOf[people[i]] == who) sum += balance[people[i]];
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
    function invariant_MintedOnlyGrowsUpToTheCapAndVotesAreTheBalancesBehindThem() public view {
        same(token.totalMinted(), handler.minted(), "minted");
        atMost(token.totalMinted(), Params.CAP, "cap");
        handler.compare();
    }
}
