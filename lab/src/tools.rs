//! What people use on a network, `ping` and `iperf3`, and what it told them.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// How long `iperf3` and a `ping` that was interrupted may take to say what they have to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `ping` counted.
#[derive(Debug, Clone)]
pub struct Pinged {
    /// Requests sent.
    pub sent: u32,
    /// Replies received, without duplicates.
    pub received: u32,
    /// All it printed.
    pub text: String,
}

impl Pinged {
    /// Requests without a reply.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }

    fn parse(text: String) -> Result<Self> {
        let line = text.lines().find(|line| line.contains("packets transmitted"));
        let line = line.with_context(|| format!("ping printed no summary:\n{text}"))?;
        let number = |words: &str| {
            let before = line.split(words).next().and_then(|head| head.split_whitespace().last());
            before
                .and_then(|word| word.parse().ok())
                .with_context(|| format!("no number before {words} in {line}"))
        };
        Ok(Self { sent: number(" packets transmitted")?, received: number(" received")?, text: text.clone() })
    }
}

/// Runs the kernel's `ping`; whatever is lost is in the answer.
///
/// # Errors
/// If it does not get as far as counting.
pub fn ping(from: &Namespace, target: Ipv6Addr, options: &[&str]) -> Result<Pinged> {
    let target = target.to_string();
    let args: Vec<&str> = ["ping", "-n"].iter().chain(options).copied().chain([target.as_str()]).collect();
    let output = from.try_run(&args)?;
    let text = [output.stdout, output.stderr].concat();
    Pinged::parse(String::from_utf8_lossy(&text).into_owned())
}

/// A `ping` in the background.
#[derive(Debug)]
pub struct PingStream(Process);

impl PingStream {
    /// Starts one request every `interval`, and waits for the first replies.
    ///
    /// # Errors
    /// If none comes.
    pub fn start(from: &Namespace, target: Ipv6Addr, interval: Duration) -> Result<Self> {
        let (interval, target) = (interval.as_secs_f64().to_string(), target.to_string());
        // The last request may be under way when it is interrupted; a reply is waited for a second, which counts it.
        let process =
            from.spawn(&format!("ping-{target}"), &["ping", "-n", "-i", &interval, "-W", "1", &target])?;
        wait_until("the first replies", PATIENCE, || {
            ensure!(process.log().lines().count() > 3, "there is none yet");
            Ok(())
        })?;
        Ok(Self(process))
    }

    /// The sequence number of the latest reply.
    #[must_use]
    pub fn latest(&self) -> u32 {
        let log = self.0.log();
        let sequence = |line: &str| line.split_once("icmp_seq=")?.1.split_whitespace().next()?.parse().ok();
        log.lines().rev().find_map(sequence).unwrap_or_default()
    }

    /// Waits for `count` replies from here on.
    ///
    /// # Errors
    /// After `timeout`.
    pub fn wait_replies(&self, count: u32, timeout: Duration) -> Result<()> {
        let until = self.latest() + count;
        let latest = || {
            ensure!(self.latest() >= until, "the latest reply is to {}", self.latest());
            Ok(())
        };
        wait_until(&format!("a reply to request {until}"), timeout, latest).map(drop)
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn stop(mut self) -> Result<Pinged> {
        self.0.signal(Signal::SIGINT)?;
        self.0.wait(PATIENCE)?;
        Pinged::parse(self.0.log())
    }
}

/// Runs `iperf3` from one namespace to another and returns its report.
///
/// # Errors
/// If it fails, with what it said.
pub fn iperf3(from: &Namespace, to: &Namespace, target: Ipv6Addr, options: &[&str]) -> Result<Value> {
    let target = target.to_string();
    let server =
        to.spawn("iperf3", &["iperf3", "--server", "--one-off", "--forceflush", "--bind", &target])?;
    wait_until("iperf3 to listen", PATIENCE, || {
        ensure!(server.log().contains("Server listening"), "{}", server.log());
        Ok(())
    })?;
    let args: Vec<&str> = ["iperf3", "--json", "--client", &target].iter().chain(options).copied().collect();
    let output = from.try_run(&args)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).with_context(|| format!("iperf3 printed {text}"))?;
    ensure!(report["error"].is_null(), "iperf3: {}", report["error"]);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_ping_is_read_with_and_without_errors_and_duplicates() {
        for (summary, sent, received) in [
            ("3 packets transmitted, 3 received, 0% packet loss, time 402ms", 3, 3),
            ("5 packets transmitted, 2 received, +3 errors, 60% packet loss, time 4ms", 5, 2),
            ("9 packets transmitted, 8 received, +1 duplicates, 11% packet loss, time 4ms", 9, 8),
        ] {
            let pinged = Pinged::parse(format!("PING x\n\n--- x ping statistics ---\n{summary}\n")).unwrap();
            assert_eq!((pinged.sent, pinged.received, pinged.lost()), (sent, received, sent - received));
        }
        assert!(Pinged::parse("ping: connect: Network is unreachable".into()).is_err());
    }
}
