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
//!   and not before it was sent.
//!
//! Not here: the order of replies and watch events on a connection (`client`, `invariants::watches`).

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate::base::{SessionId, Zxid};

use crate::model::{Model, Node, name_hash};
use crate::queue::Micros;
use crate::wire::{self, Change, Reply, Stat, Txn};

/// What a client asks for, as far as the oracle must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Replaces a node's data; the version that it must have, -1 for any.
    Set {
        /// Where.
        path: String,
        /// A value that is used once.
        data: Bytes,
        /// What version it must have.
        expected: i32,
    },
    /// Reads a node.
    Get {
        /// Where.
        path: String,
        /// Whether to be told of its next change.
        watch: bool,
    },
    /// Looks whether a node exists.
    Exists {
        /// Where.
        path: String,
        /// Whether to be told of its next change.
        watch: bool,
    },
    /// Lists the children of a node.
    Children {
        /// Where.
        path: String,
        /// Whether to be told of their next change.
        watch: bool,
    },
    /// Creates a node.
    Create {
        /// Where; a sequence number may be added.
        path: String,
        /// What it holds.
        data: Bytes,
        /// 0 to 3, as on the wire: 1 ephemeral, 2 sequential.
        flags: i32,
    },
    /// Removes a node.
    Delete {
        /// Where.
        path: String,
        /// What version it must have; -1 for any.
        expected: i32,
    },
    /// Checks the version of one node and replaces the data of two, or nothing.
    Multi {
        /// The node that is checked, with its version.
        check: (String, i32),
        /// The nodes that are set.
        set: [(String, Bytes); 2],
    },
    /// Registers watches again, on another connection: the paths of each list.
    SetWatches {
        /// What the client had seen.
        seen: Zxid,
        /// Watches of data, of nodes that were not there, and of children.
        lists: [Vec<String>; 3],
    },
    /// Waits until this server has seen all that was committed before.
    Sync,
    /// Adds an identity to the connection.
    Auth,
    /// Changes the membership.
    Reconfig {
        /// Lines of servers to add or replace.
        joining: String,
        /// Ids of servers to remove.
        leaving: String,
    },
    /// Nothing: keeps the session alive.
    Ping,
    /// Ends the session.
    Close,
}

impl Request {
    /// Whether it gets a zxid of its own.
    pub fn is_write(&self) -> bool {
        match self {
            Request::Set { .. }
            | Request::Create { .. }
            | Request::Delete { .. }
            | Request::Multi { .. }
            | Request::Reconfig { .. }
            | Request::Close => true,
            Request::Get { .. }
            | Request::Exists { .. }
            | Request::Children { .. }
            | Request::SetWatches { .. }
            | Request::Sync
            | Request::Auth
            | Request::Ping => false,
        }
    }
}

/// Error codes that a right server may give to the requests of this test.
mod code {
    pub(super) const NO_NODE: i32 = -101;
    pub(super) const BAD_VERSION: i32 = -103;
    pub(super) const NODE_EXISTS: i32 = -110;
    pub(super) const SESSION_EXPIRED: i32 = -112;
    pub(super) const RUNTIME_INCONSISTENCY: i32 = -2;
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
}

/// A write that was sent.
#[derive(Clone, Debug)]
struct Sent {
    request: Request,
    /// What any client had seen when it was sent.
    floor: Zxid,
    /// Where it stands in the history.
    zxid: Option<Zxid>,
}

/// The judge.
pub struct Oracle {
    /// The committed history, replayed.
    pub model: Model,
    /// The highest zxid that any client has seen in a reply.
    seen: Zxid,
    writes: BTreeMap<(SessionId, i32), Sent>,
    /// Acknowledged writes by zxid: at the end each must stand in the history.
    acknowledged: BTreeMap<Zxid, (SessionId, i32)>,
    /// The txn at each zxid, as far as clients may ask for it: who asked, and the error.
    txns: BTreeMap<Zxid, (SessionId, i32, i32)>,
    /// How many requests were answered without an error of the connection.
    pub answered: u64,
    /// When the last write that was acknowledged had been sent.
    pub last_write_sent: Micros,
    /// How many of them were reads.
    pub reads: u64,
}

