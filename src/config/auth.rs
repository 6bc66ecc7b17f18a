//! `[auth]`: whose tokens are taken, and what in them names the tenant.

use std::collections::BTreeMap;
use std::time::Duration;

use figment::value::magic::RelativePathBuf;
use serde::{Deserialize, Serialize};

use super::TenantMap;
use crate::error::{Error, Result};

/// Whose tokens are taken. Without one of the three files the keys are those of `freehold key`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The host's own issuer: the `iss` that its tokens carry.
    pub issuer: String,
    /// The `aud` values that are taken. Empty: `public_url` + `/mcp`, or `freehold` without one.
    pub audiences: Vec<String>,
    /// The claim that names the tenant: a name, or a JSON pointer such as `/org/id` (RFC 6901).
    pub tenant_claim: String,
    /// The scope of a token that carries none; empty refuses such a token.
    pub scope_default: String,
    /// A file of at least 32 random bytes, in place of the host's key files (HS256).
    pub hs256_secret_file: Option<RelativePathBuf>,
    /// A public key in PEM, in place of the host's key files: another program issues, this one verifies.
    pub pem_file: Option<RelativePathBuf>,
    /// A set of public keys (RFC 7517 section 5), in place of the host's key files. A change of any of these
    /// files is noticed within a second.
    pub jwks_file: Option<RelativePathBuf>,
    /// The longest time from a token's `iat` to its `exp`; also what `freehold token issue` may ask for.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// Claims that a token has to carry, each with its value (or a list that holds it).
    pub expected_claims: BTreeMap<String, String>,
    /// Refused tokens that one client address may send in a minute, an IPv6 client's by its /64; beyond it
    /// 429, but for tokens that were verified before. 0: no such limit.
    pub failures_per_minute: u32,
    /// How many it may send at once.
    pub failures_burst: u32,
    /// Further issuers: identity providers.
    pub issuers: Vec<IssuerSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: "freehold".to_owned(),
            audiences: Vec::new(),
            tenant_claim: "tenant".to_owned(),
            scope_default: "read write".to_owned(),
            hs256_secret_file: None,
            pem_file: None,
            jwks_file: None,
            max_lifetime: Duration::from_secs(90 * 24 * 3600),
            expected_claims: BTreeMap::new(),
            failures_per_minute: 10,
            failures_burst: 20,
            issuers: Vec::new(),
        }
    }
}

/// `[[auth.issuers]]`: an identity provider whose tokens are taken. Its keys come from `jwks_url`, or from
/// `jwks_file` or `pem_file`, or, with none of the three, from the issuer's own metadata (RFC 8414, then
/// OpenID Connect Discovery).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct IssuerSettings {
    /// The `iss` of its tokens, to the letter. An `https` URL if keys are found by it.
    pub issuer: String,
    /// Where its keys are published: `https`, or `http` on loopback.
    pub jwks_url: Option<String>,
    /// Its keys in a file.
    pub jwks_file: Option<RelativePathBuf>,
    /// Its one key in a file.
    pub pem_file: Option<RelativePathBuf>,
    /// The `aud` values that are taken. Empty: as `auth.audiences`.
    pub audiences: Vec<String>,
    /// The claim that names the tenant. `sub` has to be written out.
    pub tenant_claim: String,
    /// How that claim becomes a tenant's name. Required.
    pub tenant_map: Option<TenantMap>,
    /// The scope of a token that carries none; empty refuses such a token.
    pub scope_default: String,
    /// The longest time from a token's `iat` to its `exp`.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// Claims that a token has to carry, each with its value (or a list that holds it).
    pub expected_claims: BTreeMap<String, String>,
    /// Whether clients are sent here for a token (RFC 9728). With one such issuer the host publishes
    /// protected-resource metadata.
    pub authorization_server: bool,
    /// How often keys are fetched again, unless the answer's `Cache-Control` says otherwise (60 s to 1 h).
    #[serde(with = "humantime_serde")]
    pub jwks_refresh: Duration,
    /// The least time between two fetches, however many tokens name a key that is not known.
    #[serde(with = "humantime_serde")]
    pub jwks_cooldown: Duration,
}

