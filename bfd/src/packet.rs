//! The BFD control packet (RFC 5880 section 4.1).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! |                       My Discriminator                        |
//! |                      Your Discriminator                       |
//! |                    Desired Min TX Interval                    |
//! |                   Required Min RX Interval                    |
//! |                 Required Min Echo RX Interval                 |
//! ```

use molt_mesh::codec::{Reader, Short};

use crate::fsm::{Diag, State};

/// Length of a packet without an Authentication Section.
pub const LEN: usize = 24;

const VERSION: u8 = 1;
/// Smallest Authentication Section: type and length.
const AUTH_MIN: u8 = 2;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Why a received packet was discarded: one variant per rule, those of RFC 5880 section 6.8.6 in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// RFC 5881 section 5: only a packet no router has forwarded has 255 left. RFC 5883 section 5: the session allows less,
    /// but not this.
    #[error("hop limit {hop_limit}: it comes from farther away than the peer")]
    HopLimit {
        /// As received.
        hop_limit: u8,
    },
    /// The payload ends within the fixed header.
    #[error("{len} bytes are shorter than the header of 24")]
    TooShort {
        /// Length of the payload.
        len: usize,
    },
    /// The version is not 1.
    #[error("version {version} is not 1")]
    Version {
        /// As received.
        version: u8,
    },
    /// The Length field is below 24, or below 26 with the A bit.
    #[error("the length field says {length}, less than the header")]
    LengthTooSmall {
        /// As received.
        length: u8,
    },
    /// The Length field exceeds the payload.
    #[error("the length field says {length}, more than the payload of {len}")]
    LengthTooLarge {
        /// As received.
        length: u8,
        /// Length of the payload.
        len: usize,
    },
    /// Detect Mult is zero.
    #[error("Detect Mult is zero")]
    ZeroDetectMult,
    /// The M bit is set.
    #[error("the Multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("My Discriminator is zero")]
    ZeroMyDiscriminator,
    /// Your Discriminator is not that of the session on this link.
    #[error("Your Discriminator {discriminator:#010x} is not of this link's session")]
    UnknownYourDiscriminator {
        /// As received.
        discriminator: u32,
    },
    /// Your Discriminator is zero in a state that requires to know ours.
    #[error("Your Discriminator is zero in state {state}")]
    ZeroYourDiscriminator {
        /// As received.
        state: State,
    },
    /// There is no session on the link the packet came through.
    #[error("there is no session on this link")]
    NoSession,
    /// The A bit is set, and we use no authentication.
    #[error("the packet is authenticated, the session is not")]
    Authenticated,
    /// Both P and F are set, which section 6.5 forbids.
    #[error("Poll and Final are both set")]
    PollAndFinal,
}

impl Reject {
    /// A short name for a counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HopLimit { .. } => "bfd_hop_limit",
            Self::TooShort { .. } => "bfd_too_short",
            Self::Version { .. } => "bfd_version",
            Self::LengthTooSmall { .. } => "bfd_length_too_small",
            Self::LengthTooLarge { .. } => "bfd_length_too_large",
            Self::ZeroDetectMult => "bfd_zero_detect_mult",
            Self::Multipoint => "bfd_multipoint",
            Self::ZeroMyDiscriminator => "bfd_zero_my_discriminator",
            Self::UnknownYourDiscriminator { .. } => "bfd_unknown_your_discriminator",
            Self::ZeroYourDiscriminator { .. } => "bfd_zero_your_discriminator",
            Self::NoSession => "bfd_no_session",
            Self::Authenticated => "bfd_authenticated",
            Self::PollAndFinal => "bfd_poll_and_final",
        }
    }
}

/// A control packet that passed the rules which need no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender last changed its state.
    pub diag: Diag,
    /// The sender's state.
    pub state: State,
    /// P: the sender wants an F in answer.
    pub poll: bool,
    /// F: the answer to a P.
    pub final_: bool,
    /// C: the sender's BFD survives its control plane.
    pub control_plane_independent: bool,
    /// A: an Authentication Section follows. Decoded so that the rule can stand in its place of section 6.8.6.
    pub authentication: bool,
    /// D: the sender asks us to stop sending periodically.
    pub demand: bool,
    /// How many packets of the sender may be lost. Never zero.
    pub detect_mult: u8,
    /// The sender's name for the session. Never zero.
    pub my_discriminator: u32,
    /// The sender's idea of our name for the session, zero while unknown.
    pub your_discriminator: u32,
    /// Microseconds.
    pub desired_min_tx_us: u32,
    /// Microseconds; zero asks for silence.
    pub required_min_rx_us: u32,
    /// Microseconds; zero means the sender does not loop back.
    pub required_min_echo_rx_us: u32,
}

