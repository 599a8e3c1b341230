//! LSAs about destinations outside the area: of other areas (A.4.5, A.4.6) and outside the autonomous system (A.4.7, A.4.8).

use std::net::Ipv6Addr;

use molt_mesh::RouterId;
use molt_mesh::codec::{Reader, Writer};

use super::{LsType, LsaPrefix, Malformed};
use crate::ospf::consts::external;

/// Inter-Area-Prefix-LSA (A.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterAreaPrefixLsa {
    /// Cost from the originator to the prefix, 24 bits.
    pub metric: u32,
    /// The prefix. The metric in it is 0: its field is reserved here.
    pub prefix: LsaPrefix,
}

impl InterAreaPrefixLsa {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _reserved = r.u8()?;
        let metric = r.u24()?;
        Ok(Self { metric, prefix: LsaPrefix { metric: 0, ..LsaPrefix::decode(r)? } })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(0).u24(self.metric);
        LsaPrefix { metric: 0, ..self.prefix }.encode(&mut w);
        w.finish()
    }
}

/// Inter-Area-Router-LSA (A.4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterAreaRouterLsa {
    /// Options of the router, 24 bits.
    pub options: u32,
    /// Cost from the originator to the router, 24 bits.
    pub metric: u32,
    /// The AS boundary router.
    pub destination: RouterId,
}

impl InterAreaRouterLsa {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _reserved = r.u8()?;
        let options = r.u24()?;
        let _reserved = r.u8()?;
        Ok(Self { options, metric: r.u24()?, destination: RouterId(r.u32()?) })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(0).u24(self.options).u8(0).u24(self.metric).u32(self.destination.0);
        w.finish()
    }
}

/// AS-External-LSA (A.4.7), and NSSA-LSA (A.4.8), whose body is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsExternalLsa {
    /// Bit E: the metric is of type 2, larger than any cost inside the autonomous system.
    pub type_2: bool,
    /// Cost of the route, 24 bits.
    pub metric: u32,
    /// The prefix. The metric in it is 0: its field holds the type in [`Self::referenced`] here.
    pub prefix: LsaPrefix,
    /// Bit F: where to send packets for the prefix, if not to the originator.
    pub forwarding: Option<Ipv6Addr>,
    /// Bit T: a tag that OSPF itself does not use.
    pub tag: Option<u32>,
    /// Type and Link State ID of an LSA of the same originator with more about the route.
    pub referenced: Option<(LsType, u32)>,
}

impl AsExternalLsa {
    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let bits = r.u8()?;
        let metric = r.u24()?;
        let prefix = LsaPrefix::decode(r)?;
        let has = |bit| bits & bit != 0;
        Ok(Self {
            type_2: has(external::E),
            metric,
            forwarding: if has(external::F) { Some(Ipv6Addr::from_bits(r.u128()?)) } else { None },
            tag: if has(external::T) { Some(r.u32()?) } else { None },
            referenced: match prefix.metric {
                0 => None,
                ls_type => Some((LsType(ls_type), r.u32()?)),
            },
            prefix: LsaPrefix { metric: 0, ..prefix },
        })
    }

    /// The body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bit = |set, bit| if set { bit } else { 0 };
        let bits = bit(self.type_2, external::E)
            | bit(self.forwarding.is_some(), external::F)
            | bit(self.tag.is_some(), external::T);
        let referenced_type = self.referenced.map_or(0, |(ls_type, _)| ls_type.0);
        let mut w = Writer::default();
        w.u8(bits).u24(self.metric);
        LsaPrefix { metric: referenced_type, ..self.prefix }.encode(&mut w);
        if let Some(forwarding) = self.forwarding {
            w.u128(forwarding.to_bits());
        }
        if let Some(tag) = self.tag {
            w.u32(tag);
        }
        if let Some((_, id)) = self.referenced {
            w.u32(id);
        }
        w.finish()
    }
}
