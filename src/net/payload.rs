//! The body of an answer over HTTP: bytes that are there, or a file as it is read.
//!
//! In: bytes, or pieces from a thread that reads. Out: a body for hyper.
//!
//! Always true:
//! * at most two pieces of a file wait in memory;
//! * the length is known before the first byte.
//!
//! Not here: what is answered (`admin`, `commands`).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

/// An answer over HTTP.
pub type Answer = Response<Payload>;

/// Pieces of a file that may wait for the socket; the thread that reads waits when there are more.
const PIECES_MAX: usize = 2;

/// A body.
#[derive(Debug)]
pub struct Payload {
    source: Source,
    bytes_left: u64,
}

#[derive(Debug)]
enum Source {
    Whole(Bytes),
    Pieces(mpsc::Receiver<Bytes>),
}

impl Payload {
    /// Whether it comes in pieces from elsewhere.
    pub fn is_streamed(&self) -> bool {
        matches!(self.source, Source::Pieces(_))
    }

    /// A body of this many bytes, whose pieces come from elsewhere. One that ends too early breaks the connection.
    pub fn of_pieces(bytes: u64) -> (mpsc::Sender<Bytes>, Payload) {
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        (sender, Payload { source: Source::Pieces(pieces), bytes_left: bytes })
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Payload {
        Payload { bytes_left: text.len() as u64, source: Source::Whole(Bytes::from(text)) }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.source {
            Source::Whole(bytes) if bytes.is_empty() => None,
            Source::Whole(bytes) => Some(std::mem::take(bytes)),
            Source::Pieces(pieces) => match pieces.poll_recv(context) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        let Some(bytes) = next else { return Poll::Ready(None) };
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}
