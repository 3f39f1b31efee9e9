//! Message expectations: no message type in a phase where the protocol does not list it.
//!
//! In: every packet that a server sends, by link. Out: a panic at a packet out of its phase or out of order.
//!
//! Always true:
//! * a learner says LEARNERINFO, ACKEPOCH, ACK(NEWLEADER), and only then anything else;
//! * a leader says LEADERINFO, one of DIFF, TRUNC and SNAP, history, NEWLEADER, UPTODATE, and only then anything else;
//! * on one link proposals, commits and acks each go up by one.
//!
//! Not here: whether what is said is true (`durability`).

use std::collections::BTreeMap;

use quorate::base::{LinkId, Zxid};
use quorate::zab::packet::Packet;

use super::Seen;
use crate::network::Slot;

/// How far the sender of a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent.
    Fresh,
    /// Learner: it introduced itself.
    Introduced,
    /// Learner: it accepted the epoch.
    Accepted,
    /// Learner: it acknowledged NEWLEADER.
    Level,
    /// Leader: it named the epoch.
    Named,
    /// Leader: history is on its way.
    Syncing,
    /// Leader: NEWLEADER is sent.
    Closing,
    /// Leader: UPTODATE is sent.
    Broadcasting,
}

/// Whether the sender showed the mark of a Quorate server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// It did.
    Shown,
    /// It did not, or not yet.
    Hidden,
}

/// What was sent on one link by one side.
#[derive(Clone, Copy, Debug)]
struct Sender {
    mark: Mark,
    phase: Phase,
    proposed: Zxid,
    committed: Zxid,
    acked: Zxid,
    /// What the learner at the other end brought along.
    held: Zxid,
}

/// Nothing was sent.
const FRESH: Sender = Sender {
    mark: Mark::Hidden,
    phase: Phase::Fresh,
    proposed: Zxid::ZERO,
    committed: Zxid::ZERO,
    acked: Zxid::ZERO,
    held: Zxid::ZERO,
};

/// Every link of every running server.
#[derive(Default)]
pub struct Messages {
    senders: BTreeMap<(Slot, LinkId), Sender>,
}

impl Messages {
    /// Checks a packet that is sent.
    pub fn check(&mut self, slot: Slot, seen: &Seen<'_>) {
        match seen {
            Seen::Stopped => self.senders.retain(|(of, _), _| *of != slot),
            Seen::Sent(link, packet) => {
                let sender = self.senders.entry((slot, *link)).or_insert(FRESH);
                let before = *sender;
                assert!(sender.sends(packet), "messages: {slot:?} sends on {link} {packet:?} in {before:?}");
            }
            Seen::Got(link, Packet::AckEpoch { last, .. }) => {
                self.senders.entry((slot, *link)).or_insert(FRESH).held = *last;
            }
            Seen::Started(_)
            | Seen::Got(..)
            | Seen::Write(_)
            | Seen::Synced(_)
            | Seen::Voted(_)
            | Seen::Proposed(_)
            | Seen::Installed(_)
            | Seen::Delivered(..)
            | Seen::Stepped(..) => {}
        }
    }
}

impl Sender {
    /// Whether this packet may follow; moves the phase.
    fn sends(&mut self, packet: &Packet) -> bool {
        use Phase::{Accepted, Broadcasting, Closing, Fresh, Introduced, Level, Named, Syncing};
        let (from, to): (&[Phase], Phase) = match packet {
            // Between servers that showed their marks, each says that it lives while the learner gets level.
            Packet::Pong { zxid: Zxid::NONE, .. } if self.mark == Mark::Shown && self.phase != Level => {
                (&[Introduced, Accepted], self.phase)
            }
            Packet::Ping(_) if self.mark == Mark::Shown && matches!(self.phase, Named | Syncing) => {
                (&[Named, Syncing], self.phase)
            }
            Packet::LearnerInfo { .. } => (&[Fresh], Introduced),
            Packet::AckEpoch { .. } => (&[Introduced], Accepted),
            Packet::Ack(_) => (&[Accepted, Level], Level),
            Packet::Pong { .. } | Packet::Request(_) | Packet::Revalidate { .. } => (&[Level], Level),
            Packet::LeaderInfo { .. } => (&[Fresh], Named),
            Packet::Diff(_) | Packet::Trunc(_) | Packet::Snap { .. } => (&[Named], Syncing),
            Packet::NewLeader { .. } => (&[Syncing], Closing),
            Packet::UpToDate => (&[Closing], Broadcasting),
            Packet::Ping(_) if self.phase == Closing => (&[Closing], Closing),
            Packet::Proposal(_) | Packet::Commit(_) if self.phase == Syncing => (&[Syncing], Syncing),
            Packet::Proposal(_)
            | Packet::Commit(_)
            | Packet::CommitAndActivate { .. }
            | Packet::Inform(_)
            | Packet::InformAndActivate { .. }
            | Packet::Ping(_)
            | Packet::Revalidated { .. }
            | Packet::Sync
            | Packet::HandOver { .. } => (&[Broadcasting], Broadcasting),
        };
        if let Packet::LearnerInfo { mark: Some(_), .. } | Packet::LeaderInfo { mark: Some(_), .. } = packet {
            self.mark = Mark::Shown;
        }
        let is_listed = from.contains(&self.phase);
        self.phase = to;
        is_listed && self.counts(packet)
    }

    /// Whether the packet's zxid goes on where the last one ended.
    fn counts(&mut self, packet: &Packet) -> bool {
        match packet {
            Packet::Ack(zxid) if zxid.counter() == 0 => true,
            Packet::Ack(zxid) => goes_on(&mut self.acked, *zxid),
            Packet::Proposal(proposal) => goes_on(&mut self.proposed, proposal.zxid),
            Packet::Inform(proposal) | Packet::InformAndActivate { proposal, .. } => {
                goes_on(&mut self.proposed, proposal.zxid) && goes_on(&mut self.committed, proposal.zxid)
            }
            Packet::Commit(zxid) | Packet::CommitAndActivate { zxid, .. } => {
                // What a Quorate learner brought along is not proposed again.
                let is_held = self.mark == Mark::Shown && *zxid <= self.held;
                (*zxid <= self.proposed || is_held) && goes_on(&mut self.committed, *zxid)
            }
            _ => true,
        }
    }
}

/// Whether `zxid` follows `last`: the next counter, or the first of a later epoch; moves `last`.
fn goes_on(last: &mut Zxid, zxid: Zxid) -> bool {
    let before = std::mem::replace(last, zxid);
    before == Zxid::ZERO || zxid == before.next() || (zxid.epoch() > before.epoch() && zxid.counter() == 1)
}
