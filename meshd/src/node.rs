//! A whole node in one value: the packet core and the control plane, joined by their queues.
//!
//! The daemon runs the same two halves in two threads; the simulator of `lab` runs this. Nothing else differs.

use std::net::SocketAddr;

use molt_mesh::Time;
use molt_tun::engine::Engine;
use molt_tun::output::Output;
use molt_tun::{Core as _, Dataplane};

use crate::control::{Control, Notice};

/// Packet core and control plane of one node.
pub struct Node<E: Engine> {
    /// Forwards packets.
    pub data: Dataplane<E>,
    /// Decides where to.
    pub control: Control,
    /// When the control plane wants to be called: to find out, it looks at all its links, and most packets are not for it.
    due: Option<(Time, &'static str)>,
}

impl<E: Engine> Node<E> {
    /// Joins the two halves.
    #[must_use]
    pub fn new(data: Dataplane<E>, control: Control) -> Self {
        Self { due: control.poll_timeout(), data, control }
    }

    /// Takes a datagram from the underlay.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &mut [u8], now: Time, out: &mut Output) {
        self.data.handle_datagram(from, datagram, now, out);
        self.talk(now, out);
    }

    /// Takes a packet from this host.
    pub fn handle_packet(&mut self, packet: &mut [u8], now: Time, out: &mut Output) {
        self.data.handle_packet(packet, now, out);
        self.talk(now, out);
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Output) {
        self.data.handle_timeout(now, out);
        if self.due.is_some_and(|(at, _)| at <= now) {
            self.control.handle_timeout(now);
            self.exchange(now, out);
        } else {
            self.talk(now, out);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        [self.data.poll_timeout(), self.due].into_iter().flatten().min()
    }

    /// The next thing the owner must know.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.control.poll_notice()
    }

    /// Lets the halves talk until both are quiet. Call it after using [`control`](Self::control) directly.
    pub fn exchange(&mut self, now: Time, out: &mut Output) {
        self.talk(now, out);
        self.due = self.control.poll_timeout();
    }

    fn talk(&mut self, now: Time, out: &mut Output) {
        let mut spoke = false;
        loop {
            let mut quiet = true;
            while let Some(event) = self.data.poll_event() {
                quiet = false;
                self.control.handle_event(event, now);
            }
            while let Some(command) = self.control.poll_command() {
                quiet = false;
                self.data.handle_command(command, now, out);
            }
            if quiet {
                break;
            }
            spoke = true;
        }
        if spoke {
            self.due = self.control.poll_timeout();
        }
    }
}
