//! `Zab`: one server's part in the agreement, as a function of what happens to it.
//!
//! In: [`Input`]s and the replica's calls. Out: [`Effect`]s, in order.
//!
//! Always true:
//! * one struct owns epochs, log position, commit position and delivery, so that they move in one order;
//! * nothing here waits, and nothing reads a clock.
//!
//! Not here: what a role does (`election`, `leader`, `follower`, `standalone`), the tree and sessions (`replica`).

use bytes::Bytes;

use super::effects::{Effect, Status};
use super::election::Looking;
use super::follower::Follower;
use super::history::History;
use super::inspect::ZabInspect;
use super::leader::Leader;
use super::leader::handover::{ReconfigError, TransferError};
use super::packet::{Forwarded, Packet, Proposal};
use super::quorum::{Membership, Reconfig, membership_of};
use super::shared::{Shared, Undecided};
use super::standalone::Standalone;
use super::vote::{Notification, PeerState};
use crate::base::reconfig::Change;
use crate::base::{Ensemble, Epochs, LinkId, Millis, Now, ServerId, SessionId, WriteSeq, Zxid};

/// A gap between two steps from which on this process was held up, and silence is not the peers' fault.
const STALL_MS: Millis = Millis(500);

/// What a server of the ensemble is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server's own number.
    pub id: ServerId,
    /// The unit of the limits.
    pub tick: Millis,
    /// Ticks to connect and get level.
    pub init_limit_ticks: u64,
    /// Ticks of silence after which a peer is given up.
    pub sync_limit_ticks: u64,
    /// Whether memberships may change.
    pub reconfig: Reconfig,
    /// `standaloneEnabled`: whether a membership of one server is served without a quorum.
    pub standalone_enabled: bool,
    /// `peerType=observer`; only for a server that no membership names.
    pub observer: bool,
    /// Committed txns kept in memory for learners that lag. Default 500.
    pub commit_log_count: usize,
    /// The identity of the ensemble; `None` where none is configured.
    pub ensemble_id: Option<String>,
}

/// What a start found on disk, as far as the agreement needs it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ZabRecovered {
    /// Both epochs.
    pub epochs: Epochs,
    /// Whether an empty disk may vote.
    pub may_vote: bool,
    /// The zxid of the snapshot whose tree is in place; 0 for an empty tree.
    pub snapshot_zxid: Zxid,
    /// Every txn after the snapshot.
    pub txns: Vec<(Zxid, Bytes)>,
}

/// What can happen to the agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed. Comes at least every quarter of a tick, and every 50 ms during an election.
    Tick,
    /// A link on the quorum port stands.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Whom this server dialed; `None` if it was dialed.
        dialed: Option<ServerId>,
    },
    /// A server asked for by `Effect::Dial` could not be reached.
    DialFailed(ServerId),
    /// A link is gone.
    LinkDown(LinkId),
    /// Bytes of a packet that is not whole yet arrived: the peer lives.
    Progress(LinkId),
    /// A packet of a link.
    Packet(LinkId, Packet),
    /// A notification on the election port.
    Vote(ServerId, Notification),
    /// Every write up to this one is durable.
    Synced(WriteSeq),
}

/// What a server is doing.
#[derive(Debug)]
pub(super) enum Role {
    /// Alone by configuration.
    Standalone(Standalone),
    /// It has no leader.
    Looking(Looking),
    /// It leads, or is about to.
    Leading(Box<Leader>),
    /// It follows, with or without a vote.
    Following(Box<Follower>),
}

/// One server's part in the agreement.
#[derive(Debug)]
pub struct Zab {
    shared: Shared,
    role: Role,
}

impl Zab {
    /// Starts from what is on disk, with the memberships of file or disk.
    pub fn new(
        now: Now,
        settings: Settings,
        current: Ensemble,
        proposed: Option<Ensemble>,
        recovered: ZabRecovered,
        seed: u64,
    ) -> Zab {
        let is_alone =
            current.members.len() <= 1 && settings.standalone_enabled || current.members.is_empty();
        let keep = settings.commit_log_count;
        let history = History::new(recovered.snapshot_zxid, recovered.txns, keep);
        // A proposed membership whose txn is not in the log was never acknowledged; one with counter 0 has no txn.
        let is_held =
            |ensemble: &Ensemble| ensemble.version.counter() == 0 || ensemble.version <= history.last();
        let mut membership = Membership::new(current, proposed.filter(is_held), settings.reconfig);
        for proposal in history.after(history.base()) {
            if let Some(ensemble) = membership_of(proposal) {
                membership.propose(ensemble);
            }
        }
        let mut shared = Shared::new(settings, now, recovered.epochs, history, membership, seed);
        shared.may_vote = recovered.may_vote;
        let role = if is_alone {
            Role::Standalone(Standalone::start(&mut shared))
        } else {
            Role::Looking(Looking::start(&mut shared))
        };
        Zab { shared, role }
    }

