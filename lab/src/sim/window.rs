//! Passing time, on all processors.
//!
//! No datagram takes less than the shortest delay of the weather. So for that long - a *window* - no node can learn what
//! another does, and each can be brought through the window by itself: nodes that run at the same moment on different
//! processors, or one after the other, come to the same. What they send is handed out between windows. The order of
//! everything a node sees is that of time, sender and the sender's count; each node draws the fate of what it sends from a
//! generator of its own. So neither the number of processors nor the order of nodes within a window changes anything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Scope;
use std::time::Duration;

use meshd::control::Notice;
use meshd::node::Node;
use molt_mesh::{Identity, Time};
use molt_tun::Dataplane;
use molt_tun::output::Output;

use super::engine::{self, PlainEngine};
use super::gateway::Gateway;
use super::ledger::{Ledger, data_number};
use super::{Edge, LATE, Weather};
use crate::topology::Topology;

/// Fewer nodes than this for each processor are not worth a thread in each window.
const SHARE: usize = 64;

/// A datagram on its way to a node. Ordered by arrival, and then in an order that is the same in every run.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Time,
    from: usize,
    number: u64,
    datagram: Vec<u8>,
}

/// Who acts.
pub(super) enum Actor {
    Gateway(Box<Gateway>),
    Node(Box<Node<PlainEngine>>),
}

/// A node or a gateway, and what comes to it.
pub(super) struct Member {
    pub(super) identity: Identity,
    actor: Actor,
    pub(super) alive: bool,
    /// How often it was started again.
    pub(super) lives: u64,
    /// How often it drew a Router ID.
    pub(super) draw: u32,
    /// When it wants to be woken.
    alarm: Option<Time>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    /// Draws what becomes of the datagrams it sends.
    rng: fastrand::Rng,
    /// Datagrams it has sent.
    sent: u64,
}

/// What is between the nodes.
pub(super) struct Air {
    by_pair: BTreeMap<(usize, usize), Edge>,
    pub(super) cut: BTreeSet<Edge>,
    pub(super) weather: Weather,
}

/// Brings nodes through a window, and keeps count for them.
pub(super) struct Worker {
    /// Lent to the node that acts; there is one, because it is large.
    out: Output,
    /// What was sent in this window, and to whom.
    sent: Vec<(usize, Arrival)>,
    /// Datagrams that links carried, and their bytes.
    pub(super) carried: (u64, u64),
    /// When a forwarding table changed last.
    pub(super) rerouted: Time,
    /// For windows in which no data packet is on its way.
    quiet: Ledger,
}

/// As many as there are processors, if there are so many nodes.
pub(super) fn workers(nodes: usize) -> Vec<Worker> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::iter::repeat_with(Worker::new).take(processors.min(nodes / SHARE).max(1)).collect()
}

/// The underlay address of a node. The simulator has no other.
pub(super) fn underlay(node: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + node as u32), 51820))
}

fn number(addr: SocketAddr) -> Option<usize> {
    match addr {
        SocketAddr::V4(v4) => Some((v4.ip().to_bits() - 0x0a00_0000) as usize),
        SocketAddr::V6(_) => None,
    }
}

