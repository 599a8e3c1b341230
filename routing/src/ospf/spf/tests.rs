//! The graph that is kept in step against one that is read from the database and calculated in the most simple way.

use std::collections::BTreeMap;

use super::super::lsa::{Lsa, RouterLsa};
use super::super::lsdb::LsaRef;
use super::super::origin::Origins;
use super::*;

const ROUTERS: u32 = 12;

fn router(number: u32) -> RouterId {
    RouterId(number + 1)
}

/// Distances by relaxing all links of the database until nothing changes.
fn naive(lsdb: &Lsdb, root_links: &[RootLink], now: Time) -> BTreeMap<RouterId, u32> {
    let mut lsas: BTreeMap<RouterId, (u32, Vec<RouterLink>)> = BTreeMap::new();
    for (key, entry) in lsdb.of_type(LsType::ROUTER).filter(|(_, entry)| !entry.is_max_age(now)) {
        let Body::Router(lsa) = &entry.body else { continue };
        lsas.entry(key.router).or_insert((lsa.options, Vec::new())).1.extend(&lsa.links);
    }
    let has_link = |from: RouterId, to: RouterId| {
        lsas.get(&from).is_some_and(|(_, links)| links.iter().any(|link| link.neighbor == to))
    };
    let usable = |id: RouterId| lsas.get(&id).is_some_and(|(options, _)| options & options::V6 != 0);
    let mut distance = BTreeMap::new();
    for link in root_links.iter().filter(|link| usable(link.neighbor) && has_link(link.neighbor, router(0))) {
        let known = distance.entry(link.neighbor).or_insert(u32::MAX);
        *known = link.cost.min(*known);
    }
    for _ in 0..ROUTERS {
        for (from, (options, links)) in lsas.iter().filter(|(id, _)| **id != router(0)) {
            let Some(near) = distance.get(from).copied().filter(|_| options & options::R != 0) else {
                continue;
            };
            for link in links.iter().filter(|link| usable(link.neighbor) && has_link(link.neighbor, *from)) {
                let far = near + u32::from(link.metric.max(1));
                let known = distance.entry(link.neighbor).or_insert(u32::MAX);
                *known = far.min(*known);
            }
        }
    }
    distance.remove(&router(0));
    distance
}

#[test]
fn the_graph_kept_in_step_gives_the_distances_of_one_read_anew() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let now = Time::ZERO;
        let (mut lsdb, origins) = (Lsdb::default(), Origins::default());
        let mut graph = Graph::new(router(0));
        let root_links: Vec<RootLink> = (1..4)
            .map(|number| RootLink {
                link: LinkId::new(number).unwrap(),
                cost: number,
                neighbor: router(number),
            })
            .collect();
        for step in 0..150 {
            // A router appears, changes one of two fragments, or goes; most links have two ends sooner or later.
            let (number, id) = (rng.u32(..ROUTERS), rng.u32(..2));
            let key = LsaKey { ls_type: LsType::ROUTER, router: router(number), id };
            if rng.u8(..4) == 0 {
                lsdb.remove(&LsaRef::area(key));
            } else {
                let links = (0..ROUTERS).filter(|_| rng.u8(..3) == 0).collect::<Vec<_>>();
                let links = links.into_iter().map(|to| RouterLink {
                    kind: link_type::POINT_TO_POINT,
                    metric: rng.u16(..5),
                    interface: 1,
                    neighbor_interface: 1,
                    neighbor: router(to),
                });
                let links = links.collect();
                let options = *rng.choice(&[0x13, 0x13, 0x13, 0x03, 0x12]).unwrap();
                let body = RouterLsa { bits: 0, options, links }.encode();
                lsdb.install(LsaRef::area(key), Lsa::new(key, 1, 0, body.into()), true, now);
            }
            graph.update(&Usable { lsdb: &lsdb, origins: &origins, now }, VertexId::Router(router(number)));
            let tree = Tree::calculate(&graph, &root_links, &mut NextHopSets::new());
            let found: BTreeMap<RouterId, u32> = (1..ROUTERS)
                .filter_map(|number| {
                    let (distance, _) = tree.distance(&graph, VertexId::Router(router(number)))?;
                    Some((router(number), distance))
                })
                .collect();
            assert_eq!(found, naive(&lsdb, &root_links, now), "seed {seed} step {step}");
        }
    }
}

#[test]
fn vertices_without_lsas_do_not_pile_up() {
    let now = Time::ZERO;
    let (mut lsdb, origins) = (Lsdb::default(), Origins::default());
    let mut graph = Graph::new(router(0));
    for number in 1..5_000 {
        let key = LsaKey { ls_type: LsType::ROUTER, router: router(number), id: 0 };
        let body = RouterLsa { bits: 0, options: options::ROUTER, links: Vec::new() }.encode();
        lsdb.install(LsaRef::area(key), Lsa::new(key, 1, 0, body.into()), true, now);
        graph.update(&Usable { lsdb: &lsdb, origins: &origins, now }, VertexId::Router(router(number)));
        lsdb.remove(&LsaRef::area(key));
        graph.update(&Usable { lsdb: &lsdb, origins: &origins, now }, VertexId::Router(router(number)));
        graph.compact(&Usable { lsdb: &lsdb, origins: &origins, now }, router(0));
        assert!(graph.vertices.len() <= 2 * MIN_COMPACT);
    }
}
