//! Owns the load: keep-alive HTTP/1.1 clients that cost little beside the server they press, since
//! they share its cores and every microsecond of theirs would pull a ratio towards one.
//! It knows nothing of MCP: `request` builds the bytes, `response` finds the end of an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};

use super::report::Report;
use super::response::{self, Malformed};

/// How long an answer may be overdue after the deadline before it counts as failed.
const GRACE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 << 10;

/// What to send where, and when to stop: after `calls` or at `deadline`, whichever comes first.
#[derive(Clone)]
pub struct Load {
    pub addr: SocketAddr,
    /// Connection `i` of `n` sends numbers `i`, `i + n`, `i + 2n`, … and starts over at the end: of
    /// as many requests as connections each sends its own, of one they all send the same.
    /// Calls at once within one legacy session need ids of their own, or their answers go astray.
    pub requests: Vec<Arc<[u8]>>,
    /// Bytes that the body of every answer must hold; empty accepts any.
    pub expected: Arc<[u8]>,
    pub connections: usize,
    pub calls: usize,
    pub deadline: Duration,
    /// A connection's pace: a call in this time at most. Zero: it sends when it has its answer.
    pub every: Duration,
}

impl Load {
    /// Runs it on one thread of its own, beside the caller's runtime and not within it.
    pub async fn run(&self) -> Report {
        let load = self.clone();
        let run = tokio::task::spawn_blocking(move || load.run_blocking());
        run.await.expect("the load generator does not panic")
    }

    /// The same on the thread of the caller, who must not be inside a runtime.
    pub fn run_blocking(&self) -> Report {
        assert!(!self.requests.is_empty() && self.connections > 0, "nothing to send");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime for the load generator").block_on(self.drive())
    }

    async fn drive(&self) -> Report {
        let left = Arc::new(AtomicUsize::new(self.calls));
        // Connecting is not what is measured: the clock starts once all stand.
        let ready = Arc::new(Barrier::new(self.connections + 1));
        let mut clients = JoinSet::new();
        for number in 0..self.connections {
            let (load, left, ready) = (self.clone(), left.clone(), ready.clone());
            clients.spawn(async move {
                let connected = timeout(GRACE, Client::connect(load.addr)).await;
                ready.wait().await;
                let mut tally = Tally::default();
                match connected {
                    Ok(Ok(client)) => load.client(number, client, &left, &mut tally).await,
                    Ok(Err(_)) | Err(_) => tally.failures += 1,
                }
                tally
            });
        }
        ready.wait().await;
        let start = Instant::now();
        let mut all = Tally::default();
        for tally in clients.join_all().await {
            all.latencies.extend(tally.latencies);
            all.failures += tally.failures;
        }
        Report::new(all.latencies, all.failures, start.elapsed())
    }

    /// One connection's work. A broken connection is replaced, a refused one ends the work.
    async fn client(&self, number: usize, client: Client, left: &AtomicUsize, tally: &mut Tally) {
        let end = Instant::now() + self.deadline;
        let mut client = Some(client);
        let mut next = number;
        let calls = async {
            while let Some(mut current) = client.take() {
                let start = Instant::now();
                if start >= end || !take_one(left) {
                    break;
                }
                let request = &self.requests[next % self.requests.len()];
                let outcome = current.call(request, &self.expected).await;
                next += self.connections;
                match outcome {
                    Ok(true) => tally.latencies.push(start.elapsed()),
                    Ok(false) | Err(_) => tally.failures += 1,
                }
                if !self.every.is_zero() {
                    tokio::time::sleep_until((start + self.every).into()).await;
                }
                client = match outcome {
                    Ok(_) => Some(current),
                    Err(_) => Client::connect(self.addr).await.ok(),
                };
            }
        };
        if timeout_at((end + GRACE).into(), calls).await.is_err() {
            tally.failures += 1;
        }
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    failures: usize,
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    joined: Vec<u8>,
}

impl Client {
    async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES), joined: Vec::new() })
    }

    /// Whether the answer was 200 and held `expected`. After an error the connection is of no use.
    async fn call(&mut self, request: &[u8], expected: &[u8]) -> io::Result<bool> {
        let Self { stream, buffer, joined } = self;
        stream.write_all(request).await?;
        buffer.clear();
        loop {
            if stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match response::parse(buffer, joined) {
                Ok(None) => buffer.reserve(READ_BYTES / 4),
                Ok(Some(answer)) if answer.len == buffer.len() => {
                    let found = expected.is_empty() || response::find(answer.body, expected).is_some();
                    return Ok(answer.status == 200 && found);
                }
                // Bytes after the end that nobody asked for are as wrong as a bad frame.
                Ok(Some(_)) | Err(Malformed) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}
