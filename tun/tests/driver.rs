//! The packet loop with a real device and real sockets. Needs root and iproute2.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{HERE, THERE, config, isolated, run};
use molt_mesh::Time;
use molt_mesh::ip6::Packet;
use molt_tun::{Clock, Core, Device, Handle, IoCounters, Output, Sockets, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Counts the allocations of threads that asked for it.
struct Counting;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "the trait is unsafe")]
// SAFETY: passes every call on to the system's allocator. The thread-local is a constant without a destructor, so using
// it does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of this function, and the memory is from `System`.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What a packet from the host turns into.
#[derive(Debug, Clone, Copy)]
enum Path {
    /// It becomes an event.
    Event,
    /// It goes out as a datagram to the node's own port, and comes back into the device with its addresses swapped: a
    /// connection to any mesh address ends at the same port of this host.
    Mirror(SocketAddr),
}

struct Echo {
    path: Path,
    events: Vec<Event>,
    deadline: Option<Time>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Command(u32),
    Counters(IoCounters),
    Packet(Vec<u8>),
    Timeout { due: Time, now: Time },
}

#[derive(Debug)]
enum Command {
    /// That many events.
    Events(u32),
    Panic,
    Timer(Time),
}

impl Core for Echo {
    type Command = Command;
    type Event = Event;

    fn handle_datagram(&mut self, _from: SocketAddr, packet: &mut [u8], _now: Time, out: &mut Output) {
        let len = Packet::new(packet).unwrap().len();
        let (src, dst) = packet[8..40].split_at_mut(16);
        src.swap_with_slice(dst);
        assert!(out.tun.push(&packet[..len]));
    }

    fn handle_packet(&mut self, packet: &mut [u8], _now: Time, out: &mut Output) {
        COUNTED.set(true);
        assert!(packet.len() <= 1280, "{} bytes", packet.len());
        let view = Packet::new(packet).unwrap();
        assert!(view.upper_layer_checksum_is_valid(), "{packet:02x?}");
        match self.path {
            Path::Event => self.events.push(Event::Packet(packet.to_vec())),
            Path::Mirror(own) => {
                let pushed = out.udp.push(own, 0, |room| {
                    // As much larger as a sealed packet is.
                    room[..packet.len()].copy_from_slice(packet);
                    room[packet.len()..packet.len() + 60].fill(0);
                    packet.len() + 60
                });
                assert!(pushed, "the loop reads packets for which there is no room");
            }
        }
    }

    fn handle_timeout(&mut self, now: Time, _out: &mut Output) {
        let due = self.deadline.take().unwrap();
        self.events.push(Event::Timeout { due, now });
    }

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.deadline.map(|deadline| (deadline, "test"))
    }

    fn handle_command(&mut self, command: Command, _now: Time, _out: &mut Output) {
        match command {
            Command::Events(count) => self.events.extend((0..count).rev().map(Event::Command)),
            Command::Panic => panic!("as commanded"),
            Command::Timer(deadline) => self.deadline = Some(deadline),
        }
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn note_io(&mut self, counters: IoCounters) {
        self.events.push(Event::Counters(counters));
    }
}

fn start(mirror: bool) -> (Handle<Echo>, Clock) {
    run("ip link set lo up");
    let device = Device::create(&config()).unwrap();
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let own = (Ipv4Addr::LOCALHOST, sockets.port()).into();
    let path = if mirror { Path::Mirror(own) } else { Path::Event };
    let clock = Clock::start();
    let core = Echo { path, events: Vec::new(), deadline: None };
    (spawn(core, device, sockets, clock).unwrap(), clock)
}

/// The next event, for which it waits up to `patience`.
fn next_event(handle: &mut Handle<Echo>, patience: Duration) -> Option<Event> {
    loop {
        handle.clear_event_fd();
        if let Some(event) = handle.poll_event() {
            return Some(event);
        }
        let patience = Timespec::try_from(patience).unwrap();
        let fd = handle.event_fd();
        if poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            return None;
        }
    }
}

