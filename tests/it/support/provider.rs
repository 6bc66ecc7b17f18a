//! An identity provider: an HTTP server on a port of the system's choice that publishes what a test wants, and
//! the keys that it signs with.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold::{IssuerSettings, TenantMap};
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::token::message;

/// A signing key of the provider.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    pub(crate) fn new(kid: &'static str) -> Self {
        Self { kid, pair: Ed25519KeyPair::generate().expect("a key") }
    }

    /// Its public half as a JWKS lists it.
    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x })
    }

    /// A token with this key's name.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.kid, claims)
    }

    /// A token under another name.
    pub(crate) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let message = message(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid }), &claims.to_string());
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }
}

/// What is asked of the provider and what it says.
#[derive(Default)]
struct Said {
    status: u16,
    body: Vec<u8>,
    location: Option<String>,
    asked: Vec<String>,
}

/// A running provider. It ends with the test's runtime.
pub(crate) struct Provider {
    pub(crate) url: String,
    said: Arc<Mutex<Said>>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let said = Arc::new(Mutex::new(Said { status: 200, ..Said::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&said));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, said }
    }

    /// Publishes these keys.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.say(200, json!({ "keys": keys }).to_string().into_bytes());
    }

    /// Answers everything with this.
    pub(crate) fn say(&self, status: u16, body: Vec<u8>) {
        let mut said = self.said.lock().expect("nobody panics here");
        (said.status, said.body, said.location) = (status, body, None);
    }

    /// Sends everybody elsewhere.
    pub(crate) fn redirect(&self, to: &str) {
        let mut said = self.said.lock().expect("nobody panics here");
        (said.status, said.location) = (302, Some(to.to_owned()));
    }

    /// The paths that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.said.lock().expect("nobody panics here").asked.clone()
    }

    /// This provider as an issuer of the host, with its tenants behind `idp-`.
    pub(crate) fn issuer(&self) -> IssuerSettings {
        IssuerSettings {
            issuer: self.url.clone(),
            jwks_url: Some(format!("{}/jwks", self.url)),
            audiences: vec!["https://mcp.example.com/mcp".to_owned()],
            tenant_claim: "/org/id".to_owned(),
            tenant_map: Some(TenantMap::Prefix("idp-".to_owned())),
            ..IssuerSettings::default()
        }
    }

    /// Claims that are good for the host's tenant `idp-` + `org`.
    pub(crate) fn claims(&self, org: &str, now: u64) -> Value {
        json!({
            "iss": self.url, "aud": "https://mcp.example.com/mcp", "sub": "user-7", "scope": "read write",
            "org": { "id": org }, "iat": now, "exp": now + 3600,
        })
    }
}

async fn answer(State(said): State<Arc<Mutex<Said>>>, uri: Uri) -> Response {
    let mut said = said.lock().expect("nobody panics here");
    said.asked.push(uri.path().to_owned());
    let status = StatusCode::from_u16(said.status).expect("a status");
    let mut answer = (status, said.body.clone()).into_response();
    if let Some(to) = &said.location {
        answer.headers_mut().insert("location", to.parse().expect("a header"));
    }
    answer
}
