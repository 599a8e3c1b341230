//! Policy: which routes come in and go out, and with which attributes.
//!
//! A list of rules; the first whose conditions all hold decides. Without a rule that accepts, nothing passes, in either
//! direction (RFC 8212).

use std::fmt;
use std::str::FromStr;

use molt_mesh::Prefix;

use super::path::{LargeCommunity, Path};

/// Rules in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy(pub Vec<Rule>);

/// Conditions that must all hold, a verdict, and what it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The prefix of the route.
    pub prefix: Option<PrefixMatch>,
    /// An AS anywhere in the path.
    pub as_path_contains: Option<u32>,
    /// The AS that originated the route.
    pub originated_by: Option<u32>,
    /// A community it carries.
    pub community: Option<Community>,
    /// Whether the route passes.
    pub accept: bool,
    /// LOCAL_PREF it gets; of import only, because it is not sent to another AS.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC it gets.
    pub med: Option<u32>,
    /// How often our AS is put in front, on export beyond the one time that is due.
    pub prepend: u8,
    /// Communities it gets beside those it has.
    pub add_communities: Vec<Community>,
}

/// Prefixes inside of one, by their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixMatch {
    /// Covers what is meant.
    pub within: Prefix,
    /// Shortest length.
    pub ge: u8,
    /// Longest length.
    pub le: u8,
}

/// A community of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997: `64512:100`.
    Plain(u32),
    /// RFC 8092: `4200000001:1:2`.
    Large(LargeCommunity),
}

impl Policy {
    /// The attributes the route passes with, or `None` if it does not pass. `asn` is ours.
    #[must_use]
    pub fn apply(&self, prefix: &Prefix, path: &Path, asn: u32) -> Option<Path> {
        let rule = self.0.iter().find(|rule| rule.matches(prefix, path)).filter(|rule| rule.accept)?;
        let mut path = path.clone();
        path.local_pref = rule.local_pref.or(path.local_pref);
        path.med = rule.med.or(path.med);
        path.as_path.prepend(asn, rule.prepend.into());
        for community in &rule.add_communities {
            match community {
                Community::Plain(plain) => path.communities.push(*plain),
                Community::Large(large) => path.large_communities.push(*large),
            }
        }
        path.communities.sort_unstable();
        path.communities.dedup();
        path.large_communities.sort_unstable();
        path.large_communities.dedup();
        Some(path)
    }
}

impl Rule {
    /// Accepts every route as it is.
    pub const ACCEPT: Self = Self {
        prefix: None,
        as_path_contains: None,
        originated_by: None,
        community: None,
        accept: true,
        local_pref: None,
        med: None,
        prepend: 0,
        add_communities: Vec::new(),
    };

    fn matches(&self, prefix: &Prefix, path: &Path) -> bool {
        self.prefix.is_none_or(|it| it.matches(prefix))
            && self.as_path_contains.is_none_or(|asn| path.as_path.contains(asn))
            && self.originated_by.is_none_or(|asn| path.as_path.origin() == Some(asn))
            && self.community.is_none_or(|community| match community {
                Community::Plain(plain) => path.communities.contains(&plain),
                Community::Large(large) => path.large_communities.contains(&large),
            })
    }
}

impl PrefixMatch {
    /// Whether a prefix is meant.
    #[must_use]
    pub fn matches(&self, prefix: &Prefix) -> bool {
        self.within.covers(prefix) && (self.ge..=self.le).contains(&prefix.len())
    }
}

/// The text is not a community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a community: expected two numbers up to 65535, like 64512:100, or three, like 4200000001:1:2")]
pub struct InvalidCommunity;

impl FromStr for Community {
    type Err = InvalidCommunity;

