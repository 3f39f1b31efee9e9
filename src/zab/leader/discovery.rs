//! The first three phases of leading: which epoch, who accepts it, who holds the leader's history.
//!
//! In: FOLLOWERINFO, ACKEPOCH and the ACK of NEWLEADER. Out: LEADERINFO, the synchronisation, UPTODATE.
//!
//! Always true:
//! * LEADERINFO leaves after the leader's own promise is durable;
//! * every quorum is one of the membership in force and, if another is proposed, of that too: the leader may hold the
//!   reconfig as its history's end, and commits it with the epoch;
//! * a learner is sent committed history, then NEWLEADER; what is proposed meanwhile follows after UPTODATE, so that
//!   no learner sees a proposal or commit between the two.
//!
//! Not here: proposals of the new epoch (`broadcast`).

use tracing::{info, warn};

use super::{Kind, Leader, Phase, Stage};
use crate::base::{Ensemble, Epoch, LinkId, MemberRole, ServerId, Zxid};
use crate::zab::effects::{News, Status, When};
use crate::zab::history::PINNED_BYTES_MAX;
use crate::zab::machine::Role;
use crate::zab::packet::{Packet, Proposal};
use crate::zab::quorum::{Reconfig, membership_of};
use crate::zab::shared::Shared;
use crate::zab::sync::{self, Claim, SyncPlan};
use crate::zab::vote::{Vote, raw_epoch};

/// How far the epoch promised by a server without a vote may lie above the voters' and still raise the new one: it
/// could not follow otherwise, but nobody without a vote may use the epochs up.
const GUEST_EPOCHS_MAX: u32 = 1_000;

impl Leader {
    pub(super) fn on_learner_info(
        &mut self,
        shared: &mut Shared,
        link: LinkId,
        packet: Packet,
    ) -> Option<Role> {
        let Packet::LearnerInfo { observer, accepted, id, config_version, mark } = packet else {
            return None;
        };
        let version = shared.membership.current().version;
        let reconfig = shared.membership.reconfig();
        if reconfig == Reconfig::Enabled && config_version.is_some_and(|theirs| theirs > version) {
            if self.phase != Phase::Serving && id.is_some_and(|id| shared.membership.is_voter(id)) {
                return Some(self.resign(shared, "a voter has a later membership"));
            }
            self.drop_learner(shared, link, "it has a later membership");
            return None;
        }
        if shared.is_foreign(mark.as_ref()) {
            self.drop_learner(shared, link, "it belongs to another ensemble");
            return None;
        }
        let id = id.unwrap_or_else(|| {
            self.next_guest -= 1;
            ServerId(self.next_guest + 1)
        });
        if id == shared.id() {
            self.drop_learner(shared, link, "it has this server's id");
            return None;
        }
        if let Some(old) = self.link_of(id) {
            self.drop_learner(shared, old, "it came back on a new link");
        }
        let learner = self.learners.get_mut(&link).expect("the packet came from a learner");
        learner.id = id;
        learner.kind = if observer { Kind::Observer } else { Kind::Follower };
        learner.quorate = mark.is_some();
        learner.stage = Stage::Greeted;
        match self.phase {
            Phase::Discovering => {
                if shared.membership.is_voter(id) {
                    self.promised.insert(id);
                    self.promised_max = self.promised_max.max(accepted);
                } else if accepted.0.saturating_sub(self.promised_max.0) <= GUEST_EPOCHS_MAX {
                    self.promised_max = self.promised_max.max(accepted);
                }
                self.advance(shared)
            }
            Phase::Serving if self.is_locked_out(shared, id, accepted) => {
                Some(self.resign(shared, "a member promised a later epoch: a new one lets it back in"))
            }
            Phase::Inviting(_) | Phase::Synchronising(_) | Phase::Serving => {
                self.invite(shared, link);
                None
            }
        }
    }

    /// A member that promised a later epoch, to a leader that never came to be, cannot follow in this one; without it
    /// the ensemble would bear one failure less for ever.
    fn is_locked_out(&self, shared: &Shared, id: ServerId, accepted: Epoch) -> bool {
        let has_led = shared.now.mono.since(self.since) >= shared.settings.tick;
        let is_plausible = accepted.0.saturating_sub(self.epoch.0) <= GUEST_EPOCHS_MAX;
        let role = shared.membership.current().role(id);
        let counts = role == Some(MemberRole::Participant) || role.is_some() && is_plausible;
        has_led && accepted > self.epoch && counts
    }

