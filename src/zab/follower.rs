//! Following a leader, with or without a vote: connect, agree on its epoch, get level, log what it proposes.
//!
//! In: packets of the leader, reports of the disk, requests of the replica. Out: acknowledgements, deliveries, and the
//! next role.
//!
//! Always true:
//! * in the order of the protocol: history durable, then the epoch, then the acknowledgement of NEWLEADER;
//! * a gap or a surprise from the leader ends the link, never the process, and nothing of it is kept;
//! * one acknowledgement for each proposal, in order, after its fsync.
//!
//! Not here: who leads (`election`), how a leader counts (`leader`).
//!
//! A server without a vote introduces itself as a follower too: a leader counts only voters, so that it is served like
//! an observer, and it can be given its vote by a reconfig without a new link.

mod joining;

use std::collections::{BTreeMap, VecDeque};

use tracing::{info, warn};

use super::effects::{News, Status, When};
use super::election::Looking;
use super::inspect::ZabInspect;
use super::leader::Leader;
use super::machine::Role;
use super::packet::{Forwarded, Packet, Proposal};
use super::quorum::membership_of;
use super::shared::Shared;
use super::vote::{Notification, PeerState, Vote};
use crate::base::wire::Writer;
use crate::base::{Ensemble, Epoch, LinkId, MemberRole, Millis, ServerId, SessionId, Zxid};

/// The operation code of `sync`.
const SYNC_OP: i32 = 9;
/// First pause between two attempts to connect; it doubles.
const REDIAL_MS: Millis = Millis(50);
/// Attempts to connect before a new election: a leader that was just elected needs a moment to listen.
const DIALS_MAX: u32 = 6;

/// With a leader.
#[derive(Debug)]
pub(super) struct Follower {
    leader: ServerId,
    link: Option<LinkId>,
    /// The epoch that the leader proposed; 0 before.
    epoch: Epoch,
    /// Whether the leader showed the mark of a Quorate server.
    quorate: bool,
    /// When the leader was last heard, or dialing began.
    heard: Millis,
    kept_alive: Millis,
    phase: Phase,
    /// Sessions heard from since the last ping.
    touched: BTreeMap<SessionId, i32>,
    /// Syncs that the leader has not answered.
    pending_syncs: usize,
    /// Committed reconfigs that take effect once delivered, with who leads from then on.
    activations: VecDeque<(Zxid, ServerId)>,
}

/// How far a learner is.
#[derive(Debug)]
enum Phase {
    /// No link yet; `None`: an attempt is under way.
    Dialing { attempts: u32, again_at: Option<Millis> },
    /// Sent FOLLOWERINFO.
    Greeting,
    /// Sent ACKEPOCH.
    AwaitingSync,
    /// The replica puts a snapshot's tree in place; what comes meanwhile waits.
    Installing { snapshot: Box<Packet>, queue: VecDeque<Packet> },
    /// Gets what it lacks.
    Syncing(Sync),
    /// Acknowledged NEWLEADER.
    Acknowledged(Sync),
    /// Got UPTODATE. It serves once everything up to `serve_from` was delivered.
    Live { serve_from: Zxid, serving: bool },
}

/// What a synchronisation brought so far.
#[derive(Debug, Default)]
struct Sync {
    /// Everything up to here is committed once the leader's epoch is established.
    committed: Zxid,
    /// Proposals that came without their commit: acknowledged after UPTODATE.
    unacknowledged: VecDeque<Zxid>,
    /// The membership that becomes in force with the epoch.
    ensemble: Option<Ensemble>,
}

impl Follower {
    /// Leaves whatever role this server had and dials the leader.
    pub(super) fn start(shared: &mut Shared, leader: ServerId) -> Follower {
        shared.drop_links(None);
        shared.stop_serving();
        shared.set_status(Status::Joining(leader));
        shared.fx.dial(leader);
        let now = shared.now.mono;
        Follower {
            leader,
            link: None,
            epoch: Epoch(0),
            quorate: false,
            heard: now,
            kept_alive: now,
            phase: Phase::Dialing { attempts: 1, again_at: None },
            touched: BTreeMap::new(),
            pending_syncs: 0,
            activations: VecDeque::new(),
        }
    }

