// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerEscrow} from "../src/BunkerEscrow.sol";
import {BunkerReputation} from "../src/BunkerReputation.sol";
import {BunkerStaking} from "../src/BunkerStaking.sol";
import {BunkerToken} from "../src/BunkerToken.sol";
import {IDelegatedStake, IEligibility, IReputation, Kind} from "../src/Interfaces.sol";
import {VM} from "../test/Vm.sol";

/// Balances and nothing else: the checks are about the contracts that hold tokens.
contract PlainToken {
    mapping(address who => uint256) public balanceOf;
    uint256 public burnt;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function burn(uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        burnt += amount;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}

/// A pool of a given size.
contract PlainPool is IDelegatedStake {
    PlainToken private immutable TOKEN;
    uint256 public held;

    constructor(PlainToken token) {
        TOKEN = token;
    }

    function put(uint256 amount) external {
        held = amount;
        TOKEN.mint(address(this), amount);
    }

    function atRisk(address) external view returns (uint256) {
        return held;
    }

    function slash(address, uint256 amount) external returns (uint256) {
        held -= amount;
        require(TOKEN.transfer(msg.sender, amount));
        return amount;
    }
}

/// Every answer is yes: what is checked must hold whoever takes part.
contract Agreeable {
    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }

    function eligible(address) external pure returns (bool) {
        return true;
    }
}

/// (1), (2) and (7), each for all values of one step: nothing appears and nothing disappears. What needs true division, the
/// shares themselves, is left to the fuzzer: solvers do not get through it.
contract StakingSymbolicTest {
    uint256 private constant STARTER = 1e24;

    PlainToken private token;
    PlainPool private pool;
    BunkerStaking private staking;
    address private treasury = address(0xbeef);

    function setUp() public {
        token = new PlainToken();
        pool = new PlainPool(token);
        staking = new BunkerStaking(
            address(this), BunkerToken(address(token)), address(this), pool, treasury, address(this)
        );
    }

    function check_StakeIsAccounted(uint96 amount) public {
        stake(amount);
        assertAccounted(amount);
        assert(staking.tierOf(address(this)) >= 1);
    }

    function check_ThawIsAccounted(uint96 thawed) public {
        stake(2_000 * STARTER);
        staking.thaw(thawed);
        assertAccounted(2_000 * STARTER);
        uint256 active = staking.providerOf(address(this)).active;
        assert(active == 0 || active >= STARTER);
    }

    function check_WithdrawPaysWhatThawedAndNoMore(uint96 thawed, uint40 time) public {
        stake(2 * STARTER);
        staking.thaw(thawed);
        VM.warp(block.timestamp + time);
        staking.withdraw();
        assert(time >= 14 days);
        assert(token.balanceOf(address(this)) == thawed);
        assertAccounted(2 * STARTER - thawed);
    }

    function check_ASlashOfActiveAndThawingMovesAndCreatesNothing(uint16 bps) public {
        stake(4 * STARTER);
        staking.thaw(STARTER);
        staking.slash(staking.openCase(address(this)), bps);
        assertAccounted(4 * STARTER);
    }

    function check_ASlashThatReachesThePoolMovesAndCreatesNothing(uint16 bps) public {
        stake(STARTER);
        pool.put(STARTER);
        staking.slash(staking.openCase(address(this)), bps);
        assertAccounted(2 * STARTER - pool.held());
    }

    function check_SkimBurnsAndPaysWhatWasSeized(uint16 bps) public {
        stake(STARTER);
        staking.slash(staking.openCase(address(this)), bps);
        uint256 seized = staking.seized();
        staking.skim();
        assert(token.burnt() + token.balanceOf(treasury) == seized);
        assertAccounted(STARTER - seized);
    }

    function stake(uint256 amount) private {
        token.mint(address(this), amount);
        staking.stake(amount);
    }

    function assertAccounted(uint256 all) private view {
        BunkerStaking.Provider memory p = staking.providerOf(address(this));
        (uint112 active,) = staking.totals();
        assert(active == p.active);
        assert(uint256(p.active) + p.thawing + staking.seized() == all);
        assert(token.balanceOf(address(staking)) == all);
    }
}

