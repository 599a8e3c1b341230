//! The same area in FRR and in BIRD.
//!
//! ```text
//! the script === the measured router === TUN interface (FRR or BIRD)
//! ```
//!
//! The router that was measured alone becomes the neighbour of a real daemon and hands it everything it holds; then it passes
//! on changes, one a second. What the daemon used is taken from `/proc`, less what it uses when nothing happens. `ospf6d`
//! leaves the kernel's routes to `zebra`, which is not counted; BIRD writes them itself.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use molt_lab::mesh::{Daemon, Role};
use molt_lab::netns::Namespace;
use molt_lab::process::{Process, Usage};
use molt_lab::stock::{Bird, Frr, Router, RouterConfig, kernel_routes};
use molt_mesh::port::NEXT_HEADER_OSPF;
use molt_mesh::{LinkId, Time, ip6};
use molt_routing::ospf::{LinkConfig, Ospf, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::{Area, Bench, COST, Figure, ms, pick_far_link, set_cost};

const INTERFACE: &str = "area0";
const MTU: u16 = 1280;
/// The requests of FRR 8.4.4 are 12 bytes longer than the MTU of its OSPF interface allows. Room on the device keeps them in
/// one piece, because nobody reassembles fragments here as the data plane does.
const DEVICE_MTU: [(Role, u16); 2] = [(Role::Frr, 1400), (Role::Bird, MTU)];
/// Longest wait for a packet, so that timers and the daemon's state are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Between two changes: above the hold times of FRR and of BIRD, so that each gets a calculation of its own.
const PACE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(5);

fn router(daemon: &Daemon) -> &dyn Router {
    match daemon {
        Daemon::Frr(frr) => frr,
        Daemon::Bird(bird) => bird,
    }
}

fn usage(daemon: &Daemon) -> Result<Usage> {
    let process: &Process = match daemon {
        // The last one that was started is the first: ospf6d.
        Daemon::Frr(frr) => frr.daemons().first().context("FRR has daemons")?,
        Daemon::Bird(bird) => bird.process(),
    };
    process.usage()
}

/// A daemon behind a TUN interface, in real time.
struct Live<'a> {
    bench: &'a mut Bench,
    tun: SyncDevice,
    link: LinkId,
    start: Instant,
    base: Time,
}

/// What `role` needs for an area the bench already holds. `rounds` changes of a far link's cost are passed on.
#[expect(clippy::disallowed_methods, reason = "a bench measures")]
pub(crate) fn column(role: Role, bench: &mut Bench, area: &mut Area, rounds: usize) -> Result<Vec<Figure>> {
    let routers = area.size();
    let namespace = Namespace::new("beside")?;
    let (_, device_mtu) = DEVICE_MTU.into_iter().find(|(of, _)| *of == role).context("a stock router")?;
    let tun = namespace.enter(|| {
        let tun = DeviceBuilder::new()
            .name(INTERFACE)
            .layer(Layer::L3)
            .mtu(device_mtu)
            .enable(false)
            .build_sync()?;
        tun.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(tun)
    })??;
    namespace.ip(&format!("link set {INTERFACE} addrgenmode none multicast on"))?;
    namespace.ip(&format!("addr add fe80::1:1/64 dev {INTERFACE}"))?;
    namespace.ip(&format!("link set {INTERFACE} up"))?;
    let mut config = RouterConfig::numbered(1, vec![INTERFACE.to_owned()]);
    // BIRD takes no less than 2 s.
    (config.bfd, config.retransmit_s) = (false, if role == Role::Bird { 2 } else { 1 });
    let daemon = match role {
        Role::Bird => Daemon::Bird(Bird::start(&namespace, &config)?),
        Role::Frr => {
            let frr = Frr::start(&namespace, &config)?;
            frr.configure(&[&format!("interface {INTERFACE}"), &format!("ipv6 ospf6 ifmtu {MTU}")])?;
            Daemon::Frr(frr)
        }
        Role::Meshd => bail!("meshd is not a stock router"),
    };
    let empty = usage(&daemon)?;

    let link = LinkId::new(u32::try_from(bench.neighbors.len())? + 1).context("a number above zero")?;
    let base = bench.now;
    let mut live = Live { bench, tun, link, start: Instant::now(), base };
    live.bench.wire = Some((link, Vec::new()));
    live.connect()?;
    let begin = live.start.elapsed();
    let mut full = None;
    live.run_until(PATIENCE, |live| {
        if full.is_none() {
            let full_here = live.bench.state(link) == Some(State::Full);
            let neighbours = router(&daemon).neighbours()?;
            if full_here && neighbours.iter().any(|neighbour| neighbour.state == "Full") {
                full = Some(live.start.elapsed() - begin);
            }
            return Ok(false);
        }
        // Its own is no route of the kernel's, and the measured router's is one.
        Ok(kernel_routes(&namespace)?.len() >= routers)
    })
    .with_context(|| format!("{role:?} in an area of {routers}"))?;
    live.run_for(IDLE)?;
    let taken_in = usage(&daemon)?;
    live.run_for(IDLE)?;
    let before = usage(&daemon)?;
    let idle = (before.cpu - taken_in.cpu).as_secs_f64() / IDLE.as_secs_f64();
    let start = live.start.elapsed();
    let mut rng = fastrand::Rng::with_seed(routers as u64);
    let mut far = (0, 0);
    for round in 0..rounds {
        if round % 2 == 0 {
            far = pick_far_link(&mut rng, area);
        }
        let (router, to) = far;
        set_cost(area, router, to, if round % 2 == 0 { 2 * COST } else { COST })?;
        live.advance();
        live.bench.say(area.links_lsas(router))?;
        live.run_for(PACE)?;
    }
    let after = usage(&daemon)?;
    let quiet = idle * (live.start.elapsed() - start).as_secs_f64();
    let change = ((after.cpu - before.cpu).as_secs_f64() - quiet).max(0.0) / rounds as f64;
    ensure!(live.bench.state(link) == Some(State::Full), "{role:?} was lost as a neighbour");
    live.bench.wire = None;
    live.bench.ospf.remove_link(link, live.bench.now);
    Ok(vec![
        ("until it is Full with all of the database", "ms", ms(full.unwrap_or_default())),
        ("take in the database, CPU", "ms", ms(taken_in.cpu - empty.cpu)),
        ("a far link's cost, CPU with all that belongs to it", "ms", change * 1e3),
        ("memory over that without an area", "MB", (after.rss.saturating_sub(empty.rss)) as f64 / 1e6),
    ])
}