    pub(super) fn on_entry(&mut self, _shared: &mut Shared) -> Option<Role> {
        None
    }

    /// What this server says about itself on the election port.
    pub(super) fn peer_state(&self, shared: &Shared) -> PeerState {
        match shared.membership.current().role(shared.id()) {
            Some(MemberRole::Participant) => PeerState::Following,
            Some(MemberRole::Observer) => PeerState::Observing,
            None if shared.settings.observer => PeerState::Observing,
            None => PeerState::Following,
        }
    }

    pub(super) fn on_dial_failed(&mut self, shared: &mut Shared, server: ServerId) -> Option<Role> {
        let Phase::Dialing { attempts, again_at } = &mut self.phase else { return None };
        if server != self.leader || again_at.is_some() {
            return None;
        }
        if *attempts >= DIALS_MAX {
            return Some(self.leave(shared, "its port cannot be reached"));
        }
        *again_at = Some(shared.now.mono + Millis(REDIAL_MS.0 << (*attempts - 1)));
        None
    }

    pub(super) fn on_link_up(&mut self, shared: &mut Shared, link: LinkId, server: ServerId) {
        let is_wanted = matches!(self.phase, Phase::Dialing { .. }) && server == self.leader;
        if !is_wanted {
            shared.drop_link(link);
            return;
        }
        self.link = Some(link);
        self.heard = shared.now.mono;
        self.phase = Phase::Greeting;
        let greeting = Packet::LearnerInfo {
            observer: false,
            accepted: shared.epochs.accepted,
            id: Some(shared.id()),
            config_version: Some(shared.membership.current().version),
            mark: Some(shared.mark()),
        };
        shared.fx.send(link, greeting, When::Now);
    }

    pub(super) fn on_link_down(&mut self, shared: &mut Shared, link: LinkId) -> Option<Role> {
        if self.link != Some(link) {
            return None;
        }
        self.link = None;
        Some(self.leave(shared, "the link broke"))
    }

    pub(super) fn on_progress(&mut self, now: Millis, link: LinkId) {
        if self.link == Some(link) {
            self.heard = now;
        }
    }

    /// This process was held up: the silence was its own.
    pub(super) fn forgive(&mut self, now: Millis) {
        self.heard = now;
    }

    /// Looks for a leader again.
    fn leave(&mut self, shared: &mut Shared, reason: &'static str) -> Role {
        info!(leader = %self.leader, reason, "leaving the leader");
        shared.lost_leader = Some((self.leader, shared.now.mono));
        Role::Looking(Looking::start(shared))
    }

    /// The leader broke the protocol, or this disk does not fit: get level anew.
    fn resync(&mut self, shared: &mut Shared, reason: &str) -> Role {
        warn!(leader = %self.leader, reason, "synchronising anew");
        Role::Looking(Looking::start(shared))
    }

    pub(super) fn distrust_tree(&mut self, shared: &mut Shared) -> Role {
        shared.needs_snapshot = true;
        self.resync(shared, "this tree is not the leader's: asking for a snapshot")
    }

    pub(super) fn on_tick(&mut self, shared: &mut Shared) -> Option<Role> {
        let now = shared.now.mono;
        let silence = now.since(self.heard);
        let limit = match &self.phase {
            Phase::Dialing { .. }
            | Phase::Greeting
            | Phase::AwaitingSync
            | Phase::Installing { .. }
            | Phase::Syncing(_) => shared.init_limit(),
            Phase::Acknowledged(_) => shared.sync_limit(),
            Phase::Live { .. } if self.quorate => shared.quorate_limit(),
            Phase::Live { .. } => shared.sync_limit(),
        };
        if silence > limit {
            return Some(self.leave(shared, "it is silent"));
        }
        if let Phase::Dialing { attempts, again_at } = &mut self.phase {
            if again_at.is_some_and(|at| now >= at) {
                *again_at = None;
                *attempts += 1;
                shared.fx.dial(self.leader);
            }
            return None;
        }
        self.keep_alive(shared);
        None
    }

