//! Why a token was not taken: a word for the log and the audit. The caller reads one text for all of them.

use std::fmt;

use jsonwebtoken::errors::ErrorKind as Jwt;

use crate::error::{Error, ErrorKind};

/// The reason of a refusal, as the audit log has it. It holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected(pub(crate) &'static str);

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Rejected {}

/// One text for every cause: an attacker must not learn which check failed.
pub(super) fn unauthenticated(reason: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, "the access token is invalid or expired").with_source(Rejected(reason))
}

/// The reason in what the library says. Its own words hold parts of the token's payload.
pub(super) fn unauthenticated_by(error: &jsonwebtoken::errors::Error) -> Error {
    unauthenticated(match error.kind() {
        Jwt::InvalidSignature => "signature_invalid",
        Jwt::InvalidAlgorithm | Jwt::InvalidAlgorithmName | Jwt::MissingAlgorithm => "algorithm_refused",
        Jwt::InvalidIssuer => "issuer_unknown",
        Jwt::InvalidAudience => "audience_other",
        Jwt::MissingRequiredClaim(_) => "claim_missing",
        Jwt::ImmatureSignature => "not_yet_valid",
        Jwt::ExpiredSignature => "expired",
        Jwt::InvalidRsaKey(_) | Jwt::InvalidKeyFormat => "key_refused",
        _ => "malformed",
    })
}

/// A good token that opens nothing here. A tenant that is unknown, deleted or another issuer's: one text.
pub(crate) fn tenant_unknown(why: &'static str) -> Error {
    Error::new(ErrorKind::Forbidden, "the token's tenant is unknown here")
        .with_reason("tenant_unknown")
        .with_source(Rejected(why))
}
