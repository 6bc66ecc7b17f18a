//! The admin listener: who may come in, what it answers, and that none of it is on the public one.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use crate::support::process::{Server, exchange, must, run};
use crate::support::wire::{Answer, Ask};
use crate::support::{PATIENCE, plain};

/// What the host of `data` answers on its socket.
fn over_socket(data: &Path, head: &str) -> String {
    let mut stream = UnixStream::connect(data.join("admin.sock")).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn over_port(address: SocketAddr, head: &str, token: Option<&str>) -> String {
    let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("{head}\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n");
    exchange(address, request.as_bytes()).expect("an answer")
}

#[test]
fn the_socket_is_its_owners_and_the_port_wants_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let server = Server::start(&data, &["--admin-listen", "127.0.0.1:0"]);
    let line = server.line();
    let address = line.strip_prefix("admin on http://").and_then(|rest| rest.split(',').next()).expect("an address");
    let address: SocketAddr = address.parse().expect("an address");

    let socket = std::fs::symlink_metadata(data.join("admin.sock")).expect("a socket");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert_eq!(socket.uid(), std::fs::metadata(&data).expect("a folder").uid());
    assert!(over_socket(&data, "GET /v1/tenants HTTP/1.1").contains("\"id\":\"a\""));

    let token_file = data.join("keys/admin.token");
    assert_eq!(std::fs::metadata(&token_file).expect("a token").permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&token_file).expect("a token");
    let token = token.trim();
    assert!(over_port(address, "GET /v1/tenants HTTP/1.1", Some(token)).starts_with("HTTP/1.1 200"));
    let wrong = format!("{}x", &token[..token.len() - 1]);
    for stranger in [None, Some(wrong.as_str()), Some(""), Some(&token[..token.len() - 1])] {
        for path in ["/v1/tenants", "/readyz", "/metrics", "/elsewhere"] {
            let refused = over_port(address, &format!("GET {path} HTTP/1.1"), stranger);
            assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains(token), "{path}: {refused}");
        }
    }
    assert!(over_port(address, "GET /healthz HTTP/1.1", None).starts_with("HTTP/1.1 200"));

    // A token of a tenant opens nothing here, and nothing of this is on the public listener, for anybody.
    let of_tenant = must(&data, &["token", "issue", "--tenant", "a", "--scope", "admin"]);
    assert!(over_port(address, "GET /v1/tenants HTTP/1.1", Some(of_tenant.trim())).starts_with("HTTP/1.1 401"));
    for path in ["/v1/tenants", "/v1/tenants/a", "/metrics", "/v1/migrations", "/admin/v1/tenants"] {
        for sent in [None, Some(token), Some(of_tenant.trim())] {
            let answer = over_port(server.address(), &format!("GET {path} HTTP/1.1"), sent);
            assert!(!answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        }
    }
    assert!(server.terminate().success());
    assert!(!data.join("admin.sock").exists(), "a socket that nobody answers");
}

#[test]
fn a_killed_host_leaves_nothing_in_the_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    Server::start(&data, &[]).kill();
    assert!(data.join("admin.sock").exists());
    // Nobody answers there: the command does it itself.
    assert!(must(&data, &["tenant", "show", "a"]).contains("active"));
    let server = Server::start(&data, &[]);
    assert!(must(&data, &["tenant", "show", "a"]).contains("active"));
    assert!(server.terminate().success());
}

