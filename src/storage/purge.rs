//! Which old snapshots and logs may go, and their removal.
//!
//! In: the files that are there, and how many snapshots are kept. Out: the files that went.
//!
//! Always true:
//! * the oldest snapshot that is kept was read whole before anything goes;
//! * every log that is needed to go on from it stays.
//!
//! Not here: when to purge (`server`).

use std::path::PathBuf;

use super::error::Error;
use super::layout::{NamedFile, list_logs, list_snapshots};
use super::replay::logs_for;
use super::snapshot::{self, Snapshots};
use crate::base::Zxid;

/// Fewer snapshots than this are never kept.
const KEPT_MIN: usize = 3;

impl Snapshots {
    /// Removes what is older than the newest `keep` whole snapshots (at least 3), and the logs that none of them
    /// needs; answers what went.
    pub fn purge(&self, keep: usize) -> Result<Vec<PathBuf>, Error> {
        let history = *self.history();
        let Some(oldest_kept) = self.oldest_kept(keep.max(KEPT_MIN))? else { return Ok(Vec::new()) };
        let guard = self.history();
        if *guard != history {
            return Err(Error::Outdated { zxid: oldest_kept });
        }
        let gone = self.older_than(oldest_kept)?;
        for path in &gone {
            self.disk.remove(path).map_err(Error::io("remove", path))?;
        }
        Ok(gone)
    }

    /// What [`purge`](Self::purge) would remove.
    pub(super) fn purgeable(&self, keep: usize) -> Result<Vec<PathBuf>, Error> {
        match self.oldest_kept(keep.max(KEPT_MIN))? {
            Some(oldest_kept) => self.older_than(oldest_kept),
            None => Ok(Vec::new()),
        }
    }

    fn older_than(&self, oldest_kept: Zxid) -> Result<Vec<PathBuf>, Error> {
        let snapshots = list_snapshots(&*self.disk, &self.dir)?;
        let logs = list_logs(&*self.disk, &self.log_dir)?;
        Ok(may_go(&snapshots, &logs, oldest_kept))
    }

    /// The oldest of the newest `keep` snapshots that are whole; `None` if there are fewer.
    fn oldest_kept(&self, keep: usize) -> Result<Option<Zxid>, Error> {
        let snapshots = list_snapshots(&*self.disk, &self.dir)?;
        let mut whole = 0;
        let mut last = None;
        for file in snapshots.iter().rev() {
            // One snapshot may be there in several forms, after the setting changed.
            if last != Some(file.zxid) && self.is_whole(file)? {
                whole += 1;
                last = Some(file.zxid);
            }
            if whole == keep {
                return Ok(Some(file.zxid));
            }
        }
        Ok(None)
    }

    fn is_whole(&self, file: &NamedFile) -> Result<bool, Error> {
        match snapshot::check_file(&*self.disk, file)? {
            Ok(_) => Ok(true),
            Err(fault) => {
                tracing::warn!(file = %file.path.display(), %fault, "snapshot is not whole and does not count");
                Ok(false)
            }
        }
    }
}

/// What nobody needs who goes on from the snapshot at `oldest_kept` or a later one; the oldest first.
fn may_go(snapshots: &[NamedFile], logs: &[NamedFile], oldest_kept: Zxid) -> Vec<PathBuf> {
    let needed = logs_for(logs, oldest_kept).len();
    let old_snapshots = snapshots.iter().filter(|file| file.zxid < oldest_kept);
    let old_logs = &logs[..logs.len() - needed];
    old_snapshots.chain(old_logs).map(|file| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::base::Compression;
    use crate::storage::sim_disk::SimDisk;

    const EMPTY: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'/'];

    fn named(kind: &str, zxids: &[i64]) -> Vec<NamedFile> {
        let file = |zxid: &i64| NamedFile {
            zxid: Zxid(*zxid),
            path: PathBuf::from(format!("{kind}.{zxid:x}")),
            bytes: 0,
            compression: Compression::None,
        };
        zxids.iter().map(file).collect()
    }

    #[test]
    fn the_log_before_the_oldest_kept_snapshot_stays() {
        let (snapshots, logs) = (named("snapshot", &[0, 4, 8, 12]), named("log", &[1, 3, 6, 9]));
        let gone = |kept| {
            let paths = may_go(&snapshots, &logs, Zxid(kept));
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(gone(0), "");
        assert_eq!(gone(4), "snapshot.0 log.1");
        assert_eq!(gone(8), "snapshot.0 snapshot.4 log.1 log.3");
        assert_eq!(gone(12), "snapshot.0 snapshot.4 snapshot.8 log.1 log.3 log.6");
    }

    #[test]
    fn broken_snapshots_do_not_count() {
        let disk = SimDisk::new(1);
        let dir = PathBuf::from("/");
        let snapshots = Snapshots::new(Arc::new(disk.clone()), dir.clone(), dir, Compression::Gzip);
        for zxid in 0..6 {
            snapshots.write(Zxid(zxid), 1, |out| out.write_all(EMPTY)).unwrap();
        }
        disk.flip_bit(Path::new("/snapshot.3.gz"), 40, 1);
        let gone = snapshots.purge(1).unwrap();
        assert_eq!(gone, [PathBuf::from("/snapshot.0.gz"), PathBuf::from("/snapshot.1.gz")]);
        disk.flip_bit(Path::new("/snapshot.2.gz"), 40, 1);
        assert_eq!(snapshots.purge(3).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_snapshot_in_two_forms_counts_once() {
        let disk = SimDisk::new(1);
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            let snapshots =
                Snapshots::new(Arc::new(disk.clone()), PathBuf::from("/"), PathBuf::from("/"), compression);
            for zxid in 3..5 {
                snapshots.write(Zxid(zxid), 1, |out| out.write_all(EMPTY)).unwrap();
            }
            assert_eq!(snapshots.purge(3).unwrap(), Vec::<PathBuf>::new());
        }
        let snapshots =
            Snapshots::new(Arc::new(disk.clone()), PathBuf::from("/"), PathBuf::from("/"), Compression::None);
        for zxid in 5..7 {
            snapshots.write(Zxid(zxid), 1, |out| out.write_all(EMPTY)).unwrap();
        }
        assert_eq!(snapshots.purge(3).unwrap().len(), 3, "every form of the oldest");
    }
}
