//! The scenarios, by the names of the specification.
//!
//! In: a cluster with the operator. Out: what was seen, or what was not.
//!
//! Always true:
//! * each scenario has a namespace of its own and leaves nothing behind.
//!
//! Not here: clients (`checker`), faults of nodes and processes (`faults`).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::checker::{Checker, Verdict};
use crate::cluster::{self, condition, ensemble, json, kubectl, patch, pods, settled, until, wait};
use crate::{Width, crashes, faults, rules};

/// Three times the floor from apply to Ready.
const READY: Duration = Duration::from_secs(90);
/// Three times the floor of the longest time without an acknowledged write.
const GAP: Duration = Duration::from_secs(3);
/// For what has to happen some time soon.
const SOON: Duration = Duration::from_secs(120);
/// For a rollout over all members.
const ROLLOUT: Duration = Duration::from_secs(300);
/// Volumes are directories here, whatever their size.
const SMALL: &str = "storage: {data: {size: 1Gi}}";

/// Every scenario, and whether CI runs it.
pub const ALL: &[(&str, bool)] = &[
    ("E-00", true),
    ("E-01", true),
    ("E-02", true),
    ("E-10", true),
    ("E-11", true),
    ("E-13", true),
    ("E-04", false),
    ("E-05", false),
    ("E-07", false),
    ("E-08", false),
    ("E-15", false),
    ("E-26", false),
    ("E-29", false),
    ("E-35", false),
    ("E-40", false),
];

/// Runs one by its name.
pub async fn run(name: &str, width: Width) -> anyhow::Result<()> {
    let space = name.to_lowercase();
    let space = space.as_str();
    cluster::namespace(space).await?;
    match name {
        "E-00" => faults::install(space).await,
        "E-01" => create(space, width).await,
        "E-02" => grow(space, width).await,
        "E-04" => shrink_with_leader(space).await,
        "E-05" => shrink_and_grow(space).await,
        "E-07" => faults::memory(space).await,
        "E-08" => crashes::at_every_write(space).await,
        "E-10" => upgrade(space, width).await,
        "E-11" => broken_image(space).await,
        "E-13" => wiped_disks(space).await,
        "E-15" => faults::all_at_once(space).await,
        "E-26" => faults::deletion(space).await,
        "E-29" => faults::restricted(space).await,
        "E-35" => rules::every_rule(space).await,
        "E-40" => hibernate(space).await,
        other => anyhow::bail!("{other} is no scenario"),
    }?;
    cluster::gone(space, SOON).await.map(drop)
}

/// The address of the clients' service.
pub async fn address(space: &str) -> anyhow::Result<String> {
    let service = json(space, &["service/main-client"]).await?;
    let host = service["spec"]["clusterIP"].as_str().context("the service has an address")?.to_owned();
    Ok(format!("{host}:2181"))
}

/// Prints what clients saw, and fails if it is too much.
pub fn judge(verdict: &Verdict) -> anyhow::Result<()> {
    println!(
        "    {} writes, longest gap {} ms, {} sessions lost",
        verdict.writes,
        verdict.gap.as_millis(),
        verdict.lost
    );
    ensure!(verdict.gap <= GAP, "no write was acknowledged for {:?}", verdict.gap);
    ensure!(verdict.lost == 0, "{} sessions were lost", verdict.lost);
    Ok(())
}

/// E-01: one manifest gives an ensemble; then nothing is written any more.
async fn create(space: &str, width: Width) -> anyhow::Result<()> {
    let sizes: &[(&str, u64)] = match width {
        Width::Share => &[("replicas: 3", 60)],
        Width::All => &[
            ("replicas: 3", 600),
            ("replicas: 1", 60),
            ("replicas: 5", 60),
            ("replicas: 3, storage: {dataLog: {size: 1Gi}}", 60),
        ],
    };
    for (spec, settled_seconds) in sizes {
        let spec = format!("{{{spec}}}");
        ensemble(space, &spec).await?;
        let time = wait(space, "ens/main", "condition=Ready", READY).await?;
        println!("    {spec}: ready after {:.1} s", time.as_secs_f64());
        let main = json(space, &["ens/main"]).await?;
        ensure!(main["status"]["ensembleId"].as_str().is_some_and(|id| id.len() == 36), "no ensemble id");
        let secret = json(space, &["secret/main-identity"]).await?;
        ensure!(secret["data"].get("bootstrapToken").is_none(), "the bootstrap token is still there");
        for pod in pods(space).await? {
            let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
            ensure!(*restarts == 0, "{} restarted", pod["metadata"]["name"]);
        }
        ensemble(space, &spec).await?;
        // Endpoints and claims settle for a moment after the pods.
        until("no object changes", SOON, || quiet(space)).await?;
        let before = cluster::versions(space).await?;
        let look = || async {
            let now = cluster::versions(space).await?;
            Ok(now.iter().find(|version| !before.contains(version)).cloned())
        };
        cluster::nothing(Duration::from_secs(*settled_seconds), look)
            .await
            .context("a settled ensemble was written to")?;
        forget(space).await?;
    }
    Ok(())
}

