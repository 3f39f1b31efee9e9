//! The newest txns of this server: what is in the log, what is durable, what is committed, what was delivered.
//!
//! In: txns in order, commits, reports of the disk. Out: what may be delivered, and what a learner lacks.
//!
//! Always true:
//! * the txns held are one piece of the log, up to its end: inside an epoch each follows the one before by 1, and a
//!   new epoch begins with 1;
//! * `delivered <= committed <= last`, and only what is durable here is delivered;
//! * what was delivered is never cut off.
//!
//! Not here: who decides what is committed (`leader`, `follower`), what a learner is sent (`sync`).

use std::collections::VecDeque;

use super::effects::Effects;
use super::packet::Proposal;
use crate::base::{Write, WriteSeq, Zxid};

/// What a learner that falls behind may hold back in memory; beyond it the learner is dropped.
pub(super) const PINNED_BYTES_MAX: usize = 256 << 20;

/// One contiguous piece of the log.
#[derive(Debug)]
pub(super) struct History {
    /// The zxid right before the first entry.
    base: Zxid,
    entries: VecDeque<Proposal>,
    bytes: usize,
    committed: Zxid,
    delivered: Zxid,
    /// How many of the entries were delivered; they are the first ones.
    delivered_count: usize,
    durable: Zxid,
    /// Appended and not yet durable.
    unsynced: VecDeque<(WriteSeq, Zxid)>,
    /// How many delivered txns are kept for learners that lag.
    keep: usize,
    /// No entry after this zxid is forgotten: a learner still needs it.
    pin: Option<Zxid>,
}

impl History {
    /// What a start found: the snapshot's zxid, and the log after it, all durable and none known to be committed.
    pub(super) fn new(snapshot: Zxid, txns: Vec<(Zxid, bytes::Bytes)>, keep: usize) -> History {
        let entries: VecDeque<Proposal> =
            txns.into_iter().map(|(zxid, txn)| Proposal { zxid, txn }).collect();
        let last = entries.back().map_or(snapshot, |entry| entry.zxid);
        let bytes = entries.iter().map(|entry| entry.txn.len()).sum();
        let (base, committed, delivered) = (snapshot, snapshot, snapshot);
        History {
            base,
            entries,
            bytes,
            committed,
            delivered,
            delivered_count: 0,
            durable: last,
            unsynced: VecDeque::new(),
            keep,
            pin: None,
        }
    }

