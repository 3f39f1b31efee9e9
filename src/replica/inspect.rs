//! `Inspect`: a plain picture of the state for metrics, admin and tests.
//!
//! In: the state. Out: copies of what is worth showing.
//!
//! Always true:
//! * looking changes nothing.
//!
//! Not here: names of metrics (`server::metrics`).

use std::collections::BTreeMap;

use super::machine::{Replica, Role};
use crate::base::{Ensemble, Epochs, Millis, Room, SessionId, Zxid};
use crate::tree::Tree;
use crate::zab::{Status, ZabInspect};

/// The state of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspect {
    /// The agreement.
    pub zab: ZabInspect,
    /// Whether it serves clients that only read, having no leader.
    pub is_read_only: bool,
    /// The membership in force.
    pub ensemble: Ensemble,
    /// The membership that was proposed and is not in force.
    pub ensemble_proposed: Option<Ensemble>,
    /// The last txn in the tree.
    pub zxid: Zxid,
    /// That, or the start of the epoch that this server leads: what clients are told.
    pub last_processed: Zxid,
    /// Digest of the tree.
    pub digest: u64,
    /// How often a txn's digest was not the tree's.
    pub digest_mismatch_count: u64,
    /// Nodes, the root included.
    pub node_count: usize,
    /// Bytes of all paths and data.
    pub size_bytes: u64,
    /// Ephemeral nodes.
    pub ephemeral_count: usize,
    /// Connections that watch a path for its data: a connection on a path counts once.
    pub watch_count: usize,
    /// Replicated sessions.
    pub session_count: usize,
    /// Sessions that live on this server alone.
    pub local_session_count: usize,
    /// Clients of this server that have a session, or are about to.
    pub client_count: usize,
    /// Requests of its clients that are in the loop.
    pub request_count: usize,
    /// Writes that are proposed, or forwarded, and not applied.
    pub outstanding_count: usize,
    /// How much room its disk has.
    pub room: Room,
    /// Writes that were refused for a quota, by its top-level node.
    pub quota_refusals: BTreeMap<String, u64>,
}

/// What changes with nearly every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// What the server is.
    pub status: Status,
    /// Its epochs.
    pub epochs: Epochs,
    /// The last txn in the tree.
    pub zxid: Zxid,
    /// Digest of the tree.
    pub digest: u64,
}

impl Replica {
    /// What changes with nearly every step; cheap enough to be looked at after each.
    pub fn glance(&self) -> Glance {
        let (zxid, digest) = self.service.tree.read(|tree| (tree.zxid(), tree.digest()));
        Glance { status: self.zab.status(), epochs: self.zab.epochs(), zxid, digest }
    }

    /// A picture of the state. It counts watches, so it costs more the more there are.
    pub fn inspect(&self) -> Inspect {
        let outstanding_count = match &self.role {
            Role::Idle | Role::ReadOnly => 0,
            Role::Leading(leading) => leading.outstanding_count(),
            Role::Learning(learning) => learning.outstanding_count(),
        };
        let watch_count = self.service.watches.data_count();
        self.service.tree.read(|tree| Inspect {
            zab: self.zab.inspect(),
            is_read_only: self.is_read_only(),
            ensemble: self.zab.ensemble().clone(),
            ensemble_proposed: self.zab.ensemble_proposed().cloned(),
            zxid: tree.zxid(),
            last_processed: tree.last_processed(),
            digest: tree.digest(),
            digest_mismatch_count: tree.digest_mismatch_count(),
            node_count: tree.node_count(),
            size_bytes: tree.size_bytes(),
            ephemeral_count: tree.ephemeral_owners().map(|(_, count)| count).sum(),
            watch_count,
            session_count: tree.sessions().len(),
            local_session_count: self.locals.count(),
            client_count: self.clients.count(),
            request_count: self.clients.turn_count(),
            outstanding_count,
            room: self.room,
            quota_refusals: self.quota_refusals.clone(),
        })
    }

    /// Live sessions by the moment at which they expire; `None` where the leader's clock decides.
    pub fn expiries(&self) -> Option<Vec<(Millis, Vec<SessionId>)>> {
        let Role::Leading(leading) = &self.role else { return None };
        let expiries = leading.tracker.expiries();
        Some(expiries.map(|(at, sessions)| (at, sessions.iter().copied().collect())).collect())
    }

    /// The replicated sessions that live on the leader's clock; empty elsewhere.
    pub fn live_sessions(&self) -> Vec<SessionId> {
        let sessions: Vec<SessionId> =
            self.service.tree.read(|tree: &Tree| tree.sessions().keys().copied().collect());
        match &self.role {
            Role::Leading(leading) => {
                sessions.into_iter().filter(|session| leading.tracker.is_alive(*session)).collect()
            }
            Role::Idle | Role::Learning(_) | Role::ReadOnly => Vec::new(),
        }
    }
}
