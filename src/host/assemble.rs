//! From settings to a running host: the order in which the pieces come up, read from top to bottom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use super::door::{Callers, Housekeeping};
use super::listen::Tls;
use super::residency::residency;
use super::scheduler::Scheduler;
use super::shipper::{Sending, Shipper};
use crate::admin::{self, Admin, finish_unfinished};
use crate::archive::{Archive, Around};
use crate::ask::StateKeys;
use crate::auth::{Gate, tenant_unknown};
use crate::catalog::{Catalog, Wakes};
use crate::clock::Clock;
use crate::config::{Class, ConnectionSettings, DEFAULT_CLASS, JournalSettings, Settings};
use crate::db::{DataDir, Database, FileSettings, Keep, Migrations, ReaderThreads, Staging, share_memory};
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Desk, Door, Edge};
use crate::id::TenantId;
use crate::mcp::{EndpointSettings, Hosted, Scales};
use crate::packs::Packs;
use crate::telemetry::{Audit, Metrics, Traces};
use crate::tenant::{Executor, Handle, Registry, Surroundings, Tops};

/// Files that are opened at once: each takes some fsyncs if it is new, and a storm of wakes must not take
/// every thread.
const OPENING_AT_ONCE: usize = 16;
/// How long the last spans may take to their collector.
const SPANS_WITHIN: Duration = Duration::from_secs(5);

/// A host that runs. Dropping it closes nothing: call [`Service::close`].
pub struct Service {
    pub(super) host: Host,
    pub(super) callers: Callers,
    pub(super) gate: Arc<Gate>,
    pub(super) tenants: Registry<Hosted>,
    clock: Arc<dyn Clock>,
    audit: Audit,
    drain: Drain,
    current: RwLock<Current>,
    recipe: Arc<RwLock<Arc<Recipe>>>,
    pub(super) dir: DataDir,
    metrics: Arc<Metrics>,
    traces: Traces,
    admin: Admin,
    /// Gone once the host is closed.
    scheduler: Mutex<Option<AbortOnDropHandle<()>>>,
    archive: Option<Archive>,
    /// The same, where tenants' past is sent elsewhere.
    sending: Mutex<Option<Sending>>,
}

/// What other settings replace.
struct Current {
    settings: Arc<Settings>,
    door: Arc<Door>,
}

impl Current {
    fn of(settings: Settings, metrics: &Arc<Metrics>, traces: &Traces) -> Self {
        let door = Door::new(&settings, Arc::clone(metrics), traces.clone());
        Self { door: Arc::new(door), settings: Arc::new(settings) }
    }
}

impl Service {
    /// Claims the data directory and starts.
    pub(crate) fn start(host: Host, settings: &Settings, stdio: bool) -> Result<Self> {
        // Whoever serves it will want them: told here, nothing has begun.
        Tls::load(&settings.tls)?;
        Self::start_in(DataDir::claim(&settings.data_dir.relative())?, host, settings, Drain::default(), stdio)
    }

    /// Starts in `dir`, which this process has claimed.
    pub(super) fn start_in(dir: DataDir, host: Host, settings: &Settings, drain: Drain, stdio: bool) -> Result<Self> {
        let service = Self::assemble(dir, host, settings, drain, stdio)?;
        let scheduler = AbortOnDropHandle::new(tokio::spawn(service.scheduler().run()));
        *service.scheduler.lock().unwrap_or_else(PoisonError::into_inner) = Some(scheduler);
        *service.sending.lock().unwrap_or_else(PoisonError::into_inner) = service.sending();
        Ok(service)
    }

    /// Claims the data directory for an operator's commands alone: nobody can call, no reminder fires.
    pub(super) fn offline(host: Host, settings: &Settings) -> Result<Self> {
        Self::assemble(DataDir::claim(&settings.data_dir.relative())?, host, settings, Drain::default(), true)
    }

