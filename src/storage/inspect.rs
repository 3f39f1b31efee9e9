//! Looks at files for people: what stands in a log or a snapshot, and what a start would make of a directory.
//!
//! In: files of either product, or the directories of a server that does not run. Out: their content and every fault,
//! with file and offset.
//!
//! Always true:
//! * nothing is changed on disk;
//! * what is judged is judged by the readers of a start, so that both say the same.
//!
//! Not here: what txns and nodes mean (`tree`), changing files (`offline`).

use std::path::{Path, PathBuf};
use std::slice;

use bytes::Bytes;

use super::compress::split_suffix;
use super::disk::{Disk, exists, parent};
use super::ensemble;
use super::entry;
use super::epochs;
use super::error::Error;
use super::layout::{Layout, NamedFile, zxid_in_name};
use super::recover::find_history;
use super::replay::{Mend, replay};
use super::snapshot::{self, BODY_START, Sections};
use super::store::{Options, lock};
use crate::base::{Compression, RecoveredSnapshot, Zxid};

/// One txn of a log file, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedTxn {
    /// Its place in the order, as its header says.
    pub zxid: Zxid,
    /// Where its entry begins in the file.
    pub offset: u64,
    /// Header, body and digest.
    pub txn: Bytes,
    /// What is wrong with its checksum; `None` if it fits.
    pub mismatch: Option<String>,
}

/// What stands in a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogContent {
    /// Every txn, in the file's order, also those whose checksum is wrong.
    pub txns: Vec<LoggedTxn>,
    /// Where the last of them ends; 0 if not even the header is whole.
    pub end: u64,
    /// Length of the file, padding included.
    pub file_bytes: u64,
    /// What is wrong at `end`; `None` if nothing but padding follows.
    pub broken: Option<String>,
}

/// A log file that a start would use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    /// How many txns it holds.
    pub txn_count: usize,
    /// The first of them; `None` if there is none.
    pub first: Option<Zxid>,
    /// The last of them.
    pub last: Option<Zxid>,
    /// Where it ends.
    pub end: u64,
    /// Length of the file, padding included.
    pub file_bytes: u64,
    /// What a start would cut off at `end`; `None` if nothing but padding follows.
    pub torn: Option<String>,
}

/// A snapshot file that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The zxid in its name; `None` if it has another name.
    pub zxid: Option<Zxid>,
    /// How it is compressed.
    pub compression: Compression,
    /// Length of the file.
    pub file_bytes: u64,
    /// Length of sessions, ACL table and nodes, uncompressed.
    pub body_bytes: u64,
    /// Zxid and digest of the tree when the nodes had been written; `None` if it is not known.
    pub digest: Option<(Zxid, u64)>,
    /// The last txn of which the nodes may hold effects; `None` if the file does not say.
    pub last_processed: Option<Zxid>,
}

/// What a start would find in a server's directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The snapshot that it would use; `None` if there is none.
    pub snapshot: Option<RecoveredSnapshot>,
    /// Snapshots that it would pass over, newest first, and why.
    pub passed_over: Vec<(PathBuf, String)>,
    /// The txns that it would replay.
    pub txns: Vec<(Zxid, Bytes)>,
    /// What it would mend, in words.
    pub mends: Vec<String>,
}

/// Reads a log file as far as it has entries, whatever is wrong with them.
pub fn read_log(disk: &dyn Disk, path: &Path, txn_bytes_max: u32) -> Result<LogContent, Error> {
    let bytes = Bytes::from(disk.read(path).map_err(Error::io("read", path))?);
    let walked = entry::walk(&bytes, txn_bytes_max);
    let txns = walked.entries.into_iter().map(|(entry, mismatch)| LoggedTxn {
        zxid: entry.zxid,
        offset: entry.offset as u64,
        txn: bytes.slice(entry.payload),
        mismatch,
    });
    Ok(LogContent {
        txns: txns.collect(),
        end: walked.end as u64,
        file_bytes: bytes.len() as u64,
        broken: walked.broken,
    })
}

