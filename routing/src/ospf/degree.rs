//! How many neighbours a router has. What a member floods, watches with BFD and says in its Router-LSA grows with their
//! number, so it is bounded; tunnels beyond the bound are spares. Hellos on a spare name nobody, so that the other end
//! hears us and does not become a neighbour.
//!
//! Who stays:
//!
//! 1. Stock routers do not count: nobody tells them that they are one too many.
//! 2. Who is a neighbour stays one. Better links are no reason to move, because each move costs packets.
//! 3. Connectivity is worth more than the bound. A router that is heard on a spare and that no route leads to becomes a
//!    neighbour when a HelloInterval has not changed that.
//! 4. A router beyond its bound gives up a neighbour that the others lead to as well: of these the one with the highest
//!    cost, then the latest. Without one it stays beyond the bound, as the hub of a star must.

use std::cmp::Reverse;

use molt_mesh::{LinkId, RouterId, Time};

use super::neighbor::{Event, State};
use super::{Interface, Ospf};

impl Ospf {
    /// No more than `max` neighbours, at least 1; see the module for who they are. Default: no bound.
    pub fn limit_neighbors(&mut self, max: usize) {
        self.max_neighbors = max.max(1);
    }

    /// Whether a link is up and its other end is no neighbour because there are enough of them.
    pub(super) fn is_spare(&self, interface: &Interface) -> bool {
        let is_neighbor = |of: &Interface| of.neighbor.as_ref().is_some_and(|it| it.state > State::Init);
        let counts = |other: &&Interface| !other.config.stock && is_neighbor(other);
        interface.up
            && !interface.config.stock
            && !is_neighbor(interface)
            && self.interfaces.values().filter(counts).count() >= self.max_neighbors
    }

    /// Whether a Hello of `router` may make it a neighbour.
    pub(super) fn may_be_neighbor(&mut self, link: LinkId, router: RouterId, now: Time) -> bool {
        let Some(interface) = self.interfaces.get(&link) else { return false };
        let cut_off = if !self.is_spare(interface) {
            return true;
        } else if self.spf.reaches(router) {
            None
        } else {
            Some(interface.cut_off_since.unwrap_or(now))
        };
        let may = cut_off.is_some_and(|since| now.since(since) >= interface.hello);
        if let Some(interface) = self.interfaces.get_mut(&link) {
            interface.cut_off_since = cut_off.filter(|_| !may);
        }
        may
    }

    /// Gives up one neighbour, if there are too many and one can be spared. Called when routes were calculated, which every
    /// change of an adjacency brings about.
    pub(super) fn keep_bound(&mut self, now: Time) {
        let full = |interface: &&Interface| {
            !interface.config.stock && interface.neighbor.as_ref().is_some_and(|it| it.state == State::Full)
        };
        let counted: Vec<&Interface> = self.interfaces.values().filter(full).collect();
        if counted.len() <= self.max_neighbors {
            return;
        }
        // All links with a neighbour count as a way, also those to stock routers.
        let adjacent: Vec<RouterId> =
            self.interfaces.values().filter_map(|it| Some(it.full_neighbor()?.router)).collect();
        let parts = self.spf.parts_around_root(&adjacent);
        let spared = counted
            .into_iter()
            .filter_map(|interface| {
                let neighbor = interface.neighbor.as_ref()?;
                let part = parts.get(&neighbor.router)?;
                let others = adjacent.iter().filter(|other| parts.get(other) == Some(part)).count();
                (others > 1).then_some((interface.config.cost, neighbor.since, interface.config.link))
            })
            .max_by_key(|(cost, since, link)| (*cost, *since, Reverse(*link)));
        if let Some((_, _, link)) = spared {
            self.neighbor_event(
                link,
                Event::KillNbr,
                "others lead to this neighbour, and there are enough",
                now,
            );
            self.send_parting_hello(link);
            self.settle(now);
        }
    }
}
