//! What a tenant uses of what it may.

use serde::Serialize;
use serde_json::{Value, json};

use crate::db::Mode;
use crate::error::Result;
use crate::tenant::Tenant;

#[derive(Debug, Serialize)]
pub(super) struct Usage {
    database_bytes: Value,
}

pub(super) async fn read(tenant: &Tenant) -> Result<Usage> {
    let most = tenant.limits().database_bytes.as_u64();
    let used = tenant.read_as(Mode::Host, crate::store::meta::file_bytes).await?;
    Ok(Usage { database_bytes: json!({ "used": used, "limit": most }) })
}
