//! The control socket: lines of JSON over a Unix socket that its owner and group may use.

use std::io;
use std::net::Ipv6Addr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as Listener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use molt_tun::{Probe, ProbeOutcome};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Probed, random, refuse};
use crate::api::{
    Answer, Done, Failure, FailureKind, MAX_REQUEST, Ping, ProbeLine, Request, Response, Trace, schema,
};

/// Most requests waiting for the control plane; further clients wait their turn.
pub(super) const BACKLOG: usize = 64;

/// Most connections at once. Each costs a task and a buffer of a few KiB.
const CONNECTIONS: usize = 128;

/// How long a client may take to send its request, or to take an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// What a connection asks of the control plane.
pub(super) enum Inquiry {
    /// One request, one answer.
    Ask(Request, oneshot::Sender<Response>),
    /// Send an echo request; answers go to `reply`.
    Probe { probe: Probe, reply: mpsc::Sender<Probed> },
    /// The address of a name.
    Resolve(String, oneshot::Sender<Result<Ipv6Addr, Failure>>),
}

/// Why the control socket cannot be had.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("another meshd answers at {0}; name another socket with --socket")]
    InUse(String),
    #[error("cannot listen at the control socket {path}")]
    Io { path: String, source: io::Error },
}

/// Binds the control socket, over the leftover of a daemon that was killed.
pub(super) fn bind(path: &Path) -> anyhow::Result<Listener> {
    let fail = |source| BindError::Io { path: super::shown(path), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(fail)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(BindError::InUse(super::shown(path)).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(path).map_err(fail)?,
    }
    // Bound under another name and moved into place when its permissions are right, so that nobody connects through
    // the umask in between.
    let temporary: PathBuf = path.with_extension(format!("{}", std::process::id()));
    let bind = || {
        let listener = Listener::bind(&temporary)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&temporary, path)?;
        Ok(listener)
    };
    Ok(bind().inspect_err(|_| drop(std::fs::remove_file(&temporary))).map_err(fail)?)
}

