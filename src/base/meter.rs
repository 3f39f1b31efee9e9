//! Counters and measured values that are taken in without waiting.
//!
//! In: events and values. Out: counts, sums, extremes and quantiles.
//!
//! Always true:
//! * counting never waits: every number is an atomic of its own.
//!
//! Not here: what is counted under which name (`net::stats`, `replica::meters`).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Buckets for each power of two: the error of a quantile is below 1/8.
const BUCKETS_PER_POWER: u64 = 8;
/// Buckets of a summary, enough for every 64-bit number.
const BUCKETS: usize = (BUCKETS_PER_POWER as usize) * 62;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// What it has come to.
    pub fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Count, sum, extremes and distribution of a measured value.
#[derive(Debug)]
pub struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    buckets: Vec<AtomicU64>,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Summary {
    /// Takes one value in.
    pub fn observe(&self, value: u64) {
        self.observe_many(value, 1);
    }

    /// Takes the same value in several times.
    pub fn observe_many(&self, value: u64, times: u64) {
        self.count.fetch_add(times, Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
        self.min.fetch_min(value, Relaxed);
        self.max.fetch_max(value, Relaxed);
        self.buckets[bucket_of(value)].fetch_add(times, Relaxed);
    }

    /// Begins anew.
    pub fn reset(&self) {
        for number in [&self.count, &self.sum, &self.max].into_iter().chain(&self.buckets) {
            number.store(0, Relaxed);
        }
        self.min.store(u64::MAX, Relaxed);
    }

    /// How many values were taken in.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The least; 0 before the first.
    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min.load(Relaxed) }
    }

    /// The largest; 0 before the first.
    pub fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// The average; 0 before the first.
    pub fn average(&self) -> f64 {
        let count = self.count();
        if count == 0 { 0.0 } else { self.sum() as f64 / count as f64 }
    }

    /// The value that this share of the values, in 1,000, does not pass; 0 before the first.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let wanted = counts.iter().sum::<u64>() * per_mille / 1000;
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen > wanted {
                return least_of(bucket).min(self.max());
            }
        }
        self.max()
    }
}

/// Values below 8 have buckets of their own; above, each power of two has 8.
fn bucket_of(value: u64) -> usize {
    let power = u64::from(value.checked_ilog2().unwrap_or(0));
    if power < 3 {
        return value as usize;
    }
    let within = (value >> (power - 3)) & (BUCKETS_PER_POWER - 1);
    ((power - 2) * BUCKETS_PER_POWER + within) as usize
}

/// The least value of a bucket.
fn least_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < BUCKETS_PER_POWER {
        return bucket;
    }
    let (power, within) = (bucket / BUCKETS_PER_POWER + 2, bucket % BUCKETS_PER_POWER);
    (BUCKETS_PER_POWER + within) << (power - 3)
}

/// Upper bounds of a histogram's buckets, in microseconds.
const BOUNDS: [u64; 15] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// How many times fell into which bucket: cheaper than a [`Summary`], for what is timed often.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl Histogram {
    /// Takes one time in.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[BOUNDS.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// The sum in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// The bounds in microseconds, each with how many times were not above it; the last has no bound and counts all.
    pub fn cumulated(&self) -> Vec<(Option<u64>, u64)> {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let mut sum = 0;
        let counts = self.counts.iter().map(move |count| {
            sum += count.load(Relaxed);
            sum
        });
        bounds.zip(counts).collect()
    }

    /// Begins anew.
    pub fn reset(&self) {
        self.counts.iter().chain([&self.sum]).for_each(|number| number.store(0, Relaxed));
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// It is this from here on.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// What it is.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// It stays: what is was not counted.
    pub fn reset(&self) {}
}

/// Last, least and largest of a size in bytes; -1 before the first.
#[derive(Debug)]
pub struct Sizes {
    last: AtomicI64,
    min: AtomicI64,
    max: AtomicI64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { last: AtomicI64::new(-1), min: AtomicI64::new(-1), max: AtomicI64::new(-1) }
    }
}

impl Sizes {
    /// Takes one size in.
    pub fn observe(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.last.store(bytes, Relaxed);
        self.max.fetch_max(bytes, Relaxed);
        let least = |min: i64| (min < 0 || bytes < min).then_some(bytes);
        let _ = self.min.fetch_update(Relaxed, Relaxed, least); // it is an error only if nothing was to do
    }

    /// Begins anew.
    pub fn reset(&self) {
        for number in [&self.last, &self.min, &self.max] {
            number.store(-1, Relaxed);
        }
    }

    /// Last, least and largest.
    pub fn all(&self) -> [i64; 3] {
        [self.last.load(Relaxed), self.min.load(Relaxed), self.max.load(Relaxed)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_falls_into_it() {
        for value in (0..2000).chain([u64::from(u32::MAX), u64::MAX / 2, u64::MAX]) {
            let bucket = bucket_of(value);
            assert!(least_of(bucket) <= value, "{value}");
            assert!(bucket + 1 >= BUCKETS || least_of(bucket + 1) > value, "{value}");
        }
    }

    #[test]
    fn a_summary_tells_extremes_average_and_quantiles() {
        let summary = Summary::default();
        assert_eq!((summary.min(), summary.max(), summary.quantile(990)), (0, 0, 0));
        for value in 1..=100 {
            summary.observe(value);
        }
        assert_eq!((summary.count(), summary.sum(), summary.min(), summary.max()), (100, 5050, 1, 100));
        assert!((44..=51).contains(&summary.quantile(500)), "{}", summary.quantile(500));
        assert!((88..=100).contains(&summary.quantile(990)), "{}", summary.quantile(990));
    }

    #[test]
    fn a_histogram_counts_what_is_not_above_each_bound() {
        let histogram = Histogram::default();
        for micros in [10, 11, 2_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let cumulated = histogram.cumulated();
        assert_eq!(cumulated[..2], [(Some(10), 1), (Some(25), 2)]);
        assert_eq!((cumulated.last(), histogram.sum()), (Some(&(None, 3)), 2_000_021));
        histogram.reset();
        assert!(histogram.cumulated().iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn sizes_begin_at_minus_one() {
        let sizes = Sizes::default();
        assert_eq!(sizes.all(), [-1, -1, -1]);
        for bytes in [7, 3, 5] {
            sizes.observe(bytes);
        }
        assert_eq!(sizes.all(), [5, 3, 7]);
    }
}
