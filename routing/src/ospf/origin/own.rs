//! What we say ourselves, and prove.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use molt_mesh::record::{Covered, DELEGATION_LEN, Delegation, SignedTopology, Topology, Unverified};
use molt_mesh::{AgentRecord, LinkId, RouterId, Time};

use super::super::consts::{MAX_AGE, MAX_SEQUENCE_NUMBER};
use super::super::lsa::{LsType, Lsa, LsaKey};
use super::super::lsdb::LsaRef;
use super::super::{Ospf, Output, Stage};
use super::{Cause, LINKS, Member, PARTS, PREFIXES, part_of, record_key, signature_key};

/// Delegations in one LSA: as many as fit the 1,200 bytes that every link carries.
const DELEGATIONS_PER_LSA: usize = 1_200 / DELEGATION_LEN;
/// For so long after a start, what comes back of us is from our last life and not from a forger.
const REMEMBERED_BY_OTHERS: Duration = Duration::from_secs(60);

/// What we have signed.
#[derive(Debug, Default)]
pub(in super::super) struct OwnOrigin {
    record: Option<AgentRecord>,
    delegations: Vec<Delegation>,
    parts: [OwnPart; PARTS.len()],
    /// An LSA of ours changed since the lists were signed.
    pub(in super::super) stale: bool,
    started: Time,
}

#[derive(Debug, Default)]
struct OwnPart {
    counter: u64,
    covered: Vec<Covered>,
    body: Option<Arc<[u8]>>,
}

impl OwnOrigin {
    pub(in super::super) fn new(now: Time) -> Self {
        Self { started: now, stale: true, ..Self::default() }
    }

    /// The LSAs that prove what the others say.
    pub(in super::super) fn bodies(&self, router: RouterId) -> BTreeMap<LsaRef, Arc<[u8]>> {
        let mut bodies = BTreeMap::new();
        let mut add = |key, body| bodies.insert(LsaRef::area(key), body);
        // A record for another router id is one that is yet to be signed anew after a clash.
        if let Some(record) = self.record.as_ref().filter(|record| record.agent().router_id() == router) {
            add(record_key(router), Arc::clone(record.bytes()));
        }
        for (id, chunk) in (1..).zip(self.delegations.chunks(DELEGATIONS_PER_LSA)) {
            let body: Vec<u8> = chunk.iter().flat_map(|it| it.bytes().iter().copied()).collect();
            add(LsaKey { ls_type: LsType::AGENT_RECORD, router, id }, body.into());
        }
        for (part, own) in PARTS.into_iter().zip(&self.parts) {
            if let Some(body) = &own.body {
                add(signature_key(router, part), Arc::clone(body));
            }
        }
        bodies
    }

    fn part_mut(&mut self, part: u32) -> Option<&mut OwnPart> {
        self.parts.get_mut(part as usize)
    }
}

impl OwnPart {
    fn sign(&mut self, member: &Member, router: RouterId, part: u32, now: Time) -> Arc<[u8]> {
        self.counter = self.counter.saturating_add(1).max(member.unix_ms(now));
        let topology = Topology {
            router,
            part: u8::try_from(part).unwrap_or(u8::MAX),
            counter: self.counter,
            covered: self.covered.clone(),
        };
        let body: Arc<[u8]> = topology.sign(&member.identity).into();
        self.body = Some(Arc::clone(&body));
        body
    }
}

impl Ospf {
    /// Replaces our record. One that is for another router id than ours is kept back until we have that id.
    pub fn set_record(&mut self, record: AgentRecord, now: Time) {
        self.own_origin.record = Some(record);
        self.update_own_lsas(now);
        self.settle(now);
    }

    /// Replaces the delegations we hold: of our containers, and of anycast addresses.
    pub fn set_delegations(&mut self, delegations: Vec<Delegation>, now: Time) {
        self.own_origin.delegations = delegations;
        self.update_own_lsas(now);
        self.settle(now);
    }

    /// The wall clock was set: milliseconds since 1970 at [`Time::ZERO`].
    pub fn set_clock(&mut self, unix_ms: u64, now: Time) {
        if let Some(member) = &mut self.origins.member {
            member.unix_ms = unix_ms;
            self.origins.reconsider_expiry();
            self.settle(now);
        }
    }

