//! Graceful restart: what the control plane leaves to its successor, and how it goes on with what it was left.

use std::collections::BTreeMap;
use std::sync::Arc;

use molt_mesh::{Fib, LinkId, NodePublic, Time};
use molt_routing::ospf::{self, Ospf};
use molt_tun::Command;
use tracing::info;

use super::{Control, Peer};
use crate::handover::{self, HandedLink, Handover};

/// The graceful restart by which this process came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restart {
    /// There was none.
    None,
    /// The process before this one forwarded over these links, and so does this one until routing has found out what has
    /// become of them.
    Going {
        /// Neighbours by key.
        links: BTreeMap<NodePublic, HandedLink>,
    },
    /// It is over.
    Over {
        /// Whether all adjacencies came back.
        complete: bool,
        /// Why it is over.
        reason: &'static str,
        /// When.
        at: Time,
    },
}

/// Routing as it starts, and the forwarding table that is in force at first.
pub(super) fn start(
    config: ospf::Config,
    handover: Option<Handover>,
    unix_ms: u64,
    now: Time,
) -> (Ospf, Arc<Fib>, Restart) {
    let unix_ms = unix_ms.saturating_add(now.since_start().as_millis() as u64);
    // Without a neighbour that waits for us there is nothing to go on with.
    let handover = handover.filter(|it| it.links.values().any(|handed| handed.forwarding));
    match handover.and_then(|it| Some((it.grace_left(unix_ms)?, it))) {
        Some((grace, Handover { links, fib, .. })) => {
            (Ospf::new_restarting(config, grace, now), Arc::new(fib), Restart::Going { links })
        }
        None => {
            let ospf = Ospf::new(config, now);
            let fib = Arc::clone(ospf.fib());
            (ospf, fib, Restart::None)
        }
    }
}

impl Control {
    /// Begins a graceful restart: neighbours are asked to keep their ways through us. [`Notice::RestartReady`](super::Notice) follows
    /// within two seconds. `false` if routing is busy with an earlier restart, another router id, or its end.
    #[must_use]
    pub fn prepare_restart(&mut self, now: Time) -> bool {
        let begins = self.ospf.prepare_restart(handover::GRACE, now);
        self.drain(now);
        begins
    }

    /// The graceful restart by which this process came to be.
    #[must_use]
    pub const fn restart(&self) -> &Restart {
        &self.restart
    }

    /// What the process that replaces this one goes on with.
    pub(super) fn handover(&self, now: Time) -> Handover {
        let handed = |(link, peer): (&LinkId, &Peer)| {
            let forwarding = self.full.contains(link);
            (peer.config.key, HandedLink { link: *link, endpoint: peer.endpoint, forwarding })
        };
        Handover {
            mesh: self.config.mesh,
            unix_ms: self.config.unix_ms.saturating_add(now.since_start().as_millis() as u64),
            draw: self.config.draw,
            links: self.peers.iter().map(handed).collect(),
            fib: Fib::clone(&self.fib),
        }
    }

    /// From here on the packet path does what routing says, and nothing for old times' sake.
    pub(super) fn end_restart(&mut self, complete: bool, reason: &'static str, now: Time) {
        info!(complete, reason, "the graceful restart is over");
        let before = std::mem::replace(&mut self.restart, Restart::Over { complete, reason, at: now });
        if let Restart::Going { links } = before {
            for handed in links.values().filter(|it| it.forwarding && !self.full.contains(&it.link)) {
                self.commands.push_back(Command::Forwarding(handed.link, false));
            }
        }
        self.fib_changed = true;
    }

    /// What a restart that goes on keeps.
    pub(super) fn handed_links(&self) -> &BTreeMap<NodePublic, HandedLink> {
        static NONE: BTreeMap<NodePublic, HandedLink> = BTreeMap::new();
        match &self.restart {
            Restart::Going { links } => links,
            Restart::None | Restart::Over { .. } => &NONE,
        }
    }
}
