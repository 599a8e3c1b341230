//! Answers to the reading requests, built from the control plane and a snapshot of the packet core.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use molt_bfd::Binding;
use molt_mesh::{LinkId, RouterId, Target, Time};
use molt_routing::ospf::State as NeighborState;
use molt_routing::ospf::consts::{AREA, INSTANCE};
use molt_routing::ospf::events::{Event, Subject};
use molt_routing::ospf::lsa::{AsExternalLsa, Body, LsType, LsaPrefix, Scope};
use molt_routing::ospf::origin::{Claim, Verdict};
use molt_routing::ospf::view::{
    InterfaceView, LsaView, MismatchView, NeighborView, RejectedRoute, Route, SpfRun, SpfTrigger,
};
use molt_tun::{LinkView, Snapshot};

mod bgp;
mod counters;

use super::{Daemon, refuse};
use crate::api::{self, Answer, FailureKind, Request, Response, schema};
use crate::control::Restart;

/// Whether a request is about the packet core.
pub(super) fn needs_snapshot(request: &Request) -> bool {
    matches!(request, Request::Bfd | Request::Counters | Request::Peers | Request::Status)
}

/// Who is who, for one answer.
struct Names {
    by_router: BTreeMap<RouterId, String>,
    by_link: BTreeMap<LinkId, RouterId>,
}

impl Names {
    fn of_router(&self, router: RouterId) -> Option<String> {
        self.by_router.get(&router).cloned()
    }

    fn of_link(&self, link: LinkId) -> Option<String> {
        self.of_router(*self.by_link.get(&link)?)
    }

    fn hops(&self, links: &[LinkId]) -> Vec<api::NextHop> {
        let hop = |link: &LinkId| api::NextHop {
            link: link.get(),
            router_id: self.by_link.get(link).map(ToString::to_string),
            name: self.of_link(*link),
        };
        links.iter().map(hop).collect()
    }
}

impl Daemon {
    /// Answers a reading request; those of [`needs_snapshot`] come with one.
    pub(super) fn answer(&self, request: &Request, snapshot: Option<&Snapshot>) -> Response {
        let now = self.clock.now();
        let ospf = self.control.ospf();
        let names = Names {
            by_router: ospf.hostnames(now),
            by_link: ospf
                .neighbors(now)
                .into_iter()
                .map(|neighbor| (neighbor.link, neighbor.router_id))
                .collect(),
        };
        Response::Ok(match (request, snapshot) {
            (Request::BgpRoutes, _) => Answer::BgpRoutes(self.bgp_routes()),
            (Request::BgpSummary, _) => Answer::BgpSummary(self.bgp_summary()),
            (Request::Bfd, Some(snapshot)) => Answer::Bfd(self.bfd(snapshot, &names)),
            (Request::Counters, Some(snapshot)) => Answer::Counters(self.counters(snapshot)),
            (Request::Peers, Some(snapshot)) => Answer::Peers(self.peers(snapshot, &names)),
            (Request::Status, Some(snapshot)) => Answer::Status(Box::new(self.status(snapshot))),
            (Request::OspfDatabase, _) => Answer::OspfDatabase(self.database(&names)),
            (Request::OspfInterfaces, _) => Answer::OspfInterfaces(self.interfaces()),
            (Request::OspfNeighbors, _) => Answer::OspfNeighbors(self.neighbors(&names)),
            (Request::OspfSpfLog, _) => Answer::OspfSpfLog(self.spf_log()),
            (Request::OspfEvents, _) => Answer::OspfEvents(self.events(&names)),
            (Request::Routes, _) => Answer::Routes(self.routes(&names)),
            (Request::RoutesExplain(about), _) => {
                Answer::RouteExplanation(self.explanation(about.address, &names))
            }
            _ => return refuse(FailureKind::BadRequest, "not a reading request".into()),
        })
    }

