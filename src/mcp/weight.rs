//! Big answers: writing a megabyte of JSON keeps a thread for milliseconds, and the runtime's few threads are every
//! tenant's. On the short way a big answer is written by a thread for SQL, on its tenant's account. On rmcp's it is
//! written where the runtime has put another thread in the place of its own, and only so many are written at once as
//! leave a core to others.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::request::Parts;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, JsonRpcResponse, ServerJsonRpcMessage, ServerResult,
};
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::block_in_place;

use crate::error::{Error, Result};
use crate::tenant::Handle;

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

    /// That of the request whose `parts` these are, if it needs one.
    pub(super) fn of(parts: Option<&Parts>) -> Option<Self> {
        parts.and_then(|parts| parts.extensions.get::<Self>()).cloned()
    }

    /// Waits for a place if `answer` is big. The wait is bounded by the answers before it, each of which is bounded
    /// by `limits.result_bytes`, or gone with its client.
    pub(super) async fn weigh<E>(weight: Option<Self>, answer: &std::result::Result<CallToolResponse, E>) {
        let (Some(weight), Ok(CallToolResponse::Complete(result))) = (weight, answer) else { return };
        if is_big(result) {
            // Never closed.
            let place = Arc::clone(&weight.scales.0).acquire_owned().await.ok();
            *weight.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
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

/// Writes `message`: a big one on a thread of `tenant`'s.
///
/// # Errors
/// [`ErrorKind::Internal`](crate::ErrorKind::Internal): it can't be written.
pub(super) async fn write(tenant: &Handle, message: ServerJsonRpcMessage) -> Result<Vec<u8>> {
    let big = match &message {
        ServerJsonRpcMessage::Response(JsonRpcResponse { result: ServerResult::CallToolResult(result), .. }) => {
            is_big(result)
        }
        _ => false,
    };
    // It falls where it was written: taking a tree of a megabyte down is work too.
    if big { tenant.run(move || written(&message)).await } else { written(&message) }
}

fn written(message: &ServerJsonRpcMessage) -> Result<Vec<u8>> {
    serde_json::to_vec(message)
        .map_err(|error| Error::internal("an answer can't be written").with_source(error.to_string()))
}

fn is_big(result: &CallToolResult) -> bool {
    let text = |block: &ContentBlock| block.as_text().map_or(0, |text| text.text.len());
    result.content.iter().map(text).sum::<usize>() >= BIG
}

/// Whether there are other threads to go on with what waits: a runtime of one thread has none.
fn is_shared() -> bool {
    tokio::runtime::Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread
}
