use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use fastrand::Rng;
use molt_mesh::ip6::{HOP_LIMIT_OFFSET, Packet};
use molt_mesh::port::{NEXT_HEADER_FRAGMENT, NEXT_HEADER_TCP, NEXT_HEADER_UDP};

use super::*;
use crate::testing::{ACK, CWR, FIN, HEADER, PSH, SYN, Tcp, host, split_all, udp, writes};
use crate::virtio;

fn to(n: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, n), 51820).into()
}

fn push(batch: &mut UdpBatch, to: SocketAddr, class: u8, datagram: &[u8]) -> bool {
    batch.push(to, class, |room| {
        assert!(room.len() >= MAX_DATAGRAM);
        room[..datagram.len()].copy_from_slice(datagram);
        datagram.len()
    })
}

/// Length and segment of each transmit.
fn shapes(batch: &UdpBatch) -> Vec<(usize, usize)> {
    batch.transmits().map(|transmit| (transmit.contents.len(), transmit.segment)).collect()
}

#[test]
fn equal_datagrams_share_a_transmit_until_a_shorter_one_ends_it() {
    let mut batch = UdpBatch::new();
    for len in [100, 100, 60, 60, 100] {
        push(&mut batch, to(1), 0, &vec![1; len]);
    }
    assert_eq!(shapes(&batch), [(260, 100), (60, 60), (100, 100)]);
    let datagrams = batch.transmits().next().unwrap().datagrams().map(<[u8]>::len).collect::<Vec<_>>();
    assert_eq!(datagrams, [100, 100, 60]);
}

#[test]
fn destination_and_traffic_class_are_part_of_a_transmit() {
    let mut batch = UdpBatch::new();
    for (to, class) in [(to(1), 0), (to(1), 0xc0), (to(2), 0xc0), (to(1), 0)] {
        push(&mut batch, to, class, &[0; 50]);
    }
    assert_eq!(shapes(&batch), [(50, 50); 4]);
}

#[test]
fn a_transmit_has_at_most_63_datagrams_and_65507_bytes() {
    let mut batch = UdpBatch::new();
    for _ in 0..64 {
        push(&mut batch, to(1), 0, &[0; 50]);
    }
    assert_eq!(shapes(&batch), [(63 * 50, 50), (50, 50)]);
    batch.clear();
    for _ in 0..50 {
        push(&mut batch, to(1), 0, &[0; 1340]);
    }
    assert_eq!(shapes(&batch), [(48 * 1340, 1340), (2 * 1340, 1340)]);
}

#[test]
fn an_empty_datagram_is_not_sent_and_a_full_batch_does_not_write() {
    let mut batch = UdpBatch::new();
    assert!(push(&mut batch, to(1), 0, &[]));
    assert!(batch.is_empty());
    let mut pushed = 0;
    while push(&mut batch, to(1), 0, &[7; 1000]) {
        pushed += 1;
    }
    assert!(batch.needs_flush());
    assert!(!batch.push(to(1), 0, |_| panic!("the batch is full")));
    assert_eq!(batch.transmits().flat_map(|transmit| transmit.datagrams()).count(), pushed);
    batch.clear();
    assert!(batch.is_empty() && !batch.needs_flush());
    assert!(push(&mut batch, to(1), 0, &[7; 1000]));
}

#[test]
fn a_batch_of_small_datagrams_to_many_peers_is_bounded_too() {
    let mut batch = UdpBatch::new();
    let pushed = (0..2000u32).take_while(|i| push(&mut batch, to((i % 2) as u8), 0, &[0; 20])).count();
    assert_eq!(batch.transmits().count(), pushed);
    assert!(pushed < 2000 && batch.needs_flush());
}

#[test]
fn the_datagrams_of_a_batch_are_what_was_pushed_in_that_order() {
    let mut rng = Rng::with_seed(1);
    let mut batch = UdpBatch::new();
    for _ in 0..200 {
        let mut pushed = Vec::new();
        for _ in 0..rng.usize(1..300) {
            let len = *rng.choice(&[1, 60, 1340, 1340, 1340, 2048]).unwrap();
            let datagram: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
            let (to, class) = (to(rng.u8(0..2)), *rng.choice(&[0, 0xc0]).unwrap());
            if push(&mut batch, to, class, &datagram) {
                pushed.push((to, class, datagram));
            }
        }
        for transmit in batch.transmits() {
            assert!(transmit.contents.len() <= 65_507 && transmit.datagrams().count() <= 63);
        }
        let sent = batch.transmits().flat_map(|transmit| {
            transmit.datagrams().map(move |bytes| (transmit.to, transmit.traffic_class, bytes.to_vec()))
        });
        assert!(sent.eq(pushed));
        batch.clear();
    }
}

