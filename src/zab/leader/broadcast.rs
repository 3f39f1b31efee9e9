//! The broadcast: proposals out, acknowledgements in, commits in order; requests, syncs and pings of learners.
//!
//! In: proposals of the replica, packets of learners. Out: proposals, commits, deliveries, answers.
//!
//! Always true:
//! * a txn commits when all before it have, and a quorum of every membership that counts has it on disk;
//! * a sync is answered only after a quorum still followed this leader when it was asked (F-50).
//!
//! Not here: what a request becomes (`replica`).

use std::collections::BTreeSet;

use super::{Kind, Leader, Phase, Stage, Whom};
use crate::base::{LinkId, Millis, ServerId, SessionId, Zxid};
use crate::zab::effects::{News, When};
use crate::zab::machine::Role;
use crate::zab::packet::{Forwarded, Packet, Proposal};
use crate::zab::quorum::membership_of;
use crate::zab::shared::Shared;

/// The operation code of `sync`.
const SYNC_OP: i32 = 9;
/// The operations that servers forward: writes of clients, and sessions that come and go.
const FORWARDED_OPS: [i32; 13] = [1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21, -10, -11];

/// A txn that was proposed and is not committed.
#[derive(Debug)]
pub(super) struct Outstanding {
    proposal: Proposal,
    /// Whether it changes the membership.
    is_reconfig: bool,
    acks: BTreeSet<ServerId>,
    pub(super) since: Millis,
}

/// A sync that waits for what came before it, and for a quorum to confirm this leader.
#[derive(Debug)]
pub(super) struct PendingSync {
    /// The learner that asks; `None` is this server.
    pub(super) of: Option<LinkId>,
    after: Zxid,
    probe: u64,
}

impl Leader {
    /// The zxid that the next proposal gets.
    pub(in crate::zab) fn next_zxid(&self) -> Option<Zxid> {
        let may_propose = self.phase == Phase::Serving && self.transfer.is_none();
        let has_room = self.last_proposed.counter() < Zxid::LAST_COUNTER;
        (may_propose && has_room).then(|| self.last_proposed.next())
    }

    /// Logs a txn and proposes it to every follower that is level.
    pub(in crate::zab) fn propose(&mut self, shared: &mut Shared, proposal: Proposal) {
        let (zxid, now) = (proposal.zxid, shared.now.mono);
        let reconfig = membership_of(&proposal);
        let is_reconfig = reconfig.is_some();
        self.last_proposed = zxid;
        shared.history.append(&mut shared.fx, proposal.clone());
        // After the txn, so that no disk holds the proposed membership without it.
        if let Some(ensemble) = reconfig {
            shared.note_proposed(ensemble);
        }
        for (link, learner) in &mut self.learners {
            if learner.is_live() && learner.kind == Kind::Follower {
                shared.fx.send(*link, Packet::Proposal(proposal.clone()), When::Now);
                learner.on_proposed(zxid, now);
            }
        }
        self.outstanding.push_back(Outstanding { proposal, is_reconfig, acks: BTreeSet::new(), since: now });
        self.drop_hoarders(shared);
    }

    pub(super) fn on_ack(&mut self, shared: &mut Shared, link: LinkId, zxid: Zxid) -> Option<Role> {
        let learner = self.learners.get_mut(&link)?;
        let is_new_leader = zxid == Zxid::new(self.epoch, 0);
        match learner.stage {
            Stage::Syncing if is_new_leader => self.on_new_leader_ack(shared, link),
            Stage::Syncing | Stage::Synced => None,
            Stage::Live if zxid.counter() == 0 || learner.kind == Kind::Observer => None,
            Stage::Live if zxid < Zxid::ZERO || zxid > learner.sent => {
                self.drop_learner(shared, link, "it acknowledges what it was not sent");
                None
            }
            Stage::Live => {
                learner.on_ack(zxid);
                let id = learner.id;
                let first = self.outstanding.front().map_or(zxid.next(), |oldest| oldest.proposal.zxid);
                let index = usize::try_from(zxid.0 - first.0).ok();
                match index.and_then(|index| self.outstanding.get_mut(index)) {
                    Some(outstanding) => {
                        outstanding.acks.insert(id);
                        self.commit_what_may(shared)
                    }
                    // It was committed without this one, which may be the successor that is waited for.
                    None => self.continue_transfer(shared),
                }
            }
            Stage::Connected
            | Stage::Greeted
            | Stage::Invited
            | Stage::Accepted { .. }
            | Stage::SnapshotWanted => {
                self.drop_learner(shared, link, "it acknowledges what it was not sent");
                None
            }
        }
    }

    /// A learner that got level holds everything up to `held`: its acknowledgement of NEWLEADER says so.
    pub(super) fn acknowledge_held(&mut self, shared: &mut Shared, id: ServerId, held: Zxid) -> Option<Role> {
        for outstanding in self.outstanding.iter_mut().take_while(|entry| entry.proposal.zxid <= held) {
            outstanding.acks.insert(id);
        }
        self.commit_what_may(shared)
    }

    /// Counts the leader itself for what is on its own disk.
    pub(super) fn acknowledge_own(&mut self, shared: &mut Shared) -> Option<Role> {
        let (me, durable) = (shared.id(), shared.history.durable());
        let start = self.outstanding.partition_point(|entry| entry.proposal.zxid <= self.self_acked);
        for outstanding in self.outstanding.range_mut(start..) {
            if outstanding.proposal.zxid > durable {
                break;
            }
            outstanding.acks.insert(me);
        }
        self.self_acked = self.self_acked.max(durable);
        shared.deliver();
        self.commit_what_may(shared)
    }

