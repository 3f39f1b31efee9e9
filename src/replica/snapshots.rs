//! When a server writes a snapshot of its tree.
//!
//! In: applied txns. Out: whether a snapshot is due.
//!
//! Always true:
//! * one snapshot is written at a time;
//! * the members of an ensemble do not all write at the same txn.
//!
//! Not here: writing it (`storage`).

use crate::base::rng::Rng;

/// Counts txns between snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    snap_count: u64,
    rng: Rng,
    /// Txns applied since the last snapshot was asked for.
    since: u64,
    /// After how many the next one is due: between half of `snap_count` and all of it, as in ZooKeeper.
    due_after: u64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Writing,
}

impl Snapshots {
    /// No snapshot is being written.
    pub fn new(snap_count: u64, seed: u64) -> Snapshots {
        let mut snapshots =
            Snapshots { snap_count, rng: Rng::new(seed), since: 0, due_after: 0, phase: Phase::Idle };
        snapshots.draw();
        snapshots
    }

    /// A txn was applied. Whether a snapshot is due; then it counts as being written.
    pub fn is_due_after_txn(&mut self) -> bool {
        self.since += 1;
        if self.phase == Phase::Writing || self.since < self.due_after {
            return false;
        }
        self.phase = Phase::Writing;
        self.since = 0;
        self.draw();
        true
    }

    /// Somebody wants a snapshot; `false` while one is being written. Otherwise it counts as being written.
    pub fn begin(&mut self) -> bool {
        let may = self.phase == Phase::Idle;
        self.phase = Phase::Writing;
        may
    }

    /// The snapshot is written, or could not be: either way the next one may come.
    pub fn on_taken(&mut self) {
        self.phase = Phase::Idle;
    }

    /// The tree was replaced by one that is a snapshot on disk already.
    pub fn on_replaced(&mut self) {
        self.since = 0;
    }

    fn draw(&mut self) {
        let half = self.snap_count / 2;
        self.due_after = (half + self.rng.below(half) + 1).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_between_half_of_the_count_and_all_of_it() {
        for seed in 0..50 {
            let mut snapshots = Snapshots::new(100, seed);
            let due = (1..=200).find(|_| snapshots.is_due_after_txn()).expect("it is due");
            assert!((51..=100).contains(&due), "{due}");
        }
    }

    #[test]
    fn no_snapshot_is_due_while_one_is_written() {
        let mut snapshots = Snapshots::new(2, 1);
        assert!((0..2).any(|_| snapshots.is_due_after_txn()));
        assert!((0..9).all(|_| !snapshots.is_due_after_txn()));
        snapshots.on_taken();
        assert!(snapshots.is_due_after_txn());
    }
}
