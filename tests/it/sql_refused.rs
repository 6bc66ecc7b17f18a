//! SQL that is none of a tenant's business: refused with a reason, and nothing moved by it.

use freehold::TestHost;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::{content, plain, refusal, start, tree};

async fn query(host: &TestHost, sql: &str) -> Value {
    host.call("a", "sql_query", json!({ "sql": sql })).await
}

async fn execute(host: &TestHost, sql: &str) -> Value {
    host.call("a", "sql_execute", json!({ "statements": [{ "sql": sql }] })).await
}

/// Sends each by both tools; both refuse with words, and files and schema stay as they are.
async fn refuse_all(host: &TestHost, statements: &[&str]) {
    let schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY name";
    let before = (tree(host.dir()), content(&query(host, schema).await)["rows"].clone());
    for sql in statements {
        for answer in [execute(host, sql).await, query(host, sql).await] {
            assert!(answer["result"]["isError"] == true, "{sql}: {answer}");
            assert!(refusal(&answer).len() > 10, "{sql}: {answer}");
        }
        assert_eq!(content(&query(host, schema).await)["rows"], before.1, "{sql}");
    }
    assert_eq!(tree(host.dir()), before.0);
    content(&execute(host, "INSERT INTO t VALUES (1)").await);
}

async fn prepared() -> TestHost {
    let host = plain(&["a"], |_| {});
    content(&execute(&host, "CREATE TABLE t (n)").await);
    content(&execute(&host, "INSERT INTO t VALUES (7)").await);
    host
}

#[tokio::test]
async fn other_files_are_out_of_reach() {
    let host = prepared().await;
    let statements = [
        "ATTACH 'x.db' AS x",
        "attach ':memory:' as x",
        "ATTACH 'file:x.db?mode=ro' AS x",
        "/* a */ATTACH/* b */DATABASE 'x' || '.db' AS x",
        "EXPLAIN ATTACH 'x.db' AS x",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO 'x.db'",
        "SELECT load_extension('x')",
        "SELECT LOAD_EXTENSION('x', 'y')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('x', 'y')",
        "SELECT edit('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('simple', x'0000000000000000')",
        "CREATE VIRTUAL TABLE x USING csv (filename = '/etc/passwd')",
        "CREATE VIRTUAL TABLE x USING fts4 (a)",
        "CREATE VIRTUAL TABLE x USING fts3tokenize (simple)",
        "CREATE VIRTUAL TABLE x USING dbstat",
        "SELECT * FROM dbstat",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_compile_options",
    ];
    refuse_all(&host, &statements).await;
    host.close().await;
}

/// A model that reads only this has to know why, and what else would do.
#[tokio::test]
async fn each_refusal_says_why_and_what_to_do_instead() {
    let host = prepared().await;
    for (sql, why, instead) in [
        ("ATTACH 'x' AS x", "one file", "makes room"),
        ("VACUUM", "one file", "makes room"),
        ("BEGIN", "not available", "one sql_execute call is one transaction"),
        ("SAVEPOINT s", "not available", "one sql_execute call is one transaction"),
        ("PRAGMA journal_mode = OFF", "not available", "sql_schema"),
        ("SELECT * FROM _fh_kv", "belong to the host", "choose another"),
        ("CREATE TABLE _fh_x (a)", "belong to the host", "choose another"),
        ("CREATE TEMP TABLE x (n)", "temporary", "WITH"),
        ("CREATE VIRTUAL TABLE x USING fts4 (a)", "virtual tables", "fts5 and rtree are available"),
        ("SELECT * FROM dbstat", "dbstat", "tenant_status"),
        ("SELECT load_extension('x')", "load_extension", "built in"),
        ("SELECT json_patch('{}', '{}')", "json_patch", "json_set"),
        ("SELECT snippet(t, 0, '', '', '', 1) FROM t", "snippet", "substr"),
        ("SELECT 1; SELECT 2", "several statements", "one at a time"),
        ("", "no statement", "in this text"),
    ] {
        let answer = execute(&host, sql).await;
        let said = refusal(&answer);
        assert!(said.contains(why) && said.contains(instead), "{sql}: {said}");
        assert!(!said.contains(host.dir().to_str().expect("text")), "{sql}: {said}");
    }
    let answer = query(&host, "DELETE FROM t").await;
    assert!(refusal(&answer).contains("use sql_execute"), "{answer}");
    host.close().await;
}

