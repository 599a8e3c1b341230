//! UPDATEs of a peer that is played byte by byte: what ends the session, what withdraws routes, what is ignored.

use super::*;
use crate::bgp::message::{Reject, framed};
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

/// [`REACH`] through another next hop.
fn reach_through(next_hop: &str) -> Vec<u8> {
    let mut reach = REACH.to_vec();
    reach[7..23].copy_from_slice(&next_hop.parse::<Ipv6Addr>().unwrap().octets());
    reach
}

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
    let hops = ["::", "::1", "ff02::1", "fe80::1"].map(reach_through);
    let thirteen = [&[0xc0, 32, 13][..], &[0; 13]].concat();
    let overrun: &[u8] = &[0xc0, 99, 200, 0x40, 77, 0];
    let cases: [(&str, Vec<&[u8]>); 31] = [
        ("7.1 ORIGIN of two octets", vec![REACH, &[0x40, 1, 2, 0, 0], AS_PATH]),
        ("7.1 ORIGIN of no octet", vec![REACH, &[0x40, 1, 0], AS_PATH]),
        ("7.1 ORIGIN 3", vec![REACH, &[0x40, 1, 1, 3], AS_PATH]),
        ("7.2 segment type 5", vec![REACH, ORIGIN, &[0x40, 2, 6, 5, 1, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.2 segment overrun", vec![REACH, ORIGIN, &[0x40, 2, 6, 2, 2, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.2 one octet left over", vec![REACH, ORIGIN, left_over]),
        ("7.2 empty segment", vec![REACH, ORIGIN, &[0x40, 2, 2, 2, 0]]),
        ("7607 AS 0", vec![REACH, ORIGIN, &[0x40, 2, 10, 2, 2, 0xfa, 0x56, 0xea, 0x02, 0, 0, 0, 0]]),
        ("5065 confederation", vec![REACH, ORIGIN, &[0x40, 2, 6, 3, 1, 0xfa, 0x56, 0xea, 0x02]]),
        ("7.3 NEXT_HOP of two octets", vec![REACH, ORIGIN, AS_PATH, &[0x40, 3, 2, 1, 1]]),
        ("7.3 NEXT_HOP of five octets", vec![REACH, ORIGIN, AS_PATH, &[0x40, 3, 5, 1, 1, 1, 1, 1]]),
        ("7.4 MED of two octets", vec![REACH, ORIGIN, AS_PATH, &[0x80, 4, 2, 0, 0]]),
        ("7.8 COMMUNITIES of five octets", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 8, 5, 0, 0, 0, 0, 0]]),
        ("7.8 COMMUNITIES of none", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 8, 0]]),
        ("7.14 EXTENDED COMMUNITIES of 4", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 16, 4, 0, 0, 0, 0]]),
        ("7.14 EXTENDED COMMUNITIES of none", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 16, 0]]),
        (
            "7.14 EXTENDED COMMUNITIES of 9",
            vec![REACH, ORIGIN, AS_PATH, &[0xc0, 16, 9, 0, 2, 0, 0, 0, 0, 0, 0, 0]],
        ),
        ("8092 LARGE_COMMUNITY of none", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 32, 0]]),
        ("8092 LARGE_COMMUNITY of 13", vec![REACH, ORIGIN, AS_PATH, &thirteen]),
        ("8092 LARGE_COMMUNITY of 4", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 32, 4, 0, 0, 0, 0]]),
        ("3 (c) ORIGIN as optional", vec![REACH, &[0xc0, 1, 1, 0], AS_PATH]),
        ("3 (c) MED as transitive", vec![REACH, ORIGIN, AS_PATH, &[0xc0, 4, 4, 0, 0, 0, 0]]),
        ("3 (d) no ORIGIN", vec![REACH, AS_PATH]),
        ("3 (d) no AS_PATH", vec![REACH, ORIGIN]),
        (
            "3 (h) the strongest of two approaches",
            vec![REACH, &[0x40, 1, 1, 9], AS_PATH, &[0x40, 5, 4, 0, 0, 0, 9]],
        ),
        ("4 the last attribute is longer than the list", vec![REACH, ORIGIN, AS_PATH, &[0x80, 4, 4, 0]]),
        ("4 nothing behind it is an attribute", vec![REACH, ORIGIN, AS_PATH, overrun]),
        ("7.11 an unspecified next hop", vec![&hops[0], ORIGIN, AS_PATH]),
        ("7.11 a loopback address as next hop", vec![&hops[1], ORIGIN, AS_PATH]),
        ("7.11 a multicast address as next hop", vec![&hops[2], ORIGIN, AS_PATH]),
        ("7.11 a link-local address as next hop", vec![&hops[3], ORIGIN, AS_PATH]),
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
    let outside = "it comes from another AS";
    let aggregator = "AGGREGATOR is not an AS and an identifier";
    let four = "both ends have four-octet AS numbers";
    let cases: [(&str, &str, &[u8]); 11] = [
        ("7.5 LOCAL_PREF from outside", outside, &[0x40, 5, 4, 0, 0, 0, 200]),
        ("7.5 LOCAL_PREF of another length", outside, &[0x40, 5, 2, 0, 0]),
        ("7.6 ATOMIC_AGGREGATE with a value", "ATOMIC_AGGREGATE is not empty", &[0x40, 6, 1, 0]),
        ("7.7 AGGREGATOR of six octets", aggregator, &[0xc0, 7, 6, 0, 1, 1, 1, 1, 1]),
        ("7.7 AGGREGATOR of nine octets", aggregator, &[0xc0, 7, 9, 0, 0, 0, 1, 1, 1, 1, 1, 1]),
        ("7607 AGGREGATOR AS 0", aggregator, &[0xc0, 7, 8, 0, 0, 0, 0, 1, 1, 1, 1]),
        ("7.9 ORIGINATOR_ID", outside, &[0x80, 9, 4, 1, 1, 1, 1]),
        ("7.10 CLUSTER_LIST", outside, &[0x80, 10, 4, 1, 1, 1, 1]),
        ("6793 AS4_PATH", four, &[0xc0, 17, 6, 2, 1, 0, 0, 0, 9]),
        ("6793 AS4_AGGREGATOR", four, &[0xc0, 18, 8, 0, 0, 0, 9, 1, 1, 1, 1]),
        ("3 (g) a second ORIGIN", "it appears twice", &[0x40, 1, 1, 9]),
    ];
    for (rule, said, attribute) in cases {
        let mut script = announced();
        script.update(&[REACH, ORIGIN, AS_PATH, attribute]);
        assert!(script.is_up(), "{rule}");
        assert_eq!(script.net.routes(0), [mesh(1)], "{rule}");
        let views = script.net.nodes[0].route_views(script.net.now);
        let path = &views.iter().find(|view| view.peer.is_some()).unwrap().path;
        let mut expected = Path::local(address(1));
        expected.as_path.prepend(asn(1), 1);
        assert_eq!(*path, expected, "{rule}");
        let view = script.net.view(0, 1);
        assert_eq!(view.counters.malformed_updates, 1, "{rule}");
        let error = format!("attribute {}: {said} (AttributeDiscard)", attribute[1]);
        assert_eq!(view.last_error, Some((Duration::ZERO, error)), "{rule}");
        // Section 5.2: without routes there is nothing that a reset could save.
        script.update(&[UNREACH, ORIGIN, attribute]);
        assert_eq!((script.is_up(), script.net.routes(0)), (true, vec![]), "{rule}");
    }
}

