//! Chance that can be had again.

use std::hash::{BuildHasher, RandomState};

/// A stream of numbers (SplitMix64).
pub(crate) struct Seed(u64);

impl Seed {
    /// That of `FREEHOLD_SIM_SEED`, or a new one. Printed, so that a failure can be run again.
    pub(crate) fn of(test: &str) -> Self {
        let given = std::env::var("FREEHOLD_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(test) >> 32);
        println!("{test}: FREEHOLD_SIM_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `most`.
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}
