//! Looking for a leader: fast leader election, as Apache ZooKeeper 3.9 plays it on the wire.
//!
//! In: notifications, time. Out: notifications, and the next role once an election is over.
//!
//! Always true:
//! * an election begins when everything written is durable, so that a vote describes this disk;
//! * votes are ordered by (epoch, zxid, id); what is elected needs a quorum of the membership in force, and of the
//!   proposed one if there is one;
//! * an established leader is followed only if a quorum says so and the leader itself does.
//!
//! Not here: what makes the elected leader safe (`leader`: the epoch's quorum checks what every follower holds).

use std::collections::{BTreeMap, BTreeSet};

use tracing::{debug, info, warn};

use super::effects::Status;
use super::follower::Follower;
use super::leader::Leader;
use super::machine::Role;
use super::shared::Shared;
use super::vote::{Notification, PeerState, Vote};
use crate::base::{Ensemble, Millis, ServerId, WriteSeq, Zxid};

/// Rounds are counted up from 1 in memory: one beyond this is no count, and taking it over would end the counting.
const ROUND_MAX: i64 = 1 << 48;
/// How long a better vote is waited for once a quorum agrees (`finalizeWait`).
const FINAL_WAIT_MS: Millis = Millis(200);
/// After how long an unanswered vote is sent again, at first (`minNotificationInterval`).
const RESEND_MIN_MS: Millis = Millis(200);
/// And at last. Apache ZooKeeper goes to 60 s; a vote is small, and a lost one costs availability.
const RESEND_MAX_MS: Millis = Millis(2_000);
/// How long the vote of a leader whose link broke is not waited for.
const LOST_LEADER_MS: Millis = Millis(3_000);
/// Longest random delay of a server without a vote, so that many do not ask at once.
const GUEST_DELAY_MS: u64 = 200;

/// Without a leader.
#[derive(Debug)]
pub(super) struct Looking {
    /// Everything up to here must be durable before this server votes.
    drained: WriteSeq,
    begin_at: Millis,
    campaign: Option<Campaign>,
}

/// One round of votes.
#[derive(Debug)]
struct Campaign {
    /// What this server would elect if it were alone.
    own: Vote,
    proposal: Vote,
    /// Votes of this round.
    received: BTreeMap<ServerId, Ballot>,
    /// Votes of servers that follow or lead.
    established: BTreeMap<ServerId, Ballot>,
    resend_at: Millis,
    interval: Millis,
    /// A quorum agrees; the election is over then unless a better vote comes.
    decide_at: Option<Millis>,
}

/// A vote and where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ballot {
    vote: Vote,
    state: PeerState,
}

/// How votes of servers that are not looking are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    /// Within a round: whom they follow.
    Leader,
    /// Across rounds: whom, and in which epoch.
    LeaderAndEpoch,
}

impl Ballot {
    fn matches(self, other: Ballot, compare: Compare) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            return self.vote == other.vote;
        }
        let same_leader = self.vote.leader == other.vote.leader;
        match compare {
            Compare::Leader => same_leader,
            Compare::LeaderAndEpoch => same_leader && self.vote.epoch == other.vote.epoch,
        }
    }
}

impl Looking {
    /// Leaves whatever role this server had.
    pub(super) fn start(shared: &mut Shared) -> Looking {
        shared.drop_links(None);
        shared.stop_serving();
        shared.set_status(Status::Looking);
        let delay = if shared.is_voter() { 0 } else { shared.rng.below(GUEST_DELAY_MS) };
        Looking { drained: shared.fx.written(), begin_at: shared.now.mono + Millis(delay), campaign: None }
    }

    pub(super) fn on_entry(&mut self, shared: &mut Shared) -> Option<Role> {
        self.begin(shared)
    }

    pub(super) fn on_synced(&mut self, shared: &mut Shared) -> Option<Role> {
        self.begin(shared)
    }

    /// Begins the campaign once the disk is level.
    fn begin(&mut self, shared: &mut Shared) -> Option<Role> {
        let is_ready = shared.fx.is_synced(self.drained) && shared.now.mono >= self.begin_at;
        if self.campaign.is_some() || !is_ready {
            return None;
        }
        shared.round += 1;
        let own = shared.own_vote();
        let hint = shared.hint.filter(|hint| shared.now.mono < hint.until);
        let proposal = hint.map_or(own, |hint| Vote { round: shared.round, ..hint.vote });
        let mut campaign = Campaign {
            own: proposal,
            proposal,
            received: BTreeMap::new(),
            established: BTreeMap::new(),
            resend_at: shared.now.mono + RESEND_MIN_MS,
            interval: RESEND_MIN_MS,
            decide_at: None,
        };
        debug!(round = shared.round, zxid = %own.zxid, epoch = own.epoch, "election begins");
        campaign.broadcast(shared);
        let next = campaign.count(shared);
        self.campaign = Some(campaign);
        next
    }

