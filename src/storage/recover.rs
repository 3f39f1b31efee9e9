//! A start: files become one history, or a clear refusal.
//!
//! In: directories as a server, an operator or a crash left them. Out: [`Recovered`], and files mended so that
//! appending may begin.
//!
//! Always true:
//! * nothing is changed on disk before a usable history was found, but for what a marker orders;
//! * a snapshot is used only if it is whole and the log holds everything that its nodes may show.
//!
//! Not here: reading one kind of file (`snapshot`, `replay`, `epochs`, `ensemble`).

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::disk::{Disk, exists, remove_file};
use super::error::Error;
use super::layout::{Layout, NamedFile, create_dirs, list_logs, list_snapshots};
use super::replay::{Replay, mend, replay};
use super::snapshot::{self, BODY_START, Head, Sections, Snapshots, TMP_PREFIX, write_file};
use super::store::Options;
use super::{ensemble, epochs, rewrite};
use crate::base::{Recovered, RecoveredSnapshot, Zxid};

/// The history that was found.
pub(super) struct History {
    /// `None` on a disk that has none.
    pub snapshot: Option<RecoveredSnapshot>,
    /// What the log holds after it.
    pub replay: Replay,
    /// Whether the disk may vote.
    pub may_vote: bool,
    /// Newer snapshots that cannot be used, and why.
    pub passed_over: Vec<(PathBuf, String)>,
}

/// Creates what is missing of the directories, and refuses files that stand in the wrong one.
pub(super) fn prepare_dirs(disk: &dyn Disk, layout: &Layout, options: &Options) -> Result<(), Error> {
    let (snapshots, logs) = (layout.snapshots(), layout.logs());
    for dir in [&snapshots, &logs] {
        if !disk.dir_exists(dir) && !options.dir_autocreate {
            return Err(Error::MissingDirectory { path: dir.clone() });
        }
        create_dirs(disk, dir)?;
    }
    if snapshots != logs {
        refuse_misplaced(disk, &snapshots, "log.", &logs)?;
        refuse_misplaced(disk, &logs, "snapshot.", &snapshots)?;
    }
    Ok(())
}

/// Reads everything. The directories must be locked.
pub(super) fn recover(
    snapshots: &Snapshots,
    layout: &Layout,
    options: &Options,
    empty_body: Bytes,
) -> Result<Recovered, Error> {
    let disk = &*snapshots.disk;
    rewrite::complete(disk, layout, options.txn_bytes_max)?;
    let mut history = find_history(disk, layout, options)?;
    mend(disk, &history.replay.mends)?;
    remove_leftovers(disk, layout)?;
    let is_empty = history.snapshot.is_none() && history.replay.txns.is_empty();
    if is_empty && history.may_vote {
        history.snapshot = Some(first_snapshot(snapshots, empty_body)?);
    }
    let initialize = layout.initialize();
    remove_file(disk, &initialize).map_err(Error::io("remove", &initialize))?;

    let mut recovered = Recovered {
        snapshot: history.snapshot,
        txns: history.replay.txns,
        may_vote: history.may_vote,
        ..Recovered::default()
    };
    recovered.epochs = epochs::load(disk, &layout.snapshots(), recovered.last_zxid())?;
    (recovered.ensemble_current, recovered.ensemble_proposed) = ensemble::load(disk, layout)?;
    Ok(recovered)
}

fn refuse_misplaced(disk: &dyn Disk, dir: &Path, prefix: &str, expected: &Path) -> Result<(), Error> {
    let entries = disk.list(dir).map_err(Error::io("list", dir))?;
    match entries.into_iter().find(|entry| entry.name.starts_with(prefix)) {
        Some(entry) => Err(Error::Misplaced { path: dir.join(entry.name), expected: expected.to_owned() }),
        None => Ok(()),
    }
}

