//! Restarting without losing traffic, in this order, so that a restart that cannot work changes nothing:
//!
//! 1. the new program checks itself, the configuration and the state (`--check`), and this one whether the routes are free;
//! 2. the neighbours are asked to keep their ways through us (Grace-LSAs), and BFD ends as AdminDown;
//! 3. what the new process needs is written to the state directory;
//! 4. `execve`: same process, same TUN interface, same sockets, whose queues survive.
//!
//! WireGuard sessions do not survive. The new process begins with a handshake with everybody.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use molt_mesh::MeshAddr;
use molt_tun::device::{Device, DeviceConfig};
use molt_tun::inherit;
use molt_tun::socket::Sockets;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{Daemon, LAST_WORDS, Options, refuse, reload, server};
use crate::api::{Answer, FailureKind, Response, Restarting as Told, schema};
use crate::config::Config;
use crate::handover::{GRACE, Handover};
use crate::state::{NodeState, StateDir};

/// Says which descriptor is what: `pid=1,tun=5,udp=6,udp=7,control=8,lock=9`.
const VARIABLE: &str = "MESHD_INHERIT";

/// How long the new program may take to check itself; it reads three small files.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const CHECK_PERIOD: Duration = Duration::from_millis(5);

/// Pause after a change of peers. Nobody helps a router that has just changed its links (RFC 3623 section 3.1): they are said
/// after MinLSArrival (1 s) at the latest, and acknowledged within RxmtInterval and the delay of acknowledgments (1 s each).
const SETTLE: Duration = Duration::from_secs(3);

/// How far a restart is. Whoever asked for it is told when it cannot be done, or just before it happens.
pub(super) enum Restarting {
    /// The new program checks itself.
    Checking(oneshot::Sender<Response>),
    /// The neighbours are asked.
    Preparing(oneshot::Sender<Response>),
    /// They have been.
    Ready(oneshot::Sender<Response>, Handover),
}

/// The verdict of the new program, or why there is none.
pub(super) type Verdict = anyhow::Result<()>;

/// What the operating system holds for us, and would take back.
pub(super) struct Belongings {
    pub(super) device: Device,
    pub(super) sockets: Sockets,
    pub(super) listener: UnixListener,
    /// Against a second daemon on the same state.
    pub(super) lock: File,
}

impl Belongings {
    /// What a first process makes for itself.
    pub(super) fn make(
        options: &Options,
        config: &Config,
        node: &NodeState,
        lock: File,
    ) -> anyhow::Result<Self> {
        let listener = server::bind(&options.socket)?;
        let sockets = Sockets::bind(config.underlay.listen)?;
        let device = Device::create(&device_config(config, node))?;
        Ok(Self { device, sockets, listener, lock })
    }

    /// What was inherited becomes what the configuration says.
    pub(super) fn adapt(&self, config: &Config, node: &NodeState) -> anyhow::Result<()> {
        Ok(self.device.configure(&device_config(config, node))?)
    }

    /// What the process before this one left, if there was one.
    pub(super) fn inherit(config: &Config, state: &StateDir) -> Option<(Self, Option<Handover>)> {
        let text = std::env::var(VARIABLE).ok()?;
        let numbers = Numbers::parse(&text, std::process::id())?;
        match numbers.adopt(&config.tun.name, config.underlay.listen) {
            Ok(belongings) => {
                let handover = state.take_handover().map_err(anyhow::Error::from);
                let handover =
                    handover.and_then(|bytes| Ok(Handover::decode(&bytes, config.network.prefix)?));
                let handover =
                    handover.inspect_err(|error| warn!("the ways of the process before are lost: {error:#}"));
                Some((belongings, handover.ok()))
            }
            Err(error) => {
                warn!("what the process before left cannot be used: {error:#}; beginning anew");
                None
            }
        }
    }

    fn descriptors(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let sockets = self.sockets.descriptors().map(|fd| ("udp", fd));
        let others =
            [("tun", self.device.as_fd()), ("control", self.listener.as_fd()), ("lock", self.lock.as_fd())];
        others.into_iter().chain(sockets)
    }
}

fn device_config(config: &Config, node: &NodeState) -> DeviceConfig {
    let mesh = config.network.prefix;
    DeviceConfig {
        name: config.tun.name.clone(),
        addresses: node.addresses(mesh).into_iter().map(MeshAddr::ip).collect(),
        lent: config.lent(),
        routes: [mesh.prefix()].into_iter().chain(config.outside()).collect(),
        mtu: molt_mesh::port::TUNNEL_MTU as u32,
    }
}

