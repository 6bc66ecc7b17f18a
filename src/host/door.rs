//! Who may come in, wired: the verifier on its keys and on the catalog, and the watch that keeps both fresh.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::Host;
use crate::auth::{Authenticate, FindApiKey, Gate, KeyRing, OwnKeys, Standing, Verdict, Verifier};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{AuthSettings, Settings};
use crate::db::DataDir;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Credit, Executor};

/// How often the catalog and the key files are looked at: what a command beside the host takes back is gone
/// within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Where blocking work of the host's own runs, on the host's account.
#[derive(Clone)]
pub(super) struct Housekeeping {
    pub(super) executor: Executor,
    pub(super) credit: Arc<Credit>,
}

/// What a verifier is made with.
pub(super) struct Callers {
    pub(super) catalog: Arc<Catalog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) housekeeping: Housekeeping,
}

impl Callers {
    /// The host's own verifier, by `settings` and with the keys that they name.
    pub(super) fn verifier(&self, settings: &Settings, dir: &DataDir) -> Result<Arc<dyn Authenticate>> {
        let find = find_api_key(Arc::clone(&self.catalog), Arc::clone(&self.clock), self.housekeeping.clone());
        Ok(Arc::new(Verifier::new(own_keys(settings, dir), settings, Arc::clone(&self.clock), find)?))
    }

    /// The gate of this host, watched for as long as it is held.
    pub(super) fn gate(&self, host: &Host, settings: &Settings, dir: &DataDir, stdio: bool) -> Result<Arc<Gate>> {
        let verifier: Arc<dyn Authenticate> = match &host.authenticate {
            Some(theirs) => Arc::clone(theirs),
            None if stdio => Arc::new(Nobody),
            None => self.verifier(settings, dir)?,
        };
        let changes = self.catalog.standing_changes()?;
        let (told, standing) = watch::channel(Arc::new(self.catalog.standing(&*self.clock)?));
        let gate = Arc::new(Gate::new(verifier, standing, Arc::clone(&self.clock)));
        let (catalog, clock) = (Arc::clone(&self.catalog), Arc::clone(&self.clock));
        let look = Look { catalog, gate: Arc::downgrade(&gate), clock };
        tokio::spawn(look.keep(told, changes, self.housekeeping.clone()));
        Ok(gate)
    }
}

/// What is looked at.
#[derive(Clone)]
struct Look {
    catalog: Arc<Catalog>,
    gate: Weak<Gate>,
    clock: Arc<dyn Clock>,
}

impl Look {
    async fn keep(self, told: watch::Sender<Arc<Standing>>, mut seen: i64, housekeeping: Housekeeping) {
        let Housekeeping { executor, credit } = housekeeping;
        loop {
            tokio::select! {
                () = told.closed() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let look = self.clone();
            match executor.run(&credit, move || look.once(seen)).await {
                Ok(Ok(Some((changes, standing)))) => {
                    seen = changes;
                    told.send_replace(Arc::new(standing));
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) | Err(error) => {
                    tracing::error!(error = error.chain(), "what was revoked can't be read: what was known holds");
                }
            }
        }
    }

    /// The standing, if it is another than at `seen`. The number is read first: a change between the two reads
    /// is then seen twice, and not never.
    fn once(&self, seen: i64) -> Result<Option<(i64, Standing)>> {
        if let Some(gate) = self.gate.upgrade() {
            gate.verifier().look_again();
        }
        let changes = self.catalog.standing_changes()?;
        match changes == seen {
            true => Ok(None),
            false => Ok(Some((changes, self.catalog.standing(&*self.clock)?))),
        }
    }
}

fn find_api_key(catalog: Arc<Catalog>, clock: Arc<dyn Clock>, housekeeping: Housekeeping) -> FindApiKey {
    Arc::new(move |id| {
        let (catalog, clock, housekeeping) = (Arc::clone(&catalog), Arc::clone(&clock), housekeeping.clone());
        Box::pin(async move {
            let find = move || catalog.api_key(&id, &*clock);
            housekeeping.executor.run(&housekeeping.credit, find).await?
        })
    })
}

/// Paths and settings alone: what holds the data directory's lock must not live on in a task.
pub(crate) fn own_keys(settings: &Settings, dir: &DataDir) -> OwnKeys {
    let (auth, keys) = (settings.auth.clone(), dir.keys());
    let file = auth.hs256_secret_file.as_ref().or(auth.pem_file.as_ref()).or(auth.jwks_file.as_ref());
    let path = file.map_or_else(|| keys.clone(), |file| file.relative());
    OwnKeys { path, load: Box::new(move || ring(&auth, &keys)) }
}

/// The keys that `settings` name.
///
/// # Errors
/// [`ErrorKind::Unavailable`], with how to make them.
pub(crate) fn keys_of(settings: &Settings, dir: &DataDir) -> Result<KeyRing> {
    ring(&settings.auth, &dir.keys())
}

fn ring(auth: &AuthSettings, keys: &Path) -> Result<KeyRing> {
    match (&auth.hs256_secret_file, &auth.pem_file, &auth.jwks_file) {
        (Some(file), ..) => KeyRing::from_secret_file(&file.relative()),
        (_, Some(file), _) => KeyRing::from_pem_file(&file.relative()),
        (.., Some(file)) => KeyRing::from_jwks_file(&file.relative()),
        _ => KeyRing::from_dir(keys),
    }
}

/// Where nobody can call by HTTP.
struct Nobody;

impl Authenticate for Nobody {
    fn authenticate<'a>(&'a self, _token: &'a str) -> Verdict<'a> {
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unauthenticated, "this host serves standard input"))))
    }
}
