//! `Replica`: one whole server without its edges.
//!
//! In: an [`Event`] and the clocks. Out: the [`Effect`]s that it asks for, in order.
//!
//! Always true:
//! * the tree holds exactly the txns that are committed and durable here, in order;
//! * the events of a txn wait in the mailboxes before anybody can read what it changed;
//! * a client that is served is answered by what one leader decided: when that leader is lost, so are its clients.
//!
//! Not here: agreement (`zab`), what a request does (`prepare`), reads (`read`), sockets and files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tracing::error;

use super::clients::Clients;
use super::conn::Service;
use super::event::{Closing, Effect, Event, ToClient};
use super::lead::{Leading, Work};
use super::learn::{Learning, Validity};
use super::meters::Meters;
use super::prepare::{Rules, Switch};
use super::settings::{RecoverError, Settings};
use super::snapshots::Snapshots;
use crate::base::{ConnId, Ensemble, LinkId, Millis, Now, Recovered, Room, ServerId, Zxid};
use crate::session::{LocalRule, LocalSessions, SessionIds};
use crate::tree::{DigestMismatch, Image, Shared, Tree, Txn, TxnBody};
use crate::watch::Watches;
use crate::zab::effects::{self, News, Status};
use crate::zab::packet::{Packet, Proposal};
use crate::zab::{Input, Zab, ZabRecovered};

/// A server without a leader serves nobody for so long, or for a tick if that is longer: an election is over sooner.
const READ_ONLY_WAIT: Millis = Millis(2_000);
/// Time between two whole trees that a learner asks for because its own is not what txns say.
const RESYNC_EVERY: Millis = Millis(600_000);

/// One server: agreement, sessions, clients, and the tree that they share with the connections' tasks.
#[derive(Debug)]
pub struct Replica {
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) zab: Zab,
    pub(super) service: Arc<Service>,
    pub(super) clients: Clients,
    pub(super) ids: SessionIds,
    /// Sessions that live on this server alone, as long as its role does.
    pub(super) locals: LocalSessions,
    pub(super) role: Role,
    pub(super) status: Status,
    /// Since when there is no leader; `None` if there is one.
    leaderless_since: Option<Millis>,
    /// Connections whose syncs are on their way, oldest first.
    pub(super) syncs: VecDeque<ConnId>,
    /// Writes that were refused for a quota, by its top-level node.
    pub(super) quota_refusals: BTreeMap<String, u64>,
    pub(super) snapshots: Snapshots,
    /// The tree of the snapshot that just came, until the agreement says whether it is wanted.
    arrived: Option<Tree>,
    distrust: Distrust,
    /// How much room the disk has.
    pub(super) room: Room,
    /// The voter that leadership is being given to.
    handover: Option<ServerId>,
    /// Connections for which events of this step's txns wait.
    pub(super) noticed: BTreeSet<ConnId>,
    pub(super) fx: Vec<Effect>,
}

/// What a server is to its clients.
#[derive(Debug)]
pub(super) enum Role {
    /// It serves nobody.
    Idle,
    /// It decides: it leads, or is alone.
    Leading(Leading),
    /// Its leader decides.
    Learning(Learning),
    /// It has no leader and serves what it has to those who want no more.
    ReadOnly,
}

/// Who waits for a txn on this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client's request.
    Request(ConnId),
    /// A client's connect request.
    Connect(ConnId),
    /// The create of an ephemeral node in a local session: whatever the leader says, this is why it failed.
    LocalEphemeral(ConnId),
    /// Nobody here.
    Elsewhere,
}

