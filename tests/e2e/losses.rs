//! The scenarios of loss: disks that are wiped, servers that are killed, a node without power.
//!
//! In: a namespace. Out: what was seen, or what was not.
//!
//! Always true:
//! * what was stopped runs again at the end, also after a failure.
//!
//! Not here: how it is done to them (`harm`), changes of the spec (`sizes`, `rollouts`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::checker::{Checker, Verdict};
use crate::cluster::{self, condition, ensemble, json, kube, kubectl, pods, settled, until, wait};
use crate::harm;
use crate::report::Report;
use crate::rollouts::{lead, leader};
use crate::scenarios::{READY, SMALL, SOON, address};

/// The floor of the gap when the leader's node loses its power.
pub const OFF_FLOOR: Duration = Duration::from_secs(12);
/// How long names do not resolve.
const NAMELESS: Duration = Duration::from_secs(120);
/// This machine's way to the services leads through this node.
const GATEWAY: &str = "node-1";

/// E-13: one disk wiped joins again; two wiped lose the quorum, and nothing blank leads.
pub async fn wiped_disks(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    wipe(space, &["main-0"]).await?;
    settled(space, SOON).await?;
    report.judge(&checker.end().await?)?;
    wipe(space, &["main-0", "main-1"]).await?;
    wait(space, "ens/main", "condition=QuorumLost", SOON).await?;
    until("both blank disks are told", SOON, || async {
        let (status, reason) = condition(space, "QuorumLost").await?;
        Ok((status == "True" && reason == "VotersUnrecoverable").then_some(()))
    })
    .await?;
    cluster::nothing(Duration::from_secs(20), || async {
        let main = json(space, &["ens/main"]).await?;
        Ok(main["status"]["quorum"].get("leaderId").filter(|leader| !leader.is_null()).cloned())
    })
    .await
    .context("a leader without the data")?;
    let claims = kubectl(space, &["get", "pvc", "-o", "name"]).await?;
    ensure!(claims.lines().count() == 3, "claims: {claims}");
    Ok(())
}

/// Deletes pods with their disks.
async fn wipe(space: &str, names: &[&str]) -> anyhow::Result<()> {
    let before = pods(space).await?;
    let uid = |name: &str| {
        before.iter().find(|pod| pod["metadata"]["name"] == name).map(|pod| pod["metadata"]["uid"].clone())
    };
    let claims: Vec<String> = names.iter().map(|name| format!("pvc/data-{name}")).collect();
    let objects: Vec<String> = names.iter().map(|name| format!("pod/{name}")).collect();
    for objects in [claims, objects] {
        let words = [vec!["delete".to_owned()], objects, vec!["--wait=false".to_owned()]].concat();
        kubectl(space, &words.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    }
    for name in names {
        let old = uid(name);
        until("the pod is another", SOON, || async {
            let pod = pods(space).await?.into_iter().find(|pod| pod["metadata"]["name"] == **name);
            Ok(pod.filter(|pod| Some(pod["metadata"]["uid"].clone()) != old).map(drop))
        })
        .await?;
    }
    Ok(())
}

/// E-15: all servers die at once while names do not resolve.
pub async fn all_at_once(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let verdict = Checker::start(&address(space).await?).await?.end().await?;
    kube(&["stop", "coredns"]).await?;
    let done = nameless(space).await;
    kube(&["resume", "coredns"]).await?;
    done?;
    let time = settled(space, SOON).await?;
    report.say(format!("whole {:.1} s after names resolved again", time.as_secs_f64()));
    verdict.verify(&address(space).await?).await
}

async fn nameless(space: &str) -> anyhow::Result<()> {
    harm::kill_servers(&pods(space).await?).await?;
    cluster::nothing(NAMELESS, || async {
        Ok(json(space, &["ens/main"]).await?["status"]["members"].is_null().then_some("no members are told"))
    })
    .await
}

/// The leader's process gets SIGKILL.
pub async fn leader_killed(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    settled(space, READY).await?;
    report.judge(&kill_leader(space).await?)
}

/// Kills the leader's process and waits until all is well again.
pub async fn kill_leader(space: &str) -> anyhow::Result<Verdict> {
    let leader = leader(space).await?;
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    let object = format!("pod/{leader}");
    let before = restarts(&json(space, &[&object]).await?);
    let checker = Checker::start(&address(space).await?).await?;
    let killed = Instant::now();
    harm::kill_server(space, &leader).await?;
    until("the server was started again", SOON, || async {
        Ok((restarts(&json(space, &[&object]).await?) > before).then_some(()))
    })
    .await?;
    settled(space, SOON).await?;
    wrote(&checker, killed).await?;
    checker.end().await
}

/// The leader's node loses its power.
pub async fn leader_off(space: &str, report: &Report) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    settled(space, READY).await?;
    report.judge_by(OFF_FLOOR, &cut_leader(space).await?)
}

/// Cuts the power of the leader's node until every client writes again, and gives it back.
pub async fn cut_leader(space: &str) -> anyhow::Result<Verdict> {
    let node = |pod: &Value| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let elsewhere = pods(space).await?.into_iter().find(|pod| node(pod) != GATEWAY);
    let elsewhere = elsewhere.context("a member runs on another node than the way to services")?;
    lead(space, elsewhere["metadata"]["name"].as_str().context("a pod has a name")?).await?;
    let checker = Checker::start(&address(space).await?).await?;
    let cut = Instant::now();
    harm::cut_power(&node(&elsewhere)).await?;
    // Clients of the dead member need their own time to notice.
    let wrote = wrote(&checker, Instant::now()).await;
    println!("  every client wrote again {:.1} s after the cut", cut.elapsed().as_secs_f64());
    let told = wait(space, "ens/main", "jsonpath={.status.quorum.state}=AtRisk", SOON).await;
    let verdict = checker.end().await;
    kube(&["start", &node(&elsewhere)]).await?;
    wrote?;
    told?;
    settled(space, SOON).await?;
    verdict
}

/// Waits until every writer had an answer after this moment.
async fn wrote(checker: &Checker, moment: Instant) -> anyhow::Result<()> {
    until("every client writes", SOON, || async { Ok(checker.all_wrote_since(moment).then_some(())) }).await
}
