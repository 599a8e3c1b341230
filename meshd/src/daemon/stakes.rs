//! Stakes, if the configuration names a chain. The mesh does not wait for it: a thread of its own reads it, and what is asked
//! here is answered from memory.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use molt_contracts::admission::{Action, AdmissionPolicy, Chain, Decision, Static};
use molt_contracts::binding::SignedBinding;
use molt_contracts::chain::{self, Deployment, EndpointState, Rpc, Watcher, WatcherConfig};
use molt_contracts::oracle::{Health, StakeView};
use molt_contracts::rate::RateClass;
use molt_mesh::sign::Strict;
use molt_mesh::{IdentityKey, Time};
use molt_tun::Clock;

use super::{Daemon, refuse};
use crate::api::{self, Answer, FailureKind, Request, Response, schema};
use crate::config::Config;
use crate::state::StateDir;

/// What wallets had at stake, in the state directory: an outage does not forget it over a restart.
const CACHE_FILE: &str = "chain-stakes";

/// The daemon's view of the chain.
pub(super) struct Stakes {
    watcher: Watcher,
    policy: Chain,
}

/// The daemon's clock, for the thread that reads the chain.
#[derive(Debug)]
struct WatcherClock(Clock);

impl chain::Clock for WatcherClock {
    fn now(&self) -> Time {
        self.0.now()
    }

    fn unix(&self) -> u64 {
        chain::Clock::unix(&chain::SystemClock::starting_now())
    }
}

impl Stakes {
    /// Starts to read. A chain that does not answer is no error; one that is not configured right is.
    pub(super) fn start(
        config: &Config,
        state: &StateDir,
        clock: Clock,
        seed: u64,
    ) -> anyhow::Result<Option<Self>> {
        let Some(config) = &config.chain else { return Ok(None) };
        let deployment =
            Deployment::load(&config.deployment, config.chain_id).context("[chain] deployment")?;
        let watcher = Watcher::start(WatcherConfig {
            rpc: Rpc::new(&config.rpc, deployment).context("[chain] rpc")?,
            network: config.network,
            verifier: Arc::new(Strict),
            clock: Arc::new(WatcherClock(clock)),
            cache: Some(Path::join(state.path(), CACHE_FILE)),
            seed,
        })?;
        // Without a stake a node is a stranger, as in any network that has a chain.
        let behind = Static { default: RateClass::Unstaked, ..Static::default() };
        let policy = Chain { oracle: watcher.oracle(), behind: Arc::new(behind) };
        Ok(Some(Self { watcher, policy }))
    }

    /// Ends without waiting for the question that is under way.
    pub(super) fn abandon(self) {
        self.watcher.abandon();
    }

    fn standing(&self, node: Option<&IdentityKey>, now: Time) -> api::ChainStanding {
        let status = self.watcher.status();
        let (health, down_s) = match status.health {
            Health::Down { since } => ("down", Some(now.since(since).as_secs())),
            Health::Starting => ("starting", None),
            Health::Up => ("up", None),
        };
        let endpoint =
            |(host, state): (String, EndpointState)| api::ChainEndpoint { host, state: state.to_string() };
        api::ChainStanding {
            schema: schema::CHAIN_STANDING.into(),
            health: health.into(),
            down_s,
            block: status.head.map(|head| head.number),
            endpoints: status.endpoints.into_iter().map(endpoint).collect(),
            wallets: status.wallets,
            bindings: status.bindings,
            node: node.map(|node| self.node(node, now)),
        }
    }

    fn node(&self, node: &IdentityKey, now: Time) -> api::NodeStanding {
        let class = self.policy.class(node, now);
        let refused = match self.policy.may(node, Action::Deploy, now) {
            Decision::Allow => None,
            Decision::Refuse(refusal) => Some(refusal.to_string()),
        };
        let mut standing = api::NodeStanding {
            key: node.to_string(),
            stake: String::new(),
            wallet: None,
            tier: None,
            frozen: false,
            age_s: None,
            class: class.to_string(),
            messages_per_s: class.per_second(),
            refused,
        };
        standing.stake = match self.policy.oracle.view(node, now) {
            StakeView::Disabled => "disabled",
            StakeView::Known { wallet, tier, frozen, age, .. } => {
                standing.wallet = Some(wallet.to_string());
                standing.tier = Some(tier.to_string());
                standing.frozen = frozen;
                standing.age_s = Some(age.as_secs());
                "known"
            }
            StakeView::Unbound => "unbound",
            StakeView::Unknown { .. } => "unknown",
        }
        .into();
        standing
    }
}

impl Daemon {
    /// Answers `molt chain standing` and `molt chain admit`.
    pub(super) fn answer_chain(&self, request: &Request) -> Response {
        let Some(stakes) = &self.stakes else {
            return refuse(FailureKind::Failed, "the configuration has no table [chain]".into());
        };
        match request {
            Request::ChainAdmit(about) => {
                let admitted = about.certificate.parse::<SignedBinding>().map_err(anyhow::Error::from);
                let admitted = admitted.and_then(|signed| {
                    let new = stakes.watcher.handle_binding(&signed)?;
                    Ok((signed.binding().node, new))
                });
                match admitted {
                    Ok((node, inserted)) => Response::Ok(Answer::ChainAdmitted(api::ChainAdmitted {
                        schema: schema::CHAIN_ADMITTED.into(),
                        node: node.to_string(),
                        new: inserted == molt_contracts::binding::Inserted::New,
                    })),
                    Err(reject) => refuse(FailureKind::BadRequest, format!("{reject:#}")),
                }
            }
            Request::ChainStanding(about) => match about.node.as_deref().map(|node| self.identity_of(node)) {
                Some(Err(unknown)) => refuse(FailureKind::Unknown, unknown),
                Some(Ok(node)) => self.standing_of(stakes, Some(&node)),
                None => self.standing_of(stakes, None),
            },
            _ => refuse(FailureKind::BadRequest, "not about the chain".into()),
        }
    }

    fn standing_of(&self, stakes: &Stakes, node: Option<&IdentityKey>) -> Response {
        Response::Ok(Answer::ChainStanding(Box::new(stakes.standing(node, self.clock.now()))))
    }

    /// The key behind a key, an address or a name.
    fn identity_of(&self, node: &str) -> Result<IdentityKey, String> {
        if let Ok(key) = node.parse() {
            return Ok(key);
        }
        let now = self.clock.now();
        let address = self.control.resolve(node, now).map_err(|error| error.to_string())?;
        if self.me.node.addresses(self.config.network.prefix).iter().any(|own| own.ip() == address) {
            return Ok(*self.me.node.identity.key());
        }
        let ospf = self.control.ospf();
        let mut bearers = ospf.router_addresses(now).into_iter();
        let bearer =
            bearers.find(|(_, own)| own.iter().any(|it| it.ip() == address)).map(|(router, _)| router);
        let mut records = ospf.records();
        let record = records.find(|(router, _)| Some(*router) == bearer).map(|(_, record)| record);
        let key = record.map(|record| record.agent().key);
        key.ok_or_else(|| format!("no member of the mesh has proven to be {address}"))
    }
}
