//! A plain picture of the agreement for metrics, admin and tests.
//!
//! In: the state. Out: copies of what is worth showing.
//!
//! Always true:
//! * looking changes nothing.
//!
//! Not here: names of metrics (`server::metrics`).

use super::effects::Status;
use super::shared::Shared;
use super::vote::Vote;
use crate::base::{Epochs, ServerId, Zxid};

/// One learner as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPicture {
    /// Its number; negative for a guest without one.
    pub id: ServerId,
    /// Whether it votes in the membership in force.
    pub votes: bool,
    /// Whether it showed the mark of a Quorate server.
    pub quorate: bool,
    /// Whether it is level and gets what is proposed or committed.
    pub synced: bool,
    /// The last txn that it acknowledged; 0 before the first.
    pub acked: Zxid,
    /// Txns proposed and not acknowledged by it; 0 for one that does not acknowledge.
    pub lag: u64,
}

/// The state of the agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZabInspect {
    /// What the server is.
    pub status: Status,
    /// Its epochs.
    pub epochs: Epochs,
    /// The end of its log.
    pub last_logged: Zxid,
    /// The end of what is durable.
    pub last_durable: Zxid,
    /// The end of what is known to be committed.
    pub last_committed: Zxid,
    /// The end of what the tree was given.
    pub last_delivered: Zxid,
    /// The vote that decided the last election.
    pub vote: Vote,
    /// The number of the last election round.
    pub round: i64,
    /// The learners of a leader.
    pub peers: Vec<PeerPicture>,
    /// Leader: txns proposed and not committed.
    pub outstanding: usize,
    /// Syncs that wait for an answer.
    pub pending_syncs: usize,
    /// Whether the peer that is followed showed the mark of a Quorate server.
    pub leader_quorate: bool,
    /// The voter to whom leadership is being given.
    pub transferring: Option<ServerId>,
}

impl ZabInspect {
    pub(super) fn of(shared: &Shared) -> ZabInspect {
        ZabInspect {
            status: shared.status(),
            epochs: shared.epochs,
            last_logged: shared.history.last(),
            last_durable: shared.history.durable(),
            last_committed: shared.history.committed(),
            last_delivered: shared.history.delivered(),
            vote: shared.vote,
            round: shared.round,
            peers: Vec::new(),
            outstanding: 0,
            pending_syncs: 0,
            leader_quorate: false,
            transferring: None,
        }
    }

    /// Learners that are level and vote.
    pub fn synced_followers(&self) -> usize {
        self.peers.iter().filter(|peer| peer.synced && peer.votes).count()
    }

    /// Learners that are level and do not vote.
    pub fn synced_observers(&self) -> usize {
        self.peers.iter().filter(|peer| peer.synced && !peer.votes).count()
    }
}
