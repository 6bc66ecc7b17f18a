//! Bearer JWTs (RFC 7519, RFC 8725): the algorithm is pinned by the key, never by the token.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;

use super::claims::{ClaimRules, Claims, LEEWAY_SECONDS, unauthenticated};
use super::{Authenticate, KeyRing, Principal, Verdict};
use crate::clock::Clock;
use crate::config::{AuthSettings, Settings};
use crate::error::Result;

const TOKEN_BYTES_MAX: usize = 8 * 1024;
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Verified tokens that are remembered: EdDSA costs some 65 µs, more than the rest of a request.
const REMEMBERED: usize = 10_000;
/// How long one is remembered; its expiry is looked at on every request all the same.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Verifies the tokens of the host's own issuer.
pub(crate) struct JwtVerifier {
    keys: Vec<VerifyKey>,
    rules: ClaimRules,
    clock: Arc<dyn Clock>,
    /// By SHA-256, so that no token lies about in memory.
    remembered: Cache<[u8; 32], Remembered>,
}

struct VerifyKey {
    kid: String,
    key: DecodingKey,
    /// Built once, for one algorithm: a list of several would let the token choose.
    validation: Validation,
}

#[derive(Clone)]
struct Remembered {
    principal: Principal,
    at: Instant,
}

impl JwtVerifier {
    /// A verifier for `ring`, with the issuer, audiences and claim rules of `settings`.
    #[must_use]
    pub(crate) fn new(ring: &KeyRing, settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let AuthSettings { issuer, tenant_claim, scope_default, .. } = &settings.auth;
        let audiences = settings.audiences();
        let keys = ring.keys.iter().map(|key| {
            let mut validation = Validation::new(key.algorithm);
            validation.required_spec_claims = ["exp", "iss", "aud", "sub"].map(str::to_owned).into();
            validation.iss = Some(HashSet::from([issuer.clone()]));
            validation.aud = Some(audiences.iter().cloned().collect());
            validation.leeway = LEEWAY_SECONDS;
            // `Claims` looks at exp, nbf and iat, with the clock that came in by the door.
            validation.validate_exp = false;
            VerifyKey { kid: key.kid.clone(), key: key.verify.clone(), validation }
        });
        Self {
            keys: keys.collect(),
            rules: ClaimRules { tenant_claim: tenant_claim.clone(), scope_default: scope_default.clone() },
            clock,
            remembered: Cache::new(REMEMBERED),
        }
    }

    fn verify(&self, token: &str) -> Result<Principal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(unauthenticated("longer than 8 KiB"));
        }
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().unwrap_or_default();
        let now = self.clock.unix_seconds();
        if let Some(Remembered { principal, at }) = self.remembered.get(&hash)
            && at.elapsed() < REMEMBERED_FOR
            && principal.expires_at().is_some_and(|exp| now < exp.saturating_add(LEEWAY_SECONDS))
        {
            return Ok(principal);
        }
        let key = self.key_for(token)?;
        let verified = decode::<Claims>(token, &key.key, &key.validation).map_err(unauthenticated)?;
        let principal = verified.claims.into_principal(&self.rules, now)?;
        self.remembered.insert(hash, Remembered { principal: principal.clone(), at: Instant::now() });
        Ok(principal)
    }

    /// The key that the header names, after everything in the header that we do not speak is refused.
    fn key_for(&self, token: &str) -> Result<&VerifyKey> {
        let header = decode_header(token).map_err(unauthenticated)?;
        let typed = header.typ.as_ref().is_none_or(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)));
        // RFC 7515 section 4.1.11: an extension that is critical and not understood is refused. `jku`,
        // `jwk`, `x5u` and `x5c` are the token's own idea of its key: never looked at.
        if !typed || header.crit.is_some() || header.enc.is_some() || header.zip.is_some() || header.cty.is_some() {
            return Err(unauthenticated("typ, crit, enc, zip or cty that is not ours"));
        }
        match (&header.kid, &self.keys[..]) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid == *kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
        .ok_or_else(|| unauthenticated("kid is unknown"))
    }
}

impl Authenticate for JwtVerifier {
    fn authenticate<'a>(&'a self, token: &'a str) -> Verdict<'a> {
        Box::pin(std::future::ready(self.verify(token)))
    }
}
