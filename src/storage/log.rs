//! The txn log that is being written: append, sync, roll.
//!
//! In: txns in order. Out: a file that Apache ZooKeeper reads, durable with its name after `sync`.
//!
//! Always true:
//! * a txn that does not follow the last one is refused before anything is written;
//! * appends are only gathered; nothing is durable, and nothing may be reported, before `sync`;
//! * a file is named after its first txn, and never appended to by a later process;
//! * a block that is written again holds the same bytes up to where the durable ones end: whether the disk writes a
//!   sector of it or not, none of them is lost.
//!
//! A padded file is written in whole blocks, past the page cache: the block in which it ends is kept, and written again
//! with what follows. A block that is written for the first time makes the file system note where it stands, which costs
//! a sync about as much again as the data; so a small write that goes beyond what was written also writes zeros ahead.
//!
//! Not here: the bytes of an entry (`entry`), reading (`replay`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aligned::Aligned;
use super::disk::{BLOCK_BYTES, Disk, DiskFile, exists};
use super::entry::{self, HEADER};
use super::error::Error;
use super::layout::log_path;
use super::store::Options;
use crate::base::Zxid;

/// Gathered bytes are handed to the system at the latest when they are this many.
const GATHERED_BYTES_MAX: usize = 1 << 20;
/// Room for what is gathered at first: many small writes, and zeros ahead.
const GATHERED_BYTES_FIRST: usize = 128 << 10;
/// Padding is renewed when fewer bytes than this are left of it, as Apache ZooKeeper does.
const PADDING_LEFT_MIN: u64 = 4096;
const _: () = assert!(BLOCK_BYTES as u64 <= PADDING_LEFT_MIN, "the last block lies within the padding");
/// A write of fewer bytes than this writes zeros ahead. A larger one spreads the cost of new blocks over its own bytes,
/// and zeros ahead would double what is written.
const SMALL_WRITE_BYTES: u64 = 32 << 10;
/// Zeros ahead end at a multiple of this: so seldom does a row of small writes pay for new blocks.
const ZEROS_AHEAD_BYTES: u64 = 64 << 10;

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
    /// Offset and length of every write are multiples of it: 1, or a block.
    unit_bytes: u64,
    /// What stands from `start` on: the beginning of the unit in which the file ends, and what was appended and not yet
    /// written.
    gathered: Aligned,
    /// Where the unit begins in which the file ends.
    start: u64,
    /// Where the next byte goes that is not written yet.
    end: u64,
    /// End of what was written, zeros ahead and all.
    written: u64,
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
            None => self.file.insert(LogFile::create(&*self.disk, &self.dir, &self.options, zxid)?),
        };
        file.gathered.append_with(entry::bytes_of(txn), |out| entry::encode(txn, out));
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
    fn create(disk: &dyn Disk, dir: &Path, options: &Options, zxid: Zxid) -> Result<LogFile, Error> {
        let path = log_path(dir, zxid);
        if exists(disk, &path).map_err(Error::io("read", &path))? {
            let history = format!("already has a file {}", path.display());
            return Err(Error::Contradiction { write: format!("the txn {zxid}"), history });
        }
        // Without padding the length says where the last entry ends. Without a sync the page cache is all that is waited
        // for.
        let (file, unit_bytes) = if options.prealloc_bytes > 0 && options.force_sync {
            (disk.create_in_blocks(&path), BLOCK_BYTES as u64)
        } else {
            (disk.create(&path), 1)
        };
        let file = file.map_err(Error::io("create", &path))?;
        let mut gathered = Aligned::with_capacity(GATHERED_BYTES_FIRST);
        gathered.append_with(HEADER.len(), |out| out.extend_from_slice(&HEADER));
        let (start, end, written, padded) = (0, 0, 0, 0);
        Ok(LogFile {
            path,
            file,
            unit_bytes,
            gathered,
            start,
            end,
            written,
            padded,
            named: false,
            dirty: false,
        })
    }

    /// Hands what was gathered to the system, after padding for it.
    fn write(&mut self, prealloc_bytes: u64) -> Result<(), Error> {
        let end = self.start + self.gathered.len() as u64;
        if end == self.end {
            return Ok(());
        }
        if prealloc_bytes > 0 && end + PADDING_LEFT_MIN >= self.padded {
            let header = HEADER.len() as u64;
            while end + PADDING_LEFT_MIN >= self.padded {
                self.padded = self.padded.max(header) + prealloc_bytes;
            }
            self.file.set_len(self.padded).map_err(Error::io("lengthen", &self.path))?;
        }
        let write_end = self.write_end(end);
        self.gathered.resize((write_end - self.start) as usize);
        self.file.write_at(self.start, &self.gathered).map_err(Error::io("write to", &self.path))?;
        self.written = self.written.max(write_end);
        self.gathered.resize((end - self.start) as usize);
        let start = end - end % self.unit_bytes;
        self.gathered.drop_front((start - self.start) as usize);
        (self.start, self.end) = (start, end);
        self.dirty = true;
        Ok(())
    }

    /// Where a write ends that brings the content to `end`.
    fn write_end(&self, end: u64) -> u64 {
        let unit_end = end.next_multiple_of(self.unit_bytes);
        if self.unit_bytes == 1 || unit_end <= self.written || end - self.end >= SMALL_WRITE_BYTES {
            return unit_end;
        }
        let padding_end = self.padded - self.padded % self.unit_bytes;
        unit_end.next_multiple_of(ZEROS_AHEAD_BYTES).min(padding_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;
    use crate::storage::sim_disk::{DiskFaults, SimDisk};

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

    /// A txn of so many bytes, header and all.
    fn long(zxid: Zxid, bytes: usize) -> Vec<u8> {
        let mut txn = txn(zxid);
        txn.resize(bytes, zxid.0 as u8 | 1);
        txn
    }

    #[test]
    fn a_padded_file_holds_what_one_without_padding_holds() {
        let (padded, exact) = (SimDisk::new(1), SimDisk::new(1));
        let options = |prealloc_bytes| Options { prealloc_bytes, ..Options::default() };
        let mut logs = [log(&padded, options(300_000)), log(&exact, options(0))];
        for zxid in 1..400 {
            let txn = long(Zxid(zxid), 32 + (zxid * zxid * 37 % 9_000) as usize);
            for log in &mut logs {
                log.append(Zxid(zxid), &txn).unwrap();
                if zxid % 9 != 0 {
                    log.sync().unwrap();
                }
            }
        }
        logs.iter_mut().for_each(|log| log.sync().unwrap());
        let mut expected = exact.read(Path::new("/log.1")).unwrap();
        expected.resize(16 + expected.len().div_ceil(300_000) * 300_000, 0);
        assert!(padded.read(Path::new("/log.1")).unwrap() == expected);
    }

    #[test]
    fn small_writes_go_into_blocks_that_were_written_ahead_and_large_ones_do_not() {
        let disk = SimDisk::new(1);
        let total_bytes = 1 << 30;
        disk.set_faults(DiskFaults { capacity_bytes: Some(total_bytes), ..DiskFaults::default() });
        let mut log = log(&disk, Options { prealloc_bytes: 500_000, ..Options::default() });
        let mut written_after = |zxid: i64, bytes: usize| {
            log.append(Zxid(zxid), &long(Zxid(zxid), bytes - 13)).unwrap();
            log.sync().unwrap();
            total_bytes - disk.space(Path::new("/")).unwrap().free_bytes
        };
        assert_eq!(written_after(1, 1_000), 65_536);
        assert_eq!(written_after(2, 31_000), 65_536);
        assert_eq!(written_after(3, 40_000), 73_728, "72,016 bytes in whole blocks, of which a large write");
        assert_eq!(written_after(4, 1_712), 73_728, "up to the end of the block");
        assert_eq!(written_after(5, 100), 131_072);
        assert_eq!(written_after(6, 360_000), 434_176);
        assert_eq!(written_after(7, 20_000), 458_752);
        assert_eq!(written_after(8, 30_000), 499_712, "not beyond the padding");
        assert_eq!(sizes(&disk), [("log.1".to_owned(), 500_016)]);
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