/// Judges a log file by itself, as a start would: damage before its end and gaps are errors, a torn tail is not.
pub fn check_log(disk: &dyn Disk, path: &Path, txn_bytes_max: u32) -> Result<LogSummary, Error> {
    let bytes = disk.read(path).map_err(Error::io("read", path))?;
    let scan = entry::scan(path, &bytes, txn_bytes_max)?;
    let first = scan.entries.first().map(|entry| entry.zxid);
    if let Some(first) = first {
        let file_bytes = bytes.len() as u64;
        let (path, compression) = (path.to_owned(), Compression::None);
        let file = NamedFile { zxid: first, path, bytes: file_bytes, compression };
        replay(disk, slice::from_ref(&file), Some(Zxid(first.0.saturating_sub(1))), txn_bytes_max)?;
    }
    Ok(LogSummary {
        txn_count: scan.entries.len(),
        first,
        last: scan.entries.last().map(|entry| entry.zxid),
        end: scan.end as u64,
        file_bytes: bytes.len() as u64,
        torn: scan.torn,
    })
}

/// Reads a snapshot through, in bounded memory, and judges it as a start would.
pub fn check_snapshot(disk: &dyn Disk, path: &Path) -> Result<SnapshotSummary, Error> {
    let file = snapshot_file(disk, path)?;
    let sections = snapshot::check_file(disk, &file)?.map_err(|fault| damaged(path, fault))?;
    Ok(summary(&file, &sections))
}

/// Reads a snapshot: what is known of it, and sessions, ACL table and nodes up to and with the end marker.
pub fn read_snapshot(disk: &dyn Disk, path: &Path) -> Result<(SnapshotSummary, Bytes), Error> {
    let file = snapshot_file(disk, path)?;
    let (content, sections) = snapshot::read_file(disk, &file)?.map_err(|fault| damaged(path, fault))?;
    let body_end = usize::try_from(sections.body_end).expect("the body is part of bytes in memory");
    Ok((summary(&file, &sections), Bytes::from(content).slice(BODY_START..body_end)))
}

/// The same of a snapshot in memory that is not compressed; the error says where it is damaged.
pub fn read_snapshot_bytes(content: &Bytes) -> Result<(SnapshotSummary, Bytes), String> {
    let checked = snapshot::check(&mut &content[..]).map_err(|error| error.to_string())?;
    let sections = checked.map_err(|fault| fault.to_string())?;
    let body_end = usize::try_from(sections.body_end).expect("the body is part of bytes in memory");
    let summary = SnapshotSummary {
        zxid: None,
        compression: Compression::None,
        file_bytes: content.len() as u64,
        body_bytes: sections.body_end - BODY_START as u64,
        digest: sections.digest,
        last_processed: sections.last_processed,
    };
    Ok((summary, content.slice(BODY_START..body_end)))
}

/// Looks at a server's directories as a start would, and changes nothing. The server must not run.
pub fn examine(disk: &dyn Disk, layout: &Layout, options: &Options) -> Result<Found, Error> {
    for dir in [layout.snapshots(), layout.logs()] {
        if !disk.dir_exists(&dir) {
            return Err(Error::refused(&dir, "there is no such directory"));
        }
    }
    let _locks = lock(disk, layout)?;
    let marker = layout.marker();
    if exists(disk, &marker).map_err(Error::io("read", &marker))? {
        let why = "a cut or replacement of the history is under way; a start of the server completes it";
        return Err(Error::refused(&marker, why));
    }
    let history = find_history(disk, layout, options)?;
    // A start reads these, too, and refuses what they must not hold.
    epochs::stored(disk, &layout.snapshots())?;
    ensemble::load(disk, layout)?;
    let in_words = |mend: &Mend| match mend {
        Mend::Cut(path, end) => {
            format!("{} is cut behind its last whole txn at offset {end}", path.display())
        }
        Mend::Remove(path) => format!("{} is removed: it holds no txn", path.display()),
    };
    Ok(Found {
        snapshot: history.snapshot,
        passed_over: history.passed_over,
        mends: history.replay.mends.iter().map(in_words).collect(),
        txns: history.replay.txns,
    })
}

