//! The client port: connections in, within limits; one task each, from its first four bytes to its end.
//!
//! In: sockets of clients, and what the loop tells them. Out: events for the loop, bytes for clients.
//!
//! Always true:
//! * a client that does not take its replies, or sends more than is served, costs bounded memory and waits;
//! * a connection over a limit is closed without an answer;
//! * what one wake-up of a connection brings is written by one call.
//!
//! Not here: what a frame does (`replica::conn`), the answers to words (`words`).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::client;
use super::facts::Asker;
use super::gate::Gate;
use super::mailbox::{Mailbox, TooFull, Wake};
use super::stats::Stats;
use super::talk::Talk;
use super::throttle::{Bucket, Wanted};
use super::words::Lexicon;
use crate::base::{ConnId, Millis, Now, SessionId, Zxid};
use crate::config::{ConnectionThrottle, Connections};
use crate::replica::conn::Service;
use crate::replica::event::{Closing, Event, ToClient};

/// Pause after accepting went wrong, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// ZooKeeper's mask at the start: client requests, server packets, sessions, warnings.
const TRACE_MASK: i64 = 306;

/// What every connection shares.
pub struct Shared {
    /// Limits.
    pub limits: Connections,
    /// What kind of session a client gets that has none.
    pub new_sessions: Wanted,
    /// `fsync.warningthresholdms`, in ms, which may change.
    pub slow_sync: Arc<AtomicU64>,
    /// Tree, watches and settings.
    pub service: Arc<Service>,
    /// The loop.
    pub inbox: mpsc::Sender<Event>,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// The words.
    pub lexicon: Lexicon,
    /// Where the words get their facts.
    pub asker: Asker,
    /// The monotonic clock.
    pub clock: fn() -> Millis,
    /// Both clocks, for times that people read.
    pub now: fn() -> Now,
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
    /// Ends everything.
    pub stop: CancellationToken,
}

/// The client port.
pub struct Clients {
    /// What connections share.
    pub shared: Shared,
    is_serving: AtomicBool,
    is_draining: AtomicBool,
    is_quiet: AtomicBool,
    next: AtomicU64,
    /// `maxClientCnxns` and `maxCnxns`, which may change.
    per_address_max: AtomicU32,
    total_max: AtomicU32,
    throttle: Bucket,
    /// What all of them may have in progress.
    pub(super) gate: Gate,
    /// `audit.enable`, which may change.
    is_audited: AtomicBool,
    born: Instant,
    /// When the first event since the loop last looked was given to it, in microseconds since `born`; 0 for none.
    queue_mark: AtomicU64,
    /// What `stmk` sets and `gtmk` tells.
    trace_mask: AtomicI64,
    open: Mutex<HashMap<ConnId, Arc<Entry>>>,
    per_address: Mutex<HashMap<IpAddr, u32>>,
}

/// What the loop tells connections.
#[derive(Debug)]
pub enum Told {
    /// One of them something.
    One(ConnId, ToClient),
    /// Several that events of txns up to this one wait for them.
    Notify(Zxid, Vec<ConnId>),
}

/// A connection, as others see it.
pub struct Entry {
    /// The client's address.
    pub from: SocketAddr,
    /// What the loop tells it.
    pub(super) mailbox: Mailbox,
    /// Ends the connection at once.
    pub(super) abort: CancellationToken,
    /// Requests received.
    pub received: AtomicU64,
    /// Replies and events sent.
    pub sent: AtomicU64,
    /// Requests in progress.
    pub queued: AtomicU32,
    /// Since when it is there, and what was said.
    pub talk: Talk,
}

impl Clients {
    /// A port that is not listened on yet.
    pub fn new(shared: Shared) -> Arc<Clients> {
        Arc::new(Clients {
            per_address_max: AtomicU32::new(shared.limits.per_address_max),
            total_max: AtomicU32::new(shared.limits.total_max),
            throttle: Bucket::new(shared.limits.throttle, (shared.clock)(), (shared.clock)().0),
            gate: Gate::new(shared.limits.requests),
            is_audited: AtomicBool::new(shared.limits.audit),
            shared,
            is_serving: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
            next: AtomicU64::new(1),
            born: Instant::now(),
            queue_mark: AtomicU64::new(0),
            trace_mask: AtomicI64::new(TRACE_MASK),
            open: Mutex::default(),
            per_address: Mutex::default(),
        })
    }

