//! The TUN device, for real. Needs root and iproute2.

mod common;

use std::net::Ipv6Addr;

use common::{HERE, behind, config, isolated, run};
use molt_mesh::Prefix;
use molt_tun::{Device, DeviceConfig, DeviceError};

#[test]
fn the_interface_has_what_was_asked_for_and_nothing_else() {
    isolated("the_interface_has_what_was_asked_for_and_nothing_else", || {
        let device = Device::create(&config()).unwrap();
        assert_eq!(device.name(), "molt0");
        let link = run("ip -o link show molt0");
        assert!(link.contains("mtu 1280") && link.contains(",UP"), "{link}");
        let addresses = run("ip -o -6 addr show dev molt0");
        assert_eq!(addresses.lines().count(), 1, "no link-local address: {addresses}");
        assert!(
            addresses.contains(&format!("{HERE}/128")) && !addresses.contains("tentative"),
            "{addresses}"
        );
        let route = run("ip -6 route get fd00:6d6f:6c74::53");
        assert!(route.contains("dev molt0") && route.contains(&format!("src {HERE}")), "{route}");
        assert!(run("ip -6 route show dev molt0").contains("fd00:6d6f:6c74::/48"));
        drop(device);
        assert!(!run("ip -o link").contains("molt0"), "it goes with its owner");
    });
}

#[test]
fn several_addresses_are_allowed() {
    isolated("several_addresses_are_allowed", || {
        let addresses = vec![HERE, common::THERE];
        let _device = Device::create(&DeviceConfig { addresses, ..config() }).unwrap();
        assert_eq!(run("ip -o -6 addr show dev molt0").lines().count(), 2);
    });
}

#[test]
fn it_can_be_created_inside_of_a_runtime() {
    isolated("it_can_be_created_inside_of_a_runtime", || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { Device::create(&config()).unwrap() });
    });
}

#[test]
fn a_name_in_use_is_refused_and_the_owner_is_not_disturbed() {
    isolated("a_name_in_use_is_refused_and_the_owner_is_not_disturbed", || {
        let _owner = Device::create(&config()).unwrap();
        assert!(matches!(Device::create(&config()), Err(DeviceError::NameTaken(name)) if name == "molt0"));
        assert!(run("ip -o link show molt0").contains(",UP"));
        run("ip link add molt1 type veth peer name molt2");
        let other = DeviceConfig { name: "molt1".to_owned(), ..config() };
        assert!(matches!(Device::create(&other), Err(DeviceError::NameTaken(_))));
        assert!(run("ip -d link show molt1").contains("veth"));
    });
}

#[test]
fn a_second_node_in_the_same_namespace_is_refused() {
    isolated("a_second_node_in_the_same_namespace_is_refused", || {
        let _first = Device::create(&config()).unwrap();
        let second = DeviceConfig { name: "molt1".to_owned(), addresses: vec![common::THERE], ..config() };
        assert!(matches!(Device::create(&second), Err(DeviceError::RouteTaken(_))));
        assert!(!run("ip -o link").contains("molt1"));
    });
}

/// Routes of an interface, as `ip` shows them.
fn routes(device: &Device) -> Vec<String> {
    let shown = run(&format!("ip -6 route show dev {}", device.name()));
    let mut prefixes: Vec<String> =
        shown.lines().filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    prefixes.sort();
    prefixes
}

fn elsewhere(mesh: u16) -> Prefix {
    Prefix::new(Ipv6Addr::new(0xfd12, mesh, 0, 0, 0, 0, 0, 0), 48)
}

/// With routes to other meshes.
fn with_routes(meshes: &[u16]) -> DeviceConfig {
    let mut config = config();
    config.routes.extend(meshes.iter().map(|mesh| elsewhere(*mesh)));
    config
}

