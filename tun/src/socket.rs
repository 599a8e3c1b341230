//! The underlay: one UDP port, an IPv4 and an IPv6 socket, many datagrams per system call.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use molt_mesh::Time;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::output::{Transmit, UdpBatch};
use crate::sys::{self, BATCH, Incoming, Outgoing};

/// What one slot of a receive batch takes: the longest train of datagrams the kernel joins.
const SLOT: usize = 64 * 1024;

/// 10 Gbit/s for 13 ms, the time a busy machine may keep us off the processor.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

/// Enough to keep a 10 Gbit/s card busy for 1.6 ms; more would only be queue in front of the operating system's.
const SEND_BUFFER: usize = 2 * 1024 * 1024;

/// How long a destination gets single datagrams after the kernel refused a train: routes and path MTUs change within
/// minutes, and one wrong refusal must not cost throughput for ever.
const NO_GSO_FOR: Duration = Duration::from_secs(60);

/// Destinations remembered as above. More at a time only means that a refusal is met again.
const NO_GSO_MAX: usize = 16;

/// How long to wait when the kernel is out of buffers, which it does not report the end of.
const NO_BUFFERS_PAUSE: Duration = Duration::from_millis(1);

/// Why the sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has the port.
    #[error("UDP port {} of {} is in use by another program: stop it, or listen on another port", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// The machine has no address of this kind.
    #[error("this machine has no address {0} to listen on")]
    NoAddress(IpAddr),
    /// What was inherited is something else.
    #[error("an inherited descriptor is not a UDP socket bound to {0}")]
    NotInherited(SocketAddr),
    /// Ports below 1024.
    #[error("UDP port {} needs the capability CAP_NET_BIND_SERVICE", .0.port())]
    NotPermitted(SocketAddr),
    /// Anything else.
    #[error("cannot listen on UDP {0}")]
    Os(SocketAddr, #[source] io::Error),
}

/// The sockets of the underlay port.
#[derive(Debug)]
pub struct Sockets {
    v4: Option<Socket>,
    v6: Option<Socket>,
    port: u16,
    no_gso: NoGso,
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    /// The kernel cuts trains of datagrams itself.
    gso: bool,
    /// The kernel's count of datagrams lost for lack of buffer, as last seen. A socket that was inherited has one of
    /// unknown height.
    overflows: Option<u32>,
}

impl Sockets {
    /// Opens the port. `[::]` means both families, of which one may be missing on this machine; `0.0.0.0` IPv4 only;
    /// any other address just that one. Port 0 lets the kernel choose.
    ///
    /// The sockets are exclusive: without `SO_REUSEADDR` and `SO_REUSEPORT` a second daemon fails here and does not
    /// share the datagrams.
    ///
    /// # Errors
    /// [`BindError`] says what the operator can do.
    pub fn bind(listen: SocketAddr) -> Result<Self, BindError> {
        match listen.ip() {
            IpAddr::V4(_) => Self::of(Some(open(listen)?), None, listen),
            IpAddr::V6(ip) if !ip.is_unspecified() => Self::of(None, Some(open(listen)?), listen),
            IpAddr::V6(_) => Self::bind_both(listen),
        }
    }

    fn bind_both(listen: SocketAddr) -> Result<Self, BindError> {
        // A port that the kernel chose for IPv6 may be taken in IPv4: it is asked for another one, a few times.
        let mut tries = if listen.port() == 0 { 8 } else { 1 };
        loop {
            let v6 = if_family_exists(open(listen))?;
            let port = match &v6 {
                Some(socket) => socket.port(listen)?,
                None => listen.port(),
            };
            tries -= 1;
            match if_family_exists(open((Ipv4Addr::UNSPECIFIED, port).into())) {
                Err(BindError::InUse(_)) if tries > 0 => {}
                Ok(None) if v6.is_none() => return Err(BindError::NoAddress(listen.ip())),
                v4 => return Self::of(v4?, v6, listen),
            }
        }
    }

