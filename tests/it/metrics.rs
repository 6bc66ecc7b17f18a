//! What Prometheus scrapes: bounded whatever anybody does, named as docs/metrics.md names it, and right.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use freehold::TestHost;
use freehold::rusqlite::Connection;
use http::Method;
use serde_json::json;

use crate::support::process::{Server, exchange, must, run};
use crate::support::wire::Ask;
use crate::support::{content, plain};

/// What the scrape of a host of one tenant has at most, in lines.
const LINES_MAX: usize = 400;

async fn scrape(host: &TestHost) -> String {
    let answer = Ask::new(Method::GET, "/metrics").send_to(host.admin_router()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"), "{answer:?}");
    answer.text().to_owned()
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
}

#[tokio::test]
async fn it_counts_what_was_done() {
    let host = plain(&["a", "b"], |settings| settings.limits.requests_per_second = 3);
    let before = scrape(&host).await;
    assert_eq!(value(&before, "freehold_tenants"), 2.0);
    assert_eq!(value(&before, "freehold_tenants_open"), 0.0);
    for _ in 0..3 {
        content(&host.call("a", "sql_query", json!({ "sql": "SELECT 1" })).await);
    }
    // Its clock stands still, so that no bucket fills again: what is over its burst is refused.
    for _ in 0..200 {
        host.call("a", "sql_query", json!({ "sql": "SELECT 1" })).await;
    }
    Ask::tool("sql_query", &json!({ "sql": "SELECT 1" })).bearer("not.a.token").send(&host).await;
    let after = scrape(&host).await;
    assert_eq!(value(&after, "freehold_tenants_open"), 1.0);
    assert!(value(&after, "freehold_http_requests_total{status=\"2xx\"}") >= 3.0, "{after}");
    assert!(value(&after, "freehold_refusals_total{reason=\"requests_per_second\"}") >= 1.0, "{after}");
    assert!(value(&after, "freehold_refusals_total{reason=\"unauthenticated\"}") >= 1.0, "{after}");
    assert!(value(&after, "freehold_tenant_requests_total{tenant=\"_other\"}") >= 203.0, "{after}");
    assert!(value(&after, "freehold_tenant_sql_seconds_total{tenant=\"_other\"}") > 0.0, "{after}");
    // Known by name now.
    content(&host.call("b", "sql_query", json!({ "sql": "SELECT 1" })).await);
    scrape(&host).await;
    content(&host.call("b", "sql_query", json!({ "sql": "SELECT 1" })).await);
    let named = scrape(&host).await;
    assert_eq!(value(&named, "freehold_tenant_requests_total{tenant=\"b\"}"), 1.0, "{named}");
    let top = Ask::new(Method::GET, "/v1/top").send_to(host.admin_router()).await.json();
    let first = top["tenants"][0]["tenant"].as_str().expect("a tenant").to_owned();
    assert!(["a", "b"].contains(&first.as_str()), "{top}");
    let of_a = top["tenants"].as_array().expect("a list").iter().find(|tenant| tenant["tenant"] == "a").expect("a");
    assert_eq!(of_a["last_refusal"], "requests_per_second", "{top}");
    assert!(named.lines().count() < LINES_MAX, "{} lines", named.lines().count());
    host.close().await;
}

/// What is documented is there, and what is there is documented.
#[tokio::test]
async fn the_names_are_those_that_are_documented() {
    let host = plain(&["a"], |_| {});
    content(&host.call("a", "sql_query", json!({ "sql": "SELECT 1" })).await);
    host.call("nobody", "sql_query", json!({ "sql": "SELECT 1" })).await;
    let text = scrape(&host).await;
    let told: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let document = include_str!("../../docs/metrics.md");
    let documented = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(told, documented);
    host.close().await;
}

/// 100,000 tenants in the catalog cost a scrape a count, and no series.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "how long it takes is what it is looked at for by hand")]
async fn a_scrape_does_not_grow_with_the_tenants() {
    let host = plain(&[], |_| {});
    let small = scrape(&host).await;
    let mut catalog = Connection::open(host.dir().join("catalog.db")).expect("the catalog");
    let tx = catalog.transaction().expect("begun");
    for tenant in 0..100_000 {
        tx.execute("INSERT INTO tenant (id, created_at) VALUES (?1, 0)", [format!("t{tenant:06}")]).expect("a row");
    }
    tx.commit().expect("committed");
    let begun = Instant::now();
    let large = scrape(&host).await;
    println!("a scrape of 100,000 tenants: {:?}, {} lines", begun.elapsed(), large.lines().count());
    assert_eq!(value(&large, "freehold_tenants"), 100_000.0);
    assert!(large.lines().count() <= small.lines().count() + 20, "{} lines", large.lines().count());
    host.close().await;
}

/// A port of its own for a scraper that has no token: one path, and nothing else of what an operator can ask.
#[test]
fn a_port_without_a_token_has_the_metrics_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    must(&data, &["key", "generate"]);
    must(&data, &["tenant", "create", "a"]);
    let server = Server::start(&data, &["--admin-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
    let address_in = |line: &str, before: &str, after: char| -> SocketAddr {
        let rest = line.strip_prefix(before).unwrap_or_else(|| panic!("another line: {line}"));
        rest.split(after).next().and_then(|address| address.parse().ok()).expect("an address")
    };
    let admin = address_in(&server.line(), "admin on http://", ',');
    let metrics = address_in(&server.line(), "metrics on http://", '/');
    let token = std::fs::read_to_string(data.join("keys/admin.token")).expect("a token");
    let ask = |address: SocketAddr, line: &str, token: Option<&str>| {
        let token = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!("{line} HTTP/1.1\r\nHost: anything.example\r\n{token}Connection: close\r\n\r\n");
        exchange(address, request.as_bytes()).expect("an answer")
    };
    let scraped = ask(metrics, "GET /metrics", None);
    assert!(scraped.starts_with("HTTP/1.1 200") && scraped.contains("application/openmetrics-text"), "{scraped}");
    assert!(scraped.contains("freehold_tenants 1") && !scraped.contains(token.trim()), "{scraped}");
    for line in [
        "GET /",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics/",
        "GET /metrics/../v1/tenants",
        "GET /v1/top",
        "GET /v1/tenants",
        "DELETE /v1/tenants/a",
        "POST /v1/verify",
        "POST /metrics",
        "POST /mcp",
    ] {
        for token in [None, Some(token.trim())] {
            let answer = ask(metrics, line, token);
            assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 405"), "{line}: {answer}");
        }
    }
    // The other ports are as they were.
    assert!(ask(admin, "GET /metrics", None).starts_with("HTTP/1.1 401"));
    assert!(!ask(server.address(), "GET /metrics", None).starts_with("HTTP/1.1 200"));
    assert!(must(&data, &["tenant", "list"]).contains('a'));
    assert!(server.terminate().success());
    assert!(TcpStream::connect(metrics).is_err(), "a port that nobody answers");
    // What it can't have it says, before anything is served.
    let twice = run(&data, &["serve", "--listen", "127.0.0.1:8000", "--metrics-listen", "127.0.0.1:8000"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    assert!(!twice.status.success() && said.contains("a port of its own"), "{said}");
}