fn batch_of(packets: &[Vec<u8>]) -> TunBatch {
    let mut batch = TunBatch::new(true);
    for packet in packets {
        assert!(batch.push(packet));
    }
    batch
}

/// How many packets each write has.
fn joined(packets: &[Vec<u8>]) -> Vec<usize> {
    batch_of(packets).writes().map(|write| write.packets().count()).collect()
}

#[test]
fn consecutive_segments_of_a_connection_become_one_super_packet() {
    let packets: Vec<_> =
        (0..4).map(|i| Tcp::new((u32::MAX - 1500).wrapping_add(i * 1000), 1000).bytes()).collect();
    let batch = batch_of(&packets);
    let [write] = &writes(&batch)[..] else { panic!("one write") };
    let header = virtio::Header::decode(*write.first_chunk().unwrap());
    assert_eq!(
        header,
        virtio::Header {
            flags: virtio::NEEDS_CHECKSUM,
            gso_type: virtio::GSO_TCPV6,
            headers_len: 72,
            segment: 1000,
            checksum_start: 40,
            checksum_offset: 16,
        }
    );
    let packet = Packet::new(&write[virtio::HEADER_LEN..]).unwrap();
    assert_eq!(packet.len(), 72 + 4000);
    assert!(batch.packets().eq(packets.iter()));
}

#[test]
fn a_shorter_segment_or_psh_ends_a_super_packet() {
    let segment = |seq, len| Tcp::new(seq, len).bytes();
    assert_eq!(joined(&[segment(0, 100), segment(100, 50), segment(150, 50)]), [2, 1]);
    assert_eq!(joined(&[segment(0, 50), segment(50, 100)]), [1, 1]);
    let pushed = Tcp { flags: ACK | PSH, ..Tcp::new(100, 100) }.bytes();
    assert_eq!(joined(&[segment(0, 100), pushed.clone(), segment(200, 100)]), [2, 1]);
    assert_eq!(joined(&[pushed, segment(200, 100)]), [1, 1]);
}

#[test]
fn only_ack_and_psh_may_be_set_and_there_must_be_payload() {
    for flags in [SYN, ACK | FIN, ACK | CWR, ACK | 0x40, ACK | 0x20, ACK | 0x04, 0] {
        let other = Tcp { flags, ..Tcp::new(100, 100) }.bytes();
        assert_eq!(
            joined(&[Tcp::new(0, 100).bytes(), other, Tcp::new(200, 100).bytes()]),
            [1, 1, 1],
            "{flags:x}"
        );
    }
    assert_eq!(
        joined(&[Tcp::new(0, 100).bytes(), Tcp::new(100, 0).bytes(), Tcp::new(100, 100).bytes()]),
        [1, 1, 1]
    );
}

#[test]
fn segments_with_accurate_ecn_are_not_joined() {
    let segment = |seq| Tcp { reserved: 1, ..Tcp::new(seq, 100) }.bytes();
    assert_eq!(joined(&[segment(0), segment(100)]), [1, 1]);
}

#[test]
fn segments_that_differ_in_any_other_header_field_are_not_joined() {
    let next = Tcp::new(100, 100);
    let with_header = |header| Tcp { header, ..next.clone() };
    let different = [
        Tcp { seq: 101, ..next.clone() },
        Tcp { seq: 0, ..next.clone() },
        Tcp { ack: 78, ..next.clone() },
        Tcp { window: 501, ..next.clone() },
        Tcp { src_port: 1001, ..next.clone() },
        Tcp { flow_label: 0x1_2346, ..next.clone() },
        Tcp { options: vec![1, 1, 8, 10, 0, 0, 0, 10, 0, 0, 0, 8], ..next.clone() },
        Tcp { options: vec![], ..next.clone() },
        with_header(molt_mesh::ip6::Header { hop_limit: 63, ..HEADER }),
        with_header(molt_mesh::ip6::Header { traffic_class: 3, ..HEADER }),
        with_header(molt_mesh::ip6::Header { src: host(3), ..HEADER }),
        with_header(molt_mesh::ip6::Header { dst: host(3), ..HEADER }),
    ];
    assert_eq!(joined(&[Tcp::new(0, 100).bytes(), next.bytes()]), [2]);
    for other in different {
        assert_eq!(joined(&[Tcp::new(0, 100).bytes(), other.bytes()]), [1, 1], "{other:?}");
    }
}

