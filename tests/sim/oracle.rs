//! Judges what clients were told by the committed history: each reply is checked at its own zxid.
//!
//! In: requests when they are sent, replies when they arrive, the committed history. Out: a panic that names the lie.
//!
//! Always true:
//! * a write is linearizable: its zxid lies above every zxid that any client had seen when it was sent, and its
//!   result is what the model says at that zxid;
//! * a read shows the node as it was at the reply's zxid, and a read after `sync` nothing older than what any client had
//!   seen when the sync was sent;
//! * an acknowledged write stands in the history, once; a write without an answer may stand there or not, but not twice,
//!   and not before it was sent; one that was refused without a zxid never does.
//!
//! Not here: the order of replies and watch events on a connection (`client`, `invariants::watches`).

mod expect;
mod reads;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate::base::{SessionId, Zxid};
use quorate::session::LocalRule;

use crate::acl::Identities;
use crate::invariants::{local_sessions, reaping};
use crate::model::Model;
use crate::queue::Micros;
use crate::request::Request;
use crate::setup::Rules;
use crate::wire::{self, Change, Reply, Txn, Why};

/// Error codes that a right server may give to the requests of this test.
pub mod code {
    /// Behind the failing one in a multi.
    pub const RUNTIME_INCONSISTENCY: i32 = -2;
    /// An operation that there is not, or is switched off.
    pub const UNIMPLEMENTED: i32 = -6;
    /// Arguments that make no sense.
    pub const BAD_ARGUMENTS: i32 = -8;
    /// A membership whose quorum is not there.
    pub const NEW_CONFIG_NO_QUORUM: i32 = -13;
    /// Another reconfig is on its way.
    pub const RECONFIG_IN_PROGRESS: i32 = -14;
    /// No such node.
    pub const NO_NODE: i32 = -101;
    /// Not allowed.
    pub const NO_AUTH: i32 = -102;
    /// Another version.
    pub const BAD_VERSION: i32 = -103;
    /// The parent is ephemeral.
    pub const NO_CHILDREN_FOR_EPHEMERALS: i32 = -108;
    /// It is there already.
    pub const NODE_EXISTS: i32 = -110;
    /// It has children.
    pub const NOT_EMPTY: i32 = -111;
    /// The session is over.
    pub const SESSION_EXPIRED: i32 = -112;
    /// A list of ACLs that makes no sense.
    pub const INVALID_ACL: i32 = -114;
    /// The session is on another server.
    pub const SESSION_MOVED: i32 = -118;
    /// The server only reads.
    pub const NOT_READ_ONLY: i32 = -119;
    /// The session is local.
    pub const EPHEMERAL_ON_LOCAL: i32 = -120;
    /// No such watch.
    pub const NO_WATCHER: i32 = -121;
    /// A limit is passed.
    pub const QUOTA_EXCEEDED: i32 = -125;
    /// Not executed, try again later: there is no room.
    pub const THROTTLED: i32 = -127;
}

/// A request whose reply came.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request.
    pub request: &'a Request,
    /// When it was sent.
    pub at: Micros,
    /// What a sync before it on the connection promised; zero for nothing.
    pub floor: Zxid,
    /// Who the connection was when it was sent.
    pub identities: Identities,
    /// Whether the server said that it only reads.
    pub is_read_only: bool,
}

/// What is known of the decision about a txn.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// What was applied at its leader: at least, and at most.
    pub applied: (Zxid, Zxid),
    /// Whether its leader had no room for it.
    pub lacks_room: bool,
}

/// A write that was sent.
#[derive(Clone, Debug)]
struct Sent {
    request: Request,
    identities: Identities,
    /// What any client had seen when it was sent.
    floor: Zxid,
    /// Where it stands in the history.
    zxid: Option<Zxid>,
    /// Whether the client was told that it was not begun.
    is_refused: bool,
}

/// What a txn came to.
#[derive(Clone, Debug)]
struct Outcome {
    session: SessionId,
    xid: i32,
    /// The error, 0 for none.
    err: i32,
    /// Of a multi: the error of each part.
    parts: Vec<i32>,
}

