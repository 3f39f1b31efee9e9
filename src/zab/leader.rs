//! Leading: an epoch is agreed on, learners get level, proposals are committed, leadership is given up.
//!
//! In: packets of learners, reports of the disk, proposals of the replica. Out: packets, deliveries, the next role.
//!
//! Always true:
//! * proposals begin only after a quorum holds the leader's whole history in the new epoch (NEWLEADER acknowledged);
//! * the leader counts itself only for what is on its own disk;
//! * an acknowledgement counts for its own proposal alone, and proposals commit in order.
//!
//! Not here: who becomes leader (`election`), what a learner does (`follower`), choosing a synchronisation (`sync`).

mod broadcast;
mod discovery;
pub(super) mod handover;
mod learner;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tracing::{info, warn};

use self::broadcast::{Outstanding, PendingSync};
use self::handover::Transfer;
use self::learner::{Kind, Learner, Stage};
use super::effects::{Status, When};
use super::election::Looking;
use super::inspect::ZabInspect;
use super::machine::Role;
use super::packet::Packet;
use super::shared::Shared;
use super::vote::{Notification, PeerState};
use crate::base::{Epoch, LinkId, Millis, ServerId, WriteSeq, Zxid};

/// Learners at once, guests included; more are refused.
const LEARNERS_MAX: usize = 1_024;
/// How long a voter may keep looking before it counts as lost for this leadership: longer than its last wait.
const DISLOYAL_AFTER_MS: Millis = Millis(600);

/// About to lead, or leading.
#[derive(Debug)]
pub(super) struct Leader {
    phase: Phase,
    /// When the phase began.
    since: Millis,
    /// The epoch that is proposed, once it is fixed; 0 before.
    epoch: Epoch,
    /// What this server held when it began to lead: no counted learner may hold more.
    summary: (Epoch, Zxid),
    learners: BTreeMap<LinkId, Learner>,
    /// Voters that told the epoch that they promised, and the highest of all.
    promised: BTreeSet<ServerId>,
    promised_max: Epoch,
    epoch_acks: BTreeSet<ServerId>,
    /// Voters that hold more than this server: they cannot follow it.
    ahead: BTreeSet<ServerId>,
    new_leader_acks: BTreeSet<ServerId>,
    next_guest: i64,
    last_proposed: Zxid,
    outstanding: VecDeque<Outstanding>,
    /// The leader counted itself up to here.
    self_acked: Zxid,
    syncs: VecDeque<PendingSync>,
    /// Confirmation rounds begun, and the last one that a quorum answered.
    probes: u64,
    confirmed: u64,
    transfer: Option<Transfer>,
    pinged: Millis,
    pinged_quorate: Millis,
    checked: Millis,
}

/// How far a leadership is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Learns what epochs a quorum promised.
    Discovering,
    /// The epoch is fixed; a quorum has to accept it. The write makes the leader's own promise durable.
    Inviting(WriteSeq),
    /// A quorum has to hold the leader's history. The write makes the leader's own epoch durable.
    Synchronising(WriteSeq),
    /// The epoch is established.
    Serving,
}

impl Leader {
    /// Leaves whatever role this server had.
    pub(super) fn start(shared: &mut Shared) -> Leader {
        let dialed: Vec<LinkId> =
            shared.links.iter().filter(|(_, link)| link.dialed.is_some()).map(|(id, _)| *id).collect();
        for link in dialed {
            shared.drop_link(link);
        }
        shared.stop_serving();
        shared.set_status(Status::Discovering);
        let now = shared.now.mono;
        Leader {
            phase: Phase::Discovering,
            since: now,
            epoch: Epoch(0),
            summary: (shared.epochs.current, shared.history.last()),
            learners: BTreeMap::new(),
            promised: BTreeSet::from([shared.id()]),
            promised_max: shared.epochs.accepted,
            epoch_acks: BTreeSet::new(),
            ahead: BTreeSet::new(),
            new_leader_acks: BTreeSet::new(),
            next_guest: -1,
            last_proposed: Zxid::ZERO,
            outstanding: VecDeque::new(),
            self_acked: Zxid::ZERO,
            syncs: VecDeque::new(),
            probes: 0,
            confirmed: 0,
            transfer: None,
            pinged: now,
            pinged_quorate: now,
            checked: now,
        }
    }

