//! Big answers: writing a megabyte of JSON keeps a thread for milliseconds, and the runtime's few threads are every
//! tenant's. So a big answer is written where the runtime has put another thread in the place of its own, and only so
//! many are written at once as leave a core to others.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use rmcp::model::{CallToolResponse, ContentBlock};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;

/// What is big, in bytes of text: half a millisecond's work.
const BIG: usize = 64 * 1024;

/// How many big answers are written at once.
#[derive(Clone)]
pub(crate) struct Scales(Arc<Semaphore>);

impl Default for Scales {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self(Arc::new(Semaphore::new((cores - 1).max(1))))
    }
}

/// The place of one request's answer, if that is big. It goes with the request.
#[derive(Clone, Default)]
pub(super) struct Weight {
    scales: Scales,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Weight {
    pub(super) fn on(scales: &Scales) -> Self {
        Self { scales: scales.clone(), place: Arc::default() }
    }

    /// That of the request whose `parts` these are; one of its own where there was no request.
    pub(super) fn of(parts: Option<&Parts>) -> Self {
        parts.and_then(|parts| parts.extensions.get::<Self>()).cloned().unwrap_or_default()
    }

    /// Waits for a place if `answer` is big. The wait is bounded by the answers before it, each of which is bounded
    /// by `limits.result_bytes`, or gone with its client.
    pub(super) async fn weigh<E>(&self, answer: &Result<CallToolResponse, E>) {
        let Ok(CallToolResponse::Complete(result)) = answer else { return };
        let text = |block: &ContentBlock| block.as_text().map_or(0, |text| text.text.len());
        if result.content.iter().map(text).sum::<usize>() >= BIG {
            // Never closed.
            let place = Arc::clone(&self.scales.0).acquire_owned().await.ok();
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        }
    }

    /// Drives `handling`; once its answer is known to be big, away from the runtime's threads.
    pub(super) async fn carry<T>(self, mut handling: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
        poll_fn(|context| match self.is_big() && is_shared() {
            true => block_in_place(|| handling.as_mut().poll(context)),
            false => handling.as_mut().poll(context),
        })
        .await
    }

    fn is_big(&self) -> bool {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Whether there are other threads to go on with what waits: a runtime of one thread has none.
fn is_shared() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread
}
