//! The txn log that is being written: append, sync, roll.
//!
//! In: txns in order. Out: a file that Apache ZooKeeper reads, durable with its name after `sync`.
//!
//! Always true:
//! * a txn that does not follow the last one is refused before anything is written;
//! * appends are only gathered; nothing is durable, and nothing may be reported, before `sync`;
//! * a file is named after its first txn, and never appended to by a later process.
//!
//! Not here: the bytes of an entry (`entry`), reading (`replay`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, exists};
use super::entry::{self, HEADER};
use super::error::Error;
use super::layout::log_path;
use super::store::Options;
use crate::base::Zxid;

/// Gathered bytes are handed to the system at the latest when they are this many.
const GATHERED_BYTES_MAX: usize = 1 << 20;
/// Padding is renewed when fewer bytes than this are left of it, as Apache ZooKeeper does.
const PADDING_LEFT_MIN: u64 = 4096;

/// The log of one process.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: Options,
    file: Option<LogFile>,
    last: Zxid,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// What was appended and not yet written.
    gathered: Vec<u8>,
    /// Where the next byte goes.
    end: u64,
    /// Length of the file with its padding.
    padded: u64,
    /// Whether its name is durable.
    named: bool,
    /// Whether something was written since the last sync.
    dirty: bool,
}

/// Whether a history that ends with `last` may go on with `next`.
pub(super) fn follows(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() { next == last.next() } else { next > last && next.counter() == 1 }
}

impl Log {
    /// Goes on after `last`, in a file of its own.
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, options: Options, last: Zxid) -> Log {
        Log { disk, dir, options, file: None, last }
    }

    /// The last txn appended, or the one that the history was cut to or replaced by.
    pub(super) fn last(&self) -> Zxid {
        self.last
    }

    /// Gathers a txn for the next sync.
    pub(super) fn append(&mut self, zxid: Zxid, txn: &[u8]) -> Result<(), Error> {
        let contradicts =
            |history: String| Error::Contradiction { write: format!("the txn {zxid}"), history };
        if entry::zxid_of(txn) != Some(zxid) {
            return Err(contradicts("needs the same zxid in the txn's header".to_owned()));
        }
        if txn.len() > self.options.txn_bytes_max as usize {
            return Err(contradicts(format!("takes at most {} bytes", self.options.txn_bytes_max)));
        }
        if self.last == Zxid::NONE {
            return Err(contradicts("is empty and not trusted, and takes a snapshot only".to_owned()));
        }
        if !follows(self.last, zxid) {
            return Err(contradicts(format!("ends with {}", self.last)));
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(LogFile::create(&*self.disk, &self.dir, zxid)?),
        };
        entry::encode(txn, &mut file.gathered);
        self.last = zxid;
        if file.gathered.len() >= GATHERED_BYTES_MAX {
            file.write(self.options.prealloc_bytes)
        } else {
            Ok(())
        }
    }

    /// Makes everything appended durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write(self.options.prealloc_bytes)?;
        if self.options.force_sync && file.dirty {
            file.file.sync().map_err(Error::io("sync", &file.path))?;
        }
        file.dirty = false;
        if !file.named {
            self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
            file.named = true;
        }
        if self.options.log_bytes_max.is_some_and(|max| file.end > max) {
            self.file = None;
        }
        Ok(())
    }

    /// Ends the file: the next append begins a new one.
    pub(super) fn roll(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.file = None;
        Ok(())
    }

    /// The history on disk ends with `last` from here on, and the files were changed.
    pub(super) fn reset(&mut self, last: Zxid) {
        assert!(self.file.is_none(), "the log is rolled before its files are changed");
        self.last = last;
    }
}

impl LogFile {
    fn create(disk: &dyn Disk, dir: &Path, zxid: Zxid) -> Result<LogFile, Error> {
        let path = log_path(dir, zxid);
        if exists(disk, &path).map_err(Error::io("read", &path))? {
            let history = format!("already has a file {}", path.display());
            return Err(Error::Contradiction { write: format!("the txn {zxid}"), history });
        }
        let file = disk.create(&path).map_err(Error::io("create", &path))?;
        let gathered = HEADER.to_vec();
        Ok(LogFile { path, file, gathered, end: 0, padded: 0, named: false, dirty: false })
    }

