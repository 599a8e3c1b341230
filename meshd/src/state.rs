//! The state directory: the key of this node, the id it was given, and the lock that keeps a second daemon out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use molt_mesh::id::proof_of_work_bits;
use molt_mesh::{AgentId, Identity, MeshAddr, MeshPrefix, Seed};
use zeroize::Zeroizing;

/// Where state is kept unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/meshd";

const SEED_FILE: &str = "identity.key";
const UUID_FILE: &str = "uuid";
const DRAW_FILE: &str = "router-id-draw";
const LOCK_FILE: &str = "lock";
const HANDOVER_FILE: &str = "restart.json";

/// More than the forwarding table of 100,000 routes takes.
const MAX_HANDOVER: u64 = 16 << 20;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory cannot be read or written.
    #[error("{action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody else may read the key.
    #[error("{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")]
    Exposed {
        /// The key file.
        path: String,
        /// Its mode bits.
        mode: u32,
    },
    /// The file is not what we wrote.
    #[error(
        "{path} is damaged: expected {expected}; restore it from a backup, or remove it to become a new node"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Its format.
        expected: &'static str,
    },
    /// There is a key already.
    #[error("{0} already holds an identity; `molt id show` prints it")]
    Exists(String),
    /// A UUID that cannot have been issued.
    #[error("{0} has version {version}; only versions 1 to 7 are issued (8 follows from a key)", version = .0.version())]
    NotIssued(AgentId),
    /// There is none.
    #[error("{0} holds no identity; `molt id new` makes one")]
    Missing(String),
    /// Another daemon runs on it.
    #[error("another meshd (process {pid}) uses {path}; one state directory serves one daemon")]
    Locked {
        /// The directory.
        path: String,
        /// What the lock file says.
        pid: String,
    },
}

/// What a state directory says about a node.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Its keys.
    pub identity: Identity,
    /// A UUID issued elsewhere, if it was given one.
    pub claimed: Option<AgentId>,
    /// How often it has drawn a router id: more than once after a clash.
    pub draw: u32,
}

impl NodeState {
    /// The id it shows first: the one it was given, else the one of its key.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.claimed.unwrap_or_else(|| self.identity.agent_id())
    }

    /// Its addresses in a mesh, in the order in which they are shown.
    #[must_use]
    pub fn addresses(&self, mesh: MeshPrefix) -> Vec<MeshAddr> {
        let own = self.identity.address(mesh);
        self.claimed.iter().filter_map(|uuid| mesh.address_of(uuid)).chain([own]).collect()
    }
}

/// A state directory.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Opens the directory, making it (mode 0700) if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| io_error("cannot create the state directory", path, source))?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the node.
    ///
    /// # Errors
    /// If there is none, others may read its key, or a file is damaged.
    pub fn load(&self) -> Result<NodeState, StateError> {
        let path = self.0.join(SEED_FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::Missing(self.0.display().to_string()));
            }
            Err(source) => return Err(io_error("cannot read the key", &path, source)),
        };
        let metadata = file.metadata().map_err(|source| io_error("cannot read the key", &path, source))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StateError::Exposed { path: path.display().to_string(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        (&mut file)
            .take(256)
            .read_to_string(&mut text)
            .map_err(|source| io_error("cannot read the key", &path, source))?;
        let seed = decode_seed(text.trim_end()).ok_or_else(|| StateError::Damaged {
            path: path.display().to_string(),
            expected: "64 hexadecimal digits",
        })?;
        Ok(NodeState { identity: seed.identity(), claimed: self.load_claimed()?, draw: self.load_draw()? })
    }

    fn load_claimed(&self) -> Result<Option<AgentId>, StateError> {
        let path = self.0.join(UUID_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim_end().parse() {
                Ok(uuid) => check_issued(uuid).map(Some),
                Err(_) => Err(StateError::Damaged { path: path.display().to_string(), expected: "a UUID" }),
            },
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("cannot read", &path, source)),
        }
    }

    fn load_draw(&self) -> Result<u32, StateError> {
        let path = self.0.join(DRAW_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim_end().parse().map_err(|_| StateError::Damaged {
                path: path.display().to_string(),
                expected: "a decimal number",
            }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(io_error("cannot read", &path, source)),
        }
    }

    /// Remembers how often a router id was drawn, so that a clash is not fought out again after a restart.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_draw(&self, draw: u32) -> Result<(), StateError> {
        self.write(DRAW_FILE, format!("{draw}\n").as_bytes())
    }

    /// Leaves a note for the process that replaces this one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_handover(&self, contents: &[u8]) -> Result<(), StateError> {
        self.write(HANDOVER_FILE, contents)
    }

    /// Takes the note of the process before this one. It counts once: what comes after a crash knows nothing of it.
    ///
    /// # Errors
    /// If there is none, or it cannot be read or removed.
    pub fn take_handover(&self) -> Result<Vec<u8>, StateError> {
        let path = self.0.join(HANDOVER_FILE);
        let fail = |source| io_error("cannot read", &path, source);
        let mut contents = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_HANDOVER).read_to_end(&mut contents))
            .map_err(fail)?;
        fs::remove_file(&path).map_err(fail)?;
        Ok(contents)
    }

    /// Makes a new node: a key with at least `pow_bits` of proof of work, and the UUID it was given elsewhere.
    ///
    /// # Errors
    /// If there is a node already, or it cannot be written.
    pub fn create(&self, claimed: Option<AgentId>, pow_bits: u32) -> Result<NodeState, StateError> {
        let path = self.0.join(SEED_FILE);
        if path.exists() {
            return Err(StateError::Exists(self.0.display().to_string()));
        }
        let claimed = claimed.map(check_issued).transpose()?;
        let seed = loop {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(bytes.as_mut())
                .map_err(|source| io_error("cannot draw a key for", &path, io::Error::other(source)))?;
            let seed = Seed::from_bytes(*bytes);
            if pow_bits == 0 || proof_of_work_bits(seed.identity().key()) >= pow_bits {
                break seed;
            }
        };
        if let Some(uuid) = claimed {
            self.write(UUID_FILE, format!("{uuid}\n").as_bytes())?;
        }
        self.write(SEED_FILE, encode_seed(&seed).as_bytes())?;
        Ok(NodeState { identity: seed.identity(), claimed, draw: 0 })
    }

    /// Writes a file so that after a crash there is the old one or the new one, never half of it.
    fn write(&self, name: &str, contents: &[u8]) -> Result<(), StateError> {
        let path = self.0.join(name);
        let temporary = self.0.join(format!(".{name}.new"));
        let write = || {
            // A leftover of a crash may have other permissions; the mode counts only for a new file.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(contents)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|source| {
            drop(fs::remove_file(&temporary));
            io_error("cannot write", &path, source)
        })
    }

    /// Takes the directory for this process. The lock ends with the returned file, or with the process.
    ///
    /// # Errors
    /// If another daemon holds it.
    pub fn lock(&self) -> Result<File, StateError> {
        let path = self.0.join(LOCK_FILE);
        let fail = |source| io_error("cannot lock", &path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                drop(file.read_to_string(&mut pid));
                return Err(StateError::Locked {
                    path: self.0.display().to_string(),
                    pid: pid.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
        Ok(file)
    }
}

fn check_issued(uuid: AgentId) -> Result<AgentId, StateError> {
    if matches!(uuid.version(), 1..=7) { Ok(uuid) } else { Err(StateError::NotIssued(uuid)) }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { action, path: path.display().to_string(), source }
}

fn encode_seed(seed: &Seed) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed.expose() {
        for nibble in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(nibble.into(), 16));
        }
    }
    text.push('\n');
    text
}

