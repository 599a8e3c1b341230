//! `[bgp]`: sessions with the borders of other meshes.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use molt_mesh::{MeshPrefix, Prefix};
use molt_routing::bgp;
use molt_routing::bgp::policy::{Community, Policy, PrefixMatch, Rule as BgpRule};
use serde::Deserialize;

use super::{from_text, list_from_text};

/// `[bgp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// AS number of this mesh, the same at all its borders; private ones are 64512 to 65534 and 4200000000 to 4294967294
    /// (RFC 6996). No default.
    #[serde(rename = "as")]
    pub asn: u32,
    /// Prefixes that are originated: aggregates of at most 64 bits, so that no other mesh learns of single nodes. Default:
    /// none.
    #[serde(default, deserialize_with = "list_from_text")]
    pub announce: Vec<Prefix>,
    /// `[[bgp.peer]]`
    #[serde(default, rename = "peer")]
    pub peers: Vec<Peer>,
}

/// `[[bgp.peer]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Address of the other border. There must be a way to it: a `[[peer]]` with `border`, or a route of the mesh.
    pub address: Ipv6Addr,
    /// Its AS number, another than ours.
    #[serde(rename = "as")]
    pub asn: u32,
    /// Hops to it at most, as other implementations count them (`ebgp-multihop`): BFD packets that have come farther are
    /// discarded. 1 to 255, default 2. BIRD sends them as if it were 192 hops away.
    #[serde(default = "two")]
    pub multihop: u8,
    /// Whether BFD watches the path, with the timers of `[bfd]`. Default true; without, a failure is detected after 90 s.
    #[serde(default = "yes")]
    pub bfd: bool,
    /// What it may tell us: the first rule that matches decides. Default: nothing (RFC 8212).
    #[serde(default)]
    pub import: Vec<Rule>,
    /// What it is told, likewise. Default: nothing.
    #[serde(default)]
    pub export: Vec<Rule>,
    /// Prefixes it may announce before the session is ended for five minutes, accepted or not. Default 1000, about 400 kB.
    #[serde(default = "thousand")]
    pub max_prefixes: u32,
}

/// A rule of `import` or `export`: all conditions must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Condition: exactly this prefix, or with `ge` or `le` those inside of it.
    #[serde(default, deserialize_with = "prefix_from_text")]
    pub prefix: Option<Prefix>,
    /// Shortest length. Default: that of `prefix`.
    pub ge: Option<u8>,
    /// Longest length. Default: that of `prefix`, or 128 if there is `ge`.
    pub le: Option<u8>,
    /// Condition: this AS is in the path.
    pub as_path_contains: Option<u32>,
    /// Condition: this AS originated the route.
    pub originated_by: Option<u32>,
    /// Condition: the route carries this community, `64512:100` or `4200000001:1:2`.
    #[serde(default, deserialize_with = "community_from_text")]
    pub community: Option<Community>,
    /// The verdict.
    pub action: Action,
    /// LOCAL_PREF it gets, on import: the higher wins. Default 100.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC it gets: the lower wins.
    pub med: Option<u32>,
    /// How often our AS is put in front of the path beyond what is due. Default 0.
    #[serde(default)]
    pub prepend: u8,
    /// Communities it gets.
    #[serde(default, deserialize_with = "communities_from_text")]
    pub add_community: Vec<Community>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The route passes.
    Accept,
    /// It does not.
    Reject,
}

