//! One client's connection: its first four bytes, its frames, its replies, its end.
//!
//! In: a socket, and what the loop tells. Out: events for the loop, bytes for the client.
//!
//! Always true:
//! * nothing is read while replies wait to be written, or while the loop has too much of this client;
//! * an orderly end writes what is queued and closes without a reset; an abrupt one may lose it;
//! * the loop hears of a connection's end once, and only if it heard of the connection.
//!
//! Not here: what a frame does (`replica::conn`), limits on connections (`clients`).

mod counting;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::counting::Asked;
use super::clients::{Admitted, Clients};
use super::frames::{Budget, Frames, Unfit};
use super::gate::Part;
use super::held::{Held, Holder, Stale};
use super::words;
use crate::base::{Millis, SessionId};
use crate::replica::conn::Conn;
use crate::replica::event::{Closing, Event, ToClient};

/// How much is read at once: little at first, and more while it comes.
const READ_BYTES_MIN: usize = 512;
const READ_BYTES_MAX: usize = 16 << 10;
/// How often it is looked whether a connection had no traffic and can do without memory for it.
const WARM: Duration = Duration::from_secs(1);
/// How long a client may take nothing of what is written.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// How long the end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of a client that are thrown away before its connection is closed.
const FAREWELL_BYTES: usize = 64 << 10;

/// Runs a connection to its end.
pub(super) async fn run(mut stream: TcpStream, admitted: Admitted) {
    let clients = Arc::clone(&admitted.clients);
    let abort = admitted.entry.abort.clone();
    drop(stream.set_nodelay(true)); // a socket that is gone already tells so when it is read
    let mut bytes = BytesMut::new();
    let first = tokio::select! {
        () = abort.cancelled() => return,
        first = timeout(clients.shared.limits.sessionless_timeout.as_duration(), read_first(&mut stream, &mut bytes)) => first,
    };
    let Ok(first) = first else {
        clients.shared.stats.sessionless_expired.add(1);
        return;
    };
    let Ok(Some(first)) = first else { return };
    if let Some(word) = words::find(first) {
        clients.shared.stats.packets_received.add(1);
        clients.shared.stats.bytes_received.add(4);
        admitted.entry.received.fetch_add(1, Relaxed);
        admitted.entry.talk.on_word();
        let argument = tokio::select! {
            () = abort.cancelled() => return,
            argument = timeout(FAREWELL, read_up_to(&mut stream, &mut bytes, 4 + words::argument_bytes(word))) => argument,
        };
        if !matches!(argument, Ok(Ok(true))) {
            return;
        }
        // In boxes, since the task of a connection is as large as the largest of what it awaits.
        let answer = Box::pin(words::answer(word, &bytes[4..], &clients)).await;
        drop(admitted);
        tokio::select! {
            () = abort.cancelled() => {}
            () = Box::pin(farewell(stream, answer.as_bytes())) => {}
        }
        return;
    }
    if !clients.is_serving() || clients.is_draining() || clients.is_quiet() {
        clients.shared.stats.closed_not_serving.add(1);
        return;
    }
    let now = (clients.shared.clock)();
    let conn = Conn::new(now, admitted.id, admitted.entry.from.ip(), Arc::clone(&clients.shared.service));
    let mut session = Session {
        conn,
        stream,
        admitted,
        bytes,
        room: READ_BYTES_MIN,
        warmth: Warmth::Used,
        asked: VecDeque::new(),
        is_known: false,
        events: Vec::new(),
        held: Held::default(),
        part: Part::default(),
        large_bytes: 0,
    };
    let end = tokio::select! {
        () = abort.cancelled() => Closing::Abrupt,
        end = session.serve() => end,
    };
    session.tell_gone().await;
    let Session { stream, admitted, .. } = session;
    drop(admitted);
    match end {
        Closing::Abrupt => {}
        Closing::Orderly => Box::pin(farewell(stream, &[])).await,
    }
}

/// The first four bytes, left in `bytes`; `None` if the client goes before.
async fn read_first(stream: &mut TcpStream, bytes: &mut BytesMut) -> io::Result<Option<[u8; 4]>> {
    let is_there = read_up_to(stream, bytes, 4).await?;
    Ok(bytes.first_chunk().copied().filter(|_| is_there))
}

