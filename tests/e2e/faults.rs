//! The scenarios whose fault is in what surrounds the members: memory, deletion, foreign users, the operator's install.
//!
//! In: a namespace. Out: what was seen, or what was not.
//!
//! Always true:
//! * what was stopped runs again at the end, also after a failure.
//!
//! Not here: changes of the spec (`sizes`, `rollouts`), what is lost by accident (`losses`).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde::Deserialize as _;
use serde_json::Value;
use zookeeper_client::{Acls, CreateMode, Error};

use crate::checker::{Checker, connect};
use crate::cluster::{self, ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::report::Report;
use crate::scenarios::{READY, SOON, address};

/// By then an ensemble whose memory was raised serves again.
const MENDED: Duration = Duration::from_secs(60);

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
pub async fn memory(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}, resources: {limits: {memory: 48Mi}}}")
        .await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let acknowledged = fill(space).await?;
    wait(space, "ens/main", "condition=QuorumLost", SOON).await?;
    ensure!(dead(&pods(space).await?) >= 2, "the quorum was lost by something else than memory");
    patch(space, r#"{"resources": {"limits": {"memory": "1Gi"}}}"#).await?;
    let time = wait(space, "ens/main", "condition=Available", MENDED).await?;
    report.say(format!("served {:.1} s after the limit was raised", time.as_secs_f64()));
    settled(space, SOON).await?;
    let client = connect(&address(space).await?).await?;
    client.sync("/").await.context("get level")?;
    for number in acknowledged {
        let stat = client.check_stat(&format!("/large-{number}")).await?;
        ensure!(stat.is_some_and(|stat| stat.data_length == 512 * 1024), "node {number} is missing");
    }
    Ok(())
}

/// Writes until two members are killed for their memory; returns the numbers of the nodes that were acknowledged.
async fn fill(space: &str) -> anyhow::Result<Vec<u32>> {
    let address = address(space).await?;
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let data = vec![7; 512 * 1024];
    let mut client = connect(&address).await?;
    let mut acknowledged = Vec::new();
    for number in 0..400 {
        match client.create(&format!("/large-{number}"), &data, &options).await {
            Ok(_) => acknowledged.push(number),
            // Without its session a client has to begin anew; without a quorum it cannot.
            Err(Error::SessionExpired | Error::NoHosts | Error::ClientClosed) => {
                match connect(&address).await {
                    Ok(another) => client = another,
                    Err(_) => break,
                }
            }
            // Its member died: what became of this node is not known, and another member takes the next one.
            Err(_) => {}
        }
        if dead(&pods(space).await?) >= 2 {
            break;
        }
    }
    ensure!(!acknowledged.is_empty(), "nothing was written before the members died");
    Ok(acknowledged)
}

/// How many members were killed for their memory.
fn dead(pods: &[Value]) -> usize {
    let is_dead = |pod: &&Value| {
        let status = &pod["status"]["containerStatuses"][0];
        ["state", "lastState"].iter().any(|state| status[*state]["terminated"]["reason"] == "OOMKilled")
    };
    pods.iter().filter(is_dead).count()
}

/// E-26: the resource, and a namespace, go while no operator runs; disks stay where the resource says so.
pub async fn deletion(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let verdict = Checker::start(&address(space).await?).await?.end().await?;
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
    settled(space, READY).await?;
    verdict.verify(&address(space).await?).await
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
pub async fn restricted(space: &str, report: &Report) -> anyhow::Result<()> {
    let level = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(space, &["label", "namespace", space, level]).await?;
    ensemble(space, "{replicas: 3, image: {tag: anyone}, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    for pod in pods(space).await? {
        let user = &pod["spec"]["securityContext"]["runAsUser"];
        ensure!(user.is_null(), "the pod asks for user {user}");
    }
    report.judge(&Checker::start(&address(space).await?).await?.end().await?)
}

/// E-00: `helm uninstall` leaves ensembles running; the plain manifests serve them as the chart did.
pub async fn install(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 1, image: {tag: dev}, storage: {data: {size: 1Gi}}}").await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    cluster::run("helm", &["uninstall", "quorate", "--namespace", "quorate-system", "--wait"], "").await?;
    let plain = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/quorate-operator.yaml");
    same_as_chart(plain).await?;
    let applied = serve_by_plain_manifests(space, plain).await;
    // All but the definition and the namespace, which would take the ensembles along.
    let kinds = "deployment,clusterrole,clusterrolebinding,role,rolebinding,serviceaccount";
    let label = "app.kubernetes.io/name=quorate-operator";
    kubectl("quorate-system", &["delete", kinds, "-l", label, "--timeout=60s"]).await?;
    crate::install().await?;
    applied?;
    report.judge(&checker.end().await?)
}

/// The plain manifests are what `helm` itself makes of the chart with its default values, and the namespace.
async fn same_as_chart(plain: &str) -> anyhow::Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/quorate");
    let arguments = ["template", "quorate", chart, "--include-crds", "--namespace", "quorate-system"];
    let rendered = objects(&cluster::run("helm", &arguments, "").await?)?;
    let mut manifests = objects(&std::fs::read_to_string(plain).with_context(|| plain.to_owned())?)?;
    let namespaces = manifests.extract_if(.., |object| object["kind"] == "Namespace").count();
    ensure!(namespaces == 1, "{namespaces} namespaces are in the plain manifests");
    ensure!(rendered.len() == manifests.len(), "helm makes {} objects", rendered.len());
    for (ours, theirs) in manifests.iter().zip(&rendered) {
        ensure!(ours == theirs, "{} {} is not as helm makes it", ours["kind"], ours["metadata"]["name"]);
    }
    Ok(())
}

/// The objects of a file, by kind and name.
fn objects(yaml: &str) -> anyhow::Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(yaml).map(Value::deserialize);
    let mut objects = documents.collect::<Result<Vec<Value>, _>>().context("read YAML")?;
    objects.retain(|object| !object.is_null());
    objects.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
    Ok(objects)
}

async fn serve_by_plain_manifests(space: &str, plain: &str) -> anyhow::Result<()> {
    ensure!(pods(space).await?.len() == 1, "the ensemble went with the chart");
    kubectl("quorate-system", &["apply", "-f", plain]).await?;
    wait("quorate-system", "deployment/quorate-operator", "condition=Available", SOON).await?;
    kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    settled(space, SOON).await.map(drop)
}
