//! What the world saw the servers do: each server's log as written and as durable, and the one committed history.
//!
//! In: starts, writes, syncs and the picture after each step. Out: what the invariants compare.
//!
//! Always true:
//! * it is built only from what leaves a server (effects) and from its picture, never from its insides;
//! * `committed` is what servers delivered, in the order in which the first of them did;
//! * a disk's record changes only when a write is reported as synced, or when a start shows what a crash left.
//!
//! Not here: what must hold (`invariants`), what clients saw (`oracle`).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quorate::base::{Ensemble, Epoch, Epochs, Recovered, Room, ServerId, Write, WriteSeq, Zxid};
use quorate::zab::effects::Status;

use crate::network::Slot;
use crate::trace::{hash_bytes, mix};
use crate::wire::{self, Change, op};

/// A txn in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its place.
    pub zxid: Zxid,
    /// A hash of its bytes.
    pub hash: u64,
    /// Header, body and digest.
    pub txn: Bytes,
}

impl Logged {
    /// A txn with its hash.
    pub fn new(zxid: Zxid, txn: Bytes) -> Logged {
        Logged { zxid, hash: hash_bytes(0, &txn), txn }
    }

    /// The membership that it brings into force, if it is a reconfig.
    pub fn ensemble(&self) -> Option<Ensemble> {
        let kind = self.txn.get(28..32)?;
        if kind != op::RECONFIG.to_be_bytes() {
            return None;
        }
        match wire::txn(self.txn.clone()).expect("a reconfig can be read").change {
            Change::Reconfig { text } => Some(Ensemble::parse(&text).expect("a membership can be read")),
            change => panic!("{} has the type of a reconfig and is {change:?}", self.zxid),
        }
    }
}

/// A history as one server has it: a base that only a snapshot holds, and the txns after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Everything up to here is in a snapshot.
    pub base: Zxid,
    /// The txns after it.
    pub txns: Vec<Logged>,
    /// The epochs.
    pub epochs: Epochs,
}

impl History {
    /// The last zxid.
    pub fn last(&self) -> Zxid {
        self.txns.last().map_or(self.base, |logged| logged.zxid)
    }

    /// Whether a txn is in it; what lies at or before the base counts as in it.
    pub fn holds(&self, zxid: Zxid) -> bool {
        zxid <= self.base || self.position(zxid).is_ok()
    }

    /// The txn at this place.
    pub fn find(&self, zxid: Zxid) -> Option<&Logged> {
        self.position(zxid).ok().map(|index| &self.txns[index])
    }

    /// The txns after `after`, up to and with `to`.
    pub fn between(&self, after: Zxid, to: Zxid) -> &[Logged] {
        let from = self.txns.partition_point(|logged| logged.zxid <= after);
        let end = self.txns.partition_point(|logged| logged.zxid <= to);
        &self.txns[from..end.max(from)]
    }

    /// What a write does to it.
    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Append { zxid, txn } => self.txns.push(Logged::new(*zxid, txn.clone())),
            Write::Epochs(epochs) => self.epochs = *epochs,
            Write::Truncate(to) => {
                let keep = self.txns.partition_point(|logged| logged.zxid <= *to);
                self.txns.truncate(keep);
            }
            Write::Replace { zxid, .. } => {
                self.base = *zxid;
                self.txns.clear();
            }
            Write::Ensemble { .. } => {}
        }
    }

    fn position(&self, zxid: Zxid) -> Result<usize, usize> {
        self.txns.binary_search_by(|logged| logged.zxid.cmp(&zxid))
    }
}

/// A server after a step, as it shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its role.
    pub status: Status,
    /// The epochs that it acts on.
    pub epochs: Epochs,
    /// The last txn that its tree holds.
    pub delivered: Zxid,
    /// The digest of its tree.
    pub digest: u64,
}

