//! Reads the log back: one history out of many files, and what has to be mended on disk.
//!
//! In: the log files and the zxid of a snapshot. Out: every txn after the snapshot, or what is missing or damaged.
//!
//! Always true:
//! * the history that is handed on has no gap inside an epoch, and no file between is damaged in its middle;
//! * only what no whole txn follows is cut off, and it is said.
//!
//! Not here: the bytes of a file (`entry`), the choice of a snapshot (`recover`).

use std::path::PathBuf;

use bytes::Bytes;

use super::disk::{Disk, parent};
use super::entry::{self, Entry, HEADER, Scan};
use super::error::Error;
use super::layout::NamedFile;
use super::log::follows;
use crate::base::Zxid;

/// What the log holds after a snapshot.
#[derive(Debug, Default)]
pub(super) struct Replay {
    /// Every txn after the snapshot, ascending.
    pub txns: Vec<(Zxid, Bytes)>,
    /// What has to be done before anything is appended, in order.
    pub mends: Vec<Mend>,
}

/// A repair of the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mend {
    /// The file ends behind its last whole txn.
    Cut(PathBuf, u64),
    /// The file holds no txn.
    Remove(PathBuf),
}

/// The files needed to go on from `base`: the last that may hold its successor, and all later ones.
pub(super) fn logs_for(logs: &[NamedFile], base: Zxid) -> &[NamedFile] {
    let later = logs.partition_point(|log| log.zxid <= base);
    &logs[later.saturating_sub(1)..]
}

/// Reads what follows the snapshot at `base`; `None` reads everything, on an empty tree.
pub(super) fn replay(
    disk: &dyn Disk,
    logs: &[NamedFile],
    base: Option<Zxid>,
    txn_bytes_max: u32,
) -> Result<Replay, Error> {
    let logs = base.map_or(logs, |base| logs_for(logs, base));
    let mut replay = Replay::default();
    let mut walk = Walk { base, last: base.unwrap_or(Zxid::ZERO), seen: None, torn: None };
    let mut tail = None;
    let mut empty = Vec::new();
    for log in logs {
        let bytes = disk.read(&log.path).map_err(Error::io("read", &log.path))?;
        let scan = entry::scan(&log.path, &bytes, txn_bytes_max)?;
        let torn = scan.torn.clone().map(|what| (log.path.clone(), scan.end, what));
        if scan.entries.is_empty() {
            walk.torn = walk.torn.or(torn);
            empty.push(log.path.clone());
            continue;
        }
        take(&mut walk, &mut replay, log, bytes, scan)?;
        walk.torn.clone_from(&torn);
        tail = torn;
        // Files without a txn that are not the last are passed over by every reader.
        empty.clear();
    }
    if let Some((path, end, what)) = tail {
        tracing::warn!(file = %path.display(), offset = end, %what, last = %walk.last, "torn tail is cut off");
        replay.mends.push(Mend::Cut(path, end as u64));
    }
    for path in empty.into_iter().rev() {
        tracing::warn!(file = %path.display(), "removed: it holds no txn");
        replay.mends.push(Mend::Remove(path));
    }
    Ok(replay)
}

/// Performs the repairs, durably.
pub(super) fn mend(disk: &dyn Disk, mends: &[Mend]) -> Result<(), Error> {
    for mend in mends {
        match mend {
            Mend::Cut(path, len) => cut(disk, path, *len)?,
            Mend::Remove(path) => {
                disk.remove(path).map_err(Error::io("remove", path))?;
                let dir = parent(path);
                disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
            }
        }
    }
    Ok(())
}

/// Cuts a file, durably.
pub(super) fn cut(disk: &dyn Disk, path: &std::path::Path, len: u64) -> Result<(), Error> {
    let mut file = disk.open(path).map_err(Error::io("open", path))?;
    file.set_len(len).and_then(|()| file.sync()).map_err(Error::io("cut", path))
}

