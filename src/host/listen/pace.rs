//! How fast a client reads and writes, told by the parts of its connection to whoever watches it. It measures;
//! what is too slow is decided in `connection`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long, and for how many bytes, a client that is still sending is listened to after the last answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;

/// "Not now" for a moment that is kept as milliseconds.
const NEVER: u64 = u64::MAX;

/// One connection's state. Moments are milliseconds since it began.
pub(super) struct Pace {
    begun: Instant,
    header_deadline: Duration,
    idle: Duration,
    /// When a request has to be here, while one is awaited.
    read_by: AtomicU64,
    /// Whether nothing of the next request has come.
    resting: AtomicBool,
    /// Whether many requests share the connection: then bytes that come between them are no request.
    shared: AtomicBool,
    in_flight: AtomicUsize,
    /// Since when the client has taken nothing of what is being sent to it.
    stalled_since: AtomicU64,
}

impl Pace {
    pub(super) fn new(header_deadline: Duration, idle: Duration) -> Arc<Self> {
        let pace = Self {
            begun: Instant::now(),
            header_deadline,
            idle,
            read_by: AtomicU64::new(NEVER),
            resting: AtomicBool::new(false),
            shared: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            stalled_since: AtomicU64::new(NEVER),
        };
        // The first request's time runs from the first moment: a connection that says nothing is no rest.
        pace.read_by.store(millis(header_deadline), Ordering::Relaxed);
        Arc::new(pace)
    }

    fn now(&self) -> u64 {
        millis(self.begun.elapsed())
    }

    fn moment(&self, at: u64) -> Option<Instant> {
        (at != NEVER).then(|| self.begun + Duration::from_millis(at))
    }

    /// When the next request has to be here, and whether the client is only resting until then.
    pub(super) fn awaited_by(&self) -> Option<(Instant, bool)> {
        let by = self.moment(self.read_by.load(Ordering::Relaxed))?;
        Some((by, self.resting.load(Ordering::Relaxed)))
    }

    /// Whether many requests share the connection (HTTP/2).
    pub(super) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Since when the client takes nothing.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.moment(self.stalled_since.load(Ordering::Relaxed))
    }

    /// Notes that a request's head is here.
    pub(super) fn request(self: &Arc<Self>, version: Version) -> Turn {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.read_by.store(NEVER, Ordering::Relaxed);
        self.resting.store(false, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.shared.store(true, Ordering::Relaxed);
        }
        Turn(Arc::clone(self))
    }

    /// Gives the client this long, and then no more.
    fn await_until(&self, within: Duration) {
        self.resting.store(false, Ordering::Relaxed);
        self.read_by.store(self.now().saturating_add(millis(within)), Ordering::Relaxed);
    }

    fn came(&self) {
        if self.resting.load(Ordering::Relaxed) && !self.shared.load(Ordering::Relaxed) {
            self.await_until(self.header_deadline);
        }
    }

    fn went<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let since = self.stalled_since.load(Ordering::Relaxed);
        match &written {
            Poll::Pending if since == NEVER => self.stalled_since.store(self.now(), Ordering::Relaxed),
            Poll::Ready(_) if since != NEVER => self.stalled_since.store(NEVER, Ordering::Relaxed),
            _ => {}
        }
        written
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

/// A request that is being answered. Dropped with the answer's last byte, or with the request.
pub(super) struct Turn(Arc<Pace>);

impl Drop for Turn {
    fn drop(&mut self) {
        let pace = &self.0;
        if pace.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            pace.resting.store(true, Ordering::Relaxed);
            pace.read_by.store(pace.now().saturating_add(millis(pace.idle)), Ordering::Relaxed);
        }
    }
}

/// The two ends of a connection, observed.
pub(super) struct PacedIo<T> {
    io: T,
    pace: Arc<Pace>,
    /// What may still be read and thrown away, once nothing more is sent.
    linger: Option<usize>,
}

impl<T> PacedIo<T> {
    pub(super) fn new(io: T, pace: Arc<Pace>) -> Self {
        Self { io, pace, linger: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for PacedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.pace.came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PacedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.pace.went(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.pace.went(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        // A flush with nothing to flush succeeds while writes wait: only its waiting tells something.
        if flushed.is_pending() { self.pace.went(flushed) } else { flushed }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = match &mut this.linger {
            Some(left) => left,
            None => {
                let shut = Pin::new(&mut this.io).poll_shutdown(cx);
                ready!(this.pace.went(shut))?;
                this.pace.await_until(LINGER);
                this.linger.insert(LINGER_BYTES)
            }
        };
        // A client may still be sending what was refused. Closed now, it would get a reset, and perhaps instead of
        // the answer (RFC 9112 section 9.6).
        let mut piece = [0; 4_096];
        while *left > 0 {
            let mut piece = ReadBuf::new(&mut piece);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => *left = left.saturating_sub(piece.filled().len()),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// One HTTP/2 stream's state: how many pieces of its answer were handed out or asked for. Odd while one waits
/// to be taken.
#[derive(Default)]
pub(super) struct StreamPace(AtomicU64);

tokio::task_local! {
    /// The stream whose task this is.
    pub(super) static STREAM: Arc<StreamPace>;
}

impl StreamPace {
    /// The piece that was handed out and behind which no further one was asked for.
    pub(super) fn waiting(&self) -> Option<u64> {
        let count = self.0.load(Ordering::Relaxed);
        (count % 2 == 1).then_some(count)
    }

    fn polled(&self, handed_out: bool) {
        let count = self.0.load(Ordering::Relaxed);
        let next = match (count % 2 == 1, handed_out) {
            (true, true) => count + 2,
            (false, false) => return,
            _ => count + 1,
        };
        self.0.store(next, Ordering::Relaxed);
    }
}

/// An answer's body, observed: it holds its request's turn to the end.
pub(super) struct PacedBody {
    body: Body,
    _turn: Turn,
    stream: Option<Arc<StreamPace>>,
}

impl PacedBody {
    pub(super) fn new(body: Body, turn: Turn) -> Self {
        Self { body, _turn: turn, stream: STREAM.try_with(Arc::clone).ok() }
    }
}

impl http_body::Body for PacedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(stream) = &self.stream {
            stream.polled(matches!(frame, Poll::Ready(Some(_))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
