//! Big answers: writing a megabyte of JSON keeps a thread for milliseconds, and the runtime's few threads are every
//! tenant's. On the short way a big answer is written by a thread for SQL, on its tenant's account. On rmcp's, and
//! in a stream, it is written where the runtime has put another thread in the place of its own, and only so many are
//! written at once as leave a core to others.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Extensions;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, ResourceContents, ServerJsonRpcMessage, ServerResult,
};
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{block_in_place, yield_now};
use tokio_util::sync::PollSemaphore;

use super::endpoint::Answer;
use crate::error::{Error, Result};
use crate::tenant::Handle;

/// What is big, in bytes of text: half a millisecond's work.
pub(super) const BIG: usize = 64 * 1024;

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
#[derive(Clone)]
pub(super) struct Weight {
    scales: Scales,
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Weight {
    /// One that goes with the request whose `extensions` these are.
    pub(super) fn on(scales: &Scales, extensions: &mut Extensions) -> Self {
        let weight = Self { scales: scales.clone(), place: Arc::default() };
        extensions.insert(weight.clone());
        weight
    }

    /// That of the request whose `parts` these are, if it needs one.
    pub(super) fn of(parts: Option<&Parts>) -> Option<Self> {
        parts.and_then(|parts| parts.extensions.get::<Self>()).cloned()
    }

    /// Waits for a place if `answer` is big. The wait is bounded by the answers before it, each of which is bounded
    /// by `limits.result_bytes`, or gone with its client.
    pub(super) async fn weigh<E>(weight: Option<Self>, answer: &std::result::Result<CallToolResponse, E>) {
        let (Some(weight), Ok(CallToolResponse::Complete(result))) = (weight, answer) else { return };
        if text_of(result) >= BIG {
            // Never closed.
            let place = Arc::clone(&weight.scales.0).acquire_owned().await.ok();
            *weight.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
            // Who carries it looks anew, and goes on away from the runtime's threads.
            yield_now().await;
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
    // It falls where it was written: taking a tree of a megabyte down is work too.
    if is_big(&message) { tenant.run(move || written(&message)).await } else { written(&message) }
}

fn written(message: &ServerJsonRpcMessage) -> Result<Vec<u8>> {
    serde_json::to_vec(message)
        .map_err(|error| Error::internal("an answer can't be written").with_source(error.to_string()))
}

/// Whether writing `message` takes long.
pub(super) fn is_big(message: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Response(answer) = message else { return false };
    let contents = |one: &ResourceContents| match one {
        ResourceContents::TextResourceContents { text, .. } => text.len(),
        ResourceContents::BlobResourceContents { blob, .. } => blob.len(),
        _ => 0,
    };
    let bytes = match &answer.result {
        ServerResult::CallToolResult(result) => text_of(result),
        ServerResult::ReadResourceResult(result) => result.contents.iter().map(contents).sum(),
        _ => 0,
    };
    bytes >= BIG
}

/// The length of what `result` says, in bytes.
pub(super) fn text_of(result: &CallToolResult) -> usize {
    result.content.iter().map(|block: &ContentBlock| block.as_text().map_or(0, |text| text.text.len())).sum()
}

/// Does `work`, which takes long if it is `big`: away from the runtime's threads then.
pub(super) fn aside<T>(big: bool, work: impl FnOnce() -> T) -> T {
    if big && is_shared() { block_in_place(work) } else { work() }
}

/// Whether there are other threads to go on with what waits: a runtime of one thread has none.
fn is_shared() -> bool {
    tokio::runtime::Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A stream's place among the big answers that are written: for its next message, from when that is asked for until it
/// is written. A stream that nobody reads holds none.
struct Turn {
    coming: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
}

tokio::task_local! {
    static TURN: Arc<Mutex<Turn>>;
}

/// `answer`, a stream, with its big messages written away from the runtime's threads. What writes them waits for
/// [`poll_turn`] before each.
pub(super) fn streamed(answer: Answer, scales: &Scales) -> Answer {
    let turn = Turn { coming: PollSemaphore::new(Arc::clone(&scales.0)), place: None };
    answer.map(|body| Streamed { body, turn: Arc::new(Mutex::new(turn)) }.boxed())
}

/// Ready when a message of `bytes` may be written where this is called.
pub(super) fn poll_turn(bytes: usize, context: &mut Context<'_>) -> Poll<()> {
    if bytes < BIG {
        return Poll::Ready(());
    }
    let turn = TURN.try_with(|turn| {
        let mut turn = lock(turn);
        if turn.place.is_some() {
            return Poll::Ready(());
        }
        turn.place = ready!(turn.coming.poll_acquire(context));
        // The stream is asked anew, away from the runtime's threads.
        context.waker().wake_by_ref();
        Poll::Pending
    });
    // Nobody has it written elsewhere.
    turn.unwrap_or(Poll::Ready(()))
}

/// Waits until `message` may be written where this is called.
pub(super) async fn turn_of(message: Option<&ServerJsonRpcMessage>) {
    if message.is_some_and(is_big) {
        poll_fn(|context| poll_turn(BIG, context)).await;
    }
}

struct Streamed {
    body: BoxBody<Bytes, Infallible>,
    turn: Arc<Mutex<Turn>>,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let Self { body, turn } = self.get_mut();
        let big = lock(turn).place.is_some();
        let frame = aside(big, || TURN.sync_scope(Arc::clone(turn), || Pin::new(body).poll_frame(context)));
        if big {
            lock(turn).place = None;
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

fn lock(turn: &Mutex<Turn>) -> MutexGuard<'_, Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}
