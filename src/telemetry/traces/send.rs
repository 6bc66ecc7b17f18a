//! Where spans wait and how they leave: a bounded queue that a call never waits for, and one task that sends them in
//! batches. What finds no room, and what the collector does not take, is lost and counted.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use reqwest::redirect::Policy;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::metrics::{Metrics, SpanEnd};
use crate::config::{CollectorUrl, TracesSettings};
use crate::error::{Error, Result};

/// Spans in one message to the collector.
const BATCH: usize = 512;
/// How long a span may wait for others to go with it.
const BATCH_WITHIN: Duration = Duration::from_secs(1);
/// What is read of a collector's answer: it says at most how many spans it did not take.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where a span goes when it ends.
#[derive(Debug)]
pub(super) struct Queue {
    spans: Sender<SpanData>,
    metrics: Arc<Metrics>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Err(error) = self.spans.try_send(span) {
            self.metrics.spans(
                1,
                match error {
                    TrySendError::Full(_) => SpanEnd::QueueFull,
                    TrySendError::Closed(_) => SpanEnd::Stopped,
                },
            );
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// What sends the spans of a queue.
pub(super) struct Sending {
    spans: Receiver<SpanData>,
    exporter: SpanExporter,
    metrics: Arc<Metrics>,
    within: Duration,
    failing: bool,
}

impl Sending {
    /// The queue of `settings`, and what empties it towards `endpoint`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the file of headers can't be used.
    pub(super) fn new(
        settings: &TracesSettings,
        endpoint: &CollectorUrl,
        resource: &Resource,
        metrics: &Arc<Metrics>,
    ) -> Result<(Queue, Self)> {
        let headers = settings.headers_file.as_ref().map(|file| headers(&file.relative())).transpose()?;
        let client = reqwest::Client::builder()
            // What the collector is told of us is for it alone.
            .redirect(Policy::none())
            .timeout(settings.timeout)
            .referer(false)
            .build()
            .map_err(|error| Error::internal("the HTTP client can't be made").with_source(error))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Courier(client))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .with_timeout(settings.timeout)
            .with_headers(headers.unwrap_or_default())
            .build()
            .map_err(|error| Error::invalid("[traces] can't be used").with_source(error))?;
        exporter.set_resource(resource);
        let (waiting, spans) = channel(settings.queue);
        let queue = Queue { spans: waiting, metrics: Arc::clone(metrics) };
        let (metrics, within) = (Arc::clone(metrics), settings.timeout);
        Ok((queue, Self { spans, exporter, metrics, within, failing: false }))
    }

    /// Sends until `stop`, and then what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let open = tokio::select! {
                open = fill(&mut self.spans, &mut batch) => open,
                () = stop.cancelled() => false,
            };
            self.send(&mut batch).await;
            if !open {
                break;
            }
        }
        self.spans.close();
        while self.spans.recv_many(&mut batch, BATCH).await > 0 {
            self.send(&mut batch).await;
        }
    }

    async fn send(&mut self, batch: &mut Vec<SpanData>) {
        if batch.is_empty() {
            return;
        }
        let (count, spans) = (batch.len(), std::mem::replace(batch, Vec::with_capacity(BATCH)));
        let sent = timeout(self.within, self.exporter.export(spans)).await;
        let why = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        self.metrics.spans(count, if why.is_none() { SpanEnd::Sent } else { SpanEnd::Lost });
        match (self.failing, &why) {
            (false, Some(why)) => tracing::warn!(why, "the collector does not take spans: they are lost until it does"),
            (true, None) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        self.failing = why.is_some();
    }
}

/// Waits for a span, and then for those that come soon after it. `false`: there will be no more. Where it is broken
/// off, what came is in `batch`.
async fn fill(spans: &mut Receiver<SpanData>, batch: &mut Vec<SpanData>) -> bool {
    if spans.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    let end = Instant::now() + BATCH_WITHIN;
    while batch.len() < BATCH {
        match timeout_at(end, spans.recv_many(batch, BATCH - batch.len())).await {
            Ok(0) => return false,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    true
}

/// The host's HTTP client as the exporter asks for one.
#[derive(Debug)]
struct Courier(reqwest::Client);

#[async_trait::async_trait]
impl HttpClient for Courier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut answer = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut whole = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            if whole.len() + chunk.len() > ANSWER_BYTES {
                return Err("the collector's answer is too long".into());
            }
            whole.extend_from_slice(&chunk);
        }
        let mut response = Response::new(whole.freeze());
        *response.status_mut() = answer.status();
        // When to come again stands there.
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// The headers in `path`: `name: value`, one a line.
fn headers(path: &Path) -> Result<HashMap<String, String>> {
    let read = || Ok((fs::metadata(path)?.permissions().mode(), fs::read_to_string(path)?));
    let (mode, text) = read().map_err(|error: std::io::Error| {
        Error::invalid("traces.headers_file can't be read: it is text, in a file that this process may read")
            .with_source(error)
    })?;
    if mode & 0o077 != 0 {
        return Err(Error::invalid(
            "traces.headers_file can be read by others: run `chmod 600` on it and consider what is in it known",
        ));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.trim(), value.trim());
        let fit = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
        fit.then(|| (name.to_owned(), value.to_owned()))
    };
    // Which line it was, and nothing of it.
    let wrong = |at| Error::invalid(format!("traces.headers_file: header {at} is not `name: value`"));
    lines.enumerate().map(|(at, line)| header(line).ok_or_else(|| wrong(at + 1))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::headers;

    #[test]
    fn headers_are_for_their_owner_alone_and_a_wrong_one_is_not_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("otlp.headers");
        let read = |text: &str, mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            headers(&path)
        };
        let two = read("# of the collector\nauthorization: Bearer a:b\n\n x-scope : acme \n", 0o600).expect("headers");
        assert_eq!((two["authorization"].as_str(), two["x-scope"].as_str(), two.len()), ("Bearer a:b", "acme", 2));
        assert!(read("authorization: Bearer a", 0o640).is_err());
        let error = read("x: y\nBearer s3cret", 0o600).expect_err("no header").chain();
        assert!(error.contains("header 2") && !error.contains("s3cret"), "{error}");
        assert!(headers(&dir.path().join("none")).is_err());
    }
}
