//! The system calls that no safe crate offers: many datagrams at once, with control messages; and what a process inherits
//! from the one it replaces.
//!
//! Addresses and control messages are encoded as bytes, so the only unsafe code is the calls themselves.
#![expect(unsafe_code, reason = "system calls; nothing else of the workspace needs it")]

use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::{array, io, mem, ptr};

/// Datagrams (or trains of them) in one system call.
pub(crate) const BATCH: usize = 32;

/// `struct cmsghdr`: a length, a level and a type, then data aligned to a word.
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();
/// Room for two control messages of one word each.
const CONTROL_LEN: usize = 2 * (CONTROL_HEADER + size_of::<usize>());
/// `struct sockaddr_in6`, the longer address.
const NAME_LEN: usize = size_of::<libc::sockaddr_in6>();

const _: () = assert!(CONTROL_HEADER == size_of::<usize>() + 2 * size_of::<c_int>());
const _: () = assert!(NAME_LEN == 28 && size_of::<libc::sockaddr_in>() == 16);

/// A received message: where it came from and its control messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    name: [u8; NAME_LEN],
    control: [u8; CONTROL_LEN],
    control_len: usize,
    /// Bytes of the slot that were filled.
    pub(crate) len: usize,
    /// The datagram was longer than its slot.
    pub(crate) truncated: bool,
}

impl Incoming {
    pub(crate) const EMPTY: Self =
        Self { name: [0; NAME_LEN], control: [0; CONTROL_LEN], control_len: 0, len: 0, truncated: false };

    /// The sender. `None` for a family that an IP socket does not have.
    pub(crate) fn from(&self) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, rest @ ..] = self.name;
        let port = u16::from_be_bytes([p0, p1]);
        match c_int::from(u16::from_ne_bytes([f0, f1])) {
            libc::AF_INET => {
                let octets = *rest.first_chunk::<4>()?;
                Some(SocketAddrV4::new(Ipv4Addr::from_octets(octets), port).into())
            }
            libc::AF_INET6 => {
                // Behind the port: flow information, address, scope.
                let (_, rest) = rest.split_first_chunk::<4>()?;
                let (octets, scope) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*scope.first_chunk()?);
                Some(SocketAddrV6::new(Ipv6Addr::from_octets(*octets), port, 0, scope).into())
            }
            _ => None,
        }
    }

    /// The number in the control message of this level and type.
    pub(crate) fn control(&self, level: c_int, kind: c_int) -> Option<u32> {
        let mut rest = self.control.get(..self.control_len)?;
        loop {
            let (len, fields) = rest.split_first_chunk()?;
            let len = usize::from_ne_bytes(*len);
            let (this_level, fields) = fields.split_first_chunk()?;
            let (this_kind, _) = fields.split_first_chunk()?;
            if c_int::from_ne_bytes(*this_level) == level && c_int::from_ne_bytes(*this_kind) == kind {
                let data = rest.get(CONTROL_HEADER..len)?;
                return Some(u32::from_ne_bytes(*data.first_chunk()?));
            }
            let aligned = len.max(CONTROL_HEADER).checked_next_multiple_of(size_of::<usize>())?;
            rest = rest.get(aligned..)?;
        }
    }
}

/// A message to send: one datagram, or several for the kernel to cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) traffic_class: u8,
    pub(crate) contents: &'a [u8],
    /// Length of each datagram, if there are several.
    pub(crate) segment: Option<u16>,
}

/// Control messages to send.
#[derive(Clone, Copy)]
struct Control {
    bytes: [u8; CONTROL_LEN],
    len: usize,
}

impl Control {
    const EMPTY: Self = Self { bytes: [0; CONTROL_LEN], len: 0 };

    fn of(message: &Outgoing<'_>) -> Self {
        let mut control = Self::EMPTY;
        if message.traffic_class != 0 {
            let (level, kind) = match message.to {
                SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            };
            control.push(level, kind, &c_int::from(message.traffic_class).to_ne_bytes());
        }
        if let Some(segment) = message.segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        control
    }

    fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let len = CONTROL_HEADER + data.len();
        let fields = [&len.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), data];
        let mut at = self.len;
        for field in fields {
            if let Some(to) = self.bytes.get_mut(at..at + field.len()) {
                to.copy_from_slice(field);
            }
            at += field.len();
        }
        self.len += len.next_multiple_of(size_of::<usize>());
    }
}

