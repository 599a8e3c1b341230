//! Path attributes (RFC 4271 section 5): what is said of a route, and how it is written.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use molt_mesh::codec::Writer;

use super::consts::{attribute, flag};

/// ORIGIN (RFC 4271 section 5.1.1), the better the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// From inside of the originating AS.
    Igp,
    /// From EGP.
    Egp,
    /// From elsewhere.
    Incomplete,
}

/// A part of an AS_PATH (RFC 4271 section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// In the order they were passed, the last one first. Never empty.
    Sequence(Vec<u32>),
    /// In no order, of an aggregate. Never empty.
    Set(Vec<u32>),
}

/// AS_PATH.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AsPath(pub Vec<Segment>);

/// A large community (RFC 8092): an AS and two numbers it gives a meaning to.
pub type LargeCommunity = [u32; 3];

/// The attributes of a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH.
    pub as_path: AsPath,
    /// Global address in the next hop of MP_REACH_NLRI (RFC 2545 section 3).
    pub next_hop: Ipv6Addr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF: given by policy, because no other AS may give it (RFC 4271 section 5.1.5).
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// AGGREGATOR: AS and identifier of who aggregated.
    pub aggregator: Option<(u32, Ipv4Addr)>,
    /// COMMUNITIES, ascending, each once.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY, ascending, each once.
    pub large_communities: Vec<LargeCommunity>,
    /// Optional transitive attributes we do not know, to be passed on with the Partial bit (RFC 4271 section 5): code, flags
    /// and value, ascending.
    pub others: Vec<(u8, u8, Vec<u8>)>,
}

impl AsPath {
    /// RFC 4271 section 9.1.2.2 (a): a set counts as one.
    #[must_use]
    pub fn length(&self) -> usize {
        let length = |segment: &Segment| match segment {
            Segment::Sequence(numbers) => numbers.len(),
            Segment::Set(_) => 1,
        };
        self.0.iter().map(length).sum()
    }

    /// Whether the AS is in it.
    #[must_use]
    pub fn contains(&self, asn: u32) -> bool {
        self.numbers().any(|number| number == asn)
    }

    /// The AS it came from last: that of the peer.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        match self.0.first()? {
            Segment::Sequence(numbers) => numbers.first().copied(),
            Segment::Set(_) => None,
        }
    }

    /// The AS that originated the route, unless it is one of several.
    #[must_use]
    pub fn origin(&self) -> Option<u32> {
        match self.0.last()? {
            Segment::Sequence(numbers) => numbers.last().copied(),
            Segment::Set(_) => None,
        }
    }

    /// Puts an AS in front, `times` times (RFC 4271 section 5.1.2 (b)).
    pub fn prepend(&mut self, asn: u32, times: usize) {
        for _ in 0..times {
            match self.0.first_mut() {
                // The count of a segment is one octet.
                Some(Segment::Sequence(numbers)) if numbers.len() < 255 => numbers.insert(0, asn),
                _ => self.0.insert(0, Segment::Sequence(vec![asn])),
            }
        }
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        let numbers = |segment: &'_ Segment| match segment {
            Segment::Sequence(numbers) | Segment::Set(numbers) => numbers.clone(),
        };
        self.0.iter().flat_map(numbers)
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            let (Segment::Sequence(numbers) | Segment::Set(numbers)) = segment;
            let set = matches!(segment, Segment::Set(_));
            let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let space = if at == 0 { "" } else { " " };
            match set {
                true => write!(f, "{space}{{{}}}", texts.join(","))?,
                false => write!(f, "{space}{}", texts.join(" "))?,
            }
        }
        Ok(())
    }
}

