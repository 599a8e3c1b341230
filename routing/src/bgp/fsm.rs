//! The state machine (RFC 4271 section 8.2.2) as a table.
//!
//! Each connection has a machine of its own, so that two connections to one peer can be told apart until section 6.8 has
//! chosen one; the states without a connection belong to the side that dials.

use std::fmt;

/// States (RFC 4271 section 8.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is tried.
    Idle,
    /// A TCP connection is being opened.
    Connect,
    /// Waiting for the peer's connection, or for the time to try again.
    Active,
    /// OPEN was sent.
    OpenSent,
    /// OPENs were exchanged.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Connect, Self::Active, Self::OpenSent, Self::OpenConfirm, Self::Established];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Events (RFC 4271 section 8.1) by their numbers there. Those of optional attributes that are not used are left out: 4 and
/// 5 (passive sessions), 6 and 7 (their damped forms; a start is always damped), 12 (DelayOpen), 14 and 15 (the transport
/// checks the peer), 20 (DelayOpen).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// 1 and 3: start.
    Start,
    /// 2: the operator stops the session.
    ManualStop,
    /// 8: we stop the session: BFD Down, too many prefixes.
    AutomaticStop,
    /// 9.
    ConnectRetryTimerExpires,
    /// 10.
    HoldTimerExpires,
    /// 11.
    KeepaliveTimerExpires,
    /// 13: the pause after a failure is over.
    IdleHoldTimerExpires,
    /// 16: our connection is open.
    TcpCrAcked,
    /// 17: the peer's connection is open.
    TcpConnectionConfirmed,
    /// 18.
    TcpConnectionFails,
    /// 19: a valid OPEN.
    BgpOpen,
    /// 21.
    BgpHeaderErr,
    /// 22.
    BgpOpenMsgErr,
    /// 23: the other connection to the peer is kept.
    OpenCollisionDump,
    /// 24 and 25: NOTIFICATION.
    NotifMsg,
    /// 26.
    KeepAliveMsg,
    /// 27: a valid UPDATE or ROUTE-REFRESH.
    UpdateMsg,
    /// 28.
    UpdateMsgErr,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Start,
        Self::ManualStop,
        Self::AutomaticStop,
        Self::ConnectRetryTimerExpires,
        Self::HoldTimerExpires,
        Self::KeepaliveTimerExpires,
        Self::IdleHoldTimerExpires,
        Self::TcpCrAcked,
        Self::TcpConnectionConfirmed,
        Self::TcpConnectionFails,
        Self::BgpOpen,
        Self::BgpHeaderErr,
        Self::BgpOpenMsgErr,
        Self::OpenCollisionDump,
        Self::NotifMsg,
        Self::KeepAliveMsg,
        Self::UpdateMsg,
        Self::UpdateMsgErr,
    ];
}

/// What goes with a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Open a TCP connection and start the ConnectRetryTimer.
    Connect,
    /// Let the peer try, until the ConnectRetryTimer expires.
    Wait,
    /// Send OPEN, start the HoldTimer at its large value.
    SendOpen,
    /// Send KEEPALIVE, start both timers with what was agreed on.
    Confirm,
    /// Restart the HoldTimer; the session is up.
    Establish,
    /// Send KEEPALIVE, restart the KeepaliveTimer.
    Keepalive,
    /// Restart the HoldTimer.
    Refresh,
    /// Close without a word.
    Close,
    /// Send the NOTIFICATION of the cause, and close.
    Notify,
    /// The message does not belong here: NOTIFICATION "Finite State Machine Error" (RFC 6608), and close.
    NotifyUnexpected,
}

