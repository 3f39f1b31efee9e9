//! Epoch order: acceptedEpoch never decreases, currentEpoch never decreases, currentEpoch ≤ acceptedEpoch; and an epoch
//! becomes current on a disk only on top of that epoch's initial history.
//!
//! In: epochs as written, as recovered, as durable and as acted on. Out: a panic when one falls or runs ahead.
//!
//! Always true:
//! * a start is measured against what was durable, a step against the step before;
//! * the initial history of an epoch is what its leader held when it made the epoch its own.
//!
//! Not here: what must be durable before a promise leaves (`durability`).

use std::collections::BTreeMap;

use quorate::base::{Epoch, Epochs, Write, Zxid};
use quorate::zab::packet::Packet;

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// What is known of each epoch.
#[derive(Default)]
pub struct EpochOrder {
    /// Who named it.
    named: BTreeMap<Epoch, Slot>,
    /// The end of its initial history.
    initial: BTreeMap<Epoch, Zxid>,
}

impl EpochOrder {
    /// Checks a start, a write of epochs, what became durable, or a new picture.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        let server = facts.server(slot);
        match seen {
            Seen::Started(recovered) => in_order(slot, server.durable.epochs, recovered.epochs),
            Seen::Write(Write::Epochs(epochs)) => {
                in_order(slot, server.written.epochs, *epochs);
                // Before anybody heard of an epoch only its leader can write it: a lone voter leads before it names it.
                let leads = self.named.get(&epochs.current).is_none_or(|leader| *leader == slot);
                if leads && epochs.accepted == epochs.current {
                    self.initial.entry(epochs.current).or_insert(server.written.last());
                }
            }
            Seen::Synced(before) if server.durable.epochs.current != before.current => {
                let epoch = server.durable.epochs.current;
                let initial = self.initial.get(&epoch).copied().unwrap_or_default();
                assert!(
                    server.durable.holds(initial),
                    "epoch order: epoch {epoch} is current on the disk of {slot:?}, and its log ends at {} before the \
                     epoch's initial history does, at {initial}",
                    server.durable.last()
                );
            }
            Seen::Stepped(picture, Some(before)) if picture.epochs != before.epochs => {
                in_order(slot, before.epochs, picture.epochs);
            }
            Seen::Sent(_, Packet::LeaderInfo { epoch, .. }) => {
                self.named.entry(*epoch).or_insert(slot);
            }
            Seen::Synced(_)
            | Seen::Write(_)
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
