use fastrand::Rng;
use molt_mesh::ip6::Packet;
use molt_mesh::port::{NEXT_HEADER_ICMPV6, NEXT_HEADER_UDP};
use tun_rs::{VirtioNetHdr, gso_split};

use super::*;
use crate::testing::{ACK, CWR, FIN, HEADER, PSH, Tcp, split_all, udp};

fn read(header: virtio::Header, packet: &[u8]) -> Vec<u8> {
    [&header.encode(), packet].concat()
}

const PLAIN: virtio::Header = virtio::Header {
    flags: 0,
    gso_type: virtio::GSO_NONE,
    headers_len: 0,
    segment: 0,
    checksum_start: 0,
    checksum_offset: 0,
};

/// What the kernel puts into the checksum field of a super-packet: the sum of the pseudo-header.
fn prepare(packet: &mut [u8], checksum_offset: usize) {
    let parsed = Packet::new(packet).unwrap();
    let len = parsed.payload().len() as u32;
    let sum = Sum::pseudo_header(parsed.src(), parsed.dst(), len, parsed.next_header()).folded();
    packet[40 + checksum_offset..][..2].copy_from_slice(&sum.to_be_bytes());
}

fn tcp_super_packet(tcp: &Tcp, segment: u16) -> Vec<u8> {
    let mut packet = tcp.bytes();
    prepare(&mut packet, 16);
    let header = virtio::Header {
        flags: virtio::NEEDS_CHECKSUM,
        gso_type: virtio::GSO_TCPV6,
        headers_len: (60 + tcp.options.len()) as u16,
        segment,
        checksum_start: 40,
        checksum_offset: 16,
    };
    read(header, &packet)
}

fn udp_super_packet(len: usize, segment: u16) -> Vec<u8> {
    let mut packet = udp(7, len);
    prepare(&mut packet, 6);
    let header = virtio::Header {
        flags: virtio::NEEDS_CHECKSUM,
        gso_type: virtio::GSO_UDP_L4,
        headers_len: 48,
        segment,
        checksum_start: 40,
        checksum_offset: 6,
    };
    read(header, &packet)
}

#[test]
fn a_packet_passes_as_it_is() {
    let packet = udp(1, 100);
    assert_eq!(split_all(&mut read(PLAIN, &packet)), Ok(vec![packet]));
}

#[test]
fn an_unfinished_checksum_is_finished() {
    for (packet, next_header, offset) in [
        (udp(1, 99), NEXT_HEADER_UDP, 6),
        (HEADER.icmp(128, 0, 5, b"odd"), NEXT_HEADER_ICMPV6, 2),
        (Tcp::new(1, 33).bytes(), 6, 16),
    ] {
        let mut unfinished = packet.clone();
        prepare(&mut unfinished, offset);
        let header = virtio::Header {
            flags: virtio::NEEDS_CHECKSUM,
            checksum_start: 40,
            checksum_offset: offset as u16,
            ..PLAIN
        };
        assert_eq!(split_all(&mut read(header, &unfinished)), Ok(vec![packet]), "{next_header}");
    }
}

#[test]
fn rfc_8200_section_8_1_a_sum_of_zero_is_sent_as_ones() {
    // The payload is chosen so that the checksum comes out as zero.
    let packet = HEADER.udp(1, 2, &[0, 0]);
    let sum = u16::from_be_bytes([packet[46], packet[47]]);
    let mut unfinished = HEADER.udp(1, 2, &sum.to_be_bytes());
    assert_eq!(unfinished[46..48], [0xff, 0xff]);
    prepare(&mut unfinished, 6);
    let header =
        virtio::Header { flags: virtio::NEEDS_CHECKSUM, checksum_start: 40, checksum_offset: 6, ..PLAIN };
    let packets = split_all(&mut read(header, &unfinished)).unwrap();
    assert_eq!(packets[0][46..48], [0xff, 0xff]);
}

#[test]
fn rfc_3168_section_6_1_2_cwr_stays_with_the_first_and_fin_and_psh_with_the_last() {
    let tcp = Tcp { flags: ACK | FIN | PSH | CWR, ..Tcp::new(u32::MAX - 10, 250) };
    let mut read = tcp_super_packet(&tcp, 100);
    read[1] |= virtio::GSO_ECN;
    let packets = split_all(&mut read).unwrap();
    let expected =
        [(0, 100, ACK | CWR), (100, 100, ACK), (200, 50, ACK | FIN | PSH)].map(|(at, len, flags)| {
            let payload = tcp.payload[at..at + len].to_vec();
            Tcp { seq: tcp.seq.wrapping_add(at as u32), flags, payload, ..tcp.clone() }.bytes()
        });
    assert_eq!(packets, expected);
}

