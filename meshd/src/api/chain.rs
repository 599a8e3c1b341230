//! Stakes, as the daemon knows them.

use serde::{Deserialize, Serialize};

/// Parameters of `chain standing`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Identity key, address or name of a node; nobody to hear of the chain only.
    pub node: Option<String>,
}

/// Parameters of `chain admit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A binding of a wallet to a node, in hexadecimal digits.
    pub certificate: String,
}

/// Answer to [`Request::ChainAdmit`](super::Request::ChainAdmit).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainAdmitted {
    /// Name and version of this form.
    pub schema: String,
    /// Identity key of the node.
    pub node: String,
    /// Whether it was not known before.
    pub new: bool,
}

/// Answer to [`Request::ChainStanding`](super::Request::ChainStanding).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainStanding {
    /// Name and version of this form.
    pub schema: String,
    /// "starting", "up" or "down".
    pub health: String,
    /// How long it has been down, in seconds.
    pub down_s: Option<u64>,
    /// The last block that was seen.
    pub block: Option<u64>,
    /// The endpoints.
    pub endpoints: Vec<ChainEndpoint>,
    /// Wallets whose stake is in memory.
    pub wallets: usize,
    /// Nodes that are bound to a wallet.
    pub bindings: usize,
    /// The node that was asked for.
    pub node: Option<NodeStanding>,
}

/// An RPC endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainEndpoint {
    /// Its host.
    pub host: String,
    /// "good", "untried", or what is wrong.
    pub state: String,
}

/// What a node may do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeStanding {
    /// Its identity key.
    pub key: String,
    /// "disabled", "unbound", "unknown" or "known".
    pub stake: String,
    /// The wallet behind it.
    pub wallet: Option<String>,
    /// The tier that counts.
    pub tier: Option<String>,
    /// Whether a case has frozen the stake.
    pub frozen: bool,
    /// How long ago the stake was read, in seconds.
    pub age_s: Option<u64>,
    /// Class of its messages.
    pub class: String,
    /// Messages it may send in a second.
    pub messages_per_s: u32,
    /// Why it may not deploy, replicate or open a session here; nothing if it may.
    pub refused: Option<String>,
}