/// RFC 7606 sections 3 (b), (g), (j), 5.2, 5.3, 7.11 and RFC 4271 section 6.3: the routes cannot be told, so the session ends.
#[test]
fn rfc7606_session_reset() {
    let changed = |vector: &[u8], at: usize, value: u8| {
        let mut vector = vector.to_vec();
        vector[at] = value;
        vector
    };
    let long_prefix = changed(UNREACH, 6, 129);
    let overrun = changed(REACH, 24, 56);
    let (reach_flags, unreach_flags) = (changed(REACH, 0, 0xc0), changed(UNREACH, 0, 0xc0));
    let mut long_hop = changed(REACH, 6, 24);
    long_hop[2] += 8;
    long_hop.splice(23..23, [0; 8]);
    let short: &[u8] = &[0x80, 14, 4, 0, 2, 1, 0];
    let unknown: &[u8] = &[0x40, 99, 2, 7, 8];
    let longer: &[u8] = &[0x50, 99, 0, 2, 7, 8];
    type Case<'a> = (&'static str, Vec<&'a [u8]>, (u8, u8), &'a [u8]);
    let cases: [Case<'_>; 13] = [
        ("3 (g) MP_REACH_NLRI twice", vec![REACH, REACH, ORIGIN, AS_PATH], (3, 1), &[]),
        ("3 (g) MP_UNREACH_NLRI twice", vec![UNREACH, UNREACH], (3, 1), &[]),
        ("5.2 an error and no routes", vec![&[0x40, 1, 1, 9], AS_PATH], (3, 1), &[]),
        ("5.2 only routes that go", vec![UNREACH, &[0x40, 1, 1, 9]], (3, 1), &[]),
        ("5.2 not even one attribute", vec![&[0x40, 1]], (3, 1), &[]),
        ("5.3 a prefix longer than 128", vec![&long_prefix], (3, 9), &long_prefix),
        ("5.3 a prefix beyond the attribute", vec![&overrun, ORIGIN, AS_PATH], (3, 9), &overrun),
        ("5.3 flags of MP_REACH_NLRI", vec![ORIGIN, &reach_flags, AS_PATH], (3, 9), &reach_flags),
        ("5.3 flags of MP_UNREACH_NLRI", vec![&unreach_flags], (3, 9), &unreach_flags),
        ("5.3 MP_REACH_NLRI of four octets", vec![short], (3, 9), short),
        ("7.11 a next hop of 24 octets", vec![&long_hop, ORIGIN, AS_PATH], (3, 9), &long_hop),
        ("6.3 an unknown well-known attribute", vec![REACH, ORIGIN, unknown, AS_PATH], (3, 2), unknown),
        ("6.3 one with two octets of length", vec![REACH, ORIGIN, AS_PATH, longer], (3, 2), longer),
    ];
    for (rule, attributes, notification, data) in &cases {
        let mut script = announced();
        script.update(attributes);
        assert!(!script.is_up(), "{rule}: the session stays");
        assert_eq!(script.net.notifications(0), [*notification], "{rule}");
        // RFC 4271 section 6.3: the attribute, so that the peer's operator can find it.
        assert_eq!(script.net.sent.last().unwrap().1[21..], **data, "{rule}");
        assert_eq!(script.net.routes(0), [], "{rule}");
    }
}

