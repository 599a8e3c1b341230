// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {BunkerStaking} from "./BunkerStaking.sol";
import {BunkerToken} from "./BunkerToken.sol";
import {Pausable, Governed} from "./Governed.sol";
import {IDelegatedStake} from "./Interfaces.sol";
import {Params} from "./Params.sol";

/// @title Stake lent to providers
/// @notice A provider opens a pool and names its cut of the rewards; delegators hold shares of the pool. The pool is at
/// risk once the provider's own stake is gone, thawing shares included, everybody in proportion. A higher cut takes a
/// week's notice; a lower one acts at once and withdraws the notice.
contract BunkerDelegation is Pausable, IDelegatedStake {
    using Math for uint256;
    using SafeCast for uint256;
    using SafeERC20 for BunkerToken;

    /// One side of a pool (a product of two of its fields fits 256 bits): tokens and the shares they are divided into. Shares of an earlier epoch are void.
    struct Side {
        uint112 tokens;
        uint112 shares;
        uint32 epoch;
    }

    struct Pool {
        Side active;
        Side thawing;
        uint16 cutBps;
        uint16 nextCutBps;
        /// When `nextCutBps` may take effect; 0 without notice.
        uint40 nextCutAt;
        bool open;
    }

    struct Position {
        uint112 shares;
        uint112 thawing;
        uint32 epoch;
        uint32 thawEpoch;
        uint40 thawUntil;
    }

    /// A side slashed to less than a ten-thousandth of a token per share is void. So there are never more than 10,000
    /// shares per token, and shares of every token that can exist fit their type.
    uint256 private constant MAX_SHARES_PER_TOKEN = 10_000;
    /// A deposit must get this many shares, so that rounding never costs it more than a millionth of a millionth.
    uint256 private constant MIN_SHARES = 1e12;

    BunkerToken public immutable token;
    BunkerStaking public immutable staking;

    mapping(address provider => Pool) private _pools;
    mapping(address delegator => mapping(address provider => Position)) private _positions;
    /// @notice Cuts that providers may take out.
    mapping(address provider => uint256) public earned;

    event PoolOpened(address indexed provider, uint16 cutBps);
    event PoolClosed(address indexed provider);
    event CutNoticed(address indexed provider, uint16 cutBps, uint40 from);
    event CutSet(address indexed provider, uint16 cutBps);
    event Delegated(address indexed delegator, address indexed provider, uint256 amount, uint256 shares);
    event ThawStarted(
        address indexed delegator, address indexed provider, uint256 shares, uint256 amount, uint40 thawUntil
    );
    event Withdrawn(address indexed delegator, address indexed provider, uint256 amount);
    event Distributed(address indexed from, address indexed provider, uint256 toProvider, uint256 toPool);
    event PoolSlashed(address indexed provider, uint256 amount);
    event EarnedWithdrawn(address indexed provider, uint256 amount);

    error AmountIsZero();
    error PoolIsClosed(address provider);
    error PoolIsOpen(address provider);
    error PoolIsEmpty(address provider);
    error CutTooHigh(uint16 cutBps);
    error CutUnchanged(uint16 cutBps);
    error NoNotice();
    error NoticeRunning(uint40 until);
    error ProviderNotEligible(address provider);
    error AboveRatio(uint256 room);
    error BelowMinimum(uint256 amount);
    error TooFewShares(uint256 shares);
    error AboveShares(uint256 shares);
    error NothingThawing();
    error StillThawing(uint40 until);
    error NotStaking(address caller);
    error NothingEarned();

    constructor(address governor_, BunkerToken token_, BunkerStaking staking_) Governed(governor_) {
        token = token_;
        staking = staking_;
    }

    // ---- providers

    /// @notice Opens the caller's pool. By this the caller accepts to stand in first for what its pool may lose.
    function openPool(uint16 cutBps) external {
        Pool storage p = _pools[msg.sender];
        if (p.open) revert PoolIsOpen(msg.sender);
        // An old pool with delegators in it keeps the rules for its cut.
        if (p.active.shares != 0 && cutBps > p.cutBps) revert CutTooHigh(cutBps);
        if (cutBps > Params.MAX_CUT) revert CutTooHigh(cutBps);
        p.open = true;
        p.cutBps = cutBps;
        emit PoolOpened(msg.sender, cutBps);
    }

    /// @notice Takes no further delegations.
    function closePool() external {
        Pool storage p = _pools[msg.sender];
        if (!p.open) revert PoolIsClosed(msg.sender);
        p.open = false;
        p.nextCutAt = 0;
        emit PoolClosed(msg.sender);
    }

    /// @notice Lowers the cut at once, or gives notice of a higher one. Either replaces a notice given before.
    function setCut(uint16 cutBps) external {
        Pool storage p = _pools[msg.sender];
        if (!p.open) revert PoolIsClosed(msg.sender);
        if (cutBps > Params.MAX_CUT) revert CutTooHigh(cutBps);
        if (cutBps == p.cutBps) revert CutUnchanged(cutBps);
        if (cutBps > p.cutBps) {
            p.nextCutBps = cutBps;
            p.nextCutAt = uint40(block.timestamp) + Params.CUT_NOTICE;
            emit CutNoticed(msg.sender, cutBps, p.nextCutAt);
        } else {
            p.cutBps = cutBps;
            p.nextCutAt = 0;
            emit CutSet(msg.sender, cutBps);
        }
    }

    /// @notice Makes the higher cut effective after its notice.
    function applyCut() external {
        Pool storage p = _pools[msg.sender];
        if (p.nextCutAt == 0) revert NoNotice();
        if (block.timestamp < p.nextCutAt) revert NoticeRunning(p.nextCutAt);
        p.cutBps = p.nextCutBps;
        p.nextCutAt = 0;
        emit CutSet(msg.sender, p.cutBps);
    }

    /// @notice Takes out the caller's cuts.
    function withdrawEarned() external {
        uint256 amount = earned[msg.sender];
        if (amount == 0) revert NothingEarned();
        earned[msg.sender] = 0;
        emit EarnedWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ---- delegators

    /// @notice Adds the caller's tokens to the pool of `provider`.
    function delegate(address provider, uint256 amount) external whenRunning {
        Pool storage p = _pools[provider];
        if (!p.open) revert PoolIsClosed(provider);
        if (amount < Params.MIN_DELEGATION) revert BelowMinimum(amount);
        if (!staking.eligible(provider)) revert ProviderNotEligible(provider);
        uint256 limit = Params.MAX_RATIO * staking.providerOf(provider).active;
        uint256 held = p.active.tokens;
        if (held + amount > limit) revert AboveRatio(held < limit ? limit - held : 0);

        Position storage d = _current(msg.sender, provider, p);
        uint256 shares = p.active.shares == 0 ? amount : amount * p.active.shares / held;
        if (shares < MIN_SHARES) revert TooFewShares(shares);
        p.active.tokens = uint112(held + amount);
        p.active.shares += uint112(shares);
        d.shares += uint112(shares);
        emit Delegated(msg.sender, provider, amount, shares);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Starts to take out `shares`. A second call restarts the clock for what thaws already.
    function thaw(address provider, uint256 shares) external {
        Pool storage p = _pools[provider];
        Position storage d = _current(msg.sender, provider, p);
        if (shares == 0) revert AmountIsZero();
        if (shares > d.shares) revert AboveShares(d.shares);
        uint256 amount = shares * p.active.tokens / p.active.shares;
        uint256 left = (d.shares - shares) * p.active.tokens / p.active.shares;
        if (d.shares != shares && left < Params.MIN_DELEGATION) revert BelowMinimum(left);
        d.shares -= uint112(shares);
        p.active.shares -= uint112(shares);
        p.active.tokens -= uint112(amount);

        // slither-disable-next-line divide-before-multiply: `amount` is what moves, to the wei.
        uint256 thawShares = p.thawing.shares == 0 ? amount : amount * p.thawing.shares / p.thawing.tokens;
        p.thawing.shares += uint112(thawShares);
        p.thawing.tokens += uint112(amount);
        d.thawing += uint112(thawShares);
        d.thawUntil = uint40(block.timestamp) + Params.DELEGATION_THAW;
        emit ThawStarted(msg.sender, provider, shares, amount, d.thawUntil);
    }

    /// @notice Takes out what has thawed.
    function withdraw(address provider) external {
        Pool storage p = _pools[provider];
        Position storage d = _current(msg.sender, provider, p);
        uint256 shares = d.thawing;
        if (shares == 0) revert NothingThawing();
        if (block.timestamp < d.thawUntil) revert StillThawing(d.thawUntil);
        uint256 amount = shares * p.thawing.tokens / p.thawing.shares;
        d.thawing = 0;
        p.thawing.shares -= uint112(shares);
        p.thawing.tokens -= uint112(amount);
        emit Withdrawn(msg.sender, provider, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Gives the caller's tokens to the delegators of `provider`, less the provider's cut.
    function distribute(address provider, uint256 amount) external {
        Pool storage p = _pools[provider];
        if (amount == 0) revert AmountIsZero();
        if (p.active.tokens == 0) revert PoolIsEmpty(provider);
        uint256 cut = amount * p.cutBps / Params.BPS;
        earned[provider] += cut;
        uint256 tokens = p.active.tokens + amount - cut;
        p.active.tokens = tokens.toUint112();
        emit Distributed(msg.sender, provider, cut, amount - cut);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    // ---- the staking contract

    /// @notice Takes `amount` out of a pool, from active and thawing alike, and hands it to the staking contract. It may
    /// be a little more: what is left of a side is taken too when it became too little to be divided.
    function slash(address provider, uint256 amount) external returns (uint256 taken) {
        if (msg.sender != address(staking)) revert NotStaking(msg.sender);
        Pool storage p = _pools[provider];
        uint256 active = p.active.tokens;
        uint256 fromActive = (active * amount).ceilDiv(active + p.thawing.tokens);
        taken = _take(p.active, fromActive) + _take(p.thawing, amount - fromActive);
        emit PoolSlashed(provider, taken);
        token.safeTransfer(address(staking), taken);
    }

    // ---- views

    /// @notice Everything in the pool of `provider`, thawing included.
    function atRisk(address provider) external view returns (uint256) {
        Pool storage p = _pools[provider];
        return uint256(p.active.tokens) + p.thawing.tokens;
    }

    /// @notice Everything known of a pool.
    function poolOf(address provider) external view returns (Pool memory) {
        return _pools[provider];
    }

    /// @notice The position of `delegator`, without shares that became void.
    function positionOf(address delegator, address provider) public view returns (Position memory d) {
        d = _positions[delegator][provider];
        Pool storage p = _pools[provider];
        if (d.epoch != p.active.epoch) (d.epoch, d.shares) = (p.active.epoch, 0);
        if (d.thawEpoch != p.thawing.epoch) (d.thawEpoch, d.thawing) = (p.thawing.epoch, 0);
    }

    /// @notice What the position is worth, active and thawing.
    function valueOf(address delegator, address provider) external view returns (uint256 active, uint256 thawing) {
        Position memory d = positionOf(delegator, provider);
        Pool storage p = _pools[provider];
        if (d.shares != 0) active = uint256(d.shares) * p.active.tokens / p.active.shares;
        if (d.thawing != 0) thawing = uint256(d.thawing) * p.thawing.tokens / p.thawing.shares;
    }

    // ---- inside

    function _current(address delegator, address provider, Pool storage p) private returns (Position storage d) {
        d = _positions[delegator][provider];
        if (d.epoch != p.active.epoch) (d.epoch, d.shares) = (p.active.epoch, 0);
        if (d.thawEpoch != p.thawing.epoch) (d.thawEpoch, d.thawing) = (p.thawing.epoch, 0);
    }

    function _take(Side storage side, uint256 amount) private returns (uint256) {
        uint256 left = side.tokens - amount;
        if (left * MAX_SHARES_PER_TOKEN < side.shares) {
            amount += left;
            (left, side.shares) = (0, 0);
            side.epoch += 1;
        }
        side.tokens = uint112(left);
        return amount;
    }
}
