//! Global primary order: what an epoch commits comes before what any later epoch commits.
//!
//! In: each txn that is committed for the first time, and each proposal. Out: a panic when an earlier epoch commits late.
//!
//! Always true:
//! * once a txn of an epoch is committed, nothing of an earlier epoch becomes committed.
//!
//! Not here: the order inside an epoch (`local_primary_order`).

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a delivered txn.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    let Seen::Delivered(place, logged) = seen else { return };
    if *place < facts.committed.len() {
        return; // committed before: `agreement` compares it
    }
    let last = facts.last_committed().epoch();
    assert!(
        last <= logged.zxid.epoch(),
        "global primary order: {slot:?} commits {} after a txn of epoch {last}",
        logged.zxid
    );
}