    /// A Quorate leader is told that a learner lives while it gets level, however long that takes.
    fn keep_alive(&mut self, shared: &mut Shared) {
        let is_joining = match self.phase {
            Phase::AwaitingSync | Phase::Installing { .. } | Phase::Syncing(_) | Phase::Acknowledged(_) => {
                true
            }
            Phase::Dialing { .. } | Phase::Greeting | Phase::Live { .. } => false,
        };
        let is_due = shared.now.mono.since(self.kept_alive) >= Millis(shared.settings.tick.0 / 2);
        if let Some(link) = self.link.filter(|_| self.quorate && is_joining && is_due) {
            self.kept_alive = shared.now.mono;
            shared.fx.send(link, Packet::Pong { zxid: Zxid::NONE, touched: Vec::new() }, When::Free);
        }
    }

    pub(super) fn next_deadline(&self, now: Millis) -> Millis {
        match &self.phase {
            Phase::Dialing { again_at: Some(at), .. } => *at,
            _ => now + Millis(1_000),
        }
    }

    /// The leader looks for a leader itself, in a later round: it gave up.
    pub(super) fn on_vote(
        &mut self,
        shared: &mut Shared,
        from: ServerId,
        notification: &Notification,
    ) -> Option<Role> {
        let is_live = matches!(self.phase, Phase::Live { .. });
        let gave_up = from == self.leader
            && notification.state == PeerState::Looking
            && notification.vote.round > shared.vote.round;
        if gave_up && !is_live { Some(self.resync(shared, "the leader looks for a leader")) } else { None }
    }

    pub(super) fn on_synced(&mut self, shared: &mut Shared) -> Option<Role> {
        self.after_commit(shared)
    }

    /// Whether this is the link to the leader.
    pub(super) fn is_link(&self, link: LinkId) -> bool {
        self.link == Some(link)
    }

    pub(super) fn on_packet(&mut self, shared: &mut Shared, packet: Packet) -> Option<Role> {
        self.heard = shared.now.mono;
        match &mut self.phase {
            Phase::Dialing { .. } => None,
            Phase::Greeting => self.on_leader_info(shared, packet),
            Phase::AwaitingSync => self.on_sync_start(shared, packet),
            Phase::Installing { queue, .. } => {
                queue.push_back(packet);
                None
            }
            Phase::Syncing(_) => self.on_sync_packet(shared, packet),
            Phase::Acknowledged(_) => self.on_sync_packet(shared, packet),
            Phase::Live { .. } => self.on_live_packet(shared, packet),
        }
    }

    fn send(&self, shared: &mut Shared, packet: Packet, when: When) {
        if let Some(link) = self.link {
            shared.fx.send(link, packet, when);
        }
    }

    // Broadcast.

    fn on_live_packet(&mut self, shared: &mut Shared, packet: Packet) -> Option<Role> {
        match packet {
            Packet::Proposal(proposal) => {
                let zxid = proposal.zxid;
                if zxid.epoch() != self.epoch || !shared.history.may_follow(zxid) {
                    return Some(self.resync(shared, "a proposal does not follow the one before"));
                }
                log(shared, proposal);
                self.send(shared, Packet::Ack(zxid), When::Durable);
                None
            }
            Packet::Commit(zxid) => self.on_commit(shared, zxid),
            Packet::CommitAndActivate { zxid, leader } => {
                self.activations.push_back((zxid, leader));
                self.on_commit(shared, zxid)
            }
            Packet::Ping(zxid) => {
                let touched = std::mem::take(&mut self.touched).into_iter().collect();
                self.send(shared, Packet::Pong { zxid, touched }, When::Free);
                None
            }
            Packet::Revalidated { session, valid } => {
                shared.fx.news(News::Revalidated(session, valid));
                None
            }
            Packet::Sync => {
                if self.pending_syncs > 0 {
                    self.pending_syncs -= 1;
                    shared.answer_sync(shared.history.committed());
                }
                None
            }
            Packet::HandOver { leader, last, round } if self.quorate => {
                self.on_hand_over(shared, leader, last, round)
            }
            _ => Some(self.resync(shared, "a packet has no place in the broadcast")),
        }
    }

