//! What clients do while members are killed, and what they remember of it.
//!
//! In: hosts. Out: every acknowledged write, every session, the longest time without an acknowledged write.
//!
//! Always true:
//! * a write counts as acknowledged only after its answer came;
//! * a write of unknown fate is never assumed either way, and its path is never used again.
//!
//! Not here: killing members, judging what is left (`main`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Acls, Client, CreateMode, Error};

/// Session timeout of a client, unless it says another. An ensemble that serves again within it must keep the session.
pub const SESSION: Duration = Duration::from_secs(10);
/// Children of one directory, so that a listing of it fits into a frame.
const DIRECTORY: u64 = 10_000;

/// What is remembered of all clients.
#[derive(Default)]
pub struct Ledger {
    /// Paths of acknowledged creates.
    acknowledged: Mutex<Vec<String>>,
    /// How many of the acknowledged writes set data.
    sets: AtomicU64,
    /// Writes whose fate is unknown.
    unknown: AtomicU64,
    /// When the last write was acknowledged, and the longest time between two.
    gap: Mutex<(Option<Instant>, Duration)>,
    /// What went wrong with sessions, and sets that are gone.
    lost: Mutex<Vec<String>>,
}

impl Ledger {
    fn acknowledge(&self, path: String) {
        lock(&self.acknowledged).push(path);
        self.note_time();
    }

    fn acknowledge_set(&self) {
        self.sets.fetch_add(1, Ordering::Relaxed);
        self.note_time();
    }

    fn note_time(&self) {
        let now = Instant::now();
        let mut gap = lock(&self.gap);
        let since = gap.0.map_or(Duration::ZERO, |last| now - last);
        *gap = (Some(now), gap.1.max(since));
    }

    fn lose(&self, what: String) {
        lock(&self.lost).push(what);
    }

    /// How many sets were acknowledged; each setter has seen that its own are there.
    pub fn sets(&self) -> u64 {
        self.sets.load(Ordering::Relaxed)
    }

    /// Paths of acknowledged creates, sorted.
    pub fn acknowledged(&self) -> Vec<String> {
        let mut paths = lock(&self.acknowledged).clone();
        paths.sort();
        paths
    }

    /// How many writes nobody knows the fate of.
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    /// The longest time between two acknowledged writes of whatever client.
    pub fn longest_gap(&self) -> Duration {
        lock(&self.gap).1
    }

    /// Sessions and sets that were lost, in words.
    pub fn lost(&self) -> Vec<String> {
        lock(&self.lost).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client of every host.
pub async fn connect(hosts: &str) -> anyhow::Result<Client> {
    connect_for(hosts, SESSION).await
}

/// The same, with this session timeout.
async fn connect_for(hosts: &str, session: Duration) -> anyhow::Result<Client> {
    let connector = Client::connector().with_session_timeout(session);
    connector.connect(hosts).await.with_context(|| format!("connect to {hosts}"))
}

/// Clients under way.
pub struct Load {
    clients: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Load {
    /// Starts writers that create nodes one after another, setters that set one node again and again, and holders that
    /// only keep a session and its node.
    pub async fn start(
        hosts: &str,
        Clients { writers, setters, holders, session }: Clients,
        ledger: &Arc<Ledger>,
    ) -> anyhow::Result<Load> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let first = connect(hosts).await?;
        for top in ["/written", "/set", "/held"] {
            first.create(top, b"", &options).await.with_context(|| format!("create {top}"))?;
        }
        let (mut clients, stop) = (JoinSet::new(), CancellationToken::new());
        for number in 0..writers {
            let (client, ledger, stop) =
                (connect_for(hosts, session).await?, Arc::clone(ledger), stop.clone());
            clients.spawn(write(client, format!("/written/{number}"), ledger, stop));
        }
        for number in 0..setters {
            let (client, ledger, stop) =
                (connect_for(hosts, session).await?, Arc::clone(ledger), stop.clone());
            clients.spawn(set(client, format!("/set/{number}"), ledger, stop));
        }
        for number in 0..holders {
            let (client, ledger, stop) =
                (connect_for(hosts, session).await?, Arc::clone(ledger), stop.clone());
            let path = format!("/held/{number}");
            let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
            client.create(&path, b"", &ephemeral).await.with_context(|| format!("create {path}"))?;
            clients.spawn(hold(client, path, ledger, stop));
        }
        Ok(Load { clients, stop })
    }

    /// Stops the clients after the request that each has under way, and waits for them.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client's task")??;
        }
        Ok(())
    }
}

