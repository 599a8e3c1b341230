//! What looks like an attack, and when to say so.

use std::time::Duration;

use molt_mesh::record::digest;
use molt_mesh::{IdentityKey, LinkId, RouterId, Time};

use super::super::events::{Cause, Event, Subject};
use super::super::lsa::{Body, LsaKey};
use super::super::lsdb::{LsaRef, Lsdb};
use super::{LINKS, Origins, Touched, part_of};

/// A proof may come so much later than what it proves: it was lost three times, and repeated after 1, 2 and 4 s. What is not
/// explained by then is reported.
pub(super) const EXPLAINED_AFTER: Duration = Duration::from_secs(8);
/// Suspicions that wait for an explanation; more are not told.
const SUSPICIONS: usize = 256;

/// Something that looks like an attack, unless a newer list explains it.
#[derive(Debug)]
pub(super) struct Suspicion {
    due: Time,
    cause: Cause,
    key: LsaKey,
    link: Option<LinkId>,
    /// Counter of the list that does not explain it.
    counter: Option<u64>,
    why: &'static str,
}

impl Origins {
    /// Looks for what was said in the name of a signed router and is not covered by its lists.
    pub(super) fn suspect(
        &mut self,
        router: RouterId,
        touched: &[(LsaKey, Touched)],
        lsdb: &Lsdb,
        now: Time,
    ) {
        for (key, Touched { link, flushed }) in touched {
            let (Some(_), Some(link)) = (part_of(key), link) else { continue };
            let Some(signed) = self.routers.get(&router) else { return };
            let listed = signed.listed(key).copied();
            let known = signed.bodies.get(&(key.ls_type, key.id)).map(|verified| verified.digest);
            // The list came ahead of what it lists, so something older may still come; or no list has come yet.
            if listed.is_some() && listed != known || self.counter(key).is_none() {
                continue;
            }
            let entry = lsdb.get(&LsaRef::area(*key));
            let live = entry.filter(|entry| !entry.is_max_age(now));
            let (cause, why) = match (listed, live) {
                (Some(_), None) if *flushed => (Cause::ForeignFlush, "it was flushed and is still signed"),
                (Some(listed), Some(entry)) if digest(entry.lsa().body()) != listed => {
                    (Cause::ForgedTopology, "another body is signed")
                }
                (None, Some(_)) => (Cause::ForgedTopology, "its router did not sign it"),
                _ => continue,
            };
            self.doubt(cause, *key, Some(*link), why, now);
        }
    }

    pub(super) fn doubt(
        &mut self,
        cause: Cause,
        key: LsaKey,
        link: Option<LinkId>,
        why: &'static str,
        now: Time,
    ) {
        if self.suspicions.len() < SUSPICIONS {
            let counter = self.counter(&key);
            let due = now + EXPLAINED_AFTER;
            self.suspicions.push(Suspicion { due, cause, key, link, counter, why });
            // All wait equally long.
            self.suspicions_due.get_or_insert(due);
        }
    }

    /// Of a router that nobody reaches nothing is told. It may have died, or have been cut off, between an LSA and the list
    /// that signs it; and what is said in its name changes no route.
    pub(super) fn tell_suspicions(&mut self, reaches: impl Fn(RouterId) -> bool, now: Time) {
        if self.suspicions_due.is_none_or(|due| due > now) {
            return;
        }
        let (due, left) = std::mem::take(&mut self.suspicions).into_iter().partition(|it| it.due <= now);
        self.suspicions = left;
        self.suspicions_due = self.suspicions.first().map(|suspicion| suspicion.due);
        let due: Vec<Suspicion> = due;
        for suspicion in due {
            if self.counter(&suspicion.key) == suspicion.counter && reaches(suspicion.key.router) {
                self.tell(suspicion.cause, suspicion.key, suspicion.link, suspicion.why, now);
            }
        }
    }

    /// The counter of the list an LSA belongs to. A record belongs to that of the links: who leaves signs both anew.
    fn counter(&self, key: &LsaKey) -> Option<u64> {
        let part = part_of(key).unwrap_or(LINKS);
        let part = self.routers.get(&key.router)?.parts.get(part as usize)?.as_ref()?;
        Some(part.signed.topology().counter)
    }

    pub(super) fn tell_malformed(&mut self, touched: &[(LsaKey, Touched)], lsdb: &Lsdb, now: Time) {
        for (key, Touched { link, .. }) in touched.iter().filter(|(_, touched)| touched.link.is_some()) {
            let entry = lsdb.get(&LsaRef::area(*key)).filter(|entry| !entry.is_max_age(now));
            if let Some(Err(error)) = entry.map(|entry| Body::decode(key.ls_type, entry.lsa().body())) {
                self.tell(Cause::MalformedLsa, *key, *link, &error.to_string(), now);
            }
        }
    }

    /// Reports something about an LSA.
    pub(in super::super) fn tell(
        &mut self,
        cause: Cause,
        key: LsaKey,
        link: Option<LinkId>,
        why: &str,
        now: Time,
    ) {
        self.report(cause, key.router, Subject::Lsa(key), link, why, now);
    }

    /// Reports something.
    pub(in super::super) fn report(
        &mut self,
        cause: Cause,
        router: RouterId,
        subject: Subject,
        link: Option<LinkId>,
        why: &str,
        now: Time,
    ) {
        let key = self.key_of(router);
        self.events.push(Event {
            at: now,
            router,
            key,
            link,
            cause,
            subject,
            why: why.into(),
            suppressed: 0,
        });
    }

    fn key_of(&self, router: RouterId) -> Option<IdentityKey> {
        self.record(router).map(|record| record.agent().key)
    }
}
