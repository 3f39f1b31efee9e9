//! A simulated server's files: the real storage code over the simulated disk.
//!
//! In: batches of writes, trees. Out: durable files, and what a start finds in them.
//!
//! Always true:
//! * nothing here knows a file format.
//!
//! Not here: when a disk is done (`disks`), what a crash leaves (`quorate::storage::SimDisk`).

use std::path::Path;
use std::sync::Arc;

use quorate::base::{Recovered, Room, ServerId, Write, WriteSeq};
use quorate::storage::{Error, Layout, Options, SimDisk, Snapshots, Store};
use quorate::tree::{Image, Tree};

/// How many snapshots are kept.
const SNAPSHOTS_KEPT: usize = 3;

/// How much of a disk is kept free for what was accepted already.
pub const RESERVE_BYTES: u64 = 16 << 10;

/// What a server with an empty disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyDisk {
    /// It votes: the ensemble is new.
    Votes,
    /// It gets the data of a leader before it votes.
    IsFilledFirst,
}

/// The open files of one process.
pub struct Files {
    store: Store,
    snapshots: Snapshots,
}

impl Files {
    /// Opens what a disk holds.
    pub fn open(disk: &SimDisk, me: ServerId, empty_disk: EmptyDisk) -> Result<(Files, Recovered), Error> {
        let layout = Layout::in_dir(Path::new("/data"), me);
        let db_autocreate = empty_disk == EmptyDisk::Votes;
        let options =
            Options { prealloc_bytes: 0, db_autocreate, reserve_bytes: RESERVE_BYTES, ..Options::default() };
        let empty = Tree::new().image().to_body();
        let (store, recovered) = Store::open(Arc::new(disk.clone()), layout, options, empty)?;
        let snapshots = store.snapshots();
        Ok((Files { store, snapshots }, recovered))
    }

    /// Makes a batch durable.
    pub fn write(&mut self, batch: &[(WriteSeq, Write)]) -> Result<(), Error> {
        self.store.perform(batch).map(drop)
    }

    /// How much room is left.
    pub fn room(&mut self) -> Result<Room, Error> {
        self.store.room().map(|report| report.room)
    }

    /// Removes what no start needs any more.
    pub fn purge(&self) -> Result<(), Error> {
        self.snapshots.purge(SNAPSHOTS_KEPT).map(drop)
    }

    /// Writes a snapshot beside the log, and removes what no start needs any more.
    pub fn snapshot(&mut self, image: &Image) -> Result<(), Error> {
        self.store.roll()?;
        match self.snapshots.write(image.zxid(), image.digest(), |out| image.write_body(out)) {
            Ok(()) => self.purge(),
            Err(err) => Err(err),
        }
    }
}