/// Some of them change the whole process, `hard_heap_limit` to its end.
#[tokio::test]
async fn pragmas_are_out_of_reach() {
    let host = prepared().await;
    let statements = [
        "PRAGMA journal_mode = OFF",
        "PRAGMA journal_mode",
        "PRAGMA main.journal_mode = DELETE",
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA soft_heap_limit = 1",
        "pragma HARD_HEAP_LIMIT(1)",
        "SELECT * FROM pragma_hard_heap_limit(1)",
        "PRAGMA writable_schema = ON",
        "PRAGMA query_only = OFF",
        "PRAGMA trusted_schema = ON",
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA max_page_count = 1000000",
        "PRAGMA mmap_size = 1000000",
        "PRAGMA cache_size = 1000000",
        "PRAGMA synchronous = OFF",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA temp_store_directory = '/'",
        "PRAGMA wal_checkpoint",
        "PRAGMA user_version = 1",
        "PRAGMA schema_version = 1",
        "PRAGMA key = 'x'",
        "PRAGMA database_list",
        "PRAGMA integrity_check",
        "PRAGMA optimize",
    ];
    refuse_all(&host, &statements).await;
    let other = plain(&["b"], |_| {});
    content(&other.call("b", "sql_schema", json!({})).await);
    other.close().await;
    host.close().await;
}

#[tokio::test]
async fn the_transaction_is_the_hosts() {
    let host = prepared().await;
    let statements = [
        "BEGIN",
        "BEGIN EXCLUSIVE",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT s",
        "RELEASE s",
        "RELEASE _fh_job",
        "ROLLBACK TO _fh_job",
        "EXPLAIN BEGIN",
    ];
    refuse_all(&host, &statements).await;
    for sql in ["BEGIN", "SAVEPOINT s", "ROLLBACK", "COMMIT"] {
        let batch = json!({ "statements": [{ "sql": "DELETE FROM t" }, { "sql": sql }] });
        refusal(&host.call("a", "sql_execute", batch).await);
        assert_eq!(content(&query(&host, "SELECT n FROM t LIMIT 1").await)["rows"], json!([[7]]), "{sql}");
    }
    host.close().await;
}

/// What is temporary would stay on a connection that the next call shares; what is the schema's own
/// would make a file that no longer opens.
#[tokio::test]
async fn temporary_things_and_the_schema_itself_are_out_of_reach() {
    let host = prepared().await;
    let statements = [
        "CREATE TEMP TABLE x (n)",
        "CREATE TABLE temp.x (n)",
        "CREATE TEMPORARY VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE VIRTUAL TABLE temp.x USING fts5 (a)",
        "INSERT INTO temp.sqlite_schema VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x (n)')",
        "UPDATE sqlite_schema SET sql = 'CREATE TABLE t (m)' WHERE name = 't'",
        "UPDATE sqlite_master SET rootpage = 1",
        "DELETE FROM sqlite_schema",
        "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, 'CREATE TABLE x (n)')",
        "DROP TABLE sqlite_schema",
        "CREATE TABLE sqlite_x (n)",
        "CREATE TRIGGER x AFTER INSERT ON sqlite_schema BEGIN SELECT 1; END",
        "ALTER TABLE sqlite_schema RENAME TO x",
    ];
    refuse_all(&host, &statements).await;
    host.close().await;
}