    /// Signs the lists of what we say anew if we say something else; a refresh says the same. A list leaves together
    /// with the LSA that made it necessary: it is signed when that is originated, and due at once.
    pub(in super::super) fn sign_topology(&mut self, now: Time) {
        let signs = matches!(self.stage, Stage::Running | Stage::Leaving { .. });
        if !std::mem::take(&mut self.own_origin.stale) || !signs {
            return;
        }
        let Some(member) = &self.origins.member else { return };
        let router = self.config.router_id;
        for part in PARTS {
            let said = self.own.iter().filter(|(at, _)| part_of(&at.key) == Some(part));
            let covered: Vec<Covered> = said
                .filter_map(|(at, own)| {
                    Some(Covered { ls_type: at.key.ls_type.0, id: at.key.id, digest: own.said()? })
                })
                .collect();
            let Some(own) = self.own_origin.part_mut(part) else { continue };
            if own.body.is_some() && own.covered == covered {
                continue;
            }
            own.covered = covered;
            let body = own.sign(member, router, part, now);
            self.own.entry(LsaRef::area(signature_key(router, part))).or_default().want_soon(body, now);
        }
    }

    /// The last instance of one of our lists, which is empty. With it others let go of what we said, and of nothing that
    /// somebody else flushes in our name.
    pub(in super::super) fn farewell(&mut self, at: &LsaRef, now: Time) -> Option<Lsa> {
        let Self { origins, own_origin, config, lsdb, .. } = self;
        let member = origins.member.as_ref()?;
        let is_list = at.key.ls_type == LsType::TOPOLOGY_SIGNATURE && at.key.router == config.router_id;
        let own = own_origin.part_mut(at.key.id).filter(|_| is_list)?;
        let seq = lsdb.get(at)?.lsa().header.seq;
        own.covered.clear();
        let body = own.sign(member, config.router_id, at.key.id, now);
        (seq < MAX_SEQUENCE_NUMBER).then(|| Lsa::new(at.key, seq + 1, MAX_AGE, body))
    }

    /// RFC 2328 section 13.4 for what is signed: something of ours came back that is newer than what we sent.
    pub(in super::super) fn own_lsa_came_back(&mut self, at: &LsaRef, link: LinkId, now: Time) {
        let (Some(member), Some(entry)) = (&self.origins.member, self.lsdb.get(at)) else { return };
        let (bytes, age, seq) = (Arc::clone(entry.lsa().body()), entry.age(now), entry.lsa().header.seq);
        let (mesh, verifier) = (self.config.mesh, Arc::clone(&member.verifier));
        let (us, key) = (*member.identity.key(), at.key);
        let router = self.config.router_id;
        let mut ours = false;
        let is_alone = self.is_alone() && at.is_about_links_of(router);
        if key == record_key(router) {
            let record = Unverified::decode(&bytes).ok().filter(|it| it.agent().router_id() == router);
            if let Some(record) = record.and_then(|record| record.verify(mesh, &*verifier).ok()) {
                let agent = record.agent();
                if agent.key != us {
                    self.clash_in_area(agent.key, link, now);
                    return;
                }
                ours = true;
                let known = self.own_origin.record.as_ref();
                if known.is_none_or(|known| known.agent().seq <= agent.seq && *known.bytes() != bytes) {
                    self.outputs.push_back(Output::RecordOutdated { seq: agent.seq });
                }
            }
        } else if key.ls_type == LsType::TOPOLOGY_SIGNATURE
            && let Ok(list) = SignedTopology::verify(&bytes, router, key.id, &us, &*verifier)
        {
            ours = true;
            if let Some(own) = self.own_origin.part_mut(key.id)
                && own.body.as_ref().is_some_and(|body| *body != bytes)
                && own.counter <= list.topology().counter
                && let Some(member) = &self.origins.member
            {
                own.counter = list.topology().counter;
                // The first adjacency changes the list of the links, and it is signed anew.
                if !is_alone {
                    let body = own.sign(member, router, key.id, now);
                    if let Some(own) = self.own.get_mut(at) {
                        own.want_soon(body, now);
                    }
                }
            }
        }
        if ours || now < self.own_origin.started + REMEMBERED_BY_OTHERS {
            return;
        }
        let same = self.own.get(at).and_then(super::super::originate::Own::said)
            == Some(molt_mesh::record::digest(&bytes));
        let told = match (age, seq) {
            (_, MAX_SEQUENCE_NUMBER) => {
                Some((Cause::SequenceAtMaximum, "in our name; it is flushed and said anew"))
            }
            (MAX_AGE, _) => Some((Cause::ForeignFlush, "in our name; it is said anew")),
            _ if same => None,
            _ => Some((Cause::ForgedTopology, "in our name; it is said anew")),
        };
        if let Some((cause, why)) = told {
            self.origins.tell(cause, key, Some(link), why, now);
        }
    }

    /// After a change of the router id everything is signed anew.
    pub(in super::super) fn restart_own_origin(&mut self, now: Time) {
        for part in [LINKS, PREFIXES] {
            if let Some(own) = self.own_origin.part_mut(part) {
                *own = OwnPart { counter: own.counter, ..OwnPart::default() };
            }
        }
        self.own_origin.stale = true;
        self.own_origin.started = now;
    }
}
