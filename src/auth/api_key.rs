//! Opaque API keys: `fh_live_<id><secret><checksum>`, for callers that can't renew a token. The catalog holds
//! the hash of a secret and never the secret.
//!
//! `fh_live_`, 10 letters of id, `_`, 43 letters of secret (256 bits), 6 letters of CRC-32 over all before
//! them. A fixed start and a checksum let secret scanners find a leaked key and be sure of it.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::claims::sha256;
use super::principal::Credential;
use super::rejected::{tenant_unknown, unauthenticated};
use super::standing::{CredentialId, token_id};
use super::{Principal, Scopes};
use crate::error::Result;
use crate::id::TenantId;
use crate::random;

pub(super) const PREFIX: &str = "fh_live_";
const ID: usize = 10;
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const LENGTH: usize = PREFIX.len() + ID + 1 + SECRET + CHECKSUM;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The `iss` of a caller with an API key, in a revocation's hash and in the audit.
const ISSUER: &str = "freehold:api-key";

/// An API key as the catalog has it.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeyRecord {
    /// Its public part.
    pub id: String,
    /// SHA-256 of the whole key.
    pub secret: [u8; 32],
    /// Whose state it opens.
    pub tenant: String,
    /// Who carries it.
    pub subject: String,
    /// What it grants.
    pub scope: String,
    /// The tenant's epoch when it was made.
    pub epoch: u64,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// When it ends, if it does.
    pub expires_at: Option<u64>,
}

/// A new key: its id, the text that is shown once, and the hash to keep.
pub(crate) struct NewApiKey {
    pub id: String,
    pub text: String,
    pub secret: [u8; 32],
}

impl NewApiKey {
    /// # Errors
    /// [`crate::ErrorKind::Internal`] when there is no randomness.
    pub(crate) fn generate() -> Result<Self> {
        let (id, secret) = (letters(ID)?, letters(SECRET)?);
        let mut text = format!("{PREFIX}{id}_{secret}");
        text.push_str(&checksum(&text));
        let secret = sha256(text.as_bytes());
        Ok(Self { id, text, secret })
    }
}

/// The id in a key's text, if the text can be one at all: no look into the catalog for a typing error.
pub(super) fn id_in(text: &str) -> Option<&str> {
    let id = text.get(PREFIX.len()..PREFIX.len() + ID)?;
    let formed = text.len() == LENGTH
        && text.starts_with(PREFIX)
        && text.as_bytes()[PREFIX.len() + ID] == b'_'
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (body, sum) = text.split_at_checked(LENGTH - CHECKSUM)?;
    (formed && checksum(body) == sum).then_some(id)
}

/// What a revocation of the key `id` names.
#[must_use]
pub(crate) fn api_key_id(id: &str) -> CredentialId {
    token_id(ISSUER, id)
}

impl ApiKeyRecord {
    /// The caller, if `text` is this key and it has not ended.
    pub(super) fn admit(self, text: &str, now: u64) -> Result<Principal> {
        verify_slices_are_equal(&self.secret, &sha256(text.as_bytes()))
            .map_err(|_| unauthenticated("api_key_unknown"))?;
        if self.expires_at.is_some_and(|end| end <= now) {
            return Err(unauthenticated("expired"));
        }
        let tenant = TenantId::parse(&self.tenant).map_err(|_| tenant_unknown("tenant_name_refused"))?;
        let credential = Credential {
            id: Some(api_key_id(&self.id)),
            issued_at: Some(self.created_at),
            epoch: Some(self.epoch),
            kid: None,
        };
        let scopes = Scopes::parse(&self.scope);
        Ok(Principal::new(tenant, ISSUER.to_owned(), self.subject, scopes, self.expires_at).with_credential(credential))
    }
}

/// Letters chosen evenly: a byte of 248 and above is drawn again, or the first letters would come oftener.
fn letters(count: usize) -> Result<String> {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let bytes = random::bytes::<64>()?;
        let even = bytes.iter().filter(|byte| **byte < 248).map(|byte| char::from(LETTERS[usize::from(byte % 62)]));
        text.extend(even.take(count - text.len()));
    }
    Ok(text)
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut sum = [b'0'; CHECKSUM];
    for letter in sum.iter_mut().rev() {
        *letter = LETTERS[(rest % 62) as usize];
        rest /= 62;
    }
    sum.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, NewApiKey, id_in};

    #[test]
    fn a_key_is_known_by_its_form() {
        let key = NewApiKey::generate().expect("randomness");
        assert_eq!((key.text.len(), id_in(&key.text)), (LENGTH, Some(&*key.id)));
        for at in 0..key.text.len() {
            let mut changed = key.text.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(id_in(&String::from_utf8(changed).expect("text")), None, "byte {at}");
        }
        for wrong in ["", "fh_live_", &key.text[1..], &format!("{}0", key.text), "fh_live_é"] {
            assert_eq!(id_in(wrong), None, "{wrong}");
        }
    }
}
