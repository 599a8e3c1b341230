//! What we write: read by ourselves and by others, and never larger than everybody can take.

use super::*;
use crate::bgp::message::{Message, Notification, split};
use crate::bgp::path::{AsPath, Origin, Path, Segment};
use crate::bgp::update::Update;

fn at(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn everything() -> Path {
    Path {
        origin: Origin::Egp,
        as_path: AsPath(vec![Segment::Sequence(vec![asn(1), 7]), Segment::Set(vec![8, 9])]),
        next_hop: address(1),
        med: Some(77),
        local_pref: None,
        atomic_aggregate: true,
        aggregator: Some((9, [10, 0, 0, 1].into())),
        communities: vec![1, 0xffff_ff01],
        large_communities: vec![[asn(1), 2, 3]],
        others: vec![(99, 0xe0, vec![1, 2, 3])],
    }
}

#[test]
fn an_update_is_read_as_it_was_written() {
    let prefixes =
        [at("fd12:3456:789a::/48"), at("fd00:2::/32"), at("::/0"), at("fd12:3456:789a:1:2:3:4:5/128")];
    let [message] = &update::announce(&everything(), &prefixes)[..] else { panic!("one message") };
    let Ok(Some((Message::Update(body), length))) = split(message) else { panic!("an UPDATE") };
    assert_eq!(length, message.len());
    let update = Update::decode(&body).unwrap();
    assert_eq!(update.errors, []);
    assert_eq!(update.announced, Some((everything(), prefixes.to_vec())));
    let [message] = &update::withdraw(&prefixes)[..] else { panic!("one message") };
    let update = Update::decode(&message[19..]).unwrap();
    assert_eq!((update.withdrawn, update.end_of_rib), (prefixes.to_vec(), false));
    assert!(Update::decode(&update::end_of_rib()[19..]).unwrap().end_of_rib);
}

/// RFC 4271 section 4.3, RFC 4760 sections 3 and 4, RFC 2545 section 3.
#[test]
fn updates_byte_by_byte() {
    let framed = |attributes: &[u8]| {
        let length = attributes.len() as u8;
        [&[0xff; 16][..], &[0, length + 23, 2, 0, 0, 0, length], attributes].concat()
    };
    let mut path = Path::local(address(1));
    path.as_path.prepend(asn(1), 1);
    let reach = [
        0x80, 14, 28, 0, 2, 1, 16, 0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0xfd, 0, 0, 2,
        0, 0,
    ];
    let others = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0xfa, 0x56, 0xea, 0x02];
    assert_eq!(update::announce(&path, &[mesh(1)]), [framed(&[&reach[..], &others].concat())]);
    let unreach = [0x80, 15, 10, 0, 2, 1, 48, 0xfd, 0, 0, 2, 0, 0];
    assert_eq!(update::withdraw(&[mesh(1)]), [framed(&unreach)]);
    assert_eq!(update::end_of_rib(), framed(&[0x80, 15, 3, 0, 2, 1]));
}

#[test]
fn many_prefixes_are_told_in_messages_that_everybody_can_take() {
    let prefixes: Vec<Prefix> =
        (0..1_000).map(|n| Prefix::new(Ipv6Addr::new(0xfd12, n, 0, 0, 0, 0, 0, 0), 48)).collect();
    let messages = update::announce(&everything(), &prefixes);
    assert!(messages.iter().all(|message| message.len() <= consts::MAX_MESSAGE));
    let read =
        messages.iter().flat_map(|message| Update::decode(&message[19..]).unwrap().announced.unwrap().1);
    assert_eq!(read.collect::<Vec<_>>(), prefixes);
    // 1 + 4 octets each: 800 of them are 4000.
    let short: Vec<Prefix> =
        (0..1_601).map(|n| Prefix::new(Ipv6Addr::new(0xfd12, n, 0, 0, 0, 0, 0, 0), 32)).collect();
    for (count, expected) in [(0, 0), (800, 1), (801, 2), (1600, 2), (1601, 3)] {
        let messages = update::withdraw(&short[..count]);
        assert_eq!(messages.len(), expected, "{count} prefixes");
        assert!(messages.iter().all(|message| message.len() <= consts::MAX_MESSAGE));
        let read = messages.iter().flat_map(|message| Update::decode(&message[19..]).unwrap().withdrawn);
        assert_eq!(read.collect::<Vec<_>>(), short[..count]);
    }
}

