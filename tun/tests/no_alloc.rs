//! The packet path allocates nothing: 10,000 packets each way through three nodes, with BFD running and timers served.
//!
//! ```text
//! host ── a ══ b ══ c ── host
//! ```

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(unsafe_code, reason = "a global allocator is unsafe by its interface")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::fib::FibBuilder;
use molt_mesh::ip6::Header;
use molt_mesh::{Identity, LinkId, MeshPrefix, Prefix, Seed, Time};
use molt_tun::engine::wireguard::WireGuardEngine;
use molt_tun::{BfdChange, Command, Core as _, Dataplane, Event, LinkConfig, NodeConfig, Output};

thread_local! {
    /// Whether this thread is inside a core.
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static DEALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, watched.
struct Counting;

fn count(counter: &'static std::thread::LocalKey<Cell<u64>>) {
    if COUNTING.get() {
        counter.set(counter.get() + 1);
    }
}

// SAFETY: every call is passed on to `System` as it came, so its guarantees are `System`'s. Counting touches only
// constant-initialised thread-locals without destructors, which neither allocate nor unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(&DEALLOCATIONS);
        // SAFETY: the block came from `System`, because all blocks do, and the layout is the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&ALLOCATIONS);
        // SAFETY: the block came from `System`, because all blocks do; layout and size are the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a core's code, and counts.
fn counted<T>(core: impl FnOnce() -> T) -> T {
    COUNTING.set(true);
    let result = core();
    COUNTING.set(false);
    result
}

const NODES: usize = 3;
const PACKETS: u16 = 10_000;

fn identity(node: usize) -> Identity {
    Seed::from_bytes([u8::try_from(node).unwrap() + 1; 32]).identity()
}

fn address(node: usize) -> Ipv6Addr {
    identity(node).address(MeshPrefix::DEFAULT).ip()
}

fn underlay(node: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(node).unwrap() + 1], 51820))
}

/// The link of a node that leads to `to`.
fn link(to: usize) -> LinkId {
    LinkId::new(u32::try_from(to).unwrap() + 1).unwrap()
}

struct Rig {
    nodes: Vec<(Dataplane<WireGuardEngine>, Output)>,
    underlay: [SocketAddr; NODES],
    now: Time,
    delivered: [Vec<Vec<u8>>; NODES],
    bfd_up: usize,
}

impl Rig {
    /// Three nodes in a row with tunnels, routes and BFD.
    fn line() -> Self {
        let node = |node| {
            let addresses = vec![address(node)];
            let (mesh, link_local) = (MeshPrefix::DEFAULT, identity(node).link_local());
            let config = NodeConfig { mesh, addresses, link_local, seed: node as u64 };
            (Dataplane::new(WireGuardEngine::new(&identity(node)), config), Output::new(true))
        };
        let mut rig = Self {
            nodes: (0..NODES).map(node).collect(),
            underlay: std::array::from_fn(underlay),
            now: Time::from_millis(1000),
            delivered: Default::default(),
            bfd_up: 0,
        };
        for (node, next) in [(1, 0), (2, 1), (0, 1), (1, 2)] {
            let endpoint = (node < next).then(|| underlay(next));
            let remote = *identity(next).node_public();
            rig.command(
                node,
                Command::AddLink(LinkConfig {
                    link: link(next),
                    remote,
                    preshared: None,
                    endpoint,
                    foreign: false,
                }),
            );
            rig.command(node, Command::Forwarding(link(next), true));
        }
        rig.settle();
        for (node, next) in [(1, 0), (2, 1), (0, 1), (1, 2)] {
            let (remote, session) = (identity(next).link_local(), Some(molt_bfd::Config::default()));
            rig.command(node, Command::Bfd { link: link(next), remote, session });
        }
        for (node, hops) in [(0, [0, 1, 1]), (1, [0, 1, 2]), (2, [1, 1, 2])] {
            let mut fib = FibBuilder::default();
            for (dst, hop) in hops.into_iter().enumerate() {
                match dst == node {
                    true => fib.local(Prefix::host(address(dst))),
                    false => fib.via(Prefix::host(address(dst)), &[link(hop)]),
                };
            }
            rig.command(node, Command::Fib(Arc::new(fib.build())));
        }
        rig
    }