/// An attribute can be longer than the longest message the peer takes.
#[test]
fn rfc4271_4_a_notification_is_cut_to_the_largest_message() {
    let mut script = announced();
    script.update(&[REACH, ORIGIN, AS_PATH, &[&[0x50, 99, 0x20, 0][..], &[7; 0x2000]].concat()]);
    let sent = &script.net.sent.last().unwrap().1;
    assert_eq!((sent.len(), &sent[19..24]), (4096, &[3, 2, 0x50, 99, 0x20][..]));
}

/// Bodies whose first fields are those of IPv4, and what they lead to: a NOTIFICATION, or whether they are End-of-RIB.
#[test]
fn rfc7606_5_3_the_fields_of_ipv4_are_read_and_ignored() {
    let body = |withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]| {
        let attributes = attributes.concat();
        let length = |octets: usize| (octets as u16).to_be_bytes();
        [&length(withdrawn.len())[..], withdrawn, &length(attributes.len()), &attributes, nlri].concat()
    };
    let none: &[u8] = &[0x80, 15, 3, 0, 2, 1];
    let eor = |end_of_rib| Ok(end_of_rib);
    let beyond = || Err((3, 1));
    for (rule, body, expected) in [
        ("RFC 4724 section 2 End-of-RIB", body(&[], &[none], &[]), eor(true)),
        ("RFC 4724 section 2 that of IPv4", body(&[], &[], &[]), eor(false)),
        ("that of IPv4 as MP_UNREACH_NLRI", body(&[], &[&[0x80, 15, 3, 0, 1, 1]], &[]), eor(false)),
        ("an IPv6 route goes", body(&[], &[UNREACH], &[]), eor(false)),
        ("something else is said", body(&[], &[none, ORIGIN], &[]), eor(false)),
        ("an IPv4 route goes", body(&[8, 10], &[none], &[]), eor(false)),
        ("an IPv4 route comes", body(&[], &[none], &[8, 10]), eor(false)),
        ("no error without routes: they are of IPv4", body(&[], &[&[0x40, 1, 1, 9]], &[8, 10]), eor(false)),
        ("as long as IPv4 prefixes can be", body(&[32, 1, 2, 3, 4], &[none], &[]), eor(false)),
        ("RFC 4271 6.3 a longer one goes", body(&[33, 1, 2, 3, 4, 0], &[none], &[]), Err((3, 10))),
        ("RFC 4271 6.3 a longer one comes", body(&[], &[none], &[33, 1, 2, 3, 4, 0]), Err((3, 10))),
        ("RFC 4271 6.3 it exceeds the field", body(&[], &[none], &[16, 1]), Err((3, 10))),
        ("3 (b) the withdrawn routes exceed the message", vec![0, 5, 0, 0], beyond()),
        ("3 (b) the attributes exceed the message", vec![0, 0, 0, 5], beyond()),
    ] {
        let error = |reject: Reject| (reject.notification().code, reject.notification().subcode);
        assert_eq!(Update::decode(&body).map(|it| it.end_of_rib).map_err(error), expected, "{rule}");
        let mut script = announced();
        script.say(&framed(consts::kind::UPDATE, |w| {
            w.bytes(&body);
        }));
        assert_eq!(script.net.notifications(0).first().copied(), expected.err(), "{rule}");
    }
}

