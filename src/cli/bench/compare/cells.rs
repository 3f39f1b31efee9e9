//! The measurements of one round.
//!
//! In: a [`Group`] of rows, a product, a place. Out: a value for each row.
//!
//! Always true:
//! * each group begins with a fresh ensemble and ends with none;
//! * a value says whether a snapshot was taken while it was measured.
//!
//! Not here: what the values are compared with (`rows`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::product::{Place, Product, Running};
use super::rows::{Group, Row, Value};
use crate::cli::bench::connection::{Connection, keep};
use crate::cli::bench::load::{Load, LoadArgs, Phase, Stage, make};
use crate::cli::bench::measured::Measured;
use crate::cli::bench::request::{Template, digits};

/// Mixed load before the first cell, so that a JVM has compiled what is hot.
const MIXED: Duration = Duration::from_secs(10);
/// Load before a cell counts, and while it counts.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// Bytes of data in the nodes of a load.
const SIZE_BYTES: u32 = 256;
/// Sessions whose memory is measured.
const SESSIONS: u64 = 10_000;
/// Connections that open sessions, or fill a tree, side by side.
const HANDS: u64 = 64;
/// Children of each parent of a large tree, and bytes of each.
const CHILDREN: u64 = 1_000;
const NODE_BYTES: usize = 100;
/// How often a server's memory and snapshots are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A snapshot that has not grown for so long is whole.
const WHOLE_AFTER: Duration = Duration::from_secs(1);
/// How long the next snapshot may take to come.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(300);
/// Watches of the large case, and the sessions that they are spread over.
const WATCHES: u64 = 200_000;
const WATCHING: u64 = 200;

/// Measures a group of rows.
pub async fn measure(group: Group, product: &Product, place: &Place) -> anyhow::Result<Vec<(Row, Value)>> {
    match group {
        Group::Load => loads(product, place).await,
        Group::Sessions => sessions(product, place).await,
        Group::Tree => tree(product, place).await,
        Group::Scale => scale(product, place).await,
    }
}

/// A load with 256 bytes a node.
fn load(mix: &str, connections: u32, pipeline: u32) -> LoadArgs {
    LoadArgs {
        server: String::new(),
        mix: mix.parse().expect("the mixes of the cells are written right"),
        connections,
        pipeline,
        size: SIZE_BYTES,
        keys: 1_000,
        watchers: 0,
    }
}

/// What one cell measured.
struct Cell {
    measured: Measured,
    /// CPU time of the servers.
    cpu: Duration,
    has_snapshot: bool,
}

impl Cell {
    fn value(&self, number: f64) -> Value {
        Value { number, has_snapshot: self.has_snapshot }
    }

    fn rate(&self) -> Value {
        self.value(self.measured.rate())
    }
}

async fn cell(running: &Running, args: LoadArgs) -> anyhow::Result<Cell> {
    let mut load = Load::start(&LoadArgs { server: running.hosts(), ..args }).await?;
    load.pass(WARM_UP).await?;
    let (cpu, before) = (running.cpu()?, running.snapshots()?);
    load.measure();
    load.pass(MEASURED).await?;
    let cpu = running.cpu()? - cpu;
    let has_snapshot = running.snapshots()? != before;
    let measured = load.stop().await?;
    ensure!(measured.counts.errors.is_empty(), "answers with errors: {:?}", measured.counts.errors);
    Ok(Cell { measured, cpu, has_snapshot })
}

async fn loads(product: &Product, place: &Place) -> anyhow::Result<Vec<(Row, Value)>> {
    let running = Running::start(product, place).await?;
    let mixed = LoadArgs { server: running.hosts(), ..load("read=4,set=2,create=1,delete=1", 64, 16) };
    let mut mixed = Load::start(&mixed).await?;
    mixed.pass(MIXED).await?;
    mixed.stop().await?;
    let mut found = Vec::new();
    let reads = cell(&running, load("read", 64, 16)).await?;
    let cpu_us = reads.cpu.as_secs_f64() * 1e6 / reads.measured.answers() as f64;
    found.push((Row::Reads, reads.rate()));
    found.push((Row::CpuPerRead, reads.value(cpu_us)));
    found.push((Row::Sets, cell(&running, load("set", 64, 16)).await?.rate()));
    found.push((Row::Creates, cell(&running, load("create", 64, 16)).await?.rate()));
    let mostly_reads = cell(&running, load("read=9,set=1", 64, 16)).await?;
    found.push((Row::MostlyReads, mostly_reads.rate()));
    found.push((Row::MostlyReadsP99, mostly_reads.value(mostly_reads.measured.latency_ms(0.99))));
    found.push((Row::SetsAlone, cell(&running, load("set", 1, 1)).await?.rate()));
    found.push((Row::SetsPipelined, cell(&running, load("set", 1, 16)).await?.rate()));
    let watched = LoadArgs { keys: 1, watchers: 1_000, ..load("set", 1, 16) };
    let watched = cell(&running, watched).await?;
    found.push((Row::Events, watched.value(watched.measured.event_rate())));
    running.stop().await?;
    Ok(found)
}

