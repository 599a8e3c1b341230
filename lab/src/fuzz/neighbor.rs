//! A router whose packets are damaged on the way, and what becomes of the others.
//!
//! ```text
//! 0 ──(damage)── 1 ── 2
//! ```

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::codec::Reader;
use molt_mesh::ip6::{self, ALL_SPF_ROUTERS};
use molt_mesh::{LinkId, MeshPrefix, Prefix, RouterId, Target, Time};
use molt_routing::ospf::lsa::Lsa;
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::{Config, LinkConfig, Ospf, Output, Packet, RestartHelper, State};

/// MaxAge of what was invented, and a new exchange.
const CALM: Duration = Duration::from_secs(3800);

/// How long the damage lasts.
const DAMAGE: Duration = Duration::from_secs(120);

/// The input says what happens to each packet from 0 to 1. Afterwards the adjacency of 1 and 2 is as it was before, and
/// an hour later the three have one database.
pub fn ospf_neighbor(data: &[u8]) {
    let mut net = Net::new();
    net.run_for(Duration::from_secs(15), None);
    let before = net.adjacency(2, 1);
    assert_eq!(before.map(|(state, _)| state), Some(State::Full));
    net.join(0, 1);
    let mut damage = Reader::new(data);
    net.run_for(DAMAGE, Some(&mut damage));
    assert_eq!(net.adjacency(2, 1), before, "an adjacency that is none of its business changed");
    net.run_for(CALM, None);
    assert_eq!(net.adjacency(2, 1), before);
    assert_eq!(net.adjacency(0, 1).map(|(state, _)| state), Some(State::Full));
    for from in 0..3 {
        for to in (0..3).filter(|to| *to != from) {
            let towards = if from == 1 { to } else { 1 };
            let route = net.nodes[from].fib().exact(&prefix(to));
            assert_eq!(route, Some(Target::Via(&[link(towards)])), "from {from} to {to}");
        }
        let (first, other) = (net.area(0), net.area(from));
        assert_eq!(first, other, "the databases of 0 and {from}");
    }
}

fn router_id(node: usize) -> RouterId {
    RouterId(node as u32 + 1)
}

fn local(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, node as u16 + 1)
}

fn prefix(node: usize) -> Prefix {
    Prefix::host(Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0, 0, 0, 0x8000, node as u16 + 1))
}

/// The link that leads to `node`.
fn link(node: usize) -> LinkId {
    LinkId::new(node as u32 + 1).expect("it is not zero")
}

struct Net {
    nodes: Vec<Ospf>,
    now: Time,
    /// From, to, what follows the IPv6 header with its destination.
    in_flight: VecDeque<(usize, usize, Ipv6Addr, Vec<u8>)>,
}

impl Net {
    fn new() -> Self {
        let node = |node| {
            let config = Config {
                router_id: router_id(node),
                mesh: MeshPrefix::DEFAULT,
                prefixes: vec![prefix(node)],
                hostname: Some(format!("node{node}")),
                hello: Duration::from_secs(10),
                dead: Duration::from_secs(40),
                rxmt: Duration::from_secs(1),
                flood_reduction: true,
                restart_helper: RestartHelper::Strict,
                member: None,
                seed: node as u64,
            };
            Ospf::new(config, Time::ZERO)
        };
        let mut net = Self { nodes: (0..3).map(node).collect(), now: Time::ZERO, in_flight: VecDeque::new() };
        net.join(1, 2);
        net
    }

    fn join(&mut self, a: usize, b: usize) {
        for (node, to) in [(a, b), (b, a)] {
            let (link, local) = (link(to), local(node));
            let config = LinkConfig { link, cost: 10, local, mtu: 1280, stock: false, allow: Vec::new() };
            self.nodes[node].add_link(config, self.now);
            self.nodes[node].handle_link_up(link, self.now);
            self.drain(node);
        }
    }

    /// The state of `node`'s neighbour `to`, and how often it changed.
    fn adjacency(&self, node: usize, to: usize) -> Option<(State, u64)> {
        let neighbors = self.nodes[node].neighbors(self.now);
        let neighbor = neighbors.iter().find(|neighbor| neighbor.link == link(to))?;
        Some((neighbor.state, u64::from(neighbor.state_changes)))
    }

