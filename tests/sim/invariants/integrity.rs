//! Integrity: whatever is committed was proposed by a primary.
//!
//! In: every proposal, every append and every delivered txn. Out: a panic when something came from nowhere.
//!
//! Always true:
//! * a zxid is given once, to one txn;
//! * a server logs nothing that no primary proposed, bit for bit.
//!
//! Not here: that the primary was entitled to propose (`leadership`, `primary_integrity`).

use quorate::base::Write;

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;
use crate::trace::hash_bytes;

/// Checks a proposal, an append or a delivered txn.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    if let Seen::Proposed(logged) = seen {
        let earlier = facts.proposed.get(&logged.zxid);
        assert!(earlier.is_none(), "integrity: {slot:?} proposes {} again after {earlier:?}", logged.zxid);
    }
    if let Seen::Write(Write::Append { zxid, txn }) = seen
        && let Some(proposed) = facts.proposed.get(zxid)
    {
        assert!(
            proposed.hash == hash_bytes(0, txn),
            "integrity: {slot:?} logs another txn as {zxid} than {:?} proposed",
            proposed.primary
        );
    }
    if let Seen::Delivered(_, logged) = seen {
        let proposed = facts.proposed.get(&logged.zxid);
        assert!(
            proposed.is_some_and(|proposed| proposed.hash == logged.hash),
            "integrity: {slot:?} delivers {}, which no primary proposed ({proposed:?})",
            logged.zxid
        );
    }
}
