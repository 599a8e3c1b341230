//! The AS boundary: prefixes of other meshes that this router announces as external, and those it accepts from others
//! (RFC 5340 section 4.4.3.6, RFC 2328 section 16.4).

use std::collections::BTreeMap;

use molt_mesh::{IdentityKey, Prefix, Time};

use super::Ospf;
use super::lsa::{AsExternalLsa, LsType, LsaPrefix};
use super::lsdb::LsaRef;

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

/// What lies outside of the mesh.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// What we announce, with the Link State ID of each: it stays with the prefix.
    announced: BTreeMap<Prefix, u32>,
    /// What others may announce.
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
    pub fn set_externals(&mut self, prefixes: &[Prefix], now: Time) {
        let mut announced: BTreeMap<Prefix, u32> = BTreeMap::new();
        for prefix in prefixes {
            if let Some(id) = self.boundary.announced.get(prefix) {
                announced.insert(*prefix, *id);
            }
        }
        for prefix in prefixes {
            let free = |id: &u32| !announced.values().any(|used| used == id);
            if !announced.contains_key(prefix)
                && let Some(id) = (0..=u32::MAX).find(free)
            {
                announced.insert(*prefix, id);
            }
        }
        if announced != self.boundary.announced {
            self.boundary.announced = announced;
            self.update_own_lsas(now);
            self.settle(now);
        }
    }

    /// Prefixes outside of the mesh that this router would announce, and for which its signed list has no room. Others ignore
    /// what is not listed, so they are not said at all.
    #[must_use]
    pub fn externals_left_out(&self) -> usize {
        let is_external = |at: &&LsaRef| at.key.ls_type == LsType::AS_EXTERNAL;
        let said = self.own.iter().filter(|(at, own)| is_external(at) && own.is_wanted()).count();
        self.boundary.announced.len().saturating_sub(said)
    }

    /// What routers may announce as external. To be said before the first link is added: LSAs that were read before are
    /// not read again.
    pub fn accept_externals(&mut self, accepted: Vec<External>) {
        self.boundary.accepted = accepted;
    }
}
