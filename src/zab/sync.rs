//! Diff, cut or snapshot: what brings a learner level.
//!
//! In: what a learner says that it holds, and the leader's [`History`]. Out: a [`SyncPlan`].
//!
//! Always true:
//! * after the plan a learner holds no txn that the leader lacks, and lacks none up to the point of the plan;
//! * a learner is told to cut only where its log provably has the place.
//!
//! Not here: sending the plan (`leader`), reading a snapshot's tree (`replica`).

use super::history::History;
use crate::base::{Epoch, Zxid};

/// What a learner says about itself in ACKEPOCH, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The end of its log.
    pub(super) last: Zxid,
    /// Its current epoch; `None` if it must not be counted.
    pub(super) current: Option<Epoch>,
    /// Whether it is Quorate: then its snapshots hold no uncommitted txn, and it can be cut across epochs.
    pub(super) quorate: bool,
}

/// What to send first, and where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncPlan {
    /// Keep everything; what follows begins after `from`.
    Diff {
        /// The last txn of the leader that the learner holds.
        from: Zxid,
    },
    /// Cut to `to`; what follows begins after it.
    Trunc {
        /// A txn that both hold.
        to: Zxid,
    },
    /// The whole tree.
    Snap,
}

/// Chooses the plan. `point` is the end of what is sent; `current` the leader's current epoch, whose initial history
/// it holds.
///
/// Two histories that hold the same txn are equal up to it. A learner with a txn of epoch e holds the whole initial
/// history of e, and so does a leader whose current epoch is e or later: its last txn below e's is in both.
pub(super) fn plan(history: &History, point: Zxid, current: Epoch, claim: Claim) -> SyncPlan {
    let last = claim.last;
    let asks_for_snapshot = last == Zxid::ZERO && claim.current.is_none();
    if last < Zxid::ZERO || asks_for_snapshot {
        return SyncPlan::Snap;
    }
    if last == point {
        return SyncPlan::Diff { from: last };
    }
    if last == Zxid::ZERO || last.epoch() > current {
        return SyncPlan::Snap;
    }
    // Also beyond the point: what this leader proposed may have been acknowledged, and is never cut off.
    if last == history.base() || history.position(last).is_some() {
        return SyncPlan::Diff { from: last };
    }
    if last <= history.base() {
        return SyncPlan::Snap;
    }
    // The learner's last txn is not ours: go back to the newest one that both hold.
    let shared = history.before(last);
    if last.counter() == 0 {
        // The start of an epoch is no txn: the learner holds just the initial history, which we hold too.
        return SyncPlan::Diff { from: shared };
    }
    if shared.epoch() == last.epoch() || claim.quorate {
        SyncPlan::Trunc { to: shared }
    } else {
        SyncPlan::Snap
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[derive(PartialEq)]
    enum Peer {
        Quorate,
        Apache,
    }

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// Snapshot at (1,3), then (1,4), (1,5), (3,1), (3,2).
    fn history() -> History {
        let txns = [(1, 4), (1, 5), (3, 1), (3, 2)];
        let txns = txns.iter().map(|(epoch, counter)| (zxid(*epoch, *counter), Bytes::new())).collect();
        History::new(zxid(1, 3), txns, 500)
    }

    fn of(last: Zxid, peer: Peer) -> SyncPlan {
        let claim = Claim { last, current: Some(last.epoch()), quorate: peer == Peer::Quorate };
        plan(&history(), zxid(3, 2), Epoch(3), claim)
    }

    #[test]
    fn a_learner_inside_the_history_gets_the_rest() {
        for from in [zxid(1, 3), zxid(1, 5), zxid(3, 1), zxid(3, 2)] {
            assert_eq!(of(from, Peer::Apache), SyncPlan::Diff { from }, "{from}");
            let claim = Claim { last: from, current: None, quorate: false };
            assert_eq!(plan(&history(), zxid(1, 4), Epoch(3), claim), SyncPlan::Diff { from }, "{from}");
        }
    }

    #[test]
    fn a_learner_before_the_history_gets_the_tree() {
        for last in [zxid(1, 2), Zxid::ZERO, Zxid::NONE, zxid(1, 0)] {
            assert_eq!(of(last, Peer::Quorate), SyncPlan::Snap, "{last}");
        }
    }

    #[test]
    fn a_tail_that_the_leader_lacks_is_cut_where_both_agree() {
        assert_eq!(of(zxid(1, 9), Peer::Apache), SyncPlan::Trunc { to: zxid(1, 5) });
        assert_eq!(of(zxid(3, 4), Peer::Apache), SyncPlan::Trunc { to: zxid(3, 2) });
        assert_eq!(of(zxid(2, 4), Peer::Quorate), SyncPlan::Trunc { to: zxid(1, 5) });
        assert_eq!(of(zxid(2, 4), Peer::Apache), SyncPlan::Snap);
    }

    #[test]
    fn the_start_of_an_epoch_is_no_txn() {
        assert_eq!(of(zxid(3, 0), Peer::Apache), SyncPlan::Diff { from: zxid(1, 5) });
        assert_eq!(of(zxid(2, 0), Peer::Apache), SyncPlan::Diff { from: zxid(1, 5) });
    }

    #[test]
    fn a_learner_from_a_later_epoch_gets_the_tree() {
        assert_eq!(of(zxid(4, 1), Peer::Quorate), SyncPlan::Snap);
    }

    #[test]
    fn a_learner_that_cannot_be_cut_asks_for_the_tree_with_zxid_0() {
        let claim = Claim { last: Zxid::ZERO, current: None, quorate: true };
        assert_eq!(plan(&History::new(Zxid::ZERO, vec![], 1), Zxid::ZERO, Epoch(1), claim), SyncPlan::Snap);
        let fresh = Claim { current: Some(Epoch(0)), ..claim };
        let from = Zxid::ZERO;
        assert_eq!(plan(&History::new(from, vec![], 1), from, Epoch(1), fresh), SyncPlan::Diff { from });
    }
}
