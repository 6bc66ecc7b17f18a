//! A stream that ends when its caller's right does.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// `body`, cut off in order when `end` comes. What is held besides is let go of with it.
pub(super) struct Until<H> {
    body: Option<(Body, H)>,
    end: End,
}

impl<H> Until<H> {
    pub(super) fn new(body: Body, held: H, end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { body: Some((body, held)), end: Box::pin(end) }
    }
}

impl<H: Send + Unpin + 'static> http_body::Body for Until<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, end } = self.get_mut();
        let Some((inner, _)) = body else { return Poll::Ready(None) };
        // The end first: a stream that always has something to say would never be asked.
        if end.as_mut().poll(cx).is_ready() {
            *body = None;
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        if frame.is_none() {
            // Whoever holds on to the body that has ended holds nobody's place with it.
            *body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
