//! The way in: a verifier, and what has been taken back since. Whoever verifies, the host's own or an
//! embedder's, a suspended tenant stays out.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::claims::LEEWAY_SECONDS;
use super::{Authenticate, Principal, Standing};
use crate::clock::Clock;
use crate::error::Result;
use crate::id::TenantId;

/// How often an open stream asks whether its caller is still welcome: the clock may have been set, a key may
/// have gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who may come in, and until when.
pub(crate) struct Gate {
    /// The one of the moment: settings that are read again may bring another.
    verifier: RwLock<Arc<dyn Authenticate>>,
    standing: watch::Receiver<Arc<Standing>>,
    clock: Arc<dyn Clock>,
}

impl Gate {
    pub(crate) fn new(
        verifier: Arc<dyn Authenticate>,
        standing: watch::Receiver<Arc<Standing>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { verifier: RwLock::new(verifier), standing, clock }
    }

    /// Verifies with `verifier` from now on. Streams that are open end within a second if it does not vouch for
    /// their callers.
    pub(crate) fn replace(&self, verifier: Arc<dyn Authenticate>) {
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// What verifies at the moment.
    pub(crate) fn verifier(&self) -> Arc<dyn Authenticate> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The caller behind `token`. `may_work` is asked before a token is verified that was not verified before.
    ///
    /// # Errors
    /// As [`Authenticate::authenticate`]; [`crate::ErrorKind::Forbidden`] when the tenant is suspended; what
    /// `may_work` says.
    pub(crate) async fn admit(&self, token: &str, may_work: impl FnOnce() -> Result<()>) -> Result<Principal> {
        let verifier = self.verifier();
        let principal = match verifier.recall(token) {
            Some(principal) => principal,
            None => {
                may_work()?;
                verifier.authenticate(token).await?
            }
        };
        self.standing.borrow().check(&principal)?;
        Ok(principal)
    }

    /// Returns when what was taken back of `tenant`'s tokens is known here: a moment after the catalog knows it.
    pub(crate) async fn has_heard_of(&self, tenant: &TenantId) {
        let mut standing = self.standing.clone();
        let heard = standing.wait_for(|standing| standing.tenants.get(tenant).is_some_and(|tenant| tenant.epoch > 0));
        // Where nobody looks any more, nobody calls either.
        let _ = timeout(2 * LOOK_EVERY, heard).await;
    }

    /// Whether tokens can be verified at all.
    pub(crate) fn is_ready(&self) -> bool {
        self.verifier().is_ready()
    }

    /// Returns when `principal` may call no more: its token has ended or was taken back, its tenant was
    /// suspended, the key that signed for it is gone.
    pub(crate) async fn ended(self: Arc<Self>, principal: Principal) {
        let mut standing = self.standing.clone();
        loop {
            let good = standing.borrow_and_update().check(&principal).is_ok();
            if !good || self.is_over(&principal) || !self.verifier().vouches_for(&principal) {
                return;
            }
            if let Ok(Err(_)) = timeout(LOOK_EVERY, standing.changed()).await {
                // The host is gone: who ends streams then is not this.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    fn is_over(&self, principal: &Principal) -> bool {
        let end = principal.expires_at().map(|exp| exp.saturating_add(LEEWAY_SECONDS));
        end.is_some_and(|end| end <= self.clock.unix_seconds())
    }
}