    fn assemble(dir: DataDir, host: Host, settings: &Settings, drain: Drain, stdio: bool) -> Result<Self> {
        let log = settings.audit.file.as_ref().map_or_else(|| dir.audit(), |file| file.relative());
        let audit = Audit::start(&log, &settings.audit)?;
        let catalog = Arc::new(Catalog::open(&dir)?);
        share_memory(settings.tenants.statements_bytes.as_u64());
        let staging = Staging::start(&dir)?;
        let elsewhere = settings.history.enabled && settings.history.remote.url.is_some();
        finish_unfinished(&dir, &catalog, &host.clock, elsewhere)?;
        let metrics = Arc::new(Metrics::default());
        // Nobody asks by HTTP there, and what is asked so has spans.
        let traces =
            if stdio { Traces::default() } else { Traces::start(&settings.traces, &metrics, Arc::clone(&host.clock))? };
        let tops = Tops::new(Arc::clone(&metrics));
        // What is nobody's statement has an account of its own.
        let housekeeping = Housekeeping { executor: Executor::default(), credit: Arc::default() };
        let clock = Arc::clone(&host.clock);
        let callers = Callers { catalog, clock: Arc::clone(&clock), housekeeping };
        let archive = Archive::open(
            &settings.history,
            Around {
                dir: dir.clone(),
                staging: staging.clone(),
                executor: callers.housekeeping.executor.clone(),
                // Reading what is to be sent is nobody's call.
                credit: Arc::default(),
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
            },
        )?;
        let gate = callers.gate(&host, settings, &dir, stdio)?;
        let recipe = Arc::new(RwLock::new(Arc::new(Recipe::of(&host, settings, &dir, stdio)?)));
        let wakes = Arc::new(Wakes::open(&dir)?);
        let around = (&wakes, &tops, archive.as_ref());
        let tenants = registry(&host, settings, &dir, &callers, around, Arc::clone(&recipe))?;
        let current = Current::of(settings.clone(), &metrics, &traces);
        let admin = Admin::new(admin::Parts {
            dir: dir.clone(),
            catalog: Arc::clone(&callers.catalog),
            tenants: tenants.clone(),
            gate: Arc::clone(&gate),
            wakes,
            executor: callers.housekeeping.executor.clone(),
            credit: Arc::clone(&callers.housekeeping.credit),
            settings: RwLock::new(Arc::clone(&current.settings)),
            clock: Arc::clone(&clock),
            audit: audit.clone(),
            staging,
            metrics: Arc::clone(&metrics),
            tops,
            app: Migrations::of_app(host.migrations.clone()),
            archive: archive.clone(),
            state: admin::State::default(),
        });
        let (current, scheduler, sending) = (RwLock::new(current), Mutex::default(), Mutex::default());
        Ok(Self {
            host,
            callers,
            gate,
            tenants,
            clock,
            audit,
            drain,
            current,
            recipe,
            dir,
            metrics,
            traces,
            admin,
            archive,
            scheduler,
            sending,
        })
    }

    fn scheduler(&self) -> Scheduler {
        Scheduler {
            tenants: self.tenants.clone(),
            wakes: Arc::clone(self.admin.wakes()),
            clock: Arc::clone(&self.clock),
            executor: self.callers.housekeeping.executor.clone(),
            drain: self.drain.clone(),
            on_reminder: self.host.on_reminder.clone(),
        }
    }