    fn of(v4: Option<Socket>, v6: Option<Socket>, listen: SocketAddr) -> Result<Self, BindError> {
        let port = match v6.as_ref().or(v4.as_ref()) {
            Some(socket) => socket.port(listen)?,
            None => return Err(BindError::NoAddress(listen.ip())),
        };
        Ok(Self { v4, v6, port, no_gso: NoGso::default() })
    }

    /// Takes over the sockets that [`bind`](Self::bind) opened in the process before this one, with what has arrived at
    /// them.
    ///
    /// # Errors
    /// If one of them is no UDP socket bound to `listen`, or they are several of one family.
    pub fn inherit(fds: Vec<OwnedFd>, listen: SocketAddr) -> Result<Self, BindError> {
        let (mut v4, mut v6) = (None, None);
        for fd in fds {
            let (family, socket) = inherit(fd, listen)?;
            let slot = match family {
                Family::V4 => &mut v4,
                Family::V6 => &mut v6,
            };
            if slot.replace(socket).is_some() {
                return Err(BindError::NotInherited(listen));
            }
        }
        Self::of(v4, v6, listen)
    }

    /// What it listens on: an address for each family.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let sockets = [&self.v6, &self.v4].into_iter().flatten();
        sockets.filter_map(|socket| rustix::net::getsockname(&socket.fd).ok()?.try_into().ok()).collect()
    }

    /// The port, the same for both families.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the kernel may be given trains of datagrams to cut. On by default; some kernels cut them wrongly (seen
    /// in Linux 7.0 to 7.1.4 and in virtual machines), which shows as heavy loss in bulk transfers only.
    pub fn set_gso(&mut self, on: bool) {
        for socket in [&mut self.v4, &mut self.v6].into_iter().flatten() {
            socket.gso = on;
        }
    }

    /// The sockets there are, for a process that is to inherit them.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds().map(|(_, fd)| fd)
    }

    /// The sockets there are.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (Family, BorrowedFd<'_>)> {
        [(Family::V4, &self.v4), (Family::V6, &self.v6)]
            .into_iter()
            .filter_map(|(family, socket)| socket.as_ref().map(|socket| (family, socket.fd.as_fd())))
    }

    fn socket(&mut self, family: Family) -> Option<&mut Socket> {
        match family {
            Family::V4 => self.v4.as_mut(),
            Family::V6 => self.v6.as_mut(),
        }
    }

    /// Receives what is there, at most one batch. [`Received::is_full`] says whether there may be more.
    pub(crate) fn receive<'a>(
        &mut self,
        family: Family,
        buffer: &'a mut ReceiveBuffer,
        counters: &mut UdpCounters,
    ) -> Received<'a> {
        let Some(socket) = self.socket(family) else { return Received::none(buffer) };
        let count = loop {
            match sys::receive(socket.fd.as_fd(), &mut buffer.bytes, SLOT, &mut buffer.messages) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
                Err(_) => {
                    counters.receive_errors += 1;
                    break 0;
                }
            }
        };
        for message in buffer.messages.iter().take(count) {
            counters.truncated += u64::from(message.truncated);
            // The kernel reports a running total, and only where it is not zero.
            if let Some(total) = message.control(libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
                let before = socket.overflows.replace(total).unwrap_or(total);
                counters.receive_overflows += u64::from(total.wrapping_sub(before));
            }
        }
        Received { buffer, count }
    }

    /// Sends `batch` from where `progress` stands. After [`Sent::All`] the batch is to be cleared.
    pub(crate) fn send(
        &mut self,
        batch: &UdpBatch,
        progress: &mut Progress,
        now: Time,
        counters: &mut UdpCounters,
    ) -> Sent {
        loop {
            let queue = Queue::fill(batch, *progress, self, now);
            let Some((family, first)) = queue.first() else {
                *progress = Progress::default();
                return Sent::All;
            };
            let Some(socket) = self.socket(family) else {
                counters.no_socket += 1;
                queue.advance(progress, 1);
                continue;
            };
            match sys::send(socket.fd.as_fd(), queue.messages()) {
                Ok(count) => {
                    queue.advance(progress, count);
                    continue;
                }
                Err(error) => match Failure::of(&error, first.segment.is_some()) {
                    Failure::Again => {}
                    Failure::Full => return Sent::WaitFor(family),
                    Failure::NoBuffers => return Sent::PauseUntil(now + NO_BUFFERS_PAUSE),
                    Failure::NoGso => {
                        tracing::info!(?family, %error, "UDP segmentation offload is not available");
                        socket.gso = false;
                    }
                    Failure::NoGsoTo => {
                        tracing::debug!(to = %first.to, %error, "train of datagrams refused, sending single ones");
                        counters.gso_refusals += 1;
                        self.no_gso.add(first.to, now + NO_GSO_FOR);
                    }
                    Failure::Lost => {
                        counters.send_errors += 1;
                        queue.advance(progress, 1);
                    }
                },
            }
        }
    }

    fn gso(&self, to: &SocketAddr, now: Time) -> bool {
        let socket = match family(to) {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        socket.as_ref().is_some_and(|socket| socket.gso) && !self.no_gso.contains(to, now)
    }
}

