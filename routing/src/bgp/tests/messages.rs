//! Messages of a peer other than UPDATE: framing, OPEN, NOTIFICATION, ROUTE-REFRESH.

use super::*;
use crate::bgp::consts::kind;
use crate::bgp::message::{
    Capabilities, GracefulRestart, Message, Notification, Open, framed, keepalive, split,
};

/// What a speaker says to a peer that has said `bytes`, and that it has closed the connection.
fn answer(script: &mut Script, bytes: &[u8]) -> Notification {
    script.say(bytes);
    let last = &script.net.sent.last().unwrap().1;
    let Ok(Some((Message::Notification(notification), _))) = split(last) else { panic!("{last:02x?}") };
    assert!(script.net.log.contains(&(0, Output::Close { peer: address(1), side: script.side })));
    notification
}

fn notification(code: u8, subcode: u8, data: &[u8]) -> Notification {
    Notification { code, subcode, data: data.to_vec() }
}

/// A message of a kind and a length.
fn zeros(kind: u8, length: u16) -> Vec<u8> {
    let mut bytes = framed(kind, |w| {
        w.bytes(&vec![0; usize::from(length).saturating_sub(19)]);
    });
    bytes[16..18].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn rfc4271_6_1_errors_in_the_header() {
    for (rule, bytes, expected) in [
        ("a length below the header", zeros(kind::KEEPALIVE, 18), notification(1, 2, &[0, 18])),
        ("a KEEPALIVE with a body", zeros(kind::KEEPALIVE, 20), notification(1, 2, &[0, 20])),
        ("a KEEPALIVE of 4 KiB", zeros(kind::KEEPALIVE, 4115), notification(1, 2, &[0x10, 0x13])),
        ("an OPEN without its length octet", zeros(1, 28), notification(1, 2, &[0, 28])),
        ("RFC 8654 section 4: no OPEN is extended", zeros(1, 4097), notification(1, 2, &[0x10, 1])),
        ("an UPDATE without its second length", zeros(2, 22), notification(1, 2, &[0, 22])),
        ("a NOTIFICATION without a subcode", zeros(3, 20), notification(1, 2, &[0, 20])),
        ("type 0", zeros(0, 19), notification(1, 3, &[0])),
        ("type 9", zeros(9, 19), notification(1, 3, &[9])),
        ("RFC 7313 section 5: a ROUTE-REFRESH of three octets", zeros(5, 22), notification(7, 1, &[])),
        ("a ROUTE-REFRESH of five octets", zeros(5, 24), notification(7, 1, &[])),
        ("what cannot become a marker need not be waited for", vec![0], notification(1, 1, &[])),
        ("the last octet of the marker", [&[0xff; 15][..], &[0xfe]].concat(), notification(1, 1, &[])),
    ] {
        let mut script = Script::established();
        assert_eq!(answer(&mut script, &bytes), expected, "{rule}");
        // What ROUTE-REFRESH says is not looked at before its time.
        let expected = if expected.code == 7 { notification(5, 1, &[]) } else { expected };
        let mut script = Script::connected(|_| {});
        assert_eq!(answer(&mut script, &bytes), expected, "{rule}, in OpenSent");
    }
}

#[test]
fn rfc4271_6_1_the_shortest_messages_are_taken() {
    let mut script = Script::established();
    script.say(&zeros(kind::UPDATE, 23));
    assert!(script.is_up());
    assert_eq!(
        split(&zeros(kind::NOTIFICATION, 21)),
        Ok(Some((Message::Notification(notification(0, 0, &[])), 21)))
    );
    let Ok(Some((Message::Open(_), 29))) = split(&raw_open(0, &[])) else {
        panic!("an OPEN without parameters")
    };
}

/// RFC 8654 section 4: we offer to take them, whether the peer does or not.
#[test]
fn rfc8654_4_messages_of_any_length_are_taken() {
    for length in [4096, 4097, u16::MAX] {
        let whole = framed(kind::NOTIFICATION, |w| {
            w.u8(6).u8(2).bytes(&vec![0; usize::from(length) - 21]);
        });
        let read = split(&whole);
        assert!(matches!(read, Ok(Some((Message::Notification(_), read))) if read == usize::from(length)));
        let mut script = Script::established();
        script.say(&whole);
        assert_eq!((script.is_up(), script.net.notifications(0)), (false, vec![]));
    }
    // An OPEN that is as long as it may be.
    let filler = |length: usize| [&[200, (length - 2) as u8][..], &vec![0; length - 2]].concat();
    let list = [filler(257).repeat(15), filler(206)].concat();
    let open = raw_open(255, &extended(&list));
    assert_eq!(open.len(), 4096);
    assert!(matches!(split(&open), Ok(Some((Message::Open(_), 4096)))));
}

#[test]
fn messages_may_come_in_any_pieces() {
    let mut script = Script::connected(|_| {});
    let mut path = path::Path::local(address(1));
    path.as_path.prepend(asn(1), 1);
    let update = update::announce(&path, &[mesh(1)]).concat();
    let whole = [Script::open().encode(), keepalive(), update].concat();
    for byte in whole {
        script.say(&[byte]);
    }
    script.net.resolve(0);
    assert_eq!(script.net.routes(0), [mesh(1)]);
}

/// An OPEN of AS 4200000002 with the octet of length and the optional parameters given.
fn raw_open(length: u8, parameters: &[u8]) -> Vec<u8> {
    framed(kind::OPEN, |w| {
        w.u8(4).u16(23456).u16(90).u32(2).u8(length).bytes(parameters);
    })
}

/// Optional parameters: one of capabilities.
fn classic(list: &[u8]) -> Vec<u8> {
    [&[2, list.len() as u8], list].concat()
}

/// The same as RFC 9072 section 2 writes it, without the octet of length that stands first.
fn extended(list: &[u8]) -> Vec<u8> {
    let length = |octets: usize| (octets as u16).to_be_bytes();
    [&[255][..], &length(list.len() + 3), &[2], &length(list.len()), list].concat()
}

/// What we lack nothing of.
const CAPABILITIES: &[u8] = &[1, 4, 0, 2, 0, 1, 65, 4, 0xfa, 0x56, 0xea, 0x02];

fn read(list: &[&[u8]]) -> Open {
    let parameters = classic(&list.concat());
    let Ok(Some((Message::Open(open), _))) = split(&raw_open(parameters.len() as u8, &parameters)) else {
        panic!("{list:02x?}")
    };
    open
}

#[test]
fn rfc4271_6_2_errors_in_the_open() {
    let good = Script::open();
    let bytes = |open: &Open| open.encode();
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes(&good);
        bytes[at] = value;
        bytes
    };
    let lacking = |change: fn(&mut Capabilities)| {
        let mut open = good.clone();
        change(&mut open.capabilities);
        bytes(&open)
    };
    let hold = |seconds| bytes(&Open { hold_time: seconds * SECOND, ..good.clone() });
    let mut no_field = bytes(&good);
    no_field[20..22].fill(0);
    let mut no_capability = bytes(&good);
    no_capability.splice(39.., [0; 4]);
    let unconfigured = split(&no_capability).map_err(|reject| reject.to_string());
    assert_eq!(unconfigured, Err("AS 0 is not the one configured".to_owned()));
    let parameters = classic(CAPABILITIES);
    let whole = parameters.len() as u8;
    for (rule, bytes, expected) in [
        ("version 3", changed(19, 3), notification(2, 1, &[0, 4])),
        ("another AS", bytes(&Open { asn: 7, ..good.clone() }), notification(2, 2, &[])),
        ("RFC 7607 AS 0 in the field", no_field, notification(2, 2, &[])),
        ("RFC 7607 AS 0 in the capability", no_capability, notification(2, 2, &[])),
        ("identifier 0", bytes(&Open { identifier: 0, ..good.clone() }), notification(2, 3, &[])),
        ("an unknown parameter", changed(29, 1), notification(2, 4, &[])),
        ("a parameter beyond the message", changed(30, 200), notification(2, 0, &[])),
        ("parameters beyond the message", raw_open(whole + 1, &parameters), notification(2, 0, &[])),
        ("a message beyond the parameters", raw_open(whole - 1, &parameters), notification(2, 0, &[])),
        ("RFC 9072 section 2 a length of 0", raw_open(0, &extended(CAPABILITIES)), notification(2, 0, &[])),
        ("a capability beyond the parameter", raw_open(4, &classic(&[2, 1])), notification(2, 0, &[])),
        ("a hold time of 1 s", hold(1), notification(2, 6, &[])),
        ("a hold time of 2 s", hold(2), notification(2, 6, &[])),
        ("no four-octet AS numbers", lacking(|it| it.four_octet_as = false), notification(2, 2, &[])),
        ("no IPv6 unicast", lacking(|it| it.ipv6_unicast = false), notification(2, 7, &[1, 4, 0, 2, 0, 1])),
    ] {
        let mut script = Script::connected(|_| {});
        assert_eq!(answer(&mut script, &bytes), expected, "{rule}");
    }
}