/// Lets `members` live until `end`.
pub(super) fn pass(
    members: &mut [Member],
    workers: &mut [Worker],
    air: &Air,
    ledger: &mut Ledger,
    end: Time,
) {
    let share = members.len().div_ceil(workers.len()).max(1);
    let parts = members.chunks_mut(share).zip(workers).enumerate().map(|(number, (members, worker))| {
        let next = next_of(members);
        Part { first: number * share, members, worker, next }
    });
    // Each is here, or in the thread of its number.
    let mut parts: Vec<Option<Part<'_>>> = parts.map(Some).collect();
    std::thread::scope(|scope| {
        let mut threads: BTreeMap<usize, Thread<'_>> = BTreeMap::new();
        let next_of = |parts: &[Option<Part<'_>>]| parts.iter().flatten().filter_map(|part| part.next).min();
        while let Some(next) = next_of(&parts).filter(|next| *next <= end) {
            // The last moment of the window is before the first in which something sent now can arrive.
            let shortest = Duration::from_micros(air.weather.delay_us.start.max(1));
            let last = (next + shortest.saturating_sub(Duration::from_nanos(1))).min(end);
            if ledger.is_open() {
                // The books are kept in the order in which things happen.
                parts.iter_mut().flatten().for_each(|part| part.live(air, Some(ledger), last));
            } else {
                for (number, place) in parts.iter_mut().enumerate().skip(1) {
                    let is_busy = |part: &mut Part<'_>| part.next.is_some_and(|next| next <= last);
                    if let Some(part) = place.take_if(is_busy) {
                        let thread = threads.entry(number).or_insert_with(|| Thread::start(scope, air));
                        thread.to.send((part, last)).expect("the thread waits for it");
                    }
                }
                parts.iter_mut().take(1).flatten().for_each(|part| part.live(air, None, last));
                for (number, place) in parts.iter_mut().enumerate() {
                    if let Some(thread) = threads.get(&number).filter(|_| place.is_none()) {
                        *place = Some(thread.from.recv().expect("the thread gives it back"));
                    }
                }
            }
            hand_out(&mut parts, share, ledger);
        }
    });
}

/// Puts what was sent where it will arrive, and what was wrong into the books.
fn hand_out(parts: &mut [Option<Part<'_>>], share: usize, ledger: &mut Ledger) {
    for from in 0..parts.len() {
        let Some(worker) = parts[from].as_mut().map(|part| &mut *part.worker) else { continue };
        let mut sent = std::mem::take(&mut worker.sent);
        ledger.take_fault(&mut worker.quiet);
        for (to, arrival) in sent.drain(..) {
            if let Some(part) = &mut parts[to / share] {
                part.next = Some(part.next.map_or(arrival.at, |next| next.min(arrival.at)));
                part.members[to - part.first].arrivals.push(Reverse(arrival));
            }
        }
        if let Some(part) = &mut parts[from] {
            part.worker.sent = sent;
        }
    }
}

/// Some members, and who brings them through a window.
struct Part<'a> {
    /// The number of the first one.
    first: usize,
    members: &'a mut [Member],
    worker: &'a mut Worker,
    /// The next thing that happens to one of them.
    next: Option<Time>,
}

impl Part<'_> {
    fn live(&mut self, air: &Air, mut ledger: Option<&mut Ledger>, last: Time) {
        self.next = None;
        for (member, node) in self.members.iter_mut().zip(self.first..) {
            while let Some(now) = member.next().filter(|next| *next <= last) {
                self.worker.step(member, node, air, ledger.as_deref_mut(), now);
            }
            self.next = [self.next, member.next()].into_iter().flatten().min();
        }
    }
}

/// A thread for one part. It lives as long as the call that started it: to start one for each window takes longer than what
/// happens in most.
struct Thread<'a> {
    to: SyncSender<(Part<'a>, Time)>,
    from: Receiver<Part<'a>>,
}

impl<'a> Thread<'a> {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, air: &'scope Air) -> Self
    where
        'a: 'scope,
    {
        let (to, orders) = mpsc::sync_channel::<(Part<'a>, Time)>(1);
        let (done, from) = mpsc::sync_channel(1);
        scope.spawn(move || {
            for (mut part, last) in orders {
                part.live(air, None, last);
                if done.send(part).is_err() {
                    return;
                }
            }
        });
        Self { to, from }
    }
}

/// The next thing that happens to somebody.
pub(super) fn next_of(members: &[Member]) -> Option<Time> {
    members.iter().filter_map(Member::next).min()
}

impl Worker {
    fn new() -> Self {
        Self {
            out: Output::new(false),
            sent: Vec::new(),
            carried: (0, 0),
            rerouted: Time::ZERO,
            quiet: Ledger::default(),
        }
    }

