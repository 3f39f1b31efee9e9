//! What a server knows about itself at one moment, for the words, the admin port and the metrics.
//!
//! In: a question. Out: [`Facts`] from the loop.
//!
//! Always true:
//! * an answer is one moment's state, taken between two events of the loop;
//! * a loop that does not answer in time counts as not serving.
//!
//! Not here: what is counted over time (`stats`), how facts become text (`words`, `server::metrics`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::base::{Ensemble, Epochs, Millis, Room, ServerId, SessionId, Zxid};
use crate::replica::LiveSetting;
use crate::tree::NamespaceQuotas;
use crate::zab::effects::Status;

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// How long writing a snapshot may take.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(600);
/// How long handing leadership over may take.
const TRANSFER_WAIT: Duration = Duration::from_secs(30);
/// Questions that may wait; more are answered as if the server did not serve.
pub const QUESTIONS_MAX: usize = 64;

/// One moment's state.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This server; 0 alone.
    pub id: ServerId,
    /// What it is.
    pub status: Status,
    /// Whether it serves clients that only read, having no leader.
    pub is_read_only: bool,
    /// How long it has been that.
    pub status_age: Millis,
    /// Both epochs.
    pub epochs: Epochs,
    /// The last txn in the log.
    pub last_logged: Zxid,
    /// The last txn in the tree.
    pub last_applied: Zxid,
    /// That, or the start of the epoch that this server leads: what clients are told.
    pub last_processed: Zxid,
    /// The tree.
    pub tree: TreeFacts,
    /// Replicated sessions.
    pub sessions: u64,
    /// Sessions of this server alone.
    pub local_sessions: u64,
    /// How often a txn's digest was not the tree's.
    pub digest_mismatches: u64,
    /// Writes that were refused for a quota, by its top-level node.
    pub quota_refusals: BTreeMap<String, u64>,
    /// Requests of clients in progress.
    pub outstanding: u64,
    /// The membership in force.
    pub ensemble: Ensemble,
    /// A membership that was proposed and is not in force.
    pub ensemble_proposed: Option<Ensemble>,
    /// Learners of this leader.
    pub learners: Vec<Learner>,
    /// Proposals of this leader that are not committed.
    pub proposals_open: u64,
    /// How much room this server's disk has.
    pub room: Room,
    /// Syncs of clients that wait.
    pub syncs_pending: u64,
}

/// The tree at one moment.
#[derive(Clone, Debug, Default)]
pub struct TreeFacts {
    /// Nodes.
    pub nodes: u64,
    /// Ephemeral nodes.
    pub ephemerals: u64,
    /// Watches in both tables.
    pub watches: u64,
    /// Bytes of paths and data.
    pub bytes: u64,
    /// Remembered digests, oldest first.
    pub digests: Vec<(Zxid, u64)>,
    /// Quotas by top-level node.
    pub quotas: BTreeMap<String, NamespaceQuotas>,
}

/// A learner as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learner {
    /// The learner.
    pub id: ServerId,
    /// Whether it votes in the membership in force.
    pub votes: bool,
    /// Whether it is level.
    pub is_synced: bool,
    /// Txns proposed and not acknowledged by it.
    pub lag: u64,
}

/// Live sessions by the moment at which they expire, on the monotonic clock.
pub type Expiries = Vec<(Millis, Vec<SessionId>)>;

/// A snapshot that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The last txn in it.
    pub zxid: Zxid,
    /// Its file.
    pub path: PathBuf,
}

/// What the loop is asked.
#[derive(Debug)]
pub enum Question {
    /// What it knows.
    Facts(oneshot::Sender<Facts>),
    /// To write a snapshot beside those that it writes by itself.
    Snapshot(oneshot::Sender<Result<Written, String>>),
    /// When which sessions expire; `None` where another server's clock decides.
    Expiries(oneshot::Sender<Option<Expiries>>),
    /// To take the tree of a snapshot: the last txn in it, and its body. The answer is the zxid that it got.
    Restore(Zxid, Bytes, oneshot::Sender<Result<Zxid, String>>),
    /// To change a setting.
    Change(Change, oneshot::Sender<Result<(), String>>),
    /// To hand leadership over to this voter; `None` for the one that is most level.
    Transfer(Option<ServerId>, oneshot::Sender<Result<ServerId, String>>),
}

