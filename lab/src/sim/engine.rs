//! An [`Engine`] without cryptography, deterministic and in virtual time.
//!
//! The messages have the types, lengths and indices of WireGuard, so that everything in front of and behind the engine is
//! the production code: demultiplexing by index, handshakes with retries, sessions that a restarted peer has forgotten,
//! replay protection, a responder that may not send before the initiator's first message. A checksum stands in for the
//! authentication tag, so that a damaged message is refused.

use std::net::IpAddr;
use std::time::Duration;

use molt_mesh::{NodePublic, Time};
use molt_tun::engine::{Engine, Gate, Opened, Sealed, Tunnel};

/// Rekey-Timeout of WireGuard: pause between two initiations.
const RETRY: Duration = Duration::from_secs(5);

/// How often the timers run, as boringtun's do.
const TICK: Duration = Duration::from_secs(1);

/// Keepalive-Timeout and Rekey-Timeout of WireGuard together: a session in which nothing comes back for this long is
/// replaced. It is what brings two ends together that disagree about the current session after crossed handshakes.
const DOUBT: Duration = Duration::from_secs(15);

/// How many messages a message may be late: WireGuard's window in boringtun.
const WINDOW: u64 = 1024;

const HEADER: usize = 16;
const TAG: usize = 16;

/// The packet inside a data message: nothing is secret here, so the simulator can follow it.
pub(super) fn plaintext(datagram: &[u8]) -> Option<&[u8]> {
    let packet = datagram.get(HEADER..datagram.len().checked_sub(TAG)?)?;
    (datagram.first() == Some(&4)).then_some(packet)
}

/// Makes tunnels of the node that holds `me`.
#[derive(Debug, Clone)]
pub struct PlainEngine {
    /// The node's own key.
    pub me: NodePublic,
}

impl Engine for PlainEngine {
    type Tunnel = PlainTunnel;

    fn tunnel(&mut self, remote: &NodePublic, _preshared: Option<[u8; 32]>, index: u32) -> PlainTunnel {
        PlainTunnel {
            me: self.me,
            remote: *remote,
            index,
            generation: 0,
            current: None,
            previous: None,
            next: None,
            pending: None,
            retry_at: None,
            unanswered_since: None,
            last_stamp: 0,
            next_tick: Time::ZERO,
        }
    }

    fn knows_us(&self, datagram: &[u8]) -> bool {
        datagram.first() != Some(&1) || datagram.get(40..72) == Some(self.me.as_bytes())
    }

    fn gate(&mut self, _from: IpAddr, _datagram: &[u8], _now: Time, _reply: &mut [u8]) -> Gate {
        Gate::Pass
    }

    fn initiator(&self, datagram: &[u8]) -> Option<NodePublic> {
        let key = datagram.get(8..40)?.try_into().ok()?;
        Some(NodePublic::from_bytes(key))
    }
}

/// The sessions with one peer.
#[derive(Debug)]
pub struct PlainTunnel {
    me: NodePublic,
    remote: NodePublic,
    index: u32,
    generation: u8,
    /// The session to send in.
    current: Option<Session>,
    /// The one before: when both ends initiate at once, each may confirm the other's session last.
    previous: Option<Session>,
    /// Answered, and not yet confirmed by a first message.
    next: Option<Session>,
    /// Our index in the initiation under way.
    pending: Option<u32>,
    retry_at: Option<Time>,
    /// When the first message was sent that nothing has come back after.
    unanswered_since: Option<Time>,
    /// Timestamp of the last initiation that was accepted.
    last_stamp: u64,
    next_tick: Time,
}

#[derive(Debug)]
struct Session {
    local: u32,
    remote: u32,
    sent: u64,
    received: Window,
}

impl Session {
    fn new(local: u32, remote: u32) -> Self {
        Self { local, remote, sent: 0, received: Window::default() }
    }

    fn seal(&mut self, packet: &[u8], out: &mut [u8]) -> usize {
        let len = HEADER + packet.len() + TAG;
        out[..4].copy_from_slice(&[4, 0, 0, 0]);
        out[4..8].copy_from_slice(&self.remote.to_le_bytes());
        out[8..16].copy_from_slice(&self.sent.to_le_bytes());
        out[HEADER..HEADER + packet.len()].copy_from_slice(packet);
        self.sent += 1;
        let sum = checksum(&out[..len - TAG]);
        out[len - TAG..len].fill(0);
        out[len - 8..len].copy_from_slice(&sum.to_le_bytes());
        len
    }
}

/// Which of the last messages have been seen.
#[derive(Debug, Default)]
struct Window {
    /// One more than the highest.
    next: u64,
    /// A bit for each of the last [`WINDOW`], at its counter modulo that.
    seen: [u64; (WINDOW / 64) as usize],
}

