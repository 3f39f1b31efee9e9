//! What must hold after every step, one file for each invariant, named as the protocol's specification names them.
//!
//! In: what a server did ([`Seen`]) and everything seen so far ([`Facts`]). Out: nothing, or a panic that says what
//! broke.
//!
//! Always true:
//! * an invariant looks at what leaves a server and at its picture, never at what it meant to do;
//! * a check costs no more than the step that it checks.
//!
//! Not here: what clients may see (`oracle`), recording (`facts`).

pub mod agreement;
pub mod digests;
pub mod durability;
pub mod ephemerals;
pub mod epoch_order;
pub mod global_primary_order;
pub mod integrity;
pub mod leadership;
pub mod local_primary_order;
pub mod local_sessions;
pub mod messages;
pub mod prefix_consistency;
pub mod primary_integrity;
pub mod quotas;
pub mod reaping;
pub mod sessions;
pub mod total_order;
pub mod watch_events;
pub mod watches;

use quorate::base::{Epochs, LinkId, Recovered, Write, WriteSeq, Zxid};
use quorate::zab::effects::Status;
use quorate::zab::packet::Packet;
use quorate::zab::vote::Notification;

use crate::facts::{Facts, Logged, Picture, chain};
use crate::network::Slot;

/// What a server did.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// It started from this.
    Started(&'a Recovered),
    /// Its process ended.
    Stopped,
    /// It asks for a write.
    Write(&'a Write),
    /// Writes of it became durable; these were its durable epochs before.
    Synced(Epochs),
    /// It sends a packet on a link.
    Sent(LinkId, &'a Packet),
    /// It gets a packet on a link.
    Got(LinkId, &'a Packet),
    /// It sends a notification.
    Voted(&'a Notification),
    /// It proposes this txn as primary.
    Proposed(&'a Logged),
    /// Its tree was replaced by a snapshot of this zxid.
    Installed(Zxid),
    /// It delivers this txn, which has this place in the committed history.
    Delivered(usize, &'a Logged),
    /// This is its picture after the step; the second is the one before, `None` at its start.
    Stepped(&'a Picture, Option<&'a Picture>),
}

/// All invariants with what they remember.
#[derive(Default)]
pub struct Invariants {
    /// At most one leader in an epoch.
    pub leadership: leadership::Leadership,
    /// When leaders heard of sessions.
    pub sessions: sessions::Sessions,
    epoch_order: epoch_order::EpochOrder,
    digests: digests::Digests,
    durability: durability::Durability,
    messages: messages::Messages,
}

impl Invariants {
    /// Checks one thing that a server did. `facts` hold everything before it.
    pub fn check(&mut self, facts: &Facts, slot: Slot, seen: &Seen<'_>) {
        self.leadership.check(facts, slot, seen);
        self.epoch_order.check(facts, slot, seen);
        prefix_consistency::check(facts, slot, seen);
        integrity::check(facts, slot, seen);
        agreement::check(facts, slot, seen);
        total_order::check(facts, slot, seen);
        local_primary_order::check(facts, slot, seen);
        global_primary_order::check(facts, slot, seen);
        primary_integrity::check(facts, slot, seen);
        self.durability.check(facts, slot, seen);
        self.digests.check(facts, slot, seen);
        self.messages.check(slot, seen);
    }

    /// Records a start and checks it.
    pub fn on_started(&mut self, facts: &mut Facts, slot: Slot, recovered: &Recovered) {
        self.check(facts, slot, &Seen::Started(recovered));
        facts.on_started(slot, recovered);
    }

    /// Records the end of a process.
    pub fn on_stopped(&mut self, facts: &mut Facts, slot: Slot) {
        self.check(facts, slot, &Seen::Stopped);
        facts.on_stopped(slot);
    }

    /// Records that a server's disk was replaced by an empty one.
    pub fn on_disk_replaced(&mut self, facts: &mut Facts, slot: Slot) {
        self.durability.on_disk_replaced(slot);
        facts.on_disk_replaced(slot);
    }

    /// Records a write and checks it. `picture` is the one after the step in which it was asked for.
    pub fn on_write(
        &mut self,
        facts: &mut Facts,
        slot: Slot,
        picture: &Picture,
        seq: WriteSeq,
        write: &Write,
    ) {
        self.check(facts, slot, &Seen::Write(write));
        if let Write::Append { zxid, txn } = write {
            let logged = Logged::new(*zxid, txn.clone());
            let leads = |picture: &Picture| picture.status == Status::Leading(zxid.epoch());
            let led = facts.server(slot).picture.as_ref().is_some_and(leads);
            if led || leads(picture) {
                self.check(facts, slot, &Seen::Proposed(&logged));
                facts.propose(slot, &logged, picture.delivered);
            }
        }
        facts.on_write(slot, seq, write);
    }

    /// Records that writes are durable and checks it.
    pub fn on_synced(&mut self, facts: &mut Facts, slot: Slot, seq: WriteSeq) {
        let before = facts.server(slot).durable.epochs;
        facts.on_synced(slot, seq);
        self.check(facts, slot, &Seen::Synced(before));
    }

    /// Records the picture after a step, and what was delivered with it.
    pub fn on_stepped(&mut self, facts: &mut Facts, slot: Slot, picture: &Picture) {
        let before = facts.server(slot).picture;
        if before.as_ref() == Some(picture) {
            return;
        }
        if before.map(|before| before.delivered) != Some(picture.delivered) {
            self.on_delivered(facts, slot, picture.delivered);
        }
        facts.servers[slot.0].picture = Some(*picture);
        self.check(facts, slot, &Seen::Stepped(picture, before.as_ref()));
    }

    fn on_delivered(&mut self, facts: &mut Facts, slot: Slot, to: Zxid) {
        let server = facts.server(slot);
        let base = server.written.base;
        let mut from = server.delivered();
        let (mut count, mut hash) = (server.delivered_count, server.delivered_hash);
        if from < base {
            self.check(facts, slot, &Seen::Installed(base));
            count = facts.count_up_to(base);
            hash = facts.prefix_hash(count);
            from = base;
        }
        let txns = facts.server(slot).written.between(from, to).to_vec();
        for logged in &txns {
            self.check(facts, slot, &Seen::Delivered(count, logged));
            if count == facts.committed.len() {
                facts.commit(slot, logged);
            }
            count += 1;
            hash = chain(hash, logged);
            facts.on_delivered(slot, count, hash);
        }
        facts.on_delivered(slot, count, hash);
    }
}
