//! Graceful restart (RFC 5187 on top of RFC 3623): helping a neighbour to restart, and restarting ourselves.
//!
//! A helped neighbour counts as adjacent whatever its state is: our Router-LSA and our paths keep the link until the grace
//! period ends or the restart does. A restarting router says nothing about itself but Link- and Grace-LSAs and calculates
//! no routes, so that everybody, its own packet path included, goes on with what was true before.

use std::time::Duration;

use molt_mesh::{LinkId, RouterId, Time};

use super::consts::{LS_REFRESH_TIME, link_type};
use super::lsa::{Body, GraceLsa, GraceReason, LsType, Lsa, LsaKey, RouterLink};
use super::lsdb::LsaRef;
use super::neighbor::State;
use super::packet::PacketBody;
use super::view::SpfTrigger;
use super::{Ospf, Output, Stage};

/// How long [`Ospf::prepare_restart`] waits for acknowledgments: the first transmission, and one repetition of what was
/// lost. A neighbour that did not hear drops the adjacency, as it would without graceful restart.
const PREPARE: Duration = Duration::from_secs(2);

/// Whether neighbours are helped to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartHelper {
    /// They are, whatever happens meanwhile: paths through them may be wrong until they are back.
    Lenient,
    /// They are not.
    Off,
    /// They are until the topology changes, which they would not learn of (RFC 3623 section 3.2 (3)).
    Strict,
}

/// The help a neighbour gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Help {
    /// End of the grace period.
    pub(super) until: Time,
    pub(super) reason: GraceReason,
}

/// The LSAs whose change is a change of the topology (RFC 3623 section 3.2: types 1 to 5 and 7).
const fn is_topology(ls_type: LsType) -> bool {
    matches!(
        ls_type,
        LsType::ROUTER
            | LsType::NETWORK
            | LsType::INTER_AREA_PREFIX
            | LsType::INTER_AREA_ROUTER
            | LsType::AS_EXTERNAL
            | LsType::NSSA
    )
}

/// The helper, RFC 3623 section 3.
impl Ospf {
    /// A Grace-LSA was installed.
    pub(super) fn handle_grace(&mut self, link: LinkId, at: LsaRef, now: Time) {
        let Some(entry) = self.lsdb.get(&at) else { return };
        let Some(interface) = self.interfaces.get(&link) else { return };
        let Some(neighbor) = interface.neighbor.as_ref().filter(|it| it.router == at.key.router) else {
            return;
        };
        if entry.is_max_age(now) {
            self.stop_helping(link, "the restart is over", now);
            return;
        }
        let Body::Grace(grace) = entry.read() else { return };
        // Longer would outlive the LSAs that are to be kept (RFC 3623 appendix B).
        let period = grace.period().min(LS_REFRESH_TIME);
        let left = period.saturating_sub(Duration::from_secs(entry.age(now).into()));
        // Section 3.1. Local policy; not while we restart ourselves, or leave; (1) fully adjacent, (3) in time, and (2)
        // nothing changed that the neighbour has not heard.
        let refused = if self.config.restart_helper == RestartHelper::Off {
            Some("restarts are not helped here")
        } else if self.stage != Stage::Running {
            Some("this router restarts or leaves itself")
        } else if !neighbor.is_adjacent() {
            Some("the neighbour is not adjacent")
        } else if left.is_zero() {
            Some("the grace period is over")
        } else if self.config.restart_helper == RestartHelper::Strict
            && neighbor.help.is_none()
            && neighbor.retransmission.keys().any(|at| is_topology(at.key.ls_type))
        {
            Some("the topology has just changed")
        } else {
            None
        };
        let router_id = at.key.router;
        if let Some(reason) = refused {
            self.outputs.push_back(Output::RestartHelper { link, router_id, helping: false, reason });
            return;
        }
        let Some(neighbor) = self.interfaces.get_mut(&link).and_then(|it| it.neighbor.as_mut()) else {
            return;
        };
        let until = now + left;
        let begins = neighbor.help.replace(Help { until, reason: grace.reason }).is_none();
        // It says no Hello while it restarts.
        neighbor.inactivity_at = neighbor.inactivity_at.max(until);
        if begins {
            let reason = "the neighbour restarts";
            self.outputs.push_back(Output::RestartHelper { link, router_id, helping: true, reason });
        }
    }

