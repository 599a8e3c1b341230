//! What differs between the two ends of a link, with both values. It is what an operator needs to know about a neighbour
//! that does not come up, so it is kept even where there is no neighbour.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use molt_mesh::{LinkId, RouterId, Time};

use super::view::MismatchView;
use super::{Ospf, Output};

/// A mismatch that goes on, or comes back with other values, is told again after this time at the earliest. A neighbour
/// must not be able to fill the log.
const SILENCE: Duration = Duration::from_secs(600);

/// Something both ends must agree on and do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// Area ID (RFC 5340 section 4.2.2).
    Area {
        /// Ours.
        ours: u32,
        /// Theirs.
        theirs: u32,
    },
    /// Checksum of a packet (RFC 2328 section 8.2).
    Checksum {
        /// What it should be.
        ours: u16,
        /// What it was.
        theirs: u16,
    },
    /// Instance ID (RFC 5340 section 4.2.2).
    Instance {
        /// Ours.
        ours: u8,
        /// Theirs.
        theirs: u8,
    },
    /// HelloInterval and RouterDeadInterval in seconds (RFC 2328 section 10.5).
    Intervals {
        /// Ours.
        ours: (u16, u16),
        /// Theirs.
        theirs: (u16, u16),
        /// Whether we use theirs.
        adopted: bool,
    },
    /// Interface MTU in bytes (RFC 2328 section 10.6).
    Mtu {
        /// Ours.
        ours: u16,
        /// Theirs. A smaller one is used.
        theirs: u16,
    },
    /// Kind of network: ours is point-to-point, and their Hello names a Designated Router.
    NetworkType {
        /// That router.
        designated: RouterId,
    },
    /// Options of a Hello (RFC 5340 section 4.2.2.1).
    Options {
        /// Ours.
        ours: u32,
        /// Theirs.
        theirs: u32,
    },
    /// Both ends have this Router ID (RFC 5340 section 4.2.2).
    RouterId(RouterId),
}

impl Mismatch {
    /// What differs.
    #[must_use]
    pub const fn parameter(&self) -> &'static str {
        match self {
            Self::Area { .. } => "area",
            Self::Checksum { .. } => "checksum",
            Self::Instance { .. } => "instance id",
            Self::Intervals { .. } => "hello/dead interval",
            Self::Mtu { .. } => "MTU",
            Self::NetworkType { .. } => "network type",
            Self::Options { .. } => "options",
            Self::RouterId(_) => "router id",
        }
    }

    /// Our value.
    #[must_use]
    pub fn ours(&self) -> String {
        match self {
            Self::Area { ours, .. } => Ipv4Addr::from_bits(*ours).to_string(),
            Self::Checksum { ours, .. } => format!("{ours:04x}"),
            Self::Instance { ours, .. } => ours.to_string(),
            Self::Intervals { ours: (hello, dead), .. } => format!("{hello}/{dead}"),
            Self::Mtu { ours, .. } => ours.to_string(),
            Self::NetworkType { .. } => "point-to-point".into(),
            Self::Options { ours, .. } => format!("{ours:06x}"),
            Self::RouterId(id) => id.to_string(),
        }
    }

    /// Their value.
    #[must_use]
    pub fn theirs(&self) -> String {
        match self {
            Self::Area { theirs, .. } => Ipv4Addr::from_bits(*theirs).to_string(),
            Self::Checksum { theirs, .. } => format!("{theirs:04x}"),
            Self::Instance { theirs, .. } => theirs.to_string(),
            Self::Intervals { theirs: (hello, dead), .. } => format!("{hello}/{dead}"),
            Self::Mtu { theirs, .. } => theirs.to_string(),
            Self::NetworkType { designated } => format!("broadcast with DR {designated}"),
            Self::Options { theirs, .. } => format!("{theirs:06x}"),
            Self::RouterId(id) => id.to_string(),
        }
    }

    /// Whether their value is used, so that it keeps nobody from becoming adjacent.
    #[must_use]
    pub const fn is_adopted(&self) -> bool {
        match self {
            Self::Intervals { adopted, .. } => *adopted,
            Self::Mtu { ours, theirs } => *theirs < *ours,
            _ => false,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ours {}, theirs {}", self.parameter(), self.ours(), self.theirs())?;
        if self.is_adopted() { f.write_str(" (used)") } else { Ok(()) }
    }
}

/// The last mismatch of each kind on one link.
#[derive(Debug, Default)]
pub(super) struct Mismatches(Vec<Noted>);

#[derive(Debug)]
struct Noted {
    router: RouterId,
    mismatch: Mismatch,
    at: Time,
    told: Time,
    /// It has not been settled since. The entry stays, so that nothing is told again too soon.
    stands: bool,
}

impl Mismatches {
    /// Whether it is to be told.
    fn note(&mut self, router: RouterId, mismatch: Mismatch, now: Time) -> bool {
        let same_kind = |noted: &&mut Noted| noted.mismatch.parameter() == mismatch.parameter();
        let Some(noted) = self.0.iter_mut().find(same_kind) else {
            self.0.push(Noted { router, mismatch, at: now, told: now, stands: true });
            return true;
        };
        let news = !noted.stands || (noted.router, noted.mismatch) != (router, mismatch);
        let tell = news && now >= noted.told + SILENCE;
        let told = if tell { now } else { noted.told };
        *noted = Noted { router, mismatch, at: now, told, stands: true };
        tell
    }

    /// Some of them no longer stand.
    pub(super) fn settle(&mut self, which: impl Fn(&Mismatch) -> bool) {
        for noted in self.0.iter_mut().filter(|noted| which(&noted.mismatch)) {
            noted.stands = false;
        }
    }

    pub(super) fn views(&self, now: Time) -> Vec<MismatchView> {
        let view = |noted: &Noted| MismatchView {
            router_id: noted.router,
            mismatch: noted.mismatch,
            ago: now.since(noted.at),
        };
        self.0.iter().filter(|noted| noted.stands).map(view).collect()
    }
}

impl Ospf {
    pub(super) fn note_mismatch(&mut self, link: LinkId, router_id: RouterId, mismatch: Mismatch, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        if interface.mismatches.note(router_id, mismatch, now) {
            self.outputs.push_back(Output::Mismatch { link, router_id, mismatch });
        }
    }
}
