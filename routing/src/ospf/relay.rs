//! Flooding less in dense meshes, by everybody's own choice.
//!
//! In a full mesh of n routers section 13 of RFC 2328 makes each LSA travel n² times. Most copies go to routers that have
//! the LSA already, and the topology says which: whoever is adjacent to enough others among the router that sent it to us and
//! that router's neighbours. Such a neighbour is *covered*. Our copy for it waits for [`RELAY_DELAY`] on its retransmission
//! list, and meanwhile it is told by an acknowledgment that we have the LSA. If it says the same, by an acknowledgment or by
//! sending the LSA, the copy is dropped. If it does not, the copy goes out as if nothing had been saved.
//!
//! So nothing depends on what others do or believe: a neighbour that floods by the book only gets fewer copies, a wrong
//! view of the topology costs [`RELAY_DELAY`] at most, and nobody has to be elected or trusted. The idea of a local choice
//! from the two-hop neighbourhood is that of draft-ietf-lsr-distoptflood; the wait and the unasked acknowledgments are what
//! makes it safe without agreement. A router drops an acknowledgment of what is not on its list (RFC 2328 section 13.7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use molt_mesh::RouterId;

use super::flood::ACK_DELAY;
use super::spf::graph::Graph;

/// How long the copy for a covered neighbour waits: until an acknowledgment that was sent in time for the next batch is here,
/// over a path with a round trip of 150 ms.
pub(super) const RELAY_DELAY: Duration = ACK_DELAY.saturating_add(Duration::from_millis(150));
/// So many others must be about to send it to a neighbour. With two, one that dies in that moment, or one lost packet,
/// delays nothing: bad news that comes a quarter of a second late to one router lets packets go in circles for that long.
const RELAYS: usize = 2;

/// Whom the neighbours of the one that sent an LSA reach without us, as far as it was asked since the last change.
#[derive(Debug, Default)]
pub(super) struct Relay {
    covered: BTreeMap<RouterId, BTreeSet<RouterId>>,
}

impl Relay {
    /// The topology changed.
    pub(super) fn forget(&mut self) {
        self.covered.clear();
    }

    /// Those of our `neighbors` that get an LSA which `from` sent us without our help.
    pub(super) fn covered(
        &mut self,
        from: RouterId,
        graph: &Graph,
        neighbors: impl Iterator<Item = RouterId>,
    ) -> &BTreeSet<RouterId> {
        self.covered
            .entry(from)
            .or_insert_with(|| neighbors.filter(|to| *to != from && is_covered(graph, from, *to)).collect())
    }
}

fn is_covered(graph: &Graph, from: RouterId, to: RouterId) -> bool {
    let direct = usize::from(graph.are_adjacent(from, to));
    // All neighbours of `from` see the same candidates and the same order, so exactly the first ones send at once.
    let ours = rank(graph.root(), from);
    let before_us = graph.neighbors_of(from).filter(|relay| {
        *relay != graph.root() && rank(*relay, from) < ours && graph.are_adjacent(*relay, to)
    });
    direct + before_us.take(RELAYS - direct).count() == RELAYS
}

/// Another order for each sender, so that the work is shared.
const fn rank(relay: RouterId, from: RouterId) -> (u32, RouterId) {
    let mixed = (relay.0 ^ from.0.rotate_left(16)).wrapping_mul(0x9e37_79b9);
    ((mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b), relay)
}

#[cfg(test)]
mod tests;
