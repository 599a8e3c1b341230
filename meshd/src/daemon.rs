//! The shell around the node: one thread runs the packet loop, this one everything else.
//!
//! ```text
//! packet thread (molt-tun driver)          control thread (tokio, one thread)
//! TUN, UDP sockets, BFD, forwarding  ◄──►  OSPF, control socket, signals, name resolution
//!                     bounded rings of commands and events
//! ```
//!
//! Everything that decides is in [`Control`]; this file moves events, commands, requests and time.

mod answers;
mod bgp;
mod endpoints;
mod reload;
mod restart;
mod server;
#[cfg_attr(not(feature = "chain"), path = "daemon/without_stakes.rs")]
mod stakes;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use molt_mesh::MeshAddr;
use molt_mesh::id::proof_of_work_bits;
use molt_mesh::sign::Strict;
use molt_routing::bgp::Config as SpeakerConfig;
use molt_tun::driver::Handle;
use molt_tun::engine::wireguard::WireGuardEngine;
use molt_tun::{Clock, Dataplane, NodeConfig, ProbeReply, Snapshot};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use crate::api::{Failure, FailureKind, Request, Response};
use crate::config::Config;
use crate::control::{Control, ControlConfig, Notice, PeerChanges, ResolveError};
use crate::handover::Handover;
use crate::state::{NodeState, StateDir, StateError};

use bgp::Connections;
use endpoints::Endpoints;
use restart::{Belongings, Program, Restarting};
use server::Inquiry;
use stakes::Stakes;

/// How the daemon is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Configuration file.
    pub config: PathBuf,
    /// State directory.
    pub state_dir: PathBuf,
    /// Control socket.
    pub socket: PathBuf,
}

/// Longest time that leaving the mesh may take before the daemon stops all the same.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Pause after the last command, so that the packet loop has sent what it was told (BFD AdminDown) before it stops.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Pause before the packet loop is offered a command again that its ring had no room for.
const RING_RETRY: Duration = Duration::from_millis(1);

/// Who this node is, as far as it does not change while it runs.
struct Me {
    node: NodeState,
    interface: String,
    listen: Vec<SocketAddr>,
}

/// The running daemon.
struct Daemon {
    options: Options,
    config: Config,
    me: Me,
    state: StateDir,
    clock: Clock,
    control: Control,
    packets: Handle<Dataplane<WireGuardEngine>>,
    /// Readable when the packet loop has events, or has ended.
    wake: AsyncFd<OwnedFd>,
    endpoints: Endpoints,
    /// If this node is a border.
    bgp: Option<Connections>,
    /// If the configuration names a chain.
    stakes: Option<Stakes>,
    /// Requests that wait for a snapshot of the packet core.
    waiting: Vec<(Request, oneshot::Sender<Response>)>,
    /// Who asked for which probe; the receiver is a connection of the control socket.
    probes: BTreeMap<u64, mpsc::Sender<Probed>>,
    leaving: Option<Leaving>,
    restarting: Option<Restarting>,
    /// What a restart begins again.
    program: Program,
    /// The control socket; a copy is served.
    listener: UnixListener,
    /// Held while the daemon runs, against a second one on the same state.
    lock: File,
}

/// How the daemon ended.
enum Ended {
    /// It left the mesh.
    Left,
    /// It is to be replaced by a new process.
    Restart(Box<(Program, Belongings, Handover)>),
}

/// An answer to a probe, with the name of who answered.
struct Probed {
    reply: ProbeReply,
    name: Option<String>,
}

struct Leaving {
    told: Option<oneshot::Sender<Response>>,
    complete: bool,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// If it cannot start: the message says what to do.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut program = Program::of_this_process().context("cannot find out how this program was started")?;
    let mut left = None;
    loop {
        let config = Config::read(&options.config)?;
        let state = StateDir::open(&options.state_dir)?;
        let (belongings, handover) = match left.take().or_else(|| Belongings::inherit(&config, &state)) {
            Some((belongings, handover)) => (Ok(belongings), handover),
            None => (Err(state.lock()?), None),
        };
        let node = load_node(&state, &config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let belongings = match belongings {
                Ok(inherited) => {
                    inherited.adapt(&config, &node)?;
                    inherited
                }
                Err(lock) => Belongings::make(options, &config, &node, lock)?,
            };
            let options = options.clone();
            let (daemon, reports) =
                Daemon::start(options, config, state, node, program, belongings, handover)?;
            daemon.serve(reports).await
        })?;
        drop(runtime);
        match ended {
            Ended::Left => return Ok(()),
            Ended::Restart(next) => {
                let (again, belongings, handover) = *next;
                let error = again.replace(&belongings);
                error!(%error, "cannot become the new program; going on with this one");
                program = again;
                left = Some((belongings, Some(handover)));
            }
        }
    }
}

