//! The configuration file: TOML, unknown keys refused, every key with its meaning, unit, default and consequence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use molt_mesh::record::Delegation;
use molt_mesh::{IdentityKey, MeshAddr, MeshPrefix, NodePublic, Prefix, RouterId, TrustClass};
use molt_routing::ospf;
use molt_routing::ospf::origin::{Announcer, Right};
use serde::{Deserialize, Deserializer};

pub mod bgp;
#[cfg(not(feature = "chain"))]
mod chain;
mod external;

pub use bgp::Bgp;
#[cfg(not(feature = "chain"))]
pub use chain::ChainConfig;
pub use external::External;
#[cfg(feature = "chain")]
pub use molt_contracts::chain::ChainConfig;

/// Everything an operator can say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[node]`: who this is.
    pub node: Node,
    /// `[network]`: rules every member keeps.
    pub network: Network,
    /// `[underlay]`: how tunnels travel.
    pub underlay: Underlay,
    /// `[tun]`: the interface of this host.
    pub tun: Tun,
    /// `[ospf]`: routing.
    pub ospf: Ospf,
    /// `[bfd]`: failure detection.
    pub bfd: Bfd,
    /// `[bgp]`: sessions with other meshes. Default: none.
    pub bgp: Option<Bgp>,
    /// `[chain]`: stakes and payments, for `molt chain`. Default: none; the mesh needs no chain.
    pub chain: Option<ChainConfig>,
    /// `[[delegation]]`: addresses that others lend to this node.
    #[serde(rename = "delegation")]
    pub delegations: Vec<Delegated>,
    /// `[[origin]]`: addresses the operator vouches for.
    #[serde(rename = "origin")]
    pub origins: Vec<Origin>,
    /// `[[peer]]`: neighbours, each with its key.
    #[serde(rename = "peer")]
    pub peers: Vec<Peer>,
}

/// `[node]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name other nodes may use instead of the address: a DNS label of 1 to 63 characters. Default: none.
    pub name: Option<Name>,
}

/// `[network]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The /48 of this mesh, inside `fd00::/8` (RFC 4193), the same at all nodes: addresses of another one are refused.
    /// Default `fd00:6d6f:6c74::/48`. A mesh that is ever to meet another one needs its own, which `molt id prefix` draws;
    /// every address changes with it, so that it takes effect when the daemon starts, not when it restarts.
    #[serde(deserialize_with = "from_text")]
    pub prefix: MeshPrefix,
    /// Leading zero bits that the proof-of-work hash of every identity key has, 0 to 32. Default 0. `molt id new
    /// --pow-bits` makes such a key; each bit doubles the time.
    pub pow_bits: u32,
    /// Prefixes of other meshes that border routers may announce into this one, and all inside of them, so they should be no
    /// wider than needed. Any member may announce what is a plain text here, and `{ prefix = "..", by = ["..", ".."] }` those
    /// with these identity keys (`molt id show`); of two that overlap the narrower counts. A border needs the same entries: it
    /// announces nothing that it would not take from another node. Default: none, and there is no way out of the mesh.
    pub external: Vec<External>,
}

/// `[underlay]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Underlay {
    /// Address and UDP port to listen on. Default `[::]:51820`, which is IPv6 and IPv4.
    pub listen: SocketAddr,
}

impl Default for Underlay {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0u16; 8], molt_mesh::port::UNDERLAY)) }
    }
}

/// `[tun]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tun {
    /// Name of the interface, 1 to 15 characters. Default `molt0`.
    pub name: String,
}

impl Default for Tun {
    fn default() -> Self {
        Self { name: "molt0".into() }
    }
}

/// `[ospf]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ospf {
    /// HelloInterval in seconds, 1 to 65535 (RFC 2328 appendix C.3). Default 10.
    pub hello_s: u16,
    /// RouterDeadInterval in seconds, more than `hello_s`. Default 40. It counts only where BFD does not run.
    pub dead_s: u16,
    /// Cost of a link that does not set its own, 1 to 65535. Default 10.
    pub cost: u16,
    /// Neighbours this node wants at most, 1 to 1000, stock routers not counted. Default 64. Flooding, BFD and the Router-LSA
    /// grow with their number. Further tunnels are spares: one becomes a neighbour when another is gone, or when no route
    /// leads to its end. A hub that all others depend on has more of them than wanted.
    pub max_neighbors: u16,
    /// Whether a copy of an LSA is held back for a quarter of a second while others send it to the same neighbour. Default
    /// true; without, a mesh of degree 32 floods several times as much.
    pub flood_reduction: bool,
}

