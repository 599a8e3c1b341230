//! Every packet by fate.

use molt_tun::{IoCounters, Snapshot};

use super::super::Daemon;
use crate::api::{self, schema};

impl Daemon {
    pub(super) fn counters(&self, snapshot: &Snapshot) -> api::Counters {
        let counter = |group: &str, name: &str, value: u64, meaning: &str| api::Counter {
            group: group.into(),
            name: name.into(),
            value,
            meaning: meaning.into(),
        };
        let host = snapshot.host;
        let mut counters = vec![
            counter("host", "packets-in", host.rx_packets, "Packets from the mesh to this host."),
            counter("host", "bytes-in", host.rx_bytes, "Their bytes."),
            counter("host", "packets-out", host.tx_packets, "Packets from this host into the mesh."),
            counter("host", "bytes-out", host.tx_bytes, "Their bytes."),
            counter("transit", "packets", snapshot.transit_packets, "Packets passed on for others."),
        ];
        counters.extend(
            snapshot
                .discards
                .iter()
                .map(|(discard, value)| counter("discard", discard.name(), value, discard.meaning())),
        );
        let IoCounters { udp, tun_rejects, tun_write_errors } = snapshot.io;
        counters.extend([
            counter(
                "io",
                "gso-refusals",
                udp.gso_refusals,
                "Trains of datagrams the kernel refused; sent one by one.",
            ),
            counter("io", "no-socket", udp.no_socket, "Datagrams to an address family without a socket."),
            counter("io", "receive-errors", udp.receive_errors, "Errors while receiving datagrams."),
            counter(
                "io",
                "receive-overflows",
                udp.receive_overflows,
                "Datagrams the kernel dropped: our buffer was full.",
            ),
            counter("io", "send-errors", udp.send_errors, "Datagrams the kernel refused to send."),
            counter("io", "truncated", udp.truncated, "Datagrams longer than 64 KiB."),
            counter(
                "io",
                "device-rejects",
                tun_rejects,
                "Reads from the interface that are no IPv6 packets.",
            ),
            counter("io", "device-errors", tun_write_errors, "Packets the interface did not take."),
        ]);
        let ospf = self.control.ospf().counters();
        counters.extend([
            counter("ospf", "received", ospf.received, "OSPF packets received."),
            counter("ospf", "sent", ospf.sent, "OSPF packets sent."),
            counter(
                "ospf",
                "not-sent",
                self.control.overruns(),
                "OSPF packets the packet loop was too busy for.",
            ),
            counter("ospf", "neighbor-changes", ospf.neighbor_changes, "State changes of neighbours."),
            counter("ospf", "spf-runs", ospf.spf_runs, "Shortest-path computations."),
            counter("ospf", "originated", ospf.lsas_originated, "Instances of our own LSAs."),
            counter("ospf", "bad-lsa-checksum", ospf.lsas_with_bad_checksum, "LSAs with a wrong checksum."),
            counter(
                "ospf",
                "too-early",
                ospf.lsas_too_early,
                "LSAs within MinLSArrival of the previous instance.",
            ),
            counter("ospf", "no-room", ospf.lsas_without_room, "LSAs beyond the limits of the database."),
        ]);
        counters.extend(self.control.ospf().event_counts().iter().map(|(cause, value)| {
            counter("ospf-event", cause.name(), *value, "Security events, see molt ospf events.")
        }));
        counters.extend(ospf.rejected.iter().map(|(reject, value)| {
            counter("ospf-reject", &format!("{reject:?}"), *value, &reject.to_string())
        }));
        api::Counters { schema: schema::COUNTERS.into(), counters }
    }
}
