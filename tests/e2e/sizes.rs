//! The scenarios of size: ensembles that are made, grow, shrink, sleep, and get observers.
//!
//! In: a namespace. Out: what was seen, or what was not.
//!
//! Always true:
//! * whatever changes the membership happens under clients that never stop.
//!
//! Not here: templates (`rollouts`), what is lost by accident (`losses`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::Width;
use crate::checker::Checker;
use crate::cluster::{self, ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::harm;
use crate::report::Report;
use crate::scenarios::{READY, ROLLOUT, SMALL, SOON, WITH_LOG, address};

/// How long nothing may be written.
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// The same in CI.
const ONE_MINUTE: Duration = Duration::from_secs(60);

/// E-01: one manifest gives an ensemble; then nothing is written any more.
pub async fn create(space: &str, width: Width, report: &Report) -> anyhow::Result<()> {
    let (sizes, span) = match width {
        Width::Share => (vec![(3, SMALL)], ONE_MINUTE),
        Width::All => (vec![(3, SMALL), (1, SMALL), (5, SMALL), (3, WITH_LOG)], TEN_MINUTES),
    };
    let mut waits = JoinSet::new();
    for (number, (replicas, storage)) in sizes.into_iter().enumerate() {
        let (space, report) = (format!("{space}-{number}"), report.clone());
        cluster::namespace(&space).await?;
        let spec = format!("{{replicas: {replicas}, {storage}}}");
        make(&space, &spec, &report).await.with_context(|| spec.clone())?;
        waits.spawn(async move {
            rest(&space, span).await.with_context(|| spec.clone())?;
            report.say(format!("{spec}: nothing was written in {} s", span.as_secs()));
            cluster::gone(&space, SOON).await.map(drop)
        });
    }
    while let Some(ended) = waits.join_next().await {
        ended.context("a wait's task")??;
    }
    Ok(())
}

/// Ready without a restart, with an id, without its token; and the same manifest once more.
async fn make(space: &str, spec: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, spec).await?;
    let time = wait(space, "ens/main", "condition=Ready", READY).await?;
    report.say(format!("{spec}: ready after {:.1} s", time.as_secs_f64()));
    let main = json(space, &["ens/main"]).await?;
    ensure!(main["status"]["ensembleId"].as_str().is_some_and(|id| id.len() == 36), "no ensemble id");
    let secret = json(space, &["secret/main-identity"]).await?;
    ensure!(secret["data"].get("bootstrapToken").is_none(), "the bootstrap token is still there");
    for pod in pods(space).await? {
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        ensure!(*restarts == 0, "{} restarted", pod["metadata"]["name"]);
    }
    ensemble(space, spec).await
}

/// Nothing of the ensemble is written for a while.
async fn rest(space: &str, span: Duration) -> anyhow::Result<()> {
    // Endpoints and claims settle for a moment after the pods.
    until("no object changes", SOON, || async {
        let first = cluster::versions(space).await?;
        let second = cluster::versions(space).await?;
        Ok((first == second).then_some(()))
    })
    .await?;
    let before = cluster::versions(space).await?;
    let look = || async {
        let now = cluster::versions(space).await?;
        Ok(now.iter().find(|version| !before.contains(version)).cloned())
    };
    cluster::nothing(span, look).await.context("a settled ensemble was written to")
}

/// The ensemble and its disks go.
async fn forget(space: &str) -> anyhow::Result<()> {
    kubectl(space, &["delete", "ens/main", "--cascade=foreground", "--timeout=120s"]).await?;
    kubectl(space, &["delete", "pvc,secret", "--all", "--timeout=120s"]).await.map(drop)
}

async fn scale(space: &str, replicas: u32) -> anyhow::Result<()> {
    kubectl(space, &["scale", "ens/main", &format!("--replicas={replicas}")]).await.map(drop)
}

/// Waits until the committed configuration has this many voters and all is well.
async fn voters(space: &str, count: u32) -> anyhow::Result<()> {
    wait(space, "ens/main", &format!("jsonpath={{.status.votingMembers}}={count}"), SOON).await?;
    settled(space, SOON).await.map(drop)
}

/// E-02: `kubectl scale` under load.
pub async fn grow(space: &str, width: Width, report: &Report) -> anyhow::Result<()> {
    let storages: &[&str] = match width {
        Width::Share => &[SMALL],
        Width::All => &[SMALL, WITH_LOG],
    };
    for storage in storages {
        ensemble(space, &format!("{{replicas: 3, {storage}}}")).await?;
        wait(space, "ens/main", "condition=Ready", READY).await?;
        let checker = Checker::start(&address(space).await?).await?;
        scale(space, 5).await?;
        voters(space, 5).await?;
        let verdict = checker.end().await?;
        report.judge(&verdict)?;
        let seen = &verdict.memberships;
        ensure!(seen.iter().all(|(voters, _)| *voters != 4), "four voters: {seen:?}");
        ensure!(seen.contains(&(3, 2)) && seen.contains(&(5, 0)), "not observers first: {seen:?}");
        forget(space).await?;
    }
    Ok(())
}

