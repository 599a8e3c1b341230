//! `struct virtio_net_hdr`, which stands in front of each packet on a TUN device with `IFF_VNET_HDR` (Virtual I/O Device
//! version 1.2, section 5.1.6). A TUN device uses the byte order of the machine.

/// Length of the header in bytes: without the receive buffer count, which the kernel leaves out unless asked.
pub(crate) const HEADER_LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum field holds the sum of the pseudo-header, the rest is to be added.
pub(crate) const NEEDS_CHECKSUM: u8 = 1;

/// `VIRTIO_NET_HDR_GSO_NONE`: one packet.
pub(crate) const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
pub(crate) const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: datagrams of one flow.
pub(crate) const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`, added to a TCP type: the first segment may carry CWR.
pub(crate) const GSO_ECN: u8 = 0x80;

/// The fields of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    /// Length of all headers. The kernel's own value is a hint that is wrong for forwarded packets.
    pub(crate) headers_len: u16,
    /// Payload bytes of each segment but the last.
    pub(crate) segment: u16,
    /// Where the checksum starts to count.
    pub(crate) checksum_start: u16,
    /// Where the checksum stands, from `checksum_start`.
    pub(crate) checksum_offset: u16,
}

impl Header {
    pub(crate) fn decode(bytes: [u8; HEADER_LEN]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        Self {
            flags,
            gso_type,
            headers_len: u16::from_ne_bytes([h0, h1]),
            segment: u16::from_ne_bytes([g0, g1]),
            checksum_start: u16::from_ne_bytes([s0, s1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let [h0, h1] = self.headers_len.to_ne_bytes();
        let [g0, g1] = self.segment.to_ne_bytes();
        let [s0, s1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}
