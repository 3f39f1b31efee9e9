//! The operator and its ensembles on a real cluster, under clients that never stop.
//!
//! `tests/e2e/run` brings the cluster up and calls this: without arguments the scenarios that CI runs, with `--all` every one,
//! with names (`E-02`) those; `figures` measures and prints the cluster's rows of the README's table.

mod checker;
mod cluster;
mod crashes;
mod faults;
mod figures;
mod interposer;
mod rules;
mod scenarios;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

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
    let width = if words.iter().any(|word| word == "--all") { Width::All } else { Width::Share };
    let names: Vec<&String> = words.iter().filter(|word| word.starts_with("E-")).collect();
    install().await.context("install the operator")?;
    if words.iter().any(|word| word == "figures") {
        cluster::namespace("figures").await?;
        figures::measure("figures").await?;
        return cluster::gone("figures", Duration::from_secs(120)).await.map(|_| 0);
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, is_share) in scenarios::ALL {
        let is_chosen = if names.is_empty() {
            width == Width::All || *is_share
        } else {
            names.iter().any(|chosen| chosen == name)
        };
        if !is_chosen {
            continue;
        }
        let started = Instant::now();
        println!("{name}");
        match scenarios::run(name, width).await {
            Ok(()) => {
                passed += 1;
                println!("  passed in {:.0} s", started.elapsed().as_secs_f64());
            }
            Err(error) => {
                failed += 1;
                println!("  FAILED after {:.0} s: {error:#}", started.elapsed().as_secs_f64());
            }
        }
    }
    println!("e2e: {passed} passed, {failed} failed");
    Ok(failed)
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
