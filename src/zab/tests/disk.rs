//! The simulated disk: what of the writes survives.
//!
//! In: writes that became durable. Out: what a start finds.
//!
//! Always true:
//! * epochs never fall, txns only go up, and nothing below the snapshot is cut.
//!
//! Not here: bytes of files (`storage`).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::wire::{Reader, Writer};
use crate::base::{Ensemble, Epochs, Write, Zxid};
use crate::zab::ZabRecovered;

/// What is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) epochs: Epochs,
    /// The tree of the newest snapshot: every txn up to it.
    pub(super) snapshot: Vec<(Zxid, Bytes)>,
    pub(super) log: VecDeque<(Zxid, Bytes)>,
    current: Option<String>,
    proposed: Option<String>,
    /// An empty disk that must not vote.
    pub(super) is_blank: bool,
}

impl Disk {
    pub(super) fn blank() -> Disk {
        Disk { is_blank: true, ..Disk::default() }
    }

    fn snapshot_zxid(&self) -> Zxid {
        self.snapshot.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    pub(super) fn last(&self) -> Zxid {
        let empty = if self.is_blank && self.snapshot.is_empty() { Zxid::NONE } else { self.snapshot_zxid() };
        self.log.back().map_or(empty, |(zxid, _)| *zxid)
    }

    pub(super) fn holds(&self, zxid: Zxid) -> bool {
        self.log.iter().chain(&self.snapshot).any(|(held, _)| *held == zxid)
    }

    pub(super) fn perform(&mut self, write: Write) {
        match write {
            Write::Append { zxid, txn } => {
                assert!(zxid > self.last(), "{zxid} is appended after {}", self.last());
                self.log.push_back((zxid, txn));
            }
            Write::Epochs(epochs) => {
                assert!(epochs.accepted >= self.epochs.accepted && epochs.current >= self.epochs.current);
                self.epochs = epochs;
                self.is_blank &= epochs.current.0 == 0;
            }
            Write::Truncate(to) => {
                assert!(to >= self.snapshot_zxid(), "cut at {to} below the snapshot");
                while self.log.pop_back_if(|(zxid, _)| *zxid > to).is_some() {}
                assert_eq!(self.last(), to);
            }
            Write::Replace { zxid, body, .. } => {
                self.snapshot = tree_of(&body);
                self.log.clear();
                assert_eq!(self.snapshot_zxid(), zxid);
            }
            Write::Ensemble { current, proposed } => {
                (self.current, self.proposed) = (Some(current), proposed);
            }
        }
    }

    pub(super) fn take_snapshot(&mut self, tree: Vec<(Zxid, Bytes)>) {
        let last = tree.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        if last > self.snapshot_zxid() {
            self.snapshot = tree;
            self.log.retain(|(zxid, _)| *zxid > last);
        }
    }

    pub(super) fn ensemble(&self, initial: &Ensemble) -> (Ensemble, Option<Ensemble>) {
        let read = |text: &String| Ensemble::parse(text).expect("what was written is read");
        (self.current.as_ref().map_or_else(|| initial.clone(), read), self.proposed.as_ref().map(read))
    }

    /// As the storage format's specification mends it: a txn of an epoch says that the epoch was adopted.
    pub(super) fn recovered(&mut self) -> ZabRecovered {
        let of_log = self.last().max(Zxid::ZERO).epoch();
        self.epochs.current = self.epochs.current.max(of_log);
        self.epochs.accepted = self.epochs.accepted.max(self.epochs.current);
        ZabRecovered {
            epochs: self.epochs,
            may_vote: self.last() != Zxid::NONE,
            snapshot_zxid: self.snapshot_zxid(),
            txns: self.log.iter().cloned().collect(),
        }
    }
}

/// A tree as the simulation's snapshots hold it.
pub(super) fn body_of(tree: &[(Zxid, Bytes)]) -> Bytes {
    let mut out = Writer::new();
    for (zxid, txn) in tree {
        out.i64(zxid.0).buffer(Some(txn));
    }
    out.finish()
}

pub(super) fn tree_of(body: &Bytes) -> Vec<(Zxid, Bytes)> {
    let mut reader = Reader::new(body.clone());
    let mut tree = Vec::new();
    while reader.remaining() > 0 {
        let zxid = Zxid(reader.i64("zxid").expect("whole"));
        tree.push((zxid, reader.buffer("txn").expect("whole").expect("not null")));
    }
    tree
}