/// Opens sessions, many side by side.
async fn open(hosts: &str, count: u64) -> anyhow::Result<Vec<Connection>> {
    let hosts: Arc<[String]> = hosts.split(',').map(str::to_owned).collect();
    let mut hands = JoinSet::new();
    for hand in 0..HANDS {
        let hosts = Arc::clone(&hosts);
        hands.spawn(async move {
            let mut open = Vec::new();
            for number in (hand..count).step_by(usize::try_from(HANDS).expect("a small number")) {
                let at = usize::try_from(number).expect("an index fits") % hosts.len();
                open.push(Connection::open(&hosts[at]).await?);
            }
            anyhow::Ok(open)
        });
    }
    let mut open = Vec::new();
    while let Some(opened) = hands.join_next().await {
        open.extend(opened.context("a task that connects")??);
    }
    Ok(open)
}

async fn sessions(product: &Product, place: &Place) -> anyhow::Result<Vec<(Row, Value)>> {
    let running = Running::start(product, place).await?;
    // What a server allocates for its first sessions is not a session's cost.
    for connection in open(&running.hosts(), HANDS).await? {
        connection.close().await?;
    }
    let (rss, before) = (running.rss_bytes()?, running.snapshots()?);
    let stage = Stage::new();
    let mut kept = JoinSet::new();
    for connection in open(&running.hosts(), SESSIONS).await? {
        kept.spawn(keep(connection, Arc::clone(&stage)));
    }
    let grown = running.rss_bytes()?.saturating_sub(rss);
    let has_snapshot = running.snapshots()? != before;
    stage.enter(Phase::Stopped);
    while let Some(closed) = kept.join_next().await {
        closed.context("a session's task")??;
    }
    running.stop().await?;
    let number = grown as f64 / SESSIONS as f64 / 1_024.0;
    Ok(vec![(Row::Session, Value { number, has_snapshot })])
}

/// Makes parents of 1,000 children each below `/bench`.
async fn fill(hosts: &str, parents: u64) -> anyhow::Result<()> {
    let mut open = open(hosts, HANDS).await?;
    let control = &mut open[0];
    make(control, "/bench", 0).await?;
    control.bulk(&Template::create("/bench", &[]), 0..parents).await?;
    let data: Arc<[u8]> = vec![b'x'; NODE_BYTES].into();
    let mut hands = JoinSet::new();
    for (hand, mut connection) in (0..HANDS).zip(open) {
        let data = Arc::clone(&data);
        hands.spawn(async move {
            for parent in (hand..parents).step_by(usize::try_from(HANDS).expect("a small number")) {
                let template = Template::create(&format!("/bench/{}", digits(parent)), &data);
                connection.bulk(&template, 0..CHILDREN).await?;
            }
            connection.close().await
        });
    }
    while let Some(done) = hands.join_next().await {
        done.context("a task that fills")??;
    }
    Ok(())
}

