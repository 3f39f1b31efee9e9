//! The cluster, through `kubectl` and `helm`.
//!
//! In: objects and what to wait for. Out: done, or an error that holds what the program said.
//!
//! Always true:
//! * whatever is waited for is awaited by a watch, with an end.
//!
//! Not here: what has to be seen (`scenarios`), harm from outside of Kubernetes (`harm`).

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often something is looked at that no watch tells.
const LOOK: Duration = Duration::from_millis(200);

/// Runs a program, feeds it, and returns what it printed.
pub async fn run(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child.stdin.take().context("a pipe was asked for")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `kubectl` in a namespace.
pub async fn kubectl(namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run("kubectl", &[&["--namespace", namespace], arguments].concat(), "").await
}

/// The kit's own command.
pub async fn kube(arguments: &[&str]) -> anyhow::Result<String> {
    let kit = std::env::var("QUORATE_KUBE").context("QUORATE_KUBE names the kit; tests/e2e/run sets it")?;
    run(&kit, arguments, "").await
}

/// Applies objects.
pub async fn apply(namespace: &str, yaml: &str) -> anyhow::Result<()> {
    run("kubectl", &["--namespace", namespace, "apply", "-f", "-"], yaml).await.map(drop)
}

/// An ensemble `main` with this spec, as YAML in flow style.
pub async fn ensemble(namespace: &str, spec: &str) -> anyhow::Result<()> {
    let head = "apiVersion: quorate.dev/v1alpha1\nkind: CoordinationEnsemble\nmetadata: {name: main}\n";
    apply(namespace, &format!("{head}spec: {spec}\n")).await
}

/// Merges fields into the spec of the ensemble `main`.
pub async fn patch(namespace: &str, spec: &str) -> anyhow::Result<()> {
    let patch = format!("{{\"spec\": {spec}}}");
    kubectl(namespace, &["patch", "ens/main", "--type=merge", "-p", &patch]).await.map(drop)
}

/// An object as JSON.
pub async fn json(namespace: &str, object: &[&str]) -> anyhow::Result<Value> {
    let text = kubectl(namespace, &[&["get"], object, &["-o", "json"]].concat()).await?;
    Ok(serde_json::from_str(&text)?)
}

/// Waits until `object` is as `condition` says (`condition=Ready`, `jsonpath=…`, `delete`).
pub async fn wait(
    namespace: &str,
    object: &str,
    condition: &str,
    limit: Duration,
) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let (condition, limit) = (format!("--for={condition}"), format!("--timeout={}s", limit.as_secs()));
    let waited = kubectl(namespace, &["wait", object, &condition, &limit]).await;
    if let Err(error) = waited {
        let status = kubectl(namespace, &["get", "ens,pods", "-o", "wide"]).await.unwrap_or_default();
        let conditions =
            json(namespace, &["ens/main"]).await.map(|main| conditions(&main)).unwrap_or_default();
        bail!("{error:#}\n{status}{conditions}");
    }
    Ok(started.elapsed())
}

/// Waits until the operator has answered the newest spec and every member is level and ready.
pub async fn settled(namespace: &str, limit: Duration) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let generation = json(namespace, &["ens/main"]).await?["metadata"]["generation"].to_string();
    wait(namespace, "ens/main", &format!("jsonpath={{.status.observedGeneration}}={generation}"), limit)
        .await?;
    for condition in ["MembershipInSync", "RolloutComplete", "Ready"] {
        wait(namespace, "ens/main", &format!("condition={condition}"), limit).await?;
    }
    Ok(started.elapsed())
}

/// Looks again and again until it is so; for what no single object's watch tells.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + limit;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        ensure!(Instant::now() < end, "{what}: not within {limit:?}");
    }
}

/// Fails if anything is seen within this time.
pub async fn nothing<T, F>(span: Duration, mut look: impl FnMut() -> F) -> anyhow::Result<()>
where
    T: std::fmt::Debug,
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let end = Instant::now() + span;
    let mut looks = interval((span / 60).max(LOOK * 10));
    while Instant::now() < end {
        looks.tick().await;
        if let Some(seen) = look().await? {
            bail!("{seen:?}");
        }
    }
    Ok(())
}

/// The pods of the ensemble `main`, by name.
pub async fn pods(namespace: &str) -> anyhow::Result<Vec<Value>> {
    let list = json(namespace, &["pods", "-l", "quorate.dev/ensemble=main"]).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Every object of the namespace with the version that changes at every write, the operator's events too; of the resource
/// the generation, which does not change with its status.
pub async fn versions(namespace: &str) -> anyhow::Result<Vec<String>> {
    let kinds = "ens,statefulsets,services,configmaps,secrets,serviceaccounts,poddisruptionbudgets,\
                 persistentvolumeclaims,pods,events";
    let list = json(namespace, &[kinds]).await?;
    let is_ours = |object: &&Value| {
        object["kind"] != "Event" || object["reportingComponent"] == quorate::operator::apply::MANAGER
    };
    let text = |object: &Value| {
        let meta = &object["metadata"];
        let field = if object["kind"] == "CoordinationEnsemble" { "generation" } else { "resourceVersion" };
        format!("{} {} {}", object["kind"], meta["name"], meta[field])
    };
    Ok(list["items"].as_array().into_iter().flatten().filter(is_ours).map(text).collect())
}

/// One condition's status and reason.
pub async fn condition(namespace: &str, kind: &str) -> anyhow::Result<(String, String)> {
    let main = json(namespace, &["ens/main"]).await?;
    let all = main["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == kind).context("no such condition")?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("reason")))
}

fn conditions(main: &Value) -> String {
    let all = main["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let line = |condition: &Value| {
        format!(
            "{} {} {} {}\n",
            condition["type"], condition["status"], condition["reason"], condition["message"]
        )
    };
    all.iter().map(line).collect()
}

/// A fresh namespace.
pub async fn namespace(name: &str) -> anyhow::Result<()> {
    run("kubectl", &["create", "namespace", name], "").await.map(drop)
}

/// Deletes a namespace and waits until it is gone.
pub async fn gone(name: &str, limit: Duration) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let limit = format!("--timeout={}s", limit.as_secs());
    run("kubectl", &["delete", "namespace", name, &limit], "").await?;
    Ok(started.elapsed())
}