const SOON: Duration = Duration::from_secs(5);

/// Sends `total` bytes over a connection to a mesh address, which the mirror turns back to this host.
fn transfer(total: usize) {
    let pattern = |i: usize| (i / 7 + i % 251) as u8;
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect((THERE, port)).unwrap();
        let bytes: Vec<u8> = (0..total).map(pattern).collect();
        stream.write_all(&bytes).unwrap();
    });
    let (mut stream, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), THERE);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    sender.join().unwrap();
    assert_eq!(bytes.len(), total);
    assert!(bytes.iter().enumerate().all(|(i, byte)| *byte == pattern(i)));
}

/// How many packets and super-packets the host has received from the device.
fn received_by_host() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("molt0:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_connection_survives_splitting_trains_and_joining() {
    isolated("a_connection_survives_splitting_trains_and_joining", || {
        let (handle, _) = start(true);
        transfer(20_000_000);
        // 16,400 segments of 1,220 bytes went through the core, and some thousand acknowledgements.
        let received = received_by_host();
        assert!(received < 8000, "{received}");
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0);
        handle.stop().unwrap();
    });
}

#[test]
fn a_path_too_narrow_for_trains_gets_single_datagrams() {
    isolated("a_path_too_narrow_for_trains_gets_single_datagrams", || {
        let (mut handle, _) = start(true);
        // Full packets are 1,340 bytes inside of UDP: the kernel refuses trains of them, and fragments single ones.
        run("ip link set lo mtu 1300");
        transfer(2_000_000);
        let mut refusals = 0;
        while let Some(event) = handle.poll_event() {
            if let Event::Counters(counters) = event {
                refusals = counters.udp.gso_refusals;
                assert_eq!(counters, IoCounters { udp: counters.udp, ..IoCounters::default() });
                assert_eq!(counters.udp.send_errors, 0);
            }
        }
        assert_eq!(refusals, 1, "the path is remembered");
        handle.stop().unwrap();
    });
}

#[test]
fn a_slow_uplink_stops_the_loop_from_reading_packets() {
    isolated("a_slow_uplink_stops_the_loop_from_reading_packets", || {
        let (handle, _) = start(true);
        // With a queue longer than our send buffer, the socket is what fills up.
        run("tc qdisc add dev lo root tbf rate 200mbit burst 128kb limit 100mb");
        let program = UdpSocket::bind((HERE, 7000)).unwrap();
        // 25 MB, of which 4 fit the send buffer and 1 the queue of the device. The core checks that it gets no packet
        // while its batch is full.
        for _ in 0..20_000 {
            program.send_to(&[0; 1232], (THERE, 7000)).unwrap();
        }
        // What was accepted drains, and then everything works as before.
        transfer(1_000_000);
        handle.stop().unwrap();
    });
}

#[test]
fn datagrams_reach_a_program_on_the_host() {
    isolated("datagrams_reach_a_program_on_the_host", || {
        let (handle, _) = start(true);
        let program = UdpSocket::bind((HERE, 7000)).unwrap();
        program.set_read_timeout(Some(SOON)).unwrap();
        // To THERE, port 7000, from port 7000: the mirror makes it a datagram to ourselves.
        for len in [1, 1232, 1232, 1232, 400, 0] {
            let payload = vec![len as u8; len];
            program.send_to(&payload, (THERE, 7000)).unwrap();
            let mut buffer = [0; 2000];
            let (got, from) = program.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..got], from), (&payload[..], (THERE, 7000).into()));
        }
        handle.stop().unwrap();
    });
}

