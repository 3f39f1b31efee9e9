//! Clients that never stop, and what they saw: writers with read-back, ephemerals, watchers, a queue.
//!
//! In: the clients' address. Out: the longest time without an acknowledged write, lost sessions, and every contradiction.
//!
//! Always true:
//! * a write counts as acknowledged only after its answer came; one of unknown fate is never assumed either way;
//! * a key that was set reads as it was set, whichever member answers.
//!
//! Not here: what disturbs them (`scenarios`).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Acls, Client, CreateMode, Error};

const WRITERS: usize = 8;
const HOLDERS: usize = 2;
const WATCHERS: usize = 2;
/// Long enough for a member to be replaced, as the sessions move.
const SESSION: Duration = Duration::from_secs(10);
/// A pod that was just deleted may still be behind the service's address.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a writer begins, at most: members and clients share the machine's cores, and a gap shows all the same.
const PACE: Duration = Duration::from_millis(20);
/// With three members one of which is lost, all tries lead to it once in 59,000 times.
const CONNECT_TRIES: u32 = 10;

/// What the clients saw.
#[derive(Default)]
struct Seen {
    writes: u64,
    all: Pace,
    each: [Pace; WRITERS],
    acknowledged: [u64; WRITERS],
    lost: Vec<String>,
    wrong: Vec<String>,
    memberships: BTreeSet<(usize, usize)>,
}

/// When writes were acknowledged.
#[derive(Clone, Copy, Default)]
struct Pace {
    last: Option<Instant>,
    gap: Duration,
}

impl Pace {
    fn on_write(&mut self, now: Instant) {
        self.look(now);
        self.last = Some(now);
    }

    /// The time since the last one counts too.
    fn look(&mut self, now: Instant) {
        self.gap = self.gap.max(self.last.map_or(Duration::ZERO, |last| now - last));
    }
}

impl Seen {
    fn verdict(&self) -> anyhow::Result<Verdict> {
        ensure!(self.wrong.is_empty(), "contradictions: {}", self.wrong.join("; "));
        ensure!(self.writes > 0, "nothing was written");
        if !self.lost.is_empty() {
            println!("    lost sessions: {}", self.lost.join("; "));
        }
        Ok(Verdict {
            writes: self.writes,
            gap: self.all.gap,
            client_gap: self.each.iter().map(|pace| pace.gap).max().unwrap_or_default(),
            lost: self.lost.len(),
            memberships: self.memberships.clone(),
            acknowledged: self.acknowledged,
        })
    }
}

