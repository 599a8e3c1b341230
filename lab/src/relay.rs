//! A path that loses, delays and reorders datagrams: a relay in user space, for kernels without `netem`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::netns::Namespace;
use crate::wait;

/// The longest a thread waits before it looks whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How a relay treats datagrams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Share of datagrams lost.
    pub loss: f64,
    /// Share of datagrams held back by `late`, so that later ones overtake them.
    pub reordered: f64,
    /// How long those are held back.
    pub late: Duration,
    /// What the choice depends on.
    pub seed: u64,
}

/// One end of a relayed path.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Where the relay listens for it.
    pub relay: SocketAddr,
    /// Where it is.
    pub router: SocketAddr,
}

/// What happened to the datagrams of both directions.
#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts to relay between the two ends, in a namespace that holds both of its own addresses.
    ///
    /// # Errors
    /// If one of them is not of that namespace, or taken.
    pub fn start(namespace: &Namespace, ends: [End; 2], weather: Weather) -> Result<Self> {
        let open = |end: End| -> Result<UdpSocket> {
            let socket = namespace.enter(|| UdpSocket::bind(end.relay))?;
            socket.with_context(|| format!("bind to {} in {}", end.relay, namespace.name()))
        };
        let [a, b] = ends;
        let (at_a, at_b) = (open(a)?, open(b)?);
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<Counts>::default());
        let direction = |from: UdpSocket, to: UdpSocket, target: SocketAddr, seed: u64| {
            let rng = fastrand::Rng::with_seed(seed);
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            thread::spawn(move || {
                let mut direction =
                    Direction { from, to, target, weather, rng, counts, held: BinaryHeap::new() };
                while !stop.load(Ordering::Relaxed) {
                    direction.pass();
                }
            })
        };
        let threads = vec![
            direction(at_a.try_clone()?, at_b.try_clone()?, b.router, weather.seed),
            direction(at_b, at_a, a.router, !weather.seed),
        ];
        Ok(Self { stop, counts, threads })
    }

    /// Datagrams passed on, lost and held back so far.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let Counts { passed, lost, late } = &*self.counts;
        [passed, lost, late].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Direction {
    from: UdpSocket,
    to: UdpSocket,
    target: SocketAddr,
    weather: Weather,
    rng: fastrand::Rng,
    counts: Arc<Counts>,
    /// What is held back, and until when.
    held: BinaryHeap<Reverse<(Instant, Vec<u8>)>>,
}

impl Direction {
    fn pass(&mut self) {
        let now = wait::now();
        while self.held.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            if let Some(Reverse((_, datagram))) = self.held.pop() {
                self.send(&datagram);
            }
        }
        let wait = self.held.peek().map_or(STOP_CHECK, |Reverse((due, _))| *due - now).min(STOP_CHECK);
        // Zero would mean to wait for ever.
        let _ = self.from.set_read_timeout(Some(wait.max(Duration::from_micros(100))));
        let mut buffer = [0; 2048];
        let Ok((len, _)) = self.from.recv_from(&mut buffer) else { return };
        let datagram = buffer.get(..len).unwrap_or_default();
        if self.rng.f64() < self.weather.loss {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        } else if self.rng.f64() < self.weather.reordered {
            self.counts.late.fetch_add(1, Ordering::Relaxed);
            self.held.push(Reverse((wait::now() + self.weather.late, datagram.to_vec())));
        } else {
            self.send(datagram);
        }
    }

    fn send(&self, datagram: &[u8]) {
        self.counts.passed.fetch_add(1, Ordering::Relaxed);
        // A router that is down answers with an ICMP error; what is sent to it is lost.
        let _ = self.to.send_to(datagram, self.target);
    }
}
