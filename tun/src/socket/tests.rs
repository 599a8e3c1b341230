use std::net::Ipv6Addr;

use super::*;

const LOOPBACK_V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn bind(ip: IpAddr) -> (Sockets, SocketAddr) {
    let sockets = Sockets::bind((ip, 0).into()).unwrap();
    let addr = (ip, sockets.port()).into();
    (sockets, addr)
}

/// Sends `datagrams` and returns what the other side gets of them, with the sender, and the longest receive batch.
fn exchange(
    sender: &mut Sockets,
    ip: IpAddr,
    datagrams: &[Vec<u8>],
) -> (Vec<Vec<u8>>, SocketAddr, UdpCounters) {
    let (mut receiver, to) = bind(ip);
    let mut batch = UdpBatch::new();
    for datagram in datagrams {
        assert!(batch.push(to, 0, |room| {
            room[..datagram.len()].copy_from_slice(datagram);
            datagram.len()
        }));
    }
    let mut counters = UdpCounters::default();
    let mut progress = Progress::default();
    assert_eq!(sender.send(&batch, &mut progress, Time::ZERO, &mut counters), Sent::All);
    assert_eq!(progress, Progress::default());
    let mut buffer = ReceiveBuffer::new();
    let mut got = Vec::new();
    let mut senders = Vec::new();
    while got.len() < datagrams.len() {
        // Loopback delivers within the send call: nothing to wait for.
        let received = receiver.receive(family(&to), &mut buffer, &mut counters);
        assert!(received.count > 0, "{} of {} datagrams arrived", got.len(), datagrams.len());
        for (from, datagram) in received.datagrams() {
            senders.push(from);
            got.push(datagram.to_vec());
        }
    }
    assert!(senders.iter().all(|from| *from == senders[0]));
    (got, senders[0], counters)
}

fn datagrams() -> Vec<Vec<u8>> {
    (0..100u8).map(|i| vec![i; if i % 49 == 48 { 700 } else { 1200 }]).collect()
}

#[test]
fn trains_and_single_datagrams_arrive_alike_in_both_families() {
    for ip in [LOOPBACK_V4, LOOPBACK_V6] {
        for gso in [true, false] {
            let (mut sender, from) = bind(ip);
            sender.set_gso(gso);
            let (got, sender, counters) = exchange(&mut sender, ip, &datagrams());
            assert_eq!(got, datagrams());
            assert_eq!((sender, counters), (from, UdpCounters::default()));
        }
    }
}

#[test]
fn the_kernel_hands_a_train_over_in_one_piece() {
    let (mut receiver, to) = bind(LOOPBACK_V6);
    let (mut sender, _) = bind(LOOPBACK_V6);
    let mut batch = UdpBatch::new();
    for _ in 0..40 {
        batch.push(to, 0, |_| 1200);
    }
    let (mut counters, mut buffer) = (UdpCounters::default(), ReceiveBuffer::new());
    sender.send(&batch, &mut Progress::default(), Time::ZERO, &mut counters);
    let received = receiver.receive(Family::V6, &mut buffer, &mut counters);
    assert_eq!((received.count, received.datagrams().count()), (1, 40));
}

#[test]
fn a_destination_without_socket_is_counted_and_the_rest_goes_out() {
    let (mut sender, _) = bind(LOOPBACK_V4);
    let (mut receiver, to) = bind(LOOPBACK_V4);
    let mut batch = UdpBatch::new();
    batch.push((LOOPBACK_V6, 9).into(), 0, |_| 10);
    batch.push(to, 0, |_| 20);
    let mut counters = UdpCounters::default();
    assert_eq!(sender.send(&batch, &mut Progress::default(), Time::ZERO, &mut counters), Sent::All);
    assert_eq!(counters.no_socket, 1);
    assert_eq!(receiver.receive(Family::V4, &mut ReceiveBuffer::new(), &mut counters).datagrams().count(), 1);
}

#[test]
fn a_datagram_that_cannot_be_sent_does_not_hold_up_the_others() {
    let (mut sender, _) = bind(LOOPBACK_V4);
    let (mut receiver, to) = bind(LOOPBACK_V4);
    let mut batch = UdpBatch::new();
    // A broadcast address without SO_BROADCAST: EACCES. A socket bound to loopback has no route to the Internet: EINVAL.
    for refused in [[255, 255, 255, 255], [198, 51, 100, 1]] {
        batch.push((Ipv4Addr::from(refused), 9).into(), 0, |_| 10);
    }
    batch.push(to, 0, |_| 20);
    let mut counters = UdpCounters::default();
    assert_eq!(sender.send(&batch, &mut Progress::default(), Time::ZERO, &mut counters), Sent::All);
    assert_eq!(counters, UdpCounters { send_errors: 2, ..UdpCounters::default() });
    assert_eq!(receiver.receive(Family::V4, &mut ReceiveBuffer::new(), &mut counters).datagrams().count(), 1);
}

