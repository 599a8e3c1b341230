//! Sessions: connections and their machines, timers, collisions.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use molt_mesh::{Prefix, Time};

use super::consts::{
    AFI_IPV6, COLLISION_WAIT, CONNECT_RETRY, HOLD_TIME, HOLD_TIME_BFD, IDLE_HOLD, MAX_EXTENDED_MESSAGE,
    MAX_IDLE_HOLD, OPEN_HOLD_TIME, PREFIX_LIMIT_HOLD, SAFI_UNICAST,
};
use super::fsm::{Action, Event, State, next};
use super::message::{
    Capabilities, GracefulRestart, Message, Missing, Notification, Open, Reject, keepalive, split,
};
use super::rib::{RibIn, RibOut};
use super::update::Update;
use super::{BfdEvent, Bgp, Config, Output, PeerConfig, Side};

/// A peer, its connections and its routes.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    /// The machine of the side that dials, as long as it has no connection: Idle, Connect or Active.
    pub(super) dialler: State,
    /// IdleHoldTimer.
    start_at: Option<Time>,
    /// ConnectRetryTimer.
    retry_at: Option<Time>,
    /// Failures in a row, for the next pause.
    failures: u32,
    pub(super) connections: BTreeMap<Side, Connection>,
    /// BGP Identifier of the session that came up last: its routes can outlive it.
    pub(super) identifier: u32,
    pub(super) rib_in: RibIn,
    pub(super) rib_out: RibOut,
    /// RFC 4724 section 4.2: until when the routes of a restarting peer are kept.
    pub(super) stale_until: Option<Time>,
    pub(super) last_error: Option<(Time, String)>,
    pub(super) counters: Counters,
}

/// Messages, and how often the session came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
    /// UPDATEs with an error that RFC 7606 lets pass.
    pub malformed_updates: u64,
    /// Sessions that came up.
    pub established: u64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) state: State,
    /// What is not a whole message yet, or waits: less than the longest message, and what was read with its end.
    received: Vec<u8>,
    /// Until when its OPEN, which is here, waits for that of the connection that section 6.8 prefers.
    yields_until: Option<Time>,
    /// As agreed on; zero for none.
    pub(super) hold_time: Duration,
    hold_at: Option<Time>,
    keepalive_at: Option<Time>,
    /// What the peer said about itself.
    pub(super) open: Option<Open>,
    pub(super) since: Time,
}

impl Connection {
    /// What the peer wants kept while it restarts.
    fn graceful_restart(&self) -> Option<GracefulRestart> {
        let restart = self.open.as_ref()?.capabilities.graceful_restart?;
        restart.ipv6_unicast.map(|_| restart)
    }
}

impl Peer {
    pub(super) fn new(config: PeerConfig, now: Time) -> Self {
        Self {
            config,
            dialler: State::Idle,
            start_at: Some(now),
            retry_at: None,
            failures: 0,
            connections: BTreeMap::new(),
            identifier: 0,
            rib_in: RibIn::default(),
            rib_out: RibOut::default(),
            stale_until: None,
            last_error: None,
            counters: Counters::default(),
        }
    }

    /// The connection of the session that is up.
    pub(super) fn established(&self) -> Option<(Side, &Connection)> {
        let up = self.connections.iter().find(|(_, connection)| connection.state == State::Established);
        up.map(|(side, connection)| (*side, connection))
    }

    pub(super) fn next_deadline(&self) -> Option<(Time, &'static str)> {
        let connections = self.connections.values().flat_map(|connection| {
            let hold = connection.hold_at.map(|at| (at, "bgp hold"));
            let yields = connection.yields_until.map(|at| (at, "bgp collision"));
            [hold, connection.keepalive_at.map(|at| (at, "bgp keepalive")), yields]
        });
        let own = [
            self.start_at.map(|at| (at, "bgp start")),
            self.retry_at.map(|at| (at, "bgp connect retry")),
            self.stale_until.map(|at| (at, "bgp stale routes")),
        ];
        connections.chain(own).flatten().min()
    }
}

