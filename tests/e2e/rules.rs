//! E-35: one bad object for each rule, and the words with which the API server refuses it.
//!
//! In: a namespace. Out: rules whose refusal is missing or says something else.
//!
//! Always true:
//! * every rule of the definition has an object here.
//!
//! Not here: the rules (`operator::crd`).

use std::collections::BTreeSet;

use anyhow::{bail, ensure};
use quorate::operator::crd::RULES;

use crate::cluster::{ensemble, kubectl, run};

/// A rule, the spec that stands before (empty for none), and the one that breaks the rule.
const CASES: &[(&str, &str, &str)] = &[
    ("R02", "", "{membership: {myidOffset: 60}}"),
    ("R05", "", "{replicas: 3, disruption: {maxUnavailable: 2}}"),
    ("R08", "{membership: {myidOffset: 1}}", "{membership: {myidOffset: 2}}"),
    ("R09", "{observers: {myidOffset: 64}}", "{observers: {myidOffset: 65}}"),
    ("R16", "", "{storage: {data: {type: Ephemeral}}}"),
    ("R17", "{storage: {dataLog: {size: 1Gi}}}", "{storage: {dataLog: null}}"),
    (
        "R18",
        "{storage: {allowEphemeralVoters: true}}",
        "{storage: {allowEphemeralVoters: true, data: {type: Ephemeral}}}",
    ),
    ("R19", "{storage: {data: {storageClassName: a}}}", "{storage: {data: {storageClassName: b}}}"),
    ("R19", "{storage: {dataLog: {storageClassName: a}}}", "{storage: {dataLog: {storageClassName: null}}}"),
    ("R20", "{storage: {data: {size: 2Gi}}}", "{storage: {data: {size: 1Gi}}}"),
    ("R20", "{storage: {dataLog: {size: 1Gi}}}", "{storage: {dataLog: {size: 1000M}}}"),
    ("R21", "", "{config: {initLimit: 4, syncLimit: 5}}"),
    ("R22", "", "{config: {minSessionTimeout: 9000, maxSessionTimeout: 8000}}"),
    ("R23", "", "{config: {minSessionTimeout: 3000}}"),
    ("R24", "", "{config: {additional: {dataDir: /x}}}"),
    ("R25", "", "{config: {additional: {quorate.adminTokenFile: /x}}}"),
    ("R26", "", "{network: {ports: {client: 2888}}}"),
];

/// Every rule refuses what it should, in its own words.
pub async fn every_rule(space: &str) -> anyhow::Result<()> {
    // Nothing is to be started for these.
    let mut seen: BTreeSet<&str> = BTreeSet::from(["R01"]);
    let name =
        "apiVersion: quorate.dev/v1alpha1\nkind: CoordinationEnsemble\nmetadata: {name: 1main}\nspec: {}\n";
    let refused = run("kubectl", &["--namespace", space, "apply", "--dry-run=server", "-f", "-"], name).await;
    says("R01", refused.map(drop))?;
    for (rule, before, spec) in CASES {
        if !before.is_empty() {
            let paused = before.trim_end_matches('}').len();
            let (inner, end) = before.split_at(paused);
            ensemble(space, &format!("{{replicas: 0, {}{end}", &inner[1..])).await?;
        }
        says(rule, ensemble(space, spec).await)?;
        if !before.is_empty() {
            kubectl(space, &["delete", "ens/main"]).await?;
        }
        seen.insert(rule);
    }
    let missing: Vec<&str> = RULES.iter().map(|rule| rule.id).filter(|id| !seen.contains(id)).collect();
    ensure!(missing.is_empty(), "rules without an object: {missing:?}");
    ensemble(space, "{replicas: 0}").await?;
    let scaled = kubectl(space, &["scale", "ens/main", "--replicas=12"]).await;
    ensure!(scaled.is_err(), "twelve members were accepted");
    Ok(())
}

fn says(id: &str, refused: anyhow::Result<()>) -> anyhow::Result<()> {
    let message = RULES.iter().find(|rule| rule.id == id).map(|rule| rule.message).unwrap_or_default();
    match refused {
        Ok(()) => bail!("{id}: the object was accepted"),
        Err(error) => {
            ensure!(error.to_string().contains(message), "{id}: expected {message:?}, and it was {error:#}");
            Ok(())
        }
    }
}