/// The bytes of `struct sockaddr_in` or `sockaddr_in6`, and how many of them count.
fn encode_name(to: &SocketAddr) -> ([u8; NAME_LEN], libc::socklen_t) {
    let mut name = [0; NAME_LEN];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        if let Some(to) = name.get_mut(at..at + bytes.len()) {
            to.copy_from_slice(bytes);
        }
        at += bytes.len();
    };
    let len = match to {
        SocketAddr::V4(to) => {
            put(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
            put(&to.port().to_be_bytes());
            put(&to.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            put(&(libc::AF_INET6 as libc::sa_family_t).to_ne_bytes());
            put(&to.port().to_be_bytes());
            put(&to.flowinfo().to_be_bytes());
            put(&to.ip().octets());
            put(&to.scope_id().to_ne_bytes());
            NAME_LEN
        }
    };
    (name, len as libc::socklen_t)
}

/// Receives up to [`BATCH`] messages without waiting: one into each `slot` bytes of `buffer`. Returns how many.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    slot: usize,
    messages: &mut [Incoming; BATCH],
) -> io::Result<usize> {
    let mut slots = buffer.chunks_exact_mut(slot);
    let mut vectors: [_; BATCH] = array::from_fn(|_| {
        let slot = slots.next().unwrap_or_default();
        libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() }
    });
    let mut headers = empty_headers();
    for ((header, vector), message) in headers.iter_mut().zip(&mut vectors).zip(messages.iter_mut()) {
        header.msg_hdr.msg_name = message.name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = NAME_LEN as libc::socklen_t;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = message.control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL_LEN as _;
    }
    // SAFETY: `headers` has BATCH elements. Each points to one element of `vectors` and to the address and control
    // buffers of one element of `messages`, with their true lengths; each vector points to a slot of `buffer` that no
    // other vector points to, or has length zero. All of these outlive the call and nothing else refers to them.
    let count = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            BATCH as _,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    for (message, header) in messages.iter_mut().zip(&headers).take(count) {
        message.len = header.msg_len as usize;
        message.control_len = header.msg_hdr.msg_controllen as _;
        message.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(count)
}

/// Sends the first [`BATCH`] of `messages` without waiting. Returns how many went out; an error is that of the first.
pub(crate) fn send(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let messages = messages.get(..BATCH).unwrap_or(messages);
    let mut names = [[0; NAME_LEN]; BATCH];
    let mut controls = [Control::EMPTY; BATCH];
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = empty_headers();
    let buffers = names.iter_mut().zip(&mut controls).zip(&mut vectors);
    for ((header, message), ((name, control), vector)) in headers.iter_mut().zip(messages).zip(buffers) {
        let name_len;
        (*name, name_len) = encode_name(&message.to);
        *control = Control::of(message);
        vector.iov_base = message.contents.as_ptr().cast_mut().cast();
        vector.iov_len = message.contents.len();
        header.msg_hdr.msg_name = name.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name_len;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if control.len > 0 {
            header.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.len as _;
        }
    }
    // SAFETY: the first `messages.len()` (at most BATCH) elements of `headers` point to a name, control messages and a
    // vector with their true lengths, each vector to the contents of a message. All outlive the call, which only reads
    // them; what is written are the lengths in `headers`.
    let count = unsafe {
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), messages.len() as _, libc::MSG_DONTWAIT as _)
    };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

fn empty_headers() -> [libc::mmsghdr; BATCH] {
    // SAFETY: `mmsghdr` consists of integers and raw pointers, for which zero is a value. The fields cannot be named
    // one by one, because musl's has private padding.
    unsafe { mem::zeroed() }
}

/// Sets a socket option that is a C int.
pub(crate) fn set_option(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from a `c_int` that lives until the call returns.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The interface that a descriptor of `/dev/net/tun` is attached to.
#[derive(Debug)]
pub(crate) struct TunInterface {
    pub(crate) name: String,
    /// Packets come bare behind a virtio header, as [`crate::virtio`] expects them.
    pub(crate) has_offloads: bool,
}

/// Asks a descriptor which TUN interface it is.
///
/// # Errors
/// If it is none.
pub(crate) fn tun_interface(fd: BorrowedFd<'_>) -> io::Result<TunInterface> {
    // SAFETY: `ifreq` consists of integers, arrays and unions of them, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: TUNGETIFF writes an `ifreq`, which lives until the call returns; a descriptor of another kind knows the
    // number as nothing, or refuses it.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF as _, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let name: Vec<u8> =
        request.ifr_name.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    // SAFETY: TUNGETIFF fills this member of the union, and any bits are an integer.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    let wanted = libc::IFF_TUN | libc::IFF_VNET_HDR;
    // No test for IFF_NO_PI: the kernel gives its bit another meaning in the answer.
    Ok(TunInterface {
        name: String::from_utf8_lossy(&name).into_owned(),
        has_offloads: flags & (wanted | libc::IFF_TAP) == wanted,
    })
}

/// Asks for checksum and segmentation offloads. Returns whether UDP segmentation is among them (Linux 6.2).
///
/// # Errors
/// If the kernel has not even those of TCP.
pub(crate) fn set_tun_offloads(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let set = |offloads: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes a number and touches no memory.
        let result =
            unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offloads)) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    if set(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).is_ok() {
        return Ok(true);
    }
    set(tcp).map(|()| false)
}