    pub(super) fn on_tick(&mut self, shared: &mut Shared) -> Option<Role> {
        let Some(campaign) = &mut self.campaign else { return self.begin(shared) };
        let now = shared.now.mono;
        if campaign.decide_at.is_some_and(|at| now >= at) {
            return Some(campaign.decide(shared, campaign.proposal));
        }
        if now >= campaign.resend_at {
            campaign.interval = Millis(campaign.interval.0 * 2).min(RESEND_MAX_MS);
            campaign.resend_at = now + campaign.interval;
            campaign.send(shared);
        }
        None
    }

    pub(super) fn next_deadline(&self, now: Millis) -> Millis {
        match &self.campaign {
            None => self.begin_at.max(now + Millis(1)),
            Some(campaign) => campaign.decide_at.unwrap_or(campaign.resend_at).min(campaign.resend_at),
        }
    }

    pub(super) fn on_vote(
        &mut self,
        shared: &mut Shared,
        from: ServerId,
        notification: Notification,
    ) -> Option<Role> {
        if self.adopt_membership(shared, &notification) {
            return Some(Role::Looking(Looking::start(shared)));
        }
        let campaign = self.campaign.as_mut()?;
        if notification.vote.round > ROUND_MAX {
            warn!(%from, round = notification.vote.round, "a vote of an impossible round is ignored");
            return None;
        }
        if !shared.membership.is_voter(from) {
            shared.notify(from, PeerState::Looking, campaign.proposal);
            return None;
        }
        let is_behind = notification.vote.round < shared.round;
        if notification.state == PeerState::Looking && is_behind {
            shared.notify(from, PeerState::Looking, campaign.proposal);
        }
        if !shared.membership.is_voter(notification.vote.leader) {
            // A server that a proposed membership gives its vote has nobody to vote for yet, and waits for votes of
            // its own round.
            let is_ahead = notification.state == PeerState::Looking && notification.vote.round > shared.round;
            return is_ahead.then(|| campaign.on_round(shared, notification.vote.round)).flatten();
        }
        let ballot = Ballot { vote: notification.vote, state: notification.state };
        match notification.state {
            PeerState::Looking if is_behind => None,
            PeerState::Looking => campaign.on_looking(shared, from, ballot),
            PeerState::Following | PeerState::Leading => campaign.on_established(shared, from, ballot),
            PeerState::Observing => None,
        }
    }

    /// Takes over a newer membership from a notification; `true` if it has other members.
    fn adopt_membership(&mut self, shared: &mut Shared, notification: &Notification) -> bool {
        let Some(text) = &notification.config else { return false };
        let Ok(ensemble) = Ensemble::parse(text) else { return false };
        let before = shared.membership.current().clone();
        shared.activate(ensemble);
        let now = shared.membership.current();
        let has_changed = Ensemble { version: before.version, ..now.clone() } != before;
        if has_changed {
            info!(version = %now.version, "a newer membership came with a vote");
        }
        has_changed
    }
}

impl Campaign {
    /// Takes the proposal as this server's ballot and tells everybody.
    fn broadcast(&mut self, shared: &mut Shared) {
        let me = shared.id();
        if shared.membership.is_voter(me) && self.own.zxid != Zxid::NONE {
            self.received.insert(me, Ballot { vote: self.proposal, state: PeerState::Looking });
        }
        self.interval = RESEND_MIN_MS;
        self.resend_at = shared.now.mono + self.interval;
        self.decide_at = None;
        self.send(shared);
    }

    fn send(&self, shared: &mut Shared) {
        for voter in shared.membership.voters() {
            if voter != shared.id() {
                shared.notify(voter, PeerState::Looking, self.proposal);
            }
        }
    }

    /// Votes anew, in a later round.
    fn join_round(&mut self, shared: &mut Shared, round: i64) {
        shared.round = round;
        self.received.clear();
        self.own.round = round;
        self.proposal = self.own;
    }

