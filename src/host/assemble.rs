//! From settings to a running host: the order in which the pieces come up, read from top to bottom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use super::door::{Housekeeping, gate};
use super::listen::Tls;
use super::residency::residency;
use super::scheduler::Scheduler;
use crate::ask::StateKeys;
use crate::auth::{Gate, tenant_unknown};
use crate::catalog::{Catalog, Wakes};
use crate::clock::Clock;
use crate::config::{Class, DEFAULT_CLASS, Settings};
use crate::db::{DataDir, Database, FileSettings, ReaderThreads};
use crate::drain::Drain;
use crate::error::{Error, Result};
use crate::http::{Door, Edge};
use crate::id::TenantId;
use crate::mcp::{EndpointSettings, Hosted};
use crate::packs::Packs;
use crate::telemetry::Audit;
use crate::tenant::{Executor, Handle, Registry, Surroundings};

/// Files that are opened at once: each takes some fsyncs if it is new, and a storm of wakes must not take
/// every thread.
const OPENING_AT_ONCE: usize = 16;
/// How long work that has begun may take once stopping has.
const DRAIN_WITHIN: Duration = Duration::from_secs(25);

/// A host that runs. Dropping it closes nothing: call [`Service::close`].
pub struct Service {
    gate: Arc<Gate>,
    tenants: Registry<Hosted>,
    clock: Arc<dyn Clock>,
    audit: Audit,
    drain: Drain,
    door: Arc<Door>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) settings: Settings,
    dir: DataDir,
    /// Gone once the host is closed.
    scheduler: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Service {
    pub(crate) fn start(host: Host, settings: &Settings, stdio: bool) -> Result<Self> {
        let dir = DataDir::claim(&settings.data_dir.relative())?;
        let log = settings.audit.file.as_ref().map_or_else(|| dir.audit(), |file| file.relative());
        let audit = Audit::start(&log, &settings.audit)?;
        let catalog = Arc::new(Catalog::open(&dir)?);
        // What is nobody's statement has an account of its own.
        let housekeeping = Housekeeping { executor: Executor::default(), credit: Arc::default() };
        let gate = gate(&host, settings, &dir, &catalog, &housekeeping, stdio)?;
        let clock = Arc::clone(&host.clock);
        let around =
            Surroundings { clock: Arc::clone(&clock), wakes: Arc::new(Wakes::open(&dir)?), journal: settings.journal };
        let (executor, drain) = (housekeeping.executor.clone(), Drain::default());
        let on_reminder = host.on_reminder.clone();
        let tenants = registry(host, settings, dir.clone(), catalog, housekeeping, around.clone(), stdio)?;
        let scheduler = Scheduler {
            tenants: tenants.clone(),
            wakes: around.wakes,
            clock: around.clock,
            executor,
            drain: drain.clone(),
            on_reminder,
        };
        let scheduler = Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(scheduler.run()))));
        let door = Arc::new(Door::new(settings));
        let tls = Tls::load(&settings.tls)?;
        Ok(Self { gate, tenants, clock, audit, drain, door, tls, settings: settings.clone(), dir, scheduler })
    }

    /// The routes of the public listener.
    pub fn router(&self) -> axum::Router {
        let (gate, clock, door) = (Arc::clone(&self.gate), Arc::clone(&self.clock), Arc::clone(&self.door));
        let audit = self.audit.clone();
        Edge::new(gate, self.tenants.clone(), self.drain.clone(), clock, door, audit, &self.settings).router()
    }

    /// How stopping is told.
    #[must_use]
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// A tenant on the host's own behalf, for a test or a bench that goes past HTTP. Not held open.
    #[cfg(feature = "testing")]
    pub(crate) async fn tenant(&self, id: &TenantId) -> Result<crate::tenant::Tenant> {
        self.tenants.get(id).await?.tenant.on_behalf_of(crate::auth::Principal::local(id.clone()))
    }

    /// Serves `tenant` on standard input and output until they end.
    pub(crate) async fn serve_stdio(&self, tenant: &TenantId) -> Result<()> {
        self.tenants.get(tenant).await?.endpoint.serve_stdio().await
    }

    /// Refuses what is new, waits for what has begun, ends every stream, closes every file.
    pub async fn close(&self) {
        self.drain.begin();
        if !self.drain.finished(DRAIN_WITHIN).await {
            tracing::warn!("some calls did not end in time and are cut");
        }
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(scheduler) = scheduler {
            // It ends by itself, for stopping has begun; what it was doing does not matter any more.
            let _ = scheduler.await;
        }
        self.tenants.close_all().await;
        self.dir.release();
    }
}

