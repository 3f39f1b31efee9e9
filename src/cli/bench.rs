//! `quorate bench`: how many requests per second an ensemble answers, and how soon.
//!
//! In: [`BenchArgs`]. Out: one line with the rate and the latencies.
//!
//! Always true:
//! * each connection keeps exactly `pipeline` requests under way, so that the rate is the servers' and not the clock's;
//! * an answer other than success ends the run: no error is counted as work.
//!
//! Not here: starting an ensemble (`local`), the table of figures (`tests/figures`).

use std::collections::VecDeque;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::base::wire::{Reader, Writer};
use crate::proto::frame::{FRAME_BYTES_MAX, split};
use crate::proto::{Acl, Op};

/// Session timeout of the connections: nobody pings, since they are never idle.
const SESSION_MS: i32 = 30_000;
/// Room for what one read of a socket brings.
const READ_BYTES: usize = 64 * 1_024;
/// The flags of create that ask for an ephemeral node with a number in its name.
const EPHEMERAL_SEQUENTIAL: i32 = 3;
/// Bytes of a reply's header: xid, zxid, error.
const REPLY_HEADER_BYTES: usize = 16;

/// What is asked for over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// Reads of a node's data.
    Get,
    /// Writes of a node's data.
    Set,
}

/// Arguments of `quorate bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// Servers as `host:port,…`; connections are spread over them.
    #[arg(long, default_value = "localhost:2181")]
    pub server: String,
    /// What to ask for.
    #[arg(long, value_enum, default_value = "get")]
    pub workload: Workload,
    /// Connections, each with a session and a node of its own.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Requests that each connection keeps under way.
    #[arg(long, default_value_t = 16)]
    pub pipeline: usize,
    /// Bytes of data in each node.
    #[arg(long, default_value_t = 100)]
    pub size: usize,
    /// How long to measure, after one second of warming up.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Answers within the measured time.
    pub answers: usize,
    /// The measured time.
    pub time: Duration,
    /// From request to answer, ascending, in µs.
    latencies_us: Vec<u32>,
}

/// Runs the load and prints what was measured.
pub fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    ensure!(args.connections > 0 && args.pipeline > 0 && args.seconds > 0, "there is nothing to measure");
    let runtime = Builder::new_multi_thread().enable_all().build().context("start tasks")?;
    let measured = runtime.block_on(measure(args))?;
    let BenchArgs { connections, pipeline, size, .. } = args;
    println!("{:?}: {measured} ({connections} connections x {pipeline}, {size} bytes)", args.workload);
    Ok(ExitCode::SUCCESS)
}

/// Loads the servers and measures.
pub async fn measure(args: &BenchArgs) -> anyhow::Result<Measured> {
    let servers: Vec<&str> = args.server.split(',').map(str::trim).collect();
    let mut connections = Vec::new();
    for number in 0..args.connections {
        let server = servers[number % servers.len()];
        let connection = Connection::open(server, args).await;
        connections.push(connection.with_context(|| format!("connect to {server}"))?);
    }
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(args.seconds);
    let mut running = JoinSet::new();
    for connection in connections {
        running.spawn(connection.load(begin..end));
    }
    let mut latencies_us = Vec::new();
    while let Some(done) = running.join_next().await {
        latencies_us.extend(done.context("a connection's task")??);
    }
    latencies_us.sort_unstable();
    Ok(Measured { answers: latencies_us.len(), time: end - begin, latencies_us })
}

impl Measured {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.time.as_secs_f64()
    }

    /// The latency that this share of the answers, of 1,000, did not exceed.
    pub fn latency(&self, per_mille: usize) -> Duration {
        let at = (self.latencies_us.len() * per_mille / 1_000).min(self.latencies_us.len().saturating_sub(1));
        Duration::from_micros(self.latencies_us.get(at).copied().unwrap_or(0).into())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |per_mille| self.latency(per_mille).as_secs_f64() * 1_000.0;
        let rate = self.rate();
        write!(
            f,
            "{rate:.0} per second, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            ms(500),
            ms(990),
            ms(1_000)
        )
    }
}

/// One connection with a session and an ephemeral node of its own.
struct Connection {
    stream: TcpStream,
    received: BytesMut,
    /// The request that is sent over and over, without its frame's length and xid: op and body.
    request: Bytes,
    /// When the requests under way were sent, oldest first; answers come in that order.
    sent: VecDeque<Instant>,
    xid: i32,
    pipeline: usize,
}

