//! Nodes in a box: packet cores with real WireGuard engines, joined by a list of datagrams in flight. The routing
//! table is given; BFD runs; time is virtual (except inside boringtun, whose handshakes take no time here).
//!
//! ```text
//! a ── b ── c        a, b, c: 192.0.2.1 to .3
//! ```

mod outside;

use std::collections::VecDeque;

use molt_mesh::fib::FibBuilder;
use molt_mesh::ip6::{IcmpError, Packet, icmp};
use molt_mesh::port::NEXT_HEADER_ICMPV6;
use molt_mesh::{Identity, Prefix, Seed};

use super::*;
use crate::engine::wireguard::WireGuardEngine;

const TICK: Duration = Duration::from_millis(10);

fn identity(node: usize) -> Identity {
    Seed::from_bytes([u8::try_from(node).unwrap() + 1; 32]).identity()
}

fn mesh(node: usize) -> Ipv6Addr {
    identity(node).address(MeshPrefix::DEFAULT).ip()
}

fn underlay(node: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(node).unwrap() + 1], 51820))
}

/// The link of `node` that leads to `to`.
fn link_to(to: usize) -> LinkId {
    LinkId::new(u32::try_from(to).unwrap() + 1).unwrap()
}

struct Rig {
    nodes: Vec<Dataplane<WireGuardEngine>>,
    now: Time,
    in_flight: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Per node: packets for its host.
    delivered: Vec<Vec<Vec<u8>>>,
    events: Vec<Vec<Event>>,
    /// Pairs that hear nothing of each other.
    cut: Vec<(usize, usize)>,
    out: Output,
}

impl Rig {
    /// `count` nodes with a link for each pair in `links`; the first of a pair knows where the second is. All
    /// adjacencies are Full.
    fn new(count: usize, links: &[(usize, usize)]) -> Self {
        let node = |node: usize| {
            let config = NodeConfig {
                mesh: MeshPrefix::DEFAULT,
                addresses: vec![mesh(node)],
                link_local: identity(node).link_local(),
                seed: node as u64,
            };
            Dataplane::new(WireGuardEngine::new(&identity(node)), config)
        };
        let mut rig = Self {
            nodes: (0..count).map(node).collect(),
            now: Time::from_millis(1000),
            in_flight: VecDeque::new(),
            delivered: vec![Vec::new(); count],
            events: (0..count).map(|_| Vec::new()).collect(),
            cut: Vec::new(),
            out: Output::new(false),
        };
        for node in 0..count {
            let mut fib = FibBuilder::default();
            fib.local(Prefix::host(mesh(node)));
            rig.command(node, Command::Fib(Arc::new(fib.build())));
        }
        for (from, to) in links {
            rig.add_link(*to, *from, None);
            rig.add_link(*from, *to, Some(underlay(*to)));
        }
        rig.settle();
        rig
    }

    fn add_link(&mut self, node: usize, to: usize, endpoint: Option<SocketAddr>) {
        let remote = *identity(to).node_public();
        self.command(
            node,
            Command::AddLink(LinkConfig {
                link: link_to(to),
                remote,
                preshared: None,
                endpoint,
                foreign: false,
            }),
        );
        self.command(node, Command::Forwarding(link_to(to), true));
    }

    /// Gives `node` its routes: for each destination the neighbours to send to.
    fn route(&mut self, node: usize, routes: &[(usize, &[usize])]) {
        let mut fib = FibBuilder::default();
        fib.local(Prefix::host(mesh(node)));
        for (dst, via) in routes {
            fib.via(Prefix::host(mesh(*dst)), &via.iter().map(|to| link_to(*to)).collect::<Vec<_>>());
        }
        self.command(node, Command::Fib(Arc::new(fib.build())));
    }

    fn command(&mut self, node: usize, command: Command) {
        self.nodes[node].handle_command(command, self.now, &mut self.out);
        self.collect(node);
    }

    fn host_sends(&mut self, node: usize, packet: &[u8]) {
        self.nodes[node].handle_packet(&mut packet.to_vec(), self.now, &mut self.out);
        self.collect(node);
        self.settle();
    }

    fn inject(&mut self, node: usize, from: SocketAddr, datagram: &[u8]) {
        self.nodes[node].handle_datagram(from, &mut datagram.to_vec(), self.now, &mut self.out);
        self.collect(node);
    }