    fn status(&self, snapshot: &Snapshot) -> api::Status {
        let now = self.clock.now();
        let ospf = self.control.ospf();
        let mesh = self.config.network.prefix;
        let addresses = self.me.node.addresses(mesh);
        let shown = addresses.first().copied().unwrap_or_else(|| self.me.node.identity.address(mesh));
        let full = self.control.peers().keys().filter(|link| self.control.is_full(**link)).count();
        let database = ospf.database(now);
        let mut routers: Vec<RouterId> = database
            .lsas
            .iter()
            .filter(|lsa| lsa.header.key.ls_type == LsType::ROUTER)
            .map(|lsa| lsa.header.key.router)
            .collect();
        routers.dedup();
        let fib = ospf.fib();
        let elsewhere = fib.routes().iter().any(|(_, target)| matches!(target, Target::Via(_)));
        api::Status {
            schema: schema::STATUS.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            name: self.config.node.name.as_ref().map(|name| name.as_str().to_owned()),
            agent_id: self.me.node.agent_id().to_string(),
            addresses: addresses.iter().map(|address| address.ip()).collect(),
            prefix: mesh.to_string(),
            trust_class: crate::class_name(shown).into(),
            wireguard_key: self.me.node.identity.node_public().to_string(),
            router_id: ospf.router_id().to_string(),
            link_local: self.me.node.identity.link_local(),
            interface: self.me.interface.clone(),
            mtu: molt_mesh::port::TUNNEL_MTU as u32,
            listen: self.me.listen.clone(),
            uptime_s: now.since_start().as_secs(),
            peers: api::PeerCounts {
                configured: self.control.peers().len(),
                connected: snapshot.links.iter().filter(|link| link.up).count(),
                full,
            },
            routers: routers.len(),
            routes: fib.len(),
            lsas: database.lsas.len(),
            spf_runs: ospf.counters().spf_runs,
            ready: full > 0 && elsewhere,
            discarded: snapshot.discards.total(),
            restart: self.restart_view(now),
        }
    }

    fn restart_view(&self, now: Time) -> Option<api::Restart> {
        let (going, complete, reason, until) = match self.control.restart() {
            Restart::None => return None,
            Restart::Going { .. } => (true, false, None, now),
            Restart::Over { complete, reason, at } => (false, *complete, Some((*reason).to_owned()), *at),
        };
        Some(api::Restart { going, complete, reason, took_ms: millis(until.since_start()) })
    }

    fn peers(&self, snapshot: &Snapshot, names: &Names) -> api::Peers {
        let now = self.clock.now();
        let states: BTreeMap<_, _> = self
            .control
            .ospf()
            .neighbors(now)
            .into_iter()
            .map(|neighbor| (neighbor.link, neighbor.state))
            .collect();
        let costs: BTreeMap<_, _> = self
            .control
            .ospf()
            .interfaces(now)
            .into_iter()
            .map(|interface| (interface.link, interface.cost))
            .collect();
        let views: BTreeMap<LinkId, &LinkView> =
            snapshot.links.iter().map(|view| (view.link, view)).collect();
        let sessions: BTreeMap<_, _> =
            snapshot.bfd.iter().map(|session| (session.session, session.state)).collect();
        let peer = |(link, peer): (&LinkId, &crate::control::Peer)| {
            let view = views.get(link);
            let traffic = view.map(|view| view.traffic).unwrap_or_default();
            api::Peer {
                link: link.get(),
                wireguard_key: peer.config.key.to_string(),
                name: names.of_link(*link),
                router_id: names.by_link.get(link).map(ToString::to_string),
                endpoint: view.and_then(|view| view.endpoint),
                stock: peer.config.stock.is_some(),
                cost: costs.get(link).copied().unwrap_or_default(),
                connected: view.is_some_and(|view| view.up),
                last_handshake_s: view.and_then(|view| view.session_age).map(|age| age.as_secs()),
                ospf: states.get(link).map_or_else(|| "Down".into(), |state| format!("{state:?}")),
                bfd: sessions.get(&Binding::Link(*link)).map(ToString::to_string),
                rx_packets: traffic.rx_packets,
                rx_bytes: traffic.rx_bytes,
                tx_packets: traffic.tx_packets,
                tx_bytes: traffic.tx_bytes,
            }
        };
        api::Peers { schema: schema::PEERS.into(), peers: self.control.peers().iter().map(peer).collect() }
    }

    fn routes(&self, names: &Names) -> api::Routes {
        let ospf = self.control.ospf();
        let rejected = |rejected: &RejectedRoute| api::RejectedRoute {
            prefix: rejected.prefix.to_string(),
            router_id: rejected.router.to_string(),
            reason: rejected.reason.meaning().into(),
        };
        api::Routes {
            schema: schema::ROUTES.into(),
            restarting: matches!(self.control.restart(), Restart::Going { .. }),
            routes: self.all_routes(names, ospf.routes().map(|it| self.route(&it, names)).collect()),
            rejected: ospf.rejected_routes().iter().map(rejected).collect(),
        }
    }

