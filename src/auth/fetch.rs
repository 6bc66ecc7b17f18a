//! One HTTP GET to an identity provider, which is trusted with keys and with nothing else: no redirect, 64
//! KiB, 5 s, and only the addresses that the operator wrote or that the issuer's own metadata names.

use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::config::fetchable;
use crate::error::{Error, ErrorKind, Result};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 64 * 1024;

/// A way to a JWKS document.
pub(super) struct Fetch {
    client: Client,
    /// `None`: the issuer's metadata names it.
    url: Option<String>,
}

/// A document and how long its sender says it is good.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) max_age: Option<Duration>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Fetch {
    /// # Errors
    /// [`ErrorKind::Internal`] when TLS can't be set up.
    pub(super) fn new(url: Option<String>) -> Result<Self> {
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(WITHIN)
            .pool_max_idle_per_host(0)
            .referer(false)
            .build()
            .map_err(|error| Error::internal("the HTTP client can't be made").with_source(error))?;
        Ok(Self { client, url })
    }

    /// The document of `issuer`'s keys.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] with what was wrong, never with what was sent.
    pub(super) async fn document(&self, issuer: &str) -> Result<Document> {
        match &self.url {
            Some(url) => self.get(url).await,
            None => self.get(&self.discover(issuer).await?).await,
        }
    }

    /// RFC 8414 section 3.1 puts the well-known part before the issuer's path, OpenID Connect behind it.
    async fn discover(&self, issuer: &str) -> Result<String> {
        let (origin, path) = split(issuer);
        let places = [
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
            format!("{origin}{path}/.well-known/openid-configuration"),
        ];
        let mut failed = None;
        for place in places {
            let document = match self.get(&place).await {
                Ok(document) => document,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let metadata: Metadata = serde_json::from_slice(&document.bytes)
                .map_err(|_| unusable("the issuer's metadata names no jwks_uri"))?;
            // RFC 8414 section 3.3: otherwise one issuer could hand out another's keys.
            if metadata.issuer != issuer {
                return Err(unusable("the metadata is of another issuer: write the issuer as it names itself"));
            }
            if !fetchable(&metadata.jwks_uri) {
                return Err(unusable("the metadata's jwks_uri is no https URL"));
            }
            return Ok(metadata.jwks_uri);
        }
        Err(failed.unwrap_or_else(|| unusable("the issuer has no metadata")))
    }

    async fn get(&self, url: &str) -> Result<Document> {
        let failed = |error: reqwest::Error| {
            unusable("the identity provider can't be reached or did not answer in time")
                .with_source(error.without_url())
        };
        let mut answer = self.client.get(url).header("accept", "application/json").send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("the identity provider answered {status}, not 200"),
            ));
        }
        let max_age = answer.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > BYTES_MAX {
                return Err(unusable("the identity provider sent more than 64 KiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Document { bytes, max_age })
    }
}

fn max_age(header: &str) -> Option<Duration> {
    let seconds = header.split(',').find_map(|word| word.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// `https://host/path/` as its origin and its path without the slash at the end.
fn split(issuer: &str) -> (&str, &str) {
    let host = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
    (&issuer[..path], issuer[path..].trim_end_matches('/'))
}

fn unusable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use super::{max_age, split};

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(split("https://idp.example"), ("https://idp.example", ""));
        assert_eq!(split("https://idp.example/"), ("https://idp.example", ""));
        assert_eq!(split("https://idp.example:8443/realms/a/"), ("https://idp.example:8443", "/realms/a"));
        assert_eq!(max_age("public, max-age=600").map(|age| age.as_secs()), Some(600));
        assert_eq!(max_age("no-store"), None);
    }
}
