//! Watches: who asked to be told what about which path, and the events that wait for each connection.
//!
//! In: registrations of connections, and the changes that a txn made. Out: encoded events in the mailboxes of the
//! connections that may read them, each with the zxid of its txn.
//!
//! Always true:
//! * a standard watch fires once, also when its event may not be read by the connection;
//! * one firing gives one connection at most one event;
//! * registering, firing and forgetting cost the same with one watch as with many.
//!
//! Who calls: a connection's task registers while it holds the tree for reading, the loop fires while it holds the
//! tree for writing. So a read and its watch are one step, and events wait before anybody can read the change.
//!
//! Not here: what a txn changes (`tree`), writing events to a socket (`replica::conn`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

pub mod list;
pub mod meters;
mod places;

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxBuildHasher, FxHashMap};

use self::meters::Meters;
use self::places::{Fired, OnPath, Places};
use crate::base::wire::Writer;
use crate::base::{ConnId, Zxid};
use crate::proto::request::WatcherKind;
use crate::proto::response::encode_notification;
use crate::proto::{Acl, EventKind, Id, WatchedEvent, perms};
use crate::tree::{AclCheck, Change, acl};

/// Locks that share the paths, so that connections seldom wait for each other.
const SHARDS: usize = 64;
/// What may wait for one connection, in bytes. A client that reads nothing while that much happens is cut off.
const MAILBOX_BYTES_MAX: usize = 16 << 20;

/// Which of the two tables a watch stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Creation, deletion and data of the path itself.
    Data,
    /// The list of its children.
    Child,
}

/// How long a watch lasts and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until it fires.
    Standard,
    /// Until it is removed; this path only.
    Persistent,
    /// Until it is removed; this path and everything below.
    Recursive,
}

/// Every watch of one server.
#[derive(Debug)]
pub struct Watches {
    watchers: Mutex<BTreeMap<ConnId, Arc<Watcher>>>,
    shards: Vec<Mutex<Shard>>,
    /// Recursive registrations; while there is none, no ancestor is looked at.
    recursive_count: AtomicUsize,
    meters: Meters,
    acl_check: AclCheck,
}

type Shard = FxHashMap<Arc<str>, OnPath>;

/// One connection as watches see it.
#[derive(Debug)]
pub struct Watcher {
    conn: ConnId,
    /// Events in the mailbox, so that nobody locks an empty one. Whoever may read a change has taken the tree's
    /// lock after the loop put the change's events here, and so sees this number too.
    waiting: AtomicUsize,
    state: Mutex<WatcherState>,
}

#[derive(Debug)]
struct WatcherState {
    identities: Arc<Vec<Id>>,
    registered: FxHashMap<Arc<str>, Places>,
    mailbox: VecDeque<(Zxid, Bytes)>,
    mailbox_bytes: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Events were lost: the connection must end.
    Overflowed,
    Closed,
}

impl Watches {
    /// No watch at all. Events are for those whom the ACLs allow to read, if ACLs are looked at.
    pub fn new(acl_check: AclCheck) -> Watches {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Watches {
            watchers: Mutex::default(),
            shards,
            recursive_count: AtomicUsize::new(0),
            meters: Meters::default(),
            acl_check,
        }
    }