    fn route(&self, route: &Route, names: &Names) -> api::Route {
        let origin = route.origins.first().copied().unwrap_or_else(|| self.control.ospf().router_id());
        api::Route {
            prefix: route.prefix.to_string(),
            name: names.of_router(origin),
            router_id: origin.to_string(),
            metric: route.cost,
            next_hops: names.hops(&route.links),
        }
    }

    fn explanation(&self, address: Ipv6Addr, names: &Names) -> api::RouteExplanation {
        let explanation = self.control.ospf().explain(address, self.clock.now());
        let claim = |claim: &Claim| {
            let (verdict, reason) = match claim.verdict {
                Verdict::Farther => ("farther", None),
                Verdict::LessSpecific => ("less-specific", None),
                Verdict::Rejected(reject) => ("rejected", Some(reject.meaning().to_owned())),
                Verdict::Unreachable => ("unreachable", None),
                Verdict::Used => ("used", None),
            };
            api::RouteClaim {
                prefix: claim.prefix.to_string(),
                router_id: claim.router.to_string(),
                name: names.of_router(claim.router),
                identity_key: claim.key.map(|key| key.to_string()),
                record_seq: claim.record.map(|(seq, _)| seq),
                record_expiry: claim.record.map(|(_, expiry)| expiry),
                signature: claim.signature.map(|(counter, _)| counter),
                signature_age_s: claim.signature.map(|(_, age)| age.as_secs()),
                held: claim.held,
                metric: claim.path.as_ref().map(|(cost, _)| *cost),
                next_hops: claim.path.as_ref().map(|(_, links)| names.hops(links)).unwrap_or_default(),
                verdict: verdict.into(),
                reason,
            }
        };
        api::RouteExplanation {
            schema: schema::ROUTE_EXPLANATION.into(),
            address,
            route: explanation.route.as_ref().map(|route| self.route(route, names)),
            claims: explanation.claims.iter().map(claim).collect(),
        }
    }

    fn events(&self, names: &Names) -> api::OspfEvents {
        let now = self.clock.now();
        let event = |event: &&Event| api::OspfEvent {
            ago_ms: millis(now.since(event.at)),
            cause: event.cause.name().into(),
            router_id: event.router.to_string(),
            name: names.of_router(event.router),
            identity_key: event.key.map(|key| key.to_string()),
            link: event.link.map(LinkId::get),
            via: event.link.and_then(|link| names.of_link(link)),
            subject: match event.subject {
                Subject::Lsa(key) => format!("{} LSA {}", key.ls_type.names().0, key.id),
                Subject::Prefix(prefix) => prefix.to_string(),
                Subject::Router => "router id".into(),
            },
            why: event.why.clone(),
            suppressed: event.suppressed,
        };
        let events = self.control.ospf().events();
        api::OspfEvents { schema: schema::OSPF_EVENTS.into(), events: events.iter().map(event).collect() }
    }

    fn neighbors(&self, names: &Names) -> api::OspfNeighbors {
        let now = self.clock.now();
        let ospf = self.control.ospf();
        let interfaces = ospf.interfaces(now);
        let costs: BTreeMap<_, _> =
            interfaces.iter().map(|interface| (interface.link, interface.cost)).collect();
        let mismatch = |interface: &InterfaceView, view: &MismatchView| api::OspfMismatch {
            interface_id: interface.link.get(),
            neighbor_router_id: view.router_id.to_string(),
            parameter: view.mismatch.parameter().into(),
            ours: view.mismatch.ours(),
            theirs: view.mismatch.theirs(),
            adopted: view.mismatch.is_adopted(),
            ago_ms: millis(view.ago),
        };
        let neighbor = |neighbor: &NeighborView| api::OspfNeighbor {
            interface_id: neighbor.link.get(),
            neighbor_router_id: neighbor.router_id.to_string(),
            name: names.of_router(neighbor.router_id),
            address: neighbor.address,
            priority: neighbor.priority,
            state: format!("{:?}", neighbor.state),
            state_ms: millis(neighbor.uptime),
            dead_timer_ms: millis(neighbor.dead_time),
            cost: costs.get(&neighbor.link).copied().unwrap_or_default(),
            retransmissions: neighbor.retransmissions,
            requests: neighbor.requests,
            state_changes: neighbor.state_changes,
            restart_remaining_ms: neighbor.helped.map(|(left, _)| millis(left)),
            restart_reason: neighbor.helped.map(|(_, reason)| reason.to_string()),
        };
        let states: BTreeMap<_, _> =
            ospf.neighbors(now).into_iter().map(|neighbor| (neighbor.link, neighbor.state)).collect();
        api::OspfNeighbors {
            schema: schema::OSPF_NEIGHBORS.into(),
            neighbors: ospf.neighbors(now).iter().map(neighbor).collect(),
            mismatches: interfaces
                .iter()
                .flat_map(|interface| interface.mismatches.iter().map(|view| mismatch(interface, view)))
                .collect(),
            silent: interfaces
                .iter()
                .filter(|interface| {
                    let speaks = interface.up && !interface.spare;
                    speaks && interface.mismatches.iter().all(|it| it.mismatch.is_adopted())
                })
                .filter_map(|interface| silence(interface.link, states.get(&interface.link).copied()))
                .collect(),
        }
    }