    fn command(&mut self, node: usize, command: Command) {
        let (core, out) = &mut self.nodes[node];
        core.handle_command(command, self.now, out);
    }

    /// Carries datagrams until none is left; the buffers of the cable are not the core's.
    fn settle(&mut self) {
        while self.nodes.iter().any(|(_, out)| !out.is_empty()) {
            for from in 0..NODES {
                let (core, out) = &mut self.nodes[from];
                while let Some(event) = core.poll_event() {
                    self.bfd_up += usize::from(matches!(event, Event::Bfd { change: BfdChange::Up, .. }));
                }
                self.delivered[from].extend(out.tun.packets().map(<[u8]>::to_vec));
                let datagrams = out.udp.transmits().flat_map(|transmit| {
                    transmit.datagrams().map(move |datagram| (transmit.to, datagram.to_vec()))
                });
                let datagrams: Vec<(SocketAddr, Vec<u8>)> = datagrams.collect();
                counted(|| out.clear());
                for (to, mut datagram) in datagrams {
                    let to = self.underlay.iter().position(|at| *at == to).unwrap();
                    let (source, now) = (self.underlay[from], self.now);
                    let (core, out) = &mut self.nodes[to];
                    counted(|| core.handle_datagram(source, &mut datagram, now, out));
                }
            }
        }
    }

    /// A millisecond passes.
    fn tick(&mut self) {
        self.now += Duration::from_millis(1);
        for (core, out) in &mut self.nodes {
            let now = self.now;
            counted(|| {
                if core.poll_timeout().is_some_and(|(at, _)| at <= now) {
                    core.handle_timeout(now, out);
                }
            });
        }
        self.settle();
    }

    fn host_sends(&mut self, node: usize, packet: &mut [u8]) {
        let (core, out) = &mut self.nodes[node];
        let now = self.now;
        counted(|| core.handle_packet(packet, now, out));
    }

    /// A packet each way, in one millisecond, of all sizes.
    fn exchange(&mut self, number: u16) {
        for (src, dst) in [(0, 2), (2, 0)] {
            let header = Header { src: address(src), dst: address(dst), hop_limit: 64, traffic_class: 0 };
            let mut packet = header.udp(number, 9, &vec![7; usize::from(number) % 1200]);
            self.host_sends(src, &mut packet);
        }
        self.tick();
    }
}

#[test]
fn a_data_packet_allocates_nothing_in_any_core() {
    let mut rig = Rig::line();
    for number in 0..3_000 {
        rig.exchange(number);
    }
    assert_eq!(rig.bfd_up, 4, "BFD runs on both ends of both tunnels");
    rig.delivered.iter_mut().for_each(Vec::clear);
    ALLOCATIONS.set(0);
    DEALLOCATIONS.set(0);
    for number in 0..PACKETS {
        rig.exchange(number);
    }
    assert_eq!((ALLOCATIONS.get(), DEALLOCATIONS.get()), (0, 0), "allocations and deallocations");
    let delivered = rig.delivered.each_ref().map(Vec::len);
    assert_eq!(delivered, [usize::from(PACKETS), 0, usize::from(PACKETS)]);
    assert_eq!(rig.nodes[1].0.snapshot(rig.now).transit_packets, 2 * 13_000);
    for (core, _) in &rig.nodes {
        assert_eq!(core.counters().total(), 0);
        assert!(core.snapshot(rig.now).bfd.iter().all(|session| session.state == molt_bfd::State::Up));
    }
}

#[test]
fn the_counter_counts() {
    let before = (ALLOCATIONS.get(), DEALLOCATIONS.get());
    counted(|| drop(std::hint::black_box(Box::new([1u8; 100]))));
    drop(std::hint::black_box(Box::new([1u8; 100])));
    assert_eq!((ALLOCATIONS.get(), DEALLOCATIONS.get()), (before.0 + 1, before.1 + 1));
}
