//! What an operator sees: plain copies of the state, in the words of FRR, BIRD and RFC 9129.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{LinkId, MeshAddr, Prefix, RouterId, Time};

use super::Ospf;
use super::consts::prefix_options;
use super::lsa::{Body, GraceReason, LsType, LsaHeader, LsaKey};
use super::mismatch::Mismatch;
use super::neighbor::State;
use super::origin::Usable;
use super::packet::Reject;

/// A neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighborView {
    /// Its tunnel.
    pub link: LinkId,
    /// Its Router ID.
    pub router_id: RouterId,
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its Router Priority.
    pub priority: u8,
    /// State of the conversation.
    pub state: State,
    /// How long it has been in that state.
    pub uptime: Duration,
    /// How long until it is given up unless a Hello comes.
    pub dead_time: Duration,
    /// How often the state changed.
    pub state_changes: u32,
    /// Whether we lead the database exchange.
    pub master: bool,
    /// Length of the Database summary list.
    pub summary: usize,
    /// Length of the Link state request list.
    pub requests: usize,
    /// Length of the Link state retransmission list.
    pub retransmissions: usize,
    /// Whether the BFD session is up; `None` without a session.
    pub bfd_up: Option<bool>,
    /// How much of the grace period is left if it is helped to restart, and why it restarts.
    pub helped: Option<(Duration, GraceReason)>,
}

/// An interface: one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceView {
    /// The tunnel.
    pub link: LinkId,
    /// Whether it is Point-to-Point, else Down.
    pub up: bool,
    /// Whether it carries no adjacency because there are enough of them, see [`Ospf::limit_neighbors`].
    pub spare: bool,
    /// Cost.
    pub cost: u16,
    /// Our link-local address.
    pub local: Ipv6Addr,
    /// MTU agreed with the neighbour in bytes.
    pub mtu: u16,
    /// HelloInterval in use.
    pub hello: Duration,
    /// RouterDeadInterval in use.
    pub dead: Duration,
    /// RxmtInterval.
    pub rxmt: Duration,
    /// The last packet that was dropped, and how long ago.
    pub last_reject: Option<(Duration, Reject)>,
    /// What its two ends disagree on.
    pub mismatches: Vec<MismatchView>,
}

/// A disagreement of the two ends of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MismatchView {
    /// Router ID at the other end.
    pub router_id: RouterId,
    /// What differs.
    pub mismatch: Mismatch,
    /// When it was last met.
    pub ago: Duration,
}

/// An LSA of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LsaView {
    /// Its link if it has link scope.
    pub link: Option<LinkId>,
    /// The header with the present age.
    pub header: LsaHeader,
    /// What it says.
    pub body: Body,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseView {
    /// All LSAs.
    pub lsas: Vec<LsaView>,
    /// Sum of the checksums of all LSAs of area and AS scope: equal on routers whose databases are.
    pub checksum_sum: u32,
    /// Bytes of all LSAs.
    pub bytes: usize,
}

/// What made a calculation necessary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfTrigger {
    /// An adjacency came, went or changed.
    Adjacency(LinkId),
    /// Our configuration changed.
    Configuration,
    /// An LSA changed.
    Lsa(LsaKey),
}

/// One calculation of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfRun {
    /// When it ran.
    pub at: Time,
    /// When the first event came that it answers.
    pub first_event: Time,
    /// That event.
    pub trigger: SpfTrigger,
    /// How many events it answers.
    pub events: u32,
    /// Whether the tree was calculated, or only the routes.
    pub full: bool,
    /// Vertices of the graph.
    pub vertices: usize,
    /// Routes found.
    pub routes: usize,
    /// Whether the forwarding table changed.
    pub fib_changed: bool,
}

/// What kind of path a route is (RFC 2328 section 11), most preferred first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathType {
    /// Within the area.
    IntraArea,
    /// To another area.
    InterArea,
    /// Out of the autonomous system; the metric adds to the cost of the way.
    External1,
    /// Out of the autonomous system; the metric is larger than any way.
    External2,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub prefix: Prefix,
    /// Its kind.
    pub path: PathType,
    /// Cost of the path and the prefix; of a type 2 external path, its metric.
    pub cost: u32,
    /// The nearest routers that announce it.
    pub origins: Vec<RouterId>,
    /// Next hops, ascending. None: it is our own.
    pub links: Vec<LinkId>,
}

