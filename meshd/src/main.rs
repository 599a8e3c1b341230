//! `meshd`: the MoltNet daemon.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use meshd::api::DEFAULT_SOCKET;
use meshd::daemon::{self, Options};
use meshd::state::DEFAULT_STATE_DIR;
use tracing_subscriber::EnvFilter;

/// The MoltNet daemon: joins this machine to a mesh and forwards its packets.
///
/// Runs in the foreground and logs to standard error. SIGTERM and SIGINT leave the mesh in good order; SIGHUP reads
/// the peers of the configuration again without dropping tunnels; `molt restart` replaces the program and keeps its ways.
/// `molt` is its command line.
#[derive(Parser)]
#[command(name = "meshd", version, max_term_width = 110)]
struct Cli {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and the state, and do nothing else
    #[arg(long)]
    check: bool,
    /// Where the identity is kept; made if it is not there
    #[arg(long, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    state_dir: PathBuf,
    /// Control socket
    #[arg(long, default_value = DEFAULT_SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// How much to log: error, warn, info, debug, trace, or a filter like `info,molt_routing=debug`
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// How to write the log
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// One line of JSON an event
    Json,
    /// For people
    Text,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // boringtun calls every peer that does not answer an error.
    let filter = match EnvFilter::try_new(format!("boringtun=off,{}", cli.log)) {
        Ok(filter) => filter,
        Err(error) => return fail(&format!("--log {:?}: {error}", cli.log)),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match cli.log_format {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).with_target(false).init(),
    }
    let options = Options { config: cli.config, state_dir: cli.state_dir, socket: cli.socket };
    let done = if cli.check { daemon::check(&options) } else { daemon::run(&options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn fail(message: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "meshd: {message}"));
    ExitCode::FAILURE
}
