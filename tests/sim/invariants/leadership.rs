//! Leadership: at most one established leader per epoch.
//!
//! In: the status after each step. Out: a panic when two processes lead one epoch.
//!
//! Always true:
//! * a server that starts again is another process: it may not lead an epoch that it led before its crash.
//!
//! Not here: that a leader may lead (`primary_integrity`).

use std::collections::BTreeMap;

use quorate::base::Epoch;

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Who led which epoch.
#[derive(Default)]
pub struct Leadership {
    /// The process, as place and life, by epoch.
    leaders: BTreeMap<Epoch, (Slot, u32)>,
}

impl Leadership {
    /// How many epochs were established: elections that came to an end.
    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Checks a new picture.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        let Seen::Stepped(picture, before) = seen else { return };
        if before.is_some_and(|before| before.status == picture.status) {
            return;
        }
        let Some(epoch) = facts.server(slot).leads() else { return };
        let process = (slot, facts.server(slot).life);
        let leader = *self.leaders.entry(epoch).or_insert(process);
        assert!(leader == process, "leadership: epoch {epoch} has two leaders, {leader:?} and {process:?}");
    }
}