/// Accepts connections until the task is aborted.
pub(super) async fn serve(listener: UnixListener, inquiries: mpsc::Sender<Inquiry>) {
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = std::sync::Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let inquiries = inquiries.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, inquiries).await {
                        debug!(%error, "a client went away");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept on the control socket");
                // Out of file descriptors: give connections time to end.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Removes the socket file.
pub(super) fn remove(path: &Path) {
    drop(std::fs::remove_file(path));
}

async fn connection(stream: UnixStream, inquiries: mpsc::Sender<Inquiry>) -> io::Result<()> {
    let (read, write) = stream.into_split();
    let mut client = Connection { read: BufReader::new(read), write, inquiries };
    while let Some(line) = client.line().await? {
        match serde_json::from_slice(&line) {
            Ok(Request::Ping(ping)) => client.ping(&ping).await?,
            Ok(Request::Trace(trace)) => client.trace(&trace).await?,
            Ok(request) => {
                let (reply, answer) = oneshot::channel();
                if client.inquiries.send(Inquiry::Ask(request, reply)).await.is_err() {
                    return Ok(());
                }
                let Ok(answer) = answer.await else { return Ok(()) };
                client.send(&answer).await?;
            }
            Err(error) => {
                client.send(&refuse(FailureKind::BadRequest, format!("not a request: {error}"))).await?
            }
        }
    }
    Ok(())
}

struct Connection {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    /// Received by the daemon; closed when it stops.
    inquiries: mpsc::Sender<Inquiry>,
}

impl Connection {
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.read).take(MAX_REQUEST as u64);
        let read = limited.read_until(b'\n', &mut line);
        match tokio::time::timeout(CLIENT_PATIENCE, read).await {
            Ok(Ok(0)) | Err(_) => Ok(None),
            Ok(Ok(_)) if line.last() != Some(&b'\n') => {
                self.send(&refuse(FailureKind::BadRequest, format!("longer than {MAX_REQUEST} bytes")))
                    .await?;
                Ok(None)
            }
            Ok(Ok(_)) => Ok(Some(line)),
            Ok(Err(error)) => Err(error),
        }
    }

    async fn send(&mut self, response: &Response) -> io::Result<()> {
        let mut line = serde_json::to_vec(response).map_err(io::Error::other)?;
        line.push(b'\n');
        tokio::time::timeout(CLIENT_PATIENCE, self.write.write_all(&line)).await?
    }

    async fn resolve(&mut self, target: &str) -> io::Result<Option<Ipv6Addr>> {
        let (reply, answer) = oneshot::channel();
        if self.inquiries.send(Inquiry::Resolve(target.to_owned(), reply)).await.is_err() {
            return Ok(None);
        }
        match answer.await {
            Ok(Ok(address)) => Ok(Some(address)),
            Ok(Err(failure)) => {
                self.send(&Response::Error(failure)).await?;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    async fn ping(&mut self, ping: &Ping) -> io::Result<()> {
        if ping.count == 0 || !(8..=1232).contains(&ping.size) || ping.interval_ms < 10 {
            let message =
                "ping needs a count above 0, 8 to 1232 bytes, and at least 10 ms between two".into();
            return self.send(&refuse(FailureKind::BadRequest, message)).await;
        }
        let Some(target) = self.resolve(&ping.target).await? else { return Ok(()) };
        let id = random()?;
        let (reply, mut replies) = mpsc::channel(BACKLOG);
        let timeout = Duration::from_millis(ping.timeout_ms);
        let mut received = 0;
        for seq in 1..=ping.count {
            let began = Instant::now();
            let probe = Probe { id, seq, dst: target, hop_limit: HOP_LIMIT, size: ping.size - 8 };
            if self.inquiries.send(Inquiry::Probe { probe, reply: reply.clone() }).await.is_err() {
                return Ok(());
            }
            let probed = next_reply(&mut replies, seq, began + timeout).await;
            received += u64::from(probed.as_ref().is_some_and(is_reply));
            self.send(&Response::Ok(Answer::Probe(line(target, seq, probed)))).await?;
            if seq != ping.count {
                tokio::time::sleep_until(began + Duration::from_millis(ping.interval_ms)).await;
            }
        }
        self.send(&done(u64::from(ping.count), received)).await
    }

    async fn trace(&mut self, trace: &Trace) -> io::Result<()> {
        if !(1..=64).contains(&trace.max_hops) {
            let message = "trace goes 1 to 64 hops far".into();
            return self.send(&refuse(FailureKind::BadRequest, message)).await;
        }
        let Some(target) = self.resolve(&trace.target).await? else { return Ok(()) };
        let id = random()?;
        let (reply, mut replies) = mpsc::channel(BACKLOG);
        let timeout = Duration::from_millis(trace.timeout_ms);
        for hop in 1..=trace.max_hops {
            let seq = u16::from(hop);
            let probe = Probe { id, seq, dst: target, hop_limit: hop, size: 48 };
            if self.inquiries.send(Inquiry::Probe { probe, reply: reply.clone() }).await.is_err() {
                return Ok(());
            }
            let probed = next_reply(&mut replies, seq, Instant::now() + timeout).await;
            let ends =
                probed.as_ref().is_some_and(|probed| probed.reply.outcome != ProbeOutcome::TimeExceeded);
            let reached = probed.as_ref().is_some_and(is_reply);
            self.send(&Response::Ok(Answer::Probe(line(target, seq, probed)))).await?;
            if ends {
                return self.send(&done(u64::from(hop), u64::from(reached))).await;
            }
        }
        self.send(&done(u64::from(trace.max_hops), 0)).await
    }
}

/// Hop limit of a ping: Linux's default (`net.ipv6.conf.default.hop_limit`), so that the hops of the answer can be told.
const HOP_LIMIT: u8 = 64;

async fn next_reply(replies: &mut mpsc::Receiver<Probed>, seq: u16, until: Instant) -> Option<Probed> {
    loop {
        let probed = tokio::time::timeout_at(until, replies.recv()).await.ok()??;
        // A late answer to an earlier probe is not an answer to this one.
        if probed.reply.seq == seq {
            return Some(probed);
        }
    }
}

fn is_reply(probed: &Probed) -> bool {
    matches!(probed.reply.outcome, ProbeOutcome::Reply { .. })
}

fn done(sent: u64, received: u64) -> Response {
    Response::Ok(Answer::Done(Done { schema: schema::DONE.into(), sent, received }))
}

fn line(target: Ipv6Addr, seq: u16, probed: Option<Probed>) -> ProbeLine {
    let mut line = ProbeLine {
        schema: schema::PROBE.into(),
        seq,
        target,
        from: None,
        name: None,
        outcome: "no-reply".into(),
        detail: None,
        rtt_ms: None,
        hops: None,
    };
    let Some(Probed { reply, name }) = probed else { return line };
    line.from = Some(reply.from);
    line.name = name;
    line.rtt_ms = Some(reply.rtt.as_secs_f64() * 1000.0);
    let (outcome, detail) = match reply.outcome {
        ProbeOutcome::Reply { hop_limit } => {
            line.hops = Some(HOP_LIMIT.saturating_sub(hop_limit) + 1).filter(|_| hop_limit <= HOP_LIMIT);
            ("reply", None)
        }
        ProbeOutcome::TimeExceeded => ("time-exceeded", None),
        ProbeOutcome::TooBig(mtu) => ("too-big", Some(format!("mtu {mtu}"))),
        ProbeOutcome::Unreachable(0) => ("unreachable", Some("no route".into())),
        ProbeOutcome::Unreachable(3) => ("unreachable", Some("address unreachable".into())),
        ProbeOutcome::Unreachable(code) => ("unreachable", Some(format!("code {code}"))),
        ProbeOutcome::NotSent(discard) => {
            line.rtt_ms = None;
            ("not-sent", Some(discard.name().into()))
        }
    };
    line.outcome = outcome.into();
    line.detail = detail;
    line
}
