//! A server's files as one thing: opened once, then given writes in order.
//!
//! In: [`Write`]s with their numbers. Out: the number of the last one that is durable.
//!
//! Always true:
//! * writes become durable in the order given; the appends of a batch share one sync;
//! * after an error nothing is written any more: every later call answers the same error;
//! * the directories are locked as long as the store lives.
//!
//! Not here: batching (`writer`), snapshots beside the log (`snapshot`).

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::{Disk, DiskLock};
use super::error::Error;
use super::layout::Layout;
use super::log::Log;
use super::recover::{prepare_dirs, recover};
use super::room::{RoomReport, RoomWatch};
use super::snapshot::Snapshots;
use super::{ensemble, epochs, rewrite};
use crate::base::{Compression, Epochs, Recovered, Write, WriteSeq};

/// How files are written and judged. The defaults are Apache ZooKeeper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `preAllocSize`: bytes by which a log file is lengthened ahead of time; 0 for none.
    pub prealloc_bytes: u64,
    /// `forceSync`: whether the log is synced at all. Without it a crash of the machine loses acknowledged writes.
    pub force_sync: bool,
    /// `txnLogSizeLimitInKb`: a log file longer than this is followed by another; `None` for no limit.
    pub log_bytes_max: Option<u64>,
    /// The longest txn that is written, or believed when read: twice `jute.maxbuffer`.
    pub txn_bytes_max: u32,
    /// `snapshot.trust.empty`: a log without any snapshot is replayed on an empty tree.
    pub trust_empty: bool,
    /// `db.autocreate`: an empty disk may vote although nobody stated that it is meant to be empty.
    pub db_autocreate: bool,
    /// `datadir.autocreate`: missing directories are created.
    pub dir_autocreate: bool,
    /// `snapshot.compression.method`: how snapshots are written; every kind is read.
    pub compression: Compression,
    /// `quorate.diskReserveInKb`: bytes that are kept free for what was accepted already; 0 for none.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            prealloc_bytes: 65_536 * 1_024,
            force_sync: true,
            log_bytes_max: None,
            txn_bytes_max: 2 * 0xfffff,
            trust_empty: false,
            db_autocreate: true,
            dir_autocreate: true,
            compression: Compression::None,
            reserve_bytes: 64 << 20,
        }
    }
}

/// Everything that a server keeps on disk.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    options: Options,
    snapshots: Snapshots,
    log: Log,
    epochs: Epochs,
    durable: WriteSeq,
    room: RoomWatch,
    broken: Option<Error>,
    _locks: Vec<Box<dyn DiskLock>>,
}

impl Store {
    /// Locks the directories, and reads what is there. `empty_body` is the snapshot body of the empty tree, which an
    /// empty disk that may vote gets.
    pub fn open(
        disk: Arc<dyn Disk>,
        layout: Layout,
        options: Options,
        empty_body: Bytes,
    ) -> Result<(Store, Recovered), Error> {
        prepare_dirs(&*disk, &layout, &options)?;
        let locks = lock(&*disk, &layout)?;
        let snapshots = Snapshots::new(disk.clone(), layout.snapshots(), layout.logs(), options.compression)
            .with_reserve(options.reserve_bytes);
        let recovered = recover(&snapshots, &layout, &options, empty_body)?;
        let log = Log::new(disk, layout.logs(), options.clone(), recovered.last_zxid());
        let mut dirs = vec![layout.snapshots(), layout.logs()];
        dirs.dedup();
        let room = RoomWatch::new(snapshots.disk.clone(), dirs, options.reserve_bytes);
        let store = Store {
            layout,
            options,
            snapshots,
            log,
            epochs: recovered.epochs,
            durable: WriteSeq(0),
            room,
            broken: None,
            _locks: locks,
        };
        Ok((store, recovered))
    }

    /// Performs writes in order, and answers the last one that is durable: the last of the batch, or, for an empty
    /// batch, of the one before. `WriteSeq(0)` if there was none. An error is final.
    pub fn perform(&mut self, batch: &[(WriteSeq, Write)]) -> Result<WriteSeq, Error> {
        self.unless_broken(|store| {
            for (_, write) in batch {
                store.perform_one(write)?;
            }
            store.log.sync()?;
            store.durable = batch.last().map_or(store.durable, |(seq, _)| *seq);
            Ok(store.durable)
        })
    }

    /// Ends the log file, so that the next append begins a new one, as before a snapshot is taken. An error is final.
    pub fn roll(&mut self) -> Result<(), Error> {
        self.unless_broken(|store| store.log.roll())
    }

    /// Looks how much room is left.
    pub fn room(&mut self) -> Result<RoomReport, Error> {
        self.room.look()
    }

    /// What writes and purges snapshots beside the log, in any thread.
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    fn unless_broken<T>(&mut self, act: impl FnOnce(&mut Store) -> Result<T, Error>) -> Result<T, Error> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let done = act(self);
        self.broken = done.as_ref().err().cloned();
        done
    }

    /// Begins a write; only an append is not durable when it returns.
    fn perform_one(&mut self, write: &Write) -> Result<(), Error> {
        let disk = &*self.snapshots.disk;
        let txn_bytes_max = self.options.txn_bytes_max;
        match write {
            Write::Append { zxid, txn } => self.log.append(*zxid, txn)?,
            Write::Epochs(new) => {
                self.log.sync()?;
                epochs::store(disk, &self.layout.snapshots(), self.epochs, *new)?;
                self.epochs = *new;
            }
            Write::Truncate(zxid) => {
                if *zxid != self.log.last() {
                    self.log.roll()?;
                    rewrite::truncate(&self.snapshots, &self.layout, *zxid, txn_bytes_max)?;
                    self.log.reset(*zxid);
                }
            }
            Write::Replace { zxid, body, digest } => {
                self.log.roll()?;
                rewrite::replace(&self.snapshots, &self.layout, *zxid, *digest, body)?;
                self.log.reset(*zxid);
            }
            Write::Ensemble { current, proposed } => {
                self.log.sync()?;
                ensemble::store(disk, &self.layout, current, proposed.as_deref())?;
            }
        }
        Ok(())
    }
}

/// Locks a server's directories against every other process.
pub(super) fn lock(disk: &dyn Disk, layout: &Layout) -> Result<Vec<Box<dyn DiskLock>>, Error> {
    let lock_one = |path: std::path::PathBuf| match disk.lock(&path) {
        Ok(lock) => Ok(lock),
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Err(Error::Locked { path }),
        Err(err) => Err(Error::io("lock", &path)(err)),
    };
    layout.locks().into_iter().map(lock_one).collect()
}

#[cfg(test)]
mod tests;