    fn collect(&mut self, node: usize) {
        for transmit in self.out.udp.transmits() {
            for datagram in transmit.datagrams() {
                self.in_flight.push_back((underlay(node), transmit.to, datagram.to_vec()));
            }
        }
        self.delivered[node].extend(self.out.tun.packets().map(<[u8]>::to_vec));
        self.out.clear();
        while let Some(event) = self.nodes[node].poll_event() {
            self.events[node].push(event);
        }
    }

    /// Delivers until nothing is in flight.
    fn settle(&mut self) {
        while let Some((from, to, datagram)) = self.in_flight.pop_front() {
            let number = |addr: SocketAddr| (0..self.nodes.len()).find(|node| underlay(*node) == addr);
            let (sender, Some(receiver)) = (number(from), number(to)) else { continue };
            let is_cut = |(a, b): &(usize, usize)| {
                (sender, receiver) == (Some(*a), *b) || (sender, receiver) == (Some(*b), *a)
            };
            if !self.cut.iter().any(is_cut) {
                self.inject(receiver, from, &datagram);
            }
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += TICK;
            for node in 0..self.nodes.len() {
                if self.nodes[node].poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                    self.nodes[node].handle_timeout(self.now, &mut self.out);
                    self.collect(node);
                }
            }
            self.settle();
        }
    }

    fn start_bfd(&mut self, a: usize, b: usize) {
        for (node, to) in [(a, b), (b, a)] {
            let remote = identity(to).link_local();
            let session = Some(bfd::Config::default());
            self.command(node, Command::Bfd { link: link_to(to), remote, session });
        }
    }

    fn discards(&self, node: usize) -> Vec<(Discard, u64)> {
        self.nodes[node].counters().iter().filter(|(_, count)| *count != 0).collect()
    }

    fn bfd_changes(&self, node: usize) -> Vec<BfdChange> {
        let change = |event: &Event| match event {
            Event::Bfd { change, .. } => Some(*change),
            _ => None,
        };
        self.events[node].iter().filter_map(change).collect()
    }

    /// The packet that `node`'s tunnel makes of `packet`, whether it may be forwarded or not.
    fn seal(&mut self, node: usize, to: usize, packet: &[u8]) -> Vec<u8> {
        self.command(node, Command::Transmit { link: link_to(to), packet: packet.to_vec() });
        self.in_flight.pop_back().expect("the tunnel is up").2
    }
}

fn line() -> Rig {
    let mut rig = Rig::new(3, &[(0, 1), (1, 2)]);
    rig.route(0, &[(1, &[1]), (2, &[1])]);
    rig.route(1, &[(0, &[0]), (2, &[2])]);
    rig.route(2, &[(0, &[1]), (1, &[1])]);
    rig
}

fn datagram(src: usize, dst: usize, hop_limit: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    Header { src: mesh(src), dst: mesh(dst), hop_limit, traffic_class: 0 }.udp(port, 9, payload)
}

/// Type, code and source of the ICMPv6 error that a host got.
fn icmp_error(packet: &[u8]) -> (u8, u8, Ipv6Addr) {
    let packet = Packet::new(packet).unwrap();
    assert_eq!(packet.next_header(), NEXT_HEADER_ICMPV6);
    assert!(packet.upper_layer_checksum_is_valid());
    (packet.payload()[0], packet.payload()[1], packet.src())
}

#[test]
fn a_packet_crosses_a_transit_node_and_loses_one_hop() {
    let mut rig = line();
    rig.host_sends(0, &datagram(0, 2, 64, 7, b"hello"));
    assert_eq!(rig.delivered[2], [datagram(0, 2, 63, 7, b"hello")]);
    assert_eq!((rig.delivered[0].len(), rig.delivered[1].len()), (0, 0));
    assert!((0..3).all(|node| rig.discards(node).is_empty()));
    assert_eq!(rig.nodes[1].snapshot(rig.now).transit_packets, 1);
}

#[test]
fn a_node_waits_for_a_peer_whose_endpoint_it_does_not_know() {
    let rig = Rig::new(2, &[(0, 1)]);
    for node in 0..2 {
        let established =
            rig.events[node].iter().filter(|event| matches!(event, Event::Established(_))).count();
        assert_eq!(established, 1, "node {node}");
        assert!(rig.nodes[node].snapshot(rig.now).links[0].up);
    }
    assert_eq!(rig.nodes[1].snapshot(rig.now).links[0].endpoint, Some(underlay(0)));
}

