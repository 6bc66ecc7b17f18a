//! From the `Authorization` header to a [`Principal`]. Behind this file there is no token.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::request::Parts;

use super::audit::Seen;
use super::failures::Failures;
use crate::auth::{Gate, Principal, Rejected, fingerprint};
use crate::error::{Error, ErrorKind, Result};

/// Verifies the caller and takes every credential out of `head`, so that no tool and no log sees one.
pub(super) async fn authenticate(
    gate: &Gate,
    failures: &Failures,
    head: &mut Parts,
    seen: &mut Seen,
) -> Result<Principal> {
    let token = bearer(&head.headers)?;
    let admitted = gate.admit(token, || failures.check(seen.client)).await;
    if let Err(error) = &admitted {
        seen.token = Some(fingerprint(token));
        if error.kind() == ErrorKind::Unauthenticated {
            failures.note(seen.client);
        }
    }
    for credential in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        head.headers.remove(credential);
    }
    admitted
}

fn malformed(message: &'static str) -> Error {
    Error::invalid(message).with_source(Rejected("malformed_request"))
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
    let malformed = || malformed("send exactly one Authorization header: `Bearer` and one token");
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let header = sent.next().ok_or_else(missing)?;
    if sent.next().is_some() {
        return Err(malformed());
    }
    let header = header.to_str().map_err(|_| malformed())?;
    let (scheme, token) = header.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    let body = token.trim_end_matches('=');
    if body.is_empty() || !body.bytes().all(|byte| TOKEN68[usize::from(byte)]) {
        return Err(malformed());
    }
    Ok(token)
}

/// The letters of token68 (RFC 9110 section 11.2), but for the `=` at its end. A table, since every
/// request is held against it letter by letter.
const TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] =
            matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    table
};
