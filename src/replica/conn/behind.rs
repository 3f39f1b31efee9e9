//! Reads behind requests that are in the loop: they wait here, and are answered here.
//!
//! In: reads that cannot be answered yet. Out: their answers, or requests for the loop.
//!
//! Always true:
//! * a read sees every write that its client asked for before it, and none that it asked for after it: when one of
//!   those comes while a read waits, the read goes to the loop before it;
//! * what is answered at one time fills a write and no more.
//!
//! Not here: what an answer says (`read`).

use std::sync::Arc;

use super::{Conn, Phase, READS_PER_HOLD, REPLY_BYTES_ENOUGH};
use crate::base::Millis;
use crate::proto::Id;
use crate::replica::event::{Ask, ClientRequest, Event};
use crate::replica::read::Local;

/// A read that waits.
#[derive(Debug)]
pub(super) struct Behind {
    xid: i32,
    local: Local,
    /// The identities by which it may read: those of when it came.
    identities: Arc<Vec<Id>>,
    bytes: usize,
    came: Millis,
}

impl Conn {
    /// Asks the loop, or lets a read wait behind what the loop has.
    pub(super) fn order(&mut self, now: Millis, xid: i32, ask: Ask, bytes: usize) {
        self.pending_bytes += bytes;
        let identities = Arc::clone(&self.identities);
        match ask {
            Ask::Local(local) => {
                self.behind.push_back(Behind { xid, local, identities, bytes, came: now });
            }
            Ask::Write { .. } | Ask::Broken { .. } | Ask::Sync(_) => {
                while let Some(Behind { xid, local, identities, bytes, .. }) = self.behind.pop_front() {
                    self.send(ClientRequest { xid, ask: Ask::Local(local), identities }, bytes);
                }
                self.send(ClientRequest { xid, ask, identities }, bytes);
            }
        }
    }

    fn send(&mut self, request: ClientRequest, bytes: usize) {
        self.in_loop.push_back(bytes);
        match self.events.last_mut() {
            Some(Event::Requests(_, requests)) => requests.push(request),
            Some(_) | None => self.events.push(Event::Requests(self.id, vec![request])),
        }
    }

    /// Whether there is something that can be answered as soon as there is room for it.
    pub fn has_answers(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Open(_) | Phase::Leaving(_));
        is_open && self.in_loop.is_empty() && !self.behind.is_empty()
    }

    /// Answers what waits behind nothing any more, as far as there is room.
    pub(super) fn answer_behind(&mut self) {
        if !self.has_answers() {
            return;
        }
        let service = Arc::clone(&self.service);
        while self.has_answers() && self.out.bytes.len() < REPLY_BYTES_ENOUGH {
            service.tree.read(|tree| {
                for _ in 0..READS_PER_HOLD {
                    if !self.has_answers() || self.out.bytes.len() >= REPLY_BYTES_ENOUGH {
                        return;
                    }
                    let Some(read) = self.behind.pop_front() else { return };
                    self.pending_bytes -= read.bytes;
                    self.answer(tree, read.came, read.xid, &read.local, Some(&read.identities));
                }
            });
        }
    }
}
