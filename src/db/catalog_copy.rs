//! A copy of the host's own database for elsewhere: without what follows from tenants' files, and no larger than what
//! is in it.

use aws_lc_rs::digest;
use rusqlite::types::ValueRef;

use super::{Staged, Staging, open_catalog_with, pause};
use crate::config::Durability;
use crate::error::Result;

/// What is in the copy.
const TABLES: [&str; 5] = ["tenant", "tombstone", "revocation", "api_key", "issued_token"];

impl Staging {
    /// The catalog as its last commit left it, and what tells whether it is another than it was. Blocking: on the
    /// executor.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable): no room on the disk; what SQLite says.
    pub(crate) fn copy_of_catalog(&self) -> Result<(Staged, Vec<u8>)> {
        let source = open_catalog_with(self.dir(), Durability::Normal)?;
        let (staged, file) = self.receive()?;
        staged.fill(&source, file)?;
        drop(source);
        let copy = rusqlite::Connection::open(staged.path())?;
        // Rewritten, so that nothing that was deleted is left between the rows.
        pause::on_disk(|| {
            copy.execute_batch(
                "PRAGMA journal_mode = memory; DELETE FROM wake; DELETE FROM tenant_schema;
                 VACUUM;",
            )
        })?;
        let mut print = digest::Context::new(&digest::SHA256);
        for table in TABLES {
            print.update(table.as_bytes());
            let mut rows = copy.prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
            let columns = rows.column_count();
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    match row.get_ref(column)? {
                        ValueRef::Null => print.update(b"n"),
                        ValueRef::Integer(number) => print.update(&number.to_le_bytes()),
                        ValueRef::Real(number) => print.update(&number.to_le_bytes()),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                            print.update(&(bytes.len() as u64).to_le_bytes());
                            print.update(bytes);
                        }
                    }
                }
            }
        }
        Ok((staged, print.finish().as_ref().to_vec()))
    }
}
