//! A listener that accepts connections, whatever stands behind it at the moment: nothing yet, because another
//! process has the data directory, or the host.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::listen::{Listening, Tls};
use super::{Host, Service};
use crate::config::Settings;
use crate::db::DataDir;
use crate::drain::Drain;
use crate::error::Result;
use crate::http::lobby;

/// How often the lock is tried while another process has it: callers wait for it.
const TRY_EVERY: Duration = Duration::from_millis(20);
/// How long connections may take to end once every stream on them has.
const CONNECTIONS_WITHIN: Duration = Duration::from_secs(2);

/// The accept loop, and what answers behind it.
pub(crate) struct Front {
    listening: Arc<Listening>,
    serving: JoinHandle<()>,
    routes: watch::Sender<Router>,
    leaves: watch::Sender<bool>,
    tls: Option<Arc<Tls>>,
    pub(super) drain: Drain,
}

impl Front {
    /// Accepts connections from here on. Until [`Front::answer`] only health is answered; the rest is kept.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the TLS files can't be used.
    pub(crate) fn open(listener: TcpListener, settings: &Settings, drain: Drain) -> Result<Self> {
        let tls = Tls::load(&settings.tls)?;
        let (leaves, left) = watch::channel(false);
        let (routes, of_the_moment) = watch::channel(Router::new());
        // Seen as unchanged by whoever it keeps waiting, for it is no change to them.
        routes.send_if_modified(|routes| {
            *routes = lobby(settings, left, of_the_moment.clone());
            false
        });
        let listening = Listening::new(settings, of_the_moment, tls.clone(), drain.clone());
        let serving = tokio::spawn(Arc::clone(&listening).run(listener));
        Ok(Self { listening, serving, routes, leaves, tls, drain })
    }

    /// Starts `host` in the data directory as soon as it can be had: at once, or within `wait_for_lock`.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict): another process has it, still; or as
    /// [`Host::into_router`].
    pub(crate) async fn start(&self, host: Host, settings: &Settings) -> Result<Service> {
        let (root, begun) = (settings.data_dir.relative(), Instant::now());
        let mut told = false;
        loop {
            let holder = match DataDir::try_claim(&root)? {
                Ok(dir) => return Service::start_in(dir, host, settings, self.drain.clone(), false),
                Err(holder) => holder,
            };
            if begun.elapsed() >= settings.wait_for_lock {
                return Err(holder.in_the_way());
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(
                    listen = %settings.listen,
                    holder = holder.process,
                    "waiting for the process that has the data directory"
                );
            }
            self.leaves.send_if_modified(|leaves| std::mem::replace(leaves, holder.leaves) != holder.leaves);
            sleep(TRY_EVERY).await;
        }
    }

    /// Answers by `routes` from the next request on, and what was kept.
    pub(super) fn answer(&self, routes: Router) {
        drop(self.routes.send_replace(routes));
    }

    /// The certificate as its files have it now; `None` without TLS.
    ///
    /// # Errors
    /// As [`Front::open`].
    pub(super) fn certificate(&self) -> Result<Option<Arc<ServerConfig>>> {
        self.tls.as_ref().map(|tls| tls.read()).transpose()
    }

    /// Shows `certificate` from the next handshake on.
    pub(super) fn present(&self, certificate: Option<Arc<ServerConfig>>) {
        if let (Some(tls), Some(certificate)) = (&self.tls, certificate) {
            tls.present(certificate);
        }
    }

    /// Waits for the connections to end, now that stopping has begun and every stream has ended.
    pub(crate) async fn end(mut self) {
        self.drain.begin();
        if timeout(CONNECTIONS_WITHIN, &mut self.serving).await.is_err() {
            self.listening.cut();
        }
    }
}
