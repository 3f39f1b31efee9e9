//! From the replica's picture of itself to the facts that are told.
//!
//! In: the replica's `Inspect`. Out: [`Facts`].
//!
//! Always true:
//! * looking changes nothing.
//!
//! Not here: how facts become text (`net`).

use crate::base::{Millis, ServerId};
use crate::net::facts::{Facts, Learner, TreeFacts};
use crate::replica::Replica;

/// One moment's facts; `status_age` is how long the status has been what it is.
pub fn facts(id: ServerId, replica: &Replica, status_age: Millis) -> Facts {
    let inspect = replica.inspect();
    let (digests, quotas) = replica.service().tree.read(|tree| (tree.digests().collect(), tree.quotas()));
    let learner = |peer: &crate::zab::PeerPicture| Learner {
        id: peer.id,
        votes: peer.votes,
        is_synced: peer.synced,
        lag: peer.lag,
    };
    Facts {
        id,
        status: inspect.zab.status,
        is_read_only: inspect.is_read_only,
        status_age,
        epochs: inspect.zab.epochs,
        last_logged: inspect.zab.last_logged,
        last_applied: inspect.zxid,
        last_processed: inspect.last_processed,
        tree: TreeFacts {
            nodes: inspect.node_count as u64 + 1, // ZooKeeper counts the root twice, as / and as the empty path
            ephemerals: inspect.ephemeral_count as u64,
            watches: inspect.watch_count as u64,
            bytes: inspect.size_bytes + 1,
            digests,
            quotas,
        },
        sessions: inspect.session_count as u64,
        local_sessions: inspect.local_session_count as u64,
        digest_mismatches: inspect.digest_mismatch_count,
        quota_refusals: inspect.quota_refusals,
        outstanding: inspect.request_count as u64,
        ensemble: inspect.ensemble,
        ensemble_proposed: inspect.ensemble_proposed,
        learners: inspect.zab.peers.iter().map(learner).collect(),
        proposals_open: inspect.zab.outstanding as u64,
        room: inspect.room,
        syncs_pending: inspect.zab.pending_syncs as u64,
    }
}
