//! Performs effects: to the disk, to links, to connections.
//!
//! In: effects, in the order given. Out: writes, packets, notifications, replies, ports.
//!
//! Always true:
//! * effects of one kind are begun in the order given, and a turn of the loop ends with `flush`;
//! * nothing here waits for a peer or a client.
//!
//! Not here: what to do (`replica`), how (`net`, `storage`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::clock;
use super::exit::SNAPSHOT_FAILED;
use super::identity::Identity;
use super::ports::Ports;
use crate::base::{Ensemble, LinkId, Millis, ServerId, Write, WriteSeq};
use crate::net::clients::{Clients, Told};
use crate::net::election::Election;
use crate::net::facts::{Written, serves};
use crate::net::health::Health;
use crate::net::quorum::Quorum;
use crate::net::stats::Stats;
use crate::replica::event::{Effect, Event};
use crate::storage::{Busy, Error, Snapshots, Writer};
use crate::tree::{Image, Passed};
use crate::zab::effects::Status;
use crate::zab::packet::Packet;

/// So many writes, of so many bytes, are at most written by the loop itself.
const WRITES_HERE_MAX: usize = 32;
const BYTES_HERE_MAX: usize = 64 << 10;
/// A disk that took this long is left to its own thread for a while.
const DISK_SLOW: Duration = Duration::from_millis(5);
const DISK_SLOW_WAIT: Millis = Millis(1_000);
/// Passing a quota's limit is logged at most this often, as in Apache ZooKeeper; the others are counted.
const LIMITS_TOLD_EVERY: Millis = Millis(100);

/// What effects are performed by, besides the disk.
pub struct Outside {
    /// The client port.
    pub clients: Arc<Clients>,
    /// The ports between servers; `None` alone.
    pub peers: Option<(Arc<Quorum>, Arc<Election>)>,
    /// Where this server listens.
    pub ports: Ports,
    /// Signs of life.
    pub health: Arc<Health>,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Where outcomes of work beside the loop are told.
    pub inbox: mpsc::Sender<Event>,
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
}

/// What the edge is told once.
pub struct EdgeSettings {
    /// How many snapshots are kept when old ones are removed.
    pub snapshots_kept: u32,
    /// Whether clients are served while this server leads.
    pub leader_serves: bool,
}

/// What one turn of the loop has for others: each of them gets it at once, for one lock and one wake-up.
#[derive(Default)]
struct Gathered {
    writes: Vec<(WriteSeq, Write)>,
    packets: Vec<(LinkId, Packet)>,
    told: Vec<Told>,
}

/// Everything outside of the replica.
pub struct Edge {
    /// The disk thread.
    pub writer: Writer,
    /// The client port.
    pub clients: Arc<Clients>,
    /// The ports between servers; `None` alone.
    pub peers: Option<(Arc<Quorum>, Arc<Election>)>,
    /// Where this server listens.
    pub ports: Ports,
    /// Signs of life.
    pub health: Arc<Health>,
    /// What this server is, since when.
    pub status: (Status, Millis),
    /// The last write that was given to the disk.
    pub written: WriteSeq,
    /// Who waits for the outcome of a hand-over.
    pub transfers: Vec<oneshot::Sender<Result<ServerId, String>>>,
    gathered: Gathered,
    /// From when on the loop may wait for the disk.
    quick_from: Millis,
    snapshots: Snapshots,
    stats: Arc<Stats>,
    inbox: mpsc::Sender<Event>,
    tasks: TaskTracker,
    identity: Option<Identity>,
    settings: EdgeSettings,
    /// Since when it has no leader.
    looking_since: Option<Millis>,
    /// Since when it does not serve.
    away_since: Option<Millis>,
    /// Whether clients that only read are served until there is a leader.
    is_read_only: bool,
    /// When it was last told that a limit of a quota is passed.
    limit_told: Option<Millis>,
    /// How often one was passed since then.
    limits_untold: u64,
}

