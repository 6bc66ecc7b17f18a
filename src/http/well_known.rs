//! Protected-resource metadata (RFC 9728): where clients of this host get their tokens. It is built from the
//! settings, never from a request: whoever could choose it could send clients to his own token server.
//!
//! Without an authorization server there is none, and every discovery path is the 404 of any other path:
//! clients that find metadata ignore the token that they were given.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;

use super::Edge;
use super::door::enter;
use crate::config::Settings;

const PATH: &str = "/.well-known/oauth-protected-resource";

/// The document and where it is.
pub(super) struct Metadata {
    /// The absolute URL that challenges name.
    pub(super) url: String,
    document: Bytes,
}

impl Metadata {
    /// `None` when no issuer is an authorization server that clients could be sent to.
    pub(super) fn of(settings: &Settings) -> Option<Self> {
        let servers: Vec<&str> = settings
            .auth
            .issuers
            .iter()
            .filter(|issuer| issuer.authorization_server)
            .map(|issuer| issuer.issuer.as_str())
            .collect();
        if servers.is_empty() {
            return None;
        }
        let resource = settings.resource();
        let origin = resource.strip_suffix("/mcp").unwrap_or(&resource);
        let document = json!({
            "resource": resource,
            "authorization_servers": servers,
            // What a client needs to begin. It learns of the others when a call wants them.
            "scopes_supported": ["read"],
            "bearer_methods_supported": ["header"],
        });
        Some(Self { url: format!("{origin}{PATH}/mcp"), document: document.to_string().into() })
    }

    /// The same document at the root, and at the resource's own path with and without a slash.
    pub(super) fn routes(&self) -> Router<Edge> {
        let document = self.document.clone();
        let told = get(move |State(edge): State<Edge>, request: Request| async move {
            enter(&edge, request, async move |_, _| answer(document)).await
        });
        [PATH.to_owned(), format!("{PATH}/mcp"), format!("{PATH}/mcp/")]
            .iter()
            .fold(Router::new(), |routes, path| routes.route(path, told.clone()))
    }
}

fn answer(document: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], document).into_response()
}
