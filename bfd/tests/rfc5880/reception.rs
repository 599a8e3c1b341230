//! Reception: section 6.8.6, and RFC 5881 sections 3 to 5.

use super::*;

fn rejects(rig: &mut Rig, expected: Reject, change: impl FnOnce(&mut [u8; 24])) {
    let mut bytes = rig.peer.encode();
    change(&mut bytes);
    let before = rig.view();
    assert_eq!(rig.raw(255, &bytes), Err(expected));
    let mut after = rig.view();
    assert_eq!(after.counters.rejected, before.counters.rejected + 1);
    after.counters.rejected -= 1;
    assert_eq!(after, before, "a discarded packet has no effect");
}

#[test]
fn s6_8_6_drops_a_wrong_version() {
    let mut rig = Rig::up(Config::default());
    for version in [0, 2, 7] {
        rejects(&mut rig, Reject::Version { version }, |bytes| bytes[0] = version << 5);
    }
}

#[test]
fn s6_8_6_drops_a_length_below_24_or_26_when_authenticated() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooSmall { length: 23 }, |bytes| bytes[3] = 23);
    rejects(&mut rig, Reject::LengthTooSmall { length: 25 }, |bytes| {
        bytes[1] |= 4;
        bytes[3] = 25;
    });
}

#[test]
fn s6_8_6_drops_a_length_beyond_the_payload_and_a_truncated_header() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooLarge { length: 25, len: 24 }, |bytes| bytes[3] = 25);
    for len in 0..24 {
        let bytes = rig.peer.encode();
        assert_eq!(rig.raw(255, &bytes[..len]), Err(Reject::TooShort { len }));
    }
}

#[test]
fn s6_8_6_accepts_bytes_after_the_length() {
    let mut rig = Rig::up(Config::default());
    let mut bytes = rig.peer.encode().to_vec();
    bytes.extend([0xff; 9]);
    assert_eq!(rig.raw(255, &bytes), Ok(()));
}

#[test]
fn s6_8_6_drops_a_zero_detect_mult() {
    rejects(&mut Rig::up(Config::default()), Reject::ZeroDetectMult, |bytes| bytes[2] = 0);
}

#[test]
fn s6_8_6_drops_the_multipoint_bit() {
    rejects(&mut Rig::up(Config::default()), Reject::Multipoint, |bytes| bytes[1] |= 1);
}

#[test]
fn s6_8_6_drops_a_zero_my_discriminator() {
    rejects(&mut Rig::up(Config::default()), Reject::ZeroMyDiscriminator, |bytes| bytes[4..8].fill(0));
}

#[test]
fn s6_8_6_drops_a_your_discriminator_without_a_session() {
    let unknown = Reject::UnknownYourDiscriminator { discriminator: 0x0101_0101 };
    rejects(&mut Rig::up(Config::default()), unknown, |bytes| bytes[8..12].fill(1));
}

#[test]
fn s6_8_6_drops_a_zero_your_discriminator_unless_down_or_admin_down() {
    for state in [State::Init, State::Up] {
        let mut rig = Rig::new(Config::default());
        let packet = Packet { your_discriminator: 0, state, ..rig.peer };
        assert_eq!(rig.try_receive(packet), Err(Reject::ZeroYourDiscriminator { state }));
    }
    for state in [State::Down, State::AdminDown] {
        let mut rig = Rig::new(Config::default());
        rig.receive(Packet { your_discriminator: 0, state, ..rig.peer });
        assert_eq!(rig.view().remote_discriminator, 77);
    }
}

#[test]
fn s6_8_6_drops_authentication_that_is_not_in_use() {
    let mut rig = Rig::up(Config::default());
    let mut bytes = rig.peer.encode().to_vec();
    bytes[1] |= 4;
    bytes[3] = 26;
    bytes.extend([1, 2]);
    assert_eq!(rig.raw(255, &bytes), Err(Reject::Authenticated));
}

