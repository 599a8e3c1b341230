//! The neighbour: its state machine (RFC 2328 section 10.3) and what is kept about it (section 10).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use molt_mesh::{LinkId, RouterId, Time};

use super::exchange::Exchange;
use super::lsa::{LsaHeader, LsaKey};
use super::restart::Help;
use super::retransmission::Retransmission;
use super::unproven::Unproven;
use super::view::SpfTrigger;
use super::{Ospf, Output};

/// RFC 2328 section 10.1. Attempt belongs to NBMA networks. 2-Way is where a neighbour rests that is not to become
/// adjacent, and over a point-to-point link every neighbour is (section 10.4), so the machine passes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing has been heard from it lately.
    Down,
    /// It was heard, but has not heard us.
    Init,
    /// Master and slave are being negotiated.
    ExStart,
    /// The databases are being described.
    Exchange,
    /// What the neighbour's database has more is being requested.
    Loading,
    /// Adjacent.
    Full,
}

/// RFC 2328 section 10.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    HelloReceived,
    TwoWayReceived,
    NegotiationDone,
    ExchangeDone,
    BadLsReq,
    LoadingDone,
    SeqNumberMismatch,
    OneWayReceived,
    KillNbr,
    InactivityTimer,
    LlDown,
}

/// What an event does to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The table has no entry: the event cannot happen in this state and is ignored.
    Undefined,
    Stay,
    To(State),
    /// Full if nothing is left to be requested, else Loading.
    LoadingOrFull,
}

impl State {
    /// The table of RFC 2328 section 10.3.
    #[rustfmt::skip]
    #[expect(clippy::use_self, reason = "one letter keeps the table on one screen")]
    pub(super) const fn next(self, event: Event) -> Next {
        use Event as E;
        use Next::{LoadingOrFull, Stay, To, Undefined};
        use State as S;
        match (self, event) {
            (S::Down, E::HelloReceived) => To(S::Init),
            (S::Init | S::ExStart | S::Exchange | S::Loading | S::Full, E::HelloReceived) => Stay,

            (S::Down, E::TwoWayReceived) => Undefined,
            (S::Init, E::TwoWayReceived) => To(S::ExStart),
            (S::ExStart | S::Exchange | S::Loading | S::Full, E::TwoWayReceived) => Stay,

            (S::ExStart, E::NegotiationDone) => To(S::Exchange),
            (S::Down | S::Init | S::Exchange | S::Loading | S::Full, E::NegotiationDone) => Undefined,

            (S::Exchange, E::ExchangeDone) => LoadingOrFull,
            (S::Down | S::Init | S::ExStart | S::Loading | S::Full, E::ExchangeDone) => Undefined,

            (S::Loading, E::LoadingDone) => To(S::Full),
            (S::Down | S::Init | S::ExStart | S::Exchange | S::Full, E::LoadingDone) => Undefined,

            (S::Exchange | S::Loading | S::Full, E::SeqNumberMismatch | E::BadLsReq) => To(S::ExStart),
            (S::Down | S::Init | S::ExStart, E::SeqNumberMismatch | E::BadLsReq) => Undefined,

            (S::Down, E::OneWayReceived) => Undefined,
            (S::Init, E::OneWayReceived) => Stay,
            (S::ExStart | S::Exchange | S::Loading | S::Full, E::OneWayReceived) => To(S::Init),

            (S::Down | S::Init | S::ExStart | S::Exchange | S::Loading | S::Full,
             E::KillNbr | E::InactivityTimer | E::LlDown) => To(S::Down),
        }
    }

    /// The word operators know from other routers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "Down",
            Self::Init => "Init",
            Self::ExStart => "ExStart",
            Self::Exchange => "Exchange",
            Self::Loading => "Loading",
            Self::Full => "Full",
        }
    }
}

/// The neighbour of a point-to-point link (RFC 2328 section 10). There is none in state Down.
#[derive(Debug)]
pub(super) struct Neighbor {
    pub(super) router: RouterId,
    /// Source of its Hellos: the remote end of the BFD session.
    pub(super) address: Ipv6Addr,
    /// Its Interface ID, which goes into our Router-LSA.
    pub(super) interface: u32,
    /// Its Router Priority, which means nothing here and is what operators see elsewhere.
    pub(super) priority: u8,
    pub(super) state: State,
    /// When it entered `state`.
    pub(super) since: Time,
    /// How often `state` changed.
    pub(super) changes: u32,
    /// When to give it up.
    pub(super) inactivity_at: Time,
    /// Until then a Hello that does not list us may have been sent before ours arrived.
    pub(super) presumed_until: Time,
    /// While it restarts and is helped, it counts as adjacent in every state.
    pub(super) help: Option<Help>,
    pub(super) exchange: Exchange,
    /// Link state request list: what it described and we lack.
    pub(super) requests: BTreeMap<LsaKey, LsaHeader>,
    /// The part of `requests` the last Link State Request asked for.
    pub(super) asked: BTreeSet<LsaKey>,
    /// The last part of `asked` has arrived since anybody looked.
    pub(super) answered: bool,
    /// When to ask again.
    pub(super) request_at: Option<Time>,
    /// What else it has.
    pub(super) unproven: Unproven,
    /// Link state retransmission list.
    pub(super) retransmission: Retransmission,
}

