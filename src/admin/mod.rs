//! What an operator does with tenants: on a running host through its admin listener, on a stopped one in the
//! command's own process. It knows neither of them: every answer is data.

mod elsewhere;
mod export;
mod fleet;
mod lifecycle;
mod measure;
mod past;
mod show;
mod sql;
mod verify;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::archive::Archive;
use crate::auth::Gate;
use crate::catalog::{Catalog, Wakes};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{DataDir, Migrations, Staging};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;
use crate::mcp::Hosted;
use crate::telemetry::{Audit, Metrics};
use crate::tenant::{Credit, Executor, Registry, Tops};

pub(crate) use elsewhere::BringBack;
pub(crate) use fleet::{Apply, Step, told};
pub(crate) use lifecycle::finish_unfinished;
pub(crate) use past::Source;
pub(crate) use sql::Statement;
pub(crate) use verify::VerifyAll;

/// Copies of whole files made at once: each takes the disk for itself.
const COPIES_AT_ONCE: usize = 1;

/// All that an operator can do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Parts>);

/// What it takes.
pub(crate) struct Parts {
    /// The data directory.
    pub dir: DataDir,
    /// The list of tenants.
    pub catalog: Arc<Catalog>,
    /// Those that are open.
    pub tenants: Registry<Hosted>,
    /// Who may call.
    pub gate: Arc<Gate>,
    /// When they are woken.
    pub wakes: Arc<Wakes>,
    /// Where blocking work runs.
    pub executor: Executor,
    /// On whose account.
    pub credit: Arc<Credit>,
    /// Classes and their limits, as they are in force.
    pub settings: RwLock<Arc<Settings>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where it is recorded.
    pub audit: Audit,
    /// Where copies are made.
    pub staging: Staging,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who does the most.
    pub tops: Tops,
    /// The tables of the program that embeds the host.
    pub app: Migrations,
    /// Where tenants' past is kept besides this disk, if it is.
    pub archive: Option<Archive>,
    /// The rest of it.
    pub state: State,
}

impl Parts {
    /// The settings in force.
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What operations have of each other.
pub(crate) struct State {
    copies: Semaphore,
    fleet: Semaphore,
    /// For looking at the past of all.
    verifying: Semaphore,
    /// Tenants with which something is being done that nothing else may cross.
    taken: Mutex<HashSet<TenantId>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            copies: Semaphore::new(COPIES_AT_ONCE),
            fleet: Semaphore::new(1),
            verifying: Semaphore::new(1),
            taken: Mutex::default(),
        }
    }
}

impl Admin {
    /// Puts the pieces together.
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// When tenants are woken.
    pub(crate) fn wakes(&self) -> &Arc<Wakes> {
        &self.0.wakes
    }

    /// Goes by `settings` from now on.
    pub(crate) fn take_up(&self, settings: Arc<Settings>) {
        if let Some(archive) = &self.0.archive {
            archive.take_up(&settings.history);
        }
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Runs blocking work on the host's own account.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Parts) -> Result<T> + Send + 'static) -> Result<T> {
        let own = self.clone();
        self.0.executor.run(&self.0.credit, move || work(&own.0)).await?
    }

    /// Makes `tenant` one operation's own for as long as the guard is held.
    fn take(&self, tenant: &TenantId) -> Result<Taken> {
        let mut taken = self.0.state.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !taken.insert(tenant.clone()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("something else is being done with tenant {tenant} just now: wait until it has ended"),
            ));
        }
        Ok(Taken { admin: self.clone(), tenant: tenant.clone() })
    }

    fn record(&self, event: &'static str, told: Value) {
        self.0.audit.record(self.0.clock.now(), event, told);
    }

    fn record_of(&self, event: &'static str, tenant: &TenantId) {
        self.record(event, json!({ "tenant": tenant.as_str() }));
    }
}

/// One operation's hold on a tenant.
pub(crate) struct Taken {
    admin: Admin,
    tenant: TenantId,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.admin.0.state.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}
