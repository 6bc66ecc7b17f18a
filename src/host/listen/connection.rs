//! One connection, from its first byte to its last: HTTP/1.1 or HTTP/2 on any stream of bytes, ended when it
//! is too slow, too old or no longer wanted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::pace::{Pace, PacedBody, PacedIo, STREAM, StreamPace};
use super::whole::WholeBody;
use crate::config::ConnectionSettings;
use crate::drain::Drain;

/// A head that is larger gets hyper's bare 431; what is smaller and still too large gets ours, in JSON.
const HEAD_BYTES_MAX: usize = 80 * 1_024;
/// How long a client may take to let go of a connection that is ended in good order.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host) enum Spoken {
    /// Whatever its first bytes say: without TLS there is no other way to know.
    Either,
    /// HTTP/1.1, as ALPN agreed or did not say.
    Http1,
    /// HTTP/2, as ALPN agreed.
    Http2,
}

/// Serves connections, one call each.
pub(in crate::host) struct Server {
    routes: watch::Receiver<Router>,
    settings: ConnectionSettings,
    drain: Drain,
    either: Builder<Streams>,
    http1: Builder<Streams>,
    http2: Builder<Streams>,
}

impl Server {
    pub(in crate::host) fn new(routes: watch::Receiver<Router>, settings: ConnectionSettings, drain: Drain) -> Self {
        let builder = || {
            let mut builder = Builder::new(Streams { write_stall: settings.write_stall });
            // The head's deadline is `Pace`'s: hyper's own does not run before the first byte.
            builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(64)
                .max_header_list_size(16 * 1_024)
                .initial_stream_window_size(256 * 1_024)
                .initial_connection_window_size(1 << 20)
                .max_send_buf_size(64 * 1_024)
                .keep_alive_interval(Duration::from_secs(20))
                .keep_alive_timeout(Duration::from_secs(10))
                // Rapid reset (CVE-2023-44487).
                .max_pending_accept_reset_streams(20)
                .max_local_error_reset_streams(1_024);
            builder
        };
        let (either, http1, http2) = (builder(), builder().http1_only(), builder().http2_only());
        Self { routes, settings, drain, either, http1, http2 }
    }

