//! Cursors that hold for one tenant, one caller and one question: a place in a list, sealed.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Handle, Tenant};
use crate::db::Mode;
use crate::error::{Error, Result};
use crate::random;
use crate::store::meta;

/// Where a tenant's secret stands in `_fh_meta`: with the file it moves from machine to machine.
const SECRET: &str = "cursor_secret";
/// Of HMAC-SHA256's 32 bytes: RFC 2104 section 5 asks for half at least.
const TAG_BYTES: usize = 16;

/// What one tenant's cursors are sealed with.
pub(super) struct Secret(hmac::Key);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The secret of `tenant`, made when first asked for.
    pub(super) async fn of(tenant: &Handle) -> Result<Self> {
        let fresh = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
        let kept = tenant.write(Mode::Host, move |tx| meta::get_or_put(tx, SECRET, &fresh)).await?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, kept.as_bytes())))
    }

    fn tag(&self, message: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hmac::sign(&self.0, message).as_ref()[..TAG_BYTES]);
        tag
    }
}

impl Tenant {
    /// `place` as a cursor for this caller and the question `parts`.
    pub(crate) async fn seal(&self, parts: &[&[u8]], place: &[u8]) -> Result<String> {
        let secret = self.secret().await?;
        let mut cursor = secret.tag(&self.message(parts, place)).to_vec();
        cursor.extend_from_slice(place);
        Ok(URL_SAFE_NO_PAD.encode(cursor))
    }

    /// The place in `cursor`, which this caller got for the same question.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other cursor.
    pub(crate) async fn unseal(&self, parts: &[&[u8]], cursor: &str) -> Result<Vec<u8>> {
        let wrong = || {
            Error::invalid(
                "this cursor is not from the same call by the same caller: repeat the call that gave it, or send no cursor",
            )
        };
        let cursor = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
        let (tag, place) = cursor.split_at_checked(TAG_BYTES).ok_or_else(wrong)?;
        let due = self.secret().await?.tag(&self.message(parts, place));
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &due).map_err(|_| wrong())?;
        Ok(place.to_vec())
    }

    async fn secret(&self) -> Result<&Secret> {
        self.handle.0.secret.get_or_try_init(|| Secret::of(&self.handle)).await
    }

    /// Each part behind its length, so that no two questions read the same.
    fn message(&self, parts: &[&[u8]], place: &[u8]) -> Vec<u8> {
        let caller = [self.principal().issuer().as_bytes(), self.principal().subject().as_bytes()];
        let mut message = Vec::new();
        for part in caller.iter().chain(parts).chain([&place]) {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}
