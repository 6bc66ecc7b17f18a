//! From a verified payload to a [`Principal`]: every claim typed, none guessed, none taken twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use aws_lc_rs::digest;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::principal::Credential;
use super::rejected::{tenant_unknown, unauthenticated};
use super::standing::token_id;
use super::{Principal, Scopes};
use crate::config::TenantMap;
use crate::error::Result;
use crate::hex::hex;
use crate::id::TenantId;

/// Clock difference that is forgiven, in seconds.
pub(super) const LEEWAY_SECONDS: u64 = 30;
pub(super) const SUBJECT_LENGTH_MAX: usize = 256;

/// A JWT's payload (RFC 7519 section 4.1). A JSON array, a number as `iss` or a claim given twice
/// do not parse, though the library below would let each of them pass.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
    epo: Option<u64>,
    scope: Option<String>,
    scp: Option<Words>,
    client_id: Option<String>,
    azp: Option<String>,
    #[serde(flatten)]
    rest: Unique,
}

/// Some providers write their scopes as a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    List(Vec<String>),
}

/// How the claims of one issuer are read.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    pub(super) tenant_claim: String,
    pub(super) tenant_map: TenantMap,
    pub(super) scope_default: String,
    pub(super) max_lifetime: u64,
    pub(super) expected: BTreeMap<String, String>,
    /// Whether the tokens are the host's own, and `epo` in them is its word.
    pub(super) own: bool,
}

impl Claims {
    /// Checks what `jsonwebtoken` was told not to (it reads the machine's clock) and what it does
    /// not know, then names the caller.
    pub(super) fn into_principal(self, rules: &ClaimRules, now: u64, kid: Option<&str>) -> Result<Principal> {
        self.check_times(rules, now)?;
        if self.sub.is_empty() || self.sub.len() > SUBJECT_LENGTH_MAX {
            return Err(unauthenticated("sub_refused"));
        }
        // An ID token tells a client who logged in; it is no right to call anyone (RFC 9700).
        if ["nonce", "at_hash", "c_hash"].iter().any(|claim| self.rest.0.contains_key(*claim))
            || self.rest.0.get("token_use").is_some_and(|used| used != "access")
        {
            return Err(unauthenticated("id_token"));
        }
        if !rules.expected.iter().all(|(claim, value)| self.carries(claim, value)) {
            return Err(unauthenticated("expected_claim_missing"));
        }
        let tenant = self.tenant(rules)?;
        let scope = match (self.scope, self.scp, rules.scope_default.as_str()) {
            (Some(scope), ..) | (None, Some(Words::One(scope)), _) => scope,
            (None, Some(Words::List(words)), _) => words.join(" "),
            (None, None, "") => return Err(unauthenticated("scope_missing")),
            (None, None, assumed) => assumed.to_owned(),
        };
        let credential = Credential {
            id: self.jti.map(|jti| token_id(&self.iss, &jti)),
            issued_at: self.iat.map(|iat| iat as u64),
            epoch: self.epo.filter(|_| rules.own),
            kid: kid.map(str::to_owned),
        };
        // A cast from float saturates, and `exp` is bounded by now.
        let principal = Principal::new(tenant, self.iss, self.sub, Scopes::parse(&scope), Some(self.exp as u64));
        Ok(principal.with_client(self.client_id.or(self.azp)).with_credential(credential))
    }

    fn check_times(&self, rules: &ClaimRules, now: u64) -> Result<()> {
        let now = now as f64;
        let leeway = LEEWAY_SECONDS as f64;
        if !self.exp.is_finite() || self.exp < 0.0 || self.exp + leeway <= now {
            return Err(unauthenticated("expired"));
        }
        if self.nbf.is_some_and(|nbf| nbf.is_nan() || nbf > now + leeway) {
            return Err(unauthenticated("not_yet_valid"));
        }
        if self.iat.is_some_and(|iat| !iat.is_finite() || iat > now + leeway) {
            return Err(unauthenticated("issued_in_the_future"));
        }
        if self.exp - self.iat.unwrap_or(now) > rules.max_lifetime as f64 {
            return Err(unauthenticated("lifetime_too_long"));
        }
        Ok(())
    }

    fn carries(&self, claim: &str, value: &str) -> bool {
        match self.rest.0.get(claim) {
            Some(Value::Array(listed)) => listed.iter().any(|one| one == value),
            Some(one) => one == value,
            None => {
                claim == "azp" && self.azp.as_deref() == Some(value)
                    || claim == "client_id" && self.client_id.as_deref() == Some(value)
            }
        }
    }

    fn tenant(&self, rules: &ClaimRules) -> Result<TenantId> {
        let named = match rules.tenant_claim.as_str() {
            "sub" => Some(self.sub.as_str()),
            "client_id" => self.client_id.as_deref(),
            "azp" => self.azp.as_deref(),
            pointer if pointer.starts_with('/') => {
                let path = &pointer[1..];
                let (head, tail) = path.split_at(path.find('/').unwrap_or(path.len()));
                let head = head.replace("~1", "/").replace("~0", "~");
                self.rest.0.get(&head).and_then(|value| value.pointer(tail)).and_then(Value::as_str)
            }
            name => self.rest.0.get(name).and_then(Value::as_str),
        };
        let named = named.ok_or_else(|| tenant_unknown("tenant_claim_missing"))?;
        let parse = |name: &str| TenantId::parse(name).map_err(|_| tenant_unknown("tenant_name_refused"));
        match &rules.tenant_map {
            TenantMap::Identity => parse(named),
            TenantMap::Prefix(prefix) => parse(&format!("{prefix}{named}")),
            TenantMap::Hash => parse(&format!("t-{}", &hex(&token_id(&self.iss, named))[..40])),
            TenantMap::Table(table) => table.get(named).cloned().ok_or_else(|| tenant_unknown("tenant_not_mapped")),
        }
    }
}

/// A token's name in the audit log: enough to find it again, no use to anybody else.
pub(crate) fn fingerprint(token: &str) -> String {
    hex(&sha256(token.as_bytes())[..4])
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

/// The claims that are not registered, or a header's parameters. JSON lets a key stand twice; whoever reads the
/// other one would see another tenant.
#[derive(Debug)]
pub(super) struct Unique(pub(super) HashMap<String, Value>);

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
