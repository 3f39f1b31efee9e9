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
    match seen {
        Seen::Proposed(logged) => {
            let before =
                facts.proposed.range(..logged.zxid).next_back().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
            follows("proposes", slot, before, logged.zxid);
        }
        Seen::Write(Write::Append { zxid, .. }) => {
            follows("logs", slot, facts.server(slot).written.last(), *zxid);
        }
        Seen::Delivered(place, logged) => {
            let before = place.checked_sub(1).and_then(|before| facts.committed.get(before));
            let before = before.map_or(Zxid::ZERO, |before| before.logged.zxid);
            follows("delivers", slot, before, logged.zxid);
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

fn follows(verb: &str, slot: Slot, before: Zxid, zxid: Zxid) {
    let holds = if before.epoch() == zxid.epoch() {
        zxid == before.next()
    } else {
        zxid.epoch() > before.epoch() && zxid.counter() == 1
    };
    assert!(holds, "local primary order: {slot:?} {verb} {zxid} after {before}");
}