    /// A voter without a vote to give is in a later round.
    fn on_round(&mut self, shared: &mut Shared, round: i64) -> Option<Role> {
        self.join_round(shared, round);
        self.broadcast(shared);
        self.count(shared)
    }

    fn on_looking(&mut self, shared: &mut Shared, from: ServerId, ballot: Ballot) -> Option<Role> {
        let vote = ballot.vote;
        if self.own.zxid == Zxid::NONE || vote.zxid == Zxid::NONE {
            return None;
        }
        if vote.round > shared.round {
            self.join_round(shared, vote.round);
            if is_better(shared, vote, self.own) {
                self.proposal = vote;
            }
            self.broadcast(shared);
        } else if is_better(shared, vote, self.proposal) {
            self.proposal = vote;
            self.broadcast(shared);
        } else if is_better(shared, self.proposal, vote) {
            // The sender does not know this proposal: it still followed when that was told, and answered with its
            // leader. It must not wait until it is told again.
            shared.notify(from, PeerState::Looking, self.proposal);
        }
        self.received.insert(from, ballot);
        self.count(shared)
    }

    /// Whether this round is over: at once if every vote that can still come is there, else after a last wait.
    fn count(&mut self, shared: &mut Shared) -> Option<Role> {
        let wanted = Ballot { vote: self.proposal, state: PeerState::Looking };
        let agreeing = agreeing(&self.received, wanted, Compare::Leader);
        if !shared.membership.is_quorum(&agreeing) {
            self.decide_at = None;
            return None;
        }
        let now = shared.now.mono;
        let lost = shared.lost_leader.filter(|(_, at)| now.since(*at) < LOST_LEADER_MS).map(|(id, _)| id);
        let mut awaited = shared.membership.voters();
        awaited.retain(|voter| !agreeing.contains(voter) && Some(*voter) != lost);
        if awaited.is_empty() {
            return Some(self.decide(shared, self.proposal));
        }
        self.decide_at.get_or_insert(now + FINAL_WAIT_MS);
        None
    }

    fn on_established(&mut self, shared: &mut Shared, from: ServerId, ballot: Ballot) -> Option<Role> {
        let vote = ballot.vote;
        if vote.round == shared.round {
            self.received.insert(from, ballot);
            if is_established(shared, &self.received, ballot, Compare::Leader) {
                return Some(self.decide(shared, vote));
            }
        }
        self.established.insert(from, ballot);
        // A server that was restarted is not what others still believe it to be.
        let is_me = vote.leader == shared.id();
        if !is_me && is_established(shared, &self.established, ballot, Compare::LeaderAndEpoch) {
            shared.round = vote.round;
            return Some(self.decide(shared, vote));
        }
        None
    }

    fn decide(&self, shared: &mut Shared, vote: Vote) -> Role {
        info!(round = shared.round, leader = %vote.leader, zxid = %vote.zxid, "elected");
        shared.vote = vote;
        shared.hint = None;
        if vote.leader == shared.id() {
            Role::Leading(Box::new(Leader::start(shared)))
        } else {
            Role::Following(Box::new(Follower::start(shared, vote.leader)))
        }
    }
}

/// Whether a vote beats another.
fn is_better(shared: &Shared, new: Vote, old: Vote) -> bool {
    let order = |vote: Vote| (vote.epoch, vote.zxid, vote.leader);
    shared.membership.last_seen().weight(new.leader) > 0 && order(new) > order(old)
}

fn agreeing(ballots: &BTreeMap<ServerId, Ballot>, wanted: Ballot, compare: Compare) -> BTreeSet<ServerId> {
    ballots.iter().filter(|(_, ballot)| ballot.matches(wanted, compare)).map(|(id, _)| *id).collect()
}

/// Whether a quorum follows that leader, and the leader says so too.
///
/// To follow another, a quorum of either membership is enough: what was proposed and never committed may name servers
/// that never follow anybody again. It is the leader that needs a quorum of both.
fn is_established(
    shared: &Shared,
    ballots: &BTreeMap<ServerId, Ballot>,
    wanted: Ballot,
    compare: Compare,
) -> bool {
    let leader = wanted.vote.leader;
    let following = agreeing(ballots, wanted, compare);
    if leader == shared.id() {
        return wanted.vote.round == shared.round && shared.membership.is_quorum(&following);
    }
    let leads = ballots.get(&leader).is_some_and(|ballot| ballot.state == PeerState::Leading);
    leads && shared.membership.is_quorum_of_either(&following)
}