/// [`VARIABLE`], read.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    tun: RawFd,
    udp: Vec<RawFd>,
    control: RawFd,
    lock: RawFd,
}

impl Numbers {
    /// `None` if it is not meant for this process, but was passed on by another one.
    fn parse(text: &str, pid: u32) -> Option<Self> {
        let (mut owner, mut tun, mut udp, mut control, mut lock) = (None, None, Vec::new(), None, None);
        for field in text.split(',') {
            let (name, number) = field.split_once('=')?;
            let number: RawFd = number.parse().ok()?;
            match name {
                "pid" => owner = u32::try_from(number).ok(),
                "tun" => tun = Some(number),
                "udp" => udp.push(number),
                "control" => control = Some(number),
                "lock" => lock = Some(number),
                _ => return None,
            }
        }
        (owner == Some(pid)).then_some(Self { tun: tun?, udp, control: control?, lock: lock? })
    }

    /// Takes all of them, so that what is refused is closed.
    fn adopt(self, interface: &str, listen: SocketAddr) -> anyhow::Result<Belongings> {
        let adopt = |number: RawFd| inherit::adopt(number);
        let tun = adopt(self.tun);
        let udp: io::Result<Vec<OwnedFd>> = self.udp.into_iter().map(adopt).collect();
        let (control, lock) = (adopt(self.control), adopt(self.lock));
        let listener = UnixListener::from(control.context("the control socket")?);
        listener.local_addr().context("the control socket")?;
        listener.set_nonblocking(true)?;
        Ok(Belongings {
            device: Device::inherit(tun.context("the TUN interface")?, interface)?,
            sockets: Sockets::inherit(udp.context("the underlay sockets")?, listen)?,
            listener,
            lock: lock.context("the lock")?.into(),
        })
    }
}

/// How this process was started, and so how its successor is.
pub(super) struct Program {
    path: PathBuf,
    args: Vec<OsString>,
}

impl Program {
    /// The path it was called by, because a link or the file there may by then be another version.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut args = std::env::args_os();
        let called = args.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        let path = match called {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?,
        };
        Ok(Self { path, args: args.collect() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_remove(VARIABLE);
        command
    }

    /// Asks the program, which may be a newer one, whether it could run.
    fn check(mut command: Command, path: &Path) -> Verdict {
        command.arg("--check").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
        let mut waited = Duration::ZERO;
        while child.try_wait()?.is_none() {
            if waited >= CHECK_PATIENCE {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("{} --check does not end", path.display());
            }
            std::thread::sleep(CHECK_PERIOD);
            waited += CHECK_PERIOD;
        }
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("meshd: ");
        anyhow::ensure!(output.status.success(), "{} --check: {}: {said}", path.display(), output.status);
        Ok(())
    }

    /// Becomes the new program. Returns only if that fails.
    pub(super) fn replace(&self, belongings: &Belongings) -> io::Error {
        let left: io::Result<Vec<String>> = belongings
            .descriptors()
            .map(|(name, fd)| Ok(format!("{name}={}", inherit::leave(fd)?)))
            .collect();
        let error = match left {
            Ok(left) => {
                let text = format!("pid={},{}", std::process::id(), left.join(","));
                self.command().env(VARIABLE, text).exec()
            }
            Err(error) => error,
        };
        for (name, fd) in belongings.descriptors() {
            if let Err(error) = inherit::keep(fd) {
                warn!(name, %error, "a descriptor may leak");
            }
        }
        error
    }
}

impl Daemon {
    /// Begins with the checks; the verdict comes to [`handle_verdict`](Self::handle_verdict).
    pub(super) fn ask_restart(&mut self, told: oneshot::Sender<Response>, verdicts: &mpsc::Sender<Verdict>) {
        let device = match self.may_restart() {
            Ok(new) => device_config(&new, &self.me.node),
            Err(error) => {
                drop(told.send(refuse(FailureKind::Failed, format!("{error:#}; nothing was changed"))));
                return;
            }
        };
        self.restarting = Some(Restarting::Checking(told));
        let (command, path, verdicts) = (self.program.command(), self.program.path.clone(), verdicts.clone());
        tokio::task::spawn_blocking(move || {
            let verdict = Program::check(command, &path).and_then(|()| Ok(Device::check_routes(&device)?));
            // Nobody waits for it if the daemon leaves meanwhile.
            drop(verdicts.blocking_send(verdict));
        });
    }

