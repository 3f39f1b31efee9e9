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

/// How much may go into the log between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// `snapCount`: so many txns. ZooKeeper: 100,000.
    pub txns: u64,
    /// `snapSizeLimitInKb`: so many bytes of txns. ZooKeeper: 4 GiB; `None` for no such limit.
    pub bytes: Option<u64>,
}

/// Counts txns between snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    rhythm: Rhythm,
    rng: Rng,
    /// Txns applied since the last snapshot was asked for, and their bytes.
    since: u64,
    bytes: u64,
    /// After how many the next one is due: between half of what is allowed and all of it, as in ZooKeeper.
    due_after: u64,
    due_bytes: Option<u64>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Writing,
}

impl Snapshots {
    /// No snapshot is being written.
    pub fn new(rhythm: Rhythm, seed: u64) -> Snapshots {
        let (rng, phase) = (Rng::new(seed), Phase::Idle);
        let mut snapshots =
            Snapshots { rhythm, rng, since: 0, bytes: 0, due_after: 0, due_bytes: None, phase };
        snapshots.draw();
        snapshots
    }

    /// How much may go into the log between two snapshots.
    pub fn rhythm(&self) -> Rhythm {
        self.rhythm
    }

    /// The same from here on.
    pub fn set_rhythm(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
        self.draw();
    }

    /// A txn of so many bytes was applied. Whether a snapshot is due; then it counts as being written.
    pub fn is_due_after_txn(&mut self, bytes: usize) -> bool {
        self.since += 1;
        self.bytes += bytes as u64;
        let is_due = self.since >= self.due_after || self.due_bytes.is_some_and(|due| self.bytes >= due);
        if self.phase == Phase::Writing || !is_due {
            return false;
        }
        self.phase = Phase::Writing;
        self.on_replaced();
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
        (self.since, self.bytes) = (0, 0);
    }

    fn draw(&mut self) {
        let half = self.rhythm.txns / 2;
        self.due_after = (half + self.rng.below(half) + 1).max(1);
        self.due_bytes = self.rhythm.bytes.map(|bytes| bytes / 2 + self.rng.below(bytes / 2) + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_between_half_of_the_count_and_all_of_it() {
        for seed in 0..50 {
            let mut snapshots = Snapshots::new(Rhythm { txns: 100, bytes: None }, seed);
            let due = (1..=200).find(|_| snapshots.is_due_after_txn(1)).expect("it is due");
            assert!((51..=100).contains(&due), "{due}");
        }
    }

    #[test]
    fn a_snapshot_is_due_by_the_bytes_of_txns_too_and_both_may_change() {
        for seed in 0..50 {
            let rhythm = Rhythm { txns: 1_000, bytes: Some(400) };
            let mut snapshots = Snapshots::new(rhythm, seed);
            let due = (1..=200).find(|_| snapshots.is_due_after_txn(4)).expect("it is due");
            assert!((51..=100).contains(&due), "{due}");
            snapshots.on_taken();
            snapshots.set_rhythm(Rhythm { txns: 10, bytes: None });
            let due = (1..=200).find(|_| snapshots.is_due_after_txn(400)).expect("it is due");
            assert!((6..=10).contains(&due), "{due}");
        }
    }

    #[test]
    fn no_snapshot_is_due_while_one_is_written() {
        let mut snapshots = Snapshots::new(Rhythm { txns: 2, bytes: None }, 1);
        assert!((0..2).any(|_| snapshots.is_due_after_txn(1)));
        assert!((0..9).all(|_| !snapshots.is_due_after_txn(1)));
        snapshots.on_taken();
        assert!(snapshots.is_due_after_txn(1));
    }
}
