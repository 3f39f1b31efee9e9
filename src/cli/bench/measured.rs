//! What a load measured: counts, latencies, errors; as text and as JSON.
//!
//! In: counts of each connection. Out: [`Measured`].
//!
//! Always true:
//! * an answer other than success is counted as an error, never as work.
//!
//! Not here: the load (`load`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in µs: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Digits of a latency that count.
const LATENCY_DIGITS: u8 = 2;

/// What was counted within the measured time.
#[derive(Clone, Debug)]
pub struct Counts {
    /// From request to answer, in µs, of answers that tell of success.
    latencies_us: Histogram<u32>,
    /// Answers with an error, by its code.
    pub errors: BTreeMap<i32, u64>,
    /// Watch events.
    pub events: u64,
}

/// Counts and the time in which they were counted.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was counted.
    pub counts: Counts,
    /// The measured time.
    pub time: Duration,
}

impl Default for Counts {
    fn default() -> Counts {
        let latencies_us = Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS);
        let latencies_us = latencies_us.expect("the limits make a histogram");
        Counts { latencies_us, errors: BTreeMap::new(), events: 0 }
    }
}

impl Counts {
    /// Counts an answer.
    pub fn answer(&mut self, error: i32, latency: Duration) {
        if error == 0 {
            let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
            self.latencies_us.saturating_record(us);
        } else {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    /// Adds what another connection counted.
    pub fn add(&mut self, other: &Counts) {
        self.latencies_us.add(&other.latencies_us).expect("all histograms have the same limits");
        for (error, count) in &other.errors {
            *self.errors.entry(*error).or_default() += count;
        }
        self.events += other.events;
    }
}

impl Measured {
    /// Answers that tell of success.
    pub fn answers(&self) -> u64 {
        self.counts.latencies_us.len()
    }

    /// Such answers per second.
    pub fn rate(&self) -> f64 {
        self.answers() as f64 / self.time.as_secs_f64()
    }

    /// Watch events per second.
    pub fn event_rate(&self) -> f64 {
        self.counts.events as f64 / self.time.as_secs_f64()
    }

    /// The latency in ms that this share of the answers, of 1, did not exceed; 0 without answers.
    pub fn latency_ms(&self, share: f64) -> f64 {
        self.counts.latencies_us.value_at_quantile(share) as f64 / 1_000.0
    }

    /// As one object.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "seconds": self.time.as_secs_f64(),
            "operations": self.answers(),
            "operationsPerSecond": self.rate(),
            "latencyMs": {
                "p50": self.latency_ms(0.5),
                "p99": self.latency_ms(0.99),
                "p999": self.latency_ms(0.999),
                "max": self.latency_ms(1.0),
            },
            "errors": self.counts.errors,
            "watchEvents": self.counts.events,
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.latency_ms(share));
        write!(
            f,
            "{:.0} per second, p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms",
            self.rate()
        )?;
        if self.counts.events > 0 {
            write!(f, ", {:.0} watch events per second", self.event_rate())?;
        }
        for (error, count) in &self.counts.errors {
            write!(f, ", {count} errors {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_a_rate_and_latencies() {
        let mut counts = Counts::default();
        for us in 1..=1_000 {
            counts.answer(0, Duration::from_micros(us));
        }
        counts.answer(-101, Duration::from_micros(5));
        let mut sum = Counts::default();
        sum.add(&counts);
        let measured = Measured { counts: sum, time: Duration::from_secs(2) };
        assert_eq!(
            measured.to_string(),
            "500 per second, p50 0.50 ms, p99 0.99 ms, p99.9 1.00 ms, max 1.00 ms, 1 errors -101"
        );
        assert_eq!(measured.to_json()["operations"], 1_000);
        let nothing = Measured { counts: Counts::default(), time: Duration::from_secs(1) };
        assert_eq!(nothing.latency_ms(0.99), 0.0);
    }
}