    /// Serves `io` until it ends. `leave` asks for that in good order, `cut` ends it at once.
    pub(in crate::host) async fn serve<T>(
        &self,
        io: T,
        peer: SocketAddr,
        spoken: Spoken,
        leave: &CancellationToken,
        cut: &CancellationToken,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pace = Pace::new(self.settings.header_deadline, self.settings.idle);
        let old_at = Instant::now().checked_add(about(self.settings.age));
        let (requests, routes, drain) = (Arc::clone(&pace), self.routes.clone(), self.drain.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let is_http1 = request.version() < Version::HTTP_2;
            let (turn, drain) = (requests.request(request.version()), drain.clone());
            // An old connection ends with an answer, and so does every one once stopping is near. Ended between two,
            // it would take a request with it that is on its way, and a balancer would say 502. HTTP/2 has a farewell
            // of its own. A refusal that did not read its request's body ends a connection too.
            let is_old = old_at.is_some_and(|old_at| old_at <= Instant::now());
            request.extensions_mut().insert(ConnectInfo(peer));
            let (head, body) = request.into_parts();
            // Who waits to be invited to send its body is not.
            let waits = !head.headers.contains_key(EXPECT);
            let (body, rest) = WholeBody::new(body);
            let answer = routes.borrow().clone().call(Request::from_parts(head, Body::new(body)));
            async move {
                let Ok(answer) = answer.await;
                let mut answer = answer.map(|body| PacedBody::new(body, turn));
                if is_http1 && (is_old || drain.is_announced() || !rest.came(waits).await) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let builder = match spoken {
            Spoken::Either => &self.either,
            Spoken::Http1 => &self.http1,
            Spoken::Http2 => &self.http2,
        };
        let io = TokioIo::new(PacedIo::new(io, Arc::clone(&pace)));
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut watch = pin!(Watch::new(&pace, &self.settings, old_at));
        let mut left = pin!(leave.cancelled());
        let mut leaving = false;
        loop {
            let ask_to_leave = tokio::select! {
                biased;
                () = cut.cancelled() => return,
                done = connection.as_mut() => {
                    if let Err(error) = done {
                        tracing::debug!(%error, "a connection broke");
                    }
                    return;
                }
                () = left.as_mut(), if !leaving => true,
                slow = watch.as_mut() => match slow {
                    Verdict::Old | Verdict::Resting if !leaving => true,
                    _ => return,
                }
            };
            if ask_to_leave {
                leaving = true;
                watch.as_mut().leaving();
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Why a connection is to end.
enum Verdict {
    /// It has been there for long enough: with its next answer it ends.
    Old,
    /// Nothing was asked on it for too long.
    Resting,
    /// Its client is too slow.
    Slow,
}

/// Resolves when a connection has to end. Polled after each step of it, in its own task, so that it sees
/// every change; it sets its timer anew only when a deadline came nearer.
struct Watch<'a> {
    pace: &'a Pace,
    write_stall: Duration,
    /// When the connection is old, until it was told so.
    old_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    /// When it was asked to end.
    left_at: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(pace: &'a Pace, settings: &ConnectionSettings, old_at: Option<Instant>) -> Self {
        let now = Instant::now();
        Self {
            pace,
            write_stall: settings.write_stall,
            old_at,
            timer: Box::pin(sleep_until(now + settings.header_deadline)),
            idle: settings.idle,
            left_at: None,
        }
    }

    /// From here on a rest is no longer a rest: whoever has nothing under way is gone soon.
    fn leaving(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.left_at = Some(Instant::now());
        this.old_at = None;
    }

    fn next(&self) -> Option<(Instant, Verdict)> {
        let mut next: Option<(Instant, Verdict)> = None;
        let mut at = |moment: Instant, verdict| {
            if next.as_ref().is_none_or(|(earliest, _)| moment < *earliest) {
                next = Some((moment, verdict));
            }
        };
        if let Some(old) = self.old_at.filter(|_| self.pace.is_shared()) {
            at(old, Verdict::Old);
        }
        if let Some(since) = self.pace.stalled_since() {
            at(since + self.write_stall, Verdict::Slow);
        }
        match (self.pace.awaited_by(), self.left_at) {
            (Some((by, true)), Some(left_at)) => at(left_at.max(by - self.idle) + LEAVE_WITHIN, Verdict::Slow),
            (Some((by, true)), None) => at(by, Verdict::Resting),
            (Some((by, false)), _) => at(by, Verdict::Slow),
            (None, _) => {}
        }
        next
    }
}

impl Future for Watch<'_> {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Verdict> {
        let this = self.get_mut();
        loop {
            let Some((moment, verdict)) = this.next() else { return Poll::Pending };
            if moment <= Instant::now() {
                return Poll::Ready(verdict);
            }
            if moment < this.timer.deadline() || this.timer.is_elapsed() {
                this.timer.as_mut().reset(moment);
            }
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Give or take a tenth, so that connections which began together do not end together.
fn about(age: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher};
    let chance = std::collections::hash_map::RandomState::new().build_hasher().finish() % 201;
    age.mul_f64(0.9 + 0.001 * chance as f64)
}

/// Runs an HTTP/2 connection's streams, each a task of its own, and ends one whose client does not take its
/// answer: that one alone, for behind a proxy the others are other people's.
#[derive(Clone)]
struct Streams {
    write_stall: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let pace = Arc::new(StreamPace::default());
        let write_stall = self.write_stall;
        let watched = Arc::clone(&pace);
        tokio::spawn(STREAM.scope(pace, async move {
            let mut stream = pin!(stream);
            let mut timer = pin!(sleep_until(Instant::now()));
            let mut seen = None;
            std::future::poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let waiting = watched.waiting();
                if waiting.is_none() {
                    return Poll::Pending;
                }
                if seen != waiting {
                    seen = waiting;
                    timer.as_mut().reset(Instant::now() + write_stall);
                }
                timer.as_mut().poll(cx)
            })
            .await;
        }));
    }
}
