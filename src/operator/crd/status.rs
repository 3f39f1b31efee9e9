//! What the operator tells about an ensemble: the status of a `CoordinationEnsemble`.
//!
//! In: what `status` computed. Out: the resource's JSON and its schema.
//!
//! Always true:
//! * it can be lost without harm: everything that a decision needs is found again in the objects and on the servers.
//!
//! Not here: how it is computed (`crate::operator::status`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator tells about an ensemble.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EnsembleStatus {
    /// The generation of the spec that this status answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For people: Pending, Bootstrapping, Running, Scaling, Updating, Recovering, Hibernated, Paused or Failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Stands on every disk of the ensemble.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ensemble_id: String,
    /// Pods of the voters' pool that exist.
    pub replicas: i32,
    /// Those of them that are ready.
    pub ready_replicas: i32,
    /// Those of them that are on the target template.
    pub updated_replicas: i32,
    /// Members with a vote in the committed configuration.
    pub voting_members: i32,
    /// Pods of the observers' pool that exist.
    pub observer_replicas: i32,
    /// Those of them that are ready.
    pub ready_observers: i32,
    /// Selects the pods of the voters' pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// Whether writes are served.
    pub quorum: QuorumStatus,
    /// Every member with a pod, and every member of the committed configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub members: Vec<MemberStatus>,
    /// Versions of the servers.
    pub version: VersionStatus,
    /// How far the target template has come.
    pub rollout: RolloutStatus,
    /// The change of membership under way.
    pub operation: OperationStatus,
    /// Volumes asked for.
    pub storage: StorageStatus,
    /// Where clients connect.
    pub endpoints: EndpointsStatus,
    /// The highest epoch ever reported. Never goes down.
    pub highest_epoch_seen: i64,
    /// The highest zxid ever reported, refreshed at most once a minute.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub highest_zxid_seen: String,
    /// What was computed where the spec says nothing.
    pub effective: EffectiveStatus,
    /// See the documentation of each type's reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Whether writes are served.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QuorumStatus {
    /// Healthy, AtRisk, Lost, Unknown or None (hibernated).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Voters that are needed.
    pub required: i32,
    /// Voters that are level.
    pub synced: i32,
    /// Level voters that may still be lost.
    pub can_lose: i32,
    /// The leader; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_id: Option<i64>,
    /// The leader's pod; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub leader_pod: String,
    /// The leader's epoch.
    pub epoch: i64,
    /// Version of the committed configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub config_version: String,
    /// The leader's last zxid, refreshed at most once a minute.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_zxid: String,
    /// Since when the state is what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// One member.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberStatus {
    /// Its myid.
    pub id: i64,
    /// Its pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Voters or Observers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// Leader, Follower, Observer, Looking, Down or Unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Whether it votes in the committed configuration.
    pub voting: bool,
    /// Whether it is meant to vote.
    pub desired_voting: bool,
    /// Whether its pod is ready.
    pub ready: bool,
    /// Whether the leader counts it as level.
    pub synced: bool,
    /// Joining, CatchingUp, Active, Draining, Leaving or Failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Identity of its disk, as last reported.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub incarnation: String,
    /// Its node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Its program's version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Hash of the template that its pod was made from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub template_hash: String,
    /// Why it is not Active.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Versions of the servers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionStatus {
    /// What every member is known to run: the version of the last rollout that was completed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current: String,
    /// What is asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// Whether members of both run.
    pub mixed: bool,
}

/// How far the target template has come.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RolloutStatus {
    /// Hash of the template asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_hash: String,
    /// Hash of the last template that every member ran well on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stable_hash: String,
    /// Idle, Repair, Observers, Followers, HandOver, Leader, Soak, Done, Stalled, Paused or WaitingForApproval.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// The member being restarted; 0 for none.
    pub member_id: i64,
    /// Pods on the target template.
    pub updated: i32,
    /// Pods that should be.
    pub total: i32,
    /// What is waited for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The change of membership under way.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    /// None, Bootstrap, AddMembers or RemoveMembers.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// What is done or waited for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub member_ids: Vec<i64>,
    /// Version of the configuration that it starts from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from_config_version: String,
    /// Why it does not go on; empty if it does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Volumes asked for.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageStatus {
    /// Size of each data volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Size of each log volume; empty if the log lives in data.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data_log: String,
}

/// Where clients connect.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsStatus {
    /// The service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// Every member, for clients that choose themselves.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connect_string: String,
}

/// What was computed where the spec says nothing.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EffectiveStatus {
    /// Version of the servers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Their image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Members that may be evicted at once.
    pub pdb_max_unavailable: i32,
    /// Members that are meant to vote.
    pub voters: i32,
    /// Members that observe so that the number of voters stays odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_as_observer: Vec<i64>,
}
