//! From a bearer token to a [`Principal`] (RFC 7519, RFC 8725): the token's form says whether it is an API key
//! or a JWT, its `iss` chooses the issuer, the issuer's key chooses the algorithm. Nothing in a token chooses
//! how it is verified.

use std::collections::HashSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Header, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;

use super::api_key::{self, ApiKeyRecord};
use super::claims::{ClaimRules, Claims, LEEWAY_SECONDS, Unique, sha256};
use super::fetch::Fetch;
use super::key_set::PublicKey;
use super::rejected::{unauthenticated, unauthenticated_by};
use super::remote::{self, Remote};
use super::source::{From, KeyFile, KeySource, Now};
use super::{Authenticate, KeyRing, Principal, Verdict};
use crate::clock::Clock;
use crate::config::{IssuerSettings, Settings, TenantMap};
use crate::error::{Error, ErrorKind, Result};

const TOKEN_BYTES_MAX: usize = 8 * 1024;
const KID_BYTES_MAX: usize = 256;
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// Header parameters of what we do not speak: extensions, encryption, compression, nesting.
const UNSPOKEN: [&str; 5] = ["crit", "b64", "enc", "zip", "cty"];

/// Verified tokens that are remembered: EdDSA costs some 65 µs, more than the rest of a request. Each is
/// good for as long as its issuer's keys are the same; expiry and revocation are looked at every time.
const REMEMBERED: usize = 10_000;

/// Finds an API key in the catalog.
pub(crate) type FindApiKey =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Option<ApiKeyRecord>>> + Send>> + Send + Sync>;

/// Where the host's own keys are and how they are read, now and when they have changed.
pub(crate) struct OwnKeys {
    /// The file or the folder.
    pub path: PathBuf,
    /// Reads it.
    pub load: Box<dyn Fn() -> Result<KeyRing> + Send + Sync>,
}

/// Verifies the tokens of every issuer that the settings name, and API keys.
pub(crate) struct Verifier {
    issuers: Vec<Issuer>,
    find_api_key: FindApiKey,
    clock: Arc<dyn Clock>,
    /// By SHA-256, so that no token lies about in memory.
    remembered: Cache<[u8; 32], Remembered>,
}

struct Issuer {
    rules: ClaimRules,
    keys: Arc<KeySource>,
}

#[derive(Clone)]
struct Remembered {
    principal: Principal,
    /// Which issuer's keys it was verified with. An API key has none.
    by: Option<(usize, u64)>,
}

/// The issuer as the payload names it, before anything is verified: it chooses the keys, and is verified with
/// the rest.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl Verifier {
    /// A verifier for the issuers of `settings`. Starts fetching what is behind URLs: call it inside a runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when a key file can't be used.
    pub(crate) fn new(own: OwnKeys, settings: &Settings, clock: Arc<dyn Clock>, find: FindApiKey) -> Result<Self> {
        let auth = &settings.auth;
        let audiences: HashSet<String> = settings.audiences().into_iter().collect();
        let load = move || (own.load)().map(|ring| ring.verify);
        let keys = KeySource::of_file(auth.issuer.clone(), audiences.clone(), KeyFile::new(own.path, load))?;
        let rules = ClaimRules {
            tenant_claim: auth.tenant_claim.clone(),
            tenant_map: TenantMap::Identity,
            scope_default: auth.scope_default.clone(),
            max_lifetime: auth.max_lifetime.as_secs(),
            expected: auth.expected_claims.clone(),
            own: true,
        };
        let mut issuers = vec![Issuer { rules, keys: Arc::new(keys) }];
        for issuer in &auth.issuers {
            issuers.push(Issuer::of(issuer, &audiences)?);
        }
        for issuer in &issuers {
            remote::start(&issuer.keys);
        }
        Ok(Self { issuers, find_api_key: find, clock, remembered: Cache::new(REMEMBERED) })
    }

    async fn verify(&self, token: &str) -> Result<Principal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(unauthenticated("too_long"));
        }
        let (principal, by) = if token.starts_with(api_key::PREFIX) {
            (self.verify_api_key(token).await?, None)
        } else {
            let (principal, at, generation) = self.verify_jwt(token).await?;
            (principal, Some((at, generation)))
        };
        self.remembered.insert(sha256(token.as_bytes()), Remembered { principal: principal.clone(), by });
        Ok(principal)
    }

    async fn verify_api_key(&self, token: &str) -> Result<Principal> {
        let id = api_key::id_in(token).ok_or_else(|| unauthenticated("api_key_malformed"))?;
        let found = (self.find_api_key)(id.to_owned()).await?;
        let record = found.ok_or_else(|| unauthenticated("api_key_unknown"))?;
        record.admit(token, self.clock.unix_seconds())
    }

    async fn verify_jwt(&self, token: &str) -> Result<(Principal, usize, u64)> {
        let header = header(token)?;
        let (at, issuer) = self.issuer_of(token)?;
        let mut keys = issuer.keys.keys();
        if keys.as_ref().is_none_or(|keys| keys.find(&header).is_none()) {
            remote::want(&issuer.keys).await;
            keys = issuer.keys.keys();
        }
        let keys = keys.ok_or_else(keys_missing)?;
        let key = keys.find(&header).ok_or_else(|| unauthenticated("key_unknown"))?;
        let verified =
            decode::<Claims>(token, &key.key, &key.validation).map_err(|error| unauthenticated_by(&error))?;
        let now = self.clock.unix_seconds();
        let principal = verified.claims.into_principal(&issuer.rules, now, key.kid.as_deref())?;
        Ok((principal, at, keys.generation))
    }

    fn issuer_of(&self, token: &str) -> Result<(usize, &Issuer)> {
        if let [only] = &self.issuers[..] {
            // The key's validation holds the name against it.
            return Ok((0, only));
        }
        let claimed: Claimed = insecure_decode_claims(token).map_err(|_| unauthenticated("malformed"))?;
        let mut named = self.issuers.iter().enumerate().filter(|(_, issuer)| issuer.keys.issuer == claimed.iss);
        named.next().ok_or_else(|| unauthenticated("issuer_unknown"))
    }
}