/// A file by its path; its suffix says how it is compressed.
fn snapshot_file(disk: &dyn Disk, path: &Path) -> Result<NamedFile, Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (stem, compression) = split_suffix(&name);
    let dir = parent(path);
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    let bytes = entries.iter().find(|entry| entry.name == name).map(|entry| entry.bytes);
    let Some(bytes) = bytes else { return Err(Error::refused(path, "there is no such file")) };
    let zxid = zxid_in_name(stem, "snapshot.").unwrap_or(Zxid::NONE);
    Ok(NamedFile { zxid, path: path.to_owned(), bytes, compression })
}

fn summary(file: &NamedFile, sections: &Sections) -> SnapshotSummary {
    SnapshotSummary {
        zxid: Some(file.zxid).filter(|zxid| *zxid != Zxid::NONE),
        compression: file.compression,
        file_bytes: file.bytes,
        body_bytes: sections.body_end - BODY_START as u64,
        digest: sections.digest,
        last_processed: sections.last_processed,
    }
}

fn damaged(path: &Path, fault: snapshot::Fault) -> Error {
    Error::Damaged { path: path.to_owned(), offset: fault.offset, what: fault.what }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{ServerId, Write, WriteSeq};
    use crate::storage::sim_disk::SimDisk;
    use crate::storage::store::Store;

    const EMPTY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];
    const LIMIT: u32 = 1 << 20;

    fn layout() -> Layout {
        Layout::in_dir(Path::new("/d"), ServerId(1))
    }

    /// A server that wrote txns 1 to 6 into two files, and a snapshot at 3.
    fn disk() -> SimDisk {
        let disk = SimDisk::new(1);
        let options = Options { prealloc_bytes: 512, compression: Compression::Gzip, ..Options::default() };
        let body = Bytes::from_static(EMPTY);
        let (mut store, _) = Store::open(Arc::new(disk.clone()), layout(), options, body).unwrap();
        for zxid in 1..=6 {
            let mut txn = vec![0; 40];
            txn[12..20].copy_from_slice(&i64::to_be_bytes(zxid));
            let append = Write::Append { zxid: Zxid(zxid), txn: txn.into() };
            store.perform(&[(WriteSeq(zxid as u64), append)]).unwrap();
            if zxid == 3 {
                store.roll().unwrap();
                store.snapshots().write(Zxid(3), 7, |out| out.write_all(EMPTY)).unwrap();
            }
        }
        disk
    }

    fn path(name: &str) -> PathBuf {
        Path::new("/d/version-2").join(name)
    }

    #[test]
    fn a_directory_is_judged_as_a_start_does_and_stays_as_it_is() {
        let disk = disk();
        let files = disk.files();
        let found = examine(&disk, &layout(), &Options::default()).unwrap();
        let none = (Vec::new(), Vec::<String>::new());
        assert_eq!(found.snapshot.map(|snapshot| snapshot.zxid), Some(Zxid(3)));
        assert_eq!(found.txns.iter().map(|(zxid, _)| zxid.0).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!((found.passed_over, found.mends), none);

        disk.flip_bit(&path("snapshot.3.gz"), 20, 1);
        disk.put(&path("log.9"), b"ZKLG");
        let found = examine(&disk, &layout(), &Options::default()).unwrap();
        let snapshot = found.snapshot.map(|snapshot| snapshot.zxid);
        assert_eq!((snapshot, found.txns.len()), (Some(Zxid::ZERO), 6));
        assert_eq!(found.passed_over[0].0, path("snapshot.3.gz"));
        assert_eq!(found.mends, ["/d/version-2/log.9 is removed: it holds no txn"]);
        disk.remove(&path("log.9")).unwrap();
        assert_eq!(disk.files(), files);

        disk.put(&path("currentEpoch"), b"one");
        let error = examine(&disk, &layout(), &Options::default()).unwrap_err().to_string();
        assert!(error.starts_with("/d/version-2/currentEpoch holds \"one\", expected "), "{error}");
        disk.put(&path("currentEpoch"), b"0");

        disk.remove(&path("log.1")).unwrap();
        let error = examine(&disk, &layout(), &Options::default()).unwrap_err().to_string();
        let expected = "/d/version-2/log.4 goes on with 0x4 at offset 16, but the txn before it is 0x0: txns are missing";
        assert_eq!(error, expected);
        let refused = Store::open(Arc::new(disk), layout(), Options::default(), Bytes::new()).unwrap_err();
        assert_eq!(refused.to_string(), expected, "a start says the same");
    }

    #[test]
    fn a_running_servers_directory_is_refused() {
        let disk = disk();
        let running =
            Store::open(Arc::new(disk.clone()), layout(), Options::default(), Bytes::new()).unwrap();
        let error = examine(&disk, &layout(), &Options::default()).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        drop(running);
        examine(&disk, &layout(), &Options::default()).unwrap();
    }

    #[test]
    fn log_files_are_judged_one_by_one() {
        let disk = disk();
        let log = path("log.4");
        let whole = check_log(&disk, &log, LIMIT).unwrap();
        assert_eq!((whole.txn_count, whole.first, whole.last), (3, Some(Zxid(4)), Some(Zxid(6))));
        assert_eq!((whole.end, whole.torn), (16 + 3 * 53, None));
        let content = read_log(&disk, &log, LIMIT).unwrap();
        assert_eq!(content.txns.iter().map(|txn| txn.offset).collect::<Vec<_>>(), [16, 69, 122]);

        disk.flip_bit(&log, 69 + 12 + 38, 0);
        let error = check_log(&disk, &log, LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("/d/version-2/log.4 is damaged at offset 69: an entry has the"), "{error}");
        let content = read_log(&disk, &log, LIMIT).unwrap();
        let flawed: Vec<_> = content.txns.iter().map(|txn| txn.mismatch.is_some()).collect();
        assert_eq!((flawed, content.broken), (vec![false, true, false], None));

        let (mut lowest, mut txn) = (entry::HEADER.to_vec(), [0; 32]);
        txn[12..20].copy_from_slice(&i64::MIN.to_be_bytes());
        entry::encode(&txn, &mut lowest);
        disk.put(&log, &lowest);
        assert_eq!(check_log(&disk, &log, LIMIT).unwrap().txn_count, 1, "nothing comes before it");

        disk.put(&log, b"");
        let empty = check_log(&disk, &log, LIMIT).unwrap();
        assert_eq!((empty.txn_count, empty.torn.as_deref()), (0, Some("the header is not whole")));
        assert!(check_log(&disk, &path("log.7"), LIMIT).is_err());
    }

    #[test]
    fn snapshots_are_read_by_their_suffix_whatever_their_name() {
        let disk = disk();
        let summary = check_snapshot(&disk, &path("snapshot.3.gz")).unwrap();
        assert_eq!((summary.zxid, summary.compression), (Some(Zxid(3)), Compression::Gzip));
        assert_eq!((summary.digest, summary.last_processed), (Some((Zxid(3), 7)), Some(Zxid(3))));
        let (same, body) = read_snapshot(&disk, &path("snapshot.3.gz")).unwrap();
        assert_eq!((&same, &body[..]), (&summary, EMPTY));

        let bytes = disk.read(&path("snapshot.3.gz")).unwrap();
        disk.put(Path::new("/copies/kept.gz"), &bytes);
        let copy = check_snapshot(&disk, Path::new("/copies/kept.gz")).unwrap();
        assert_eq!(copy, SnapshotSummary { zxid: None, ..summary });
        disk.put(Path::new("/copies/snapshot.3.snappy"), &bytes);
        let error = check_snapshot(&disk, Path::new("/copies/snapshot.3.snappy")).unwrap_err().to_string();
        let expected = "/copies/snapshot.3.snappy is damaged at offset 16: the compressed stream cannot be read \
                        (the header is not that of a snappy stream of version 1)";
        assert_eq!(error, expected);
        assert!(
            check_snapshot(&disk, Path::new("/copies/x")).unwrap_err().to_string().contains("no such file")
        );
    }
}
