//! A copy of the tree for who asks: a snapshot is written, and sent as it stands on disk.
//!
//! In: a question to the loop, then the file. Out: an answer whose body is the file.
//!
//! Always true:
//! * what is sent is a snapshot that is durable and stays in the data directory;
//! * a client that takes nothing for a while ends the copy, and costs two pieces of memory until then.
//!
//! Not here: who may ask (`guard`), writing the file (`server::edge`).

use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Map;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Answer, Payload, in_json};
use crate::net::clients::Clients;

/// How much is read and sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long a client may take nothing.
const TAKE_WAIT: Duration = Duration::from_secs(30);

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
