//! E-08: the operator dies after its n-th write, for every n of a growth and of an upgrade; another one brings it to the same end.
//!
//! In: a namespace. Out: an end that is not the same.
//!
//! Always true:
//! * the cluster's own operator runs again at the end;
//! * every pod that is made meanwhile is counted, also one that is gone by the end.
//!
//! Not here: killing it (`interposer`).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::checker::Checker;
use crate::cluster::{self, ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::interposer::{Interposer, NEVER};
use crate::report::Report;
use crate::scenarios::{ROLLOUT, SOON, address};

/// Ensembles side by side, each of which takes every n-th write: an upgrade takes longer and more of them.
const GROWTH_LANES: u32 = 1;
const UPGRADE_LANES: u32 = 3;

/// Both, with the cluster's own operator out of the way.
pub async fn at_every_write(space: &str, report: &Report) -> anyhow::Result<()> {
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=0"]).await?;
    let done = with_own_operators(space, report).await;
    kubectl("quorate-system", &["scale", "deployment/quorate-operator", "--replicas=2"]).await?;
    wait("quorate-system", "deployment/quorate-operator", "condition=Available", SOON).await?;
    done
}

async fn with_own_operators(space: &str, report: &Report) -> anyhow::Result<()> {
    until("no operator runs", SOON, || async {
        let pods = kubectl("quorate-system", &["get", "pods", "-o", "name"]).await?;
        Ok(pods.trim().is_empty().then_some(()))
    })
    .await?;
    let mut lanes = JoinSet::new();
    for (step, count) in [(Step::Growth, GROWTH_LANES), (Step::Upgrade, UPGRADE_LANES)] {
        for first in 1..=count {
            let (space, report) = (format!("{space}-{}-{first}", step.name()), report.clone());
            lanes.spawn(async move {
                let writes = Writes { first, stride: count };
                Ok((step, every(&space, step, writes, &report).await.context(step.name())?))
            });
        }
    }
    let mut killed = BTreeMap::new();
    while let Some(ended) = lanes.join_next().await {
        let ended: anyhow::Result<(Step, u32)> = ended.context("a lane's task")?;
        let (step, count) = ended?;
        *killed.entry(step.name()).or_insert(0) += count;
    }
    report.say(format!("killed after each of that many writes: {killed:?}"));
    Ok(())
}

/// What the operator is killed in the middle of.
#[derive(Clone, Copy)]
enum Step {
    Growth,
    Upgrade,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Growth => "growth",
            Step::Upgrade => "upgrade",
        }
    }
}

/// Which writes are fatal in a lane.
#[derive(Clone, Copy)]
struct Writes {
    first: u32,
    stride: u32,
}

/// Kills at one write after the other until the step ends without a death; returns how many there were.
async fn every(space: &str, step: Step, writes: Writes, report: &Report) -> anyhow::Result<u32> {
    cluster::namespace(space).await?;
    let between = Interposer::start(space).await?;
    let mut helper = between.operator(NEVER)?;
    // Settling is not what is tested; the floor of it is.
    ensemble(space, "{replicas: 3, storage: {data: {size: 1Gi}}, rollout: {settleSeconds: 1}}").await?;
    settled(space, SOON).await?;
    for (round, fatal) in (writes.first..).step_by(writes.stride as usize).enumerate() {
        helper.kill().await?;
        let made = Made::watch(space).await?;
        let checker = Checker::start(&address(space).await?).await?;
        begin(space, step, round).await?;
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
        helper = between.operator(NEVER)?;
        end(space, step).await.with_context(|| format!("after a death at write {fatal}"))?;
        let verdict = checker.end().await?;
        report.judge(&verdict)?;
        let seen = &verdict.memberships;
        ensure!(seen.iter().all(|(voters, _)| *voters != 4), "four voters: {seen:?}");
        check(space, step, made).await.with_context(|| format!("after a death at write {fatal}"))?;
        if let Step::Growth = step {
            kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
            wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
            until("only three pods are left", SOON, || async {
                Ok((pods(space).await?.len() == 3).then_some(()))
            })
            .await?;
            settled(space, SOON).await?;
        }
        if !died {
            helper.kill().await?;
            // No operator is needed for the end.
            cluster::gone(space, SOON).await?;
            return Ok(round as u32);
        }
    }
    unreachable!("the numbers do not end")
}

async fn begin(space: &str, step: Step, round: usize) -> anyhow::Result<()> {
    match step {
        Step::Growth => kubectl(space, &["scale", "ens/main", "--replicas=5"]).await.map(drop),
        Step::Upgrade => {
            let tag = if round.is_multiple_of(2) { "next" } else { "dev" };
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

/// An upgrade made each of the three pods once, and growth the two new ones: nothing else was restarted.
async fn check(space: &str, step: Step, made: Made) -> anyhow::Result<()> {
    let (old, new) = made.end().await?;
    let after = pods(space).await?;
    let is_old =
        |pod: &&serde_json::Value| pod["metadata"]["uid"].as_str().is_some_and(|uid| old.contains(uid));
    let kept = after.iter().filter(is_old).count();
    let wanted = match step {
        Step::Growth => (3, 2),
        Step::Upgrade => (0, 3),
    };
    ensure!((kept, new.len()) == wanted, "{kept} pods were kept and {} made, not {wanted:?}", new.len());
    let main = json(space, &["ens/main"]).await?;
    let hash = main["status"]["rollout"]["targetHash"].clone();
    let is_updated =
        |pod: &serde_json::Value| pod["metadata"]["annotations"]["quorate.dev/template-hash"] == hash;
    ensure!(after.iter().all(is_updated), "a pod is not on the template asked for");
    Ok(())
}

/// Counts the pods that are made.
struct Made {
    before: BTreeSet<String>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    watch: Child,
    tasks: JoinSet<()>,
}

impl Made {
    async fn watch(space: &str) -> anyhow::Result<Made> {
        let format = "jsonpath={.metadata.uid}{\"\\n\"}";
        let mut watch = Command::new("kubectl")
            .args([
                "--namespace",
                space,
                "get",
                "pods",
                "-l",
                "quorate.dev/ensemble=main",
                "--watch",
                "-o",
                format,
            ])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start kubectl")?;
        let mut lines = BufReader::new(watch.stdout.take().context("a pipe was asked for")?).lines();
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let mut before = BTreeSet::new();
        // Those that are there come first.
        while before.len() < 3 {
            before.insert(lines.next_line().await?.context("a pod's uid")?);
        }
        let (all, mut tasks) = (seen.clone(), JoinSet::new());
        tasks.spawn(async move {
            while let Ok(Some(uid)) = lines.next_line().await {
                all.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
            }
        });
        Ok(Made { before, seen, watch, tasks })
    }

    /// The pods from before, and those that were made.
    async fn end(mut self) -> anyhow::Result<(BTreeSet<String>, BTreeSet<String>)> {
        self.watch.kill().await?;
        while self.tasks.join_next().await.is_some() {}
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let new = seen.difference(&self.before).cloned().collect();
        Ok((self.before, new))
    }
}
