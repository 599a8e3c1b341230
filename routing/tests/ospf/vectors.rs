//! Bytes both ways: captures from FRR and BIRD, literal packets, and an independent parser for what we send.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::RouterId;
use molt_mesh::ip6::ALL_SPF_ROUTERS;
use molt_routing::ospf::consts::{MAX_AGE, options};
use molt_routing::ospf::lsa::{
    Body, IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaKey, LsaPrefix, Malformed, RouterInformationLsa,
    RouterLink, RouterLsa,
};
use molt_routing::ospf::packet::{Hello, PacketBody, Reject};
use molt_routing::ospf::{Config, Packet};

use crate::rig::{Net, config};

/// One captured packet.
struct Captured {
    src: Ipv6Addr,
    dst: Ipv6Addr,
    kind: String,
    bytes: Vec<u8>,
}

/// The values of the flat JSON objects we need; no escape occurs in them.
fn captures() -> Vec<Captured> {
    let text = include_str!("../vectors/ospfv3-bfd.jsonl");
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("\"{name}\": \""))?;
        rest.split('"').next().map(str::to_owned)
    };
    let packets: Vec<Captured> = text
        .lines()
        .filter(|line| field(line, "kind").as_deref() == Some("ospf"))
        .map(|line| Captured {
            src: field(line, "src").unwrap().parse().unwrap(),
            dst: field(line, "dst").unwrap().parse().unwrap(),
            kind: field(line, "type").unwrap(),
            bytes: unhex(&field(line, "hex").unwrap()),
        })
        .collect();
    assert_eq!(packets.len(), 123);
    packets
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes the bodies we originate.
fn encode(body: &Body) -> Option<Vec<u8>> {
    match body {
        Body::IntraAreaPrefix(lsa) => Some(lsa.encode()),
        Body::Link(lsa) => Some(lsa.encode()),
        Body::Router(lsa) => Some(lsa.encode()),
        Body::RouterInformation(lsa) => Some(lsa.encode()),
        Body::Network(_) | Body::Opaque => None,
    }
}

#[test]
fn captured_packets_decode_and_encode_to_the_same_bytes() {
    for captured in captures() {
        let packet = Packet::decode(&captured.bytes).unwrap();
        let kind = match &packet.body {
            PacketBody::Hello(_) => "hello",
            PacketBody::Description(_) => "dd",
            PacketBody::Request(_) => "lsr",
            PacketBody::Update(_) => "lsu",
            PacketBody::Ack(_) => "ack",
        };
        assert_eq!(kind, captured.kind);
        assert!(Packet::checksum_is_valid(&captured.bytes, captured.src, captured.dst));
        assert_eq!(hex(&packet.encode(captured.src, captured.dst)), hex(&captured.bytes));
    }
}

#[test]
fn captured_lsas_have_valid_checksums_and_bodies_that_encode_to_the_same_bytes() {
    let mut types = std::collections::BTreeMap::new();
    for captured in captures() {
        let PacketBody::Update(lsas) = Packet::decode(&captured.bytes).unwrap().body else { continue };
        for lsa in lsas {
            assert!(lsa.checksum_is_valid());
            let key = lsa.header.key;
            *types.entry(key.ls_type).or_insert(0) += 1;
            let body = Body::decode(key.ls_type, lsa.body()).unwrap();
            if let Some(encoded) = encode(&body) {
                assert_eq!(hex(&encoded), hex(lsa.body()));
            }
            let again = Lsa::new(key, lsa.header.seq, lsa.header.raw_age, lsa.body().clone());
            assert_eq!(again, lsa, "the checksum computed here");
        }
    }
    for ls_type in [LsType::LINK, LsType::ROUTER, LsType::NETWORK, LsType::INTRA_AREA_PREFIX] {
        assert!(types.contains_key(&ls_type), "{types:?}");
    }
}

#[test]
fn literal_hello() {
    let bytes = unhex(
        "03 01 0028 0a000001 00000000 a5ba 00 00  00000007 01 000013 000a 0028 00000000 00000000 0a000002",
    );
    let packet = Packet {
        router: RouterId(0x0a00_0001),
        area: 0,
        instance: 0,
        body: PacketBody::Hello(Hello {
            interface: 7,
            priority: 1,
            options: options::ROUTER,
            hello_interval: 10,
            dead_interval: 40,
            designated: RouterId(0),
            backup: RouterId(0),
            neighbors: vec![RouterId(0x0a00_0002)],
        }),
    };
    let decoded = Packet::decode(&bytes).unwrap();
    assert_eq!(decoded, packet);
    let src = "fe80::1".parse().unwrap();
    let mut expected = bytes;
    let encoded = packet.encode(src, ALL_SPF_ROUTERS);
    // The checksum is checked against an independent sum below, and against captures above.
    expected[12..14].copy_from_slice(&encoded[12..14]);
    assert_eq!(hex(&encoded), hex(&expected));
    assert!(Packet::checksum_is_valid(&encoded, src, ALL_SPF_ROUTERS));
}

