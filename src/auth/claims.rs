//! From a verified payload to a [`Principal`]: every claim typed, none guessed, none taken twice.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Principal, Scopes};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// Clock difference that is forgiven, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 30;
const SUBJECT_LENGTH_MAX: usize = 256;

/// A JWT's payload (RFC 7519 section 4.1). A JSON array, a number as `iss` or a claim given twice
/// do not parse, though the library below would let each of them pass.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    scope: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    #[serde(flatten)]
    rest: Unique,
}

/// How the claims of one issuer are read.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    pub(super) tenant_claim: String,
    pub(super) scope_default: String,
}

impl Claims {
    /// Checks what `jsonwebtoken` was told not to (it reads the machine's clock) and what it does
    /// not know, then names the caller.
    pub(super) fn into_principal(self, rules: &ClaimRules, now: u64) -> Result<Principal> {
        let now = now as f64;
        let leeway = LEEWAY_SECONDS as f64;
        let refuse = |why: &'static str| Err(unauthenticated(why));
        if !self.exp.is_finite() || self.exp < 0.0 || self.exp + leeway <= now {
            return refuse("exp is past");
        }
        if self.nbf.is_some_and(|nbf| nbf.is_nan() || nbf > now + leeway) {
            return refuse("nbf is to come");
        }
        if self.iat.is_some_and(|iat| iat.is_nan() || iat > now + leeway) {
            return refuse("iat is to come");
        }
        if self.sub.is_empty() || self.sub.len() > SUBJECT_LENGTH_MAX {
            return refuse("sub is empty or longer than 256 bytes");
        }
        // An ID token tells a client who logged in; it is no right to call anyone (RFC 9700).
        if ["nonce", "at_hash", "c_hash"].iter().any(|claim| self.rest.0.contains_key(*claim)) {
            return refuse("this is an ID token");
        }
        let tenant = self.tenant(&rules.tenant_claim)?;
        let scope = match (self.scope, rules.scope_default.as_str()) {
            (Some(scope), _) => scope,
            (None, "") => return refuse("no scope, and none is assumed"),
            (None, assumed) => assumed.to_owned(),
        };
        // A cast from float saturates, so that an `exp` of 1e300 is merely far away.
        let principal = Principal::new(tenant, self.iss, self.sub, Scopes::parse(&scope), Some(self.exp as u64));
        Ok(principal.with_client(self.client_id.or(self.azp)))
    }

    fn tenant(&self, claim: &str) -> Result<TenantId> {
        let named = match claim {
            "sub" => Some(self.sub.as_str()),
            pointer if pointer.starts_with('/') => {
                let path = &pointer[1..];
                let (head, tail) = path.split_at(path.find('/').unwrap_or(path.len()));
                let head = head.replace("~1", "/").replace("~0", "~");
                self.rest.0.get(&head).and_then(|value| value.pointer(tail)).and_then(Value::as_str)
            }
            name => self.rest.0.get(name).and_then(Value::as_str),
        };
        let forbidden = |message: &'static str| Error::new(ErrorKind::Forbidden, message);
        let named = named.ok_or_else(|| forbidden("the token names no tenant"))?;
        TenantId::parse(named).map_err(|error| forbidden("the token's tenant is unknown here").with_source(error))
    }
}

/// One text for every cause: an attacker must not learn which check failed.
pub(super) fn unauthenticated(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unauthenticated, "the access token is invalid or expired").with_source(why)
}

/// The claims that are not registered. JSON lets a key stand twice; whoever reads the other one
/// would see another tenant.
#[derive(Debug)]
struct Unique(HashMap<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Claimed;
        impl<'de> Visitor<'de> for Claimed {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut claims = HashMap::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if claims.insert(key, value).is_some() {
                        return Err(A::Error::custom("a claim stands twice"));
                    }
                }
                Ok(Unique(claims))
            }
        }
        deserializer.deserialize_map(Claimed)
    }
}