/// Whether two looks in a row see the same.
async fn quiet(space: &str) -> anyhow::Result<Option<()>> {
    let first = cluster::versions(space).await?;
    let second = cluster::versions(space).await?;
    Ok((first == second).then_some(()))
}

/// The ensemble and its disks go.
async fn forget(space: &str) -> anyhow::Result<()> {
    kubectl(space, &["delete", "ens/main", "--cascade=foreground", "--timeout=120s"]).await?;
    kubectl(space, &["delete", "pvc,secret", "--all", "--timeout=120s"]).await.map(drop)
}

/// E-02: `kubectl scale` under load.
async fn grow(space: &str, width: Width) -> anyhow::Result<()> {
    let storages: &[&str] = match width {
        Width::Share => &["data: {size: 1Gi}"],
        Width::All => &["data: {size: 1Gi}", "dataLog: {size: 1Gi}"],
    };
    for storage in storages {
        ensemble(space, &format!("{{replicas: 3, storage: {{{storage}}}}}")).await?;
        wait(space, "ens/main", "condition=Ready", READY).await?;
        let checker = Checker::start(&address(space).await?).await?;
        kubectl(space, &["scale", "ens/main", "--replicas=5"]).await?;
        wait(space, "ens/main", "jsonpath={.status.votingMembers}=5", SOON).await?;
        let time = settled(space, SOON).await?;
        println!("    five members, settled {:.1} s after the promotion", time.as_secs_f64());
        let verdict = checker.end().await?;
        judge(&verdict)?;
        ensure!(
            !verdict.voters.contains(&4),
            "there was a configuration of four voters: {:?}",
            verdict.voters
        );
        ensure!(verdict.voters.contains(&5), "the new configuration was not seen: {:?}", verdict.voters);
        forget(space).await?;
    }
    Ok(())
}

/// E-04: the leader is among those who leave.
async fn shrink_with_leader(space: &str) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 5, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    // The highest id leads a fresh ensemble.
    wait(space, "ens/main", "jsonpath={.status.quorum.leaderPod}=main-4", SOON).await?;
    let checker = Checker::start(&address(space).await?).await?;
    kubectl(space, &["scale", "ens/main", "--replicas=3"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=3", SOON).await?;
    settled(space, SOON).await?;
    judge(&checker.end().await?)?;
    let claims = kubectl(space, &["get", "pvc", "-l", "quorate.dev/detached=true", "-o", "name"]).await?;
    ensure!(claims.lines().count() == 2, "detached claims: {claims}");
    Ok(())
}

/// E-05: 3 → 1 → 3 with kept disks, which must not make a quorum of their own.
async fn shrink_and_grow(space: &str) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    for (size, voters) in [("1", "1"), ("3", "3")] {
        kubectl(space, &["scale", "ens/main", &format!("--replicas={size}")]).await?;
        wait(space, "ens/main", &format!("jsonpath={{.status.votingMembers}}={voters}"), SOON).await?;
        settled(space, SOON).await?;
    }
    let verdict = checker.end().await?;
    judge(&verdict)?;
    ensure!(!verdict.voters.contains(&2), "there was a configuration of two voters: {:?}", verdict.voters);
    Ok(())
}

