//! States, diagnostics and the transition table of RFC 5880.

use std::fmt;

/// `bfd.SessionState` (RFC 5880 section 4.1, field Sta).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Held down by its operator.
    AdminDown = 0,
    /// The peer is not heard, or says that it does not hear us.
    Down = 1,
    /// The peer is heard.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

impl State {
    /// From the two bits of the field.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    /// The two bits of the field.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// Why a session last changed its state (RFC 5880 section 4.1, field Diag). Unassigned values are kept for the operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Diag(u8);

impl Diag {
    /// No Diagnostic.
    pub const NONE: Self = Self(0);
    /// Control Detection Time Expired.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// Neighbor Signaled Session Down.
    pub const NEIGHBOR_SIGNALED_DOWN: Self = Self(3);
    /// Administratively Down.
    pub const ADMIN_DOWN: Self = Self(7);

    /// From the five bits of the field.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x1f)
    }

    /// The five bits of the field.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "No Diagnostic",
            1 => "Control Detection Time Expired",
            2 => "Echo Function Failed",
            3 => "Neighbor Signaled Session Down",
            4 => "Forwarding Plane Reset",
            5 => "Path Down",
            6 => "Concatenated Path Down",
            7 => "Administratively Down",
            8 => "Reverse Concatenated Path Down",
            other => return write!(f, "Unassigned ({other})"),
        })
    }
}

impl fmt::Debug for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the state of a received packet does to the local state: the second half of RFC 5880 section 6.8.6. `None` means
/// "stay"; timers and the Poll Sequence are the caller's.
#[must_use]
pub const fn next_state(local: State, remote: State) -> Option<(State, Diag)> {
    use State::{AdminDown, Down, Init, Up};
    match (local, remote) {
        (AdminDown, AdminDown | Down | Init | Up) => None,
        (Init | Up, AdminDown) => Some((Down, Diag::NEIGHBOR_SIGNALED_DOWN)),
        (Down, AdminDown | Up) | (Init, Down) | (Up, Init | Up) => None,
        (Down, Down) => Some((Init, Diag::NONE)),
        (Down, Init) | (Init, Init | Up) => Some((Up, Diag::NONE)),
        (Up, Down) => Some((Down, Diag::NEIGHBOR_SIGNALED_DOWN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The diagram of RFC 5880 section 6.2, one row per local state, one column per received state.
    #[test]
    fn the_whole_state_table_of_section_6_8_6() {
        use State::{AdminDown, Down, Init, Up};
        let received = [AdminDown, Down, Init, Up];
        let table = [
            (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
            (Down, [Down, Init, Up, Down]),
            (Init, [Down, Init, Up, Up]),
            (Up, [Down, Down, Up, Up]),
        ];
        for (local, row) in table {
            for (remote, expected) in received.into_iter().zip(row) {
                let next = next_state(local, remote);
                assert_eq!(next.map_or(local, |(state, _)| state), expected, "{local} receives {remote}");
                if let Some((to, diag)) = next {
                    assert_ne!(to, local, "a transition goes to another state");
                    let expected = if to == Down { Diag::NEIGHBOR_SIGNALED_DOWN } else { Diag::NONE };
                    assert_eq!(diag, expected, "{local} receives {remote}");
                }
            }
        }
    }

    #[test]
    fn fields_survive_the_round_trip() {
        for bits in 0..=u8::MAX {
            assert_eq!(State::from_bits(bits).bits(), bits & 3);
            assert_eq!(Diag::from_bits(bits).bits(), bits & 0x1f);
        }
    }

    /// The words of the RFC, in the order of the values.
    #[test]
    fn the_values_of_section_4_1() {
        let states = ["AdminDown", "Down", "Init", "Up"];
        assert_eq!([0, 1, 2, 3].map(|bits| State::from_bits(bits).to_string()), states);
        let diags = [
            "No Diagnostic",
            "Control Detection Time Expired",
            "Echo Function Failed",
            "Neighbor Signaled Session Down",
            "Forwarding Plane Reset",
            "Path Down",
            "Concatenated Path Down",
            "Administratively Down",
            "Reverse Concatenated Path Down",
            "Unassigned (9)",
        ];
        for (bits, text) in (0..).zip(diags) {
            assert_eq!(Diag::from_bits(bits).to_string(), text);
            assert_eq!(format!("{:?}", Diag::from_bits(bits)), text);
        }
        let used = [Diag::NONE, Diag::DETECTION_TIME_EXPIRED, Diag::NEIGHBOR_SIGNALED_DOWN, Diag::ADMIN_DOWN];
        assert_eq!(used.map(Diag::bits), [0, 1, 3, 7]);
    }
}
