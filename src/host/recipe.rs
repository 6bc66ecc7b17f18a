//! How a tenant is opened: its class, its file, its actor and its server, as the settings then have it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;

use super::Host;
use super::door::{Callers, Housekeeping};
use super::residency::residency;
use crate::archive::Archive;
use crate::ask::StateKeys;
use crate::auth::tenant_unknown;
use crate::catalog::{Catalog, Wakes};
use crate::clock::Clock;
use crate::config::{Class, DEFAULT_CLASS, JournalSettings, Settings};
use crate::db::{Beside, DataDir, Database, FileSettings, Keep, ReaderThreads};
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::mcp::{EndpointSettings, Hosted, Scales};
use crate::packs::Packs;
use crate::tenant::{Credit, Executor, Handle, Registry, Surroundings, Tops};

/// Files that are opened at once: each takes some fsyncs if it is new, and a storm of wakes must not take
/// every thread.
const OPENING_AT_ONCE: usize = 16;

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
        let keep =
            Keep { settings: settings.history.clone(), clock: Arc::clone(&host.clock), grown: None, beside: None };
        let history = settings.history.enabled.then_some(keep);
        let packs_of = classes.iter().filter_map(own).collect();
        Ok(Self { packs_of, classes, endpoint, journal, history, auto_create })
    }
}

/// The open tenants, each opened by `recipe` as it then is.
pub(super) fn registry(
    host: &Host,
    settings: &Settings,
    dir: &DataDir,
    callers: &Callers,
    (wakes, tops, archive): (&Arc<Wakes>, &Tops, Option<&Archive>),
    recipe: Arc<RwLock<Arc<Recipe>>>,
) -> Result<Registry<Hosted>> {
    let Housekeeping { executor, .. } = callers.housekeeping.clone();
    let (catalog, clock, wakes) = (Arc::clone(&callers.catalog), Arc::clone(&callers.clock), Arc::clone(wakes));
    let (tops, archive) = (tops.clone(), archive.cloned());
    let opening = Arc::new(Semaphore::new(OPENING_AT_ONCE));
    let threads = ReaderThreads::start();
    let template = host.template();
    let (dir, make) = (dir.clone(), Arc::clone(&host.make));
    let beside = beside(&executor);
    let readers = settings.classes()?.values().map(|class| class.limits.readers).max().unwrap_or(0);
    Ok(Registry::new(residency(&settings.tenants, readers), move |tenant| {
        let (dir, catalog, template, threads) = (dir.clone(), Arc::clone(&catalog), template.clone(), threads.clone());
        let (executor, opening) = (executor.clone(), Arc::clone(&opening));
        let (clock, wakes, make, tops) = (Arc::clone(&clock), Arc::clone(&wakes), Arc::clone(&make), tops.clone());
        let (archive, beside) = (archive.clone(), Arc::clone(&beside));
        let recipe = Arc::clone(&recipe.read().unwrap_or_else(PoisonError::into_inner));
        async move {
            // On the tenant's own account: the host's, which many wakes in a row would overdraw, sends what it pays for
            // into the background.
            let credit = Arc::new(Credit::of(tenant.clone()));
            let (engine, runtime) = ((executor.clone(), Arc::clone(&credit)), tokio::runtime::Handle::current());
            let open = move || {
                // What is started here runs there, and what an embedder's program does here keeps nobody from it.
                let _inside = runtime.enter();
                let class = admit(&catalog, &tenant, recipe.auto_create, &*clock)?;
                let mut file = file_settings(&recipe, &class, &tenant)?;
                if let Some(keep) = &mut file.history {
                    let id = tenant.clone();
                    keep.grown = archive.map(|archive| Arc::new(move || archive.grown(&id)) as _);
                    keep.beside = Some(beside);
                }
                let limits = file.limits.clone();
                let database = Database::open(&dir, &tenant, file, &template, &threads)?;
                let mut endpoint = recipe.endpoint.clone();
                if let Some(own) = recipe.packs_of.get(&class) {
                    endpoint.packs = Arc::clone(own);
                }
                let around = Surroundings { clock, wakes, journal: recipe.journal, tops };
                make(Handle::start(tenant, database, limits, engine, around), &endpoint)
            };
            // Closed never; the wait is bounded by the openings before this one.
            let _turn = opening.acquire().await;
            executor.run(&credit, open).await?
        }
    }))
}

/// Where whole copies of open files are made for their past: one at a time in the whole host, for two would only take
/// the disk from each other, and on nobody's account.
fn beside(executor: &Executor) -> Beside {
    let (turns, credit, executor) = (Arc::new(Semaphore::new(1)), Arc::default(), executor.clone());
    Arc::new(move || {
        let turn = Arc::clone(&turns).try_acquire_owned().ok()?;
        let (executor, credit) = (executor.clone(), Arc::clone(&credit));
        Some(Box::new(move |work| {
            let work = move || {
                work();
                drop(turn);
            };
            executor.begin(&credit, work);
        }))
    })
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
