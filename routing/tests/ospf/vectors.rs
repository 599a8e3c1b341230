//! Bytes both ways: captures from FRR and BIRD, literal packets, and an independent parser for what we send.

use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::RouterId;
use molt_mesh::ip6::ALL_SPF_ROUTERS;
use molt_routing::ospf::consts::{MAX_AGE, capability, options};
use molt_routing::ospf::lsa::{
    AsExternalLsa, AutoconfigLsa, Body, GraceLsa, GraceReason, InterAreaPrefixLsa, InterAreaRouterLsa,
    IntraAreaPrefixLsa, LinkLsa, LsType, Lsa, LsaKey, LsaPrefix, Malformed, NetworkLsa, RouterInformationLsa,
    RouterLink, RouterLsa, Scope,
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
            assert_eq!(hex(&body.encode().unwrap()), hex(lsa.body()));
            let again = Lsa::new(key, lsa.header.seq, lsa.header.raw_age, lsa.body().clone());
            assert_eq!(again, lsa, "the checksum computed here");
        }
    }
    let captured = [0x0008, 0x000b, 0x2001, 0x2002, 0x2003, 0x2004, 0x2009, 0x4005].map(LsType);
    assert_eq!(types.into_keys().collect::<Vec<_>>(), captured);
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
        (
            LsType::NETWORK,
            Body::Network(NetworkLsa { options: 0x13, routers: vec![RouterId(0x0a00_0001), neighbor] }),
            "00 000013 0a000001 0a000002",
        ),
    ] {
        both_ways(ls_type, &body, bytes);
    }
}

fn both_ways(ls_type: LsType, body: &Body, bytes: &str) {
    assert_eq!(Body::decode(ls_type, &unhex(bytes)).as_ref(), Ok(body));
    assert_eq!(hex(&body.encode().unwrap()), hex(&unhex(bytes)));
}

/// A.4.5 to A.4.8.
#[test]
fn literal_bodies_of_destinations_outside_the_area() {
    let prefix = |text: &str, len| LsaPrefix { len, options: 0, metric: 0, addr: text.parse().unwrap() };
    let inter = InterAreaPrefixLsa { metric: 0x01_0203, prefix: prefix("2001:db8::", 32) };
    both_ways(LsType::INTER_AREA_PREFIX, &Body::InterAreaPrefix(inter), "00 010203  20 00 0000 20010db8");
    let router = InterAreaRouterLsa { options: 0x13, metric: 10, destination: RouterId(0x0a00_0009) };
    both_ways(LsType::INTER_AREA_ROUTER, &Body::InterAreaRouter(router), "00 000013 00 00000a 0a000009");

    let bare = AsExternalLsa {
        type_2: false,
        metric: 20,
        prefix: prefix("::", 0),
        forwarding: None,
        tag: None,
        referenced: None,
    };
    both_ways(LsType::AS_EXTERNAL, &Body::AsExternal(bare), "00 000014  00 00 0000");
    let all = AsExternalLsa {
        type_2: true,
        metric: 20,
        prefix: prefix("2001:db8:1:2::", 64),
        forwarding: Some("fd00::9".parse().unwrap()),
        tag: Some(0xfeed),
        referenced: Some((LsType::ROUTER, 7)),
    };
    // Bits E, F and T; the type of the referenced LSA stands where other prefixes have their metric.
    let bytes = "07 000014  40 00 2001 20010db800010002  fd000000000000000000000000000009 0000feed 00000007";
    both_ways(LsType::AS_EXTERNAL, &Body::AsExternal(all), bytes);
    both_ways(LsType::NSSA, &Body::Nssa(all), bytes);
    let tagged = AsExternalLsa { tag: Some(1), forwarding: None, referenced: None, ..all };
    both_ways(LsType::NSSA, &Body::Nssa(tagged), "05 000014  40 00 0000 20010db800010002  00000001");
}

