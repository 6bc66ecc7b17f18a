//! `freehold token issue`: one signed token, and nothing kept of it.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::KeyRing;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::id::TenantId;

/// A token is a standing right: 90 days is where a forgotten one ends.
const TTL_MAX: Duration = Duration::from_secs(90 * 24 * 3600);

/// What to put into a token.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// Whose state the token opens.
    pub tenant: TenantId,
    /// Who will carry it (`sub`).
    pub subject: String,
    /// What it allows: words of `read`, `write`, `admin`.
    pub scope: String,
    /// How long it is good.
    pub ttl: Duration,
}

/// Signs a token with the ring's signing key (RFC 9068: `typ` is `at+jwt`).
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the lifetime is 0 or above 90 days, the
/// subject is empty, or the scope names nothing that there is.
pub(crate) fn mint(ring: &KeyRing, settings: &Settings, clock: &dyn Clock, request: &TokenRequest) -> Result<String> {
    let TokenRequest { tenant, subject, scope, ttl } = request;
    if ttl.as_secs() == 0 || *ttl > TTL_MAX {
        return Err(Error::invalid("a token's lifetime is 1 second to 90 days"));
    }
    if subject.is_empty() || subject.len() > 256 {
        return Err(Error::invalid("a token's subject is 1 to 256 bytes"));
    }
    if let Some(word) = scope.split(' ').find(|word| !matches!(*word, "read" | "write" | "admin")) {
        return Err(Error::invalid(format!("scope `{word}` is unknown: use words of read, write, admin")));
    }
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| Error::internal("no randomness for a token's id"))?;
    let now = clock.unix_seconds();
    let audience = settings.audiences().into_iter().next().unwrap_or_default();
    let mut claims = json!({
        "iss": settings.auth.issuer, "aud": audience, "sub": subject, "scope": scope,
        "iat": now, "exp": now + ttl.as_secs(), "jti": URL_SAFE_NO_PAD.encode(id),
    });
    claims[claim_name(&settings.auth.tenant_claim)?] = json!(tenant.as_str());
    let key = ring.signing();
    let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
    sign(&header, &claims, &key.sign)
}

/// A claim deep inside another, or `sub`, is how a foreign issuer names tenants; ours writes a plain one.
fn claim_name(claim: &str) -> Result<&str> {
    if claim.starts_with('/') || claim == "sub" {
        return Err(Error::invalid(
            "auth.tenant_claim is not a plain claim of its own, so that this host can't issue tokens for it",
        ));
    }
    Ok(claim)
}

fn sign(header: &Header, claims: &serde_json::Value, key: &EncodingKey) -> Result<String> {
    encode(header, claims, key).map_err(|error| Error::internal("the token can't be signed").with_source(error))
}