/// Reads snapshots and log, and changes nothing.
pub(super) fn find_history(disk: &dyn Disk, layout: &Layout, options: &Options) -> Result<History, Error> {
    let dir = layout.snapshots();
    let (files, logs) = (list_snapshots(disk, &dir)?, list_logs(disk, &layout.logs())?);
    let mut passed_over = Vec::new();
    for file in files.iter().rev() {
        match try_snapshot(disk, file, &logs, options.txn_bytes_max)? {
            Ok((snapshot, replay)) => {
                return Ok(History { snapshot: Some(snapshot), replay, may_vote: true, passed_over });
            }
            Err(what) => {
                tracing::warn!(file = %file.path.display(), %what, "snapshot cannot be used");
                passed_over.push((file.path.clone(), what));
            }
        }
    }
    if let Some((path, what)) = passed_over.into_iter().next() {
        let newest = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Error::NoSnapshot { dir, count: files.len(), newest, what });
    }
    let passed_over = Vec::new();
    let replay = replay(disk, &logs, None, options.txn_bytes_max)?;
    if !replay.txns.is_empty() {
        if !options.trust_empty {
            return Err(Error::LogWithoutSnapshot { data: dir, log: layout.logs() });
        }
        tracing::warn!("the log is replayed on an empty tree, since snapshot.trust.empty is set");
        return Ok(History { snapshot: None, replay, may_vote: true, passed_over });
    }
    let initialize = layout.initialize();
    let intended = exists(disk, &initialize).map_err(Error::io("read", &initialize))?;
    let may_vote = intended || options.db_autocreate;
    if !may_vote {
        tracing::warn!(file = %initialize.display(), "empty and not stated to be intended: no vote without a leader's data");
    }
    Ok(History { snapshot: None, replay, may_vote, passed_over })
}

/// The history on this snapshot, or why it is not usable. An error is a log that no start may use.
fn try_snapshot(
    disk: &dyn Disk,
    file: &NamedFile,
    logs: &[NamedFile],
    txn_bytes_max: u32,
) -> Result<Result<(RecoveredSnapshot, Replay), String>, Error> {
    let (content, sections) = match snapshot::read_file(disk, file)? {
        Ok(read) => read,
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    let replay = replay(disk, logs, Some(file.zxid), txn_bytes_max)?;
    let end = replay.txns.last().map_or(file.zxid, |(zxid, _)| *zxid);
    if let Some(needed) = last_shown(&sections).filter(|needed| *needed > end) {
        return Ok(Err(format!("it may show effects up to {needed}, but the log ends with {end}")));
    }
    let body_end = usize::try_from(sections.body_end).expect("the body is part of bytes in memory");
    let body = Bytes::from(content).slice(BODY_START..body_end);
    let snapshot = RecoveredSnapshot { zxid: file.zxid, body, digest: sections.digest };
    Ok(Ok((snapshot, replay)))
}

/// The last txn of which the nodes may hold effects. A zxid that only begins an epoch is no txn.
fn last_shown(sections: &Sections) -> Option<Zxid> {
    let of_digest = sections.digest.map(|(zxid, _)| zxid);
    sections.last_processed.max(of_digest).filter(|zxid| zxid.counter() != 0)
}

/// Writes `snapshot.0` as Apache ZooKeeper does on an empty disk.
fn first_snapshot(snapshots: &Snapshots, body: Bytes) -> Result<RecoveredSnapshot, Error> {
    let disk = &*snapshots.disk;
    let tmp = snapshots.dir.join(format!("{TMP_PREFIX}0.tmp"));
    let head = Head { zxid: Zxid::ZERO, digest: 0, compression: snapshots.compression };
    write_file(disk, &tmp, head, |out| out.write_all(&body))?;
    snapshots.publish(&tmp, Zxid::ZERO)?;
    Ok(RecoveredSnapshot { zxid: Zxid::ZERO, body, digest: None })
}

/// Removes what interrupted writes left. That they are gone need not be durable.
fn remove_leftovers(disk: &dyn Disk, layout: &Layout) -> Result<(), Error> {
    let dir = layout.snapshots();
    let entries = disk.list(&dir).map_err(Error::io("list", &dir))?;
    let unfinished = entries.iter().filter(|entry| entry.name.starts_with(TMP_PREFIX));
    let unfinished = unfinished.map(|entry| dir.join(&entry.name));
    for path in unfinished.chain(epochs::leftovers(&dir)) {
        if exists(disk, &path).map_err(Error::io("read", &path))? {
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
