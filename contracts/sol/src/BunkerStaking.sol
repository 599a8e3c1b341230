// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {BunkerToken} from "./BunkerToken.sol";
import {Pausable, Governed} from "./Governed.sol";
import {IDelegatedStake, IEligibility, ISlashable, IStakeSuccessor} from "./Interfaces.sol";
import {Params} from "./Params.sol";

/// @title Stake, tiers and rewards of providers
/// @notice Stake is active or thawing; both can be slashed until withdrawn. The active stake decides the tier; the tier's
/// multiplier weighs the stake in the sharing of rewards. Only the court opens cases, and every case ends by itself: stake
/// that has thawed is held by it for `Params.CASE_LIFE` at most, however often its owner is accused.
contract BunkerStaking is Pausable, IEligibility, ISlashable {
    using Math for uint256;
    using SafeCast for uint256;
    using SafeERC20 for BunkerToken;

    /// Staking more, and asking whether a provider is eligible, touch the first slot only. Every token that can exist fits
    /// 104 bits.
    struct Provider {
        uint104 active;
        uint104 thawing;
        uint40 frozenUntil;
        uint8 tier;
        /// When the active stake last rose from zero.
        uint40 since;
        uint40 thawUntil;
        uint40 slashWindow;
        /// Slashed within the window, as a sum of shares.
        uint16 slashedBps;
        uint16 openCases;
        /// Until when an open case holds what has thawed.
        uint40 heldUntil;
    }

    struct Reward {
        uint128 paidPerWeight;
        uint128 accrued;
    }

    struct Totals {
        uint112 active;
        uint112 weight;
    }

    /// What a stake changes; `Pot` is only read by it.
    struct Stream {
        uint128 perWeight;
        uint40 last;
        uint40 finish;
    }

    struct Pot {
        uint112 rate;
        uint128 reserve;
    }

    struct Case {
        address provider;
        uint40 resolveBy;
    }

    /// Precision of `Stream.perWeight`: rounding loses at most 1,200 wei at a time, and thirty million times the cap, paid to
    /// a single Starter, still fits.
    uint256 private constant SCALE = 1e30;

    /// @notice The only contract that may open cases and slash.
    address public court;
    BunkerToken public immutable token;
    IDelegatedStake public immutable delegation;
    /// @notice Receives the part of a slash that is not burnt.
    address public treasury;
    /// @notice May start reward epochs, with its own tokens.
    address public rewarder;
    /// @notice Where providers may move their stake; zero until governance names a successor.
    address public successor;

    Totals public totals;
    Stream public stream;
    Pot public pot;
    /// @notice Slashed and not yet distributed.
    uint256 public seized;
    /// @notice The number the latest case got.
    uint256 public lastCase;

    mapping(address provider => Provider) private _providers;
    mapping(address provider => Reward) private _rewards;
    mapping(uint256 id => Case) private _cases;

    event Staked(address indexed provider, address indexed from, uint256 amount, uint8 tier);
    event ThawStarted(address indexed provider, uint256 amount, uint40 thawUntil, uint8 tier);
    event Withdrawn(address indexed provider, uint256 amount);
    event Migrated(address indexed provider, address indexed successor, uint256 amount);
    event Slashed(
        address indexed provider,
        uint256 indexed id,
        uint256 fromActive,
        uint256 fromThawing,
        uint256 fromPool,
        uint8 tier
    );
    event Frozen(address indexed provider, uint256 indexed id, uint40 until);
    event CaseOpened(uint256 indexed id, address indexed provider, uint40 resolveBy);
    event CaseClosed(uint256 indexed id, address indexed provider);
    event Skimmed(uint256 burnt, uint256 toTreasury);
    event RewardClaimed(address indexed provider, uint256 amount);
    event RewardFunded(address indexed from, uint256 amount, uint112 rate, uint40 finish);
    event NodeClaimed(address indexed wallet, bytes32 indexed nodeKey);
    event CourtSet(address court);
    event TreasurySet(address treasury);
    event RewarderSet(address rewarder);
    event SuccessorSet(address successor);

    error AmountIsZero();
    error AddressIsZero();
    error BelowStarter(uint256 active);
    error AboveActive(uint256 active);
    error RemainderBelowStarter(uint256 remainder);
    error NothingThawing();
    error StillThawing(uint40 until);
    error HasOpenCase(uint16 openCases);
    error IsFrozen(uint40 until);
    error NothingToClaim();
    error NotRewarder(address caller);
    error NotCourt(address caller);
    error RewardTooSmall(uint256 amount);
    error NothingAtStake(address provider);
    error CaseUnknown(uint256 id);
    error CaseLapsed(uint40 resolveBy);
    error CaseNotLapsed(uint40 resolveBy);
    error ShareOutOfRange(uint256 bps);
    error FrozenRecently(uint40 next);
    error NothingSeized();
    error NodeKeyIsZero();
    error NoSuccessor();

    constructor(
        address governor_,
        BunkerToken token_,
        address court_,
        IDelegatedStake delegation_,
        address treasury_,
        address rewarder_
    ) Governed(governor_) {
        token = token_;
        delegation = delegation_;
        _setCourt(court_);
        _setTreasury(treasury_);
        _setRewarder(rewarder_);
    }

    modifier onlyCourt() {
        if (msg.sender != court) revert NotCourt(msg.sender);
        _;
    }

    // ---- providers

    /// @notice Stakes for the caller; with what is active already it must reach Starter.
    function stake(uint256 amount) external {
        _stake(msg.sender, amount);
    }

    /// @notice Stakes the caller's tokens for `provider`, who alone can take them out again.
    function stakeFor(address provider, uint256 amount) external {
        if (provider == address(0)) revert AddressIsZero();
        _stake(provider, amount);
    }

    /// @notice Starts to take out active stake. What remains is zero or at least Starter. A second call restarts the
    /// clock for what thaws already.
    function thaw(uint256 amount) external {
        Provider storage p = _providers[msg.sender];
        uint256 active = p.active;
        if (amount == 0) revert AmountIsZero();
        if (amount > active) revert AboveActive(active);
        uint256 left = active - amount;
        if (left != 0 && left < Params.STARTER) revert RemainderBelowStarter(left);
        _setActive(msg.sender, p, left);
        p.thawing += uint104(amount);
        uint40 until = uint40(block.timestamp) + Params.THAW;
        p.thawUntil = until;
        emit ThawStarted(msg.sender, amount, until, p.tier);
    }

    /// @notice Takes out what has thawed.
    function withdraw() external {
        Provider storage p = _providers[msg.sender];
        uint256 amount = p.thawing;
        if (amount == 0) revert NothingThawing();
        if (block.timestamp < p.thawUntil) revert StillThawing(p.thawUntil);
        if (p.openCases != 0 && block.timestamp <= p.heldUntil) revert HasOpenCase(p.openCases);
        if (frozen(msg.sender)) revert IsFrozen(p.frozenUntil);
        p.thawing = 0;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Moves the caller's active stake to the successor that governance named.
    function migrate() external {
        Provider storage p = _providers[msg.sender];
        uint256 amount = p.active;
        if (successor == address(0)) revert NoSuccessor();
        if (amount == 0) revert NothingAtStake(msg.sender);
        if (p.openCases != 0) revert HasOpenCase(p.openCases);
        if (frozen(msg.sender)) revert IsFrozen(p.frozenUntil);
        _setActive(msg.sender, p, 0);
        emit Migrated(msg.sender, successor, amount);
        token.forceApprove(successor, amount);
        IStakeSuccessor(successor).stakeFor(msg.sender, amount);
    }

    /// @notice Pays out the caller's rewards.
    function claim() external returns (uint256 amount) {
        _accrue(msg.sender, _weight(_providers[msg.sender]), _advance());
        Reward storage r = _rewards[msg.sender];
        amount = r.accrued;
        if (amount == 0) revert NothingToClaim();
        r.accrued = 0;
        pot.reserve -= uint128(amount);
        emit RewardClaimed(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Says in public that the caller's wallet works for the node with this Ed25519 key. Anybody may claim any
    /// key, so there is nothing to squat; the certificate signed by both keys decides.
    function claimNode(bytes32 nodeKey) external {
        if (nodeKey == 0) revert NodeKeyIsZero();
        emit NodeClaimed(msg.sender, nodeKey);
    }

    // ---- rewards

    /// @notice Adds the caller's tokens to the rewards and spreads what is left over a new epoch.
    function fundRewards(uint256 amount) external {
        if (msg.sender != rewarder) revert NotRewarder(msg.sender);
        if (amount < Params.REWARD_EPOCH) revert RewardTooSmall(amount);
        _advance();
        Stream storage s = stream;
        uint256 left = s.finish > s.last ? uint256(s.finish - s.last) * pot.rate : 0;
        uint112 rate = ((amount + left) / Params.REWARD_EPOCH).toUint112();
        uint40 finish = uint40(block.timestamp) + Params.REWARD_EPOCH;
        s.finish = finish;
        pot = Pot({rate: rate, reserve: pot.reserve + amount.toUint128()});
        emit RewardFunded(msg.sender, amount, rate, finish);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    // ---- the court

    /// @notice Opens a case: the provider's stake stays until it is closed, or lapses.
    function openCase(address provider) external onlyCourt returns (uint256 id) {
        Provider storage p = _providers[provider];
        if (uint256(p.active) + p.thawing + delegation.atRisk(provider) == 0) revert NothingAtStake(provider);
        id = ++lastCase;
        uint40 until = uint40(block.timestamp) + Params.CASE_LIFE;
        _cases[id] = Case({provider: provider, resolveBy: until});
        p.openCases += 1;
        // A case against stake that has thawed already does not hold it: otherwise one accusation after another, by whom
        // ever, would keep it for ever while the court sleeps.
        if (p.thawing == 0 || block.timestamp < p.thawUntil) p.heldUntil = until;
        emit CaseOpened(id, provider, until);
    }

    /// @notice Closes a case without consequence.
    function closeCase(uint256 id) external onlyCourt {
        _close(id);
    }

    /// @notice Closes a case the court left open for too long; anybody may.
    function lapseCase(uint256 id) external {
        uint40 until = _cases[id].resolveBy;
        if (block.timestamp <= until) revert CaseNotLapsed(until);
        _close(id);
    }

    /// @notice Takes `bps` of everything at risk, the provider's own stake before the pool's, and closes the case. Within
    /// `Params.SLASH_WINDOW` the shares of all slashes add up to 100 % at most.
    function slash(uint256 id, uint256 bps) external onlyCourt {
        if (bps == 0 || bps > Params.BPS) revert ShareOutOfRange(bps);
        uint40 until = _cases[id].resolveBy;
        address provider = _close(id);
        if (block.timestamp > until) revert CaseLapsed(until);
        Provider storage p = _providers[provider];
        bps = _withinWindow(p, bps);

        uint256 active = p.active;
        uint256 own = active + p.thawing;
        uint256 wanted = ((own + delegation.atRisk(provider)) * bps).ceilDiv(Params.BPS);
        uint256 fromOwn = Math.min(own, wanted);
        uint256 fromActive = own == 0 ? 0 : (active * fromOwn).ceilDiv(own);
        uint256 fromThawing = fromOwn - fromActive;
        uint256 fromPool = wanted - fromOwn;

        _setActive(provider, p, active - fromActive);
        p.thawing -= fromThawing.toUint104();
        if (fromPool != 0) fromPool = delegation.slash(provider, fromPool);
        emit Slashed(provider, id, fromActive, fromThawing, fromPool, p.tier);
        seized += fromOwn + fromPool;
    }

    /// @notice Burns and distributes what was slashed so far; anybody may.
    function skim() external {
        uint256 amount = seized;
        if (amount == 0) revert NothingSeized();
        seized = 0;
        uint256 burnt = amount * Params.BURN_BPS / Params.BPS;
        emit Skimmed(burnt, amount - burnt);
        token.burn(burnt);
        token.safeTransfer(treasury, amount - burnt);
    }

    /// @notice Freezes the provider of an open case for `Params.FREEZE`; not again before as much time has passed free.
    function freeze(uint256 id) external onlyCourt {
        address provider = _cases[id].provider;
        if (provider == address(0)) revert CaseUnknown(id);
        Provider storage p = _providers[provider];
        uint40 next = p.frozenUntil == 0 ? 0 : p.frozenUntil + Params.FREEZE;
        if (block.timestamp < next) revert FrozenRecently(next);
        p.frozenUntil = uint40(block.timestamp) + Params.FREEZE;
        emit Frozen(provider, id, p.frozenUntil);
    }

    // ---- governance

    /// @notice Replaces the court; cases of the old one lapse.
    function setCourt(address court_) external onlyGovernor {
        _setCourt(court_);
    }

    /// @notice Names who gets the part of a slash that is not burnt.
    function setTreasury(address treasury_) external onlyGovernor {
        _setTreasury(treasury_);
    }

    /// @notice Names who may start reward epochs.
    function setRewarder(address rewarder_) external onlyGovernor {
        _setRewarder(rewarder_);
    }

    /// @notice Names the contract that providers may move to; nobody is moved.
    function setSuccessor(address successor_) external onlyGovernor {
        successor = successor_;
        emit SuccessorSet(successor_);
    }

    // ---- views

    /// @notice 0 none, 1 Starter, 2 Bronze, 3 Silver, 4 Gold, 5 Platinum.
    function tierOf(address provider) external view returns (uint8) {
        return _providers[provider].tier;
    }

    /// @notice Whether the court stopped the provider for now.
    function frozen(address provider) public view returns (bool) {
        return block.timestamp < _providers[provider].frozenUntil;
    }

    /// @notice Everything known of a provider.
    function providerOf(address provider) external view returns (Provider memory) {
        return _providers[provider];
    }

    /// @notice Whether the provider may take work: it has a tier and is not frozen.
    function eligible(address provider) external view returns (bool) {
        return _providers[provider].tier != 0 && !frozen(provider);
    }

    /// @notice An open case; empty when it is closed.
    function caseOf(uint256 id) external view returns (Case memory) {
        return _cases[id];
    }

    /// @notice When the case lapses; 0 when it is closed.
    function resolveBy(uint256 id) external view returns (uint40) {
        return _cases[id].resolveBy;
    }

    /// @notice What `claim` would pay.
    function claimable(address provider) external view returns (uint256) {
        uint256 perWeight = _advanced(stream, totals.weight).perWeight;
        Reward memory r = _rewards[provider];
        return r.accrued + _weight(_providers[provider]) * (perWeight - r.paidPerWeight) / SCALE;
    }

    /// @notice Jobs a provider of this tier should hold at once. Counted by those who hand out jobs, not here.
    function maxJobs(uint8 tier) external pure returns (uint16) {
        if (tier == 0) return 0;
        if (tier == 1) return Params.STARTER_JOBS;
        if (tier == 2) return Params.BRONZE_JOBS;
        if (tier == 3) return Params.SILVER_JOBS;
        if (tier == 4) return Params.GOLD_JOBS;
        return Params.PLATINUM_JOBS;
    }

    // ---- inside

    function _stake(address provider, uint256 amount) private whenRunning {
        if (amount == 0) revert AmountIsZero();
        Provider storage p = _providers[provider];
        uint256 active = p.active + amount;
        if (active < Params.STARTER) revert BelowStarter(active);
        if (p.active == 0) p.since = uint40(block.timestamp);
        _setActive(provider, p, active);
        emit Staked(provider, msg.sender, amount, p.tier);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// Settles the rewards for the old stake, then writes the new one, its tier and its weight.
    function _setActive(address provider, Provider storage p, uint256 active) private {
        uint256 before = p.active;
        uint256 weight = before * _multiplier(p.tier);
        _accrue(provider, weight, _advance());
        uint8 tier = _tier(active);
        Totals memory t = totals;
        uint256 totalActive = t.active - before + active;
        uint256 totalWeight = t.weight - weight + active * _multiplier(tier);
        totals = Totals({active: totalActive.toUint112(), weight: totalWeight.toUint112()});
        (p.active, p.tier) = (active.toUint104(), tier);
    }

    function _close(uint256 id) private returns (address provider) {
        provider = _cases[id].provider;
        if (provider == address(0)) revert CaseUnknown(id);
        delete _cases[id];
        _providers[provider].openCases -= 1;
        emit CaseClosed(id, provider);
    }

    function _withinWindow(Provider storage p, uint256 bps) private returns (uint256) {
        uint256 used = p.slashedBps;
        if (block.timestamp >= uint256(p.slashWindow) + Params.SLASH_WINDOW) {
            p.slashWindow = uint40(block.timestamp);
            used = 0;
        }
        bps = Math.min(bps, Params.BPS - used);
        p.slashedBps = uint16(used + bps);
        return bps;
    }

    /// Brings the stream up to this second. While nobody has weight it stands still, so that nothing is lost.
    function _advance() private returns (uint256) {
        Stream memory s = stream;
        if (s.last != block.timestamp) {
            s = _advanced(s, totals.weight);
            stream = s;
        }
        return s.perWeight;
    }

    function _advanced(Stream memory s, uint256 weight) private view returns (Stream memory) {
        uint40 time = uint40(block.timestamp);
        if (s.last < s.finish) {
            if (weight == 0) s.finish += time - s.last;
            else s.perWeight += ((Math.min(time, s.finish) - s.last) * pot.rate * SCALE / weight).toUint128();
        }
        s.last = time;
        return s;
    }

    function _accrue(address provider, uint256 weight, uint256 perWeight) private {
        Reward storage r = _rewards[provider];
        uint256 paid = r.paidPerWeight;
        if (paid == perWeight) return;
        r.accrued += (weight * (perWeight - paid) / SCALE).toUint128();
        r.paidPerWeight = uint128(perWeight);
    }

    function _weight(Provider storage p) private view returns (uint256) {
        return uint256(p.active) * _multiplier(p.tier);
    }

    function _tier(uint256 active) private pure returns (uint8) {
        if (active < Params.STARTER) return 0;
        if (active < Params.BRONZE) return 1;
        if (active < Params.SILVER) return 2;
        if (active < Params.GOLD) return 3;
        if (active < Params.PLATINUM) return 4;
        return 5;
    }

    function _multiplier(uint8 tier) private pure returns (uint256) {
        if (tier == 0) return 0;
        if (tier == 1) return Params.STARTER_MULTIPLIER;
        if (tier == 2) return Params.BRONZE_MULTIPLIER;
        if (tier == 3) return Params.SILVER_MULTIPLIER;
        if (tier == 4) return Params.GOLD_MULTIPLIER;
        return Params.PLATINUM_MULTIPLIER;
    }

    function _setCourt(address court_) private {
        if (court_ == address(0)) revert AddressIsZero();
        court = court_;
        emit CourtSet(court_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert AddressIsZero();
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }

    function _setRewarder(address rewarder_) private {
        if (rewarder_ == address(0)) revert AddressIsZero();
        rewarder = rewarder_;
        emit RewarderSet(rewarder_);
    }
}