/// E-10: one binary under two tags, with the leader at each ordinal.
async fn upgrade(space: &str, width: Width) -> anyhow::Result<()> {
    let leaders: &[&str] = match width {
        Width::Share => &["main-2"],
        Width::All => &["main-2", "main-0", "main-1"],
    };
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    settled(space, READY).await?;
    let mut tags = ["next", "dev"].into_iter().cycle();
    for leader in leaders {
        lead(space, leader).await?;
        let checker = Checker::start(&address(space).await?).await?;
        let before = uids(&pods(space).await?);
        patch(space, &format!("{{\"image\": {{\"tag\": {:?}}}}}", tags.next().context("they never end")?))
            .await?;
        let time = settled(space, ROLLOUT).await?;
        println!("    leader {leader}: rolled out in {:.1} s", time.as_secs_f64());
        judge(&checker.end().await?)?;
        let after = pods(space).await?;
        ensure!(uids(&after).iter().all(|uid| !before.contains(uid)), "a pod was not replaced");
        let last = after
            .iter()
            .max_by_key(|pod| pod["metadata"]["creationTimestamp"].to_string())
            .context("pods")?;
        ensure!(
            last["metadata"]["name"] == **leader,
            "the leader {leader} was not the last: {}",
            last["metadata"]["name"]
        );
    }
    Ok(())
}

fn uids(pods: &[Value]) -> Vec<String> {
    pods.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect()
}

/// Brings leadership to a pod, by the servers' own command.
async fn lead(space: &str, pod: &str) -> anyhow::Result<()> {
    let main = json(space, &["ens/main"]).await?;
    let leader = main["status"]["quorum"]["leaderPod"].as_str().context("there is a leader")?.to_owned();
    if leader != pod {
        let member =
            main["status"]["members"].as_array().into_iter().flatten().find(|member| member["pod"] == pod);
        let id = member.context("the pod is a member")?["id"].clone();
        faults::transfer(space, &leader, &id).await?;
    }
    wait(space, "ens/main", &format!("jsonpath={{.status.quorum.leaderPod}}={pod}"), SOON).await.map(drop)
}

/// E-11: an image that crash-loops stops at one pod; another pod that dies comes back on the old template.
async fn broken_image(space: &str) -> anyhow::Result<()> {
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
    // A pod that does not lead; with it the quorum goes until it is back.
    let verdict = checker.end().await?;
    judge(&verdict)?;
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
    println!("    reverted: settled after {:.1} s", time.as_secs_f64());
    patch(space, r#"{"image": {"tag": "next"}}"#).await?;
    settled(space, ROLLOUT).await?;
    judge(&checker.end().await?)
}

/// E-13: one disk wiped joins again; two wiped lose the quorum, and nothing blank leads.
async fn wiped_disks(space: &str) -> anyhow::Result<()> {
    ensemble(space, &format!("{{replicas: 3, {SMALL}}}")).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    wipe(space, &["main-0"]).await?;
    settled(space, SOON).await?;
    judge(&checker.end().await?)?;
    wipe(space, &["main-0", "main-1"]).await?;
    wait(space, "ens/main", "condition=QuorumLost", SOON).await?;
    let text = until("both blank disks are told", SOON, || async {
        let (status, reason) = condition(space, "QuorumLost").await?;
        Ok((status == "True" && reason == "VotersUnrecoverable").then_some(reason))
    })
    .await?;
    println!("    {text}");
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
    let pods_: Vec<String> = names.iter().map(|name| format!("pod/{name}")).collect();
    let words = |objects: &[String]| -> Vec<String> {
        [&["delete".to_owned()], objects, &["--wait=false".to_owned()]].concat()
    };
    for objects in [&claims, &pods_] {
        let words = words(objects);
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

/// E-40: to zero and back, with `whenScaled: Delete`, which must not delete a disk.
async fn hibernate(space: &str) -> anyhow::Result<()> {
    let spec = "{replicas: 3, storage: {data: {size: 1Gi}, retention: {whenScaled: Delete}}}";
    ensemble(space, spec).await?;
    wait(space, "ens/main", "condition=Ready", READY).await?;
    let checker = Checker::start(&address(space).await?).await?;
    let writes = checker.end().await?.writes;
    kubectl(space, &["scale", "ens/main", "--replicas=0"]).await?;
    wait(space, "ens/main", "jsonpath={.status.phase}=Hibernated", SOON).await?;
    until("no pod is left", SOON, || async { Ok(pods(space).await?.is_empty().then_some(())) }).await?;
    let claims = kubectl(space, &["get", "pvc", "-o", "name"]).await?;
    ensure!(claims.lines().count() == 3, "claims: {claims}");
    kubectl(space, &["scale", "ens/main", "--replicas=5"]).await?;
    wait(space, "ens/main", "jsonpath={.status.votingMembers}=5", SOON).await?;
    settled(space, SOON).await?;
    let client = crate::checker::connect(&address(space).await?).await?;
    let keys = client.list_children("/e2e/keys").await?;
    ensure!(keys.len() == 8 && writes > 0, "keys after the sleep: {keys:?}");
    Ok(())
}
