use super::*;
use crate::Seed;
use crate::sign::Strict;

const MESH: MeshPrefix = MeshPrefix::DEFAULT;

fn identity(number: u8) -> Identity {
    Seed::from_bytes([number; 32]).identity()
}

fn agent(identity: &Identity) -> Agent {
    Agent {
        key: *identity.key(),
        wireguard: *identity.node_public(),
        draw: 3,
        addresses: vec!["fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268".parse().unwrap(), identity.address(MESH)],
        name: Some("alpha".into()),
        endpoints: vec!["192.0.2.1:51820".parse().unwrap(), "[2001:db8::1]:51820".parse().unwrap()],
        services: vec![Service { name: "rpc".into(), port: 6800, protocol: 6 }],
        capabilities: vec!["relay".into()],
        region: Some("eu".into()),
        seq: 7,
        expiry: 1_800_000_000,
    }
}

/// Changes a record behind its signature's back and signs it again.
fn resigned(record: &AgentRecord, identity: &Identity, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = record.bytes().to_vec();
    bytes.truncate(bytes.len() - SIGNATURE_LEN);
    change(&mut bytes);
    identity.sign(CONTEXT, bytes)
}

fn read(bytes: &[u8]) -> Result<AgentRecord, RecordReject> {
    Unverified::decode(bytes)?.verify(MESH, &Strict)
}

#[test]
fn a_record_is_read_as_it_was_signed() {
    let identity = identity(1);
    let record = agent(&identity).sign(&identity).unwrap();
    assert_eq!(record.agent(), &agent(&identity));
    assert_eq!(read(record.bytes()).as_ref(), Ok(&record));
    assert_eq!(record.bytes().len() % 4, 0);
    assert_eq!(agent(&identity).router_id(), identity.router_id(3));
}