/// Whether the daemon could start: what [`run`] reads is all there and good. Nothing is made, bound or changed.
///
/// # Errors
/// What is wrong.
pub fn check(options: &Options) -> anyhow::Result<()> {
    let config = Config::read(&options.config)?;
    match StateDir::open(&options.state_dir)?.load() {
        Err(StateError::Missing(_)) => Ok(()),
        loaded => check_node(&loaded?, &config),
    }
}

fn load_node(state: &StateDir, config: &Config) -> anyhow::Result<NodeState> {
    let node = match state.load() {
        Err(StateError::Missing(_)) => {
            info!(state_dir = %state.path().display(), "making a new identity");
            state.create(None, config.network.pow_bits)?
        }
        loaded => loaded?,
    };
    check_node(&node, config)?;
    Ok(node)
}

/// Whether the node may be what the configuration says.
fn check_node(node: &NodeState, config: &Config) -> anyhow::Result<()> {
    for delegation in &config.delegations {
        let grant = delegation.grant.grant();
        anyhow::ensure!(
            grant.holder == *node.identity.key(),
            "[[delegation]] of {} is for the node with identity key {}; this one has {}",
            grant.address,
            grant.holder,
            node.identity.key()
        );
    }
    let bits = proof_of_work_bits(node.identity.key());
    anyhow::ensure!(
        bits >= config.network.pow_bits,
        "the identity has {bits} bits of proof of work and the network demands {}; make another with: molt id new \
         --pow-bits {0} --state-dir DIR",
        config.network.pow_bits
    );
    Ok(())
}

impl Daemon {
    fn start(
        options: Options,
        config: Config,
        state: StateDir,
        mut node: NodeState,
        program: Program,
        belongings: Belongings,
        handover: Option<Handover>,
    ) -> anyhow::Result<(Self, mpsc::Receiver<bgp::Report>)> {
        let Belongings { device, sockets, listener, lock } = belongings;
        let listen = sockets.local_addrs();
        let mesh = config.network.prefix;
        let own = node.addresses(mesh).into_iter().map(MeshAddr::ip);
        let addresses: Vec<Ipv6Addr> = own.chain(config.lent()).collect();
        let interface = device.name().to_owned();
        let clock = Clock::start();
        let link_local = node.identity.link_local();
        let seeds = [random()?, random()?, random()?, random()?];
        if let Some(handover) = &handover {
            node.draw = handover.draw;
        }
        let data = Dataplane::new(
            WireGuardEngine::new(&node.identity),
            NodeConfig { mesh, addresses: addresses.clone(), link_local, seed: seeds[0] },
        );
        let stakes = Stakes::start(&config, &state, clock, seeds[3])?;
        let packets = molt_tun::driver::spawn(data, device, sockets, clock)?;
        let speaker = config.bgp.as_ref().zip(addresses.first()).map(|(bgp, address)| SpeakerConfig {
            asn: bgp.asn,
            identifier: node.identity.router_id(node.draw).0,
            address: *address,
            announce: bgp.announce.clone(),
            own: mesh.prefix(),
            seed: seeds[2],
        });
        let (connections, reports) = match &speaker {
            Some(speaker) => Connections::listen(speaker.address).map(|(open, inbox)| (Some(open), inbox))?,
            None => (None, mpsc::channel(1).1),
        };
        let control = Control::new(
            ControlConfig {
                mesh,
                identity: node.identity.clone(),
                draw: node.draw,
                unix_ms: clock.unix_ms_at_start(),
                verifier: Arc::new(Strict),
                rights: config.rights(),
                addresses,
                link_local,
                name: config.node.name.as_ref().map(|name| name.as_str().to_owned()),
                ospf: config.ospf.clone(),
                bfd: config.bfd.session(),
                external: config.externals(),
                delegations: config.delegations.iter().map(|it| it.grant.clone()).collect(),
                bgp: speaker,
                seed: seeds[1],
                handover,
            },
            clock.now(),
        );
        let router_id = control.ospf().router_id();
        info!(address = %node.addresses(mesh)[0], %router_id, interface, ?listen, "started");
        let daemon = Self {
            me: Me { node, interface, listen },
            state,
            options,
            config,
            clock,
            control,
            wake: readable(packets.event_fd().try_clone_to_owned()?)?,
            packets,
            endpoints: Endpoints::default(),
            bgp: connections,
            stakes,
            waiting: Vec::new(),
            probes: BTreeMap::new(),
            leaving: None,
            restarting: None,
            program,
            listener,
            lock,
        };
        Ok((daemon, reports))
    }