    /// Serves the learners that came before this server knew its role.
    pub(super) fn on_entry(&mut self, shared: &mut Shared) -> Option<Role> {
        let accepted = shared.take_accepted();
        for (link, _) in &accepted {
            self.learners.insert(*link, Learner::new(shared.now.mono));
        }
        if let Some(role) = self.advance(shared) {
            return Some(role);
        }
        accepted.into_iter().find_map(|(link, greeting)| self.on_packet(shared, link, greeting?))
    }

    pub(super) fn on_link_up(&mut self, shared: &mut Shared, link: LinkId) {
        if self.learners.len() >= LEARNERS_MAX {
            shared.drop_link(link);
            return;
        }
        self.learners.insert(link, Learner::new(shared.now.mono));
    }

    pub(super) fn on_link_down(&mut self, shared: &mut Shared, link: LinkId) -> Option<Role> {
        self.forget(shared, link);
        None
    }

    pub(super) fn on_progress(&mut self, now: Millis, link: LinkId) {
        // Until it introduced itself, nothing but that counts: a stranger must not keep a place by trickling bytes.
        if let Some(learner) = self.learners.get_mut(&link).filter(|learner| learner.is_known()) {
            learner.heard = now;
        }
    }

    /// This process was held up: silence and slowness were its own.
    pub(super) fn forgive(&mut self, now: Millis) {
        for learner in self.learners.values_mut() {
            learner.forgive(now);
        }
        for outstanding in &mut self.outstanding {
            outstanding.since = now;
        }
        self.checked = now;
    }

    fn forget(&mut self, shared: &mut Shared, link: LinkId) {
        if let Some(learner) = self.learners.remove(&link) {
            // Its acknowledgement stays true, but an epoch is only worth establishing with those that are here.
            self.new_leader_acks.remove(&learner.id);
        }
        self.syncs.retain(|sync| sync.of != Some(link));
        self.pin(shared);
    }

    fn drop_learner(&mut self, shared: &mut Shared, link: LinkId, reason: &str) {
        let id = self.learners.get(&link).map(|learner| learner.id);
        warn!(%link, ?id, reason, "dropping a learner");
        shared.drop_link(link);
        self.forget(shared, link);
    }

    /// Keeps in memory what the slowest learner that is getting level still needs.
    fn pin(&self, shared: &mut Shared) {
        let joining = self.learners.values().filter(|learner| match learner.stage {
            Stage::Connected | Stage::Greeted | Stage::Invited | Stage::Live => false,
            Stage::Accepted { .. } | Stage::SnapshotWanted | Stage::Syncing | Stage::Synced => true,
        });
        shared.history.pin(joining.map(|learner| learner.sent).min());
    }

    pub(super) fn on_synced(&mut self, shared: &mut Shared) -> Option<Role> {
        match self.phase {
            Phase::Discovering | Phase::Inviting(_) | Phase::Synchronising(_) => self.advance(shared),
            Phase::Serving => self.acknowledge_own(shared),
        }
    }

    pub(super) fn on_packet(&mut self, shared: &mut Shared, link: LinkId, packet: Packet) -> Option<Role> {
        let learner = self.learners.get_mut(&link)?;
        learner.heard = shared.now.mono;
        match packet {
            // Only says that the learner lives.
            Packet::Pong { zxid: Zxid::NONE, .. } if learner.is_known() => None,
            Packet::LearnerInfo { .. } if !learner.is_known() => self.on_learner_info(shared, link, packet),
            Packet::AckEpoch { current, last } if learner.stage == Stage::Invited => {
                self.on_ack_epoch(shared, link, current, last)
            }
            Packet::Ack(zxid) => self.on_ack(shared, link, zxid),
            Packet::Pong { touched, .. } if learner.is_live() => self.on_pong(shared, link, touched),
            Packet::Request(request) if learner.is_live() => self.on_request(shared, link, request),
            Packet::Revalidate { session, timeout_ms } if learner.is_live() => {
                let id = learner.id;
                shared.fx.news(super::effects::News::Revalidate(link, id, session, timeout_ms));
                None
            }
            _ => {
                self.drop_learner(shared, link, "a packet has no place in its stage");
                None
            }
        }
    }

