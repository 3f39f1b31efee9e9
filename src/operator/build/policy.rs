//! The objects about rights and limits: account, identity, disruption budget, labels of claims.
//!
//! In: what the servers are to be, and the values that the plan chose. Out: objects.
//!
//! Always true:
//! * the pods' account has no rights and its token is not mounted;
//! * an identity that is to outlive the resource has no owner.
//!
//! Not here: what an identity holds (`identity`).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, ServiceAccount};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names;
use crate::operator::desired::{Desired, Disruption, Keep, Pool};
use crate::operator::identity::Identity;
use crate::operator::object::Object;

/// The pods' account.
pub fn service_account(desired: &Desired) -> Object {
    Object::ServiceAccount(ServiceAccount {
        metadata: names::owned(desired, names::account_name(desired)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
    .stamped()
}

/// The identity. `version` is the resource version that it replaces; `None` for one that is to be made.
pub fn identity(desired: &Desired, identity: &Identity, version: Option<String>) -> Object {
    let mut metadata = names::owned(desired, names::identity_name(desired));
    if desired.when_deleted == Keep::Retain {
        // With the volumes kept, the resource made anew finds its disks' identity again.
        metadata.owner_references = None;
    }
    metadata.resource_version = version;
    let data = identity.to_data().into_iter().map(|(key, value)| (key, ByteString(value)));
    Object::Secret(Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    })
}

/// The disruption budget of the voters' pool.
pub fn budget(desired: &Desired, disruption: Disruption, max_unavailable: u32) -> Object {
    let max_unavailable = i32::try_from(max_unavailable).expect("at most nine voters");
    Object::Budget(PodDisruptionBudget {
        metadata: names::owned(desired, names::budget_name(desired)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(max_unavailable)),
            selector: Some(names::selector(desired, Pool::Voters)),
            unhealthy_pod_eviction_policy: Some(disruption.unhealthy.to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
    .stamped()
}

/// Labels that say that a claim's member has left, or, without any, that it is back.
pub fn claim_labels(desired: &Desired, claim: &str, labels: BTreeMap<String, String>) -> Object {
    Object::Claim(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(claim.to_owned()),
            namespace: Some(desired.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        ..PersistentVolumeClaim::default()
    })
}
