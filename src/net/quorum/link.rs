//! The tasks of one link of the quorum port: one reads packets, one writes them.
//!
//! In: the two halves of a socket, and what is queued. Out: packets as events, bytes.
//!
//! Always true:
//! * a link that ends in one direction ends in the other;
//! * what waits for a link is counted until it is written or the link is gone.
//!
//! Not here: which links there are (`quorum`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Shared;
use crate::base::LinkId;
use crate::replica::event::Event;
use crate::tree::Image;
use crate::zab::codec::{Decoder, Side, encode, encode_snapshot_end, encode_snapshot_head};
use crate::zab::packet::Packet;

/// Bytes that are written at once, and read at once.
const BATCH_BYTES: usize = 256 << 10;
/// Packets that are taken from the queue at once.
const BATCH_PACKETS: usize = 1024;
/// Pieces of a snapshot that may wait for the socket; the thread that produces them waits for more room.
const SNAPSHOT_PIECES_MAX: usize = 4;
/// How often the loop is told that a packet which is not whole yet goes on arriving.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How long the last packets of a link that is closed may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many bytes wait for one link.
pub(super) struct Waiting {
    own: AtomicUsize,
    /// The same of all links.
    all: Arc<AtomicUsize>,
}

impl Waiting {
    /// Nothing waits yet; what will counts for all as well.
    pub(super) fn new(all: Arc<AtomicUsize>) -> Waiting {
        Waiting { own: AtomicUsize::new(0), all }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.take(self.own());
    }
}

/// What waits in a link's queue.
pub(super) enum Outgoing {
    Packet(Packet),
    Snapshot(Image),
}

/// One end of a link, as its tasks see it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) shared: Arc<Shared>,
    /// Ends both tasks at once.
    pub(super) stop: CancellationToken,
    /// Cancelled once nothing more is queued: what is left must not take for ever.
    pub(super) is_last: CancellationToken,
    /// Whether the learner at either end is level, so that silence is judged by `syncLimit`.
    pub(super) is_level: Arc<AtomicBool>,
    pub(super) waiting: Arc<Waiting>,
}

/// Hands every packet to the loop until the link ends.
pub(super) async fn read(mut half: OwnedReadHalf, link: &Link, side: Side) {
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
pub(super) async fn write(mut half: OwnedWriteHalf, link: &Link, mut queue: mpsc::Receiver<Outgoing>) {
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
            link.waiting.take(weight(&packet));
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
pub(super) fn weight(packet: &Packet) -> usize {
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