#[test]
fn literal_bodies_of_tlvs() {
    let grace = GraceLsa { period_s: 120, reason: GraceReason::SOFTWARE_RESTART };
    both_ways(LsType::GRACE, &Body::Grace(grace), "0001 0004 00000078  0002 0001 01 000000");
    let capabilities = capability::GRACEFUL_RESTART_HELPER | capability::STUB_ROUTER;
    let information = RouterInformationLsa::with_hostname("bob").with_capabilities(capabilities);
    assert_eq!((information.capabilities(), information.hostname()), (Some(capabilities), Some("bob")));
    let bytes = "0001 0004 60000000  0007 0003 626f62 00";
    for ls_type in
        [LsType::ROUTER_INFORMATION, LsType::ROUTER_INFORMATION_LINK, LsType::ROUTER_INFORMATION_AS]
    {
        both_ways(ls_type, &Body::RouterInformation(information.clone()), bytes);
    }
    let autoconfig = AutoconfigLsa::with_fingerprint(&[7; 32]);
    assert_eq!(autoconfig.fingerprint(), Some(&[7; 32][..]));
    let bytes = format!("0001 0020 {}", "07".repeat(32));
    both_ways(LsType::AUTOCONFIG, &Body::Autoconfig(autoconfig), &bytes);
    let short = AutoconfigLsa { tlvs: vec![(1, vec![7; 31])] };
    assert_eq!(short.fingerprint(), None, "RFC 7503 section 7.2.2 wants 32 bytes");
}

/// RFC 5187 section 2.2: both TLVs MUST appear; unknown ones are passed over.
#[test]
fn rfc_5187_section_2_2_a_grace_lsa_without_period_or_reason_is_malformed() {
    let decode = |text: &str| Body::decode(LsType::GRACE, &unhex(text));
    let grace = GraceLsa { period_s: 1, reason: GraceReason::UNKNOWN };
    let known = "0001 0004 00000001  0002 0001 00 000000";
    assert_eq!(decode(&format!("0063 0002 abcd 0000 {known}")), Ok(Body::Grace(grace)));
    assert_eq!(decode("0001 0004 00000001"), Err(Malformed::Tlv));
    assert_eq!(decode("0002 0001 00 000000"), Err(Malformed::Tlv));
    assert_eq!(decode("0001 0003 000001 00  0002 0001 00 000000"), Err(Malformed::Tlv));
}

