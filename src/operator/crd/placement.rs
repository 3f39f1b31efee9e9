//! Where the pods run and how they are reached, as a spec asks for.
//!
//! In: the resource's JSON. Out: typed fields and their schema.
//!
//! Always true:
//! * what is taken over into a pod as it stands has the schema that Kubernetes gives it.
//!
//! Not here: pods (`build::pod`) and services (`build::services`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::is_default;

/// What is added to the pods.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Labels; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity besides the spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How members are spread over nodes and zones.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spread: SpreadSpec,
}

/// How members are spread over nodes and zones.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpreadSpec {
    /// Over nodes. Default: Preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Spread>,
    /// Over zones. Default: Preferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Spread>,
    /// The node label that names the zone. Default: topology.kubernetes.io/zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub zone_key: Option<String>,
}

/// How strict a spread is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Spread {
    /// A pod that would break it waits.
    Required,
    /// Kept where possible.
    Preferred,
    /// Ignored.
    None,
}

/// Names, ports and services.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// The cluster's DNS domain. Default: cluster.local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"))]
    pub cluster_domain: Option<String>,
    /// Ports of the servers, all different.
    #[serde(default)]
    pub ports: PortsSpec,
    /// The service for clients.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_service: ClientServiceSpec,
}

/// Ports of the servers, all different.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortsSpec {
    /// Clients.
    #[schemars(range(min = 1, max = 65535))]
    pub client: i32,
    /// Kept free for clients with TLS; nothing listens on it yet.
    #[schemars(range(min = 1, max = 65535))]
    pub secure_client: i32,
    /// Members that follow, at the leader.
    #[schemars(range(min = 1, max = 65535))]
    pub peer: i32,
    /// Elections.
    #[schemars(range(min = 1, max = 65535))]
    pub election: i32,
    /// Probes, member reports and commands.
    #[schemars(range(min = 1, max = 65535))]
    pub admin: i32,
    /// Prometheus metrics.
    #[schemars(range(min = 1, max = 65535))]
    pub metrics: i32,
}

/// The service for clients.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientServiceSpec {
    /// Default: ClusterIP.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<ServiceType>,
    /// Labels of the service; those of the operator win.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Which endpoints are preferred, as in a Service. Default: not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub traffic_distribution: Option<String>,
    /// Who may use a load balancer; empty is anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    pub load_balancer_source_ranges: Vec<String>,
}

/// How the service is reached.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum ServiceType {
    /// Inside the cluster.
    ClusterIP,
    /// At a port of every node.
    NodePort,
    /// Through a load balancer.
    LoadBalancer,
}

impl Default for PortsSpec {
    fn default() -> Self {
        PortsSpec {
            client: 2181,
            secure_client: 2281,
            peer: 2888,
            election: 3888,
            admin: 8080,
            metrics: 7000,
        }
    }
}