#[test]
fn a_wrong_checksum_is_not_hidden_by_joining() {
    let (first, second) = (Tcp::new(0, 100).bytes(), Tcp::new(100, 100).bytes());
    for at in [0, 1] {
        let mut packets = [first.clone(), second.clone(), Tcp::new(200, 100).bytes()];
        *packets[at].last_mut().unwrap() ^= 1;
        assert_eq!(joined(&packets)[..=at], [1, 1][..=at]);
        let written: Vec<_> = writes(&batch_of(&packets)).concat();
        assert!(written.windows(100).any(|bytes| packets[at].ends_with(bytes)));
    }
    let mut datagrams = [udp(1, 100), udp(1, 100)];
    // RFC 8200 section 8.1: UDP without a checksum is discarded by receivers.
    datagrams[1][46..48].fill(0);
    assert_eq!(joined(&datagrams), [1, 1]);
}

#[test]
fn datagrams_of_a_flow_are_joined_up_to_64() {
    assert_eq!(joined(&vec![udp(1, 10); 70]), [64, 6]);
    assert_eq!(joined(&[udp(1, 10), udp(1, 10), udp(1, 9), udp(1, 9)]), [3, 1]);
    assert_eq!(joined(&[udp(1, 10), udp(2, 10), udp(1, 10), udp(2, 10)]), [2, 2]);
    assert_eq!(joined(&[udp(1, 0), udp(1, 0)]), [1, 1]);
}

#[test]
fn a_super_packet_has_at_most_65535_bytes() {
    let packets: Vec<_> = (0..60).map(|i| Tcp::new(i * 1220, 1220).bytes()).collect();
    assert_eq!(joined(&packets), [53, 7]);
    assert!(writes(&batch_of(&packets))[0].len() <= virtio::HEADER_LEN + 65_535);
}

#[test]
fn a_packet_extends_only_the_latest_item_of_its_flow() {
    // The segment at 200 could follow the first item, but would overtake the retransmission in between.
    let seqs = [0, 100, 0, 200];
    assert_eq!(joined(&seqs.map(|seq| Tcp::new(seq, 100).bytes())), [2, 1, 1]);
}

#[test]
fn nothing_overtakes_a_fragment() {
    let fragment = HEADER.packet(NEXT_HEADER_FRAGMENT, &[NEXT_HEADER_UDP, 0, 0, 1, 0, 0, 0, 1, 9, 9]);
    assert_eq!(joined(&[udp(1, 10), fragment, udp(1, 10)]), [1, 1, 1]);
}

#[test]
fn a_packet_with_bytes_behind_its_end_is_not_joined() {
    let mut padded = udp(1, 10);
    padded.extend([0; 6]);
    assert_eq!(joined(&[udp(1, 10), padded, udp(1, 10)]), [1, 1, 1]);
}

