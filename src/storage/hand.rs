//! The hand that writes: performs orders on the store, and reports what became of them.
//!
//! In: writes in order. Out: reports of what is durable, of the room that is left, of the failure that ends it.
//!
//! Always true:
//! * a failure is reported once, and nothing after it is performed or reported.
//!
//! Not here: whose turn it is to use it (`writer`).

use std::fmt;
use std::time::{Duration, Instant};

use super::error::Error;
use super::room::RoomReport;
use super::store::Store;
use crate::base::{Write, WriteSeq};

/// How often the disk is asked for its room, which others may take or give back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The disk is asked for its room at the latest after so many bytes, or this part of its reserve if that is less.
const LOOK_EVERY_BYTES: u64 = 1 << 20;
const LOOK_EVERY_PART: u64 = 16;

/// What is said of the disk.
#[derive(Debug)]
pub enum Report {
    /// Every write up to `seq` is durable.
    Durable {
        /// The last of them.
        seq: WriteSeq,
        /// How long it took, sync and all.
        took: Duration,
    },
    /// How much room is left: every second, and before a small part of the reserve has been written.
    Room(RoomReport),
    /// The disk cannot be used any more: the process must end.
    Failed(Error),
}

/// What becomes of the log file behind a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// The next write goes on in it.
    GoOn,
    /// The next write begins another.
    Roll,
}

/// The store, and who is told.
pub(super) struct Hand {
    store: Store,
    report: Box<dyn FnMut(Report) + Send>,
    look: Look,
    failed: Option<Error>,
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Hand {
    pub(super) fn new(store: Store, report: impl FnMut(Report) + Send + 'static) -> Hand {
        let look = Look { until: Instant::now(), bytes: 0 };
        Hand { store, report: Box::new(report), look, failed: None }
    }

    /// Performs writes with one sync. `done` is called before the report, after which others may want the hand at once.
    pub(super) fn perform(
        &mut self,
        batch: &[(WriteSeq, Write)],
        behind: Behind,
        done: impl FnOnce(),
    ) -> Result<(), Error> {
        if let Some(failure) = &self.failed {
            return Err(failure.clone());
        }
        let begun = Instant::now();
        let mut performed = self.store.perform(batch);
        if behind == Behind::Roll {
            performed = performed.and_then(|seq| self.store.roll().map(|()| seq));
        }
        done();
        match performed {
            Ok(seq) if !batch.is_empty() => (self.report)(Report::Durable { seq, took: begun.elapsed() }),
            Ok(_) => {}
            Err(failure) => {
                self.failed = Some(failure.clone());
                (self.report)(Report::Failed(failure.clone()));
                return Err(failure);
            }
        }
        batch.iter().for_each(|(_, write)| self.look.count(write));
        Ok(())
    }

    /// Asks the disk for its room if it is time; answers how long it is until then.
    pub(super) fn look(&mut self) -> Duration {
        let now = Instant::now();
        if self.look.bytes == 0 || now >= self.look.until {
            self.look = Look { until: now + LOOK_EVERY, bytes: LOOK_EVERY_BYTES };
            match self.store.room() {
                Ok(room) => {
                    if room.reserve_bytes > 0 {
                        self.look.bytes = LOOK_EVERY_BYTES.min(room.reserve_bytes / LOOK_EVERY_PART);
                    }
                    (self.report)(Report::Room(room));
                }
                // No reason to end: if there is none, the next write says so.
                Err(err) => tracing::debug!(%err, "the room on the disk is not known"),
            }
        }
        self.look.until.saturating_duration_since(now)
    }

    /// What ended it.
    pub(super) fn failure(&self) -> Result<(), Error> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

/// When the disk is asked for its room again.
struct Look {
    until: Instant,
    /// Bytes that may be written before.
    bytes: u64,
}

impl Look {
    fn count(&mut self, write: &Write) {
        let bytes = match write {
            Write::Append { txn, .. } => txn.len() as u64,
            // These write files of their own, or remove some.
            Write::Epochs(_) | Write::Ensemble { .. } | Write::Truncate(_) | Write::Replace { .. } => {
                u64::MAX
            }
        };
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