/// Reads until this many bytes are there; `false` if the client goes before.
async fn read_up_to(stream: &mut TcpStream, bytes: &mut BytesMut, wanted: usize) -> io::Result<bool> {
    while bytes.len() < wanted {
        bytes.reserve(READ_BYTES_MIN);
        if stream.read_buf(bytes).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes, and closes so that what was written arrives although the client sent more.
async fn farewell(mut stream: TcpStream, last: &[u8]) {
    let say = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut left = FAREWELL_BYTES;
        // Not within the task, which would be larger by it from its beginning.
        let mut bytes = vec![0; 4096];
        loop {
            let count = stream.read(&mut bytes).await?;
            left = left.saturating_sub(count);
            if count == 0 || left == 0 {
                return io::Result::Ok(());
            }
        }
    };
    drop(timeout(FAREWELL, say).await); // the client may be gone: there is nobody to tell
}

/// A connection that talks the client protocol.
struct Session {
    conn: Conn,
    stream: TcpStream,
    admitted: Admitted,
    /// What was read and not taken.
    bytes: BytesMut,
    /// How much is read at once.
    room: usize,
    warmth: Warmth,
    /// When each request that is in the loop came, and what it is.
    asked: VecDeque<Asked>,
    /// Whether the loop has heard of it.
    is_known: bool,
    /// Events that the loop has not got yet.
    events: Vec<Event>,
    /// Requests that wait since too many are in progress.
    held: Held,
    /// What it has in progress itself.
    part: Part,
    /// Bytes of its large requests in the loop.
    large_bytes: u64,
}

/// Whether a connection has memory ready for what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warmth {
    /// Something came since it was last looked whether.
    Used,
    /// Nothing came since then.
    Unused,
    /// It has given its memory back.
    Cold,
}

/// Reads what arrives. A connection that is cold only waits for it, without room to read into: `None`.
async fn arrive(
    stream: &mut TcpStream,
    bytes: &mut BytesMut,
    room: usize,
    warmth: Warmth,
) -> io::Result<Option<usize>> {
    if warmth == Warmth::Cold {
        stream.readable().await?;
        return Ok(None);
    }
    // A frame may be longer than what one read brings, but no longer than the limit.
    bytes.reserve(room);
    stream.read_buf(bytes).await.map(Some)
}

