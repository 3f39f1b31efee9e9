//! What the loop told a connection that has not taken it yet.
//!
//! In: what the loop tells, without waiting. Out: all of it at once, in order, to the connection's task.
//!
//! Always true:
//! * it is bounded in number and bytes, and says when it is too full;
//! * an empty one costs few bytes: most connections are idle most of the time.
//!
//! Not here: what becomes of a connection whose mailbox is too full (`clients`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::replica::event::ToClient;

/// What may wait; more is too full.
const COUNT_MAX: usize = 4096;
/// Bytes of replies that may wait; more are too full.
const BYTES_MAX: usize = 64 << 20;

/// A queue with one reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    told: Vec<ToClient>,
    reply_bytes: usize,
}

/// Whether the reader of a mailbox has to be woken: not if something waited already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Yes,
    No,
}

/// The reader takes too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFull {
    /// Bytes of replies that wait.
    pub(super) reply_bytes: usize,
}

impl Mailbox {
    /// Puts something behind what waits; whether the reader has to be woken. Whoever puts much wakes once, at the end.
    pub(super) fn put(&self, told: ToClient) -> Result<Wake, TooFull> {
        let mut waiting = self.lock();
        if let (ToClient::Notify(zxid), Some(ToClient::Notify(last))) = (&told, waiting.told.last_mut()) {
            *last = *zxid; // who is told of a later state looks for all events up to it
            return Ok(Wake::No);
        }
        let wake = if waiting.told.is_empty() { Wake::Yes } else { Wake::No };
        waiting.reply_bytes += match &told {
            ToClient::Replies(replies) => replies.frames.len(),
            ToClient::Connected(_) | ToClient::Notify(_) | ToClient::Drop(_) => 0,
        };
        waiting.told.push(told);
        let reply_bytes = waiting.reply_bytes;
        let is_too_full = waiting.told.len() > COUNT_MAX || reply_bytes > BYTES_MAX;
        if is_too_full { Err(TooFull { reply_bytes }) } else { Ok(wake) }
    }

    /// Wakes the reader.
    pub(super) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Puts everything that waits into `batch`, which is empty; waits until there is something.
    pub(super) async fn take(&self, batch: &mut Vec<ToClient>) {
        while !self.take_now(batch) {
            self.filled.notified().await;
        }
    }

    /// Puts everything that waits into `batch`, which is empty; whether there was anything.
    pub(super) fn take_now(&self, batch: &mut Vec<ToClient>) -> bool {
        assert!(batch.is_empty(), "what was taken before was told");
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.told, batch);
        waiting.reply_bytes = 0;
        !batch.is_empty()
    }

    /// Gives back the memory of what waited.
    pub(super) fn shrink(&self) {
        self.lock().told.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::Zxid;
    use crate::replica::event::{Replies, Run, Then};

    fn reply(len: usize) -> ToClient {
        let frames = Bytes::from(vec![0; len]);
        let runs = vec![Run { state: Zxid(1), count: 1, bytes: len }];
        ToClient::Replies(Replies { runs, frames, then: Then::Stay })
    }

    #[tokio::test]
    async fn what_is_told_is_taken_in_order_and_at_once() {
        let mailbox = Mailbox::default();
        let mut batch = Vec::new();
        assert!(!mailbox.take_now(&mut batch));
        let told = [reply(1), ToClient::Notify(Zxid(2)), reply(3)];
        let put = async {
            tokio::task::yield_now().await;
            let wakes = told.iter().map(|told| mailbox.put(told.clone()).expect("there is room"));
            assert_eq!(wakes.collect::<Vec<_>>(), [Wake::Yes, Wake::No, Wake::No]);
            mailbox.wake();
        };
        tokio::join!(mailbox.take(&mut batch), put);
        assert_eq!(batch, told);
        batch.clear();
        assert!(!mailbox.take_now(&mut batch));
    }

    #[test]
    fn of_notices_one_after_the_other_the_last_is_enough() {
        let mailbox = Mailbox::default();
        let notice = |zxid| ToClient::Notify(Zxid(zxid));
        for told in [notice(1), notice(2), reply(0), notice(3), notice(5)] {
            mailbox.put(told).expect("there is room");
        }
        let mut batch = Vec::new();
        assert!(mailbox.take_now(&mut batch));
        assert_eq!(batch, [notice(2), reply(0), notice(5)]);
    }

    #[test]
    fn too_much_is_said() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.put(reply(BYTES_MAX)), Ok(Wake::Yes));
        assert_eq!(mailbox.put(reply(1)), Err(TooFull { reply_bytes: BYTES_MAX + 1 }));
        assert!(mailbox.take_now(&mut Vec::new()));
        for _ in 0..COUNT_MAX {
            assert!(mailbox.put(reply(1)).is_ok());
        }
        assert_eq!(mailbox.put(reply(1)), Err(TooFull { reply_bytes: COUNT_MAX + 1 }));
    }
}