/// The judge.
pub struct Oracle {
    /// The committed history, replayed.
    pub model: Model,
    /// What is allowed in this run.
    rules: Rules,
    /// The highest zxid that any client has seen in a reply.
    seen: Zxid,
    writes: BTreeMap<(SessionId, i32), Sent>,
    /// Acknowledged writes by zxid: at the end each must stand in the history.
    acknowledged: BTreeMap<Zxid, (SessionId, i32)>,
    /// The txn at each zxid, as far as clients may ask for it.
    txns: BTreeMap<Zxid, Outcome>,
    /// Sessions that asked for an ephemeral node.
    wanted_ephemerals: BTreeSet<SessionId>,
    /// Whether a disk was ever without room.
    pub had_no_room: bool,
    /// How many requests were answered without an error of the connection.
    pub answered: u64,
    /// When the last write that was acknowledged had been sent.
    pub last_write_sent: Micros,
    /// How often each operation was answered.
    pub by_op: BTreeMap<i32, u64>,
    /// Writes that were refused for a quota.
    pub over_quota: u64,
    /// Containers and nodes with a time to live that ended.
    pub reaped: u64,
    /// Writes that were refused by a server that only reads, or that has no room.
    pub put_off: u64,
}

impl Oracle {
    /// Nothing seen yet.
    pub fn new(rules: Rules) -> Oracle {
        Oracle {
            model: Model::new(),
            rules,
            seen: Zxid::ZERO,
            writes: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            txns: BTreeMap::new(),
            wanted_ephemerals: BTreeSet::new(),
            had_no_room: false,
            answered: 0,
            last_write_sent: Micros(0),
            by_op: BTreeMap::new(),
            over_quota: 0,
            reaped: 0,
            put_off: 0,
        }
    }

    /// A client sends a request. Answers what any client has seen so far.
    pub fn on_sent(
        &mut self,
        session: SessionId,
        xid: i32,
        request: &Request,
        identities: Identities,
    ) -> Zxid {
        if request.is_write() && *request != Request::Close {
            let (request, floor) = (request.clone(), self.seen);
            if request.wants_ephemeral() {
                self.wanted_ephemerals.insert(session);
            }
            let sent = Sent { request, identities, floor, zxid: None, is_refused: false };
            let earlier = self.writes.insert((session, xid), sent);
            assert!(earlier.is_none(), "the client uses {xid} twice in {session}");
        }
        self.seen
    }

    /// Whether a session asked for an ephemeral node, so that it may be known everywhere.
    pub fn wanted_ephemeral(&self, session: SessionId) -> bool {
        self.wanted_ephemerals.contains(&session)
    }

    /// A txn is committed.
    pub fn on_committed(&mut self, txn: Bytes, decided: Decided) {
        let txn = wire::txn(txn).unwrap_or_else(|err| panic!("a committed txn cannot be read: {err}"));
        match &txn.change {
            Change::CreateSession { .. } => {
                let asked = match self.wanted_ephemeral(txn.session) {
                    true => local_sessions::Asked::Ephemeral,
                    false => local_sessions::Asked::NothingMuch,
                };
                local_sessions::may_be_replicated(self.rules.local_sessions, txn.zxid, txn.session, asked);
            }
            Change::CloseSession { .. } => {}
            Change::Delete { path, why: Why::Reaped } => {
                let ended = (txn.zxid, txn.time, path.as_str());
                reaping::check(&self.model, self.rules.reaping, ended, decided.applied);
                self.reaped += 1;
            }
            // The end of a node, which was not its time any more.
            Change::Error(_) if txn.session == SessionId::NONE && txn.cxid == 0 => {}
            Change::Error(_)
            | Change::Create { .. }
            | Change::Delete { why: Why::Asked, .. }
            | Change::SetData { .. }
            | Change::SetAcl { .. }
            | Change::Check
            | Change::Reconfig { .. }
            | Change::Multi(_) => self.is_asked_for(&txn, decided),
        }
        self.model.apply(&txn);
        let (err, parts) = match &txn.change {
            Change::Error(err) => (*err, Vec::new()),
            Change::Multi(parts) => (0, writes::part_errors(parts)),
            _ => (0, Vec::new()),
        };
        self.txns.insert(txn.zxid, Outcome { session: txn.session, xid: txn.cxid, err, parts });
    }

