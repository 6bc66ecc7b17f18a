//! Listens until told to stop, then lets go in order, each step with its own bound.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::admin::AdminListener;
use super::reload::{Reload, at_hangup};
use super::{Front, Service};
use crate::config::Settings;
use crate::error::{Error, Result};

/// How long a balancer is given to see `/readyz` fail.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Serves `service` on `listener` until `stop` resolves; returns when every file is closed.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): the TLS files can't be used, or some file was not closed
/// within `connections.close_deadline`.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let front = Front::open(listener, &service.settings(), service.drain().clone())?;
    let mut admin = AdminListener::start(&service, service.settings().admin_listen).await?;
    admin.expose_metrics(&service).await?;
    serve_behind(front, service, admin, None, stop).await
}

/// As [`serve`], where `front` listens already. With `reload`, SIGHUP has the settings read again.
pub(crate) async fn serve_behind(
    front: Front,
    service: Service,
    admin: AdminListener,
    reload: Option<Reload>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    front.answer(service.router());
    tokio::select! {
        () = stop => {}
        () = at_hangup(&front, &service, reload) => {}
    }
    service.announce();
    let delay = drain_delay(&service.settings());
    if !delay.is_zero() {
        tracing::info!(delay_ms = delay.as_millis() as u64, "not ready any more: a balancer may look elsewhere");
        tokio::time::sleep(delay).await;
    }
    tracing::info!("stopping: no new calls, those that have begun may end");
    let closed = service.let_go().await;
    front.end().await;
    // It tells of the stopping to its end.
    drop(admin);
    closed?;
    tracing::info!("stopped: every tenant is checkpointed and closed");
    Ok(())
}

/// Where nothing stands in front, nobody has to be given time to look elsewhere.
fn drain_delay(settings: &Settings) -> Duration {
    let default = if settings.behind_proxy { DRAIN_DELAY } else { Duration::ZERO };
    settings.connections.drain_delay.unwrap_or(default)
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once, with status 130:
/// nothing that was acknowledged is lost by that.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal) when signals can't be watched.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let watch = |kind| signal(kind).map_err(|error| Error::internal("signals can't be watched").with_source(error));
    let (mut term, mut int) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    Ok(async move {
        let mut next = async move || {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        next().await;
        tokio::spawn(async move {
            next().await;
            std::process::exit(130);
        });
    })
}