impl Path {
    /// A route that this AS originates.
    #[must_use]
    pub fn local(next_hop: Ipv6Addr) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
            others: Vec::new(),
        }
    }

    /// All but MP_REACH_NLRI, in ascending order of type code. LOCAL_PREF stays at home.
    pub(super) fn encode(&self, w: &mut Writer) {
        let well_known = flag::TRANSITIVE;
        let optional = flag::OPTIONAL | flag::TRANSITIVE;
        put(w, well_known, attribute::ORIGIN, &[self.origin as u8]);
        let mut value = Writer::default();
        for segment in &self.as_path.0 {
            let (kind, numbers) = match segment {
                Segment::Set(numbers) => (1, numbers),
                Segment::Sequence(numbers) => (2, numbers),
            };
            // Read from an octet, or built with at most 255.
            value.u8(kind).u8(numbers.len() as u8);
            for number in numbers {
                value.u32(*number);
            }
        }
        put(w, well_known, attribute::AS_PATH, value.as_slice());
        if let Some(med) = self.med {
            put(w, flag::OPTIONAL, attribute::MED, &med.to_be_bytes());
        }
        if self.atomic_aggregate {
            put(w, well_known, attribute::ATOMIC_AGGREGATE, &[]);
        }
        if let Some((asn, id)) = self.aggregator {
            let mut value = Writer::default();
            value.u32(asn).u32(id.to_bits());
            put(w, optional, attribute::AGGREGATOR, value.as_slice());
        }
        if !self.communities.is_empty() {
            let value: Vec<u8> = self.communities.iter().flat_map(|it| it.to_be_bytes()).collect();
            put(w, optional, attribute::COMMUNITIES, &value);
        }
        if !self.large_communities.is_empty() {
            let value: Vec<u8> =
                self.large_communities.iter().flatten().flat_map(|it| it.to_be_bytes()).collect();
            put(w, optional, attribute::LARGE_COMMUNITIES, &value);
        }
        for (code, flags, value) in &self.others {
            put(w, *flags, *code, value);
        }
    }
}

/// Writes one attribute, with two octets of length where one does not suffice.
pub(super) fn put(w: &mut Writer, flags: u8, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(len) => w.u8(flags).u8(code).u8(len),
        Err(_) => w.u8(flags | flag::EXTENDED_LENGTH).u8(code).u16(value.len() as u16),
    };
    w.bytes(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `10 20 {30,40}`
    fn aggregate() -> AsPath {
        AsPath(vec![Segment::Sequence(vec![10, 20]), Segment::Set(vec![30, 40])])
    }

    #[test]
    fn rfc4271_9_1_2_2_a_a_set_counts_as_one() {
        assert_eq!((aggregate().length(), AsPath::default().length()), (3, 0));
    }

    #[test]
    fn an_as_is_in_the_path_in_a_sequence_as_in_a_set() {
        assert!([10, 20, 30, 40].iter().all(|asn| aggregate().contains(*asn)));
        assert!(!aggregate().contains(50));
    }

    #[test]
    fn the_first_and_the_last_as_are_known_unless_they_are_among_several() {
        let path = AsPath(vec![Segment::Sequence(vec![10, 20]), Segment::Sequence(vec![30, 40])]);
        assert_eq!((path.first(), path.origin()), (Some(10), Some(40)));
        assert_eq!((aggregate().first(), aggregate().origin()), (Some(10), None));
        let set = AsPath(vec![Segment::Set(vec![10]), Segment::Sequence(vec![20])]);
        assert_eq!((set.first(), set.origin()), (None, Some(20)));
        assert_eq!((AsPath::default().first(), AsPath::default().origin()), (None, None));
    }

    #[test]
    fn rfc4271_5_1_2_b_our_as_goes_in_front() {
        let prepended = |segments: &[Segment], times| {
            let mut path = AsPath(segments.to_vec());
            path.prepend(9, times);
            path.0
        };
        let sequence = |numbers: &[u32]| Segment::Sequence(numbers.to_vec());
        let set = Segment::Set(vec![10, 20]);
        assert_eq!(prepended(&[], 2), [sequence(&[9, 9])], "1) an empty path");
        assert_eq!(prepended(&[sequence(&[10])], 2), [sequence(&[9, 9, 10])], "1) of a sequence");
        assert_eq!(prepended(std::slice::from_ref(&set), 1), [sequence(&[9]), set], "2) of a set");
        let (full, room) = (sequence(&[7; 255]), sequence(&[7; 254]));
        assert_eq!(
            prepended(std::slice::from_ref(&full), 1),
            [sequence(&[9]), full],
            "1) of a full sequence"
        );
        assert_eq!(prepended(&[room], 1), [sequence(&[&[9][..], &[7; 254]].concat())]);
    }

    #[test]
    fn a_path_is_written_as_everybody_does() {
        let path = AsPath([aggregate().0, vec![Segment::Sequence(vec![50])]].concat());
        assert_eq!(path.to_string(), "10 20 {30,40} 50");
        assert_eq!(AsPath::default().to_string(), "");
    }
}
