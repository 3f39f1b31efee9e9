//! Durability: an acked txn is in the durable log of the acker until a leader of a higher epoch replaces it.
//!
//! In: promises that leave a server, what a start finds, and each new commit. Out: a panic when one of them lies.
//!
//! Always true:
//! * ACK, ACKEPOCH, LEADERINFO and a vote say only what is on the sender's disk;
//! * a start finds what was durable, and of the rest a prefix, in the order in which it was written; a disk with a
//!   damaged file holds the same, if from an older snapshot on;
//! * a txn is delivered first when a quorum of the membership in force has it on disk;
//! * no cut and no snapshot takes a committed txn away.
//!
//! Not here: what clients were told (`oracle`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::{Ensemble, Epoch, LinkId, Recovered, ServerId, Write, Zxid};
use quorate::zab::packet::Packet;
use quorate::zab::vote::{Notification, PeerState};

use super::Seen;
use crate::facts::{Facts, History, Logged};
use crate::network::Slot;

/// What each server promised.
#[derive(Default)]
pub struct Durability {
    /// The highest zxid that each server acked in its present life, and that no leader has taken back.
    acked: Vec<Zxid>,
    /// The epoch that each link's leader named.
    invited: BTreeMap<(Slot, LinkId), Epoch>,
}

impl Durability {
    /// Checks a start, a write, a promise or a delivered txn.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        if self.acked.len() <= slot.0 {
            self.acked.resize(facts.servers.len(), Zxid::ZERO);
        }
        match seen {
            Seen::Started(recovered) => finds_what_was_durable(facts, slot, recovered),
            Seen::Write(write) => self.on_write(facts, slot, write),
            Seen::Sent(link, packet) => self.on_sent(facts, slot, *link, packet),
            Seen::Voted(notification) => self.on_voted(facts, slot, notification),
            Seen::Delivered(place, logged) if *place == facts.committed.len() => {
                is_on_a_quorum(facts, logged)
            }
            Seen::Got(link, Packet::LeaderInfo { epoch, .. }) => {
                self.invited.insert((slot, *link), *epoch);
            }
            Seen::Stopped => self.invited.retain(|(of, _), _| *of != slot),
            Seen::Got(..)
            | Seen::Synced(_)
            | Seen::Proposed(_)
            | Seen::Installed(_)
            | Seen::Delivered(..)
            | Seen::Stepped(..) => {}
        }
    }

    /// A server has an empty disk: what it promised is gone with the old one.
    pub fn on_disk_replaced(&mut self, slot: Slot) {
        if let Some(acked) = self.acked.get_mut(slot.0) {
            *acked = Zxid::ZERO;
        }
    }

    /// A cut or a snapshot may take only what was never committed.
    fn on_write(&mut self, facts: &Facts, slot: Slot, write: &Write) {
        let written = &facts.server(slot).written;
        match write {
            Write::Truncate(to) => {
                let last = facts.last_committed();
                let lost = written.between(*to, last).iter().find(|logged| is_committed(facts, logged));
                assert!(
                    lost.is_none(),
                    "durability: {slot:?} cuts to {to} and takes away committed {lost:?}"
                );
                self.acked[slot.0] = self.acked[slot.0].min(*to);
            }
            Write::Replace { zxid, .. } => {
                let last = facts.last_committed();
                let lost = written.between(*zxid, last).iter().find(|logged| is_committed(facts, logged));
                assert!(
                    lost.is_none(),
                    "durability: {slot:?} installs {zxid} and takes away committed {lost:?}"
                );
                assert!(
                    written.base <= *zxid,
                    "durability: {slot:?} goes back from {} to a snapshot of {zxid}",
                    written.base
                );
                self.acked[slot.0] = self.acked[slot.0].min(*zxid);
            }
            Write::Append { .. } | Write::Epochs(_) | Write::Ensemble { .. } => {}
        }
    }

    fn on_sent(&mut self, facts: &Facts, slot: Slot, link: LinkId, packet: &Packet) {
        let durable = &facts.server(slot).durable;
        match packet {
            Packet::Ack(zxid) if zxid.counter() == 0 => assert!(
                durable.epochs.current >= zxid.epoch(),
                "durability: {slot:?} acks NEWLEADER of epoch {} on {link}, and {:?} are durable",
                zxid.epoch(),
                durable.epochs
            ),
            Packet::Ack(zxid) => {
                assert!(
                    durable.holds(*zxid),
                    "durability: {slot:?} acks {zxid} on {link}, and its durable log ends at {}",
                    durable.last()
                );
                self.acked[slot.0] = self.acked[slot.0].max(*zxid);
            }
            Packet::AckEpoch { current, last } => {
                let epoch = self.invited.get(&(slot, link)).copied().unwrap_or_default();
                promised(slot, "ACKEPOCH", epoch, durable);
                let is_true = *last <= durable.last().max(Zxid::ZERO) && *last >= self.acked[slot.0];
                // An empty disk that may not vote vouches for nothing.
                let says_nothing = *last == Zxid::NONE && self.acked[slot.0] == Zxid::ZERO;
                assert!(
                    is_true || says_nothing || current.is_none(),
                    "durability: {slot:?} says that it holds {last}: durable {}, acked {}",
                    durable.last(),
                    self.acked[slot.0]
                );
            }
            Packet::LeaderInfo { epoch, .. } => promised(slot, "LEADERINFO", *epoch, durable),
            _ => {}
        }
    }

    /// A server in an election that votes for itself shows what its disk holds.
    fn on_voted(&mut self, facts: &Facts, slot: Slot, notification: &Notification) {
        let server = facts.server(slot);
        let vote = &notification.vote;
        if notification.state != PeerState::Looking || vote.leader != server.id {
            return;
        }
        let epoch = Epoch(u32::try_from(vote.epoch).unwrap_or(0));
        assert!(
            epoch <= server.durable.epochs.current,
            "durability: {slot:?} votes with epoch {epoch}, and {:?} are durable",
            server.durable.epochs
        );
        assert!(
            vote.zxid <= server.durable.last().max(Zxid::ZERO)
                && vote.zxid >= self.acked[slot.0].min(vote.zxid),
            "durability: {slot:?} votes with {}: durable {}, acked {}",
            vote.zxid,
            server.durable.last(),
            self.acked[slot.0]
        );
    }
}

