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
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::dial;
use crate::base::{Address, Ensemble, LinkId, ServerId};
use crate::replica::event::Event;
use crate::tree::Image;
use crate::zab::codec::{Decoder, Limits, Side, encode, encode_snapshot_end, encode_snapshot_head};
use crate::zab::packet::Packet;

/// Packets that may wait for one link; more close it.
const PACKETS_MAX: usize = 1 << 17;
/// Bytes that may wait for one link, for instance while it takes a snapshot; more close it.
const BYTES_MAX: usize = 512 << 20;
/// Links that others opened and that may stand at one time; more are turned away.
const ACCEPTED_MAX: usize = 1024;
/// Bytes that are written at once, and read at once.
const BATCH_BYTES: usize = 256 << 10;
/// Packets that are taken from the queue at once.
const BATCH_PACKETS: usize = 1024;
/// Pieces of a snapshot that may wait for the socket; the thread that produces them waits for more room.
const SNAPSHOT_PIECES_MAX: usize = 4;
/// Tries to connect to one leader, and the pause between them.
const DIAL_TRIES: u32 = 5;
const DIAL_PAUSE: Duration = Duration::from_millis(100);
/// How often the loop is told that a packet which is not whole yet goes on arriving.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long the last packets of a link that is closed may take.
const FAREWELL: Duration = Duration::from_secs(1);
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
    /// Every task is waited for at the end.
    pub tasks: TaskTracker,
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
    accepted: AtomicUsize,
    /// Links whose last packets are not written yet.
    writing: AtomicUsize,
    /// Whether no link is wanted any more.
    is_dismissed: AtomicBool,
}

/// What the loop holds of a link.
struct Handle {
    queue: mpsc::Sender<Outgoing>,
    waiting_bytes: Arc<AtomicUsize>,
    stop: CancellationToken,
    /// Cancels the link's `is_last` when the loop lets go of the link.
    _is_last: DropGuard,
}

enum Outgoing {
    Packet(Packet),
    Snapshot(Image),
}

/// One end of a link, as its tasks see it.
#[derive(Clone)]
struct Link {
    id: LinkId,
    shared: Arc<Shared>,
    /// Ends both tasks at once.
    stop: CancellationToken,
    /// Cancelled once nothing more is queued: what is left must not take for ever.
    is_last: CancellationToken,
    /// Whether the learner at either end is level, so that silence is judged by `syncLimit`.
    is_level: Arc<AtomicBool>,
    waiting_bytes: Arc<AtomicUsize>,
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

    /// Puts a packet into the link's queue; a queue that is full closes the link.
    pub fn send(&self, link: LinkId, packet: Packet) {
        self.enqueue(link, weight(&packet), Outgoing::Packet(packet));
    }