fn decode_seed(text: &str) -> Option<Seed> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let mut value = 0;
        for digit in digits {
            value = value << 4 | char::from(*digit).to_digit(16)?;
        }
        *byte = u8::try_from(value).ok()?;
    }
    Some(Seed::from_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        (dir, state)
    }

    #[test]
    fn a_node_is_the_same_after_a_restart() {
        let (_dir, state) = fresh();
        assert!(matches!(state.load(), Err(StateError::Missing(_))));
        let uuid: AgentId = "daa46e88-46c5-4af7-9268-1482c54c1922".parse().unwrap();
        let made = state.create(Some(uuid), 0).unwrap();
        let loaded = state.load().unwrap();
        let mesh = MeshPrefix::DEFAULT;
        assert_eq!(loaded.addresses(mesh), made.addresses(mesh));
        assert_eq!(loaded.agent_id(), uuid);
        assert_eq!(loaded.addresses(mesh).len(), 2);
        assert_eq!(loaded.identity.node_public(), made.identity.node_public());
        assert!(matches!(state.create(None, 0), Err(StateError::Exists(_))));
        let (_dir, other) = fresh();
        let derived: AgentId = "a8cd4fb9-5636-89f0-bc46-e968cec89840".parse().unwrap();
        assert!(matches!(other.create(Some(derived), 0), Err(StateError::NotIssued(_))));
    }

    #[test]
    fn a_router_id_that_was_drawn_again_stays_over_a_restart() {
        let (_dir, state) = fresh();
        assert_eq!(state.create(None, 0).unwrap().draw, 0);
        state.save_draw(3).unwrap();
        assert_eq!(state.load().unwrap().draw, 3);
        state.write(DRAW_FILE, b"three").unwrap();
        assert!(matches!(state.load(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn the_key_is_private_or_refused() {
        let (_dir, state) = fresh();
        state.create(None, 0).unwrap();
        let path = state.path().join(SEED_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = state.load().unwrap_err().to_string();
        assert!(error.contains("0644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_named() {
        let (_dir, state) = fresh();
        state.create(None, 0).unwrap();
        for damage in ["", "zz", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            state.write(SEED_FILE, damage.as_bytes()).unwrap();
            assert!(matches!(state.load(), Err(StateError::Damaged { .. })), "{damage:?}");
        }
    }

    #[test]
    fn one_daemon_at_a_time() {
        let (_dir, state) = fresh();
        let held = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        state.lock().unwrap();
    }

    #[test]
    fn a_handover_counts_once() {
        let (_dir, state) = fresh();
        assert!(state.take_handover().is_err());
        state.save_handover(b"1").unwrap();
        state.save_handover(b"2").unwrap();
        assert_eq!(state.take_handover().unwrap(), b"2");
        assert!(state.take_handover().is_err());
    }

    #[test]
    fn proof_of_work_is_done_when_asked_for() {
        let (_dir, state) = fresh();
        let node = state.create(None, 4).unwrap();
        assert!(proof_of_work_bits(node.identity.key()) >= 4);
    }
}
