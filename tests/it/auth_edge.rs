//! How a token has to be brought, and that it stays nowhere.

use std::path::Path;

use http::Method;
use serde_json::json;

use crate::support::process::{Server, exchange, must};
use crate::support::wire::{Ask, LEGACY, Session, rpc};
use crate::support::{content, plain};

#[tokio::test]
async fn without_a_token_nobody_learns_anything() {
    let host = plain(&["a"], |_| {});
    let mut bodies = Vec::new();
    for method in [Method::POST, Method::GET, Method::DELETE, Method::PUT, Method::PATCH] {
        let answer = Ask::new(method.clone(), "/mcp").send(&host).await;
        let mut said = answer.expect_refusal(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"mcp\"", "{method}");
        said["error"]["data"]["requestId"] = json!(null);
        bodies.push(said);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let head = Ask::new(Method::HEAD, "/mcp").send(&host).await;
    assert_eq!(head.status, 401, "{head:?}");
    // Nor what is wrong with what it says.
    let long = Ask::post("x".repeat(2 << 20));
    let wrong = Ask::post("{").without("accept").without("content-type");
    for ask in [long, wrong] {
        ask.send(&host).await.expect_refusal(401);
    }
    host.close().await;
}

#[tokio::test]
async fn only_one_bearer_token_counts() {
    let host = plain(&["a", "b"], |_| {});
    let (a, b) = (host.token("a").expect("a token"), host.token("b").expect("a token"));
    let ask = || Ask::tool("sql_query", &json!({ "sql": "SELECT 7" }));

    for scheme in ["Bearer", "bearer", "BEARER"] {
        let answer = ask().header("authorization", &format!("{scheme} {a}")).send(&host).await;
        assert_eq!(answer.status, 200, "{scheme}: {answer:?}");
    }
    let basic = format!("Basic {a}");
    for none in ["Bearer", "Bearer ", "Basic YTph", &basic, "", &a] {
        let answer = ask().header("authorization", none).send(&host).await;
        answer.expect_refusal(401);
        assert!(!answer.header("www-authenticate").contains("error="), "{none:?}: {answer:?}");
    }
    for malformed in [format!("Bearer {a},{b}"), format!("Bearer {a} {b}"), format!("Bearer {a}\t"), "Bearer ==".into()]
    {
        let answer = ask().header("authorization", &malformed).send(&host).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{malformed}: {answer:?}");
        answer.expect_refusal(answer.status.as_u16());
    }
    for (first, second) in [(&a, &b), (&a, &a), (&b, &a)] {
        ask().bearer(first).bearer(second).send(&host).await.expect_refusal(400);
    }
    host.close().await;
}

/// A token anywhere else is no token: addresses and bodies end in logs.
#[tokio::test]
async fn a_token_elsewhere_is_none() {
    let host = plain(&["a"], |_| {});
    let token = host.token("a").expect("a token");
    let query = format!("/mcp?access_token={token}");
    let list = rpc("tools/list", &json!({ "access_token": token }));
    let cases = [
        Ask::post(list).at(&query),
        Ask::post("{}").header("cookie", &format!("access_token={token}")),
        Ask::post("{}").header("x-api-key", &token),
        Ask::post("{}").header("proxy-authorization", &format!("Bearer {token}")),
    ];
    for ask in cases {
        let answer = ask.send(&host).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{answer:?}");
        assert!(!format!("{answer:?}").contains(&token), "{answer:?}");
    }
    host.close().await;
}

/// A session is no token: what came without one is refused inside it too.
#[tokio::test]
async fn a_session_is_no_token() {
    let host = plain(&["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[1]).await;
    for ask in
        [Ask::post(rpc("tools/list", &json!({}))), Ask::new(Method::GET, "/mcp"), Ask::new(Method::DELETE, "/mcp")]
    {
        ask.header("mcp-session-id", &session.id).send(&host).await.expect_refusal(401);
    }
    let still = session.call(&host, "sql_query", json!({ "sql": "SELECT 7" })).await;
    assert_eq!(content(&still)["rows"], json!([[7]]));
    host.close().await;
}

/// Headers that proxies set for their own purposes name no tenant here.
#[tokio::test]
async fn only_the_token_names_the_tenant() {
    let host = plain(&["a", "b"], |_| {});
    let make = json!({ "statements": [{ "sql": "CREATE TABLE of_a (n)" }] });
    let made = Ask::tool("sql_execute", &make).header("x-tenant-id", "b").header("x-forwarded-user", "b");
    content(&made.of(&host, "a").send(&host).await.json());
    let tables = async |tenant| content(&host.call(tenant, "sql_schema", json!({})).await)["tables"].clone();
    assert_eq!(tables("a").await[0]["name"], "of_a");
    assert_eq!(tables("b").await, json!([]));
    host.close().await;
}

/// What is logged can be read by more people than may call.
#[test]
fn no_answer_and_no_log_holds_a_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let data: &Path = &dir.path().join("data");
    must(data, &["key", "generate"]);
    must(data, &["tenant", "create", "a"]);
    let token = must(data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let server = Server::start(data, &[]);
    let host = server.address();
    let (signed, signature) = token.rsplit_once('.').expect("a token");
    let list = rpc("tools/list", &json!({}));
    let post = |path: &str, authorization: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n");
        let kind = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
        exchange(host, format!("{head}{kind}Content-Length: {}\r\n\r\n{list}", list.len()).as_bytes())
            .expect("an answer")
    };
    let answers = [
        post("/mcp", &format!("Authorization: Bearer {token}\r\n")),
        post("/mcp", &format!("Authorization: Bearer {signed}.{}\r\n", &signature[1..])),
        post("/mcp", &format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n")),
        post(&format!("/mcp?access_token={token}"), ""),
        post(&format!("/mcp?{signature}"), ""),
        post(&format!("/{token}"), ""),
    ];
    assert!(server.terminate().success());
    let log = std::fs::read_to_string(data.with_extension("log")).expect("a log");
    assert!(log.lines().filter(|line| line.contains("\"request\"")).count() >= answers.len(), "{log}");
    for text in answers.iter().chain([&log]) {
        assert!(!text.contains(signature) && !text.contains(&signature[1..]), "{text}");
    }
    // Not even a good part of it.
    let payload = signed.split_once('.').expect("a header").1;
    for part in [&payload[..32], &signature[..32]] {
        assert!(!log.contains(part), "{log}");
    }
}
