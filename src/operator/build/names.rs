//! Names, labels and annotations of an ensemble's objects.
//!
//! In: what the servers are to be. Out: texts and metadata.
//!
//! Always true:
//! * every name begins with the ensemble's;
//! * selectors use the ensemble's and the pool's label and nothing else.
//!
//! Not here: the names of pods (`desired`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use crate::operator::desired::{Desired, Pool};

/// Label: the ensemble.
pub const ENSEMBLE: &str = "quorate.dev/ensemble";
/// Label: voters or observers.
pub const POOL: &str = "quorate.dev/pool";
/// Label of a claim whose member has left.
pub const DETACHED: &str = "quorate.dev/detached";
/// Annotation of a pod: the template that it was made from.
pub const TEMPLATE_HASH: &str = "quorate.dev/template-hash";
/// Annotation of a pod: the version asked for.
pub const MEMBER_VERSION: &str = "quorate.dev/version";
/// Annotation of a StatefulSet: the last template that every member ran well on, as JSON.
pub const STABLE_TEMPLATE: &str = "quorate.dev/stable-template";

/// The secret with the identity.
pub fn identity_name(desired: &Desired) -> String {
    format!("{}-identity", desired.name)
}

/// The config map with the settings.
pub fn config_name(desired: &Desired) -> String {
    format!("{}-config", desired.name)
}

/// The headless service.
pub fn peers_name(desired: &Desired) -> String {
    format!("{}-peers", desired.name)
}

/// The clients' service.
pub fn client_name(desired: &Desired) -> String {
    format!("{}-client", desired.name)
}

/// The pods' account.
pub(super) fn account_name(desired: &Desired) -> String {
    format!("{}-server", desired.name)
}

/// The disruption budget.
pub fn budget_name(desired: &Desired) -> String {
    desired.name.clone()
}

/// Labels of every object.
pub(super) fn labels(desired: &Desired) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "quorate"),
        ("app.kubernetes.io/instance", &desired.name),
        ("app.kubernetes.io/managed-by", "quorate-operator"),
        (ENSEMBLE, &desired.name),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// Labels of a pool's objects and pods.
pub(super) fn pool_labels(desired: &Desired, pool: Pool) -> BTreeMap<String, String> {
    let mut labels = labels(desired);
    labels.insert(POOL.to_owned(), pool.label().to_owned());
    labels
}

/// What selects the pods of a pool.
pub fn selector(desired: &Desired, pool: Pool) -> LabelSelector {
    let labels = [(ENSEMBLE, desired.name.as_str()), (POOL, pool.label())];
    LabelSelector {
        match_labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        match_expressions: None,
    }
}

/// The same as text.
pub fn selector_text(desired: &Desired, pool: Pool) -> String {
    format!("{ENSEMBLE}={},{POOL}={}", desired.name, pool.label())
}

/// Metadata of an object that goes with the resource.
pub(super) fn owned(desired: &Desired, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(desired.namespace.clone()),
        labels: Some(labels(desired)),
        owner_references: Some(vec![owner(desired)]),
        ..ObjectMeta::default()
    }
}

/// The resource as owner.
pub(super) fn owner(desired: &Desired) -> OwnerReference {
    OwnerReference {
        api_version: "quorate.dev/v1alpha1".to_owned(),
        kind: "CoordinationEnsemble".to_owned(),
        name: desired.name.clone(),
        uid: desired.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
