//! What a tenant may have under way and how often it may ask: who is over it is told so before its body is
//! read, and a neighbour notices nothing.

use axum::body::Body;
use freehold::TestHost;
use futures_util::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::support::probe::Shared;
use crate::support::wire::{Answer, Ask, LEGACY, Session};
use crate::support::{content, plain, soon, start, until};

/// A 429 that names the bound, its value and when to come back, in every form that clients read.
#[track_caller]
fn expect_full(answer: &Answer, limit: &str, value: u64) {
    let said = answer.expect_refusal(429);
    let data = &said["error"]["data"];
    assert_eq!((&data["limit"], &data["value"]), (&json!(limit), &json!(value)), "{said}");
    let millis = data["retryAfterMs"].as_u64().unwrap_or_else(|| panic!("no time: {said}"));
    let seconds: u64 = answer.header("retry-after").parse().expect("a number of seconds");
    assert!(millis > 0 && seconds * 1000 >= millis, "{said} {seconds}");
    let message = said["error"]["message"].as_str().expect("words");
    assert!(message.contains(limit) && message.contains(&value.to_string()), "{said}");
}

async fn ask(host: &TestHost, tenant: &str) -> Answer {
    Ask::tool("sql_query", &json!({ "sql": "SELECT 1" })).of(host, tenant).send(host).await
}

#[tokio::test]
async fn requests_a_second_are_counted() {
    let host = plain(&["a", "b"], |settings| {
        settings.limits.requests_per_second = 2;
        settings.limits.burst = 5;
    });
    for _ in 0..5 {
        content(&ask(&host, "a").await.json());
    }
    let refused = ask(&host, "a").await;
    expect_full(&refused, "requests_per_second", 2);
    assert_eq!(refused.header("ratelimit"), "\"requests_per_second\";r=0;t=1");
    assert_eq!(refused.header("ratelimit-policy"), "\"requests_per_second\";q=2;w=1");
    // Whatever it asks, and with whatever body: nobody waits for that to come.
    let endless = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    expect_full(&Ask::post(Body::from_stream(endless)).of(&host, "a").send(&host).await, "requests_per_second", 2);
    expect_full(&Ask::new(Method::DELETE, "/mcp").of(&host, "a").send(&host).await, "requests_per_second", 2);
    content(&ask(&host, "b").await.json());
    host.clock().set(1_893_456_001);
    for _ in 0..2 {
        content(&ask(&host, "a").await.json());
    }
    expect_full(&ask(&host, "a").await, "requests_per_second", 2);
    host.close().await;
}

#[tokio::test]
async fn requests_of_one_caller_are_counted() {
    let host = plain(&["a"], |settings| {
        settings.limits.principal_requests_per_second = 1;
        settings.limits.principal_burst = 2;
    });
    for _ in 0..2 {
        content(&ask(&host, "a").await.json());
    }
    expect_full(&ask(&host, "a").await, "principal_requests_per_second", 1);
    host.close().await;
}

/// Calls that hold, one that waits its turn, one for which there is no place to wait.
#[tokio::test]
async fn calls_at_once_are_counted() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a", "b"], |settings| {
        settings.limits.concurrent_calls = 2;
        settings.limits.calls_waiting = 1;
    });
    let gates = [shared.gate(), shared.gate()];
    let bump = async |tenant: &str| Ask::tool("bump", &json!({})).of(&host, tenant).send(&host).await;
    let held =
        async { futures_util::join!(host.call("a", "hold_write", json!({})), host.call("a", "hold_read", json!({}))) };
    let beside = async {
        until("both are held", || shared.begun() == 2).await;
        let mut waiting = Box::pin(bump("a"));
        let refused = Box::pin(async {
            // Polled after the one that waits, in whose place it would else be.
            bump("a").await
        });
        let refused = tokio::select! {
            biased;
            early = &mut waiting => panic!("two hold, and yet: {early:?}"),
            refused = refused => refused,
        };
        expect_full(&refused, "concurrent_calls", 2);
        content(&bump("b").await.json());
        drop(gates);
        content(&waiting.await.json());
    };
    let ((one, two), ()) = soon(async { futures_util::join!(held, beside) }).await;
    content(&one);
    content(&two);
    content(&bump("a").await.json());
    host.close().await;
}

/// A call that waits for a free place is let go of in the end, and told so.
#[tokio::test]
async fn a_call_waits_only_so_long() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.concurrent_calls = 1;
        settings.limits.queue_deadline = std::time::Duration::from_millis(50);
    });
    let gate = shared.gate();
    // A call that is held may itself have waited too long for a thread on a slow machine.
    let held = async {
        until("it is held", || shared.begun() == 1).await;
        let refused = Ask::tool("bump", &json!({})).of(&host, "a").send(&host).await;
        expect_full(&refused, "concurrent_calls", 1);
        drop(gate);
    };
    soon(async { futures_util::join!(host.call("a", "hold_read", json!({})), held) }).await;
    host.close().await;
}

/// What a call of a session waits for must come through, however many calls there are.
#[tokio::test]
async fn what_is_no_call_waits_behind_none() {
    let shared = Shared::default();
    let host = start(shared.host(), &["a"], |settings| {
        settings.limits.concurrent_calls = 1;
        settings.limits.calls_waiting = 2;
    });
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(Session::open(&host, "a", LEGACY[1]).await);
    }
    let gate = shared.gate();
    let beside = async {
        until("it is held", || shared.begun() == 1).await;
        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
        let told = sessions[0].dress(Ask::post(notice.to_string())).send(&host).await;
        assert_eq!(told.status, 202, "{told:?}");
        let gone = sessions[1].dress(Ask::new(Method::DELETE, "/mcp")).send(&host).await;
        assert!(gone.status.is_success(), "{gone:?}");
        drop(gate);
    };
    soon(async { futures_util::join!(sessions[0].call(&host, "hold_read", json!({})), beside) }).await;
    // Open sessions hold no places: each has its turn.
    for session in &sessions[2..] {
        content(&soon(session.call(&host, "bump", json!({}))).await);
    }
    host.close().await;
}

#[tokio::test]
async fn streams_are_counted() {
    let host = plain(&["a", "b"], |settings| {
        settings.limits.streams = 3;
        settings.limits.session_streams = 2;
    });
    let (one, two) = (Session::open(&host, "a", LEGACY[1]).await, Session::open(&host, "a", LEGACY[2]).await);
    let listen = |session: &Session| {
        session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream")).into_request()
    };
    let mut open = Vec::new();
    for session in [&one, &one, &two] {
        let stream = host.send(listen(session)).await;
        assert_eq!(stream.status(), 200, "{stream:?}");
        open.push(stream.into_body().into_data_stream());
    }
    let refused = async |session: &Session| {
        let (head, body) = host.send(listen(session)).await.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.expect("whole").to_bytes() }
    };
    expect_full(&refused(&two).await, "streams", 3);
    drop(open.pop());
    expect_full(&refused(&one).await, "session_streams", 2);
    // Neither a neighbour nor a call counts with them.
    Session::open(&host, "b", LEGACY[1]).await;
    content(&one.call(&host, "sql_schema", json!({})).await);
    let again = host.send(listen(&two)).await;
    assert_eq!(again.status(), 200, "{again:?}");
    open.push(again.into_body().into_data_stream());
    // They are alive: each has told how to come back, or waits to.
    for stream in &mut open {
        let _: Value = json!(futures_util::poll!(stream.next()).is_pending());
    }
    host.close().await;
}