/// Why an announced prefix is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteReject {
    /// A member announces addresses, no prefixes.
    Aggregate,
    /// Bits are set beyond the length, or the prefix is link-local.
    InvalidPrefix,
    /// Its seventh group starts with a digit that stands for nothing.
    NoClass,
    /// The router behind a stock link may not announce it.
    NotAllowed,
    /// A claimed address, and the configuration does not say that it is the announcer's.
    NotAttested,
    /// A prefix of another mesh, and the configuration names others that may announce it.
    NotBorder,
    /// The address of a container or an anycast address, and its owner has not (or no longer) delegated it to the announcer.
    NotDelegated,
    /// A self-certifying address that does not follow from the announcer's key.
    NotOwner,
    /// It is not inside the mesh prefix, or covers all of it.
    OutsideMesh,
    /// The record of its announcer has expired.
    RecordExpired,
    /// Its announcer has no record, and the configuration does not vouch for it.
    Unsigned,
}

impl RouteReject {
    /// In words, with what to do.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Aggregate => "a member announces single addresses only",
            Self::InvalidPrefix => "not a valid prefix for a route",
            Self::NoClass => "not an address anything in the mesh can have",
            Self::NotAllowed => "the stock peer may not announce it (see `allow` of its [[peer]])",
            Self::NotAttested => "a claimed address: nobody vouches that it is this key's (see [[origin]])",
            Self::NotBorder => "`by` of `[network] external` names others that may announce it",
            Self::NotDelegated => "its owner has not delegated it to this key",
            Self::NotOwner => "the address does not follow from this key",
            Self::OutsideMesh => "outside the mesh prefix, or all of it",
            Self::RecordExpired => "the record of its announcer has expired; compare the clocks",
            Self::Unsigned => "the router has no record, and no [[origin]] vouches for it",
        }
    }
}

/// A prefix that is announced and not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRoute {
    /// The prefix.
    pub prefix: Prefix,
    /// Who announces it.
    pub router: RouterId,
    /// Why it is not used.
    pub reason: RouteReject,
}

/// Counters since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// OSPF packets received, also those that were dropped.
    pub received: u64,
    /// OSPF packets sent.
    pub sent: u64,
    /// Packets dropped by reason.
    pub rejected: BTreeMap<Reject, u64>,
    /// State changes of neighbours.
    pub neighbor_changes: u64,
    /// Calculations of the routing table.
    pub spf_runs: u64,
    /// Instances of own LSAs.
    pub lsas_originated: u64,
    /// Own LSAs that came back newer than we knew them (RFC 2328 section 13.4): a few after a restart. A number that
    /// grows means that another router has our Router ID.
    pub lsas_reclaimed: u64,
    /// LSAs received in updates.
    pub lsas_received: u64,
    /// Those that were here already in the same instance: the price of flooding on every link.
    pub lsas_redundant: u64,
    /// LSAs dropped for their checksum (RFC 2328 section 13 step 1).
    pub lsas_with_bad_checksum: u64,
    /// LSAs dropped for MinLSArrival (RFC 2328 section 13 step 5 (a)).
    pub lsas_too_early: u64,
    /// LSAs dropped because the database is full, or their originator has too many.
    pub lsas_without_room: u64,
    /// LSAs whose checksum no longer fitted in memory (RFC 2328 section 14).
    pub lsas_corrupt: u64,
    /// Acknowledgments of another instance than the one sent (RFC 2328 section 13.7).
    pub questionable_acks: u64,
}

impl Ospf {
    /// The neighbours.
    #[must_use]
    pub fn neighbors(&self, now: Time) -> Vec<NeighborView> {
        let view = |(link, interface): (&LinkId, &super::interface::Interface)| {
            let neighbor = interface.neighbor.as_ref()?;
            Some(NeighborView {
                link: *link,
                router_id: neighbor.router,
                address: neighbor.address,
                priority: neighbor.priority,
                state: neighbor.state,
                uptime: now.since(neighbor.since),
                dead_time: neighbor.inactivity_at.since(now),
                state_changes: neighbor.changes,
                master: neighbor.exchange.is_master(),
                summary: neighbor.exchange.left(),
                requests: neighbor.requests.len(),
                retransmissions: neighbor.retransmission.len(),
                bfd_up: interface.bfd.as_ref().map(|bfd| bfd.up),
                helped: neighbor.help.map(|help| (help.until.since(now), help.reason)),
            })
        };
        self.interfaces.iter().filter_map(view).collect()
    }