impl Neighbor {
    pub(super) fn new(router: RouterId, address: Ipv6Addr, interface: u32, dd_seq: u32, now: Time) -> Self {
        Self {
            router,
            address,
            interface,
            priority: 0,
            state: State::Down,
            since: now,
            changes: 0,
            inactivity_at: Time::MAX,
            presumed_until: Time::ZERO,
            help: None,
            exchange: Exchange::new(dd_seq),
            requests: BTreeMap::new(),
            asked: BTreeSet::new(),
            answered: false,
            request_at: None,
            unproven: Unproven::default(),
            retransmission: Retransmission::default(),
        }
    }

    /// Whether traffic passes it.
    pub(super) const fn is_adjacent(&self) -> bool {
        matches!(self.state, State::Full) || self.help.is_some()
    }

    /// The LSA is here, or will not be asked for.
    pub(super) fn remove_request(&mut self, key: &LsaKey) {
        self.requests.remove(key);
        self.unproven.remove(key);
        self.answered |= self.asked.remove(key) && self.asked.is_empty();
    }

    fn clear_lists(&mut self) {
        self.requests.clear();
        self.asked.clear();
        self.answered = false;
        self.request_at = None;
        self.unproven = Unproven::default();
        self.retransmission.clear();
        self.exchange.clear();
    }
}

impl Ospf {
    /// Runs the state machine and the actions of RFC 2328 section 10.3. `reason` is for the operator.
    pub(super) fn neighbor_event(&mut self, link: LinkId, event: Event, reason: &'static str, now: Time) {
        let Some(interface) = self.interfaces.get_mut(&link) else { return };
        let Some(neighbor) = &mut interface.neighbor else { return };
        let from = neighbor.state;
        let to = match from.next(event) {
            Next::Undefined | Next::Stay => return,
            Next::To(state) => state,
            Next::LoadingOrFull if neighbor.requests.is_empty() => State::Full,
            Next::LoadingOrFull => State::Loading,
        };
        let was_adjacent = neighbor.is_adjacent();
        if to == State::Down && neighbor.help.take().is_some() {
            let router_id = neighbor.router;
            self.outputs.push_back(Output::RestartHelper { link, router_id, helping: false, reason });
        }
        neighbor.state = to;
        let is_adjacent = neighbor.is_adjacent();
        neighbor.since = now;
        neighbor.changes += 1;
        let (router_id, remote) = (neighbor.router, neighbor.address);
        if to <= State::ExStart {
            neighbor.clear_lists();
        }
        // RFC 5882 section 4.2: the session runs while the neighbour is 2-Way or better.
        if from < State::ExStart && to >= State::ExStart {
            interface.begin_bfd(remote, &mut self.outputs);
        } else if from >= State::ExStart && to < State::ExStart {
            interface.leave_bfd(now);
        }
        if to == State::Down {
            interface.neighbor = None;
            interface.mtu = interface.config.mtu;
            interface.acks.clear();
            interface.ack_at = None;
        }
        if to == State::Full {
            // What kept the neighbour from it is over.
            interface.mismatches.settle(|mismatch| !mismatch.is_adopted());
        }
        self.counters.neighbor_changes += 1;
        self.outputs.push_back(Output::NeighborChanged { link, router_id, from, to, reason });
        match to {
            State::ExStart => self.start_exchange(link, now),
            State::Exchange => self.summarise_database(link, now),
            State::Down | State::Init | State::Loading | State::Full => {}
        }
        if was_adjacent != is_adjacent {
            self.outputs.push_back(Output::AdjacencyChanged { link, up: is_adjacent });
            // The own links of the calculation are the adjacencies themselves, not the Router-LSA, which may have to
            // wait for its turn.
            self.schedule_spf(SpfTrigger::Adjacency(link), now);
            self.update_own_lsas(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event as E, Next, State as S};

    const STATES: [S; 6] = [S::Down, S::Init, S::ExStart, S::Exchange, S::Loading, S::Full];

    /// RFC 2328 section 10.3 in a second form: for each event, the outcome in the six states.
    #[test]
    fn section_10_3_every_state_with_every_event() {
        use Next::{LoadingOrFull as LF, Stay as St, Undefined as U};
        let to = Next::To;
        let (d, i, x, c, f) = (to(S::Down), to(S::Init), to(S::ExStart), to(S::Exchange), to(S::Full));
        let table = [
            (E::HelloReceived, [i, St, St, St, St, St]),
            (E::TwoWayReceived, [U, x, St, St, St, St]),
            (E::NegotiationDone, [U, U, c, U, U, U]),
            (E::ExchangeDone, [U, U, U, LF, U, U]),
            (E::BadLsReq, [U, U, U, x, x, x]),
            (E::LoadingDone, [U, U, U, U, f, U]),
            (E::SeqNumberMismatch, [U, U, U, x, x, x]),
            (E::OneWayReceived, [U, St, i, i, i, i]),
            (E::KillNbr, [d; 6]),
            (E::InactivityTimer, [d; 6]),
            (E::LlDown, [d; 6]),
        ];
        for (event, outcomes) in table {
            for (state, outcome) in STATES.into_iter().zip(outcomes) {
                assert_eq!(state.next(event), outcome, "{state:?} {event:?}");
            }
        }
    }
}