/// How many clients of each kind, and how long they hold out.
#[derive(Clone, Copy)]
pub struct Clients {
    /// They create nodes all the time.
    pub writers: usize,
    /// They set the data of one node each all the time.
    pub setters: usize,
    /// They only keep their session.
    pub holders: usize,
    /// Their session timeout. A client gives its session up by itself after 7/5 of it without a connection.
    pub session: Duration,
}

async fn write(
    client: Client,
    top: String,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    make(&client, &top).await?;
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let directory = format!("{top}/{}", number / DIRECTORY);
        if number % DIRECTORY == 0 {
            make(&client, &directory).await?;
        }
        let path = format!("{directory}/{number}");
        match client.create(&path, path.as_bytes(), &options).await {
            Ok(_) => ledger.acknowledge(path),
            Err(error) if is_of_connection(&error) => {
                ledger.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                ledger.lose(format!("the writer of {path}: {error}"));
                break;
            }
        }
    }
    Ok(())
}

/// Sets one node to 1, 2, … Its data and its version tell whether one that was acknowledged is gone, after each set and at
/// the end.
async fn set(
    client: Client,
    path: String,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    make(&client, &path).await?;
    let (mut last, mut count) = (0, 0);
    for number in 1u64.. {
        if stop.is_cancelled() {
            break;
        }
        match client.set_data(&path, number.to_string().as_bytes(), None).await {
            Ok(stat) => {
                (last, count) = (number, count + 1);
                ledger.acknowledge_set();
                if i64::from(stat.version) < count {
                    ledger.lose(format!("{path} was set {count} times and has version {}", stat.version));
                    return Ok(());
                }
            }
            Err(error) if is_of_connection(&error) => {
                ledger.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                ledger.lose(format!("the setter of {path}: {error}"));
                return Ok(());
            }
        }
    }
    loop {
        match client.get_data(&path).await {
            Ok((data, _)) => {
                let found = String::from_utf8_lossy(&data).parse::<u64>().unwrap_or(0);
                if found < last {
                    ledger.lose(format!("{path} was set to {last} and holds {found}"));
                }
                return Ok(());
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        }
    }
}

/// Whether only the connection broke: the session may live, and the request may have been done.
fn is_of_connection(error: &Error) -> bool {
    // `Custom` carries what the socket said.
    matches!(error, Error::ConnectionLoss | Error::Timeout | Error::Custom(_))
}

/// Makes a directory, whatever happens meanwhile.
async fn make(client: &Client, path: &str) -> anyhow::Result<()> {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    loop {
        match client.create(path, b"", &options).await {
            Ok(_) | Err(Error::NodeExists) => return Ok(()),
            Err(error) if is_of_connection(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("create {path}")),
        }
    }
}

/// Keeps a session until the end; then its node must still be there and be its own.
async fn hold(
    client: Client,
    path: String,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut states = client.state_watcher();
    loop {
        let state = tokio::select! {
            () = stop.cancelled() => break,
            state = states.changed() => state,
        };
        if state.is_terminated() {
            ledger.lose(format!("the session of {path} is {state:?}"));
            return Ok(());
        }
    }
    let session = client.session_id().0;
    loop {
        match client.check_stat(&path).await {
            Ok(Some(stat)) if stat.ephemeral_owner == session => return Ok(()),
            Ok(stat) => {
                ledger.lose(format!("{path} of session 0x{session:x} is {stat:?}"));
                return Ok(());
            }
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                ledger.lose(format!("the session of {path}: {error}"));
                return Ok(());
            }
        }
    }
}