    /// Sends LEADERINFO, with a mark only to a learner that showed one.
    fn invite(&mut self, shared: &mut Shared, link: LinkId) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        learner.stage = Stage::Invited;
        let mark = learner.quorate.then(|| shared.mark());
        shared.fx.send(link, Packet::LeaderInfo { epoch: self.epoch, mark }, When::Durable);
    }

    pub(super) fn on_ack_epoch(
        &mut self,
        shared: &mut Shared,
        link: LinkId,
        current: Option<Epoch>,
        last: Zxid,
    ) -> Option<Role> {
        let learner = self.learners.get_mut(&link)?;
        let id = learner.id;
        learner.stage = Stage::Accepted { last, current };
        learner.sent = last;
        match self.phase {
            Phase::Discovering => None,
            Phase::Inviting(_) => {
                if let Some(epoch) = current {
                    if is_ahead((epoch, last), self.summary) {
                        self.drop_learner(shared, link, "it holds more than this leader");
                        self.ahead.insert(id);
                        let is_hopeless = !self.may_find_quorum(shared);
                        return is_hopeless.then(|| self.resign(shared, "too many voters hold more"));
                    }
                    if last != Zxid::NONE {
                        self.epoch_acks.insert(id);
                    }
                }
                self.advance(shared)
            }
            Phase::Synchronising(_) | Phase::Serving => {
                self.synchronise(shared, link);
                None
            }
        }
    }

    /// Goes on to the next phase as soon as its condition holds.
    pub(super) fn advance(&mut self, shared: &mut Shared) -> Option<Role> {
        let me = shared.id();
        if self.phase == Phase::Discovering && shared.membership.is_quorum(&self.promised) {
            if self.promised_max >= Epoch::MAX {
                return Some(self.resign(shared, "the epochs are used up: the ensemble has to be made anew"));
            }
            self.epoch = self.promised_max.next();
            shared.epochs.accepted = self.epoch;
            let promise = shared.write_epochs();
            self.enter(shared, Phase::Inviting(promise));
            let greeted = self.learners.iter().filter(|(_, learner)| learner.stage == Stage::Greeted);
            let greeted: Vec<LinkId> = greeted.map(|(link, _)| *link).collect();
            for link in greeted {
                self.invite(shared, link);
            }
        }
        if let Phase::Inviting(promise) = self.phase {
            // All of this server's history was written before its promise.
            if shared.fx.is_synced(promise) && shared.may_vote {
                self.epoch_acks.insert(me);
            }
            let is_accepted = self.epoch_acks.contains(&me);
            if is_accepted && shared.membership.is_quorum(&self.epoch_acks) {
                self.on_epoch_accepted(shared);
            }
        }
        if let Phase::Synchronising(adopted) = self.phase {
            if shared.fx.is_synced(adopted) {
                self.new_leader_acks.insert(me);
            }
            let is_held = self.new_leader_acks.contains(&me);
            if is_held && shared.membership.is_quorum(&self.new_leader_acks) {
                return self.on_established(shared);
            }
        }
        None
    }

    fn enter(&mut self, shared: &Shared, phase: Phase) {
        self.phase = phase;
        self.since = shared.now.mono;
    }

    fn on_epoch_accepted(&mut self, shared: &mut Shared) {
        let zxid = Zxid::new(self.epoch, 0);
        let current = shared.membership.current();
        if current.version == Zxid::ZERO && shared.membership.proposed().is_none() {
            // The first membership gets a version, so that later ones can be told from it.
            shared.note_proposed(Ensemble { version: zxid, ..current.clone() });
        }
        shared.epochs.current = self.epoch;
        let adopted = shared.write_epochs();
        self.enter(shared, Phase::Synchronising(adopted));
        let accepted =
            self.learners.iter().filter(|(_, learner)| matches!(learner.stage, Stage::Accepted { .. }));
        let accepted: Vec<LinkId> = accepted.map(|(link, _)| *link).collect();
        for link in accepted {
            self.synchronise(shared, link);
        }
    }

    /// The end of what a synchronisation brings.
    fn sync_point(&self, shared: &Shared) -> Zxid {
        if self.phase == Phase::Serving { shared.history.committed() } else { self.summary.1 }
    }

    /// Begins to bring a learner level.
    fn synchronise(&mut self, shared: &mut Shared, link: LinkId) {
        let point = self.sync_point(shared);
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let Stage::Accepted { last, current } = learner.stage else { return };
        let claim = Claim { last, current, quorate: learner.quorate };
        let plan = sync::plan(&shared.history, point, shared.epochs.current, claim);
        info!(learner = %learner.id, %last, %point, ?plan, "synchronising a learner");
        match plan {
            SyncPlan::Diff { from } => {
                // An Apache learner applied all that it logged: it is never told that this is committed.
                let of_theirs = if learner.quorate { point.min(from) } else { from };
                (learner.sent, learner.told_committed) = (from, of_theirs);
                shared.fx.send(link, Packet::Diff(point), When::Now);
                self.complete(shared, link);
            }
            SyncPlan::Trunc { to } => {
                (learner.sent, learner.told_committed) = (to, to);
                shared.fx.send(link, Packet::Trunc(to), When::Now);
                self.complete(shared, link);
            }
            SyncPlan::Snap => {
                learner.stage = Stage::SnapshotWanted;
                learner.sent = shared.history.delivered();
                shared.fx.news(News::SnapshotWanted(link));
                self.pin(shared);
            }
        }
    }

    /// The tree at `zxid` is in the learner's queue.
    pub(in crate::zab) fn on_snapshot_sent(&mut self, shared: &mut Shared, link: LinkId, zxid: Zxid) {
        let Some(learner) = self.learners.get_mut(&link) else { return };
        if learner.stage == Stage::SnapshotWanted {
            (learner.sent, learner.told_committed) = (zxid, zxid);
            self.complete(shared, link);
        }
    }

    /// Sends what is above the learner's history, then NEWLEADER.
    fn complete(&mut self, shared: &mut Shared, link: LinkId) {
        let point = self.sync_point(shared);
        let Some(learner) = self.learners.get_mut(&link) else { return };
        let missing: Vec<Proposal> =
            shared.history.after(learner.sent).take_while(|entry| entry.zxid <= point).cloned().collect();
        for proposal in missing {
            let zxid = proposal.zxid;
            shared.fx.send(link, Packet::Proposal(proposal), When::Now);
            shared.fx.send(link, Packet::Commit(zxid), When::Now);
            (learner.sent, learner.told_committed) = (zxid, zxid);
        }
        // While serving, a proposed membership is not committed and comes with its own proposal.
        let ensemble = match self.phase {
            Phase::Serving => shared.membership.current(),
            Phase::Discovering | Phase::Inviting(_) | Phase::Synchronising(_) => {
                shared.membership.last_seen()
            }
        };
        let (zxid, config) = (Zxid::new(self.epoch, 0), Some(ensemble.to_string()));
        shared.fx.send(link, Packet::NewLeader { zxid, config }, When::Now);
        learner.stage = Stage::Syncing;
        self.pin(shared);
    }

    /// A learner acknowledged NEWLEADER.
    pub(super) fn on_new_leader_ack(&mut self, shared: &mut Shared, link: LinkId) -> Option<Role> {
        let learner = self.learners.get_mut(&link)?;
        learner.stage = Stage::Synced;
        let id = learner.id;
        match self.phase {
            Phase::Discovering | Phase::Inviting(_) => None,
            Phase::Synchronising(_) => {
                self.new_leader_acks.insert(id);
                self.advance(shared)
            }
            Phase::Serving => self.welcome(shared, link),
        }
    }

    /// The epoch is established: the whole history is committed, learners are welcome, proposals may come.
    fn on_established(&mut self, shared: &mut Shared) -> Option<Role> {
        let zxid = Zxid::new(self.epoch, 0);
        info!(epoch = %self.epoch, history = %self.summary.1, "leading");
        (self.last_proposed, self.self_acked) = (zxid, zxid);
        shared.history.commit(self.summary.1);
        shared.deliver();
        if let Some(proposed) = shared.membership.proposed().cloned() {
            shared.activate(proposed);
        }
        shared.vote = Vote { leader: shared.id(), epoch: raw_epoch(self.epoch), ..shared.vote };
        self.enter(shared, Phase::Serving);
        let synced = self.learners.iter().filter(|(_, learner)| learner.stage == Stage::Synced);
        let synced: Vec<LinkId> = synced.map(|(link, _)| *link).collect();
        for link in synced {
            if let Some(role) = self.welcome(shared, link) {
                return Some(role);
            }
        }
        if !shared.membership.current().is_voter(shared.id()) {
            return Some(self.resign(shared, "the membership in force gives it no vote"));
        }
        shared.set_status(Status::Leading(self.epoch));
        None
    }

    /// Sends UPTODATE, and everything that was proposed since the learner's synchronisation.
    fn welcome(&mut self, shared: &mut Shared, link: LinkId) -> Option<Role> {
        let now = shared.now.mono;
        let committed = shared.history.committed();
        let learner = self.learners.get_mut(&link)?;
        shared.fx.send(link, Packet::UpToDate, When::Now);
        learner.stage = Stage::Live;
        // What it brought along is durable there, and so is what it was sent.
        let held = learner.sent;
        learner.acked = held;
        match learner.kind {
            Kind::Follower => {
                let told = shared.history.after(learner.told_committed);
                let told = told.take_while(|entry| entry.zxid <= held.min(committed));
                for proposal in told.cloned().collect::<Vec<_>>() {
                    shared.fx.send(link, commit_of(&proposal, shared.settings.id), When::Now);
                    learner.told_committed = proposal.zxid;
                }
                for proposal in shared.history.after(held).cloned().collect::<Vec<_>>() {
                    let zxid = proposal.zxid;
                    let commit = (zxid <= committed).then(|| commit_of(&proposal, shared.settings.id));
                    shared.fx.send(link, Packet::Proposal(proposal), When::Now);
                    learner.on_proposed(zxid, now);
                    if let Some(commit) = commit {
                        shared.fx.send(link, commit, When::Now);
                        learner.told_committed = zxid;
                    }
                }
            }
            Kind::Observer => {
                let missed = shared.history.after(held).take_while(|entry| entry.zxid <= committed);
                for proposal in missed.cloned().collect::<Vec<_>>() {
                    learner.sent = proposal.zxid;
                    let inform = match membership_of(&proposal) {
                        Some(_) => Packet::InformAndActivate { leader: shared.settings.id, proposal },
                        None => Packet::Inform(proposal),
                    };
                    shared.fx.send(link, inform, When::Now);
                }
            }
        }
        let id = learner.id;
        self.pin(shared);
        self.acknowledge_held(shared, id, held)
    }

    /// Learners that hold too much back in memory are dropped.
    pub(super) fn drop_hoarders(&mut self, shared: &mut Shared) {
        while shared.history.bytes() > PINNED_BYTES_MAX {
            let joining = self.learners.iter().filter(|(_, learner)| {
                matches!(learner.stage, Stage::SnapshotWanted | Stage::Syncing | Stage::Synced)
            });
            let Some((link, _)) = joining.min_by_key(|(_, learner)| learner.sent) else { return };
            let link = *link;
            warn!(bytes = shared.history.bytes(), "too much is held back for a learner");
            self.drop_learner(shared, link, "it is too slow to get level");
        }
    }
}

/// What tells a follower that a txn is committed, by a leader that goes on leading.
fn commit_of(proposal: &Proposal, leader: ServerId) -> Packet {
    let zxid = proposal.zxid;
    match membership_of(proposal) {
        Some(_) => Packet::CommitAndActivate { zxid, leader },
        None => Packet::Commit(zxid),
    }
}

/// Whether a learner holds more than the leader did. The start of an epoch is no txn: who is in the same epoch holds
/// its initial history too.
fn is_ahead(learner: (Epoch, Zxid), leader: (Epoch, Zxid)) -> bool {
    let is_start = learner.1.counter() == 0 && learner.1.epoch() == learner.0;
    learner.0 > leader.0 || (learner.0 == leader.0 && learner.1 > leader.1 && !is_start)
}
