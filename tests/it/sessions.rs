//! Sessions of older clients outlive what they run in, and are nobody's but their opener's.

use std::time::Duration;

use freehold::TestHost;
use http::Method;
use serde_json::{Value, json};

use crate::support::slow::Slow;
use crate::support::token::Forge;
use crate::support::wire::{Answer, Ask, LEGACY, Session, initialize, rpc};
use crate::support::{PATIENCE, content, plain, soon, start};

#[tokio::test]
async fn a_restart_is_not_noticed() {
    let host = plain(&["a"], |_| {});
    let mut sessions = Vec::new();
    for version in LEGACY {
        sessions.push(Session::open(&host, "a", version).await);
    }
    let host = host.restart().await.expect("the same host");
    for session in &sessions {
        content(&session.call(&host, "sql_schema", json!({})).await);
    }
    host.close().await;
}

#[tokio::test]
async fn a_quiet_session_goes_from_memory_and_comes_back() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |settings| settings.limits.session_quiet = Duration::from_millis(20));
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let coming_back = async {
        while slow.opened() < 3 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let answer = session.call(&host, "now", json!({})).await;
            assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
        }
    };
    assert!(tokio::time::timeout(PATIENCE, coming_back).await.is_ok(), "it never left memory");
    host.close().await;
}

/// The answer without what differs from request to request.
fn said(answer: &Answer) -> (u16, Value) {
    let mut json = answer.json();
    json["error"]["data"]["requestId"] = Value::Null;
    (answer.status.as_u16(), json)
}

async fn asked_thrice(host: &TestHost, id: &str, token: &str) -> Vec<(u16, Value)> {
    let mut answers = Vec::new();
    for ask in [
        Ask::post(rpc("tools/list", &json!({}))),
        Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"),
        Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream").header("last-event-id", "0"),
        Ask::new(Method::DELETE, "/mcp"),
    ] {
        answers.push(said(&ask.bearer(token).header("mcp-session-id", id).send(host).await));
    }
    answers
}

#[tokio::test]
async fn an_id_of_somebody_else_is_an_id_that_is_not() {
    let host = plain(&["a", "b"], |_| {});
    let forge = Forge::of(&host);
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let (own, theirs) = (host.token("a").expect("a token"), host.token("b").expect("a token"));
    let unknown = asked_thrice(&host, "0123456789abcdef0123456789abcdef", &own).await;
    assert!(unknown.iter().all(|answer| *answer == unknown[0]), "{unknown:?}");
    assert_eq!(unknown[0].0, 404);
    let mut forged = session.id.clone();
    let last = if forged.ends_with('0') { "1" } else { "0" };
    forged.replace_range(forged.len() - 1.., last);
    for (what, id, token) in [
        ("another tenant", &session.id, &theirs),
        ("another subject", &session.id, &forge.with("sub", "somebody")),
        ("another client", &session.id, &forge.with("client_id", "app")),
        ("a letter changed", &forged, &own),
        ("nothing", &String::new(), &own),
        ("a path", &"../../b".to_owned(), &own),
        ("a long one", &"x".repeat(4_000), &own),
    ] {
        assert_eq!(asked_thrice(&host, id, token).await, unknown, "{what}");
    }
    content(&session.call(&host, "sql_schema", json!({})).await);
    host.close().await;
}