#[test]
fn the_header_length_of_the_kernel_is_not_trusted() {
    let mut hinted = tcp_super_packet(&Tcp::new(5, 300), 100);
    let packets = split_all(&mut hinted.clone());
    hinted[2..4].copy_from_slice(&999u16.to_ne_bytes());
    assert_eq!(split_all(&mut hinted), packets);
}

/// An independent implementation cuts the same super-packets the same way.
#[test]
fn agrees_with_tun_rs() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..500 {
        let is_tcp = rng.bool();
        let len = rng.usize(1..20_000);
        let segment = rng.u16(200..1400);
        let read = if is_tcp {
            let options = vec![1; rng.usize(0..=10) * 4];
            let flags = ACK | *rng.choice(&[0, PSH, FIN]).unwrap();
            tcp_super_packet(&Tcp { options, flags, ..Tcp::new(rng.u32(..), len) }, segment)
        } else {
            udp_super_packet(len, segment)
        };
        let header = VirtioNetHdr::decode(&read).unwrap();
        let mut buffers = vec![vec![0; 2048]; 128];
        let mut sizes = [0; 128];
        let mut input = read[virtio::HEADER_LEN..].to_vec();
        let count = gso_split(&mut input, header, &mut buffers, &mut sizes, 0, true).unwrap();
        let theirs: Vec<_> =
            buffers.iter().zip(sizes).take(count).map(|(bytes, len)| bytes[..len].to_vec()).collect();
        let ours = split_all(&mut read.clone()).unwrap();
        assert_eq!(ours, theirs);
        for packet in ours {
            assert!(Packet::new(&packet).unwrap().upper_layer_checksum_is_valid());
        }
    }
}

#[test]
fn each_rule_rejects() {
    let packet = udp(1, 100);
    let tcp = || tcp_super_packet(&Tcp::new(0, 300), 100);
    let set = |mut read: Vec<u8>, at: usize, value: u16| {
        read[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        read
    };
    let not_finished = virtio::Header { flags: virtio::NEEDS_CHECKSUM, ..PLAIN };
    let cases: [(Vec<u8>, Reject); 15] = [
        (vec![], Reject::Truncated),
        (vec![0; virtio::HEADER_LEN], Reject::Truncated),
        (read(PLAIN, &packet[..39]), Reject::Truncated),
        (read(PLAIN, &[&[0x45], &packet[1..]].concat()), Reject::NotIpv6),
        (read(virtio::Header { checksum_start: 148, ..not_finished }, &packet), Reject::Checksum),
        // It would overwrite the version.
        (
            read(virtio::Header { checksum_start: 0, checksum_offset: 0, ..not_finished }, &packet),
            Reject::Checksum,
        ),
        (
            read(virtio::Header { checksum_start: 40, checksum_offset: 107, ..not_finished }, &packet),
            Reject::Checksum,
        ),
        (read(virtio::Header { gso_type: 9, ..PLAIN }, &packet), Reject::UnknownKind),
        // Flags, the first byte: a super-packet always has an unfinished checksum.
        ([&[0], &tcp()[1..]].concat(), Reject::Checksum),
        // No bytes in a segment; the transport header outside, inside the IPv6 header, at the end.
        (set(tcp(), 4, 0), Reject::Headers),
        (set(tcp(), 6, 999), Reject::Headers),
        (set(tcp(), 6, 8), Reject::Headers),
        (set(tcp(), 6, 370), Reject::Truncated),
        // A TCP header of 16 bytes, and one without payload.
        (
            {
                let mut read = tcp();
                read[virtio::HEADER_LEN + 52] = 0x40;
                read
            },
            Reject::Headers,
        ),
        (tcp_super_packet(&Tcp::new(0, 0), 100), Reject::Headers),
    ];
    for (number, (mut read, reject)) in cases.into_iter().enumerate() {
        assert_eq!(split_all(&mut read), Err(reject), "case {number}");
    }
}

#[test]
fn noise_never_panics_and_no_packet_is_longer_than_the_read() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..50_000 {
        let mut read: Vec<u8> = (0..rng.usize(0..400)).map(|_| rng.u8(..)).collect();
        let header = virtio::Header {
            flags: rng.u8(0..2),
            gso_type: [virtio::GSO_NONE, virtio::GSO_TCPV6, virtio::GSO_UDP_L4, 9][rng.usize(0..4)],
            headers_len: rng.u16(..),
            segment: rng.u16(0..50),
            checksum_start: rng.u16(30..300),
            checksum_offset: rng.u16(0..20),
        };
        for (to, from) in read.iter_mut().zip(header.encode().into_iter().chain([0x60])) {
            *to = from;
        }
        let len = read.len();
        if let Ok(packets) = split_all(&mut read) {
            assert!(packets.iter().all(|packet| packet.len() < len));
        }
    }
}
