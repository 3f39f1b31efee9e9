//! What applying a txn did: for the reply, and for the watches.
//!
//! In: a txn that was applied. Out: one [`Outcome`] for each of its operations, and its [`Change`]s in order.
//!
//! Always true:
//! * a change carries the ACLs by which its events are filtered, as they were when it happened.
//!
//! Not here: which watches a change fires (`watch`).

use std::sync::Arc;

use bytes::Bytes;

use super::txn::{CreateKind, SetDataReason, Txn, TxnBody};
use crate::base::{SessionId, Zxid};
use crate::proto::{Acl, ErrorCode, MultiResult, Response, Stat};

/// What applying a txn did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The txn's place.
    pub zxid: Zxid,
    /// One for each operation of a multi, in order; exactly one for every other txn.
    pub outcomes: Vec<Outcome>,
    /// What changed, in order.
    pub changes: Vec<Change>,
    /// The txn's digest and the tree's, if they differ: this server or its leader computes wrongly.
    pub mismatch: Option<DigestMismatch>,
}

/// A digest that should be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestMismatch {
    /// What the txn or the snapshot says.
    pub expected: u64,
    /// What the tree has.
    pub found: u64,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session is in the table, with this timeout in ms.
    SessionOpened(SessionId, i32),
    /// The session is out of the table, and its ephemeral nodes are gone.
    SessionClosed(SessionId),
    /// The node is there.
    Created {
        /// Its path.
        path: String,
        /// Its stat.
        stat: Stat,
    },
    /// The node is gone.
    Deleted,
    /// The data is replaced; the stat after it.
    DataSet(Stat),
    /// The ACL is replaced; the stat after it.
    AclSet(Stat),
    /// A check in a multi that was done.
    Checked,
    /// Nothing was done. 0 for an operation of a failed multi before the failing one.
    Failed(i32),
}

/// One change that watches may wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node was created, so its parent's children changed, too.
    Created {
        /// The node.
        path: String,
        /// Its ACL.
        acl: Arc<[Acl]>,
        /// Its parent's ACL.
        parent_acl: Arc<[Acl]>,
    },
    /// A node was deleted, so its parent's children changed, too.
    Deleted {
        /// The node.
        path: String,
        /// Its ACL as it was.
        acl: Arc<[Acl]>,
        /// Its parent's ACL.
        parent_acl: Arc<[Acl]>,
    },
    /// A node's data was set.
    DataChanged {
        /// The node.
        path: String,
        /// Its ACL.
        acl: Arc<[Acl]>,
    },
}

impl Outcome {
    /// Nothing was done, for this reason.
    pub(super) fn failed(code: ErrorCode) -> Outcome {
        Outcome::Failed(code.as_wire())
    }
}

impl Applied {
    /// What the client that asked is answered: a response, or the error of the reply's header. A multi that failed is
    /// a response: its error stands in its results.
    pub fn to_response(&self, txn: &Txn) -> Result<Response, i32> {
        if let TxnBody::Multi(ops) = &txn.body {
            let results = ops.iter().zip(&self.outcomes);
            return Ok(Response::Multi(results.map(|(op, outcome)| multi_result(op, outcome)).collect()));
        }
        let outcome = self.outcomes.first().expect("every txn has an outcome");
        match outcome {
            Outcome::SessionOpened(..) | Outcome::SessionClosed(_) => Ok(Response::Empty),
            Outcome::Deleted | Outcome::Checked => Ok(Response::Empty),
            Outcome::Created { path, stat } => Ok(if answers_with_stat(&txn.body) {
                Response::Created { path: path.clone(), stat: *stat }
            } else {
                Response::Path(Some(path.clone()))
            }),
            Outcome::DataSet(stat) => Ok(match reconfigured(&txn.body) {
                Some(data) => Response::Data { data, stat: *stat },
                None => Response::Stat(*stat),
            }),
            Outcome::AclSet(stat) => Ok(Response::Stat(*stat)),
            Outcome::Failed(code) => Err(*code),
        }
    }
}

fn multi_result(op: &TxnBody, outcome: &Outcome) -> MultiResult {
    match outcome {
        Outcome::Created { path, stat } if answers_with_stat(op) => {
            MultiResult::Created { path: path.clone(), stat: *stat }
        }
        Outcome::Created { path, .. } => MultiResult::Path(path.clone()),
        Outcome::Deleted => MultiResult::Deleted,
        Outcome::DataSet(stat) | Outcome::AclSet(stat) => MultiResult::Set(*stat),
        Outcome::Checked | Outcome::SessionOpened(..) | Outcome::SessionClosed(_) => MultiResult::Checked,
        Outcome::Failed(code) => MultiResult::Failed(*code),
    }
}

fn answers_with_stat(op: &TxnBody) -> bool {
    match op {
        TxnBody::Create(create) => !matches!(create.kind, CreateKind::Create { .. }),
        TxnBody::CreateSession { .. }
        | TxnBody::CloseSession { .. }
        | TxnBody::Error { .. }
        | TxnBody::Delete { .. }
        | TxnBody::SetData(_)
        | TxnBody::SetAcl { .. }
        | TxnBody::Check { .. }
        | TxnBody::Multi(_) => false,
    }
}

/// The new text of the membership, if this is a reconfig.
fn reconfigured(op: &TxnBody) -> Option<Option<Bytes>> {
    match op {
        TxnBody::SetData(set) if set.reason == SetDataReason::Reconfig => Some(set.data.clone()),
        TxnBody::CreateSession { .. }
        | TxnBody::CloseSession { .. }
        | TxnBody::Error { .. }
        | TxnBody::Create(_)
        | TxnBody::Delete { .. }
        | TxnBody::SetData(_)
        | TxnBody::SetAcl { .. }
        | TxnBody::Check { .. }
        | TxnBody::Multi(_) => None,
    }
}
