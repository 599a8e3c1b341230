//! A neighbour that describes its database in the order of LS types, as stock routers do: what proves the rest comes last.
//!
//! ```text
//! node 0 --- a script with 2,500 routers behind it
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::RouterId;
use molt_routing::ospf::consts::{MAX_AGE, description, options};
use molt_routing::ospf::events::Cause;
use molt_routing::ospf::lsa::{LsType, Lsa, LsaKey};
use molt_routing::ospf::packet::{Description, PacketBody};
use molt_routing::ospf::{Reject, State};

use crate::rig::{Net, UNIX_MS, agent, hello, identity, link};

/// The end of the wire at which the node under test sits.
const NODE: usize = 0;
/// Nobody answers for them.
const STRANGERS: u32 = 2_500;
/// What is asked for before it is proven: an eighth of 16,000, and what the packet has room for that reaches it.
const ASKED: std::ops::RangeInclusive<usize> = 2_000..=2_101;
const ALL: u8 = description::I | description::M | description::MS;

struct Stock {
    net: Net,
    lsas: BTreeMap<LsaKey, Lsa>,
    /// Number of the next description.
    seq: u32,
    /// How many packets of the net were read.
    read: usize,
}

impl Stock {
    fn new() -> Self {
        let mut net = Net::members(2, 0);
        net.connect(0, 1, 10);
        net.cut(0);
        let me = net.nodes[0].router_id();
        net.inject(0, NODE, PacketBody::Hello(hello(vec![me]))).unwrap();
        let mut stock = Self { net, lsas: BTreeMap::new(), seq: 77, read: 0 };
        stock.describe(ALL, &[]).unwrap();
        stock
    }

    fn describe(&mut self, flags: u8, lsas: &[Lsa]) -> Result<(), Reject> {
        self.lsas.extend(lsas.iter().map(|lsa| (lsa.header.key, lsa.clone())));
        let headers = lsas.iter().map(|lsa| lsa.header).collect();
        let next = Description { options: options::ROUTER, mtu: 1280, flags, seq: self.seq, headers };
        self.seq += 1;
        self.net.inject(0, NODE, PacketBody::Description(next))
    }

    /// Answers requests until there are no more, and says what was asked for.
    fn answer(&mut self) -> Vec<LsaKey> {
        let mut asked = Vec::new();
        loop {
            self.net.run_for(Duration::from_millis(150));
            let sent = self.net.sent_since(self.read, 0, link(1));
            self.read = self.net.sent.len();
            let keys: Vec<LsaKey> = sent
                .into_iter()
                .filter_map(|(_, body)| if let PacketBody::Request(keys) = body { Some(keys) } else { None })
                .flatten()
                .collect();
            if keys.is_empty() {
                return asked;
            }
            for key in &keys {
                let lsa = self.lsas[key].clone();
                self.net.inject(0, NODE, PacketBody::Update(vec![lsa])).unwrap();
            }
            asked.extend(keys);
        }
    }
}

fn lsa(ls_type: LsType, router: RouterId, body: &[u8]) -> Lsa {
    Lsa::new(LsaKey { ls_type, router, id: 0 }, 1, 1, Arc::from(body))
}

/// A Router-LSA without links.
fn router_lsa(router: RouterId) -> Lsa {
    lsa(LsType::ROUTER, router, &[0, 0, 0, 0x13])
}

