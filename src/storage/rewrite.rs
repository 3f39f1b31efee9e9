//! Cuts or replaces the history, so that a crash half way is made good by the next start.
//!
//! In: where to cut, or a snapshot that replaces everything. Out: files of one history, durable.
//!
//! Always true:
//! * a marker is durable before the first file changes, and goes only when all have;
//! * what the marker asks for may be done any number of times.
//!
//! Not here: whether a leader may ask for it (`zab`).

use std::path::{Path, PathBuf};

use super::compress::{split_suffix, suffix};
use super::disk::{Disk, exists, read_file, remove_file, replace_file};
use super::entry;
use super::epochs::shown;
use super::error::Error;
use super::layout::{Layout, NamedFile, list_logs, list_snapshots, snapshot_path};
use super::replay::{cut, logs_for};
use super::snapshot::{Head, Snapshots, write_file};
use crate::base::{Compression, Zxid};

/// The name, in the directory of snapshots, of one that is going to replace the history.
const REPLACEMENT: &str = "quorate-replacement.tmp";

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    /// Everything above this zxid goes.
    Truncate(Zxid),
    /// The snapshot at this zxid, in this form, is the whole history; everything else goes.
    Replace(Zxid, Compression),
}

/// Cuts everything above `zxid`. The log must be rolled.
pub(super) fn truncate(
    snapshots: &Snapshots,
    layout: &Layout,
    zxid: Zxid,
    txn_bytes_max: u32,
) -> Result<(), Error> {
    let disk = &*snapshots.disk;
    let mut history = snapshots.history();
    check_target(disk, layout, zxid, txn_bytes_max)?;
    begin(disk, layout, Marker::Truncate(zxid))?;
    *history += 1;
    redo_truncate(disk, layout, zxid, txn_bytes_max)?;
    end(disk, layout)
}

/// Puts a snapshot in place of everything. The log must be rolled.
pub(super) fn replace(
    snapshots: &Snapshots,
    layout: &Layout,
    zxid: Zxid,
    digest: u64,
    body: &[u8],
) -> Result<(), Error> {
    let disk = &*snapshots.disk;
    let mut history = snapshots.history();
    let dir = layout.snapshots();
    let compression = snapshots.compression;
    write_file(disk, &dir.join(REPLACEMENT), Head { zxid, digest, compression }, |out| out.write_all(body))?;
    disk.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
    begin(disk, layout, Marker::Replace(zxid, compression))?;
    *history += 1;
    redo_replace(disk, layout, zxid, compression)?;
    end(disk, layout)
}

/// Completes what a crash interrupted, and removes what it left.
pub(super) fn complete(disk: &dyn Disk, layout: &Layout, txn_bytes_max: u32) -> Result<(), Error> {
    let marker = layout.marker();
    if let Some(bytes) = read_file(disk, &marker).map_err(Error::io("read", &marker))? {
        let found = parse(&bytes).ok_or_else(|| Error::Content {
            path: marker.clone(),
            found: shown(&bytes),
            expected: "\"truncate\" or \"replace\", and a zxid",
        })?;
        tracing::warn!(marker = ?found, "an interrupted change of the history is completed");
        match found {
            Marker::Truncate(zxid) => redo_truncate(disk, layout, zxid, txn_bytes_max)?,
            Marker::Replace(zxid, compression) => redo_replace(disk, layout, zxid, compression)?,
        }
        end(disk, layout)?;
    }
    let replacement = layout.snapshots().join(REPLACEMENT);
    remove_file(disk, &replacement).map_err(Error::io("remove", &replacement))
}

fn begin(disk: &dyn Disk, layout: &Layout, marker: Marker) -> Result<(), Error> {
    let path = layout.marker();
    let text = match marker {
        Marker::Truncate(zxid) => format!("truncate {:x}\n", zxid.0),
        Marker::Replace(zxid, compression) => format!("replace {:x}{}\n", zxid.0, suffix(compression)),
    };
    replace_file(disk, &path, text.as_bytes()).map_err(Error::io("write", &path))
}

fn end(disk: &dyn Disk, layout: &Layout) -> Result<(), Error> {
    let path = layout.marker();
    remove_file(disk, &path).map_err(Error::io("remove", &path))
}

fn parse(bytes: &[u8]) -> Option<Marker> {
    let (word, name) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split_once(' ')?;
    let (hex, compression) = split_suffix(name);
    let zxid = Zxid(i64::from_str_radix(hex, 16).ok()?);
    match (word, compression) {
        ("truncate", Compression::None) => Some(Marker::Truncate(zxid)),
        ("replace", compression) => Some(Marker::Replace(zxid, compression)),
        _ => None,
    }
}