/// A setting of the loop that changes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One of the replica's.
    Replica(LiveSetting),
    /// `autopurge.purgeInterval`; `None` for never.
    PurgeEvery(Option<Millis>),
    /// `autopurge.snapRetainCount`.
    SnapshotsKept(u32),
}

/// Asks the loop.
#[derive(Clone, Debug)]
pub struct Asker {
    questions: mpsc::Sender<Question>,
}

impl Asker {
    /// Asks by way of this queue, which the loop empties.
    pub fn new(questions: mpsc::Sender<Question>) -> Asker {
        Asker { questions }
    }

    /// One moment's state; `None` if the loop does not answer.
    pub async fn ask(&self) -> Option<Facts> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Facts(answer)).ok()?;
        timeout(ANSWER_WAIT, answered).await.ok()?.ok()
    }

    /// Writes a snapshot; `None` if the loop does not answer.
    pub async fn snapshot(&self) -> Option<Result<Written, String>> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Snapshot(answer)).ok()?;
        timeout(SNAPSHOT_WAIT, answered).await.ok()?.ok()
    }

    /// When which sessions expire; `None` where another server's clock decides, or if the loop does not answer.
    pub async fn expiries(&self) -> Option<Expiries> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Expiries(answer)).ok()?;
        timeout(ANSWER_WAIT, answered).await.ok()?.ok()?
    }

    /// Takes the tree of a snapshot, and answers once it is durable; `None` if the loop does not answer.
    pub async fn restore(&self, last: Zxid, body: Bytes) -> Option<Result<Zxid, String>> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Restore(last, body, answer)).ok()?;
        timeout(SNAPSHOT_WAIT, answered).await.ok()?.ok()
    }

    /// Changes a setting; `None` if the loop does not answer.
    pub async fn change(&self, change: Change) -> Option<Result<(), String>> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Change(change, answer)).ok()?;
        timeout(ANSWER_WAIT, answered).await.ok()?.ok()
    }

    /// Hands leadership over, and tells who leads then; `None` if the loop does not answer.
    pub async fn transfer(&self, to: Option<ServerId>) -> Option<Result<ServerId, String>> {
        let (answer, answered) = oneshot::channel();
        self.questions.try_send(Question::Transfer(to, answer)).ok()?;
        timeout(TRANSFER_WAIT, answered).await.ok()?.ok()
    }
}

impl Facts {
    /// Whether clients are served.
    pub fn serves(&self) -> bool {
        serves(self.status)
    }

    /// The leader that is followed, or this server if it leads; `None` without one.
    pub fn leader(&self) -> Option<ServerId> {
        match self.status {
            Status::Looking | Status::Standalone => None,
            Status::Discovering | Status::Leading(_) => Some(self.id),
            Status::Joining(leader) | Status::Following(leader, _) | Status::Observing(leader, _) => {
                Some(leader)
            }
        }
    }

    /// What it does in its ensemble, as ZooKeeper names it; `None` alone.
    pub fn phase(&self) -> Option<&'static str> {
        match self.status {
            Status::Standalone => None,
            Status::Leading(_) => Some("leading - broadcast"),
            Status::Following(..) => Some("following - broadcast"),
            Status::Observing(..) => Some("observing - broadcast"),
            Status::Discovering => Some("leading - discovery"),
            Status::Joining(_) => Some("following - synchronization"),
            Status::Looking => Some("looking - election"),
        }
    }

    /// `standalone`, `leader`, `follower`, `observer` or `read-only`, as ZooKeeper names it.
    pub fn mode(&self) -> &'static str {
        let is_observer = self
            .ensemble
            .members
            .get(&self.id)
            .is_some_and(|member| member.role == crate::base::MemberRole::Observer);
        match self.status {
            _ if self.is_read_only => "read-only",
            Status::Standalone => "standalone",
            Status::Discovering | Status::Leading(_) => "leader",
            Status::Joining(_) if is_observer => "observer",
            Status::Joining(_) | Status::Following(..) => "follower",
            Status::Observing(..) => "observer",
            Status::Looking => "leaderelection",
        }
    }
}

/// Whether clients are served.
pub fn serves(status: Status) -> bool {
    match status {
        Status::Leading(_) | Status::Following(..) | Status::Observing(..) | Status::Standalone => true,
        Status::Looking | Status::Discovering | Status::Joining(_) => false,
    }
}
