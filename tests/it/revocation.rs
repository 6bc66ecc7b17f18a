//! What is taken back is gone within a second, for calls and for open streams.

use std::time::Duration;

use freehold::TestHost;
use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use crate::support::process::{Server, call, must, run};
use crate::support::token::Forge;
use crate::support::wire::{Answer, Ask, LEGACY, Session};
use crate::support::{PATIENCE, plain, soon};

async fn knock(host: &TestHost, token: &str) -> Answer {
    Ask::tool("sql_query", &json!({ "sql": "SELECT 7" })).bearer(token).send(host).await
}

/// The host looks four times a second; a slow machine may take longer over it, and no test depends on that.
async fn until_status(host: &TestHost, token: &str, status: u16) -> Answer {
    let coming = async {
        loop {
            let answer = knock(host, token).await;
            if answer.status == status {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, coming).await.unwrap_or_else(|_| panic!("never {status}"))
}

#[tokio::test]
async fn a_token_is_taken_back_and_the_others_stay() {
    let host = plain(&["a"], |_| {});
    let (one, two) = (host.token("a").expect("a token"), host.token("a").expect("a token"));
    assert_eq!(knock(&host, &one).await.status, 200);
    host.revoke(&one).expect("revoked");
    let refused = until_status(&host, &one, 401).await;
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""), "{refused:?}");
    assert_eq!(knock(&host, &two).await.status, 200);
    let host = host.restart().await.expect("a restart");
    assert_eq!(knock(&host, &one).await.status, 401, "a restart forgets nothing");
    assert_eq!(knock(&host, &two).await.status, 200);
    host.close().await;
}

#[tokio::test]
async fn all_of_a_tenants_tokens_are_taken_back() {
    let host = plain(&["a", "b"], |_| {});
    let forge = Forge::of(&host);
    let (a, b) = (host.token("a").expect("a token"), host.token("b").expect("a token"));
    let key = host.api_key("a", "read", None).expect("a key");
    let undated = forge.lacking("iat");
    for token in [&a, &b, &key, &undated] {
        assert_eq!(knock(&host, token).await.status, 200);
    }
    host.revoke_tenant("a").expect("revoked");
    until_status(&host, &a, 401).await;
    for token in [&key, &undated] {
        knock(&host, token).await.expect_refusal(401);
    }
    assert_eq!(knock(&host, &b).await.status, 200);
    // What is issued later is good.
    host.clock().set(forge.now() + 1);
    assert_eq!(knock(&host, &host.token("a").expect("a token")).await.status, 200);
    assert_eq!(knock(&host, &host.api_key("a", "read", None).expect("a key")).await.status, 200);
    host.close().await;
}

#[tokio::test]
async fn a_suspended_tenant_is_shut_and_not_even_opened() {
    let host = plain(&["a", "b"], |_| {});
    let token = host.token("a").expect("a token");
    host.suspend("a", true).expect("suspended");
    let refused = until_status(&host, &token, 403).await;
    assert_eq!(refused.expect_refusal(403)["error"]["data"]["reason"], "tenant_suspended");
    assert_eq!(refused.header("www-authenticate"), "", "no other token would help");
    for method in [Method::GET, Method::DELETE, Method::POST] {
        Ask::new(method, "/mcp").bearer(&token).send(&host).await.expect_refusal(403);
    }
    let host = host.restart().await.expect("a restart");
    knock(&host, &token).await.expect_refusal(403);
    let opened = crate::support::tree(host.dir()).into_iter().any(|path| path.ends_with("a/tenant.db-wal"));
    assert!(!opened, "it was opened");
    host.suspend("a", false).expect("resumed");
    until_status(&host, &token, 200).await;
    host.close().await;
}

/// Opens a stream of notifications, and says when it ends.
async fn stream(host: &TestHost, session: &Session) -> axum::body::Body {
    let ask = session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"));
    let answer = host.send(ask.into_request()).await;
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

/// In order: no error, no cut frame.
async fn ends(mut body: axum::body::Body) {
    soon(async {
        while let Some(frame) = body.frame().await {
            frame.expect("an end in order");
        }
    })
    .await;
}

#[tokio::test]
async fn open_streams_end_with_the_right_to_them() {
    let host = plain(&["a", "b", "c", "d"], |_| {});
    let now = Forge::of(&host).now();
    let open = async |tenant| {
        let session = Session::open(&host, tenant, LEGACY[1]).await;
        (stream(&host, &session).await, session)
    };
    let (revoked, session) = open("a").await;
    host.revoke(session.token()).expect("revoked");
    ends(revoked).await;
    let (revoked, _session) = open("b").await;
    host.revoke_tenant("b").expect("revoked");
    ends(revoked).await;
    let (suspended, _session) = open("c").await;
    host.suspend("c", true).expect("suspended");
    ends(suspended).await;
    let (expired, _session) = open("d").await;
    host.clock().set(now + 3_600 + 31);
    ends(expired).await;
    host.close().await;
}

/// A key that is no longer trusted takes its tokens and their streams with it; a new one comes without a restart.
#[test]
fn keys_rotate_under_a_running_host() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let old = must(&data, &["key", "generate"]).trim().to_owned();
    must(&data, &["tenant", "create", "a"]);
    let issue = || must(&data, &["token", "issue", "--tenant", "a"]).trim().to_owned();
    let server = Server::start(&data, &[]);
    let knock =
        |token: &str| call(server.address(), token, "sql_query", &json!({ "sql": "SELECT 7" })).expect("an answer");
    let comes = |token: &str, good: bool| {
        let begun = std::time::Instant::now();
        while knock(token)["result"].is_object() != good {
            assert!(begun.elapsed() < PATIENCE, "never {good}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let first = issue();
    comes(&first, true);
    let new = must(&data, &["key", "generate"]).trim().to_owned();
    assert!(!run(&data, &["key", "retire", &old]).status.success(), "the one that signs");
    must(&data, &["key", "promote", &new]);
    let second = issue();
    comes(&second, true);
    comes(&first, true);
    for wrong in ["nothing", "../signing", "signing"] {
        assert!(!run(&data, &["key", "promote", wrong]).status.success(), "{wrong}");
    }
    let listed: serde_json::Value = serde_json::from_str(&must(&data, &["key", "list", "--json"])).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    must(&data, &["key", "retire", &old]);
    comes(&first, false);
    comes(&second, true);
    // Beside the running host, as an operator does it in a hurry.
    let file = dir.path().join("token");
    std::fs::write(&file, &second).expect("a file");
    must(&data, &["token", "revoke", "--file", file.to_str().expect("text")]);
    comes(&second, false);
    let third = issue();
    comes(&third, true);
    must(&data, &["token", "revoke", "--tenant", "a"]);
    comes(&third, false);
    let fourth = issue();
    comes(&fourth, true);
    must(&data, &["tenant", "suspend", "a"]);
    comes(&fourth, false);
    must(&data, &["tenant", "resume", "a"]);
    comes(&fourth, true);
    assert!(server.terminate().success());
}