/// Discards and incidents of the sockets, in total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UdpCounters {
    /// Trains that the kernel refused and that went out one by one (no datagram is lost).
    pub gso_refusals: u64,
    /// Datagrams to an address family that this node has no socket for.
    pub no_socket: u64,
    /// Errors while receiving.
    pub receive_errors: u64,
    /// Datagrams lost before us, for lack of receive buffer.
    pub receive_overflows: u64,
    /// Messages (datagrams or trains) that the kernel refused: no route, not permitted, too long.
    pub send_errors: u64,
    /// Datagrams longer than 64 KiB, which nothing we speak is.
    pub truncated: u64,
}

/// How far a batch has been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    transmit: usize,
    /// Bytes of that transmit that are out already, datagram by datagram.
    offset: usize,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    All,
    /// The kernel is out of memory for packets and will not say when it has some.
    PauseUntil(Time),
    /// The send buffer is full until the socket becomes writable.
    WaitFor(Family),
}

/// What an error of the first message in a batch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Again,
    Full,
    /// The message, not the socket.
    Lost,
    NoBuffers,
    /// The socket's device cannot compute the checksums of a train, or a policy transforms the packets.
    NoGso,
    /// The train does not fit this path.
    NoGsoTo,
}

impl Failure {
    fn of(error: &io::Error, is_train: bool) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::INTR) => Self::Again,
            Some(Errno::AGAIN) => Self::Full,
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::NoBuffers,
            Some(Errno::IO) if is_train => Self::NoGso,
            // Linux 6.18 says EMSGSIZE when a segment does not fit the path MTU, older kernels EINVAL. A datagram on
            // its own is fragmented by the kernel.
            Some(Errno::MSGSIZE | Errno::INVAL) if is_train => Self::NoGsoTo,
            _ => Self::Lost,
        }
    }
}

/// The next messages of a batch, all of one family.
struct Queue<'a> {
    messages: [Outgoing<'a>; BATCH],
    /// Where the batch stands when a message is out.
    after: [Progress; BATCH],
    len: usize,
}

impl<'a> Queue<'a> {
    fn fill(batch: &'a UdpBatch, from: Progress, sockets: &Sockets, now: Time) -> Self {
        let nobody = Outgoing {
            to: (Ipv4Addr::UNSPECIFIED, 0).into(),
            traffic_class: 0,
            contents: &[],
            segment: None,
        };
        let mut queue = Self { messages: [nobody; BATCH], after: [from; BATCH], len: 0 };
        let mut at = from;
        for transmit in batch.transmits().skip(from.transmit) {
            if queue.first().is_some_and(|(first, _)| first != family(&transmit.to)) {
                break;
            }
            if !queue.add(&transmit, at, sockets.gso(&transmit.to, now)) {
                break;
            }
            at = Progress { transmit: at.transmit + 1, offset: 0 };
        }
        queue
    }

