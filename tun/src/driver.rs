//! The packet loop: one thread that moves bytes and time between the operating system and the core.
//!
//! One round takes, in this order and each in bounded portions: commands, datagrams, timers that are due, packets from
//! the host; then it writes what the core produced and hands its events over. Between rounds it sleeps until a descriptor
//! is ready or the core's next deadline; there is no tick. Datagrams come before timers because a loop that was not
//! scheduled for a while must not take its own absence for the silence of a neighbour; their portion is a few
//! milliseconds, which a BFD packet can wait.
//!
//! When the kernel cannot take more datagrams, packets from the host are not read until it can, so that they queue where
//! the operating system manages queues. Datagrams are received all the same: a full batch discards, which the core counts.

mod handle;
mod poll;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use molt_mesh::Time;
use rtrb::RingBuffer;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

pub use self::handle::Handle;
use self::handle::{Ended, Shared, drain, signal};
use self::poll::{Blocked, Poll, Ready};
use crate::clock::Clock;
use crate::device::Device;
use crate::output::{MAX_SLICES, Output, Protocol, Write};
use crate::socket::{Family, Progress, ReceiveBuffer, Sent, Sockets, UdpCounters};
use crate::split::split;
use crate::virtio;

/// Commands that may wait for the loop, which takes them every few milliseconds. With a control packet of 1,280 bytes in
/// each they are 1.3 MB.
const COMMANDS: usize = 1024;

/// Events that may wait for the control thread, as many bytes. When they are full, events stay in the core.
const EVENTS: usize = 1024;

/// Commands in one round. The work of one is that of a few packets.
const ROUND_COMMANDS: usize = 64;

/// Datagrams from one socket in one round, after which no further batch is received: about a millisecond of decryption,
/// which is what BFD may have to wait. A batch of trains may be half as many more.
const ROUND_DATAGRAMS: usize = 1024;

/// Reads from the device in one round: up to 2 MiB of super-packets, about a millisecond of encryption.
const ROUND_READS: usize = 32;

/// A super-packet, whose payload may fill a 16-bit length behind the IPv6 header.
const READ_BUFFER: usize = virtio::HEADER_LEN + 40 + 65_535;

/// The node's packet logic, without sockets and clock.
pub trait Core: Send + 'static {
    /// What the control thread tells the core.
    type Command: Send + 'static;
    /// What the core tells the control thread.
    type Event: Send + 'static;

    /// A datagram arrived on the underlay port. It may be changed in place.
    fn handle_datagram(&mut self, from: SocketAddr, datagram: &mut [u8], now: Time, out: &mut Output);
    /// The host sent an IPv6 packet that fits the MTU and whose checksums are complete. It may be changed in place.
    fn handle_packet(&mut self, packet: &mut [u8], now: Time, out: &mut Output);
    /// The deadline of [`poll_timeout`](Self::poll_timeout) has come.
    fn handle_timeout(&mut self, now: Time, out: &mut Output);
    /// When [`handle_timeout`](Self::handle_timeout) is to be called, and the name of the timer.
    fn poll_timeout(&self) -> Option<(Time, &'static str)>;
    /// The control thread sent a command.
    fn handle_command(&mut self, command: Self::Command, now: Time, out: &mut Output);
    /// The next event, if there is one.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// The loop's own counters have changed; these are the totals.
    fn note_io(&mut self, _counters: IoCounters) {}
}

/// What the loop itself discarded or met, in total since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoCounters {
    /// The sockets.
    pub udp: UdpCounters,
    /// Reads from the device that failed, are not IPv6, or have inconsistent offload headers.
    pub tun_rejects: u64,
    /// Packets and super-packets that the device did not take.
    pub tun_write_errors: u64,
}

