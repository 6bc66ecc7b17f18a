//! `[traces]`: where spans of requests go (OpenTelemetry's OTLP over HTTP), and of how many requests.

use std::time::Duration;

use figment::value::magic::RelativePathBuf;
use http::Uri;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Traces of requests. Off until a collector is named; then each span is sent once, beside the calls and never in
/// their way.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracesSettings {
    /// The collector, by OTLP over HTTP with protobuf: `http://127.0.0.1:4318`. `/v1/traces` is added where the
    /// address does not end so. Unset: no traces, and nothing is done for any.
    pub endpoint: Option<CollectorUrl>,
    /// A file of headers for the collector, 0600: `name: value`, one a line.
    pub headers_file: Option<RelativePathBuf>,
    /// The part of the requests that is traced where their caller has not decided, from 0 to 1.
    pub sample_ratio: Ratio,
    /// Whether a caller's decision (the flag in its `traceparent`) is followed. Off: `sample_ratio` decides for all,
    /// so that no caller can have all of its calls traced.
    pub follow_callers: bool,
    /// `service.name` of the spans.
    pub service_name: String,
    /// The longest that one attempt at the collector, its repetitions among it, may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Spans that may wait for the collector. One more is dropped and counted.
    pub queue: usize,
}

impl Default for TracesSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers_file: None,
            sample_ratio: Ratio(1.0),
            follow_callers: true,
            service_name: "freehold".to_owned(),
            timeout: Duration::from_secs(10),
            queue: 4_096,
        }
    }
}

impl TracesSettings {
    /// What no single value shows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    pub(super) fn check(&self) -> Result<()> {
        if self.queue == 0 || self.timeout.is_zero() {
            return Err(Error::invalid(
                "traces.queue or traces.timeout is 0: no span could ever be sent; unset traces.endpoint for no traces",
            ));
        }
        Ok(())
    }
}

/// Where a collector listens: the whole address, `/v1/traces` included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// As it is asked.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CollectorUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        const PATH: &str = "/v1/traces";
        let wrong = || {
            Error::invalid(
                "write the collector's address such as \"http://127.0.0.1:4318\", with no name, password or query in \
                 it: what the collector wants to know of you stands in traces.headers_file",
            )
        };
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let plain = url.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !plain || !matches!(url.scheme_str(), Some("http" | "https")) || url.query().is_some() {
            return Err(wrong());
        }
        let base = text.trim_end_matches('/');
        Ok(Self(if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }))
    }
}

impl From<CollectorUrl> for String {
    fn from(url: CollectorUrl) -> Self {
        url.0
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Ratio(f64);

impl Ratio {
    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = Error;

    fn try_from(part: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&part) { Ok(Self(part)) } else { Err(Error::invalid("a ratio is from 0 to 1")) }
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

#[cfg(test)]
mod tests {
    use super::{CollectorUrl, Ratio};

    #[test]
    fn only_what_can_be_asked_is_taken() {
        let url = |text: &str| CollectorUrl::try_from(text.to_owned()).ok().map(String::from);
        let whole = Some("http://127.0.0.1:4318/v1/traces".to_owned());
        for text in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"] {
            assert_eq!(url(text), whole, "{text}");
        }
        assert_eq!(url("https://otel.example/in").as_deref(), Some("https://otel.example/in/v1/traces"));
        for text in ["", "127.0.0.1:4318", "grpc://a:4317", "http://user:secret@a", "http://a/?key=secret", "/v1"] {
            assert_eq!(url(text), None, "{text}");
        }
        assert!([-0.1, 1.1, f64::NAN].into_iter().all(|part| Ratio::try_from(part).is_err()));
        assert_eq!(Ratio::try_from(0.25).map(f64::from).ok(), Some(0.25));
    }
}