#[test]
fn s6_8_6_a_packet_with_several_faults_is_dropped_for_the_first_rule() {
    let mut rig = Rig::up(Config::default());
    rejects(&mut rig, Reject::LengthTooSmall { length: 9 }, |bytes| {
        bytes[1] |= 1;
        bytes[2] = 0;
        bytes[3] = 9;
    });
    rejects(&mut rig, Reject::ZeroDetectMult, |bytes| {
        bytes[1] |= 1;
        bytes[2] = 0;
    });
    rejects(&mut rig, Reject::Multipoint, |bytes| {
        bytes[1] |= 1;
        bytes[4..8].fill(0);
    });
    rejects(&mut rig, Reject::ZeroMyDiscriminator, |bytes| bytes[4..12].fill(0));
    let mut bytes = Packet { your_discriminator: 1, ..rig.peer }.encode().to_vec();
    bytes[1] |= 4;
    bytes[3] = 26;
    bytes.extend([1, 2]);
    assert_eq!(rig.raw(255, &bytes), Err(Reject::UnknownYourDiscriminator { discriminator: 1 }));
}

#[test]
fn s6_5_drops_poll_and_final_together() {
    rejects(&mut Rig::up(Config::default()), Reject::PollAndFinal, |bytes| bytes[1] |= 0x30);
}

#[test]
fn s6_8_6_the_state_table_as_the_peer_sees_it() {
    use State::{AdminDown, Down, Init, Up};
    for (local, remote, expected) in [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
    ] {
        let mut rig = Rig::new(Config::default());
        match local {
            Down => {}
            Init => rig.receive(Packet { state: Down, ..rig.peer }),
            Up => rig.receive(Packet { state: Init, ..rig.peer }),
            AdminDown => {
                rig.sessions.admin_down(link(1), rig.now);
                rig.collect();
            }
        }
        rig.sent.clear();
        rig.changes.clear();
        rig.receive(Packet { state: remote, ..rig.peer });
        assert_eq!(rig.view().state, expected, "{local} receives {remote}");
        // 6.8.7: a packet with a new state is sent at once.
        assert_eq!(rig.sent.len(), usize::from(local != expected), "{local} receives {remote}");
        if expected == Down && local != Down {
            assert_eq!(rig.changes, [(local, Down, Diag::NEIGHBOR_SIGNALED_DOWN)]);
        }
    }
}

#[test]
fn s6_8_6_a_restarted_peer_is_recognised_by_its_zero_your_discriminator() {
    let mut rig = Rig::up(Config::default());
    rig.receive(Packet { state: State::Down, my_discriminator: 99, your_discriminator: 0, ..rig.peer });
    assert_eq!(rig.view().state, State::Down);
    assert_eq!(rig.last().your_discriminator, 99);
}

// RFC 5881

#[test]
fn rfc5881_s3_the_session_is_bound_to_its_link() {
    let mut sessions = Sessions::new(5);
    for id in [1, 2] {
        sessions.add(link(id), Config::default(), Time::ZERO);
    }
    let other = sessions.views(Time::ZERO).nth(1).unwrap().discriminator;
    let rig = Rig::new(Config::default());
    let packet = Packet { your_discriminator: other, state: State::Init, ..rig.peer };
    assert_eq!(
        sessions.handle_packet(link(1), 255, &packet.encode(), Time::ZERO),
        Err(Reject::UnknownYourDiscriminator { discriminator: other })
    );
    assert_eq!(sessions.handle_packet(link(3), 255, &packet.encode(), Time::ZERO), Err(Reject::NoSession));
    assert_eq!(sessions.handle_packet(link(2), 255, &packet.encode(), Time::ZERO), Ok(()));
}

#[test]
fn rfc5881_s4_source_ports_are_in_range_fixed_and_unique() {
    let mut sessions = Sessions::new(5);
    for id in 1..=200 {
        sessions.add(link(id), Config::default(), Time::ZERO);
    }
    let mut ports: Vec<u16> = sessions.views(Time::ZERO).map(|view| view.source_port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 200);
    assert!(ports.iter().all(|port| *port >= 49152));
    // That it stays the same is asserted for every packet in `Rig::collect`.
}

