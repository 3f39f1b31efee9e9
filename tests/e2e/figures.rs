//! The cluster's rows of the README's table of figures.
//!
//! In: a namespace. Out: times and gaps, printed.
//!
//! Always true:
//! * every figure is of three members with everything else by default.
//!
//! Not here: figures of one machine (`tests/processes`).

use std::time::Duration;

use anyhow::Context as _;

use crate::checker::{Checker, Verdict};
use crate::cluster::{self, ensemble, json, kube, kubectl, patch, settled, wait};
use crate::scenarios::address;

const SOON: Duration = Duration::from_secs(300);

/// Measures and prints.
pub async fn measure(space: &str) -> anyhow::Result<()> {
    ensemble(space, "{replicas: 3}").await?;
    let time = wait(space, "ens/main", "condition=Ready", SOON).await?;
    println!("| apply to Ready, 3 members | {:.1} s |", time.as_secs_f64());

    let checker = Checker::start(&address(space).await?).await?;
    kubectl(space, &["scale", "ens/main", "--replicas=5"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=5", SOON).await?;
    settled(space, SOON).await?;
    row("3 to 5 members (E-02)", &checker.end().await?);
    kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    settled(space, SOON).await?;

    let checker = Checker::start(&address(space).await?).await?;
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    settled(space, SOON).await?;
    row("rolling upgrade (E-10)", &checker.end().await?);

    let leader = leader(space).await?;
    let checker = Checker::start(&address(space).await?).await?;
    kubectl(space, &["delete", &format!("pod/{leader}"), "--grace-period=0", "--force"]).await?;
    settled(space, SOON).await?;
    row("leader's pod killed", &checker.end().await?);

    let leader = self::leader(space).await?;
    let pod = json(space, &[&format!("pod/{leader}")]).await?;
    let node = pod["spec"]["nodeName"].as_str().context("the leader has a node")?.to_owned();
    let checker = Checker::start(&address(space).await?).await?;
    kube(&["kill", &node]).await?;
    let moved = format!("jsonpath={{.status.quorum.state}}={}", "AtRisk");
    let waited = wait(space, "ens/main", &moved, SOON).await;
    // Clients of the dead member need their own time to notice.
    let look = || async { Ok(None::<()>) };
    cluster::nothing(Duration::from_secs(20), look).await?;
    let verdict = checker.end().await?;
    kube(&["start", &node]).await?;
    waited?;
    row("leader's node loses power", &verdict);
    settled(space, SOON).await.map(drop)
}

async fn leader(space: &str) -> anyhow::Result<String> {
    let main = json(space, &["ens/main"]).await?;
    Ok(main["status"]["quorum"]["leaderPod"].as_str().context("there is a leader")?.to_owned())
}

fn row(what: &str, verdict: &Verdict) {
    println!(
        "| {what}: longest write gap, sessions lost | {} ms, {} |",
        verdict.gap.as_millis(),
        verdict.lost
    );
}
