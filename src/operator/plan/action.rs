//! What a plan consists of.
//!
//! In and out: plain data.
//!
//! Always true:
//! * every action may be cut off half way and be planned again;
//! * every action that people should hear of carries its reason in words.
//!
//! Not here: which actions (`plan`), performing them (`apply`).

use std::time::Duration;

use crate::base::{Member, ServerId, Zxid};
use crate::operator::object::{Object, ObjectKey};
use crate::operator::observed::Memory;

/// What is to be done, and what is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In this order; after one that could not be done the rest is left for the next plan.
    pub actions: Vec<Action>,
    /// When to look again even if nothing is heard.
    pub again: Duration,
    /// How far things have come.
    pub progress: Progress,
    /// What to remember.
    pub memory: Memory,
}

/// One thing to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make an object that must not exist.
    Create(Box<Object>),
    /// Make an object, or change it.
    Apply(Box<Object>),
    /// Delete an object, if it still is the one with this uid.
    Delete {
        /// Which.
        object: ObjectKey,
        /// Its uid.
        uid: String,
        /// Why.
        reason: Reason,
    },
    /// One step of membership, compared and set on the configuration's version.
    Reconfigure {
        /// The version that it starts from.
        from: Zxid,
        /// Servers that join, or whose role changes.
        join: Vec<Member>,
        /// Servers that leave.
        leave: Vec<ServerId>,
        /// Why.
        reason: Reason,
    },
    /// The leader hands over.
    Transfer {
        /// The leader.
        from: ServerId,
        /// Its epoch.
        epoch: u32,
        /// Who is to lead.
        to: ServerId,
        /// Why.
        reason: Reason,
    },
    /// Servers send their clients away.
    Drain {
        /// Which.
        servers: Vec<ServerId>,
        /// Why.
        reason: Reason,
    },
    /// Delete a pod, so that its successor is made from the template in force.
    RestartPod {
        /// Its server.
        server: ServerId,
        /// Its name.
        pod: String,
        /// Its uid.
        uid: String,
        /// Whether clients are sent away before.
        farewell: Farewell,
        /// Why.
        reason: Reason,
    },
}

/// Whether clients are sent away before a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// They are.
    Drain,
    /// There are none to speak of.
    AtOnce,
}

/// Why something is done: a word for programs, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Stable.
    pub code: &'static str,
    /// A sentence without its full stop.
    pub text: String,
}

/// How far things have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The change of membership under way.
    pub operation: Operation,
    /// Whether the number of members may be changed, and why not.
    pub scale: Hold,
    /// Whether membership is what is asked for, and why not.
    pub membership: Hold,
    /// How far the template asked for has come.
    pub rollout: RolloutProgress,
    /// What is asked for of the volumes and cannot be done; empty if nothing.
    pub storage: String,
}

/// A yes, or a no with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// `None`: yes.
    pub reason: Option<Reason>,
}

/// A change of membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its kind.
    pub kind: OperationKind,
    /// What is done or waited for.
    pub step: String,
    /// Whom it is about.
    pub ids: Vec<i64>,
    /// The configuration that it starts from.
    pub from: Option<Zxid>,
    /// Why it does not go on; empty if it does.
    pub message: String,
}

/// A kind of change of membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperationKind {
    /// None.
    #[default]
    None,
    /// The first members.
    Bootstrap,
    /// Members join.
    AddMembers,
    /// Members leave.
    RemoveMembers,
}

/// How far a template has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutProgress {
    /// The stage.
    pub stage: Stage,
    /// Whom it is about.
    pub member: Option<ServerId>,
    /// What is waited for.
    pub message: String,
}

/// A stage of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Every member runs well on the template asked for.
    #[default]
    Done,
    /// Pods that cannot contribute are replaced.
    Repair,
    /// Members without a vote.
    Observers,
    /// Members with a vote that do not lead.
    Followers,
    /// The leader hands over.
    HandOver,
    /// The leader.
    Leader,
    /// All are on the template; it has to prove itself.
    Soak,
    /// A member does not come back.
    Stalled,
    /// The spec says so.
    Paused,
    /// Somebody has to approve.
    WaitingForApproval,
    /// The version skips one.
    VersionSkipRefused,
    /// The version is an older one.
    DowngradeRefused,
}

impl OperationKind {
    /// As the status names it.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::None => "None",
            OperationKind::Bootstrap => "Bootstrap",
            OperationKind::AddMembers => "AddMembers",
            OperationKind::RemoveMembers => "RemoveMembers",
        }
    }
}

impl Stage {
    /// As the status names it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Done => "Done",
            Stage::Repair => "Repair",
            Stage::Observers => "Observers",
            Stage::Followers => "Followers",
            Stage::HandOver => "HandOver",
            Stage::Leader => "Leader",
            Stage::Soak => "Soak",
            Stage::Stalled => "Stalled",
            Stage::Paused => "Paused",
            Stage::WaitingForApproval => "WaitingForApproval",
            Stage::VersionSkipRefused => "VersionSkipRefused",
            Stage::DowngradeRefused => "DowngradeRefused",
        }
    }
}

impl Hold {
    /// A no.
    pub fn no(code: &'static str, text: impl Into<String>) -> Hold {
        Hold { reason: Some(Reason { code, text: text.into() }) }
    }
}

impl Action {
    /// The reason, if people should hear of it.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Action::Create(_) | Action::Apply(_) => None,
            Action::Delete { reason, .. }
            | Action::Reconfigure { reason, .. }
            | Action::Transfer { reason, .. }
            | Action::Drain { reason, .. }
            | Action::RestartPod { reason, .. } => Some(reason),
        }
    }
}
