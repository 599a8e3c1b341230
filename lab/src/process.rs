//! Child processes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// How long a process may take to end after `SIGTERM` before it is killed: a clean exit of `meshd` waits a second for the
/// others to move their traffic.
const GRACE: Duration = Duration::from_secs(4);
/// Lines of a log that are shown when a test fails.
const SHOWN_LINES: usize = 60;

/// `USER_HZ`: the unit of CPU time in `/proc`, the same on every Linux architecture we run on.
const TICKS_PER_SECOND: u32 = 100;

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time since its start, user and system.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub rss: u64,
    /// The most resident memory it ever had.
    pub peak_rss: u64,
}

/// A running child. Dropping it ends and reaps it; in a failing test its log is printed first.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in the file `log`.
    ///
    /// # Errors
    /// If the program cannot be started, for instance because it is not installed.
    pub fn spawn(what: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {what}: {command:?} (lab/install-packages installs it)"))?;
        Ok(Self { what: what.to_owned(), child, log: log.to_owned() })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn usage(&self) -> Result<Usage> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.id());
            fs::read_to_string(&path).with_context(|| format!("read {path} of {}", self.what))
        };
        // The second field, the name in parentheses, may contain spaces; the 14th and 15th are CPU time.
        let stat = read("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>);
        let ticks: u32 = times.sum::<Result<u32, _>>()?;
        let status = read("status")?;
        let bytes = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|rest| rest.split_whitespace().next()).context(name.to_owned())?;
            Ok(kilobytes.parse::<u64>()? * 1024)
        };
        let cpu = Duration::from_secs(ticks.into()) / TICKS_PER_SECOND;
        Ok(Usage { cpu, rss: bytes("VmRSS:")?, peak_rss: bytes("VmHWM:")? })
    }

    /// Fails, with the log, if the process has ended.
    ///
    /// # Errors
    /// That, or the operating system does not know the child.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.what, tail(&self.log())),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process has been reaped.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // After `try_wait` has reaped it the number may belong to somebody else.
        if let Some(status) = self.child.try_wait()? {
            bail!("{} has already ended with {status}", self.what);
        }
        let pid = i32::try_from(self.child.id()).context("a process id is positive")?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {}", self.what))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// If it does not come in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let start = wait::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() >= timeout {
                bail!("{} still runs after {timeout:?}", self.what);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// `SIGTERM`, and the status it ends with.
    ///
    /// # Errors
    /// If it has ended before, or does not end within four seconds.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(GRACE)
    }

    /// `SIGKILL`: no chance to clean up.
    ///
    /// # Errors
    /// If it has ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(GRACE).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("---- log of {} ----\n{}", self.what, tail(&self.log()));
        }
        if matches!(self.child.try_wait(), Ok(None)) && self.terminate().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_ignores_sigterm_still_ends_with_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]);
        let process = Process::spawn("a stubborn shell", command, &dir.path().join("log")).unwrap();
        wait::wait_until("the trap is set", Duration::from_secs(10), || {
            anyhow::ensure!(process.log().contains("ready"));
            Ok(())
        })
        .unwrap();
        let pid = process.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn an_early_end_is_reported_with_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such interface; exit 3"]);
        let mut process = Process::spawn("a daemon", command, &dir.path().join("log")).unwrap();
        assert_eq!(process.wait(Duration::from_secs(10)).unwrap().code(), Some(3));
        let error = process.check_alive().unwrap_err().to_string();
        assert!(error.contains("no such interface"), "{error}");
        assert!(process.signal(Signal::SIGTERM).is_err());
    }

    #[test]
    fn a_missing_program_says_how_to_install_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let error = Process::spawn("x", Command::new("/nonexistent/x"), &log).unwrap_err();
        assert!(error.to_string().contains("lab/install-packages"), "{error}");
    }
}