impl Replica {
    /// A server as its disk has it.
    pub fn new(
        now: Now,
        settings: Settings,
        recovered: Recovered,
        seed: u64,
    ) -> Result<Replica, RecoverError> {
        let current = match &recovered.ensemble_current {
            Some(text) => Ensemble::parse(text)?,
            None => settings.ensemble.clone(),
        };
        let proposed = recovered.ensemble_proposed.as_deref().map(Ensemble::parse).transpose()?;
        let mut tree = match &recovered.snapshot {
            Some(snapshot) => Tree::from_body(snapshot.zxid, snapshot.body.clone(), snapshot.digest)
                .map_err(|source| RecoverError::Snapshot { zxid: snapshot.zxid, source })?,
            None => Tree::new(),
        };
        for (zxid, txn) in &recovered.txns {
            check_txn(&Proposal { zxid: *zxid, txn: txn.clone() })
                .map_err(|flaw| RecoverError::Txn { zxid: *zxid, flaw })?;
        }
        if let Some(reaches) = tree.snapshot_reaches().filter(|reaches| *reaches > recovered.last_zxid()) {
            return Err(RecoverError::LogTooShort { reaches, last: recovered.last_zxid() });
        }
        if !current.members.is_empty() {
            tree.set_config(&current.to_string(), current.version, now.wall_ms);
        }
        // Where the clock went back, sessions that are long gone are not to come back as others.
        let newest = recovered.txns.last().and_then(|(_, txn)| Txn::decode(txn.clone()).ok());
        let newest = newest.map_or(0, |txn| txn.header.time);
        let ids = SessionIds::new(settings.zab.id, now.wall_ms.max(newest), seed);
        let is_alone = settings.ensemble.members.is_empty();
        let rule = if is_alone { LocalRule::Replicated } else { settings.local_sessions };
        let locals = LocalSessions::new(settings.zab.id, settings.zab.tick, rule);
        let zab_recovered = ZabRecovered {
            epochs: recovered.epochs,
            may_vote: recovered.may_vote,
            snapshot_zxid: tree.zxid(),
            txns: recovered.txns,
        };
        let zab = Zab::new(now, settings.zab.clone(), current, proposed, zab_recovered, seed);
        let service = Arc::new(Service {
            tree: Shared::new(tree),
            watches: Watches::new(settings.clients.acl_check),
            settings: settings.clients.clone(),
            meters: Meters::default(),
        });
        Ok(Replica {
            snapshots: Snapshots::new(settings.snapshots, seed),
            rules: settings.rules(),
            settings,
            zab,
            service,
            clients: Clients::default(),
            ids,
            locals,
            role: Role::Idle,
            status: Status::Looking,
            leaderless_since: Some(now.mono),
            syncs: VecDeque::new(),
            quota_refusals: BTreeMap::new(),
            arrived: None,
            distrust: Distrust::default(),
            room: Room::Enough,
            handover: None,
            noticed: BTreeSet::new(),
            fx: Vec::new(),
        })
    }

    /// What the connections' tasks share with this server.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// The tree as it is, to be written as `Effect::TakeSnapshot` is; `None` while another snapshot is being written.
    pub fn snapshot_now(&mut self) -> Option<Image> {
        self.snapshots.begin().then(|| self.service.tree.read(Tree::image))
    }

