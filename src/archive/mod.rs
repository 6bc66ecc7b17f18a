//! The past of tenants besides this disk: an object for each whole copy and for each stretch of changes, below a folder
//! of its tenant's name, and the list of tenants. It opens no tenant's database; it reads and writes folders of `history/`.
//!
//! ```text
//! PREFIX/owner                           which data directory this is of
//! PREFIX/catalog.db                      tenants, classes, what is revoked; no secret
//! PREFIX/tenants/ID/LINEAGE/PIECE        `Piece` has the names
//! ```

mod board;
mod catalog;
mod fetch;
mod ship;
mod store;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use self::board::Board;
use self::store::Store;
use crate::clock::Clock;
use crate::config::{HistorySettings, RemoteUrl};
use crate::db::{DataDir, Hole, Past, Piece, Remains, Staging, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::hex::hex;
use crate::id::TenantId;
use crate::random;
use crate::telemetry::Metrics;
use crate::tenant::{Credit, Executor};

pub(crate) use ship::Erased;

/// The past of tenants elsewhere. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive(Arc<Parts>);

struct Parts {
    store: Store,
    around: Around,
    settings: RwLock<HistorySettings>,
    /// Of this process, so that it takes no other's word for what has arrived.
    run: String,
    board: Arc<Board>,
    /// Held while objects are removed that have been kept for long enough: half of that looks like a loss.
    letting_go: tokio::sync::RwLock<()>,
    /// What the list of tenants was like when it was last sent.
    catalog: tokio::sync::Mutex<Option<Vec<u8>>>,
}

/// What it works with.
pub(crate) struct Around {
    /// The data directory.
    pub dir: DataDir,
    /// Where what comes in is put together.
    pub staging: Staging,
    /// Where files are read and written.
    pub executor: Executor,
    /// On whose account.
    pub credit: Arc<Credit>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Archive")
    }
}

impl Archive {
    /// The one that `settings` name, if they name one. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::Unavailable`]: the settings are not enough, or a credential file can't be
    /// used.
    pub(crate) fn open(settings: &HistorySettings, around: Around) -> Result<Option<Self>> {
        let Some(url) = settings.remote.url.as_ref().filter(|_| settings.enabled) else { return Ok(None) };
        Self::of(url, settings, around).map(Some)
    }

    fn of(url: &RemoteUrl, settings: &HistorySettings, around: Around) -> Result<Self> {
        let store = Store::open(url, &settings.remote)?;
        let (settings, run) = (RwLock::new(settings.clone()), hex(&random::bytes::<8>()?));
        let (board, letting_go, catalog) =
            (Arc::default(), tokio::sync::RwLock::default(), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Parts { store, around, settings, run, board, letting_go, catalog })))
    }

    /// Goes by other bounds of age, number and bytes from now on.
    pub(crate) fn take_up(&self, settings: &HistorySettings) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = settings.clone();
    }

    fn settings(&self) -> HistorySettings {
        self.0.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is more of `tenant`: it is copied within `history.remote.every`. Returns at once.
    pub(crate) fn grown(&self, tenant: &TenantId) {
        let every = self.0.settings.read().unwrap_or_else(PoisonError::into_inner).remote.every;
        let now = self.now();
        self.0.board.add(tenant, now, now + millis(every));
    }

    /// What there is of `tenant`.
    async fn remains(&self, tenant: &TenantId) -> Result<Remains> {
        let mut remains = Remains::default();
        for (name, bytes) in self.0.store.list(&folder(tenant)).await? {
            // What is none of ours is left alone.
            if let Some((lineage, piece)) = name.split_once('/')
                && let Ok(piece) = piece.parse::<Piece>()
            {
                remains.add(lineage, piece, bytes);
            }
        }
        Ok(remains)
    }

    /// The times that `tenant` can be brought back to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: nothing of it is there; [`ErrorKind::Unavailable`]: the storage can't be reached.
    pub(crate) async fn windows(&self, tenant: &TenantId) -> Result<Vec<Window>> {
        let remains = self.remains(tenant).await?;
        if remains.is_empty() { Err(nothing_of(tenant)) } else { Ok(remains.windows()) }
    }

    /// What is missing of what there was of `tenant`, by what the rest tells of it, and by what this data directory
    /// knows that it has sent.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: the storage can't be reached.
    pub(crate) async fn missing(&self, tenant: &TenantId) -> Result<Option<Hole>> {
        // Before what is there is listed: what arrives in between is more than is asked for.
        let past = Past::of(&self.0.around.dir, tenant);
        let sent = self.run(move || past.sent()).await?;
        let remains = {
            let _whole = self.0.letting_go.read().await;
            self.remains(tenant).await?
        };
        let lost = || sent.and_then(|(lineage, shipped)| Past::lost(&shipped, &remains.of(&lineage)));
        Ok(remains.missing().or_else(lost))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.0.around.executor.run(&self.0.around.credit, work).await
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.around.clock.unix_millis()).unwrap_or(0)
    }
}

/// All names of a tenant's objects begin with it. A name has no `/` in it and is no `..`: [`TenantId`] sees to that.
fn folder(tenant: &TenantId) -> String {
    format!("tenants/{tenant}")
}

fn nothing_of(tenant: &TenantId) -> Error {
    Error::new(ErrorKind::NotFound, format!("nothing of tenant {tenant} is in the storage of history.remote"))
}

fn unread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "a tenant's history can't be read to be copied").with_source(error)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
