//! Harm from outside of Kubernetes: a process that is killed, a node that loses its power.
//!
//! In: a pod or a node. Out: done; nobody in the cluster was told before.
//!
//! Always true:
//! * a killed process gets SIGKILL and nothing else;
//! * no packet leaves a node that loses its power, not even the kernel's farewell to its connections.
//!
//! Not here: what has to come of it (`faults`, `figures`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::cluster::{json, kube, run};

/// Where the kit keeps its running cluster.
const STATE: (&str, &str) = ("QUORATE_KUBE_STATE", "/var/tmp/quorate-kube");

/// Sends SIGKILL to the server of a pod; the kubelet starts it again in place.
pub async fn kill_server(space: &str, pod: &str) -> anyhow::Result<()> {
    let object = json(space, &[&format!("pod/{pod}")]).await?;
    kill(&servers(&[object])?).await
}

/// Sends SIGKILL to the servers of all these pods at once.
pub async fn kill_servers(pods: &[Value]) -> anyhow::Result<()> {
    kill(&servers(pods)?).await
}

async fn kill(processes: &[String]) -> anyhow::Result<()> {
    run("sh", &["-c", &format!("kill -KILL {}", processes.join(" "))], "").await.map(drop)
}

/// The servers' processes as this machine numbers them: the nodes are process trees of it.
fn servers(pods: &[Value]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for pod in pods {
        let (name, uid) = (&pod["metadata"]["name"], pod["metadata"]["uid"].as_str());
        let group = format!("/pod{}/", uid.context("a pod has a uid")?);
        let processes = fs::read_dir("/proc").context("read /proc")?.flatten();
        let server = processes.map(|entry| entry.path()).find(|process| is_server(process, &group));
        let server = server.with_context(|| format!("no server of {name} runs on this machine"))?;
        found.push(server.file_name().context("a process has a number")?.to_string_lossy().into_owned());
    }
    Ok(found)
}

fn is_server(process: &Path, group: &str) -> bool {
    // A process that ends meanwhile has no files. Besides the server a pod has the process that holds its namespaces.
    let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    read("cgroup").contains(group) && read("comm").trim() != "pause"
}

/// A power cut: first the node's link is cut outside of the node, then everything in it ends.
pub async fn cut_power(node: &str) -> anyhow::Result<()> {
    let control = first_process(&state().join("control"))?;
    // The other end of the node's only interface lies in the control plane's network; with it goes the interface.
    let link = ["--target", &control, "--net", "ip", "link", "delete", node];
    run("nsenter", &link, "").await.context("cut the node's link")?;
    kube(&["kill", node]).await.map(drop)
}

fn state() -> PathBuf {
    std::env::var_os(STATE.0).map_or_else(|| STATE.1.into(), PathBuf::from)
}

/// The first process of a machine of the cluster: the only child of the one that the kit noted.
fn first_process(machine: &Path) -> anyhow::Result<String> {
    let noted = fs::read_to_string(machine.join("pid")).context("the kit notes a machine's process")?;
    let noted = noted.trim();
    let children = fs::read_to_string(format!("/proc/{noted}/task/{noted}/children"))?;
    let child = children.trim();
    ensure!(!child.is_empty() && !child.contains(' '), "the children of {noted}: {child:?}");
    Ok(child.to_owned())
}
