//! How many sessions may be asked for in a time: a bucket of tokens, as ZooKeeper's connection throttle is.
//!
//! In: connect requests. Out: whether each may go on.
//!
//! Always true:
//! * no more than the bucket holds is taken at once, and in the long run no more than flows in;
//! * a bucket of no size limits nothing.
//!
//! Not here: limits on connections that are open (`clients`).

use std::sync::{Mutex, PoisonError};

use crate::base::Millis;
use crate::config::ConnectionThrottle;

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Bucket {
    settings: ConnectionThrottle,
    level: Mutex<Level>,
}

#[derive(Debug)]
struct Level {
    tokens: u64,
    filled: Millis,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(settings: ConnectionThrottle, now: Millis) -> Bucket {
        Bucket { settings, level: Mutex::new(Level { tokens: u64::from(settings.tokens), filled: now }) }
    }

    /// Takes a token; `false` if there is none.
    pub(super) fn take(&self, now: Millis) -> bool {
        let ConnectionThrottle { tokens, fill_time, fill_count } = self.settings;
        if tokens == 0 {
            return true;
        }
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.since(level.filled).0 / fill_time.0.max(1);
        if passed > 0 {
            let more = passed.saturating_mul(u64::from(fill_count));
            level.tokens = level.tokens.saturating_add(more).min(u64::from(tokens));
            level.filled = level.filled + Millis(passed * fill_time.0.max(1));
        }
        let may = level.tokens > 0;
        level.tokens -= u64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_what_flows_in() {
        let settings = ConnectionThrottle { tokens: 2, fill_time: Millis(10), fill_count: 1 };
        let bucket = Bucket::new(settings, Millis(0));
        let taken = [0, 0, 0, 9, 10, 19, 20, 20].map(|now| bucket.take(Millis(now)));
        assert_eq!(taken, [true, true, false, false, true, false, true, false]);
        assert!([1000; 3].map(|now| bucket.take(Millis(now))) == [true, true, false], "it never overflows");
        let none = Bucket::new(ConnectionThrottle { tokens: 0, ..settings }, Millis(0));
        assert!((0..99).all(|_| none.take(Millis(0))), "it is switched off");
    }
}
