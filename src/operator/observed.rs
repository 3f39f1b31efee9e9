//! What exists: objects, pods, claims, nodes, and what the servers reported.
//!
//! In: facts as they were found. Out: plain values for `plan` and `status`.
//!
//! Always true:
//! * what could not be found out is a fact of its own, never an error.
//!
//! Not here: finding them (`observe`), what follows (`plan`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::crd::EnsembleStatus;
use super::desired::Pool;
use super::identity::{Fresh, Identity};
use super::object::Objects;
use super::report::Report;
use crate::base::ServerId;

/// What exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Objects made by the operator that exist.
    pub objects: Objects,
    /// The identity.
    pub identity: IdentityFact,
    /// Random texts, for an identity that is to be made.
    pub fresh: Fresh,
    /// The StatefulSets that exist.
    pub sets: BTreeMap<Pool, SetFact>,
    /// Pods of the ensemble.
    pub pods: Vec<PodFact>,
    /// Claims of the ensemble.
    pub claims: Vec<ClaimFact>,
    /// Nodes on which its pods are.
    pub nodes: BTreeMap<String, NodeFact>,
    /// Storage classes that the spec names and the cluster lacks; `default` if it names none and there is none.
    pub missing_classes: Vec<String>,
    /// What servers told, by their pods' names.
    pub reports: BTreeMap<String, Report>,
    /// The status as it was written last.
    pub status: EnsembleStatus,
    /// The resource's annotations that the operator obeys.
    pub orders: Orders,
    /// What the operator remembers of earlier passes; empty after its start.
    pub memory: Memory,
}

/// The identity's secret.
#[derive(Clone, Debug, PartialEq)]
pub enum IdentityFact {
    /// There is none.
    Absent,
    /// It cannot be used; the text says why.
    Broken(String),
    /// It stands, in this resource version.
    Present(Box<Identity>, String),
}

/// A StatefulSet that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct SetFact {
    /// Pods asked for.
    pub replicas: u32,
    /// The template in force.
    pub template: PodTemplateSpec,
    /// The last template that every member ran well on; `None` if its annotation cannot be read.
    pub stable: Option<PodTemplateSpec>,
    /// Volumes of its claim templates: name, size, class.
    pub claims: Vec<(String, String, Option<String>)>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFact {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its pool.
    pub pool: Pool,
    /// The number at the end of its name.
    pub ordinal: u32,
    /// Hash of the template that it was made from; empty if it does not say.
    pub template_hash: String,
    /// The settings' file that its server reads; empty if it names none.
    pub settings: String,
    /// Milliseconds since 1970 at which it was made.
    pub created_ms: i64,
    /// How it is.
    pub condition: PodCondition,
    /// Since when it has been ready, in milliseconds since 1970; `None` if it is not.
    pub ready_since_ms: Option<i64>,
    /// Its node; empty before it has one.
    pub node: String,
    /// Its address; empty before it has one.
    pub address: String,
    /// Restarts of its server.
    pub restarts: u32,
    /// How its server ended last: the exit code and the reason.
    pub last_end: Option<(i32, String)>,
}

/// How a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodCondition {
    /// Deleted, and still ending.
    Terminating,
    /// No node takes it; the text says why.
    Unschedulable(String),
    /// Its server cannot start: image, settings, crash loop. Reason and message.
    Stuck(String, String),
    /// On its way.
    Starting,
    /// Its server runs.
    Running,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimFact {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The pool's and pod's number that it is for.
    pub ordinal: u32,
    /// Whether it is bound to a volume.
    pub binding: Binding,
    /// Whether its label says that its member has left.
    pub attachment: Attachment,
}

/// Whether a claim has a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It has.
    Bound,
    /// It waits.
    Pending,
}

/// Whether a claim's member has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// No.
    InUse,
    /// Yes, and its label says so.
    Detached,
}

/// A node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeFact {
    /// Its kubelet reports.
    Ready,
    /// Its kubelet is silent, or it is gone; since when, in milliseconds since 1970.
    Lost(i64),
}

/// What annotations of the resource ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// `quorate.dev/paused: "true"`.
    pub pause: Option<()>,
    /// `quorate.dev/approved`: what a supervised rollout may go on with, `leader-` or `final-` and the template's hash.
    pub approved: Option<String>,
}

/// What the operator remembers of earlier passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The member that may be restarted, and since when it has been so without a break (milliseconds since 1970).
    pub gate: Option<(ServerId, i64)>,
    /// How often the leader of this epoch refused to hand over.
    pub refusals: u32,
}

impl Observed {
    /// A pod by pool and number.
    pub fn pod(&self, pool: Pool, ordinal: u32) -> Option<&PodFact> {
        self.pods.iter().find(|pod| pod.pool == pool && pod.ordinal == ordinal)
    }
}

impl PodFact {
    /// For how long it has been ready, in milliseconds; `None` if it is not.
    pub fn ready_for_ms(&self, now_ms: i64) -> Option<u64> {
        self.ready_since_ms.map(|since| u64::try_from(now_ms - since).unwrap_or(0))
    }

    /// Its age in milliseconds.
    pub fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms - self.created_ms).unwrap_or(0)
    }
}