/// ORIGIN, AS_PATH and an unknown attribute of `octets`: 17 octets more.
fn path_of(octets: usize) -> Path {
    let mut path = Path { others: vec![(99, 0xe0, vec![7; octets - 17])], ..Path::local(address(1)) };
    path.as_path.prepend(asn(1), 1);
    path
}

#[test]
fn rfc4271_9_2_attributes_that_leave_no_room_for_a_prefix_are_not_announced() {
    let host = [Prefix::new(address(1), 128), Prefix::new(address(2), 128)];
    let messages = update::announce(&path_of(3983), &host);
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [4047, 4047]);
    for prefix in [host[0], mesh(1)] {
        assert_eq!(update::announce(&path_of(3984), &[prefix]), Vec::<Vec<u8>>::new());
        assert_eq!(update::announce(&path_of(4100), &[prefix]), Vec::<Vec<u8>>::new());
    }
}

/// What we write, read by an implementation that shares nothing with ours.
mod oracle {
    use netgauze_bgp_pkt::BgpMessage;
    use netgauze_bgp_pkt::capabilities::BgpCapability;
    use netgauze_bgp_pkt::path_attribute::{MpReach, PathAttributeValue};
    use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
    use netgauze_parse_utils::reader::SliceReader;
    use netgauze_parse_utils::traits::ParseFromWithOneInput;

    use super::*;

    fn read(bytes: &[u8]) -> BgpMessage {
        BgpMessage::parse(&mut SliceReader::new(bytes), &mut BgpParsingContext::default()).unwrap()
    }

    #[test]
    fn an_independent_reader_takes_our_open() {
        let mut net = Net::new(1, &[]);
        net.nodes[0].set_peers(vec![peer(1)], net.now);
        net.nodes[0].handle_timeout(net.now);
        net.settle();
        assert!(net.nodes[0].handle_connected(address(1), Side::Dialled, net.now));
        net.settle();
        let BgpMessage::Open(open) = read(&net.sent[0].1) else { panic!("an OPEN") };
        assert_eq!((open.my_as(), open.my_asn4(), open.hold_time()), (23456, asn(0), 90));
        let codes: Vec<u8> =
            open.capabilities().iter().map(|it| it.code().map_or(0, |code| code as u8)).collect();
        assert_eq!(codes, [1, 2, 6, 64, 65]);
        assert!(open.capabilities().iter().all(|it| !matches!(it, BgpCapability::Unrecognized(_))));
    }

    #[test]
    fn an_independent_reader_takes_our_updates_and_notifications() {
        let [message] = &update::announce(&everything(), &[at("fd12:3456:789a::/48")])[..] else {
            panic!("one")
        };
        let BgpMessage::Update(update) = read(message) else { panic!("an UPDATE") };
        let codes: Vec<u8> = update
            .path_attributes()
            .iter()
            .map(|it| it.path_attribute_type().map_or_else(|code| code, |code| code as u8))
            .collect();
        assert_eq!(codes, [14, 1, 2, 4, 6, 7, 8, 32, 99]);
        let PathAttributeValue::MpReach(MpReach::Ipv6Unicast { next_hop_global, nlri, .. }) =
            update.path_attributes()[0].value()
        else {
            panic!("MP_REACH_NLRI")
        };
        assert_eq!(*next_hop_global, address(1));
        assert_eq!(nlri[0].network().to_string(), "fd12:3456:789a::/48");
        let BgpMessage::Update(update) = read(&update::end_of_rib()) else { panic!("an UPDATE") };
        assert!(update.end_of_rib().is_some());
        assert!(matches!(read(&Notification::BFD_DOWN.encode()), BgpMessage::Notification(_)));
        assert!(matches!(read(&message::keepalive()), BgpMessage::KeepAlive));
    }
}
