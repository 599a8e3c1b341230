//! The forwarding table as plain data. `routing` builds it, `tun` reads it; an update is a new table.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

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

/// The routes of one length, or a part of them.
type Table = HashMap<u128, Entry, Keyed>;

/// An immutable forwarding table.
///
/// Almost every mesh route is a /128, so those are looked up first, and the other lengths in use follow from long to short,
/// one table each. A lookup costs one hash probe for a host route, and one more for each length. Equal next-hop sets are
/// stored once.
///
/// Two tables of one [`FibBuilder`] share what is equal in both: a clone is as cheap as the number of shards, and a changed
/// route costs the copy of its shard.
#[derive(Debug, Clone, Default)]
pub struct Fib {
    hosts: Hosts,
    /// Longest first.
    shorter: Vec<(u8, Arc<Table>)>,
    next_hops: Arc<Vec<Arc<[LinkId]>>>,
}

impl Fib {
    /// The longest match.
    #[must_use]
    pub fn lookup(&self, dst: Ipv6Addr) -> Option<Target<'_>> {
        let bits = dst.to_bits();
        if let Some(entry) = self.hosts.get(bits) {
            return self.resolve(entry);
        }
        let entry = self.shorter.iter().find_map(|(len, table)| table.get(&(bits & mask(*len))))?;
        self.resolve(*entry)
    }

    /// The route of exactly this prefix.
    #[must_use]
    pub fn exact(&self, prefix: &Prefix) -> Option<Target<'_>> {
        let entry = match prefix.len {
            128 => self.hosts.get(prefix.bits)?,
            len => *self.shorter.iter().find(|(of, _)| *of == len)?.1.get(&prefix.bits)?,
        };
        self.resolve(entry)
    }

    /// All routes in ascending order of prefix.
    #[must_use]
    pub fn routes(&self) -> Vec<(Prefix, Target<'_>)> {
        let hosts = self.hosts.shards.iter().map(|shard| (128, shard));
        let tables = self.shorter.iter().map(|(len, table)| (*len, table)).chain(hosts);
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
        self.hosts.count + self.shorter.iter().map(|(_, table)| table.len()).sum::<usize>()
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

/// Host routes in one shard on average. A change copies a shard (2 kB) and a pointer to each of the others, which at 10,000
/// routes are about equally much work.
const SHARD: usize = 64;

/// The host routes, in a power of two of shards.
#[derive(Debug, Clone)]
struct Hosts {
    shards: Box<[Arc<Table>]>,
    count: usize,
    keys: Keyed,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::new(Keyed::default(), 0)
    }
}

impl Hosts {
    fn new(keys: Keyed, capacity: usize) -> Self {
        let empty = Arc::new(Table::with_hasher(keys));
        let shards = vec![empty; capacity.div_ceil(SHARD).next_power_of_two()];
        Self { shards: shards.into(), count: 0, keys }
    }