#[test]
fn configured_anew_the_interface_has_the_routes_that_are_wanted_and_keeps_those_of_others() {
    let name = "configured_anew_the_interface_has_the_routes_that_are_wanted_and_keeps_those_of_others";
    isolated(name, || {
        let device = Device::create(&with_routes(&[1, 2])).unwrap();
        run("ip -6 route add fd77::/48 dev molt0");
        run("ip -6 route add fd12:1::/48 dev molt0 metric 7");
        run("ip -6 route add fd12:3::/48 dev molt0");
        run("ip link add other type veth peer name far");
        run("ip link set other up");
        run("ip -6 route add fd78::/48 dev other proto static");
        let wanted = with_routes(&[2, 3, 4]);
        Device::check_routes(&wanted).unwrap();
        device.configure(&wanted).unwrap();
        let theirs = ["fd12:1::/48", "fd12:3::/48", "fd77::/48"];
        let ours = ["fd00:6d6f:6c74::/48", "fd12:2::/48", "fd12:4::/48"];
        let mut all = [&theirs[..], &ours[..]].concat();
        all.sort_unstable();
        assert_eq!(routes(&device), all);
        assert!(run("ip -6 route show fd12:1::/48").contains("metric 7"));
        assert!(run("ip -6 route show dev other").contains("fd78::/48"));
        let before = run("ip -6 route show dev molt0");
        device.configure(&wanted).unwrap();
        assert_eq!(run("ip -6 route show dev molt0"), before);
        run("ip -6 route del fd12:2::/48 dev molt0");
        device.configure(&config()).unwrap();
        let kept = ["fd00:6d6f:6c74::/48", "fd12:1::/48", "fd12:3::/48", "fd77::/48"];
        assert_eq!(routes(&device), kept, "what an operator has added is the operator's");
    });
}

#[test]
fn a_route_that_another_interface_has_is_found_before_anything_is_changed() {
    isolated("a_route_that_another_interface_has_is_found_before_anything_is_changed", || {
        let wanted = with_routes(&[1]);
        Device::check_routes(&wanted).unwrap();
        let device = Device::create(&config()).unwrap();
        run("ip -6 route add unreachable fd12:1::/48");
        assert!(matches!(Device::check_routes(&wanted), Err(DeviceError::RouteTaken(_))));
        run("ip -6 route del unreachable fd12:1::/48");
        run("ip link add other type veth peer name far");
        run("ip link set other up");
        run("ip -6 route add fd12:1:0:1::/64 dev other");
        run("ip -6 route add fd12:1::/48 dev other metric 7");
        Device::check_routes(&wanted).unwrap();
        run("ip -6 route add fd12:1::/48 dev other");
        let taken = elsewhere(1);
        let refused = |result| assert!(matches!(result, Err(DeviceError::RouteTaken(it)) if it == taken));
        refused(Device::check_routes(&wanted));
        refused(device.configure(&wanted));
        assert_eq!(routes(&device), ["fd00:6d6f:6c74::/48"]);
    });
}

#[test]
fn what_a_dead_process_left_behind_is_swept() {
    isolated("what_a_dead_process_left_behind_is_swept", || {
        run("ip tuntap add dev molt0 mode tun multi_queue");
        run("ip -6 addr add fd00::dead/64 dev molt0");
        run("ip link set molt0 mtu 9000 up");
        let _device = Device::create(&config()).unwrap();
        assert!(!run("ip -6 addr show dev molt0").contains("dead"));
        assert!(run("ip link show molt0").contains("mtu 1280"));
    });
}

#[test]
fn without_the_capability_the_error_names_it() {
    let wrapper = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"];
    behind(&wrapper, "without_the_capability_the_error_names_it", || {
        let error = Device::create(&config()).unwrap_err();
        assert!(matches!(error, DeviceError::NotPermitted), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
    });
}

#[test]
fn a_machine_with_ipv6_switched_off_still_gets_an_interface() {
    isolated("a_machine_with_ipv6_switched_off_still_gets_an_interface", || {
        run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        let _device = Device::create(&config()).unwrap();
        assert!(run("ip -6 addr show dev molt0").contains(&HERE.to_string()));
    });
}

#[test]
fn a_name_that_linux_does_not_take_is_refused() {
    for name in ["", "sixteen-letters!", "a/b", "a b", "..", "eth0:1", "molt%d"] {
        let config = DeviceConfig { name: name.to_owned(), ..config() };
        assert!(matches!(Device::create(&config), Err(DeviceError::Name(_))), "{name}");
    }
}
