//! Schemas move forward, tenant by tenant, when a tenant is opened; and a file from the future is left alone.

use std::path::{Path, PathBuf};

use freehold::{Host, Migration, TestHost, rusqlite};
use serde_json::{Value, json};

use crate::support::wire::Ask;
use crate::support::{Plain, content, start, tenant_file};

const NOTE: &str = "CREATE TABLE note (body TEXT NOT NULL) STRICT";

fn host(steps: &[&'static str]) -> TestHost {
    let name = |(at, sql): (usize, &&'static str)| Migration { name: format!("{at:04}").into(), sql: (*sql).into() };
    let steps: Vec<_> = steps.iter().enumerate().map(name).collect();
    start(Host::new(|_tenant| Plain).migrations(steps), &["a", "b"], |_| {})
}

async fn insert(host: &TestHost, tenant: &str, body: &str) {
    let insert = json!({ "sql": "INSERT INTO note (body) VALUES (?)", "params": [body] });
    content(&host.call(tenant, "sql_execute", json!({ "statements": [insert] })).await);
}

async fn rows(host: &TestHost, tenant: &str, sql: &str) -> Value {
    content(&host.call(tenant, "sql_query", json!({ "sql": sql })).await)["rows"].clone()
}

/// The closed file of `tenant` in a host of `steps` that has called it `notes`.
async fn file_of(steps: &[&'static str], notes: &[&str]) -> Vec<u8> {
    let host = host(steps);
    for body in notes {
        insert(&host, "a", body).await;
    }
    let host = host.restart().await.expect("a restart");
    let file = std::fs::read(tenant_file(host.dir(), "a")).expect("a file");
    host.close().await;
    file
}

/// `host` with `file` as that of tenant a, which is closed.
async fn with_file(host: TestHost, file: &[u8]) -> (TestHost, PathBuf) {
    content(&host.call("a", "sql_schema", json!({})).await);
    let host = host.restart().await.expect("a restart");
    let path = tenant_file(host.dir(), "a");
    std::fs::write(&path, file).expect("written");
    (host, path)
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_when_it_is_opened() {
    let old = file_of(&[NOTE], &["kept"]).await;
    let (host, _) =
        with_file(host(&[NOTE, "ALTER TABLE note ADD COLUMN stars INTEGER NOT NULL DEFAULT 3"]), &old).await;
    assert_eq!(rows(&host, "a", "SELECT body, stars FROM note").await, json!([["kept", 3]]));
    insert(&host, "a", "new").await;
    insert(&host, "b", "other").await;
    let host = host.restart().await.expect("a restart");
    assert_eq!(rows(&host, "a", "SELECT count(*), sum(stars) FROM note").await, json!([[2, 6]]));
    host.close().await;
}

/// What fails on one tenant's rows is that tenant's trouble, and its file is as it was.
#[tokio::test]
async fn a_step_that_fails_changes_nothing_and_stops_one_tenant() {
    let old = file_of(&[NOTE], &["twice", "twice"]).await;
    let half = "CREATE TABLE begun (n); CREATE UNIQUE INDEX note_body ON note (body)";
    let (host, path) = with_file(host(&[NOTE, half]), &old).await;
    for _ in 0..2 {
        let said = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await.expect_refusal(503);
        let text = said["error"]["message"].as_str().expect("text");
        assert!(text.contains("migration 0001") && !text.contains("twice"), "{text}");
    }
    insert(&host, "b", "once").await;
    let host = host.restart().await.expect("a restart");
    assert!(std::fs::read(&path).expect("a file") == old, "the file was changed");
    host.close().await;
}

/// Both lists are looked at before either is applied, and the log of the newer program stays as it is too.
#[tokio::test]
async fn a_newer_file_is_left_alone_with_its_log() {
    let newer = file_of(&[NOTE, "CREATE TABLE later (n)"], &["kept"]).await;
    let (host, path) = with_file(host(&[NOTE]), &newer).await;
    let log = path.with_file_name("tenant.db-wal");
    let conn = rusqlite::Connection::open(&path).expect("a database");
    conn.execute("INSERT INTO note (body) VALUES ('in the log')", []).expect("a row");
    let (left, left_log) = (read(&path), read(&log));
    conn.close().expect("closed");
    std::fs::write(&path, &left).expect("written");
    std::fs::write(&log, &left_log).expect("written");
    let said = Ask::tool("sql_schema", &json!({})).of(&host, "a").send(&host).await.expect_refusal(503);
    let text = said["error"]["message"].as_str().expect("text");
    assert!(text.contains("version 2 of its app schema") && text.contains("newer program"), "{text}");
    content(&host.call("b", "sql_schema", json!({})).await);
    let host = host.restart().await.expect("a restart");
    assert!(read(&path) == left && read(&log) == left_log, "the file or its log was changed");
    host.close().await;
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}
