//! A copy of the tree for who asks: a snapshot is written, and sent as it stands on disk; and the way back.
//!
//! In: a question to the loop, then the file; or a file. Out: an answer whose body is the file; or the tree in force.
//!
//! Always true:
//! * what is sent is a snapshot that is durable and stays in the data directory;
//! * a client that takes nothing for a while ends the copy, and costs two pieces of memory until then.
//!
//! Not here: who may ask (`guard`), writing the file (`server::edge`).

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Map;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use super::{Answer, Payload, ReadSnapshot, in_json};
use crate::base::Zxid;
use crate::net::clients::Clients;
use crate::zab::effects::Status;

/// How much is read and sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long a client may take nothing.
const TAKE_WAIT: Duration = Duration::from_secs(30);

/// The longest snapshot that is restored: it is held in memory beside the tree.
const RESTORED_BYTES_MAX: usize = 4 << 30;
/// What a member of an ensemble says to a snapshot.
const ON_A_MEMBER: &str = "a member keeps the history that its ensemble agreed on, so that nothing acknowledged is lost; \
                           to restore, stop every member, move version-2 of its dataDir and dataLogDir away, and put the \
                           snapshot file into a new version-2 of dataDir";

/// Whether the file is sent, or only written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streaming {
    /// It is sent.
    Yes,
    /// It is only written.
    No,
}

/// Writes a snapshot, and answers with it; the error says why it could not be written or read.
pub(super) async fn snapshot(clients: &Clients, streaming: Streaming) -> Result<Answer, String> {
    let written = clients.shared.asker.snapshot().await.ok_or("the loop does not answer")??;
    let open = |error: std::io::Error| format!("open {}: {error}", written.path.display());
    let file = File::open(&written.path).map_err(open)?;
    let bytes = file.metadata().map_err(open)?.len();
    let mut answer = match streaming {
        Streaming::No => in_json(StatusCode::OK, "snapshot", Map::new(), None),
        Streaming::Yes => {
            let (pieces, payload) = Payload::of_pieces(bytes);
            clients.shared.tasks.spawn(send(file, pieces));
            let mut answer = Response::new(payload);
            let kind = HeaderValue::from_static("application/octet-stream");
            answer.headers_mut().insert(CONTENT_TYPE, kind);
            answer
        }
    };
    let header = |text: String| text.parse::<HeaderValue>().expect("digits are a header value");
    answer.headers_mut().insert("last_zxid", header(written.zxid.to_string()));
    answer.headers_mut().insert("snapshot_size", header(bytes.to_string()));
    Ok(answer)
}

/// Takes the tree of the snapshot file that comes, on a server that is alone; answers with the last txn in it once it is
/// durable. The error says why it is not taken.
pub(super) async fn restore(body: Incoming, clients: &Clients, read: ReadSnapshot) -> Result<Zxid, String> {
    let facts = clients.shared.asker.ask().await.ok_or("the loop does not answer")?;
    if facts.status != Status::Standalone {
        return Err(ON_A_MEMBER.to_owned());
    }
    let content = receive(body).await?;
    let read = tokio::task::spawn_blocking(move || read(&content)).await;
    let (last, body) = read.map_err(|error| error.to_string())??;
    let zxid = clients.shared.asker.restore(last, body).await.ok_or("the loop does not answer")??;
    info!(%last, %zxid, "the tree is that of a snapshot");
    Ok(last)
}

/// The whole body.
async fn receive(mut body: Incoming) -> Result<Bytes, String> {
    let mut content = BytesMut::new();
    loop {
        let frame = timeout(TAKE_WAIT, body.frame()).await.map_err(|_| "the body does not come")?;
        let Some(frame) = frame else { return Ok(content.freeze()) };
        let Ok(piece) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
        if content.len() + piece.len() > RESTORED_BYTES_MAX {
            return Err(format!("the snapshot is longer than {RESTORED_BYTES_MAX} bytes"));
        }
        content.extend_from_slice(&piece);
    }
}

/// Sends a file piece by piece. A file that cannot be read on, or a client that takes nothing, ends it too early, which
/// the client sees by the length.
async fn send(file: File, pieces: mpsc::Sender<Bytes>) {
    let mut file = Some(file);
    while let Some(mut source) = file.take() {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut source).take(PIECE_BYTES as u64).read_to_end(&mut piece);
            read.map(|_| (source, Bytes::from(piece)))
        });
        let Ok(Ok((source, piece))) = read.await else { return };
        if piece.is_empty() {
            return;
        }
        let Ok(Ok(())) = timeout(TAKE_WAIT, pieces.send(piece)).await else { return };
        file = Some(source);
    }
}
