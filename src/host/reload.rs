//! Other settings for a host that runs: all of them are tried first, and then all are taken up or none.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::assemble::Service;
use super::door::keys_of;
use super::front::Front;
use super::recipe::Recipe;
use crate::auth::Authenticate;
use crate::config::{Changes, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry;

/// How long an identity provider that is new may take to show its keys.
const KEYS_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a tenant is opened with: where it changes, those that are open are opened anew.
const OF_TENANTS: [&str; 6] = ["limits.", "durability", "packs", "journal.", "history.", "auth."];
/// What decides who may call.
const OF_CALLERS: [&str; 2] = ["auth.", "public_url"];

type Read = Box<dyn Fn() -> Result<Settings> + Send + Sync>;

/// SIGHUP, and how settings are read anew at it.
pub(crate) struct Reload {
    asked: Signal,
    read: Read,
}

impl Reload {
    /// Watches for SIGHUP from here on: until then it is the process's end.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when signals can't be watched.
    pub(crate) fn watch(read: impl Fn() -> Result<Settings> + Send + Sync + 'static) -> Result<Self> {
        let asked = signal(SignalKind::hangup())
            .map_err(|error| Error::internal("signals can't be watched").with_source(error))?;
        Ok(Self { asked, read: Box::new(read) })
    }
}

/// At each SIGHUP takes up what is read. What can't be used changes nothing, and the log says why. Does not return.
pub(super) async fn at_hangup(front: &Front, service: &Service, reload: Option<Reload>) {
    let Some(Reload { mut asked, read }) = reload else { return std::future::pending().await };
    loop {
        asked.recv().await;
        match service.reload(front, &read).await {
            Ok(Changes { now, at_start }) => {
                let (now, at_start) = (now.join(", "), at_start.join(", "));
                tracing::info!(
                    now,
                    at_start,
                    "the configuration was read again: `now` holds, `at_start` needs a restart"
                );
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "the configuration can't be used: everything stays as it was");
            }
        }
    }
}

impl Service {
    async fn reload(&self, front: &Front, read: &Read) -> Result<Changes> {
        let (old, mut read) = (self.settings(), read()?);
        if read.listen.port() == 0 && read.listen.ip() == old.listen.ip() {
            // Any port was asked for; this is the one that was given.
            read.listen = old.listen;
        }
        let (new, changes) = (old.kept(&read), old.changes(&read));
        let recipe = Recipe::of(&self.host, &new, &self.dir, false)?;
        let certificate = front.certificate()?;
        let verifier = self.other_verifier(&new, &changes).await?;
        // From here on nothing fails.
        telemetry::filter(&new.log);
        self.take_up(new, recipe);
        if let Some(verifier) = verifier {
            self.gate.replace(verifier);
        }
        if changes.touch(&OF_TENANTS) {
            self.tenants.renew();
        }
        front.present(certificate);
        front.answer(self.router());
        Ok(changes)
    }

    /// One that verifies at once what `new` say, where that is another than before.
    async fn other_verifier(&self, new: &Settings, changes: &Changes) -> Result<Option<Arc<dyn Authenticate>>> {
        if self.host.authenticate.is_some() {
            return Ok(None);
        }
        if !changes.touch(&OF_CALLERS) {
            // Keys that can't be used any more are told now, and not at the next start.
            keys_of(new, &self.dir)?;
            return Ok(None);
        }
        let verifier = self.callers.verifier(new, &self.dir)?;
        let ready = async {
            while !verifier.is_ready() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(KEYS_WITHIN, ready).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, "an issuer's keys can't be fetched: is its address right?")
        })?;
        Ok(Some(verifier))
    }
}