    /// RFC 3623 section 3.2.
    pub(super) fn stop_helping(&mut self, link: LinkId, reason: &'static str, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let dead = interface.dead;
        let Some(neighbor) = &mut interface.neighbor else { return };
        if neighbor.help.take().is_none() {
            return;
        }
        neighbor.inactivity_at = neighbor.inactivity_at.min(now + dead);
        let (router_id, full) = (neighbor.router, neighbor.state == State::Full);
        self.outputs.push_back(Output::RestartHelper { link, router_id, helping: false, reason });
        if !full {
            self.outputs.push_back(Output::AdjacencyChanged { link, up: false });
            self.schedule_spf(SpfTrigger::Adjacency(link), now);
        }
        // The Router-LSA says again what is, not what was.
        self.update_own_lsas(now);
    }

    pub(super) fn help_timeout(&mut self, link: LinkId, now: Time) {
        let neighbor = self.interfaces.get(&link).and_then(|interface| interface.neighbor.as_ref());
        if neighbor.and_then(|neighbor| neighbor.help).is_some_and(|help| help.until <= now) {
            self.stop_helping(link, "the grace period is over", now);
        }
    }

    /// RFC 3623 section 3.2 (3): a change of the topology that a helped neighbour would have been told ends the help. What
    /// the neighbour says about itself is told by it, not to it.
    pub(super) fn topology_changed(&mut self, at: LsaRef, now: Time) {
        if self.config.restart_helper != RestartHelper::Strict || !is_topology(at.key.ls_type) {
            return;
        }
        let helped = self.interfaces.iter().filter(|(link, interface)| {
            let neighbor = interface.neighbor.as_ref();
            at.is_on(**link) && neighbor.is_some_and(|it| it.help.is_some() && it.router != at.key.router)
        });
        let links: Vec<LinkId> = helped.map(|(link, _)| *link).collect();
        for link in links {
            self.stop_helping(link, "the topology changed", now);
        }
    }
}

/// The restarting router, RFC 3623 section 2.
impl Ospf {
    /// Asks the neighbours for a grace period, because this process is about to be replaced by one that starts with
    /// [`Self::new_restarting`]. [`Output::RestartReady`] follows within two seconds. From then on nothing is sent or
    /// received here; the tunnels and the forwarding table are to be kept, and BFD sessions ended as AdminDown.
    ///
    /// `false`, and nothing happens, while an earlier restart goes on, another Router ID is being taken, or we leave.
    #[must_use]
    pub fn prepare_restart(&mut self, grace: GraceLsa, now: Time) -> bool {
        if self.stage != Stage::Running {
            return false;
        }
        self.stage = Stage::Preparing { grace, stop_at: now + PREPARE };
        self.update_own_lsas(now);
        self.hurry_own_lsas(now);
        self.settle(now);
        true
    }

    /// A router that restarts and asks for `grace`. Its links are to have the ids they had (RFC 5187 section 3.2).
    /// Until [`Output::RestartEnded`] no [`Output::FibChanged`] comes: the old table stays in force.
    #[must_use]
    pub fn new_restarting(config: super::Config, grace: GraceLsa, now: Time) -> Self {
        let until = now + grace.period().min(LS_REFRESH_TIME);
        Self::with_stage(config, Stage::Restarting { grace, until }, now)
    }

    /// The grace period we ask for.
    pub(super) const fn own_grace(&self) -> Option<GraceLsa> {
        match self.stage {
            Stage::Preparing { grace, .. } | Stage::Restarting { grace, .. } => Some(grace),
            Stage::Running
            | Stage::Leaving { .. }
            | Stage::Flushing { .. }
            | Stage::Redrawing { .. }
            | Stage::Stopped => None,
        }
    }

    pub(super) const fn is_restarting(&self) -> bool {
        matches!(self.stage, Stage::Restarting { .. })
    }

    /// RFC 3623 section 5: a router that could not announce its restart does so before its first Hello, which tells the
    /// neighbour that the adjacency is gone. Nobody acknowledges it, so it comes with every Hello until one is answered.
    pub(super) fn send_early_grace(&mut self, link: LinkId) {
        let Stage::Restarting { grace, .. } = self.stage else { return };
        if self.interfaces.get(&link).is_none_or(|interface| interface.neighbor.is_some()) {
            return;
        }
        let router = self.config.router_id;
        let at = LsaRef { link: Some(link), key: LsaKey { ls_type: LsType::GRACE, router, id: link.get() } };
        let lsa = match self.lsdb.get(&at) {
            Some(entry) => entry.lsa().clone(),
            None => Lsa::new(at.key, super::consts::INITIAL_SEQUENCE_NUMBER, 0, grace.encode().into()),
        };
        self.transmit(link, PacketBody::Update(vec![lsa]));
    }

