//! How many sessions may be asked for in a time: a bucket of tokens, as ZooKeeper's connection throttle is.
//!
//! In: connect requests. Out: whether each may go on.
//!
//! Always true:
//! * no more than the bucket holds is taken at once, and in the long run no more than flows in;
//! * a bucket of no size limits nothing.
//!
//! Not here: limits on connections that are open (`clients`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Millis;
use crate::base::rng::Rng;
use crate::config::{ConnectionThrottle, Share};

/// All of it, in millionths.
const WHOLE: u32 = 1_000_000;

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Bucket {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: ConnectionThrottle,
    tokens: u64,
    filled: Millis,
    /// The share of the requests that is refused by chance, and when it was last adapted: the BLUE algorithm, as in
    /// ZooKeeper.
    dropped: Share,
    adapted: Millis,
    rng: Rng,
}

/// What kind of session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A new one that is replicated.
    Global,
    /// One that the client has.
    Renewed,
    /// A new one that is local.
    Local,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(settings: ConnectionThrottle, now: Millis, seed: u64) -> Bucket {
        let (tokens, dropped) = (u64::from(settings.tokens), Share(0));
        let rng = Rng::new(seed);
        Bucket { state: Mutex::new(State { settings, tokens, filled: now, dropped, adapted: now, rng }) }
    }

    /// Replaces the settings; a larger bucket fills as time goes by.
    pub(super) fn set(&self, settings: ConnectionThrottle) {
        let mut state = self.lock();
        state.tokens = state.tokens.min(u64::from(settings.tokens));
        state.settings = settings;
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> ConnectionThrottle {
        self.lock().settings
    }

    /// Takes the tokens of a session; `false` if there are too few, or if chance will have it.
    pub(super) fn take(&self, now: Millis, wanted: Wanted) -> bool {
        self.lock().take(now, wanted)
    }

    /// Tokens in use.
    pub(super) fn deficit(&self) -> u64 {
        let state = self.lock();
        u64::from(state.settings.tokens).saturating_sub(state.tokens)
    }

    /// The share of the requests that is refused by chance.
    pub(super) fn dropped(&self) -> f64 {
        f64::from(self.lock().dropped.0) / f64::from(WHOLE)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, now: Millis, wanted: Wanted) -> bool {
        let ConnectionThrottle { tokens: max, fill_time, fill_count, freeze_time, weights, .. } =
            self.settings;
        if max == 0 {
            return true;
        }
        let passed = now.since(self.filled).0 / fill_time.0.max(1);
        if passed > 0 {
            let more = passed.saturating_mul(u64::from(fill_count));
            self.tokens = self.tokens.saturating_add(more).min(u64::from(max));
            self.filled = self.filled + Millis(passed * fill_time.0.max(1));
        }
        if let Some(freeze_time) = freeze_time {
            self.adapt(now, freeze_time);
            if self.rng.below(u64::from(WHOLE)) < u64::from(self.dropped.0) {
                return false;
            }
        }
        let need = weights.map_or(1, |weights| match wanted {
            Wanted::Global => weights.global,
            Wanted::Renewed => weights.renewed,
            Wanted::Local => weights.local,
        });
        if self.tokens < u64::from(need) {
            self.adapted = now;
            return false;
        }
        self.tokens -= u64::from(need);
        true
    }

    /// More is refused by chance while the bucket is empty, and less once enough of it is full.
    fn adapt(&mut self, now: Millis, freeze_time: Millis) {
        if now.since(self.adapted) <= freeze_time {
            return;
        }
        self.adapted = now;
        let ConnectionThrottle { tokens: max, drop_increase, drop_decrease, decrease_ratio, .. } =
            self.settings;
        let in_use = u64::from(max) - self.tokens;
        let enough = (u64::from(max) * u64::from(decrease_ratio.0) + u64::from(WHOLE) / 2) / u64::from(WHOLE);
        if self.tokens == 0 {
            self.dropped = Share((self.dropped.0 + drop_increase.0).min(WHOLE));
        } else if in_use <= enough {
            self.dropped = Share(self.dropped.0.saturating_sub(drop_decrease.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SessionWeights;

    const SETTINGS: ConnectionThrottle = ConnectionThrottle {
        tokens: 2,
        fill_time: Millis(10),
        fill_count: 1,
        freeze_time: None,
        drop_increase: Share(500_000),
        drop_decrease: Share(250_000),
        decrease_ratio: Share(0),
        weights: None,
    };

    fn take(bucket: &Bucket, now: u64) -> bool {
        bucket.take(Millis(now), Wanted::Global)
    }

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_what_flows_in() {
        let bucket = Bucket::new(SETTINGS, Millis(0), 1);
        let taken = [0, 0, 0, 9, 10, 19, 20, 20].map(|now| take(&bucket, now));
        assert_eq!(taken, [true, true, false, false, true, false, true, false]);
        assert_eq!(bucket.deficit(), 2);
        assert!([1000; 3].map(|now| take(&bucket, now)) == [true, true, false], "it never overflows");
        bucket.set(ConnectionThrottle { tokens: 0, ..SETTINGS });
        assert!((0..99).all(|_| take(&bucket, 1000)), "it is switched off");
        bucket.set(SETTINGS);
        assert!(!take(&bucket, 1000), "a bucket that is switched on fills first");
    }

    #[test]
    fn sessions_cost_what_their_kind_costs() {
        let weights = Some(SessionWeights { global: 3, renewed: 2, local: 1 });
        let bucket = Bucket::new(ConnectionThrottle { tokens: 6, weights, ..SETTINGS }, Millis(0), 1);
        assert!(bucket.take(Millis(0), Wanted::Global) && bucket.take(Millis(0), Wanted::Renewed));
        assert!(!bucket.take(Millis(0), Wanted::Renewed) && bucket.take(Millis(0), Wanted::Local));
    }

    #[test]
    fn chance_refuses_more_while_there_is_no_token_and_less_afterwards() {
        let settings =
            ConnectionThrottle { freeze_time: Some(Millis(5)), fill_time: Millis(100), ..SETTINGS };
        let bucket = Bucket::new(settings, Millis(0), 1);
        assert!(take(&bucket, 0) && take(&bucket, 0) && !take(&bucket, 0));
        for (now, share) in [(3, 0.0), (9, 0.5), (15, 1.0), (21, 1.0)] {
            assert!(!take(&bucket, now));
            assert!((bucket.dropped() - share).abs() < 1e-9, "at {now}: {}", bucket.dropped());
        }
        take(&bucket, 1_000); // whatever comes of it
        assert!((bucket.dropped() - 0.75).abs() < 1e-9, "it is full");
        assert!((1..=9).any(|n| take(&bucket, 1_000 + 6 * n)));
    }
}
