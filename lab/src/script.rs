//! A neighbour that follows a script: it speaks OSPFv3 in packets, and has no database beside what it offers.
//!
//! It is the slave of every exchange, so its Router ID must be the lower one. It sends what it is asked for, floods what it
//! is told to within the window and with the repetitions of a production node, acknowledges at once, and forgets what it is
//! sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use molt_mesh::{RouterId, Time};
use molt_routing::ospf::consts::{MAX_AGE, description, options};
use molt_routing::ospf::lsa::{LsType, Lsa, LsaHeader, LsaKey};
use molt_routing::ospf::packet::{Description, Hello, PacketBody};

/// What a packet of 1280 bytes holds: LSA headers in a description, keys in a request, bytes of LSAs in an update.
const HEADERS: usize = 60;
const KEYS: usize = 102;
const ROOM: usize = 1280 - 40 - 16 - 4;
/// LSAs that wait for an acknowledgment, and how long: as many, and about as long, as in a production node.
const WINDOW: usize = 160;
const REPEAT: Duration = Duration::from_secs(2);

/// In which order a database is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By LS type, as stock routers do. Then Router-LSAs come first, and what proves them last.
    ByType,
    /// As production nodes do: what proves the rest comes first.
    #[default]
    ProofsFirst,
}

/// What there is to be said: the last instance of each LSA, and when it was said.
#[derive(Default)]
pub struct Offers {
    lsas: BTreeMap<(Turn, LsaKey), (Time, Lsa)>,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Proof,
    Rest,
}

impl Offers {
    /// Nothing, to be described in this order.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self { order, ..Self::default() }
    }

    const fn place(&self, key: LsaKey) -> (Turn, LsaKey) {
        match (self.order, key.ls_type) {
            (Order::ProofsFirst, LsType::AGENT_RECORD | LsType::TOPOLOGY_SIGNATURE) => (Turn::Proof, key),
            _ => (Turn::Rest, key),
        }
    }

    /// From now on this instance is offered.
    pub fn say(&mut self, lsa: Lsa, now: Time) {
        self.lsas.insert(self.place(lsa.header.key), (now, lsa));
    }

    /// The same, if it is newer than what is offered.
    pub fn learn(&mut self, lsa: &Lsa, now: Time) {
        let known = self.lsas.get(&self.place(lsa.header.key)).map(|(_, known)| known.header.seq);
        if known.is_none_or(|seq| seq < lsa.header.seq) {
            self.say(lsa.clone(), now);
        }
    }

    /// Nothing is offered any longer.
    pub fn clear(&mut self) {
        self.lsas.clear();
    }

    fn get(&self, key: &LsaKey, now: Time) -> Option<Lsa> {
        self.lsas.get(&self.place(*key)).map(|said| aged(said, now))
    }

    fn after(&self, key: Option<LsaKey>, now: Time) -> impl Iterator<Item = LsaHeader> {
        let first = key.map_or(Bound::Unbounded, |key| Bound::Excluded(self.place(key)));
        self.lsas.range((first, Bound::Unbounded)).map(move |(_, said)| aged(said, now).header)
    }
}

fn aged((at, lsa): &(Time, Lsa), now: Time) -> Lsa {
    let age = u64::from(lsa.header.age()) + now.since(*at).as_secs();
    let mut lsa = lsa.clone();
    lsa.header.raw_age = u16::try_from(age).unwrap_or(MAX_AGE).min(MAX_AGE);
    lsa
}

/// A neighbour.
pub struct Neighbor {
    router: RouterId,
    interface: u32,
    /// Whether it asks for everything it is told of.
    hungry: bool,
    stage: Stage,
    /// Interface ID of the router at the other end.
    far_interface: Option<u32>,
    /// Flags and number of the last description that came, and the answer.
    answered: Option<(u8, u32, Description)>,
    /// The last LSA that was described.
    described: Option<LsaKey>,
    wanted: VecDeque<LsaKey>,
    /// The part of the last request that has not arrived.
    asked: BTreeSet<LsaKey>,
    received: usize,
    /// To be flooded.
    waiting: VecDeque<LsaKey>,
    /// Flooded and not acknowledged, with the sequence number.
    in_flight: BTreeMap<LsaKey, i32>,
    repeat_at: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Exchange,
    Full,
}

impl Neighbor {
    /// A router that has the tunnel as `interface`.
    #[must_use]
    pub const fn new(router: RouterId, interface: u32) -> Self {
        Self {
            router,
            interface,
            hungry: false,
            stage: Stage::Idle,
            far_interface: None,
            answered: None,
            described: None,
            wanted: VecDeque::new(),
            asked: BTreeSet::new(),
            received: 0,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            repeat_at: None,
        }
    }

    /// The same, which asks for everything it is told of.
    #[must_use]
    pub fn hungry(self) -> Self {
        Self { hungry: true, ..self }
    }

    /// Its Router ID.
    #[must_use]
    pub const fn router(&self) -> RouterId {
        self.router
    }

    /// LSAs it was sent.
    #[must_use]
    pub const fn received(&self) -> usize {
        self.received
    }

    /// Interface ID of the router at the other end, once the databases are described.
    #[must_use]
    pub fn full(&self) -> Option<u32> {
        self.far_interface.filter(|_| self.stage == Stage::Full)
    }