/// AS 64512 fits the field of two octets, but the peer would not understand the paths we tell it.
#[test]
fn rfc6793_a_peer_without_four_octet_as_numbers_is_told_that_it_lacks_them() {
    let mut script = Script::connected(|peer| peer.asn = 64512);
    let mut open = Open { asn: 64512, ..Script::open() };
    open.capabilities.four_octet_as = false;
    assert_eq!(answer(&mut script, &open.encode()), notification(2, 7, &[65, 4, 0, 0, 0, 0]));
}

#[test]
fn rfc4271_4_2_hold_times_of_zero_and_from_three_seconds_are_taken() {
    for seconds in [0, 3] {
        let mut script = Script::connected(|_| {});
        script.say(&Open { hold_time: seconds * SECOND, ..Script::open() }.encode());
        script.say(&keepalive());
        assert_eq!(script.net.view(0, 1).hold_time, Some(seconds * SECOND));
    }
}

#[test]
fn rfc5492_3_capabilities_are_read_and_what_cannot_be_read_is_not_there() {
    let ipv6 = |list: &[&[u8]]| read(list).capabilities.ipv6_unicast;
    assert!(ipv6(&[&[1, 4, 0, 2, 0, 1]]));
    assert!(ipv6(&[&[1, 4, 0, 2, 0, 1], &[1, 4, 0, 1, 0, 1]]), "RFC 4760 section 8: one for each family");
    assert!(!ipv6(&[&[1, 4, 0, 1, 0, 1]]), "IPv4 unicast");
    assert!(!ipv6(&[&[1, 4, 0, 2, 0, 2]]), "IPv6 multicast");
    assert!(!ipv6(&[&[1, 2, 0, 2], &[200, 1, 9]]), "too short, and unknown");
    assert_eq!(
        read(&[&[2, 0]]).capabilities,
        Capabilities { route_refresh: true, ..Capabilities::default() }
    );
    assert_eq!(
        read(&[&[6, 0]]).capabilities,
        Capabilities { extended_message: true, ..Capabilities::default() }
    );
    let with = read(&[&[65, 4, 0xfa, 0x56, 0xea, 0x02]]);
    assert_eq!((with.asn, with.capabilities.four_octet_as), (asn(1), true));
    let without = read(&[&[65, 2, 1, 1]]);
    assert_eq!((without.asn, without.capabilities.four_octet_as), (23456, false));
}

