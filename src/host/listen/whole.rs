//! What is left of a request's body when its answer is ready. hyper ends a connection whose body was not read, without a
//! word after the answer: a client that has sent its next request by then is told nothing. So a little is waited for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// How much more of a body that was refused is read, and for how long.
const REST_BYTES: u64 = 64 << 10;
const REST_WITHIN: Duration = Duration::from_secs(1);

/// A body that leaves behind what nobody read of it.
pub(super) struct WholeBody {
    body: Option<Incoming>,
    left: Arc<Mutex<Option<Incoming>>>,
}

/// Where that is left.
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

impl WholeBody {
    pub(super) fn new(body: Incoming) -> (Self, Rest) {
        let left = Arc::default();
        (Self { body: Some(body), left: Arc::clone(&left) }, Rest(left))
    }
}

impl Drop for WholeBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

impl Rest {
    /// Whether the connection can go on: all of the body came. Asked to `wait`, also if it comes soon and is small.
    pub(super) async fn came(self, wait: bool) -> bool {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut body) = left else { return true };
        if !wait || body.size_hint().lower() > REST_BYTES {
            return false;
        }
        let rest = async {
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame.map_or(REST_BYTES, |frame| frame.data_ref().map_or(0, |data| data.len() as u64));
                if bytes >= REST_BYTES {
                    return false;
                }
            }
            true
        };
        timeout(REST_WITHIN, rest).await.unwrap_or(false)
    }
}

impl Body for WholeBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
