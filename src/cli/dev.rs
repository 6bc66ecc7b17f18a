//! `serve --dev`: everything that a first try needs, made on the spot, and the lines to paste.

use std::time::Duration;

use serde_json::{Value, json};

use super::{data_dir, say};
use crate::auth::{TokenRequest, generate_key, list_keys, mint};
use crate::catalog::Catalog;
use crate::clock::SystemClock;
use crate::config::{AllowedOrigin, DEFAULT_CLASS, Pack, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::host::keys_of;
use crate::id::TenantId;

const TENANTS: [&str; 2] = ["acme", "globex"];
const TTL: Duration = Duration::from_secs(24 * 3600);

/// Lets in what a first try needs: further tenants come with their first request, and the page under development
/// may run on any port of this machine.
///
/// # Errors
/// [`ErrorKind::Invalid`] when others could come in too.
pub(super) fn loosen(settings: &mut Settings) -> Result<()> {
    if !settings.listen.ip().is_loopback() {
        return Err(Error::invalid("--dev prints tokens and creates tenants: it serves loopback only"));
    }
    settings.tenants.auto_create = true;
    settings.cors.allowed_origins.extend(AllowedOrigin::loopback());
    Ok(())
}

/// Makes what is missing: a key, the two tenants.
pub(super) fn prepare(settings: &Settings) -> Result<()> {
    let dir = data_dir(settings)?;
    if settings.auth.hs256_secret_file.is_none() && list_keys(&dir.keys())?.is_empty() {
        generate_key(&dir.keys())?;
    }
    let catalog = Catalog::open(&dir)?;
    for tenant in TENANTS {
        match catalog.create(&TenantId::parse(tenant)?, DEFAULT_CLASS, &SystemClock) {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Prints a token and a curl line of each generation for each tenant.
pub(super) fn greet(settings: &Settings) -> Result<()> {
    let keys = keys_of(settings, &data_dir(settings)?)?;
    for tenant in TENANTS {
        let request = TokenRequest {
            tenant: TenantId::parse(tenant)?,
            subject: "dev".to_owned(),
            scope: "read write".to_owned(),
            ttl: TTL,
            audience: None,
            epoch: None,
        };
        let token = mint(&keys, settings, &SystemClock, &request)?.token;
        say(format_args!("\n# tenant {tenant}, good for 24 hours\n{token}"))?;
        say(format_args!(
            "\n# clients up to 2025-11-25: open a session\n{}",
            curl(settings, &token, &[], &initialize())
        ))?;
        let (headers, body) = modern(settings);
        say(format_args!("\n# clients from 2026-07-28: just call\n{}", curl(settings, &token, &headers, &body)))?;
    }
    Ok(())
}

fn curl(settings: &Settings, token: &str, headers: &[String], body: &Value) -> String {
    let mut line = format!("curl -s -i -X POST http://{}/mcp \\\n", settings.listen);
    let fixed = [
        format!("Authorization: Bearer {token}"),
        "Content-Type: application/json".to_owned(),
        "Accept: application/json, text/event-stream".to_owned(),
    ];
    for header in fixed.iter().chain(headers) {
        line.push_str(&format!("  -H \"{header}\" \\\n"));
    }
    line.push_str(&format!("  -d '{body}'"));
    line
}

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "curl", "version": "0" },
    }})
}

fn modern(settings: &Settings) -> (Vec<String>, Value) {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "curl", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let header = |name: &str, value: &str| format!("{name}: {value}");
    let mut headers = vec![header("MCP-Protocol-Version", "2026-07-28")];
    let (method, params) = if settings.packs.contains(&Pack::Sql) {
        headers.extend([header("Mcp-Method", "tools/call"), header("Mcp-Name", "sql_query")]);
        let arguments = json!({ "sql": "SELECT sqlite_version() AS version" });
        ("tools/call", json!({ "name": "sql_query", "arguments": arguments, "_meta": meta }))
    } else {
        headers.push(header("Mcp-Method", "tools/list"));
        ("tools/list", json!({ "_meta": meta }))
    };
    (headers, json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }))
}
