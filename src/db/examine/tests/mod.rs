//! Files as SQLite writes them, as nobody should write them, and as chance writes them.

mod chance;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use rusqlite::Connection;
use tempfile::TempDir;

use super::Examination;
use crate::config::{Durability, Limits};
use crate::db::open::connect;
use crate::db::{Migration, Migrations};
use crate::error::{Error, ErrorKind, Result};

const WITHIN: Duration = Duration::from_secs(60);
/// Of everything that SQLite has, a little.
const SCHEMA: &str = "
    CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL CHECK (length(body) < 1000),
        size INTEGER AS (length(body)) STORED, kind TEXT DEFAULT 'a''b' /* of which */ COLLATE NOCASE);
    CREATE UNIQUE INDEX note_body ON note (body, lower(kind)) WHERE kind IS NOT NULL;
    CREATE TABLE [a \"table\"] (\"x y\" PRIMARY KEY, `z`, FOREIGN KEY (z) REFERENCES note) WITHOUT ROWID;
    CREATE VIEW long_note (id) AS SELECT id FROM note WHERE size > 20;
    CREATE TRIGGER on_note AFTER UPDATE OF body ON note WHEN new.id > 0 BEGIN DELETE FROM [a \"table\"]; END;
    CREATE TRIGGER on_view INSTEAD OF INSERT ON long_note BEGIN INSERT INTO note (body) VALUES ('v'); END;
    CREATE VIRTUAL TABLE word USING fts5 (body, content = note, content_rowid = id, tokenize = 'porter unicode61');
    CREATE VIRTUAL TABLE doc USING fts5 (title, body, prefix = '2 3');
    ALTER TABLE doc RENAME TO document;
    CREATE VIRTUAL TABLE place USING rtree (id, x0, x1);
    ALTER TABLE note ADD COLUMN late INTEGER DEFAULT 7;
    WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 300)
        INSERT INTO note (body, kind) SELECT hex(randomblob(n % 40)) || n, CASE WHEN n % 3 THEN 'k' || n END FROM c;
    INSERT INTO word (word) VALUES ('rebuild');
    INSERT INTO document SELECT kind, body FROM note;
    INSERT INTO place SELECT id, id, id + 1 FROM note;
    INSERT INTO [a \"table\"] SELECT body, id FROM note WHERE id % 7;
    DELETE FROM note WHERE id % 7 = 0;
    INSERT INTO word (word) VALUES ('rebuild');
    CREATE VIEW stale AS SELECT * FROM gone;
    ANALYZE;
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("a file, 100 % new?.db")
    }

    /// A file of a stranger's that bears SCHEMA, made with `first` in force.
    fn plain(&self, first: &str) -> PathBuf {
        let conn = Connection::open(self.path()).expect("a database");
        conn.execute_batch(first).expect(first);
        conn.execute_batch(SCHEMA).expect("a schema");
        conn.close().expect("closed");
        self.path()
    }

    /// A tenant's file, as the host leaves it.
    fn tenants(&self) -> PathBuf {
        let mut conn = connect(&self.path(), Durability::Normal).expect("a database");
        Migrations::of_host().apply(&mut conn).expect("migrations");
        conn.execute_batch(SCHEMA).expect("a schema");
        conn.close().expect("closed");
        self.path()
    }
}

fn look(path: &Path) -> Result<()> {
    look_with(path, &Limits::default(), Vec::new())
}

fn look_with(path: &Path, limits: &Limits, app: Vec<Migration>) -> Result<()> {
    Examination { limits, app: &Migrations::of_app(app), within: WITHIN }.look_at(path)
}

/// What a look at it says, after `sql` by somebody who may do anything.
fn spoilt(path: &Path, sql: &str) -> Error {
    let conn = Connection::open(path).expect("a database");
    conn.execute_batch("PRAGMA writable_schema = ON").expect("a setting");
    conn.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    conn.close().expect("closed");
    look(path).expect_err(sql)
}

#[track_caller]
fn refused(sql: &str, said: &str) {
    let folder = Folder::new();
    let error = spoilt(&folder.tenants(), sql);
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.to_string().contains(said), "{error:?}");
    assert!(!error.to_string().contains(folder.0.path().to_str().expect("text")), "{error:?}");
}

