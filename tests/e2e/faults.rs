//! The scenarios whose fault is not a change of the spec: memory, everything at once, deletion, foreign users.
//!
//! In: a namespace. Out: what was seen, or what was not.
//!
//! Always true:
//! * what was stopped runs again at the end, also after a failure.
//!
//! Not here: changes of the spec (`scenarios`).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde_json::Value;

use crate::checker::{Checker, connect};
use crate::cluster::{self, ensemble, json, kube, kubectl, patch, pods, settled, until, wait};
use crate::scenarios::{address, judge};

const READY: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(180);

/// Tells a leader to hand over.
pub async fn transfer(space: &str, leader: &str, to: &Value) -> anyhow::Result<()> {
    let pod = json(space, &[&format!("pod/{leader}")]).await?;
    let host = pod["status"]["podIP"].as_str().context("the leader has an address")?;
    let secret = json(space, &["secret/main-identity"]).await?;
    let token = secret["data"]["adminToken"].as_str().context("the identity has a token")?;
    let token = String::from_utf8(base64::prelude::BASE64_STANDARD.decode(token)?)?;
    let body = serde_json::json!({ "to": to });
    let done = quorate::operator::admin::command(&format!("{host}:8080"), &token, "/v1/transfer", body).await;
    done.context("hand over")
}

/// E-07: a limit that holds the empty tree and no more; the members die until `resources` is mended.
pub async fn memory(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}, resources: {limits: {memory: 48Mi}}}")
        .await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let client = connect(&address(space).await?).await?;
    let options = zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all());
    let data = vec![7; 512 * 1024];
    // Until members die; a write that fails by then is what is asked for.
    for number in 0..400 {
        let written = client.create(&format!("/large-{number}"), &data, &options).await;
        let is_dead = |pod: &Value| {
            pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"] == "OOMKilled"
        };
        let dead = pods(space).await?.iter().filter(|pod| is_dead(pod)).count();
        if dead >= 2 || written.is_err() {
            break;
        }
    }
    wait(space, "ens/main", "condition=QuorumLost", SOON).await?;
    patch(space, r#"{"resources": {"limits": {"memory": "1Gi"}}}"#).await?;
    let time = wait(space, "ens/main", "condition=Available", SOON).await?;
    println!("    served {:.1} s after the limit was raised", time.as_secs_f64());
    settled(space, SOON).await.map(drop)
}

/// E-15: all pods die at once while names do not resolve.
pub async fn all_at_once(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let verdict = Checker::start(&address(space).await?).await?.end().await?;
    kube(&["stop", "coredns"]).await?;
    let killed = kubectl(space, &["delete", "pods", "--all", "--grace-period=0", "--force"]).await;
    let silent = cluster::nothing(Duration::from_secs(120), || async {
        Ok(json(space, &["ens/main"]).await?["status"]["members"].is_null().then_some("no members are told"))
    })
    .await;
    kube(&["resume", "coredns"]).await?;
    killed?;
    silent?;
    let time = settled(space, SOON).await?;
    println!("    whole {:.1} s after names resolved again", time.as_secs_f64());
    let client = connect(&address(space).await?).await?;
    ensure!(client.list_children("/e2e/keys").await?.len() == 8 && verdict.writes > 0, "data is missing");
    Ok(())
}

/// E-26: the resource, and a namespace, go while no operator runs; disks stay where the resource says so.
pub async fn deletion(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let other = format!("{space}-deleted");
    cluster::namespace(&other).await?;
    ensemble(&other, "{replicas: 1, storage: {data: {size: 1Gi}, retention: {whenDeleted: Delete}}}").await?;
    wait(&other, "ens/main", "condition=Ready", READY).await?;
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=0"]).await?;
    let deleted = delete_both(space, &other).await;
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=2"]).await?;
    wait("quorate-system", "deployment/quorate-operator", "condition=Available", SOON).await?;
    deleted?;
    // The identity was kept with the disks: the resource made anew finds its data.
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}}").await?;
    settled(space, READY).await.map(drop)
}

async fn delete_both(space: &str, other: &str) -> anyhow::Result<()> {
    until("no operator runs", SOON, || async {
        let pods = kubectl("quorate-system", &["get", "pods", "-o", "name"]).await?;
        Ok(pods.trim().is_empty().then_some(()))
    })
    .await?;
    for (namespace, kept) in [(space, 3), (other, 0)] {
        kubectl(namespace, &["delete", "ens/main", "--timeout=60s"]).await?;
        until("the pods are gone", SOON, || async { Ok(pods(namespace).await?.is_empty().then_some(())) })
            .await?;
        until("the disks are as asked for", SOON, || async {
            let claims = kubectl(namespace, &["get", "pvc", "-o", "name"]).await?;
            Ok((claims.lines().count() == kept).then_some(()))
        })
        .await?;
    }
    cluster::gone(other, Duration::from_secs(60)).await.map(drop)
}

/// E-29: a namespace that enforces `restricted`, and an image of a user that nobody knows.
pub async fn restricted(space: &str) -> anyhow::Result<()> {
    let level = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(space, &["label", "namespace", space, level]).await?;
    ensemble(space, "{replicas: 3, image: {tag: anyone}, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    for pod in pods(space).await? {
        let user = &pod["spec"]["securityContext"]["runAsUser"];
        ensure!(user.is_null(), "the pod asks for user {user}");
    }
    judge(&Checker::start(&address(space).await?).await?.end().await?)
}

/// E-00: `helm uninstall` leaves ensembles running; the plain manifests serve them as the chart did.
pub async fn install(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 1, image: {tag: dev}, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    cluster::run("helm", &["uninstall", "quorate", "--namespace", "quorate-system", "--wait"], "").await?;
    let plain = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quorate-operator.yaml");
    let applied = serve_by_plain_manifests(space, plain).await;
    // All but the definition and the namespace, which would take the ensembles along.
    let kinds = "deployment,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount";
    let label = "app.kubernetes.io/name=quorate-operator";
    kubectl("quorate-system", &["delete", kinds, "-l", label, "--timeout=60s"]).await?;
    crate::install().await?;
    applied?;
    judge(&checker.end().await?)
}

async fn serve_by_plain_manifests(space: &str, plain: &str) -> anyhow::Result<()> {
    ensure!(pods(space).await?.len() == 1, "the ensemble went with the chart");
    kubectl("quorate-system", &["apply", "-f", plain]).await?;
    wait("quorate-system", "deployment/quorate-operator", "condition=Available", SOON).await?;
    kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    settled(space, SOON).await.map(drop)
}
