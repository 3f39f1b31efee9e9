//! Real processes: members that are killed under load, and the figures of this machine.
//!
//! `cargo test --release --test processes` weighs idle sessions, kills one member alone for a minute, and the leader of
//! three members every few seconds for two; `… -- figures` measures elections and throughput and prints the rows of the README's table.

mod alone;
mod ensemble;
mod figures;
mod idle;
mod load;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use quorate::base::rng::Rng;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout_at};
use zookeeper_client::Client;

use ensemble::Ensemble;
use load::{Clients, Ledger, Load, SESSION};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_quorate");
/// How long members are killed.
const KILLING: Duration = Duration::from_secs(120);
/// Time between a whole ensemble and the next kill: at least, and how much more by chance, in ms.
const BETWEEN_KILLS_MS: (u64, u64) = (1_000, 3_000);
/// How long a new leader, or a whole ensemble, may take: three times initLimit.
const RECOVERY: Duration = Duration::from_secs(60);
/// Three times the floor of the longest gap between two acknowledged writes.
const GAP_MAX: Duration = Duration::from_secs(3);
/// Fewer kills than this in the time say that recovery is slow, or that the test did not test.
const KILLS_MIN: usize = 15;

fn main() -> ExitCode {
    let runtime = Builder::new_multi_thread().enable_all().build().expect("tasks can be started");
    let what = std::env::args().nth(1);
    let done = match what.as_deref() {
        Some("figures") => runtime.block_on(figures::run(Path::new(PROGRAM))),
        _ => runtime.block_on(judge_all()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("processes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A fresh directory for this process; what is left in it after a failure is worth a look.
pub fn fresh_directory(name: &str) -> anyhow::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

async fn judge_all() -> anyhow::Result<()> {
    let (sessions, bytes) = idle::measure(Path::new(PROGRAM)).await?;
    println!("each of {sessions} idle sessions costs {bytes} bytes");
    let alone = alone::kill(Path::new(PROGRAM)).await?;
    println!("{alone}");
    let leaders = kill_leaders().await?;
    println!("processes: {alone}; {leaders}");
    Ok(())
}

async fn kill_leaders() -> anyhow::Result<String> {
    let dir = fresh_directory("killed")?;
    let mut ensemble = Ensemble::start(Path::new(PROGRAM), &dir, 3).await?;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(
        &ensemble.hosts(),
        Clients { writers: 8, setters: 2, holders: 16, session: SESSION },
        &ledger,
    )
    .await?;
    let end = Instant::now() + KILLING;
    let mut rng = Rng::new(1);
    let mut elections = Vec::new();
    while Instant::now() < end {
        let pause = Duration::from_millis(BETWEEN_KILLS_MS.0 + rng.below(BETWEEN_KILLS_MS.1));
        // The load goes on meanwhile; that it ends early would be an error of its own.
        let _ = timeout_at(Instant::now() + pause, std::future::pending::<()>()).await;
        let leader = ensemble.leader(RECOVERY).await?;
        ensemble.kill(leader).await?;
        let killed = Instant::now();
        let next = ensemble.leader(RECOVERY).await?;
        ensure!(next != leader, "a killed member leads");
        elections.push(killed.elapsed());
        ensemble.restart(leader)?;
        ensemble.all_serve(RECOVERY).await?;
    }
    load.stop().await?;
    elections.sort();
    let kills = elections.len();
    println!(
        "{kills} leaders killed, new leader after {:?} (median) to {:?}",
        elections[kills / 2],
        elections[kills - 1]
    );
    let judged = judge(&ensemble, &ledger, kills).await?;
    drop(ensemble);
    std::fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    Ok(judged)
}

async fn judge(ensemble: &Ensemble, ledger: &Ledger, kills: usize) -> anyhow::Result<String> {
    let acknowledged = ledger.acknowledged();
    let (gap, lost) = (ledger.longest_gap(), ledger.lost());
    println!(
        "{} creates and {} sets acknowledged, {} writes of unknown fate, longest gap {gap:?}",
        acknowledged.len(),
        ledger.sets(),
        ledger.unknown()
    );
    ensure!(lost.is_empty(), "{} sessions or sets lost:\n{}", lost.len(), lost.join("\n"));
    let mut first: Option<BTreeSet<String>> = None;
    for at in 0..ensemble.size() {
        let held = has_all(ensemble, at, &acknowledged).await?;
        match &first {
            None => first = Some(held),
            Some(first) => {
                let differ: Vec<_> = first.symmetric_difference(&held).take(5).collect();
                ensure!(differ.is_empty(), "members 1 and {} differ at {differ:?}", at + 1);
            }
        }
    }
    ensure!(!acknowledged.is_empty(), "nothing was written");
    ensure!(kills >= KILLS_MIN, "only {kills} kills in {KILLING:?}");
    ensure!(gap <= GAP_MAX, "the longest gap is {gap:?}, over {GAP_MAX:?}");
    Ok(format!(
        "{kills} leaders killed, {} writes on every member, no session lost, longest gap {} ms",
        acknowledged.len(),
        gap.as_millis()
    ))
}

/// Every written path that a member has; an error if one that was acknowledged is missing.
pub async fn has_all(
    ensemble: &Ensemble,
    at: usize,
    acknowledged: &[String],
) -> anyhow::Result<BTreeSet<String>> {
    let held = written(&ensemble.host(at)).await?;
    let missing: Vec<_> = acknowledged.iter().filter(|path| !held.contains(*path)).collect();
    ensure!(
        missing.is_empty(),
        "member {} lacks {} acknowledged writes, {} among them",
        at + 1,
        missing.len(),
        missing[0]
    );
    Ok(held)
}

/// Every written path that this member has.
async fn written(host: &str) -> anyhow::Result<BTreeSet<String>> {
    let client = load::connect(host).await?;
    client.sync("/").await.context("sync")?;
    let mut paths = BTreeSet::new();
    for writer in children(&client, "/written").await? {
        for directory in children(&client, &writer).await? {
            paths.extend(children(&client, &directory).await?);
        }
    }
    let sample = paths.iter().step_by(97);
    for path in sample {
        let (data, _) = client.get_data(path).await.with_context(|| format!("read {path}"))?;
        if data != path.as_bytes() {
            bail!("{path} on {host} holds {}", String::from_utf8_lossy(&data));
        }
    }
    Ok(paths)
}

async fn children(client: &Client, path: &str) -> anyhow::Result<Vec<String>> {
    let names = client.list_children(path).await.with_context(|| format!("list {path}"))?;
    Ok(names.into_iter().map(|name| format!("{path}/{name}")).collect())
}
