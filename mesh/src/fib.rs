//! The forwarding table as plain data. `routing` builds it, `tun` reads it; an update is a new table.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::id::LinkId;

/// An IPv6 prefix with no bits set beyond its length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    bits: u128,
    len: u8,
}

impl Prefix {
    /// The prefix of `addr` of `len` bits. Bits beyond `len` are cleared; a length above 128 means 128.
    #[must_use]
    pub const fn new(addr: Ipv6Addr, len: u8) -> Self {
        let len = if len > 128 { 128 } else { len };
        Self { bits: addr.to_bits() & mask(len), len }
    }

    /// The host route of one address.
    #[must_use]
    pub const fn host(addr: Ipv6Addr) -> Self {
        Self { bits: addr.to_bits(), len: 128 }
    }

    /// The first address.
    #[must_use]
    pub const fn addr(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.bits)
    }

    /// The length in bits, 0 to 128.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a prefix length of zero is the default route, not emptiness"
    )]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether `addr` lies inside.
    #[must_use]
    pub const fn contains(&self, addr: Ipv6Addr) -> bool {
        addr.to_bits() & mask(self.len) == self.bits
    }

    /// Whether every address of `other` lies inside.
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.len <= other.len && other.bits & mask(self.len) == self.bits
    }
}

const fn mask(len: u8) -> u128 {
    match len {
        0 => 0,
        len => u128::MAX << (128 - len),
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr(), self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an IPv6 prefix: expected ADDRESS/LENGTH with no bits set beyond the length, like fd00:6d6f:6c74:bbbb::1/128"
)]
pub struct InvalidPrefix;

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (addr, len) = text.split_once('/').ok_or(InvalidPrefix)?;
        let addr: Ipv6Addr = addr.parse().map_err(|_| InvalidPrefix)?;
        let len: u8 = len.parse().map_err(|_| InvalidPrefix)?;
        let prefix = Self::new(addr, len);
        if len > 128 || prefix.addr() != addr {
            return Err(InvalidPrefix);
        }
        Ok(prefix)
    }
}

/// Where packets to a destination go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// To this host.
    Local,
    /// Through one of these tunnels, all of equal cost; never empty, ascending.
    Via(&'a [LinkId]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Local,
    /// Index into `next_hops`.
    Via(u32),
}

/// An immutable forwarding table.
///
/// Almost every mesh route is a /128, so those are one hash table, looked up first; the other lengths in use follow
/// from long to short, one table each. A lookup costs one hash probe for a host route, and one more for each length.
/// Equal next-hop sets are stored once.
#[derive(Debug, Clone, Default)]
pub struct Fib {
    hosts: HashMap<u128, Entry>,
    /// Longest first.
    shorter: Vec<(u8, HashMap<u128, Entry>)>,
    next_hops: Vec<Box<[LinkId]>>,
}

impl Fib {
    /// The longest match.
    #[must_use]
    pub fn lookup(&self, dst: Ipv6Addr) -> Option<Target<'_>> {
        let bits = dst.to_bits();
        if let Some(entry) = self.hosts.get(&bits) {
            return self.resolve(*entry);
        }
        let entry = self.shorter.iter().find_map(|(len, table)| table.get(&(bits & mask(*len))))?;
        self.resolve(*entry)
    }

    /// The route of exactly this prefix.
    #[must_use]
    pub fn exact(&self, prefix: &Prefix) -> Option<Target<'_>> {
        let table = match prefix.len {
            128 => &self.hosts,
            len => self.shorter.iter().find(|(of, _)| *of == len).map(|(_, table)| table)?,
        };
        self.resolve(*table.get(&prefix.bits)?)
    }

    /// All routes in ascending order of prefix.
    #[must_use]
    pub fn routes(&self) -> Vec<(Prefix, Target<'_>)> {
        let tables = self.shorter.iter().map(|(len, table)| (*len, table)).chain([(128, &self.hosts)]);
        let mut routes: Vec<_> = tables
            .flat_map(|(len, table)| {
                table.iter().map(move |(bits, entry)| (Prefix { bits: *bits, len }, *entry))
            })
            .filter_map(|(prefix, entry)| Some((prefix, self.resolve(entry)?)))
            .collect();
        routes.sort_unstable_by_key(|(prefix, _)| *prefix);
        routes
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len() + self.shorter.iter().map(|(_, table)| table.len()).sum::<usize>()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn resolve(&self, entry: Entry) -> Option<Target<'_>> {
        match entry {
            Entry::Local => Some(Target::Local),
            Entry::Via(set) => self.next_hops.get(set as usize).map(|links| Target::Via(links)),
        }
    }
}

/// Collects the routes of a [`Fib`].
#[derive(Debug, Default)]
pub struct FibBuilder {
    fib: Fib,
    interned: HashMap<Box<[LinkId]>, u32>,
}

impl FibBuilder {
    /// A builder with room for `hosts` host routes.
    #[must_use]
    pub fn with_capacity(hosts: usize) -> Self {
        Self { fib: Fib { hosts: HashMap::with_capacity(hosts), ..Fib::default() }, interned: HashMap::new() }
    }

