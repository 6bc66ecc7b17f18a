//! Keys behind a URL: fetched at start, again before they grow old, and when a token names one that is not
//! known. An attacker who makes up key names causes one fetch per cooldown and nothing more; a provider that
//! is down leaves the keys that were there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::fetch::{Document, Fetch};
use super::public_key;
use super::source::{From, KeySource};
use crate::error::Result;
use crate::random;

/// How long keys serve that can't be fetched again.
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a request waits for a key that its token names.
const WAIT: Duration = Duration::from_secs(2);
/// What `Cache-Control` may ask for.
const FRESH: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// The waits between attempts while there are no keys at all.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The address of an issuer's keys.
pub(super) struct Remote {
    fetch: Fetch,
    refresh: Duration,
    cooldown: Duration,
    wanted: Notify,
    stale: AtomicBool,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    attempt: Option<Instant>,
    /// Whether the attempt is still under way.
    fetching: bool,
    success: Option<Instant>,
    /// The document that the keys are from: the same again is no change.
    document: Vec<u8>,
}

impl Remote {
    pub(super) fn new(fetch: Fetch, refresh: Duration, cooldown: Duration) -> Self {
        let last = Mutex::new(Last::default());
        Self { fetch, refresh, cooldown, wanted: Notify::new(), stale: AtomicBool::new(false), last }
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rests(&self) -> bool {
        let last = self.last();
        !last.fetching && last.attempt.is_some_and(|attempt| attempt.elapsed() < self.cooldown)
    }
}

/// Asks for the keys of `source` again, unless they were asked for a moment ago, and waits for the answer.
pub(super) async fn want(source: &KeySource) {
    let From::Url(remote) = &source.from else { return };
    if remote.rests() {
        return;
    }
    let mut now = source.now.subscribe();
    let before = now.borrow_and_update().attempts;
    remote.wanted.notify_one();
    // Whether it came in time is seen by looking for the key again.
    let _ = timeout(WAIT, now.wait_for(|now| now.attempts != before)).await;
}

/// Fetches for as long as somebody holds `source`.
pub(super) async fn keep_fresh(source: Weak<KeySource>) {
    let mut retry = RETRY.0;
    loop {
        let Some(here) = source.upgrade() else { return };
        let From::Url(remote) = &here.from else { return };
        let next = match attempt(&here, remote).await {
            Ok(fresh) => {
                retry = RETRY.0;
                // Not all hosts of a fleet in the same second.
                fresh.mul_f64(0.9 + 0.2 * random_fraction())
            }
            Err(error) => {
                tracing::warn!(issuer = %here.issuer, error = error.chain(), "the issuer's keys can't be fetched");
                retry = (retry * 2).min(RETRY.1);
                retry
            }
        };
        drop(here);
        if !rest(&source, next).await {
            return;
        }
    }
}

/// Waits until `next`, or until somebody wants keys and the cooldown is over. `false` when nobody is left.
async fn rest(source: &Weak<KeySource>, next: Duration) -> bool {
    let until = Instant::now() + next;
    while Instant::now() < until {
        let Some(here) = source.upgrade() else { return false };
        let From::Url(remote) = &here.from else { return false };
        // A second at a time, so that a host that has gone is noticed.
        let turn = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(1));
        if timeout(turn, remote.wanted.notified()).await.is_ok() && !remote.rests() {
            return true;
        }
    }
    true
}

async fn attempt(source: &KeySource, remote: &Remote) -> Result<Duration> {
    {
        let mut last = remote.last();
        (last.attempt, last.fetching) = (Some(Instant::now()), true);
    }
    let fetched = remote.fetch.document(&source.issuer).await;
    let taken = fetched.and_then(|Document { bytes, max_age }| {
        let keys = public_key::from_jwks(&bytes)?;
        let changed = remote.last().document != bytes;
        if changed {
            source.replace(keys);
            tracing::info!(issuer = %source.issuer, "the issuer's keys are fetched");
        }
        let mut last = remote.last();
        last.success = Some(Instant::now());
        last.document = bytes;
        Ok(max_age.map_or(remote.refresh, |age| age.clamp(FRESH.0, FRESH.1)))
    });
    remote.last().fetching = false;
    let old = remote.last().success.is_some_and(|success| success.elapsed() > STALE_MAX);
    remote.stale.store(old, Ordering::Relaxed);
    source.now.send_modify(|now| now.attempts += 1);
    taken
}

fn random_fraction() -> f64 {
    // Without randomness all come at once, which is bearable.
    random::bytes::<1>().map_or(0.0, |[byte]| f64::from(byte) / 255.0)
}

/// Starts the fetching of `source`, if it has an address.
pub(super) fn start(source: &Arc<KeySource>) {
    if matches!(source.from, From::Url(_)) {
        tokio::spawn(keep_fresh(Arc::downgrade(source)));
    }
}