#[test]
fn overflow_of_the_receive_buffer_is_counted() {
    let (mut receiver, to) = bind(LOOPBACK_V4);
    let socket = receiver.v4.as_ref().unwrap();
    sockopt::set_socket_recv_buffer_size(&socket.fd, 4096).unwrap();
    let (mut sender, _) = bind(LOOPBACK_V4);
    let mut batch = UdpBatch::new();
    for _ in 0..200 {
        batch.push(to, 0, |_| 1000);
    }
    sender.set_gso(false);
    let (mut counters, mut buffer) = (UdpCounters::default(), ReceiveBuffer::new());
    sender.send(&batch, &mut Progress::default(), Time::ZERO, &mut counters);
    let first = receiver.receive(Family::V4, &mut buffer, &mut counters).datagrams().count();
    // The kernel tells with the next datagram that it queues, and repeats it with each.
    for _ in 0..2 {
        batch.clear();
        batch.push(to, 0, |_| 1000);
        sender.send(&batch, &mut Progress::default(), Time::ZERO, &mut counters);
        assert_eq!(receiver.receive(Family::V4, &mut buffer, &mut counters).datagrams().count(), 1);
        assert_eq!(counters.receive_overflows, 200 - first as u64);
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let (first, addr) = bind(LOOPBACK_V4);
    let error = Sockets::bind(addr).unwrap_err();
    assert!(matches!(error, BindError::InUse(taken) if taken == addr));
    assert!(error.to_string().contains(&first.port().to_string()), "{error}");
    // Also when only one family of the two is taken.
    let wildcard: SocketAddr = (Ipv6Addr::UNSPECIFIED, first.port()).into();
    assert!(matches!(Sockets::bind(wildcard), Err(BindError::InUse(_))));
}

#[test]
fn the_ipv6_wildcard_means_both_families_on_one_port() {
    let sockets = Sockets::bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
    let ports = [&sockets.v4, &sockets.v6].map(|socket| {
        let fd = &socket.as_ref().expect("this machine has both families").fd;
        SocketAddr::try_from(rustix::net::getsockname(fd).unwrap()).unwrap().port()
    });
    assert_eq!(ports, [sockets.port(); 2]);
    assert_eq!(Sockets::bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap().fds().count(), 1);
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    let elsewhere = (Ipv4Addr::new(203, 0, 113, 7), 51820).into();
    assert!(matches!(Sockets::bind(elsewhere), Err(BindError::NoAddress(_))));
}

#[test]
fn each_error_of_a_send_has_its_remedy() {
    use Errno as E;
    let remedy = |errno: Errno, train| Failure::of(&errno.into(), train);
    for (errno, train, single) in [
        (E::INTR, Failure::Again, Failure::Again),
        (E::AGAIN, Failure::Full, Failure::Full),
        (E::NOBUFS, Failure::NoBuffers, Failure::NoBuffers),
        (E::NOMEM, Failure::NoBuffers, Failure::NoBuffers),
        (E::IO, Failure::NoGso, Failure::Lost),
        (E::MSGSIZE, Failure::NoGsoTo, Failure::Lost),
        (E::INVAL, Failure::NoGsoTo, Failure::Lost),
        (E::NETUNREACH, Failure::Lost, Failure::Lost),
        (E::HOSTUNREACH, Failure::Lost, Failure::Lost),
        (E::PERM, Failure::Lost, Failure::Lost),
    ] {
        assert_eq!((remedy(errno, true), remedy(errno, false)), (train, single), "{errno:?}");
    }
}

#[test]
fn a_destination_that_refused_a_train_gets_one_again_after_a_minute() {
    let (a, b) = (SocketAddr::from((LOOPBACK_V4, 1)), SocketAddr::from((LOOPBACK_V4, 2)));
    let mut no_gso = NoGso::default();
    no_gso.add(a, Time::ZERO + NO_GSO_FOR);
    let before = Time::from_millis(59_999);
    assert_eq!((no_gso.contains(&a, before), no_gso.contains(&b, before)), (true, false));
    assert!(!no_gso.contains(&a, Time::from_millis(60_000)));
    for port in 10..26 {
        no_gso.add((LOOPBACK_V4, port).into(), Time::MAX);
    }
    assert!(!no_gso.contains(&a, before), "the table is bounded");
}

#[test]
fn a_batch_that_stopped_in_the_middle_of_a_train_goes_on_there() {
    let (mut sockets, to) = bind(LOOPBACK_V4);
    sockets.set_gso(false);
    let mut batch = UdpBatch::new();
    for i in 0..40u8 {
        batch.push(to, 0, |room| {
            room[..10].fill(i);
            10
        });
    }
    let mut progress = Progress::default();
    let mut seen = Vec::new();
    // A portion of five each time, as if the send buffer were full behind it.
    while let queue = Queue::fill(&batch, progress, &sockets, Time::ZERO)
        && queue.first().is_some()
    {
        let portion = queue.len.min(5);
        seen.extend(queue.messages()[..portion].iter().map(|message| message.contents[0]));
        queue.advance(&mut progress, portion);
        // Meanwhile the core adds another datagram to the same train, once.
        if seen.len() == 5 {
            batch.push(to, 0, |room| {
                room[..10].fill(40);
                10
            });
        }
    }
    assert_eq!(seen, (0..=40).collect::<Vec<u8>>());
}