/// Starts the loop in a thread of its own.
///
/// # Errors
/// The operating system has no thread or descriptor left.
pub fn spawn<C: Core>(core: C, device: Device, sockets: Sockets, clock: Clock) -> io::Result<Handle<C>> {
    let (command_producer, commands) = RingBuffer::new(COMMANDS);
    let (events, event_consumer) = RingBuffer::new(EVENTS);
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let shared = Arc::new(Shared {
        wake: eventfd(0, flags)?,
        event: eventfd(0, flags)?,
        events_waiting: AtomicBool::new(false),
    });
    let mut out = Output::new(true);
    if !device.has_udp_offload() {
        out.tun.refuse(Protocol::Udp);
    }
    let driver = Driver {
        core,
        clock,
        commands,
        events,
        shared: Arc::clone(&shared),
        poll: Poll::new(&shared.wake, &device, &sockets)?,
        io: Io {
            device,
            sockets,
            out,
            progress: Progress::default(),
            blocked: Blocked::No,
            counters: IoCounters::default(),
        },
        receive_buffer: ReceiveBuffer::new(),
        read_buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        noted: IoCounters::default(),
    };
    let ended = Ended(Arc::clone(&shared));
    let thread = thread::Builder::new().name("molt-packets".to_owned()).spawn(move || {
        let _ended = ended;
        driver.run()
    })?;
    Ok(Handle { commands: Some(command_producer), events: event_consumer, shared, thread: Some(thread) })
}

/// Everything the thread owns.
struct Driver<C: Core> {
    core: C,
    clock: Clock,
    /// From the control thread; abandoned when the loop is to end.
    commands: rtrb::Consumer<C::Command>,
    /// To the control thread.
    events: rtrb::Producer<C::Event>,
    shared: Arc<Shared>,
    poll: Poll,
    io: Io,
    receive_buffer: ReceiveBuffer,
    read_buffer: Box<[u8]>,
    /// The counters that the core has seen.
    noted: IoCounters,
}

/// The two ends that packets enter and leave by, and what is on its way out.
struct Io {
    device: Device,
    sockets: Sockets,
    out: Output,
    /// How much of `out.udp` has been sent.
    progress: Progress,
    blocked: Blocked,
    counters: IoCounters,
}

impl<C: Core> Driver<C> {
    fn run(mut self) -> io::Result<(Device, Sockets)> {
        self.rounds().inspect_err(|error| tracing::error!(%error, "the packet loop ends"))?;
        Ok((self.io.device, self.io.sockets))
    }

    fn rounds(&mut self) -> io::Result<()> {
        let mut ready = Ready::default();
        loop {
            let more = self.round(ready)?;
            if self.commands.is_abandoned() {
                return Ok(());
            }
            ready = self.wait(more)?;
            if ready.wake {
                drain(&self.shared.wake);
            }
        }
    }

    /// One round. Returns whether a source has more.
    fn round(&mut self, ready: Ready) -> io::Result<bool> {
        let now = self.clock.now();
        if self.io.blocked != Blocked::No {
            self.io.unblock(ready, now);
        }
        let mut more = self.handle_commands(now)?;
        for (family, ready) in [(Family::V4, ready.v4), (Family::V6, ready.v6)] {
            if ready {
                more |= self.handle_datagrams(family, now)?;
            }
        }
        if let Some((deadline, timer)) = self.core.poll_timeout()
            && deadline <= now
        {
            tracing::trace!(timer, "due");
            self.core.handle_timeout(now, &mut self.io.out);
            self.io.flush(now)?;
        }
        if ready.tun {
            more |= self.handle_packets(self.clock.now())?;
        }
        self.io.flush(self.clock.now())?;
        self.hand_over_events();
        if self.io.counters != self.noted {
            self.noted = self.io.counters;
            self.core.note_io(self.noted);
        }
        Ok(more)
    }

    fn handle_commands(&mut self, now: Time) -> io::Result<bool> {
        for _ in 0..ROUND_COMMANDS {
            let Ok(command) = self.commands.pop() else { return Ok(false) };
            self.core.handle_command(command, now, &mut self.io.out);
            self.io.flush_if_full(now)?;
        }
        Ok(true)
    }