    /// A new connection, and what it may read by.
    pub fn open(&self, conn: ConnId, identities: Arc<Vec<Id>>) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::new(conn, identities));
        lock(&self.watchers).insert(conn, Arc::clone(&watcher));
        watcher
    }

    /// An open connection.
    pub fn watcher(&self, conn: ConnId) -> Option<Arc<Watcher>> {
        lock(&self.watchers).get(&conn).cloned()
    }

    /// Registers a watch; twice is the same as once, and a closed connection is ignored.
    pub fn register(&self, watcher: &Arc<Watcher>, table: Table, path: &str, mode: Mode) {
        let Some(path) = watcher.note(table, path, mode) else { return };
        if mode == Mode::Recursive {
            self.recursive_count.fetch_add(1, Ordering::Relaxed);
        }
        self.shard(&path).entry(path).or_default().table(table).insert(watcher, mode);
    }

    /// Whether this connection has a watch of the kind on exactly this path.
    pub fn has(&self, watcher: &Watcher, path: &str, kind: WatcherKind) -> bool {
        let places = watcher.lock().registered.get(path).copied().unwrap_or_default();
        covered(kind, LookOrRemove::Look).iter().any(|(table, mode)| places.table(*table).has(*mode))
    }

    /// Removes this connection's watches of the kind on exactly this path; `false` if it had none.
    pub fn remove(&self, watcher: &Watcher, path: &str, kind: WatcherKind) -> bool {
        let mut removed = false;
        for (table, mode) in covered(kind, LookOrRemove::Remove) {
            if watcher.forget(*table, path, *mode) {
                removed = true;
                self.unlist(watcher.conn, *table, path, *mode);
            }
        }
        removed
    }

    /// Forgets a connection with all its watches and events.
    pub fn close(&self, watcher: &Watcher) {
        lock(&self.watchers).remove(&watcher.conn);
        let registered = {
            let mut state = watcher.lock();
            state.phase = Phase::Closed;
            state.mailbox.clear();
            state.mailbox_bytes = 0;
            std::mem::take(&mut state.registered)
        };
        for (path, places) in registered {
            for table in [Table::Data, Table::Child] {
                for mode in [Mode::Standard, Mode::Persistent, Mode::Recursive] {
                    if places.table(table).has(mode) {
                        self.unlist(watcher.conn, table, &path, mode);
                    }
                }
            }
        }
    }

    /// Puts what a change fires into the mailboxes, in ZooKeeper's order, and adds their connections to `told`.
    pub fn fire(&self, zxid: Zxid, change: &Change, told: &mut BTreeSet<ConnId>) {
        let nobody = Fired::new();
        let mut post = |table, kind, path: &str, acl: &[Acl], except: &Fired| {
            let fired = self.collect(table, path);
            if !fired.is_empty() {
                self.meters.of(kind).observe(fired.len() as u64);
            }
            let mut frame = None;
            for (conn, watcher) in fired.iter().filter(|(conn, _)| !except.contains_key(conn)) {
                let frame = frame.get_or_insert_with(|| encode(kind, path, zxid));
                if watcher.may_read(self.acl_check, acl) && watcher.deliver(zxid, frame) {
                    self.meters.bytes.add(frame.len() as u64);
                    told.insert(*conn);
                }
            }
            fired
        };
        match change {
            Change::Created { path, acl, parent_acl } => {
                post(Table::Data, EventKind::Created, path, acl, &nobody);
                post(Table::Child, EventKind::ChildrenChanged, parent_of(path), parent_acl, &nobody);
            }
            Change::Deleted { path, acl, parent_acl } => {
                let fired = post(Table::Data, EventKind::Deleted, path, acl, &nobody);
                post(Table::Child, EventKind::Deleted, path, acl, &fired);
                post(Table::Child, EventKind::ChildrenChanged, parent_of(path), parent_acl, &nobody);
            }
            Change::DataChanged { path, acl } => {
                post(Table::Data, EventKind::DataChanged, path, acl, &nobody);
            }
        }
    }

    /// How many watches stand in the data table: a connection on a path counts once.
    pub fn data_count(&self) -> usize {
        let count = |shard: &Mutex<Shard>| lock(shard).values().map(|on| on.data.count()).sum::<usize>();
        self.shards.iter().map(count).sum()
    }

    /// Takes the standard watches of a path out of a table and lists everybody whom a change of it concerns.
    fn collect(&self, table: Table, path: &str) -> Fired {
        let mut fired = Fired::new();
        {
            let mut shard = self.shard(path);
            if let Some(on_path) = shard.get_mut(path) {
                on_path.table(table).take_fired(&mut fired);
                if on_path.is_empty() {
                    shard.remove(path);
                }
            }
        }
        for watcher in fired.values() {
            watcher.forget(table, path, Mode::Standard);
        }
        if table == Table::Data && self.recursive_count.load(Ordering::Relaxed) > 0 {
            for ancestor in ancestors(path) {
                if let Some(on_path) = self.shard(ancestor).get(ancestor) {
                    on_path.data.list_recursive(&mut fired);
                }
            }
        }
        fired
    }

    fn unlist(&self, conn: ConnId, table: Table, path: &str, mode: Mode) {
        let mut shard = self.shard(path);
        let Some(on_path) = shard.get_mut(path) else { return };
        on_path.table(table).remove(conn, mode);
        if on_path.is_empty() {
            shard.remove(path);
        }
        if mode == Mode::Recursive {
            self.recursive_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn shard(&self, path: &str) -> MutexGuard<'_, Shard> {
        // The high bits: the low ones choose the bucket inside the shard's own table.
        let index = (FxBuildHasher.hash_one(path) >> 32) as usize % self.shards.len();
        lock(&self.shards[index])
    }
}

