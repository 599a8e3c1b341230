//! The routing table calculation (RFC 2328 section 16, RFC 5340 section 4.8), and the forwarding table.
//!
//! | file | stage |
//! |---|---|
//! | `graph` | routers and networks, kept in step with their LSAs |
//! | `tree` | shortest paths through it |
//! | `table` | prefixes that hang on it, and the best way to each |
//!
//! Nothing is read twice: an LSA that changed costs its row of the graph, or the prefixes it names. A link that is on no
//! shortest path changes no tree. What is left is told to the forwarding table route by route.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;

use molt_mesh::fib::FibBuilder;
use molt_mesh::{Fib, LinkId, Prefix, RouterId, Time};

use super::consts::{LS_INFINITY, prefix_options};
use super::lsa::{Body, LsType, LsaKey, LsaPrefix};
use super::lsdb::Lsdb;
use super::origin::Usable;
use super::view::{RejectedRoute, Route, SpfRun, SpfTrigger};
use super::{Ospf, Output};

pub(super) mod graph;
mod table;
mod tree;

use graph::{Graph, VertexId};
use table::{By, LEAVES, Offer, Paths, Reading, Table};
use tree::{NextHopSets, RootLink, Tree};

/// Refused prefixes that are shown to the operator.
const MAX_REJECTED: usize = 256;
/// If the ways to one of so many routers are others, all routes are walked over: to look up what a router announces costs
/// that much more than the next route of a walk.
const WALK: usize = 4;
/// Runs that are remembered for the operator.
const LOG: usize = 32;

/// The result of the last calculation.
#[derive(Debug)]
pub(super) struct Spf {
    pub(super) graph: Graph,
    /// Vertices whose LSAs changed since the last run.
    changed: BTreeSet<VertexId>,
    /// LSAs with prefixes that changed since the last run.
    changed_leaves: BTreeSet<LsaKey>,
    /// Routers whose right to what they announce may be another since the last run, and whether that is so for all.
    changed_rights: BTreeSet<RouterId>,
    all_rights_changed: bool,
    /// Whether the links of the root changed.
    root_changed: bool,
    tree: Tree,
    sets: NextHopSets,
    table: Table,
    /// Our own prefixes in `table`, and what stock routers may announce there.
    own: Vec<Prefix>,
    allowed: BTreeMap<RouterId, Vec<Prefix>>,
    builder: FibBuilder,
    pub(super) fib: Arc<Fib>,
    pub(super) log: VecDeque<SpfRun>,
    /// The first event since the last run, and how many there were.
    trigger: Option<(Time, SpfTrigger)>,
    triggers: u32,
}

impl Spf {
    pub(super) fn new(root: RouterId) -> Self {
        Self {
            graph: Graph::new(root),
            changed: BTreeSet::new(),
            changed_leaves: BTreeSet::new(),
            changed_rights: BTreeSet::new(),
            all_rights_changed: false,
            root_changed: false,
            tree: Tree::default(),
            sets: NextHopSets::new(),
            table: Table::default(),
            own: Vec::new(),
            allowed: BTreeMap::new(),
            builder: FibBuilder::default(),
            fib: Arc::default(),
            log: VecDeque::new(),
            trigger: None,
            triggers: 0,
        }
    }

    /// Whether the last calculation found a path to a router.
    pub(super) fn reaches(&self, router: RouterId) -> bool {
        self.graph.position(VertexId::Router(router)).is_some_and(|at| self.tree.is_reached(at))
    }

    /// Which of `routers`, our neighbours, hang together without us: those with the same number do.
    pub(super) fn parts_around_root(&self, routers: &[RouterId]) -> BTreeMap<RouterId, u32> {
        self.graph.parts_around_root(routers)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.table.routes(&self.sets)
    }

    pub(super) fn rejected(&self) -> Vec<RejectedRoute> {
        let paths = Paths { graph: &self.graph, tree: &self.tree };
        self.table.rejected(paths).take(MAX_REJECTED).collect()
    }

    /// Begins as another router; the routes stay until the next calculation.
    pub(super) fn restart(&mut self, root: RouterId, lsdb: &Lsdb) {
        self.table.replace(own_source(self.graph.root()), Reading::default());
        self.graph = Graph::new(root);
        self.tree = Tree::default();
        self.table.touch_all();
        self.own.clear();
        let vertices = lsdb.of_type(LsType::ROUTER).chain(lsdb.of_type(LsType::NETWORK));
        self.changed = vertices.filter_map(|(key, _)| VertexId::of(key)).collect();
        self.root_changed = true;
        self.all_rights_changed = true;
    }

    /// Distance and next hops of what a prefix LSA hangs on.
    pub(super) fn path(&self, key: &LsaKey, referenced: &LsaKey) -> Option<(u32, &[LinkId])> {
        let at = self.graph.position(referenced_vertex(key, referenced)?)?;
        let (distance, set) = self.tree.path(at)?;
        Some((distance, self.sets.get(set)))
    }

