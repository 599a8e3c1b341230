//! The thread that drives the oracle.
//!
//! It is the only one that waits for the chain. It takes interest from a bounded queue, asks, publishes, and writes the
//! cache to a file once in a while. Certificates are verified by whoever brings them; the lock of the bindings is held for
//! work in memory only.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use molt_mesh::sign::Verifier;
use molt_mesh::{IdentityKey, Time};
use tracing::{error, info, warn};

use super::curve::Secp256k1;
use super::rpc::{EndpointState, Rpc, RpcError};
use crate::binding::announce::{AnnounceReject, Challenges, Nonce, SignedAnnouncement};
use crate::binding::{
    Authority, BindingReject, Bindings, Bound, Inserted, NetworkId, SignedBinding, StoreReject,
};
use crate::file;
use crate::oracle::{
    BlockRef, Core, Health, MAX_CACHE, Reader, Snapshot, StakeOracle, StakeView, Stats, Wanted,
};
use crate::tier::Tier;
use crate::wallet::Domain;

/// Questions that wait for the thread, 32 bytes each. Beyond that they are asked again by the next message.
const MAX_WANTED: usize = 1_024;
/// How often the cache is written: what a crash loses is read again. Certificates are not, and are written at once.
const SAVE_INTERVAL: Duration = Duration::from_secs(60);
/// Longest sleep, so that the end of the daemon is not held up.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// What time it is. The daemon has one clock for everything.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time since the start of the node.
    fn now(&self) -> Time;

    /// Seconds since 1970.
    fn unix(&self) -> u64;
}

/// The clocks of the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose time began at `start`.
    #[must_use]
    pub const fn since(start: Instant) -> Self {
        Self(start)
    }

    /// A clock whose time begins here.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn starting_now() -> Self {
        Self(Instant::now())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time::from_start(Instant::now().saturating_duration_since(self.0))
    }

    fn unix(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// What the thread needs.
#[derive(Debug)]
pub struct WatcherConfig {
    /// The endpoints.
    pub rpc: Rpc,
    /// Our network.
    pub network: NetworkId,
    /// Checks nodes.
    pub verifier: Arc<dyn Verifier>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where the cache is kept.
    pub cache: Option<PathBuf>,
    /// Makes nodes ask at different times.
    pub seed: u64,
}

/// Figures for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// State of the chain.
    pub health: Health,
    /// The last head.
    pub head: Option<BlockRef>,
    /// What the core counts.
    pub stats: Stats,
    /// Host and state of each endpoint.
    pub endpoints: Vec<(String, EndpointState)>,
    /// Wallets in memory.
    pub wallets: usize,
    /// Nodes that are bound.
    pub bindings: usize,
}

