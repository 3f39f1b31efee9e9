//! A seeded generator for jitter; never for secrets.
//!
//! In: a seed. Out: a reproducible sequence of numbers (SplitMix64).
//!
//! Always true:
//! * one seed gives one sequence, on every machine.
//!
//! Not here: entropy (`server::clock`).

/// A generator whose whole state is one number.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that is decided by its seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, and without, `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next_u64() % limit }
    }

    /// Whether an event with `parts` in 1,000 happens.
    pub fn per_mille(&mut self, parts: u64) -> bool {
        self.below(1_000) < parts
    }
}
