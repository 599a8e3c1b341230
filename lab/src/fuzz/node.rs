//! A node under fire: garbage from the underlay and from the host, and anything at all from a neighbour that holds a key.
//!
//! ```text
//! mischief ── node ── friend
//! ```

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use meshd::config;
use meshd::control::{Control, ControlConfig, PeerConfig};
use meshd::node::Node;
use molt_mesh::codec::Reader;
use molt_mesh::fib::FibBuilder;
use molt_mesh::ip6::{ALL_SPF_ROUTERS, Header, Packet};
use molt_mesh::port::{
    BFD_SINGLE_HOP, NEXT_HEADER_ICMPV6, NEXT_HEADER_OSPF, NEXT_HEADER_TCP, NEXT_HEADER_UDP,
};
use molt_mesh::sign::Strict;
use molt_mesh::{Identity, LinkId, Prefix, Time, checksum};
use molt_tun::engine::wireguard::{WireGuard, WireGuardEngine};
use molt_tun::engine::{Engine as _, Message, Opened, Sealed, Tunnel as _};
use molt_tun::{Command, Core as _, Dataplane, MAX_DATAGRAM, NodeConfig, Output};

use super::MESH;

/// Most operations in one input.
const OPERATIONS: usize = 100;

static NODE: LazyLock<Identity> = LazyLock::new(|| super::identity(1));
static MISCHIEF: LazyLock<Identity> = LazyLock::new(|| super::identity(2));
static FRIEND: LazyLock<Identity> = LazyLock::new(|| super::identity(3));

/// The input is a list of operations. Whatever it does, nothing is sent to anybody who has not proven a key, the host gets
/// packets for its own address only, time goes on, and afterwards packets to and from the friend pass.
pub fn node_datagrams(data: &[u8]) {
    let mut rig = Rig::new();
    let mut r = Reader::new(data);
    for _ in 0..OPERATIONS {
        if operation(&mut rig, &mut r).is_none() {
            break;
        }
    }
    rig.the_friend_is_reached();
}

/// One operation: a kind, then what it needs. `None` at the end of the input.
fn operation(rig: &mut Rig, r: &mut Reader<'_>) -> Option<()> {
    match r.u8().ok()? % 8 {
        0 => {
            let from = [mischief_at(), friend_at(), stranger_at()][usize::from(r.u8().ok()?) % 3];
            let mut datagram = bytes(r)?;
            rig.with(|node, now, out| node.handle_datagram(from, &mut datagram, now, out));
        }
        1 => {
            let packet = bytes(r)?;
            rig.mischief_sends(&packet);
        }
        2 | 3 => {
            let packet = packet(r)?;
            rig.mischief_sends(&packet);
        }
        4 => {
            let packet = rig.bfd_packet(r.u8().ok()?, r.array().ok()?);
            rig.mischief_sends(&packet);
        }
        5 => {
            let pause = Duration::from_millis(u64::from(r.u16().ok()?) % 5_000 + 1);
            rig.run_for(pause);
        }
        6 => {
            let mut packet = bytes(r)?;
            rig.with(|node, now, out| node.handle_packet(&mut packet, now, out));
        }
        _ => {
            let mut packet = packet(r)?;
            rig.with(|node, now, out| node.handle_packet(&mut packet, now, out));
        }
    }
    Some(())
}

/// A length and so many bytes, or what is left.
fn bytes(r: &mut Reader<'_>) -> Option<Vec<u8>> {
    let len = usize::from(r.u16().ok()?) % MAX_DATAGRAM;
    r.bytes(len.min(r.left())).ok().map(<[u8]>::to_vec)
}

/// A packet with a right header and a right checksum.
fn packet(r: &mut Reader<'_>) -> Option<Vec<u8>> {
    let [src, dst, next_header, hop_limit] = r.array().ok()?;
    let (src, dst) = (address(src), address(dst));
    let mut payload = bytes(r)?;
    let (next_header, at) = match next_header {
        0..64 => (NEXT_HEADER_OSPF, 12),
        64..128 => (NEXT_HEADER_UDP, 6),
        128..192 => (NEXT_HEADER_ICMPV6, 2),
        192..220 => (NEXT_HEADER_TCP, 16),
        other => (other, usize::MAX),
    };
    if let Some(field) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *field = [0; 2];
        let sum = checksum::upper_layer(src, dst, next_header, &payload).to_be_bytes();
        payload[at..at + 2].copy_from_slice(&sum);
    }
    Some(Header { src, dst, hop_limit, traffic_class: 0 }.packet(next_header, &payload))
}

