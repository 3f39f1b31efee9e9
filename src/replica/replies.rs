//! The replies that one client gets at the end of a step.
//!
//! In: answers, in the order of the requests. Out: their frames, in one buffer.
//!
//! Always true:
//! * answers that tell of one state, one after the other, are one run.
//!
//! Not here: whose turn it is (`clients`).

use super::event::{Replies, Run, Then};
use super::read::Answer;
use crate::base::Zxid;
use crate::base::wire::Writer;
use crate::proto::response::encode_reply;

/// Bytes of most replies to writes: length, header, a stat.
const REPLY_BYTES: usize = 88;
/// As many replies are expected at most when memory is taken for the first of them.
const REPLIES_EXPECTED_MAX: usize = 64;

/// Replies that come together.
#[derive(Debug)]
pub(super) struct Gathered {
    runs: Vec<Run>,
    writer: Writer,
    then: Then,
}

impl Default for Gathered {
    fn default() -> Gathered {
        Gathered { runs: Vec::new(), writer: Writer::new(), then: Then::Stay }
    }
}

impl Gathered {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What becomes of the connection after the last of them.
    pub(super) fn then(&self) -> Then {
        self.then
    }

    /// Adds an answer that tells of this state; so many may follow.
    pub(super) fn add(&mut self, state: Zxid, answer: &Answer, following: usize) {
        let expected = 1 + following.min(REPLIES_EXPECTED_MAX);
        if self.runs.is_empty() {
            self.runs.reserve_exact(expected);
            self.writer = Writer::with_room(expected * REPLY_BYTES + answer.response.data_bytes());
        }
        let before = self.writer.bytes.len();
        encode_reply(answer.header, &answer.response, &mut self.writer);
        let bytes = self.writer.bytes.len() - before;
        match self.runs.last_mut() {
            Some(run) if run.state == state => {
                run.count += 1;
                run.bytes += bytes;
            }
            Some(_) | None => self.runs.push(Run { state, count: 1, bytes }),
        }
        self.then = answer.then;
    }

    /// Takes all of them; `None` if there is none.
    pub(super) fn take(&mut self) -> Option<Replies> {
        let Gathered { runs, writer, then } = std::mem::take(self);
        (!runs.is_empty()).then(|| Replies { runs, frames: writer.finish(), then })
    }
}
