//! The only place that reads the clock and entropy.
//!
//! In: nothing. Out: points in time, seeds, ids.
//!
//! Always true:
//! * the monotonic clock never goes back, and begins at 1 s, so that 0 is before everything.
//!
//! Not here: what time means (`base::time`).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Millis, Now};

/// Where the clock of a process begins.
const BEGINNING: Millis = Millis(1000);

static START: OnceLock<Instant> = OnceLock::new();

/// What both clocks show.
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { mono: mono(), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
}

/// What the monotonic clock shows; it begins at the first look.
pub fn mono() -> Millis {
    let elapsed = START.get_or_init(Instant::now).elapsed();
    BEGINNING + Millis::from(elapsed)
}

/// A seed that differs from process to process.
pub fn seed() -> u64 {
    // The standard library takes its hasher's keys from the system's entropy.
    RandomState::new().build_hasher().finish()
}

/// 128 random bits in hexadecimal.
pub fn random_id() -> String {
    format!("{:016x}{:016x}", seed(), seed())
}
