//! Primary integrity: a primary broadcasts in its epoch only after it has delivered everything committed in earlier ones.
//!
//! In: the moment a server becomes the leader, and each proposal. Out: a panic when it lacks a committed txn.
//!
//! Always true:
//! * an established leader's log holds every txn of earlier epochs that is committed anywhere.
//!
//! Not here: that nobody else leads (`leadership`).

use quorate::base::Zxid;

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a proposal or a new leader.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    if let Seen::Proposed(logged) = seen {
        let earlier = facts.last_committed_before(logged.zxid.epoch());
        let needed = facts.count_up_to(earlier);
        let delivered = facts.server(slot).delivered_count;
        // A proposal of the step that established the epoch is seen before that step's picture.
        let is_known = delivered >= needed || facts.server(slot).written.holds(earlier);
        assert!(
            is_known,
            "primary integrity: {slot:?} proposes {} with {delivered} of {needed} txns of earlier epochs",
            logged.zxid
        );
    }
    if let Seen::Stepped(picture, before) = seen
        && before.is_none_or(|before| before.status != picture.status)
        && let Some(epoch) = facts.server(slot).leads()
    {
        let earlier = facts.last_committed_before(epoch);
        assert!(
            facts.server(slot).written.holds(earlier) || earlier == Zxid::ZERO,
            "primary integrity: {slot:?} leads epoch {epoch} without the committed {earlier}"
        );
    }
}
