//! Epoch order: acceptedEpoch never decreases, currentEpoch never decreases, currentEpoch ≤ acceptedEpoch.
//!
//! In: epochs as written, as recovered and as acted on. Out: a panic when one falls.
//!
//! Always true:
//! * a start is measured against what was durable, a step against the step before.
//!
//! Not here: what must be durable before a promise leaves (`durability`).

use quorate::base::{Epochs, Write};

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Nothing is remembered beyond the facts.
#[derive(Default)]
pub struct EpochOrder;

impl EpochOrder {
    /// Checks a start, a write of epochs or a new picture.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        let server = facts.server(slot);
        match seen {
            Seen::Started(recovered) => in_order(slot, server.durable.epochs, recovered.epochs),
            Seen::Write(Write::Epochs(epochs)) => in_order(slot, server.written.epochs, *epochs),
            Seen::Stepped(picture, Some(before)) if picture.epochs != before.epochs => {
                in_order(slot, before.epochs, picture.epochs);
            }
            Seen::Write(_)
            | Seen::Stepped(..)
            | Seen::Stopped
            | Seen::Sent(..)
            | Seen::Got(..)
            | Seen::Voted(_)
            | Seen::Proposed(_)
            | Seen::Installed(_)
            | Seen::Delivered(..) => {}
        }
    }
}

fn in_order(slot: Slot, before: Epochs, after: Epochs) {
    let holds = before.accepted <= after.accepted
        && before.current <= after.current
        && after.current <= after.accepted;
    assert!(holds, "epoch order: {slot:?} goes from {before:?} to {after:?}");
}
