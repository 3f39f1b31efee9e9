//! Replies to writes: they name the txn, and tell what it did.
//!
//! In: a reply, what became of its txn, the model at its zxid. Out: a panic when they differ.
//!
//! Always true:
//! * the error of a reply is that of its txn, and what a success tells is what the model has at its zxid.
//!
//! Not here: whether the outcome is right (`expect`).

use quorate::base::{SessionId, Zxid};

use super::{Asked, Oracle, code, read};
use crate::model::{CONFIG, Node, parent_of};
use crate::request::{Create, Request};
use crate::wire::{self, Change, Reply, Stat};

/// The error of each part of a multi; none failed if all are 0.
pub fn part_errors(parts: &[Change]) -> Vec<i32> {
    let fails = parts.iter().position(|part| matches!(part, Change::Error(_)));
    let error = |(place, part): (usize, &Change)| match part {
        Change::Error(err) if fails.is_some_and(|at| at <= place) => *err,
        _ => 0,
    };
    parts.iter().enumerate().map(error).collect()
}

impl Oracle {
    /// A write is answered.
    pub(super) fn on_written(&mut self, session: SessionId, asked: &Asked<'_>, reply: &mut Reply) {
        let (zxid, request) = (reply.zxid, asked.request);
        if *request == Request::Close {
            let is_right = self.model.closed_at(session).map_or(self.may_be_local(session), |at| at == zxid);
            assert!(
                reply.err == 0 && is_right,
                "the reply {reply:?} to a close of {session} names another txn"
            );
            return;
        }
        let Some(outcome) = self.txns.get(&zxid) else {
            panic!("the reply {reply:?} to {request:?} of {session} names a txn that is not committed");
        };
        assert!(
            (outcome.session, outcome.xid) == (session, reply.xid),
            "the reply to {} of {session}, {request:?}, names {zxid}, which is {} of {}",
            reply.xid,
            outcome.xid,
            outcome.session
        );
        // Whatever the leader says to an ephemeral node of a session that it does not know, this is why.
        let is_local = reply.err == code::EPHEMERAL_ON_LOCAL
            && matches!(request, Request::Create(create) if create.is_ephemeral())
            && outcome.err != 0
            && self.may_be_local(session);
        assert!(
            outcome.err == reply.err || is_local,
            "{zxid} ended with {}, and the reply says {}: {request:?}",
            outcome.err,
            reply.err
        );
        self.last_write_sent = self.last_write_sent.max(asked.at);
        if reply.err == 0 {
            let parts = outcome.parts.clone();
            self.on_success(request, &parts, reply);
        }
        self.acknowledged.insert(zxid, (session, reply.xid));
    }

    /// The result of a successful write is what the model says.
    fn on_success(&self, request: &Request, parts: &[i32], reply: &mut Reply) {
        let zxid = reply.zxid;
        match request {
            Request::Set { path, .. } | Request::SetAcl { path, .. } => {
                same_stat(path, zxid, self.node(path, zxid), &read(wire::stat(&mut reply.body)));
            }
            Request::Create(create) => self.created(create, zxid, reply),
            Request::Multi(requests) => self.multi_done(requests, parts, reply),
            Request::Reconfig { .. } => {
                let (text, node) = (read(reply.body.buffer("data")), self.node(CONFIG, zxid));
                let stat = read(wire::stat(&mut reply.body));
                let is_right =
                    text.as_ref() == Some(&node.data) && (stat.mzxid, stat.version) == (zxid.0, -1);
                assert!(is_right, "{zxid}: a reconfig answers {text:?} {stat:?}");
            }
            _ => {}
        }
    }

    fn created(&self, create: &Create, zxid: Zxid, reply: &mut Reply) {
        let path = read(wire::string(&mut reply.body));
        let node = self.model.at(&path, zxid).filter(|node| node.stat.czxid == zxid.0);
        let node = node.unwrap_or_else(|| panic!("{zxid} says it created {path}, which it did not"));
        if create.answers_with_stat() {
            same_new_stat(&path, zxid, node, &read(wire::stat(&mut reply.body)));
        }
        let before = self.model.before(parent_of(&create.path), zxid).expect("the parent exists");
        let expected = match create.is_sequential() {
            false => create.path.clone(),
            true => format!("{}{:010}", create.path, before.created),
        };
        assert!(path == expected, "{zxid} created {path}, and {expected} was its turn");
    }

    /// A multi says what each part came to; all of them are done or none.
    fn multi_done(&self, requests: &[Request], errors: &[i32], reply: &mut Reply) {
        let zxid = reply.zxid;
        let body = &mut reply.body;
        let has_failed = errors.iter().any(|err| *err != 0);
        for (request, expected) in requests.iter().zip(errors) {
            let (kind, done, err) = (read(body.i32("type")), read(body.bool("done")), read(body.i32("err")));
            assert!(!done && err == *expected, "{zxid}: {request:?} in a multi says {err}: {errors:?}");
            if has_failed {
                let again = read(body.i32("err"));
                assert!(
                    (kind, again) == (wire::op::ERROR, err),
                    "{zxid}: a multi that failed says {kind} {again}"
                );
                continue;
            }
            let (stat_op, request_op) = (wire::op::CREATE2, request.op());
            match request {
                Request::Create(create) => {
                    let path = read(wire::string(body));
                    let is_there = self.model.at(&path, zxid).is_some() || path.starts_with(&create.path);
                    let op = if create.answers_with_stat() { stat_op } else { request_op };
                    assert!(is_there && kind == op, "{zxid}: a multi says {kind} created {path}");
                    if create.answers_with_stat() {
                        assert!(
                            read(wire::stat(body)).czxid == zxid.0,
                            "{zxid}: the stat of {path} is older"
                        );
                    }
                }
                Request::Set { path, data, .. } => {
                    let stat = read(wire::stat(body));
                    let is_right = (stat.mzxid, stat.data_len) == (zxid.0, data.len() as i32);
                    assert!(kind == request_op && is_right, "{zxid}: a multi says {stat:?} of {path}");
                }
                _ => assert!(kind == request_op, "{zxid}: a multi says {kind} to {request:?}"),
            }
        }
        let end = (read(body.i32("type")), read(body.bool("done")), read(body.i32("err")));
        assert!(end == (-1, true, -1), "{zxid}: a multi ends with {end:?}");
    }

    pub(super) fn node(&self, path: &str, zxid: Zxid) -> &Node {
        self.model.at(path, zxid).unwrap_or_else(|| panic!("{path} does not exist at {zxid}"))
    }
}

pub(super) fn same_stat(path: &str, zxid: Zxid, node: &Node, stat: &Stat) {
    assert!(node.stat == *stat, "{path} at {zxid} shows {stat:?}, and it had {:?}", node.stat);
}

/// The stat of a new node tells of the data that was sent, also where counting replaces it.
fn same_new_stat(path: &str, zxid: Zxid, node: &Node, stat: &Stat) {
    let expected = Stat { data_len: stat.data_len, ..node.stat };
    assert!(expected == *stat, "{path} at {zxid} shows {stat:?}, and it had {:?}", node.stat);
}
