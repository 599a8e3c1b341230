//! A bare TUN-to-UDP forwarder: the packet loop with the least core there can be. It marks what the loop itself costs;
//! the difference to the real core is the price of tunnels and routing.
//!
//! ```text
//! bare NAME ADDRESS PREFIX LISTEN PEER [--seal] [--no-gso]
//! bare molt0 fd00:6d6f:6c74::1 fd00:6d6f:6c74::/48 0.0.0.0:51820 192.0.2.2:51820 --seal
//! ```
//!
//! `--seal` encrypts each packet with ChaCha20-Poly1305 under a fixed key: good for measuring, worthless for secrecy.
//! `--no-gso` sends datagram by datagram, to see what trains are worth.

use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::thread;

use molt_mesh::Time;
use molt_tun::{Clock, Core, Device, DeviceConfig, IoCounters, Output, Sockets, spawn};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// In front of the sealed packet: a counter, padded to the 16 bytes of WireGuard's data header.
const HEADER_LEN: usize = 16;
const TAG_LEN: usize = 16;

struct Bare {
    peer: SocketAddr,
    seal: Option<Seal>,
}

struct Seal {
    key: LessSafeKey,
    counter: u64,
}

impl Core for Bare {
    type Command = ();
    type Event = IoCounters;

    fn handle_datagram(&mut self, _from: SocketAddr, datagram: &mut [u8], _now: Time, out: &mut Output) {
        match &self.seal {
            None => drop(out.tun.push(datagram)),
            Some(seal) => {
                if let Some(packet) = seal.open(datagram, out.tun.room()) {
                    out.tun.commit(packet);
                }
            }
        }
    }

    fn handle_packet(&mut self, packet: &mut [u8], _now: Time, out: &mut Output) {
        let seal = &mut self.seal;
        out.udp.push(self.peer, 0, |room| match seal {
            None => {
                room[..packet.len()].copy_from_slice(packet);
                packet.len()
            }
            Some(seal) => seal.seal(packet, room),
        });
    }

    fn handle_timeout(&mut self, _now: Time, _out: &mut Output) {}

    fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        None
    }

    fn handle_command(&mut self, (): (), _now: Time, _out: &mut Output) {}

    fn poll_event(&mut self) -> Option<IoCounters> {
        None
    }

    fn note_io(&mut self, counters: IoCounters) {
        eprintln!("{counters:?}");
    }
}

impl Seal {
    fn new() -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("the key has 32 bytes");
        Self { key: LessSafeKey::new(key), counter: 0 }
    }

    fn seal(&mut self, packet: &[u8], room: &mut [u8]) -> usize {
        let len = packet.len();
        let (header, rest) = room.split_at_mut(HEADER_LEN);
        let (body, tag) = rest.split_at_mut(len);
        header[..8].copy_from_slice(&self.counter.to_le_bytes());
        body.copy_from_slice(packet);
        let sealed = self.key.seal_in_place_separate_tag(nonce(self.counter), Aad::empty(), body);
        tag[..TAG_LEN].copy_from_slice(sealed.expect("far below the limit of 256 GiB").as_ref());
        self.counter += 1;
        HEADER_LEN + len + TAG_LEN
    }

    fn open(&self, datagram: &mut [u8], room: &mut [u8]) -> Option<usize> {
        let (header, body) = datagram.split_at_mut_checked(HEADER_LEN)?;
        let counter = u64::from_le_bytes(*header.first_chunk()?);
        let packet = self.key.open_in_place(nonce(counter), Aad::empty(), body).ok()?;
        room[..packet.len()].copy_from_slice(packet);
        Some(packet.len())
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, address, route, listen, peer, options @ ..] = &arguments[..] else {
        return Err("usage: bare NAME ADDRESS PREFIX LISTEN PEER [--seal] [--no-gso]".into());
    };
    let device = Device::create(&DeviceConfig {
        name: name.clone(),
        addresses: vec![address.parse()?],
        lent: Vec::new(),
        routes: vec![route.parse()?],
        mtu: 1280,
    })?;
    let given = |name: &str| options.iter().any(|option| option == name);
    let mut sockets = Sockets::bind(listen.parse()?)?;
    sockets.set_gso(!given("--no-gso"));
    let seal = given("--seal").then(Seal::new);
    let handle = spawn(Bare { peer: peer.parse()?, seal }, device, sockets, Clock::start())?;
    while !handle.is_finished() {
        thread::park();
    }
    Ok(handle.stop()?)
}
