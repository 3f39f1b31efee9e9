//! The scenarios of templates: an upgrade, an image that does not run, a rollout that asks, one that waits.
//!
//! In: a namespace. Out: what was seen, or what was not.
//!
//! Always true:
//! * whatever reaches the members happens under clients that never stop.
//!
//! Not here: membership (`sizes`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::Width;
use crate::checker::Checker;
use crate::cluster::{self, condition, ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::faults;
use crate::report::Report;
use crate::scenarios::{READY, ROLLOUT, SMALL, SOON, WITH_LOG, address};

/// Long enough for several passes of the operator.
const PASSES: Duration = Duration::from_secs(15);

/// E-10: one binary under two tags, with the leader at each ordinal.
pub async fn upgrade(space: &str, width: Width, report: &Report) -> anyhow::Result<()> {
    let runs: &[(&str, &[&str])] = match width {
        Width::Share => &[(SMALL, &["main-2"])],
        Width::All => &[(SMALL, &["main-2", "main-0", "main-1"]), (WITH_LOG, &["main-2"])],
    };
    for (number, (storage, leaders)) in runs.iter().enumerate() {
        let space = format!("{space}-{number}");
        cluster::namespace(&space).await?;
        ensemble(&space, &format!("{{replicas: 3, {storage}}}")).await?;
        settled(&space, READY).await?;
        for (leader, tag) in leaders.iter().zip(["next", "dev", "next"]) {
            lead(&space, leader).await?;
            upgrade_once(&space, leader, tag, report).await?;
        }
        cluster::gone(&space, SOON).await?;
    }
    Ok(())
}

async fn upgrade_once(space: &str, leader: &str, tag: &str, report: &Report) -> anyhow::Result<()> {
    let epoch = epoch(space).await?;
    let checker = Checker::start(&address(space).await?).await?;
    let before = uids(&pods(space).await?);
    patch(space, &format!("{{\"image\": {{\"tag\": {tag:?}}}}}")).await?;
    let time = settled(space, ROLLOUT).await?;
    report.say(format!("leader {leader}: rolled out in {:.1} s", time.as_secs_f64()));
    report.judge(&checker.end().await?)?;
    let after = pods(space).await?;
    ensure!(uids(&after).iter().all(|uid| !before.contains(uid)), "a pod was not replaced");
    let order = order(&after);
    let mut wanted: Vec<&str> =
        ["main-2", "main-1", "main-0"].into_iter().filter(|pod| *pod != leader).collect();
    wanted.push(leader);
    ensure!(order == wanted, "the order was {order:?} and not {wanted:?}");
    let elections = self::epoch(space).await? - epoch;
    ensure!(elections == 1, "{elections} elections, and one hand-over is enough");
    Ok(())
}

/// The names of pods in the order in which they were made.
fn order(pods: &[Value]) -> Vec<&str> {
    let mut pods: Vec<&Value> = pods.iter().collect();
    pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].to_string());
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect()
}

fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
}

async fn epoch(space: &str) -> anyhow::Result<i64> {
    json(space, &["ens/main"]).await?["status"]["quorum"]["epoch"].as_i64().context("an epoch is told")
}

/// The pod that leads.
pub async fn leader(space: &str) -> anyhow::Result<String> {
    let main = json(space, &["ens/main"]).await?;
    Ok(main["status"]["quorum"]["leaderPod"].as_str().context("there is a leader")?.to_owned())
}

/// Brings leadership to a pod, by the servers' own command.
pub async fn lead(space: &str, pod: &str) -> anyhow::Result<()> {
    let leader = leader(space).await?;
    if leader != pod {
        let main = json(space, &["ens/main"]).await?;
        let member =
            main["status"]["members"].as_array().into_iter().flatten().find(|member| member["pod"] == pod);
        let id = member.context("the pod is a member")?["id"].clone();
        faults::transfer(space, &leader, &id).await?;
    }
    wait(space, "ens/main", &format!("jsonpath={{.status.quorum.leaderPod}}={pod}"), SOON).await.map(drop)
}

