//! What the host writes into the device and reads from it: super-packets cut and joined.

use std::net::Ipv6Addr;

use molt_mesh::checksum;
use molt_mesh::codec::Reader;
use molt_mesh::ip6::{HEADER_LEN, Header, Packet};
use molt_mesh::port::{NEXT_HEADER_ICMPV6, NEXT_HEADER_TCP, NEXT_HEADER_UDP};
use molt_tun::split::split;
use molt_tun::{MAX_DATAGRAM, TunBatch};

/// Longest read from a device: a super-packet and `struct virtio_net_hdr`.
const MAX_READ: usize = 65_535 + 10;

/// One read from the device.
pub fn tun_split(data: &[u8]) {
    let mut read = data.get(..MAX_READ).unwrap_or(data).to_vec();
    let mut pieces = 0;
    let result = split(&mut read, |packet| {
        pieces += 1;
        assert!(packet.len() >= HEADER_LEN && packet[0] >> 4 == 6);
        packet.fill(0xff);
    });
    assert!(result.is_ok() == (pieces > 0), "{result:?} after {pieces} packets");
}

/// A batch of packets for the host: cutting what was joined gives the packets back.
pub fn tun_coalesce(data: &[u8]) {
    let mut batch = TunBatch::new(true);
    let mut r = Reader::new(data);
    let mut queued: Vec<Vec<u8>> = Vec::new();
    while let Some(packet) = packet(&mut r) {
        if !packet.is_empty() && batch.push(&packet) {
            queued.push(packet);
        }
    }
    let mut written: Vec<Vec<u8>> = Vec::new();
    for write in batch.writes() {
        let mut read = write.slices().flatten().copied().collect::<Vec<u8>>();
        let packets: Vec<&[u8]> = write.packets().collect();
        assert_eq!(write.is_joined(), packets.len() > 1);
        if write.is_joined() {
            assert!(read.len() <= MAX_READ, "{} bytes", read.len());
            let mut cut = Vec::new();
            split(&mut read, |packet| cut.push(packet.to_vec())).expect("what we join can be cut");
            let same =
                cut.iter().map(|packet| not_zero(packet)).eq(packets.iter().map(|packet| not_zero(packet)));
            assert!(same, "{cut:02x?}\nis not\n{packets:02x?}");
        } else {
            assert_eq!(read[10..], *packets[0]);
        }
        written.extend(packets.iter().map(|packet| packet.to_vec()));
    }
    assert_eq!(written.len(), queued.len());
    // Within a flow nothing was overtaken; packets of no flow may be.
    for flow in queued.iter().filter_map(|packet| flow(packet)) {
        let of_flow = |packet: &&Vec<u8>| self::flow(packet).as_ref() == Some(&flow);
        assert!(written.iter().filter(of_flow).eq(queued.iter().filter(of_flow)));
    }
}

/// A TCP checksum of zero and of 0xffff are the same number.
fn not_zero(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet.get(6) == Some(&NEXT_HEADER_TCP)
        && let Some(sum @ [0, 0]) = packet.get_mut(HEADER_LEN + 16..HEADER_LEN + 18)
    {
        sum.fill(0xff);
    }
    packet
}

/// Protocol, addresses and ports.
fn flow(packet: &[u8]) -> Option<(u8, Ipv6Addr, Ipv6Addr, Vec<u8>)> {
    let packet = Packet::new(packet).ok()?;
    let ports = packet.payload().get(..4)?.to_vec();
    matches!(packet.next_header(), NEXT_HEADER_TCP | NEXT_HEADER_UDP)
        .then(|| (packet.next_header(), packet.src(), packet.dst(), ports))
}

/// The next packet that the input describes: TCP, UDP, ICMPv6 or raw bytes.
fn packet(r: &mut Reader<'_>) -> Option<Vec<u8>> {
    let [kind, flow, traits, len_high, len_low] = r.array().ok()?;
    let len = usize::from(u16::from_be_bytes([len_high, len_low])) % 1300;
    let header = Header {
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::from_bits(u128::from(flow % 3) + 1),
        hop_limit: 60 + (traits & 1),
        traffic_class: 0,
    };
    let mut packet = match kind % 8 {
        0..=2 => {
            let [s0, s1, flags, window] = r.array().ok()?;
            let options = usize::from(traits >> 4 & 3) * 4;
            let mut tcp = vec![0, 80, 0, flow, 0, 1, s0, s1, 0, 0, 0, 1, 0x50 + options as u8 * 4];
            tcp.extend([if traits & 2 == 0 { 0x10 } else { flags }, 0, window, 0, 0, 0, 0]);
            tcp.resize(20 + options + len, 7);
            let sum = checksum::upper_layer(header.src, header.dst, NEXT_HEADER_TCP, &tcp);
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
            header.packet(NEXT_HEADER_TCP, &tcp)
        }
        3..=5 => header.udp(53, flow.into(), &vec![traits; len]),
        6 => header.packet(NEXT_HEADER_ICMPV6, &vec![0; len]),
        _ => r.bytes(len.min(r.left())).ok()?.to_vec(),
    };
    if traits & 4 != 0 {
        let at = usize::from(flow) % packet.len().max(1);
        if let Some(byte) = packet.get_mut(at) {
            *byte ^= traits;
        }
    }
    packet.truncate(MAX_DATAGRAM);
    Some(packet)
}