/// How far a replay has come.
struct Walk {
    base: Option<Zxid>,
    /// The last txn of the history.
    last: Zxid,
    /// The last txn read, be it in the snapshot or after it.
    seen: Option<Zxid>,
    /// What was read last ends torn: file, offset, what.
    torn: Option<(PathBuf, usize, String)>,
}

/// Takes over the txns of one file.
fn take(
    walk: &mut Walk,
    replay: &mut Replay,
    log: &NamedFile,
    mut bytes: Vec<u8>,
    scan: Scan,
) -> Result<(), Error> {
    // The padding would stay in memory as long as one txn of the file.
    bytes.truncate(scan.end.max(HEADER.len().min(bytes.len())));
    bytes.shrink_to_fit();
    let bytes = Bytes::from(bytes);
    for entry in &scan.entries {
        if walk.step(log, entry)? {
            replay.txns.push((entry.zxid, bytes.slice(entry.payload.clone())));
        }
    }
    Ok(())
}

impl Walk {
    /// Whether the entry belongs to the history after the snapshot.
    fn step(&mut self, log: &NamedFile, entry: &Entry) -> Result<bool, Error> {
        let torn = self.torn.take();
        if self.is_repeated_error(entry) {
            tracing::warn!(file = %log.path.display(), zxid = %entry.zxid, "error txn with a used zxid is skipped");
            return Ok(false);
        }
        if self.seen.is_some_and(|seen| entry.zxid <= seen) {
            let what = format!("{} does not come after {}", entry.zxid, self.seen.unwrap_or(Zxid::ZERO));
            return Err(Error::damaged(&log.path, entry.offset, what));
        }
        self.seen = Some(entry.zxid);
        if self.base.is_some_and(|base| entry.zxid <= base) {
            return Ok(false);
        }
        if let Some((path, end, what)) = torn {
            // Apache ZooKeeper never cuts a torn tail, and goes on in a new file. What was lost was not acknowledged
            // if the next txn follows directly; across epochs that cannot be told.
            if entry.zxid != self.last.next() {
                return Err(Error::damaged(&path, end, what));
            }
            tracing::warn!(file = %path.display(), offset = end, %what, "torn tail is passed over: nothing is missing");
        }
        if !follows(self.last, entry.zxid) {
            let (path, offset) = (log.path.clone(), entry.offset as u64);
            return Err(Error::Gap { path, offset, found: entry.zxid, before: self.last });
        }
        self.last = entry.zxid;
        Ok(true)
    }