    fn interfaces(&self) -> api::OspfInterfaces {
        let now = self.clock.now();
        let ospf = self.control.ospf();
        let neighbors: BTreeMap<_, _> =
            ospf.neighbors(now).into_iter().map(|neighbor| (neighbor.link, neighbor.router_id)).collect();
        let interface = |interface: &InterfaceView| api::OspfInterface {
            interface_id: interface.link.get(),
            state: match (interface.up, interface.spare) {
                (false, _) => "down",
                (true, true) => "spare",
                (true, false) => "point-to-point",
            }
            .into(),
            area_id: Ipv4Addr::from_bits(AREA).to_string(),
            instance_id: INSTANCE,
            address: interface.local,
            cost: interface.cost,
            mtu: interface.mtu,
            hello_interval: interface.hello.as_secs(),
            dead_interval: interface.dead.as_secs(),
            retransmit_interval: interface.rxmt.as_secs(),
            neighbor_router_id: neighbors.get(&interface.link).map(ToString::to_string),
            last_reject: interface.last_reject.map(|(_, reject)| reject.to_string()),
            last_reject_ago_ms: interface.last_reject.map(|(ago, _)| millis(ago)),
        };
        api::OspfInterfaces {
            schema: schema::OSPF_INTERFACES.into(),
            router_id: self.control.ospf().router_id().to_string(),
            interfaces: ospf.interfaces(now).iter().map(interface).collect(),
        }
    }

    fn database(&self, names: &Names) -> api::OspfDatabase {
        let view = |lsa: &LsaView| {
            let header = &lsa.header;
            let key = header.key;
            api::OspfLsa {
                scope: scope_name(key.ls_type.scope()).into(),
                interface_id: lsa.link.map(LinkId::get),
                lsa_type: format!("{:04x}", key.ls_type.0),
                type_name: key.ls_type.names().0.into(),
                type_short: key.ls_type.names().1.into(),
                lsa_id: key.id,
                adv_router: key.router.to_string(),
                name: names.of_router(key.router),
                age: header.age(),
                seq_num: format!("{:08x}", header.seq),
                checksum: format!("{:04x}", header.checksum),
                length: header.length,
                payload: payload(&lsa.body, names),
            }
        };
        api::OspfDatabase {
            schema: schema::OSPF_DATABASE.into(),
            router_id: self.control.ospf().router_id().to_string(),
            lsas: self.control.ospf().database(self.clock.now()).lsas.iter().map(view).collect(),
        }
    }

    fn spf_log(&self) -> api::OspfSpfLog {
        let now = self.clock.now();
        let log: Vec<_> = self.control.ospf().spf_log().collect();
        let runs = self.control.ospf().counters().spf_runs;
        let entry = |(back, run): (usize, &&SpfRun)| {
            let more = match run.events {
                0 | 1 => String::new(),
                events => format!(" and {} more", events - 1),
            };
            api::OspfSpfRun {
                id: runs.saturating_sub(back as u64),
                ago_ms: millis(now.since(run.at)),
                kind: if run.full { "full" } else { "prefix" }.into(),
                reason: trigger(&run.trigger) + &more,
                delay_ms: millis(run.at.since(run.first_event)),
                duration_us: self.control.duration_of(run.at).map(|took| took.as_micros() as u64),
                routers: run.vertices,
                routes: run.routes,
            }
        };
        api::OspfSpfLog {
            schema: schema::OSPF_SPF_LOG.into(),
            runs: log.iter().rev().enumerate().map(entry).collect(),
        }
    }

