//! The table `[chain]` of the configuration, and the deployment file of the contracts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use molt_mesh::IdentityKey;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::binding::NetworkId;
use crate::file;
use crate::settlement::Mode;
use crate::wallet::{Digest, Domain, Wallet, unhex};

/// Longest deployment file in bytes: eight contracts, and room.
const MAX_DEPLOYMENT: u64 = 64 << 10;

/// The table `[chain]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// RPC endpoints, `http://` or `https://`, the preferred first. Two or more, of different operators, so that one may
    /// fail. Their paths may hold keys and are not logged.
    pub rpc: Vec<String>,
    /// The chain they must serve (EIP-155): 84532 is Base Sepolia. Another one is refused.
    pub chain_id: u64,
    /// Key of the network in which our certificates count, in base64 or hexadecimal digits.
    #[serde(deserialize_with = "network")]
    pub network: NetworkId,
    /// The file `deployments/<chain id>.json` that the deployment of the contracts wrote.
    pub deployment: PathBuf,
    /// File with the key of this daemon's wallet, mode 0600. Without one, stakes are read and nothing is paid.
    #[serde(default)]
    pub wallet_key: Option<PathBuf>,
    /// How work is paid: "none" (default), "ledger" or "escrow".
    #[serde(default)]
    pub settlement: Mode,
    /// Highest fee per unit of gas, in gwei (default 5). A transaction that would cost more waits.
    #[serde(default = "default_max_fee")]
    pub max_fee_gwei: u64,
}

fn network<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NetworkId, D::Error> {
    let key: IdentityKey = String::deserialize(deserializer)?.parse().map_err(D::Error::custom)?;
    Ok(NetworkId(*key.as_bytes()))
}

const fn default_max_fee() -> u64 {
    5
}

/// A contract on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// Where it is.
    pub address: Wallet,
    /// Keccak-256 of its code.
    pub code_hash: Digest,
}

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// The chain (EIP-155).
    pub chain_id: u64,
    /// Stakes.
    pub staking: Contract,
    /// Jobs.
    pub escrow: Contract,
    /// BUNKER.
    pub token: Contract,
    /// Scores.
    pub reputation: Contract,
}

/// Why the chain cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The deployment file is not one.
    #[error("{path} is no deployment: {what}")]
    Deployment {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// An endpoint is not a URL.
    #[error("an RPC endpoint is no URL of http or https")]
    Endpoint,
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no endpoint.
    #[error("the chain needs at least one RPC endpoint")]
    NoEndpoint,
    /// The TLS client cannot be set up.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    chain_id: u64,
    contracts: Contracts,
}

#[derive(Deserialize)]
struct Contracts {
    #[serde(rename = "BunkerStaking")]
    staking: Entry,
    #[serde(rename = "BunkerEscrow")]
    escrow: Entry,
    #[serde(rename = "BunkerToken")]
    token: Entry,
    #[serde(rename = "BunkerReputation")]
    reputation: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    address: String,
    code_hash: String,
}