    pub(super) fn on_tick(&mut self, shared: &mut Shared) -> Option<Role> {
        let now = shared.now.mono;
        self.drop_silent(shared);
        if self.phase != Phase::Serving {
            let has_time = now.since(self.since) <= shared.init_limit();
            if !has_time && !self.is_progressing(shared) {
                return Some(self.resign(shared, "no quorum in time"));
            }
        }
        if self.last_proposed.counter() >= Zxid::LAST_COUNTER && self.outstanding.is_empty() {
            return Some(self.resign(shared, "the epoch's counter is used up: a new epoch goes on"));
        }
        self.ping_when_due(shared);
        if now.since(self.checked) >= shared.settings.tick {
            self.checked = now;
            if let Some(reason) = self.flaw(shared) {
                return Some(self.resign(shared, reason));
            }
        }
        self.on_transfer_tick(shared)
    }

    /// Learners that are getting level keep a leadership alive that has its quorum connected.
    fn is_progressing(&self, shared: &Shared) -> bool {
        matches!(self.phase, Phase::Synchronising(_)) && shared.membership.is_quorum(&self.connected(shared))
    }

    /// Voters that are connected and heard, and this server.
    fn connected(&self, shared: &Shared) -> BTreeSet<ServerId> {
        let now = shared.now.mono;
        let heard = self.learners.values().filter(|learner| {
            let has_accepted =
                learner.is_known() && !matches!(learner.stage, Stage::Greeted | Stage::Invited);
            has_accepted && now.since(learner.heard) <= shared.sync_limit()
        });
        heard.map(|learner| learner.id).chain([shared.id()]).collect()
    }

