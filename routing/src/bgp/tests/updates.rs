//! Messages of a peer that is played byte by byte: what ends the session, what withdraws routes, what is ignored.

use super::*;
use crate::bgp::message::{Message, Notification, Open, Reject, split};
use crate::bgp::path::{AsPath, Origin, Path, Segment};
use crate::bgp::update::Update;

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
/// AS 4200000002, the peer.
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0xfa, 0x56, 0xea, 0x02];
/// fd00:2::/48 through fd00:2::1.
const REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0xfd, 0, 0, 2, 0, 0,
];
const UNREACH: &[u8] = &[0x80, 15, 10, 0, 2, 1, 48, 0xfd, 0, 0, 2, 0, 0];

fn at(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// The peer has announced its mesh.
fn announced() -> Script {
    let mut script = Script::established();
    script.update(&[REACH, ORIGIN, AS_PATH]);
    script.net.resolve(0);
    assert_eq!(script.net.routes(0), [mesh(1)]);
    script
}

#[test]
fn the_lengths_in_the_vectors_are_right() {
    for vector in [ORIGIN, AS_PATH, REACH, UNREACH] {
        assert_eq!(usize::from(vector[2]) + 3, vector.len());
    }
    assert_eq!(asn(1), 0xfa56_ea02);
}

#[test]
fn a_route_comes_and_goes() {
    let mut script = announced();
    script.update(&[UNREACH]);
    assert_eq!(script.net.routes(0), []);
    assert!(script.is_up());
}

/// RFC 7606 section 7, and section 3 (c), (d): the session stays, the route goes.
#[test]
fn rfc7606_treat_as_withdraw() {
    let left_over: &[u8] = &[0x40, 2, 7, 2, 1, 0xfa, 0x56, 0xea, 0x02, 0];
    let cases: [(&str, Vec<&[u8]>); 20] = [
        ("7.1 ORIGIN of two octets", vec![REACH, &[0x40, 1, 2, 0, 0], AS_PATH]),
        ("7.1 ORIGIN of no octet", vec![REACH, &[0x40, 1, 0], AS_PATH]),
        ("7.1 ORIGIN 3", vec![REACH, &[0x40, 1, 1, 3], AS_PATH]),
        ("7.2 segment type 5", vec![REACH, ORIGIN, &[0x40, 2, 6, 5, 1, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.2 segment overrun", vec![REACH, ORIGIN, &[0x40, 2, 6, 2, 2, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.2 one octet left over", vec![REACH, ORIGIN, left_over]),
        ("7.2 empty segment", vec![REACH, ORIGIN, &[0x40, 2, 2, 2, 0]]),
        ("7607 AS 0", vec![REACH, ORIGIN, &[0x40, 2, 10, 2, 2, 0xfa, 0x56, 0xea, 0x02, 0, 0, 0, 0]]),
        ("5065 confederation", vec![REACH, ORIGIN, &[0x40, 2, 6, 3, 1, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.3 NEXT_HOP of 16 octets", vec![REACH, ORIGIN, AS_PATH, &[0x40, 3, 2, 1, 1]]),
        ("7.4 MED of two octets", vec![REACH, ORIGIN, AS_PATH, &[0x80, 4, 2, 0, 0]]),
        ("7.8 COMMUNITIES of five octets", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 8, 5, 0, 0, 0, 0, 0]]),
        ("7.8 COMMUNITIES of none", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 8, 0]]),
        ("7.14 EXTENDED COMMUNITIES of 4", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 16, 4, 0, 0, 0, 0]]),
        ("8092 LARGE_COMMUNITY of 4", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 32, 4, 0, 0, 0, 0]]),
        ("3 (c) ORIGIN as optional", vec![REACH, &[0xc0, 1, 1, 0], AS_PATH]),
        ("3 (c) MED as transitive", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 4, 4, 0, 0, 0, 0]]),
        ("3 (d) no ORIGIN", vec![REACH, AS_PATH]),
        ("3 (d) no AS_PATH", vec![REACH, ORIGIN]),
        ("4 the last attribute is longer than the list", vec![REACH, ORIGIN, AS_PATH, &[0x80, 4, 4, 0]]),
    ];
    for (rule, attributes) in &cases {
        let mut script = announced();
        script.update(attributes);
        assert!(script.is_up(), "{rule}: the session ended with {:?}", script.net.notifications(0));
        assert_eq!(script.net.routes(0), [], "{rule}: the route stays");
        assert_eq!(script.net.view(0, 1).counters.malformed_updates, 1, "{rule}");
        script.update(&[REACH, ORIGIN, AS_PATH]);
        assert_eq!(script.net.routes(0), [mesh(1)], "{rule}: the next UPDATE is not used");
    }
}

