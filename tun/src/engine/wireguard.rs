//! WireGuard by `boringtun::noise::Tunn` 0.7.1.
//!
//! Only its packet state machine is used, never its device. What it does not do by itself is done here:
//!
//! - it queues packets without a session and allocates for each; we offer it none until a session can send,
//! - a responder may not send before the initiator's first message arrives, and `Tunn` would start a handshake of its
//!   own instead; [`WireGuard::is_up`] becomes true only then,
//! - after 90 s without an answer it declares itself expired for ever; a new initiation is forced, with back-off,
//! - it takes an empty datagram for the wish to send what it queued, and calls that a success,
//! - its clock stands still between calls of `update_timers`; they are made every 250 ms,
//! - it panics when an output buffer is too small; lengths are checked before each call,
//! - its limiter counts every handshake of everybody; the tunnels get one without a limit, and the limit is applied at
//!   the door, after a limit per source.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet, Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use molt_mesh::{Identity, NodePublic, Time};

use super::{Engine, Gate, MIN_ROOM, Message, OVERHEAD, Opened, Sealed, Tunnel};

/// How often a tunnel's timers run: often enough that a timeout of seconds is kept within a few percent.
const TICK: Duration = Duration::from_millis(250);

/// Handshake messages per second from unknown sources before cookies are demanded. Each costs about 0.25 ms, so this
/// bounds a flood to 2.5 % of a core.
const HANDSHAKES_PER_SECOND: u64 = 100;

/// First and longest pause between forced initiations on a tunnel that gave up.
const REVIVE_MIN: Duration = Duration::from_secs(5);
const REVIVE_MAX: Duration = Duration::from_secs(60);

/// The keys of this node and the guard of its port.
pub struct WireGuardEngine {
    secret: StaticSecret,
    public: PublicKey,
    /// Checks MAC1 only; shared by all tunnels.
    unlimited: Arc<RateLimiter>,
    limited: RateLimiter,
    counting_since: Time,
}

impl WireGuardEngine {
    /// An engine with the WireGuard key of `identity`.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        let secret = identity.wireguard_secret().clone();
        let public = PublicKey::from(&secret);
        Self {
            unlimited: Arc::new(RateLimiter::new(&public, u64::MAX)),
            limited: RateLimiter::new(&public, HANDSHAKES_PER_SECOND),
            counting_since: Time::ZERO,
            secret,
            public,
        }
    }
}

impl Engine for WireGuardEngine {
    type Tunnel = WireGuard;

    fn tunnel(&mut self, remote: &NodePublic, preshared: Option<[u8; 32]>, index: u32) -> WireGuard {
        let remote = PublicKey::from(*remote.as_bytes());
        let limiter = Some(Arc::clone(&self.unlimited));
        let tunn = Tunn::new(self.secret.clone(), remote, preshared, None, index & 0x00ff_ffff, limiter);
        WireGuard { tunn, up: false, next_tick: Time::ZERO, revive: REVIVE_MIN, revive_at: None }
    }

    fn knows_us(&self, datagram: &[u8]) -> bool {
        self.unlimited.verify_packet(None, datagram, &mut []).is_ok()
    }

    fn gate(&mut self, from: IpAddr, datagram: &[u8], now: Time, reply: &mut [u8]) -> Gate {
        if now.since(self.counting_since) >= Duration::from_secs(1) {
            self.counting_since = now;
            self.limited.reset_count();
        }
        match self.limited.verify_packet(Some(from), datagram, reply) {
            Ok(_) => Gate::Pass,
            Err(TunnResult::WriteToNetwork(cookie)) => Gate::Reply(cookie.len()),
            Err(_) => Gate::Refuse,
        }
    }

    fn initiator(&self, datagram: &[u8]) -> Option<NodePublic> {
        let Ok(Packet::HandshakeInit(initiation)) = Tunn::parse_incoming_packet(datagram) else {
            return None;
        };
        let half = parse_handshake_anon(&self.secret, &self.public, &initiation).ok()?;
        Some(NodePublic::from_bytes(half.peer_static_public))
    }
}

