//! [`Host`]: what an embedder says, and what becomes of it. Everything is wired here and nowhere else.

mod admin;
mod assemble;
mod door;
mod front;
mod listen;
mod operator;
mod recipe;
mod reload;
mod residency;
mod scheduler;
mod serve;
mod shipper;

use std::sync::Arc;

use rmcp::ServerHandler;

use crate::auth::Authenticate;
use crate::clock::{Clock, SystemClock};
use crate::config::{Pack, Settings};
use crate::db::{Migration, Migrations, Template};
use crate::error::Result;
use crate::mcp::{EndpointSettings, Hosted, hosted};
use crate::tenant::{Handle, OnReminder, Reminder, Tenant};

pub(crate) use admin::{AdminListener, admin_token_file};
pub use assemble::Service;
pub(crate) use door::{keys_of, own_keys};
pub(crate) use front::Front;
pub(crate) use operator::{Operator, file_body};
pub(crate) use reload::Reload;
pub(crate) use residency::raise_file_limit;
pub use serve::serve;
pub(crate) use serve::{serve_behind, stop_signal};

type MakeHosted = Arc<dyn Fn(Handle, &EndpointSettings) -> Result<Hosted> + Send + Sync>;

/// A server for one tenant, made into a host for many.
///
/// ```no_run
/// # #[derive(Clone)] struct Notes; impl rmcp::ServerHandler for Notes {}
/// # impl Notes { fn new() -> Self { Notes } }
/// fn main() -> std::process::ExitCode {
///     freehold::Host::new(|_tenant| Notes::new()).run()
/// }
/// ```
#[derive(Clone)]
pub struct Host {
    make: MakeHosted,
    migrations: Vec<Migration>,
    packs: Option<Vec<Pack>>,
    authenticate: Option<Arc<dyn Authenticate>>,
    clock: Arc<dyn Clock>,
    on_reminder: Option<OnReminder>,
    pub(crate) name: &'static str,
}

impl Host {
    /// Hosts `server(tenant)`: called once each time a tenant is opened, so that even what the server
    /// keeps in memory is one tenant's own. `tenant` acts for the host itself; a tool that acts for its
    /// caller takes a [`Tenant`] argument.
    pub fn new<S: ServerHandler>(server: impl Fn(Tenant) -> S + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(move |handle, settings| {
                let own = handle.on_behalf_of(crate::auth::Principal::local(handle.id().clone()))?;
                hosted(server(own), handle, settings)
            }),
            migrations: Vec::new(),
            packs: None,
            authenticate: None,
            clock: Arc::new(SystemClock),
            on_reminder: None,
            name: env!("CARGO_PKG_NAME"),
        }
    }

    /// The schema of the server's own tables, applied in every tenant's file when it is opened. The list
    /// may only grow at its end. See [`migrations!`](crate::migrations).
    #[must_use]
    pub fn migrations(mut self, migrations: impl Into<Vec<Migration>>) -> Self {
        self.migrations = migrations.into();
        self
    }

    /// What a new tenant's file is made from.
    pub(crate) fn template(&self) -> Template {
        Template::new(Migrations::of_app(self.migrations.clone()))
    }

    /// The built-in tools, in place of the setting `packs`. Without this the setting decides.
    #[must_use]
    pub fn packs(mut self, packs: impl Into<Vec<Pack>>) -> Self {
        self.packs = Some(packs.into());
        self
    }

    /// A verifier of one's own, in place of the host's keys and issuer.
    #[must_use]
    pub fn authenticate(mut self, verifier: impl Authenticate) -> Self {
        self.authenticate = Some(Arc::new(verifier));
        self
    }

    /// A clock of one's own.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What to do with a reminder that is due, before its message goes to the tenant's inbox. `tenant` acts for
    /// the host itself. An `Err`, a panic or more than 30 s is a failure: it is tried again after 2 s, 4 s, 8 s
    /// and so on, seven times in all; then the message goes to the inbox with the failure. A process that is
    /// killed may have it called once more for the same reminder, never once less.
    ///
    /// ```
    /// # struct Notes; impl rmcp::ServerHandler for Notes {}
    /// freehold::Host::new(|_tenant| Notes).on_reminder(|tenant, reminder| async move {
    ///     println!("{}: {}", tenant.id(), reminder.message);
    ///     Ok(())
    /// });
    /// ```
    #[must_use]
    pub fn on_reminder<F>(mut self, act: impl Fn(Tenant, Reminder) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.on_reminder = Some(Arc::new(move |tenant, reminder| Box::pin(act(tenant, reminder))));
        self
    }

    /// The host as a router for an axum application of one's own, and the handle that closes it. Claims
    /// the data directory. Runs inside a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): no keys, or no data directory;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict): another process holds it.
    pub fn into_router(self, settings: &Settings) -> Result<(axum::Router, Service)> {
        let service = Service::start(self, settings, false)?;
        Ok((service.router(), service))
    }
}