#[test]
fn rfc4724_3_the_capability_bit_by_bit() {
    let restart = |list: &[&[u8]]| read(list).capabilities.graceful_restart;
    let expected = |restarted, seconds, ipv6_unicast| {
        Some(GracefulRestart { restarted, time: seconds * SECOND, ipv6_unicast })
    };
    assert_eq!(restart(&[&[64, 2, 0x80, 120]]), expected(true, 120, None), "R");
    assert_eq!(restart(&[&[64, 2, 0x7f, 0xff]]), expected(false, 4095, None), "12 bits of time");
    assert_eq!(restart(&[&[64, 6, 0, 1, 0, 2, 1, 0x80]]), expected(false, 1, Some(true)), "F");
    assert_eq!(restart(&[&[64, 6, 0, 1, 0, 2, 1, 0x7f]]), expected(false, 1, Some(false)), "no F");
    assert_eq!(restart(&[&[64, 10, 0, 1, 0, 1, 1, 0x80, 0, 2, 2, 0x80]]), expected(false, 1, None), "others");
    let last = restart(&[&[64, 2, 0, 1], &[64, 6, 0, 2, 0, 2, 1, 0]]);
    assert_eq!(last, expected(false, 2, Some(false)), "all instances but the last are ignored");
}

#[test]
fn rfc9072_2_the_type_says_that_lengths_have_two_octets() {
    for length in [255, 1] {
        let mut script = Script::connected(|_| {});
        script.say(&raw_open(length, &extended(CAPABILITIES)));
        script.say(&keepalive());
        assert!(script.is_up(), "{length}");
    }
    for difference in [-1, 1] {
        let mut parameters = extended(CAPABILITIES);
        parameters[2] = (i32::from(parameters[2]) + difference) as u8;
        let mut script = Script::connected(|_| {});
        assert_eq!(answer(&mut script, &raw_open(255, &parameters)), notification(2, 0, &[]), "{difference}");
    }
}

