//! The decision process (RFC 4271 section 9.1.2) for routes that are all from other autonomous systems.

use std::net::Ipv6Addr;

use super::consts::DEFAULT_LOCAL_PREF;
use super::path::Path;

/// A route that may be used.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Address of the peer it came from.
    pub peer: Ipv6Addr,
    /// The peer's BGP Identifier.
    pub identifier: u32,
    /// Its attributes after import policy.
    pub path: &'a Path,
    /// Interior cost to its next hop.
    pub metric: u32,
}

/// The best of the candidates, and all that are as good up to the tie-breaking by identifier, the best included, in the
/// order given. Traffic is shared among those (multipath), if their paths are equally long and begin with the same AS: then
/// their MEDs can be compared, and no loop can come of it.
#[must_use]
pub fn best<'a, 'b>(candidates: &'b [Candidate<'a>]) -> Option<(&'b Candidate<'a>, Vec<&'b Candidate<'a>>)> {
    let mut left: Vec<&Candidate<'_>> = candidates.iter().collect();
    // Section 9.1.1: the degree of preference.
    keep_least(&mut left, |it| u32::MAX - it.path.local_pref.unwrap_or(DEFAULT_LOCAL_PREF));
    // Section 9.1.2.2 (a).
    keep_least(&mut left, |it| it.path.as_path.length());
    // (b)
    keep_least(&mut left, |it| it.path.origin);
    // (c) Only routes through the same AS are comparable. A route without MED has the lowest.
    let med = |it: &Candidate<'_>| it.path.med.unwrap_or(0);
    let all = left.clone();
    left.retain(|it| {
        let rival = |other: &&Candidate<'_>| {
            other.path.as_path.first() == it.path.as_path.first() && med(other) < med(it)
        };
        !all.iter().any(rival)
    });
    // (d) is about interior peers. (e)
    keep_least(&mut left, |it| it.metric);
    let equal = left.clone();
    // (f) and (g)
    keep_least(&mut left, |it| it.identifier);
    keep_least(&mut left, |it| it.peer);
    let best = *left.first()?;
    let same = |it: &&Candidate<'_>| it.path.as_path.first() == best.path.as_path.first();
    Some((best, equal.into_iter().filter(same).collect()))
}

fn keep_least<K: Ord>(left: &mut Vec<&Candidate<'_>>, key: impl Fn(&Candidate<'_>) -> K) {
    if let Some(least) = left.iter().map(|it| key(it)).min() {
        left.retain(|it| key(it) == least);
    }
}

#[cfg(test)]
mod tests {
    use super::super::path::{AsPath, Origin, Segment};
    use super::*;

    fn path(numbers: &[u32]) -> Path {
        let as_path = AsPath(vec![Segment::Sequence(numbers.to_vec())]);
        Path { as_path, ..Path::local(Ipv6Addr::LOCALHOST) }
    }

    /// Which of the paths wins, and which share the traffic. Peers and identifiers ascend.
    fn choose(paths: &[(Path, u32)]) -> (u32, Vec<u32>) {
        let peer = |at: usize| Ipv6Addr::from_bits(at as u128 + 1);
        let candidates: Vec<Candidate<'_>> = paths
            .iter()
            .enumerate()
            .map(|(at, (path, metric))| Candidate {
                peer: peer(at),
                identifier: at as u32,
                path,
                metric: *metric,
            })
            .collect();
        let (best, equal) = best(&candidates).unwrap();
        (best.identifier, equal.iter().map(|it| it.identifier).collect())
    }