#[test]
fn what_sqlite_writes_is_taken() {
    for first in [
        "",
        "PRAGMA page_size = 512",
        "PRAGMA page_size = 65536",
        "PRAGMA auto_vacuum = FULL",
        "PRAGMA auto_vacuum = INCREMENTAL",
        "PRAGMA encoding = 'UTF-16le'",
        "PRAGMA journal_mode = WAL",
        "PRAGMA application_id = 0x46486462; PRAGMA user_version = 77",
    ] {
        let folder = Folder::new();
        look(&folder.plain(first)).unwrap_or_else(|error| panic!("{first}: {error:?}"));
    }
    look(&Folder::new().tenants()).expect("a tenant's own file");
    let folder = Folder::new();
    Connection::open(folder.path()).expect("a database").execute_batch("PRAGMA user_version = 1").expect("a page");
    look(&folder.path()).expect("an empty database");
}

#[test]
fn the_program_s_own_tables_are_taken_as_it_makes_them_and_not_otherwise() {
    let step = |sql: &'static str| Migration { name: "own".into(), sql: sql.into() };
    let app = vec![
        step("CREATE VIRTUAL TABLE old USING fts4 (body); CREATE TABLE own (j CHECK (json_patch(j, '{}') <> ''))"),
        step("ALTER TABLE own ADD COLUMN k"),
    ];
    for steps in 0..=2 {
        let folder = Folder::new();
        let mut conn = connect(&folder.path(), Durability::Normal).expect("a database");
        Migrations::of_host().apply(&mut conn).expect("migrations");
        Migrations::of_app(app[..steps].to_vec()).apply(&mut conn).expect("migrations");
        conn.close().expect("closed");
        look_with(&folder.path(), &Limits::default(), app.clone()).expect("of this program");
        let elsewhere = look(&folder.path());
        assert_eq!(elsewhere.is_ok(), steps == 0, "{elsewhere:?}");
    }
    let folder = Folder::new();
    Connection::open(folder.path()).expect("a database").execute_batch("CREATE TABLE Own (j)").expect("a table");
    look(&folder.path()).expect("a plain table");
    let taken = look_with(&folder.path(), &Limits::default(), app).expect_err("its place is taken");
    assert!(taken.to_string().contains("rename it"), "{taken:?}");
}

#[test]
fn what_is_no_whole_database_is_refused() {
    let folder = Folder::new();
    let path = folder.plain("");
    let whole = fs::read(&path).expect("a file");
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        edit(&mut bytes);
        fs::write(&path, bytes).expect("a file");
        look(&path)
    };
    let set = |at: usize, value: &'static [u8]| {
        with(&move |bytes| bytes[at..at + value.len()].copy_from_slice(value)).map_err(|error| error.to_string())
    };
    with(&|_| {}).expect("whole");
    for cut in [0, 1, 16, 99, 100, 511, 4_095, 4_096, 4_097, whole.len() - 4_096, whole.len() - 1] {
        let error = with(&|bytes| bytes.truncate(cut)).expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{cut}: {error:?}");
    }
    assert!(set(0, b"SQLite format 4").is_err_and(|said| said.contains("no SQLite database")));
    for size in [[0, 0], [0, 2], [1, 0], [2, 1], [0xff, 0xff], [0x80, 0], [0x20, 0]] {
        let error = with(&|bytes| bytes[16..18].copy_from_slice(&size)).expect_err("a page size");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{size:?}: {error:?}");
    }
    assert!(set(18, &[3, 3]).is_err_and(|said| said.contains("does not know")));
    assert!(set(20, &[255]).is_err());
    assert!(set(21, &[63]).is_err());
    assert!(set(44, &[0, 0, 0, 9]).is_err());
    assert!(set(56, &[0, 0, 0, 4]).is_err());
    // A file in WAL mode may be one that nobody has a log of.
    set(18, &[2, 2]).expect("in WAL mode");
    for beside in ["-wal", "-journal"] {
        let mut name = path.clone().into_os_string();
        name.push(beside);
        fs::write(&name, "pages").expect("a file");
        assert!(look(&path).is_err_and(|error| error.to_string().contains("VACUUM INTO")));
        fs::write(&name, "").expect("a file");
        look(&path).expect("an empty log holds nothing");
    }
    let link = folder.0.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(look(&link).is_err() && look(folder.0.path()).is_err());
    assert_eq!(look(&folder.0.path().join("none")).expect_err("none").kind(), ErrorKind::Unavailable);
}