impl Packet {
    /// Reads a UDP payload.
    ///
    /// # Errors
    /// The first rule of RFC 5880 section 6.8.6 that it breaks. What follows the Length field's end is ignored.
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let too_short = |_: Short| Reject::TooShort { len: payload.len() };
        let mut fixed = Reader::new(payload).sub(LEN).map_err(too_short)?;
        let [vers_diag, sta_flags, detect_mult, length] = fixed.array().map_err(too_short)?;
        let [my_discriminator, your_discriminator] = [(); 2].map(|()| fixed.u32());
        let [desired_min_tx, required_min_rx, required_min_echo_rx] = [(); 3].map(|()| fixed.u32());

        let packet = Self {
            diag: Diag::from_bits(vers_diag),
            state: State::from_bits(sta_flags >> 6),
            poll: sta_flags & POLL != 0,
            final_: sta_flags & FINAL != 0,
            control_plane_independent: sta_flags & CONTROL_PLANE_INDEPENDENT != 0,
            authentication: sta_flags & AUTHENTICATION != 0,
            demand: sta_flags & DEMAND != 0,
            detect_mult,
            my_discriminator: my_discriminator.map_err(too_short)?,
            your_discriminator: your_discriminator.map_err(too_short)?,
            desired_min_tx_us: desired_min_tx.map_err(too_short)?,
            required_min_rx_us: required_min_rx.map_err(too_short)?,
            required_min_echo_rx_us: required_min_echo_rx.map_err(too_short)?,
        };

