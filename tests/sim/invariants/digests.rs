//! Digests: two trees at one zxid are equal.
//!
//! In: the digest of each server's tree after each step. Out: a panic when two servers differ at one place.
//!
//! Always true:
//! * a tree is compared by the number of committed txns that it holds, so also right after a start or a snapshot.
//!
//! Not here: whether the tree is the right one (`oracle` replays the history on a model of its own).

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// The digest at each place of the history, with the server that had it first.
#[derive(Default)]
pub struct Digests {
    at: Vec<Option<(u64, Slot)>>,
}

impl Digests {
    /// Checks a new picture.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        let Seen::Stepped(picture, _) = seen else { return };
        let count = facts.server(slot).delivered_count;
        if self.at.len() <= count {
            self.at.resize(count + 1, None);
        }
        let (digest, first) = *self.at[count].get_or_insert((picture.digest, slot));
        assert!(
            digest == picture.digest,
            "digests: after {count} txns ({}) {slot:?} has {:x}, {first:?} had {digest:x}",
            picture.delivered,
            picture.digest
        );
    }
}