#[test]
fn without_offload_nothing_is_joined() {
    let mut batch = TunBatch::new(false);
    for packet in [udp(1, 10), udp(1, 10), Tcp::new(0, 10).bytes(), Tcp::new(10, 10).bytes()] {
        batch.push(&packet);
    }
    assert!(batch.writes().all(|write| !write.is_joined()));
    assert_eq!(batch.packets().count(), 4);
    let mut batch = TunBatch::new(true);
    batch.refuse(Protocol::Tcp);
    for packet in [udp(1, 10), udp(1, 10), Tcp::new(0, 10).bytes(), Tcp::new(10, 10).bytes()] {
        batch.push(&packet);
    }
    assert_eq!(batch.writes().map(|write| write.packets().count()).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn a_full_batch_refuses_and_still_has_room_to_decrypt_into() {
    let mut batch = TunBatch::new(true);
    let packet = vec![0x60; 1280];
    let pushed = (0..).take_while(|_| batch.push(&packet)).count();
    assert!(batch.needs_flush());
    assert_eq!(batch.packets().count(), pushed);
    assert!(batch.room().len() >= MAX_DATAGRAM);
    assert!(!batch.commit(1280));
    batch.clear();
    let pushed = (0..).take_while(|_| batch.push(&[0x60])).count();
    assert_eq!(batch.packets().count(), pushed);
    assert!(!batch.push(&[0; MAX_DATAGRAM + 1]), "longer than the room");
}

/// Random traffic of a few connections and datagram flows, with retransmissions, odd flags, fragments, damage, noise.
fn traffic(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut seqs: BTreeMap<u16, u32> = (0..3).map(|port| (port, rng.u32(..))).collect();
    let count = rng.usize(1..150);
    let mut packets = Vec::new();
    while packets.len() < count {
        let port = rng.u16(0..3);
        let burst = rng.usize(1..12);
        for _ in 0..burst {
            let mut packet = if rng.u8(0..4) < 3 {
                let seq = seqs.get_mut(&port).unwrap();
                let len = *rng.choice(&[1000, 1000, 1000, 1000, 1220, 17, 0]).unwrap();
                let mut tcp = Tcp { src_port: port, ..Tcp::new(*seq, len) };
                if rng.u8(0..10) == 0 {
                    tcp.flags = *rng.choice(&[ACK | PSH, FIN | ACK, SYN, ACK | CWR]).unwrap();
                }
                if rng.u8(0..20) == 0 {
                    tcp.ack += 1;
                }
                if rng.u8(0..20) == 0 {
                    tcp.header.traffic_class = 3;
                }
                if rng.u8(0..20) != 0 {
                    *seq = seq.wrapping_add(len as u32);
                }
                tcp.bytes()
            } else {
                udp(port, *rng.choice(&[0, 10, 500, 500, 500, 1232]).unwrap())
            };
            match rng.u8(0..60) {
                0 => *packet.last_mut().unwrap() ^= 0x55,
                1 => packet.push(0),
                2 => packet[HOP_LIMIT_OFFSET] = 9,
                3 => packet = HEADER.packet(NEXT_HEADER_FRAGMENT, &[NEXT_HEADER_UDP; 30]),
                4 => packet = HEADER.icmp(128, 0, rng.u32(..), b"ping"),
                5 => packet = (0..rng.usize(1..90)).map(|_| rng.u8(..)).collect(),
                _ => {}
            }
            packets.push(packet);
        }
    }
    packets
}

/// What must stay in order: the packets of one five-tuple; packets whose ports are hidden stand between all others.
fn flow_of(packet: &[u8]) -> Option<(Vec<u8>, u8, Vec<u8>)> {
    let parsed = Packet::new(packet).ok()?;
    matches!(parsed.next_header(), NEXT_HEADER_TCP | NEXT_HEADER_UDP).then_some(())?;
    let ports = parsed.payload().get(..4)?.to_vec();
    Some((packet[8..40].to_vec(), parsed.next_header(), ports))
}

#[test]
fn splitting_what_was_joined_gives_the_same_packets_each_flow_in_order() {
    let mut rng = Rng::with_seed(1);
    let mut joined = 0;
    for round in 0..400 {
        let packets = traffic(&mut rng);
        let batch = batch_of(&packets);
        assert!(batch.packets().eq(packets.iter()), "round {round}");
        let mut result = Vec::new();
        for mut write in writes(&batch) {
            // Noise that is not IPv6 passes as it is: the kernel judges it.
            match split_all(&mut write) {
                Ok(split) => result.extend(split),
                Err(_) => result.push(write[virtio::HEADER_LEN..].to_vec()),
            }
        }
        joined += batch.writes().filter(Write::is_joined).count();
        let by_flow = |packets: &[Vec<u8>]| {
            let mut flows: BTreeMap<_, Vec<Vec<u8>>> = BTreeMap::new();
            for packet in packets {
                flows.entry(flow_of(packet)).or_default().push(packet.clone());
            }
            flows
        };
        assert_eq!(by_flow(&result), by_flow(&packets), "round {round}");
    }
    assert!(joined > 1000, "the traffic must exercise joining: {joined}");
}
