//! The control thread's end of the loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::Core;
use crate::device::Device;
use crate::socket::Sockets;

/// The control thread's end of a running loop. Dropping it ends the loop.
#[derive(Debug)]
pub struct Handle<C: Core> {
    /// To the loop.
    pub(super) commands: Option<rtrb::Producer<C::Command>>,
    /// From the loop; abandoned when it has ended.
    pub(super) events: rtrb::Consumer<C::Event>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: Option<JoinHandle<io::Result<(Device, Sockets)>>>,
}

/// What both threads use besides the rings.
#[derive(Debug)]
pub(super) struct Shared {
    /// Wakes the loop.
    pub(super) wake: OwnedFd,
    /// Readable when there are events, or when the loop has ended.
    pub(super) event: OwnedFd,
    /// The loop has events for which there was no room.
    pub(super) events_waiting: AtomicBool,
}

/// Tells the control thread, when it is dropped, that the loop has ended, be it by a panic. It has to outlive the loop's
/// ends of the rings, by which the control thread finds out.
#[derive(Debug)]
pub(super) struct Ended(pub(super) Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        signal(&self.0.event);
    }
}

impl<C: Core> Handle<C> {
    /// Hands a command to the loop. Fails when 1,024 are waiting or the loop has ended, and gives the command back.
    ///
    /// # Errors
    /// The command.
    pub fn send(&mut self, command: C::Command) -> Result<(), C::Command> {
        match &mut self.commands {
            Some(commands) if !commands.is_abandoned() => {
                commands.push(command).map_err(|rtrb::PushError::Full(command)| command)?;
                signal(&self.shared.wake);
                Ok(())
            }
            _ => Err(command),
        }
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<C::Event> {
        let event = self.events.pop().ok()?;
        if self.shared.events_waiting.swap(false, Ordering::AcqRel) {
            signal(&self.shared.wake);
        }
        Some(event)
    }

    /// A descriptor that is readable when there are events, or when the loop has ended.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    /// Makes [`event_fd`](Self::event_fd) unreadable. To be called before [`poll_event`](Self::poll_event) is called
    /// until it has no more, or an event could be missed.
    pub fn clear_event_fd(&self) {
        drain(&self.shared.event);
    }

    /// Whether the loop has ended, which it does by itself only after an error or a panic: [`stop`](Self::stop) passes
    /// them on.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.events.is_abandoned()
    }

    /// Ends the loop and waits for it. The device is gone afterwards.
    ///
    /// # Errors
    /// What ended the loop before.
    pub fn stop(mut self) -> io::Result<()> {
        self.end().map(drop)
    }

    /// Ends the loop, waits for it, and gives back what it worked on, so that packets queue up for whoever comes next.
    ///
    /// # Errors
    /// What ended the loop before.
    pub fn stop_and_keep(mut self) -> io::Result<(Device, Sockets)> {
        self.end()?.ok_or_else(|| io::Error::other("the packet loop was ended before"))
    }

    fn end(&mut self) -> io::Result<Option<(Device, Sockets)>> {
        self.commands = None;
        signal(&self.shared.wake);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map(Some),
            Some(Err(panic)) if !thread::panicking() => std::panic::resume_unwind(panic),
            Some(Err(_)) | None => Ok(None),
        }
    }
}

impl<C: Core> Drop for Handle<C> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the packet loop failed");
        }
    }
}

pub(super) fn signal(fd: &OwnedFd) {
    // Fails only when the counter is full, and then the other side is awake.
    let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
}

pub(super) fn drain(fd: &OwnedFd) {
    // Fails when nobody signalled.
    let _ = rustix::io::read(fd, &mut [0; 8]);
}
