//! Limits per source in front of the handshake.
//!
//! Order matters. MAC1 costs a microsecond and no state, so it comes first: whoever does not know our public key cannot
//! use up anybody's allowance. Then the source's own bucket. Only what passes both counts towards the limit that turns
//! cookies on, and a current endpoint of a peer does not count at all, so that no flood from one place makes existing
//! peers prove their address.

use std::collections::HashMap;
use std::net::IpAddr;

use molt_mesh::Time;
use molt_mesh::limit::TokenBucket;

/// Handshake messages per second from one source, and at once. A peer sends one each 5 s; several may share an address.
const RATE: (u32, u32) = (20, 20);

/// Most sources remembered, at about 64 bytes each. When all are in use, a new source is refused: to fill the table
/// takes 4,096 addresses that all answer, at which point cookies are demanded anyway.
const SOURCES: usize = 4096;

/// Remembers who knocked.
#[derive(Debug, Default)]
pub(super) struct Door {
    sources: HashMap<u64, TokenBucket>,
}

impl Door {
    /// Takes one token of a source: an IPv4 address or an IPv6 /64, which is the least that anybody has.
    pub(super) fn take(&mut self, source: IpAddr, now: Time) -> bool {
        let source = match source {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            // Who has its whole allowance again need not be remembered.
            self.sources.retain(|_, bucket| !bucket.is_full(now));
            if self.sources.len() >= SOURCES {
                return false;
            }
        }
        let (rate, burst) = RATE;
        self.sources.entry(source).or_insert_with(|| TokenBucket::new(rate, burst)).take(now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn one_source_does_not_use_up_the_allowance_of_another() {
        let mut door = Door::default();
        let flood = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let passed = (0..1000).filter(|_| door.take(flood, Time::ZERO)).count();
        assert_eq!(passed, 20);
        assert!(door.take(IpAddr::from(Ipv4Addr::new(192, 0, 2, 2)), Time::ZERO));
    }

    #[test]
    fn a_whole_ipv6_subnet_is_one_source() {
        let mut door = Door::default();
        let from = |host| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
        assert_eq!((0..1000).filter(|host| door.take(from(*host), Time::ZERO)).count(), 20);
    }

    #[test]
    fn the_table_is_bounded_and_recovers() {
        let mut door = Door::default();
        let from = |source: u32| IpAddr::from(Ipv4Addr::from_bits(source));
        assert!((0..SOURCES as u32).all(|source| door.take(from(source), Time::ZERO)));
        assert!(!door.take(from(u32::MAX), Time::ZERO));
        assert!(door.take(from(7), Time::ZERO));
        assert!(door.take(from(u32::MAX), Time::from_millis(2000)));
        assert!(door.sources.len() < 10);
    }
}