/// E-11: an image that crash-loops stops at one pod; another pod that dies comes back on the old template.
pub async fn broken_image(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    patch(space, r#"{"image": {"repository": "docker.io/quorate-kube/tools", "tag": "1"}}"#).await?;
    wait(space, "ens/main", "jsonpath={.status.rollout.stage}=Stalled", SOON).await?;
    wait(space, "ens/main", "condition=Degraded", SOON).await?;
    let (_, reason) = condition(space, "Degraded").await?;
    ensure!(reason == "RolloutStalled", "the reason is {reason}");
    let broken = |pod: &Value| {
        pod["spec"]["containers"][0]["image"].as_str().is_some_and(|image| image.ends_with("tools:1"))
    };
    let now = pods(space).await?;
    ensure!(now.iter().filter(|pod| broken(pod)).count() == 1, "not exactly one pod was touched");
    report.judge(&checker.end().await?)?;
    // The quorum goes with this one until it is back.
    let healthy = now.iter().find(|pod| !broken(pod)).context("two are healthy")?;
    let name = healthy["metadata"]["name"].as_str().context("a pod has a name")?;
    kubectl(space, &["delete", &format!("pod/{name}")]).await?;
    let back = until("the pod is back", SOON, || async {
        let pod = pods(space).await?.into_iter().find(|pod| pod["metadata"]["name"] == name);
        Ok(pod.filter(|pod| pod["metadata"]["uid"] != healthy["metadata"]["uid"]))
    })
    .await?;
    ensure!(!broken(&back), "the pod came back on the template that does not work");
    wait(space, &format!("pod/{name}"), "condition=Ready", SOON).await?;
    let checker = Checker::start(&address(space).await?).await?;
    patch(space, r#"{"image": {"repository": null, "tag": "dev"}}"#).await?;
    let time = settled(space, SOON).await?;
    report.say(format!("reverted: settled after {:.1} s", time.as_secs_f64()));
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    settled(space, ROLLOUT).await?;
    report.judge(&checker.end().await?)
}

/// It asks before the leader, and before the new template is the one that every pod is made from.
pub async fn supervised(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, rollout: {{mode: Supervised}}, {SMALL}}}")).await?;
    settled(space, READY).await?;
    let leader = leader(space).await?;
    let checker = Checker::start(&address(space).await?).await?;
    let before = by_name(&pods(space).await?);
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    let question = asks(space, None).await?;
    let now = by_name(&pods(space).await?);
    let kept: Vec<&String> = now.keys().filter(|name| now.get(*name) == before.get(*name)).collect();
    ensure!(kept == [&leader], "not only the leader {leader} is left as it was: {kept:?}");
    ensure!(nothing_changes(space).await?, "it did not wait for an answer");
    kubectl(space, &["annotate", "--overwrite", "ens/main", &question]).await?;
    let last = asks(space, Some(&question)).await?;
    let now = by_name(&pods(space).await?);
    ensure!(now.get(&leader) != before.get(&leader), "the leader was not replaced");
    let (status, _) = condition(space, "RolloutComplete").await?;
    ensure!(status == "False", "it was final without an answer");
    kubectl(space, &["annotate", "--overwrite", "ens/main", &last]).await?;
    settled(space, SOON).await?;
    report.judge(&checker.end().await?)
}

/// Waits until the operator asks what was not answered yet, and returns the annotation that it wants.
async fn asks(space: &str, answered: Option<&str>) -> anyhow::Result<String> {
    until("the operator asks", ROLLOUT, || async {
        let rollout = json(space, &["ens/main"]).await?["status"]["rollout"].clone();
        let is_asking = rollout["stage"] == "WaitingForApproval";
        let mut words = rollout["message"].as_str().unwrap_or_default().split_whitespace();
        let wanted = words.find(|word| word.starts_with("quorate.dev/approved="));
        Ok(wanted.filter(|word| is_asking && Some(*word) != answered).map(str::to_owned))
    })
    .await
}

fn by_name(pods: &[Value]) -> BTreeMap<String, String> {
    let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    pods.iter().map(|pod| (text(pod, "name"), text(pod, "uid"))).collect()
}

/// Whether the pods stay the ones that they are.
async fn nothing_changes(space: &str) -> anyhow::Result<bool> {
    let before = by_name(&pods(space).await?);
    let look = || async {
        let now = by_name(&pods(space).await?);
        Ok((now != before).then_some(now))
    };
    Ok(cluster::nothing(PASSES, look).await.is_ok())
}

/// `rollout.mode: Paused` keeps templates from the members and nothing else; a paused resource is left alone.
pub async fn paused(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 1, {SMALL}}}")).await?;
    settled(space, READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    patch(space, r#"{"rollout": {"mode": "Paused"}, "image": {"tag": "next"}, "replicas": 3}"#).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    wait(space, "ens/main", "condition=Ready", SOON).await?;
    let (status, reason) = condition(space, "RolloutComplete").await?;
    ensure!(status == "False" && reason == "Paused", "RolloutComplete is {status}, {reason}");
    ensure!(nothing_changes(space).await?, "a paused rollout replaced a pod");
    let now = pods(space).await?;
    let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned();
    ensure!(now.iter().all(|pod| image(pod).ends_with(":dev")), "a paused rollout reached a pod");
    patch(space, r#"{"rollout": {"mode": "Automatic"}}"#).await?;
    settled(space, ROLLOUT).await?;
    kubectl(space, &["annotate", "ens/main", "quorate.dev/paused=true"]).await?;
    wait(space, "ens/main", "condition=Paused", SOON).await?;
    patch(space, r#"{"image": {"tag": "dev"}, "replicas": 1}"#).await?;
    ensure!(nothing_changes(space).await?, "a paused resource was changed");
    let main = json(space, &["ens/main"]).await?;
    ensure!(main["status"]["votingMembers"] == 3, "a paused resource lost a voter");
    kubectl(space, &["annotate", "ens/main", "quorate.dev/paused-"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=1", SOON).await?;
    settled(space, ROLLOUT).await?;
    // One member that is restarted serves nothing meanwhile, but its sessions go on.
    let verdict = checker.end().await?;
    report.say(&verdict);
    ensure!(verdict.lost == 0, "{} sessions were lost", verdict.lost);
    Ok(())
}
