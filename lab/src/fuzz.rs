//! Fuzz targets: one function for each piece of code that reads what others wrote.
//!
//! A target takes any bytes and panics only when a property is violated: whatever is decoded encodes to bytes that decode
//! to the same, and nothing makes the reader panic. Three targets are stateful ([`node`], [`neighbor`], [`bgp`]). `lab/fuzz` grows the
//! corpora, `lab/tests/fuzz_replay.rs` replays them.

use std::fmt::{Debug, Display};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use meshd::api::{self, Request, Response};
use meshd::config::{Config, Endpoint, Name};
use meshd::render;
use molt_mesh::ip6::{Header, IcmpError, Packet};
use molt_mesh::port::{NEXT_HEADER_FRAGMENT, NEXT_HEADER_OSPF, TUNNEL_MTU};
use molt_mesh::record::{self, Agent, Delegation, SignedTopology, Topology, Unverified};
use molt_mesh::sign::Strict;
use molt_mesh::{
    AgentId, Identity, IdentityKey, MeshAddr, MeshPrefix, NodePublic, Prefix, Seed, Time, TrustClass,
};
use molt_routing::ospf;
use molt_routing::ospf::lsa::{Body, LsType, LsaPrefix};
use molt_tun::engine::wireguard::WireGuardEngine;
use molt_tun::engine::{Engine as _, Gate, Message, Opened, Tunnel as _};
use molt_tun::fragment::{MAX_PENDING, MAX_REASSEMBLED, Reassembler, fragments};
use molt_tun::{Counters, MAX_DATAGRAM};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod batch;
pub mod bgp;
pub mod chain;
pub mod neighbor;
pub mod node;

/// The mesh of whoever reads.
const MESH: MeshPrefix = MeshPrefix::DEFAULT;

/// Takes any input, and panics if a property does not hold.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("agent_record", agent_record),
    ("api_answer", api_answer),
    ("api_request", api_request),
    ("bfd_packet", bfd_packet),
    ("bgp_message", bgp::bgp_message),
    ("bgp_peer", bgp::bgp_peer),
    ("chain_announcement", chain::chain_announcement),
    ("chain_bid", chain::chain_bid),
    ("chain_binding", chain::chain_binding),
    ("chain_voucher", chain::chain_voucher),
    ("config", config),
    ("ip6_packet", ip6_packet),
    ("delegation", delegation),
    ("node_datagrams", node::node_datagrams),
    ("ospf_lsa_body", ospf_lsa_body),
    ("ospf_lsa_headers", ospf_lsa_headers),
    ("ospf_neighbor", neighbor::ospf_neighbor),
    ("ospf_packet", ospf_packet),
    ("text", text),
    ("topology", topology),
    ("tun_coalesce", batch::tun_coalesce),
    ("tun_fragment", tun_fragment),
    ("tun_split", batch::tun_split),
    ("wireguard_message", wireguard_message),
];

/// OSPFv3 packet (RFC 5340 appendix A.3).
pub fn ospf_packet(data: &[u8]) {
    let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    black_box(ospf::Packet::checksum_is_valid(data, src, dst));
    let Ok(packet) = ospf::Packet::decode(data) else { return };
    let bytes = packet.encode(src, dst);
    assert!(bytes.len() <= data.len(), "{} bytes became {}", data.len(), bytes.len());
    assert!(ospf::Packet::checksum_is_valid(&bytes, src, dst));
    assert_eq!(ospf::Packet::decode(&bytes).as_ref(), Ok(&packet));
    if let ospf::packet::PacketBody::Update(lsas) = packet.body {
        for lsa in lsas {
            black_box(lsa.checksum_is_valid());
            drop(Body::decode(lsa.header.key.ls_type, lsa.body()));
        }
    }
}

