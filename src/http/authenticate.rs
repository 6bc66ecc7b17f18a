//! From the `Authorization` header to a [`Principal`]. Behind this file there is no token.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};

use crate::auth::{Authenticate, Principal};
use crate::error::{Error, ErrorKind, Result};

/// Verifies the caller and takes every credential out of `headers`, so that no tool and no log sees one.
pub(super) async fn authenticate(verifier: &dyn Authenticate, headers: &mut HeaderMap) -> Result<Principal> {
    let principal = verifier.authenticate(bearer(headers)?).await?;
    for credential in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        headers.remove(credential);
    }
    Ok(principal)
}

/// RFC 6750 section 2.1. Two headers, or a token of other characters, are a malformed request (400);
/// none, or another scheme, is a request without a token (401).
fn bearer(headers: &HeaderMap) -> Result<&str> {
    let missing = || {
        Error::new(
            ErrorKind::Unauthenticated,
            "send the header `Authorization: Bearer <token>`; \
             `freehold token issue --tenant NAME` makes a token",
        )
    };
    let malformed = || Error::invalid("send exactly one Authorization header: `Bearer` and one token");
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let header = sent.next().ok_or_else(missing)?;
    if sent.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = header.to_str().map_err(|_| malformed())?.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing());
    }
    if token.is_empty() {
        return Err(missing());
    }
    // token68 of RFC 9110 section 11.2.
    let body = token.trim_end_matches('=');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(legal) {
        return Err(malformed());
    }
    Ok(token)
}
