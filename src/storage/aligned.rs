//! Bytes that begin at a block's border in memory, as a file that goes past the page cache needs them.
//!
//! In: bytes, piece by piece. Out: all of them as one slice.
//!
//! Always true:
//! * the slice begins at a multiple of [`BLOCK_BYTES`], however much it has grown.
//!
//! Not here: which bytes they are (`log`), where they go (`disk`).

use std::ops::Deref;

use super::disk::BLOCK_BYTES;

/// A growing buffer that stays aligned.
#[derive(Debug)]
pub(super) struct Aligned {
    /// The content, behind as many bytes as bring it to a border.
    memory: Vec<u8>,
    start: usize,
}

impl Aligned {
    /// Empty, with room for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Aligned {
        let mut memory = Vec::<u8>::with_capacity(capacity + BLOCK_BYTES);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "bytes can be aligned to any border");
        memory.resize(start, 0);
        Aligned { memory, start }
    }

    /// Adds what `fill` appends to the vector that it gets, at most `max` bytes.
    pub(super) fn append_with(&mut self, max: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.reserve(max);
        let before = self.memory.len();
        fill(&mut self.memory);
        let more = self.memory.len() - before;
        assert!(more <= max, "{max} bytes were announced, and {more} came");
    }

    /// Lengthens the content with zeros, or cuts it.
    pub(super) fn resize(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len()));
        self.memory.resize(self.start + len, 0);
    }

    /// Lets the first `count` bytes go; what follows them moves to the border.
    pub(super) fn drop_front(&mut self, count: usize) {
        self.memory.drain(self.start..self.start + count);
    }

    fn reserve(&mut self, more: usize) {
        if self.memory.capacity() - self.memory.len() < more {
            let mut larger = Aligned::with_capacity((self.len() + more).max(2 * self.len()));
            larger.memory.extend_from_slice(self);
            *self = larger;
        }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_aligned_while_it_grows_and_shrinks() {
        let mut buffer = Aligned::with_capacity(0);
        let mut expected = Vec::new();
        for round in 1..2_000usize {
            let piece = vec![round as u8; round * 7 % 501];
            buffer.append_with(piece.len(), |out| out.extend_from_slice(&piece));
            expected.extend_from_slice(&piece);
            if round.is_multiple_of(97) {
                buffer.resize(expected.len() + 5_000);
                buffer.resize(expected.len());
                buffer.drop_front(expected.len() / 3);
                expected.drain(..expected.len() / 3);
            }
            assert!(buffer[..] == expected[..], "round {round}");
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0, "round {round}");
        }
    }

    #[test]
    #[should_panic(expected = "1 bytes were announced, and 20000 came")]
    fn more_than_was_announced_is_refused() {
        let mut buffer = Aligned::with_capacity(0);
        buffer.append_with(1, |out| out.extend_from_slice(&[0; 20_000]));
    }
}
