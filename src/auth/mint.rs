//! `freehold token issue`: one signed token, and nothing kept of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Header, encode};
use serde_json::json;

use super::claims::SUBJECT_LENGTH_MAX;
use super::{KeyRing, Scopes};
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::random;

/// What to put into a token.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest {
    /// Whose state the token opens.
    pub tenant: TenantId,
    /// Who will carry it (`sub`).
    pub subject: String,
    /// What it allows: words of `read`, `write`, `admin`, `tool:<name>`.
    pub scope: String,
    /// How long it is good.
    pub ttl: Duration,
    /// Whom it is for; the first of the host's audiences if not said.
    pub audience: Option<String>,
    /// The tenant's epoch, which a revocation of all of its tokens raises.
    pub epoch: Option<u64>,
}

/// A signed token and what may be known of it.
pub(crate) struct Minted {
    /// The token itself.
    pub token: String,
    /// Its id, by which it can be taken back.
    pub jti: String,
    /// The name of the key that signed it.
    pub kid: String,
    /// When it was issued, in seconds since 1970.
    pub issued_at: u64,
    /// When it ends, in seconds since 1970.
    pub expires_at: u64,
}

impl TokenRequest {
    /// What both kinds of token ask of a request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid): the subject is empty or long, or the scope names
    /// nothing that there is.
    pub(crate) fn check(subject: &str, scope: &str) -> Result<()> {
        if subject.is_empty() || subject.len() > SUBJECT_LENGTH_MAX {
            return Err(Error::invalid("a token's subject is 1 to 256 bytes"));
        }
        match Scopes::unknown_word(scope) {
            Some(word) => {
                Err(Error::invalid(format!("scope `{word}` is unknown: use words of read, write, admin, tool:<name>")))
            }
            None => Ok(()),
        }
    }
}

/// Signs a token with the ring's signing key (RFC 9068: `typ` is `at+jwt`).
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the lifetime is 0 or above `auth.max_lifetime`, the
/// audience is not this host's, or as [`TokenRequest::check`].
pub(crate) fn mint(ring: &KeyRing, settings: &Settings, clock: &dyn Clock, request: &TokenRequest) -> Result<Minted> {
    let TokenRequest { tenant, subject, scope, ttl, audience, epoch } = request;
    TokenRequest::check(subject, scope)?;
    let most = settings.auth.max_lifetime;
    if ttl.as_secs() == 0 || *ttl > most {
        return Err(Error::invalid(format!(
            "a token's lifetime is 1 second to {} (auth.max_lifetime)",
            humantime::format_duration(most)
        )));
    }
    let audiences = settings.audiences();
    let audience = match audience {
        Some(named) if !audiences.contains(named) => {
            return Err(Error::invalid("this audience is not among auth.audiences: the token would be refused here"));
        }
        Some(named) => named.clone(),
        None => audiences.into_iter().next().unwrap_or_default(),
    };
    let jti = URL_SAFE_NO_PAD.encode(random::bytes::<16>()?);
    let now = clock.unix_seconds();
    let expires_at = now + ttl.as_secs();
    let mut claims = json!({
        "iss": settings.auth.issuer, "aud": audience, "sub": subject, "scope": scope,
        "iat": now, "exp": expires_at, "jti": jti,
    });
    if let Some(epoch) = epoch {
        claims["epo"] = json!(epoch);
    }
    claims[claim_name(&settings.auth.tenant_claim)?] = json!(tenant.as_str());
    let expected = settings.auth.expected_claims.iter();
    expected.for_each(|(claim, value)| claims[claim] = json!(value));
    let key = ring.signing()?;
    let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(key.kid.clone()), ..Header::new(key.algorithm) };
    let token = encode(&header, &claims, &key.key)
        .map_err(|error| Error::internal("the token can't be signed").with_source(error))?;
    Ok(Minted { token, jti, kid: key.kid.clone(), issued_at: now, expires_at })
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
