//! The volumes that a spec asks for.
//!
//! In: the resource's JSON. Out: typed fields and their schema.
//!
//! Always true:
//! * a size is a quantity that the rules can compare.
//!
//! Not here: claims (`build::storage`), growth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::is_default;

/// Volumes of the members.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Snapshots, and the transaction log unless dataLog is given.
    #[serde(default)]
    pub data: VolumeSpec,
    /// A volume of its own for the transaction log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_log: Option<VolumeSpec>,
    /// What becomes of volumes that are not needed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: RetentionSpec,
    /// Must be true for data.type Ephemeral: a majority that restarts at once has lost acknowledged writes.
    #[serde(default)]
    pub allow_ephemeral_voters: bool,
}

/// One volume of every member.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSpec {
    /// Persistent: a claim. Ephemeral: gone with the pod.
    #[serde(default, rename = "type")]
    pub kind: VolumeType,
    /// Requested size; it may only grow.
    #[serde(default = "default_size")]
    #[schemars(regex(pattern = r"^[0-9]{1,15}(\.[0-9]{1,6})?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"))]
    pub size: String,
    /// Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}

/// Whether a volume outlives its pod.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum VolumeType {
    /// A claim.
    #[default]
    Persistent,
    /// Gone with the pod.
    Ephemeral,
}

/// What becomes of volumes that are not needed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// When the resource is deleted. Default: Retain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<Retention>,
    /// When a member has left the configuration. Default: Retain. Hibernating never deletes a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when_scaled: Option<Retention>,
}

/// Keep or delete.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum Retention {
    /// Keep it.
    Retain,
    /// Delete it.
    Delete,
}

impl Default for VolumeSpec {
    fn default() -> Self {
        VolumeSpec { kind: VolumeType::default(), size: default_size(), storage_class_name: None }
    }
}

fn default_size() -> String {
    "10Gi".to_owned()
}
