//! Who calls. A token goes in at the edge, a [`Principal`] comes out; below `http` nobody sees a token.

mod claims;
mod jwt;
mod keys;
mod mint;
mod scope;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Result;
use crate::id::TenantId;

pub(crate) use jwt::JwtVerifier;
pub(crate) use keys::{KeyRing, generate_key, list_keys};
pub(crate) use mint::{TokenRequest, mint};
pub use scope::{Scope, Scopes};

/// Who makes this call, for which tenant, with which rights. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal(Arc<Identity>);

#[derive(PartialEq, Eq)]
struct Identity {
    tenant: TenantId,
    issuer: String,
    subject: String,
    client: Option<String>,
    scopes: Scopes,
    expires_at: Option<u64>,
}

impl Principal {
    /// The caller that a verifier vouches for. `expires_at` is in seconds since 1970.
    #[must_use]
    pub fn new(tenant: TenantId, issuer: String, subject: String, scopes: Scopes, expires_at: Option<u64>) -> Self {
        Self(Arc::new(Identity { tenant, issuer, subject, client: None, scopes, expires_at }))
    }

    /// The same caller, known to have come through the OAuth client `client`.
    #[must_use]
    pub fn with_client(self, client: Option<String>) -> Self {
        let Identity { tenant, issuer, subject, scopes, expires_at, .. } = &*self.0;
        Self(Arc::new(Identity {
            tenant: tenant.clone(),
            issuer: issuer.clone(),
            subject: subject.clone(),
            client,
            scopes: *scopes,
            expires_at: *expires_at,
        }))
    }

    /// The person at this machine, who owns the files anyway: for stdio.
    #[must_use]
    pub fn local(tenant: TenantId) -> Self {
        Self::new(tenant, "local".to_owned(), "operator".to_owned(), Scopes::all(), None)
    }

    /// The tenant whose state this call may touch; there is no way to name another.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.0.tenant
    }

    /// Who vouched for the caller (`iss`).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Who the caller is to that issuer (`sub`).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The OAuth client that the caller used (`client_id` or `azp`), where the token tells.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// What the caller may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.0.scopes
    }

    /// When the caller's token ends, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.0.expires_at
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} for {}", self.subject(), self.issuer(), self.tenant())
    }
}

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
}