#[test]
fn a_hop_limit_that_runs_out_is_answered_by_the_router_where_it_does() {
    let mut rig = line();
    rig.host_sends(0, &datagram(0, 2, 1, 7, b"hello"));
    assert_eq!(icmp_error(&rig.delivered[0][0]), (icmp::TIME_EXCEEDED, 0, mesh(1)));
    assert_eq!(rig.discards(1), [(Discard::HopLimit, 1)]);
    assert!(rig.delivered[2].is_empty());
    let quoted = &Packet::new(&rig.delivered[0][0]).unwrap().payload()[8..];
    assert_eq!(quoted, datagram(0, 2, 1, 7, b"hello"));
}

#[test]
fn what_does_not_fit_is_answered_with_the_mtu() {
    let mut rig = line();
    rig.host_sends(0, &datagram(0, 2, 64, 7, &[0; 1300]));
    assert_eq!(icmp_error(&rig.delivered[0][0]), (icmp::PACKET_TOO_BIG, 0, mesh(0)));
    assert_eq!(Packet::new(&rig.delivered[0][0]).unwrap().payload()[4..8], 1280u32.to_be_bytes());
    // The same from a tunnel: a stock router with a larger MTU.
    let large = rig.seal(0, 1, &datagram(0, 2, 64, 7, &[0; 1300]));
    rig.inject(1, underlay(0), &large);
    rig.settle();
    assert_eq!(icmp_error(&rig.delivered[0][1]), (icmp::PACKET_TOO_BIG, 0, mesh(1)));
    assert_eq!(rig.discards(1), [(Discard::TooBig, 1)]);
}

#[test]
fn no_route_is_said_so() {
    let mut rig = line();
    rig.route(0, &[(1, &[1])]);
    rig.host_sends(0, &datagram(0, 2, 64, 7, b""));
    assert_eq!(icmp_error(&rig.delivered[0][0]), (icmp::DESTINATION_UNREACHABLE, icmp::NO_ROUTE, mesh(0)));
    rig.route(0, &[(1, &[1]), (2, &[1])]);
    rig.route(1, &[(0, &[0])]);
    rig.host_sends(0, &datagram(0, 2, 64, 7, b""));
    assert_eq!(icmp_error(&rig.delivered[0][1]), (icmp::DESTINATION_UNREACHABLE, icmp::NO_ROUTE, mesh(1)));
}

#[test]
fn two_nodes_that_point_at_each_other_do_not_bounce_packets() {
    let mut rig = line();
    rig.route(1, &[(0, &[0]), (2, &[0])]);
    rig.host_sends(0, &datagram(0, 2, 64, 7, b""));
    assert_eq!(rig.discards(1), [(Discard::BackToSender, 1)]);
    assert!(rig.delivered.iter().all(Vec::is_empty));
}

#[test]
fn a_loop_of_three_ends_with_the_hop_limit_and_is_not_amplified() {
    let mut rig = Rig::new(4, &[(0, 1), (1, 2), (2, 0)]);
    rig.route(0, &[(1, &[1]), (2, &[2]), (3, &[1])]);
    rig.route(1, &[(0, &[0]), (2, &[2]), (3, &[2])]);
    rig.route(2, &[(0, &[0]), (1, &[1]), (3, &[0])]);
    rig.host_sends(0, &datagram(0, 3, 64, 7, b""));
    let transit: u64 = (0..3).map(|node| rig.nodes[node].snapshot(rig.now).transit_packets).sum();
    // The packet comes back to its source, whose address then is a reason to discard it.
    assert_eq!(transit, 2);
    assert_eq!(rig.discards(0), [(Discard::SourceIsOurs, 1)]);
}

#[test]
fn a_source_that_cannot_be_right_is_discarded() {
    let mut rig = line();
    let forged = |src: Ipv6Addr| Header { src, dst: mesh(1), hop_limit: 64, traffic_class: 0 }.udp(1, 2, b"");
    for (src, discard) in [
        (mesh(1), Discard::SourceIsOurs),
        ("2001:db8::1".parse().unwrap(), Discard::SourceNotMesh),
        (mesh(9), Discard::SourceUnroutable),
    ] {
        let sealed = rig.seal(0, 1, &forged(src));
        rig.inject(1, underlay(0), &sealed);
        assert_eq!(rig.nodes[1].counters().of(discard), 1, "{discard:?}");
    }
    rig.host_sends(0, &datagram(2, 1, 64, 7, b""));
    assert_eq!(rig.discards(0), [(Discard::SourceNotOurs, 1)]);
    assert!(rig.delivered[1].is_empty());
}

