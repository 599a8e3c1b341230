//! What an operator sets for a session.

use std::time::Duration;

/// Timers of one session.
///
/// The peer has its own, and each direction uses the slower of what one side wants to send and what the other is
/// prepared to receive (RFC 5880 section 6.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How often we would like to send once the session is Up (`bfd.DesiredMinTxInterval`). Default 100 ms, one of the
    /// common intervals of RFC 7419. Between 10 ms and 60 s.
    pub desired_min_tx: Duration,
    /// How often we are prepared to receive (`bfd.RequiredMinRxInterval`). Default 100 ms. Between 10 ms and 60 s.
    pub required_min_rx: Duration,
    /// How many of our packets may be lost before the peer calls us down (`bfd.DetectMult`). Default 3, at least 1.
    /// Detection time = this x the agreed interval (RFC 5880 section 6.8.4): 3 x 100 ms = 300 ms.
    pub detect_mult: u8,
    /// Least hop limit of a packet over a path of several hops (RFC 5883 section 5): 255 less the hops between the two.
    /// Default 254, one router between. Whoever is farther away cannot forge a packet. A tunnel is one hop, always 255.
    pub min_hop_limit: u8,
}

/// Below this a busy machine's scheduling delay looks like a failure; other implementations draw the line here too.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Above this a detection time is minutes long, and OSPF's own dead interval is the better tool.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

impl Config {
    /// The nearest configuration within the limits stated at the fields.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            desired_min_tx: self.desired_min_tx.clamp(MIN_INTERVAL, MAX_INTERVAL),
            required_min_rx: self.required_min_rx.clamp(MIN_INTERVAL, MAX_INTERVAL),
            detect_mult: self.detect_mult.max(1),
            min_hop_limit: self.min_hop_limit,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            desired_min_tx: Duration::from_millis(100),
            required_min_rx: Duration::from_millis(100),
            detect_mult: 3,
            min_hop_limit: 254,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_brought_into_its_limits() {
        let ms = Duration::from_millis;
        for (interval, clamped) in
            [(0, 10), (9, 10), (10, 10), (11, 11), (59_999, 59_999), (60_000, 60_000), (60_001, 60_000)]
        {
            let default = Config::default();
            let tx = Config { desired_min_tx: ms(interval), ..default };
            assert_eq!(tx.clamped(), Config { desired_min_tx: ms(clamped), ..default });
            let rx = Config { required_min_rx: ms(interval), ..default };
            assert_eq!(rx.clamped(), Config { required_min_rx: ms(clamped), ..default });
        }
        for (mult, clamped) in [(0, 1), (1, 1), (255, 255)] {
            let config = Config { detect_mult: mult, min_hop_limit: mult, ..Config::default() };
            assert_eq!(config.clamped(), Config { detect_mult: clamped, ..config });
        }
    }
}
