//! The journal of a tenant's calls: taken in at once, written with somebody else's commit or within a second.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Handle, Tenant};
use crate::config::JournalSettings;
use crate::db::Mode;
use crate::error::Result;
use crate::store::call::{self, Call};

/// Calls that wait to be written; of more in a second the oldest are let go of, and counted.
const WAITING_MAX: usize = 4_096;

/// The calls that wait.
#[derive(Debug)]
pub(super) struct Journal {
    settings: JournalSettings,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    missed: u64,
    /// A write is on its way that will take them along.
    called: bool,
}

impl Journal {
    pub(super) fn new(settings: JournalSettings) -> Arc<Self> {
        Arc::new(Self { settings, waiting: Mutex::default() })
    }

    /// Takes `call` in; whether somebody has to see to it that it is written.
    fn push(&self, call: Call) -> bool {
        let mut waiting = self.waiting();
        if waiting.calls.len() == WAITING_MAX {
            waiting.calls.pop_front();
            waiting.missed += 1;
        }
        waiting.calls.push_back(call);
        !std::mem::replace(&mut waiting.called, true)
    }

    fn take(&self) -> Vec<Call> {
        let Waiting { calls, missed, .. } = std::mem::take(&mut *self.waiting());
        let mut calls = Vec::from(calls);
        if let Some(first) = calls.first_mut() {
            first.missed = missed;
        }
        calls
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// What is to be kept of calls; `None` if nothing is.
    pub(crate) fn journal(&self) -> Option<JournalSettings> {
        let settings = self.0.journal.settings;
        settings.enabled.then_some(settings)
    }

    /// Keeps `call`. Waits for nobody, and if the tenant is just being closed the call is not kept.
    pub(crate) fn record(&self, call: Call) {
        let journal = &self.0.journal;
        if journal.push(call) {
            let (kept, most) = (Arc::clone(journal), journal.settings.entries);
            if self.later(move |tx| call::add(tx, &kept.take(), most)).is_err() {
                journal.waiting().called = false;
            }
        }
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
