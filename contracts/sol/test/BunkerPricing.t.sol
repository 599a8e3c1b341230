// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {BunkerPricing, Usd} from "../src/BunkerPricing.sol";
import {Params} from "../src/Params.sol";
import {Fixture} from "./Base.sol";

/// Answers what the test wants, or with something else, or not at all.
contract FakeFeed {
    int256 public answer;
    uint256 public startedAt;
    uint256 public updatedAt;
    bool public short;
    bool public broken;

    error Broken();

    function set(int256 answer_, uint256 startedAt_, uint256 updatedAt_) external {
        (answer, startedAt, updatedAt) = (answer_, startedAt_, updatedAt_);
    }

    function shorten() external {
        short = true;
    }

    function breakDown() external {
        broken = true;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        if (broken) revert Broken();
        if (short) {
            assembly ("memory-safe") {
                mstore(0, 1)
                return(0, 32)
            }
        }
        return (1, answer, startedAt, updatedAt, 1);
    }
}

contract BunkerPricingTest is Fixture {
    FakeFeed private feed;
    FakeFeed private sequencer;

    function setUp() public override {
        super.setUp();
        feed = new FakeFeed();
        sequencer = new FakeFeed();
    }

    function usage() private pure returns (BunkerPricing.Usage memory u) {
        u.duration = 1 hours;
    }

    function config() private view returns (BunkerPricing.Feed memory) {
        return BunkerPricing.Feed({
            aggregator: address(feed),
            sequencer: address(sequencer),
            decimals: 8,
            maxAge: 1 hours,
            min: 1_000,
            max: 10_000
        });
    }

    function use(BunkerPricing.Feed memory f) private {
        vm.prank(address(timelock));
        pricing.setFeed(f);
    }

    /// 0.00005 dollars: 20,000 BUNKER a dollar; with 0.0001, 10,000.
    function healthy() private {
        use(config());
        feed.set(10_000, block.timestamp, block.timestamp);
        sequencer.set(0, block.timestamp - 1 hours, block.timestamp);
    }

    function quoted(BunkerPricing.Usage memory u, uint256 want) private view {
        (uint256 amount, BunkerPricing.Source source) = pricing.quote(u);
        same(amount, want, "quote");
        check(source == BunkerPricing.Source.NoFeed, "without a feed");
    }

    function rated(uint256 want, BunkerPricing.Source source) private view {
        (uint256 rate, BunkerPricing.Source got) = pricing.rate();
        same(uint256(got), uint256(source), "source");
        same(rate, want, "rate");
    }

    function test_QuotesAreThePublishedPrices() public view {
        BunkerPricing.Usage memory u = usage();
        quoted(u, 0);
        u.milliCores = 1_000;
        quoted(u, 600 * BUNKER);
        u = usage();
        u.memoryMb = 1_000;
        quoted(u, 80 * BUNKER);
        u = usage();
        u.storageMb = 1_000;
        u.duration = 30 days;
        quoted(u, 2_000 * BUNKER);
        u = usage();
        u.networkMb = 1_000;
        quoted(u, 1_000 * BUNKER);
        u = usage();
        u.gpuBasic = 1;
        quoted(u, 10_000 * BUNKER);
        u = usage();
        u.gpuPremium = 1;
        quoted(u, 40_000 * BUNKER);
        u.milliCores = 500;
        u.memoryMb = 2_500;
        u.networkMb = 10;
        quoted(u, (40_000 + 300 + 200 + 10) * BUNKER);
        u.duration = 2 hours;
        quoted(u, (80_000 + 600 + 400 + 10) * BUNKER);
    }

    function test_PricesInDollars() public view {
        BunkerPricing.Usage memory u = usage();
        u.milliCores = 1_000;
        same(Usd.unwrap(pricing.cost(u)), 0.03e18, "3 cents a core hour");
        same(Usd.unwrap(pricing.prices().gpuPremiumHour), 2e18, "2 dollars");
    }

    function test_AQuoteIsRoundedUp() public {
        vm.prank(address(timelock));
        pricing.setFallbackRate(1);
        BunkerPricing.Usage memory u = usage();
        u.duration = 1;
        u.milliCores = 1;
        quoted(u, 1);
    }

    function test_AHealthyFeedIsUsed() public {
        healthy();
        rated(10_000 * BUNKER, BunkerPricing.Source.Feed);
        feed.set(5_000, 0, block.timestamp - 1 hours);
        rated(20_000 * BUNKER, BunkerPricing.Source.Feed);
        BunkerPricing.Usage memory u = usage();
        u.milliCores = 1_000;
        feed.set(10_000, 0, block.timestamp);
        (uint256 amount, BunkerPricing.Source source) = pricing.quote(u);
        same(amount, 300 * BUNKER, "half the tokens at twice the price");
        check(source == BunkerPricing.Source.Feed, "source");
    }

    function test_BoundsAreInclusive() public {
        healthy();
        feed.set(1_000, 0, block.timestamp);
        rated(100_000 * BUNKER, BunkerPricing.Source.Feed);
        feed.set(999, 0, block.timestamp);
        rated(20_000 * BUNKER, BunkerPricing.Source.OutOfBounds);
        feed.set(10_001, 0, block.timestamp);
        rated(20_000 * BUNKER, BunkerPricing.Source.OutOfBounds);
    }

    function test_AnOldOrFutureAnswerIsNotUsed() public {
        healthy();
        feed.set(10_000, 0, block.timestamp - 1 hours - 1);
        rated(20_000 * BUNKER, BunkerPricing.Source.Stale);
        feed.set(10_000, 0, block.timestamp + 1);
        rated(20_000 * BUNKER, BunkerPricing.Source.Stale);
        feed.set(10_000, 0, 0);
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
    }

    function test_ASenselessAnswerIsNotUsed() public {
        healthy();
        feed.set(0, 0, block.timestamp);
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
        feed.set(-1, 0, block.timestamp);
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
        feed.shorten();
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
        feed.breakDown();
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
        BunkerPricing.Feed memory f = config();
        f.aggregator = stranger;
        use(f);
        rated(20_000 * BUNKER, BunkerPricing.Source.NoAnswer);
    }

    function test_WithoutTheSequencerNoFeed() public {
        healthy();
        sequencer.set(1, block.timestamp - 1 days, 0);
        rated(20_000 * BUNKER, BunkerPricing.Source.SequencerDown);
        sequencer.set(0, block.timestamp - 1 hours + 1, 0);
        rated(20_000 * BUNKER, BunkerPricing.Source.SequencerDown);
        sequencer.set(0, 0, 0);
        rated(20_000 * BUNKER, BunkerPricing.Source.SequencerDown);
        sequencer.set(0, block.timestamp + 1, 0);
        rated(20_000 * BUNKER, BunkerPricing.Source.SequencerDown);
        sequencer.breakDown();
        rated(20_000 * BUNKER, BunkerPricing.Source.SequencerDown);
        BunkerPricing.Feed memory f = config();
        f.sequencer = address(0);
        use(f);
        rated(10_000 * BUNKER, BunkerPricing.Source.Feed);
    }

    function test_AFeedNeedsBoundsAnAgeAndAtMost18Decimals() public {
        vm.startPrank(address(timelock));
        BunkerPricing.Feed memory f = config();
        f.min = 0;
        fails(BunkerPricing.RateOutOfRange.selector, 0);
        pricing.setFeed(f);
        f = config();
        f.min = f.max + 1;
        fails(BunkerPricing.BoundsInverted.selector, f.max + 1, f.max);
        pricing.setFeed(f);
        f = config();
        f.maxAge = Params.MIN_AGE - 1;
        fails(BunkerPricing.AgeOutOfRange.selector, f.maxAge);
        pricing.setFeed(f);
        f.maxAge = Params.MAX_AGE + 1;
        fails(BunkerPricing.AgeOutOfRange.selector, f.maxAge);
        pricing.setFeed(f);
        f = config();
        f.decimals = 19;
        fails(BunkerPricing.TooManyDecimals.selector, 19);
        pricing.setFeed(f);
        f.decimals = 18;
        f.maxAge = Params.MAX_AGE;
        f.min = f.max;
        emits(address(pricing));
        emit BunkerPricing.FeedSet(f);
        pricing.setFeed(f);
        f.maxAge = Params.MIN_AGE;
        pricing.setFeed(f);
        same(pricing.feed().maxAge, Params.MIN_AGE, "set");
        delete f;
        pricing.setFeed(f);
        rated(20_000 * BUNKER, BunkerPricing.Source.NoFeed);
    }

    function test_RatesAndPricesAreBounded() public {
        vm.startPrank(address(timelock));
        fails(BunkerPricing.RateOutOfRange.selector, 0);
        pricing.setFallbackRate(0);
        fails(BunkerPricing.RateOutOfRange.selector, 1e36 + 1);
        pricing.setFallbackRate(1e36 + 1);
        emits(address(pricing));
        emit BunkerPricing.FallbackRateSet(1e36);
        pricing.setFallbackRate(1e36);
        for (uint256 i = 0; i < 6; ++i) {
            uint256[6] memory p;
            p[i] = 1e24 + 1;
            BunkerPricing.Prices memory bad = abi.decode(abi.encode(p), (BunkerPricing.Prices));
            fails(BunkerPricing.PriceOutOfRange.selector, 1e24 + 1);
            pricing.setPrices(bad);
        }
        uint256[6] memory most = [uint256(1e24), 1e24, 1e24, 1e24, 1e24, 1e24];
        BunkerPricing.Prices memory good = abi.decode(abi.encode(most), (BunkerPricing.Prices));
        emits(address(pricing));
        emit BunkerPricing.PricesSet(good);
        pricing.setPrices(good);
        uint32 all = type(uint32).max;
        (uint256 amount,) =
            pricing.quote(BunkerPricing.Usage(all, all, all, all, type(uint16).max, type(uint16).max, all));
        check(amount != 0, "the largest usage at the largest prices is quoted");
    }

    /// Against the formula written in the plainest way, each part on its own.
    function testFuzz_AQuoteIsTheSumOfItsParts(BunkerPricing.Usage memory u) public view {
        uint256 parts = uint256(u.milliCores) * 600 * u.duration * 1e18 / 1_000 / 3_600;
        parts += uint256(u.memoryMb) * 80 * u.duration * 1e18 / 1_000 / 3_600;
        parts += uint256(u.storageMb) * 2_000 * u.duration * 1e18 / 1_000 / 2_592_000;
        parts += uint256(u.networkMb) * 1_000 * 1e18 / 1_000;
        parts += uint256(u.gpuBasic) * 10_000 * u.duration * 1e18 / 3_600;
        parts += uint256(u.gpuPremium) * 40_000 * u.duration * 1e18 / 3_600;
        (uint256 amount,) = pricing.quote(u);
        atMost(parts, amount, "not less");
        // One wei of a dollar, rounded up, is 20,000 wei of BUNKER.
        atMost(amount, parts + 20_006, "rounded up once");
    }

    /// Half the answers are anything, the others are near what is believed, so that each source comes up.
    function testFuzz_AQuoteNeverFails(
        BunkerPricing.Usage memory u,
        int256 answer,
        uint256 startedAt,
        uint256 updatedAt,
        int256 up,
        bool wild
    ) public {
        if (!wild) {
            answer = int256(bound(uint256(answer), 0, 11_000));
            startedAt = block.timestamp - bound(startedAt, 0, 1 days);
            updatedAt = block.timestamp - bound(updatedAt, 0, 2 hours);
            up = int256(bound(uint256(up), 0, 1));
        }
        use(config());
        feed.set(answer, startedAt, updatedAt);
        sequencer.set(up, startedAt, updatedAt);
        (uint256 rate, BunkerPricing.Source source) = pricing.rate();
        uint256 time = block.timestamp;
        bool up_ = up == 0 && startedAt != 0 && startedAt <= time - 1 hours;
        bool believed = up_ && answer >= 1_000 && answer <= 10_000 && updatedAt <= time && updatedAt >= time - 1 hours;
        check((source == BunkerPricing.Source.Feed) == believed, "from the feed when it is believed");
        same(rate, believed ? 1e26 / uint256(answer) : 20_000 * BUNKER, "rate");
        (uint256 amount, BunkerPricing.Source said) = pricing.quote(u);
        check(said == source, "the quote says so");
        uint256 usd = Usd.unwrap(pricing.cost(u));
        same(amount, (usd * rate + 1e18 - 1) / 1e18, "the cost at that rate, rounded up");
    }
}