/// The body of an LSA: the first byte chooses its type, the rest is the body.
pub fn ospf_lsa_body(data: &[u8]) {
    const TYPES: [LsType; 11] = [
        LsType::ROUTER,
        LsType::NETWORK,
        LsType::LINK,
        LsType::INTRA_AREA_PREFIX,
        LsType::ROUTER_INFORMATION,
        LsType::AS_EXTERNAL,
        LsType::INTER_AREA_PREFIX,
        LsType::INTER_AREA_ROUTER,
        LsType::NSSA,
        LsType::GRACE,
        LsType::AUTOCONFIG,
    ];
    let [kind, data @ ..] = data else { return };
    let ls_type = TYPES[usize::from(*kind) % TYPES.len()];
    let Ok(body) = Body::decode(ls_type, data) else { return };
    match &body {
        Body::IntraAreaPrefix(lsa) => {
            for prefix in lsa.prefixes.iter().filter_map(LsaPrefix::prefix) {
                assert!(prefix.contains(prefix.addr()));
            }
        }
        Body::RouterInformation(lsa) => {
            assert!(lsa.hostname().is_none_or(|name| name.bytes().all(|byte| byte.is_ascii_graphic())));
            black_box(lsa.capabilities());
        }
        Body::Autoconfig(lsa) => assert!(lsa.fingerprint().is_none_or(|print| print.len() >= 32)),
        _ => {}
    }
    let Some(bytes) = body.encode() else { return };
    // A Grace-LSA is read for its two TLVs; others in it are not kept.
    if ls_type == LsType::GRACE {
        assert!(bytes.len() <= data.len());
    } else {
        assert_eq!(bytes.len(), data.len(), "{ls_type:?}");
    }
    assert_eq!(Body::decode(ls_type, &bytes), Ok(body));
}