#[test]
fn it_listens_on_this_machine_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let done = run(&data, &["serve", "--admin-listen", "0.0.0.0:0"]);
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("loopback"), "{done:?}");
    // A token that others can read is none.
    must(&data, &["key", "generate"]);
    std::fs::write(data.join("keys/admin.token"), "x".repeat(43)).expect("a file");
    std::fs::set_permissions(data.join("keys/admin.token"), std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let done = run(&data, &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    assert!(!done.status.success() && String::from_utf8_lossy(&done.stderr).contains("chmod 600"), "{done:?}");
}

async fn ask(host: &freehold::TestHost, method: Method, path: &str, body: Option<Value>) -> Answer {
    let ask = Ask::new(method, path).body(body.map(|body| body.to_string()).unwrap_or_default());
    ask.send_to(host.admin_router()).await
}

#[tokio::test]
async fn every_answer_is_json_and_every_refusal_says_why() {
    let host = plain(&["a", "b", "c"], |_| {});
    let listed = ask(&host, Method::GET, "/v1/tenants?limit=2", None).await.json();
    let names = |listed: &Value| {
        listed["tenants"].as_array().expect("a list").iter().map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&listed), ["a", "b"]);
    assert_eq!(listed["next"], "b");
    let rest = ask(&host, Method::GET, "/v1/tenants?after=b", None).await.json();
    assert_eq!((names(&rest), &rest["next"]), (vec![json!("c")], &Value::Null));

    let made = ask(&host, Method::POST, "/v1/tenants", Some(json!({ "id": "d" }))).await;
    assert_eq!((made.status.as_u16(), &made.json()["state"]), (201, &json!("active")));
    for (method, path, body, status, kind) in [
        (Method::POST, "/v1/tenants", json!({ "id": "d" }), 409, "conflict"),
        (Method::POST, "/v1/tenants", json!({ "id": "../e" }), 400, "invalid"),
        (Method::POST, "/v1/tenants", json!({ "id": "e", "class": "gold" }), 400, "invalid"),
        (Method::POST, "/v1/tenants", json!({ "name": "e" }), 400, "invalid"),
        (Method::POST, "/v1/tenants", json!([1]), 400, "invalid"),
        (Method::GET, "/v1/tenants/nobody", Value::Null, 404, "notfound"),
        (Method::DELETE, "/v1/tenants/nobody", Value::Null, 404, "notfound"),
        (Method::GET, "/v1/tenants/nobody/export", Value::Null, 404, "notfound"),
        (Method::GET, "/v1/tenants?limit=many", Value::Null, 400, "invalid"),
        (Method::GET, "/v1/tenants/..%2fa", Value::Null, 400, "invalid"),
        (Method::GET, "/mcp", Value::Null, 404, "notfound"),
    ] {
        let body = (!body.is_null()).then_some(body);
        let answer = ask(&host, method, path, body).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
        let error = answer.json()["error"].clone();
        assert_eq!(error["kind"], kind, "{path}: {error}");
        assert!(error["message"].as_str().is_some_and(|said| said.len() > 10), "{path}: {error}");
    }
    host.close().await;
}

#[tokio::test]
async fn an_operator_reads_and_writes_a_tenants_file() {
    let host = plain(&["a"], |settings| settings.limits.result_rows = 3);
    let sql = async |sql: &str, write: bool| {
        ask(&host, Method::POST, "/v1/tenants/a/sql", Some(json!({ "sql": sql, "write": write }))).await
    };
    let refused = sql("CREATE TABLE t (n)", false).await;
    assert!(!refused.status.is_success() && refused.text().contains("--write"), "{refused:?}");
    let made = sql("CREATE TABLE t (n); INSERT INTO t VALUES (1), (2), (3), (4)", true).await.json();
    assert_eq!(made["results"][1]["changes"], 4, "{made}");
    let read = sql("SELECT n FROM t ORDER BY n; SELECT count(*) AS c FROM t", false).await.json();
    assert_eq!(read["results"][0]["rows"], json!([[1], [2], [3]]), "{read}");
    assert_eq!((&read["results"][0]["more"], &read["results"][1]["rows"]), (&json!(true), &json!([[4]])), "{read}");
    // All or nothing.
    let failed = sql("DELETE FROM t; INSERT INTO nowhere VALUES (1)", true).await;
    assert!(!failed.status.is_success(), "{failed:?}");
    assert_eq!(sql("SELECT count(*) FROM t", false).await.json()["results"][0]["rows"], json!([[4]]));
    // One tenant has one file, for an operator too.
    for beyond in ["ATTACH '/etc/passwd' AS x", "PRAGMA query_only = off", ""] {
        assert!(!sql(beyond, false).await.status.is_success(), "{beyond}");
    }
    host.close().await;
}
