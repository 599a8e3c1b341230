//! Admission: how fast a node may send, and what it may ask for.
//!
//! | policy | a class comes from | for |
//! |---|---|---|
//! | [`Static`] | the configuration | private networks; the default |
//! | [`Local`] | what a node has cost its owner, and who vouches for it; at most [`RateClass::Bronze`] | open networks without a token |
//! | [`Chain`] | the stake of its wallet, never below the policy behind it | networks with a token |
//!
//! A policy answers from memory and waits for nothing. When the chain cannot be read, ordinary messages go on in the class
//! of the policy behind, and what is privileged is refused with a reason and a time to ask again: our outage is held against
//! nobody, and nothing is given away by it.

pub mod local;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::{IdentityKey, Time};

use crate::oracle::{StakeOracle, StakeView};
use crate::rate::{Account, RateClass};
use crate::tier::Tier;

pub use local::Local;

/// What a node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// An offer to run somebody's work.
    Bid,
    /// Stop or remove what belongs to somebody else.
    ControlForeign,
    /// Run something on our machine.
    Deploy,
    /// A session inside a container.
    Exec,
    /// A message without an effect beyond its answer: look up, read, talk.
    Message,
    /// Keep a copy.
    Replicate,
    /// Say something about the reputation of others.
    Report,
    /// A kind of message we do not know.
    Unrecognized,
}

impl Action {
    /// Whether it costs us or others something, so that it needs standing. What we do not know does.
    #[must_use]
    pub const fn is_privileged(self) -> bool {
        !matches!(self, Self::Message)
    }
}

/// Class of a node, and who is counted for its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How fast.
    pub class: RateClass,
    /// Who shares the bucket.
    pub account: Account,
}

/// Whether a node may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not.
    Refuse(Refusal),
}

/// Why a node may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its stake is frozen by an open case.
    #[error("the stake is frozen")]
    Frozen,
    /// It lacks standing: nothing in the configuration, no cost, or no stake.
    #[error("this needs the standing of class starter or above")]
    NoStanding,
    /// What it has at stake cannot be found out.
    #[error("the stake is unknown, ask again in {} s", .retry_after.as_secs())]
    StakeUnknown {
        /// When to ask again.
        retry_after: Duration,
    },
}

/// Decides from memory; never waits.
pub trait AdmissionPolicy: fmt::Debug + Send + Sync {
    /// Class and account of a node.
    fn standing(&self, node: &IdentityKey, now: Time) -> Standing;

    /// Whether it may do this.
    fn may(&self, node: &IdentityKey, action: Action, now: Time) -> Decision;

    /// Class of a node.
    fn class(&self, node: &IdentityKey, now: Time) -> RateClass {
        self.standing(node, now).class
    }
}

/// Privileged actions need a class that is earned.
fn by_class(class: RateClass, action: Action) -> Decision {
    if !action.is_privileged() || class >= RateClass::Starter {
        Decision::Allow
    } else {
        Decision::Refuse(Refusal::NoStanding)
    }
}

/// Classes from the configuration. Who is let into the network at all is decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Static {
    /// Class of everybody else.
    pub default: RateClass,
    /// Classes of single nodes.
    pub nodes: BTreeMap<IdentityKey, RateClass>,
}

impl Default for Static {
    /// In a private network everybody was let in by somebody, so everybody may work.
    fn default() -> Self {
        Self { default: RateClass::Starter, nodes: BTreeMap::new() }
    }
}

impl AdmissionPolicy for Static {
    fn standing(&self, node: &IdentityKey, _: Time) -> Standing {
        let class = self.nodes.get(node).copied().unwrap_or(self.default);
        Standing { class, account: Account::Node(*node) }
    }

    fn may(&self, node: &IdentityKey, action: Action, now: Time) -> Decision {
        by_class(self.class(node, now), action)
    }
}

/// Classes from stakes.
#[derive(Debug, Clone)]
pub struct Chain {
    /// What wallets have at stake.
    pub oracle: Arc<dyn StakeOracle>,
    /// What counts without a stake.
    pub behind: Arc<dyn AdmissionPolicy>,
}

impl AdmissionPolicy for Chain {
    fn standing(&self, node: &IdentityKey, now: Time) -> Standing {
        let behind = self.behind.standing(node, now);
        match self.oracle.view(node, now) {
            StakeView::Known { tier, wallet, .. } if tier > Tier::None => {
                let staked = Standing { class: tier.into(), account: Account::Wallet(wallet) };
                // A wallet that shares its stake among many nodes is not faster than one node that stands for itself.
                if staked.class >= behind.class { staked } else { behind }
            }
            StakeView::Unknown { .. } => Standing { class: behind.class.max(RateClass::Unknown), ..behind },
            StakeView::Disabled | StakeView::Known { .. } | StakeView::Unbound => behind,
        }
    }

    fn may(&self, node: &IdentityKey, action: Action, now: Time) -> Decision {
        if !action.is_privileged() {
            return Decision::Allow;
        }
        match self.oracle.view(node, now) {
            StakeView::Known { frozen: true, .. } => Decision::Refuse(Refusal::Frozen),
            StakeView::Known { tier, .. } if tier > Tier::None => Decision::Allow,
            // It has a wallet: what the policy behind would say may be what a slashed one hopes for.
            StakeView::Unknown { retry_after } => Decision::Refuse(Refusal::StakeUnknown { retry_after }),
            StakeView::Disabled | StakeView::Known { .. } | StakeView::Unbound => {
                self.behind.may(node, action, now)
            }
        }
    }
}

#[cfg(test)]
mod tests;
