//! Where peers are: literal addresses, host names that are resolved and resolved again, and the way back to both when
//! a peer that has moved is not heard any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use molt_mesh::NodePublic;
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::{Endpoint, Peer};
use crate::control::{Control, PeerConfig};

/// How often neighbours without an adjacency are looked after.
pub(super) const PATROL: Duration = Duration::from_secs(5);

/// Most answers of the resolver waiting to be taken.
pub(super) const BACKLOG: usize = 64;

/// Patrols between two attempts on the same peer: with [`PATROL`], 15 s, so that a handshake (5 s between initiations)
/// has had its chances at one address before the next is tried.
const ATTEMPT_EVERY: u32 = 3;

/// An answer of the resolver.
pub(super) struct Found {
    key: NodePublic,
    name: String,
    result: std::io::Result<Vec<SocketAddr>>,
}

/// What is known about one peer's place.
#[derive(Debug, Clone)]
struct Place {
    configured: Endpoint,
    addresses: Vec<SocketAddr>,
    /// Which address comes next.
    next: usize,
    /// A name to be resolved.
    wanted: bool,
    asking: bool,
    patrols: u32,
}

/// All configured endpoints.
#[derive(Debug, Default)]
pub(super) struct Endpoints(BTreeMap<NodePublic, Place>);

impl Endpoints {
    /// Takes the peers of a configuration; what is known about places that have not changed is kept.
    pub(super) fn configure(&mut self, peers: &[Peer]) -> Vec<PeerConfig> {
        let mut before = std::mem::take(&mut self.0);
        for peer in peers {
            let Some(configured) = peer.endpoint.clone() else { continue };
            let known = before.remove(&peer.wireguard_key).filter(|place| place.configured == configured);
            let place = known.unwrap_or_else(|| Place {
                addresses: match &configured {
                    Endpoint::Address(address) => vec![*address],
                    Endpoint::Name(_) => Vec::new(),
                },
                next: 0,
                wanted: matches!(configured, Endpoint::Name(_)),
                asking: false,
                patrols: 0,
                configured,
            });
            self.0.insert(peer.wireguard_key, place);
        }
        peers
            .iter()
            .map(|peer| PeerConfig {
                key: peer.wireguard_key,
                preshared: peer.preshared_key.map(|key| key.0),
                endpoint: self.0.get(&peer.wireguard_key).and_then(|place| place.addresses.first().copied()),
                cost: peer.cost,
                stock: peer.stock.then(|| peer.allow.clone()),
                border: peer.border,
            })
            .collect()
    }

    /// Starts resolving every name that is wanted; answers arrive at `found`.
    pub(super) fn refresh(&mut self, found: &mpsc::Sender<Found>) {
        for (key, place) in &mut self.0 {
            let Endpoint::Name(name) = &place.configured else { continue };
            if !place.wanted || place.asking {
                continue;
            }
            place.wanted = false;
            place.asking = true;
            let (key, name, found) = (*key, name.clone(), found.clone());
            tokio::spawn(async move {
                let result = tokio::net::lookup_host(&name).await.map(Iterator::collect);
                drop(found.send(Found { key, name, result }).await);
            });
        }
    }

    /// Takes an answer of the resolver: the address to try.
    pub(super) fn resolved(&mut self, found: Found) -> Option<(NodePublic, SocketAddr)> {
        let place = self.0.get_mut(&found.key)?;
        place.asking = false;
        match found.result {
            Ok(addresses) if !addresses.is_empty() => {
                if !addresses.iter().all(|address| place.addresses.contains(address)) {
                    place.addresses = addresses;
                    place.next = 0;
                }
                place.step().map(|address| (found.key, address))
            }
            Ok(_) => {
                warn!(name = found.name, "the endpoint has no address; trying again");
                None
            }
            Err(error) => {
                warn!(name = found.name, %error, "cannot resolve the endpoint; trying again");
                None
            }
        }
    }

    /// Looks after peers without an adjacency: a name is resolved again, a literal address tried again (the peer may
    /// have roamed to where it no longer is).
    pub(super) fn patrol(&mut self, control: &mut Control) {
        for (key, place) in &mut self.0 {
            let Some(link) = control.link_of(key) else { continue };
            if control.is_full(link) || control.is_border_up(link) {
                place.patrols = 0;
                continue;
            }
            place.patrols += 1;
            if place.patrols % ATTEMPT_EVERY != 0 {
                continue;
            }
            match place.configured {
                Endpoint::Name(_) => place.wanted = true,
                Endpoint::Address(_) => {
                    if let Some(address) = place.step() {
                        control.set_endpoint(link, address);
                    }
                }
            }
        }
    }
}

impl Place {
    /// The next of several addresses.
    fn step(&mut self) -> Option<SocketAddr> {
        let address = self.addresses.get(self.next).copied()?;
        self.next = (self.next + 1) % self.addresses.len();
        Some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(endpoint: &str) -> Peer {
        let text =
            format!("wireguard_key = \"{}\"\nendpoint = \"{endpoint}\"", NodePublic::from_bytes([1; 32]));
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_name_with_several_addresses_is_tried_in_turn() {
        let mut endpoints = Endpoints::default();
        let configured = endpoints.configure(&[peer("host.example:1")]);
        assert_eq!(configured[0].endpoint, None);
        let key = NodePublic::from_bytes([1; 32]);
        let addresses: Vec<SocketAddr> =
            ["192.0.2.1:1", "[2001:db8::1]:1"].map(|text| text.parse().unwrap()).into();
        let mut tried = || {
            let found = Found { key, name: "host.example:1".into(), result: Ok(addresses.clone()) };
            endpoints.resolved(found).map(|(_, address)| address)
        };
        assert_eq!([tried(), tried(), tried()], [0, 1, 0].map(|i: usize| Some(addresses[i])));
    }

    #[test]
    fn a_reload_keeps_what_was_resolved_unless_the_endpoint_is_another() {
        let mut endpoints = Endpoints::default();
        let key = NodePublic::from_bytes([1; 32]);
        endpoints.configure(&[peer("host.example:1")]);
        let address: SocketAddr = "192.0.2.1:1".parse().unwrap();
        endpoints.resolved(Found { key, name: String::new(), result: Ok(vec![address]) });
        assert_eq!(endpoints.configure(&[peer("host.example:1")])[0].endpoint, Some(address));
        assert_eq!(endpoints.configure(&[peer("other.example:1")])[0].endpoint, None);
        assert_eq!(endpoints.configure(&[peer("192.0.2.9:1")])[0].endpoint, "192.0.2.9:1".parse().ok());
    }
}