#[test]
fn rfc5881_s5_drops_every_hop_limit_but_255() {
    let mut rig = Rig::up(Config::default());
    for hop_limit in 0..255 {
        assert_eq!(rig.raw(hop_limit, &rig.peer.encode()), Err(Reject::HopLimit { hop_limit }));
    }
    assert_eq!(rig.raw(255, &rig.peer.encode()), Ok(()));
}

#[test]
fn mutated_packets_of_the_peer_never_panic_and_never_stop_the_engine() {
    let mut rng = fastrand::Rng::with_seed(4);
    let mut rig = Rig::up(Config::default());
    for _ in 0..50_000 {
        let mut bytes = rig.peer.encode();
        for _ in 0..rng.usize(..3) {
            let at = rng.usize(..24);
            bytes[at] = rng.u8(..);
        }
        let _ = rig.raw(255, &bytes);
        rig.run(rng.u32(..20) * MS);
        rig.sent.clear();
        rig.changes.clear();
    }
    rig.peer = Packet { state: State::Down, your_discriminator: 0, ..rig.peer };
    rig.run_heard(Duration::from_secs(1));
    assert!(matches!(rig.view().state, State::Init | State::Up));
}

/// What routing and the operator learn of a packet.
#[test]
fn s6_8_6_the_variables_follow_the_packet() {
    let mut rig = Rig::up(config(100, 150, 5));
    rig.run(20 * MS);
    rig.receive(Packet {
        detect_mult: 7,
        my_discriminator: 78,
        desired_min_tx_us: 200_000,
        required_min_rx_us: 300_000,
        diag: Diag::from_bits(5),
        ..rig.peer
    });
    let view = rig.view();
    let expected = View {
        session: link(1).into(),
        state: State::Up,
        remote_state: State::Up,
        diag: Diag::NONE,
        remote_diag: Diag::from_bits(5),
        discriminator: rig.peer.your_discriminator,
        remote_discriminator: 78,
        source_port: view.source_port,
        config: config(100, 150, 5),
        transmit_interval: Some(300 * MS),
        remote_desired_min_tx: 200 * MS,
        remote_required_min_rx: 300 * MS,
        remote_detect_mult: 7,
        detection_time: 1400 * MS,
        up_for: Some(20 * MS),
        times_up: 1,
        times_down: 0,
        // Sent: the first, and one on reaching Up.
        counters: Counters { transmitted: 2, received: 4, rejected: 0 },
    };
    assert_eq!(view, expected);

    rig.receive(Packet { state: State::Down, ..rig.peer });
    let view = rig.view();
    assert_eq!(
        (view.state, view.remote_state, view.diag),
        (State::Down, State::Down, Diag::NEIGHBOR_SIGNALED_DOWN)
    );
    assert_eq!((view.up_for, view.times_up, view.times_down), (None, 1, 1));
}

/// RFC 5882 section 4.3.2 lets routing tell a failure of the path from one of the control plane.
#[test]
fn s4_1_the_c_bit_goes_with_each_change_of_state() {
    for control_plane_independent in [false, true] {
        let mut rig = Rig::up(Config::default());
        let packet = Packet { state: State::Down, control_plane_independent, ..rig.peer };
        rig.sessions.handle_packet(link(1), 255, &packet.encode(), rig.now).unwrap();
        let Some(Output::StateChanged { independent, .. }) = rig.sessions.poll_output() else {
            panic!("a change")
        };
        assert_eq!(independent, control_plane_independent);
    }
}

#[test]
fn s6_6_demand_mode_is_active_only_when_both_are_up() {
    // What the peer says, and our state then.
    for (remote, local) in
        [(State::Up, State::Down), (State::AdminDown, State::Down), (State::Init, State::Up)]
    {
        let mut rig =
            if local == State::Up { Rig::up(Config::default()) } else { Rig::new(Config::default()) };
        rig.peer = Packet { demand: true, state: remote, ..rig.peer };
        rig.receive(rig.peer);
        assert_eq!(rig.view().state, local);
        assert!(rig.view().transmit_interval.is_some(), "{local} hears {remote}");
    }
}
