//! An append-only file of records that survives a crash at any byte.
//!
//! ```text
//! | kind of journal (8) | length (4) | check (8) | payload | length (4) | check (8) | payload | ...
//! ```
//!
//! The check is the beginning of the SHA-256 of the number of the record and its payload, so that neither a record that was
//! torn nor an old one in the place of a new one counts. A record is on the disk when [`Journal::append`] returns.
//!
//! Only the last record can have been torn by a crash. It is cut off, and whoever wrote it was never told that it was
//! written. Anything else that does not add up is damage: the file is set aside as it is, and what is whole before the
//! damage goes on in a new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use molt_mesh::codec::{Reader, Short, Writer};
use sha2::{Digest as _, Sha256};

use crate::file;

/// Longest payload in bytes: a transaction with three bids, and room.
pub const MAX_RECORD: usize = 16 << 10;
/// Longest journal in bytes. It is rewritten long before, see [`Journal::rewrite`].
const MAX_LEN: u64 = 64 << 20;
/// Bytes before a payload.
const HEADER: usize = 12;

/// What was found when a journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// The whole file counts.
    Clean,
    /// It was damaged, and is kept here.
    Damaged(PathBuf),
    /// The last record was torn by a crash and is gone.
    Torn {
        /// How many bytes were cut off.
        bytes: usize,
    },
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    kind: [u8; 8],
    file: File,
    /// Held as long as the journal is open. A file beside it, for the journal itself is replaced when it is rewritten.
    _lock: File,
    /// Records in the file.
    count: u64,
    /// Bytes in the file.
    len: u64,
}

impl Journal {
    /// Opens a journal of this kind, making it if it is not there. Gives the payloads in the order they were written.
    ///
    /// # Errors
    /// If the file can be neither read nor repaired, or another process has it open.
    pub fn open(path: &Path, kind: [u8; 8]) -> io::Result<(Self, Vec<Vec<u8>>, Recovery)> {
        let lock = file::lock(path)?;
        let contents = file::read(path, MAX_LEN)?;
        let Some(contents) = contents else {
            file::replace(path, &kind)?;
            return Ok((Self::at(path, kind, lock, 0, 8)?, Vec::new(), Recovery::Clean));
        };
        let Some(bytes) = contents.strip_prefix(&kind) else {
            let aside = file::set_aside(path)?;
            file::replace(path, &kind)?;
            return Ok((Self::at(path, kind, lock, 0, 8)?, Vec::new(), Recovery::Damaged(aside)));
        };
        let (payloads, rest) = read(bytes);
        let count = payloads.len() as u64;
        let whole = contents.len() - rest.len();
        let recovery = if rest.is_empty() {
            Recovery::Clean
        } else if is_torn(rest) {
            Recovery::Torn { bytes: rest.len() }
        } else {
            Recovery::Damaged(file::set_aside(path)?)
        };
        match recovery {
            Recovery::Clean => {}
            Recovery::Damaged(_) => file::replace(path, contents.get(..whole).unwrap_or(&kind))?,
            Recovery::Torn { .. } => {
                let file = OpenOptions::new().write(true).open(path)?;
                file.set_len(whole as u64)?;
                file.sync_all()?;
            }
        }
        Ok((Self::at(path, kind, lock, count, whole as u64)?, payloads, recovery))
    }

    /// Writes a record. It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written; the journal is as it was then.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        let record = record(self.count, payload)?;
        let written = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Half a record in the middle would be damage to the next reader.
            self.file.set_len(self.len)?;
            self.file.seek(SeekFrom::Start(self.len))?;
            return Err(error);
        }
        self.count += 1;
        self.len += record.len() as u64;
        Ok(())
    }

    /// Replaces all records by these. After a crash there are the old ones or the new ones.
    ///
    /// # Errors
    /// If they cannot be written; the journal is as it was then.
    pub fn rewrite<'a>(&mut self, payloads: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut contents = self.kind.to_vec();
        let mut count = 0;
        for payload in payloads {
            contents.extend(record(count, payload)?);
            count += 1;
        }
        file::replace(&self.path, &contents)?;
        self.file = end_of(&self.path, contents.len() as u64)?;
        (self.count, self.len) = (count, contents.len() as u64);
        Ok(())
    }

    /// How many records there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    fn at(path: &Path, kind: [u8; 8], lock: File, count: u64, len: u64) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), kind, file: end_of(path, len)?, _lock: lock, count, len })
    }
}

fn end_of(path: &Path, len: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(len))?;
    Ok(file)
}

fn record(number: u64, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_RECORD);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "record too long"))?;
    let mut w = Writer::with_capacity(HEADER + payload.len());
    w.u32(length).bytes(&check(number, payload)).bytes(payload);
    Ok(w.finish())
}

fn check(number: u64, payload: &[u8]) -> [u8; 8] {
    let hash: [u8; 32] =
        Sha256::new().chain_update(number.to_be_bytes()).chain_update(payload).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    [a, b, c, d, e, f, g, h]
}

/// The records that are whole, and what is left behind them.
fn read(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut payloads = Vec::new();
    while let Ok((payload, rest)) = read_one(payloads.len() as u64, bytes) {
        payloads.push(payload.to_vec());
        bytes = rest;
    }
    (payloads, bytes)
}

