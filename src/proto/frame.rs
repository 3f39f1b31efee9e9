//! Length-prefixed frames out of a byte stream.
//!
//! In: the bytes received so far. Out: whole frames, without their length.
//!
//! Always true:
//! * a length outside the limit is refused before a byte of its frame is waited for.
//!
//! Not here: four-letter words, which come before the first frame (`net::words`).

use bytes::{Buf, Bytes, BytesMut};

use crate::base::wire::DecodeError;

/// Java's `jute.maxbuffer`: the largest frame that a client may send, unless configured.
pub const FRAME_BYTES_MAX: u32 = 0xf_ffff;

/// Takes the next whole frame off the front of `stream`; `None` if there is none yet.
pub fn split(stream: &mut BytesMut, frame_bytes_max: u32) -> Result<Option<Bytes>, DecodeError> {
    let Some(prefix) = stream.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = i32::from_be_bytes(*prefix);
    let max = frame_bytes_max as usize;
    let size = usize::try_from(len).ok().filter(|size| *size <= max);
    let size = size.ok_or(DecodeError::Length { field: "frame", len: i64::from(len), max })?;
    if stream.len() - 4 < size {
        // Room for the whole frame at once, so that a large one is not copied as it grows.
        stream.reserve(size + 4 - stream.len());
        return Ok(None);
    }
    stream.advance(4);
    Ok(Some(stream.split_to(size).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut stream = BytesMut::new();
        stream.extend_from_slice(&[0, 0, 0, 2, 7]);
        assert_eq!(split(&mut stream, 100), Ok(None));
        stream.extend_from_slice(&[8, 0, 0, 0, 0, 0]);
        assert_eq!(split(&mut stream, 100), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(split(&mut stream, 100), Ok(Some(Bytes::new())));
        assert_eq!(split(&mut stream, 100), Ok(None));
        assert_eq!(&stream[..], [0]);
    }

    #[test]
    fn a_length_over_the_limit_or_below_zero_is_refused() {
        let len = |len: i32| split(&mut BytesMut::from(&len.to_be_bytes()[..]), FRAME_BYTES_MAX);
        assert_eq!(len(1_048_575), Ok(None));
        assert!(matches!(len(1_048_576), Err(DecodeError::Length { len: 1_048_576, .. })));
        assert!(matches!(len(-1), Err(DecodeError::Length { len: -1, .. })));
    }
}
