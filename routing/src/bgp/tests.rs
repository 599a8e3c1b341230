//! Speakers in a box: connections are queues, time is a number.

mod collisions;
mod messages;
mod peers;
mod restart;
mod routes;
mod sessions;
mod updates;
mod views;
mod writing;

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{Prefix, Time};

use super::policy::{PrefixMatch, Rule};
use super::view::PeerView;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn address(node: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, node as u16 + 1, 0, 0, 0, 0, 0, 1)
}

fn mesh(node: usize) -> Prefix {
    Prefix::new(address(node), 48)
}

fn asn(node: usize) -> u32 {
    4_200_000_001 + node as u32
}

fn within(prefix: Prefix) -> Rule {
    Rule { prefix: Some(PrefixMatch { within: prefix, ge: prefix.len(), le: prefix.len() }), ..Rule::ACCEPT }
}

fn peer(node: usize) -> PeerConfig {
    PeerConfig {
        address: address(node),
        asn: asn(node),
        bfd: false,
        import: Policy(vec![Rule::ACCEPT]),
        export: Policy(vec![Rule::ACCEPT]),
        max_prefixes: 100,
    }
}

#[derive(Debug)]
enum Delivery {
    Bytes(Vec<u8>),
    Closed,
    Connect,
}

/// Speakers and what is under way between them.
struct Net {
    now: Time,
    nodes: Vec<Bgp>,
    /// From, to, the side at the receiver, what.
    wire: VecDeque<(usize, usize, Side, Delivery)>,
    /// Pairs between which nothing passes, in either direction.
    cut: BTreeSet<(usize, usize)>,
    /// Next hops nobody can reach.
    unreachable: BTreeSet<Ipv6Addr>,
    /// All outputs but those that are carried out.
    log: Vec<(usize, Output)>,
    /// What was sent last in each direction.
    sent: Vec<(usize, Vec<u8>)>,
}

impl Net {
    /// `count` speakers; `links` are sessions, both ends of which are configured.
    fn new(count: usize, links: &[(usize, usize)]) -> Self {
        Self::with(count, links, |_, _| {})
    }

    fn with(count: usize, links: &[(usize, usize)], change: impl Fn(usize, &mut PeerConfig)) -> Self {
        let nodes = (0..count).map(|node| {
            Bgp::new(Config {
                asn: asn(node),
                identifier: node as u32 + 1,
                address: address(node),
                announce: vec![mesh(node)],
                own: mesh(node),
                seed: node as u64,
            })
        });
        let mut net = Self {
            now: Time::ZERO,
            nodes: nodes.collect(),
            wire: VecDeque::new(),
            cut: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            log: Vec::new(),
            sent: Vec::new(),
        };
        for node in 0..count {
            let peers = links.iter().filter_map(|(a, b)| match node {
                _ if node == *a => Some(*b),
                _ if node == *b => Some(*a),
                _ => None,
            });
            let mut peers: Vec<PeerConfig> = peers.map(peer).collect();
            peers.iter_mut().for_each(|config| change(node, config));
            net.nodes[node].set_peers(peers, Time::ZERO);
        }
        net.settle();
        net
    }

