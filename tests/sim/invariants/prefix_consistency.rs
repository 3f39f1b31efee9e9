//! Prefix consistency: of two committed histories one is a prefix of the other.
//!
//! In: what each server has delivered, as one running hash. Out: a panic when it is no prefix of the committed history.
//!
//! Always true:
//! * every server is compared with the one committed history, so that any two are compared with each other.
//!
//! Not here: which txn differs (`agreement` says so, earlier).

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a new picture.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    let Seen::Stepped(picture, before) = seen else { return };
    if before.is_some_and(|before| before.delivered == picture.delivered) {
        return;
    }
    let server = facts.server(slot);
    assert!(
        server.delivered_count <= facts.committed.len()
            && server.delivered_hash == facts.prefix_hash(server.delivered_count),
        "prefix consistency: {slot:?} delivered {} txns that are no prefix of the committed history",
        server.delivered_count
    );
}
