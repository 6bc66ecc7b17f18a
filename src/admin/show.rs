//! One tenant as it is now: its standing, its size, its use.

use serde_json::{Value, json};

use super::{Admin, Parts};
use crate::clock::rfc3339;
use crate::db::{look_into, sizes};
use crate::error::{ErrorKind, Result};
use crate::id::TenantId;
use crate::store::present;

impl Admin {
    /// Class and standing, whether it is open, what it takes on disk, its sessions, and when it was last called.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(crate) async fn show(&self, tenant: TenantId) -> Result<Value> {
        let open = self.0.tenants.open_one(&tenant).is_some();
        self.run(move |parts| {
            let mut told = parts.catalog.tenant(&tenant)?.told();
            told["open"] = json!(open);
            parts.use_of(&tenant, &mut told)?;
            Ok(told)
        })
        .await
    }
}

impl Parts {
    fn use_of(&self, tenant: &TenantId, told: &mut Value) -> Result<()> {
        let sizes = sizes(&self.dir, tenant)?;
        told["database_bytes"] = json!(sizes.database);
        told["log_bytes"] = json!(sizes.log);
        told["restore_bytes"] = json!(sizes.restore);
        let class = told["class"].as_str().unwrap_or_default();
        if let Ok(class) = self.settings().class(class) {
            told["database_bytes_max"] = json!(class.limits.database_bytes.as_u64());
        }
        let conn = match look_into(&self.dir, tenant) {
            Ok(conn) => conn,
            // Nobody has called it yet.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        told["sessions"] = json!(present::sessions(&conn)?);
        // Where no journal is kept the file itself tells when it was last written.
        let used = match present::last_call(&conn)? {
            Some(at_ms) => Some(at_ms / 1_000),
            None => sizes.written_at,
        };
        told["last_used_at"] = json!(used.map(rfc3339));
        Ok(())
    }
}
