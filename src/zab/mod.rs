//! Agreement on the order of transactions: Zab; payloads are opaque bytes.
//!
//! In: proposals of the replica, packets and votes of other servers, reports of the disk. Out: packets, votes, writes,
//! and the txns that are committed, in order.
//!
//! The protocol in prose:
//! 1. *Election*: servers that look for a leader tell each other whom they would follow, ordered by (epoch, zxid, id),
//!    until a quorum agrees.
//! 2. *Discovery*: learners dial the leader and tell the epoch that they promised last (FOLLOWERINFO); the leader takes
//!    the next one, promises it itself and tells it (LEADERINFO); a learner promises it, durably, and tells what it
//!    holds (ACKEPOCH). A quorum of promises shuts out every older leader; nobody in it may hold more than the leader.
//! 3. *Synchronisation*: DIFF, TRUNC or SNAP, the txns that the learner lacks, NEWLEADER. The learner makes the history
//!    durable, then its epoch, and acknowledges. A quorum of that establishes the epoch: the leader's whole history is
//!    committed (UPTODATE).
//! 4. *Broadcast*: PROPOSAL, fsync, ACK, COMMIT, in order.
//!
//! Always true:
//! * at most one leader is established in an epoch;
//! * what is committed stays in the history of every later leader;
//! * a txn is delivered only when it is committed and durable on this server: the tree never holds another.
//!
//! Between Quorate servers there is more, told by a mark that Apache ZooKeeper ignores: they notice silence earlier,
//! keep a link alive while a learner gets level, hand leadership over without an election, and refuse members of
//! another ensemble. A server that the membership gives no vote follows as any follower does.
//!
//! Not here: sockets (`net`), what a txn means (`tree`, `replica`), files (`storage`); observer masters, oracles and
//! several addresses for one server are left out.

pub mod codec;
pub mod effects;
mod election;
mod follower;
mod history;
pub mod inspect;
mod leader;
pub mod machine;
pub mod packet;
mod quorum;
mod shared;
mod standalone;
mod stream;
mod sync;
pub mod vote;

pub use effects::{Effect, News, Status, When};
pub use inspect::{PeerPicture, ZabInspect};
pub use leader::handover::{ReconfigError, TransferError};
pub use machine::{Input, Settings, Zab, ZabRecovered};
pub use packet::{Forwarded, Identity, Packet, Proposal};
pub use quorum::Reconfig;
pub use vote::{Notification, PeerState, Vote};

#[cfg(test)]
mod tests;
