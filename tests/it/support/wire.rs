//! Requests as clients write them, over a router and without a port.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use freehold::TestHost;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::soon;

/// The newest generation, which knows no session.
pub(crate) const MODERN: &str = "2026-07-28";
/// The generations before it, which open one.
pub(crate) const LEGACY: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// One request under way.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Body,
}

/// One whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    /// `method` on `path` with nothing but the Host that the test's settings allow.
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let headers = vec![("host".to_owned(), "127.0.0.1:8000".to_owned())];
        Self { method, path: path.to_owned(), headers, body: Body::empty() }
    }

    /// A POST to `/mcp` as every client sends it, but for the token.
    pub(crate) fn post(body: impl Into<Body>) -> Self {
        let mut ask = Self::new(Method::POST, "/mcp")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        ask.body = body.into();
        ask
    }

    /// A request of 2026-07-28, with the headers that it has to repeat.
    pub(crate) fn modern(method: &str, mut params: Value) -> Self {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let name = params["name"].as_str().map(str::to_owned);
        let ask = Self::post(rpc(method, &params)).header("mcp-protocol-version", MODERN).header("mcp-method", method);
        match name {
            Some(name) => ask.header("mcp-name", &name),
            None => ask,
        }
    }

    /// `tools/call` of 2026-07-28.
    pub(crate) fn tool(name: &str, arguments: &Value) -> Self {
        Self::modern("tools/call", json!({ "name": name, "arguments": arguments }))
    }

    /// The same with this body.
    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The same with one more header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without the headers of that name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(there, _)| there != name);
        self
    }

    /// The same to `path`.
    pub(crate) fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The same with a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// The same with a good token of `tenant`.
    pub(crate) fn of(self, host: &TestHost, tenant: &str) -> Self {
        let token = host.token(tenant).expect("a token");
        self.bearer(&token)
    }

    pub(crate) fn into_request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(self.body).expect("a request")
    }

    /// Sends it and takes the whole answer in.
    pub(crate) async fn send(self, host: &TestHost) -> Answer {
        self.send_to(host.router()).await
    }

    /// As [`Ask::send`], to any router.
    pub(crate) async fn send_to(self, router: Router) -> Answer {
        let request = self.into_request();
        soon(async move {
            let Ok(answer) = router.oneshot(request).await;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            Answer { status: head.status, headers: head.headers, body }
        })
        .await
    }
}

impl Answer {
    /// A header as text, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The JSON-RPC message: the body, or the last frame of a stream.
    pub(crate) fn json(&self) -> Value {
        if self.header("content-type").starts_with("text/event-stream") {
            return self.frames().pop().unwrap_or_else(|| panic!("no frame in {:?}", self.text()));
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {} {:?}", self.status, self.text()))
    }

    /// The messages of an event stream. A frame without data is a sign of life and no message.
    pub(crate) fn frames(&self) -> Vec<Value> {
        assert!(self.header("content-type").starts_with("text/event-stream"), "no stream: {self:?}");
        let data = |frame: &str| {
            let lines = frame.lines().filter_map(|line| line.strip_prefix("data:"));
            lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
        };
        let frames = self.text().split("\n\n").map(data).filter(|data| !data.is_empty());
        frames.map(|data| serde_json::from_str(&data).expect("JSON in a frame")).collect()
    }

    /// Fails unless this is a refusal of that status in the form that every refusal has.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{} {:?}", self.status, self.body);
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        let said = self.json();
        assert_eq!(said["jsonrpc"], "2.0", "{said}");
        assert_eq!(said["error"]["data"]["requestId"], self.header("x-request-id"), "{said}");
        said
    }
}

/// A JSON-RPC request as text. Its id is used once: a session takes a second one under way for the same.
pub(crate) fn rpc(method: &str, params: &Value) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// What an older client sends first.
pub(crate) fn initialize(version: &str) -> Ask {
    initialize_able(version, &json!({}))
}

fn initialize_able(version: &str, able: &Value) -> Ask {
    let client = json!({ "name": "it", "version": "0" });
    Ask::post(rpc("initialize", &json!({ "protocolVersion": version, "capabilities": able, "clientInfo": client })))
}

/// An open session of an older client.
pub(crate) struct Session {
    pub(crate) id: String,
    version: String,
    token: String,
}

impl Session {
    /// Opens one as `tenant` does.
    pub(crate) async fn open(host: &TestHost, tenant: &str, version: &str) -> Self {
        Self::open_able(host, tenant, version, json!({})).await
    }

    /// The same of a client with these capabilities.
    pub(crate) async fn open_able(host: &TestHost, tenant: &str, version: &str, able: Value) -> Self {
        let token = host.token(tenant).expect("a token");
        let opened = initialize_able(version, &able).bearer(&token).send(host).await;
        assert_eq!(opened.status, 200, "{opened:?}");
        let session = Self { id: opened.header("mcp-session-id").to_owned(), version: version.to_owned(), token };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let ready = session.dress(Ask::post(ready.to_string())).send(host).await;
        assert_eq!(ready.status, 202, "{ready:?}");
        session
    }

    /// The token that opened it.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// `ask` as a part of this session.
    pub(crate) fn dress(&self, ask: Ask) -> Ask {
        let ask = ask.bearer(&self.token).header("mcp-session-id", &self.id);
        // 2025-03-26 knows no such header.
        if self.version == LEGACY[0] { ask } else { ask.header("mcp-protocol-version", &self.version) }
    }

    /// One request in it.
    pub(crate) async fn ask(&self, host: &TestHost, method: &str, params: Value) -> Answer {
        self.dress(Ask::post(rpc(method, &params))).send(host).await
    }

    /// One tool call in it.
    pub(crate) async fn call(&self, host: &TestHost, tool: &str, arguments: Value) -> Value {
        self.ask(host, "tools/call", json!({ "name": tool, "arguments": arguments })).await.json()
    }
}
