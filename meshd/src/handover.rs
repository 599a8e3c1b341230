//! What a process that restarts gracefully leaves to the one that replaces it.
//!
//! WireGuard sessions are not among it: the engine does not give its keys away. The new process shakes hands anew, and
//! until then packets through this node are lost; everything else goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use molt_mesh::fib::FibBuilder;
use molt_mesh::{Fib, LinkId, MeshPrefix, NodePublic, Prefix, Target};
use molt_routing::ospf::lsa::{GraceLsa, GraceReason};
use serde::{Deserialize, Serialize};

/// How long neighbours are asked to wait: for a handshake that is lost a few times (5 s each) and a stock router that
/// answers with its next Hello (10 s) and begins with its retransmission (5 s). Routes are frozen that long when a
/// neighbour does not come back. RFC 3623 appendix B has twice as much.
pub const GRACE: GraceLsa = GraceLsa { period_s: 60, reason: GraceReason::SOFTWARE_RESTART };

/// What one process leaves to the next.
#[derive(Debug, Clone)]
pub struct Handover {
    /// The /48 of the mesh: what follows means nothing in another one.
    pub mesh: MeshPrefix,
    /// When the neighbours were asked, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How often a router id was drawn.
    pub draw: u32,
    /// Neighbours by key.
    pub links: BTreeMap<NodePublic, HandedLink>,
    /// The forwarding table in force.
    pub fib: Fib,
}

/// One neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedLink {
    /// The id of its link, which its Router-LSA names.
    pub link: LinkId,
    /// Where it was last heard.
    pub endpoint: Option<SocketAddr>,
    /// Whether its adjacency was Full.
    pub forwarding: bool,
}

