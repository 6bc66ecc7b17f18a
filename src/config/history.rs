//! `[history]`: how a tenant's past is kept, so that it can be brought back to a time.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::RemoteSettings;

/// Every change of a tenant's file, a few seconds apart, in `history/` beside it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistorySettings {
    /// Whether it is kept. Switched off and on again, it begins anew: what lies between can't be brought back.
    pub enabled: bool,
    /// How finely: a restore lands this much before the time that was asked for at most.
    #[serde(with = "humantime_serde")]
    pub every: Duration,
    /// For how long. The last whole copy and what follows it is kept in any case.
    #[serde(with = "humantime_serde")]
    pub keep: Duration,
    /// How much of it one tenant may have on disk; beyond it the oldest goes first.
    pub bytes: ByteSize,
    /// Whole copies kept at most.
    pub bases: usize,
    /// How old the last whole copy may be when more changes: a restore reads all since.
    #[serde(with = "humantime_serde")]
    pub base_every: Duration,
    /// Where it is kept besides this disk.
    pub remote: RemoteSettings,
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            every: Duration::from_secs(5),
            keep: Duration::from_secs(7 * 24 * 3600),
            bytes: ByteSize::gib(2),
            bases: 64,
            base_every: Duration::from_secs(24 * 3600),
            remote: RemoteSettings::default(),
        }
    }
}
