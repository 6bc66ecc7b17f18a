//! What a tenant may have under way at once: calls, and streams of notifications. Asked before a request's
//! body is read; it knows nothing of HTTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::rate::Rates;
use crate::auth::Principal;
use crate::config::Limits;
use crate::error::{Error, Result};

/// What a caller is told to wait when every place is taken: some calls' worth.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// The same for a stream, which ends when its client goes.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(5);

/// One tenant's account of what it has under way.
pub(crate) struct Quota {
    rates: Rates,
    running: Arc<Semaphore>,
    /// Calls that run or wait.
    calls: AtomicUsize,
    streams: Mutex<HashMap<String, usize>>,
    concurrent_calls: usize,
    calls_waiting: usize,
    queue_deadline: Duration,
    streams_most: usize,
    streams_each: usize,
}

impl Quota {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            rates: Rates::new(limits),
            running: Arc::new(Semaphore::new(limits.concurrent_calls)),
            calls: 0.into(),
            streams: Mutex::default(),
            concurrent_calls: limits.concurrent_calls,
            calls_waiting: limits.calls_waiting,
            queue_deadline: limits.queue_deadline,
            streams_most: limits.streams,
            streams_each: limits.session_streams,
        }
    }

    /// Counts one request of `caller`.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy): more than `requests_per_second`, the tenant's or the
    /// caller's own.
    pub(crate) fn request(&self, caller: &Principal, now: SystemTime) -> Result<()> {
        self.rates.take(caller, now)
    }

    /// A place for one call, to run or to wait.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy): `concurrent_calls` run and `calls_waiting` wait.
    pub(crate) fn call(self: &Arc<Self>) -> Result<Place> {
        let place = Place(Arc::clone(self));
        if self.calls.fetch_add(1, Ordering::AcqRel) >= self.concurrent_calls + self.calls_waiting {
            return Err(Error::busy("concurrent_calls", self.concurrent_calls as u64, RETRY_AFTER));
        }
        Ok(place)
    }

    /// A place for a stream that waits for news, of the session or the caller called `of`.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy): the tenant has `streams`, or `of` has `session_streams`.
    pub(crate) fn stream(self: &Arc<Self>, of: &str) -> Result<Stream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.values().sum::<usize>() >= self.streams_most {
            return Err(Error::busy("streams", self.streams_most as u64, STREAM_RETRY_AFTER));
        }
        let own = streams.entry(of.to_owned()).or_default();
        if *own >= self.streams_each {
            return Err(Error::busy("session_streams", self.streams_each as u64, STREAM_RETRY_AFTER));
        }
        *own += 1;
        Ok(Stream { quota: Arc::clone(self), of: of.to_owned() })
    }
}

/// One call's place. Leaving it is what dropping does.
pub(crate) struct Place(Arc<Quota>);

impl Place {
    /// Whether it can run at once; if so, it does.
    pub(crate) fn try_run(self) -> Result<Running, Self> {
        match Arc::clone(&self.0.running).try_acquire_owned() {
            Ok(permit) => Ok(Running { _permit: permit, _place: self }),
            Err(_) => Err(self),
        }
    }

    /// Waits until it can run, `queue_deadline` at most.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) when that is over.
    pub(crate) async fn run(self) -> Result<Running> {
        let quota = &self.0;
        match timeout(quota.queue_deadline, Arc::clone(&quota.running).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Running { _permit: permit, _place: self }),
            _ => Err(Error::busy("concurrent_calls", quota.concurrent_calls as u64, Duration::from_secs(1))),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call that runs, for as long as this is held.
pub(crate) struct Running {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

/// A stream that waits for news, for as long as this is held.
pub(crate) struct Stream {
    quota: Arc<Quota>,
    of: String,
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.quota.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = streams.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                streams.remove(&self.of);
            }
        }
    }
}
