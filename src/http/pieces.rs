//! An answer handed out piece by piece. What its client has not taken keeps its place among the tenant's calls, so
//! that callers who ask and do not read fill their own tenant's places and not the host's memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The connection takes the next one when it has room: an answer that fits in one holds its place no longer.
const PIECE_BYTES: usize = 16 * 1_024;

/// `body` in pieces. What is held besides is let go of with the last one.
pub(super) struct Pieces<H> {
    body: Body,
    rest: Bytes,
    _held: H,
}

impl<H> Pieces<H> {
    pub(super) fn new(body: Body, held: H) -> Self {
        Self { body, rest: Bytes::new(), _held: held }
    }
}

impl<H: Send + Unpin + 'static> http_body::Body for Pieces<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, rest, .. } = self.get_mut();
        if rest.is_empty() {
            let frame = match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                ended => return Poll::Ready(ended),
            };
            match frame.into_data() {
                Ok(data) => *rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
