//! Runs every file of `tests/scripts/build`: a spec, and every object that a first plan makes of it.
//!
//! In: scripts. Out: the objects as YAML, compared with what stands below `---`; `UPDATE_GOLDENFILES=1` writes them.
//!
//! Always true:
//! * a template's hash changes only with a change that is meant: it would restart every ensemble there is.
//!
//! Not here: when an object is written again (`tests/scripts/plan`).

use std::collections::BTreeMap;
use std::fs;

use quorate::operator::crd::{CoordinationEnsemble, EnsembleSpec, EnsembleStatus};
use quorate::operator::desired::VolumeGroup;
use quorate::operator::identity::Fresh;
use quorate::operator::observed::{IdentityFact, Memory, Observed, Orders};
use quorate::operator::plan::{Action, plan};
use quorate::operator::validate::{Defaults, validate};

#[test]
fn every_spec_gives_the_objects_of_its_script() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/build");
    let mut scripts = 0;
    for entry in fs::read_dir(folder).expect("the scripts are there") {
        let path = entry.expect("a folder can be read").path();
        let script = fs::read_to_string(&path).expect("a script can be read");
        let (spec, told) = script.split_once("---\n").unwrap_or((&script, ""));
        let objects = build(spec);
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            fs::write(&path, format!("{spec}---\n{objects}")).expect("a script can be written");
        } else {
            assert!(told == objects, "{} differs: run with UPDATE_GOLDENFILES=1 and look", path.display());
        }
        scripts += 1;
    }
    assert!(scripts >= 2, "scripts are missing");
}

fn build(spec: &str) -> String {
    let defaults = Defaults {
        repository: "quorate".to_owned(),
        tag: "1".to_owned(),
        pull_policy: None,
        // Not this program's own: a new version of it changes nothing here.
        version: "1.0.0".to_owned(),
        volume_group: VolumeGroup::Set,
    };
    let spec: EnsembleSpec = serde_yaml::from_str(spec).expect("a script begins with a spec");
    let mut resource = CoordinationEnsemble::new("main", spec);
    resource.metadata.namespace = Some("coord".to_owned());
    resource.metadata.uid = Some("0b7e6d7c-0000-4000-8000-000000000000".to_owned());
    let desired = validate(&resource, &defaults).expect("a script's spec is valid");
    let observed = Observed {
        objects: BTreeMap::new(),
        identity: IdentityFact::Absent,
        fresh: Fresh::new(&[1; 64]),
        sets: BTreeMap::new(),
        pods: Vec::new(),
        claims: Vec::new(),
        nodes: BTreeMap::new(),
        missing_classes: Vec::new(),
        reports: BTreeMap::new(),
        status: EnsembleStatus::default(),
        orders: Orders::default(),
        memory: Memory::default(),
    };
    let objects = plan(&desired, "", &observed, 0).actions.into_iter().map(|action| match action {
        Action::Create(object) | Action::Apply(object) => {
            serde_yaml::to_string(&object.to_json()).expect("an object is plain data")
        }
        other => panic!("a first plan only makes objects: {other:?}"),
    });
    objects.collect::<Vec<_>>().join("---\n")
}