#[test]
fn every_byte_of_a_record_is_signed() {
    let identity = identity(1);
    let record = agent(&identity).sign(&identity).unwrap();
    for at in 0..record.bytes().len() {
        let mut bytes = record.bytes().to_vec();
        bytes[at] ^= 0x10;
        assert!(read(&bytes).is_err(), "byte {at}");
    }
    for len in 0..record.bytes().len() {
        assert!(read(&record.bytes()[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn nobody_signs_for_another() {
    let (us, them) = (identity(1), identity(2));
    assert_eq!(agent(&us).sign(&them), Err(RecordReject::Signature));
    let record = agent(&us).sign(&us).unwrap();
    assert_eq!(read(&resigned(&record, &them, |_| ())), Err(RecordReject::Signature));
}

#[test]
fn each_rule_has_its_reject() {
    let identity = identity(1);
    let record = agent(&identity).sign(&identity).unwrap();
    let changed = |at: usize, value: u8| read(&resigned(&record, &identity, |bytes| bytes[at] = value));
    assert_eq!(changed(0, 2), Err(RecordReject::Version));
    assert_eq!(changed(3, 0xff), Err(RecordReject::Short));
    assert_eq!(changed(11, 0), Err(RecordReject::RouterId));
    assert_eq!(changed(92, 0xff), Err(RecordReject::Payload));
    let longer = resigned(&record, &identity, |bytes| bytes.extend([0; 4]));
    assert_eq!(read(&longer), Err(RecordReject::Length));
    assert_eq!(read(&[0; MAX_LEN + 1]), Err(RecordReject::Length));
    let address = |text: &str| Agent { addresses: vec![text.parse().unwrap()], ..agent(&identity) };
    for foreign in ["fd00:6d6f:6c74::53", "fd00:6d6f:6c74:1:2:3:8000:1", "fd00:6d6f:6c74:1:2:3:c000:1"] {
        assert_eq!(address(foreign).sign(&identity), Err(RecordReject::Address), "{foreign}");
    }
    let name = |name: &str| Agent { name: Some(name.into()), ..agent(&identity) }.sign(&identity);
    for wrong in ["a.b", "Alpha", "-a", "a b", &"a".repeat(64)] {
        assert_eq!(name(wrong), Err(RecordReject::Field), "{wrong}");
    }
}

/// Field 99, a string, which this version does not know.
#[test]
fn unknown_fields_are_kept_byte_for_byte() {
    let identity = identity(1);
    let record = agent(&identity).sign(&identity).unwrap();
    let bytes = resigned(&record, &identity, |bytes| {
        let field = [0x9a, 0x06, 0x02, b'h', b'i'];
        let length = u16::from_be_bytes([bytes[2], bytes[3]]);
        bytes.truncate(HEADER_LEN + usize::from(length));
        bytes.extend(field);
        bytes[2..4].copy_from_slice(&(length + 5).to_be_bytes());
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    });
    let read = read(&bytes).unwrap();
    assert_eq!(**read.bytes(), *bytes);
    assert_eq!(read.agent(), record.agent());
}

#[test]
fn a_record_always_fits_an_lsa() {
    let identity = identity(1);
    let long = "x".repeat(MAX_WORD);
    let service = Service { name: long.clone(), port: 1, protocol: 6 };
    let full = Agent {
        name: Some("x".repeat(MAX_NAME)),
        endpoints: vec!["[2001:db8::1]:51820".parse().unwrap(); MAX_LIST],
        services: vec![service; MAX_LIST],
        capabilities: vec![long.clone(); MAX_LIST],
        region: Some(long),
        ..agent(&identity)
    };
    let record = full.sign(&identity).unwrap();
    assert!(record.bytes().len() <= MAX_LEN);
    assert!(record.agent().endpoints.len() >= 6 && record.agent().services.len() >= 6);
}

#[test]
fn a_delegation_is_for_containers_of_its_owner_and_anycast_only() {
    let (owner, holder) = (identity(1), identity(2));
    let grant = |address: MeshAddr, index| Grant {
        owner: *owner.key(),
        index,
        address,
        holder: *holder.key(),
        seq: 1,
        expiry: 2,
    };
    let container = MESH.container(owner.key(), 7);
    let delegation = grant(container, 7).sign(&owner).unwrap();
    assert_eq!(delegation.bytes().len(), DELEGATION_LEN);
    assert_eq!(Delegation::verify(delegation.bytes(), MESH, &Strict).as_ref(), Ok(&delegation));
    grant("fd00:6d6f:6c74::53".parse().unwrap(), 0).sign(&owner).unwrap();
    for (address, index) in [
        (container, 8),
        (MESH.container(holder.key(), 7), 7),
        (holder.address(MESH), 0),
        (owner.address(MESH), 0),
        ("fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268".parse().unwrap(), 0),
    ] {
        assert_eq!(grant(address, index).sign(&owner), Err(DelegationReject::Address), "{address}");
    }
    assert_eq!(grant(container, 7).sign(&holder), Err(DelegationReject::Signature));
    for at in 0..DELEGATION_LEN {
        let mut bytes = delegation.bytes().to_vec();
        bytes[at] ^= 1;
        assert!(Delegation::verify(&bytes, MESH, &Strict).is_err(), "byte {at}");
        assert!(Delegation::verify(&bytes[..at], MESH, &Strict).is_err(), "{at} bytes");
    }
}

/// The keys and signatures are good: the record is of a node of the mesh next door.
#[test]
fn a_record_or_delegation_of_another_mesh_is_refused_by_name_and_counts_there() {
    let identity = identity(1);
    let other: MeshPrefix = "fd12:3456:789a::/48".parse().unwrap();
    let there = Agent { addresses: vec![identity.address(other)], ..agent(&identity) };
    let both = Agent { addresses: vec![identity.address(MESH), identity.address(other)], ..agent(&identity) };
    for (agent, counts_there) in [(there, true), (both, false)] {
        let record = agent.sign(&identity).unwrap();
        assert_eq!(read(record.bytes()), Err(RecordReject::AnotherMesh));
        let counts = Unverified::decode(record.bytes()).unwrap().verify(other, &Strict).is_ok();
        assert_eq!(counts, counts_there);
    }
    let (owner, holder) = (*identity.key(), *identity.key());
    for (index, address) in [(7, other.container(&owner, 7)), (0, "fd12:3456:789a::53".parse().unwrap())] {
        let grant = Grant { owner, index, address, holder, seq: 1, expiry: 2 };
        let delegation = grant.sign(&identity).unwrap();
        let verify = |mesh| Delegation::verify(delegation.bytes(), mesh, &Strict);
        assert_eq!(verify(MESH), Err(DelegationReject::AnotherMesh));
        assert_eq!(verify(other).as_ref(), Ok(&delegation));
        assert_eq!(
            delegation.to_string().parse::<Delegation>().as_ref(),
            Ok(&delegation),
            "text is of any mesh"
        );
    }
}

#[test]
fn a_topology_is_of_one_router_one_part_and_one_key() {
    let identity = identity(1);
    let router = identity.router_id(0);
    let lsa = |ls_type, id| Covered { ls_type, id, digest: digest(&[1, 2, 3]) };
    let topology = Topology {
        router,
        part: 1,
        counter: 9,
        covered: vec![lsa(0x2001, 0), lsa(0x2001, 1), lsa(0x2009, 0)],
    };
    let bytes = topology.sign(&identity);
    let verify = |bytes: &[u8], router, part, key: &IdentityKey| {
        SignedTopology::verify(bytes, router, part, key, &Strict)
    };
    let signed = verify(&bytes, router, 1, identity.key()).unwrap();
    assert_eq!(signed.topology(), &topology);
    assert_eq!(signed.digest_of(0x2009, 0), Some(&digest(&[1, 2, 3])));
    assert_eq!(signed.digest_of(0x2009, 1), None);
    assert_eq!(verify(&bytes, RouterId(1), 1, identity.key()), Err(TopologyReject::Router));
    assert_eq!(verify(&bytes, router, 0, identity.key()), Err(TopologyReject::Router));
    assert_eq!(verify(&bytes, router, 1, &IdentityKey::from_bytes([1; 32])), Err(TopologyReject::Signature));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, router, 1, identity.key()).is_err(), "byte {at}");
        assert!(Topology::decode(&bytes[..at]).is_err(), "{at} bytes");
    }
    for covered in [vec![lsa(1, 1), lsa(1, 1)], vec![lsa(2, 0), lsa(1, 0)]] {
        let bytes = Topology { covered, ..topology.clone() }.sign(&identity);
        assert_eq!(Topology::decode(&bytes), Err(TopologyReject::Order));
    }
    let many = Topology { covered: (0..60).map(|id| lsa(0x2009, id)).collect(), ..topology };
    let bytes = many.sign(&identity);
    assert!(bytes.len() <= 1200);
    assert_eq!(Topology::decode(&bytes).unwrap().covered.len(), MAX_COVERED);
}