/// A list of LSA headers, as acknowledgments and database descriptions carry it.
pub fn ospf_lsa_headers(data: &[u8]) {
    let header = [3, 5, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = [&header, data].concat();
    let Ok(len) = u16::try_from(bytes.len()) else { return };
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    ospf_packet(&bytes);
    let Ok(ospf::Packet { body: ospf::packet::PacketBody::Ack(headers), .. }) = ospf::Packet::decode(&bytes)
    else {
        assert!(!data.len().is_multiple_of(20), "whole headers were refused");
        return;
    };
    for [a, b] in headers.array_windows() {
        assert_eq!(a.compare(b), b.compare(a).reverse(), "{a:?} {b:?}");
        black_box(a.key.ls_type.scope());
    }
}

/// Agent record. What is read of it can be signed and is read again as it was.
pub fn agent_record(data: &[u8]) {
    let Ok(unverified) = Unverified::decode(data) else { return };
    assert!(data.len() <= record::MAX_LEN);
    let me = identity(1);
    let mut agent = Agent { key: *me.key(), ..unverified.agent().clone() };
    agent.addresses.retain(|address| address.class() == TrustClass::Claimed && address.mesh() == MESH);
    if let Ok(verified) = unverified.verify(MESH, &Strict) {
        assert_eq!(**verified.bytes(), *data, "unknown fields are kept");
    }
    let record = agent.clone().sign(&me).expect("the fields are within their bounds");
    let again = Unverified::decode(record.bytes()).expect("we read what we sign");
    assert_eq!(again.agent(), record.agent());
    assert!(record.agent() == &agent || data.len() + 64 > record::MAX_LEN, "something was left out");
    assert!(again.verify(MESH, &Strict).is_ok());
}

/// Delegation of an address. Nothing is delegated that does not belong to its owner.
pub fn delegation(data: &[u8]) {
    let Ok(delegation) = Delegation::verify(data, MESH, &Strict) else { return };
    let grant = delegation.grant();
    let container = MESH.container(&grant.owner, grant.index);
    assert!(grant.address == container || grant.address.class() == TrustClass::Infrastructure);
    assert_eq!(**delegation.bytes(), *data);
}

/// Signed topology.
pub fn topology(data: &[u8]) {
    let Ok(topology) = Topology::decode(data) else { return };
    let me = identity(1);
    let bytes = topology.sign(&me);
    let (router, part) = (topology.router, topology.part.into());
    if topology.covered.len() <= record::MAX_COVERED {
        assert_eq!(bytes.len(), data.len());
        let signed = SignedTopology::verify(&bytes, router, part, me.key(), &Strict);
        assert_eq!(signed.as_ref().map(SignedTopology::topology), Ok(&topology));
    }
    if let Ok(signed) = SignedTopology::verify(data, router, part, me.key(), &Strict) {
        let listed = |lsa: &record::Covered| signed.digest_of(lsa.ls_type, lsa.id) == Some(&lsa.digest);
        assert!(topology.covered.iter().all(listed));
    }
}

/// BFD control packet (RFC 5880 section 4.1).
pub fn bfd_packet(data: &[u8]) {
    let Ok(packet) = molt_bfd::Packet::decode(data) else { return };
    assert!(packet.detect_mult != 0 && packet.my_discriminator != 0 && !(packet.poll && packet.final_));
    // We send no authentication.
    let sent = molt_bfd::Packet { authentication: false, ..packet };
    assert_eq!(molt_bfd::Packet::decode(&packet.encode()), Ok(sent));
}

/// IPv6 packet, UDP in it, its flow, and the ICMPv6 errors about it (RFC 4443 section 2.4).
pub fn ip6_packet(data: &[u8]) {
    let Ok(packet) = Packet::new(data) else { return };
    let padded = [data, &[0; 15]].concat();
    let again = Packet::new(&padded).expect("padding behind a packet changes nothing");
    assert_eq!((packet.len(), packet.payload()), (again.len(), again.payload()));
    assert_eq!(packet.flow_hash(7), again.flow_hash(7));
    assert!(packet.udp().is_none_or(|udp| udp.payload.len() + 8 <= packet.payload().len()));
    black_box(packet.upper_layer_checksum_is_valid());
    let us = Ipv6Addr::LOCALHOST;
    let errors = [
        IcmpError::AddressUnreachable,
        IcmpError::NoRoute,
        IcmpError::PacketTooBig(1280),
        IcmpError::TimeExceeded,
    ];
    for error in errors {
        let Some(about) = error.about(data, us) else { continue };
        let answer = Packet::new(&about).expect("an error is a packet");
        assert!(about.len() <= TUNNEL_MTU && answer.upper_layer_checksum_is_valid());
        assert_eq!((answer.src(), answer.dst()), (us, packet.src()));
        assert!(data.starts_with(&answer.payload()[8..]), "it quotes the packet as it came");
        assert_eq!(error.about(&about, us), None, "there are no errors about errors");
    }
}

/// A datagram from the underlay in front of and inside WireGuard.
pub fn wireguard_message(data: &[u8]) {
    let message = Message::classify(data);
    let mut engine = WireGuardEngine::new(&identity(1));
    let peer = *identity(2).node_public();
    let mut tunnel = engine.tunnel(&peer, None, 0x00ab_cdef);
    let from = IpAddr::from(Ipv4Addr::LOCALHOST);
    let initiator = engine.initiator(data);
    if initiator.is_some() {
        assert_eq!(message, Some(Message::Initiation));
    }
    let knows_us = engine.knows_us(data);
    let gate = engine.gate(from, data, Time::ZERO, &mut [0; 64]);
    assert!(knows_us || gate == Gate::Refuse || !Message::is_handshake(data), "{gate:?}");
    let opened = tunnel.open(from, data, &mut [0; MAX_DATAGRAM], Time::ZERO);
    assert!(initiator == Some(peer) && matches!(opened, Opened::Answer(_)) || opened == Opened::Rejected);
    assert!(!tunnel.is_up());
}

/// The configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(message) => return assert!(!message.is_empty()),
    };
    assert!(config.ospf.hello_s > 0 && config.ospf.dead_s > config.ospf.hello_s && config.ospf.cost > 0);
    for endpoint in config.peers.iter().filter_map(|peer| peer.endpoint.as_ref()) {
        assert_eq!(Endpoint::try_from(endpoint.to_string()).as_ref(), Ok(endpoint));
    }
}

/// What an operator types: ids, keys, addresses, prefixes, endpoints, names.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    prints_what_it_reads::<AgentId>(text);
    prints_what_it_reads::<IdentityKey>(text);
    prints_what_it_reads::<NodePublic>(text);
    prints_what_it_reads::<MeshAddr>(text);
    prints_what_it_reads::<MeshPrefix>(text);
    prints_what_it_reads::<Prefix>(text);
    if let Ok(endpoint) = Endpoint::try_from(text.to_owned()) {
        assert_eq!(Endpoint::try_from(endpoint.to_string()), Ok(endpoint));
    }
    if let Ok(name) = Name::try_from(text.to_owned()) {
        assert!(name.as_str().eq_ignore_ascii_case(text));
    }
}

fn prints_what_it_reads<T: FromStr + Display + Debug + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse::<T>().ok(), Some(value), "{text:?}");
    }
}

