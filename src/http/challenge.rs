//! `WWW-Authenticate` (RFC 6750 section 3, RFC 9728 section 5.1): what a client reads to get a token, or a
//! better one. It says what is wanted, never which check failed.

use axum::response::Response;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;

use super::request_id::RequestId;
use super::respond::refuse;
use crate::auth::{InsufficientScope, Rejected};
use crate::error::{Error, ErrorKind};

const REALM: &str = "Bearer realm=\"mcp\"";
/// What a client needs to begin; it asks for more when a call wants more.
const BASELINE: &str = "scope=\"read\"";

/// The challenges of this host.
pub(super) struct Challenges {
    /// Where the metadata is, if tokens come from an authorization server.
    metadata: Option<String>,
}

impl Challenges {
    /// `metadata` is the absolute URL of the protected-resource metadata.
    pub(super) fn new(metadata: Option<&str>) -> Self {
        Self { metadata: metadata.map(|url| format!("resource_metadata=\"{url}\"")) }
    }

    /// The answer to a request that was refused for `error`.
    pub(super) fn answer(&self, error: &Error, id: RequestId) -> Response {
        let mut answer = refuse(error, id);
        if let Some(challenge) = self.to(error) {
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        answer
    }

    fn to(&self, error: &Error) -> Option<HeaderValue> {
        let source = std::error::Error::source(error);
        let insufficient = source.and_then(|source| source.downcast_ref::<InsufficientScope>());
        let mut parts = vec![REALM.to_owned()];
        match (error.kind(), source) {
            // Without a token no `error`: nothing that was shown is wrong (RFC 6750 section 3.1).
            (ErrorKind::Unauthenticated, None) => self.where_and(BASELINE, &mut parts),
            (ErrorKind::Unauthenticated, Some(_)) => {
                parts.push("error=\"invalid_token\"".to_owned());
                parts.push("error_description=\"The access token is invalid or expired\"".to_owned());
                self.where_and(BASELINE, &mut parts);
            }
            (ErrorKind::Forbidden, _) => {
                let scope = insufficient?.0.name();
                parts.push("error=\"insufficient_scope\"".to_owned());
                parts.push(format!("scope=\"{scope}\""));
                parts.extend(self.metadata.clone());
                parts.push(format!("error_description=\"{scope} scope required\""));
            }
            (ErrorKind::Invalid, Some(source)) if source.is::<Rejected>() => {
                parts.push("error=\"invalid_request\"".to_owned());
                parts.push("error_description=\"send one token, in one Authorization header\"".to_owned());
            }
            _ => return None,
        }
        HeaderValue::from_str(&parts.join(", ")).ok()
    }

    /// The scope is of use to those alone who can ask somebody for it.
    fn where_and(&self, scope: &str, parts: &mut Vec<String>) {
        if let Some(metadata) = &self.metadata {
            parts.extend([metadata.clone(), scope.to_owned()]);
        }
    }
}