impl Issuer {
    fn of(settings: &IssuerSettings, audiences: &HashSet<String>) -> Result<Self> {
        let issuer = settings.issuer.clone();
        let audiences = match &settings.audiences[..] {
            [] => audiences.clone(),
            own => own.iter().cloned().collect(),
        };
        let rules = ClaimRules {
            tenant_claim: settings.tenant_claim.clone(),
            tenant_map: settings.tenant_map.clone().ok_or_else(|| Error::invalid("tenant_map is missing"))?,
            scope_default: settings.scope_default.clone(),
            max_lifetime: settings.max_lifetime.as_secs(),
            expected: settings.expected_claims.clone(),
            own: false,
        };
        type Read = fn(&std::path::Path) -> Result<KeyRing>;
        let file = match (&settings.jwks_file, &settings.pem_file) {
            (Some(file), _) => Some((file.relative(), KeyRing::from_jwks_file as Read)),
            (_, Some(file)) => Some((file.relative(), KeyRing::from_pem_file as Read)),
            _ => None,
        };
        let keys = match file {
            Some((path, read)) => {
                let here = path.clone();
                let load = move || -> Result<Vec<PublicKey>> { Ok(read(&here)?.verify) };
                KeySource::of_file(issuer, audiences, KeyFile::new(path, load))?
            }
            None => {
                let fetch = Fetch::new(settings.jwks_url.clone())?;
                let remote = Remote::new(fetch, settings.jwks_refresh, settings.jwks_cooldown);
                let now = tokio::sync::watch::Sender::new(Now::default());
                KeySource { issuer, audiences, now, from: From::Url(remote) }
            }
        };
        Ok(Self { rules, keys: Arc::new(keys) })
    }
}

/// The header, after everything in it that we do not speak is refused.
fn header(token: &str) -> Result<Header> {
    let header = decode_header(token).map_err(|error| unauthenticated_by(&error))?;
    let refused = || unauthenticated("header_refused");
    let written = token.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).ok_or_else(refused)?;
    let Unique(parameters) = serde_json::from_slice(&written).map_err(|_| refused())?;
    let typed = header.typ.as_ref().is_none_or(|typ| TYPES.iter().any(|known| typ.eq_ignore_ascii_case(known)));
    // RFC 7515 section 4.1.11: an extension that is critical and not understood is refused. `jku`,
    // `jwk`, `x5u` and `x5c` are the token's own idea of its key: never looked at.
    if !typed || UNSPOKEN.iter().any(|name| parameters.contains_key(*name)) {
        return Err(refused());
    }
    if header.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX || kid.chars().any(char::is_control)) {
        return Err(refused());
    }
    Ok(header)
}

/// Not 401: a client would throw a good token away and ask for another, in vain.
fn keys_missing() -> Error {
    Error::new(ErrorKind::Unavailable, "the issuer's keys can't be fetched at present: call again")
        .with_retry_after(Duration::from_secs(5))
}

impl Authenticate for Verifier {
    fn authenticate<'a>(&'a self, token: &'a str) -> Verdict<'a> {
        Box::pin(self.verify(token))
    }

    fn recall(&self, token: &str) -> Option<Principal> {
        let Remembered { principal, by } = self.remembered.get(&sha256(token.as_bytes()))?;
        let now = self.clock.unix_seconds();
        // An API key's end is the host's own word and has no leeway.
        let leeway = by.map_or(0, |_| LEEWAY_SECONDS);
        let lasts = principal.expires_at().is_none_or(|exp| now < exp.saturating_add(leeway));
        (lasts && by.is_none_or(|by| self.generation(by.0) == Some(by.1))).then_some(principal)
    }

    fn vouches_for(&self, principal: &Principal) -> bool {
        let Some(kid) = &principal.credential().kid else { return true };
        let issuer = self.issuers.iter().find(|issuer| issuer.keys.issuer == principal.issuer());
        issuer.is_some_and(|issuer| issuer.keys.keys().is_some_and(|keys| keys.has(kid)))
    }

    fn look_again(&self) {
        self.issuers.iter().for_each(|issuer| issuer.keys.look_again());
    }

    fn is_ready(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.keys.now.borrow().keys.is_some())
    }
}

impl Verifier {
    fn generation(&self, issuer: usize) -> Option<u64> {
        Some(self.issuers.get(issuer)?.keys.keys()?.generation)
    }
}