    /// The configuration that the new process will have.
    fn may_restart(&self) -> anyhow::Result<Config> {
        anyhow::ensure!(self.restarting.is_none(), "a restart is under way");
        anyhow::ensure!(self.leaving.is_none(), "the daemon is leaving the mesh");
        let new = Config::read(&self.options.config)?;
        let mut changed = reload::needs_restart(&self.config, &new);
        changed.retain(|section| ["[tun]", "[underlay]"].contains(&section.as_str()));
        self.ensure_same_mesh(&new)?;
        anyhow::ensure!(
            changed.is_empty(),
            "{} changed, which a restart that keeps interface and sockets cannot apply; stop the daemon and start it",
            changed.join(" and ")
        );
        Ok(new)
    }

    pub(super) fn handle_verdict(&mut self, verdict: Verdict, verdicts: &mpsc::Sender<Verdict>) {
        let Some(Restarting::Checking(told)) = self.restarting.take() else { return };
        // Peers that are gone are gone before the neighbours wait for them to come back.
        match verdict.and_then(|()| self.reload()) {
            Ok(done) if done.added + done.changed + done.removed > 0 => {
                self.restarting = Some(Restarting::Checking(told));
                let verdicts = verdicts.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(SETTLE).await;
                    drop(verdicts.send(Ok(())).await);
                });
            }
            Ok(_) if self.control.prepare_restart(self.clock.now()) => {
                info!("restarting: asking the neighbours to wait");
                self.restarting = Some(Restarting::Preparing(told));
            }
            Ok(_) => {
                let message = "routing is busy with an earlier restart or with another router id; try again";
                drop(told.send(refuse(FailureKind::Failed, message.into())));
            }
            Err(error) => {
                warn!("not restarted: {error:#}");
                drop(told.send(refuse(FailureKind::Failed, format!("{error:#}; nothing was changed"))));
            }
        }
    }

    /// The neighbours wait.
    pub(super) fn ready_to_restart(&mut self, handover: Handover) {
        if let Some(Restarting::Preparing(told)) = self.restarting.take() {
            self.restarting = Some(Restarting::Ready(told, handover));
        }
    }

    /// Ends everything but what the new process goes on with.
    pub(super) async fn hand_over(
        mut self,
        told: oneshot::Sender<Response>,
        handover: Handover,
    ) -> anyhow::Result<(Program, Belongings, Handover)> {
        self.pass_commands();
        // While packets still flow, because a slow disk may take its time.
        let saved = handover.encode().map_err(anyhow::Error::from);
        if let Err(error) = saved.and_then(|bytes| Ok(self.state.save_handover(&bytes)?)) {
            warn!("the new process will have to find its ways anew: {error:#}");
        }
        let state = [sd_notify::NotifyState::Reloading, sd_notify::NotifyState::monotonic_usec_now()?];
        sd_notify::notify(&state).ok();
        let answer = Told { schema: schema::RESTARTING.into(), grace_s: GRACE.period_s };
        drop(told.send(Response::Ok(Answer::Restarting(answer))));
        if let Some(stakes) = self.stakes.take() {
            stakes.abandon();
        }
        // The connection's task must run once more, and the packet loop send what it was told.
        tokio::time::sleep(LAST_WORDS).await;
        let (device, sockets) = self.packets.stop_and_keep().context("the packet loop failed")?;
        debug!("the packet loop has ended");
        let belongings = Belongings { device, sockets, listener: self.listener, lock: self.lock };
        Ok((self.program, belongings, handover))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_it_was_written_for_reads_the_variable() {
        let text = "pid=12,tun=5,control=8,lock=9,udp=6,udp=7";
        let numbers = Numbers { tun: 5, udp: vec![6, 7], control: 8, lock: 9 };
        assert_eq!(Numbers::parse(text, 12), Some(numbers));
        assert_eq!(Numbers::parse(text, 13), None, "a child of it");
        for wrong in
            ["", "pid=12", "pid=12,tun=5,lock=9", "pid=12,tun=x,control=8,lock=9", &format!("{text},more=1")]
        {
            assert_eq!(Numbers::parse(wrong, 12), None, "{wrong}");
        }
    }

    #[test]
    fn a_program_that_refuses_or_is_missing_is_named_with_what_it_said() {
        let check = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            Program::check(command, Path::new("/opt/meshd"))
        };
        check("exit 0").unwrap();
        let error = check("echo meshd: unknown field >&2; exit 1").unwrap_err().to_string();
        assert_eq!(error, "/opt/meshd --check: exit status: 1: unknown field");
        let missing = Program::check(Command::new("/nonexistent/meshd"), Path::new("/nonexistent/meshd"));
        assert!(missing.unwrap_err().to_string().contains("cannot start /nonexistent/meshd"));
    }
}
