//! What a leader must answer to a write: the checks of the client protocol's specification, in their order, on the model.
//!
//! In: a write as it was asked for, by whom, and the model right before its txn. Out: the one right outcome; a panic when
//! the txn has another.
//!
//! Always true:
//! * a part of a multi sees what the parts before it did;
//! * where the outcome rests on what only the leader knows (its sessions, what it had applied, its room) every outcome that
//!   this allows is right, and no other.
//!
//! Not here: what the reply says (`writes`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate::base::{SessionId, Zxid};
use quorate::session::LocalRule;

use super::{Decided, Oracle, code};
use crate::acl::{Identities, List, User, perms};
use crate::invariants::quotas::{self, Amount, Growth, Passes};
use crate::model::{Model, Node, parent_of};
use crate::request::{Create, Request, flags};
use crate::setup::Rules;
use crate::wire::{AclEntry, Change, NodeKind, Txn, op};

/// The longest time to live, in ms.
const TTL_MAX: i64 = (1 << 40) - 1;
/// What nobody deletes.
const KEPT: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// Checks the outcome of a write. Answers whether it was refused for a quota.
pub fn check(oracle: &Oracle, txn: &Txn, request: &Request, asker: Identities, decided: Decided) -> bool {
    let mut ground = Ground {
        model: &oracle.model,
        rules: &oracle.rules,
        zxid: txn.zxid,
        session: txn.session,
        asker,
        applied: decided.applied,
        changed: BTreeMap::new(),
    };
    let said = match &txn.change {
        Change::Error(err) => *err,
        _ => 0,
    };
    if said == code::THROTTLED {
        assert!(decided.lacks_room, "{}: {request:?} is put off, and there is room", txn.zxid);
        return false;
    }
    // In a multi each part is looked at.
    if !matches!(txn.change, Change::Multi(_)) && ground.is_of_session(request, said) {
        return false;
    }
    match (request, &txn.change) {
        (Request::Reconfig { .. }, Change::Reconfig { .. } | Change::Error(_)) => ground.reconfig(said),
        (Request::Multi(parts), Change::Multi(changes)) => return ground.multi(parts, changes),
        (request, change) => {
            let expected = ground.write(request, said);
            let is_same = match &expected {
                Ok(expected) => is_same(expected, change),
                Err(err) => *err == said,
            };
            assert!(is_same, "{}: {request:?} must come to {expected:?}, and is {change:?}", txn.zxid);
        }
    }
    said == code::QUOTA_EXCEEDED
}

/// Whether a txn does what is expected; a list of ACLs in any order.
fn is_same(expected: &Change, change: &Change) -> bool {
    let sorted = |acl: &[AclEntry]| {
        let mut acl = acl.to_vec();
        acl.sort();
        acl
    };
    match (expected, change) {
        (
            Change::Create { path, data, acl, kind },
            Change::Create { path: to, data: value, acl: list, kind: found },
        ) => (path, data, kind) == (to, value, found) && *acl == sorted(list),
        (Change::SetAcl { path, acl, version }, Change::SetAcl { path: to, acl: list, version: next }) => {
            (path, version) == (to, next) && *acl == sorted(list)
        }
        (expected, change) => expected == change,
    }
}

/// What a decision rests on.
struct Ground<'a> {
    model: &'a Model,
    rules: &'a Rules,
    zxid: Zxid,
    session: SessionId,
    asker: Identities,
    applied: (Zxid, Zxid),
    /// What earlier parts of the multi changed.
    changed: BTreeMap<String, Option<Node>>,
}

type Checked<T> = Result<T, i32>;