    /// Adds what is left of a transmit. False when there was no room for all of it.
    fn add(&mut self, transmit: &Transmit<'a>, mut at: Progress, gso: bool) -> bool {
        let rest = transmit.contents.get(at.offset..).unwrap_or_default();
        let done = Progress { transmit: at.transmit + 1, offset: 0 };
        let message = Outgoing {
            to: transmit.to,
            traffic_class: transmit.traffic_class,
            contents: rest,
            segment: None,
        };
        if rest.len() <= transmit.segment {
            return self.push(message, done);
        }
        if gso {
            return self.push(Outgoing { segment: u16::try_from(transmit.segment).ok(), ..message }, done);
        }
        rest.chunks(transmit.segment.max(1)).all(|datagram| {
            at.offset += datagram.len();
            let after = if at.offset == transmit.contents.len() { done } else { at };
            self.push(Outgoing { contents: datagram, ..message }, after)
        })
    }

    fn push(&mut self, message: Outgoing<'a>, after: Progress) -> bool {
        let (Some(to), Some(to_after)) = (self.messages.get_mut(self.len), self.after.get_mut(self.len))
        else {
            return false;
        };
        (*to, *to_after) = (message, after);
        self.len += 1;
        true
    }

    fn messages(&self) -> &[Outgoing<'a>] {
        self.messages.get(..self.len).unwrap_or_default()
    }

    fn first(&self) -> Option<(Family, Outgoing<'a>)> {
        self.messages().first().map(|message| (family(&message.to), *message))
    }

    /// Moves `progress` behind the first `count` messages.
    fn advance(&self, progress: &mut Progress, count: usize) {
        if let Some(after) = count.checked_sub(1).and_then(|last| self.after.get(last)) {
            *progress = *after;
        }
    }
}

/// Destinations that get no trains for a while.
#[derive(Debug, Default)]
struct NoGso {
    until: [Option<(SocketAddr, Time)>; NO_GSO_MAX],
    /// The place that the next one takes.
    next: usize,
    /// There was one at all: spares the search where everything works.
    used: bool,
}

impl NoGso {
    fn add(&mut self, to: SocketAddr, until: Time) {
        self.used = true;
        if let Some(place) = self.until.get_mut(self.next % NO_GSO_MAX) {
            *place = Some((to, until));
        }
        self.next = (self.next + 1) % NO_GSO_MAX;
    }

    fn contains(&self, to: &SocketAddr, now: Time) -> bool {
        self.used && self.until.iter().flatten().any(|(refused, until)| refused == to && now < *until)
    }
}

/// Where datagrams are received to. Pages of it that were never needed take no memory.
pub(crate) struct ReceiveBuffer {
    bytes: Box<[u8]>,
    messages: Box<[Incoming; BATCH]>,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH * SLOT].into_boxed_slice(), messages: Box::new([Incoming::EMPTY; BATCH]) }
    }
}

/// A batch of received messages.
pub(crate) struct Received<'a> {
    buffer: &'a mut ReceiveBuffer,
    count: usize,
}

impl<'a> Received<'a> {
    fn none(buffer: &'a mut ReceiveBuffer) -> Self {
        Self { buffer, count: 0 }
    }

    /// Whether the socket may have more.
    pub(crate) fn is_full(&self) -> bool {
        self.count == BATCH
    }

    /// The datagrams in order, with their senders. The kernel hands over equal datagrams of one sender as a train
    /// (UDP GRO) with their length; the last may be shorter.
    pub(crate) fn datagrams(self) -> impl Iterator<Item = (SocketAddr, &'a mut [u8])> {
        let ReceiveBuffer { bytes, messages } = self.buffer;
        let slots = bytes.chunks_exact_mut(SLOT).zip(messages.iter()).take(self.count);
        slots.filter(|(_, message)| !message.truncated).flat_map(|(slot, message)| {
            let bytes = slot.get_mut(..message.len).unwrap_or_default();
            let train = message.control(libc::SOL_UDP, libc::UDP_GRO);
            let segment = train.map_or(bytes.len(), |segment| segment as usize).max(1);
            let from = message.from();
            bytes.chunks_mut(segment).filter_map(move |datagram| Some((from?, datagram)))
        })
    }
}