        let version = vers_diag >> 5;
        if version != VERSION {
            return Err(Reject::Version { version });
        }
        let least = LEN as u8 + if packet.authentication { AUTH_MIN } else { 0 };
        if length < least {
            return Err(Reject::LengthTooSmall { length });
        }
        if usize::from(length) > payload.len() {
            return Err(Reject::LengthTooLarge { length, len: payload.len() });
        }
        if detect_mult == 0 {
            return Err(Reject::ZeroDetectMult);
        }
        if sta_flags & MULTIPOINT != 0 {
            return Err(Reject::Multipoint);
        }
        if packet.my_discriminator == 0 {
            return Err(Reject::ZeroMyDiscriminator);
        }
        if packet.poll && packet.final_ {
            return Err(Reject::PollAndFinal);
        }
        Ok(packet)
    }

    /// The packet without an Authentication Section.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let sta_flags = self.state.bits() << 6
            | flag(self.poll, POLL)
            | flag(self.final_, FINAL)
            | flag(self.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(self.demand, DEMAND);
        let head = [VERSION << 5 | self.diag.bits(), sta_flags, self.detect_mult, LEN as u8];
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx_us,
            self.required_min_rx_us,
            self.required_min_echo_rx_us,
        ];
        let mut bytes = [0; LEN];
        let fields = std::iter::once(head).chain(words.map(u32::to_be_bytes));
        for (to, field) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *to = field;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn a_packet_of_frr_field_by_field() {
        let bytes = hex("
            23        # version 1, diagnostic 3: neighbour signalled down
            40        # Down, no flags
            03        # detect mult
            18        # length 24
            e36f8072  # my discriminator
            7fc9e36f  # your discriminator
            000493e0  # desired min tx 300 ms
            000493e0  # required min rx 300 ms
            0000c350  # required min echo rx 50 ms
        "
        .lines()
        .map(|line| line.split('#').next().unwrap())
        .collect::<String>()
        .as_str());
        let packet = Packet {
            diag: Diag::NEIGHBOR_SIGNALED_DOWN,
            state: State::Down,
            poll: false,
            final_: false,
            control_plane_independent: false,
            authentication: false,
            demand: false,
            detect_mult: 3,
            my_discriminator: 0xe36f_8072,
            your_discriminator: 0x7fc9_e36f,
            desired_min_tx_us: 300_000,
            required_min_rx_us: 300_000,
            required_min_echo_rx_us: 50_000,
        };
        assert_eq!(Packet::decode(&bytes), Ok(packet));
        assert_eq!(packet.encode().as_slice(), bytes);
    }

    /// Section 4.1: the bits from 2 to 7 of the second byte.
    #[test]
    fn each_flag_has_its_bit() {
        let bytes = |flags: u8| {
            [0x20, 0xc0 | flags, 3, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5]
        };
        let plain = Packet::decode(&bytes(0)).unwrap();
        let fields = [plain.desired_min_tx_us, plain.required_min_rx_us, plain.required_min_echo_rx_us];
        assert_eq!((plain.my_discriminator, plain.your_discriminator, fields), (1, 2, [3, 4, 5]));
        for (bit, packet) in [
            (0, plain),
            (0x20, Packet { poll: true, ..plain }),
            (0x10, Packet { final_: true, ..plain }),
            (0x08, Packet { control_plane_independent: true, ..plain }),
            (0x02, Packet { demand: true, ..plain }),
        ] {
            assert_eq!(Packet::decode(&bytes(bit)), Ok(packet), "{bit:02x}");
            assert_eq!(packet.encode(), bytes(bit), "{bit:02x}");
        }
        let mut authenticated = [&bytes(0x04)[..], &[1, 2]].concat();
        authenticated[3] = 26;
        assert_eq!(Packet::decode(&authenticated), Ok(Packet { authentication: true, ..plain }));
        assert_eq!(Packet::decode(&bytes(0x01)), Err(Reject::Multipoint));
    }

    #[test]
    fn each_reject_has_a_counter_of_its_own() {
        let state = State::Up;
        let names = [
            (Reject::HopLimit { hop_limit: 1 }, "bfd_hop_limit"),
            (Reject::TooShort { len: 1 }, "bfd_too_short"),
            (Reject::Version { version: 2 }, "bfd_version"),
            (Reject::LengthTooSmall { length: 1 }, "bfd_length_too_small"),
            (Reject::LengthTooLarge { length: 99, len: 24 }, "bfd_length_too_large"),
            (Reject::ZeroDetectMult, "bfd_zero_detect_mult"),
            (Reject::Multipoint, "bfd_multipoint"),
            (Reject::ZeroMyDiscriminator, "bfd_zero_my_discriminator"),
            (Reject::UnknownYourDiscriminator { discriminator: 1 }, "bfd_unknown_your_discriminator"),
            (Reject::ZeroYourDiscriminator { state }, "bfd_zero_your_discriminator"),
            (Reject::NoSession, "bfd_no_session"),
            (Reject::Authenticated, "bfd_authenticated"),
            (Reject::PollAndFinal, "bfd_poll_and_final"),
        ];
        for (reject, name) in names {
            assert_eq!(reject.name(), name);
        }
    }

    /// Captured between FRR 8.4.4 and BIRD 2.0.12: each state, Poll, Final. The file belongs to the routing crate, whose
    /// packets are in it too.
    #[test]
    fn packets_of_frr_and_bird_decode_and_encode_to_the_same_bytes() {
        let captures = include_str!("../../routing/tests/vectors/ospfv3-bfd.jsonl");
        let mut count = 0;
        for line in captures.lines().filter(|line| line.contains(r#""kind": "bfd""#)) {
            let (_, rest) = line.split_once(r#""hex": ""#).unwrap();
            let bytes = hex(rest.split('"').next().unwrap());
            let packet = Packet::decode(&bytes).unwrap_or_else(|reject| panic!("{line}: {reject}"));
            assert_eq!(packet.encode().as_slice(), bytes, "{line}");
            count += 1;
        }
        assert_eq!(count, 33);
    }

    #[test]
    fn no_input_makes_the_decoder_panic_and_what_it_accepts_it_can_encode() {
        let mut rng = fastrand::Rng::with_seed(11);
        let valid = hex("20c003180000000100000002000186a0000186a000000000");
        for _ in 0..100_000 {
            let mut bytes = valid.clone();
            for _ in 0..rng.usize(..5) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len() * 2));
            bytes.extend((0..rng.usize(..3)).map(|_| 0xff));
            if let Ok(packet) = Packet::decode(&bytes) {
                let again = Packet { authentication: false, ..packet };
                assert_eq!(Packet::decode(&packet.encode()), Ok(again));
            }
        }
    }
}
