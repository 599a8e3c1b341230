//! LSAs that do not age, and the end of those whose originator is gone (RFC 1793 section 2.3). A router that sets the
//! DoNotAge bit refreshes nothing, so that only its absence tells that what it said is no longer true.

use std::time::Duration;

use molt_mesh::Time;

use super::Ospf;
use super::consts::MAX_AGE;
use super::lsdb::LsaRef;

const MAX_AGE_TIME: Duration = Duration::from_secs(MAX_AGE as u64);

impl Ospf {
    /// Keeps count of since when originators of LSAs that do not age have been out of reach.
    pub(super) fn note_reachability(&mut self, now: Time) {
        let routers = self.lsdb.routers_that_do_not_age();
        self.unreachable.retain(|router, _| routers.contains(router));
        for router in routers {
            if router == self.config.router_id || self.spf.reaches(router) {
                self.unreachable.remove(&router);
            } else {
                self.unreachable.entry(router).or_insert(now);
            }
        }
    }

    /// RFC 1793 section 2.3: flushed once it has been in the database, and its originator unreachable, for MaxAge.
    pub(super) fn flush_if_stale(&mut self, at: LsaRef, now: Time) {
        self.note_reachability(now);
        let for_max_age = |since: Time| now >= since + MAX_AGE_TIME;
        if self.unreachable.get(&at.key.router).is_some_and(|since| for_max_age(*since))
            && self.lsdb.get(&at).is_some_and(|entry| for_max_age(entry.installed))
        {
            self.flush(at, now);
        }
    }
}