    /// Accepts on this listener until the token is cancelled.
    pub fn listen(self: &Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        self.shared.tasks.spawn(accept(Arc::clone(self), listener, stop));
    }

    /// Tells connections what one turn of the loop has for them, in order; those that are gone hear nothing. Each is
    /// woken once, when all is said.
    pub fn tell(&self, told: impl IntoIterator<Item = Told>) {
        let mut wakes = Vec::new();
        let open = self.open();
        let mut tell = |conn: ConnId, told: ToClient| {
            if let Some(entry) = open.get(&conn)
                && entry.tell(told, &self.shared.stats) == Wake::Yes
            {
                wakes.push(Arc::clone(entry));
            }
        };
        for told in told {
            match told {
                Told::One(conn, told) => tell(conn, told),
                Told::Notify(zxid, conns) => {
                    conns.into_iter().for_each(|conn| tell(conn, ToClient::Notify(zxid)));
                }
            }
        }
        drop(open);
        wakes.into_iter().for_each(|entry| entry.mailbox.wake());
    }

    /// Serves clients from here on.
    pub fn serve(&self) {
        self.is_serving.store(true, Relaxed);
    }

    /// Closes every connection, and the ones that come, until `serve`.
    pub fn close_all(&self) {
        self.is_serving.store(false, Relaxed);
        for entry in self.open().values() {
            entry.abort.cancel();
        }
    }

