//! The resource `CoordinationEnsemble`: spec, status, schema, rules, columns.
//!
//! In: nothing. Out: the types, and the CustomResourceDefinition as YAML.
//!
//! Always true:
//! * the YAML is the same bytes at every run; `crds/` holds it;
//! * every rule of `rules` stands in the schema.
//!
//! Not here: what the spec means for the servers (`validate`), how the status comes about (`status`).

mod placement;
mod rules;
mod settings;
#[allow(clippy::duplicated_attributes, reason = "each printed column is one attribute")]
mod spec;
mod status;
mod storage;

pub use placement::{ClientServiceSpec, NetworkSpec, PodSpec, PortsSpec, ServiceType, Spread, SpreadSpec};
pub use rules::{RULES, Rule};
pub use settings::{ConfigSpec, LogFormat, LogLevel, LoggingSpec};
pub use spec::{
    CatchUpSpec, CoordinationEnsemble, DisruptionSpec, EnsembleSpec, EvenReplicas, ImageSpec, MembershipSpec,
    ObserversSpec, PullPolicy, RolloutMode, RolloutSpec, Span, UnhealthyPodEvictionPolicy,
};
pub use status::{
    EffectiveStatus, EndpointsStatus, EnsembleStatus, MemberStatus, OperationStatus, QuorumStatus,
    RolloutStatus, StorageStatus, VersionStatus,
};
pub use storage::{Retention, RetentionSpec, StorageSpec, VolumeSpec, VolumeType};

use kube::CustomResourceExt;
use serde_json::{Value, json};

/// The CustomResourceDefinition as YAML, byte-stable.
pub fn yaml() -> String {
    let mut crd = serde_json::to_value(CoordinationEnsemble::crd()).expect("a definition is plain data");
    let schema = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("a definition with one version has a schema");
    rules::add_to(schema);
    drop_number_formats(schema);
    // A status is written whole; a default would stand in objects that nobody wrote it to.
    let status = schema.pointer_mut("/properties/status").expect("the resource has a status");
    drop_defaults(status);
    // The key of a list-map is required.
    status["properties"]["members"]["items"]["required"] = json!(["id"]);
    format!(
        "# Written by `quorate crds`. Do not edit.\n{}",
        serde_yaml::to_string(&crd).expect("a definition is plain data")
    )
}

/// Drops the formats that the API server does not know; it would warn about each.
fn drop_number_formats(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let unknown =
                |format: &Value| matches!(format.as_str(), Some("uint8" | "uint16" | "uint32" | "uint64"));
            if fields.get("format").is_some_and(unknown) {
                fields.remove("format");
            }
            fields.values_mut().for_each(drop_number_formats);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_number_formats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Drops the defaults below a schema.
fn drop_defaults(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        fields.remove("default");
        fields.values_mut().for_each(drop_defaults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_in_crds_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/coordinationensembles.yaml");
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(path, yaml()).expect("crds/ can be written");
        }
        assert_eq!(std::fs::read_to_string(path).expect("crds/ holds it"), yaml(), "run `quorate crds`");
    }

    #[test]
    fn an_empty_spec_has_every_default_that_a_rule_reads() {
        let spec: EnsembleSpec = serde_json::from_str("{}").expect("every field has a default");
        assert_eq!(spec, EnsembleSpec { replicas: 3, ..EnsembleSpec::default() });
        assert_eq!((spec.membership.myid_offset, spec.observers.myid_offset), (1, 64));
        assert_eq!((spec.config.tick_time, spec.config.init_limit, spec.config.sync_limit), (2000, 10, 5));
        assert_eq!(spec.storage.data.size, "10Gi");
    }

    #[test]
    fn every_rule_stands_in_the_definition() {
        let text = yaml();
        for rule in RULES {
            assert!(text.contains(rule.message), "{} is missing", rule.id);
        }
    }
}
