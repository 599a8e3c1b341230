//! `[network] external`: a prefix, or a table that says who may announce it.

use std::fmt;

use molt_mesh::{IdentityKey, Prefix};
use molt_routing::ospf;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{from_text, list_from_text};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External(pub ospf::External);

/// An entry with all that can be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "from_text")]
    prefix: Prefix,
    #[serde(deserialize_with = "list_from_text")]
    by: Vec<IdentityKey>,
}

impl<'de> Deserialize<'de> for External {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Reads both forms. An untagged enum would say of any mistake only that it is neither.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = External;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prefix, or { prefix = \"..\", by = [\"identity key\", ..] }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<External, E> {
        let prefix: Prefix = text.parse().map_err(|error| E::custom(format!("{text:?}: {error}")))?;
        Ok(External(ospf::External { prefix, by: None }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<External, A::Error> {
        let Table { prefix, by } = Table::deserialize(MapAccessDeserializer::new(map))?;
        if by.is_empty() {
            return Err(de::Error::custom(format!("nobody may announce {prefix}: `by` is empty")));
        }
        Ok(External(ospf::External { prefix, by: Some(by) }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const KEY: &str = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";

    fn parse(external: &str) -> Result<Config, String> {
        Config::parse(&format!("[network]\nexternal = [{external}]"))
    }

    #[test]
    fn a_prefix_of_another_mesh_is_for_all_members_or_for_those_that_are_named() {
        let config =
            parse(&format!("\"fd12::/16\", {{ prefix = \"fd12:3456:789a::/48\", by = [\"{KEY}\"] }}"));
        let [all, named] = config.unwrap().externals().try_into().unwrap();
        assert_eq!((all.prefix.to_string(), all.by), ("fd12::/16".into(), None));
        assert_eq!(named.prefix.to_string(), "fd12:3456:789a::/48");
        assert_eq!(named.by, Some(vec![KEY.parse().unwrap()]));
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_said() {
        for (external, part) in [
            ("\"fd12::1/16\"", "not an IPv6 prefix"),
            ("7", "a prefix, or { prefix"),
            ("{ prefix = \"fd12::/16\" }", "missing field `by`"),
            ("{ prefix = \"fd12::/16\", by = [] }", "nobody may announce fd12::/16"),
            ("{ prefix = \"fd12::/16\", by = [\"x\"] }", "not a key"),
            ("{ prefix = \"fd12::/16\", by = [], to = 1 }", "unknown field `to`"),
        ] {
            let error = parse(external).expect_err(external);
            assert!(error.contains(part) && error.contains("line 2"), "{external} says {error:?}");
        }
    }
}