    /// Takes one event and returns what has to be done about it. Never waits.
    pub fn step(&mut self, now: Now, event: Event) -> impl Iterator<Item = Effect> + '_ {
        self.on_event(now, event);
        self.pump(now);
        self.resume(now);
        self.pump(now);
        self.arrived = None;
        self.end_restore(now);
        self.end_handover();
        self.tell_gathered();
        self.fx.drain(..)
    }

    fn on_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Tick => {
                self.zab.step(now, Input::Tick);
                self.pump(now);
                self.lead_on(now);
                self.expire_locals(now);
                self.serve_read_only(now);
            }
            Event::LinkUp(link, dialed) => self.zab.step(now, Input::LinkUp { link, dialed }),
            Event::DialFailed(server) => self.zab.step(now, Input::DialFailed(server)),
            Event::Progress(link) => self.zab.step(now, Input::Progress(link)),
            Event::LinkDown(link) => self.zab.step(now, Input::LinkDown(link)),
            Event::Packet(link, packet) => self.on_packet(now, link, packet),
            Event::Vote(server, vote) => self.zab.step(now, Input::Vote(server, vote)),
            Event::Synced(seq) => self.zab.step(now, Input::Synced(seq)),
            Event::SnapshotTaken(_, _) => self.snapshots.on_taken(),
            Event::ClientUp(conn, request) => self.on_client_up(now, conn, &request),
            Event::Requests(conn, requests) => self.on_requests(now, conn, requests),
            Event::Touched(conn, at) => self.on_touched(conn, at),
            Event::ClientDown(conn) => {
                self.clients.remove(conn);
            }
            Event::Room(room) => self.on_room(now, room),
            Event::Transfer(to) => self.on_transfer(now, to),
        }
    }

    fn on_touched(&mut self, conn: ConnId, at: Millis) {
        let Some(client) = self.clients.client(conn) else { return };
        let (session, timeout) = (client.session, client.timeout);
        if self.locals.touch(at, session, timeout) {
            return;
        }
        match &mut self.role {
            Role::Leading(leading) => {
                leading.tracker.touch(at, session, timeout);
            }
            Role::Learning(_) => self.zab.touch(session, in_ms(timeout)),
            Role::Idle | Role::ReadOnly => {}
        }
    }

    /// A leader whose disk fills gives leadership away, once: where it comes back, nobody has more room.
    fn on_room(&mut self, now: Now, room: Room) {
        let shrinks = self.room == Room::Enough && room != Room::Enough;
        self.room = room;
        if shrinks && matches!(self.status, Status::Leading(_)) && self.zab.best_successor().is_some() {
            self.on_transfer(now, None);
        }
    }

    fn on_transfer(&mut self, now: Now, to: Option<ServerId>) {
        let started = match to.or_else(|| self.zab.best_successor()) {
            Some(to) => self.zab.transfer(now, to).map(|()| to).map_err(|error| error.to_string()),
            None => Err("there is no voter to hand over to".to_owned()),
        };
        match started {
            Ok(to) => self.handover = Some(to),
            Err(reason) => self.fx.push(Effect::Transferred(Err(reason))),
        }
    }

    /// Says how a hand-over ended, once it did.
    fn end_handover(&mut self) {
        let Some(to) = self.handover.filter(|_| self.zab.transferring().is_none()) else { return };
        self.handover = None;
        let done = match self.status {
            Status::Leading(_) => Err(format!("server {to} did not get level in time")),
            Status::Looking
            | Status::Discovering
            | Status::Joining(_)
            | Status::Following(..)
            | Status::Observing(..)
            | Status::Standalone => Ok(to),
        };
        self.fx.push(Effect::Transferred(done));
    }

    /// Performs what the agreement asks for, until it asks for nothing.
    pub(super) fn pump(&mut self, now: Now) {
        while let Some(effect) = self.zab.pop_effect() {
            match effect {
                effects::Effect::Write(seq, write) => self.fx.push(Effect::Write(seq, write)),
                effects::Effect::Send(link, packet) => self.fx.push(Effect::Send(link, packet)),
                effects::Effect::Vote(server, vote) => self.fx.push(Effect::Vote(server, vote)),
                effects::Effect::Dial(server) => self.fx.push(Effect::Dial(server)),
                effects::Effect::DropLink(link) => self.fx.push(Effect::DropLink(link)),
                effects::Effect::News(news) => self.on_news(now, news),
            }
        }
    }

    fn on_news(&mut self, now: Now, news: News) {
        match news {
            News::Status(status) => self.on_status(now, status),
            News::Ensemble(ensemble) => {
                let (text, version) = (ensemble.to_string(), ensemble.version);
                self.service.tree.write(|tree| tree.set_config(&text, version, now.wall_ms));
                self.fx.push(Effect::Ensemble(ensemble));
            }
            News::Deliver(proposal) => self.on_deliver(now, &proposal),
            News::Install { zxid, .. } => self.on_install(now, zxid),
            News::SnapshotWanted(link) => {
                let image = self.service.tree.read(Tree::image);
                let zxid = image.zxid();
                self.fx.push(Effect::SendSnapshot(link, image));
                self.zab.on_snapshot_sent(link, zxid);
            }
            News::Request(server, forwarded) => self.decide(now, Work::Forwarded(server, forwarded)),
            News::Touched(sessions) => self.on_learner_touched(now, &sessions),
            News::Revalidate(link, server, session, timeout_ms) => {
                self.on_revalidate(now, link, server, (session, timeout_ms));
            }
            News::Revalidated(session, true) => self.on_revalidated(session, Validity::Alive),
            News::Revalidated(session, false) => self.on_revalidated(session, Validity::Gone),
            News::Synced => self.on_synced(now),
        }
    }

    /// A packet whose payload cannot be read costs the link; payloads mean nothing to the agreement.
    fn on_packet(&mut self, now: Now, link: LinkId, packet: Packet) {
        let flaw = match &packet {
            Packet::Proposal(proposal)
            | Packet::Inform(proposal)
            | Packet::InformAndActivate { proposal, .. } => check_txn(proposal).err(),
            Packet::Snap { zxid, body } => match Tree::from_body(*zxid, body.clone(), None) {
                Ok(tree) => {
                    self.arrived = Some(tree);
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            Packet::LearnerInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. }
            | Packet::Diff(_)
            | Packet::Trunc(_)
            | Packet::NewLeader { .. }
            | Packet::UpToDate
            | Packet::Ack(_)
            | Packet::Commit(_)
            | Packet::CommitAndActivate { .. }
            | Packet::Ping(_)
            | Packet::Pong { .. }
            | Packet::Request(_)
            | Packet::Revalidate { .. }
            | Packet::Revalidated { .. }
            | Packet::HandOver { .. }
            | Packet::Sync => None,
        };
        match flaw {
            None => self.zab.step(now, Input::Packet(link, packet)),
            Some(_) => {
                self.fx.push(Effect::DropLink(link));
                self.zab.step(now, Input::LinkDown(link));
            }
        }
    }

    fn on_status(&mut self, now: Now, status: Status) {
        self.status = status;
        self.leaderless_since = status.is_leaderless().then(|| self.leaderless_since.unwrap_or(now.mono));
        let goes_on = match (&self.role, status) {
            (Role::Leading(_), Status::Leading(_) | Status::Standalone) => true,
            (
                Role::Learning(learning),
                Status::Following(leader, epoch) | Status::Observing(leader, epoch),
            ) => learning.is_of(leader, epoch),
            (Role::ReadOnly, status) => status.is_leaderless(),
            (Role::Idle | Role::Leading(_) | Role::Learning(_), _) => false,
        };
        if !goes_on {
            for conn in self.clients.remove_all() {
                self.tell(conn, ToClient::Drop(Closing::Abrupt));
            }
            self.syncs.clear();
            self.locals.clear();
            self.role = Role::Idle;
        }
        self.fx.push(Effect::Status(status));
        if goes_on {
            return;
        }
        let ids = &mut self.ids;
        self.service.tree.read(|tree| ids.go_beyond(tree.sessions().keys().copied()));
        match status {
            Status::Looking | Status::Discovering | Status::Joining(_) => {}
            Status::Leading(_) | Status::Standalone => self.lead(now),
            Status::Following(leader, epoch) | Status::Observing(leader, epoch) => {
                self.role = Role::Learning(Learning::new(leader, epoch));
            }
        }
    }

    /// Without a leader for a while, clients that want no more may read what is here.
    fn serve_read_only(&mut self, now: Now) {
        let wait = READ_ONLY_WAIT.max(self.settings.zab.tick);
        let is_cut_off = self.leaderless_since.is_some_and(|since| now.mono >= since + wait);
        if self.settings.read_only == Switch::On && is_cut_off && matches!(self.role, Role::Idle) {
            self.role = Role::ReadOnly;
            self.fx.push(Effect::ReadOnly);
        }
    }

    /// A leader sent its whole tree.
    fn on_install(&mut self, now: Now, zxid: Zxid) {
        let mut tree = self.arrived.take().expect("a snapshot is installed in the step in which it came");
        assert_eq!(tree.zxid(), zxid, "the snapshot that came is the one that is installed");
        let ensemble = self.zab.ensemble();
        tree.set_config(&ensemble.to_string(), ensemble.version, now.wall_ms);
        let digest = tree.digest();
        self.service.tree.write(|old| *old = tree);
        self.snapshots.on_replaced();
        self.zab.on_installed(now, digest);
    }

    fn on_deliver(&mut self, now: Now, proposal: &Proposal) {
        let (txn, origin) = match &mut self.role {
            Role::Leading(leading) => leading.delivered(proposal),
            Role::Learning(learning) => learning.delivered(proposal),
            Role::Idle | Role::ReadOnly => (decode(proposal), Origin::Elsewhere),
        };
        if let TxnBody::CreateSession { .. } = txn.body {
            self.ids.go_beyond(std::iter::once(txn.header.session));
        }
        let (watches, noticed) = (&self.service.watches, &mut self.noticed);
        let applied = self.service.tree.write(|tree| {
            let applied = tree.apply(&txn);
            for change in &applied.changes {
                watches.fire(applied.zxid, change, noticed);
            }
            applied
        });
        let meters = &self.service.meters;
        meters.applied.add(1);
        if let Role::Learning(_) = &self.role {
            meters.propagation.observe(u64::try_from(now.wall_ms - txn.header.time).unwrap_or(0));
        }
        if let Role::Leading(leading) = &mut self.role {
            leading.on_applied(&applied);
        }
        self.complete(origin, &txn, &applied);
        self.end_closed(origin, &applied);
        if self.snapshots.is_due_after_txn(proposal.txn.len()) {
            self.fx.push(Effect::TakeSnapshot(self.service.tree.read(Tree::image)));
        }
        if let Some(mismatch) = applied.mismatch {
            let DigestMismatch { expected, found } = mismatch;
            error!(zxid = %applied.zxid, expected, found, "this tree is not what the txn says that it is");
            if self.distrust.is_due(now.mono, &self.role) {
                self.zab.distrust_tree(now);
            }
        }
    }
}

