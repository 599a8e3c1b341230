//! Waiting for a condition instead of for a time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Often enough not to add to a measured second, seldom enough not to load the machine with `vtysh` processes.
const PERIOD: Duration = Duration::from_millis(50);

/// The moment. The lab is a driver of real processes, so it reads a real clock; this is the only place.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the lab drives real processes in real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks until the answer is `Ok`, and returns it with the time that took.
///
/// # Errors
/// After `timeout`, with the last reason.
pub fn wait_until<T>(
    what: &str,
    timeout: Duration,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = now();
    loop {
        let answer = ask();
        let elapsed = start.elapsed();
        match answer {
            Ok(answer) => return Ok((answer, elapsed)),
            Err(reason) if elapsed >= timeout => {
                return Err(reason)
                    .with_context(|| format!("waited {:.1} s for: {what}", elapsed.as_secs_f64()));
            }
            Err(_) => thread::sleep(PERIOD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_fails_with_what_and_why() {
        let error = wait_until("spring", Duration::from_millis(1), || -> Result<()> {
            anyhow::bail!("it is November")
        })
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("spring") && text.contains("it is November"), "{text}");
    }

    #[test]
    fn the_first_good_answer_ends_the_wait() {
        let mut asked = 0;
        let (answer, _) = wait_until("the third answer", Duration::from_secs(10), || {
            asked += 1;
            anyhow::ensure!(asked == 3);
            Ok(asked)
        })
        .unwrap();
        assert_eq!(answer, 3);
    }
}
