//! `[audit]`: the record of who was refused and of what operators did.

use bytesize::ByteSize;
use figment::value::magic::RelativePathBuf;
use serde::{Deserialize, Serialize};

/// The audit log: JSON lines, for its owner alone, with no token, no argument and no result in it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// Where. Without it: `audit.jsonl` in the data directory.
    pub file: Option<RelativePathBuf>,
    /// Record every call too, and not only refusals and what operators do.
    pub calls: bool,
    /// The size at which a file is set aside and a new one begun.
    pub file_bytes: ByteSize,
    /// How many are kept, the present one among them.
    pub files: usize,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { enabled: true, file: None, calls: false, file_bytes: ByteSize::mib(64), files: 4 }
    }
}
