//! RFC 4271 section 6.8 in every order: two speakers dial each other, and what they send arrives whenever it likes.

use std::collections::BTreeMap;

use super::*;

enum Arrival {
    Start,
    Connected,
    Bytes(Vec<u8>),
    Closed,
}

/// Two speakers that dial each other. What goes to one end of one connection stays in order, nothing else does. Time stands
/// still.
struct Race {
    net: Net,
    rng: fastrand::Rng,
    /// On the way to a node; without a side, its start.
    ways: BTreeMap<(usize, Option<Side>), VecDeque<Arrival>>,
    open: BTreeSet<(usize, Side)>,
}

impl Race {
    fn new(seed: u64) -> Self {
        let ways = [0, 1].map(|node| ((node, None), VecDeque::from([Arrival::Start])));
        Self {
            net: Net::new(2, &[(0, 1)]),
            rng: fastrand::Rng::with_seed(seed),
            ways: ways.into(),
            open: BTreeSet::new(),
        }
    }

    fn send(&mut self, node: usize, side: Side, arrival: Arrival) {
        self.ways.entry((node, Some(side))).or_default().push_back(arrival);
    }

    /// One end is closed, or does not open.
    fn close(&mut self, node: usize, side: Side) {
        self.open.remove(&(node, side));
        self.ways.remove(&(node, Some(side)));
        self.send(1 - node, side.other(), Arrival::Closed);
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(output) = self.net.nodes[node].poll_output() {
            match output {
                Output::Connect { .. } => {
                    self.send(node, Side::Dialled, Arrival::Connected);
                    self.send(1 - node, Side::Accepted, Arrival::Connected);
                }
                Output::Send { side, bytes, .. } => self.send(1 - node, side.other(), Arrival::Bytes(bytes)),
                Output::Close { side, .. } => self.close(node, side),
                Output::NextHopsChanged => self.net.nodes[node].update_next_hops(|_| Some(10)),
                other => self.net.log.push((node, other)),
            }
        }
    }

    /// Until nothing is on the way.
    fn run(&mut self) {
        let now = self.net.now;
        while let Some(at) = self.rng.choice(self.ways.keys().copied().collect::<Vec<_>>()) {
            let arrival = self.ways.get_mut(&at).and_then(VecDeque::pop_front);
            self.ways.retain(|_, way| !way.is_empty());
            let (node, Some(side)) = at else {
                self.net.nodes[at.0].handle_timeout(now);
                self.carry_out(at.0);
                continue;
            };
            let (speaker, peer) = (&mut self.net.nodes[node], address(1 - node));
            match arrival {
                Some(Arrival::Connected) if speaker.handle_connected(peer, side, now) => {
                    self.open.insert((node, side));
                }
                Some(Arrival::Connected) => self.close(node, side),
                Some(Arrival::Bytes(bytes)) if self.open.contains(&(node, side)) => {
                    speaker.handle_bytes(peer, side, &bytes, now);
                }
                Some(Arrival::Closed) if self.open.remove(&(node, side)) => {
                    speaker.handle_closed(peer, side, now);
                }
                _ => {}
            }
            self.carry_out(node);
            if self.net.nodes[node].poll_timeout() == Some((now, "bgp collision")) {
                self.net.nodes[node].handle_timeout(now);
                self.carry_out(node);
            }
        }
    }
}

/// Neither end loses the session again, nor has to wait for a time to try again.
#[test]
fn one_connection_survives_in_whatever_order_the_ends_hear_of_both() {
    let mut kept = BTreeSet::new();
    for seed in 0..5_000 {
        let mut race = Race::new(seed);
        race.run();
        for node in [0, 1] {
            let view = race.net.view(node, 1 - node);
            let established = view.counters.established;
            assert_eq!((view.state, established), (State::Established, 1), "node {node}, seed {seed}");
            assert_eq!(race.net.routes(node), [mesh(1 - node)], "node {node}, seed {seed}");
        }
        let sides = [0, 1].map(|node| {
            race.net.nodes[node].peers[&address(1 - node)].connections.keys().copied().collect::<Vec<_>>()
        });
        assert_eq!(sides[0], [sides[1][0].other()], "seed {seed}");
        kept.insert(sides[0][0]);
    }
    assert_eq!(kept.len(), 2, "the one of the lower identifier survives if it is there first");
}

/// A peer whose connections are both open, and which section 6.8 has keep its own. Its OPEN comes on the other one.
fn early() -> Script {
    let mut script = Script::dialling(|_| {});
    assert!(script.connect(Side::Accepted) && script.connect(Side::Dialled));
    script.net.sent.clear();
    script.say(&Script::open().encode());
    assert_eq!((script.net.view(0, 1).state, script.timer()), (State::OpenSent, "bgp collision"));
    assert_eq!(script.net.sent, []);
    script
}

#[test]
fn an_open_waits_four_seconds_for_that_of_the_preferred_connection() {
    let mut script = early();
    script.net.run(SECOND);
    script.say(&message::keepalive());
    assert_eq!(script.net.sent, []);
    assert_eq!(script.wait(), 3 * SECOND);
    assert!(script.is_up(), "what came behind it was kept");
}

#[test]
fn an_open_no_longer_waits_when_the_preferred_connection_is_closed() {
    let mut script = early();
    script.net.nodes[0].handle_closed(address(1), Side::Accepted, script.net.now);
    assert_eq!(script.wait(), Duration::ZERO);
    assert_eq!(script.net.view(0, 1).state, State::OpenConfirm);
    script.say(&message::keepalive());
    assert!(script.is_up());
}

#[test]
fn no_more_is_kept_behind_an_open_that_waits_than_a_message() {
    let mut script = early();
    let left = consts::MAX_EXTENDED_MESSAGE - Script::open().encode().len();
    script.say(&vec![0; left]);
    assert_eq!(script.net.notifications(0), []);
    script.say(&[0]);
    assert_eq!(script.net.notifications(0), [(1, 1)], "Connection Not Synchronized");
}