impl Bgp {
    pub(super) fn run_timers(&mut self, now: Time) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        let ids: Vec<Ipv6Addr> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.start_at.take_if(|at| *at <= now).is_some() {
                self.dial(id, Event::IdleHoldTimerExpires, now);
            }
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if peer.retry_at.take_if(|at| *at <= now).is_some() {
                if peer.dialler == State::Connect {
                    // The attempt takes longer than its time.
                    self.outputs.push_back(Output::Close { peer: id, side: Side::Dialled });
                }
                self.dial(id, Event::ConnectRetryTimerExpires, now);
            }
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            if due(peer.stale_until) {
                self.remove_stale(id);
            }
            let Some(peer) = self.peers.get(&id) else { continue };
            let timers: Vec<(Side, [bool; 3])> = peer
                .connections
                .iter()
                .map(|(side, it)| (*side, [it.hold_at, it.keepalive_at, it.yields_until].map(due)))
                .collect();
            for (side, [hold, keepalive, yields]) in timers {
                if hold {
                    let cause = Notification::HOLD_TIMER_EXPIRED;
                    self.event(id, side, Event::HoldTimerExpires, Some(cause), "the hold timer expired", now);
                } else if keepalive {
                    self.event(id, side, Event::KeepaliveTimerExpires, None, "", now);
                } else if yields {
                    self.received(id, side, &[], now);
                }
            }
        }
    }

    /// An event of the side that dials.
    fn dial(&mut self, id: Ipv6Addr, event: Event, now: Time) {
        let retry = self.jitter(CONNECT_RETRY);
        if self.stopped {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let (to, action) = next(peer.dialler, event);
        peer.dialler = to;
        // Connect and Wait, both until this; nothing else can happen to a side without a connection.
        peer.retry_at = Some(now + retry);
        if action == Action::Connect {
            self.outputs.push_back(Output::Connect { peer: id });
        }
    }

    /// The dialling side rests: there is a connection that may become the session.
    fn rest(&mut self, id: Ipv6Addr) {
        if let Some(peer) = self.peers.get_mut(&id) {
            if peer.dialler == State::Connect {
                self.outputs.push_back(Output::Close { peer: id, side: Side::Dialled });
            }
            peer.dialler = State::Idle;
            peer.start_at = None;
            peer.retry_at = None;
        }
    }

    pub(super) fn connected(&mut self, id: Ipv6Addr, side: Side, now: Time) -> bool {
        let Some(peer) = self.peers.get(&id) else { return false };
        match side {
            Side::Dialled if peer.dialler != State::Connect => return false,
            // Section 8.2.2, Idle: refused.
            Side::Accepted if peer.dialler == State::Idle && peer.connections.is_empty() => return false,
            Side::Accepted => {
                if let Some((up, connection)) = peer.established() {
                    // RFC 4724 section 4.2: a restarting peer knows nothing of the old session. Section 6.8: others have no
                    // reason to open a second one.
                    if connection.graceful_restart().is_none() {
                        return false;
                    }
                    self.event(id, up, Event::TcpConnectionFails, None, "the peer restarts", now);
                } else if peer.connections.contains_key(&Side::Accepted) {
                    // It has given up the one before, or would not open another.
                    let reason = "the peer opened another connection";
                    self.end(id, Side::Accepted, State::OpenSent, None, reason, now);
                }
            }
            Side::Dialled => {}
        }
        let open = self.open();
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let event = match side {
            Side::Accepted => Event::TcpConnectionConfirmed,
            Side::Dialled => Event::TcpCrAcked,
        };
        // A connection of the peer meets a dialler that is about to try.
        let from = if peer.dialler == State::Idle { State::Active } else { peer.dialler };
        let (state, _send_open) = next(from, event);
        let hold = if peer.config.bfd { HOLD_TIME_BFD } else { HOLD_TIME };
        let connection = Connection {
            state,
            received: Vec::new(),
            yields_until: None,
            hold_time: hold,
            hold_at: Some(now + OPEN_HOLD_TIME),
            keepalive_at: None,
            open: None,
            since: now,
        };
        peer.connections.insert(side, connection);
        peer.start_at = None;
        if side == Side::Dialled || peer.dialler == State::Active {
            // Not in Connect: then the two race, and section 6.8 decides.
            peer.dialler = State::Idle;
            peer.retry_at = None;
        }
        self.send(id, side, Open { hold_time: hold, ..open }.encode());
        true
    }

    fn open(&self) -> Open {
        Open {
            asn: self.config.asn,
            hold_time: HOLD_TIME,
            identifier: self.config.identifier,
            capabilities: Capabilities {
                ipv6_unicast: true,
                four_octet_as: true,
                route_refresh: true,
                extended_message: true,
                // RFC 4724 section 3: without an address family, the promise to help others and to send End-of-RIB.
                graceful_restart: Some(GracefulRestart::default()),
            },
        }
    }

    fn send(&mut self, id: Ipv6Addr, side: Side, bytes: Vec<u8>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.counters.sent += 1;
            self.outputs.push_back(Output::Send { peer: id, side, bytes });
        }
    }

    /// Sends UPDATEs in the session that is up.
    pub(super) fn send_updates(&mut self, id: Ipv6Addr, updates: Vec<Vec<u8>>) {
        let Some(side) = self.peers.get(&id).and_then(|peer| Some(peer.established()?.0)) else { return };
        for update in updates {
            self.send(id, side, update);
        }
    }

    pub(super) fn closed(&mut self, id: Ipv6Addr, side: Side, now: Time) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.connections.contains_key(&side) {
            self.event(id, side, Event::TcpConnectionFails, None, "the connection was closed", now);
        } else if side == Side::Dialled && peer.dialler == State::Connect {
            if peer.connections.is_empty() {
                self.dial(id, Event::TcpConnectionFails, now);
            } else if let Some(peer) = self.peers.get_mut(&id) {
                peer.dialler = State::Idle;
                peer.retry_at = None;
            }
        }
    }

    pub(super) fn received(&mut self, id: Ipv6Addr, side: Side, bytes: &[u8], now: Time) {
        if let Some(connection) = self.connection(id, side) {
            connection.received.extend_from_slice(bytes);
        }
        // What was received may end the connection.
        while let Some(connection) = self.connection(id, side) {
            match split(&connection.received) {
                Ok(None) => return,
                Ok(Some((Message::Open(open), _))) if self.yields(id, side, &open, now) => return,
                Ok(Some((message, length))) => {
                    if let Some(peer) = self.peers.get_mut(&id)
                        && let Some(connection) = peer.connections.get_mut(&side)
                    {
                        connection.received.drain(..length);
                        peer.counters.received += 1;
                    }
                    self.message(id, side, message, now);
                }
                Err(reject) => self.reject(id, side, &reject, now),
            }
        }
    }

    fn connection(&mut self, id: Ipv6Addr, side: Side) -> Option<&mut Connection> {
        self.peers.get_mut(&id)?.connections.get_mut(&side)
    }

    /// Section 6: an error in a message.
    fn reject(&mut self, id: Ipv6Addr, side: Side, reject: &Reject, now: Time) {
        let notification = reject.notification();
        let event = match notification.code {
            1 => Event::BgpHeaderErr,
            2 => Event::BgpOpenMsgErr,
            _ => Event::UpdateMsgErr,
        };
        self.event(id, side, event, Some(notification), &reject.to_string(), now);
    }

    fn message(&mut self, id: Ipv6Addr, side: Side, message: Message, now: Time) {
        match message {
            Message::Keepalive => self.event(id, side, Event::KeepAliveMsg, None, "KEEPALIVE", now),
            Message::Notification(notification) => {
                let reason = format!("the peer says: {notification}");
                self.event(id, side, Event::NotifMsg, None, &reason, now);
            }
            Message::Open(open) => self.opened(id, side, open, now),
            Message::RouteRefresh { afi, safi } => {
                self.event(id, side, Event::UpdateMsg, None, "ROUTE-REFRESH", now);
                if (afi, safi) == (AFI_IPV6, SAFI_UNICAST) {
                    self.advertise_again(id);
                }
            }
            Message::Update(body) => {
                if !self.is_established(id, side) {
                    return self.event(id, side, Event::UpdateMsg, None, "UPDATE", now);
                }
                match Update::decode(&body) {
                    Err(reject) => self.reject(id, side, &reject, now),
                    Ok(update) => {
                        self.event(id, side, Event::UpdateMsg, None, "UPDATE", now);
                        self.updated(id, side, update, now);
                    }
                }
            }
        }
    }

    fn is_established(&mut self, id: Ipv6Addr, side: Side) -> bool {
        self.connection(id, side).is_some_and(|connection| connection.state == State::Established)
    }

    fn updated(&mut self, id: Ipv6Addr, side: Side, update: Update, now: Time) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(error) = update.errors.first() {
            peer.counters.malformed_updates += 1;
            peer.last_error = Some((now, error.to_string()));
        }
        self.import(id, update, now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.rib_in.len() > peer.config.max_prefixes as usize {
            let reason = format!("it announces more than {} prefixes", peer.config.max_prefixes);
            let cause = Notification::TOO_MANY_PREFIXES;
            self.event(id, side, Event::AutomaticStop, Some(cause), &reason, now);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.start_at = Some(now + PREFIX_LIMIT_HOLD);
            }
        }
    }

    /// A valid OPEN: section 6.2 for what needs the configuration, then section 6.8.
    fn opened(&mut self, id: Ipv6Addr, side: Side, open: Open, now: Time) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(connection) = peer.connections.get_mut(&side) else { return };
        if connection.state != State::OpenSent {
            return self.event(id, side, Event::BgpOpen, None, "a second OPEN", now);
        }
        let refused = if open.asn != peer.config.asn {
            Some(Reject::PeerAs { asn: open.asn })
        } else if !open.capabilities.four_octet_as {
            Some(Reject::MissingCapability(Missing::FourOctetAs))
        } else if !open.capabilities.ipv6_unicast {
            Some(Reject::MissingCapability(Missing::Ipv6Unicast))
        } else {
            None
        };
        if let Some(reject) = refused {
            return self.reject(id, side, &reject, now);
        }
        connection.hold_time = connection.hold_time.min(open.hold_time);
        let kept = preferred(&self.config, &open);
        connection.open = Some(open);
        let rival = side.other();
        // An Established session has no rival: it has dumped it when it came up.
        let collides = |rival: &Connection| rival.state == State::OpenConfirm || rival.yields_until.is_some();
        if peer.connections.get(&rival).is_some_and(collides) {
            let dumped = if kept == side { rival } else { side };
            let cause = Some(Notification::COLLISION);
            self.event(id, dumped, Event::OpenCollisionDump, cause, "the other connection is kept", now);
        }
        self.event(id, side, Event::BgpOpen, None, "OPEN", now);
        self.rest(id);
    }

    /// Whether an OPEN has to wait, because the connection that is preferred to its own has none yet. With our OPEN on both, the
    /// peer may close this one. An answer here could bring the session up at the peer first, which then closes the other one.
    fn yields(&mut self, id: Ipv6Addr, side: Side, open: &Open, now: Time) -> bool {
        let kept = preferred(&self.config, open);
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let is_open_sent = |it: &Connection| it.state == State::OpenSent;
        let has_rival = kept != side && peer.connections.get(&kept).is_some_and(is_open_sent);
        let Some(connection) = peer.connections.get_mut(&side).filter(|it| is_open_sent(it)) else {
            return false;
        };
        let until = connection.yields_until.unwrap_or(now + COLLISION_WAIT);
        let yields = has_rival && now < until && connection.received.len() <= MAX_EXTENDED_MESSAGE;
        connection.yields_until = yields.then_some(until);
        yields
    }

    /// An event of a connection. `cause` is what the peer is told if the connection ends by it.
    fn event(
        &mut self,
        id: Ipv6Addr,
        side: Side,
        event: Event,
        cause: Option<Notification>,
        reason: &str,
        now: Time,
    ) {
        let jitter = self.rng.u32(75..=100);
        let Some(connection) = self.connection(id, side) else { return };
        let from = connection.state;
        let (to, action) = next(from, event);
        connection.state = to;
        let hold = Some(connection.hold_time).filter(|time| !time.is_zero());
        let hold_at = hold.map(|time| now + time);
        let keepalive_at = hold.map(|time| now + time / 3 * jitter / 100);
        match action {
            Action::None | Action::Connect | Action::SendOpen => {}
            Action::Confirm => {
                (connection.hold_at, connection.keepalive_at) = (hold_at, keepalive_at);
                self.send(id, side, keepalive());
            }
            Action::Establish => {
                connection.hold_at = hold_at;
                connection.since = now;
                self.came_up(id, side, now);
            }
            Action::Keepalive => {
                connection.keepalive_at = keepalive_at;
                self.send(id, side, keepalive());
            }
            Action::Refresh => connection.hold_at = hold_at,
            Action::Close | Action::Wait => {
                // RFC 4724 section 4.2: a connection that breaks off may be a restart, a NOTIFICATION is none.
                let restart = connection.graceful_restart().filter(|_| event == Event::TcpConnectionFails);
                let keep_until = restart.map(|restart| now + restart.time);
                self.end(id, side, from, keep_until, reason, now);
            }
            Action::Notify | Action::NotifyUnexpected => {
                let cause = match from {
                    _ if action == Action::Notify => cause,
                    State::OpenSent => Some(Notification::unexpected(1)),
                    State::OpenConfirm => Some(Notification::unexpected(2)),
                    _ => Some(Notification::unexpected(3)),
                };
                if let Some(cause) = cause {
                    self.send(id, side, cause.encode());
                }
                self.end(id, side, from, None, reason, now);
            }
        }
    }

    fn came_up(&mut self, id: Ipv6Addr, side: Side, now: Time) {
        let cause = Some(Notification::COLLISION);
        self.event(id, side.other(), Event::OpenCollisionDump, cause, "the other connection is kept", now);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.counters.established += 1;
        if let Some(open) = peer.connections.get(&side).and_then(|connection| connection.open.as_ref()) {
            peer.identifier = open.identifier;
        }
        if peer.config.bfd {
            self.outputs.push_back(Output::Bfd { peer: id, enabled: true });
        }
        let reason = "OPENs and KEEPALIVEs were exchanged".to_owned();
        self.outputs.push_back(Output::PeerChanged { peer: id, established: true, reason });
        // RFC 4724 section 4.2: the state was not preserved after all.
        let restart = peer.connections.get(&side).and_then(Connection::graceful_restart);
        if restart.and_then(|restart| restart.ipv6_unicast) != Some(true) {
            self.remove_stale(id);
        }
        self.advertise_all(id);
    }

    /// The connection is over. `keep_until` is set if routes of the session outlive it.
    fn end(
        &mut self,
        id: Ipv6Addr,
        side: Side,
        from: State,
        keep_until: Option<Time>,
        reason: &str,
        now: Time,
    ) {
        let retry = self.jitter(CONNECT_RETRY);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(connection) = peer.connections.remove(&side) else { return };
        self.outputs.push_back(Output::Close { peer: id, side });
        if let Some(rival) = peer.connections.get_mut(&side.other()) {
            rival.yields_until = rival.yields_until.and(Some(now));
        }
        let was_up = from == State::Established;
        if was_up && now.since(connection.since) > MAX_IDLE_HOLD {
            peer.failures = 0;
        }
        if peer.connections.is_empty() && peer.dialler == State::Idle {
            if connection.state == State::Active {
                peer.dialler = State::Active;
                peer.retry_at = Some(now + retry);
            } else {
                let pause = IDLE_HOLD * (1 << peer.failures.min(6));
                peer.start_at = Some(now + pause.min(MAX_IDLE_HOLD));
                peer.failures += 1;
            }
        }
        peer.last_error = Some((now, reason.to_owned()));
        if was_up {
            let bfd = peer.config.bfd;
            match keep_until {
                Some(until) => self.keep_stale(id, until),
                None => self.forget_routes(id),
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.rib_out = RibOut::default();
            }
            if bfd {
                self.outputs.push_back(Output::Bfd { peer: id, enabled: false });
            }
            let reason = reason.to_owned();
            self.outputs.push_back(Output::PeerChanged { peer: id, established: false, reason });
        }
    }

    /// The operator ends the session.
    pub(super) fn stop_peer(&mut self, id: Ipv6Addr, cause: Notification, now: Time) {
        for side in [Side::Accepted, Side::Dialled] {
            self.event(id, side, Event::ManualStop, Some(cause.clone()), "stopped by the operator", now);
        }
        self.rest(id);
        self.remove_stale(id);
    }

    pub(super) fn bfd_event(&mut self, id: Ipv6Addr, event: BfdEvent, now: Time) {
        let BfdEvent::Down { independent } = event else { return };
        let Some((side, connection)) = self.peers.get(&id).and_then(Peer::established) else { return };
        // RFC 5882 section 4.3: the silence may be that of a control plane which restarts.
        if !independent && connection.graceful_restart().is_some() {
            self.event(id, side, Event::TcpConnectionFails, None, "BFD: the peer may restart", now);
        } else {
            let cause = Some(Notification::BFD_DOWN);
            self.event(id, side, Event::AutomaticStop, cause, "BFD: the path is down", now);
        }
    }

    fn keep_stale(&mut self, id: Ipv6Addr, until: Time) {
        if let Some(peer) = self.peers.get_mut(&id) {
            // RFC 4724 section 4.2: what is stale from an earlier restart is not kept a second time.
            let gone: Vec<Prefix> = peer.rib_in.mark_stale();
            peer.stale_until = Some(until);
            self.dirty.extend(gone);
        }
    }

    pub(super) fn remove_stale(&mut self, id: Ipv6Addr) {
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.stale_until.take().is_some()
        {
            self.dirty.extend(peer.rib_in.remove_stale());
        }
    }
}

/// Which of two connections section 6.8 keeps: that of the higher identifier; of equal ones the larger AS number counts (RFC
/// 6286 section 2.3).
fn preferred(config: &Config, open: &Open) -> Side {
    let ours = (config.identifier, config.asn);
    if ours > (open.identifier, open.asn) { Side::Dialled } else { Side::Accepted }
}