    fn sending(&self) -> Option<Sending> {
        let shipper = Shipper {
            archive: self.archive.clone()?,
            admin: self.admin.clone(),
            catalog: Arc::clone(&self.callers.catalog),
            clock: Arc::clone(&self.clock),
            executor: self.callers.housekeeping.executor.clone(),
            metrics: Arc::clone(&self.metrics),
            at_once: self.settings().history.remote.at_once,
        };
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(shipper.run(stop.clone())));
        Some(Sending { stop, task })
    }

    /// What an operator asks.
    pub(super) fn desk(&self) -> Desk {
        Desk::new(self.admin.clone(), Arc::clone(&self.gate), self.drain.clone())
    }

    /// The routes of the admin listener, for whoever is let in.
    pub(crate) fn admin_router(&self) -> axum::Router {
        self.desk().router()
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).settings)
    }

    /// Has tenants opened by `recipe` and requests answered by `settings` from now on: those of routers made from
    /// now on.
    pub(super) fn take_up(&self, settings: Settings, recipe: Recipe) {
        share_memory(settings.tenants.statements_bytes.as_u64());
        *self.recipe.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(recipe);
        let current = Current::of(settings, &self.metrics, &self.traces);
        self.admin.take_up(Arc::clone(&current.settings));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// The routes of the public listener.
    pub fn router(&self) -> axum::Router {
        let (gate, clock, audit) = (Arc::clone(&self.gate), Arc::clone(&self.clock), self.audit.clone());
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Current { settings, door } = &*current;
        Edge::new(gate, self.tenants.clone(), self.drain.clone(), clock, Arc::clone(door), audit, settings).router()
    }

    /// Has spans that tools make themselves go where the host's go: of a process that is this host's alone.
    pub(crate) fn takes_global_spans(&self) {
        self.traces.take_globals();
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

    /// Tells balancers, and a process that waits for the data directory, that this one is about to stop.
    pub(super) fn announce(&self) {
        self.drain.announce();
        self.dir.leave();
    }

    /// Refuses what is new, waits for what has begun, ends every stream, closes every file. Returns within
    /// `connections.drain_deadline` and `connections.close_deadline` together.
    pub async fn close(&self) {
        if let Err(error) = self.let_go().await {
            tracing::error!(error = error.chain(), "stopping broke off");
        }
    }

    /// As [`Service::close`].
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: some file is not closed. The data directory is this
    /// process's until it ends.
    pub(super) async fn let_go(&self) -> Result<()> {
        let ConnectionSettings { drain_deadline, close_deadline, .. } = self.settings().connections;
        self.drain.begin();
        if !self.drain.finished(drain_deadline).await {
            tracing::warn!("some calls did not end within connections.drain_deadline and are cut");
        }
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(scheduler) = scheduler {
            // It ends by itself, for stopping has begun; what it was doing does not matter any more.
            let _ = scheduler.await;
        }
        let spans = self.traces.close(close_deadline.min(SPANS_WITHIN));
        let (closed, ()) = tokio::join!(timeout(close_deadline, self.tenants.close_all()), spans);
        if closed.is_err() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "some tenants' files did not close within connections.close_deadline: what was acknowledged is in \
                 their logs, and the next start takes it up",
            ));
        }
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sending) = sending
            && let Err(error) = sending.end(self.settings().history.remote.stop_within).await
        {
            tracing::warn!("{error}");
        }
        self.dir.release();
        Ok(())
    }
}

/// What a tenant is opened by, as the settings have it.
pub(super) struct Recipe {
    classes: BTreeMap<String, Class>,
    /// The built-in tools of the classes that have others.
    packs_of: BTreeMap<String, Arc<Packs>>,
    endpoint: EndpointSettings,
    journal: JournalSettings,
    /// How a tenant's past is kept, if it is.
    history: Option<Keep>,
    auto_create: bool,
}

