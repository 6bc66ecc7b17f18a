//! Owns the tokens of the bench that asks what verifying costs: as many as it likes, each never seen before.

use std::path::Path;
use std::time::Instant;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use freehold::{Authenticate, Principal, Scopes, TenantId, Verdict};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::Done;

/// The host's own signing key in the bench's hand.
pub struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Signer {
    /// Reads the key of the host on `data`.
    pub fn of(data: &str) -> Done<Self> {
        let keys = Path::new(data).join("keys");
        let kid = std::fs::read_to_string(keys.join("signing"))?.trim().to_owned();
        let key = EncodingKey::from_ed_pem(&std::fs::read(keys.join(format!("{kid}.pem")))?)?;
        Ok(Self {
            header: Header { typ: Some("at+jwt".to_owned()), kid: Some(kid), ..Header::new(Algorithm::EdDSA) },
            key,
        })
    }

    /// A token of `tenant`, good for an hour, of which there is no other under this `name`.
    pub fn sign(&self, tenant: &str, name: &str) -> Done<String> {
        let now = jsonwebtoken::get_current_timestamp();
        let claims = json!({
            "iss": "freehold", "aud": "freehold", "sub": "bench", "scope": "read write", "tenant": tenant,
            "iat": now, "exp": now + 3_600, "jti": name,
        });
        Ok(encode(&self.header, &claims, &self.key)?)
    }
}

/// What one Ed25519 signature of a token's length costs to check and nothing else, in microseconds: the floor under
/// every token that was never seen before.
pub fn signature_alone(times: usize) -> Done<f64> {
    let key = Ed25519KeyPair::generate()?;
    let text = [b'a'; 300];
    let signature = key.sign(&text);
    let public = UnparsedPublicKey::new(&ED25519, key.public_key().as_ref());
    let begun = Instant::now();
    for _ in 0..times {
        public.verify(&text, signature.as_ref())?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / times as f64)
}

/// Takes every token for one caller's, unread: the floor under what verifying costs.
pub struct Unread(Principal);

impl Unread {
    pub fn of(tenant: &str) -> freehold::Result<Self> {
        let tenant = TenantId::parse(tenant)?;
        Ok(Self(Principal::new(tenant, "bench".to_owned(), "bench".to_owned(), Scopes::all(), None)))
    }
}

impl Authenticate for Unread {
    fn authenticate<'a>(&'a self, _token: &'a str) -> Verdict<'a> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }

    fn recall(&self, _token: &str) -> Option<Principal> {
        Some(self.0.clone())
    }
}
