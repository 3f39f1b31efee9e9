//! The kinds of objects that are made, and when one that exists is as it should be.
//!
//! In: objects as built, and as the API server holds them. Out: equal or not.
//!
//! Always true:
//! * an object that the API server filled up with its defaults still counts as what was sent;
//! * a field that is left out of what is built is noticed through the hash of what was sent.
//!
//! Not here: what an object holds (`build`), sending it (`apply`).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use sha1::{Digest, Sha1};

use super::quantity;

/// Holds the hash of what was sent.
pub const APPLIED_HASH: &str = "quorate.dev/applied-hash";

/// An object to be made or changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// The pods' account.
    ServiceAccount(ServiceAccount),
    /// The identity.
    Secret(Secret),
    /// The settings.
    ConfigMap(ConfigMap),
    /// The peers' or the clients' service.
    Service(Service),
    /// A pool of servers.
    StatefulSet(Box<StatefulSet>),
    /// The disruption budget.
    Budget(PodDisruptionBudget),
    /// Labels of a claim that the StatefulSet made.
    Claim(PersistentVolumeClaim),
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// ServiceAccount.
    ServiceAccount,
    /// Secret.
    Secret,
    /// ConfigMap.
    ConfigMap,
    /// Service.
    Service,
    /// StatefulSet.
    StatefulSet,
    /// PodDisruptionBudget.
    Budget,
    /// PersistentVolumeClaim.
    Claim,
}

/// Which object, within the ensemble's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Objects that exist, as JSON.
pub type Objects = BTreeMap<ObjectKey, Value>;

impl Object {
    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        let (kind, meta) = match self {
            Object::ServiceAccount(object) => (Kind::ServiceAccount, &object.metadata),
            Object::Secret(object) => (Kind::Secret, &object.metadata),
            Object::ConfigMap(object) => (Kind::ConfigMap, &object.metadata),
            Object::Service(object) => (Kind::Service, &object.metadata),
            Object::StatefulSet(object) => (Kind::StatefulSet, &object.metadata),
            Object::Budget(object) => (Kind::Budget, &object.metadata),
            Object::Claim(object) => (Kind::Claim, &object.metadata),
        };
        ObjectKey { kind, name: meta.name.clone().expect("every object is built with a name") }
    }

    /// What is sent.
    pub fn to_json(&self) -> Value {
        let json = match self {
            Object::ServiceAccount(object) => serde_json::to_value(object),
            Object::Secret(object) => serde_json::to_value(object),
            Object::ConfigMap(object) => serde_json::to_value(object),
            Object::Service(object) => serde_json::to_value(object),
            Object::StatefulSet(object) => serde_json::to_value(object),
            Object::Budget(object) => serde_json::to_value(object),
            Object::Claim(object) => serde_json::to_value(object),
        };
        json.expect("an object is plain data")
    }

    /// The object with the hash of what it holds. A secret's is left out: its data is compared whole.
    pub fn stamped(mut self) -> Object {
        let hash = hash(&self.to_json());
        let meta: &mut ObjectMeta = match &mut self {
            Object::ServiceAccount(object) => &mut object.metadata,
            Object::Secret(_) | Object::Claim(_) => return self,
            Object::ConfigMap(object) => &mut object.metadata,
            Object::Service(object) => &mut object.metadata,
            Object::StatefulSet(object) => &mut object.metadata,
            Object::Budget(object) => &mut object.metadata,
        };
        meta.annotations.get_or_insert_default().insert(APPLIED_HASH.to_owned(), hash);
        self
    }

    /// Whether what exists is as this object says.
    pub fn is_met_by(&self, existing: &Value) -> bool {
        let wanted = self.to_json();
        let same_data = match self {
            Object::Secret(_) => {
                let owner = "/metadata/ownerReferences";
                let is_owned = |object: &Value| object.pointer(owner).is_some_and(|owners| !is_empty(owners));
                wanted.get("data") == existing.get("data") && is_owned(&wanted) == is_owned(existing)
            }
            Object::ServiceAccount(_)
            | Object::ConfigMap(_)
            | Object::Service(_)
            | Object::StatefulSet(_)
            | Object::Budget(_)
            | Object::Claim(_) => true,
        };
        same_data && contains(existing, &wanted)
    }
}

/// Ten hexadecimal digits that stand for a value.
pub fn hash(value: &Value) -> String {
    let digest = Sha1::digest(value.to_string().as_bytes());
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `existing` holds every field of `wanted` with its value.
fn contains(existing: &Value, wanted: &Value) -> bool {
    match (existing, wanted) {
        (Value::Object(existing), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| match existing.get(field) {
                Some(existing) => contains(existing, wanted),
                // The API server leaves out what is empty.
                None => is_empty(wanted),
            })
        }
        (Value::Array(existing), Value::Array(wanted)) => {
            existing.len() == wanted.len() && existing.iter().zip(wanted).all(|(a, b)| contains(a, b))
        }
        (Value::String(a), Value::String(b)) => {
            a == b || quantity::parse(a).is_some_and(|amount| Some(amount) == quantity::parse(b))
        }
        (a, b) => a == b,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_api_server_do_not_count_as_a_change() {
        let wanted =
            json!({"ports": [{"port": 1}], "limits": {"memory": "1024Mi"}, "none": [], "off": false});
        let existing =
            json!({"ports": [{"port": 1, "protocol": "TCP"}], "limits": {"memory": "1Gi"}, "uid": "x"});
        assert!(contains(&existing, &wanted));
        assert!(!contains(&existing, &json!({"ports": []})));
        assert!(!contains(&existing, &json!({"limits": {"memory": "2Gi"}})));
    }

    #[test]
    fn a_field_that_is_no_longer_sent_is_noticed() {
        let with = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let metadata =
                ObjectMeta { name: Some("a".to_owned()), labels: Some(labels), ..ObjectMeta::default() };
            Object::ServiceAccount(ServiceAccount { metadata, ..ServiceAccount::default() }).stamped()
        };
        let existing = with(&[("a", "1"), ("b", "2")]).to_json();
        assert!(with(&[("a", "1"), ("b", "2")]).is_met_by(&existing));
        assert!(!with(&[("a", "1")]).is_met_by(&existing));
    }
}
