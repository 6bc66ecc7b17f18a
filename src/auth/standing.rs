//! What has been taken back since a token was signed: single tokens, a tenant's tokens as a whole, a tenant.
//!
//! One picture of it lies in memory and is replaced when the catalog's has changed, so that a check costs no
//! query, and so that streams hear of it. What was never revoked is not in here.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest;

use super::Principal;
use super::rejected::{Rejected, unauthenticated};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// What a revocation names: the hash of an issuer and a token's `jti`, or of an API key's id. A hash, since
/// it says nothing in a log or in a stolen file, and has one length.
pub(crate) type CredentialId = [u8; 32];

/// The id of the token `jti` of `issuer`.
#[must_use]
pub(crate) fn token_id(issuer: &str, jti: &str) -> CredentialId {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [issuer.as_bytes(), b"\0", jti.as_bytes()] {
        hash.update(part);
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

/// One tenant that is not in plain good standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantStanding {
    /// Nobody may call.
    pub suspended: bool,
    /// Tokens of the host's own that carry a lower `epo` are void.
    pub epoch: u64,
    /// Tokens without `epo` have to be issued after this moment, in seconds since 1970.
    pub not_before: u64,
}

/// All that has been taken back.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Tokens and API keys that are void, each until it would have expired anyway.
    pub revoked: HashSet<CredentialId>,
    /// Tenants with a standing of their own.
    pub tenants: HashMap<TenantId, TenantStanding>,
}

impl Standing {
    /// Whether `principal` may still call.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`]: its token was revoked, or all of its tenant's were;
    /// [`ErrorKind::Forbidden`]: the tenant is suspended.
    pub(crate) fn check(&self, principal: &Principal) -> Result<()> {
        let credential = principal.credential();
        if credential.id.is_some_and(|id| self.revoked.contains(&id)) {
            return Err(unauthenticated("revoked"));
        }
        let Some(tenant) = self.tenants.get(principal.tenant()) else {
            return Ok(());
        };
        if tenant.suspended {
            return Err(Error::new(ErrorKind::Forbidden, "this tenant is suspended: ask whoever runs this server")
                .with_reason("tenant_suspended")
                .with_source(Rejected("tenant_suspended")));
        }
        let good = match (credential.epoch, credential.issued_at) {
            (Some(epoch), _) => epoch >= tenant.epoch,
            // Issued in the very second: which of the two came first, nobody knows.
            (None, Some(issued_at)) => tenant.not_before == 0 || issued_at > tenant.not_before,
            (None, None) => tenant.not_before == 0,
        };
        if good { Ok(()) } else { Err(unauthenticated("tenant_tokens_revoked")) }
    }
}
