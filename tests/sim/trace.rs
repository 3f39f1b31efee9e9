//! What a run did: one running hash always, and lines of text when a run is to be read.
//!
//! In: numbers and bytes of everything that happens. Out: a hash that two runs of one seed must share.
//!
//! Always true:
//! * the hash depends on every number given and on their order;
//! * text is made only when it was asked for, so that a fast run pays nothing for it.
//!
//! Not here: what is worth tracing (`world`).

use std::collections::VecDeque;

/// How many lines a readable run keeps.
const LINES_MAX: usize = 400;

/// Whether a run keeps lines of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Only the hash.
    Hash,
    /// The hash and the last lines.
    Lines,
    /// The hash, and every line printed at once.
    Print,
}

/// The trace of one run.
pub struct Trace {
    hash: u64,
    detail: Detail,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty trace.
    pub fn new(detail: Detail) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, detail, lines: VecDeque::new() }
    }

    /// Mixes a number in.
    pub fn number(&mut self, number: u64) {
        self.hash = mix(self.hash, number);
    }

    /// Mixes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hash = hash_bytes(self.hash, bytes);
    }

    /// Keeps a line, which is only made if lines are kept.
    pub fn line(&mut self, line: impl FnOnce() -> String) {
        match self.detail {
            Detail::Hash => {}
            Detail::Lines => {
                if self.lines.len() == LINES_MAX {
                    self.lines.pop_front();
                }
                self.lines.push_back(line());
            }
            Detail::Print => println!("{}", line()),
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }
}

/// One round of a multiply-and-rotate hash.
pub fn mix(hash: u64, number: u64) -> u64 {
    (hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// Mixes bytes into a hash, eight at a time.
pub fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        hash = mix(hash, u64::from_le_bytes(chunk.try_into().expect("a chunk has eight bytes")));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_content_and_order() {
        let of = |parts: &[&[u8]]| {
            let mut trace = Trace::new(Detail::Hash);
            parts.iter().for_each(|part| trace.bytes(part));
            trace.hash()
        };
        assert_eq!(of(&[b"a", b"bc"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"bc"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b"0123456789"]), of(&[b"0123456780"]));
    }
}
