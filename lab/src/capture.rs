//! What is on the wire, as an independent reader sees it: packets recorded by `tcpdump` and dissected by `tshark`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;
use crate::process::Process;
use crate::wait::wait_until;

/// How long `tcpdump` may take to start, and to write what it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// A recording of one interface.
#[derive(Debug)]
pub struct Capture {
    namespace: Namespace,
    file: PathBuf,
    process: Process,
}

impl Capture {
    /// Starts to record, and waits until it does.
    ///
    /// # Errors
    /// If `tcpdump` is missing or there is no such interface.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let file = namespace.dir().join(format!("{interface}.pcap"));
        let path = file.to_string_lossy().into_owned();
        let what = format!("tcpdump-{interface}");
        // Each packet is in the file when it has been seen, and no privileges are dropped that writing there needs.
        let args = ["tcpdump", "-Z", "root", "-U", "-i", interface, "-s", "0", "-w", &path];
        let mut process = namespace.spawn(&what, &args)?;
        wait_until("tcpdump to listen", PATIENCE, || {
            process.check_alive()?;
            ensure!(process.log().contains("listening on"), "{}", process.log());
            Ok(())
        })?;
        Ok(Self { namespace: namespace.clone(), file, process })
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// If `tcpdump` has ended, or lost packets.
    pub fn stop(mut self) -> Result<Recording> {
        self.process.terminate()?;
        let log = self.process.log();
        ensure!(log.contains("\n0 packets dropped by kernel"), "{log}");
        Ok(Recording { namespace: self.namespace, file: self.file })
    }
}

/// Packets in a file.
#[derive(Debug)]
pub struct Recording {
    namespace: Namespace,
    file: PathBuf,
}

impl Recording {
    /// The values of `fields` in each packet that passes the display filter; several values of one field in one packet are
    /// separated by commas. Checksums that `tshark` does not verify unless told to are verified.
    ///
    /// # Errors
    /// What `tshark` said.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let file = self.file.to_string_lossy();
        let mut args = vec!["tshark", "-n", "-r", &*file, "-o", "udp.check_checksum:TRUE", "-Y", filter];
        args.extend(["-T", "fields", "-E", "separator=|"]);
        args.extend(fields.iter().flat_map(|field| ["-e", *field]));
        let text = self.namespace.run(&args)?;
        let row = |line: &str| line.split('|').map(str::to_owned).collect();
        Ok(text.lines().map(row).collect())
    }

    /// How many packets pass the display filter.
    ///
    /// # Errors
    /// What `tshark` said.
    pub fn count(&self, filter: &str) -> Result<usize> {
        Ok(self.fields(filter, &["frame.number"])?.len())
    }

    /// The packets that pass the display filter in words.
    ///
    /// # Errors
    /// What `tshark` said.
    pub fn describe(&self, filter: &str) -> Result<String> {
        let file = self.file.to_str().context("a path of ours is UTF-8")?;
        self.namespace.run(&["tshark", "-n", "-r", file, "-o", "udp.check_checksum:TRUE", "-Y", filter, "-V"])
    }
}
