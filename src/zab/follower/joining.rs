//! Joining a leader: agreeing on its epoch, and getting level with its history.
//!
//! In: LEADERINFO, then DIFF, TRUNC or SNAP and what follows up to UPTODATE. Out: ACKEPOCH and the ACK of NEWLEADER.
//!
//! Always true:
//! * the promise of an epoch is durable before it is told;
//! * history durable, then the epoch, then the acknowledgement of NEWLEADER;
//! * a zxid below the log's end is told only where it is not counted.
//!
//! Not here: the broadcast (`follower`).

use std::collections::VecDeque;

use tracing::{info, warn};

use super::{Follower, Phase, Sync, log};
use crate::base::{Ensemble, Zxid};
use crate::zab::effects::{News, When};
use crate::zab::machine::Role;
use crate::zab::packet::Packet;
use crate::zab::shared::Shared;
use crate::zab::vote::{Vote, raw_epoch};

impl Follower {
    pub(super) fn on_leader_info(&mut self, shared: &mut Shared, packet: Packet) -> Option<Role> {
        let Packet::LeaderInfo { epoch, mark } = packet else {
            return Some(self.resync(shared, "the first packet is not LEADERINFO"));
        };
        if shared.is_foreign(mark.as_ref()) {
            return Some(self.resync(shared, "the leader belongs to another ensemble"));
        }
        if epoch < shared.epochs.accepted {
            return Some(self.resync(shared, "the leader's epoch is older than one that was promised"));
        }
        self.quorate = mark.is_some();
        self.epoch = epoch;
        let mut current = None;
        if epoch > shared.epochs.accepted {
            shared.epochs.accepted = epoch;
            shared.write_epochs();
            current = Some(shared.epochs.current);
        }
        let last = match (shared.needs_snapshot, shared.may_vote) {
            (true, _) => Zxid::ZERO,
            (false, true) => shared.history.last(),
            (false, false) => Zxid::NONE,
        };
        // A zxid below the log's end may only be said where it is not counted.
        let current = current.filter(|_| !shared.needs_snapshot);
        self.send(shared, Packet::AckEpoch { current, last }, When::Durable);
        self.phase = Phase::AwaitingSync;
        None
    }

    pub(super) fn on_sync_start(&mut self, shared: &mut Shared, packet: Packet) -> Option<Role> {
        match packet {
            Packet::Diff(zxid) => {
                let committed = shared.history.last().min(zxid);
                self.phase = Phase::Syncing(Sync { committed, ..Sync::default() });
                None
            }
            Packet::Trunc(zxid) if shared.history.can_truncate(zxid) => {
                shared.history.truncate(&mut shared.fx, zxid);
                shared.withdraw_above(zxid);
                self.phase = Phase::Syncing(Sync { committed: zxid, ..Sync::default() });
                None
            }
            Packet::Trunc(zxid) => {
                warn!(%zxid, delivered = %shared.history.delivered(), "the log cannot be cut there: asking for a snapshot");
                shared.needs_snapshot = true;
                Some(Role::Following(Box::new(Follower::start(shared, self.leader))))
            }
            Packet::Snap { zxid, .. } if zxid < shared.history.delivered() && !shared.needs_snapshot => {
                Some(self.resync(shared, "the leader's snapshot lacks what was committed"))
            }
            Packet::Snap { zxid, ref body } => {
                info!(%zxid, bytes = body.len(), "a snapshot came");
                shared.fx.news(News::Install { zxid, body: body.clone() });
                self.phase = Phase::Installing { snapshot: Box::new(packet), queue: VecDeque::new() };
                None
            }
            Packet::Ping(_) => None,
            _ => Some(self.resync(shared, "the synchronisation begins with none of DIFF, TRUNC and SNAP")),
        }
    }

    /// The tree of a snapshot is in place.
    pub(in crate::zab) fn on_installed(&mut self, shared: &mut Shared, digest: u64) -> Option<Role> {
        let Phase::Installing { snapshot, queue } = &mut self.phase else { return None };
        let Packet::Snap { zxid, body } = snapshot.as_ref() else { return None };
        let (zxid, body, queue) = (*zxid, body.clone(), std::mem::take(queue));
        shared.history.replace(&mut shared.fx, zxid, body, digest);
        shared.needs_snapshot = false;
        self.phase = Phase::Syncing(Sync { committed: zxid, ..Sync::default() });
        queue.into_iter().find_map(|packet| self.on_packet(shared, packet))
    }