    /// Why leading cannot go on.
    fn flaw(&self, shared: &Shared) -> Option<&'static str> {
        if self.phase != Phase::Serving {
            return None;
        }
        if !shared.membership.is_quorum(&self.connected(shared)) {
            return Some("no quorum is connected");
        }
        let oldest = self.outstanding.front();
        let is_stuck = oldest.is_some_and(|oldest| shared.now.mono.since(oldest.since) > shared.sync_limit());
        is_stuck.then_some("a proposal could not be committed in time")
    }

    fn drop_silent(&mut self, shared: &mut Shared) {
        let now = shared.now.mono;
        let (patient, impatient) = (shared.init_limit(), shared.sync_limit());
        let joining = patient + impatient;
        let late = self.learners.iter().filter(|(_, learner)| {
            let limit = if learner.is_live() { impatient } else { joining };
            now.since(learner.heard) > limit || learner.is_stuck(now, impatient)
        });
        let late: Vec<LinkId> = late.map(|(link, _)| *link).collect();
        for link in late {
            self.drop_learner(shared, link, "it is silent or does not acknowledge");
        }
    }

    fn ping_when_due(&mut self, shared: &mut Shared) {
        let (now, tick) = (shared.now.mono, shared.settings.tick.0);
        let all = now.since(self.pinged) >= Millis(tick / 2);
        let quorate = all || now.since(self.pinged_quorate) >= Millis(tick / 4);
        if all {
            self.pinged = now;
        }
        if quorate {
            self.pinged_quorate = now;
            self.ping(shared, if all { Whom::All } else { Whom::Quorate });
        }
    }

    fn ping(&mut self, shared: &mut Shared, whom: Whom) {
        let probe = if self.confirmed < self.probes { self.probes } else { 0 };
        for (link, learner) in &mut self.learners {
            if learner.takes_pings() && (whom == Whom::All || learner.quorate) {
                learner.on_ping(probe);
                shared.fx.send(*link, Packet::Ping(self.last_proposed), When::Now);
            }
        }
    }

    pub(super) fn distrust_tree(&mut self, shared: &mut Shared) -> Role {
        self.resign(shared, "this tree is not what its own txn says")
    }

    /// Gives leadership up without a successor.
    fn resign(&mut self, shared: &mut Shared, reason: &str) -> Role {
        info!(epoch = %self.epoch, reason, "giving up leadership");
        Role::Looking(Looking::start(shared))
    }

    /// A voter that still looks for a leader does not follow this one: unless a quorum of others is there, leave early.
    pub(super) fn on_vote(
        &mut self,
        shared: &mut Shared,
        from: ServerId,
        notification: &Notification,
    ) -> Option<Role> {
        let is_here = self.learners.values().any(|learner| learner.id == from);
        let is_disloyal = !self.is_early(shared) && !is_here && notification.state == PeerState::Looking;
        if self.phase == Phase::Serving || !is_disloyal || self.may_find_quorum(shared) {
            return None;
        }
        Some(self.resign(shared, "no quorum connects, and a voter elects anew"))
    }

    /// Whether voters may still be on their way because this server was elected a moment ago.
    fn is_early(&self, shared: &Shared) -> bool {
        shared.now.mono.since(self.since) < DISLOYAL_AFTER_MS
    }

    /// Whether the voters that do not hold more than this server can be a quorum. After a while those that are away
    /// count for nothing: whoever waits for them waits for the whole initLimit.
    fn may_find_quorum(&self, shared: &Shared) -> bool {
        let mut able = if self.is_early(shared) {
            shared.membership.voters()
        } else {
            let known = self.learners.values().filter(|learner| learner.is_known());
            known.map(|learner| learner.id).chain([shared.id()]).collect()
        };
        able.retain(|id| !self.ahead.contains(id));
        shared.membership.is_quorum(&able)
    }

    fn link_of(&self, id: ServerId) -> Option<LinkId> {
        self.learners
            .iter()
            .find(|(_, learner)| learner.id == id && learner.is_known())
            .map(|(link, _)| *link)
    }

    /// Followers that get proposals: level, heard, and able to acknowledge.
    fn level(&self, shared: &Shared) -> BTreeSet<ServerId> {
        let now = shared.now.mono;
        let level = self.learners.values().filter(|learner| {
            learner.is_live()
                && learner.kind == Kind::Follower
                && now.since(learner.heard) <= shared.sync_limit()
        });
        level.map(|learner| learner.id).chain([shared.id()]).collect()
    }

    pub(super) fn inspect(&self, shared: &Shared, picture: &mut ZabInspect) {
        let current = shared.membership.current();
        let known = self.learners.values().filter(|learner| learner.is_known());
        let known = known.map(|learner| learner.picture(current, self.last_proposed));
        picture.peers = known.collect();
        picture.outstanding = self.outstanding.len();
        picture.pending_syncs = self.syncs.len();
        picture.transferring = self.transferring();
    }
}

/// Which learners are pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// Everyone.
    All,
    /// Those that notice silence earlier.
    Quorate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Ensemble, Epochs, Now};
    use crate::zab::history::History;
    use crate::zab::machine::Settings;
    use crate::zab::quorum::{Membership, Reconfig};

    #[test]
    fn an_epoch_whose_counter_is_used_up_ends() {
        let settings = Settings {
            id: ServerId(1),
            tick: Millis(200),
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            reconfig: Reconfig::Enabled,
            standalone_enabled: false,
            observer: false,
            commit_log_count: 500,
            ensemble_id: None,
        };
        let now = Now { mono: Millis(1_000), wall_ms: 0 };
        let current = Ensemble::parse("server.1=h1:1:2").expect("good text");
        let membership = Membership::new(current, None, Reconfig::Enabled);
        let history = History::new(Zxid::ZERO, Vec::new(), 1);
        let mut shared = Shared::new(settings, now, Epochs::default(), history, membership, 1);
        let mut leader = Leader::start(&mut shared);
        (leader.phase, leader.epoch) = (Phase::Serving, Epoch(1));
        leader.last_proposed = Zxid::new(Epoch(1), Zxid::LAST_COUNTER - 1);
        assert!(leader.next_zxid().is_some() && leader.on_tick(&mut shared).is_none());
        leader.last_proposed = Zxid::new(Epoch(1), Zxid::LAST_COUNTER);
        assert_eq!(leader.next_zxid(), None);
        assert!(leader.on_tick(&mut shared).is_some(), "it goes on without proposing for ever");
    }
}
