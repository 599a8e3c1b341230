//! The clock. Everything else gets the time as an argument.

use std::time::Duration;

use molt_mesh::Time;
use rustix::time::{ClockId, clock_gettime};

/// The only clock of a node.
///
/// `CLOCK_BOOTTIME`, which goes on while the machine is suspended: keys and adjacencies have aged for the peers, so they
/// must have aged here. Never set back, as the time of day is.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock that shows [`Time::ZERO`].
    #[must_use]
    pub fn start() -> Self {
        Self { start: boot_time() }
    }

    /// Milliseconds since 1970 at [`Time::ZERO`], as the time of day is set at present.
    #[must_use]
    pub fn unix_ms_at_start(&self) -> u64 {
        let unix = Duration::try_from(clock_gettime(ClockId::Realtime)).unwrap_or_default();
        let start = unix.saturating_sub(self.now().since_start());
        u64::try_from(start.as_millis()).unwrap_or(u64::MAX)
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::from_start(boot_time().saturating_sub(self.start))
    }
}

fn boot_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}
