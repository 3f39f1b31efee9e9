//! The operator and its ensembles on a real cluster, under clients that never stop.
//!
//! `tests/e2e/run` brings the cluster up and calls this: without arguments the scenarios that CI runs, with `--all` every one,
//! with names (`E-02`) those in their full width; `--write` puts the table of the result into the README; `figures` measures
//! and prints the cluster's rows of the README's table of figures.

mod checker;
mod cluster;
mod crashes;
mod faults;
mod figures;
mod harm;
mod interposer;
mod losses;
mod report;
mod rollouts;
mod rules;
mod scenarios;
mod sizes;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use report::{Report, Row};
use scenarios::{Room, Scenario};

/// Scenarios that run side by side: they mostly wait for members to settle, and two cores bear so many.
const LANES: usize = 3;

/// How much is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// What CI runs.
    Share,
    /// Every size.
    All,
}

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("tasks can be started");
    match runtime.block_on(run()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<usize> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let names: Vec<&String> =
        words.iter().filter(|word| !["--all", "--write", "figures"].contains(&word.as_str())).collect();
    let known = |name: &str| scenarios::ALL.iter().any(|scenario| scenario.name == name);
    if let Some(name) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        bail!("{name} is no scenario; there are: {}", all.join(" "));
    }
    if has("--write") && !(has("--all") && names.is_empty()) {
        bail!("--write goes with --all and without names: the README's table is of a whole run");
    }
    keep_images().await.context("keep the images")?;
    install().await.context("install the operator")?;
    if has("figures") {
        cluster::namespace("figures").await?;
        let over = figures::measure("figures").await?;
        return cluster::gone("figures", Duration::from_secs(120)).await.map(|_| over);
    }
    let width = if has("--all") || !names.is_empty() { Width::All } else { Width::Share };
    let is_chosen = |scenario: &&Scenario| match (names.is_empty(), width) {
        (true, Width::All) => true,
        (true, Width::Share) => scenario.is_share,
        (false, _) => names.iter().any(|name| *name == scenario.name),
    };
    let started = Instant::now();
    let rows = all(scenarios::ALL.iter().filter(is_chosen).collect(), width).await;
    let failed = rows.iter().filter(|row| row.result.is_err()).count();
    let asked: String =
        words.iter().filter(|word| *word != "--write").map(|word| format!(" {word}")).collect();
    let table = report::table(&asked, &rows, started.elapsed());
    println!("{table}");
    if has("--write") {
        report::write(&table)?;
    }
    println!("e2e: {} passed, {failed} failed", rows.len() - failed);
    Ok(failed)
}

/// Runs scenarios side by side, but for those that disturb others: these run one after the other, and last.
async fn all(chosen: Vec<&'static Scenario>, width: Width) -> Vec<Row> {
    let (mut rows, mut beside) = (Vec::new(), JoinSet::new());
    let lanes = Arc::new(Semaphore::new(LANES));
    for scenario in chosen {
        match scenario.room {
            Room::Idle => {
                beside.spawn(one(scenario, width));
            }
            Room::Lane => {
                let lane = lanes.clone().acquire_owned().await.expect("the lanes are never closed");
                beside.spawn(async move {
                    let row = one(scenario, width).await;
                    drop(lane);
                    row
                });
            }
            Room::Alone => {
                rows.extend(ended(&mut beside).await);
                rows.push(one(scenario, width).await);
            }
        }
    }
    rows.extend(ended(&mut beside).await);
    let place = |row: &Row| scenarios::ALL.iter().position(|scenario| scenario.name == row.name);
    rows.sort_by_key(place);
    rows
}

async fn ended(beside: &mut JoinSet<Row>) -> Vec<Row> {
    std::mem::take(beside).join_all().await
}

async fn one(scenario: &'static Scenario, width: Width) -> Row {
    let started = Instant::now();
    let report = Report::new(scenario.name);
    report.say("begins");
    let ended = scenarios::run(scenario.name, width, &report).await;
    let time = started.elapsed();
    let result = ended.map_err(|error| format!("{error:#}"));
    match &result {
        Ok(()) => report.say(format!("passed in {:.0} s", time.as_secs_f64())),
        Err(error) => report.say(format!("FAILED after {:.0} s: {error}", time.as_secs_f64())),
    }
    Row { name: scenario.name, what: scenario.what, result, time, clients: report.clients() }
}

/// Uses every image on every node: one whose disk is rather full throws away what nothing uses, even what each pod
/// begins with, and there is nowhere to pull from.
const IMAGES: &str = r#"{
    apiVersion: apps/v1, kind: DaemonSet, metadata: {name: images}, spec: {
        selector: {matchLabels: {app: images}}, template: {
            metadata: {labels: {app: images}}, spec: {
                terminationGracePeriodSeconds: 0,
                initContainers: [
                    {name: members, image: "quorate:dev", imagePullPolicy: Never, args: [--version]},
                    {name: anyone, image: "quorate:anyone", imagePullPolicy: Never, args: [--version]}],
                containers: [
                    {name: pause, image: "quorate-kube/pause:1", imagePullPolicy: Never},
                    {name: tools, image: "quorate-kube/tools:1", imagePullPolicy: Never,
                     command: [sleep, "2147483647"]}]}}}}"#;

async fn keep_images() -> anyhow::Result<()> {
    cluster::apply("default", IMAGES).await?;
    cluster::kubectl("default", &["rollout", "status", "daemonset/images", "--timeout=60s"]).await.map(drop)
}

/// The chart, with the image that the kit loaded.
pub async fn install() -> anyhow::Result<()> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/quorate");
    let arguments = [
        "upgrade",
        "--install",
        "quorate",
        chart,
        "--namespace",
        "quorate-system",
        "--create-namespace",
        "--set",
        "image.tag=dev",
    ];
    cluster::run("helm", &arguments, "").await?;
    let limit = Duration::from_secs(60);
    cluster::wait("quorate-system", "deployment/quorate-operator", "condition=Available", limit)
        .await
        .map(drop)
}