    fn commit_what_may(&mut self, shared: &mut Shared) -> Option<Role> {
        while let Some(oldest) = self.outstanding.front() {
            let zxid = oldest.proposal.zxid;
            // A reconfig also waits for this disk, so that it is delivered in the moment it takes effect.
            let has_own = !oldest.is_reconfig || oldest.acks.contains(&shared.id());
            if !has_own || !shared.membership.may_commit(zxid, &oldest.acks) {
                break;
            }
            let committed = self.outstanding.pop_front().expect("it was looked at");
            shared.history.commit(zxid);
            if committed.is_reconfig {
                if let Some(role) = self.commit_reconfig(shared, &committed.proposal, &committed.acks) {
                    return Some(role);
                }
            } else {
                self.tell_committed(shared, &committed.proposal, None);
            }
        }
        shared.deliver();
        self.release_syncs(shared);
        self.continue_transfer(shared)
    }

    /// COMMIT to followers, INFORM to observers; with a designated leader where a reconfig takes effect.
    pub(super) fn tell_committed(
        &mut self,
        shared: &mut Shared,
        proposal: &Proposal,
        leader: Option<ServerId>,
    ) {
        let zxid = proposal.zxid;
        for (link, learner) in self.learners.iter_mut().filter(|(_, learner)| learner.is_live()) {
            if learner.told_committed >= zxid {
                continue;
            }
            learner.told_committed = zxid;
            let packet = match (learner.kind, leader) {
                (Kind::Follower, None) => Packet::Commit(zxid),
                (Kind::Follower, Some(leader)) => Packet::CommitAndActivate { zxid, leader },
                (Kind::Observer, None) => Packet::Inform(proposal.clone()),
                (Kind::Observer, Some(leader)) => {
                    Packet::InformAndActivate { leader, proposal: proposal.clone() }
                }
            };
            if learner.kind == Kind::Observer {
                learner.sent = zxid;
            }
            shared.fx.send(*link, packet, When::Now);
        }
    }

    /// How many txns followed a proposal at a learner: who acknowledged most is the best to go on.
    pub(super) fn acked_of(&self, id: ServerId) -> Zxid {
        self.learners.values().find(|learner| learner.id == id).map_or(Zxid::ZERO, |learner| learner.acked)
    }

    pub(super) fn on_request(
        &mut self,
        shared: &mut Shared,
        link: LinkId,
        request: Forwarded,
    ) -> Option<Role> {
        let id = self.learners.get(&link)?.id;
        if request.op == SYNC_OP {
            self.add_sync(shared, Some(link));
        } else if FORWARDED_OPS.contains(&request.op) {
            shared.fx.news(News::Request(id, request));
        } else {
            self.drop_learner(shared, link, "it forwards an operation that is no write");
        }
        None
    }

    pub(super) fn on_pong(
        &mut self,
        shared: &mut Shared,
        link: LinkId,
        touched: Vec<(SessionId, i32)>,
    ) -> Option<Role> {
        self.learners.get_mut(&link)?.on_pong();
        if !touched.is_empty() {
            shared.fx.news(News::Touched(touched));
        }
        self.on_confirmation(shared);
        None
    }

    pub(in crate::zab) fn revalidated(
        &mut self,
        shared: &mut Shared,
        link: LinkId,
        session: SessionId,
        valid: bool,
    ) {
        if self.learners.get(&link).is_some_and(super::learner::Learner::is_live) {
            shared.fx.send(link, Packet::Revalidated { session, valid }, When::Now);
        }
    }

    /// A sync of this server's own client.
    pub(in crate::zab) fn sync(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Serving {
            self.add_sync(shared, None);
        }
    }

    fn add_sync(&mut self, shared: &mut Shared, of: Option<LinkId>) {
        // Pings that left before say nothing about now: this sync belongs to the next round.
        self.syncs.push_back(PendingSync { of, after: self.last_proposed, probe: self.probes + 1 });
        if self.confirmed == self.probes {
            self.begin_probe(shared);
        }
    }

    fn begin_probe(&mut self, shared: &mut Shared) {
        self.probes += 1;
        self.ping(shared, Whom::All);
        self.on_confirmation(shared);
    }

    /// A round is over when a quorum answered a ping of it; the next one serves those that came meanwhile.
    fn on_confirmation(&mut self, shared: &mut Shared) {
        if self.confirmed == self.probes {
            return;
        }
        let confirming = self.learners.values().filter(|learner| learner.confirmed >= self.probes);
        let confirming: BTreeSet<ServerId> =
            confirming.map(|learner| learner.id).chain([shared.id()]).collect();
        if !shared.membership.is_quorum(&confirming) {
            return;
        }
        self.confirmed = self.probes;
        self.release_syncs(shared);
        if self.syncs.back().is_some_and(|sync| sync.probe > self.probes) {
            self.begin_probe(shared);
        }
    }

    fn release_syncs(&mut self, shared: &mut Shared) {
        let committed = shared.history.committed().max(Zxid::new(self.epoch, 0));
        let confirmed = self.confirmed;
        while let Some(sync) =
            self.syncs.pop_front_if(|sync| sync.after <= committed && sync.probe <= confirmed)
        {
            match sync.of {
                None => shared.answer_sync(shared.history.committed()),
                Some(link) => shared.fx.send(link, Packet::Sync, When::Now),
            }
        }
    }
}