impl Oracle {
    /// Nothing seen yet.
    pub fn new() -> Oracle {
        Oracle {
            model: Model::new(),
            seen: Zxid::ZERO,
            writes: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            txns: BTreeMap::new(),
            answered: 0,
            last_write_sent: Micros(0),
            reads: 0,
        }
    }

    /// A client sends a request. Answers what any client has seen so far.
    pub fn on_sent(&mut self, session: SessionId, xid: i32, request: &Request) -> Zxid {
        if request.is_write() && *request != Request::Close {
            let sent = Sent { request: request.clone(), floor: self.seen, zxid: None };
            let earlier = self.writes.insert((session, xid), sent);
            assert!(earlier.is_none(), "the client uses {xid} twice in {session}");
        }
        self.seen
    }

    /// A txn is committed.
    pub fn on_committed(&mut self, txn: Bytes) {
        let txn = wire::txn(txn).unwrap_or_else(|err| panic!("a committed txn cannot be read: {err}"));
        self.is_asked_for(&txn);
        self.model.apply(&txn);
        let err = match &txn.change {
            Change::Error(err) => *err,
            _ => 0,
        };
        self.txns.insert(txn.zxid, (txn.session, txn.cxid, err));
    }

    /// A write stands in the history once, after it was sent, and as it was sent.
    fn is_asked_for(&mut self, txn: &Txn) {
        if matches!(txn.change, Change::CreateSession { .. } | Change::CloseSession { .. }) {
            return;
        }
        let key = (txn.session, txn.cxid);
        let Some(sent) = self.writes.get_mut(&key) else {
            panic!("{} was never asked for: {txn:?}", txn.zxid);
        };
        assert!(sent.zxid.is_none(), "{} does again what {:?} did: {txn:?}", txn.zxid, sent.zxid);
        assert!(sent.floor < txn.zxid, "{} was sent when clients had seen {}: {txn:?}", txn.zxid, sent.floor);
        sent.zxid = Some(txn.zxid);
        let is_same = match (&sent.request, &txn.change) {
            (_, Change::Error(_)) => true,
            (Request::Set { path, data, .. }, Change::SetData { path: to, data: value, .. }) => {
                path == to && data == value
            }
            (
                Request::Create { path, data, flags },
                Change::Create { path: to, data: value, is_ephemeral },
            ) => to.starts_with(path.as_str()) && data == value && (*flags & 1 == 1) == *is_ephemeral,
            (Request::Delete { path, .. }, Change::Delete { path: to }) => path == to,
            (Request::Multi { .. }, Change::Multi(parts)) => parts.len() == 3,
            (Request::Reconfig { .. }, Change::Reconfig { .. }) => true,
            _ => false,
        };
        assert!(is_same, "{} is not what was asked for: {txn:?} for {:?}", txn.zxid, sent.request);
    }

    /// A client got the reply to a request.
    pub fn on_reply(&mut self, session: SessionId, asked: &Asked<'_>, reply: &mut Reply) {
        let Asked { request, at, floor } = *asked;
        self.answered += 1;
        if request.is_write() {
            self.last_write_sent = self.last_write_sent.max(at);
            self.on_written(session, request, reply);
        } else {
            self.reads += 1;
            assert!(
                reply.zxid >= floor || matches!(request, Request::Auth),
                "a read after sync shows {}, and {floor} was seen before the sync: {request:?}",
                reply.zxid
            );
            self.on_read(request, reply);
        }
        // The start of an epoch is no txn: its leader's answers tell it, and those of its learners do not.
        if reply.zxid.counter() != 0 {
            self.seen = self.seen.max(reply.zxid);
        }
    }

    fn on_written(&mut self, session: SessionId, request: &Request, reply: &mut Reply) {
        let zxid = reply.zxid;
        let Some((by, cxid, err)) = self.txns.get(&zxid).copied() else {
            panic!("the reply {reply:?} to {request:?} of {session} names a txn that is not committed");
        };
        if *request == Request::Close {
            assert!(by == session, "the reply to a close of {session} names {zxid} of {by}");
            return;
        }
        assert!(
            (by, cxid) == (session, reply.xid),
            "the reply to {} of {session}, {request:?}, names {zxid}, which is {cxid} of {by}",
            reply.xid
        );
        assert!(err == reply.err, "{zxid} ended with {err}, and the reply says {}: {request:?}", reply.err);
        self.acknowledged.insert(zxid, (session, reply.xid));
        match reply.err {
            0 => self.on_success(request, reply),
            err => self.on_refusal(session, request, zxid, err),
        }
    }

