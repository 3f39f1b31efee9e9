//! The notifications of the election port and their bytes, as Apache ZooKeeper writes them.
//!
//! In: the payload of one frame. Out: a [`Notification`], and back.
//!
//! Always true:
//! * what is written is a version 2 notification; every older layout that Apache ZooKeeper accepts is read.
//!
//! Not here: when an election is over (`election`), who keeps a connection (`net::election`).

use crate::base::{Epoch, ServerId, Zxid};

/// What the sender of a notification is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// 0: it has no leader.
    Looking,
    /// 1: it follows.
    Following,
    /// 2: it leads.
    Leading,
    /// 3: it observes.
    Observing,
}

/// Who should lead, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The proposed or followed leader; `ServerId::NOBODY` from a server without a vote.
    pub leader: ServerId,
    /// The last zxid of that leader.
    pub zxid: Zxid,
    /// The number of the election round (logical clock).
    pub round: i64,
    /// The current epoch of that leader; a raw value, since servers without a vote send `-2^63`.
    pub epoch: i64,
}

/// One message on the election port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: PeerState,
    /// Its vote.
    pub vote: Vote,
    /// The layout's version: 2 in all that is written here, 0 from old peers.
    pub version: i32,
    /// The text of the sender's membership in force; `None` in old layouts.
    pub config: Option<String>,
}

/// The initial epoch of a vote, as a plain number.
pub fn raw_epoch(epoch: Epoch) -> i64 {
    i64::from(epoch.0)
}
