//! What wakes the loop.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use molt_mesh::Time;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use crate::device::Device;
use crate::socket::{Family, Sockets};

/// Why `out.udp` cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    No,
    Until(Time),
    Writable(Family),
}

/// What woke the loop.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) wake: bool,
    pub(super) tun: bool,
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// The socket that was full can send again.
    pub(super) writable: bool,
}

const WAKE: u64 = 0;
const TUN: u64 = 1;
const V4: u64 = 2;
const V6: u64 = 3;

/// The descriptors that wake the loop.
pub(super) struct Poll {
    epoll: OwnedFd,
    /// What the descriptors are registered for.
    blocked: Blocked,
    /// The kernel has no `epoll_pwait2` (Linux before 5.11), only milliseconds.
    coarse: bool,
}

impl Poll {
    pub(super) fn new(wake: &OwnedFd, device: &Device, sockets: &Sockets) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake, EventData::new_u64(WAKE), EventFlags::IN)?;
        epoll::add(&epoll, device, EventData::new_u64(TUN), EventFlags::IN)?;
        for (family, fd) in sockets.fds() {
            epoll::add(&epoll, fd, EventData::new_u64(key(family)), EventFlags::IN)?;
        }
        Ok(Self { epoll, blocked: Blocked::No, coarse: false })
    }

    /// While datagrams cannot be sent, packets from the host do not wake the loop, but a socket that can send does.
    pub(super) fn set_blocked(
        &mut self,
        blocked: Blocked,
        device: &Device,
        sockets: &Sockets,
    ) -> io::Result<()> {
        if self.blocked == blocked {
            return Ok(());
        }
        self.blocked = blocked;
        let tun = if blocked == Blocked::No { EventFlags::IN } else { EventFlags::empty() };
        epoll::modify(&self.epoll, device, EventData::new_u64(TUN), tun)?;
        for (family, fd) in sockets.fds() {
            let full = blocked == Blocked::Writable(family);
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(&self.epoll, fd, EventData::new_u64(key(family)), flags)?;
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut events = [MaybeUninit::uninit(); 4];
        let result = if self.coarse {
            epoll::wait(&self.epoll, &mut events, timeout.map(whole_millis).as_ref())
        } else {
            // A deadline too far for a timespec is none.
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            epoll::wait(&self.epoll, &mut events, timeout.as_ref())
        };
        let mut ready = Ready::default();
        let events = match result {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(ready),
            Err(Errno::NOSYS) if !self.coarse => {
                self.coarse = true;
                return Ok(ready);
            }
            Err(errno) => return Err(errno.into()),
        };
        for event in events {
            let flags = event.flags;
            ready.writable |= flags.contains(EventFlags::OUT);
            // An error condition is found out by reading.
            let readable = flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP);
            match event.data.u64() {
                WAKE => ready.wake = readable,
                TUN => ready.tun = readable,
                V4 => ready.v4 = readable,
                _ => ready.v6 = readable,
            }
        }
        Ok(ready)
    }
}

const fn key(family: Family) -> u64 {
    match family {
        Family::V4 => V4,
        Family::V6 => V6,
    }
}

/// Rounded up, so that the loop does not wake before the deadline and spin until it has come.
fn whole_millis(timeout: Duration) -> Timespec {
    let millis = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