    /// Takes one input in.
    pub fn step(&mut self, now: Now, input: Input) {
        let asleep = now.mono.since(self.shared.now.mono);
        self.shared.now = now;
        if asleep > STALL_MS {
            self.on_stall();
        }
        let next = match input {
            Input::Tick => self.on_tick(),
            Input::LinkUp { link, dialed } => self.on_link_up(link, dialed),
            Input::DialFailed(server) => match &mut self.role {
                Role::Following(follower) => follower.on_dial_failed(&mut self.shared, server),
                Role::Standalone(_) | Role::Looking(_) | Role::Leading(_) => None,
            },
            Input::LinkDown(link) => self.on_link_down(link),
            Input::Progress(link) => {
                self.on_progress(link);
                None
            }
            Input::Packet(link, packet) => self.on_packet(link, packet),
            Input::Vote(from, notification) => self.on_vote(from, notification),
            Input::Synced(seq) => self.on_synced(seq),
        };
        self.enter(next);
    }

    /// Goes through the roles that follow from one another, such as an election of one that ends at once.
    fn enter(&mut self, mut next: Option<Role>) {
        while let Some(role) = next {
            self.role = role;
            next = match &mut self.role {
                Role::Standalone(_) => None,
                Role::Looking(looking) => looking.on_entry(&mut self.shared),
                Role::Leading(leader) => leader.on_entry(&mut self.shared),
                Role::Following(follower) => follower.on_entry(&mut self.shared),
            };
        }
    }

    fn on_stall(&mut self) {
        let now = self.shared.now.mono;
        match &mut self.role {
            Role::Standalone(_) | Role::Looking(_) => {}
            Role::Leading(leader) => leader.forgive(now),
            Role::Following(follower) => follower.forgive(now),
        }
    }

    fn on_tick(&mut self) -> Option<Role> {
        let undecided = match &self.role {
            Role::Looking(_) => Undecided::Yes,
            Role::Following(_) => Undecided::Unlikely,
            Role::Standalone(_) | Role::Leading(_) => Undecided::No,
        };
        self.shared.expire_links(undecided);
        match &mut self.role {
            Role::Standalone(_) => None,
            Role::Looking(looking) => looking.on_tick(&mut self.shared),
            Role::Leading(leader) => leader.on_tick(&mut self.shared),
            Role::Following(follower) => follower.on_tick(&mut self.shared),
        }
    }

    fn on_link_up(&mut self, link: LinkId, dialed: Option<ServerId>) -> Option<Role> {
        self.shared.add_link(link, dialed);
        match (&mut self.role, dialed) {
            (Role::Looking(_) | Role::Following(_), None) => {}
            (Role::Leading(leader), None) => leader.on_link_up(&mut self.shared, link),
            (Role::Following(follower), Some(server)) => {
                follower.on_link_up(&mut self.shared, link, server);
            }
            // Nobody here serves learners, or the link was dialed for a role that is over.
            (Role::Standalone(_), None)
            | (Role::Standalone(_) | Role::Looking(_) | Role::Leading(_), Some(_)) => {
                self.shared.drop_link(link);
            }
        }
        None
    }

    fn on_link_down(&mut self, link: LinkId) -> Option<Role> {
        let was_live = self.shared.is_live(link);
        self.shared.remove_link(link);
        if !was_live {
            return None;
        }
        match &mut self.role {
            Role::Standalone(_) | Role::Looking(_) => None,
            Role::Leading(leader) => leader.on_link_down(&mut self.shared, link),
            Role::Following(follower) => follower.on_link_down(&mut self.shared, link),
        }
    }

    fn on_progress(&mut self, link: LinkId) {
        let now = self.shared.now.mono;
        match &mut self.role {
            Role::Standalone(_) | Role::Looking(_) => {}
            Role::Leading(leader) => leader.on_progress(now, link),
            Role::Following(follower) => follower.on_progress(now, link),
        }
    }