#[tokio::test]
async fn the_hosts_tables_are_out_of_reach() {
    let host = prepared().await;
    content(&execute(&host, "CREATE INDEX i ON t (n)").await);
    let statements = [
        "SELECT * FROM _fh_meta",
        "SELECT count(*) FROM _fh_migration",
        "SELECT 1 FROM _FH_MIGRATION",
        "SELECT * FROM main.\"_fh_migration\"",
        "SELECT * FROM [_Fh_Migration] AS m",
        "SELECT (SELECT max(version) FROM _fh_migration)",
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM _fh_migration)",
        "WITH m AS (SELECT * FROM _fh_migration) SELECT * FROM m",
        "SELECT n FROM t JOIN _fh_migration ON 1",
        "INSERT INTO t SELECT version FROM _fh_migration",
        "CREATE TABLE x AS SELECT * FROM _fh_migration",
        "INSERT INTO _fh_meta VALUES ('a', 'b')",
        "INSERT INTO _fh_migration VALUES ('host', 999, 'x', 0)",
        "UPDATE _fh_migration SET version = 999",
        "UPDATE t SET n = 1 FROM _fh_migration",
        "DELETE FROM _fh_migration",
        "REPLACE INTO _FH_META VALUES ('a', 'b')",
        "DROP TABLE _fh_meta",
        "DROP TABLE IF EXISTS main._FH_META",
        "ALTER TABLE _fh_meta RENAME TO x",
        "ALTER TABLE _fh_meta ADD COLUMN x",
        "ALTER TABLE _fh_meta RENAME COLUMN value TO x",
        "ALTER TABLE _fh_meta DROP COLUMN value",
        "ALTER TABLE t RENAME TO _fh_x",
        "ALTER TABLE t RENAME TO \"_FH_x\"",
        "CREATE TABLE _fh_x (n)",
        "CREATE TABLE \"_FH_x\" (n)",
        "CREATE TABLE IF NOT EXISTS _fh_meta (n)",
        "CREATE VIEW _fh_x AS SELECT 1",
        "CREATE INDEX _fh_x ON t (n)",
        "CREATE INDEX x ON _fh_meta (value)",
        "CREATE TRIGGER x AFTER INSERT ON _fh_meta BEGIN SELECT 1; END",
        "CREATE TRIGGER x AFTER INSERT ON _FH_migration BEGIN SELECT 1; END",
        "CREATE TRIGGER _fh_x AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE _fh_x USING fts5 (a)",
        "CREATE VIRTUAL TABLE _fh_x USING rtree (a, b, c)",
        "ANALYZE _fh_meta",
    ];
    refuse_all(&host, &statements).await;
    let host = host.restart().await.expect("a restart");
    assert_eq!(content(&query(&host, "SELECT n FROM t LIMIT 1").await)["rows"], json!([[7]]));
    host.close().await;
}

/// Harmless, and work on the host's tables all the same.
#[tokio::test]
async fn the_hosts_indexes_are_not_rebuilt() {
    let host = prepared().await;
    refuse_all(&host, &["REINDEX _fh_meta", "REINDEX main._FH_MIGRATION"]).await;
    host.close().await;
}

/// A full-text index may be told to read its text from another table.
#[tokio::test]
async fn an_index_of_the_hosts_tables_reads_nothing() {
    let host = prepared().await;
    let made =
        "CREATE VIRTUAL TABLE spy USING fts5 (owner, name, content = '_fh_migration', content_rowid = 'version')";
    execute(&host, made).await;
    for sql in ["INSERT INTO spy (spy) VALUES ('rebuild')", "INSERT INTO spy (spy) VALUES ('integrity-check')"] {
        execute(&host, sql).await;
    }
    for sql in ["SELECT * FROM spy", "SELECT name FROM spy WHERE spy MATCH 'host'", "SELECT owner FROM spy LIMIT 1"] {
        let answer = query(&host, sql).await;
        let rows = &answer["result"]["structuredContent"]["rows"];
        assert!(rows.is_null() || *rows == json!([]), "{sql}: {answer}");
    }
    host.close().await;
}

/// A function that one call keeps busy past any deadline.
#[tokio::test]
async fn functions_without_an_end_are_out_of_reach() {
    let host = prepared().await;
    content(&execute(&host, "CREATE VIRTUAL TABLE f USING fts5 (a)").await);
    let statements = [
        "SELECT json_patch('{}', '{}')",
        "SELECT JSON_PATCH('{}', '{}')",
        "SELECT jsonb_patch('{}', '{}')",
        "SELECT snippet(f, 0, '', '', '', 1) FROM f ('x')",
        "SELECT highlight(f, 0, '', '') FROM f ('x')",
        "CREATE TABLE x (a CHECK (json_patch(a, '{}') <> ''))",
        "CREATE TABLE x (a, b AS (json_patch(a, '{}')))",
        "CREATE INDEX x ON t (json_patch(n, '{}'))",
    ];
    refuse_all(&host, &statements).await;
    host.close().await;
}