fn read_one(number: u64, bytes: &[u8]) -> Result<(&[u8], &[u8]), Short> {
    let bad = Short { needed: HEADER, left: bytes.len() };
    let mut r = Reader::new(bytes);
    let length = usize::try_from(r.u32()?).map_err(|_| bad)?;
    let expected: [u8; 8] = r.array()?;
    let payload = r.bytes(length)?;
    if length > MAX_RECORD || check(number, payload) != expected {
        return Err(bad);
    }
    Ok((payload, r.rest()))
}

/// Whether these bytes can be what a crash leaves of one record: its beginning, or, where the length of the file was on the
/// disk before the bytes, a part of it with zeros.
fn is_torn(rest: &[u8]) -> bool {
    let mut r = Reader::new(rest);
    match r.u32().map(|length| length as usize) {
        Err(Short { .. }) => true,
        Ok(0) => rest.len() <= HEADER + MAX_RECORD && rest.iter().all(|byte| *byte == 0),
        Ok(length) => length <= MAX_RECORD && rest.len() <= HEADER + length,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KIND: [u8; 8] = *b"testing1";

    fn payloads(count: u8) -> Vec<Vec<u8>> {
        (0..count).map(|number| vec![number; usize::from(number) * 7]).collect()
    }

    fn written(path: &Path, payloads: &[Vec<u8>]) -> Vec<u8> {
        let (mut journal, before, recovery) = Journal::open(path, KIND).unwrap();
        assert_eq!((before.len(), recovery), (0, Recovery::Clean));
        for payload in payloads {
            journal.append(payload).unwrap();
        }
        fs::read(path).unwrap()
    }

    /// A crash while the last record was written: whatever is on the disk of it, all before it is there, and writing goes
    /// on.
    #[test]
    fn a_torn_tail_is_cut_off_at_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let payloads = payloads(6);
        let contents = written(&path, &payloads);
        let last = HEADER + payloads[5].len();
        for cut in 1..=last {
            fs::write(&path, &contents[..contents.len() - cut]).unwrap();
            let (mut journal, read, recovery) = Journal::open(&path, KIND).unwrap();
            assert_eq!(read, payloads[..5], "{cut}");
            let torn = Recovery::Torn { bytes: last - cut };
            assert_eq!(recovery, if cut == last { Recovery::Clean } else { torn });
            journal.append(b"again").unwrap();
            drop(journal);
            let (_, read, recovery) = Journal::open(&path, KIND).unwrap();
            assert_eq!((&read[5][..], recovery), (&b"again"[..], Recovery::Clean));
            // The length came to the disk first, and the bytes did not.
            let mut zeros = contents.clone();
            let whole = zeros.len() - cut;
            zeros[whole..].fill(0);
            fs::write(&path, &zeros).unwrap();
            let (_, read, recovery) = Journal::open(&path, KIND).unwrap();
            assert_eq!(
                (&read[..5], matches!(recovery, Recovery::Torn { .. })),
                (&payloads[..5], true),
                "{cut}"
            );
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_what_is_whole_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let payloads = payloads(6);
        let contents = written(&path, &payloads);
        for at in 0..contents.len() {
            let mut damaged = contents.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            let (mut journal, read, recovery) = Journal::open(&path, KIND).unwrap();
            assert!(read.len() < 6 && read == payloads[..read.len()], "byte {at}");
            if let Recovery::Damaged(aside) = recovery {
                assert_eq!(fs::read(aside).unwrap(), damaged);
            }
            journal.append(b"again").unwrap();
            drop(journal);
            let (_, again, recovery) = Journal::open(&path, KIND).unwrap();
            assert_eq!((again.len(), recovery), (read.len() + 1, Recovery::Clean));
        }
    }

    #[test]
    fn an_old_record_does_not_count_in_the_place_of_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let one = vec![b"same".to_vec()];
        let contents = written(&path, &one);
        fs::write(&path, [&contents[..], &contents[8..]].concat()).unwrap();
        let (_, read, _) = Journal::open(&path, KIND).unwrap();
        assert_eq!(read, one);
    }

    #[test]
    fn rewriting_keeps_what_it_is_given_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        written(&path, &payloads(6));
        let (mut journal, _, _) = Journal::open(&path, KIND).unwrap();
        journal.rewrite([&b"a"[..], &b"b"[..]]).unwrap();
        journal.append(b"c").unwrap();
        drop(journal);
        let (journal, read, recovery) = Journal::open(&path, KIND).unwrap();
        assert_eq!((read, recovery), (vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()], Recovery::Clean));
        assert_eq!(journal.count(), 3);
    }

    #[test]
    fn a_record_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _, _) = Journal::open(&path, KIND).unwrap();
        assert!(journal.append(&vec![0; MAX_RECORD + 1]).is_err());
        journal.append(&vec![1; MAX_RECORD]).unwrap();
        drop(journal);
        let (_, read, recovery) = Journal::open(&path, KIND).unwrap();
        assert_eq!((read[0].len(), recovery), (MAX_RECORD, Recovery::Clean));
    }

    #[test]
    fn one_process_at_a_time_even_after_it_was_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _, _) = Journal::open(&path, KIND).unwrap();
        assert_eq!(Journal::open(&path, KIND).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        journal.rewrite([&b"a"[..]]).unwrap();
        assert!(Journal::open(&path, KIND).is_err());
        drop(journal);
        assert_eq!(Journal::open(&path, KIND).unwrap().1, [b"a"]);
    }
}