fn address(number: u8) -> Ipv6Addr {
    match number % 12 {
        0 | 1 => MISCHIEF.link_local(),
        2 | 3 => NODE.link_local(),
        4 => ALL_SPF_ROUTERS,
        5 | 6 => NODE.address(MESH).ip(),
        7 => MISCHIEF.address(MESH).ip(),
        8 => FRIEND.address(MESH).ip(),
        9 => FRIEND.link_local(),
        10 => super::identity(9).address(MESH).ip(),
        _ => Ipv6Addr::UNSPECIFIED,
    }
}

fn mischief_at() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51820))
}

fn friend_at() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 51820))
}

fn stranger_at() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], 666))
}

/// The node, with a tunnel to each neighbour.
struct Rig {
    node: Node<WireGuardEngine>,
    now: Time,
    out: Output,
    mischief: WireGuard,
    friend: WireGuard,
    /// What the node sent, and what its host got, during the last operation.
    sent: Vec<(SocketAddr, Vec<u8>)>,
    delivered: Vec<Vec<u8>>,
}

impl Rig {
    fn new() -> Self {
        let now = Time::from_millis(1000);
        let addresses = vec![NODE.address(MESH).ip()];
        let link_local = NODE.link_local();
        let config = NodeConfig { mesh: MESH, addresses: addresses.clone(), link_local, seed: 1 };
        let control = ControlConfig {
            mesh: MESH,
            identity: NODE.clone(),
            draw: 0,
            unix_ms: 1_800_000_000_000,
            verifier: Arc::new(Strict),
            rights: Vec::new(),
            addresses,
            link_local,
            name: Some("node".into()),
            ospf: config::Ospf::default(),
            bfd: config::Bfd::default().session(),
            external: Vec::new(),
            delegations: Vec::new(),
            bgp: None,
            seed: 2,
            handover: None,
        };
        let mut rig = Self {
            node: Node::new(Dataplane::new(WireGuardEngine::new(&NODE), config), Control::new(control, now)),
            now,
            out: Output::new(false),
            mischief: WireGuardEngine::new(&MISCHIEF).tunnel(NODE.node_public(), None, 1),
            friend: WireGuardEngine::new(&FRIEND).tunnel(NODE.node_public(), None, 1),
            sent: Vec::new(),
            delivered: Vec::new(),
        };
        let peer = |identity: &Identity| PeerConfig {
            key: *identity.node_public(),
            preshared: None,
            endpoint: None,
            cost: None,
            stock: None,
            border: None,
        };
        rig.with(|node, now, out| {
            node.control.set_peers(vec![peer(&MISCHIEF), peer(&FRIEND)], now);
            node.exchange(now, out);
        });
        rig.shake_hands(mischief_at(), |rig| &mut rig.mischief);
        rig.shake_hands(friend_at(), |rig| &mut rig.friend);
        rig.give_routes();
        rig
    }

    fn shake_hands(&mut self, from: SocketAddr, tunnel: impl Fn(&mut Self) -> &mut WireGuard) {
        let mut room = vec![0; MAX_DATAGRAM];
        let now = self.now;
        let len = tunnel(self).initiate(&mut room, now).expect("an initiation can be made");
        self.with(|node, now, out| node.handle_datagram(from, &mut room[..len], now, out));
        let (_, answer) = self.sent.pop().expect("a peer is answered");
        let opened = tunnel(self).open(from.ip(), &answer, &mut room, now);
        let Opened::Established(len) = opened else { panic!("{opened:?}") };
        self.with(|node, now, out| node.handle_datagram(from, &mut room[..len], now, out));
    }