    /// A write stands in the history once, after it was sent, as it was sent, and with the right outcome.
    fn is_asked_for(&mut self, txn: &Txn, decided: Decided) {
        let key = (txn.session, txn.cxid);
        let Some(sent) = self.writes.get_mut(&key) else {
            panic!("{} was never asked for: {txn:?}", txn.zxid);
        };
        assert!(sent.zxid.is_none(), "{} does again what {:?} did: {txn:?}", txn.zxid, sent.zxid);
        assert!(!sent.is_refused, "{} was refused, and is done all the same: {txn:?}", txn.zxid);
        assert!(sent.floor < txn.zxid, "{} was sent when clients had seen {}: {txn:?}", txn.zxid, sent.floor);
        sent.zxid = Some(txn.zxid);
        let sent = sent.clone();
        self.over_quota += u64::from(expect::check(self, txn, &sent.request, sent.identities, decided));
    }

    /// A client got the reply to a request.
    pub fn on_reply(&mut self, session: SessionId, asked: &Asked<'_>, reply: &mut Reply) {
        self.answered += 1;
        *self.by_op.entry(asked.request.op()).or_default() += 1;
        if self.is_put_off(session, asked, reply) {
            return;
        }
        if asked.request.is_write() {
            self.on_written(session, asked, reply);
        } else {
            assert!(
                reply.zxid >= asked.floor || !asked.request.tells_of_state(),
                "a read after sync shows {}, and {} was seen before the sync: {:?}",
                reply.zxid,
                asked.floor,
                asked.request
            );
            self.on_read(session, asked, reply);
        }
        self.see(reply.zxid);
    }

    /// A reply tells of a state. The start of an epoch is none: its leader's answers tell it, those of its learners do
    /// not.
    fn see(&mut self, zxid: Zxid) {
        if zxid.counter() != 0 {
            self.seen = self.seen.max(zxid);
        }
    }

    /// Whether a request was refused before it was begun: by a server that only reads, or for want of room. It may not
    /// stand in the history, and the reply tells of the state.
    fn is_put_off(&mut self, session: SessionId, asked: &Asked<'_>, reply: &Reply) -> bool {
        let request = asked.request;
        let is_change = request.is_write() && *request != Request::Close;
        let is_right = match reply.err {
            code::NOT_READ_ONLY => asked.is_read_only && (is_change || *request == Request::Sync),
            code::THROTTLED => {
                let key = (session, reply.xid);
                if self.txns.get(&reply.zxid).is_some_and(|txn| (txn.session, txn.xid) == key) {
                    return false; // its leader had no room, and it got a zxid
                }
                request.is_write() && self.had_no_room
            }
            _ => {
                let may_stay = !is_change && *request != Request::Sync;
                assert!(
                    !asked.is_read_only || may_stay,
                    "a server that only reads answers {request:?} with {}",
                    reply.err
                );
                return false;
            }
        };
        assert!(is_right, "{request:?} is refused with {} without a reason", reply.err);
        if let Some(sent) = self.writes.get_mut(&(session, reply.xid)) {
            assert!(
                sent.zxid.is_none(),
                "{request:?} is refused with {} and stands at {:?}",
                reply.err,
                sent.zxid
            );
            sent.is_refused = true;
        }
        self.put_off += 1;
        self.see(reply.zxid);
        true
    }

    /// What any client has seen so far.
    pub fn seen(&self) -> Zxid {
        self.seen
    }

    /// Whether a session may be known to one server alone.
    pub fn may_be_local(&self, session: SessionId) -> bool {
        self.rules.local_sessions != LocalRule::Replicated
            && !self.model.sessions().contains_key(&session)
            && self.model.closed_at(session).is_none()
    }

    /// At the end: every acknowledged write stands in the history, and nothing that a client saw lies beyond it.
    pub fn on_end(&self) {
        for (zxid, (session, xid)) in &self.acknowledged {
            let found = self.txns.get(zxid).map(|txn| (txn.session, txn.xid));
            assert!(
                found == Some((*session, *xid)),
                "{zxid}, acknowledged to {session}, is not in the history"
            );
        }
        let begun = Zxid::new(self.seen.epoch(), 0);
        assert!(
            self.seen <= self.model.last.max(begun),
            "clients saw {}, and the history ends at {}",
            self.seen,
            self.model.last
        );
    }
}

fn read<T>(result: Result<T, wire::Unreadable>) -> T {
    result.unwrap_or_else(|err| panic!("a reply cannot be read: {err}"))
}