impl Recipe {
    pub(super) fn of(host: &Host, settings: &Settings, dir: &DataDir, stdio: bool) -> Result<Self> {
        let classes = settings.classes()?;
        let own =
            |(name, class): (&String, &Class)| Some((name.clone(), Arc::new(Packs::new(class.packs.as_deref()?))));
        let endpoint = EndpointSettings {
            packs: Arc::new(Packs::new(host.packs.as_deref().unwrap_or(&settings.packs))),
            state_keys: Arc::new(StateKeys::load(&dir.keys())?),
            clock: Arc::clone(&host.clock),
            stdio,
            scales: Scales::default(),
            lists_all: settings.auth.issuers.iter().any(|issuer| issuer.authorization_server),
        };
        let (journal, auto_create) = (settings.journal, settings.tenants.auto_create);
        let keep = Keep { settings: settings.history.clone(), clock: Arc::clone(&host.clock), grown: None };
        let history = settings.history.enabled.then_some(keep);
        let packs_of = classes.iter().filter_map(own).collect();
        Ok(Self { packs_of, classes, endpoint, journal, history, auto_create })
    }
}

fn registry(
    host: &Host,
    settings: &Settings,
    dir: &DataDir,
    callers: &Callers,
    (wakes, tops, archive): (&Arc<Wakes>, &Tops, Option<&Archive>),
    recipe: Arc<RwLock<Arc<Recipe>>>,
) -> Result<Registry<Hosted>> {
    let Housekeeping { executor, credit: housekeeping } = callers.housekeeping.clone();
    let (catalog, clock, wakes) = (Arc::clone(&callers.catalog), Arc::clone(&callers.clock), Arc::clone(wakes));
    let (tops, archive) = (tops.clone(), archive.cloned());
    let opening = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let threads = ReaderThreads::start();
    let template = host.template();
    let (dir, make) = (dir.clone(), Arc::clone(&host.make));
    let readers = settings.classes()?.values().map(|class| class.limits.readers).max().unwrap_or(0);
    Ok(Registry::new(residency(&settings.tenants, readers), move |tenant| {
        let (dir, catalog, template, threads) = (dir.clone(), Arc::clone(&catalog), template.clone(), threads.clone());
        let (executor, housekeeping, opening) = (executor.clone(), Arc::clone(&housekeeping), Arc::clone(&opening));
        let (clock, wakes, make, tops) = (Arc::clone(&clock), Arc::clone(&wakes), Arc::clone(&make), tops.clone());
        let archive = archive.clone();
        let recipe = Arc::clone(&recipe.read().unwrap_or_else(PoisonError::into_inner));
        async move {
            let (id, opened_at, by) = (tenant.clone(), Arc::clone(&clock), Arc::clone(&recipe));
            let open = move || {
                let class = admit(&catalog, &id, by.auto_create, &*opened_at)?;
                let mut file = file_settings(&by, &class, &id)?;
                if let (Some(keep), Some(archive)) = (&mut file.history, archive) {
                    let id = id.clone();
                    keep.grown = Some(Arc::new(move || archive.grown(&id)));
                }
                let database = Database::open(&dir, &id, &file, &template, &threads)?;
                Result::<_>::Ok((database, file.limits, class))
            };
            // Closed never; the wait is bounded by the openings before this one.
            let _turn = opening.acquire().await;
            let (database, limits, class) = executor.run(&housekeeping, open).await??;
            let mut endpoint = recipe.endpoint.clone();
            if let Some(own) = recipe.packs_of.get(&class) {
                endpoint.packs = Arc::clone(own);
            }
            let around = Surroundings { clock, wakes, journal: recipe.journal, tops };
            make(Handle::start(tenant, database, limits, executor, around), &endpoint)
        }
    }))
}

/// A tenant whose class the configuration has lost is served with `[limits]`: it is the operator's slip, and
/// not a reason to lock a customer out.
fn file_settings(recipe: &Recipe, class: &str, tenant: &TenantId) -> Result<FileSettings> {
    let Recipe { classes, history, .. } = recipe;
    let known = classes.get(class).or_else(|| {
        tracing::warn!(%tenant, class, "the configuration has no such class: [limits] holds for this tenant");
        classes.get(DEFAULT_CLASS)
    });
    let Class { limits, durability, .. } = known.ok_or_else(|| Error::internal("there is no default class"))?.clone();
    Ok(FileSettings { durability, limits, history: history.clone() })
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
