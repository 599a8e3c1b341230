//! Whole meshes against a naive oracle.

use std::sync::Arc;
use std::time::Duration;

use molt_mesh::ip6::ALL_SPF_ROUTERS;
use molt_mesh::{LinkId, RouterId};
use molt_routing::ospf::lsa::{LsType, Lsa, LsaKey};
use molt_routing::ospf::packet::PacketBody;
use molt_routing::ospf::{Packet, State};

use crate::rig::{Net, local, router_id};

/// A ring and random chords.
fn random_mesh(nodes: usize, chords: usize, seed: u64) -> Net {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Every second one is of members.
    let mut net = if seed.is_multiple_of(2) { Net::members(nodes, seed) } else { Net::new(nodes, seed) };
    for node in 0..nodes {
        net.connect(node, (node + 1) % nodes, rng.u16(1..4) * 10);
    }
    for _ in 0..chords {
        let (a, b) = (rng.usize(..nodes), rng.usize(..nodes));
        if a != b {
            net.connect(a, b, rng.u16(1..4) * 10);
        }
    }
    net
}

#[test]
fn databases_and_routes_agree_with_the_oracle() {
    for seed in 0..10 {
        let mut net = random_mesh(12, 8, seed);
        net.run_for(Duration::from_secs(60));
        assert!(net.is_settled(), "seed {seed}: {}", net.unsettled());
    }
}

#[test]
fn loss_delay_reordering_and_duplication_never_wedge() {
    for seed in 0..40 {
        let mut net = random_mesh(8, 4, seed);
        net.loss = [0.05, 0.1, 0.2][seed as usize % 3];
        net.duplication = 0.05;
        net.jitter = Duration::from_millis(30);
        net.run_for(Duration::from_secs(90));
        // At 20 % now and then four Hellos in a row are lost, and an adjacency with them; it comes back.
        net.run_while(Duration::from_secs(60), Net::all_full);
        // The rest of what is in flight.
        net.loss = 0.0;
        net.run_for(Duration::from_secs(30));
        assert!(net.is_settled(), "seed {seed}: {}", net.unsettled());
    }
}

/// Ten packets of descriptions each way and hundreds of requested LSAs, with packets lost, doubled and overtaken.
#[test]
fn the_exchange_of_a_large_database_never_wedges() {
    for seed in 0..30 {
        let mut net = Net::new(2, seed);
        net.connect(0, 1, 10);
        net.run_for(Duration::from_secs(5));
        for node in 0..2 {
            let router = RouterId(0x0909_0900 + node);
            for first in (0..600).step_by(60) {
                let key = |id| LsaKey { ls_type: LsType(0xbff0), router, id };
                let lsas = (first..first + 60).map(|id| Lsa::new(key(id), 1, 0, Arc::from(vec![7; 40])));
                // Only this node learns of it: the other one is told that it sent it.
                net.cut(0);
                net.inject(0, node as usize, PacketBody::Update(lsas.collect())).unwrap();
                net.wires[0].up = true;
            }
        }
        net.loss = 0.2;
        net.duplication = 0.1;
        net.jitter = Duration::from_millis(20);
        net.down(0);
        net.up(0);
        let took = net.run_while(Duration::from_secs(120), |net| {
            net.all_full() && net.nodes.iter().all(|node| node.neighbors(net.now)[0].retransmissions == 0)
        });
        assert!(took < Duration::from_secs(100), "seed {seed}: {took:?}");
        net.loss = 0.0;
        net.run_for(Duration::from_secs(20));
        assert!(net.is_settled(), "seed {seed}: {}", net.unsettled());
        assert_eq!(net.area_lsas(0).len(), 1200 + 6);
    }
}

#[test]
fn random_failures_costs_and_restarts_settle_to_the_oracle() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut net = random_mesh(8, 5, seed);
        net.loss = 0.05;
        net.jitter = Duration::from_millis(10);
        for _ in 0..30 {
            net.run_for(Duration::from_millis(rng.u64(..5000)));
            let wire = rng.usize(..net.wires.len());
            match rng.u8(..4) {
                0 if net.wires[wire].up => net.down(wire),
                0 => net.up(wire),
                1 => net.set_cost(wire, rng.usize(..2), rng.u16(1..100)),
                2 => net.restart(rng.usize(..8)),
                _ => {}
            }
        }
        net.loss = 0.0;
        for wire in 0..net.wires.len() {
            if !net.wires[wire].up {
                net.up(wire);
            }
        }
        // MinLSInterval, retransmissions and the longest wait for a Hello.
        net.run_for(Duration::from_secs(90));
        assert!(net.is_settled(), "seed {seed}: {}", net.unsettled());
    }
}

/// A neighbour that is out of its mind: packets of the past with some bytes changed, and then made valid again where a
/// checksum would have protected us. The others notice nothing, and when it comes to its senses all is well.
#[test]
fn a_neighbour_that_sends_nonsense_harms_nobody_else() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut net = Net::chain(4);
        net.run_for(Duration::from_secs(10));
        let changes = |net: &Net| net.nodes[2].neighbors(net.now)[1].state_changes;
        let before = changes(&net);
        let (_, victim): (usize, LinkId) = net.wires[0].ends[1];
        let corpus: Vec<_> = net.sent.iter().filter(|(_, node, ..)| *node <= 1).cloned().collect();
        for _ in 0..500 {
            let (.., packet) = &corpus[rng.usize(..corpus.len())];
            let mut bytes = packet[40..].to_vec();
            for _ in 0..rng.usize(..3) {
                let at = rng.usize(16..bytes.len());
                bytes[at] =
                    if rng.bool() { rng.u8(..) } else { *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap() };
            }
            let Ok(mut packet) = Packet::decode(&bytes) else { continue };
            packet.router = router_id(0);
            if let PacketBody::Update(lsas) = &mut packet.body {
                for lsa in lsas {
                    let header = lsa.header;
                    *lsa = Lsa::new(header.key, header.seq, header.raw_age, lsa.body().clone());
                }
            }
            let bytes = packet.encode(local(0), ALL_SPF_ROUTERS);
            let _ = net.inject_bytes(1, victim, local(0), &bytes);
            net.run_for(Duration::from_millis(rng.u64(..200)));
        }
        assert_eq!(net.state(2, net.wires[2].ends[0].1), State::Full, "seed {seed}");
        assert_eq!(changes(&net), before, "seed {seed}: an adjacency far away was touched");
        // What it invented ages out in an hour.
        net.run_for(Duration::from_secs(3800));
        assert!(net.is_settled(), "seed {seed}: {}", net.unsettled());
    }
}
