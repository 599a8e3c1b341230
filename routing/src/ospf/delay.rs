//! When to calculate: the SPF back-off of RFC 8405.

use std::time::Duration;

use molt_mesh::Time;

/// Enough for the few LSAs of one failure to arrive together, which come within one flooding batch of each other.
const INITIAL_SPF_DELAY: Duration = Duration::from_millis(10);
/// A second calculation for one failure waits for the LSAs from its far side, at most this long.
const SHORT_SPF_DELAY: Duration = Duration::from_millis(100);
/// At most two calculations a second in a large network that never rests.
const LONG_SPF_DELAY: Duration = Duration::from_millis(500);
/// The long delay for each router of the area, up to [`LONG_SPF_DELAY`]. A calculation takes less than a microsecond for
/// each, so that change without end costs 2 % of a core; and up to 200 routers a second failure within [`HOLDDOWN`] of the
/// first is repaired as fast as that.
const SPF_DELAY_PER_ROUTER: Duration = Duration::from_micros(50);
/// How long the LSAs of one failure may take to arrive from everywhere.
const TIME_TO_LEARN: Duration = Duration::from_millis(500);
/// A network that was quiet for this long gets the fast first run again. The RFC's example (10 s) belongs to a time
/// when one calculation took half a second; here it takes milliseconds.
const HOLDDOWN: Duration = Duration::from_secs(2);

/// RFC 8405 section 5.2, with the timers that run in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Quiet,
    ShortWait { learn_at: Time, holddown_at: Time },
    LongWait { holddown_at: Time },
}

/// The state machine of RFC 8405 section 5.
#[derive(Debug)]
pub(super) struct Delay {
    state: State,
    spf_at: Option<Time>,
}

impl Delay {
    pub(super) const fn new() -> Self {
        Self { state: State::Quiet, spf_at: None }
    }

    /// An IGP event in an area of so many routers: transitions 1, 2 and 4.
    pub(super) fn handle_event(&mut self, routers: usize, now: Time) {
        self.expire(now);
        let holddown_at = now + HOLDDOWN;
        let routers = u32::try_from(routers).unwrap_or(u32::MAX);
        let long = SPF_DELAY_PER_ROUTER.saturating_mul(routers).clamp(INITIAL_SPF_DELAY, LONG_SPF_DELAY);
        let (state, delay) = match self.state {
            State::Quiet => {
                (State::ShortWait { learn_at: now + TIME_TO_LEARN, holddown_at }, INITIAL_SPF_DELAY)
            }
            State::ShortWait { learn_at, .. } => {
                (State::ShortWait { learn_at, holddown_at }, long.min(SHORT_SPF_DELAY))
            }
            State::LongWait { .. } => (State::LongWait { holddown_at }, long),
        };
        self.state = state;
        self.spf_at.get_or_insert(now + delay);
    }

    /// Whether to calculate (transitions 7, 8 and 9). The answer is given once.
    pub(super) fn take_due(&mut self, now: Time) -> bool {
        self.expire(now);
        self.spf_at.take_if(|at| *at <= now).is_some()
    }

    /// The other timers only matter to the next event, which looks at them first, so they wake nobody.
    pub(super) const fn deadline(&self) -> Option<Time> {
        self.spf_at
    }

    /// Transitions 3, 5 and 6, in the order in which the timers ran out.
    fn expire(&mut self, now: Time) {
        if let State::ShortWait { learn_at, holddown_at } = self.state
            && learn_at <= now
            && learn_at < holddown_at
        {
            self.state = State::LongWait { holddown_at };
        }
        if let State::ShortWait { holddown_at, .. } | State::LongWait { holddown_at } = self.state
            && holddown_at <= now
        {
            self.state = State::Quiet;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Large enough for the long delay.
    const LARGE: usize = 10_000;

    /// The delay an event at `ms` gets, running the calculation when it is due.
    fn delay_at(delay: &mut Delay, ms: u64) -> u64 {
        delay_of(delay, LARGE, ms)
    }

    fn delay_of(delay: &mut Delay, routers: usize, ms: u64) -> u64 {
        delay.handle_event(routers, at(ms));
        let due = delay.deadline().unwrap();
        assert!(!delay.take_due(due - Duration::from_millis(1)));
        assert!(delay.take_due(due));
        assert!(!delay.take_due(due));
        (due.since(at(ms))).as_millis() as u64
    }

    #[test]
    fn section_5_4_event_1_first_run_is_fast() {
        assert_eq!(delay_at(&mut Delay::new(), 1000), 10);
    }

    #[test]
    fn section_5_4_events_2_3_and_4_short_while_learning_then_long() {
        let mut delay = Delay::new();
        assert_eq!(delay_at(&mut delay, 1000), 10);
        assert_eq!(delay_at(&mut delay, 1100), 100);
        assert_eq!(delay_at(&mut delay, 1499), 100);
        assert_eq!(delay_at(&mut delay, 1600), 500);
        assert_eq!(delay_at(&mut delay, 3500), 500);
    }

    #[test]
    fn section_5_4_event_5_quiet_again_after_holddown_without_events() {
        let mut delay = Delay::new();
        delay_at(&mut delay, 1000);
        delay_at(&mut delay, 1600);
        assert_eq!(delay_at(&mut delay, 3599), 500);
        assert_eq!(delay_at(&mut delay, 5599), 10);
    }

    #[test]
    fn the_delay_under_sustained_change_grows_with_the_area() {
        for (routers, short, long) in [(4, 10, 10), (200, 10, 10), (1_000, 50, 50), (4_000, 100, 200)] {
            let mut delay = Delay::new();
            let delays = [1000, 1100, 1600, 2000].map(|ms| delay_of(&mut delay, routers, ms));
            assert_eq!(delays, [10, short, long, long], "{routers} routers");
        }
    }

    #[test]
    fn an_event_does_not_postpone_a_run_that_is_due() {
        let mut delay = Delay::new();
        delay.handle_event(LARGE, at(0));
        delay.handle_event(LARGE, at(9));
        assert_eq!(delay.deadline(), Some(at(10)));
    }
}