    #[test]
    fn rfc4271_9_1_2_2_each_step_decides_what_the_steps_before_left_open() {
        let base = path(&[1, 2]);
        // Each row is better by its step than the one before, and worse by the next.
        let steps = [
            ("(f) identifier", (base.clone(), 10)),
            ("(e) interior cost", (base.clone(), 9)),
            ("(c) MED", (Path { med: Some(0), ..base.clone() }, 10)),
            ("(a) length", (path(&[1]), 99)),
            ("9.1.1 preference", (Path { local_pref: Some(101), ..path(&[1, 2, 3]) }, 99)),
        ];
        let egp = (Path { origin: Origin::Egp, ..base.clone() }, 1);
        let igp = (Path { med: Some(5), ..base.clone() }, 10);
        assert_eq!(choose(&[egp.clone(), igp.clone()]).0, 1, "(b) origin before (c) MED");
        assert_eq!(choose(&[(Path { origin: Origin::Incomplete, ..base.clone() }, 1), egp]).0, 1, "(b)");
        let short = (Path { origin: Origin::Incomplete, ..path(&[1]) }, 10);
        assert_eq!(choose(&[igp, short]).0, 1, "(a) length before (b) origin");
        let as_if = (Path { local_pref: Some(100), ..path(&[1, 2]) }, 9);
        assert_eq!(choose(&[steps[0].1.clone(), as_if]).0, 1, "no preference is one of 100");
        let with_med = (Path { med: Some(5), ..base.clone() }, 1);
        assert_eq!(choose(&[with_med, steps[2].1.clone()]).0, 1, "(c) MED before (e) cost");
        assert_eq!(choose(&[steps[0].1.clone(), steps[1].1.clone()]).0, 1, "(e)");
        assert_eq!(choose(&[steps[0].1.clone(), steps[0].1.clone()]).0, 0, "(f)");
        assert_eq!(choose(&[steps[1].1.clone(), steps[3].1.clone()]).0, 1, "(a)");
        assert_eq!(choose(&[steps[3].1.clone(), steps[4].1.clone()]).0, 1, "9.1.1");
    }

    #[test]
    fn rfc4271_9_1_2_2_c_meds_of_different_neighbours_are_not_compared() {
        let of = |asn, med, metric| (Path { med: Some(med), ..path(&[asn, 9]) }, metric);
        assert_eq!(choose(&[of(1, 50, 1), of(2, 10, 2)]).0, 0);
        assert_eq!(choose(&[of(1, 50, 1), of(1, 10, 2)]).0, 1);
        // The order they are looked at makes no difference.
        assert_eq!(choose(&[of(1, 20, 3), of(2, 30, 2), of(1, 10, 9)]).0, 1);
        assert_eq!(choose(&[of(1, 10, 9), of(2, 30, 2), of(1, 20, 3)]).0, 1);
        let none = (path(&[1, 9]), 9);
        assert_eq!(choose(&[of(1, 1, 1), none.clone()]).0, 1, "none is the lowest");
        assert_eq!(choose(&[none, of(1, 0, 1)]).0, 1, "which is zero");
        // A rival that is out by an earlier step does not count.
        let out = (Path { med: Some(1), ..path(&[1, 9, 9]) }, 1);
        assert_eq!(choose(&[out, of(1, 50, 1), of(2, 10, 2)]).0, 1);
    }

    #[test]
    fn rfc4271_9_1_2_2_f_and_g_the_identifier_then_the_address() {
        let path = path(&[1]);
        let candidate = |peer, identifier| Candidate {
            peer: Ipv6Addr::from_bits(peer),
            identifier,
            path: &path,
            metric: 1,
        };
        for (candidates, expected) in [
            ([candidate(1, 8), candidate(2, 7)], 2),
            ([candidate(1, 7), candidate(2, 7)], 1),
            ([candidate(2, 7), candidate(1, 7)], 1),
        ] {
            let (best, equal) = best(&candidates).unwrap();
            assert_eq!((best.peer, equal.len()), (Ipv6Addr::from_bits(expected), 2));
        }
        assert!(best(&[]).is_none());
    }

    #[test]
    fn equal_routes_through_the_same_as_share_the_traffic() {
        let same = |asn| (path(&[asn, 9]), 5);
        assert_eq!(choose(&[same(1), same(1), same(2)]), (0, vec![0, 1]));
        assert_eq!(choose(&[same(1), (path(&[1, 9]), 6)]), (0, vec![0]));
    }
}
