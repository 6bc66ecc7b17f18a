//! Who calls. A token goes in at the edge, a [`Principal`] comes out; below `http` nobody sees a token.

mod admin_token;
mod api_key;
mod claims;
mod fetch;
mod gate;
mod key_set;
mod keys;
mod look;
mod mint;
mod principal;
mod public_key;
mod rejected;
mod remote;
mod scope;
mod source;
mod standing;
mod verifier;

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;

pub(crate) use admin_token::AdminToken;
pub(crate) use api_key::{ApiKeyRecord, NewApiKey, api_key_id};
pub(crate) use claims::fingerprint;
pub(crate) use gate::Gate;
pub(crate) use keys::{KeyRing, generate_key, list_keys, promote_key, retire_key, signing_of};
pub(crate) use look::look_into;
pub(crate) use mint::{Minted, TokenRequest, mint};
pub use principal::Principal;
pub(crate) use rejected::{Rejected, tenant_unknown};
pub(crate) use scope::{InsufficientScope, insufficient};
pub use scope::{Scope, Scopes};
pub(crate) use standing::{CredentialId, Standing, TenantStanding, token_id};
pub(crate) use verifier::{FindApiKey, OwnKeys, Verifier};

/// What [`Authenticate::authenticate`] returns.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Principal>> + Send + 'a>>;

/// Turns a bearer token into a [`Principal`].
pub trait Authenticate: Send + Sync + 'static {
    /// Verifies `token`, the text after `Bearer `.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`](crate::ErrorKind::Unauthenticated) if it is not good, with one
    /// message for every cause (which check failed is the `source`, for the log alone);
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden) if it is good but names no usable tenant.
    fn authenticate<'a>(&'a self, token: &'a str) -> Verdict<'a>;

    /// The caller, if `token` was verified before and is still good. It must cost little: it is asked on every
    /// request, also for a client whose tokens were refused too often.
    fn recall(&self, token: &str) -> Option<Principal> {
        let _ = token;
        None
    }

    /// Whether a caller who was admitted is still vouched for. Asked about once a second for an open stream,
    /// beside the principal's expiry and what `freehold token revoke` and `freehold tenant suspend` have
    /// taken back; it must not block.
    fn vouches_for(&self, principal: &Principal) -> bool {
        let _ = principal;
        true
    }

    /// Looks whether what it verifies with has changed, such as a file of keys. Called four times a second, where it
    /// may block.
    fn look_again(&self) {}

    /// Whether tokens can be verified at all: `/readyz` says 503 until they can.
    fn is_ready(&self) -> bool {
        true
    }
}
