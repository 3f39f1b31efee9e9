//! How leadership moves: by a reconfig that takes it away, or by handing it over on command.
//!
//! In: a committed reconfig, or a command. Out: the designated leader, and this server's next role.
//!
//! Always true:
//! * who is handed the leadership holds every txn that this leader proposed;
//! * a leader without a vote, or that may not commit, does not go on leading (F-61).
//!
//! Not here: whether the successor succeeds (its own `discovery`).

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::{Kind, Leader, Phase};
use crate::base::reconfig::{Change, ChangeError};
use crate::base::{Ensemble, Millis, ServerId, Zxid};
use crate::zab::effects::When;
use crate::zab::election::Looking;
use crate::zab::follower::follow_or_lead;
use crate::zab::machine::Role;
use crate::zab::packet::{Packet, Proposal};
use crate::zab::quorum::membership_of;
use crate::zab::shared::{Hint, Shared};
use crate::zab::vote::{Vote, raw_epoch};

/// How long a successor may take to get level; proposals wait meanwhile.
const LEVEL_WITHIN_MS: Millis = Millis(1_000);
/// How long this server votes for its successor.
const HINT_MS: Millis = Millis(2_000);

/// Why leadership is not handed over.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransferError {
    /// This server does not lead, or has not established its epoch.
    #[error("this server does not lead")]
    NotLeading,
    /// The leadership is being given to somebody already.
    #[error("leadership is being given to server {0}")]
    UnderWay(ServerId),
    /// The server has no vote in the membership in force.
    #[error("server {0} is no voter")]
    NotAVoter(ServerId),
    /// The server leads already.
    #[error("server {0} leads already")]
    Leads(ServerId),
    /// The server is not connected and level.
    #[error("server {0} is not connected and level")]
    NotLevel(ServerId),
}

/// Why a reconfig may not be proposed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReconfigError {
    /// `reconfigEnabled=false`.
    #[error("reconfig is disabled")]
    Disabled,
    /// A standalone server, or one that does not lead.
    #[error("this server does not lead an ensemble")]
    NotLeading,
    /// A reconfig is proposed and not committed.
    #[error("a reconfig is in progress")]
    InProgress,
    /// The membership has another version than the caller asked for.
    #[error("the membership has version {found:x}", found = .0.0)]
    BadVersion(Zxid),
    /// An id is no number; Apache ZooKeeper answers with a marshalling error.
    #[error("{0:?} is no server id")]
    NotAnId(String),
    /// The change makes no sense.
    #[error("{0}")]
    BadArguments(String),
    /// The new membership has no quorum that is connected and level.
    #[error("the new membership has no quorum that is connected and level")]
    NoQuorum,
}

/// A hand-over under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    to: ServerId,
    until: Millis,
}

impl Leader {
    /// The membership that a change would make, in the order of Apache ZooKeeper's checks.
    pub(in crate::zab) fn check_reconfig(
        &self,
        shared: &Shared,
        change: &Change,
        from_version: Zxid,
    ) -> Result<Ensemble, ReconfigError> {
        let next = self.next_zxid().ok_or(ReconfigError::NotLeading)?;
        let current = shared.membership.current();
        if shared.membership.proposed().is_some() {
            return Err(ReconfigError::InProgress);
        }
        if from_version != Zxid::NONE && from_version != current.version {
            return Err(ReconfigError::BadVersion(current.version));
        }
        let ensemble = current.changed(change, next).map_err(|error| match error {
            ChangeError::NotAnId(id) => ReconfigError::NotAnId(id),
            ChangeError::BadArguments(reason) => ReconfigError::BadArguments(reason),
        })?;
        let voters_min = if shared.settings.standalone_enabled { 2 } else { 1 };
        if ensemble.voters().count() < voters_min {
            let reason = format!("the new membership needs at least {voters_min} voters");
            return Err(ReconfigError::BadArguments(reason));
        }
        if ensemble.is_quorum(&self.level(shared)) { Ok(ensemble) } else { Err(ReconfigError::NoQuorum) }
    }

    /// A reconfig is committed: everybody learns who leads from here on.
    pub(super) fn commit_reconfig(
        &mut self,
        shared: &mut Shared,
        proposal: &Proposal,
        acks: &BTreeSet<ServerId>,
    ) -> Option<Role> {
        let ensemble = membership_of(proposal).expect("the proposal was told by its membership");
        let leader = self.designated(shared, &ensemble, acks);
        self.dismiss_untold(shared, proposal.zxid);
        self.tell_committed(shared, proposal, Some(leader));
        shared.deliver();
        shared.activate(ensemble);
        if leader == shared.id() {
            return None;
        }
        info!(%leader, "a reconfig moves leadership");
        shared.retire_links();
        let round = shared.vote.round + 1;
        let vote = Vote { leader, zxid: self.last_proposed, round, epoch: raw_epoch(self.epoch) };
        Some(follow_or_lead(shared, vote))
    }