/// Clients under way.
pub struct Checker {
    address: String,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

/// What was seen.
#[derive(Debug)]
pub struct Verdict {
    /// Acknowledged writes.
    pub writes: u64,
    /// The longest time without one by anybody.
    pub gap: Duration,
    /// The longest time that one client went without one.
    pub client_gap: Duration,
    /// Sessions that were lost.
    pub lost: usize,
    /// The numbers of voters and observers that any committed configuration had.
    pub memberships: BTreeSet<(usize, usize)>,
    /// The newest number that each writer's key was acknowledged to hold.
    acknowledged: [u64; WRITERS],
}

impl Verdict {
    /// Reads every key again: nothing that was acknowledged may be missing.
    pub async fn verify(&self, address: &str) -> anyhow::Result<()> {
        let client = connect(address).await?;
        client.sync("/e2e/keys").await.context("get level")?;
        for (number, wanted) in self.acknowledged.iter().enumerate() {
            let path = format!("/e2e/keys/{number}");
            let (data, _) = client.get_data(&path).await.with_context(|| format!("read {path}"))?;
            let found: u64 = String::from_utf8_lossy(&data).parse().context("a key holds a number")?;
            ensure!(found >= *wanted, "{path} is {found}, and {wanted} was acknowledged");
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { writes, gap, client_gap, lost, .. } = self;
        let (gap, client) = (gap.as_millis(), client_gap.as_millis());
        write!(out, "{writes} writes, longest gap {gap} ms (of one client {client} ms), {lost} sessions lost")
    }
}

impl Checker {
    /// Starts all clients.
    pub async fn start(address: &str) -> anyhow::Result<Checker> {
        let first = connect(address).await?;
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for path in ["/e2e", "/e2e/keys", "/e2e/held", "/e2e/queue"] {
            match first.create(path, b"", &persistent).await {
                Ok(_) | Err(Error::NodeExists) => {}
                Err(error) => return Err(error).with_context(|| format!("create {path}")),
            }
        }
        let seen = Arc::<Mutex<Seen>>::default();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for number in 0..WRITERS {
            let client = connect(address).await?;
            tasks.spawn(write(client, number, seen.clone(), stop.clone()));
        }
        for number in 0..HOLDERS {
            let client = connect(address).await?;
            tasks.spawn(hold(client, format!("/e2e/held/{number}"), seen.clone(), stop.clone()));
        }
        for _ in 0..WATCHERS {
            tasks.spawn(watch(connect(address).await?, seen.clone(), stop.clone()));
        }
        tasks.spawn(queue(connect(address).await?, seen.clone(), stop.clone()));
        tasks.spawn(configurations(connect(address).await?, seen.clone(), stop.clone()));
        Ok(Checker { address: address.to_owned(), seen, stop, tasks })
    }

    /// Whether every writer had an answer after this moment.
    pub fn all_wrote_since(&self, moment: Instant) -> bool {
        lock(&self.seen).each.iter().all(|pace| pace.last.is_some_and(|last| last > moment))
    }

