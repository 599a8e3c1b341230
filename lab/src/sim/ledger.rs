//! Where every data packet is: the books of the simulated mesh, balanced after each thing that happens.

use molt_mesh::Time;
use molt_mesh::ip6::Packet;
use molt_tun::output::Output;

use super::engine;

/// Source and destination port of data packets; their payload is their number.
pub(super) const DATA_PORT: u16 = 1000;
/// What a host sends with.
const HOP_LIMIT: u8 = 64;

/// The number of a data packet, if `packet` is one.
pub(super) fn data_number(packet: &[u8]) -> Option<usize> {
    let udp = Packet::new(packet).ok()?.udp()?;
    let number = u64::from_be_bytes(udp.payload.try_into().ok()?);
    (udp.dst_port == DATA_PORT).then_some(number as usize)
}

/// One data packet.
#[derive(Debug)]
struct Sent {
    to: usize,
    arrived: u32,
    /// Each node that passed it on, and with which hop limit.
    path: Vec<(usize, u8)>,
}

/// All data packets.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    packets: Vec<Sent>,
    /// Copies that links made.
    duplicated: u64,
    delivered: u64,
    /// Thrown away by a node that counted it.
    discarded: u64,
    /// Lost by a link, or at a node that was dead.
    lost: u64,
    in_flight: u64,
    loops: u64,
    /// The first thing that was wrong.
    fault: Option<String>,
}

impl Ledger {
    /// Opens the account of a packet to node `to`; returns its number.
    pub(super) fn send(&mut self, to: usize) -> usize {
        self.packets.push(Sent { to, arrived: 0, path: Vec::new() });
        self.packets.len() - 1
    }

    pub(super) fn arrived(&self, number: usize) -> bool {
        self.packets[number].arrived > 0
    }

    pub(super) const fn loops(&self) -> u64 {
        self.loops
    }

    /// Whether data packets are on their way.
    pub(super) const fn is_open(&self) -> bool {
        self.in_flight > 0
    }

    /// What was wrong in other books, which saw no data packet, is wrong here.
    pub(super) fn take_fault(&mut self, other: &mut Self) {
        if let Some(fault) = other.fault.take() {
            self.fault.get_or_insert(fault);
        }
    }

    /// A link takes a datagram and will deliver it so many times.
    pub(super) fn carry(&mut self, data: Option<usize>, copies: u64) {
        if data.is_some() {
            self.in_flight += copies;
            self.duplicated += copies - 1;
        }
    }

    /// A link, or a dead node, loses a datagram.
    pub(super) fn lose(&mut self, data: Option<usize>) {
        self.lost += u64::from(data.is_some());
    }

    /// A datagram comes out of its link.
    pub(super) fn arrive(&mut self, data: Option<usize>) {
        self.in_flight -= u64::from(data.is_some());
    }

    /// A node acted: it was given the data packet `data` or none, counted `discards`, and put into `out` what comes of it.
    pub(super) fn account(
        &mut self,
        now: Time,
        node: usize,
        data: Option<usize>,
        discards: u64,
        out: &Output,
    ) {
        if let Err(fault) = self.book(node, data, discards, out) {
            self.fault.get_or_insert(format!("at {now}: node {node}: {fault}"));
        }
    }

    fn book(&mut self, node: usize, data: Option<usize>, discards: u64, out: &Output) -> Result<(), String> {
        let datagrams = out.udp.transmits().flat_map(|transmit| transmit.datagrams());
        let mut passed_on = datagrams.filter_map(|datagram| {
            let packet = engine::plaintext(datagram)?;
            Some((data_number(packet)?, Packet::new(packet).ok()?.hop_limit()))
        });
        let (first, second) = (passed_on.next(), passed_on.next());
        let mut delivered = None;
        for packet in out.tun.packets() {
            let seen = Packet::new(packet).map_err(|error| format!("{error} was delivered"))?;
            let Some(number) = data_number(packet) else { continue };
            if delivered.replace(number).is_some() {
                return Err(format!("packet {number} was delivered after another"));
            }
            let sent = self.packets.get(number).ok_or("a packet nobody sent was delivered")?;
            if sent.to != node {
                return Err(format!("a packet for {} was delivered", seen.dst()));
            }
        }
        match (data, first, second, delivered) {
            (None, None, None, None) => return Ok(()),
            (Some(number), Some((passed, hop_limit)), None, None) if number == passed => {
                self.pass_on(node, number, hop_limit)?;
            }
            (Some(number), None, None, Some(arrived)) if number == arrived => {
                let sent = &mut self.packets[number];
                sent.arrived += 1;
                self.delivered += 1;
                if sent.arrived > 1 {
                    return Err(format!("packet {number} was delivered {} times", sent.arrived));
                }
            }
            (Some(_), None, None, None) if discards > 0 => self.discarded += 1,
            _ => {
                return Err(format!(
                    "given {data:?}, it passed on {first:?} and {second:?}, delivered {delivered:?}, counted {discards}"
                ));
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, node: usize, number: usize, hop_limit: u8) -> Result<(), String> {
        let sent = &mut self.packets[number];
        let before = sent.path.last().map_or(HOP_LIMIT + 1, |(_, hop_limit)| *hop_limit);
        // Of a copy that a link made every tunnel lets only one through, so the path has no branches.
        if hop_limit + 1 != before {
            return Err(format!("packet {number} came with hop limit {before} and went with {hop_limit}"));
        }
        self.loops += u64::from(sent.path.iter().any(|(passed, _)| *passed == node));
        sent.path.push((node, hop_limit));
        if hop_limit == 1 {
            return Err(format!("packet {number} went in a circle until its hop limit ran out"));
        }
        Ok(())
    }

    /// Whether nothing was ever wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Balances the books. It holds between any two things that happen; while a node acts, what it passed on is nowhere.
    pub(super) fn balance(&mut self, now: Time) {
        let sent = self.packets.len() as u64;
        let Self { duplicated, delivered, discarded, lost, in_flight, .. } = self;
        if sent + *duplicated != *delivered + *discarded + *lost + *in_flight {
            self.fault.get_or_insert(format!(
                "at {now}: {sent} sent and {duplicated} copies made by links, but {delivered} delivered, {discarded} \
                 discarded, {lost} lost and {in_flight} on their way"
            ));
        }
    }
}