    fn bfd(&self, snapshot: &Snapshot, names: &Names) -> api::Bfd {
        let addresses: BTreeMap<_, _> = self
            .control
            .ospf()
            .neighbors(self.clock.now())
            .into_iter()
            .map(|neighbor| (neighbor.link, neighbor.address))
            .collect();
        let in_ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let ends = |session: &molt_bfd::View| match session.session {
            Binding::Link(link) => (Some(link), None, addresses.get(&link).copied()),
            Binding::Path { local, remote } => (None, Some(local), Some(remote)),
        };
        let session = |session: &molt_bfd::View| api::BfdSession {
            path_type: if ends(session).0.is_some() { "ip-sh" } else { "ip-mh" }.into(),
            interface_id: ends(session).0.map(LinkId::get),
            name: ends(session).0.and_then(|link| names.of_link(link)),
            source_addr: ends(session).1,
            dest_addr: ends(session).2,
            local_state: session.state.to_string(),
            remote_state: session.remote_state.to_string(),
            local_diagnostic: session.diag.to_string(),
            remote_diagnostic: session.remote_diag.to_string(),
            local_discriminator: session.discriminator,
            remote_discriminator: session.remote_discriminator,
            negotiated_tx_interval_ms: session.transmit_interval.map_or(0.0, in_ms),
            negotiated_rx_interval_ms: in_ms(
                session.config.required_min_rx.max(session.remote_desired_min_tx),
            ),
            detection_time_ms: in_ms(session.detection_time),
            up_s: session.up_for.map(|up| up.as_secs()),
            down_count: session.times_down,
            rx_packets: session.counters.received,
            tx_packets: session.counters.transmitted,
        };
        api::Bfd { schema: schema::BFD.into(), sessions: snapshot.bfd.iter().map(session).collect() }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A tunnel that is up carries Hellos, unless the other end lets nothing through. Stock routers do not say so.
fn silence(link: LinkId, state: Option<NeighborState>) -> Option<api::OspfSilence> {
    let (problem, hint) = match state {
        None | Some(NeighborState::Down) => (
            "no-hello",
            "no AllowedIPs ff02::/16, no link-local address, or no OSPFv3 on the interface at the other end",
        ),
        Some(NeighborState::Init) => (
            "one-way",
            "it does not hear us: no AllowedIPs fe80::/10 at the other end; or it is a meshd with the neighbours it wants",
        ),
        Some(_) => return None,
    };
    Some(api::OspfSilence { interface_id: link.get(), problem: problem.into(), hint: hint.into() })
}

const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Link => "link",
        Scope::Area => "area",
        Scope::As => "as",
        Scope::Reserved => "reserved",
    }
}

fn trigger(trigger: &SpfTrigger) -> String {
    match trigger {
        SpfTrigger::Adjacency(link) => format!("adjacency on link {link}"),
        SpfTrigger::Configuration => "configuration".into(),
        SpfTrigger::Lsa(key) => format!("{} LSA {} of {}", key.ls_type.names().0, key.id, key.router),
    }
}

/// What an LSA says, in a line: destinations with their costs.
fn payload(body: &Body, names: &Names) -> String {
    let to = |router: &RouterId, cost: u32| {
        let name = names.of_router(*router).unwrap_or_else(|| router.to_string());
        format!("{name}+{cost}")
    };
    let prefix = |prefix: &LsaPrefix, cost: u32| format!("{}/{}+{cost}", prefix.addr, prefix.len);
    let external = |lsa: &AsExternalLsa| {
        let kind = if lsa.type_2 { " type 2" } else { "" };
        prefix(&lsa.prefix, lsa.metric) + kind
    };
    match body {
        Body::AsExternal(lsa) | Body::Nssa(lsa) => external(lsa),
        Body::Autoconfig(lsa) => {
            let bytes = lsa.fingerprint().unwrap_or_default().iter();
            bytes.take(8).map(|byte| format!("{byte:02x}")).collect()
        }
        Body::Grace(lsa) => format!("{} s, {}", lsa.period_s, lsa.reason),
        Body::InterAreaPrefix(lsa) => prefix(&lsa.prefix, lsa.metric),
        Body::InterAreaRouter(lsa) => to(&lsa.destination, lsa.metric),
        Body::IntraAreaPrefix(lsa) => {
            joined(lsa.prefixes.iter().map(|advertised| prefix(advertised, advertised.metric.into())))
        }
        Body::Link(lsa) => lsa.link_local.to_string(),
        Body::Network(lsa) => joined(lsa.routers.iter().map(ToString::to_string)),
        Body::Opaque => String::new(),
        Body::Router(lsa) => joined(lsa.links.iter().map(|link| to(&link.neighbor, link.metric.into()))),
        Body::RouterInformation(lsa) => lsa.hostname().unwrap_or_default().to_owned(),
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(" ")
}
