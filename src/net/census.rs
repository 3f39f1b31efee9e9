//! Who is there: connections, sessions, ephemeral nodes, watches, directories; for the words and the admin port.
//!
//! In: the client port. Out: plain data at the time of asking, without the loop where that can be.
//!
//! Always true:
//! * a list has a limit, beyond which there is a refusal instead of a part of it;
//! * nothing is kept between two questions.
//!
//! Not here: the texts (`words`) and the JSON (`commands`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::clients::Clients;
use super::talk::{ConnectionKind, Said};
use crate::base::{Millis, Now, SessionId};

/// Entries of a list; ZooKeeper lists them all, in one text in its memory.
pub const LISTED_MAX: usize = 1_000_000;
/// How finely the expiry of connections is told: ZooKeeper's `nio.sessionlessCnxnTimeout`.
const EXPIRY_STEP: u64 = 10_000;

/// There is more than is listed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {LISTED_MAX} entries, which is more than is listed")]
pub struct TooMany;

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The client's address.
    pub from: std::net::SocketAddr,
    /// Since when it is there.
    pub since: Now,
    /// Requests in progress.
    pub queued: u32,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// What it was about.
    pub said: Said,
}

impl Connection {
    /// What the connection waits for, as a bit mask of Java's: 1 to be readable, 0 for nothing.
    pub fn interest(&self) -> u32 {
        match self.said.kind {
            ConnectionKind::Word => 0,
            ConnectionKind::New | ConnectionKind::Session(_) => 1,
        }
    }

    /// When it would be closed for its silence, as ZooKeeper's sockets count it.
    pub fn expiry(&self) -> Millis {
        let (from, timeout) = match self.said.kind {
            ConnectionKind::Session(granted) => (self.said.at.max(self.since.mono), granted.timeout.0),
            ConnectionKind::New | ConnectionKind::Word => (self.since.mono, EXPIRY_STEP),
        };
        Millis(((from.0 + timeout) / EXPIRY_STEP + 1) * EXPIRY_STEP)
    }
}

/// Every connection, in the order in which they came.
pub fn connections(clients: &Clients) -> Vec<Connection> {
    let connection = |entry: &super::clients::Entry| Connection {
        from: entry.from,
        since: entry.talk.since(),
        queued: entry.queued.load(Relaxed),
        received: entry.received.load(Relaxed),
        sent: entry.sent.load(Relaxed),
        said: entry.talk.said(),
    };
    clients.entries().iter().map(|(_, entry)| connection(entry)).collect()
}

/// The paths in the data table of watches, by session.
pub fn watched_by_session(clients: &Clients) -> Result<BTreeMap<SessionId, Vec<Arc<str>>>, TooMany> {
    let watches = &clients.shared.service.watches;
    let (mut listed, mut left) = (BTreeMap::new(), LISTED_MAX);
    for (conn, entry) in clients.entries() {
        let Some(session) = entry.talk.said().session() else { continue };
        let paths = watches.data_paths(conn, left + 1);
        left = left.checked_sub(paths.len()).ok_or(TooMany)?;
        if !paths.is_empty() {
            listed.insert(session, paths);
        }
    }
    Ok(listed)
}

/// The sessions that watch each path of the data table.
pub fn watched_by_path(clients: &Clients) -> Result<BTreeMap<Arc<str>, Vec<SessionId>>, TooMany> {
    let mut listed: BTreeMap<Arc<str>, Vec<SessionId>> = BTreeMap::new();
    for (session, paths) in watched_by_session(clients)? {
        for path in paths {
            listed.entry(path).or_default().push(session);
        }
    }
    Ok(listed)
}

/// The ephemeral nodes of each session.
pub fn ephemerals(clients: &Clients) -> Result<BTreeMap<SessionId, Vec<String>>, TooMany> {
    clients.shared.service.tree.read(|tree| {
        let owners: Vec<(SessionId, usize)> = tree.ephemeral_owners().collect();
        if owners.iter().map(|(_, count)| count).sum::<usize>() > LISTED_MAX {
            return Err(TooMany);
        }
        Ok(owners.into_iter().map(|(session, _)| (session, tree.ephemerals(session))).collect())
    })
}

/// The replicated sessions with their timeouts, in ms.
pub fn sessions(clients: &Clients) -> BTreeMap<SessionId, i32> {
    clients.shared.service.tree.read(|tree| tree.sessions().clone())
}

/// How many plain connections come from elsewhere, and how many from this machine.
pub fn plain_counts(clients: &Clients) -> (usize, usize) {
    let (local, remote): (Vec<_>, Vec<_>) =
        clients.entries().into_iter().partition(|(_, entry)| entry.from.ip().is_loopback());
    (remote.len(), local.len())
}

/// The zxid in the name of the newest snapshot, and when it was written, in seconds since 1970; `None` without one.
pub fn last_snapshot(dir: &Path) -> Option<(i64, u64)> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let snapshots = entries.filter_map(|entry| {
        let name = entry.file_name();
        let zxid = name.to_str()?.strip_prefix("snapshot.")?.split('.').next()?;
        let written = entry.metadata().ok()?.modified().ok()?;
        let seconds = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
        Some((i64::from_str_radix(zxid, 16).ok()?, seconds))
    });
    snapshots.max()
}

/// Bytes of the files below a directory, at any depth; what cannot be read counts nothing.
pub fn size_of(dir: &Path) -> u64 {
    let mut sum = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => dirs.push(entry.path()),
                Ok(metadata) => sum += metadata.len(),
                Err(_) => {} // it went in the meantime
            }
        }
    }
    sum
}