/// (12): for every duration, time and claim.
contract EscrowSymbolicTest {
    PlainToken private token;
    BunkerEscrow private escrow;
    address[3] private providers;

    function setUp() public {
        token = new PlainToken();
        escrow = new BunkerEscrow(
            address(this),
            BunkerToken(address(token)),
            IEligibility(address(new Agreeable())),
            IReputation(address(this)),
            address(this),
            address(this)
        );
        for (uint256 i = 0; i < 3; ++i) {
            providers[i] = address(new Agreeable());
        }
    }

    function isValidSignature(bytes32, bytes calldata) external pure returns (bytes4) {
        return this.isValidSignature.selector;
    }

    function check_AVoucherNeverPaysMoreThanElapsed(uint32 duration, uint32 time, uint32 uptime) public {
        bytes32 job = open(duration);
        VM.warp(block.timestamp + time);
        escrow.settle(BunkerEscrow.UsageVoucher(job, providers[0], uptime, 0), "");
        assertBound(job, duration, time);
    }

    function check_AProposalNeverPaysMoreThanElapsed(uint32 duration, uint32 time, uint32 uptime) public {
        bytes32 job = open(duration);
        VM.warp(block.timestamp + time);
        VM.prank(providers[0]);
        escrow.proposeUptime(job, uptime);
        VM.warp(block.timestamp + 1 days);
        escrow.finalizeUptime(job, providers[0]);
        assertBound(job, duration, time);
    }

    function check_AnArbiterNeverGrantsMoreThanElapsed(uint32 duration, uint32 time, uint32 uptime, uint32 granted)
        public
    {
        bytes32 job = open(duration);
        VM.warp(block.timestamp + time);
        VM.prank(providers[0]);
        escrow.proposeUptime(job, uptime);
        escrow.dispute(job, providers[0]);
        escrow.resolve(job, providers[0], granted);
        assertBound(job, duration, time);
    }

    function check_ATimeoutNeverPaysMoreThanElapsed(uint32 duration, uint32 time, uint32 uptime) public {
        bytes32 job = open(duration);
        VM.warp(block.timestamp + time);
        VM.prank(providers[0]);
        escrow.proposeUptime(job, uptime);
        escrow.dispute(job, providers[0]);
        VM.warp(block.timestamp + 7 days);
        escrow.timeoutDispute(job, providers[0]);
        assertBound(job, duration, time);
    }

    function open(uint32 duration) private returns (bytes32 job) {
        job = escrow.jobIdOf(address(this), "job");
        BunkerEscrow.Bid[3] memory bids;
        for (uint256 i = 0; i < 3; ++i) {
            bids[i] = BunkerEscrow.Bid(job, providers[i], 1, type(uint32).max, type(uint64).max);
        }
        bytes[3] memory none;
        token.mint(address(this), 3 * uint256(duration));
        escrow.open("job", "", duration, bids, none);
    }

    function assertBound(bytes32 job, uint32 duration, uint32 time) private view {
        uint32 settled = escrow.jobOf(job).settled[0];
        assert(settled <= duration && settled <= time);
        uint256 owed = escrow.owed(providers[0]);
        assert(owed + escrow.fees() == settled);
        assert(owed + escrow.fees() + escrow.remainingOf(job) == token.balanceOf(address(escrow)));
    }
}

/// (19)
contract ReputationSymbolicTest {
    BunkerReputation private reputation;

    function setUp() public {
        VM.warp(1_800_000_000);
        address[] memory sources = new address[](1);
        sources[0] = address(this);
        reputation = new BunkerReputation(address(this), sources);
    }

    function check_AScoreStaysInItsRange(int16 first, int16 second) public {
        reputation.setDelta(Kind.JobCompleted, first);
        reputation.setDelta(Kind.JobUnserved, second);
        for (uint256 i = 0; i < 2; ++i) {
            uint16 before = reputation.scoreOf(address(1));
            reputation.report(address(1), i == 0 ? Kind.JobCompleted : Kind.JobUnserved, bytes32(i));
            uint16 score = reputation.scoreOf(address(1));
            assert(score <= 1000);
            assert(score <= before + 200 && before <= score + 200);
        }
    }

    function check_SplittingAPeriodDoesNotChangeTheDecay(uint32 b) public {
        reputation.setDelta(Kind.JobCompleted, 0);
        reputation.report(address(1), Kind.JobCompleted, "1");
        reputation.report(address(2), Kind.JobCompleted, "1");
        VM.warp(block.timestamp + 12 days);
        uint16 seen = reputation.scoreOf(address(1));
        reputation.report(address(1), Kind.JobCompleted, "2");
        assert(reputation.scoreOf(address(1)) == seen);
        VM.warp(block.timestamp + b);
        assert(reputation.scoreOf(address(1)) == reputation.scoreOf(address(2)));
    }
}