impl Picture {
    /// The epoch that it leads, if it leads.
    pub fn leads(&self) -> Option<Epoch> {
        match self.status {
            Status::Leading(epoch) => Some(epoch),
            Status::Looking
            | Status::Discovering
            | Status::Joining(_)
            | Status::Following(..)
            | Status::Observing(..)
            | Status::Standalone => None,
        }
    }
}

/// One server, over all its starts.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// Its id.
    pub id: ServerId,
    /// Counted from 1 with each start.
    pub life: u32,
    /// Whether its process runs.
    pub is_running: bool,
    /// The history with every write that was asked for.
    pub written: History,
    /// The history with every write that was reported as synced.
    pub durable: History,
    /// Writes that were asked for and are not reported as synced.
    pub unsynced: VecDeque<(WriteSeq, Write)>,
    /// Its picture after the last step; `None` before its first.
    pub picture: Option<Picture>,
    /// How many txns of `committed` it has delivered.
    pub delivered_count: usize,
    /// A hash over everything that it has delivered.
    pub delivered_hash: u64,
    /// Whether a bit of a file of its disk was turned over.
    pub is_damaged: bool,
    /// How much room it was told that its disk has.
    pub room: Room,
}

/// A committed txn.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The txn.
    pub logged: Logged,
    /// A hash over the history up to and with it.
    pub prefix_hash: u64,
    /// Which server delivered it first.
    pub first: Slot,
}

/// Who gave a zxid to a txn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// A hash of the txn's bytes.
    pub hash: u64,
    /// The server that led.
    pub primary: Slot,
    /// Its life at that time.
    pub life: u32,
    /// What it had applied: at least, and at most.
    pub applied: (Zxid, Zxid),
    /// Whether its disk had room for what clients ask.
    pub had_room: bool,
}

/// Everything seen so far.
pub struct Facts {
    /// The servers by place.
    pub servers: Vec<ServerFacts>,
    /// The committed history.
    pub committed: Vec<Committed>,
    /// Everything that a primary gave a zxid.
    pub proposed: BTreeMap<Zxid, Proposed>,
    /// The memberships with the zxids that brought them into force.
    pub ensembles: Vec<(Zxid, Ensemble)>,
}

impl Facts {
    /// Nothing seen yet of these servers.
    pub fn new(ids: &[ServerId], ensemble: Ensemble) -> Facts {
        let servers = ids.iter().map(|id| ServerFacts::new(*id)).collect();
        Facts {
            servers,
            committed: Vec::new(),
            proposed: BTreeMap::new(),
            ensembles: vec![(Zxid(i64::MIN), ensemble)],
        }
    }

    /// One server.
    pub fn server(&self, slot: Slot) -> &ServerFacts {
        &self.servers[slot.0]
    }

    /// How many committed txns lie at or before a zxid.
    pub fn count_up_to(&self, zxid: Zxid) -> usize {
        self.committed.partition_point(|committed| committed.logged.zxid <= zxid)
    }

    /// The hash of the committed history's first `count` txns.
    pub fn prefix_hash(&self, count: usize) -> u64 {
        count.checked_sub(1).map_or(0, |last| self.committed[last].prefix_hash)
    }

    /// The last committed txn.
    pub fn last_committed(&self) -> Zxid {
        self.committed.last().map_or(Zxid::ZERO, |committed| committed.logged.zxid)
    }

    /// The last committed txn of an epoch before this one.
    pub fn last_committed_before(&self, epoch: Epoch) -> Zxid {
        let count = self.committed.partition_point(|committed| committed.logged.zxid.epoch() < epoch);
        count.checked_sub(1).map_or(Zxid::ZERO, |last| self.committed[last].logged.zxid)
    }

    /// The membership in force before a txn.
    pub fn ensemble_before(&self, zxid: Zxid) -> &Ensemble {
        let count = self.ensembles.partition_point(|(from, _)| *from < zxid);
        &self.ensembles[count - 1].1
    }

