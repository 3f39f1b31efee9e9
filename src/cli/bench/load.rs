//! A load: connections that ask without a pause, and what they measured.
//!
//! In: [`LoadArgs`]. Out: [`Measured`].
//!
//! Always true:
//! * each connection keeps its number of requests under way, so that the rate is the servers' and not the clock's;
//! * nodes that a load made are gone after it.
//!
//! Not here: one connection (`connection`), starting servers (`compare`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Work};
use super::measured::{Counts, Measured};
use super::mix::{Mix, Operation};
use super::request::{Places, Template, digits};
use crate::base::wire::{Reader, Writer};
use crate::proto::{Acl, Op};

/// The flag of create that asks for a number in the name.
const SEQUENTIAL: i32 = 2;
/// Every operation, by its number.
const OPERATIONS: [Operation; 7] = [
    Operation::Read,
    Operation::Set,
    Operation::Create,
    Operation::Delete,
    Operation::List,
    Operation::Multi,
    Operation::Watch,
];

/// What is asked for, and how much at once.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Servers as `host:port,…`; connections are spread over them.
    #[arg(long, default_value = "localhost:2181", value_name = "HOSTS")]
    pub server: String,
    /// Operations and their shares: read, set, create, delete, list, multi, watch.
    #[arg(long, default_value = "read", value_name = "OPERATION=SHARE,…")]
    pub mix: Mix,
    /// Connections, each with a session of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Requests that each connection keeps under way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Bytes of data in each node.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub size: u32,
    /// Nodes that are read and set.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,
    /// Sessions besides, each with a persistent watch on one of the keys, by turns.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub watchers: u32,
}

/// Where a load stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Under way and not counted.
    WarmingUp,
    /// Counted.
    Measured,
    /// Nothing more is asked for.
    Stopped,
}

/// What the connections of a load share.
#[derive(Debug)]
pub struct Stage {
    phase: AtomicU8,
    /// Answers so far, counted or not.
    answers: AtomicU64,
    stop: CancellationToken,
}

impl Stage {
    /// A stage that warms up.
    pub fn new() -> Arc<Stage> {
        let phase = AtomicU8::new(Phase::WarmingUp as u8);
        Arc::new(Stage { phase, answers: AtomicU64::new(0), stop: CancellationToken::new() })
    }

    /// Where the load stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::WarmingUp,
            1 => Phase::Measured,
            _ => Phase::Stopped,
        }
    }

    /// Waits until the load stops.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Counts answers.
    pub fn count(&self, answers: u64) {
        self.answers.fetch_add(answers, Ordering::Relaxed);
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Goes on to a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        if phase == Phase::Stopped {
            self.stop.cancel();
        }
    }
}

/// A load that is under way.
pub struct Load {
    stage: Arc<Stage>,
    running: JoinSet<anyhow::Result<Counts>>,
    /// When the measured time began.
    begun: Option<Instant>,
    control: Connection,
    /// The node below which everything is.
    root: String,
    keys: u64,
    connections: u64,
}

impl Load {
    /// Makes the keys, connects, and begins to ask.
    pub async fn start(args: &LoadArgs) -> anyhow::Result<Load> {
        let servers: Vec<&str> = args.server.split(',').map(str::trim).collect();
        let mut control = Connection::open(servers[0]).await?;
        let data = vec![b'x'; args.size as usize];
        let root = make(&mut control, "/quorate-bench-", SEQUENTIAL).await?;
        let keys = make(&mut control, &format!("{root}/keys"), 0).await?;
        let (keys_count, connections) = (u64::from(args.keys), u64::from(args.connections));
        control.bulk(&Template::create(&keys, &data), 0..keys_count).await.context("make the keys")?;
        control.bulk(&Template::create(&root, &[]), 0..connections).await.context("make parents")?;
        let stage = Stage::new();
        let mut open = Vec::new();
        for number in 0..connections {
            let connection = Connection::open(turn(&servers, number)).await?;
            let created = format!("{root}/{}", digits(number));
            let places = Places { keys: keys.clone(), created };
            let templates = OPERATIONS.map(|operation| Template::of(operation, &places, &data));
            let pipeline = args.pipeline as usize;
            let work = Work::new(args.mix.clone(), Arc::new(templates), keys_count, pipeline, number);
            open.push((connection, work));
        }
        let (mut running, watch) = (JoinSet::new(), Template::watch(&keys));
        for number in 0..u64::from(args.watchers) {
            let mut watcher = Connection::open(turn(&servers, number)).await?;
            watcher.bulk(&watch, std::iter::once(number % keys_count)).await.context("watch")?;
            running.spawn(watcher.events(Arc::clone(&stage)));
        }
        for (connection, work) in open {
            running.spawn(connection.load(work, Arc::clone(&stage)));
        }
        Ok(Load { stage, running, begun: None, control, root, keys: keys_count, connections })
    }

    /// Waits for a time in which the load goes on; a connection that fails ends it.
    pub async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let ended = tokio::select! {
            () = tokio::time::sleep(time) => return Ok(()),
            ended = self.running.join_next() => ended,
        };
        ended.context("a load has connections")?.context("a connection's task")??;
        anyhow::bail!("a connection ended before the load did")
    }

    /// Answers so far, counted or not.
    pub fn answers(&self) -> u64 {
        self.stage.answers()
    }

    /// From here on it counts.
    pub fn measure(&mut self) {
        self.stage.enter(Phase::Measured);
        self.begun = Some(Instant::now());
    }

    /// Ends the load and removes its nodes; what was measured.
    pub async fn stop(mut self) -> anyhow::Result<Measured> {
        let time = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.stage.enter(Phase::Stopped);
        let mut counts = Counts::default();
        while let Some(ended) = self.running.join_next().await {
            counts.add(&ended.context("a connection's task")??);
        }
        let (root, mut control) = (self.root, self.control);
        let keys = format!("{root}/keys");
        let delete = |parent: &str| {
            let places = Places { keys: String::new(), created: parent.to_owned() };
            Template::of(Operation::Delete, &places, &[])
        };
        control.bulk(&delete(&keys), 0..self.keys).await.context("remove the keys")?;
        control.bulk(&delete(&root), 0..self.connections).await.context("remove parents")?;
        for path in [keys, root] {
            let mut body = Writer::new();
            body.string(&path).i32(-1);
            let done = control.ask(Op::Delete, &body.finish()).await?;
            done.map_err(|error| anyhow::anyhow!("remove {path}: error {error}"))?;
        }
        control.close().await?;
        Ok(Measured { counts, time })
    }
}

/// The server of a connection.
fn turn<'a>(servers: &[&'a str], number: u64) -> &'a str {
    let count = u64::try_from(servers.len()).expect("a length fits");
    servers[usize::try_from(number % count).expect("an index fits")]
}

/// Makes an empty node; its path.
pub async fn make(connection: &mut Connection, path: &str, flags: i32) -> anyhow::Result<String> {
    let mut body = Writer::new();
    body.string(path).buffer(Some(&[]));
    Acl::encode_list(&Acl::open(), &mut body);
    body.i32(flags);
    let made = connection.ask(Op::Create, &body.finish()).await?;
    let made = made.map_err(|error| anyhow::anyhow!("create {path}: error {error}"))?;
    let path = Reader::new(made).string("path")?.context("the answer to create has no path")?;
    ensure!(path.starts_with('/'), "the path {path:?} of a created node");
    Ok(path)
}
