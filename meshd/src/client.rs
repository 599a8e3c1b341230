//! The client end of the control socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::{Failure, FailureKind, Request, Response};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no meshd answers at {path} ({source}); start it, or name its socket with --socket")]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// We may not.
    #[error("{0} belongs to another user; run as root or as a member of its group")]
    Forbidden(PathBuf),
    /// The daemon refused.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The connection broke.
    #[error("meshd closed the connection: {0}")]
    Lost(io::Error),
    /// It is another program, or another version.
    #[error("meshd answered something else than expected: {0}")]
    Garbled(serde_json::Error),
}

impl ClientError {
    /// The exit code of `molt`.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning { .. } => exit::NOT_RUNNING,
            Self::Refused(Failure { kind: FailureKind::Unknown, .. }) => exit::UNKNOWN,
            Self::Refused(Failure { kind: FailureKind::BadRequest, .. }) => exit::USAGE,
            Self::Refused(_) | Self::Forbidden(_) | Self::Lost(_) | Self::Garbled(_) => exit::FAILED,
        }
    }
}

/// Exit codes of `molt`; scripts rely on them.
pub mod exit {
    /// It failed.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// No daemon answers.
    pub const NOT_RUNNING: u8 = 3;
    /// No such peer or name.
    pub const UNKNOWN: u8 = 5;
    /// No reply came.
    pub const NO_REPLY: u8 = 6;
    /// Time ran out.
    pub const TIMEOUT: u8 = 124;
}

/// A connection with one request on it.
pub struct Client {
    answers: BufReader<UnixStream>,
}

impl Client {
    /// Connects and asks.
    ///
    /// # Errors
    /// If nobody listens there, or the request cannot be sent.
    pub fn ask(socket: &Path, request: &Request) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(socket.to_owned()),
            _ => ClientError::NotRunning { path: socket.to_owned(), source },
        })?;
        let mut line = serde_json::to_vec(request).map_err(ClientError::Garbled)?;
        line.push(b'\n');
        (&stream).write_all(&line).map_err(ClientError::Lost)?;
        Ok(Self { answers: BufReader::new(stream) })
    }

    /// The next answer.
    ///
    /// # Errors
    /// If the daemon refused, or the connection broke.
    pub fn answer(&mut self) -> Result<Value, ClientError> {
        let mut line = String::new();
        if self.answers.read_line(&mut line).map_err(ClientError::Lost)? == 0 {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line).map_err(ClientError::Garbled)? {
            Response::Ok(value) => Ok(value),
            Response::Error(failure) => Err(ClientError::Refused(failure)),
        }
    }
}