#[test]
fn a_freelist_that_goes_round_is_seen() {
    let folder = Folder::new();
    let path = folder.plain("");
    Connection::open(&path).expect("a database").execute_batch("DROP TABLE [a \"table\"]").expect("free pages");
    let mut bytes = fs::read(&path).expect("a file");
    let trunk = u32::from_be_bytes(bytes[32..36].try_into().expect("four bytes"));
    assert!(trunk > 0, "nothing is free");
    let at = (trunk as usize - 1) * 4_096;
    bytes[at..at + 4].copy_from_slice(&trunk.to_be_bytes());
    fs::write(&path, bytes).expect("a file");
    assert!(look(&path).is_err_and(|error| error.kind() == ErrorKind::Invalid));
}

#[test]
fn nobody_makes_or_changes_what_is_the_host_s() {
    refused("CREATE TABLE _fh_mine (n)", "not what the host makes");
    refused("CREATE TABLE _FH_MINE (n)", "not what the host makes");
    let altered = "UPDATE sqlite_schema SET sql = replace(sql, 'expires_at INTEGER', 'expires_at INTEGER, more ANY') \
        WHERE name = '_fh_kv'";
    refused(altered, "not what the host makes");
    refused("DROP TABLE _fh_inbox", "is missing");
    refused("DROP INDEX _fh_kv_by_expiry", "is missing");
    refused("CREATE INDEX mine ON _fh_kv (value)", "belong to the host");
    refused("CREATE TRIGGER mine AFTER INSERT ON _fh_kv BEGIN SELECT 1; END", "belong to the host");
    refused("CREATE TRIGGER mine AFTER DELETE ON note BEGIN UPDATE _fh_kv SET value = ''; END", "belong to the host");
    refused("CREATE VIEW mine AS SELECT id FROM _fh_session", "belong to the host");
    refused(
        "UPDATE sqlite_schema SET sql = replace(sql, 'version INTEGER', 'version INTEGER AS (json_patch(1, 2))') \
         WHERE name = '_fh_migration'",
        "",
    );
}

#[test]
fn a_newer_file_is_left_alone() {
    let folder = Folder::new();
    let newer = spoilt(&folder.tenants(), "INSERT INTO _fh_migration VALUES ('host', 9999, 'later', 0)");
    assert_eq!(newer.kind(), ErrorKind::Unavailable, "{newer:?}");
    assert!(newer.to_string().contains("newer program"), "{newer:?}");
}

#[test]
fn what_an_agent_may_not_make_is_refused() {
    refused("CREATE TABLE bad (j, k AS (json_patch(j, j)))", "json_patch");
    refused("CREATE TABLE bad (j CHECK (json_patch(j, j) <> ''))", "json_patch");
    refused("CREATE INDEX bad ON note (body) WHERE json_patch('{}', '{}') = body", "json_patch");
    refused("CREATE VIEW bad AS SELECT json_patch(body, body) FROM note", "json_patch");
    refused("CREATE TRIGGER bad AFTER DELETE ON note BEGIN SELECT json_patch(1, 2); END", "json_patch");
    refused("CREATE VIRTUAL TABLE bad USING fts5 (body, tokenize = 'trigram')", "trigram");
    refused("CREATE VIEW bad AS SELECT 1 FROM document WHERE document MATCH (SELECT body FROM note)", "MATCH");
    refused("CREATE VIRTUAL TABLE bad USING fts4 (body)", "only fts5 and rtree");
    refused("CREATE VIRTUAL TABLE bad USING fts5vocab (document, row)", "only fts5 and rtree");
    refused("CREATE VIRTUAL TABLE bad USING dbstat", "only fts5 and rtree");
    let columns: Vec<_> = (0..150).map(|at| format!("c{at}")).collect();
    refused(&format!("CREATE TABLE bad ({})", columns.join(", ")), "too many columns");
    let views: Vec<_> =
        (1..25).map(|at| format!("CREATE VIEW v{at} AS SELECT a.n FROM v{0} a, v{0} b", at - 1)).collect();
    let doubling = format!("CREATE VIEW v0 AS SELECT 1 AS n; {}", views.join("; "));
    let folder = Folder::new();
    let error = spoilt(&folder.plain(""), &doubling);
    assert_eq!(error.bound().map(|bound| bound.name), Some("unfolded"), "{error:?}");
    let folder = Folder::new();
    let path = folder.plain("");
    let circle = "CREATE VIEW a AS SELECT * FROM b; CREATE VIEW b AS SELECT * FROM a";
    Connection::open(&path).expect("a database").execute_batch(circle).expect("views");
    look(&path).expect("SQLite sees that they go round");
}