impl Default for IssuerSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            jwks_url: None,
            jwks_file: None,
            pem_file: None,
            audiences: Vec::new(),
            tenant_claim: "tenant".to_owned(),
            tenant_map: None,
            scope_default: String::new(),
            max_lifetime: Duration::from_secs(24 * 3600),
            expected_claims: BTreeMap::new(),
            authorization_server: true,
            jwks_refresh: Duration::from_secs(300),
            jwks_cooldown: Duration::from_secs(30),
        }
    }
}

impl AuthSettings {
    /// What no single value shows.
    pub(super) fn check(&self) -> Result<()> {
        let files = [&self.hs256_secret_file, &self.pem_file, &self.jwks_file];
        if files.into_iter().flatten().count() > 1 {
            return Err(Error::invalid("set one of auth.hs256_secret_file, auth.pem_file and auth.jwks_file"));
        }
        if self.issuer.is_empty() {
            return Err(Error::invalid("auth.issuer is empty: every token names its issuer"));
        }
        for (at, issuer) in self.issuers.iter().enumerate() {
            let others = self.issuers[..at].iter();
            if issuer.issuer == self.issuer || others.clone().any(|other| other.issuer == issuer.issuer) {
                return Err(Error::invalid(format!("issuer {:?} is there twice", issuer.issuer)));
            }
            issuer.check()?;
            for other in others {
                issuer.check_apart(other)?;
            }
        }
        Ok(())
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<()> {
        let name = &self.issuer;
        let wrong = |what: &str| Err(Error::invalid(format!("auth.issuers, {name:?}: {what}")));
        let sources = [self.jwks_url.is_some(), self.jwks_file.is_some(), self.pem_file.is_some()];
        match sources.into_iter().filter(|set| *set).count() {
            _ if name.is_empty() => return wrong("issuer is missing: the `iss` of its tokens"),
            0 if !fetchable(name) => {
                return wrong("no jwks_url, jwks_file or pem_file, and the issuer is no https URL to find keys by");
            }
            0 | 1 => {}
            _ => return wrong("set one of jwks_url, jwks_file and pem_file"),
        }
        if self.jwks_url.as_ref().is_some_and(|url| !fetchable(url)) {
            return wrong("jwks_url has to be https, or http on loopback");
        }
        if self.authorization_server && !fetchable(name) {
            return wrong(
                "the issuer is no https URL that clients could be sent to: set authorization_server = false if they \
                 get their tokens another way",
            );
        }
        match &self.tenant_map {
            None => wrong(
                "tenant_map is missing: \"prefix:idp-\" gives its tenants names of their own, \"hash\" names nobody \
                 chooses, a table lists them, \"identity\" takes the claim as it is",
            ),
            Some(TenantMap::Prefix(prefix)) if prefix.is_empty() => wrong("the prefix is empty: write \"identity\""),
            Some(_) => Ok(()),
        }
    }

    /// One issuer must not be able to name another one's tenants.
    fn check_apart(&self, other: &Self) -> Result<()> {
        let clash = match (&self.tenant_map, &other.tenant_map) {
            (Some(TenantMap::Identity), Some(_)) | (Some(_), Some(TenantMap::Identity)) => true,
            (Some(TenantMap::Prefix(one)), Some(TenantMap::Prefix(two))) => {
                one.starts_with(two.as_str()) || two.starts_with(one.as_str())
            }
            _ => false,
        };
        if clash {
            return Err(Error::invalid(format!(
                "auth.issuers, {:?} and {:?}: one could name the other's tenants; give each a tenant_map of its own, \
                 such as \"prefix:a-\" and \"prefix:b-\"",
                other.issuer, self.issuer
            )));
        }
        Ok(())
    }
}

/// RFC 9700: an `http` address is for this machine alone.
pub(crate) fn fetchable(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@')) && uri.query().is_none();
    match uri.scheme_str() {
        Some("https") => plain,
        Some("http") => plain && matches!(host, "localhost" | "127.0.0.1" | "[::1]"),
        _ => false,
    }
}