#[test]
fn nothing_is_forwarded_for_a_neighbour_that_is_not_full() {
    let mut rig = line();
    rig.command(1, Command::Forwarding(link_to(0), false));
    rig.host_sends(0, &datagram(0, 2, 64, 7, b""));
    rig.host_sends(2, &datagram(2, 0, 64, 7, b""));
    assert_eq!(rig.discards(1), [(Discard::NotAdjacent, 1), (Discard::NextHopDown, 1)]);
    assert!(rig.delivered[2].iter().all(|packet| icmp_error(packet).0 == icmp::DESTINATION_UNREACHABLE));
}

#[test]
fn a_neighbour_that_moves_is_followed_and_a_replay_is_not() {
    let mut rig = line();
    let sealed = rig.seal(0, 1, &datagram(0, 1, 64, 7, b"moved"));
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 4242));
    rig.inject(1, elsewhere, &sealed);
    assert_eq!(rig.delivered[1].len(), 1);
    assert_eq!(rig.nodes[1].snapshot(rig.now).links[0].endpoint, Some(elsewhere));
    assert!(
        matches!(rig.events[1].last(), Some(Event::Roamed(link, to)) if *link == link_to(0) && *to == elsewhere)
    );
    let thief = SocketAddr::from(([203, 0, 113, 9], 666));
    rig.inject(1, thief, &sealed);
    assert_eq!(rig.discards(1), [(Discard::NotAuthentic, 1)]);
    assert_eq!(rig.nodes[1].snapshot(rig.now).links[0].endpoint, Some(elsewhere));
}

#[test]
fn a_tunnel_inside_the_mesh_is_refused() {
    let mut rig = line();
    let sealed = rig.seal(0, 1, &datagram(0, 1, 64, 7, b""));
    rig.inject(1, SocketAddr::from((mesh(2), 51820)), &sealed);
    assert_eq!(rig.discards(1), [(Discard::UnderlayInsideMesh, 1)]);
}

fn initiation_from(stranger: usize, to: usize) -> Vec<u8> {
    let mut engine = WireGuardEngine::new(&identity(stranger));
    let mut tunnel = engine.tunnel(identity(to).node_public(), None, 7);
    let mut room = vec![0; 2048];
    let len = tunnel.initiate(&mut room, Time::ZERO).unwrap();
    room.truncate(len);
    room
}

#[test]
fn a_stranger_gets_no_answer() {
    let mut rig = line();
    let from = SocketAddr::from(([203, 0, 113, 9], 666));
    rig.inject(1, from, &initiation_from(9, 1));
    assert_eq!(rig.discards(1), [(Discard::UnknownPeer, 1)]);
    // To somebody else's key: MAC1 does not fit.
    rig.inject(1, from, &initiation_from(9, 2));
    assert_eq!(rig.nodes[1].counters().of(Discard::BadMac), 1);
    assert!(rig.in_flight.is_empty());
}

#[test]
fn a_flood_of_handshakes_is_limited_by_source_and_does_not_demand_cookies_of_peers() {
    let mut rig = line();
    for source in 0..100u8 {
        for _ in 0..30 {
            rig.inject(1, SocketAddr::from(([203, 0, 113, source], 666)), &initiation_from(9, 1));
        }
    }
    let counters = rig.nodes[1].counters();
    // 20 at once from each of 100 sources; of those, 100 may cost a Diffie-Hellman, the others get a cookie.
    assert_eq!(counters.of(Discard::HandshakeRate), 100 * 10);
    let cost_us = counters.of(Discard::UnknownPeer);
    // The two handshakes that brought the tunnels up count in the same second.
    assert_eq!(cost_us, 98);
    assert_eq!(counters.of(Discard::CookieDemanded), 100 * 20 - cost_us);
    rig.in_flight.clear();
    // The established peer rekeys undisturbed.
    rig.inject(1, underlay(0), &initiation_from(0, 1));
    let answers: Vec<_> = rig.in_flight.iter().map(|(_, to, message)| (*to, message[0])).collect();
    assert_eq!(answers, [(underlay(0), 2)]);
}

