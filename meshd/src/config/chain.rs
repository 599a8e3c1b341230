//! `[chain]` of a daemon that is built without the chain.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// There is none: the table is refused, so that nobody believes to be paid.
#[derive(Debug, Clone)]
pub enum ChainConfig {}

impl<'de> Deserialize<'de> for ChainConfig {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(D::Error::custom("[chain] needs a meshd that is built with `--features chain`"))
    }
}