#[test]
fn a_schema_that_lies_is_refused() {
    let lie = |set: &str| refused(&format!("UPDATE sqlite_schema SET {set} WHERE name = 'note'"), "");
    lie("name = 'other'");
    lie("tbl_name = 'other'");
    lie("type = 'view'");
    lie("type = 'nothing'");
    lie("name = NULL");
    lie("name = x'ff'");
    lie("sql = 'CREATE TABLE note (id, body'");
    lie("sql = 'CREATE TABLE other (id, body)'");
    lie("sql = 'INSERT INTO note (body) VALUES (1)'");
    lie("sql = 'ATTACH ''x'' AS y'");
    lie("sql = sql || '; DROP TABLE word'");
    lie("sql = 'CREATE VIRTUAL TABLE note USING fts5 (body)'");
    lie("rootpage = 0");
    lie("rootpage = 2");
    lie("rootpage = 4000000");
    refused("DELETE FROM sqlite_schema WHERE name = 'sqlite_sequence'", "");
    refused("DELETE FROM sqlite_schema WHERE name = 'document_data'", "");
    refused("UPDATE sqlite_schema SET sql = 'CREATE TABLE document_data (id, block)' WHERE name = 'document_data'", "");
    refused(
        "INSERT INTO sqlite_schema SELECT type, 'twice', tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'note'",
        "",
    );
    refused(
        "INSERT INTO sqlite_schema VALUES ('table', 'sqlite_more', 'sqlite_more', 2, 'CREATE TABLE sqlite_more(a)')",
        "",
    );
}

#[test]
fn what_the_planner_is_told_may_be_wrong() {
    let folder = Folder::new();
    let path = folder.plain("");
    let conn = Connection::open(&path).expect("a database");
    conn.execute_batch(
        "UPDATE sqlite_stat1 SET stat = '-1 99999999999999999999 x unordered sz=0';
         UPDATE sqlite_stat4 SET sample = randomblob(50), neq = 'x', nlt = '-5', ndlt = NULL;
         INSERT INTO sqlite_stat4 SELECT tbl, idx, neq, nlt, ndlt, x'ffffffffffffffffff' FROM sqlite_stat4",
    )
    .expect("statistics");
    conn.close().expect("closed");
    look(&path).expect("plans are slow by that, and nothing else");
}

#[test]
fn bounds_hold() {
    let folder = Folder::new();
    let path = folder.plain("");
    let bound = |limits: Limits, within: Duration| {
        let held = Examination { limits: &limits, app: &Migrations::of_app(Vec::new()), within };
        let error = held.look_at(&path).expect_err("a bound");
        assert_eq!(error.kind(), ErrorKind::Limit, "{error:?}");
        error.bound().expect("a bound").name
    };
    let small = Limits { database_bytes: ByteSize::kib(8), ..Limits::default() };
    assert_eq!(bound(small, WITHIN), "database_bytes");
    let few = Limits { schema_objects: 20, ..Limits::default() };
    assert_eq!(bound(few, WITHIN), "schema_objects");
    assert_eq!(bound(Limits::default(), Duration::ZERO), "statement_deadline");
    let conn = Connection::open(&path).expect("a database");
    conn.execute_batch("CREATE TABLE many (v); INSERT INTO many SELECT zeroblob(2000000)").expect("a large value");
    conn.execute_batch("CREATE INDEX many_v ON many (v)").expect("an index");
    assert_eq!(bound(Limits::default(), WITHIN), "value_bytes");
}

#[test]
fn a_copy_is_private_and_a_refused_one_is_gone() {
    let folder = Folder::new();
    let path = folder.plain("");
    let (limits, app) = (Limits::default(), Migrations::of_app(Vec::new()));
    let held = Examination { limits: &limits, app: &app, within: WITHIN };
    let to = folder.0.path().join("copy");
    held.take_in(&path, &to).expect("a copy");
    assert_eq!(fs::metadata(&to).expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&to).expect("a file"), fs::read(&path).expect("a file"));
    assert_eq!(held.take_in(&path, &to).expect_err("it is there").kind(), ErrorKind::Conflict);
    fs::remove_file(&to).expect("removed");
    let small = Limits { database_bytes: ByteSize::kib(8), ..Limits::default() };
    let held = Examination { limits: &small, app: &app, within: WITHIN };
    assert!(held.take_in(&path, &to).is_err() && !to.exists());
    fs::write(&path, "none").expect("a file");
    assert!(held.take_in(&path, &to).is_err() && !to.exists());
}