    /// Adds a destination on this host, over any earlier route of the same prefix.
    pub fn local(&mut self, prefix: Prefix) -> &mut Self {
        self.insert(prefix, Entry::Local);
        self
    }

    /// Adds a route through `links`, over any earlier route of the same prefix. Order and duplicates do not matter;
    /// without a link there is no route.
    pub fn via(&mut self, prefix: Prefix, links: &[LinkId]) -> &mut Self {
        if links.is_empty() {
            return self;
        }
        let set = match self.interned.get(links) {
            Some(set) => *set,
            None => {
                let mut sorted = links.to_vec();
                sorted.sort_unstable();
                sorted.dedup();
                let next_hops = &mut self.fib.next_hops;
                let set = *self.interned.entry(sorted.clone().into()).or_insert_with(|| {
                    next_hops.push(sorted.into());
                    u32::try_from(next_hops.len() - 1).expect("fewer than 2^32 next-hop sets fit in memory")
                });
                self.interned.insert(links.into(), set);
                set
            }
        };
        self.insert(prefix, Entry::Via(set));
        self
    }

    /// The table.
    #[must_use]
    pub fn build(self) -> Fib {
        self.fib
    }

    fn insert(&mut self, prefix: Prefix, entry: Entry) {
        if prefix.len == 128 {
            self.fib.hosts.insert(prefix.bits, entry);
            return;
        }
        let shorter = &mut self.fib.shorter;
        let at = shorter.partition_point(|(len, _)| *len > prefix.len);
        match shorter.get_mut(at) {
            Some((len, table)) if *len == prefix.len => {
                table.insert(prefix.bits, entry);
            }
            _ => shorter.insert(at, (prefix.len, HashMap::from([(prefix.bits, entry)]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: u32) -> LinkId {
        LinkId::new(id).unwrap()
    }

    #[test]
    fn agrees_with_a_list_scanned_from_end_to_end() {
        let mut rng = fastrand::Rng::with_seed(3);
        let random_prefix = |rng: &mut fastrand::Rng| {
            // Few distinct bits, so that prefixes nest and addresses match.
            let bits = u128::from(rng.u8(..)) << 120 | u128::from(rng.u8(..4));
            let len = *[0, 1, 4, 8, 48, 64, 127, 128, 128, 128].get(rng.usize(..10)).unwrap();
            Prefix::new(Ipv6Addr::from_bits(bits), len)
        };
        for _ in 0..200 {
            let mut builder = FibBuilder::with_capacity(0);
            let mut naive: Vec<(Prefix, Vec<LinkId>)> = Vec::new();
            for _ in 0..rng.usize(..40) {
                let prefix = random_prefix(&mut rng);
                naive.retain(|(other, _)| *other != prefix);
                let links: Vec<LinkId> = (0..rng.u32(..4)).map(|_| link(rng.u32(1..6))).collect();
                let mut set = links.clone();
                set.sort();
                set.dedup();
                if links.is_empty() {
                    builder.local(prefix);
                } else {
                    builder.via(prefix, &links);
                }
                naive.push((prefix, set));
            }
            let fib = builder.build();
            assert_eq!(fib.len(), naive.len());
            assert_eq!(fib.routes().len(), naive.len());
            for _ in 0..100 {
                let addr = random_prefix(&mut rng).addr();
                let best =
                    naive.iter().filter(|(prefix, _)| prefix.contains(addr)).max_by_key(|(p, _)| p.len());
                let expected = best.map(|(_, set)| match set.as_slice() {
                    [] => Target::Local,
                    links => Target::Via(links),
                });
                assert_eq!(fib.lookup(addr), expected, "{addr} in {naive:?}");
                if let Some((prefix, _)) = best {
                    assert_eq!(fib.exact(prefix), expected);
                }
            }
        }
    }

    #[test]
    fn equal_next_hop_sets_are_stored_once() {
        let mut builder = FibBuilder::default();
        for host in 0..100 {
            let prefix = Prefix::host(Ipv6Addr::from_bits(host));
            builder.via(prefix, &[]);
            builder.via(prefix, &if host % 2 == 0 { [link(1), link(2)] } else { [link(2), link(1)] });
        }
        let fib = builder.build();
        assert_eq!(fib.next_hops.len(), 1);
        assert_eq!(fib.lookup(Ipv6Addr::from_bits(7)), Some(Target::Via(&[link(1), link(2)])));
    }

    #[test]
    fn a_prefix_has_no_host_bits() {
        assert_eq!("fd00::/8".parse::<Prefix>().unwrap().to_string(), "fd00::/8");
        assert_eq!("::/0".parse::<Prefix>().unwrap().len(), 0);
        for wrong in ["", "fd00::", "fd00::1/64", "fd00::/129", "10.0.0.0/8", "fd00::/-1", "/64"] {
            assert_eq!(wrong.parse::<Prefix>(), Err(InvalidPrefix), "{wrong:?}");
        }
        let wide: Prefix = "fd00::/8".parse().unwrap();
        let narrow: Prefix = "fd00:6d6f:6c74::/48".parse().unwrap();
        assert!(wide.covers(&narrow) && wide.covers(&wide) && !narrow.covers(&wide));
    }
}
