//! What every role shares: settings, clock, epochs, history, membership, links, and the effects being collected.
//!
//! In: calls of the roles. Out: effects.
//!
//! Always true:
//! * a txn is given to the tree only when it is committed and durable here;
//! * the vote that is sent describes what is on this disk.
//!
//! Not here: when to do any of this (the roles).

use std::collections::{BTreeMap, VecDeque};

use super::effects::{Effects, News, Status};
use super::history::History;
use super::machine::Settings;
use super::packet::{Mark, Packet};
use super::quorum::{Membership, membership_of};
use super::vote::{Notification, PeerState, Vote, raw_epoch};
use crate::base::rng::Rng;
use crate::base::{Ensemble, Epochs, LinkId, MemberRole, Millis, Now, ServerId, Write, Zxid};

/// Longest that an accepted link may wait for this server to find its role.
const UNDECIDED_MS: Millis = Millis(3_000);
/// Longest that a link may wait which is accepted while this server follows: its leader may be about to hand over.
const UNEXPECTED_MS: Millis = Millis(300);
/// How long a link of a past leadership stays, so that what was sent on it arrives.
const RETIRED_MS: Millis = Millis(2_000);
/// Accepted links that may wait for a role; the ensemble's members and as many guests again.
const UNDECIDED_MAX: usize = 64;

/// A link on the quorum port.
#[derive(Debug)]
pub(super) struct Link {
    /// Whom this server dialed; `None` if it was dialed.
    pub(super) dialed: Option<ServerId>,
    since: Millis,
    /// What a learner said before this server had a role.
    greeting: Option<Packet>,
    /// It belongs to a past role and is only kept to be written out.
    retired: bool,
}

/// Whom to elect because a leader handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The vote for the successor.
    pub(super) vote: Vote,
    /// It counts up to here.
    pub(super) until: Millis,
}