/// Takes ownership of a descriptor that this process inherited.
///
/// # Errors
/// If there is no such descriptor, or it was not inherited: every descriptor that a program in Rust opens is
/// close-on-exec, so one that is not came through `execve`; it becomes close-on-exec here and cannot be taken twice.
pub(crate) fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let not_inherited = || io::Error::other(format!("descriptor {number} was not inherited"));
    // Standard input, output and error have owners.
    if number <= libc::STDERR_FILENO {
        return Err(not_inherited());
    }
    // SAFETY: F_GETFD touches no memory and fails for a number that is not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(not_inherited());
    }
    // SAFETY: F_SETFD touches no memory.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and nothing in this process owns it, as said above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn incoming(control: &[u8]) -> Incoming {
        let mut message = Incoming::EMPTY;
        message.control[..control.len()].copy_from_slice(control);
        message.control_len = control.len();
        message
    }

    #[test]
    fn control_messages_read_as_they_were_written() {
        let message = Outgoing {
            to: (Ipv6Addr::LOCALHOST, 1).into(),
            traffic_class: 0xc0,
            contents: &[],
            segment: Some(1340),
        };
        let control = Control::of(&message);
        assert_eq!(control.len, 2 * (CONTROL_HEADER + size_of::<usize>()));
        let message = incoming(&control.bytes[..control.len]);
        assert_eq!(message.control(libc::IPPROTO_IPV6, libc::IPV6_TCLASS), Some(0xc0));
        assert_eq!(
            message.control(libc::SOL_UDP, libc::UDP_SEGMENT),
            None,
            "two bytes are not a number of four"
        );
        assert_eq!(message.control(libc::SOL_UDP, libc::UDP_GRO), None);
    }

    #[test]
    fn control_messages_may_be_noise() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut noise = [0; CONTROL_LEN];
            noise.iter_mut().for_each(|byte| *byte = rng.u8(..));
            noise[..8].copy_from_slice(&rng.u64(0..60).to_ne_bytes());
            let message = incoming(&noise[..rng.usize(0..=CONTROL_LEN)]);
            let _ = message.control(libc::SOL_UDP, libc::UDP_GRO);
        }
        let mut endless = incoming(&[0; CONTROL_LEN]);
        assert_eq!(endless.control(1, 1), None, "a length of zero must not stop the search from moving on");
        endless.control[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(endless.control(1, 1), None);
    }

    #[test]
    fn addresses_read_as_they_were_written() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%3]:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            let (name, _) = encode_name(&addr);
            assert_eq!(Incoming { name, ..Incoming::EMPTY }.from(), Some(addr));
        }
        assert_eq!(Incoming::EMPTY.from(), None);
    }

    #[test]
    fn the_traffic_class_is_on_the_wire_in_both_families() {
        for (to, level, ask, answer) in [
            ("127.0.0.1:0", libc::IPPROTO_IP, libc::IP_RECVTOS, libc::IP_TOS),
            ("[::1]:0", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS),
        ] {
            let receiver = std::net::UdpSocket::bind(to).unwrap();
            set_option(receiver.as_fd(), level, ask, 1).unwrap();
            let to = receiver.local_addr().unwrap();
            let message = Outgoing { to, traffic_class: 0xb8, contents: b"class", segment: None };
            assert_eq!(send(receiver.as_fd(), &[message]).unwrap(), 1);
            let mut messages = [Incoming::EMPTY; BATCH];
            assert_eq!(receive(receiver.as_fd(), &mut [0; 2048], 64, &mut messages).unwrap(), 1);
            assert_eq!(messages[0].from(), Some(to));
            // IPv4 reports a single byte, so look at the bytes: header, then data.
            let [control] = [messages[0].control];
            assert_eq!(control[CONTROL_HEADER - 4..CONTROL_HEADER], answer.to_ne_bytes());
            assert_eq!(control[CONTROL_HEADER], 0xb8);
        }
    }

    #[test]
    fn a_datagram_longer_than_its_slot_is_marked() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        for len in [64, 65] {
            socket.send_to(&vec![0; len], to).unwrap();
        }
        let mut messages = [Incoming::EMPTY; BATCH];
        assert_eq!(receive(socket.as_fd(), &mut [0; 2048], 64, &mut messages).unwrap(), 2);
        assert_eq!(messages.map(|message| message.truncated)[..2], [false, true]);
    }
}
