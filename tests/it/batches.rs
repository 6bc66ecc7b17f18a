//! Batches: a session of 2025-03-26 may send several messages in one POST, each of which counts for itself; nobody
//! else may.

use freehold::TestHost;
use http::Method;
use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::slow::Slow;
use crate::support::token::Forge;
use crate::support::wire::{Answer, Ask, LEGACY, Session, initialize};
use crate::support::{content, plain, start, until};

fn request(id: impl Into<Value>, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

fn call(id: impl Into<Value>, tool: &str, arguments: &Value) -> Value {
    request(id, "tools/call", &json!({ "name": tool, "arguments": arguments }))
}

fn notification() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" })
}

async fn send(host: &TestHost, session: &Session, batch: &Value) -> Answer {
    session.dress(Ask::post(batch.to_string())).send(host).await
}

fn ids(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|message| message.get("method").is_none()).map(|message| &message["id"]).collect()
}

#[tokio::test]
async fn what_comes_together_is_answered_together() {
    let host = plain(&["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let create = json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }, { "sql": "INSERT INTO t VALUES (7)" }] });
    let batch = json!([
        notification(),
        call(1, "sql_execute", &create),
        { "jsonrpc": "2.0", "id": "an answer to nothing", "result": {} },
        call("two", "sql_query", &json!({ "sql": "SELECT n FROM t" })),
        request(3, "no/such", &json!({})),
        notification(),
    ]);
    let answer = send(&host, &session, &batch).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/event-stream"), "{answer:?}");
    let frames = answer.frames();
    // In their order: the second sees what the first has done.
    assert_eq!(ids(&frames), [&json!(1), &json!("two"), &json!(3)]);
    assert_eq!(content(&frames[1])["rows"], json!([[7]]));
    assert_eq!(frames[2]["error"]["code"], -32601, "{}", frames[2]);

    let plain = session.dress(Ask::post(batch.to_string())).without("accept").header("accept", "application/json");
    let answer = plain.send(&host).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{answer:?}");
    assert_eq!(ids(answer.json().as_array().expect("a list")), [&json!(1), &json!("two"), &json!(3)]);

    let told = send(&host, &session, &json!([notification(), notification()])).await;
    assert_eq!((told.status.as_u16(), told.body.len()), (202, 0), "{told:?}");
    host.close().await;
}

#[tokio::test]
async fn a_session_that_was_away_takes_one_too() {
    let host = plain(&["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let mut host = host;
    for batch in [json!([notification(), call(1, "sql_schema", &json!({}))]), json!([notification()])] {
        host = host.restart().await.expect("the same host");
        let answer = send(&host, &session, &batch).await;
        assert!(answer.status.is_success(), "{batch}: {answer:?}");
    }
    host.close().await;
}

#[tokio::test]
async fn no_other_version_has_them() {
    let host = plain(&["a"], |_| {});
    let ping = json!([request(1, "ping", &json!({}))]).to_string();
    let refused = async |ask: Ask| {
        let said = ask.send(&host).await.expect_refusal(400);
        assert_eq!(said["error"]["code"], -32600, "{said}");
        assert!(said["error"]["message"].as_str().is_some_and(|said| said.contains("2025-03-26")), "{said}");
    };
    for version in &LEGACY[1..] {
        let session = Session::open(&host, "a", version).await;
        refused(session.dress(Ask::post(ping.clone()))).await;
        // Whatever the header says, or does not say.
        let bare = || Ask::post(ping.clone()).bearer(session.token()).header("mcp-session-id", &session.id);
        refused(bare()).await;
        refused(bare().header("mcp-protocol-version", LEGACY[0])).await;
        let told = json!([notification()]).to_string();
        refused(Ask::post(told).bearer(session.token()).header("mcp-session-id", &session.id)).await;
        assert_eq!(session.ask(&host, "ping", json!({})).await.status, 200);
    }
    refused(Ask::post(ping.clone()).of(&host, "a")).await;
    refused(Ask::post(ping).of(&host, "a").header("mcp-protocol-version", "2026-07-28")).await;
    host.close().await;
}

/// One wrong message, and nothing of the batch is done.
#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let host = plain(&["a"], |settings| settings.limits.batch_messages = 3);
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let create = call(1, "sql_execute", &json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] }));
    let (client, info) = (json!({ "name": "it", "version": "0" }), json!({}));
    let open = json!({ "protocolVersion": LEGACY[0], "capabilities": info, "clientInfo": client });
    let modern = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2026-07-28" } });
    for wrong in [
        json!([]),
        json!([create, 7]),
        json!([create, []]),
        json!([create, {}]),
        json!([create, { "jsonrpc": "1.0", "id": 2, "method": "ping" }]),
        json!([create, request(1, "ping", &json!({}))]),
        json!([create, request(2, "initialize", &open)]),
        json!([request(2, "initialize", &open), create]),
        json!([create, request(2, "tools/list", &modern)]),
        json!([create, notification(), notification(), notification()]),
    ] {
        let said = send(&host, &session, &wrong).await.expect_refusal(400);
        assert_eq!(said["error"]["code"], -32600, "{wrong}: {said}");
    }
    let said = send(&host, &session, &json!([create, 1, 2, 3])).await.json();
    assert_eq!(
        (&said["error"]["data"]["limit"], &said["error"]["data"]["value"]),
        (&json!("batch_messages"), &json!(3))
    );
    let schema = session.call(&host, "sql_schema", json!({})).await;
    assert_eq!(content(&schema)["tables"], json!([]));
    host.close().await;
}