    /// The other end is gone.
    pub fn reset(&mut self) {
        let Self { router, interface, hungry, received, .. } = *self;
        *self = Self { hungry, received, ..Self::new(router, interface) };
    }

    /// What it says to a packet of `far`.
    pub fn answer(&mut self, far: RouterId, body: PacketBody, offers: &Offers, now: Time) -> Vec<PacketBody> {
        match body {
            PacketBody::Hello(hello) => {
                if !hello.neighbors.contains(&self.router) {
                    self.reset();
                }
                self.far_interface = Some(hello.interface);
                vec![PacketBody::Hello(Hello::point_to_point(self.interface, hello.intervals(), vec![far]))]
            }
            PacketBody::Description(received) => self.describe(received, offers, now),
            PacketBody::Request(keys) => packed(keys.iter().filter_map(|key| offers.get(key, now))),
            PacketBody::Update(lsas) => {
                self.received += lsas.len();
                let was_asking = !self.asked.is_empty();
                for lsa in &lsas {
                    self.asked.remove(&lsa.header.key);
                    self.acknowledged(&lsa.header);
                }
                let mut answers = vec![PacketBody::Ack(lsas.iter().map(|lsa| lsa.header).collect())];
                // The next request follows the last LSA of the one before.
                if was_asking && self.asked.is_empty() {
                    answers.extend(self.ask());
                }
                answers.extend(self.flooded(offers, now));
                answers
            }
            PacketBody::Ack(headers) => {
                headers.iter().for_each(|header| self.acknowledged(header));
                self.flooded(offers, now)
            }
        }
    }

    /// Puts LSAs it offers on its list, as far as the other end was told of what it offered before.
    pub fn flood(&mut self, keys: impl IntoIterator<Item = LsaKey>) {
        if self.stage != Stage::Idle {
            self.waiting.extend(keys);
        }
    }

    /// What there is room for of what is to be flooded.
    pub fn flooded(&mut self, offers: &Offers, now: Time) -> Vec<PacketBody> {
        let mut lsas = Vec::new();
        while self.in_flight.len() < WINDOW
            && let Some(key) = self.waiting.pop_front()
        {
            let Some(lsa) = offers.get(&key, now) else { continue };
            if self.in_flight.insert(key, lsa.header.seq) != Some(lsa.header.seq) {
                lsas.push(lsa);
            }
        }
        if self.in_flight.is_empty() {
            self.repeat_at = None;
        } else if !lsas.is_empty() {
            self.repeat_at = Some(now + REPEAT);
        }
        packed(lsas)
    }

    /// When to say what was not acknowledged once more.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Time> {
        self.repeat_at
    }

    /// Says it.
    pub fn handle_timeout(&mut self, offers: &Offers, now: Time) -> Vec<PacketBody> {
        if self.repeat_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let again: Vec<LsaKey> = std::mem::take(&mut self.in_flight).into_keys().collect();
        again.into_iter().rev().for_each(|key| self.waiting.push_front(key));
        self.flooded(offers, now)
    }

    fn describe(&mut self, received: Description, offers: &Offers, now: Time) -> Vec<PacketBody> {
        if let Some((flags, seq, answer)) = &self.answered
            && (*flags, *seq) == (received.flags, received.seq)
        {
            return vec![PacketBody::Description(answer.clone())];
        }
        if received.flags & description::I != 0 {
            let far_interface = self.far_interface;
            self.reset();
            (self.stage, self.far_interface) = (Stage::Exchange, far_interface);
        }
        if self.hungry {
            self.wanted.extend(received.headers.iter().map(|header| header.key));
        }
        let mut next = offers.after(self.described, now);
        let headers: Vec<LsaHeader> = next.by_ref().take(HEADERS).collect();
        let more = next.next().is_some();
        self.described = headers.last().map_or(self.described, |header| Some(header.key));
        let flags = if more { description::M } else { 0 };
        let answer = Description { options: options::ROUTER, mtu: 1280, flags, seq: received.seq, headers };
        self.answered = Some((received.flags, received.seq, answer.clone()));
        let mut answers = vec![PacketBody::Description(answer)];
        if received.flags & description::M == 0 && !more {
            self.stage = Stage::Full;
            answers.extend(self.ask());
        }
        answers
    }

    fn ask(&mut self) -> Option<PacketBody> {
        let keys: Vec<LsaKey> = (0..KEYS).map_while(|_| self.wanted.pop_front()).collect();
        self.asked.extend(&keys);
        (!keys.is_empty()).then_some(PacketBody::Request(keys))
    }

    /// The other end has an instance.
    fn acknowledged(&mut self, header: &LsaHeader) {
        if self.in_flight.get(&header.key).is_some_and(|seq| *seq <= header.seq) {
            self.in_flight.remove(&header.key);
        }
    }
}

/// Updates with these LSAs.
fn packed(lsas: impl IntoIterator<Item = Lsa>) -> Vec<PacketBody> {
    let mut packets: Vec<Vec<Lsa>> = Vec::new();
    let mut used = 0;
    for lsa in lsas {
        let length = usize::from(lsa.header.length);
        match packets.last_mut() {
            Some(packet) if used + length <= ROOM => packet.push(lsa),
            _ => {
                packets.push(vec![lsa]);
                used = 0;
            }
        }
        used += length;
    }
    packets.into_iter().map(PacketBody::Update).collect()
}