    /// The interfaces.
    #[must_use]
    pub fn interfaces(&self, now: Time) -> Vec<InterfaceView> {
        let view = |(link, interface): (&LinkId, &super::interface::Interface)| InterfaceView {
            link: *link,
            up: interface.up,
            spare: self.is_spare(interface),
            cost: interface.config.cost,
            local: interface.config.local,
            mtu: interface.mtu,
            hello: interface.hello,
            dead: interface.dead,
            rxmt: self.config.rxmt,
            last_reject: interface.last_reject.map(|(at, reject)| (now.since(at), reject)),
            mismatches: interface.mismatches.views(now),
        };
        self.interfaces.iter().map(view).collect()
    }

    /// The database.
    #[must_use]
    pub fn database(&self, now: Time) -> DatabaseView {
        let lsas = self.lsdb.iter().map(|(at, entry)| LsaView {
            link: at.link,
            header: entry.header(now),
            body: entry.read(),
        });
        DatabaseView {
            lsas: lsas.collect(),
            checksum_sum: self.lsdb.checksum_sum(),
            bytes: self.lsdb.bytes(),
        }
    }

    /// The headers of all LSAs flooded beyond their link, in ascending order of key, with their ages of `now`.
    pub fn headers(&self, now: Time) -> impl Iterator<Item = LsaHeader> {
        let shared = self.lsdb.iter().filter(|(at, _)| at.link.is_none());
        shared.map(move |(_, entry)| entry.header(now))
    }

    /// The last calculations of the routing table, oldest first.
    pub fn spf_log(&self) -> impl Iterator<Item = &SpfRun> {
        self.spf.log.iter()
    }

    /// The routes in ascending order of prefix.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.spf.routes()
    }

    /// What is announced by a reachable router and not used, and why.
    #[must_use]
    pub fn rejected_routes(&self) -> Vec<RejectedRoute> {
        self.spf.rejected()
    }

    fn usable(&self, now: Time) -> Usable<'_> {
        Usable { lsdb: &self.lsdb, origins: &self.origins, now }
    }

    /// The counters.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The names routers give themselves: in their record if they have one, else as RFC 5642 has it. A record proves who
    /// says so, not that nobody else does.
    #[must_use]
    pub fn hostnames(&self, now: Time) -> BTreeMap<RouterId, String> {
        let lsas = self.usable(now).of_type(LsType::ROUTER_INFORMATION);
        let names = lsas.filter_map(|(key, body)| match body {
            Body::RouterInformation(lsa) => Some((key.router, lsa.hostname()?.to_owned())),
            _ => None,
        });
        let records = self.records().filter_map(|(router, it)| Some((router, it.agent().name.clone()?)));
        names.chain(records).collect()
    }

    /// The addresses routers announce as their own (LA-bit) and have a right to, whether or not they are reachable.
    #[must_use]
    pub fn router_addresses(&self, now: Time) -> BTreeMap<RouterId, Vec<MeshAddr>> {
        let mut addresses: BTreeMap<RouterId, Vec<MeshAddr>> = BTreeMap::new();
        let allowed = self.allowed_prefixes();
        for (key, body) in self.usable(now).of_type(LsType::INTRA_AREA_PREFIX) {
            let Body::IntraAreaPrefix(lsa) = body else { continue };
            let allow = allowed.get(&key.router).map(Vec::as_slice);
            let own = lsa.prefixes.iter().filter(|prefix| {
                prefix.len == 128
                    && prefix.options & prefix_options::LA != 0
                    && (key.router == self.config.router_id
                        || self.origins.permits(key.router, prefix, allow, now).is_ok())
            });
            addresses
                .entry(key.router)
                .or_default()
                .extend(own.filter_map(|it| self.config.mesh.address(it.addr)));
        }
        addresses
    }
}
