//! Tokens written by hand, so that every part of one can be wrong.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use freehold::{Clock, TestHost};
use serde_json::{Value, json};

/// The host's own key in the hands of somebody who writes what he likes.
pub(crate) struct Forge {
    pair: Ed25519KeyPair,
    kid: String,
    now: u64,
}

impl Forge {
    /// Reads the key of `host`.
    pub(crate) fn of(host: &TestHost) -> Self {
        let keys = host.dir().join("keys");
        let kid = std::fs::read_to_string(keys.join("signing")).expect("a signing key");
        let pem = std::fs::read_to_string(keys.join(format!("{kid}.pem"))).expect("its file");
        let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let pair = Ed25519KeyPair::from_pkcs8(&STANDARD.decode(base64).expect("base64")).expect("a key");
        Self { pair, kid, now: host.clock().unix_seconds() }
    }

    /// When the host's clock stood as this was made.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// A header that is good.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.kid })
    }

    /// Claims that are good.
    pub(crate) fn claims(&self, tenant: &str) -> Value {
        json!({
            "iss": "freehold", "aud": "freehold", "sub": "agent", "scope": "read write", "tenant": tenant,
            "iat": self.now, "exp": self.now + 3600,
        })
    }

    /// Good claims but for `claim`, which is `value`.
    pub(crate) fn with(&self, claim: &str, value: impl Into<Value>) -> String {
        let mut claims = self.claims("a");
        claims[claim] = value.into();
        self.sign(&self.header(), &claims.to_string())
    }

    /// Good claims without `claim`.
    pub(crate) fn lacking(&self, claim: &str) -> String {
        let mut claims = self.claims("a");
        claims.as_object_mut().expect("an object").remove(claim).expect("a claim that was there");
        self.sign(&self.header(), &claims.to_string())
    }

    /// Good claims under a header that has `value` as `field`.
    pub(crate) fn headed(&self, field: &str, value: impl Into<Value>) -> String {
        let mut header = self.header();
        header[field] = value.into();
        self.sign(&header, &self.claims("a").to_string())
    }

    /// `payload`, rightly signed.
    pub(crate) fn sign(&self, header: &Value, payload: &str) -> String {
        self.sign_text(&header.to_string(), payload)
    }

    /// The same under a header that need not be JSON.
    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }

    /// Algorithm confusion: the public key, which everybody may know, as a shared secret.
    pub(crate) fn confused(&self) -> String {
        let public = self.pair.public_key().as_ref().to_vec();
        shared_secret(&public, &json!({ "alg": "HS256", "typ": "JWT", "kid": self.kid }), &self.claims("a"))
    }
}

/// A token of HS256.
pub(crate) fn shared_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, &claims.to_string());
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// Header and payload as they are signed.
pub(crate) fn message(header: &Value, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload))
}

/// Lets any token be a tenant of its name: for where what is tried is not who calls.
pub(crate) struct ByName;

impl freehold::Authenticate for ByName {
    fn authenticate<'a>(&'a self, token: &'a str) -> freehold::Verdict<'a> {
        let named = freehold::TenantId::parse(token).map(|tenant| {
            freehold::Principal::new(tenant, "test".to_owned(), "test".to_owned(), freehold::Scopes::all(), None)
        });
        Box::pin(std::future::ready(named))
    }
}
