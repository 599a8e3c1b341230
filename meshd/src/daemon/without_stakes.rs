//! A daemon that is built without the chain.

use molt_tun::Clock;

use super::{Daemon, refuse};
use crate::api::{FailureKind, Request, Response};
use crate::config::Config;
use crate::state::StateDir;

/// There are none.
pub(super) enum Stakes {}

impl Stakes {
    pub(super) fn start(_: &Config, _: &StateDir, _: Clock, _: u64) -> anyhow::Result<Option<Self>> {
        Ok(None)
    }

    pub(super) fn abandon(self) {
        match self {}
    }
}

impl Daemon {
    pub(super) fn answer_chain(&self, _: &Request) -> Response {
        refuse(FailureKind::Failed, "this meshd is built without `--features chain`".into())
    }
}