#[test]
fn routes_of_families_that_were_not_agreed_on_are_ignored() {
    let ipv4: &[u8] = &[0x80, 14, 11, 0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10];
    let (mut multicast, mut gone) = (REACH.to_vec(), UNREACH.to_vec());
    (multicast[5], multicast[28], gone[5]) = (2, 9, 2);
    for attributes in [vec![ipv4, ORIGIN, AS_PATH], vec![&multicast, ORIGIN, AS_PATH], vec![&gone]] {
        let mut script = announced();
        script.update(&attributes);
        assert!(script.is_up());
        assert_eq!(script.net.routes(0), [mesh(1)]);
        assert_eq!(script.net.view(0, 1).received_prefixes, 1);
    }
}

#[test]
fn rfc4760_3_a_prefix_that_goes_and_comes_in_one_update_has_come() {
    let mut script = announced();
    script.update(&[UNREACH, REACH, ORIGIN, AS_PATH]);
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

#[test]
fn rfc4271_6_3_prefixes_that_no_host_can_be_in_are_left_out() {
    let mut nlri = REACH.to_vec();
    nlri.extend([8, 0xff, 10, 0xfe, 0x80, 64, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 48, 0xfd, 0, 0, 3, 0, 0]);
    nlri[2] = nlri.len() as u8 - 3;
    let mut script = announced();
    script.update(&[&nlri, ORIGIN, AS_PATH]);
    assert!(script.is_up());
    assert_eq!(script.net.routes(0), [mesh(1), mesh(2)]);
    assert_eq!(script.net.view(0, 1).received_prefixes, 2);
}

/// An UPDATE without errors that announces one prefix with these attributes beside those that are mandatory.
fn path_with(attributes: &[&[u8]]) -> Path {
    let list = [&[REACH, AS_PATH], attributes].concat().concat();
    let update = Update::decode(&[&[0, 0], &(list.len() as u16).to_be_bytes()[..], &list].concat()).unwrap();
    assert_eq!(update.errors, []);
    update.announced.unwrap().0
}

#[test]
fn rfc2545_3_the_link_local_address_beside_the_next_hop_is_ignored() {
    let mut reach = REACH.to_vec();
    reach.splice(23..23, "fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    (reach[2], reach[6]) = (reach[2] + 16, 32);
    let mut script = announced();
    script.update(&[&reach, ORIGIN, AS_PATH]);
    let next_hops: Vec<_> = script.net.nodes[0].routes().map(|route| route.next_hops).collect();
    assert_eq!(next_hops, [[address(1)]]);
    assert_eq!(script.net.view(0, 1).counters.malformed_updates, 0);
}

#[test]
fn rfc4271_5_1_1_the_three_values_of_origin() {
    for (value, origin) in [(0, Origin::Igp), (1, Origin::Egp), (2, Origin::Incomplete)] {
        assert_eq!(path_with(&[&[0x40, 1, 1, value]]).origin, origin);
    }
    assert!(Origin::Igp < Origin::Egp && Origin::Egp < Origin::Incomplete);
}

/// RFC 4271 section 4.3: the four lower bits mean nothing; RFC 7606 section 3 (c) asks for Optional and Transitive only.
#[test]
fn rfc4271_4_3_other_flags_of_known_attributes_are_no_error() {
    let origin: &[u8] = &[0x4f & !0x10, 1, 1, 0];
    let communities: &[u8] = &[0xe0, 8, 12, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 5];
    assert_eq!(path_with(&[origin, communities]).communities, [1, 5], "ascending, each once");
    // RFC 4271 section 5: two octets of length where one would do.
    assert_eq!(path_with(&[&[0x50, 1, 0, 1, 2]]).origin, Origin::Incomplete);
    assert_eq!(path_with(&[ORIGIN, &[0x40, 3, 4, 192, 0, 2, 1]]).next_hop, address(1), "NEXT_HOP is ignored");
}

#[test]
fn rfc4271_5_unknown_optional_attributes_are_passed_on_as_partial_if_they_are_transitive() {
    let known: &[u8] = &[0xc0, 16, 8, 0, 2, 0, 0, 0, 0, 0, 7];
    let path = path_with(&[&[0xc0, 99, 1, 7], ORIGIN, &[0x80, 98, 1, 7], known]);
    // RFC 4360 is known, as far as its form goes.
    assert_eq!(path.others, [(16, 0xc0, vec![0, 2, 0, 0, 0, 0, 0, 7]), (99, 0xe0, vec![7])]);
    let twice = [REACH, ORIGIN, AS_PATH, &[0xc0, 99, 1, 7], &[0xc0, 99, 1, 8]];
    let mut script = announced();
    script.update(&twice);
    let views = script.net.nodes[0].route_views(script.net.now);
    let view = views.iter().find(|view| view.peer.is_some()).unwrap();
    assert_eq!(view.path.others, [(99, 0xe0, vec![7])], "RFC 7606 section 3 (g)");
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
        assert_eq!(
            (view.filtered, view.reachable),
            (Some(filtered), false),
            "{prefix}: no way is looked for"
        );
        assert_eq!(script.net.routes(0), [], "{prefix}");
    }
}
