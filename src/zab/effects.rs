//! What a step of the agreement asks for; holds promises until they are on disk.
//!
//! In: writes, packets and news from the roles, in order. Out: the same, a packet that rests on a write only once
//! that write is synced.
//!
//! Always true:
//! * a packet sent with [`When::Durable`] leaves after every write that was asked for before it is synced;
//! * no packet of a link overtakes another of that link.
//!
//! Not here: performing effects (`server::edge`).

use bytes::Bytes;

use super::packet::{Forwarded, Packet, Proposal};
use super::vote::Notification;
use crate::base::{Ensemble, Epoch, LinkId, ServerId, SessionId, Write, WriteSeq, Zxid};

/// When a packet may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once (but never before what was sent on this link earlier).
    Now,
    /// When everything written so far is synced.
    Durable,
}

/// What a server is, as seen from outside the agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No leader: clients are not served.
    Looking,
    /// It leads but has not established its epoch.
    Discovering,
    /// It leads an established epoch and serves.
    Leading(Epoch),
    /// It follows but is not level.
    Joining(ServerId),
    /// It follows a leader with a vote, is level and serves.
    Following(ServerId, Epoch),
    /// It follows without a vote, is level and serves.
    Observing(ServerId, Epoch),
    /// It is alone by configuration and serves.
    Standalone,
}

/// What the agreement tells the rest of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Status or membership in force changed. On leaving a serving status every request in flight is lost.
    Status(Status),
    /// The membership in force changed: ports and addresses may differ.
    Ensemble(Ensemble),
    /// This txn is committed and durable here: apply it. In order, without a gap.
    Deliver(Proposal),
    /// The whole tree is replaced by this snapshot of a leader. The replica answers with `Zab::on_installed`.
    Install {
        /// The last txn that it holds.
        zxid: Zxid,
        /// Sessions, ACL table and nodes.
        body: Bytes,
    },
    /// Leader: this learner needs the tree. The replica answers with `Zab::on_snapshot_sent`.
    SnapshotWanted(LinkId),
    /// Leader: a learner forwards a write. Never of an unknown op.
    Request(ServerId, Forwarded),
    /// Leader: sessions that a learner heard from, with timeouts in ms.
    Touched(Vec<(SessionId, i32)>),
    /// Leader: a learner asks whether a session lives. The replica answers with `Zab::revalidated`.
    Revalidate(LinkId, ServerId, SessionId, i32),
    /// Learner: the leader's answer, in the order of the questions.
    Revalidated(SessionId, bool),
    /// The oldest sync asked for by `Zab::sync` on this server is done.
    Synced,
}

/// What a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable and report its number.
    Write(WriteSeq, Write),
    /// Send a packet on the quorum port.
    Send(LinkId, Packet),
    /// Send a notification on the election port; a newer one replaces one that waits.
    Vote(ServerId, Notification),
    /// Connect to the quorum port of this server; the answer is `Input::LinkUp` or `Input::DialFailed`.
    Dial(ServerId),
    /// Close this link.
    DropLink(LinkId),
    /// Tell the rest of the server.
    News(News),
}
