//! Reading the configuration again while the daemon runs: what takes effect at once, and what waits for a restart.

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Daemon, endpoints};
use crate::api::{Reloaded, schema};
use crate::config::Config;

impl Daemon {
    pub(super) fn reload_on_signal(&mut self, found: &mpsc::Sender<endpoints::Found>) {
        match self.reload() {
            Ok(done) => {
                info!(
                    added = done.added,
                    changed = done.changed,
                    removed = done.removed,
                    "reloaded the peers"
                );
                self.endpoints.refresh(found);
            }
            Err(error) => warn!("not reloaded: {error:#}"),
        }
    }

    /// Reads the peers of the configuration again; tunnels that stay are not touched.
    pub(super) fn reload(&mut self) -> anyhow::Result<Reloaded> {
        let new = Config::read(&self.options.config)?;
        self.ensure_same_mesh(&new)?;
        let needs_restart = needs_restart(&self.config, &new);
        self.config.peers = new.peers;
        if let (Some(bgp), Some(new)) = (&mut self.config.bgp, new.bgp) {
            bgp.peers = new.peers;
        }
        self.config.origins = new.origins;
        self.control.set_rights(self.config.rights(), self.clock.now());
        let changes = self.apply_peers();
        Ok(Reloaded {
            schema: schema::RELOADED.into(),
            added: changes.added,
            changed: changes.changed,
            removed: changes.removed,
            needs_restart,
        })
    }

    /// Every address changes with the prefix, and what the rest of the configuration says is of the new mesh.
    pub(super) fn ensure_same_mesh(&self, new: &Config) -> anyhow::Result<()> {
        let (ours, theirs) = (self.config.network.prefix, new.network.prefix);
        anyhow::ensure!(
            ours == theirs,
            "[network] prefix changed from {ours} to {theirs}, which is another mesh; stop the daemon and start it"
        );
        Ok(())
    }
}

/// Settings that differ and are not read again, and so wait for a restart.
pub(super) fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let sections = [
        ("[node]", format!("{:?}", old.node) != format!("{:?}", new.node)),
        ("[network]", format!("{:?}", old.network) != format!("{:?}", new.network)),
        ("[underlay]", format!("{:?}", old.underlay) != format!("{:?}", new.underlay)),
        ("[tun]", format!("{:?}", old.tun) != format!("{:?}", new.tun)),
        ("[ospf]", format!("{:?}", old.ospf) != format!("{:?}", new.ospf)),
        ("[bfd]", format!("{:?}", old.bfd) != format!("{:?}", new.bfd)),
        ("[bgp]", speaker(old) != speaker(new)),
        ("[chain]", format!("{:?}", old.chain) != format!("{:?}", new.chain)),
        ("[[delegation]]", format!("{:?}", old.delegations) != format!("{:?}", new.delegations)),
    ];
    sections.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
}

/// What `[bgp]` says apart from the peers.
fn speaker(config: &Config) -> Option<(u32, &[molt_mesh::Prefix])> {
    config.bgp.as_ref().map(|bgp| (bgp.asn, bgp.announce.as_slice()))
}
