//! TCP connections with BGP peers, through the kernel and the interface of this host. What is said on them is decided in
//! the control plane.
//!
//! Each connection has two tasks that move bytes: one reads and sends what it got to the daemon, one writes what the daemon
//! gives it, and closes the connection when the daemon lets go of it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use molt_routing::bgp::consts::PORT;
use molt_routing::bgp::{Output, Side};
use rustix::net::sockopt::set_ipv6_unicast_hops;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::control::Control;

/// Reports that may wait for the daemon, each at most [`CHUNK`]: 4 MiB. Then TCP makes the peers wait.
const BACKLOG: usize = 64;
/// Bytes read at once: the longest message.
const CHUNK: usize = 65_536;
/// Messages that may wait for a peer to take them. A peer that lets more pile up is as good as gone.
const UNSENT: usize = 4_096;
/// Time that what was said last may take after the session is over.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted; only peers are.
const PENDING: u32 = 16;

/// What a task has to report.
pub(super) enum Report {
    /// The peer opened a connection.
    Accepted(TcpStream, Ipv6Addr),
    /// Bytes, or the end if there are none.
    Read { peer: Ipv6Addr, side: Side, number: u64, bytes: Vec<u8> },
    /// Our connection is open, or not.
    Dialled { peer: Ipv6Addr, number: u64, stream: io::Result<TcpStream> },
}

/// All connections with BGP peers.
pub(super) struct Connections {
    local: Ipv6Addr,
    open: BTreeMap<(Ipv6Addr, Side), Connection>,
    /// Tells a connection from an earlier one of the same peer, of which reports may still come.
    last_number: u64,
    /// Its tasks hold clones.
    reports: mpsc::Sender<Report>,
}

