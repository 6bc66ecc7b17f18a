//! [`Principal`]: who calls. What the token was that said so, it does not know.

use std::fmt;
use std::sync::Arc;

use super::standing::CredentialId;
use super::{Scope, Scopes};
use crate::id::TenantId;

/// Who makes this call, for which tenant, with which rights. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal(Arc<Identity>);

#[derive(Clone, PartialEq, Eq)]
struct Identity {
    tenant: TenantId,
    issuer: String,
    subject: String,
    client: Option<String>,
    scopes: Scopes,
    expires_at: Option<u64>,
    credential: Credential,
}

/// What of the token has to be known to take it back later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credential {
    /// What a revocation would name.
    pub id: Option<CredentialId>,
    /// When it was issued, in seconds since 1970.
    pub issued_at: Option<u64>,
    /// The tenant's epoch when the host issued it.
    pub epoch: Option<u64>,
    /// The name of the key that signed it.
    pub kid: Option<String>,
}

impl Principal {
    /// The caller that a verifier vouches for. `expires_at` is in seconds since 1970.
    #[must_use]
    pub fn new(tenant: TenantId, issuer: String, subject: String, scopes: Scopes, expires_at: Option<u64>) -> Self {
        let credential = Credential::default();
        Self(Arc::new(Identity { tenant, issuer, subject, client: None, scopes, expires_at, credential }))
    }

    /// The same caller, known to have come through the OAuth client `client`.
    #[must_use]
    pub fn with_client(self, client: Option<String>) -> Self {
        self.changed(|identity| identity.client = client)
    }

    /// The same caller with what a revocation may name.
    #[must_use]
    pub(crate) fn with_credential(self, credential: Credential) -> Self {
        self.changed(|identity| identity.credential = credential)
    }

    /// The same caller with `scope` granted: for a call of a tool that its token names.
    #[must_use]
    pub(crate) fn raised_to(self, scope: Scope) -> Self {
        self.changed(|identity| identity.scopes = identity.scopes.raised_to(scope))
    }

    fn changed(mut self, change: impl FnOnce(&mut Identity)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
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
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// When the caller's token ends, in seconds since 1970.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.0.expires_at
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.0.credential
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} for {}", self.subject(), self.issuer(), self.tenant())
    }
}
