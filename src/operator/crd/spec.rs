//! What a user writes: the spec of a `CoordinationEnsemble`.
//!
//! In: the resource's JSON. Out: typed fields, and by derivation their schema.
//!
//! Always true:
//! * only what a schema rule or the scale subresource reads has a default in the schema; every other default is computed
//!   (`validate`), so that it follows the operator's version;
//! * every list, string and map has a limit, so that the rules stay within the API server's budget.
//!
//! Not here: the rules between fields (`rules`), what a missing field means (`validate`).

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::placement::{NetworkSpec, PodSpec};
use super::settings::{ConfigSpec, LoggingSpec};
use super::status::EnsembleStatus;
use super::storage::StorageSpec;

/// A coordination service that serves ZooKeeper's clients: its size, storage, settings and how it is changed.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[kube(
    group = "quorate.dev",
    version = "v1alpha1",
    kind = "CoordinationEnsemble",
    plural = "coordinationensembles",
    singular = "coordinationensemble",
    shortname = "ens",
    shortname = "cens",
    category = "quorate",
    namespaced,
    status = "EnsembleStatus",
    derive = "PartialEq",
    doc = "An ensemble of servers that is ZooKeeper to every client.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Quorum", type_ = "string", json_path = ".status.quorum.state"),
    printcolumn(name = "Can-Lose", type_ = "integer", json_path = ".status.quorum.canLose"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.quorum.leaderPod"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version.current"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Voters", type_ = "integer", json_path = ".status.votingMembers", priority = 1),
    printcolumn(name = "Observers", type_ = "integer", json_path = ".status.observerReplicas", priority = 1),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.quorum.epoch", priority = 1),
    printcolumn(name = "Config", type_ = "string", json_path = ".status.quorum.configVersion", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct EnsembleSpec {
    /// Version of the servers, x.y.z. Default: the version of the operator. Names the image's tag unless image.tag is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$"))]
    pub version: Option<String>,
    /// Where the image of the servers comes from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub image: ImageSpec,
    /// Number of members, 0 to 9. 0 hibernates: the pods go, volumes and membership stay.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 9))]
    pub replicas: i32,
    /// Who is a member under which id, and when a newcomer gets its vote.
    #[serde(default)]
    pub membership: MembershipSpec,
    /// Members that serve reads and have no vote; they keep nothing on disk beyond their pod's life.
    #[serde(default)]
    pub observers: ObserversSpec,
    /// Volumes of the members.
    #[serde(default)]
    pub storage: StorageSpec,
    /// Settings of the servers.
    #[serde(default)]
    pub config: ConfigSpec,
    /// Requests and limits of the server container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// What is added to the pods.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod: PodSpec,
    /// How a change reaches the members.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: RolloutSpec,
    /// The PodDisruptionBudget.
    #[serde(default)]
    pub disruption: DisruptionSpec,
    /// Names, ports and services.
    #[serde(default)]
    pub network: NetworkSpec,
    /// Logs of the servers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub logging: LoggingSpec,
}

/// Where the image of the servers comes from.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSpec {
    /// Default: the repository of the operator's own image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub repository: Option<String>,
    /// Default: spec.version if that is given, else the operator's own tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"))]
    pub tag: Option<String>,
    /// Wins over the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// Default: that of the operator's own image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Secrets of the namespace with credentials for the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

/// When the kubelet pulls the image.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// If the node lacks it.
    IfNotPresent,
    /// Never.
    Never,
}

/// Who is a member under which id, and when a newcomer gets its vote.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipSpec {
    /// The id of a member is this plus its pod's ordinal. Fixed for the life of the ensemble.
    #[serde(default = "default_voter_offset")]
    #[schemars(range(min = 1, max = 246))]
    pub myid_offset: i32,
    /// What becomes of an even number of replicas. Default: HoldAsObserver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub even_replicas: Option<EvenReplicas>,
    /// When a newcomer counts as level.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch_up: CatchUpSpec,
}

/// What becomes of an even number of replicas.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum EvenReplicas {
    /// The last one observes: 4 replicas are 3 voters and 1 observer.
    HoldAsObserver,
    /// All vote.
    Promote,
}

/// When a newcomer counts as level.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatchUpSpec {
    /// Transactions that it may lag behind. Default: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_lag_transactions: Option<i32>,
    /// For how long it has to be level, in seconds. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: Option<i32>,
    /// After this it stays an observer until it is level, and the others go on without it. Default: 30m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// Members that serve reads and have no vote.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObserversSpec {
    /// Number of observers, 0 to 32.
    #[serde(default)]
    #[schemars(range(min = 0, max = 32))]
    pub replicas: i32,
    /// The id of an observer is this plus its pod's ordinal. Fixed for the life of the ensemble.
    #[serde(default = "default_observer_offset")]
    #[schemars(range(min = 1, max = 223))]
    pub myid_offset: i32,
}

/// How a change reaches the members.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Default: Automatic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RolloutMode>,
    /// Seconds that the ensemble has to be well before the next member is restarted. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: Option<i32>,
    /// How long a restarted member may take to be level; then the rollout is stalled. Default: 15m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member_timeout: Option<Span>,
    /// Whether the leader hands over before it is restarted. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_leadership: Option<bool>,
    /// Any new value restarts every member once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub restart_at: Option<String>,
}

/// Who decides that a rollout goes on.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum RolloutMode {
    /// The operator.
    Automatic,
    /// It asks before the leader and before finalising; status.rollout.message names the annotation that approves.
    Supervised,
    /// No member is restarted.
    Paused,
}

/// The PodDisruptionBudget.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionSpec {
    /// Whether there is one; none is made for a single voter. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Members that may be evicted at once. Default: what leaves a quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4))]
    pub max_unavailable: Option<i32>,
    /// Whether a pod that is not ready may be evicted. Default: AlwaysAllow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_pod_eviction_policy: Option<UnhealthyPodEvictionPolicy>,
}

/// Whether a pod that is not ready may be evicted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum UnhealthyPodEvictionPolicy {
    /// Always: it costs no quorum.
    AlwaysAllow,
    /// Only within the budget.
    IfHealthyBudget,
}

/// A span of time such as `30m` or `1h30m`.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
pub struct Span(#[schemars(regex(pattern = "^([0-9]{1,6}(ms|s|m|h))+$"), length(max = 32))] pub String);

impl Default for MembershipSpec {
    fn default() -> Self {
        MembershipSpec {
            myid_offset: default_voter_offset(),
            even_replicas: None,
            catch_up: CatchUpSpec::default(),
        }
    }
}

impl Default for ObserversSpec {
    fn default() -> Self {
        ObserversSpec { replicas: 0, myid_offset: default_observer_offset() }
    }
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_replicas() -> i32 {
    3
}

fn default_voter_offset() -> i32 {
    1
}

fn default_observer_offset() -> i32 {
    64
}
