//! Agreement: what one server delivers at a place in the history, every server delivers there.
//!
//! In: each delivered txn with its place. Out: a panic with both txns when they differ.
//!
//! Always true:
//! * an installed snapshot holds nothing that was not delivered somewhere before.
//!
//! Not here: the order of zxids (`total_order`).

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a delivered txn or an installed snapshot.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    if let Seen::Delivered(place, logged) = seen
        && let Some(committed) = facts.committed.get(*place)
    {
        assert!(
            committed.logged == **logged,
            "agreement: place {place}: {slot:?} delivers {} (hash {:x}), {:?} delivered {} (hash {:x})",
            logged.zxid,
            logged.hash,
            committed.first,
            committed.logged.zxid,
            committed.logged.hash
        );
    }
    if let Seen::Installed(zxid) = seen {
        assert!(
            *zxid <= facts.last_committed() || zxid.counter() == 0,
            "agreement: {slot:?} installs a snapshot of {zxid}, and the last committed txn is {}",
            facts.last_committed()
        );
    }
}