#[tokio::test]
async fn each_message_needs_its_own_right() {
    let host = plain(&["a"], |_| {});
    let token = Forge::of(&host).with("scope", "read");
    let opened = initialize(LEGACY[0]).bearer(&token).send(&host).await;
    let id = opened.header("mcp-session-id").to_owned();
    let write = call(2, "sql_execute", &json!({ "statements": [{ "sql": "CREATE TABLE t (n)" }] }));
    let batch = json!([call(1, "sql_schema", &json!({})), write]);
    let refused = Ask::post(batch.to_string()).bearer(&token).header("mcp-session-id", &id).send(&host).await;
    refused.expect_refusal(403);
    let schema = host.call("a", "sql_schema", json!({})).await;
    assert_eq!(content(&schema)["tables"], json!([]));
    host.close().await;
}

#[tokio::test]
async fn each_message_counts_as_a_request() {
    let host = plain(&["a"], |settings| {
        settings.limits.requests_per_second = 1;
        settings.limits.burst = 6;
    });
    // Two of six.
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let ping = |id: u64| request(id, "ping", &json!({}));
    let answer = send(&host, &session, &json!([ping(1), notification(), ping(2)])).await;
    assert_eq!(answer.frames().len(), 2, "{answer:?}");
    let refused = send(&host, &session, &json!([ping(3), ping(4)])).await;
    let said = refused.expect_refusal(429);
    assert_eq!(said["error"]["data"]["limit"], "requests_per_second", "{said}");
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    host.close().await;
}

/// As much at once as one call, and the others' turn in between.
#[tokio::test]
async fn its_requests_run_one_after_the_other() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |settings| settings.limits.concurrent_calls = 2);
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let none = json!({});
    let batch = json!([call(1, "wait", &none), call(2, "wait", &none), call(3, "wait", &none)]);
    let mut stream = Events::open(&host, session.dress(Ask::post(batch.to_string()))).await;
    for running in 1..=3 {
        until("it runs", || slow.begun() == running).await;
        let beside = session.call(&host, "now", json!({})).await;
        assert_eq!(beside["result"]["content"][0]["text"], "done", "{beside}");
        assert_eq!(slow.begun(), running);
        slow.release();
        assert_eq!(stream.message().await.1["id"], running);
    }
    assert!(stream.rest().await.is_empty());
    host.close().await;
}

#[tokio::test]
async fn one_that_was_cancelled_before_its_turn_never_runs() {
    let slow = Slow::new();
    let host = start(slow.host(), &["a"], |_| {});
    let session = Session::open(&host, "a", LEGACY[0]).await;
    let none = json!({});
    let batch = json!([call(1, "wait", &none), call(2, "wait", &none), call(3, "now", &none)]);
    let mut stream = Events::open(&host, session.dress(Ask::post(batch.to_string()))).await;
    until("the first runs", || slow.begun() == 1).await;
    let taken = session.dress(Ask::post(batch.to_string())).send(&host).await;
    assert!(taken.expect_refusal(400)["error"]["message"].as_str().is_some_and(|said| said.contains("under way")));
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 2 } });
    assert_eq!(send(&host, &session, &json!([cancel])).await.status, 202);
    slow.release();
    let answers = stream.rest().await;
    assert_eq!((ids(&answers), slow.begun()), (vec![&json!(1), &json!(3)], 1));
    host.close().await;
}

/// A client that leaves finds all of the answers when it comes back, before and after a restart.
#[tokio::test]
async fn its_answers_wait_for_their_client() {
    for restart in [false, true] {
        let slow = Slow::new();
        let host = start(slow.host(), &["a"], |_| {});
        let session = Session::open(&host, "a", LEGACY[0]).await;
        let waits = json!({ "name": "wait", "arguments": {}, "_meta": { "progressToken": "p" } });
        let batch = json!([request(1, "tools/call", &waits), call(2, "wait", &json!({}))]);
        let mut stream = Events::open(&host, session.dress(Ask::post(batch.to_string()))).await;
        let (last, progress) = stream.message().await;
        assert_eq!(progress["method"], "notifications/progress", "{progress}");
        drop(stream);
        for ended in 1..=2 {
            slow.release();
            until("it ends", || slow.ended() == ended).await;
        }
        let host = if restart { host.restart().await.expect("the same host") } else { host };
        let get = session.dress(Ask::new(Method::GET, "/mcp").header("accept", "text/event-stream"));
        let mut back = Events::open(&host, get.header("last-event-id", &last.expect("an id"))).await;
        assert_eq!(ids(&back.rest().await), [&json!(1), &json!(2)], "{restart}");
        host.close().await;
    }
}
