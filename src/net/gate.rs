//! What all clients together may have in progress: ZooKeeper's request throttler, its limit of outstanding requests and
//! its budget for large requests.
//!
//! In: how many requests connections have in the loop, and what is to be added. Out: whether that may go on.
//!
//! Always true:
//! * without a limit a connection's requests cost one addition for each batch of them;
//! * what a connection has taken from a budget it gives back at the latest when it ends.
//!
//! Not here: what one connection may have in progress (`replica::conn`), how many may connect (`throttle`).

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stats::Stats;
use crate::base::Millis;
use crate::config::RequestLimits;

/// The limits, and how much of them is used.
#[derive(Debug)]
pub struct Gate {
    limits: Mutex<RequestLimits>,
    /// Those of the limits that each batch looks at; 0 for none.
    outstanding_max: AtomicU32,
    throttle_max: AtomicU32,
    /// -1 for none.
    large_threshold: AtomicI64,
    large_bytes_max: AtomicU64,
    in_process: AtomicU64,
    large_bytes: AtomicU64,
}

/// What became of a request that had to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It goes on.
    On,
    /// It waited so long that it is answered by THROTTLEDOP.
    Throttled,
}

/// What one connection has of the gate.
#[derive(Debug, Default)]
pub(super) struct Part {
    in_process: u64,
    large_bytes: u64,
}

/// Why a connection is closed that brings a large request.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no room for a large request of {bytes} bytes beside those in progress")]
pub(super) struct TooLarge {
    bytes: usize,
}

impl Gate {
    /// Nothing is in progress.
    pub fn new(limits: RequestLimits) -> Gate {
        let gate = Gate {
            limits: Mutex::new(limits),
            outstanding_max: AtomicU32::new(0),
            throttle_max: AtomicU32::new(0),
            large_threshold: AtomicI64::new(-1),
            large_bytes_max: AtomicU64::new(0),
            in_process: AtomicU64::new(0),
            large_bytes: AtomicU64::new(0),
        };
        gate.set(limits);
        gate
    }

    /// The limits in force.
    pub fn limits(&self) -> RequestLimits {
        *self.lock()
    }