fn promised(slot: Slot, what: &str, epoch: Epoch, durable: &History) {
    assert!(
        durable.epochs.accepted >= epoch,
        "durability: {slot:?} sends {what} of epoch {epoch}, and {:?} are durable",
        durable.epochs
    );
}

fn is_committed(facts: &Facts, logged: &Logged) -> bool {
    let place = facts.count_up_to(logged.zxid);
    place.checked_sub(1).is_some_and(|place| facts.committed[place].logged == *logged)
}

/// The membership in force at the txn has it on the disks of a quorum; a reconfig itself needs the one before, too.
fn is_on_a_quorum(facts: &Facts, logged: &Logged) {
    let holders: BTreeSet<ServerId> = facts
        .servers
        .iter()
        .filter(|server| {
            server.durable.base >= logged.zxid || server.durable.find(logged.zxid) == Some(logged)
        })
        .map(|server| server.id)
        .collect();
    let needed = [Some(facts.ensemble_before(logged.zxid).clone()), logged.ensemble()];
    for ensemble in needed.into_iter().flatten() {
        assert!(
            is_majority(&ensemble, &holders),
            "durability: {} is committed and only on the disks of {holders:?}, members {}",
            logged.zxid,
            ensemble.lines().join(" ")
        );
    }
}

/// Counted here a second time, since the crate's own count is under test. These runs have no groups and no weights.
fn is_majority(ensemble: &Ensemble, holders: &BTreeSet<ServerId>) -> bool {
    let voters = ensemble.voters().count();
    let holding = ensemble.voters().filter(|voter| holders.contains(&voter.id)).count();
    2 * holding > voters
}

/// A start finds the durable history, followed by a prefix of the writes that were not reported as synced.
fn finds_what_was_durable(facts: &Facts, slot: Slot, recovered: &Recovered) {
    let server = facts.server(slot);
    let mut model = server.durable.clone();
    let history = beyond_snapshot(facts, slot, recovered, model.base);
    if is_found(&model, recovered, history) {
        return;
    }
    for (_, write) in &server.unsynced {
        model.apply(write);
        let history = beyond_snapshot(facts, slot, recovered, model.base);
        if is_found(&model, recovered, history) {
            return;
        }
    }
    panic!(
        "durability: {slot:?} starts with {:?}, last {}, snapshot {:?}; durable were {:?}, last {}, base {}, and {} \
         writes were not synced, up to {}",
        recovered.epochs,
        recovered.last_zxid(),
        recovered.snapshot.as_ref().map(|snapshot| snapshot.zxid),
        server.durable.epochs,
        server.durable.last(),
        server.durable.base,
        server.unsynced.len(),
        server.written.last()
    );
}

/// The recovered txns that the model's snapshot does not hold. Those that it holds must be the committed ones, and only a
/// damaged disk may show them; `None` if they are not, or it is not.
fn beyond_snapshot<'a>(
    facts: &Facts,
    slot: Slot,
    recovered: &'a Recovered,
    base: Zxid,
) -> Option<&'a [(Zxid, Bytes)]> {
    let from = recovered.snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
    if from >= base {
        return Some(&recovered.txns);
    }
    let (held, beyond) = recovered.txns.split_at(recovered.txns.partition_point(|(zxid, _)| *zxid <= base));
    let committed = &facts.committed[facts.count_up_to(from)..facts.count_up_to(base)];
    let is_same = held.len() == committed.len()
        && held.iter().zip(committed).all(|((_, txn), committed)| *txn == committed.logged.txn);
    (facts.server(slot).is_damaged && is_same).then_some(beyond)
}

fn is_found(model: &History, recovered: &Recovered, history: Option<&[(Zxid, Bytes)]>) -> bool {
    let Some(txns) = history else { return false };
    let base = recovered.snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid).max(model.base);
    let last = recovered.last_zxid().max(Zxid::ZERO);
    // A log that holds a txn of an epoch holds the epoch's initial history: a start mends an epoch file that is behind.
    let current = model.epochs.current.max(last.epoch());
    let accepted = model.epochs.accepted.max(current);
    last == model.last().max(base)
        && recovered.epochs.current == current
        && recovered.epochs.accepted == accepted
        && model.between(base, last).len() == txns.len()
        && txns
            .iter()
            .zip(model.between(base, last))
            .all(|((zxid, txn), logged)| *zxid == logged.zxid && *txn == logged.txn)
}
