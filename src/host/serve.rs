//! Listens until told to stop, then lets go in order, each step with its own bound.

use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Service;
use crate::error::{Error, ErrorKind, Result};

/// How long connections may take to end once every stream on them has.
const CONNECTIONS_WITHIN: Duration = Duration::from_secs(2);

/// Serves `service` on `listener` until `stop` resolves; returns when every file is closed.
///
/// # Errors
/// [`ErrorKind::Unavailable`] when the listener fails.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    // Without this an event stream waits some 40 ms for the client's delayed ACK (Nagle).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
    });
    let drain = service.drain().clone();
    let ending = drain.clone();
    let shutdown = async move { ending.stopping().await };
    let mut serving =
        tokio::spawn(axum::serve(listener, service.router()).with_graceful_shutdown(shutdown).into_future());
    let ended = tokio::select! {
        ended = &mut serving => Some(ended),
        () = stop => None,
    };
    tracing::info!("stopping: no new calls, those that have begun may end");
    service.close().await;
    match ended {
        Some(Ok(Err(error))) => {
            return Err(Error::new(ErrorKind::Unavailable, "the listener failed").with_source(error));
        }
        Some(_) => {}
        None if tokio::time::timeout(CONNECTIONS_WITHIN, &mut serving).await.is_err() => serving.abort(),
        None => {}
    }
    tracing::info!("stopped: every tenant is checkpointed and closed");
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once, with status 130:
/// nothing that was acknowledged is lost by that.
///
/// # Errors
/// [`ErrorKind::Internal`] when signals can't be watched.
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