#[tokio::test]
async fn a_write_by_the_reading_tool_is_sent_to_the_other() {
    let host = prepared().await;
    for sql in [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1) RETURNING n",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "UPDATE t SET n = 1",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "CREATE TABLE x (n)",
        "CREATE VIEW x AS SELECT 1",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN x",
    ] {
        let answer = query(&host, sql).await;
        assert!(refusal(&answer).contains("sql_execute"), "{sql}: {answer}");
    }
    assert_eq!(content(&query(&host, "SELECT n FROM t").await)["rows"], json!([[7]]));
    host.close().await;
}

/// What an agent stored is still the agent's when somebody else sets it off.
#[tokio::test]
async fn stored_attacks_are_refused_when_they_fire() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    let attacks = [
        ("CREATE TRIGGER x AFTER INSERT ON mark BEGIN DELETE FROM _fh_migration; END", ""),
        ("CREATE TRIGGER x AFTER INSERT ON mark BEGIN DELETE FROM _FH_migration; END", ""),
        ("CREATE TRIGGER x AFTER INSERT ON mark BEGIN INSERT INTO mark SELECT version FROM _fh_migration; END", ""),
        ("CREATE TRIGGER x BEFORE INSERT ON mark BEGIN SELECT load_extension('x'); END", ""),
        ("CREATE TRIGGER x AFTER INSERT ON mark BEGIN INSERT INTO mark SELECT json_patch('{}', '{}'); END", ""),
        ("CREATE VIEW v AS SELECT max(version) AS n FROM _fh_migration", "SELECT n FROM v"),
        ("CREATE VIEW v AS SELECT count(*) AS n FROM _Fh_Meta", "SELECT n FROM v"),
        ("CREATE VIEW v AS SELECT json_patch('{}', '{}') AS n", "SELECT n FROM v"),
        ("CREATE VIEW v AS SELECT load_extension('x') AS n", "SELECT n FROM v"),
        ("CREATE VIEW v AS SELECT file AS n FROM pragma_database_list", "SELECT n FROM v"),
        ("CREATE VIEW v AS WITH m AS (SELECT version AS n FROM _fh_migration) SELECT n FROM m", "SELECT n FROM v"),
    ];
    for (attack, view) in attacks {
        let fire = if view.is_empty() { "INSERT INTO mark VALUES (1)" } else { view };
        let stored = execute(&host, attack).await;
        if stored["result"]["isError"] != true {
            refusal(&execute(&host, fire).await);
            let by_embedder = host.call("a", "run", json!({ "sql": fire })).await;
            assert!(refusal(&by_embedder).len() > 10, "{attack}: {by_embedder}");
            if view.is_empty() {
                let put = host.call("a", "put", json!({ "n": 1, "then": "succeed" })).await;
                refusal(&put);
            } else {
                refusal(&query(&host, view).await);
            }
            let undo = if view.is_empty() { "DROP TRIGGER x" } else { "DROP VIEW v" };
            content(&execute(&host, undo).await);
        }
        let rows = content(&host.call("a", "count", json!({})).await)["value"].clone();
        assert_eq!(rows, 0, "{attack}");
    }
    // Nothing of the host's was touched: it opens again.
    let host = host.restart().await.expect("a restart");
    content(&host.call("a", "put", json!({ "n": 1, "then": "succeed" })).await);
    host.close().await;
}

/// The program that embeds the host has its own transaction taken care of as well.
#[tokio::test]
async fn an_embedders_closure_can_not_leave_its_transaction() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |_| {});
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "ATTACH 'x' AS x", "DETACH main", "VACUUM", "PRAGMA journal_mode = OFF"]
    {
        let answer = host.call("a", "run", json!({ "sql": sql })).await;
        assert!(refusal(&answer).len() > 10, "{sql}: {answer}");
    }
    content(&host.call("a", "run", json!({ "sql": "INSERT INTO mark VALUES (1)" })).await);
    assert_eq!(content(&host.call("a", "count", json!({})).await)["value"], 1);
    host.close().await;
}
