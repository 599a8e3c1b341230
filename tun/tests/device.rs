//! The TUN device, for real. Needs root and iproute2.

mod common;

use common::{HERE, behind, config, isolated, run};
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