/// The history can only be cut to a txn that it holds, or to a snapshot.
fn check_target(disk: &dyn Disk, layout: &Layout, zxid: Zxid, txn_bytes_max: u32) -> Result<(), Error> {
    let snapshots = list_snapshots(disk, &layout.snapshots())?;
    let is_snapshot = snapshots.iter().any(|snapshot| snapshot.zxid == zxid);
    let rests = snapshots.iter().any(|snapshot| snapshot.zxid <= zxid);
    let logs = list_logs(disk, &layout.logs())?;
    if rests
        && (is_snapshot
            || end_of(disk, last_log(&logs, zxid), zxid, txn_bytes_max)?.is_some_and(|it| it.held))
    {
        return Ok(());
    }
    let history = "holds neither such a txn nor such a snapshot".to_owned();
    Err(Error::Contradiction { write: format!("a cut to {zxid}"), history })
}

/// Where a file has to end so that nothing above a zxid is left.
struct End {
    path: PathBuf,
    bytes: u64,
    /// Whether the txn itself is in the file.
    held: bool,
}

/// The only log in which txns up to and above `zxid` can stand together.
fn last_log(logs: &[NamedFile], zxid: Zxid) -> Option<&NamedFile> {
    logs_for(logs, zxid).first().filter(|log| log.zxid <= zxid)
}

fn end_of(
    disk: &dyn Disk,
    log: Option<&NamedFile>,
    zxid: Zxid,
    txn_bytes_max: u32,
) -> Result<Option<End>, Error> {
    let Some(log) = log else { return Ok(None) };
    let bytes = disk.read(&log.path).map_err(Error::io("read", &log.path))?;
    let scan = entry::scan(&log.path, &bytes, txn_bytes_max)?;
    let kept = scan.entries.iter().rfind(|entry| entry.zxid <= zxid);
    let end = kept.map_or(entry::HEADER.len(), |entry| entry.payload.end + 1);
    let held = kept.is_some_and(|entry| entry.zxid == zxid);
    Ok(Some(End { path: log.path.clone(), bytes: end as u64, held }))
}

fn redo_truncate(disk: &dyn Disk, layout: &Layout, zxid: Zxid, txn_bytes_max: u32) -> Result<(), Error> {
    let snapshots = list_snapshots(disk, &layout.snapshots())?;
    remove_all(disk, &layout.snapshots(), snapshots.iter().filter(|file| file.zxid > zxid))?;
    let logs = list_logs(disk, &layout.logs())?;
    remove_all(disk, &layout.logs(), logs.iter().filter(|file| file.zxid > zxid))?;
    match end_of(disk, last_log(&logs, zxid), zxid, txn_bytes_max)? {
        Some(end) => cut(disk, &end.path, end.bytes),
        None => Ok(()),
    }
}

fn redo_replace(disk: &dyn Disk, layout: &Layout, zxid: Zxid, compression: Compression) -> Result<(), Error> {
    let dir = layout.snapshots();
    let (replacement, path) = (dir.join(REPLACEMENT), snapshot_path(&dir, zxid, compression));
    if exists(disk, &replacement).map_err(Error::io("read", &replacement))? {
        // Made durable with the removals below; until then the marker stands.
        disk.rename(&replacement, &path).map_err(Error::io("create", &path))?;
    }
    disk.reader(&path).map_err(Error::io("read", &path))?;
    remove_all(disk, &layout.logs(), list_logs(disk, &layout.logs())?.iter())?;
    let snapshots = list_snapshots(disk, &dir)?;
    remove_all(disk, &dir, snapshots.iter().filter(|file| file.path != path))
}

/// Removes files, the newest first, durably.
fn remove_all<'a>(
    disk: &dyn Disk,
    dir: &Path,
    files: impl DoubleEndedIterator<Item = &'a NamedFile>,
) -> Result<(), Error> {
    for file in files.rev() {
        disk.remove(&file.path).map_err(Error::io("remove", &file.path))?;
    }
    disk.sync_dir(dir).map_err(Error::io("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_exactly() {
        assert_eq!(parse(b"truncate 1f\n"), Some(Marker::Truncate(Zxid(0x1f))));
        assert_eq!(parse(b"replace 0\n"), Some(Marker::Replace(Zxid(0), Compression::None)));
        assert_eq!(parse(b"replace a.gz\n"), Some(Marker::Replace(Zxid(10), Compression::Gzip)));
        assert_eq!(parse(b"truncate a.gz\n"), None);
        for bytes in [&b"truncate 1f"[..], b"", b"cut 1\n", b"replace \n", b"replace x\n", b"\xff 1\n"] {
            assert_eq!(parse(bytes), None);
        }
    }
}
