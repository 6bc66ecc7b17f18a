//! A look into a tenant's file from another process than the one that serves it.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::DataDir;
use super::open::{flags, settle};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TenantId;

/// `tenant`'s file, to be read. A running host goes on beside it.
///
/// # Errors
/// [`ErrorKind::NotFound`]: it has none yet; [`ErrorKind::Unavailable`]: it can't be opened.
pub(crate) fn look_into(dir: &DataDir, tenant: &TenantId) -> Result<Connection> {
    let path = dir.tenant_dir(tenant).join("tenant.db");
    if !path.is_file() {
        return Err(Error::new(ErrorKind::NotFound, format!("tenant {tenant} has no file yet: nobody has called it")));
    }
    let unusable = |error| Error::new(ErrorKind::Unavailable, "the tenant's file can't be read").with_source(error);
    let conn = Connection::open_with_flags(path, flags() - OpenFlags::SQLITE_OPEN_CREATE).map_err(unusable)?;
    settle(&conn).map_err(unusable)?;
    conn.pragma_update(None, "query_only", true).map_err(unusable)?;
    // The last one to close copies the log into the file: that is its owner's business, who keeps it first.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(unusable)?;
    Ok(conn)
}