/// Why what was left cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Another version wrote it.
    #[error("it has format {0}, not {FORMAT}")]
    Format(u32),
    /// Not what we write.
    #[error("it is damaged: {0}")]
    Json(#[from] serde_json::Error),
    /// The configuration was changed since.
    #[error("it is of the mesh {0}, and this is {1}")]
    AnotherMesh(MeshPrefix, MeshPrefix),
    /// A key, prefix or link that is none.
    #[error("it names {0:?}, which is no {1}")]
    Value(String, &'static str),
    /// Two neighbours on one link.
    #[error("it gives link {0} to two neighbours")]
    LinkTwice(u32),
}

/// Changes whenever a field does.
const FORMAT: u32 = 2;

/// The file. Everything in it is checked by [`Handover::decode`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    mesh: String,
    unix_ms: u64,
    draw: u32,
    links: Vec<WrittenLink>,
    /// Links to each prefix; none means this node itself.
    routes: Vec<(String, Vec<u32>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLink {
    key: String,
    link: u32,
    endpoint: Option<SocketAddr>,
    forwarding: bool,
}

impl Handover {
    /// As a file.
    ///
    /// # Errors
    /// None in practice: it is numbers and strings.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let link = |(key, handed): (&NodePublic, &HandedLink)| WrittenLink {
            key: key.to_string(),
            link: handed.link.get(),
            endpoint: handed.endpoint,
            forwarding: handed.forwarding,
        };
        let links = |target: Target<'_>| match target {
            Target::Local => Vec::new(),
            Target::Via(links) => links.iter().map(|link| link.get()).collect(),
        };
        let routes = self.fib.routes().into_iter();
        serde_json::to_vec(&Written {
            format: FORMAT,
            mesh: self.mesh.to_string(),
            unix_ms: self.unix_ms,
            draw: self.draw,
            links: self.links.iter().map(link).collect(),
            routes: routes.map(|(prefix, target)| (prefix.to_string(), links(target))).collect(),
        })
    }

    /// Reads a file of a process in the same mesh.
    ///
    /// # Errors
    /// [`Unusable`] names what is wrong with it.
    pub fn decode(bytes: &[u8], mesh: MeshPrefix) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        // First, because another version has other fields.
        let Format { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(Unusable::Format(format));
        }
        let written: Written = serde_json::from_slice(bytes)?;
        match written.mesh.parse::<MeshPrefix>() {
            Ok(of) if of == mesh => {}
            Ok(of) => return Err(Unusable::AnotherMesh(of, mesh)),
            Err(_) => return Err(Unusable::Value(written.mesh, "prefix of a mesh")),
        }
        let link_id = |link: u32| {
            let id = LinkId::new(link).filter(|_| link <= molt_tun::MAX_LINKS);
            id.ok_or_else(|| Unusable::Value(link.to_string(), "link"))
        };
        let mut links = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for WrittenLink { key, link, endpoint, forwarding } in written.links {
            let id = link_id(link)?;
            let key: NodePublic = key.parse().map_err(|_| Unusable::Value(key, "key"))?;
            if !ids.insert(id) || links.insert(key, HandedLink { link: id, endpoint, forwarding }).is_some() {
                return Err(Unusable::LinkTwice(link));
            }
        }
        let mut fib = FibBuilder::with_capacity(written.routes.len());
        for (prefix, via) in written.routes {
            let prefix: Prefix = prefix.parse().map_err(|_| Unusable::Value(prefix, "prefix"))?;
            // Ascending and once each, as a table has them.
            let via: BTreeSet<LinkId> = via.into_iter().map(link_id).collect::<Result<_, _>>()?;
            let via: Vec<LinkId> = via.into_iter().collect();
            if via.is_empty() {
                fib.local(prefix);
            } else {
                fib.via(prefix, &via);
            }
        }
        Ok(Self { mesh, unix_ms: written.unix_ms, draw: written.draw, links, fib: fib.build() })
    }

    /// What is left of the grace period. `None` if it is over, or begins in the future.
    #[must_use]
    pub fn grace_left(&self, unix_ms: u64) -> Option<GraceLsa> {
        let age = Duration::from_millis(unix_ms.checked_sub(self.unix_ms)?);
        let left = GRACE.period().checked_sub(age).filter(|left| left.as_secs() > 0)?;
        Some(GraceLsa { period_s: left.as_secs() as u32, ..GRACE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: u32) -> LinkId {
        LinkId::new(number).unwrap()
    }

    fn handover() -> Handover {
        let handed = |number, endpoint: Option<&str>, forwarding| HandedLink {
            link: link(number),
            endpoint: endpoint.map(|text| text.parse().unwrap()),
            forwarding,
        };
        let mut fib = FibBuilder::default();
        fib.local("fd00:6d6f:6c74::1/128".parse().unwrap());
        fib.via("fd00:6d6f:6c74::2/128".parse().unwrap(), &[link(1), link(4096)]);
        fib.via("fd00:6d6f:6c74:bbbb::/64".parse().unwrap(), &[link(1)]);
        let links = [
            (NodePublic::from_bytes([1; 32]), handed(1, Some("[2001:db8::1]:51820"), true)),
            (NodePublic::from_bytes([2; 32]), handed(4096, None, false)),
        ];
        Handover {
            mesh: MeshPrefix::DEFAULT,
            unix_ms: 1_000_000,
            draw: 3,
            links: links.into(),
            fib: fib.build(),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let before = handover();
        let after = Handover::decode(&before.encode().unwrap(), before.mesh).unwrap();
        assert_eq!((after.unix_ms, after.draw, &after.links), (before.unix_ms, before.draw, &before.links));
        assert_eq!(after.fib.routes(), before.fib.routes());
    }

    #[test]
    fn what_nobody_wrote_is_refused_by_name() {
        let text = String::from_utf8(handover().encode().unwrap()).unwrap();
        let key = NodePublic::from_bytes([2; 32]).to_string();
        for (from, to, why) in [
            ("\"format\":2", "\"format\":3", "format 3"),
            ("\"mesh\":\"fd00", "\"mesh\":\"fc00", "no prefix of a mesh"),
            ("\"mesh\":\"fd00", "\"mesh\":\"fd01", "of the mesh fd01:6d6f:6c74::/48"),
            ("\"draw\":3", "\"drew\":3", "damaged"),
            ("\"link\":4096", "\"link\":1", "link 1 to two"),
            ("\"link\":4096", "\"link\":4097", "no link"),
            ("\"link\":4096", "\"link\":0", "no link"),
            ("[1,4096]", "[1,0]", "no link"),
            (key.as_str(), "AgIC", "no key"),
            ("bbbb::/64", "bbbb::1/64", "no prefix"),
            ("{", "", "damaged"),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from}");
            let error = Handover::decode(damaged.as_bytes(), MeshPrefix::DEFAULT).unwrap_err().to_string();
            assert!(error.contains(why), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn the_grace_period_goes_on_while_nobody_runs_and_ends() {
        let handover = handover();
        let left = |after: i64| {
            handover.grace_left(handover.unix_ms.saturating_add_signed(after)).map(|grace| grace.period_s)
        };
        assert_eq!([left(0), left(1), left(20_000), left(59_000)], [Some(60), Some(59), Some(40), Some(1)]);
        assert_eq!([left(59_001), left(60_000), left(3_600_000), left(-1)], [None; 4]);
    }
}
