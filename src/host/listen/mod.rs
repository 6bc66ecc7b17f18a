//! The accept loop: who is let in, how many, and how it ends. What is spoken on a connection is `connection`'s.
//!
//! Not the library's own: that one has no deadline for a head, no bound on connections, and none on their age.

mod census;
mod connection;
mod pace;
mod proxied;
mod tls;
mod whole;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{AddressBlock, Settings};
use crate::drain::Drain;
use census::{Census, Seat};
pub(super) use connection::{Server, Spoken};
use proxied::client_of;
pub(crate) use tls::Tls;

/// Without a descriptor to accept with, the next try waits: from this, doubled, to the other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A listener's whole state.
pub(super) struct Listening {
    server: Server,
    tls: Option<Arc<Tls>>,
    handshakes: Semaphore,
    handshake_deadline: Duration,
    census: Arc<Census>,
    /// Who may say for whom it speaks; all have to, where it is set.
    balancers: Option<Vec<AddressBlock>>,
    drain: Drain,
    cut: CancellationToken,
}

impl Listening {
    /// Serves each request by the routes of its moment.
    pub(super) fn new(
        settings: &Settings,
        routes: watch::Receiver<Router>,
        tls: Option<Arc<Tls>>,
        drain: Drain,
    ) -> Arc<Self> {
        let connections = settings.connections.clone();
        let balancers = connections.proxy_protocol.then(|| settings.trusted_proxies());
        Arc::new(Self {
            tls,
            handshakes: Semaphore::new(connections.handshakes.min(Semaphore::MAX_PERMITS)),
            handshake_deadline: connections.handshake_deadline,
            census: Census::new(connections.max, connections.per_address, settings.trusted_proxies()),
            server: Server::new(routes, connections, drain.clone()),
            balancers,
            drain,
            cut: CancellationToken::new(),
        })
    }

    /// Ends every connection that is still there.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Accepts until stopping begins, then waits for the connections to end.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let connections = TaskTracker::new();
        let fresh = self.tls.clone().map(|tls| tokio::spawn(async move { tls.keep_fresh().await }));
        let mut back_off = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.stopping() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    back_off = BACK_OFF.0;
                    self.welcome(stream, peer, &connections);
                }
                Err(error) if is_the_client_s(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted: is the limit of open files too low?");
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
        // The system has said yes to these: they are told why they have to go elsewhere, and not cut off.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.welcome(stream, peer, &connections);
        }
        drop(listener);
        if let Some(fresh) = fresh {
            fresh.abort();
        }
        connections.close();
        connections.wait().await;
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, connections: &TaskTracker) {
        match self.census.seat(peer.ip()) {
            Ok(seat) => {
                connections.spawn(Arc::clone(self).greet(stream, peer, seat));
            }
            Err(bound) => tracing::debug!(client.address = %peer.ip(), bound, "a connection is turned away"),
        }
    }

    /// Whom the connection is of: the one at the other end, or the one for whom a balancer speaks.
    async fn client(&self, stream: &mut TcpStream, peer: SocketAddr, seat: &mut Seat) -> io::Result<SocketAddr> {
        let Some(balancers) = &self.balancers else { return Ok(peer) };
        if !balancers.iter().any(|block| block.contains(peer.ip())) {
            return Err(io::Error::other("it comes from no trusted proxy"));
        }
        let client = client_of(stream, peer).await?;
        seat.belongs_to(client.ip()).map_err(io::Error::other)?;
        Ok(client)
    }

    async fn greet(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, mut seat: Seat) {
        // Without this an event stream waits some 40 ms for the client's delayed ACK (Nagle).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
        let peer = match self.client(&mut stream, peer, &mut seat).await {
            Ok(client) => client,
            Err(error) => {
                return tracing::debug!(%error, client.address = %peer.ip(), "a connection is turned away");
            }
        };
        let leave = self.drain.token();
        let Some(tls) = &self.tls else {
            return self.server.serve(stream, peer, Spoken::Either, leave, &self.cut).await;
        };
        let Ok(turn) = self.handshakes.try_acquire() else {
            return tracing::debug!(client.address = %peer.ip(), bound = "connections.handshakes", "turned away");
        };
        let shaken = timeout(self.handshake_deadline, tls.acceptor().accept(stream)).await;
        drop(turn);
        match shaken {
            Ok(Ok(stream)) => {
                let agreed = stream.get_ref().1.alpn_protocol();
                let spoken = if agreed == Some(b"h2") { Spoken::Http2 } else { Spoken::Http1 };
                self.server.serve(stream, peer, spoken, leave, &self.cut).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, client.address = %peer.ip(), "no TLS handshake"),
            Err(_) => tracing::debug!(client.address = %peer.ip(), "no TLS handshake in time"),
        }
    }
}

/// Whether one client gave up before it was accepted: the next one may be waiting.
fn is_the_client_s(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