    /// The next thing that happens to a member.
    fn step(
        &mut self,
        member: &mut Member,
        node: usize,
        air: &Air,
        mut ledger: Option<&mut Ledger>,
        now: Time,
    ) {
        let arrival = member.arrivals.peek_mut().filter(|arrival| arrival.0.at <= now);
        let Some(arrival) = arrival.map(std::collections::binary_heap::PeekMut::pop) else {
            member.alarm = None;
            self.act(member, node, None, air, ledger, now, |actor, out| actor.handle_timeout(now, out));
            return;
        };
        let Reverse(Arrival { from, mut datagram, .. }) = arrival;
        let data = engine::plaintext(&datagram).and_then(data_number);
        if let Some(ledger) = ledger.as_deref_mut() {
            ledger.arrive(data);
        }
        if member.alive {
            self.act(member, node, data, air, ledger.as_deref_mut(), now, |actor, out| {
                actor.handle_datagram(underlay(from), &mut datagram, now, out);
            });
        } else if let Some(ledger) = ledger.as_deref_mut() {
            ledger.lose(data);
        }
        if let Some(ledger) = ledger {
            ledger.balance(now);
        }
    }

    /// Lets a node do something, and takes what comes of it. `data` is the data packet it is given.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a node meets: itself, a packet, the air, the books, the time"
    )]
    pub(super) fn act(
        &mut self,
        member: &mut Member,
        node: usize,
        data: Option<usize>,
        air: &Air,
        ledger: Option<&mut Ledger>,
        now: Time,
        act: impl FnOnce(&mut Actor, &mut Output),
    ) {
        let ledger = ledger.unwrap_or(&mut self.quiet);
        let out = &mut self.out;
        // Only what becomes of a data packet is looked for in the counters.
        let counted = |member: &Member| data.map_or(0, |_| member.actor.data().counters().total());
        let discarded = counted(member);
        let before = Arc::as_ptr(member.actor.data().fib());
        act(&mut member.actor, out);
        if Arc::as_ptr(member.actor.data().fib()) != before {
            self.rerouted = self.rerouted.max(now);
        }
        let discards = counted(member) - discarded;
        let is_node = matches!(member.actor, Actor::Node(_));
        ledger.account(now, node, data, discards, out);
        for transmit in out.udp.transmits() {
            let Some(to) = number(transmit.to) else { continue };
            let edge = air.edge(node, to).filter(|edge| !air.cut.contains(edge));
            for datagram in transmit.datagrams() {
                self.carried.0 += u64::from(is_node);
                self.carried.1 += u64::from(is_node) * datagram.len() as u64;
                let data = engine::plaintext(datagram).and_then(data_number);
                let arrivals = member.send(node, datagram, edge.is_some(), &air.weather, now);
                if arrivals.is_empty() {
                    ledger.lose(data);
                } else {
                    ledger.carry(data, arrivals.len() as u64);
                }
                self.sent.extend(arrivals.into_iter().map(|arrival| (to, arrival)));
            }
        }
        out.clear();
        while let Some(notice) = member.actor.poll_notice() {
            match notice {
                Notice::RouterIdChanged(draw) => member.draw = draw,
                Notice::ShutdownComplete => member.kill(),
                _ => {}
            }
        }
        member.alarm = member.actor.poll_timeout().filter(|_| member.alive).map(|(at, _)| at.max(now));
    }

    /// Puts what was sent where it will arrive, and what was wrong into the books.
    pub(super) fn hand_out(&mut self, members: &mut [Member], ledger: &mut Ledger) {
        for (to, arrival) in self.sent.drain(..) {
            members[to].arrivals.push(Reverse(arrival));
        }
        ledger.take_fault(&mut self.quiet);
    }
}

impl Actor {
    fn node(&self) -> &Node<PlainEngine> {
        match self {
            Self::Node(node) => node,
            Self::Gateway(_) => panic!("a gateway is no production node"),
        }
    }