    /// Whoever chooses addresses that meet in one shard makes changes dear and not lookups, so this hash needs no key.
    const fn shard(&self, bits: u128) -> usize {
        let mixed = (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(MIX);
        (mixed >> 32) as usize & (self.shards.len() - 1)
    }

    fn get(&self, bits: u128) -> Option<Entry> {
        self.shards.get(self.shard(bits))?.get(&bits).copied()
    }

    fn insert(&mut self, bits: u128, entry: Entry) {
        if self.count >= 2 * SHARD * self.shards.len() {
            self.spread();
        }
        let at = self.shard(bits);
        if let Some(shard) = self.shards.get_mut(at)
            && Arc::make_mut(shard).insert(bits, entry).is_none()
        {
            self.count += 1;
        }
    }

    fn remove(&mut self, bits: u128) {
        let at = self.shard(bits);
        if let Some(shard) = self.shards.get_mut(at).filter(|shard| shard.contains_key(&bits)) {
            Arc::make_mut(shard).remove(&bits);
            self.count -= 1;
        }
    }

    /// Moves all routes to twice as many shards.
    fn spread(&mut self) {
        let mut wider = Self::new(self.keys, 2 * SHARD * self.shards.len());
        let routes = self.shards.iter().flat_map(|shard| shard.iter());
        routes.for_each(|(bits, entry)| wider.insert(*bits, *entry));
        *self = wider;
    }
}

/// An odd number whose bits look random: the fraction of the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes an address by two multiplications with secret keys, each folded to 64 bits. Everyone in the mesh chooses its own
/// address, so the keys are random in every process; and the packet path pays for it, so it is not SipHash.
#[derive(Debug, Clone, Copy)]
struct Keyed([u64; 3]);

impl Default for Keyed {
    fn default() -> Self {
        let random = RandomState::new();
        Self([1, 2, 3].map(|number| random.hash_one(number) | 1))
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { keys: *self, hash: 0 }
    }
}

/// The state of [`Keyed`].
#[derive(Debug)]
struct Folded {
    keys: Keyed,
    hash: u64,
}

impl Hasher for Folded {
    fn write_u128(&mut self, bits: u128) {
        let [first, second, third] = self.keys.0;
        let folded = fold(bits as u64 ^ first, (bits >> 64) as u64 ^ second);
        self.hash = fold(folded ^ self.hash, third);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Collects the routes of a [`Fib`], and keeps them up to date from one table to the next.
#[derive(Debug, Default)]
pub struct FibBuilder {
    fib: Fib,
    interned: HashMap<Box<[LinkId]>, u32>,
}

impl FibBuilder {
    /// A builder with room for `hosts` host routes.
    #[must_use]
    pub fn with_capacity(hosts: usize) -> Self {
        let hosts = Hosts::new(Keyed::default(), hosts);
        Self { fib: Fib { hosts, ..Fib::default() }, interned: HashMap::new() }
    }

    /// A builder that adds to a table; what it does not touch is shared with it.
    #[must_use]
    pub fn onto(fib: &Fib) -> Self {
        Self { fib: fib.clone(), interned: HashMap::new() }
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
                    let next_hops = Arc::make_mut(next_hops);
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

    /// Takes a route away. Its next-hop set stays, for the routes of others and those to come.
    pub fn remove(&mut self, prefix: &Prefix) -> &mut Self {
        if prefix.len == 128 {
            self.fib.hosts.remove(prefix.bits);
        } else if let Some(at) = self.fib.shorter.iter().position(|(len, _)| *len == prefix.len)
            && let Some((_, table)) = self.fib.shorter.get_mut(at)
        {
            let table = Arc::make_mut(table);
            table.remove(&prefix.bits);
            if table.is_empty() {
                self.fib.shorter.remove(at);
            }
        }
        self
    }

    /// The table as it is now. Later changes do not reach it.
    #[must_use]
    pub fn snapshot(&self) -> Fib {
        self.fib.clone()
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
        let keys = self.fib.hosts.keys;
        let shorter = &mut self.fib.shorter;
        let at = shorter.partition_point(|(len, _)| *len > prefix.len);
        if shorter.get(at).is_none_or(|(len, _)| *len != prefix.len) {
            shorter.insert(at, (prefix.len, Arc::new(Table::with_hasher(keys))));
        }
        if let Some((_, table)) = shorter.get_mut(at) {
            Arc::make_mut(table).insert(prefix.bits, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    /// Routes come and go for long; now and then a snapshot is taken, which later changes must not reach.
    #[test]
    fn a_table_kept_up_to_date_is_that_of_a_map_and_snapshots_stay_as_they_are() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut builder = FibBuilder::default();
        let mut naive: BTreeMap<Prefix, Vec<LinkId>> = BTreeMap::new();
        let mut snapshots = Vec::new();
        let same = |fib: &Fib, naive: &BTreeMap<Prefix, Vec<LinkId>>| {
            let routes = fib.routes().into_iter().map(|(prefix, target)| match target {
                Target::Local => (prefix, Vec::new()),
                Target::Via(links) => (prefix, links.to_vec()),
            });
            fib.len() == naive.len() && routes.eq(naive.iter().map(|(prefix, set)| (*prefix, set.clone())))
        };
        for step in 0..20_000 {
            let len = *rng.choice(&[0, 48, 64, 127, 128, 128, 128, 128]).unwrap();
            let prefix =
                Prefix::new(Ipv6Addr::from_bits(u128::from(rng.u16(..2_000)) << (rng.u8(..2) * 64)), len);
            match rng.u8(..5) {
                0 | 1 => {
                    builder.remove(&prefix);
                    naive.remove(&prefix);
                }
                2 => {
                    builder.local(prefix);
                    naive.insert(prefix, Vec::new());
                }
                _ => {
                    let mut links: Vec<LinkId> = (0..rng.u32(1..3)).map(|_| link(rng.u32(1..6))).collect();
                    builder.via(prefix, &links);
                    links.sort();
                    links.dedup();
                    naive.insert(prefix, links);
                }
            }
            if step % 1_000 == 0 {
                snapshots.push((builder.snapshot(), naive.clone()));
            }
        }
        assert!(naive.len() > 1_000 && builder.fib.hosts.shards.len() > 4);
        snapshots.push((builder.build(), naive));
        for (at, (fib, naive)) in snapshots.iter().enumerate() {
            assert!(same(fib, naive), "snapshot {at}");
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
    fn what_is_added_onto_a_table_does_not_change_it() {
        let (wide, host) =
            (Prefix::new(Ipv6Addr::from_bits(1 << 100), 48), Prefix::host(Ipv6Addr::from_bits(7)));
        let mut builder = FibBuilder::default();
        builder.via(host, &[link(1)]).via(wide, &[link(1)]);
        let below = builder.build();
        let mut above = FibBuilder::onto(&below);
        above.via(wide, &[link(2)]);
        let above = above.build();
        assert_eq!(below.exact(&wide), Some(Target::Via(&[link(1)])));
        assert_eq!(above.exact(&wide), Some(Target::Via(&[link(2)])));
        assert_eq!(above.exact(&host), Some(Target::Via(&[link(1)])));
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
