//! Points and spans of the clock that is handed in.
//!
//! In: milliseconds and ticks. Out: arithmetic that cannot underflow.
//!
//! Always true:
//! * `Now::mono` never goes back within a process; `Now::wall_ms` may.
//!
//! Not here: reading a clock (`server::clock`).

use std::fmt;
use std::ops::Add;

/// A point on, or a span of, the monotonic clock, in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

/// A number of ticks; how long a tick is stands in the settings (`tickTime`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub u64);

/// What the clocks show at the moment of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// The monotonic clock: every deadline is counted on it.
    pub mono: Millis,
    /// Milliseconds since 1970 by the wall clock; it may jump. Only for times that clients see.
    pub wall_ms: i64,
}

impl Millis {
    /// The span from `earlier` to here; 0 if `earlier` is later.
    pub fn since(self, earlier: Millis) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// This span as the standard library's.
    pub fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl From<std::time::Duration> for Millis {
    /// The whole milliseconds of a span.
    fn from(span: std::time::Duration) -> Millis {
        Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Add for Millis {
    type Output = Millis;

    fn add(self, span: Millis) -> Millis {
        Millis(self.0.saturating_add(span.0))
    }
}

impl Ticks {
    /// This many ticks of the given length.
    pub fn of(self, tick: Millis) -> Millis {
        Millis(self.0.saturating_mul(tick.0))
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}