    /// What there is to be done in the stages of a restart, whenever something has happened.
    pub(super) fn continue_restart(&mut self, now: Time) {
        match self.stage {
            Stage::Preparing { stop_at, .. } => {
                let heard =
                    self.interfaces.values().filter_map(|interface| interface.neighbor.as_ref()).all(
                        |neighbor| neighbor.retransmission.keys().all(|at| at.key.ls_type != LsType::GRACE),
                    );
                if heard || stop_at <= now {
                    self.go_silent();
                }
            }
            Stage::Restarting { until, .. } => {
                if until <= now {
                    self.end_restart(false, "the grace period is over", now);
                } else if let Some((complete, reason)) = self.restart_verdict(now) {
                    self.end_restart(complete, reason, now);
                }
            }
            Stage::Running
            | Stage::Leaving { .. }
            | Stage::Flushing { .. }
            | Stage::Redrawing { .. }
            | Stage::Stopped => {}
        }
    }

    /// No Hello without neighbours, no flushed LSA: nobody is to notice.
    fn go_silent(&mut self) {
        self.stage = Stage::Stopped;
        for interface in self.interfaces.values_mut() {
            interface.up = false;
        }
        self.outputs.push_back(Output::RestartReady);
    }

    /// RFC 3623 section 2.2: whether the restart is over, and was complete.
    fn restart_verdict(&self, now: Time) -> Option<(bool, &'static str)> {
        let full = |interface: &super::interface::Interface| {
            interface.neighbor.as_ref().is_some_and(|neighbor| neighbor.state == State::Full)
        };
        // What neighbours have of us is known once the database of one of them is ours.
        if !self.interfaces.values().any(full) {
            return None;
        }
        let Some(before) = self.router_links(self.config.router_id, now) else {
            return Some((false, "nobody has our old Router-LSA"));
        };
        let mut missing = false;
        for old in before {
            if !self.interfaces.keys().any(|link| link.get() == old.interface) {
                return Some((false, "a link is no longer configured"));
            }
            let adjacent = self.interfaces.iter().any(|(link, interface)| {
                let is_it = interface.neighbor.as_ref().is_some_and(|it| it.router == old.neighbor);
                link.get() == old.interface && is_it && full(interface)
            });
            missing |= !adjacent;
            let lists_us =
                |links: Vec<RouterLink>| links.iter().any(|it| it.neighbor == self.config.router_id);
            if self.router_links(old.neighbor, now).is_some_and(|theirs| !lists_us(theirs)) {
                return Some((false, "a neighbour gave the adjacency up"));
            }
        }
        (!missing).then_some((true, "all adjacencies are back"))
    }

    /// The point-to-point links a router announces in all its Router-LSAs.
    pub(super) fn router_links(&self, router: RouterId, now: Time) -> Option<Vec<RouterLink>> {
        let mut links: Option<Vec<RouterLink>> = None;
        for (_, entry) in self.lsdb.of_router(LsType::ROUTER, router).filter(|(_, it)| !it.is_max_age(now)) {
            if let Body::Router(lsa) = entry.read() {
                let to_routers = lsa.links.into_iter().filter(|link| link.kind == link_type::POINT_TO_POINT);
                links.get_or_insert_default().extend(to_routers);
            }
        }
        links
    }

    /// RFC 3623 section 2.3.
    pub(super) fn end_restart(&mut self, complete: bool, reason: &'static str, now: Time) {
        self.stage = Stage::Running;
        // (1), (2) and (6): what is true is said, and the Grace-LSAs are flushed.
        self.update_own_lsas(now);
        self.require_own_lsas(now);
        // (5) What is no longer true is flushed.
        let own_id = self.config.router_id;
        let received = self.lsdb.iter().map(|(at, _)| *at);
        let obsolete: Vec<LsaRef> =
            received.filter(|at| at.key.router == own_id && !self.own.contains_key(at)).collect();
        for at in obsolete {
            self.flush(at, now);
        }
        self.outputs.push_back(Output::RestartEnded { complete, reason });
        // (3) and (4)
        self.schedule_spf(SpfTrigger::Configuration, now);
        self.calculate_routes(now);
        self.settle(now);
    }
}