/// Fragments of one neighbour's OSPF packets: each is an octet of flags and identification, an offset in units of eight
/// bytes, a length, and that many bytes.
pub fn tun_fragment(data: &[u8]) {
    let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let header = Header { src, dst, hop_limit: 1, traffic_class: 0 };
    let (mut reassembler, mut counters) = (Reassembler::default(), Counters::default());
    let mut handle = |bytes: &[u8], now| {
        let packet = Packet::new(bytes).expect("it was built as one");
        let whole = reassembler.handle_fragment(&packet, now, &mut counters);
        assert!(reassembler.pending() <= MAX_PENDING);
        whole.ok().flatten()
    };
    let mut rest = data;
    let mut now = Time::ZERO;
    while let [flags, high, low, len, tail @ ..] = rest {
        let (part, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let field = u16::from_be_bytes([*high, *low]) << 3 | u16::from(flags & 1);
        let [high, low] = field.to_be_bytes();
        let payload = [&[89, 0, high, low, 0, 0, 0, flags >> 4], part].concat();
        if let Some(whole) = handle(&header.packet(NEXT_HEADER_FRAGMENT, &payload), now) {
            assert!(whole.len() <= MAX_REASSEMBLED);
        }
        now += Duration::from_secs(u64::from(flags & 0x0e));
    }
    // What we cut is put together again, whatever came before.
    let payload: Vec<u8> = data.iter().copied().cycle().take(data.len() * 20 % MAX_REASSEMBLED).collect();
    let parts = fragments(&header.packet(NEXT_HEADER_OSPF, &payload), TUNNEL_MTU, u32::MAX);
    let whole = parts.iter().rev().filter_map(|part| handle(part, now)).collect::<Vec<_>>();
    assert!(payload.is_empty() || whole == [payload]);
}

/// A request on the control socket.
pub fn api_request(data: &[u8]) {
    let Some((request, written)) = writes_what_it_reads::<Request>(data) else { return };
    let again: Request = serde_json::from_str(&written).expect("we read what we write");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written), "{request:?}");
}

/// An answer on the control socket, and what `molt` prints of it: the first byte chooses the kind.
pub fn api_answer(data: &[u8]) {
    let [kind, line @ ..] = data else { return };
    match kind % 14 {
        0 => answer(line, |answer: &api::Status| render::status(answer)),
        1 => answer(line, |answer: &api::Peers| render::peers(answer)),
        2 => answer(line, |answer: &api::Routes| render::routes(answer)),
        3 => answer(line, |answer: &api::OspfNeighbors| render::ospf_neighbors(answer)),
        4 => answer(line, |answer: &api::OspfDatabase| render::ospf_database(answer)),
        5 => answer(line, |answer: &api::OspfSpfLog| render::ospf_spf_log(answer)),
        6 => answer(line, |answer: &api::Bfd| render::bfd(answer)),
        7 => answer(line, |answer: &api::Counters| render::counters(answer, true)),
        8 => answer(line, |answer: &api::Reloaded| render::reloaded(answer)),
        9 => answer(line, |answer: &api::ProbeLine| render::ping_line(answer) + &render::trace_line(answer)),
        10 => answer(line, |answer: &api::Id| render::id(answer)),
        11 => answer(line, |answer: &api::OspfEvents| render::ospf_events(answer)),
        12 => answer(line, |answer: &api::RouteExplanation| render::route_explanation(answer)),
        _ => answer(line, |answer: &api::OspfInterfaces| render::ospf_interfaces(answer)),
    }
}

fn answer<T: Serialize + DeserializeOwned>(line: &[u8], render: impl Fn(&T) -> String) {
    if let Some((Response::Ok(answer), _)) = writes_what_it_reads::<Response<T>>(line) {
        assert!(render(&answer).ends_with('\n'));
    }
}

/// The value and its text.
fn writes_what_it_reads<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<(T, String)> {
    let value = serde_json::from_slice::<T>(data).ok()?;
    let written = serde_json::to_string(&value).expect("it has no map with odd keys");
    assert!(serde_json::from_str::<T>(&written).is_ok(), "{written}");
    Some((value, written))
}

/// Somebody.
fn identity(number: u8) -> Identity {
    Seed::from_bytes([number; 32]).identity()
}
