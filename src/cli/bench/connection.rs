//! One connection of a load, with a session of its own.
//!
//! In: a server, requests. Out: answers, counted.
//!
//! Always true:
//! * answers are matched with requests in order, since a server answers a session in order;
//! * what arrived together is handled together, and answered by requests that leave in one write.
//!
//! Not here: how many connections there are and when they stop (`load`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::{Phase, Stage};
use super::measured::Counts;
use super::mix::{Mix, Operation};
use super::request::{Template, framed};
use crate::base::rng::Rng;
use crate::base::wire::{Reader, Writer};
use crate::proto::Op;
use crate::proto::frame::split;

/// Session timeout of the connections: longer than any of them is silent.
const SESSION_MS: i32 = 30_000;
/// Room for what one read of a socket brings.
const READ_BYTES: usize = 64 * 1_024;
/// Bytes of a reply's header: xid, zxid, error.
const REPLY_HEADER_BYTES: usize = 16;
/// The xid of watch events.
const EVENT_XID: i32 = -1;
/// The largest answer: a list of a million names and more.
const ANSWER_BYTES_MAX: u32 = 256 << 20;
/// Requests under way while many nodes are made or removed.
const BULK_PIPELINE: usize = 256;

/// What one connection asks for.
#[derive(Debug)]
pub struct Work {
    /// Operations and their shares.
    pub mix: Mix,
    /// A template for each operation, by its number.
    pub templates: Arc<[Template]>,
    /// How many keys there are, from 0.
    pub keys: u64,
    /// Requests under way.
    pub pipeline: usize,
    /// Draws operations and keys.
    pub rng: Rng,
    /// The oldest created node that was not deleted.
    oldest: u64,
    /// The next node to create.
    next: u64,
}

impl Work {
    /// Work that nobody has begun.
    pub fn new(mix: Mix, templates: Arc<[Template]>, keys: u64, pipeline: usize, seed: u64) -> Work {
        Work { mix, templates, keys, pipeline, rng: Rng::new(seed), oldest: 0, next: 0 }
    }

    /// Appends the next request.
    fn append(&mut self, out: &mut BytesMut, xid: i32) {
        let drawn = self.mix.draw(&mut self.rng);
        let operation = match drawn {
            Operation::Delete if self.oldest == self.next => Operation::Create,
            other => other,
        };
        let numbers = match operation {
            Operation::Create => {
                self.next += 1;
                [self.next - 1, 0]
            }
            Operation::Delete => {
                self.oldest += 1;
                [self.oldest - 1, 0]
            }
            Operation::Multi => [self.rng.below(self.keys), self.rng.below(self.keys)],
            Operation::Read | Operation::Set | Operation::List | Operation::Watch => {
                [self.rng.below(self.keys), 0]
            }
        };
        self.templates[operation as usize].append(out, xid, numbers);
    }
}

/// A frame that a server sent.
enum Arrived {
    /// The answer to the oldest request: when that was sent, the error and the body.
    Answer { sent: Instant, error: i32, body: Bytes },
    /// A watch event.
    Event,
}

/// A session on one server.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: BytesMut,
    /// Requests that leave with the next write.
    out: BytesMut,
    /// When the requests under way were sent, oldest first.
    sent: VecDeque<Instant>,
    xid: i32,
}

impl Connection {
    /// Opens a session on a server, `host:port`.
    pub async fn open(server: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(server).await.with_context(|| format!("connect to {server}"))?;
        stream.set_nodelay(true)?;
        let (received, out) = (BytesMut::new(), BytesMut::new());
        let mut connection = Connection { stream, received, out, sent: VecDeque::new(), xid: 0 };
        let mut hello = Writer::new();
        hello.i32(0).i64(0).i32(SESSION_MS).i64(0).buffer(Some(&[0; 16]));
        connection.stream.write_all(&framed(&hello.finish())).await?;
        let welcome = connection.frame().await.with_context(|| format!("a session on {server}"))?;
        let mut welcome = Reader::new(welcome);
        welcome.i32("protocolVersion")?;
        ensure!(welcome.i32("timeOut")? > 0, "{server} gives no session");
        // What a handshake needs is not kept for as long as the session is idle.
        connection.received = BytesMut::new();
        Ok(connection)
    }

    /// Sends one request of an operation code and a body; the body of the answer, or its error.
    pub async fn ask(&mut self, op: Op, body: &[u8]) -> anyhow::Result<Result<Bytes, i32>> {
        let mut request = Writer::new();
        let xid = self.next_xid();
        request.i32(xid).i32(op.as_wire()).raw(body);
        self.stream.write_all(&framed(&request.finish())).await?;
        loop {
            let frame = self.frame().await?;
            if let Arrived::Answer { error, body, .. } = self.take(frame)? {
                return Ok(if error == 0 { Ok(body) } else { Err(error) });
            }
        }
    }