impl Deployment {
    /// Reads the file of this chain.
    ///
    /// # Errors
    /// [`ConfigError`] names what is wrong with it.
    pub fn load(path: &Path, chain_id: u64) -> Result<Self, ConfigError> {
        let shown = || path.display().to_string();
        let contents = file::read(path, MAX_DEPLOYMENT)
            .and_then(|contents| contents.ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(|source| ConfigError::Io { path: shown(), source })?;
        Self::parse(&contents, chain_id).map_err(|what| ConfigError::Deployment { path: shown(), what })
    }

    fn parse(contents: &[u8], chain_id: u64) -> Result<Self, String> {
        let file: File = serde_json::from_slice(contents).map_err(|error| error.to_string())?;
        if file.chain_id != chain_id {
            return Err(format!("it is of chain {}, the configuration says {chain_id}", file.chain_id));
        }
        let it = file.contracts;
        Ok(Self {
            chain_id,
            staking: it.staking.read()?,
            escrow: it.escrow.read()?,
            token: it.token.read()?,
            reputation: it.reputation.read()?,
        })
    }

    /// Domain of bindings.
    #[must_use]
    pub const fn staking_domain(&self) -> Domain {
        Domain::staking(self.chain_id, self.staking.address)
    }

    /// Domain of bids and vouchers.
    #[must_use]
    pub const fn escrow_domain(&self) -> Domain {
        Domain::escrow(self.chain_id, self.escrow.address)
    }

    pub(crate) const fn contracts(&self) -> [(&'static str, Contract); 4] {
        [
            ("BunkerEscrow", self.escrow),
            ("BunkerReputation", self.reputation),
            ("BunkerStaking", self.staking),
            ("BunkerToken", self.token),
        ]
    }
}

impl Entry {
    fn read(self) -> Result<Contract, String> {
        let address = self.address.parse().map_err(|error| format!("{}: {error}", self.address))?;
        let hash = self.code_hash.strip_prefix("0x").and_then(unhex);
        let code_hash = Digest(hash.ok_or_else(|| format!("{} is no hash of code", self.code_hash))?);
        Ok(Contract { address, code_hash })
    }
}

/// The host of an endpoint: what is safe to show of it.
pub(crate) struct Host<'a>(pub(crate) &'a str);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0.split_once("://").map_or(self.0, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        f.write_str(authority.rsplit('@').next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chain_id: u64, hash: &str) -> String {
        let contract = |name: &str| {
            format!("\"{name}\": {{\"address\": \"0x{}\", \"codeHash\": \"0x{hash}\"}}", "5a".repeat(20))
        };
        let contracts = ["BunkerStaking", "BunkerEscrow", "BunkerToken", "BunkerReputation", "BunkerPricing"]
            .map(contract);
        format!("{{\"chainId\": {chain_id}, \"block\": 8, \"contracts\": {{{}}}}}", contracts.join(", "))
    }

    #[test]
    fn a_deployment_is_read_and_one_of_another_chain_is_refused() {
        let good = Deployment::parse(text(84_532, &"07".repeat(32)).as_bytes(), 84_532).unwrap();
        assert_eq!(good.staking.address, Wallet::from_bytes([0x5a; 20]));
        assert_eq!(good.escrow.code_hash, Digest([7; 32]));
        let refused = |text: String| Deployment::parse(text.as_bytes(), 84_532).unwrap_err();
        assert!(refused(text(8_453, &"07".repeat(32))).contains("chain 8453"));
        assert!(refused(text(84_532, "07")).contains("no hash"));
        assert!(refused("{}".into()).contains("chainId"));
    }

    #[test]
    fn the_table_needs_endpoints_chain_network_and_deployment_and_nothing_unknown() {
        let table = serde_json::json!({
            "rpc": ["https://a.example.org", "https://b.example.org"],
            "chain_id": 84_532,
            "network": "09".repeat(32),
            "deployment": "deployments/84532.json",
        });
        let config: ChainConfig = serde_json::from_value(table.clone()).unwrap();
        assert_eq!((config.network, config.settlement), (NetworkId([9; 32]), Mode::None));
        assert_eq!((config.wallet_key, config.max_fee_gwei), (None, 5));
        for (key, value) in [("network", "short".into()), ("settlement", "cash".into()), ("chain", 1.into())]
        {
            let mut wrong = table.clone();
            wrong[key] = value;
            assert!(serde_json::from_value::<ChainConfig>(wrong).is_err(), "{key}");
        }
        for key in ["rpc", "chain_id", "network", "deployment"] {
            let mut wrong = table.clone();
            wrong.as_object_mut().unwrap().remove(key);
            assert!(serde_json::from_value::<ChainConfig>(wrong).is_err(), "{key}");
        }
    }

    #[test]
    fn keys_in_urls_are_not_shown() {
        for (url, shown) in [
            ("https://base.example.org/v2/secret", "base.example.org"),
            ("http://user:secret@127.0.0.1:8545", "127.0.0.1:8545"),
            ("https://example.org?key=secret", "example.org"),
        ] {
            assert_eq!(Host(url).to_string(), shown);
        }
    }
}
