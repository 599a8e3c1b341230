//! What a BGP peer may send: any message, and any bytes in a session that is up.

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::codec::Reader;
use molt_mesh::{Prefix, Time};
use molt_routing::bgp::message::{Capabilities, GracefulRestart, Message, Open, keepalive, split};
use molt_routing::bgp::policy::{Policy, Rule};
use molt_routing::bgp::update::{Update, announce, withdraw};
use molt_routing::bgp::{Bgp, Config, Output, PeerConfig, Side};

const OURS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd12, 0, 0, 0, 0, 0, 0, 1);
const PEER_AS: u32 = 4_200_000_002;
/// Prefixes the peer may announce.
const MAX_PREFIXES: u32 = 50;

/// One message (RFC 4271 section 4): what is read and written again says the same.
pub fn bgp_message(data: &[u8]) {
    let Ok(Some((message, length))) = split(data) else { return };
    assert!(length <= data.len(), "{length} bytes of {}", data.len());
    match message {
        Message::Open(open) => {
            let again = split(&open.encode());
            assert_eq!(again, Ok(Some((Message::Open(open.clone()), open.encode().len()))));
        }
        Message::Notification(notification) => {
            let again = split(&notification.encode());
            black_box(notification.to_string());
            assert!(matches!(again, Ok(Some((Message::Notification(it), _))) if it == notification));
        }
        Message::Update(body) => read_update(&body),
        Message::Keepalive | Message::RouteRefresh { .. } => {}
    }
}

fn read_update(body: &[u8]) {
    let Ok(update) = Update::decode(body) else { return };
    for message in withdraw(&update.withdrawn) {
        let Ok(Some((Message::Update(body), _))) = split(&message) else { panic!("it is an UPDATE") };
        let read = Update::decode(&body).expect("our own message");
        assert!(read.withdrawn.iter().all(|prefix| update.withdrawn.contains(prefix)));
    }
    let Some((path, prefixes)) = update.announced else { return };
    let mut read: Vec<Prefix> = Vec::new();
    let messages = announce(&path, &prefixes);
    for message in &messages {
        let Ok(Some((Message::Update(body), _))) = split(message) else { panic!("it is an UPDATE") };
        let update = Update::decode(&body).expect("our own message");
        assert_eq!(update.errors, []);
        if let Some((again, some)) = update.announced {
            assert_eq!(again, path);
            read.extend(some);
        }
    }
    assert!(messages.is_empty() || read == prefixes, "{prefixes:?} became {read:?}");
}

/// Bytes in a session that is up, in pieces, with time passing and connections that come and go between them: the first
/// byte of each piece says what, and its length.
pub fn bgp_peer(data: &[u8]) {
    let mut rig = Rig::new();
    let mut r = Reader::new(data);
    while let Ok(what) = r.u8() {
        match what >> 5 {
            0 => rig.wait(Duration::from_secs(u64::from(what & 0x1f) * 10)),
            1 => rig.bgp.handle_closed(PEER, side(what), rig.now),
            2 => drop(rig.bgp.handle_connected(PEER, side(what), rig.now)),
            3 => rig.greet(side(what)),
            // A header is too much to ask of a fuzzer that knows nothing of BGP.
            4 | 5 => {
                let length = r.u8().map_or(0, usize::from).min(r.left());
                let body = r.bytes(length).unwrap_or_default();
                let mut message = vec![0xff; 16];
                message.extend((19 + body.len() as u16).to_be_bytes());
                message.push(1 + what % 5);
                message.extend(body);
                rig.bgp.handle_bytes(PEER, side(what >> 3), &message, rig.now);
            }
            _ => {
                let bytes = r.bytes(usize::from(what & 0x1f).min(r.left())).unwrap_or_default();
                rig.bgp.handle_bytes(PEER, Side::Dialled, bytes, rig.now);
            }
        }
        rig.drain();
    }
}

const fn side(what: u8) -> Side {
    if what & 1 == 0 { Side::Dialled } else { Side::Accepted }
}

struct Rig {
    bgp: Bgp,
    now: Time,
}

impl Rig {
    /// A speaker whose peer has said OPEN and KEEPALIVE.
    fn new() -> Self {
        let bgp = Bgp::new(Config {
            asn: 4_200_000_001,
            identifier: 1,
            address: OURS,
            announce: vec![Prefix::new(OURS, 48)],
            own: Prefix::new(OURS, 48),
            seed: 1,
        });
        let mut rig = Self { bgp, now: Time::from_millis(1) };
        let policy = Policy(vec![Rule::ACCEPT]);
        let peer = PeerConfig {
            address: PEER,
            asn: PEER_AS,
            bfd: true,
            import: policy.clone(),
            export: policy,
            max_prefixes: MAX_PREFIXES,
        };
        rig.bgp.set_peers(vec![peer], rig.now);
        rig.wait(Duration::ZERO);
        assert!(rig.bgp.handle_connected(PEER, Side::Dialled, rig.now), "it dials at once");
        rig.greet(Side::Dialled);
        rig.drain();
        rig
    }

    fn greet(&mut self, side: Side) {
        let restart =
            GracefulRestart { restarted: false, time: Duration::from_secs(60), ipv6_unicast: Some(true) };
        let capabilities = Capabilities {
            ipv6_unicast: true,
            four_octet_as: true,
            route_refresh: true,
            extended_message: true,
            graceful_restart: Some(restart),
        };
        let open = Open { asn: PEER_AS, hold_time: Duration::from_secs(90), identifier: 2, capabilities };
        self.bgp.handle_bytes(PEER, side, &open.encode(), self.now);
        self.bgp.handle_bytes(PEER, side, &keepalive(), self.now);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, why)) = self.bgp.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.bgp.handle_timeout(self.now);
            let next = self.bgp.poll_timeout();
            assert!(next.is_none_or(|(at, _)| at > self.now), "{why}: {next:?} is still due at {}", self.now);
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.bgp.poll_output() {
            match output {
                Output::NextHopsChanged => self.bgp.update_next_hops(|_| Some(1)),
                Output::Send { bytes, .. } => {
                    let read = split(&bytes).expect("our own message");
                    assert!(matches!(read, Some((_, length)) if length == bytes.len()), "{bytes:02x?}");
                }
                _ => {}
            }
        }
        let received = self.bgp.peer_views(self.now).iter().map(|peer| peer.received_prefixes).sum::<usize>();
        assert!(received <= MAX_PREFIXES as usize, "{received} prefixes");
        assert!(self.bgp.routes().all(|route| !Prefix::new(OURS, 48).covers(&route.prefix)));
        black_box(self.bgp.route_views(self.now));
    }
}