#[test]
fn what_nobody_answers_for_waits_for_its_proof_and_is_forgone_when_none_comes() {
    let mut stock = Stock::new();
    let known = identity(7);
    let router = known.router_id(0);
    // The last of all by its id, so it is not among the first that are asked for.
    let strangers: Vec<Lsa> = (0..STRANGERS).map(|number| router_lsa(RouterId(1 + number))).collect();
    assert!(router.0 > STRANGERS, "{router}");
    for lsas in strangers.chunks(60) {
        stock.describe(description::M | description::MS, lsas).unwrap();
    }
    stock.describe(description::M | description::MS, &[router_lsa(router)]).unwrap();
    let asked = stock.answer();
    assert!(ASKED.contains(&asked.len()), "{} asked for", asked.len());
    assert_eq!(stock.net.state(0, link(1)), State::Exchange);

    let record = agent(&known, 0, UNIX_MS).sign(&known).unwrap();
    let record = lsa(LsType::AGENT_RECORD, router, record.bytes());
    let proof = record.header.key;
    stock.describe(description::M | description::MS, &[record]).unwrap();
    assert_eq!(stock.answer(), [proof, router_lsa(router).header.key]);
    assert_eq!(stock.net.nodes[0].counters().lsas_without_room, 0);

    // The exchange ends without what would prove the others.
    stock.describe(description::MS, &[]).unwrap();
    assert_eq!(stock.answer(), []);
    assert_eq!(stock.net.state(0, link(1)), State::Full);
    assert_eq!(stock.net.nodes[0].counters().lsas_without_room, 0);
    for _ in 0..6 {
        stock.net.run_for(Duration::from_secs(10));
        stock.net.inject(0, NODE, PacketBody::Hello(hello(vec![stock.net.nodes[0].router_id()]))).unwrap();
    }
    let without = stock.net.nodes[0].counters().lsas_without_room;
    assert_eq!(without as usize, STRANGERS as usize - asked.len());
    let events = stock.net.nodes[0].events();
    assert!(events.iter().any(|event| event.cause == Cause::LsaFlood), "{events:?}");
}

/// FRR passes a mesh that is merged with this one on in that order, over an adjacency that is Full.
#[test]
fn what_was_refused_unproven_is_requested_when_its_proof_is_flooded() {
    let mut stock = Stock::new();
    stock.describe(description::MS, &[]).unwrap();
    assert_eq!(stock.net.state(0, link(1)), State::Full);
    let flood = |stock: &mut Stock, lsas: &[Lsa]| {
        stock.lsas.extend(lsas.iter().map(|lsa| (lsa.header.key, lsa.clone())));
        for lsas in lsas.chunks(40) {
            stock.net.inject(0, NODE, PacketBody::Update(lsas.to_vec())).unwrap();
        }
    };
    let strangers: Vec<Lsa> = (0..8_000).map(|number| router_lsa(RouterId(1 + number))).collect();
    flood(&mut stock, &strangers);
    let members: Vec<_> = (5..20).map(identity).collect();
    let links: Vec<Lsa> = members.iter().map(|it| router_lsa(it.router_id(0))).collect();
    flood(&mut stock, &links);
    assert_eq!(stock.net.nodes[0].database(stock.net.now).lsas.len(), own(&stock) + strangers.len());
    // It asks for nothing that the neighbour has not any longer, which would end the adjacency.
    let flushed = Lsa::new(links[3].header.key, 2, MAX_AGE, Arc::from([0, 0, 0, 0x13]));
    flood(&mut stock, &[flushed]);
    let records: Vec<Lsa> = members
        .iter()
        .map(|it| lsa(LsType::AGENT_RECORD, it.router_id(0), agent(it, 0, UNIX_MS).sign(it).unwrap().bytes()))
        .collect();
    flood(&mut stock, &records);
    let mut asked = stock.answer();
    asked.sort();
    let keys: Vec<LsaKey> = links.iter().map(|lsa| lsa.header.key).collect();
    assert_eq!(asked, [&keys[..3], &keys[4..]].concat());
    assert!(asked.iter().all(|key| stock.net.header(0, *key).is_some()));
    assert_eq!(stock.net.state(0, link(1)), State::Full);
    assert_eq!(stock.net.nodes[0].counters().lsas_without_room, 0);
    assert!(stock.net.nodes[0].events().is_empty(), "{:?}", stock.net.nodes[0].events());
}

/// LSAs of the node itself and of its link.
fn own(stock: &Stock) -> usize {
    let me = stock.net.nodes[0].router_id();
    let all = stock.net.nodes[0].database(stock.net.now).lsas;
    all.iter().filter(|lsa| lsa.header.key.router == me).count()
}
