//! Sessions over several hops (RFC 5883).

use std::net::Ipv6Addr;

use molt_bfd::{Binding, Config, Output, Packet, Reject, Sessions, State};
use molt_mesh::{LinkId, Time};

fn address(host: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfd00 << 112 | host)
}

fn path(local: u128, remote: u128) -> Binding {
    Binding::Path { local: address(local), remote: address(remote) }
}

/// What a session sends first.
fn first_packet(sessions: &mut Sessions, of: Binding) -> Packet {
    let sent = std::iter::from_fn(|| sessions.poll_output());
    let packets: Vec<_> = sent
        .filter_map(|output| match output {
            Output::Transmit { session, packet, .. } if session == of => Packet::decode(&packet).ok(),
            _ => None,
        })
        .collect();
    *packets.first().expect("it sends at once")
}

fn state(sessions: &Sessions, of: Binding) -> State {
    sessions.views(Time::ZERO).find(|view| view.session == of).expect("the session").state
}

#[test]
fn rfc5883_s3_sessions_are_told_apart_by_their_addresses() {
    let mut sessions = Sessions::new(1);
    for remote in [2, 3] {
        sessions.add(path(1, remote), Config::default(), Time::ZERO);
    }
    let packet = Packet { my_discriminator: 7, ..first_packet(&mut sessions, path(1, 2)) }.encode();
    assert_eq!(sessions.handle_packet(path(1, 2), 255, &packet, Time::ZERO), Ok(()));
    assert_eq!((state(&sessions, path(1, 2)), state(&sessions, path(1, 3))), (State::Init, State::Down));
    for stranger in [path(1, 4), path(2, 1), path(5, 2)] {
        assert_eq!(sessions.handle_packet(stranger, 255, &packet, Time::ZERO), Err(Reject::NoSession));
    }
}

/// A packet that names the session of another path is no packet of this one.
#[test]
fn rfc5883_s3_the_discriminator_of_another_path_is_rejected() {
    let mut sessions = Sessions::new(1);
    sessions.add(path(1, 2), Config::default(), Time::ZERO);
    let other = first_packet(&mut sessions, path(1, 2)).my_discriminator;
    sessions.add(path(1, 3), Config::default(), Time::ZERO);
    let packet =
        Packet { my_discriminator: 7, your_discriminator: other, ..first_packet(&mut sessions, path(1, 3)) };
    assert_eq!(
        sessions.handle_packet(path(1, 3), 255, &packet.encode(), Time::ZERO),
        Err(Reject::UnknownYourDiscriminator { discriminator: other })
    );
}

#[test]
fn rfc5883_s5_the_floor_of_the_hop_limit_is_that_of_the_session() {
    for (floor, hop_limit, accepted) in [
        (254, 255, true),
        (254, 254, true),
        (254, 253, false),
        (64, 64, true),
        (64, 63, false),
        (255, 254, false),
    ] {
        let mut sessions = Sessions::new(1);
        let config = Config { min_hop_limit: floor, ..Config::default() };
        sessions.add(path(1, 2), config, Time::ZERO);
        let packet = first_packet(&mut sessions, path(1, 2));
        let packet = Packet { my_discriminator: 7, ..packet }.encode();
        let expected = if accepted { Ok(()) } else { Err(Reject::HopLimit { hop_limit }) };
        assert_eq!(sessions.handle_packet(path(1, 2), hop_limit, &packet, Time::ZERO), expected, "{floor}");
    }
}

#[test]
fn rfc5881_s5_a_tunnel_has_no_floor_to_choose() {
    let link = LinkId::new(1).expect("links are numbered from 1");
    let mut sessions = Sessions::new(1);
    sessions.add(link, Config { min_hop_limit: 1, ..Config::default() }, Time::ZERO);
    let packet = Packet { my_discriminator: 7, ..first_packet(&mut sessions, link.into()) }.encode();
    let rejected = Err(Reject::HopLimit { hop_limit: 254 });
    assert_eq!(sessions.handle_packet(link, 254, &packet, Time::ZERO), rejected);
}

#[test]
fn rfc5880_s6_8_1_discriminators_and_ports_are_unique_among_both_kinds() {
    let mut sessions = Sessions::new(1);
    for number in 1..=100 {
        sessions.add(LinkId::new(number).expect("from 1"), Config::default(), Time::ZERO);
        sessions.add(path(1, number.into()), Config::default(), Time::ZERO);
    }
    let unique = |key: fn(&molt_bfd::View) -> u32| {
        sessions.views(Time::ZERO).map(|view| key(&view)).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(unique(|view| view.discriminator), 200);
    assert_eq!(unique(|view| view.source_port.into()), 200);
}

/// RFC 5880 section 6.6: a peer that asks for silence gets it, over several hops, too.
#[test]
fn rfc5880_s6_6_demand_is_obeyed_over_several_hops() {
    let mut sessions = Sessions::new(1);
    sessions.add(path(1, 2), Config::default(), Time::ZERO);
    let ours = first_packet(&mut sessions, path(1, 2));
    let base = Packet { my_discriminator: 7, your_discriminator: ours.my_discriminator, ..ours };
    let mut say = |packet: Packet, at: u64| {
        sessions.handle_packet(path(1, 2), 255, &packet.encode(), Time::from_millis(at)).expect("accepted");
    };
    say(Packet { state: State::Init, ..base }, 1);
    say(Packet { state: State::Up, final_: true, ..base }, 2);
    say(Packet { state: State::Up, demand: true, ..base }, 3);
    while sessions.poll_output().is_some() {}
    sessions.handle_timeout(Time::from_millis(250));
    assert_eq!(sessions.poll_output(), None, "it is still sending");
}

/// The floor is ours alone: the peer need not know of it, so it does not wait for the Poll Sequence.
#[test]
fn rfc5883_s5_a_new_floor_counts_at_once() {
    let mut sessions = Sessions::new(1);
    sessions.add(path(1, 2), Config::default(), Time::ZERO);
    let ours = first_packet(&mut sessions, path(1, 2));
    let packet =
        Packet { state: State::Init, my_discriminator: 7, your_discriminator: ours.my_discriminator, ..ours };
    assert_eq!(Config::default().min_hop_limit, 254, "one router between");
    assert_eq!(sessions.handle_packet(path(1, 2), 254, &packet.encode(), Time::ZERO), Ok(()));
    assert!(first_packet(&mut sessions, path(1, 2)).poll, "the interval has changed with the state");
    sessions.add(path(1, 2), Config { min_hop_limit: 64, ..Config::default() }, Time::ZERO);
    let packet = Packet { state: State::Up, ..packet }.encode();
    assert_eq!(sessions.handle_packet(path(1, 2), 64, &packet, Time::ZERO), Ok(()));
    assert!(sessions.handle_packet(path(1, 2), 63, &packet, Time::ZERO).is_err());
}
