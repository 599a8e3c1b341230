//! Rate limits.

use std::time::Duration;

use crate::Time;

/// A token bucket (RFC 4443 section 2.4 (f) names it for ICMPv6 errors): `rate` per second, at most `burst` at once.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Time that one token takes to come back.
    interval: Duration,
    /// Time that all tokens take to come back.
    depth: Duration,
    /// When the bucket will be full again (the "theoretical arrival time" of the equivalent GCRA).
    full_at: Time,
}

impl TokenBucket {
    /// A full bucket. `rate` is in tokens per second; both are at least 1.
    #[must_use]
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { interval, depth: interval * burst.max(1), full_at: Time::ZERO }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Time) -> bool {
        let from = self.full_at.max(now);
        let full_at = from + self.interval;
        if full_at.since(now) > self.depth {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// Puts tokens back that should not have been taken. What the bucket does not hold is lost.
    pub fn put_back(&mut self, tokens: u32) {
        self.full_at = self.full_at - self.interval * tokens;
    }

    /// Whether the bucket is full at `now`, so that forgetting it changes nothing.
    #[must_use]
    pub fn is_full(&self, now: Time) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3);
        let taken = |bucket: &mut TokenBucket, now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Time::ZERO), 3);
        assert_eq!(taken(&mut bucket, Time::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, Time::from_millis(100)), 1);
        assert_eq!(taken(&mut bucket, Time::from_millis(10_000)), 3);
    }

    #[test]
    fn takes_back_what_it_holds_and_no_more() {
        let mut bucket = TokenBucket::new(10, 3);
        let now = Time::from_millis(1_000);
        let taken = |bucket: &mut TokenBucket| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket), 3);
        bucket.put_back(2);
        assert_eq!(taken(&mut bucket), 2);
        bucket.put_back(1_000);
        assert_eq!(taken(&mut bucket), 3);
    }
}