impl Window {
    fn accept(&mut self, counter: u64) -> bool {
        if counter + WINDOW < self.next {
            return false;
        }
        for passed in self.next.max((counter + 1).saturating_sub(WINDOW))..=counter {
            let (word, bit) = self.place(passed);
            *word &= !bit;
        }
        self.next = self.next.max(counter + 1);
        let (word, bit) = self.place(counter);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    const fn place(&mut self, counter: u64) -> (&mut u64, u64) {
        let at = counter % WINDOW;
        (&mut self.seen[(at / 64) as usize], 1 << (at % 64))
    }
}

/// FNV-1a on words of eight bytes, and on what is left byte by byte.
fn checksum(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29);
    let (words, tail) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    tail.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

impl PlainTunnel {
    fn fresh_index(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.index << 8 | u32::from(self.generation)
    }

    fn in_doubt_at(&self) -> Option<Time> {
        self.unanswered_since.filter(|_| self.pending.is_none()).map(|since| since + DOUBT)
    }

    fn open_data(&mut self, datagram: &[u8], out: &mut [u8]) -> Opened {
        let receiver = word(datagram, 4);
        let (content, tag) = datagram.split_at(datagram.len() - TAG);
        if tag[8..] != checksum(content).to_le_bytes() {
            return Opened::Rejected;
        }
        if self.next.as_ref().is_some_and(|next| next.local == receiver) {
            self.previous = std::mem::replace(&mut self.current, self.next.take());
        }
        let sessions = [&mut self.current, &mut self.previous];
        let Some(session) = sessions.into_iter().flatten().find(|session| session.local == receiver) else {
            return Opened::Rejected;
        };
        let counter = u64::from(word(datagram, 8)) | u64::from(word(datagram, 12)) << 32;
        if !session.received.accept(counter) {
            return Opened::Rejected;
        }
        self.unanswered_since = None;
        let packet = &content[HEADER..];
        if packet.is_empty() {
            return Opened::Keepalive;
        }
        out[..packet.len()].copy_from_slice(packet);
        Opened::Packet(packet.len())
    }
}

impl Tunnel for PlainTunnel {
    fn seal(&mut self, packet: &[u8], out: &mut [u8], now: Time) -> Sealed {
        match &mut self.current {
            Some(session) if out.len() >= packet.len() + HEADER + TAG => {
                self.unanswered_since.get_or_insert(now);
                Sealed::Data(session.seal(packet, out))
            }
            _ => Sealed::NoSession,
        }
    }

    fn open(&mut self, _from: IpAddr, datagram: &[u8], out: &mut [u8], _now: Time) -> Opened {
        if out.len() < datagram.len().max(148) {
            return Opened::Rejected;
        }
        match datagram.first() {
            Some(1) if datagram.len() == 148 => {
                if datagram.get(8..40) != Some(self.remote.as_bytes()) {
                    return Opened::Rejected;
                }
                // The timestamp of WireGuard: an initiation counts once.
                let stamp = u64::from(word(datagram, 72)) | u64::from(word(datagram, 76)) << 32;
                if stamp <= self.last_stamp {
                    return Opened::Rejected;
                }
                self.last_stamp = stamp;
                let theirs = word(datagram, 4);
                let ours = self.fresh_index();
                self.next = Some(Session::new(ours, theirs));
                out[..92].fill(0);
                out[0] = 2;
                out[4..8].copy_from_slice(&ours.to_le_bytes());
                out[8..12].copy_from_slice(&theirs.to_le_bytes());
                Opened::Answer(92)
            }
            Some(2) if datagram.len() == 92 => {
                let (theirs, ours) = (word(datagram, 4), word(datagram, 8));
                if self.pending != Some(ours) {
                    return Opened::Rejected;
                }
                self.pending = None;
                self.retry_at = None;
                self.unanswered_since = None;
                self.previous = self.current.take();
                let session = self.current.insert(Session::new(ours, theirs));
                Opened::Established(session.seal(&[], out))
            }
            Some(4) if datagram.len() >= HEADER + TAG => self.open_data(datagram, out),
            _ => Opened::Rejected,
        }
    }

    fn initiate(&mut self, out: &mut [u8], now: Time) -> Option<usize> {
        let index = self.fresh_index();
        self.pending = Some(index);
        self.retry_at = Some(now + RETRY);
        let message = out.get_mut(..148)?;
        message.fill(0);
        message[0] = 1;
        message[4..8].copy_from_slice(&index.to_le_bytes());
        message[8..40].copy_from_slice(self.me.as_bytes());
        message[40..72].copy_from_slice(self.remote.as_bytes());
        let stamp = 1 + u64::try_from(now.since_start().as_micros()).unwrap_or(u64::MAX - 1);
        message[72..80].copy_from_slice(&stamp.to_le_bytes());
        Some(148)
    }

    fn handle_timeout(&mut self, out: &mut [u8], now: Time) -> Option<usize> {
        self.next_tick = now + TICK;
        let due = [self.retry_at, self.in_doubt_at()].into_iter().flatten().min();
        if due.is_none_or(|at| now < at) {
            return None;
        }
        self.initiate(out, now)
    }

    fn poll_timeout(&self) -> Option<Time> {
        Some(self.next_tick)
    }

    fn is_up(&self) -> bool {
        self.current.is_some()
    }

    fn session_age(&self, _now: Time) -> Option<Duration> {
        None
    }
}
