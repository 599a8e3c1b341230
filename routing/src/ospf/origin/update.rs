//! What is verified of one router: its record, its lists, and the LSAs they list.

use std::sync::Arc;

use molt_mesh::record::{
    DELEGATION_LEN, Delegation, DelegationReject, RecordReject, SignedTopology, Unverified, digest,
};
use molt_mesh::{AgentRecord, RouterId, Time};

use super::super::events::Cause;
use super::super::lsa::{LsType, LsaKey};
use super::super::lsdb::{LsaRef, Lsdb};
use super::{
    Origins, Part, REBORN, SignedRouter, Touched, Verified, find, part_of, record_key, signature_key,
};

impl Origins {
    /// Whether there is a new record.
    pub(super) fn update_record(
        &mut self,
        router: RouterId,
        touched: &[(LsaKey, Touched)],
        lsdb: &Lsdb,
        now: Time,
    ) -> bool {
        let Some(member) = &self.member else { return false };
        let key = record_key(router);
        let touched = find(touched, key).unwrap_or_default();
        let link = touched.link;
        let stored = lsdb.get(&LsaRef::area(key)).filter(|entry| !entry.is_max_age(now));
        let Some(entry) = stored else {
            if let Some(signed) = self.routers.get_mut(&router) {
                signed.missing.get_or_insert(now);
                if touched.flushed {
                    self.doubt(Cause::ForeignFlush, key, link, "its record was flushed", now);
                }
            }
            return false;
        };
        let bytes = entry.lsa().body();
        if let Some(signed) = self.routers.get_mut(&router)
            && signed.record.bytes() == bytes
        {
            signed.missing = None;
            return false;
        }
        let fits = |unverified: Unverified<'_>| {
            if unverified.agent().router_id() != router {
                return Err(RecordReject::RouterId);
            }
            unverified.verify(self.mesh, &*member.verifier)
        };
        let record = match Unverified::decode(bytes).and_then(fits) {
            Ok(record) => record.sharing(bytes),
            Err(reject) => {
                self.miss_record(router, now);
                let cause = match reject {
                    RecordReject::AnotherMesh => Cause::AnotherMesh,
                    _ => Cause::ForgedRecord,
                };
                self.tell(cause, key, link, &reject.to_string(), now);
                return false;
            }
        };
        if self.stock.contains(&router) {
            self.tell(Cause::RouterIdClash, key, link, "a record for the id of a stock router", now);
            return false;
        }
        if let Some(known) = self.routers.get(&router) {
            let (old, new) = (known.record.agent(), record.agent());
            if old.key != new.key {
                let wins = AgentRecord::rank(&new.key) < AgentRecord::rank(&old.key);
                let why =
                    if wins { "the other key has the lower hash" } else { "this key has the lower hash" };
                self.tell(Cause::RouterIdClash, key, link, why, now);
                if !wins {
                    self.miss_record(router, now);
                    return false;
                }
                self.forget(router);
            } else if new.seq <= old.seq {
                let reborn = now < known.since + REBORN;
                self.miss_record(router, now);
                if !reborn {
                    self.tell(Cause::ReplayedRecord, key, link, "a newer record is known", now);
                }
                return false;
            }
        }
        let address = self.mesh.address_of_key(&record.agent().key);
        let known = self.routers.remove(&router);
        let (parts, bodies, deadline) =
            known.map_or_else(Default::default, |old| (old.parts, old.bodies, old.deadline));
        let signed = SignedRouter {
            record,
            since: now,
            address,
            missing: None,
            parts,
            bodies,
            deadline,
            expired: false,
        };
        self.routers.insert(router, Box::new(signed));
        true
    }

    fn miss_record(&mut self, router: RouterId, now: Time) {
        if let Some(signed) = self.routers.get_mut(&router) {
            signed.missing.get_or_insert(now);
        }
    }

    pub(super) fn update_part(
        &mut self,
        router: RouterId,
        part: u32,
        touched: &[(LsaKey, Touched)],
        lsdb: &Lsdb,
        now: Time,
    ) -> bool {
        let key = signature_key(router, part);
        // Its age does not matter: a router that leaves says so with its last instance.
        let (Some(member), Some(signed), Some(entry)) =
            (&self.member, self.routers.get_mut(&router), lsdb.get(&LsaRef::area(key)))
        else {
            return false;
        };
        let Some(place) = signed.parts.get_mut(part as usize) else { return false };
        let bytes = entry.lsa().body();
        if place.as_ref().is_some_and(|known| known.bytes == *bytes) {
            return false;
        }
        let link = find(touched, key).and_then(|touched| touched.link);
        let identity = signed.record.agent().key;
        match SignedTopology::verify(bytes, router, part, &identity, &*member.verifier) {
            Ok(list) => {
                let counter = list.topology().counter;
                if place.as_ref().is_some_and(|known| counter <= known.signed.topology().counter) {
                    if signed.since + REBORN <= now {
                        self.tell(Cause::ReplayedTopology, key, link, "a newer list is known", now);
                    }
                } else {
                    *place = Some(Part { signed: list, bytes: Arc::clone(bytes), since: now });
                    return true;
                }
            }
            Err(reject) => self.tell(Cause::ForgedTopology, key, link, &reject.to_string(), now),
        }
        false
    }

    pub(super) fn update_bodies(
        &mut self,
        router: RouterId,
        lsdb: &Lsdb,
        now: Time,
        changed: &mut Vec<LsaKey>,
    ) {
        let (Some(member), Some(signed)) = (&self.member, self.routers.get_mut(&router)) else { return };
        let mut left = std::mem::take(&mut signed.bodies);
        let mut forged = Vec::new();
        let lists = signed.parts.iter().flatten().map(|part| part.signed.topology());
        for (part, lsa) in lists.flat_map(|list| list.covered.iter().map(move |lsa| (list.part, lsa))) {
            let key = LsaKey { ls_type: LsType(lsa.ls_type), router, id: lsa.id };
            if part_of(&key) != Some(part.into()) {
                continue;
            }
            let place = (key.ls_type, key.id);
            let known = left.remove(&place);
            let stored = lsdb.get(&LsaRef::area(key)).filter(|entry| !entry.is_max_age(now));
            let stored = stored.filter(|entry| digest(entry.lsa().body()) == lsa.digest);
            let verified = match (known, stored) {
                (Some(known), Some(_)) if known.digest == lsa.digest => Verified { missing: None, ..known },
                (_, Some(entry)) => {
                    changed.push(key);
                    if key.ls_type == LsType::AGENT_RECORD {
                        let chunks = entry.lsa().body().chunks(DELEGATION_LEN);
                        let read: Vec<_> =
                            chunks.map(|it| Delegation::verify(it, self.mesh, &*member.verifier)).collect();
                        forged.extend(read.iter().find_map(|it| it.as_ref().err()).map(|it| (key, *it)));
                        let valid = read.iter().flatten();
                        self.grants.set(router, key.id, valid.map(|it| *it.grant()).collect());
                    }
                    Verified { digest: lsa.digest, body: Arc::clone(entry.lsa().body()), missing: None }
                }
                (Some(known), None) => Verified { missing: known.missing.or(Some(now)), ..known },
                (None, None) => continue,
            };
            signed.bodies.insert(place, verified);
        }
        for (ls_type, id) in left.into_places() {
            if ls_type == LsType::AGENT_RECORD {
                self.grants.remove(router, id);
            }
            changed.push(LsaKey { ls_type, router, id });
        }
        for (key, reject) in forged {
            let cause = match reject {
                DelegationReject::AnotherMesh => Cause::AnotherMesh,
                _ => Cause::ForgedRecord,
            };
            self.tell(cause, key, None, &reject.to_string(), now);
        }
    }
}