    fn on_commit(&mut self, shared: &mut Shared, zxid: Zxid) -> Option<Role> {
        if shared.history.next_uncommitted().is_none_or(|next| next.zxid != zxid) {
            return Some(self.resync(shared, "a commit is not of the next proposal"));
        }
        shared.history.commit(zxid);
        self.after_commit(shared)
    }

    /// Delivers what may be, and does what follows from it.
    fn after_commit(&mut self, shared: &mut Shared) -> Option<Role> {
        let Phase::Live { serve_from, serving } = &mut self.phase else { return None };
        shared.deliver();
        let delivered = shared.history.delivered();
        *serving |= delivered >= *serve_from;
        let is_serving = *serving;
        // Whether its commit came as COMMIT or COMMITANDACTIVATE.
        let is_committed = |ensemble: &&Ensemble| {
            ensemble.version.counter() != 0 && ensemble.version <= shared.history.delivered()
        };
        if let Some(ensemble) = shared.membership.proposed().filter(is_committed).cloned() {
            shared.activate(ensemble);
        }
        while let Some((zxid, leader)) = self.activations.pop_front_if(|(zxid, _)| *zxid <= delivered) {
            if leader != self.leader {
                info!(%leader, "a reconfig moves leadership");
                let vote = Vote { leader, zxid, round: shared.vote.round + 1, epoch: shared.vote.epoch };
                return Some(follow_or_lead(shared, vote));
            }
        }
        if is_serving {
            shared.set_status(match shared.member_role() {
                MemberRole::Participant => Status::Following(self.leader, self.epoch),
                MemberRole::Observer => Status::Observing(self.leader, self.epoch),
            });
        }
        None
    }

    fn on_hand_over(
        &mut self,
        shared: &mut Shared,
        leader: ServerId,
        last: Zxid,
        round: i64,
    ) -> Option<Role> {
        if leader == shared.id() && shared.history.last() != last {
            return Some(self.resync(shared, "leadership was handed over to a server that is not level"));
        }
        info!(%leader, "the leader hands over");
        let vote = Vote { leader, zxid: last, round, epoch: shared.vote.epoch };
        Some(follow_or_lead(shared, vote))
    }

    // What the replica asks for.

    fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Live { serving: true, .. })
    }

    pub(super) fn forward(&mut self, shared: &mut Shared, request: Forwarded) {
        if self.is_serving() {
            self.send(shared, Packet::Request(request), When::Free);
        }
    }

    pub(super) fn sync(&mut self, shared: &mut Shared, session: SessionId, cxid: i32, path: &str) {
        if self.is_serving() {
            self.pending_syncs += 1;
            let mut body = Writer::new();
            body.string(path);
            let (body, identities) = (body.finish(), Vec::new());
            self.forward(shared, Forwarded { session, cxid, op: SYNC_OP, body, identities });
        }
    }

    pub(super) fn revalidate(&mut self, shared: &mut Shared, session: SessionId, timeout_ms: i32) {
        if self.is_serving() {
            self.send(shared, Packet::Revalidate { session, timeout_ms }, When::Free);
        }
    }

    pub(super) fn touch(&mut self, session: SessionId, timeout_ms: i32) {
        self.touched.insert(session, timeout_ms);
    }

    pub(super) fn inspect(&self, picture: &mut ZabInspect) {
        picture.pending_syncs = self.pending_syncs;
        picture.leader_quorate = self.quorate;
    }
}

/// Appends a proposal to the log, and takes note of the membership that it may propose.
fn log(shared: &mut Shared, proposal: Proposal) {
    let reconfig = membership_of(&proposal);
    shared.history.append(&mut shared.fx, proposal);
    if let Some(ensemble) = reconfig {
        shared.note_proposed(ensemble);
    }
}

/// Takes the role that a designated leader leaves to this server, without an election: what makes it safe is the
/// new epoch's quorum, not the votes.
pub(super) fn follow_or_lead(shared: &mut Shared, vote: Vote) -> Role {
    shared.round = shared.round.max(vote.round);
    shared.vote = vote;
    if vote.leader == shared.id() {
        Role::Leading(Box::new(Leader::start(shared)))
    } else {
        Role::Following(Box::new(Follower::start(shared, vote.leader)))
    }
}
