//! Tests with real interfaces run in a network namespace of their own, which vanishes with them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::env;
use std::net::Ipv6Addr;
use std::process::Command;

use molt_tun::DeviceConfig;

const MARK: &str = "MOLT_TEST_ISOLATED";

pub(crate) const HERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 1, 2, 3, 0x8004, 5);
pub(crate) const THERE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x6d6f, 0x6c74, 1, 2, 3, 0x8004, 6);

/// Runs `body`, which is the body of the test called `name`, in a process of its own behind `wrapper`.
pub(crate) fn behind(wrapper: &[&str], name: &str, body: fn()) {
    if env::var_os(MARK).is_some() {
        return body();
    }
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap_or_else(|error| panic!("{} (Debian: util-linux): {error}", wrapper[0]));
    assert!(
        output.status.success(),
        "{name} failed; it needs root.\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs `body` in a network namespace with nothing in it but the loopback interface.
pub(crate) fn isolated(name: &str, body: fn()) {
    behind(&["unshare", "--net", "--"], name, body);
}

/// Runs a command and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn config() -> DeviceConfig {
    DeviceConfig {
        name: "molt0".to_owned(),
        addresses: vec![HERE],
        lent: Vec::new(),
        routes: vec![molt_mesh::MeshPrefix::DEFAULT.prefix()],
        mtu: 1280,
    }
}
