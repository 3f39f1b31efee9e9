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
    match seen {
        Seen::Proposed(logged) => {
            let earlier = facts.proposed.get(&logged.zxid);
            assert!(
                earlier.is_none(),
                "integrity: {slot:?} proposes {} again after {earlier:?}",
                logged.zxid
            );
        }
        Seen::Write(Write::Append { zxid, txn }) => {
            if let Some(proposed) = facts.proposed.get(zxid) {
                let hash = hash_bytes(0, txn);
                assert!(
                    proposed.hash == hash,
                    "integrity: {slot:?} logs another txn as {zxid} than {:?} proposed",
                    proposed.primary
                );
            }
        }
        Seen::Delivered(_, logged) => {
            let proposed = facts.proposed.get(&logged.zxid);
            assert!(
                proposed.is_some_and(|proposed| proposed.hash == logged.hash),
                "integrity: {slot:?} delivers {}, which no primary proposed ({proposed:?})",
                logged.zxid
            );
        }
        Seen::Started(_)
        | Seen::Stopped
        | Seen::Write(_)
        | Seen::Synced(_)
        | Seen::Sent(..)
        | Seen::Got(..)
        | Seen::Voted(_)
        | Seen::Installed(_)
        | Seen::Stepped(..) => {}
    }
}