impl Bgp {
    /// `mesh` and `external` are those of `[network]`.
    pub(super) fn check(&self, mesh: MeshPrefix, external: &[Prefix]) -> Result<(), String> {
        if self.asn == 0 {
            return Err("[bgp] as = 0 is no AS number (RFC 7607)".into());
        }
        if let Some(long) = self.announce.iter().find(|prefix| prefix.len() > 64) {
            return Err(format!("[bgp] announces {long}: only aggregates of at most 64 bits"));
        }
        let mut seen = BTreeSet::new();
        for peer in &self.peers {
            let address = peer.address;
            if !seen.insert(address) {
                return Err(format!("two [[bgp.peer]] have the address {address}"));
            }
            if peer.asn == self.asn || peer.asn == 0 {
                return Err(format!(
                    "[[bgp.peer]] {address} needs an AS number other than ours: borders of one mesh know each other's \
                     routes from OSPF"
                ));
            }
            if peer.multihop == 0 {
                return Err(format!("[[bgp.peer]] {address}: multihop is 1 to 255"));
            }
            if !mesh.contains(address) && !external.iter().any(|prefix| prefix.contains(address)) {
                return Err(format!(
                    "[[bgp.peer]] {address} is neither in the mesh nor in [network] external"
                ));
            }
            for rule in peer.import.iter().chain(&peer.export) {
                rule.check().map_err(|error| format!("[[bgp.peer]] {address}: {error}"))?;
            }
        }
        Ok(())
    }
}

impl Peer {
    /// For the speaker, and the BFD session: `timers` are those of `[bfd]`, `None` if BFD is off.
    #[must_use]
    pub fn config(&self, timers: Option<molt_bfd::Config>) -> (bgp::PeerConfig, Option<molt_bfd::Config>) {
        // RFC 5883 section 5: each router on the way takes one.
        let min_hop_limit = u8::MAX - (self.multihop - 1);
        let timers = timers.filter(|_| self.bfd).map(|timers| molt_bfd::Config { min_hop_limit, ..timers });
        let policy = |rules: &[Rule]| Policy(rules.iter().map(Rule::rule).collect());
        let config = bgp::PeerConfig {
            address: self.address,
            asn: self.asn,
            bfd: timers.is_some(),
            import: policy(&self.import),
            export: policy(&self.export),
            max_prefixes: self.max_prefixes,
        };
        (config, timers)
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let Some(prefix) = self.prefix else {
            return match (self.ge, self.le) {
                (None, None) => Ok(()),
                _ => Err("ge and le need a prefix".into()),
            };
        };
        let PrefixMatch { ge, le, .. } = self.range(prefix);
        if prefix.len() <= ge && ge <= le && le <= 128 {
            Ok(())
        } else {
            Err(format!("{prefix} ge {ge} le {le} matches nothing"))
        }
    }

    fn range(&self, within: Prefix) -> PrefixMatch {
        let ge = self.ge.unwrap_or(within.len());
        let le = self.le.unwrap_or(if self.ge.is_some() { 128 } else { within.len() });
        PrefixMatch { within, ge, le }
    }

    fn rule(&self) -> BgpRule {
        BgpRule {
            prefix: self.prefix.map(|prefix| self.range(prefix)),
            as_path_contains: self.as_path_contains,
            originated_by: self.originated_by,
            community: self.community,
            accept: self.action == Action::Accept,
            local_pref: self.local_pref,
            med: self.med,
            prepend: self.prepend,
            add_communities: self.add_community.clone(),
        }
    }
}

const fn two() -> u8 {
    2
}

const fn yes() -> bool {
    true
}

const fn thousand() -> u32 {
    1000
}

fn prefix_from_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Prefix>, D::Error> {
    from_text(deserializer).map(Some)
}

fn community_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Community>, D::Error> {
    from_text(deserializer).map(Some)
}

fn communities_from_text<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Community>, D::Error> {
    list_from_text(deserializer)
}