#[test]
fn garbage_is_counted_and_disturbs_nothing() {
    let mut rig = line();
    let mut rng = fastrand::Rng::with_seed(5);
    let good = rig.seal(0, 1, &datagram(0, 1, 64, 7, b"good"));
    let handshake = initiation_from(0, 1);
    let mut sent = 0;
    for round in 0..3000 {
        let mut bytes = match round % 3 {
            0 => good.clone(),
            1 => handshake.clone(),
            _ => (0..rng.usize(..200)).map(|_| rng.u8(..)).collect(),
        };
        match rng.u8(..3) {
            0 => bytes.truncate(rng.usize(..bytes.len() + 1).saturating_sub(1)),
            1 => bytes.extend((0..rng.usize(1..2000)).map(|_| 0)),
            _ => {
                // Not the last 16 bytes: nobody checks the second MAC of a handshake unless under load.
                if bytes.len() > 16 {
                    let at = rng.usize(..bytes.len() - 16);
                    bytes[at] ^= 1 << rng.u8(..8);
                }
            }
        }
        rig.now += Duration::from_millis(1);
        rig.inject(1, underlay(0), &bytes);
        sent += 1;
    }
    assert_eq!(rig.nodes[1].counters().total(), sent);
    rig.in_flight.clear();
    rig.inject(1, underlay(0), &good);
    assert_eq!(rig.delivered[1], [datagram(0, 1, 64, 7, b"good")]);
}

#[test]
fn malformed_packets_of_a_peer_are_counted_one_by_one() {
    let mut rig = line();
    let mut rng = fastrand::Rng::with_seed(6);
    let link_local = identity(0).link_local();
    let header = Header { src: link_local, dst: identity(1).link_local(), hop_limit: 255, traffic_class: 0 };
    let templates = [
        datagram(0, 2, 64, 7, b"payload"),
        header.udp(50000, BFD_SINGLE_HOP, &[0x20, 0x40, 3, 24]),
        header.icmp(icmp::ECHO_REQUEST, 0, 1, b"x"),
        header.packet(89, &[3, 1, 0, 36]),
        IcmpError::TimeExceeded.about(&datagram(0, 1, 64, 7, b""), mesh(0)).unwrap(),
    ];
    for round in 0..3000 {
        let mut bytes = templates[round % templates.len()].clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let sealed = rig.seal(0, 1, &bytes);
        rig.now += Duration::from_millis(1);
        rig.inject(1, underlay(0), &sealed);
    }
    rig.in_flight.clear();
    rig.delivered.iter_mut().for_each(Vec::clear);
    rig.host_sends(0, &datagram(0, 2, 64, 7, b"still works"));
    assert_eq!(rig.delivered[2], [datagram(0, 2, 63, 7, b"still works")]);
}

/// ```text
///   b
///  / \
/// a   d
///  \ /
///   c
/// ```
fn square() -> Rig {
    let mut rig = Rig::new(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
    rig.route(0, &[(1, &[1]), (2, &[2]), (3, &[1, 2])]);
    rig.route(1, &[(0, &[0]), (3, &[3])]);
    rig.route(2, &[(0, &[0]), (3, &[3])]);
    rig.route(3, &[(1, &[1]), (2, &[2]), (0, &[1, 2])]);
    rig
}

#[test]
fn flows_use_all_equal_paths_and_each_stays_on_one() {
    let mut rig = square();
    for port in 0..200 {
        rig.host_sends(0, &datagram(0, 3, 64, port, b""));
    }
    let via_b = rig.nodes[1].snapshot(rig.now).transit_packets;
    assert!((60..140).contains(&via_b), "{via_b} of 200 over b");
    assert_eq!(rig.delivered[3].len(), 200);
    for _ in 0..50 {
        rig.host_sends(0, &datagram(0, 3, 64, 7, b""));
    }
    let moved = rig.nodes[1].snapshot(rig.now).transit_packets - via_b;
    assert!(moved == 0 || moved == 50, "{moved}");
}

#[test]
fn a_path_that_bfd_calls_down_is_left_at_once_and_taken_again() {
    let mut rig = square();
    for (a, b) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        rig.start_bfd(a, b);
    }
    rig.run(Duration::from_secs(3));
    assert_eq!(rig.bfd_changes(0), [BfdChange::Up, BfdChange::Up]);
    rig.cut.push((0, 1));
    let cut_at = rig.now;
    while rig.bfd_changes(0).len() == 2 {
        rig.run(TICK);
    }
    let detected = rig.now - cut_at;
    assert!((Duration::from_millis(190)..=Duration::from_millis(310)).contains(&detected), "{detected:?}");
    assert!(matches!(rig.bfd_changes(0)[2], BfdChange::Down { .. }));
    for port in 0..50 {
        rig.host_sends(0, &datagram(0, 3, 64, port, b""));
    }
    assert_eq!(rig.delivered[3].len(), 50, "all flows took the other path before routing said a word");
    rig.cut.clear();
    rig.run(Duration::from_secs(4));
    assert_eq!(rig.bfd_changes(0).last(), Some(&BfdChange::Up));
}