#[tokio::test]
async fn a_new_token_of_the_same_caller_goes_on() {
    let host = plain(&["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[1]).await;
    let fresh = host.token_with("a", "read", Duration::from_secs(60)).expect("a token");
    let ask = Ask::post(rpc("tools/list", &json!({}))).bearer(&fresh).header("mcp-session-id", &session.id);
    assert_eq!(ask.send(&host).await.status, 200);
    host.close().await;
}

#[tokio::test]
async fn an_ended_session_stays_ended() {
    let host = plain(&["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let ended = session.dress(Ask::new(Method::DELETE, "/mcp")).send(&host).await;
    assert!(ended.status.is_success(), "{ended:?}");
    session.ask(&host, "tools/list", json!({})).await.expect_refusal(404);
    let host = host.restart().await.expect("the same host");
    session.ask(&host, "tools/list", json!({})).await.expect_refusal(404);
    host.close().await;
}

#[tokio::test]
async fn the_newest_generation_ignores_session_ids() {
    let host = plain(&["a"], |_| {});
    let ask = Ask::tool("sql_schema", &json!({})).header("mcp-session-id", "none of yours");
    content(&ask.of(&host, "a").send(&host).await.json());
    host.close().await;
}

#[tokio::test]
async fn one_session_too_many_pushes_out_the_oldest() {
    let host = plain(&["a"], |settings| settings.limits.sessions_per_principal = 3);
    let forge = Forge::of(&host);
    let other = initialize(LEGACY[2]).bearer(&forge.with("sub", "other")).send(&host).await;
    let mut sessions = Vec::new();
    for second in 0..5 {
        host.clock().set(forge.now() + second);
        sessions.push(Session::open(&host, "a", LEGACY[2]).await);
    }
    for session in &sessions[..2] {
        session.ask(&host, "tools/list", json!({})).await.expect_refusal(404);
    }
    for session in &sessions[2..] {
        assert_eq!(session.ask(&host, "tools/list", json!({})).await.status, 200);
    }
    // Not at the cost of others.
    let others = Ask::post(rpc("tools/list", &json!({})))
        .bearer(&forge.with("sub", "other"))
        .header("mcp-session-id", other.header("mcp-session-id"));
    assert_eq!(others.send(&host).await.status, 200);
    host.close().await;
}

#[tokio::test]
async fn sessions_in_use_are_not_pushed_out() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |settings| settings.limits.sessions = 1);
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let call = session.call(&host, "wait", json!({}));
    let opened = async {
        crate::support::until("the call runs", || slow.begun() == 1).await;
        let refused = initialize(LEGACY[2]).of(&host, "a").send(&host).await;
        slow.release();
        refused
    };
    let (answer, refused) = soon(async { tokio::join!(call, opened) }).await;
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    let said = refused.expect_refusal(429);
    assert_eq!((&said["error"]["data"]["limit"], &said["error"]["data"]["value"]), (&json!("sessions"), &json!(1)));
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    host.close().await;
}

#[tokio::test]
async fn a_session_ends_when_nobody_uses_it_and_in_any_case() {
    let host = plain(&["a"], |settings| {
        settings.limits.session_idle = Duration::from_secs(600);
        settings.limits.session_lifetime = Duration::from_secs(1500);
    });
    let now = Forge::of(&host).now();
    let session = Session::open(&host, "a", LEGACY[2]).await;
    let mut host = host;
    for (at, status) in [(500, 200), (1000, 200), (1400, 200), (1600, 404)] {
        host.clock().set(now + at);
        // In memory, then out of the file.
        let answer = session.ask(&host, "tools/list", json!({})).await;
        assert_eq!(answer.status.as_u16(), status, "{at}");
        host = host.restart().await.expect("the same host");
    }
    let idle = Session::open(&host, "a", LEGACY[2]).await;
    let host = host.restart().await.expect("the same host");
    host.clock().set(now + 1600 + 601);
    idle.ask(&host, "tools/list", json!({})).await.expect_refusal(404);
    host.close().await;
}

/// A client that opens one for each call and never ends it is served for ever.
#[tokio::test]
async fn a_session_for_each_call_is_no_leak() {
    let host = plain(&["a"], |settings| {
        settings.limits.sessions_per_principal = 2;
        (settings.limits.requests_per_second, settings.limits.principal_requests_per_second) = (0, 0);
    });
    for _ in 0..20 {
        let session = Session::open(&host, "a", LEGACY[1]).await;
        content(&session.call(&host, "sql_schema", json!({})).await);
    }
    host.close().await;
}