/// The table. Events that a state has no line for change nothing.
#[must_use]
pub const fn next(state: State, event: Event) -> (State, Action) {
    use Event as E;
    use State as S;
    match (state, event) {
        // Section 8.2.2, Idle: a connection of the peer is refused by whoever accepts it, until the session starts.
        (S::Idle, E::Start | E::IdleHoldTimerExpires) => (S::Connect, Action::Connect),
        (
            S::Idle,
            E::ManualStop
            | E::AutomaticStop
            | E::ConnectRetryTimerExpires
            | E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::TcpCrAcked
            | E::TcpConnectionConfirmed
            | E::TcpConnectionFails
            | E::BgpOpen
            | E::BgpHeaderErr
            | E::BgpOpenMsgErr
            | E::OpenCollisionDump
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg
            | E::UpdateMsgErr,
        ) => (S::Idle, Action::None),

        // Starts are ignored in every other state.
        (S::Connect, E::Start) => (S::Connect, Action::None),
        (S::Active, E::Start) => (S::Active, Action::None),
        (S::OpenSent, E::Start) => (S::OpenSent, Action::None),
        (S::OpenConfirm, E::Start) => (S::OpenConfirm, Action::None),
        (S::Established, E::Start) => (S::Established, Action::None),

        // Connect.
        (S::Connect, E::ConnectRetryTimerExpires) => (S::Connect, Action::Connect),
        (S::Connect, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenSent, Action::SendOpen),
        // Without the DelayOpenTimer a failure leads to Idle in the RFC; with damping every implementation waits in Active.
        (S::Connect, E::TcpConnectionFails) => (S::Active, Action::Wait),

        // Active.
        (S::Active, E::ConnectRetryTimerExpires) => (S::Connect, Action::Connect),
        (S::Active, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenSent, Action::SendOpen),

        // In both nothing is open that could be told something.
        (
            S::Connect | S::Active,
            E::ManualStop
            | E::AutomaticStop
            | E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::IdleHoldTimerExpires
            | E::BgpOpen
            | E::BgpHeaderErr
            | E::BgpOpenMsgErr
            | E::OpenCollisionDump
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg
            | E::UpdateMsgErr,
        )
        | (S::Active, E::TcpConnectionFails) => (S::Idle, Action::Close),

        // OpenSent.
        (S::OpenSent, E::BgpOpen) => (S::OpenConfirm, Action::Confirm),
        (S::OpenSent, E::TcpConnectionFails) => (S::Active, Action::Wait),
        (S::OpenSent, E::KeepaliveTimerExpires | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr) => {
            (S::Idle, Action::NotifyUnexpected)
        }

        // OpenConfirm.
        (S::OpenConfirm, E::KeepaliveTimerExpires) => (S::OpenConfirm, Action::Keepalive),
        (S::OpenConfirm, E::KeepAliveMsg) => (S::Established, Action::Establish),
        (S::OpenConfirm, E::TcpConnectionFails) => (S::Idle, Action::Close),
        (S::OpenConfirm, E::BgpOpen | E::UpdateMsg | E::UpdateMsgErr) => (S::Idle, Action::NotifyUnexpected),

        // Established.
        (S::Established, E::KeepaliveTimerExpires) => (S::Established, Action::Keepalive),
        (S::Established, E::KeepAliveMsg | E::UpdateMsg) => (S::Established, Action::Refresh),
        (S::Established, E::UpdateMsgErr) => (S::Idle, Action::Notify),
        (S::Established, E::TcpConnectionFails) => (S::Idle, Action::Close),
        (S::Established, E::BgpOpen) => (S::Idle, Action::NotifyUnexpected),

        // The rest is the same wherever a connection is open.
        (S::OpenSent | S::OpenConfirm | S::Established, E::NotifMsg) => (S::Idle, Action::Close),
        (
            S::OpenSent | S::OpenConfirm | S::Established,
            E::ManualStop
            | E::AutomaticStop
            | E::HoldTimerExpires
            | E::BgpHeaderErr
            | E::BgpOpenMsgErr
            | E::OpenCollisionDump,
        ) => (S::Idle, Action::Notify),
        // A connection is its own machine: timers of the dialling side and other connections are none of its business.
        (S::OpenSent, E::ConnectRetryTimerExpires | E::IdleHoldTimerExpires) => (S::OpenSent, Action::None),
        (S::OpenConfirm, E::ConnectRetryTimerExpires | E::IdleHoldTimerExpires) => {
            (S::OpenConfirm, Action::None)
        }
        (S::Established, E::ConnectRetryTimerExpires | E::IdleHoldTimerExpires) => {
            (S::Established, Action::None)
        }
        (S::OpenSent, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenSent, Action::None),
        (S::OpenConfirm, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenConfirm, Action::None),
        (S::Established, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::Established, Action::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 8.2.2 as a table to be read: a row for each event, a column for each state. `.` is "stays, nothing happens";
    /// else the first letters of the state entered (I C A S O E) and of the action: c(onnect), w(ait), o(pen), k(confirm),
    /// e(stablish), a(keepalive), r(efresh), x(close), n(otify), u(nexpected).
    const TABLE: [(Event, [&str; 6]); 18] = [
        (Event::Start, ["Cc", ".", ".", ".", ".", "."]),
        (Event::ManualStop, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::AutomaticStop, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::ConnectRetryTimerExpires, [".", "Cc", "Cc", ".", ".", "."]),
        (Event::HoldTimerExpires, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::KeepaliveTimerExpires, [".", "Ix", "Ix", "Iu", "Oa", "Ea"]),
        (Event::IdleHoldTimerExpires, ["Cc", "Ix", "Ix", ".", ".", "."]),
        (Event::TcpCrAcked, [".", "So", "So", ".", ".", "."]),
        (Event::TcpConnectionConfirmed, [".", "So", "So", ".", ".", "."]),
        (Event::TcpConnectionFails, [".", "Aw", "Ix", "Aw", "Ix", "Ix"]),
        (Event::BgpOpen, [".", "Ix", "Ix", "Ok", "Iu", "Iu"]),
        (Event::BgpHeaderErr, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::BgpOpenMsgErr, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::OpenCollisionDump, [".", "Ix", "Ix", "In", "In", "In"]),
        (Event::NotifMsg, [".", "Ix", "Ix", "Ix", "Ix", "Ix"]),
        (Event::KeepAliveMsg, [".", "Ix", "Ix", "Iu", "Ee", "Er"]),
        (Event::UpdateMsg, [".", "Ix", "Ix", "Iu", "Iu", "Er"]),
        (Event::UpdateMsgErr, [".", "Ix", "Ix", "Iu", "Iu", "In"]),
    ];

    #[test]
    fn rfc4271_8_2_2_every_state_with_every_event() {
        assert_eq!(TABLE.map(|(event, _)| event), Event::ALL);
        for (event, row) in TABLE {
            for (state, expected) in State::ALL.into_iter().zip(row) {
                let (to, action) = next(state, event);
                let state_letter = match to {
                    State::Idle => 'I',
                    State::Connect => 'C',
                    State::Active => 'A',
                    State::OpenSent => 'S',
                    State::OpenConfirm => 'O',
                    State::Established => 'E',
                };
                let found = match action {
                    Action::None => {
                        assert_eq!(to, state, "{state} moves on {event:?} without a reason");
                        ".".to_owned()
                    }
                    Action::Connect => format!("{state_letter}c"),
                    Action::Wait => format!("{state_letter}w"),
                    Action::SendOpen => format!("{state_letter}o"),
                    Action::Confirm => format!("{state_letter}k"),
                    Action::Establish => format!("{state_letter}e"),
                    Action::Keepalive => format!("{state_letter}a"),
                    Action::Refresh => format!("{state_letter}r"),
                    Action::Close => format!("{state_letter}x"),
                    Action::Notify => format!("{state_letter}n"),
                    Action::NotifyUnexpected => format!("{state_letter}u"),
                };
                assert_eq!(found, expected, "{state} on {event:?}");
            }
        }
    }
}