#[test]
fn extended_lsas_are_carried_by_their_scope_and_not_read() {
    for (ls_type, scope) in
        [(0xa021, Scope::Area), (0xc025, Scope::As), (0x8028, Scope::Link), (0xa029, Scope::Area)]
    {
        let ls_type = LsType(ls_type);
        assert_eq!(ls_type.scope(), scope);
        assert!(ls_type.names().0.starts_with("E-"));
        assert_eq!(Body::decode(ls_type, &[1, 2, 3]), Ok(Body::Opaque));
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
fn rfc_1793_section_2_2_the_do_not_age_bit_is_no_part_of_the_age_and_max_age_is_the_end_of_it() {
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

/// The bodies of RFC 5340 that only stock routers originate, and ours, each read by `ospf-parser`. It takes a prefix for
/// whole octets without padding, so the prefixes here are of whole words.
#[test]
fn an_independent_parser_reads_every_body_we_encode() {
    use ospf_parser::{Ospfv3LinkStateAdvertisement as Lsa3, Ospfv3Packet};
    let prefix = LsaPrefix { len: 64, options: 0, metric: 0, addr: "fd00:6d6f:6c74:1::".parse().unwrap() };
    let words = [0xfd, 0x00, 0x6d, 0x6f, 0x6c, 0x74, 0x00, 0x01];
    let neighbor = RouterId(0x0a00_0002);
    let external = AsExternalLsa {
        type_2: true,
        metric: 20,
        prefix,
        forwarding: Some("fd00::9".parse().unwrap()),
        tag: Some(0xfeed),
        referenced: Some((LsType::ROUTER, 7)),
    };
    let router = RouterLink { kind: 1, metric: 10, interface: 7, neighbor_interface: 9, neighbor };
    let bodies = [
        (LsType::ROUTER, Body::Router(RouterLsa { bits: 1, options: 0x13, links: vec![router; 2] })),
        (LsType::NETWORK, Body::Network(NetworkLsa { options: 0x13, routers: vec![neighbor; 3] })),
        (LsType::INTER_AREA_PREFIX, Body::InterAreaPrefix(InterAreaPrefixLsa { metric: 0x01_0203, prefix })),
        (
            LsType::INTER_AREA_ROUTER,
            Body::InterAreaRouter(InterAreaRouterLsa { options: 0x13, metric: 10, destination: neighbor }),
        ),
        (LsType::AS_EXTERNAL, Body::AsExternal(external)),
        (LsType::NSSA, Body::Nssa(external)),
        (
            LsType::LINK,
            Body::Link(LinkLsa {
                priority: 1,
                options: 0x13,
                link_local: "fe80::1".parse().unwrap(),
                prefixes: vec![prefix],
            }),
        ),
        (
            LsType::INTRA_AREA_PREFIX,
            Body::IntraAreaPrefix(IntraAreaPrefixLsa {
                referenced: LsaKey { ls_type: LsType::ROUTER, router: neighbor, id: 0 },
                prefixes: vec![prefix; 2],
            }),
        ),
    ];
    let lsa = |(ls_type, body): &(LsType, Body)| {
        let key = LsaKey { ls_type: *ls_type, router: neighbor, id: 3 };
        Lsa::new(key, 1, 0, body.encode().unwrap().into())
    };
    let body = PacketBody::Update(bodies.iter().map(lsa).collect());
    let packet = Packet { router: neighbor, area: 0, instance: 0, body };
    let bytes = packet.encode("fe80::1".parse().unwrap(), ALL_SPF_ROUTERS);
    let (rest, parsed) = ospf_parser::parse_ospfv3_packet(&bytes).unwrap();
    let Ospfv3Packet::LinkStateUpdate(update) = parsed else { panic!("not an update") };
    assert!(rest.is_empty());
    let is_external = |lsa: &ospf_parser::Ospfv3ASExternalLSA| {
        assert_eq!((lsa.flags, lsa.metric, lsa.address_prefix.reserved), (7, 20, 0x2001));
        assert_eq!((lsa.external_route_tag, lsa.referenced_link_state_id), (Some(0xfeed), Some(7)));
        assert_eq!(lsa.address_prefix.address_prefix, words);
    };
    let read = update.lsa.iter().map(|lsa| match lsa {
        Lsa3::Router(lsa) => {
            let links: Vec<_> = lsa.links.iter().map(|it| (it.metric, it.neighbor_router_id)).collect();
            assert_eq!(links, [(10, neighbor.0); 2]);
            "router"
        }
        Lsa3::Network(lsa) => {
            assert_eq!(lsa.attached_routers, [neighbor.0; 3]);
            "network"
        }
        Lsa3::InterAreaPrefix(lsa) => {
            assert_eq!((lsa.metric, lsa.prefix.prefix_length), (0x01_0203, 64));
            "inter-area prefix"
        }
        Lsa3::InterAreaRouter(lsa) => {
            assert_eq!((lsa.options, lsa.metric, lsa.destination_router_id), (0x13, 10, neighbor.0));
            "inter-area router"
        }
        Lsa3::ASExternal(lsa) => {
            is_external(lsa);
            "external"
        }
        Lsa3::NSSA(lsa) => {
            is_external(lsa);
            "nssa"
        }
        Lsa3::Link(lsa) => {
            assert_eq!((lsa.router_priority, lsa.num_prefixes), (1, 1));
            "link"
        }
        Lsa3::IntraAreaPrefix(lsa) => {
            assert_eq!((lsa.referenced_ls_type, lsa.address_prefixes.len()), (0x2001, 2));
            "intra-area prefix"
        }
    });
    let kinds = ["router", "network", "inter-area prefix", "inter-area router", "external", "nssa", "link"];
    assert_eq!(read.collect::<Vec<_>>(), [&kinds[..], &["intra-area prefix"]].concat());
}