    fn handle_datagrams(&mut self, family: Family, now: Time) -> io::Result<bool> {
        let Self { core, io, receive_buffer, .. } = self;
        let mut handled = 0;
        while handled < ROUND_DATAGRAMS {
            let received = io.sockets.receive(family, receive_buffer, &mut io.counters.udp);
            let is_full = received.is_full();
            for (from, datagram) in received.datagrams() {
                core.handle_datagram(from, datagram, now, &mut io.out);
                handled += 1;
                io.flush_if_full(now)?;
            }
            if !is_full {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn handle_packets(&mut self, now: Time) -> io::Result<bool> {
        let Self { core, io, read_buffer, .. } = self;
        for _ in 0..ROUND_READS {
            if io.blocked != Blocked::No {
                return Ok(false);
            }
            let len = match io.device.read(read_buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => match Errno::from_io_error(&error) {
                    // A packet that the kernel cannot describe in a virtio header, or has no memory for.
                    Some(Errno::INVAL | Errno::NOMEM | Errno::NOBUFS) => {
                        io.counters.tun_rejects += 1;
                        continue;
                    }
                    // EBADFD: the interface was deleted. Nothing that reading again would mend.
                    _ => return Err(error),
                },
            };
            let read = read_buffer.get_mut(..len).unwrap_or_default();
            if let Err(reject) = split(read, |packet| core.handle_packet(packet, now, &mut io.out)) {
                tracing::trace!(%reject, "read from the host");
                io.counters.tun_rejects += 1;
            }
            io.flush_if_full(now)?;
        }
        Ok(true)
    }

    fn hand_over_events(&mut self) {
        let mut some = false;
        loop {
            while !self.events.is_full() {
                let Some(event) = self.core.poll_event() else {
                    if some {
                        signal(&self.shared.event);
                    }
                    return;
                };
                some = self.events.push(event).is_ok();
            }
            signal(&self.shared.event);
            self.shared.events_waiting.store(true, Ordering::Release);
            // The control thread may have made room before it could see the flag.
            if self.events.is_full() {
                return;
            }
        }
    }

    fn wait(&mut self, more: bool) -> io::Result<Ready> {
        let io = &self.io;
        self.poll.set_blocked(io.blocked, &io.device, &io.sockets)?;
        let now = self.clock.now();
        let pause = match io.blocked {
            Blocked::Until(time) => Some(time),
            Blocked::No | Blocked::Writable(_) => None,
        };
        let deadline = self.core.poll_timeout().map(|(time, _)| time).into_iter().chain(pause).min();
        let timeout = if more { Some(Duration::ZERO) } else { deadline.map(|time| time.since(now)) };
        self.poll.wait(timeout)
    }
}

impl Io {
    fn flush_if_full(&mut self, now: Time) -> io::Result<()> {
        if self.out.needs_flush() { self.flush(now) } else { Ok(()) }
    }

    fn flush(&mut self, now: Time) -> io::Result<()> {
        if !self.out.tun.is_empty() {
            self.flush_tun()?;
        }
        if !self.out.udp.is_empty() && self.blocked == Blocked::No {
            self.flush_udp(now);
        }
        Ok(())
    }

    fn flush_udp(&mut self, now: Time) {
        match self.sockets.send(&self.out.udp, &mut self.progress, now, &mut self.counters.udp) {
            Sent::All => self.out.udp.clear(),
            Sent::PauseUntil(time) => self.blocked = Blocked::Until(time),
            Sent::WaitFor(family) => self.blocked = Blocked::Writable(family),
        }
    }

    fn unblock(&mut self, ready: Ready, now: Time) {
        let over = match self.blocked {
            Blocked::No => true,
            Blocked::Until(time) => time <= now,
            Blocked::Writable(_) => ready.writable,
        };
        if over {
            self.blocked = Blocked::No;
            self.flush_udp(now);
        }
    }

    fn flush_tun(&mut self) -> io::Result<()> {
        let mut refused = None;
        for write in self.out.tun.writes() {
            match (write_to(&self.device, &write), write.protocol()) {
                (Ok(()), _) => {}
                (Err(Errno::INVAL), Some(protocol)) => {
                    refused = Some(protocol);
                    for packet in write.packets() {
                        let slices = [IoSlice::new(&[0; virtio::HEADER_LEN]), IoSlice::new(packet)];
                        self.counters.tun_write_errors += u64::from(self.device.write(&slices).is_err());
                    }
                }
                (Err(Errno::BADFD), _) => return Err(Errno::BADFD.into()),
                (Err(_), _) => self.counters.tun_write_errors += 1,
            }
        }
        self.out.tun.clear();
        if let Some(protocol) = refused {
            // Seen with Linux 6.6.44 and its like. It will not get better while this kernel runs.
            tracing::info!(?protocol, "the TUN device refuses super-packets");
            self.out.tun.refuse(protocol);
        }
        Ok(())
    }
}

fn write_to(device: &Device, write: &Write<'_>) -> Result<(), Errno> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut len = 0;
    for (to, slice) in slices.iter_mut().zip(write.slices()) {
        *to = IoSlice::new(slice);
        len += 1;
    }
    match device.write(slices.get(..len).unwrap_or_default()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}