    /// An Apache ZooKeeper leader gives a request that it cannot decode the zxid that it gave last.
    fn is_repeated_error(&self, entry: &Entry) -> bool {
        let last = self.seen.map_or(self.last, |seen| seen.max(self.last));
        let is_used = entry.zxid == last || (entry.zxid > last && entry.zxid.counter() == 0);
        entry.is_error && is_used
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::layout::list_logs;
    use crate::storage::sim_disk::SimDisk;

    fn txn(zxid: i64, kind: i32) -> Vec<u8> {
        let mut txn = vec![0; 32];
        txn[12..20].copy_from_slice(&zxid.to_be_bytes());
        txn[28..].copy_from_slice(&kind.to_be_bytes());
        txn
    }

    /// A disk whose logs hold these txns and end with these bytes.
    fn disk(files: &[(&[i64], &[u8])]) -> SimDisk {
        let disk = SimDisk::new(1);
        for (zxids, tail) in files {
            let mut bytes = HEADER.to_vec();
            for zxid in *zxids {
                entry::encode(&txn(zxid.abs(), if *zxid < 0 { -1 } else { 1 }), &mut bytes);
            }
            bytes.extend_from_slice(tail);
            disk.put(Path::new(&format!("/log.{:x}", zxids.first().unwrap_or(&0xff))), &bytes);
        }
        disk
    }

    fn read(disk: &SimDisk, base: Option<i64>) -> Result<(Vec<i64>, Vec<Mend>), String> {
        let logs = list_logs(disk, Path::new("/")).unwrap();
        let replay = replay(disk, &logs, base.map(Zxid), 1 << 20).map_err(|err| err.to_string())?;
        Ok((replay.txns.iter().map(|(zxid, _)| zxid.0).collect(), replay.mends))
    }

    #[test]
    fn files_are_one_history() {
        let epoch = 0x1_0000_0000;
        let disk = disk(&[(&[1, 2], b""), (&[3], &[0; 99]), (&[epoch + 1, epoch + 2], b"")]);
        assert_eq!(read(&disk, Some(0)), Ok((vec![1, 2, 3, epoch + 1, epoch + 2], vec![])));
        assert_eq!(read(&disk, None), Ok((vec![1, 2, 3, epoch + 1, epoch + 2], vec![])));
        assert_eq!(read(&disk, Some(2)), Ok((vec![3, epoch + 1, epoch + 2], vec![])));
        assert_eq!(read(&disk, Some(epoch)), Ok((vec![epoch + 1, epoch + 2], vec![])));
        assert_eq!(read(&disk, Some(epoch + 9)), Ok((vec![], vec![])));
    }

    #[test]
    fn gaps_are_refused() {
        let inside = disk(&[(&[1, 2, 4], b"")]);
        let error = read(&inside, Some(0)).unwrap_err();
        assert_eq!(
            error,
            "/log.1 goes on with 0x4 at offset 106, but the txn before it is 0x2: txns are missing"
        );
        assert_eq!(read(&inside, Some(3)).unwrap().0, [4], "a snapshot covers it");
        assert!(read(&disk(&[(&[1, 2], b""), (&[4], b"")]), Some(0)).is_err());
        assert!(read(&disk(&[(&[0x1_0000_0002], b"")]), Some(1)).is_err());
        assert!(read(&disk(&[(&[5], b"")]), None).is_err());
        assert!(
            read(&disk(&[(&[1, 2], b""), (&[2, 3], b"")]), Some(0))
                .unwrap_err()
                .contains("does not come after")
        );
    }

    #[test]
    fn a_repeated_error_is_skipped() {
        assert_eq!(read(&disk(&[(&[1, 2, -2, 3], b"")]), Some(0)).unwrap().0, [1, 2, 3]);
        assert_eq!(read(&disk(&[(&[1, 2, -2, 3], b"")]), Some(2)).unwrap().0, [3]);
        assert!(read(&disk(&[(&[1, 2, 2, 3], b"")]), Some(0)).is_err());
        let epoch = 0x1_0000_0000;
        assert_eq!(read(&disk(&[(&[1, -epoch, epoch + 1], b"")]), Some(0)).unwrap().0, [1, epoch + 1]);
    }

    #[test]
    fn a_torn_tail_is_cut_in_the_last_file_only() {
        let last = disk(&[(&[1, 2], b""), (&[3], b"torn")]);
        let cut = vec![Mend::Cut("/log.3".into(), 16 + 45)];
        assert_eq!(read(&last, Some(0)), Ok((vec![1, 2, 3], cut.clone())));

        let followed = disk(&[(&[1, 2], b"torn"), (&[3], b"")]);
        assert_eq!(read(&followed, Some(0)), Ok((vec![1, 2, 3], vec![])), "nothing is missing");
        let missing = disk(&[(&[1, 2], b"torn"), (&[4], b"")]);
        let error = read(&missing, Some(0)).unwrap_err();
        assert_eq!(error, "/log.1 is damaged at offset 106: the file ends inside an entry");
        assert!(read(&disk(&[(&[1, 2], b"torn"), (&[0x1_0000_0001], b"")]), Some(0)).is_err());
        assert_eq!(read(&missing, Some(3)), Ok((vec![4], vec![])), "a snapshot covers it");

        let empty_after = disk(&[(&[1, 2], b""), (&[3], b"torn"), (&[], b"torn")]);
        let both = vec![cut[0].clone(), Mend::Remove("/log.ff".into())];
        assert_eq!(read(&empty_after, Some(0)), Ok((vec![1, 2, 3], both.clone())));
        mend(&empty_after, &both).unwrap();
        assert_eq!(read(&empty_after, Some(0)), Ok((vec![1, 2, 3], vec![])));
    }
}