    fn on_packet(&mut self, link: LinkId, packet: Packet) -> Option<Role> {
        if !self.shared.is_live(link) {
            return None;
        }
        match &mut self.role {
            Role::Standalone(_) => None,
            Role::Looking(_) => {
                self.shared.keep_greeting(link, packet);
                None
            }
            Role::Leading(leader) => leader.on_packet(&mut self.shared, link, packet),
            Role::Following(follower) if follower.is_link(link) => {
                follower.on_packet(&mut self.shared, packet)
            }
            Role::Following(_) => {
                self.shared.keep_greeting(link, packet);
                None
            }
        }
    }

    fn on_vote(&mut self, from: ServerId, notification: Notification) -> Option<Role> {
        match &mut self.role {
            Role::Standalone(_) => None,
            Role::Looking(looking) => looking.on_vote(&mut self.shared, from, notification),
            Role::Leading(leader) => {
                self.shared.answer_vote(from, PeerState::Leading, &notification);
                leader.on_vote(&mut self.shared, from, &notification)
            }
            Role::Following(follower) => {
                let state = follower.peer_state(&self.shared);
                self.shared.answer_vote(from, state, &notification);
                follower.on_vote(&mut self.shared, from, &notification)
            }
        }
    }

    fn on_synced(&mut self, seq: WriteSeq) -> Option<Role> {
        self.shared.fx.on_synced(seq);
        self.shared.history.on_synced(seq);
        match &mut self.role {
            Role::Standalone(_) => {
                self.shared.deliver();
                None
            }
            Role::Looking(looking) => looking.on_synced(&mut self.shared),
            Role::Leading(leader) => leader.on_synced(&mut self.shared),
            Role::Following(follower) => follower.on_synced(&mut self.shared),
        }
    }

    /// The next effect that has not been taken; they are to be performed in this order.
    pub fn pop_effect(&mut self) -> Option<Effect> {
        self.shared.fx.pop()
    }