#[test]
fn the_device_is_silent_when_nobody_sends() {
    isolated("the_device_is_silent_when_nobody_sends", || {
        let (mut handle, _) = start(false);
        // Router solicitations and multicast reports would come within the first second.
        assert_eq!(next_event(&mut handle, Duration::from_millis(1500)), None);
        UdpSocket::bind((HERE, 0)).unwrap().send_to(b"speak", (THERE, 9)).unwrap();
        let Some(Event::Packet(packet)) = next_event(&mut handle, SOON) else { panic!("no packet") };
        assert_eq!(Packet::new(&packet).unwrap().udp().unwrap().payload, b"speak");
        handle.stop().unwrap();
    });
}

#[test]
fn events_keep_their_order_and_none_is_lost_when_the_ring_is_full() {
    isolated("events_keep_their_order_and_none_is_lost_when_the_ring_is_full", || {
        let (mut handle, _) = start(false);
        handle.send(Command::Events(5000)).unwrap();
        for expected in 0..5000 {
            assert_eq!(next_event(&mut handle, SOON), Some(Event::Command(expected)));
        }
        handle.stop().unwrap();
    });
}

#[test]
fn a_timer_fires_once_and_not_early() {
    isolated("a_timer_fires_once_and_not_early", || {
        let (mut handle, clock) = start(false);
        for micros in [0, 300, 1500, 20_000] {
            let deadline = clock.now() + Duration::from_micros(micros);
            handle.send(Command::Timer(deadline)).unwrap();
            let Some(Event::Timeout { due, now }) = next_event(&mut handle, SOON) else {
                panic!("no timeout")
            };
            assert!(due == deadline && now >= due, "{due} {now}");
        }
        assert_eq!(next_event(&mut handle, Duration::from_millis(100)), None);
        handle.stop().unwrap();
    });
}

#[test]
fn an_idle_loop_sleeps() {
    isolated("an_idle_loop_sleeps", || {
        let (handle, _) = start(false);
        let rounds = || {
            let tasks = std::fs::read_dir("/proc/self/task").unwrap();
            let status =
                tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
            let status = status.filter(|status| status.contains("Name:\tmolt-packets")).collect::<String>();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        thread::sleep(Duration::from_millis(200));
        let before = rounds();
        thread::sleep(Duration::from_secs(1));
        assert_eq!(rounds(), before);
        handle.stop().unwrap();
    });
}

#[test]
fn stop_ends_the_loop_and_removes_the_interface() {
    isolated("stop_ends_the_loop_and_removes_the_interface", || {
        let (handle, _) = start(false);
        handle.stop().unwrap();
        assert!(!run("ip -o link").contains("molt0"));
        let (handle, _) = start(false);
        drop(handle);
        assert!(!run("ip -o link").contains("molt0"));
    });
}

#[test]
fn the_loop_reports_that_its_interface_was_deleted() {
    isolated("the_loop_reports_that_its_interface_was_deleted", || {
        let (mut handle, _) = start(false);
        run("ip link del molt0");
        assert_eq!(next_event(&mut handle, Duration::from_millis(500)), None);
        assert!(handle.is_finished());
        assert!(handle.send(Command::Events(1)).is_err());
        assert!(handle.stop().is_err());
    });
}

#[test]
fn a_panic_of_the_core_is_noticed_and_passed_on() {
    isolated("a_panic_of_the_core_is_noticed_and_passed_on", || {
        let (mut handle, _) = start(false);
        handle.send(Command::Panic).unwrap();
        let fd = handle.event_fd();
        let patience = Timespec::try_from(SOON).unwrap();
        assert_eq!(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)), Ok(1));
        assert!(handle.is_finished());
        assert!(catch_unwind(AssertUnwindSafe(|| handle.stop())).is_err());
    });
}

#[test]
fn an_interface_that_is_set_down_and_up_works_again() {
    isolated("an_interface_that_is_set_down_and_up_works_again", || {
        let (handle, _) = start(true);
        run("ip link set molt0 down");
        run("ip link set molt0 up");
        run(&format!("ip -6 addr replace {HERE}/128 dev molt0 nodad"));
        run("ip -6 route replace fd00:6d6f:6c74::/48 dev molt0");
        transfer(100_000);
        handle.stop().unwrap();
    });
}