/// What `[[peer]] border` and `[network] external` ask of each other.
pub(super) fn check_outside(
    mesh: MeshPrefix,
    external: &[Prefix],
    borders: &[Ipv6Addr],
) -> Result<(), String> {
    let ours = mesh.prefix();
    if let Some(inside) = external.iter().find(|it| ours.covers(it) || it.covers(&ours)) {
        return Err(format!("[network] external {inside} overlaps with {mesh}, which is this mesh"));
    }
    let mut seen = BTreeSet::new();
    if let Some(again) = external.iter().find(|prefix| !seen.insert(**prefix)) {
        return Err(format!("[network] external names {again} twice"));
    }
    match borders.iter().find(|border| !external.iter().any(|prefix| prefix.contains(**border))) {
        Some(border) => Err(format!("[[peer]] border {border} is in no prefix of [network] external")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Config;

    const GOOD: &str = r#"
        [network]
        external = ["fd12:3456:789a::/48"]
        [bgp]
        as = 4200000001
        announce = ["fd00:6d6f:6c74::/48"]
        [[bgp.peer]]
        address = "fd12:3456:789a::1"
        as = 4200000002
        import = [{ prefix = "fd12:3456:789a::/48", le = 56, action = "accept", local_pref = 200 }]
        export = [{ prefix = "fd00:6d6f:6c74::/48", action = "accept", add_community = ["64512:1", "1:2:3"] }]
    "#;

    #[test]
    fn the_example_of_the_manual() {
        let bgp = Config::parse(GOOD).unwrap().bgp.unwrap();
        assert_eq!((bgp.asn, bgp.announce.len()), (4_200_000_001, 1));
        let timers = super::super::Bfd::default().session();
        let (peer, bfd) = bgp.peers[0].config(timers);
        let bfd = bfd.unwrap();
        assert_eq!(bfd.min_hop_limit, 254);
        assert_eq!(bfd.required_min_rx * u32::from(bfd.detect_mult), Duration::from_millis(300));
        assert!(peer.bfd && peer.max_prefixes == 1000);
        let prefix = peer.import.0[0].prefix.unwrap();
        assert_eq!((prefix.ge, prefix.le), (48, 56));
        assert_eq!(peer.export.0[0].add_communities.len(), 2);
        assert!(!bgp.peers[0].config(None).0.bfd);
    }

    /// Seen from the other mesh, which has a /48 of its own, all is the other way round.
    #[test]
    fn what_is_outside_depends_on_the_prefix_of_the_mesh() {
        let (ours, theirs) = ("fd00:6d6f:6c74::", "fd12:3456:789a::");
        let mirrored = GOOD.replace(ours, "X").replace(theirs, ours).replace('X', theirs);
        let error = Config::parse(&mirrored).unwrap_err();
        assert!(error.contains("overlaps with fd00:6d6f:6c74::/48"), "{error}");
        let network = format!("[network]\n        prefix = \"{theirs}/48\"");
        Config::parse(&mirrored.replace("[network]", &network)).unwrap();
    }

    #[test]
    fn without_rules_a_peer_has_no_policy() {
        let text = GOOD.lines().filter(|line| !line.contains("action")).collect::<Vec<_>>().join("\n");
        let (peer, _) = Config::parse(&text).unwrap().bgp.unwrap().peers[0].config(None);
        assert!(peer.import.0.is_empty() && peer.export.0.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, part) in [
            ("as = 4200000001", "as = 0", "no AS number"),
            ("as = 4200000001", "as = 4200000002", "other than ours"),
            ("[\"fd00:6d6f:6c74::/48\"]", "[\"fd00:6d6f:6c74::1/128\"]", "only aggregates"),
            ("\"fd12:3456:789a::1\"", "\"fd13::1\"", "neither in the mesh"),
            ("le = 56", "le = 40", "matches nothing"),
            ("le = 56", "le = 129", "matches nothing"),
            ("prefix = \"fd12:3456:789a::/48\", ", "", "need a prefix"),
            ("\"64512:1\"", "\"x\"", "not a community"),
            ("action = \"accept\", local", "action = \"permit\", local", "unknown variant"),
            ("external = [\"fd12:3456:789a::/48\"]", "external = [\"fd00::/8\"]", "overlaps"),
            ("external = [", "external = [\"fd12:3456:789a::/48\", ", "twice"),
            ("address = ", "multihop = 0\naddress = ", "1 to 255"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Config::parse(&GOOD.replacen(from, to, 1)).expect_err(to);
            assert!(error.contains(part), "{to:?} says {error:?}, which lacks {part:?}");
        }
    }
}
