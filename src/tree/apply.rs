//! Applies txns to the tree.
//!
//! In: txns in the order of their zxids. Out: what each did.
//!
//! Always true:
//! * a multi is applied whole or not at all;
//! * applied to a tree that already holds later effects, as a snapshot of Apache ZooKeeper may, the txns up to the
//!   last one give the same tree as from the start (specification 4, section 6).
//!
//! Not here: deciding whether a txn may happen (`replica::prepare`).

use super::applied::{Applied, Change, DigestMismatch, Outcome};
use super::digest;
use super::node::NodeKind;
use super::quota::{Growth, data_bytes};
use super::store::{Place, Tree, split};
use super::txn::{CreateKind, CreateTxn, PARENT_CVERSION_UNKNOWN, SetDataTxn, Txn, TxnBody, TxnHeader};
use crate::base::{Epoch, SessionId, Zxid};
use crate::proto::{Acl, ErrorCode, StatPersisted};

/// Creates of one multi that are looked at where a digest is off.
const QUIRKS_MAX: usize = 8;

/// What a tree keeps beside its contents, in no snapshot.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Where the epoch starts that this server leads or led last.
    epoch_start: Zxid,
    /// By how much the last txn's digest was off.
    digest_off: u64,
}

impl Tree {
    /// Applies the next txn. Its zxid must be above that of every txn before.
    pub fn apply(&mut self, txn: &Txn) -> Applied {
        let header = &txn.header;
        assert!(header.zxid > self.zxid, "{} is not after {}", header.zxid, self.zxid);
        let mut changes = Vec::new();
        let outcomes = match &txn.body {
            TxnBody::Multi(ops) => self.apply_multi(header, ops, &mut changes),
            body => vec![self.apply_body(header, body, &mut changes)],
        };
        self.zxid = header.zxid;
        let mismatch = self.compare_digest(txn);
        Applied { zxid: header.zxid, outcomes, changes, mismatch }
    }

    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        ops: &[TxnBody],
        changes: &mut Vec<Change>,
    ) -> Vec<Outcome> {
        let is_error = |op: &TxnBody| matches!(op, TxnBody::Error { .. });
        if !ops.iter().any(is_error) {
            return ops.iter().map(|op| self.apply_body(header, op, changes)).collect();
        }
        let outcome = |op: &TxnBody| match op {
            TxnBody::Error { err } => Outcome::Failed(*err),
            TxnBody::CreateSession { .. }
            | TxnBody::CloseSession { .. }
            | TxnBody::Create(_)
            | TxnBody::Delete { .. }
            | TxnBody::SetData(_)
            | TxnBody::SetAcl { .. }
            | TxnBody::Check { .. }
            | TxnBody::Multi(_) => Outcome::Failed(0),
        };
        ops.iter().map(outcome).collect()
    }

    fn apply_body(&mut self, header: &TxnHeader, body: &TxnBody, changes: &mut Vec<Change>) -> Outcome {
        let outcome = match body {
            TxnBody::CreateSession { timeout_ms } => {
                self.sessions.insert(header.session, *timeout_ms);
                Ok(Outcome::SessionOpened(header.session, *timeout_ms))
            }
            TxnBody::CloseSession { paths } => Ok(self.apply_close(header, paths, changes)),
            TxnBody::Error { err } => Ok(Outcome::Failed(*err)),
            TxnBody::Create(create) => self.apply_create(header, create, changes),
            TxnBody::Delete { path, .. } => self.apply_delete(header, path, changes),
            TxnBody::SetData(set) => self.apply_set_data(header, set, changes),
            TxnBody::SetAcl { path, acl, version } => self.apply_set_acl(path, acl, *version),
            TxnBody::Check { .. } => Ok(Outcome::Checked),
            TxnBody::Multi(_) => unreachable!("a multi in a multi cannot be decoded"),
        };
        outcome.unwrap_or_else(Outcome::failed)
    }

    fn apply_create(
        &mut self,
        header: &TxnHeader,
        create: &CreateTxn,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, ErrorCode> {
        let path = create.path.as_str();
        let Some((parent_path, name)) = split(path) else {
            return Err(if path == "/" { ErrorCode::NodeExists } else { ErrorCode::NoNode });
        };
        let parent = self.find(parent_path).ok_or(ErrorCode::NoNode)?;
        // The counter only moves forward: a snapshot may hold creates that come later.
        let before = self.at(parent).stat();
        let cversion = match create.parent_cversion {
            PARENT_CVERSION_UNKNOWN => before.cversion.wrapping_add(1),
            known => known,
        };
        if cversion > before.cversion {
            self.set_children_stat(parent_path, parent, before.pzxid.max(header.zxid), cversion);
        }
        if let Some(number) = self.find_child(parent, name) {
            // The list may be missing from the snapshot that the node came from.
            let aversion = self.at(number).stat().aversion;
            self.replace_acl(path, number, &create.acl, aversion);
            return Err(ErrorCode::NodeExists);
        }
        let stat = StatPersisted::created(header.zxid, header.time, owner(create.kind, header.session));
        let acl = self.acls.acquire(&create.acl);
        let number = self.insert(Place { path, parent, name }, acl, create.data.as_deref(), &stat);
        let node = self.node_at(number);
        let parent_acl = self.node_at(parent).acl().clone();
        changes.push(Change::Created { path: path.to_owned(), acl: node.acl().clone(), parent_acl });
        // The stat tells of the data that the client sent, also where counting replaces it.
        let stat = node.stat();
        self.count_created(path, data_bytes(create.data.as_deref()));
        Ok(Outcome::Created { path: path.to_owned(), stat })
    }

    fn apply_delete(
        &mut self,
        header: &TxnHeader,
        path: &str,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, ErrorCode> {
        let (parent_path, name) = split(path).ok_or(ErrorCode::NoNode)?;
        let parent = self.find(parent_path).ok_or(ErrorCode::NoNode)?;
        // Also if the node is gone already: a snapshot may hold the deletion and not yet the parent's change.
        let before = self.at(parent).stat();
        if header.zxid > before.pzxid {
            self.set_children_stat(parent_path, parent, header.zxid, before.cversion);
        }
        let number = self.find_child(parent, name).ok_or(ErrorCode::NoNode)?;
        let node = self.node_at(number);
        let (acl, bytes) = (node.acl().clone(), data_bytes(node.data()));
        let parent_acl = self.node_at(parent).acl().clone();
        self.remove(path, number);
        self.count_deleted(path, bytes);
        changes.push(Change::Deleted { path: path.to_owned(), acl, parent_acl });
        Ok(Outcome::Deleted)
    }

    fn apply_set_data(
        &mut self,
        header: &TxnHeader,
        set: &SetDataTxn,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, ErrorCode> {
        let number = self.find(&set.path).ok_or(ErrorCode::NoNode)?;
        let before = self.node_at(number);
        let growth = data_bytes(set.data.as_deref()) - data_bytes(before.data());
        let stat = *before.stat_persisted();
        let stat = StatPersisted { mzxid: header.zxid, mtime: header.time, version: set.version, ..stat };
        self.replace_data(&set.path, number, set.data.as_deref(), &stat);
        let node = self.node_at(number);
        // Watches know the root as "/", whatever it was called.
        let path = if set.path.is_empty() { "/" } else { &set.path };
        changes.push(Change::DataChanged { path: path.to_owned(), acl: node.acl().clone() });
        let stat = node.stat();
        self.count(path, Growth { count: 0, bytes: growth });
        Ok(Outcome::DataSet(stat))
    }

    fn apply_set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Result<Outcome, ErrorCode> {
        let number = self.find(path).ok_or(ErrorCode::NoNode)?;
        self.replace_acl(path, number, acl, version);
        Ok(Outcome::AclSet(self.node_at(number).stat()))
    }

    fn apply_close(&mut self, header: &TxnHeader, paths: &[String], changes: &mut Vec<Change>) -> Outcome {
        // The listed paths go whoever owns them: one that another session created again is created again by the log.
        for path in paths.iter().chain(&self.ephemerals(header.session)) {
            match self.apply_delete(header, path, changes) {
                // A listed path may be gone already, and most owned ones are listed.
                Ok(_) | Err(_) => {}
            }
        }
        self.sessions.remove(&header.session);
        Outcome::SessionClosed(header.session)
    }

    /// What an answer that is no txn's tells as its zxid: the last txn's, and on a leader at least the start of its
    /// epoch, as ZooKeeper's leader does (specification 3, section 3.5.3).
    pub fn last_processed(&self) -> Zxid {
        self.zxid.max(self.beside.epoch_start)
    }

    /// This server leads from here on; the tree is the epoch's initial history. No txn, and in no snapshot.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.beside.epoch_start = Zxid::new(epoch, 0);
    }

    /// Compares the digest after a txn with what the txn or the snapshot says, and keeps it for the history.
    fn compare_digest(&mut self, txn: &Txn) -> Option<DigestMismatch> {
        let zxid = txn.header.zxid;
        let expected = match self.digest_due {
            Some((due, expected)) if due <= zxid => {
                self.digest_due = None;
                (due == zxid).then_some(expected)
            }
            Some(_) => None,
            None => {
                self.history.note(zxid, self.digest);
                txn.digest
            }
        };
        let found = self.digest;
        let mismatch = expected.filter(|expected| *expected != found && !self.is_off(&txn.body, *expected));
        let off = expected.filter(|_| mismatch.is_none()).map(|expected| expected.wrapping_sub(found));
        self.beside.digest_off = off.unwrap_or(0);
        self.mismatch_count += u64::from(mismatch.is_some());
        mismatch.map(|expected| DigestMismatch { expected, found })
    }

    /// Whether an Apache leader's digest is off as it is expected: a node that is created with the flags of a container
    /// by a request that makes none is a container in its digest of that txn, though nobody makes it one, and in those
    /// of the txns that it decides about meanwhile.
    fn is_off(&self, body: &TxnBody, expected: u64) -> bool {
        let off = expected.wrapping_sub(self.digest);
        let bodies = if let TxnBody::Multi(bodies) = body { bodies } else { std::slice::from_ref(body) };
        let offs: Vec<u64> = bodies.iter().filter_map(|body| self.off_by(body)).take(QUIRKS_MAX).collect();
        let is_sum = |chosen: u32| {
            let chosen = (0..).zip(&offs).filter(|(place, _)| chosen & (1 << place) != 0);
            chosen.fold(0, |sum: u64, (_, off)| sum.wrapping_add(*off)) == off
        };
        off == self.beside.digest_off || (1..1_u32 << offs.len()).any(is_sum)
    }

    /// By how much the digest of a plain create may be off.
    fn off_by(&self, body: &TxnBody) -> Option<u64> {
        let TxnBody::Create(create) = body else { return None };
        if owner(create.kind, SessionId(1)) != 0 {
            return None;
        }
        let number = self.find(&create.path)?;
        let (prefix, stat) =
            (digest::prefix(&create.path, self.node_at(number).data()), self.at(number).stat());
        let container = StatPersisted { ephemeral_owner: NodeKind::Container.as_owner(), ..stat };
        let of = |stat| digest::node_digest(&create.path, prefix, stat);
        Some(of(&container).wrapping_sub(of(&stat)))
    }
}

fn owner(kind: CreateKind, session: SessionId) -> i64 {
    match kind {
        CreateKind::Create { ephemeral } | CreateKind::Create2 { ephemeral } => {
            if ephemeral {
                session.0
            } else {
                0
            }
        }
        CreateKind::Container => NodeKind::Container.as_owner(),
        CreateKind::Ttl { ttl_ms } => NodeKind::Ttl(ttl_ms).as_owner(),
    }
}

#[cfg(test)]
mod tests;
