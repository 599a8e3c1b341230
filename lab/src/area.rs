//! What the routers of an area say: plain data, for whoever plays their part.
//!
//! An area is *unsigned*, of routers with a Router-LSA and one /128, as other implementations have them; or *signed*, of
//! routers that say what a production node says: the Router-LSA, the address of its key, its name, its agent record, and the
//! lists that sign the rest.

use std::net::Ipv6Addr;
use std::sync::Arc;

use molt_mesh::record::{Agent, AgentRecord, Covered, Topology as SignedList, digest};
use molt_mesh::{Identity, MeshPrefix, Prefix, RouterId};
use molt_routing::ospf::consts::{capability, link_type, options};
use molt_routing::ospf::lsa::{
    IntraAreaPrefixLsa, LsType, Lsa, LsaKey, LsaPrefix, RouterInformationLsa, RouterLink, RouterLsa,
};

use crate::topology::Topology;

/// What a link costs unless it is said otherwise.
pub const COST: u16 = 10;
/// How long a record counts, in seconds: the month of a production node.
const RECORD_LIFETIME: u64 = 30 * 86_400;
/// The two lists of a signed router: its Router-LSAs, and the rest.
const LINKS: u8 = 0;
const PREFIXES: u8 = 1;

/// What the routers of an area say.
#[derive(Clone)]
pub struct Area {
    routers: Vec<Recorded>,
    /// Milliseconds since 1970 of the first records.
    unix_ms: u64,
}

#[derive(Clone)]
struct Recorded {
    id: RouterId,
    /// With it the router signs.
    identity: Option<Identity>,
    links: Vec<Link>,
    /// Links out of the area.
    outward: Vec<RouterLink>,
    prefixes: Vec<Prefix>,
    /// Rises with everything it says.
    said: i32,
}

/// A link as one end says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The router at the other end.
    pub to: usize,
    /// Cost.
    pub cost: u16,
    /// Whether it is said.
    pub up: bool,
}

impl Area {
    /// Routers that sign nothing. Router 0 has the highest id, and so is the master of every exchange.
    #[must_use]
    pub fn unsigned(topology: &Topology) -> Self {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut host = || {
            Prefix::host(Ipv6Addr::from_bits(
                MeshPrefix::DEFAULT.prefix().addr().to_bits() | rng.u128(..) >> 48,
            ))
        };
        let router = |router: usize| Recorded {
            id: RouterId(if router == 0 { u32::MAX } else { router as u32 }),
            identity: None,
            links: Vec::new(),
            outward: Vec::new(),
            prefixes: vec![host()],
            said: 0,
        };
        Self::new(topology, (0..topology.nodes).map(router).collect(), 0)
    }

    /// Routers that sign, one for each identity; their records are of the time of day `unix_ms`.
    #[must_use]
    pub fn signed(topology: &Topology, identities: Vec<Identity>, unix_ms: u64) -> Self {
        let router = |identity: Identity| Recorded {
            id: identity.router_id(0),
            prefixes: vec![Prefix::host(identity.address(MeshPrefix::DEFAULT).ip())],
            identity: Some(identity),
            links: Vec::new(),
            outward: Vec::new(),
            said: 0,
        };
        Self::new(topology, identities.into_iter().map(router).collect(), unix_ms)
    }

    fn new(topology: &Topology, mut routers: Vec<Recorded>, unix_ms: u64) -> Self {
        for (a, b) in &topology.links {
            for (from, to) in [(*a, *b), (*b, *a)] {
                routers[from].links.push(Link { to, cost: COST, up: true });
            }
        }
        Self { routers, unix_ms }
    }

