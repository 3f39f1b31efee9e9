//! The quorum port: links between a leader and its learners, packets in order.
//!
//! In: packets and snapshots that the loop wants sent, links to open and close. Out: links and packets as events.
//!
//! Always true:
//! * packets of a link leave and arrive in order and without a gap, or the link is reported down;
//! * a link that is silent for too long, sends garbage, or takes too much is closed, with one log line;
//! * a snapshot is produced beside the loop, in its place among the link's packets.
//!
//! Not here: what a packet does (`zab`), its bytes (`zab::codec`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

mod link;

use self::link::{Link, Outgoing, Waiting, read, weight, write};
use super::dial::{self, KeepAlive};
use crate::base::{Address, Ensemble, LinkId, ServerId};
use crate::replica::event::Event;
use crate::tree::Image;
use crate::zab::codec::{Limits, Side};
use crate::zab::packet::Packet;

/// Packets that may wait for one link; more close it.
const PACKETS_MAX: usize = 1 << 17;
/// Links that others opened and that may stand at one time; more are turned away. Ids end at 255, and a learner that
/// comes back may have a second link while the first is not known to be dead.
const ACCEPTED_MAX: usize = 512;
/// Tries to connect to one leader, and the pause between them.
const DIAL_TRIES: u32 = 5;
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// Pause after accepting went wrong, so that a lack of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the quorum port is told.
#[derive(Clone, Debug)]
pub struct QuorumSettings {
    /// How long a link may be silent until its learner is level: `initLimit` ticks.
    pub init_silence: Duration,
    /// How long a link may be silent after that: `syncLimit` ticks.
    pub sync_silence: Duration,
    /// How long connecting to a leader may take in all.
    pub connect_limit: Duration,
    /// How much a peer may make this server hold.
    pub limits: Limits,
    /// How much may wait for links that take too little.
    pub waiting: WaitingLimits,
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
}

/// How many bytes may wait to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingLimits {
    /// For one link, for instance while it takes a snapshot; more close it.
    pub link_bytes_max: usize,
    /// For all links together; more close the one that most of them wait for.
    pub all_bytes_max: usize,
}

impl Default for WaitingLimits {
    /// 512 MiB, and 1 GiB for all: room for two learners that take long.
    fn default() -> WaitingLimits {
        WaitingLimits { link_bytes_max: 512 << 20, all_bytes_max: 1 << 30 }
    }
}

/// The quorum port.
pub struct Quorum {
    shared: Arc<Shared>,
    members: watch::Sender<Vec<Ensemble>>,
}

struct Shared {
    settings: QuorumSettings,
    inbox: mpsc::Sender<Event>,
    stop: CancellationToken,
    next_link: AtomicU64,
    links: Mutex<BTreeMap<LinkId, Handle>>,
    /// Bytes that wait for all links.
    waiting_bytes: Arc<AtomicUsize>,
    accepted: AtomicUsize,
    /// Links whose last packets are not written yet.
    writing: AtomicUsize,
    /// Whether no link is wanted any more.
    is_dismissed: AtomicBool,
}

/// What the loop holds of a link.
struct Handle {
    queue: mpsc::Sender<Outgoing>,
    waiting: Arc<Waiting>,
    stop: CancellationToken,
    /// Cancels the link's `is_last` when the loop lets go of the link.
    _is_last: DropGuard,
}

impl Quorum {
    /// A port that is not listened on yet.
    pub fn new(settings: QuorumSettings, inbox: mpsc::Sender<Event>, stop: CancellationToken) -> Quorum {
        let shared = Shared {
            settings,
            inbox,
            stop,
            next_link: AtomicU64::new(1),
            links: Mutex::new(BTreeMap::new()),
            waiting_bytes: Arc::default(),
            accepted: AtomicUsize::new(0),
            writing: AtomicUsize::new(0),
            is_dismissed: AtomicBool::new(false),
        };
        Quorum { shared: Arc::new(shared), members: watch::Sender::new(Vec::new()) }
    }

    /// Tells which memberships there are, the one in force first: addresses may have changed.
    pub fn set_members(&self, members: Vec<Ensemble>) {
        self.members.send_replace(members);
    }

    /// Accepts on this listener until the token is cancelled.
    pub fn listen(&self, listener: TcpListener, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        self.shared.settings.tasks.spawn(accept(listener, shared, stop));
    }