    /// Sends one request for each number, many at once; every one of them must succeed.
    pub async fn bulk(
        &mut self,
        template: &Template,
        numbers: impl Iterator<Item = u64>,
    ) -> anyhow::Result<()> {
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() || !self.sent.is_empty() {
            for number in numbers.by_ref().take(BULK_PIPELINE - self.sent.len()) {
                let xid = self.next_xid();
                template.append(&mut self.out, xid, [number, 0]);
            }
            self.flush().await?;
            let mut frame = Some(self.frame().await?);
            while let Some(arrived) = frame {
                if let Arrived::Answer { error, .. } = self.take(arrived)? {
                    ensure!(error == 0, "the server answers with error {error}");
                }
                frame = split(&mut self.received, ANSWER_BYTES_MAX)?;
            }
        }
        Ok(())
    }

    /// Keeps the pipeline full until the load stops, then removes what was created and closes the session.
    pub async fn load(mut self, mut work: Work, stage: Arc<Stage>) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        loop {
            let phase = stage.phase();
            if phase != Phase::Stopped {
                for _ in self.sent.len()..work.pipeline {
                    let xid = self.next_xid();
                    work.append(&mut self.out, xid);
                }
            } else if self.sent.is_empty() {
                break;
            }
            self.flush().await?;
            let frame = self.frame().await?;
            self.count(frame, &mut counts, &stage)?;
        }
        let delete = work.templates[Operation::Delete as usize].clone();
        self.bulk(&delete, work.oldest..work.next).await.context("remove what was created")?;
        self.close().await?;
        Ok(counts)
    }

    /// Counts watch events until the load stops, then closes the session.
    pub async fn events(mut self, stage: Arc<Stage>) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        loop {
            let frame = tokio::select! {
                () = stage.stopped() => break,
                frame = self.frame() => frame?,
            };
            self.count(frame, &mut counts, &stage)?;
        }
        self.close().await?;
        Ok(counts)
    }

    /// Ends the session.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let closed = self.ask(Op::CloseSession, &[]).await.context("close the session")?;
        closed.map(drop).map_err(|error| anyhow::anyhow!("close the session: error {error}"))
    }

    /// Counts a frame and all that arrived with it.
    fn count(&mut self, frame: Bytes, counts: &mut Counts, stage: &Stage) -> anyhow::Result<()> {
        let (now, is_measured) = (Instant::now(), stage.phase() == Phase::Measured);
        let mut answers = 0;
        let mut frame = Some(frame);
        while let Some(arrived) = frame {
            match self.take(arrived)? {
                Arrived::Answer { sent, error, .. } => {
                    answers += 1;
                    if is_measured {
                        counts.answer(error, now.saturating_duration_since(sent));
                    }
                }
                Arrived::Event => counts.events += u64::from(is_measured),
            }
            frame = split(&mut self.received, ANSWER_BYTES_MAX)?;
        }
        stage.count(answers);
        Ok(())
    }

    fn next_xid(&mut self) -> i32 {
        self.xid = self.xid.wrapping_add(1).max(1);
        self.sent.push_back(Instant::now());
        self.xid
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    fn take(&mut self, mut frame: Bytes) -> anyhow::Result<Arrived> {
        ensure!(frame.len() >= REPLY_HEADER_BYTES, "an answer of {} bytes", frame.len());
        let (xid, _zxid, error) = (frame.get_i32(), frame.get_i64(), frame.get_i32());
        if xid == EVENT_XID {
            return Ok(Arrived::Event);
        }
        let sent = self.sent.pop_front().context("an answer to nothing")?;
        Ok(Arrived::Answer { sent, error, body: frame })
    }

    /// The next frame; nothing is lost if it is not awaited to the end.
    async fn frame(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(frame) = split(&mut self.received, ANSWER_BYTES_MAX)? {
                return Ok(frame);
            }
            self.received.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }
}

/// A session that is only kept, by pings in time.
pub async fn keep(mut connection: Connection, stage: Arc<Stage>) -> anyhow::Result<()> {
    let third = Duration::from_millis(u64::from(SESSION_MS.unsigned_abs()) / 3);
    while tokio::time::timeout(third, stage.stopped()).await.is_err() {
        let done = connection.ask(Op::Ping, &[]).await.context("ping")?;
        done.map_err(|error| anyhow::anyhow!("ping: error {error}"))?;
    }
    connection.close().await
}