#[test]
fn an_open_is_read_as_it_was_written() {
    let all = Capabilities {
        ipv6_unicast: true,
        four_octet_as: true,
        route_refresh: true,
        extended_message: true,
        graceful_restart: Some(GracefulRestart {
            restarted: true,
            time: 4095 * SECOND,
            ipv6_unicast: Some(true),
        }),
    };
    let open = Open { capabilities: all, ..Script::open() };
    let bytes = open.encode();
    assert_eq!(split(&bytes), Ok(Some((Message::Open(open.clone()), bytes.len()))));
    assert_eq!(bytes[20..22], [0x5b, 0xa0], "RFC 6793 section 9: AS_TRANS");
    assert_eq!(Open { asn: 64512, ..open.clone() }.encode()[20..22], [0xfc, 0]);
    // What does not fit its field is as much as fits.
    let restart = GracefulRestart { time: 5000 * SECOND, ..GracefulRestart::default() };
    let capabilities = Capabilities { graceful_restart: Some(restart), ..all };
    let Ok(Some((Message::Open(read), _))) =
        split(&Open { capabilities, hold_time: 70_000 * SECOND, ..open }.encode())
    else {
        panic!("an OPEN")
    };
    assert_eq!(read.capabilities.graceful_restart.unwrap().time, 4095 * SECOND);
    assert_eq!(read.hold_time, 65535 * SECOND);
}

#[test]
fn rfc4271_4_2_an_open_byte_by_byte() {
    let capabilities = Capabilities {
        ipv6_unicast: true,
        four_octet_as: true,
        route_refresh: true,
        extended_message: true,
        graceful_restart: None,
    };
    let head = [&[0xff; 16][..], &[0, 0, 1], &[4, 0x5b, 0xa0, 0, 90, 0, 0, 0, 2]].concat();
    let before = [1, 4, 0, 2, 0, 1, 2, 0, 6, 0];
    let after = [65, 4, 0xfa, 0x56, 0xea, 0x02];
    for (restarted, ipv6_unicast, bytes) in [
        (false, None, &[64, 2, 0, 120][..]),
        (true, Some(true), &[64, 6, 0x80, 120, 0, 2, 1, 0x80]),
        (false, Some(false), &[64, 6, 0, 120, 0, 2, 1, 0]),
    ] {
        let restart = GracefulRestart { restarted, time: 120 * SECOND, ipv6_unicast };
        let capabilities = Capabilities { graceful_restart: Some(restart), ..capabilities };
        let list = [&before[..], bytes, &after].concat();
        let parameters = classic(&list);
        let mut expected = [&head[..], &[parameters.len() as u8], &parameters].concat();
        expected[17] = expected.len() as u8;
        assert_eq!(Open { capabilities, ..Script::open() }.encode(), expected, "{restart:?}");
    }
}