    /// Puts a snapshot into the link's queue.
    pub fn send_snapshot(&self, link: LinkId, image: Image) {
        self.enqueue(link, 0, Outgoing::Snapshot(image));
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

    fn enqueue(&self, link: LinkId, weight: usize, outgoing: Outgoing) {
        let links = self.shared.links();
        let Some(handle) = links.get(&link) else { return };
        let waiting = handle.waiting_bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        if waiting > BYTES_MAX || handle.queue.try_send(outgoing).is_err() {
            if !handle.stop.is_cancelled() {
                warn!(%link, waiting_bytes = waiting, "the link takes too little and is closed");
            }
            handle.stop.cancel();
        }
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
        match dial::connect(&address, left).await {
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
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let is_last = CancellationToken::new();
    let handle = Handle {
        queue,
        waiting_bytes: Arc::clone(&waiting_bytes),
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
    let link = Link { id, shared, stop, is_last, is_level: Arc::default(), waiting_bytes };
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

/// Hands every packet to the loop until the link ends.
async fn read(mut half: OwnedReadHalf, link: &Link, side: Side) {
    let settings = &link.shared.settings;
    let mut decoder = Decoder::new(side, settings.limits);
    let mut bytes = BytesMut::with_capacity(BATCH_BYTES / 8);
    let mut told = Instant::now();
    loop {
        let mut is_whole = false;
        loop {
            match decoder.feed(&mut bytes) {
                Ok(None) => break,
                Ok(Some(packet)) => {
                    is_whole = true;
                    if matches!(packet, Packet::UpToDate) {
                        link.is_level.store(true, Ordering::Relaxed);
                    }
                    if link.shared.inbox.send(Event::Packet(link.id, packet)).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    warn!(link = %link.id, %error, "a link is closed: what it sent is no packet");
                    return;
                }
            }
        }
        // A snapshot takes its time: the loop must know that it goes on.
        let is_long = !is_whole && !bytes.is_empty() && told.elapsed() >= PROGRESS_EVERY;
        if is_whole || is_long {
            told = Instant::now();
        }
        if is_long && link.shared.inbox.send(Event::Progress(link.id)).await.is_err() {
            return;
        }
        let silence = match link.is_level.load(Ordering::Relaxed) {
            true => settings.sync_silence,
            false => settings.init_silence,
        };
        bytes.reserve(BATCH_BYTES / 8);
        let arrived = tokio::select! {
            () = link.stop.cancelled() => return,
            arrived = timeout(silence, half.read_buf(&mut bytes)) => arrived,
        };
        match arrived {
            Ok(Ok(0)) => {
                debug!(link = %link.id, "the other end closed the link");
                return;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                debug!(link = %link.id, %error, "the link broke");
                return;
            }
            Err(_) => {
                warn!(link = %link.id, ?silence, "a link is closed: it is silent");
                return;
            }
        }
    }
}

/// Writes what is queued until the queue or the link ends.
async fn write(mut half: OwnedWriteHalf, link: &Link, mut queue: mpsc::Receiver<Outgoing>) {
    let mut batch = Vec::new();
    let mut bytes = BytesMut::new();
    loop {
        tokio::select! {
            () = link.stop.cancelled() => return,
            count = queue.recv_many(&mut batch, BATCH_PACKETS) => if count == 0 { break },
        }
        let written = async {
            for outgoing in batch.drain(..) {
                write_one(&mut half, &mut bytes, outgoing, link).await?;
            }
            half.write_all_buf(&mut bytes).await
        };
        let late = async {
            link.is_last.cancelled().await;
            sleep(FAREWELL).await;
        };
        let written: io::Result<()> = tokio::select! {
            () = link.stop.cancelled() => return,
            () = late => Err(io::ErrorKind::TimedOut.into()),
            written = written => written,
        };
        if let Err(error) = written {
            debug!(link = %link.id, %error, "the link broke");
            break;
        }
    }
    drop(half.shutdown().await);
    link.stop.cancel();
}

async fn write_one(
    half: &mut OwnedWriteHalf,
    bytes: &mut BytesMut,
    outgoing: Outgoing,
    link: &Link,
) -> io::Result<()> {
    match outgoing {
        Outgoing::Packet(packet) => {
            link.waiting_bytes.fetch_sub(weight(&packet), Ordering::Relaxed);
            if matches!(packet, Packet::UpToDate) {
                link.is_level.store(true, Ordering::Relaxed);
            }
            encode(&packet, bytes);
        }
        Outgoing::Snapshot(image) => {
            encode_snapshot_head(image.zxid(), bytes);
            half.write_all_buf(bytes).await?;
            write_snapshot(half, image, link.id).await?;
            encode_snapshot_end(bytes);
        }
    }
    if bytes.len() >= BATCH_BYTES {
        half.write_all_buf(bytes).await?;
    }
    Ok(())
}

/// Streams a tree whose pieces come from a thread that may take its time.
async fn write_snapshot(half: &mut OwnedWriteHalf, image: Image, link: LinkId) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(SNAPSHOT_PIECES_MAX);
    let producer = tokio::task::spawn_blocking(move || image.write_body(&mut Pieces(sender)));
    let mut sent_bytes = 0;
    while let Some(mut piece) = pieces.recv().await {
        sent_bytes += piece.len();
        half.write_all_buf(&mut piece).await?;
    }
    info!(%link, sent_bytes, "a snapshot is sent");
    producer.await.map_err(io::Error::other)?
}

/// Hands what is written to it on in pieces; waits while too many wait.
struct Pieces(mpsc::Sender<Bytes>);

impl io::Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Bytes::copy_from_slice(piece)).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a packet counts against the bytes that may wait.
fn weight(packet: &Packet) -> usize {
    const FIXED: usize = 64;
    FIXED
        + match packet {
            Packet::Proposal(proposal) | Packet::Inform(proposal) => proposal.txn.len(),
            Packet::InformAndActivate { proposal, .. } => proposal.txn.len(),
            Packet::Request(forwarded) => forwarded.body.len(),
            Packet::Snap { body, .. } => body.len(),
            Packet::Pong { touched, .. } => touched.len() * 12,
            Packet::NewLeader { config, .. } => config.as_ref().map_or(0, String::len),
            Packet::LearnerInfo { .. }
            | Packet::LeaderInfo { .. }
            | Packet::AckEpoch { .. }
            | Packet::Diff(_)
            | Packet::Trunc(_)
            | Packet::UpToDate
            | Packet::Ack(_)
            | Packet::Commit(_)
            | Packet::CommitAndActivate { .. }
            | Packet::Ping(_)
            | Packet::Revalidate { .. }
            | Packet::Revalidated { .. }
            | Packet::Sync
            | Packet::HandOver { .. } => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that takes nothing and goes on sending must not hold a link that the loop has closed.
    #[tokio::test]
    async fn a_link_that_is_closed_ends_although_its_peer_takes_nothing() {
        let (inbox, mut events) = mpsc::channel(1024);
        let tasks = TaskTracker::new();
        let limits = Limits { buffer_bytes_max: 4 << 20, snapshot_bytes_max: 4 << 20 };
        let long = Duration::from_secs(3600);
        let settings = QuorumSettings {
            init_silence: long,
            sync_silence: long,
            connect_limit: long,
            limits,
            tasks: tasks.clone(),
        };
        let stop = CancellationToken::new();
        let quorum = Quorum::new(settings, inbox, stop.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let listening = stop.child_token();
        quorum.listen(listener, listening.clone());
        let peer = TcpStream::connect(address).await.expect("it listens");
        let Some(Event::LinkUp(link, None)) = events.recv().await else { panic!("a link stands") };
        let config = Some("x".repeat(1 << 20));
        for _ in 0..64 {
            quorum.send(link, Packet::NewLeader { zxid: crate::base::Zxid(0), config: config.clone() });
        }
        peer.readable().await.expect("it writes, and is stuck soon");
        quorum.close(link);
        listening.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(quorum.writing_count(), 0);
    }
}
