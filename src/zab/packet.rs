//! The packets of the quorum port by their meaning.
//!
//! In and out: plain data.
//!
//! Always true:
//! * what an Apache ZooKeeper 3.8 or 3.9 server is sent is a packet that it knows.
//!
//! Not here: bytes (`codec`), what a packet does to a role (`leader`, `follower`).

use bytes::Bytes;

use crate::base::{Epoch, ServerId, SessionId, Zxid};

/// A txn on its way to being agreed: opaque but for its zxid and the membership that it may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The txn's place.
    pub zxid: Zxid,
    /// Header, body and digest, as in the log.
    pub txn: Bytes,
}

/// An identity of a client's connection, as it is forwarded with a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// `ip`, `digest`, `super`, …
    pub scheme: String,
    /// What the scheme makes of it.
    pub id: String,
}

/// A write of a client, on its way from the server that took it to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The session that asks; `SessionId::NONE` for none.
    pub session: SessionId,
    /// The client's xid; 0 for session operations.
    pub cxid: i32,
    /// The operation code.
    pub op: i32,
    /// The request's body as received.
    pub body: Bytes,
    /// The connection's identities; empty is written as an empty vector, never as null.
    pub identities: Vec<Identity>,
}

/// What tells a Quorate server from an Apache one: it follows the fields that Apache ZooKeeper reads and ignores
/// the rest of (`LearnerHandler.run` and `Learner.registerWithLeader` of 3.8.6 and of the development line; 3.9.5 was run).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The identity of the ensemble; `None` where none is configured.
    pub ensemble_id: Option<String>,
}

/// Everything that goes over a quorum link, by its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// FOLLOWERINFO (11) or OBSERVERINFO (16): a learner introduces itself.
    LearnerInfo {
        /// Whether it votes (11) or only follows (16).
        observer: bool,
        /// The highest epoch that it promised.
        accepted: Epoch,
        /// Its id; `None` if the packet has no data.
        id: Option<ServerId>,
        /// The version of its membership in force; `None` if the packet is too short to say.
        config_version: Option<Zxid>,
        /// Only from a Quorate server.
        mark: Option<Mark>,
    },
    /// LEADERINFO (17): the new epoch.
    LeaderInfo {
        /// The epoch that the leader proposes.
        epoch: Epoch,
        /// Only from a Quorate server, and only to a learner that showed a mark.
        mark: Option<Mark>,
    },
    /// ACKEPOCH (18): the learner accepts the epoch and says what it holds.
    AckEpoch {
        /// Its current epoch; `None` (-1) if it accepted this epoch before and must not be counted.
        current: Option<Epoch>,
        /// The last zxid in its log.
        last: Zxid,
    },
    /// DIFF (13): keep your history, what follows completes it.
    Diff(Zxid),
    /// TRUNC (14): cut your history to this zxid.
    Trunc(Zxid),
    /// SNAP (15) with the stream that follows it: sessions, ACL table and nodes up to and with the end marker,
    /// without `BenWasHere`, which the codec adds and checks.
    Snap {
        /// The last txn that the stream holds.
        zxid: Zxid,
        /// The stream.
        body: Bytes,
    },
    /// NEWLEADER (10): everything before this belongs to the initial history of the epoch.
    NewLeader {
        /// `epoch << 32`.
        zxid: Zxid,
        /// The text of the membership that was proposed last; `None` or empty from old leaders.
        config: Option<String>,
    },
    /// UPTODATE (12): the epoch is established.
    UpToDate,
    /// PROPOSAL (2).
    Proposal(Proposal),
    /// ACK (3): this txn, or this NEWLEADER, is on disk.
    Ack(Zxid),
    /// COMMIT (4).
    Commit(Zxid),
    /// COMMITANDACTIVATE (9): commits a reconfig.
    CommitAndActivate {
        /// The reconfig's zxid.
        zxid: Zxid,
        /// Who leads from here on.
        leader: ServerId,
    },
    /// INFORM (8): a committed txn, for an observer.
    Inform(Proposal),
    /// INFORMANDACTIVATE (19): a committed reconfig, for an observer.
    InformAndActivate {
        /// Who leads from here on.
        leader: ServerId,
        /// The reconfig.
        proposal: Proposal,
    },
    /// PING (5) from a leader.
    Ping(Zxid),
    /// PING (5) from a learner: the sessions touched since the last one, with their timeouts in ms.
    Pong {
        /// The zxid of the ping that is answered.
        zxid: Zxid,
        /// Session and negotiated timeout in ms.
        touched: Vec<(SessionId, i32)>,
    },
    /// REQUEST (1).
    Request(Forwarded),
    /// REVALIDATE (6) from a learner: does this session live? Timeout in ms.
    Revalidate {
        /// The session.
        session: SessionId,
        /// The negotiated timeout in ms.
        timeout_ms: i32,
    },
    /// REVALIDATE (6) from the leader.
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it lives; then it belongs to the asking server.
        valid: bool,
    },
    /// SYNC (7): the oldest unanswered sync of this learner is done.
    Sync,
    /// Only between servers that showed each other their marks: the leader stops leading, and this server leads or
    /// follows the successor without an election.
    HandOver {
        /// Who leads from here on.
        leader: ServerId,
        /// The last txn, which the successor holds.
        last: Zxid,
        /// The election round to report.
        round: i64,
    },
}