impl Edge {
    /// The edge of a server that begins to look for a leader.
    pub fn new(
        writer: Writer,
        snapshots: Snapshots,
        outside: Outside,
        identity: Option<Identity>,
        settings: EdgeSettings,
    ) -> Edge {
        let Outside { clients, peers, ports, health, stats, inbox, tasks } = outside;
        let now = clock::mono();
        Edge {
            writer,
            clients,
            ports,
            health,
            status: (Status::Looking, now),
            written: WriteSeq(0),
            transfers: Vec::new(),
            gathered: Gathered::default(),
            quick_from: now,
            snapshots,
            peers,
            stats,
            inbox,
            tasks,
            identity,
            settings,
            looking_since: Some(now),
            away_since: Some(now),
            is_read_only: false,
            limit_told: None,
            limits_untold: 0,
        }
    }

    /// Begins what an effect asks for, at the latest with the next `flush`.
    pub fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Write(seq, write) => self.write(seq, write),
            Effect::Send(link, packet) => {
                match &packet {
                    Packet::Diff(_) => self.stats.diffs_sent.add(1),
                    Packet::Revalidated { .. } => self.stats.revalidations.add(1),
                    _ => {}
                }
                self.gathered.packets.push((link, packet));
            }
            Effect::SendSnapshot(link, image) => {
                self.flush_packets();
                self.stats.snapshots_sent.add(1);
                if let Some((quorum, _)) = &self.peers {
                    quorum.send_snapshot(link, image);
                }
            }
            Effect::Vote(to, notification) => {
                if let Some((_, election)) = &self.peers {
                    election.send(to, &notification);
                }
            }
            Effect::Dial(to) => {
                if let Some((quorum, _)) = &self.peers {
                    quorum.dial(to);
                }
            }
            Effect::DropLink(link) => {
                self.flush_packets();
                if let Some((quorum, _)) = &self.peers {
                    quorum.close(link);
                }
            }
            Effect::TakeSnapshot(image) => self.take_snapshot(image, None),
            Effect::Client(conn, told) => self.gathered.told.push(Told::One(conn, told)),
            Effect::Notify(zxid, conns) => self.gathered.told.push(Told::Notify(zxid, conns)),
            Effect::Status(status) => {
                self.flush();
                self.on_status(status);
            }
            Effect::ReadOnly => {
                info!("no leader: clients that only read are served");
                self.is_read_only = true;
                self.clients.serve();
            }
            Effect::Ensemble(ensemble) => self.on_ensemble(&ensemble),
            Effect::LimitPassed(limit) => self.on_limit_passed(&limit),
            Effect::Transferred(outcome) => {
                match &outcome {
                    Ok(leader) => info!(%leader, "leadership is handed over"),
                    Err(reason) => warn!(reason, "leadership is not handed over"),
                }
                for waiting in self.transfers.drain(..) {
                    drop(waiting.send(outcome.clone())); // who asked may have gone
                }
            }
        }
    }

    fn write(&mut self, seq: WriteSeq, write: Write) {
        if let (Write::Append { txn, .. }, Status::Leading(_) | Status::Standalone) = (&write, self.status.0)
        {
            self.stats.proposals.add(1);
            self.stats.proposal_sizes.observe(txn.len());
        }
        if let Some(memberships) = memberships(&write) {
            self.on_memberships(&memberships);
        }
        self.health.on_write(seq);
        self.written = seq;
        self.gathered.writes.push((seq, write));
    }

    /// Hands over what was gathered: first what others have to work on, last what they wait for. Answers how long the
    /// loop has waited for the disk.
    pub fn flush(&mut self) -> Duration {
        self.flush_packets();
        if self.may_write_here() {
            self.flush_told();
            return self.write_here();
        }
        self.flush_writes();
        self.flush_told();
        Duration::ZERO
    }

    fn flush_told(&mut self) {
        if !self.gathered.told.is_empty() {
            self.clients.tell(self.gathered.told.drain(..));
        }
    }

    /// Whether the loop may wait for the disk itself: where no other server waits for it meanwhile, nothing can go on
    /// before a few small writes are durable, and the disk has been quick.
    fn may_write_here(&self) -> bool {
        let writes = &self.gathered.writes;
        if self.peers.is_some() || writes.is_empty() || writes.len() > WRITES_HERE_MAX {
            return false;
        }
        let bytes = writes.iter().try_fold(0, |sum, (_, write)| match write {
            Write::Append { txn, .. } => Some(sum + txn.len()),
            Write::Epochs(_) | Write::Ensemble { .. } | Write::Truncate(_) | Write::Replace { .. } => None,
        });
        bytes.is_some_and(|bytes| bytes <= BYTES_HERE_MAX) && clock::mono() >= self.quick_from
    }

    fn write_here(&mut self) -> Duration {
        let begun = Instant::now();
        if let Err(Busy(writes)) = self.writer.write_here(std::mem::take(&mut self.gathered.writes)) {
            self.writer.write(writes);
        }
        let took = begun.elapsed();
        if took >= DISK_SLOW {
            self.quick_from = clock::mono() + DISK_SLOW_WAIT;
        }
        took
    }

    fn flush_packets(&mut self) {
        if let Some((quorum, _)) = &self.peers
            && !self.gathered.packets.is_empty()
        {
            quorum.send(self.gathered.packets.drain(..));
        }
    }

    fn flush_writes(&mut self) {
        if !self.gathered.writes.is_empty() {
            self.writer.write(std::mem::take(&mut self.gathered.writes));
        }
    }

    fn on_limit_passed(&mut self, limit: &Passed) {
        let now = clock::mono();
        if self.limit_told.is_some_and(|told| now < told + LIMITS_TOLD_EVERY) {
            self.limits_untold += 1;
            return;
        }
        self.limit_told = Some(now);
        let untold = std::mem::take(&mut self.limits_untold);
        let Passed { quota, measure, limit_kind, limit, amount } = limit;
        warn!(quota, ?measure, ?limit_kind, limit, amount, untold, "quota exceeded");
    }

    fn on_status(&mut self, status: Status) {
        let now = clock::mono();
        if self.status.0 == status {
            return;
        }
        let (old, since) = self.status;
        let joined = now.since(since).0;
        match (old, status) {
            (Status::Joining(_), Status::Following(..)) => self.stats.follower_sync_time.observe(joined),
            (Status::Joining(_), Status::Observing(..)) => self.stats.observer_sync_time.observe(joined),
            (_, _) => {}
        }
        let had_leader = !matches!(self.status.0, Status::Looking);
        self.status = (status, now);
        match (status, self.looking_since) {
            (Status::Looking, None) => {
                self.looking_since = Some(now);
                self.stats.looking.add(1);
            }
            (Status::Looking, Some(_)) if had_leader => self.stats.looking.add(1),
            (Status::Looking, Some(_)) => {}
            (_, Some(since)) => {
                self.stats.election_time.observe(now.since(since).0);
                self.looking_since = None;
            }
            (_, None) => {}
        }
        if self.is_read_only && !status.is_leaderless() {
            self.is_read_only = false;
            self.clients.close_all();
        }
        if serves(status) {
            self.on_serving(status, now);
        } else {
            self.away_since.get_or_insert(now);
            if !self.is_read_only {
                self.clients.close_all();
            }
        }
        info!(from = ?old, to = ?status, "status"); // whoever reads it may rely on it
    }

    fn on_serving(&mut self, status: Status, now: Millis) {
        if let Some(since) = self.away_since.take() {
            self.stats.unavailable_time.observe(now.since(since).0);
            if let Status::Leading(_) = status {
                self.stats.leader_unavailable_time.observe(now.since(since).0);
            }
        }
        if let Some(Err(source)) = self.identity.as_mut().map(Identity::on_level) {
            error!(error = %source, "the identity of this disk cannot be written; the server ends");
            std::process::exit(i32::from(super::exit::WRITE_FAILED));
        }
        let leads = matches!(status, Status::Leading(_));
        if leads && !self.settings.leader_serves {
            self.clients.close_all();
        } else {
            self.clients.serve();
        }
    }

    fn on_ensemble(&mut self, ensemble: &Ensemble) {
        info!(version = %ensemble.version, members = %ensemble.lines().join(" "), "membership in force");
        self.ports.follow(ensemble);
    }

    /// A server that is only proposed may lead already, and must be reached.
    fn on_memberships(&self, memberships: &[Ensemble]) {
        if let Some((quorum, election)) = &self.peers {
            quorum.set_members(memberships.to_vec());
            election.set_members(memberships.to_vec());
        }
    }

    /// Writes a snapshot beside the loop. If somebody asked for it, a failure is theirs, else it ends the server.
    pub fn take_snapshot(&mut self, image: Image, asked: Option<oneshot::Sender<Result<Written, String>>>) {
        self.flush_writes();
        self.writer.roll();
        let (snapshots, stats, inbox) = (self.snapshots.clone(), Arc::clone(&self.stats), self.inbox.clone());
        self.tasks.spawn_blocking(move || {
            let (zxid, begun) = (image.zxid(), Instant::now());
            let written = snapshots.write(zxid, image.digest(), |out| image.write_body(out));
            let took = begun.elapsed();
            stats.snapshot_time.observe(Millis::from(took).0);
            match &written {
                Ok(()) => info!(%zxid, ?took, "a snapshot is written"),
                Err(Error::Outdated { .. }) => {
                    info!(%zxid, "a snapshot is dropped: the history was replaced")
                }
                Err(error) if asked.is_some() => warn!(%zxid, %error, "a snapshot cannot be written"),
                Err(error) if error.is_full() => {
                    error!(%zxid, %error, "there is no room for a snapshot; the log goes on without it")
                }
                Err(error) => {
                    error!(%zxid, %error, "a snapshot cannot be written; the server ends");
                    std::process::exit(i32::from(SNAPSHOT_FAILED));
                }
            }
            let outcome = written.map_err(|error| error.to_string());
            if let Some(asked) = asked {
                let written = outcome.clone().map(|()| Written { zxid, path: snapshots.path(zxid) });
                drop(asked.send(written)); // who asked may have gone
            }
            drop(inbox.blocking_send(Event::SnapshotTaken(zxid, outcome))); // the loop may have ended
        });
    }

    /// Keeps so many snapshots from here on.
    pub fn set_snapshots_kept(&mut self, count: u32) {
        self.settings.snapshots_kept = count;
    }

    /// Removes old snapshots and logs, beside the loop.
    pub fn purge(&self) {
        let (snapshots, kept) = (self.snapshots.clone(), self.settings.snapshots_kept as usize);
        self.tasks.spawn_blocking(move || match snapshots.purge(kept) {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => info!(files = gone.len(), "old snapshots and logs are removed"),
            Err(error) => warn!(%error, "old snapshots and logs cannot be removed"),
        });
    }
}

/// The memberships that a write stores, the one in force first; `None` if it stores none.
fn memberships(write: &Write) -> Option<Vec<Ensemble>> {
    match write {
        Write::Ensemble { current, proposed } => {
            let texts = [Some(current), proposed.as_ref()].into_iter().flatten();
            Some(texts.filter_map(|text| Ensemble::parse(text).ok()).collect())
        }
        Write::Append { .. } | Write::Epochs(_) | Write::Truncate(_) | Write::Replace { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epochs;

    #[test]
    fn the_addresses_of_a_proposed_membership_are_known_before_it_is_in_force() {
        let (one, two) = ("server.1=one:2888:3888:participant", "server.2=two:2888:3888:participant");
        let current = format!("{one}\nversion=1");
        let proposed = Some(format!("{one}\n{two}\nversion=2"));
        let found = memberships(&Write::Ensemble { current, proposed }).expect("memberships");
        let ids = |ensemble: &Ensemble| ensemble.members.keys().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(
            found.iter().map(ids).collect::<Vec<_>>(),
            [vec![1], vec![1, 2]],
            "the one in force first"
        );
        assert_eq!(memberships(&Write::Epochs(Epochs::default())), None);
    }
}