    /// Stops all clients; every contradiction is an error.
    pub async fn end(mut self) -> anyhow::Result<Verdict> {
        {
            let (mut seen, now) = (lock(&self.seen), Instant::now());
            seen.all.look(now);
            seen.each.iter_mut().for_each(|pace| pace.look(now));
        }
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client's task")??;
        }
        let verdict = lock(&self.seen).verdict()?;
        verdict.verify(&self.address).await?;
        Ok(verdict)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client of this address. It tries again: the service may still lead to a member that was just lost.
pub async fn connect(address: &str) -> anyhow::Result<Client> {
    let mut tries = 1;
    loop {
        let connector = Client::connector().with_session_timeout(SESSION).with_connection_timeout(CONNECT);
        match connector.connect(address).await {
            Ok(client) => return Ok(client),
            Err(error) if tries == CONNECT_TRIES => {
                return Err(error).with_context(|| format!("connect to {address}"));
            }
            Err(_) => tries += 1,
        }
    }
}

fn pace() -> Interval {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Whether only the connection was lost, in whatever words: the client goes on with its session.
fn is_passing(error: &Error) -> bool {
    let is_terminal =
        matches!(error, Error::NoHosts | Error::SessionExpired | Error::AuthFailed | Error::ClientClosed);
    let is_answer = matches!(
        error,
        Error::NoNode
            | Error::NoAuth
            | Error::BadVersion
            | Error::NodeExists
            | Error::NotEmpty
            | Error::Unimplemented
    );
    !is_terminal && !is_answer
}

/// Sets a counter and reads back what was acknowledged: nobody else writes the key.
async fn write(
    client: Client,
    number: usize,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let path = format!("/e2e/keys/{number}");
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut tried = 0u64;
    loop {
        match client.create(&path, b"0", &persistent).await {
            Ok(_) => break,
            Err(Error::NodeExists) => {
                client.set_data(&path, b"0", None).await.context("begin anew")?;
                break;
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error).context("create a key"),
        }
    }
    let mut pace = pace();
    while !stop.is_cancelled() {
        pace.tick().await;
        tried += 1;
        match client.set_data(&path, tried.to_string().as_bytes(), None).await {
            Ok(_) => {
                let (mut seen, now) = (lock(&seen), Instant::now());
                seen.writes += 1;
                seen.all.on_write(now);
                seen.each[number].on_write(now);
                seen.acknowledged[number] = tried;
            }
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                lock(&seen).lost.push(format!("the writer of {path}: {error}"));
                return Ok(());
            }
        }
        match client.get_data(&path).await {
            Ok((data, _)) => {
                let found: u64 = String::from_utf8_lossy(&data).parse().unwrap_or(0);
                if found != tried {
                    lock(&seen).wrong.push(format!("{path} is {found}, and {tried} was acknowledged"));
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                lock(&seen).lost.push(format!("the reader of {path}: {error}"));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Keeps a session and its node until the end.
async fn hold(
    client: Client,
    path: String,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
    client.create(&path, b"", &ephemeral).await.with_context(|| format!("create {path}"))?;
    let mut states = client.state_watcher();
    loop {
        let state = tokio::select! {
            () = stop.cancelled() => break,
            state = states.changed() => state,
        };
        if state.is_terminated() {
            lock(&seen).lost.push(format!("the session of {path} is {state:?}"));
            return Ok(());
        }
    }
    loop {
        match client.check_stat(&path).await {
            Ok(Some(stat)) if stat.ephemeral_owner == client.session_id().0 => return Ok(()),
            Ok(stat) => {
                lock(&seen).wrong.push(format!("{path} is {stat:?} while its session lives"));
                return Ok(());
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                lock(&seen).lost.push(format!("the session of {path}: {error}"));
                return Ok(());
            }
        }
    }
}

/// Follows a key by one-shot watches: its value never goes back, and an event means that it moved.
async fn watch(client: Client, seen: Arc<Mutex<Seen>>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut newest = 0u64;
    while !stop.is_cancelled() {
        let (data, watcher) = match client.get_and_watch_data("/e2e/keys/0").await {
            Ok((data, _, watcher)) => (data, watcher),
            Err(Error::NoNode) => continue,
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                lock(&seen).lost.push(format!("a watcher: {error}"));
                return Ok(());
            }
        };
        let found: u64 = String::from_utf8_lossy(&data).parse().unwrap_or(0);
        if found < newest {
            lock(&seen).wrong.push(format!("a watcher saw {newest} and then {found}"));
        }
        newest = found;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = watcher.changed() => {}
        }
    }
    Ok(())
}

/// Appends sequential nodes and takes the first away: numbers only grow.
async fn queue(client: Client, seen: Arc<Mutex<Seen>>, stop: CancellationToken) -> anyhow::Result<()> {
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    let mut newest = -1i64;
    let mut pace = pace();
    while !stop.is_cancelled() {
        pace.tick().await;
        match client.create("/e2e/queue/item-", b"", &sequential).await {
            Ok((_, number)) => {
                let number = number.into_i64();
                if number <= newest {
                    lock(&seen).wrong.push(format!("the queue gave {number} after {newest}"));
                }
                newest = number;
                let path = format!("/e2e/queue/item-{number:010}");
                match client.delete(&path, None).await {
                    Ok(()) | Err(Error::NoNode) => {}
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        lock(&seen).lost.push(format!("the queue: {error}"));
                        return Ok(());
                    }
                }
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                lock(&seen).lost.push(format!("the queue: {error}"));
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Remembers how many voters and observers each committed configuration had.
async fn configurations(
    client: Client,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let (data, watcher) = match client.get_and_watch_config().await {
            Ok((data, _, watcher)) => (data, watcher),
            Err(error) if is_passing(&error) => continue,
            Err(error) => {
                lock(&seen).lost.push(format!("the reader of the configuration: {error}"));
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&data).into_owned();
        let count =
            |role| text.lines().filter(|line| line.starts_with("server.") && line.contains(role)).count();
        lock(&seen).memberships.insert((count(":participant"), count(":observer")));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = watcher.changed() => {}
        }
    }
    Ok(())
}
