//! A client's byte stream: a connect request, then frames with a request each.
//!
//! The first byte says in pieces of what size the rest arrives.

use bytes::{Bytes, BytesMut};
use quorate::base::wire::{DecodeError, Writer};
use quorate::proto::frame::{FRAME_BYTES_MAX, split};
use quorate::proto::request::RequestHeader;
use quorate::proto::{ConnectRequest, ConnectResponse};

pub fn judge(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(frames(stream, usize::from(*piece).max(1)), whole, "pieces of {piece} bytes");
    let mut frames = whole.0.into_iter();
    let Some(first) = frames.next() else { return };
    connect(first);
    for mut frame in frames {
        let bytes = frame.clone();
        let Ok(header) = RequestHeader::decode(&mut frame) else {
            assert!(bytes.len() < 8, "a header in {bytes:?}");
            continue;
        };
        let mut again = Writer::new();
        again.i32(header.xid).i32(header.op).raw(&frame);
        assert_eq!(again.finish(), bytes);
    }
}

/// The frames of a stream, what is left of it, and why there are no more.
fn frames(stream: &[u8], piece: usize) -> (Vec<Bytes>, Bytes, Option<DecodeError>) {
    let (mut frames, mut arrived) = (Vec::new(), BytesMut::new());
    for piece in stream.chunks(piece) {
        arrived.extend_from_slice(piece);
        loop {
            match split(&mut arrived, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                // What came with it depends on the pieces.
                Err(error) => return (frames, Bytes::new(), Some(error)),
            }
        }
    }
    (frames, arrived.freeze(), None)
}

fn connect(frame: Bytes) {
    let Ok(request) = ConnectRequest::decode(frame) else { return };
    let mut again = Writer::new();
    again.i32(request.protocol_version).i64(request.last_zxid_seen.0).i32(request.timeout_ms);
    again.i64(request.session.0).buffer(Some(&request.password));
    if let Some(read_only) = request.read_only {
        again.bool(read_only);
    }
    assert_eq!(ConnectRequest::decode(again.finish()), Ok(request.clone()));
    let mut answer = Writer::new();
    ConnectResponse::refused(request.read_only).encode(&mut answer);
    let length = 40 + usize::from(request.read_only.is_some());
    assert_eq!(answer.bytes.len(), length, "the read-only byte is answered if it was sent");
}