impl Live<'_> {
    fn connect(&mut self) -> Result<()> {
        self.advance();
        let config = LinkConfig {
            link: self.link,
            cost: COST,
            local: "fe80::ffff".parse()?,
            mtu: MTU,
            stock: true,
            allow: Vec::new(),
        };
        self.bench.timed(|ospf, now| {
            ospf.add_link(config.clone(), now);
            ospf.handle_link_up(config.link, now);
        });
        Ok(())
    }

    /// The router's clock follows the real one.
    fn advance(&mut self) {
        self.bench.now = self.base + self.start.elapsed();
    }

    fn run_for(&mut self, duration: Duration) -> Result<()> {
        let end = self.start.elapsed() + duration;
        self.run_until(duration + PATIENCE, |live| Ok(live.start.elapsed() >= end))
    }

    /// Until `done`, which is asked four times a second.
    fn run_until(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let end = self.start.elapsed() + patience;
        let mut asked = self.start.elapsed();
        loop {
            self.step()?;
            let now = self.start.elapsed();
            if now >= asked {
                if done(self)? {
                    return Ok(());
                }
                asked = self.start.elapsed() + Duration::from_millis(250);
            }
            ensure!(
                now < end,
                "it took longer than {patience:?}; refused here: {:?}",
                self.bench.ospf.counters().rejected
            );
        }
    }

    fn step(&mut self) -> Result<()> {
        self.advance();
        while self.bench.ospf.poll_timeout().is_some_and(|(at, _)| at <= self.bench.now) {
            self.bench.timed(Ospf::handle_timeout);
        }
        self.bench.settle()?;
        if let Some((_, packets)) = &mut self.bench.wire {
            for packet in packets.drain(..) {
                // A full queue loses a packet, as a network does.
                self.tun.send(&packet).ok();
            }
        }
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        poll(&mut [PollFd::new(&self.tun, PollFlags::IN)], Some(&wait))?;
        let mut buffer = [0; 2048];
        while let Ok(len) = self.tun.recv(&mut buffer) {
            let Ok(packet) = ip6::Packet::new(&buffer[..len]) else { continue };
            if packet.next_header() == NEXT_HEADER_OSPF {
                self.receive(packet.src(), packet.dst(), packet.payload());
            }
        }
        Ok(())
    }

    fn receive(&mut self, src: Ipv6Addr, dst: Ipv6Addr, payload: &[u8]) {
        self.advance();
        let link = self.link;
        // What it refuses it counts; the daemon says things again.
        let _refused = self.bench.timed(|ospf, now| ospf.handle_packet(link, src, dst, 1, payload, now));
    }
}