/// RFC 7606 section 3 (f), (g) and 7.5 to 7.10: the attribute is ignored, the route stays.
#[test]
fn rfc7606_attribute_discard() {
    let cases: [(&str, &[u8]); 9] = [
        ("7.5 LOCAL_PREF from outside", &[0x40, 5, 4, 0, 0, 0, 200]),
        ("7.5 LOCAL_PREF of another length", &[0x40, 5, 2, 0, 0]),
        ("7.6 ATOMIC_AGGREGATE with a value", &[0x40, 6, 1, 0]),
        ("7.7 AGGREGATOR of six octets", &[0xc0, 7, 6, 0, 1, 1, 1, 1, 1]),
        ("7607 AGGREGATOR AS 0", &[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("7.9 ORIGINATOR_ID", &[0x80, 9, 4, 1, 1, 1, 1]),
        ("7.10 CLUSTER_LIST", &[0x80, 10, 4, 1, 1, 1, 1]),
        ("6793 AS4_PATH", &[0xc0, 17, 6, 2, 1, 0, 0, 0, 9]),
        ("3 (g) a second ORIGIN", &[0x40, 1, 1, 9]),
    ];
    for (rule, attribute) in cases {
        let mut script = announced();
        script.update(&[REACH, ORIGIN, AS_PATH, attribute]);
        assert!(script.is_up(), "{rule}");
        assert_eq!(script.net.routes(0), [mesh(1)], "{rule}");
        let views = script.net.nodes[0].route_views(script.net.now);
        let path = &views.iter().find(|view| view.peer.is_some()).unwrap().path;
        let mut expected = Path::local(address(1));
        expected.as_path.prepend(asn(1), 1);
        assert_eq!(*path, expected, "{rule}");
        assert_eq!(script.net.view(0, 1).counters.malformed_updates, 1, "{rule}");
    }
}

/// RFC 7606 sections 3 (b), (g), (j), 5.2, 5.3, 7.11 and RFC 4271 section 6.3: the routes cannot be told, so the session ends.
#[test]
fn rfc7606_session_reset() {
    let mut long_hop = REACH.to_vec();
    long_hop[6] = 24;
    let mut long_prefix = UNREACH.to_vec();
    long_prefix[6] = 129;
    let mut overrun = REACH.to_vec();
    overrun[24] = 56;
    let mut wrong_flags = REACH.to_vec();
    wrong_flags[0] = 0xc0;
    type Case<'a> = (&'static str, Vec<&'a [u8]>, (u8, u8));
    let cases: [Case<'_>; 10] = [
        ("3 (g) MP_REACH_NLRI twice", vec![REACH, REACH, ORIGIN, AS_PATH], (3, 1)),
        ("3 (g) MP_UNREACH_NLRI twice", vec![UNREACH, UNREACH], (3, 1)),
        ("5.2 an error and no routes", vec![&[0x40, 1, 1, 9], AS_PATH], (3, 1)),
        ("5.2 not even one attribute", vec![&[0x40, 1]], (3, 1)),
        ("5.3 a prefix longer than 128", vec![&long_prefix], (3, 9)),
        ("5.3 a prefix beyond the attribute", vec![&overrun, ORIGIN, AS_PATH], (3, 9)),
        ("5.3 flags of MP_REACH_NLRI", vec![&wrong_flags, ORIGIN, AS_PATH], (3, 9)),
        ("5.3 MP_REACH_NLRI of four octets", vec![&[0x80, 14, 4, 0, 2, 1, 0]], (3, 9)),
        ("7.11 a next hop of 24 octets", vec![&long_hop, ORIGIN, AS_PATH], (3, 9)),
        ("6.3 an unknown well-known attribute", vec![REACH, ORIGIN, AS_PATH, &[0x40, 99, 0]], (3, 2)),
    ];
    for (rule, attributes, notification) in &cases {
        let mut script = announced();
        script.update(attributes);
        assert!(!script.is_up(), "{rule}: the session stays");
        assert_eq!(script.net.notifications(0), [*notification], "{rule}");
        assert_eq!(script.net.routes(0), [], "{rule}");
    }
}

#[test]
fn rfc7606_3_b_lengths_beyond_the_message() {
    for body in [[0, 5, 0, 0], [0, 0, 0, 5]] {
        let mut script = announced();
        script.say(&message::framed(consts::kind::UPDATE, |w| {
            w.bytes(&body);
        }));
        assert_eq!(script.net.notifications(0), [(3, 1)]);
    }
}

#[test]
fn routes_of_families_that_were_not_agreed_on_are_ignored() {
    let mut script = announced();
    let ipv4 = [0x80, 14, 11, 0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10];
    script.update(&[&ipv4, ORIGIN, AS_PATH]);
    assert!(script.is_up());
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

#[test]
fn rfc4271_5_an_unknown_optional_transitive_attribute_is_passed_on_as_partial() {
    let bytes = [REACH, ORIGIN, AS_PATH, &[0xc0, 99, 1, 7], &[0x80, 98, 1, 7]].concat();
    let body = [&[0, 0], &(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let update = Update::decode(&body).unwrap();
    assert_eq!(update.errors, []);
    assert_eq!(update.announced.unwrap().0.others, [(99, 0xe0, vec![7])]);
}

#[test]
fn what_import_keeps_out_whatever_policy_says() {
    let via = |numbers: &[u32], hop: usize, prefix: &str| {
        let as_path = AsPath(vec![Segment::Sequence(numbers.to_vec())]);
        (Path { as_path, ..Path::local(address(hop)) }, at(prefix))
    };
    for ((path, prefix), filtered) in [
        (via(&[asn(1), asn(0), 7], 1, "fd00:9::/48"), view::Filtered::AsLoop),
        (via(&[7, asn(1)], 1, "fd00:9::/48"), view::Filtered::FirstAs),
        (via(&[asn(1)], 0, "fd00:9::/48"), view::Filtered::NextHop),
        (via(&[asn(1)], 1, "fd00:1::/48"), view::Filtered::OwnMesh),
        (via(&[asn(1)], 1, "fd00:1::/64"), view::Filtered::OwnMesh),
        (via(&[asn(1)], 1, "fd00::/8"), view::Filtered::OwnMesh),
        (via(&[asn(1)], 1, "::/0"), view::Filtered::OwnMesh),
    ] {
        let mut script = Script::established();
        for message in update::announce(&path, &[prefix]) {
            script.say(&message);
        }
        script.net.resolve(0);
        let views = script.net.nodes[0].route_views(script.net.now);
        let view = views.iter().find(|view| view.peer.is_some()).unwrap();
        assert_eq!(view.filtered, Some(filtered), "{prefix}");
        assert_eq!(script.net.routes(0), [], "{prefix}");
    }
}

#[test]
fn rfc4271_6_1_errors_in_the_header() {
    let keepalive = message::keepalive();
    let changed = |at: usize, value: u8| {
        let mut bytes = keepalive.clone();
        bytes[at] = value;
        bytes
    };
    for (bytes, notification) in [
        (changed(3, 0), (1, 1)),
        (changed(17, 18), (1, 2)),
        (changed(17, 20), (1, 2)),
        (changed(16, 0x10), (1, 2)),
        (changed(18, 9), (1, 3)),
        (changed(18, 0), (1, 3)),
    ] {
        let mut script = announced();
        script.say(&bytes);
        assert_eq!(script.net.notifications(0), [notification], "{bytes:02x?}");
    }
}

#[test]
fn rfc4271_6_2_errors_in_the_open() {
    let good = Script::open();
    let bytes = |open: &Open| open.encode();
    let mut version = bytes(&good);
    version[19] = 3;
    let mut parameter = bytes(&good);
    parameter[29] = 1;
    let mut overrun = bytes(&good);
    overrun[30] = 200;
    let lacking = |change: fn(&mut message::Capabilities)| {
        let mut open = good.clone();
        change(&mut open.capabilities);
        bytes(&open)
    };
    for (rule, bytes, notification) in [
        ("version 3", version, (2, 1)),
        ("another AS", bytes(&Open { asn: 7, ..good.clone() }), (2, 2)),
        ("RFC 7607 AS 0", bytes(&Open { asn: 0, ..good.clone() }), (2, 2)),
        ("identifier 0", bytes(&Open { identifier: 0, ..good.clone() }), (2, 3)),
        ("an unknown parameter", parameter, (2, 0)),
        ("a parameter beyond the message", overrun, (2, 0)),
        ("a hold time of 2 s", bytes(&Open { hold_time: 2 * SECOND, ..good.clone() }), (2, 6)),
        ("no four-octet AS numbers", lacking(|it| it.four_octet_as = false), (2, 2)),
        ("no IPv6 unicast", lacking(|it| it.ipv6_unicast = false), (2, 7)),
    ] {
        let mut script = Script::connected(|_| {});
        script.say(&bytes);
        assert_eq!(script.net.notifications(0), [notification], "{rule}");
    }
}

#[test]
fn rfc9072_2_the_type_says_that_lengths_have_two_octets() {
    for length in [255, 1] {
        let mut script = Script::connected(|_| {});
        script.say(&message::framed(consts::kind::OPEN, |w| {
            w.u8(4).u16(23456).u16(90).u32(2).u8(length).u8(255).u16(15).u8(2).u16(12);
            w.bytes(&[1, 4, 0, 2, 0, 1, 65, 4, 0xfa, 0x56, 0xea, 0x02]);
        }));
        script.say(&message::keepalive());
        assert!(script.is_up(), "{length}");
    }
}

#[test]
fn rfc6608_a_message_that_its_state_does_not_expect() {
    let mut script = Script::connected(|_| {});
    script.say(&message::keepalive());
    assert_eq!(script.net.notifications(0), [(5, 1)]);
    let mut script = Script::connected(|_| {});
    script.say(&Script::open().encode());
    script.update(&[UNREACH]);
    assert_eq!(script.net.notifications(0), [(5, 2)]);
    let mut script = announced();
    script.say(&Script::open().encode());
    assert_eq!(script.net.notifications(0), [(5, 3)]);
}

#[test]
fn messages_may_come_in_any_pieces() {
    let mut whole = Vec::new();
    let mut script = Script::connected(|_| {});
    whole.extend(Script::open().encode());
    whole.extend(message::keepalive());
    let mut path = Path::local(address(1));
    path.as_path.prepend(asn(1), 1);
    whole.extend(update::announce(&path, &[mesh(1)]).concat());
    for byte in whole {
        script.say(&[byte]);
    }
    script.net.resolve(0);
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

#[test]
fn rfc8654_4_messages_of_any_length_are_taken() {
    let long = message::framed(consts::kind::NOTIFICATION, |w| {
        w.u8(6).u8(2).bytes(&[0; 5000]);
    });
    assert!(matches!(split(&long), Ok(Some((Message::Notification(_), 5021)))));
    // The peer did not offer the capability; we did.
    let mut script = Script::established();
    script.say(&long);
    assert_eq!(script.net.notifications(0), []);
    let mut open = vec![0; 4097];
    open[..16].fill(0xff);
    open[16..19].copy_from_slice(&[0x10, 1, consts::kind::OPEN]);
    assert!(matches!(split(&open), Err(Reject::Length { .. })));
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

#[test]
fn many_prefixes_are_told_in_messages_that_everybody_can_take() {
    let prefixes: Vec<Prefix> =
        (0..1_000).map(|n| Prefix::new(Ipv6Addr::new(0xfd12, n, 0, 0, 0, 0, 0, 0), 48)).collect();
    let messages = update::announce(&everything(), &prefixes);
    assert!(messages.iter().all(|message| message.len() <= consts::MAX_MESSAGE));
    let read =
        messages.iter().flat_map(|message| Update::decode(&message[19..]).unwrap().announced.unwrap().1);
    assert_eq!(read.collect::<Vec<_>>(), prefixes);
    let huge = Path { others: vec![(99, 0xe0, vec![0; 4000])], ..everything() };
    assert_eq!(update::announce(&huge, &prefixes), Vec::<Vec<u8>>::new());
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
        assert_eq!((open.my_as(), open.my_asn4(), open.hold_time()), (consts::AS_TRANS, asn(0), 90));
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