#[test]
fn literal_bodies() {
    let neighbor = RouterId(0x0a00_0002);
    let router = RouterLsa {
        bits: 0x01,
        options: 0x13,
        links: vec![RouterLink { kind: 1, metric: 10, interface: 7, neighbor_interface: 9, neighbor }],
    };
    let referenced = LsaKey { ls_type: LsType::ROUTER, router: RouterId(0x0a00_0001), id: 0 };
    let prefix =
        |text: &str, len, options, metric| LsaPrefix { len, options, metric, addr: text.parse().unwrap() };
    let prefixes = vec![
        prefix("fd00:6d6f:6c74:1::1", 128, 2, 0),
        prefix("fd00:6d6f:6c74::", 49, 0, 5),
        prefix("::", 0, 0, 1),
    ];
    let intra = IntraAreaPrefixLsa { referenced, prefixes };
    let link = LinkLsa {
        priority: 1,
        options: 0x13,
        link_local: "fe80::1".parse().unwrap(),
        prefixes: vec![prefix("fd00::", 8, 0, 0)],
    };
    for (ls_type, body, bytes) in [
        (LsType::ROUTER, Body::Router(router), "01 000013  01 00 000a 00000007 00000009 0a000002"),
        (
            LsType::INTRA_AREA_PREFIX,
            Body::IntraAreaPrefix(intra),
            "0003 2001 00000000 0a000001  80 02 0000 fd006d6f6c7400010000000000000001
             31 00 0005 fd006d6f6c740000  00 00 0001",
        ),
        (
            LsType::LINK,
            Body::Link(link),
            "01 000013 fe800000000000000000000000000001 00000001  08 00 0000 fd000000",
        ),
        (
            LsType::ROUTER_INFORMATION,
            Body::RouterInformation(RouterInformationLsa::with_hostname("alice")),
            "0007 0005 616c696365 000000",
        ),
    ] {
        assert_eq!(Body::decode(ls_type, &unhex(bytes)).unwrap(), body);
        assert_eq!(hex(&encode(&body).unwrap()), hex(&unhex(bytes)));
    }
}

#[test]
fn truncated_and_overlong_packets_are_rejected() {
    for captured in captures() {
        for len in 0..captured.bytes.len() {
            assert!(Packet::decode(&captured.bytes[..len]).is_err());
        }
        // A trailer behind the length of the header is not part of the packet.
        let mut longer = captured.bytes.clone();
        longer.extend([0; 8]);
        assert_eq!(Packet::decode(&longer), Packet::decode(&captured.bytes));
        // A length below the header.
        let mut bytes = captured.bytes.clone();
        bytes[2..4].copy_from_slice(&[0, 15]);
        assert!(Packet::decode(&bytes).is_err());
    }
}

#[test]
fn no_byte_that_is_changed_makes_the_decoders_panic() {
    let mut rng = fastrand::Rng::with_seed(7);
    for captured in captures() {
        for _ in 0..200 {
            let mut bytes = captured.bytes.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            let Ok(packet) = Packet::decode(&bytes) else { continue };
            if let PacketBody::Update(lsas) = packet.body {
                for lsa in lsas {
                    let _ = lsa.checksum_is_valid();
                    let _ = Body::decode(lsa.header.key.ls_type, lsa.body());
                }
            }
        }
    }
}