/// E-04: the leader is among those who leave.
pub async fn shrink_with_leader(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 5, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    // The highest id leads a fresh ensemble.
    wait(space, "ens/main", "jsonpath={.status.quorum.leaderPod}=main-4", SOON).await?;
    let checker = Checker::start(&address(space).await?).await?;
    scale(space, 3).await?;
    voters(space, 3).await?;
    report.judge(&checker.end().await?)?;
    let claims = kubectl(space, &["get", "pvc", "-l", "quorate.dev/detached=true", "-o", "name"]).await?;
    ensure!(claims.lines().count() == 2, "detached claims: {claims}");
    Ok(())
}

/// E-05: 3 → 1 → 3 with kept disks, which must not make a quorum of their own.
pub async fn shrink_and_grow(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let disks = disks(space).await?;
    let checker = Checker::start(&address(space).await?).await?;
    for size in [1, 3] {
        scale(space, size).await?;
        voters(space, size).await?;
    }
    let verdict = checker.end().await?;
    report.judge(&verdict)?;
    let seen = &verdict.memberships;
    ensure!(seen.iter().all(|(voters, _)| *voters != 2), "there was a configuration of two voters: {seen:?}");
    ensure!(self::disks(space).await? == disks, "a disk was not kept");
    Ok(())
}

/// E-40: to zero and back at the same size, then after a pending change of it, which must not delete a disk.
pub async fn hibernate(space: &str, report: &Report) -> anyhow::Result<()> {
    for (retention, size) in [("{}", 3), ("{whenScaled: Delete}", 5)] {
        let spec = format!("{{replicas: 3, storage: {{data: {{size: 1Gi}}, retention: {retention}}}}}");
        ensemble(space, &spec).await?;
        wait(space, "ens/main", "condition=Ready", READY).await?;
        let before = disks(space).await?;
        let verdict = Checker::start(&address(space).await?).await?.end().await?;
        scale(space, 0).await?;
        wait(space, "ens/main", "jsonpath={.status.phase}=Hibernated", SOON).await?;
        until("no pod is left", SOON, || async { Ok(pods(space).await?.is_empty().then_some(())) }).await?;
        ensure!(disks(space).await? == before, "a disk did not survive the sleep");
        scale(space, size).await?;
        voters(space, size).await?;
        verdict.verify(&address(space).await?).await.context("after the sleep")?;
        let after = disks(space).await?;
        let kept = before.iter().all(|(name, uid)| after.get(name) == Some(uid));
        ensure!(kept && after.len() == size as usize, "disks before {before:?} and after {after:?}");
        report.say(format!("retention {retention}: whole again with {size} members"));
        forget(space).await?;
    }
    Ok(())
}

/// The claims' uids by name.
async fn disks(space: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let list = json(space, &["pvc"]).await?;
    let claims = list["items"].as_array().into_iter().flatten();
    Ok(claims
        .map(|claim| (claim["metadata"]["name"].to_string(), claim["metadata"]["uid"].to_string()))
        .collect())
}

/// Observers come, are more, are upgraded before anybody who votes, lose a disk, and go.
pub async fn observers(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    for count in [1, 2] {
        patch(space, &format!("{{\"observers\": {{\"replicas\": {count}}}}}")).await?;
        ready_observers(space, count).await?;
    }
    // One that only ends comes back with what it had; one whose pod goes has lost its disk.
    harm::kill_server(space, "main-observers-0").await?;
    until("the observer was started again", SOON, || async {
        let pod = json(space, &["pod/main-observers-0"]).await?;
        Ok((pod["status"]["containerStatuses"][0]["restartCount"] == 1).then_some(()))
    })
    .await?;
    ready_observers(space, 2).await?;
    kubectl(space, &["delete", "pod/main-observers-1"]).await?;
    ready_observers(space, 2).await?;
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    settled(space, ROLLOUT).await?;
    let (first, last): (Vec<Value>, Vec<Value>) = pods(space)
        .await?
        .into_iter()
        .partition(|pod| pod["metadata"]["labels"]["quorate.dev/pool"] == "observers");
    let made = |pod: &Value| pod["metadata"]["creationTimestamp"].to_string();
    let is_in_order = first.iter().map(made).max() <= last.iter().map(made).min();
    ensure!(first.len() == 2 && is_in_order, "an observer was replaced after a voter");
    patch(space, r#"{"observers": {"replicas": 0}}"#).await?;
    wait(space, "ens/main", "jsonpath={.status.observerReplicas}=0", SOON).await?;
    settled(space, SOON).await?;
    ensure!(pods(space).await?.len() == 3, "an observer's pod is left");
    let verdict = checker.end().await?;
    report.judge(&verdict)?;
    let seen = &verdict.memberships;
    ensure!(seen.iter().all(|(voters, _)| *voters == 3), "the voters were touched: {seen:?}");
    ensure!([1, 2, 0].iter().all(|count| seen.contains(&(3, *count))), "not all were seen: {seen:?}");
    Ok(())
}

async fn ready_observers(space: &str, count: u32) -> anyhow::Result<()> {
    wait(space, "ens/main", &format!("jsonpath={{.status.readyObservers}}={count}"), SOON).await?;
    settled(space, SOON).await.map(drop)
}