    /// The end of the log, durable or not.
    pub(super) fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base, |entry| entry.zxid)
    }

    /// The zxid before the first txn held.
    pub(super) fn base(&self) -> Zxid {
        self.base
    }

    /// Everything up to here is known to be committed.
    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    /// Everything up to here was given to the tree.
    pub(super) fn delivered(&self) -> Zxid {
        self.delivered
    }

    /// Everything up to here is on this disk.
    pub(super) fn durable(&self) -> Zxid {
        self.durable
    }

    /// Bytes of the txns held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a txn may come next.
    pub(super) fn may_follow(&self, zxid: Zxid) -> bool {
        let last = self.last();
        if zxid.epoch() == last.epoch() { zxid == last.next() } else { zxid > last && zxid.counter() == 1 }
    }

    /// Appends a txn to the log.
    pub(super) fn append(&mut self, fx: &mut Effects, proposal: Proposal) {
        let zxid = proposal.zxid;
        assert!(zxid > self.last(), "{zxid} does not follow {}", self.last());
        let seq = fx.write(Write::Append { zxid, txn: proposal.txn.clone() });
        self.unsynced.push_back((seq, zxid));
        self.bytes += proposal.txn.len();
        self.entries.push_back(proposal);
    }

    /// Whether the log can be cut there: the zxid is in it, and nothing delivered is lost.
    pub(super) fn can_truncate(&self, to: Zxid) -> bool {
        to >= self.delivered && (to == self.base || self.position(to).is_some())
    }

    /// Cuts off every txn above `to`.
    pub(super) fn truncate(&mut self, fx: &mut Effects, to: Zxid) {
        assert!(self.can_truncate(to), "the log cannot be cut at {to}: delivered up to {}", self.delivered);
        while let Some(cut) = self.entries.pop_back_if(|entry| entry.zxid > to) {
            self.bytes -= cut.txn.len();
        }
        let seq = fx.write(Write::Truncate(to));
        self.unsynced.retain(|(_, zxid)| *zxid < to);
        // What is left is durable at the latest with the cut.
        self.unsynced.push_back((seq, to));
        self.durable = self.durable.min(to);
        self.committed = self.committed.min(to);
    }

    /// Starts over from a leader's snapshot, whose tree is in place.
    pub(super) fn replace(&mut self, fx: &mut Effects, zxid: Zxid, body: bytes::Bytes, digest: u64) {
        let seq = fx.write(Write::Replace { zxid, body, digest });
        self.entries.clear();
        (self.bytes, self.delivered_count) = (0, 0);
        (self.base, self.committed, self.delivered, self.durable) = (zxid, zxid, zxid, Zxid::ZERO);
        self.unsynced = VecDeque::from([(seq, zxid)]);
    }

    /// Takes note of durable writes.
    pub(super) fn on_synced(&mut self, seq: WriteSeq) {
        while let Some((_, zxid)) = self.unsynced.pop_front_if(|(written, _)| *written <= seq) {
            self.durable = zxid;
        }
    }

    /// Takes note that everything up to `zxid` is committed.
    pub(super) fn commit(&mut self, zxid: Zxid) {
        assert!(zxid <= self.last(), "{zxid} is committed and not in the log, which ends at {}", self.last());
        self.committed = self.committed.max(zxid);
    }

    /// The next txn that is committed and durable here; it counts as delivered.
    pub(super) fn deliver(&mut self) -> Option<Proposal> {
        let next = self.entries.get(self.delivered_count)?;
        if next.zxid > self.committed.min(self.durable) {
            return None;
        }
        let next = next.clone();
        self.delivered = next.zxid;
        self.delivered_count += 1;
        self.trim();
        Some(next)
    }

    /// Keeps every txn after `pin` until told otherwise.
    pub(super) fn pin(&mut self, pin: Option<Zxid>) {
        self.pin = pin;
    }

    fn trim(&mut self) {
        let limit = self.pin.map_or(self.delivered, |pin| pin.min(self.delivered));
        while self.delivered_count > self.keep {
            let Some(old) = self.entries.pop_front_if(|entry| entry.zxid <= limit) else { return };
            self.delivered_count -= 1;
            self.bytes -= old.txn.len();
            self.base = old.zxid;
        }
    }

    /// The txns above `zxid` that are held, ascending.
    pub(super) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Proposal> {
        let start = self.entries.partition_point(|entry| entry.zxid <= zxid);
        self.entries.range(start..)
    }

    /// The txn with this zxid, if it is held.
    pub(super) fn position(&self, zxid: Zxid) -> Option<usize> {
        self.entries.binary_search_by_key(&zxid, |entry| entry.zxid).ok()
    }

    /// The zxid of the last txn held below `zxid`; `base` if there is none above it.
    pub(super) fn before(&self, zxid: Zxid) -> Zxid {
        let end = self.entries.partition_point(|entry| entry.zxid < zxid);
        end.checked_sub(1).map_or(self.base, |index| self.entries[index].zxid)
    }

    /// The first txn that is not known to be committed.
    pub(super) fn next_uncommitted(&self) -> Option<&Proposal> {
        self.after(self.committed).next()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::Epoch;

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn txn(epoch: u32, counter: u32) -> Proposal {
        Proposal { zxid: zxid(epoch, counter), txn: Bytes::from_static(b"txn") }
    }

    #[test]
    fn what_is_committed_is_delivered_once_it_is_durable() {
        let (mut fx, mut history) = (Effects::default(), History::new(Zxid::ZERO, vec![], 2));
        for counter in 1..=4 {
            history.append(&mut fx, txn(1, counter));
        }
        history.commit(zxid(1, 3));
        assert_eq!(history.deliver(), None);
        history.on_synced(WriteSeq(2));
        assert_eq!(history.deliver(), Some(txn(1, 1)));
        assert_eq!(history.deliver(), Some(txn(1, 2)));
        assert_eq!(history.deliver(), None);
        history.on_synced(WriteSeq(4));
        assert_eq!(history.deliver(), Some(txn(1, 3)));
        assert_eq!(history.deliver(), None);
        assert_eq!((history.base(), history.last()), (zxid(1, 1), zxid(1, 4)));
    }

    #[test]
    fn a_gap_and_a_skipped_start_of_an_epoch_are_seen() {
        let history = History::new(zxid(1, 5), vec![], 2);
        assert!(history.may_follow(zxid(1, 6)) && history.may_follow(zxid(2, 1)));
        for bad in [zxid(1, 5), zxid(1, 7), zxid(2, 2), zxid(2, 0), zxid(0, 1)] {
            assert!(!history.may_follow(bad), "{bad}");
        }
    }

    #[test]
    fn what_was_delivered_is_never_cut_off() {
        let txns = (1..=4).map(|counter| (zxid(1, counter), Bytes::new())).collect();
        let (mut fx, mut history) = (Effects::default(), History::new(Zxid::ZERO, txns, 9));
        history.commit(zxid(1, 2));
        while history.deliver().is_some() {}
        assert!(!history.can_truncate(zxid(1, 1)) && !history.can_truncate(zxid(1, 9)));
        history.truncate(&mut fx, zxid(1, 2));
        assert_eq!((history.last(), history.durable()), (zxid(1, 2), zxid(1, 2)));
        history.append(&mut fx, txn(2, 1));
        assert_eq!(history.durable(), zxid(1, 2));
        history.on_synced(WriteSeq(2));
        assert_eq!(history.durable(), zxid(2, 1));
    }

    #[test]
    fn a_pinned_txn_is_kept_for_the_learner_that_needs_it() {
        let (mut fx, mut history) = (Effects::default(), History::new(Zxid::ZERO, vec![], 1));
        history.pin(Some(zxid(1, 1)));
        for counter in 1..=5 {
            history.append(&mut fx, txn(1, counter));
            history.on_synced(WriteSeq(u64::from(counter)));
            history.commit(zxid(1, counter));
            assert_eq!(history.deliver(), Some(txn(1, counter)));
        }
        assert_eq!(history.base(), zxid(1, 1));
        assert_eq!(history.before(zxid(1, 3)), zxid(1, 2));
        assert_eq!(history.after(zxid(1, 3)).count(), 2);
    }
}