/// Why a binding does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The announcement does not hold.
    #[error(transparent)]
    Announcement(#[from] AnnounceReject),
    /// The certificate does not hold.
    #[error(transparent)]
    Binding(#[from] BindingReject),
    /// There is no place for it.
    #[error(transparent)]
    Store(#[from] StoreReject),
}

/// The running oracle. Dropping it ends the thread, within the time limit of the question that is under way.
#[derive(Debug)]
pub struct Watcher {
    reader: Reader,
    shared: Arc<Shared>,
    /// To the thread: somebody to look at, or just a reason to wake up.
    wanted: SyncSender<Wanted>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    bindings: Mutex<Bindings>,
    challenges: Mutex<Challenges>,
    status: Mutex<Status>,
    stop: AtomicBool,
    /// Whether there is something to publish.
    changed: AtomicBool,
    /// Whether there is a certificate that is in memory only.
    unsaved: AtomicBool,
    domain: Domain,
    network: NetworkId,
    verifier: Arc<dyn Verifier>,
    clock: Arc<dyn Clock>,
}

impl Watcher {
    /// Starts the thread. What the cache says counts from the first moment.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(config: WatcherConfig) -> io::Result<Self> {
        let WatcherConfig { rpc, network, verifier, clock, cache, seed } = config;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (wanted, receiver) = mpsc::sync_channel(MAX_WANTED);
        let reader = Reader::new(wanted.clone());
        let status = Status {
            health: Health::Starting,
            head: None,
            stats: Stats::default(),
            endpoints: Vec::new(),
            wallets: 0,
            bindings: 0,
        };
        let shared = Arc::new(Shared {
            bindings: Mutex::default(),
            challenges: Mutex::default(),
            status: Mutex::new(status),
            stop: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            unsaved: AtomicBool::new(false),
            domain: rpc.deployment().staking_domain(),
            network,
            verifier,
            clock,
        });
        let mut core = Core::new(seed);
        if let Some(path) = &cache {
            load(path, &mut core, &shared);
        }
        let mut thread = Thread {
            core,
            rpc,
            runtime,
            reader: reader.clone(),
            shared: Arc::clone(&shared),
            wanted: receiver,
            cache,
            saved: shared.clock.now(),
            published: shared.clock.now(),
            enabled: true,
        };
        thread.publish();
        let thread = thread::Builder::new().name("chain".into()).spawn(move || thread.run())?;
        Ok(Self { reader, shared, wanted, thread: Some(thread) })
    }

    /// Ends without waiting for the question that is under way. What was learned since the cache was written last may be lost.
    pub fn abandon(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread = None;
    }

    /// What everybody else asks.
    #[must_use]
    pub fn oracle(&self) -> Arc<dyn StakeOracle> {
        Arc::new(self.reader.clone())
    }

    /// Somebody brought a certificate. It counts when this returns; what it is worth is known a moment later.
    ///
    /// # Errors
    /// [`Refused`] names the rule that failed.
    pub fn handle_binding(&self, signed: &SignedBinding) -> Result<Inserted, Refused> {
        let bound = signed.verify(self.shared.authority(), self.shared.clock.unix())?;
        self.insert(bound)
    }

    /// Asks a node to have its wallet sign a text. `nonce` comes from a good random source.
    pub fn handle_challenge(&self, node: IdentityKey, nonce: Nonce) {
        lock(&self.shared.challenges).open(node, nonce, self.shared.clock.now());
    }

    /// Somebody answered the challenge.
    ///
    /// # Errors
    /// [`Refused`] names the rule that failed.
    pub fn handle_announcement(&self, signed: &SignedAnnouncement) -> Result<Inserted, Refused> {
        let (now, unix_now) = (self.shared.clock.now(), self.shared.clock.unix());
        let bound = lock(&self.shared.challenges).verify(signed, self.shared.authority(), now, unix_now)?;
        self.insert(bound)
    }

    /// Certificates to pass on.
    #[must_use]
    pub fn proofs(&self) -> Vec<SignedBinding> {
        lock(&self.shared.bindings).iter().filter_map(|bound| bound.proof().copied()).collect()
    }

    /// Figures for the operator.
    #[must_use]
    pub fn status(&self) -> Status {
        let mut status = lock(&self.shared.status).clone();
        status.bindings = lock(&self.shared.bindings).len();
        status
    }

    fn insert(&self, bound: Bound) -> Result<Inserted, Refused> {
        let node = *bound.node();
        let (now, unix_now) = (self.shared.clock.now(), self.shared.clock.unix());
        let wallet = bound.wallet();
        let tier = |wallet: &_| self.reader.tier(wallet, now);
        let inserted = lock(&self.shared.bindings).insert(bound, tier, unix_now);
        let inserted = inserted.inspect_err(|_| {
            // It may have a stake that was never read, and then comes again.
            wallet.map(|wallet| self.wanted.try_send(Wanted::Wallet(wallet)));
        })?;
        if inserted == Inserted::New {
            self.shared.changed.store(true, Ordering::Release);
            self.shared.unsaved.store(true, Ordering::Release);
            self.wanted.try_send(Wanted::Node(node)).ok();
        }
        Ok(inserted)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Shared {
    fn authority(&self) -> Authority<'_> {
        Authority {
            domain: &self.domain,
            network: &self.network,
            verifier: &*self.verifier,
            recover: &Secp256k1,
        }
    }
}

/// A thread that panicked while it held the lock left whole values: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread {
    core: Core,
    rpc: Rpc,
    runtime: tokio::runtime::Runtime,
    reader: Reader,
    shared: Arc<Shared>,
    /// From readers and from the watcher.
    wanted: Receiver<Wanted>,
    cache: Option<PathBuf>,
    saved: Time,
    published: Time,
    enabled: bool,
}

impl Thread {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = self.shared.clock.now();
            self.core.handle_timeout(now);
            while let Some(request) = self.core.poll_request(self.shared.clock.now()) {
                let answer = self.runtime.block_on(self.rpc.ask(&request));
                self.handle_answer(answer);
                self.shared.changed.store(true, Ordering::Release);
                if self.shared.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            // Questions alone change nothing: a flood of them during an outage must not make us copy the cache each time.
            let is_old = self.shared.clock.now().since(self.published) >= MAX_SLEEP;
            if self.shared.changed.swap(false, Ordering::Acquire) || is_old {
                lock(&self.shared.bindings).expire(self.shared.clock.unix());
                self.publish();
            }
            let age = self.shared.clock.now().since(self.saved);
            let is_due = age >= MAX_SLEEP && self.shared.unsaved.swap(false, Ordering::Acquire);
            if is_due || age >= SAVE_INTERVAL {
                self.save();
            }
            let due = self.core.poll_timeout().map_or(MAX_SLEEP, |(at, _)| at.since(self.shared.clock.now()));
            match self.wanted.recv_timeout(due.min(MAX_SLEEP)) {
                Ok(wanted) => self.handle_wanted(wanted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.save();
    }

    fn handle_wanted(&mut self, first: Wanted) {
        let (now, unix_now) = (self.shared.clock.now(), self.shared.clock.unix());
        let bindings = lock(&self.shared.bindings);
        for wanted in std::iter::once(first).chain(self.wanted.try_iter()) {
            let wallet = match wanted {
                Wanted::Node(node) => bindings.wallet(&node, unix_now),
                Wanted::Wallet(wallet) => Some(wallet),
            };
            if let Some(wallet) = wallet {
                self.core.handle_interest(wallet, now);
            }
        }
    }

    fn handle_answer(&mut self, answer: Result<crate::oracle::Response, RpcError>) {
        let now = self.shared.clock.now();
        let before = self.core.health();
        match answer {
            Ok(response) => {
                self.enabled = true;
                self.core.handle_response(response, now);
            }
            Err(failure) => {
                if let RpcError::Wrong(reason) = &failure {
                    if self.enabled {
                        error!(reason, "the chain is not used");
                    }
                    self.enabled = false;
                }
                self.core.handle_failure(now);
            }
        }
        match (before, self.core.health()) {
            (Health::Up | Health::Starting, Health::Down { .. }) => {
                warn!("the chain does not answer; stakes count from memory for a while");
            }
            (Health::Down { since }, Health::Up) => {
                info!(seconds = now.since(since).as_secs(), "the chain answers again");
            }
            (Health::Starting, Health::Up) => info!(head = ?self.core.head(), "the chain answers"),
            _ => {}
        }
    }

    fn publish(&mut self) {
        let (now, unix_now) = (self.shared.clock.now(), self.shared.clock.unix());
        self.published = now;
        let mut snapshot = Snapshot::new(&lock(&self.shared.bindings), &self.core, now, unix_now);
        snapshot.enabled = self.enabled;
        self.reader.publish(snapshot);
        let mut status = lock(&self.shared.status);
        status.health = self.core.health();
        status.head = self.core.head();
        status.stats = self.core.stats();
        status.wallets = self.core.len();
        status.endpoints =
            self.rpc.endpoints().map(|(host, state)| (host.to_owned(), state.clone())).collect();
    }

    fn save(&mut self) {
        let (now, unix_now) = (self.shared.clock.now(), self.shared.clock.unix());
        self.saved = now;
        let Some(path) = &self.cache else { return };
        let bytes = self.core.save(&self.shared.domain, &lock(&self.shared.bindings), now, unix_now);
        if let Err(error) = file::replace(path, &bytes) {
            warn!(path = %path.display(), %error, "cannot write the cache of stakes");
        }
    }
}

/// Reads the cache. A bad one is set aside with a warning, and the chain is asked for everything.
fn load(path: &Path, core: &mut Core, shared: &Shared) {
    let (now, unix_now) = (shared.clock.now(), shared.clock.unix());
    let reason: String = match file::read(path, MAX_CACHE as u64) {
        Ok(None) => return,
        Ok(Some(bytes)) => match core.load(&bytes, &shared.domain, now, unix_now) {
            Ok(loaded) => {
                let mut bindings = lock(&shared.bindings);
                for signed in &loaded.bindings {
                    let Ok(bound) = signed.verify(shared.authority(), unix_now) else { continue };
                    let tier = |wallet: &_| core.get(wallet, now).map_or(Tier::None, |seen| seen.tier);
                    bindings.insert(bound, tier, unix_now).ok();
                }
                return info!(wallets = loaded.wallets, bindings = bindings.len(), "stakes from before");
            }
            Err(reject) => reject.to_string(),
        },
        Err(error) => error.to_string(),
    };
    match file::set_aside(path) {
        Ok(aside) => warn!(reason, kept = %aside.display(), "the cache of stakes is not used"),
        Err(error) => warn!(reason, %error, "the cache of stakes is not used, and cannot be set aside"),
    }
}

impl StakeOracle for Watcher {
    fn view(&self, node: &IdentityKey, now: Time) -> StakeView {
        self.reader.view(node, now)
    }
}
