//! The id that ties an answer to its line in the log.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A request's id: 16 hex digits, half of them this process's, half of them a count. It names a line in
/// a log and guards nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    pub(super) fn next() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish() << 32);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = *PROCESS | u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15]))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