/// What every role shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) now: Now,
    pub(super) rng: Rng,
    pub(super) fx: Effects,
    pub(super) epochs: Epochs,
    /// Whether an empty disk may vote: `false` until a leader gave it data.
    pub(super) may_vote: bool,
    pub(super) history: History,
    pub(super) membership: Membership,
    /// The election's logical clock.
    pub(super) round: i64,
    /// The vote that decided the last election; what late comers are told.
    pub(super) vote: Vote,
    pub(super) links: BTreeMap<LinkId, Link>,
    /// The leader whose link broke last, and when: its vote is not waited for.
    pub(super) lost_leader: Option<(ServerId, Millis)>,
    pub(super) hint: Option<Hint>,
    /// The disk cannot be cut where a leader asked for it: report zxid 0 until a snapshot came.
    pub(super) needs_snapshot: bool,
    /// Syncs of this server that are answered once everything up to the zxid was delivered.
    syncs: VecDeque<Zxid>,
    status: Option<Status>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        now: Now,
        epochs: Epochs,
        history: History,
        membership: Membership,
        seed: u64,
    ) -> Shared {
        let vote =
            Vote { leader: settings.id, zxid: history.last(), round: 0, epoch: raw_epoch(epochs.current) };
        Shared {
            settings,
            now,
            rng: Rng::new(seed),
            fx: Effects::default(),
            epochs,
            may_vote: true,
            history,
            membership,
            round: 0,
            vote,
            links: BTreeMap::new(),
            lost_leader: None,
            hint: None,
            needs_snapshot: false,
            syncs: VecDeque::new(),
            status: None,
        }
    }

    pub(super) fn id(&self) -> ServerId {
        self.settings.id
    }

    /// A number of ticks as a span.
    pub(super) fn ticks(&self, ticks: u64) -> Millis {
        Millis(self.settings.tick.0.saturating_mul(ticks))
    }

    /// The longest silence of a peer that is not known to be Quorate.
    pub(super) fn sync_limit(&self) -> Millis {
        self.ticks(self.settings.sync_limit_ticks)
    }

    /// The longest time to connect, agree on an epoch and get level.
    pub(super) fn init_limit(&self) -> Millis {
        self.ticks(self.settings.init_limit_ticks)
    }

    /// The longest silence of a leader that is Quorate: it pings four times a tick.
    pub(super) fn quorate_limit(&self) -> Millis {
        self.sync_limit().min(Millis(self.settings.tick.0.max(1_000)))
    }

    /// How this server marks itself as Quorate.
    pub(super) fn mark(&self) -> Mark {
        Mark { ensemble_id: self.settings.ensemble_id.clone() }
    }

    /// Whether a peer belongs to another ensemble: both know an id, and not the same.
    pub(super) fn is_foreign(&self, mark: Option<&Mark>) -> bool {
        match (mark.and_then(|mark| mark.ensemble_id.as_ref()), &self.settings.ensemble_id) {
            (Some(theirs), Some(ours)) => theirs != ours,
            (None, _) | (_, None) => false,
        }
    }

    /// Whether this server votes.
    pub(super) fn is_voter(&self) -> bool {
        self.membership.is_voter(self.id())
    }

    /// The role that the membership in force gives this server; a server that it does not name observes.
    pub(super) fn member_role(&self) -> MemberRole {
        self.membership.current().role(self.id()).unwrap_or(MemberRole::Observer)
    }

    /// Tells the status, if it changed.
    pub(super) fn set_status(&mut self, status: Status) {
        if self.status != Some(status) {
            self.status = Some(status);
            self.fx.news(News::Status(status));
        }
    }

    pub(super) fn status(&self) -> Status {
        self.status.unwrap_or(Status::Looking)
    }

    /// Gives the tree what it may have, then answers the syncs that waited for it.
    pub(super) fn deliver(&mut self) {
        while let Some(proposal) = self.history.deliver() {
            self.fx.news(News::Deliver(proposal));
        }
        let delivered = self.history.delivered();
        while self.syncs.pop_front_if(|after| *after <= delivered).is_some() {
            self.fx.news(News::Synced);
        }
    }

    /// Answers a sync of this server once everything up to `after` was delivered.
    pub(super) fn answer_sync(&mut self, after: Zxid) {
        self.syncs.push_back(after);
        self.deliver();
    }

    /// Forgets what only a serving role answers.
    pub(super) fn stop_serving(&mut self) {
        self.syncs.clear();
        self.history.pin(None);
    }

    pub(super) fn write_epochs(&mut self) -> crate::base::WriteSeq {
        assert!(
            self.epochs.current <= self.epochs.accepted,
            "{:?}: the current epoch was promised",
            self.epochs
        );
        self.fx.write(Write::Epochs(self.epochs))
    }

    pub(super) fn write_ensemble(&mut self) {
        let write = self.membership.write();
        self.fx.write(write);
    }

    /// Puts a membership in force if it is newer.
    pub(super) fn activate(&mut self, ensemble: Ensemble) {
        if self.membership.activate(ensemble) {
            self.write_ensemble();
            self.fx.news(News::Ensemble(self.membership.current().clone()));
        }
    }

    /// Takes note of a proposed membership.
    pub(super) fn note_proposed(&mut self, ensemble: Ensemble) {
        if self.membership.propose(ensemble) {
            self.write_ensemble();
        }
    }

    /// Takes note of the memberships that txns in the log propose and that are newer than the one in force; whether
    /// there is one.
    pub(super) fn propose_held(&mut self) -> bool {
        let version = self.membership.last_seen().version;
        let held: Vec<Ensemble> = self.history.after(version).filter_map(membership_of).collect();
        let mut is_any = false;
        for ensemble in held {
            is_any |= self.membership.propose(ensemble);
        }
        is_any
    }

    /// A membership that was proposed by a txn that is cut off is forgotten.
    pub(super) fn withdraw_above(&mut self, zxid: Zxid) {
        let is_cut = self.membership.proposed().is_some_and(|proposed| proposed.version > zxid);
        if is_cut && self.membership.withdraw() {
            self.write_ensemble();
        }
    }

    /// The vote of this server for itself, from what is on its disk.
    pub(super) fn own_vote(&self) -> Vote {
        let nothing = i64::MIN;
        let zxid = if self.may_vote { self.history.last() } else { Zxid::NONE };
        let epoch = raw_epoch(self.epochs.current);
        let round = self.round;
        match self.membership.current().role(self.id()) {
            Some(MemberRole::Participant) => Vote { leader: self.id(), zxid, round, epoch },
            None if !self.settings.observer => Vote { leader: ServerId::NOBODY, zxid, round, epoch },
            Some(MemberRole::Observer) | None => {
                Vote { leader: ServerId::NOBODY, zxid: Zxid(nothing), round, epoch: nothing }
            }
        }
    }

    /// Sends a notification with the text of the membership in force.
    pub(super) fn notify(&mut self, to: ServerId, state: PeerState, vote: Vote) {
        let config = Some(self.membership.current().to_string());
        self.fx.vote(to, Notification { state, vote, version: 2, config });
    }

    /// Outside an election: answers a server that looks for a leader, or that has no vote.
    pub(super) fn answer_vote(&mut self, from: ServerId, state: PeerState, notification: &Notification) {
        if !self.membership.is_voter(from) {
            self.notify(from, state, Vote { round: self.round, ..self.vote });
        } else if notification.state == PeerState::Looking {
            self.notify(from, state, self.vote);
        }
    }

    /// A new link stands.
    pub(super) fn add_link(&mut self, link: LinkId, dialed: Option<ServerId>) {
        let since = self.now.mono;
        self.links.insert(link, Link { dialed, since, greeting: None, retired: false });
    }

    /// A link is gone.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.fx.forget(link);
    }

    /// Closes a link.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.fx.drop_link(link);
        }
    }

    /// Whether packets of this link count.
    pub(super) fn is_live(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|link| !link.retired)
    }

    /// Links accepted for the present role, with what came on them before it was known.
    pub(super) fn take_accepted(&mut self) -> Vec<(LinkId, Option<Packet>)> {
        let accepted = self.links.iter_mut().filter(|(_, link)| link.dialed.is_none() && !link.retired);
        accepted.map(|(id, link)| (*id, link.greeting.take())).collect()
    }

    /// Closes every link of the present role but `keep`.
    pub(super) fn drop_links(&mut self, keep: Option<LinkId>) {
        let links = self.links.iter().filter(|(id, link)| Some(**id) != keep && !link.retired);
        let links: Vec<LinkId> = links.map(|(id, _)| *id).collect();
        for link in links {
            self.drop_link(link);
        }
    }

    /// Leaves the links of a past leadership to be closed by their other ends.
    pub(super) fn retire_links(&mut self) {
        for link in self.links.values_mut() {
            link.retired = true;
            link.since = self.now.mono;
        }
    }

    /// Keeps a learner's greeting until this server has a role.
    pub(super) fn keep_greeting(&mut self, link: LinkId, packet: Packet) {
        match self.links.get_mut(&link) {
            Some(entry) if entry.dialed.is_none() && entry.greeting.is_none() => {
                entry.greeting = Some(packet)
            }
            Some(_) => self.drop_link(link),
            None => {}
        }
    }

    /// Closes links that waited too long for a role, or were retired long enough.
    pub(super) fn expire_links(&mut self, undecided: Undecided) {
        let now = self.now.mono;
        let patience = match undecided {
            Undecided::Yes => Some(UNDECIDED_MS),
            Undecided::Unlikely => Some(UNEXPECTED_MS),
            Undecided::No => None,
        };
        let mut waiting = 0;
        let mut expired = Vec::new();
        for (id, link) in &self.links {
            let age = now.since(link.since);
            if link.retired {
                if age > RETIRED_MS {
                    expired.push(*id);
                }
            } else if let Some(patience) = patience.filter(|_| link.dialed.is_none()) {
                waiting += 1;
                if age > patience || waiting > UNDECIDED_MAX {
                    expired.push(*id);
                }
            }
        }
        for link in expired {
            self.drop_link(link);
        }
    }
}

/// Whether this server has yet to find its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecided {
    /// Accepted links wait.
    Yes,
    /// It follows, and its leader may hand over to it: accepted links wait a moment.
    Unlikely,
    /// Accepted links are served or were refused.
    No,
}