impl Default for Ospf {
    fn default() -> Self {
        Self { hello_s: 10, dead_s: 40, cost: 10, max_neighbors: 64, flood_reduction: true }
    }
}

/// `[bfd]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bfd {
    /// DesiredMinTxInterval in milliseconds, 10 to 60000 (RFC 5880 section 6.8.1). Default 100.
    pub tx_ms: u32,
    /// RequiredMinRxInterval in milliseconds, 10 to 60000. Default 100.
    pub rx_ms: u32,
    /// DetectMult: packets that may be lost before a neighbour is declared down. Default 3, so that a failure is
    /// detected 300 ms after the last packet.
    pub multiplier: u8,
    /// Whether BFD is used at all. Default true; without, failures are detected after `dead_s`.
    pub enabled: bool,
}

impl Default for Bfd {
    fn default() -> Self {
        Self { tx_ms: 100, rx_ms: 100, multiplier: 3, enabled: true }
    }
}

impl Bfd {
    /// The session parameters, or `None` if BFD is off.
    #[must_use]
    pub fn session(&self) -> Option<molt_bfd::Config> {
        self.enabled.then(|| molt_bfd::Config {
            desired_min_tx: Duration::from_millis(self.tx_ms.into()),
            required_min_rx: Duration::from_millis(self.rx_ms.into()),
            detect_mult: self.multiplier,
            ..molt_bfd::Config::default()
        })
    }
}

/// `[[origin]]`
///
/// A node proves its own address with its key and needs no entry. A claimed UUID, an anycast address and a stock router that
/// is not a peer of this node do; without one their addresses are refused, see `molt routes` and `molt ospf events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OriginText")]
pub struct Origin(pub Right);

/// `[[origin]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginText {
    /// What may be announced, inside `[network] prefix`. With `key` it is a single address (`/128`).
    #[serde(deserialize_with = "from_text")]
    prefix: Prefix,
    /// The identity key (`molt id show`) of the member that may announce it, or hand it out if it is an anycast address.
    #[serde(default, deserialize_with = "some_from_text")]
    key: Option<IdentityKey>,
    /// The router id of the stock router that may announce it. Nothing proves who has a router id: it is the word of every
    /// member against the operator's.
    #[serde(default, deserialize_with = "some_from_text")]
    router: Option<RouterId>,
}

impl TryFrom<OriginText> for Origin {
    type Error = String;

    fn try_from(text: OriginText) -> Result<Self, String> {
        let OriginText { prefix, key, router } = text;
        let by = match (key, router) {
            (Some(key), None) => Announcer::Key(key),
            (None, Some(router)) => Announcer::Router(router),
            _ => return Err(format!("[[origin]] {prefix} needs either key or router")),
        };
        let address = (prefix.len() == 128).then(|| MeshAddr::new(prefix.addr())).flatten();
        let class = address.map(MeshAddr::class);
        let vouchable = matches!(class, Some(TrustClass::Claimed | TrustClass::Infrastructure));
        if key.is_some() && !vouchable {
            return Err(format!(
                "[[origin]] {prefix} with key is not a claimed or an anycast address: others follow from keys"
            ));
        }
        Ok(Self(Right { prefix, by }))
    }
}

/// `[[delegation]]`
///
/// The address is then one of this host's, which answers at it, and announced into the mesh. It takes effect when the daemon
/// starts or restarts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegated {
    /// What the owner's `molt id delegate` printed. An anycast address needs an `[[origin]]` with the key of its owner at every
    /// node that is to use it, this one included.
    #[serde(deserialize_with = "from_text")]
    pub grant: Delegation,
}

