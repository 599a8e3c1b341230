//! Two engines joined by a path with latency:
//!
//! ```text
//! Sessions a ---- latency, cut ---- Sessions b
//! ```

use super::*;

struct Pair {
    ends: [Sessions; 2],
    now: Time,
    latency: Duration,
    cut: bool,
    /// Packets on their way: arrival, to which end, payload. In order, for the latency is the same for all.
    flying: Vec<(Time, usize, [u8; 24])>,
    changes: Vec<(Time, usize, State, State)>,
    /// When the last packet reached each end.
    heard: [Time; 2],
}

impl Pair {
    fn new(latency: Duration, seed: u64) -> Self {
        let ends = [Sessions::new(seed), Sessions::new(seed + 1)];
        let (flying, changes) = (Vec::new(), Vec::new());
        Self { ends, now: Time::ZERO, latency, cut: false, flying, changes, heard: [Time::ZERO; 2] }
    }

    fn add(&mut self, end: usize) {
        self.ends[end].add(link(1), Config::default(), self.now);
        self.collect();
    }

    fn collect(&mut self) {
        for end in 0..2 {
            while let Some(output) = self.ends[end].poll_output() {
                match output {
                    Output::Transmit { packet, .. } if !self.cut => {
                        self.flying.push((self.now + self.latency, 1 - end, packet));
                    }
                    Output::Transmit { .. } => {}
                    Output::StateChanged { from, to, .. } => self.changes.push((self.now, end, from, to)),
                }
            }
        }
    }

    fn drive(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.flying.first().map(|(at, ..)| *at);
            let deadline = self.ends.iter().filter_map(Sessions::poll_timeout).map(|(at, _)| at);
            let Some(next) = deadline.chain(arrival).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while self.flying.first().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, to, packet) = self.flying.remove(0);
                if self.ends[to].handle_packet(link(1), 255, &packet, self.now).is_ok() {
                    self.heard[to] = self.now;
                }
            }
            for sessions in &mut self.ends {
                sessions.handle_timeout(self.now);
            }
            self.collect();
        }
        self.now = end;
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|end| self.ends[end].views(self.now).next().map_or(State::Down, |view| view.state))
    }
}

#[test]
fn two_ends_are_up_two_round_trips_after_the_second_one_starts() {
    for seed in 0..50 {
        let mut pair = Pair::new(20 * MS, seed);
        pair.add(0);
        pair.drive(Duration::from_millis(3_333));
        pair.add(1);
        pair.drive(80 * MS);
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
    }
}

#[test]
fn a_silent_cut_is_detected_300_ms_after_the_last_packet() {
    for seed in 0..50 {
        let mut pair = Pair::new(5 * MS, seed);
        pair.add(0);
        pair.add(1);
        pair.drive(Duration::from_secs(5) + u32::try_from(seed).unwrap() * 7 * MS);
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
        pair.changes.clear();
        pair.cut = true;
        pair.flying.clear();
        pair.drive(Duration::from_secs(1));
        assert_eq!(pair.changes.len(), 2, "seed {seed}");
        for (at, end, from, to) in &pair.changes {
            assert_eq!((*from, *to), (State::Up, State::Down));
            assert_eq!(*at - pair.heard[*end], 300 * MS, "seed {seed}, end {end}");
        }
    }
}

#[test]
fn a_healed_path_is_up_within_the_slow_interval_and_two_round_trips() {
    for seed in 0..50 {
        let mut pair = Pair::new(5 * MS, seed);
        pair.add(0);
        pair.add(1);
        pair.drive(Duration::from_secs(2));
        pair.cut = true;
        pair.drive(Duration::from_secs(7));
        assert_eq!(pair.states(), [State::Down, State::Down]);
        pair.cut = false;
        pair.drive(Duration::from_millis(1020));
        assert_eq!(pair.states(), [State::Up, State::Up], "seed {seed}");
    }
}

#[test]
fn an_hour_without_faults_has_no_state_change_and_costs_11_packets_a_second() {
    let mut pair = Pair::new(30 * MS, 9);
    pair.add(0);
    pair.add(1);
    pair.drive(Duration::from_secs(1));
    pair.changes.clear();
    pair.drive(Duration::from_hours(1));
    assert_eq!(pair.changes, []);
    for end in &pair.ends {
        let view = end.views(pair.now).next().unwrap();
        let a_second = view.counters.transmitted / 3601;
        assert!((11..=12).contains(&a_second), "{a_second}");
        assert_eq!((view.times_up, view.times_down, view.counters.rejected), (1, 0, 0));
        assert!(view.up_for > Some(Duration::from_hours(1)));
    }
}

#[test]
fn admin_down_reaches_the_peer_as_such() {
    let mut pair = Pair::new(5 * MS, 3);
    pair.add(0);
    pair.add(1);
    pair.drive(Duration::from_secs(2));
    pair.ends[0].admin_down(link(1), pair.now);
    let Some(Output::StateChanged { .. }) = pair.ends[0].poll_output() else { panic!("no change") };
    let Some(Output::Transmit { packet, .. }) = pair.ends[0].poll_output() else { panic!("no packet") };
    pair.ends[0].remove(link(1));
    pair.ends[1].handle_packet(link(1), 255, &packet, pair.now).unwrap();
    let change = pair.ends[1].poll_output();
    let Some(Output::StateChanged { to, diag, remote_state, remote_diag, .. }) = change else {
        panic!("{change:?}")
    };
    assert_eq!((to, diag), (State::Down, Diag::NEIGHBOR_SIGNALED_DOWN));
    assert_eq!((remote_state, remote_diag), (State::AdminDown, Diag::ADMIN_DOWN));
    assert_eq!(pair.ends[0].poll_timeout(), None);
}
