//! A packet every 5 ms, sent back by the other side; the longest time without an answer is the outage.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::netns::{Link, Namespace};
use crate::wait::{self, wait_until};

/// The resolution of the measurement; 200 small packets a second load nothing.
const INTERVAL: Duration = Duration::from_millis(5);
/// How long the counters of a link are watched to see whether the probe takes it.
const SAMPLE: Duration = Duration::from_millis(250);
/// After a change routers calculate with growing delays until it has been quiet for a while (RFC 8405; two seconds here and
/// in FRR). The outage of a network at rest is measured after that.
const REST: Duration = Duration::from_secs(3);
/// A path whose answers are further apart than this is not steady.
const STEADY: Duration = Duration::from_millis(50);
/// BFD at 100 ms x 3 sees a cut 200 ms after it at the earliest: a shorter silence is a delay of the machine.
const SHORTEST_OUTAGE: Duration = Duration::from_millis(150);
/// How often the threads look whether to stop.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// What was seen since the start or the last [`Probe::reset`].
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// The longest time between two answers, or from the last one until now.
    pub longest: Duration,
    /// From the last answer until now.
    pub current: Duration,
    /// Packets sent.
    pub sent: u64,
    /// Answers received.
    pub received: u64,
}

/// A running measurement. It covers both directions, for an answer needs both.
#[derive(Debug)]
pub struct Probe {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    longest: Duration,
    sent: u64,
    received: u64,
}

impl Probe {
    /// Starts sending from `source` in one namespace to `target` in another.
    ///
    /// # Errors
    /// If an address is not of that namespace.
    pub fn start(from: &Namespace, to: &Namespace, source: Ipv6Addr, target: Ipv6Addr) -> Result<Self> {
        let open = |namespace: &Namespace, address: Ipv6Addr| -> Result<UdpSocket> {
            let socket = namespace
                .enter(|| UdpSocket::bind((address, 0)))?
                .with_context(|| format!("bind to {address} in {}", namespace.name()))?;
            socket.set_read_timeout(Some(STOP_CHECK))?;
            Ok(socket)
        };
        let (near, far) = (open(from, source)?, open(to, target)?);
        let target = far.local_addr()?;
        let sender = near.try_clone()?;

        let seen = Seen { last: wait::now(), longest: Duration::ZERO, sent: 0, received: 0 };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), seen: Mutex::new(seen) });
        let spawn = |work: fn(&UdpSocket, SocketAddr, &Shared), socket: UdpSocket| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || work(&socket, target, &shared))
        };
        let threads = vec![spawn(echo, far), spawn(receive, near), spawn(send, sender)];
        Ok(Self { shared, threads })
    }

    /// What was seen so far.
    #[must_use]
    pub fn silence(&self) -> Silence {
        let seen = self.shared.seen();
        let current = seen.last.elapsed();
        let longest = seen.longest.max(current);
        Silence { longest, current, sent: seen.sent, received: seen.received }
    }

    /// Waits until the probe's packets take `link`, lets the network rest, cuts the link, waits until the packets take
    /// another way, and returns how long none arrived. The link stays cut.
    ///
    /// # Errors
    /// If the packets do not take the link within `timeout`, or do not find another way within it.
    pub fn outage(&self, link: &Link, timeout: Duration) -> Result<Duration> {
        wait_until("the probe to take the link that is to be cut", timeout, || {
            self.reset();
            let taken = Self::taken(std::slice::from_ref(link))?;
            let silence = self.silence();
            ensure!(!taken.is_empty(), "there are too few packets on it");
            ensure!(silence.longest < STEADY, "the path is not steady: {silence:?}");
            Ok(())
        })?;
        thread::sleep(REST);
        self.reset();
        link.cut()?;
        let moved = wait_until("the probe to take another way", timeout, || {
            let silence = self.silence();
            ensure!(silence.longest > SHORTEST_OUTAGE && silence.current < STEADY, "{silence:?}");
            Ok(silence.longest)
        });
        moved.map(|(outage, _)| outage)
    }

    /// Which of the links carry a probe, in one direction or both.
    ///
    /// # Errors
    /// As [`Link::received`].
    pub fn taken(links: &[Link]) -> Result<Vec<usize>> {
        let before: Vec<u64> = links.iter().map(Link::received).collect::<Result<_>>()?;
        thread::sleep(SAMPLE);
        let after: Vec<u64> = links.iter().map(Link::received).collect::<Result<_>>()?;
        // Routing itself sends far less than half of what a probe sends.
        let expected = SAMPLE.as_millis() / INTERVAL.as_millis() / 2;
        let carries = |link: &usize| {
            let carried = after.get(*link).zip(before.get(*link)).map_or(0, |(after, before)| after - before);
            u128::from(carried) > expected
        };
        Ok((0..links.len()).filter(carries).collect())
    }

    /// Forgets what was seen.
    pub fn reset(&self) {
        let mut seen = self.shared.seen();
        *seen = Seen { last: seen.last, longest: Duration::ZERO, sent: 0, received: 0 };
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn send(socket: &UdpSocket, target: SocketAddr, shared: &Shared) {
    let mut due = wait::now();
    while shared.runs() {
        // An error is what a host without a route gives; the packet counts as lost.
        let _ = socket.send_to(&[0; 8], target);
        shared.seen().sent += 1;
        due += INTERVAL;
        thread::sleep(due.saturating_duration_since(wait::now()));
    }
}

fn receive(socket: &UdpSocket, target: SocketAddr, shared: &Shared) {
    let mut buffer = [0; 64];
    while shared.runs() {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) if from == target => {
                let mut seen = shared.seen();
                let now = wait::now();
                seen.longest = seen.longest.max(now - seen.last);
                seen.last = now;
                seen.received += 1;
            }
            Ok(_) => {}
            // A timeout, or an ICMPv6 error, which is not an answer.
            Err(_) => {}
        }
    }
}

fn echo(socket: &UdpSocket, _target: SocketAddr, shared: &Shared) {
    let mut buffer = [0; 64];
    while shared.runs() {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(buffer.get(..len).unwrap_or_default(), from);
        }
    }
}
