//! The StatefulSet of a pool.
//!
//! In: what the servers are to be, how many pods, and which template. Out: the StatefulSet.
//!
//! Always true:
//! * pods start side by side and are replaced only when the operator deletes them;
//! * scaling never deletes a claim, as hibernating would delete every disk.
//!
//! Not here: which template, and when a pod is deleted (`plan`).

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names::{self, STABLE_TEMPLATE};
use super::pod::{DATA, DATA_LOG, is_ephemeral, pod_labels};
use crate::operator::desired::{Desired, Keep, Pool, Volume};
use crate::operator::object::Object;

/// What the plan chose for a pool.
pub struct SetInputs<'a> {
    /// Pods.
    pub replicas: u32,
    /// What a pod made from here on looks like.
    pub template: &'a PodTemplateSpec,
    /// The last template that every member ran well on.
    pub stable: &'a PodTemplateSpec,
}

/// The StatefulSet of a pool.
pub fn stateful_set(desired: &Desired, pool: Pool, inputs: SetInputs<'_>) -> Object {
    let mut metadata = names::owned(desired, desired.pool_name(pool));
    metadata.labels = Some(pod_labels(desired, pool));
    let stable = serde_json::to_string(inputs.stable).expect("a template is plain data");
    metadata.annotations = Some([(STABLE_TEMPLATE.to_owned(), stable)].into());
    let claims = claims(desired, pool);
    let spec = StatefulSetSpec {
        replicas: Some(i32::try_from(inputs.replicas).expect("at most 32 pods")),
        service_name: Some(names::peers_name(desired)),
        pod_management_policy: Some("Parallel".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("OnDelete".to_owned()),
            ..StatefulSetUpdateStrategy::default()
        }),
        persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_deleted: Some(match desired.when_deleted {
                Keep::Retain => "Retain".to_owned(),
                Keep::Delete => "Delete".to_owned(),
            }),
            when_scaled: Some("Retain".to_owned()),
        }),
        selector: names::selector(desired, pool),
        template: inputs.template.clone(),
        volume_claim_templates: (!claims.is_empty()).then_some(claims),
        ..StatefulSetSpec::default()
    };
    let set = StatefulSet { metadata, spec: Some(spec), ..StatefulSet::default() };
    Object::StatefulSet(Box::new(set)).stamped()
}

fn claims(desired: &Desired, pool: Pool) -> Vec<PersistentVolumeClaim> {
    let log = desired.data_log.iter().map(|volume| (DATA_LOG, volume));
    let volumes = [(DATA, &desired.data)].into_iter().chain(log);
    volumes
        .filter(|(_, volume)| !is_ephemeral(pool, volume))
        .map(|(name, volume)| claim(desired, pool, name, volume))
        .collect()
}

fn claim(desired: &Desired, pool: Pool, name: &str, volume: &Volume) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(pod_labels(desired, pool)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: volume.class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(volume.size.clone()))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
