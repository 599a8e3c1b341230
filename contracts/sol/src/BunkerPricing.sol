// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Governed} from "./Governed.sol";
import {Params} from "./Params.sol";

/// US dollars with 18 decimals. Not to be mixed up with tokens.
type Usd is uint256;

/// @title What resources usually cost
/// @notice Prices are in dollars; a quote is in BUNKER at the rate of a feed, or at the rate governance set when the feed
/// is missing, silent, old, out of bounds, or the sequencer was away. A quote never fails and binds nobody: what is paid
/// is what a provider signed.
contract BunkerPricing is Governed {
    using Math for uint256;

    /// What one provider gives a job. 1 GB is 1,000 MB; a month is 30 days.
    struct Usage {
        uint32 milliCores;
        uint32 memoryMb;
        uint32 storageMb;
        uint32 networkMb;
        uint16 gpuBasic;
        uint16 gpuPremium;
        uint32 duration;
    }

    struct Prices {
        Usd cpuCoreHour;
        Usd memoryGbHour;
        Usd storageGbMonth;
        Usd networkGb;
        Usd gpuBasicHour;
        Usd gpuPremiumHour;
    }

    struct Feed {
        /// Dollars per BUNKER; zero: not used.
        address aggregator;
        /// Answers 0 while the sequencer is up; zero: not checked.
        address sequencer;
        uint8 decimals;
        uint40 maxAge;
        /// Answers outside of [min, max] are not believed.
        uint96 min;
        uint96 max;
    }

    /// Where the rate of a quote comes from, or why it does not come from the feed.
    enum Source {
        Feed,
        NoFeed,
        SequencerDown,
        NoAnswer,
        Stale,
        OutOfBounds
    }

    /// With both limits a quote for any usage fits 256 bits: no setting can make one fail.
    uint256 private constant MAX_RATE = 1e36;
    uint256 private constant MAX_PRICE = 1e24;

    /// @notice BUNKER (wei) per dollar when the feed is not used.
    uint256 public fallbackRate = Params.BUNKER_PER_USD;
    Prices private _prices;
    Feed private _feed;

    event FallbackRateSet(uint256 rate);
    event PricesSet(Prices prices);
    event FeedSet(Feed feed);

    error RateOutOfRange(uint256 rate);
    error PriceOutOfRange(Usd price);
    error BoundsInverted(uint96 min, uint96 max);
    error AgeOutOfRange(uint40 maxAge);
    error TooManyDecimals(uint8 decimals);

    constructor(address governor_) Governed(governor_) {
        _prices = Prices({
            cpuCoreHour: _usd(Params.CPU_CORE_HOUR),
            memoryGbHour: _usd(Params.MEMORY_GB_HOUR),
            storageGbMonth: _usd(Params.STORAGE_GB_MONTH),
            networkGb: _usd(Params.NETWORK_GB),
            gpuBasicHour: _usd(Params.GPU_BASIC_HOUR),
            gpuPremiumHour: _usd(Params.GPU_PREMIUM_HOUR)
        });
        emit PricesSet(_prices);
    }

    /// @notice What one provider's part of a job costs, in BUNKER (wei), rounded up.
    function quote(Usage calldata u) external view returns (uint256 amount, Source source) {
        uint256 perUsd;
        (perUsd, source) = rate();
        amount = Usd.unwrap(cost(u)).mulDiv(perUsd, 1e18, Math.Rounding.Ceil);
    }

    /// @notice The same in dollars, rounded up.
    function cost(Usage calldata u) public view returns (Usd) {
        Prices memory p = _prices;
        uint256 hourly = uint256(u.milliCores) * Usd.unwrap(p.cpuCoreHour) + uint256(u.memoryMb)
            * Usd.unwrap(p.memoryGbHour) + 1_000
            * (uint256(u.gpuBasic) * Usd.unwrap(p.gpuBasicHour) + uint256(u.gpuPremium) * Usd.unwrap(p.gpuPremiumHour));
        uint256 monthly = uint256(u.storageMb) * Usd.unwrap(p.storageGbMonth);
        uint256 once = uint256(u.networkMb) * Usd.unwrap(p.networkGb);
        // All in thousandths, over the seconds of a month.
        uint256 total = uint256(u.duration) * (hourly * 720 + monthly) + once * 30 days;
        return Usd.wrap(total.ceilDiv(1_000 * 30 days));
    }

    /// @notice BUNKER (wei) per dollar, and where that comes from.
    function rate() public view returns (uint256, Source) {
        Feed memory f = _feed;
        if (f.aggregator == address(0)) return (fallbackRate, Source.NoFeed);
        if (f.sequencer != address(0) && !_sequencerUp(f.sequencer)) return (fallbackRate, Source.SequencerDown);
        (bool ok, int256 answer,, uint256 updatedAt) = _latest(f.aggregator);
        if (!ok || answer <= 0 || updatedAt == 0) return (fallbackRate, Source.NoAnswer);
        if (updatedAt > block.timestamp || block.timestamp - updatedAt > f.maxAge) {
            return (fallbackRate, Source.Stale);
        }
        if (uint256(answer) < f.min || uint256(answer) > f.max) return (fallbackRate, Source.OutOfBounds);
        return (Math.mulDiv(1e18, 10 ** f.decimals, uint256(answer)), Source.Feed);
    }

    /// @notice Sets the rate used without a feed.
    function setFallbackRate(uint256 rate_) external onlyGovernor {
        if (rate_ == 0 || rate_ > MAX_RATE) revert RateOutOfRange(rate_);
        fallbackRate = rate_;
        emit FallbackRateSet(rate_);
    }

    /// @notice Sets all prices.
    function setPrices(Prices calldata prices_) external onlyGovernor {
        _checkPrice(prices_.cpuCoreHour);
        _checkPrice(prices_.memoryGbHour);
        _checkPrice(prices_.storageGbMonth);
        _checkPrice(prices_.networkGb);
        _checkPrice(prices_.gpuBasicHour);
        _checkPrice(prices_.gpuPremiumHour);
        _prices = prices_;
        emit PricesSet(prices_);
    }

    /// @notice Sets the feed; a zero aggregator turns it off.
    function setFeed(Feed calldata feed_) external onlyGovernor {
        if (feed_.aggregator != address(0)) {
            if (feed_.min == 0) revert RateOutOfRange(0);
            if (feed_.min > feed_.max) revert BoundsInverted(feed_.min, feed_.max);
            if (feed_.maxAge < Params.MIN_AGE || feed_.maxAge > Params.MAX_AGE) revert AgeOutOfRange(feed_.maxAge);
            if (feed_.decimals > 18) revert TooManyDecimals(feed_.decimals);
        }
        _feed = feed_;
        emit FeedSet(feed_);
    }

    /// @notice All prices.
    function prices() external view returns (Prices memory) {
        return _prices;
    }

    /// @notice The feed, with its limits.
    function feed() external view returns (Feed memory) {
        return _feed;
    }

    function _sequencerUp(address sequencer) private view returns (bool) {
        (bool ok, int256 answer, uint256 startedAt,) = _latest(sequencer);
        if (!ok || answer != 0 || startedAt == 0 || startedAt > block.timestamp) return false;
        return block.timestamp - startedAt >= Params.SEQUENCER_GRACE;
    }

    /// Asks by hand: a feed that reverts, or answers with something else, must not take the quote down with it.
    function _latest(address aggregator)
        private
        view
        returns (bool ok, int256 answer, uint256 startedAt, uint256 updatedAt)
    {
        bytes memory data;
        (ok, data) = aggregator.staticcall(abi.encodeWithSignature("latestRoundData()"));
        if (!ok || data.length != 160) return (false, 0, 0, 0);
        (, answer, startedAt, updatedAt,) = abi.decode(data, (uint256, int256, uint256, uint256, uint256));
    }

    function _checkPrice(Usd price) private pure {
        if (Usd.unwrap(price) > MAX_PRICE) revert PriceOutOfRange(price);
    }

    /// The parameters state prices in BUNKER at the nominal rate.
    function _usd(uint256 bunker) private pure returns (Usd) {
        return Usd.wrap(bunker * 1e18 / Params.BUNKER_PER_USD);
    }
}
