//! Packets for the tests of this crate.

use std::net::Ipv6Addr;

use molt_mesh::checksum;
use molt_mesh::ip6::Header;
use molt_mesh::port::NEXT_HEADER_TCP;

use crate::output::TunBatch;
use crate::split::{Reject, split};

pub(crate) const ACK: u8 = 0x10;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const CWR: u8 = 0x80;

pub(crate) const fn host(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 0, 0, 0, 0x8000, n)
}

pub(crate) const HEADER: Header = Header { src: host(1), dst: host(2), hop_limit: 64, traffic_class: 0 };

/// A TCP segment.
#[derive(Debug, Clone)]
pub(crate) struct Tcp {
    pub(crate) header: Header,
    pub(crate) flow_label: u32,
    pub(crate) src_port: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// The four bits in front of the flags, of which accurate ECN uses one.
    pub(crate) reserved: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Tcp {
    /// A segment of `len` bytes at `seq`.
    pub(crate) fn new(seq: u32, len: usize) -> Self {
        Self {
            header: HEADER,
            flow_label: 0x1_2345,
            src_port: 1000,
            seq,
            ack: 77,
            flags: ACK,
            reserved: 0,
            window: 500,
            options: vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8],
            payload: (0..len).map(|i| (seq as usize + i) as u8).collect(),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.src_port.to_be_bytes());
        tcp.extend(80u16.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push(((20 + self.options.len()) * 4) as u8 | self.reserved);
        tcp.push(self.flags);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0, 0, 0]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let sum = checksum::upper_layer(self.header.src, self.header.dst, NEXT_HEADER_TCP, &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = self.header.packet(NEXT_HEADER_TCP, &tcp);
        packet[1] |= (self.flow_label >> 16) as u8;
        packet[2..4].copy_from_slice(&(self.flow_label as u16).to_be_bytes());
        packet
    }
}

pub(crate) fn udp(src_port: u16, len: usize) -> Vec<u8> {
    HEADER.udp(src_port, 9, &vec![src_port as u8; len])
}

/// What the device gets, each write as one piece of memory.
pub(crate) fn writes(batch: &TunBatch) -> Vec<Vec<u8>> {
    batch.writes().map(|write| write.slices().collect::<Vec<_>>().concat()).collect()
}

/// The packets of one read from a device.
pub(crate) fn split_all(read: &mut [u8]) -> Result<Vec<Vec<u8>>, Reject> {
    let mut packets = Vec::new();
    split(read, |packet| {
        packets.push(packet.to_vec());
        // A core may use the packet as scratch space.
        packet.fill(0xee);
    })?;
    Ok(packets)
}
