// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {BunkerDelegation} from "../src/BunkerDelegation.sol";
import {BunkerEscrow} from "../src/BunkerEscrow.sol";
import {BunkerReputation} from "../src/BunkerReputation.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerToken} from "../src/BunkerToken.sol";
import {BunkerVerification} from "../src/BunkerVerification.sol";
import {Governed} from "../src/Governed.sol";
import {Fixture} from "./Base.sol";

/// (22) Every external function of every contract, and who may call it. A function that is not in the table, or a row
/// without a function, fails the test.
contract AccessTest is Fixture {
    enum Who {
        View,
        /// Anybody, for and about themselves or in public interest.
        Anybody,
        /// Whom the record says: the requester, a provider of the job, the accused.
        Party,
        Governor,
        Court,
        Rewarder,
        Arbiter,
        Reporter,
        Staking,
        Proposer,
        Canceller,
        Guardian,
        Admin,
        TimelockItself
    }

    address private subject;
    uint256 private rows;
    mapping(address subject => mapping(string signature => bool)) private unlisted;
    mapping(address subject => mapping(string name => bool)) private named;
    mapping(address subject => mapping(string name => bool)) private reads;

    function test_Token() public {
        begin("BunkerToken", address(token));
        row(Who.View, "CLOCK_MODE() DOMAIN_SEPARATOR() allowance(address,address) authorizationState(address,bytes32)");
        row(Who.View, "balanceOf(address) checkpoints(address,uint32) clock() decimals() delegates(address)");
        row(Who.View, "eip712Domain() getPastTotalSupply(uint256) getPastVotes(address,uint256) getVotes(address)");
        row(Who.View, "governor() mintable() name() nonces(address) numCheckpoints(address) symbol() totalMinted()");
        row(Who.View, "totalSupply()");
        row(Who.Anybody, "approve(address,uint256) burn(uint256) burnFrom(address,uint256) delegate(address)");
        row(Who.Anybody, "transfer(address,uint256) transferFrom(address,address,uint256)");
        row(Who.Party, "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)");
        row(Who.Party, "delegateBySig(address,uint256,uint256,uint8,bytes32,bytes32)");
        row(Who.Party, "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)");
        row(
            Who.Party, "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
        );
        row(
            Who.Party,
            "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
        );
        row(Who.Governor, "mint(address,uint256)");
        end("BunkerToken");
    }

    function test_Staking() public {
        begin("BunkerStaking", address(staking));
        row(Who.View, "caseOf(uint256) claimable(address) court() delegation() eligible(address) frozen(address)");
        row(Who.View, "governor() lastCase() maxJobs(uint8) pausedUntil() pot() providerOf(address)");
        row(Who.View, "resolveBy(uint256) rewarder() seized() stream() successor() tierOf(address) token() totals()");
        row(Who.View, "treasury()");
        row(Who.Anybody, "claim() claimNode(bytes32) lapseCase(uint256) migrate() skim() stake(uint256)");
        row(Who.Anybody, "stakeFor(address,uint256) thaw(uint256) withdraw()");
        row(Who.Rewarder, "fundRewards(uint256)");
        row(Who.Court, "openCase(address) closeCase(uint256) freeze(uint256) slash(uint256,uint256)");
        row(Who.Governor, "pause() unpause() setCourt(address) setRewarder(address) setSuccessor(address)");
        row(Who.Governor, "setTreasury(address)");
        end("BunkerStaking");
    }

    function test_Delegation() public {
        begin("BunkerDelegation", address(delegation));
        row(Who.View, "atRisk(address) earned(address) governor() pausedUntil() poolOf(address)");
        row(Who.View, "positionOf(address,address) staking() token() valueOf(address,address)");
        row(Who.Anybody, "applyCut() closePool() delegate(address,uint256) distribute(address,uint256)");
        row(Who.Anybody, "openPool(uint16) setCut(uint16) thaw(address,uint256) withdraw(address) withdrawEarned()");
        row(Who.Staking, "slash(address,uint256)");
        row(Who.Governor, "pause() unpause()");
        end("BunkerDelegation");
    }

    function test_Reputation() public {
        begin("BunkerReputation", address(reputation));
        row(Who.View, "counted(bytes32) deltaOf(uint8) governor() recordOf(address) reporter(address)");
        row(Who.View, "scoreOf(address) standingOf(address)");
        row(Who.Reporter, "report(address,uint8,bytes32)");
        row(Who.Governor, "setDelta(uint8,int16) setReporter(address,bool)");
        end("BunkerReputation");
    }

    function test_Verification() public {
        begin("BunkerVerification", address(verification));
        row(Who.View, "arbiter() attestationOf(address) attesters(address) caseOf(uint256) certificateOf(address)");
        row(Who.View, "classOf(address) eip712Domain() governor() isCurrent(address) missed(address) owed(address)");
        row(Who.View, "pausedUntil() reputation() slashBps(uint8) staking() token()");
        row(Who.Anybody, "attest(bytes32) bring(address,uint8,bool,bytes32) execute(uint256) lapse(uint256)");
        row(Who.Anybody, "withdraw()");
        row(Who.Party, "answer(uint256,bytes32) appeal(uint256) certify(address,bytes32,uint40,bytes)");
        row(Who.Arbiter, "decide(uint256,bool) freeze(uint256)");
        row(Who.Governor, "decideAppeal(uint256,bool) pause() unpause() setArbiter(address)");
        row(Who.Governor, "setAttester(address,bool) setSlashShare(uint8,uint16)");
        end("BunkerVerification");
    }

    function test_Escrow() public {
        begin("BunkerEscrow", address(escrow));
        row(Who.View, "arbiter() bidDigest((bytes32,address,uint112,uint32,uint64)) eip712Domain() feeBps() fees()");
        row(Who.View, "governor() jobIdOf(address,bytes16) jobOf(bytes32) owed(address) pausedUntil()");
        row(Who.View, "proposalOf(bytes32,address) remainingOf(bytes32) reputation() staking() token() treasury()");
        row(Who.Anybody, "close(bytes32) finalizeUptime(bytes32,address) timeoutDispute(bytes32,address) skim()");
        row(Who.Anybody, "withdraw()");
        row(Who.Party, "open(bytes16,bytes32,uint32,(bytes32,address,uint112,uint32,uint64)[3],bytes[3])");
        row(
            Who.Party,
            "openWithPermit(bytes16,bytes32,uint32,(bytes32,address,uint112,uint32,uint64)[3],bytes[3],(uint256,uint256,uint8,bytes32,bytes32))"
        );
        row(Who.Party, "dispute(bytes32,address) proposeUptime(bytes32,uint32) stop(bytes32) topUp(bytes32,uint32)");
        row(Who.Party, "settle((bytes32,address,uint32,uint64),bytes)");
        row(Who.Arbiter, "resolve(bytes32,address,uint32)");
        row(Who.Governor, "pause() unpause() setArbiter(address) setFee(uint16) setTreasury(address)");
        end("BunkerEscrow");
    }

    function test_Pricing() public {
        begin("BunkerPricing", address(pricing));
        row(Who.View, "cost((uint32,uint32,uint32,uint32,uint16,uint16,uint32)) fallbackRate() feed() governor()");
        row(Who.View, "prices() quote((uint32,uint32,uint32,uint32,uint16,uint16,uint32)) rate()");
        row(Who.Governor, "setFallbackRate(uint256) setFeed((address,address,uint8,uint40,uint96,uint96))");
        row(Who.Governor, "setPrices((uint256,uint256,uint256,uint256,uint256,uint256))");
        end("BunkerPricing");
    }

    function test_Timelock() public {
        begin("BunkerTimelock", address(timelock));
        row(Who.View, "CANCELLER_ROLE() DEFAULT_ADMIN_ROLE() EXECUTOR_ROLE() GUARDIAN_ROLE() PROPOSER_ROLE()");
        row(Who.View, "getMinDelay() getOperationState(bytes32) getRoleAdmin(bytes32) getTimestamp(bytes32)");
        row(Who.View, "hasRole(bytes32,address) hashOperation(address,uint256,bytes,bytes32,bytes32)");
        row(Who.View, "hashOperationBatch(address[],uint256[],bytes[],bytes32,bytes32) isOperation(bytes32)");
        row(Who.View, "isOperationDone(bytes32) isOperationPending(bytes32) isOperationReady(bytes32)");
        row(Who.View, "nextPause(address) pausable(address) supportsInterface(bytes4)");
        row(Who.Anybody, "execute(address,uint256,bytes,bytes32,bytes32) renounceRole(bytes32,address)");
        row(Who.Anybody, "executeBatch(address[],uint256[],bytes[],bytes32,bytes32)");
        // Called by other tokens; they answer and write nothing.
        row(Who.Anybody, "onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)");
        row(Who.Anybody, "onERC1155Received(address,address,uint256,uint256,bytes)");
        row(Who.Anybody, "onERC721Received(address,address,uint256,bytes)");
        row(Who.Proposer, "schedule(address,uint256,bytes,bytes32,bytes32,uint256)");
        row(Who.Proposer, "scheduleBatch(address[],uint256[],bytes[],bytes32,bytes32,uint256)");
        row(Who.Canceller, "cancel(bytes32)");
        row(Who.Guardian, "guardianPause(address)");
        row(Who.Admin, "grantRole(bytes32,address) revokeRole(bytes32,address)");
        row(Who.TimelockItself, "setPausable(address,bool) updateDelay(uint256)");
        end("BunkerTimelock");
    }

    /// A deployer who kept an admin role could give itself any other.
    function test_P14_NobodyIsLeftWithARightToAdminister() public {
        address[6] memory people = [address(this), proposer, guardian, arbiter, treasury, rewarder];
        bytes32[5] memory roles = [
            bytes32(0),
            timelock.PROPOSER_ROLE(),
            timelock.EXECUTOR_ROLE(),
            timelock.CANCELLER_ROLE(),
            timelock.GUARDIAN_ROLE()
        ];
        for (uint256 i = 0; i < people.length; ++i) {
            check(!timelock.hasRole(roles[0], people[i]), "admin");
            for (uint256 k = 0; k < roles.length; ++k) {
                bytes memory why = denial(Who.Admin, people[i]);
                vm.prank(people[i]);
                vm.expectRevert(why);
                timelock.grantRole(roles[k], people[i]);
            }
        }
        check(timelock.hasRole(roles[0], address(timelock)), "the timelock alone");
    }

    // ---- the table

    function begin(string memory name, address subject_) private {
        subject = subject_;
        string[] memory all = vm.parseJsonKeys(built(name), ".methodIdentifiers");
        for (uint256 i = 0; i < all.length; ++i) {
            unlisted[subject][all[i]] = true;
        }
        rows = all.length;
        string memory entries = vm.readFile(string.concat("abi/", name, ".json"));
        for (uint256 i = 0;; ++i) {
            string memory entry = string.concat("$[", vm.toString(i), "]");
            if (!vm.keyExistsJson(entries, entry)) break;
            if (!equal(vm.parseJsonString(entries, string.concat(entry, ".type")), "function")) continue;
            string memory called = vm.parseJsonString(entries, string.concat(entry, ".name"));
            check(!named[subject][called], string.concat("two functions of one name: ", called));
            named[subject][called] = true;
            string memory mutability = vm.parseJsonString(entries, string.concat(entry, ".stateMutability"));
            reads[subject][called] = equal(mutability, "view") || equal(mutability, "pure");
        }
    }

    function row(Who who, string memory signatures) private {
        string[] memory each = vm.split(signatures, " ");
        for (uint256 i = 0; i < each.length; ++i) {
            check(unlisted[subject][each[i]], string.concat("no such function, or listed twice: ", each[i]));
            unlisted[subject][each[i]] = false;
            --rows;
            judge(who, each[i]);
        }
    }

    function end(string memory name) private view {
        if (rows == 0) return;
        string[] memory all = vm.parseJsonKeys(built(name), ".methodIdentifiers");
        for (uint256 i = 0; i < all.length; ++i) {
            check(!unlisted[subject][all[i]], string.concat("not in the table: ", all[i]));
        }
    }

    function judge(Who who, string memory signature) private {
        bool read = reads[subject][vm.split(signature, "(")[0]];
        if (who == Who.View) {
            check(read, string.concat("writes: ", signature));
            return;
        }
        check(!read, string.concat("a view: ", signature));
        bytes memory data = bytes.concat(bytes4(keccak256(bytes(signature))), new bytes(640));
        vm.prank(stranger);
        (bool done, bytes memory why) = subject.call(data);
        if (who == Who.Anybody) {
            for (uint8 i = uint8(Who.Governor); i <= uint8(Who.TimelockItself); ++i) {
                check(done || !equal(why, denial(Who(i), stranger)), string.concat("not for anybody: ", signature));
            }
            return;
        }
        check(!done, string.concat("a stranger may: ", signature));
        if (who == Who.Party) return;
        check(equal(why, denial(who, stranger)), string.concat("refused for another reason: ", signature));
        address[2] memory allowed = allowedAs(who);
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(allowed[i]);
            (done, why) = subject.call(data);
            check(done || !equal(why, denial(who, allowed[i])), string.concat("its caller is refused: ", signature));
        }
    }

    function denial(Who who, address caller) private view returns (bytes memory) {
        if (who == Who.Governor) return abi.encodeWithSelector(Governed.NotGovernor.selector, caller);
        if (who == Who.Court) return abi.encodeWithSelector(BunkerStaking.NotCourt.selector, caller);
        if (who == Who.Rewarder) return abi.encodeWithSelector(BunkerStaking.NotRewarder.selector, caller);
        if (who == Who.Arbiter) return abi.encodeWithSelector(BunkerEscrow.NotArbiter.selector, caller);
        if (who == Who.Reporter) return abi.encodeWithSelector(BunkerReputation.NotReporter.selector, caller);
        if (who == Who.Staking) return abi.encodeWithSelector(BunkerDelegation.NotStaking.selector, caller);
        if (who == Who.TimelockItself) {
            return abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, caller);
        }
        bytes32 role = timelock.DEFAULT_ADMIN_ROLE();
        if (who == Who.Proposer) role = timelock.PROPOSER_ROLE();
        if (who == Who.Canceller) role = timelock.CANCELLER_ROLE();
        if (who == Who.Guardian) role = timelock.GUARDIAN_ROLE();
        return abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, caller, role);
    }

    function allowedAs(Who who) private view returns (address[2] memory) {
        if (who == Who.Court) return [address(verification), address(verification)];
        if (who == Who.Rewarder) return [rewarder, rewarder];
        if (who == Who.Arbiter) return [arbiter, arbiter];
        if (who == Who.Reporter) return [address(escrow), address(verification)];
        if (who == Who.Staking) return [address(staking), address(staking)];
        if (who == Who.Proposer) return [proposer, proposer];
        if (who == Who.Canceller) return [proposer, guardian];
        if (who == Who.Guardian) return [guardian, guardian];
        return [address(timelock), address(timelock)];
    }

    function equal(string memory a, string memory b) private pure returns (bool) {
        return equal(bytes(a), bytes(b));
    }

    function equal(bytes memory a, bytes memory b) private pure returns (bool) {
        return keccak256(a) == keccak256(b);
    }

    function built(string memory name) private view returns (string memory) {
        return vm.readFile(string.concat("out/", name, ".sol/", name, ".json"));
    }
}
