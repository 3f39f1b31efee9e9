//! Where things stand in a server's directories, and which files are meant by their names.
//!
//! In: directories, and the names found in them. Out: paths, snapshots and logs by zxid.
//!
//! Always true:
//! * exactly `log.<hex>` and `snapshot.<hex>[.gz|.snappy]` count; what only looks like them is warned about and left alone.
//!
//! Not here: what stands in the files.

use std::io;
use std::path::{Path, PathBuf};

use super::compress::{split_suffix, suffix};
use super::disk::{Disk, parent};
use super::error::Error;
use crate::base::{Compression, ServerId, Zxid};

/// The directory, below `dataDir` and `dataLogDir`, whose format this is.
const VERSION_DIR: &str = "version-2";

/// Where a server keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `dataDir`: snapshots and epochs.
    pub data_dir: PathBuf,
    /// `dataLogDir`: the log; the same as `data_dir` unless set.
    pub log_dir: PathBuf,
    /// Where the membership is stored.
    pub ensemble: EnsembleFiles,
}

/// Where the membership is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleFiles {
    /// The server that owns the directories: its line decides whether client ports stay in the static file.
    pub me: ServerId,
    /// The `zoo.cfg` that the server was started with, as an absolute path; `None` if there is none.
    pub static_file: Option<PathBuf>,
    /// What its `dynamicConfigFile` names; `None` if it does not.
    pub dynamic_file: Option<PathBuf>,
}

/// A file that is named after a zxid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamedFile {
    /// The zxid in the name.
    pub zxid: Zxid,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// How it is compressed, as its suffix says.
    pub compression: Compression,
}

impl Layout {
    /// Everything below one directory, and no `zoo.cfg`.
    pub fn in_dir(dir: &Path, me: ServerId) -> Layout {
        let ensemble = EnsembleFiles { me, static_file: None, dynamic_file: None };
        Layout { data_dir: dir.to_owned(), log_dir: dir.to_owned(), ensemble }
    }

    /// The directory of snapshots and epochs.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.data_dir.join(VERSION_DIR)
    }

    /// The directory of logs.
    pub(super) fn logs(&self) -> PathBuf {
        self.log_dir.join(VERSION_DIR)
    }

    /// The files that are locked, outside of what Apache ZooKeeper reads.
    pub(super) fn locks(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.data_dir.join("quorate.lock")];
        if self.log_dir != self.data_dir {
            dirs.push(self.log_dir.join("quorate.lock"));
        }
        dirs
    }

    /// The file by which an operator states that an empty disk is intended.
    pub(super) fn initialize(&self) -> PathBuf {
        self.log_dir.join("initialize")
    }

    /// The marker of a cut or replacement that is under way.
    pub(super) fn marker(&self) -> PathBuf {
        self.logs().join("quorate-marker")
    }
}

/// The path of the snapshot at `zxid`.
pub(super) fn snapshot_path(dir: &Path, zxid: Zxid, compression: Compression) -> PathBuf {
    dir.join(format!("snapshot.{:x}{}", zxid.0, suffix(compression)))
}

/// The path of the log that begins with `zxid`.
pub(super) fn log_path(dir: &Path, zxid: Zxid) -> PathBuf {
    dir.join(format!("log.{:x}", zxid.0))
}

/// The snapshots of a directory, oldest first.
pub(super) fn list_snapshots(disk: &dyn Disk, dir: &Path) -> Result<Vec<NamedFile>, Error> {
    list_named(disk, dir, "snapshot.")
}

/// The logs of a directory, oldest first.
pub(super) fn list_logs(disk: &dyn Disk, dir: &Path) -> Result<Vec<NamedFile>, Error> {
    let mut logs = list_named(disk, dir, "log.")?;
    logs.retain(|log| log.compression == Compression::None);
    Ok(logs)
}

/// Creates a directory and what is missing above it, durably.
pub(super) fn create_dirs(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !disk.dir_exists(dir)).collect();
    for dir in missing.into_iter().rev() {
        match disk.create_dir(dir) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            done => done.map_err(Error::io("create", dir))?,
        }
        disk.sync_dir(parent(dir)).map_err(Error::io("sync", parent(dir)))?;
    }
    Ok(())
}

fn list_named(disk: &dyn Disk, dir: &Path, prefix: &str) -> Result<Vec<NamedFile>, Error> {
    let mut files = Vec::new();
    for entry in disk.list(dir).map_err(Error::io("list", dir))? {
        let Some(rest) = entry.name.strip_prefix(prefix) else { continue };
        let path = dir.join(&entry.name);
        let (hex, compression) = split_suffix(rest);
        match parse_hex(hex) {
            Some(zxid) => files.push(NamedFile { zxid, path, bytes: entry.bytes, compression }),
            None => tracing::warn!(file = %path.display(), "not used: the name is not one of ZooKeeper's"),
        }
    }
    files.sort();
    Ok(files)
}

/// The zxid in a file's name without its suffix; `None` if the name is not one of ZooKeeper's.
pub(super) fn zxid_in_name(name: &str, prefix: &str) -> Option<Zxid> {
    name.strip_prefix(prefix).and_then(parse_hex)
}

/// A zxid as it stands in a file name: lower case hex, no prefix, no padding.
fn parse_hex(hex: &str) -> Option<Zxid> {
    let zxid = Zxid(i64::from_str_radix(hex, 16).ok()?);
    (zxid.0 >= 0 && format!("{:x}", zxid.0) == hex).then_some(zxid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::SimDisk;

    #[test]
    fn only_exact_names_count() {
        let disk = SimDisk::new(1);
        for name in ["log.a", "log.0a", "log.A", "log.1.bak", "log.", "log.-1", "log.2.gz", "snapshot.9"] {
            disk.put(&Path::new("/d").join(name), b"");
        }
        let logs = list_logs(&disk, Path::new("/d")).unwrap();
        let names: Vec<_> = logs.iter().map(|log| log.path.to_str().unwrap()).collect();
        assert_eq!(names, ["/d/log.a"]);

        disk.put(Path::new("/d/snapshot.100000000.gz"), b"");
        disk.put(Path::new("/d/snapshot.5.tmp"), b"");
        let found = list_snapshots(&disk, Path::new("/d")).unwrap();
        let found: Vec<_> = found.iter().map(|file| (file.zxid.0, file.compression)).collect();
        assert_eq!(found, [(9, Compression::None), (0x1_0000_0000, Compression::Gzip)]);
    }

    #[test]
    fn directories_are_created_from_above() {
        let disk = SimDisk::new(1);
        create_dirs(&disk, Path::new("/a/b/c")).unwrap();
        create_dirs(&disk, Path::new("/a/b/c")).unwrap();
        disk.crash();
        assert!(disk.dir_exists(Path::new("/a/b/c")));
    }
}