/// Waits until no snapshot grows or comes.
async fn settle(running: &Running) -> anyhow::Result<()> {
    let mut last = (running.snapshots()?, Instant::now());
    while last.1.elapsed() < WHOLE_AFTER {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = running.snapshots()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(())
}

async fn tree(product: &Product, place: &Place) -> anyhow::Result<Vec<(Row, Value)>> {
    let mut running = Running::start(product, place).await?;
    fill(&running.hosts(), 1_000).await?;
    settle(&running).await?;
    let without = |number: f64| Value { number, has_snapshot: false };
    let filled = running.rss_bytes()? as f64 / f64::from(1 << 20);
    let (stall_ms, peak) = during_snapshot(&running).await?;
    let restart = running.restart().await?;
    running.stop().await?;
    Ok(vec![
        (Row::Filled, without(filled)),
        (Row::SnapshotPeak, Value { number: peak as f64 / f64::from(1 << 20) / filled, has_snapshot: true }),
        (Row::Stall, Value { number: stall_ms, has_snapshot: true }),
        (Row::Restart, without(restart.as_secs_f64())),
    ])
}

/// Writes until the first member has taken a snapshot; the longest latency in ms, and the most memory in bytes.
async fn during_snapshot(running: &Running) -> anyhow::Result<(f64, u64)> {
    let names = |snapshots: std::collections::BTreeSet<(PathBuf, u64)>| -> Vec<PathBuf> {
        snapshots.into_iter().map(|(path, _)| path).collect()
    };
    let before = names(running.snapshots()?);
    let mut load = Load::start(&LoadArgs { server: running.hosts(), ..load("set", 16, 4) }).await?;
    load.measure();
    let (begun, mut peak) = (Instant::now(), 0);
    let mut is_taken = false;
    let mut last = (running.snapshots()?, Instant::now());
    while !is_taken || last.1.elapsed() < WHOLE_AFTER {
        ensure!(begun.elapsed() < SNAPSHOT_WAIT, "no snapshot was taken within {SNAPSHOT_WAIT:?}");
        load.pass(LOOK_EVERY).await?;
        peak = peak.max(running.rss_bytes()?);
        let now = running.snapshots()?;
        if now != last.0 {
            last = (now.clone(), Instant::now());
        }
        is_taken = is_taken || names(now).iter().any(|path| !before.contains(path));
    }
    let measured = load.stop().await?;
    Ok((measured.latency_ms(1.0), peak))
}

/// Reads and creates per second in a small tree and in large ones, as what the large ones lose.
async fn scale(product: &Product, place: &Place) -> anyhow::Result<Vec<(Row, Value)>> {
    let mut found = Vec::new();
    let running = Running::start(product, place).await?;
    let [reads, creates] = pair(&running, load("read", 64, 16), load("create", 64, 16)).await?;
    let grown = |small: f64, large: &Cell| large.value(small / large.measured.rate());
    // A million children below one parent: the keys.
    let wide = |mix: &str| LoadArgs { keys: 1_000_000, ..load(mix, 64, 16) };
    let [wide_reads, wide_creates] = pair(&running, wide("read"), wide("create")).await?;
    found.push((Row::WideReads, grown(reads.measured.rate(), &wide_reads)));
    found.push((Row::WideCreates, grown(creates.measured.rate(), &wide_creates)));
    fill(&running.hosts(), 4_000).await?;
    settle(&running).await?;
    let [large_reads, large_creates] = pair(&running, load("read", 64, 16), load("create", 64, 16)).await?;
    found.push((Row::LargeReads, grown(reads.measured.rate(), &large_reads)));
    found.push((Row::LargeCreates, grown(creates.measured.rate(), &large_creates)));
    let stage = Stage::new();
    let mut kept = JoinSet::new();
    for (number, mut connection) in (0..).zip(open(&running.hosts(), WATCHING).await?) {
        let watch = Template::watch(&format!("/bench/{}", digits(number)));
        connection.bulk(&watch, 0..WATCHES / WATCHING).await.context("watch")?;
        kept.spawn(keep(connection, Arc::clone(&stage)));
    }
    let [watched_reads, watched_creates] =
        pair(&running, load("read", 64, 16), load("create", 64, 16)).await?;
    found.push((Row::WatchedReads, grown(reads.measured.rate(), &watched_reads)));
    found.push((Row::WatchedCreates, grown(creates.measured.rate(), &watched_creates)));
    stage.enter(Phase::Stopped);
    while let Some(closed) = kept.join_next().await {
        closed.context("a session's task")??;
    }
    running.stop().await?;
    Ok(found)
}

async fn pair(running: &Running, reads: LoadArgs, creates: LoadArgs) -> anyhow::Result<[Cell; 2]> {
    Ok([cell(running, reads).await?, cell(running, creates).await?])
}
