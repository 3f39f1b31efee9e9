//! What an idle session costs a server: the growth of its resident memory over many.
//!
//! In: the program. Out: bytes for each session.
//!
//! Always true:
//! * every session has had traffic, so that what traffic leaves behind counts too.
//!
//! Not here: sessions that do something (`load`, `quorate bench`).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use quorate::base::wire::Writer;
use quorate::proto::Op;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::ensemble::Ensemble;
use crate::fresh_directory;

/// Sessions over which the growth is measured, if this process may have so many sockets.
const SESSIONS_MAX: usize = 10_000;
/// Descriptors that are left for everything else, here and in the server.
const DESCRIPTORS_SPARE: usize = 200;
/// Sessions before the first look, so that what comes once does not count.
const SESSIONS_FIRST: usize = 50;
/// What a session may cost.
const SESSION_BYTES_MAX: usize = 8 << 10;
/// How long it may take until memory is given back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Session timeout: nobody pings for as long as the test takes.
const SESSION_MS: i32 = 40_000;
/// Bytes of the answers to a connect request and to a ping.
const WELCOME_BYTES: usize = 41;
const PONG_BYTES: usize = 20;

/// How many sessions were opened, and how many bytes the server grew by for each; an error if they are too many.
pub async fn measure(program: &Path) -> anyhow::Result<(usize, usize)> {
    let dir = fresh_directory("idle")?;
    let ensemble = Ensemble::start(program, &dir, 1).await?;
    let process = ensemble.process(0).context("the member runs")?;
    let _first = open(&ensemble.host(0), SESSIONS_FIRST).await?;
    let before = resident_bytes(process)?;
    let count = SESSIONS_MAX.min(descriptors()?.saturating_sub(DESCRIPTORS_SPARE));
    let mut sessions = open(&ensemble.host(0), count).await?;
    for session in &mut sessions {
        ping(session).await?;
    }
    let end = Instant::now() + PATIENCE;
    let mut look = interval(Duration::from_millis(100));
    let mut least = usize::MAX;
    loop {
        look.tick().await;
        let each = resident_bytes(process)?.saturating_sub(before) / count;
        if each < least {
            least = each;
        } else if each <= SESSION_BYTES_MAX {
            return Ok((count, each));
        }
        ensure!(Instant::now() < end, "an idle session costs {each} bytes, over {SESSION_BYTES_MAX}");
    }
}

async fn open(host: &str, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut hello = Writer::new();
    hello.i32(45).i32(0).i64(0).i32(SESSION_MS).i64(0).buffer(Some(&[0; 16])).bool(false);
    let hello = hello.finish();
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let mut session = TcpStream::connect(host).await.context("connect")?;
        session.write_all(&hello).await?;
        session.read_exact(&mut [0; WELCOME_BYTES]).await.context("a session is granted")?;
        sessions.push(session);
    }
    Ok(sessions)
}

async fn ping(session: &mut TcpStream) -> anyhow::Result<()> {
    let mut ping = Writer::new();
    ping.i32(8).i32(-2).i32(Op::Ping.as_wire());
    session.write_all(&ping.finish()).await?;
    session.read_exact(&mut [0; PONG_BYTES]).await.context("a ping is answered")?;
    Ok(())
}

fn resident_bytes(process: u32) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).context("the member runs")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}

/// How many descriptors a process may have.
fn descriptors() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("the limit")?;
    let soft = line.split_whitespace().next().context("the limit")?;
    Ok(soft.parse().unwrap_or(usize::MAX)) // it may be `unlimited`
}