    fn node_at(&self, at: Ipv6Addr) -> Option<usize> {
        (0..self.nodes.len()).find(|node| address(*node) == at)
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    fn settle(&mut self) {
        loop {
            for node in 0..self.nodes.len() {
                while let Some(output) = self.nodes[node].poll_output() {
                    self.carry_out(node, output);
                }
            }
            let Some((from, to, side, delivery)) = self.wire.pop_front() else { return };
            if self.is_cut(from, to) {
                continue;
            }
            let now = self.now;
            match delivery {
                Delivery::Bytes(bytes) => self.nodes[to].handle_bytes(address(from), side, &bytes, now),
                Delivery::Closed => self.nodes[to].handle_closed(address(from), side, now),
                Delivery::Connect => {
                    if self.nodes[to].handle_connected(address(from), Side::Accepted, now) {
                        if !self.nodes[from].handle_connected(address(to), Side::Dialled, now) {
                            self.wire.push_back((from, to, Side::Accepted, Delivery::Closed));
                        }
                    } else {
                        self.nodes[from].handle_closed(address(to), Side::Dialled, now);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match &output {
            Output::Connect { peer } => match self.node_at(*peer) {
                Some(to) => self.wire.push_back((node, to, Side::Accepted, Delivery::Connect)),
                None => self.log.push((node, output)),
            },
            Output::Send { peer, side, bytes } => {
                self.sent.push((node, bytes.clone()));
                if let Some(to) = self.node_at(*peer) {
                    self.wire.push_back((node, to, side.other(), Delivery::Bytes(bytes.clone())));
                }
            }
            Output::Close { peer, side } => {
                if let Some(to) = self.node_at(*peer) {
                    self.wire.push_back((node, to, side.other(), Delivery::Closed));
                }
                self.log.push((node, output));
            }
            Output::NextHopsChanged => self.resolve(node),
            _ => self.log.push((node, output)),
        }
    }

    fn resolve(&mut self, node: usize) {
        let unreachable = self.unreachable.clone();
        let cost = |hop: Ipv6Addr| (!unreachable.contains(&hop)).then_some(10);
        self.nodes[node].update_next_hops(cost);
        self.settle();
    }

    /// From deadline to deadline until `time` later.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(due) = self.nodes.iter().filter_map(|node| Some(node.poll_timeout()?.0)).min() {
            if due > end {
                break;
            }
            self.now = due;
            self.nodes.iter_mut().for_each(|node| node.handle_timeout(due));
            self.settle();
        }
        self.now = end;
    }

    fn view(&self, node: usize, of: usize) -> PeerView {
        let views = self.nodes[node].peer_views(self.now);
        views.into_iter().find(|view| view.address == address(of)).unwrap()
    }

    fn is_up(&self, a: usize, b: usize) -> bool {
        [(a, b), (b, a)].iter().all(|(node, of)| self.view(*node, *of).state == State::Established)
    }

    fn routes(&self, node: usize) -> Vec<Prefix> {
        self.nodes[node].routes().map(|route| route.prefix).collect()
    }

    /// The code and subcode of each NOTIFICATION a node has sent.
    fn notifications(&self, node: usize) -> Vec<(u8, u8)> {
        let of_node = self.sent.iter().filter(|(from, bytes)| *from == node && bytes[18] == 3);
        of_node.map(|(_, bytes)| (bytes[19], bytes[20])).collect()
    }
}

/// A speaker and a peer that is played byte by byte: what it is sent is kept, what it says is given to [`Script::say`].
struct Script {
    net: Net,
    side: Side,
}

impl Script {
    /// The speaker is node 0; the peer says OPEN and KEEPALIVE as node 1 would.
    fn established() -> Self {
        let mut script = Self::connected(|_| {});
        script.say(&Self::open().encode());
        script.say(&message::keepalive());
        assert_eq!(script.net.view(0, 1).state, State::Established);
        script
    }

    fn connected(change: impl Fn(&mut PeerConfig)) -> Self {
        let mut script = Self::dialling(change);
        assert!(script.connect(Side::Dialled));
        script
    }

    /// The speaker waits for an answer to its first attempt to connect.
    fn dialling(change: impl Fn(&mut PeerConfig)) -> Self {
        let mut net = Net::new(1, &[]);
        let mut config = peer(1);
        change(&mut config);
        net.nodes[0].set_peers(vec![config], net.now);
        net.nodes[0].handle_timeout(net.now);
        net.settle();
        Self { net, side: Side::Dialled }
    }

    /// A connection opens, and what the peer says from here on it says there. `false` if the speaker does not want it.
    fn connect(&mut self, side: Side) -> bool {
        self.side = side;
        let wanted = self.net.nodes[0].handle_connected(address(1), side, self.net.now);
        self.net.settle();
        wanted
    }

    fn close(&mut self) {
        self.net.nodes[0].handle_closed(address(1), self.side, self.net.now);
        self.net.settle();
    }

    fn open() -> message::Open {
        message::Open {
            asn: asn(1),
            hold_time: Duration::from_secs(90),
            identifier: 2,
            capabilities: message::Capabilities {
                ipv6_unicast: true,
                four_octet_as: true,
                ..message::Capabilities::default()
            },
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.net.nodes[0].handle_bytes(address(1), self.side, bytes, self.net.now);
        self.net.settle();
    }

    /// An UPDATE of these path attributes.
    fn update(&mut self, attributes: &[&[u8]]) {
        let list = attributes.concat();
        self.say(&message::framed(consts::kind::UPDATE, |w| {
            w.u16(0).u16(list.len() as u16).bytes(&list);
        }));
    }

    /// The peer announces prefixes as its own.
    fn announce(&mut self, prefixes: &[Prefix]) {
        let mut path = path::Path::local(address(1));
        path.as_path.prepend(asn(1), 1);
        for message in update::announce(&path, prefixes) {
            self.say(&message);
        }
        self.net.resolve(0);
    }

    /// What the speaker asked its owner to do since the last call, sending aside.
    fn did(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.net.log).into_iter().map(|(_, output)| output).collect()
    }

    /// Until the speaker's next deadline: how long that took.
    fn wait(&mut self) -> Duration {
        let pause = self.net.nodes[0].poll_timeout().unwrap().0.since(self.net.now);
        self.net.run(pause);
        pause
    }

    /// What the speaker waits for next.
    fn timer(&self) -> &'static str {
        self.net.nodes[0].poll_timeout().map_or("nothing", |(_, why)| why)
    }

    fn is_up(&self) -> bool {
        self.net.view(0, 1).state == State::Established
    }
}