/// When a tree that is not what a txn says was last acted upon (specification 5, F-84). A tree that goes on to be
/// another must not keep an ensemble from serving for good.
#[derive(Debug, Default)]
struct Distrust {
    /// It has given leadership up.
    has_resigned: bool,
    /// When it asked a leader for its tree.
    resynced: Option<Millis>,
}

impl Distrust {
    /// Whether to do something about it: a leader once, a learner every [`RESYNC_EVERY`].
    fn is_due(&mut self, now: Millis, role: &Role) -> bool {
        match role {
            Role::Leading(_) => !std::mem::replace(&mut self.has_resigned, true),
            Role::Learning(_) | Role::Idle | Role::ReadOnly => {
                let is_due = self.resynced.is_none_or(|at| now.since(at) >= RESYNC_EVERY);
                if is_due {
                    self.resynced = Some(now);
                }
                is_due
            }
        }
    }
}

/// Whether a proposal is a txn that this server can apply; the error says why not.
fn check_txn(proposal: &Proposal) -> Result<(), String> {
    let txn = Txn::decode(proposal.txn.clone()).map_err(|error| error.to_string())?;
    match txn.header.zxid == proposal.zxid {
        true => Ok(()),
        false => Err(format!("it says that it is {}", txn.header.zxid)),
    }
}

/// Reads a txn that passed [`check_txn`] when it came from a peer or the disk.
pub(super) fn decode(proposal: &Proposal) -> Txn {
    Txn::decode(proposal.txn.clone()).expect("every txn is checked where it comes in")
}

/// A span as it stands in requests and responses.
pub(super) fn in_ms(span: Millis) -> i32 {
    i32::try_from(span.0).unwrap_or(i32::MAX)
}
