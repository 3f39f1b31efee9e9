//! The figures of this machine that need no cluster, as rows of the README's table.
//!
//! In: the program. Out: rows `| what | measured |` on standard output.
//!
//! Always true:
//! * each row was measured by this run;
//! * nothing else that this project starts runs meanwhile.
//!
//! Not here: judging them; the figures of a Kubernetes cluster (`tests/e2e`).

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::ensemble::{Ensemble, free_ports, leader_of, mode};
use crate::{fresh_directory, idle};

/// Elections that are measured.
const ELECTIONS: usize = 20;
/// How long an ensemble may take to be whole again.
const WHOLE: Duration = Duration::from_secs(60);

/// Measures and prints all rows.
pub async fn run(program: &Path) -> anyhow::Result<()> {
    let elections = elections(program).await?;
    println!(
        "| Election after `kill -9` of the leader in `quorate local`, median of {ELECTIONS} | {} ms ({} to {} ms) |",
        elections[ELECTIONS / 2].as_millis(),
        elections[0].as_millis(),
        elections[ELECTIONS - 1].as_millis()
    );
    let (sessions, bytes) = idle::measure(program).await?;
    println!("| Memory of an idle session, of {sessions} | {:.1} KiB |", bytes as f64 / 1024.0);
    for size in [1, 3] {
        let members = if size == 1 { "one member" } else { "three members" };
        let dir = fresh_directory("figures")?;
        let ensemble = Ensemble::start(program, &dir, size).await?;
        for (mix, name) in [("read", "Reads"), ("set", "Sets of 100 bytes")] {
            let measured = bench(program, &ensemble.hosts(), mix).await?;
            println!("| {name}, 64 connections × 16, {members} | {measured} |");
        }
    }
    Ok(())
}

/// What `quorate bench` measured, in its words.
async fn bench(program: &Path, hosts: &str, mix: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args([
            "bench",
            "--connections",
            "64",
            "--pipeline",
            "16",
            "--server",
            hosts,
            "--size",
            "100",
            "--mix",
            mix,
        ])
        .output()
        .await
        .context("run bench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "bench: {text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().last().context("bench says nothing")?;
    Ok(line.to_owned())
}

/// Times from `kill -9` of the leader of `quorate local` to the next leader, ascending.
async fn elections(program: &Path) -> anyhow::Result<Vec<Duration>> {
    let dir = fresh_directory("elections")?;
    let base = free_ports(1)?[0].min(60_000);
    let mut local = Command::new(program)
        .args(["local", "--members", "3", "--restart", "--base-port", &base.to_string(), "--data"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("start quorate local")?;
    let mut lines = BufReader::new(local.stdout.take().context("its output is piped")?).lines();
    let hosts: Vec<String> = (0..3).map(|at| format!("127.0.0.1:{}", base + at)).collect();
    let mut times = Vec::new();
    while times.len() < ELECTIONS {
        timeout(WHOLE, whole(&hosts)).await.context("the ensemble is not whole in time")?;
        let leader = timeout(WHOLE, leader_of(&hosts)).await.context("nobody leads in time")?;
        kill_member(&local, leader + 1).await?;
        let killed = Instant::now();
        // Also the killed member may lead again, if it is back soon enough to be voted for.
        timeout(WHOLE, leader_of(&hosts)).await.context("nobody leads in time")?;
        times.push(killed.elapsed());
        // It is told that the member ended, and that it is started again.
        let again = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("is started again") {
                    return;
                }
            }
        };
        timeout(WHOLE, again).await.context("a member is not started again in time")?;
    }
    local.kill().await.context("stop quorate local")?;
    times.sort();
    Ok(times)
}

/// Waits until every host serves.
async fn whole(hosts: &[String]) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    for host in hosts {
        while mode(host).await.is_none() {
            look.tick().await;
        }
    }
}

/// Kills the process of one member of `quorate local`: its child with the member's directory in its arguments.
async fn kill_member(local: &Child, number: usize) -> anyhow::Result<()> {
    let parent = local.id().context("quorate local has ended")?;
    let place = format!("member-{number}/");
    let is_member = |process: &str| {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let is_child = read("status").lines().any(|line| line == format!("PPid:\t{parent}"));
        is_child && read("cmdline").contains(&place)
    };
    let processes = std::fs::read_dir("/proc").context("list processes")?;
    let mut names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let process = names.find(|name| is_member(name));
    let process = process.with_context(|| format!("member {number} does not run"))?;
    let kill = Command::new("sh").args(["-c", &format!("kill -9 {process}")]).status();
    let killed = kill.await.context("run kill")?;
    ensure!(killed.success(), "kill -9 {process}: {killed}");
    Ok(())
}
