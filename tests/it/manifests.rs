//! The chart, the plain manifests and the definition agree.
//!
//! In: `charts/`, `manifests/`, `crds/`. Out: a difference is a failure; `UPDATE_GOLDENFILES=1` writes what follows from the chart.
//!
//! Always true:
//! * the plain manifests are the chart with its default values in the namespace `quorate-system`;
//! * every sample is a resource that the operator serves.
//!
//! Not here: a cluster that takes them (`e2e`), `helm` itself.

use std::fs;
use std::path::{Path, PathBuf};

use quorate::operator::crd::CoordinationEnsemble;
use quorate::operator::desired::VolumeGroup;
use quorate::operator::validate::{Defaults, validate};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: quorate-system\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn same(path: &str, wanted: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&path, wanted).expect("the project's files can be written");
    }
    assert!(
        read(&path) == wanted,
        "{} is not up to date: run the tests with UPDATE_GOLDENFILES=1",
        path.display()
    );
}

/// What `helm template` makes of the one template: it uses nothing but these expressions.
fn rendered() -> String {
    let template = read(&root().join("charts/quorate/templates/operator.yaml"));
    let (head, body) = template.split_once("-}}\n").expect("the template begins with its image");
    assert!(head.starts_with("{{- $image := "), "{head}");
    let body = body
        .replace("{{ .Release.Namespace }}", "quorate-system")
        .replace("{{ $image | quote }}", "\"quorate:0.1.0\"")
        .replace("{{ .Values.image.pullPolicy }}", "IfNotPresent");
    assert!(!body.contains("{{"), "an expression that is not rendered here: {body}");
    body
}

#[test]
fn the_chart_carries_the_definition() {
    same("charts/quorate/crds/coordinationensembles.yaml", &quorate::operator::crds());
}

#[test]
fn the_plain_manifests_are_the_rendered_chart() {
    let note = "# Written from charts/quorate by its test. Do not edit.\n";
    let text = format!("{note}{NAMESPACE}---\n{}---\n{}", quorate::operator::crds(), rendered());
    same("manifests/quorate-operator.yaml", &text);
}

#[test]
fn every_sample_is_served() {
    let defaults = Defaults {
        repository: "quorate".to_owned(),
        tag: "0.1.0".to_owned(),
        pull_policy: None,
        version: "0.1.0".to_owned(),
        volume_group: VolumeGroup::Set,
    };
    let mut samples = 0;
    for entry in fs::read_dir(root().join("manifests")).expect("manifests/ is there") {
        let path = entry.expect("a directory can be read").path();
        if path.file_name().is_some_and(|name| name == "quorate-operator.yaml") {
            continue;
        }
        let sample: CoordinationEnsemble =
            serde_yaml::from_str(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        validate(&sample, &defaults).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        samples += 1;
    }
    assert!(samples >= 3, "samples are missing");
}
