//! What must survive a crash, and what a start finds of it.
//!
//! In: writes from the core, in order. Out: after a crash, what the writes that were reported as synced left.
//!
//! Always true:
//! * a txn is opaque bytes here: header, body and digest as they stand in ZooKeeper's log;
//! * `Recovered` is one contiguous history: the snapshot, then every txn after it.
//!
//! Not here: files (`storage`), the meaning of the bytes (`tree`).

use bytes::Bytes;

use super::{Epoch, Zxid};

/// The number of a write, counted from 1 in one process; it becomes durable in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteSeq(pub u64);

/// The two epochs of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Epochs {
    /// The highest epoch promised to a leader (`acceptedEpoch`). Never falls, never below `current`.
    pub accepted: Epoch,
    /// The epoch whose initial history is on this disk (`currentEpoch`). Never falls.
    pub current: Epoch,
}

/// Something that must be on disk before what rests on it may be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Appends one txn to the log.
    Append {
        /// The txn's place; strictly above everything appended before.
        zxid: Zxid,
        /// Header, body and digest.
        txn: Bytes,
    },
    /// Replaces both epoch files.
    Epochs(Epochs),
    /// Removes every txn above this zxid from the log. Never below the newest snapshot.
    Truncate(Zxid),
    /// Replaces the whole history by a snapshot that a leader sent; older logs and snapshots go once it is durable.
    Replace {
        /// The last txn that the snapshot holds.
        zxid: Zxid,
        /// Sessions, ACL table and nodes up to and with the end marker, as in a snapshot file after its header.
        body: Bytes,
        /// Digest of the tree at `zxid`.
        digest: u64,
    },
    /// Replaces the stored membership.
    Ensemble {
        /// Text of the membership in force, with its version line.
        current: String,
        /// Text of a membership that was proposed and is not in force yet; `None` if there is none.
        proposed: Option<String>,
    },
}

/// How a snapshot file is compressed (`snapshot.compression.method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `gz`.
    Gzip,
    /// `snappy`, in the frames of xerial's `SnappyOutputStream`.
    Snappy,
}

/// How much room a server has on its disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Room {
    /// For everything.
    #[default]
    Enough,
    /// For what was accepted already, and for sessions: no client may write.
    Low,
    /// For what was accepted already only: no session begins or ends.
    Scarce,
}

/// The newest snapshot that could be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredSnapshot {
    /// The zxid of the file's name: every txn after it is replayed.
    pub zxid: Zxid,
    /// Sessions, ACL table and nodes up to and with the end marker.
    pub body: Bytes,
    /// The zxid and tree digest of the digest section; `None` if the file has none.
    pub digest: Option<(Zxid, u64)>,
}

/// What a start found on disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Both epochs, already mended as the storage format's specification says.
    pub epochs: Epochs,
    /// `None` on a disk that never held one.
    pub snapshot: Option<RecoveredSnapshot>,
    /// Every txn after the snapshot, ascending, without a gap inside an epoch.
    pub txns: Vec<(Zxid, Bytes)>,
    /// Whether an empty disk may vote: `false` means zxid -1, a learner until a leader gave it data.
    pub may_vote: bool,
    /// Text of the stored membership in force; `None` if only the configuration file knows one.
    pub ensemble_current: Option<String>,
    /// Text of a stored membership that was proposed last.
    pub ensemble_proposed: Option<String>,
}

impl Recovered {
    /// The last zxid on disk: of the log, else of the snapshot, else 0, or -1 where the disk must not vote.
    pub fn last_zxid(&self) -> Zxid {
        let of_snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.zxid);
        let of_log = self.txns.last().map(|(zxid, _)| *zxid);
        let empty = if self.may_vote { Zxid::ZERO } else { Zxid::NONE };
        of_log.or(of_snapshot).unwrap_or(empty)
    }
}