    /// Turns new connections away and closes the open ones, spread over this time.
    pub fn drain(self: &Arc<Self>, over: Duration) {
        self.is_draining.store(true, Relaxed);
        let clients = Arc::clone(self);
        self.shared.tasks.spawn(async move {
            let entries: Vec<Arc<Entry>> = clients.open().values().cloned().collect();
            let pause = over / u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX);
            for entry in entries {
                entry.abort.cancel();
                tokio::select! {
                    () = clients.shared.stop.cancelled() => return,
                    () = sleep(pause) => {}
                }
            }
        });
    }

    /// Limits the connections from one address from here on; 0 for no limit.
    pub fn set_per_address_max(&self, max: u32) {
        self.per_address_max.store(max, Relaxed);
    }

    /// Limits the connections in all from here on; 0 for no limit.
    pub fn set_total_max(&self, max: u32) {
        self.total_max.store(max, Relaxed);
    }

    /// Changes how many sessions may be asked for.
    pub fn set_throttle(&self, throttle: ConnectionThrottle) {
        self.throttle.set(throttle);
    }

    /// How many sessions may be asked for.
    pub fn throttle(&self) -> ConnectionThrottle {
        self.throttle.settings()
    }

    /// The share of the connect requests that is refused by chance, from 0 to 1.
    pub(super) fn drop_probability(&self) -> f64 {
        self.throttle.dropped()
    }

    /// What all clients together may have in progress.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Tells the audit log what clients change from here on, or not, as these settings say.
    pub fn audit_as(&self, settings: &Connections) {
        self.is_audited.store(settings.audit, Relaxed);
    }

    /// Whether the audit log is told what clients change.
    pub fn is_audited(&self) -> bool {
        self.is_audited.load(Relaxed)
    }

    /// Whether one more client may ask for a session.
    pub(super) fn may_connect(&self, session: SessionId) -> bool {
        let wanted = match session {
            SessionId::NONE => self.shared.new_sessions,
            _ => Wanted::Renewed,
        };
        let may = self.throttle.take((self.shared.clock)(), wanted);
        self.shared.stats.token_deficit.observe(self.throttle.deficit());
        may
    }

    /// Something is given to the loop.
    pub(super) fn mark_queue(&self) {
        if self.queue_mark.load(Relaxed) == 0 {
            let since = u64::try_from(self.born.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.queue_mark.store(since.max(1), Relaxed);
        }
    }

    /// How long the first of what was given since the last call has waited; `None` if nothing was.
    pub fn take_queue_mark(&self) -> Option<Duration> {
        if self.queue_mark.load(Relaxed) == 0 {
            return None;
        }
        let marked = Duration::from_micros(self.queue_mark.swap(0, Relaxed));
        Some(self.born.elapsed().saturating_sub(marked))
    }

    /// Closes this share of the connections, in percent, and tells how many.
    pub fn shed(&self, percentage: u64) -> usize {
        let entries = self.entries();
        let count = usize::try_from(entries.len() as u64 * percentage / 100).unwrap_or(0);
        for (_, entry) in &entries[..count] {
            entry.abort.cancel();
        }
        count
    }

    /// Takes no more requests from anybody; what is asked already is answered.
    pub fn read_no_more(&self) {
        self.is_quiet.store(true, Relaxed);
    }

    /// Whether no more requests are taken.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Relaxed)
    }

    /// Closes every connection once its replies are written.
    pub fn dismiss(&self) {
        for entry in self.open().values() {
            if entry.tell(ToClient::Drop(Closing::Orderly), &self.shared.stats) == Wake::Yes {
                entry.mailbox.wake();
            }
        }
    }

    /// Whether new connections are turned away.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        self.is_serving.load(Relaxed)
    }

    /// Every connection, in the order in which they came.
    pub fn entries(&self) -> Vec<(ConnId, Arc<Entry>)> {
        let mut entries: Vec<_> = self.open().iter().map(|(id, entry)| (*id, Arc::clone(entry))).collect();
        entries.sort_by_key(|(id, _)| *id);
        entries
    }

    /// The mask of ZooKeeper's trace log. There is no such log here: clients that set it read it back.
    pub fn trace_mask(&self) -> i64 {
        self.trace_mask.load(Relaxed)
    }

    /// Replaces that mask.
    pub fn set_trace_mask(&self, mask: i64) {
        self.trace_mask.store(mask, Relaxed);
    }

    /// Begins to count anew what is told of the whole server.
    pub fn reset_stats(&self) {
        self.shared.stats.reset();
        self.shared.service.meters.reset();
        self.shared.service.watches.meters().reset();
    }

    /// Begins to count anew on every connection.
    pub fn reset_connections(&self) {
        for (_, entry) in self.entries() {
            entry.received.store(0, Relaxed);
            entry.sent.store(0, Relaxed);
            entry.talk.reset();
        }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<Entry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection; `None` if a limit is reached.
    fn admit(self: &Arc<Self>, from: SocketAddr) -> Option<Admitted> {
        let mut per_address = self.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = per_address.entry(from.ip()).or_default();
        let is_over = |max: u32, count: usize| max != 0 && count >= max as usize;
        let is_over_any = is_over(self.per_address_max.load(Relaxed), *count as usize)
            || is_over(self.total_max.load(Relaxed), self.count());
        if is_over_any {
            if *count == 0 {
                per_address.remove(&from.ip());
            }
            return None;
        }
        *count += 1;
        drop(per_address);
        let id = ConnId(self.next.fetch_add(1, Relaxed));
        let entry = Arc::new(Entry {
            from,
            mailbox: Mailbox::default(),
            abort: self.shared.stop.child_token(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            queued: AtomicU32::new(0),
            talk: Talk::new((self.shared.now)()),
        });
        self.open().insert(id, Arc::clone(&entry));
        Some(Admitted { id, entry, clients: Arc::clone(self) })
    }
}

impl Entry {
    /// Whether the connection's task has to be woken.
    fn tell(&self, told: ToClient, stats: &Stats) -> Wake {
        if let ToClient::Drop(Closing::Abrupt) = told {
            stats.connections_dropped.add(1);
            self.abort.cancel();
            return Wake::No;
        }
        match self.mailbox.put(told) {
            Ok(wake) => wake,
            Err(TooFull { reply_bytes }) => {
                if !self.abort.is_cancelled() {
                    warn!(from = %self.from, reply_bytes, "a client takes too little and is closed");
                    stats.connections_dropped.add(1);
                    self.abort.cancel();
                }
                Wake::No
            }
        }
    }
}

/// A connection's place among the others, given back when it ends.
pub(super) struct Admitted {
    /// Its number.
    pub(super) id: ConnId,
    /// How others see it.
    pub(super) entry: Arc<Entry>,
    /// The port.
    pub(super) clients: Arc<Clients>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.clients.open().remove(&self.id);
        let mut per_address = self.clients.per_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = per_address.get_mut(&self.entry.from.ip()) {
            *count -= 1;
            if *count == 0 {
                per_address.remove(&self.entry.from.ip());
            }
        }
    }
}

async fn accept(clients: Arc<Clients>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, SocketAddr::new(from.ip().to_canonical(), from.port())),
            Err(error) => {
                warn!(%error, "accept on the client port");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(admitted) = clients.admit(from) else {
            debug!(%from, "a connection over a limit is closed");
            clients.shared.stats.connections_rejected.add(1);
            continue;
        };
        clients.shared.tasks.spawn(client::run(stream, admitted));
    }
}
