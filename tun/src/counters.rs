//! Every packet that is thrown away has a reason with a name, and every reason a counter.

macro_rules! discards {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)*) => {
        /// Why a packet or datagram was thrown away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Discard {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Discard {
            /// All reasons, in the order they are declared.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name an operator sees.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// One sentence about it.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii_start(),)*
                }
            }
        }
    };
}

discards! {
    /// The datagram is no WireGuard message.
    NotWireGuard = "not-wireguard",
    /// A handshake message whose sender does not know our public key (MAC1), or a damaged one.
    BadMac = "bad-mac",
    /// A source sent more handshake messages per second than allowed.
    HandshakeRate = "handshake-rate",
    /// A handshake from an unproven source was answered with a cookie because too many arrived.
    CookieDemanded = "cookie-demanded",
    /// A handshake from a key that is no peer of ours.
    UnknownPeer = "unknown-peer",
    /// A message for a session that we do not have (a peer that has not noticed our restart sends them).
    UnknownSession = "unknown-session",
    /// A message that failed authentication, was replayed or carries no IPv6.
    NotAuthentic = "not-authentic",
    /// A datagram that came from inside the mesh: a tunnel inside itself.
    UnderlayInsideMesh = "underlay-inside-mesh",
    /// An inner packet that is not well-formed IPv6.
    Malformed = "malformed",
    /// A packet from a tunnel whose adjacency is not Full.
    NotAdjacent = "not-adjacent",
    /// A packet that arrived from outside with one of our own addresses as its source.
    SourceIsOurs = "source-is-ours",
    /// A packet from another mesh with a source in ours.
    SourceNotForeign = "source-not-foreign",
    /// A packet whose source is outside the mesh and in no other mesh that is known here.
    SourceNotMesh = "source-not-mesh",
    /// A packet whose source has no route: nobody could be answered.
    SourceUnroutable = "source-unroutable",
    /// A packet of this host whose source is not one of our addresses.
    SourceNotOurs = "source-not-ours",
    /// A link-local or multicast packet that is neither OSPF, BFD nor an echo request to us.
    LinkLocalOther = "link-local-other",
    /// A fragment that is too short, or ends in the middle of eight bytes.
    FragmentMalformed = "fragment-malformed",
    /// A fragment of a control packet larger than is reassembled.
    FragmentTooLarge = "fragment-too-large",
    /// A fragment that contradicts another of its packet (RFC 5722).
    FragmentOverlap = "fragment-overlap",
    /// A control packet of which fragments were missing when too many others came.
    FragmentLimit = "fragment-limit",
    /// A control packet of which fragments were missing after a minute.
    FragmentTimeout = "fragment-timeout",
    /// A BFD packet that RFC 5880 section 6.8.6 tells to discard.
    BfdRejected = "bfd-rejected",
    /// More control packets from one tunnel than allowed.
    ControlRate = "control-rate",
    /// The control plane does not keep up.
    ControlQueueFull = "control-queue-full",
    /// No route to the destination.
    NoRoute = "no-route",
    /// All links to the destination are down.
    NextHopDown = "next-hop-down",
    /// The route leads back into the tunnel that the packet came from.
    BackToSender = "back-to-sender",
    /// The hop limit ran out.
    HopLimit = "hop-limit",
    /// The packet is larger than the tunnel MTU.
    TooBig = "too-big",
    /// The tunnel has no session, so the packet cannot be sent.
    NoSession = "no-session",
    /// The tunnel has no known endpoint.
    NoEndpoint = "no-endpoint",
    /// The transmit batch is full: the underlay does not take packets fast enough.
    TransmitFull = "transmit-full",
    /// The batch of packets to this host is full.
    DeviceFull = "device-full",
    /// An ICMPv6 error was not sent because of the rate limit.
    IcmpRate = "icmp-rate",
}

/// One counter per [`Discard`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters([u64; Discard::ALL.len()]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Discard::ALL.len()])
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&mut self, discard: Discard) {
        if let Some(counter) = self.0.get_mut(discard as usize) {
            *counter += 1;
        }
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, discard: Discard) -> u64 {
        self.0.get(discard as usize).copied().unwrap_or(0)
    }

    /// All counters with their reasons.
    pub fn iter(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.iter().map(|discard| (*discard, self.of(*discard)))
    }

    /// Sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_reason_has_its_counter() {
        let mut names: Vec<_> = Discard::ALL.iter().map(|discard| discard.name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Discard::ALL.len());
        let mut counters = Counters::default();
        for (times, discard) in Discard::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.count(*discard));
        }
        assert!(counters.iter().enumerate().all(|(times, (_, counted))| counted == times as u64));
        assert!(Discard::HopLimit.meaning().starts_with("The hop limit"));
    }
}