#[test]
fn an_administrative_end_of_bfd_is_no_failure() {
    let mut rig = line();
    rig.start_bfd(0, 1);
    rig.run(Duration::from_secs(3));
    rig.command(1, Command::BfdAdminDown);
    rig.settle();
    assert_eq!(rig.bfd_changes(0), [BfdChange::Up, BfdChange::AdminDown]);
    rig.host_sends(0, &datagram(0, 1, 64, 7, b""));
    assert_eq!(rig.delivered[1].len(), 1);
}

#[test]
fn rfc_5880_section_6_8_16_the_neighbour_is_told_that_a_session_is_taken_away() {
    let mut rig = line();
    rig.start_bfd(0, 1);
    rig.run(Duration::from_secs(3));
    let remote = identity(0).link_local();
    rig.command(1, Command::Bfd { link: link_to(0), remote, session: None });
    rig.run(Duration::from_secs(1));
    assert_eq!(rig.bfd_changes(0), [BfdChange::Up, BfdChange::AdminDown]);
}

#[test]
fn bfd_from_farther_away_than_one_hop_is_discarded() {
    let mut rig = line();
    rig.start_bfd(0, 1);
    let header = Header {
        src: identity(0).link_local(),
        dst: identity(1).link_local(),
        hop_limit: 254,
        traffic_class: 0,
    };
    let control = [0x20, 0x40, 3, 24, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 0, 0, 0, 0];
    let sealed = rig.seal(0, 1, &header.udp(50000, BFD_SINGLE_HOP, &control));
    rig.inject(1, underlay(0), &sealed);
    assert_eq!(rig.nodes[1].counters().of(Discard::BfdRejected), 1);
}

#[test]
fn ospf_goes_to_the_control_plane_with_its_link_and_cannot_flood_it() {
    let mut rig = line();
    let header = Header {
        src: identity(0).link_local(),
        dst: molt_mesh::ip6::ALL_SPF_ROUTERS,
        hop_limit: 1,
        traffic_class: CLASS_NETWORK_CONTROL,
    };
    let packet = header.packet(89, b"hello");
    let sealed = rig.seal(0, 1, &packet);
    rig.inject(1, underlay(0), &sealed);
    let Some(Event::Ospf { link, src, payload, hop_limit: 1, .. }) = rig.events[1].last() else {
        panic!("{:?}", rig.events[1].last());
    };
    assert_eq!((*link, *src, &payload[..]), (link_to(0), header.src, &b"hello"[..]));
    for _ in 0..5000 {
        let sealed = rig.seal(0, 1, &packet);
        rig.inject(1, underlay(0), &sealed);
    }
    assert_eq!(rig.nodes[1].counters().of(Discard::ControlRate), 5001 - 4000);
}

#[test]
fn an_ospf_packet_larger_than_the_mtu_travels_in_fragments_and_arrives_whole() {
    let mut rig = line();
    let (src, dst) = (identity(0).link_local(), molt_mesh::ip6::ALL_SPF_ROUTERS);
    let header = Header { src, dst, hop_limit: 1, traffic_class: CLASS_NETWORK_CONTROL };
    let large: Vec<u8> = (0..4000).map(|byte| byte as u8).collect();
    let packet = header.packet(NEXT_HEADER_OSPF, &large);
    rig.command(0, Command::Transmit { link: link_to(1), packet });
    assert_eq!(rig.in_flight.len(), 4);
    assert!(rig.in_flight.iter().all(|(.., datagram)| datagram.len() <= TUNNEL_MTU + 32));
    rig.settle();
    let Some(Event::Ospf { link, payload, .. }) = rig.events[1].last() else {
        panic!("{:?}", rig.events[1]);
    };
    assert_eq!((*link, &payload[..]), (link_to(0), &large[..]));
    assert!(rig.discards(1).is_empty());
}