fn registry(
    host: Host,
    settings: &Settings,
    dir: DataDir,
    catalog: Arc<Catalog>,
    housekeeping: Housekeeping,
    around: Surroundings,
    stdio: bool,
) -> Result<Registry<Hosted>> {
    let Housekeeping { executor, credit: housekeeping } = housekeeping;
    let opening = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let threads = ReaderThreads::start();
    let template = host.template();
    let classes = Arc::new(settings.classes()?);
    let packs = Packs::new(host.packs.as_deref().unwrap_or(&settings.packs));
    let own = |(name, class): (&String, &Class)| Some((name.clone(), Arc::new(Packs::new(class.packs.as_deref()?))));
    let packs_of: Arc<BTreeMap<String, Arc<Packs>>> = Arc::new(classes.iter().filter_map(own).collect());
    let endpoint = EndpointSettings {
        packs: Arc::new(packs),
        state_keys: Arc::new(StateKeys::load(&dir.keys())?),
        clock: Arc::clone(&host.clock),
        stdio,
        lists_all: settings.auth.issuers.iter().any(|issuer| issuer.authorization_server),
    };
    let (make, auto_create) = (host.make, settings.tenants.auto_create);
    let readers = classes.values().map(|class| class.limits.readers).max().unwrap_or(0);
    Ok(Registry::new(residency(&settings.tenants, readers), move |tenant| {
        let (dir, catalog, template, threads) = (dir.clone(), Arc::clone(&catalog), template.clone(), threads.clone());
        let (classes, packs_of, mut endpoint, around, make) =
            (Arc::clone(&classes), Arc::clone(&packs_of), endpoint.clone(), around.clone(), Arc::clone(&make));
        let (executor, housekeeping, opening) = (executor.clone(), Arc::clone(&housekeeping), Arc::clone(&opening));
        async move {
            let (id, opened_at) = (tenant.clone(), Arc::clone(&around.clock));
            let open = move || {
                let class = admit(&catalog, &id, auto_create, &*opened_at)?;
                let file = file_settings(&classes, &class, &id)?;
                let database = Database::open(&dir, &id, &file, &template, &threads)?;
                Result::<_>::Ok((database, file.limits, class))
            };
            // Closed never; the wait is bounded by the openings before this one.
            let _turn = opening.acquire().await;
            let (database, limits, class) = executor.run(&housekeeping, open).await??;
            if let Some(own) = packs_of.get(&class) {
                endpoint.packs = Arc::clone(own);
            }
            make(Handle::start(tenant, database, limits, executor, around), &endpoint)
        }
    }))
}

/// A tenant whose class the configuration has lost is served with `[limits]`: it is the operator's slip, and
/// not a reason to lock a customer out.
fn file_settings(classes: &BTreeMap<String, Class>, class: &str, tenant: &TenantId) -> Result<FileSettings> {
    let known = classes.get(class).or_else(|| {
        tracing::warn!(%tenant, class, "the configuration has no such class: [limits] holds for this tenant");
        classes.get(DEFAULT_CLASS)
    });
    let Class { limits, durability, .. } = known.ok_or_else(|| Error::internal("there is no default class"))?.clone();
    Ok(FileSettings { durability, limits })
}

/// The tenant's class. A valid token for a tenant that is not there makes no file, unless the operator said so.
fn admit(catalog: &Catalog, tenant: &TenantId, auto_create: bool, clock: &dyn Clock) -> Result<String> {
    if let Some(class) = catalog.class_of(tenant)? {
        return Ok(class);
    }
    if !auto_create {
        return Err(tenant_unknown("tenant_not_there"));
    }
    catalog.create(tenant, DEFAULT_CLASS, clock)?;
    Ok(DEFAULT_CLASS.to_owned())
}
