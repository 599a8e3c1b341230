//! What lies outside of the mesh: packets from and to other meshes, BFD over several hops.

use super::*;

fn start_path(rig: &mut Rig, a: usize, b: usize, min_hop_limit: u8) {
    for (node, to) in [(a, b), (b, a)] {
        let session = Some(bfd::Config { min_hop_limit, ..bfd::Config::default() });
        rig.command(node, Command::BfdPath { local: mesh(node), remote: mesh(to), session });
    }
}

fn changes(rig: &Rig, node: usize) -> Vec<BfdChange> {
    let change = |event: &Event| match event {
        Event::BfdPath { change, .. } => Some(*change),
        _ => None,
    };
    rig.events[node].iter().filter_map(change).collect()
}

/// a ── b ── c, and no BFD between neighbours: only the ends of the path find out.
#[test]
fn rfc5883_a_path_over_a_router_comes_up_and_a_cut_is_found_in_the_detection_time() {
    let mut rig = line();
    start_path(&mut rig, 0, 2, 254);
    rig.run(Duration::from_secs(5));
    for node in [0, 2] {
        assert_eq!(changes(&rig, node), [BfdChange::Up]);
    }
    rig.cut.push((1, 2));
    rig.run(Duration::from_millis(310));
    for node in [0, 2] {
        assert!(matches!(changes(&rig, node)[..], [BfdChange::Up, BfdChange::Down { .. }]), "{node}");
    }
}

#[test]
fn rfc5883_s5_a_packet_from_farther_away_than_the_floor_is_rejected() {
    let mut rig = line();
    start_path(&mut rig, 0, 2, 255);
    rig.run(Duration::from_secs(5));
    assert_eq!((changes(&rig, 0), changes(&rig, 2)), (vec![], vec![]));
    assert!(rig.nodes[2].counters().of(Discard::BfdRejected) > 0);
}

#[test]
fn a_path_that_is_ended_tells_the_peer_that_it_is_no_failure() {
    let mut rig = line();
    start_path(&mut rig, 0, 2, 254);
    rig.run(Duration::from_secs(5));
    rig.command(0, Command::BfdPath { local: mesh(0), remote: mesh(2), session: None });
    rig.settle();
    assert_eq!(changes(&rig, 2), [BfdChange::Up, BfdChange::AdminDown]);
}

/// Node 0 is the border of another mesh, fd12::/48, as node 1 sees it.
fn border() -> Rig {
    let mut rig = line();
    rig.command(
        1,
        Command::AddLink(LinkConfig {
            link: link_to(0),
            remote: *identity(0).node_public(),
            preshared: None,
            endpoint: Some(underlay(0)),
            foreign: true,
        }),
    );
    rig.command(1, Command::Forwarding(link_to(0), true));
    rig.settle();
    let mut fib = FibBuilder::default();
    fib.local(Prefix::host(mesh(1)));
    fib.via(Prefix::host(mesh(2)), &[link_to(2)]).via(Prefix::host(mesh(0)), &[link_to(0)]);
    fib.via("fd12::/48".parse().unwrap(), &[link_to(0)]);
    rig.command(1, Command::Fib(Arc::new(fib.build())));
    rig
}

/// Sends a packet with each source from node 0 through node 1, and looks whether and why it is discarded there.
fn send_from(rig: &mut Rig, sources: &[(Ipv6Addr, Option<Discard>)]) {
    for (src, discard) in sources.iter().copied() {
        let packet = Header { src, dst: mesh(2), hop_limit: 64, traffic_class: 0 }.udp(1, 2, b"");
        let counted = |rig: &Rig| discard.map_or(0, |discard| rig.nodes[1].counters().of(discard));
        let (counter, delivered) = (counted(rig), rig.nodes[1].snapshot(rig.now).transit_packets);
        let sealed = rig.seal(0, 1, &packet);
        rig.inject(1, underlay(0), &sealed);
        let passed = rig.nodes[1].snapshot(rig.now).transit_packets - delivered;
        assert_eq!(
            (counted(rig) - counter, passed),
            if discard.is_some() { (1, 0) } else { (0, 1) },
            "{src}"
        );
    }
}

/// Which mesh is ours is a matter of configuration: node 1 is in fd12::/48, and the others' is the other one.
#[test]
fn what_is_inside_depends_on_the_prefix_of_the_mesh() {
    let mut rig = border();
    rig.nodes[1].config.mesh = "fd12::/48".parse().unwrap();
    let inside = "fd12::1".parse().unwrap();
    send_from(&mut rig, &[(inside, Some(Discard::SourceNotForeign)), (mesh(0), None)]);
    let refused = |rig: &Rig| rig.nodes[1].counters().of(Discard::UnderlayInsideMesh);
    for (from, count) in [(mesh(2), 0), (inside, 1)] {
        rig.inject(1, SocketAddr::from((from, 51820)), &[4; 32]);
        assert_eq!(refused(&rig), count, "{from}");
    }
}

#[test]
fn another_mesh_has_no_say_about_sources_in_ours() {
    let mut rig = border();
    let before = rig.delivered[2].len();
    send_from(
        &mut rig,
        &[
            ("fd12::1".parse().unwrap(), None),
            // Somebody else's, by a policy that nobody has.
            ("fd13::1".parse().unwrap(), Some(Discard::SourceNotMesh)),
            // Even one that is behind this very link by our table.
            (mesh(0), Some(Discard::SourceNotForeign)),
            (mesh(2), Some(Discard::SourceNotForeign)),
        ],
    );
    rig.settle();
    // The last router's own mesh does not know the other one: it has no route back.
    assert_eq!(rig.delivered[2].len(), before);
    assert_eq!(rig.nodes[2].counters().of(Discard::SourceNotMesh), 1);
}
