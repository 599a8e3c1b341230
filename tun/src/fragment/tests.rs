use molt_mesh::ip6::{ALL_SPF_ROUTERS, Header};

use super::*;

const SRC: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HEADER: Header = Header { src: SRC, dst: ALL_SPF_ROUTERS, hop_limit: 1, traffic_class: 0xc0 };

fn at(seconds: u64) -> Time {
    Time::from_millis(seconds * 1000)
}

/// One neighbour, and what is counted for it.
#[derive(Default)]
struct Rig {
    reassembler: Reassembler,
    counters: Counters,
}

impl Rig {
    fn bytes(&mut self, bytes: &[u8], now: Time) -> Result<Option<Vec<u8>>, Discard> {
        let packet = Packet::new(bytes).map_err(|_| Discard::Malformed)?;
        self.reassembler.handle_fragment(&packet, now, &mut self.counters)
    }

    /// A fragment of `len` bytes, each of which is its own offset.
    fn part(&mut self, id: u8, offset: u16, len: usize, more: bool) -> Result<Option<Vec<u8>>, Discard> {
        let data: Vec<u8> = (usize::from(offset)..usize::from(offset) + len).map(|byte| byte as u8).collect();
        self.bytes(&fragment(id, offset, more, &data), at(0))
    }
}

fn fragment(id: u8, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let payload = [&[89, 0, high, low, 0, 0, 0, id], data].concat();
    HEADER.packet(NEXT_HEADER_FRAGMENT, &payload)
}

fn sequence(len: usize) -> Vec<u8> {
    (0..len).map(|byte| byte as u8).collect()
}

#[test]
fn what_we_fragment_fits_the_mtu_and_is_reassembled_in_any_order() {
    let mut rng = fastrand::Rng::with_seed(3);
    for len in [1, 8, 1232, 1233, 1944, 2464, 5000, MAX_REASSEMBLED] {
        let payload: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        let packet = HEADER.packet(NEXT_HEADER_OSPF, &payload);
        let mut parts = fragments(&packet, 1280, 77);
        assert!(parts.iter().all(|part| part.len() <= 1280));
        assert_eq!(parts.len(), len.div_ceil(1232));
        rng.shuffle(&mut parts);
        let mut rig = Rig::default();
        let (last, first) = parts.split_last().unwrap();
        for part in first {
            assert_eq!(rig.bytes(part, at(0)), Ok(None));
            // Again, which changes nothing (RFC 8200 section 4.5).
            assert_eq!(rig.bytes(part, at(0)), Ok(None));
        }
        assert_eq!(rig.bytes(last, at(0)), Ok(Some(payload)));
        assert_eq!((rig.reassembler.pending(), rig.counters.total()), (0, 0));
    }
    // An MTU that leaves no multiple of eight.
    let parts = fragments(&HEADER.packet(NEXT_HEADER_OSPF, &sequence(3000)), 1285, 1);
    assert!(parts.iter().all(|part| part.len() <= 1280));
    let mut rig = Rig::default();
    let whole: Vec<_> = parts.iter().filter_map(|part| rig.bytes(part, at(0)).unwrap()).collect();
    assert_eq!(whole, [sequence(3000)]);
}

#[test]
fn rfc_6946_an_atomic_fragment_is_taken_by_itself() {
    let mut rig = Rig::default();
    assert_eq!(rig.part(1, 0, 8, true), Ok(None));
    assert_eq!(rig.part(1, 0, 5, false), Ok(Some(sequence(5))));
    assert_eq!(rig.part(1, 8, 4, false), Ok(Some(sequence(12))));
}

