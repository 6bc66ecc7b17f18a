//! `[auth]`: whose tokens are taken, and what in them names the tenant.

use figment::value::magic::RelativePathBuf;
use serde::{Deserialize, Serialize};

/// Whose tokens are taken. Without a secret file the keys are those of `freehold key`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The host's own issuer: the `iss` that its tokens carry.
    pub issuer: String,
    /// The `aud` values that are taken. Empty: `public_url` + `/mcp`, or `freehold` without one.
    pub audiences: Vec<String>,
    /// The claim that names the tenant: a name, or a JSON pointer such as `/org/id` (RFC 6901).
    pub tenant_claim: String,
    /// The scope of a token that carries none; empty refuses such a token.
    pub scope_default: String,
    /// A file of at least 32 random bytes, in place of the host's key files (HS256).
    pub hs256_secret_file: Option<RelativePathBuf>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            issuer: "freehold".to_owned(),
            audiences: Vec::new(),
            tenant_claim: "tenant".to_owned(),
            scope_default: "read write".to_owned(),
            hs256_secret_file: None,
        }
    }
}