#[test]
fn malformed_bodies_are_named() {
    let decode = |ls_type, text: &str| Body::decode(ls_type, &unhex(text)).unwrap_err();
    let intra = LsType::INTRA_AREA_PREFIX;
    // A prefix of 129 bits.
    let wide = "0001 2001 00000000 0a000001 81 00 0000 fd006d6f6c7400010000000000000001 00000000";
    assert_eq!(decode(intra, wide), Malformed::PrefixLength);
    // More prefixes than there are, and fewer.
    assert!(matches!(decode(intra, "ffff 2001 00000000 0a000001"), Malformed::Short(_)));
    assert_eq!(decode(intra, "0000 2001 00000000 0a000001 00 00 0000"), Malformed::Trailing);
    // Half a link, a TLV beyond the end.
    assert!(matches!(decode(LsType::ROUTER, "00 000013 01 00 000a"), Malformed::Short(_)));
    assert!(matches!(decode(LsType::ROUTER_INFORMATION, "0007 0009 61626364"), Malformed::Short(_)));
    // An update that counts more LSAs than it has, or has bytes after the last.
    let update = |body: &str| {
        let body = unhex(body);
        let mut bytes = unhex("03 04 0000 0a000001 00000000 0000 00 00");
        bytes.extend(body);
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        Packet::decode(&bytes).unwrap_err()
    };
    assert_eq!(update("00000001"), Reject::Lsa);
    assert_eq!(update("ffffffff"), Reject::Lsa);
    assert_eq!(update("00000000 00"), Reject::Length);
    let short_lsa = "00000001 0001 2001 00000000 0a000001 80000001 0000 0013";
    assert_eq!(update(short_lsa), Reject::Lsa);
}

#[test]
fn a_prefix_with_host_bits_or_link_local_is_kept_but_not_used() {
    let prefix = |text: &str, len| LsaPrefix { len, options: 0, metric: 0, addr: text.parse().unwrap() };
    assert!(prefix("fd00::1", 128).prefix().is_some());
    assert!(prefix("fd00::1", 64).prefix().is_none());
    assert!(prefix("fe80::1", 128).prefix().is_none());
}

#[test]
fn an_age_beyond_max_age_is_max_age_and_do_not_age_is_ignored() {
    let mut header = Lsa::new(
        LsaKey { ls_type: LsType::ROUTER, router: RouterId(1), id: 0 },
        1,
        0,
        std::sync::Arc::from(Vec::new()),
    )
    .header;
    header.raw_age = 0x8000 | 7;
    assert_eq!(header.age(), 7);
    header.raw_age = 0x7fff;
    assert_eq!(header.age(), MAX_AGE);
}

#[test]
fn hostnames_that_could_harm_a_terminal_are_refused() {
    let name = |name: &str| RouterInformationLsa::with_hostname(name).hostname().map(str::to_owned);
    assert_eq!(name("alice"), Some("alice".into()));
    assert_eq!(name("a\u{1b}[2J"), None);
    assert_eq!(name(""), None);
    assert_eq!(name(&"x".repeat(300)), Some("x".repeat(255)));
}

/// `ospf-parser` reads all that two routers send while they become adjacent and exchange prefixes. It knows no LSAs
/// beyond RFC 5340, so there are no names.
#[test]
fn an_independent_parser_reads_what_we_send() {
    use ospf_parser::{Ospfv3LinkStateAdvertisement as Lsa3, Ospfv3Packet};
    let nameless = |node| Config { hostname: None, ..config(node) };
    let mut net = Net::with_configs(vec![nameless(0), nameless(1)], 0);
    net.connect(0, 1, 10);
    net.run_for(Duration::from_secs(30));
    let mut kinds = [0; 5];
    let mut lsas = [0; 3];
    for (.., packet) in &net.sent {
        let (rest, packet) = ospf_parser::parse_ospfv3_packet(&packet[40..]).unwrap();
        assert!(rest.is_empty());
        match packet {
            Ospfv3Packet::Hello(hello) => {
                assert_eq!((hello.hello_interval, hello.router_dead_interval), (10, 40));
                kinds[0] += 1;
            }
            Ospfv3Packet::DatabaseDescription(_) => kinds[1] += 1,
            Ospfv3Packet::LinkStateRequest(_) => kinds[2] += 1,
            Ospfv3Packet::LinkStateUpdate(update) => {
                kinds[3] += 1;
                for lsa in update.lsa {
                    match lsa {
                        Lsa3::Router(router) => {
                            assert!(router.links.len() <= 1);
                            lsas[0] += 1;
                        }
                        Lsa3::Link(_) => lsas[1] += 1,
                        Lsa3::IntraAreaPrefix(_) => lsas[2] += 1,
                        _ => {}
                    }
                }
            }
            Ospfv3Packet::LinkStateAcknowledgment(_) => kinds[4] += 1,
        }
    }
    assert!(kinds.iter().chain(&lsas).all(|count| *count > 0), "{kinds:?} {lsas:?}");
}
