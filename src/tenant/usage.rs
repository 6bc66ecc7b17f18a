//! What a tenant uses of what it may, and what its calls came to by day.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde::Serialize;

use super::{Handle, Tenant};
use crate::auth::Scope;
use crate::db::Mode;
use crate::error::Result;
use crate::store::usage::{self, UsageDay};

/// How often those who subscribed to the usage are told that it has changed, at most.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// What part of its bound the file has to grow or shrink by to be worth telling.
const WORTH_TELLING: u64 = 100;

/// How much there is, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Used {
    /// How much there is: a count or bytes, as the name says.
    pub used: u64,
    /// How much there may be.
    pub limit: u64,
}

/// What a tenant uses of what it may. The names are those of `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The size of its file.
    pub database_bytes: Used,
    /// Tables, indexes, views and triggers, the host's own among them.
    pub schema_objects: Used,
    /// Keys of `kv_set` and its like. Their bound is the file's size.
    pub kv_keys: u64,
    /// Notes of `memory_save` and its like. Their bound is the file's size.
    pub memory_notes: u64,
    /// Reminders that are set.
    pub reminders: Used,
    /// Messages that nobody has acknowledged.
    pub inbox: Used,
    /// Checkpoints that somebody asked for.
    pub checkpoints: Used,
    /// All checkpoints on the disk.
    pub checkpoint_bytes: Used,
    /// Sessions of older clients.
    pub sessions: Used,
    /// Tasks that run, or whose result is kept.
    pub tasks: Used,
    /// Handles that tools have given out.
    pub handles: Used,
    /// What the calls of the present day came to, in UTC, up to a second ago.
    pub today: UsageDay,
}

impl Handle {
    /// What the tenant uses now.
    ///
    /// # Errors
    /// As [`Handle::read`].
    pub(crate) async fn usage(&self) -> Result<Usage> {
        let checkpoints = self.0.checkpoints.clone();
        let (named, bytes) = self
            .run(move || {
                let named = checkpoints.named()?;
                Ok((named as u64, checkpoints.bytes()?))
            })
            .await?;
        let today = self.clock().unix_seconds() / 86_400;
        let read = move |conn: &Connection| Ok((usage::held(conn)?, usage::days(conn, 1)?.pop()));
        let (held, last) = self.read(Mode::Host, read).await?;
        let limits = self.limits();
        let of = |used, limit: usize| Used { used, limit: limit as u64 };
        Ok(Usage {
            database_bytes: Used { used: held.file_bytes, limit: limits.database_bytes.as_u64() },
            schema_objects: of(held.schema_objects, limits.schema_objects),
            kv_keys: held.keys,
            memory_notes: held.notes,
            reminders: of(held.reminders, limits.reminders),
            inbox: of(held.inbox, limits.inbox),
            checkpoints: of(named, limits.checkpoints),
            checkpoint_bytes: Used { used: bytes, limit: limits.checkpoint_bytes.as_u64() },
            sessions: of(held.sessions, limits.sessions),
            tasks: of(held.tasks, limits.tasks),
            handles: of(held.handles, limits.handles),
            today: last
                .filter(|last| last.day == today)
                .unwrap_or_else(|| UsageDay { day: today, ..UsageDay::default() }),
        })
    }

    /// What the calls came to on the last `most` days on which there were any, the latest first.
    ///
    /// # Errors
    /// As [`Handle::read`].
    pub(crate) async fn usage_by_day(&self, most: usize) -> Result<Vec<UsageDay>> {
        self.read(Mode::Host, move |conn| usage::days(conn, most)).await
    }
}

impl Tenant {
    /// What the tenant uses of what it may.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn usage(&self) -> Result<Usage> {
        self.require(Scope::Read)?;
        self.handle.usage().await
    }

    /// What its calls came to on the last `most` days on which there were any, the latest first: up to a second
    /// ago, and for 400 days.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn usage_by_day(&self, most: usize) -> Result<Vec<UsageDay>> {
        self.require(Scope::Read)?;
        self.handle.usage_by_day(most).await
    }
}

/// When the usage was last told, and what it was.
#[derive(Debug)]
pub(super) struct Told(Mutex<(Option<Instant>, u64)>);

impl Told {
    /// Nobody was told yet, and a file of `bytes` is no news.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Mutex::new((None, bytes)))
    }

    /// Whether a file of `bytes`, of `most` that it may have, is worth telling. If so, it counts as told. What comes
    /// too soon after the last is told with the next call.
    pub(super) fn is_news(&self, bytes: u64, most: u64) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = *told;
        let news = bytes.abs_diff(before) >= most / WORTH_TELLING && at.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if news {
            *told = (Some(Instant::now()), bytes);
        }
        news
    }
}