impl Connection {
    async fn open(server: &str, args: &BenchArgs) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            received: BytesMut::new(),
            request: Bytes::new(),
            sent: VecDeque::new(),
            xid: 0,
            pipeline: args.pipeline,
        };
        let mut hello = Writer::new();
        hello.i32(0).i64(0).i32(SESSION_MS).i64(0).buffer(Some(&[0; 16]));
        connection.stream.write_all(&framed(&hello.finish())).await?;
        let mut welcome = Reader::new(connection.frame().await?);
        welcome.i32("protocolVersion")?;
        ensure!(welcome.i32("timeOut")? > 0, "the server gives no session");
        let data = vec![b'x'; args.size];
        let mut create = Writer::new();
        create.i32(Op::Create.as_wire()).string("/quorate-bench-").buffer(Some(&data));
        Acl::encode_list(&Acl::open(), &mut create);
        create.i32(EPHEMERAL_SEQUENTIAL);
        let made = connection.ask(create.finish()).await.context("create a node to work on")?;
        let path = Reader::new(made).string("path")?.context("the answer to create has no path")?;
        let mut request = Writer::new();
        match args.workload {
            Workload::Get => request.i32(Op::GetData.as_wire()).string(&path).bool(false),
            Workload::Set => request.i32(Op::SetData.as_wire()).string(&path).buffer(Some(&data)).i32(-1),
        };
        connection.request = request.finish();
        Ok(connection)
    }

    /// Sends one request of op and body, and waits for the body of its answer.
    async fn ask(&mut self, request: Bytes) -> anyhow::Result<Bytes> {
        self.request = request;
        let mut out = BytesMut::new();
        self.fill(&mut out, 1);
        self.stream.write_all(&out).await?;
        let frame = self.frame().await?;
        self.answer(frame)
    }

    /// Keeps the pipeline full until the end; the latencies of answers within `measured`, in µs.
    async fn load(mut self, measured: std::ops::Range<Instant>) -> anyhow::Result<Vec<u32>> {
        let mut latencies = Vec::new();
        let mut out = BytesMut::new();
        self.fill(&mut out, self.pipeline);
        self.stream.write_all(&out).await?;
        loop {
            let frame = self.frame().await?;
            let now = Instant::now();
            if now >= measured.end {
                return Ok(latencies);
            }
            out.clear();
            let mut next = Some(frame);
            while let Some(frame) = next {
                let sent = self.sent.front().copied().context("an answer to nothing")?;
                self.answer(frame)?;
                if measured.contains(&now) {
                    latencies.push(u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX));
                }
                next = split(&mut self.received, FRAME_BYTES_MAX)?;
            }
            self.fill(&mut out, self.pipeline - self.sent.len());
            self.stream.write_all(&out).await?;
        }
    }

    /// Appends this many requests to what will be sent.
    fn fill(&mut self, out: &mut BytesMut, requests: usize) {
        let now = Instant::now();
        for _ in 0..requests {
            self.xid = self.xid.wrapping_add(1).max(1);
            let mut request = Writer::new();
            request.i32(self.xid).raw(&self.request);
            out.extend_from_slice(&framed(&request.finish()));
            self.sent.push_back(now);
        }
    }

    /// Takes the answer to the oldest request; its body.
    fn answer(&mut self, mut frame: Bytes) -> anyhow::Result<Bytes> {
        ensure!(self.sent.pop_front().is_some(), "an answer to nothing");
        ensure!(frame.len() >= REPLY_HEADER_BYTES, "an answer of {} bytes", frame.len());
        let (_xid, _zxid, error) = (frame.get_i32(), frame.get_i64(), frame.get_i32());
        ensure!(error == 0, "the server answers with error {error}");
        Ok(frame)
    }

    async fn frame(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(frame) = split(&mut self.received, FRAME_BYTES_MAX)? {
                return Ok(frame);
            }
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

fn framed(payload: &[u8]) -> Bytes {
    let mut frame = Writer::new();
    frame.i32(i32::try_from(payload.len()).expect("a request is far below 2 GiB")).raw(payload);
    frame.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_a_rate_and_latencies() {
        let measured =
            Measured { answers: 1_000, time: Duration::from_secs(2), latencies_us: (1..=1_000).collect() };
        assert_eq!(measured.to_string(), "500 per second, p50 0.5 ms, p99 1.0 ms, max 1.0 ms");
        let nothing = Measured { answers: 0, time: Duration::from_secs(1), latencies_us: Vec::new() };
        assert_eq!(nothing.latency(990), Duration::ZERO);
    }
}
