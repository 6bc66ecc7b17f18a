//! A host for tests: real router, real files in a folder of its own, a clock that stands still.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> freehold::Result<()> {
//! # struct Notes; impl rmcp::ServerHandler for Notes {}
//! use freehold::{Host, TestHost};
//!
//! let host = TestHost::start(Host::new(|_tenant| Notes), |settings| settings.limits.sessions = 2)?;
//! host.create_tenant("acme")?;
//! let answer = host.call("acme", "sql_query", serde_json::json!({ "sql": "SELECT 1" })).await;
//! assert_eq!(answer["result"]["structuredContent"]["rows"][0][0], 1);
//! host.close().await;
//! # Ok(()) }
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::auth::{
    ApiKeyRecord, KeyRing, NewApiKey, TokenRequest, api_key_id, generate_key, look_into, mint, token_id,
};
use crate::catalog::Catalog;
use crate::clock::{Clock, HeldClock};
use crate::config::{DEFAULT_CLASS, Settings};
use crate::db::DataDir;
use crate::error::{Error, Result};
use crate::host::{Host, Service};
use crate::id::TenantId;
use crate::tenant::Tenant;

/// When the clock of a new [`TestHost`] stands: 1 January 2030.
const NOW: u64 = 1_893_456_000;

/// A running host in a folder that goes with it.
pub struct TestHost {
    host: Host,
    settings: Settings,
    service: Service,
    router: Router,
    keys: KeyRing,
    clock: Arc<HeldClock>,
    dir: TempDir,
}

impl TestHost {
    /// Starts `host` with a fresh key and the default settings, but for rates of requests, as `edit` leaves them.
    ///
    /// # Errors
    /// As [`Host::into_router`].
    pub fn start(host: Host, edit: impl FnOnce(&mut Settings)) -> Result<Self> {
        let dir = tempfile::tempdir().map_err(|error| Error::internal("no temporary folder").with_source(error))?;
        let mut settings = Settings { data_dir: dir.path().to_path_buf().into(), ..Settings::default() };
        // A clock that stands still fills no bucket.
        settings.limits.requests_per_second = 0;
        settings.limits.principal_requests_per_second = 0;
        edit(&mut settings);
        let keys_dir = DataDir::open(dir.path())?.keys();
        generate_key(&keys_dir)?;
        let keys = KeyRing::from_dir(&keys_dir)?;
        let clock = Arc::new(HeldClock::at(NOW));
        let host = host.clock(Arc::clone(&clock));
        let (router, service) = host.clone().into_router(&settings)?;
        Ok(Self { host, settings, service, router, keys, clock, dir })
    }

    /// The same host on the same files after an orderly stop.
    ///
    /// # Errors
    /// As [`Host::into_router`].
    pub async fn restart(self) -> Result<Self> {
        let Self { host, settings, service, router, keys, clock, dir } = self;
        service.close().await;
        drop((service, router));
        let (router, service) = host.clone().into_router(&settings)?;
        Ok(Self { host, settings, service, router, keys, clock, dir })
    }

    /// Enters a tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when it is there.
    pub fn create_tenant(&self, tenant: &str) -> Result<()> {
        self.create_tenant_of(tenant, DEFAULT_CLASS)
    }

    /// Enters a tenant of a class.
    ///
    /// # Errors
    /// As [`TestHost::create_tenant`].
    pub fn create_tenant_of(&self, tenant: &str, class: &str) -> Result<()> {
        Catalog::open(&DataDir::open(self.dir.path())?)?.create(&TenantId::parse(tenant)?, class, &*self.clock)
    }

    /// A token with `read write` for an hour.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when `tenant` is no name.
    pub fn token(&self, tenant: &str) -> Result<String> {
        self.token_with(tenant, "read write", Duration::from_secs(3600))
    }

