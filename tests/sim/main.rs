//! Faults by seed: the process killed, a closure that panics, a disk that is full or fails, a clock that jumps, a
//! mailbox that overflows. After each: every acknowledged write is there, no call is there by half, the file is
//! whole, and the host goes on or says why not. `FREEHOLD_SIM_SEED=N` runs one again.

#![expect(clippy::print_stdout, reason = "the seed, and what is skipped, are for a person to read")]

mod disk;
mod inside;
mod kill;
mod ledger;
mod restore;
mod seed;
#[expect(dead_code, reason = "the integration tests use what is not used here")]
#[path = "../it/support/mod.rs"]
mod support;