    /// Replaces the limits.
    pub fn set(&self, limits: RequestLimits) {
        *self.lock() = limits;
        self.outstanding_max.store(limits.outstanding_max, Relaxed);
        self.throttle_max.store(limits.throttle_max, Relaxed);
        self.large_threshold.store(limits.large_threshold.map_or(-1, i64::from), Relaxed);
        self.large_bytes_max.store(limits.large_bytes_max, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, RequestLimits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has so many requests in the loop.
    pub(super) fn count(&self, part: &mut Part, in_process: usize) {
        let in_process = in_process as u64;
        match in_process.checked_sub(part.in_process) {
            Some(0) => return,
            Some(more) => self.in_process.fetch_add(more, Relaxed),
            None => self.in_process.fetch_sub(part.in_process - in_process, Relaxed),
        };
        part.in_process = in_process;
    }

    /// Whether nothing more is to be read from a connection with so many requests in the loop.
    pub(super) fn is_full_for(&self, in_process: usize) -> bool {
        let max = u64::from(self.outstanding_max.load(Relaxed));
        max != 0 && in_process > 0 && self.in_process.load(Relaxed) > max
    }

    /// Whether a connection whose requests are counted up to `part` may give one more to the loop beside `more`.
    pub(super) fn has_room(&self, part: &Part, more: usize) -> bool {
        let max = u64::from(self.throttle_max.load(Relaxed));
        let uncounted = (more as u64).saturating_sub(part.in_process);
        max == 0 || self.in_process.load(Relaxed) + uncounted < max
    }

    /// How often it is to be looked whether there is room.
    pub(super) fn stall(&self) -> Duration {
        self.limits().stall.as_duration()
    }

    /// Whether a request that waits is not to be done any more. The session timeout and the socket decide.
    pub(super) async fn is_stale(
        &self,
        waited: Duration,
        session_timeout: Duration,
        stream: &TcpStream,
        stats: &Stats,
    ) -> bool {
        let limits = self.limits();
        let is_stale = limits.stale_by_latency && waited > session_timeout
            || limits.stale_by_connection && is_gone(stream).await;
        if is_stale && limits.drop_stale {
            stats.stale_dropped.add(1);
            return true;
        }
        stats.throttle_waits.add(1);
        false
    }

    /// A request that waited for so long goes on; says how.
    pub(super) fn pass(&self, waited: Duration, session_timeout: Duration, stats: &Stats) -> Passed {
        let limits = self.limits();
        stats.stale.add(u64::from(limits.stale_by_latency && waited > session_timeout));
        stats.throttle_time.observe(Millis::from(waited).0);
        match limits.throttled_after {
            Some(after) if waited > after.as_duration() => {
                stats.throttled_ops.add(1);
                Passed::Throttled
            }
            Some(_) | None => Passed::On,
        }
    }

    /// Whether requests may have to wait.
    pub(super) fn throttles(&self) -> bool {
        self.throttle_max.load(Relaxed) != 0
    }

    /// Whether a request of this length counts as large.
    fn is_large(&self, bytes: usize) -> bool {
        let threshold = self.large_threshold.load(Relaxed);
        threshold >= 0 && i64::try_from(bytes).unwrap_or(i64::MAX) > threshold
    }

    /// A request's length if it is large, else 0.
    pub(super) fn large_part(&self, bytes: usize) -> u64 {
        if self.is_large(bytes) { bytes as u64 } else { 0 }
    }

    /// Whether a request of this length, of which not everything has come, will find room.
    pub(super) fn check_large(&self, bytes: usize, stats: &Stats) -> Result<(), TooLarge> {
        let max = self.large_bytes_max.load(Relaxed);
        if self.is_large(bytes) && self.large_bytes.load(Relaxed).saturating_add(bytes as u64) > max {
            stats.large_rejected.add(1);
            return Err(TooLarge { bytes });
        }
        Ok(())
    }

    /// Takes a large request's length from the budget; nothing where it is not large.
    pub(super) fn take_large(&self, part: &mut Part, bytes: usize, stats: &Stats) -> Result<(), TooLarge> {
        if !self.is_large(bytes) {
            return Ok(());
        }
        let taken = bytes as u64;
        if self.large_bytes.fetch_add(taken, Relaxed).saturating_add(taken)
            > self.large_bytes_max.load(Relaxed)
        {
            self.large_bytes.fetch_sub(taken, Relaxed);
            stats.large_rejected.add(1);
            return Err(TooLarge { bytes });
        }
        part.large_bytes += taken;
        Ok(())
    }

    /// Gives back what large requests took, but for so many bytes.
    pub(super) fn give_back(&self, part: &mut Part, but: u64) {
        if part.large_bytes > but {
            self.large_bytes.fetch_sub(part.large_bytes - but, Relaxed);
            part.large_bytes = but;
        }
    }

    /// A connection ends.
    pub(super) fn leave(&self, part: &mut Part) {
        self.count(part, 0);
        self.give_back(part, 0);
    }
}

/// Whether the client has closed its connection, whatever it sent before.
async fn is_gone(stream: &TcpStream) -> bool {
    let ready = timeout(Duration::ZERO, stream.ready(Interest::READABLE)).await;
    matches!(ready, Ok(Ok(ready)) if ready.is_read_closed()) || matches!(ready, Ok(Err(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Millis;

    fn limits() -> RequestLimits {
        RequestLimits {
            outstanding_max: 0,
            throttle_max: 0,
            stall: Millis(1),
            drop_stale: true,
            stale_by_latency: false,
            stale_by_connection: true,
            throttled_after: None,
            large_threshold: None,
            large_bytes_max: 100,
        }
    }

    #[test]
    fn requests_in_progress_are_counted_over_all_connections() {
        let gate = Gate::new(RequestLimits { outstanding_max: 3, throttle_max: 4, ..limits() });
        let (mut one, mut other) = (Part::default(), Part::default());
        gate.count(&mut one, 2);
        assert!(!gate.is_full_for(2) && gate.has_room(&one, 2) && gate.has_room(&one, 3));
        gate.count(&mut other, 2);
        assert!(gate.is_full_for(2) && !gate.is_full_for(0), "who has nothing in progress is read");
        assert!(!gate.has_room(&other, 2));
        gate.count(&mut one, 1);
        assert!(!gate.is_full_for(2) && gate.has_room(&other, 2) && !gate.has_room(&other, 3));
        gate.leave(&mut one);
        gate.leave(&mut other);
        assert_eq!(gate.in_process.load(Relaxed), 0);
        gate.set(limits());
        assert!(gate.has_room(&one, 1_000_000));
    }

    #[test]
    fn a_request_that_waited_for_too_long_is_not_done() {
        let (stats, second) = (Stats::default(), Duration::from_secs(1));
        let gate = Gate::new(RequestLimits {
            throttled_after: Some(Millis(50)),
            stale_by_latency: true,
            ..limits()
        });
        let waited = [10, 50, 51].map(Duration::from_millis).map(|waited| gate.pass(waited, second, &stats));
        assert_eq!(waited, [Passed::On, Passed::On, Passed::Throttled]);
        gate.set(RequestLimits { stale_by_latency: true, ..limits() });
        assert_eq!(gate.pass(2 * second, second, &stats), Passed::On);
        let counts = [&stats.throttled_ops, &stats.stale].map(|counter| counter.count());
        assert_eq!((counts, stats.throttle_time.count()), ([1, 1], 4));
    }

    #[test]
    fn large_requests_share_a_budget() {
        let (gate, stats) =
            (Gate::new(RequestLimits { large_threshold: Some(10), ..limits() }), Stats::default());
        let (mut one, mut other) = (Part::default(), Part::default());
        assert_eq!(gate.take_large(&mut one, 10, &stats), Ok(()), "it is not large");
        assert_eq!(gate.take_large(&mut one, 60, &stats), Ok(()));
        assert_eq!(gate.check_large(41, &stats), Err(TooLarge { bytes: 41 }));
        assert_eq!(gate.check_large(40, &stats), Ok(()));
        assert_eq!(gate.take_large(&mut other, 41, &stats), Err(TooLarge { bytes: 41 }));
        assert_eq!(gate.take_large(&mut other, 40, &stats), Ok(()));
        gate.give_back(&mut one, 20);
        assert_eq!(gate.take_large(&mut other, 40, &stats), Ok(()));
        assert_eq!(stats.large_rejected.count(), 2);
        gate.leave(&mut one);
        gate.leave(&mut other);
        assert_eq!(gate.large_bytes.load(Relaxed), 0);
    }
}
