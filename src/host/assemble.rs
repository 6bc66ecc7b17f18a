//! From settings to a running host: the order in which the pieces come up, read from top to bottom.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Host;
use super::door::{Callers, Housekeeping};
use super::listen::Tls;
use super::recipe::{Recipe, registry};
use super::scheduler::Scheduler;
use super::shipper::{Sending, Shipper};
use crate::admin::{self, Admin, finish_unfinished};
use crate::archive::{Archive, Around};
use crate::auth::Gate;
use crate::catalog::{Catalog, Wakes};
use crate::clock::Clock;
use crate::config::{ConnectionSettings, Settings};
use crate::db::{DataDir, Migrations, Staging, share_memory};
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Desk, Door, Edge};
use crate::id::TenantId;
use crate::mcp::Hosted;
use crate::telemetry::{Audit, Metrics, Traces};
use crate::tenant::{Executor, Registry, Tops};

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
        let service = Self::assemble(dir, host, settings, drain, (stdio, true))?;
        let scheduler = AbortOnDropHandle::new(tokio::spawn(service.scheduler().run()));
        *service.scheduler.lock().unwrap_or_else(PoisonError::into_inner) = Some(scheduler);
        *service.sending.lock().unwrap_or_else(PoisonError::into_inner) = service.sending();
        Ok(service)
    }

    /// Claims the data directory for an operator's commands alone: nobody can call, no reminder fires.
    pub(super) fn offline(host: Host, settings: &Settings) -> Result<Self> {
        Self::assemble(DataDir::claim(&settings.data_dir.relative())?, host, settings, Drain::default(), (true, false))
    }

    /// `stdio`: nobody calls by HTTP; `serves`: somebody calls at all.
    fn assemble(
        dir: DataDir,
        host: Host,
        settings: &Settings,
        drain: Drain,
        (stdio, serves): (bool, bool),
    ) -> Result<Self> {
        let log = settings.audit.file.as_ref().map_or_else(|| dir.audit(), |file| file.relative());
        let audit = Audit::start(&log, &settings.audit)?;
        let catalog = Arc::new(Catalog::open(&dir)?);
        share_memory(settings.tenants.statements_bytes.as_u64());
        let staging = Staging::start(&dir)?;
        let elsewhere = settings.history.enabled && settings.history.remote.url.is_some();
        finish_unfinished(&dir, &catalog, &host.clock, elsewhere)?;
        let metrics = Arc::new(Metrics::default());
        // A command on the files has none: it ends before anybody could be sent them.
        let traces = match serves {
            true => Traces::start(&settings.traces, &metrics, Arc::clone(&host.clock))?,
            false => Traces::default(),
        };
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
            traces: self.traces.clone(),
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
        Desk::new(self.admin.clone(), Arc::clone(&self.gate), self.drain.clone(), self.traces.clone())
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

    /// How many tenants are open.
    #[cfg(feature = "testing")]
    pub(crate) fn open_tenants(&self) -> usize {
        self.tenants.count()
    }

    /// Serves `tenant` on standard input and output until they end.
    pub(crate) async fn serve_stdio(&self, tenant: &TenantId) -> Result<()> {
        self.tenants.get(tenant).await?.endpoint.serve_stdio(self.traces.clone()).await
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