/// The sessions with one peer.
pub struct WireGuard {
    tunn: Tunn,
    /// A session exists in which we may send.
    up: bool,
    next_tick: Time,
    /// Pause before the next forced initiation; doubles from [`REVIVE_MIN`] to [`REVIVE_MAX`].
    revive: Duration,
    revive_at: Option<Time>,
}

impl WireGuard {
    fn came_up(&mut self) {
        self.up = true;
        self.revive = REVIVE_MIN;
        self.revive_at = None;
    }
}

impl Tunnel for WireGuard {
    fn seal(&mut self, packet: &[u8], out: &mut [u8], _now: Time) -> Sealed {
        if out.len() < (packet.len() + OVERHEAD).max(MIN_ROOM) {
            return Sealed::NoSession;
        }
        if !self.up {
            return Sealed::NoSession;
        }
        match self.tunn.encapsulate(packet, out) {
            // 4 is the type of a data message. Anything else means that the session ran out just now.
            TunnResult::WriteToNetwork(message) => match message.first() {
                Some(4) => Sealed::Data(message.len()),
                _ => {
                    self.up = false;
                    Sealed::Handshake(message.len())
                }
            },
            TunnResult::Done | TunnResult::Err(_) => {
                self.up = false;
                Sealed::NoSession
            }
            TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => Sealed::NoSession,
        }
    }

    fn open(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8], _now: Time) -> Opened {
        if out.len() < datagram.len().max(MIN_ROOM) || Message::classify(datagram).is_none() {
            return Opened::Rejected;
        }
        let kind = datagram.first().copied();
        match (kind, self.tunn.decapsulate(Some(from), datagram, out)) {
            (_, TunnResult::WriteToTunnelV6(packet, _)) => {
                let len = packet.len();
                if !self.up {
                    self.came_up();
                }
                Opened::Packet(len)
            }
            // A cookie reply and an empty data message both end in `Done`.
            (Some(3), TunnResult::Done) => Opened::Cookie,
            (_, TunnResult::Done) => {
                if !self.up {
                    self.came_up();
                }
                Opened::Keepalive
            }
            (Some(1), TunnResult::WriteToNetwork(answer)) => Opened::Answer(answer.len()),
            (_, TunnResult::WriteToNetwork(first)) => {
                let len = first.len();
                self.came_up();
                Opened::Established(len)
            }
            // IPv4 is not carried.
            (_, TunnResult::WriteToTunnelV4(..) | TunnResult::Err(_)) => Opened::Rejected,
        }
    }

    fn initiate(&mut self, out: &mut [u8], _now: Time) -> Option<usize> {
        if out.len() < MIN_ROOM {
            return None;
        }
        match self.tunn.format_handshake_initiation(out, true) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            _ => None,
        }
    }

    fn handle_timeout(&mut self, out: &mut [u8], now: Time) -> Option<usize> {
        if now < self.next_tick || out.len() < MIN_ROOM {
            return None;
        }
        self.next_tick = now + TICK;
        match self.tunn.update_timers(out) {
            TunnResult::WriteToNetwork(message) => Some(message.len()),
            TunnResult::Err(WireGuardError::ConnectionExpired) => {
                self.up = false;
                let at = *self.revive_at.get_or_insert(now + self.revive);
                if now < at {
                    return None;
                }
                self.revive = (self.revive * 2).min(REVIVE_MAX);
                self.revive_at = None;
                self.initiate(out, now)
            }
            _ => None,
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        Some(self.next_tick)
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn session_age(&self, _now: Time) -> Option<Duration> {
        self.tunn.time_since_last_handshake()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use molt_mesh::Seed;

    use super::*;

    #[test]
    fn what_is_no_whole_message_proves_nothing() {
        let identity = |number| Seed::from_bytes([number; 32]).identity();
        let mut tunnel = WireGuardEngine::new(&identity(1)).tunnel(identity(2).node_public(), None, 7);
        let from = IpAddr::from(Ipv4Addr::LOCALHOST);
        for datagram in [&[][..], &[4], &[4, 0, 0, 0], &[4; 31], &[0x60; 40]] {
            assert_eq!(tunnel.open(from, datagram, &mut [0; 2048], Time::ZERO), Opened::Rejected);
        }
        assert!(!tunnel.is_up());
    }
}