    /// A router, or all without one, may have other rights to what it announces.
    pub(super) fn rights_changed(&mut self, router: Option<RouterId>) {
        match router {
            Some(router) => drop(self.changed_rights.insert(router)),
            None => self.all_rights_changed = true,
        }
    }

    fn note(&mut self, trigger: &SpfTrigger) {
        match trigger {
            SpfTrigger::Lsa(key) => match VertexId::of(key) {
                Some(vertex) => drop(self.changed.insert(vertex)),
                None => drop(self.changed_leaves.insert(*key)),
            },
            SpfTrigger::Adjacency(_) | SpfTrigger::Configuration => {}
        }
    }
}

impl Ospf {
    /// The graph changed.
    pub(super) fn schedule_spf(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.root_changed |= !matches!(trigger, SpfTrigger::Lsa(_));
        self.leaves_changed(trigger, now);
    }

    /// Only prefixes changed: routes are calculated anew from the tree as it is.
    pub(super) fn leaves_changed(&mut self, trigger: SpfTrigger, now: Time) {
        self.spf.note(&trigger);
        self.spf.trigger.get_or_insert((now, trigger));
        self.spf.triggers += 1;
        self.delay.handle_event(self.spf.graph.vertices.len(), now);
    }

    /// Calculates routes, and the tree before them if the graph changed in a way that matters.
    pub(super) fn calculate_routes(&mut self, now: Time) {
        let full = self.calculate_tree(now);
        if full {
            self.note_reachability(now);
        }
        self.read_leaves(now);
        self.origins.note_rejected(&self.spf.rejected(), now);
        let Spf { graph, tree, table, sets, builder, .. } = &mut self.spf;
        let mut fib_changed = false;
        table.refresh(Paths { graph, tree }, sets, |prefix, links| {
            fib_changed = true;
            match links {
                None => builder.remove(&prefix),
                Some([]) => builder.local(prefix),
                Some(links) => builder.via(prefix, links),
            };
        });
        if fib_changed {
            self.spf.fib = Arc::new(self.spf.builder.snapshot());
            self.outputs.push_back(Output::FibChanged);
        }
        let (first_event, trigger) = self.spf.trigger.take().unwrap_or((now, SpfTrigger::Configuration));
        if self.spf.log.len() == LOG {
            self.spf.log.pop_front();
        }
        self.spf.log.push_back(SpfRun {
            at: now,
            first_event,
            trigger,
            events: std::mem::take(&mut self.spf.triggers),
            full,
            vertices: self.spf.graph.vertices.len(),
            routes: self.spf.fib.len(),
            fib_changed,
        });
        self.counters.spf_runs += 1;
    }

    /// Brings the tree up to date; returns whether it had to be calculated.
    fn calculate_tree(&mut self, now: Time) -> bool {
        let spf = &mut self.spf;
        let usable = Usable { lsdb: &self.lsdb, origins: &self.origins, now };
        let mut stale = std::mem::take(&mut spf.root_changed);
        if !spf.changed.is_empty() {
            self.relay.forget();
        }
        let changed = std::mem::take(&mut spf.changed);
        stale |= spf.graph.update(&usable, changed.iter().copied(), (!stale).then_some(&spf.tree));
        let moved = spf.graph.compact(&usable, self.config.router_id);
        stale |= moved;
        if spf.sets.are_too_many() {
            spf.sets = NextHopSets::new();
            spf.builder = FibBuilder::with_capacity(spf.fib.len());
            spf.table.forget_choices();
            stale = true;
        }
        if !stale {
            return false;
        }
        let root_links: Vec<RootLink> = self
            .interfaces
            .iter()
            .filter_map(|(link, interface)| {
                let neighbor = interface.full_neighbor()?.router;
                Some(RootLink { link: *link, cost: interface.config.cost.max(1).into(), neighbor })
            })
            .collect();
        let tree = Tree::calculate(&spf.graph, &root_links, &mut spf.sets);
        let before = std::mem::replace(&mut spf.tree, tree);
        let different: Vec<u32> = spf.tree.differences(&before).collect();
        if moved || different.len() > spf.graph.vertices.len() / WALK {
            spf.table.touch_all();
        } else {
            let vertices = different.into_iter().filter_map(|at| spf.graph.vertices.get(at as usize));
            let routers: BTreeSet<RouterId> =
                vertices.map(|vertex| vertex.id).chain(changed).map(VertexId::router).collect();
            routers.into_iter().for_each(|router| spf.table.touch(router));
        }
        true
    }