#[test]
fn a_notification_is_read_as_it_was_written_and_shown_by_name() {
    let sent = notification(6, 2, b"bye");
    assert_eq!(split(&sent.encode()), Ok(Some((Message::Notification(sent), 24))));
    for (code, subcode, name) in [
        (1, 2, "Message Header Error (1/2)"),
        (2, 2, "OPEN Message Error/Bad Peer AS (2/2)"),
        (2, 7, "OPEN Message Error/Unsupported Capability (2/7)"),
        (2, 6, "OPEN Message Error (2/6)"),
        (3, 1, "UPDATE Message Error/Malformed Attribute List (3/1)"),
        (3, 9, "UPDATE Message Error/Optional Attribute Error (3/9)"),
        (3, 10, "UPDATE Message Error/Invalid Network Field (3/10)"),
        (3, 2, "UPDATE Message Error (3/2)"),
        (4, 0, "Hold Timer Expired (4/0)"),
        (5, 1, "Finite State Machine Error (5/1)"),
        (6, 1, "Cease/Maximum Number of Prefixes Reached (6/1)"),
        (6, 2, "Cease/Administrative Shutdown (6/2)"),
        (6, 3, "Cease/Peer De-configured (6/3)"),
        (6, 7, "Cease/Connection Collision Resolution (6/7)"),
        (6, 10, "Cease/BFD Down (6/10)"),
        (6, 4, "Cease (6/4)"),
        (7, 1, "ROUTE-REFRESH Message Error (7/1)"),
        (8, 0, "Unknown Error (8/0)"),
    ] {
        assert_eq!(notification(code, subcode, &[]).to_string(), name);
    }
    let mut script = Script::established();
    script.say(&Notification::SHUTDOWN.encode());
    let (_, error) = script.net.view(0, 1).last_error.unwrap();
    assert_eq!(error, "the peer says: Cease/Administrative Shutdown (6/2)");
}

#[test]
fn rfc6608_a_message_that_its_state_does_not_expect() {
    let refresh = framed(kind::ROUTE_REFRESH, |w| {
        w.u16(2).u8(0).u8(1);
    });
    let mut path = path::Path::local(address(1));
    path.as_path.prepend(asn(1), 1);
    let update = update::announce(&path, &[mesh(1)]).concat();
    let open = Script::open().encode();
    for unexpected in [&keepalive(), &refresh, &update] {
        let mut script = Script::connected(|_| {});
        assert_eq!(answer(&mut script, unexpected), notification(5, 1, &[]), "OpenSent");
    }
    for unexpected in [&open, &refresh, &update] {
        let mut script = Script::connected(|_| {});
        script.say(&open);
        assert_eq!(answer(&mut script, unexpected), notification(5, 2, &[]), "OpenConfirm");
        assert_eq!(script.net.view(0, 1).received_prefixes, 0, "its routes are none");
    }
    // Whatever a second OPEN says.
    for open in [open, Open { asn: 7, ..Script::open() }.encode()] {
        let mut script = Script::established();
        assert_eq!(answer(&mut script, &open), notification(5, 3, &[]), "Established");
    }
}

#[test]
fn rfc2918_4_a_route_refresh_for_another_family_is_ignored() {
    for family in [[0, 1, 0, 1], [0, 2, 0, 2]] {
        let mut script = Script::established();
        script.net.sent.clear();
        // Type 5, RFC 2918 section 3.
        script.say(&framed(5, |w| {
            w.bytes(&family);
        }));
        assert!(script.is_up() && script.net.sent.is_empty(), "{family:?}");
    }
}