struct Connection {
    number: u64,
    /// Reads, or opens the connection before that; ends with this struct.
    _task: Task,
    /// `None` while the connection is being opened. The task at the other end closes the connection when this is gone.
    unsent: Option<mpsc::Sender<Vec<u8>>>,
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connections {
    /// Listens at our mesh address, so that a session can only come through the mesh.
    ///
    /// # Errors
    /// If the port is taken.
    pub(super) fn listen(local: Ipv6Addr) -> anyhow::Result<(Self, mpsc::Receiver<Report>)> {
        let listener = (|| {
            let socket = TcpSocket::new_v6()?;
            socket.set_reuseaddr(true)?;
            // RFC 5082 section 3: the highest, so that the peer may ask for it.
            set_ipv6_unicast_hops(&socket, Some(255))?;
            socket.bind(SocketAddr::from((local, PORT)))?;
            socket.listen(PENDING)
        })();
        let listener = listener.with_context(|| {
            format!("cannot listen for BGP at [{local}]:{PORT}: is another speaker running?")
        })?;
        let (reports, inbox) = mpsc::channel(BACKLOG);
        tokio::spawn(accept(listener, reports.clone()));
        Ok((Self { local, open: BTreeMap::new(), last_number: 0, reports }, inbox))
    }

    /// Does what the speaker asks for.
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { peer } => {
                self.last_number += 1;
                let number = self.last_number;
                let (local, reports) = (self.local, self.reports.clone());
                let dial = tokio::spawn(async move {
                    let stream = dial(local, peer).await;
                    // The daemon has ended.
                    drop(reports.send(Report::Dialled { peer, number, stream }).await);
                });
                let connection = Connection { number, _task: Task(dial), unsent: None };
                self.open.insert((peer, Side::Dialled), connection);
            }
            Output::Close { peer, side } => drop(self.open.remove(&(peer, side))),
            Output::Send { peer, side, bytes } => {
                let Some(connection) = self.open.get_mut(&(peer, side)) else { return };
                let full = connection.unsent.as_ref().is_some_and(|unsent| unsent.try_send(bytes).is_err());
                if full {
                    // The reader reports the end.
                    connection.unsent = None;
                }
            }
            Output::Bfd { .. }
            | Output::NextHopsChanged
            | Output::PeerChanged { .. }
            | Output::RoutesChanged => {}
        }
    }

    /// Takes a report of a task to the control plane.
    pub(super) fn handle(&mut self, report: Report, control: &mut Control, now: molt_mesh::Time) {
        match report {
            Report::Accepted(stream, peer) => {
                // RFC 4271 section 8.2.1: connections of strangers are not even started.
                if control.bgp().is_some_and(|bgp| bgp.has_peer(peer)) {
                    self.adopt(stream, peer, Side::Accepted, control, now);
                } else {
                    debug!(%peer, "refused a BGP connection of a stranger");
                }
            }
            Report::Dialled { peer, number, stream } => {
                if self.number_of(peer, Side::Dialled) != Some(number) {
                    return;
                }
                self.open.remove(&(peer, Side::Dialled));
                match stream {
                    Ok(stream) => self.adopt(stream, peer, Side::Dialled, control, now),
                    Err(error) => {
                        debug!(%peer, %error, "cannot connect to the BGP peer");
                        control.bgp_closed(peer, Side::Dialled, now);
                    }
                }
            }
            Report::Read { peer, side, number, bytes } => {
                if self.number_of(peer, side) != Some(number) {
                    return;
                }
                if bytes.is_empty() {
                    self.open.remove(&(peer, side));
                    control.bgp_closed(peer, side, now);
                } else {
                    control.bgp_bytes(peer, side, &bytes, now);
                }
            }
        }
    }

    fn number_of(&self, peer: Ipv6Addr, side: Side) -> Option<u64> {
        self.open.get(&(peer, side)).map(|connection| connection.number)
    }

    /// Offers an open connection to the speaker. What that wants to say first is said before anything is read.
    fn adopt(
        &mut self,
        stream: TcpStream,
        peer: Ipv6Addr,
        side: Side,
        control: &mut Control,
        now: molt_mesh::Time,
    ) {
        if !control.bgp_connected(peer, side, now) {
            return;
        }
        self.last_number += 1;
        let number = self.last_number;
        let (from, to) = stream.into_split();
        let (unsent, queue) = mpsc::channel(UNSENT);
        tokio::spawn(write(to, queue));
        let reader = Task(tokio::spawn(read(from, peer, side, number, self.reports.clone())));
        self.open.insert((peer, side), Connection { number, _task: reader, unsent: Some(unsent) });
    }
}

async fn accept(listener: TcpListener, reports: mpsc::Sender<Report>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let IpAddr::V6(peer) = from.ip() else { continue };
                if reports.send(Report::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
            // A connection that broke before it was accepted, or no descriptor to spare: the next may fare better.
            Err(error) => {
                debug!(%error, "cannot accept a BGP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn dial(local: Ipv6Addr, peer: Ipv6Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v6()?;
    set_ipv6_unicast_hops(&socket, Some(255))?;
    socket.bind(SocketAddr::from((local, 0)))?;
    socket.connect(SocketAddr::from((peer, PORT))).await
}

async fn read(
    mut from: OwnedReadHalf,
    peer: Ipv6Addr,
    side: Side,
    number: u64,
    reports: mpsc::Sender<Report>,
) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let bytes = buffer.get(..read).unwrap_or_default().to_vec();
        let report = Report::Read { peer, side, number, bytes };
        if reports.send(report).await.is_err() || read == 0 {
            return;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut failed = false;
    while let Some(bytes) = queue.recv().await {
        // Whoever has nothing more to say is not waited for long.
        let written = async { to.write_all(&bytes).await };
        failed = if queue.sender_strong_count() == 0 {
            !matches!(tokio::time::timeout(LAST_WORDS, written).await, Ok(Ok(())))
        } else {
            written.await.is_err()
        };
        if failed {
            break;
        }
    }
    if !failed {
        // The reader of the other end sees the end behind the last message.
        drop(to.shutdown().await);
    }
}
