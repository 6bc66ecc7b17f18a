//! What a connection knows of its schema from one statement to the next: which full-text tables there are. It is read
//! anew when the schema is another, whoever changed it, and costs one look at the file's first page when it is not.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::Searched;
use crate::error::Result;

/// Which schema it was. Its version in the file alone would not do: what is rolled back takes its version back, and the
/// next change gets the same one.
type Schema = (i64, u64);

/// What one connection knows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Changes of the schema that were let through on this connection, done or not.
    changes: AtomicU64,
    last: Mutex<Option<(Schema, Arc<Searched>)>>,
}

thread_local! {
    /// Of the connection that this thread works on.
    static PRESENT: RefCell<Option<Known>> = const { RefCell::new(None) };
}

impl Known {
    /// A statement is let through that changes the schema.
    pub(super) fn schema_changes(&self) {
        self.0.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `work` on the connection that this is known of.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Back(Option<Known>);
        impl Drop for Back {
            fn drop(&mut self) {
                PRESENT.replace(self.0.take());
            }
        }
        let _back = Back(PRESENT.replace(Some(self.clone())));
        work()
    }

    fn searched(&self, conn: &Connection) -> Result<Arc<Searched>> {
        // Of the transaction that `conn` is in, as all that follows in it.
        let version = conn.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        let schema = (version, self.0.changes.load(Ordering::Relaxed));
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, searched)) = &*last
            && *known == schema
        {
            return Ok(Arc::clone(searched));
        }
        let searched = Arc::new(Searched::of(conn)?);
        *last = Some((schema, Arc::clone(&searched)));
        Ok(searched)
    }
}

/// The full-text tables that `conn` sees, on which this thread works.
///
/// # Errors
/// What SQLite says.
pub(crate) fn searched(conn: &Connection) -> Result<Arc<Searched>> {
    match PRESENT.with_borrow(Clone::clone) {
        Some(known) => known.searched(conn),
        None => Searched::of(conn).map(Arc::new),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::{Connection, StatementStatus};
    use tempfile::TempDir;

    use super::super::authorizer::{Authorizer, Mode};
    use super::{Searched, searched};

    const DOCS: &str = "CREATE VIRTUAL TABLE docs USING fts5 (body)";
    const SEEK: &str = "SELECT docs = 'x' FROM docs";

    struct Conn {
        conn: Connection,
        authorizer: Authorizer,
    }

    impl Conn {
        fn open(dir: &TempDir) -> Self {
            let conn = Connection::open(dir.path().join("tenant.db")).expect("a file");
            conn.pragma_update(None, "journal_mode", "wal").expect("a log");
            let authorizer = Authorizer::install(&conn).expect("an authorizer");
            Self { conn, authorizer }
        }

        fn during<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
            self.authorizer.during(Mode::Tenant, || Ok(work(&self.conn))).expect("done")
        }

        fn known(&self) -> Arc<Searched> {
            self.during(|conn| searched(conn).expect("read"))
        }

        /// Whether it knows that `docs` is searched.
        fn knows(&self) -> bool {
            self.known().check(SEEK).is_err()
        }
    }

    fn two() -> (TempDir, Conn, Conn) {
        let dir = tempfile::tempdir().expect("a folder");
        let (writer, reader) = (Conn::open(&dir), Conn::open(&dir));
        writer.conn.execute_batch("CREATE TABLE t (x)").expect("made");
        (dir, writer, reader)
    }

    #[test]
    fn it_is_read_once_as_long_as_the_schema_is_the_same() {
        let (_dir, writer, reader) = two();
        for conn in [&writer, &reader] {
            let first = conn.known();
            writer.conn.execute_batch("INSERT INTO t VALUES (1)").expect("written");
            assert!(Arc::ptr_eq(&first, &conn.known()), "read again");
        }
        // What a statement then costs, in SQLite's steps, beside what it cost.
        let objects: String = (0..100).map(|number| format!("CREATE TABLE t{number} (x);")).collect();
        writer.conn.execute_batch(&objects).expect("made");
        let steps = |sql: &str| {
            let mut statement = writer.conn.prepare(sql).expect("prepared");
            let mut rows = statement.query([]).expect("run");
            while rows.next().expect("a row").is_some() {}
            drop(rows);
            statement.get_status(StatementStatus::VmStep)
        };
        let (kept, read) = (steps("PRAGMA schema_version"), steps(Searched::LISTED));
        assert!(kept * 50 < read, "{kept} steps against {read}");
    }

    #[test]
    fn a_table_of_another_connection_is_known() {
        let (_dir, writer, reader) = two();
        assert!(!reader.knows());
        writer.conn.execute_batch(DOCS).expect("made");
        assert!(reader.knows() && writer.knows());
        writer.conn.execute_batch("DROP TABLE docs").expect("dropped");
        assert!(!reader.knows() && !writer.knows());
    }

    #[test]
    fn a_reader_knows_what_it_sees() {
        let (_dir, writer, reader) = two();
        reader.conn.execute_batch("BEGIN; SELECT * FROM t").expect("a view");
        assert!(!reader.knows());
        writer.conn.execute_batch(DOCS).expect("made");
        assert!(!reader.knows(), "it is not there in what it sees");
        reader.conn.execute_batch("END").expect("ended");
        assert!(reader.knows());
    }

    #[test]
    fn within_one_call_each_statement_knows_what_those_before_it_made() {
        let (_dir, writer, _) = two();
        writer.during(|conn| {
            let knows = || searched(conn).expect("read").check(SEEK).is_err();
            assert!(!knows());
            conn.execute_batch(DOCS).expect("made");
            assert!(knows());
            conn.execute_batch("ALTER TABLE docs RENAME TO papers").expect("renamed");
            let known = searched(conn).expect("read");
            assert!(!knows() && known.check("SELECT papers = 'x' FROM papers").is_err());
            conn.execute_batch("ALTER TABLE papers RENAME TO docs").expect("renamed");
            assert!(knows());
        });
    }

    /// The version of a schema that is rolled back is given to the next one.
    #[test]
    fn what_was_rolled_back_is_forgotten() {
        for (undo, redo) in [("ROLLBACK TO s", ""), ("ROLLBACK", "BEGIN; SAVEPOINT s")] {
            let (_dir, writer, _) = two();
            let version =
                || writer.conn.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0)).expect("one");
            let say = |sql: &str| writer.conn.execute_batch(sql).expect("done");
            say("BEGIN; SAVEPOINT s");
            say(DOCS);
            let made = version();
            say(undo);
            say(redo);
            // Another one of that version, and the first again.
            for number in 0.. {
                if version() == made {
                    break;
                }
                say(&format!("CREATE TABLE t{number} (x)"));
            }
            assert!(!writer.knows());
            say(undo);
            say(redo);
            say(DOCS);
            assert!(version() == made && writer.knows(), "{undo}");
        }
    }
}