#[test]
fn a_stock_router_can_ping_the_other_end_of_its_tunnel() {
    let mut rig = line();
    let (a, b) = (identity(0).link_local(), identity(1).link_local());
    let header = Header { src: a, dst: b, hop_limit: 64, traffic_class: 0 };
    let sealed = rig.seal(0, 1, &header.icmp(icmp::ECHO_REQUEST, 0, 0x1234_0001, b"data"));
    rig.inject(1, underlay(0), &sealed);
    let (_, to, reply) = rig.in_flight.pop_back().unwrap();
    assert_eq!(to, underlay(0));
    let mut packet = vec![0; 2048];
    let link = rig.nodes[0].links.get_mut(link_to(1)).unwrap();
    let opened = link.tunnel.open(underlay(1).ip(), &reply, &mut packet, rig.now);
    let crate::engine::Opened::Packet(len) = opened else { panic!("{opened:?}") };
    let expected = Header { src: b, dst: a, ..header }.icmp(icmp::ECHO_REPLY, 0, 0x1234_0001, b"data");
    assert_eq!(packet[..len], expected);
}

fn probe_replies(rig: &Rig, node: usize) -> Vec<(u16, Ipv6Addr, ProbeOutcome)> {
    let reply = |event: &Event| match event {
        Event::Probe(reply) => Some((reply.seq, reply.from, reply.outcome)),
        _ => None,
    };
    rig.events[node].iter().filter_map(reply).collect()
}

#[test]
fn a_trace_names_every_router_and_a_probe_without_a_route_fails_at_once() {
    let mut rig = line();
    for seq in 1..=2 {
        let probe = Probe { id: 7, seq, dst: mesh(2), hop_limit: u8::try_from(seq).unwrap(), size: 48 };
        rig.command(0, Command::Probe(probe));
        rig.settle();
    }
    assert_eq!(probe_replies(&rig, 0), [(1, mesh(1), ProbeOutcome::TimeExceeded)]);
    // The host of c has no kernel here; answer for it.
    let request = rig.delivered[2].pop().unwrap();
    let request = Packet::new(&request).unwrap();
    let word = u32::from_be_bytes(request.payload()[4..8].try_into().unwrap());
    let header = Header { src: request.dst(), dst: request.src(), hop_limit: 64, traffic_class: 0 };
    let reply = header.icmp(icmp::ECHO_REPLY, 0, word, &request.payload()[8..]);
    rig.host_sends(2, &reply);
    assert_eq!(probe_replies(&rig, 0)[1], (2, mesh(2), ProbeOutcome::Reply { hop_limit: 63 }));
    assert!(rig.delivered[0].is_empty(), "the answer to a probe is not the host's");
    rig.host_sends(2, &reply);
    assert_eq!(rig.delivered[0].len(), 1, "a second answer is the host's");
    rig.command(0, Command::Probe(Probe { id: 8, seq: 1, dst: mesh(9), hop_limit: 64, size: 0 }));
    assert_eq!(probe_replies(&rig, 0)[2].2, ProbeOutcome::NotSent(Discard::NoRoute));
}

#[test]
fn icmp_errors_are_limited_in_rate() {
    let mut rig = line();
    for _ in 0..300 {
        rig.host_sends(0, &datagram(0, 2, 1, 7, b""));
    }
    assert_eq!(rig.delivered[0].len(), 100);
    assert_eq!(rig.nodes[1].counters().of(Discard::IcmpRate), 200);
}

#[test]
fn a_removed_neighbour_is_gone() {
    let mut rig = line();
    let sealed = rig.seal(0, 1, &datagram(0, 1, 64, 7, b""));
    rig.command(1, Command::RemoveLink(link_to(0)));
    rig.inject(1, underlay(0), &sealed);
    assert_eq!(rig.discards(1), [(Discard::UnknownSession, 1)]);
    rig.host_sends(1, &datagram(1, 0, 64, 7, b""));
    assert_eq!(rig.nodes[1].counters().of(Discard::NextHopDown), 1);
}