impl Session {
    async fn serve(&mut self) -> Closing {
        let clients = Arc::clone(&self.admitted.clients);
        let entry = Arc::clone(&self.admitted.entry);
        let mut batch = Vec::new();
        let mut may_have_frames = true;
        let mut cools = pin!(sleep(WARM));
        loop {
            let wants_frames = self.wants_frames(&clients);
            if may_have_frames && wants_frames {
                match self.take_frames(&clients) {
                    Ok(more) => may_have_frames = more,
                    Err(error) => {
                        warn!(from = %self.admitted.entry.from, %error, "a client's connection is closed");
                        return Closing::Abrupt;
                    }
                }
            }
            if let Err(end) = self.flush(&clients).await {
                return end;
            }
            if let Some(closing) = self.conn.closing() {
                return closing;
            }
            let wants_frames = self.wants_frames(&clients);
            if (may_have_frames && wants_frames) || self.conn.has_answers() {
                if entry.mailbox.take_now(&mut batch) {
                    self.take_told(&mut batch, &clients);
                }
                continue;
            }
            let deadline = self.conn.deadline().map(|at| after(at, (clients.shared.clock)()));
            let look = (!self.held.is_empty()).then(|| clients.gate.stall());
            let pause = [deadline, look].into_iter().flatten().min();
            let wait = async {
                match pause {
                    Some(pause) => sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let warmth = self.warmth;
            // What woke it is taken together with what there is besides, so that one write answers both.
            tokio::select! {
                biased;
                () = entry.mailbox.take(&mut batch) => {
                    if wants_frames && warmth != Warmth::Cold {
                        self.read_more(&clients);
                    }
                    self.warmth = Warmth::Used;
                }
                arrived = arrive(&mut self.stream, &mut self.bytes, self.room, warmth), if wants_frames => {
                    if !self.on_arrived(arrived, &clients) {
                        return Closing::Abrupt;
                    }
                    entry.mailbox.take_now(&mut batch);
                }
                () = wait => self.conn.on_tick((clients.shared.clock)()),
                () = &mut cools, if warmth != Warmth::Cold => {
                    cools.as_mut().reset(tokio::time::Instant::now() + WARM);
                    self.cool(&mut batch);
                }
            }
            self.take_told(&mut batch, &clients);
            may_have_frames |= !self.bytes.is_empty();
        }
    }

    /// Whether more may be read from its socket.
    fn wants_frames(&self, clients: &Clients) -> bool {
        self.conn.wants_frames()
            && !clients.is_quiet()
            && self.held.is_empty()
            && !clients.gate.is_full_for(self.asked.len())
    }

    /// Reads what has arrived already. The end is left to be found by who waits for more.
    fn read_more(&mut self, clients: &Clients) {
        self.bytes.reserve(self.room);
        if let Ok(count @ 1..) = self.stream.try_read_buf(&mut self.bytes) {
            self.on_arrived(Ok(Some(count)), clients);
        }
    }

    /// Takes note of what was read; `false` if the client is gone.
    fn on_arrived(&mut self, arrived: io::Result<Option<usize>>, clients: &Clients) -> bool {
        self.warmth = Warmth::Used;
        match arrived {
            Ok(None) => true,
            Ok(Some(0)) | Err(_) => false,
            Ok(Some(count)) => {
                clients.shared.stats.bytes_received.add(count as u64);
                if count >= self.room {
                    self.room = (4 * self.room).min(READ_BYTES_MAX);
                }
                true
            }
        }
    }

    /// Gives back what nobody needs before the next traffic, if there was none since the last time.
    fn cool(&mut self, batch: &mut Vec<ToClient>) {
        self.warmth = match self.warmth {
            Warmth::Used => Warmth::Unused,
            Warmth::Unused | Warmth::Cold => Warmth::Cold,
        };
        if self.warmth != Warmth::Cold {
            return;
        }
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        self.room = READ_BYTES_MIN;
        batch.shrink_to_fit();
        self.admitted.entry.mailbox.shrink();
        self.asked.shrink_to_fit();
        self.events.shrink_to_fit();
        self.conn.rest();
    }

    /// Takes frames; tells whether there may be more.
    fn take_frames(&mut self, clients: &Clients) -> Result<bool, Unfit> {
        let now = (clients.shared.clock)();
        let frame_bytes_max = clients.shared.limits.frame_bytes_max;
        let budget = Budget { gate: &clients.gate, part: &mut self.part, stats: &clients.shared.stats };
        let mut frames = Frames::new(&mut self.bytes, frame_bytes_max, budget);
        self.conn.on_frames(now, &mut frames);
        let (count, more) = (frames.count as u64, frames.end.is_none());
        if let Some(Err(error)) = frames.end {
            return Err(error);
        }
        if count == 0 {
            return Ok(more);
        }
        clients.shared.stats.packets_received.add(count);
        self.admitted.entry.received.fetch_add(count, Relaxed);
        Ok(more)
    }

    /// Hands events to the loop and bytes to the client.
    async fn flush(&mut self, clients: &Clients) -> Result<(), Closing> {
        self.conn.move_events(&mut self.events);
        if clients.gate.throttles() || !self.held.is_empty() {
            let from = Holder { id: self.admitted.id, granted: self.conn.granted(), stream: &self.stream };
            let may_go = self.held.sift(&mut self.events, (&self.part, self.asked.len()), from, clients);
            may_go.await.map_err(|Stale| Closing::Abrupt)?;
        }
        if !self.events.is_empty() {
            clients.mark_queue();
        }
        let at = Instant::now();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match &event {
                Event::ClientUp(_, request) => {
                    if !clients.may_connect(request.session) {
                        clients.shared.stats.connections_rejected.add(1);
                        return Err(Closing::Abrupt);
                    }
                    self.is_known = true;
                    clients.shared.stats.sessions_brought.add(u64::from(request.session != SessionId::NONE));
                    clients.shared.stats.connection_requests.add(1);
                }
                Event::Requests(_, requests) => self.note_asked(at, requests, clients),
                _ => {}
            }
            if clients.shared.inbox.send(event).await.is_err() {
                return Err(Closing::Abrupt);
            }
        }
        self.events = events; // its memory is used again
        clients.gate.count(&mut self.part, self.asked.len());
        clients.gate.give_back(&mut self.part, self.large_bytes);
        let bytes = self.conn.take_bytes();
        self.count_answered((clients.shared.clock)(), clients);
        self.show_queued();
        if bytes.is_empty() {
            return Ok(());
        }
        clients.shared.stats.response_bytes.add(bytes.len() as u64);
        clients.shared.stats.response_sizes.observe(bytes.len());
        let began = Instant::now();
        let written = timeout(WRITE_WAIT, self.stream.write_all(&bytes)).await;
        clients.shared.stats.stage_reply.observe(began.elapsed());
        if !matches!(written, Ok(Ok(()))) {
            debug!(from = %self.admitted.entry.from, "a client does not take what is written");
            return Err(Closing::Abrupt);
        }
        Ok(())
    }

    /// Tells the loop that the client is gone, if it has heard of it.
    async fn tell_gone(&mut self) {
        let clients = Arc::clone(&self.admitted.clients);
        clients.gate.leave(&mut self.part);
        self.conn.on_gone((clients.shared.clock)());
        for event in self.conn.take_events() {
            if self.is_known {
                drop(clients.shared.inbox.send(event).await);
            }
        }
    }
}

/// The time from `now` until the clock shows `at`, which it does not before its next millisecond.
fn after(at: Millis, now: Millis) -> Duration {
    (at.since(now) + Millis(1)).as_duration()
}