    fn from_str(text: &str) -> Result<Self, InvalidCommunity> {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([asn @ 0..=0xffff, value @ 0..=0xffff]) => Ok(Self::Plain(asn << 16 | value)),
            Ok([asn, first, second]) => Ok(Self::Large([*asn, *first, *second])),
            _ => Err(InvalidCommunity),
        }
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(plain) => write!(f, "{}:{}", plain >> 16, plain & 0xffff),
            Self::Large([asn, first, second]) => write!(f, "{asn}:{first}:{second}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::super::path::{AsPath, Segment};
    use super::*;

    fn path() -> Path {
        let as_path = AsPath(vec![Segment::Sequence(vec![10, 20, 30])]);
        Path {
            as_path,
            communities: vec![5],
            large_communities: vec![[1, 2, 3]],
            ..Path::local(Ipv6Addr::LOCALHOST)
        }
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn rfc8212_without_a_rule_nothing_passes() {
        assert_eq!(Policy::default().apply(&prefix("fd12::/48"), &path(), 1), None);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let reject = Rule { accept: false, ..Rule::ACCEPT };
        let policy = |rules: &[Rule]| Policy(rules.to_vec()).apply(&prefix("fd12::/48"), &path(), 1);
        assert!(policy(&[Rule::ACCEPT, reject.clone()]).is_some());
        assert!(policy(&[reject.clone(), Rule::ACCEPT]).is_none());
        let elsewhere = PrefixMatch { within: prefix("fd13::/16"), ge: 16, le: 128 };
        assert!(policy(&[Rule { prefix: Some(elsewhere), ..reject }, Rule::ACCEPT]).is_some());
    }

    #[test]
    fn each_condition_holds_or_does_not() {
        let within = |text, ge, le| Some(PrefixMatch { within: prefix(text), ge, le });
        let passes = |rule: Rule| Policy(vec![rule]).apply(&prefix("fd12::/48"), &path(), 1).is_some();
        for (rule, expected) in [
            (Rule { prefix: within("fd12::/48", 48, 48), ..Rule::ACCEPT }, true),
            (Rule { prefix: within("fd12::/16", 40, 48), ..Rule::ACCEPT }, true),
            (Rule { prefix: within("fd12::/16", 16, 47), ..Rule::ACCEPT }, false),
            (Rule { prefix: within("fd12::/16", 49, 128), ..Rule::ACCEPT }, false),
            (Rule { prefix: within("fd12::/56", 0, 128), ..Rule::ACCEPT }, false),
            (Rule { as_path_contains: Some(20), ..Rule::ACCEPT }, true),
            (Rule { as_path_contains: Some(21), ..Rule::ACCEPT }, false),
            (Rule { originated_by: Some(30), ..Rule::ACCEPT }, true),
            (Rule { originated_by: Some(20), ..Rule::ACCEPT }, false),
            (Rule { community: Some(Community::Plain(5)), ..Rule::ACCEPT }, true),
            (Rule { community: Some(Community::Plain(6)), ..Rule::ACCEPT }, false),
            (Rule { community: Some(Community::Large([1, 2, 3])), ..Rule::ACCEPT }, true),
            (Rule { community: Some(Community::Large([1, 2, 4])), ..Rule::ACCEPT }, false),
        ] {
            assert_eq!(passes(rule.clone()), expected, "{rule:?}");
        }
    }

    #[test]
    fn an_accepting_rule_changes_what_it_says() {
        let rule = Rule {
            local_pref: Some(200),
            med: Some(7),
            prepend: 2,
            add_communities: vec![Community::Plain(4), Community::Plain(5), Community::Large([9, 9, 9])],
            ..Rule::ACCEPT
        };
        let path = Policy(vec![rule]).apply(&prefix("fd12::/48"), &path(), 99).unwrap();
        assert_eq!((path.local_pref, path.med), (Some(200), Some(7)));
        assert_eq!(path.as_path.to_string(), "99 99 10 20 30");
        assert_eq!(path.communities, [4, 5]);
        assert_eq!(path.large_communities, [[1, 2, 3], [9, 9, 9]]);
        // Ascending, each once, as RFC 1997 and 8092 take them for sets.
        let add_communities = vec![Community::Large([1, 2, 3]), Community::Large([0, 0, 1])];
        let again = Policy(vec![Rule { add_communities, ..Rule::ACCEPT }]);
        let path = again.apply(&prefix("fd12::/48"), &path, 99).unwrap();
        assert_eq!(path.large_communities, [[0, 0, 1], [1, 2, 3], [9, 9, 9]]);
        assert_eq!((path.local_pref, path.med), (Some(200), Some(7)), "what a rule does not say stays");
        let other = Policy(vec![Rule { local_pref: Some(1), med: Some(2), ..Rule::ACCEPT }]);
        let path = other.apply(&prefix("fd12::/48"), &path, 99).unwrap();
        assert_eq!((path.local_pref, path.med), (Some(1), Some(2)));
    }

    #[test]
    fn communities_are_written_as_everybody_does() {
        for text in ["64512:100", "0:0", "4200000001:1:2"] {
            assert_eq!(text.parse::<Community>().unwrap().to_string(), text);
        }
        assert_eq!("65535:65535".parse(), Ok(Community::Plain(u32::MAX)));
        assert_eq!("1:2".parse(), Ok(Community::Plain(0x0001_0002)));
        for wrong in ["", "1", "65536:1", "1:65536", "1:2:3:4", "a:b", "-1:2"] {
            assert_eq!(wrong.parse::<Community>(), Err(InvalidCommunity), "{wrong:?}");
        }
    }
}