/// `[[peer]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// The neighbour's WireGuard public key (base64, as `molt id show` and `wg pubkey` print it).
    #[serde(deserialize_with = "from_text")]
    pub wireguard_key: NodePublic,
    /// A 32-byte secret both ends share, mixed into the handshake. Default: none.
    #[serde(default, deserialize_with = "secret_from_text")]
    pub preshared_key: Option<Preshared>,
    /// `address:port` or `name:port` to reach it. Default: none, it must come to us.
    #[serde(default)]
    pub endpoint: Option<Endpoint>,
    /// Cost of the link, 1 to 65535. Default: that of `[ospf]`.
    #[serde(default)]
    pub cost: Option<u16>,
    /// Whether it is a plain WireGuard and OSPFv3 router and no meshd. Default false.
    #[serde(default)]
    pub stock: bool,
    /// Prefixes inside `[network] prefix` that a stock peer may announce. Default: none.
    #[serde(default, deserialize_with = "list_from_text")]
    pub allow: Vec<Prefix>,
    /// For a border router of another mesh: its address, for BGP. No OSPF is spoken on the tunnel, and what comes out of it
    /// has no source in this mesh. Default: none, a neighbour in this mesh.
    #[serde(default)]
    pub border: Option<Ipv6Addr>,
}

/// A preshared key; not printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Preshared(pub [u8; 32]);

impl fmt::Debug for Preshared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preshared(..)")
    }
}