    pub(super) fn on_sync_packet(&mut self, shared: &mut Shared, packet: Packet) -> Option<Role> {
        let is_acknowledged = matches!(self.phase, Phase::Acknowledged(_));
        let (Phase::Syncing(sync) | Phase::Acknowledged(sync)) = &mut self.phase else { return None };
        match packet {
            Packet::Proposal(proposal) => {
                if !shared.history.may_follow(proposal.zxid) {
                    return Some(self.resync(shared, "a proposal does not follow the one before"));
                }
                sync.unacknowledged.push_back(proposal.zxid);
                log(shared, proposal);
                None
            }
            Packet::Commit(zxid) | Packet::CommitAndActivate { zxid, .. } => {
                if shared.history.after(sync.committed).next().is_none_or(|next| next.zxid != zxid) {
                    return Some(self.resync(shared, "a commit is not of the next proposal"));
                }
                sync.committed = zxid;
                if !is_acknowledged {
                    while sync.unacknowledged.pop_front_if(|waiting| *waiting <= zxid).is_some() {}
                }
                if let (true, Packet::CommitAndActivate { leader, .. }) = (is_acknowledged, packet) {
                    self.activations.push_back((zxid, leader));
                }
                None
            }
            Packet::NewLeader { zxid, config } if !is_acknowledged => {
                self.on_new_leader(shared, zxid, config)
            }
            Packet::UpToDate if is_acknowledged => self.on_up_to_date(shared),
            Packet::Ping(_) => None,
            _ => Some(self.resync(shared, "a packet has no place in the synchronisation")),
        }
    }

    fn on_new_leader(&mut self, shared: &mut Shared, zxid: Zxid, config: Option<String>) -> Option<Role> {
        if zxid != Zxid::new(self.epoch, 0) {
            return Some(self.resync(shared, "NEWLEADER has another epoch than LEADERINFO"));
        }
        let Phase::Syncing(mut sync) = std::mem::replace(&mut self.phase, Phase::AwaitingSync) else {
            return None;
        };
        match config.as_deref().map(Ensemble::parse) {
            Some(Ok(ensemble)) => {
                // What was proposed before and is not in the leader's history is void.
                let was_withdrawn = shared.membership.withdraw();
                let is_new = shared.membership.propose(ensemble.clone());
                let is_held = shared.propose_held();
                if was_withdrawn || is_new || is_held {
                    shared.write_ensemble();
                }
                sync.ensemble = Some(ensemble);
            }
            Some(Err(error)) => warn!(%error, "the membership in NEWLEADER cannot be read"),
            None => {}
        }
        // History, epoch, acknowledgement: writes become durable in the order asked for.
        shared.epochs.current = self.epoch;
        shared.may_vote = true;
        shared.write_epochs();
        self.send(shared, Packet::Ack(zxid), When::Durable);
        self.phase = Phase::Acknowledged(sync);
        None
    }

    fn on_up_to_date(&mut self, shared: &mut Shared) -> Option<Role> {
        let Phase::Acknowledged(sync) = std::mem::replace(&mut self.phase, Phase::AwaitingSync) else {
            return None;
        };
        // An Apache leader names the newest membership that it proposed: one of this epoch is in force once it is
        // committed, as any txn.
        let is_committed = |ensemble: &Ensemble| {
            let version = ensemble.version;
            version.epoch() != self.epoch || version.counter() == 0 || version <= sync.committed
        };
        if let Some(ensemble) = sync.ensemble.filter(is_committed) {
            shared.activate(ensemble);
        }
        shared.vote = Vote { leader: self.leader, epoch: raw_epoch(self.epoch), ..shared.vote };
        self.send(shared, Packet::Ack(Zxid::new(self.epoch, 0)), When::Durable);
        for zxid in sync.unacknowledged {
            self.send(shared, Packet::Ack(zxid), When::Durable);
        }
        shared.history.commit(sync.committed);
        self.phase = Phase::Live { serve_from: sync.committed, serving: false };
        info!(leader = %self.leader, epoch = %self.epoch, committed = %sync.committed, "level with the leader");
        self.after_commit(shared)
    }
}
