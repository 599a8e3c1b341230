//! Stock routers as the border of another mesh: BGP, no OSPF.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use molt_mesh::{MeshPrefix, Prefix};
use serde_json::Value;

use crate::netns::Namespace;

use super::{Bird, Frr, RouterConfig};

/// AS number of the mesh of `meshd`.
pub const OUR_AS: u32 = 4_200_000_001;
/// AS number of the other mesh.
pub const OTHER_AS: u32 = 4_200_000_002;
/// The other mesh: `fd12:3456:789a::/48`.
pub const OTHER_MESH: MeshPrefix = MeshPrefix::from_global_id([0x12, 0x34, 0x56, 0x78, 0x9a]);

/// What a border of the other mesh is told.
#[derive(Debug, Clone)]
pub struct Border {
    /// The `meshd` it talks to.
    pub peer: Ipv6Addr,
    /// The interface that leads there.
    pub interface: String,
    /// What it announces.
    pub announce: Vec<Prefix>,
}

/// An address of the other mesh.
#[must_use]
pub const fn other_address(subnet: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd12, 0x3456, 0x789a, subnet, 0, 0, 0, host)
}

/// The way to the other border, which no routing protocol tells.
pub(super) fn route_to_peer(namespace: &Namespace, config: &RouterConfig) -> Result<()> {
    let Some(border) = &config.border else { return Ok(()) };
    let (peer, interface, address) = (border.peer, &border.interface, config.address);
    namespace.ip(&format!("-6 route add {peer}/128 dev {interface} src {address}")).map(drop)
}

/// The configuration of `bgpd`.
pub(super) fn bgpd(config: &RouterConfig, border: &Border) -> Result<String> {
    let (peer, address) = (border.peer, config.address);
    let mut text = String::new();
    writeln!(text, "router bgp {OTHER_AS}\n bgp router-id {}", config.router_id)?;
    writeln!(text, " no bgp default ipv4-unicast\n no bgp network import-check")?;
    // When we dial FRR, it takes the next hop for one that must be on its own link until that connection has become the session
    // (FRRouting/frr#12025). When its own becomes the session, as its identifier may have it, all routes stay invalid.
    text.push_str(" bgp disable-ebgp-connected-route-check\n");
    writeln!(text, " neighbor {peer} remote-as {OUR_AS}\n neighbor {peer} ebgp-multihop 2")?;
    writeln!(text, " neighbor {peer} update-source {address}")?;
    // Soon enough for a test that ends the session.
    writeln!(text, " neighbor {peer} timers connect 2")?;
    if config.bfd {
        writeln!(text, " neighbor {peer} bfd\n neighbor {peer} bfd profile mesh")?;
    }
    writeln!(text, " address-family ipv6 unicast")?;
    for prefix in &border.announce {
        writeln!(text, "  network {prefix}")?;
    }
    writeln!(text, "  neighbor {peer} activate\n  neighbor {peer} route-map ALL in")?;
    writeln!(text, "  neighbor {peer} route-map ALL out\n exit-address-family")?;
    writeln!(text, "route-map ALL permit 10")?;
    Ok(text)
}

/// The part of `bird.conf` in place of OSPF.
pub(super) fn bird_conf(config: &RouterConfig, border: &Border) -> Result<String> {
    let (peer, interface, address) = (border.peer, &border.interface, config.address);
    let mut text = String::new();
    // BIRD resolves the next hop of a route through its own table.
    writeln!(text, "protocol static {{\n  ipv6;\n  route {peer}/128 via \"{interface}\";")?;
    for prefix in &border.announce {
        writeln!(text, "  route {prefix} blackhole;")?;
    }
    let bfd = if config.bfd { "on" } else { "off" };
    writeln!(text, "}}\nprotocol bgp border {{\n  local {address} as {OTHER_AS};\n  multihop 2;")?;
    writeln!(text, "  neighbor {peer} as {OUR_AS};\n  bfd {bfd};\n  connect retry time 2;")?;
    writeln!(text, "  error wait time 2, 10;\n  connect delay time 1;")?;
    writeln!(text, "  ipv6 {{ import all; export where net ~ [ {OTHER_MESH}+ ]; }};\n}}")?;
    Ok(text)
}

impl Frr {
    /// Whether the BGP session is Established.
    ///
    /// # Errors
    /// If FRR does not answer as expected.
    pub fn bgp_is_up(&self, peer: Ipv6Addr) -> Result<bool> {
        let answer = self.vtysh_json("show bgp ipv6 unicast summary json")?;
        let state = answer["peers"][peer.to_string()]["state"].as_str();
        Ok(state.with_context(|| format!("no state in {answer}"))? == "Established")
    }

    /// The AS path of the best route to our mesh, if there is one.
    ///
    /// # Errors
    /// If FRR does not answer as expected.
    pub fn bgp_path_to_us(&self) -> Result<Option<String>> {
        let answer = self.vtysh_json(&format!("show bgp ipv6 unicast {} json", MeshPrefix::DEFAULT))?;
        let paths = answer["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
        let best = paths.iter().find(|path| path["bestpath"]["overall"] == Value::Bool(true));
        Ok(best.and_then(|path| path["aspath"]["string"].as_str()).map(str::to_owned))
    }
}

impl Bird {
    /// Whether the BGP session is Established.
    ///
    /// # Errors
    /// If BIRD does not answer.
    pub fn bgp_is_up(&self) -> Result<bool> {
        Ok(self.birdc("show protocols border")?.contains("Established"))
    }

    /// The AS path of the route to our mesh, if there is one.
    ///
    /// # Errors
    /// If BIRD does not answer.
    pub fn bgp_path_to_us(&self) -> Result<Option<String>> {
        let text = self.birdc(&format!("show route all protocol border for {}", MeshPrefix::DEFAULT))?;
        let path = text.lines().find_map(|line| line.trim().strip_prefix("BGP.as_path: "));
        Ok(path.map(str::to_owned))
    }
}