#[test]
fn rfc_8200_section_4_5_all_but_the_last_are_multiples_of_eight_bytes() {
    let mut rig = Rig::default();
    assert_eq!(rig.part(1, 0, 12, true), Err(Discard::FragmentMalformed));
    assert_eq!(rig.part(1, 0, 0, true), Err(Discard::FragmentMalformed));
    let short = HEADER.packet(NEXT_HEADER_FRAGMENT, &[89, 0, 0, 1, 0, 0, 0]);
    assert_eq!(rig.bytes(&short, at(0)), Err(Discard::FragmentMalformed));
    assert_eq!(rig.reassembler.pending(), 0);
}

#[test]
fn rfc_8200_section_4_5_what_is_not_whole_after_60_seconds_is_given_up() {
    let mut rig = Rig::default();
    let [first, second] = [(0, true), (8, false)].map(|(offset, more)| fragment(1, offset, more, &[7; 8]));
    assert_eq!(rig.bytes(&first, at(0)), Ok(None));
    assert_eq!(rig.bytes(&second, at(60)), Ok(None), "the first is forgotten");
    assert_eq!(rig.counters.of(Discard::FragmentTimeout), 1);
    assert_eq!(rig.bytes(&first, at(119)), Ok(Some(vec![7; 16])));
}

#[test]
fn rfc_5722_an_overlap_discards_the_packet_and_whatever_still_comes_of_it() {
    // The second piece of each covers a byte of the first, in front or behind, or says something else.
    for (offset, len) in [(8, 16), (24, 8), (0, 32), (16, 8)] {
        let mut rig = Rig::default();
        assert_eq!(rig.part(1, 16, 16, true), Ok(None));
        assert_eq!(rig.part(1, offset, len, true), Err(Discard::FragmentOverlap), "{offset} {len}");
        for (offset, len, more) in [(0, 16, true), (16, 16, true), (32, 4, false)] {
            assert_eq!(rig.part(1, offset, len, more), Err(Discard::FragmentOverlap));
        }
        // Another packet is another matter.
        assert_eq!(rig.part(2, 0, 8, true), Ok(None));
        assert_eq!(rig.part(2, 8, 1, false), Ok(Some(sequence(9))));
    }
    let mut rig = Rig::default();
    assert_eq!(rig.part(1, 0, 8, true), Ok(None));
    assert_eq!(rig.bytes(&fragment(1, 0, true, &[9; 8]), at(0)), Err(Discard::FragmentOverlap));
}

#[test]
fn rfc_5722_a_packet_has_one_end_and_nothing_beyond_it() {
    for parts in [
        [(8, 4, false), (16, 8, true)],
        [(16, 8, true), (8, 4, false)],
        [(8, 8, false), (16, 8, false)],
        [(16, 8, false), (8, 8, false)],
    ] {
        let mut rig = Rig::default();
        let [first, second] = parts.map(|(offset, len, more)| rig.part(1, offset, len, more));
        assert_eq!((first, second), (Ok(None), Err(Discard::FragmentOverlap)), "{parts:?}");
    }
}

#[test]
fn what_is_kept_of_a_neighbour_is_bounded() {
    let mut rig = Rig::default();
    assert_eq!(rig.part(1, 8184, 8, false), Ok(None));
    assert_eq!(rig.part(2, 8184, 9, false), Err(Discard::FragmentTooLarge));
    assert_eq!(rig.part(2, 8192, 1, false), Err(Discard::FragmentTooLarge));
    for id in 2..20 {
        assert_eq!(rig.part(id, 0, 8, true), Ok(None));
        assert!(rig.reassembler.pending() <= MAX_PENDING);
    }
    assert_eq!(rig.counters.of(Discard::FragmentLimit), 19 - MAX_PENDING as u64);
    // The latest are those that are kept.
    assert_eq!(rig.part(19, 8, 1, false), Ok(Some(sequence(9))));
    assert_eq!(rig.part(3, 8, 1, false), Ok(None));
}

#[test]
fn only_ospf_is_reassembled() {
    let udp = HEADER.packet(NEXT_HEADER_FRAGMENT, &[17, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Rig::default().bytes(&udp, at(0)), Err(Discard::LinkLocalOther));
}
