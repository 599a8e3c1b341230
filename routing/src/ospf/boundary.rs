//! The AS boundary: prefixes of other meshes that this router announces as external, and those it accepts from others
//! (RFC 5340 section 4.4.3.6, RFC 2328 section 16.4).

use std::collections::BTreeMap;

use molt_mesh::{IdentityKey, Prefix, Time};

use super::lsa::{AsExternalLsa, LsType, LsaKey, LsaPrefix};
use super::lsdb::LsaRef;
use super::originate::Own;
use super::{Ospf, Stage};

/// Metric of what we announce, of type 2: whatever a border announces is as good as what another does, so that each node
/// uses the border that is nearest.
const METRIC: u32 = 20;

/// What may be announced as external.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// The prefix, and whatever is inside it, unless another one of these is longer.
    pub prefix: Prefix,
    /// The members that may announce it; `None` for all of them.
    pub by: Option<Vec<IdentityKey>>,
}

/// Why a prefix is not announced as external, although this router has a way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Withheld {
    /// The signed list has no room for more. Others ignore what is not listed.
    NoRoom,
    /// Our own configuration accepts it of nobody.
    NotAccepted,
    /// Our own configuration names others that may announce it.
    NotBorder,
}

impl Withheld {
    /// In words, with what to do.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NoRoom => "what this node signs has no room for more; have them aggregated",
            Self::NotAccepted => "no prefix of `[network] external` covers it",
            Self::NotBorder => "this node is not named in its `by` of `[network] external`",
        }
    }
}

/// What lies outside of the mesh.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// What we announce, with the Link State ID of each: it stays with the prefix.
    announced: BTreeMap<Prefix, u32>,
    /// What we would announce if our configuration let us.
    withheld: BTreeMap<Prefix, Withheld>,
    /// What may be announced, by others and by us.
    accepted: Vec<External>,
}

impl Boundary {
    pub(super) fn is_border(&self) -> bool {
        !self.announced.is_empty()
    }

    /// The narrowest of what is accepted and covers a prefix: it says by whom.
    pub(super) fn accepting(&self, prefix: &Prefix) -> Option<&External> {
        let covering = self.accepted.iter().filter(|accepted| accepted.prefix.covers(prefix));
        covering.max_by_key(|accepted| accepted.prefix.len())
    }

    /// Link State IDs and bodies of our AS-external-LSAs, those of the longest standing first.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (u32, Vec<u8>)> {
        let mut announced: Vec<(u32, Prefix)> =
            self.announced.iter().map(|(prefix, id)| (*id, *prefix)).collect();
        announced.sort_unstable();
        announced.into_iter().map(|(id, prefix)| {
            let lsa = AsExternalLsa {
                type_2: true,
                metric: METRIC,
                prefix: LsaPrefix { len: prefix.len(), options: 0, metric: 0, addr: prefix.addr() },
                forwarding: None,
                tag: None,
                referenced: None,
            };
            (id, lsa.encode())
        })
    }
}

impl Ospf {
    /// Replaces what this router announces as external: routes to other meshes that it has.
    ///
    /// It says nothing that it would not believe of another router with its key. Where all nodes are configured alike, nobody
    /// would believe it either: they would take it for a hijack and name it as one, and it would take the room of what they do
    /// believe. Where they are not, what this node was told is what its operator wants of it.
    pub fn set_externals(&mut self, prefixes: &[Prefix], now: Time) {
        let (mut wanted, mut withheld) = (Vec::new(), BTreeMap::new());
        for prefix in prefixes {
            match self.may_say(prefix) {
                Ok(()) => wanted.push(*prefix),
                Err(reason) => drop(withheld.insert(*prefix, reason)),
            }
        }
        self.boundary.withheld = withheld;
        let mut announced: BTreeMap<Prefix, u32> = BTreeMap::new();
        for prefix in &wanted {
            if let Some(id) = self.boundary.announced.get(prefix) {
                announced.insert(*prefix, *id);
            }
        }
        for prefix in wanted {
            let free = |id: &u32| !announced.values().any(|used| used == id);
            if !announced.contains_key(&prefix)
                && let Some(id) = (0..=u32::MAX).find(free)
            {
                announced.insert(prefix, id);
            }
        }
        if announced != self.boundary.announced {
            self.boundary.announced = announced;
            self.update_own_lsas(now);
            self.settle(now);
        }
    }

    fn may_say(&self, prefix: &Prefix) -> Result<(), Withheld> {
        let accepting = self.boundary.accepting(prefix).ok_or(Withheld::NotAccepted)?;
        match (&accepting.by, &self.origins.member) {
            (Some(by), Some(member)) if !by.contains(member.identity.key()) => Err(Withheld::NotBorder),
            _ => Ok(()),
        }
    }

    /// Prefixes outside of the mesh that this router was given and does not announce.
    #[must_use]
    pub fn externals_withheld(&self) -> BTreeMap<Prefix, Withheld> {
        let mut withheld = self.boundary.withheld.clone();
        // A router that restarts or stops says nothing for other reasons.
        if self.says_externals() {
            let is_said = |id: u32| {
                let key = LsaKey { ls_type: LsType::AS_EXTERNAL, router: self.config.router_id, id };
                self.own.get(&LsaRef::area(key)).is_some_and(Own::is_wanted)
            };
            let unsaid = self.boundary.announced.iter().filter(|(_, id)| !is_said(**id));
            withheld.extend(unsaid.map(|(prefix, _)| (*prefix, Withheld::NoRoom)));
        }
        withheld
    }

    const fn says_externals(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Preparing { .. } | Stage::Leaving { .. })
    }

    /// What routers may announce as external, this one among them. To be said before the first link is added and before
    /// [`set_externals`](Self::set_externals): LSAs that were read before are not read again, nor is what was to be announced.
    pub fn accept_externals(&mut self, accepted: Vec<External>) {
        self.boundary.accepted = accepted;
    }
}