/// Where to reach a peer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// A literal address.
    Address(SocketAddr),
    /// A host name and a port, resolved when needed.
    Name(String),
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(format!("endpoint {text:?} has port 0"));
            }
            return Ok(Self::Address(address));
        }
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let host_ok = !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            host_ok && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if valid {
            Ok(Self::Name(text))
        } else {
            Err(format!("endpoint {text:?} is not ADDRESS:PORT, [IPV6]:PORT or NAME:PORT"))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A node name: one DNS label (RFC 1035 section 2.3.1, digits allowed in front by RFC 1123), in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// The label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let label = text.to_ascii_lowercase();
        let valid = (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-');
        if valid {
            Ok(Self(label))
        } else {
            Err(format!("name {text:?} is not a DNS label: 1 to 63 letters, digits and inner hyphens"))
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Unreadable {
        /// Its path.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not TOML, or a key or value is wrong.
    #[error("configuration {path}: {message}")]
    Invalid {
        /// Its path.
        path: String,
        /// Where, and what is wrong.
        message: String,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// With the path, the line and what would be right.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Invalid { path: shown, message })
    }

    /// Reads text.
    ///
    /// # Errors
    /// What is wrong, with the line where it is known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        config.check()?;
        Ok(config)
    }

    /// What the operator vouches for.
    #[must_use]
    pub fn rights(&self) -> Vec<Right> {
        self.origins.iter().map(|origin| origin.0).collect()
    }

    /// What borders may announce into this mesh.
    #[must_use]
    pub fn externals(&self) -> Vec<ospf::External> {
        self.network.external.iter().map(|external| external.0.clone()).collect()
    }

    /// The prefixes of it.
    pub fn outside(&self) -> impl Iterator<Item = Prefix> {
        self.network.external.iter().map(|external| external.0.prefix)
    }

    /// The addresses others lend to this node.
    #[must_use]
    pub fn lent(&self) -> Vec<Ipv6Addr> {
        self.delegations.iter().map(|delegation| delegation.grant.grant().address.ip()).collect()
    }

    fn check(&self) -> Result<(), String> {
        let mesh = self.network.prefix;
        let name = &self.tun.name;
        if name.is_empty()
            || name.len() > 15
            || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        {
            return Err(format!("[tun] name {name:?} is not an interface name of 1 to 15 characters"));
        }
        if self.network.pow_bits > 32 {
            return Err(format!("[network] pow_bits = {} is not 0 to 32", self.network.pow_bits));
        }
        let Ospf { hello_s, dead_s, cost, max_neighbors, .. } = self.ospf;
        if hello_s == 0 || dead_s <= hello_s {
            return Err(format!(
                "[ospf] needs 0 < hello_s < dead_s, but hello_s = {hello_s} and dead_s = {dead_s}"
            ));
        }
        if !(1..=1_000).contains(&max_neighbors) {
            return Err(format!("[ospf] max_neighbors = {max_neighbors} is not 1 to 1000"));
        }
        if cost == 0 || self.peers.iter().any(|peer| peer.cost == Some(0)) {
            return Err("cost must be 1 to 65535".into());
        }
        let Bfd { tx_ms, rx_ms, multiplier, .. } = self.bfd;
        for (key, value) in [("tx_ms", tx_ms), ("rx_ms", rx_ms)] {
            if !(10..=60_000).contains(&value) {
                return Err(format!("[bfd] {key} = {value} is not 10 to 60000"));
            }
        }
        if multiplier == 0 {
            return Err("[bfd] multiplier must be at least 1".into());
        }
        self.check_inside()?;
        let mut lent = BTreeSet::new();
        if let Some(again) = self.lent().into_iter().find(|address| !lent.insert(*address)) {
            return Err(format!("two [[delegation]] are for {again}"));
        }
        let mut seen = BTreeMap::new();
        for (position, peer) in self.peers.iter().enumerate() {
            let number = position + 1;
            if let Some(earlier) = seen.insert(peer.wireguard_key, number) {
                return Err(format!("[[peer]] {earlier} and {number} have the same wireguard_key"));
            }
            if !peer.allow.is_empty() && !peer.stock {
                return Err(format!(
                    "[[peer]] {number} has allow but not stock = true: a meshd proves its address itself"
                ));
            }
            if peer.stock && peer.border.is_some() {
                return Err(format!(
                    "[[peer]] {number} cannot be stock and border: one speaks OSPF, the other does not"
                ));
            }
            if let Some(outside) = peer.allow.iter().find(|prefix| !mesh.prefix().covers(prefix)) {
                return Err(format!("[[peer]] {number} allows {outside}, which is outside {mesh}"));
            }
            if let Some(Endpoint::Address(SocketAddr::V6(address))) = &peer.endpoint
                && mesh.contains(*address.ip())
            {
                return Err(format!(
                    "[[peer]] {number} endpoint {address} is inside the mesh: a tunnel cannot run through itself"
                ));
            }
        }
        let borders: Vec<Ipv6Addr> = self.peers.iter().filter_map(|peer| peer.border).collect();
        let outside: Vec<Prefix> = self.outside().collect();
        bgp::check_outside(mesh, &outside, &borders)?;
        if let Some(bgp) = &self.bgp {
            bgp.check(mesh, &outside)?;
        }
        if self.peers.len() > molt_tun::MAX_LINKS as usize {
            return Err(format!("more than {} peers", molt_tun::MAX_LINKS));
        }
        Ok(())
    }

    /// What others vouch for or lend is of this mesh.
    fn check_inside(&self) -> Result<(), String> {
        let mesh = self.network.prefix;
        let inside = |prefix: &Prefix| mesh.prefix().covers(prefix) && prefix.len() > mesh.prefix().len();
        if let Some(Origin(right)) = self.origins.iter().find(|origin| !inside(&origin.0.prefix)) {
            return Err(format!("[[origin]] {} is not inside {mesh}", right.prefix));
        }
        if let Some(elsewhere) = self.lent().into_iter().find(|address| !mesh.contains(*address)) {
            return Err(format!("[[delegation]] of {elsewhere} is of another mesh: this one is {mesh}"));
        }
        Ok(())
    }
}

fn from_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn some_from_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    from_text(deserializer).map(Some)
}

fn secret_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Preshared>, D::Error> {
    from_text::<D, NodePublic>(deserializer).map(|key| Some(Preshared(*key.as_bytes())))
}

fn list_from_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: std::str::FromStr<Err: fmt::Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";

    #[test]
    fn an_empty_file_is_a_node_that_waits() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.underlay.listen, "[::]:51820".parse().unwrap());
        assert_eq!((config.tun.name.as_str(), config.peers.len()), ("molt0", 0));
        assert_eq!((config.ospf.hello_s, config.ospf.dead_s, config.ospf.cost), (10, 40, 10));
        let session = config.bfd.session().unwrap();
        assert_eq!((session.desired_min_tx, session.detect_mult), (Duration::from_millis(100), 3));
        assert!(Config::parse("[bfd]\nenabled = false").unwrap().bfd.session().is_none());
    }

    #[test]
    fn the_example_of_the_manual() {
        let config = Config::parse(&format!(
            r#"
            [node]
            name = "Alpha"
            [underlay]
            listen = "[::]:51820"
            [tun]
            name = "molt0"
            [[peer]]
            wireguard_key = "{KEY}"
            endpoint = "192.0.2.7:51820"
            cost = 10
            stock = true
            allow = ["fd00:6d6f:6c74:bbbb::1/128"]
            "#
        ))
        .unwrap();
        assert_eq!(config.node.name.unwrap().as_str(), "alpha");
        let peer = &config.peers[0];
        assert!(peer.stock && peer.allow.len() == 1 && peer.cost == Some(10));
        assert_eq!(peer.endpoint, Some(Endpoint::Address("192.0.2.7:51820".parse().unwrap())));
    }

    #[test]
    fn an_origin_is_vouched_for_by_key_or_by_router() {
        let config = Config::parse(&format!(
            r#"
            [[origin]]
            prefix = "fd00:6d6f:6c74:daa4:6e88:46c5:4af7:9268/128"
            key = "{KEY}"
            [[origin]]
            prefix = "fd00:6d6f:6c74:bbbb::/64"
            router = "10.255.0.1"
            "#
        ))
        .unwrap();
        let by: Vec<_> = config.origins.iter().map(|origin| origin.0.by).collect();
        assert_eq!(by, [Announcer::Key(KEY.parse().unwrap()), Announcer::Router(RouterId(0x0aff_0001))]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let peer = |rest: &str| format!("[[peer]]\nwireguard_key = \"{KEY}\"\n{rest}");
        let twice = peer("") + &peer("");
        let origin = |rest: &str| format!("[[origin]]\nprefix = \"fd00:6d6f:6c74:{rest}");
        let by_key = format!("key = \"{KEY}\"");
        for (text, part) in [
            ("[node]\nnmae = \"x\"", "unknown field `nmae`"),
            ("[nod]", "unknown field `nod`"),
            ("[node]\nname = \"a.b\"", "not a DNS label"),
            ("[underlay]\nlisten = \"51820\"", "line 2"),
            ("[tun]\nname = \"averyveryverylongname\"", "1 to 15 characters"),
            ("[ospf]\nhello_s = 10\ndead_s = 10", "hello_s < dead_s"),
            ("[ospf]\ncost = 0", "1 to 65535"),
            ("[ospf]\nmax_neighbors = 0", "1 to 1000"),
            ("[bfd]\ntx_ms = 5", "10 to 60000"),
            ("[bfd]\nmultiplier = 0", "at least 1"),
            ("[network]\npow_bits = 40", "0 to 32"),
            (&origin(":1/128\""), "either key or router"),
            (&origin(&format!(":1/128\"\nrouter = \"10.255.0.1\"\n{by_key}")), "either key or router"),
            (&origin(&format!("1:2:3:8000:1/128\"\n{by_key}")), "follow from keys"),
            (&origin(&format!("1::/64\"\n{by_key}")), "follow from keys"),
            ("[[origin]]\nprefix = \"::/0\"\nrouter = \"10.255.0.1\"", "not inside"),
            (&origin(":/48\"\nrouter = \"10.255.0.1\""), "not inside"),
            ("[[peer]]", "wireguard_key"),
            ("[[peer]]\nwireguard_key = \"abc\"", "wg pubkey"),
            (twice.as_str(), "same wireguard_key"),
            (&peer("endpoint = \"nowhere\""), "NAME:PORT"),
            (&peer("endpoint = \"192.0.2.1:0\""), "port 0"),
            (&peer("endpoint = \"[fd00:6d6f:6c74::1]:51820\""), "through itself"),
            (&peer("allow = [\"fd00:6d6f:6c74::1/128\"]"), "not stock"),
            (&peer("stock = true\nallow = [\"2001:db8::/32\"]"), "outside"),
            (&peer("stock = true\nallow = [\"fd00:6d6f:6c74::1/64\"]"), "not an IPv6 prefix"),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert!(error.contains(part), "{text:?} says {error:?}, which lacks {part:?}");
        }
    }

    #[test]
    fn rfc4193_a_mesh_may_have_a_48_of_its_own_and_nothing_else() {
        assert_eq!(Config::parse("").unwrap().network.prefix, MeshPrefix::DEFAULT);
        let config = Config::parse("[network]\nprefix = \"fd12:3456:789a::/48\"").unwrap();
        assert_eq!(config.network.prefix.to_string(), "fd12:3456:789a::/48");
        for wrong in
            ["fd12:3456:789a::/47", "fd12:3456:789a:1::/64", "fc00:1::/48", "2001:db8::/48", "10.0.0.0/8"]
        {
            let error = Config::parse(&format!("[network]\nprefix = \"{wrong}\"")).expect_err(wrong);
            assert!(error.contains("line 2") && error.contains("a /48 inside fd00::/8"), "{error}");
        }
    }

    /// Each is refused for the mesh of its neighbour, and taken in its own.
    #[test]
    fn what_is_of_another_mesh_is_refused_with_both_meshes_named() {
        let owner = molt_mesh::Seed::from_bytes([1; 32]).identity();
        let holder = *owner.key();
        let here: MeshPrefix = "fd12:3456:789a::/48".parse().unwrap();
        let grant = molt_mesh::record::Grant {
            owner: holder,
            index: 7,
            address: here.container(&holder, 7),
            holder,
            seq: 1,
            expiry: 2,
        };
        let network = |prefix: &str| format!("[network]\nprefix = \"{prefix}\"\n");
        for (rest, part) in [
            (format!("[[delegation]]\ngrant = \"{}\"", grant.sign(&owner).unwrap()), "of another mesh"),
            ("[[origin]]\nprefix = \"fd12:3456:789a:1::/64\"\nrouter = \"10.255.0.1\"".into(), "not inside"),
            (
                format!(
                    "[[peer]]\nwireguard_key = \"{KEY}\"\nstock = true\nallow = [\"fd12:3456:789a::1/128\"]"
                ),
                "outside",
            ),
        ] {
            Config::parse(&(network("fd12:3456:789a::/48") + &rest)).unwrap();
            let error = Config::parse(&rest).unwrap_err();
            assert!(error.contains(part) && error.contains("fd00:6d6f:6c74::/48"), "{error}");
            assert!(error.contains("fd12:3456:789a:"), "{error}");
        }
        let endpoint =
            format!("[[peer]]\nwireguard_key = \"{KEY}\"\nendpoint = \"[fd12:3456:789a::1]:51820\"");
        Config::parse(&endpoint).unwrap();
        let error = Config::parse(&(network("fd12:3456:789a::/48") + &endpoint)).unwrap_err();
        assert!(error.contains("through itself"), "{error}");
    }

    /// Nobody is to believe that his stake is looked at when it is not.
    #[test]
    fn the_chain_is_configured_where_it_is_built_in_and_refused_where_it_is_not() {
        let table = format!(
            "[chain]\nrpc = [\"https://rpc.example.org\"]\nchain_id = 84532\nnetwork = \"{KEY}\"\n\
             deployment = \"deployments/84532.json\""
        );
        let config = Config::parse(&table);
        if cfg!(feature = "chain") {
            assert!(config.unwrap().chain.is_some());
        } else {
            let error = config.unwrap_err();
            assert!(error.contains("--features chain"), "{error}");
        }
        assert!(Config::parse("").unwrap().chain.is_none());
    }

    #[test]
    fn names_and_literals_are_endpoints() {
        for good in ["example.org:51820", "192.0.2.1:1", "[2001:db8::1]:51820", "a-b_c.d:9"] {
            assert_eq!(Endpoint::try_from(good.to_owned()).unwrap().to_string(), good);
        }
        for bad in ["", ":1", "a:", "a:0", "a:99999", "a b:1", "2001:db8::1:5x"] {
            assert!(Endpoint::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }
}
