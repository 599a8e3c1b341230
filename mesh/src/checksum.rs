//! The Internet checksum (RFC 1071) and the Fletcher checksum of link-state advertisements (RFC 905 annex B).

use std::net::Ipv6Addr;

/// Sum of 16-bit big-endian words, folded only when it is finished. An odd last byte counts as a high byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The pseudo-header of RFC 8200 section 8.1.
    #[must_use]
    pub fn pseudo_header(src: Ipv6Addr, dst: Ipv6Addr, upper_len: u32, next_header: u8) -> Self {
        Self::default().plus(&src.octets()).plus(&dst.octets()).plus(&upper_len.to_be_bytes()).plus(&[
            0,
            0,
            0,
            next_header,
        ])
    }

    /// Adds `bytes`. Every call but the last must add an even number.
    #[must_use]
    pub fn plus(self, bytes: &[u8]) -> Self {
        // Native-endian 32-bit lanes into 64 bits: a packet is at most 65,575 bytes, far from overflow, and the loop
        // vectorises. RFC 1071 section 2(B): the sum is byte-order independent, so it is swapped once at the end.
        let (words, tail) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(last));
        let folded = u64::from(u16::from_be_bytes(fold(sum).to_ne_bytes()));
        Self(self.0 + folded)
    }

    /// The one's complement sum, not complemented: what a receiver finds to be `0xffff` over valid data.
    #[must_use]
    pub fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The checksum field: the complement of the sum.
    #[must_use]
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

fn fold(mut sum: u64) -> u16 {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    (sum & 0xffff) as u16
}

/// The checksum of an upper-layer packet whose checksum field is zero.
#[must_use]
pub fn upper_layer(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, packet: &[u8]) -> u16 {
    let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    Sum::pseudo_header(src, dst, len, next_header).plus(packet).finish()
}

/// Whether an upper-layer packet carries the right checksum.
#[must_use]
pub fn upper_layer_is_valid(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, packet: &[u8]) -> bool {
    let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    Sum::pseudo_header(src, dst, len, next_header).plus(packet).folded() == 0xffff
}

/// The Fletcher checksum of what `parts` are one behind the other, whose two checksum bytes at `offset` are zero (RFC 905
/// annex B; RFC 2328 section 12.1.7 says how OSPF uses it: over the LSA without its age).
#[must_use]
pub fn fletcher(parts: [&[u8]; 2], offset: usize) -> u16 {
    let (c0, c1) = fletcher_sums(parts);
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let after = (len as i64) - (offset as i64) - 1;
    let mut x = (after * i64::from(c0) - i64::from(c1)) % 255;
    if x <= 0 {
        x += 255;
    }
    let mut y = 510 - i64::from(c0) - x;
    if y > 255 {
        y -= 255;
    }
    u16::from_be_bytes([(x & 0xff) as u8, (y & 0xff) as u8])
}

/// Whether what `parts` are one behind the other, with the checksum in its place, sums to zero.
#[must_use]
pub fn fletcher_is_valid(parts: [&[u8]; 2]) -> bool {
    fletcher_sums(parts) == (0, 0)
}

/// Bytes that are summed up at once.
const BLOCK: usize = 32;

/// The sum of all bytes, and the sum of all sums on the way, both modulo 255.
fn fletcher_sums(parts: [&[u8]; 2]) -> (u32, u32) {
    let (mut c0, mut c1) = (0u32, 0u32);
    // 4,102 bytes is the longest run that cannot overflow 32 bits (RFC 905 annex B, note on implementations).
    for chunk in parts.into_iter().flat_map(|part| part.chunks(128 * BLOCK)) {
        // Byte by byte each step would wait for the one before. Seen as a whole, a block adds the sum before it once for
        // each of its bytes, and each of its bytes once for itself and for each that follows: that vectorises.
        let (blocks, tail) = chunk.as_chunks::<BLOCK>();
        for block in blocks {
            let weighted = (1..).zip(block.iter().rev()).map(|(weight, byte)| weight * u32::from(*byte));
            c1 += BLOCK as u32 * c0 + weighted.sum::<u32>();
            c0 += block.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        }
        for byte in tail {
            c0 += u32::from(*byte);
            c1 += c0;
        }
        c0 %= 255;
        c1 %= 255;
    }
    (c0, c1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive reading of RFC 1071: 16-bit words, end-around carry at each step.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
            sum += u32::from(word);
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let sum = Sum::default().plus(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    #[test]
    fn equals_the_naive_sum_for_every_length() {
        let mut rng = fastrand::Rng::with_seed(1);
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
            assert_eq!(Sum::default().plus(&bytes).folded() % 0xffff, naive(&bytes) % 0xffff, "length {len}");
        }
    }

    #[test]
    fn all_ones_do_not_overflow() {
        assert_eq!(Sum::default().plus(&[0xff; 65534]).plus(&[0xff; 65535]).folded(), 0xff00);
    }

    #[test]
    fn fletcher_sums_are_those_of_rfc_905_annex_b_byte_by_byte() {
        let mut rng = fastrand::Rng::with_seed(3);
        for len in (0..300).chain([4_095, 4_096, 4_097, 65_535]) {
            let fill = rng.bool();
            let bytes: Vec<u8> = (0..len).map(|_| if fill { 0xff } else { rng.u8(..) }).collect();
            let step = |(c0, c1): (u32, u32), byte: &u8| {
                let c0 = (c0 + u32::from(*byte)) % 255;
                (c0, (c1 + c0) % 255)
            };
            let expected = bytes.iter().fold((0, 0), step);
            let (front, back) = bytes.split_at(rng.usize(..=len));
            assert_eq!(fletcher_sums([front, back]), expected, "length {len}");
        }
    }

    #[test]
    fn fletcher_validates_what_it_makes_and_notices_a_flipped_byte() {
        let mut rng = fastrand::Rng::with_seed(2);
        for len in 18..300 {
            let mut bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
            bytes[14..16].fill(0);
            let sum = fletcher([&bytes, &[]], 14);
            bytes[14..16].copy_from_slice(&sum.to_be_bytes());
            assert!(fletcher_is_valid([&bytes, &[]]), "length {len}");
            let at = rng.usize(..len);
            bytes[at] = bytes[at].wrapping_add(1);
            assert!(!fletcher_is_valid([&bytes, &[]]), "length {len}, byte {at}");
        }
    }
}
