//! What a tenant uses of what it may, as a model sees it: the answer of `tenant_status` and `tenant://usage`.

use std::collections::BTreeMap;

use rmcp::schemars::{self, JsonSchema};
use serde::Serialize;

use crate::error::Result;
use crate::store::usage::UsageDay;
use crate::tenant::{Tenant, Usage, Used};

/// What is used, and today's calls.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    /// Of the server.
    version: &'static str,
    /// By name.
    usage: BTreeMap<&'static str, Measure>,
    /// Calls so far, since midnight UTC.
    today: Today,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Measure {
    used: u64,
    /// Absent where only the size of the database bounds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Today {
    calls: u64,
    refused: u64,
    failed: u64,
    rows: u64,
    bytes_in: u64,
    bytes_out: u64,
    call_ms: u64,
    sql_ms: u64,
}

/// What the tenant uses now.
pub(super) async fn read(tenant: &Tenant) -> Result<Status> {
    let Usage {
        database_bytes,
        schema_objects,
        kv_keys,
        memory_notes,
        reminders,
        inbox,
        checkpoints,
        checkpoint_bytes,
        sessions,
        tasks,
        handles,
        today,
    } = tenant.usage().await?;
    let bound = |Used { used, limit, .. }: Used| Measure { used, limit: Some(limit) };
    let free = |used| Measure { used, limit: None };
    let usage = BTreeMap::from([
        ("database_bytes", bound(database_bytes)),
        ("schema_objects", bound(schema_objects)),
        ("kv_keys", free(kv_keys)),
        ("memory_notes", free(memory_notes)),
        ("reminders", bound(reminders)),
        ("inbox", bound(inbox)),
        ("checkpoints", bound(checkpoints)),
        ("checkpoint_bytes", bound(checkpoint_bytes)),
        ("sessions", bound(sessions)),
        ("tasks", bound(tasks)),
        ("handles", bound(handles)),
    ]);
    let UsageDay { calls, refused, failed, rows, bytes_in, bytes_out, call_us, sql_us, .. } = today;
    let today =
        Today { calls, refused, failed, rows, bytes_in, bytes_out, call_ms: call_us / 1_000, sql_ms: sql_us / 1_000 };
    Ok(Status { version: env!("CARGO_PKG_VERSION"), usage, today })
}