    /// The LSAs of the area as `node` has them.
    fn area(&self, node: usize) -> Vec<String> {
        let lsas = self.nodes[node].database(self.now).lsas.into_iter().filter(|lsa| lsa.link.is_none());
        lsas.map(|lsa| format!("{:?} {:#x} {:#x}", lsa.header.key, lsa.header.seq, lsa.header.checksum))
            .collect()
    }

    fn run_for(&mut self, duration: Duration, mut damage: Option<&mut Reader<'_>>) {
        let end = self.now + duration;
        loop {
            while let Some((from, to, dst, packet)) = self.in_flight.pop_front() {
                match &mut damage {
                    Some(damage) if (from, to) == (0, 1) => {
                        for packet in damaged(packet, damage) {
                            self.deliver(from, to, dst, &packet);
                        }
                    }
                    _ => self.deliver(from, to, dst, &packet),
                }
            }
            let due = self.nodes.iter().filter_map(Ospf::poll_timeout).map(|(at, _)| at).min();
            let Some(at) = due.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for node in 0..self.nodes.len() {
                self.nodes[node].handle_timeout(self.now);
                let next = self.nodes[node].poll_timeout();
                assert!(next.is_none_or(|(at, _)| at > self.now), "{next:?} is still due at {}", self.now);
                self.drain(node);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, from: usize, to: usize, dst: Ipv6Addr, packet: &[u8]) {
        // A refusal is counted by the router itself.
        let _ = self.nodes[to].handle_packet(link(from), local(from), dst, 1, packet, self.now);
        self.drain(to);
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            let Output::Transmit { link, packet, .. } = output else { continue };
            let packet = ip6::Packet::new(&packet).expect("a router sends IPv6");
            let to = link.get() as usize - 1;
            self.in_flight.push_back((node, to, packet.dst(), packet.payload().to_vec()));
        }
    }
}

/// What arrives in place of `packet`. An operation has a kind and as many bytes as that needs; when the input is used up,
/// packets arrive as they were sent.
fn damaged(packet: Vec<u8>, input: &mut Reader<'_>) -> Vec<Vec<u8>> {
    let Ok(kind) = input.u8() else { return vec![packet] };
    match kind % 8 {
        0 => vec![packet],
        1 => Vec::new(),
        2 => vec![packet.clone(), packet],
        // Another body under a right header.
        3 => {
            let len = usize::from(input.u8().unwrap_or(0)).min(input.left());
            let body = input.bytes(len).unwrap_or_default();
            let mut bytes = packet.get(..16).unwrap_or_default().to_vec();
            bytes.extend_from_slice(body);
            if let Some(kind) = bytes.get_mut(1) {
                *kind = 1 + kind.wrapping_add(kind.rotate_left(3)) % 5;
            }
            repaired(bytes)
        }
        4 => {
            let len = usize::from(input.u16().unwrap_or(0)) % (packet.len() + 1);
            repaired(packet.get(..len).unwrap_or_default().to_vec())
        }
        // Some bytes differ; checksums are right in three of four.
        kind => {
            let mut bytes = packet;
            for _ in 0..=kind - 5 {
                let (at, value) = (input.u16().unwrap_or(0), input.u8().unwrap_or(0));
                let at = usize::from(at) % bytes.len();
                bytes[at] ^= value;
            }
            if input.u8().unwrap_or(0).is_multiple_of(4) { vec![bytes] } else { repaired(bytes) }
        }
    }
}

/// The packet with right lengths and checksums, if it can be read at all.
fn repaired(mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    if let Some(field) = bytes.get_mut(2..4) {
        field.copy_from_slice(&len.to_be_bytes());
    }
    let Ok(mut packet) = Packet::decode(&bytes) else { return vec![bytes] };
    if let PacketBody::Update(lsas) = &mut packet.body {
        for lsa in lsas {
            let header = lsa.header;
            *lsa = Lsa::new(header.key, header.seq, header.raw_age, lsa.body().clone());
        }
    }
    vec![packet.encode(local(0), ALL_SPF_ROUTERS)]
}