    /// Hands what was gathered to the system, after padding for it.
    fn write(&mut self, prealloc_bytes: u64) -> Result<(), Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let end = self.end + self.gathered.len() as u64;
        if prealloc_bytes > 0 && end + PADDING_LEFT_MIN >= self.padded {
            let header = HEADER.len() as u64;
            while end + PADDING_LEFT_MIN >= self.padded {
                self.padded = self.padded.max(header) + prealloc_bytes;
            }
            self.file.set_len(self.padded).map_err(Error::io("lengthen", &self.path))?;
        }
        self.file.write_at(self.end, &self.gathered).map_err(Error::io("write to", &self.path))?;
        self.end = end;
        self.gathered.clear();
        self.dirty = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::storage::sim_disk::SimDisk;

    fn txn(zxid: Zxid) -> Vec<u8> {
        let mut txn = vec![0; 32];
        txn[12..20].copy_from_slice(&zxid.0.to_be_bytes());
        txn
    }

    fn log(disk: &SimDisk, options: Options) -> Log {
        Log::new(Arc::new(disk.clone()), PathBuf::from("/"), options, Zxid::ZERO)
    }

    fn sizes(disk: &SimDisk) -> Vec<(String, u64)> {
        disk.list(Path::new("/")).unwrap().into_iter().map(|entry| (entry.name, entry.bytes)).collect()
    }

    #[test]
    fn the_first_file_has_the_size_that_apache_zookeeper_gives_it() {
        let disk = SimDisk::new(1);
        let mut log = log(&disk, Options { prealloc_bytes: 65_536, ..Options::default() });
        let epoch = |counter| Zxid::new(Epoch(1), counter);
        log.append(epoch(1), &txn(epoch(1))).unwrap();
        assert_eq!(sizes(&disk), [("log.100000001".to_owned(), 0)]);
        log.sync().unwrap();
        assert_eq!(sizes(&disk), [("log.100000001".to_owned(), 16 + 65_536)]);
        for counter in 2..1_400 {
            log.append(epoch(counter), &txn(epoch(counter))).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(sizes(&disk), [("log.100000001".to_owned(), 16 + 2 * 65_536)]);
    }

    #[test]
    fn a_new_file_begins_after_a_roll_or_the_size_limit() {
        let disk = SimDisk::new(1);
        let options = Options { prealloc_bytes: 0, log_bytes_max: Some(100), ..Options::default() };
        let mut log = log(&disk, options);
        for zxid in 1..=4 {
            log.append(Zxid(zxid), &txn(Zxid(zxid))).unwrap();
            log.sync().unwrap();
        }
        log.roll().unwrap();
        log.append(Zxid(5), &txn(Zxid(5))).unwrap();
        log.sync().unwrap();
        let sizes = sizes(&disk);
        let expected = [("log.1", 16 + 90), ("log.3", 16 + 90), ("log.5", 16 + 45)];
        assert_eq!(sizes, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let disk = SimDisk::new(1);
        let mut log = log(&disk, Options::default());
        let refused =
            |log: &mut Log, zxid: i64| log.append(Zxid(zxid), &txn(Zxid(zxid))).unwrap_err().to_string();
        assert!(
            refused(&mut log, 2)
                .ends_with("the txn 0x2 contradicts the history on disk, which ends with 0x0")
        );
        log.append(Zxid(1), &txn(Zxid(1))).unwrap();
        refused(&mut log, 1);
        refused(&mut log, 3);
        refused(&mut log, 0x1_0000_0002);
        assert!(log.append(Zxid(2), &txn(Zxid(3))).is_err());
        log.append(Zxid(0x5_0000_0001), &txn(Zxid(0x5_0000_0001))).unwrap();
    }
}