    /// The result of a successful write is what the model says.
    fn on_success(&self, request: &Request, reply: &mut Reply) {
        let zxid = reply.zxid;
        match request {
            Request::Set { path, data, expected } => {
                let before = self.model.before(path, zxid).expect("the model applied it");
                let fits = *expected == -1 || *expected == before.stat.version;
                assert!(fits, "{zxid} set {path} at version {}, asked for {expected}", before.stat.version);
                let node = self.node(path, zxid);
                assert!(node.data == *data, "{zxid} set {path} to {data:?}, and it holds {:?}", node.data);
                same_stat(path, zxid, node, &read(wire::stat(&mut reply.body)));
            }
            Request::Create { path, flags, .. } => {
                let created = read(wire::string(&mut reply.body));
                let node = self.node(&created, zxid);
                assert!(
                    node.stat.czxid == zxid.0,
                    "{zxid} says it created {created}, which {} did",
                    node.stat.czxid
                );
                let before =
                    self.model.before(crate::model::parent_of(path), zxid).expect("the parent exists");
                let expected = match flags & 2 {
                    0 => path.clone(),
                    _ => format!("{path}{:010}", before.created),
                };
                assert!(created == expected, "{zxid} created {created}, and {expected} was its turn");
            }
            Request::Delete { path, expected } => {
                let before = self.model.before(path, zxid).expect("the model applied it");
                let fits = *expected == -1 || *expected == before.stat.version;
                assert!(
                    fits,
                    "{zxid} deleted {path} at version {}, asked for {expected}",
                    before.stat.version
                );
            }
            Request::Multi { check, set } => self.on_multi(zxid, check, set, reply),
            Request::Reconfig { .. } => {}
            Request::Get { .. }
            | Request::Exists { .. }
            | Request::Children { .. }
            | Request::SetWatches { .. }
            | Request::Sync
            | Request::Auth
            | Request::Ping
            | Request::Close => unreachable!("a read is no write"),
        }
    }

    /// A multi does all or nothing, and says which.
    fn on_multi(&self, zxid: Zxid, check: &(String, i32), set: &[(String, Bytes); 2], reply: &mut Reply) {
        let body = &mut reply.body;
        let before = self.model.before(&check.0, zxid).map(|node| node.stat.version);
        let mut results = Vec::new();
        loop {
            let (kind, done, err) = (read(body.i32("type")), read(body.bool("done")), read(body.i32("err")));
            if done {
                break;
            }
            match kind {
                wire::op::ERROR => {
                    read(body.i32("err"));
                    results.push(err);
                }
                wire::op::SET_DATA => {
                    let stat = read(wire::stat(body));
                    let path = &set[results.len() - 1].0;
                    same_stat(path, zxid, self.node(path, zxid), &stat);
                    results.push(0);
                }
                _ => results.push(0),
            }
        }
        let mut expected = vec![match before {
            Some(version) if version == check.1 => 0,
            Some(_) => code::BAD_VERSION,
            None => code::NO_NODE,
        }];
        for (path, _) in set {
            let exists = self.model.before(path, zxid).is_some();
            let is_over = expected.iter().any(|err| *err != 0);
            expected.push(match (is_over, exists) {
                (true, _) => code::RUNTIME_INCONSISTENCY,
                (false, true) => 0,
                (false, false) => code::NO_NODE,
            });
        }
        assert!(results == expected, "{zxid}: the multi says {results:?}, and the model {expected:?}");
        if results == [0, 0, 0] {
            set.iter().for_each(|(path, data)| {
                assert!(self.node(path, zxid).data == *data, "{zxid}: the multi left {path} as it was");
            });
        }
    }