    /// An Apache learner that came back with the reconfig in its log is never told of its commit, only of the
    /// membership in force when it came: it has to come again.
    fn dismiss_untold(&mut self, shared: &mut Shared, zxid: Zxid) {
        let untold = self.learners.iter().filter(|(_, learner)| learner.told_committed >= zxid);
        for link in untold.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.drop_learner(shared, link, "it came before the reconfig that it holds was committed");
        }
    }

    /// This server, if it still votes at the same address; else the voter that acknowledged most.
    fn designated(&self, shared: &Shared, ensemble: &Ensemble, acks: &BTreeSet<ServerId>) -> ServerId {
        let me = shared.id();
        let address = |ensemble: &Ensemble| ensemble.members.get(&me).map(|member| member.quorum());
        if ensemble.is_voter(me) && address(ensemble) == address(shared.membership.current()) {
            return me;
        }
        let voters = ensemble.voters().map(|voter| voter.id).filter(|id| *id != me && acks.contains(id));
        voters.max_by_key(|id| self.acked_of(*id)).unwrap_or(me)
    }

    /// The voter that is best to hand over to.
    pub(in crate::zab) fn best_successor(&self, shared: &Shared) -> Option<ServerId> {
        let current = shared.membership.current();
        let able = self.learners.values().filter(|learner| {
            learner.is_live() && learner.kind == Kind::Follower && current.is_voter(learner.id)
        });
        let able = able.filter(|learner| current.weight(learner.id) > 0);
        able.max_by_key(|learner| (learner.quorate, learner.acked, learner.id)).map(|learner| learner.id)
    }

    pub(in crate::zab) fn transferring(&self) -> Option<ServerId> {
        self.transfer.map(|transfer| transfer.to)
    }

    /// Stops proposing, so that the successor gets level.
    pub(in crate::zab) fn transfer(
        &mut self,
        shared: &mut Shared,
        to: ServerId,
    ) -> Result<Option<Role>, TransferError> {
        if self.phase != Phase::Serving {
            return Err(TransferError::NotLeading);
        }
        if let Some(to) = self.transferring() {
            return Err(TransferError::UnderWay(to));
        }
        if to == shared.id() {
            return Err(TransferError::Leads(to));
        }
        if !shared.membership.current().is_voter(to) {
            return Err(TransferError::NotAVoter(to));
        }
        if !self.level(shared).contains(&to) {
            return Err(TransferError::NotLevel(to));
        }
        self.transfer = Some(Transfer { to, until: shared.now.mono + LEVEL_WITHIN_MS });
        Ok(self.continue_transfer(shared))
    }

    /// Steps down once nothing is in flight and the successor holds everything.
    pub(super) fn continue_transfer(&mut self, shared: &mut Shared) -> Option<Role> {
        let Transfer { to, .. } = self.transfer?;
        let is_level = self.outstanding.is_empty() && self.acked_of(to) >= shared.history.last();
        if !is_level {
            return None;
        }
        info!(%to, "handing leadership over");
        let (leader, zxid) = (to, shared.history.last());
        let vote = Vote { leader, zxid, round: shared.vote.round + 1, epoch: raw_epoch(self.epoch) };
        let is_quorate = self.learners.values().any(|learner| learner.id == to && learner.quorate);
        if !is_quorate {
            shared.hint = Some(Hint { vote, until: shared.now.mono + HINT_MS });
            return Some(Role::Looking(Looking::start(shared)));
        }
        for (link, learner) in
            self.learners.iter().filter(|(_, learner)| learner.quorate && learner.is_live())
        {
            if learner.kind == Kind::Follower {
                let packet = Packet::HandOver { leader, last: zxid, round: vote.round };
                shared.fx.send(*link, packet, When::Now);
            }
        }
        self.dismiss_others(shared);
        shared.retire_links();
        Some(follow_or_lead(shared, vote))
    }

    /// Learners that know no hand-over see their link close, and look for the new leader.
    fn dismiss_others(&mut self, shared: &mut Shared) {
        let others = self
            .learners
            .iter()
            .filter(|(_, learner)| !learner.quorate || !learner.is_live() || learner.kind == Kind::Observer);
        for link in others.map(|(link, _)| *link).collect::<Vec<_>>() {
            shared.drop_link(link);
        }
    }

    /// A successor that does not get level in time is given up.
    pub(super) fn on_transfer_tick(&mut self, shared: &mut Shared) -> Option<Role> {
        let Transfer { to, until } = self.transfer?;
        if shared.now.mono >= until || self.link_of(to).is_none() {
            warn!(%to, "the successor did not get level in time: leading goes on");
            self.transfer = None;
        }
        None
    }
}