impl Ground<'_> {
    /// Whether a write is refused for its session, which then must have its reason; one whose session is over must be.
    fn is_of_session(&self, request: &Request, said: i32) -> bool {
        let closed = self.model.closed_at(self.session).is_some_and(|at| at < self.zxid);
        let is_known = self.model.sessions().contains_key(&self.session);
        let may_be_local = self.rules.local_sessions != LocalRule::Replicated && !is_known;
        let is_right = match said {
            // Closing, or its end went before; of a local one its server decides.
            code::SESSION_EXPIRED => closed || may_be_local,
            code::SESSION_MOVED => is_known,
            code::EPHEMERAL_ON_LOCAL => may_be_local && request.wants_ephemeral(),
            _ => {
                assert!(
                    !closed || may_be_local,
                    "sessions: {} does {request:?} for {}, which is over",
                    self.zxid,
                    self.session
                );
                return false;
            }
        };
        assert!(
            is_right,
            "{}: {request:?} of {} was refused with {said} without a reason",
            self.zxid, self.session
        );
        true
    }

    fn reconfig(&self, said: i32) {
        let may = self.asker.has(User::Super);
        let is_right = match said {
            0 => may,
            code::NO_AUTH => !may,
            // What the leader knows of its learners and of what it proposed.
            code::BAD_ARGUMENTS | code::NEW_CONFIG_NO_QUORUM | code::RECONFIG_IN_PROGRESS => true,
            _ => false,
        };
        assert!(is_right, "{}: a reconfig came to {said}", self.zxid);
    }

    /// Each part is as expected, up to the first that fails. Answers whether that was for a quota.
    fn multi(&mut self, parts: &[Request], changes: &[Change]) -> bool {
        assert!(parts.len() == changes.len(), "{}: {parts:?} came to {changes:?}", self.zxid);
        let fails_at = changes.iter().position(|change| matches!(change, Change::Error(_)));
        for (place, (part, change)) in parts.iter().zip(changes).enumerate() {
            let said = match change {
                Change::Error(err) => *err,
                _ => 0,
            };
            if fails_at.is_some_and(|at| at < place) {
                assert!(
                    said == code::RUNTIME_INCONSISTENCY,
                    "{}: {said} behind a failure: {changes:?}",
                    self.zxid
                );
                continue;
            }
            if self.is_of_session(part, said) {
                continue;
            }
            let expected = self.write(part, said);
            let is_same = match &expected {
                Ok(expected) => is_same(expected, change),
                Err(err) => *err == said,
            };
            assert!(is_same, "{}: {part:?} of {parts:?} must come to {expected:?}: {changes:?}", self.zxid);
        }
        changes.contains(&Change::Error(code::QUOTA_EXCEEDED))
    }

    fn write(&mut self, request: &Request, said: i32) -> Checked<Change> {
        match request {
            Request::Create(create) => self.create(create, said),
            Request::Delete { path, expected } => self.delete(path, *expected),
            Request::Set { path, data, expected } => self.set(path, data, *expected, said),
            Request::SetAcl { path, acl, expected } => self.set_acl(path, *acl, *expected),
            Request::Check { path, expected } => {
                let node = self.node(path).ok_or(code::NO_NODE)?;
                self.may(&node.acl, perms::READ)?;
                fits(*expected, node.stat.version)?;
                Ok(Change::Check)
            }
            _ => panic!("{}: {request:?} is not decided here", self.zxid),
        }
    }

    fn create(&mut self, create: &Create, said: i32) -> Checked<Change> {
        let kind = self.kind(create)?;
        let acl = create.acl.stored(self.asker).ok_or(code::INVALID_ACL)?;
        let above = parent_of(&create.path);
        let mut parent = self.node(above).ok_or(code::NO_NODE)?;
        self.may(&parent.acl, perms::CREATE)?;
        let number = if create.is_sequential() { format!("{:010}", parent.created) } else { String::new() };
        let path = format!("{}{number}", create.path);
        if self.node(&path).is_some() {
            return Err(code::NODE_EXISTS);
        }
        if parent.kind == NodeKind::Ephemeral {
            return Err(code::NO_CHILDREN_FOR_EPHEMERALS);
        }
        self.within_quota(&path, Amount { count: 1, bytes: create.data.len() as i64 }, said)?;
        parent.created += 1;
        parent.stat.children += 1;
        self.changed.insert(above.to_owned(), Some(parent));
        let node = Node {
            data: create.data.clone(),
            stat: crate::wire::Stat::default(),
            created: 0,
            names: 0,
            acl: Arc::from(acl.clone()),
            kind,
        };
        self.changed.insert(path.clone(), Some(node));
        Ok(Change::Create { path, data: create.data.clone(), acl, kind })
    }

    fn kind(&self, create: &Create) -> Checked<NodeKind> {
        let is_ttl = matches!(create.flags, flags::TTL | flags::SEQUENTIAL_TTL);
        if !(0..=flags::SEQUENTIAL_TTL).contains(&create.flags) {
            return Err(code::BAD_ARGUMENTS);
        }
        if is_ttl && !self.rules.has_ttl_nodes {
            return Err(code::UNIMPLEMENTED);
        }
        match create.op {
            op::CREATE_TTL if is_ttl && (1..=TTL_MAX).contains(&create.ttl_ms) => {
                Ok(NodeKind::Ttl(create.ttl_ms))
            }
            op::CREATE_TTL => Err(code::BAD_ARGUMENTS),
            _ if is_ttl => Err(code::BAD_ARGUMENTS),
            op::CREATE_CONTAINER => Ok(NodeKind::Container),
            _ if create.is_ephemeral() => Ok(NodeKind::Ephemeral),
            _ => Ok(NodeKind::Persistent),
        }
    }

    fn delete(&mut self, path: &str, expected: i32) -> Checked<Change> {
        if KEPT.contains(&path) {
            return Err(code::BAD_ARGUMENTS);
        }
        let mut parent = self.node(parent_of(path)).ok_or(code::NO_NODE)?;
        self.may(&parent.acl, perms::DELETE)?;
        let node = self.node(path).ok_or(code::NO_NODE)?;
        fits(expected, node.stat.version)?;
        if node.stat.children > 0 {
            return Err(code::NOT_EMPTY);
        }
        parent.stat.children -= 1;
        self.changed.insert(parent_of(path).to_owned(), Some(parent));
        self.changed.insert(path.to_owned(), None);
        Ok(Change::Delete { path: path.to_owned(), why: crate::wire::Why::Asked })
    }

    fn set(&mut self, path: &str, data: &Bytes, expected: i32, said: i32) -> Checked<Change> {
        let mut node = self.node(path).ok_or(code::NO_NODE)?;
        self.may(&node.acl, perms::WRITE)?;
        let bytes = data.len() as i64 - node.data.len() as i64;
        self.within_quota(path, Amount { count: 0, bytes }, said)?;
        fits(expected, node.stat.version)?;
        node.data = data.clone();
        node.stat.version += 1;
        let version = node.stat.version;
        self.changed.insert(path.to_owned(), Some(node));
        Ok(Change::SetData { path: path.to_owned(), data: data.clone(), version })
    }

    fn set_acl(&mut self, path: &str, acl: List, expected: i32) -> Checked<Change> {
        let acl = acl.stored(self.asker).ok_or(code::INVALID_ACL)?;
        let node = self.node(path).ok_or(code::NO_NODE)?;
        self.may(&node.acl, perms::ADMIN)?;
        fits(expected, node.stat.aversion)?;
        Ok(Change::SetAcl { path: path.to_owned(), acl, version: node.stat.aversion + 1 })
    }

    /// A node as the parts before this one leave it.
    fn node(&self, path: &str) -> Option<Node> {
        match self.changed.get(path) {
            Some(node) => node.clone(),
            None => self.model.before(path, self.zxid).cloned(),
        }
    }

    fn may(&self, acl: &[AclEntry], wanted: i32) -> Checked<()> {
        if self.asker.may(acl, wanted) { Ok(()) } else { Err(code::NO_AUTH) }
    }

    fn within_quota(&self, path: &str, amount: Amount, said: i32) -> Checked<()> {
        if !self.rules.enforces_quotas {
            return Ok(());
        }
        match quotas::passes(self.model, Growth { path, amount }, self.applied) {
            Passes::Never => Ok(()),
            Passes::Perhaps if said != code::QUOTA_EXCEEDED => Ok(()),
            Passes::Perhaps | Passes::Always => Err(code::QUOTA_EXCEEDED),
        }
    }
}

fn fits(expected: i32, version: i32) -> Checked<()> {
    if expected == -1 || expected == version { Ok(()) } else { Err(code::BAD_VERSION) }
}