fn family(addr: &SocketAddr) -> Family {
    match addr {
        SocketAddr::V4(_) => Family::V4,
        SocketAddr::V6(_) => Family::V6,
    }
}

fn if_family_exists(socket: Result<Socket, BindError>) -> Result<Option<Socket>, BindError> {
    match socket {
        Ok(socket) => Ok(Some(socket)),
        Err(BindError::NoAddress(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(listen: SocketAddr) -> Result<Socket, BindError> {
    open_socket(listen).map_err(|errno| match errno {
        Errno::ADDRINUSE => BindError::InUse(listen),
        // The family is not compiled in, is switched off, or the address is somebody else's.
        Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => BindError::NoAddress(listen.ip()),
        Errno::ACCESS | Errno::PERM => BindError::NotPermitted(listen),
        errno => BindError::Os(listen, errno.into()),
    })
}

fn open_socket(listen: SocketAddr) -> rustix::io::Result<Socket> {
    let (domain, level, discover) = match listen {
        SocketAddr::V4(_) => (AddressFamily::INET, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        SocketAddr::V6(_) => (AddressFamily::INET6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(domain, SocketType::DGRAM, flags, None)?;
    let set = |level, name, value| {
        sys::set_option(fd.as_fd(), level, name, value)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
    };
    if listen.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    // The path MTU of an outer packet is nobody's but the underlay's: a router (IPv4) or this kernel (IPv6) fragments
    // what does not fit. With any other setting, a path of 1,280 bytes swallows the first or all of the full packets.
    // IP_PMTUDISC_DONT and IPV6_PMTUDISC_DONT are both 0.
    set(level, discover, libc::IP_PMTUDISC_DONT)?;
    // Beyond net.core.rmem_max with CAP_NET_ADMIN, else up to it.
    if sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER)?;
    }
    set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    // Linux 5.0; without it every datagram comes alone.
    let _ = set(libc::SOL_UDP, libc::UDP_GRO, 1);
    // Linux 4.18. Zero is "no segmentation by default", an error "never heard of it".
    let gso = set(libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
    rustix::net::bind(&fd, &listen)?;
    Ok(Socket { fd, gso, overflows: Some(0) })
}

/// Options stay with a socket, except that nobody says whether the kernel knows segmentation.
fn inherit(fd: OwnedFd, listen: SocketAddr) -> Result<(Family, Socket), BindError> {
    let refused = |_| BindError::NotInherited(listen);
    let local = rustix::net::getsockname(&fd).and_then(SocketAddr::try_from).map_err(refused)?;
    let is_udp = sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::DGRAM)
        && sockopt::socket_protocol(&fd).is_ok_and(|protocol| protocol == Some(ipproto::UDP));
    // `[::]` stands for both families.
    let is_both = listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let address_fits = local.ip() == listen.ip() || (is_both && local.ip().is_unspecified());
    let port_fits = local.port() != 0 && (listen.port() == 0 || local.port() == listen.port());
    if !(is_udp && address_fits && port_fits) {
        return Err(BindError::NotInherited(listen));
    }
    rustix::io::ioctl_fionbio(&fd, true).map_err(refused)?;
    let gso = sys::set_option(fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
    Ok((family(&local), Socket { fd, gso, overflows: None }))
}

impl Socket {
    fn port(&self, listen: SocketAddr) -> Result<u16, BindError> {
        rustix::net::getsockname(&self.fd)
            .and_then(SocketAddr::try_from)
            .map(|addr| addr.port())
            .map_err(|errno| BindError::Os(listen, errno.into()))
    }
}

#[cfg(test)]
mod tests;
