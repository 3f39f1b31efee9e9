//! What arrives on the quorum port: the first byte says at which end of the link and in pieces of what size.

use bytes::{Bytes, BytesMut};
use quorate::base::wire::DecodeError;
use quorate::zab::codec::{Decoder, Limits, Side, encode};
use quorate::zab::packet::Packet;

pub fn judge(input: &[u8]) {
    let Some((first, stream)) = input.split_first() else { return };
    let side = if first & 1 == 0 { Side::Leader } else { Side::Learner };
    let whole = packets(side, stream, stream.len().max(1));
    let piece = usize::from(first >> 1).max(1);
    assert_eq!(packets(side, stream, piece), whole, "pieces of {piece} bytes");
    for packet in &whole.0 {
        let mut again = BytesMut::new();
        encode(packet, &mut again);
        let (packets, left, error) = packets(side, &again, again.len());
        assert_eq!((&packets[..], &left[..], error), (std::slice::from_ref(packet), &[][..], None));
    }
}

/// The packets of a stream, what is left of it, and why there are no more.
fn packets(side: Side, stream: &[u8], piece: usize) -> (Vec<Packet>, Bytes, Option<DecodeError>) {
    let mut decoder = Decoder::new(side, Limits::default());
    let (mut packets, mut arrived) = (Vec::new(), BytesMut::new());
    for piece in stream.chunks(piece) {
        arrived.extend_from_slice(piece);
        loop {
            match decoder.feed(&mut arrived) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                // What came with it depends on the pieces.
                Err(error) => return (packets, Bytes::new(), Some(error)),
            }
        }
    }
    (packets, arrived.freeze(), None)
}
