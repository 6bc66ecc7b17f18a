//! The id that ties an answer to its line in the log.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;

const BYTES_MAX: usize = 64;
const OWN_BYTES: usize = 16;

/// A request's id: a trusted proxy's, or 16 hex digits, half of them this process's, half of them a count.
/// It names a line in a log and guards nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId {
    bytes: [u8; BYTES_MAX],
    len: u8,
}

impl RequestId {
    /// The id that a trusted proxy gave it in `X-Request-Id`, or one of our own.
    pub(super) fn of(headers: &HeaderMap, by_proxy: bool) -> Self {
        let given = by_proxy.then(|| headers.get("x-request-id")).flatten();
        given.and_then(|given| Self::given(given.as_bytes())).unwrap_or_else(Self::next)
    }

    pub(super) fn next() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish() << 32);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = *PROCESS | u64::from(COUNT.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; BYTES_MAX];
        for (at, byte) in bytes.iter_mut().take(OWN_BYTES).enumerate() {
            *byte = b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15];
        }
        Self { bytes, len: OWN_BYTES as u8 }
    }

    /// An id of letters that can break no log line and no header.
    fn given(id: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > BYTES_MAX || !id.iter().all(is_plain) {
            return None;
        }
        let mut bytes = [0; BYTES_MAX];
        bytes[..id.len()].copy_from_slice(id);
        Some(Self { bytes, len: u8::try_from(id.len()).ok()? })
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}