    /// Connects to a server; the answer is `Event::LinkUp` or `Event::DialFailed`.
    pub fn dial(&self, to: ServerId) {
        let addresses = self.members.borrow().clone();
        let member = addresses.iter().find_map(|ensemble| ensemble.members.get(&to));
        let address = member.map(|member| Address { host: member.host.clone(), port: member.quorum_port });
        let shared = Arc::clone(&self.shared);
        self.shared.settings.tasks.spawn(async move {
            let stop = shared.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = dial_leader(to, address, shared) => {}
            }
        });
    }

    /// Puts packets into the queues of their links, in order; a queue that is full closes the link.
    pub fn send(&self, packets: impl IntoIterator<Item = (LinkId, Packet)>) {
        let links = self.shared.links();
        for (link, packet) in packets {
            self.enqueue(&links, link, weight(&packet), Outgoing::Packet(packet));
        }
    }

    /// Puts a snapshot into the link's queue.
    pub fn send_snapshot(&self, link: LinkId, image: Image) {
        self.enqueue(&self.shared.links(), link, 0, Outgoing::Snapshot(image));
    }

    /// Closes a link once what is queued for it was written; nothing more is reported of it.
    pub fn close(&self, link: LinkId) {
        drop(self.shared.links().remove(&link));
    }

    /// Closes every link once what is queued for it was written, and opens none any more.
    pub fn dismiss(&self) {
        self.shared.is_dismissed.store(true, Ordering::Relaxed);
        self.shared.links().clear();
    }

    /// How many links still have something to write, or could have.
    pub fn writing_count(&self) -> usize {
        self.shared.writing.load(Ordering::Relaxed)
    }

    fn enqueue(&self, links: &BTreeMap<LinkId, Handle>, link: LinkId, weight: usize, outgoing: Outgoing) {
        let Some(handle) = links.get(&link).filter(|handle| !handle.stop.is_cancelled()) else { return };
        let limits = self.shared.settings.waiting;
        handle.waiting.add(weight);
        let is_full = handle.queue.try_send(outgoing).is_err();
        if is_full || handle.waiting.own() > limits.link_bytes_max {
            handle.give_up(link);
        }
        if self.shared.waiting_bytes.load(Ordering::Relaxed) > limits.all_bytes_max
            && let Some((link, handle)) = links.iter().max_by_key(|(_, handle)| handle.waiting.own())
            // What waits for links that were let go counts too, for the moment that they have: nobody else is to pay.
            && handle.waiting.own() >= limits.all_bytes_max / links.len()
        {
            handle.give_up(*link);
        }
    }
}

impl Handle {
    /// Ends a link for which too much waits.
    fn give_up(&self, link: LinkId) {
        if !self.stop.is_cancelled() {
            warn!(%link, waiting_bytes = self.waiting.own(), "the link takes too little and is closed");
        }
        self.stop.cancel();
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<LinkId, Handle>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, from)) if shared.accepted.load(Ordering::Relaxed) < ACCEPTED_MAX => {
                debug!(%from, "a connection on the quorum port");
                stream
            }
            Ok((_, from)) => {
                warn!(%from, "too many connections on the quorum port");
                continue;
            }
            Err(error) => {
                warn!(%error, "accept on the quorum port");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open(stream, None, Arc::clone(&shared)).await;
    }
}

async fn dial_leader(to: ServerId, address: Option<Address>, shared: Arc<Shared>) {
    let deadline = Instant::now() + shared.settings.connect_limit;
    let Some(address) = address else {
        warn!(peer = %to, "no membership tells the address of this server");
        drop(shared.inbox.send(Event::DialFailed(to)).await);
        return;
    };
    for attempt in 1..=DIAL_TRIES {
        let left = deadline.saturating_duration_since(Instant::now());
        match dial::connect(&address, left, KeepAlive::Off).await {
            Ok(stream) => {
                open(stream, Some(to), shared).await;
                return;
            }
            Err(error) => info!(peer = %to, %address, attempt, %error, "no link to the leader"),
        }
        if Instant::now() + DIAL_PAUSE >= deadline {
            break;
        }
        if attempt < DIAL_TRIES {
            sleep(DIAL_PAUSE).await;
        }
    }
    drop(shared.inbox.send(Event::DialFailed(to)).await);
}

/// Starts the tasks of a link and reports it.
async fn open(stream: TcpStream, dialed: Option<ServerId>, shared: Arc<Shared>) {
    if shared.is_dismissed.load(Ordering::Relaxed) {
        return;
    }
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "set TCP_NODELAY"); // it has gone already; reading will tell
    }
    let id = LinkId(shared.next_link.fetch_add(1, Ordering::Relaxed));
    let (queue, outgoing) = mpsc::channel(PACKETS_MAX);
    let stop = shared.stop.child_token();
    let waiting = Arc::new(Waiting::new(Arc::clone(&shared.waiting_bytes)));
    let is_last = CancellationToken::new();
    let handle = Handle {
        queue,
        waiting: Arc::clone(&waiting),
        stop: stop.clone(),
        _is_last: is_last.clone().drop_guard(),
    };
    shared.links().insert(id, handle);
    if shared.inbox.send(Event::LinkUp(id, dialed)).await.is_err() {
        return;
    }
    let (side, accepted) = match dialed {
        None => (Side::Leader, 1),
        Some(_) => (Side::Learner, 0),
    };
    shared.accepted.fetch_add(accepted, Ordering::Relaxed);
    let tasks = shared.settings.tasks.clone();
    let link = Link { id, shared, stop, is_last, is_level: Arc::default(), waiting };
    let (read_half, write_half) = stream.into_split();
    link.shared.writing.fetch_add(1, Ordering::Relaxed);
    let writing = link.clone();
    tasks.spawn(async move {
        write(write_half, &writing, outgoing).await;
        writing.shared.writing.fetch_sub(1, Ordering::Relaxed);
    });
    tasks.spawn(async move {
        read(read_half, &link, side).await;
        link.stop.cancel();
        link.shared.accepted.fetch_sub(accepted, Ordering::Relaxed);
        if link.shared.links().remove(&link.id).is_some() {
            drop(link.shared.inbox.send(Event::LinkDown(link.id)).await);
        }
    });
}

#[cfg(test)]
mod tests;
