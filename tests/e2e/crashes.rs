//! E-08: the operator dies after its n-th write, for every n of a growth and of an upgrade; another one brings it to the same end.
//!
//! In: a namespace. Out: an end that is not the same.
//!
//! Always true:
//! * the cluster's own operator runs again at the end.
//!
//! Not here: killing it (`interposer`).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::checker::Checker;
use crate::cluster::{ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::interposer::{Interposer, NEVER};
use crate::scenarios::{address, judge};

const SOON: Duration = Duration::from_secs(180);
const ROLLOUT: Duration = Duration::from_secs(400);

/// Both, with the cluster's own operator out of the way.
pub async fn at_every_write(space: &str) -> anyhow::Result<()> {
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=0"]).await?;
    let done = with_own_operator(space).await;
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=2"]).await?;
    wait("quorate-system", "deployment/quorate-operator", "condition=Available", SOON).await?;
    done
}

async fn with_own_operator(space: &str) -> anyhow::Result<()> {
    until("no operator runs", SOON, || async {
        let pods = kubectl("quorate-system", &["get", "pods", "-o", "name"]).await?;
        Ok(pods.trim().is_empty().then_some(()))
    })
    .await?;
    let between = Interposer::start().await?;
    let mut helper = between.operator(NEVER)?;
    // Settling is not what is tested; the floor of it is.
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}, rollout: {settleSeconds: 1}}").await?;
    settled(space, SOON).await?;
    helper.kill().await?;
    let growth = every(&between, space, Step::Growth).await.context("growth")?;
    println!("    growth: killed after each of {growth} writes");
    let upgrade = every(&between, space, Step::Upgrade).await.context("upgrade")?;
    println!("    upgrade: killed after each of {upgrade} writes");
    Ok(())
}

#[derive(Clone, Copy)]
enum Step {
    Growth,
    Upgrade,
}

/// Kills at the first write, the second, and so on, until the step ends without a death; returns how many died.
async fn every(between: &Interposer, space: &str, step: Step) -> anyhow::Result<u32> {
    for fatal in 1.. {
        let before = pods(space).await?;
        let checker = Checker::start(&address(space).await?).await?;
        begin(space, step, fatal).await?;
        let victim = between.operator(fatal)?;
        let died = tokio::select! {
            killed = between.kill_at_last_write(victim) => {
                killed?;
                true
            }
            ended = end(space, step) => {
                ended?;
                false
            }
        };
        let mut helper = between.operator(NEVER)?;
        end(space, step).await.with_context(|| format!("after a death at write {fatal}"))?;
        let verdict = checker.end().await?;
        judge(&verdict)?;
        check(space, step, &before).await.with_context(|| format!("after a death at write {fatal}"))?;
        ensure!(!verdict.voters.contains(&4), "there was a configuration of four voters");
        if let Step::Growth = step {
            kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
            wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
            settled(space, SOON).await?;
        }
        helper.kill().await?;
        if !died {
            return Ok(fatal - 1);
        }
    }
    unreachable!("the numbers do not end")
}

async fn begin(space: &str, step: Step, number: u32) -> anyhow::Result<()> {
    match step {
        Step::Growth => kubectl(space, &["scale", "ens/main", "--replicas=5"]).await.map(drop),
        Step::Upgrade => {
            let tag = if number % 2 == 1 { "next" } else { "dev" };
            patch(space, &format!("{{\"image\": {{\"tag\": {tag:?}}}}}")).await
        }
    }
}

async fn end(space: &str, step: Step) -> anyhow::Result<()> {
    if let Step::Growth = step {
        wait(space, "ens/main", "jsonpath={.status.votingMembers}=5", SOON).await?;
    }
    settled(space, ROLLOUT).await.map(drop)
}

/// Every pod was replaced once by an upgrade, and none by growth.
async fn check(space: &str, step: Step, before: &[Value]) -> anyhow::Result<()> {
    let after = pods(space).await?;
    let uid = |pod: &Value| pod["metadata"]["uid"].clone();
    let kept = after.iter().filter(|pod| before.iter().any(|old| uid(old) == uid(pod))).count();
    match step {
        Step::Growth => ensure!(kept == before.len(), "a member was restarted"),
        Step::Upgrade => ensure!(kept == 0, "a pod was not replaced"),
    }
    let main = json(space, &["ens/main"]).await?;
    let hash = main["status"]["rollout"]["targetHash"].clone();
    let is_updated = |pod: &Value| pod["metadata"]["annotations"]["quorate.dev/template-hash"] == hash;
    ensure!(after.iter().all(is_updated), "a pod is not on the template asked for");
    Ok(())
}