    /// Every effect that has not been taken.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.pop_effect()).collect()
    }

    /// The epochs that it acts on.
    pub fn epochs(&self) -> Epochs {
        self.shared.epochs
    }

    /// What this server is.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// The zxid that the next proposal gets. `None`: not leading, stepping down, or the epoch's counter is used up.
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.role {
            Role::Standalone(_) => Standalone::next_zxid(&self.shared),
            Role::Leading(leader) => leader.next_zxid(),
            Role::Looking(_) | Role::Following(_) => None,
        }
    }

    /// Alone: the history is a snapshot's from here on, whose tree is in place.
    pub fn restore(&mut self, now: Now, zxid: Zxid, body: Bytes, digest: u64) {
        assert!(matches!(self.role, Role::Standalone(_)), "a member's history is its ensemble's");
        self.shared.now = now;
        self.shared.history.replace(&mut self.shared.fx, zxid, body, digest);
    }

    /// Whether everything in the history is durable here.
    pub fn is_durable(&self) -> bool {
        self.shared.history.durable() >= self.shared.history.last()
    }

    /// Puts a txn into the order; its zxid is `next_zxid`.
    pub fn propose(&mut self, now: Now, proposal: Proposal) {
        assert_eq!(self.next_zxid(), Some(proposal.zxid), "a proposal has the next zxid");
        self.shared.now = now;
        match &mut self.role {
            Role::Standalone(_) => Standalone::propose(&mut self.shared, proposal),
            Role::Leading(leader) => leader.propose(&mut self.shared, proposal),
            Role::Looking(_) | Role::Following(_) => unreachable!("there is no next zxid without leading"),
        }
    }

    /// Learner: forwards a write to the leader. Lost if there is none.
    pub fn forward(&mut self, request: Forwarded) {
        if let Role::Following(follower) = &mut self.role {
            follower.forward(&mut self.shared, request);
        }
    }

    /// Asks that everything committed before now be delivered; `News::Synced` answers, in order. Lost without a
    /// leader.
    pub fn sync(&mut self, session: SessionId, cxid: i32, path: &str) {
        match &mut self.role {
            Role::Standalone(_) => self.shared.answer_sync(self.shared.history.last()),
            Role::Leading(leader) => leader.sync(&mut self.shared),
            Role::Following(follower) => follower.sync(&mut self.shared, session, cxid, path),
            Role::Looking(_) => {}
        }
    }

    /// Learner: asks the leader whether a session lives; `News::Revalidated` answers, in order.
    pub fn revalidate(&mut self, session: SessionId, timeout_ms: i32) {
        if let Role::Following(follower) = &mut self.role {
            follower.revalidate(&mut self.shared, session, timeout_ms);
        }
    }

    /// Leader: answers `News::Revalidate`.
    pub fn revalidated(&mut self, link: LinkId, session: SessionId, valid: bool) {
        if let Role::Leading(leader) = &mut self.role {
            leader.revalidated(&mut self.shared, link, session, valid);
        }
    }

    /// Learner: a session had traffic; the leader is told with the next answer to a ping.
    pub fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        if let Role::Following(follower) = &mut self.role {
            follower.touch(session, timeout_ms);
        }
    }

    /// Leader: answers `News::SnapshotWanted`: the tree at `zxid` is in the link's queue.
    pub fn on_snapshot_sent(&mut self, link: LinkId, zxid: Zxid) {
        if let Role::Leading(leader) = &mut self.role {
            leader.on_snapshot_sent(&mut self.shared, link, zxid);
        }
    }

    /// Learner: answers `News::Install`: the tree is in place and has this digest.
    pub fn on_installed(&mut self, now: Now, digest: u64) {
        self.shared.now = now;
        let next = match &mut self.role {
            Role::Following(follower) => follower.on_installed(&mut self.shared, digest),
            Role::Standalone(_) | Role::Looking(_) | Role::Leading(_) => None,
        };
        self.enter(next);
    }

    /// This tree is not what a txn says that it is: a learner takes the leader's whole tree, a leader gives leadership
    /// up. Nothing happens where nobody else has another tree.
    pub fn distrust_tree(&mut self, now: Now) {
        self.shared.now = now;
        let next = match &mut self.role {
            Role::Following(follower) => Some(follower.distrust_tree(&mut self.shared)),
            Role::Leading(leader) => Some(leader.distrust_tree(&mut self.shared)),
            Role::Standalone(_) | Role::Looking(_) => None,
        };
        self.enter(next);
    }

    /// Gives leadership to a voter: stops proposing, waits until it is level, steps down in its favour. Afterwards
    /// the status says who leads; if the voter does not get level within a second, leading goes on.
    pub fn transfer(&mut self, now: Now, to: ServerId) -> Result<(), TransferError> {
        self.shared.now = now;
        let Role::Leading(leader) = &mut self.role else { return Err(TransferError::NotLeading) };
        let next = leader.transfer(&mut self.shared, to)?;
        self.enter(next);
        Ok(())
    }

    /// The voter to whom leadership is being given.
    pub fn transferring(&self) -> Option<ServerId> {
        match &self.role {
            Role::Leading(leader) => leader.transferring(),
            Role::Standalone(_) | Role::Looking(_) | Role::Following(_) => None,
        }
    }

    /// Leader: the voter that is best to hand over to: Quorate before Apache, then the most level.
    pub fn best_successor(&self) -> Option<ServerId> {
        match &self.role {
            Role::Leading(leader) => leader.best_successor(&self.shared),
            Role::Standalone(_) | Role::Looking(_) | Role::Following(_) => None,
        }
    }

    /// Leader: the membership that a change would make with the next proposal, or why it may not be proposed.
    /// The caller checks the session after `ReconfigError::Disabled` and everything else before it proposes.
    pub fn check_reconfig(&self, change: &Change, from_version: Zxid) -> Result<Ensemble, ReconfigError> {
        if self.shared.membership.reconfig() == Reconfig::Disabled {
            return Err(ReconfigError::Disabled);
        }
        match &self.role {
            Role::Leading(leader) => leader.check_reconfig(&self.shared, change, from_version),
            Role::Standalone(_) | Role::Looking(_) | Role::Following(_) => Err(ReconfigError::NotLeading),
        }
    }

    /// The membership in force.
    pub fn ensemble(&self) -> &Ensemble {
        self.shared.membership.current()
    }

    /// The membership that was proposed and is not in force.
    pub fn ensemble_proposed(&self) -> Option<&Ensemble> {
        self.shared.membership.proposed()
    }

    /// When the next `Input::Tick` is due at the latest.
    pub fn next_deadline(&self) -> Millis {
        let now = self.shared.now.mono;
        let quarter = Millis((self.shared.settings.tick.0 / 4).max(1));
        match &self.role {
            Role::Standalone(_) => now + self.shared.settings.tick,
            Role::Looking(looking) => looking.next_deadline(now),
            Role::Following(follower) => follower.next_deadline(now).min(now + quarter),
            Role::Leading(_) => now + quarter,
        }
    }

    /// A picture of the state for metrics, admin and tests.
    pub fn inspect(&self) -> ZabInspect {
        let mut picture = ZabInspect::of(&self.shared);
        match &self.role {
            Role::Standalone(_) | Role::Looking(_) => {}
            Role::Leading(leader) => leader.inspect(&self.shared, &mut picture),
            Role::Following(follower) => follower.inspect(&mut picture),
        }
        picture
    }
}
