//! What encrypts: the sans-I/O boundary between the packet core and a WireGuard implementation.
//!
//! The packet core ([`Dataplane`](crate::Dataplane)) knows links, routes and discards; an [`Engine`] knows keys and
//! nonces. There are two: [`wireguard`] over boringtun for the wire, and a deterministic one in `lab` for simulations
//! in virtual time (boringtun reads the clock and the random source of the operating system by itself).

use std::net::IpAddr;

use molt_mesh::{NodePublic, Time};

pub mod wireguard;

/// Longest message an engine writes apart from data: a handshake initiation has 148 bytes, data adds 32 to a packet.
pub const OVERHEAD: usize = 32;
/// Room that every output buffer has at least: a handshake initiation (148 bytes) must fit.
pub const MIN_ROOM: usize = 148;

/// Kinds of WireGuard messages (whitepaper section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Type 1: a handshake initiation, from somebody whose key is only known after one Diffie-Hellman.
    Initiation,
    /// Types 2 to 4: a message for the session with this index of ours.
    ForIndex(u32),
}

impl Message {
    /// Reads type and receiver index without any cryptography. `None` if it is not WireGuard.
    #[must_use]
    pub fn classify(datagram: &[u8]) -> Option<Self> {
        let index = |bytes: [u8; 4]| Some(Self::ForIndex(u32::from_le_bytes(bytes)));
        match *datagram {
            [1, 0, 0, 0, ..] if datagram.len() == 148 => Some(Self::Initiation),
            [2, 0, 0, 0, _, _, _, _, a, b, c, d, ..] if datagram.len() == 92 => index([a, b, c, d]),
            [3, 0, 0, 0, a, b, c, d, ..] if datagram.len() == 64 => index([a, b, c, d]),
            [4, 0, 0, 0, a, b, c, d, ..] if datagram.len() >= 32 => index([a, b, c, d]),
            _ => None,
        }
    }

    /// Whether the message belongs to a handshake (and so costs public-key operations to answer).
    #[must_use]
    pub fn is_handshake(datagram: &[u8]) -> bool {
        matches!(datagram, [1 | 2, ..])
    }
}

/// What stands in front of the Diffie-Hellman of a handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Go on.
    Pass,
    /// Too busy: send this many bytes (a cookie) instead.
    Reply(usize),
    /// The sender does not know our public key (MAC1), or the message is malformed.
    Refuse,
}

/// A WireGuard implementation: makes tunnels and guards the door.
pub trait Engine: Send + 'static {
    /// One tunnel to one peer.
    type Tunnel: Tunnel;

    /// A tunnel to the owner of `remote`. `index` is a random number below 2^24 that no other tunnel has; the receiver
    /// indices of its sessions are `index << 8` plus a session number.
    fn tunnel(&mut self, remote: &NodePublic, preshared: Option<[u8; 32]>, index: u32) -> Self::Tunnel;

    /// Checks MAC1 of a handshake message: whoever does not know our public key gets no answer at all.
    fn knows_us(&self, datagram: &[u8]) -> bool;

    /// Counts a handshake message from a source that is no current endpoint of a peer; above the limit per second the
    /// sender must prove its address by a cookie first.
    fn gate(&mut self, from: IpAddr, datagram: &[u8], now: Time, reply: &mut [u8]) -> Gate;

    /// Who sent an initiation. Costs one Diffie-Hellman.
    fn initiator(&self, datagram: &[u8]) -> Option<NodePublic>;
}

/// What became of a packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// The output holds a data message of this length.
    Data(usize),
    /// There is no session. The packet was not kept; the output holds an initiation of this length.
    Handshake(usize),
    /// There is no session and a handshake is under way, or the packet does not fit. The packet was not kept.
    NoSession,
}

/// What a received message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// The output holds an inner packet of this length (version and length of it are checked).
    Packet(usize),
    /// An empty data message.
    Keepalive,
    /// An initiation was accepted: the output holds the answer, of this length.
    Answer(usize),
    /// A response was accepted: the session is up, and the output holds the first message in it, of this length.
    Established(usize),
    /// A cookie was stored for the next initiation.
    Cookie,
    /// Not authentic, replayed, for a session that is gone, or not IP inside. Nothing changed.
    Rejected,
}

impl Opened {
    /// Whether the sender proved that it holds the peer's key, so that its source address may become the endpoint.
    #[must_use]
    pub const fn is_authentic(self) -> bool {
        matches!(self, Self::Packet(_) | Self::Keepalive | Self::Answer(_) | Self::Established(_))
    }
}

/// One tunnel: the sessions with one peer. Every output buffer has at least [`MIN_ROOM`] bytes.
pub trait Tunnel: Send + 'static {
    /// Encrypts `packet` into `out`, which has room for [`OVERHEAD`] bytes more.
    fn seal(&mut self, packet: &[u8], out: &mut [u8], now: Time) -> Sealed;

    /// Authenticates and decrypts one message into `out`, which is at least as long as the message.
    fn open(&mut self, from: IpAddr, datagram: &[u8], out: &mut [u8], now: Time) -> Opened;

    /// Writes an initiation, even if one is under way. `None` if it cannot be made.
    fn initiate(&mut self, out: &mut [u8], now: Time) -> Option<usize>;

    /// Runs the timers; writes a message to send, if one is due.
    fn handle_timeout(&mut self, out: &mut [u8], now: Time) -> Option<usize>;

    /// When to call [`handle_timeout`](Self::handle_timeout). Asked when the tunnel is made and after each call of that;
    /// what happens in between does not make it earlier.
    fn poll_timeout(&self) -> Option<Time>;

    /// Whether packets can be sent at once.
    fn is_up(&self) -> bool;

    /// Age of the current session.
    fn session_age(&self, now: Time) -> Option<std::time::Duration>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_messages_are_classified() {
        let message = |kind: u8, len: usize| {
            let mut bytes = vec![0; len];
            bytes[0] = kind;
            bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
            bytes[8..12].copy_from_slice(&[5, 6, 7, 8]);
            Message::classify(&bytes)
        };
        assert_eq!(message(1, 148), Some(Message::Initiation));
        assert_eq!(message(2, 92), Some(Message::ForIndex(0x0807_0605)));
        assert_eq!(message(3, 64), Some(Message::ForIndex(0x0403_0201)));
        assert_eq!(message(4, 32), Some(Message::ForIndex(0x0403_0201)));
        for (kind, len) in [(0, 148), (1, 147), (1, 149), (2, 93), (3, 63), (4, 31), (5, 148)] {
            assert_eq!(message(kind, len), None, "type {kind}, {len} bytes");
        }
        assert_eq!(Message::classify(&[]), None);
        assert_eq!(Message::classify(&[4, 0, 0, 1]), None);
    }
}