    /// Packets are forwarded between both neighbours, as if the adjacencies were Full.
    fn give_routes(&mut self) {
        let mut fib = FibBuilder::default();
        fib.local(Prefix::host(NODE.address(MESH).ip()));
        for (number, identity) in [(1, &*MISCHIEF), (2, &*FRIEND)] {
            let link = LinkId::new(number).expect("it is not zero");
            fib.via(Prefix::host(identity.address(MESH).ip()), &[link]);
            self.command(Command::Forwarding(link, true));
        }
        self.command(Command::Fib(Arc::new(fib.build())));
    }

    fn command(&mut self, command: Command) {
        self.with(|node, now, out| node.data.handle_command(command, now, out));
    }

    /// A BFD packet for the session with the mischief, which knows our discriminator, if it wants to.
    fn bfd_packet(&self, knows: u8, mut control: [u8; molt_bfd::packet::LEN]) -> Vec<u8> {
        let session = self.node.data.snapshot(self.now).bfd.into_iter().next();
        if let Some(session) = session.filter(|_| knows & 1 == 0) {
            control[8..12].copy_from_slice(&session.discriminator.to_be_bytes());
        }
        let (src, dst) = (MISCHIEF.link_local(), NODE.link_local());
        Header { src, dst, hop_limit: 255, traffic_class: 0 }.udp(50_000, BFD_SINGLE_HOP, &control)
    }

    fn mischief_sends(&mut self, packet: &[u8]) {
        let mut room = vec![0; MAX_DATAGRAM + 64];
        if let Sealed::Data(len) = self.mischief.seal(packet, &mut room, self.now) {
            self.with(|node, now, out| node.handle_datagram(mischief_at(), &mut room[..len], now, out));
        }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.with(Node::handle_timeout);
            let next = self.node.poll_timeout();
            assert!(next.is_none_or(|(at, _)| at > self.now), "{next:?} is still due at {}", self.now);
        }
        self.now = end;
    }

    /// Lets the node do something, and looks at what comes of it.
    fn with(&mut self, act: impl FnOnce(&mut Node<WireGuardEngine>, Time, &mut Output)) {
        self.sent.clear();
        self.delivered.clear();
        act(&mut self.node, self.now, &mut self.out);
        for transmit in self.out.udp.transmits() {
            assert!([mischief_at(), friend_at()].contains(&transmit.to), "{} was answered", transmit.to);
            for datagram in transmit.datagrams() {
                assert!(Message::classify(datagram).is_some(), "{datagram:02x?}");
                self.sent.push((transmit.to, datagram.to_vec()));
            }
        }
        for bytes in self.out.tun.packets() {
            let packet = Packet::new(bytes).expect("what the host gets is IPv6");
            assert_eq!((packet.dst(), packet.len()), (NODE.address(MESH).ip(), bytes.len()));
            assert!(MESH.address(packet.src()).is_some(), "{} is outside the mesh", packet.src());
            self.delivered.push(bytes.to_vec());
        }
        self.out.clear();
        while self.node.poll_notice().is_some() {}
    }

    fn the_friend_is_reached(&mut self) {
        self.give_routes();
        let (node, friend) = (NODE.address(MESH).ip(), FRIEND.address(MESH).ip());
        let header = Header { src: friend, dst: node, hop_limit: 64, traffic_class: 0 };
        let packet = header.udp(7, 7, b"hello");
        let mut room = vec![0; MAX_DATAGRAM];
        let sealed = self.friend.seal(&packet, &mut room, self.now);
        let Sealed::Data(len) = sealed else { panic!("{sealed:?}") };
        self.with(|node, now, out| node.handle_datagram(friend_at(), &mut room[..len], now, out));
        assert_eq!(self.delivered, [packet]);
        let mut packet = Header { src: node, dst: friend, ..header }.udp(7, 7, b"hello yourself");
        let expected = packet.clone();
        self.with(|node, now, out| node.handle_packet(&mut packet, now, out));
        let (to, datagram) = self.sent.pop().expect("the packet is sent");
        assert_eq!(to, friend_at());
        let opened = self.friend.open(friend_at().ip(), &datagram, &mut room, self.now);
        let Opened::Packet(len) = opened else { panic!("{opened:?}") };
        assert!(room[..len].starts_with(&expected));
    }
}