    /// Brings what the LSAs offer up to date.
    fn read_leaves(&mut self, now: Time) {
        let router = self.config.router_id;
        if self.spf.own != self.config.prefixes {
            self.spf.own.clone_from(&self.config.prefixes);
            let offer = Offer { metric: 0, by: By::IntraArea(VertexId::Router(router)) };
            let offers = self.config.prefixes.iter().map(|prefix| (*prefix, offer)).collect();
            self.spf.table.replace(own_source(router), Reading { offers, ..Reading::default() });
        }
        let allowed = self.allowed_prefixes();
        let mut changed = std::mem::take(&mut self.spf.changed_leaves);
        let rights = std::mem::take(&mut self.spf.changed_rights);
        if std::mem::take(&mut self.spf.all_rights_changed) {
            changed.extend(self.spf.table.sources());
            changed.extend(
                LEAVES.into_iter().flat_map(|ls_type| self.lsdb.of_type(ls_type)).map(|(key, _)| *key),
            );
        }
        if allowed != self.spf.allowed {
            let differs = |router: RouterId| allowed.get(&router) != self.spf.allowed.get(&router);
            changed.extend(self.spf.table.sources().into_iter().filter(|key| differs(key.router)));
        }
        for signer in rights {
            changed.extend(self.spf.table.sources_of(signer));
            let stored = LEAVES.into_iter().flat_map(|ls_type| self.lsdb.of_router(ls_type, signer));
            changed.extend(stored.map(|(key, _)| *key));
        }
        changed.remove(&own_source(router));
        for key in changed.into_iter().filter(|key| key.router != router) {
            let reading = self.read_leaf(&key, allowed.get(&key.router).map(Vec::as_slice), now);
            self.spf.table.replace(key, reading);
        }
        self.spf.allowed = allowed;
    }

    /// What one LSA offers: nothing if it is gone.
    fn read_leaf(&self, key: &LsaKey, allow: Option<&[Prefix]>, now: Time) -> Reading {
        let mut reading = Reading::default();
        let usable = Usable { lsdb: &self.lsdb, origins: &self.origins, now };
        let mut add = |advertised: &LsaPrefix, metric: u32, by: By| {
            if advertised.options & prefix_options::NU != 0 {
                return;
            }
            let outside = match by {
                By::External { .. } => advertised
                    .prefix()
                    .and_then(|prefix| Some((prefix, self.boundary.accepting(&prefix)?.by.as_deref()))),
                By::InterArea | By::IntraArea(_) => None,
            };
            let permitted = match outside {
                Some((prefix, by)) => self.origins.permits_outside(key.router, prefix, by, allow, now),
                None => self.origins.permits(key.router, advertised, allow, now),
            };
            match permitted {
                Ok(prefix) => reading.offers.push((prefix, Offer { metric, by })),
                Err(reason) => {
                    let prefix = Prefix::new(advertised.addr, advertised.len);
                    reading.rejected.push(RejectedRoute { prefix, router: key.router, reason });
                }
            }
        };
        match usable.get(key) {
            Some(Body::IntraAreaPrefix(lsa)) => {
                if let Some(vertex) = referenced_vertex(key, &lsa.referenced) {
                    let by = By::IntraArea(vertex);
                    lsa.prefixes.iter().for_each(|prefix| add(prefix, prefix.metric.into(), by));
                }
            }
            Some(Body::InterAreaPrefix(lsa)) if lsa.metric < LS_INFINITY => {
                add(&lsa.prefix, lsa.metric, By::InterArea);
            }
            Some(Body::InterAreaRouter(lsa)) if lsa.metric < LS_INFINITY => {
                reading.boundary = Some((lsa.destination, lsa.metric));
            }
            Some(Body::AsExternal(lsa)) if lsa.metric < LS_INFINITY => {
                // Appendix A.4.7: such a forwarding address makes the LSA void.
                let void = |address: Ipv6Addr| address.is_unspecified() || address.is_unicast_link_local();
                if !lsa.forwarding.is_some_and(void) {
                    let by = By::External { type_2: lsa.type_2, forwarding: lsa.forwarding };
                    add(&lsa.prefix, lsa.metric, by);
                }
            }
            _ => {}
        }
        reading
    }

    /// What the routers behind our stock links may announce. They have no record that proves an address theirs, so the
    /// operator's word stands for it.
    pub(super) fn allowed_prefixes(&self) -> BTreeMap<RouterId, Vec<Prefix>> {
        let mut allowed: BTreeMap<RouterId, Vec<Prefix>> = BTreeMap::new();
        for interface in self.interfaces.values().filter(|interface| interface.config.stock) {
            if let Some(router) = interface.behind {
                allowed.entry(router).or_default().extend(&interface.config.allow);
            }
        }
        allowed
    }
}

/// Stands for our configuration where an LSA would.
const fn own_source(router: RouterId) -> LsaKey {
    LsaKey { ls_type: LsType(0), router, id: 0 }
}

fn referenced_vertex(key: &LsaKey, referenced: &LsaKey) -> Option<VertexId> {
    // RFC 5340 appendix A.4.10: both kinds of reference name the LSA's own originator.
    if referenced.router != key.router {
        return None;
    }
    match (referenced.ls_type, referenced.id) {
        (LsType::ROUTER, 0) => Some(VertexId::Router(referenced.router)),
        (LsType::NETWORK, id) => Some(VertexId::Network(referenced.router, id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