    /// A token with `scope` for `ttl`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when something of it is none.
    pub fn token_with(&self, tenant: &str, scope: &str, ttl: Duration) -> Result<String> {
        let request = TokenRequest {
            tenant: TenantId::parse(tenant)?,
            subject: "test".to_owned(),
            scope: scope.to_owned(),
            ttl,
            audience: None,
            epoch: None,
        };
        Ok(mint(&self.keys, &self.settings, &*self.clock, &request)?.token)
    }

    /// An opaque API key with `scope`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when `tenant` is no name.
    pub fn api_key(&self, tenant: &str, scope: &str, ttl: Option<Duration>) -> Result<String> {
        let (tenant, now) = (TenantId::parse(tenant)?, self.clock.unix_seconds());
        let key = NewApiKey::generate()?;
        let catalog = self.catalog()?;
        catalog.enter_api_key(&ApiKeyRecord {
            id: key.id,
            secret: key.secret,
            epoch: catalog.epoch(&tenant)?,
            tenant: tenant.to_string(),
            subject: "test".to_owned(),
            scope: scope.to_owned(),
            created_at: now,
            expires_at: ttl.map(|ttl| now + ttl.as_secs()),
        })?;
        Ok(key.text)
    }

    /// Takes one token or API key back, as `freehold token revoke` does. The host notices within a second.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is no token, or has no id.
    pub fn revoke(&self, token: &str) -> Result<()> {
        let told = look_into(token)?;
        let id = told["id"].as_str().ok_or_else(|| Error::invalid("this token has no id"))?;
        let issuer = told["claims"]["iss"].as_str().unwrap_or_default();
        let name = if told["kind"] == "key" { api_key_id(id) } else { token_id(issuer, id) };
        self.catalog()?.revoke(&name, u64::MAX >> 1, &*self.clock)
    }

    /// Takes every token of `tenant` back that was issued until now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such tenant.
    pub fn revoke_tenant(&self, tenant: &str) -> Result<()> {
        self.catalog()?.revoke_tenant(&TenantId::parse(tenant)?, &*self.clock)
    }

    /// Suspends `tenant`, or lets it be called again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such tenant.
    pub fn suspend(&self, tenant: &str, suspended: bool) -> Result<()> {
        self.catalog()?.suspend(&TenantId::parse(tenant)?, suspended)
    }

    fn catalog(&self) -> Result<Catalog> {
        Catalog::open(&DataDir::open(self.dir.path())?)
    }

    /// The router, to be asked without a port.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The admin listener's router, as whoever may reach it sees it.
    pub fn admin_router(&self) -> Router {
        self.service.admin_router()
    }

    /// The clock that tokens are checked by.
    #[must_use]
    pub fn clock(&self) -> &HeldClock {
        &self.clock
    }

    /// The folder that holds everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Sends one request.
    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        match self.router.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// Calls a tool as `tenant` with the 2026-07-28 wire and returns the JSON-RPC answer, whatever it is.
    ///
    /// # Panics
    /// When the answer is not JSON, or `tenant` is no name.
    pub async fn call(&self, tenant: &str, tool: &str, arguments: Value) -> Value {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let token = self.token(tenant).expect("a tenant's name");
        let request = Request::post("/mcp")
            .header("host", self.settings.listen.to_string())
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(Body::from(body.to_string()))
            .expect("a request");
        let body = self.send(request).await.into_body().collect().await.expect("a body").to_bytes();
        serde_json::from_slice(&body).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&body)))
    }

    /// The tenant itself, past HTTP and with every right.
    ///
    /// # Errors
    /// As a request of that tenant would get.
    pub async fn tenant(&self, tenant: &str) -> Result<Tenant> {
        self.service.tenant(&TenantId::parse(tenant)?).await
    }

    /// How many tenants are open: in use, or idle and not hibernated yet.
    #[must_use]
    pub fn open_tenants(&self) -> usize {
        self.service.open_tenants()
    }

    /// Stops in order: every file is checkpointed and closed.
    pub async fn close(self) {
        self.service.close().await;
    }
}
