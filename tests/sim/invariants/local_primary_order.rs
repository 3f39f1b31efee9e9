//! Local primary order: the txns of one epoch are proposed and committed in order and without a gap.
//!
//! In: each proposal, append and delivered txn. Out: a panic at a gap.
//!
//! Always true:
//! * an epoch's first txn has counter 1, and each next has the next counter.
//!
//! Not here: the order between epochs (`global_primary_order`).

use quorate::base::{Write, Zxid};

use super::Seen;
use crate::facts::Facts;
use crate::network::Slot;

/// Checks a proposal, an append or a delivered txn.
pub fn check(facts: &Facts, slot: Slot, seen: &Seen<'_>) {
    if let Seen::Proposed(logged) = seen {
        let before = facts.proposed.range(..logged.zxid).next_back();
        follows("proposes", slot, before.map_or(Zxid::ZERO, |(zxid, _)| *zxid), logged.zxid);
    }
    if let Seen::Write(Write::Append { zxid, .. }) = seen {
        follows("logs", slot, facts.server(slot).written.last(), *zxid);
    }
    if let Seen::Delivered(place, logged) = seen {
        let before = place.checked_sub(1).and_then(|before| facts.committed.get(before));
        follows("delivers", slot, before.map_or(Zxid::ZERO, |before| before.logged.zxid), logged.zxid);
    }
}

fn follows(verb: &str, slot: Slot, before: Zxid, zxid: Zxid) {
    let holds = if before.epoch() == zxid.epoch() {
        zxid == before.next()
    } else {
        zxid.epoch() > before.epoch() && zxid.counter() == 1
    };
    assert!(holds, "local primary order: {slot:?} {verb} {zxid} after {before}");
}