impl Watcher {
    fn new(conn: ConnId, identities: Arc<Vec<Id>>) -> Watcher {
        let state = WatcherState {
            identities,
            registered: FxHashMap::default(),
            mailbox: VecDeque::new(),
            mailbox_bytes: 0,
            phase: Phase::Open,
        };
        Watcher { conn, waiting: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// The connection got another identity: it decides which events it may read from here on.
    pub fn set_identities(&self, identities: Arc<Vec<Id>>) {
        self.lock().identities = identities;
    }

    /// Puts an event that no txn caused, as a client needs it after a reconnect, behind the events of txns up to
    /// `zxid`, the state that it tells of. Everybody may read it.
    pub fn tell(&self, zxid: Zxid, kind: EventKind, path: &str) {
        self.deliver(zxid, &encode(kind, path, Zxid::NONE));
    }

    /// Moves the events of txns up to `zxid` from the mailbox to the end of `out`.
    /// `Err` if events were lost because too many waited: the connection must end.
    pub fn drain(&self, zxid: Zxid, out: &mut BytesMut) -> Result<(), Overflow> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut state = self.lock();
        while let Some((_, frame)) = state.mailbox.pop_front_if(|(of_event, _)| *of_event <= zxid) {
            state.mailbox_bytes -= frame.len();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            out.extend_from_slice(&frame);
        }
        if state.phase == Phase::Overflowed { Err(Overflow) } else { Ok(()) }
    }

    /// Notes a registration on the connection's side; `None` if there is nothing to do.
    fn note(&self, table: Table, path: &str, mode: Mode) -> Option<Arc<str>> {
        let mut state = self.lock();
        if state.phase == Phase::Closed {
            return None;
        }
        let key = match state.registered.get_key_value(path) {
            Some((key, places)) if places.table(table).has(mode) => {
                debug_assert_eq!(&**key, path);
                return None;
            }
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(path),
        };
        state.registered.entry(Arc::clone(&key)).or_default().table_mut(table).add(mode);
        Some(key)
    }

    fn forget(&self, table: Table, path: &str, mode: Mode) -> bool {
        let mut state = self.lock();
        let Some(places) = state.registered.get_mut(path) else { return false };
        let had = places.table_mut(table).remove(mode);
        if *places == Places::default() {
            state.registered.remove(path);
        }
        had
    }

    fn may_read(&self, check: AclCheck, acl: &[Acl]) -> bool {
        acl::allows(check, acl, perms::READ, &self.lock().identities)
    }

    fn deliver(&self, zxid: Zxid, frame: &Bytes) -> bool {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return false;
        }
        if state.mailbox_bytes + frame.len() > MAILBOX_BYTES_MAX {
            state.phase = Phase::Overflowed;
            self.waiting.fetch_add(1, Ordering::Release);
            return true;
        }
        state.mailbox_bytes += frame.len();
        state.mailbox.push_back((zxid, frame.clone()));
        self.waiting.fetch_add(1, Ordering::Release);
        true
    }

    fn lock(&self) -> MutexGuard<'_, WatcherState> {
        lock(&self.state)
    }
}

/// More events waited for a connection than a server keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAILBOX_BYTES_MAX} bytes of watch events waited for a client that does not read")]
pub struct Overflow;

#[derive(Clone, Copy, PartialEq, Eq)]
enum LookOrRemove {
    Look,
    Remove,
}

/// What a kind of watch stands for in the two tables (specification 1, section 14.7).
fn covered(kind: WatcherKind, what: LookOrRemove) -> &'static [(Table, Mode)] {
    const PERSISTENT: [(Table, Mode); 2] =
        [(Table::Data, Mode::Persistent), (Table::Child, Mode::Persistent)];
    match kind {
        WatcherKind::Children => &[(Table::Child, Mode::Standard)],
        WatcherKind::Data => &[(Table::Data, Mode::Standard)],
        WatcherKind::Any => &[
            (Table::Data, Mode::Standard),
            (Table::Data, Mode::Persistent),
            (Table::Data, Mode::Recursive),
            (Table::Child, Mode::Standard),
            (Table::Child, Mode::Persistent),
        ],
        WatcherKind::Persistent if what == LookOrRemove::Look => &PERSISTENT[..1],
        WatcherKind::Persistent => &PERSISTENT,
        WatcherKind::PersistentRecursive => &[(Table::Data, Mode::Recursive)],
    }
}

/// The whole frame of a notification.
fn encode(kind: EventKind, path: &str, zxid: Zxid) -> Bytes {
    let mut writer = Writer::new();
    encode_notification(&WatchedEvent { kind, path: path.to_owned(), zxid }, &mut writer);
    writer.finish()
}

/// The path above; the root's is the root.
fn parent_of(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

/// The path itself, then everything above it up to `/`.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |below| (*below != "/").then(|| parent_of(below)))
}

/// A panic aborts the process, so that no lock is ever left poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
