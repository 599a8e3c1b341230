//! Files that are whole after a crash.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Replaces a file: after a crash there is the old one or the new one, never half of it.
///
/// # Errors
/// If it cannot be written; the old one is still there then.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".new");
    let write = || {
        // A leftover of a crash may have other permissions; the mode counts only for a new file.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_folder(path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Reads a file of at most `limit` bytes. `None` if there is none.
///
/// # Errors
/// If it cannot be read or is longer.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut contents = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut contents)?;
    if read as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is longer than any we write"));
    }
    Ok(Some(contents))
}

/// Renames a bad file, so that it can be looked at and is not in the way. The one that was set aside before is replaced.
///
/// # Errors
/// If it cannot be renamed.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, ".bad");
    fs::rename(path, &aside)?;
    sync_folder(path)?;
    Ok(aside)
}

/// Takes the file at this path for this process, by a file beside it. The lock ends with what is returned.
///
/// # Errors
/// [`io::ErrorKind::WouldBlock`] if somebody else has it.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let beside = beside(path, ".lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(beside)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let used = format!("{} is used by another process", path.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, used))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Makes the entry of a file in its folder survive a crash.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_set_aside_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        assert_eq!(read(&path, 10).unwrap(), None);
        fs::write(folder.path().join("it.new"), b"leftover of a crash").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"three").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_deref(), Some(&b"three"[..]));
        assert_eq!(read(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(!folder.path().join("it.new").exists());
        let aside = set_aside(&path).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"three");
        assert_eq!(read(&path, 10).unwrap(), None);
        assert!(replace(&folder.path().join("no/such"), b"").is_err());
    }
}
