//! Why storage could not be used: each error names the file, and says what was expected of it.
//!
//! In: failures of the disk, and files that cannot be what a server left. Out: [`Error`].
//!
//! Always true:
//! * a server that gets one ends: what is on disk is either used whole or not at all.
//!
//! Not here: what is odd but harmless, which is logged where it is found.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::Zxid;

/// Why storage could not be used. The process ends with this message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// Another process holds the directory.
    #[error("{} is locked: another process uses this directory", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// A directory is missing, and settings forbid to create it.
    #[error("{} does not exist, and datadir.autocreate is false", path.display())]
    MissingDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A file holds bytes that no server left there.
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found, and what was expected.
        what: String,
    },
    /// Txns are missing.
    #[error("{} goes on with {found} at offset {offset}, but the txn before it is {before}: txns are missing", path.display())]
    Gap {
        /// The log file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// The txn found.
        found: Zxid,
        /// The last one before it.
        before: Zxid,
    },
    /// Snapshot files exist, but none can be used.
    #[error("none of the {count} snapshots in {} can be used; the newest, {newest}: {what}", dir.display())]
    NoSnapshot {
        /// The directory.
        dir: PathBuf,
        /// How many files there are.
        count: usize,
        /// Name of the newest.
        newest: String,
        /// What is wrong with the newest.
        what: String,
    },
    /// There are txns but nothing that they rest on.
    #[error(
        "no snapshot in {} for the txns in {}: restore a snapshot, or set snapshot.trust.empty=true for one start \
         if the data comes from a server that never wrote one",
        data.display(),
        log.display()
    )]
    LogWithoutSnapshot {
        /// Directory of the snapshots.
        data: PathBuf,
        /// Directory of the log.
        log: PathBuf,
    },
    /// A file of the other kind: `dataDir` or `dataLogDir` was changed.
    #[error("{} belongs into {}: were dataDir and dataLogDir changed?", path.display(), expected.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The directory for files of its kind.
        expected: PathBuf,
    },
    /// A small file (epoch, marker, dynamic configuration) does not hold what it must.
    #[error("{} holds {found:?}, expected {expected}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What stands there, at most its first 64 characters.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A write that contradicts the history on disk; nothing was changed.
    #[error("{write} contradicts the history on disk, which {history}")]
    Contradiction {
        /// The write in words.
        write: String,
        /// The history in words.
        history: String,
    },
    /// An order of a person that would do harm; nothing was changed.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The file or directory that stands in the way.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A snapshot was not published, since the history was replaced or cut while it was written.
    #[error("snapshot {zxid} is dropped: the history was replaced while it was written")]
    Outdated {
        /// The snapshot.
        zxid: Zxid,
    },
}

impl Error {
    /// Wraps the system's answer: `.map_err(Error::io("sync", path))`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { doing, path, source: Arc::new(source) }
    }

    /// Whether a file system, or what may be used of it, is full.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// An order that is not carried out.
    pub(super) fn refused(path: &Path, why: impl Into<String>) -> Error {
        Error::Refused { path: path.to_owned(), why: why.into() }
    }

    /// Bytes at `offset` of `path` that no server left there.
    pub(super) fn damaged(path: &Path, offset: usize, what: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), offset: offset as u64, what: what.into() }
    }
}
