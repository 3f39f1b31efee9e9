//! Total order: every server delivers in the order of zxids.
//!
//! In: each delivered txn. Out: a panic when it does not lie above everything delivered before.
//!
//! Always true:
//! * the last delivered zxid of a process never falls.
//!
//! Not here: that two servers deliver the same (`agreement`).

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a delivered txn or a new picture.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    if let Seen::Delivered(place, logged) = seen
        && let Some(before) = place.checked_sub(1).and_then(|before| facts.committed.get(before))
    {
        assert!(
            before.logged.zxid < logged.zxid,
            "total order: {slot:?} delivers {} after {}",
            logged.zxid,
            before.logged.zxid
        );
    }
    if let Seen::Stepped(picture, Some(before)) = seen {
        assert!(
            before.delivered <= picture.delivered,
            "total order: {slot:?} goes back from {} to {}",
            before.delivered,
            picture.delivered
        );
    }
}
