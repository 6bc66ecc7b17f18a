//! The journal of a tenant's calls and what they came to by day: taken in at once, written with somebody else's
//! commit or within a second.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;

use super::news::USAGE;
use super::usage::Told;
use super::{Handle, Tenant};
use crate::config::JournalSettings;
use crate::db::Mode;
use crate::error::Result;
use crate::store::call::{self, Call};
use crate::store::meta;
use crate::store::usage::{self, UsageDay};

/// Calls that wait to be written; of more in a second the oldest are let go of, and counted. Twenty times what a
/// tenant may ask by default; writing four times as many cost a tenth of a pure tool's rate.
const WAITING_MAX: usize = 1_024;

/// The calls that wait.
#[derive(Debug)]
pub(super) struct Journal {
    settings: JournalSettings,
    told: Told,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    missed: u64,
    /// What they and those that are not kept came to.
    counted: UsageDay,
    /// A write is on its way that will take them along.
    called: bool,
}

impl Journal {
    pub(super) fn new(settings: JournalSettings, told: Told) -> Arc<Self> {
        Arc::new(Self { settings, told, waiting: Mutex::default() })
    }

    /// Takes `call` in; whether somebody has to see to it that it is written.
    fn push(&self, call: Call) -> bool {
        let mut waiting = self.waiting();
        waiting.counted.add(&counted(&call));
        if waiting.calls.len() == WAITING_MAX {
            waiting.calls.pop_front();
            waiting.missed += 1;
        }
        if self.settings.enabled {
            waiting.calls.push_back(call);
        }
        !std::mem::replace(&mut waiting.called, true)
    }

    fn take(&self) -> (Vec<Call>, UsageDay) {
        let Waiting { calls, missed, counted, .. } = std::mem::take(&mut *self.waiting());
        let mut calls = Vec::from(calls);
        if let Some(first) = calls.first_mut() {
            first.missed = missed;
        }
        (calls, counted)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// What is to be kept of calls.
    pub(crate) fn journal(&self) -> JournalSettings {
        self.0.journal.settings
    }

    /// Keeps and counts `call`. Waits for nobody, and if the tenant is just being closed the call is not kept.
    pub(crate) fn record(&self, call: Call) {
        let journal = &self.0.journal;
        if journal.push(call) {
            let (kept, credit, clock) = (Arc::clone(journal), Arc::clone(self.credit()), Arc::clone(self.clock()));
            let (news, most_bytes) = (self.teller(), self.limits().database_bytes.as_u64());
            let write = move |tx: &Transaction<'_>| {
                let (calls, mut counted) = kept.take();
                call::add(tx, &calls, kept.settings.entries)?;
                (counted.day, counted.sql_us) = (clock.unix_seconds() / 86_400, credit.take_computed_us());
                usage::add(tx, &counted)?;
                if kept.told.is_news(meta::file_bytes(tx)?, most_bytes) {
                    news(USAGE);
                }
                Ok(())
            };
            if self.later(write).is_err() {
                journal.waiting().called = false;
            }
        }
    }
}

/// What one call adds to its day.
fn counted(call: &Call) -> UsageDay {
    UsageDay {
        calls: 1,
        refused: call.outcome.starts_with("refused").into(),
        failed: call.outcome.starts_with("error").into(),
        rows: call.rows.unwrap_or(0),
        bytes_in: call.bytes_in,
        bytes_out: call.bytes_out,
        call_us: call.duration_us,
        ..UsageDay::default()
    }
}

impl Tenant {
    /// The last `most` calls of tools in this tenant, the newest first. A call is there a second after it at the
    /// latest.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn calls(&self, most: usize) -> Result<Vec<Call>> {
        self.read_as(Mode::Host, move |conn| call::newest(conn, most)).await
    }
}