    /// The membership in force after everything that is committed.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensembles.last().expect("there is always the first one").1
    }

    /// A server has started from what its disk held. Its tree holds what the snapshot holds.
    pub fn on_started(&mut self, slot: Slot, recovered: &Recovered) {
        let base = recovered.snapshot.as_ref().map_or(Zxid::ZERO, |snapshot| snapshot.zxid);
        let txns = recovered.txns.iter().map(|(zxid, txn)| Logged::new(*zxid, txn.clone())).collect();
        let history = History { base, txns, epochs: recovered.epochs };
        let count = self.count_up_to(base);
        let hash = self.prefix_hash(count);
        let server = &mut self.servers[slot.0];
        server.life += 1;
        server.is_running = true;
        server.written = history.clone();
        server.durable = history;
        server.unsynced.clear();
        server.picture = None;
        server.room = Room::Enough;
        server.delivered_count = count;
        server.delivered_hash = hash;
    }

    /// A server's process is gone.
    pub fn on_stopped(&mut self, slot: Slot) {
        self.servers[slot.0].is_running = false;
    }

    /// A server's disk was replaced by an empty one.
    pub fn on_disk_replaced(&mut self, slot: Slot) {
        let server = &mut self.servers[slot.0];
        server.written = History::default();
        server.durable = History::default();
        server.unsynced.clear();
        server.is_damaged = false;
    }

    /// A server asks for a write. A txn appended by a leader in its own epoch is its proposal.
    pub fn on_write(&mut self, slot: Slot, seq: WriteSeq, write: &Write) {
        let server = &mut self.servers[slot.0];
        server.written.apply(write);
        server.unsynced.push_back((seq, write.clone()));
    }

    /// A server's writes up to `seq` are durable.
    pub fn on_synced(&mut self, slot: Slot, seq: WriteSeq) {
        let server = &mut self.servers[slot.0];
        while server.unsynced.front().is_some_and(|(first, _)| *first <= seq) {
            let (_, write) = server.unsynced.pop_front().expect("it was looked at");
            server.durable.apply(&write);
        }
    }

    /// A server's tree is replaced by a snapshot, or it delivered txns: its count and its hash move along.
    pub fn on_delivered(&mut self, slot: Slot, count: usize, hash: u64) {
        let server = &mut self.servers[slot.0];
        server.delivered_count = count;
        server.delivered_hash = hash;
    }

    /// A primary gives a zxid to a txn, in a step after which it has applied everything up to `applied`.
    pub fn propose(&mut self, slot: Slot, logged: &Logged, applied: Zxid) {
        let server = self.server(slot);
        let applied = (server.delivered().min(applied), applied);
        let (life, had_room, hash) = (server.life, server.room == Room::Enough, logged.hash);
        self.proposed.insert(logged.zxid, Proposed { hash, primary: slot, life, applied, had_room });
    }

    /// The first server has delivered a txn.
    pub fn commit(&mut self, slot: Slot, logged: &Logged) {
        let prefix_hash = chain(self.prefix_hash(self.committed.len()), logged);
        if let Some(ensemble) = logged.ensemble() {
            self.ensembles.push((logged.zxid, ensemble));
        }
        self.committed.push(Committed { logged: logged.clone(), prefix_hash, first: slot });
    }
}

impl ServerFacts {
    fn new(id: ServerId) -> ServerFacts {
        ServerFacts {
            id,
            life: 0,
            is_running: false,
            written: History::default(),
            durable: History::default(),
            unsynced: VecDeque::new(),
            picture: None,
            delivered_count: 0,
            delivered_hash: 0,
            is_damaged: false,
            room: Room::Enough,
        }
    }

    /// The last txn in its tree.
    pub fn delivered(&self) -> Zxid {
        self.picture.map_or(Zxid::ZERO, |picture| picture.delivered)
    }

    /// The epoch that it leads, if it leads.
    pub fn leads(&self) -> Option<Epoch> {
        self.picture?.leads()
    }
}

/// The hash of a history that gets one more txn.
pub fn chain(hash: u64, logged: &Logged) -> u64 {
    mix(mix(hash, logged.zxid.0 as u64), logged.hash)
}