    /// A refusal must have its reason in the model.
    fn on_refusal(&self, session: SessionId, request: &Request, zxid: Zxid, err: i32) {
        let version = |path: &str| self.model.at(path, zxid).map(|node| node.stat.version);
        let is_closed = self.model.closed_at(session).is_some_and(|at| at < zxid);
        let is_right = match (request, err) {
            (_, code::SESSION_EXPIRED) => is_closed,
            (Request::Set { path, .. } | Request::Delete { path, .. }, code::NO_NODE) => {
                version(path).is_none()
            }
            (Request::Set { path, expected, .. } | Request::Delete { path, expected }, code::BAD_VERSION) => {
                *expected != -1 && version(path).is_some_and(|version| version != *expected)
            }
            (Request::Create { path, .. }, code::NODE_EXISTS) => version(path).is_some(),
            (Request::Create { path, .. }, code::NO_NODE) => version(crate::model::parent_of(path)).is_none(),
            (Request::Reconfig { .. }, _) => true,
            _ => false,
        };
        assert!(is_right, "{zxid}: {request:?} was refused with {err} without a reason");
    }

    fn on_read(&self, request: &Request, reply: &mut Reply) {
        let zxid = reply.zxid;
        match request {
            Request::Get { path, .. } => match (self.model.at(path, zxid), reply.err) {
                (Some(node), 0) => {
                    let data = read(reply.body.buffer("data")).unwrap_or_default();
                    assert!(
                        data == node.data,
                        "{path} at {zxid} reads {data:?}, and it held {:?}",
                        node.data
                    );
                    same_stat(path, zxid, node, &read(wire::stat(&mut reply.body)));
                }
                (node, err) => missing(path, zxid, node, err),
            },
            Request::Exists { path, .. } => match (self.model.at(path, zxid), reply.err) {
                (Some(node), 0) => same_stat(path, zxid, node, &read(wire::stat(&mut reply.body))),
                (node, err) => missing(path, zxid, node, err),
            },
            Request::Children { path, .. } => match (self.model.at(path, zxid), reply.err) {
                (Some(node), 0) => {
                    let count = read(reply.body.i32("count"));
                    let names = (0..count).map(|_| name_hash(&read(wire::string(&mut reply.body))));
                    let names = names.fold(0, u64::wrapping_add);
                    assert!(
                        (count, names) == (node.stat.children, node.names),
                        "{path} at {zxid} lists {count} children, and it had {}",
                        node.stat.children
                    );
                }
                (node, err) => missing(path, zxid, node, err),
            },
            Request::SetWatches { .. } | Request::Sync | Request::Auth | Request::Ping => {
                assert!(reply.err == 0, "{request:?} is answered with {}", reply.err);
            }
            Request::Set { .. }
            | Request::Create { .. }
            | Request::Delete { .. }
            | Request::Multi { .. }
            | Request::Reconfig { .. }
            | Request::Close => unreachable!("a write is no read"),
        }
    }

    fn node(&self, path: &str, zxid: Zxid) -> &Node {
        self.model.at(path, zxid).unwrap_or_else(|| panic!("{path} does not exist at {zxid}"))
    }

    /// What any client has seen so far.
    pub fn seen(&self) -> Zxid {
        self.seen
    }

    /// At the end: every acknowledged write stands in the history, and nothing that a client saw lies beyond it.
    pub fn on_end(&self) {
        for (zxid, (session, xid)) in &self.acknowledged {
            let found = self.txns.get(zxid).map(|(session, xid, _)| (*session, *xid));
            assert!(
                found == Some((*session, *xid)),
                "{zxid}, acknowledged to {session}, is not in the history"
            );
        }
        assert!(
            self.seen <= self.model.last.max(self.seen.epoch_start()),
            "clients saw {}, and the history ends at {}",
            self.seen,
            self.model.last
        );
    }
}

/// The zxid at which an epoch begins.
trait EpochStart {
    /// Counter 0 of the same epoch.
    fn epoch_start(self) -> Zxid;
}

impl EpochStart for Zxid {
    fn epoch_start(self) -> Zxid {
        Zxid::new(self.epoch(), 0)
    }
}

fn read<T>(result: Result<T, wire::Unreadable>) -> T {
    result.unwrap_or_else(|err| panic!("a reply cannot be read: {err}"))
}

fn missing(path: &str, zxid: Zxid, node: Option<&Node>, err: i32) {
    assert!(
        node.is_none() && err == code::NO_NODE,
        "{path} at {zxid} is answered with {err}, and it held {:?}",
        node.map(|node| node.stat)
    );
}

fn same_stat(path: &str, zxid: Zxid, node: &Node, stat: &Stat) {
    assert!(node.stat == *stat, "{path} at {zxid} shows {stat:?}, and it had {:?}", node.stat);
}
