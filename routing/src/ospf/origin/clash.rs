//! Two routers with one router id (RFC 7503 section 7, decided by keys).
//!
//! One of them draws again. Between members it is the one whose key has the higher hash; between neighbours, who learn
//! nothing of each other's records, the one with the higher link-local address. A stock router cannot move, so we do. If
//! the other one should move and does not within [`PATIENCE`], we move all the same: somebody may have searched 2^32 keys
//! for our id, and that costs us one move.
//!
//! A router that moves flushes what it said, takes the new id, and begins as after a start.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{AgentRecord, IdentityKey, LinkId, RouterId, Time};

use super::super::consts::MAX_AGE;
use super::super::lsa::LsType;
use super::super::lsdb::LsaRef;
use super::super::neighbor::Event as NeighborEvent;
use super::super::view::SpfTrigger;
use super::super::{FLUSH, Ospf, Output, Stage};
use super::{Cause, Subject, record_key};

/// How long the other one has to move: its Hellos and LSAs must have reached us, and it flushes before it moves.
const PATIENCE: Duration = Duration::from_secs(30);
/// A clash that was not seen for so long is over: three Hellos.
const OVER: Duration = Duration::from_secs(40);
/// A neighbour that claims whatever id we have moves us once in this time.
const ONCE_IN: Duration = Duration::from_hours(1);

/// A clash that the other one is to resolve.
#[derive(Debug, Default)]
pub(in super::super) struct Clash {
    /// When it was seen first and last.
    seen: Option<(Time, Time)>,
    /// When a neighbour made us move.
    moved_for: BTreeMap<LinkId, Time>,
}

impl Clash {
    /// Whether the other one had its time.
    fn is_patience_over(&mut self, now: Time) -> bool {
        let since = self.seen.filter(|(_, last)| now < *last + OVER).map_or(now, |(since, _)| since);
        self.seen = Some((since, now));
        since + PATIENCE <= now
    }
}

impl Ospf {
    /// A neighbour has our router id.
    pub(in super::super) fn clash_with_neighbor(&mut self, link: LinkId, src: Ipv6Addr, now: Time) {
        let Some(interface) = self.interfaces.get(&link) else { return };
        if self.origins.member.is_none() || self.stage != Stage::Running {
            return;
        }
        let ours_to_move = interface.config.stock || interface.config.local > src;
        let moved = self.clash.moved_for.get(&link).is_some_and(|at| now < *at + ONCE_IN);
        let moves = !moved && (ours_to_move || self.clash.is_patience_over(now));
        let why = match (moves, moved) {
            (true, _) => "a neighbour has our router id; we draw another",
            (_, true) => "a neighbour has our router id again; it is ignored",
            _ => "a neighbour has our router id; it has to move",
        };
        let router = self.config.router_id;
        self.origins.report(Cause::RouterIdClash, router, Subject::Router, Some(link), why, now);
        if moves {
            self.clash.moved_for.insert(link, now);
            self.leave_router_id(now);
        }
    }

    /// The configuration says that a stock router has our id.
    pub(super) fn clash_with_stock(&mut self, now: Time) {
        if self.stage == Stage::Running {
            let (router, why) = (self.config.router_id, "a stock router has our router id; we draw another");
            self.origins.report(Cause::RouterIdClash, router, Subject::Router, None, why, now);
            self.leave_router_id(now);
        }
    }

    /// A verified record of another key with our router id came.
    pub(super) fn clash_in_area(&mut self, key: IdentityKey, link: LinkId, now: Time) {
        let Some(member) = &self.origins.member else { return };
        if self.stage != Stage::Running {
            return;
        }
        let loses = AgentRecord::rank(member.identity.key()) > AgentRecord::rank(&key);
        let moves = loses || self.clash.is_patience_over(now);
        let router = self.config.router_id;
        let why = match moves {
            true => format!("{key} has our router id; we draw another"),
            false => format!("{key} has our router id; it has to move"),
        };
        self.origins.report(
            Cause::RouterIdClash,
            router,
            Subject::Lsa(record_key(router)),
            Some(link),
            &why,
            now,
        );
        if moves {
            self.leave_router_id(now);
        }
    }

    fn leave_router_id(&mut self, now: Time) {
        self.stage = Stage::Redrawing { at: now + FLUSH };
        self.update_own_lsas(now);
        self.hurry_own_lsas(now);
    }

    /// The old id is left behind; this is a new router.
    pub(in super::super) fn take_router_id(&mut self, now: Time) {
        let old = self.config.router_id;
        let router_id = {
            let Some(member) = &mut self.origins.member else { return };
            loop {
                member.draw = member.draw.wrapping_add(1);
                let drawn = member.identity.router_id(member.draw);
                let taken = self.lsdb.of_router(LsType::ROUTER, drawn).next().is_some();
                if !taken && !self.origins.stock.contains(&drawn) {
                    break drawn;
                }
            }
        };
        let draw = self.origins.member.as_ref().map_or(0, |member| member.draw);
        self.config.router_id = router_id;
        self.stage = Stage::Running;
        self.clash.seen = None;
        self.own.clear();
        self.restart_own_origin(now);
        self.lsdb.set_vouched(old, self.origins.is_vouched(old));
        self.lsdb.set_vouched(router_id, true);
        // What is stored under the old id is somebody else's from here on.
        let theirs: Vec<LsaRef> =
            self.lsdb.iter().map(|(at, _)| *at).filter(|at| at.key.router == old).collect();
        for at in theirs {
            self.origins.touch(&at);
        }
        self.spf.restart(router_id, &self.lsdb);
        self.outputs.push_back(Output::RouterIdChanged { router_id, draw });
        let links: Vec<LinkId> = self.interfaces.keys().copied().collect();
        for link in links {
            self.neighbor_event(link, NeighborEvent::KillNbr, "we have another router id", now);
            if self.interfaces.get(&link).is_some_and(|interface| interface.up) {
                self.send_hello(link, now);
            }
        }
        self.schedule_spf(SpfTrigger::Configuration, now);
        self.update_own_lsas(now);
    }

    /// Whether nothing of ours is left under the id we leave, or the time for it is over.
    pub(in super::super) fn has_left_router_id(&self, now: Time) -> bool {
        let Stage::Redrawing { at } = self.stage else { return false };
        let router: RouterId = self.config.router_id;
        let lives = |at: &LsaRef| self.lsdb.get(at).is_some_and(|entry| entry.age(now) < MAX_AGE);
        at <= now || self.own.keys().all(|at| at.link.is_some() || at.key.router != router && !lives(at))
    }
}
