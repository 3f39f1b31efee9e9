//! The tasks around one connection of the election port: call, answer, write, read.
//!
//! In: a socket. Out: what happened to it, for the board.
//!
//! Always true:
//! * the newest notification is what a connection starts with, if there is any;
//! * a connection that cannot be read closes with one log line.
//!
//! Not here: which connection is kept (`board`).

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::board::{ElectionSettings, Note};
use crate::base::wire::DecodeError;
use crate::base::{Address, ServerId};
use crate::net::dial;
use crate::replica::event::Event;
use crate::zab::vote::{Hello, Notification, take_frame};

/// A connection, and what has arrived on it.
pub(super) struct Socket {
    /// The connection.
    pub(super) stream: TcpStream,
    /// What was read behind the initial message.
    pub(super) bytes: BytesMut,
}

/// One connection that is kept.
pub(super) struct Link {
    /// The other server.
    pub(super) peer: ServerId,
    /// Its number in this process.
    pub(super) number: u64,
    /// Cancelled when another connection takes its place.
    pub(super) stop: CancellationToken,
}

/// Accepts connections until it is stopped; each is answered in a task of its own.
pub(super) async fn accept(
    listener: TcpListener,
    settings: ElectionSettings,
    notes: mpsc::Sender<Note>,
    stop: CancellationToken,
) {
    let handshakes = std::sync::Arc::new(tokio::sync::Semaphore::new(settings.handshakes_max));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accept on the election port");
                tokio::time::sleep(settings.accept_pause).await;
                continue;
            }
        };
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            warn!(%from, "too many connections without an initial message on the election port");
            continue;
        };
        let (settings, notes) = (settings.clone(), notes.clone());
        settings.tasks.clone().spawn(async move {
            let note = answer(stream, &settings).await;
            drop(permit);
            match note {
                Ok(note) => drop(notes.send(note).await),
                Err(error) => warn!(%from, %error, "a connection on the election port is closed"),
            }
        });
    }
}

async fn answer(mut stream: TcpStream, settings: &ElectionSettings) -> io::Result<Note> {
    stream.set_nodelay(true)?;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no initial message in time");
    let mut bytes = BytesMut::new();
    let hello =
        timeout(settings.handshake_timeout, read_hello(&mut stream, &mut bytes)).await.map_err(late)??;
    let from = stream.peer_addr()?.ip();
    Ok(Note::Called { hello, from, socket: Socket { stream, bytes } })
}

async fn read_hello(stream: &mut TcpStream, bytes: &mut BytesMut) -> io::Result<Hello> {
    loop {
        if let Some(hello) = Hello::decode(bytes).map_err(invalid)? {
            return Ok(hello);
        }
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn invalid(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Calls a server and introduces this one.
pub(super) async fn call(to: ServerId, address: Address, own: Address, settings: ElectionSettings) -> Note {
    match introduce(&address, own, &settings).await {
        Ok(stream) => Note::Answered(to, Some(Socket { stream, bytes: BytesMut::new() })),
        Err(error) => {
            debug!(peer = %to, %address, %error, "no connection to the election port");
            Note::Answered(to, None)
        }
    }
}

async fn introduce(address: &Address, own: Address, settings: &ElectionSettings) -> io::Result<TcpStream> {
    let mut stream = dial::connect(address, settings.connect_timeout, settings.keep_alive).await?;
    let own = match dial::is_wildcard(&own.host) {
        true => Address { host: stream.local_addr()?.ip().to_string(), port: own.port },
        false => own,
    };
    stream.write_all(&Hello::encode(settings.id, &own)).await?;
    Ok(stream)
}

/// Writes the newest notification each time that it changes, beginning with the one that is there.
pub(super) async fn write(
    mut half: OwnedWriteHalf,
    link: Link,
    mut newest: watch::Receiver<Option<Bytes>>,
    notes: mpsc::Sender<Note>,
) {
    newest.mark_changed();
    loop {
        tokio::select! {
            () = link.stop.cancelled() => break,
            changed = newest.changed() => if changed.is_err() { break },
        }
        let payload = newest.borrow_and_update().clone();
        let Some(payload) = payload else { continue };
        if let Err(error) = half.write_all(&payload).await {
            debug!(peer = %link.peer, %error, "write on the election port");
            break;
        }
    }
    link.stop.cancel();
    drop(notes.send(Note::Ended(link.peer, link.number)).await);
}

/// Hands every notification to the loop until the connection ends.
pub(super) async fn read(
    mut half: OwnedReadHalf,
    mut bytes: BytesMut,
    link: Link,
    inbox: mpsc::Sender<Event>,
) {
    let peer = link.peer;
    let mut is_told = false;
    loop {
        match take_frame(&mut bytes) {
            Ok(Some(payload)) => {
                match Notification::decode(payload) {
                    Ok(notification) => drop(inbox.send(Event::Vote(peer, notification)).await),
                    Err(error) if !is_told => {
                        is_told = true;
                        warn!(%peer, %error, "notifications that cannot be read are skipped");
                    }
                    Err(_) => {}
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => {
                warn!(%peer, %error, "a connection on the election port is closed");
                break;
            }
        }
        let arrived = tokio::select! {
            () = link.stop.cancelled() => return,
            arrived = half.read_buf(&mut bytes) => arrived,
        };
        match arrived {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                debug!(%peer, %error, "read on the election port");
                break;
            }
        }
    }
    link.stop.cancel();
}