    pub(super) fn node_mut(&mut self) -> &mut Node<PlainEngine> {
        match self {
            Self::Node(node) => node,
            Self::Gateway(_) => panic!("a gateway is no production node"),
        }
    }

    pub(super) fn gateway_mut(&mut self) -> &mut Gateway {
        match self {
            Self::Node(_) => panic!("a production node is no gateway"),
            Self::Gateway(gateway) => gateway,
        }
    }

    fn data(&self) -> &Dataplane<PlainEngine> {
        match self {
            Self::Node(node) => &node.data,
            Self::Gateway(gateway) => &gateway.data,
        }
    }

    fn handle_datagram(&mut self, from: SocketAddr, datagram: &mut [u8], now: Time, out: &mut Output) {
        match self {
            Self::Node(node) => node.handle_datagram(from, datagram, now, out),
            Self::Gateway(gateway) => gateway.handle_datagram(from, datagram, now, out),
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut Output) {
        match self {
            Self::Node(node) => node.handle_timeout(now, out),
            Self::Gateway(gateway) => gateway.handle_timeout(now, out),
        }
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        match self {
            Self::Node(node) => node.poll_timeout(),
            Self::Gateway(gateway) => gateway.poll_timeout(),
        }
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        match self {
            Self::Node(node) => node.poll_notice(),
            Self::Gateway(_) => None,
        }
    }
}

impl Member {
    pub(super) fn new(identity: Identity, actor: Actor, seed: u64) -> Self {
        Self {
            identity,
            actor,
            alive: true,
            lives: 0,
            draw: 0,
            alarm: None,
            arrivals: BinaryHeap::new(),
            rng: fastrand::Rng::with_seed(seed),
            sent: 0,
        }
    }

    /// Another life: what is on its way to the node still arrives.
    pub(super) fn begin_again(&mut self, node: Node<PlainEngine>) {
        self.actor = Actor::Node(Box::new(node));
        self.alive = true;
        self.alarm = None;
        self.lives += 1;
    }

    /// The production node.
    pub(super) fn node(&self) -> &Node<PlainEngine> {
        self.actor.node()
    }

    pub(super) fn gateway(&self) -> Option<&Gateway> {
        match &self.actor {
            Actor::Gateway(gateway) => Some(gateway),
            Actor::Node(_) => None,
        }
    }

    pub(super) fn kill(&mut self) {
        self.alive = false;
        self.alarm = None;
    }

    /// When something happens to it next.
    fn next(&self) -> Option<Time> {
        let arrival = self.arrivals.peek().map(|arrival| arrival.0.at);
        [arrival, self.alarm].into_iter().flatten().min()
    }

    /// The copies of a datagram that will arrive.
    fn send(
        &mut self,
        from: usize,
        datagram: &[u8],
        linked: bool,
        weather: &Weather,
        now: Time,
    ) -> Vec<Arrival> {
        let lost = self.rng.f64() < weather.loss;
        let copies = if self.rng.f64() < weather.duplicates { 2 } else { 1 };
        if lost || !linked {
            return Vec::new();
        }
        let copy = |_| {
            self.sent += 1;
            let mut delay = Duration::from_micros(self.rng.u64(weather.delay_us.clone()));
            if self.rng.f64() < weather.late {
                delay += LATE;
            }
            Arrival { at: now + delay, from, number: self.sent, datagram: datagram.to_vec() }
        };
        (0..copies).map(copy).collect()
    }
}

impl Air {
    pub(super) fn new(topology: &Topology) -> Self {
        Self {
            by_pair: topology.links.iter().enumerate().map(|(edge, pair)| (*pair, edge)).collect(),
            cut: BTreeSet::new(),
            weather: Weather::FAIR,
        }
    }

    pub(super) fn edge(&self, a: usize, b: usize) -> Option<Edge> {
        self.by_pair.get(&(a.min(b), a.max(b))).copied()
    }
}