    async fn serve(mut self, mut reports: mpsc::Receiver<bgp::Report>) -> anyhow::Result<Ended> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let (inquiries, mut inbox) = mpsc::channel(server::BACKLOG);
        let (found, mut resolved) = mpsc::channel(endpoints::BACKLOG);
        let (verdicts, mut checked) = mpsc::channel(1);
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let server = tokio::spawn(server::serve(listener, inquiries));
        self.apply_peers();
        self.endpoints.refresh(&found);
        sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
        let mut patrol = tokio::time::interval(endpoints::PATROL);
        patrol.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut deadline = None;
        loop {
            let stuck = self.pass_commands();
            self.pass_notices();
            if self.leaving.as_ref().is_some_and(|leaving| leaving.complete) || deadline.is_some_and(is_past)
            {
                break;
            }
            if let Some(Restarting::Ready(..)) = self.restarting {
                break;
            }
            let timer = self.until_next_timer(stuck);
            tokio::select! {
                biased;
                ready = self.wake.readable() => {
                    let mut ready = ready?;
                    self.packets.clear_event_fd();
                    ready.clear_ready();
                    anyhow::ensure!(!self.packets.is_finished(), "the packet loop has ended; see the log above");
                }
                () = tokio::time::sleep(timer) => {}
                Some(inquiry) = inbox.recv() => self.handle_inquiry(inquiry, &verdicts),
                Some(verdict) = checked.recv() => self.handle_verdict(verdict, &verdicts),
                Some(report) = reports.recv() => self.handle_bgp(report),
                Some(found) = resolved.recv() => self.handle_resolved(found),
                _ = patrol.tick() => {
                    self.control.set_clock(self.clock.unix_ms_at_start(), self.clock.now());
                    self.endpoints.patrol(&mut self.control);
                    self.endpoints.refresh(&found);
                }
                _ = terminate.recv() => self.leave(None),
                _ = interrupt.recv() => self.leave(None),
                _ = hangup.recv() => self.reload_on_signal(&found),
            }
            if self.leaving.is_some() && deadline.is_none() {
                deadline = Some(tokio::time::Instant::now() + SHUTDOWN_PATIENCE);
            }
            self.take_events();
        }
        server.abort();
        match self.restarting.take() {
            Some(Restarting::Ready(told, handover)) => {
                let (program, belongings, handover) = self.hand_over(told, handover).await?;
                Ok(Ended::Restart(Box::new((program, belongings, handover))))
            }
            Some(Restarting::Checking(_) | Restarting::Preparing(_)) | None => {
                self.stop().await.map(|()| Ended::Left)
            }
        }
    }

    /// Moves what the packet core reports into the control plane, and runs its timers.
    fn take_events(&mut self) {
        while let Some(event) = self.packets.poll_event() {
            let now = self.clock.now();
            self.control.handle_event(event, now);
        }
        let now = self.clock.now();
        if self.control.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.control.handle_timeout(now);
            let took = self.clock.now().since(now);
            self.control.note_duration(now, took);
        }
    }

    /// Passes commands on while the ring takes them. Whether some are left.
    fn pass_commands(&mut self) -> bool {
        while let Some(command) = self.control.poll_command() {
            if let Err(command) = self.packets.send(command) {
                self.control.retry_command(command);
                return true;
            }
        }
        false
    }

    fn until_next_timer(&self, stuck: bool) -> Duration {
        let timer = self
            .control
            .poll_timeout()
            .map_or(Duration::from_secs(3600), |(at, _)| at.since(self.clock.now()));
        if stuck { timer.min(RING_RETRY) } else { timer }
    }

    fn pass_notices(&mut self) {
        while let Some(notice) = self.control.poll_notice() {
            match notice {
                Notice::Bgp(output) => {
                    if let Some(bgp) = &mut self.bgp {
                        bgp.carry_out(output);
                    }
                }
                Notice::Probe(reply) => self.pass_probe(reply),
                Notice::RestartReady(handover) => self.ready_to_restart(handover),
                Notice::RouterIdChanged(draw) => {
                    if let Err(error) = self.state.save_draw(draw) {
                        warn!(
                            "the new router id is lost at the next start: {:#}",
                            anyhow::Error::from(error)
                        );
                    }
                }
                Notice::ShutdownComplete => {
                    if let Some(leaving) = &mut self.leaving {
                        leaving.complete = true;
                    }
                }
                Notice::Snapshot(snapshot) => self.answer_waiting(&snapshot),
            }
        }
    }

    fn pass_probe(&mut self, reply: ProbeReply) {
        let name = self.control.name_of(reply.from, self.clock.now());
        if let Some(asker) = self.probes.get(&reply.id) {
            // A client that does not read its answers loses them.
            drop(asker.try_send(Probed { reply, name }));
        }
    }

    fn handle_inquiry(&mut self, inquiry: Inquiry, verdicts: &mpsc::Sender<restart::Verdict>) {
        match inquiry {
            Inquiry::Ask(Request::Down, reply) => self.leave(Some(reply)),
            Inquiry::Ask(Request::Restart, reply) => self.ask_restart(reply, verdicts),
            Inquiry::Ask(Request::Reload, reply) => {
                let answer = match self.reload() {
                    Ok(reloaded) => Response::Ok(crate::api::Answer::Reloaded(reloaded)),
                    Err(error) => refuse(FailureKind::Failed, format!("{error:#}; nothing was changed")),
                };
                drop(reply.send(answer));
            }
            Inquiry::Ask(request @ (Request::ChainAdmit(_) | Request::ChainStanding(_)), reply) => {
                drop(reply.send(self.answer_chain(&request)));
            }
            Inquiry::Ask(request, reply) => {
                if answers::needs_snapshot(&request) {
                    self.waiting.push((request, reply));
                    self.control.request_snapshot();
                } else {
                    drop(reply.send(self.answer(&request, None)));
                }
            }
            Inquiry::Probe { probe, reply } => {
                self.probes.retain(|_, asker| !asker.is_closed());
                self.probes.insert(probe.id, reply);
                self.control.probe(probe);
            }
            Inquiry::Resolve(target, reply) => {
                let resolved = self.control.resolve(&target, self.clock.now());
                let failure =
                    |error: ResolveError| Failure { kind: FailureKind::Unknown, message: error.to_string() };
                drop(reply.send(resolved.map_err(failure)));
            }
        }
    }

    fn answer_waiting(&mut self, snapshot: &Snapshot) {
        for (request, reply) in std::mem::take(&mut self.waiting) {
            drop(reply.send(self.answer(&request, Some(snapshot))));
        }
    }

    fn apply_peers(&mut self) -> PeerChanges {
        let peers = self.endpoints.configure(&self.config.peers);
        let changes = self.control.set_peers(peers, self.clock.now());
        if let Some(bgp) = &self.config.bgp {
            let timers = self.config.bfd.session();
            let peers = bgp.peers.iter().map(|peer| peer.config(timers)).collect();
            self.control.set_bgp_peers(peers, self.clock.now());
        }
        changes
    }

    fn handle_bgp(&mut self, report: bgp::Report) {
        if let Some(bgp) = &mut self.bgp {
            bgp.handle(report, &mut self.control, self.clock.now());
        }
    }

    fn handle_resolved(&mut self, found: endpoints::Found) {
        if let Some((key, address)) = self.endpoints.resolved(found)
            && let Some(link) = self.control.link_of(&key)
        {
            debug!(%link, %address, "endpoint resolved");
            self.control.set_endpoint(link, address);
        }
    }

    fn leave(&mut self, told: Option<oneshot::Sender<Response>>) {
        if self.leaving.is_some() {
            // Asked twice: whoever insists does not want to wait.
            self.leaving = Some(Leaving { told, complete: true });
            return;
        }
        // Whoever wanted a restart loses the connection.
        self.restarting = None;
        info!("leaving the mesh");
        sd_notify::notify(&[sd_notify::NotifyState::Stopping]).ok();
        self.leaving = Some(Leaving { told, complete: false });
        self.control.shutdown(self.clock.now());
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.pass_commands();
        tokio::time::sleep(LAST_WORDS).await;
        self.packets.stop().context("the packet loop failed")?;
        server::remove(&self.options.socket);
        if let Some(told) = self.leaving.and_then(|leaving| leaving.told) {
            drop(told.send(Response::Ok(crate::api::Answer::Done(crate::api::Done {
                schema: crate::api::schema::DONE.into(),
                sent: 0,
                received: 0,
            }))));
            // The connection's task must run once more to pass it on.
            tokio::time::sleep(LAST_WORDS).await;
        }
        info!("stopped");
        Ok(())
    }
}

#[expect(deprecated, reason = "sound here: an OwnedFd is the same descriptor for all its life")]
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

fn refuse(kind: FailureKind, message: String) -> Response {
    Response::Error(Failure { kind, message })
}

fn is_past(deadline: tokio::time::Instant) -> bool {
    deadline.elapsed() > Duration::ZERO
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Where the state directory and the socket of `path` would be, for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