    /// How many routers there are.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.routers.len()
    }

    /// The Router ID of a router.
    #[must_use]
    pub fn router_id(&self, router: usize) -> RouterId {
        self.routers[router].id
    }

    /// The keys of a signed router.
    #[must_use]
    pub fn identity(&self, router: usize) -> Option<&Identity> {
        self.routers[router].identity.as_ref()
    }

    /// Its name.
    #[must_use]
    pub fn name(router: usize) -> String {
        format!("n{router}")
    }

    /// The links of a router.
    #[must_use]
    pub fn links(&self, router: usize) -> &[Link] {
        &self.routers[router].links
    }

    /// The same, to be changed.
    pub fn links_mut(&mut self, router: usize) -> &mut [Link] {
        &mut self.routers[router].links
    }

    /// Links of a router to somebody who is not of this area.
    pub fn outward_mut(&mut self, router: usize) -> &mut Vec<RouterLink> {
        &mut self.routers[router].outward
    }

    /// What a router announces.
    #[must_use]
    pub fn prefixes(&self, router: usize) -> &[Prefix] {
        &self.routers[router].prefixes
    }

    /// The same, to be changed.
    pub fn prefixes_mut(&mut self, router: usize) -> &mut Vec<Prefix> {
        &mut self.routers[router].prefixes
    }

    /// Interface ID of the link from one router to another. FRR and BIRD look whether both ends say the same.
    #[must_use]
    pub fn interface(&self, from: usize, to: usize) -> u32 {
        let mut links = self.links(from).iter().zip(1..);
        links.find(|(link, _)| link.to == to).map_or(1, |(_, interface)| interface)
    }

    /// Everything a router says.
    pub fn lsas(&mut self, router: usize) -> Vec<Lsa> {
        let mut lsas = self.links_lsas(router);
        lsas.extend(self.prefix_lsas(router));
        if let Some(name) = self.name_body(router) {
            lsas.push(self.lsa(LsType::ROUTER_INFORMATION, router, 0, name.into()));
        }
        if let Some(record) = self.record(router) {
            lsas.push(self.lsa(LsType::AGENT_RECORD, router, 0, Arc::clone(record.bytes())));
        }
        lsas
    }

    /// What a router says about its links, and what proves it.
    pub fn links_lsas(&mut self, router: usize) -> Vec<Lsa> {
        let body = self.router_body(router);
        self.with_list(LsType::ROUTER, router, body, LINKS)
    }

    /// What a router announces, and what proves it.
    pub fn prefix_lsas(&mut self, router: usize) -> Vec<Lsa> {
        let body = self.prefix_body(router);
        self.with_list(LsType::INTRA_AREA_PREFIX, router, body, PREFIXES)
    }

    /// The record of a signed router, of this moment.
    #[must_use]
    pub fn record(&self, router: usize) -> Option<AgentRecord> {
        let identity = self.identity(router)?;
        let agent = Agent {
            key: *identity.key(),
            wireguard: *identity.node_public(),
            draw: 0,
            addresses: vec![identity.address(MeshPrefix::DEFAULT)],
            name: Some(Self::name(router)),
            endpoints: Vec::new(),
            services: Vec::new(),
            capabilities: Vec::new(),
            region: None,
            seq: self.counter(router),
            expiry: self.unix_ms / 1000 + RECORD_LIFETIME,
        };
        Some(agent.sign(identity).expect("a record of one address and a short name is in order"))
    }

    fn with_list(&mut self, ls_type: LsType, router: usize, body: Vec<u8>, part: u8) -> Vec<Lsa> {
        let mut lsas = vec![self.lsa(ls_type, router, 0, body.into())];
        if let Some(list) = self.list(router, part) {
            lsas.push(self.lsa(LsType::TOPOLOGY_SIGNATURE, router, part.into(), list.into()));
        }
        lsas
    }

    fn list(&self, router: usize, part: u8) -> Option<Vec<u8>> {
        let identity = self.identity(router)?;
        let listed = if part == LINKS {
            vec![(LsType::ROUTER, self.router_body(router))]
        } else {
            let prefixes = (LsType::INTRA_AREA_PREFIX, self.prefix_body(router));
            let name = self.name_body(router).map(|body| (LsType::ROUTER_INFORMATION, body));
            [prefixes].into_iter().chain(name).collect()
        };
        let covered =
            |(ls_type, body): &(LsType, Vec<u8>)| Covered { ls_type: ls_type.0, id: 0, digest: digest(body) };
        let covered = listed.iter().map(covered).collect();
        let (counter, router) = (self.counter(router), self.router_id(router));
        Some(SignedList { router, part, counter, covered }.sign(identity))
    }

    /// Of a record or a list of this moment.
    fn counter(&self, router: usize) -> u64 {
        self.unix_ms + u64::from(self.routers[router].said.cast_unsigned())
    }

    fn router_body(&self, router: usize) -> Vec<u8> {
        let link = |(interface, link): (u32, &Link)| {
            link.up.then(|| RouterLink {
                kind: link_type::POINT_TO_POINT,
                metric: link.cost,
                interface,
                neighbor_interface: self.interface(link.to, router),
                neighbor: self.router_id(link.to),
            })
        };
        let Recorded { links, outward, .. } = &self.routers[router];
        let links = (1..).zip(links).filter_map(link).chain(outward.iter().copied()).collect();
        RouterLsa { bits: 0, options: options::ROUTER, links }.encode()
    }

    fn prefix_body(&self, router: usize) -> Vec<u8> {
        let referenced = LsaKey { ls_type: LsType::ROUTER, router: self.router_id(router), id: 0 };
        let prefixes = self.prefixes(router).iter().map(|prefix| LsaPrefix::own(*prefix)).collect();
        IntraAreaPrefixLsa { referenced, prefixes }.encode()
    }

    fn name_body(&self, router: usize) -> Option<Vec<u8>> {
        self.identity(router)?;
        let capabilities = capability::STUB_ROUTER | capability::GRACEFUL_RESTART_HELPER;
        let lsa = RouterInformationLsa::with_hostname(&Self::name(router)).with_capabilities(capabilities);
        Some(lsa.encode())
    }

    fn lsa(&mut self, ls_type: LsType, router: usize, id: u32, body: Arc<[u8]>) -> Lsa {
        let Recorded { said, id: router, .. } = &mut self.routers[router];
        *said += 1;
        Lsa::new(LsaKey { ls_type, router: *router, id }, *said, 1, body)
    }
}
